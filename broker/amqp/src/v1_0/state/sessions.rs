//! Sessions: begin, end, and the flows that move their windows (part 2.5).

use super::fault::{Fault, Scope};
use super::receive::Ready;
use super::session::{Life, Session};
use super::{Connection, News, Phase, truncated};
use crate::v1_0::table::{Begin, End, Error};
use crate::v1_0::{SequenceNo, amqp_error};

// ---- commands ----

impl Connection {
    /// Begins a session; `Begun` comes when the peer has answered, and links may be attached at once.
    /// `None` if every channel is taken.
    pub fn begin(&mut self) -> Option<u16> {
        if !self.is_open() {
            return None;
        }
        let channel = self.free_channel()?;
        self.add_session(channel, Life::Beginning);
        self.write_begin(channel, None);
        Some(channel)
    }

    /// Answers `Begin`.
    pub fn begin_ok(&mut self, channel: u16) {
        let Some(session) = self.session(channel) else { return };
        if session.life == Life::Offered {
            session.life = Life::Mapped;
            let remote = session.remote_channel;
            self.awaited = None;
            self.write_begin(channel, remote);
        }
    }

    /// Ends a session, or answers `End`; what is attached to it goes without further events. The channel
    /// is free when the peer has answered, which `End` tells.
    pub fn end(&mut self, channel: u16, error: Option<&Error<'_>>) {
        let Ok(at) = self.find(channel) else { return };
        match self.sessions[at].1.life {
            Life::Offered => self.begin_ok(channel),
            Life::Ending => return,
            Life::Beginning | Life::Mapped | Life::Leaving => {}
        }
        let Ok(at) = self.find(channel) else { return };
        let session = &mut self.sessions[at].1;
        session.flush(&mut self.out, channel, self.max_frame);
        self.awaited = self.awaited.filter(|(awaited, _)| *awaited != channel);
        let partial: usize = session
            .links
            .values()
            .filter_map(|l| l.partial.as_ref())
            .map(|p| p.payload.len())
            .sum();
        self.partial_bytes -= partial;
        session.links.clear();
        session.unanswered = Vec::new();
        session.renamed.clear();
        session.stalled.clear();
        session.stalled_bytes = 0;
        if session.life == Life::Leaving {
            self.sessions.remove(at);
        } else {
            session.life = Life::Ending;
        }
        self.write(channel, &End { error: error.cloned() }.into());
    }

    /// Ends a session for what the peer has done in it, which `SessionFailed` reports.
    pub fn fail_session(&mut self, channel: u16, error: &Error<'_>) {
        if !self.has_session(channel) {
            return;
        }
        self.end(channel, Some(error));
        let text = error.description.unwrap_or(&error.condition).to_owned();
        self.news.push_back(News::SessionFailed { channel, text });
    }

    /// Whether a session is there and can be used.
    pub fn has_session(&self, channel: u16) -> bool {
        self.find(channel)
            .is_ok_and(|at| matches!(self.sessions[at].1.life, Life::Mapped | Life::Beginning))
    }
}

// ---- rules ----

impl Connection {
    fn free_channel(&self) -> Option<u16> {
        let mut free = 0;
        for (channel, _) in &self.sessions {
            if *channel != free {
                break;
            }
            free = free.checked_add(1)?;
        }
        (free <= self.channel_max).then_some(free)
    }

    fn add_session(&mut self, channel: u16, life: Life) -> &mut Session {
        let session = Box::new(Session::new(life, self.limits().window));
        let at = match self.find(channel) {
            Ok(at) | Err(at) => at,
        };
        self.sessions.insert(at, (channel, session));
        &mut self.sessions[at].1
    }

    fn write_begin(&mut self, channel: u16, remote: Option<u16>) {
        let begin = Begin {
            remote_channel: remote,
            next_outgoing_id: SequenceNo(0),
            incoming_window: self.limits().window,
            outgoing_window: u32::MAX >> 1,
            handle_max: self.limits().links.saturating_sub(1),
            ..Begin::default()
        };
        self.write(channel, &begin.into());
    }

