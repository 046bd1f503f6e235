//! What a peer can do wrong, by how much it ends.

use crate::v0_10::frame::FrameError;
use crate::v0_10::{CloseCode, ErrorCode};

/// The end of a session: `execution.exception` and `detach`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: ErrorCode,
    pub(super) text: String,
}

impl Fault {
    fn new(code: ErrorCode, text: impl Into<String>) -> Fault {
        Fault { code, text: text.into() }
    }

    pub(super) fn illegal_state(text: impl Into<String>) -> Fault {
        Fault::new(ErrorCode::ILLEGAL_STATE, text)
    }

    pub(super) fn command_invalid(text: impl Into<String>) -> Fault {
        Fault::new(ErrorCode::COMMAND_INVALID, text)
    }

    pub(super) fn resource_limit(text: impl Into<String>) -> Fault {
        Fault::new(ErrorCode::RESOURCE_LIMIT_EXCEEDED, text)
    }

    pub(super) fn not_implemented(text: impl Into<String>) -> Fault {
        Fault::new(ErrorCode::NOT_IMPLEMENTED, text)
    }

    pub(super) fn invalid_argument(text: impl Into<String>) -> Fault {
        Fault::new(ErrorCode::INVALID_ARGUMENT, text)
    }
}

/// The end of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Of the connection: `connection.close`.
    Connection { code: CloseCode, text: String },
    /// Of the session on the frame's channel.
    Session(Fault),
}

impl Failure {
    pub(super) fn framing(text: impl Into<String>) -> Failure {
        Failure::Connection { code: CloseCode::FRAMING_ERROR, text: text.into() }
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Failure {
        Failure::framing(error.to_string())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        Failure::Session(fault)
    }
}

/// At most `max` octets of `text`, cut between characters.
pub(super) fn truncated(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
