//! Octets to events: frames, what may come when, and the transfers of a delivery put together.

use std::borrow::Cow;
use std::time::Duration;

use super::event::Event;
use super::fault::Fault;
use super::link::{Life, Partial};
use super::session::Life as SessionLife;
use super::{Connection, News, Phase};
use crate::v1_0::codec::Composite;
use crate::v1_0::frame::{Frame, FrameKind};
use crate::v1_0::table::{Attach, Begin, DeliveryState, Disposition, Error, Open, Transfer};
use crate::v1_0::types::MapRef;
use crate::v1_0::{Performative, Role, SequenceNo, amqp_error, link_error, quick, session_error};
use crate::wire::Reader;

/// Octets of the largest delivery tag (part 2.8.7).
const TAG_MAX: usize = 32;

/// An event before it borrows the connection.
pub(super) enum Ready<'i> {
    Authenticate {
        mechanism: &'i str,
        response: Option<&'i [u8]>,
    },
    Response(&'i [u8]),
    Challenge(&'i [u8]),
    Open(Open<'i>),
    Begin {
        channel: u16,
        begin: Begin<'i>,
    },
    Begun {
        channel: u16,
        begin: Begin<'i>,
    },
    Attach {
        channel: u16,
        handle: u32,
        attach: Attach<'i>,
    },
    Attached {
        channel: u16,
        handle: u32,
        attach: Attach<'i>,
    },
    Credit {
        channel: u16,
        handle: u32,
        credit: u32,
        drain: bool,
        properties: Option<MapRef<'i>>,
    },
    /// A delivery in one frame.
    Whole {
        channel: u16,
        handle: u32,
        id: SequenceNo,
        transfer: Transfer<'i>,
        payload: &'i [u8],
    },
    /// One that is held.
    Held {
        channel: u16,
        handle: u32,
    },
    Disposition(u16, Role, SequenceNo, SequenceNo, bool, Option<DeliveryState<'i>>),
    Detach {
        channel: u16,
        handle: u32,
        closed: bool,
        error: Option<Error<'i>>,
        answer: bool,
    },
    End {
        channel: u16,
        error: Option<Error<'i>>,
        answer: bool,
    },
    Close(Option<Error<'i>>),
    News(News),
}

impl Connection {
    pub(super) fn advance<'i>(&mut self, now: Duration, input: &mut &'i [u8]) -> Option<Ready<'i>> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Some(Ready::News(news));
            }
            if self.phase == Phase::Closed {
                *input = &[];
                return None;
            }
            if self.must_wait() || input.is_empty() {
                return None;
            }
            if matches!(self.phase, Phase::Header | Phase::SaslHeader) {
                if self.header(input) {
                    self.clock.heard(now);
                } else if self.phase != Phase::Closed {
                    return None;
                }
                continue;
            }
            let frame = match Frame::parse(input, self.identity().max_frame_size) {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => {
                    self.fault(0, error.into());
                    continue;
                }
            };
            *input = &input[frame.len()..];
            self.clock.heard(now);
            match self.frame(&frame) {
                Ok(Some(ready)) => return Some(ready),
                Ok(None) => {}
                Err(fault) => {
                    let channel = self.local_channel(frame.channel).unwrap_or(frame.channel);
                    self.fault(channel, fault);
                }
            }
        }
    }

    fn frame<'i>(&mut self, frame: &Frame<'i>) -> Result<Option<Ready<'i>>, Fault> {
        let sasl = matches!(
            self.phase,
            Phase::Init | Phase::Response | Phase::Mechanisms | Phase::Outcome
        );
        if sasl != (frame.kind == FrameKind::Sasl) {
            let what = if sasl { "a frame of AMQP" } else { "a frame of SASL" };
            return Err(Fault::unexpected(what, "now"));
        }
        if sasl {
            return self.on_sasl(frame.sasl()?);
        }
        if frame.is_empty() {
            return Ok(None);
        }
        if self.phase == Phase::Opened
            && let Some(channel) = self.local_channel(frame.channel)
            && self.is_mapped(channel)
        {
            // One of either for each message.
            if let Some((transfer, payload)) = quick::read_transfer(frame.body) {
                return self.on_transfer(channel, transfer, payload);
            }
            if let Some(disposition) = quick::read_disposition(frame.body) {
                return Ok(self.on_disposition(channel, disposition));
            }
        }
        let (performative, payload) = frame.performative()?;
        match (performative, self.phase) {
            (Performative::Open(open), _) => self.on_open(open),
            (Performative::Close(close), _) => Ok(self.on_close(close)),
            // Sent before the peer knew that we close.
            (_, Phase::Closing) => Ok(None),
            (Performative::Begin(begin), Phase::Opened) => self.on_begin(frame.channel, begin),
            (performative, Phase::Opened) => {
                let Some(channel) = self.local_channel(frame.channel) else {
                    let text = format!(
                        "{} on channel {}, which has no session",
                        performative.name(),
                        frame.channel
                    );
                    return Err(Fault::connection(amqp_error::NOT_FOUND, text));
                };
                self.of_session(channel, performative, payload)
            }
            (performative, _) => Err(Fault::unexpected(performative.name(), "before open")),
        }
    }

    #[inline]
    fn is_mapped(&self, channel: u16) -> bool {
        self.find(channel).is_ok_and(|at| self.sessions[at].1.life == SessionLife::Mapped)
    }

    #[inline]
    fn of_session<'i>(
        &mut self,
        channel: u16,
        performative: Performative<'i>,
        payload: &'i [u8],
    ) -> Result<Option<Ready<'i>>, Fault> {
        let Ok(at) = self.find(channel) else { return Ok(None) };
        if let Performative::End(end) = performative {
            return Ok(self.on_end(channel, end));
        }
        if self.sessions[at].1.life != SessionLife::Mapped {
            return Ok(None);
        }
        match performative {
            Performative::Transfer(transfer) => self.on_transfer(channel, transfer, payload),
            Performative::Disposition(disposition) => Ok(self.on_disposition(channel, disposition)),
            Performative::Flow(flow) => self.on_flow(channel, flow),
            Performative::Attach(attach) => self.on_attach(channel, attach),
            Performative::Detach(detach) => self.on_detach(channel, detach),
            Performative::Open(_)
            | Performative::Begin(_)
            | Performative::End(_)
            | Performative::Close(_) => Ok(None),
        }
    }

    fn on_transfer<'i>(
        &mut self,
        channel: u16,
        transfer: Transfer<'i>,
        payload: &'i [u8],
    ) -> Result<Option<Ready<'i>>, Fault> {
        let handle = self.link_of(channel, transfer.handle)?;
        let (message_max, partial_bytes) = (self.limits().message, self.partial_bytes);
        let Ok(at) = self.find(channel) else { return Ok(None) };
        let session = &mut self.sessions[at].1;
        session.next_incoming_id = session.next_incoming_id.next();
        if session.incoming_window == 0 {
            let text = "a transfer beyond the incoming-window";
            return Err(Fault::session(session_error::WINDOW_VIOLATION, text));
        }
        session.incoming_window -= 1;
        let tell_window = session.incoming_window <= session.window / 2 && !session.listed;
        let Some(link) = session.links.get_mut(&handle) else { return Ok(None) };
        if link.role == Role::SENDER {
            let text = "a transfer on a link on which the peer receives";
            return Err(Fault::link(handle, amqp_error::NOT_ALLOWED, text));
        }
        // Detached at our end, while this was on its way.
        let wanted = link.life == Life::Attached;
        let first = link.partial.is_none();
        if first {
            let Some(id) = transfer.delivery_id else {
                let text = "the first transfer of a delivery without delivery-id";
                return Err(Fault::session(amqp_error::INVALID_FIELD, text));
            };
            if session.next_received_id.is_some_and(|next| next != id) {
                let text = format!("delivery-id {id} does not follow that of the delivery before");
                return Err(Fault::session(amqp_error::NOT_ALLOWED, text));
            }
            session.next_received_id = Some(id.next());
        }
        if tell_window {
            self.list(channel);
        }
        if !wanted {
            return Ok(None);
        }
        let session = &mut self.sessions[at].1;
        let Some(link) = session.links.get_mut(&handle) else { return Ok(None) };
        if first {
            if link.credit == 0 {
                let text = "a delivery beyond the link-credit";
                return Err(Fault::link(handle, link_error::TRANSFER_LIMIT_EXCEEDED, text));
            }
            link.credit -= 1;
            link.delivery_count = link.delivery_count.next();
            let Some(tag) = transfer.delivery_tag else {
                let text = "the first transfer of a delivery without delivery-tag";
                return Err(Fault::link(handle, amqp_error::INVALID_FIELD, text));
            };
            if tag.len() > TAG_MAX {
                let text = format!("a delivery-tag of {} octets, more than {TAG_MAX}", tag.len());
                return Err(Fault::link(handle, amqp_error::INVALID_FIELD, text));
            }
        }
        if transfer.aborted {
            self.drop_partial(channel, handle);
            if let Some(link) = self.sessions[at].1.links.get_mut(&handle) {
                link.busy = link.busy.saturating_add(1);
            }
            self.finished(channel, handle);
            return Ok(None);
        }
        let come = link.partial.as_ref().map_or(0, |partial| partial.payload.len());
        let all = partial_bytes + payload.len();
        if come + payload.len() > message_max || (all > message_max && (transfer.more || !first)) {
            let text = format!(
                "a message of more than {message_max} octets, or several that are not complete"
            );
            return Err(Fault::link(handle, link_error::MESSAGE_SIZE_EXCEEDED, text));
        }
        if first && !transfer.more {
            link.busy += 1;
            let id = transfer.delivery_id.unwrap_or_default();
            return Ok(Some(Ready::Whole { channel, handle, id, transfer, payload }));
        }
        if first {
            let mut encoded = Vec::new();
            let settled = transfer.settled.unwrap_or(false);
            let id = transfer.delivery_id.unwrap_or_default();
            if let Err(error) = transfer.encode(&mut encoded) {
                let text = format!("the transfer cannot be kept: {error}");
                return Err(Fault::link(handle, amqp_error::INTERNAL_ERROR, text));
            }
            let payload = payload.to_vec();
            self.partial_bytes += payload.len();
            link.partial = Some(Box::new(Partial { id, first: encoded, payload, settled }));
            return Ok(None);
        }
        let Some(partial) = &mut link.partial else { return Ok(None) };
        if transfer.delivery_id.is_some_and(|id| id != partial.id) {
            let text = "a delivery begins before the one before it on its link is complete";
            return Err(Fault::link(handle, amqp_error::NOT_ALLOWED, text));
        }
        partial.payload.extend_from_slice(payload);
        partial.settled |= transfer.settled.unwrap_or(false);
        self.partial_bytes += payload.len();
        if transfer.more {
            return Ok(None);
        }
        link.busy += 1;
        self.held = link.partial.take();
        self.partial_bytes -= self.held.as_ref().map_or(0, |held| held.payload.len());
        Ok(Some(Ready::Held { channel, handle }))
    }

    fn on_disposition<'i>(
        &mut self,
        channel: u16,
        disposition: Disposition<'i>,
    ) -> Option<Ready<'i>> {
        let Disposition { role, first, last, settled, state, .. } = disposition;
        let mut last = last.unwrap_or(first);
        if role == Role::RECEIVER {
            // What was never sent has no state.
            let newest = self.session(channel)?.next_delivery_id.sub(1);
            if last.is_after(newest) {
                last = newest;
            }
        }
        if last.is_before(first) {
            return None;
        }
        Some(Ready::Disposition(channel, role, first, last, settled, state))
    }

    pub(super) fn event<'a, 'i: 'a>(&'a mut self, ready: Ready<'i>) -> Option<Event<'a>> {
        Some(match ready {
            Ready::Whole { channel, handle, id, transfer, payload } => {
                let settled = transfer.settled.unwrap_or(false);
                let payload = Cow::Borrowed(payload);
                Event::Delivery { channel, handle, id, transfer, settled, payload }
            }
            Ready::Held { channel, handle } => {
                let held = self.held.as_mut()?;
                let payload = Cow::Owned(std::mem::take(&mut held.payload));
                let (id, settled) = (held.id, held.settled);
                let transfer = Transfer::decode(&mut Reader::new(&held.first)).ok()?;
                Event::Delivery { channel, handle, id, transfer, settled, payload }
            }
            Ready::Disposition(channel, role, first, last, settled, state) => {
                Event::Disposition { channel, role, first, last, settled, state }
            }
            Ready::Credit { channel, handle, credit, drain, properties } => {
                Event::Credit { channel, handle, credit, drain, properties }
            }
            Ready::Authenticate { mechanism, response } => {
                Event::Authenticate { mechanism, response }
            }
            Ready::Response(response) => Event::Response { response },
            Ready::Challenge(challenge) => Event::Challenge { challenge },
            Ready::Open(open) => Event::Open { open },
            Ready::Begin { channel, begin } => Event::Begin { channel, begin },
            Ready::Begun { channel, begin } => Event::Begun { channel, begin },
            Ready::Attach { channel, handle, attach } => Event::Attach { channel, handle, attach },
            Ready::Attached { channel, handle, attach } => {
                Event::Attached { channel, handle, attach }
            }
            Ready::Detach { channel, handle, closed, error, answer } => {
                Event::Detach { channel, handle, closed, error, answer }
            }
            Ready::End { channel, error, answer } => Event::End { channel, error, answer },
            Ready::Close(error) => Event::Close { error },
            Ready::News(News::LinkFailed { channel, handle, text }) => {
                Event::LinkFailed { channel, handle, text }
            }
            Ready::News(News::SessionFailed { channel, text }) => {
                Event::SessionFailed { channel, text }
            }
            Ready::News(News::Drained { channel, handle }) => Event::Drained { channel, handle },
            Ready::News(News::Closed { text }) => Event::Closed { text },
        })
    }
}
