//! What a client asks of a source besides its address: filters (part 3.5.3), as the reference knows them.
//!
//! A filter that is not known, or means nothing for the node, is left out of the answer, which is how the
//! client learns that it has no effect.

use super::error::Refusal;
use fletch_amqp::types::{Map, Value as OldValue};
use fletch_amqp::v1_0::types::{
    MapRef, Symbol, ValueRef, put_described, put_map, put_string, put_symbol,
};
use fletch_amqp::wire::EncodeError;
use fletch_engine::selector::Selector;
use std::sync::Arc;

/// The kinds of filter, with their descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Direct,
    Topic,
    Headers,
    NoLocal,
    Selector,
    Xquery,
}

const KINDS: [(Kind, &str, u64); 6] = [
    (Kind::Direct, "apache.org:legacy-amqp-direct-binding:string", 0x0000_468C_0000_0000),
    (Kind::Topic, "apache.org:legacy-amqp-topic-binding:string", 0x0000_468C_0000_0001),
    (Kind::Headers, "apache.org:legacy-amqp-headers-binding:map", 0x0000_468C_0000_0002),
    (Kind::NoLocal, "apache.org:no-local-filter:list", 0x0000_468C_0000_0003),
    (Kind::Selector, "apache.org:selector-filter:string", 0x0000_468C_0000_0004),
    (Kind::Xquery, "apache.org:xquery-filter:string", 0x0000_468C_0000_0005),
];

impl Kind {
    fn of(descriptor: ValueRef<'_>) -> Option<Kind> {
        let (symbol, code) = (descriptor.as_symbol(), descriptor.as_u64());
        let known = |(_, name, number): &&(Kind, &str, u64)| {
            symbol.is_some_and(|s| s == *name) || code == Some(*number)
        };
        KINDS.iter().find(known).map(|(kind, ..)| *kind)
    }

    fn code(self) -> u64 {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or(0, |(_, _, code)| *code)
    }
}

/// As long as the key of a binding.
const SUBJECT_MAX: usize = 255;

/// The filters of a source.
#[derive(Debug, Default)]
pub(super) struct Filters<'a> {
    /// As they came: key and value. The first of a kind counts.
    given: Vec<(Symbol<'a>, Kind, ValueRef<'a>)>,
}

/// What of a subject a source is to have, and what the answer says.
#[derive(Debug, Default)]
pub(super) struct Bound {
    pub(super) key: String,
    pub(super) arguments: Map,
}

impl<'a> Filters<'a> {
    pub(super) fn read(filter: Option<MapRef<'a>>) -> Filters<'a> {
        let mut given: Vec<(Symbol<'_>, Kind, ValueRef<'_>)> = Vec::new();
        for (key, value) in filter.into_iter().flat_map(|map| map.iter()).map_while(Result::ok) {
            let Some(key) = key.as_symbol() else { continue };
            let kind = match value.described() {
                Some((descriptor, _)) => Kind::of(descriptor),
                // A text without a descriptor is a subject, as in the reference.
                None => value.as_text().map(|_| Kind::Topic),
            };
            match kind {
                Some(kind) if !given.iter().any(|(_, other, _)| same_place(*other, kind)) => {
                    given.push((key, kind, value));
                }
                _ => tracing::debug!(target: "protocol", "Filter {key} is not supported"),
            }
        }
        Filters { given }
    }

    fn find(&self, kind: Kind) -> Option<ValueRef<'a>> {
        let found = self.given.iter().find(|(_, other, _)| same_place(*other, kind));
        found.map(|(_, _, value)| value.described().map_or(*value, |(_, inner)| inner))
    }

    /// What is selected of a queue, if not all.
    pub(super) fn selector(&self) -> Result<Option<Arc<Selector>>, Refusal> {
        let text = self.selector_text().filter(|text| !text.trim().is_empty());
        let subject = self.subject().filter(|subject| !subject.is_empty());
        if subject.is_some_and(|subject| subject.len() > SUBJECT_MAX) {
            return Err(Refusal::invalid(format!("a subject filter exceeds {SUBJECT_MAX} octets")));
        }
        if text.is_none() && subject.is_none() {
            return Ok(None);
        }
        let parsed = Selector::parse(text.unwrap_or_default());
        let selector = parsed.map_err(|error| Refusal::invalid(error.to_string()))?;
        Ok(Some(Arc::new(match subject {
            Some(subject) => selector.on_subject(subject),
            None => selector,
        })))
    }

