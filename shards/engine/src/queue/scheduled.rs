//! Messages of a queue that are not due yet: they are there, journalled and counted, and nobody gets them.
//!
//! Such a message has its place from the beginning, as one of a transaction has, and is found there when it is
//! due; what follows from its order, that it takes the place of another value for instance, happens then.
//! Its body stays in memory. It is dropped like any other when the queue is purged or deleted.

use super::entries::{Body, Removed};
use super::{Output, Queue};
use crate::ids::{Position, Time};
use crate::message::Message;
use crate::schedule::due;
use fletch_journal::Seq;
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Scheduled {
    by_time: BTreeSet<(Time, Position)>,
    by_position: BTreeMap<Position, Time>,
}

impl Scheduled {
    fn insert(&mut self, position: Position, due: Time) {
        self.remove(position);
        self.by_time.insert((due, position));
        self.by_position.insert(position, due);
    }

    fn remove(&mut self, position: Position) {
        if let Some(due) = self.by_position.remove(&position) {
            self.by_time.remove(&(due, position));
        }
    }
}

/// When a message leaves its queue's waiting room, if that is not now: one that expires before it is due goes
/// then.
#[inline]
pub(super) fn due_after(now: Time, message: &Message) -> Option<Time> {
    let meta = message.meta();
    if !meta.flags.is_scheduled() {
        return None;
    }
    due(message).map(|due| due.min(meta.expires)).filter(|due| *due > now)
}

impl Queue {
    /// Whether a message is not due yet.
    #[inline]
    pub(super) fn is_scheduled(&self, position: Position) -> bool {
        self.scheduled.as_ref().is_some_and(|s| s.by_position.contains_key(&position))
    }

    /// How many are not due yet.
    pub fn scheduled(&self) -> u64 {
        self.scheduled.as_ref().map_or(0, |s| s.by_position.len() as u64)
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Time> {
        self.scheduled.as_ref()?.by_time.first().map(|(due, _)| *due)
    }

    /// The first at a position or behind it that is not due yet.
    pub(super) fn next_scheduled(&self, from: Position) -> Option<Position> {
        self.scheduled.as_ref()?.by_position.range(from..).next().map(|(position, _)| *position)
    }

    /// A message that is available has come, and is not due yet. `place`: of its record, if it is not safe yet.
    pub(super) fn keep_until(
        &mut self,
        due: Time,
        position: Position,
        place: Seq,
        out: &mut Vec<Output>,
    ) {
        if let Some(values) = self.order.last_values().filter(|_| place != Seq::NONE) {
            values.provisional.open(position);
        }
        self.entries.hide(position);
        let before = self.next_due();
        self.scheduled.get_or_insert_default().insert(position, due);
        if before.is_none_or(|before| due < before) {
            out.push(Output::Scheduled { queue: self.id, due });
        }
    }

    /// A message waits no longer, for whatever reason.
    #[inline]
    pub(super) fn unschedule(&mut self, position: Position) {
        if let Some(scheduled) = &mut self.scheduled {
            scheduled.remove(position);
            if scheduled.by_position.is_empty() {
                self.scheduled = None;
            }
        }
    }

    /// Removes a message that is available, or not due yet.
    pub(super) fn remove_unclaimed(&mut self, position: Position) -> Option<Removed> {
        match self.is_scheduled(position) {
            true => self.remove_acquired(position),
            false => self.remove_available(position),
        }
    }

    /// Messages that are due are there, no more of them than `budget`, which they are taken off. When the next
    /// one is due.
    pub(crate) fn come_due(
        &mut self,
        now: Time,
        budget: &mut usize,
        out: &mut Vec<Output>,
    ) -> Option<Time> {
        let first = |q: &Queue| q.scheduled.as_ref()?.by_time.first().copied();
        while *budget > 0
            && let Some((_, position)) = first(self).filter(|(due, _)| *due <= now)
        {
            *budget -= 1;
            self.unschedule(position);
            self.appear(now, position, out);
        }
        self.serve_filled(now, out);
        self.next_due()
    }

    fn appear(&mut self, now: Time, position: Position, out: &mut Vec<Output>) {
        let body = self.entries.get(position).map(|entry| entry.body());
        let Some(Body::Here(message)) = body else { return };
        let message = message.clone();
        if message.meta().expires > now {
            self.entries.release(position, false);
            self.order_filled(position, &message, out);
            self.find_behind(position, &message);
        } else if let Some(removed) = self.remove_acquired(position) {
            self.counters.expired += 1;
            self.counters.dequeued += 1;
            self.dequeued(position, &removed, out);
        }
    }

    /// Recovery has found a message: it waits, unless it is gone by the end.
    pub(super) fn restore_scheduled(&mut self, position: Position, message: &Message) {
        if let Some(due) = due_after(Time(0), message) {
            self.scheduled.get_or_insert_default().insert(position, due);
        }
    }

    /// Recovery has found all there is: those that are due by now are there with the next tick.
    pub(super) fn hide_scheduled(&mut self) {
        let Some(mut scheduled) = self.scheduled.take() else { return };
        let entries = &mut self.entries;
        scheduled.by_position.retain(|position, _| entries.is_available(*position));
        scheduled.by_time.retain(|(_, position)| scheduled.by_position.contains_key(position));
        scheduled.by_position.keys().for_each(|position| entries.hide(*position));
        self.scheduled = Some(scheduled).filter(|s| !s.by_position.is_empty());
    }
}

#[cfg(test)]
mod tests;
