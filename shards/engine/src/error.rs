//! What the engine refuses, in terms every protocol can map to its own codes.

/// Why a request was refused. `text` names the thing, the limit and the option where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// The class of refusal.
    pub kind: ErrorKind,
    /// For people.
    pub text: String,
}

/// The classes of refusal; 0-10 error codes and 1.0 conditions map one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The queue, exchange, binding or subscription does not exist.
    NotFound,
    /// Against a rule: reserved name, other type, tag in use, exchange still used as alternate.
    NotAllowed,
    /// Exclusive to somebody else.
    ResourceLocked,
    /// `if-unused` or `if-empty` does not hold.
    PreconditionFailed,
    /// An argument that means nothing here.
    InvalidArgument,
    /// An argument that may not be left out was: an empty queue name.
    IllegalArgument,
    /// A limit is reached.
    ResourceLimit,
    /// The queue was deleted under a subscription.
    ResourceDeleted,
    /// What the reference broker answers with `internal-error` though the client is at fault;
    /// clients test for the code.
    Internal,
    /// In the specification, but not in this broker.
    NotImplemented,
    /// Not at this point: what has to come before has not.
    IllegalState,
    /// A command that cannot be, given those before it.
    CommandInvalid,
}

impl Error {
    /// An error of `kind` saying `text`.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into() }
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotFound, text)
    }

    /// [`ErrorKind::NotAllowed`].
    pub fn not_allowed(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::NotAllowed, text)
    }

    /// [`ErrorKind::ResourceLocked`].
    pub fn locked(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::ResourceLocked, text)
    }

    /// [`ErrorKind::PreconditionFailed`].
    pub fn precondition(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::PreconditionFailed, text)
    }

    /// [`ErrorKind::InvalidArgument`].
    pub fn invalid(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, text)
    }

    /// [`ErrorKind::IllegalArgument`].
    pub fn illegal(text: impl Into<String>) -> Error {
        Error::new(ErrorKind::IllegalArgument, text)
    }
}
