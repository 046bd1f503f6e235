//! The text of a query: spaces, signs, words, names, literals.

use super::{Parser, QueryError, Result};

/// How much of the text an error shows.
const SHOWN: usize = 24;

impl<'a> Parser<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn expected<T>(&self, what: impl Into<String>) -> Result<T> {
        let found: String = match self.rest() {
            "" => "the end".into(),
            rest => format!("\"{}\"", rest.chars().take(SHOWN).collect::<String>()),
        };
        let at = self.text[..self.at].chars().count();
        Err(QueryError { expected: what.into(), at, found })
    }

    /// Skips spaces and comments, which nest.
    pub(super) fn space(&mut self) -> Result<()> {
        let mut depth = 0;
        loop {
            let rest = self.rest();
            if rest.starts_with("(:") {
                depth += 1;
                self.at += 2;
            } else if depth > 0 && rest.starts_with(":)") {
                depth -= 1;
                self.at += 2;
            } else {
                match rest.chars().next() {
                    Some(c) if depth > 0 || c.is_ascii_whitespace() => self.at += c.len_utf8(),
                    None if depth > 0 => return self.expected("the end of a comment"),
                    _ => return Ok(()),
                }
            }
        }
    }

    /// Takes a sign, if it comes next.
    pub(super) fn sign(&mut self, sign: &str) -> Result<bool> {
        self.space()?;
        let is = self.rest().starts_with(sign);
        self.at += if is { sign.len() } else { 0 };
        Ok(is)
    }

    pub(super) fn need(&mut self, sign: &str) -> Result<()> {
        if self.sign(sign)? { Ok(()) } else { self.expected(format!("\"{sign}\"")) }
    }

    /// Takes these words one after the other, if they come next and stand for themselves.
    pub(super) fn words(&mut self, words: &str) -> Result<bool> {
        let before = self.at;
        for word in words.split(' ') {
            self.space()?;
            let is = self.rest().strip_prefix(word).is_some_and(|rest| !rest.starts_with(is_name));
            if !is {
                self.at = before;
                return Ok(false);
            }
            self.at += word.len();
        }
        Ok(true)
    }

    /// The same, if this sign follows, which is not taken.
    pub(super) fn words_before(&mut self, words: &str, sign: &str) -> Result<bool> {
        let before = self.at;
        if self.words(words)? {
            self.space()?;
            if self.rest().starts_with(sign) {
                return Ok(true);
            }
        }
        self.at = before;
        Ok(false)
    }

    pub(super) fn name(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        if !rest.starts_with(is_name_start) {
            return None;
        }
        let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        self.at += len;
        Some(&rest[..len])
    }

    /// Prefix and name.
    pub(super) fn qualified(&mut self) -> Option<(Option<&'a str>, &'a str)> {
        let first = self.name()?;
        let rest = self.rest();
        // `a::b` is an axis.
        if rest.starts_with(':') && rest[1..].starts_with(is_name_start) {
            self.at += 1;
            let second = self.name()?;
            return Some((Some(first), second));
        }
        Some((None, first))
    }

    pub(super) fn literal(&mut self) -> Result<Option<Box<str>>> {
        self.space()?;
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return Ok(None);
        };
        let start = self.at;
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find([quote, '&']) else {
                self.at = start;
                return self.expected("a text that ends");
            };
            out.push_str(&rest[..end]);
            self.at += end;
            if rest[end..].starts_with('&') {
                out.push(self.reference()?);
                continue;
            }
            self.at += 1;
            // A quote twice is one of the text.
            if !self.rest().starts_with(quote) {
                return Ok(Some(out.into()));
            }
            out.push(quote);
            self.at += 1;
        }
    }

    pub(super) fn reference(&mut self) -> Result<char> {
        let known = [("lt", '<'), ("gt", '>'), ("amp", '&'), ("quot", '"'), ("apos", '\'')];
        let found = self.rest().split_once(';').and_then(|(name, _)| {
            let name = name.get(1..)?;
            let c = match name.strip_prefix('#') {
                Some(n) => char::from_u32(match n.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => n.parse().ok()?,
                })?,
                None => known.iter().find(|(known, _)| *known == name)?.1,
            };
            Some((c, name.len() + 2))
        });
        let Some((c, len)) = found else { return self.expected("a character reference") };
        self.at += len;
        Ok(c)
    }

    pub(super) fn needed_literal(&mut self) -> Result<Box<str>> {
        match self.literal()? {
            Some(text) => Ok(text),
            None => self.expected("a text in quotes"),
        }
    }
}

pub(super) fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name(c: char) -> bool {
    is_name_start(c) || c.is_numeric() || matches!(c, '-' | '.' | '\u{b7}')
}
