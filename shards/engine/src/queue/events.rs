//! Events of a queue (`qpid.queue_event_generation`): each message that comes, and if that is wanted each that
//! leaves, for whoever keeps a copy of the queue elsewhere.
//!
//! A message that is acquired or released says nothing; one leaves once, for whatever reason: accepted, expired,
//! purged, moved, replaced, displaced, or taken back with its publish. Copies follow by positions. What a queue
//! holds when it is deleted leaves without a word: the deletion says it. What it holds after a restart has come
//! before.

use super::entries::Body;
use super::settings::Events;
use super::{Output, Queue};
use crate::ids::Position;

impl Queue {
    fn events(&self) -> Events {
        self.bounds.as_ref().map_or(Events::None, |bounds| bounds.events)
    }

    /// A message has come to a position.
    pub(super) fn tell_enqueue(&self, position: Position, out: &mut Vec<Output>) {
        if self.events() == Events::None {
            return;
        }
        if let Some(Body::Here(message)) = self.entries.get(position).map(|entry| entry.body()) {
            let enqueued = Some(message.clone());
            out.push(Output::Event { queue: self.id, position, enqueued });
        }
    }

    /// The message at a position has left.
    pub(super) fn tell_dequeue(&self, position: Position, out: &mut Vec<Output>) {
        if self.events() == Events::All {
            out.push(Output::Event { queue: self.id, position, enqueued: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{QueueId, Time};
    use crate::queue::settings::{QueueDefaults, QueueSettings};
    use crate::queue::testing::{message, message_until, message_with, subscription_id};
    use crate::queue::{CreditUnit, INFINITE};
    use crate::request::{Mode, Subscribe};
    use fletch_amqp::types::{Map, Value};
    use fletch_journal::Seq;

    const NOW: Time = Time(1);

    /// A queue that a consumer takes one message from.
    fn queue(arguments: Map) -> Queue {
        let mut queue = Queue::new(QueueId(1));
        let settings = QueueSettings::new("q", &arguments).expect("they mean something");
        queue.configure(NOW, &settings, (&QueueDefaults::UNLIMITED, false), &mut Vec::new());
        let (id, out) = (subscription_id(0), &mut Vec::new());
        let subscribe = Subscribe {
            tag: 0,
            queue: "q".into(),
            mode: Mode::Consume,
            settles: true,
            exclusive: false,
            selector: None,
            arguments: Map::new(),
        };
        queue.subscribe(id, &subscribe).expect("nobody else is there");
        queue.grant(NOW, id, CreditUnit::Messages, 1, out);
        queue.grant(NOW, id, CreditUnit::Bytes, INFINITE, out);
        queue
    }

    fn with_events(n: i64) -> Map {
        Map::new().with("qpid.queue_event_generation", n)
    }

    /// What was told: positions, with the sizes of what came.
    fn told(out: &mut Vec<Output>) -> Vec<(Position, Option<usize>)> {
        let event = |output| match output {
            Output::Event { position, enqueued, .. } => {
                Some((position, enqueued.map(|m| m.size())))
            }
            _ => None,
        };
        out.drain(..).filter_map(event).collect()
    }

    #[test]
    fn each_that_comes_and_each_that_leaves() {
        for (n, leaves) in [(0, false), (1, false), (2, true)] {
            let (mut q, out) = (queue(with_events(n)), &mut Vec::new());
            let came =
                |all: &[(Position, Option<usize>)]| if n > 0 { all.to_vec() } else { vec![] };
            let left =
                |all: &[(Position, Option<usize>)]| if leaves { all.to_vec() } else { vec![] };
            q.enqueue(NOW, message(10), out);
            q.enqueue(NOW, message_until(20, Time(5)), out);
            q.enqueue(NOW, message(30), out);
            assert_eq!(told(out), came(&[(1, Some(10)), (2, Some(20)), (3, Some(30))]));
            q.release(NOW, [1], true, out);
            q.acquire(subscription_id(0).session, 1);
            assert_eq!(told(out), [], "it is in the queue all the time");
            q.accept(1, out);
            assert_eq!(told(out), left(&[(1, None)]));
            q.expire(Time(9), &mut 10, out);
            assert_eq!(told(out), left(&[(2, None)]));
            q.purge(u64::MAX, 10, out);
            assert_eq!(told(out), left(&[(3, None)]));
        }
    }

    #[test]
    fn what_gives_way_leaves() {
        let ring = with_events(2).with("qpid.policy_type", "ring").with("qpid.max_count", 1);
        let (mut q, out) = (queue(ring), &mut Vec::new());
        q.enqueue(NOW, message(1), out);
        q.enqueue(NOW, message(2), out);
        assert_eq!(told(out), [(1, Some(1)), (1, None), (2, Some(2))]);
        let last = with_events(2).with("qpid.last_value_queue_key", "k");
        let (mut q, out) = (queue(last), &mut Vec::new());
        for value in ["other", "a", "a"] {
            q.enqueue(NOW, message_with("k", Value::from(value)), out);
        }
        let positions: Vec<_> =
            told(out).into_iter().map(|(at, came)| (at, came.is_some())).collect();
        assert_eq!(positions, [(1, true), (2, true), (2, false), (3, true)]);
    }

    #[test]
    fn a_transaction_comes_when_it_is_decided() {
        let (mut q, out) = (queue(with_events(1)), &mut Vec::new());
        let m = message(7);
        q.keep_room(&m).expect("there is room");
        let at = q.keep_place(&m).expect("it is taken");
        assert_eq!(told(out), []);
        q.fill(NOW, at, (m, Seq::NONE), out);
        assert_eq!(told(out), [(at, Some(7))]);
    }
}
