//! What is kept of 64 messages that are away: where their records stand and how large they are, in a few
//! bytes. Messages that came one after the other are about as far from each other in the log, and often of
//! one size, so that either is a line and how far each message is off it.

use crate::ids::Time;
use fletch_journal::Seq;

pub(super) const SLOTS: usize = u64::BITS as usize;

/// See the module.
#[derive(Debug)]
pub(super) struct Packed {
    places: Line,
    sizes: Line,
    /// No one of them expires earlier.
    pub(super) expires: Time,
}

impl Packed {
    /// Of the slots in `present`.
    pub(super) fn new(
        present: u64,
        places: &[Seq; SLOTS],
        sizes: &[u32; SLOTS],
        expires: Time,
    ) -> Packed {
        let mut slots = (0..SLOTS).filter(|slot| present & 1 << slot != 0);
        let from = slots.next().unwrap_or(0);
        let to = slots.next_back().unwrap_or(from);
        let rise = places[to].0.saturating_sub(places[from].0);
        let step = rise.checked_div((to - from) as u64).unwrap_or(0);
        Packed {
            places: Line::new(present, step, |slot| places[slot].0),
            sizes: Line::new(present, 0, |slot| u64::from(sizes[slot])),
            expires,
        }
    }

    /// Where the record of a present one stands.
    pub(super) fn place(&self, slot: usize) -> Seq {
        Seq(self.places.at(slot))
    }

    /// The size of a present one.
    pub(super) fn size(&self, slot: usize) -> usize {
        self.sizes.at(slot) as usize
    }
}

/// A number for each slot: `first`, `step` more from slot to slot, and what is to be added to that.
#[derive(Debug)]
struct Line {
    first: u64,
    step: u64,
    /// As many bytes for each slot as the largest needs; none if all are on the line.
    more: Box<[u8]>,
}

impl Line {
    fn new(present: u64, step: u64, value: impl Fn(usize) -> u64) -> Line {
        let slots = || (0..SLOTS).filter(move |slot| present & 1 << slot != 0);
        // The line may begin below zero, so all this wraps.
        let off = |slot: usize| value(slot).wrapping_sub(step.wrapping_mul(slot as u64)) as i64;
        let first = slots().map(off).min().unwrap_or(0);
        let more = |slot: usize| off(slot).wrapping_sub(first) as u64;
        let most = slots().map(more).max().unwrap_or(0);
        let width = (u64::BITS - most.leading_zeros()).div_ceil(8) as usize;
        let mut bytes = vec![0; width * SLOTS];
        if width > 0 {
            for (slot, bytes) in bytes.chunks_mut(width).enumerate() {
                if present & 1 << slot != 0 {
                    bytes.copy_from_slice(&more(slot).to_le_bytes()[..width]);
                }
            }
        }
        Line { first: first as u64, step, more: bytes.into() }
    }

    fn at(&self, slot: usize) -> u64 {
        let width = self.more.len() / SLOTS;
        let mut more = [0; 8];
        more[..width].copy_from_slice(&self.more[slot * width..][..width]);
        let on_line = self.first.wrapping_add(self.step.wrapping_mul(slot as u64));
        on_line.wrapping_add(u64::from_le_bytes(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(present: u64, step: u64, values: &[u64; SLOTS]) -> usize {
        let line = Line::new(present, step, |slot| values[slot]);
        for slot in (0..SLOTS).filter(|slot| present & 1 << slot != 0) {
            assert_eq!(line.at(slot), values[slot], "{slot}");
        }
        line.more.len()
    }

    #[test]
    fn what_is_alike_takes_no_room() {
        // One queue of three that take turns, and not the beginning of it.
        let places = std::array::from_fn(|slot| Seq(7_000_000_000 + 3 * slot as u64));
        let packed = Packed::new(u64::MAX << 5, &places, &[256; SLOTS], Time(9));
        assert_eq!((packed.places.more.len(), packed.sizes.more.len()), (0, 0));
        assert_eq!((packed.place(63), packed.size(63)), (Seq(7_000_000_189), 256));
        let sizes = std::array::from_fn(|slot| 100 + slot as u64 * 31 % 200);
        assert_eq!(line(u64::MAX, 0, &sizes), SLOTS);
        assert_eq!(line(0, 0, &sizes) + line(1 << 63, 0, &sizes), 0);
    }

    proptest! {
        #[test]
        fn anything_is_kept(present: u64, values: [u32; 32], more: [u64; 32], shift in 1u32..64) {
            let all: [u64; SLOTS] = std::array::from_fn(|n| match n % 2 {
                0 => u64::from(values[n / 2]),
                _ => more[n / 2] >> shift,
            });
            line(present, 0, &all);
            line(present, 1 << shift >> 8, &all);
            let places = all.map(Seq);
            let packed = Packed::new(present, &places, &[7; SLOTS], Time::NEVER);
            for slot in (0..SLOTS).filter(|slot| present & 1 << slot != 0) {
                assert_eq!((packed.place(slot), packed.size(slot)), (places[slot], 7));
            }
        }
    }
}
