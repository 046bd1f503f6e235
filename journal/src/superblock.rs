//! The superblock of a shard's journal: what recovery has to know before it reads the log.
//!
//! A file of two slots. A change is written to the slot that is not the newest and synced before
//! anything relies on it, so that a write cut short leaves the one before.
//!
//! ```text
//!  0       4        6       8        10    12         20     28            36           44
//!  | FLSB  | format | shard | shards | 0   | sequence | salt | incarnation | oldest_lsn | epoch |
//!  48      52        60        64                       4092
//!  | state | end_lsn | end_crc | zeros                  | crc  |
//! ```
//!
//! Little endian. The checksum is CRC-32C over all before it. Every later version keeps `FLSB`, the
//! format's number and the checksum where they are, so that an older program can tell that it is
//! one.

use crate::lsn::Lsn;

/// Bytes of each of the two slots.
pub const SLOT: usize = 4096;

const MAGIC: u32 = u32::from_le_bytes(*b"FLSB");
/// Where the checksum stands.
const SEAL: usize = SLOT - 4;

const RUNNING: u32 = 0;
const CLEAN: u32 = 1;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Whose log this is.
    pub shard: u16,
    /// How many shards the store was made for.
    pub shards: u16,
    /// Grows with every slot written; the larger one is the newer.
    pub sequence: u64,
    /// Of the journal, drawn when it was made. Nobody outside may learn it: a message's content
    /// could otherwise pass for a batch.
    pub salt: u64,
    /// Grows by one at each start.
    pub incarnation: u64,
    /// Where the log begins: everything before is free.
    pub oldest_lsn: Lsn,
    /// The HA term.
    pub epoch: u32,
    /// How the last run ended, if it has.
    pub state: State,
}

/// Whether the journal is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is, or it was when the broker or the machine died.
    Running,
    /// It was closed, and ends where this says.
    Clean {
        /// The position after the last batch.
        end: Lsn,
        /// The last batch's checksum.
        crc: u32,
    },
}

/// What a superblock's file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever written: no file, or zeros.
    Empty,
    /// At least one slot is whole.
    Present {
        /// The newest.
        superblock: Superblock,
        /// Where it stands. The next one goes to the other slot.
        slot: u8,
    },
    /// A later version wrote it. Whatever else is there, it is not ours to judge.
    Newer {
        /// The version of its format.
        format: u16,
    },
    /// Something was written and no slot is whole.
    Unreadable,
}

impl Superblock {
    /// The slot that holds it.
    pub fn encode(&self) -> [u8; SLOT] {
        let (state, end, end_crc) = match self.state {
            State::Running => (RUNNING, Lsn(0), 0),
            State::Clean { end, crc } => (CLEAN, end, crc),
        };
        let mut out = Vec::with_capacity(SLOT);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&crate::FORMAT.to_le_bytes());
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&self.shards.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.oldest_lsn.0.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&state.to_le_bytes());
        out.extend_from_slice(&end.0.to_le_bytes());
        out.extend_from_slice(&end_crc.to_le_bytes());
        let mut slot = [0; SLOT];
        slot[..out.len()].copy_from_slice(&out);
        let crc = crc32c::crc32c(&slot[..SEAL]);
        slot[SEAL..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    /// Reads a superblock's file; `None` if there is none.
    pub fn read(file: Option<&[u8]>) -> Found {
        let Some(file) = file.filter(|file| file.iter().any(|b| *b != 0)) else {
            return Found::Empty;
        };
        // A file of another length lacks a slot, which may be the newer one.
        let [first, second] = match file.as_chunks::<SLOT>() {
            ([first, second], []) => [slot(first), slot(second)],
            _ => return Found::Unreadable,
        };
        match (first, second) {
            (Slot::Newer(format), _) | (_, Slot::Newer(format)) => Found::Newer { format },
            (Slot::Whole(first), Slot::Whole(second)) if second.sequence > first.sequence => {
                Found::Present { superblock: second, slot: 1 }
            }
            (Slot::Whole(superblock), _) => Found::Present { superblock, slot: 0 },
            (_, Slot::Whole(superblock)) => Found::Present { superblock, slot: 1 },
            (Slot::Damaged, Slot::Damaged) => Found::Unreadable,
        }
    }
}

/// What one slot holds. An untouched one is as good as a damaged one: the other decides.
enum Slot {
    Whole(Superblock),
    Newer(u16),
    Damaged,
}

