//! Exchanges that keep something of the messages that pass them: how many those were
//! (`qpid.msg_sequence`), and the last ones for queues that are bound later (`qpid.ive`).
//!
//! Each has one home, like a queue, so that there is one order of its messages whichever shards they come
//! from. Its home gives each its number and then routes it, as its publisher's shard does for others.
//! As in the reference neither outlives the broker: a durable exchange counts from 1 again.

use super::Engine;
use super::initial::{InitialValues, keys_of};
use super::moving::Onward;
use crate::error::Error;
use crate::frame::{Effects, Frame};
use crate::ids::{Epoch, QueueId, SessionId, ShardId, Time};
use crate::look::{Note, noted};
use crate::message::Message;
use crate::pending::Origin;
use crate::request::{OpId, Published};
use crate::topology::{Binding, Detour, Exchange, FixedMap, Routes, Way, home_of_exchange};
use crate::transaction::TxFrame;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The annotation with a message's number.
const SEQUENCE: &str = "qpid.msg_sequence";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    /// Of exchanges that have this home.
    kept: FixedMap<Arc<str>, Kept>,
    /// Changes that are not yet said to be applied here, because of initial values on their way.
    untold: BTreeMap<Epoch, Untold>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The number of the last message.
    sequence: i64,
    /// If it is asked for.
    initial: Option<Box<InitialValues>>,
}

#[derive(Debug, Default)]
struct Untold {
    applied: bool,
    missing: usize,
}

impl Exchanges {
    pub(super) fn is_idle(&self) -> bool {
        self.untold.is_empty()
    }

    /// An exchange was deleted. The next of that name begins anew.
    pub(super) fn forget(&mut self, name: &str) {
        self.kept.remove(name);
    }

    /// A message passes: as it goes on from here.
    fn pass(&mut self, exchange: &Exchange, message: &Message) -> Message {
        let (keeps, descriptor) = (exchange.keeps(), exchange.descriptor());
        if keeps.is_nothing() {
            return message.clone();
        }
        let kept = self.kept.entry(Arc::clone(&descriptor.name)).or_default();
        let mut message = message.clone();
        if keeps.sequence {
            kept.sequence = kept.sequence.wrapping_add(1);
            message = numbered(&message, kept.sequence);
        }
        if keeps.last {
            let initial = kept.initial.get_or_insert_default();
            initial.keep(message.clone(), keys_of(descriptor.kind));
        }
        message
    }

    /// A change is applied here. What may be said to be applied now.
    pub(super) fn applied(&mut self, epoch: Epoch) -> Option<Epoch> {
        if self.untold.is_empty() {
            return Some(epoch);
        }
        self.untold.entry(epoch).or_default().applied = true;
        self.tell()
    }

    /// The last of the changes that are complete, with all before them.
    fn tell(&mut self) -> Option<Epoch> {
        let mut told = None;
        while let Some(first) = self.untold.first_entry() {
            if !first.get().applied || first.get().missing > 0 {
                break;
            }
            told = Some(first.remove_entry().0);
        }
        told
    }
}

/// The message with its number among the annotations. A header that has no room for one more struct stays
/// as it is: nobody could read it with one.
fn numbered(message: &Message, number: i64) -> Message {
    noted(message, &[(SEQUENCE, Note::Int(number))])
}

impl Engine {
    /// A message has come to an exchange whose home this is. See [`Frame::Route`].
    pub(super) fn on_route(
        &mut self,
        now: Time,
        (from, slot): (ShardId, Option<u32>),
        (moves, hops): (Option<QueueId>, u8),
        (exchange, last): (Arc<str>, bool),
        message: &Message,
        fx: &mut Effects,
    ) {
        let Some(passed) = self.topology.exchange(&exchange) else {
            // Deleted while the message was under way.
            match (slot, moves) {
                (Some(slot), None) => {
                    let reason = Error::not_found(format!("Exchange not found: {exchange}"));
                    self.refuse_slot(from, slot, reason, fx);
                }
                (slot, _) => self.discard(from, slot, fx),
            }
            return;
        };
        let message = self.exchanges.pass(passed, message);
        let mut routes = std::mem::take(&mut self.routes);
        routes.clear();
        let way = self.topology.way_on(&Detour { exchange, last }, &message, &mut routes);
        match (way, moves) {
            (Err(_), _) => self.discard(from, slot, fx), // It was there above.
            (Ok(Way::Queues(_)), Some(queue)) => {
                routes.retain(|r| r.queue != queue && !self.gone.contains(r.queue));
                let onward = Onward::Queues(std::mem::take(&mut routes));
                self.move_through(&onward, &message, (queue, hops), (from, slot), fx);
            }
            (Ok(Way::Home(detour)), Some(queue)) => {
                let onward = Onward::Home(detour);
                self.move_through(&onward, &message, (queue, hops), (from, slot), fx);
            }
            (Ok(way), None) => {
                let Some(slot) = slot else { return };
                let origin = Origin::Routed { to: from, slot };
                match way {
                    Way::Home(Detour { exchange, last }) => {
                        let home = home_of_exchange(self.shards, &exchange);
                        let slot = Some(self.publishes.insert(origin, 1, None));
                        let epoch = self.topology.epoch();
                        let (moves, hops) = (None, 0);
                        let frame =
                            Frame::Route { epoch, slot, moves, hops, last, exchange, message };
                        self.send(home, frame, fx);
                    }
                    Way::Queues(found) => match self.check_room_for(&message, &routes) {
                        Ok(()) => {
                            self.stats.unroutable += u64::from(!found);
                            if self.distribute(now, &mut routes, &message, origin, fx)
                                == Published::Done
                            {
                                self.receipt_for(from, slot, fx);
                            }
                        }
                        Err(reason) => self.refuse_slot(from, slot, reason, fx),
                    },
                }
            }
        }
        self.routes = routes;
    }

