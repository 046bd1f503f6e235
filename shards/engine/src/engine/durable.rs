//! The engine and its journal: what is staged, who waits, what follows when it is durable.
//!
//! A durable message on a durable queue is staged when it is enqueued and may be delivered at once; its
//! publisher is told when it is durable. One that goes to queues on several shards is *prepared* at each
//! home; when all have that durable, the publisher's shard *decides*, and when that is durable the
//! publisher is told; then each home *notes* the decision, and when all have noted it, it is over.

use super::duplicates::{put_id, rely_on};
use super::moving::Onward;
use super::{Config, Engine, paging};
use crate::error::Error;
use crate::frame::{Effects, Frame};
use crate::ids::{Position, QueueId, SessionId, ShardId, Time};
use crate::message::Message;
use crate::pending::{Origin, Prepared};
use crate::queue::{Asked, Output, Publisher, Queue};
use crate::request::{DeliveryRef, Event, OpId, Reply};
use crate::store::{
    Decided, Restored, Store, Stored, ToNote, Waiter, id_len, payload_len, volume_of,
};
use crate::topology::{Change, FixedMap, Route, Routes};
use fletch_journal::record::ops;
use fletch_journal::{
    Cleaned, Damaged, Done, Op, REFS_MAX, Ref, Refs, Remembered, Request, Seq, Volume, Write, Xid,
};
use smallvec::SmallVec;
use std::sync::Arc;

impl Engine {
    /// Takes up what recovery found. Before any input.
    pub(super) fn restore(&mut self, restored: Restored, config: &Config) {
        let Restored { mut store, mut queues, mut ids, changes, next_id, .. } = restored;
        let (to_note, in_doubt, branches) =
            (restored.to_note, restored.in_doubt, restored.branches);
        for share in in_doubt.values() {
            for (queue, positions) in &share.accepts {
                let q = queues.entry(*queue).or_insert_with(|| Box::new(Queue::new(*queue)));
                positions.iter().for_each(|position| q.lock(*position));
            }
        }
        for change in changes.iter() {
            let epoch = self.topology.epoch().next();
            self.topology.apply(epoch, change);
            if let Change::QueueCreated(q) = change
                && q.home == self.shard
            {
                let mut queue = queues.remove(&q.id).unwrap_or_else(|| Box::new(Queue::new(q.id)));
                queue.set_durable();
                let settings = self.settings(q);
                self.configure(Time(0), &mut queue, (q, &settings));
                queue.restore_ids(&ids.remove(&q.id).unwrap_or_default());
                self.resume_lifetime(q, &settings, &mut queue);
                self.schedules.set(q.id, queue.next_due());
                self.queues.insert(q.id, queue);
            }
        }
        let (mut numbers, mut came) = (Vec::new(), Vec::new());
        for ToNote { xid, dequeues, arrived, had } in to_note {
            // What was prepared is said as such: nothing keeps the record of that when this is durable.
            for (queue, first, last) in dequeues.ranges.into_iter().chain(had) {
                store.log.dequeue_again(queue, first, last);
            }
            let mut ids = Remembered::default();
            for (queue, number, id) in &arrived {
                if let Some(q) = self.queues.get(queue) {
                    put_id(&mut ids, q, *number, id);
                    numbers.push((*queue, *number, id_len(id) as u64));
                }
            }
            let seq = store.log.note_with(xid, ids);
            came.push((std::mem::take(&mut numbers), seq));
            store.log.unprepare(xid);
            store.wait(seq, Waiter::Noted { to: ShardId(xid.shard), number: xid.number });
        }
        if let Some(orderer) = &mut self.orderer {
            orderer.restore(self.topology.epoch(), next_id);
        }
        store.gather = config.flush_timeout;
        self.store = Some(store);
        came.iter().for_each(|(ids, noted)| self.remembered_at(ids, *noted));
        in_doubt.into_iter().for_each(|share| self.restore_share(share));
        self.restore_branches(branches);
        self.queues.values_mut().for_each(|q| q.sort(&mut self.outputs));
        // Nobody is there to get anything yet.
        self.deliver(&mut Effects::default());
    }

