//! Writes the seeds of the corpus: what our own two ends really say to each other, and its parts.
//! `cargo run --example seeds` in `tests/fuzz`; the files are named `seed-*`.

use std::time::Duration;

use fletch_amqp::types::{Array, List, Uuid};
use fletch_amqp::v0_10::frame::{Frame, PROTOCOL_HEADER, SegmentKind};
use fletch_amqp::v0_10::table::{dtx, exchange, execution, message, queue, session, tx};
use fletch_amqp::v0_10::{
    Blame, ClientConfig, CloseCode, Command, Compound, Connection, Control, DeliveryMode,
    ErrorCode, Event, ServerConfig,
};
use fletch_amqp::{CommandId, Map, SequenceSet, Value};
use fletch_journal::record::{Part, fragment_head, put_publish};
use fletch_journal::{Op, Ref, Xid};

fn main() {
    let (to_server, to_client) = conversation();
    for target in ["connection_server", "connection_client", "connection_chunks"] {
        let is_client = target == "connection_client";
        let octets = if is_client { &to_client } else { &to_server };
        write(target, "whole", &[&[0], &octets[..]].concat());
        write(target, "small-reads", &[&[6, 1, 7, 0, 9, 0, 30], &octets[..]].concat());
        write(target, "decisions", &[&[8, 0, 200, 0, 0, 9, 2, 3, 4], &octets[..]].concat());
    }
    write("connection_chunks", "client", &[&[4, 2, 5, 3, 1], &to_client[..]].concat());

    let (mut controls, mut commands) = (0, 0);
    for octets in [&to_server, &to_client] {
        let mut rest = octets.strip_prefix(&PROTOCOL_HEADER[..]).expect("both greet");
        while let Some(frame) = Frame::parse(rest, u16::MAX).expect("our own") {
            let octets = &rest[..frame.len()];
            rest = &rest[frame.len()..];
            match frame.kind {
                SegmentKind::Control => {
                    let control = Control::decode_segment(frame.payload).expect("our own");
                    controls += 1;
                    let name = control.name().replace('.', "-");
                    write("controls_commands", &name, frame.payload);
                }
                SegmentKind::Command => {
                    let (_, command) = Command::decode_segment(frame.payload).expect("our own");
                    commands += 1;
                    let name = command.name().replace('.', "-");
                    write("controls_commands", &name, frame.payload);
                    write("frame_header", "command", &[&[0], octets].concat());
                }
                SegmentKind::Header => {
                    write("message_header", "plain", &[&[1], frame.payload].concat())
                }
                SegmentKind::Body => write("frame_header", "body", &[&[2, 16, 0], octets].concat()),
            }
        }
    }
    println!("{controls} controls, {commands} commands");

    let mut header = vec![0xff];
    full_header(&mut header);
    selectors(&header[1..]);
    queries();
    write("message_header", "full", &header);
    let body = [&header[1..], &vec![0; header.len() - 1]].concat();
    write("convert", "old", &body);
    write("message_header", "empty", &[0x3f]);

    values();
    sets();
    write("sniff", "v0-10", &PROTOCOL_HEADER);
    write("sniff", "v1-0", b"AMQP\x00\x01\x00\x00");
    write("sniff", "sasl", b"AMQP\x03\x01\x00\x00rest");
    write("sniff", "http", b"GET / HTTP/1.1");
    let script = [
        3, 0, 0, 20, 2, 0, 2, 2, 0, 7, 6, 0, 0, 99, 0, 0x84, 0, 1, 0x86, 1, 2, 0, 1, 13, 200, 0x8d,
        77, 10, 0, 0, 0x8a, 0, 3, 24, 22, 0, 1, 0, 20, 23, 1, 20, 27, 0, 25,
    ];
    write("pair", "all-steps", &script);
    write("pair", "attach-race", &[0, 0, 20, 21, 0, 1, 0x95, 0, 1, 17, 0x91, 0, 17, 0x91]);
    write("journal_batch", "zeros", &[0; 64]);
    write("journal_batch", "fields", &(0..100).collect::<Vec<u8>>());
    let mut short = vec![0; 80];
    short[40] = 16;
    write("journal_batch", "body", &short);
    journal();
    v1_0();
    web();
}