    /// The selector's text.
    pub(super) fn selector_text(&self) -> Option<&'a str> {
        self.find(Kind::Selector)?.as_text()
    }

    /// Whether what the connection publishes itself is left out.
    pub(super) fn no_local(&self) -> bool {
        self.find(Kind::NoLocal).is_some()
    }

    /// The subject, if one is asked for.
    pub(super) fn subject(&self) -> Option<&'a str> {
        self.find(Kind::Topic)?.as_text()
    }

    /// The binding to an exchange of such a type, with what the filters leave open put in.
    pub(super) fn binding(&self, exchange_kind: &str) -> Result<Bound, Refusal> {
        let key = match (self.subject(), exchange_kind) {
            (Some(subject), _) => subject,
            (None, "topic") => "#",
            (None, _) => "",
        };
        let mut arguments = Map::new();
        match exchange_kind {
            "headers" => {
                let wanted = self.find(Kind::Headers).and_then(|value| value.as_map());
                for (key, value) in
                    wanted.into_iter().flat_map(|map| map.iter()).map_while(Result::ok)
                {
                    let Some(key) = key.as_text() else { continue };
                    arguments.insert(key, header(value)?);
                }
                if wanted.is_none() {
                    arguments.insert("x-match", OldValue::from("all"));
                }
            }
            "xml" => {
                let query = self.find(Kind::Xquery).and_then(|value| value.as_text());
                arguments.insert("xquery", OldValue::from(query.unwrap_or("true()")));
            }
            _ => {}
        }
        Ok(Bound { key: key.to_owned(), arguments })
    }

    /// Appends what applies to a queue, or to an exchange of that type, as a map; `bound` is what an
    /// exchange was bound by.
    pub(super) fn put_applied(
        &self,
        exchange_kind: Option<&str>,
        bound: Option<&Bound>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let applies = |kind: Kind| match (kind, exchange_kind) {
            (Kind::Selector, _) => true,
            (Kind::NoLocal, exchange) => exchange.is_some(),
            (Kind::Direct | Kind::Topic, None) => self.subject().is_some(),
            (_, None) => false,
            (Kind::Direct | Kind::Topic, Some(kind)) => matches!(kind, "direct" | "topic" | "xml"),
            (Kind::Headers, Some(kind)) => kind == "headers",
            (Kind::Xquery, Some(kind)) => kind == "xml",
        };
        put_map(out, |out| {
            let mut count = 0;
            for (key, _, value) in self.given.iter().filter(|(_, kind, _)| applies(*kind)) {
                put_symbol(*key, out)?;
                value.encode(out)?;
                count += 2;
            }
            // Where a subject was left open, the answer says which it is.
            let open = exchange_kind.filter(|_| self.subject().is_none());
            if let (Some(kind @ ("topic" | "direct")), Some(bound)) = (open, bound) {
                put_symbol(Symbol::new("default-subject-filter").unwrap_or_default(), out)?;
                let kind = if kind == "topic" { Kind::Topic } else { Kind::Direct };
                put_described(kind.code(), out);
                put_string(&bound.key, out)?;
                count += 2;
            }
            Ok(count)
        })
    }
}

/// Direct and topic filters both say the subject.
fn same_place(a: Kind, b: Kind) -> bool {
    let subject = |kind| matches!(kind, Kind::Direct | Kind::Topic);
    a == b || subject(a) && subject(b)
}

/// A header that a binding asks for.
fn header(value: ValueRef<'_>) -> Result<OldValue, Refusal> {
    if value.is_null() {
        return Ok(OldValue::Void);
    }
    let number =
        || value.as_i64().map(OldValue::Int64).or_else(|| value.as_u64().map(OldValue::Uint64));
    let found = value
        .as_text()
        .map(OldValue::from)
        .or_else(|| value.as_bool().map(OldValue::Boolean))
        .or_else(number)
        .or_else(|| value.as_f64().map(OldValue::Double));
    found.ok_or_else(|| Refusal::invalid("a headers filter has a value that is no scalar"))
}
