//! The messages of a queue, at positions they keep until they leave it.
//!
//! Eight bytes and three bits per message, in chunks of 64 that are freed as soon as they are
//! empty: one old message holds on to one chunk, however many pass it. A message is *available*
//! or *acquired*; the first available one is found without passing over the acquired ones: all
//! chunks before `front` that have any are in `behind`. A chunk with journalled messages has eight
//! more bytes per slot: where each one's record stands.

use crate::ids::{Position, Time};
use crate::message::Message;
use fletch_journal::Seq;
use std::collections::{BTreeMap, BTreeSet};

const SLOTS: usize = u64::BITS as usize;

struct Chunk {
    present: u64,
    available: u64,
    redelivered: u64,
    messages: [Option<Message>; SLOTS],
    places: Option<Box<[Seq; SLOTS]>>,
}

/// A message that left its queue.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) message: Message,
    /// It was delivered before.
    pub(super) redelivered: bool,
    /// Where its record stands; [`Seq::NONE`] if it has none.
    pub(super) place: Seq,
}

impl Chunk {
    fn new() -> Box<Chunk> {
        let messages = [const { None }; SLOTS];
        Box::new(Chunk { present: 0, available: 0, redelivered: 0, messages, places: None })
    }

    fn place(&self, slot: usize) -> Seq {
        self.places.as_ref().map_or(Seq::NONE, |places| places[slot])
    }

    fn set_place(&mut self, slot: usize, place: Seq) {
        if place != Seq::NONE || self.places.is_some() {
            self.places.get_or_insert_with(|| Box::new([Seq::NONE; SLOTS]))[slot] = place;
        }
    }
}

fn chunk_of(position: Position) -> u64 {
    position / SLOTS as u64
}

fn slot_of(position: Position) -> usize {
    (position % SLOTS as u64) as usize
}

pub(super) struct Entries {
    /// By position / 64. The last one stays while it has free slots, even if it is empty.
    chunks: BTreeMap<u64, Box<Chunk>>,
    behind: BTreeSet<u64>,
    front: u64,
    /// The position the next message gets.
    end: Position,
    messages: u64,
    bytes: u64,
    available: u64,
    /// Messages with a ttl.
    expiring: u64,
}

