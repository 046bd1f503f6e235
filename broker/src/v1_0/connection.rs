//! One 1.0 connection as the broker sees it: drives the sans-IO state machine, judges the client's wish
//! to connect, and keeps the sessions.

use super::answer::Answer;
use super::claim::{self, NAME_MAX};
use super::error::Refusal;
use super::incoming::{Sent, publish_of};
use super::session::{Session, Wire};
use super::subscription::Delivery;
use super::transactions::{self, Order};
use crate::front::{Claimant, Ending, OUTPUT_HIGH, OUTPUT_MAX, Settings, Step, Total, user};
use crate::links::{Ended, Estate, Lasts, Tag, Until, op};
use crate::shard::Ctx;
use fletch_amqp::v1_0::state::{Connection as Amqp, Event as Wired};
use fletch_amqp::v1_0::table::Error as WireError;
use fletch_amqp::v1_0::types::{Symbol, ValueRef, put_map, put_symbol};
use fletch_amqp::v1_0::{Role, amqp_error, connection_error};
use fletch_amqp::wire::Reader;
use fletch_engine::{Error, Event, Force, Published, Reply, Request, SessionId, Time};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
pub(crate) struct Connection {
    amqp: Amqp,
    remote: SocketAddr,
    user: Arc<str>,
    container: Box<str>,
    /// The number that the name of its container is held under, which no other connection may have.
    sole: Option<SessionId>,
    /// Whether it is free is asked.
    opening: bool,
    first: SessionId,
    begun: u32,
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
    /// The answer to the client's close, before it is known that the connection is over.
    last_words: Vec<u8>,
    /// Reading has stopped for a stall.
    paused: bool,
    /// Publishes that are not complete.
    publishes: Total,
    settings: Arc<Settings>,
}

impl Connection {
    /// A connection whose sessions are numbered from `first`.
    pub(crate) fn new(
        settings: &Arc<Settings>,
        first: SessionId,
        remote: SocketAddr,
        now: Time,
    ) -> Connection {
        Connection {
            amqp: Amqp::server(Arc::clone(&settings.v1_0), now.as_duration()),
            remote,
            user: Arc::from(""),
            container: Box::default(),
            sole: None,
            opening: false,
            first,
            begun: 0,
            sessions: Vec::new(),
            touched: false,
            on_list: false,
            news: false,
            waiting: false,
            leaving: 0,
            goodbye: None,
            last_words: Vec::new(),
            paused: false,
            publishes: Total::default(),
            settings: Arc::clone(settings),
        }
    }

