//! A journal whose disk is full: durable publishes are refused, also those that were taken on just before,
//! and everything else goes on with what is reserved for it.

use super::Engine;
use crate::error::{Error, ErrorKind};
use crate::frame::{Effects, Frame};
use crate::ids::{QueueId, ShardId, Time};
use crate::message::Message;
use crate::request::{DeliveryRef, Event};
use crate::store::{Waiter, payload_len};
use crate::topology::{Route, Routes};
use fletch_journal::{Ref, Refs, Seq, Volume};
use std::sync::Arc;

impl Engine {
    /// Whether the disk of a log has no room for what follows.
    pub fn is_full(&self, volume: Volume) -> bool {
        match volume {
            Volume::Journal => self.store.as_ref().is_some_and(|store| store.log.is_full()),
            Volume::Paging => self.pages().is_some_and(|log| log.is_full()),
        }
    }

    /// Where a log is, for people.
    pub fn path(&self, volume: Volume) -> &str {
        match volume {
            Volume::Journal => self.store.as_ref().map_or("", |store| &store.path),
            Volume::Paging => self.pager.pages.as_ref().map_or("", |pages| &pages.path),
        }
    }

    /// Refuses a durable message for these queues, which are homed here, if one of them is durable and
    /// the journal's disk is full.
    pub(super) fn check_space(
        &self,
        message: &Message,
        mut queues: impl Iterator<Item = QueueId>,
    ) -> Result<(), Error> {
        let Some(store) = self.store.as_ref().filter(|_| message.meta().durable) else {
            return Ok(());
        };
        if store.log.admits(payload_len(Volume::Journal, message.size())) {
            return Ok(());
        }
        // What a queue has had needs no room in it.
        let has_had = |id: &QueueId| self.queues.get(id).is_some_and(|q| q.is_duplicate(message));
        let durable = |id| self.topology.queue_by_id(id).is_some_and(|q| q.durable);
        match queues.find(|id| durable(*id) && !has_had(id)) {
            None => Ok(()),
            Some(queue) => Err(self.no_space(queue)),
        }
    }

    /// Refuses a durable message that goes to queues on several shards if there is no room here to decide
    /// about it: see [`Engine::transaction_for`].
    pub(super) fn check_decision(&self, message: &Message, routes: &Routes) -> Result<(), Error> {
        if self.no_room_for_small().is_none() || !message.meta().durable {
            return Ok(());
        }
        let durable = |r: &&Route| self.topology.queue_by_id(r.queue).is_some_and(|q| q.durable);
        let Some(first) = routes.iter().find(durable) else { return Ok(()) };
        match routes.iter().any(|r| r.home != first.home) {
            false => Ok(()),
            true => Err(self.no_space(first.queue)),
        }
    }

    /// Where there is no room even for what is small; none if there is.
    pub(super) fn no_room_for_small(&self) -> Option<Arc<str>> {
        let store = self.store.as_ref().filter(|store| !store.log.admits_small())?;
        Some(Arc::clone(&store.path))
    }

    pub(super) fn no_space(&self, queue: QueueId) -> Error {
        let path = self.path(Volume::Journal);
        let name = self.topology.queue_by_id(queue).map_or("", |q| &q.name);
        Error::new(
            ErrorKind::ResourceLimit,
            format!("Cannot store a message for queue {name}: no space left in {path}"),
        )
    }

    /// Refuses the publishes that were taken on before it was known that the disk is full and would be
    /// written into the reserve.
    pub(super) fn refuse_excess(&mut self, now: Time, fx: &mut Effects) {
        let Some(store) = &mut self.store else { return };
        let Some(from) = store.log.excess() else { return };
        self.refuse_excess_prepared(now, from, fx);
        let Some(store) = &mut self.store else { return };
        let behind = store.waiting.partition_point(|(seq, _)| *seq < from);
        let mut refused: Vec<(Seq, Refs, Waiter)> = Vec::new();
        for (seq, waiter) in store.waiting.split_off(behind) {
            // What the cleaner has staged nobody waits for: it stays. So does what was safe elsewhere.
            let publish =
                matches!(waiter, Waiter::Published { .. } | Waiter::Receipt { moves: false, .. });
            // One that has left its queue for the alternate exchange cannot be taken back either, nor one of which
            // a duplicate was taken for delivered.
            let there = |(r, _): &(Ref, bool)| {
                let Some(q) = self.queues.get(&QueueId(r.queue)) else { return false };
                let is_there = q.place(r.position).is_some_and(|(place, ..)| place == seq);
                (is_there || self.transactions.waits_at(seq)) && !q.relies_on(seq)
            };
            let refs = store.log.retractable(seq).filter(|refs| publish && refs.iter().all(there));
            match refs.is_some().then(|| store.log.retract(seq)).flatten() {
                Some(refs) => refused.push((seq, refs, waiter)),
                None => store.waiting.push_back((seq, waiter)),
            }
        }
        for (seq, refs, waiter) in refused {
            let queue = refs.first().map_or(QueueId(0), |(r, _)| QueueId(r.queue));
            let reason = self.no_space(queue);
            self.forget_waiting(seq);
            for (r, _) in refs {
                if let Some(q) = self.queues.get_mut(&QueueId(r.queue)) {
                    q.forget_id(seq);
                }
                self.withdraw(now, r);
            }
            self.deliver(fx);
            match waiter {
                Waiter::Published { session, op } => {
                    fx.events.push(Event::Refused { session, op, reason });
                }
                Waiter::Receipt { to, slot, .. } => self.refuse_slot(to, slot, reason, fx),
                _ => {}
            }
        }
    }

    /// A publish of some shard is refused here.
    pub(super) fn refuse_slot(&mut self, to: ShardId, slot: u32, reason: Error, fx: &mut Effects) {
        self.send(to, Frame::Refused { slot, reason: Box::new(reason) }, fx);
    }

    /// Takes a message out of a queue because its publish does not hold. Who has it already keeps it, and
    /// the journal knows nothing of it. Where its record stands.
    fn withdraw(&mut self, now: Time, r: Ref) -> Option<(Seq, usize)> {
        let q = self.queues.get_mut(&QueueId(r.queue))?;
        q.withdraw(now, r.position, &mut self.outputs)
    }

    /// Takes a message out of all queues here because its transaction does not hold.
    pub(super) fn withdraw_prepared(&mut self, now: Time, refs: Refs, fx: &mut Effects) {
        for (r, _) in refs {
            if let Some((place, size)) = self.withdraw(now, r) {
                let at = DeliveryRef { queue: QueueId(r.queue), position: r.position };
                self.journal_dequeue(at, place, size);
            }
        }
        self.deliver(fx);
    }
}
