//! A client and a server back to back: what each of them does, the other understands.

mod support;

use fletch_amqp::CommandId;
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::table::{exchange, execution, queue, session, tx};
use fletch_amqp::v0_10::{
    AttachError, Blame, ClientConfig, ClientMechanism, CloseCode, Connection, DetachCode,
    ErrorCode, SendError, ServerConfig,
};
use proptest::prelude::*;
use support::*;

fn mechanism(name: &str, response: Option<&[u8]>) -> ClientMechanism {
    ClientMechanism { name: name.into(), response: response.map(<[u8]>::to_vec) }
}

fn declare(name: &str) -> queue::Declare<'_> {
    queue::Declare { queue: Some(name), ..Default::default() }
}

// ---- negotiation ----

#[test]
fn negotiation() {
    let client = ClientConfig {
        mechanisms: vec![mechanism("SCRAM", None), mechanism("PLAIN", Some(b"\0a\0b"))],
        virtual_host: "host".into(),
        properties: Map::new().with("qpid.client_process", "test"),
        heartbeat: 300,
        max_frame_size: 8192,
        channel_max: 100,
        ..Default::default()
    };
    let server = ServerConfig {
        mechanisms: vec!["ANONYMOUS".into(), "PLAIN".into()],
        heartbeat: 5..=60,
        properties: Map::new().with("product", "fletch"),
        ..Default::default()
    };
    let mut pair = Pair::new(client, server);
    pair.drive();
    let said = pair.server_said();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("Authenticate { mechanism: \"PLAIN\", response: Some([0, 97, 0, 98])")
    );
    assert!(said[0].contains("qpid.client_process"), "{}", said[0]);
    assert!(said[1].starts_with("Open { virtual_host: \"host\""), "{}", said[1]);
    let said = pair.client_said();
    assert!(said[0].starts_with("Start {") && said[0].contains("fletch"), "{}", said[0]);
    assert!(said[1].starts_with("Opened {") && said[1].contains("amqp:tcp:one:5672"));
    assert_eq!(said.len(), 2);
    for end in [&pair.client, &pair.server] {
        assert!(end.is_open());
        assert_eq!((end.max_frame_size(), end.channel_max()), (8192, 100));
        // The heartbeat was clipped to what the server offers.
        assert_eq!(end.next_timeout(), Some(pair.now + seconds(60)));
    }
}

#[test]
fn challenges_go_back_and_forth() {
    let client =
        ClientConfig { mechanisms: vec![mechanism("SCRAM", Some(b"first"))], ..Default::default() };
    let server = ServerConfig { mechanisms: vec!["SCRAM".into()], ..Default::default() };
    let mut pair = Pair::new(client, server);
    pair.answering = false;
    pair.drive();
    for round in 0..3u8 {
        pair.server.challenge(&[round]);
        pair.drive();
        assert_eq!(
            pair.client_said().last().unwrap(),
            &format!("Challenge {{ challenge: [{round}] }}")
        );
        pair.client.respond(&[round, round]);
        pair.drive();
        let expected = format!("Response {{ response: [{round}, {round}] }}");
        assert_eq!(pair.server_said().last().unwrap(), &expected);
    }
    pair.server.authenticated();
    pair.answering = true;
    pair.drive();
    assert!(pair.client.is_open() && pair.server.is_open());
}

#[test]
fn authentication_is_refused() {
    let mut pair = Pair::new(ClientConfig::default(), ServerConfig::default());
    pair.answering = false;
    pair.drive();
    pair.server.reject_authentication("authentication failed");
    pair.drive();
    let closed = "Closed { code: connection-forced, text: \"authentication failed\", by_peer: ";
    assert_eq!(pair.client_said().last().unwrap(), &format!("{closed}true }}"));
    assert_eq!(pair.server_said().last().unwrap(), &format!("{closed}false }}"));
    assert!(pair.client.is_closed() && pair.server.is_closed());
    // Whatever is decided later is too late, and harmless.
    pair.server.authenticated();
    pair.server.open_ok(["x"]);
    assert!(pair.server.is_closed() && pair.server.out().is_empty());
}

