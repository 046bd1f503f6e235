//! Symbols: values from a domain of names, always ASCII.

use std::fmt;
use std::ops::Deref;

use crate::wire::DecodeError;

/// A `symbol`: ASCII text that names something (part 1.6.21).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Symbol<'a>(&'a str);

impl<'a> Symbol<'a> {
    /// A symbol of this text, if it is ASCII.
    pub const fn new(text: &'a str) -> Option<Self> {
        if text.is_ascii() { Some(Self(text)) } else { None }
    }

    /// A symbol of this crate's own, which is checked where it is compiled.
    pub(crate) const fn constant(text: &'static str) -> Symbol<'static> {
        assert!(text.is_ascii(), "a symbol is ASCII");
        Symbol(text)
    }

    /// A symbol that came off the wire.
    #[inline]
    pub(crate) fn from_octets(octets: &'a [u8]) -> Result<Self, DecodeError> {
        match std::str::from_utf8(octets) {
            Ok(text) if text.is_ascii() => Ok(Self(text)),
            _ => Err(DecodeError::NotAscii),
        }
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl Deref for Symbol<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.0
    }
}

impl PartialEq<str> for Symbol<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Symbol<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Debug for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}
