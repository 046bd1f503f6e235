//! Queues that take no message twice, when a crash comes between a decision and its note: what the transaction brings is
//! held against what the queue has had.

use super::*;
use crate::queue::testing::message_with_id;
use fletch_amqp::types::{Map, Uuid};

fn define_remembering() -> Vec<u8> {
    let queue = Change::QueueCreated(Arc::new(QueueDescriptor {
        id: QueueId(QUEUE),
        name: "q".into(),
        home: ShardId(0),
        durable: true,
        auto_delete: false,
        owner: None,
        alternate: None,
        arguments: Arc::new(Map::new().with("fletch.dedup_window", 2)),
    }));
    let (id, payload) = codec::definition(&queue).expect("durable");
    encoded(&[Op::Define { id, payload: &payload }])
}

fn message(n: u8) -> Message {
    let message = message_with_id(Some(Uuid([n; 16])));
    let meta = Meta { durable: true, ..message.meta().clone() };
    Message::new(meta, message.content())
}

fn id(n: u8) -> Identity {
    identity(&message(n)).expect("it has one")
}

fn remember(number: u64, n: u8) -> Vec<u8> {
    let payload = remembered::encode(2, std::iter::once((number, &id(n)[..])));
    encoded(&[Op::Remember { queue: QUEUE, payload: &payload }])
}

/// A message with an id, in a record with what comes before it.
fn publish_id(position: Position, n: u8, before: Vec<u8>) -> Vec<u8> {
    let (stored, mut bytes) = (Stored::Durable(message(n)), before);
    put_publish(&mut bytes, &[(Ref { queue: QUEUE, position }, false)], stored.len());
    let at = bytes.len();
    bytes.resize(at + stored.len(), 0);
    stored.put(&mut bytes[at..]);
    bytes
}

fn prepared(position: Position, n: u8) -> Vec<u8> {
    publish_id(position, n, encoded(&[Op::Prepare(XID)]))
}

/// What is in the queue, which ids it remembers, and of a transaction to be noted: which came, and which had come.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    there: Vec<Position>,
    ids: Vec<(u64, Identity)>,
    noted: Option<(Vec<u64>, Vec<Range>)>,
}

fn outcome(log: &[Vec<u8>]) -> Outcome {
    let mut restore = ShardRestore::new(0, [], u64::MAX);
    for (at, record) in log.iter().enumerate() {
        restore.record(Lsn(at as u64 * 4096), record).expect("it can be read");
    }
    let mut combined = combine(vec![restore]).expect("definitions can be read");
    let shard = &combined.shards[0];
    let there = shard.queues[&QueueId(QUEUE)].places().map(|(position, ..)| position).collect();
    let ids = shard.ids[&QueueId(QUEUE)].iter().map(|(number, id, _)| (number, id.clone()));
    let ids = ids.collect();
    let noted = combined.to_note[0]
        .pop()
        .map(|note| (note.arrived.into_iter().map(|(_, number, _)| number).collect(), note.had));
    Outcome { there, ids, noted }
}

#[test]
fn what_the_queue_has_had_does_not_come_by_a_transaction_that_was_not_noted() {
    let log = [
        define_remembering(),
        prepared(3, 1),
        prepared(4, 2),
        publish_id(5, 1, remember(7, 1)),
        encoded(&[Op::Decide { xid: XID, commit: true }]),
    ];
    let (first, second) = ((7, id(1)), (8, id(2)));
    let there = vec![4, 5];
    let ids = vec![first, second];
    let noted = Some((vec![8], vec![(QUEUE, 3, 3)]));
    assert_eq!(outcome(&log), Outcome { there: there.clone(), ids: ids.clone(), noted });
    // When it is noted, nothing is left to be done.
    let noted = [&log[..], &[dequeue(3, None), [note(), remember(8, 2)].concat()]].concat();
    assert_eq!(outcome(&noted), Outcome { there, ids, noted: None });
    // Also if what came first is gone.
    let gone = [&log[..], &[dequeue(5, None)]].concat();
    assert_eq!(outcome(&gone).there, [4]);
}

#[test]
fn a_transaction_that_was_not_noted_brings_each_id_once() {
    let decide = encoded(&[Op::Decide { xid: XID, commit: true }]);
    let twice = [define_remembering(), prepared(3, 1), prepared(4, 1), decide.clone()];
    let noted = Some((vec![1], vec![(QUEUE, 4, 4)]));
    assert_eq!(outcome(&twice), Outcome { there: vec![3], ids: vec![(1, id(1))], noted });
    // Written again by the cleaner it is the same one.
    let again = [define_remembering(), prepared(3, 1), decide, prepared(3, 1)];
    let noted = Some((vec![1], vec![]));
    assert_eq!(outcome(&again), Outcome { there: vec![3], ids: vec![(1, id(1))], noted });
}

#[test]
fn no_more_ids_are_kept_than_the_queue_remembers() {
    let log = [
        define_remembering(),
        remember(1, 1),
        publish_id(1, 2, remember(2, 2)),
        publish_id(2, 3, remember(3, 3)),
        // Written again by the cleaner.
        remember(2, 2),
    ];
    assert_eq!(outcome(&log).ids, [(2, id(2)), (3, id(3))]);
}
