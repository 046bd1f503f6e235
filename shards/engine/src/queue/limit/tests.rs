use super::*;
use crate::queue::testing::{message, message_of_priority, message_with, subscription_id};
use crate::queue::{CreditUnit, FlowMode, INFINITE, Next, Subscribe};
use crate::request::Mode::Consume;
use fletch_amqp::types::{Map, Value};
use std::sync::Arc;

const NOW: Time = Time(0);
const DEFAULTS: QueueDefaults = QueueDefaults { limit: 10_000, ..QueueDefaults::UNLIMITED };

struct Bench {
    queue: Queue,
    out: Vec<Output>,
}

impl Bench {
    fn new(policy: &str, limits: &[(&str, u64)]) -> Bench {
        Bench::rerouting(policy, limits, false)
    }

    fn rerouting(policy: &str, limits: &[(&str, u64)], reroutes: bool) -> Bench {
        let mut map = Map::new().with("qpid.policy_type", policy);
        for (name, n) in limits {
            map.insert(*name, Value::Uint64(*n));
        }
        let settings = QueueSettings::new("q", &map).unwrap();
        let mut b = Bench { queue: Queue::new(QueueId(1)), out: Vec::new() };
        b.queue.configure(NOW, &settings, (&DEFAULTS, reroutes), &mut b.out);
        b
    }

    fn publish(&mut self, size: usize) -> Result<(), String> {
        let message = message(size);
        self.queue.check_depth(&message).map_err(|full| full.text("q", size as u64))?;
        self.queue.enqueue(NOW, message, &mut self.out);
        Ok(())
    }

    fn consume(&mut self, n: u32) {
        let s = Subscribe {
            tag: 1,
            queue: Arc::from("q"),
            mode: Consume,
            settles: true,
            exclusive: false,
            selector: None,
            arguments: Map::new(),
        };
        let id = subscription_id(1);
        if self.queue.subscriptions() == 0 {
            self.queue.subscribe(id, &s).unwrap();
            self.queue.set_mode(id, FlowMode::Credit);
            self.queue.grant(NOW, id, CreditUnit::Bytes, INFINITE, &mut self.out);
        }
        self.queue.grant(NOW, id, CreditUnit::Messages, n, &mut self.out);
    }

    /// Positions of what is there.
    fn there(&self) -> Vec<Position> {
        self.queue.all_messages().map(|(position, ..)| position).collect()
    }

    /// Positions of what was displaced since the last look, and how often before.
    fn displaced(&mut self) -> Vec<(Position, u8)> {
        let displaced = |output| match output {
            Output::Displaced { delivery, hops, .. } => Some((delivery.position, hops)),
            _ => None,
        };
        self.out.drain(..).filter_map(displaced).collect()
    }
}

#[test]
fn a_full_queue_refuses_and_says_why() {
    let mut b = Bench::new("reject", &[("qpid.max_count", 2)]);
    b.publish(10).unwrap();
    b.publish(10).unwrap();
    assert_eq!(
        b.publish(7).unwrap_err(),
        "Maximum depth exceeded on q: current=[count: 2, size: 20], max=[count: 2, size: 10000], \
         increment=[count: 1, size: 7]; qpid.max_count is 2"
    );
    b.consume(1);
    assert!(b.publish(7).is_err(), "acquired messages count");
    b.queue.accept(1, &mut b.out);
    b.publish(7).unwrap();
    b.queue.release(NOW, [2], true, &mut b.out);
    assert_eq!(b.there(), [2, 3]);

    let mut b = Bench::new("reject", &[("qpid.max_size", 20), ("qpid.max_count", 9)]);
    b.publish(15).unwrap();
    assert_eq!(
        b.publish(6).unwrap_err(),
        "Maximum depth exceeded on q: current=[count: 1, size: 15], max=[count: 9, size: 20], \
         increment=[count: 1, size: 6]; qpid.max_size is 20"
    );
    b.publish(5).unwrap();
    let mut b = Bench::new("reject", &[]);
    b.publish(10_000).unwrap();
    assert_eq!(
        b.publish(1).unwrap_err(),
        "Maximum depth exceeded on q: current=[count: 1, size: 10000], max=[size: 10000], \
         increment=[count: 1, size: 1]; --default-queue-limit is 10000"
    );
    let mut b = Bench::new("reject", &[("qpid.max_count", 1), ("qpid.max_size", 0)]);
    b.publish(1_000_000).unwrap();
    assert_eq!(
        b.publish(1).unwrap_err(),
        "Maximum depth exceeded on q: current=[count: 1], max=[count: 1], \
         increment=[count: 1, size: 1]; qpid.max_count is 1"
    );
}

