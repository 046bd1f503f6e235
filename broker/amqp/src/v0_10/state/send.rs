//! What the driver makes a session do: attach and detach, complete what came, send commands and
//! messages.
//!
//! Frames are encoded straight into the connection's output. A method that names a channel without
//! a live session does nothing, or says [`SendError::NotAttached`]: sessions end at any moment, and
//! the driver hears of it by an event.

use thiserror::Error;

use super::event::Ending;
use super::fault::{Fault, truncated};
use super::session::{Life, Session};
use super::{Connection, Phase};
use crate::serial::{CommandId, SequenceSet};
use crate::v0_10::frame::{
    FIRST_SEGMENT, HEADER_LEN, LAST_SEGMENT, OpenSegment, SegmentKind, write_segment,
};
use crate::v0_10::table::{execution, message, session};
use crate::v0_10::{Command, Compound, Control, DetachCode, ErrorCode};
use crate::wire::EncodeError;

/// The longest description that goes into an exception.
const MAX_DESCRIPTION: usize = 1024;

/// Why a command was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The channel has no session, or its session is being detached.
    #[error("no session is attached to the channel")]
    NotAttached,
    /// The command cannot be put on the wire; nothing was sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Why a session was not attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AttachError {
    /// The connection is not open.
    #[error("the connection is not open")]
    NotOpen,
    /// All channels agreed on, or all sessions allowed, are in use.
    #[error("no channel is free")]
    NoChannel,
    /// The name is too long.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// What was wrong with a command, for [`Connection::exception`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Blame {
    /// The command, if it was one.
    pub command_id: Option<CommandId>,
    /// Its class code.
    pub class: u8,
    /// Its code in the class.
    pub code: u8,
    /// Its field, counted from 0.
    pub field: u8,
}

impl Blame {
    /// A command received with this id.
    pub fn command(id: CommandId, command: &Command<'_>) -> Blame {
        Blame { command_id: Some(id), class: command.class(), code: command.code(), field: 0 }
    }
}

// ---- sessions ----

impl Connection {
    /// Client: attaches a new session and returns its channel. Commands may be sent at once;
    /// `Attached` or `Detached` says what became of them.
    pub fn attach(&mut self, name: &[u8], force: bool) -> Result<u16, AttachError> {
        if self.phase != Phase::Opened || self.is_server() {
            return Err(AttachError::NotOpen);
        }
        let max = usize::from(u16::MAX);
        if name.len() > max - HEADER_LEN {
            return Err(EncodeError::TooLong { len: name.len(), max }.into());
        }
        let channel = self
            .sessions
            .free_channel(self.channel_max)
            .filter(|_| self.sessions.len() < self.limits().sessions)
            .ok_or(AttachError::NoChannel)?;
        self.sessions.insert(channel, Session::new(name, Life::Attaching));
        self.control(channel, &session::Attach { name: Some(name), force }.into());
        self.command_point_out(channel);
        Ok(channel)
    }

    /// Client: asks how long the session may outlive its connection. The answer comes as `Timeout`.
    pub fn request_timeout(&mut self, channel: u16, seconds: u32) -> Result<(), SendError> {
        self.live(channel)?;
        self.control(channel, &session::RequestTimeout { timeout: Some(seconds) }.into());
        Ok(())
    }

    /// Server: accepts an `Attach`.
    pub fn attach_ok(&mut self, channel: u16) {
        let Some(session) = self.sessions.get(channel) else { return };
        if session.life != Life::Offered {
            return;
        }
        session.life = Life::Attached;
        session.answered = true;
        let name = session.name.clone();
        if self.complained == Some(channel) {
            self.complained = None;
        }
        self.control(channel, &session::Attached { name: Some(&name) }.into());
        self.command_point_out(channel);
    }

    /// Server: refuses an `Attach`, with session-busy when the name is in use.
    pub fn refuse_attach(&mut self, channel: u16, code: DetachCode) {
        if self.sessions.peek(channel).is_some_and(|s| s.life == Life::Offered)
            && let Some(session) = self.sessions.remove(channel)
        {
            // What the client sent on the assumption that it is attached needs no second answer.
            self.complained = Some(channel);
            self.detached_out(channel, &session.name, code);
        }
    }

    /// Detaches a session in order. `Detached` comes when the peer has answered; what it sends
    /// until then is ignored.
    pub fn detach(&mut self, channel: u16) {
        let Some(session) = self.sessions.get(channel) else { return };
        if !matches!(session.life, Life::Attached | Life::Attaching) {
            return;
        }
        write_report(&mut self.out, self.max_frame, channel, session);
        session.stop();
        let name = session.name.clone();
        self.control(channel, &session::Detach { name: Some(&name) }.into());
    }

