//! Peers that break the protocol: each ends its own connection or session with the specified code,
//! while a well-behaved connection beside it goes on and the broker's memory stays where it was.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_tests::broker::Broker;
use fletch_tests::wire::{End, Frame, HEADER, WHOLE, Wire, segment};

/// Codes of connection.close and execution.exception in the specification.
const FRAMING_ERROR: u16 = 501;
const COMMAND_INVALID: u16 = 503;
const ILLEGAL_ARGUMENT: u16 = 531;
const NOT_IMPLEMENTED: u16 = 540;

/// session.detached: no session is attached to the channel.
const NOT_ATTACHED: u8 = 3;

/// Growth of the broker that one hostile connection may cause, at most.
const GROWTH: u64 = 8 << 20;

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

    fn open(&self) -> Result<Wire> {
        Wire::open(self.broker.connect()?, u16::MAX)
    }

    fn attached(&self) -> Result<Wire> {
        let mut wire = self.open()?;
        wire.attach(0, "hostile")?;
        wire.sync(0)?;
        Ok(wire)
    }

    /// Sends the frame on an open connection with a session, and returns how the broker answered.
    fn answer(&mut self, frame: &Frame) -> Result<End> {
        let mut wire = self.attached()?;
        wire.send(frame)?;
        let end = wire.read_end()?;
        self.undisturbed()?;
        Ok(end)
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

fn close_code(end: &End) -> Option<u16> {
    match end {
        End::Close(code, _) => Some(*code),
        _ => None,
    }
}

#[test]
fn another_protocol_is_answered_with_ours_and_closed() -> Result<()> {
    let scene = Scene::new()?;
    for header in
        [b"AMQP\x00\x00\x09\x01", b"AMQP\x01\x01\x00\x09", b"GET / HT", b"\0\0\0\0\0\0\0\0"]
    {
        let mut wire = Wire::new(scene.broker.connect()?);
        wire.write(header)?;
        assert_eq!(wire.read_header()?, HEADER, "after {header:?}");
        wire.read_to_close()?;
    }
    scene.done()
}

#[test]
fn a_silent_peer_is_closed_after_the_negotiation_time() -> Result<()> {
    let broker = Broker::start(&["--shards", "2", "--max-negotiate-time", "500"])?;
    let began = Instant::now();
    let mut silent = Wire::new(broker.connect()?);
    let mut halfway = Wire::new(broker.connect()?);
    halfway.write(&HEADER[..5])?;
    let mut unauthenticated = Wire::new(broker.connect()?);
    unauthenticated.write(&HEADER)?;
    for wire in [&mut silent, &mut halfway, &mut unauthenticated] {
        wire.read_to_close()?;
    }
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(400), "closed after {waited:?}");
    assert!(waited < Duration::from_secs(5), "closed after {waited:?}");

    // One octet at a time does not buy time.
    let began = Instant::now();
    let mut slow = Wire::new(broker.connect()?);
    for octet in HEADER.iter().cycle() {
        if slow.write(&[*octet]).is_err() || began.elapsed() > Duration::from_secs(3) {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    slow.read_to_close()?;
    assert!(began.elapsed() < Duration::from_secs(5));

    // Who has opened in time may be silent as long as it likes.
    let mut open = Wire::open(broker.connect()?, u16::MAX)?;
    std::thread::sleep(Duration::from_millis(900));
    open.attach(0, "late")?;
    open.sync(0)?;
    broker.stop()
}

#[test]
fn a_frame_longer_than_negotiated_ends_the_connection() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut wire = Wire::open(scene.broker.connect()?, 4096)?;
    assert_eq!(wire.max_frame, 4096);
    wire.attach(0, "hostile")?;
    let payload = vec![0; 5000];
    let frame = Frame { flags: 0x0e, segment: segment::BODY, track: 1, channel: 0, payload };
    wire.send(&frame)?;
    assert_eq!(close_code(&wire.read_end()?), Some(FRAMING_ERROR));
    scene.undisturbed()?;
    scene.done()
}

#[test]
fn a_frame_shorter_than_its_header_ends_the_connection() -> Result<()> {
    let mut scene = Scene::new()?;
    for size in [0u8, 1, 11] {
        let mut wire = scene.open()?;
        wire.write(&[WHOLE, 0, 0, size, 0, 0, 0, 0, 0, 0, 0, 0])?;
        assert_eq!(close_code(&wire.read_end()?), Some(FRAMING_ERROR), "size {size}");
        scene.undisturbed()?;
    }
    scene.done()
}

#[test]
fn segments_out_of_place_end_the_connection() -> Result<()> {
    let mut scene = Scene::new()?;
    let sync = Frame::command(0, 3, 1, false, &[0, 0]);
    // Tracks are not among the cases: the Java client numbers them by class, and nobody checks them.
    let mut cases = vec![
        // a segment type that does not exist
        Frame { segment: 9, ..sync.clone() },
        // a body where a command must begin
        Frame { segment: segment::BODY, ..sync.clone() },
        // a header where a command must begin
        Frame { segment: segment::HEADER, ..sync.clone() },
        // a frame that continues what was never begun
        Frame { flags: 0x05, ..sync.clone() },
    ];
    // a control in two segments
    cases.push(Frame { flags: 0x0b, ..Frame::control(0, 2, 0x0c, &[0, 0]) });
    for case in cases {
        let mut wire = scene.attached()?;
        wire.send(&case)?;
        // What comes next shows a connection that took the frame for a part of something.
        wire.send(&case)?;
        let end = wire.read_end()?;
        assert_eq!(close_code(&end), Some(FRAMING_ERROR), "{case:?} was answered with {end:?}");
        scene.undisturbed()?;
    }
    scene.done()
}

#[test]
fn content_after_a_command_that_takes_none_is_refused() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut wire = scene.attached()?;
    let sync = Frame::command(0, 3, 1, false, &[0, 0]);
    wire.send(&Frame { flags: 0x0b, ..sync })?;
    wire.send(&Frame {
        flags: 0x07,
        segment: segment::BODY,
        track: 1,
        channel: 0,
        payload: vec![0; 100],
    })?;
    let end = wire.read_end()?;
    let refused = [Some(FRAMING_ERROR), Some(COMMAND_INVALID)].contains(&close_code(&end))
        || end == End::Exception(COMMAND_INVALID)
        || end == End::Exception(ILLEGAL_ARGUMENT);
    assert!(refused, "{end:?}");
    scene.undisturbed()?;
    scene.done()
}