/// A handshake as browsers make it, one that is refused, and frames of all kinds behind it.
fn web() {
    let handshake = "GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Origin: http://127.0.0.1:80\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: amqp\r\n\r\n";
    write("web_request", "handshake", handshake.as_bytes());
    write("web_request", "plain", b"HEAD /metrics HTTP/1.0\r\n\r\n");
    let frame = |first: u8, payload: &[u8]| {
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0][..], payload].concat()
    };
    let all = [
        frame(0x02, b"AMQP\0"),
        frame(0x89, b"there?"),
        frame(0x80, b"\x01\0\0"),
        frame(0x8a, b""),
        vec![0x82, 0xfe, 0, 126, 1, 2, 3, 4],
        vec![7; 126],
        frame(0x88, &[0x03, 0xe8, b'o', b'k']),
    ];
    write("web_frames", "all", &all.concat());
    write("web_frames", "text", &frame(0x81, b"no"));
    write("web_frames", "long", &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
}

/// Values of each type of 1.0, and frames with what two ends say to each other.
fn v1_0() {
    use fletch_amqp::v1_0::frame::{write_empty, write_frame, write_sasl, write_transfer};
    use fletch_amqp::v1_0::table::{
        Accepted, Attach, Begin, Close, Disposition, Error, Flow, Header, Open, Properties,
        Rejected, SaslInit, SaslMechanisms, SaslOutcome, Source, Target, Transfer,
    };
    use fletch_amqp::v1_0::types::{Array, Symbol, Value, ValueRef, put_described};
    use fletch_amqp::v1_0::{Composite, Multiple, Role, SequenceNo, amqp_error};
    use fletch_amqp::wire::Reader;

    let symbol = |text| Value::Symbol(String::from(text));
    let described = |value| Value::Described(Box::new((symbol("d"), value)));
    let scalars = vec![
        Value::Null,
        Value::Boolean(true),
        Value::Ubyte(1),
        Value::Ushort(2),
        Value::Uint(0),
        Value::Uint(300),
        Value::Ulong(5),
        Value::Byte(-1),
        Value::Short(-2),
        Value::Int(-3),
        Value::Int(-300),
        Value::Long(7),
        Value::Float(1.5),
        Value::Double(2.5),
        Value::Decimal32([1; 4]),
        Value::Decimal64([2; 8]),
        Value::Decimal128([3; 16]),
        Value::Char('x'),
        Value::Timestamp(8),
        Value::Uuid(Uuid([4; 16])),
        Value::Binary(vec![0]),
        Value::String("text".into()),
        symbol("name"),
        described(Value::Uint(1)),
    ];
    let entries = scalars.iter().cloned().map(|value| (symbol("k"), value)).collect();
    let elements = vec![Value::List(vec![]), Value::List(scalars.clone())];
    let array = Value::Array(Box::new(Array { descriptors: vec![symbol("d")], elements }));
    let values = [
        ("list", Value::List(scalars)),
        ("map", Value::Map(entries)),
        ("array", array),
        ("symbols", Value::array(vec![symbol("a"), symbol("b")])),
        ("long", Value::array(vec![Value::String("x".repeat(300)), Value::String("y".into())])),
    ];
    let mut map = Vec::new();
    for (name, value) in values {
        let mut out = Vec::new();
        value.encode(&mut out).expect("short");
        write("v1_0_types", name, &out);
        if name == "map" {
            map = out;
        }
    }
    write("v1_0_types", "wide", b"\xd1\0\0\0\x0e\0\0\0\x02\xb3\0\0\0\x01k\x56\x01\x43");

    let map = ValueRef::decode(&mut Reader::new(&map)).expect("our own").as_map();
    let plain = Symbol::new("PLAIN").expect("ASCII");
    let symbols = [plain, amqp_error::NOT_FOUND];
    let max = 4096;
    let mut out = vec![1];
    let mechanisms = SaslMechanisms { sasl_server_mechanisms: Multiple::from(&symbols[..]) };
    write_sasl(&mut out, &mechanisms.into()).expect("short");
    let init =
        SaslInit { mechanism: plain, initial_response: Some(b"\0a\0b"), hostname: Some("h") };
    write_sasl(&mut out, &init.into()).expect("short");
    write_sasl(&mut out, &SaslOutcome::default().into()).expect("short");
    write("v1_0_frames", "sasl", &out);

    let (mut source_octets, mut target_octets) = (Vec::new(), Vec::new());
    let source = Source { outcomes: plain.into(), filter: map, ..Source::default() };
    let error = Error { condition: plain, description: Some("no"), info: map };
    let mut out = vec![8];
    let mut add = |performative| write_frame(&mut out, 1, &performative, max).expect("short");
    let open = Open { container_id: "c", channel_max: 9, properties: map, ..Open::default() };
    add(open.into());
    add(Begin { remote_channel: Some(1), incoming_window: 100, ..Begin::default() }.into());
    add(Attach {
        name: "link",
        role: Role::RECEIVER,
        source: Some(source.to_view(&mut source_octets).expect("short")),
        target: Some(Target::default().to_view(&mut target_octets).expect("short")),
        offered_capabilities: Multiple::from(&symbols[..]),
        ..Attach::default()
    }
    .into());
    add(Flow { link_credit: Some(10), drain: true, ..Flow::default() }.into());
    let state = Some(Rejected { error: Some(error.clone()) }.into());
    add(Disposition { last: Some(SequenceNo(3)), state, ..Disposition::default() }.into());
    add(Disposition { state: Some(Accepted {}.into()), ..Disposition::default() }.into());
    add(Close { error: Some(error) }.into());
    write_empty(&mut out);
    let transfer = Transfer { delivery_tag: Some(b"t"), more: true, ..Transfer::default() };
    write_transfer(&mut out, 1, &transfer, b"payload", max).expect("short");
    write("v1_0_frames", "conversation", &out);
    // For a server without SASL that says yes: an empty script.
    let spoken = [&[1, 0][..], &fletch_amqp::v1_0::frame::PROTOCOL_HEADER, &out[1..]].concat();
    write("v1_0_connection", "conversation", &spoken);
    write("v1_0_chunks", "conversation", &spoken);
    let mut out = vec![1, 0];
    out.extend_from_slice(&fletch_amqp::v1_0::frame::PROTOCOL_HEADER);
    let mut add = |performative| write_frame(&mut out, 0, &performative, max).expect("short");
    add(Open { container_id: "c", ..Open::default() }.into());
    add(Begin { incoming_window: 100, outgoing_window: 100, ..Begin::default() }.into());
    let initial_delivery_count = Some(SequenceNo(0));
    add(Attach { name: "out", initial_delivery_count, ..Attach::default() }.into());
    add(Attach { name: "in", handle: 1, role: Role::RECEIVER, ..Attach::default() }.into());
    let flow = Flow { incoming_window: 3, handle: Some(1), ..Flow::default() };
    add(Flow { link_credit: Some(10), drain: true, ..flow }.into());
    for (id, more) in [(0, true), (0, false), (1, false)] {
        let (delivery_id, delivery_tag) = (Some(SequenceNo(id)), Some(&b"t"[..]));
        let transfer = Transfer { delivery_id, delivery_tag, more, ..Transfer::default() };
        write_transfer(&mut out, 0, &transfer, b"payload", max).expect("short");
    }
    let mut add = |performative| write_frame(&mut out, 0, &performative, max).expect("short");
    let all =
        Disposition { role: Role::RECEIVER, last: Some(SequenceNo(9)), ..Disposition::default() };
    add(Disposition { settled: true, state: Some(Accepted {}.into()), ..all }.into());
    add(Flow { incoming_window: 100, echo: true, ..Flow::default() }.into());
    add(fletch_amqp::v1_0::table::Detach { handle: 1, closed: true, error: None }.into());
    add(fletch_amqp::v1_0::table::End { error: None }.into());
    add(Close { error: None }.into());
    write("v1_0_connection", "session", &out);
    write("v1_0_chunks", "session", &out);

    let mut out = vec![0];
    Header { durable: true, priority: 9, ..Header::default() }.encode(&mut out).expect("short");
    let mut id = Vec::new();
    Value::Ulong(7).encode(&mut id).expect("short");
    let id = ValueRef::decode(&mut Reader::new(&id)).ok();
    let properties = Properties { message_id: id, subject: Some("s"), ..Properties::default() };
    properties.encode(&mut out).expect("short");
    write("v1_0_frames", "sections", &out);
    let head = out[1..].to_vec();
    let mut out = vec![0];
    source.encode(&mut out).expect("short");
    write("v1_0_frames", "source", &out);

    // The same with bodies of each kind, between maps.
    let entry = |key| Value::Map(vec![(key, Value::List(vec![Value::Uint(1), Value::Null]))]);
    let section = |code, value: Value| {
        let mut out = Vec::new();
        put_described(code, &mut out);
        value.encode(&mut out).expect("short");
        out
    };
    let data = section(0x75, Value::Binary(b"data".to_vec()));
    let list = section(0x76, Value::List(vec![Value::Boolean(true)]));
    let text = Value::Described(Box::new((symbol("d"), Value::String("text".into()))));
    let bodies = [
        ("data", [&data[..], &data].concat()),
        ("sequence", [&list[..], &list].concat()),
        ("value", section(0x77, text)),
        ("none", Vec::new()),
    ];
    let at = head.windows(3).position(|octets| octets == [0, 0x53, 0x73]);
    let (header, properties) = head.split_at(at.expect("properties"));
    for (name, body) in bodies {
        let sections = [
            header,
            &section(0x71, entry(symbol("d"))),
            &section(0x72, entry(symbol("a"))),
            properties,
            &section(0x74, entry(Value::String("k".into()))),
            &body,
            &section(0x78, entry(symbol("f"))),
        ];
        write("v1_0_message", name, &sections.concat());
        write("convert", name, &sections.concat());
    }
    let named = [&[0, 0xa3, 17][..], b"amqp:amqp-value:*", &[0x41]].concat();
    write("v1_0_message", "named", &named);
}

