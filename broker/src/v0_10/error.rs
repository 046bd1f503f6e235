//! Engine refusals in 0-10 terms.

use fletch_amqp::v0_10::ErrorCode;
use fletch_engine::{Error, ErrorKind};

/// An `execution.exception` to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) text: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Refusal {
        Refusal { code, text: text.into() }
    }
}

impl From<Error> for Refusal {
    /// The text starts with the code's name, as clients of the reference show it to people.
    fn from(error: Error) -> Refusal {
        let code = match error.kind {
            ErrorKind::NotFound => ErrorCode::NOT_FOUND,
            ErrorKind::NotAllowed => ErrorCode::NOT_ALLOWED,
            ErrorKind::ResourceLocked => ErrorCode::RESOURCE_LOCKED,
            ErrorKind::PreconditionFailed => ErrorCode::PRECONDITION_FAILED,
            ErrorKind::IllegalArgument => ErrorCode::ILLEGAL_ARGUMENT,
            ErrorKind::InvalidArgument => ErrorCode::INVALID_ARGUMENT,
            ErrorKind::ResourceLimit => ErrorCode::RESOURCE_LIMIT_EXCEEDED,
            ErrorKind::ResourceDeleted => ErrorCode::RESOURCE_DELETED,
            ErrorKind::Internal => ErrorCode::INTERNAL_ERROR,
            ErrorKind::NotImplemented => ErrorCode::NOT_IMPLEMENTED,
            ErrorKind::IllegalState => ErrorCode::ILLEGAL_STATE,
            ErrorKind::CommandInvalid => ErrorCode::COMMAND_INVALID,
        };
        let name = code.name().unwrap_or("error");
        Refusal { code, text: format!("{name}: {}", error.text) }
    }
}