    /// A session here publishes to such an exchange in a transaction. As in the reference the message has its
    /// number, and is the last one of its key, from now on, whatever becomes of the transaction.
    pub(super) fn ask_way(
        &mut self,
        asker: (SessionId, OpId),
        exchange: &str,
        message: Message,
        fx: &mut Effects,
    ) {
        let mut routes = Routes::default();
        match self.topology.way(exchange.into(), &message, &mut routes) {
            Ok(way) => {
                self.stats.published += 1;
                self.tell_way(asker, way, (message, &routes), fx);
            }
            Err(error) => self.answer(asker.0, asker.1, Err(error), fx),
        }
    }

    /// The same has come to an exchange whose home this is.
    pub(super) fn on_asked_way(
        &mut self,
        asker: (SessionId, OpId),
        (exchange, last): (Arc<str>, bool),
        message: &Message,
        fx: &mut Effects,
    ) {
        let passed = self.topology.exchange(&exchange);
        let message = passed.map_or_else(|| message.clone(), |x| self.exchanges.pass(x, message));
        let mut routes = Routes::default();
        match self.topology.way_on(&Detour { exchange, last }, &message, &mut routes) {
            Ok(way) => self.tell_way(asker, way, (message, &routes), fx),
            // Deleted while the message was under way.
            Err(error) => self.answer(asker.0, asker.1, Err(error), fx),
        }
    }

    fn tell_way(
        &mut self,
        asker: (SessionId, OpId),
        way: Way,
        (message, routes): (Message, &Routes),
        fx: &mut Effects,
    ) {
        let epoch = self.topology.epoch();
        let (to, frame) = match way {
            Way::Home(Detour { exchange, last }) => {
                let home = home_of_exchange(self.shards, &exchange);
                (home, TxFrame::Route { epoch, asker, exchange, last, message })
            }
            Way::Queues(found) => {
                self.stats.unroutable += u64::from(!found);
                let routed = (message, routes.iter().copied().collect());
                (asker.0.shard(), TxFrame::Routed { epoch, asker, routed })
            }
        };
        self.send(to, Frame::Transact(Box::new(frame)), fx);
    }

    /// A message that has left a queue goes on through an exchange that it was kept by.
    fn move_through(
        &mut self,
        onward: &Onward,
        message: &Message,
        (queue, hops): (QueueId, u8),
        (from, slot): (ShardId, Option<u32>),
        fx: &mut Effects,
    ) {
        if onward.is_empty() {
            self.discard(from, slot, fx);
            return;
        }
        let slot = slot.map(|slot| {
            let origin = Origin::Publish { to: from, slot };
            self.publishes.insert(origin, onward.receipts(), None)
        });
        self.pass_on(onward, message, queue, (slot, hops), fx);
    }

    /// A message that has left a queue has nowhere to go.
    fn discard(&mut self, from: ShardId, slot: Option<u32>, fx: &mut Effects) {
        self.stats.discarded += 1;
        if let Some(slot) = slot {
            self.receipt_for(from, slot, fx);
        }
    }

    /// A binding was made: if its exchange has this home and keeps a message that the binding matches, the
    /// queue gets it. The change counts as applied when that is done.
    pub(super) fn send_initial(
        &mut self,
        now: Time,
        epoch: Epoch,
        binding: &Arc<Binding>,
        fx: &mut Effects,
    ) {
        let Some(message) = self.initial_value(now, binding) else { return };
        self.exchanges.untold.entry(epoch).or_default().missing += 1;
        let frame = Frame::Publish {
            epoch: self.topology.epoch(),
            slot: Some(self.publishes.insert(Origin::Initial(epoch), 1, None)),
            number: None,
            moves: false,
            hops: 0,
            message,
            queues: std::iter::once(binding.queue).collect(),
        };
        self.send(binding.home, frame, fx);
    }

    /// The newest message that a binding matches and its exchange keeps. One, also if it matches more: a
    /// binding never gets more in the reference. What has expired is as good as forgotten.
    fn initial_value(&self, now: Time, binding: &Arc<Binding>) -> Option<Message> {
        let initial = self.exchanges.kept.get(&binding.exchange)?.initial.as_deref()?;
        let exchange = self.topology.exchange(&binding.exchange)?;
        let mut sole = exchange.sole(binding);
        let mut fits = |m: &&Message| m.meta().expires > now && sole.takes(m);
        match exchange.descriptor().kind.only_key(&binding.key) {
            Some(key) => initial.of_key(key).filter(fits),
            None => initial.newest_first().find(&mut fits),
        }
        .cloned()
    }

    /// An initial value has come to the queue that was bound; or there was no room for it.
    pub(super) fn initial_arrived(&mut self, epoch: Epoch, fx: &mut Effects) {
        if let Some(untold) = self.exchanges.untold.get_mut(&epoch) {
            untold.missing -= 1;
        }
        let Some(epoch) = self.exchanges.tell() else { return };
        match self.orderer {
            Some(_) => {
                let this = self.shard;
                self.with_orderer(fx, |o, _, out| o.applied(this, epoch, out));
            }
            None => self.send(ShardId::ORDERER, Frame::Applied { epoch }, fx),
        }
    }
}
