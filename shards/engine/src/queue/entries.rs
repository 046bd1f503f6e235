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

use crate::annotations::Annotations;
use crate::ids::{Position, Time};
use crate::message::Message;
use crate::queue::packed::{Packed, SLOTS};
use fletch_journal::Seq;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    /// It is among the resident chunks.
    resident: bool,
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

/// What consumers did with a message before.
#[derive(Default)]
struct Returned {
    /// How often delivering it has failed after the first time.
    more: u32,
    /// What they said of it.
    annotations: Option<Arc<Annotations>>,
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
    /// What consumers have said of it.
    pub(super) annotations: Option<Arc<Annotations>>,
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
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) position: Position,
    chunk: &'a Chunk,
}

impl<'a> Entry<'a> {
    fn slot(self) -> usize {
        slot_of(self.position)
    }

    pub(super) fn body(self) -> Body<'a> {
        self.chunk.body(self.slot()).map_or_else(
            || {
                let away = self.chunk.away.as_ref().map(|away| away.expires);
                let packed = self.chunk.packed.as_ref().map(|packed| packed.expires);
                Body::Away { expires: packed.or(away).unwrap_or(Time::NEVER) }
            },
            Body::Here,
        )
    }

    pub(super) fn size(self) -> usize {
        self.chunk.size(self.slot())
    }

    /// Whether it was delivered before.
    pub(super) fn redelivered(self) -> bool {
        self.chunk.redelivered & 1 << self.slot() != 0
    }

    /// Where its record stands; [`Seq::NONE`] if it has none.
    pub(super) fn place(self) -> Seq {
        self.chunk.place(self.slot())
    }
}

impl Chunk {
    fn new() -> Box<Chunk> {
        Box::new(Chunk {
            present: 0,
            available: 0,
            redelivered: 0,
            here: 0,
            resident: false,
            messages: None,
            places: None,
            away: None,
            packed: None,
        })
    }

    fn bodies(&mut self) -> &mut Bodies {
        self.messages.get_or_insert_with(|| Box::new([const { None }; SLOTS]))
    }

    #[inline]
    fn body(&self, slot: usize) -> Option<&Message> {
        self.messages.as_ref()?[slot].as_ref()
    }

    #[inline]
    fn size(&self, slot: usize) -> usize {
        match (self.body(slot), &self.packed) {
            (Some(message), _) => message.size(),
            (None, Some(packed)) => packed.size(slot),
            (None, None) => self.away.as_ref().map_or(0, |away| away.sizes[slot] as usize),
        }
    }

    #[inline]
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
    #[inline]
    fn unpack(&mut self) {
        if let Some(packed) = self.packed.take() {
            self.spread(&packed);
        }
    }

    fn spread(&mut self, packed: &Packed) {
        let (mut places, mut sizes) = ([Seq::NONE; SLOTS], [0; SLOTS]);
        for slot in slots(self.present) {
            (places[slot], sizes[slot]) = (packed.place(slot), packed.size(slot) as u32);
        }
        self.places = Some(Box::new(places));
        self.away = Some(Box::new(Away { sizes, expires: packed.expires }));
    }

