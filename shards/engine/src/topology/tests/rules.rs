//! Who may do what, and what is said to those who may not.

use super::*;
use crate::error::ErrorKind::*;
use crate::request::BoundReport;
use fletch_amqp::Value;

fn broker() -> (Broker, SessionId, SessionId) {
    (Broker::new(2), session(0, 1), session(1, 1))
}

#[test]
fn queue_names() {
    let (mut b, s, _) = broker();
    assert_eq!(b.refused(s, queue("")), (IllegalArgument, "No queue name specified.".into()));
    assert_eq!(b.refused(s, queue(&"x".repeat(256))).0, InvalidArgument);
    b.ok(s, queue(&"x".repeat(255)));
}

#[test]
fn exclusive_queues_are_their_owners() {
    let (mut b, s, other) = broker();
    b.ok(s, exclusive("q"));
    b.ok(s, exclusive("q"));
    b.ok(s, bind("q", "amq.fanout", ""));
    // Anybody may see it: replies are addressed so.
    b.ok(other, queue("q"));
    for (request, text) in [
        (exclusive("q"), "Cannot grant exclusive access to queue q"),
        (delete("q"), "Cannot delete queue q; it is exclusive to another session"),
        (bind("q", "amq.direct", "k"), "Cannot bind queue q; it is exclusive to another session"),
        (
            unbind("q", "amq.fanout", ""),
            "Cannot unbind queue q; it is exclusive to another session",
        ),
    ] {
        assert_eq!(b.refused(other, request), (ResourceLocked, text.into()));
    }
    b.ok(s, delete("q"));
}

#[test]
fn passive_declares_are_answered_by_any_replica() {
    let (mut b, s, other) = broker();
    b.ok(s, exclusive("mine"));
    b.ok(s, queue("free"));
    let t = &b.replicas[1];
    let check = |who, name: &str, exclusive| {
        let declare = DeclareQueue { passive: true, exclusive, ..declare(name) };
        t.check_queue(who, &declare).map_err(|e| (e.kind, e.text))
    };
    assert_eq!(check(other, "mine", false), Ok(()));
    assert_eq!(check(s, "mine", true), Ok(()));
    let locked = |name| (ResourceLocked, format!("Cannot grant exclusive access to queue {name}"));
    assert_eq!(check(other, "mine", true), Err(locked("mine")));
    assert_eq!(check(other, "free", true), Err(locked("free")));
    assert_eq!(check(s, "no", false), Err((NotFound, "Queue not found: no".into())));
    assert_eq!(check(s, "", false).unwrap_err().0, IllegalArgument);

    let check = |name: &str, kind: &str, alternate: Option<&str>| {
        let alternate = alternate.map(Into::into);
        t.check_exchange(&DeclareExchange { alternate, ..declare_exchange(name, kind) })
            .map_err(|e| e.kind)
    };
    assert_eq!(check("amq.direct", "", None), Ok(()));
    assert_eq!(check("amq.direct", "direct", Some("")), Ok(()));
    assert_eq!(check("amq.direct", "topic", None), Err(NotAllowed));
    assert_eq!(check("amq.direct", "", Some("amq.topic")), Err(NotAllowed));
    assert_eq!(check("amq.direct", "", Some("no")), Err(NotFound));
    assert_eq!(check("humpty_dumpty", "", None), Err(NotFound));
}

#[test]
fn consuming_from_an_exclusive_queue() {
    let (mut b, s, other) = broker();
    b.ok(s, exclusive("q"));
    let subscribe = |mode| request::Subscribe {
        tag: 1,
        queue: "q".into(),
        mode,
        settles: true,
        exclusive: false,
        selector: None,
        arguments: Map::new(),
    };
    let check = |who, mode| {
        let found = b.replicas[1].check_subscribe(who, &subscribe(mode));
        found.map(|q| q.name.to_string()).map_err(|e| e.text)
    };
    assert_eq!(check(s, request::Mode::Consume), Ok("q".into()));
    assert_eq!(check(other, request::Mode::Browse), Ok("q".into()));
    let text = "Cannot subscribe to exclusive queue q";
    assert_eq!(check(other, request::Mode::Consume), Err(text.into()));
}

