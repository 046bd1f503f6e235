//! AMQP over WebSocket: peers that break the rules, are slow or do not read; how connections end; and whole
//! conversations of both protocols however they are cut into messages and frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fletch_amqp::v1_0::frame::{Frame as AmqpFrame, PROTOCOL_HEADER, write_frame};
use fletch_amqp::v1_0::table::{Attach, Begin, Close, Flow, Open, Source};
use fletch_amqp::v1_0::types::{ValueRef, put_string};
use fletch_amqp::v1_0::{Composite, Performative, Role, SenderSettleMode, SequenceNo};
use fletch_amqp::wire::Reader;
use fletch_client::ConnectOptions;
use fletch_client::amqp::v1_0::message::Body;
use fletch_client::v1_0::{Connection, Outgoing, ReceiverOptions, SenderOptions, Terminus};
use fletch_tests::broker::Broker;
use fletch_tests::random::Random;
use fletch_tests::web::{self, Frame, Web, first, frame, handshake};
use fletch_tests::wire::{self, Wire};

const PATIENCE: Duration = Duration::from_secs(20);
/// Growth of the broker that one hostile connection may cause, at most.
const GROWTH: u64 = 8 << 20;

/// A broker with an HTTP listener, and a connection without HTTP that must not notice anything.
struct Scene {
    broker: Broker,
    http: std::net::SocketAddr,
    bystander: Wire,
}

impl Scene {
    fn new(options: &[&str]) -> Result<Scene> {
        let options = [&["--shards", "2", "--http", "127.0.0.1:0"], options].concat();
        let broker = Broker::start(&options)?;
        let http = broker.http_address()?;
        let mut bystander = Wire::open(broker.connect()?, u16::MAX)?;
        bystander.attach(0, "bystander")?;
        bystander.sync(0)?;
        Ok(Scene { broker, http, bystander })
    }

    fn undisturbed(&mut self) -> Result<()> {
        self.bystander.sync(0).context("the well-behaved connection was disturbed")
    }

    fn done(mut self) -> Result<()> {
        self.undisturbed()?;
        ensure!(!self.broker.log().contains("panicked"), "{}", self.broker.log());
        self.broker.stop()
    }

    /// Our client of 1.0, on the port of AMQP.
    fn client(&self) -> Result<Connection> {
        Ok(Connection::connect(self.broker.address(), &options())?)
    }
}

fn options() -> ConnectOptions {
    ConnectOptions { timeout: PATIENCE, ..ConnectOptions::default() }
}

fn queue(name: &str) -> SenderOptions {
    let capabilities = vec!["create-on-demand".into(), "queue".into()];
    let target = Terminus { capabilities, ..Terminus::of(name) };
    SenderOptions { target, ..SenderOptions::default() }
}

/// The frames of AMQP as one run of octets.
fn octets(performatives: &[Performative<'_>]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for performative in performatives {
        write_frame(&mut out, 0, performative, u32::MAX)?;
    }
    Ok(out)
}

/// What begins a connection and a session.
fn opening() -> Result<Vec<u8>> {
    let open = Open { container_id: "web", ..Open::default() };
    let begin = Begin { incoming_window: 1 << 20, ..Begin::default() };
    Ok([&PROTOCOL_HEADER[..], &octets(&[open.into(), begin.into()])?].concat())
}

fn flow() -> Flow<'static> {
    Flow { incoming_window: 1 << 20, ..Flow::default() }
}

/// A receiving link of a queue, on which all is settled, with credit for so many.
fn receiving(queue: &str, credit: u32) -> Result<Vec<u8>> {
    let (mut address, mut source) = (Vec::new(), Vec::new());
    put_string(queue, &mut address)?;
    let address = ValueRef::decode(&mut Reader::new(&address)).ok();
    Source { address, ..Source::default() }.encode(&mut source)?;
    let attach = Attach {
        name: "link",
        role: Role::RECEIVER,
        snd_settle_mode: SenderSettleMode::SETTLED,
        source: ValueRef::decode(&mut Reader::new(&source)).ok(),
        ..Attach::default()
    };
    let flow = Flow {
        handle: Some(0),
        delivery_count: Some(SequenceNo(0)),
        link_credit: Some(credit),
        ..flow()
    };
    octets(&[attach.into(), flow.into()])
}

