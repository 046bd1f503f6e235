use super::super::Selector;
use super::{Environment, Identifier, Value, Values, check_matches, check_truth, text};
use std::cell::Cell;

const NOTHING: Values = Values(&[]);
const TEXTS: Values = Values(&[
    ("A", text("So long, dull world")),
    ("B", text("good day")),
    ("yes", Value::Bool(true)),
]);
const NUMBERS: Values = Values(&[
    ("A", Value::Approx(42.0)),
    ("B", Value::Exact(39)),
    ("least", Value::Exact(i64::MIN)),
    ("most", Value::Exact(i64::MAX)),
]);

#[test]
fn text_is_equal_or_not() {
    check_matches(
        &TEXTS,
        &[
            ("", true),
            (" ", true),
            ("A is not null", true),
            ("A is null", false),
            ("A = C", false),
            ("A <> C", false),
            ("C is not null", false),
            ("C is null", true),
            ("A='So long, dull world'", true),
            ("A<>'So long, dull world'", false),
            ("A='good day'", false),
            ("A<>'good day'", true),
            ("A=B", false),
            ("A<>B", true),
            ("a = 'So long, dull world'", false),
            ("A = 'so long, dull world'", false),
            ("'it''s' = \"B\"", false),
            ("\"B\" = 'good day'", true),
            ("A='good day' OR B='So long, dull world'", false),
            ("B='good day' OR A='So long, dull world'", true),
            ("B='good day' AnD A='So long, dull world'", true),
            ("B='good day' AnD B='So long, dull world'", false),
            ("A is null or A='So long, dull world'", true),
            // AND binds more tightly than OR, and NOT more tightly than AND.
            ("Z is null OR A is not null and A<>'So long, dull world'", true),
            ("(Z is null OR A is not null) and A<>'So long, dull world'", false),
            ("NOT C is not null OR C is null", true),
            ("NOT A = '' AND A = ''", false),
            ("Not A='' or B=z", true),
            ("Not A=17 or B=5.6", true),
            ("A<>17 and B=5.6e17", false),
            ("C=D", false),
            ("13 is not null", true),
            ("'boo!' is null", false),
            ("A LIKE '%du_l%'", true),
            ("B NOT LIKE '%du_l%'", true),
        ],
    );
}

#[test]
fn numbers_of_both_kinds_go_together() {
    check_matches(
        &NUMBERS,
        &[
            ("A>B", true),
            ("A=42", true),
            ("B=39.0", true),
            ("Not A=17 or B=5.6", true),
            ("A<>17 and B=5.6e17", false),
            ("3 BETWEEN -17 and 98.5", true),
            ("A BETWEEN B and 98.5", true),
            ("B NOT BETWEEN 35 AND 100", false),
            ("A BETWEEN B and 40", false),
            ("A BETWEEN C and 40", false),
            ("A BETWEEN 45 and C", false),
            ("(A BETWEEN 40 and C) IS NULL", true),
            ("(A BETWEEN C and 45) IS NULL", true),
            ("17/4=4", true),
            ("17/4.0=4.25", true),
            ("17./4=4.25", true),
            ("-17/4=-4", true),
            ("A/0=0", false),
            ("A/0>1e300", true),
            ("A/-0.0 < -1e300", true),
            ("A*B+19<A*(B+19)", true),
            ("-A=0-A", true),
            ("2+3*4=14 AND 2*3+4=10 AND (2+3)*4=20", true),
            ("10-3-2=5 AND 100/5/2=10 AND 100/5*2=40", true),
            ("- -B = B AND - - -B = -39 AND +B = B AND -+B = -39 AND +-B = -39", true),
            ("2--3 = 5 AND 2-+3 = -1", true),
            ("42 <= 42.0 and 37.0 >= 37", true),
            ("20 >= 19.0 and 20 > 19", true),
            ("17 > 19.0", false),
        ],
    );
}

#[test]
fn integers_wrap_around_and_no_division_fails() {
    check_truth(
        &NUMBERS,
        &[
            ("most + 1 = least", Some(true)),
            ("least - 1 = most", Some(true)),
            ("most * 2 = -2", Some(true)),
            ("-least = least", Some(true)),
            ("least / -1 = least", Some(true)),
            ("B / 0 = 1", None),
            ("B / 0 IS NULL", Some(true)),
            ("B / (B - B) IN (1, 2)", None),
            // Not a number: unequal to everything.
            ("0.0/0 = 0.0/0", Some(false)),
            ("0.0/0 <> 0.0/0", Some(true)),
            ("0.0/0 < 1 OR 0.0/0 >= 1", Some(false)),
            // An integer is promoted, also where a double cannot tell it from the next.
            ("9007199254740993 = 9007199254740992.0", Some(true)),
            ("9007199254740993 = 9007199254740992", Some(false)),
        ],
    );
}

