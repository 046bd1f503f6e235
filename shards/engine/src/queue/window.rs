//! The last message-ids that a queue has taken in (`fletch.dedup_window`), by which it knows duplicates.
//!
//! Kept are 128 bits of each id, by two keyed hashes that share nothing: with a million ids, one in 10³² messages is
//! taken for another. The keys are this run's secret, so nobody can choose ids that fall together; who could would gain
//! nothing, for whoever knows an id can send it himself. An id stays when its message leaves. It has a number, by which
//! the journal knows it, and where its record stands, if it has one.
//!
//! Messages that come from another queue are not asked for their ids, nor remembered: they were taken in elsewhere, and a
//! message that is rejected and comes back must not be lost.

use super::{Output, Queue};
use crate::identity::{Identity, identity};
use crate::ids::QueueId;
use crate::message::Message;
use crate::store::{RestoredIds, id_len};
use fletch_journal::Seq;
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use hashbrown::HashTable;
use std::hash::Hasher;

/// Both hashes of an id.
type Hashes = [u64; 2];

/// An id that is remembered.
#[derive(Clone, Copy, Debug)]
struct Known {
    hashes: Hashes,
    number: u64,
    /// Where its record stands.
    place: Seq,
    /// Bytes that it takes in the journal.
    len: u16,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    /// So many are remembered.
    most: usize,
    /// A ring as soon as there are so many.
    ring: Vec<Known>,
    oldest: usize,
    /// Where in the ring each stands.
    slots: HashTable<u32>,
    keys: [SharedSeed; 2],
    /// The next id's number.
    next: u64,
    /// Up to this record nothing may be taken back: a duplicate relies on it.
    relied_upon: Seq,
}

/// What a queue says of a message that is about to come.
#[derive(Debug)]
pub(crate) enum Asked {
    /// It has no id, or nobody asks.
    Unknown,
    /// It is the first with its id.
    First(Fresh),
    /// The queue has had it. It is safe when the record that stands there is durable.
    Duplicate(Seq),
}

/// An id that a queue has not seen.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) id: Identity,
    hashes: Hashes,
}

impl Window {
    pub(super) fn new(most: u32, queue: QueueId, secret: u64) -> Window {
        let key = |n: u64| {
            // Odd factors: neither key tells the other one, nor those of another queue.
            let of_queue = queue.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            SharedSeed::from_u64(secret.rotate_left(32 * n as u32) ^ of_queue.wrapping_add(n))
        };
        Window {
            most: most as usize,
            ring: Vec::new(),
            oldest: 0,
            slots: HashTable::new(),
            keys: [key(0), key(1)],
            next: 1,
            relied_upon: Seq::NONE,
        }
    }

    fn hashes(&self, id: &[u8]) -> Hashes {
        [0, 1].map(|n| {
            let mut hasher = FoldHasher::with_seed(n as u64, &self.keys[n]);
            hasher.write(id);
            hasher.finish()
        })
    }

    fn find(&self, hashes: Hashes) -> Option<&Known> {
        let is = |slot: &u32| self.ring[*slot as usize].hashes == hashes;
        self.slots.find(hashes[0], is).map(|slot| &self.ring[*slot as usize])
    }

    fn insert(&mut self, known: Known) -> Option<Known> {
        let (slot, gone) = match self.ring.len() < self.most {
            true => {
                self.ring.push(known);
                (self.ring.len() - 1, None)
            }
            false => {
                let slot = self.oldest;
                self.oldest = (slot + 1) % self.most;
                let gone = self.unlist(slot);
                self.ring[slot] = known;
                (slot, gone)
            }
        };
        let ring = &self.ring;
        let hash = |slot: &u32| ring[*slot as usize].hashes[0];
        self.slots.insert_unique(known.hashes[0], slot as u32, hash);
        gone
    }

    /// Forgets what stands at a place in the ring, if it is not forgotten yet.
    fn unlist(&mut self, slot: usize) -> Option<Known> {
        let known = self.ring[slot];
        let entry = self.slots.find_entry(known.hashes[0], |other| *other as usize == slot);
        entry.ok()?.remove();
        Some(known)
    }

    /// The numbers grow from the oldest on.
    fn slot_of(&self, number: u64) -> Option<usize> {
        let (newer, older) = self.ring.split_at(self.oldest);
        let find = |part: &[Known]| part.binary_search_by_key(&number, |known| known.number).ok();
        let slot = find(older).map(|at| at + self.oldest).or_else(|| find(newer))?;
        let listed = self.slots.find(self.ring[slot].hashes[0], |other| *other as usize == slot);
        listed.map(|_| slot)
    }