#[test]
fn exchange_names_and_types() {
    let (mut b, s, other) = broker();
    for name in ["amq.", "amq.x", "amq.direct", "qpid.", "qpid.management"] {
        let text = format!(
            "Exchange names beginning with \"amq.\" or \"qpid.\" are reserved. \
             (exchange=\"{name}\")"
        );
        assert_eq!(b.refused(s, exchange(name, "direct")), (NotAllowed, text));
    }
    for name in ["amq", "mq.", ".amq.", "abc.amq.", "qpid", "pid."] {
        b.ok(s, exchange(name, "topic"));
        b.ok(s, delete_exchange(name));
    }
    let text = "Exchange type not implemented: invalid_type";
    assert_eq!(b.refused(s, exchange("x", "invalid_type")), (NotFound, text.into()));
    assert_eq!(b.refused(s, exchange(&"x".repeat(256), "direct")).0, InvalidArgument);
    b.ok(s, exchange("x", "direct"));
    b.ok(other, exchange("x", "direct"));
    let text = "Exchange declared to be of type direct, requested topic";
    assert_eq!(b.refused(other, exchange("x", "topic")), (NotAllowed, text.into()));
    // The flags of one that exists are not compared.
    let declare = DeclareExchange { durable: true, auto_delete: true, ..declare_exchange("x", "") };
    b.ok(s, TopologyRequest::DeclareExchange(declare));
    assert_eq!(b.refused(s, delete_exchange("no")), (NotFound, "Exchange not found: no".into()));
    let text = "Cannot delete default exchange: 'amq.match'";
    assert_eq!(b.refused(s, delete_exchange("amq.match")), (NotAllowed, text.into()));
}

#[test]
fn default_exchange_cannot_be_touched() {
    let (mut b, s, _) = broker();
    b.ok(s, queue("q"));
    for (request, text) in [
        (bind("q", "", "k"), "Bind not allowed for default exchange"),
        (unbind("q", "", "q"), "Unbind not allowed for default exchange"),
        (delete_exchange(""), "Delete not allowed for default exchange"),
    ] {
        assert_eq!(b.refused(s, request), (InvalidArgument, text.into()));
    }
}

#[test]
fn missing_ends_of_bindings() {
    let (mut b, s, _) = broker();
    b.ok(s, queue("q"));
    for (request, text) in [
        (bind("no", "amq.direct", "k"), "Bind failed. No such queue: no"),
        (unbind("no", "amq.direct", "k"), "Unbind failed. No such queue: no"),
        (bind("q", "no", "k"), "Exchange not found: no"),
        (unbind("q", "no", "k"), "Exchange not found: no"),
        (delete("no"), "Delete failed. No such queue: no"),
    ] {
        assert_eq!(b.refused(s, request), (NotFound, text.into()));
    }
}

#[test]
fn headers_bindings_say_how_to_match() {
    let (mut b, s, _) = broker();
    b.ok(s, queue("q"));
    for arguments in [
        Map::new(),
        Map::new().with("x-match", "some"),
        Map::new().with("x-match", Value::Int32(1)),
    ] {
        let request = bind_with("q", "amq.match", "", arguments);
        assert_eq!(b.refused(s, request).0, Internal);
    }
    let all = Map::new().with("x-match", "all").with("a", "A");
    b.ok(s, bind_with("q", "amq.match", "k", all.clone()));
    b.ok(s, bind_with("q", "amq.match", "k", all.clone()));
    let text = "Exchange: amq.match, binding key: k Duplicate binding key not allowed.";
    let other = bind_with("q", "amq.match", "k", all.with("b", "B"));
    assert_eq!(b.refused(s, other), (Internal, text.into()));
    assert_eq!(b.replicas[1].exchange("amq.match").unwrap().bindings(), 1);
}