    /// Whether this message is journalled on durable queues here.
    fn journals(&self, message: &Message) -> bool {
        message.meta().durable && self.store.is_some()
    }

    /// Enqueues on queues homed here, and journals that as far as it is durable.
    pub(super) fn enqueue_all(
        &mut self,
        now: Time,
        queues: impl Iterator<Item = QueueId>,
        message: &Message,
        Arrival { xid, tracked, moves, hops }: Arrival,
        fx: &mut Effects,
    ) -> Enqueued {
        let journals = self.journals(message);
        let next = |store: &Option<Store>| store.as_ref().map_or(Seq::NONE, |s| s.log.next_seq());
        let mut place = if journals { next(&self.store) } else { Seq::NONE };
        let mut refs = Refs::new();
        let mut ids = Remembered::default();
        // What has come before, and what is still to come.
        let (mut relied_upon, mut later) = (Seq::NONE, SmallVec::<[(QueueId, Position); 1]>::new());
        let mut safe = Seq::NONE;
        let mut apart: Option<Box<Apart>> = None;
        let mut provisional: SmallVec<[Ref; 1]> = SmallVec::new();
        let (mut taken, mut pressed) = (0, false);
        for queue in queues {
            let Some(q) = self.queues.get_mut(&queue) else {
                // Deleted while the message was under way: as if it had been there when it was.
                if journals && tracked {
                    let onward = self.rerouted(queue, message);
                    if !onward.is_empty() {
                        apart.get_or_insert_default().instead.push((queue, onward));
                    }
                } else {
                    self.reroute(queue, message, hops, fx);
                }
                continue;
            };
            let at = if journals && q.is_durable() { place } else { Seq::NONE };
            let fresh = match if moves { Asked::Unknown } else { q.ask(message) } {
                Asked::Unknown => None,
                Asked::Duplicate(first) => {
                    relied_upon = relied_upon.max(first);
                    rely_on(&self.store, q, first);
                    continue;
                }
                Asked::First(_) if at != Seq::NONE && xid.is_some() => {
                    if let Some(position) = q.keep_place(message) {
                        q.reserve_room(message);
                        later.push((queue, position));
                    }
                    continue;
                }
                Asked::First(fresh) => Some(fresh),
            };
            let position = q.enqueue_at(now, message.clone(), (at, hops), &mut self.outputs);
            taken += usize::from(position.is_some());
            if let Some(fresh) = fresh.filter(|_| position.is_some()) {
                let number = q.remember(&fresh, at, &mut self.outputs);
                if at != Seq::NONE {
                    put_id(&mut ids, q, number, &fresh.id);
                }
            }
            if let Some(position) = position.filter(|_| !moves && q.is_flow_stopped()) {
                apart.get_or_insert_default().held.push((queue, position));
            }
            if q.is_over() {
                self.pager.over.push(queue);
            }
            pressed |= q.is_far_over();
            if let Some(position) = position.filter(|_| at != Seq::NONE) {
                let at = Ref { queue: queue.0, position };
                refs.push((at, false));
                provisional.extend(q.is_provisional(position).then_some(at));
                if refs.len() == REFS_MAX {
                    let with = std::mem::take(&mut ids);
                    safe = self.stage(std::mem::take(&mut refs), message, xid, with);
                    place = next(&self.store);
                }
            }
        }
        if !refs.is_empty() {
            safe = self.stage(refs, message, xid, ids);
        }
        if let Some(xid) = xid.filter(|_| !later.is_empty()) {
            safe = self.prepare_later(xid, message, &later);
        }
        safe = safe.max(relied_upon);
        for at in provisional.into_iter().filter(|_| xid.is_none()) {
            self.wait(safe, Waiter::Safe { at });
        }
        self.pager.grown(taken, message.size());
        if !self.waits_for(safe) {
            safe = self.pager.behind(pressed, taken).unwrap_or(safe);
        }
        // Not before: what is delivered may be gone again by now, which the journal has to hear in order.
        self.deliver(fx);
        Enqueued { safe, apart }
    }

