//! The batch: a header of 64 bytes, a body of records, and zeros up to the next 4 KiB.
//!
//! ```text
//!  0        4      6      8        16     24           32     36     38
//!  | magic  |format| flags| salt   | lsn  | synced_lsn |epoch |shard |records|
//!  40         44          48         52          60           64
//!  | body_len | prev_crc  | body_crc | reserved  | header_crc |  body, then zeros
//! ```
//!
//! Little endian; checksums are CRC-32C. `header_crc` covers bytes 0 to 60 and is checked first:
//! only then is `body_len` believed. `salt` is the journal's own, so that a batch of another journal
//! is not taken for ours; one of a recycled file's former life carries another `lsn` than its place.
//! `prev_crc` is the header's checksum of the batch before, so two logs that differ do so at the
//! first batch. `synced_lsn` is the highest position known durable when the batch was built:
//! recovery tells a torn tail from damage by it.

use crate::FORMAT;
use crate::lsn::{ALIGN, Lsn};

const MAGIC: u32 = u32::from_le_bytes(*b"FLJ1");
/// Bytes of a batch's header.
pub const HEADER: usize = 64;
/// Batches are at most this long, header and padding included.
pub const BATCH_MAX: usize = 1 << 20;
/// Bodies are at most this long; a larger record is split.
pub const BODY_MAX: usize = BATCH_MAX - HEADER;

const _: () = assert!(HEADER < ALIGN && BATCH_MAX.is_multiple_of(ALIGN));

/// What the writer knows of a batch besides its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of the journal.
    pub salt: u64,
    /// Where the batch stands.
    pub lsn: Lsn,
    /// The highest position known durable when it was built; not above `lsn`.
    pub synced_lsn: Lsn,
    /// The HA term under which it was written.
    pub epoch: u32,
    /// Whose log this is.
    pub shard: u16,
    /// How many fragments the body holds.
    pub records: u16,
    /// [`Batch::crc`] of the batch before; zero for the first.
    pub prev_crc: u32,
}

/// A batch that was read and found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Its header.
    pub header: Header,
    /// Its records.
    pub body: &'a [u8],
    /// The checksum the next batch chains to.
    pub crc: u32,
    /// Bytes it takes in the log, padding included.
    pub len: usize,
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Nothing was ever written here.
    #[error("zeros")]
    Blank,
    /// The header is not one, or is damaged.
    #[error("no valid batch header")]
    Header,
    /// A later version wrote it. Every version keeps these fields where they are.
    #[error("format {format} is newer than this program's")]
    Format {
        /// The version of the format.
        format: u16,
        /// Of the journal.
        salt: u64,
        /// Where the batch stands.
        lsn: Lsn,
    },
    /// The header is whole, the body is not.
    #[error("batch body is damaged or cut short")]
    Body,
}

/// Appends a batch to `out` and returns the checksum that the next one chains to.
///
/// # Panics
/// If `body` is longer than [`BODY_MAX`] or the header's positions make no sense: bugs of the
/// writer.
pub fn encode(header: &Header, body: &[u8], out: &mut Vec<u8>) -> u32 {
    assert!(body.len() <= BODY_MAX, "the writer splits larger bodies");
    assert!(header.lsn.is_aligned() && header.synced_lsn <= header.lsn, "positions make sense");
    let start = out.len();
    out.resize(start + HEADER, 0);
    out.extend_from_slice(body);
    out.resize(start + (HEADER + body.len()).next_multiple_of(ALIGN), 0);
    seal(header, &mut out[start..], body.len())
}

/// Puts the header before a body that stands in its place already: `batch` is room for the header,
/// `body_len` bytes of body, padding. Returns the checksum that the next batch chains to.
///
/// # Panics
/// As [`encode`]; also if `batch` is no multiple of [`ALIGN`] or too short.
pub fn seal(header: &Header, batch: &mut [u8], body_len: usize) -> u32 {
    assert!(body_len <= BODY_MAX, "the writer splits larger bodies");
    assert!(header.lsn.is_aligned() && header.synced_lsn <= header.lsn, "positions make sense");
    assert!(batch.len().is_multiple_of(ALIGN), "batches are aligned");
    let (head, rest) = batch.split_at_mut(HEADER);
    let body_crc = crc32c::crc32c(&rest[..body_len]);
    rest[body_len..].fill(0);
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&header.salt.to_le_bytes());
    out.extend_from_slice(&header.lsn.0.to_le_bytes());
    out.extend_from_slice(&header.synced_lsn.0.to_le_bytes());
    out.extend_from_slice(&header.epoch.to_le_bytes());
    out.extend_from_slice(&header.shard.to_le_bytes());
    out.extend_from_slice(&header.records.to_le_bytes());
    out.extend_from_slice(&(body_len as u32).to_le_bytes());
    out.extend_from_slice(&header.prev_crc.to_le_bytes());
    out.extend_from_slice(&body_crc.to_le_bytes());
    out.extend_from_slice(&0u64.to_le_bytes());
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    head.copy_from_slice(&out);
    crc
}

