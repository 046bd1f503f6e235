//! The tools against a real broker, as a user calls them.

mod support;

use std::io::{BufRead, BufReader};
use std::time::Duration;

use fletch_amqp::types::Value;
use fletch_amqp::v0_10::table::{exchange, message::ReplyTo, queue};
use fletch_client::{Outgoing, Session};
use support::{Broker, success, wait};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn queue_exists(session: &Session, name: &str) -> bool {
    let reply = session.call(&queue::Query { queue: Some(name) }.into()).expect("queries");
    let result: queue::QueueQueryResult<'_> =
        reply.as_ref().expect("a result").read().expect("decodes");
    result.queue == Some(name)
}

fn exchange_type(session: &Session, name: &str) -> Option<String> {
    let reply = session.call(&exchange::Query { name: Some(name) }.into()).expect("queries");
    let result: exchange::ExchangeQueryResult<'_> =
        reply.as_ref().expect("a result").read().expect("decodes");
    (!result.not_found).then(|| result.r#type.unwrap_or_default().to_owned())
}

fn declare(session: &Session, name: &str) {
    let declare = queue::Declare { queue: Some(name), ..Default::default() };
    session.call(&declare.into()).expect("declares");
}

// ---- send and receive ----

#[test]
fn a_message_keeps_everything_it_was_given() {
    let broker = Broker::start();
    let id = "12345678-1234-1234-1234-123456789abc";
    let send = broker.tool("send").args([
        "-a",
        "q; {create: always}",
        "--id",
        id,
        "--reply-to",
        "t/k; {node: {type: topic}}",
        "--durable",
        "yes",
        "--ttl",
        "600000",
        "--priority",
        "7",
        "--correlation-id",
        "corr",
        "--user-id",
        "anonymous@QPID",
        "--subject",
        "about",
        "-P",
        "n=3",
        "-P",
        "t=text",
        "-P",
        "f=1.5",
        "-P",
        "b=true",
        "-P",
        "none",
        "--content-string",
        "hello",
    ]);
    assert_eq!(send.ok(), "");
    let (connection, session) = broker.session();
    session.consume("q", "in", 10).expect("subscribes");
    let delivery = session.next_delivery(support::PATIENCE).expect("reads").expect("a message");
    assert_eq!(delivery.body(), b"hello");
    let view = delivery.view().expect("a header");
    let delivered = view.delivery_properties().expect("decodes");
    assert_eq!((delivered.priority, delivered.routing_key), (Some(7), Some("q")));
    assert!(view.is_persistent().expect("decodes"));
    assert!(delivered.ttl.is_some_and(|ttl| ttl > 0 && ttl <= 600_000), "{delivered:?}");
    let message = view.message_properties().expect("decodes");
    assert_eq!(message.message_id.map(|id| id.to_string()).as_deref(), Some(id));
    assert_eq!(message.correlation_id, Some(&b"corr"[..]));
    assert_eq!(message.user_id, Some(&b"anonymous@QPID"[..]));
    assert_eq!(message.content_type, Some("text/plain"));
    let reply_to = ReplyTo { exchange: Some("t"), routing_key: Some("k") };
    assert_eq!(message.reply_to, Some(reply_to));
    let headers = message.application_headers.expect("has some").to_map().expect("decodes");
    assert_eq!(headers.get("qpid.subject").and_then(Value::as_str), Some("about"));
    assert_eq!(headers.get("n"), Some(&Value::Int64(3)));
    assert_eq!(headers.get("t"), Some(&Value::Str16("text".into())));
    assert_eq!(headers.get("f"), Some(&Value::Double(1.5)));
    assert_eq!(headers.get("b"), Some(&Value::Boolean(true)));
    assert_eq!(headers.get("none"), Some(&Value::Void));
    assert_eq!(headers.get("sn"), Some(&Value::Uint32(1)));
    assert!(matches!(headers.get("ts"), Some(Value::Int64(_))));
    // Not accepted: it goes back, and the tool prints it all.
    drop((session, connection));
    let printed = broker
        .tool("receive")
        .args([
            "-a",
            "q",
            "--print-headers",
            "yes",
            "--ignore-reply-to",
            "--timeout",
            "10",
            "-m",
            "1",
        ])
        .ok();
    let lines: Vec<&str> = printed.lines().collect();
    let expected = [
        "Subject: about".to_owned(),
        "ReplyTo: t/k; {node:{type:topic}}".to_owned(),
        format!("MessageId: {id}"),
        "CorrelationId: corr".to_owned(),
        "UserId: anonymous@QPID".to_owned(),
    ];
    assert_eq!(lines[..5], expected);
    assert!(lines.contains(&"Priority: 7") && lines.contains(&"Durable: true"), "{printed}");
    assert!(lines.contains(&"Redelivered: true"), "{printed}");
    assert!(printed.contains("Properties: {b:True, f:1.5, n:3, none:<void>, "), "{printed}");
    assert!(printed.ends_with("ContentType: text/plain\n\nhello\n"), "{printed}");
    broker.stop();
}

#[test]
fn maps_sizes_lines_and_types() {
    let broker = Broker::start();
    let address = "q; {create: always}";
    broker.tool("send").args(["-a", address, "-M", "k=v", "-M", "e="]).ok();
    broker.tool("send").args(["-a", address, "--content-size", "5"]).ok();
    broker
        .tool("send")
        .args(["-a", address, "--content-string", "x", "--content-type", "a/b"])
        .ok();
    success(
        &broker.tool("send").args(["-a", address, "--content-stdin"]).output_of("one\n\nthree"),
    );
    let printed = broker.tool("receive").args(["-a", "q", "--print-object-type", "yes"]).ok();
    let expected = "[Object: map]\n{e:<void>, k:v}\n[Object: string]\nXXXXX\n[Object: string]\nx\n\
                    [Object: string]\none\n[Object: string]\n\n[Object: string]\nthree\n";
    assert_eq!(printed, expected);
    // Accepted: nothing is left.
    assert_eq!(broker.tool("receive").args(["-a", "q"]).ok(), "");
}

#[test]
fn many_messages_in_order_with_reports() {
    let broker = Broker::start();
    let sent = broker
        .tool("send")
        .args([
            "-a",
            "q; {create: always}",
            "-m",
            "20000",
            "--report-every",
            "10000",
            "--report-total",
        ])
        .args(["--send-eos", "1", "--content-size", "50", "--capacity", "100"])
        .ok();
    let lines: Vec<&str> = sent.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "tp(m/s)"), "{sent}");
    assert!(lines[1..].iter().all(|line| line.parse::<u64>().is_ok()), "{sent}");
    let received = broker
        .tool("receive")
        .args(["-a", "q", "--print-content", "no", "--verify-sequence", "--report-total", "-f"])
        .args(["--report-header", "no", "--capacity", "50", "--ack-frequency", "7"])
        .ok();
    let fields: Vec<&str> = received.trim().split('\t').collect();
    assert_eq!(fields.len(), 4, "{received}");
    assert!(fields.iter().all(|field| field.parse::<f64>().is_ok()), "{received}");
    assert_eq!(broker.tool("drain").args(["q"]).ok(), "");
}

