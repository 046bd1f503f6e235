//! Queues with messages that are not due yet, by when the next of each is.

use super::Engine;
use crate::frame::Effects;
use crate::ids::{QueueId, Time};
use crate::topology::FixedMap;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Schedules {
    by_time: BTreeSet<(Time, QueueId)>,
    by_queue: FixedMap<QueueId, Time>,
}

impl Schedules {
    /// When something is due.
    pub(super) fn next(&self) -> Time {
        self.by_time.first().map_or(Time::NEVER, |(due, _)| *due)
    }

    /// When the next message of a queue is due.
    pub(super) fn set(&mut self, queue: QueueId, due: Option<Time>) {
        let before = match due {
            Some(due) => self.by_queue.insert(queue, due),
            None => self.by_queue.remove(&queue),
        };
        self.by_time.extend(due.map(|due| (due, queue)));
        if let Some(before) = before.filter(|before| Some(*before) != due) {
            self.by_time.remove(&(before, queue));
        }
    }
}

impl Engine {
    /// Time has come: a slice of the messages that are due can be had.
    pub(super) fn messages_come_due(&mut self, now: Time, fx: &mut Effects) {
        let mut budget = self.slice;
        while budget > 0
            && let Some((_, queue)) = self.schedules.by_time.first().filter(|(due, _)| *due <= now)
        {
            let queue = *queue;
            let q = self.queues.get_mut(&queue);
            let next = q.and_then(|q| q.come_due(now, &mut budget, &mut self.outputs));
            self.schedules.set(queue, next);
            self.deliver(fx);
        }
    }
}
