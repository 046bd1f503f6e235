use super::super::number::{Malformed, Number, scan};
use super::super::token::{Lexer, Token};
use super::SelectorError;

fn identifier(name: &str) -> Token<'_> {
    Token::Identifier(name.into())
}

fn string(text: &str) -> Token<'_> {
    Token::Text(text.into())
}

/// The first word of a text, and what comes after it.
fn first(text: &str) -> Result<(Token<'_>, &str), SelectorError> {
    let (token, at) = Lexer::new(text).next()?;
    Ok((token, &text[at.end..]))
}

fn words(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer::new(text);
    let mut words = Vec::new();
    loop {
        match lexer.next().expect("words").0 {
            Token::End => return words,
            word => words.push(word),
        }
    }
}

#[test]
fn a_word_ends_where_the_next_one_begins() {
    let table = [
        ("", Token::End, ""),
        (" \t\r\n\x0b\x0c", Token::End, ""),
        ("nullable_1+x", identifier("nullable_1"), "+x"),
        ("\"null-1\"+x", identifier("null-1"), "+x"),
        ("\"an \"\"odd\"\" one\"+x", identifier("an \"odd\" one"), "+x"),
        ("\"\"x", identifier(""), "x"),
        ("\"NULL\"", identifier("NULL"), ""),
        ("$a.b_c1-d", identifier("$a.b_c1"), "-d"),
        ("größe=1", identifier("größe"), "=1"),
        ("ordering", identifier("ordering"), ""),
        ("null+x", Token::Null, "+x"),
        ("Is nOt null", Token::Is, " nOt null"),
        ("nOt null", Token::Not, " null"),
        ("eScape", Token::Escape, ""),
        ("TRUE(", Token::True, "("),
        ("'Good morning'", string("Good morning"), ""),
        ("'It''s late'and more", string("It's late"), "and more"),
        ("''''''", string("''"), ""),
        ("''", string(""), ""),
        ("=x", Token::Equal, "x"),
        ("<> x", Token::NotEqual, " x"),
        ("<=>", Token::AtMost, ">"),
        (">=", Token::AtLeast, ""),
        ("> =", Token::Greater, " ="),
        ("< >", Token::Less, " >"),
        ("(a or b)", Token::Open, "a or b)"),
        (") or b", Token::Close, " or b"),
        (",x", Token::Comma, "x"),
        ("*/", Token::Times, "/"),
        ("/*", Token::Over, "*"),
        ("+-", Token::Plus, "-"),
        ("-+", Token::Minus, "+"),
    ];
    for (text, token, rest) in table {
        assert_eq!(first(text), Ok((token, rest)), "{text}");
    }
}

#[test]
fn a_text_is_cut_into_all_its_words() {
    assert_eq!(words("  a =b"), [identifier("a"), Token::Equal, identifier("b")]);
    assert_eq!(
        words(" not 'the kitten''s mother' = Is null    "),
        [Token::Not, string("the kitten's mother"), Token::Equal, Token::Is, Token::Null]
    );
    let words = words("(a+.5)*7.5/1e6");
    assert_eq!(words.len(), 9);
    assert_eq!(words[3], Token::Approx(0.5));
    assert_eq!(words[8], Token::Approx(1e6));
    let mut lexer = Lexer::new(" ");
    assert_eq!(lexer.next(), Ok((Token::End, 1..1)));
    assert_eq!(lexer.next(), Ok((Token::End, 1..1)));
}

#[test]
fn every_reserved_word_is_one_in_either_case() {
    for word in "and between escape false in is like not null or true".split(' ') {
        for word in [word.to_owned(), word.to_uppercase()] {
            assert!(!matches!(first(&word), Ok((Token::Identifier(_), _))), "{word}");
            let longer = format!("{word}s");
            assert_eq!(first(&longer), Ok((identifier(&longer), "")));
        }
    }
}

#[test]
fn what_is_no_word_is_refused_where_it_stands() {
    let table = [
        ("'not closed", "expected a closing ' for the one at column 1, found the end"),
        ("  'it''s", "expected a closing ' for the one at column 3, found the end"),
        ("\"name", "expected a closing \" for the one at column 1, found the end"),
        (" ^", "expected a name, a value or an operator at column 2, found `^`"),
        ("?x", "expected a name, a value or an operator at column 1, found `?`"),
        ("\0", "expected a name, a value or an operator at column 1, found `\0`"),
        ("0b34", "expected a binary digit at column 3, found `34`"),
        ("0X_34", "expected a hexadecimal digit at column 3, found `_34`"),
        ("1.e.5", "expected a digit at column 4, found `.5`"),
        (".e5", "expected a digit at column 2, found `e5`"),
        ("34e", "expected a digit at column 4, found the end"),
        (".3e+", "expected a digit at column 5, found the end"),
        (".3e-(", "expected a digit at column 5, found `(`"),
        (".", "expected a digit at column 2, found the end"),
    ];
    for (text, expected) in table {
        let error = first(text).expect_err(text);
        assert_eq!(error.to_string(), format!("selector: {expected}"), "{text}");
    }
}

