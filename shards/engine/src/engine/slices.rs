//! Work on a queue's whole backlog, in slices: no turn is longer for a queue being long. A job
//! does its first slice at once, so a short one is finished with the command that asked for it;
//! the rest wait for [`Engine::tick`], which is due as long as there are any.

use super::Engine;
use super::taking::{Slice, Take};
use crate::frame::Effects;
use crate::ids::{Position, QueueId, Time};
use crate::queue::marks::without_trace;
use crate::queue::{Next, Rest};
use std::fmt;

/// One job.
pub(super) enum Job {
    /// Drop what is available up to a position, or send it elsewhere, then answer when it is gone for good.
    Take(Box<Take>),
    /// Send what a deleted queue held to its alternate exchange, then tell the orderer.
    Empty { queue: QueueId, rest: Box<Rest> },
}

impl Job {
    /// Whether it is the emptying of this queue, and misses the body of the message at a position.
    pub(super) fn misses(&self, queue: QueueId, position: Position) -> bool {
        matches!(self, Job::Empty { queue: q, rest } if *q == queue && rest.is_away(position))
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Job::Take(take) => take.fmt(f),
            Job::Empty { queue, .. } => write!(f, "Empty({queue:?})"),
        }
    }
}

impl Engine {
    /// Starts a job; jobs are done in the order they came.
    pub(super) fn start(&mut self, job: Job, fx: &mut Effects) {
        self.jobs.push_back(job);
        if self.jobs.len() == 1 {
            self.work(fx);
        }
    }

    /// Lets subscribers of one queue look further for messages they select.
    pub(super) fn look(&mut self, now: Time, fx: &mut Effects) {
        let Some(queue) = self.looks.pop_front() else { return };
        if let Some(q) = self.queues.get_mut(&queue) {
            q.look(now, &mut self.outputs);
        }
        self.deliver(fx);
    }

    /// Does one slice.
    pub(super) fn work(&mut self, fx: &mut Effects) {
        let mut left = if self.waits_for_job() { 0 } else { self.slice };
        while left > 0
            && let Some(job) = self.jobs.pop_front()
        {
            match job {
                Job::Take(take) => match self.take_slice(take, &mut left, fx) {
                    Slice::Done => {}
                    Slice::Rest(take) => {
                        self.jobs.push_front(Job::Take(take));
                        return;
                    }
                },
                Job::Empty { queue, mut rest } => loop {
                    if left == 0 {
                        self.jobs.push_front(Job::Empty { queue, rest });
                        break;
                    }
                    left -= 1;
                    let wanted = self.gone.contains(queue);
                    match rest.next(wanted) {
                        Next::Message { delivery, message: Some(message), size, place } => {
                            let place = self.journalled(delivery, place, size);
                            let message = without_trace(message);
                            self.move_on(delivery, &message, (place, size), (None, 0), fx);
                        }
                        Next::Message { delivery, message: None, size, place } => {
                            self.stats.discarded += 1;
                            self.journal_dequeue(delivery, place, size);
                        }
                        Next::Away(position, place) => {
                            self.jobs.push_front(Job::Empty { queue, rest });
                            self.read_for_job(queue, (position, place));
                            return;
                        }
                        Next::End if let Some((place, len)) = rest.next_id() => {
                            self.forget_id(place, len);
                        }
                        Next::End => {
                            self.sent_on(queue, fx);
                            break;
                        }
                    }
                },
            }
        }
    }
}