#[test]
fn a_channel_without_session_is_detached() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut wire = scene.open()?;
    for frame in [
        Frame::command(3, 3, 1, true, &[0, 0]),
        // session.gap, completed and flush before attach
        Frame::control(4, 2, 0x0d, &[0x01, 0, 0, 0]),
        Frame::control(5, 2, 0x0a, &[0x01, 0, 0, 0]),
        Frame::control(6, 2, 0x0c, &[0x04, 0]),
    ] {
        wire.send(&frame)?;
        let end = wire.read_end()?;
        assert_eq!(end, End::Detached(NOT_ATTACHED), "{frame:?}");
        scene.undisturbed()?;
    }
    // The connection is none the worse for it.
    wire.attach(3, "after")?;
    wire.sync(3)?;
    scene.done()
}

#[test]
fn an_unknown_class_or_code_is_refused() -> Result<()> {
    let mut scene = Scene::new()?;
    // commands: class that does not exist, code that does not, class `file` that is not served
    for (class, code) in [(0x77, 1), (0x04, 0x77), (0x09, 0x01)] {
        let end = scene.answer(&Frame::command(0, class, code, false, &[0, 0]))?;
        let refused = end == End::Exception(COMMAND_INVALID)
            || end == End::Exception(NOT_IMPLEMENTED)
            || [Some(FRAMING_ERROR), Some(COMMAND_INVALID), Some(NOT_IMPLEMENTED)]
                .contains(&close_code(&end));
        assert!(refused, "{class:#x}.{code:#x}: {end:?}");
    }
    // controls
    for (class, code) in [(0x77, 1), (0x01, 0x77), (0x02, 0x77)] {
        let end = scene.answer(&Frame::control(0, class, code, &[0, 0]))?;
        assert!(close_code(&end).is_some(), "{class:#x}.{code:#x}: {end:?}");
    }
    scene.done()
}

#[test]
fn connection_controls_out_of_order_end_the_connection() -> Result<()> {
    let mut scene = Scene::new()?;
    // open before start-ok
    let mut early = Wire::new(scene.broker.connect()?);
    early.write(&HEADER)?;
    early.read_header()?;
    early.expect(1, 1)?;
    early.send(&Frame::control(0, 1, 7, &[0x01, 0, 0]))?;
    assert_eq!(close_code(&early.read_end()?), Some(FRAMING_ERROR));
    // a session before open
    let mut early = Wire::new(scene.broker.connect()?);
    early.start()?;
    early.expect(1, 5)?;
    early.send(&Frame::control(0, 2, 1, &[0x01, 0, 0, 1, b'x']))?;
    assert_eq!(close_code(&early.read_end()?), Some(FRAMING_ERROR));
    // start-ok after open
    let end = scene.answer(&Frame::control(0, 1, 2, &[0, 0]))?;
    assert_eq!(close_code(&end), Some(FRAMING_ERROR));
    // a mechanism that was not offered
    let mut wire = Wire::new(scene.broker.connect()?);
    wire.write(&HEADER)?;
    wire.read_header()?;
    wire.expect(1, 1)?;
    wire.send(&Frame::control(0, 1, 2, b"\x0a\x00\x04NONE\x05en_US"))?;
    assert!(close_code(&wire.read_end()?).is_some());
    scene.undisturbed()?;
    scene.done()
}