#[test]
fn literals_are_what_they_say() {
    check_matches(
        &NOTHING,
        &[
            (" 9223372036854775807>0", true),
            ("-9223372036854775807<0", true),
            ("0x8000_0000_0000_0001=-9223372036854775807", true),
            (" 9223372036854775807L<>0", true),
            ("-9223372036854775807L<>0", true),
            ("-9223372036854775808<>0", true),
            ("-9223372036854775808=0x8000_0000_0000_0000", true),
            ("- 9223372036854775808 < 0", true),
            ("0x8000_0000_0000_0000<9223372036854775807", true),
            (" 0.4f>0.3d", true),
            (" 1000_020.4f>0.3d", true),
            (" 1000_020.4f>0x800p-3", true),
            (" 0x1000_0000=0x1000_0000p0", true),
            (" 0xFF=255L", true),
            (" 077L=0b111_111", true),
            (" 077L=63", true),
            ("TRUE", true),
            ("false", false),
            ("NOT False", true),
            ("1", false),
            ("'true'", false),
        ],
    );
}

#[test]
fn what_does_not_go_together_is_false_but_known() {
    check_truth(
        &TEXTS,
        &[
            ("'day' > 19.0", Some(false)),
            ("'day' < 19.0", Some(false)),
            ("'day' = 19.0", Some(false)),
            ("'day' <> 42", Some(false)),
            ("'day'>42 or 'day'<42 or 'day'=42 or 'day'<>42", Some(false)),
            ("TRUE = 'true'", Some(false)),
            ("TRUE <> 1", Some(false)),
            ("TRUE = yes", Some(true)),
            ("FALSE <> yes", Some(true)),
            // Text and booleans have no order.
            ("'a' < 'b'", Some(false)),
            ("'a' >= 'a'", Some(false)),
            ("FALSE < TRUE", Some(false)),
            ("A + 1 = 1", None),
            ("-A = 1", None),
            ("'a' + 'b' IS NULL", Some(true)),
            ("TRUE * 2 IS NULL", Some(true)),
            ("+A = A", Some(true)),
            ("1 LIKE '1'", None),
            ("C LIKE '%'", None),
            ("1 NOT LIKE '1'", None),
            ("(1 = 1) = TRUE", Some(true)),
            ("(C = 1) = TRUE", None),
        ],
    );
}

#[test]
fn lists_hold_values_of_any_type() {
    check_truth(
        &NOTHING,
        &[
            ("A IN ('some', 'text', 1 , true, (1-17))", None),
            ("A NOT IN ('some')", None),
            ("-16 IN ('some', A, 'text', true)", None),
            ("-16 NOT IN ('some', 'text', A, true)", None),
            ("-16 IN ('some', 'text', true)", Some(false)),
            ("-16 NOT IN ('some', 'text', true)", Some(false)),
            ("-16 NOT IN ('some', 'text', A, 1 , true)", None),
            ("-16 NOT IN (1, 2.5)", Some(true)),
            ("-16 NOT IN (1, 'some')", Some(false)),
            ("-16 NOT IN ('some', -16)", Some(false)),
            ("-16 NOT IN (A, -16.0)", Some(false)),
            ("'text' IN ('some', 'text', 1 , true, (1-17))", Some(true)),
            ("TRUE IN ('some', 'text', 1 , true, (1-17))", Some(true)),
            ("-16 IN ('some', 'text', 1 , true, (1-17))", Some(true)),
            ("-16 IN (A, 1-17)", Some(true)),
            ("-16 NOT IN ('some', 'text', 1 , true, (1-17))", Some(false)),
            ("1 IN ('some', 'text', 'more')", Some(false)),
            ("1 NOT IN ('some', 'text', 'more')", Some(false)),
            ("'tex' IN ('some', 'text', 1 , true, (1-17))", Some(false)),
            ("'tex' NOT IN ('some', 'text')", Some(true)),
            ("'tex' IN ('some', 'text', 1 , true, (1-17), A)", None),
            ("'tex' NOT IN ('some', 'text', 1 , true, (1-17), A)", None),
        ],
    );
}