fn slot(bytes: &[u8; SLOT]) -> Slot {
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if u32_at(0) != MAGIC || u32_at(SEAL) != crc32c::crc32c(&bytes[..SEAL]) {
        return Slot::Damaged;
    }
    match u16_at(4) {
        crate::FORMAT => {}
        newer if newer > crate::FORMAT => return Slot::Newer(newer),
        _ => return Slot::Damaged,
    }
    let state = match u32_at(48) {
        RUNNING => State::Running,
        CLEAN => State::Clean { end: Lsn(u64_at(52)), crc: u32_at(60) },
        _ => return Slot::Damaged,
    };
    let superblock = Superblock {
        shard: u16_at(6),
        shards: u16_at(8),
        sequence: u64_at(12),
        salt: u64_at(20),
        incarnation: u64_at(28),
        oldest_lsn: Lsn(u64_at(36)),
        epoch: u32_at(44),
        state,
    };
    if superblock.oldest_lsn.is_aligned() { Slot::Whole(superblock) } else { Slot::Damaged }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn superblock(sequence: u64) -> Superblock {
        Superblock {
            shard: 1,
            shards: 4,
            sequence,
            salt: 0x0123_4567_89ab_cdef,
            incarnation: 3,
            oldest_lsn: Lsn(8192),
            epoch: 5,
            state: State::Running,
        }
    }

    fn file(slots: [&[u8]; 2]) -> Vec<u8> {
        slots.concat()
    }

    fn newer(format: u16) -> [u8; SLOT] {
        let mut slot = superblock(9).encode();
        slot[4..6].copy_from_slice(&format.to_le_bytes());
        let crc = crc32c::crc32c(&slot[..SEAL]);
        slot[SEAL..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    #[test]
    fn an_untouched_file_is_empty() {
        assert_eq!(Superblock::read(None), Found::Empty);
        assert_eq!(Superblock::read(Some(&[])), Found::Empty);
        assert_eq!(Superblock::read(Some(&[0; 2 * SLOT])), Found::Empty);
    }

    #[test]
    fn the_newest_slot_counts() {
        let (old, new) = (superblock(7).encode(), superblock(8).encode());
        for (slots, slot) in [([&old[..], &new[..]], 1), ([&new[..], &old[..]], 0)] {
            let found = Superblock::read(Some(&file(slots)));
            assert_eq!(found, Found::Present { superblock: superblock(8), slot });
        }
        let found = Superblock::read(Some(&file([&old[..], &[0; SLOT]])));
        assert_eq!(found, Found::Present { superblock: superblock(7), slot: 0 });
    }

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let (old, mut torn) = (superblock(7).encode(), superblock(8).encode());
        torn[512..].fill(0);
        let found = Superblock::read(Some(&file([&torn[..], &old[..]])));
        assert_eq!(found, Found::Present { superblock: superblock(7), slot: 1 });
        assert_eq!(Superblock::read(Some(&file([&torn[..], &torn[..]]))), Found::Unreadable);
        assert_eq!(Superblock::read(Some(&file([&torn[..], &[0; SLOT]]))), Found::Unreadable);
    }

    #[test]
    fn a_file_of_another_length_is_unreadable() {
        let slot = superblock(1).encode();
        assert_eq!(Superblock::read(Some(&slot[..])), Found::Unreadable);
        let longer = [&slot[..], &slot[..], &[0]].concat();
        assert_eq!(Superblock::read(Some(&longer)), Found::Unreadable);
    }

    #[test]
    fn a_newer_format_is_never_passed_over() {
        let ours = superblock(100).encode();
        for slots in
            [[&newer(2)[..], &ours[..]], [&ours[..], &newer(2)[..]], [&newer(2)[..], &[0; SLOT]]]
        {
            assert_eq!(Superblock::read(Some(&file(slots))), Found::Newer { format: 2 });
        }
        assert_eq!(Superblock::read(Some(&file([&newer(0)[..], &[0; SLOT]]))), Found::Unreadable);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read(
            numbers in any::<(u16, u16, u64, u64, u64, u32)>(), oldest in 0u64..1 << 50,
            end in any::<Option<(u64, u32)>>(),
        ) {
            let (shard, shards, sequence, salt, incarnation, epoch) = numbers;
            let superblock = Superblock {
                shard, shards, sequence, salt, incarnation, epoch,
                oldest_lsn: Lsn(oldest * 4096),
                state: end.map_or(State::Running, |(end, crc)| State::Clean { end: Lsn(end), crc }),
            };
            let file = file([&[0; SLOT], &superblock.encode()[..]]);
            prop_assert_eq!(Superblock::read(Some(&file)), Found::Present { superblock, slot: 1 });
        }

        #[test]
        fn any_flipped_bit_is_noticed(at in 0..SLOT, bit in 0u32..8) {
            let mut slot = superblock(1).encode();
            slot[at] ^= 1u8 << bit;
            prop_assert_eq!(Superblock::read(Some(&file([&slot[..], &[0; SLOT]]))), Found::Unreadable);
        }
    }
}