#[test]
fn totals_as_json() {
    let broker = Broker::start();
    let sent = broker.tool("send").args(["-a", "q; {create: always}", "-m", "10", "--json"]).ok();
    let sent = json(&sent);
    assert_eq!((&sent["sent"], &sent["rejected"]), (&10.into(), &0.into()));
    let received = broker.tool("receive").args(["-a", "q", "--json"]).ok();
    let lines: Vec<_> = received.lines().map(json).collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[9]["properties"]["sn"], 10);
    assert_eq!(lines[10]["totals"]["received"], 10);
    assert!(lines[10]["totals"]["latency_ms"]["mean"].as_f64().is_some_and(|mean| mean > 0.0));
}

#[test]
fn acceptance_is_as_asked_for() {
    let broker = Broker::start();
    broker.tool("send").args(["-a", "q; {create: always}", "-m", "5"]).ok();
    // None accepted: all are there again, and marked.
    broker.tool("receive").args(["-a", "q", "--ack-frequency", "0"]).ok();
    let again = broker.tool("receive").args(["-a", "q", "-m", "2", "--json"]).ok();
    assert_eq!(json(again.lines().next().expect("a line"))["redelivered"], true);
    // Two accepted, and those fetched beyond them given back.
    let rest = broker.tool("receive").args(["-a", "q", "--json", "--capacity", "0"]).ok();
    let rest: Vec<_> = rest.lines().map(json).collect();
    assert_eq!(rest.len(), 4);
    assert_eq!(rest[0]["properties"]["sn"], 3);
}

