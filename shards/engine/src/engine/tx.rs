//! Transactions: messages published and deliveries accepted over any queues on any shards, all or nothing.
//!
//! Nothing of a transaction is seen before it is decided: a message has its place in each queue kept for it
//! and comes there then; an accepted one stays acquired until then. Transient ones touch no disk. What a
//! journal has to know is *prepared* there; if only one shard takes part, the decision is staged right
//! behind it, so that one write does for both. Else the session's shard *decides* when all have it
//! durable, as for publishes to several shards; when that is durable each home *carries it out*, journals
//! the dequeues as such and *notes* the decision. Without a decision, recovery presumes that there was
//! none.

use super::Engine;
use crate::error::{Error, ErrorKind};
use crate::frame::{Effects, Frame};
use crate::ids::{Position, QueueId, SessionId, ShardId, Time};
use crate::message::Message;
use crate::request::{DeliveryRef, OpId, Reply, Target};
use crate::store::{RestoredShare, Stored, Waiter, payload_len, volume_of};
use crate::topology::{Route, Routes, Way};
use crate::transaction::{
    Accepted, Asker, Coordinated, Kept, PreparedShare, Share, Transaction, TxFrame,
};
use fletch_journal::{REFS_MAX, Ref, Refs, Seq, Volume, Xid};
use smallvec::SmallVec;

