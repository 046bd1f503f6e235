//! Serial numbers and sequence-sets against a model that holds every id.

use std::collections::BTreeSet;

use fletch_amqp::limits::MAX_SEQUENCE_RANGES;
use fletch_amqp::wire::Reader;
use fletch_amqp::{CommandId, DecodeError, SequenceSet};
use proptest::prelude::*;

#[test]
fn order_wraps() {
    let last = CommandId(u32::MAX);
    assert!(last.is_before(last.next()));
    assert_eq!(last.next(), CommandId(0));
    assert_eq!(CommandId(3).distance(CommandId(u32::MAX - 1)), 5);
    assert!(CommandId(0).is_at_most(CommandId(0x7fff_ffff)));
    assert!(CommandId(0).is_after(CommandId(0x8000_0001)));
    assert_eq!(CommandId(1).compare(CommandId(u32::MAX)), std::cmp::Ordering::Greater);
}

fn wire(ranges: &[(u32, u32)]) -> Vec<u8> {
    let mut out = ((ranges.len() * 8) as u16).to_be_bytes().to_vec();
    for (low, high) in ranges {
        out.extend_from_slice(&low.to_be_bytes());
        out.extend_from_slice(&high.to_be_bytes());
    }
    out
}

fn decode(ranges: &[(u32, u32)]) -> Result<SequenceSet, DecodeError> {
    SequenceSet::decode(&mut Reader::new(&wire(ranges)))
}

#[test]
fn hostile_ranges() {
    // As many ids as compare at all, in one range, cost one range.
    let half = decode(&[(5, 5 + 0x7fff_ffff)]).expect("decodes");
    assert_eq!((half.ranges().len(), half.id_count()), (1, 1 << 31));
    assert_eq!(half.ids(3).map(|id| id.0).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(half.contains(CommandId(0x7000_0000)));

    assert_eq!(
        decode(&[(0, u32::MAX)]),
        Err(DecodeError::ReversedRange { low: 0, high: u32::MAX }),
        "serial numbers put the end before the start"
    );
    assert_eq!(decode(&[(9, 8)]), Err(DecodeError::ReversedRange { low: 9, high: 8 }));
    assert_eq!(
        decode(&[(0, 0x7fff_ffff), (0x8000_0000, u32::MAX)]),
        Err(DecodeError::SequenceSetTooWide)
    );
    assert_eq!(
        decode(&[(0, 0x7fff_ffff), (0x8000_0000, u32::MAX), (0, 5)]),
        Err(DecodeError::SequenceSetTooWide)
    );
    assert_eq!(
        decode(&[(0, 1), (0x5000_0000, 0x5000_0001), (0xa000_0000, 0xa000_0001)]),
        Err(DecodeError::SequenceSetTooWide)
    );
    assert_eq!(
        SequenceSet::decode(&mut Reader::new(&[0, 7, 0, 0, 0, 0, 0, 0, 0])),
        Err(DecodeError::SequenceSetSize(7))
    );
    assert!(SequenceSet::decode(&mut Reader::new(&[0, 8, 0, 0])).is_err());
}

#[test]
fn ranges_in_any_order() {
    let set = decode(&[(20, 25), (1, 4), (10, 12), (5, 9), (24, 30)]).expect("decodes");
    let ranges: Vec<_> = set.ranges().iter().map(|range| (range.low.0, range.high.0)).collect();
    assert_eq!(ranges, [(1, 12), (20, 30)]);

    // The most that fit, from the last to the first.
    let many: Vec<_> =
        (0..MAX_SEQUENCE_RANGES as u32).rev().map(|index| (index * 2, index * 2)).collect();
    let set = decode(&many).expect("decodes");
    assert_eq!(set.ranges().len(), MAX_SEQUENCE_RANGES);
    let mut out = Vec::new();
    set.encode(&mut out).expect("fits");
    assert_eq!(SequenceSet::decode(&mut Reader::new(&out)), Ok(set.clone()));

    let mut larger = set;
    larger.add(CommandId(1_000_000));
    assert!(larger.encode(&mut out).is_err());
    let parts: Vec<_> = larger.chunks().collect();
    assert_eq!(parts.len(), 2);
    let mut joined = SequenceSet::new();
    for part in &parts {
        part.encode(&mut out).expect("fits");
        joined.union(part);
    }
    assert_eq!(joined, larger);
}

proptest! {
    /// Any row of additions and removals, near the wrap, against a plain set.
    #[test]
    fn model(
        base in prop_oneof![Just(u32::MAX - 100), Just(0u32), any::<u32>()],
        steps in prop::collection::vec((any::<bool>(), 0..200u32, 0..20u32), 0..60),
    ) {
        let mut set = SequenceSet::new();
        let mut model = BTreeSet::new();
        for (add, offset, len) in steps {
            let low = CommandId(base).add(offset);
            let high = low.add(len);
            if add {
                set.add_range(low, high);
                model.extend(offset..=offset + len);
            } else {
                set.remove_range(low, high);
                model.retain(|id| !(offset..=offset + len).contains(id));
            }
        }
        let ids: Vec<u32> = set.ids(usize::MAX).map(|id| id.sub(base).0).collect();
        prop_assert_eq!(ids, model.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(set.id_count(), model.len() as u64);
        for pair in set.ranges().windows(2) {
            prop_assert!(pair[0].high.next().is_before(pair[1].low), "{}", set);
        }
        for offset in 0..220 {
            prop_assert_eq!(set.contains(CommandId(base).add(offset)), model.contains(&offset));
        }
        let mut out = Vec::new();
        set.encode(&mut out).expect("encodes");
        prop_assert_eq!(out.len(), set.encoded_len());
        prop_assert_eq!(SequenceSet::decode(&mut Reader::new(&out)), Ok(set));
    }

    /// Decoding ranges in any order is adding them one by one.
    #[test]
    fn decoding_is_adding(ranges in prop::collection::vec((0..5000u32, 0..50u32), 0..40)) {
        let ranges: Vec<_> = ranges.into_iter().map(|(low, len)| (low, low + len)).collect();
        let mut set = SequenceSet::new();
        for (low, high) in &ranges {
            set.add_range(CommandId(*low), CommandId(*high));
        }
        prop_assert_eq!(decode(&ranges), Ok(set));
    }

    #[test]
    fn random_ranges_never_panic(ranges in prop::collection::vec(any::<(u32, u32)>(), 0..12)) {
        if let Ok(set) = decode(&ranges) {
            let mut other = SequenceSet::range(CommandId(7), CommandId(70));
            other.union(&set);
            other.subtract(&set);
            prop_assert!(set.id_count() <= 1 << 31);
        }
    }
}
