//! Each kind of exchange, through requests.

use super::*;
use fletch_amqp::Value;
use fletch_amqp::types::{Array, List, Uuid};

fn broker(queues: &[&str]) -> (Broker, SessionId) {
    let (mut b, s) = (Broker::new(2), session(1, 1));
    for name in queues {
        b.ok(s, queue(name));
    }
    (b, s)
}

#[test]
fn default_exchange_routes_by_queue_name() {
    let (b, _) = broker(&["q", "r"]);
    assert_eq!(b.goes_to("", "q"), ["q"]);
    assert_eq!(b.route("", &keyed("nobody")), None);
}

#[test]
fn unknown_exchange_is_not_found() {
    let (b, _) = broker(&[]);
    let mut routes = Routes::default();
    let error = b.replicas[1].route("x", &keyed("k"), &mut routes).unwrap_err();
    assert_eq!(error, Error::not_found("Exchange not found: x"));
}

#[test]
fn direct() {
    let (mut b, s) = broker(&["q", "r"]);
    for (queue, key) in [("q", "k"), ("r", "k"), ("q", "l"), ("q", "k")] {
        b.ok(s, bind(queue, "amq.direct", key));
    }
    assert_eq!(b.goes_to("amq.direct", "k"), ["q", "r"]);
    assert_eq!(b.goes_to("amq.direct", "l"), ["q"]);
    assert_eq!(b.goes_to("amq.direct", ""), [""; 0]);
    b.ok(s, unbind("q", "amq.direct", "k"));
    b.ok(s, unbind("q", "amq.direct", "never"));
    assert_eq!(b.goes_to("amq.direct", "k"), ["r"]);
    assert_eq!(b.goes_to("amq.direct", "l"), ["q"]);
}

#[test]
fn topic_delivers_once_per_queue() {
    let (mut b, s) = broker(&["q", "r"]);
    for (queue, key) in [("q", "a.*"), ("q", "a.#"), ("q", "#.b"), ("r", "#"), ("q", "a.b")] {
        b.ok(s, bind(queue, "amq.topic", key));
    }
    assert_eq!(b.goes_to("amq.topic", "a.b"), ["q", "r"]);
    assert_eq!(b.goes_to("amq.topic", "c"), ["r"]);
    // Another way to write `*.#` is the same binding.
    b.ok(s, bind("q", "amq.topic", "#.*"));
    b.ok(s, unbind("q", "amq.topic", "*.#"));
    b.ok(s, delete("r"));
    assert_eq!(b.goes_to("amq.topic", "c"), [""; 0]);
}

#[test]
fn fanout_has_one_binding_per_queue() {
    let (mut b, s) = broker(&["q", "r"]);
    for (queue, key) in [("q", ""), ("q", "k"), ("r", "")] {
        b.ok(s, bind(queue, "amq.fanout", key));
    }
    assert_eq!(b.goes_to("amq.fanout", "x"), ["q", "r"]);
    b.ok(s, unbind("q", "amq.fanout", "whatever"));
    assert_eq!(b.goes_to("amq.fanout", "x"), ["r"]);
    assert_eq!(b.replicas[1].exchange("amq.fanout").unwrap().bindings(), 1);
}

#[test]
fn a_large_fanout_is_one_push_each() {
    let (mut b, s) = (Broker::new(1), session(0, 1));
    for n in 0..10_000 {
        b.ok(s, queue(&format!("q{n}")));
        b.ok(s, bind(&format!("q{n}"), "amq.fanout", ""));
    }
    let mut routes = Routes::default();
    assert!(b.replicas[0].route("amq.fanout", &keyed(""), &mut routes).unwrap());
    assert_eq!(routes.len(), 10_000);
    for n in (0..10_000).step_by(2) {
        b.ok(s, delete(&format!("q{n}")));
    }
    routes.clear();
    assert!(b.replicas[0].route("amq.fanout", &keyed(""), &mut routes).unwrap());
    assert_eq!(routes.len(), 5_000);
}

#[test]
fn routes_group_by_home() {
    let mut b = Broker::new(4);
    for n in 0..8 {
        let s = session(n % 4, 1);
        b.ok(s, auto_delete(&format!("q{n}")));
        b.ok(s, bind(&format!("q{n}"), "amq.fanout", ""));
    }
    let mut routes = Routes::default();
    b.replicas[3].route("amq.fanout", &keyed(""), &mut routes).unwrap();
    routes.sort_by_home();
    let groups: Vec<(u16, usize)> = routes.by_home().map(|(h, g)| (h.0, g.len())).collect();
    assert_eq!(groups, [(0, 2), (1, 2), (2, 2), (3, 2)]);
}

fn headers(entries: &[(&str, Value)]) -> Map {
    entries.iter().cloned().fold(Map::new(), |map, (key, value)| map.with(key, value))
}

