//! Values of queries, and what they mean to each other.

use super::ast::{Arithmetic, Compare};
use fletch_amqp::ValueRef;
use fletch_amqp::types::code;
use roxmltree::Node;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cmp::Ordering;

/// Why an evaluation came to nothing: a value is missing or of no use, or the purse is empty.
#[derive(Debug)]
pub(super) struct Failed;

pub(super) type Result<T> = std::result::Result<T, Failed>;

/// One item of a value.
#[derive(Clone, Debug)]
pub(super) enum Item<'d> {
    Node(Node<'d, 'd>),
    /// Of a node: its place among the attributes.
    Attribute(Node<'d, 'd>, usize),
    Text(Cow<'d, str>),
    Number(f64),
    Boolean(bool),
}

/// A sequence of items.
pub(super) type Value<'d> = SmallVec<[Item<'d>; 1]>;

pub(super) fn one(item: Item<'_>) -> Value<'_> {
    SmallVec::from_iter([item])
}

/// An item without its place in a document.
#[derive(Debug)]
pub(super) enum Atom<'d> {
    Text(Cow<'d, str>),
    /// Of a node: text that takes the type of what it is compared with.
    Untyped(Cow<'d, str>),
    Number(f64),
    Boolean(bool),
}

impl Atom<'_> {
    pub(super) fn number(&self) -> f64 {
        match self {
            Atom::Number(number) => *number,
            Atom::Boolean(value) => f64::from(*value),
            Atom::Text(text) | Atom::Untyped(text) => number(text),
        }
    }
}

pub(super) fn compare(how: Compare, a: &Atom<'_>, b: &Atom<'_>) -> bool {
    let order = match (a, b) {
        (Atom::Text(a) | Atom::Untyped(a), Atom::Text(b) | Atom::Untyped(b)) => Some(a.cmp(b)),
        _ => a.number().partial_cmp(&b.number()),
    };
    match how {
        Compare::Equal => order == Some(Ordering::Equal),
        Compare::NotEqual => order != Some(Ordering::Equal),
        Compare::Less => order == Some(Ordering::Less),
        Compare::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Compare::Greater => order == Some(Ordering::Greater),
        Compare::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

pub(super) fn calculate(how: Arithmetic, a: f64, b: f64) -> f64 {
    match how {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::DivideWhole => (a / b).trunc(),
        Arithmetic::Modulo => a % b,
    }
}

/// What copying an item costs.
pub(super) fn cost(item: &Item<'_>) -> usize {
    match item {
        Item::Text(text) => 1 + text.len() / 16,
        _ => 1,
    }
}

/// Whether a value counts as true.
pub(super) fn truth(value: &[Item<'_>]) -> Result<bool> {
    match value {
        [] => Ok(false),
        [Item::Node(_) | Item::Attribute(..), ..] => Ok(true),
        [Item::Boolean(value)] => Ok(*value),
        [Item::Number(number)] => Ok(*number != 0.0 && !number.is_nan()),
        [Item::Text(text)] => Ok(!text.is_empty()),
        _ => Err(Failed),
    }
}

/// A header as the value of a variable; as in the reference, a `boolean` is a number.
pub(super) fn item_of(value: ValueRef<'_>) -> Option<Item<'_>> {
    if value.code() == code::BOOLEAN {
        return value.as_bool().map(|value| Item::Number(f64::from(value)));
    }
    match value.as_f64() {
        Some(number) => Some(Item::Number(number)),
        None => value.to_text().map(Item::Text),
    }
}

/// The number that a text is.
pub(super) fn number(text: &str) -> f64 {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    match text {
        "INF" => f64::INFINITY,
        "-INF" => f64::NEG_INFINITY,
        // Words that Rust would take.
        _ if text.contains(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E')) => {
            f64::NAN
        }
        _ => text.parse().unwrap_or(f64::NAN),
    }
}

pub(super) fn text_of(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "INF".into() } else { "-INF".into() };
    }
    number.to_string()
}
