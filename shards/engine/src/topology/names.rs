//! Names as hash keys, and hash tables that are the same on every run.

use super::change::QueueDescriptor;
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub(super) use foldhash::quality::FixedState;

/// A hash map without random seed: the engine must replay exactly from its inputs.
pub(crate) type FixedMap<K, V> = HashMap<K, V, FixedState>;
/// A hash set without random seed.
pub(crate) type FixedSet<K> = HashSet<K, FixedState>;

/// A name that hashes and compares as its octets, so that a routing key is looked up without
/// checking that it is UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) Arc<str>);

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

/// A queue under its name, at the cost of one pointer.
#[derive(Clone, Debug)]
pub(super) struct ByName(pub(super) Arc<QueueDescriptor>);

impl Borrow<[u8]> for ByName {
    fn borrow(&self) -> &[u8] {
        self.0.name.as_bytes()
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.as_bytes().hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &ByName) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}
