//! The grammar of addresses.
//!
//! ```text
//! address = name [ "/" subject ] [ ";" map ]
//! map     = "{" [ key ":" value { "," key ":" value } [ "," ] ] "}"
//! list    = "[" [ value { "," value } [ "," ] ] "]"
//! value   = word | quoted | map | list
//! ```
//!
//! A name or subject is one word, up to the next delimiter or space, or quoted. A backslash takes the meaning from the
//! character after it; `\xHH` and `\uHHHH` are characters by number.

use fletch_amqp::types::{List, Map, Value};

use super::AddressError;

/// Maps and lists in each other. The protocol's own limit is not much higher.
const DEPTH_MAX: usize = 16;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// The value.
    pub literal: Literal,
    /// Where it begins, in octets.
    pub at: usize,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `None`.
    Void,
    /// `true` or `false`, in any case.
    Boolean(bool),
    /// A whole number.
    Int(i64),
    /// One that only an unsigned type holds.
    Uint(u64),
    /// Another number.
    Double(f64),
    /// Anything else.
    Text(String),
    /// Values.
    List(Vec<Term>),
    /// Entries in their order.
    Map(Vec<Entry>),
}

/// An entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Where the key begins, in octets.
    pub at: usize,
    /// Its value.
    pub term: Term,
}

impl Literal {
    /// What an unquoted word means.
    pub fn of_word(word: &str) -> Literal {
        let number = word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        if number {
            if let Ok(int) = word.parse() {
                return Literal::Int(int);
            }
            if let Ok(int) = word.parse() {
                return Literal::Uint(int);
            }
            // Not `-inf`: a name, as far as anybody who writes one is concerned.
            if word.ends_with(|c: char| c.is_ascii_digit() || c == '.')
                && let Ok(double) = word.parse()
            {
                return Literal::Double(double);
            }
        }
        match word {
            "None" => Literal::Void,
            _ if word.eq_ignore_ascii_case("true") => Literal::Boolean(true),
            _ if word.eq_ignore_ascii_case("false") => Literal::Boolean(false),
            _ => Literal::Text(word.to_owned()),
        }
    }

    /// What kind of thing it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Literal::Void => "None",
            Literal::Boolean(_) => "a boolean",
            Literal::Int(_) | Literal::Uint(_) | Literal::Double(_) => "a number",
            Literal::Text(_) => "text",
            Literal::List(_) => "a list",
            Literal::Map(_) => "a map",
        }
    }

    /// The value as it goes over the wire.
    pub fn to_value(&self) -> Value {
        match self {
            Literal::Void => Value::Void,
            Literal::Boolean(value) => (*value).into(),
            Literal::Int(value) => (*value).into(),
            Literal::Uint(value) => (*value).into(),
            Literal::Double(value) => (*value).into(),
            Literal::Text(value) => value.as_str().into(),
            Literal::List(terms) => {
                terms.iter().map(|term| term.literal.to_value()).collect::<List>().into()
            }
            Literal::Map(entries) => to_map(entries).into(),
        }
    }
}

/// The entries as they go over the wire.
pub(super) fn to_map(entries: &[Entry]) -> Map {
    entries.iter().map(|entry| (entry.key.as_str(), entry.term.literal.to_value())).collect()
}

/// The parts of an address.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    pub(super) name: String,
    pub(super) subject: Option<String>,
    pub(super) options: Option<Term>,
}

/// Reads an address.
pub(super) fn address(text: &str) -> Result<Parsed, AddressError> {
    let mut parser = Parser { text, at: 0 };
    let name = parser.name("/;")?;
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(parser.error("expected a name"));
    };
    let mut subject = None;
    if parser.eat('/') {
        subject = parser.name(";")?.filter(|subject| !subject.is_empty());
    }
    let mut options = None;
    if parser.eat(';') {
        parser.space();
        // The reference lets a lone semicolon pass.
        if parser.peek().is_some() {
            options = Some(parser.map(0)?);
        }
    }
    parser.end()?;
    Ok(Parsed { name, subject, options })
}

/// Reads a map by itself.
pub(super) fn map(text: &str) -> Result<Term, AddressError> {
    let mut parser = Parser { text, at: 0 };
    parser.space();
    let map = parser.map(0)?;
    parser.end()?;
    Ok(map)
}

