//! From octets to events: frames are taken off the input, put together, and given to the rules that
//! concern them.
//!
//! Two steps, because an event borrows the connection: `advance` changes state and says what is
//! ready, `event` then builds the borrowing value from that.

use std::time::Duration;

use super::event::{Ending, Event};
use super::fault::{Failure, Fault};
use super::session::{Life, Receipt};
use super::{Connection, Phase};
use crate::serial::CommandId;
use crate::v0_10::assembly::{AssemblyError, Payload, Progress, contiguous_content};
use crate::v0_10::frame::{
    FIRST_FRAME, FIRST_SEGMENT, Frame, FrameError, LAST_FRAME, LAST_SEGMENT, PROTOCOL_HEADER,
    SegmentKind, WHOLE,
};
use crate::v0_10::table::{message, session as controls};
use crate::v0_10::{BodyError, CloseCode, Command, Control};

/// Octets of a control in several frames.
const MAX_CONTROL: usize = 64 << 10;

/// A control that came in part.
#[derive(Debug)]
pub(super) struct Fragment {
    channel: u16,
    octets: Vec<u8>,
}

/// Where a segment is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Input(&'a [u8]),
    /// In `Connection::held`.
    Held,
}

/// An event to be, borrowing nothing but the input.
#[derive(Debug)]
pub(super) enum Ready<'a> {
    Ended(u16, Ending),
    Closed,
    Control(u16, Source<'a>),
    Completed(u16),
    /// `None`: in `Connection::held`, and known to be valid.
    Command(u16, CommandId, bool, Option<Command<'a>>),
    /// `None`: likewise, with the header.
    Transfer(u16, CommandId, bool, Option<(message::Transfer<'a>, Option<&'a [u8]>)>, Payload<'a>),
}

/// What a control leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emit {
    Nothing,
    Control,
    Completed,
}

impl Connection {
    pub(super) fn advance<'a>(&mut self, now: Duration, input: &mut &'a [u8]) -> Option<Ready<'a>> {
        loop {
            if !self.endings.is_empty() {
                let (channel, ending) = self.endings.remove(0);
                return Some(Ready::Ended(channel, ending));
            }
            match self.phase {
                Phase::Closed => {
                    *input = &[];
                    let over = self.over.as_mut().filter(|over| !over.reported)?;
                    over.reported = true;
                    return Some(Ready::Closed);
                }
                Phase::Header => {
                    self.protocol_header(input)?;
                    continue;
                }
                _ => {}
            }
            let frame = match Frame::parse(input, self.max_frame) {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => {
                    self.fail(CloseCode::FRAMING_ERROR, error.to_string());
                    continue;
                }
            };
            if self.must_wait(&frame) {
                return None;
            }
            *input = &input[frame.len()..];
            self.clock.heard(now);
            let outcome = match frame.kind {
                SegmentKind::Control => self.control_frame(&frame),
                _ => self.command_frame(&frame, input),
            };
            match outcome {
                Ok(Some(ready)) => return Some(ready),
                Ok(None) => {}
                Err(Failure::Connection { code, text }) => self.fail(code, text),
                Err(Failure::Session(fault)) => {
                    let current = self.sessions.get(frame.channel).map(|s| s.current());
                    self.raise(frame.channel, fault, current, [0, 0], None);
                }
            }
        }
    }

    /// Reads the peer's protocol header. `None` if it is not all there.
    fn protocol_header(&mut self, input: &mut &[u8]) -> Option<()> {
        let seen = input.len().min(PROTOCOL_HEADER.len());
        if input[..seen] != PROTOCOL_HEADER[..seen] {
            if self.is_server() {
                // The specification's way to refuse: say what would have been right, and close.
                self.out.extend_from_slice(&PROTOCOL_HEADER);
            }
            self.fail(CloseCode::FRAMING_ERROR, "the peer does not speak AMQP 0-10");
            return Some(());
        }
        if seen < PROTOCOL_HEADER.len() {
            return None;
        }
        *input = &input[seen..];
        self.greeted();
        Some(())
    }

    fn control_frame<'a>(&mut self, frame: &Frame<'a>) -> Result<Option<Ready<'a>>, Failure> {
        if !frame.has(FIRST_SEGMENT | LAST_SEGMENT) {
            return Err(FrameError::Control(MAX_CONTROL).into());
        }
        let channel = frame.channel;
        if frame.has(WHOLE) {
            let control = decode_control(frame.payload)?;
            let emit = self.handle_control(channel, &control)?;
            return Ok(ready(emit, channel, Source::Input(frame.payload)));
        }
        if !self.fragment_of_control(frame)? {
            return Ok(None);
        }
        // The control borrows `held`, and handling it needs the rest of the connection.
        let held = std::mem::take(&mut self.held);
        let outcome = decode_control(held.command())
            .and_then(|control| self.handle_control(channel, &control));
        self.held = held;
        Ok(ready(outcome?, channel, Source::Held))
    }

    /// Adds to a control in several frames; true when it is complete in `held`.
    fn fragment_of_control(&mut self, frame: &Frame<'_>) -> Result<bool, Failure> {
        if frame.has(FIRST_FRAME) {
            if self.fragment.is_some() {
                return Err(FrameError::ControlInterleaved.into());
            }
            let (channel, octets) = (frame.channel, frame.payload.to_vec());
            self.fragment = Some(Box::new(Fragment { channel, octets }));
            return Ok(false);
        }
        let Some(fragment) = self.fragment.as_mut().filter(|f| f.channel == frame.channel) else {
            return Err(FrameError::NotStarted.into());
        };
        if fragment.octets.len() + frame.payload.len() > MAX_CONTROL {
            return Err(FrameError::Control(MAX_CONTROL).into());
        }
        fragment.octets.extend_from_slice(frame.payload);
        if !frame.has(LAST_FRAME) {
            return Ok(false);
        }
        if let Some(fragment) = self.fragment.take() {
            self.held.hold(fragment.octets);
        }
        Ok(true)
    }

    fn handle_control(&mut self, channel: u16, control: &Control<'_>) -> Result<Emit, Failure> {
        if control.class() == CONNECTION_CLASS {
            return self.connection_control(channel, control);
        }
        self.check_channel(channel)?;
        if self.phase == Phase::Closing {
            return Ok(Emit::Nothing);
        }
        match self.session_control(channel, control) {
            Err(Failure::Session(fault)) => {
                let current = self.sessions.get(channel).map(|session| session.current());
                self.raise(channel, fault, current, [control.class(), control.code()], None);
                Ok(Emit::Nothing)
            }
            outcome => outcome,
        }
    }

    fn check_channel(&self, channel: u16) -> Result<(), Failure> {
        match self.phase {
            Phase::Opened | Phase::Closing if channel <= self.channel_max => Ok(()),
            Phase::Opened | Phase::Closing => Err(Failure::framing(format!(
                "channel {channel} is above the agreed maximum {}",
                self.channel_max
            ))),
            _ => Err(Failure::framing("connection not yet open, invalid frame received")),
        }
    }

    fn command_frame<'a>(
        &mut self,
        frame: &Frame<'a>,
        input: &mut &'a [u8],
    ) -> Result<Option<Ready<'a>>, Failure> {
        let channel = frame.channel;
        self.check_channel(channel)?;
        let (max_frame, limits) = (self.max_frame, self.limits().assembly);
        let Some(session) = self.sessions.get(channel) else {
            if self.phase != Phase::Closing && frame.has(FIRST_SEGMENT | FIRST_FRAME) {
                self.not_attached(channel);
            }
            return Ok(None);
        };
        if session.life != Life::Attached {
            return Ok(None);
        }
        if !session.ready {
            return Err(Fault::illegal_state("a command before the command-point").into());
        }
        let whole = FIRST_SEGMENT | FIRST_FRAME | LAST_FRAME;
        if frame.kind == SegmentKind::Command && frame.has(whole) && session.assembly.is_idle() {
            if frame.has(LAST_SEGMENT) {
                return Ok(self.command(channel, frame.payload));
            }
            if is_transfer(frame.payload)
                && let Some(content) = contiguous_content(input, channel, max_frame, &limits)
            {
                *input = &input[content.len..];
                return Ok(self.transfer_in(channel, frame.payload, content.header, content.body));
            }
        }
        match session.assembly.push(frame, &limits) {
            Ok(Progress::More) => Ok(None),
            Ok(Progress::CommandDone) => {
                let code = session.assembly.command();
                if is_transfer(code) {
                    return Ok(None);
                }
                let code = code_of(code);
                let current = session.current();
                let fault = Fault::command_invalid("header or body after a command that has none");
                self.raise(channel, fault, Some(current), code, None);
                Ok(None)
            }
            Ok(Progress::Done(body)) => {
                session.assembly.take(&mut self.held);
                Ok(self.assembled(channel, body))
            }
            Err(AssemblyError::Frame(error)) => Err(error.into()),
            Err(error @ AssemblyError::TooLarge { .. }) => {
                let current = session.current();
                let code = match session.assembly.command() {
                    [] => code_of(frame.payload),
                    command => code_of(command),
                };
                let fault = Fault::resource_limit(error.to_string());
                self.raise(channel, fault, Some(current), code, None);
                Ok(None)
            }
        }
    }

    /// A command in one frame.
    fn command<'a>(&mut self, channel: u16, segment: &'a [u8]) -> Option<Ready<'a>> {
        if is_transfer(segment) {
            return self.transfer_in(channel, segment, None, None);
        }
        let decoded = Command::decode_segment(segment);
        let (id, sync) = self.admit(channel, segment, &decoded)?;
        let (_, command) = decoded.ok()?;
        Some(Ready::Command(channel, id, sync, Some(command)))
    }

    /// A transfer that lies in the input.
    fn transfer_in<'a>(
        &mut self,
        channel: u16,
        segment: &'a [u8],
        header: Option<&'a [u8]>,
        body: Option<&'a [u8]>,
    ) -> Option<Ready<'a>> {
        let decoded = Command::decode_segment(segment);
        let (id, sync) = self.admit(channel, segment, &decoded)?;
        let (_, Command::MessageTransfer(transfer)) = decoded.ok()? else { return None };
        let body = body.map_or(Payload::Absent, Payload::Borrowed);
        Some(Ready::Transfer(channel, id, sync, Some((transfer, header)), body))
    }

    /// A command in `held`.
    fn assembled<'a>(&mut self, channel: u16, body: Payload<'a>) -> Option<Ready<'a>> {
        let held = std::mem::take(&mut self.held);
        let decoded = Command::decode_segment(held.command());
        let admitted = self.admit(channel, held.command(), &decoded);
        let transfer = matches!(decoded, Ok((_, Command::MessageTransfer(_))));
        self.held = held;
        let (id, sync) = admitted?;
        Some(match transfer {
            true => Ready::Transfer(channel, id, sync, None, body),
            false => Ready::Command(channel, id, sync, None),
        })
    }

    /// Enters a command into the session's books. `None` if it ends there: a duplicate, one that is
    /// not valid, or `execution.sync`, which only waits for the commands before it.
    fn admit(
        &mut self,
        channel: u16,
        segment: &[u8],
        decoded: &Result<(controls::Header, Command<'_>), BodyError>,
    ) -> Option<(CommandId, bool)> {
        let session = self.sessions.get(channel)?;
        let Receipt::New(id) = session.receive() else { return None };
        let (header, command) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                let (fault, field) = fault_of(error);
                self.raise(channel, fault, Some(id), code_of(segment), field);
                return None;
            }
        };
        match command {
            Command::ExecutionSync(_) => {
                session.pend_sync(id);
                self.list(channel);
                return None;
            }
            Command::ExecutionResult(_) | Command::ExecutionException(_) => {
                session.done(id, id);
                self.list(channel);
            }
            _ => session.pend(id),
        }
        Some((id, header.sync))
    }

    /// Builds the event. Returns `None` only for what `advance` never says.
    pub(super) fn event<'a>(&'a self, ready: Ready<'a>) -> Option<Event<'a>> {
        Some(match ready {
            Ready::Ended(channel, ending) => Event::Detached { channel, ending },
            Ready::Closed => {
                let over = self.over.as_ref()?;
                Event::Closed { code: over.code, text: &over.text, by_peer: over.by_peer }
            }
            Ready::Completed(channel) => Event::Completed { channel, commands: &self.newly },
            Ready::Control(channel, source) => {
                let segment = match source {
                    Source::Input(segment) => segment,
                    Source::Held => self.held.command(),
                };
                control_event(channel, Control::decode_segment(segment).ok()?)?
            }
            Ready::Command(channel, id, sync, command) => {
                let command = match command {
                    Some(command) => command,
                    None => Command::decode_segment(self.held.command()).ok()?.1,
                };
                command_event(channel, id, sync, command)
            }
            Ready::Transfer(channel, id, sync, Some((transfer, header)), body) => {
                Event::Transfer { channel, id, sync, transfer, header, body }
            }
            Ready::Transfer(channel, id, sync, None, body) => {
                let (_, Command::MessageTransfer(transfer)) =
                    Command::decode_segment(self.held.command()).ok()?
                else {
                    return None;
                };
                Event::Transfer { channel, id, sync, transfer, header: self.held.header(), body }
            }
        })
    }
}

