//! Publishes that are not complete: other shards or the disk have still to take them, and the broker holds
//! them meanwhile. How many may be, for each connection, is limited: nothing more is read from it then, so
//! that a client which does not wait for completions goes no faster than the disk.
//!
//! One that only a queue's flow control holds back weighs nothing any more: the queue has its message, and
//! its consumers may be on this very connection.

use fletch_amqp::serial::CommandId;
use std::collections::VecDeque;

/// Messages of a connection that may be under way.
const MESSAGES: usize = 65_536;
/// Their bytes, headers included; one message may have more.
const BYTES: u64 = 16 << 20;

/// What a connection has under way, all its sessions together.
#[derive(Debug, Default)]
pub(crate) struct Total {
    messages: usize,
    bytes: u64,
}

impl Total {
    /// Whether nothing more may be read for now.
    pub(crate) fn is_too_much(&self) -> bool {
        self.messages >= MESSAGES || self.bytes >= BYTES
    }
}

/// What a session has under way.
#[derive(Debug, Default)]
pub(crate) struct UnderWay {
    /// In the order of their ids, each with its size, or [`DONE`]: the ends come nearly in order.
    publishes: VecDeque<(CommandId, u32)>,
}

/// Complete, and behind one that is not.
const DONE: u32 = u32::MAX;

impl UnderWay {
    /// A publish is not complete at once.
    pub(crate) fn begin(&mut self, id: CommandId, size: usize, total: &mut Total) {
        let size = u32::try_from(size).unwrap_or(DONE).min(DONE - 1);
        self.publishes.push_back((id, size));
        total.messages += 1;
        total.bytes += u64::from(size);
    }

    /// The size of one that is not complete.
    fn find(&mut self, id: CommandId) -> Option<&mut u32> {
        let &(first, _) = self.publishes.front()?;
        let offset = |id: CommandId| id.0.wrapping_sub(first.0);
        let at = match id == first {
            true => 0,
            false => self.publishes.partition_point(|(other, _)| offset(*other) < offset(id)),
        };
        let found = self.publishes.get_mut(at).filter(|p| p.0 == id && p.1 != DONE);
        found.map(|(_, size)| size)
    }

    /// It is safe where it went, but held back.
    pub(crate) fn withhold(&mut self, id: CommandId, total: &mut Total) {
        if let Some(size) = self.find(id) {
            total.bytes -= u64::from(std::mem::take(size));
        }
    }

    /// It is complete, or has failed.
    pub(crate) fn end(&mut self, id: CommandId, total: &mut Total) {
        let Some(size) = self.find(id) else { return };
        let size = std::mem::replace(size, DONE);
        total.messages -= 1;
        total.bytes -= u64::from(size);
        while self.publishes.pop_front_if(|(_, size)| *size == DONE).is_some() {}
        if self.publishes.is_empty() && self.publishes.capacity() > 1024 {
            self.publishes = VecDeque::new();
        }
    }

    /// The session is over: nobody will hear of what is left.
    pub(crate) fn forget(&mut self, total: &mut Total) {
        for (_, size) in self.publishes.drain(..).filter(|(_, size)| *size != DONE) {
            total.messages -= 1;
            total.bytes -= u64::from(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_come_in_any_order() {
        let (mut session, mut total) = (UnderWay::default(), Total::default());
        // Ids wrap, and other commands lie between.
        let id = |n: u32| CommandId((u32::MAX - 5).wrapping_add(3 * n));
        for n in 0..10 {
            session.begin(id(n), 100, &mut total);
        }
        session.end(CommandId(id(2).0.wrapping_add(1)), &mut total);
        assert_eq!((total.messages, total.bytes), (10, 1000), "that was no publish");
        for n in [9, 0, 5, 1, 2, 8, 3, 4, 7] {
            session.end(id(n), &mut total);
            session.end(id(n), &mut total);
        }
        assert_eq!((total.messages, total.bytes, session.publishes.len()), (1, 100, 4));
        session.end(id(6), &mut total);
        assert_eq!((total.messages, total.bytes, session.publishes.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_held_back_has_no_weight_but_is_counted() {
        let (mut session, mut total) = (UnderWay::default(), Total::default());
        for n in 0..3 {
            session.begin(CommandId(n), 100 << 20, &mut total);
        }
        for n in [1, 0, 2, 2] {
            session.withhold(CommandId(n), &mut total);
        }
        assert!(!total.is_too_much());
        assert_eq!((total.messages, total.bytes), (3, 0));
        session.end(CommandId(1), &mut total);
        session.forget(&mut total);
        assert_eq!((total.messages, total.bytes), (0, 0));
    }

    #[test]
    fn a_session_that_is_over_weighs_nothing() {
        let (mut one, mut other) = (UnderWay::default(), UnderWay::default());
        let mut total = Total::default();
        for n in 0..4 {
            one.begin(CommandId(n), 10, &mut total);
            other.begin(CommandId(n), 1000, &mut total);
        }
        other.end(CommandId(1), &mut total);
        other.forget(&mut total);
        assert_eq!((total.messages, total.bytes), (4, 40));
    }

    #[test]
    fn many_are_too_much_and_so_are_large_ones_but_never_none() {
        let (mut session, mut total) = (UnderWay::default(), Total::default());
        assert!(!total.is_too_much());
        session.begin(CommandId(0), 100 << 20, &mut total);
        assert!(total.is_too_much(), "a second one has to wait");
        session.end(CommandId(0), &mut total);
        for n in 0..MESSAGES as u32 {
            assert!(!total.is_too_much(), "{n}");
            session.begin(CommandId(n), 200, &mut total);
        }
        assert!(total.is_too_much());
        session.end(CommandId(0), &mut total);
        assert!(!total.is_too_much());
    }
}
