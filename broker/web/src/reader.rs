//! Reads the frames of a client (RFC 6455 section 5). The payload of binary messages is unmasked and
//! passed on while it comes; of the rest at most a header and a control frame's payload are kept.

use crate::frame::{CloseCode, FIN, MASKED, RESERVED, opcode};

/// The longest payload of one frame. Nothing is kept of a frame, so that this bounds no memory: a length
/// beyond it is no client's that speaks AMQP.
pub const FRAME_MAX: u64 = 1 << 30;

/// The longest payload of a control frame (section 5.5).
pub const CONTROL_MAX: usize = 125;

/// The longest header: two octets, a length of eight, a key of four.
const HEADER_MAX: usize = 14;

/// How a client breaks the rules. The connection is failed with [`FrameError::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Section 5.1: all frames of a client are masked.
    #[error("a frame is not masked")]
    Unmasked,
    /// Section 5.2: no extension was negotiated that would give them a meaning.
    #[error("a frame has reserved bits set")]
    ReservedBits,
    /// Section 5.2: opcodes 3 to 7 and 11 to 15 are reserved.
    #[error("a frame has the reserved opcode {0}")]
    Opcode(u8),
    /// Section 5.2: a length takes the shortest form.
    #[error("a frame's length is not in its shortest form")]
    LengthForm,
    /// More than [`FRAME_MAX`].
    #[error("a frame of {0} octets is longer than {FRAME_MAX}")]
    TooLong(u64),
    /// Section 5.5: control frames are whole.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// Section 5.5: more than [`CONTROL_MAX`].
    #[error("a control frame is longer than {CONTROL_MAX} octets")]
    LongControl,
    /// Section 5.4: a continuation without a message.
    #[error("a frame continues a message that has not begun")]
    NotBegun,
    /// Section 5.4: messages do not interleave.
    #[error("a message begins within another")]
    NotEnded,
    /// The binding of AMQP has binary messages only.
    #[error("a text message; AMQP takes binary ones")]
    Text,
    /// Section 5.5.1: a close frame's payload has no octet or at least two.
    #[error("a close frame has half a code")]
    CloseLength,
    /// Section 7.4: a code that is not to be sent.
    #[error("a close frame has the code {0}, which is not to be sent")]
    CloseCode(u16),
    /// Section 5.5.1: a reason is UTF-8.
    #[error("a close frame's reason is not UTF-8")]
    CloseReason,
}

impl FrameError {
    /// The code to close with.
    pub fn code(self) -> CloseCode {
        match self {
            FrameError::Text => CloseCode::UNSUPPORTED,
            FrameError::TooLong(_) => CloseCode::TOO_BIG,
            FrameError::CloseReason => CloseCode::INVALID_DATA,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// What a client says with a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing<'a> {
    /// None if the frame is empty.
    pub code: Option<CloseCode>,
    /// May be empty.
    pub reason: &'a str,
}

/// A frame that wants something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// To be answered with its payload (section 5.5.2).
    Ping(&'a [u8]),
    /// To be answered with a close frame; nothing that follows counts.
    Close(Closing<'a>),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A header, of which so many octets are in `header`.
    Header,
    /// The payload of a binary message.
    Data,
    /// The payload of a control frame.
    Control,
    /// Nothing: a close frame has come.
    Closed,
}

/// See the module. After an error a reader is of no more use.
#[derive(Debug)]
pub struct Reader {
    state: State,
    header: [u8; HEADER_MAX],
    have: u8,
    /// A message has begun whose last frame has not come.
    within: bool,
    opcode: u8,
    /// Octets of the frame's payload that are still to come.
    left: u64,
    /// The masking key, its first octet that of the next octet of the payload.
    key: [u8; 4],
    /// The payload of a control frame, as far as it has come.
    control: [u8; CONTROL_MAX],
    control_len: u8,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            state: State::Header,
            header: [0; HEADER_MAX],
            have: 0,
            within: false,
            opcode: 0,
            left: 0,
            key: [0; 4],
            control: [0; CONTROL_MAX],
            control_len: 0,
        }
    }
}

impl Reader {
    /// Takes octets from `input`, all of them unless there is an item, and appends what binary messages
    /// hold to `plain`.
    pub fn next(
        &mut self,
        input: &mut &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Option<Item<'_>>, FrameError> {
        loop {
            match self.state {
                State::Closed => {
                    *input = &[];
                    return Ok(None);
                }
                State::Header => {
                    if !self.header(input)? {
                        return Ok(None);
                    }
                }
                State::Data => {
                    let some = self.part(input);
                    let start = plain.len();
                    plain.extend_from_slice(some);
                    unmask(&mut self.key, &mut plain[start..]);
                    if self.left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Header;
                }
                State::Control => {
                    let some = self.part(input);
                    let start = usize::from(self.control_len);
                    let end = start + some.len();
                    self.control[start..end].copy_from_slice(some);
                    unmask(&mut self.key, &mut self.control[start..end]);
                    self.control_len = end as u8;
                    if self.left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Header;
                    match self.opcode {
                        opcode::PING => return Ok(Some(Item::Ping(&self.control[..end]))),
                        opcode::CLOSE => {
                            self.state = State::Closed;
                            *input = &[];
                            return closing(&self.control[..end])
                                .map(|close| Some(Item::Close(close)));
                        }
                        // A pong that answers nothing is allowed (section 5.5.3).
                        _ => {}
                    }
                }
            }
        }
    }