#[test]
fn no_mechanism_in_common() {
    let client = ClientConfig { mechanisms: vec![mechanism("GSSAPI", None)], ..Default::default() };
    let mut pair = Pair::new(client, ServerConfig::default());
    pair.drive();
    assert!(pair.client_said().last().unwrap().contains("no mechanism in common"));
    assert!(pair.server_said().last().unwrap().contains("by_peer: true"));
}

#[test]
fn redirect() {
    let mut pair = Pair::new(ClientConfig::default(), ServerConfig::default());
    pair.answering = false;
    pair.drive();
    pair.server.authenticated();
    pair.drive();
    pair.server.redirect("amqp:tcp:two:5672", ["amqp:tcp:three:5672"]);
    pair.drive();
    let said = pair.client_said();
    assert!(said[1].contains("amqp:tcp:two:5672") && said[1].contains("amqp:tcp:three:5672"));
    assert!(said[2].starts_with("Closed { code: normal"), "{}", said[2]);
    assert!(pair.client.is_closed() && pair.server.is_closed());
}

#[test]
fn invalid_path() {
    let mut pair = Pair::new(ClientConfig::default(), ServerConfig::default());
    pair.answering = false;
    pair.drive();
    pair.server.authenticated();
    pair.drive();
    let now = pair.now;
    pair.server.close(now, CloseCode::INVALID_PATH, "no such virtual host");
    pair.drive();
    assert_eq!(
        pair.client_said().last().unwrap(),
        "Closed { code: invalid-path, text: \"no such virtual host\", by_peer: true }"
    );
    assert!(pair.client.is_closed() && pair.server.is_closed());
}

// ---- time ----

#[test]
fn heartbeats_keep_an_idle_connection() {
    let client = ClientConfig { heartbeat: 10, ..Default::default() };
    let mut pair = Pair::new(client, ServerConfig::default());
    pair.drive();
    for _ in 0..20 {
        pair.now += seconds(10);
        let now = pair.now;
        assert!(pair.client.next_timeout().unwrap() <= now);
        pair.client.timeout(now);
        pair.server.timeout(now);
        pair.drive();
        assert!(pair.client.is_open() && pair.server.is_open());
    }
    assert_eq!(pair.client_seen.len(), 2, "heartbeats are not events");
}

#[test]
fn a_silent_peer_is_given_up() {
    let client = ClientConfig { heartbeat: 10, ..Default::default() };
    let mut pair = Pair::new(client, ServerConfig::default());
    pair.drive();
    pair.server_said();
    // The client stops. The server sends a heartbeat, and then gives up.
    pair.server.timeout(pair.now + seconds(10));
    assert!(pair.server.is_open());
    pair.server.timeout(pair.now + seconds(19));
    assert!(pair.server.is_open());
    pair.server.timeout(pair.now + seconds(20));
    assert!(pair.server.is_closed());
    pair.turn();
    let said = pair.server_said();
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("Closed { code: connection-forced") && said[0].contains("heartbeat"));
    assert_eq!(pair.server.next_timeout(), None);
}

#[test]
fn negotiation_has_a_deadline() {
    let mut server = Connection::server(ServerConfig::default(), seconds(5));
    assert_eq!(server.next_timeout(), Some(seconds(15)));
    server.timeout(seconds(14));
    assert!(!server.is_closed());
    server.timeout(seconds(15));
    let mut nothing: &[u8] = &[];
    assert!(format!("{:?}", server.next(seconds(15), &mut nothing)).contains("too long"));
    assert!(server.next(seconds(15), &mut nothing).is_none());
    assert!(server.out().is_empty(), "nothing is said to a peer that has said nothing");

    // An open connection has none.
    let pair = Pair::open();
    assert_eq!(pair.server.next_timeout(), None);
    assert_eq!(pair.client.next_timeout(), None);
}

