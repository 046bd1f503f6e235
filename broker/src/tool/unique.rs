//! Names and ids that nobody else has, and dice for what need not be unguessable.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use fletch_amqp::types::Uuid;

/// 64 bits that are unlike those of any other call, thread or process: the standard library's random hash keys over a
/// counter, the process and the time.
pub(super) fn random_u64() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNTER.fetch_add(1, Ordering::Relaxed));
    hasher.write_u32(std::process::id());
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    hasher.write_u128(time.map_or(0, |time| time.as_nanos()));
    hasher.finish()
}

/// A random (version 4) UUID.
pub(super) fn unique_id() -> Uuid {
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&random_u64().to_be_bytes());
    octets[8..].copy_from_slice(&random_u64().to_be_bytes());
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    Uuid(octets)
}

/// A UUID as text.
pub(super) fn unique_name() -> String {
    unique_id().to_string()
}

/// Reads a UUID in its usual form.
pub(super) fn parse_uuid(text: &str) -> Option<Uuid> {
    let digits: String = text.split('-').collect();
    let shape = text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if !shape || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(|bits| Uuid(bits.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_read_back() {
        let (one, two) = (unique_id(), unique_id());
        assert_ne!(one, two);
        assert_eq!(parse_uuid(&one.to_string()), Some(one));
        for wrong in ["", "x", "0-0-0-0-0", "00000000-0000-0000-0000-00000000000g"] {
            assert_eq!(parse_uuid(wrong), None, "{wrong}");
        }
    }
}
