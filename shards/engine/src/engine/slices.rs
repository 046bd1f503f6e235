//! Work on a queue's whole backlog, in slices: no turn is longer for a queue being long. A job
//! does its first slice at once, so a short one is finished with the command that asked for it;
//! the rest wait for [`Engine::tick`], which is due as long as there are any.

use super::Engine;
use crate::frame::Effects;
use crate::ids::{Position, QueueId, SessionId, Time};
use crate::queue::{Next, Rest};
use crate::request::{OpId, Reply};
use fletch_journal::Seq;
use std::fmt;

/// One job.
pub(super) enum Job {
    /// Drop what is available up to a position, then answer when it is dropped for good.
    Purge(Purge),
    /// Send what a deleted queue held to its alternate exchange, then tell the orderer.
    Empty { queue: QueueId, rest: Box<Rest> },
}

impl Job {
    /// Whether it is the emptying of this queue, and misses the body of the message at a position.
    pub(super) fn misses(&self, queue: QueueId, position: Position) -> bool {
        matches!(self, Job::Empty { queue: q, rest } if *q == queue && rest.is_away(position))
    }
}

/// A purge under way.
#[derive(Debug)]
pub(super) struct Purge {
    pub(super) queue: QueueId,
    pub(super) until: Position,
    pub(super) session: SessionId,
    pub(super) op: OpId,
    /// So many so far.
    pub(super) purged: u64,
    /// What has to be durable for those to be gone.
    pub(super) safe: Seq,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Job::Purge(purge) => purge.fmt(f),
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
                Job::Purge(mut purge) => {
                    let q = self.queues.get_mut(&purge.queue);
                    let (count, more) =
                        q.map_or((0, false), |q| q.purge(purge.until, left, &mut self.outputs));
                    self.deliver(fx);
                    purge.purged += count as u64;
                    // Now: whoever asks next would take it for his own.
                    purge.safe = purge.safe.max(self.take_dequeued().unwrap_or_default());
                    left -= count;
                    if more {
                        self.jobs.push_front(Job::Purge(purge));
                    } else {
                        let Purge { session, op, purged, safe, .. } = purge;
                        self.answer_when_durable(session, op, Reply::Purged(purged), safe, fx);
                    }
                }
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
                            self.move_on(delivery, &message, place, None, fx);
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
