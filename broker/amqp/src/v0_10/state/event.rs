//! What a connection tells its driver.

use crate::serial::{CommandId, SequenceSet};
use crate::types::{ArrayRef, MapRef};
use crate::v0_10::assembly::Payload;
use crate::v0_10::table::{execution, message};
use crate::v0_10::{CloseCode, Command, DetachCode, ErrorCode, Struct32};

/// What the peer did. Borrows the input, or the connection until the next call.
#[derive(Debug)]
pub enum Event<'a> {
    /// Server: the client chose a mechanism. Answer with `challenge`, `authenticated` or
    /// `reject_authentication`.
    Authenticate {
        /// One of the mechanisms offered.
        mechanism: &'a str,
        /// The initial response; `None` when the client sent none, which SASL tells from an empty
        /// one.
        response: Option<&'a [u8]>,
        /// The locale chosen.
        locale: &'a str,
        /// Who the client says it is. Nothing in it is proven.
        client_properties: Option<MapRef<'a>>,
    },
    /// Server: the answer to a challenge.
    Response {
        /// The mechanism's octets.
        response: &'a [u8],
    },
    /// Server: the client, authenticated by now, opens a virtual host. Answer with `open_ok`,
    /// `redirect` or `close`.
    Open {
        /// The virtual host; empty for the default one.
        virtual_host: &'a str,
        /// Capabilities wanted.
        capabilities: Option<ArrayRef<'a>>,
        /// The client does not want to be redirected.
        insist: bool,
    },
    /// Client: what the server offered. The mechanism has been chosen and answered already.
    Start {
        /// Who the server says it is.
        server_properties: Option<MapRef<'a>>,
        /// Mechanisms offered.
        mechanisms: Option<ArrayRef<'a>>,
    },
    /// Client: answer with `respond`.
    Challenge {
        /// The mechanism's octets.
        challenge: &'a [u8],
    },
    /// Client: the connection is open.
    Opened {
        /// Other addresses of the service.
        known_hosts: Option<ArrayRef<'a>>,
    },
    /// Client: go elsewhere. The connection is closed.
    Redirected {
        /// Where.
        host: &'a str,
        /// Other addresses.
        known_hosts: Option<ArrayRef<'a>>,
    },
    /// Server: a session wants to attach. Answer with `attach_ok` or `refuse_attach`; until then
    /// frames for this channel stay in the input, and so does everything behind them.
    Attach {
        /// The channel.
        channel: u16,
        /// The session's name.
        name: &'a [u8],
        /// Take the name over from wherever it is attached.
        force: bool,
    },
    /// Client: our session is attached.
    Attached {
        /// The channel.
        channel: u16,
    },
    /// A session is over: once for every session that was attached, unless the connection ends
    /// first. The channel takes no more commands.
    Detached {
        /// The channel.
        channel: u16,
        /// Why.
        ending: Ending,
    },
    /// A command without content, other than the `execution` class. It is incomplete until
    /// `complete` or `result`.
    Command {
        /// The channel.
        channel: u16,
        /// Its id in the session.
        id: CommandId,
        /// The peer wants to hear of its completion at once.
        sync: bool,
        /// The command.
        command: Command<'a>,
    },
    /// A message. Incomplete until `complete`.
    Transfer {
        /// The channel.
        channel: u16,
        /// Its id in the session.
        id: CommandId,
        /// The peer wants to hear of its completion at once.
        sync: bool,
        /// The command.
        transfer: message::Transfer<'a>,
        /// The header segment as received: structs, each behind its size.
        header: Option<&'a [u8]>,
        /// The body segment.
        body: Payload<'a>,
    },
    /// The peer has completed commands of ours, none of which was in an earlier event.
    Completed {
        /// The channel.
        channel: u16,
        /// Their ids.
        commands: &'a SequenceSet,
    },
    /// The result of a command of ours.
    Result {
        /// The channel.
        channel: u16,
        /// The command.
        command_id: CommandId,
        /// The struct, undecoded.
        value: Option<Struct32<'a>>,
    },
    /// The peer failed a command of ours. It detaches the session next.
    Exception {
        /// The channel.
        channel: u16,
        /// What was wrong.
        exception: execution::Exception<'a>,
    },
    /// The session timeout that the peer granted.
    Timeout {
        /// The channel.
        channel: u16,
        /// Seconds.
        seconds: u32,
    },
    /// The connection is over: write what is left in `out` and close the socket. The last event.
    Closed {
        /// Why.
        code: CloseCode,
        /// For people.
        text: &'a str,
        /// The peer asked for it.
        by_peer: bool,
    },
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The peer detached it in order, or answered our `detach`.
    Normal,
    /// The peer refused it or forced it away: a `session.detached` code other than normal.
    Refused(DetachCode),
    /// We forced it away with this `session.detached` code.
    Forced(DetachCode),
    /// An exception of ours: `execution.exception` was sent and the session is being detached.
    Exception {
        /// What kind of error.
        code: ErrorCode,
        /// For people.
        text: String,
    },
}
