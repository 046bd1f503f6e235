//! Evaluating a selector for a message allocates nothing, and one that was parsed is bounded by its
//! text.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fletch_amqp::types::Uuid;
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties, ReplyTo};
use fletch_amqp::{Map, Value};
use fletch_engine::selector::{MAX_LENGTH, MessageEnvironment, Selector};
use fletch_engine::{Flags, Format, Message, Meta, Time};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static OCTETS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; counting touches a thread's own cells.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        OCTETS.with(|octets| octets.set(octets.get().wrapping_add(layout.size())));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        OCTETS.with(|octets| octets.set(octets.get().wrapping_sub(layout.size())));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn message() -> Message {
    let mut header = Vec::new();
    DeliveryProperties { routing_key: Some("q"), priority: Some(4), ..Default::default() }
        .encode(&mut header)
        .unwrap();
    let headers = Map::new()
        .with("symbol", "ACME")
        .with("quantity", 100i32)
        .with("price", 12.5f64)
        .with("live", true)
        .with("qpid.subject", Value::Int32(7))
        .with("jms-type", Uuid([3; 16]));
    let headers = headers.encoded().unwrap();
    MessageProperties {
        message_id: Some(Uuid([7; 16])),
        correlation_id: Some(b"c"),
        reply_to: Some(ReplyTo { exchange: Some("e"), routing_key: Some("k") }),
        application_headers: Some(headers.view()),
        ..Default::default()
    }
    .encode(&mut header)
    .unwrap();
    let meta = Meta {
        format: Format::V0_10,
        header_len: header.len() as u32,
        routing_key: (0, 0),
        expires: Time::NEVER,
        priority: 4,
        durable: false,
        flags: Flags::of_body(false),
        publisher: None,
    };
    Message::new(meta, &header)
}

#[test]
fn evaluating_allocates_nothing() {
    let text = "symbol LIKE 'A%M_' AND symbol IN ('EMCA', symbol) AND live \
        AND quantity * 2 BETWEEN 199 AND 201 \
        AND price > 12 AND -price < 0 AND nothing IS NULL AND NOT (nothing = 1 AND NOT live) \
        AND JMSMessageID LIKE '07070707-%' AND JMSType = '7' AND JMSReplyTo = 'e/k' \
        AND amqp.jms_type LIKE '03%' AND JMSCorrelationID = 'c' AND JMSPriority = 4 \
        AND JMSDeliveryMode = 'NON_PERSISTENT' AND JMSTimestamp = 0 AND JMSExpiration = 0 \
        AND JMSDestination = 'q' AND NOT JMSRedelivered";
    let selector = Selector::parse(text).unwrap();
    let message = message();
    let before = ALLOCATIONS.with(Cell::get);
    let matches = selector.matches(&MessageEnvironment::new(&message, false));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
    assert!(matches);
}

/// The forms that take the most for each octet of text.
#[test]
fn a_selector_is_bounded_by_its_text() {
    let characters: String = (0x80..0x80 + 1000).filter_map(char::from_u32).collect();
    let pattern = format!("a LIKE '{characters}' OR ");
    let parts = [
        ("a IN (a", ",a".to_owned(), ")"),
        ("a", "+a".to_owned(), ""),
        ("a", " OR a=a".to_owned(), ""),
        ("a", " OR a IN(a)".to_owned(), ""),
        ("a", " OR a IS NULL".to_owned(), ""),
        ("", pattern, "a"),
    ];
    for (start, part, end) in parts {
        let count = (MAX_LENGTH - start.len() - end.len()) / part.len();
        let text = format!("{start}{}{end}", part.repeat(count));
        let before = OCTETS.with(Cell::get);
        let selector = Selector::parse(&text).unwrap();
        let octets = OCTETS.with(Cell::get).wrapping_sub(before);
        drop(selector);
        assert!(octets <= 70 * text.len(), "{part:.20}: {octets} for {}", text.len());
    }
}