    #[inline]
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
        Entry { position: n * SLOTS as u64 + slot as u64, chunk: self }
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
    /// The chunks with messages in memory. The last one stays while it has free slots, as it does in `chunks`:
    /// in a queue that is emptied as fast as it is filled it would come and go with each message.
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
    /// Of messages that came back: what there is to know besides that.
    returned: BTreeMap<Position, Returned>,
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
            returned: BTreeMap::new(),
        }
    }

    /// How often a message has been delivered and came back, as far as is known.
    #[inline]
    pub(super) fn failures(&self, position: Position, redelivered: bool) -> u32 {
        match redelivered {
            false => 0,
            true => {
                self.returned.get(&position).map_or(0, |returned| returned.more).saturating_add(1)
            }
        }
    }

    /// What consumers have said of a message.
    #[inline]
    pub(super) fn annotations(&self, position: Position) -> Option<Arc<Annotations>> {
        match self.returned.is_empty() {
            true => None,
            false => self.returned.get(&position)?.annotations.clone(),
        }
    }

    /// A consumer says more of a message that it has.
    pub(super) fn annotate(&mut self, position: Position, annotations: &Arc<Annotations>) {
        let acquired = self
            .chunks
            .get(&chunk_of(position))
            .is_some_and(|chunk| chunk.present & !chunk.available & 1 << slot_of(position) != 0);
        if !acquired || annotations.is_empty() {
            return;
        }
        match &mut self.returned.entry(position).or_default().annotations {
            Some(older) => Arc::make_mut(older).merge(annotations),
            none => *none = Some(Arc::clone(annotations)),
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

    #[inline]
    pub(super) fn push(&mut self, message: Message, place: Seq) -> Position {
        let position = self.end;
        self.put(position, message, place, false);
        position
    }

    /// Puts a message at a position that is free, as recovery does, in whatever order.
    #[inline]
    pub(super) fn put(&mut self, position: Position, message: Message, place: Seq, seen: bool) {
        let (size, expires) = (message.size(), message.meta().expires);
        self.resident += size as u64 + OVERHEAD;
        let chunk = self.place_at(position, size, expires, place, seen);
        let slot = slot_of(position);
        chunk.here |= 1 << slot;
        chunk.bodies()[slot] = Some(message);
        if !std::mem::replace(&mut chunk.resident, true) {
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
            self.resident_chunks.remove(&n);
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
    #[inline]
    pub(super) fn first(&mut self) -> Option<Entry<'_>> {
        if self.available == 0 {
            return None;
        }
        let (n, chunk) = match self.behind.first() {
            Some(n) => (*n, self.chunks.get(n)?),
            None => match self.chunks.get(&self.front).filter(|chunk| chunk.available != 0) {
                Some(chunk) => (self.front, chunk),
                None => {
                    let mut from_front = self.chunks.range(self.front..);
                    let (n, chunk) = from_front.find(|(_, chunk)| chunk.available != 0)?;
                    self.front = *n;
                    (*n, chunk)
                }
            },
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
    #[inline]
    pub(super) fn acquire(&mut self, position: Position) -> Option<Entry<'_>> {
        let (n, slot) = (chunk_of(position), slot_of(position));
        let chunk = self.chunks.get_mut(&n)?;
        let bit = 1 << slot;
        if chunk.available & chunk.here & bit == 0 {
            return None;
        }
        chunk.available &= !bit;
        self.available -= 1;
        if chunk.available == 0 && n < self.front {
            self.behind.remove(&n);
        }
        Some(chunk.entry(n, slot))
    }

    /// The same with a message wherever it is.
    #[inline]
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
        if set_redelivered && chunk.redelivered & bit != 0 {
            let returned = self.returned.entry(position).or_default();
            returned.more = returned.more.saturating_add(1);
        }
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
    #[inline]
    pub(super) fn remove_acquired(&mut self, position: Position) -> Option<Removed> {
        let (n, bit) = (chunk_of(position), 1 << slot_of(position));
        let chunk = self.chunks.get_mut(&n)?;
        if chunk.present & !chunk.available & bit == 0 {
            return None;
        }
        let slot = slot_of(position);
        let (size, place) = (chunk.size(slot), chunk.place(slot));
        let redelivered = chunk.redelivered & bit != 0;
        let returned = match self.returned.is_empty() {
            true => None,
            false => self.returned.remove(&position),
        };
        let annotations = returned.and_then(|returned| returned.annotations);
        let message = chunk.messages.as_mut().and_then(|all| all[slot].take());
        chunk.present &= !bit;
        let is_last = n == chunk_of(self.end);
        if chunk.here == bit && !is_last {
            chunk.resident = false;
            self.resident_chunks.remove(&n);
        }
        chunk.here &= !bit;
        if chunk.present == 0 && !is_last {
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
        Some(Removed { message, size, redelivered, place, annotations })
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
                chunk.resident = false;
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
        if !std::mem::replace(&mut chunk.resident, true) {
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
            self.resident_chunks.clear();
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
mod tests;
