//! Deliveries of a session that were sent and are not settled, by number.

use std::collections::VecDeque;

use fletch_amqp::v1_0::SequenceNo;

/// Numbers follow each other within a session, whatever link a delivery is on: a queue from the oldest that is not
/// settled, with the link of each.
#[derive(Debug, Default)]
pub(super) struct Sent {
    first: SequenceNo,
    links: VecDeque<Option<u32>>,
}

impl Sent {
    /// The delivery `id` is on its way, on a link unless it is settled already.
    pub(super) fn add(&mut self, id: SequenceNo, link: Option<u32>) {
        if self.links.is_empty() {
            self.first = id;
        }
        debug_assert_eq!(self.first.add(self.links.len() as u32), id);
        self.links.push_back(link);
        self.pass_settled();
    }

    /// These are settled; `each` hears of those that were not before.
    pub(super) fn settle(
        &mut self,
        (first, last): (SequenceNo, SequenceNo),
        mut each: impl FnMut(SequenceNo, u32),
    ) {
        let from = first.distance(self.first).max(0) as usize;
        let to = (i64::from(last.distance(self.first)) + 1).clamp(0, self.links.len() as i64);
        for at in from..to as usize {
            if let Some(link) = self.links[at].take() {
                each(self.first.add(at as u32), link);
            }
        }
        self.pass_settled();
    }

    /// What of it was sent on a link.
    pub(super) fn of(&self, link: u32) -> impl Iterator<Item = SequenceNo> {
        let links = self.links.iter().enumerate();
        let of = links.filter(move |(_, of)| **of == Some(link));
        of.map(|(at, _)| self.first.add(at as u32))
    }

    /// Nothing more will be heard of what was sent on a link.
    pub(super) fn forget(&mut self, link: u32) {
        for at in &mut self.links {
            at.take_if(|found| *found == link);
        }
        self.pass_settled();
    }

    fn pass_settled(&mut self) {
        while let Some(None) = self.links.front() {
            self.links.pop_front();
            self.first = self.first.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(sent: &mut Sent, first: u32, last: u32) -> Vec<(u32, u32)> {
        let mut heard = Vec::new();
        let range = (SequenceNo(first), SequenceNo(last));
        sent.settle(range, |id, link| heard.push((id.0, link)));
        heard
    }

    #[test]
    fn each_delivery_is_settled_once_whatever_is_said_of_others() {
        let mut sent = Sent::default();
        let start = u32::MAX - 2;
        for at in 0..6 {
            let link = (at != 3).then_some(at % 2);
            sent.add(SequenceNo(start.wrapping_add(at)), link);
        }
        // From before the first to over the wrap; the fourth was settled when it was sent.
        assert_eq!(settle(&mut sent, start - 5, start), [(start, 0)]);
        assert_eq!(settle(&mut sent, start, 1), [(start + 1, 1), (u32::MAX, 0), (1, 0)]);
        sent.forget(1);
        assert_eq!(settle(&mut sent, 0, 100), []);
        assert!(sent.links.is_empty());
    }
}
