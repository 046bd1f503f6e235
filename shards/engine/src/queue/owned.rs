//! What each consumer of a queue with groups has: the first available message of each of its groups.

use super::positions::Positions;
use crate::ids::{Position, SubscriptionId};
use crate::topology::FixedMap;
use slab::Slab;
use std::cell::Cell;

/// So many consumers that have nothing are remembered, so that they do not come and go with each message.
const IDLE: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Owned {
    all: Slab<(SubscriptionId, Positions)>,
    numbers: FixedMap<SubscriptionId, usize>,
    /// The one that was looked for last: nearly always it is the next as well.
    last: Cell<usize>,
}

impl Owned {
    fn number(&self, consumer: SubscriptionId) -> Option<usize> {
        let last = self.last.get();
        if self.all.get(last).is_some_and(|(id, _)| *id == consumer) {
            return Some(last);
        }
        let number = *self.numbers.get(&consumer)?;
        self.last.set(number);
        Some(number)
    }

    /// The first of what a consumer has.
    #[inline]
    pub(super) fn first(&self, consumer: SubscriptionId) -> Option<Position> {
        self.all[self.number(consumer)?].1.first()
    }

    #[inline]
    pub(super) fn insert(&mut self, consumer: SubscriptionId, position: Position) {
        let number = match self.number(consumer) {
            Some(number) => number,
            None => self.begin(consumer),
        };
        self.all[number].1.insert(position);
    }

    fn begin(&mut self, consumer: SubscriptionId) -> usize {
        if self.all.len() >= IDLE && self.all.len() == self.all.capacity() {
            self.forget_idle();
        }
        let number = self.all.insert((consumer, Positions::default()));
        self.numbers.insert(consumer, number);
        self.last.set(number);
        number
    }

    fn forget_idle(&mut self) {
        let numbers = &mut self.numbers;
        self.all.retain(|_, (consumer, positions)| {
            let idle = positions.is_empty();
            if idle {
                numbers.remove(consumer);
            }
            !idle
        });
    }

    #[inline]
    pub(super) fn remove(&mut self, consumer: SubscriptionId, position: Position) {
        if let Some(number) = self.number(consumer) {
            self.all[number].1.remove(position);
        }
    }

    /// One position takes the place of another.
    #[inline]
    pub(super) fn replace(&mut self, consumer: SubscriptionId, old: Position, new: Position) {
        if let Some(number) = self.number(consumer) {
            let positions = &mut self.all[number].1;
            positions.remove(old);
            positions.insert(new);
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.all.iter().all(|(_, (_, positions))| positions.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::subscription_id;

    #[test]
    fn those_who_have_nothing_are_forgotten_when_there_are_many() {
        let mut owned = Owned::default();
        let kept = subscription_id(0);
        owned.insert(kept, 7);
        owned.insert(kept, 5);
        for tag in 1..10_000 {
            let consumer = subscription_id(tag);
            assert_eq!(owned.first(consumer), None);
            owned.insert(consumer, 9);
            owned.replace(consumer, 9, 11);
            assert_eq!((owned.first(consumer), owned.first(kept)), (Some(11), Some(5)));
            owned.remove(consumer, 11);
            assert_eq!(owned.first(consumer), None);
        }
        assert!(owned.all.len() <= 2 * IDLE && owned.numbers.len() == owned.all.len());
        owned.remove(kept, 5);
        owned.remove(kept, 7);
        assert!(owned.is_empty());
    }
}