#[test]
fn sequence_numbers_find_gaps_and_duplicates() {
    let broker = Broker::start();
    let address = "q; {create: always}";
    let send = |sn: &str| {
        let number = format!("sn={sn}");
        broker
            .tool("send")
            .args(["-a", address, "--sequence", "no", "-P", &number, "--timestamp", "no"])
            .ok()
    };
    ["1", "2", "2", "3"].into_iter().for_each(|sn| drop(send(sn)));
    let seen = broker
        .tool("receive")
        .args(["-a", "q; {mode: browse}", "--ignore-duplicates", "--json"])
        .ok();
    assert_eq!(seen.lines().count(), 4, "three messages and the totals: {seen}");
    let failure = broker
        .tool("receive")
        .args(["-a", "q; {mode: browse}", "--ignore-duplicates", "--check-redelivered"])
        .fails();
    assert!(failure.contains("not marked as redelivered"), "{failure}");
    send("5");
    let failure = broker.tool("receive").args(["-a", "q", "--verify-sequence"]).fails();
    assert!(failure.contains("gap in sequence numbers 3-5"), "{failure}");
}

#[test]
fn groups_and_rates() {
    let broker = Broker::start();
    let start = std::time::Instant::now();
    broker
        .tool("send")
        .args(["-a", "q; {create: always}", "-m", "6", "--send-rate", "20"])
        .args([
            "--group-key",
            "g",
            "--group-size",
            "2",
            "--group-prefix",
            "P",
            "--group-interleave",
            "2",
        ])
        .ok();
    assert!(start.elapsed() >= Duration::from_millis(300), "6 messages at 20 a second");
    let received =
        broker.tool("receive").args(["-a", "q", "--json", "--receive-rate", "1000"]).ok();
    let groups: Vec<_> =
        received.lines().take(6).map(|line| json(line)["properties"]["g"].clone()).collect();
    assert_eq!(groups, ["P0", "P1", "P0", "P1", "P2", "P3"]);
}

#[test]
fn replies_go_where_the_message_says() {
    let broker = Broker::start();
    let (_connection, session) = broker.session();
    declare(&session, "answers");
    broker
        .tool("send")
        .args(["-a", "q; {create: always}", "--reply-to", "answers", "--content-string", "?"])
        .ok();
    assert_eq!(broker.tool("receive").args(["-a", "q", "--reply-to", "q"]).ok(), "?\n");
    let answer = json(&broker.tool("drain").args(["answers", "--json"]).ok());
    assert_eq!(answer["content"], "?");
    assert_eq!(answer["reply_to"], "'q'; {node: {type: queue}}");
}

#[test]
fn a_receiver_says_when_it_is_ready() {
    let broker = Broker::start();
    let (_connection, session) = broker.session();
    declare(&session, "ready");
    session.consume("ready", "in", 10).expect("subscribes");
    let receiver = broker.tool("receive").args([
        "-a",
        "amq.topic/news.#",
        "-f",
        "-m",
        "1",
        "--ready-address",
        "ready",
    ]);
    let mut receiver = receiver.spawn();
    let ready = session.next_delivery(support::PATIENCE).expect("reads");
    assert!(ready.is_some());
    broker.tool("send").args(["-a", "amq.topic/other", "--content-string", "no"]).ok();
    broker.tool("send").args(["-a", "amq.topic/news.today", "--content-string", "yes"]).ok();
    assert!(wait(&mut receiver).success());
    let mut printed = String::new();
    BufReader::new(receiver.stdout.take().expect("piped")).read_line(&mut printed).expect("reads");
    assert_eq!(printed, "yes\n");
}

#[test]
fn what_is_not_there_yet_is_refused() {
    let broker = Broker::start();
    for (tool, arguments, text) in [
        ("send", &["-a", "q", "--tx", "5"][..], "transactions are not supported yet"),
        ("receive", &["-a", "q", "--tx", "5"], "transactions are not supported yet"),
        ("receive", &["-a", "q", "--failover-updates"], "failover is not supported yet"),
        ("send", &["-a", "q", "--flow-control", "5"], "unexpected argument '--flow-control'"),
        ("send", &["-a", "q", "--priority", "10"], "not between 0 and 9"),
        ("send", &["-a", "q", "--id", "x"], "not a UUID"),
        (
            "send",
            &["-a", "q", "--connection-options", "{reconnect: true}"],
            "reconnect is not supported yet",
        ),
        ("send", &["-a", "q", "--connection-options", "{x: 1}"], "option x is not known"),
        ("send", &["-a", "q", "--log-enable", "loud"], "log rule loud"),
        ("ping", &["--size", "4"], "at least 8"),
    ] {
        let said = broker.tool(tool).args(arguments.iter().copied()).fails();
        assert!(said.contains(text), "{tool} {arguments:?}: {said}");
    }
}