/// An integer by its value, or a number with a point.
#[derive(Debug, PartialEq)]
enum Is {
    Exact(i64),
    Approx(f64),
}

#[test]
fn numbers_end_and_mean_what_the_reference_says() {
    let table = [
        ("017kill", Is::Exact(15), "kill"),
        ("019kill", Is::Exact(1), "9kill"),
        ("08", Is::Exact(0), "8"),
        ("0kill", Is::Exact(0), "kill"),
        ("0AND", Is::Exact(0), "AND"),
        ("0_7", Is::Exact(7), ""),
        ("0.kill", Is::Approx(0.0), "kill"),
        ("0e5", Is::Approx(0.0), ""),
        ("0f", Is::Approx(0.0), ""),
        ("3.125=pi", Is::Approx(3.125), "=pi"),
        (".25.kill", Is::Approx(0.25), ".kill"),
        ("2e5.kill", Is::Approx(2e5), ".kill"),
        ("3.e50easy", Is::Approx(3e50), "easy"),
        ("34.25e+50easy", Is::Approx(34.25e50), "easy"),
        ("34.25E-50D", Is::Approx(34.25e-50), ""),
        ("34de", Is::Approx(34.0), "e"),
        ("34fuller", Is::Approx(34.0), "uller"),
        ("1000_020.4_0f", Is::Approx(1_000_020.4), ""),
        ("34Longer", Is::Exact(34), "onger"),
        ("34little", Is::Exact(34), "ittle"),
        ("034Longer", Is::Exact(28), "onger"),
        ("0X34little", Is::Exact(0x34), "ittle"),
        ("0X3456_fffflittle", Is::Exact(0x3456_ffff), "ittle"),
        ("0xdead_beafit", Is::Exact(0xdead_beaf), "it"),
        ("0b1_01L", Is::Exact(5), ""),
        ("0b12", Is::Exact(1), "2"),
        ("0x8000_0000_0000_0001", Is::Exact(i64::MIN + 1), ""),
        ("9223372036854775807", Is::Exact(i64::MAX), ""),
        ("0x800p-3", Is::Approx(256.0), ""),
        ("0x1P+4f", Is::Approx(16.0), ""),
        ("0x1p1023", Is::Approx(2f64.powi(1023)), ""),
        ("0x1p-1022", Is::Approx(f64::MIN_POSITIVE), ""),
        ("0x0p99999999999", Is::Approx(0.0), ""),
        // Halfway between two doubles, and a little more.
        ("0x20000000000001p0", Is::Approx(9_007_199_254_740_992.0), ""),
        ("0x2000000000000100000000001p-44", Is::Approx(9_007_199_254_740_994.0), ""),
        ("0.0e-9999", Is::Approx(0.0), ""),
    ];
    for (text, expected, rest) in table {
        let (number, len) = scan(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let number = match number {
            Number::Exact(integer) => Is::Exact(integer.signed(false).expect("in range")),
            Number::Approx(value) => Is::Approx(value),
        };
        assert_eq!((number, &text[len..]), (expected, rest), "{text}");
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let binary = format!("0b{}", "1".repeat(65));
    for text in ["18446744073709551616", "0x1_0000_0000_0000_0000", &binary] {
        let expected = Malformed { expected: "an integer that fits into 64 bits", at: 0 };
        assert_eq!(scan(text), Err(expected), "{text}");
    }
    for text in ["1e309", "1e-310", "1e-400", "0x1p1024", "0x1p-1080", "1e99999999999999999999"] {
        let expected = Malformed { expected: "a number that a double can hold", at: 0 };
        assert_eq!(scan(text), Err(expected), "{text}");
    }
}

#[test]
fn an_integer_is_in_range_with_its_sign() {
    let signed = |text: &str, is_negative| match scan(text) {
        Ok((Number::Exact(integer), _)) => integer.signed(is_negative).ok(),
        _ => panic!("{text}"),
    };
    assert_eq!(signed("9223372036854775807", true), Some(-i64::MAX));
    assert_eq!(signed("9223372036854775808", true), Some(i64::MIN));
    assert_eq!(signed("9223372036854775808", false), None);
    assert_eq!(signed("9223372036854775809", true), None);
    assert_eq!(signed("18446744073709551615", true), None);
    assert_eq!(signed("0xffff_ffff_ffff_ffff", false), Some(-1));
    assert_eq!(signed("0xffff_ffff_ffff_ffff", true), Some(1));
    assert_eq!(signed("01000000000000000000000", true), Some(i64::MIN));
}
