//! Values with a name each, and a number by which they are found without it: the keys of last value queues,
//! the groups of others.

use foldhash::fast::FixedState;
use slab::Slab;
use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// So many stay when they are not used any more: names come back.
const KEPT: usize = 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Named<T> {
    numbers: HashMap<Arc<[u8]>, u32, FixedState>,
    all: Slab<(Arc<[u8]>, T)>,
}

impl<T: Default> Named<T> {
    pub(super) fn new() -> Named<T> {
        Named { numbers: HashMap::default(), all: Slab::new() }
    }

    /// The number of this name, which may be new.
    pub(super) fn number(&mut self, name: &[u8]) -> u32 {
        if let Some(number) = self.find(name) {
            return number;
        }
        let name: Arc<[u8]> = name.into();
        let number = self.all.insert((Arc::clone(&name), T::default())) as u32;
        self.numbers.insert(name, number);
        number
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &T)> {
        self.all.iter().map(|(_, (name, value))| (name, value))
    }

    /// Nobody uses this one any more. It goes if there are many.
    pub(super) fn unused(&mut self, number: u32) {
        if self.all.len() > KEPT {
            let (name, _) = self.all.remove(number as usize);
            self.numbers.remove(&name);
        }
    }

    /// Nobody uses any: a crowd that has left must not keep its tables.
    pub(super) fn all_unused(&mut self) {
        if self.numbers.capacity() > 4 * KEPT {
            *self = Named::new();
        }
    }
}

impl<T> Index<u32> for Named<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.all[number as usize].1
    }
}

impl<T> IndexMut<u32> for Named<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.all[number as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_leaves_nothing() {
        let mut named: Named<u8> = Named::new();
        let first = named.number(b"a");
        named[first] = 7;
        assert_eq!((named.number(b"a"), named.find(b"b"), named[first]), (first, None, 7));
        let many: Vec<u32> = (0..5000u32).map(|n| named.number(&n.to_be_bytes())).collect();
        many.into_iter().for_each(|number| named.unused(number));
        assert_eq!(named.iter().count(), KEPT);
        assert_eq!(named.find(b"a"), Some(first));
        named.all_unused();
        assert_eq!((named.iter().count(), named.numbers.capacity()), (0, 0));
    }
}