/// An AMQP 1.0 conversation over a WebSocket.
struct Peer {
    web: Web,
    content: Vec<u8>,
    pongs: usize,
}

impl Peer {
    /// With a session on channel 0.
    fn begun(scene: &Scene) -> Result<Peer> {
        let mut web = Web::open(scene.http)?;
        web.send(first::BINARY, &opening()?)?;
        let mut peer = Peer { web, content: Vec::new(), pongs: 0 };
        peer.greeted()?;
        Ok(peer)
    }

    fn greeted(&mut self) -> Result<()> {
        while self.content.len() < 8 {
            ensure!(self.more()?, "closed without a header");
        }
        ensure!(self.content.drain(..8).eq(PROTOCOL_HEADER));
        self.expect("open")?;
        self.expect("begin")
    }

    fn more(&mut self) -> Result<bool> {
        match self.web.read_frame()? {
            None => return Ok(false),
            Some(Frame { first: first::BINARY, payload }) => {
                // What clients and gateways commonly take.
                ensure!(payload.len() <= 32 << 10, "a message of {} octets", payload.len());
                self.content.extend(payload);
            }
            Some(Frame { first: first::PONG, .. }) => self.pongs += 1,
            Some(other) => bail!("{other:?} came"),
        }
        Ok(true)
    }

    /// The names of the performatives that come, so many.
    fn said(&mut self, count: usize) -> Result<Vec<String>> {
        let (mut said, mut at) = (Vec::new(), 0);
        while said.len() < count {
            match AmqpFrame::parse(&self.content[at..], 1 << 20)? {
                None => {
                    self.content.drain(..at);
                    at = 0;
                    ensure!(self.more()?, "closed behind {} of {count}", said.len());
                }
                Some(frame) => {
                    at += frame.len();
                    if !frame.is_empty() {
                        let debug = format!("{:?}", frame.performative()?.0);
                        let name = debug.split(['(', ' ', '{']).next().unwrap_or_default();
                        said.push(name.to_lowercase());
                    }
                }
            }
        }
        self.content.drain(..at);
        Ok(said)
    }

    fn expect(&mut self, what: &str) -> Result<()> {
        let said = self.said(1)?;
        ensure!(said == [what], "{said:?} rather than {what}");
        Ok(())
    }
}

