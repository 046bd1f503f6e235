//! Values, and what can be done with two of them.
//!
//! Numbers promote as in the reference broker: two exact ones stay exact, in 64 bits that wrap
//! around; an exact and an approximate one are both approximate. Text and booleans can be equal or
//! not, and have no order. Values of types that do not go together are neither equal nor unequal,
//! less nor greater: each comparison of them is false, which is not the same as unknown.

use std::cmp::Ordering;

/// A value of an identifier, a literal or an expression (JMS 2.0 §3.8.1.1, §3.8.1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Value<'a> {
    /// The NULL of SQL: there is no such property, or the result of an operation on what has none.
    #[default]
    Unknown,
    /// TRUE or FALSE.
    Bool(bool),
    /// An integer: an exact numeric.
    Exact(i64),
    /// A floating point number: an approximate numeric.
    Approx(f64),
    /// Text; its octets need not be UTF-8, for clients send strings as binary too.
    Text(&'a [u8]),
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Exact(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Value::Approx(value)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text.as_bytes())
    }
}

/// A truth value is a value: unknown without one.
impl From<Option<bool>> for Value<'_> {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Value::Unknown, Value::Bool)
    }
}

/// The comparison operators (JMS 2.0 §3.8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    AtMost,
    AtLeast,
}

/// The binary arithmetic operators (JMS 2.0 §3.8.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Two numbers of one type.
enum Pair {
    Exact(i64, i64),
    Approx(f64, f64),
}

impl<'a> Value<'a> {
    pub(super) fn is_unknown(self) -> bool {
        self == Value::Unknown
    }

    /// As an operand of AND, OR and NOT: what is not a boolean is unknown there.
    pub(super) fn truth(self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    fn promote(self, other: Value<'_>) -> Option<Pair> {
        Some(match (self, other) {
            (Value::Exact(a), Value::Exact(b)) => Pair::Exact(a, b),
            (Value::Exact(a), Value::Approx(b)) => Pair::Approx(a as f64, b),
            (Value::Approx(a), Value::Exact(b)) => Pair::Approx(a, b as f64),
            (Value::Approx(a), Value::Approx(b)) => Pair::Approx(a, b),
            _ => return None,
        })
    }

    /// Compares; unknown if either value is.
    pub(super) fn compare(self, by: Comparison, other: Value<'_>) -> Option<bool> {
        if self.is_unknown() || other.is_unknown() {
            return None;
        }
        let order = match self.promote(other) {
            Some(Pair::Exact(a, b)) => Some(a.cmp(&b)),
            // Not a number is unequal to everything and has no order.
            Some(Pair::Approx(a, b)) => a.partial_cmp(&b),
            None => return Some(self.compare_others(by, other)),
        };
        Some(match by {
            Comparison::Equal => order == Some(Ordering::Equal),
            Comparison::NotEqual => order != Some(Ordering::Equal),
            Comparison::Less => order == Some(Ordering::Less),
            Comparison::Greater => order == Some(Ordering::Greater),
            Comparison::AtMost => order.is_some_and(Ordering::is_le),
            Comparison::AtLeast => order.is_some_and(Ordering::is_ge),
        })
    }

    /// Compares what is not two numbers.
    fn compare_others(self, by: Comparison, other: Value<'_>) -> bool {
        let equal = match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            _ => return false,
        };
        match by {
            Comparison::Equal => equal,
            Comparison::NotEqual => !equal,
            _ => false,
        }
    }

    /// Whether the values can be equal by their types.
    pub(super) fn is_comparable(self, other: Value<'_>) -> bool {
        let same = std::mem::discriminant(&self) == std::mem::discriminant(&other);
        same || self.promote(other).is_some()
    }

    /// Calculates; unknown unless both are numbers. Integers wrap around, and divided by zero they
    /// are unknown.
    pub(super) fn calculate(self, by: Arithmetic, other: Value<'_>) -> Value<'a> {
        match self.promote(other) {
            Some(Pair::Exact(a, b)) => match by {
                Arithmetic::Add => Value::Exact(a.wrapping_add(b)),
                Arithmetic::Subtract => Value::Exact(a.wrapping_sub(b)),
                Arithmetic::Multiply => Value::Exact(a.wrapping_mul(b)),
                Arithmetic::Divide if b == 0 => Value::Unknown,
                Arithmetic::Divide => Value::Exact(a.wrapping_div(b)),
            },
            Some(Pair::Approx(a, b)) => Value::Approx(match by {
                Arithmetic::Add => a + b,
                Arithmetic::Subtract => a - b,
                Arithmetic::Multiply => a * b,
                Arithmetic::Divide => a / b,
            }),
            None => Value::Unknown,
        }
    }

    /// The number with the other sign; unknown for what is not a number.
    pub(super) fn negate(self) -> Value<'a> {
        match self {
            Value::Exact(value) => Value::Exact(value.wrapping_neg()),
            Value::Approx(value) => Value::Approx(-value),
            _ => Value::Unknown,
        }
    }
}
