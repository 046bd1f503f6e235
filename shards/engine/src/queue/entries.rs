//! The messages of a queue, at positions they keep until they leave it.
//!
//! Eight bytes and some bits per message, in chunks of 64 that are freed as soon as they are
//! empty: one old message holds on to one chunk, however many pass it. A message is *available*
//! or *acquired*; the first available one is found without passing over the acquired ones: all
//! chunks before `front` that have any are in `behind`. A chunk with journalled messages has eight
//! more bytes per slot: where each one's record stands. A message that has a record, in the journal or in
//! the paging file, may be *away*: its body has left memory and is read back, by whoever drives the queue,
//! when it is wanted; a chunk with such messages keeps four bytes per slot for their sizes, and one in which
//! all are away is *packed*: it takes about 180 bytes, and one or two per slot if they are not alike.

use crate::ids::{Position, Time};
use crate::message::Message;
use crate::queue::packed::{Packed, SLOTS};
use fletch_journal::Seq;
use std::collections::{BTreeMap, BTreeSet};

/// Chunks that are looked at in one go for bodies that may leave: what is on its way to the disk is among
/// them.
const LOOKED_AT: usize = 1024;

/// What a message in memory costs besides its content.
const OVERHEAD: u64 = 80;

/// What a chunk costs whose messages are away, about.
const CHUNK: u64 = 180;

type Bodies = [Option<Message>; SLOTS];

struct Chunk {
    present: u64,
    available: u64,
    redelivered: u64,
    /// In memory; the other present ones are away.
    here: u64,
    messages: Option<Box<Bodies>>,
    places: Option<Box<[Seq; SLOTS]>>,
    away: Option<Box<Away>>,
    /// Instead of `places` and `away`, if all are away.
    packed: Option<Box<Packed>>,
}

/// What has to be known of messages that are away.
struct Away {
    sizes: [u32; SLOTS],
    /// No one of them expires earlier.
    expires: Time,
}

/// What was sent away.
#[derive(Default)]
struct Gone {
    count: usize,
    bytes: u64,
}

/// A message that left its queue.
#[derive(Debug)]
pub(super) struct Removed {
    /// None if it was away.
    pub(super) message: Option<Message>,
    pub(super) size: usize,
    /// It was delivered before.
    pub(super) redelivered: bool,
    /// Where its record stands; [`Seq::NONE`] if it has none.
    pub(super) place: Seq,
}

/// A message of the queue, wherever its body is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    Here(&'a Message),
    Away {
        /// Not before this does it expire.
        expires: Time,
    },
}

/// An entry as it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) position: Position,
    pub(super) body: Body<'a>,
    pub(super) size: usize,
    /// It was delivered before.
    pub(super) redelivered: bool,
    /// Where its record stands; [`Seq::NONE`] if it has none.
    pub(super) place: Seq,
}

impl Chunk {
    fn new() -> Box<Chunk> {
        Box::new(Chunk {
            present: 0,
            available: 0,
            redelivered: 0,
            here: 0,
            messages: None,
            places: None,
            away: None,
            packed: None,
        })
    }

    fn bodies(&mut self) -> &mut Bodies {
        self.messages.get_or_insert_with(|| Box::new([const { None }; SLOTS]))
    }

    fn body(&self, slot: usize) -> Option<&Message> {
        self.messages.as_ref()?[slot].as_ref()
    }

    fn size(&self, slot: usize) -> usize {
        match (self.body(slot), &self.packed) {
            (Some(message), _) => message.size(),
            (None, Some(packed)) => packed.size(slot),
            (None, None) => self.away.as_ref().map_or(0, |away| away.sizes[slot] as usize),
        }
    }

    fn place(&self, slot: usize) -> Seq {
        match &self.packed {
            Some(packed) => packed.place(slot),
            None => self.places.as_ref().map_or(Seq::NONE, |places| places[slot]),
        }
    }

    fn pack(&mut self) {
        if self.here == 0
            && self.present != 0
            && let (Some(places), Some(away)) = (&self.places, &self.away)
        {
            let packed = Packed::new(self.present, places, &away.sizes, away.expires);
            self.packed = Some(Box::new(packed));
            (self.places, self.away) = (None, None);
        }
    }