#[test]
fn close_has_a_deadline() {
    let mut pair = Pair::open();
    pair.server_said();
    pair.server.close(pair.now, CloseCode::NORMAL, "bye");
    assert!(!pair.server.is_closed() && !pair.server.is_open());
    let at = pair.server.next_timeout().unwrap();
    assert_eq!(at, pair.now + seconds(10));
    pair.server.timeout(at);
    assert!(pair.server.is_closed());
    let mut nothing: &[u8] = &[];
    let event = format!("{:?}", pair.server.next(at, &mut nothing));
    assert_eq!(event, "Some(Closed { code: normal, text: \"bye\", by_peer: false })");
}

#[test]
fn close_in_order_from_either_side() {
    for from_client in [true, false] {
        let (mut pair, _) = Pair::session("s");
        let now = pair.now;
        let end = if from_client { &mut pair.client } else { &mut pair.server };
        end.close(now, CloseCode::NORMAL, "bye");
        pair.drive();
        assert!(pair.client.is_closed() && pair.server.is_closed());
        let (client, server) = (pair.client_said(), pair.server_said());
        assert_eq!(
            client,
            [format!("Closed {{ code: normal, text: \"bye\", by_peer: {} }}", !from_client)]
        );
        assert_eq!(
            server,
            [format!("Closed {{ code: normal, text: \"bye\", by_peer: {from_client} }}")]
        );
    }
}

#[test]
fn closes_that_cross() {
    let mut pair = Pair::open();
    let now = pair.now;
    pair.client.close(now, CloseCode::NORMAL, "one");
    pair.server.close(now, CloseCode::CONNECTION_FORCED, "two");
    pair.drive();
    assert!(pair.client.is_closed() && pair.server.is_closed());
}

// ---- sessions ----

#[test]
fn attach_and_detach() {
    let mut pair = Pair::open();
    pair.server_said();
    pair.client_said();
    let one = pair.client.attach(b"one", false).unwrap();
    let two = pair.client.attach(b"two", true).unwrap();
    assert_eq!((one, two), (1, 2));
    pair.drive();
    assert_eq!(
        pair.server_said(),
        [
            "Attach { channel: 1, name: [111, 110, 101], force: false }",
            "Attach { channel: 2, name: [116, 119, 111], force: true }"
        ]
    );
    assert_eq!(pair.client_said(), ["Attached { channel: 1 }", "Attached { channel: 2 }"]);
    assert_eq!(pair.server.session_name(2), Some(&b"two"[..]));
    pair.client.detach(one);
    assert_eq!(pair.client.send(one, &tx::Select {}.into(), false), Err(SendError::NotAttached));
    pair.drive();
    assert_eq!(pair.server_said(), ["Detached { channel: 1, ending: Normal }"]);
    assert_eq!(pair.client_said(), ["Detached { channel: 1, ending: Normal }"]);
    // The server's turn; and the channel that is free is used again.
    pair.server.detach(two);
    pair.drive();
    assert_eq!(pair.server_said(), ["Detached { channel: 2, ending: Normal }"]);
    assert_eq!(pair.client_said(), ["Detached { channel: 2, ending: Normal }"]);
    assert_eq!((pair.client.session_count(), pair.server.session_count()), (0, 0));
    assert_eq!(pair.client.attach(b"three", false), Ok(1));
}

#[test]
fn detaches_that_cross() {
    let (mut pair, channel) = Pair::session("s");
    pair.client.detach(channel);
    pair.server.detach(channel);
    pair.drive();
    assert_eq!(pair.server_said(), ["Detached { channel: 1, ending: Normal }"]);
    assert_eq!(pair.client_said(), ["Detached { channel: 1, ending: Normal }"]);
}

#[test]
fn commands_wait_for_the_answer_to_attach() {
    let mut pair = Pair::open();
    pair.answering = false;
    pair.server_said();
    let channel = pair.client.attach(b"s", false).unwrap();
    // Pipelined: neither side has said that the session is attached.
    pair.client.send(channel, &declare("q").into(), true).unwrap();
    pair.drive();
    assert_eq!(pair.server_said().len(), 1);
    pair.server.attach_ok(channel);
    pair.drive();
    let said = pair.server_said();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("Command { channel: 1, id: "), "{}", said[0]);
}

