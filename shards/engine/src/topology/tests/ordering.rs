//! Votes, waiting, closing, names.

use super::decision::{BY_ITSELF, RELEASED};
use super::*;
use crate::error::ErrorKind::*;
use fletch_amqp::Value;

fn no(text: &str) -> Result<(), Error> {
    Err(Error::precondition(text))
}

fn if_empty(name: &str) -> TopologyRequest {
    TopologyRequest::DeleteQueue { name: name.into(), if_unused: false, if_empty: true }
}

#[test]
fn answers_when_every_shard_has_applied() {
    let mut b = Broker::new(3);
    let (s, other) = (session(1, 1), session(2, 1));
    let op = b.submit(s, queue("q"));
    assert!(b.replicas[0].queue("q").is_some(), "shard 0 has it at once");
    assert!(b.apply(1) && b.apply(2));
    assert_eq!(b.take_answer(op), None);
    // Nothing to change, but not all shards have what it relies on.
    let again = b.submit(other, queue("q"));
    assert_eq!(b.take_answer(again), None);
    // An error is known at once.
    let refused = b.submit(other, delete_exchange(""));
    assert!(b.take_answer(refused).unwrap().is_err());
    assert!(b.apply(0));
    assert_eq!(b.take_answer(op), Some(Ok(())));
    assert_eq!(b.take_answer(again), Some(Ok(())));
    let now = b.submit(other, queue("q"));
    assert_eq!(b.take_answer(now), Some(Ok(())));
}

#[test]
#[should_panic(expected = "apply in order")]
fn a_missed_change_is_fatal() {
    let change = Change::QueueDeleted { queue: QueueId(1) };
    Topology::new().apply(Epoch(2), &change);
}

#[test]
fn queue_ids_are_not_reused() {
    let (mut b, s) = (Broker::new(1), session(0, 1));
    b.ok(s, queue("q"));
    let first = b.queue("q");
    b.ok(s, delete("q"));
    b.ok(s, queue("q"));
    assert!(b.queue("q") > first);
}

#[test]
fn requests_wait_for_a_vote_in_order() {
    let (mut b, s, other) = (Broker::new(2), session(0, 1), session(1, 1));
    b.ok(s, auto_delete("q"));
    b.ok(s, queue("r"));
    let old = b.queue("q");
    let deleted = b.submit(s, if_empty("q"));
    let conditions = Conditions { if_empty: true, ..Conditions::default() };
    assert_eq!(b.asked, [(ShardId(0), old, Question::Delete(conditions))]);
    let bound = b.submit(other, bind("q", "amq.direct", "k"));
    let declared = b.submit(s, queue("q"));
    let deleted_again = b.submit(other, if_empty("q"));
    let bound_again = b.submit(other, bind("q", "amq.direct", "k"));
    b.unused(old, None);
    let elsewhere = b.submit(other, bind("r", "amq.direct", "k"));
    b.catch_up();
    assert_eq!(b.take_answer(elsewhere), Some(Ok(())), "other queues do not wait");
    assert!(b.answers.is_empty());

    b.vote(Ok(()));
    assert_eq!(b.take_answer(bound).unwrap().unwrap_err().kind, NotFound);
    // Declared anew, and the second delete is voted on for the new queue.
    let new = b.queue("q");
    assert_eq!(b.asked.len(), 1);
    assert_eq!(b.asked[0].1, new);
    b.vote(no("not empty"));
    assert_eq!(b.take_answer(deleted_again).unwrap().unwrap_err().text, "not empty");
    b.catch_up();
    for op in [deleted, declared, bound_again] {
        assert_eq!(b.take_answer(op), Some(Ok(())));
    }
    assert_eq!(b.goes_to("amq.direct", "k"), ["q", "r"]);
}

#[test]
fn a_refused_delete_changes_nothing() {
    let (mut b, s) = (Broker::new(2), session(0, 1));
    b.ok(s, queue("q"));
    let epoch = b.replicas[0].epoch();
    let deleted = b.submit(s, if_empty("q"));
    let bound = b.submit(s, bind("q", "amq.direct", "k"));
    b.vote(no("Cannot delete queue q; queue not empty"));
    let error = b.take_answer(deleted).unwrap().unwrap_err();
    assert_eq!(error.kind, PreconditionFailed);
    assert_eq!(b.replicas[0].epoch().0, epoch.0 + 1, "the bind alone");
    assert_eq!(b.finish(bound), Ok(()));
}