    /// Makes room for other places and sizes.
    fn unpack(&mut self) {
        let Some(packed) = self.packed.take() else { return };
        let (mut places, mut sizes) = ([Seq::NONE; SLOTS], [0; SLOTS]);
        for slot in slots(self.present) {
            (places[slot], sizes[slot]) = (packed.place(slot), packed.size(slot) as u32);
        }
        self.places = Some(Box::new(places));
        self.away = Some(Box::new(Away { sizes, expires: packed.expires }));
    }

    fn set_place(&mut self, slot: usize, place: Seq) {
        self.unpack();
        if place != Seq::NONE || self.places.is_some() {
            self.places.get_or_insert_with(|| Box::new([Seq::NONE; SLOTS]))[slot] = place;
        }
    }

    fn set_away(&mut self, slot: usize, size: usize, expires: Time) {
        let sizes = [0; SLOTS];
        let away = self.away.get_or_insert_with(|| Box::new(Away { sizes, expires: Time::NEVER }));
        away.sizes[slot] = u32::try_from(size).unwrap_or(u32::MAX);
        away.expires = away.expires.min(expires);
    }

    fn send_away(&mut self, is_safe: &impl Fn(Seq) -> bool, gone: &mut Gone) {
        for slot in slots(self.here & self.available) {
            let place = self.place(slot);
            if place == Seq::NONE || !is_safe(place) {
                continue;
            }
            let Some(message) = self.bodies()[slot].take() else { continue };
            self.set_away(slot, message.size(), message.meta().expires);
            self.here &= !(1 << slot);
            gone.count += 1;
            gone.bytes += message.size() as u64 + OVERHEAD;
        }
        if self.here == 0 {
            self.messages = None;
            self.pack();
        }
    }

    fn entry(&self, n: u64, slot: usize) -> Entry<'_> {
        let expires = match &self.packed {
            Some(packed) => packed.expires,
            None => self.away.as_ref().map_or(Time::NEVER, |away| away.expires),
        };
        Entry {
            position: n * SLOTS as u64 + slot as u64,
            body: self.body(slot).map_or(Body::Away { expires }, Body::Here),
            size: self.size(slot),
            redelivered: self.redelivered & 1 << slot != 0,
            place: self.place(slot),
        }
    }
}

fn chunk_of(position: Position) -> u64 {
    position / SLOTS as u64
}

fn slot_of(position: Position) -> usize {
    (position % SLOTS as u64) as usize
}

/// The set bits of a mask.
fn slots(mask: u64) -> impl Iterator<Item = usize> {
    (0..SLOTS).filter(move |slot| mask & 1 << slot != 0)
}

pub(super) struct Entries {
    /// By position / 64. The last one stays while it has free slots, even if it is empty.
    chunks: BTreeMap<u64, Box<Chunk>>,
    behind: BTreeSet<u64>,
    /// The chunks with messages in memory.
    resident_chunks: BTreeSet<u64>,
    front: u64,
    /// The position the next message gets.
    end: Position,
    messages: u64,
    bytes: u64,
    available: u64,
    /// Messages with a ttl.
    expiring: u64,
    /// Messages that are away.
    away: u64,
    /// Bytes of memory that the others take.
    resident: u64,
}

impl Entries {
    pub(super) fn new() -> Entries {
        Entries {
            chunks: BTreeMap::new(),
            behind: BTreeSet::new(),
            resident_chunks: BTreeSet::new(),
            front: 0,
            end: 1,
            messages: 0,
            bytes: 0,
            available: 0,
            expiring: 0,
            away: 0,
            resident: 0,
        }
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn available(&self) -> u64 {
        self.available
    }

    pub(super) fn expiring(&self) -> u64 {
        self.expiring
    }

    /// Messages whose bodies are not in memory.
    pub(super) fn away(&self) -> u64 {
        self.away
    }

    /// Bytes of memory that the others take, about.
    pub(super) fn resident(&self) -> u64 {
        self.resident
    }

    /// Bytes of memory that it takes to know of all of them, about: as if they were away.
    pub(super) fn index(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK
    }

    /// The position after the last one given out.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    pub(super) fn push(&mut self, message: Message, place: Seq) -> Position {
        let position = self.end;
        self.put(position, message, place, false);
        position
    }

