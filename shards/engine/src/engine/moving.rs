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
use crate::topology::{Route, Routes};
use fletch_journal::Seq;

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

impl Moving {
    /// The queue is deleted.
    pub(super) fn begin(&mut self) {
        self.emptying = Emptying::Begun;
    }
}

impl Engine {
    /// Where messages go that leave a queue for its alternate exchange.
    pub(super) fn alternate_routes(&self, queue: QueueId, message: &Message) -> Routes {
        let alternate = self.topology.alternate_of(queue).or_else(|| self.gone.alternate_of(queue));
        let mut routes = Routes::default();
        if let Some(exchange) = alternate {
            // An alternate that was deleted has no routes.
            let _ = self.topology.route(&exchange, message, &mut routes);
        }
        // A queue bound to its own alternate is among its routes though it is gone.
        routes.retain(|r| !self.gone.contains(r.queue));
        routes
    }

    /// The same, counted.
    pub(super) fn rerouted(&mut self, queue: QueueId, message: &Message) -> Routes {
        let routes = self.alternate_routes(queue, message);
        if routes.is_empty() {
            self.stats.discarded += 1;
        } else {
            self.stats.rerouted += 1;
        }
        routes
    }

    /// Sends a message to the queue's alternate exchange, or drops it.
    pub(super) fn reroute(&mut self, queue: QueueId, message: &Message, fx: &mut Effects) {
        let routes = self.rerouted(queue, message);
        self.pass_on(routes.iter().as_slice(), message, None, fx);
    }

    /// Sends a message to queues, each for itself.
    pub(super) fn pass_on(
        &mut self,
        routes: &[Route],
        message: &Message,
        slot: Option<u32>,
        fx: &mut Effects,
    ) {
        // Through `local`, never by recursion: an alternate may lead back here.
        for route in routes {
            let frame = Frame::Publish {
                epoch: self.topology.epoch(),
                slot,
                number: None,
                moves: true,
                message: message.clone(),
                queues: std::iter::once(route.queue).collect(),
            };
            self.send(route.home, frame, fx);
        }
    }

    /// A message has left its queue for the alternate exchange. If it is journalled, its record, of a message
    /// of this size, goes when it is safe where it went. `reject`: the rejection that waits for that.
    pub(super) fn move_on(
        &mut self,
        from: DeliveryRef,
        message: &Message,
        (place, size): (Seq, usize),
        reject: Option<u32>,
        fx: &mut Effects,
    ) {
        if place == Seq::NONE {
            self.reroute(from.queue, message, fx);
            return;
        }
        let routes = self.rerouted(from.queue, message);
        if routes.is_empty() {
            self.journal_dequeue(from, place, size);
            return;
        }
        self.move_to(from, message, (place, size), &routes, reject, fx);
    }

    /// A message has left its queue for others. Its record, if it has one, goes when it is safe there, which
    /// `reject` waits for.
    pub(super) fn move_to(
        &mut self,
        from: DeliveryRef,
        message: &Message,
        (place, size): (Seq, usize),
        routes: &Routes,
        reject: Option<u32>,
        fx: &mut Effects,
    ) {
        self.moving.entry(from.queue).or_default().messages += 1;
        let receipts = u16::try_from(routes.len()).unwrap_or(u16::MAX);
        let origin = Origin::Queue { from, place, size, reject };
        let slot = self.publishes.insert(origin, receipts, None);
        self.pass_on(routes.iter().as_slice(), message, Some(slot), fx);
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
