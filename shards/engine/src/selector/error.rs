//! What a selector may not be, and how a client is told.

/// The longest selector, in octets: what the strings of AMQP 0-10 (`str16`) hold. A tree takes up
/// to 70 times the octets of its text, in LIKE; so this bounds what a subscription costs at 4.5
/// MiB.
pub const MAX_LENGTH: usize = u16::MAX as usize;

/// How deep parentheses may nest. Each level is a few calls of the parser and of the evaluation;
/// the bound keeps both off the end of a stack of 512 KiB. People write three levels, programs
/// dozens.
pub const MAX_DEPTH: usize = 128;

/// How many different identifiers one selector may name. A message's headers are walked once for
/// each, and values that are asked for again are kept in a table of this length; more would make a
/// long selector and a large header cost their product.
pub const MAX_IDENTIFIERS: usize = 64;

/// How many characters a LIKE pattern may have beside its `%`. Matching takes a step for each 64 of
/// them and each character of the text.
pub const MAX_PATTERN: usize = 1023;

/// How many LIKEs one selector may have: each may walk the whole text it is about, at 2 ns a
/// character. With this many, a message with a property of 1 MiB, the longest there can be, holds
/// its shard up for half a second; as many as a selector has room for would for ten.
pub const MAX_PATTERNS: usize = 256;

/// Why a text is not a selector. Columns count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Something else should stand there.
    #[error("selector: expected {expected} at column {column}, found {found}")]
    Expected {
        /// What should.
        expected: &'static str,
        /// Where it should.
        column: usize,
        /// What does, as text of the selector in backquotes, or that it ends.
        found: String,
    },
    /// A string or a quoted identifier goes on to the end.
    #[error("selector: expected a closing {quote} for the one at column {column}, found the end")]
    Unclosed {
        /// The quote: `'` for a string, `"` for an identifier.
        quote: char,
        /// Where the opening one stands.
        column: usize,
    },
    /// See [`MAX_LENGTH`].
    #[error("selector: expected at most {MAX_LENGTH} octets, found {len}")]
    TooLong {
        /// How many there are.
        len: usize,
    },
    /// See [`MAX_DEPTH`].
    #[error("selector: expected at most {MAX_DEPTH} open parentheses, one more at column {column}")]
    TooDeep {
        /// Where the parenthesis stands that is one too many.
        column: usize,
    },
    /// See [`MAX_IDENTIFIERS`].
    #[error(
        "selector: expected at most {MAX_IDENTIFIERS} identifiers, one more at column {column}"
    )]
    TooManyIdentifiers {
        /// Where the identifier stands that is one too many.
        column: usize,
    },
    /// See [`MAX_PATTERNS`].
    #[error("selector: expected at most {MAX_PATTERNS} LIKEs, one more at column {column}")]
    TooManyPatterns {
        /// Where the pattern stands that is one too many.
        column: usize,
    },
    /// See [`MAX_PATTERN`].
    #[error("selector: expected a pattern of at most {MAX_PATTERN} characters at column {column}")]
    PatternTooLong {
        /// Where the pattern stands.
        column: usize,
    },
}