fn wanting(mode: &str, entries: &[(&str, Value)]) -> Map {
    headers(entries).with("x-match", mode)
}

fn matches(arguments: Map, sent: &[(&str, Value)]) -> bool {
    let (mut b, s) = broker(&["q"]);
    b.ok(s, bind_with("q", "amq.match", "", arguments));
    b.route("amq.match", &message("", &headers(sent))).is_some()
}

#[test]
fn headers_all_and_any() {
    let fred = ("name", Value::from("fred"));
    let three = ("age", Value::Int32(3));
    let extra = ("extra", Value::Void);
    let both = [fred.clone(), three.clone()];
    assert!(matches(wanting("all", &both), &both));
    assert!(matches(wanting("all", &both), &[extra.clone(), three.clone(), fred.clone()]));
    assert!(!matches(wanting("all", &both), std::slice::from_ref(&fred)));
    assert!(!matches(wanting("all", &both), &[fred.clone(), ("age", Value::Int32(2))]));
    assert!(matches(wanting("any", &both), &[extra, three]));
    assert!(matches(wanting("any", &both), &[fred]));
    assert!(!matches(wanting("any", &both), &[]));
    assert!(matches(wanting("all", &[]), &[]));
    assert!(!matches(wanting("any", &[]), &both));
    // The broker's own arguments are not asked of messages.
    assert!(matches(wanting("all", &[("qpid.fed.origin", Value::from("x"))]), &[]));
}

#[test]
fn headers_compare_values_by_meaning() {
    let str16 = |text: &str| Value::Str16(text.into());
    let octets = |octets: &[u8]| Value::Vbin32(octets.into());
    let uuid = |n| Value::Uuid(Uuid([n; 16]));
    let map = |n| Value::Map(Map::new().with("n", Value::Int32(n)));
    let list = |of: &[i32]| Value::List(List(of.iter().map(|n| Value::Int32(*n)).collect()));
    let wide = |of: &[u64]| Value::List(List(of.iter().map(|n| Value::Uint64(*n)).collect()));
    let array = |of: &[i8]| Array::of(of.iter().map(|n| Value::Int8(*n)).collect()).unwrap();
    let pair = |[a, b]: [&str; 2]| {
        let of = |map: Map, key: &str| map.with(key, Value::Int32(i32::from(key.as_bytes()[0])));
        Value::Map(of(of(Map::new(), a), b))
    };
    let void_in_list = || Value::List(List(vec![Value::Void]));
    for (wanted, sent, expect) in [
        (str16("a"), str16("a"), true),
        (str16("a"), Value::Str8("a".into()), true),
        (str16("a"), octets(b"a"), true),
        (str16("a"), str16("b"), false),
        (str16("1"), Value::Int32(1), false),
        // An int is not an empty string, nor an absent number zero.
        (Value::Int32(1), str16(""), false),
        (str16("x"), Value::Int32(0), false),
        (Value::Int32(3), Value::Uint8(3), true),
        (Value::Int8(-1), Value::Int64(-1), true),
        (Value::Int64(-1), Value::Uint64(u64::MAX), false),
        (Value::Uint64(u64::MAX), Value::Uint64(u64::MAX), true),
        (Value::Boolean(true), Value::Boolean(true), true),
        (Value::Boolean(true), Value::Boolean(false), false),
        (Value::Boolean(true), Value::Int32(1), true),
        (Value::Double(1.5), Value::Float(1.5), true),
        (Value::Float(1.5), Value::Float(1.25), false),
        (Value::Double(1.0), Value::Int32(1), false),
        (Value::Void, str16("anything"), true),
        (Value::Void, Value::Void, true),
        (str16("a"), Value::Void, false),
        (uuid(1), uuid(1), true),
        (uuid(1), uuid(2), false),
        (map(1), map(1), true),
        (map(1), map(2), false),
        (Value::Void, map(1), true),
        (Value::Datetime(7), Value::Datetime(7), true),
        // Every width of every number.
        (Value::Int16(-7), Value::Int8(-7), true),
        (Value::Int32(-7), Value::Int16(-7), true),
        (Value::Uint16(7), Value::Uint32(7), true),
        (Value::Uint64(7), Value::Int8(7), true),
        (Value::Int64(i64::MAX), Value::Uint64(i64::MAX as u64), true),
        (Value::Int64(i64::MIN), Value::Uint64(1 << 63), false),
        (Value::Float(0.5), Value::Double(0.5), true),
        (Value::Double(0.1), Value::Float(0.1), false),
        (Value::Double(0.0), Value::Double(-0.0), true),
        (Value::Double(f64::NAN), Value::Double(f64::NAN), false),
        // Text in every encoding.
        (Value::Str8("é".into()), Value::Str8Latin(vec![0xe9]), true),
        (Value::Str16Latin(vec![0xe9]), Value::Str16("é".into()), true),
        (Value::Str8Utf16(vec![0, 0xe9]), Value::Str8("é".into()), true),
        (Value::Str16("é".into()), Value::Str16Utf16(vec![0, 0xe9]), true),
        (Value::Vbin8(vec![0xff, 0]), Value::Vbin16(vec![0xff, 0]), true),
        (Value::Vbin8(vec![0xff, 0]), Value::Vbin8(vec![0xff]), false),
        // The same type and octets.
        (Value::Char(b'a'), Value::Char(b'a'), true),
        (Value::CharUtf32(0x20ac), Value::CharUtf32(0x20ac), true),
        (Value::CharUtf32(0x61), Value::Char(b'a'), false),
        (Value::Bin64([1; 8]), Value::Bin64([1; 8]), true),
        (Value::Bin64([1; 8]), Value::Bin64([2; 8]), false),
        (Value::Bin128([1; 16]), uuid(1), false),
        (Value::Dec32([1; 5]), Value::Dec32([1; 5]), true),
        (Value::Dec64([1; 9]), Value::Dec32([1; 5]), false),
        (Value::Bit, Value::Bit, true),
        (Value::Struct32(vec![4, 1]), Value::Struct32(vec![4, 1]), true),
        // Whatever holds values.
        (list(&[1, 2]), list(&[1, 2]), true),
        (list(&[1, 2]), list(&[2, 1]), false),
        (list(&[1, 2]), list(&[1, 2, 3]), false),
        (list(&[1, 2]), wide(&[1, 2]), true),
        (list(&[1]), Value::Array(array(&[1])), true),
        (Value::Array(array(&[1])), Value::Array(array(&[2])), false),
        (list(&[]), Value::Void, false),
        (pair(["a", "b"]), pair(["b", "a"]), true),
        (map(1), pair(["n", "b"]), false),
        (map(1), Value::Map(Map::new().with("n", Value::Uint8(1))), true),
        (void_in_list(), void_in_list(), true),
        (void_in_list(), list(&[1]), false),
    ] {
        for mode in ["all", "any"] {
            let found = matches(wanting(mode, &[("h", wanted.clone())]), &[("h", sent.clone())]);
            assert_eq!(found, expect, "{mode}: {wanted:?} against {sent:?}");
        }
    }
}

