//! What a connection tells its driver.

use std::borrow::Cow;

use crate::v1_0::table::{Attach, Begin, DeliveryState, Error, Open, Transfer};
use crate::v1_0::types::MapRef;
use crate::v1_0::{Role, SequenceNo};

/// What the peer did. Borrows the input, or the connection until the next call.
///
/// Channels and handles are ours: those of the commands that answer.
#[derive(Debug)]
pub enum Event<'a> {
    /// Server: the client chose one of the mechanisms offered. Answer with `challenge`, `authenticated` or
    /// `reject_authentication`.
    Authenticate {
        /// The mechanism.
        mechanism: &'a str,
        /// The initial response; `None` when the client sent none.
        response: Option<&'a [u8]>,
    },
    /// Server: the answer to a challenge. Answer like `Authenticate`.
    Response {
        /// The response.
        response: &'a [u8],
    },
    /// Client: answer with `respond`.
    Challenge {
        /// The challenge.
        challenge: &'a [u8],
    },
    /// Server: the client opens the connection. Answer with `open_ok`, or with `open_ok` and `close`.
    /// Client: the connection is open.
    Open {
        /// What the peer says of itself.
        open: Open<'a>,
    },
    /// The peer wants a session. Answer with `begin_ok`, or with `begin_ok` and `end`.
    Begin {
        /// The channel.
        channel: u16,
        /// What it asks for.
        begin: Begin<'a>,
    },
    /// A session that we began is there.
    Begun {
        /// The channel.
        channel: u16,
        /// The peer's answer.
        begin: Begin<'a>,
    },
    /// The peer wants a link. Answer with `attach_ok` or `refuse_attach`.
    Attach {
        /// The session.
        channel: u16,
        /// The link.
        handle: u32,
        /// What it asks for; `role` is the peer's.
        attach: Attach<'a>,
    },
    /// The peer's answer to our `attach`. If it has no terminus of its own, a detach will follow.
    Attached {
        /// The session.
        channel: u16,
        /// The link.
        handle: u32,
        /// The peer's answer.
        attach: Attach<'a>,
    },
    /// Credit of a link that we send on: what is stated replaces what was.
    Credit {
        /// The session.
        channel: u16,
        /// The link.
        handle: u32,
        /// Deliveries that may be sent from now on.
        credit: u32,
        /// Use the credit up at once, and say `drained`.
        drain: bool,
        /// What the flow says besides.
        properties: Option<MapRef<'a>>,
    },
    /// A link that we receive on has no more to send, or has used up its credit as it was asked to by
    /// `drain`.
    Drained {
        /// The session.
        channel: u16,
        /// The link.
        handle: u32,
    },
    /// A whole delivery. Answer with `settle`, and in any case with `finished`.
    Delivery {
        /// The session.
        channel: u16,
        /// The link.
        handle: u32,
        /// Its number in the session.
        id: SequenceNo,
        /// The first transfer of it, which names tag, format and state.
        transfer: Transfer<'a>,
        /// The sender has settled it.
        settled: bool,
        /// The message, encoded.
        payload: Cow<'a, [u8]>,
    },
    /// The peer tells the state of deliveries.
    Disposition {
        /// The session.
        channel: u16,
        /// The peer's role: deliveries that we sent if it is the receiver.
        role: Role,
        /// The first of them.
        first: SequenceNo,
        /// The last of them. For deliveries that we sent, one that was sent.
        last: SequenceNo,
        /// The peer has settled them.
        settled: bool,
        /// Their state.
        state: Option<DeliveryState<'a>>,
    },
    /// The peer detaches a link. Answer with `detach`, unless it answers ours.
    Detach {
        /// The session.
        channel: u16,
        /// The link.
        handle: u32,
        /// It is over for good.
        closed: bool,
        /// Why.
        error: Option<Error<'a>>,
        /// It answers our `detach`: the handle is free.
        answer: bool,
    },
    /// The link broke a rule and is detached: the peer has been told.
    LinkFailed {
        /// The session.
        channel: u16,
        /// The link; free when the peer has answered.
        handle: u32,
        /// The rule.
        text: String,
    },
    /// The peer ends a session. Answer with `end`, unless it answers ours.
    End {
        /// The session.
        channel: u16,
        /// Why.
        error: Option<Error<'a>>,
        /// It answers our `end`: the channel is free.
        answer: bool,
    },
    /// The session broke a rule and is ended: the peer has been told.
    SessionFailed {
        /// The session; free when the peer has answered.
        channel: u16,
        /// The rule.
        text: String,
    },
    /// The peer closes the connection. Answer with `close`.
    Close {
        /// Why.
        error: Option<Error<'a>>,
    },
    /// It is over: nothing more is read, and what is in the output still goes out.
    Closed {
        /// Why, if not in order.
        text: Option<String>,
    },
}
