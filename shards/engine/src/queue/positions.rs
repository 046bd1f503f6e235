//! A sorted set of positions: a bit for each, in chunks of 64.

use crate::ids::Position;
use std::collections::BTreeMap;

const BITS: u64 = u64::BITS as u64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Positions(BTreeMap<u64, u64>);

impl Positions {
    pub(super) fn insert(&mut self, position: Position) {
        let (chunk, bit) = (position / BITS, 1 << (position % BITS));
        match self.0.last_entry() {
            Some(mut last) if *last.key() == chunk => *last.get_mut() |= bit,
            _ => *self.0.entry(chunk).or_insert(0) |= bit,
        }
    }

    pub(super) fn remove(&mut self, position: Position) {
        let (chunk, bit) = (position / BITS, 1 << (position % BITS));
        if let Some(bits) = self.0.get_mut(&chunk) {
            *bits &= !bit;
            if *bits == 0 {
                self.0.remove(&chunk);
            }
        }
    }

    pub(super) fn first(&self) -> Option<Position> {
        let (chunk, bits) = self.0.first_key_value()?;
        Some(chunk * BITS + u64::from(bits.trailing_zeros()))
    }

    /// The first at `from` or later.
    pub(super) fn next(&self, from: Position) -> Option<Position> {
        self.0.range(from / BITS..).find_map(|(chunk, bits)| {
            let mask = if *chunk == from / BITS { u64::MAX << (from % BITS) } else { u64::MAX };
            let bit = (bits & mask).trailing_zeros();
            (bit < u64::BITS).then(|| chunk * BITS + u64::from(bit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_in_order() {
        let mut set = Positions::default();
        for position in [200, 3, 64, 63, 200] {
            set.insert(position);
        }
        assert_eq!(set.first(), Some(3));
        set.remove(3);
        set.remove(4);
        assert_eq!((set.first(), set.next(64), set.next(65)), (Some(63), Some(64), Some(200)));
        assert_eq!(set.next(201), None);
        set.remove(63);
        set.remove(64);
        set.remove(200);
        assert!(set.first().is_none() && set.0.is_empty());
    }
}
