//! Messages that leave a queue for its alternate exchange: rejected, or because the queue is deleted.
//!
//! A journalled one stays in the journal as a message of its queue until it is safe where it went: a
//! crash may leave it in both, never in none. So a deleted queue is gone when all that moves is safe.

use super::Engine;
use crate::frame::{Effects, Frame};
use crate::ids::{QueueId, SessionId, ShardId};
use crate::message::Message;
use crate::pending::Origin;
use crate::request::{DeliveryRef, OpId};
use crate::store::Waiter;
use crate::topology::{Detour, Routes, Way, home_of_exchange};
use fletch_journal::Seq;
use std::sync::Arc;

/// What leaves one queue.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// Messages that are not safe yet.
    messages: usize,
    emptying: Emptying,
    /// Accepts of messages that were in the queue when it was deleted: answered when it is empty, for
    /// a crash before would bring both back.
    accepted: Vec<(SessionId, OpId)>,
}

/// Whether the queue is deleted, and how far that has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Emptying {
    #[default]
    No,
    /// Messages have still to be sent on.
    Begun,
    /// All are under way.
    Sent,
}

/// Where a message goes on to that has left its queue.
#[derive(Debug)]
pub(super) enum Onward {
    /// To these queues.
    Queues(Routes),
    /// To an exchange that keeps something of its messages.
    Home(Detour),
}

impl Onward {
    pub(super) fn is_empty(&self) -> bool {
        self.receipts() == 0
    }

    /// How many will say that it is safe with them.
    pub(super) fn receipts(&self) -> u16 {
        match self {
            Onward::Queues(routes) => u16::try_from(routes.len()).unwrap_or(u16::MAX),
            Onward::Home(_) => 1,
        }
    }
}

impl Moving {
    /// The queue is deleted.
    pub(super) fn begin(&mut self) {
        self.emptying = Emptying::Begun;
    }
}

impl Engine {
    /// Where messages go that leave a queue for its alternate exchange.
    pub(super) fn onward(&self, queue: QueueId, message: &Message) -> Onward {
        match self.topology.alternate_of(queue).or_else(|| self.gone.alternate_of(queue)) {
            Some(alternate) => self.onward_by(&alternate, message),
            None => Onward::Queues(Routes::default()),
        }
    }

    /// Where an exchange sends messages that have left a queue; nowhere if it was deleted.
    pub(super) fn onward_by(&self, exchange: &str, message: &Message) -> Onward {
        let mut routes = Routes::default();
        let way = self.topology.way(exchange.into(), message, &mut routes).ok();
        if let Some(Way::Home(detour)) = way {
            return Onward::Home(detour);
        }
        // A queue bound to its own alternate is among its routes though it is gone.
        routes.retain(|r| !self.gone.contains(r.queue));
        Onward::Queues(routes)
    }

    /// The same, counted.
    pub(super) fn rerouted(&mut self, queue: QueueId, message: &Message) -> Onward {
        let onward = self.onward(queue, message);
        if onward.is_empty() {
            self.stats.discarded += 1;
        } else {
            self.stats.rerouted += 1;
        }
        onward
    }

    /// Sends a message to the queue's alternate exchange, or drops it. `hops`: how often it has given way to
    /// others.
    pub(super) fn reroute(
        &mut self,
        queue: QueueId,
        message: &Message,
        hops: u8,
        fx: &mut Effects,
    ) {
        let onward = self.rerouted(queue, message);
        self.pass_on(&onward, message, queue, (None, hops), fx);
    }

    /// Sends a message on that has left a queue: to queues, each for itself.
    pub(super) fn pass_on(
        &mut self,
        onward: &Onward,
        message: &Message,
        from: QueueId,
        (slot, hops): (Option<u32>, u8),
        fx: &mut Effects,
    ) {
        // Through `local`, never by recursion: an alternate may lead back here.
        let routes = match onward {
            Onward::Queues(routes) => routes,
            Onward::Home(Detour { exchange, last }) => {
                let home = home_of_exchange(self.shards, exchange);
                let (epoch, exchange) = (self.topology.epoch(), Arc::clone(exchange));
                let (moves, last, message) = (Some(from), *last, message.clone());
                let frame = Frame::Route { epoch, slot, moves, hops, last, exchange, message };
                self.send(home, frame, fx);
                return;
            }
        };
        for route in routes.iter() {
            let frame = Frame::Publish {
                epoch: self.topology.epoch(),
                slot,
                number: None,
                moves: true,
                hops,
                message: message.clone(),
                queues: std::iter::once(route.queue).collect(),
            };
            self.send(route.home, frame, fx);
        }
    }

