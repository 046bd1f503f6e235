//! The front end of a connection: the protocol its client speaks, told by the first octets it sends.
//!
//! A front end drives the sans-IO state machine of its protocol, lowers what the client wants to
//! requests of the engine, and turns the engine's events into what the protocol says.

mod ending;
mod sasl;
mod settings;
pub(crate) mod tx;
mod under_way;
mod unsettled;

use crate::config::Protocols;
use crate::shard::Ctx;
use crate::{v0_10, v1_0};
use fletch_amqp::v1_0::frame::MIN_MAX_FRAME_SIZE;
use fletch_amqp::{Sniff, sniff};
use fletch_engine::{Error, Event, Reply, SessionId, Time};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) use ending::{Ending, Left, ScopedBinding};
pub(crate) use sasl::user;
pub(crate) use settings::Settings;
pub(crate) use tx::Tx;
pub(crate) use under_way::{Total, UnderWay};
pub(crate) use unsettled::{Record, Unsettled};

/// Above this many bytes waiting for the socket, no room is given back to queues: what a slow
/// client can make the broker hold is this, and what its subscriptions had room for.
pub(crate) const OUTPUT_HIGH: usize = 256 * 1024;

/// Above this many bytes waiting for the socket, nothing more is read from a client that does not
/// read: its commands would only make more answers. Far above what deliveries fill, so that a
/// client that reads late, but reads, is never held up by what it sends.
pub(crate) const OUTPUT_MAX: usize = 8 * 1024 * 1024;

/// Room is given back to the queue's home once this much has been written: a quarter of what a
/// subscription starts with, so that the home never runs dry and few frames are needed.
pub(crate) const ROOM_MESSAGES: u32 = fletch_engine::ROOM_MESSAGES / 4;
/// The same in bytes.
pub(crate) const ROOM_BYTES: u64 = fletch_engine::ROOM_BYTES / 4;

/// What [`Front::process`] stopped for.
pub(crate) enum Step {
    /// There is no event in the input that is left.
    Idle,
    /// There may be more, after what the engine has to say has been handed out.
    More,
    /// What follows has to wait for an answer of the engine, see [`Front::is_stalled`].
    Blocked,
    /// A session wants to be; the shard gives it an id. In 0-10, it wants a name.
    Begin { channel: u16, name: Option<Name> },
    /// Somebody wants a name, which the broker gives once; the shard gives a number to ask under.
    Claim { claimant: Claimant, name: Arc<str> },
    /// A session is over; the shard sees to its end, and then to [`Front::say_farewell`].
    Ended { session: SessionId, ending: Box<Ending>, farewell: Vec<u8> },
    /// The connection is over; what is in the output still goes out.
    Closed,
}

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimant {
    /// That of a connection whose client is to be the only one of its container.
    Container,
    /// That of a link.
    Link { channel: u16, handle: u32 },
}

/// The name that a session wants, and whether it takes it from whoever has it.
pub(crate) struct Name {
    pub(crate) octets: Vec<u8>,
    pub(crate) force: bool,
}

/// A connection, by what its client speaks.
pub(crate) enum Front {
    /// Nothing is known yet.
    New(New),
    V0_10(v0_10::Connection),
    V1_0(v1_0::Connection),
}

/// A connection on which no protocol header has come.
pub(crate) struct New {
    settings: Arc<Settings>,
    first: SessionId,
    remote: SocketAddr,
    deadline: Time,
    output: Vec<u8>,
    over: bool,
}

/// Calls the front end that there is; `$new` before there is one.
macro_rules! front {
    ($self:expr, $front:ident => $call:expr, $new:pat => $otherwise:expr) => {
        match $self {
            Front::New($new) => $otherwise,
            Front::V0_10($front) => $call,
            Front::V1_0($front) => $call,
        }
    };
}

impl Front {
    /// A connection whose sessions are numbered from `first`.
    pub(crate) fn new(
        settings: &Arc<Settings>,
        first: SessionId,
        remote: SocketAddr,
        now: Time,
    ) -> Front {
        Front::New(New {
            settings: Arc::clone(settings),
            first,
            remote,
            deadline: now.after(settings.amqp.limits.negotiation),
            output: Vec::new(),
            over: false,
        })
    }

