//! The words of a selector (JMS 2.0 §3.8.1.1). Beyond the specification, as in the reference
//! broker, an identifier may hold points and may stand in double quotes, where it may be anything.

use super::error::SelectorError;
use super::number::{self, Integer, Number};
use std::borrow::Cow;
use std::ops::Range;

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    End,
    Identifier(Cow<'a, str>),
    Text(Cow<'a, str>),
    Exact(Integer),
    Approx(f64),
    And,
    Between,
    Escape,
    False,
    In,
    Is,
    Like,
    Not,
    Null,
    Or,
    True,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    Times,
    Over,
    Equal,
    NotEqual,
    Less,
    Greater,
    AtMost,
    AtLeast,
}

/// The reserved words, in either case. None of them is an identifier, unless it stands in quotes.
const RESERVED: [(&str, Token<'_>); 11] = [
    ("and", Token::And),
    ("between", Token::Between),
    ("escape", Token::Escape),
    ("false", Token::False),
    ("in", Token::In),
    ("is", Token::Is),
    ("like", Token::Like),
    ("not", Token::Not),
    ("null", Token::Null),
    ("or", Token::Or),
    ("true", Token::True),
];

/// How much of the text an error shows.
const SHOWN: usize = 32;

/// Cuts a text into words.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// The next word and where it stands, in octets; the end again and again.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, Range<usize>), SelectorError> {
        let rest = self.text[self.at..].trim_start_matches(is_blank);
        let from = self.text.len() - rest.len();
        let (token, len) = match rest.chars().next() {
            None => (Token::End, 0),
            Some('\'') => {
                let (text, len) = self.quoted(from, '\'')?;
                (Token::Text(text), len)
            }
            Some('"') => {
                let (name, len) = self.quoted(from, '"')?;
                (Token::Identifier(name), len)
            }
            Some('.' | '0'..='9') => self.number(from)?,
            Some(first) if first.is_alphabetic() || matches!(first, '_' | '$') => word(rest),
            Some(_) => match symbol(rest.as_bytes()) {
                Some(symbol) => symbol,
                None => {
                    let expected = "a name, a value or an operator";
                    let found = rest.chars().next().map_or(0, char::len_utf8);
                    return Err(self.unexpected(expected, from..from + found));
                }
            },
        };
        self.at = from + len;
        Ok((token, from..self.at))
    }

    fn number(&self, from: usize) -> Result<(Token<'a>, usize), SelectorError> {
        let text = &self.text[from..];
        match number::scan(text) {
            Ok((Number::Exact(integer), len)) => Ok((Token::Exact(integer), len)),
            Ok((Number::Approx(value), len)) => Ok((Token::Approx(value), len)),
            Err(error) => {
                let at = from + error.at;
                let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
                let rest = &self.text[at..];
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let end =
                    if end == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { end };
                Err(self.unexpected(error.expected, at..at + end))
            }
        }
    }

    /// What stands in the quotes from `from` on, where two of them mean one, and the length of it
    /// all.
    fn quoted(&self, from: usize, quote: char) -> Result<(Cow<'a, str>, usize), SelectorError> {
        let inside = &self.text[from + 1..];
        let mut content = Cow::Borrowed("");
        let mut at = 0;
        loop {
            let Some(len) = inside[at..].find(quote) else {
                return Err(SelectorError::Unclosed { quote, column: self.column(from) });
            };
            content += &inside[at..at + len];
            at += len + 1;
            if !inside[at..].starts_with(quote) {
                return Ok((content, 1 + at));
            }
            content += &inside[at..at + 1];
            at += 1;
        }
    }

    /// The number of the character at this octet, from 1.
    pub(super) fn column(&self, at: usize) -> usize {
        self.text[..at].chars().count() + 1
    }

    /// Something else should stand there.
    pub(super) fn unexpected(&self, expected: &'static str, at: Range<usize>) -> SelectorError {
        let column = self.column(at.start);
        let text = &self.text[at];
        let found = match text.char_indices().nth(SHOWN) {
            _ if text.is_empty() => "the end".to_owned(),
            Some((end, _)) => format!("`{}...`", &text[..end]),
            None => format!("`{text}`"),
        };
        SelectorError::Expected { expected, column, found }
    }
}

/// White space (JMS 2.0 §3.8.1.1), and the vertical tab.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// An identifier or a reserved word.
fn word(rest: &str) -> (Token<'_>, usize) {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
    let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let name = &rest[..len];
    let reserved = RESERVED.iter().find(|(word, _)| word.eq_ignore_ascii_case(name));
    match reserved {
        Some((_, token)) => (token.clone(), len),
        None => (Token::Identifier(name.into()), len),
    }
}

fn symbol(rest: &[u8]) -> Option<(Token<'static>, usize)> {
    Some(match rest {
        [b'<', b'>', ..] => (Token::NotEqual, 2),
        [b'<', b'=', ..] => (Token::AtMost, 2),
        [b'>', b'=', ..] => (Token::AtLeast, 2),
        [b'<', ..] => (Token::Less, 1),
        [b'>', ..] => (Token::Greater, 1),
        [b'=', ..] => (Token::Equal, 1),
        [b'(', ..] => (Token::Open, 1),
        [b')', ..] => (Token::Close, 1),
        [b',', ..] => (Token::Comma, 1),
        [b'+', ..] => (Token::Plus, 1),
        [b'-', ..] => (Token::Minus, 1),
        [b'*', ..] => (Token::Times, 1),
        [b'/', ..] => (Token::Over, 1),
        _ => return None,
    })
}