#[test]
fn a_busy_name_is_refused() {
    let mut pair = Pair::open();
    pair.answering = false;
    pair.client_said();
    let channel = pair.client.attach(b"s", false).unwrap();
    pair.client.send(channel, &declare("q").into(), true).unwrap();
    pair.client.send(channel, &declare("r").into(), true).unwrap();
    pair.drive();
    pair.server_said();
    pair.server.refuse_attach(channel, DetachCode::SESSION_BUSY);
    pair.drive();
    assert_eq!(pair.client_said(), ["Detached { channel: 1, ending: Refused(session-busy) }"]);
    assert!(pair.server_said().is_empty(), "the commands that were on their way are dropped");
    assert_eq!((pair.client.session_count(), pair.server.session_count()), (0, 0));
}

#[test]
fn a_session_is_forced_away() {
    let (mut pair, channel) = Pair::session("s");
    pair.server.force_detach(channel, DetachCode::SESSION_BUSY);
    pair.client.send(channel, &declare("q").into(), true).unwrap();
    pair.drive();
    assert_eq!(pair.client_said(), ["Detached { channel: 1, ending: Refused(session-busy) }"]);
    assert_eq!(pair.server_said(), ["Detached { channel: 1, ending: Forced(session-busy) }"]);
    assert!(pair.client.is_open() && pair.server.is_open());
}

#[test]
fn channels_run_out() {
    let client = ClientConfig { channel_max: 2, ..Default::default() };
    let mut pair = Pair::new(client, ServerConfig::default());
    pair.drive();
    pair.client.attach(b"a", false).unwrap();
    pair.client.attach(b"b", false).unwrap();
    assert_eq!(pair.client.attach(b"c", false), Err(AttachError::NoChannel));
    assert_eq!(pair.server.attach(b"c", false), Err(AttachError::NotOpen));
}

#[test]
fn the_timeout_granted_is_zero() {
    let (mut pair, channel) = Pair::session("s");
    pair.client.request_timeout(channel, 600).unwrap();
    pair.drive();
    assert_eq!(pair.client_said(), ["Timeout { channel: 1, seconds: 0 }"]);
}

// ---- commands ----

#[test]
fn commands_complete_out_of_order() {
    let (mut pair, channel) = Pair::session("s");
    pair.answering = false;
    for name in ["a", "b", "c", "d"] {
        pair.client.send(channel, &declare(name).into(), false).unwrap();
    }
    pair.drive();
    assert_eq!(pair.server_seen.len(), 4);
    pair.server.complete(channel, CommandId(2));
    pair.server.complete(channel, CommandId(0));
    pair.drive();
    // Twice, and one that never came, are nothing.
    pair.server.complete(channel, CommandId(2));
    pair.server.complete(channel, CommandId(9));
    pair.server.complete(channel, CommandId(3));
    pair.drive();
    pair.server.complete(channel, CommandId(1));
    pair.drive();
    let completed: Vec<_> = pair.client_seen.iter().map(|seen| seen.kind.clone()).collect();
    let expected = [&[(0, 0), (2, 2)][..], &[(3, 3)], &[(1, 1)]];
    assert_eq!(completed, expected.map(|r| Kind::Completed(channel, set(r).unwrap())));
}

#[test]
fn one_flush_one_control() {
    let (mut pair, channel) = Pair::session("s");
    pair.answering = false;
    for _ in 0..100 {
        pair.client.transfer(channel, &transfer("q"), false, |_| {}, &b"x"[..]).unwrap();
    }
    pair.drive();
    assert_eq!(pair.server_seen.len(), 100);
    for n in 0..100 {
        pair.server.accept(channel, CommandId(n));
        pair.server.complete(channel, CommandId(n));
    }
    pair.server.flush();
    let out = std::mem::take(pair.server.out());
    let described: Vec<_> = frames(&out).iter().map(|(c, k, p)| describe(*c, *k, p)).collect();
    assert_eq!(described, ["1 message.accept {0-99}", "1 session.completed {0-99}"]);
    pair.server.flush();
    assert!(pair.server.out().is_empty(), "nothing is said twice");
}

