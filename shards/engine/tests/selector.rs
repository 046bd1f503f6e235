//! Selectors against a second evaluator that was written to be plain, and the laws of three-valued
//! logic.
//!
//! Expressions are drawn as trees, printed with as few parentheses as precedence allows, parsed and
//! evaluated; the tree itself is evaluated by [`Expression::value`], which keeps nothing, folds
//! nothing and goes back in LIKE.

use fletch_engine::selector::{Environment, Identifier, Selector, SelectorError, Value};
use proptest::prelude::*;

/// The operators between two operands, by their numbers.
const COMPARISONS: [&str; 6] = ["=", "<>", "<", ">", "<=", ">="];
const ARITHMETIC: [&str; 4] = ["+", "-", "*", "/"];
/// Identifiers as they stand in a selector, and as they are.
const NAMES: [(&str, &str); 4] =
    [("a", "a"), ("$b.c_1", "$b.c_1"), ("\"an \"\"odd\"\" one\"", "an \"odd\" one"), ("ä", "ä")];

#[derive(Clone, Debug)]
enum Expression {
    Literal(Plain, u8),
    Name(usize),
    Not(Box<Expression>),
    And(Box<[Expression; 2]>),
    Or(Box<[Expression; 2]>),
    Compare(usize, Box<[Expression; 2]>),
    IsNull(Box<Expression>, bool),
    Like(Box<Expression>, String, Option<char>, bool),
    Between(Box<[Expression; 3]>, bool),
    In(Box<Expression>, Vec<Expression>, bool),
    Negate(Box<Expression>),
    Calculate(usize, Box<[Expression; 2]>),
}

/// A value of the plain evaluator.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Unknown,
    Bool(bool),
    Exact(i64),
    Approx(f64),
    Text(String),
}

struct Values(Vec<Plain>);

impl Environment for Values {
    fn get(&self, identifier: &Identifier) -> Value<'_> {
        let at = NAMES.iter().position(|(_, name)| *name == identifier.name()).expect("a name");
        match &self.0[at] {
            Plain::Unknown => Value::Unknown,
            Plain::Bool(value) => (*value).into(),
            Plain::Exact(value) => (*value).into(),
            Plain::Approx(value) => (*value).into(),
            Plain::Text(text) => text.as_str().into(),
        }
    }
}

impl From<Option<bool>> for Plain {
    fn from(truth: Option<bool>) -> Plain {
        truth.map_or(Plain::Unknown, Plain::Bool)
    }
}

impl Plain {
    fn truth(&self) -> Option<bool> {
        if let Plain::Bool(truth) = self { Some(*truth) } else { None }
    }

    fn double(&self) -> Option<f64> {
        match self {
            Plain::Exact(value) => Some(*value as f64),
            Plain::Approx(value) => Some(*value),
            _ => None,
        }
    }

    fn compare(&self, by: usize, other: &Plain) -> Option<bool> {
        fn all<T: PartialOrd>(a: T, b: T) -> [bool; 6] {
            [a == b, a != b, a < b, a > b, a <= b, a >= b]
        }
        let results = match (self, other) {
            (Plain::Unknown, _) | (_, Plain::Unknown) => return None,
            (Plain::Exact(a), Plain::Exact(b)) => all(a, b),
            (Plain::Text(a), Plain::Text(b)) => [a == b, a != b, false, false, false, false],
            (Plain::Bool(a), Plain::Bool(b)) => [a == b, a != b, false, false, false, false],
            _ => match (self.double(), other.double()) {
                (Some(a), Some(b)) => all(a, b),
                _ => [false; 6],
            },
        };
        Some(results[by])
    }

    fn calculate(&self, by: usize, other: &Plain) -> Plain {
        if let (Plain::Exact(a), Plain::Exact(b)) = (self, other) {
            let (a, b) = (i128::from(*a), i128::from(*b));
            let results = [Some(a + b), Some(a - b), Some(a * b), a.checked_div(b)];
            // Cut to 64 bits.
            return results[by].map_or(Plain::Unknown, |result| Plain::Exact(result as i64));
        }
        match (self.double(), other.double()) {
            (Some(a), Some(b)) => Plain::Approx([a + b, a - b, a * b, a / b][by]),
            _ => Plain::Unknown,
        }
    }

