//! Deliveries out, and what is said about deliveries.

use thiserror::Error;

use super::Connection;
use super::link::Life;
use super::session::{Life as SessionLife, Session, Stalled};
use crate::v1_0::codec::Composite;
use crate::v1_0::frame::{FrameKind, OpenFrame, write_frame};
use crate::v1_0::table::{DeliveryState, Disposition, Transfer};
use crate::v1_0::{Role, SequenceNo, quick};
use crate::wire::EncodeError;

/// Why a delivery was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// There is no such link, or it is not attached any more.
    #[error("the link is not attached")]
    Detached,
    /// The peer has given no credit.
    #[error("the link has no credit")]
    NoCredit,
    /// What is said about it does not fit a frame.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// A delivery to be sent.
#[derive(Debug, Clone, Default)]
pub struct Outgoing<'a> {
    /// Names it among those of the link that are not settled; at most 32 octets.
    pub tag: &'a [u8],
    /// The format of the message; 0 for that of the specification.
    pub format: u32,
    /// It is settled with this.
    pub settled: bool,
    /// Its state, in a transaction.
    pub state: Option<DeliveryState<'a>>,
    /// It goes on where the one of this tag was left when its link was detached.
    pub resume: bool,
}

impl Connection {
    /// Sends a delivery whose payload is `parts` one after the other. What the peer's window has no room
    /// for is kept, and follows when it opens.
    pub fn transfer(
        &mut self,
        channel: u16,
        handle: u32,
        outgoing: &Outgoing<'_>,
        parts: &[&[u8]],
    ) -> Result<SequenceNo, SendError> {
        let max = self.max_frame;
        let at = self.find(channel).map_err(|_| SendError::Detached)?;
        let (out, session) = (&mut self.out, &mut *self.sessions[at].1);
        if session.life != SessionLife::Mapped {
            return Err(SendError::Detached);
        }
        let link = session.links.get_mut(&handle).ok_or(SendError::Detached)?;
        if link.life != Life::Attached || link.role != Role::SENDER {
            return Err(SendError::Detached);
        }
        if link.credit == 0 {
            return Err(SendError::NoCredit);
        }
        let id = session.next_delivery_id;
        let mut transfer = Transfer {
            handle,
            delivery_id: Some(id),
            delivery_tag: Some(outgoing.tag),
            message_format: Some(outgoing.format),
            settled: Some(outgoing.settled),
            state: outgoing.state.clone(),
            resume: outgoing.resume,
            ..Transfer::default()
        };
        let all: usize = parts.iter().map(|part| part.len()).sum();
        let mut payload = Pieces { parts, left: all };
        let mut began = false;
        loop {
            let start = out.len();
            let more = write_one(out, channel, &transfer, &mut payload, max).inspect_err(|_| {
                debug_assert!(!began, "what follows the first frame is smaller");
                out.truncate(start);
            })?;
            began = true;
            if session.stalled.is_empty() && session.remote_window > 0 {
                session.remote_window -= 1;
                session.next_outgoing_id = session.next_outgoing_id.next();
            } else {
                stall(session, handle, out, start, true);
            }
            if !more {
                break;
            }
            // Only the first says what all have in common.
            transfer = Transfer { handle, ..Transfer::default() };
        }
        session.next_delivery_id = id.next();
        if let Some(link) = session.links.get_mut(&handle) {
            link.credit -= 1;
            link.delivery_count = link.delivery_count.next();
        }
        Ok(id)
    }

    /// Sender: all there is was sent. Credit that is left is used up, and the peer is told, behind what waits for
    /// its window.
    pub fn drained(&mut self, channel: u16, handle: u32) {
        let max = self.max_frame;
        let Ok(at) = self.find(channel) else { return };
        let (out, session) = (&mut self.out, &mut *self.sessions[at].1);
        let Some(link) = session.links.get_mut(&handle) else { return };
        link.delivery_count = link.delivery_count.add(link.credit);
        link.credit = 0;
        let Some(flow) = session.link_flow(handle) else { return };
        let start = out.len();
        if write_frame(out, channel, &flow.into(), max).is_ok() && !session.stalled.is_empty() {
            stall(session, handle, out, start, false);
        }
        if let Some(link) = session.links.get_mut(&handle) {
            link.drain = false;
        }
    }

    /// Receiver: a delivery is accepted, and settled. Told at the end of the turn, in ranges.
    #[inline]
    pub fn accept(&mut self, channel: u16, id: SequenceNo) {
        if let Ok(at) = self.find(channel) {
            self.sessions[at].1.accepted.add(id);
            self.list(channel);
        }
    }

    /// Tells the state of a range of deliveries, at once: of those that we received as the receiver, of
    /// those that we sent as the sender.
    pub fn dispose(
        &mut self,
        channel: u16,
        role: Role,
        (first, last): (SequenceNo, SequenceNo),
        settled: bool,
        state: Option<DeliveryState<'_>>,
    ) {
        if self.session(channel).is_none_or(|session| session.life != SessionLife::Mapped) {
            return;
        }
        let last = (last != first).then_some(last);
        let disposition = Disposition { role, first, last, settled, state, batchable: false };
        self.write(channel, &disposition.into());
    }
}

/// The payload of a delivery, as far as it is not written.
struct Pieces<'a, 'p> {
    parts: &'p [&'a [u8]],
    left: usize,
}

impl Pieces<'_, '_> {
    /// Appends the next `count` octets.
    fn take(&mut self, mut count: usize, out: &mut Vec<u8>) {
        let total: usize = self.parts.iter().map(|part| part.len()).sum();
        let mut skip = total - self.left;
        self.left -= count;
        for part in self.parts {
            if skip >= part.len() {
                skip -= part.len();
                continue;
            }
            let piece = &part[skip..];
            skip = 0;
            let piece = &piece[..piece.len().min(count)];
            out.extend_from_slice(piece);
            count -= piece.len();
            if count == 0 {
                return;
            }
        }
    }
}

/// Writes one frame of a delivery. True if more must follow.
fn write_one(
    out: &mut Vec<u8>,
    channel: u16,
    transfer: &Transfer<'_>,
    payload: &mut Pieces<'_, '_>,
    max: u32,
) -> Result<bool, EncodeError> {
    let frame = OpenFrame::begin(out, FrameKind::Amqp, channel);
    let body = out.len();
    if !quick::put_transfer(transfer, out)
        && let Err(error) = transfer.encode(out)
    {
        frame.abandon(out);
        return Err(error);
    }
    let mut more = payload.left > frame.room(out, max);
    if more {
        out.truncate(body);
        Transfer { more, ..transfer.clone() }.encode(out)?;
        let room = frame.room(out, max);
        // A frame with no room for payload would be followed by others for ever.
        if room == 0 {
            let len = out.len() - body;
            frame.abandon(out);
            return Err(EncodeError::TooLong { len, max: max as usize });
        }
        more = payload.left > room;
        payload.take(room.min(payload.left), out);
    } else {
        payload.take(payload.left, out);
    }
    frame.finish(out, 0, max)?;
    Ok(more)
}

/// Takes the frame at the end of the output back, until the window lets it through.
fn stall(session: &mut Session, handle: u32, out: &mut Vec<u8>, start: usize, is_transfer: bool) {
    let octets: Box<[u8]> = out[start..].into();
    out.truncate(start);
    session.stalled_bytes += octets.len();
    session.stalled.push_back(Stalled { handle, is_transfer, octets });
}