    // ---- getters and output --------------------------------------------------------------

    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        front!(self, front => front.output(), new => &mut new.output)
    }

    /// The longest frame that the client takes, as far as it has said.
    pub(crate) fn max_frame(&self) -> usize {
        front!(self, front => front.max_frame(), _ => MIN_MAX_FRAME_SIZE as usize)
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        front!(self, front => front.next_timeout(), new => (!new.over).then_some(new.deadline))
    }

    /// Input has to wait until the engine has answered, or publishes are complete, or the client has
    /// read.
    pub(crate) fn is_stalled(&self) -> bool {
        front!(self, front => front.is_stalled(), _ => false)
    }

    /// Reading was stopped because of a stall that is over now.
    pub(crate) fn may_resume(&mut self) -> bool {
        front!(self, front => front.may_resume(), _ => false)
    }

    /// Reading has stopped.
    pub(crate) fn set_paused(&mut self) {
        front!(self, front => front.set_paused(), _ => {});
    }

    /// Whether the connection now has to be put on the list of those with work at the turn's end.
    pub(crate) fn touch(&mut self) -> bool {
        front!(self, front => front.touch(), _ => false)
    }

    /// Whether the connection ends before its client has said what it speaks.
    pub(crate) fn is_given_up(&self) -> bool {
        matches!(self, Front::New(New { over: true, .. }))
    }

    // ---- input ---------------------------------------------------------------------------

    /// Handles events until there is a reason to stop.
    pub(crate) fn process(&mut self, ctx: &mut Ctx<'_>, input: &mut &[u8]) -> Step {
        if let Front::New(new) = self {
            if new.over {
                return Step::Closed;
            }
            let (settings, first, remote) = (&new.settings, new.first, new.remote);
            let Protocols { v0_10, v1_0 } = settings.protocols;
            // What is not spoken is answered with the header of what is, and a close.
            let speaks_1_0 = match sniff(input) {
                Sniff::NeedMore => return Step::Idle,
                Sniff::V1_0 { .. } => v1_0,
                Sniff::V0_10 | Sniff::Other => !v0_10,
            };
            *self = match speaks_1_0 {
                true => Front::V1_0(v1_0::Connection::new(settings, first, remote, ctx.now)),
                false => Front::V0_10(v0_10::Connection::new(settings, first, remote, ctx.now)),
            };
        }
        front!(self, front => front.process(ctx, input), _ => Step::Idle)
    }

    /// The id of the next session.
    pub(crate) fn next_session(&mut self) -> SessionId {
        front!(self, front => front.next_session(), new => new.first)
    }

    /// The shard has given the session an id that wants to be on `channel`.
    pub(crate) fn begin(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: SessionId,
        channel: u16,
        name: Option<Name>,
    ) {
        match (self, name) {
            (Front::V0_10(front), Some(name)) => front.attaching(ctx, id, channel, &name),
            (Front::V1_0(front), _) => front.begin(id, channel),
            _ => {}
        }
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
        if let Front::V1_0(front) = self {
            front.claim(ctx, id, claimant, name);
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
        match self {
            Front::V1_0(front) => front.claimed(ctx, id, claimant, result),
            _ => result.ok(),
        }
    }

    /// Whether the connection is the only one of its container, by this number.
    pub(crate) fn is_container(&self, id: SessionId) -> bool {
        matches!(self, Front::V1_0(front) if front.is_container(id))
    }

    /// A link of this connection has the name that another one claims. True if it keeps it; else that is asked for
    /// again.
    pub(crate) fn shares(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: SessionId,
        claimant: Claimant,
        holder: (Option<Claimant>, SessionId),
    ) -> bool {
        match self {
            Front::V1_0(front) => front.shares(ctx, id, claimant, holder),
            _ => false,
        }
    }

    /// Somebody else attaches a link, which is to be left.
    pub(crate) fn stolen(&mut self, ctx: &mut Ctx<'_>, id: SessionId, claimant: Claimant) {
        if let Front::V1_0(front) = self {
            front.stolen(ctx, id, claimant);
        }
    }

    /// The end of a session is over: its client may know.
    pub(crate) fn say_farewell(&mut self, farewell: &[u8]) {
        front!(self, front => front.say_farewell(farewell), _ => {});
    }

    /// Whether the connection is over and all its sessions have left; says the last word then.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        front!(self, front => front.say_goodbye(), new => new.over)
    }

    // ---- the engine's events -------------------------------------------------------------

    /// Whether the event refuses a session its name: nothing more will come for that session.
    pub(crate) fn is_refusal(&self, event: &Event) -> bool {
        matches!(self, Front::V0_10(_)) && v0_10::Connection::is_refusal(event)
    }

    pub(crate) fn on_event(&mut self, ctx: &mut Ctx<'_>, channel: u16, event: Event) {
        front!(self, front => front.on_event(ctx, channel, event), _ => {});
    }

    // ---- turns ---------------------------------------------------------------------------

    /// The end of a turn: what sessions have to say goes into the output, room goes back to
    /// queues. True if [`Front::process`] has something to report without input.
    pub(crate) fn turn_end(&mut self, ctx: &mut Ctx<'_>) -> bool {
        front!(self, front => front.turn_end(ctx), _ => false)
    }

    /// The socket took all output.
    pub(crate) fn written(&mut self, ctx: &mut Ctx<'_>) {
        front!(self, front => front.written(ctx), _ => {});
    }

    pub(crate) fn timeout(&mut self, now: Time) {
        front!(self, front => front.timeout(now), new => new.over |= new.deadline <= now);
    }

    /// Tells the client that the broker ends the connection.
    pub(crate) fn close_forced(&mut self, now: Time, text: &str) {
        front!(self, front => front.close_forced(now, text), new => new.over = true);
    }

    /// The connection is over: ends all sessions.
    pub(crate) fn end_sessions(&mut self, ctx: &mut Ctx<'_>) -> Vec<(SessionId, Box<Ending>)> {
        front!(self, front => front.end_sessions(ctx), _ => Vec::new())
    }
}
