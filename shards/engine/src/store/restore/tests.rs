//! What a transaction's records come to, wherever a crash has cut the log.

use super::*;
use crate::message::{Flags, Format, Meta};
use fletch_journal::Payload;
use fletch_journal::record::put_publish;

const QUEUE: u64 = 5;
const XID: Xid = Xid { shard: 0, number: 9 };

fn encoded(ops: &[Op<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ops.iter().for_each(|op| op.put(&mut bytes));
    bytes
}

fn define() -> Vec<u8> {
    let queue = Change::QueueCreated(Arc::new(QueueDescriptor {
        id: QueueId(QUEUE),
        name: "q".into(),
        home: ShardId(0),
        durable: true,
        auto_delete: false,
        owner: None,
        alternate: None,
        arguments: Arc::new(fletch_amqp::types::Map::new()),
    }));
    let (id, payload) = codec::definition(&queue).expect("durable");
    encoded(&[Op::Define { id, payload: &payload }])
}

fn publish(position: Position, xid: Option<Xid>) -> Vec<u8> {
    let meta = Meta {
        format: Format::V0_10,
        header_len: 1,
        routing_key: (0, 1),
        expires: Time::NEVER,
        priority: 4,
        durable: true,
        flags: Flags::of_body(false),
        publisher: None,
    };
    let stored = Stored::Durable(Message::new(meta, b"k"));
    let mut bytes = xid.map_or(Vec::new(), |xid| encoded(&[Op::Prepare(xid)]));
    put_publish(&mut bytes, &[(Ref { queue: QUEUE, position }, false)], stored.len());
    let at = bytes.len();
    bytes.resize(at + stored.len(), 0);
    stored.put(&mut bytes[at..]);
    bytes
}

fn dequeue(position: Position, xid: Option<Xid>) -> Vec<u8> {
    let dequeue = Op::Dequeue { queue: QUEUE, first: position, last: position };
    match xid {
        Some(xid) => encoded(&[Op::Prepare(xid), dequeue]),
        None => encoded(&[dequeue]),
    }
}

fn decide(commit: bool) -> Vec<u8> {
    encoded(&[Op::Decide { xid: XID, commit }])
}

fn note() -> Vec<u8> {
    [decide(true), decide(true)].concat()
}

type Noted = Vec<(Xid, Vec<Range>)>;

/// The positions found in shard 0's queue, and what is to be noted by each shard.
fn found(logs: &[&[Vec<u8>]]) -> (Vec<Position>, Vec<Noted>) {
    let shards = logs.iter().enumerate().map(|(n, log)| {
        let mut restore = ShardRestore::new(n as u16, [], u64::MAX);
        for (at, record) in log.iter().enumerate() {
            restore.record(Lsn(at as u64 * 4096), record).expect("it can be read");
        }
        restore
    });
    let combined = combine(shards.collect()).expect("definitions can be read");
    let queue = combined.shards[0].queues.get(&QueueId(QUEUE));
    let positions = queue.into_iter().flat_map(|q| q.places()).map(|(position, ..)| position);
    let ranges = |note: ToNote| (note.xid, note.dequeues.ranges);
    let to_note = combined.to_note.into_iter().map(|all| all.into_iter().map(ranges).collect());
    (positions.collect(), to_note.collect())
}

#[test]
fn what_is_not_due_stays_in_memory_and_waits_on() {
    use crate::queue::testing::message_with;
    let message = message_with("x-opt-delivery-time", 5);
    let meta = Meta { durable: true, ..message.meta().clone() };
    let message = crate::schedule::scheduled(Time(0), Message::new(meta, message.content()));
    let stored = Stored::Durable(message);
    let mut record = Vec::new();
    put_publish(&mut record, &[(Ref { queue: QUEUE, position: 1 }, false)], stored.len());
    let at = record.len();
    record.resize(at + stored.len(), 0);
    stored.put(&mut record[at..]);
    // There is no room in memory.
    let mut restore = ShardRestore::new(0, [], 0);
    for (at, record) in [define(), record, publish(2, None)].iter().enumerate() {
        restore.record(Lsn(at as u64 * 4096), record).expect("it can be read");
    }
    let combined = combine(vec![restore]).expect("definitions can be read");
    let queue = &combined.shards[0].queues[&QueueId(QUEUE)];
    assert_eq!((queue.messages(), queue.available(), queue.scheduled()), (2, 1, 1));
    assert!(!queue.is_away(1) && queue.is_away(2));
    assert_eq!(queue.next_due(), Some(Time(5_000_000)));
}

#[test]
fn without_a_decision_nothing_has_happened() {
    let log = [define(), publish(1, None), publish(2, Some(XID)), dequeue(1, Some(XID))];
    assert_eq!(found(&[&log]), (vec![1], vec![vec![]]));
    let aborted = [&log[..], &[decide(false)]].concat();
    assert_eq!(found(&[&aborted]), (vec![1], vec![vec![]]));
}

#[test]
fn a_decision_of_its_own_is_carried_out_and_noted_once() {
    let log =
        [define(), publish(1, None), publish(2, Some(XID)), dequeue(1, Some(XID)), decide(true)];
    let dequeues = vec![(QUEUE, 1, 1)];
    assert_eq!(found(&[&log]), (vec![2], vec![vec![(XID, dequeues)]]));
    let noted = [&log[..], &[dequeue(1, None), note()]].concat();
    assert_eq!(found(&[&noted]), (vec![2], vec![vec![]]));
}

#[test]
fn what_the_cleaner_writes_again_behind_a_decision_is_decided() {
    let log = [
        define(),
        decide(true),
        dequeue(1, Some(XID)),
        publish(2, Some(XID)),
        // It was in its queue still, for the decision was not durable.
        publish(1, None),
    ];
    let dequeues = vec![(QUEUE, 1, 1)];
    assert_eq!(found(&[&log]), (vec![2], vec![vec![(XID, dequeues)]]));
    let noted = [&log[..], &[dequeue(1, None), note()]].concat();
    assert_eq!(found(&[&noted]), (vec![2], vec![vec![]]));
    let later = [&noted[..], &[publish(2, None)], &[decide(true)]].concat();
    assert_eq!(found(&[&later]), (vec![2], vec![vec![]]), "a decision kept for others is no other");
}

#[test]
fn another_shards_decision_is_carried_out() {
    let xid = Xid { shard: 1, number: 9 };
    let log = [define(), publish(1, None), publish(2, Some(xid)), dequeue(1, Some(xid))];
    let decision = [encoded(&[Op::Decide { xid, commit: true }])];
    let dequeues = vec![(QUEUE, 1, 1)];
    assert_eq!(found(&[&log, &decision]), (vec![2], vec![vec![(xid, dequeues)], vec![]]));
    let noted = [&log[..], &[dequeue(1, None)], &decision].concat();
    assert_eq!(found(&[&noted, &decision]), (vec![2], vec![vec![], vec![]]));
    assert_eq!(found(&[&noted, &[]]), (vec![2], vec![vec![], vec![]]), "its note is enough");
}

#[test]
fn bodies_of_transactions_stay_away_when_memory_is_full() {
    let own = [define(), publish(1, Some(XID)), publish(2, Some(XID)), decide(true), note()];
    let other = Xid { shard: 1, number: 9 };
    let (message, decided) = (publish(3, Some(other)), Op::Decide { xid: other, commit: true });
    // One more message is taken in while there is any room at all.
    let mut restore = ShardRestore::new(0, [], 1);
    for (at, record) in [&own[..], &[message, encoded(&[decided])]].concat().iter().enumerate() {
        restore.record(Lsn(at as u64 * 4096), record).expect("it can be read");
    }
    let queue = &restore.queues[&QueueId(QUEUE)];
    assert_eq!((queue.messages(), queue.away()), (3, 2));
}

mod duplicates;
