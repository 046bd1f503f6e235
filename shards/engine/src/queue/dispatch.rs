//! Who gets which message: serving consumers and browsers, and flushes.
//!
//! Between calls nobody is ready who could be served: whatever brings messages, credit or room
//! serves at once. So an enqueue to a waiting consumer is a push, a pop and a turn of the ring.

use super::entries::Removed;
use super::subscription::Key;
use super::{Output, Queue};
use crate::ids::{Position, Time};
use crate::message::Message;
use crate::request::{DeliveryRef, Mode};
use fletch_journal::Seq;

/// What a message costs in byte credit and room.
fn size_of(message: &Message) -> u32 {
    u32::try_from(message.size()).unwrap_or(u32::MAX)
}

impl Queue {
    /// After messages have come: everybody who is ready. Browsers first, so that they see
    /// what a waiting consumer takes at once.
    pub(super) fn serve_all(&mut self, now: Time, out: &mut Vec<Output>) {
        let (mut key, ready) = self.subscriptions.browsers();
        for _ in 0..ready {
            let next = self.subscriptions.after(key);
            self.serve_browser(now, key, out);
            key = next;
        }
        self.serve_consumers(now, out);
    }

    /// After credit or room has come for one of them.
    pub(super) fn serve(&mut self, now: Time, key: Key, out: &mut Vec<Output>) {
        self.subscriptions.refresh(key);
        loop {
            match self.subscriptions[key].mode {
                Mode::Consume => self.serve_consumers(now, out),
                Mode::Browse => self.serve_browser(now, key, out),
            }
            if self.subscriptions[key].flushes.is_empty() || self.waits_for_room(now, key, out) {
                return;
            }
            // What was granted since the flush was asked for counts now: serve again.
            self.finish_flush(key, out);
        }
    }

    fn serve_consumers(&mut self, now: Time, out: &mut Vec<Output>) {
        while self.subscriptions.any_consumer() {
            let Some((position, size)) = self.front(now, out) else { return };
            let Some(key) = self.subscriptions.next_consumer(size) else { return };
            if self.flush_ends_before(key, position) {
                self.finish_flush(key, out);
                continue;
            }
            let taken = if self.subscriptions[key].settles {
                let taken = self.entries.acquire(position);
                taken.map(|(message, redelivered, place)| Removed {
                    message: message.clone(),
                    redelivered,
                    place,
                })
            } else {
                self.counters.dequeued += 1;
                let mut taken = self.entries.remove_available(position);
                if let Some(removed) = &mut taken {
                    self.dequeued(position, removed, out);
                    removed.place = Seq::NONE;
                }
                taken
            };
            let Some(taken) = taken else {
                debug_assert!(false, "the first available message is not there");
                return;
            };
            self.deliver(key, position, size, taken, out);
        }
    }

    fn serve_browser(&mut self, now: Time, key: Key, out: &mut Vec<Output>) {
        while self.subscriptions[key].open() {
            let Some((position, size)) = self.browsed(now, key, out) else {
                // Acquired messages it has passed stay unseen, even if they are released.
                self.subscriptions[key].cursor = self.entries.end();
                return;
            };
            if self.flush_ends_before(key, position) {
                self.finish_flush(key, out);
                continue;
            }
            if !self.subscriptions[key].credit.allows(size) {
                return;
            }
            let Some((_, message, redelivered)) = self.entries.next(position) else { return };
            let place = Seq::NONE; // A copy: the message itself stays as it was.
            let copy = Removed { message: message.clone(), redelivered, place };
            self.subscriptions[key].cursor = position + 1;
            self.deliver(key, position, size, copy, out);
        }
    }

    fn deliver(
        &mut self,
        key: Key,
        position: Position,
        size: u32,
        Removed { message, redelivered, place }: Removed,
        out: &mut Vec<Output>,
    ) {
        self.subscriptions.take(key, size);
        self.counters.delivered += 1;
        let to = self.subscriptions[key].id;
        let delivery = DeliveryRef { queue: self.id, position };
        out.push(Output::Deliver { to, delivery, message, redelivered, place });
    }

    /// The message the next consumer gets.
    fn front(&mut self, now: Time, out: &mut Vec<Output>) -> Option<(Position, u32)> {
        loop {
            let (position, message) = self.entries.first()?;
            if message.meta().expires > now {
                return Some((position, size_of(message)));
            }
            self.drop_expired(position, out);
        }
    }

    /// The message a browser sees next.
    fn browsed(&mut self, now: Time, key: Key, out: &mut Vec<Output>) -> Option<(Position, u32)> {
        loop {
            let (position, message, _) = self.entries.next(self.subscriptions[key].cursor)?;
            if message.meta().expires > now {
                return Some((position, size_of(message)));
            }
            self.drop_expired(position, out);
        }
    }

    pub(super) fn drop_expired(&mut self, position: Position, out: &mut Vec<Output>) {
        let dropped = self.entries.remove_available(position);
        debug_assert!(dropped.is_some(), "only available messages expire");
        if let Some(removed) = dropped {
            self.dequeued(position, &removed, out);
        }
        self.counters.expired += 1;
        self.counters.dequeued += 1;
    }

    fn flush_ends_before(&self, key: Key, position: Position) -> bool {
        self.subscriptions[key].flushes.front().is_some_and(|flush| flush.until < position)
    }

    /// Whether only want of room keeps a flush from its next message.
    fn waits_for_room(&mut self, now: Time, key: Key, out: &mut Vec<Output>) -> bool {
        let subscription = &self.subscriptions[key];
        if subscription.room.open() || !subscription.credit.any() {
            return false;
        }
        let next = match subscription.mode {
            Mode::Consume => self.front(now, out),
            Mode::Browse => self.browsed(now, key, out),
        };
        next.is_some_and(|(position, size)| {
            !self.flush_ends_before(key, position) && self.subscriptions[key].credit.allows(size)
        })
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