impl<'a> Batch<'a> {
    /// The batch at the start of `bytes`. Whether it belongs here (salt, position, shard, chain)
    /// is for the reader to say.
    ///
    /// # Errors
    /// See [`BatchError`]; nothing in `bytes` makes it panic or allocate.
    pub fn decode(bytes: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        Head::decode(bytes)?.batch(bytes)
    }
}

/// A whole header of which the body has not been looked at, so that a reader pays for the body's
/// checksum only where the batch belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) header: Header,
    body_len: usize,
    body_crc: u32,
    crc: u32,
}

impl Head {
    /// The header at the start of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, BatchError> {
        let head = bytes.first_chunk::<HEADER>().ok_or(BatchError::Header)?;
        if head.iter().all(|b| *b == 0) {
            return Err(BatchError::Blank);
        }
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let crc = u32_at(60);
        if u32_at(0) != MAGIC || crc != crc32c::crc32c(&head[..60]) {
            return Err(BatchError::Header);
        }
        let (salt, lsn) = (u64_at(8), Lsn(u64_at(16)));
        match u16_at(4) {
            FORMAT => {}
            format if format > FORMAT => return Err(BatchError::Format { format, salt, lsn }),
            _ => return Err(BatchError::Header),
        }
        let header = Header {
            salt,
            lsn,
            synced_lsn: Lsn(u64_at(24)),
            epoch: u32_at(32),
            shard: u16_at(36),
            records: u16_at(38),
            prev_crc: u32_at(44),
        };
        Ok(Head { header, body_len: u32_at(40) as usize, body_crc: u32_at(48), crc })
    }

    /// The batch whose header this is; `bytes` begin with it.
    pub(crate) fn batch<'a>(&self, bytes: &'a [u8]) -> Result<Batch<'a>, BatchError> {
        let body = bytes.get(HEADER..).and_then(|rest| rest.get(..self.body_len));
        let body = body.ok_or(BatchError::Body)?;
        if self.body_len > BODY_MAX || crc32c::crc32c(body) != self.body_crc {
            return Err(BatchError::Body);
        }
        let len = (HEADER + self.body_len).next_multiple_of(ALIGN);
        Ok(Batch { header: self.header, body, crc: self.crc, len })
    }
}

/// Whether a batch may begin here, told from its first bytes alone.
pub(crate) fn has_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(lsn: u64) -> Header {
        let (lsn, synced_lsn) = (Lsn(lsn), Lsn(lsn / 2));
        Header { salt: 7, lsn, synced_lsn, epoch: 3, shard: 1, records: 2, prev_crc: 9 }
    }

    #[test]
    fn an_untouched_page_is_blank() {
        assert_eq!(Batch::decode(&[0; ALIGN]), Err(BatchError::Blank));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(body in prop::collection::vec(any::<u8>(), 0..10_000)) {
            let mut out = Vec::new();
            let crc = encode(&header(8192), &body, &mut out);
            prop_assert!(out.len().is_multiple_of(ALIGN));
            let batch = Batch::decode(&out).expect("whole");
            prop_assert_eq!(batch, Batch { header: header(8192), body: &body, crc, len: out.len() });
        }

        #[test]
        fn any_flipped_bit_is_noticed(
            body in prop::collection::vec(any::<u8>(), 1..5_000), at in any::<usize>(), bit in 0u32..8,
        ) {
            let mut out = Vec::new();
            encode(&header(0), &body, &mut out);
            let at = at % (HEADER + body.len());
            out[at] ^= 1u8 << bit;
            prop_assert!(Batch::decode(&out).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Batch::decode(&bytes);
        }
    }
}
