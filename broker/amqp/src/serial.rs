//! Serial numbers (RFC 1982) and sets of them: the ids of commands in a 0-10 session.
//!
//! A [`CommandId`] wraps at 2^32, and two ids compare only while they are less than 2^31 apart.
//! A [`SequenceSet`] holds ids as sorted, coalesced ranges; each operation costs O(ranges), never
//! O(ids), because one range of eight octets may stand for two thousand million ids.

use std::cmp::Ordering;
use std::fmt;

use smallvec::SmallVec;

use crate::limits::MAX_SEQUENCE_RANGES;
use crate::wire::{DecodeError, EncodeError, Reader};

/// The id of a command: a `sequence-no`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CommandId(pub u32);

impl CommandId {
    /// The id `count` commands later.
    #[must_use]
    pub const fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The id `count` commands earlier.
    #[must_use]
    pub const fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// The id after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.add(1)
    }

    /// How far this id is after `earlier`: negative when it is before.
    pub const fn distance(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// Serial order. Ids exactly 2^31 apart have none; here the difference reads as negative.
    pub fn compare(self, other: Self) -> Ordering {
        self.distance(other).cmp(&0)
    }

    /// Whether this id comes before `other`.
    pub const fn is_before(self, other: Self) -> bool {
        self.distance(other) < 0
    }

    /// Whether this id comes after `other`.
    pub const fn is_after(self, other: Self) -> bool {
        self.distance(other) > 0
    }

    /// Whether this id is `other` or comes before it.
    pub const fn is_at_most(self, other: Self) -> bool {
        self.distance(other) <= 0
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u32> for CommandId {
    fn from(id: u32) -> Self {
        Self(id)
    }
}

/// Ids from `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdRange {
    /// First id.
    pub low: CommandId,
    /// Last id, never before `low`.
    pub high: CommandId,
}

impl IdRange {
    /// A range, if `high` is not before `low`.
    pub fn new(low: CommandId, high: CommandId) -> Option<Self> {
        (!high.is_before(low)).then_some(Self { low, high })
    }

    /// How many ids; at least one.
    pub const fn count(self) -> u32 {
        self.high.0.wrapping_sub(self.low.0).wrapping_add(1)
    }

    /// Whether the range holds `id`.
    pub const fn contains(self, id: CommandId) -> bool {
        self.low.is_at_most(id) && id.is_at_most(self.high)
    }

    /// The ids in order. A peer decides how many: see that something else bounds it.
    pub fn ids(self) -> impl Iterator<Item = CommandId> {
        (0..self.count()).map(move |step| self.low.add(step))
    }
}

/// A set of command ids, as sorted ranges that neither overlap nor touch.
///
/// All ids of one set lie within 2^31 of each other, as those of one session's window do: decoding
/// refuses anything wider. Up to four ranges need no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SequenceSet {
    ranges: SmallVec<[IdRange; 4]>,
}

