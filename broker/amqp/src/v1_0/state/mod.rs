//! The state machine of one AMQP 1.0 connection, for either role, without input and output.
//!
//! A [`Connection`] is driven by whoever owns the socket, on whichever thread that is. Its methods
//! are of four kinds:
//!
//! * **input**: [`next`](Connection::next) takes octets that were read,
//!   [`timeout`](Connection::timeout) the time;
//! * **output**: [`out`](Connection::out) holds octets to write,
//!   [`next_timeout`](Connection::next_timeout) says when to call `timeout`;
//! * **commands**: what the driver decides, such as `attach_ok`, `grant`, `transfer` or `settle`;
//! * **getters**.
//!
//! A turn of a driver is: `next` until `None`, answer the events, [`flush`](Connection::flush),
//! write `out`. Wrong input is answered here, by the rules of the protocol, and reported as an
//! event; it is never a panic or an error to handle.
//!
//! Sessions and links are the same for both roles: either end may begin, attach, send and receive.
//! What a driver decides about deliveries (when they are settled, and how) it keeps itself; the state
//! machine keeps ids, windows and credit.

mod config;
mod event;
mod fault;
mod link;
mod links;
mod negotiation;
mod receive;
mod send;
mod session;
mod sessions;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use config::{ClientConfig, ClientMechanism, Identity, Limits, ServerConfig};
pub use event::Event;
pub use send::{Outgoing, SendError};

use crate::clock::{Clock, Due};
use crate::v1_0::frame::{
    MIN_MAX_FRAME_SIZE, PROTOCOL_HEADER, SASL_HEADER, write_empty, write_frame,
};
use crate::v1_0::table::{Close, Error};
use crate::v1_0::types::Symbol;
use crate::v1_0::{Performative, SequenceNo, amqp_error, connection_error};
use link::Partial;
use session::Session;

/// Which end of the connection this is.
#[derive(Debug)]
enum Role {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>),
}

/// Where the connection is in its life.
///
/// ```text
/// server: Header ─► Init ─► Authenticating ─► Header ─► Open ─► Opening ─► Opened
///              │              ▲    │             ▲
///              │              └────┴─ Response   │
///              └─── without SASL ────────────────┘
/// client: SaslHeader ─► Mechanisms ─► Outcome ─► Header ─► Open ─► Opened
/// both:   any ─► Closing, when we sent close ─► Closed
///         any ─► Leaving, when close came, until we answer ─► Closed
///         any ─► Closed, when the stream cannot be followed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The protocol header must come, or for a server that of SASL.
    Header,
    /// Client: the header of SASL must come.
    SaslHeader,
    /// Server: `sasl-init` must come.
    Init,
    /// Server: the driver has a response to judge.
    Authenticating,
    /// Server: `sasl-response` must come.
    Response,
    /// Client: `sasl-mechanisms` must come.
    Mechanisms,
    /// Client: `sasl-challenge` or `sasl-outcome` must come.
    Outcome,
    /// `open` must come.
    Open,
    /// Server: the driver has an `open` to answer.
    Opening,
    Opened,
    /// `close` came, and the driver owes the answer.
    Leaving,
    Closing,
    Closed,
}

/// Something to report that needs no input.
#[derive(Debug)]
enum News {
    LinkFailed { channel: u16, handle: u32, text: String },
    SessionFailed { channel: u16, text: String },
    Drained { channel: u16, handle: u32 },
    Closed { text: Option<String> },
}

/// One AMQP 1.0 connection. See the module for how it is driven.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    phase: Phase,
    /// SASL is over, or there is none.
    authenticated: bool,
    /// The largest frame that the peer takes.
    max_frame: u32,
    /// The highest channel that both take.
    channel_max: u16,
    out: Vec<u8>,
    /// By our channel, in order.
    sessions: Vec<(u16, Box<Session>)>,
    /// Channels with something to write at the next flush.
    flush_list: Vec<u16>,
    news: VecDeque<News>,
    /// The delivery of the event given last, when it was put together from pieces.
    held: Option<Box<Partial>>,
    /// The session that the driver owes the answer to a begin, or to the attach of a link.
    awaited: Option<(u16, Option<u32>)>,
    /// Octets of deliveries of which some has come.
    partial_bytes: usize,
    clock: Clock,
}

impl Connection {
    /// The server's end of a connection accepted at `now`.
    pub fn server(config: impl Into<Arc<ServerConfig>>, now: Duration) -> Connection {
        Self::new(Role::Server(config.into()), Phase::Header, now)
    }