    /// Gathers a header and begins its frame. False if it is not all there.
    fn header(&mut self, input: &mut &[u8]) -> Result<bool, FrameError> {
        loop {
            let have = usize::from(self.have);
            let needed = match have {
                0 | 1 => 2,
                _ => {
                    let extended = match self.header[1] & !MASKED {
                        126 => 2,
                        127 => 8,
                        _ => 0,
                    };
                    2 + extended + 4
                }
            };
            if have == needed {
                self.begin(needed)?;
                return Ok(true);
            }
            let some = input.len().min(needed - have);
            if some == 0 {
                return Ok(false);
            }
            self.header[have..have + some].copy_from_slice(&input[..some]);
            *input = &input[some..];
            self.have += some as u8;
            if have < 2 && have + some == 2 {
                // What is wrong already does not wait for the rest.
                self.check_start()?;
            }
        }
    }

    /// Looks at the first two octets.
    fn check_start(&self) -> Result<(), FrameError> {
        let [first, second, ..] = self.header;
        let opcode = first & 0x0f;
        if first & RESERVED != 0 {
            return Err(FrameError::ReservedBits);
        }
        match opcode {
            opcode::CONTINUATION if !self.within => return Err(FrameError::NotBegun),
            opcode::TEXT => return Err(FrameError::Text),
            opcode::BINARY if self.within => return Err(FrameError::NotEnded),
            opcode::CONTINUATION | opcode::BINARY => {}
            opcode::CLOSE | opcode::PING | opcode::PONG => {
                if first & FIN == 0 {
                    return Err(FrameError::FragmentedControl);
                }
                if usize::from(second & !MASKED) > CONTROL_MAX {
                    return Err(FrameError::LongControl);
                }
            }
            _ => return Err(FrameError::Opcode(opcode)),
        }
        if second & MASKED == 0 {
            return Err(FrameError::Unmasked);
        }
        Ok(())
    }

    /// The header is all there, and so long.
    fn begin(&mut self, len: usize) -> Result<(), FrameError> {
        let header = self.header;
        let (length, shortest) = match header[1] & !MASKED {
            126 => (u64::from(u16::from_be_bytes([header[2], header[3]])), 126),
            127 => {
                let mut octets = [0; 8];
                octets.copy_from_slice(&header[2..10]);
                (u64::from_be_bytes(octets), 1 << 16)
            }
            length => (u64::from(length), 0),
        };
        if length < shortest {
            return Err(FrameError::LengthForm);
        }
        if length > FRAME_MAX {
            return Err(FrameError::TooLong(length));
        }
        self.key.copy_from_slice(&header[len - 4..len]);
        self.left = length;
        self.opcode = header[0] & 0x0f;
        self.have = 0;
        self.control_len = 0;
        self.state = match self.opcode {
            opcode::CONTINUATION | opcode::BINARY => {
                self.within = header[0] & FIN == 0;
                State::Data
            }
            _ => State::Control,
        };
        Ok(())
    }

    /// As much of the payload as there is.
    fn part<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        let (some, rest) = input.split_at(len);
        *input = rest;
        self.left -= len as u64;
        some
    }
}

/// Section 5.3, on the next octets of a payload; the key's first octet is that of the octet after them then.
fn unmask(key: &mut [u8; 4], octets: &mut [u8]) {
    let [a, b, c, d] = *key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = octets.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (octet, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *octet ^= key;
    }
    key.rotate_left(octets.len() % 4);
}

fn closing(payload: &[u8]) -> Result<Closing<'_>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(Closing { code: None, reason: "" }),
            _ => Err(FrameError::CloseLength),
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(FrameError::CloseCode(code.0));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| FrameError::CloseReason)?;
    Ok(Closing { code: Some(code), reason })
}

#[cfg(test)]
mod tests;
