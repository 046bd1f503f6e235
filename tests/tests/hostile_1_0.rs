//! Peers that break the rules of AMQP 1.0: each ends its own connection, session or link with the
//! specified condition, while a well-behaved connection beside it goes on and the broker's memory stays
//! where it was.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fletch_amqp::v1_0::frame::{
    Frame, PROTOCOL_HEADER, SASL_HEADER, write_frame, write_sasl, write_transfer,
};
use fletch_amqp::v1_0::table::{
    Attach, Begin, Disposition, Flow, Open, SaslInit, Target, Transfer,
};
use fletch_amqp::v1_0::types::{Symbol, ValueRef, put_string};
use fletch_amqp::v1_0::{Composite, Performative, Role, SequenceNo};
use fletch_amqp::wire::Reader;
use fletch_tests::broker::Broker;
use fletch_tests::wire::Wire;

/// Growth of the broker that one hostile connection may cause, at most.
const GROWTH: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that says what it likes.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream) -> Result<Peer> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Peer { stream, input: Vec::new() })
    }

    /// A connection that is open, with a session on channel 0.
    fn begun(broker: &Broker) -> Result<Peer> {
        let mut peer = Peer::new(broker.connect()?)?;
        peer.write(&PROTOCOL_HEADER)?;
        peer.send(0, &Open { container_id: "hostile", ..Open::default() }.into())?;
        peer.send(0, &Begin { incoming_window: 100, ..Begin::default() }.into())?;
        ensure!(peer.header()? == PROTOCOL_HEADER);
        peer.expect("open")?;
        peer.expect("begin")?;
        Ok(peer)
    }

    /// The same with a link on which it may send to a queue that is not there, or to any by `to`.
    fn relay(broker: &Broker) -> Result<Peer> {
        let mut peer = Peer::begun(broker)?;
        peer.attach(0, None)?;
        peer.expect("attach")?;
        peer.expect("flow")?;
        Ok(peer)
    }

    fn attach(&mut self, handle: u32, address: Option<&str>) -> Result<()> {
        let (mut octets, mut target) = (Vec::new(), Vec::new());
        if let Some(address) = address {
            put_string(address, &mut octets)?;
        }
        let address = ValueRef::decode(&mut Reader::new(&octets)).ok();
        Target { address, ..Target::default() }.encode(&mut target)?;
        let attach = Attach {
            name: "link",
            handle,
            role: Role::SENDER,
            target: ValueRef::decode(&mut Reader::new(&target)).ok(),
            initial_delivery_count: Some(SequenceNo(0)),
            ..Attach::default()
        };
        self.send(0, &attach.into())
    }

    fn write(&mut self, octets: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(octets)?)
    }

    fn send(&mut self, channel: u16, performative: &Performative<'_>) -> Result<()> {
        let mut out = Vec::new();
        write_frame(&mut out, channel, performative, u32::MAX)?;
        self.write(&out)
    }

    fn transfer(&mut self, transfer: &Transfer<'_>, payload: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        write_transfer(&mut out, 0, transfer, payload, u32::MAX)?;
        self.write(&out)
    }

    /// Reads once; false at the end.
    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn header(&mut self) -> Result<[u8; 8]> {
        while self.input.len() < 8 {
            ensure!(self.read()?, "closed without a header");
        }
        Ok(self.input.drain(..8).collect::<Vec<u8>>().try_into().expect("eight octets"))
    }

    /// What comes next, as text; none at the end of the connection.
    fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(frame) = Frame::parse(&self.input, 1 << 20)? {
                let said = match frame.kind {
                    fletch_amqp::v1_0::frame::FrameKind::Sasl => format!("{:?}", frame.sasl()?),
                    _ if frame.is_empty() => "empty".to_owned(),
                    _ => format!("{:?}", frame.performative()?.0),
                };
                let len = frame.len();
                self.input.drain(..len);
                return Ok(Some(said.to_lowercase()));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    fn expect(&mut self, what: &str) -> Result<String> {
        match self.next()? {
            Some(said) if said.starts_with(what) => Ok(said),
            other => bail!("{what} should have come, not {other:?}"),
        }
    }

    /// What stands in the frame that ends something for an error; what comes before is passed over.
    fn error(&mut self) -> Result<String> {
        loop {
            match self.next()? {
                Some(said) if said.contains("condition") => return Ok(said),
                Some(_) => {}
                None => bail!("closed without an error"),
            }
        }
    }

    fn closed(&mut self) -> Result<()> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

/// A broker with a connection that behaves, and must not notice anything.
struct Scene {
    broker: Broker,
    bystander: Wire,
}

impl Scene {
    fn new() -> Result<Scene> {
        let broker = Broker::start(&["--shards", "2"])?;
        let mut bystander = Wire::open(broker.connect()?, u16::MAX)?;
        bystander.attach(0, "bystander")?;
        bystander.sync(0)?;
        Ok(Scene { broker, bystander })
    }

    fn undisturbed(&mut self) -> Result<()> {
        self.bystander.sync(0).context("the well-behaved connection was disturbed")
    }

    fn done(mut self) -> Result<()> {
        self.undisturbed()?;
        ensure!(!self.broker.log().contains("panicked"), "{}", self.broker.log());
        self.broker.stop()
    }
}

#[test]
fn who_is_silent_or_slow_before_open_is_left() -> Result<()> {
    let broker = Broker::start(&["--shards", "2", "--max-negotiate-time", "500"])?;
    let began = Instant::now();
    let starts: [&[u8]; 3] = [&PROTOCOL_HEADER[..5], &PROTOCOL_HEADER, &SASL_HEADER];
    for start in starts {
        let mut peer = Peer::new(broker.connect()?)?;
        peer.write(start)?;
        while peer.read()? {}
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    broker.stop()
}

#[test]
fn a_mechanism_that_is_not_offered_is_refused() -> Result<()> {
    let scene = Scene::new()?;
    for mechanism in ["EXTERNAL", "", "PLAIN2"] {
        let mut peer = Peer::new(scene.broker.connect()?)?;
        peer.write(&SASL_HEADER)?;
        let mechanism = Symbol::new(mechanism).expect("ASCII");
        let mut out = Vec::new();
        write_sasl(&mut out, &SaslInit { mechanism, ..SaslInit::default() }.into())?;
        peer.write(&out)?;
        assert_eq!(peer.header()?, SASL_HEADER);
        peer.expect("saslmechanisms")?;
        let outcome = peer.expect("sasloutcome")?;
        assert!(outcome.contains("auth"), "{outcome}");
        peer.closed()?;
    }
    scene.done()
}

#[test]
fn frames_that_lie_end_the_connection() -> Result<()> {
    let mut scene = Scene::new()?;
    let before = scene.broker.counters()?.resident;
    let huge = [0xff; 4];
    let list = |octets: &[u8]| [&[0, 0x53, 0x10, 0xd0][..], octets].concat();
    let deep = [&[0x45][..]; 1].concat().into_iter().cycle().take(1).collect::<Vec<u8>>();
    let mut nested = deep;
    for _ in 0..5000 {
        let size = u32::try_from(nested.len() + 4)?;
        nested = [&[0xd0][..], &size.to_be_bytes(), &[0, 0, 0, 1], &nested].concat();
    }
    let size = u32::try_from(nested.len() + 4)?;
    let bodies = [
        ("list of 4 GiB", list(&huge)),
        ("list of 4 G fields", list(&[&[0, 0, 0, 4][..], &huge].concat())),
        ("container-id of 4 GiB", list(&[&[0, 0, 0, 9, 0, 0, 0, 1, 0xb1][..], &huge].concat())),
        (
            "array of 4 G nulls",
            list(&[&[0, 0, 0, 14, 0, 0, 0, 1, 0xf0, 0, 0, 0, 5][..], &huge, &[0x40]].concat()),
        ),
        (
            "5,000 lists in each other",
            list(&[&size.to_be_bytes()[..], &[0, 0, 0, 1], &nested].concat()),
        ),
        ("no descriptor", vec![0x40]),
        ("an unknown performative", vec![0, 0x53, 0x77, 0x45]),
        ("open without container-id", vec![0, 0x53, 0x10, 0x45]),
    ];
    for (what, body) in bodies {
        let mut peer = Peer::new(scene.broker.connect()?)?;
        peer.write(&PROTOCOL_HEADER)?;
        let len = u32::try_from(body.len() + 8)?;
        peer.write(&[&len.to_be_bytes()[..], &[2, 0, 0, 0], &body].concat())?;
        peer.header().with_context(|| what.to_owned())?;
        let said = peer.error().with_context(|| what.to_owned())?;
        assert!(said.starts_with("close"), "{what}: {said}");
        peer.closed()?;
        scene.undisturbed().context(what)?;
    }
    for header in [
        [0, 0, 0, 7, 2, 0, 0, 0],
        [0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0],
        [0, 0, 0, 8, 3, 0, 0, 0],
        [0, 0, 0, 8, 2, 9, 0, 0],
    ] {
        let mut peer = Peer::begun(&scene.broker)?;
        peer.write(&header)?;
        let said = peer.error()?;
        assert!(said.starts_with("close") && said.contains("framing-error"), "{said}");
        peer.closed()?;
    }
    let after = scene.broker.counters()?.resident;
    assert!(after < before + GROWTH, "resident from {before} to {after}");
    scene.done()
}

#[test]
fn what_comes_at_the_wrong_time_ends_what_it_should() -> Result<()> {
    let mut scene = Scene::new()?;
    let flow = || Flow { incoming_window: 10, ..Flow::default() };
    let tagged = || Transfer {
        delivery_id: Some(SequenceNo(0)),
        delivery_tag: Some(b"t"),
        ..Transfer::default()
    };
    // On a connection with a session: what is sent, what it ends, and for which condition.
    let cases: [(&str, Performative<'_>, u16, &str, &str); 7] = [
        (
            "open again",
            Open { container_id: "x", ..Open::default() }.into(),
            0,
            "close",
            "illegal-state",
        ),
        ("begin again", Begin::default().into(), 0, "close", "not-allowed"),
        ("a channel that is too high", Begin::default().into(), 60_000, "close", "not-allowed"),
        ("no such channel", flow().into(), 7, "close", "not-found"),
        (
            "no such handle",
            Flow { handle: Some(9), ..flow() }.into(),
            0,
            "end",
            "unattached-handle",
        ),
        ("a transfer without link", tagged().into(), 0, "end", "unattached-handle"),
        (
            "a sender without delivery-count",
            Attach { name: "x", ..Attach::default() }.into(),
            0,
            "end",
            "invalid-field",
        ),
    ];
    for (what, performative, channel, ends, condition) in cases {
        let mut peer = Peer::begun(&scene.broker)?;
        peer.send(channel, &performative)?;
        let said = peer.error().with_context(|| what.to_owned())?;
        assert!(said.starts_with(ends) && said.contains(condition), "{what}: {said}");
        scene.undisturbed().context(what)?;
    }
    // What is said of deliveries that never were harms nobody.
    let mut peer = Peer::begun(&scene.broker)?;
    for (first, last) in [(0, u32::MAX), (5, 3), (1 << 31, (1 << 31) + 9)] {
        let last = Some(SequenceNo(last));
        let all = Disposition {
            role: Role::RECEIVER,
            first: SequenceNo(first),
            last,
            ..Disposition::default()
        };
        peer.send(0, &Disposition { settled: true, ..all }.into())?;
    }
    peer.send(0, &Flow { echo: true, ..flow() }.into())?;
    peer.expect("flow")?;
    scene.done()
}

#[test]
fn what_is_wrong_with_a_link_ends_that_alone() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut peer = Peer::begun(&scene.broker)?;
    peer.attach(0, Some("there is no such queue"))?;
    let said = peer.expect("attach")?;
    assert!(said.contains("target: none"), "{said}");
    let said = peer.expect("detach")?;
    assert!(said.contains("not-found") && said.contains("there is no such queue"), "{said}");

    let mut peer = Peer::relay(&scene.broker)?;
    let transfer = Transfer { delivery_id: Some(SequenceNo(0)), ..Transfer::default() };
    peer.transfer(&transfer, b"")?;
    let said = peer.expect("detach")?;
    assert!(said.contains("invalid-field") && said.contains("delivery-tag"), "{said}");

    // Payloads that are no messages are rejected, and the link lives on.
    let mut peer = Peer::relay(&scene.broker)?;
    let payloads: [&[u8]; 4] =
        [b"", b"rubbish", &[0, 0x53, 0x75, 0xb0, 0xff, 0xff, 0xff, 0xff], &[0, 0x53, 0x99, 0x40]];
    for (id, payload) in (0..).zip(payloads) {
        let (delivery_id, delivery_tag) = (Some(SequenceNo(id)), Some(&b"t"[..]));
        peer.transfer(&Transfer { delivery_id, delivery_tag, ..Transfer::default() }, payload)?;
        let said = peer.expect("disposition")?;
        assert!(said.contains("rejected"), "{said}");
    }

    // More than there is credit for.
    let mut peer = Peer::relay(&scene.broker)?;
    for id in 0..2000 {
        let (delivery_id, delivery_tag) = (Some(SequenceNo(id)), Some(&b"t"[..]));
        let transfer = Transfer { delivery_id, delivery_tag, more: true, ..Transfer::default() };
        if peer.transfer(&Transfer { aborted: id % 2 == 1, ..transfer }, b"x").is_err() {
            break;
        }
    }
    let said = peer.error()?;
    assert!(said.starts_with("detach") || said.starts_with("end"), "{said}");
    scene.undisturbed()?;
    scene.done()
}

#[test]
fn a_message_that_never_ends_costs_bounded_memory() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut peer = Peer::relay(&scene.broker)?;
    let before = scene.broker.counters()?.resident;
    let (delivery_id, delivery_tag) = (Some(SequenceNo(0)), Some(&b"t"[..]));
    let transfer = Transfer { delivery_id, delivery_tag, more: true, ..Transfer::default() };
    let payload = vec![0; 60_000];
    let mut sent = 0_u64;
    while sent < 400 << 20 && peer.transfer(&transfer, &payload).is_ok() {
        sent += payload.len() as u64;
    }
    let said = peer.error()?;
    assert!(said.contains("message-size-exceeded"), "{said}");
    drop(peer);
    let settled = scene.broker.settle(PATIENCE, |now| now.resident < before + GROWTH)?;
    assert!(settled.resident < before + GROWTH, "resident from {before} to {}", settled.resident);
    scene.undisturbed()?;
    scene.done()
}

#[test]
fn only_the_protocols_that_are_wanted_are_spoken() -> Result<()> {
    let broker = Broker::start(&["--protocols", "amqp1.0"])?;
    let mut peer = Peer::begun(&broker)?;
    peer.attach(0, None)?;
    peer.expect("attach")?;
    let mut old = Peer::new(broker.connect()?)?;
    old.write(b"AMQP\x01\x01\x00\x0a")?;
    assert_eq!(old.header()?, SASL_HEADER);
    assert!(!old.read()?, "the old protocol is refused");
    broker.stop()?;
    let broker = Broker::start(&["--protocols", "amqp0-10"])?;
    let mut new = Peer::new(broker.connect()?)?;
    new.write(&PROTOCOL_HEADER)?;
    assert_eq!(&new.header()?, b"AMQP\x01\x01\x00\x0a");
    assert!(!new.read()?, "the new protocol is refused");
    broker.stop()
}