    fn negate(&self) -> Plain {
        match self {
            Plain::Exact(value) => Plain::Exact((-i128::from(*value)) as i64),
            Plain::Approx(value) => Plain::Approx(-value),
            _ => Plain::Unknown,
        }
    }
}

fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn not(a: Option<bool>) -> Option<bool> {
    a.map(|a| !a)
}

/// Goes back wherever a `%` could stand for more.
fn naive_like(pattern: &[char], escape: Option<char>, text: &[char]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([first], _) if Some(*first) == escape => text.is_empty(),
        ([first, second, rest @ ..], _) if Some(*first) == escape => {
            text.first() == Some(second) && naive_like(rest, escape, &text[1..])
        }
        (['%', rest @ ..], _) => {
            (0..=text.len()).any(|skipped| naive_like(rest, escape, &text[skipped..]))
        }
        (['_', rest @ ..], [_, text @ ..]) => naive_like(rest, escape, text),
        ([first, rest @ ..], [other, text @ ..]) => {
            first == other && naive_like(rest, escape, text)
        }
        (_, []) => false,
    }
}

impl Expression {
    fn value(&self, values: &[Plain]) -> Plain {
        let of = |expression: &Expression| expression.value(values);
        let truth = |expression: &Expression| expression.value(values).truth();
        match self {
            Expression::Literal(value, _) => value.clone(),
            Expression::Name(name) => values[*name].clone(),
            Expression::Not(a) => not(truth(a)).into(),
            Expression::And(both) => and(truth(&both[0]), truth(&both[1])).into(),
            Expression::Or(both) => not(and(not(truth(&both[0])), not(truth(&both[1])))).into(),
            Expression::Compare(by, both) => of(&both[0]).compare(*by, &of(&both[1])).into(),
            Expression::IsNull(a, negated) => Plain::Bool((of(a) == Plain::Unknown) != *negated),
            Expression::Like(a, pattern, escape, negated) => match of(a) {
                Plain::Text(text) => {
                    let chars = |text: &str| text.chars().collect::<Vec<_>>();
                    let matches = naive_like(&chars(pattern), *escape, &chars(&text));
                    Plain::Bool(matches != *negated)
                }
                _ => Plain::Unknown,
            },
            Expression::Between(all, negated) => {
                let [a, from, to] = [0, 1, 2].map(|n| of(&all[n]));
                match (a.compare(5, &from), a.compare(4, &to)) {
                    (Some(from), Some(to)) => Plain::Bool((from && to) != *negated),
                    _ => Plain::Unknown,
                }
            }
            Expression::In(a, list, negated) => {
                let a = of(a);
                let by = usize::from(*negated);
                let results: Vec<_> =
                    list.iter().map(|element| a.compare(by, &of(element))).collect();
                let found = list.iter().any(|element| a.compare(0, &of(element)) == Some(true));
                if found {
                    Plain::Bool(!negated)
                } else if results.contains(&None) {
                    Plain::Unknown
                } else {
                    Plain::Bool(*negated && !results.contains(&Some(false)))
                }
            }
            Expression::Negate(a) => of(a).negate(),
            Expression::Calculate(by, both) => of(&both[0]).calculate(*by, &of(&both[1])),
        }
    }

    /// How tightly it binds: OR, AND, conditions, sums, products, and what needs no parentheses.
    fn level(&self) -> u8 {
        match self {
            Expression::Or(_) => 0,
            Expression::And(_) => 1,
            Expression::Calculate(0 | 1, _) => 3,
            Expression::Calculate(..) => 4,
            Expression::Literal(..) | Expression::Name(_) | Expression::Negate(_) => 5,
            _ => 2,
        }
    }

