//! What the broker says is wrong, and what became of messages.

use std::fmt;

use fletch_amqp::v1_0::DeliveryState;
use fletch_amqp::v1_0::table::Error as WireError;
use thiserror::Error;

/// An error as the peer states it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Condition {
    /// What kind of error, such as `amqp:not-found`; empty if the peer named none.
    pub name: String,
    /// For people.
    pub text: String,
}

impl Condition {
    /// What a peer stated, if anything.
    pub(crate) fn of(error: Option<&WireError<'_>>) -> Condition {
        error.map_or_else(Condition::default, |error| Condition {
            name: error.condition.as_str().to_owned(),
            text: error.description.unwrap_or_default().to_owned(),
        })
    }

    pub(crate) fn of_text(text: impl Into<String>) -> Condition {
        Condition { name: String::new(), text: text.into() }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.text.as_str()) {
            ("", "") => f.write_str("no reason given"),
            ("", text) => f.write_str(text),
            (name, "") => f.write_str(name),
            (name, text) => write!(f, "{text} ({name})"),
        }
    }
}

/// What of AMQP 1.0 is over, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The connection.
    #[error("connection closed: {0}")]
    Connection(Condition),
    /// The session.
    #[error("session ended: {0}")]
    Session(Condition),
    /// The link.
    #[error("link detached: {0}")]
    Link(Condition),
    /// The link was not made.
    #[error("link refused: {0}")]
    Refused(Condition),
    /// Every channel or handle is taken.
    #[error("the broker takes no more {0}")]
    Full(&'static str),
    /// The broker did not do what a transaction asked for.
    #[error("transaction: {0}")]
    Transaction(Condition),
}

impl Failure {
    /// The broker's words.
    pub fn condition(&self) -> Option<&Condition> {
        match self {
            Failure::Connection(condition)
            | Failure::Session(condition)
            | Failure::Link(condition)
            | Failure::Refused(condition)
            | Failure::Transaction(condition) => Some(condition),
            Failure::Full(_) => None,
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is the receiver's.
    Accepted,
    /// It is no good.
    Rejected(Condition),
    /// It is free again, as if it had not been sent.
    Released,
    /// It is free again.
    Modified {
        /// The attempt counts.
        failed: bool,
        /// It is not to come back to whoever says this.
        undeliverable_here: bool,
    },
    /// A transaction was declared, of that name.
    Declared(Vec<u8>),
}

impl Outcome {
    /// What a state comes to; none if it is not the last word. Settled without a word is accepted.
    pub(crate) fn of(state: Option<&DeliveryState<'_>>, settled: bool) -> Option<Outcome> {
        use fletch_amqp::v1_0::Outcome as Wire;
        let rejected = |error| Outcome::Rejected(Condition::of(error));
        Some(match state {
            None if settled => Outcome::Accepted,
            Some(DeliveryState::Accepted(_)) => Outcome::Accepted,
            Some(DeliveryState::Rejected(state)) => rejected(state.error.as_ref()),
            Some(DeliveryState::Released(_)) => Outcome::Released,
            Some(DeliveryState::Modified(state)) => Outcome::Modified {
                failed: state.delivery_failed.unwrap_or(false),
                undeliverable_here: state.undeliverable_here.unwrap_or(false),
            },
            Some(DeliveryState::Declared(state)) => Outcome::Declared(state.txn_id.to_vec()),
            Some(DeliveryState::TransactionalState(state)) => match &state.outcome {
                Some(Wire::Rejected(state)) => rejected(state.error.as_ref()),
                Some(Wire::Released(_)) => Outcome::Released,
                _ => Outcome::Accepted,
            },
            Some(_) if settled => Outcome::Released,
            _ => return None,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Accepted => f.write_str("accepted"),
            Outcome::Rejected(condition) => write!(f, "rejected: {condition}"),
            Outcome::Released => f.write_str("released"),
            Outcome::Modified { .. } => f.write_str("modified"),
            Outcome::Declared(_) => f.write_str("declared"),
        }
    }
}