const CONNECTION_CLASS: u8 = 1;

fn ready(emit: Emit, channel: u16, source: Source<'_>) -> Option<Ready<'_>> {
    match emit {
        Emit::Nothing => None,
        Emit::Control => Some(Ready::Control(channel, source)),
        Emit::Completed => Some(Ready::Completed(channel)),
    }
}

fn decode_control(segment: &[u8]) -> Result<Control<'_>, Failure> {
    Control::decode_segment(segment).map_err(|error| Failure::framing(error.to_string()))
}

fn is_transfer(segment: &[u8]) -> bool {
    const TRANSFER: &[u8] = &[4, 1];
    segment.starts_with(TRANSFER)
}

/// Class and code of a command, as far as they are there.
fn code_of(segment: &[u8]) -> [u8; 2] {
    segment.first_chunk().copied().unwrap_or_default()
}

/// The exception for a command that cannot be decoded, and the field to blame.
fn fault_of(error: &BodyError) -> (Fault, Option<u8>) {
    match error {
        BodyError::UnknownClass { .. } | BodyError::UnknownCode { .. } => {
            (Fault::not_implemented(error.to_string()), None)
        }
        BodyError::Field { index, .. } => (Fault::command_invalid(error.to_string()), Some(*index)),
        _ => (Fault::command_invalid(error.to_string()), None),
    }
}