    /// Prints it as an operand that must bind as tightly as `level`.
    fn print(&self, level: u8) -> String {
        if self.level() < level {
            return format!("({})", self.print(0));
        }
        let no = |negated: &bool| if *negated { " NOT" } else { "" };
        match self {
            Expression::Literal(value, form) => print_literal(value, *form),
            Expression::Name(name) => NAMES[*name].0.to_owned(),
            Expression::Not(a) => format!("not {}", a.print(2)),
            Expression::And(both) => format!("{} aNd {}", both[0].print(1), both[1].print(2)),
            Expression::Or(both) => format!("{} OR {}", both[0].print(0), both[1].print(1)),
            Expression::Compare(by, both) => {
                format!("{}{}{}", both[0].print(3), COMPARISONS[*by], both[1].print(3))
            }
            Expression::IsNull(a, negated) => format!("{} IS{} null", a.print(3), no(negated)),
            Expression::Like(a, pattern, escape, negated) => {
                let escape = escape.map_or(String::new(), |escape| format!(" escape '{escape}'"));
                let pattern = pattern.replace('\'', "''");
                format!("{}{} LIKE '{pattern}'{escape}", a.print(3), no(negated))
            }
            Expression::Between(all, negated) => {
                let [a, from, to] = [0, 1, 2].map(|n| all[n].print(3));
                format!("{a}{} BETWEEN {from} AND {to}", no(negated))
            }
            Expression::In(a, list, negated) => {
                let list: Vec<_> = list.iter().map(|element| element.print(3)).collect();
                format!("{}{} IN({})", a.print(3), no(negated), list.join(","))
            }
            Expression::Negate(a) => format!("-{}", a.print(5)),
            Expression::Calculate(by @ (0 | 1), both) => {
                format!("{} {} {}", both[0].print(3), ARITHMETIC[*by], both[1].print(4))
            }
            Expression::Calculate(by, both) => {
                format!("{}{}{}", both[0].print(4), ARITHMETIC[*by], both[1].print(5))
            }
        }
    }
}

/// A literal in one of the forms it can have.
fn print_literal(value: &Plain, form: u8) -> String {
    match value {
        Plain::Unknown => panic!("there is no such literal"),
        Plain::Bool(value) => if *value { "True" } else { "FALSE" }.to_owned(),
        Plain::Exact(value) => {
            let sign = if *value < 0 { "-" } else { "" };
            let size = value.unsigned_abs();
            match form % 5 {
                0 => format!("{sign}0x{size:X}"),
                1 => format!("{sign}0{size:o}"),
                2 => format!("{sign}0b{size:b}"),
                3 => format!("{sign}{size}L"),
                _ => format!("{sign}{size}"),
            }
        }
        Plain::Approx(value) => format!("{value:?}{}", ["", "f", "D"][usize::from(form % 3)]),
        Plain::Text(text) => format!("'{}'", text.replace('\'', "''")),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ab%_!'ä]{0,6}", Just("a".to_owned())]
}

fn known() -> impl Strategy<Value = Plain> {
    prop_oneof![
        any::<bool>().prop_map(Plain::Bool),
        (-3i64..4).prop_map(Plain::Exact),
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)].prop_map(Plain::Exact),
        prop_oneof![(-6i32..7).prop_map(|n| f64::from(n) / 2.0), prop::num::f64::NORMAL]
            .prop_map(Plain::Approx),
        text().prop_map(Plain::Text),
    ]
}

fn values() -> impl Strategy<Value = Vec<Plain>> {
    let value = prop_oneof![
        4 => known(),
        2 => Just(Plain::Unknown),
        1 => any::<f64>().prop_map(Plain::Approx),
    ];
    prop::collection::vec(value, NAMES.len())
}

fn leaf() -> impl Strategy<Value = Expression> {
    prop_oneof![
        (known(), any::<u8>()).prop_map(|(value, form)| Expression::Literal(value, form)),
        (0..NAMES.len()).prop_map(Expression::Name),
    ]
}

fn pair(
    operand: &BoxedStrategy<Expression>,
) -> impl Strategy<Value = Box<[Expression; 2]>> + use<> {
    [operand.clone(), operand.clone()].prop_map(Box::new)
}

