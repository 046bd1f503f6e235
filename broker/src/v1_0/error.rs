//! Refusals in 1.0 terms.

use fletch_amqp::v1_0::amqp_error;
use fletch_amqp::v1_0::table::Error as WireError;
use fletch_amqp::v1_0::types::Symbol;
use fletch_engine::{Error, ErrorKind};

/// An error to be told: of a link, a session, or a message that is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) condition: Symbol<'static>,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(condition: Symbol<'static>, text: impl Into<String>) -> Refusal {
        Refusal { condition, text: text.into() }
    }

    pub(super) fn not_found(text: impl Into<String>) -> Refusal {
        Refusal::new(amqp_error::NOT_FOUND, text)
    }

    pub(super) fn invalid(text: impl Into<String>) -> Refusal {
        Refusal::new(amqp_error::INVALID_FIELD, text)
    }

    pub(super) fn not_implemented(text: impl Into<String>) -> Refusal {
        Refusal::new(amqp_error::NOT_IMPLEMENTED, text)
    }

    /// A message that cannot be decoded.
    pub(super) fn malformed(text: impl Into<String>) -> Refusal {
        Refusal::new(amqp_error::DECODE_ERROR, text)
    }

    /// As it goes on the wire.
    pub(super) fn wire(&self) -> WireError<'_> {
        // Small enough for every frame.
        let text = &self.text[..self.text.floor_char_boundary(TEXT_MAX)];
        WireError { condition: self.condition, description: Some(text), info: None }
    }
}

/// Octets of an error's text: a frame of the smallest size has room for it.
const TEXT_MAX: usize = 256;

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let condition = match error.kind {
            ErrorKind::NotFound => amqp_error::NOT_FOUND,
            ErrorKind::NotAllowed | ErrorKind::CommandInvalid => amqp_error::NOT_ALLOWED,
            ErrorKind::ResourceLocked => amqp_error::RESOURCE_LOCKED,
            ErrorKind::PreconditionFailed => amqp_error::PRECONDITION_FAILED,
            ErrorKind::IllegalArgument | ErrorKind::InvalidArgument => amqp_error::INVALID_FIELD,
            ErrorKind::ResourceLimit => amqp_error::RESOURCE_LIMIT_EXCEEDED,
            ErrorKind::ResourceDeleted => amqp_error::RESOURCE_DELETED,
            ErrorKind::Internal => amqp_error::INTERNAL_ERROR,
            ErrorKind::NotImplemented => amqp_error::NOT_IMPLEMENTED,
            ErrorKind::IllegalState => amqp_error::ILLEGAL_STATE,
        };
        Refusal::new(condition, error.text)
    }
}
