//! The message-ids that a queue remembers, as its journal carries them and as recovery finds them.
//!
//! ```text
//! remembered  most u32 | then for each id: number u64 | length u16 | id
//! ```
//!
//! Little endian. `most` is how many the queue remembers, so that recovery keeps no more; numbers grow as messages come.

use super::codec::CodecError;
use crate::identity::Identity;
use fletch_journal::Seq;
use std::collections::{BTreeMap, BTreeSet};

const NUMBER: usize = 8;
const LENGTH: usize = 2;
const MOST: usize = 4;

/// Bytes that an id takes in the journal.
pub(crate) fn id_len(id: &Identity) -> usize {
    NUMBER + LENGTH + id.len()
}

/// The payload that says that a queue, which remembers so many, does so with these.
pub(crate) fn encode<'a>(most: u32, ids: impl Iterator<Item = (u64, &'a [u8])>) -> Vec<u8> {
    let mut out = most.to_le_bytes().to_vec();
    for (number, id) in ids {
        out.extend_from_slice(&number.to_le_bytes());
        // No longer than an id may be.
        out.extend_from_slice(&(id.len() as u16).to_le_bytes());
        out.extend_from_slice(id);
    }
    out
}

/// What such a payload says.
pub(crate) fn decode(payload: &[u8]) -> Result<(u32, Ids<'_>), CodecError> {
    let (most, rest) = payload.split_first_chunk::<MOST>().ok_or(CodecError::Short)?;
    Ok((u32::from_le_bytes(*most), Ids(rest)))
}

/// Numbers and ids; ends after the first that cannot be read.
#[derive(Clone, Debug)]
pub(crate) struct Ids<'a>(&'a [u8]);

impl<'a> Ids<'a> {
    fn take(&mut self) -> Option<(u64, &'a [u8])> {
        let (number, rest) = self.0.split_first_chunk::<NUMBER>()?;
        let (len, rest) = rest.split_first_chunk::<LENGTH>()?;
        let (id, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        self.0 = rest;
        Some((u64::from_le_bytes(*number), id))
    }
}

impl<'a> Iterator for Ids<'a> {
    type Item = Result<(u64, &'a [u8]), CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let taken = self.take().ok_or(CodecError::Short);
        if taken.is_err() {
            self.0 = &[];
        }
        Some(taken)
    }
}

/// What recovery has found of a queue's ids: the last ones, and where the record of each stands.
#[derive(Debug, Default)]
pub(crate) struct RestoredIds {
    most: u32,
    by_number: BTreeMap<u64, (Identity, Seq)>,
    /// The same ids, as soon as somebody asks.
    known: Option<BTreeSet<Identity>>,
}

impl RestoredIds {
    /// The queue remembers so many.
    pub(crate) fn set_most(&mut self, most: u32) {
        self.most = most;
    }

    /// How many the queue remembers.
    pub(crate) fn most(&self) -> u32 {
        self.most
    }

    /// A record has this one; a newer record of one that was found takes its place.
    pub(crate) fn add(&mut self, number: u64, id: &[u8], place: Seq) {
        if let Some(known) = &mut self.known {
            known.insert(id.into());
        }
        self.by_number.insert(number, (id.into(), place));
        while self.by_number.len() > self.most as usize {
            self.by_number.pop_first();
        }
    }

    /// The number of the next one.
    pub(crate) fn next_number(&self) -> u64 {
        self.by_number.last_key_value().map_or(1, |(last, _)| last + 1)
    }

    /// Whether the queue has had it.
    pub(crate) fn contains(&mut self, id: &Identity) -> bool {
        let all = || self.by_number.values().map(|(id, _)| id.clone()).collect();
        self.known.get_or_insert_with(all).contains(id)
    }

    /// All of them, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Identity, Seq)> {
        self.by_number.iter().map(|(number, (id, place))| (*number, id, *place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_as_they_were() {
        let ids: [(u64, &[u8]); 3] = [(1, b"one"), (5, b""), (u64::MAX, &[7; 256])];
        let payload = encode(9, ids.iter().copied());
        let (most, read) = decode(&payload).expect("whole");
        assert_eq!((most, read.collect::<Result<Vec<_>, _>>()), (9, Ok(ids.to_vec())));
        let len = ids.iter().map(|(_, id)| id_len(&(*id).into())).sum::<usize>();
        assert_eq!(payload.len(), MOST + len);
        for cut in 0..payload.len() {
            let is_whole =
                decode(&payload[..cut]).is_ok_and(|(_, mut ids)| ids.all(|id| id.is_ok()));
            let ends = [MOST, MOST + 13, MOST + 23];
            assert_eq!(is_whole, ends.contains(&cut), "{cut}");
        }
    }

    #[test]
    fn the_last_ones_are_kept_by_their_numbers() {
        let mut ids = RestoredIds::default();
        ids.set_most(2);
        for (number, id) in [(3, "c"), (1, "a"), (4, "d"), (2, "b")] {
            ids.add(number, id.as_bytes(), Seq(number));
        }
        assert_eq!(ids.iter().map(|(n, ..)| n).collect::<Vec<_>>(), [3, 4]);
        assert!(ids.contains(&b"c"[..].into()) && !ids.contains(&b"b"[..].into()));
        ids.add(ids.next_number(), b"e", Seq::NONE);
        assert!(ids.contains(&b"e"[..].into()));
        assert_eq!(ids.next_number(), 6);
    }
}