// ---- addresses ----

#[test]
fn a_node_that_is_not_there() {
    let broker = Broker::start();
    for address in ["nosuch", "nosuch; {create: receiver}", "nosuch; {node: {type: queue}}"] {
        let said = broker.tool("send").args(["-a", address]).fails();
        assert_eq!(said, "fletch send: no such queue: nosuch\n", "{address}");
    }
    let said = broker.tool("receive").args(["-a", "nosuch; {node: {type: topic}}"]).fails();
    assert_eq!(said, "fletch receive: no such topic: nosuch\n");
    let said = broker.tool("send").args(["-a", "q; {creat: always}"]).fails();
    let expected = "fletch send: an address has no option 'creat', at column 5 of q; {creat: always}\n\
                    \x20 q; {creat: always}\n      ^\n";
    assert_eq!(said, expected);
}

#[test]
fn nodes_are_created_and_deleted_as_the_address_says() {
    let broker = Broker::start();
    let (_connection, session) = broker.session();
    let options = "node: {durable: true, x-declare: {alternate-exchange: amq.fanout, arguments: {'x.y': 3}}, \
                   x-bindings: [{exchange: amq.direct, key: k}]}";
    broker.tool("send").args(["-a", &format!("q; {{create: sender, {options}}}")]).ok();
    let reply = session
        .call(&queue::Query { queue: Some("q") }.into())
        .expect("queries")
        .expect("a result");
    let found: queue::QueueQueryResult<'_> = reply.read().expect("decodes");
    assert!(found.durable && !found.exclusive && !found.auto_delete);
    assert_eq!(found.alternate_exchange, Some("amq.fanout"));
    assert_eq!(found.arguments.and_then(|map| map.get_int("x.y")), Some(3));
    broker.tool("send").args(["-a", "amq.direct/k", "--content-string", "by binding"]).ok();
    assert!(broker.tool("receive").args(["-a", "q"]).ok().ends_with("by binding\n"));

    // The same assertions hold, others do not.
    broker.tool("send").args(["-a", &format!("q; {{assert: always, {options}}}")]).ok();
    for (options, complaint) in [
        ("x-declare: {exclusive: true}", "queue not exclusive: q"),
        ("x-declare: {auto-delete: true}", "queue not set to auto-delete: q"),
        (
            "x-declare: {arguments: {'x.y': 4}}",
            "option x.y does not match for q: expected 4, got 3",
        ),
        ("x-declare: {arguments: {z: 4}}", "option z not set for q"),
        ("x-declare: {alternate-exchange: amq.topic}", "alternate exchange does not match for q"),
        ("x-bindings: [{exchange: amq.direct, key: other}]", "no such binding"),
    ] {
        let said = broker
            .tool("send")
            .args(["-a", &format!("q; {{assert: sender, node: {{{options}}}}}")])
            .fails();
        assert!(said.contains(complaint), "{said}");
    }
    broker.tool("receive").args(["-a", "q; {delete: sender}"]).ok();
    assert!(queue_exists(&session, "q"), "a receiver is no sender");
    broker.tool("receive").args(["-a", "q; {delete: receiver}"]).ok();
    assert!(!queue_exists(&session, "q"));

    broker
        .tool("send")
        .args(["-a", "x; {create: always, node: {type: topic, x-declare: {type: fanout}}}"])
        .ok();
    assert_eq!(exchange_type(&session, "x").as_deref(), Some("fanout"));
    let said = broker
        .tool("send")
        .args(["-a", "x; {assert: always, node: {type: topic, x-declare: {type: direct}}}"])
        .fails();
    assert!(
        said.contains("exchange x is of incorrect type: expected direct, got fanout"),
        "{said}"
    );
    declare(&session, "x");
    assert!(broker.tool("send").args(["-a", "x"]).fails().contains("ambiguous address x"));
    broker.tool("send").args(["-a", "x; {delete: always, node: {type: topic}}"]).ok();
    assert_eq!(exchange_type(&session, "x"), None);
    assert!(queue_exists(&session, "x"));
    let said =
        broker.tool("send").args(["-a", "amq.new; {create: always, node: {type: topic}}"]).fails();
    assert!(said.contains("reserved"), "{said}");
    let said = broker
        .tool("send")
        .args(["-a", "y; {create: always, node: {x-declare: {alternate-exchange: no}}}"])
        .fails();
    assert!(said.starts_with("fletch send: creation failed for queue y: not-found: "), "{said}");
}

