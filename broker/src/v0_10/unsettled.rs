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
pub(super) struct Record {
    /// The transfer's id in the session.
    pub(super) id: CommandId,
    /// Which message.
    pub(super) delivery: DeliveryRef,
    /// Which subscription of the session.
    pub(super) tag: u32,
    /// What it took of the byte credit.
    pub(super) size: u32,
    /// The message is this session's to settle.
    pub(super) acquired: bool,
    /// Nothing is left to settle: accepted, released, rejected, or sent with accept mode none.
    pub(super) ended: bool,
    /// Completing it moves the subscription's window.
    pub(super) windowing: bool,
    /// Nothing will come for it any more.
    pub(super) gone: bool,
}

impl Record {
    pub(super) fn new(id: CommandId, delivery: DeliveryRef, tag: u32, size: u32) -> Record {
        let (acquired, ended, windowing, gone) = (false, false, false, false);
        Record { id, delivery, tag, size, acquired, ended, windowing, gone }
    }
}

/// The records of a session.
#[derive(Debug, Default)]
pub(super) struct Unsettled(VecDeque<Record>);

impl Unsettled {
    /// Adds the newest delivery. Ids must grow.
    pub(super) fn push(&mut self, record: Record) {
        if record.windowing || !record.ended || !record.acquired {
            self.0.push_back(record);
        }
    }

    /// How many deliveries are not settled or not completed.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.iter().filter(|r| !r.gone).count()
    }

    /// Calls `f` on the live records whose ids are in `ids`, in order, then forgets those that
    /// nothing will come for: settled, and completed if they were in a window.
    pub(super) fn for_each_in(&mut self, ids: &SequenceSet, mut f: impl FnMut(&mut Record)) {
        for range in ids.ranges() {
            let start = self.0.partition_point(|r| r.id.is_before(range.low));
            for record in self.0.range_mut(start..) {
                if !range.contains(record.id) {
                    break;
                }
                if !record.gone {
                    f(record);
                    record.gone = record.ended && !record.windowing;
                }
            }
        }
        self.trim();
    }

    /// Calls `f` on the live records whose ids are in `ids`, in order, and forgets none.
    pub(super) fn visit(&self, ids: &SequenceSet, mut f: impl FnMut(&Record)) {
        for range in ids.ranges() {
            let start = self.0.partition_point(|r| r.id.is_before(range.low));
            let in_range = self.0.range(start..).take_while(|r| range.contains(r.id));
            in_range.filter(|r| !r.gone).for_each(&mut f);
        }
    }

    /// The subscription is cancelled: its completions move nothing any more.
    pub(super) fn cancel(&mut self, tag: u32) {
        for record in self.0.iter_mut().filter(|r| r.tag == tag) {
            record.windowing = false;
            record.gone |= record.ended;
        }
        self.trim();
    }

    /// Every message that is still the session's, for the end of the session.
    pub(super) fn take_held(&mut self) -> Vec<DeliveryRef> {
        let held = |r: &Record| r.acquired && !r.ended && !r.gone;
        std::mem::take(&mut self.0).into_iter().filter(held).map(|r| r.delivery).collect()
    }

    fn trim(&mut self) {
        while self.0.front().is_some_and(|r| r.gone) {
            self.0.pop_front();
        }
        // An idle session keeps no table from its busiest moment.
        if self.0.is_empty() && self.0.capacity() > 1024 {
            self.0 = VecDeque::new();
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
        unsettled.cancel(7);
        assert_eq!(unsettled.len(), 1);
    }
}