#[test]
fn no_limit_no_refusal() {
    for (policy, limits) in
        [("reject", &[("qpid.max_size", 0)][..]), ("flow_to_disk", &[("qpid.max_count", 1)])]
    {
        let mut b = Bench::new(policy, limits);
        assert!((0..3).all(|_| b.publish(20_000).is_ok()), "{policy}");
        assert_eq!(b.there(), [1, 2, 3]);
        assert!(b.queue.bounds.is_none(), "nothing to look at for each message");
    }
}

#[test]
fn what_moves_here_is_not_refused() {
    let mut b = Bench::new("reject", &[("qpid.max_count", 1)]);
    for _ in 0..3 {
        b.queue.enqueue(NOW, message(1), &mut b.out);
    }
    assert_eq!(b.queue.depth(), (3, 3));
    assert!(b.publish(1).is_err());
}

#[test]
fn a_ring_drops_the_oldest_acquired_or_not() {
    let mut b = Bench::new("ring", &[("qpid.max_count", 3)]);
    (0..3).for_each(|_| b.publish(1).unwrap());
    b.consume(1);
    (0..2).for_each(|_| b.publish(1).unwrap());
    assert_eq!(b.there(), [3, 4, 5]);
    b.queue.accept(1, &mut b.out);
    b.queue.release(NOW, [1], true, &mut b.out);
    assert!(b.queue.reject(1, &mut b.out).is_none(), "it has left");
    assert_eq!((b.there().len(), b.queue.counters().displaced), (3, 2));
    assert_eq!((b.queue.counters().dequeued, b.queue.depth()), (2, (3, 3)));
}

#[test]
fn a_ring_with_priorities_keeps_what_is_worth_most() {
    let ring = [("qpid.max_count", 3), ("qpid.priorities", 10)];
    let mut b = Bench::rerouting("ring", &ring, true);
    let publish = |b: &mut Bench, priority| {
        let message = message_of_priority(priority);
        b.queue.enqueue_at(NOW, message, (Seq::NONE, 0), &mut b.out)
    };
    for priority in [5, 1, 9] {
        assert!(publish(&mut b, priority).is_some());
    }
    assert_eq!(publish(&mut b, 3), Some(4));
    assert_eq!(b.displaced(), [(2, 0)]);
    assert_eq!(publish(&mut b, 2), None, "it is worth less than all that are there");
    assert_eq!(publish(&mut b, 3), Some(5), "the newer of two alike stays");
    assert_eq!(b.displaced(), [(4, 0)]);
    b.consume(3);
    b.displaced();
    assert_eq!(publish(&mut b, 9), Some(6), "all are acquired: the oldest goes");
    assert_eq!((b.displaced(), b.there()), (vec![(1, 0)], vec![3, 5, 6]));
}

#[test]
fn a_ring_of_last_values_replaces_and_displaces() {
    let map = Map::new()
        .with("qpid.policy_type", "ring")
        .with("qpid.max_count", 3)
        .with("qpid.last_value_queue_key", "key");
    let settings = QueueSettings::new("q", &map).unwrap();
    let mut b = Bench { queue: Queue::new(QueueId(1)), out: Vec::new() };
    b.queue.configure(NOW, &settings, (&DEFAULTS, false), &mut b.out);
    for key in ["a", "b", "a", "c"] {
        b.queue.enqueue(NOW, message_with("key", key), &mut b.out);
    }
    assert_eq!(b.there(), [2, 3, 4], "the first was replaced");
    b.queue.enqueue(NOW, message_with("key", "d"), &mut b.out);
    b.queue.enqueue(NOW, message_with("key", "b"), &mut b.out);
    assert_eq!(b.there(), [4, 5, 6], "nobody misses the one of b that was displaced");
    assert_eq!(b.queue.depth().0, 3);
}

#[test]
fn a_ring_of_bytes_makes_room_for_large_ones_and_refuses_the_impossible() {
    let mut b = Bench::new("ring", &[("qpid.max_size", 10)]);
    (0..5).for_each(|_| b.publish(2).unwrap());
    b.publish(5).unwrap();
    assert_eq!(b.there(), [4, 5, 6]);
    assert_eq!(
        b.publish(11).unwrap_err(),
        "Message larger than configured maximum depth on q: size=11, max-size=10; qpid.max_size is 10"
    );
    b.publish(10).unwrap();
    assert_eq!(b.there(), [7]);
    // One that moves here is not refused: alone it may be there, until the next comes.
    b.queue.enqueue(NOW, message(50), &mut b.out);
    assert_eq!(b.there(), [8]);
    b.publish(1).unwrap();
    assert_eq!(b.there(), [9]);
}

#[test]
fn what_a_ring_displaces_goes_to_the_alternate() {
    let mut b = Bench::rerouting("ring", &[("qpid.max_count", 2)], true);
    (0..3).for_each(|_| b.publish(1).unwrap());
    assert_eq!(b.displaced(), [(1, 0)]);
    b.queue.enqueue_at(NOW, message(1), (Seq::NONE, 2), &mut b.out);
    assert_eq!(b.displaced(), [(2, 2)], "it tells how often the one that came had been");
    b.consume(9);
    b.publish(1).unwrap();
    assert_eq!(b.displaced(), [(3, 0)], "also if somebody has it");
}

