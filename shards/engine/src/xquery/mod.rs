//! Queries of bindings to `xml` exchanges: the part of XQuery 1.0 that such bindings use.
//!
//! A query sees the message's content as an XML document and its application headers as external
//! variables. It is read once, when the binding is made; [`Query::matches`] evaluates it. There are
//! no functions but those listed in `ast.rs`: nothing can name a file, an address or a collection.
//! A document with a DTD is no document here, so there are no entities to expand. The cost of an
//! evaluation is bounded, and the document by [`CONTENT_MAX`] and [`NODES_MAX`]: what is beyond
//! matches nothing.
//!
//! What there is: `xquery version`, `declare namespace`, `declare default element namespace`,
//! `declare variable` (`external`, or with a value); `for`, `let`, `where`, `return`, `some`, `every`,
//! `if`; `or`, `and`, general and value comparisons, arithmetic, `|` and `union`; paths with all
//! axes but `following`, `preceding` and `namespace`, and predicates; the functions, with or without
//! `fn:`, and `xs:string`, `xs:double`, `xs:decimal`, `xs:integer`, `xs:int`, `xs:boolean`. Numbers
//! are doubles. Text that is no number compares as one that is unequal to all.

mod ast;
mod eval;
mod functions;
mod parse;
mod source;
#[cfg(test)]
mod tests;
mod value;

pub use source::Source;

use ast::Expr;
use fletch_amqp::ValueRef;

/// Steps that one evaluation may take: some milliseconds at most.
const STEPS: u32 = 100_000;
/// Steps of all evaluations for one message, after which each may take [`STEPS_THEN`] only: queries that
/// use up theirs must neither hold a shard up nor take a message from queues with plain ones.
const STEPS_OF_ALL: u32 = 500_000;
const STEPS_THEN: u32 = 500;
/// The longest content that is looked at.
pub const CONTENT_MAX: usize = 1 << 20;
/// The most nodes it may have.
pub const NODES_MAX: u32 = 1 << 16;

/// What is wrong with a query, and where: the place in characters from its start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expected} expected at {at}, found {found}")]
pub struct QueryError {
    /// What should stand there.
    pub expected: String,
    /// Where.
    pub at: usize,
    /// What does.
    pub found: String,
}

/// A variable of a query.
#[derive(Clone, Debug, PartialEq)]
enum Variable {
    /// The application header of that name.
    External(Box<str>),
    /// Declared with a value.
    Declared(Expr),
    /// Of an expression.
    Local,
}

/// A query that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    variables: Vec<Variable>,
    body: Expr,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// It is none, or uses something that there is not here.
    pub fn parse(text: &str) -> Result<Query, QueryError> {
        parse::query(text)
    }

    /// Whether a message matches. An evaluation that fails is no match, as in the reference: a header
    /// that the query needs is missing, the content is no XML, the limits are exceeded.
    pub fn matches<'d>(
        &self,
        source: &'d Source<'_>,
        headers: &'d [(&'d str, ValueRef<'d>)],
    ) -> bool {
        eval::matches(self, source, headers).unwrap_or(false)
    }
}
