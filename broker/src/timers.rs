//! Deadlines of connections: one heap per shard, with at most one live entry per connection.
//!
//! A deadline that moves later (heartbeats do, with every frame) leaves its entry where it is; the
//! entry is looked at when it comes up and the owner arms again. So traffic costs nothing here.

use fletch_engine::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// See the module. `K` names an owner; its `index` is small and unique among live owners.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Time, usize, K)>>,
    /// By owner's index: the earliest entry in the heap for it.
    armed: Vec<Option<Time>>,
}

impl<K> Default for Timers<K>
where
    K: Ord,
{
    fn default() -> Self {
        Timers { heap: BinaryHeap::new(), armed: Vec::new() }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Sees that `pop` returns `key` at or soon after `at`, or before.
    pub(crate) fn arm(&mut self, index: usize, key: K, at: Time) {
        if self.armed.len() <= index {
            self.armed.resize(index + 1, None);
        }
        let armed = &mut self.armed[index];
        if armed.is_none_or(|earliest| at < earliest) {
            *armed = Some(at);
            self.heap.push(Reverse((at, index, key)));
        }
    }

    /// The owner at `index` is gone; what it armed will be popped and found stale.
    pub(crate) fn forget(&mut self, index: usize) {
        if let Some(armed) = self.armed.get_mut(index) {
            *armed = None;
        }
    }

    /// When `pop` has something.
    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next owner whose entry is due; it arms again if its deadline has moved.
    pub(crate) fn pop(&mut self, now: Time) -> Option<K> {
        let &Reverse((at, index, key)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        if self.armed[index] == Some(at) {
            self.armed[index] = None;
        }
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_deadline_adds_no_entry_and_an_earlier_one_does() {
        let mut timers = Timers::default();
        timers.arm(0, 'a', Time(10));
        timers.arm(0, 'a', Time(20));
        assert_eq!(timers.heap.len(), 1);
        timers.arm(0, 'a', Time(5));
        assert_eq!(timers.next(), Some(Time(5)));
        assert_eq!(timers.pop(Time(4)), None);
        assert_eq!(timers.pop(Time(5)), Some('a'));
        timers.arm(0, 'a', Time(20));
        assert_eq!(timers.pop(Time(20)), Some('a'));
    }
}
