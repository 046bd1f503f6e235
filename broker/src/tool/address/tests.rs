//! What addresses mean, and what is wrong with others.

use super::*;

fn parse(text: &str) -> Result<Address, AddressError> {
    Address::parse(text, || "unique".into())
}

fn parts(text: &str) -> (String, Option<String>) {
    let address = parse(text).unwrap_or_else(|error| panic!("{error}"));
    (address.name, address.subject)
}

#[test]
fn name_and_subject() {
    let cases = [
        ("q", "q", None),
        ("  q  ", "q", None),
        ("q/", "q", None),
        ("q;", "q", None),
        ("foo/bar.#", "foo", Some("bar.#")),
        ("foo.bar/baz.qux:moo:arf", "foo.bar", Some("baz.qux:moo:arf")),
        ("foo / bar ; {}", "foo", Some("bar")),
        ("t/a/b", "t", Some("a/b")),
        ("foo.bar/baz.{moo,arf; {}", "foo.bar", Some("baz.{moo,arf")),
        ("foo/'baz.qux;moo:arf'; {}", "foo", Some("baz.qux;moo:arf")),
        ("'a name'/\"a 'subject'\"", "a name", Some("a 'subject'")),
        (r"foo\/bar", "foo/bar", None),
        (r"'it\'s'", "it's", None),
        (r"a\x41\u00e9", "aA\u{e9}", None),
    ];
    for (text, name, subject) in cases {
        assert_eq!(parts(text), (name.to_owned(), subject.map(str::to_owned)), "{text}");
    }
}

#[test]
fn a_leading_hash_is_a_unique_name() {
    let address = parse("#tmp").expect("valid");
    assert_eq!((address.name.as_str(), address.temporary), ("unique#tmp", true));
    let address = parse("a#b").expect("valid");
    assert_eq!((address.name.as_str(), address.temporary), ("a#b", false));
}

#[test]
fn all_options() {
    let address = parse(
        "q/s; {create: always, assert: sender, delete: receiver, mode: browse, \
         node: {type: topic, durable: True, x-declare: {type: fanout, 'auto-delete': true, exclusive: 0, \
         alternate_exchange: amq.fanout, arguments: {'qpid.max_count': 10, x: 1.5, l: [a, None, 18446744073709551615],}}, \
         x-bindings: [{exchange: amq.topic, queue: q2, key: 'a.#', arguments: {x-match: all}}]}, \
         link: {name: 7, durable: true, reliability: at-most-once, timeout: 5, selector: \"a = 'b'\", \
         x-subscribe: {exclusive: true, arguments: {n: 1}}, x-declare: {exclusive: false}, x-bindings: []}}",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let options = address.options;
    assert_eq!((options.create, options.create_given), (Policy::Always, true));
    assert_eq!((options.assert, options.delete), (Policy::Sender, Policy::Receiver));
    assert_eq!(options.mode, Mode::Browse);
    let node = options.node;
    assert_eq!((node.kind, node.durable), (Some(NodeKind::Topic), true));
    assert_eq!(node.declare.exchange_type.as_deref(), Some("fanout"));
    assert_eq!((node.declare.auto_delete, node.declare.exclusive), (Some(true), Some(false)));
    assert_eq!(node.declare.alternate_exchange.as_deref(), Some("amq.fanout"));
    assert_eq!(node.declare.arguments.get_int("qpid.max_count"), Some(10));
    let list = node.declare.arguments.get("l").and_then(|l| l.as_list()).expect("a list");
    assert_eq!(list.0[2].as_u64(), Some(u64::MAX));
    assert_eq!(node.bindings[0].key.as_deref(), Some("a.#"));
    assert_eq!(node.bindings[0].arguments.get_str("x-match"), Some("all"));
    let link = options.link;
    assert_eq!((link.name.as_deref(), link.timeout), (Some("7"), Some(5)));
    assert_eq!(link.reliability, Some(Reliability::AtMostOnce));
    assert_eq!(link.selector.as_deref(), Some("a = 'b'"));
    assert_eq!(link.subscribe.exclusive, Some(true));
    assert_eq!(link.declare.exclusive, Some(false));
}

#[test]
fn errors_point_at_the_column() {
    let cases = [
        ("", 1, "expected a name"),
        ("/s", 1, "expected a name"),
        ("; {}", 1, "expected a name"),
        ("a b", 3, "expected the end, found 'b'"),
        ("q; {", 5, "expected a key or '}', found the end"),
        ("q; { 3", 7, "expected ':' after the key, found the end"),
        ("q; { key:", 10, "expected a value, found the end"),
        ("q; { key: value", 16, "expected ',' or '}', found the end"),
        ("q; { key: [ 1 2 ] }", 15, "expected ',' or ']', found '2'"),
        ("q; {} x", 7, "expected the end, found 'x'"),
        ("q; 'x'", 4, "expected '{', found '''"),
        ("'q", 1, "unmatched '"),
        ("\u{e9}; {creat: always}", 5, "an address has no option 'creat'"),
        ("q; {create: sometimes}", 13, "'sometimes' is none of always, sender, receiver, never"),
        ("q; {node: {durable: 3}}", 21, "expected true or false, found a number"),
        ("q; {node: x}", 11, "expected a map, found text"),
        ("q; {node: {x-declare: {passive: true}}}", 24, "x-declare has no option 'passive'"),
        ("q; {link: {timeout: -1}}", 21, "expected seconds, found a number"),
        ("q\\", 2, "a backslash before nothing"),
        ("q\\ud800", 2, "not the number of a character"),
    ];
    for (text, column, message) in cases {
        let error = parse(text).expect_err(text);
        assert_eq!((error.column, error.message.as_str()), (column, message), "{text}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let text = format!("q; {}", "{a:".repeat(100_000));
    assert!(parse(&text).expect_err("too deep").message.contains("too deep"));
}

#[test]
fn no_text_makes_it_panic() {
    let alphabet: Vec<char> = "q/;{}[]:,'\"\\xu#1.- \u{e9}\u{1f600}".chars().collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let text: String = (0..12)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                alphabet[(seed >> 33) as usize % alphabet.len()]
            })
            .collect();
        let _ = parse(&text);
        let _ = parse(&format!("q; {{node: {text}}}"));
        let _ = parse_map(&text);
    }
}

#[test]
fn words_are_what_they_look_like() {
    let cases = [
        ("1", Literal::Int(1)),
        ("-3", Literal::Int(-3)),
        ("18446744073709551615", Literal::Uint(u64::MAX)),
        ("1.5", Literal::Double(1.5)),
        ("TRUE", Literal::Boolean(true)),
        ("None", Literal::Void),
        ("inf", Literal::Text("inf".into())),
        ("-inf", Literal::Text("-inf".into())),
        ("1.2.3", Literal::Text("1.2.3".into())),
        ("amq.topic", Literal::Text("amq.topic".into())),
    ];
    for (word, literal) in cases {
        assert_eq!(Literal::of_word(word), literal);
    }
}