#[test]
fn alternates_exist_as_long_as_they_are_used() {
    let (mut b, s, _) = broker();
    let missing = (NotFound, "Exchange not found: no".to_string());
    assert_eq!(b.refused(s, with_alternate("x", "direct", "no")), missing);
    let of_queue = |name, alternate: &str| {
        let alternate = Some(alternate.into());
        TopologyRequest::DeclareQueue(DeclareQueue { alternate, ..declare(name) })
    };
    assert_eq!(b.refused(s, of_queue("q", "no")), missing);

    b.ok(s, exchange("alt", "fanout"));
    b.ok(s, with_alternate("x", "direct", "alt"));
    b.ok(s, of_queue("q", "alt"));
    let used = (NotAllowed, "Cannot delete alt, in use as alternate-exchange.".to_string());
    assert_eq!(b.refused(s, delete_exchange("alt")), used);
    b.ok(s, delete("q"));
    assert_eq!(b.refused(s, delete_exchange("alt")), used);

    b.ok(s, exchange("x", "direct"));
    b.ok(s, with_alternate("x", "direct", ""));
    let text = "Exchange declared with alternate-exchange alt, requested amq.topic";
    let changed = with_alternate("x", "direct", "amq.topic");
    assert_eq!(b.refused(s, changed), (NotAllowed, text.into()));
    b.ok(s, exchange("none", "direct"));
    let text = "Exchange declared with alternate-exchange <none>, requested alt";
    let added = with_alternate("none", "direct", "alt");
    assert_eq!(b.refused(s, added), (NotAllowed, text.into()));

    b.ok(s, delete_exchange("x"));
    b.ok(s, delete_exchange("alt"));
}

#[test]
fn deleting_a_bound_exchange() {
    let (mut b, s, _) = broker();
    b.ok(s, exchange("x", "topic"));
    b.ok(s, queue("q"));
    for key in ["a", "b.#", "*"] {
        b.ok(s, bind("q", "x", key));
    }
    b.ok(s, bind("q", "amq.topic", "a"));
    let if_unused = || TopologyRequest::DeleteExchange { name: "x".into(), if_unused: true };
    let text = "Cannot delete exchange x; exchange in use";
    assert_eq!(b.refused(s, if_unused()), (PreconditionFailed, text.into()));
    b.ok(s, delete_exchange("x"));
    assert_eq!(b.replicas[1].bindings_of(b.queue("q")).len(), 1);
    b.ok(s, exchange("x", "direct"));
    b.ok(s, if_unused());
    // Its bindings went with it, not with the queue.
    b.ok(s, delete("q"));
}

#[test]
fn auto_delete_exchanges_go_with_their_last_binding() {
    let (mut b, s, _) = broker();
    let auto = || {
        let declare = declare_exchange("x", "direct");
        TopologyRequest::DeclareExchange(DeclareExchange { auto_delete: true, ..declare })
    };
    b.ok(s, auto());
    b.ok(s, queue("q"));
    b.ok(s, bind("q", "x", "a"));
    b.ok(s, bind("q", "x", "b"));
    b.ok(s, unbind("q", "x", "a"));
    assert!(b.replicas[1].exchange("x").is_some());
    b.ok(s, unbind("q", "x", "b"));
    assert!(b.replicas[1].exchange("x").is_none());

    b.ok(s, auto());
    b.ok(s, bind("q", "x", "a"));
    b.ok(s, bind("q", "x", "b"));
    b.ok(s, delete("q"));
    assert!(b.replicas[1].exchange("x").is_none());

    b.ok(s, auto());
    b.ok(s, with_alternate("user", "direct", "x"));
    b.ok(s, queue("q"));
    b.ok(s, bind("q", "x", "a"));
    b.ok(s, unbind("q", "x", "a"));
    assert!(b.replicas[1].exchange("x").is_some(), "an alternate stays");
}

#[test]
fn homes_are_recorded() {
    let (mut b, _, other) = broker();
    let on = |shard: i32| {
        let arguments = Map::new().with("fletch.shard", Value::Int32(shard));
        TopologyRequest::DeclareQueue(DeclareQueue { arguments, ..declare("q") })
    };
    let text = "fletch.shard must be a number from 0 to 1";
    assert_eq!(b.refused(other, on(2)), (InvalidArgument, text.into()));
    b.ok(other, on(0));
    assert_eq!(b.replicas[1].queue("q").unwrap().home, ShardId(0));
    b.ok(other, exclusive("mine"));
    assert_eq!(b.replicas[0].home_of(b.queue("mine")), Some(ShardId(1)));
}

#[test]
fn exchange_queries() {
    let (mut b, s, _) = broker();
    b.ok(s, exchange("x", "headers"));
    let query = |name: &str| b.replicas[1].query_exchange(name).map(|x| (x.kind, x.durable));
    for (name, kind, durable) in [
        ("", "direct", true),
        ("amq.direct", "direct", true),
        ("amq.topic", "topic", true),
        ("amq.fanout", "fanout", true),
        ("amq.match", "headers", true),
        ("x", "headers", false),
    ] {
        assert_eq!(query(name), Some((kind.into(), durable)));
    }
    assert_eq!(query("no"), None);
}