    /// Takes a session away from the peer at once, as when its name is attached by force from
    /// elsewhere.
    pub fn force_detach(&mut self, channel: u16, code: DetachCode) {
        let Some(session) = self.sessions.get(channel) else { return };
        if session.life == Life::Offered {
            return self.refuse_attach(channel, code);
        }
        write_report(&mut self.out, self.max_frame, channel, session);
        let name = session.name.clone();
        self.complained = Some(channel);
        self.detached_out(channel, &name, code);
        self.end(channel, Ending::Forced(code));
    }

    fn command_point_out(&mut self, channel: u16) {
        let command_id = self.sessions.get(channel).map(|session| session.next_id());
        let point = session::CommandPoint { command_id, command_offset: Some(0) };
        self.control(channel, &point.into());
    }
}

// ---- what came ----

impl Connection {
    /// A command or transfer is complete. In any order; told to the peer at the next flush.
    #[inline]
    pub fn complete(&mut self, channel: u16, id: CommandId) {
        if let Some(session) = self.sessions.get(channel).filter(|s| s.is_live()) {
            session.complete(id);
            enlist(&mut self.flush_list, channel, session);
        }
    }

    /// A transfer whose accept-mode is explicit is accepted: one `message.accept` at the next
    /// flush, ahead of `completed`.
    #[inline]
    pub fn accept(&mut self, channel: u16, id: CommandId) {
        if let Some(session) = self.sessions.get(channel).filter(|s| s.is_live()) {
            session.accepted.add(id);
            enlist(&mut self.flush_list, channel, session);
        }
    }

    /// Sends the result of a command, and completes it.
    pub fn result<'v>(
        &mut self,
        channel: u16,
        id: CommandId,
        value: &impl Compound<'v>,
    ) -> Result<(), SendError> {
        let mut octets = Vec::new();
        let value = Some(value.to_struct32(&mut octets)?);
        let result = execution::Result { command_id: Some(id), value };
        self.send(channel, &result.into(), false)?;
        self.complete(channel, id);
        Ok(())
    }

    /// Fails a command, and its session with it: sends what is complete, `execution.exception` and
    /// `session.detach`. `Detached` comes at once; what the peer sends from now on is ignored.
    pub fn exception(&mut self, channel: u16, error: ErrorCode, blame: Blame, text: &str) {
        let fault = Fault { code: error, text: text.to_owned() };
        let code = [blame.class, blame.code];
        self.raise(channel, fault, blame.command_id, code, Some(blame.field));
    }

    /// Ends a session with an exception.
    pub(super) fn raise(
        &mut self,
        channel: u16,
        fault: Fault,
        command_id: Option<CommandId>,
        [class_code, command_code]: [u8; 2],
        field: Option<u8>,
    ) {
        let Some(session) = self.sessions.get(channel).filter(|s| s.is_live()) else { return };
        write_report(&mut self.out, self.max_frame, channel, session);
        let name = session.name.clone();
        let description = truncated(&fault.text, MAX_DESCRIPTION);
        let exception = execution::Exception {
            error_code: Some(fault.code),
            command_id: Some(command_id.unwrap_or_default()),
            class_code: Some(class_code),
            command_code: Some(command_code),
            field_index: Some(field.unwrap_or(0)),
            description: Some(description),
            error_info: None,
        };
        // A description within its limit always encodes.
        let _ = self.send(channel, &exception.into(), false);
        if let Some(session) = self.sessions.get(channel) {
            session.stop();
            session.ended = true;
        }
        self.control(channel, &session::Detach { name: Some(&name) }.into());
        let Fault { code, text } = fault;
        self.endings.push((channel, Ending::Exception { code, text }));
    }
}

// ---- what goes ----

impl Connection {
    /// Sends a command. With `sync` the peer says at once when it is complete.
    pub fn send(
        &mut self,
        channel: u16,
        command: &Command<'_>,
        sync: bool,
    ) -> Result<CommandId, SendError> {
        self.live(channel)?;
        let segment = OpenSegment::begin(&mut self.out, SegmentKind::Command, channel);
        if let Err(error) = command.encode_segment(sync, &mut self.out) {
            segment.abandon(&mut self.out);
            return Err(error.into());
        }
        segment.finish(&mut self.out, FIRST_SEGMENT | LAST_SEGMENT, self.max_frame);
        Ok(self.live(channel)?.sending())
    }

    /// Sends `execution.sync`: it completes when all commands sent before it have.
    pub fn execution_sync(&mut self, channel: u16) -> Result<CommandId, SendError> {
        self.send(channel, &execution::Sync {}.into(), true)
    }

