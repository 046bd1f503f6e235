//! Peers that break the rules, by ignorance or on purpose: each gets the answer that the
//! specification or the reference broker gives, and none costs more than it sent.

mod support;

use fletch_amqp::CommandId;
use fletch_amqp::v0_10::frame::{FIRST_SEGMENT, PROTOCOL_HEADER, WHOLE};
use fletch_amqp::v0_10::table::{connection, execution, message, queue, session, tx};
use fletch_amqp::v0_10::{
    AssemblyLimits, ClientConfig, CloseCode, Connection, Control, DetachCode, Limits, ServerConfig,
};
use proptest::prelude::*;
use support::*;

/// Session controls that say nothing in particular, one of each kind.
fn session_controls() -> Vec<Control<'static>> {
    vec![
        session::Attach { name: Some(b"s"), force: false }.into(),
        session::Attached { name: Some(b"s") }.into(),
        session::Detach { name: Some(b"s") }.into(),
        session::Detached { name: Some(b"s"), code: Some(DetachCode::NORMAL) }.into(),
        session::RequestTimeout { timeout: Some(9) }.into(),
        session::Timeout { timeout: Some(9) }.into(),
        command_point(0).into(),
        session::Expected { commands: set(&[]), fragments: None }.into(),
        session::Confirmed { commands: set(&[]), fragments: None }.into(),
        session::Completed { commands: set(&[]), timely_reply: false }.into(),
        session::KnownCompleted { commands: set(&[]) }.into(),
        session::Flush { expected: true, confirmed: true, completed: true }.into(),
        session::Gap { commands: set(&[]) }.into(),
    ]
}

fn connection_controls() -> Vec<Control<'static>> {
    vec![
        connection::Start::default().into(),
        connection::StartOk { mechanism: Some("ANONYMOUS"), ..Default::default() }.into(),
        connection::Secure { challenge: Some(b"c") }.into(),
        connection::SecureOk { response: Some(b"r") }.into(),
        connection::Tune { heartbeat_max: Some(9), ..Default::default() }.into(),
        connection::TuneOk::default().into(),
        connection::Open::default().into(),
        connection::OpenOk::default().into(),
        connection::Redirect { host: Some("h"), known_hosts: None }.into(),
        connection::Heartbeat {}.into(),
        connection::Close { reply_code: Some(CloseCode::NORMAL), reply_text: Some("") }.into(),
        connection::CloseOk {}.into(),
    ]
}

fn one(replies: &[String]) -> &str {
    match replies {
        [one] => one,
        other => panic!("{other:?}"),
    }
}

// ---- before the connection is open ----

#[test]
fn other_protocols() {
    for hello in [
        &b"AMQP\x00\x00\x09\x01"[..],
        b"AMQP\x01\x01\x00\x09",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"A\0",
    ] {
        let mut victim = Victim::fresh(ServerConfig::default());
        assert_eq!(victim.send(hello), 0);
        assert!(victim.server.is_closed());
        assert_eq!(victim.server.out(), &PROTOCOL_HEADER, "the right header is offered");
        assert!(
            one(&victim.texts().iter().map(|s| s.to_string()).collect::<Vec<_>>())
                .contains("Closed")
        );
    }
    let mut client = Connection::client(ClientConfig::default(), seconds(0));
    feed(&mut client, seconds(0), b"AMQP\x01\x01\x00\x09", |_, seen| {
        assert!(seen.text.starts_with("Closed { code: framing-error"), "{}", seen.text);
    });
    assert!(client.is_closed());
    assert_eq!(client.out(), &PROTOCOL_HEADER, "and nothing else");
}

#[test]
fn mechanisms_not_offered() {
    for mechanism in [Some("PLAIN"), Some(""), None, Some("anonymous"), Some("ANONYMOUS ")] {
        let mut victim = Victim::fresh(ServerConfig::default());
        victim.send(&PROTOCOL_HEADER);
        victim.replies();
        victim.control(0, connection::StartOk { mechanism, ..Default::default() });
        assert_eq!(one(&victim.replies()), "0 connection.close 320 mechanism not offered");
        assert!(victim.server.is_closed());
        assert!(victim.texts().iter().all(|text| text.starts_with("Closed")));
    }
}