    /// Puts a message at a position that is free, as recovery does, in whatever order.
    pub(super) fn put(&mut self, position: Position, message: Message, place: Seq, seen: bool) {
        let (size, expires) = (message.size(), message.meta().expires);
        self.resident += size as u64 + OVERHEAD;
        let chunk = self.place_at(position, size, expires, place, seen);
        let slot = slot_of(position);
        let first = chunk.here == 0;
        chunk.here |= 1 << slot;
        chunk.bodies()[slot] = Some(message);
        if first {
            self.resident_chunks.insert(chunk_of(position));
        }
    }

    /// The same with a message whose body stays away.
    pub(super) fn put_away(
        &mut self,
        position: Position,
        (size, expires): (usize, Time),
        place: Seq,
        seen: bool,
    ) {
        self.away += 1;
        let chunk = self.place_at(position, size, expires, place, seen);
        chunk.set_away(slot_of(position), size, expires);
    }

    /// Keeps the next position for a message that may come there later.
    pub(super) fn reserve(&mut self) -> Position {
        let position = self.end;
        self.end += 1;
        let n = chunk_of(position);
        // The last chunk is kept while it has free slots.
        if n != chunk_of(self.end) && self.chunks.get(&n).is_some_and(|c| c.present == 0) {
            self.chunks.remove(&n);
        }
        position
    }

    /// Puts a message at a position that was kept for it.
    pub(super) fn fill(&mut self, position: Position, message: Message, place: Seq) {
        self.put(position, message, place, false);
        let n = chunk_of(position);
        if n < self.front {
            self.behind.insert(n);
        }
    }

    fn place_at(
        &mut self,
        position: Position,
        size: usize,
        expires: Time,
        place: Seq,
        seen: bool,
    ) -> &mut Chunk {
        self.end = self.end.max(position + 1);
        self.messages += 1;
        self.available += 1;
        self.bytes += size as u64;
        self.expiring += u64::from(expires != Time::NEVER);
        let n = chunk_of(position);
        let is_last = self.chunks.last_key_value().is_some_and(|(last, _)| *last == n);
        if !is_last && !self.chunks.contains_key(&n) {
            if let Some(mut before) = self.chunks.last_entry() {
                before.get_mut().pack();
            }
            self.chunks.insert(n, Chunk::new());
        }
        let chunk = match is_last {
            true => self.chunks.last_entry().map(|last| last.into_mut()),
            false => self.chunks.get_mut(&n),
        };
        let chunk = chunk.expect("it is there or was just made");
        let bit = 1 << slot_of(position);
        debug_assert!(chunk.present & bit == 0, "the position is free");
        chunk.present |= bit;
        chunk.available |= bit;
        if seen {
            chunk.redelivered |= bit;
        }
        chunk.set_place(slot_of(position), place);
        chunk
    }

    /// Positions before this one were given out once.
    pub(super) fn skip_to(&mut self, end: Position) {
        self.end = self.end.max(end);
    }

    /// Marks those up to a position as delivered before.
    pub(super) fn mark_delivered(&mut self, upto: Position) {
        for (n, chunk) in self.chunks.range_mut(..=chunk_of(upto)) {
            let all = *n < chunk_of(upto);
            let mask = if all { u64::MAX } else { u64::MAX >> (SLOTS - 1 - slot_of(upto)) };
            chunk.redelivered |= chunk.present & mask;
        }
    }

    /// Marks one as delivered before.
    pub(super) fn set_redelivered(&mut self, position: Position) {
        if let Some(chunk) = self.chunks.get_mut(&chunk_of(position)) {
            chunk.redelivered |= chunk.present & 1 << slot_of(position);
        }
    }

