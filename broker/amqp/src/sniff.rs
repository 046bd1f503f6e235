//! Which AMQP a peer speaks, read from the eight octets it sends first.
//!
//! A broker listens for every version on one port: it looks at the first octets with [`sniff`],
//! consumes nothing, and hands the stream to the state machine of that version.

/// What the first octets of a stream say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// A prefix of an AMQP header: more octets are needed to tell.
    NeedMore,
    /// AMQP 0-10.
    V0_10,
    /// AMQP 1.0, with the security layer that the header asks for.
    V1_0 {
        /// SASL first (protocol id 3).
        sasl: bool,
        /// TLS first, inside AMQP (protocol id 2).
        tls: bool,
    },
    /// Anything else: another protocol or another version of AMQP.
    Other,
}

/// Reads the protocol header at the start of a stream without consuming it.
///
/// Decides as soon as it can: a first octet that is not `A` is [`Sniff::Other`] at once, so a peer
/// that speaks another protocol is not waited for.
pub fn sniff(octets: &[u8]) -> Sniff {
    const MAGIC: &[u8; 4] = b"AMQP";
    let seen = octets.len().min(4);
    if octets[..seen] != MAGIC[..seen] {
        return Sniff::Other;
    }
    let Some(&[id, major, minor, revision]) = octets.get(4..8) else { return Sniff::NeedMore };
    match (id, major, minor, revision) {
        (1, 1, 0, 10) => Sniff::V0_10,
        (0 | 2 | 3, 1, 0, 0) => Sniff::V1_0 { sasl: id == 3, tls: id == 2 },
        _ => Sniff::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(sniff(b"AMQP\x01\x01\x00\x0a"), Sniff::V0_10);
        assert_eq!(sniff(b"AMQP\x00\x01\x00\x00rest"), Sniff::V1_0 { sasl: false, tls: false });
        assert_eq!(sniff(b"AMQP\x02\x01\x00\x00"), Sniff::V1_0 { sasl: false, tls: true });
        assert_eq!(sniff(b"AMQP\x03\x01\x00\x00"), Sniff::V1_0 { sasl: true, tls: false });
        assert_eq!(sniff(b"AMQP\x00\x00\x09\x01"), Sniff::Other);
        assert_eq!(sniff(b"AMQP\x01\x01\x00\x09"), Sniff::Other);
        assert_eq!(sniff(b"GET / HTTP/1.1"), Sniff::Other);
        assert_eq!(sniff(b"\x16"), Sniff::Other);
    }

    #[test]
    fn every_prefix_needs_more() {
        for end in 0..8 {
            assert_eq!(sniff(&b"AMQP\x01\x01\x00\x0a"[..end]), Sniff::NeedMore, "{end}");
        }
    }
}