/// Records with each kind of operation, and logs that end in each way.
fn journal() {
    let xid = Xid { shard: 1, number: 2 };
    let mut record = Vec::new();
    put_publish(&mut record, &[(Ref { queue: 1, position: 2 }, true)], 3);
    record.extend_from_slice(b"abc");
    for op in [
        Op::Prepare(xid),
        Op::Dequeue { queue: 1, first: 2, last: 3 },
        Op::Define { id: 1, payload: b"queue" },
        Op::Undefine { id: 1 },
        Op::Decide { xid, commit: true },
        Op::Delivered { queue: 1, upto: 3 },
        Op::Remember { queue: 1, payload: b"ids" },
    ] {
        op.put(&mut record);
    }
    write("journal_record", "operations", &record);
    write("journal_record", "cut", &[&[3, 10, 100, 200], &record[..]].concat());
    let parts = [Part::Whole, Part::First, Part::Middle, Part::Last];
    let body: Vec<u8> =
        parts.iter().flat_map(|part| [&fragment_head(*part, 2)[..], b"xy"].concat()).collect();
    write("journal_record", "fragments", &body);
    // Steps of a script: see `walk.rs`. A whole record, one over three batches, one more batch.
    let log = [
        &[0, 5, 3, 0, 1, 2, 9, 9, 0, 255][..],
        &[2, 1, 7, 0, 255, 3, 1, 8, 0, 255, 4, 1, 9, 0, 255],
        &[1, 1, 5, 0, 255],
    ];
    let log = log.concat();
    write("journal_walk", "whole", &log);
    write("journal_walk", "closed", &[&log[..], &[10, 0]].concat());
    write("journal_walk", "torn", &[&log[..], &[7, 1, 0]].concat());
    write("journal_walk", "damaged", &[&log[..], &[6, 0, 16, 70, 1]].concat());
    write("journal_walk", "file-missing", &[&log[..], &[5, 2, 1, 5, 2, 1, 8, 1]].concat());
    write("journal_walk", "shortened", &[&log[..], &[5, 2, 1, 11, 1, 20, 0, 0]].concat());
    write("journal_walk", "freed", &[&log[..], &[9, 2]].concat());
    write("journal_walk", "unacknowledged", &[0, 1, 1, 7, 0, 0, 1, 1, 7, 0, 0, 7, 0, 0]);
    for (name, wrong) in [("salt", 1), ("shard", 2), ("chain", 3), ("newer", 4)] {
        write("journal_walk", name, &[&log[..], &[1, 1, 5, wrong, 255, 1, 1, 5, 0, 0]].concat());
    }
    let operations = [&[1, 1, record.len() as u8][..], &record, &[0, 0]].concat();
    write("journal_walk", "operations", &operations);
}