    /// Our channel of the session that the peer has on `remote`.
    #[inline]
    pub(super) fn local_channel(&self, remote: u16) -> Option<u16> {
        if let Ok(at) = self.find(remote)
            && self.sessions[at].1.remote_channel == Some(remote)
        {
            return Some(remote);
        }
        let same = |(_, session): &&(u16, Box<Session>)| session.remote_channel == Some(remote);
        self.sessions.iter().find(same).map(|(channel, _)| *channel)
    }

    pub(super) fn on_begin<'i>(
        &mut self,
        remote: u16,
        begin: Begin<'i>,
    ) -> Result<Option<Ready<'i>>, Fault> {
        if let Some(ours) = begin.remote_channel {
            let session = self.session(ours).filter(|session| {
                session.remote_channel.is_none()
                    && matches!(session.life, Life::Beginning | Life::Ending)
            });
            let Some(session) = session else {
                let text = format!("begin answers channel {ours}, on which nothing began");
                return Err(Fault::connection(amqp_error::NOT_FOUND, text));
            };
            session.remote_channel = Some(remote);
            learn(session, &begin);
            if session.life == Life::Ending {
                return Ok(None);
            }
            session.life = Life::Mapped;
            return Ok(Some(Ready::Begun { channel: ours, begin }));
        }
        if self.local_channel(remote).is_some() {
            let text = format!("channel {remote} has a session already");
            return Err(Fault::connection(amqp_error::NOT_ALLOWED, text));
        }
        if remote >= self.limits().sessions {
            let text = format!("channel {remote} exceeds {}", self.limits().sessions - 1);
            return Err(Fault::connection(amqp_error::NOT_ALLOWED, text));
        }
        let channel = match self.find(remote) {
            Err(_) if remote <= self.channel_max => Some(remote),
            _ => self.free_channel(),
        };
        let Some(channel) = channel else {
            let text = format!("there are {} sessions already", self.sessions.len());
            return Err(Fault::connection(amqp_error::RESOURCE_LIMIT_EXCEEDED, text));
        };
        let session = self.add_session(channel, Life::Offered);
        session.remote_channel = Some(remote);
        learn(session, &begin);
        self.awaited = Some((channel, None));
        Ok(Some(Ready::Begin { channel, begin }))
    }

    pub(super) fn on_end<'i>(&mut self, channel: u16, end: End<'i>) -> Option<Ready<'i>> {
        let at = self.find(channel).ok()?;
        let answer = self.sessions[at].1.life == Life::Ending;
        if answer {
            self.sessions.remove(at);
        } else {
            let session = &mut self.sessions[at].1;
            session.life = Life::Leaving;
            session.remote_channel = None;
        }
        Some(Ready::End { channel, error: end.error, answer })
    }

    /// A fault, by what it ends.
    pub(super) fn fault(&mut self, channel: u16, fault: Fault) {
        let Fault { scope, condition, text } = fault;
        let error = Error { condition, description: Some(truncated(&text)), info: None };
        match scope {
            _ if self.phase != Phase::Opened => self.fail(condition, text),
            Scope::Connection => self.fail(condition, text),
            Scope::Session => {
                self.end(channel, Some(&error));
                self.news.push_back(News::SessionFailed { channel, text });
            }
            Scope::Link(handle) => {
                self.detach(channel, handle, true, Some(&error));
                self.news.push_back(News::LinkFailed { channel, handle, text });
            }
        }
    }
}

/// What a begin says of the peer's end.
fn learn(session: &mut Session, begin: &Begin<'_>) {
    session.next_incoming_id = begin.next_outgoing_id;
    session.remote_window = begin.incoming_window;
    session.handle_max = begin.handle_max;
}