#[test]
fn sync_waits_for_earlier_commands() {
    let (mut pair, channel) = Pair::session("s");
    pair.answering = false;
    let first = pair.client.transfer(channel, &transfer("q"), false, |_| {}, &b"x"[..]).unwrap();
    let sync = pair.client.execution_sync(channel).unwrap();
    let second = pair.client.transfer(channel, &transfer("q"), false, |_| {}, &b"y"[..]).unwrap();
    let last = pair.client.execution_sync(channel).unwrap();
    pair.drive();
    assert_eq!(pair.server_seen.len(), 2, "sync is not for the driver");
    assert!(pair.client_seen.is_empty());
    pair.server.complete(channel, second);
    pair.drive();
    pair.server.complete(channel, first);
    pair.drive();
    let completed: Vec<_> = pair.client_seen.drain(..).map(|seen| seen.kind).collect();
    let expected = [set(&[(second.0, second.0)]), set(&[(first.0, sync.0), (last.0, last.0)])];
    assert_eq!(completed, expected.map(|set| Kind::Completed(channel, set.unwrap())));
    // With nothing before it, it completes at once.
    pair.client.execution_sync(channel).unwrap();
    pair.drive();
    assert_eq!(pair.client_seen.len(), 1);
}

#[test]
fn completions_are_reported_when_asked_for() {
    let (mut pair, channel) = Pair::session("s");
    pair.client.send(channel, &declare("q").into(), false).unwrap();
    pair.drive();
    let before = pair.to_client.len();
    pair.client.request_completions(channel).unwrap();
    pair.drive();
    let said: Vec<_> =
        frames(&pair.to_client[before..]).iter().map(|(c, k, p)| describe(*c, *k, p)).collect();
    assert_eq!(said, ["1 session.completed {0-0}"]);
    assert_eq!(pair.client_seen.len(), 1, "what is not new is not an event");
}

#[test]
fn results() {
    let (mut pair, channel) = Pair::session("s");
    pair.answering = false;
    let query = exchange::Query { name: Some("amq.direct") };
    let id = pair.client.send(channel, &query.into(), true).unwrap();
    pair.drive();
    let result = exchange::ExchangeQueryResult {
        r#type: Some("direct"),
        durable: true,
        ..Default::default()
    };
    pair.server.result(channel, id, &result).unwrap();
    pair.drive();
    let said = pair.client_said();
    assert_eq!(said.len(), 2);
    assert!(
        said[0].starts_with("Result { channel: 1, command_id: ") && said[0].contains("code: 1793")
    );
    assert!(said[1].starts_with("Completed"));
    // The result is a command too: the client completes it, and the server hears of it.
    assert!(pair.server_seen.iter().any(|s| matches!(s.kind, Kind::Completed(1, _))));
}

#[test]
fn exceptions_end_the_session() {
    let (mut pair, channel) = Pair::session("s");
    pair.answering = false;
    for name in ["a", "b", "c"] {
        pair.client.send(channel, &declare(name).into(), false).unwrap();
    }
    pair.drive();
    pair.server_said();
    pair.server.complete(channel, CommandId(0));
    let blame = Blame::command(CommandId(1), &declare("b").into());
    pair.server.exception(channel, ErrorCode::NOT_FOUND, blame, "no such exchange");
    // What the driver does with it afterwards is nothing.
    pair.server.complete(channel, CommandId(2));
    let sent = pair.server.transfer(channel, &transfer("q"), false, |_| {}, &b"x"[..]);
    assert_eq!(sent, Err(SendError::NotAttached));
    // Nor is what the client had sent meanwhile.
    pair.client.send(channel, &declare("d").into(), false).unwrap();
    let before = pair.to_client.len();
    pair.drive();
    let said: Vec<_> =
        frames(&pair.to_client[before..]).iter().map(|(c, k, p)| describe(*c, *k, p)).collect();
    assert_eq!(
        said,
        ["1 session.completed {0-0}", "1 execution.exception 404 1 8.1", "1 session.detach"]
    );
    assert_eq!(
        pair.server_said(),
        [
            "Detached { channel: 1, ending: Exception { code: not-found, text: \"no such exchange\" } }"
        ]
    );
    let said = pair.client_said();
    assert!(said[0].starts_with("Completed"));
    assert!(said[1].starts_with("Exception { channel: 1") && said[1].contains("no such exchange"));
    assert_eq!(said[2], "Detached { channel: 1, ending: Normal }");
    assert_eq!((pair.client.session_count(), pair.server.session_count()), (0, 0));
    // The channel can be used again.
    pair.answering = true;
    assert_eq!(pair.client.attach(b"s", false), Ok(1));
    pair.drive();
    assert_eq!(pair.client_said(), ["Attached { channel: 1 }"]);
}