/// message.transfer to the default exchange, with these message-properties in its header segment.
fn transfer_with(properties: &[u8]) -> [Frame; 2] {
    let command = Frame::command(0, 4, 1, true, &[0, 0]);
    // size (4), class 4, code 3 (message-properties), flags, fields
    let size = u32::try_from(properties.len() + 2).expect("a test's header is short");
    let payload = [&size.to_be_bytes()[..], &[4, 3], properties].concat();
    [
        Frame { flags: 0x0b, ..command },
        Frame { flags: 0x07, segment: segment::HEADER, track: 1, channel: 0, payload },
    ]
}

#[test]
fn sizes_and_counts_that_lie_are_refused_at_bounded_memory() -> Result<()> {
    let mut scene = Scene::new()?;
    let before = scene.broker.counters()?.resident;
    let huge = [0xff, 0xff, 0xff, 0xff];
    let mut lies: Vec<(&str, Vec<Frame>)> = Vec::new();
    // message-properties: field 8 is application-headers, flag 0x01 of the second octet
    let map = |body: &[u8]| transfer_with(&[&[0x00, 0x01], body].concat()).to_vec();
    lies.push(("map of 4 GiB", map(&huge)));
    lies.push(("map of 4 G entries", map(&[&[0, 0, 0, 4][..], &huge].concat())));
    // one entry "a": vbin32 of 4 GiB
    let entry = [&[0, 0, 0, 11, 0, 0, 0, 1, 1, b'a', 0xa0][..], &huge].concat();
    lies.push(("value of 4 GiB", map(&entry)));
    // one entry "a": an array of void, 4 G of them
    let entry = [&[0, 0, 0, 16, 0, 0, 0, 1, 1, b'a', 0xaa, 0, 0, 0, 5, 0xf0][..], &huge].concat();
    lies.push(("array of 4 G nothings", map(&entry)));
    // lists in lists, as deep as a frame has room for
    let mut nested = vec![0, 0, 0, 0];
    for _ in 0..5000 {
        let size = u32::try_from(nested.len() + 5)?;
        nested = [&size.to_be_bytes()[..], &[0, 0, 0, 1, 0xa9], &nested].concat();
    }
    let size = u32::try_from(nested.len() + 7)?;
    let deep = [&size.to_be_bytes()[..], &[0, 0, 0, 1, 1, b'a', 0xa9], &nested].concat();
    lies.push(("5,000 lists in each other", map(&deep)));
    // session.completed with a set whose size is not a multiple of a range, and the whole circle
    lies.push(("half a range", vec![Frame::control(0, 2, 0x0a, &[1, 0, 0, 4, 0, 0, 0, 1])]));
    lies.push(("a set of 65,535", vec![Frame::control(0, 2, 0x0a, &[1, 0, 0xff, 0xff, 0])]));
    // header segment whose struct is longer than the segment
    let mut long = transfer_with(&[0, 0]);
    long[1].payload[..4].copy_from_slice(&huge);
    lies.push(("struct of 4 GiB", long.to_vec()));

    for (what, frames) in lies {
        let mut wire = scene.attached()?;
        for frame in &frames {
            wire.send(frame)?;
        }
        let end = wire.read_end().with_context(|| what.to_owned())?;
        assert!(end != End::Silent, "{what}: closed without a word");
        scene.undisturbed().context(what)?;
    }
    let after = scene.broker.counters()?.resident;
    assert!(after < before + GROWTH, "resident from {before} to {after}");
    scene.done()
}

#[test]
fn a_command_never_finished_costs_bounded_memory() -> Result<()> {
    let mut scene = Scene::new()?;
    let before = scene.broker.counters()?.resident;
    let mut wire = scene.attached()?;
    // The first frame of a control, and then frames that never end it.
    let part = Frame {
        flags: 0x0e,
        segment: segment::CONTROL,
        track: 0,
        channel: 0,
        payload: vec![0; 60_000],
    };
    wire.send(&part)?;
    let next = Frame { flags: 0x0c, ..part };
    for _ in 0..2000 {
        if wire.send(&next).is_err() {
            break;
        }
    }
    let after = scene.broker.counters()?.resident;
    assert!(after < before + GROWTH, "resident from {before} to {after}");
    scene.undisturbed()?;
    scene.done()
}

#[test]
fn the_whole_circle_of_command_numbers_is_not_walked() -> Result<()> {
    let mut scene = Scene::new()?;
    let mut wire = scene.attached()?;
    let began = Instant::now();
    // message.accept of 0..=0xffffffff and of a range that ends before it begins
    for range in [[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], [0, 0, 0, 9, 0, 0, 0, 1]] {
        let arguments = [&[0x01, 0, 0, 8][..], &range].concat();
        wire.send(&Frame::command(0, 4, 2, true, &arguments))?;
    }
    // Completed or refused, but at once.
    while let Some(frame) = wire.read()? {
        if matches!(frame.code(), Some((2, 0x0a) | (2, 0x04) | (1, 0x0b) | (3, 3))) {
            break;
        }
    }
    assert!(began.elapsed() < Duration::from_secs(2), "took {:?}", began.elapsed());
    scene.undisturbed()?;
    scene.done()
}
