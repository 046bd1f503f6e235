//! The tree of a selector, and its evaluation in three-valued logic (JMS 2.0 §3.8.1.2): a truth
//! value is `Some`, or `None` if it is unknown.
//!
//! Chains of one operator are one node, and signs and NOTs in a row are at most two, so a tree is
//! no deeper than a few nodes for each level of parentheses: recursion is bounded by `MAX_DEPTH`.

use super::Environment;
use super::error::MAX_IDENTIFIERS;
use super::identifier::Identifier;
use super::like::Pattern;
use super::value::{Arithmetic, Comparison, Value};
use std::cell::{Cell, OnceCell};

/// One operation with its operands, or a leaf.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Bool(bool),
    Exact(i64),
    Approx(f64),
    Text(Box<str>),
    /// The number of an identifier in the selector's list.
    Identifier(u8),
    Not(Box<Node>),
    And(Box<[Node]>),
    Or(Box<[Node]>),
    Compare(Comparison, Box<[Node; 2]>),
    IsNull(Box<Test>),
    Like(Box<Test>, Box<Pattern>),
    /// The bounds.
    Between(Box<Test>, Box<[Node; 2]>),
    /// The list.
    In(Box<Test>, Box<[Node]>),
    Negate(Box<Node>),
    /// The first operand, and those that follow it from left to right.
    Calculate(Box<Node>, Box<[(Arithmetic, Node)]>),
}

/// What a special comparison is about, and whether it has a NOT.
#[derive(Debug, PartialEq)]
pub(super) struct Test {
    pub(super) operand: Node,
    pub(super) negated: bool,
}

/// What identifiers mean during one evaluation.
pub(super) struct Scope<'v, E> {
    identifiers: &'v [Identifier],
    environment: &'v E,
    /// Values of identifiers that the selector repeats, by their numbers.
    kept: OnceCell<[Cell<Option<Value<'v>>>; MAX_IDENTIFIERS]>,
}

impl<'v, E: Environment> Scope<'v, E> {
    pub(super) fn new(identifiers: &'v [Identifier], environment: &'v E) -> Scope<'v, E> {
        Scope { identifiers, environment, kept: OnceCell::new() }
    }

    fn get(&self, number: u8) -> Value<'v> {
        let number = usize::from(number);
        let Some(identifier) = self.identifiers.get(number) else { return Value::Unknown };
        if !identifier.is_repeated() {
            return self.environment.get(identifier);
        }
        let kept = self.kept.get_or_init(|| [const { Cell::new(None) }; MAX_IDENTIFIERS]);
        let value = kept[number].get().unwrap_or_else(|| self.environment.get(identifier));
        kept[number].set(Some(value));
        value
    }
}

impl Node {
    /// The truth value; unknown for what is not a boolean.
    pub(super) fn truth<'v, E: Environment>(&'v self, scope: &Scope<'v, E>) -> Option<bool> {
        match self {
            Node::Not(operand) => operand.truth(scope).map(|truth| !truth),
            Node::And(operands) => decide(operands, scope, false),
            Node::Or(operands) => decide(operands, scope, true),
            Node::Compare(by, operands) => {
                let [left, right] = &**operands;
                left.value(scope).compare(*by, right.value(scope))
            }
            Node::IsNull(test) => Some(test.operand.value(scope).is_unknown() != test.negated),
            Node::Like(test, pattern) => match test.operand.value(scope) {
                Value::Text(text) => Some(pattern.matches(text) != test.negated),
                _ => None,
            },
            Node::Between(test, bounds) => test.between(bounds, scope),
            Node::In(test, list) if test.negated => test.not_in(list, scope),
            Node::In(test, list) => test.is_in(list, scope),
            _ => self.value(scope).truth(),
        }
    }

    /// The value, whatever its type.
    fn value<'v, E: Environment>(&'v self, scope: &Scope<'v, E>) -> Value<'v> {
        match self {
            Node::Bool(value) => Value::Bool(*value),
            Node::Exact(value) => Value::Exact(*value),
            Node::Approx(value) => Value::Approx(*value),
            Node::Text(text) => Value::Text(text.as_bytes()),
            Node::Identifier(number) => scope.get(*number),
            Node::Negate(operand) => operand.value(scope).negate(),
            Node::Calculate(operand, rest) => {
                rest.iter().fold(operand.value(scope), |sum, (by, next)| {
                    sum.calculate(*by, next.value(scope))
                })
            }
            Node::Not(_)
            | Node::And(_)
            | Node::Or(_)
            | Node::Compare(..)
            | Node::IsNull(_)
            | Node::Like(..)
            | Node::Between(..)
            | Node::In(..) => self.truth(scope).into(),
        }
    }
}

/// AND and OR: the first operand that is `decisive` decides; else one that is unknown makes the
/// result unknown.
fn decide<'v, E: Environment>(
    operands: &'v [Node],
    scope: &Scope<'v, E>,
    decisive: bool,
) -> Option<bool> {
    let mut result = Some(!decisive);
    for operand in operands {
        match operand.truth(scope) {
            Some(truth) if truth == decisive => return Some(decisive),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

impl Test {
    /// Unlike in SQL, all three must be known.
    fn between<'v, E: Environment>(
        &'v self,
        bounds: &'v [Node; 2],
        scope: &Scope<'v, E>,
    ) -> Option<bool> {
        let value = self.operand.value(scope);
        let from = value.compare(Comparison::AtLeast, bounds[0].value(scope))?;
        let to = value.compare(Comparison::AtMost, bounds[1].value(scope))?;
        Some((from && to) != self.negated)
    }

    fn is_in<'v, E: Environment>(&'v self, list: &'v [Node], scope: &Scope<'v, E>) -> Option<bool> {
        let value = self.operand.value(scope);
        let mut result = Some(false);
        for element in list {
            match value.compare(Comparison::Equal, element.value(scope)) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => result = None,
            }
        }
        // With an operand that is unknown every comparison is, and a list is never empty.
        result
    }

    /// Not quite NOT of the above: as `<>` is false for types that do not go together, so is this
    /// if the list holds such a value.
    fn not_in<'v, E: Environment>(
        &'v self,
        list: &'v [Node],
        scope: &Scope<'v, E>,
    ) -> Option<bool> {
        let value = self.operand.value(scope);
        let mut result = Some(true);
        for element in list {
            let element = element.value(scope);
            match value.compare(Comparison::Equal, element) {
                Some(true) => return Some(false),
                Some(false) if result.is_some() && !value.is_comparable(element) => {
                    result = Some(false);
                }
                Some(false) => {}
                None => result = None,
            }
        }
        result
    }
}
