//! Decoding what comes with every message allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fletch_amqp::v0_10::message::{HeaderOffsets, MessageView};
use fletch_amqp::v0_10::table::{message, session};
use fletch_amqp::v0_10::{AcceptMode, AcquireMode, Command, Compound, Control};
use fletch_amqp::{CommandId, Map, SequenceSet};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; counting touches a thread's own cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATIONS.with(Cell::get);
    let result = work();
    (result, ALLOCATIONS.with(Cell::get) - before)
}

#[test]
fn hot_bodies_decode_in_place() {
    let mut set = SequenceSet::range(CommandId(1), CommandId(900_000));
    for id in [1_000_000, 1_000_002, 1_000_004] {
        set.add(CommandId(id));
    }
    let mut transfer = Vec::new();
    Command::from(message::Transfer {
        destination: Some("amq.topic"),
        accept_mode: Some(AcceptMode::EXPLICIT),
        acquire_mode: Some(AcquireMode::PRE_ACQUIRED),
    })
    .encode_segment(false, &mut transfer)
    .expect("encodes");
    let mut accept = Vec::new();
    Command::from(message::Accept { transfers: Some(set.clone()) })
        .encode_segment(true, &mut accept)
        .expect("encodes");
    let mut completed = Vec::new();
    Control::from(session::Completed { commands: Some(set), timely_reply: false })
        .encode_segment(&mut completed)
        .expect("encodes");

    for segment in [&transfer, &accept] {
        let (decoded, count) = allocations(|| Command::decode_segment(segment));
        assert_eq!(count, 0, "{decoded:?}");
        let (_, command) = decoded.expect("decodes");
        let mut out = Vec::with_capacity(128);
        let (encoded, count) = allocations(|| command.encode_segment(false, &mut out));
        assert_eq!((encoded, count), (Ok(()), 0), "{command:?}");
    }
    let (decoded, count) = allocations(|| Control::decode_segment(&completed));
    assert_eq!(count, 0);
    assert!(decoded.is_ok());
}

#[test]
fn looking_into_a_header_allocates_nothing() {
    let headers = Map::new().with("colour", "red").encoded().expect("encodes");
    let mut header = Vec::new();
    message::DeliveryProperties { ttl: Some(5), routing_key: Some("k"), ..Default::default() }
        .encode(&mut header)
        .expect("encodes");
    message::MessageProperties { application_headers: Some(headers.view()), ..Default::default() }
        .encode(&mut header)
        .expect("encodes");
    let (found, count) = allocations(|| {
        let view = MessageView::parse(&header).ok()?;
        let key = view.routing_key().ok()??;
        let colour = view.application_headers().ok()?.get_str("colour")?;
        let offsets = HeaderOffsets::find(&header).ok()??;
        Some((key, colour, offsets.ttl_at.is_some()))
    });
    assert_eq!((found, count), (Some(("k", "red", true)), 0));
    let (_, control) = allocations(|| vec![1u8]);
    assert_eq!(control, 1, "the counter counts");
}

#[test]
fn hot_performatives_decode_in_place() {
    use fletch_amqp::v1_0::frame::{Frame, write_frame, write_transfer};
    use fletch_amqp::v1_0::table::{Accepted, Disposition, Flow, Transfer};
    use fletch_amqp::v1_0::{Performative, Role, SequenceNo};

    let transfer = Transfer {
        handle: 1,
        delivery_id: Some(SequenceNo(70_000)),
        delivery_tag: Some(b"tag"),
        message_format: Some(0),
        ..Transfer::default()
    };
    let flow = Flow { link_credit: Some(500), handle: Some(1), ..Flow::default() };
    let disposition = Disposition {
        role: Role::RECEIVER,
        first: SequenceNo(70_000),
        last: Some(SequenceNo(70_100)),
        settled: true,
        state: Some(Accepted {}.into()),
        ..Disposition::default()
    };
    let (flow, disposition) = (Performative::from(flow), Performative::from(disposition));
    let mut out = Vec::with_capacity(256);
    let (written, count) = allocations(|| {
        write_transfer(&mut out, 1, &transfer, b"payload", 512)?;
        write_frame(&mut out, 1, &flow, 512)?;
        write_frame(&mut out, 1, &disposition, 512)
    });
    assert_eq!((written, count), (Ok(()), 0));
    let mut rest = &out[..];
    for expected in [&Performative::from(transfer), &flow, &disposition] {
        let (frame, count) = allocations(|| Frame::parse(rest, 512));
        let frame = frame.expect("valid").expect("whole");
        assert_eq!(count, 0);
        let (decoded, count) = allocations(|| frame.performative());
        assert_eq!(count, 0);
        assert_eq!(&decoded.expect("decodes").0, expected);
        rest = &rest[frame.len()..];
    }
}
