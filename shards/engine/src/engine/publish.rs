//! A message from a session to queues, wherever they are, and what comes back: receipts, refusals, and that it
//! is held back by queues that are too full.

use super::Engine;
use super::away::Waiting;
use super::durable::Arrival;
use crate::error::Error;
use crate::frame::{Effects, Frame};
use crate::ids::{Position, QueueId, SessionId, ShardId, Time};
use crate::message::Message;
use crate::pending::{Origin, Prepared};
use crate::queue::Publisher;
use crate::request::{Event, OpId, Published, Target};
use crate::store::{Decided, Waiter};
use crate::topology::{Routes, Way};
use fletch_journal::{Seq, Xid};
use smallvec::SmallVec;
use std::num::NonZeroU64;

impl Engine {
    /// A session here publishes `message`.
    ///
    /// # Errors
    /// `NotFound` if the exchange or queue does not exist, `ResourceLimit` if a queue here is full, or the message is
    /// durable and the journal's disk is full. Nothing was enqueued then.
    pub fn publish<'t>(
        &mut self,
        now: Time,
        (session, op): (SessionId, OpId),
        to: impl Into<Target<'t>>,
        message: &Message,
        fx: &mut Effects,
    ) -> Result<Published, Error> {
        let result = self.publish_now(now, (session, op), to.into(), message, fx);
        self.run_local(now, fx);
        result
    }

    /// The same, without what follows here.
    pub(super) fn publish_now(
        &mut self,
        now: Time,
        (session, op): (SessionId, OpId),
        to: Target<'_>,
        message: &Message,
        fx: &mut Effects,
    ) -> Result<Published, Error> {
        let mut routes = std::mem::take(&mut self.routes);
        routes.clear();
        let way = self.topology.way(to, message, &mut routes);
        let result = match way {
            Err(error) => Err(error),
            Ok(way) if self.is_behind_publishes(session, &way) => {
                self.away.wait(session, Waiting::Publish(op, to.into(), message.clone()));
                Ok(Published::Pending)
            }
            Ok(Way::Queues(found)) => self.check_room_for(message, &routes).map(|()| {
                self.stats.published += 1;
                self.stats.unroutable += u64::from(!found);
                let origin = self.origin_of(session, op, &routes);
                self.distribute(now, &mut routes, message, origin, fx)
            }),
            Ok(Way::Home(detour)) => {
                self.stats.published += 1;
                self.publish_by_home((session, op), detour, message, fx);
                Ok(Published::Pending)
            }
        };
        self.routes = routes;
        result
    }

    /// Refuses a message for which there is no room, in a queue or on the disk, as far as that is known here.
    pub(super) fn check_room_for(&self, message: &Message, routes: &Routes) -> Result<(), Error> {
        let here = || routes.iter().filter(|r| r.home == self.shard).map(|r| r.queue);
        let durable = message.meta().durable;
        if durable {
            self.check_space(message, here())?;
        }
        self.check_depths(message, here())?;
        if durable { self.check_decision(message, routes) } else { Ok(()) }
    }

    /// Enqueues on every queue in `routes`: here at once, elsewhere by one frame per shard.
    pub(super) fn distribute(
        &mut self,
        now: Time,
        routes: &mut Routes,
        message: &Message,
        origin: Origin,
        fx: &mut Effects,
    ) -> Published {
        let here = self.shard;
        if routes.iter().all(|r| r.home == here) {
            let queues = routes.iter().map(|r| r.queue);
            let enqueued = self.enqueue_all(now, queues, message, Arrival::published(None), fx);
            if let Some(apart) = &enqueued.apart {
                let slot = self.publishes.insert(origin, 1, None);
                let moves = !apart.instead.is_empty();
                self.receipt_when_enqueued(enqueued, message, (here, slot, moves), fx);
                return Published::Pending;
            }
            let seq = enqueued.safe;
            if !self.waits_for(seq) {
                return Published::Done;
            }
            let waiter = match origin {
                Origin::Session(session, op) => Waiter::Published { session, op },
                Origin::Routed { to, slot } => Waiter::Receipt { to, slot, moves: false },
                Origin::Queue { .. }
                | Origin::Publish { .. }
                | Origin::Away(..)
                | Origin::Initial(_)
                | Origin::Nobody => {
                    let slot = self.publishes.insert(origin, 1, None);
                    Waiter::Receipt { to: here, slot, moves: true }
                }
            };
            self.wait(seq, waiter);
            return Published::Pending;
        }
        routes.sort_by_home();
        let receipts = u16::try_from(routes.by_home().count()).unwrap_or(u16::MAX);
        let transaction = match receipts {
            // Its one shard decides.
            1 => None,
            _ => self.transaction_for(self.durable_homes(message, routes)),
        };
        let xid = |home| {
            let prepared = transaction.as_ref().filter(|t| t.homes.contains(&home));
            prepared.map(|prepared| prepared.xid)
        };
        let moves = matches!(origin, Origin::Queue { .. } | Origin::Publish { .. });
        let slot = self.publishes.insert(origin, receipts, transaction.clone().map(Box::new));
        for (home, group) in routes.by_home() {
            let queues = group.iter().map(|r| r.queue);
            let xid = xid(home);
            if home == here {
                let enqueued = self.enqueue_all(now, queues, message, Arrival::published(xid), fx);
                self.receipt_when_enqueued(enqueued, message, (here, slot, moves), fx);
            } else {
                let queues = match group {
                    [only] => SmallVec::from([only.queue]),
                    _ => queues.collect(),
                };
                let epoch = self.topology.epoch();
                let (message, slot) = (message.clone(), Some(slot));
                let number = xid.and_then(|xid| NonZeroU64::new(xid.number));
                let hops = 0;
                let publish = Frame::Publish { epoch, slot, number, moves, hops, message, queues };
                fx.frames.push((home, publish));
            }
        }
        Published::Pending
    }

    /// A message comes from another shard, or from another queue of this one.
    pub(super) fn on_publish(
        &mut self,
        now: Time,
        from: ShardId,
        publish: Frame,
        fx: &mut Effects,
    ) {
        let Frame::Publish { epoch, slot, number, moves, hops, message, queues } = publish else {
            return;
        };
        let all = || queues.iter().copied();
        match (self.check_space(&message, all()), slot) {
            // Nor does what nobody waits for take what a full disk has left for others.
            (Err(_), _) if moves => {
                let again = Frame::Publish { epoch, slot, number, moves, hops, message, queues };
                self.parked.push_back((from, again));
                return;
            }
            (Err(reason), Some(slot)) => return self.refuse_slot(from, slot, reason, fx),
            (Ok(()), Some(slot)) if !moves => {
                if let Err(reason) = self.check_depths(&message, all()) {
                    return self.refuse_slot(from, slot, reason, fx);
                }
            }
            _ => {}
        }
        let xid = number.map(|n| Xid { shard: from.0, number: n.get() });
        let arrival = Arrival { xid, tracked: slot.is_some(), moves, hops };
        let enqueued = self.enqueue_all(now, queues.into_iter(), &message, arrival, fx);
        if let Some(slot) = slot {
            self.receipt_when_enqueued(enqueued, &message, (from, slot, moves), fx);
        }
    }

    /// Acknowledges a publish when what it has staged is durable.
    pub(super) fn receipt_when_safe(
        &mut self,
        seq: Seq,
        (to, slot, moves): (ShardId, u32, bool),
        fx: &mut Effects,
    ) {
        match self.waits_for(seq) {
            true => self.wait(seq, Waiter::Receipt { to, slot, moves }),
            false => self.receipt_for(to, slot, fx),
        }
    }

    /// A publish of some shard is safe here.
    pub(super) fn receipt_for(&mut self, to: ShardId, slot: u32, fx: &mut Effects) {
        if to == self.shard {
            self.on_receipt(slot, fx);
        } else {
            self.receipts[to.index()].push(slot);
        }
    }

    /// A home has a publish of this shard.
    pub(super) fn on_receipt(&mut self, slot: u32, fx: &mut Effects) {
        let Some(publish) = self.publishes.receipt(slot) else { return };
        let (held, origin) = (publish.is_held(), publish.origin);
        match origin {
            Origin::Session(..) | Origin::Away(..) | Origin::Routed { .. } => {
                match publish.refused.take() {
                    None => {
                        if let Some(Prepared { xid, homes }) = publish.await_decision() {
                            // Also if it is held back, so that it is not in doubt for as long.
                            self.decide(xid, Decided { slot, number: xid.number, homes });
                            return;
                        }
                        match held {
                            true => self.withheld_yet(origin, fx),
                            false => self.published(origin, Ok(()), fx),
                        }
                    }
                    Some(reason) => {
                        publish.origin = Origin::Nobody;
                        let prepared = publish.prepared.take();
                        // Those who have prepared it may know now that it will not hold.
                        for home in prepared.iter().flat_map(|p| p.homes.iter().copied()) {
                            let number = prepared.as_ref().map_or(0, |p| p.xid.number);
                            self.send(home, Frame::Decided { number, commit: false }, fx);
                        }
                        self.published(origin, Err(*reason), fx);
                    }
                }
            }
            Origin::Queue { from, place, size, reject } => {
                if place != Seq::NONE {
                    self.journal_dequeue(from, place, size);
                }
                if let Some(key) = reject {
                    self.arrived(key, fx);
                }
                self.moved_on(from.queue, fx);
            }
            Origin::Publish { to, slot } => self.receipt_for(to, slot, fx),
            Origin::Initial(epoch) => self.initial_arrived(epoch, fx),
            Origin::Nobody => {}
        }
        match held {
            true => self.publishes.withhold(),
            false => self.publishes.end(slot),
        }
    }

    /// A publish is safe, and held back.
    fn withheld_yet(&mut self, origin: Origin, fx: &mut Effects) {
        match origin {
            Origin::Session(session, op) => fx.events.push(Event::Withheld { session, op }),
            Origin::Away(session, op) => {
                fx.events.push(Event::Withheld { session, op });
                // What is behind it need not wait for longer.
                self.away.arrived(session);
            }
            // It is held back where it comes from; before its receipt there.
            Origin::Routed { to, slot } => {
                self.hold_at(Publisher { shard: to, slot }, fx);
                self.receipt_for(to, slot, fx);
            }
            _ => debug_assert!(false, "nobody waits for these"),
        }
    }

    /// What became of a publish: whoever waits for it is told.
    pub(super) fn published(
        &mut self,
        origin: Origin,
        result: Result<(), Error>,
        fx: &mut Effects,
    ) {
        match (origin, result) {
            (Origin::Session(session, op) | Origin::Away(session, op), result) => {
                fx.events.push(match result {
                    Ok(()) => Event::Published { session, op },
                    Err(reason) => Event::Refused { session, op, reason },
                });
                if let Origin::Away(..) = origin {
                    self.away.arrived(session);
                }
            }
            (Origin::Routed { to, slot }, Ok(())) => self.receipt_for(to, slot, fx),
            (Origin::Routed { to, slot }, Err(reason)) => self.refuse_slot(to, slot, reason, fx),
            (_, _) => {
                debug_assert!(false, "these are nobody's publish");
            }
        }
    }

    /// Holds back a publish whose messages have come to queues that are too full, as far as they are still
    /// there.
    pub(super) fn hold_back(
        &mut self,
        held: &[(QueueId, Position)],
        to: Publisher,
        fx: &mut Effects,
    ) {
        for (queue, position) in held {
            if self.queues.get_mut(queue).is_some_and(|q| q.hold(*position, to)) {
                self.hold_at(to, fx);
            }
        }
    }

    fn hold_at(&mut self, to: Publisher, fx: &mut Effects) {
        match to.shard == self.shard {
            true => self.publishes.hold(to.slot),
            false => fx.frames.push((to.shard, Frame::Held { slot: to.slot })),
        }
    }

    /// A queue here holds a publish back no more.
    pub(super) fn let_go(&mut self, to: Publisher, fx: &mut Effects) {
        if to.shard == self.shard {
            self.on_resumed(to.slot, fx);
        } else {
            self.resumed[to.shard.index()].push(to.slot);
        }
    }

    /// The same of a publish of this shard, wherever the queue is.
    pub(super) fn on_resumed(&mut self, slot: u32, fx: &mut Effects) {
        match self.publishes.resume(slot) {
            Some(Origin::Session(session, op) | Origin::Away(session, op)) => {
                fx.events.push(Event::Published { session, op });
            }
            Some(Origin::Routed { to, slot }) => self.let_go(Publisher { shard: to, slot }, fx),
            _ => {}
        }
    }
}