#[test]
fn auto_delete_tells_its_cause() {
    let (mut b, s) = (Broker::new(2), session(1, 1));
    b.ok(s, auto_delete("q"));
    let q = b.queue("q");
    let op = b.op();
    b.unused(q, Some((s, op)));
    b.unused(q, None);
    let (home, _, question) = b.vote(Ok(()));
    assert_eq!(home, ShardId(1));
    assert_eq!(question, Question::Delete(BY_ITSELF));
    assert_eq!(b.take_answer(op), None);
    b.catch_up();
    assert_eq!(b.take_answer(op), Some(Ok(())));
    assert!(b.asked.is_empty() && b.replicas[1].queue("q").is_none());
    // Of one that is gone, or refuses, the cause hears too.
    let late = b.op();
    b.unused(q, Some((s, late)));
    assert_eq!(b.take_answer(late), Some(Ok(())));
    b.ok(s, auto_delete("r"));
    let op = b.op();
    b.unused(b.queue("r"), Some((s, op)));
    b.vote(no("queue in use"));
    assert_eq!(b.take_answer(op), Some(Ok(())));
    assert!(b.replicas[1].queue("r").is_some());
}

/// A queue that `session` has for itself, deleted by itself as one argument says.
fn with_lifetime(name: &str, argument: &str, value: Value) -> TopologyRequest {
    TopologyRequest::DeclareQueue(DeclareQueue {
        name: name.into(),
        exclusive: true,
        arguments: Map::new().with(argument, value),
        ..DeclareQueue::default()
    })
}

#[test]
fn a_queue_with_a_delay_survives_its_session_at_first() {
    let (mut b, s) = (Broker::new(2), session(1, 1));
    b.ok(s, with_lifetime("q", "qpid.auto_delete_timeout", Value::Int32(3)));
    let q = b.queue("q");
    assert_eq!(b.replicas[0].home_of(q), Some(ShardId(1)), "as other auto-delete queues");
    let closed = b.close(s);
    assert!(b.asked.is_empty());
    assert_eq!(b.finish(closed), Ok(()));
    assert!(b.replicas[0].queue("q").is_some_and(|q| q.auto_delete && q.owner.is_none()));
    let other = session(0, 1);
    b.ok(other, queue("q"));
    assert_eq!(b.touched, [q]);
    b.unused(q, None);
    b.vote(Ok(()));
    assert!(b.replicas[0].queue("q").is_none());
}

#[test]
fn a_lifetime_policy_decides_at_the_end_of_the_owner() {
    let (mut b, s) = (Broker::new(2), session(1, 1));
    let policy = "qpid.lifetime-policy";
    b.ok(s, with_lifetime("stays", policy, "manual".into()));
    b.ok(s, with_lifetime("used", policy, "delete-if-unused".into()));
    b.ok(s, with_lifetime("closes", policy, "delete-on-close".into()));
    let (used, closes) = (b.queue("used"), b.queue("closes"));
    b.unused(used, None);
    assert!(b.asked.is_empty(), "somebody has it");
    b.unused(closes, None);
    b.vote(Ok(()));
    assert!(b.replicas[0].queue("closes").is_none(), "whoever has it");
    b.close(s);
    let (_, q, question) = b.vote(Ok(()));
    assert_eq!((q, question), (used, Question::Delete(RELEASED)));
    assert!(b.replicas[0].queue("stays").is_some_and(|q| !q.auto_delete));
}

#[test]
fn a_free_queue_can_be_taken_if_nobody_uses_it() {
    let (mut b, s, other) = (Broker::new(2), session(0, 1), session(1, 1));
    b.ok(s, queue("q"));
    let used = b.submit(other, exclusive("q"));
    assert_eq!(b.asked[0].2, Question::Unused);
    b.vote(no("queue in use"));
    let text = "Cannot grant exclusive access to queue q";
    assert_eq!(b.take_answer(used), Some(Err(Error::locked(text))));

    let granted = b.submit(other, exclusive("q"));
    let late = b.submit(s, exclusive("q"));
    b.vote(Ok(()));
    assert_eq!(b.take_answer(late).unwrap().unwrap_err().kind, ResourceLocked);
    assert_eq!(b.finish(granted), Ok(()));
    assert_eq!(b.replicas[1].queue("q").unwrap().owner, Some(other));
    let q = b.queue("q");
    assert_eq!(b.replicas[1].queue_by_id(q).unwrap().owner, Some(other));
}