    /// Every message, acquired ones too, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.chunks
            .iter()
            .flat_map(|(n, chunk)| slots(chunk.present).map(move |slot| chunk.entry(*n, slot)))
    }

    /// The message at a position.
    pub(super) fn get(&self, position: Position) -> Option<Entry<'_>> {
        let (n, slot) = (chunk_of(position), slot_of(position));
        let chunk = self.chunks.get(&n)?;
        (chunk.present & 1 << slot != 0).then(|| chunk.entry(n, slot))
    }

    /// Whether there is an available message at a position.
    pub(super) fn is_available(&self, position: Position) -> bool {
        let bit = 1 << slot_of(position);
        self.chunks.get(&chunk_of(position)).is_some_and(|c| c.available & bit != 0)
    }

    /// A message's record was written again.
    pub(super) fn set_place(&mut self, position: Position, place: Seq) {
        if let Some(chunk) = self.chunks.get_mut(&chunk_of(position)) {
            chunk.set_place(slot_of(position), place);
            chunk.pack();
        }
    }

    /// The earliest available message.
    pub(super) fn first(&mut self) -> Option<Entry<'_>> {
        if self.available == 0 {
            return None;
        }
        let (n, chunk) = match self.behind.first() {
            Some(n) => (*n, self.chunks.get(n)?),
            None => {
                let mut from_front = self.chunks.range(self.front..);
                let (n, chunk) = from_front.find(|(_, chunk)| chunk.available != 0)?;
                self.front = *n;
                (*n, chunk)
            }
        };
        let slot = chunk.available.trailing_zeros() as usize;
        (slot < SLOTS).then(|| chunk.entry(n, slot))
    }

    /// The earliest available message at `from` or later.
    pub(super) fn next(&self, from: Position) -> Option<Entry<'_>> {
        if from >= self.end || self.available == 0 {
            return None;
        }
        self.chunks.range(chunk_of(from)..).find_map(|(n, chunk)| {
            let mask = if *n == chunk_of(from) { u64::MAX << slot_of(from) } else { u64::MAX };
            let slot = (chunk.available & mask).trailing_zeros() as usize;
            (slot < SLOTS).then(|| chunk.entry(*n, slot))
        })
    }

    /// Takes an available message that is in memory out of the others' sight.
    pub(super) fn acquire(&mut self, position: Position) -> Option<Entry<'_>> {
        let (n, slot) = (chunk_of(position), slot_of(position));
        let chunk = self.chunks.get_mut(&n)?;
        if chunk.available & chunk.here & 1 << slot == 0 {
            return None;
        }
        self.take(position);
        self.get(position)
    }

    /// The same with a message wherever it is.
    fn take(&mut self, position: Position) -> bool {
        let (n, bit) = (chunk_of(position), 1 << slot_of(position));
        let Some(chunk) = self.chunks.get_mut(&n) else { return false };
        if chunk.available & bit == 0 {
            return false;
        }
        chunk.available &= !bit;
        self.available -= 1;
        if chunk.available == 0 && n < self.front {
            self.behind.remove(&n);
        }
        true
    }

    /// Takes a message out of everybody's sight if it is available, wherever its body is.
    pub(super) fn hide(&mut self, position: Position) {
        self.take(position);
    }

    /// The oldest message at `from` or later, acquired or not.
    pub(super) fn oldest(&self, from: Position) -> Option<Position> {
        self.chunks.range(chunk_of(from)..).find_map(|(n, chunk)| {
            let mask = if *n == chunk_of(from) { u64::MAX << slot_of(from) } else { u64::MAX };
            let slot = (chunk.present & mask).trailing_zeros() as usize;
            (slot < SLOTS).then(|| n * SLOTS as u64 + slot as u64)
        })
    }

    /// Makes an acquired message available again, at its place.
    pub(super) fn release(&mut self, position: Position, set_redelivered: bool) -> bool {
        let (n, bit) = (chunk_of(position), 1 << slot_of(position));
        let Some(chunk) = self.chunks.get_mut(&n) else { return false };
        if chunk.present & !chunk.available & bit == 0 {
            return false;
        }
        chunk.available |= bit;
        self.available += 1;
        if set_redelivered {
            chunk.redelivered |= bit;
        }
        if n < self.front {
            self.behind.insert(n);
        }
        true
    }

    /// Removes an available message, wherever it is.
    pub(super) fn remove_available(&mut self, position: Position) -> Option<Removed> {
        if self.take(position) { self.remove_acquired(position) } else { None }
    }

    /// Removes an acquired message.
    pub(super) fn remove_acquired(&mut self, position: Position) -> Option<Removed> {
        let (n, bit) = (chunk_of(position), 1 << slot_of(position));
        let chunk = self.chunks.get_mut(&n)?;
        if chunk.present & !chunk.available & bit == 0 {
            return None;
        }
        let slot = slot_of(position);
        let (size, place) = (chunk.size(slot), chunk.place(slot));
        let redelivered = chunk.redelivered & bit != 0;
        let message = chunk.messages.as_mut().and_then(|all| all[slot].take());
        chunk.present &= !bit;
        if chunk.here == bit {
            self.resident_chunks.remove(&n);
        }
        chunk.here &= !bit;
        if chunk.present == 0 && n != chunk_of(self.end) {
            self.chunks.remove(&n);
        }
        self.messages -= 1;
        self.bytes -= size as u64;
        match &message {
            Some(message) => {
                self.resident -= size as u64 + OVERHEAD;
                self.expiring -= u64::from(message.meta().expires != Time::NEVER);
            }
            // Whether it could expire is not known any more; the count is put right when all are gone.
            None => self.away -= 1,
        }
        if self.messages == 0 {
            self.expiring = 0;
        }
        Some(Removed { message, size, redelivered, place })
    }

    // ---- away and back -------------------------------------------------------------------

    /// Sends bodies away: those of available messages whose records are safe, from the newest on to the
    /// oldest, but for the chunks at the front that a consumer comes to next; so many at most, or a few more.
    /// How many there were.
    pub(super) fn send_away(
        &mut self,
        is_safe: impl Fn(Seq) -> bool,
        keep: usize,
        most: usize,
    ) -> usize {
        let Some(candidates) = self.candidates(keep) else { return 0 };
        let mut gone = Gone::default();
        let mut emptied = Vec::new();
        for n in self.resident_chunks.range(candidates).rev().take(LOOKED_AT) {
            let Some(chunk) = self.chunks.get_mut(n) else { continue };
            chunk.send_away(&is_safe, &mut gone);
            if chunk.here == 0 {
                emptied.push(*n);
            }
            if gone.count >= most {
                break;
            }
        }
        for n in emptied {
            self.resident_chunks.remove(&n);
        }
        self.away += gone.count as u64;
        self.resident -= gone.bytes;
        gone.count
    }

    /// Of the messages that could be sent away if they had a record, the newest, in order; so many bytes of
    /// them or a few more.
    pub(super) fn without_record(&self, keep: usize, bytes: usize) -> Vec<(Position, Message)> {
        let Some(candidates) = self.candidates(keep) else { return Vec::new() };
        let mut chunks: Vec<Vec<(Position, Message)>> = Vec::new();
        let mut left = bytes;
        for n in self.resident_chunks.range(candidates).rev().take(LOOKED_AT) {
            let Some(chunk) = self.chunks.get(n).filter(|_| left > 0) else { break };
            let mut found = Vec::new();
            for slot in slots(chunk.here & chunk.available) {
                if let Some(message) = chunk.body(slot).filter(|_| chunk.place(slot) == Seq::NONE) {
                    left = left.saturating_sub(message.size());
                    found.push((n * SLOTS as u64 + slot as u64, message.clone()));
                }
            }
            chunks.push(found);
        }
        chunks.into_iter().rev().flatten().collect()
    }

    /// The chunks whose messages may go away.
    fn candidates(&self, keep: usize) -> Option<std::ops::Range<u64>> {
        let (front, _) = self.chunks.range(self.front..).nth(keep)?;
        let last = chunk_of(self.end);
        (*front < last).then_some(*front..last)
    }

    /// The first message at `from` or later, within so many messages, that is away.
    pub(super) fn first_away(&self, from: Position, within: u64) -> Option<Position> {
        if self.away == 0 {
            return None;
        }
        let range = chunk_of(from)..=chunk_of(from.saturating_add(within));
        self.chunks.range(range).find_map(|(n, chunk)| {
            let mask = if *n == chunk_of(from) { u64::MAX << slot_of(from) } else { u64::MAX };
            let slot = (chunk.available & !chunk.here & mask).trailing_zeros() as usize;
            (slot < SLOTS).then(|| n * SLOTS as u64 + slot as u64)
        })
    }

    /// The first message of all whose body is away, available or not.
    pub(super) fn any_away(&self) -> Option<Position> {
        if self.away == 0 {
            return None;
        }
        self.chunks.iter().find_map(|(n, chunk)| {
            let slot = (chunk.present & !chunk.here).trailing_zeros() as usize;
            (slot < SLOTS).then(|| n * SLOTS as u64 + slot as u64)
        })
    }

    /// Whether there is a message at a position whose body is away.
    pub(super) fn is_away(&self, position: Position) -> bool {
        let bit = 1 << slot_of(position);
        self.chunks.get(&chunk_of(position)).is_some_and(|c| c.present & !c.here & bit != 0)
    }

    /// A body is back. False if it is not missed.
    pub(super) fn bring_back(&mut self, position: Position, message: Message) -> bool {
        let (n, slot) = (chunk_of(position), slot_of(position));
        let Some(chunk) = self.chunks.get_mut(&n) else { return false };
        let bit = 1 << slot;
        if chunk.present & bit == 0 || chunk.here & bit != 0 {
            return false;
        }
        if chunk.here == 0 {
            self.resident_chunks.insert(n);
        }
        self.away -= 1;
        self.resident += message.size() as u64 + OVERHEAD;
        chunk.unpack();
        chunk.here |= bit;
        chunk.bodies()[slot] = Some(message);
        if chunk.here == chunk.present {
            chunk.away = None;
        }
        true
    }

    /// A body comes back, or stays, and has no record any more.
    pub(super) fn keep(&mut self, position: Position, message: Message) {
        self.bring_back(position, message);
        self.set_place(position, Seq::NONE);
    }

    /// Whether there is a chunk, but nothing in it.
    pub(super) fn can_shrink(&self) -> bool {
        self.messages == 0 && !self.chunks.is_empty()
    }

    /// Packs what can be: after recovery, which may put messages away in any order.
    pub(super) fn pack(&mut self) {
        self.chunks.values_mut().for_each(|chunk| chunk.pack());
    }

    /// Gives back the last chunk if there is nothing in it.
    pub(super) fn shrink(&mut self) {
        if self.can_shrink() {
            self.chunks.clear();
        }
    }

    /// All of them, for a queue that is deleted. None is left here.
    pub(super) fn take_all(&mut self) -> Entries {
        let end = self.end;
        std::mem::replace(self, Entries { end, ..Entries::new() })
    }

    /// Makes acquired messages available again, for a queue that is deleted.
    pub(super) fn free_all(&mut self) {
        for (n, chunk) in &mut self.chunks {
            if chunk.available == 0 && chunk.present != 0 && *n < self.front {
                self.behind.insert(*n);
            }
            self.available += u64::from((chunk.present & !chunk.available).count_ones());
            chunk.available = chunk.present;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::{message, message_until};

    fn first(e: &mut Entries) -> Option<Position> {
        e.first().map(|e| e.position)
    }

    fn filled(n: u64) -> Entries {
        let mut e = Entries::new();
        for _ in 0..n {
            e.push(message(10), Seq::NONE);
        }
        e
    }

    #[test]
    fn the_earliest_available_is_first_wherever_it_comes_back() {
        let mut e = filled(1000);
        for p in 1..=1000 {
            assert_eq!(first(&mut e), Some(p));
            assert!(e.acquire(p).is_some());
            assert!(e.acquire(p).is_none());
        }
        assert_eq!(first(&mut e), None);
        for p in [900, 5, 300, 301] {
            assert!(e.release(p, p == 300));
            assert!(!e.release(p, true), "it is available already");
        }
        assert_eq!(e.next(6).map(|e| (e.position, e.redelivered)), Some((300, true)));
        assert_eq!(e.next(301).map(|e| (e.position, e.redelivered)), Some((301, false)));
        assert_eq!(e.next(901).map(|e| e.position), None);
        for (p, redelivered) in [(5, false), (300, true), (301, false), (900, false)] {
            assert_eq!(first(&mut e), Some(p));
            assert_eq!(e.remove_available(p).map(|r| r.redelivered), Some(redelivered));
        }
        assert_eq!(first(&mut e), None);
        assert!(e.behind.is_empty());
        assert_eq!(e.push(message(1), Seq::NONE), 1001);
        assert_eq!(first(&mut e), Some(1001));
        assert_eq!((e.messages(), e.available()), (997, 1));
    }

    #[test]
    fn an_old_message_pins_one_chunk() {
        let mut e = filled(1);
        assert!(e.acquire(1).is_some());
        for _ in 0..10_000 {
            let p = e.push(message(10), Seq::NONE);
            assert!(e.remove_available(p).is_some());
        }
        assert_eq!(e.chunks.len(), 2);
        assert_eq!((e.messages(), e.bytes()), (1, 10));
        assert!(e.remove_acquired(1).is_some());
        assert_eq!((e.chunks.len(), e.bytes()), (1, 0));
        e.shrink();
        assert!(e.chunks.is_empty());
        assert_eq!(e.push(message(1), Seq::NONE), 10_002);
        assert_eq!(first(&mut e), Some(10_002));
    }

    #[test]
    fn only_acquired_messages_are_removed_as_such() {
        let mut e = filled(2);
        assert!(e.remove_acquired(1).is_none());
        assert!(e.acquire(1).is_some());
        assert!(e.remove_available(1).is_none());
        assert!(e.remove_acquired(1).is_some());
        assert!(e.remove_acquired(1).is_none());
        assert!(!e.release(1, true));
        for odd in [0, 3, 64, u64::MAX] {
            assert!(e.acquire(odd).is_none());
            assert!(e.remove_acquired(odd).is_none());
            assert!(!e.release(odd, true));
            assert!(odd == 0 || e.next(odd).is_none());
        }
    }

    #[test]
    fn messages_with_a_ttl_are_counted() {
        let mut e = Entries::new();
        e.push(message(1), Seq::NONE);
        e.push(message_until(1, Time(5)), Seq::NONE);
        assert_eq!(e.expiring(), 1);
        assert!(e.remove_available(2).is_some());
        assert_eq!(e.expiring(), 0);
    }

    #[test]
    fn all_are_taken_in_order() {
        let mut e = Entries::new();
        for size in 0..200 {
            e.push(message(size), Seq::NONE);
        }
        assert!(e.acquire(7).is_some());
        assert!(e.remove_available(8).is_some());
        let mut all = e.take_all();
        all.free_all();
        let mut sizes = Vec::new();
        while let Some(position) = first(&mut all) {
            sizes.extend(all.remove_available(position).map(|r| r.size));
        }
        let expected: Vec<usize> = (0..200).filter(|s| *s != 7).collect();
        assert_eq!(sizes, expected);
        assert_eq!((e.messages(), e.bytes(), first(&mut e)), (0, 0, None));
        assert_eq!(e.push(message(1), Seq::NONE), 201);
    }

    #[test]
    fn bodies_go_away_and_come_back() {
        let mut e = Entries::new();
        for n in 1..=1000u64 {
            e.push(message(10), Seq(n));
        }
        assert!(e.acquire(300).is_some());
        let safe = |place: Seq| place <= Seq(500);
        assert_eq!(e.send_away(safe, 2, 10_000), 500 - 127 - 1, "but the front and the acquired");
        assert_eq!(e.send_away(safe, 2, 10_000), 0);
        assert_eq!((e.away(), e.messages(), e.bytes()), (372, 1000, 10_000));
        assert_eq!((e.resident(), e.index()), (628 * (10 + OVERHEAD), 16 * CHUNK));
        assert_eq!(e.chunks.values().filter(|c| c.packed.is_some()).count(), 4);
        e.set_place(260, Seq(2000));
        assert_eq!(
            (e.get(260).map(|e| e.place), e.get(261).map(|e| e.place)),
            (Some(Seq(2000)), Some(Seq(261)))
        );
        assert_eq!(e.first_away(1, 1000), Some(128));
        assert_eq!(e.first_away(1, 60), None);
        assert!(e.acquire(200).is_none(), "its body is not there");
        let removed = e.remove_available(200).expect("it can be dropped all the same");
        assert_eq!((removed.size, removed.place), (10, Seq(200)));
        assert!(removed.message.is_none());
        assert!(!e.bring_back(200, message(10)) && !e.bring_back(127, message(10)));
        for position in 128..=499 {
            assert_eq!(e.bring_back(position, message(10)), position != 200 && position != 300);
        }
        assert_eq!((e.away(), e.resident()), (1, 998 * (10 + OVERHEAD)));
        assert!(e.bring_back(500, message(10)));
        assert!(e.acquire(201).is_some());
    }
}
