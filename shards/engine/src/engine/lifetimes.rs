//! Queues that are deleted by themselves: at once, or so long after nobody needs them any more.
//!
//! A queue's home looks at it when its last subscription ends, when the session that had it for itself
//! does, and when its last message leaves. The orderer then holds a vote as for any other deletion; until
//! the home's yes the queue may be used again, and stays. A queue with a delay (`qpid.auto_delete_timeout`)
//! waits here; a subscription or an owner ends the wait, declaring it again begins it anew. A restart
//! forgets since when a queue waits, so all that have a delay begin to wait then.

use super::Engine;
use crate::frame::{Effects, Frame};
use crate::ids::{QueueId, SessionId, ShardId, Time};
use crate::queue::settings::Lifetime;
use crate::queue::{Queue, QueueSettings};
use crate::request::OpId;
use crate::topology::{FixedMap, QueueDescriptor};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the home knows of its queues' ends.
#[derive(Debug, Default)]
pub(super) struct Lifetimes {
    /// Queues with a delay.
    delayed: FixedMap<QueueId, Delayed>,
    /// Those that wait, by when they are due.
    due: BTreeSet<(Time, QueueId)>,
    /// Those that recovery found: they wait as soon as there is a time.
    found: Vec<QueueId>,
    /// Queues whose last message has left, and that may go for that.
    emptied: Vec<QueueId>,
}

#[derive(Debug)]
struct Delayed {
    delay: Duration,
    /// It waits until then.
    until: Option<Time>,
}

impl Lifetimes {
    /// When something is due.
    pub(super) fn next(&self) -> Time {
        match self.due.first() {
            _ if !self.found.is_empty() => Time(0),
            Some((time, _)) => *time,
            None => Time::NEVER,
        }
    }

    /// The last message of a queue has left.
    pub(super) fn emptied(&mut self, queue: QueueId) {
        if self.emptied.last() != Some(&queue) {
            self.emptied.push(queue);
        }
    }

    /// Whether [`Lifetimes::emptied`] was said of any.
    pub(super) fn has_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// One of those that [`Lifetimes::emptied`] was said of.
    pub(super) fn next_emptied(&mut self) -> Option<QueueId> {
        self.emptied.pop()
    }

    /// The queue is used: it waits no longer.
    pub(super) fn used(&mut self, queue: QueueId) {
        if let Some(delayed) = self.delayed.get_mut(&queue)
            && let Some(until) = delayed.until.take()
        {
            self.due.remove(&(until, queue));
        }
    }

    /// Nobody needs the queue. True if it goes at once, false if it waits.
    fn wait(&mut self, now: Time, queue: QueueId) -> bool {
        let Some(delayed) = self.delayed.get_mut(&queue) else { return true };
        if delayed.until.is_none() {
            let until = now.after(delayed.delay);
            delayed.until = Some(until);
            self.due.insert((until, queue));
        }
        false
    }

    pub(super) fn is_waiting(&self, queue: QueueId) -> bool {
        self.delayed.get(&queue).is_some_and(|delayed| delayed.until.is_some())
    }

    /// The queue is deleted.
    pub(super) fn forget(&mut self, queue: QueueId) {
        self.used(queue);
        self.delayed.remove(&queue);
    }

    /// A queue whose time is over.
    fn next_due(&mut self, now: Time) -> Option<QueueId> {
        let (time, queue) = *self.due.first()?;
        if time > now {
            return None;
        }
        self.used(queue);
        Some(queue)
    }
}

impl Engine {
    /// A queue is there from now on.
    pub(super) fn begin_lifetime(
        &mut self,
        q: &QueueDescriptor,
        settings: &QueueSettings,
        queue: &mut Queue,
    ) {
        if !q.auto_delete {
            return;
        }
        queue.set_lifetime(settings.lifetime.unwrap_or(Lifetime::Unused));
        let delay = settings.auto_delete_timeout;
        if !delay.is_zero() {
            self.lifetimes.delayed.insert(q.id, Delayed { delay, until: None });
        }
    }

    /// The same of one that recovery found.
    pub(super) fn resume_lifetime(
        &mut self,
        q: &QueueDescriptor,
        settings: &QueueSettings,
        queue: &mut Queue,
    ) {
        self.begin_lifetime(q, settings, queue);
        if self.lifetimes.delayed.contains_key(&q.id) {
            self.lifetimes.found.push(q.id);
        }
    }

    /// If nobody is subscribed to a queue that goes by itself: see [`Engine::end_if_done_with`].
    pub(super) fn end_if_unused(
        &mut self,
        now: Time,
        queue: QueueId,
        asker: Option<(SessionId, OpId)>,
        fx: &mut Effects,
    ) -> bool {
        self.queues.get(&queue).is_some_and(|q| q.is_unused())
            && self.end_if_done_with(now, queue, asker, fx)
    }

    /// Tells the orderer if a queue homed here has come to its end, or begins to wait. True if it was told: it
    /// answers `asker`.
    pub(super) fn end_if_done_with(
        &mut self,
        now: Time,
        queue: QueueId,
        asker: Option<(SessionId, OpId)>,
        fx: &mut Effects,
    ) -> bool {
        let over = self.is_over(queue) && self.lifetimes.wait(now, queue);
        if over {
            self.send(ShardId::ORDERER, Frame::Unused { queue, asker }, fx);
        }
        over
    }

    /// The queue was declared again: if it waits, it does from now on; so too if its time is over and the
    /// vote about it under way.
    pub(super) fn touch(&mut self, now: Time, queue: QueueId) {
        if self.lifetimes.is_waiting(queue) || self.is_over(queue) {
            self.lifetimes.used(queue);
            self.lifetimes.wait(now, queue);
        }
    }

    fn is_over(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|q| q.is_done_with())
            && self
                .topology
                .queue_by_id(queue)
                .is_some_and(|d| d.owner.is_none() || d.ends_on_close())
    }

    /// Time has come.
    pub(super) fn end_lifetimes(&mut self, now: Time, fx: &mut Effects) {
        for queue in std::mem::take(&mut self.lifetimes.found) {
            self.lifetimes.wait(now, queue);
        }
        while let Some(queue) = self.lifetimes.next_due(now) {
            if self.is_over(queue) {
                self.send(ShardId::ORDERER, Frame::Unused { queue, asker: None }, fx);
            }
        }
    }
}