    /// Acknowledges a publish when it is safe, also where it went instead of a deleted queue.
    pub(super) fn receipt_when_enqueued(
        &mut self,
        enqueued: Enqueued,
        message: &Message,
        (to, slot, moves): (ShardId, u32, bool),
        fx: &mut Effects,
    ) {
        let Enqueued { safe, apart } = enqueued;
        let Some(apart) = apart else {
            self.receipt_when_safe(safe, (to, slot, moves), fx);
            return;
        };
        let Apart { instead, held } = *apart;
        self.hold_back(&held, Publisher { shard: to, slot }, fx);
        if instead.is_empty() {
            self.receipt_when_safe(safe, (to, slot, moves), fx);
            return;
        }
        let receipts = instead.iter().fold(1, |n: u16, (_, to)| n.saturating_add(to.receipts()));
        let slot = self.publishes.insert(Origin::Publish { to, slot }, receipts, None);
        self.receipt_when_safe(safe, (self.shard, slot, true), fx);
        for (queue, onward) in &instead {
            self.pass_on(onward, message, *queue, (Some(slot), 0), fx);
        }
    }

    /// Whether that is not durable yet.
    pub(super) fn waits_for(&self, seq: Seq) -> bool {
        match volume_of(seq) {
            Volume::Journal => self.store.as_ref().is_some_and(|store| seq > store.log.durable()),
            Volume::Paging => self.pages().is_some_and(|log| seq > log.durable()),
        }
    }

    pub(super) fn wait(&mut self, seq: Seq, waiter: Waiter) {
        match (volume_of(seq), &mut self.store, &mut self.pager.pages) {
            (Volume::Journal, Some(store), _) => store.wait(seq, waiter),
            (Volume::Paging, _, Some(pages)) => pages.waiting.push_back((seq, waiter)),
            _ => debug_assert!(false, "nothing to wait for"),
        }
    }

    fn stage(&mut self, refs: Refs, message: &Message, xid: Option<Xid>, ids: Remembered) -> Seq {
        let Some(store) = &mut self.store else { return Seq::NONE };
        if let Some(xid) = xid {
            store.undecided.entry(xid).or_default().extend(refs.iter().copied());
        }
        let stored = Stored::Durable(message.clone());
        match ids.is_empty() {
            true => store.log.publish(refs, stored, xid),
            false => store.log.publish_with(refs, stored, xid, ids),
        }
    }

    /// A message that has a record left its queue for good.
    pub(super) fn journal_dequeue(&mut self, at: DeliveryRef, place: Seq, size: usize) {
        if volume_of(place) == Volume::Paging {
            self.forget_page(at, place, size);
        } else if let Some(store) = &mut self.store {
            let at = Ref { queue: at.queue.0, position: at.position };
            let seq = store.log.dequeue(at, place, payload_len(Volume::Journal, size));
            store.dequeued = store.dequeued.max(seq);
        }
    }

    /// A message that has a record is about to be delivered to somebody who may not settle it before a
    /// crash: whether that has to wait until the journal knows of it.
    pub(super) fn journal_delivery(&mut self, at: DeliveryRef, place: Seq) -> bool {
        if volume_of(place) == Volume::Paging {
            return false;
        }
        let Some(store) = &mut self.store else { return false };
        let r = Ref { queue: at.queue.0, position: at.position };
        if store.log.is_unwritten(place) {
            // It is written with that said.
            store.log.delivered(r, place);
            return false;
        }
        let Some(q) = self.queues.get_mut(&at.queue) else { return false };
        if q.note_delivered(at.position) {
            store.log.delivered(r, place);
        }
        !q.is_known_delivered(at.position)
    }