#[test]
fn tuning_beyond_what_was_offered() {
    let offered = || ServerConfig {
        channel_max: 10,
        max_frame_size: 8192,
        heartbeat: 1..=60,
        ..Default::default()
    };
    let tune = |channel_max, max_frame_size, heartbeat| connection::TuneOk {
        channel_max: Some(channel_max),
        max_frame_size: Some(max_frame_size),
        heartbeat: Some(heartbeat),
    };
    for (tune_ok, good) in [
        (tune(10, 8192, 60), true),
        (tune(0, 0, 0), true),
        (tune(1, 4096, 1), true),
        (tune(11, 8192, 60), false),
        (tune(10, 8193, 60), false),
        (tune(10, 8192, 61), false),
        (tune(10, 4095, 60), false),
        (tune(10, 1, 60), false),
    ] {
        let mut victim = Victim::fresh(offered());
        victim.send(&PROTOCOL_HEADER);
        victim
            .control(0, connection::StartOk { mechanism: Some("ANONYMOUS"), ..Default::default() });
        victim.replies();
        victim.control(0, tune_ok.clone());
        assert_eq!(!victim.server.is_closed(), good, "{tune_ok:?}");
        if !good {
            assert!(one(&victim.replies()).starts_with("0 connection.close 501"));
        }
    }
}

/// Every control in every state of a server: taken, or the connection ends with framing-error.
#[test]
fn wrong_state_matrix_of_a_server() {
    type Build = fn() -> Victim;
    fn greeted() -> Victim {
        let mut victim = Victim::fresh(ServerConfig::default());
        victim.answering = false;
        victim.send(&PROTOCOL_HEADER);
        victim
    }
    fn judged(then: fn(&mut Connection)) -> Victim {
        let mut victim = greeted();
        victim
            .control(0, connection::StartOk { mechanism: Some("ANONYMOUS"), ..Default::default() });
        then(&mut victim.server);
        victim
    }
    fn tuned() -> Victim {
        let mut victim = judged(Connection::authenticated);
        victim.control(0, connection::TuneOk::default());
        victim
    }
    fn open() -> Victim {
        let mut victim = tuned();
        victim.control(0, connection::Open::default());
        victim.server.open_ok([""; 0]);
        victim
    }
    fn closing() -> Victim {
        let mut victim = open();
        victim.server.close(seconds(0), CloseCode::NORMAL, "");
        victim
    }
    // What each state takes besides heartbeat and close.
    let states: [(&str, Build, &[&str]); 6] = [
        ("StartOk", greeted, &["connection.start-ok"]),
        ("SecureOk", || judged(|server| server.challenge(b"c")), &["connection.secure-ok"]),
        ("TuneOk", || judged(Connection::authenticated), &["connection.tune-ok"]),
        ("Open", tuned, &["connection.open"]),
        ("Opened", open, &[]),
        ("Closing", closing, &["connection.close-ok"]),
    ];
    for (state, build, takes) in states {
        for control in connection_controls() {
            let name = control.name();
            let mut victim = build();
            victim.replies();
            victim.seen.clear();
            victim.control(0, control);
            let replies = victim.replies();
            let what = format!("{name} in {state}: {replies:?} {:?}", victim.texts());
            if name == "connection.heartbeat" {
                assert!(replies.is_empty() && victim.seen.is_empty(), "{what}");
            } else if name == "connection.close" {
                assert_eq!(one(&replies), "0 connection.close-ok", "{what}");
                assert!(victim.server.is_closed() && victim.seen.len() == 1, "{what}");
            } else if takes.contains(&name) {
                assert!(replies.is_empty(), "{what}");
                assert_eq!(victim.server.is_closed(), state == "Closing", "{what}");
            } else if state == "Closing" {
                assert!(replies.is_empty() && victim.seen.is_empty(), "{what}");
            } else {
                assert!(one(&replies).starts_with("0 connection.close 501"), "{what}");
                assert!(one(&replies).contains(name), "{what}");
                assert!(victim.server.is_closed() && victim.seen.len() == 1, "{what}");
            }
        }
        for control in session_controls() {
            let name = control.name();
            let mut victim = build();
            victim.replies();
            victim.seen.clear();
            victim.control(0, control);
            let replies = victim.replies();
            if ["Opened", "Closing"].contains(&state) {
                assert!(!victim.server.is_closed(), "{name} in {state}");
            } else {
                assert!(one(&replies).starts_with("0 connection.close 501"), "{name} in {state}");
            }
        }
        let mut victim = build();
        victim.replies();
        victim.command(0, tx::Select {});
        assert_eq!(victim.server.is_closed(), !["Opened", "Closing"].contains(&state), "{state}");
    }
}

