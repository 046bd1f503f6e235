//! The controls of the session class, as the peer sends them.
//!
//! Sessions are not kept when they are detached: an attach is always a new session, with no
//! commands to replay, and the timeout granted is always 0. That is what qpidd does, and clients
//! reconnect by it.

use super::event::Ending;
use super::fault::{Failure, Fault};
use super::receive::Emit;
use super::session::{Life, Session};
use super::{Connection, Phase, send};
use crate::serial::SequenceSet;
use crate::v0_10::table::session;
use crate::v0_10::{Control, DetachCode};

/// Above this many ids in `completed` the peer is told what we know, so that it can forget them.
const TELL_ABOVE: u64 = 1 << 16;

impl Connection {
    pub(super) fn session_control(
        &mut self,
        channel: u16,
        control: &Control<'_>,
    ) -> Result<Emit, Failure> {
        match control {
            Control::SessionAttach(body) => return self.attach_in(channel, body),
            Control::SessionDetach(body) => return self.detach_in(channel, body),
            Control::SessionDetached(body) => {
                self.detached_in(channel, body);
                return Ok(Emit::Nothing);
            }
            _ => {}
        }
        let Some(session) = self.sessions.get(channel) else {
            self.not_attached(channel);
            return Ok(Emit::Nothing);
        };
        session.answered |= matches!(control, Control::SessionAttached(_));
        match (session.life, control) {
            // Whatever was on its way when we sent `detach` is of no interest.
            (Life::Detaching, _) => Ok(Emit::Nothing),
            (life, Control::SessionAttached(body)) => {
                if body.name.unwrap_or_default() != &*session.name {
                    return Err(Fault::invalid_argument("attached names another session").into());
                }
                session.life = Life::Attached;
                Ok(if life == Life::Attaching { Emit::Control } else { Emit::Nothing })
            }
            _ => self.attached_control(channel, control),
        }
    }

    /// A control for a session that is there.
    fn attached_control(&mut self, channel: u16, control: &Control<'_>) -> Result<Emit, Failure> {
        let Some(session) = self.sessions.get(channel) else { return Ok(Emit::Nothing) };
        match control {
            Control::SessionRequestTimeout(_) => {
                self.control(channel, &session::Timeout { timeout: Some(0) }.into());
            }
            Control::SessionTimeout(_) => return Ok(Emit::Control),
            Control::SessionCommandPoint(body) => {
                let id = body.command_id.unwrap_or_default();
                session.command_point(id, body.command_offset.unwrap_or(0))?;
            }
            Control::SessionExpected(body) => {
                // The answer to a flush that we never send. A client that resumes a session learns
                // here that there is nothing to resume.
                if let Some(commands) = &body.commands {
                    session.check_sent_or_next(commands, "expected")?;
                }
            }
            Control::SessionConfirmed(body) => {
                if let Some(commands) = &body.commands {
                    session.check_sent(commands, "confirmed")?;
                }
            }
            Control::SessionCompleted(body) => {
                let Some(commands) = &body.commands else { return Ok(Emit::Nothing) };
                session.peer_completed(commands, &mut self.newly)?;
                if body.timely_reply || commands.id_count() > TELL_ABOVE {
                    self.known_completed_out(channel, commands);
                }
                if !self.newly.is_empty() {
                    return Ok(Emit::Completed);
                }
            }
            Control::SessionKnownCompleted(body) => {
                if let Some(commands) = &body.commands {
                    session.known_completed(commands)?;
                }
            }
            Control::SessionFlush(body) => self.flush_in(channel, body),
            Control::SessionGap(body) => {
                if let Some(commands) = &body.commands {
                    session.gap(commands)?;
                    self.list(channel);
                }
            }
            // All others were dealt with before.
            _ => {}
        }
        Ok(Emit::Nothing)
    }