/// Each form of the language, and what is just too much of it, for a message with this header.
fn selectors(header: &[u8]) {
    let table = [
        ("empty", " "),
        ("fields", "JMSType = 'a.b' AND JMSPriority > 3 AND JMSDeliveryMode <> 'PERSISTENT'"),
        ("texts", "JMSMessageID LIKE '07%' OR JMSReplyTo = 'e/r' OR JMSCorrelationID IS NOT NULL"),
        ("times", "JMSExpiration BETWEEN 0 AND 0xFF AND JMSTimestamp / 1000 = 1 OR JMSRedelivered"),
        ("headers", "n * 2 + -1 >= 13.0 AND \"x-amqp-0-10.app-id\" IN ('me', 5, TRUE)"),
        ("annotations", "amqp.jms_type = amqp.subject OR qpid.subject = '' OR JMSXGroupID = n"),
        ("like", "'%_''x' NOT LIKE '!%!__%' ESCAPE '!' AND NOT n NOT BETWEEN n AND - - n"),
        ("numbers", "017 < 0b1_01L OR .5e-3f = 1.D OR 0x8p-1 > 9223372036854775807 OR n / 0 = 1"),
        ("unclosed", "a = 'b"),
        ("half", "a NOT IN (b,"),
    ];
    for (name, selector) in table {
        write("selector", name, &[selector.as_bytes(), &[0], header].concat());
    }
    write("selector", "deep", format!("{}a{}", "(".repeat(128), ")".repeat(128)).as_bytes());
    let pattern = "a_%".repeat(300);
    write("selector", "pattern", format!("a LIKE '{pattern}'\0aaaa").as_bytes());
}