/// Mostly numbers and text; sometimes conditions, where they need parentheses.
fn sum(depth: u32) -> BoxedStrategy<Expression> {
    if depth == 0 {
        return leaf().boxed();
    }
    let less = sum(depth - 1);
    prop_oneof![
        4 => leaf(),
        2 => (0..ARITHMETIC.len(), pair(&less))
            .prop_map(|(by, both)| Expression::Calculate(by, both)),
        1 => less.prop_map(|a| Expression::Negate(Box::new(a))),
        1 => condition(depth - 1),
    ]
    .boxed()
}

/// Mostly what is true, false or unknown.
fn condition(depth: u32) -> BoxedStrategy<Expression> {
    if depth == 0 {
        return leaf().boxed();
    }
    let (less, operand) = (condition(depth - 1), sum(depth - 1));
    let all = [operand.clone(), operand.clone(), operand.clone()].prop_map(Box::new);
    let list = prop::collection::vec(operand.clone(), 1..4);
    let escape = prop_oneof![Just(None), Just(Some('!')), Just(Some('ä'))];
    prop_oneof![
        1 => leaf(),
        2 => less.clone().prop_map(|a| Expression::Not(Box::new(a))),
        3 => pair(&less).prop_map(Expression::And),
        3 => pair(&less).prop_map(Expression::Or),
        3 => (0..COMPARISONS.len(), pair(&operand))
            .prop_map(|(by, both)| Expression::Compare(by, both)),
        1 => (operand.clone(), any::<bool>())
            .prop_map(|(a, negated)| Expression::IsNull(Box::new(a), negated)),
        2 => (operand.clone(), text(), escape, any::<bool>())
            .prop_map(|(a, pattern, escape, negated)| {
                Expression::Like(Box::new(a), pattern, escape, negated)
            }),
        2 => (all, any::<bool>()).prop_map(|(all, negated)| Expression::Between(all, negated)),
        2 => (operand, list, any::<bool>())
            .prop_map(|(a, list, negated)| Expression::In(Box::new(a), list, negated)),
    ]
    .boxed()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

/// The truth value of a condition, found out by what it and conditions about it select.
fn truth(condition: &str, values: &Values) -> Option<bool> {
    let selects = |text: String| match Selector::parse(&text) {
        Ok(selector) => selector.matches(values),
        Err(error) => panic!("{text}: {error}"),
    };
    let is_true = selects(condition.to_owned());
    let is_false = selects(format!("NOT ({condition})"));
    let is_unknown = selects(format!("(NOT ({condition})) IS NULL"));
    assert_eq!([is_true, is_false, is_unknown].iter().filter(|is| **is).count(), 1, "{condition}");
    if is_unknown { None } else { Some(is_true) }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn both_evaluators_agree(expression in condition(4), values in values()) {
        let expected = expression.value(&values).truth();
        prop_assert_eq!(truth(&expression.print(0), &Values(values)), expected);
    }

    #[test]
    fn like_agrees_with_going_back(
        pattern in "[ab%_!é🙂]{0,10}",
        text in "[abé🙂]{0,12}",
        escaped in any::<bool>(),
        // The same before both, so that rows of bits are longer than a word.
        before in 0usize..140,
    ) {
        let before = "ab".repeat(before);
        let (pattern, text) = (format!("{before}{pattern}"), format!("{before}{text}"));
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let escape = escaped.then_some('!');
        let expected = naive_like(&chars(&pattern), escape, &chars(&text));
        let condition = match escaped {
            true => format!("'{text}' LIKE '{pattern}' ESCAPE '!'"),
            false => format!("'{text}' LIKE '{pattern}'"),
        };
        prop_assert_eq!(truth(&condition, &Values(vec![])), Some(expected));
    }

    /// Words in any order: most are no selector, and some nearly are.
    #[test]
    fn no_text_is_too_odd(
        words in prop::collection::vec(
            prop_oneof![
                prop::sample::select(
                    "( ) , + - * / = <> < > <= >= and BETWEEN escape in is like not null or true \
                     a 1 0x 0b1 1e 1.5e3f .5 'x' '%_' '!' ' \" ä ? \0 99999999999999999999"
                        .split(' ').collect::<Vec<_>>()
                ).prop_map(str::to_owned),
                any::<String>(),
            ],
            0..12,
        ),
        separated in any::<bool>(),
    ) {
        let text = words.join(if separated { " " } else { "" });
        let length = text.chars().count();
        match Selector::parse(&text) {
            Ok(selector) => {
                struct Nothing;
                impl Environment for Nothing {
                    fn get(&self, _: &Identifier) -> Value<'_> {
                        Value::Unknown
                    }
                }
                selector.matches(&Nothing);
            }
            Err(
                SelectorError::Expected { column, .. } | SelectorError::Unclosed { column, .. },
            ) => {
                prop_assert!((1..=length + 1).contains(&column));
            }
            Err(error) => panic!("{text:?}: {error}"),
        }
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn three_valued_logic_keeps_its_laws(
        conditions in [condition(2), condition(2), condition(2)],
        values in values(),
    ) {
        let [a, b, c] = conditions.map(|condition| format!("({})", condition.print(0)));
        let values = Values(values);
        let laws = [
            // De Morgan, both ways.
            (format!("NOT ({a} AND {b})"), format!("NOT {a} OR NOT {b}")),
            (format!("NOT ({a} OR {b})"), format!("NOT {a} AND NOT {b}")),
            // Commutative, associative, distributive; absorbing; idempotent.
            (format!("{a} AND {b}"), format!("{b} AND {a}")),
            (format!("{a} OR {b}"), format!("{b} OR {a}")),
            (format!("({a} AND {b}) AND {c}"), format!("{a} AND ({b} AND {c})")),
            (format!("({a} OR {b}) OR {c}"), format!("{a} OR ({b} OR {c})")),
            (format!("{a} AND ({b} OR {c})"), format!("{a} AND {b} OR {a} AND {c}")),
            (format!("{a} OR ({b} AND {c})"), format!("({a} OR {b}) AND ({a} OR {c})")),
            (format!("{a} AND ({a} OR {b})"), a.clone()),
            (format!("{a} OR {a} AND {b}"), a.clone()),
            (format!("{a} AND {a}"), a.clone()),
            (format!("{a} OR {a}"), a.clone()),
            // Twice not is not at all; the neutral and the deciding.
            (format!("NOT NOT {a}"), a.clone()),
            (format!("{a} AND TRUE"), a.clone()),
            (format!("{a} OR FALSE"), a.clone()),
            (format!("{a} AND FALSE"), "FALSE".to_owned()),
            (format!("{a} OR TRUE"), "TRUE".to_owned()),
            // What is not known is not known either way.
            (format!("(NOT {a}) IS NULL"), format!("({a} OR NOT {a}) IS NULL")),
        ];
        for (left, right) in laws {
            let truths = [&left, &right].map(|condition| truth(condition, &values));
            prop_assert_eq!(truths[0], truths[1], "{} and {}", left, right);
        }
        prop_assert_ne!(truth(&format!("{a} OR NOT {a}"), &values), Some(false));
        prop_assert_ne!(truth(&format!("{a} AND NOT {a}"), &values), Some(true));
    }

    #[test]
    fn special_comparisons_are_short_for_others(
        operands in [sum(2), sum(2), sum(2)],
        values in values(),
    ) {
        let known = operands.iter().all(|operand| operand.value(&values) != Plain::Unknown);
        let [a, b, c] = operands.map(|operand| operand.print(3));
        let values = Values(values);
        let same = |left: String, right: String| {
            assert_eq!(truth(&left, &values), truth(&right, &values), "{left} and {right}");
        };
        same(format!("{a} IN ({b}, {c})"), format!("{a} = {b} OR {a} = {c}"));
        same(format!("NOT {a} BETWEEN {b} AND {c}"), format!("{a} NOT BETWEEN {b} AND {c}"));
        same(format!("NOT {a} LIKE '%a_'"), format!("{a} NOT LIKE '%a_'"));
        same(format!("NOT {a} IS NULL"), format!("{a} IS NOT NULL"));
        if known {
            same(format!("{a} BETWEEN {b} AND {c}"), format!("{a} >= {b} AND {a} <= {c}"));
            same(format!("{a} NOT IN ({b}, {c})"), format!("{a} <> {b} AND {a} <> {c}"));
        }
    }
}
