//! Message selectors: conditions on the properties of messages, in the language of JMS 2.0 §3.8
//! (a part of the conditional expressions of SQL-92), as the reference broker extends it.
//!
//! [`Selector::parse`] makes a tree of the text once, for a subscription or a queue;
//! [`Selector::matches`] evaluates it for one message by way of an [`Environment`]. Evaluating
//! allocates nothing. Nothing here fails on a message: what cannot be known is unknown, and a
//! selector that is unknown does not match. A selector lives on the shard of its queue; it is
//! immutable, and may be sent to another one.
//!
//! What the reference broker selects is selected here, but:
//! - An integer divided by zero is unknown; there it ends the process. Integers wrap around.
//! - Names that begin with `JMSX` or `JMS_` are properties. There they are, too, but only after
//!   another property was looked at.
//! - In LIKE, `_` is a character rather than an octet, an escaped escape character is one, and text
//!   does not end at an octet that is zero.
//! - `JMSMessageID` and `JMSCorrelationID` of a message without message properties are unknown.
//! - Signs may stand before signs and parentheses, letters of any language in identifiers, and a
//!   floating point number may be `0e1` or `0f`. There all these are errors.
//! - There are limits: see [`MAX_LENGTH`] and its neighbours.
//!
//! ```
//! use fletch_engine::selector::{Environment, Identifier, Selector, Value};
//!
//! struct Order;
//! impl Environment for Order {
//!     fn get(&self, identifier: &Identifier) -> Value<'_> {
//!         match identifier.name() {
//!             "symbol" => "ACME".into(),
//!             "quantity" => 100.into(),
//!             _ => Value::Unknown,
//!         }
//!     }
//! }
//!
//! let selector = Selector::parse("symbol LIKE 'AC%' AND quantity / 2 >= 50").unwrap();
//! assert!(selector.matches(&Order));
//! let error = Selector::parse("symbol LIKE 5").unwrap_err().to_string();
//! assert_eq!(error, "selector: expected a string after LIKE at column 13, found `5`");
//! ```

mod error;
mod eval;
mod identifier;
mod like;
mod message;
mod number;
mod parse;
#[cfg(test)]
mod tests;
mod token;
mod value;

pub use error::{MAX_DEPTH, MAX_IDENTIFIERS, MAX_LENGTH, MAX_PATTERN, MAX_PATTERNS, SelectorError};
pub use identifier::{Field, Identifier};
pub use message::MessageEnvironment;
pub use value::Value;

use crate::topology::Subject;
use eval::{Node, Scope};

/// What a selector asks of a message: the values of its identifiers (JMS 2.0 §3.8.1.1).
pub trait Environment {
    /// The value of a header field or property; [`Value::Unknown`] if the message has none.
    fn get(&self, identifier: &Identifier) -> Value<'_>;

    /// Its subject, for those who select by that.
    fn subject(&self) -> &[u8] {
        &[]
    }
}

/// A selector that was understood.
#[derive(Debug)]
pub struct Selector {
    root: Node,
    identifiers: Box<[Identifier]>,
    /// The subject that a message has to have, or the pattern that it has to match.
    subject: Option<Subject>,
}

impl Selector {
    /// Understands the text of a selector (JMS 2.0 §3.8.1.1). A text of nothing but blanks selects
    /// every message.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        let (root, identifiers) = parse::parse(text)?;
        Ok(Selector { root, identifiers, subject: None })
    }

    /// The same, of messages whose subject is this, or matches it as a pattern of a topic.
    #[must_use]
    pub fn on_subject(self, subject: &str) -> Selector {
        Selector { subject: Some(Subject::new(subject)), ..self }
    }

    /// Whether the message is selected: not if the selector is false, and not if it is unknown
    /// (JMS 2.0 §3.8.1.2).
    pub fn matches(&self, environment: &impl Environment) -> bool {
        self.subject.as_ref().is_none_or(|subject| subject.matches(environment.subject()))
            && self.root.truth(&Scope::new(&self.identifiers, environment)) == Some(true)
    }

    /// The identifiers the selector asks for, each once, in the order they first occur.
    pub fn identifiers(&self) -> &[Identifier] {
        &self.identifiers
    }
}