/// Each form of the language, and what is just too much of it, for a document with something of each kind.
fn queries() {
    let document = "<?xml version='1.0'?><!-- c --><o:orders xmlns:o='urn:orders' day='3'>\
        <order id='1' side='buy'><price>10.5</price><n>100</n></order>\
        <order id='2'><price> 9 </price><n>20</n><note>a&amp;b<![CDATA[c]]></note></order>\
        <?p i?></o:orders>";
    let table = [
        ("paths", "//order[@id = 2]/preceding-sibling::order[price > 9]/../order[last()]/n = 20"),
        ("axes", "//n/ancestor-or-self::*[1]/descendant-or-self::node()/self::text()"),
        ("names", "declare namespace x = 'urn:orders'; /x:orders/*:order | /x:*/@* and not(//y:z)"),
        ("default", "declare default element namespace 'urn:orders'; count(/orders union //n) = 1"),
        (
            "for",
            "for $o in //order, $p in $o/price let $n := $p * 2 where $o/n > 50 return $n >= 21",
        ),
        ("satisfies", "some $p in //price satisfies (every $q in //price satisfies $p >= $q)"),
        (
            "numbers",
            "-7 idiv 2 = -3 and 1e3 div .5 mod 7 - +1 < 3 and (1, 2.) != (3, 4) or 1 eq ()",
        ),
        (
            "texts",
            "concat('it''s', \"&#65;&lt;\", 1, true()) = substring(normalize-space(//note), 2, 3)",
        ),
        (
            "sums",
            "sum(//n) = 120 and avg(//n) = 60 and max(//price) > round(abs(-1.5)) and empty(())",
        ),
        (
            "types",
            "xs:integer('7') = 7 and xs:string(7) = '7' and number(string(1.5)) = xs:double(1.5)",
        ),
        ("if", "if (exists(//note)) then starts-with(//note, 'a') else local-name(/*) = 'orders'"),
        (
            "headers",
            "declare variable $n external; declare variable $text as xs:string external; \
             declare variable $x := $n + 1; (: a (: b :) :) $x = $text + 1 and $n = 7",
        ),
        ("unclosed", "//a[b = 'c"),
        ("half", "let $a := (1,"),
    ];
    for (name, query) in table {
        write("xquery", name, &[query.as_bytes(), &[0], document.as_bytes()].concat());
    }
    let deep = format!("{}1{}", "(".repeat(100), ")".repeat(100));
    write("xquery", "deep", format!("{deep}\0{}", "<a>".repeat(60)).as_bytes());
    let all = "//*[//*[//*]]\0<a>".to_owned() + &"<b/>".repeat(100) + "</a>";
    write("xquery", "hungry", all.as_bytes());
}

