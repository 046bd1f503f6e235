//! What can go wrong, by whose doing.

use std::io;

use fletch_amqp::EncodeError;
use fletch_amqp::v0_10::message::HeaderError;
use fletch_amqp::v0_10::{AttachError, BodyError, CloseCode, DetachCode, ErrorCode, SendError};
use fletch_amqp::v1_0::CompositeError;
use fletch_amqp::v1_0::message::MessageError;
use thiserror::Error;

use crate::tls::TlsError;
use crate::v1_0::Failure;

/// Why a call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No address of the broker could be connected to.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// What was tried.
        address: String,
        /// What came of it.
        cause: io::Error,
    },
    /// What was waited for did not come in time. The connection can still be used.
    #[error("timed out waiting for {0}")]
    Timeout(&'static str),
    /// The connection is over: the peer closed it, or broke the protocol.
    #[error("connection closed: {text} ({code})")]
    Closed {
        /// The code of `connection.close`.
        code: CloseCode,
        /// For people.
        text: String,
    },
    /// TLS could not be begun, or broke.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// The socket was closed without `connection.close`; with TLS, whether in order or not.
    #[error("the broker closed the socket without a word")]
    Lost,
    /// The broker wants us elsewhere.
    #[error("redirected to {host}")]
    Redirected {
        /// Where.
        host: String,
    },
    /// The mechanism wants more than an initial response.
    #[error("the broker's mechanism needs a dialogue that this client does not know")]
    Challenged,
    /// The broker failed a command, and with it the session.
    #[error("{}", session_text(*code, text))]
    Session {
        /// What kind of error.
        code: ErrorCode,
        /// For people.
        text: String,
    },
    /// The session is over without an exception.
    #[error("the session is detached ({code})")]
    Detached {
        /// Why.
        code: DetachCode,
    },
    /// What we were asked to send cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// No session could be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A result or a message header that cannot be decoded.
    #[error("malformed answer: {0}")]
    Malformed(#[from] BodyError),
    /// A message header that cannot be decoded.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// AMQP 1.0: something is over, or was refused.
    #[error(transparent)]
    V1_0(#[from] Failure),
    /// AMQP 1.0: a message that cannot be decoded.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// AMQP 1.0: a part of a message that cannot be decoded.
    #[error(transparent)]
    Composite(#[from] CompositeError),
}

impl Error {
    /// What the broker said, in AMQP 1.0.
    pub fn condition(&self) -> Option<&crate::v1_0::Condition> {
        match self {
            Error::V1_0(failure) => failure.condition(),
            _ => None,
        }
    }

    /// The error code of a session exception.
    pub fn session_code(&self) -> Option<ErrorCode> {
        match self {
            Error::Session { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// The code and the text; brokers of our field begin the text with the code's name themselves.
fn session_text(code: ErrorCode, text: &str) -> String {
    match code.name() {
        Some(name) if text.starts_with(name) => text.to_owned(),
        _ => format!("{code}: {text}"),
    }
}

impl From<TlsError> for Error {
    // Rare, and larger than all others: it would make every result large.
    fn from(error: TlsError) -> Self {
        Error::Tls(Box::new(error))
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::NotAttached => Error::Detached { code: DetachCode::NOT_ATTACHED },
            SendError::Encode(error) => Error::Encode(error),
        }
    }
}