#[test]
fn a_command_that_cannot_be_encoded_leaves_no_trace() {
    let (mut pair, channel) = Pair::session("s");
    let long = "x".repeat(256);
    assert!(matches!(
        pair.client.send(channel, &declare(&long).into(), false),
        Err(SendError::Encode(_))
    ));
    assert!(matches!(
        pair.client.transfer(channel, &transfer(&long), false, |_| {}, &b"x"[..]),
        Err(SendError::Encode(_))
    ));
    assert!(pair.client.out().is_empty());
    assert_eq!(pair.client.next_command_id(channel), Some(CommandId(0)));
}

#[test]
fn known_completed_keeps_the_sets_short() {
    let (mut pair, channel) = Pair::session("s");
    for _ in 0..20_000 {
        pair.client.transfer(channel, &transfer("q"), false, |_| {}, &b"x"[..]).unwrap();
        if pair.client.out().len() > 8000 {
            pair.drive();
        }
    }
    pair.drive();
    let said = frames(&pair.to_server);
    let told =
        said.iter().filter(|(c, k, p)| describe(*c, *k, p).contains("known-completed")).count();
    assert!((3..=5).contains(&told), "{told}");
}

// ---- content ----

#[test]
fn transfers_of_every_shape() {
    let (mut pair, channel) = Pair::session("s");
    let large = vec![7u8; 200_000];
    let cases: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"h", b""),
        (b"", b"b"),
        (b"header", b"body"),
        (b"h", &large),
        (&large, b"b"),
    ];
    for (header, body) in cases {
        pair.client
            .transfer(channel, &transfer("q"), true, |out| out.extend_from_slice(header), body)
            .unwrap();
    }
    pair.drive();
    let seen: Vec<_> = pair.server_seen.drain(..).collect();
    assert_eq!(seen.len(), cases.len());
    for (n, (seen, case)) in seen.into_iter().zip(cases).enumerate() {
        let Kind::Transfer { id, header, body, borrowed, .. } = seen.kind else { panic!() };
        assert_eq!((id, &header[..], &body[..]), (CommandId(n as u32), case.0, case.1));
        assert_eq!(borrowed, case.1.len() < 65_000, "case {n}");
    }
}

#[test]
fn the_hot_encoder_agrees_with_the_table() {
    for sync in [false, true] {
        let (mut pair, channel) = Pair::session("s");
        let by_hand = {
            pair.client.transfer(channel, &transfer("dest"), sync, |_| {}, None).unwrap();
            std::mem::take(pair.client.out())
        };
        pair.client.send(channel, &transfer("dest").into(), sync).unwrap();
        assert_eq!(&by_hand, pair.client.out());
    }
}

#[test]
fn sessions_interleave_frame_by_frame() {
    let mut pair = Pair::open();
    let channels = [1, 2, 3].map(|n| pair.client.attach(&[n], false).unwrap());
    pair.drive();
    pair.server_said();
    // Each message is cut into frames, and those are dealt out in turn.
    let mut decks: Vec<Vec<Vec<u8>>> = Vec::new();
    for channel in channels {
        let body = vec![channel as u8; 150_000];
        pair.client
            .transfer(channel, &transfer("q"), false, |out| out.push(channel as u8), &body[..])
            .unwrap();
        let out = std::mem::take(pair.client.out());
        let mut deck = Vec::new();
        let mut rest = &out[..];
        while let Some(frame) = fletch_amqp::v0_10::frame::Frame::parse(rest, u16::MAX).unwrap() {
            let (head, tail) = rest.split_at(frame.len());
            deck.push(head.to_vec());
            rest = tail;
        }
        assert_eq!(deck.len(), 5);
        decks.push(deck);
    }
    let dealt: Vec<u8> =
        (0..5).flat_map(|n| decks.iter().flat_map(move |d| d[n].clone())).collect();
    let mut bodies = Vec::new();
    feed(&mut pair.server, pair.now, &dealt, |_, seen| {
        let Kind::Transfer { channel, header, body, .. } = seen.kind else { panic!("{seen:?}") };
        assert_eq!(header, [channel as u8]);
        assert!(body.len() == 150_000 && body.iter().all(|octet| *octet == channel as u8));
        bodies.push(channel);
    });
    assert_eq!(bodies, channels);
}

