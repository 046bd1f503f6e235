//! Serving the consumers of a queue with message groups.
//!
//! A consumer in turn gets the first message it may have, of a free group or of one it has; when nobody is
//! left for the free groups, those who have groups get what is left in them.

use super::dispatch::{Front, size_of};
use super::entries::Body;
use super::groups::GroupReport;
use super::order::Order;
use super::subscription::Key;
use super::{Output, Queue};
use crate::ids::{Position, SubscriptionId, Time};
use crate::look::timestamp;

impl Queue {
    pub(super) fn is_grouped(&self) -> bool {
        matches!(self.order, Order::Groups(_))
    }

    /// The groups and their states, if it is a queue with groups: the header, and each group.
    pub fn groups(&self) -> Option<(&str, Vec<GroupReport>)> {
        match &self.order {
            Order::Groups(groups) => {
                Some((groups.header(), groups.report(|at| self.stamp(at)).collect()))
            }
            _ => None,
        }
    }

    /// When the message at a position came to the broker, if that was stamped.
    fn stamp(&self, position: Position) -> Option<u64> {
        let Body::Here(message) = self.entries.get(position)?.body() else { return None };
        timestamp(message)
    }

    pub(super) fn serve_grouped(&mut self, now: Time, out: &mut Vec<Output>) {
        while self.subscriptions.any_consumer() {
            let free = self.front_of_group(now, None, out);
            let Front::Message(_, size) = free else { break };
            let Some(key) = self.subscriptions.next_consumer(size) else { break };
            let front = self.front_of(now, key, Some(free), out);
            if !self.serve_front(key, front, out) {
                debug_assert!(false, "a message that fits is taken");
                break;
            }
        }
        self.serve_owners(now, out);
    }

    /// Owners get what is left in their groups.
    fn serve_owners(&mut self, now: Time, out: &mut Vec<Output>) {
        while let Order::Groups(groups) = &mut self.order {
            let mut gained = groups.take_gained();
            if gained.is_empty() {
                groups.give_back(gained);
                return;
            }
            gained.sort_unstable_by_key(|id| (id.session.raw(), id.tag));
            gained.dedup();
            for id in &gained {
                if let Some(key) = self.subscriptions.find(*id) {
                    while !self.subscriptions[key].is_own() && self.serve_next(now, key, out) {}
                }
            }
            if let Order::Groups(groups) = &mut self.order {
                groups.give_back(gained);
            }
        }
    }

    /// A consumer gets its next message, or finishes a flush. False if there is nothing it can get.
    fn serve_next(&mut self, now: Time, key: Key, out: &mut Vec<Output>) -> bool {
        if !self.subscriptions[key].open() {
            return false;
        }
        let front = self.front_of(now, key, None, out);
        self.serve_front(key, front, out)
    }

    /// The same when what comes next for it is known.
    fn serve_front(&mut self, key: Key, front: Front, out: &mut Vec<Output>) -> bool {
        let Front::Message(position, size) = front else { return false };
        if self.flush_ends_before(key, position) {
            self.finish_flush(key, out);
            return true;
        }
        if !self.subscriptions[key].credit.allows(size) {
            return false;
        }
        let Some(taken) = self.take(key, position, out) else { return false };
        self.deliver(key, position, size, taken, out);
        true
    }

