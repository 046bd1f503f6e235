//! What a session's client has sent on links whose receiver settles second, and has not settled itself: it may lose
//! its link before it hears of the outcome, and ask for it when it is back (part 2.6.13).
//!
//! Delivery ids grow, so the records are a deque in order: to add one, or to settle in order, costs O(1), anything else a
//! binary search.

use super::incoming::{Sent as Delivery, publish_of, publish_op};
use crate::links::{Fate, Sent, Tag};
use fletch_amqp::v1_0::SequenceNo;
use fletch_engine::OpId;
use std::collections::VecDeque;

/// Deliveries of a session that its client has not settled. More is for clients that never do.
pub(super) const UNSETTLED_MAX: usize = 65_536;

/// Records that may be gone and still take room, before the ledger is looked through for them.
const GONE_KEPT: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// None: settled, or its link has gone.
    records: VecDeque<(SequenceNo, Option<Sent>)>,
    gone: usize,
}

impl Ledger {
    /// Deliveries in it.
    pub(super) fn len(&self) -> usize {
        self.records.len() - self.gone
    }

    /// The newest delivery.
    pub(super) fn push(&mut self, delivery: Delivery, tag: Tag, fate: Option<Fate>) {
        let sent = Sent { op: publish_op(delivery), tag, fate };
        self.records.push_back((delivery.id, Some(sent)));
    }

    /// The outcome of a publish. False if it is none of these.
    pub(super) fn outcome(&mut self, op: OpId, fate: Fate) -> bool {
        let at = self.find(publish_of(op).id);
        let sent = self.records.get_mut(at).and_then(|(_, sent)| sent.as_mut());
        let Some(sent) = sent.filter(|sent| sent.op == op) else { return false };
        sent.fate = Some(fate);
        true
    }

    /// The client settles these; `each` hears on which links those came whose outcome is known.
    pub(super) fn settle(
        &mut self,
        (first, last): (SequenceNo, SequenceNo),
        mut each: impl FnMut(u32),
    ) {
        let width = last.0.wrapping_sub(first.0);
        let Some((oldest, _)) = self.records.front() else { return };
        // Of a range that begins before the oldest, what there is of it.
        let before = first.is_before(*oldest);
        let start = if before { 0 } else { self.find(first) };
        for (id, record) in self.records.range_mut(start..) {
            if id.0.wrapping_sub(first.0) > width {
                break;
            }
            let Some(sent) = record.take() else { continue };
            self.gone += 1;
            // The publish of one without an outcome is not over.
            if sent.fate.is_some() {
                each(publish_of(sent.op).handle);
            }
        }
        self.trim();
    }

    /// What came on a link that goes.
    pub(super) fn take_of(&mut self, handle: u32) -> Vec<Sent> {
        let mut taken = Vec::new();
        for (_, record) in &mut self.records {
            let sent = record.take_if(|sent| publish_of(sent.op).handle == handle);
            taken.extend(sent);
        }
        self.gone += taken.len();
        self.trim();
        taken
    }

    /// Where the first record at or after `id` stands, by its distance from the oldest.
    fn find(&self, id: SequenceNo) -> usize {
        let Some((oldest, _)) = self.records.front() else { return 0 };
        let offset = |id: SequenceNo| id.0.wrapping_sub(oldest.0);
        self.records.partition_point(|(other, _)| offset(*other) < offset(id))
    }

    fn trim(&mut self) {
        while self.records.pop_front_if(|(_, sent)| sent.is_none()).is_some() {
            self.gone -= 1;
        }
        // One that is not settled must not keep the records of all that came behind it.
        if self.gone > GONE_KEPT && self.gone * 2 > self.records.len() {
            self.records.retain(|(_, sent)| sent.is_some());
            self.gone = 0;
        }
        if self.records.is_empty() && self.records.capacity() > 1024 {
            self.records = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(handle: u32, id: u32) -> Delivery {
        Delivery { handle, id: SequenceNo(id), settled: false, txn: None }
    }

    fn ledger(start: u32) -> Ledger {
        let mut ledger = Ledger::default();
        for n in 0..6 {
            let sent = delivery(n % 2, start.wrapping_add(n));
            ledger.push(sent, Tag::from_slice(&[n as u8]), None);
            assert!(ledger.outcome(publish_op(sent), Fate::Accepted));
        }
        ledger
    }

    fn settle(ledger: &mut Ledger, first: u32, last: u32) -> Vec<u32> {
        let mut links = Vec::new();
        ledger.settle((SequenceNo(first), SequenceNo(last)), |link| links.push(link));
        links
    }

    #[test]
    fn each_is_settled_once_whatever_the_range_over_the_wrap() {
        let start = u32::MAX - 2;
        let mut ledger = ledger(start);
        assert_eq!(settle(&mut ledger, start - 9, start), [0]);
        assert_eq!(settle(&mut ledger, start.wrapping_add(2), start.wrapping_add(3)), [0, 1]);
        assert_eq!(settle(&mut ledger, 100, 1 << 20), [0; 0]);
        assert_eq!(ledger.len(), 3);
        assert_eq!(settle(&mut ledger, start - 9, 1 << 20), [1, 0, 1]);
        assert_eq!((ledger.len(), ledger.records.len()), (0, 0));
    }

    #[test]
    fn an_outcome_is_of_one_delivery_that_is_not_settled() {
        let mut ledger = Ledger::default();
        ledger.push(delivery(3, 7), Tag::new(), None);
        ledger.push(delivery(3, 9), Tag::new(), None);
        assert_eq!(settle(&mut ledger, 8, 100), [0; 0]);
        assert!(!ledger.outcome(publish_op(delivery(3, 9)), Fate::Accepted), "settled");
        assert!(!ledger.outcome(publish_op(delivery(4, 7)), Fate::Accepted), "of another link");
        assert!(!ledger.outcome(publish_op(delivery(3, 8)), Fate::Accepted), "never sent");
        assert!(ledger.outcome(publish_op(delivery(3, 7)), Fate::Accepted));
        assert_eq!(settle(&mut ledger, 0, 100), [3]);
    }

    #[test]
    fn a_link_takes_what_is_its_own() {
        let mut ledger = ledger(10);
        settle(&mut ledger, 11, 12);
        let tags = |sent: Vec<Sent>| sent.iter().map(|sent| sent.tag[0]).collect::<Vec<_>>();
        assert_eq!(tags(ledger.take_of(1)), [3, 5]);
        assert_eq!(tags(ledger.take_of(1)), [0; 0]);
        assert_eq!(tags(ledger.take_of(0)), [0, 4]);
        assert_eq!(ledger.len(), 0);
    }

    #[test]
    fn what_came_and_went_behind_an_old_one_takes_no_room() {
        let mut ledger = Ledger::default();
        for id in 0..10_000 {
            ledger.push(delivery(0, id), Tag::new(), Some(Fate::Accepted));
            if id > 0 {
                settle(&mut ledger, id, id);
            }
        }
        assert_eq!(ledger.len(), 1);
        assert!(ledger.records.len() <= 2 * GONE_KEPT + 2);
    }
}