#[test]
fn what_is_displaced_and_away_leaves_when_it_is_back() {
    let mut b = Bench::rerouting("ring", &[("qpid.max_count", 2)], true);
    b.queue.restore_away(1, (1, Time::NEVER), Seq(7), false);
    b.queue.restore_away(2, (1, Time::NEVER), Seq(8), false);
    b.publish(1).unwrap();
    assert!(b.out.iter().any(|out| matches!(out, Output::Wanted { .. })), "{:?}", b.out);
    b.out.clear();
    assert_eq!((b.queue.depth(), b.queue.available()), ((2, 2), 2));
    assert_eq!(b.queue.first_wanted(false, 1), Some((1, Seq(7))));
    b.publish(1).unwrap();
    assert_eq!(b.queue.depth(), (2, 2));
    assert!(b.queue.bring_back(2, message(1)));
    b.queue.serve_returned(NOW, &mut b.out);
    assert_eq!(b.displaced(), [(2, 0)]);
    assert_eq!(b.queue.first_wanted(false, 1), Some((1, Seq(7))));
    assert_eq!((b.queue.depth(), b.there()), ((2, 2), vec![1, 3, 4]));
    // The queue is deleted before it is back: it goes with the rest.
    let (_, mut rest) = b.queue.drain_for_delete(&mut b.out);
    assert!(matches!(rest.next(true), Next::Away(1, Seq(7))));
    assert_eq!(b.queue.depth(), (0, 0));
}

#[test]
fn without_an_alternate_nothing_is_read_only_to_be_dropped() {
    let mut b = Bench::new("ring", &[("qpid.max_count", 1)]);
    b.queue.restore_away(1, (1, Time::NEVER), Seq(7), false);
    b.publish(1).unwrap();
    let gone = matches!(b.out[..], [Output::Dequeued { place: Seq(7), size: 1, .. }]);
    assert!(gone && b.there() == [2], "{:?}", b.out);
}

#[test]
fn too_much_for_a_queue_that_destroys_itself_is_said_once() {
    let mut b = Bench::new("self-destruct", &[("qpid.max_count", 2)]);
    (0..4).for_each(|_| b.publish(1).unwrap());
    let overfull = b.out.iter().filter(|out| matches!(out, Output::Overfull { .. })).count();
    assert_eq!((overfull, b.there().len()), (1, 4));
}

#[test]
fn publishers_are_held_until_their_message_is_gone() {
    let mut b = Bench::new("reject", &[("qpid.flow_stop_count", 1), ("qpid.flow_resume_count", 1)]);
    let publisher = |slot| Publisher { shard: crate::ids::ShardId(3), slot };
    b.publish(1).unwrap();
    assert!(!b.queue.hold(1, publisher(1)), "not stopped yet");
    b.publish(1).unwrap();
    b.publish(1).unwrap();
    assert!(b.queue.is_flow_stopped() && b.queue.hold(2, publisher(2)));
    assert!(b.queue.hold(3, publisher(3)) && !b.queue.hold(4, publisher(4)), "4 is not there");
    b.consume(2);
    b.out.clear();
    b.queue.accept(2, &mut b.out);
    assert!(
        matches!(b.out[..], [Output::Resumed { to: Publisher { slot: 2, .. } }]),
        "{:?}",
        b.out
    );
    b.queue.purge(9, 9, &mut b.out);
    assert_eq!((b.queue.held_publishes(), b.queue.depth()), (0, (1, 1)));
    assert!(b.queue.is_flow_stopped(), "one message is not fewer than one");
    b.publish(1).unwrap();
    assert!(b.queue.hold(4, publisher(5)));
    b.out.clear();
    b.queue.drain_for_delete(&mut b.out);
    let resumed = |out: &Output| matches!(out, Output::Resumed { to } if to.slot == 5);
    assert!(b.out.iter().any(resumed), "{:?}", b.out);
}

#[test]
fn a_queue_that_is_recovered_full_starts_stopped() {
    let mut queue = Queue::new(QueueId(1));
    for position in 1..=10 {
        queue.restore_away(position, (1, Time::NEVER), Seq(position), false);
    }
    let map = Map::new().with("qpid.max_count", 5);
    let mut out = Vec::new();
    let settings = QueueSettings::new("q", &map).unwrap();
    queue.configure(NOW, &settings, (&DEFAULTS, false), &mut out);
    assert!(queue.is_flow_stopped() && queue.check_depth(&message(1)).is_err());
    let told: Vec<What> = out
        .iter()
        .filter_map(|out| match out {
            Output::Notice { what, .. } => Some(*what),
            _ => None,
        })
        .collect();
    let expected = [What::FlowStopped, What::ThresholdCrossedUpward, What::ThresholdExceeded];
    assert_eq!(told, expected);
}