#[test]
fn between_needs_all_three() {
    check_truth(
        &NOTHING,
        &[
            ("'good day' BETWEEN 30 and 40", Some(false)),
            ("'good day' NOT BETWEEN 30 and 40", Some(true)),
            ("14 BETWEEN 'aardvark' and 'zebra'", Some(false)),
            ("14 NOT BETWEEN 'aardvark' and 'zebra'", Some(true)),
            ("TRUE BETWEEN 'aardvark' and 'zebra'", Some(false)),
            ("'m' BETWEEN 'aardvark' and 'zebra'", Some(false)),
            ("A BETWEEN 'aardvark' and 14", None),
            ("A NOT BETWEEN 'aardvark' and 14", None),
            ("14 BETWEEN A and 17", None),
            ("14 NOT BETWEEN A and 17", None),
            ("14 BETWEEN 11 and A", None),
            ("14 BETWEEN 15 and A", None),
            ("14 NOT BETWEEN 11 and A", None),
            ("14 NOT BETWEEN 11 and 9", Some(true)),
            ("14 BETWEEN -11 and 54367", Some(true)),
            ("14 BETWEEN 14 and 14", Some(true)),
            ("14 BETWEEN 2*7 and 28/2", Some(true)),
            ("14 BETWEEN 1 AND 20 AND FALSE", Some(false)),
        ],
    );
}

#[test]
fn unknown_is_neither_true_nor_false() {
    check_matches(
        &NOTHING,
        &[
            ("P > 19.0 or (P is null)", true),
            ("P is null or P=''", true),
            ("P=Q", false),
            ("not P=Q", false),
            ("not P=Q and not P=Q", false),
            ("P=Q or not P=Q", false),
            ("P > 19.0 or P <= 19.0", false),
            ("P > 19.0 or 17 <= 19.0", true),
            ("P", false),
            ("NOT P", false),
        ],
    );
    let tables = ["TRUE", "FALSE", "P"].map(|a| ["TRUE", "FALSE", "P"].map(|b| (a, b)));
    for (a, b) in tables.into_iter().flatten() {
        let truth = |name: &str| match name {
            "TRUE" => Some(true),
            "FALSE" => Some(false),
            _ => None,
        };
        // JMS 2.0 §3.8.1.2, tables 3-4 to 3-6.
        let and = match (truth(a), truth(b)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        };
        let or = match (truth(a), truth(b)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        };
        check_truth(
            &NOTHING,
            &[
                (&format!("{a} AND {b}"), and),
                (&format!("{a} OR {b}"), or),
                (&format!("NOT {a}"), truth(a).map(|truth| !truth)),
                (&format!("NOT NOT {a}"), truth(a)),
                (&format!("NOT NOT NOT {a}"), truth(a).map(|truth| !truth)),
            ],
        );
    }
}

#[test]
fn what_is_no_boolean_is_unknown_to_logic() {
    check_truth(
        &TEXTS,
        &[
            ("A", None),
            ("1", None),
            ("NOT 1", None),
            ("A OR yes", Some(true)),
            ("A AND yes", None),
            ("A AND FALSE", Some(false)),
            ("yes", Some(true)),
            ("NOT NOT A IS NULL", Some(false)),
            ("(NOT NOT A) IS NULL", Some(true)),
            ("(- -yes) IS NULL", Some(true)),
            ("-(A OR yes) IS NULL", Some(true)),
        ],
    );
}

/// Counts how often it is asked.
struct Asked(Cell<usize>);

impl Environment for Asked {
    fn get(&self, _: &Identifier) -> Value<'_> {
        self.0.set(self.0.get() + 1);
        Value::Exact(self.0.get() as i64)
    }
}

#[test]
fn a_value_is_asked_for_once() {
    let asked = Asked(Cell::new(0));
    let selector = Selector::parse("a = 1 AND a = a AND b = 2 AND a < b AND a IN (1)").unwrap();
    assert!(selector.matches(&asked));
    assert_eq!(asked.0.get(), 2);
    assert!(!selector.matches(&asked), "the next evaluation asks again");
    // What is decided is not looked at any more.
    let asked = Asked(Cell::new(0));
    assert!(Selector::parse("TRUE OR a = 1 OR b = 1").unwrap().matches(&asked));
    assert!(!Selector::parse("FALSE AND a = 1 AND b = 1").unwrap().matches(&asked));
    assert_eq!(asked.0.get(), 0);
}