    // ---- getters and output --------------------------------------------------------------

    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        self.amqp.out()
    }

    /// The longest frame that the client takes.
    pub(crate) fn max_frame(&self) -> usize {
        self.amqp.max_frame_size() as usize
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let at = self.amqp.next_timeout()?;
        Some(Time(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)))
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.waiting
            || self.opening
            || self.leaving > 0
            || self.publishes.is_too_much()
            || self.amqp.out_len() > OUTPUT_MAX
    }

    /// Looks again whether a session has to wait; only answers and ends of sessions change that.
    fn check_waiting(&mut self) {
        self.waiting = self.waiting && self.sessions.iter().any(|(_, s)| s.must_wait());
    }

    pub(crate) fn may_resume(&mut self) -> bool {
        let resume = self.paused && !self.is_stalled();
        self.paused &= !resume;
        resume
    }

    pub(crate) fn set_paused(&mut self) {
        self.paused = true;
    }

    pub(crate) fn touch(&mut self) -> bool {
        self.touched && !std::mem::replace(&mut self.on_list, true)
    }

    // ---- input ---------------------------------------------------------------------------

    pub(crate) fn process(&mut self, ctx: &mut Ctx<'_>, input: &mut &[u8]) -> Step {
        loop {
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
                Wired::Delivery { channel, handle, id, transfer, settled, payload } => {
                    let Some(at) = at(&self.sessions, channel) else { continue };
                    let session = &mut self.sessions[at].1;
                    let (txn, unknown) = match transactions::of(transfer.state.as_ref()) {
                        None => (None, None),
                        Some(Ok(txn)) => (Some(txn), None),
                        Some(Err(refusal)) => (None, Some(refusal)),
                    };
                    let sent = Sent { handle, id, settled, txn };
                    if transfer.resume {
                        let tag = Tag::from_slice(transfer.delivery_tag.unwrap_or_default());
                        drop(payload);
                        let mut wire = Wire { amqp: &mut self.amqp, channel };
                        session.resume_delivery(&mut wire, sent, &tag);
                        continue;
                    }
                    if session.resumes_only(handle) {
                        drop(payload);
                        let mut wire = Wire { amqp: &mut self.amqp, channel };
                        session.refuse_new(ctx, &mut wire, handle);
                        continue;
                    }
                    if session.is_coordinator(handle) {
                        let order = Order::read(&payload);
                        drop(payload);
                        let mut wire = Wire { amqp: &mut self.amqp, channel };
                        session.order(ctx, &mut wire, sent, order);
                        self.waiting |= session.must_wait();
                        if !ctx.fx.events.is_empty() {
                            return Step::More;
                        }
                        continue;
                    }
                    let limit = match txn {
                        None => (0, 0),
                        Some(_) => room_in(&self.sessions, self.settings.transaction_max),
                    };
                    let (session, publishes) = (&mut self.sessions[at].1, &mut self.publishes);
                    let tag = transfer.delivery_tag;
                    let published = match unknown {
                        None => session.publish(ctx, publishes, (sent, tag), limit, &payload),
                        Some(refusal) => Err(refusal),
                    };
                    drop(payload);
                    let mut wire = Wire { amqp: &mut self.amqp, channel };
                    match published {
                        Ok(Published::Done) => session.published(ctx, &mut wire, sent),
                        Ok(Published::Pending) => self.waiting |= session.must_wait(),
                        Err(refusal) => session.reject(ctx, &mut wire, sent, &refusal),
                    }
                }
                Wired::Disposition {
                    channel,
                    role: Role::RECEIVER,
                    first,
                    last,
                    settled,
                    state,
                } => {
                    let Some(at) = at(&self.sessions, channel) else { continue };
                    // The event borrows the state machine.
                    let (txn, state) = transactions::disposed(state.as_ref(), settled);
                    let mut wire = Wire { amqp: &mut self.amqp, channel };
                    let session = &mut self.sessions[at].1;
                    match (txn, state) {
                        (Some(txn), _) => {
                            let done =
                                txn.and_then(|txn| session.accept_in(txn, (first, last), settled));
                            if let Err(refusal) = done {
                                session.fail(&mut wire, &refusal);
                            }
                        }
                        (None, Some(state)) => {
                            session.disposed(ctx, &mut wire, (first, last), settled, state)
                        }
                        (None, None) => {}
                    }
                    self.waiting |= session.must_wait();
                }
                Wired::Disposition { channel, first, last, settled: true, .. } => {
                    let Some(at) = at(&self.sessions, channel) else { continue };
                    let mut wire = Wire { amqp: &mut self.amqp, channel };
                    self.sessions[at].1.settled(&mut wire, (first, last));
                }
                Wired::Disposition { .. } => {}
                Wired::Credit { channel, handle, drain, .. } => {
                    let Some(at) = at(&self.sessions, channel) else { continue };
                    let mut wire = Wire { amqp: &mut self.amqp, channel };
                    self.sessions[at].1.credit(ctx, &mut wire, handle, drain);
                }
                Wired::Attach { channel, handle, attach } => {
                    let Some(at) = at(&self.sessions, channel) else { continue };
                    if attach.name.len() > NAME_MAX {
                        let text = format!("A link's name has at most {NAME_MAX} octets");
                        let (answer, refusal) = (Answer::refused(&attach), Refusal::invalid(text));
                        let mut wire = Wire { amqp: &mut self.amqp, channel };
                        self.sessions[at].1.refuse(&mut wire, handle, &answer, &refusal);
                        continue;
                    }
                    let name =
                        claim::link_name(&self.user, &self.container, attach.role, attach.name);
                    let session = &mut self.sessions[at].1;
                    session.begin_claim(handle, &attach, &name);
                    self.waiting = true;
                    return Step::Claim { claimant: Claimant::Link { channel, handle }, name };
                }
                Wired::Detach { answer: true, .. } => {}
                Wired::Detach { channel, handle, closed, error, .. } => {
                    if let Some(error) = error {
                        tracing::info!(target: "protocol", remote = %self.remote, channel,
                            condition = %error.condition, text = error.description.unwrap_or_default(),
                            "the client detached a link for an error");
                    }
                    let Some(at) = at(&self.sessions, channel) else { continue };
                    let mut wire = Wire { amqp: &mut self.amqp, channel };
                    self.sessions[at].1.detach(ctx, &mut wire, (handle, closed), true);
                }
                Wired::LinkFailed { channel, handle, text } => {
                    tracing::warn!(target: "protocol", remote = %self.remote, channel, "link failed: {text}");
                    let Some(at) = at(&self.sessions, channel) else { continue };
                    let mut wire = Wire { amqp: &mut self.amqp, channel };
                    self.sessions[at].1.detach(ctx, &mut wire, (handle, true), false);
                }
                Wired::Begin { channel, .. } => return Step::Begin { channel, name: None },
                Wired::End { answer: true, .. } => {}
                Wired::End { channel, .. } => {
                    self.amqp.end(channel, None);
                    // What the session held is back where it came from when its client, or anybody its
                    // client talks to, hears that it is over.
                    let farewell = self.amqp.out().split_off(written);
                    if let Some(ended) = self.ended(ctx, channel, farewell) {
                        return ended;
                    }
                }
                Wired::SessionFailed { channel, text } => {
                    tracing::warn!(target: "protocol", remote = %self.remote, channel,
                        "session failed: {text}");
                    if let Some(ended) = self.ended(ctx, channel, Vec::new()) {
                        return ended;
                    }
                }
                Wired::Authenticate { mechanism, response } => {
                    match user(mechanism, response, &self.settings.realm) {
                        Ok(user) => {
                            tracing::debug!(target: "security", remote = %self.remote, %user,
                                "connected without authentication");
                            self.user = user;
                            self.amqp.authenticated(None);
                        }
                        Err(text) => {
                            tracing::info!(target: "security", remote = %self.remote, "refused: {text}");
                            self.amqp.reject_authentication();
                        }
                    }
                }
                Wired::Open { open } => {
                    self.container = open.container_id.into();
                    let sole = open.desired_capabilities.contains(SOLE_CONNECTION);
                    if self.container.len() > NAME_MAX {
                        let text = format!("A container-id has at most {NAME_MAX} octets");
                        self.refuse_container(now, &text);
                    } else if sole {
                        let name = claim::container_name(&self.container);
                        return Step::Claim { claimant: Claimant::Container, name };
                    } else {
                        self.amqp.open_ok();
                    }
                }
                Wired::Close { error } => {
                    if let Some(error) = error {
                        tracing::info!(target: "protocol", remote = %self.remote,
                            condition = %error.condition, text = error.description.unwrap_or_default(),
                            "the client closed the connection for an error");
                    }
                    self.amqp.close(now, None);
                    self.last_words = self.amqp.out().split_off(written);
                }
                Wired::Closed { text } => {
                    match text {
                        None => {
                            tracing::debug!(target: "protocol", remote = %self.remote, "closed")
                        }
                        Some(text) => tracing::warn!(target: "protocol", remote = %self.remote,
                            "connection closed: {text}"),
                    }
                    // What the sessions held is back where it came from when the client hears that it is over.
                    let mut goodbye = std::mem::take(&mut self.last_words);
                    goodbye.extend(self.amqp.out().drain(written..));
                    self.goodbye = Some(goodbye);
                    return Step::Closed;
                }
                // A server asks for none of these.
                Wired::Response { .. }
                | Wired::Challenge { .. }
                | Wired::Begun { .. }
                | Wired::Attached { .. }
                | Wired::Drained { .. } => {}
            }
        }
    }

    fn ended(&mut self, ctx: &mut Ctx<'_>, channel: u16, farewell: Vec<u8>) -> Option<Step> {
        self.news = true;
        let at = at(&self.sessions, channel)?;
        let (_, mut session) = self.sessions.swap_remove(at);
        session.publishes.forget(&mut self.publishes);
        self.check_waiting();
        let id = session.id;
        let ending = session.end(ctx, Ended::Session);
        self.leaving += usize::from(!farewell.is_empty());
        Some(Step::Ended { session: id, ending, farewell })
    }

    pub(crate) fn say_farewell(&mut self, farewell: &[u8]) {
        self.leaving -= 1;
        self.amqp.out().extend_from_slice(farewell);
    }

    pub(crate) fn say_goodbye(&mut self) -> bool {
        let goodbye = self.goodbye.take_if(|_| self.leaving == 0);
        self.amqp.out().extend_from_slice(goodbye.as_deref().unwrap_or_default());
        goodbye.is_some()
    }

    pub(crate) fn next_session(&mut self) -> SessionId {
        self.begun = self.begun.wrapping_add(1);
        self.first.of_same_connection(self.begun)
    }

    /// The shard has given the session on `channel` an id.
    pub(crate) fn begin(&mut self, id: SessionId, channel: u16) {
        self.sessions.push((channel, Session::new(id)));
        self.amqp.begin_ok(channel);
    }

    // ---- names that there are once -------------------------------------------------------

    /// The shard has given a number to what wants a name.
    pub(crate) fn claim(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: SessionId,
        claimant: Claimant,
        name: Arc<str>,
    ) {
        match claimant {
            Claimant::Container => {
                (self.sole, self.opening) = (Some(id), true);
                let request = Request::Attach { name, force: Force::No };
                ctx.engine.request(ctx.now, id, op::CLAIM, request, ctx.fx);
            }
            Claimant::Link { channel, .. } => {
                if let Some(at) = at(&self.sessions, channel) {
                    self.sessions[at].1.claim(ctx, id, Force::Others);
                }
            }
        }
    }

    /// The engine has answered. Gives back what nobody wants any more.
    pub(crate) fn claimed(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: SessionId,
        claimant: Claimant,
        result: Result<Reply, Error>,
    ) -> Option<Reply> {
        self.touched = true;
        match claimant {
            Claimant::Container if self.sole != Some(id) => return result.ok(),
            Claimant::Container if result.is_ok() => {
                self.opening = false;
                self.amqp.open_ok();
            }
            Claimant::Container => {
                (self.sole, self.opening) = (None, false);
                let text = "Another connection of this container is to be the only one";
                self.refuse_container(ctx.now.as_duration(), text);
            }
            Claimant::Link { channel, .. } => {
                let Some(at) = at(&self.sessions, channel) else { return result.ok() };
                let session = &mut self.sessions[at].1;
                let mut wire = Wire { amqp: &mut self.amqp, channel };
                let peer = (&*self.settings, &*self.container);
                let unclaimed = session.claimed(ctx, &mut wire, peer, id, result);
                self.check_waiting();
                return unclaimed;
            }
        }
        None
    }

    /// A link of this connection has the name that another one claims: that is asked for again if the first is
    /// gone, or going. True if it stays.
    pub(crate) fn shares(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: SessionId,
        claimant: Claimant,
        holder: (Option<Claimant>, SessionId),
    ) -> bool {
        if let (Some(Claimant::Link { channel, handle }), holder) = holder
            && let Some(at) = at(&self.sessions, channel)
            && self.sessions[at].1.is_attached(handle, holder)
        {
            return true;
        }
        if let Claimant::Link { channel, .. } = claimant
            && let Some(at) = at(&self.sessions, channel)
        {
            self.sessions[at].1.claim(ctx, id, Force::All);
        }
        false
    }

    /// Whether the connection is the only one of its container, by this number.
    pub(crate) fn is_container(&self, id: SessionId) -> bool {
        self.sole == Some(id)
    }

    /// Somebody else attaches a link.
    pub(crate) fn stolen(&mut self, ctx: &mut Ctx<'_>, id: SessionId, claimant: Claimant) {
        let Claimant::Link { channel, handle } = claimant else { return };
        let Some(at) = at(&self.sessions, channel) else { return };
        self.touched = true;
        let mut wire = Wire { amqp: &mut self.amqp, channel };
        self.sessions[at].1.stolen(ctx, &mut wire, (handle, id));
    }

    /// Refuses the connection for the name of its container, in the words that clients know.
    fn refuse_container(&mut self, now: Duration, text: &str) {
        tracing::info!(target: "protocol", remote = %self.remote, container = %self.container,
            "connection refused: {text}");
        let mut info = Vec::new();
        let put = |text, out: &mut Vec<u8>| put_symbol(Symbol::new(text).unwrap_or_default(), out);
        let written = put_map(&mut info, |out| {
            put("invalid-field", out)?;
            put("container-id", out)?;
            Ok(2)
        });
        // Two short symbols have room in every map.
        debug_assert!(written.is_ok(), "{written:?}");
        let info = ValueRef::decode(&mut Reader::new(&info)).ok().and_then(ValueRef::as_map);
        let condition = amqp_error::INVALID_FIELD;
        let error = WireError { condition, description: Some(text), info };
        self.amqp.refuse_open(now, &error);
    }

    // ---- the engine's events -------------------------------------------------------------

    pub(crate) fn on_event(&mut self, ctx: &mut Ctx<'_>, channel: u16, event: Event) {
        self.touched = true;
        let Some(at) = at(&self.sessions, channel) else { return };
        let session = &mut self.sessions[at].1;
        let mut wire = Wire { amqp: &mut self.amqp, channel };
        match event {
            Event::Deliver { to, delivery, message, redelivered, failures, marks } => {
                let failures = failures.max(u32::from(redelivered));
                let delivery = Delivery { delivery, message, failures, marks };
                session.deliver(ctx, &mut wire, to.tag, delivery);
            }
            Event::Published { op, .. } => {
                let sent = publish_of(op);
                session.publishes.end(sent.id, &mut self.publishes);
                session.published(ctx, &mut wire, sent);
            }
            Event::Withheld { op, .. } => {
                let sent = publish_of(op);
                session.publishes.withhold(sent.id, &mut self.publishes);
                session.withheld(ctx, sent);
            }
            Event::Refused { op, reason, .. } => {
                let sent = publish_of(op);
                session.publishes.end(sent.id, &mut self.publishes);
                session.reject(ctx, &mut wire, sent, &reason.into());
            }
            Event::Reply { op, result, .. } => session.on_reply(ctx, &mut wire, op, result),
            Event::SubscriptionEnded { to, reason } => {
                session.subscription_ended(ctx, &mut wire, to.tag, reason);
            }
            // 1.0 sessions have no names of their own, and no branches.
            Event::Evicted { .. } | Event::BranchExpired { .. } => {}
        }
        self.check_waiting();
    }

    // ---- turns ---------------------------------------------------------------------------

    pub(crate) fn turn_end(&mut self, ctx: &mut Ctx<'_>) -> bool {
        self.touched = false;
        self.on_list = false;
        self.amqp.flush();
        self.give_room(ctx);
        std::mem::take(&mut self.news)
    }

    pub(crate) fn written(&mut self, ctx: &mut Ctx<'_>) {
        self.give_room(ctx);
        if self.amqp.out().capacity() > 16 * 1024 {
            self.amqp.shrink();
        }
    }

    fn give_room(&mut self, ctx: &mut Ctx<'_>) {
        let owing = self.sessions.iter().any(|(_, session)| !session.owing.is_empty());
        if owing && self.amqp.out().len() + self.amqp.stalled() < OUTPUT_HIGH {
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

    pub(crate) fn close_forced(&mut self, now: Time, text: &str) {
        let condition = connection_error::CONNECTION_FORCED;
        let error = WireError { condition, description: Some(text), info: None };
        self.amqp.close(now.as_duration(), Some(&error));
    }

    pub(crate) fn end_sessions(&mut self, ctx: &mut Ctx<'_>) -> Vec<(SessionId, Box<Ending>)> {
        self.leaving += self.sessions.len();
        let ended = Ended::Connection;
        let endings = self.sessions.drain(..).map(|(_, s)| (s.id, s.end(ctx, ended))).collect();
        ctx.ended(Until::Connection(self.first.of_same_connection(0)));
        if let Some(id) = self.sole.take() {
            ctx.leave(id, Estate::Nothing, Lasts::default(), ended);
        }
        endings
    }
}

/// What a client desires whose connection is to be the only one of its container.
pub(super) const SOLE_CONNECTION: &str = "sole-connection-for-container";

/// Where a session stands.
fn at(sessions: &[(u16, Session)], channel: u16) -> Option<usize> {
    sessions.iter().position(|(c, _)| *c == channel)
}

/// How much more the connection may have in transactions, and its limit.
fn room_in(sessions: &[(u16, Session)], limit: u64) -> (u64, u64) {
    let all: u64 = sessions.iter().map(|(_, session)| session.transactions.bytes()).sum();
    (limit.saturating_sub(all), limit)
}