// ---- streams ----

/// A scenario with everything in it; returns what each side sent.
fn golden() -> Pair {
    let client = ClientConfig {
        heartbeat: 10,
        max_frame_size: 4096,
        properties: Map::new().with("a", "b"),
        ..Default::default()
    };
    let mut pair = Pair::new(client, ServerConfig::default());
    pair.drive();
    let one = pair.client.attach(b"one", false).unwrap();
    let two = pair.client.attach(b"two", false).unwrap();
    pair.drive();
    pair.client.send(one, &declare("q").into(), true).unwrap();
    pair.client
        .transfer(one, &transfer("q"), true, |out| out.extend(b"header"), &b"body"[..])
        .unwrap();
    pair.client.transfer(two, &transfer("q"), false, |_| {}, &[5; 9000][..]).unwrap();
    pair.client.execution_sync(two).unwrap();
    pair.client.request_completions(two).unwrap();
    pair.drive();
    pair.server
        .transfer(one, &transfer("c"), false, |out| out.extend([9; 5000]), &b"x"[..])
        .unwrap();
    pair.server.transfer(two, &transfer("c"), false, |_| {}, &[6; 4084][..]).unwrap();
    pair.drive();
    let blame = Blame { command_id: Some(CommandId(0)), ..Default::default() };
    pair.server.exception(two, ErrorCode::NOT_ALLOWED, blame, "no");
    pair.drive();
    pair.now += seconds(10);
    let now = pair.now;
    pair.client.timeout(now);
    pair.server.timeout(now);
    pair.drive();
    pair.client.detach(one);
    pair.drive();
    pair.client.close(now, CloseCode::NORMAL, "bye");
    pair.drive();
    assert!(pair.client.is_closed() && pair.server.is_closed());
    pair
}

/// Feeds `stream` in two pieces, cut at `at`, as a driver would that keeps what is left.
fn in_two(connection: &mut Connection, stream: &[u8], at: usize, answering: bool) -> Vec<String> {
    let mut log = Vec::new();
    let mut kept: Vec<u8> = Vec::new();
    for piece in [&stream[..at], &stream[at..]] {
        kept.extend_from_slice(piece);
        let left = feed(connection, seconds(1), &kept, |connection, seen| {
            if answering {
                answer(connection, &seen);
            }
            log.push(seen.text);
        });
        kept = left.to_vec();
    }
    assert!(kept.is_empty(), "{} octets were never read", kept.len());
    log
}

#[test]
fn a_stream_cut_anywhere_says_the_same_to_a_server() {
    let stream = golden().to_server;
    let fresh = || Connection::server(ServerConfig::default(), seconds(0));
    let whole = in_two(&mut fresh(), &stream, 0, true);
    assert_eq!(whole.iter().filter(|text| text.starts_with("Transfer")).count(), 2);
    assert!(whole.last().unwrap().starts_with("Closed"));
    for at in 0..=stream.len() {
        assert_eq!(in_two(&mut fresh(), &stream, at, true), whole, "cut at {at}");
    }
}