impl Engine {
    /// Where a message that a session here publishes in a transaction goes when that is committed. None if the
    /// exchange numbers its messages or keeps the last of them: its home has to be asked by [`Request::Route`].
    ///
    /// [`Request::Route`]: crate::Request::Route
    ///
    /// # Errors
    /// `NotFound` if the exchange or queue does not exist.
    pub fn route<'t>(
        &mut self,
        to: impl Into<Target<'t>>,
        message: &Message,
    ) -> Result<Option<SmallVec<[Route; 1]>>, Error> {
        let mut routes = Routes::default();
        let Way::Queues(found) = self.topology.way(to.into(), message, &mut routes)? else {
            return Ok(None);
        };
        self.stats.published += 1;
        self.stats.unroutable += u64::from(!found);
        Ok(Some(routes.iter().copied().collect()))
    }

    /// What is coordinated here and not over.
    pub(super) fn commits(&self) -> usize {
        self.transactions.coordinated.len()
    }

    // ---- the coordinator -----------------------------------------------------------------

    /// A session here commits.
    pub(super) fn commit(
        &mut self,
        session: SessionId,
        op: OpId,
        transaction: Transaction,
        fx: &mut Effects,
    ) {
        self.coordinate(Asker::Session(session, op), transaction, fx);
    }

    /// Prepares a transaction, and decides about it if that is what is asked for.
    pub(super) fn coordinate(&mut self, asker: Asker, transaction: Transaction, fx: &mut Effects) {
        let owned = !matches!(asker, Asker::Session(..));
        let Transaction { publishes, accepts } = transaction;
        let mut shares = Shares { all: Vec::new(), owned };
        let mut messages = Vec::new();
        for (message, routes) in publishes {
            let mut homes: SmallVec<[(usize, SmallVec<[QueueId; 1]>); 1]> = SmallVec::new();
            for route in routes {
                let at = shares.of(route.home);
                match homes.iter_mut().find(|(other, _)| *other == at) {
                    Some((_, queues)) => queues.push(route.queue),
                    None => homes.push((at, std::iter::once(route.queue).collect())),
                }
            }
            messages.extend(homes.into_iter().map(|(at, queues)| (at, message.clone(), queues)));
        }
        let behind_deletes = self.share_accepts(&accepts, &mut shares);
        messages.into_iter().for_each(|(at, message, queues)| {
            shares.all[at].1.publishes.push((message, queues));
        });
        let shares = shares.all;
        let alone = shares.len() == 1 && !matches!(asker, Asker::Prepare(_));
        let number = self.begin(asker, shares.iter().map(|(home, _)| *home), behind_deletes);
        let epoch = self.topology.epoch();
        for (home, share) in shares {
            self.tell_of(home, TxFrame::Prepare { epoch, number, alone, share }, fx);
        }
        self.if_prepared(number, fx);
    }

    /// Gives back to their queues what was accepted in a branch that does not hold.
    pub(super) fn release(&mut self, asker: Asker, accepts: &[DeliveryRef], fx: &mut Effects) {
        let mut shares = Shares { all: Vec::new(), owned: true };
        self.share_accepts(accepts, &mut shares);
        let homes = shares.all.iter().map(|(home, _)| *home);
        let number = self.begin(asker, homes, false);
        for (home, Share { accepts, .. }) in shares.all {
            self.tell_of(home, TxFrame::Release { number, accepts }, fx);
        }
        self.if_ended(number, fx);
    }

    /// Splits deliveries by their homes. Whether some are of queues that are deleted, which the orderer's
    /// shard knows before it is durable: there is nothing left to accept.
    fn share_accepts(&self, accepts: &[DeliveryRef], shares: &mut Shares) -> bool {
        let mut behind_deletes = false;
        for run in accepts.chunk_by(|a, b| a.queue == b.queue) {
            match self.topology.home_of(run[0].queue) {
                None => behind_deletes |= self.orderer.is_some(),
                Some(home) => {
                    let positions: Vec<Position> = run.iter().map(|d| d.position).collect();
                    let at = shares.of(home);
                    shares.all[at].1.accepts.push((run[0].queue, positions));
                }
            }
        }
        behind_deletes
    }

    fn begin(
        &mut self,
        asker: Asker,
        homes: impl Iterator<Item = ShardId>,
        behind_deletes: bool,
    ) -> u64 {
        let number = self.next_transaction();
        let homes: SmallVec<[ShardId; 4]> = homes.collect();
        let missing = homes.len();
        let (durable, refused) = (0, None);
        let coordinated = Coordinated { asker, homes, missing, durable, refused, behind_deletes };
        self.transactions.coordinated.insert(number, coordinated);
        number
    }

    fn next_transaction(&mut self) -> u64 {
        let next = match &mut self.store {
            Some(store) => &mut store.next_number,
            None => &mut self.transactions.next,
        };
        *next += 1;
        *next - 1
    }

    fn tell_of(&mut self, to: ShardId, frame: TxFrame, fx: &mut Effects) {
        self.send(to, Frame::Transact(Box::new(frame)), fx);
    }

    pub(super) fn on_transact(
        &mut self,
        now: Time,
        from: ShardId,
        frame: TxFrame,
        fx: &mut Effects,
    ) {
        match frame {
            TxFrame::Prepare { number, alone, share, .. } => {
                self.prepare(now, (from, number), alone, share, fx);
            }
            TxFrame::Prepared { number, durable, refused } => {
                self.on_prepared(number, durable, refused, fx);
            }
            TxFrame::End { number, commit } => {
                let xid = Xid { shard: from.0, number };
                match commit {
                    true => self.carry_out(now, xid, fx),
                    false => self.give_up(now, xid, fx),
                }
            }
            TxFrame::Release { number, accepts } => {
                self.release_accepts(now, accepts, fx);
                self.tell_of(from, TxFrame::Ended { number }, fx);
            }
            TxFrame::Ended { number } => self.on_ended(number, fx),
            TxFrame::Route { asker, exchange, last, message, .. } => {
                self.on_asked_way(asker, (exchange, last), &message, fx);
            }
            TxFrame::Routed { asker: (session, op), routed, .. } => {
                self.answer(session, op, Ok(Reply::Routed(Box::new(routed))), fx);
            }
        }
    }

    /// A home has prepared its share, or cannot.
    fn on_prepared(
        &mut self,
        number: u64,
        durable: bool,
        refused: Option<Error>,
        fx: &mut Effects,
    ) {
        let Some(c) = self.transactions.coordinated.get_mut(&number) else { return };
        c.missing -= 1;
        c.durable += u16::from(durable);
        c.refused = c.refused.take().or(refused);
        self.if_prepared(number, fx);
    }

    /// Goes on with a transaction that is prepared everywhere.
    fn if_prepared(&mut self, number: u64, fx: &mut Effects) {
        let Some(c) = self.transactions.coordinated.get(&number) else { return };
        if c.missing > 0 {
            return;
        }
        if let Asker::Prepare(branch) = &c.asker
            && c.refused.is_none()
        {
            let branch = branch.clone();
            self.branch_prepared(branch, number, fx);
            return;
        }
        if c.refused.is_none() && c.durable > 0 {
            match self.no_room_to_decide() {
                None => {
                    self.decide_transaction(number);
                    return;
                }
                refused => {
                    if let Some(c) = self.transactions.coordinated.get_mut(&number) {
                        c.refused = refused;
                    }
                }
            }
        }
        let commit =
            self.transactions.coordinated.get(&number).is_some_and(|c| c.refused.is_none());
        self.end_transaction(number, commit, fx);
    }

    /// Why nothing can be decided now.
    pub(super) fn no_room_to_decide(&self) -> Option<Error> {
        let path = self.no_room_for_small()?;
        let reason = format!("Cannot decide a transaction: no space left in {path}");
        Some(Error::new(ErrorKind::ResourceLimit, reason))
    }

    /// Decides a transaction that journals have to hear of: it holds.
    pub(super) fn decide_transaction(&mut self, number: u64) {
        let participants = self.transactions.coordinated.get(&number).map_or(0, |c| c.durable);
        if let Some(store) = &mut self.store {
            let xid = Xid { shard: self.shard.0, number };
            store.decisions.insert(number, participants);
            let seq = store.log.decide(xid);
            store.wait(seq, Waiter::Outcome { number, commit: true });
        }
    }

    /// A transaction of this shard holds, or does not: those who have prepared it may know.
    pub(super) fn end_transaction(&mut self, number: u64, commit: bool, fx: &mut Effects) {
        let Some(c) = self.transactions.coordinated.get_mut(&number) else { return };
        c.missing = c.homes.len();
        for home in c.homes.clone() {
            self.tell_of(home, TxFrame::End { number, commit }, fx);
        }
        self.if_ended(number, fx);
    }

    /// A home has carried out its share, or given it up.
    fn on_ended(&mut self, number: u64, fx: &mut Effects) {
        let Some(c) = self.transactions.coordinated.get_mut(&number) else { return };
        c.missing -= 1;
        self.if_ended(number, fx);
    }

    /// Tells who asked for a transaction that it is over.
    fn if_ended(&mut self, number: u64, fx: &mut Effects) {
        if self.transactions.coordinated.get(&number).is_none_or(|c| c.missing > 0) {
            return;
        }
        let Some(c) = self.transactions.coordinated.remove(&number) else { return };
        match c.asker {
            Asker::Nobody => {}
            Asker::Prepare(branch) | Asker::Complete(branch) => {
                self.branch_ended(&branch, c.refused, c.behind_deletes, fx);
            }
            Asker::Session(session, op) => {
                let result = match c.refused {
                    None => Ok(Reply::Done),
                    Some(Error { text, .. }) => {
                        let text = format!("Transaction prepare failed. {text}");
                        Err(Error::new(ErrorKind::Internal, text))
                    }
                };
                self.answer_when_all(c.behind_deletes, (session, op), result, fx);
            }
        }
    }

    /// Answers, if so behind all that is staged in the journal.
    pub(super) fn answer_when_all(
        &mut self,
        behind: bool,
        (session, op): (SessionId, OpId),
        result: Result<Reply, Error>,
        fx: &mut Effects,
    ) {
        match &mut self.store {
            Some(store) if behind && store.log.last_seq() > store.log.durable() => {
                store.wait_for_all(Waiter::Answer { session, op, result: Box::new(result) });
            }
            _ => self.answer(session, op, result, fx),
        }
    }

    // ---- a home --------------------------------------------------------------------------

    /// Prepares a share, and decides about it if there is no other.
    fn prepare(
        &mut self,
        now: Time,
        asker: (ShardId, u64),
        alone: bool,
        share: Share,
        fx: &mut Effects,
    ) {
        if let Err(reason) =
            self.check_share(&share).and_then(|()| self.keep_room_for_share(&share))
        {
            if share.owned {
                self.release_accepts(now, share.accepts, fx);
            }
            self.refuse_share(asker, reason, fx);
            return;
        }
        let xid = match alone {
            true => Xid { shard: self.shard.0, number: self.next_transaction() },
            false => Xid { shard: asker.0.0, number: asker.1 },
        };
        let mut publishes = Vec::new();
        let mut staged = Seq::NONE;
        let Share { publishes: messages, accepts, owned } = share;
        for (message, queues) in messages {
            staged = staged.max(self.keep(xid, &message, queues, &mut publishes));
        }
        staged = staged.max(self.prepare_accepts(xid, &accepts));
        let durable = staged != Seq::NONE;
        let prepared = PreparedShare { asker, alone, publishes, accepts, owned, durable };
        self.transactions.prepared.insert(xid, prepared);
        match &mut self.store {
            Some(store) if durable => {
                if alone {
                    store.decisions.insert(xid.number, 1);
                    staged = store.log.decide(xid);
                }
                store.wait(staged, Waiter::Prepared { xid });
            }
            _ if alone => self.carry_out(now, xid, fx),
            _ => {
                let (to, number) = asker;
                let refused = None;
                self.tell_of(to, TxFrame::Prepared { number, durable: false, refused }, fx);
            }
        }
    }

    /// Refuses messages for which the journal's disk has no room.
    fn check_share(&self, share: &Share) -> Result<(), Error> {
        let Some(store) = &self.store else { return Ok(()) };
        if !store.log.is_full() {
            return Ok(());
        }
        let (mut len, mut first) = (0, None);
        for (message, queues) in share.publishes.iter().filter(|(m, _)| m.meta().durable) {
            let durable = |id: &QueueId| self.queues.get(id).is_some_and(|q| q.is_durable());
            if let Some(queue) = queues.iter().copied().find(durable) {
                len += payload_len(Volume::Journal, message.size());
                first = first.or(Some(queue));
            }
        }
        match first {
            Some(queue) if !store.log.admits(len) => Err(self.no_space(queue)),
            _ => Ok(()),
        }
    }

    /// Keeps room for messages in queues, or refuses them if there is none.
    fn keep_room_for_share(&mut self, share: &Share) -> Result<(), Error> {
        let mut reserved: Vec<(QueueId, &Message)> = Vec::new();
        for (message, queues) in &share.publishes {
            for id in queues {
                let Some(q) = self.queues.get_mut(id) else { continue };
                if let Err(full) = q.keep_room(message) {
                    if q.is_duplicate(message) {
                        // It will hardly need it.
                        q.reserve_room(message);
                        reserved.push((*id, message));
                        continue;
                    }
                    for (id, message) in reserved {
                        self.give_up_room(id, message);
                    }
                    return Err(self.too_full(*id, full, message));
                }
                reserved.push((*id, message));
            }
        }
        Ok(())
    }

    fn give_up_room(&mut self, queue: QueueId, message: &Message) {
        if let Some(q) = self.queues.get_mut(&queue) {
            q.give_up_room(message);
        }
    }

    pub(super) fn give_up_rooms(&mut self, publishes: &[Kept]) {
        for Kept { message, at, .. } in publishes {
            at.iter().for_each(|(queue, _)| self.give_up_room(*queue, message));
        }
    }

    fn refuse_share(&mut self, (to, number): (ShardId, u64), reason: Error, fx: &mut Effects) {
        let refused = Some(reason);
        self.tell_of(to, TxFrame::Prepared { number, durable: false, refused }, fx);
    }

    /// Keeps places for a message, and prepares it as far as it is durable.
    fn keep(
        &mut self,
        xid: Xid,
        message: &Message,
        queues: SmallVec<[QueueId; 1]>,
        kept: &mut Vec<Kept>,
    ) -> Seq {
        let journals = message.meta().durable && self.store.is_some();
        let mut durable = SmallVec::<[(QueueId, Position); 1]>::new();
        let mut transient = SmallVec::<[(QueueId, Position); 1]>::new();
        for queue in queues {
            let Some(q) = self.queues.get_mut(&queue) else {
                // Deleted since it was routed.
                self.stats.discarded += 1;
                continue;
            };
            let Some(position) = q.keep_place(message) else { continue };
            let durable = if journals && q.is_durable() { &mut durable } else { &mut transient };
            durable.push((queue, position));
        }
        let mut staged = Seq::NONE;
        if let Some(store) = &mut self.store {
            for at in durable.chunks(REFS_MAX) {
                let refs: Refs = at.iter().map(|at| (ref_of(*at), false)).collect();
                staged = store.log.publish(refs, Stored::Durable(message.clone()), Some(xid));
                kept.push(Kept { message: message.clone(), at: at.into(), place: staged });
            }
        }
        if !transient.is_empty() {
            let (message, place) = (message.clone(), Seq::NONE);
            kept.push(Kept { message, at: transient, place });
        }
        staged
    }

    /// Prepares accepts of messages that the journal knows.
    fn prepare_accepts(&mut self, xid: Xid, accepts: &[(QueueId, Vec<Position>)]) -> Seq {
        let Some(store) = &mut self.store else { return Seq::NONE };
        let mut all: Vec<(u64, Position)> = Vec::new();
        for (queue, positions) in accepts {
            let q = self.queues.get(queue);
            // Of a queue that is deleted, which a crash could bring back, all that may be.
            let known = |position: &&Position| {
                q.is_none_or(|q| {
                    q.place(**position).is_some_and(|(place, ..)| {
                        place != Seq::NONE && volume_of(place) == Volume::Journal
                    })
                })
            };
            all.extend(positions.iter().filter(known).map(|position| (queue.0, *position)));
        }
        if all.is_empty() {
            return Seq::NONE;
        }
        all.sort_unstable();
        let ranges = all.chunk_by(|a, b| a.0 == b.0 && b.1 == a.1 + 1);
        let ranges = ranges.map(|run| (run[0].0, run[0].1, run[run.len() - 1].1));
        store.log.prepare_dequeues(xid, ranges)
    }

    /// What is prepared here is durable.
    pub(super) fn prepared(&mut self, xid: Xid, fx: &mut Effects) {
        let Some(branch) = self.transactions.prepared.get(&xid) else { return };
        let (to, number) = branch.asker;
        match branch.alone {
            // It is decided too.
            true => {
                let end = TxFrame::End { number: xid.number, commit: true };
                self.tell_of(self.shard, end, fx);
            }
            false => {
                let refused = None;
                self.tell_of(to, TxFrame::Prepared { number, durable: true, refused }, fx);
            }
        }
    }

    /// What was prepared holds.
    fn carry_out(&mut self, now: Time, xid: Xid, fx: &mut Effects) {
        let Some(branch) = self.transactions.prepared.remove(&xid) else { return };
        let mut filled: Vec<QueueId> = Vec::new();
        let mut all = true;
        for (queue, positions) in branch.accepts {
            match self.queues.get_mut(&queue) {
                Some(q) => {
                    for position in positions {
                        all &= q.accept(position, &mut self.outputs);
                    }
                    filled.push(queue);
                }
                // It is being deleted, which a crash could undo, and the cleaner may have written them again.
                None if branch.durable => self.dequeue_again(queue, &positions),
                None => {}
            }
        }
        let arrived = self.bring_in(now, branch.publishes, &mut filled, fx);
        let (came, relied_upon) = (arrived.came, arrived.relied_upon);
        if branch.durable {
            let seq = self.note_arrived(xid, arrived);
            if let Some(store) = &mut self.store {
                store.log.unprepare(xid);
                store.wait(seq, Waiter::Noted { to: ShardId(xid.shard), number: xid.number });
            }
        }
        // All of it is there before anybody sees some of it.
        let pressed = self.serve_each(now, filled, fx);
        let (to, number) = branch.asker;
        let ended = Frame::Transact(Box::new(TxFrame::Ended { number }));
        // One that gave way to another is gone when that is durable, and one that had come before is safe then.
        let displaced = self.store.as_ref().filter(|_| !all).map(|store| store.log.last_seq());
        let behind = displaced.unwrap_or_default().max(relied_upon);
        let behind = Some(behind).filter(|seq| self.waits_for(*seq));
        match behind.or_else(|| self.pager.behind(pressed, came)) {
            Some(seq) => self.wait(seq, Waiter::Tell { to, frame: Box::new(ended) }),
            None => self.send(to, ended, fx),
        }
    }

    /// Messages have left a queue that does not tell.
    fn dequeue_again(&mut self, queue: QueueId, positions: &[Position]) {
        let Some(store) = &mut self.store else { return };
        for run in positions.chunk_by(|a, b| a + 1 == *b) {
            store.log.dequeue_again(queue.0, run[0], run[run.len() - 1]);
        }
    }

    /// What was prepared does not hold, or nothing was.
    fn give_up(&mut self, now: Time, xid: Xid, fx: &mut Effects) {
        let ended = TxFrame::Ended { number: xid.number };
        let Some(share) = self.transactions.prepared.remove(&xid) else {
            self.tell_of(ShardId(xid.shard), ended, fx);
            return;
        };
        self.give_up_rooms(&share.publishes);
        if share.durable {
            self.forget_kept(share.publishes);
            if let Some(store) = &mut self.store {
                store.log.note(xid, false);
                store.log.unprepare(xid);
            }
        }
        if share.owned {
            self.release_accepts(now, share.accepts, fx);
        }
        self.tell_of(ShardId(xid.shard), ended, fx);
    }

    /// What was accepted returns to its places.
    fn release_accepts(&mut self, now: Time, accepts: Vec<Accepted>, fx: &mut Effects) {
        for (queue, positions) in accepts {
            if let Some(q) = self.queues.get_mut(&queue) {
                q.release(now, positions, true, &mut self.outputs);
                self.deliver(fx);
            }
        }
    }

    /// Records of messages that come to no queue count no more.
    pub(super) fn forget_kept(&mut self, publishes: Vec<Kept>) {
        for Kept { message, at, place } in publishes {
            for (queue, position) in at.into_iter().filter(|_| place != Seq::NONE) {
                self.journal_dequeue(DeliveryRef { queue, position }, place, message.size());
            }
        }
    }

    // ---- a full disk ---------------------------------------------------------------------

    /// Whether publishes of a transaction would be written into the reserve of a full disk, from this
    /// record on.
    fn is_excess(&self, xid: Xid, from: Seq) -> bool {
        let (Some(branch), Some(store)) = (self.transactions.prepared.get(&xid), &self.store)
        else {
            return false;
        };
        let mut places = branch.publishes.iter().map(|kept| kept.place);
        places.any(|place| place >= from && store.log.retractable(place).is_some())
    }

    /// Refuses all such of what waits for the journal.
    pub(super) fn refuse_excess_prepared(&mut self, now: Time, from: Seq, fx: &mut Effects) {
        let Some(store) = &self.store else { return };
        let prepared = store.waiting.iter().filter_map(|(_, waiter)| match waiter {
            Waiter::Prepared { xid } => Some(*xid),
            _ => None,
        });
        let excess: Vec<Xid> = prepared.filter(|xid| self.is_excess(*xid, from)).collect();
        for xid in excess {
            if let Some(store) = &mut self.store {
                store
                    .waiting
                    .retain(|(_, w)| !matches!(w, Waiter::Prepared { xid: x } if *x == xid));
            }
            self.refuse_prepared(now, xid, fx);
        }
    }

    /// Refuses such a one.
    fn refuse_prepared(&mut self, now: Time, xid: Xid, fx: &mut Effects) {
        let Some(mut branch) = self.transactions.prepared.remove(&xid) else { return };
        self.give_up_rooms(&branch.publishes);
        let Some(store) = &mut self.store else { return };
        if branch.alone {
            let undecided = store.log.undecide(xid);
            debug_assert!(undecided, "the decision is staged behind the publishes");
            store.decisions.remove(&xid.number);
        }
        store.log.unprepare(xid);
        let durable = |kept: &&Kept| kept.place != Seq::NONE;
        let first = branch.publishes.iter().find(durable).and_then(|kept| kept.at.first());
        let first = first.map_or(QueueId(0), |(queue, _)| *queue);
        branch
            .publishes
            .retain(|kept| kept.place == Seq::NONE || store.log.retract(kept.place).is_none());
        let reason = self.no_space(first);
        self.forget_kept(branch.publishes);
        if branch.owned {
            self.release_accepts(now, branch.accepts, fx);
        }
        self.refuse_share(branch.asker, reason, fx);
    }

    // ---- after a restart -----------------------------------------------------------------

    /// Takes up a share of a branch that waits for its outcome.
    pub(super) fn restore_share(&mut self, (xid, share): (Xid, RestoredShare)) {
        let RestoredShare { publishes, accepts } = share;
        for Kept { message, at, .. } in &publishes {
            for (queue, _) in at {
                if let Some(q) = self.queues.get_mut(queue) {
                    q.reserve_room(message);
                }
            }
        }
        let asker = (ShardId(xid.shard), xid.number);
        let (alone, owned, durable) = (false, true, true);
        let share = PreparedShare { asker, alone, publishes, accepts, owned, durable };
        self.transactions.prepared.insert(xid, share);
    }
}

/// What each home has to do.
struct Shares {
    all: Vec<(ShardId, Share)>,
    owned: bool,
}

impl Shares {
    /// The share of a home: where it stands.
    fn of(&mut self, home: ShardId) -> usize {
        match self.all.iter().position(|(other, _)| *other == home) {
            Some(at) => at,
            None => {
                self.all.push((home, Share { owned: self.owned, ..Share::default() }));
                self.all.len() - 1
            }
        }
    }
}

fn ref_of((queue, position): (QueueId, Position)) -> Ref {
    Ref { queue: queue.0, position }
}