    /// Hands on an output of a queue, or holds it back behind others that are.
    #[inline]
    pub(super) fn output(&mut self, queue: QueueId, wait: bool, output: Output, fx: &mut Effects) {
        match &mut self.store {
            Some(store) if wait || store.is_holding(queue) => {
                let told = self.queues.get(&queue).map_or(0, |q| q.told_delivered());
                store.hold(queue, told, output);
            }
            _ => self.emit(output, fx),
        }
    }

    /// Messages given to subscribers that are held back, for tests: their queues may have them no more.
    pub fn held_back(&self) -> impl Iterator<Item = (DeliveryRef, &Message)> {
        let waiting = self.store.iter().flat_map(|store| &store.waiting);
        waiting.filter_map(|(_, waiter)| match waiter {
            Waiter::Output { output, .. } => match &**output {
                Output::Deliver { delivery, message, .. } => Some((*delivery, message)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Answers a subscriber after what is held back for it.
    pub(super) fn answer_behind(
        &mut self,
        queue: QueueId,
        (session, op): (SessionId, OpId),
        result: Result<Reply, Error>,
        fx: &mut Effects,
    ) {
        match &mut self.store {
            Some(store) if store.is_holding(queue) => {
                store.wait_for_all(Waiter::Answer { session, op, result: Box::new(result) });
            }
            _ => self.answer(session, op, result, fx),
        }
    }

    /// Whether dequeues were journalled since this was last asked that are not durable yet: the last.
    pub(super) fn take_dequeued(&mut self) -> Option<Seq> {
        let store = self.store.as_mut()?;
        let seq = std::mem::take(&mut store.dequeued);
        (seq > store.log.durable()).then_some(seq)
    }

    /// Answers when that is durable.
    pub(super) fn answer_when_durable(
        &mut self,
        session: SessionId,
        op: OpId,
        reply: Reply,
        safe: Seq,
        fx: &mut Effects,
    ) {
        match &mut self.store {
            Some(store) if safe > store.log.durable() => {
                store.wait_for_all(Waiter::Answer { session, op, result: Box::new(Ok(reply)) });
            }
            _ => self.answer(session, op, Ok(reply), fx),
        }
    }

    // ---- the driver's side ---------------------------------------------------------------

    /// Bytes of buffer for a batch that may be written now, and to which log; see
    /// [`fletch_journal::Log::next_write`].
    pub fn next_write(&mut self) -> Option<(Volume, usize)> {
        let of = |volume| move |size| (volume, size);
        let write = self.next_journal_write().map(of(Volume::Journal));
        let pages = self.pager.pages.as_mut();
        write.or_else(|| pages?.log.next_write().map(of(Volume::Paging)))
    }

    fn next_journal_write(&mut self) -> Option<usize> {
        let store = self.store.as_mut()?;
        let now = store.now;
        if !store.gather.is_zero() && store.log.staged_bytes() < GATHER_MAX {
            if store.log.staged_bytes() == 0 {
                store.gather_until = None;
            } else {
                let until = *store.gather_until.get_or_insert(now.after(store.gather));
                if now < until {
                    return None;
                }
            }
        }
        let wanted = store.log.next_write();
        if wanted.is_some() {
            store.gather_until = None;
        }
        wanted
    }

    /// Builds that batch; see [`fletch_journal::Log::fill`].
    ///
    /// # Panics
    /// If [`Engine::next_write`] did not ask for it.
    pub fn fill(&mut self, volume: Volume, buffer: &mut [u8]) -> Write {
        self.log_mut(volume).expect("only a log wants to write").fill(buffer)
    }

    /// What else is to be done to the disk of one of the logs.
    pub fn next_request(&mut self) -> Option<(Volume, Request)> {
        if self.pager.asked {
            // By room for deliveries that was made behind the end of the turn.
            self.read_wanted();
        }
        [Volume::Journal, Volume::Paging]
            .into_iter()
            .find_map(|volume| Some((volume, self.log_mut(volume)?.next_request()?)))
    }

    /// Something of that is done.
    pub fn disk_done(&mut self, now: Time, volume: Volume, done: Done, fx: &mut Effects) {
        match done {
            Done::Read { number, bytes } if number & paging::READS != 0 => {
                self.bodies_read(now, number, &bytes, fx);
                self.run_local(now, fx);
                return;
            }
            done => {
                if let Some(log) = self.log_mut(volume) {
                    log.done(done);
                }
            }
        }
        self.clean(volume);
        // What is durable now may leave memory.
        self.pager.in_vain = 0;
        if volume == Volume::Paging {
            self.take_back_pages(now, fx);
            self.release_publishers(fx);
            self.run_local(now, fx);
            return;
        }
        self.refuse_excess(now, fx);
        let Some(store) = &mut self.store else { return };
        store.watch(now);
        self.settle_durable(fx);
        self.unpark(now, fx);
        self.run_local(now, fx);
    }

    /// There may be room for what waits for it.
    fn unpark(&mut self, now: Time, fx: &mut Effects) {
        if self.store.as_ref().is_some_and(|store| !store.log.is_full()) {
            for (from, frame) in std::mem::take(&mut self.parked) {
                self.on_frame(now, from, frame, fx);
            }
        }
    }

    /// The journal, for management and tests.
    pub fn log(&self) -> Option<&fletch_journal::Log<Stored>> {
        self.store.as_ref().map(|store| &store.log)
    }

    /// One of the logs read back something else than it wrote: nothing can be promised any more.
    pub fn damage(&self) -> Option<(Volume, Damaged)> {
        self.damage
    }

    pub(super) fn damaged(&mut self, volume: Volume, damage: Damaged) {
        self.damage = Some((volume, damage));
    }

    /// Notes a clean stop in the journal if everything is durable. Call it again until
    /// [`Engine::is_journal_closed`].
    pub fn close_journal(&mut self) {
        if let Some(store) = &mut self.store
            && !store.log.is_closing()
            && store.is_idle()
            && store.log.is_idle()
        {
            store.log.close();
        }
    }

    /// Whether a clean stop is noted durably, or there is no journal.
    pub fn is_journal_closed(&self) -> bool {
        self.store.as_ref().is_none_or(|store| store.is_idle() && store.log.is_closed())
    }

    // ---- turns ---------------------------------------------------------------------------

    /// The end of a turn: stages what was gathered, sends what has become due.
    pub(super) fn journal_turn_end(&mut self, now: Time, fx: &mut Effects) {
        self.page(now);
        self.clean(Volume::Paging);
        self.take_back_pages(now, fx);
        self.release_publishers(fx);
        let Some(store) = &mut self.store else { return };
        store.now = now;
        // What was taken back needs no write to be safe.
        store.log.skip_gone();
        store.watch(now);
        self.clean(Volume::Journal);
        self.settle_durable(fx);
        let Some(store) = &mut self.store else { return };
        for (peer, numbers) in store.noted.iter_mut().enumerate() {
            if !numbers.is_empty() {
                let frame = Frame::Noted(std::mem::take(numbers));
                if peer == self.shard.index() {
                    self.local.push_back(frame);
                } else {
                    fx.frames.push((ShardId(peer as u16), frame));
                }
            }
        }
    }

    /// When the journal wants a tick.
    pub(super) fn journal_deadline(&self) -> Time {
        let Some(store) = &self.store else { return Time::NEVER };
        store.vouch_at.min(store.gather_until.unwrap_or(Time::NEVER))
    }

    pub(super) fn journal_tick(&mut self, now: Time) {
        if let Some(store) = &mut self.store
            && now >= store.vouch_at
        {
            store.vouch_at = Time::NEVER;
            store.log.vouch();
        }
    }

    /// Tells those who waited for what is durable now.
    fn settle_durable(&mut self, fx: &mut Effects) {
        while let Some(store) = &mut self.store {
            let durable = store.log.durable();
            if let Some((_, to, frame)) = store.held.pop_front_if(|(seq, ..)| *seq <= durable) {
                self.send(to, frame, fx);
                continue;
            }
            let Some((_, waiter)) = store.waiting.pop_front_if(|(seq, _)| *seq <= durable) else {
                return;
            };
            match waiter {
                Waiter::Published { session, op } => {
                    fx.events.push(Event::Published { session, op })
                }
                Waiter::Receipt { to, slot, .. } => self.receipt_for(to, slot, fx),
                Waiter::Safe { at } => self.confirm(at, fx),
                Waiter::Answer { session, op, result } => self.answer(session, op, *result, fx),
                Waiter::Output { queue, told, output } => {
                    store.released(queue);
                    if let Some(q) = self.queues.get_mut(&queue) {
                        q.set_known_delivered(told);
                    }
                    self.emit(*output, fx);
                }
                Waiter::Ended { to, waiting, reason } => {
                    self.end_subscription(to, waiting, reason, fx);
                }
                Waiter::Part { session, op } => self.answer_part(session, op, Vec::new(), fx),
                Waiter::Decided(decided) => {
                    let Decided { slot, number, homes } = *decided;
                    self.on_receipt(slot, fx);
                    for home in homes {
                        self.send(home, Frame::Decided { number, commit: true }, fx);
                    }
                }
                Waiter::Noted { to, number } => store.noted[to.index()].push(number),
                Waiter::Prepared { xid } => self.prepared(xid, fx),
                Waiter::Outcome { number, commit } => self.end_transaction(number, commit, fx),
                Waiter::Tell { to, frame } => self.send(to, *frame, fx),
            }
        }
    }

    /// A message is safe: what it has taken the place of may leave its queue.
    fn confirm(&mut self, at: Ref, fx: &mut Effects) {
        if let Some(q) = self.queues.get_mut(&QueueId(at.queue)) {
            q.confirm(at.position, &mut self.outputs);
            self.deliver(fx);
        }
    }

    // ---- publishes to several shards -----------------------------------------------------

    /// The shards that journal a message, of those in `routes`, which are sorted by them.
    pub(super) fn durable_homes(
        &self,
        message: &Message,
        routes: &Routes,
    ) -> SmallVec<[ShardId; 4]> {
        let durable = |r: &Route| self.topology.queue_by_id(r.queue).is_some_and(|q| q.durable);
        let homes = routes.by_home().filter(|(_, group)| group.iter().any(durable));
        match self.journals(message) {
            true => homes.map(|(home, _)| home).collect(),
            false => SmallVec::new(),
        }
    }

    /// The transaction of a message that goes to several shards, if any of them journals it: also the others
    /// may refuse it, and then it is on no durable queue.
    pub(super) fn transaction_for(&mut self, homes: SmallVec<[ShardId; 4]>) -> Option<Prepared> {
        let store = self.store.as_mut().filter(|_| !homes.is_empty())?;
        let number = store.next_number;
        store.next_number += 1;
        Some(Prepared { xid: Xid { shard: self.shard.0, number }, homes })
    }

    /// Every home has prepared a publish: it is decided.
    pub(super) fn decide(&mut self, xid: Xid, decided: Decided) {
        let Some(store) = &mut self.store else { return };
        store.decisions.insert(xid.number, decided.homes.len() as u16);
        let seq = store.log.decide(xid);
        store.wait(seq, Waiter::Decided(Box::new(decided)));
    }

    /// A coordinator has decided.
    pub(super) fn on_decided(
        &mut self,
        now: Time,
        from: ShardId,
        number: u64,
        commit: bool,
        fx: &mut Effects,
    ) {
        let xid = Xid { shard: from.0, number };
        let noted = if commit { self.come_later(now, xid, fx) } else { None };
        let stayed_away = !commit && self.stay_away(xid);
        let Some(store) = &mut self.store else { return };
        let prepared = store.undecided.remove(&xid);
        if commit {
            let seq = noted.unwrap_or_else(|| store.log.note(xid, true));
            store.wait(seq, Waiter::Noted { to: from, number });
            prepared.into_iter().flatten().for_each(|(at, _)| self.confirm(at, fx));
        } else if stayed_away || prepared.is_some() {
            store.log.note(xid, false);
            self.withdraw_prepared(now, prepared.unwrap_or_default(), fx);
        }
    }

    /// A home has noted decisions of this shard.
    pub(super) fn on_noted(&mut self, numbers: Vec<u64>) {
        let Some(store) = &mut self.store else { return };
        for number in numbers {
            if let Some(missing) = store.decisions.get_mut(&number) {
                *missing -= 1;
                if *missing == 0 {
                    store.decisions.remove(&number);
                    store.log.resolved(Xid { shard: self.shard.0, number });
                }
            }
        }
    }

    // ---- the orderer's changes -----------------------------------------------------------

    /// From now on, keeps the changes that this shard makes as the orderer's for
    /// [`Engine::take_changes`]. For tests: several made in one input cannot be told apart otherwise.
    pub fn keep_changes(&mut self) {
        self.changes = Some(Vec::new());
    }

    /// The changes that were made since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Arc<Change>> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Sends a frame of the orderer, after what is held back.
    pub(super) fn send_ordered(&mut self, to: ShardId, frame: Frame, fx: &mut Effects) {
        if let Some(store) = &mut self.store
            && let Some((seq, ..)) = store.held.back()
        {
            let seq = *seq;
            store.held.push_back((seq, to, frame));
        } else {
            self.send(to, frame, fx);
        }
    }

    /// Hands on a change: journalled first if it is durable, so that no other shard relies on what a
    /// crash could undo. This one may: what it journals comes after it.
    pub(super) fn broadcast(
        &mut self,
        epoch: crate::ids::Epoch,
        change: &Arc<Change>,
        fx: &mut Effects,
    ) {
        let this = self.shard;
        if let Some(changes) = &mut self.changes {
            changes.push(Arc::clone(change));
        }
        self.local.push_back(Frame::Apply { epoch, change: Arc::clone(change) });
        let seq = self.store.as_mut().and_then(|store| store.record(change));
        for shard in (0..self.shards).map(ShardId) {
            let frame = match shard == this {
                true => Frame::Applied { epoch },
                false => Frame::Apply { epoch, change: Arc::clone(change) },
            };
            match (seq, &mut self.store) {
                (Some(seq), Some(store)) => store.held.push_back((seq, shard, frame)),
                _ => self.send_ordered(shard, frame, fx),
            }
        }
    }

    // ---- reclaim -------------------------------------------------------------------------

    /// Stages again what lives in a slice of the segment being cleaned.
    pub(super) fn relocate(&mut self, volume: Volume, cleaned: &Cleaned) {
        let (log, undecided, stored): (_, _, fn(Message) -> Stored) = match volume {
            Volume::Journal => {
                let Some(store) = &mut self.store else { return };
                (&mut store.log, Some(&store.undecided), Stored::Durable)
            }
            Volume::Paging => {
                let Some(pages) = &mut self.pager.pages else { return };
                (&mut pages.log, None, Stored::Paged)
            }
        };
        let prepared_here = &mut self.transactions.prepared;
        let mut indexes: FixedMap<Xid, FixedMap<Ref, usize>> = FixedMap::default();
        let mut ids: Vec<(QueueId, &[u8])> = Vec::new();
        for record in &cleaned.records {
            let mut xid = None;
            // The log has checked that they can be read.
            for op in ops(record).map_while(Result::ok) {
                match op {
                    Op::Prepare(prepared) => {
                        xid = Some(prepared).filter(|x| {
                            undecided.is_some_and(|u| u.contains_key(x))
                                || prepared_here.contains_key(x)
                        });
                    }
                    // The record may say that it was delivered where the queue does not: when that was
                    // before the record was written.
                    // Of a transaction: in no queue yet.
                    Op::Publish { refs, .. }
                        if let Some(xid) = xid
                            && let Some(branch) = prepared_here.get_mut(&xid)
                            && let index = indexes.entry(xid).or_insert_with(|| branch.index())
                            // Recovery knows no places in queues that are gone, and a publish to several shards may
                            // be in some of its queues.
                            && let Some(n) = refs.iter().find_map(|(r, _)| index.get(&r).copied()) =>
                    {
                        let kept = &mut branch.publishes[n];
                        if log.stands_in(kept.place, cleaned.segment) {
                            // One behind it was delivered, and what says so of all before may go.
                            let seen = |r: &Ref| {
                                let q = self.queues.get(&QueueId(r.queue));
                                q.is_some_and(|q| r.position <= q.told_delivered())
                            };
                            let live = refs.iter().filter(|(r, _)| index.get(r) == Some(&n));
                            let live = live.map(|(r, said)| (r, said || seen(&r))).collect();
                            let stored = stored(kept.message.clone());
                            kept.place = log.relocate(live, kept.place, stored, Some(xid));
                        }
                    }
                    Op::Publish { refs, payload } => {
                        let mut live = Refs::new();
                        let mut kept: Option<(Option<Message>, Seq)> = None;
                        for (r, delivered) in refs.iter() {
                            let Some(q) = self.queues.get(&QueueId(r.queue)) else { continue };
                            let Some((place, seen, message)) = q.place(r.position) else {
                                continue;
                            };
                            if log.stands_in(place, cleaned.segment) {
                                live.push((r, delivered || seen));
                                let kept = kept.get_or_insert((None, place));
                                kept.0 = kept.0.take().or_else(|| message.cloned());
                            }
                        }
                        let Some((message, old)) = kept else { continue };
                        // What is away comes from the very record that goes.
                        let message = match message {
                            Some(message) => message,
                            None => match Stored::read(volume, payload) {
                                Ok(message) => message,
                                Err(_) => continue,
                            },
                        };
                        let places = live.clone();
                        let new = log.relocate(live, old, stored(message), xid);
                        for (r, _) in places {
                            if let Some(q) = self.queues.get_mut(&QueueId(r.queue)) {
                                q.set_place(r.position, new);
                            }
                        }
                    }
                    Op::Remember { queue, payload } => ids.push((QueueId(queue), payload)),
                    _ => {}
                }
            }
        }
        self.relocate_ids(cleaned.segment, &ids);
    }
}

/// What has become of a message at the queues it was sent to.
pub(super) struct Enqueued {
    /// What has to be durable for it to be safe; [`Seq::NONE`] if nothing has. Of the paging file if messages
    /// come faster than it takes them.
    pub(super) safe: Seq,
    /// Of queues of which more is to be said. Most messages have none.
    pub(super) apart: Option<Box<Apart>>,
}

/// See [`Enqueued`].
#[derive(Default)]
pub(super) struct Apart {
    /// Where it has to go instead of queues that were deleted.
    pub(super) instead: Vec<(QueueId, Onward)>,
    /// Queues that are so full that the publisher is held back, and where it is in them.
    pub(super) held: Vec<(QueueId, Position)>,
}

/// How a message comes to queues.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    /// It is prepared under this transaction.
    pub(super) xid: Option<Xid>,
    /// Somebody waits for it to be safe.
    pub(super) tracked: bool,
    /// From another queue.
    pub(super) moves: bool,
    /// So often has it given way to others.
    pub(super) hops: u8,
}

impl Arrival {
    /// As a session of this shard publishes.
    pub(super) fn published(xid: Option<Xid>) -> Arrival {
        Arrival { xid, tracked: true, moves: false, hops: 0 }
    }
}

/// As many bytes are written at once even if they could gather longer.
const GATHER_MAX: u64 = 256 << 10;
