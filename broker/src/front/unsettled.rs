//! What a session has sent to its client and may still hear about: deliveries by command id.
//!
//! A record stays until it is settled *and*, in window mode, completed (its completion gives
//! credit back). Ids grow, so the records are a deque in order; a settle or completion in order
//! costs O(1), any other a binary search.

use fletch_amqp::serial::{CommandId, SequenceSet};
use fletch_engine::DeliveryRef;
use std::collections::VecDeque;

/// One delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// The transfer's id in the session.
    pub(crate) id: CommandId,
    /// Which message.
    pub(crate) delivery: DeliveryRef,
    /// Which subscription of the session.
    pub(crate) tag: u32,
    /// What it took of the byte credit.
    pub(crate) size: u32,
    /// The message is this session's to settle.
    pub(crate) acquired: bool,
    /// Nothing is left to settle: accepted, released, rejected, or sent with accept mode none.
    pub(crate) ended: bool,
    /// Accepted in a transaction that is not committed.
    pub(crate) accepted: bool,
    /// Completing it moves the subscription's window.
    pub(crate) windowing: bool,
    /// Nothing will come for it any more.
    pub(crate) gone: bool,
}

impl Record {
    pub(crate) fn new(id: CommandId, delivery: DeliveryRef, tag: u32, size: u32) -> Record {
        let (acquired, ended, accepted, windowing, gone) = (false, false, false, false, false);
        Record { id, delivery, tag, size, acquired, ended, accepted, windowing, gone }
    }
}

/// The records of a session.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    records: VecDeque<Record>,
    /// How many of those are gone.
    gone: usize,
}

/// Records that may be gone and still take room, before the table is looked through for them.
const GONE_KEPT: usize = 64;

impl Unsettled {
    /// Adds the newest delivery. Ids must grow.
    pub(crate) fn push(&mut self, record: Record) {
        if record.windowing || !record.ended || !record.acquired {
            self.records.push_back(record);
        }
    }

    /// The oldest transfer that there is a record of.
    pub(crate) fn oldest(&self) -> Option<CommandId> {
        self.records.front().map(|r| r.id)
    }

