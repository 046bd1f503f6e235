//! The frames that a server sends (RFC 6455 section 5.2): whole messages, not masked, and the codes with
//! which a connection is closed (section 7.4).

/// The bit of a message's last frame.
pub(crate) const FIN: u8 = 0x80;
/// The bits that an extension would have to give a meaning; none is negotiated.
pub(crate) const RESERVED: u8 = 0x70;
/// The bit that says that a payload is masked.
pub(crate) const MASKED: u8 = 0x80;

/// Opcodes of section 5.2.
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0x0;
    pub(crate) const TEXT: u8 = 0x1;
    pub(crate) const BINARY: u8 = 0x2;
    pub(crate) const CLOSE: u8 = 0x8;
    pub(crate) const PING: u8 = 0x9;
    pub(crate) const PONG: u8 = 0xa;
}

/// Why a connection is closed (section 7.4.1): what a server here says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// All that was to be said has been said.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server goes away.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// The peer breaks the rules of WebSocket.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// A message of a kind that is not taken: text.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// Text that is not UTF-8.
    pub const INVALID_DATA: CloseCode = CloseCode(1007);
    /// A rule of the server's own is broken.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A frame is longer than is taken.
    pub const TOO_BIG: CloseCode = CloseCode(1009);

    /// Whether a peer may send it: 1004 to 1006 and 1015 never go over the wire, and what is below 3000
    /// and not in the table is nobody's.
    pub(crate) fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Appends a binary message with this payload, in one frame.
pub fn put_binary(payload: &[u8], out: &mut Vec<u8>) {
    put(opcode::BINARY, payload, out);
}

/// Appends the answer to a ping (section 5.5.3); a payload has at most
/// [`CONTROL_MAX`](crate::CONTROL_MAX) octets, as the ping's had.
pub fn put_pong(payload: &[u8], out: &mut Vec<u8>) {
    put(opcode::PONG, payload, out);
}

/// Appends a close frame (section 5.5.1); without a code when the peer gave none. A reason that is too
/// long for a control frame is cut.
pub fn put_close(code: Option<CloseCode>, reason: &str, out: &mut Vec<u8>) {
    let Some(CloseCode(code)) = code else { return put(opcode::CLOSE, &[], out) };
    let mut end = reason.len().min(crate::CONTROL_MAX - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    put(opcode::CLOSE, &payload, out);
}

fn put(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FIN | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ 0..=125), _) => out.push(len),
        (_, Ok(len)) => {
            out.push(126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        put_binary(&vec![7; len], &mut out);
        out
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        assert_eq!(binary(0), [0x82, 0]);
        assert_eq!(binary(125)[..3], [0x82, 125, 7]);
        assert_eq!(binary(126)[..5], [0x82, 126, 0, 126, 7]);
        assert_eq!(binary(65535)[..5], [0x82, 126, 0xff, 0xff, 7]);
        assert_eq!(binary(65536)[..11], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0, 7]);
        assert_eq!(binary(65536).len(), 65536 + 10);
    }

    #[test]
    fn a_close_has_code_and_reason_or_neither() {
        let mut out = Vec::new();
        put_close(None, "", &mut out);
        assert_eq!(out, [0x88, 0]);
        out.clear();
        put_close(Some(CloseCode::GOING_AWAY), "bye", &mut out);
        assert_eq!(out, [0x88, 5, 0x03, 0xe9, b'b', b'y', b'e']);
        out.clear();
        put_close(Some(CloseCode::NORMAL), &"ä".repeat(100), &mut out);
        assert_eq!((out[1], out.len()), (124, 126));
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}
