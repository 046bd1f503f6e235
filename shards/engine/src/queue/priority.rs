//! Priority queues: which level a message belongs to, and whose turn it is.
//!
//! Without fair shares the highest level that has a message is served. With them, a level that has had as
//! many messages in a row as its share gives way to the next lower one, and so on around.

use super::positions::Positions;
use super::settings::Priorities;
use super::subscription::Cursor;
use crate::ids::Position;
use crate::message::Message;

/// The available messages of a queue by level, 0 the lowest.
#[derive(Debug)]
pub(super) struct Levels {
    levels: Box<[Positions]>,
    /// How many in a row each level may have, 0: any number. Empty without fair shares.
    shares: Box<[u32]>,
    /// The level served last, and how often in a row.
    current: usize,
    count: u32,
}

impl Levels {
    pub(super) fn new(priorities: &Priorities) -> Levels {
        let count = usize::from(priorities.levels.max(1));
        Levels {
            levels: (0..count).map(|_| Positions::default()).collect(),
            shares: priorities.fairshare.clone().into(),
            current: count - 1,
            count: 0,
        }
    }

    /// The level of a message (0-10 rule priority-level-implementation: with few levels those in the
    /// middle count, what is below or above belongs to the lowest or highest).
    pub(super) fn of(&self, message: &Message) -> usize {
        let levels = self.levels.len();
        let lowest = 5 - levels.div_ceil(2).min(5);
        usize::from(message.meta().priority).saturating_sub(lowest).min(levels - 1)
    }

    /// How many levels.
    pub(super) fn count(&self) -> usize {
        self.levels.len()
    }

    /// A message is available.
    pub(super) fn show(&mut self, position: Position, message: &Message) {
        let level = self.of(message);
        self.levels[level].insert(position);
    }

    /// It is not any more.
    pub(super) fn hide(&mut self, position: Position, message: &Message) {
        let level = self.of(message);
        self.levels[level].remove(position);
    }

    /// The next message to be consumed.
    pub(super) fn front(&self) -> Option<Position> {
        if self.shares.is_empty() {
            return self.levels.iter().rev().find_map(Positions::first);
        }
        let count = self.levels.len();
        let used_up = self.shares[self.current] != 0 && self.count >= self.shares[self.current];
        // Around once; with its share used up the current level comes last.
        let skip = usize::from(used_up);
        let turn = |n: usize| &self.levels[(self.current + count - n % count) % count];
        (skip..count + skip).find_map(|n| turn(n).first())
    }

    /// The message that is worth least: the oldest of the lowest level.
    pub(super) fn lowest(&self) -> Option<Position> {
        self.levels.iter().find_map(Positions::first)
    }

    /// A message was consumed in turn.
    pub(super) fn had_turn(&mut self, message: &Message) {
        let Some(top) = self.shares.len().checked_sub(1) else { return };
        let level = self.of(message).min(top);
        let share = self.shares[level];
        if level == self.current && (share == 0 || self.count < share) {
            self.count += 1;
        } else {
            (self.current, self.count) = (level, 1);
        }
    }

    /// The next message behind a cursor, and its level: the highest first.
    pub(super) fn next(&self, cursor: &Cursor) -> Option<(Position, usize)> {
        let levels = self.levels.iter().enumerate().rev();
        let mut found = levels.filter_map(|(n, level)| Some((level.next(cursor.in_level(n))?, n)));
        found.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::message_of_priority;

    fn levels(levels: u8, shares: &[u32], priorities: &[u8]) -> Levels {
        let mut all = Levels::new(&Priorities { levels, fairshare: shares.to_vec() });
        for (n, priority) in priorities.iter().enumerate() {
            all.show(n as Position + 1, &message_of_priority(*priority));
        }
        all
    }

    /// Priorities in the order they are consumed in.
    fn consumed(mut all: Levels, priorities: &[u8]) -> Vec<u8> {
        let mut order = Vec::new();
        while let Some(position) = all.front() {
            let priority = priorities[position as usize - 1];
            let message = message_of_priority(priority);
            all.had_turn(&message);
            all.hide(position, &message);
            order.push(priority);
        }
        order
    }

    #[test]
    fn few_levels_divide_the_middle() {
        for (count, expected) in [
            (10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
            (5, [0, 0, 0, 1, 2, 3, 4, 4, 4, 4]),
            (2, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
            (1, [0; 10]),
        ] {
            let all = levels(count, &[], &[]);
            let of = (0..10).map(|p| all.of(&message_of_priority(p))).collect::<Vec<_>>();
            assert_eq!(of, expected, "{count} levels");
            assert_eq!(all.of(&message_of_priority(255)), usize::from(count) - 1);
        }
    }

    #[test]
    fn the_highest_comes_first() {
        let priorities = [1, 9, 5, 9, 0];
        assert_eq!(consumed(levels(10, &[], &priorities), &priorities), [9, 9, 5, 1, 0]);
    }

    #[test]
    fn shares_let_the_lower_have_a_turn() {
        let priorities = [5, 5, 4, 4, 4, 4, 3, 5, 5, 5];
        let all = levels(3, &[0, 2, 3], &priorities);
        assert_eq!(consumed(all, &priorities), [5, 5, 5, 4, 4, 3, 5, 5, 4, 4]);
        // Alone, a level is served without end.
        let all = levels(10, &[5; 10], &[9; 30]);
        assert_eq!(consumed(all, &[9; 30]).len(), 30);
    }
}
