//! Putting the segments of one command back together, when they did not arrive in one piece.
//!
//! A session has one [`Assembly`]. The common cases never reach it: a command in one frame, and a
//! transfer whose frames all lie in the input ([`contiguous_content`]), are read in place. What
//! does reach it is copied once, holds only what the peer really sent, and is bounded by
//! [`AssemblyLimits`].

use thiserror::Error;

use super::frame::{
    FIRST_FRAME, FIRST_SEGMENT, Frame, FrameError, LAST_FRAME, LAST_SEGMENT, SegmentKind,
};

/// The bounds of one assembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssemblyLimits {
    /// Octets of a command segment. One frame (64 KiB) is all that other brokers take.
    pub command: usize,
    /// Octets of a header segment.
    pub header: usize,
    /// Octets of a body segment: the largest message.
    pub body: usize,
}

impl Default for AssemblyLimits {
    fn default() -> Self {
        AssemblyLimits { command: 256 << 10, header: 1 << 20, body: 256 << 20 }
    }
}

/// Why an assembly failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum AssemblyError {
    /// The frames do not follow each other as they must: the stream cannot be trusted any more.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A segment outgrew its limit: the session ends.
    #[error("{kind:?} segment is larger than {limit} octets")]
    TooLarge {
        /// The segment.
        kind: SegmentKind,
        /// Its limit.
        limit: usize,
    },
}

/// The content of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload<'a> {
    /// There was no body segment, which is not the same as an empty one.
    Absent,
    /// The body was one frame: it lies in the input.
    Borrowed(&'a [u8]),
    /// The body came in several frames, or before the end of the input.
    Owned(Vec<u8>),
}

impl Payload<'_> {
    /// The octets.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Absent => &[],
            Payload::Borrowed(octets) => octets,
            Payload::Owned(octets) => octets,
        }
    }

    /// The octets as a vector, without a copy if they are one already.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            Payload::Absent => Vec::new(),
            Payload::Borrowed(octets) => octets.to_vec(),
            Payload::Owned(octets) => octets,
        }
    }
}

impl AsRef<[u8]> for Payload<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

/// What a frame did to an assembly.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress<'a> {
    /// More frames must come.
    More,
    /// The command segment is complete and header or body segments must follow: the moment to see
    /// whether it takes any.
    CommandDone,
    /// All segments are there. Command and header are in the assembly's buffer until it is taken
    /// with [`Assembly::take`]; the body is handed over here.
    Done(Payload<'a>),
}

/// The segments of one command so far.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// The command segment, then the header segments.
    meta: Vec<u8>,
    /// Where the command segment ends in `meta`, once it is complete.
    command_len: usize,
    body: Vec<u8>,
    /// Kind and flags of the segment that is being read or was read last; `None` between commands.
    at: Option<(SegmentKind, u8)>,
    /// The last frame finished its segment.
    between: bool,
    header: bool,
}

/// Command and header segments of a finished assembly, in one buffer.
#[derive(Debug, Default)]
pub(super) struct Held {
    octets: Vec<u8>,
    command_len: usize,
    header: bool,
}

impl Held {
    pub(super) fn command(&self) -> &[u8] {
        &self.octets[..self.command_len]
    }

    pub(super) fn header(&self) -> Option<&[u8]> {
        self.header.then(|| &self.octets[self.command_len..])
    }

    /// Takes a segment that is not an assembly's.
    pub(super) fn hold(&mut self, octets: Vec<u8>) {
        *self = Held { command_len: octets.len(), octets, header: false };
    }

    /// Gives the memory back if it is worth it.
    pub(super) fn release(&mut self) {
        if self.octets.capacity() > 256 {
            *self = Held::default();
        }
    }

    /// Octets of memory held.
    pub(super) fn capacity(&self) -> usize {
        self.octets.capacity()
    }
}