#[test]
fn what_is_no_handshake_is_answered_and_left() -> Result<()> {
    let mut scene = Scene::new(&["--http-origin", "https://console.example"])?;
    let long = format!("Host: 127.0.0.1\r\nX: {}", "x".repeat(100_000));
    let many = "X: y\r\n".repeat(100) + "Host: x";
    let evil = "Host: 127.0.0.1\r\nOrigin: https://evil.example";
    let rebound = "Host: evil.example\r\nOrigin: http://evil.example";
    let cases = [
        ("GET", "GET / HTTP/1.1\r\nX: y", "101", ""),
        ("Upgrade", "", "426", "amqp"),
        ("Upgrade", "Upgrade: h2c", "426", "amqp"),
        ("GET", "HEAD /healthz HTTP/1.1", "404", ""),
        ("GET", "POST / HTTP/1.1\r\nContent-Length: 4", "405", "GET"),
        ("GET", "GET / HTTP/3.0", "505", "HTTP/1.1"),
        ("GET", "PRI * HTTP/2.0", "505", "HTTP/1.1"),
        ("GET", "AMQP\x00\x01\x00\x00", "400", "WebSocket"),
        ("GET", "\x16\x03\x01\x02\x00\x01\x00\x01", "400", "WebSocket"),
        ("Host", "", "400", "Host"),
        ("Connection", "", "400", "Connection"),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: short", "400", "Sec-WebSocket-Key"),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", "426", "13"),
        ("Sec-WebSocket-Protocol", "", "400", "subprotocol amqp"),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqtt", "400", "subprotocol amqp"),
        ("Host", evil, "403", "--http-origin"),
        ("Host", rebound, "403", "--http-origin"),
        ("Host", "Host: evil.example\r\nOrigin: https://console.example", "101", ""),
        ("Host", "Host: 127.0.0.1:81\r\nOrigin: http://127.0.0.1:81", "101", ""),
        ("Host", &long, "431", "8192"),
        ("Host", &many, "431", "64"),
    ];
    for (start, line, status, text) in cases {
        let mut web = Web::connect(scene.http)?;
        // What is refused before its end may be closed before it is sent.
        let _ = web.write(handshake(&[(start, line)]).as_bytes());
        let head = web.head().with_context(|| line.to_owned())?;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}");
        if status == "101" {
            web.send(first::CLOSE, &[])?;
            web.expect(first::CLOSE, &[])?;
            continue;
        }
        let rest = web.rest()?;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        if line.starts_with("HEAD") {
            assert_eq!(rest, "");
        } else {
            assert_eq!(length, Some(rest.len().to_string().as_str()), "{head}{rest}");
            assert!(rest.contains(text), "{rest}");
        }
        scene.undisturbed().with_context(|| line.to_owned())?;
    }
    scene.done()
}

