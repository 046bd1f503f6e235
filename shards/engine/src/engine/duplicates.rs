//! Queues that take no message twice (`fletch.dedup_window`): what their journal has to know, and what waits for it.
//!
//! A duplicate of a message is answered when the message is safe. Its id is journalled in the message's own record, or in
//! the note of the decision by which it came, and counts from then on for itself: it stays when the message leaves, is
//! written again when its segment is recycled, and goes when newer ones take its place or the queue is deleted.
//!
//! A durable message that goes to several shards comes to such a queue when that is decided, as one of a transaction
//! does, and only then is asked for its id: two of them that meet in another order on each shard, each waiting for the
//! other, would wait for ever.

use super::Engine;
use crate::frame::Effects;
use crate::identity::Identity;
use crate::ids::{Position, QueueId, ShardId, Time};
use crate::message::Message;
use crate::queue::{Asked, Queue};
use crate::request::DeliveryRef;
use crate::store::{Store, Stored, id_len, remembered};
use crate::transaction::{Kept, PreparedShare};
use fletch_journal::{Lsn, REFS_MAX, Ref, Refs, Remembered, Seq, Xid};
use smallvec::SmallVec;

/// Messages that have come to the places kept for them.
#[derive(Default)]
pub(super) struct Arrived {
    /// How many.
    pub(super) came: usize,
    /// What is to be remembered of them.
    ids: Remembered,
    numbers: SmallVec<[(QueueId, u64, u64); 2]>,
    /// What has to be durable because of those that had come before.
    pub(super) relied_upon: Seq,
}

/// Puts an id among those of one record.
pub(super) fn put_id(ids: &mut Remembered, q: &Queue, number: u64, id: &Identity) {
    let payload = remembered::encode(q.window(), std::iter::once((number, &id[..])));
    ids.add(q.id().0, &payload, (1, id_len(id) as u64));
}

/// A duplicate is taken for delivered: what it relies on must not be taken back if the disk turns out to be full.
pub(super) fn rely_on(store: &Option<Store>, q: &mut Queue, first: Seq) {
    if store.as_ref().is_some_and(|store| store.log.retractable(first).is_some()) {
        q.rely_on(first);
    }
}

impl Engine {
    /// An id of a queue is forgotten.
    pub(super) fn forget_id(&mut self, place: Seq, len: u64) {
        if let Some(store) = self.store.as_mut().filter(|_| place != Seq::NONE) {
            store.log.forget_remembered(place, len, Seq::NONE);
        }
    }

    /// Prepares a durable message for places in queues to which it comes when its publish is decided. The last
    /// record.
    pub(super) fn prepare_later(
        &mut self,
        xid: Xid,
        message: &Message,
        places: &[(QueueId, Position)],
    ) -> Seq {
        let Some(store) = &mut self.store else { return Seq::NONE };
        let mut publishes = Vec::new();
        let mut last = Seq::NONE;
        for at in places.chunks(REFS_MAX) {
            let refs: Refs = at
                .iter()
                .map(|(q, position)| (Ref { queue: q.0, position: *position }, false))
                .collect();
            last = store.log.publish(refs, Stored::Durable(message.clone()), Some(xid));
            publishes.push(Kept { message: message.clone(), at: at.into(), place: last });
        }
        let asker = (ShardId(xid.shard), xid.number);
        let (alone, owned, durable, accepts) = (false, false, true, Vec::new());
        let share = PreparedShare { asker, alone, publishes, accepts, owned, durable };
        self.transactions.prepared.insert(xid, share);
        last
    }

    /// A publish to several shards is decided: what waited for that comes in, or does not. What it was noted by.
    pub(super) fn come_later(&mut self, now: Time, xid: Xid, fx: &mut Effects) -> Option<Seq> {
        let mut share = self.transactions.prepared.remove(&xid)?;
        let mut homeless: SmallVec<[(DeliveryRef, Message, Seq); 1]> = SmallVec::new();
        for Kept { message, at, place } in &mut share.publishes {
            at.retain(|(queue, position)| {
                let (queue, position) = (*queue, *position);
                let is_there = self.queues.contains_key(&queue);
                if !is_there {
                    homeless.push((DeliveryRef { queue, position }, message.clone(), *place));
                }
                is_there
            });
        }
        let mut filled = Vec::new();
        let arrived = self.bring_in(now, share.publishes, &mut filled, fx);
        let noted = self.note_arrived(xid, arrived);
        // Deleted meanwhile: as if they had been there when they were.
        for (from, message, place) in homeless {
            self.move_on(from, &message, (place, message.size()), (None, 0), fx);
        }
        // All of it is there before anybody sees some of it.
        self.serve_each(now, filled, fx);
        Some(noted)
    }

    /// The same if it does not hold. Whether anything waited.
    pub(super) fn stay_away(&mut self, xid: Xid) -> bool {
        let Some(share) = self.transactions.prepared.remove(&xid) else { return false };
        self.give_up_rooms(&share.publishes);
        self.forget_kept(share.publishes);
        true
    }