#[test]
fn wrong_state_matrix_of_a_client() {
    let start = || connection::Start { mechanisms: None, ..Default::default() };
    let build = |state: &str| {
        let mut client = Connection::client(ClientConfig::default(), seconds(0));
        let mut input = PROTOCOL_HEADER.to_vec();
        let offered = fletch_amqp::types::Array::of_str16(["ANONYMOUS"]).encoded().unwrap();
        let mechanisms = Some(offered.view());
        if state != "Start" {
            input.extend(control_frame(0, connection::Start { mechanisms, ..start() }));
        }
        if ["OpenOk", "Opened", "Closing"].contains(&state) {
            input.extend(control_frame(0, connection::Tune::default()));
        }
        if ["Opened", "Closing"].contains(&state) {
            input.extend(control_frame(0, connection::OpenOk::default()));
        }
        feed(&mut client, seconds(0), &input, |_, _| {});
        if state == "Closing" {
            client.close(seconds(0), CloseCode::NORMAL, "");
        }
        client.out().clear();
        client
    };
    let states: [(&str, &[&str]); 5] = [
        ("Start", &["connection.start"]),
        ("Negotiating", &["connection.secure", "connection.tune"]),
        ("OpenOk", &["connection.open-ok", "connection.redirect"]),
        ("Opened", &[]),
        ("Closing", &["connection.close-ok"]),
    ];
    for (state, takes) in states {
        for control in connection_controls() {
            let name = control.name();
            let mut client = build(state);
            assert!(!client.is_closed(), "{state}");
            let mut seen = Vec::new();
            feed(&mut client, seconds(0), &control_frame(0, control), |_, s| seen.push(s.text));
            let what = format!("{name} in {state}: {seen:?}");
            let refused = seen.iter().any(|text| text.contains("framing-error"));
            let any = ["connection.heartbeat", "connection.close"].contains(&name);
            let taken = any || takes.contains(&name) || state == "Closing";
            assert_eq!(refused, !taken, "{what}");
        }
        let mut client = build(state);
        feed(&mut client, seconds(0), &control_frame(1, attach("s")), |_, _| {});
        assert_eq!(client.is_closed(), state != "Closing", "attach in {state}");
    }
}

// ---- frames ----

#[test]
fn bad_frames_end_the_connection() {
    let good = command_frame(1, tx::Select {});
    let with = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        bad
    };
    let cases = [
        (with(0, 0x4f), "framing version 1"),
        (with(0, 0x2f), "reserved"),
        (with(1, 4), "segment type 4"),
        (with(1, 0xff), "segment type 255"),
        (with(4, 1), "reserved"),
        (with(5, 0x81), "reserved"),
        (vec![0x0f, 1, 0, 11, 0, 1, 0, 1, 0, 0, 0, 0], "frame size 11"),
        (vec![0x0f, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], "frame size 0"),
        (raw(3, WHOLE, 1, b"x"), "out of order"),
        (raw(2, WHOLE, 1, b"x"), "out of order"),
        (raw(3, 0x07, 1, b"x"), "without a start"),
        (raw(1, 0x0d, 1, b"x"), "without a start"),
        (raw(0, 0x0b, 1, b"x"), "one segment"),
        (raw(0, 0x07, 1, b"x"), "one segment"),
        (raw(0, 0x0d, 1, b"x"), "without a start"),
        (raw(0, WHOLE, 1, b""), "no class"),
        (raw(0, WHOLE, 1, b"\x02"), "no class"),
        (raw(0, WHOLE, 1, b"\x02\x0e\0\0"), "no such entry"),
        (raw(0, WHOLE, 1, b"\x63\x01\0\0"), "unknown class"),
        (raw(0, WHOLE, 1, b"\x02\x01\x01\0\xff\xff"), "truncated"),
        (control_frame(1, connection::Heartbeat {}), "on channel 1"),
        (control_frame(0x8000, attach("s")), "agreed maximum"),
        (command_frame(0xffff, tx::Select {}), "agreed maximum"),
    ];
    for (octets, says) in cases {
        let mut victim = Victim::attached();
        victim.send(&octets);
        let replies = victim.replies();
        let reply = one(&replies);
        assert!(
            reply.starts_with("0 connection.close 501") && reply.contains(says),
            "{says}: {reply}"
        );
        assert!(victim.server.is_closed());
        // Whatever follows is swallowed without a word.
        assert_eq!(victim.send(&command_frame(1, tx::Select {})), 0);
        assert!(victim.replies().is_empty());
        assert_eq!(victim.seen.len(), 1);
    }
}