#[test]
fn who_is_slow_before_open_is_left() -> Result<()> {
    let scene = Scene::new(&["--max-negotiate-time", "1000"])?;
    let began = Instant::now();
    // No request, half of one, and one whose octets drip.
    let mut silent = Web::connect(scene.http)?;
    assert!(silent.head()?.starts_with("HTTP/1.1 408 "));
    let mut half = Web::connect(scene.http)?;
    half.write(&handshake(&[]).as_bytes()[..50])?;
    assert!(half.head()?.starts_with("HTTP/1.1 408 "));
    assert!(half.rest()?.contains("--max-negotiate-time"));
    let mut drip = Web::connect(scene.http)?;
    for octet in handshake(&[]).bytes() {
        if drip.write(&[octet]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = drip.head();
    // A WebSocket and no AMQP, part of its header, and no open behind it.
    for start in [&[][..], &PROTOCOL_HEADER[..5]] {
        let mut web = Web::open(scene.http)?;
        web.send(first::BINARY, start)?;
        let (code, reason) = web.closed()?;
        assert!(code == 1008 && reason.contains("--max-negotiate-time"), "{code} {reason}");
    }
    let mut web = Web::open(scene.http)?;
    web.send(first::BINARY, &PROTOCOL_HEADER)?;
    assert_eq!(web.closed()?.0, 1000);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    scene.done()
}

#[test]
fn frames_that_break_the_rules_close_with_their_code() -> Result<()> {
    let mut scene = Scene::new(&[])?;
    let before = scene.broker.counters()?.resident;
    let key = [9, 8, 7, 6];
    let long = |length: u64| [&[0x82, 0xff][..], &length.to_be_bytes(), &key].concat();
    let cases = [
        ("not masked", vec![0x82, 3, 1, 2, 3], 1002),
        ("reserved bits", frame(0xc2, b"deflated", key), 1002),
        ("a reserved opcode", frame(0x83, b"", key), 1002),
        ("a reserved control opcode", frame(0x8f, b"", key), 1002),
        ("a continuation of nothing", frame(0x80, b"x", key), 1002),
        ("a message in another", [frame(0x02, b"", key), frame(0x82, b"", key)].concat(), 1002),
        ("a fragmented ping", frame(0x09, b"x", key), 1002),
        ("a long ping", frame(first::PING, &[0; 126], key), 1002),
        ("a length in the wrong form", vec![0x82, 0xfe, 0, 5, 0, 0, 0, 0], 1002),
        ("text", frame(first::TEXT, b"hello", key), 1003),
        ("2 GiB", long(2 << 30), 1009),
        ("all of 64 bits", long(u64::MAX), 1009),
        ("half a code", frame(first::CLOSE, &[3], key), 1002),
        ("a code of nobody", frame(first::CLOSE, &[0, 0], key), 1002),
        ("a reason that is no text", frame(first::CLOSE, &[3, 0xe8, 0xff], key), 1007),
    ];
    for (what, octets, expected) in &cases {
        // At once, and within a conversation.
        let mut fresh = Web::open(scene.http)?;
        fresh.write(octets)?;
        let (code, reason) = fresh.closed().context(*what)?;
        assert!(code == *expected && !reason.is_empty(), "{what}: {code} {reason}");
        let mut peer = Peer::begun(&scene)?;
        peer.web.write(octets)?;
        assert_eq!(peer.web.closed().context(*what)?.0, *expected, "{what}");
        scene.undisturbed().context(*what)?;
    }
    // What is wrong with AMQP is said in AMQP.
    let mut peer = Peer::begun(&scene)?;
    peer.web.send(first::BINARY, &[0, 0, 0, 7, 2, 0, 0, 0])?;
    peer.expect("close")?;
    assert_eq!(peer.web.closed()?.0, 1000);
    // Who vanishes within a frame is only gone.
    let mut gone = Peer::begun(&scene)?;
    gone.web.write(&long(100_000))?;
    gone.web.finish()?;
    assert!(!gone.more()?);
    drop(Peer::begun(&scene)?);
    let after = scene.broker.settle(PATIENCE, |now| now.resident < before + GROWTH)?.resident;
    assert!(after < before + GROWTH, "resident from {before} to {after}");
    scene.done()
}

#[test]
fn a_conversation_one_octet_at_a_time() -> Result<()> {
    let scene = Scene::new(&[])?;
    let mut web = Web::connect(scene.http)?;
    for octet in handshake(&[]).bytes() {
        web.write(&[octet])?;
    }
    assert!(web.head()?.starts_with("HTTP/1.1 101 "));
    // One message for all, a frame for each octet, a ping before each, and each octet by itself.
    let opening = opening()?;
    for (at, octet) in opening.iter().enumerate() {
        let (begins, ends) = (at == 0, at + 1 == opening.len());
        let start = (if begins { 0x02 } else { 0 }) | (if ends { 0x80 } else { 0 });
        let ping = frame(first::PING, b"", [1, 2, 3, 4]);
        for octet in [ping, frame(start, &[*octet], [5, 6, 7, 8])].concat() {
            web.write(&[octet])?;
        }
    }
    let mut peer = Peer { web, content: Vec::new(), pongs: 0 };
    peer.greeted()?;
    assert!(peer.pongs > 0, "no ping was answered");
    scene.done()
}

#[test]
fn a_ping_is_answered_with_what_it_holds() -> Result<()> {
    let scene = Scene::new(&[])?;
    let mut web = Web::open(scene.http)?;
    for payload in [&b""[..], b"there?", &[7; 125]] {
        web.send(first::PING, payload)?;
        web.expect(first::PONG, payload)?;
    }
    web.send(first::PONG, b"asked for by nobody")?;
    web.send(first::PING, b"still there?")?;
    web.expect(first::PONG, b"still there?")?;
    scene.done()
}

#[test]
fn a_flood_of_pings_costs_bounded_memory() -> Result<()> {
    let mut scene = Scene::new(&[])?;
    let before = scene.broker.counters()?.resident;
    let mut peer = Peer::begun(&scene)?;
    let flood = frame(first::PING, &[1; 125], [4, 3, 2, 1]).repeat(1000);
    // 64 MiB, and nothing of what is answered is read.
    for _ in 0..500 {
        peer.web.write(&flood)?;
    }
    let after = scene.broker.counters()?.resident;
    assert!(after < before + GROWTH, "resident from {before} to {after}");
    scene.undisturbed()?;
    // The last one is answered for sure, and AMQP goes on.
    peer.web.write(&frame(first::PING, b"the last", [0; 4]))?;
    peer.web.send(first::BINARY, &octets(&[Flow { echo: true, ..flow() }.into()])?)?;
    peer.expect("flow")?;
    scene.done()
}

#[test]
fn a_reader_that_does_not_read_costs_bounded_memory_and_gets_all_later() -> Result<()> {
    const COUNT: u32 = 2_500;
    let scene = Scene::new(&[])?;
    let connection = scene.client()?;
    let session = connection.session()?;
    let sender = session.sender(&queue("backlog"))?;
    let body = vec![3; 16 * 1024];
    for _ in 0..COUNT {
        sender.send(&Outgoing::of_data(&body))?;
    }
    sender.settle()?;
    let before = scene.broker.counters()?.resident;
    let mut peer = Peer::begun(&scene)?;
    peer.web.send(first::BINARY, &receiving("backlog", COUNT)?)?;
    let mut most = 0;
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until {
        most = most.max(scene.broker.counters()?.resident);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(most < before + GROWTH, "resident from {before} to {most}");
    peer.expect("attach")?;
    let said = peer.said(COUNT as usize)?;
    assert!(said.iter().all(|name| name == "transfer"), "{said:?}");
    scene.done()
}

#[test]
fn no_message_is_longer_than_the_frames_its_client_takes() -> Result<()> {
    let scene = Scene::new(&[])?;
    let connection = scene.client()?;
    let sender = connection.session()?.sender(&queue("cut small"))?;
    for _ in 0..20 {
        sender.send(&Outgoing::of_data(&[3; 100_000]))?;
    }
    sender.settle()?;
    let open = Open { container_id: "small", max_frame_size: 600, ..Open::default() };
    let begin = Begin { incoming_window: 1 << 20, ..Begin::default() };
    let mut web = Web::open(scene.http)?;
    web.send(first::BINARY, &PROTOCOL_HEADER)?;
    web.send(first::BINARY, &octets(&[open.into(), begin.into()])?)?;
    web.send(first::BINARY, &receiving("cut small", 20)?)?;
    let mut came = 0;
    while came < 20 * 100_000 {
        let Some(Frame { first: first::BINARY, payload }) = web.read_frame()? else {
            bail!("an end behind {came} octets");
        };
        assert!(payload.len() <= 600, "a message of {} octets", payload.len());
        came += payload.len();
    }
    scene.done()
}

#[test]
fn answers_that_nobody_reads_stop_the_reading_of_commands() -> Result<()> {
    const COUNT: usize = 1_500_000;
    let scene = Scene::new(&[])?;
    let before = scene.broker.counters()?.resident;
    // AMQP 0-10: all that opens a session, and then queries that are answered at greater length than they have.
    let mut opening = wire::HEADER.to_vec();
    let start_ok = [&[0x0a, 0, 9][..], b"ANONYMOUS", &[5], b"en_US"].concat();
    let attach = [&[0x01, 0, 0, 4][..], b"deaf"].concat();
    for (channel, class, code, arguments) in [
        (0, 1, 2, &start_ok[..]),
        (0, 1, 6, &[0x03, 0, 0, 255, 0xff, 0xff]),
        (0, 1, 7, &[0x01, 0, 0]),
        (0, 2, 1, &attach),
        (0, 2, 7, &[0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        opening.extend(wire::Frame::control(channel, class, code, arguments).encode());
    }
    let queries = wire::Frame::command(0, 8, 4, false, &[1, 0, 1, b'q']).encode().repeat(1000);
    let mut web = Web::open(scene.http)?;
    web.send(first::BINARY, &opening)?;
    let mut writer = web.writer()?;
    let done = Arc::new(AtomicBool::new(false));
    let said_done = Arc::clone(&done);
    let writing = thread::spawn(move || -> Result<()> {
        for _ in 0..COUNT / 1000 {
            writer.send(first::BINARY, &queries)?;
        }
        said_done.store(true, Ordering::Release);
        Ok(())
    });
    thread::sleep(Duration::from_secs(3));
    let after = scene.broker.counters()?.resident;
    assert!(!done.load(Ordering::Acquire), "all was read while nothing was written");
    assert!(after < before + 3 * GROWTH / 2, "resident from {before} to {after}");
    // Now that they are read, all of them come.
    let (mut content, mut at, mut results) = (web.content(8)?, 8, 0);
    while results < COUNT {
        match content.get(at..at + 14) {
            None => {
                content.drain(..at);
                at = 0;
                content.extend(web.content(1)?);
            }
            Some(head) => {
                let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
                if content.len() - at < len {
                    content.extend(web.content(1)?);
                    continue;
                }
                // execution.result
                results += usize::from(head[1] == 1 && head[12..14] == [3, 2]);
                at += len;
            }
        }
    }
    writing.join().expect("no panic")?;
    scene.done()
}

#[test]
fn what_waits_for_an_answer_of_the_broker_is_taken_up_again() -> Result<()> {
    let scene = Scene::new(&[])?;
    // Each attach has to wait for all shards, and everything is in one message behind the first.
    let mut all = opening()?;
    for number in 0..50 {
        let (mut address, mut target) = (Vec::new(), Vec::new());
        put_string(&format!("queue-{number}"), &mut address)?;
        let address = ValueRef::decode(&mut Reader::new(&address)).ok();
        let capabilities = [
            fletch_amqp::v1_0::types::Symbol::new("create-on-demand").expect("ASCII"),
            fletch_amqp::v1_0::types::Symbol::new("queue").expect("ASCII"),
        ];
        let capabilities = (&capabilities[..]).into();
        let target_of = fletch_amqp::v1_0::table::Target {
            address,
            capabilities,
            ..fletch_amqp::v1_0::table::Target::default()
        };
        target_of.encode(&mut target)?;
        let name = format!("link-{number}");
        let attach = Attach {
            name: &name,
            handle: number,
            role: Role::SENDER,
            target: ValueRef::decode(&mut Reader::new(&target)).ok(),
            initial_delivery_count: Some(SequenceNo(0)),
            ..Attach::default()
        };
        all.extend(octets(&[attach.into()])?);
    }
    all.extend(octets(&[Close::default().into()])?);
    let mut web = Web::open(scene.http)?;
    web.send(first::BINARY, &all)?;
    let mut peer = Peer { web, content: Vec::new(), pongs: 0 };
    peer.greeted()?;
    let mut counts = [0, 0];
    loop {
        let said = peer.said(1)?;
        match said[0].as_str() {
            "attach" => counts[0] += 1,
            "flow" => counts[1] += 1,
            "close" => break,
            other => bail!("{other} behind {counts:?}"),
        }
    }
    assert_eq!(counts, [50, 50]);
    assert_eq!(peer.web.closed()?, (1000, String::new()));
    scene.done()
}

#[test]
fn who_closes_is_answered_and_what_he_held_is_back() -> Result<()> {
    let scene = Scene::new(&[])?;
    let mut empty = Web::open(scene.http)?;
    empty.send(first::CLOSE, &[])?;
    empty.expect(first::CLOSE, &[])?;
    assert_eq!(empty.read_frame()?, None);

    let connection = scene.client()?;
    let session = connection.session()?;
    let sender = session.sender(&queue("held"))?;
    sender.send(&Outgoing::of_data(b"one"))?;
    sender.settle()?;
    // Not settled, unlike with `receiving`.
    let bridged = Connection::connect(web::bridge(scene.http, 1)?, &options())?;
    let receiver = bridged.session()?.receiver(&ReceiverOptions::of("held"))?;
    let delivery = receiver.next_delivery(PATIENCE)?.context("no message")?;
    assert!(!delivery.redelivered()?);
    // The bridge says 1000 when its client is gone.
    drop((receiver, bridged));
    let receiver = session.receiver(&ReceiverOptions::of("held"))?;
    let delivery = receiver.next_delivery(PATIENCE)?.context("the message is not back")?;
    assert!(delivery.redelivered()?);

    let mut peer = Peer::begun(&scene)?;
    peer.web.send(first::CLOSE, &[&4001_u16.to_be_bytes()[..], b"tired"].concat())?;
    // What follows a close does not count.
    peer.web.send(first::TEXT, b"and another thing")?;
    assert_eq!(peer.web.closed()?, (4001, String::new()));
    scene.done()
}

#[test]
fn a_stop_tells_clients_that_the_broker_goes_away() -> Result<()> {
    let broker = Broker::start(&["--shards", "2", "--http", "127.0.0.1:0"])?;
    let http = broker.http_address()?;
    let mut request = Web::connect(http)?;
    request.write(b"GET / HT")?;
    let mut fresh = Web::open(http)?;
    let mut open = Web::open(http)?;
    open.send(first::BINARY, &opening()?)?;
    open.content(8)?;
    // The middle of a frame.
    open.write(&[0x82, 0xfe, 1, 0])?;
    let mut bystander = Wire::open(broker.connect()?, u16::MAX)?;
    broker.signal(rustix::process::Signal::TERM)?;
    assert!(request.head()?.starts_with("HTTP/1.1 503 "));
    for web in [&mut fresh, &mut open] {
        let (code, reason) = web.closed()?;
        assert!(code == 1001 && reason.contains("shutting down"), "{code} {reason}");
    }
    drop((request, fresh, open));
    bystander.read_to_close()?;
    broker.stopped()
}

#[test]
fn connections_of_all_kinds_count() -> Result<()> {
    let broker = Broker::start(&["--http", "127.0.0.1:0", "--max-connections", "2"])?;
    let http = broker.http_address()?;
    let _web = Web::open(http)?;
    let _wire = Wire::open(broker.connect()?, u16::MAX)?;
    assert!(Web::open(http).is_err(), "a third connection was let in");
    broker.stop()
}

/// Messages of 1.0 there and back, over any cuts.
#[test]
fn the_stream_may_be_cut_anywhere() -> Result<()> {
    let scene = Scene::new(&[])?;
    let seed = Random::seed();
    println!("FLETCH_SEED={seed}");
    let bridge = web::bridge(scene.http, seed)?;
    let connection = Connection::connect(bridge, &options())?;
    let session = connection.session()?;
    let sender = session.sender(&queue("cut"))?;
    let mut random = Random::new(seed);
    let bodies: Vec<Vec<u8>> = (0..3000_u32)
        .map(|number| number.to_be_bytes().repeat(random.within(1..500)))
        .chain([[0xab; 4096].repeat(256)])
        .collect();
    for body in &bodies {
        sender.send(&Outgoing::of_data(body))?;
    }
    sender.settle()?;
    let receiver = session.receiver(&ReceiverOptions::of("cut"))?;
    for expected in &bodies {
        let delivery = receiver.next_delivery(PATIENCE)?.context("no message came")?;
        match delivery.view()?.body() {
            Body::Data(pieces) => ensure!(pieces.joined() == expected.as_slice()),
            other => bail!("not octets: {other:?}"),
        }
        receiver.accept(&delivery)?;
    }
    receiver.close()?;
    connection.close()?;

    // 0-10 comes over the same.
    let stream = std::net::TcpStream::connect(bridge)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut old = Wire::open(stream, u16::MAX)?;
    old.attach(0, "over a bridge")?;
    for _ in 0..200 {
        old.sync(0)?;
    }
    scene.done()
}