#[test]
fn a_hash_is_a_queue_for_the_time_of_its_use() {
    let broker = Broker::start();
    assert_eq!(broker.tool("receive").args(["-a", "#"]).ok(), "");
    assert_eq!(broker.tool("drain").args(["#mine; {node: {type: topic}}"]).ok(), "");
    broker.tool("send").args(["-a", "#x"]).ok();
}

#[test]
fn subscriptions_are_bound_by_subject_and_kind() {
    let broker = Broker::start();
    let (_connection, session) = broker.session();
    for kind in ["direct", "fanout", "headers"] {
        let declare =
            exchange::Declare { exchange: Some(kind), r#type: Some(kind), ..Default::default() };
        session.call(&declare.into()).expect("declares");
    }
    declare(&session, "ready");
    session.consume("ready", "in", 10).expect("subscribes");
    let cases = [
        ("amq.topic", "amq.topic/any.thing", "amq.topic", true),
        ("amq.topic/a.*", "amq.topic/a.b", "amq.topic/b.a", false),
        ("direct/k", "direct/k", "direct/j", false),
        ("fanout", "fanout/x", "fanout", true),
        ("headers", "headers/x", "headers", true),
        // Arguments that begin with "qpid." match nothing at a headers exchange, in the reference too.
        ("headers/s", "headers/s", "headers/t", true),
        ("amq.topic; {link: {x-bindings: [{key: only}]}}", "amq.topic/only", "amq.topic/x", false),
        (
            "amq.topic/r; {link: {name: sub, durable: true, timeout: 0, reliability: at-least-once}}",
            "amq.topic/r",
            "amq.topic/x",
            false,
        ),
    ];
    for (from, to, other, both) in cases {
        let expected = if both { 2 } else { 1 };
        let messages = expected.to_string();
        let receiver = broker.tool("receive").args([
            "-a",
            from,
            "-f",
            "-m",
            &messages,
            "--ready-address",
            "ready",
        ]);
        let mut receiver = receiver.spawn();
        assert!(session.next_delivery(support::PATIENCE).expect("reads").is_some());
        broker.tool("send").args(["-a", other, "--content-string", "other"]).ok();
        broker.tool("send").args(["-a", to, "--content-string", "this"]).ok();
        assert!(wait(&mut receiver).success(), "{from}");
        let stdout = BufReader::new(receiver.stdout.take().expect("piped"));
        let lines: Vec<String> = stdout.lines().map_while(Result::ok).collect();
        assert_eq!(lines.len(), expected, "{from}: {lines:?}");
        assert_eq!(lines[expected - 1], "this", "{from}");
    }
    assert!(!queue_exists(&session, "sub"), "the subscription's queue goes with it");
}

#[test]
fn browsing_takes_nothing() {
    let broker = Broker::start();
    broker
        .tool("send")
        .args(["-a", "q; {create: always}", "-m", "3", "--content-string", "x"])
        .ok();
    for _ in 0..2 {
        assert_eq!(broker.tool("receive").args(["-a", "q; {mode: browse}"]).ok(), "x\nx\nx\n");
    }
    assert_eq!(
        broker.tool("receive").args(["-a", "q; {link: {reliability: unreliable}}"]).ok(),
        "x\nx\nx\n"
    );
    assert_eq!(broker.tool("receive").args(["-a", "q"]).ok(), "");
}

// ---- the other tools ----

#[test]
fn spout_and_drain_by_their_own_names() {
    let broker = Broker::start();
    let dir = tempfile::tempdir().expect("a directory");
    let spout = broker
        .tool_named(dir.path(), "spout")
        .args([
            "-c",
            "2",
            "-P",
            "p=1",
            "--content",
            "text",
            "--id",
            "id",
            "--print",
            "q/sub; {create: always}",
        ])
        .ok();
    let sent = "Message(properties={p:1, spout-id:id:0}, content='text')\n\
                Message(properties={p:1, spout-id:id:1}, content='text')\n";
    assert_eq!(spout, sent);
    let spout = broker.tool("spout").args(["-M", "k=v", "q", "-d"]).ok();
    assert_eq!(spout, "");
    let drained = broker.tool_named(dir.path(), "drain").args(["-c", "2", "q"]).ok();
    let received = "Message(properties={p:1, qpid.subject:sub, spout-id:id:0, x-amqp-0-10.routing-key:q}, \
                    subject='sub', content='text')\n";
    assert!(drained.starts_with(received), "{drained}");
    assert_eq!(drained.lines().count(), 2);
    let rest = json(&broker.tool("drain").args(["q", "--json"]).ok());
    assert_eq!((&rest["content"]["k"], &rest["durable"]), (&"v".into(), &true.into()));
    assert_eq!(broker.tool_named(dir.path(), "qpid-send").args(["-a", "q", "-m", "2"]).ok(), "");
    let received = broker.tool_named(dir.path(), "qpid-receive").args(["-a", "q", "--json"]).ok();
    assert_eq!(received.lines().count(), 3);
}

#[test]
fn drain_waits_as_long_as_it_is_told() {
    let broker = Broker::start();
    let (_connection, session) = broker.session();
    declare(&session, "q");
    let start = std::time::Instant::now();
    broker.tool("drain").args(["q", "-t", "0.3"]).ok();
    assert!(start.elapsed() >= Duration::from_millis(300));
    let mut drain = broker.tool("drain").args(["q", "-f", "-c", "1", "--json"]).spawn();
    session.send("", &Outgoing::to_queue("q", b"late")).expect("sends");
    session.sync().expect("arrives");
    assert!(wait(&mut drain).success());
}

#[test]
fn ping_counts_round_trips() {
    let broker = Broker::start();
    let printed = broker.tool("ping").args(["-c", "3", "-i", "0.01", "-s", "100"]).ok();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines[0],
        format!("PING {}: 100 bytes of content through a temporary queue", broker.url())
    );
    assert!(lines[3].starts_with("100 bytes: seq=3 time="), "{printed}");
    assert!(printed.contains("3 messages sent, 3 received, 0% lost"), "{printed}");
    assert!(printed.contains("rtt min/avg/p50/p99/p99.9/max = "), "{printed}");
    let summary = json(&broker.tool("ping").args(["-c", "200", "-f", "--json", "-d"]).ok());
    assert_eq!((&summary["received"], &summary["lost"]), (&200.into(), &0.into()));
    assert!(summary["rtt_us"]["p99"].as_f64() >= summary["rtt_us"]["p50"].as_f64());
    broker.stop();
}

