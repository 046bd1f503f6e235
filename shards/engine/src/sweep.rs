//! The sweep for expired messages: every interval, all queues, in slices.
//!
//! Expired messages are dropped anyway when a consumer meets them; the sweep is for queues that
//! nobody reads.

use crate::ids::{QueueId, Time};
use crate::queue::{Output, Queue};
use crate::topology::FixedMap;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Sweep {
    interval: Duration,
    /// Entries looked at in one slice, so that no turn grows long.
    batch: usize,
    next: Option<Time>,
    /// Queues this round has not finished.
    left: Vec<QueueId>,
}

impl Sweep {
    pub(crate) fn new(interval: Duration, batch: usize) -> Sweep {
        Sweep { interval, batch: batch.max(1), next: None, left: Vec::new() }
    }

    /// When the next slice is due. [`Time::NEVER`] with an interval of zero.
    pub(crate) fn next(&self) -> Time {
        if self.interval.is_zero() { Time::NEVER } else { self.next.unwrap_or(Time(0)) }
    }

    pub(crate) fn run(
        &mut self,
        now: Time,
        queues: &mut FixedMap<QueueId, Box<Queue>>,
        out: &mut Vec<Output>,
    ) {
        let Some(due) = self.next else {
            self.next = Some(now.after(self.interval));
            return;
        };
        if self.interval.is_zero() || now < due {
            return;
        }
        if self.left.is_empty() {
            self.left.extend(queues.iter().filter(|(_, q)| q.needs_sweep()).map(|(id, _)| *id));
        }
        let mut budget = self.batch;
        while let Some(id) = self.left.last() {
            if budget == 0 {
                return; // Still due: the pump comes back for the next slice.
            }
            let more = queues.get_mut(id).is_some_and(|q| q.expire(now, &mut budget, out));
            if !more {
                self.left.pop();
            }
        }
        self.left = Vec::new();
        self.next = Some(now.after(self.interval));
    }
}
