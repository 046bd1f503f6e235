//! One queue: its messages, its subscriptions, and who gets what.
//!
//! A [`Queue`] lives on its home shard and is owned by that shard's engine; subscribers may be on
//! any shard. It is the whole queue, not a shard's view. Calls are synchronous, take the time
//! where it matters, and append what subscribers are to be told to the caller's list.
//!
//! Messages are delivered in order of arrival, earliest available first; a released message
//! returns to its place. Consumers with credit and room take turns. It never routes: messages for
//! the alternate exchange are handed to the caller. Names, owners and the rules of deletion are
//! the caller's; so are positions: a settled delivery must have been the settling session's.

mod alerts;
mod credit;
mod declined;
mod dispatch;
mod entries;
mod events;
mod flow;
mod grouped;
mod groups;
mod header;
mod intake;
mod last_value;
mod lifetime;
mod limit;
pub(crate) mod marks;
mod memory;
mod named;
mod order;
mod owned;
mod packed;
mod positions;
mod priority;
mod provisional;
mod reserved;
mod rest;
mod restore;
mod scheduled;
mod select;
pub(crate) mod settings;
mod subscription;
mod tags;
pub(crate) mod taking;
mod window;

pub use credit::{CreditUnit, FlowMode, INFINITE, ROOM_BYTES, ROOM_MESSAGES};
pub use flow::Publisher;
pub use groups::GroupReport;
pub(crate) use limit::Full;
pub use marks::Marks;
pub use rest::{Next, Rest};
pub use settings::{QueueDefaults, QueueSettings};
pub use taking::{HeaderFilter, Selection, Taken};
pub(crate) use window::Asked;

use crate::annotations::Annotations;
use crate::error::Error;
use crate::ids::{Position, QueueId, SessionId, SubscriptionId, Time};
use crate::message::Message;
use crate::notice::What;
use crate::request::{DeliveryRef, Mode, OpId, Subscribe};
use credit::add;
use entries::{Body, Entries, Removed};
use fletch_journal::Seq;
use intake::Intake;
use limit::{Bounds, Quiet};
use memory::MemoryLimit;
use order::Order;
use scheduled::{Scheduled, due_after};
use settings::Lifetime;
use std::fmt;
use std::sync::Arc;
use subscription::{Flush, Subscription, Subscriptions};

/// What a queue tells subscribers.
#[derive(Debug)]
pub enum Output {
    /// A message for a subscription.
    Deliver {
        /// The subscription.
        to: SubscriptionId,
        /// What to settle it by.
        delivery: DeliveryRef,
        /// The message.
        message: Message,
        /// It may have been delivered before.
        redelivered: bool,
        /// So often it came back before.
        failures: u32,
        /// Where its record stands, if its journal has to know that it was delivered.
        place: Seq,
        /// What its header has to say besides.
        marks: Option<Arc<Marks>>,
    },
    /// A journalled message left the queue.
    Dequeued {
        /// Which.
        delivery: DeliveryRef,
        /// Where its record stands.
        place: Seq,
        /// The message's size.
        size: usize,
    },
    /// An id that has a record is forgotten.
    Forgotten {
        /// Where it stands.
        place: Seq,
        /// The id's bytes there.
        len: u64,
    },
    /// A message has given way to a newer one and goes to the alternate exchange.
    Displaced {
        /// Which.
        delivery: DeliveryRef,
        /// The message, as it leaves.
        message: Message,
        /// Where its record stands, which is still there.
        place: Seq,
        /// Its size as it was here.
        size: usize,
        /// How often the message for which it went had been displaced itself.
        hops: u8,
    },
    /// A publish is held back no more.
    Resumed {
        /// Which.
        to: Publisher,
    },
    /// Management has to be told.
    Notice {
        /// The queue.
        queue: QueueId,
        /// What has happened.
        what: What,
        /// Messages in it.
        count: u64,
        /// Bytes of those.
        size: u64,
    },
    /// A message has come, or left: of a queue that generates events.
    Event {
        /// The queue.
        queue: QueueId,
        /// Where the message is, or was.
        position: Position,
        /// The message, if it has come.
        enqueued: Option<Message>,
    },
    /// The queue is too full, and to be deleted for that. Said once.
    Overfull {
        /// The queue.
        queue: QueueId,
    },
    /// A message is wanted whose body is away, or will be soon: see [`Queue::first_wanted`].
    Wanted {
        /// The queue.
        queue: QueueId,
    },
    /// Subscribers look for messages they select, and have looked at enough for now, or the queue can be sorted:
    /// see [`Queue::look`].
    More {
        /// The queue.
        queue: QueueId,
    },
    /// The queue's next message that waits until it is due is due then.
    Scheduled {
        /// The queue.
        queue: QueueId,
        /// When.
        due: Time,
    },
    /// The last message has left a queue that may be deleted because of that.
    Emptied {
        /// The queue.
        queue: QueueId,
    },
    /// A flush is done: all its deliveries are before this.
    Flushed {
        /// The queue.
        queue: QueueId,
        /// The subscription.
        to: SubscriptionId,
        /// The request this answers.
        op: OpId,
    },
}