    /// The newest first.
    fn newest_first(&self) -> impl Iterator<Item = usize> {
        (0..self.oldest).rev().chain((self.oldest..self.ring.len()).rev())
    }
}

impl Queue {
    /// Makes it remember the ids of its last messages; `secret` is this run's.
    pub fn set_window(&mut self, most: u32, secret: u64) {
        let window = Window::new(most, self.id, secret);
        self.intake.get_or_insert_default().window = Some(window);
    }

    fn ids(&self) -> Option<&Window> {
        self.intake.as_ref()?.window.as_ref()
    }

    fn ids_mut(&mut self) -> Option<&mut Window> {
        self.intake.as_mut()?.window.as_mut()
    }

    /// So many ids are remembered; 0: none.
    pub(crate) fn window(&self) -> u32 {
        self.ids().map_or(0, |window| window.most as u32)
    }

    /// Whether a message is one that the queue has had. If so it is counted, and must not come in.
    #[inline]
    pub(crate) fn ask(&mut self, message: &Message) -> Asked {
        match self.intake {
            None => Asked::Unknown,
            Some(_) => self.ask_window(message),
        }
    }

    fn ask_window(&mut self, message: &Message) -> Asked {
        let Some(window) = self.ids_mut() else { return Asked::Unknown };
        let Some(id) = identity(message) else { return Asked::Unknown };
        let hashes = window.hashes(&id);
        let Some(place) = window.find(hashes).map(|known| known.place) else {
            return Asked::First(Fresh { id, hashes });
        };
        self.counters.duplicates += 1;
        Asked::Duplicate(place)
    }

    /// The same without counting.
    pub(crate) fn is_duplicate(&self, message: &Message) -> bool {
        let Some(window) = self.ids() else { return false };
        identity(message).is_some_and(|id| window.find(window.hashes(&id)).is_some())
    }

    /// A message has come in: its id is remembered. Its number.
    pub(crate) fn remember(&mut self, fresh: &Fresh, place: Seq, out: &mut Vec<Output>) -> u64 {
        let Some(window) = self.ids_mut() else { return 0 };
        let number = window.next;
        window.next += 1;
        let (hashes, len) = (fresh.hashes, id_len(&fresh.id) as u16);
        if let Some(Known { place, len, .. }) = window.insert(Known { hashes, number, place, len })
            && place != Seq::NONE
        {
            out.push(Output::Forgotten { place, len: u64::from(len) });
        }
        number
    }

    /// Where the record of an id stands, if it is remembered.
    pub(crate) fn remembered_at(&self, number: u64) -> Option<Seq> {
        let window = self.ids()?;
        window.slot_of(number).map(|slot| window.ring[slot].place)
    }

    /// An id has another record. False if it is forgotten by now.
    pub(crate) fn set_remembered(&mut self, number: u64, place: Seq) -> bool {
        let Some(window) = self.ids_mut() else { return false };
        let Some(slot) = window.slot_of(number) else { return false };
        window.ring[slot].place = place;
        true
    }

    /// A duplicate is taken for delivered because of this record.
    pub(crate) fn rely_on(&mut self, place: Seq) {
        if let Some(window) = self.ids_mut() {
            window.relied_upon = window.relied_upon.max(place);
        }
    }

    /// Whether a duplicate was taken for delivered because of this record, or one after it.
    pub(crate) fn relies_on(&self, place: Seq) -> bool {
        self.ids().is_some_and(|window| place <= window.relied_upon)
    }

    /// A message was taken back before it was written, with its id.
    pub(crate) fn forget_id(&mut self, place: Seq) {
        let Some(window) = self.ids_mut() else { return };
        // It is among the last.
        let slot = window.newest_first().find(|slot| window.ring[*slot].place == place);
        if let Some(slot) = slot {
            window.unlist(slot);
            window.ring[slot].place = Seq::NONE;
        }
    }

    /// Takes up what recovery found.
    pub(crate) fn restore_ids(&mut self, ids: &RestoredIds) {
        let Some(window) = self.ids_mut() else { return };
        for (number, id, place) in ids.iter() {
            let (hashes, len) = (window.hashes(id), id_len(id) as u16);
            window.insert(Known { hashes, number, place, len });
            window.next = number + 1;
        }
    }

    /// The ids of a queue that is deleted.
    pub(super) fn take_window(&mut self) -> Option<Box<Window>> {
        self.intake.as_mut()?.window.take().map(Box::new)
    }
}

impl Window {
    /// Forgets one id of a queue that is deleted: where its record stands, and its bytes.
    pub(super) fn take_one(&mut self) -> Option<(Seq, u64)> {
        self.ring.pop().map(|known| (known.place, u64::from(known.len)))
    }
}
