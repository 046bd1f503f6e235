//! What has happened in a run: hashed whole, the end of it kept for the report of a failure.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher;

/// Events kept for a failure's report.
const KEPT: usize = 60;

/// One thing that happened. `a` and `b` are what the kind of thing makes of them.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Entry {
    pub(crate) step: u64,
    pub(crate) shard: u16,
    pub(crate) what: &'static str,
    pub(crate) a: u64,
    pub(crate) b: u64,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { step, shard, what, a, b } = self;
        write!(f, "{step:>6} shard {shard}  {what:<22} {} {b}", Short(*a))
    }
}

/// Session ids have shard and connection above their low 24 bits.
struct Short(u64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, connection) = (self.0 >> 54, self.0 >> 24 & 0x3fff_ffff);
        if self.0 >> 24 == 0 {
            write!(f, "{}", self.0)
        } else {
            write!(f, "session {shard}.{connection}")
        }
    }
}

/// Situations a run has come to, and how often: what was never reached was never tested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    pub(crate) fn hit(&mut self, what: &'static str, reached: bool) {
        *self.0.entry(what).or_default() += u64::from(reached);
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Marks) {
        for (what, n) in &other.0 {
            *self.0.entry(what).or_default() += n;
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, n)| (*what, *n))
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, n) in self.iter() {
            writeln!(f, "{n:>10} {what}")?;
        }
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    last: VecDeque<Entry>,
    print: bool,
    pub(crate) step: u64,
}

impl Trace {
    pub(crate) fn new(print: bool) -> Trace {
        Trace { hash: 0, last: VecDeque::with_capacity(KEPT), print, step: 0 }
    }

    pub(crate) fn add(&mut self, shard: u16, what: &'static str, a: u64, b: u64) {
        let entry = Entry { step: self.step, shard, what, a, b };
        self.hash = foldhash::quality::FixedState::with_seed(self.hash).hash_one(entry);
        if self.print {
            println!("{entry}");
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(entry);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn last(&self) -> impl Iterator<Item = &Entry> {
        self.last.iter()
    }
}
