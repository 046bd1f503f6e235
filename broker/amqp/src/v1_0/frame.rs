//! Frames of AMQP 1.0 (part 2.3): the eight-octet header, its checks, and the writers.
//!
//! ```text
//!  octet 0..4     4      5      6..8      8 .. doff * 4     .. size
//!  +-----------+------+------+---------+-----------------+----------------------------
//!  | size      | doff | type | channel | extended header | performative, then payload
//!  +-----------+------+------+---------+-----------------+----------------------------
//!   whole frame         0 AMQP           ignored           nothing: the peer is alive
//!                       1 SASL (no channel)
//! ```

use thiserror::Error;

use super::codec::{Composite, CompositeError};
use super::table::{Performative, SaslFrame, Transfer};
use crate::wire::{DecodeError, EncodeError, Reader};

/// Octets of a frame header.
pub const HEADER_LEN: usize = 8;

/// The specification's MIN-MAX-FRAME-SIZE: the frame that every peer must take, and the largest of the
/// frames before `open` and of those of SASL.
pub const MIN_MAX_FRAME_SIZE: u32 = 512;

/// The header that both peers send first, where no SASL or after it.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";

/// The header that asks for SASL first.
pub const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A performative.
    Amqp = 0,
    /// A step of the SASL dialog.
    Sasl = 1,
}

/// Why a frame ends the connection with `framing-error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Smaller than its own header.
    #[error("frame of {0} octets is smaller than its header")]
    TooSmall(u32),
    /// Larger than what was agreed.
    #[error("frame of {size} octets exceeds {max}")]
    TooLarge {
        /// Octets of the frame.
        size: u32,
        /// The limit.
        max: u32,
    },
    /// A data offset within the header or beyond the frame.
    #[error("data offset of {0} words is not within the frame")]
    DataOffset(u8),
    /// A type of frame that nobody knows.
    #[error("unknown frame type {0}")]
    FrameType(u8),
}

/// One frame of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: FrameKind,
    /// The channel; of no meaning in SASL.
    pub channel: u16,
    /// What comes after the header and its extension. Empty in a heartbeat.
    pub body: &'a [u8],
    len: usize,
}

impl<'a> Frame<'a> {
    /// Reads a frame off the front of `input`, of at most `max` octets.
    ///
    /// `None` means that the frame is not whole yet: the caller keeps what it has and asks again with
    /// more. A bad header is an error as soon as it is there, so the body of an invalid frame is never
    /// waited for.
    #[inline]
    pub fn parse(input: &'a [u8], max: u32) -> Result<Option<Frame<'a>>, FrameError> {
        let Some(&[s0, s1, s2, s3, doff, kind, c0, c1]) = input.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let len = size as usize;
        if len < HEADER_LEN {
            return Err(FrameError::TooSmall(size));
        }
        if size > max {
            return Err(FrameError::TooLarge { size, max });
        }
        let start = usize::from(doff) * 4;
        if start < HEADER_LEN || start > len {
            return Err(FrameError::DataOffset(doff));
        }
        let kind = match kind {
            0 => FrameKind::Amqp,
            1 => FrameKind::Sasl,
            other => return Err(FrameError::FrameType(other)),
        };
        let channel = u16::from_be_bytes([c0, c1]);
        Ok(input.get(start..len).map(|body| Frame { kind, channel, body, len }))
    }

    /// Octets of the frame on the wire.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the frame carries nothing, and only says that the peer is alive.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The performative of an AMQP frame that is not empty, and the payload behind it. Only `transfer`
    /// has one.
    #[inline]
    pub fn performative(&self) -> Result<(Performative<'a>, &'a [u8]), CompositeError> {
        let mut reader = Reader::new(self.body);
        let performative = Performative::decode(&mut reader)?;
        if !matches!(performative, Performative::Transfer(_)) {
            finish(&reader, performative.name())?;
        }
        Ok((performative, reader.rest()))
    }

    /// What a SASL frame carries.
    pub fn sasl(&self) -> Result<SaslFrame<'a>, CompositeError> {
        let mut reader = Reader::new(self.body);
        let frame = SaslFrame::decode(&mut reader)?;
        finish(&reader, frame.name())?;
        Ok(frame)
    }
}

