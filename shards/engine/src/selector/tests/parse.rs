use super::super::error::{MAX_DEPTH, MAX_IDENTIFIERS, MAX_LENGTH, MAX_PATTERN, MAX_PATTERNS};
use super::{Selector, SelectorError, Values, check_errors};

#[test]
fn every_form_of_the_language_is_understood() {
    let texts = [
        "",
        " \t",
        "'Text' is not null",
        "42 is null",
        "A is not null",
        "A IS NULL",
        "A = C",
        "A<>C",
        "A='some text'",
        "A='some text' OR B='Other, longer text'",
        "B='some text' AnD A='Other, longer text'",
        "Z is null OR A is not null and A<>'Other'",
        "(Z is null OR A is not null) and A<>'Other'",
        "NOT C is not null OR C is null",
        "Not A='' or B=z",
        "NOT NOT NOT A",
        "A<>17 and B=5.6e17",
        "A LIKE 'excep%ional'",
        "B NOT LIKE 'excep%ional'",
        "A LIKE 'excep%ional' EScape ''",
        "A LIKE 'excep%ional' ESCAPE '!'",
        "A LIKE 'excep%ional' ESCAPE '€'",
        "A BETWEEN 13 AND 'true'",
        "A NOT BETWEEN 100 AND 3.9",
        "A BETWEEN 0AND 5",
        "true",
        "-354",
        "- - + -A",
        "+(A)",
        "-(X or Y)",
        "-687 or 567",
        "(354.6)",
        "A is null and 'some text'",
        "17/4>4",
        "17/4>+4",
        "17/4>-4",
        "A IN ('some', 'text', 1 , true, (1-17))",
        "A NOT IN (B)",
        "(A IS NULL) IS NULL",
        "(A OR B) = (C AND D)",
        "\"in\" = 1",
    ];
    for text in texts {
        assert!(Selector::parse(text).is_ok(), "{text}: {:?}", Selector::parse(text));
    }
}

#[test]
fn errors_say_what_was_expected_and_where() {
    check_errors(&[
        ("hello world", "expected an operator or the end at column 7, found `world`"),
        ("hello ^ world", "expected a name, a value or an operator at column 7, found `^`"),
        ("A is null not", "expected an operator or the end at column 11, found `not`"),
        ("A is null or not", "expected a name, a value or ( at column 17, found the end"),
        ("A is null or and", "expected a name, a value or ( at column 14, found `and`"),
        ("A is 5", "expected NULL or NOT NULL after IS at column 6, found `5`"),
        ("A is not 5", "expected NULL after IS NOT at column 10, found `5`"),
        ("A is null and (B='text'", "expected an operator or ) at column 24, found the end"),
        ("in='text'", "expected a name, a value or ( at column 1, found `in`"),
        ("A like 234", "expected a string after LIKE at column 8, found `234`"),
        ("A like", "expected a string after LIKE at column 7, found the end"),
        ("A not 234 escape", "expected LIKE, BETWEEN or IN after NOT at column 7, found `234`"),
        (
            "A not like 'a_' escape 'happy'",
            "expected a single character after ESCAPE at column 24, found `'happy'`",
        ),
        (
            "A not like 'a_' escape happy",
            "expected a string after ESCAPE at column 24, found `happy`",
        ),
        (
            "A not like 'a_' escape '%'",
            "expected another character than % and _ after ESCAPE at column 24, found `'%'`",
        ),
        (
            "A like 'a_' escape '_'",
            "expected another character than % and _ after ESCAPE at column 20, found `'_'`",
        ),
        ("A BETWEEN AND 'true'", "expected a name, a value or ( at column 11, found `AND`"),
        ("A BETWEEN 1 OR 2", "expected AND after BETWEEN and a value at column 13, found `OR`"),
        ("A NOT BETWEEN 3", "expected AND after BETWEEN and a value at column 16, found the end"),
        ("A IN ()", "expected a name, a value or ( at column 7, found `)`"),
        ("A NOT IN ()", "expected a name, a value or ( at column 11, found `)`"),
        ("A IN 'some', 'text')", "expected ( after IN at column 6, found `'some'`"),
        (
            "A IN ('some', 'text' 1, true)",
            "expected a comma or ) in the list of IN at column 22, found `1`",
        ),
        ("A = B = C", "expected an operator or the end at column 7, found `=`"),
        ("A = NOT B", "expected a name, a value or ( at column 5, found `NOT`"),
        ("A =", "expected a name, a value or ( at column 4, found the end"),
        (")", "expected a name, a value or ( at column 1, found `)`"),
        (
            " 9223372036854775808>0",
            "expected an integer that fits into 64 bits at column 2, found `9223372036854775808`",
        ),
        (
            "-9223372036854775809<0",
            "expected an integer that fits into 64 bits at column 2, found `9223372036854775809`",
        ),
        ("A = 1e999", "expected a number that a double can hold at column 5, found `1e999`"),
        ("A = 'it''s", "expected a closing ' for the one at column 5, found the end"),
        // Columns count characters, not octets.
        ("'ä€🙂' = = 1", "expected a name, a value or ( at column 9, found `=`"),
        (
            "A long_name_of_more_than_thirty_two_characters",
            "expected an operator or the end at column 3, \
             found `long_name_of_more_than_thirty_tw...`",
        ),
    ]);
}

