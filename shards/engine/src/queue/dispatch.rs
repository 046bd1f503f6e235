//! Who gets which message: serving consumers, and flushes.
//!
//! Between calls nobody is ready who could be served: whatever brings messages, credit or room
//! serves at once. So an enqueue to a waiting consumer is a push, a pop and a turn of the ring.

use super::entries::{Body, Entry, Removed};
use super::marks::Marks;
use super::order::Order;
use super::subscription::Key;
use super::{Output, Queue};
use crate::annotations::Annotations;
use crate::ids::{Position, Time};
use crate::message::Message;
use crate::request::{DeliveryRef, Mode};
use fletch_journal::Seq;
use std::sync::Arc;

/// What a message costs in byte credit and room.
pub(super) fn size_of(message: &Message) -> u32 {
    u32::try_from(message.size()).unwrap_or(u32::MAX)
}

/// What somebody comes to next.
pub(super) enum Front {
    Nothing,
    Message(Position, u32),
    /// A message whose body is not in memory.
    Away(Position),
    /// Enough was looked at for now: see [`Output::More`].
    Paused,
}

/// What a subscriber gets.
pub(super) struct Delivery {
    pub(super) message: Message,
    pub(super) redelivered: bool,
    /// How often it came back before.
    pub(super) failures: u32,
    /// What was said of it then.
    pub(super) annotations: Option<Arc<Annotations>>,
    pub(super) place: Seq,
}

impl Delivery {
    pub(super) fn of(entry: &Entry<'_>) -> Option<Delivery> {
        let Body::Here(message) = entry.body() else { return None };
        let (redelivered, place) = (entry.redelivered(), entry.place());
        let (failures, annotations) = (u32::from(redelivered), None);
        Some(Delivery { message: message.clone(), redelivered, failures, annotations, place })
    }
}

/// How often a consumer looks ahead: each time it comes to a multiple of this.
const READ_AHEAD_EVERY: Position = 64;

impl Queue {
    /// After messages have come: everybody who is ready. Browsers first, so that they see
    /// what a waiting consumer takes at once.
    #[inline]
    pub(super) fn serve_all(&mut self, now: Time, out: &mut Vec<Output>) {
        self.serve_each_own(now, Mode::Browse, out);
        match self.subscriptions.has_selecting() {
            true => self.serve_selecting(now, out),
            false => self.serve_shared(now, out),
        }
    }

    /// Those who go by their own cursors: browsers, or consumers.
    fn serve_each_own(&mut self, now: Time, mode: Mode, out: &mut Vec<Output>) {
        let (mut key, ready) = self.subscriptions.own();
        for _ in 0..ready {
            let next = self.subscriptions.after(key);
            let subscription = &self.subscriptions[key];
            if subscription.mode == mode && !subscription.is_paused() {
                self.serve_own(now, key, out);
            }
            key = next;
        }
    }

    /// Consumers with a selector, and others as long as somebody gets something: what was too large for
    /// one's credit may have gone to another.
    fn serve_selecting(&mut self, now: Time, out: &mut Vec<Output>) {
        let mut before = usize::MAX;
        while out.len() != before {
            before = out.len();
            self.serve_each_own(now, Mode::Consume, out);
            self.serve_shared(now, out);
        }
    }

    /// Those who consume without a selector.
    #[inline]
    fn serve_shared(&mut self, now: Time, out: &mut Vec<Output>) {
        match self.is_grouped() {
            true => self.serve_grouped(now, out),
            false => self.serve_consumers(now, out),
        }
    }

    /// After credit or room has come for one of them.
    pub(super) fn serve(&mut self, now: Time, key: Key, out: &mut Vec<Output>) {
        self.subscriptions.refresh(key);
        loop {
            if let Order::Groups(groups) = &mut self.order {
                groups.gain(self.subscriptions[key].id);
            }
            match self.subscriptions[key].mode {
                Mode::Browse => self.serve_own(now, key, out),
                Mode::Consume if self.subscriptions.has_selecting() => {
                    self.serve_selecting(now, out);
                }
                Mode::Consume => self.serve_shared(now, out),
            }
            if self.subscriptions[key].flushes.is_empty() || self.waits(now, key, out) {
                return;
            }
            // What was granted since the flush was asked for counts now: serve again.
            self.finish_flush(key, out);
        }
    }

    fn serve_consumers(&mut self, now: Time, out: &mut Vec<Output>) {
        while self.entries.available() > 0 && self.subscriptions.any_consumer() {
            let Front::Message(position, size) = self.front(now, out) else { return };
            let Some(key) = self.subscriptions.next_consumer(size) else { return };
            if self.flush_ends_before(key, position) {
                self.finish_flush(key, out);
                continue;
            }
            let Some(taken) = self.take(key, position, out) else {
                debug_assert!(false, "the first available message is not there");
                return;
            };
            self.deliver(key, position, size, taken, out);
        }
    }