    fn attach_in(&mut self, channel: u16, body: &session::Attach<'_>) -> Result<Emit, Failure> {
        if !self.is_server() {
            return Err(Failure::framing("session.attach sent to a client"));
        }
        let name = body.name.unwrap_or_default();
        if let Some(session) = self.sessions.get(channel) {
            // The same name again is no news, and after our `detach` nothing is.
            if session.life != Life::Detaching && *session.name != *name {
                self.detached_out(channel, name, DetachCode::TRANSPORT_BUSY);
            }
            return Ok(Emit::Nothing);
        }
        if self.sessions.len() >= self.limits().sessions {
            self.detached_out(channel, name, DetachCode::TRANSPORT_BUSY);
            self.complained = Some(channel);
            return Ok(Emit::Nothing);
        }
        self.sessions.insert(channel, Session::new(name, Life::Offered));
        Ok(Emit::Control)
    }

    fn detach_in(&mut self, channel: u16, body: &session::Detach<'_>) -> Result<Emit, Failure> {
        let name = body.name.unwrap_or_default();
        let Some(session) = self.sessions.get(channel) else {
            self.detached_out(channel, name, DetachCode::NOT_ATTACHED);
            return Ok(Emit::Nothing);
        };
        if session.life != Life::Detaching {
            if *session.name != *name {
                return Err(Fault::invalid_argument("detach names another session").into());
            }
            send::write_report(&mut self.out, self.max_frame, channel, session);
        }
        self.detached_out(channel, name, DetachCode::NORMAL);
        self.end(channel, Ending::Normal);
        Ok(Emit::Nothing)
    }

    fn detached_in(&mut self, channel: u16, body: &session::Detached<'_>) {
        // Not attached is no error here: two peers that answered each other's `detached` would
        // never stop.
        let Some(session) = self.sessions.get(channel) else { return };
        // An answer to what a former session on the channel sent, when the channel may be another's
        // already: it names that session or, for commands that were on their way, none.
        let (name, code) = (body.name.unwrap_or_default(), body.code.unwrap_or(DetachCode::NORMAL));
        let late = match name {
            [] => code == DetachCode::NOT_ATTACHED && !session.answered,
            name => *name != *session.name,
        };
        if late {
            return;
        }
        let ending = match code {
            DetachCode::NORMAL => Ending::Normal,
            code => Ending::Refused(code),
        };
        self.end(channel, ending);
    }

    /// `session.flush`: the peer asks what we have of its commands.
    fn flush_in(&mut self, channel: u16, body: &session::Flush) {
        let Some(session) = self.sessions.get(channel) else { return };
        let expected = session.expected_set();
        let confirmed = session.confirmed_set();
        // `completed` is said at the end of the turn, with what the turn completes.
        session.report |= body.completed;
        if body.expected {
            let commands = Some(expected);
            self.control(channel, &session::Expected { commands, fragments: None }.into());
        }
        if body.confirmed {
            let commands = Some(confirmed);
            self.control(channel, &session::Confirmed { commands, fragments: None }.into());
        }
        if body.completed {
            self.list(channel);
        }
    }

    fn known_completed_out(&mut self, channel: u16, commands: &SequenceSet) {
        let max_frame = self.max_frame;
        send::for_each_part(commands, max_frame, |part| {
            let commands = Some(part);
            self.control(channel, &session::KnownCompleted { commands }.into());
        });
    }

    /// Removes a session, and reports it unless an exception has done so.
    pub(super) fn end(&mut self, channel: u16, ending: Ending) {
        if let Some(session) = self.sessions.remove(channel)
            && !session.ended
        {
            self.endings.push((channel, ending));
        }
    }

    /// Says that a channel has no session, once for a run of frames.
    pub(super) fn not_attached(&mut self, channel: u16) {
        if self.complained != Some(channel) && self.phase == Phase::Opened {
            self.complained = Some(channel);
            self.detached_out(channel, &[], DetachCode::NOT_ATTACHED);
        }
    }

    pub(super) fn detached_out(&mut self, channel: u16, name: &[u8], code: DetachCode) {
        let (name, code) = (Some(name), Some(code));
        self.control(channel, &session::Detached { name, code }.into());
    }
}
