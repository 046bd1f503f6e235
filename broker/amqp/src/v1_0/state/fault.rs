//! What a peer can do wrong, by how much it ends.

use crate::v1_0::codec::CompositeError;
use crate::v1_0::frame::FrameError;
use crate::v1_0::types::Symbol;
use crate::v1_0::{amqp_error, connection_error};

/// Something wrong, and what of it the protocol ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) scope: Scope,
    pub(super) condition: Symbol<'static>,
    pub(super) text: String,
}

/// What a fault ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The connection, with `close`.
    Connection,
    /// The session on the frame's channel, with `end`.
    Session,
    /// A link of that session, by our handle, with `detach`.
    Link(u32),
}

impl Fault {
    pub(super) fn connection(condition: Symbol<'static>, text: impl Into<String>) -> Fault {
        Fault { scope: Scope::Connection, condition, text: text.into() }
    }

    pub(super) fn session(condition: Symbol<'static>, text: impl Into<String>) -> Fault {
        Fault { scope: Scope::Session, condition, text: text.into() }
    }

    pub(super) fn link(handle: u32, condition: Symbol<'static>, text: impl Into<String>) -> Fault {
        Fault { scope: Scope::Link(handle), condition, text: text.into() }
    }

    /// Something that must not come now.
    pub(super) fn unexpected(what: &str, now: &str) -> Fault {
        Fault::connection(amqp_error::ILLEGAL_STATE, format!("{what} cannot come {now}"))
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Fault {
        Fault::connection(connection_error::FRAMING_ERROR, error.to_string())
    }
}

impl From<CompositeError> for Fault {
    fn from(error: CompositeError) -> Fault {
        let condition = match error {
            CompositeError::MissingField { .. } => amqp_error::INVALID_FIELD,
            _ => amqp_error::DECODE_ERROR,
        };
        Fault::connection(condition, error.to_string())
    }
}
