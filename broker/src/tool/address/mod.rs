//! Addresses of the reference's messaging API: `name/subject; {options}`.
//!
//! `parse` is the grammar, `options` what the options mean, `node` and `link` make them true at a broker: find or create the
//! node, subscribe, and undo on closing what the address asks to undo. The first two are pure and never panic, whatever
//! the text; every complaint of theirs names the column.

mod link;
mod node;
mod options;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

pub use link::{Receiver, Sender};
pub use node::ResolveError;
pub use options::{
    BindingOptions, DeclareOptions, FilterOptions, LinkOptions, Mode, NodeKind, NodeOptions,
    Options, Policy, Reliability, SubscribeOptions,
};
pub use parse::{Literal, Term};

/// What is wrong with the text of an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}, at column {column} of {text}")]
pub struct AddressError {
    /// What is wrong.
    pub message: String,
    /// Where, counting characters from 1.
    pub column: usize,
    /// The text.
    pub text: String,
}

/// An address, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Address {
    /// The queue or exchange.
    pub name: String,
    /// What messages are about; the routing key at an exchange.
    pub subject: Option<String>,
    /// What to do with the node, and how.
    pub options: Options,
    /// The name began with `#`: it is unique, and its node is for the time of its use.
    pub temporary: bool,
}

impl Address {
    /// Reads an address. `unique` gives the name that stands before a leading `#`.
    pub fn parse(text: &str, unique: impl FnOnce() -> String) -> Result<Address, AddressError> {
        let parsed = parse::address(text)?;
        let temporary = parsed.name.starts_with('#');
        let name = if temporary { unique() + &parsed.name } else { parsed.name };
        let options = match &parsed.options {
            Some(term) => options::read(text, term)?,
            None => Options::default(),
        };
        Ok(Address { name, subject: parsed.subject, options, temporary })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.subject.iter().try_for_each(|subject| write!(f, "/{subject}"))
    }
}

/// Reads a map of options by itself, as connection options are given: `{name: value, ...}`.
pub fn parse_map(text: &str) -> Result<Vec<(String, Term)>, AddressError> {
    match parse::map(text)?.literal {
        Literal::Map(entries) => {
            Ok(entries.into_iter().map(|entry| (entry.key, entry.term)).collect())
        }
        _ => Ok(Vec::new()),
    }
}