fn finish(reader: &Reader<'_>, composite: &'static str) -> Result<(), CompositeError> {
    reader.finish().map_err(|source: DecodeError| CompositeError::Outline { composite, source })
}

/// A frame being written: its header is reserved, its body follows in `out`.
#[derive(Debug)]
#[must_use = "an unfinished frame leaves a hole in the output"]
pub struct OpenFrame {
    start: usize,
    kind: FrameKind,
    channel: u16,
}

impl OpenFrame {
    /// Starts a frame at the end of `out`.
    #[inline]
    pub fn begin(out: &mut Vec<u8>, kind: FrameKind, channel: u16) -> OpenFrame {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        OpenFrame { start, kind, channel }
    }

    /// Octets that may still follow in a frame of at most `max` octets.
    #[inline]
    pub fn room(&self, out: &[u8], max: u32) -> usize {
        (max as usize).saturating_sub(out.len() - self.start)
    }

    /// Takes the frame back.
    pub fn abandon(self, out: &mut Vec<u8>) {
        out.truncate(self.start);
    }

    /// Fills in the header. `after`: octets of payload that belong to the frame but will reach the peer
    /// from elsewhere, behind what is in `out`. A frame larger than `max` is taken back.
    #[inline]
    pub fn finish(self, out: &mut Vec<u8>, after: usize, max: u32) -> Result<(), EncodeError> {
        let len = (out.len() - self.start).saturating_add(after);
        let Some(size) = u32::try_from(len).ok().filter(|size| *size <= max) else {
            out.truncate(self.start);
            return Err(EncodeError::TooLong { len, max: max as usize });
        };
        let header = header(self.kind, size, self.channel);
        out[self.start..self.start + HEADER_LEN].copy_from_slice(&header);
        Ok(())
    }
}

#[inline]
fn header(kind: FrameKind, size: u32, channel: u16) -> [u8; HEADER_LEN] {
    let [s0, s1, s2, s3] = size.to_be_bytes();
    let [c0, c1] = channel.to_be_bytes();
    [s0, s1, s2, s3, (HEADER_LEN / 4) as u8, kind as u8, c0, c1]
}

/// Appends a frame of what `body` appends; appends nothing if that fails or exceeds `max` octets.
fn write(
    out: &mut Vec<u8>,
    kind: FrameKind,
    channel: u16,
    max: u32,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let frame = OpenFrame::begin(out, kind, channel);
    match body(out) {
        Ok(()) => frame.finish(out, 0, max),
        Err(error) => {
            frame.abandon(out);
            Err(error)
        }
    }
}

/// Appends a frame with a performative; appends nothing if it fails. `max` is the largest frame that
/// the peer takes.
pub fn write_frame(
    out: &mut Vec<u8>,
    channel: u16,
    performative: &Performative<'_>,
    max: u32,
) -> Result<(), EncodeError> {
    write(out, FrameKind::Amqp, channel, max, |out| performative.encode(out))
}

/// Appends a frame with a transfer and payload; appends nothing if it fails. [`OpenFrame`] is there
/// for payload that has to be cut, or that is sent from where it lies.
pub fn write_transfer(
    out: &mut Vec<u8>,
    channel: u16,
    transfer: &Transfer<'_>,
    payload: &[u8],
    max: u32,
) -> Result<(), EncodeError> {
    write(out, FrameKind::Amqp, channel, max, |out| {
        transfer.encode(out)?;
        out.extend_from_slice(payload);
        Ok(())
    })
}

/// Appends a frame of SASL; appends nothing if it fails.
pub fn write_sasl(out: &mut Vec<u8>, frame: &SaslFrame<'_>) -> Result<(), EncodeError> {
    write(out, FrameKind::Sasl, 0, MIN_MAX_FRAME_SIZE, |out| frame.encode(out))
}

/// Appends an empty frame, which says that we are alive.
pub fn write_empty(out: &mut Vec<u8>) {
    out.extend_from_slice(&header(FrameKind::Amqp, HEADER_LEN as u32, 0));
}
