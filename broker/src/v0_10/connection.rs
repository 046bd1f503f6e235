//! One 0-10 connection as the broker sees it: drives the sans-IO state machine, judges the client's
//! wish to connect, and keeps the sessions.

use super::error::Refusal;
use super::session::{Answer, Progress, Session};
use super::{results, transfer};
use crate::front::{Ending, Name, OUTPUT_HIGH, OUTPUT_MAX, Settings, Step, Total, user};
use crate::shard::Ctx;
use fletch_amqp::serial::CommandId;
use fletch_amqp::v0_10::table::message;
use fletch_amqp::v0_10::{self as amqp, AcceptMode, Blame, CloseCode, DetachCode, Event as Wire};
use fletch_engine::{Event, Force, Format, Message, OpId, Published, SessionId, Time};
use std::net::SocketAddr;
use std::sync::Arc;

/// The longest session name, in octets: every shard's memory of a session holds it.
const NAME_MAX: usize = 1024;

/// See the module.
pub(crate) struct Connection {
    amqp: amqp::Connection,
    remote: SocketAddr,
    user: Arc<str>,
    first: SessionId,
    attaches: u32,
    /// By channel; connections have few sessions.
    sessions: Vec<(u16, Session)>,
    /// Has something to do at the end of the turn, and is on the shard's list for it.
    touched: bool,
    on_list: bool,
    /// The state machine has something to report without input.
    news: bool,
    /// A session has to wait for the engine before it goes on.
    waiting: bool,
    /// Sessions that are over, whose client is not told before all they held is released.
    leaving: usize,
    /// The connection is over: what is still to be said when the last session has left.
    goodbye: Option<Vec<u8>>,
    /// Reading has stopped for a stall.
    paused: bool,
    /// Publishes that are not complete.
    publishes: Total,
    /// Bytes that the messages of a session's transaction may take.
    transaction_max: u64,
    realm: Arc<str>,
    known_hosts: Option<Arc<str>>,
    /// What comes is stamped with its time of arrival.
    timestamps: bool,
}

impl Connection {
    /// A connection whose sessions are numbered from `first`.
    pub(crate) fn new(
        settings: &Settings,
        first: SessionId,
        remote: SocketAddr,
        now: Time,
    ) -> Connection {
        let amqp = amqp::Connection::server(Arc::clone(&settings.amqp), now.as_duration());
        let user = Arc::clone(&settings.anonymous);
        let realm = Arc::clone(&settings.realm);
        let sessions = Vec::new();
        Connection {
            amqp,
            remote,
            user,
            first,
            attaches: 0,
            sessions,
            touched: false,
            on_list: false,
            news: false,
            waiting: false,
            leaving: 0,
            goodbye: None,
            paused: false,
            publishes: Total::default(),
            transaction_max: settings.transaction_max,
            realm,
            known_hosts: settings.known_hosts.clone(),
            timestamps: settings.timestamps,
        }
    }