    /// A message has left its queue for the alternate exchange. If it is journalled, its record, of a message
    /// of this size, goes when it is safe where it went. `reject`: the rejection that waits for that; `hops`:
    /// how often it has given way to others.
    pub(super) fn move_on(
        &mut self,
        from: DeliveryRef,
        message: &Message,
        (place, size): (Seq, usize),
        (reject, hops): (Option<u32>, u8),
        fx: &mut Effects,
    ) {
        if place == Seq::NONE {
            self.reroute(from.queue, message, hops, fx);
            return;
        }
        let onward = self.rerouted(from.queue, message);
        if onward.is_empty() {
            self.journal_dequeue(from, place, size);
            return;
        }
        self.move_to(from, message, (place, size), &onward, (reject, hops), fx);
    }

    /// A message has left its queue for others. Its record, if it has one, goes when it is safe there, which
    /// `reject` waits for.
    pub(super) fn move_to(
        &mut self,
        from: DeliveryRef,
        message: &Message,
        (place, size): (Seq, usize),
        onward: &Onward,
        (reject, hops): (Option<u32>, u8),
        fx: &mut Effects,
    ) {
        self.moving.entry(from.queue).or_default().messages += 1;
        let origin = Origin::Queue { from, place, size, reject };
        let slot = self.publishes.insert(origin, onward.receipts(), None);
        self.pass_on(onward, message, from.queue, (Some(slot), hops), fx);
    }

    /// A message that left a queue is safe where it went.
    pub(super) fn moved_on(&mut self, queue: QueueId, fx: &mut Effects) {
        if let Some(moving) = self.moving.get_mut(&queue) {
            moving.messages -= 1;
        }
        self.end_moving(queue, fx);
    }

    /// All messages of a deleted queue have been sent on.
    pub(super) fn sent_on(&mut self, queue: QueueId, fx: &mut Effects) {
        if let Some(moving) = self.moving.get_mut(&queue) {
            moving.emptying = Emptying::Sent;
        }
        self.end_moving(queue, fx);
    }

    /// If nothing of a queue is on its way any more: when it is deleted, the orderer may know.
    fn end_moving(&mut self, queue: QueueId, fx: &mut Effects) {
        let over = |m: &Moving| m.messages == 0 && m.emptying != Emptying::Begun;
        if !self.moving.get(&queue).is_some_and(over) {
            return;
        }
        let Some(Moving { emptying, accepted, .. }) = self.moving.remove(&queue) else { return };
        for (session, op) in accepted {
            self.part_when_all_durable(session, op, fx);
        }
        if emptying == Emptying::Sent {
            self.send(ShardId::ORDERER, Frame::Vote { queue, result: Ok(()) }, fx);
        }
    }

    /// A message was accepted whose queue is deleted.
    pub(super) fn accepted_of_deleted(
        &mut self,
        queue: QueueId,
        session: SessionId,
        op: OpId,
        fx: &mut Effects,
    ) {
        match self.moving.get_mut(&queue).filter(|_| self.store.is_some()) {
            Some(moving) => moving.accepted.push((session, op)),
            None => self.part_when_all_durable(session, op, fx),
        }
    }

    /// Answers a part of a settlement when all that is staged is durable.
    fn part_when_all_durable(&mut self, session: SessionId, op: OpId, fx: &mut Effects) {
        match &mut self.store {
            Some(store) if store.log.last_seq() > store.log.durable() => {
                store.wait_for_all(Waiter::Part { session, op });
            }
            _ => self.answer_part(session, op, Vec::new(), fx),
        }
    }
}