    /// A record was taken back before it was written: the message that waits with it does not come.
    pub(super) fn forget_waiting(&mut self, place: Seq) {
        let mut gone: SmallVec<[Kept; 1]> = SmallVec::new();
        for share in self.transactions.prepared.values_mut() {
            gone.extend(share.publishes.extract_if(.., |kept| kept.place == place));
        }
        self.give_up_rooms(&gone);
    }

    /// Puts messages at the places that were kept for them, but for those that their queues have had.
    pub(super) fn bring_in(
        &mut self,
        now: Time,
        publishes: Vec<Kept>,
        filled: &mut Vec<QueueId>,
        fx: &mut Effects,
    ) -> Arrived {
        let mut arrived = Arrived::default();
        let mut gone: Vec<(DeliveryRef, Seq, usize)> = Vec::new();
        for Kept { message, at, place } in publishes {
            self.pager.grown(at.len(), message.size());
            arrived.came += at.len();
            for (queue, position) in at {
                let Some(q) = self.queues.get_mut(&queue) else {
                    self.stats.discarded += 1;
                    gone.push((DeliveryRef { queue, position }, place, message.size()));
                    continue;
                };
                let asked = q.ask(&message);
                if let Asked::Duplicate(first) = asked {
                    q.give_up_room(&message);
                    rely_on(&self.store, q, first);
                    arrived.relied_upon = arrived.relied_upon.max(first);
                    gone.push((DeliveryRef { queue, position }, place, message.size()));
                    continue;
                }
                let copy = (message.clone(), place);
                let came = q.fill(now, position, copy, &mut self.outputs);
                if let Asked::First(fresh) = asked
                    && came
                {
                    let number = q.remember(&fresh, Seq::NONE, &mut self.outputs);
                    if place != Seq::NONE {
                        put_id(&mut arrived.ids, q, number, &fresh.id);
                        arrived.numbers.push((queue, number, id_len(&fresh.id) as u64));
                    }
                }
                if filled.last() != Some(&queue) {
                    filled.push(queue);
                }
            }
        }
        self.deliver(fx);
        for (at, place, size) in gone.into_iter().filter(|(_, place, _)| *place != Seq::NONE) {
            self.journal_dequeue(at, place, size);
        }
        arrived
    }

    /// Notes in the journal that a transaction is carried out, with the ids that came by it.
    pub(super) fn note_arrived(&mut self, xid: Xid, arrived: Arrived) -> Seq {
        let Some(store) = &mut self.store else { return Seq::NONE };
        let noted = store.log.note_with(xid, arrived.ids);
        self.remembered_at(&arrived.numbers, noted);
        noted
    }

    /// Ids stand in this record, as far as they are not forgotten again.
    pub(super) fn remembered_at(&mut self, ids: &[(QueueId, u64, u64)], place: Seq) {
        for (queue, number, len) in ids {
            let q = self.queues.get_mut(queue);
            if !q.is_some_and(|q| q.set_remembered(*number, place)) {
                self.forget_id(place, *len);
            }
        }
    }

    /// Serves queues to which messages have come late. Whether one of them is far over what it may have in
    /// memory.
    pub(super) fn serve_each(
        &mut self,
        now: Time,
        mut filled: Vec<QueueId>,
        fx: &mut Effects,
    ) -> bool {
        filled.sort_unstable();
        filled.dedup();
        let mut pressed = false;
        for queue in filled {
            let Some(q) = self.queues.get_mut(&queue) else { continue };
            q.serve_filled(now, &mut self.outputs);
            if q.is_over() {
                self.pager.over.push(queue);
            }
            pressed |= q.is_far_over();
        }
        self.deliver(fx);
        pressed
    }
}

impl Engine {
    /// Writes ids again that are remembered and stand in a segment that is to be recycled, of all that a slice of it
    /// says is.
    pub(super) fn relocate_ids(&mut self, segment: Lsn, said: &[(QueueId, &[u8])]) {
        let Some(store) = &mut self.store else { return };
        let mut again = Remembered::default();
        let mut moved: Vec<(QueueId, u64, Seq, u64)> = Vec::new();
        for (queue, payload) in said {
            let Some(q) = self.queues.get(queue) else { continue };
            // The log has checked that they are what was written.
            let Ok((most, ids)) = remembered::decode(payload) else { continue };
            let lives = |(number, id): (u64, &[u8])| {
                let place = q.remembered_at(number)?;
                let len = id_len(&id.into()) as u64;
                store.log.stands_in(place, segment).then_some((number, place, len))
            };
            let live = ids.clone().map_while(Result::ok).filter(|id| lives(*id).is_some());
            let (from, count) = (moved.len(), live.clone().count() as u64);
            if count == 0 {
                continue;
            }
            let lives = live.clone().filter_map(lives);
            moved.extend(lives.map(|(number, place, len)| (*queue, number, place, len)));
            let bytes = moved[from..].iter().map(|(.., len)| len).sum();
            again.add(queue.0, &remembered::encode(most, live), (count, bytes));
        }
        if moved.is_empty() {
            return;
        }
        let new = store.log.remember(again);
        let mut numbers = Vec::with_capacity(moved.len());
        for (queue, number, old, len) in moved {
            store.log.forget_remembered(old, len, new);
            numbers.push((queue, number, len));
        }
        self.remembered_at(&numbers, new);
    }
}