    // ---- getters and output --------------------------------------------------------------

    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        self.amqp.out()
    }

    /// The longest frame that the client takes.
    pub(crate) fn max_frame(&self) -> usize {
        self.amqp.max_frame_size().into()
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let at = self.amqp.next_timeout()?;
        Some(Time(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Input has to wait until the engine has answered a barrier, or publishes are complete, or the client
    /// has read.
    pub(crate) fn is_stalled(&self) -> bool {
        self.waiting
            || self.leaving > 0
            || self.publishes.is_too_much()
            || self.amqp.out_len() > OUTPUT_MAX
    }

    /// Looks again whether a session has to wait; only answers and ends of sessions change that.
    fn check_waiting(&mut self) {
        self.waiting = self.waiting && self.sessions.iter().any(|(_, s)| s.must_wait());
    }

    /// Reading was stopped because of a stall that is over now.
    pub(crate) fn may_resume(&mut self) -> bool {
        let resume = self.paused && !self.is_stalled();
        self.paused &= !resume;
        resume
    }

    /// Reading has stopped.
    pub(crate) fn set_paused(&mut self) {
        self.paused = true;
    }

    /// Whether the connection now has to be put on the list of those with work at the turn's end.
    pub(crate) fn touch(&mut self) -> bool {
        self.touched && !std::mem::replace(&mut self.on_list, true)
    }

    fn session(&mut self, channel: u16) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|(c, _)| *c == channel).map(|(_, s)| s)
    }

    // ---- input ---------------------------------------------------------------------------

    /// Handles events until there is a reason to stop.
    pub(crate) fn process(&mut self, ctx: &mut Ctx<'_>, input: &mut &[u8]) -> Step {
        loop {
            // A stall stops the client, not what ends sessions and the connection: an attach by
            // force waits for the very session that has to end here.
            let stalled = self.is_stalled();
            if ctx.fx.events.len() + ctx.fx.frames.len() >= crate::shard::EFFECTS_MAX {
                return Step::More;
            }
            self.touched = true;
            let now = ctx.now.as_duration();
            let written = self.amqp.out_len();
            let mut rest: &[u8] = if stalled { &[] } else { input };
            let event = self.amqp.next(now, &mut rest);
            if !stalled {
                *input = &input[input.len() - rest.len()..];
            }
            let Some(event) = event else {
                return if stalled { Step::Blocked } else { Step::Idle };
            };
            match event {
                Wire::Transfer { channel, id, transfer, header, body, .. } => {
                    let at = self.sessions.iter().position(|(c, _)| *c == channel);
                    let Some(at) = at else { continue };
                    let session = self.sessions[at].1.id();
                    let exchange = transfer.destination.unwrap_or_default();
                    // Clients that want an accept say so; those that leave the field out may not
                    // even know the command.
                    let explicit = transfer.accept_mode == Some(AcceptMode::EXPLICIT);
                    let header = header.unwrap_or_default();
                    let from = (session, self.timestamps);
                    let message = transfer::ingest(ctx, from, exchange, header, &body);
                    let size = message.as_ref().map_or(0, |message| message.size());
                    if self.sessions[at].1.transaction().is_some() {
                        let (sessions, limit) = (&mut self.sessions, self.transaction_max);
                        let transfer = (id, explicit);
                        let published = message.and_then(|message| {
                            let from = (&mut sessions[..], at);
                            publish_in_transaction(ctx, from, limit, transfer, exchange, message)
                        });
                        match published {
                            Ok(Published::Done) => self.transferred(channel, id, explicit),
                            Ok(Published::Pending) => {
                                self.waiting |= self.sessions[at].1.must_wait();
                                if !ctx.fx.events.is_empty() {
                                    return Step::More;
                                }
                            }
                            Err(refusal) => self.refuse(channel, id, (4, 1), &refusal),
                        }
                        continue;
                    }
                    let published = message.and_then(|message| {
                        let op = (session, transfer_op(id, explicit));
                        let (now, fx) = (ctx.now, &mut *ctx.fx);
                        ctx.engine.publish(now, op, exchange, &message, fx).map_err(Refusal::from)
                    });
                    match published {
                        Ok(Published::Done) => self.transferred(channel, id, explicit),
                        Ok(Published::Pending) => self.publishing(channel, id, size),
                        Err(refusal) => self.refuse(channel, id, (4, 1), &refusal),
                    }
                }
                Wire::Command { channel, id, command, .. } => {
                    let (class, code) = (command.class(), command.code());
                    let session = self.sessions.iter_mut().find(|(c, _)| *c == channel);
                    let Some((_, session)) = session else { continue };
                    match session.command(ctx, id, command) {
                        Ok(Progress::Complete) => self.amqp.complete(channel, id),
                        Ok(Progress::Answered(reply)) => {
                            let sent = results::answer(&mut self.amqp, channel, id, &reply);
                            self.check_sent(channel, id, sent);
                        }
                        Ok(Progress::Pending) => {
                            self.waiting |= session.must_wait();
                            if !ctx.fx.events.is_empty() {
                                return Step::More;
                            }
                        }
                        Err(refusal) => self.refuse(channel, id, (class, code), &refusal),
                    }
                }
                Wire::Completed { channel, commands } => {
                    let session = self.sessions.iter_mut().find(|(c, _)| *c == channel);
                    if let Some((_, session)) = session {
                        session.completed(ctx, commands);
                    }
                }
                Wire::Attach { name, .. } if name.len() > NAME_MAX => {
                    let text = format!("session names have at most {NAME_MAX} octets");
                    self.amqp.close(now, CloseCode::FRAMING_ERROR, &text);
                }
                Wire::Attach { channel, name, force } => {
                    let name = Some(Name { octets: name.to_vec(), force });
                    return Step::Begin { channel, name };
                }
                Wire::Detached { channel, ending } => {
                    let in_order = ending == amqp::Ending::Normal;
                    self.news = true;
                    if let Some(at) = self.sessions.iter().position(|(c, _)| *c == channel) {
                        let (_, mut session) = self.sessions.swap_remove(at);
                        session.publishes.forget(&mut self.publishes);
                        let id = session.id();
                        self.check_waiting();
                        let ending = session.end(ctx);
                        // What the session held is back where it came from when its client, or
                        // anybody its client talks to, hears that it is detached.
                        let farewell = match in_order {
                            true => self.amqp.out().split_off(written),
                            false => Vec::new(),
                        };
                        self.leaving += usize::from(!farewell.is_empty());
                        return Step::Ended { session: id, ending, farewell };
                    }
                }
                Wire::Authenticate { mechanism, response, .. } => {
                    let user = user(mechanism, response, &self.realm);
                    match user {
                        Ok(user) => {
                            tracing::debug!(target: "security", remote = %self.remote, %user,
                                "connected without authentication");
                            self.user = user;
                            self.amqp.authenticated();
                        }
                        Err(text) => {
                            let text = text.to_string();
                            self.amqp.reject_authentication(&text);
                        }
                    }
                }
                Wire::Open { .. } => {
                    self.amqp.open_ok(self.known_hosts.iter().map(|url| url.to_string()));
                }
                Wire::Exception { channel, exception } => {
                    tracing::info!(target: "protocol", remote = %self.remote, channel,
                        text = exception.description.unwrap_or_default(),
                        "the client failed a command of the broker");
                }
                Wire::Closed { code, text, by_peer } => {
                    if code == CloseCode::NORMAL {
                        tracing::debug!(target: "protocol", remote = %self.remote, by_peer, "closed");
                    } else {
                        tracing::warn!(target: "protocol", remote = %self.remote, code = code.0, by_peer,
                            "connection closed: {text}");
                    }
                    self.goodbye = Some(self.amqp.out().split_off(written));
                    return Step::Closed;
                }
                // A server asks for none of these.
                Wire::Response { .. }
                | Wire::Start { .. }
                | Wire::Challenge { .. }
                | Wire::Opened { .. }
                | Wire::Redirected { .. }
                | Wire::Attached { .. }
                | Wire::Result { .. }
                | Wire::Timeout { .. } => {}
            }
        }
    }

    /// A publish is under way.
    fn publishing(&mut self, channel: u16, id: CommandId, size: usize) {
        if let Some((_, session)) = self.sessions.iter_mut().find(|(c, _)| *c == channel) {
            session.publishes.begin(id, size, &mut self.publishes);
        }
    }

    /// It is so no more.
    fn published(&mut self, channel: u16, id: CommandId) {
        if let Some((_, session)) = self.sessions.iter_mut().find(|(c, _)| *c == channel) {
            session.publishes.end(id, &mut self.publishes);
        }
    }

    fn transferred(&mut self, channel: u16, id: CommandId, explicit: bool) {
        if explicit {
            self.amqp.accept(channel, id);
        }
        self.amqp.complete(channel, id);
    }

    /// Fails a session for what is no command's fault.
    fn fail(&mut self, channel: u16, refusal: &Refusal) {
        self.blame(channel, Blame::default(), refusal);
    }

    fn refuse(&mut self, channel: u16, id: CommandId, command: (u8, u8), refusal: &Refusal) {
        let (class, code) = command;
        self.blame(channel, Blame { command_id: Some(id), class, code, field: 0 }, refusal);
    }

    fn blame(&mut self, channel: u16, blame: Blame, refusal: &Refusal) {
        tracing::warn!(target: "protocol", remote = %self.remote, channel, code = refusal.code.0,
            "session failed: {}", refusal.text);
        self.amqp.exception(channel, refusal.code, blame, &refusal.text);
        self.news = true;
    }

    /// The end of a detached session is over: its client may know.
    pub(crate) fn say_farewell(&mut self, farewell: &[u8]) {
        self.leaving -= 1;
        self.amqp.out().extend_from_slice(farewell);
    }

    /// Whether the connection is over and all its sessions have left; says the last word then.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        let goodbye = self.goodbye.take_if(|_| self.leaving == 0);
        self.amqp.out().extend_from_slice(goodbye.as_deref().unwrap_or_default());
        goodbye.is_some()
    }

    /// The id of the next session.
    pub(crate) fn next_session(&mut self) -> SessionId {
        self.attaches = self.attaches.wrapping_add(1);
        self.first.of_same_connection(self.attaches)
    }

    /// The shard has named the session that wants `channel`; the orderer has the last word.
    pub(crate) fn attaching(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: SessionId,
        channel: u16,
        name: &Name,
    ) {
        let mut session = Session::new(id);
        session.expect_attach(ATTACH);
        self.waiting = true;
        self.sessions.push((channel, session));
        // Names are octets; one character for each keeps different names different.
        let force = name.force;
        let name: String = name.octets.iter().map(|b| char::from(*b)).collect();
        let name = Arc::from(format!("{}\u{100}{name}", self.user));
        let force = if force { Force::All } else { Force::No };
        let request = fletch_engine::Request::Attach { name, force };
        ctx.engine.request(ctx.now, id, ATTACH, request, ctx.fx);
    }

    // ---- the engine's events -------------------------------------------------------------

    /// Whether the event refuses a session its name: nothing more will come for that session.
    pub(crate) fn is_refusal(event: &Event) -> bool {
        matches!(event, Event::Reply { op: ATTACH, result: Err(_), .. })
    }

    pub(crate) fn on_event(&mut self, ctx: &mut Ctx<'_>, channel: u16, event: Event) {
        self.touched = true;
        match event {
            Event::Deliver { to, delivery, message, redelivered, marks, .. } => {
                let session = self.sessions.iter_mut().find(|(c, _)| *c == channel);
                let Some((_, session)) = session else { return };
                let Some(how) = session.sending(to.tag) else { return };
                let marks = marks.as_deref().map(|marks| (marks, delivery.position));
                let topology = ctx.engine.topology();
                let ours = message.in_format(Format::V0_10, |name| topology.node(name));
                let header =
                    transfer::outgoing_header(ctx.now, &ours, redelivered, marks, ctx.scratch);
                let transfer = message::Transfer {
                    destination: Some(how.destination),
                    accept_mode: Some(how.accept),
                    acquire_mode: Some(how.acquire),
                };
                let header = |out: &mut Vec<u8>| out.extend_from_slice(header);
                let body = ours.meta().flags.has_body().then_some(ours.body());
                match self.amqp.transfer(channel, &transfer, false, header, body) {
                    Ok(id) => session.sent(id, to.tag, delivery, &message),
                    // The session failed or was evicted this turn, and ends when the turn does.
                    Err(_) => session.unsent(to.tag, delivery),
                }
            }
            Event::Published { op, .. } => {
                let (id, explicit) = transfer_of(op);
                self.published(channel, id);
                self.transferred(channel, id, explicit);
            }
            Event::Withheld { op, .. } => {
                let session = self.sessions.iter_mut().find(|(c, _)| *c == channel);
                if let Some((_, session)) = session {
                    session.publishes.withhold(transfer_of(op).0, &mut self.publishes);
                }
            }
            Event::Refused { op, reason, .. } => {
                let (id, _) = transfer_of(op);
                self.published(channel, id);
                self.refuse(channel, id, (4, 1), &reason.into());
            }
            Event::Reply { op: ATTACH, result, .. } => {
                if let Some(session) = self.session(channel) {
                    session.attach_answered(ATTACH, result.is_ok());
                }
                if result.is_ok() {
                    self.check_waiting();
                    self.amqp.attach_ok(channel);
                } else {
                    self.sessions.retain(|(c, _)| *c != channel);
                    self.check_waiting();
                    self.amqp.refuse_attach(channel, DetachCode::SESSION_BUSY);
                }
            }
            Event::Reply { op, result, .. } => {
                let Some(session) = self.session(channel) else { return };
                let answer = session.on_reply(ctx, op, result);
                self.check_waiting();
                match answer {
                    None => {}
                    Some(Answer::Reply(id, reply)) => {
                        let sent = results::answer(&mut self.amqp, channel, id, &reply);
                        self.check_sent(channel, id, sent);
                    }
                    Some(Answer::Transferred(id, explicit)) => {
                        self.transferred(channel, id, explicit);
                    }
                    Some(Answer::Acquired(id, set)) => {
                        let sent = results::acquired(&mut self.amqp, channel, id, set);
                        self.check_sent(channel, id, sent);
                    }
                    Some(Answer::Exception { id, class, command, refusal }) => {
                        self.refuse(channel, id, (class, command), &refusal);
                    }
                }
            }
            Event::SubscriptionEnded { reason, .. } => self.fail(channel, &reason.into()),
            Event::BranchExpired { branch, .. } => {
                if let Some(session) = self.sessions.iter_mut().find(|(c, _)| *c == channel) {
                    session.1.branch_expired(ctx, &branch);
                }
            }
            Event::Evicted { session, force: false } => {
                ctx.engine.keep_name(ctx.now, session, ctx.fx);
            }
            Event::Evicted { .. } => {
                self.amqp.force_detach(channel, DetachCode::SESSION_BUSY);
                self.news = true;
            }
        }
    }

    /// A result that cannot be put on the wire (arguments larger than a frame can hold) fails its
    /// command; a session that is gone needs no answer.
    fn check_sent(&mut self, channel: u16, id: CommandId, sent: Result<(), amqp::SendError>) {
        if let Err(amqp::SendError::Encode(e)) = sent {
            let text = format!("The result cannot be encoded: {e}");
            self.refuse(channel, id, (0, 0), &Refusal::new(amqp::ErrorCode::INTERNAL_ERROR, text));
        }
    }

    // ---- turns ---------------------------------------------------------------------------

    /// The end of a turn: what sessions have to say goes into the output, room goes back to
    /// queues. True if [`Connection::process`] has something to report without input.
    pub(crate) fn turn_end(&mut self, ctx: &mut Ctx<'_>) -> bool {
        self.touched = false;
        self.on_list = false;
        self.amqp.flush();
        self.give_room(ctx);
        std::mem::take(&mut self.news)
    }

    /// The socket took all output.
    pub(crate) fn written(&mut self, ctx: &mut Ctx<'_>) {
        self.give_room(ctx);
        if self.amqp.out().capacity() > 16 * 1024 {
            self.amqp.shrink();
        }
    }

    fn give_room(&mut self, ctx: &mut Ctx<'_>) {
        if self.amqp.out().len() < OUTPUT_HIGH {
            for (_, session) in &mut self.sessions {
                session.give_room(ctx);
            }
        }
    }

    pub(crate) fn timeout(&mut self, now: Time) {
        if self.paused {
            // What the client says lies in the socket.
            self.amqp.not_listening(now.as_duration());
        }
        self.amqp.timeout(now.as_duration());
    }

    /// Tells the client that the broker ends the connection.
    pub(crate) fn close_forced(&mut self, now: Time, text: &str) {
        self.amqp.close(now.as_duration(), CloseCode::CONNECTION_FORCED, text);
    }

    /// The connection is over: ends all sessions.
    pub(crate) fn end_sessions(&mut self, ctx: &mut Ctx<'_>) -> Vec<(SessionId, Box<Ending>)> {
        self.leaving += self.sessions.len();
        self.sessions.drain(..).map(|(_, s)| (s.id(), s.end(ctx))).collect()
    }
}

/// A message of a session that is transactional, one of its connection's, whose limit holds for all of them.
fn publish_in_transaction(
    ctx: &mut Ctx<'_>,
    (sessions, at): (&mut [(u16, Session)], usize),
    limit: u64,
    transfer: (CommandId, bool),
    exchange: &str,
    message: Message,
) -> Result<Published, Refusal> {
    let all: u64 = sessions.iter().map(|(_, session)| session.transaction_bytes()).sum();
    let Some(tx) = sessions[at].1.transaction() else { return Ok(Published::Done) };
    let most = limit.saturating_sub(all - tx.bytes());
    sessions[at].1.publish_in_transaction(ctx, transfer, exchange, message, (most, limit))
}

/// The operation of an attach, beyond every command id.
const ATTACH: OpId = 1 << 33;

/// A publish as an operation: its command id, and whether it wants a `message.accept`.
fn transfer_op(id: CommandId, explicit: bool) -> OpId {
    OpId::from(id.0) | OpId::from(explicit) << 32
}

fn transfer_of(op: OpId) -> (CommandId, bool) {
    (CommandId(op as u32), op >> 32 & 1 == 1)
}
