//! A message from a session to queues, wherever they are, and the receipts that come back.

use super::Engine;
use super::away::Waiting;
use crate::error::Error;
use crate::frame::{Effects, Frame};
use crate::ids::{SessionId, ShardId, Time};
use crate::message::Message;
use crate::pending::{Origin, Prepared};
use crate::request::{Event, OpId, Published};
use crate::store::{Decided, Waiter};
use crate::topology::{Routes, Way};
use fletch_journal::Seq;
use smallvec::SmallVec;
use std::num::NonZeroU64;

impl Engine {
    /// A session here publishes `message` to `exchange`.
    ///
    /// # Errors
    /// `NotFound` if the exchange does not exist, `ResourceLimit` if the message is durable and the
    /// journal's disk is full. Nothing was enqueued then.
    pub fn publish(
        &mut self,
        now: Time,
        (session, op): (SessionId, OpId),
        exchange: &str,
        message: &Message,
        fx: &mut Effects,
    ) -> Result<Published, Error> {
        let result = self.publish_now(now, (session, op), exchange, message, fx);
        self.run_local(now, fx);
        result
    }

    /// The same, without what follows here.
    pub(super) fn publish_now(
        &mut self,
        now: Time,
        (session, op): (SessionId, OpId),
        exchange: &str,
        message: &Message,
        fx: &mut Effects,
    ) -> Result<Published, Error> {
        let mut routes = std::mem::take(&mut self.routes);
        routes.clear();
        let way = self.topology.way(exchange, message, &mut routes);
        let result = way.and_then(|way| match way {
            _ if self.is_behind_publishes(session, &way) => {
                self.away.wait(session, Waiting::Publish(op, exchange.into(), message.clone()));
                Ok(Published::Pending)
            }
            Way::Queues(found) => {
                self.check_room_for(message, &routes)?;
                self.stats.published += 1;
                self.stats.unroutable += u64::from(!found);
                let origin = self.origin_of(session, op, &routes);
                Ok(self.distribute(now, &mut routes, message, origin, fx))
            }
            Way::Home(detour) => {
                self.stats.published += 1;
                self.publish_by_home((session, op), detour, message, fx);
                Ok(Published::Pending)
            }
        });
        self.routes = routes;
        result
    }

    /// Refuses a message that is to be durable where there is no room for it, as far as that is known here.
    pub(super) fn check_room_for(&self, message: &Message, routes: &Routes) -> Result<(), Error> {
        let here = routes.iter().filter(|r| r.home == self.shard);
        self.check_space(message, here.map(|r| r.queue))?;
        self.check_decision(message, routes)
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
            let enqueued = self.enqueue_all(now, queues, message, (None, true), fx);
            if !enqueued.instead.is_empty() {
                let slot = self.publishes.insert(origin, 1, None);
                self.receipt_when_enqueued(enqueued, message, (here, slot, true), fx);
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
                | Origin::Initial(_) => {
                    let slot = self.publishes.insert(origin, 1, None);
                    Waiter::Receipt { to: here, slot, moves: true }
                }
            };
            self.wait(seq, waiter);
            return Published::Pending;
        }
        routes.sort_by_home();
        let homes = routes.by_home().map(|(home, _)| home).collect::<SmallVec<[ShardId; 4]>>();
        let xid = self.transaction_for(message, routes);
        let receipts = u16::try_from(homes.len()).unwrap_or(u16::MAX);
        let prepared = xid.map(|xid| Box::new(Prepared { xid, homes }));
        let moves = matches!(origin, Origin::Queue { .. } | Origin::Publish { .. });
        let slot = self.publishes.insert(origin, receipts, prepared);
        for (home, group) in routes.by_home() {
            let queues = group.iter().map(|r| r.queue);
            if home == here {
                let enqueued = self.enqueue_all(now, queues, message, (xid, true), fx);
                self.receipt_when_enqueued(enqueued, message, (here, slot, moves), fx);
            } else {
                let queues = queues.collect();
                let epoch = self.topology.epoch();
                let (message, slot) = (message.clone(), Some(slot));
                let number = xid.and_then(|xid| NonZeroU64::new(xid.number));
                let publish = Frame::Publish { epoch, slot, number, moves, message, queues };
                fx.frames.push((home, publish));
            }
        }
        Published::Pending
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

    /// A home has a publish of this shard.
    pub(super) fn on_receipt(&mut self, slot: u32, fx: &mut Effects) {
        let Some(publish) = self.publishes.receipt(slot) else { return };
        let origin = publish.origin;
        match origin {
            Origin::Session(..) | Origin::Away(..) | Origin::Routed { .. } => {
                match (publish.refused, publish.prepared) {
                    (None, None) => self.published(origin, Ok(()), fx),
                    (None, Some(prepared)) => {
                        let Prepared { xid, homes } = *prepared;
                        self.decide(xid, Decided { origin, number: xid.number, homes });
                    }
                    (Some(reason), prepared) => {
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
            (Origin::Queue { .. } | Origin::Publish { .. } | Origin::Initial(_), _) => {
                debug_assert!(false, "these are nobody's publish");
            }
        }
    }
}
