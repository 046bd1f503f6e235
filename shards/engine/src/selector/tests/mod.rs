//! Unit tests by part; what no table can hold is in `tests/selector.rs`.

mod eval;
mod like;
mod message;
mod message_1_0;
mod parse;
mod token;

use super::{Environment, Identifier, Selector, SelectorError, Value};

/// Identifiers with their values.
struct Values(&'static [(&'static str, Value<'static>)]);

impl Environment for Values {
    fn get(&self, identifier: &Identifier) -> Value<'_> {
        let found = self.0.iter().find(|(name, _)| *name == identifier.name());
        found.map_or(Value::Unknown, |(_, value)| *value)
    }
}

const fn text(text: &str) -> Value<'_> {
    Value::Text(text.as_bytes())
}

/// Whether each selector matches.
#[track_caller]
fn check_matches(environment: &impl Environment, table: &[(&str, bool)]) {
    for (selector, expected) in table {
        let parsed =
            Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"));
        assert_eq!(parsed.matches(environment), *expected, "{selector}");
    }
}

/// Conditions that are true, false and unknown: those of each kind alone make it match.
#[track_caller]
fn check_truth(environment: &impl Environment, table: &[(&str, Option<bool>)]) {
    for (condition, expected) in table {
        let is = |form: &str| {
            let selector = form.replace('?', condition);
            Selector::parse(&selector).unwrap_or_else(|error| panic!("{selector}: {error}"))
        };
        assert_eq!(is("?").matches(environment), *expected == Some(true), "{condition}");
        assert_eq!(is("NOT (?)").matches(environment), *expected == Some(false), "{condition}");
        assert_eq!(is("(NOT (?)) IS NULL").matches(environment), expected.is_none(), "{condition}");
    }
}

/// Texts that are no selectors, with what is said of them.
#[track_caller]
fn check_errors(table: &[(&str, &str)]) {
    for (selector, expected) in table {
        match Selector::parse(selector) {
            Ok(_) => panic!("{selector}: no error"),
            Err(error) => {
                assert_eq!(error.to_string(), format!("selector: {expected}"), "{selector}")
            }
        }
    }
}