/// The bits that are set, in the order of the specification.
fn bound(b: &Broker, exchange: &str, queue: &str, key: &str, arguments: &Map) -> String {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_string());
    let (queue, key) = (given(queue), given(key));
    let report = b.replicas[1].bound(exchange, queue.as_deref(), key.as_deref(), arguments);
    let BoundReport {
        exchange_not_found,
        queue_not_found,
        queue_not_matched,
        key_not_matched,
        args_not_matched,
    } = report;
    let bits = [
        (exchange_not_found, 'X'),
        (queue_not_found, 'Q'),
        (queue_not_matched, 'q'),
        (key_not_matched, 'k'),
        (args_not_matched, 'a'),
    ];
    bits.iter().filter(|(set, _)| *set).map(|(_, bit)| *bit).collect()
}

#[test]
fn bound_with_keys() {
    for x in ["amq.direct", "amq.topic"] {
        let (mut b, s, _) = broker();
        b.ok(s, queue("used"));
        b.ok(s, queue("unused"));
        b.ok(s, bind("used", x, "key"));
        for (queue, key, expect) in [
            ("used", "", ""),
            ("", "key", ""),
            ("used", "key", ""),
            ("", "", ""),
            ("unused", "", "q"),
            ("", "other", "k"),
            ("used", "other", "k"),
            ("unused", "key", "q"),
            ("unused", "other", "qk"),
            ("unknown", "", "Q"),
        ] {
            assert_eq!(bound(&b, x, queue, key, &Map::new()), expect, "{x} {queue} {key}");
        }
        assert_eq!(bound(&b, "unknown", "", "", &Map::new()), "X");
        assert_eq!(bound(&b, "unknown", "used", "", &Map::new()), "X");
        assert_eq!(bound(&b, "unknown", "unknown", "", &Map::new()), "XQ");
    }
}

#[test]
fn bound_with_patterns_fanout_and_default() {
    let (mut b, s, _) = broker();
    b.ok(s, queue("used"));
    b.ok(s, queue("unused"));
    b.ok(s, bind("used", "amq.topic", "#.*.b"));
    b.ok(s, bind("used", "amq.fanout", "k"));
    let none = Map::new();
    assert_eq!(bound(&b, "amq.topic", "used", "#.*.b", &none), "");
    assert_eq!(bound(&b, "amq.topic", "", "*.#.b", &none), "");
    // A part of a pattern, or a key that matches it, is not what is bound.
    assert_eq!(bound(&b, "amq.topic", "", "*.#", &none), "k");
    assert_eq!(bound(&b, "amq.topic", "", "a.b", &none), "k");
    assert_eq!(bound(&b, "amq.fanout", "used", "", &none), "");
    assert_eq!(bound(&b, "amq.fanout", "used", "any", &none), "");
    assert_eq!(bound(&b, "amq.fanout", "unused", "", &none), "q");
    assert_eq!(bound(&b, "", "used", "used", &none), "");
    assert_eq!(bound(&b, "", "used", "", &none), "");
    assert_eq!(bound(&b, "", "", "nobody", &none), "k");
    assert_eq!(bound(&b, "", "used", "nobody", &none), "k");
}

#[test]
fn bound_with_headers() {
    let (mut b, s, _) = broker();
    b.ok(s, queue("used"));
    b.ok(s, queue("unused"));
    let of = |key: &str| Map::new().with("x-match", "all").with(key, "A");
    b.ok(s, bind_with("used", "amq.match", "", of("a")));
    for (queue, arguments, expect) in [
        ("used", Map::new(), ""),
        ("", of("a"), ""),
        ("used", of("a"), ""),
        ("unused", Map::new(), "q"),
        ("", of("b"), "a"),
        ("used", of("b"), "a"),
        ("unused", of("a"), "q"),
        ("unused", of("b"), "qa"),
        ("", of("a").with("x-match", "any"), "a"),
        ("", of("a").with("more", "than asked"), ""),
    ] {
        assert_eq!(bound(&b, "amq.match", queue, "", &arguments), expect);
    }
}