impl Entries {
    pub(super) fn new() -> Entries {
        Entries {
            chunks: BTreeMap::new(),
            behind: BTreeSet::new(),
            front: 0,
            end: 1,
            messages: 0,
            bytes: 0,
            available: 0,
            expiring: 0,
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
        self.end = self.end.max(position + 1);
        self.messages += 1;
        self.available += 1;
        self.bytes += message.size() as u64;
        self.expiring += u64::from(message.meta().expires != Time::NEVER);
        let n = chunk_of(position);
        let chunk = match self.chunks.last_entry() {
            Some(last) if *last.key() == n => last.into_mut(),
            _ => self.chunks.entry(n).or_insert_with(Chunk::new),
        };
        let slot = slot_of(position);
        debug_assert!(chunk.present & 1 << slot == 0, "the position is free");
        chunk.present |= 1 << slot;
        chunk.available |= 1 << slot;
        chunk.redelivered |= u64::from(seen) << slot;
        chunk.messages[slot] = Some(message);
        chunk.set_place(slot, place);
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

    /// Every message, whether it was delivered before, and where its record stands, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Position, &Message, bool, Seq)> {
        self.chunks.iter().flat_map(|(n, chunk)| {
            chunk.messages.iter().enumerate().filter_map(move |(slot, message)| {
                let position = n * SLOTS as u64 + slot as u64;
                let redelivered = chunk.redelivered & 1 << slot != 0;
                Some((position, message.as_ref()?, redelivered, chunk.place(slot)))
            })
        })
    }

    /// Where a message's record stands.
    pub(super) fn place(&self, position: Position) -> Option<(&Message, Seq)> {
        let chunk = self.chunks.get(&chunk_of(position))?;
        let slot = slot_of(position);
        Some((chunk.messages[slot].as_ref()?, chunk.place(slot)))
    }

    /// A message's record was written again.
    pub(super) fn set_place(&mut self, position: Position, place: Seq) {
        if let Some(chunk) = self.chunks.get_mut(&chunk_of(position)) {
            chunk.set_place(slot_of(position), place);
        }
    }

    /// The earliest available message.
    pub(super) fn first(&mut self) -> Option<(Position, &Message)> {
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
        let message = chunk.messages.get(slot)?.as_ref()?;
        Some((n * SLOTS as u64 + slot as u64, message))
    }

    /// The earliest available message at `from` or later, and whether it was delivered before.
    pub(super) fn next(&self, from: Position) -> Option<(Position, &Message, bool)> {
        if from >= self.end || self.available == 0 {
            return None;
        }
        self.chunks.range(chunk_of(from)..).find_map(|(n, chunk)| {
            let mask = if *n == chunk_of(from) { u64::MAX << slot_of(from) } else { u64::MAX };
            let slot = (chunk.available & mask).trailing_zeros() as usize;
            let message = chunk.messages.get(slot)?.as_ref()?;
            let redelivered = chunk.redelivered & 1 << slot != 0;
            Some((n * SLOTS as u64 + slot as u64, message, redelivered))
        })
    }

    /// Takes an available message out of the others' sight; tells whether it was delivered before, and
    /// where its record stands.
    pub(super) fn acquire(&mut self, position: Position) -> Option<(&Message, bool, Seq)> {
        let (n, bit) = (chunk_of(position), 1 << slot_of(position));
        let chunk = self.chunks.get_mut(&n)?;
        if chunk.available & bit == 0 {
            return None;
        }
        chunk.available &= !bit;
        self.available -= 1;
        if chunk.available == 0 && n < self.front {
            self.behind.remove(&n);
        }
        let slot = slot_of(position);
        Some((chunk.messages[slot].as_ref()?, chunk.redelivered & bit != 0, chunk.place(slot)))
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

    /// Removes an available message.
    pub(super) fn remove_available(&mut self, position: Position) -> Option<Removed> {
        self.acquire(position)?;
        self.remove_acquired(position)
    }

    /// Removes an acquired message.
    pub(super) fn remove_acquired(&mut self, position: Position) -> Option<Removed> {
        let (n, bit) = (chunk_of(position), 1 << slot_of(position));
        let chunk = self.chunks.get_mut(&n)?;
        if chunk.available & bit != 0 {
            return None;
        }
        let slot = slot_of(position);
        let message = chunk.messages[slot].take()?;
        let (redelivered, place) = (chunk.redelivered & bit != 0, chunk.place(slot));
        chunk.present &= !bit;
        if chunk.present == 0 && n != chunk_of(self.end) {
            self.chunks.remove(&n);
        }
        self.messages -= 1;
        self.bytes -= message.size() as u64;
        self.expiring -= u64::from(message.meta().expires != Time::NEVER);
        Some(Removed { message, redelivered, place })
    }

    /// Whether there is a chunk, but nothing in it.
    pub(super) fn can_shrink(&self) -> bool {
        self.messages == 0 && !self.chunks.is_empty()
    }

    /// Gives back the last chunk if there is nothing in it.
    pub(super) fn shrink(&mut self) {
        if self.can_shrink() {
            self.chunks.clear();
        }
    }

    /// All messages, acquired ones too, in order, each with where it was and where its record stands.
    /// None is left.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (Position, Message, Seq)> + use<> {
        let end = self.end;
        let old = std::mem::replace(self, Entries { end, ..Entries::new() });
        old.chunks.into_iter().flat_map(|(n, chunk)| {
            let Chunk { messages, places, .. } = *chunk;
            messages.into_iter().enumerate().filter_map(move |(slot, message)| {
                let place = places.as_ref().map_or(Seq::NONE, |places| places[slot]);
                Some((n * SLOTS as u64 + slot as u64, message?, place))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::{message, message_until};

    fn first(e: &mut Entries) -> Option<Position> {
        e.first().map(|(p, _)| p)
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
        assert_eq!(e.next(6).map(|(p, _, r)| (p, r)), Some((300, true)));
        assert_eq!(e.next(301).map(|(p, _, r)| (p, r)), Some((301, false)));
        assert_eq!(e.next(901).map(|(p, ..)| p), None);
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
    fn all_are_drained_in_order() {
        let mut e = Entries::new();
        for size in 0..200 {
            e.push(message(size), Seq::NONE);
        }
        assert!(e.acquire(7).is_some());
        assert!(e.remove_available(8).is_some());
        let sizes: Vec<usize> = e.drain().map(|(_, m, _)| m.size()).collect();
        let expected: Vec<usize> = (0..200).filter(|s| *s != 7).collect();
        assert_eq!(sizes, expected);
        assert_eq!((e.messages(), e.bytes(), first(&mut e)), (0, 0, None));
        assert_eq!(e.push(message(1), Seq::NONE), 201);
    }
}