#[test]
fn a_selector_has_a_longest_text() {
    let longest = format!("'{}'", "x".repeat(MAX_LENGTH - 2));
    assert!(Selector::parse(&longest).is_ok());
    let longer = longest.clone() + " ";
    assert_eq!(
        Selector::parse(&longer).unwrap_err(),
        SelectorError::TooLong { len: MAX_LENGTH + 1 }
    );
    check_errors(&[(&longer, "expected at most 65535 octets, found 65536")]);
}

#[test]
fn parentheses_nest_to_a_bound() {
    let nested = |depth: usize| "(".repeat(depth) + "1=1" + &")".repeat(depth);
    assert!(Selector::parse(&nested(MAX_DEPTH)).unwrap().matches(&Values(&[])));
    let column = MAX_DEPTH + 1;
    let error = SelectorError::TooDeep { column };
    assert_eq!(Selector::parse(&nested(MAX_DEPTH + 1)).unwrap_err(), error);
    assert_eq!(
        error.to_string(),
        "selector: expected at most 128 open parentheses, one more at column 129"
    );
    // One after the other is not one in the other.
    let flat = vec!["(1=1)"; 5000].join(" AND ");
    assert!(Selector::parse(&flat).unwrap().matches(&Values(&[])));
}

#[test]
fn chains_and_prefixes_nest_nothing() {
    let chains = [
        vec!["a"; 13_000].join(" OR "),
        vec!["a"; 32_000].join("+") + " = 1",
        "NOT ".repeat(16_000) + "a",
        "-".repeat(60_000) + "a = 1",
        format!("a IN ({})", vec!["1"; 32_000].join(",")),
    ];
    for text in &chains {
        assert!(!Selector::parse(text).unwrap().matches(&Values(&[])));
    }
    for unclosed in ["(".repeat(MAX_LENGTH), "'".repeat(MAX_LENGTH), "a IN (".repeat(10_000)] {
        assert!(Selector::parse(&unclosed).is_err());
    }
}

/// Every level with all the operators that a level can have.
#[test]
fn the_deepest_tree_fits_on_a_small_stack() {
    let level = |inner: String| format!("NOT NOT 1 + 1 * - - ({inner}) BETWEEN 0 AND 1 AND a OR a");
    let text = (0..MAX_DEPTH).fold("a".to_owned(), |inner, _| level(inner));
    let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(move || {
        let selector = Selector::parse(&text).expect("not too deep");
        assert!(!selector.matches(&Values(&[])));
        assert!(!format!("{selector:?}").is_empty());
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn identifiers_are_listed_once_up_to_a_bound() {
    let selector = Selector::parse("b = a OR \"b\" = 1 OR JMSType = c").unwrap();
    let names: Vec<_> = selector.identifiers().iter().map(|i| i.name()).collect();
    assert_eq!(names, ["b", "a", "JMSType", "c"]);

    let many = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("n{n} = n0")).collect();
        names.join(" OR ")
    };
    assert!(Selector::parse(&many(MAX_IDENTIFIERS)).is_ok());
    let error = Selector::parse(&many(MAX_IDENTIFIERS + 1)).unwrap_err();
    let column = many(MAX_IDENTIFIERS).len() + " OR ".len() + 1;
    assert_eq!(error, SelectorError::TooManyIdentifiers { column });
    assert_eq!(
        error.to_string(),
        format!("selector: expected at most 64 identifiers, one more at column {column}")
    );
}

#[test]
fn a_pattern_has_a_longest_text() {
    let like = |len: usize| format!("a LIKE '%{}%'", "_".repeat(len));
    assert!(Selector::parse(&like(MAX_PATTERN)).is_ok());
    let error = Selector::parse(&like(MAX_PATTERN + 1)).unwrap_err();
    assert_eq!(error, SelectorError::PatternTooLong { column: 8 });
    assert_eq!(
        error.to_string(),
        "selector: expected a pattern of at most 1023 characters at column 8"
    );
}

#[test]
fn patterns_are_counted() {
    let likes = |count: usize| vec!["a LIKE '%x'"; count].join(" OR ");
    assert!(Selector::parse(&likes(MAX_PATTERNS)).is_ok());
    let error = Selector::parse(&likes(MAX_PATTERNS + 1)).unwrap_err();
    let column = likes(MAX_PATTERNS + 1).len() - "'%x'".len() + 1;
    assert_eq!(error, SelectorError::TooManyPatterns { column });
    assert_eq!(
        error.to_string(),
        format!("selector: expected at most 256 LIKEs, one more at column {column}")
    );
}