    /// Takes an available message for a consumer: out of the others' sight, or out of the queue.
    #[inline]
    pub(super) fn take(
        &mut self,
        key: Key,
        position: Position,
        out: &mut Vec<Output>,
    ) -> Option<Delivery> {
        let subscription = &self.subscriptions[key];
        let by = subscription.id;
        if subscription.settles {
            let taken = Delivery::of(&self.entries.acquire(position)?)?;
            let failures = self.entries.failures(position, taken.redelivered);
            let annotations = self.entries.annotations(position);
            let taken = Delivery { failures, annotations, ..taken };
            self.order.had_turn(&taken.message);
            self.order.acquired(position, &taken.message, by);
            return Some(taken);
        }
        let failures = self.entries.failures(position, true);
        let removed = self.entries.remove_available(position)?;
        self.counters.dequeued += 1;
        if let Some(message) = &removed.message {
            self.order.had_turn(message);
        }
        self.order.removed(position, &removed);
        self.dequeued(position, &removed, out);
        let Removed { message, redelivered, annotations, .. } = removed;
        let failures = if redelivered { failures } else { 0 };
        Some(Delivery { message: message?, redelivered, failures, annotations, place: Seq::NONE })
    }

    #[inline]
    pub(super) fn deliver(
        &mut self,
        key: Key,
        position: Position,
        size: u32,
        Delivery { message, redelivered, failures, annotations, place }: Delivery,
        out: &mut Vec<Output>,
    ) {
        self.subscriptions.take(key, size);
        self.counters.delivered += 1;
        let to = self.subscriptions[key].id;
        let delivery = DeliveryRef { queue: self.id, position };
        let marks = Marks::with(self.marks.as_ref(), annotations);
        out.push(Output::Deliver { to, delivery, message, redelivered, failures, place, marks });
    }

    /// The message the next consumer gets.
    #[inline]
    fn front(&mut self, now: Time, out: &mut Vec<Output>) -> Front {
        loop {
            let entry = match &self.order {
                Order::Fifo | Order::LastValue(_) => self.entries.first(),
                Order::Priority(levels) => levels.front().and_then(|p| self.entries.get(p)),
                Order::Groups(_) | Order::Unsorted(_) => None,
            };
            let Some(entry) = entry else { return Front::Nothing };
            let position = entry.position;
            match entry.body() {
                Body::Here(message) if message.meta().expires > now => {
                    let size = size_of(message);
                    // What comes later is brought back before it is needed.
                    if self.entries.away() > 0 && position.is_multiple_of(READ_AHEAD_EVERY) {
                        self.want(out);
                    }
                    return Front::Message(position, size);
                }
                Body::Here(_) => self.drop_expired(position, out),
                Body::Away { .. } => {
                    self.want(out);
                    return Front::Away(position);
                }
            }
        }
    }

    pub(super) fn drop_expired(&mut self, position: Position, out: &mut Vec<Output>) {
        let dropped = self.remove_available(position);
        debug_assert!(dropped.is_some(), "only available messages expire");
        if let Some(removed) = dropped {
            self.dequeued(position, &removed, out);
        }
        self.counters.expired += 1;
        self.counters.dequeued += 1;
    }

    pub(super) fn flush_ends_before(&self, key: Key, position: Position) -> bool {
        self.subscriptions[key].flushes.front().is_some_and(|flush| flush.until < position)
    }

    /// Whether only want of room, or of a body that is away, keeps a flush from its next message; or
    /// there may be one that was not looked at yet.
    fn waits(&mut self, now: Time, key: Key, out: &mut Vec<Output>) -> bool {
        if !self.subscriptions[key].credit.any() {
            return false;
        }
        let subscription = &self.subscriptions[key];
        let open = subscription.room.open();
        // Looking for a selected message that there is no room for would have no end.
        let looks = subscription.selection.is_some();
        if self.is_unsorted() || looks && (!open || subscription.is_paused()) {
            return true;
        }
        let next = if self.subscriptions[key].is_own() {
            // A message that was looked at is next again; if there is another, it pauses.
            self.next_own(now, key, &mut 0, out)
        } else if self.is_grouped() {
            self.front_of(now, key, None, out)
        } else {
            self.front(now, out)
        };
        match next {
            Front::Nothing => false,
            Front::Paused => true,
            Front::Away(position) => !self.flush_ends_before(key, position),
            Front::Message(position, size) => {
                !open
                    && !self.flush_ends_before(key, position)
                    && self.subscriptions[key].credit.allows(size)
            }
        }
    }

    /// Ends the oldest flush: no credit but what was granted since.
    pub(super) fn finish_flush(&mut self, key: Key, out: &mut Vec<Output>) {
        use super::CreditUnit::{Bytes, Messages};
        let subscription = &mut self.subscriptions[key];
        let Some(flush) = subscription.flushes.pop_front() else { return };
        subscription.credit.clear();
        subscription.credit.grant(Messages, flush.then.0);
        subscription.credit.grant(Bytes, flush.then.1);
        out.push(Output::Flushed { queue: self.id, to: subscription.id, op: flush.op });
        self.subscriptions.refresh(key);
    }
}