#[test]
fn closing_releases_and_deletes() {
    let (mut b, s, other) = (Broker::new(2), session(1, 1), session(0, 1));
    let temporary = |name| {
        let declare = DeclareQueue { exclusive: true, auto_delete: true, ..declare(name) };
        TopologyRequest::DeclareQueue(declare)
    };
    b.ok(s, exclusive("kept"));
    b.ok(s, temporary("temporary"));
    b.ok(s, temporary("browsed"));
    b.ok(s, exclusive("deleted"));
    b.ok(s, delete("deleted"));
    b.ok(other, exclusive("others"));
    // Unused, but owned: it stays until the owner goes.
    b.unused(b.queue("temporary"), None);
    assert!(b.asked.is_empty());

    let closed = b.close(s);
    assert_eq!(b.asked.len(), 2);
    assert_eq!(b.vote(Ok(())).0, ShardId(1));
    b.catch_up();
    assert_eq!(b.take_answer(closed), None, "one vote is missing");
    b.vote(no("queue in use"));
    assert_eq!(b.finish(closed), Ok(()));
    let t = &b.replicas[1];
    assert_eq!(t.queue("kept").unwrap().owner, None);
    assert_eq!(t.queue("browsed").unwrap().owner, None);
    assert!(t.queue("temporary").is_none());
    assert_eq!(t.queue("others").unwrap().owner, Some(other));
    // Closing with nothing is answered at once.
    let closed = b.close(session(1, 2));
    assert_eq!(b.take_answer(closed), Some(Ok(())));
}

#[test]
fn a_long_session_keeps_nothing_of_deleted_queues() {
    let (mut b, s) = (Broker::new(1), session(0, 1));
    b.ok(s, exclusive("q"));
    assert!(!b.orderer.is_idle());
    b.ok(s, delete("q"));
    assert!(b.orderer.is_idle());
}

#[test]
fn a_closed_session_gets_nothing() {
    let (mut b, s, other) = (Broker::new(2), session(1, 1), session(0, 1));
    b.ok(other, queue("q"));
    b.ok(other, queue("r"));
    let asked = b.submit(s, exclusive("q"));
    let deleting = b.submit(other, if_empty("r"));
    let waiting = b.submit(s, exclusive("r"));
    let closed = b.close(s);
    for op in [asked, waiting] {
        assert!(b.take_answer(op).unwrap().is_err());
    }
    assert_eq!(b.take_answer(closed), Some(Ok(())));
    b.vote(Ok(()));
    b.vote(no("not empty"));
    assert!(b.take_answer(deleting).unwrap().is_err());
    b.catch_up();
    assert!(b.answers.is_empty());
    assert_eq!(b.replicas[1].queue("q").unwrap().owner, None);
    assert_eq!(b.run(other, exclusive("q")), Ok(()));
}

#[test]
fn closing_while_the_own_queue_is_voted_on() {
    for vote in [Ok(()), no("not empty")] {
        let (mut b, s, other) = (Broker::new(2), session(1, 1), session(0, 1));
        b.ok(s, exclusive("q"));
        let deleting = b.submit(s, if_empty("q"));
        let taking = b.submit(other, exclusive("q"));
        let closed = b.close(s);
        b.vote(vote.clone());
        // Refused or created anew, in the order of arrival: before the release.
        assert_eq!(b.take_answer(taking).is_some_and(|a| a.is_err()), vote.is_err());
        b.catch_up();
        assert_eq!(b.take_answer(deleting), Some(vote.clone()));
        assert_eq!(b.take_answer(closed), Some(Ok(())));
        let owner = b.replicas[1].queue("q").unwrap().owner;
        assert_eq!(owner, vote.is_ok().then_some(other));
    }
}

#[test]
fn session_names_are_unique() {
    let mut b = Broker::new(2);
    let (one, two) = (session(0, 1), session(1, 2));
    let op = b.attach(one, "n", false);
    assert_eq!(b.take_answer(op), Some(Ok(())));
    let op = b.attach(two, "n", false);
    assert_eq!(b.take_answer(op).unwrap().unwrap_err().kind, ResourceLocked);
    let op = b.attach(two, "other", false);
    assert_eq!(b.take_answer(op), Some(Ok(())));
    b.close(one);
    let op = b.attach(session(0, 3), "n", false);
    assert_eq!(b.take_answer(op), Some(Ok(())));
}

