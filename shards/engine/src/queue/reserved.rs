//! Places in a queue that are kept for messages of a transaction until it is decided.
//!
//! Such a message is in no way in its queue before; then it is there at the place that was kept for it. A
//! browser that has passed the place by then comes back for it.

use super::scheduled::due_after;
use super::select::Selection;
use super::{Output, Queue};
use crate::ids::{Position, Time};
use crate::message::Message;
use crate::request::DeliveryRef;
use fletch_journal::Seq;
use std::cmp::Reverse;

impl Queue {
    /// Keeps the next place for a message; `None` if the queue does not take it.
    pub(crate) fn keep_place(&mut self, message: &Message) -> Option<Position> {
        self.takes(message).then(|| self.entries.reserve())
    }

    /// Puts a message at the place that was kept for it. [`Queue::serve_filled`] follows. False if there is no room.
    pub(crate) fn fill(
        &mut self,
        now: Time,
        at: Position,
        (message, place): (Message, Seq),
        out: &mut Vec<Output>,
    ) -> bool {
        self.give_up_room(&message);
        if !self.make_room(&message, 0, out) {
            if place != Seq::NONE {
                let delivery = DeliveryRef { queue: self.id, position: at };
                out.push(Output::Dequeued { delivery, place, size: message.size() });
            }
            return false;
        }
        self.entries.fill(at, message.clone(), place);
        self.counters.enqueued += 1;
        if let Some(due) = due_after(now, &message) {
            // Its transaction is decided: it is safe.
            self.keep_until(due, at, Seq::NONE, out);
            self.arrived(now, at, out);
            return true;
        }
        self.order_filled(at, &message, out);
        self.arrived(now, at, out);
        self.find_behind(at, &message);
        true
    }

    /// A message has come to a place that was empty, or where nobody could see it: those who have passed it come
    /// back to it.
    pub(super) fn find_behind(&mut self, at: Position, message: &Message) {
        let level = self.level_of(message);
        for subscription in self.subscriptions.each_own() {
            let passed = subscription.cursor.in_level(level) > at;
            let selected = |s: &Selection| s.wants(at, message, false);
            if passed && subscription.selection.as_deref().is_none_or(selected) {
                subscription.behind().insert((Reverse(level), at));
            }
        }
    }

    /// Messages were put at places that were kept for them: whoever waits is served.
    pub(crate) fn serve_filled(&mut self, now: Time, out: &mut Vec<Output>) {
        if !self.serve_freed(now, out) {
            self.serve_all(now, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::QueueId;
    use crate::queue::testing::{message, subscription_id};
    use crate::queue::{CreditUnit, INFINITE};
    use crate::request::{Mode, Subscribe};

    fn queue(tag: u32, mode: Mode, settles: bool) -> Queue {
        let mut q = Queue::new(QueueId(1));
        let subscribe = Subscribe {
            tag,
            queue: "q".into(),
            mode,
            settles,
            exclusive: false,
            selector: None,
            arguments: fletch_amqp::types::Map::new(),
        };
        q.subscribe(subscription_id(tag), &subscribe).expect("nobody else");
        q
    }

    fn grant(q: &mut Queue, tag: u32, messages: u32) -> Vec<Position> {
        let mut out = Vec::new();
        for (unit, value) in [(CreditUnit::Bytes, INFINITE), (CreditUnit::Messages, messages)] {
            q.grant(Time(1), subscription_id(tag), unit, value, &mut out);
        }
        positions(out)
    }

    fn enqueue(q: &mut Queue) -> Vec<Position> {
        let mut out = Vec::new();
        q.enqueue(Time(1), message(10), &mut out);
        positions(out)
    }

    fn fill(q: &mut Queue, at: Position) -> Vec<Position> {
        let mut out = Vec::new();
        q.fill(Time(0), at, (message(10), Seq::NONE), &mut out);
        q.serve_filled(Time(1), &mut out);
        positions(out)
    }

    fn positions(out: Vec<Output>) -> Vec<Position> {
        let delivered = out.into_iter().filter_map(|output| match output {
            Output::Deliver { delivery, .. } => Some(delivery.position),
            _ => None,
        });
        delivered.collect()
    }

    #[test]
    fn a_consumer_gets_the_late_one_before_those_behind_it() {
        let mut q = queue(1, Mode::Consume, true);
        assert_eq!(enqueue(&mut q), []);
        let kept = q.keep_place(&message(10)).expect("taken");
        for _ in 0..200 {
            enqueue(&mut q);
        }
        assert_eq!((kept, q.messages()), (2, 201));
        assert_eq!(grant(&mut q, 1, 100).len(), 100);
        assert_eq!(fill(&mut q, kept), []);
        assert_eq!(grant(&mut q, 1, 1), [kept], "others are far beyond it");
        assert_eq!(q.available(), 101);
    }

    #[test]
    fn a_browser_comes_back_for_places_that_are_filled_late() {
        let mut q = queue(1, Mode::Browse, true);
        enqueue(&mut q);
        let kept: Vec<Position> = (0..3).filter_map(|_| q.keep_place(&message(10))).collect();
        enqueue(&mut q);
        assert_eq!(grant(&mut q, 1, 2), [1, 5], "what is kept is not there");
        assert_eq!(fill(&mut q, kept[2]), []);
        assert_eq!(fill(&mut q, kept[0]), []);
        q.purge(2, 1, &mut Vec::new());
        q.purge(2, 1, &mut Vec::new());
        assert_eq!(grant(&mut q, 1, 10), [4], "the other one is gone again");
        assert_eq!(fill(&mut q, kept[1]), [3]);
        assert_eq!(enqueue(&mut q), [6], "and it goes on where it was");
    }

    #[test]
    fn a_browser_that_has_not_come_so_far_sees_each_once() {
        let mut q = queue(1, Mode::Browse, true);
        enqueue(&mut q);
        let kept = q.keep_place(&message(10)).expect("taken");
        enqueue(&mut q);
        fill(&mut q, kept);
        assert_eq!(grant(&mut q, 1, 10), [1, 2, 3]);
    }

    #[test]
    fn places_that_stay_empty_cost_nothing() {
        let mut q = queue(1, Mode::Consume, false);
        grant(&mut q, 1, INFINITE);
        for _ in 0..1000 {
            q.keep_place(&message(10));
            enqueue(&mut q);
            q.room(Time(1), subscription_id(1), 1, 10, &mut Vec::new());
        }
        assert_eq!((q.messages(), q.newest()), (0, 2000));
        assert!(q.index() <= 180, "one chunk at most: {}", q.index());
    }
}