#[test]
fn messages_of_1_0_are_routed_by_what_they_say() {
    use crate::testing::{Says, symbol, text};
    use fletch_amqp::v1_0::message::Section;
    use fletch_amqp::v1_0::table::Properties;
    use fletch_amqp::v1_0::types::Value as New;

    let (mut b, s) = broker(&["all", "key", "query"]);
    let both = [("name", Value::from("fred")), ("age", Value::Int32(3))];
    let query = "declare variable $name external; $name = 'fred' and /order/n > 10";
    b.ok(s, exchange("x", "xml"));
    b.ok(s, bind_with("all", "amq.match", "", wanting("all", &both)));
    b.ok(s, bind("key", "amq.topic", "eu.*"));
    b.ok(s, bind_with("query", "x", "eu.new", Map::new().with("xquery", query)));
    let application = vec![(text("name"), symbol("fred")), (text("age"), New::Ulong(3))];
    let properties = Properties { subject: Some("eu.new"), ..Properties::default() };
    let body = |n: &str| vec![(Section::Data, New::Binary(n.as_bytes().to_vec()))];
    let large = Says {
        properties,
        application,
        body: body("<order><n>11</n></order>"),
        ..Default::default()
    };
    let small = Says { body: body("<order><n>9</n></order>"), ..large.clone() };
    let goes = |exchange, says: &Says<'_>| b.route(exchange, &says.message()).unwrap_or_default();
    assert_eq!(goes("amq.match", &large), ["all"]);
    assert_eq!(goes("amq.topic", &large), ["key"]);
    assert_eq!((goes("x", &large), goes("x", &small)), (vec!["query".to_owned()], vec![]));
    let none = Says { application: vec![], ..large };
    assert_eq!((goes("amq.match", &none), goes("x", &none)), (vec![], vec![]));
}

#[test]
fn headers_deliver_once_per_queue() {
    let (mut b, s) = broker(&["q"]);
    let (fred, three) = (("name", Value::from("fred")), ("age", Value::Int32(3)));
    b.ok(s, bind_with("q", "amq.match", "k1", wanting("any", std::slice::from_ref(&fred))));
    b.ok(s, bind_with("q", "amq.match", "k2", wanting("all", std::slice::from_ref(&three))));
    let sent = message("", &headers(&[fred, three.clone()]));
    assert_eq!(b.route("amq.match", &sent).unwrap(), ["q"]);
    b.ok(s, unbind("q", "amq.match", "k1"));
    assert_eq!(b.route("amq.match", &sent).unwrap(), ["q"]);
    b.ok(s, unbind("q", "amq.match", "k2"));
    assert_eq!(b.route("amq.match", &sent), None);
}