/// The complaint about a place in a text.
pub(super) fn error_at(text: &str, at: usize, message: impl Into<String>) -> AddressError {
    let column = text.get(..at).unwrap_or(text).chars().count() + 1;
    AddressError { message: message.into(), column, text: text.to_owned() }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    /// Takes `wanted` if it comes next, after any space.
    fn eat(&mut self, wanted: char) -> bool {
        self.space();
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    fn error(&self, message: impl Into<String>) -> AddressError {
        error_at(self.text, self.at, message)
    }

    fn expected(&self, what: &str) -> AddressError {
        match self.peek() {
            Some(found) => self.error(format!("expected {what}, found '{found}'")),
            None => self.error(format!("expected {what}, found the end")),
        }
    }

    fn end(&mut self) -> Result<(), AddressError> {
        self.space();
        if self.peek().is_some() { Err(self.expected("the end")) } else { Ok(()) }
    }

    /// A name or subject; `None` if there is none.
    fn name(&mut self, until: &str) -> Result<Option<String>, AddressError> {
        self.space();
        if let Some(quoted) = self.quoted()? {
            return Ok(Some(quoted));
        }
        let word = self.word(until)?;
        Ok((!word.is_empty()).then_some(word))
    }

    /// Characters up to a space or one of `until`.
    fn word(&mut self, until: &str) -> Result<String, AddressError> {
        let mut word = String::new();
        while let Some(next) = self.peek() {
            if next.is_whitespace() || until.contains(next) {
                break;
            }
            self.next();
            word.push(if next == '\\' { self.escaped()? } else { next });
        }
        Ok(word)
    }

    fn quoted(&mut self) -> Result<Option<String>, AddressError> {
        let Some(quote @ ('"' | '\'')) = self.peek() else { return Ok(None) };
        let start = self.at;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(error_at(self.text, start, format!("unmatched {quote}"))),
                Some(next) if next == quote => return Ok(Some(text)),
                Some('\\') => text.push(self.escaped()?),
                Some(next) => text.push(next),
            }
        }
    }

    /// What follows a backslash.
    fn escaped(&mut self) -> Result<char, AddressError> {
        let start = self.at - 1;
        let bad = |parser: &Self, what| Err(error_at(parser.text, start, what));
        let digits = match self.next() {
            None => return bad(self, "a backslash before nothing"),
            Some('x') => 2,
            Some('u') => 4,
            Some(plain) => return Ok(plain),
        };
        let hex =
            self.rest().get(..digits).filter(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()));
        let code = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        match code.and_then(char::from_u32) {
            Some(found) => {
                self.at += digits;
                Ok(found)
            }
            None => bad(self, "not the number of a character"),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Term, AddressError> {
        self.space();
        let at = self.at;
        if depth > DEPTH_MAX {
            return Err(self.error("maps and lists nested too deep"));
        }
        let literal = match self.peek() {
            Some('{') => return self.map(depth),
            Some('[') => self.list(depth)?,
            _ => match self.quoted()? {
                Some(quoted) => Literal::Text(quoted),
                None => {
                    let word = self.word(RESERVED)?;
                    if word.is_empty() {
                        return Err(self.expected("a value"));
                    }
                    Literal::of_word(&word)
                }
            },
        };
        Ok(Term { literal, at })
    }

    /// The items up to `close`, a comma between them; one more after the last is no matter.
    fn items<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T, AddressError>,
    ) -> Result<Vec<T>, AddressError> {
        let mut items = Vec::new();
        loop {
            if self.eat(close) {
                return Ok(items);
            }
            items.push(item(self)?);
            if !self.eat(',')
                && !{
                    self.space();
                    self.peek() == Some(close)
                }
            {
                return Err(self.expected(&format!("',' or '{close}'")));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Literal, AddressError> {
        self.next();
        self.items(']', |parser| parser.value(depth + 1)).map(Literal::List)
    }

    fn map(&mut self, depth: usize) -> Result<Term, AddressError> {
        let at = self.at;
        if !self.eat('{') {
            return Err(self.expected("'{'"));
        }
        let entries = self.items('}', |parser| parser.entry(depth))?;
        Ok(Term { literal: Literal::Map(entries), at })
    }

    fn entry(&mut self, depth: usize) -> Result<Entry, AddressError> {
        self.space();
        let at = self.at;
        let key = match self.quoted()? {
            Some(quoted) => quoted,
            None => self.word(RESERVED)?,
        };
        if self.at == at {
            return Err(self.expected("a key or '}'"));
        }
        if !self.eat(':') {
            return Err(self.expected("':' after the key"));
        }
        let term = self.value(depth + 1)?;
        Ok(Entry { key, at, term })
    }
}

/// What ends a word inside of options.
const RESERVED: &str = "'\"{}[],:/";