#[test]
fn a_stream_cut_anywhere_says_the_same_to_a_client() {
    let stream = golden().to_client;
    let fresh = || {
        let config = ClientConfig { max_frame_size: 4096, ..Default::default() };
        let mut client = Connection::client(config, seconds(0));
        // The sessions that the stream is about must be there once it is open.
        let opened = golden_opening(&stream);
        let log = in_two(&mut client, &stream[..opened], 0, false);
        assert!(client.is_open(), "{log:?}");
        client.attach(b"one", false).unwrap();
        client.attach(b"two", false).unwrap();
        for _ in 0..2 {
            client.send(1, &declare("q").into(), false).unwrap();
            client.send(2, &declare("q").into(), false).unwrap();
        }
        (client, opened)
    };
    let (mut client, opened) = fresh();
    let whole = in_two(&mut client, &stream[opened..], 0, false);
    assert_eq!(whole.iter().filter(|text| text.starts_with("Transfer")).count(), 2, "{whole:?}");
    for at in 0..=stream.len() - opened {
        let (mut client, opened) = fresh();
        assert_eq!(in_two(&mut client, &stream[opened..], at, false), whole, "cut at {at}");
    }
}

/// Octets up to and with `open-ok`.
fn golden_opening(stream: &[u8]) -> usize {
    use fletch_amqp::v0_10::frame::Frame;
    let mut at = 8;
    loop {
        let frame = Frame::parse(&stream[at..], u16::MAX).unwrap().unwrap();
        at += frame.len();
        if frame.payload.starts_with(&[1, 8]) {
            return at;
        }
    }
}

#[test]
fn an_idle_connection_is_small() {
    let (mut pair, channel) = Pair::session("a session with a name as long as a uuid");
    for _ in 0..50 {
        pair.client.transfer(channel, &transfer("q"), false, |_| {}, &[1; 20_000][..]).unwrap();
        pair.server.transfer(channel, &transfer("q"), false, |_| {}, &[1; 20_000][..]).unwrap();
        pair.drive();
    }
    for end in [&mut pair.client, &mut pair.server] {
        end.shrink();
        assert!(end.memory() < 1200, "{} octets", end.memory());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the frame size, the sizes of the parts and the pieces the socket delivers: what
    /// comes out is what went in.
    #[test]
    fn fragments_come_together(
        max_frame in 4096u16..=65535,
        messages in prop::collection::vec((0usize..20_000, 0usize..200_000), 1..5),
        pieces in prop::collection::vec(1usize..70_000, 1..20),
    ) {
        let client = ClientConfig { max_frame_size: max_frame, ..Default::default() };
        let mut pair = Pair::new(client, ServerConfig::default());
        pair.drive();
        let channel = pair.client.attach(b"s", false).unwrap();
        pair.drive();
        let octets = |n: usize| (0..n).map(|i| (i * 31 + i / 251) as u8).collect::<Vec<_>>();
        for (header, body) in &messages {
            let header = octets(*header);
            pair.client
                .transfer(channel, &transfer("q"), false, |out| out.extend(&header), &octets(*body)[..])
                .unwrap();
        }
        let stream = std::mem::take(pair.client.out());
        let mut got = Vec::new();
        let mut kept: Vec<u8> = Vec::new();
        let mut rest = &stream[..];
        for piece in pieces.iter().cycle() {
            let (head, tail) = rest.split_at(rest.len().min(*piece));
            kept.extend_from_slice(head);
            let left = feed(&mut pair.server, pair.now, &kept, |_, seen| got.push(seen.kind));
            prop_assert!(left.len() < usize::from(max_frame));
            kept = left.to_vec();
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(kept.is_empty());
        prop_assert_eq!(got.len(), messages.len());
        for (kind, (h, b)) in got.into_iter().zip(messages) {
            let Kind::Transfer { header, body, .. } = kind else { panic!("{kind:?}") };
            prop_assert_eq!(header, octets(h));
            prop_assert_eq!(body, octets(b));
        }
    }
}

#[test]
fn execution_results_for_nothing_are_reported_as_they_are() {
    let (mut pair, channel) = Pair::session("s");
    let result = execution::Result { command_id: Some(CommandId(77)), value: None };
    pair.server.send(channel, &result.into(), false).unwrap();
    let completed = session::Completed { commands: None, timely_reply: true };
    let frame = control_frame(channel, completed);
    feed(&mut pair.client, pair.now, &frame, |_, seen| panic!("{seen:?}"));
    pair.drive();
    let said = pair.client_said();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("Result") && said[0].contains("77") && said[0].contains("None"));
}