    /// Asks the peer what it has completed, without a command of its own.
    pub fn request_completions(&mut self, channel: u16) -> Result<(), SendError> {
        self.live(channel)?;
        let flush = session::Flush { expected: false, confirmed: false, completed: true };
        self.control(channel, &flush.into());
        Ok(())
    }

    /// Sends a message: `header` appends the structs of the header segment, each behind its size. A
    /// header of no octets is left out, and a body that is `None`.
    #[inline]
    pub fn transfer<'b>(
        &mut self,
        channel: u16,
        transfer: &message::Transfer<'_>,
        sync: bool,
        header: impl FnOnce(&mut Vec<u8>),
        body: impl Into<Option<&'b [u8]>>,
    ) -> Result<CommandId, SendError> {
        let body = body.into();
        let max_frame = self.max_frame;
        let Some(session) = self.sessions.get(channel).filter(|s| s.is_live()) else {
            return Err(SendError::NotAttached);
        };
        let out = &mut self.out;
        let start = out.len();
        let command = OpenSegment::begin(out, SegmentKind::Command, channel);
        // Class, code, and the session header: one octet of flags behind its size.
        out.extend_from_slice(&[4, 1, 1, u8::from(sync)]);
        if let Err(error) = transfer.encode_body(out) {
            command.abandon(out);
            return Err(error.into());
        }
        command.finish(out, FIRST_SEGMENT, max_frame);
        let last = if body.is_none() { LAST_SEGMENT } else { 0 };
        let segment = OpenSegment::begin(out, SegmentKind::Header, channel);
        header(out);
        if segment.len(out) != 0 {
            segment.finish(out, last, max_frame);
        } else {
            segment.abandon(out);
            // With neither header nor body the command is all there is.
            out[start] |= last;
        }
        if let Some(body) = body {
            write_segment(out, SegmentKind::Body, channel, LAST_SEGMENT, max_frame, body);
        }
        Ok(session.sending())
    }

    fn live(&mut self, channel: u16) -> Result<&mut Session, SendError> {
        self.sessions.get(channel).filter(|s| s.is_live()).ok_or(SendError::NotAttached)
    }

    /// Puts a session on the list for the next flush, if it has anything to say.
    pub(super) fn list(&mut self, channel: u16) {
        if let Some(session) = self.sessions.get(channel) {
            enlist(&mut self.flush_list, channel, session);
        }
    }
}

#[inline]
fn enlist(list: &mut Vec<u16>, channel: u16, session: &mut Session) {
    if !session.listed && session.has_report() {
        session.listed = true;
        list.push(channel);
    }
}

/// Writes what a session has to say about commands received: `message.accept`, then
/// `session.completed`.
pub(super) fn write_report(out: &mut Vec<u8>, max_frame: u16, channel: u16, session: &mut Session) {
    if !session.is_live() {
        return;
    }
    if !session.accepted.is_empty() {
        let accepted = std::mem::take(&mut session.accepted);
        for_each_part(&accepted, max_frame, |part| {
            let accept = Command::from(message::Accept { transfers: Some(part) });
            let segment = OpenSegment::begin(out, SegmentKind::Command, channel);
            if accept.encode_segment(false, out).is_ok() {
                segment.finish(out, FIRST_SEGMENT | LAST_SEGMENT, max_frame);
                session.sending();
            } else {
                segment.abandon(out);
            }
        });
    }
    if let Some((completed, timely_reply)) = session.take_report() {
        for_each_part(completed, max_frame, |part| {
            let completed = session::Completed { commands: Some(part), timely_reply };
            let segment = OpenSegment::begin(out, SegmentKind::Control, channel);
            if Control::from(completed).encode_segment(out).is_ok() {
                segment.finish(out, FIRST_SEGMENT | LAST_SEGMENT, max_frame);
            } else {
                segment.abandon(out);
            }
        });
    }
}

/// Cuts a set into parts that each fit one frame: no other broker or client puts a control in
/// pieces together.
pub(super) fn for_each_part(set: &SequenceSet, max_frame: u16, mut write: impl FnMut(SequenceSet)) {
    // Frame header, class and code, session header, flags, and the size of the set.
    let room = (usize::from(max_frame) - HEADER_LEN - 8) / 8;
    if set.ranges().len() <= room {
        return write(set.clone());
    }
    for ranges in set.ranges().chunks(room) {
        let mut part = SequenceSet::new();
        for range in ranges {
            part.add_range(range.low, range.high);
        }
        write(part);
    }
}