    /// How many deliveries are not settled or not completed.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.records.iter().filter(|r| !r.gone).count()
    }

    /// Calls `f` on the live records whose ids are in `ids`, in order, then forgets those that
    /// nothing will come for: settled, and completed if they were in a window.
    pub(crate) fn for_each_in(&mut self, ids: &SequenceSet, mut f: impl FnMut(&mut Record)) {
        for range in ids.ranges() {
            let start = self.find(range.low);
            for record in self.records.range_mut(start..) {
                if !range.contains(record.id) {
                    break;
                }
                if !record.gone {
                    f(record);
                    record.gone = record.ended && !record.windowing;
                    self.gone += usize::from(record.gone);
                }
            }
        }
        self.trim();
    }

    /// Calls `f` on the live records whose ids are in `ids`, in order, and forgets none.
    pub(crate) fn visit(&self, ids: &SequenceSet, mut f: impl FnMut(&Record)) {
        for range in ids.ranges() {
            let start = self.find(range.low);
            let in_range = self.records.range(start..).take_while(|r| range.contains(r.id));
            in_range.filter(|r| !r.gone).for_each(&mut f);
        }
    }

    /// Where the first record at or after `id` stands. Ids are compared by their distance from the
    /// oldest record's: one held for long may be more than half the circle behind the newest.
    fn find(&self, id: CommandId) -> usize {
        let (Some(oldest), Some(newest)) = (self.records.front(), self.records.back()) else {
            return 0;
        };
        let offset = |id: CommandId| id.0.wrapping_sub(oldest.id.0);
        if offset(id) > offset(newest.id) {
            return 0; // Before the oldest, or after the newest, which the caller's range tells.
        }
        self.records.partition_point(|r| offset(r.id) < offset(id))
    }

    /// The subscription is cancelled or has another flow mode: completions of what it was sent so
    /// far move nothing any more.
    pub(crate) fn end_window(&mut self, tag: u32) {
        for record in self.records.iter_mut().filter(|r| r.tag == tag && !r.gone) {
            record.windowing = false;
            record.gone = record.ended;
            self.gone += usize::from(record.gone);
        }
        self.trim();
    }

    /// The messages of a subscription that are still the session's, which they are no more.
    pub(crate) fn take_of(&mut self, tag: u32) -> Vec<DeliveryRef> {
        self.take_with_ids(tag).into_iter().map(|(_, delivery)| delivery).collect()
    }

    /// The same, each with the id it was sent under.
    pub(crate) fn take_with_ids(&mut self, tag: u32) -> Vec<(u32, DeliveryRef)> {
        let mut taken = Vec::new();
        for record in self.records.iter_mut().filter(|r| r.tag == tag && !r.gone) {
            if record.acquired && !std::mem::replace(&mut record.ended, true) {
                taken.push((record.id.0, record.delivery));
            }
            record.gone = true;
            self.gone += 1;
        }
        self.trim();
        taken
    }

    /// Every message that is still the session's, for the end of the session.
    pub(crate) fn take_held(&mut self) -> Vec<DeliveryRef> {
        let held = |r: &Record| r.acquired && !r.ended && !r.gone;
        self.gone = 0;
        std::mem::take(&mut self.records).into_iter().filter(held).map(|r| r.delivery).collect()
    }

    fn trim(&mut self) {
        while self.records.front().is_some_and(|r| r.gone) {
            self.records.pop_front();
            self.gone -= 1;
        }
        // One message that is held must not keep the records of all that came and went behind it.
        if self.gone > GONE_KEPT && self.gone * 2 > self.records.len() {
            self.records.retain(|r| !r.gone);
            self.records.shrink_to(2 * self.records.len());
            self.gone = 0;
        }
        // An idle session keeps no table from its busiest moment.
        if self.records.is_empty() && self.records.capacity() > 1024 {
            self.records = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_engine::QueueId;

    fn record(id: u32, windowing: bool) -> Record {
        let delivery = DeliveryRef { queue: QueueId(1), position: u64::from(id) };
        Record { acquired: true, windowing, ..Record::new(CommandId(id), delivery, 7, 10) }
    }

    #[test]
    fn a_settled_record_outside_of_a_window_goes_at_once() {
        let mut unsettled = Unsettled::default();
        unsettled.push(record(1, false));
        unsettled.push(record(2, false));
        unsettled.for_each_in(&SequenceSet::range(CommandId(2), CommandId(2)), |r| r.ended = true);
        assert_eq!(unsettled.len(), 1);
        assert_eq!(unsettled.take_held().len(), 1);
    }

    #[test]
    fn a_settled_record_in_a_window_waits_for_its_completion() {
        let mut unsettled = Unsettled::default();
        unsettled.push(record(u32::MAX, true));
        unsettled.push(record(0, true));
        let both = SequenceSet::range(CommandId(u32::MAX), CommandId(0));
        unsettled.for_each_in(&both, |r| r.ended = true);
        assert_eq!(unsettled.len(), 2);
        unsettled.for_each_in(&both, |r| r.windowing = false);
        assert_eq!(unsettled.len(), 0);
    }

    #[test]
    fn cancelling_forgets_settled_records_and_keeps_held_ones() {
        let mut unsettled = Unsettled::default();
        unsettled.push(record(1, true));
        unsettled.push(record(2, true));
        unsettled.for_each_in(&SequenceSet::range(CommandId(1), CommandId(1)), |r| r.ended = true);
        unsettled.end_window(7);
        assert_eq!(unsettled.len(), 1);
    }

    #[test]
    fn what_came_and_went_behind_a_held_record_takes_no_room() {
        let mut unsettled = Unsettled::default();
        unsettled.push(record(0, false));
        for id in 1..10_000 {
            unsettled.push(record(id, false));
            let one = SequenceSet::range(CommandId(id), CommandId(id));
            unsettled.for_each_in(&one, |r| r.ended = true);
        }
        assert_eq!(unsettled.len(), 1);
        assert!(unsettled.records.len() <= 2 * GONE_KEPT + 2);
    }

    #[test]
    fn a_record_half_the_circle_behind_hides_none() {
        let mut unsettled = Unsettled::default();
        unsettled.push(record(5, false));
        unsettled.push(record(0x9000_0000, false));
        let newest = SequenceSet::range(CommandId(0x9000_0000), CommandId(0x9000_0000));
        unsettled.for_each_in(&newest, |r| r.ended = true);
        assert_eq!(unsettled.len(), 1);
        let unknown = SequenceSet::range(CommandId(2), CommandId(4));
        unsettled.for_each_in(&unknown, |r| r.ended = true);
        assert_eq!(unsettled.len(), 1);
    }
}