fn command_event(channel: u16, id: CommandId, sync: bool, command: Command<'_>) -> Event<'_> {
    match command {
        Command::ExecutionResult(result) => Event::Result {
            channel,
            command_id: result.command_id.unwrap_or_default(),
            value: result.value,
        },
        Command::ExecutionException(exception) => Event::Exception { channel, exception },
        command => Event::Command { channel, id, sync, command },
    }
}

fn control_event(channel: u16, control: Control<'_>) -> Option<Event<'_>> {
    Some(match control {
        Control::ConnectionStartOk(body) => Event::Authenticate {
            mechanism: body.mechanism.unwrap_or_default(),
            response: body.response,
            locale: body.locale.unwrap_or_default(),
            client_properties: body.client_properties,
        },
        Control::ConnectionSecureOk(body) => {
            Event::Response { response: body.response.unwrap_or_default() }
        }
        Control::ConnectionOpen(body) => Event::Open {
            virtual_host: body.virtual_host.unwrap_or_default(),
            capabilities: body.capabilities,
            insist: body.insist,
        },
        Control::ConnectionStart(body) => {
            Event::Start { server_properties: body.server_properties, mechanisms: body.mechanisms }
        }
        Control::ConnectionSecure(body) => {
            Event::Challenge { challenge: body.challenge.unwrap_or_default() }
        }
        Control::ConnectionOpenOk(body) => Event::Opened { known_hosts: body.known_hosts },
        Control::ConnectionRedirect(body) => {
            Event::Redirected { host: body.host.unwrap_or_default(), known_hosts: body.known_hosts }
        }
        Control::SessionAttach(body) => {
            Event::Attach { channel, name: body.name.unwrap_or_default(), force: body.force }
        }
        Control::SessionAttached(_) => Event::Attached { channel },
        Control::SessionTimeout(body) => {
            Event::Timeout { channel, seconds: body.timeout.unwrap_or_default() }
        }
        _ => return None,
    })
}