/// What has happened to a queue since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that came.
    pub enqueued: u64,
    /// Messages that left, for whatever reason.
    pub dequeued: u64,
    /// Deliveries, browsing included.
    pub delivered: u64,
    /// Of the dequeued: dropped because their time had come.
    pub expired: u64,
    /// Of the dequeued: dropped by a purge.
    pub purged: u64,
    /// Of the dequeued: sent on through an exchange.
    pub rerouted: u64,
    /// Acquired messages that came back.
    pub released: u64,
    /// Of the dequeued: rejected.
    pub rejected: u64,
    /// Of the dequeued: replaced by a newer one with the same key.
    pub replaced: u64,
    /// Messages that gave way to newer ones.
    pub displaced: u64,
    /// Messages that did not come in because the queue had had them, by their ids.
    pub duplicates: u64,
}

/// See the module.
pub struct Queue {
    id: QueueId,
    entries: Entries,
    order: Order,
    subscriptions: Subscriptions,
    counters: Counters,
    /// Where the sweep for expired messages goes on.
    swept: Position,
    /// The session whose one consumer wants no other.
    exclusive: Option<SessionId>,
    /// The session that has the queue for itself.
    owner: Option<SessionId>,
    /// Of one that does not take everything.
    intake: Option<Box<Intake>>,
    /// Of one that adds to headers.
    marks: Option<Arc<Marks>>,
    browse_only: bool,
    was_used: bool,
    /// Of one that is deleted by itself.
    lifetime: Option<Lifetime>,
    /// Messages that are not due yet.
    scheduled: Option<Box<Scheduled>>,
    /// A message that came back so often is rejected; 0: none is.
    max_deliveries: u32,
    /// [`Output::Wanted`] was said and not answered.
    wanting: bool,
    /// [`Output::More`] was said and not answered.
    looking: bool,
    /// Of a durable queue. Boxed because most are not.
    durable: Option<Box<Durable>>,
    /// Of a paged queue.
    limit: Option<Box<MemoryLimit>>,
    /// [`Queue::is_over`] was said.
    relieving: bool,
    /// Limits, flow control and alerts. Boxed because it is seldom looked at as a whole.
    bounds: Option<Box<Bounds>>,
    /// Below this those have nothing to do.
    quiet: Quiet,
}

/// Up to which position deliveries may have happened.
#[derive(Clone, Copy, Debug, Default)]
struct Durable {
    /// As far as the journal is told.
    told: Position,
    /// As far as it knows durably.
    known: Position,
}

// Ten thousand empty queues are an ordinary broker.
const _: () = assert!(std::mem::size_of::<Queue>() <= 480);

impl Queue {
    /// An empty queue.
    pub fn new(id: QueueId) -> Queue {
        Queue {
            id,
            entries: Entries::new(),
            order: Order::Fifo,
            subscriptions: Subscriptions::new(),
            counters: Counters::default(),
            swept: 0,
            exclusive: None,
            owner: None,
            intake: None,
            marks: None,
            browse_only: false,
            was_used: false,
            lifetime: None,
            scheduled: None,
            max_deliveries: 0,
            wanting: false,
            looking: false,
            durable: None,
            limit: None,
            relieving: false,
            bounds: None,
            quiet: Quiet::ALWAYS,
        }
    }

