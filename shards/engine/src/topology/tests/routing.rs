//! Each kind of exchange, through requests.

use super::*;
use fletch_amqp::Value;
use fletch_amqp::types::Uuid;

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
    ] {
        for mode in ["all", "any"] {
            let found = matches(wanting(mode, &[("h", wanted.clone())]), &[("h", sent.clone())]);
            assert_eq!(found, expect, "{mode}: {wanted:?} against {sent:?}");
        }
    }
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