#[test]
fn frames_above_the_agreed_size() {
    let config = ServerConfig { max_frame_size: 4096, ..Default::default() };
    let mut victim = Victim::attached_with(config);
    // The header alone is enough to refuse: the body is not waited for.
    victim.send(&[0x0f, 1, 0x10, 1, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert!(one(&victim.replies()).contains("501 frame size 4097"));
}

#[test]
fn segments_in_the_wrong_order() {
    let start = command_segment(1, transfer("q"), FIRST_SEGMENT);
    // Flags: 8 first segment, 4 last segment, 2 first frame, 1 last frame.
    let cases: [&[Vec<u8>]; 7] = [
        &[start.clone(), start.clone()],
        &[start.clone(), raw(3, 0x03, 1, b"body that is not last")],
        &[start.clone(), raw(2, 0x02, 1, b"half"), raw(3, 0x05, 1, b"other half, as a body")],
        &[start.clone(), raw(2, 0x02, 1, b"half"), raw(2, 0x05, 1, b"other flags")],
        &[start.clone(), raw(2, 0x02, 1, b"half"), raw(2, 0x03, 1, b"another")],
        &[start.clone(), raw(2, 0x03, 1, b"h"), raw(2, 0x05, 1, b"no start")],
        &[raw(1, 0x0a, 1, b"\x04\x01"), raw(1, 0x0b, 1, b"again from the start")],
    ];
    for (n, case) in cases.iter().enumerate() {
        let mut victim = Victim::attached();
        victim.send(&case.concat());
        let replies = victim.replies();
        assert!(one(&replies).starts_with("0 connection.close 501"), "{n}: {replies:?}");
        // And the same one frame at a time.
        let mut victim = Victim::attached();
        for octets in *case {
            victim.send(octets);
        }
        assert_eq!(victim.replies(), replies, "{n}");
    }
}

#[test]
fn controls_in_fragments() {
    let whole = control_frame(1, session::Detach { name: Some(b"s") });
    let (head, tail) = whole[12..].split_at(3);
    let mut victim = Victim::attached();
    victim.send(&raw(0, 0x0e, 1, head));
    // Another channel's whole controls may come between.
    victim.control(2, attach("t"));
    victim.send(&raw(0, 0x0d, 1, tail));
    let replies = victim.replies();
    assert_eq!(replies.last().unwrap(), "1 session.detached 0", "{replies:?}");

    let mut victim = Victim::attached();
    victim.send(&raw(0, 0x0e, 1, head));
    victim.send(&raw(0, 0x0e, 2, head));
    assert!(one(&victim.replies()).contains("501 a fragmented control"));

    let mut victim = Victim::attached();
    victim.send(&raw(0, 0x0e, 1, &[0; 60_000]));
    victim.send(&raw(0, 0x0c, 1, &[0; 60_000]));
    assert!(one(&victim.replies()).contains("501 a control must be one segment"));
}

#[test]
fn tracks_are_not_looked_at() {
    // As the Java client numbers them: by class, not by kind.
    let mut victim = Victim::attached();
    for track in 0..16 {
        let mut frame = command_frame(1, tx::Select {});
        frame[5] = track;
        victim.send(&frame);
        let mut frame = control_frame(1, session::RequestTimeout { timeout: Some(1) });
        frame[5] = track;
        victim.send(&frame);
    }
    assert_eq!(victim.seen.len(), 16);
    assert!(!victim.server.is_closed());
}

// ---- sessions ----

#[test]
fn controls_without_a_session() {
    for control in session_controls() {
        let name = control.name();
        let mut victim = Victim::open(ServerConfig::default());
        victim.control(5, control.clone());
        let replies = victim.replies();
        match name {
            "session.attach" => {
                assert_eq!(replies, ["5 session.attached", "5 session.command-point"])
            }
            // An answer to this one could go on for ever.
            "session.detached" => assert!(replies.is_empty()),
            _ => assert_eq!(one(&replies), "5 session.detached 3", "{name}"),
        }
        // A run of them is answered once, but for `detach`, whose sender waits.
        if name != "session.attach" {
            victim.control(5, control);
            assert_eq!(victim.replies().len(), usize::from(name == "session.detach"), "{name}");
            assert_eq!(victim.server.session_count(), 0);
            assert!(victim.seen.is_empty() && victim.server.is_open());
        }
    }
}

#[test]
fn commands_without_a_session() {
    let mut victim = Victim::open(ServerConfig::default());
    for _ in 0..3 {
        victim.command(4, tx::Select {});
        victim.send(&raw(3, 0x07, 4, b"body"));
    }
    assert_eq!(one(&victim.replies()), "4 session.detached 3");
    // Another channel is another matter.
    victim.command(5, tx::Select {});
    assert_eq!(one(&victim.replies()), "5 session.detached 3");
    assert!(victim.seen.is_empty() && victim.server.is_open());
    // The channel works as soon as it is attached, and the next mistake is answered again.
    victim.control(5, attach("s"));
    victim.control(5, command_point(0));
    victim.command(5, tx::Select {});
    victim.control(5, session::Detach { name: Some(b"s") });
    victim.replies();
    victim.command(5, tx::Select {});
    assert_eq!(one(&victim.replies()), "5 session.detached 3");
}

#[test]
fn controls_on_an_attached_session() {
    for control in session_controls() {
        let name = control.name();
        let mut victim = Victim::attached();
        victim.control(1, control);
        let replies = victim.replies();
        let expected: &[&str] = match name {
            "session.detach" => &["1 session.detached 0"],
            "session.request-timeout" => &["1 session.timeout 0"],
            "session.flush" => {
                &["1 session.expected {}", "1 session.confirmed {}", "1 session.completed {}"]
            }
            _ => &[],
        };
        assert_eq!(replies, expected, "{name}");
        let ends = ["session.detach", "session.detached"].contains(&name);
        assert_eq!(victim.server.session_count(), usize::from(!ends), "{name}");
    }
}

#[test]
fn attach_twice() {
    let mut victim = Victim::attached();
    victim.control(1, attach("s"));
    assert!(victim.replies().is_empty(), "the same again is nothing");
    victim.control(1, attach("t"));
    assert_eq!(one(&victim.replies()), "1 session.detached 2");
    assert_eq!(victim.server.session_name(1), Some(&b"s"[..]));
    assert!(victim.seen.is_empty());
}

#[test]
fn names_that_are_not_ours() {
    for control in [
        Control::from(session::Detach { name: Some(b"other") }),
        session::Attached { name: Some(b"other") }.into(),
        session::Detach { name: None }.into(),
    ] {
        let mut victim = Victim::attached();
        victim.control(1, control.clone());
        let replies = victim.replies();
        let said = format!("1 execution.exception 542 0 2.{}", control.code());
        assert_eq!(replies, [said.as_str(), "1 session.detach"]);
    }
}

#[test]
fn too_many_sessions() {
    let limits = Limits { sessions: 3, ..Default::default() };
    let mut victim = Victim::open(ServerConfig { limits, ..Default::default() });
    for channel in 0..3 {
        victim.control(channel, attach("s"));
    }
    victim.replies();
    victim.control(3, attach("s"));
    assert_eq!(one(&victim.replies()), "3 session.detached 2");
    assert_eq!(victim.server.session_count(), 3);
    victim.control(1, session::Detach { name: Some(b"s") });
    victim.replies();
    victim.control(3, attach("s"));
    assert_eq!(victim.replies(), ["3 session.attached", "3 session.command-point"]);
}

#[test]
fn a_command_before_its_command_point() {
    let mut victim = Victim::open(ServerConfig::default());
    victim.control(1, attach("s"));
    victim.replies();
    victim.command(1, tx::Select {});
    assert_eq!(victim.replies(), ["1 execution.exception 409 0 0.0", "1 session.detach"]);
}

#[test]
fn after_an_exception_only_the_detach_matters() {
    let mut victim = Victim::attached();
    victim.control(1, session::Gap { commands: set(&[(5, 9)]) });
    assert_eq!(victim.replies(), ["1 execution.exception 542 0 2.13", "1 session.detach"]);
    assert!(victim.texts()[0].starts_with("Detached { channel: 1, ending: Exception"));
    for control in session_controls() {
        if !["session.detach", "session.detached"].contains(&control.name()) {
            victim.control(1, control);
        }
    }
    victim.command(1, tx::Select {});
    victim.send(&raw(3, 0x07, 1, b"what was on its way"));
    assert!(victim.replies().is_empty());
    victim.control(1, session::Detached { name: Some(b"s"), code: None });
    assert!(victim.replies().is_empty());
    assert_eq!(victim.seen.len(), 1, "the end is reported once");
    assert_eq!(victim.server.session_count(), 0);
}

// ---- command ids ----

#[test]
fn ids_that_cannot_be() {
    let cases: Vec<Control<'_>> = vec![
        session::Completed { commands: set(&[(0, 0)]), timely_reply: true }.into(),
        session::Completed { commands: set(&[(0, 0x7fff_fffe)]), timely_reply: true }.into(),
        session::Confirmed { commands: set(&[(0, 0)]), fragments: None }.into(),
        session::Expected { commands: set(&[(1, 1)]), fragments: None }.into(),
        session::KnownCompleted { commands: set(&[(1, 1)]) }.into(),
        session::KnownCompleted { commands: set(&[(0, 0x7fff_fffe)]) }.into(),
        session::Gap { commands: set(&[(1, 1)]) }.into(),
        session::Gap { commands: set(&[(1, 0x7fff_fffe)]) }.into(),
        session::CommandPoint { command_id: Some(CommandId(0)), command_offset: Some(1) }.into(),
    ];
    for control in cases {
        let mut victim = Victim::attached();
        victim.control(1, control.clone());
        let replies = victim.replies();
        assert!(replies[0].starts_with("1 execution.exception 54"), "{control:?}: {replies:?}");
        assert!(replies[0].ends_with(&format!(" 2.{}", control.code())));
        assert_eq!(replies[1], "1 session.detach");
    }
    // Ranges that no set can hold, or that reach half way round.
    for ranges in
        [[[0, 0, 0, 1], [0, 0, 0, 0]], [[0; 4], [0x7f, 0xff, 0xff, 0xff]], [[0; 4], [0xff; 4]]]
    {
        let mut payload = vec![2, 10, 1, 0, 0, 8];
        payload.extend(ranges.concat());
        let mut victim = Victim::attached();
        victim.send(&raw(0, WHOLE, 1, &payload));
        let replies = victim.replies();
        assert!(
            replies[0].starts_with("0 connection.close 501")
                || replies[0].starts_with("1 execution.exception 542"),
            "{replies:?}"
        );
    }
}

#[test]
fn a_gap_of_a_thousand_million_commands() {
    let mut victim = Victim::attached();
    victim.control(1, session::Gap { commands: set(&[(0, 0x3fff_ffff)]) });
    assert_eq!(one(&victim.replies()), "1 session.completed {0-1073741823} timely");
    victim.command(1, tx::Select {});
    assert!(victim.texts()[0].contains("1073741824"), "{:?}", victim.texts());
    victim.replies();
    // One in the middle of a command forgets the half that came.
    victim.send(&command_segment(1, transfer("q"), FIRST_SEGMENT));
    victim.control(1, session::Gap { commands: set(&[(0x4000_0001, 0x4000_0001)]) });
    victim.command(1, tx::Select {});
    assert!(victim.texts()[1].contains("1073741826"), "{:?}", victim.texts());
}

#[test]
fn replayed_commands_are_not_done_twice() {
    let mut victim = Victim::attached();
    for _ in 0..3 {
        victim.command(1, tx::Select {});
    }
    victim.control(1, command_point(1));
    victim.replies();
    for _ in 0..2 {
        victim.command(1, tx::Select {});
    }
    assert_eq!(victim.seen.len(), 3, "1 and 2 came before");
    victim.send(
        &[
            command_segment(1, transfer("q"), FIRST_SEGMENT),
            raw(2, 0x03, 1, b"h"),
            raw(3, 0x07, 1, b"b"),
        ]
        .concat(),
    );
    assert_eq!(victim.seen.len(), 4);
    assert!(victim.texts()[3].starts_with("Transfer 1 "), "{:?}", victim.texts());
    assert_eq!(victim.replies().last().unwrap(), "1 session.completed {0-3}");
    // A point in the future would leave a hole.
    victim.control(1, command_point(5));
    assert_eq!(victim.replies(), ["1 execution.exception 542 4 2.7", "1 session.detach"]);
}

#[test]
fn command_ids_wrap() {
    let mut victim = Victim::open(ServerConfig::default());
    victim.control(1, attach("s"));
    victim.control(1, command_point(u32::MAX - 1));
    victim.replies();
    for _ in 0..4 {
        victim.command(1, tx::Select {});
    }
    let ids: Vec<_> = victim
        .seen
        .iter()
        .filter_map(|seen| match seen.kind {
            Kind::Command(_, id) => Some(id.0),
            _ => None,
        })
        .collect();
    assert_eq!(ids, [u32::MAX - 1, u32::MAX, 0, 1]);
    let replies = victim.replies();
    assert_eq!(replies.last().unwrap(), "1 session.completed {4294967294-1}", "{replies:?}");
    victim.control(1, session::KnownCompleted { commands: set(&[(u32::MAX - 1, 0)]) });
    victim.control(1, session::Flush { expected: true, confirmed: true, completed: true });
    assert_eq!(
        victim.replies(),
        ["1 session.expected {2-2}", "1 session.confirmed {1-1}", "1 session.completed {1-1}"]
    );
}

#[test]
fn a_million_syncs_behind_one_command_cost_nothing() {
    let mut victim = Victim::attached();
    victim.answering = false;
    victim.command(1, tx::Select {});
    let syncs = command_frame(1, execution::Sync {}).repeat(10_000);
    victim.send(&syncs);
    let before = victim.server.memory();
    for _ in 0..20 {
        victim.send(&syncs);
    }
    assert_eq!(victim.server.memory(), before);
    victim.replies();
    victim.server.complete(1, CommandId(0));
    victim.server.flush();
    assert_eq!(one(&victim.replies()), "1 session.completed {0-210000} timely");
}

#[test]
fn completions_with_gaps_are_bounded() {
    let mut victim = Victim::attached();
    for _ in 0..40_000 {
        victim.server.send(1, &tx::Select {}.into(), false).unwrap();
    }
    victim.server.out().clear();
    // Every other command, in as many controls as it takes.
    let mut ended = false;
    for part in (0..40_000u32).step_by(2).collect::<Vec<_>>().chunks(4000) {
        let ranges: Vec<_> = part.iter().map(|id| (*id, *id)).collect();
        victim.control(1, session::Completed { commands: set(&ranges), timely_reply: false });
        ended |= victim.replies().iter().any(|reply| reply.contains("execution.exception 506"));
    }
    assert!(ended);
}

// ---- commands and content ----

#[test]
fn commands_that_are_not() {
    let cases = [
        (raw(1, WHOLE, 1, b""), "503 0 0.0"),
        (raw(1, WHOLE, 1, b"\x08"), "503 0 0.0"),
        (raw(1, WHOLE, 1, b"\x08\x01"), "503 0 8.1"),
        (raw(1, WHOLE, 1, b"\x63\x01\x01\0\0\0"), "540 0 99.1"),
        (raw(1, WHOLE, 1, b"\x08\x63\x01\0\0\0"), "540 0 8.99"),
        // The classes that nobody implements.
        (raw(1, WHOLE, 1, b"\x09\x01\x01\0\0\0"), "540 0 9.1"),
        (raw(1, WHOLE, 1, b"\x0a\x01\x01\0\0\0"), "540 0 10.1"),
        (raw(1, WHOLE, 1, b"\x08\x01\x01\0\x01\0\xffx"), "503 0 8.1"),
        (raw(1, WHOLE, 1, b"\x08\x01\x01\0\0\0trailing"), "503 0 8.1"),
        (raw(1, WHOLE, 1, b"\x04\x01\x01\0\x01\0\xff"), "503 0 4.1"),
    ];
    for (octets, says) in cases {
        let mut victim = Victim::attached();
        victim.send(&octets);
        let said = format!("1 execution.exception {says}");
        assert_eq!(victim.replies(), [said.as_str(), "1 session.detach"], "{octets:?}");
        assert_eq!(victim.seen.len(), 1);
        assert!(victim.server.is_open());
    }
}

#[test]
fn content_after_a_command_that_has_none() {
    let declare = queue::Declare { queue: Some("q"), ..Default::default() };
    for kind in [2, 3] {
        let frames =
            [command_segment(1, declare.clone(), FIRST_SEGMENT), raw(kind, 0x07, 1, b"content")];
        let mut victim = Victim::attached();
        victim.send(&frames.concat());
        assert_eq!(victim.replies(), ["1 execution.exception 503 0 8.1", "1 session.detach"]);
        assert_eq!(victim.seen.len(), 1, "{:?}", victim.texts());
        assert!(victim.server.is_open());
    }
}

#[test]
fn segments_above_their_limits() {
    let assembly = AssemblyLimits { command: 1000, header: 2000, body: 3000 };
    let limits = Limits { assembly, ..Default::default() };
    let config = || ServerConfig { limits: limits.clone(), ..Default::default() };
    let start = command_segment(1, transfer("q"), FIRST_SEGMENT);
    let cases: [(Vec<Vec<u8>>, bool); 7] = [
        (
            vec![
                raw(1, 0x0a, 1, &[&b"\x08\x01"[..], &[0; 600]].concat()),
                raw(1, 0x09, 1, &[0; 600]),
            ],
            false,
        ),
        (vec![start.clone(), raw(2, 0x07, 1, &[0; 2000])], true),
        (vec![start.clone(), raw(2, 0x07, 1, &[0; 2001])], false),
        (vec![start.clone(), raw(2, 0x02, 1, &[0; 2000]), raw(2, 0x00, 1, &[0; 1])], false),
        (vec![start.clone(), raw(3, 0x07, 1, &[0; 3000])], true),
        (vec![start.clone(), raw(3, 0x07, 1, &[0; 3001])], false),
        (vec![start.clone(), raw(3, 0x06, 1, &[0; 3000]), raw(3, 0x04, 1, &[0; 1])], false),
    ];
    for (n, (frames, good)) in cases.into_iter().enumerate() {
        for piecewise in [false, true] {
            let mut victim = Victim::attached_with(config());
            match piecewise {
                true => frames.iter().for_each(|frame| {
                    victim.send(frame);
                }),
                false => {
                    victim.send(&frames.concat());
                }
            }
            let replies = victim.replies();
            if good {
                assert_eq!(one(&replies), "1 session.completed {0-0}", "{n}");
                assert!(victim.texts()[0].starts_with("Transfer"));
            } else {
                assert!(replies[0].starts_with("1 execution.exception 506 0 "), "{n}: {replies:?}");
            }
        }
    }
}

#[test]
fn what_is_announced_and_not_sent_costs_nothing() {
    let mut victim = Victim::attached();
    let idle = victim.server.memory();
    // A transfer that says its content is 2^63 octets long, and then a frame of which only the
    // header comes.
    let properties =
        message::MessageProperties { content_length: Some(1 << 63), ..Default::default() };
    let mut header = Vec::new();
    fletch_amqp::v0_10::Compound::encode(&properties, &mut header).unwrap();
    victim.send(&command_segment(1, transfer("q"), FIRST_SEGMENT));
    victim.send(&raw(2, 0x03, 1, &header));
    let left = victim.send(&[0x04, 3, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 0]);
    assert_eq!(left, 12, "the driver keeps it");
    let octets = victim.server.memory() - idle;
    assert!(octets < 256, "{octets}");
    // What it does send is held, and no more than twice that.
    victim.send(&raw(3, 0x06, 1, &[0; 60_000]));
    assert!(victim.server.memory() - idle < 2 * 60_000 + 512);
    // And all of it is let go with the session.
    victim.control(1, session::Detach { name: Some(b"s") });
    victim.server.out().clear();
    victim.server.shrink();
    assert!(victim.server.memory() < idle);
}

#[test]
fn detached_is_never_answered() {
    let mut victim = Victim::open(ServerConfig::default());
    for code in [0, 1, 3, 9, 255] {
        let code = Some(DetachCode(code));
        victim.control(1, session::Detached { name: Some(b"s"), code });
        assert!(victim.replies().is_empty());
    }
    assert!(victim.seen.is_empty());
}

#[test]
fn a_client_survives_a_strange_server() {
    let (mut pair, channel) = Pair::session("s");
    for octets in [
        command_frame(channel, tx::Select {}),
        command_segment(channel, transfer("nobody"), FIRST_SEGMENT | 4),
        control_frame(9, session::Attached { name: Some(b"x") }),
        control_frame(channel, session::Flush { expected: true, confirmed: true, completed: true }),
    ] {
        feed(&mut pair.client, pair.now, &octets, |_, _| {});
        assert!(pair.client.is_open());
    }
}

// ---- anything ----

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn noise_on_an_open_connection(octets in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut victim = Victim::attached();
        victim.send(&octets);
        victim.server.flush();
    }

    /// Well-formed frames with anything in them, on few channels: this gets past the framing.
    #[test]
    fn noise_in_frames(
        frames in prop::collection::vec(
            (0u8..4, 0u8..16, 0u16..3, 0u8..11, 0u8..15, prop::collection::vec(any::<u8>(), 0..40)),
            1..60,
        )
    ) {
        let mut victim = Victim::attached();
        for (kind, flags, channel, class, code, mut payload) in frames {
            payload.splice(0..0, [class, code]);
            // Mostly whole frames, or hardly anything is ever decoded.
            let flags = if flags < 10 { WHOLE } else { flags };
            victim.send(&raw(kind, flags, channel, &payload));
            prop_assert!(victim.server.memory() < 64 << 10);
        }
        victim.server.timeout(seconds(100));
    }

    /// One octet of a good conversation is changed: whatever comes of it is an ending in order.
    #[test]
    fn one_octet_off(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut octets = handshake();
        octets.extend(control_frame(1, attach("s")));
        octets.extend(control_frame(1, command_point(0)));
        octets.extend(command_frame(1, queue::Declare { queue: Some("q"), ..Default::default() }));
        octets.extend(command_segment(1, transfer("q"), FIRST_SEGMENT));
        octets.extend(raw(2, 0x03, 1, b"header"));
        octets.extend(raw(3, 0x07, 1, b"body"));
        octets.extend(control_frame(1, session::Flush { expected: true, confirmed: true, completed: true }));
        octets.extend(control_frame(1, session::Detach { name: Some(b"s") }));
        let at = at.index(octets.len());
        octets[at] = value;
        let mut victim = Victim::fresh(ServerConfig::default());
        victim.send(&octets);
        let out = std::mem::take(victim.server.out());
        frames(&out);
        let closed = victim.texts().iter().filter(|text| text.starts_with("Closed")).count();
        prop_assert_eq!(closed, usize::from(victim.server.is_closed()));
    }
}
