//! Messages that a consumer has said it cannot take: they are available again, for the others.
//!
//! Such a consumer goes through the queue by its own cursor from then on, as one with a selector does, and passes
//! what it has declined. So nobody else looks at any list.

use super::Queue;
use super::select::Selection;
use super::{Mode, Output};
use crate::ids::{Position, SubscriptionId, Time};

/// What is kept in mind is sorted out when it is more than twice what there is, and this.
const DECLINED_MIN: usize = 64;

impl Queue {
    /// Delivered messages return to their places, and this subscription gets them no more.
    pub fn decline(
        &mut self,
        now: Time,
        by: SubscriptionId,
        positions: &[Position],
        set_redelivered: bool,
        out: &mut Vec<Output>,
    ) {
        self.keep_from(by, positions);
        self.release(now, positions.iter().copied(), set_redelivered, out);
    }

    fn keep_from(&mut self, by: SubscriptionId, positions: &[Position]) {
        let Some(key) = self.subscriptions.find(by) else { return };
        if self.subscriptions[key].mode != Mode::Consume {
            return;
        }
        self.subscriptions.go_alone(key);
        let Some(Selection { declined, .. }) = self.subscriptions[key].selection.as_deref_mut()
        else {
            return;
        };
        let there = |position: &Position| self.entries.get(*position).is_some();
        declined.extend(positions.iter().copied().filter(there));
        if declined.len() > 2 * self.entries.messages() as usize + DECLINED_MIN {
            declined.retain(there);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::QueueId;
    use crate::message::Message;
    use crate::queue::testing::{message, message_of_priority, message_with, subscription_id};
    use crate::queue::{CreditUnit, INFINITE, QueueDefaults, QueueSettings};
    use crate::request::Subscribe;
    use fletch_amqp::types::Map;

    const NOW: Time = Time(1);

    /// A queue that was declared so, with subscriptions 1 and 2.
    fn queue(arguments: &Map, messages: impl IntoIterator<Item = Message>) -> Queue {
        let mut q = Queue::new(QueueId(1));
        let settings = QueueSettings::new("q", arguments).expect("they mean something");
        q.configure(NOW, &settings, (&QueueDefaults::UNLIMITED, false), &mut Vec::new());
        messages.into_iter().for_each(|message| q.enqueue(NOW, message, &mut Vec::new()));
        for tag in [1, 2] {
            let subscribe = Subscribe {
                tag,
                queue: "q".into(),
                mode: Mode::Consume,
                settles: true,
                exclusive: false,
                selector: None,
                arguments: Map::new(),
            };
            q.subscribe(subscription_id(tag), &subscribe).expect("nobody minds");
            q.grant(NOW, subscription_id(tag), CreditUnit::Bytes, INFINITE, &mut Vec::new());
        }
        q
    }

    /// To whom what went.
    fn delivered(out: Vec<Output>) -> Vec<(u32, Position)> {
        let delivered = out.into_iter().filter_map(|output| match output {
            Output::Deliver { to, delivery, .. } => Some((to.tag, delivery.position)),
            _ => None,
        });
        delivered.collect()
    }

    fn grant(q: &mut Queue, tag: u32, messages: u32) -> Vec<(u32, Position)> {
        let mut out = Vec::new();
        q.grant(NOW, subscription_id(tag), CreditUnit::Messages, messages, &mut out);
        delivered(out)
    }

    fn decline(q: &mut Queue, tag: u32, positions: &[Position]) -> Vec<(u32, Position)> {
        let mut out = Vec::new();
        q.decline(NOW, subscription_id(tag), positions, true, &mut out);
        delivered(out)
    }

    #[test]
    fn what_one_cannot_take_is_for_the_others() {
        let mut q = queue(&Map::new(), (0..4).map(|_| message(1)));
        assert_eq!(grant(&mut q, 1, 2), [(1, 1), (1, 2)]);
        assert_eq!(decline(&mut q, 1, &[1]), []);
        assert_eq!(grant(&mut q, 1, 1), [(1, 3)], "it goes on behind it");
        assert_eq!(grant(&mut q, 2, 2), [(2, 1), (2, 4)], "the other has it at its place");
        // What another has put back it has not declined itself.
        assert_eq!(grant(&mut q, 1, 9), []);
        assert_eq!(decline(&mut q, 2, &[1, 4]), [(1, 4)]);
        assert_eq!((q.available(), q.messages()), (1, 4));
        assert!(q.accept(4, &mut Vec::new()));
        assert_eq!(q.purge(9, 9, &mut Vec::new()), (1, false));
    }

    #[test]
    fn it_is_for_the_next_one_that_comes() {
        let mut q = queue(&Map::new(), [message(1)]);
        assert_eq!(grant(&mut q, 1, 9), [(1, 1)]);
        assert_eq!(decline(&mut q, 1, &[1]), []);
        assert_eq!(grant(&mut q, 2, 9), [(2, 1)]);
        assert_eq!(decline(&mut q, 2, &[1]), []);
        assert!(q.cancel(subscription_id(1), &mut Vec::new()));
        assert_eq!(decline(&mut q, 1, &[1]), [], "it has gone");
        assert_eq!((q.available(), q.consumers()), (1, 1));
    }

    #[test]
    fn priorities_groups_and_last_values_hold() {
        let priorities = Map::new().with("qpid.priorities", 10);
        let mut q = queue(&priorities, [3, 9, 5].map(message_of_priority));
        assert_eq!(grant(&mut q, 1, 1), [(1, 2)]);
        assert_eq!(decline(&mut q, 1, &[2]), []);
        assert_eq!(grant(&mut q, 1, 1), [(1, 3)]);
        assert_eq!(grant(&mut q, 2, 9), [(2, 2), (2, 1)]);

        let groups = Map::new().with("qpid.group_header_key", "g").with("qpid.shared_msg_group", 1);
        let mut q = queue(&groups, ["a", "a", "b"].map(|group| message_with("g", group)));
        assert_eq!(grant(&mut q, 1, 2), [(1, 1), (1, 2)]);
        assert_eq!(decline(&mut q, 1, &[1]), []);
        assert_eq!(grant(&mut q, 2, 1), [(2, 3)], "the group is another's still");
        assert_eq!(grant(&mut q, 2, 1), []);
        q.accept(2, &mut Vec::new());
        let mut out = Vec::new();
        q.serve_freed(NOW, &mut out);
        assert_eq!(delivered(out), [(2, 1)]);

        let values = Map::new().with("qpid.last_value_queue_key", "k");
        let mut q = queue(&values, [message_with("k", "a")]);
        assert_eq!(grant(&mut q, 1, 1), [(1, 1)]);
        assert_eq!(decline(&mut q, 1, &[1]), []);
        assert_eq!(grant(&mut q, 1, 1), []);
        let mut out = Vec::new();
        q.enqueue(NOW, message_with("k", "a"), &mut out);
        assert_eq!((delivered(out), q.messages()), (vec![(1, 2)], 1));
    }

    #[test]
    fn what_has_left_is_forgotten() {
        let mut q = queue(&Map::new(), []);
        grant(&mut q, 1, INFINITE);
        for position in 1..1000 {
            let mut out = Vec::new();
            q.enqueue(NOW, message(1), &mut out);
            assert_eq!(delivered(out), [(1, position)]);
            q.room(NOW, subscription_id(1), 1, 1, &mut Vec::new());
            assert_eq!(decline(&mut q, 1, &[position]), []);
            assert_eq!(q.purge(position, 9, &mut Vec::new()).0, 1);
            let key = q.subscriptions.find(subscription_id(1)).expect("it is there");
            let kept = q.subscriptions[key].selection.as_ref().map_or(0, |s| s.declined.len());
            assert!(kept <= DECLINED_MIN + 2, "{kept}");
        }
    }
}