impl Assembly {
    /// Nothing has been started.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.at.is_none()
    }

    /// The complete command segment.
    pub(super) fn command(&self) -> &[u8] {
        &self.meta[..self.command_len]
    }

    /// Octets of memory held.
    pub(super) fn capacity(&self) -> usize {
        self.meta.capacity() + self.body.capacity()
    }

    /// Forgets an unfinished command.
    pub(super) fn reset(&mut self) {
        *self = Assembly::default();
    }

    /// Adds a frame of the command track.
    pub(super) fn push<'a>(
        &mut self,
        frame: &Frame<'a>,
        limits: &AssemblyLimits,
    ) -> Result<Progress<'a>, AssemblyError> {
        self.check_place(frame)?;
        let segment_flags = frame.flags & (FIRST_SEGMENT | LAST_SEGMENT);
        self.at = Some((frame.kind, segment_flags));
        self.between = frame.has(LAST_FRAME);
        let done = self.between && frame.has(LAST_SEGMENT);
        match frame.kind {
            // Controls are on another track; `check_place` does not let them through.
            SegmentKind::Control => {}
            SegmentKind::Command => {
                append(&mut self.meta, frame, 0, limits.command)?;
                if self.between {
                    self.command_len = self.meta.len();
                }
            }
            SegmentKind::Header => {
                self.header = true;
                append(&mut self.meta, frame, self.command_len, limits.header)?;
            }
            SegmentKind::Body => {
                if done && frame.has(FIRST_FRAME) && frame.payload.len() <= limits.body {
                    return Ok(Progress::Done(Payload::Borrowed(frame.payload)));
                }
                append(&mut self.body, frame, 0, limits.body)?;
            }
        }
        if done {
            let mut body = std::mem::take(&mut self.body);
            if body.capacity() - body.len() > body.len() / 4 {
                // The message may be kept for long; what doubling left over is not.
                body.shrink_to_fit();
            }
            return Ok(Progress::Done(match frame.kind {
                SegmentKind::Body => Payload::Owned(body),
                _ => Payload::Absent,
            }));
        }
        match self.between && frame.kind == SegmentKind::Command {
            true => Ok(Progress::CommandDone),
            false => Ok(Progress::More),
        }
    }

    /// Moves command and header of a finished assembly into `held` and starts anew.
    pub(super) fn take(&mut self, held: &mut Held) {
        std::mem::swap(&mut held.octets, &mut self.meta);
        held.command_len = self.command_len;
        held.header = self.header;
        // Whatever buffer came back in exchange is not worth keeping in each session.
        self.reset();
    }

    fn check_place(&self, frame: &Frame<'_>) -> Result<(), FrameError> {
        let segment_flags = frame.flags & (FIRST_SEGMENT | LAST_SEGMENT);
        match self.at {
            None if frame.kind == SegmentKind::Command
                && frame.has(FIRST_SEGMENT | FIRST_FRAME) =>
            {
                Ok(())
            }
            None if frame.has(FIRST_SEGMENT | FIRST_FRAME) => Err(FrameError::Order(frame.kind)),
            None => Err(FrameError::NotStarted),
            Some((kind, flags)) if !self.between => {
                if frame.has(FIRST_FRAME) {
                    Err(FrameError::Unfinished)
                } else if (frame.kind, segment_flags) != (kind, flags) {
                    Err(FrameError::Flags)
                } else {
                    Ok(())
                }
            }
            Some((kind, _)) => {
                let follows = match frame.kind {
                    SegmentKind::Header => kind != SegmentKind::Body,
                    SegmentKind::Body => kind != SegmentKind::Body && frame.has(LAST_SEGMENT),
                    SegmentKind::Control | SegmentKind::Command => false,
                };
                if frame.has(FIRST_SEGMENT) {
                    Err(FrameError::Unfinished)
                } else if !frame.has(FIRST_FRAME) {
                    Err(FrameError::NotStarted)
                } else if !follows {
                    Err(FrameError::Order(frame.kind))
                } else {
                    Ok(())
                }
            }
        }
    }
}

fn append(
    to: &mut Vec<u8>,
    frame: &Frame<'_>,
    from: usize,
    limit: usize,
) -> Result<(), AssemblyError> {
    if to.len() - from + frame.payload.len() > limit {
        return Err(AssemblyError::TooLarge { kind: frame.kind, limit });
    }
    to.extend_from_slice(frame.payload);
    Ok(())
}

/// Header and body of a transfer, when each is one frame and both are in the input right behind the
/// command.
pub(super) struct Content<'a> {
    pub(super) header: Option<&'a [u8]>,
    pub(super) body: Option<&'a [u8]>,
    /// Octets of their frames.
    pub(super) len: usize,
}

/// Looks for the content of a transfer in `input`, which starts behind the transfer's command
/// frame. `None` means anything but the plain case, be it an error: [`Assembly`] then takes the
/// frames one by one.
#[inline]
pub(super) fn contiguous_content<'a>(
    input: &'a [u8],
    channel: u16,
    max_frame: u16,
    limits: &AssemblyLimits,
) -> Option<Content<'a>> {
    const SINGLE: u8 = FIRST_FRAME | LAST_FRAME;
    let whole = |at: usize| {
        Frame::parse(input.get(at..)?, max_frame)
            .ok()?
            .filter(|f| f.channel == channel && f.has(SINGLE) && f.flags & FIRST_SEGMENT == 0)
    };
    let first = whole(0)?;
    let (header, body, len) = match first.kind {
        SegmentKind::Header if first.has(LAST_SEGMENT) => (Some(first.payload), None, first.len()),
        SegmentKind::Header => {
            let body = whole(first.len()).filter(|f| f.kind == SegmentKind::Body)?;
            if !body.has(LAST_SEGMENT) {
                return None;
            }
            (Some(first.payload), Some(body.payload), first.len() + body.len())
        }
        SegmentKind::Body if first.has(LAST_SEGMENT) => (None, Some(first.payload), first.len()),
        _ => return None,
    };
    if header.is_some_and(|h| h.len() > limits.header)
        || body.is_some_and(|b| b.len() > limits.body)
    {
        return None;
    }
    Some(Content { header, body, len })
}
