//! One batch.

use fletch_journal::{ALIGN, Batch, BatchError, Header, Lsn, encode};

const HEADER: usize = 64;

/// The input as a batch as it is, then with its checksums made right, so that the fields behind
/// them are reached; then as a header and a body for our own encoder, with one bit flipped.
pub fn journal_batch(data: &[u8]) {
    let _ = check(data);
    if data.len() >= HEADER {
        let mut mended = data.to_vec();
        mended[..4].copy_from_slice(b"FLJ1");
        let claimed = u32::from_le_bytes([data[40], data[41], data[42], data[43]]) as usize;
        let body = mended[HEADER..].get(..claimed).map(crc32c::crc32c);
        mended[48..52].copy_from_slice(&body.unwrap_or_default().to_le_bytes());
        let crc = crc32c::crc32c(&mended[..60]);
        mended[60..64].copy_from_slice(&crc.to_le_bytes());
        let decoded = check(&mended);
        let never_was = data[4..6] == [0, 0];
        assert_eq!(decoded == Err(BatchError::Header), never_was, "the header is right by now");
        assert!(decoded.is_err() || body.is_some(), "a body that is cut short was taken");
        round_trip(data);
    }
}

fn check(bytes: &[u8]) -> Result<Batch<'_>, BatchError> {
    let decoded = Batch::decode(bytes);
    if let Ok(batch) = decoded {
        assert!(batch.len.is_multiple_of(ALIGN) && batch.len >= HEADER + batch.body.len());
        assert!(batch.len < HEADER + batch.body.len() + ALIGN, "no more padding than it takes");
        assert!(bytes.len() >= HEADER + batch.body.len());
    }
    decoded
}

fn round_trip(data: &[u8]) {
    let (head, body) = data.split_at(28);
    let u64_at = |at: usize| head[at..at + 8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    let lsn = u64_at(0) & !(ALIGN as u64 - 1);
    let header = Header {
        salt: u64_at(16),
        lsn: Lsn(lsn),
        synced_lsn: Lsn(u64_at(8).min(lsn)),
        epoch: u64_at(4) as u32,
        shard: u64_at(12) as u16,
        records: u64_at(20) as u16,
        prev_crc: u64_at(2) as u32,
    };
    let mut out = Vec::new();
    let crc = encode(&header, body, &mut out);
    assert_eq!(Batch::decode(&out), Ok(Batch { header, body, crc, len: out.len() }));
    let bit = (u64_at(18) as usize & 0xffff_ffff) % (8 * (HEADER + body.len()));
    out[bit / 8] ^= 1 << (bit % 8);
    assert!(Batch::decode(&out).is_err(), "bit {bit} of a batch flipped in silence");
}
