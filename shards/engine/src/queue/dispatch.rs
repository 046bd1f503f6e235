//! Who gets which message: serving consumers and browsers, and flushes.
//!
//! Between calls nobody is ready who could be served: whatever brings messages, credit or room
//! serves at once. So an enqueue to a waiting consumer is a push, a pop and a turn of the ring.

use super::entries::{Body, Entry, Removed};
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

/// What somebody comes to next.
enum Front {
    Nothing,
    Message(Position, u32),
    /// A message whose body is not in memory.
    Away(Position),
}

/// What a subscriber gets.
struct Delivery {
    message: Message,
    redelivered: bool,
    place: Seq,
}

impl Delivery {
    fn of(entry: &Entry<'_>) -> Option<Delivery> {
        let Body::Here(message) = entry.body else { return None };
        let (redelivered, place) = (entry.redelivered, entry.place);
        Some(Delivery { message: message.clone(), redelivered, place })
    }
}

/// How often a consumer looks ahead: each time it comes to a multiple of this.
const READ_AHEAD_EVERY: Position = 64;

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
            if self.subscriptions[key].flushes.is_empty() || self.waits(now, key, out) {
                return;
            }
            // What was granted since the flush was asked for counts now: serve again.
            self.finish_flush(key, out);
        }
    }

    fn serve_consumers(&mut self, now: Time, out: &mut Vec<Output>) {
        while self.subscriptions.any_consumer() {
            let Front::Message(position, size) = self.front(now, out) else { return };
            let Some(key) = self.subscriptions.next_consumer(size) else { return };
            if self.flush_ends_before(key, position) {
                self.finish_flush(key, out);
                continue;
            }
            let taken = if self.subscriptions[key].settles {
                self.entries.acquire(position).and_then(|e| Delivery::of(&e))
            } else {
                self.counters.dequeued += 1;
                let taken = self.entries.remove_available(position);
                taken.and_then(|removed| {
                    self.dequeued(position, &removed, out);
                    let Removed { message, redelivered, .. } = removed;
                    Some(Delivery { message: message?, redelivered, place: Seq::NONE })
                })
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
            let (position, size) = match self.browsed(now, key, out) {
                Front::Message(position, size) => (position, size),
                Front::Away(position) => {
                    self.subscriptions[key].cursor = position;
                    return;
                }
                Front::Nothing => {
                    // Acquired messages it has passed stay unseen, even if they are released.
                    self.subscriptions[key].cursor = self.entries.end();
                    return;
                }
            };
            if self.flush_ends_before(key, position) {
                self.finish_flush(key, out);
                continue;
            }
            if !self.subscriptions[key].credit.allows(size) {
                return;
            }
            let copy = self.entries.next(position).and_then(|e| Delivery::of(&e));
            let Some(mut copy) = copy else { return };
            copy.place = Seq::NONE; // A copy: the message itself stays as it was.
            self.subscriptions[key].cursor = position + 1;
            self.deliver(key, position, size, copy, out);
        }
    }

    fn deliver(
        &mut self,
        key: Key,
        position: Position,
        size: u32,
        Delivery { message, redelivered, place }: Delivery,
        out: &mut Vec<Output>,
    ) {
        self.subscriptions.take(key, size);
        self.counters.delivered += 1;
        let to = self.subscriptions[key].id;
        let delivery = DeliveryRef { queue: self.id, position };
        out.push(Output::Deliver { to, delivery, message, redelivered, place });
    }

    /// The message the next consumer gets.
    fn front(&mut self, now: Time, out: &mut Vec<Output>) -> Front {
        loop {
            let Some(entry) = self.entries.first() else { return Front::Nothing };
            let position = entry.position;
            match entry.body {
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

    /// The message a browser sees next.
    fn browsed(&mut self, now: Time, key: Key, out: &mut Vec<Output>) -> Front {
        loop {
            let next = self.entries.next(self.subscriptions[key].cursor);
            let Some(entry) = next else { return Front::Nothing };
            let position = entry.position;
            match entry.body {
                Body::Here(message) if message.meta().expires > now => {
                    return Front::Message(position, size_of(message));
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

    /// Whether only want of room, or of a body that is away, keeps a flush from its next message.
    fn waits(&mut self, now: Time, key: Key, out: &mut Vec<Output>) -> bool {
        if !self.subscriptions[key].credit.any() {
            return false;
        }
        let next = match self.subscriptions[key].mode {
            Mode::Consume => self.front(now, out),
            Mode::Browse => self.browsed(now, key, out),
        };
        let open = self.subscriptions[key].room.open();
        match next {
            Front::Nothing => false,
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