#[test]
fn malformed_headers_match_nothing() {
    let (mut b, s) = broker(&["q"]);
    b.ok(s, bind_with("q", "amq.match", "", wanting("any", &[("h", Value::Void)])));
    let meta = keyed("").meta().clone();
    for junk in [&b"\xff\xff\xff\xff"[..], b"", b"\0\0\0\x06\x04\x03\xff\xff\0\0"] {
        let header_len = junk.len() as u32;
        let meta = Meta { header_len, routing_key: (0, 0), ..meta.clone() };
        assert_eq!(b.route("amq.match", &Message::new(meta, junk)), None);
    }
}

fn with_content(key: &str, headers: &Map, content: &str) -> Message {
    let message = message(key, headers);
    let all = [message.header(), content.as_bytes()].concat();
    Message::new(message.meta().clone(), &all)
}

#[test]
fn xml_routes_by_key_and_query() {
    let (mut b, s) = broker(&["all", "big", "from", "broken"]);
    b.ok(s, exchange("x", "xml"));
    let query = |text: &str| Map::new().with("xquery", text);
    let from = "declare variable $from external; $from = 'me'";
    b.ok(s, bind("all", "x", "k"));
    b.ok(s, bind_with("big", "x", "k", query("/order/n > 10")));
    b.ok(s, bind_with("from", "x", "k", query(from)));
    b.ok(s, bind_with("from", "x", "l", query("true()")));
    let me = Map::new().with("from", "me");
    let goes = |b: &Broker, key, headers: &Map, content| {
        b.route("x", &with_content(key, headers, content)).unwrap_or_default()
    };
    assert_eq!(goes(&b, "k", &me, "<order><n>11</n></order>"), ["all", "big", "from"]);
    assert_eq!(goes(&b, "k", &Map::new(), "<order><n>9</n></order>"), ["all"]);
    assert_eq!(goes(&b, "k", &me, "no document"), ["all", "from"]);
    assert_eq!(goes(&b, "l", &Map::new(), ""), ["from"]);
    assert_eq!(goes(&b, "m", &me, "<order/>"), [""; 0]);
    // One that cannot be read is refused, with what is wrong in it.
    let refused = b.refused(s, bind_with("broken", "x", "k", query("/order[n > ")));
    let text = "Could not parse xquery:/order[n > : an expression expected at 11, found the end";
    assert_eq!(refused, (ErrorKind::Internal, text.into()));
    let number = bind_with("broken", "x", "k", Map::new().with("xquery", 1));
    assert_eq!(b.refused(s, number).0, ErrorKind::Internal);
    // As in the reference, a queue has one binding for each key, the first.
    b.ok(s, bind_with("big", "x", "k", query("true()")));
    assert_eq!(goes(&b, "k", &Map::new(), "<order><n>9</n></order>"), ["all"]);
    b.ok(s, unbind("all", "x", "k"));
    b.ok(s, delete("from"));
    assert_eq!(goes(&b, "k", &me, "<order><n>11</n></order>"), ["big"]);
    assert_eq!(b.replicas[1].exchange("x").unwrap().bindings(), 1);
    let bound = |queue, key| b.replicas[1].bound("x", queue, key, &Map::new());
    assert_eq!(bound(Some("big"), Some("k")), crate::request::BoundReport::default());
    assert!(bound(Some("all"), None).queue_not_matched);
    assert!(bound(None, Some("l")).key_not_matched);
}

#[test]
fn alternate_is_asked_once() {
    let (mut b, s) = broker(&["q", "last"]);
    b.ok(s, exchange("third", "fanout"));
    b.ok(s, with_alternate("second", "direct", "third"));
    b.ok(s, with_alternate("first", "direct", "second"));
    b.ok(s, bind("last", "third", ""));
    b.ok(s, bind("q", "second", "k"));
    assert_eq!(b.goes_to("first", "k"), ["q"]);
    assert_eq!(b.goes_to("second", "other"), ["last"]);
    assert_eq!(b.route("first", &keyed("other")), None);
}

#[test]
fn routing_appends() {
    let (b, _) = broker(&["q", "r"]);
    let mut routes = Routes::default();
    assert!(b.replicas[0].route("", &keyed("q"), &mut routes).unwrap());
    assert!(b.replicas[0].route("", &keyed("r"), &mut routes).unwrap());
    assert!(!b.replicas[0].route("", &keyed("none"), &mut routes).unwrap());
    assert_eq!(routes.len(), 2);
}
