//! The state machine of one AMQP 0-10 connection, for either role, without input and output.
//!
//! A [`Connection`] is driven by whoever owns the socket, on whichever thread that is. Its methods
//! are of four kinds:
//!
//! * **input**: [`next`](Connection::next) takes octets that were read,
//!   [`timeout`](Connection::timeout) the time;
//! * **output**: [`out`](Connection::out) holds octets to write,
//!   [`next_timeout`](Connection::next_timeout) says when to call `timeout`;
//! * **commands**: what the driver decides, such as `attach_ok`, `complete` or `transfer`;
//! * **getters**.
//!
//! A turn of a driver is: `next` until `None`, answer the events, [`flush`](Connection::flush),
//! write `out`. Wrong input is answered here, by the rules of the protocol, and reported as an
//! event; it is never a panic or an error to handle.

mod config;
mod event;
mod fault;
mod negotiation;
mod receive;
mod send;
mod session;
mod session_control;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

pub use config::{ClientConfig, ClientMechanism, Limits, ServerConfig};
pub use event::{Ending, Event};
pub use send::{AttachError, Blame, SendError};

use crate::clock::{Clock, Due};
use crate::serial::{CommandId, SequenceSet};
use crate::v0_10::assembly::Held;
use crate::v0_10::frame::{
    FIRST_SEGMENT, Frame, LAST_SEGMENT, OpenSegment, PROTOCOL_HEADER, SegmentKind,
};
use crate::v0_10::table::connection;
use crate::v0_10::{CloseCode, Control};

use fault::truncated;
use receive::Fragment;
use session::Life;
use sessions::Sessions;

/// Which end of the connection this is.
#[derive(Debug)]
enum Role {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>),
}

/// Where the connection is in its life.
///
/// ```text
/// server: Header ─► StartOk ─► Authenticating ─► TuneOk ─► Open ─► Opening ─► Opened
///                                 ▲    │
///                                 └────┴─ SecureOk
/// client: Header ─► Start ─► Negotiating ─► OpenOk ─► Opened
/// both:   any ─► Closing, when we sent close ─► Closed
///         any ─► Closed, when close came or the stream cannot be followed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer's protocol header must come.
    Header,
    StartOk,
    /// The driver has a response to judge.
    Authenticating,
    SecureOk,
    TuneOk,
    Open,
    /// The driver has a virtual host to judge.
    Opening,
    Start,
    /// `secure` or `tune` must come.
    Negotiating,
    OpenOk,
    Opened,
    Closing,
    Closed,
}

/// How the connection ended.
#[derive(Debug)]
struct Over {
    code: CloseCode,
    text: String,
    by_peer: bool,
    reported: bool,
}

/// One AMQP 0-10 connection. See the module for how it is driven.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    phase: Phase,
    max_frame: u16,
    channel_max: u16,
    /// The channel whose lack of a session was answered last: one answer is enough for a run of
    /// commands.
    complained: Option<u16>,
    out: Vec<u8>,
    sessions: Sessions,
    /// Channels with something to write at the next flush.
    flush_list: Vec<u16>,
    /// Sessions that are over and not yet reported.
    endings: Vec<(u16, Ending)>,
    over: Option<Box<Over>>,
    /// Segments that the event given last borrows, when they were put together from pieces.
    held: Held,
    /// A control in several frames. No client of our field sends one; one at a time is enough.
    fragment: Option<Box<Fragment>>,
    /// What the event given last says is newly completed.
    newly: SequenceSet,
    clock: Clock,
}

impl Connection {
    /// The server's end of a connection accepted at `now`.
    pub fn server(config: impl Into<Arc<ServerConfig>>, now: Duration) -> Connection {
        let config = config.into();
        let limits = (config.max_frame_size, config.channel_max, config.limits.negotiation);
        Self::new(Role::Server(config), limits, now)
    }

    /// The client's end of a connection made at `now`. The protocol header is in `out` at once.
    pub fn client(config: impl Into<Arc<ClientConfig>>, now: Duration) -> Connection {
        let config = config.into();
        let limits = (config.max_frame_size, config.channel_max, config.limits.negotiation);
        let mut connection = Self::new(Role::Client(config), limits, now);
        connection.out.extend_from_slice(&PROTOCOL_HEADER);
        connection
    }

    fn new(role: Role, limits: (u16, u16, Duration), now: Duration) -> Connection {
        let (max_frame, channel_max, negotiation) = limits;
        let mut clock = Clock::default();
        clock.heard(now);
        clock.set_deadline(now + negotiation);
        Connection {
            role,
            phase: Phase::Header,
            max_frame,
            channel_max,
            complained: None,
            out: Vec::new(),
            sessions: Sessions::default(),
            flush_list: Vec::new(),
            endings: Vec::new(),
            over: None,
            held: Held::default(),
            fragment: None,
            newly: SequenceSet::new(),
            clock,
        }
    }

    // ---- input ----

