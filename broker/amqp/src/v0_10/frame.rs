//! Frames of AMQP 0-10: the twelve-octet header, its checks, and the writers that cut a segment
//! into frames.
//!
//! ```text
//!  octet 0        1      2..4   4        5               6..8      8..12
//!  +-----------+------+------+----------+---------------+---------+----------+---------
//!  | flags     | type | size | reserved | 0000 | track  | channel | reserved | payload
//!  +-----------+------+------+----------+---------------+---------+----------+---------
//!   00 00 BEbe          whole frame       B first segment  E last segment
//!                                         b first frame    e last frame
//! ```
//!
//! The track is read and ignored. The specification puts controls on track 0 and all else on track
//! 1, but the Java client numbers its tracks by class (0 to 3) and qpidd tells controls from
//! commands by the segment type alone.

use thiserror::Error;

/// Octets of a frame header.
pub const HEADER_LEN: usize = 12;

/// The largest frame that the 16-bit size field can describe.
pub const MAX_FRAME_SIZE: u16 = u16::MAX;

/// The specification's MIN-MAX-FRAME-SIZE: no peer may ask for a smaller limit.
pub const MIN_MAX_FRAME_SIZE: u16 = 4096;

/// The protocol header that both peers send first.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x01\x01\x00\x0a";

/// First segment of its assembly.
pub const FIRST_SEGMENT: u8 = 0x08;
/// Last segment of its assembly.
pub const LAST_SEGMENT: u8 = 0x04;
/// First frame of its segment.
pub const FIRST_FRAME: u8 = 0x02;
/// Last frame of its segment.
pub const LAST_FRAME: u8 = 0x01;

/// The flags of a control or command that is one segment in one frame.
pub const WHOLE: u8 = FIRST_SEGMENT | LAST_SEGMENT | FIRST_FRAME | LAST_FRAME;

/// The kind of segment that a frame belongs to. The order is the order within an assembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SegmentKind {
    /// A connection or session control.
    Control = 0,
    /// A command.
    Command = 1,
    /// The header structs of a transfer.
    Header = 2,
    /// The content of a transfer.
    Body = 3,
}

/// Why a frame, or the order of frames, ends the connection with framing-error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The two version bits are not zero.
    #[error("unsupported framing version {0}")]
    Version(u8),
    /// A reserved bit that must be zero is set.
    #[error("reserved bits of the frame header are not zero")]
    Reserved,
    /// The size is less than the header's own.
    #[error("frame size {0} is less than its header")]
    TooSmall(u16),
    /// The size is more than was agreed.
    #[error("frame size {size} is more than the agreed maximum {max}")]
    TooLarge {
        /// The size announced.
        size: u16,
        /// The limit agreed, or our own before agreement.
        max: u16,
    },
    /// A segment type that does not exist.
    #[error("unknown segment type {0}")]
    SegmentType(u8),
    /// A continuation frame with nothing to continue.
    #[error("continuation frame without a start")]
    NotStarted,
    /// A new command inside an unfinished one.
    #[error("a command starts inside an unfinished command")]
    Unfinished,
    /// A segment of the wrong type for its place.
    #[error("segment out of order: {0:?}")]
    Order(SegmentKind),
    /// Frames of one segment disagree about what the segment is.
    #[error("frames of one segment have different flags")]
    Flags,
    /// Two controls in fragments at a time.
    #[error("a fragmented control starts inside another")]
    ControlInterleaved,
    /// A control that is not one segment, or is too long.
    #[error("a control must be one segment of at most {0} octets")]
    Control(usize),
}

/// One whole frame, borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The four first/last flags.
    pub flags: u8,
    /// The kind of segment.
    pub kind: SegmentKind,
    /// The channel.
    pub channel: u16,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `input`. `None` when it is not all there yet; a bad header
    /// is an error as soon as the header is there, so the body of an invalid frame is never waited
    /// for.
    #[inline]
    pub fn parse(input: &'a [u8], max: u16) -> Result<Option<Frame<'a>>, FrameError> {
        let Some(header) = input.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let flags = header[0];
        if flags & 0xf0 != 0 || header[4] != 0 || header[5] & 0xf0 != 0 {
            let version = flags >> 6;
            return Err(if version != 0 {
                FrameError::Version(version)
            } else {
                FrameError::Reserved
            });
        }
        let kind = match header[1] {
            0 => SegmentKind::Control,
            1 => SegmentKind::Command,
            2 => SegmentKind::Header,
            3 => SegmentKind::Body,
            other => return Err(FrameError::SegmentType(other)),
        };
        let size = u16::from_be_bytes([header[2], header[3]]);
        if usize::from(size) < HEADER_LEN {
            return Err(FrameError::TooSmall(size));
        }
        if size > max {
            return Err(FrameError::TooLarge { size, max });
        }
        let channel = u16::from_be_bytes([header[6], header[7]]);
        let Some(payload) = input.get(HEADER_LEN..usize::from(size)) else { return Ok(None) };
        Ok(Some(Frame { flags, kind, channel, payload }))
    }

    /// Octets of the frame on the wire.
    #[inline]
    pub fn len(&self) -> usize {
        HEADER_LEN + self.payload.len()
    }

    /// A frame is never empty: it has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All of `bits` are set.
    #[inline]
    pub fn has(&self, bits: u8) -> bool {
        self.flags & bits == bits
    }
}

/// A segment being written: its frame header is reserved, its payload follows in `out`.
///
/// The size is only known when the payload is there, so [`OpenSegment::finish`] fills the header
/// in, and cuts the segment into frames in the rare case that it does not fit one.
#[derive(Debug)]
#[must_use = "an unfinished segment leaves a hole in the output"]
pub struct OpenSegment {
    start: usize,
    kind: SegmentKind,
    channel: u16,
}