#[test]
fn eviction() {
    let mut b = Broker::new(2);
    let (one, two, three) = (session(0, 1), session(1, 2), session(0, 3));
    b.attach(one, "n", false);
    b.ok(one, exclusive("q"));
    b.answers.clear();

    let second = b.attach(two, "n", true);
    assert_eq!(b.evicted, [one]);
    let busy = b.attach(session(1, 9), "n", false);
    assert!(b.take_answer(busy).unwrap().is_err());
    // A third takes the second's place in the line; the holder knows already.
    let third = b.attach(three, "n", true);
    assert!(b.take_answer(second).unwrap().is_err());
    assert_eq!(b.evicted, [one]);
    // The second is not waiting any more and closes without harm.
    let closed = b.close(two);
    assert_eq!(b.take_answer(closed), Some(Ok(())));

    let closed = b.close(one);
    assert_eq!(b.take_answer(third), None, "the queue is not released everywhere");
    assert_eq!(b.finish(closed), Ok(()));
    assert_eq!(b.take_answer(third), Some(Ok(())));
    let busy = b.attach(two, "n", false);
    assert!(b.take_answer(busy).unwrap().is_err());
    b.close(three);
    let free = b.attach(session(1, 4), "n", false);
    assert_eq!(b.take_answer(free), Some(Ok(())));
}

#[test]
fn the_name_of_a_closing_session_is_waited_for() {
    let mut b = Broker::new(2);
    let (one, two) = (session(0, 1), session(1, 2));
    b.attach(one, "n", false);
    b.closing.push(one);
    let next = b.attach(two, "n", false);
    assert_eq!(b.take_answer(next), None);
    assert_eq!(b.evicted, []);
    // One may wait; one by force takes its place, and the holder's word does not concern it.
    let late = b.attach(session(0, 3), "n", false);
    assert!(b.take_answer(late).unwrap().is_err());
    let by_force = b.attach(session(0, 4), "n", true);
    assert!(b.take_answer(next).unwrap().is_err());
    assert_eq!(b.evicted, [one]);
    b.orderer.keep(one, &mut b.out);
    b.sort_out();
    assert_eq!(b.take_answer(by_force), None);
    b.close(one);
    assert_eq!(b.take_answer(by_force), Some(Ok(())));
    // The new holder is asked anew.
    let busy = b.attach(two, "n", false);
    assert!(b.take_answer(busy).unwrap().is_err());
}

#[test]
fn who_waits_for_a_name_hears_what_its_holder_leaves() {
    let mut b = Broker::new(2);
    let (one, two, three) = (session(0, 1), session(1, 2), session(0, 3));
    b.attach(one, "n", true);
    let second = b.attach(two, "n", true);
    let third = b.attach(three, "n", true);
    // Who was displaced gets neither the name nor what goes with it, and may say that it is over.
    assert!(b.take_answer(second).unwrap().is_err());
    let ceded = b.cede(two, b"nothing");
    assert_eq!((b.take_answer(ceded), b.take_answer(third)), (Some(Ok(())), None));
    let ceded = b.cede(one, b"all");
    assert_eq!((b.take_answer(ceded), b.take_answer(third)), (Some(Ok(())), Some(Ok(()))));
    assert_eq!(b.left, [(third, b"all".to_vec())]);
    // Nobody waits: it is gone with its holder.
    b.cede(three, b"more");
    let fourth = b.attach(two, "n", true);
    assert_eq!((b.take_answer(fourth), b.left.len()), (Some(Ok(())), 1));
}

#[test]
fn who_takes_from_others_leaves_its_own_connection_alone() {
    let mut b = Broker::new(1);
    let one = session(0, 1);
    let (two, other) = (one.of_same_connection(2), session(0, 7));
    let name = "n";
    b.attach(one, name, false);
    let op = b.op();
    b.orderer.attach(two, op, name, Force::Others, &mut b.out);
    b.sort_out();
    assert_eq!((b.take_answer(op), b.held.pop()), (Some(Ok(())), Some((op, one))));
    assert!(b.evicted.is_empty());
    let op = b.op();
    b.orderer.attach(other, op, name, Force::Others, &mut b.out);
    b.sort_out();
    assert_eq!((b.take_answer(op), &b.evicted[..]), (None, &[one][..]));
}

#[test]
fn a_waiting_session_may_give_up() {
    let mut b = Broker::new(1);
    let (one, two) = (session(0, 1), session(0, 2));
    b.attach(one, "n", false);
    let waiting = b.attach(two, "n", true);
    let closed = b.close(two);
    assert!(b.take_answer(waiting).unwrap().is_err());
    assert_eq!(b.take_answer(closed), Some(Ok(())));
    let busy = b.attach(session(0, 3), "n", false);
    assert!(b.take_answer(busy).unwrap().is_err(), "the holder still has it");
    b.close(one);
    let free = b.attach(session(0, 4), "n", false);
    assert_eq!(b.take_answer(free), Some(Ok(())));
}
