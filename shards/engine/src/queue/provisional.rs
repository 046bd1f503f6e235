//! Messages of a last value queue that are not safe yet: a crash, or another shard, may take them back.
//!
//! A message is *provisional* until its record is durable and, if its publish goes to several shards, that is
//! decided. An older one with its key is *kept* until then, out of sight, and comes back if the newer one is
//! withdrawn. So nothing that does not hold takes the place of anything that does, whenever a crash comes.

use super::entries::Body;
use super::order::Order;
use super::{Output, Queue};
use crate::ids::{Position, Time};
use crate::topology::FixedMap;
use fletch_journal::Seq;
use smallvec::SmallVec;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Provisional {
    /// What is kept because of each.
    open: FixedMap<Position, SmallVec<[Position; 1]>>,
    /// Because of which each is kept, and its size.
    kept: FixedMap<Position, (Position, u64)>,
    /// Bytes of those.
    bytes: u64,
}

impl Provisional {
    /// A message has come that is provisional.
    pub(super) fn open(&mut self, position: Position) {
        self.open.insert(position, SmallVec::new());
    }

    pub(super) fn is_open(&self, position: Position) -> bool {
        self.open.contains_key(&position)
    }

    fn keep(&mut self, older: Position, size: u64, newer: Position) {
        if let Some(kept) = self.open.get_mut(&newer) {
            kept.push(older);
            self.kept.insert(older, (newer, size));
            self.bytes += size;
        }
    }

    /// A message is kept no more. Because of which it was.
    pub(super) fn unkeep(&mut self, older: Position) -> Option<Position> {
        let (newer, size) = self.kept.remove(&older)?;
        self.bytes -= size;
        if let Some(kept) = self.open.get_mut(&newer) {
            kept.retain(|other| *other != older);
        }
        Some(newer)
    }

    /// A message is provisional no more: what was kept because of it.
    fn close(&mut self, position: Position) -> SmallVec<[Position; 1]> {
        let kept = self.open.remove(&position).unwrap_or_default();
        for older in &kept {
            self.unkeep(*older);
        }
        kept
    }

    /// How many are kept, and their bytes.
    pub(super) fn kept(&self) -> (u64, u64) {
        (self.kept.len() as u64, self.bytes)
    }
}

impl Queue {
    fn provisional(&mut self) -> Option<&mut Provisional> {
        self.order.last_values().map(|values| &mut values.provisional)
    }

    /// Whether [`Queue::confirm`] has to follow when a message is safe.
    pub(crate) fn is_provisional(&self, position: Position) -> bool {
        let order = match &self.order {
            Order::Unsorted(order) => order,
            order => order,
        };
        matches!(order, Order::LastValue(values) if values.provisional.is_open(position))
    }

    /// A message is safe: what it has taken the place of leaves.
    pub(crate) fn confirm(&mut self, position: Position, out: &mut Vec<Output>) {
        let kept = self.provisional().map(|provisional| provisional.close(position));
        for older in kept.into_iter().flatten() {
            if let Some(removed) = self.remove_acquired(older) {
                self.counters.dequeued += 1;
                self.counters.replaced += 1;
                self.dequeued(older, &removed, out);
            }
            // It may not be safe itself.
            self.confirm(older, out);
        }
    }

    /// Keeps a message out of sight because of a provisional one; what somebody has is looked at when it comes
    /// back.
    pub(super) fn keep_behind(&mut self, older: Position, newer: Position, out: &mut Vec<Output>) {
        if !self.entries.is_available(older) {
            return;
        }
        let size = self.entries.get(older).map_or(0, |entry| entry.size() as u64);
        self.entries.hide(older);
        if let Some(provisional) = self.provisional() {
            provisional.keep(older, size, newer);
        }
        self.left(older, out);
    }

    /// Takes a journalled message out, as if it had never come. One that somebody has acquired stays,
    /// and is journalled no more. Where its record stands, and its size.
    pub(crate) fn withdraw(
        &mut self,
        now: Time,
        position: Position,
        out: &mut Vec<Output>,
    ) -> Option<(Seq, usize)> {
        let record = self.withdraw_one(position, out);
        let kept = self.provisional().map(|provisional| provisional.close(position));
        let kept = kept.unwrap_or_default();
        for older in &kept {
            self.release_one(*older, false, out);
            self.arrived(now, *older, out);
        }
        if !kept.is_empty() {
            self.serve_all(now, out);
        }
        record
    }