#[test]
fn the_demonstration_demonstrates() {
    let mut command = support::fletch();
    command.args(["demo", "--seconds", "1", "--json", "--shards", "2", "--rate", "1000"]);
    // Somebody's own broker must not get in the way.
    command.env("QPID_PORT", "1").env("FLETCH_PORT", "1");
    let demo = json(&success(&support::output(command, "")));
    let runs = demo["runs"].as_array().expect("runs");
    assert_eq!(
        (runs[0]["name"].as_str(), runs[1]["name"].as_str()),
        (Some("steady"), Some("flat out"))
    );
    assert!(
        runs[0]["messages"].as_u64().is_some_and(|count| (300..=500).contains(&count)),
        "{demo}"
    );
    assert!(runs[1]["messages"].as_u64().is_some_and(|count| count > 1000), "{demo}");
    assert!(runs.iter().all(|run| run["latency_us"]["p50"].as_f64() > Some(0.0)), "{demo}");

    let mut command = support::fletch();
    command.args(["demo", "--seconds", "3", "--rate", "1000"]);
    let printed = success(&support::output(command, ""));
    for text in [
        "broker on 127.0.0.1:",
        "steady ",
        "flat out ",
        "p99.9",
        "one-way latency",
        "the broker has stopped",
    ] {
        assert!(printed.contains(text), "no {text} in {printed}");
    }
    assert!(!printed.contains('\x1b'), "no colours where there is no terminal: {printed}");
}

#[test]
fn nobody_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    let mut command = support::fletch();
    command.args(["send", "-a", "q", "-b", &format!("127.0.0.1:{port}")]);
    let output = support::output(command, "");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("cannot connect to") && said.contains("Connection refused"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_user_and_the_virtual_host_are_told() {
    let broker = Broker::start();
    let url = format!("amqp:guest/guest@tcp:127.0.0.1:{}", broker.port);
    let mut command = support::fletch();
    command.args(["send", "-a", "q; {create: always}", "-b", &url, "--auto-user-id", "yes"]);
    command.args([
        "--connection-options",
        "{heartbeat: 10, tcp-nodelay: true, sasl-mechanisms: PLAIN, max-frame-size: 4096}",
    ]);
    success(&support::output(command, ""));
    let message = json(
        broker.tool("receive").args(["-a", "q", "--json"]).ok().lines().next().expect("a line"),
    );
    assert_eq!(message["user_id"], "guest");
}
