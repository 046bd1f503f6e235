//! A sorted set of positions: a bit for each, in chunks of 64.

use crate::ids::Position;
use std::collections::BTreeMap;

const BITS: u64 = u64::BITS as u64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Positions {
    /// None of them empty.
    older: BTreeMap<u64, u64>,
    /// The chunk behind them, which is where messages come, and in a queue that is emptied as fast as it is
    /// filled where they go. It may be empty.
    newest: (u64, u64),
}

fn split(position: Position) -> (u64, u64) {
    (position / BITS, 1 << (position % BITS))
}

impl Positions {
    #[inline]
    pub(super) fn insert(&mut self, position: Position) {
        let (chunk, bit) = split(position);
        if chunk > self.newest.0 {
            let (before, bits) = std::mem::replace(&mut self.newest, (chunk, 0));
            if bits != 0 {
                self.older.insert(before, bits);
            }
        }
        if chunk == self.newest.0 {
            self.newest.1 |= bit;
        } else {
            *self.older.entry(chunk).or_insert(0) |= bit;
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, position: Position) {
        let (chunk, bit) = split(position);
        if chunk == self.newest.0 {
            self.newest.1 &= !bit;
        } else if let Some(bits) = self.older.get_mut(&chunk) {
            *bits &= !bit;
            if *bits == 0 {
                self.older.remove(&chunk);
            }
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.newest.1 == 0 && self.older.is_empty()
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Position> {
        let older = self.older.first_key_value().map(|(chunk, bits)| (*chunk, *bits));
        let (chunk, bits) = older.unwrap_or(self.newest);
        (bits != 0).then(|| chunk * BITS + u64::from(bits.trailing_zeros()))
    }

    /// The first at `from` or later.
    pub(super) fn next(&self, from: Position) -> Option<Position> {
        let older = self.older.range(from / BITS..).map(|(chunk, bits)| (*chunk, *bits));
        let newest = Some(self.newest).filter(|(chunk, _)| *chunk >= from / BITS);
        older.chain(newest).find_map(|(chunk, bits)| {
            let mask = if chunk == from / BITS { u64::MAX << (from % BITS) } else { u64::MAX };
            let bit = (bits & mask).trailing_zeros();
            (bit < u64::BITS).then(|| chunk * BITS + u64::from(bit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_sorted_set(steps: Vec<(bool, u8, u16)>) {
            let (mut set, mut model) = (Positions::default(), BTreeSet::new());
            for (insert, position, from) in steps {
                // Four chunks, and some far away.
                let position = u64::from(position) << (position & 4);
                match insert {
                    true => {
                        set.insert(position);
                        model.insert(position);
                    }
                    false => {
                        set.remove(position);
                        model.remove(&position);
                    }
                }
                let from = u64::from(from) >> (from & 7);
                prop_assert_eq!(set.first(), model.first().copied());
                prop_assert_eq!(set.next(from), model.range(from..).next().copied());
                prop_assert_eq!(set.is_empty(), model.is_empty());
                prop_assert!(set.older.len() <= model.len());
            }
        }
    }
}