    /// Consumes octets from the front of `input` until there is an event. `None` means that more
    /// octets must be read, or that the driver owes an answer (to `Authenticate`, `Response`,
    /// `Open` or `Attach`); what is left in `input` must be given again, with what comes after it.
    /// At most one frame, 65,535 octets, is ever left for want of octets.
    ///
    /// The event borrows `input` and the connection; answer it by ids afterwards. No call allocates
    /// unless a command came in pieces.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        now: Duration,
        input: &mut &'i [u8],
    ) -> Option<Event<'a>> {
        let ready = self.advance(now, input)?;
        self.event(ready)
    }

    /// Nothing was read from the peer up to now, on purpose: its silence means nothing.
    pub fn not_listening(&mut self, now: Duration) {
        self.clock.heard(now);
    }

    /// Tells the time when `next_timeout` has come, after `next` has been given all that was read:
    /// sends a heartbeat, or ends the connection for
    /// silence. An ending is reported by `next`, to which no input need be given.
    pub fn timeout(&mut self, now: Duration) {
        while let Some(due) = self.clock.due(now) {
            match due {
                Due::Heartbeat => {
                    self.control(0, &connection::Heartbeat {}.into());
                }
                Due::Silent => {
                    let text = "no heartbeat from the peer for two intervals";
                    self.fail(CloseCode::CONNECTION_FORCED, text);
                }
                Due::Deadline if self.phase == Phase::Closing => self.closed(),
                Due::Deadline => {
                    self.fail(CloseCode::CONNECTION_FORCED, "negotiation took too long");
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

    /// The end of a turn: writes, for each session with news, one `message.accept` and one
    /// `session.completed`.
    pub fn flush(&mut self) {
        let mut list = std::mem::take(&mut self.flush_list);
        for channel in list.drain(..) {
            if let Some(session) = self.sessions.get(channel) {
                session.listed = false;
                send::write_report(&mut self.out, self.max_frame, channel, session);
            }
        }
        self.flush_list = list;
        self.held.release();
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
        self.held = Held::default();
        self.newly = SequenceSet::new();
        self.flush_list.shrink_to_fit();
        self.endings.shrink_to_fit();
    }

    // ---- getters ----

    /// Commands can flow.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Opened
    }

    /// It is over: nothing more will be read or written, but for what is in `out`.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The largest frame agreed.
    pub fn max_frame_size(&self) -> u16 {
        self.max_frame
    }

    /// The highest channel number agreed.
    pub fn channel_max(&self) -> u16 {
        self.channel_max
    }

    /// How many sessions there are, those being attached or detached included.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The name of the session on a channel.
    pub fn session_name(&self, channel: u16) -> Option<&[u8]> {
        self.sessions.peek(channel).map(|session| &*session.name)
    }

    /// The id that the next command sent on a channel will have.
    pub fn next_command_id(&self, channel: u16) -> Option<CommandId> {
        self.sessions.peek(channel).map(|session| session.next_id())
    }

    /// Octets held for this connection: itself, its buffers and its sessions, unfinished messages
    /// included.
    pub fn memory(&self) -> usize {
        let sessions: usize = self.sessions.iter().map(|(_, session)| session.memory()).sum();
        size_of::<Connection>() + self.out.capacity() + self.held.capacity() + sessions
    }

    // ---- shared by the files of this module ----

    fn limits(&self) -> &Limits {
        match &self.role {
            Role::Server(config) => &config.limits,
            Role::Client(config) => &config.limits,
        }
    }

    fn is_server(&self) -> bool {
        matches!(self.role, Role::Server(_))
    }

    /// Writes a control. One that cannot be encoded says something wrong with our own
    /// configuration, which is no reason to stop the broker: the connection ends.
    fn control(&mut self, channel: u16, control: &Control<'_>) {
        if self.phase == Phase::Closed {
            return;
        }
        let segment = OpenSegment::begin(&mut self.out, SegmentKind::Control, channel);
        match control.encode_segment(&mut self.out) {
            Ok(()) => segment.finish(&mut self.out, FIRST_SEGMENT | LAST_SEGMENT, self.max_frame),
            Err(error) => {
                segment.abandon(&mut self.out);
                let text = format!("cannot send {}: {error}", control.name());
                self.fail(CloseCode::CONNECTION_FORCED, text);
            }
        }
    }

    /// Ends the connection at once: the stream cannot be followed further, so no answer is waited
    /// for.
    fn fail(&mut self, code: CloseCode, text: impl Into<String>) {
        if self.phase == Phase::Closed {
            return;
        }
        let text = text.into();
        if self.phase == Phase::Closing {
            return self.closed();
        }
        if self.phase != Phase::Header {
            self.write_close(code, &text);
        }
        self.over = Some(Box::new(Over { code, text, by_peer: false, reported: false }));
        self.closed();
    }

    fn write_close(&mut self, code: CloseCode, text: &str) {
        self.flush();
        let reply_text = Some(truncated(text, usize::from(u8::MAX)));
        self.control(0, &connection::Close { reply_code: Some(code), reply_text }.into());
    }

    /// Enters the last phase; `over` says why.
    fn closed(&mut self) {
        self.phase = Phase::Closed;
        self.sessions.clear();
        self.endings = Vec::new();
        self.flush_list = Vec::new();
        self.fragment = None;
        self.clock.stop();
        self.clock.clear_deadline();
    }

    /// The frame at the start of `input` is for a driver that owes us an answer.
    #[inline]
    fn must_wait(&mut self, frame: &Frame<'_>) -> bool {
        match self.phase {
            Phase::Authenticating | Phase::Opening => true,
            _ => self.sessions.get(frame.channel).is_some_and(|s| s.life == Life::Offered),
        }
    }
}