impl SequenceSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of one range; empty if `high` is before `low`.
    pub fn range(low: CommandId, high: CommandId) -> Self {
        let mut set = Self::new();
        set.add_range(low, high);
        set
    }

    /// Whether there is no id in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Empties the set, keeping its memory.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }

    /// The ranges in order.
    pub fn ranges(&self) -> &[IdRange] {
        &self.ranges
    }

    /// The lowest id.
    pub fn first(&self) -> Option<CommandId> {
        self.ranges.first().map(|range| range.low)
    }

    /// The highest id.
    pub fn last(&self) -> Option<CommandId> {
        self.ranges.last().map(|range| range.high)
    }

    /// How many ids the set holds.
    pub fn id_count(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.count())).sum()
    }

    /// At most `limit` ids in order: one octet string of a peer may name thousands of millions.
    pub fn ids(&self, limit: usize) -> impl Iterator<Item = CommandId> {
        self.ranges.iter().flat_map(|range| range.ids()).take(limit)
    }

    /// Whether `id` is in the set.
    pub fn contains(&self, id: CommandId) -> bool {
        let at = self.ranges.partition_point(|range| range.high.is_before(id));
        self.ranges.get(at).is_some_and(|range| range.low.is_at_most(id))
    }

    /// Adds one id.
    pub fn add(&mut self, id: CommandId) {
        self.add_range(id, id);
    }

    /// Adds the ids from `low` to `high`; nothing if `high` is before `low`.
    pub fn add_range(&mut self, low: CommandId, high: CommandId) {
        let Some(mut new) = IdRange::new(low, high) else { return };
        // The common case: ids complete in order, so the new range extends or follows the last.
        match self.ranges.last_mut() {
            None => return self.ranges.push(new),
            Some(last) if last.high.next() == low => {
                last.high = high;
                return;
            }
            Some(last) if last.high.is_before(low) => return self.ranges.push(new),
            Some(_) => {}
        }
        // All ranges that overlap or touch the new one melt into it.
        let from = self.ranges.partition_point(|range| range.high.next().is_before(low));
        let to =
            from + self.ranges[from..].partition_point(|range| range.low.is_at_most(high.next()));
        if from == to {
            self.ranges.insert(from, new);
            return;
        }
        if self.ranges[from].low.is_before(new.low) {
            new.low = self.ranges[from].low;
        }
        if self.ranges[to - 1].high.is_after(new.high) {
            new.high = self.ranges[to - 1].high;
        }
        self.ranges[from] = new;
        self.ranges.drain(from + 1..to);
    }

    /// Adds every id of `other`.
    pub fn union(&mut self, other: &Self) {
        if self.is_empty() {
            self.ranges.extend_from_slice(&other.ranges);
            return;
        }
        for range in &other.ranges {
            self.add_range(range.low, range.high);
        }
    }

    /// Takes out one id.
    pub fn remove(&mut self, id: CommandId) {
        self.remove_range(id, id);
    }

    /// Takes out the ids from `low` to `high`; nothing if `high` is before `low`.
    pub fn remove_range(&mut self, low: CommandId, high: CommandId) {
        let Some(cut) = IdRange::new(low, high) else { return };
        let from = self.ranges.partition_point(|range| range.high.is_before(cut.low));
        let to = from + self.ranges[from..].partition_point(|range| range.low.is_at_most(cut.high));
        if from == to {
            return;
        }
        let left = IdRange { low: self.ranges[from].low, high: cut.low.sub(1) };
        let right = IdRange { low: cut.high.next(), high: self.ranges[to - 1].high };
        let keep_left = left.low.is_before(cut.low);
        let keep_right = right.high.is_after(cut.high);
        match (keep_left, keep_right) {
            (true, true) if to - from == 1 => {
                self.ranges[from] = left;
                self.ranges.insert(to, right);
            }
            _ => {
                let (mut from, mut to) = (from, to);
                if keep_left {
                    self.ranges[from] = left;
                    from += 1;
                }
                if keep_right {
                    to -= 1;
                    self.ranges[to] = right;
                }
                self.ranges.drain(from..to);
            }
        }
    }

    /// Takes out every id of `other`.
    pub fn subtract(&mut self, other: &Self) {
        for range in &other.ranges {
            self.remove_range(range.low, range.high);
        }
    }

    /// The set as sets that each fit one `sequence-set` on the wire.
    pub fn chunks(&self) -> impl Iterator<Item = Self> {
        self.ranges.chunks(MAX_SEQUENCE_RANGES).map(|part| Self { ranges: part.into() })
    }

    /// Octets that [`Self::encode`] writes.
    pub fn encoded_len(&self) -> usize {
        2 + 8 * self.ranges.len()
    }

    /// Appends the set as a `sequence-set`. A set of more than [`MAX_SEQUENCE_RANGES`] ranges does
    /// not fit one: send its [`Self::chunks`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let len = 8 * self.ranges.len();
        let size = u16::try_from(len)
            .map_err(|_| EncodeError::TooLong { len, max: 8 * MAX_SEQUENCE_RANGES })?;
        out.extend_from_slice(&size.to_be_bytes());
        for range in &self.ranges {
            out.extend_from_slice(&range.low.0.to_be_bytes());
            out.extend_from_slice(&range.high.0.to_be_bytes());
        }
        Ok(())
    }

    /// Reads a `sequence-set`. The ranges may come in any order and overlap; a reversed range, and
    /// ranges too far apart to be compared, are errors.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let size = reader.u16()?;
        if !size.is_multiple_of(8) {
            return Err(DecodeError::SequenceSetSize(size));
        }
        let mut body = Reader::new(reader.take(usize::from(size))?);
        let mut set = Self::new();
        set.ranges.reserve(usize::from(size / 8));
        let mut sorted = true;
        while !body.is_empty() {
            let (low, high) = (CommandId(body.u32()?), CommandId(body.u32()?));
            let Some(range) = IdRange::new(low, high) else {
                return Err(DecodeError::ReversedRange { low: low.0, high: high.0 });
            };
            if let Some(last) = set.ranges.last_mut() {
                if last.high.next() == low {
                    last.high = high;
                    // Ranges that go on touching may run around the whole circle of numbers.
                    if high.is_before(last.low) {
                        return Err(DecodeError::SequenceSetTooWide);
                    }
                    continue;
                }
                sorted &= last.high.is_before(low);
            }
            set.ranges.push(range);
        }
        if !sorted || set.is_wide() {
            set.normalise()?;
        }
        Ok(set)
    }

    /// Whether the ranges, taken in order, span 2^31 ids or more.
    fn is_wide(&self) -> bool {
        let mut span = 0u64;
        let mut at = self.first().unwrap_or_default();
        for range in &self.ranges {
            span += u64::from(range.high.0.wrapping_sub(at.0));
            at = range.high;
        }
        span >= 1 << 31
    }

    /// Sorts and coalesces ranges that came in any order, if they can be compared at all. Sorting
    /// once keeps a set of thousands of descending ranges from costing their square.
    fn normalise(&mut self) -> Result<(), DecodeError> {
        let Some(base) = self.first() else { return Ok(()) };
        self.ranges.sort_unstable_by_key(|range| range.low.distance(base));
        let mut kept = 0;
        for next in 1..self.ranges.len() {
            let range = self.ranges[next];
            let last = &mut self.ranges[kept];
            // Distances are taken from `base` in 64 bits, where nothing wraps.
            let low = i64::from(range.low.distance(base));
            let high = low + i64::from(range.count()) - 1;
            let last_low = i64::from(last.low.distance(base));
            let last_high = last_low + i64::from(last.count()) - 1;
            if low <= last_high + 1 {
                if high > last_high {
                    last.high = range.high;
                }
                if high - last_low >= 1 << 31 {
                    return Err(DecodeError::SequenceSetTooWide);
                }
            } else {
                kept += 1;
                self.ranges[kept] = range;
            }
        }
        self.ranges.truncate(kept + 1);
        if self.is_wide() { Err(DecodeError::SequenceSetTooWide) } else { Ok(()) }
    }
}

impl Extend<CommandId> for SequenceSet {
    fn extend<T: IntoIterator<Item = CommandId>>(&mut self, ids: T) {
        for id in ids {
            self.add(id);
        }
    }
}

impl FromIterator<CommandId> for SequenceSet {
    fn from_iter<T: IntoIterator<Item = CommandId>>(ids: T) -> Self {
        let mut set = Self::new();
        set.extend(ids);
        set
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}-{}", range.low, range.high)?;
        }
        f.write_str("}")
    }
}
