use super::super::error::MAX_PATTERN;
use super::super::like::Pattern;

fn pattern(text: &str, escape: Option<char>) -> Pattern {
    Pattern::new(text, escape).expect("not too long")
}

#[test]
fn patterns_match_whole_texts() {
    let table = [
        ("", "", true),
        ("", "a", false),
        ("a", "", false),
        ("a", "a", true),
        ("a", "A", false),
        ("a", "ab", false),
        ("%", "", true),
        ("%", "anything\n at all", true),
        ("%%", "a", true),
        ("_", "", false),
        ("_", "\n", true),
        ("_", "ab", false),
        ("__%", "a", false),
        ("__%", "ab", true),
        ("_%_", "ab", true),
        ("a%", "abc", true),
        ("a%", "ba", false),
        ("%c", "abc", true),
        ("%c", "abcd", false),
        ("a%c", "ac", true),
        ("a%c", "abcbc", true),
        ("%b%", "abc", true),
        ("%b%", "ac", false),
        ("%ab%ab%", "ab", false),
        ("%ab%ab%", "aab", false),
        ("%ab%ab%", "abab", true),
        ("%aab", "aaab", true),
        ("%a_c%", "xabxaxc", true),
        ("12%3", "123", true),
        ("12%3", "12993", true),
        ("12%3", "1234", false),
        ("l_se", "lose", true),
        ("l_se", "loose", false),
        // Nothing else is special.
        (".*", "ab", false),
        ("[a-z]+?{1}^$|\\(x)", "[a-z]+?{1}^$|\\(x)", true),
    ];
    for (like, text, expected) in table {
        assert_eq!(pattern(like, None).matches(text.as_bytes()), expected, "{text} LIKE {like}");
    }
}

#[test]
fn escape_takes_the_meaning_off_the_next_character() {
    let table = [
        ("!_%", "_foo", true),
        ("!_%", "bar", false),
        ("!%", "%", true),
        ("!%", "x", false),
        ("a!%b%", "a%bc", true),
        ("a!%b%", "axbc", false),
        ("!a", "a", true),
        // An escaped escape character is one, and at the end it is nothing.
        ("a!!b", "a!b", true),
        ("a!!b", "ab", false),
        ("a!!%", "a!b", true),
        ("ab!", "ab", true),
        ("!_%.%!_%!%", "_%%_some.th_ng_%", true),
    ];
    for (like, text, expected) in table {
        let matches = pattern(like, Some('!')).matches(text.as_bytes());
        assert_eq!(matches, expected, "{text} LIKE {like}");
    }
    assert!(pattern("€_", Some('€')).matches(b"_"));
    assert!(!pattern("€_", None).matches(b"_"));
}

#[test]
fn a_character_is_one_whatever_octets_it_takes() {
    assert!(pattern("_", None).matches("ä".as_bytes()));
    assert!(pattern("_", None).matches("🙂".as_bytes()));
    assert!(!pattern("__", None).matches("🙂".as_bytes()));
    assert!(pattern("%ß_", None).matches("Maßé".as_bytes()));
    assert!(!pattern("%\u{a4}%", None).matches("ä".as_bytes()), "its last octet is no character");
}

#[test]
fn octets_that_are_no_text_count_one_by_one() {
    assert!(pattern("__", None).matches(&[0xff, 0xe2]));
    assert!(pattern("a_b", None).matches(&[b'a', 0xe9, b'b']));
    assert!(pattern("__", None).matches(&[0xe2, 0x82]));
    assert!(pattern("_", None).matches(&[0xe2, 0x82, 0xac]));
    assert!(!pattern("ÿ", None).matches(&[0xff]));
    assert!(pattern("%", None).matches(&[0xff; 3]));
}

#[test]
fn rows_of_bits_are_as_long_as_the_pattern() {
    for len in [1, 62, 63, 64, 65, 127, 128, 500, MAX_PATTERN] {
        let text = "ab".repeat(len)[..len].to_owned();
        assert!(pattern(&text, None).matches(text.as_bytes()), "{len}");
        let floating = pattern(&format!("%{text}%"), None);
        assert!(floating.matches(format!("aba{text}bbb").as_bytes()), "{len}");
        assert!(!floating.matches(&text.as_bytes()[1..]), "{len}");
        assert!(!pattern(&text, None).matches(format!("{text}a").as_bytes()), "{len}");
        assert!(pattern(&"_".repeat(len), None).matches(text.as_bytes()), "{len}");
    }
    assert_eq!(Pattern::new(&"a".repeat(MAX_PATTERN + 1), None), None);
    assert!(pattern(&"%".repeat(50_000), None).matches(b"a"));
}

/// A matcher that goes back would take longer than the universe has.
#[test]
fn no_pattern_takes_forever() {
    let like = pattern(&"%a_".repeat(200), None);
    let text = "a".repeat(100_000) + "b";
    assert!(like.matches(text.as_bytes()));
    assert!(!pattern(&("%a".repeat(400) + "c"), None).matches(text.as_bytes()));
}