    /// The client's end of a connection made at `now`. The first header is in `out` at once.
    pub fn client(config: impl Into<Arc<ClientConfig>>, now: Duration) -> Connection {
        let config = config.into();
        let sasl = !config.mechanisms.is_empty();
        let phase = if sasl { Phase::SaslHeader } else { Phase::Header };
        let mut connection = Self::new(Role::Client(config), phase, now);
        if sasl {
            connection.out.extend_from_slice(&SASL_HEADER);
        } else {
            connection.authenticated = true;
            connection.out.extend_from_slice(&PROTOCOL_HEADER);
            connection.write_open();
        }
        connection
    }

    fn new(role: Role, phase: Phase, now: Duration) -> Connection {
        let mut connection = Connection {
            role,
            phase,
            authenticated: false,
            max_frame: MIN_MAX_FRAME_SIZE,
            channel_max: 0,
            out: Vec::new(),
            sessions: Vec::new(),
            flush_list: Vec::new(),
            news: VecDeque::new(),
            held: None,
            awaited: None,
            partial_bytes: 0,
            clock: Clock::default(),
        };
        connection.clock.heard(now);
        connection.clock.set_deadline(now + connection.limits().negotiation);
        connection
    }

    // ---- input ----

    /// Consumes octets from the front of `input` until there is an event. `None` means that more
    /// octets must be read, or that the driver owes an answer (to `Authenticate`, `Response`, `Open`,
    /// `Begin`, `Attach` or `Close`); what is left in `input` must be given again, with what comes after
    /// it. At most one frame is ever left for want of octets.
    ///
    /// The event borrows `input` and the connection; answer it by channel and handle afterwards. No call
    /// allocates unless a message came in pieces.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        now: Duration,
        input: &mut &'i [u8],
    ) -> Option<Event<'a>> {
        self.held = None;
        let ready = self.advance(now, input)?;
        self.event(ready)
    }

    /// Nothing was read from the peer up to now, on purpose: its silence means nothing.
    pub fn not_listening(&mut self, now: Duration) {
        self.clock.heard(now);
    }

    /// Tells the time when `next_timeout` has come, after `next` has been given all that was read:
    /// shows that we are alive, or ends the connection for silence. An ending is reported by `next`, to
    /// which no input need be given.
    pub fn timeout(&mut self, now: Duration) {
        while let Some(due) = self.clock.due(now) {
            match due {
                Due::Heartbeat => write_empty(&mut self.out),
                Due::Silent => {
                    let text = "nothing came from the peer for twice the idle time-out";
                    self.fail(amqp_error::RESOURCE_LIMIT_EXCEEDED, text);
                }
                Due::Deadline if self.phase == Phase::Closing => self.closed(None),
                Due::Deadline => {
                    self.fail(connection_error::CONNECTION_FORCED, "negotiation took too long");
                }
            }
        }
    }

    // ---- output ----

    /// Octets to write to the socket. The driver drains or takes them; a driver that takes the
    /// vector leaves no memory behind.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Octets in `out`.
    pub fn out_len(&self) -> usize {
        self.out.len()
    }

    /// The end of a turn: writes dispositions of what was accepted, in ranges, and the flows that are owed.
    pub fn flush(&mut self) {
        let mut list = std::mem::take(&mut self.flush_list);
        for channel in list.drain(..) {
            if let Ok(at) = self.find(channel) {
                self.sessions[at].1.flush(&mut self.out, channel, self.max_frame);
            }
        }
        self.flush_list = list;
        self.held = None;
    }

    /// When to call `timeout`, if at all.
    pub fn next_timeout(&self) -> Option<Duration> {
        self.clock.next_timeout()
    }

    /// Gives back memory that an idle connection need not hold. For a driver that has drained `out`
    /// and expects nothing.
    pub fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        self.held = None;
        self.flush_list.shrink_to_fit();
        self.news.shrink_to_fit();
        for (_, session) in &mut self.sessions {
            session.listed_links.shrink_to_fit();
        }
    }

    // ---- getters ----

    /// Sessions can begin.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Opened
    }

    /// It is over: nothing more will be read or written, but for what is in `out`.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The largest frame that the peer takes.
    pub fn max_frame_size(&self) -> u32 {
        self.max_frame
    }

    /// How many sessions there are, those that begin or end included.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Octets that wait for the windows of sessions to open.
    pub fn stalled(&self) -> usize {
        self.sessions.iter().map(|(_, session)| session.stalled_bytes).sum()
    }

    /// Credit of a link, by our handle.
    pub fn credit(&self, channel: u16, handle: u32) -> u32 {
        let session = self.find(channel).ok().map(|at| &self.sessions[at].1);
        session.and_then(|session| session.links.get(&handle)).map_or(0, |link| link.credit)
    }

    /// The number that the next delivery sent in a session will have.
    pub fn next_delivery_id(&self, channel: u16) -> SequenceNo {
        self.find(channel)
            .map_or_else(|_| SequenceNo::default(), |at| self.sessions[at].1.next_delivery_id)
    }

    /// Octets held for this connection: itself, its buffers, sessions and links, unfinished messages
    /// included.
    pub fn memory(&self) -> usize {
        let sessions: usize = self.sessions.iter().map(|(_, session)| session.memory()).sum();
        size_of::<Connection>() + self.out.capacity() + sessions
    }

    // ---- shared by the files of this module ----

    fn limits(&self) -> &Limits {
        match &self.role {
            Role::Server(config) => &config.limits,
            Role::Client(config) => &config.limits,
        }
    }

    fn identity(&self) -> &Identity {
        match &self.role {
            Role::Server(config) => &config.identity,
            Role::Client(config) => &config.identity,
        }
    }

    fn is_server(&self) -> bool {
        matches!(self.role, Role::Server(_))
    }

    /// Where a session stands, or would.
    #[inline]
    fn find(&self, channel: u16) -> Result<usize, usize> {
        match self.sessions.first() {
            Some((first, _)) if *first == channel => Ok(0),
            _ => self.sessions.binary_search_by_key(&channel, |(c, _)| *c),
        }
    }

    #[inline]
    fn session(&mut self, channel: u16) -> Option<&mut Session> {
        let at = self.find(channel).ok()?;
        Some(&mut self.sessions[at].1)
    }

    /// The session has something to write at the end of the turn.
    fn list(&mut self, channel: u16) {
        if let Ok(at) = self.find(channel)
            && !std::mem::replace(&mut self.sessions[at].1.listed, true)
        {
            self.flush_list.push(channel);
        }
    }

    /// Writes a performative. One that the peer has no room for ends the connection: it says something
    /// that we cannot leave out.
    fn write(&mut self, channel: u16, performative: &Performative<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        if let Err(error) = write_frame(&mut self.out, channel, performative, self.max_frame) {
            let text = format!("cannot send {}: {error}", performative.name());
            self.fail(amqp_error::FRAME_SIZE_TOO_SMALL, text);
        }
    }

    /// Ends the connection at once: the stream cannot be followed further, so no answer is waited
    /// for.
    fn fail(&mut self, condition: Symbol<'static>, text: impl Into<String>) {
        if self.phase == Phase::Closed {
            return;
        }
        if self.phase == Phase::Closing {
            return self.closed(None);
        }
        let text = text.into();
        if self.authenticated && self.phase != Phase::Header {
            if self.is_server() && matches!(self.phase, Phase::Open | Phase::Opening) {
                self.write_open();
            }
            self.write_close(Some(&Error {
                condition,
                description: Some(truncated(&text)),
                info: None,
            }));
        }
        self.closed(Some(text));
    }

    fn write_close(&mut self, error: Option<&Error<'_>>) {
        self.flush();
        let close = Close { error: error.cloned() };
        // Without its text it fits every frame.
        if write_frame(&mut self.out, 0, &close.into(), self.max_frame).is_err() {
            let error = error.map(|e| Error { description: None, info: None, ..e.clone() });
            let _ = write_frame(&mut self.out, 0, &Close { error }.into(), self.max_frame);
        }
    }

    /// Enters the last phase.
    fn closed(&mut self, text: Option<String>) {
        self.phase = Phase::Closed;
        self.sessions = Vec::new();
        self.flush_list = Vec::new();
        self.partial_bytes = 0;
        self.awaited = None;
        self.news.clear();
        self.news.push_back(News::Closed { text });
        self.clock.stop();
        self.clock.clear_deadline();
    }

    /// The driver owes an answer without which nothing can be read.
    #[inline]
    fn must_wait(&self) -> bool {
        self.awaited.is_some()
            || matches!(self.phase, Phase::Authenticating | Phase::Opening | Phase::Leaving)
    }
}

/// What of an error's text fits the smallest frame, with room for the rest.
fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MIN_MAX_FRAME_SIZE as usize / 2)]
}
