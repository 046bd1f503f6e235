//! A small number for each of some messages of a queue, in chunks of 64 positions.

use super::packed::SLOTS;
use crate::ids::Position;
use crate::topology::FixedMap;

/// Room for so many chunks stays.
const KEPT: usize = 64;

#[derive(Debug)]
struct Chunk {
    present: u64,
    tags: [u32; SLOTS],
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tags {
    /// By position / 64; none of them empty.
    older: FixedMap<u64, Box<Chunk>>,
    /// The chunk behind them, which is where messages come, and in a queue that is emptied as fast as it is
    /// filled where they go. It may be empty.
    newest: (u64, Box<Chunk>),
}

impl Default for Tags {
    fn default() -> Tags {
        Tags { older: FixedMap::default(), newest: (0, Chunk::new()) }
    }
}

impl Chunk {
    fn new() -> Box<Chunk> {
        Box::new(Chunk { present: 0, tags: [0; SLOTS] })
    }

    fn insert(&mut self, slot: usize, tag: u32) {
        self.present |= 1 << slot;
        self.tags[slot] = tag;
    }

    fn get(&self, slot: usize) -> Option<u32> {
        (self.present & 1 << slot != 0).then(|| self.tags[slot])
    }

    fn remove(&mut self, slot: usize) -> Option<u32> {
        let tag = self.get(slot);
        self.present &= !(1 << slot);
        tag
    }
}

fn split(position: Position) -> (u64, usize) {
    (position / SLOTS as u64, (position % SLOTS as u64) as usize)
}

impl Tags {
    pub(super) fn is_empty(&self) -> bool {
        self.newest.1.present == 0 && self.older.is_empty()
    }

    #[inline]
    pub(super) fn insert(&mut self, position: Position, tag: u32) {
        let (n, slot) = split(position);
        if n > self.newest.0 {
            self.begin(n);
        }
        if n == self.newest.0 {
            self.newest.1.insert(slot, tag);
        } else {
            self.older.entry(n).or_insert_with(Chunk::new).insert(slot, tag);
        }
    }

    fn begin(&mut self, n: u64) {
        let before = std::mem::replace(&mut self.newest.0, n);
        if self.newest.1.present != 0 {
            let chunk = std::mem::replace(&mut self.newest.1, Chunk::new());
            self.older.insert(before, chunk);
        }
    }

    #[inline]
    pub(super) fn get(&self, position: Position) -> Option<u32> {
        let (n, slot) = split(position);
        match n == self.newest.0 {
            true => self.newest.1.get(slot),
            false => self.older.get(&n)?.get(slot),
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, position: Position) -> Option<u32> {
        let (n, slot) = split(position);
        if n == self.newest.0 {
            return self.newest.1.remove(slot);
        }
        let chunk = self.older.get_mut(&n)?;
        let tag = chunk.remove(slot);
        if chunk.present == 0 {
            self.older.remove(&n);
            if self.older.is_empty() && self.older.capacity() > KEPT {
                // A crowd that has left must not keep its table.
                self.older = FixedMap::default();
            }
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map(steps: Vec<(bool, u8, u32)>) {
            let (mut tags, mut model) = (Tags::default(), BTreeMap::new());
            for (insert, position, tag) in steps {
                // Four chunks, and some far away.
                let position = u64::from(position) << (position & 4);
                prop_assert_eq!(tags.get(position), model.get(&position).copied());
                match insert {
                    true => {
                        tags.insert(position, tag);
                        model.insert(position, tag);
                    }
                    false => prop_assert_eq!(tags.remove(position), model.remove(&position)),
                }
                prop_assert_eq!(tags.is_empty(), model.is_empty());
                prop_assert!(tags.older.len() <= model.len());
            }
        }
    }
}