fn write(target: &str, name: &str, octets: &[u8]) {
    let dir = format!("{}/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(&dir).expect("the corpus can be written");
    std::fs::write(format!("{dir}/seed-{name}"), octets).expect("the corpus can be written");
}

fn full_header(out: &mut Vec<u8>) {
    let delivery = message::DeliveryProperties {
        redelivered: true,
        priority: Some(4),
        delivery_mode: Some(DeliveryMode::PERSISTENT),
        ttl: Some(5000),
        timestamp: Some(1),
        expiration: Some(6),
        exchange: Some("amq.topic"),
        routing_key: Some("a.b"),
        ..Default::default()
    };
    delivery.encode(out).expect("short");
    message::FragmentProperties { first: true, last: true, fragment_size: Some(3) }
        .encode(out)
        .expect("short");
    let headers = Map::new().with("x-amqp-0-10.app-id", "me").with("n", 7i64);
    let headers = headers.encoded().expect("short");
    let properties = message::MessageProperties {
        content_length: Some(3),
        message_id: Some(Uuid([7; 16])),
        correlation_id: Some(b"c"),
        reply_to: Some(message::ReplyTo { exchange: Some("e"), routing_key: Some("r") }),
        content_type: Some("text/plain"),
        content_encoding: Some("utf-8"),
        user_id: Some(b"u"),
        app_id: Some(b"a"),
        application_headers: Some(headers.view()),
    };
    properties.encode(out).expect("short");
}

/// All that two of our ends say in a whole life: to the server, to the client.
fn conversation() -> (Vec<u8>, Vec<u8>) {
    let now = Duration::from_secs(1);
    let mut client = Connection::client(ClientConfig::default(), now);
    let mut server = Connection::server(ServerConfig::default(), now);
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut talk = |client: &mut Connection, server: &mut Connection| {
        for _ in 0..6 {
            client.flush();
            let octets = std::mem::take(client.out());
            to_server.extend_from_slice(&octets);
            let mut input = &octets[..];
            while let Some(event) = server.next(now, &mut input) {
                match event {
                    Event::Authenticate { .. } => server.authenticated(),
                    Event::Open { .. } => server.open_ok(["amqp:tcp:one:5672"]),
                    Event::Attach { channel, .. } => server.attach_ok(channel),
                    Event::Command { channel, id, command: Command::QueueQuery(_), .. } => {
                        let result = queue::QueueQueryResult {
                            queue: Some("q"),
                            message_count: Some(1),
                            ..Default::default()
                        };
                        server.result(channel, id, &result).expect("attached");
                    }
                    Event::Command { channel, id, .. } => server.complete(channel, id),
                    Event::Transfer { channel, id, .. } => {
                        server.accept(channel, id);
                        server.complete(channel, id);
                    }
                    _ => {}
                }
            }
            server.flush();
            let octets = std::mem::take(server.out());
            to_client.extend_from_slice(&octets);
            let mut input = &octets[..];
            while let Some(event) = client.next(now, &mut input) {
                match event {
                    Event::Command { channel, id, .. } | Event::Transfer { channel, id, .. } => {
                        client.complete(channel, id);
                    }
                    _ => {}
                }
            }
        }
    };
    talk(&mut client, &mut server);
    let channel = client.attach(b"s", false).expect("open");
    talk(&mut client, &mut server);
    client.request_timeout(channel, 9).expect("attached");
    let arguments = Map::new().with("qpid.max_count", 10i64).encoded().expect("short");
    let arguments = Some(arguments.view());
    let xid = || Some(dtx::Xid { format: Some(1), global_id: Some(b"g"), branch_id: Some(b"b") });
    let q = Some("q");
    let commands: Vec<Command<'_>> = vec![
        queue::Declare { queue: q, durable: true, arguments, ..Default::default() }.into(),
        exchange::Declare { exchange: Some("e"), r#type: Some("topic"), ..Default::default() }
            .into(),
        exchange::Bind { queue: q, exchange: Some("e"), binding_key: Some("a.#"), arguments }
            .into(),
        exchange::Query { name: Some("e") }.into(),
        exchange::Bound { queue: q, ..Default::default() }.into(),
        queue::Query { queue: q }.into(),
        message::Subscribe { queue: q, destination: Some("d"), ..Default::default() }.into(),
        message::Flow { destination: Some("d"), unit: None, value: Some(9) }.into(),
        message::SetFlowMode::default().into(),
        message::Acquire { transfers: Some(SequenceSet::range(CommandId(0), CommandId(1))) }.into(),
        message::Release { transfers: Some(SequenceSet::new()), set_redelivered: true }.into(),
        message::Reject { transfers: Some(SequenceSet::new()), code: None, text: Some("t") }.into(),
        tx::Select {}.into(),
        dtx::Start { xid: xid(), join: true, resume: false }.into(),
        dtx::SetTimeout { xid: xid(), timeout: Some(5) }.into(),
        execution::Sync {}.into(),
        queue::Purge { queue: q }.into(),
        queue::Delete { queue: q, if_unused: true, if_empty: true }.into(),
    ];
    for command in &commands {
        client.send(channel, command, false).expect("attached");
    }
    let transfer = message::Transfer { destination: Some("e"), ..Default::default() };
    client.transfer(channel, &transfer, true, full_header, &b"abc"[..]).expect("attached");
    client.request_completions(channel).expect("attached");
    talk(&mut client, &mut server);
    server.transfer(channel, &transfer, false, full_header, &[7; 70][..]).expect("attached");
    talk(&mut client, &mut server);
    client.detach(channel);
    talk(&mut client, &mut server);
    let channel = client.attach(b"two", true).expect("open");
    talk(&mut client, &mut server);
    let blame = Blame { command_id: Some(CommandId(0)), class: 8, code: 1, field: 0 };
    server.exception(channel, ErrorCode::NOT_FOUND, blame, "no");
    talk(&mut client, &mut server);
    client.close(now, CloseCode::NORMAL, "bye");
    talk(&mut client, &mut server);
    (to_server, to_client)
}

fn values() {
    let inner = Map::new().with("n", 1u64).with("t", "text").with("b", true);
    let list = List(vec![Value::Void, Value::Float(1.5), Value::Map(inner.clone())]);
    let map = Map::new()
        .with("map", inner)
        .with("list", list)
        .with("array", Array::of_str16(["a", "b"]))
        .with("uuid", Uuid([3; 16]))
        .with("latin", Value::Str8Latin(b"\xe9".to_vec()))
        .with("utf16", Value::Str16Utf16(vec![0, 65]))
        .with("wide", Value::Bin256(Box::new([1; 32])))
        .with("decimal", Value::Dec64([2; 9]))
        .with("opaque", Value::Opaque { code: 0x81, data: vec![1] })
        .with("struct", Value::Struct32(vec![4, 1, 0, 0]));
    let mut out = Vec::new();
    Value::Map(map).encode(&mut out).expect("short");
    write("types", "map", &out);
    write("types", "content", &out[5..]);
    let mut deep = Value::List(List(vec![]));
    for _ in 0..30 {
        deep = Value::List(List(vec![deep]));
    }
    out.clear();
    deep.encode(&mut out).expect("not too deep");
    write("types", "deep", &out);
    for (name, value) in
        [("int", Value::Int16(-2)), ("uint", Value::Uint64(9)), ("text", Value::from("12"))]
    {
        out.clear();
        value.encode(&mut out).expect("short");
        write("types", name, &out);
    }
}

fn sets() {
    let mut set = SequenceSet::new();
    for low in [0u32, 4, 100, u32::MAX - 5] {
        set.add_range(CommandId(low), CommandId(low.wrapping_add(2)));
    }
    let mut out = Vec::new();
    set.encode(&mut out).expect("short");
    write("sequence_set", "ranges", &out);
    out[2..].rotate_left(8);
    write("sequence_set", "unordered", &out);
    write("sequence_set", "operations", &[0, 0, 0, 0, 0, 3, 9, 2, 5, 2, 4, 4, 9, 5, 0, 0, 6, 1, 1]);
    let confirmed = session::Confirmed { commands: Some(set), fragments: None };
    out.clear();
    Control::from(confirmed).encode_segment(&mut out).expect("short");
    write("controls_commands", "session-confirmed", &out);
}