    fn withdraw_one(&mut self, position: Position, out: &mut Vec<Output>) -> Option<(Seq, usize)> {
        let entry = self.entries.get(position)?;
        let (place, size) = (entry.place(), entry.size());
        let here = matches!(entry.body(), Body::Here(_));
        if place == Seq::NONE {
            return None;
        }
        // What was kept because of one that is kept itself is so because of the newer one now.
        if let Some(provisional) = self.provisional()
            && let Some(newer) = provisional.unkeep(position)
        {
            for older in provisional.open.remove(&position).unwrap_or_default() {
                let size = provisional.kept.get(&older).map_or(0, |(_, size)| *size);
                provisional.unkeep(older);
                provisional.keep(older, size, newer);
            }
            self.remove_acquired(position);
            self.counters.dequeued += 1;
            return Some((place, size));
        }
        if self.remove_unclaimed(position).is_some() {
            self.counters.dequeued += 1;
            self.left(position, out);
            return Some((place, size));
        }
        if !here {
            return None; // Only its record has the body.
        }
        self.entries.set_place(position, Seq::NONE);
        if let Some(values) = self.order.last_values() {
            values.forget(position);
        }
        Some((place, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::QueueId;
    use crate::message::Message;
    use crate::queue::testing::message_with;
    use crate::queue::{QueueDefaults, QueueSettings};

    /// Stands for a place in the journal.
    const PLACE: Seq = Seq(1);

    fn queue() -> Queue {
        let mut q = Queue::new(QueueId(1));
        let settings =
            QueueSettings { last_value_key: Some("key".into()), ..QueueSettings::default() };
        q.configure(Time(1), &settings, (&QueueDefaults::UNLIMITED, false), &mut Vec::new());
        q
    }

    fn push(q: &mut Queue, message: Message, provisional: bool) -> Position {
        let position = q.enqueue_at(
            Time(1),
            message,
            (if provisional { PLACE } else { Seq::NONE }, 0),
            &mut Vec::new(),
        );
        position.expect("it takes everything")
    }

    /// Positions that could be consumed, and those that are there.
    fn there(q: &Queue) -> (Vec<Position>, Vec<Position>) {
        let all: Vec<Position> = q.all_messages().map(|(position, ..)| position).collect();
        (all.iter().copied().filter(|p| q.entries.is_available(*p)).collect(), all)
    }

    fn gone(out: &[Output]) -> Vec<Position> {
        let dequeued = out.iter().filter_map(|output| match output {
            Output::Dequeued { delivery, .. } => Some(delivery.position),
            _ => None,
        });
        dequeued.collect()
    }

    #[test]
    fn an_older_value_leaves_when_the_newer_is_safe() {
        let (mut q, mut out) = (queue(), Vec::new());
        let a = || message_with("key", "a");
        push(&mut q, a(), true);
        q.confirm(1, &mut out);
        push(&mut q, a(), true);
        assert_eq!(there(&q), (vec![2], vec![1, 2]));
        q.confirm(2, &mut out);
        assert_eq!((there(&q), gone(&out)), ((vec![2], vec![2]), vec![1]));
        assert_eq!(q.counters().replaced, 1);
    }

    #[test]
    fn an_older_value_comes_back_when_the_newer_is_withdrawn() {
        let (mut q, mut out) = (queue(), Vec::new());
        let a = || message_with("key", "a");
        push(&mut q, a(), false);
        push(&mut q, a(), true);
        assert!(q.withdraw(Time(1), 2, &mut out).is_some());
        assert_eq!((there(&q), gone(&out)), ((vec![1], vec![1]), vec![]));
        push(&mut q, a(), false);
        assert_eq!(there(&q), (vec![3], vec![3]));
    }

    #[test]
    fn several_that_are_not_safe_are_a_chain() {
        let a = || message_with("key", "a");
        let chain = || {
            let mut q = queue();
            push(&mut q, a(), false);
            push(&mut q, a(), true);
            push(&mut q, a(), true);
            assert_eq!(there(&q), (vec![3], vec![1, 2, 3]));
            q
        };
        let mut out = Vec::new();
        // The one in the middle is withdrawn, then the last.
        let mut q = chain();
        q.withdraw(Time(1), 2, &mut out);
        assert_eq!(there(&q), (vec![3], vec![1, 3]));
        q.withdraw(Time(1), 3, &mut out);
        assert_eq!((there(&q), gone(&out)), ((vec![1], vec![1]), vec![]));
        // The last is safe first.
        let mut q = chain();
        q.confirm(3, &mut out);
        assert_eq!(there(&q), (vec![3], vec![3]));
        assert!(q.withdraw(Time(1), 2, &mut out).is_none());
        assert_eq!(there(&q), (vec![3], vec![3]));
        // The one in the middle is safe, and the last withdrawn.
        let mut q = chain();
        q.confirm(2, &mut out);
        q.withdraw(Time(1), 3, &mut out);
        assert_eq!(there(&q), (vec![2], vec![2]));
        // One comes that needs no record.
        let mut q = chain();
        push(&mut q, a(), false);
        assert_eq!(there(&q), (vec![4], vec![4]));
    }

    #[test]
    fn what_somebody_has_is_kept_when_it_comes_back() {
        let (mut q, mut out) = (queue(), Vec::new());
        let a = || message_with("key", "a");
        push(&mut q, a(), false);
        assert!(q.acquire(crate::queue::testing::subscription_id(1).session, 1));
        push(&mut q, a(), true);
        q.release(Time(1), [1], true, &mut out);
        assert_eq!(there(&q), (vec![2], vec![1, 2]));
        q.withdraw(Time(1), 2, &mut out);
        assert_eq!(there(&q), (vec![1], vec![1]));
    }
}