    /// The first message for a consumer: of its groups, or of a free one if that comes before it or the
    /// other is too large for the credit. `free`: the first of the free ones, if that is known.
    pub(super) fn front_of(
        &mut self,
        now: Time,
        key: Key,
        free: Option<Front>,
        out: &mut Vec<Output>,
    ) -> Front {
        let id = self.subscriptions[key].id;
        let Order::Groups(groups) = &self.order else { return Front::Nothing };
        let any = self.subscriptions[key].credit.is_any_size();
        let mut free = free;
        match (groups.first_of(id), groups.first_free()) {
            (None, _) => return free.unwrap_or_else(|| self.front_of_group(now, None, out)),
            (Some(_), None) => return self.front_of_group(now, Some(id), out),
            // Whichever comes first, if both would fit: no need to look at the other.
            (Some(own), Some(first)) if any => {
                let front = match (own < first, free.take()) {
                    (true, _) => self.front_of_group(now, Some(id), out),
                    (false, Some(free)) => free,
                    (false, None) => self.front_of_group(now, None, out),
                };
                match front {
                    // Others before it may have expired.
                    Front::Message(position, _) if position < own.max(first) => return front,
                    _ => {}
                }
            }
            _ => {}
        }
        let own = self.front_of_group(now, Some(id), out);
        let free = free.unwrap_or_else(|| self.front_of_group(now, None, out));
        let credit = &self.subscriptions[key].credit;
        match (own, free) {
            (Front::Message(a, of_own), Front::Message(b, of_free)) => {
                let fit = (credit.allows(of_own), credit.allows(of_free));
                match a < b && fit != (false, true) || fit == (true, false) {
                    true => Front::Message(a, of_own),
                    false => Front::Message(b, of_free),
                }
            }
            (Front::Nothing, free) => free,
            (own, _) => own,
        }
    }

    /// The first message of a free group, or of one that a consumer has.
    fn front_of_group(
        &mut self,
        now: Time,
        owner: Option<SubscriptionId>,
        out: &mut Vec<Output>,
    ) -> Front {
        loop {
            let Order::Groups(groups) = &self.order else { return Front::Nothing };
            let position: Option<Position> = match owner {
                Some(id) => groups.first_of(id),
                None => groups.first_free(),
            };
            let entry = position.and_then(|position| self.entries.get(position));
            let Some(entry) = entry else { return Front::Nothing };
            let position = entry.position;
            match entry.body() {
                Body::Here(message) if message.meta().expires > now => {
                    return Front::Message(position, size_of(message));
                }
                Body::Here(_) => self.drop_expired(position, out),
                Body::Away { .. } => return Front::Away(position),
            }
        }
    }

    /// Messages were settled: if that made a group free, others may have it. Whether it did.
    #[inline]
    pub fn serve_freed(&mut self, now: Time, out: &mut Vec<Output>) -> bool {
        let Order::Groups(groups) = &mut self.order else { return false };
        let freed = groups.take_freed();
        if freed.is_empty() {
            return false;
        }
        if self.subscriptions.has_selecting() {
            freed.iter().for_each(|group| self.unblock(*group));
        }
        if let Order::Groups(groups) = &mut self.order {
            groups.give_back_freed(freed);
        }
        self.serve_all(now, out);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::QueueId;
    use crate::message::{Message, Meta};
    use crate::queue::settings::{QueueDefaults, QueueSettings};
    use crate::queue::testing::message;
    use fletch_amqp::types::Map;
    use fletch_amqp::v0_10::Compound;
    use fletch_amqp::v0_10::table::message::DeliveryProperties;

    fn stamped(timestamp: Option<u64>) -> Message {
        let mut content = Vec::new();
        let properties = DeliveryProperties { timestamp, ..Default::default() };
        properties.encode(&mut content).expect("a small header");
        let header_len = content.len() as u32;
        Message::new(Meta { header_len, ..message(0).meta().clone() }, &content)
    }

    #[test]
    fn a_group_has_the_time_of_its_oldest_message_if_that_is_asked_for() {
        let arguments =
            Map::new().with("qpid.group_header_key", "g").with("qpid.shared_msg_group", 1);
        let asking = arguments.clone().with("qpid.group_timestamp", 1);
        for (arguments, first, expected) in [
            (&arguments, Some(1_000), None),
            (&asking, Some(1_000), Some(1_000)),
            (&asking, None, None),
        ] {
            let (mut q, out) = (Queue::new(QueueId(1)), &mut Vec::new());
            let settings = QueueSettings::new("q", arguments).expect("they mean something");
            q.configure(Time(1), &settings, (&QueueDefaults::UNLIMITED, false), out);
            q.enqueue(Time(1), stamped(first), out);
            q.enqueue(Time(1), stamped(Some(2_000)), out);
            let (_, groups) = q.groups().expect("it has groups");
            let times: Vec<_> = groups.iter().map(|group| group.timestamp).collect();
            assert_eq!(times, [expected]);
        }
    }
}