impl OpenSegment {
    /// Starts a segment at the end of `out`.
    #[inline]
    pub fn begin(out: &mut Vec<u8>, kind: SegmentKind, channel: u16) -> OpenSegment {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        OpenSegment { start, kind, channel }
    }

    /// Octets of payload written so far.
    #[inline]
    pub fn len(&self, out: &[u8]) -> usize {
        out.len() - self.start - HEADER_LEN
    }

    /// Takes the segment back.
    pub fn abandon(self, out: &mut Vec<u8>) {
        out.truncate(self.start);
    }

    /// Fills in the header. `segment` is [`FIRST_SEGMENT`] and/or [`LAST_SEGMENT`]; `max` is the
    /// largest frame.
    #[inline]
    pub fn finish(self, out: &mut Vec<u8>, segment: u8, max: u16) {
        let len = self.len(out);
        if HEADER_LEN + len <= usize::from(max) {
            let flags = segment | FIRST_FRAME | LAST_FRAME;
            let header = header(flags, self.kind, HEADER_LEN + len, self.channel);
            out[self.start..self.start + HEADER_LEN].copy_from_slice(&header);
        } else {
            let payload = out.split_off(self.start + HEADER_LEN);
            out.truncate(self.start);
            write_segment(out, self.kind, self.channel, segment, max, &payload);
        }
    }
}

/// Writes one segment as frames of at most `max` octets. An empty segment is one empty frame.
pub fn write_segment(
    out: &mut Vec<u8>,
    kind: SegmentKind,
    channel: u16,
    segment: u8,
    max: u16,
    payload: &[u8],
) {
    let room = usize::from(max.max(MIN_MAX_FRAME_SIZE)) - HEADER_LEN;
    out.reserve(payload.len() + HEADER_LEN * (payload.len() / room + 1));
    let mut rest = payload;
    let mut position = FIRST_FRAME;
    loop {
        let (chunk, after) = rest.split_at(rest.len().min(room));
        let last = if after.is_empty() { LAST_FRAME } else { 0 };
        let flags = segment | position | last;
        out.extend_from_slice(&header(flags, kind, HEADER_LEN + chunk.len(), channel));
        out.extend_from_slice(chunk);
        if after.is_empty() {
            return;
        }
        rest = after;
        position = 0;
    }
}

#[inline]
fn header(flags: u8, kind: SegmentKind, size: usize, channel: u16) -> [u8; HEADER_LEN] {
    // Both writers keep `size` within the 16-bit limit they were given.
    let [s0, s1] = (size as u16).to_be_bytes();
    let [c0, c1] = channel.to_be_bytes();
    let track = u8::from(kind != SegmentKind::Control);
    [flags, kind as u8, s0, s1, 0, track, c0, c1, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_segment(
            &mut out,
            SegmentKind::Command,
            7,
            FIRST_SEGMENT | LAST_SEGMENT,
            4096,
            payload,
        );
        out
    }

    #[test]
    fn header_octets() {
        let frame = whole(b"ab");
        assert_eq!(frame, [0x0f, 1, 0, 14, 0, 1, 0, 7, 0, 0, 0, 0, b'a', b'b']);
        let parsed = Frame::parse(&frame, 4096).unwrap().unwrap();
        assert_eq!((parsed.flags, parsed.kind, parsed.channel), (WHOLE, SegmentKind::Command, 7));
        assert_eq!(parsed.payload, b"ab");
        assert_eq!(parsed.len(), 14);
    }

    #[test]
    fn a_prefix_is_not_a_frame() {
        let frame = whole(b"abc");
        for end in 0..frame.len() {
            assert_eq!(Frame::parse(&frame[..end], 4096), Ok(None), "{end}");
        }
    }

    #[test]
    fn bad_headers_are_refused_before_their_body() {
        let good = whole(b"ab");
        let with = |at: usize, value: u8| {
            let mut bad = good[..HEADER_LEN].to_vec();
            bad[at] = value;
            Frame::parse(&bad, 4096).unwrap_err()
        };
        assert_eq!(with(0, 0x4f), FrameError::Version(1));
        assert_eq!(with(0, 0xcf), FrameError::Version(3));
        assert_eq!(with(0, 0x1f), FrameError::Reserved);
        assert_eq!(with(1, 4), FrameError::SegmentType(4));
        assert_eq!(with(2, 0xff), FrameError::TooLarge { size: 0xff0e, max: 4096 });
        assert_eq!(with(3, 11), FrameError::TooSmall(11));
        assert_eq!(with(4, 1), FrameError::Reserved);
        assert_eq!(with(5, 0x10), FrameError::Reserved);
    }

    #[test]
    fn finish_cuts_what_does_not_fit() {
        let payload: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
        let mut written = Vec::new();
        write_segment(&mut written, SegmentKind::Header, 3, LAST_SEGMENT, 4096, &payload);
        let mut finished = vec![];
        let segment = OpenSegment::begin(&mut finished, SegmentKind::Header, 3);
        finished.extend_from_slice(&payload);
        segment.finish(&mut finished, LAST_SEGMENT, 4096);
        assert_eq!(written, finished);

        let mut rest = &written[..];
        let mut seen = Vec::new();
        let mut flags = Vec::new();
        while let Some(frame) = Frame::parse(rest, 4096).unwrap() {
            seen.extend_from_slice(frame.payload);
            flags.push(frame.flags);
            rest = &rest[frame.len()..];
        }
        assert!(rest.is_empty());
        assert_eq!(seen, payload);
        assert_eq!(flags, [LAST_SEGMENT | FIRST_FRAME, LAST_SEGMENT, LAST_SEGMENT | LAST_FRAME]);
    }
}