    /// Persistent messages in it are journalled.
    pub fn set_durable(&mut self) {
        self.durable.get_or_insert_default();
    }

    /// Whether it is durable.
    pub fn is_durable(&self) -> bool {
        self.durable.is_some()
    }

    /// All messages in order: position, size, whether it was delivered before, and where its record
    /// stands.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Position, usize, bool, Seq)> {
        self.entries.iter().map(|e| (e.position, e.size(), e.redelivered(), e.place()))
    }

    /// All messages in order: position, message if it is in memory, whether it was delivered before.
    pub fn all_messages(&self) -> impl Iterator<Item = (Position, Option<&Message>, bool)> {
        self.entries.iter().map(|e| match e.body() {
            Body::Here(message) => (e.position, Some(message), e.redelivered()),
            Body::Away { .. } => (e.position, None, e.redelivered()),
        })
    }

    /// Where the record of a message stands, whether a delivery of it may have happened, and the
    /// message, if it is in memory.
    pub(crate) fn place(&self, position: Position) -> Option<(Seq, bool, Option<&Message>)> {
        let entry = self.entries.get(position)?;
        let seen = self.durable.as_ref().is_some_and(|d| position <= d.told);
        let message = match entry.body() {
            Body::Here(message) => Some(message),
            Body::Away { .. } => None,
        };
        Some((entry.place(), seen || entry.redelivered(), message))
    }

    /// A message's record was written again.
    pub(crate) fn set_place(&mut self, position: Position, place: Seq) {
        self.entries.set_place(position, place);
    }

    /// A message is about to be delivered: whether the journal has to be told.
    pub(crate) fn note_delivered(&mut self, position: Position) -> bool {
        let Some(durable) = &mut self.durable else { return false };
        let news = position > durable.told;
        durable.told = durable.told.max(position);
        news
    }

    /// Up to which position the journal is told that deliveries may have happened.
    pub(crate) fn told_delivered(&self) -> Position {
        self.durable.as_ref().map_or(0, |d| d.told)
    }

    /// Whether the journal knows durably that a delivery at this position may have happened.
    pub(crate) fn is_known_delivered(&self, position: Position) -> bool {
        self.durable.as_ref().is_none_or(|d| position <= d.known)
    }

    /// Now it does.
    pub(crate) fn set_known_delivered(&mut self, position: Position) {
        if let Some(durable) = &mut self.durable {
            durable.known = durable.known.max(position);
        }
    }

    /// Makes it the kind of queue that its arguments, and the broker's options, ask for. `reroutes`: it has an
    /// alternate exchange. What it holds already counts as if it had just come.
    pub fn configure(
        &mut self,
        now: Time,
        settings: &QueueSettings,
        (defaults, reroutes): (&QueueDefaults, bool),
        out: &mut Vec<Output>,
    ) {
        self.intake = Intake::of(settings);
        self.marks = Marks::of(settings);
        self.browse_only = settings.browse_only;
        self.max_deliveries = settings.max_deliveries.unwrap_or(0);
        self.limit = MemoryLimit::of(settings).map(Box::new);
        self.set_order(Order::new(settings));
        self.bounds = Bounds::of(settings, defaults, reroutes);
        self.update_quiet();
        if self.entries.messages() > 0 {
            self.fill_up(now, out);
        }
    }

    /// The session that has the queue for itself.
    pub fn set_owner(&mut self, owner: Option<SessionId>) {
        self.owner = owner;
    }

    /// Keeps the queue for a session that is about to be its owner.
    pub(crate) fn reserve(&mut self, session: SessionId) {
        self.owner = Some(session);
    }

    /// Whether the queue wants such a message at all.
    #[inline]
    fn takes(&self, message: &Message) -> bool {
        let users = [self.owner, self.exclusive];
        self.intake.as_ref().is_none_or(|intake| intake.takes(message, users))
    }

    /// Which queue it is.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Messages in it, acquired ones included.
    pub fn messages(&self) -> u64 {
        self.entries.messages()
    }

    /// Bytes of those.
    pub fn bytes(&self) -> u64 {
        self.entries.bytes()
    }

    /// Messages a consumer could get now.
    pub fn available(&self) -> u64 {
        self.entries.available()
    }

    /// Subscriptions, browsing ones included.
    pub fn subscriptions(&self) -> u32 {
        self.subscriptions.len()
    }

    /// Subscriptions that consume.
    pub fn consumers(&self) -> u32 {
        self.subscriptions.consuming()
    }

    /// Nobody is subscribed.
    pub fn is_unused(&self) -> bool {
        self.subscriptions.len() == 0
    }

    /// Somebody is or was subscribed.
    pub fn was_used(&self) -> bool {
        self.was_used
    }

    /// For management.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Appends a message, and delivers it if anybody waits for one; one that it has had is dropped.
    pub fn enqueue(&mut self, now: Time, message: Message, out: &mut Vec<Output>) {
        let fresh = match self.ask(&message) {
            Asked::Duplicate(_) => return,
            Asked::First(fresh) => Some(fresh),
            Asked::Unknown => None,
        };
        let came = self.enqueue_at(now, message, (Seq::NONE, 0), out);
        if let Some(fresh) = fresh.filter(|_| came.is_some()) {
            self.remember(&fresh, Seq::NONE, out);
        }
    }

    /// The same with a message whose record is about to stand at `place`, and that has been displaced by
    /// others so often. Its position; `None` if the queue does not take it.
    pub(crate) fn enqueue_at(
        &mut self,
        now: Time,
        message: Message,
        (place, hops): (Seq, u8),
        out: &mut Vec<Output>,
    ) -> Option<Position> {
        if !self.takes(&message) || !self.make_room(&message, hops, out) {
            return None;
        }
        let due = due_after(now, &message);
        if due.is_none() {
            self.order_next(&message, place, out);
        }
        let position = self.entries.push(message, place);
        if let Some(due) = due {
            self.keep_until(due, position, place, out);
        }
        self.counters.enqueued += 1;
        self.arrived(now, position, out);
        // What gave way may have been all that kept a group from others.
        if !self.serve_freed(now, out) {
            self.serve_all(now, out);
        }
        Some(position)
    }

    /// A message left the queue for good: tells so if that matters to anybody.
    #[inline]
    fn dequeued(&mut self, position: Position, removed: &Removed, out: &mut Vec<Output>) {
        if removed.place != Seq::NONE {
            let delivery = DeliveryRef { queue: self.id, position };
            let (place, size) = (removed.place, removed.size);
            out.push(Output::Dequeued { delivery, place, size });
        }
        if self.ends_empty() {
            out.push(Output::Emptied { queue: self.id });
        }
        self.left(position, out);
    }

    /// Starts a subscription, without credit, in window mode. Whether the session may use the
    /// queue at all (exclusive queues) is checked by the caller.
    pub fn subscribe(&mut self, id: SubscriptionId, s: &Subscribe) -> Result<(), Error> {
        if self.subscriptions.find(id).is_some() {
            return Err(Error::not_allowed(format!("Subscription {} is in use", id.tag)));
        }
        if s.mode == Mode::Consume {
            // The session's shard has checked too, but may not know yet.
            if self.owner.is_some_and(|owner| owner != id.session) {
                let text = format!("Cannot subscribe to exclusive queue {}", s.queue);
                return Err(Error::locked(text));
            }
            if self.browse_only {
                return Err(Error::not_allowed(format!(
                    "Queue {} is browse only.  Refusing acquiring consumer.",
                    s.queue
                )));
            }
            if self.exclusive.is_some() {
                return Err(Error::locked(format!(
                    "Queue {} has an exclusive consumer. No more consumers allowed.",
                    s.queue
                )));
            }
            if s.exclusive && self.consumers() > 0 {
                return Err(Error::locked(format!(
                    "Queue {} already has consumers. Exclusive access denied.",
                    s.queue
                )));
            }
            self.exclusive = s.exclusive.then_some(id.session);
        }
        let (how, selector) = ((s.mode, s.settles), s.selector.clone());
        self.subscriptions.insert(Subscription::new(id, how, selector, self.order.levels()));
        self.was_used = true;
        Ok(())
    }

    /// Ends a subscription; false if there is none. What it was delivered stays acquired.
    /// Nobody else can get more by it: a message that is available waits for credit or room.
    pub fn cancel(&mut self, id: SubscriptionId, out: &mut Vec<Output>) -> bool {
        let Some(key) = self.subscriptions.find(id) else { return false };
        let queue = self.id;
        let ended = self.subscriptions.remove(key);
        out.extend(ended.flushes.iter().map(|flush| Output::Flushed {
            queue,
            to: id,
            op: flush.op,
        }));
        if ended.mode == Mode::Consume {
            self.exclusive = None;
        }
        true
    }

    /// The client grants credit. Like all that concerns a subscription, ignored if it is gone:
    /// the client could not know yet.
    pub fn grant(
        &mut self,
        now: Time,
        id: SubscriptionId,
        unit: CreditUnit,
        value: u32,
        out: &mut Vec<Output>,
    ) {
        let Some(key) = self.subscriptions.find(id) else { return };
        let subscription = &mut self.subscriptions[key];
        if let Some(flush) = subscription.flushes.back_mut() {
            let then = match unit {
                CreditUnit::Messages => &mut flush.then.0,
                CreditUnit::Bytes => &mut flush.then.1,
            };
            *then = add(*then, value);
            return;
        }
        subscription.credit.grant(unit, value);
        self.serve(now, key, out);
    }

    /// The client chooses how credit is used. Another mode than before starts without credit.
    pub fn set_mode(&mut self, id: SubscriptionId, mode: FlowMode) {
        let Some(key) = self.subscriptions.find(id) else { return };
        self.subscriptions[key].credit.set_mode(mode);
        self.subscriptions.refresh(key);
    }

    /// Deliveries made in window mode are complete: the window moves.
    pub fn moved(
        &mut self,
        now: Time,
        id: SubscriptionId,
        messages: u32,
        bytes: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(key) = self.subscriptions.find(id) else { return };
        self.subscriptions[key].credit.moved(messages, bytes);
        self.serve(now, key, out);
    }

    /// The connection has written deliveries out: that much more may be under way to it. What
    /// comes back is what was delivered, each message once with its size.
    pub fn room(
        &mut self,
        now: Time,
        id: SubscriptionId,
        messages: u32,
        bytes: u64,
        out: &mut Vec<Output>,
    ) {
        let Some(key) = self.subscriptions.find(id) else { return };
        self.subscriptions[key].room.give(messages, bytes);
        self.serve(now, key, out);
    }

    /// Sets the credit to zero; nothing is delivered until the next grant. Ends flushes too.
    pub fn stop(&mut self, id: SubscriptionId, out: &mut Vec<Output>) {
        let Some(key) = self.subscriptions.find(id) else { return };
        while !self.subscriptions[key].flushes.is_empty() {
            self.finish_flush(key, out);
        }
        self.subscriptions[key].credit.clear();
        self.subscriptions.refresh(key);
    }

    /// Delivers what is there now, as far as credit goes, then sets the credit to zero, then
    /// reports [`Output::Flushed`]: in this call, or later if there is not room for all.
    pub fn flush(&mut self, now: Time, id: SubscriptionId, op: OpId, out: &mut Vec<Output>) {
        let Some(key) = self.subscriptions.find(id) else {
            out.push(Output::Flushed { queue: self.id, to: id, op });
            return;
        };
        let until = self.entries.end() - 1;
        self.subscriptions[key].flushes.push_back(Flush { op, until, then: (0, 0) });
        self.serve(now, key, out);
    }

    /// A delivered message is done with. Ignored if nobody holds it, and false.
    pub fn accept(&mut self, position: Position, out: &mut Vec<Output>) -> bool {
        let removed = self.remove_acquired(position);
        if let Some(removed) = &removed {
            self.counters.dequeued += 1;
            self.dequeued(position, removed, out);
        }
        removed.is_some()
    }

    /// Delivered messages return to their places; those nobody holds are ignored.
    pub fn release(
        &mut self,
        now: Time,
        positions: impl IntoIterator<Item = Position>,
        set_redelivered: bool,
        out: &mut Vec<Output>,
    ) {
        // All are back before the first is delivered: order does not depend on the caller's.
        for position in positions {
            let released = self.release_one(position, set_redelivered, out);
            self.counters.released += u64::from(released);
        }
        if !self.serve_freed(now, out) {
            self.serve_all(now, out);
        }
    }

    /// Whether a delivered message has been delivered as often as it may be: it must not come back.
    pub fn is_worn(&self, position: Position) -> bool {
        let max = self.max_deliveries;
        if max == 0 {
            return false;
        }
        let redelivered = self.entries.get(position).is_some_and(|entry| entry.redelivered());
        self.entries.failures(position, redelivered) + 1 >= max
    }

    /// A delivered message is refused: it leaves the queue, for the alternate exchange. The caller sees to
    /// its record.
    pub fn reject(&mut self, position: Position, out: &mut Vec<Output>) -> Option<Taken> {
        let removed = self.remove_acquired(position)?;
        self.counters.dequeued += 1;
        self.counters.rejected += 1;
        self.left(position, out);
        debug_assert!(removed.message.is_some(), "what is acquired stays in memory");
        Taken::of(self.marks.as_ref(), position, removed)
    }

    /// Says more of a message that was delivered; see [`Annotations`].
    pub fn annotate(&mut self, position: Position, annotations: &Arc<Annotations>) {
        self.entries.annotate(position, annotations);
    }

    /// Acquires a browsed message for a session; false if it is gone, somebody else has it or its group, or
    /// its body has left memory since.
    pub fn acquire(&mut self, session: SessionId, position: Position) -> bool {
        // No subscription has this number.
        let by = SubscriptionId { session, tag: u32::MAX };
        if let Order::Groups(groups) = &self.order
            && !groups.may_have(by, position)
        {
            return false;
        }
        let Some(entry) = self.entries.acquire(position) else { return false };
        if let Body::Here(message) = entry.body() {
            self.order.acquired(position, message, by);
        }
        true
    }

    /// The position of the newest message there ever was.
    pub fn newest(&self) -> Position {
        self.entries.end() - 1
    }

    /// One slice of the sweep for expired messages: looks at no more than `budget` available
    /// messages and takes those off it. True if there is more to do. A consumer held up only by
    /// the size of a message dropped here is served with the queue's next event.
    pub fn expire(&mut self, now: Time, budget: &mut usize, out: &mut Vec<Output>) -> bool {
        while self.entries.expiring() > 0 {
            let Some(entry) = self.entries.next(self.swept) else { break };
            if *budget == 0 {
                return true;
            }
            *budget -= 1;
            let position = entry.position;
            match entry.body() {
                Body::Here(message) if message.meta().expires <= now => {
                    self.swept = position + 1;
                    self.drop_expired(position, out);
                }
                // It may have expired, which its body would tell.
                Body::Away { expires } if expires <= now => {
                    self.swept = position;
                    self.want(out);
                    return false;
                }
                Body::Here(_) | Body::Away { .. } => self.swept = position + 1,
            }
        }
        self.swept = 0;
        self.entries.shrink();
        false
    }

    /// Whether [`Queue::expire`] has anything to do: messages that may expire, memory to give back.
    pub fn needs_sweep(&self) -> bool {
        self.entries.expiring() > 0 || self.entries.can_shrink()
    }

    /// Empties the queue because it is deleted: its subscriptions, who have to be told, each with
    /// whether it had credit to be delivered something; and what it held, acquired messages too.
    pub fn drain_for_delete(
        &mut self,
        out: &mut Vec<Output>,
    ) -> (Vec<(SubscriptionId, bool)>, Rest) {
        let (queue, marks) = (self.id, self.marks.take());
        let mut ids = Vec::with_capacity(self.subscriptions.len() as usize);
        for ended in self.subscriptions.drain() {
            let to = ended.id;
            let flushed = |flush: &Flush| Output::Flushed { queue, to, op: flush.op };
            out.extend(ended.flushes.iter().map(flushed));
            ids.push((to, ended.credit.any()));
        }
        self.exclusive = None;
        self.release_publishers(out);
        self.scheduled = None;
        self.counters.dequeued += self.entries.messages();
        let mut entries = self.entries.take_all();
        entries.free_all();
        (ids, Rest::new(queue, (marks, self.take_window()), entries))
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("id", &self.id)
            .field("messages", &self.messages())
            .field("subscriptions", &self.subscriptions())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
