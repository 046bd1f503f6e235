//! Message headers: looking into them, rewriting them, patching a copy.

use fletch_amqp::limits::MAX_HEADER_STRUCTS;
use fletch_amqp::types::{MapRef, Uuid};
use fletch_amqp::v0_10::message::{
    Annotated, HeaderError, HeaderOffsets, HeaderPatch, MessageView, annotate_header,
    rewrite_header,
};
use fletch_amqp::v0_10::table::message::{
    DeliveryProperties, FragmentProperties, MessageProperties, ReplyTo,
};
use fletch_amqp::v0_10::{Compound, DeliveryMode, Struct32};
use fletch_amqp::{DecodeError, Map, Value};
use proptest::prelude::*;

fn delivery() -> DeliveryProperties<'static> {
    DeliveryProperties {
        priority: Some(7),
        delivery_mode: Some(DeliveryMode::PERSISTENT),
        ttl: Some(500),
        exchange: Some("amq.topic"),
        routing_key: Some("a.b"),
        ..Default::default()
    }
}

/// Message properties, fragment properties and a struct nobody knows.
fn others() -> Vec<u8> {
    let headers = Map::new().with("colour", "red").with("size", 3i64).encoded().expect("encodes");
    let mut out = Vec::new();
    MessageProperties {
        content_length: Some(12),
        reply_to: Some(ReplyTo { exchange: None, routing_key: Some("answers") }),
        user_id: Some(b"guest"),
        application_headers: Some(headers.view()),
        ..Default::default()
    }
    .encode(&mut out)
    .expect("encodes");
    FragmentProperties { first: true, last: true, fragment_size: None }
        .encode(&mut out)
        .expect("encodes");
    Struct32 { code: 0x7f01, body: b"private" }.encode(&mut out).expect("encodes");
    out
}

fn header() -> Vec<u8> {
    let mut out = Vec::new();
    delivery().encode(&mut out).expect("encodes");
    out.extend_from_slice(&others());
    out
}

/// Where a routing key stands in a header.
fn key_at(octets: &[u8]) -> u32 {
    let at = octets.windows(3).position(|three| three == b"a.b");
    u32::try_from(at.expect("has the key")).expect("short")
}

/// Where an octet stands after the header was annotated.
fn place(moved: Annotated, at: u32) -> u32 {
    if (at as usize) < moved.from { at } else { at.saturating_add_signed(moved.by as i32) }
}

#[test]
fn an_application_header_is_set() {
    let mut fore = others();
    delivery().encode(&mut fore).expect("encodes");
    let mut bare = Vec::new();
    delivery().encode(&mut bare).expect("encodes");
    for octets in [header(), fore, bare] {
        let mut out = b"before".to_vec();
        let moved = annotate_header(&octets, &mut out, &[("n", Value::Int64(7))]).expect("set");
        let once = out.split_off(6);
        let view = MessageView::parse(&once).expect("parses");
        assert_eq!(view.delivery_properties(), Ok(delivery()));
        assert_eq!(place(moved, key_at(&octets)), key_at(&once));
        let before = MessageView::parse(&octets).expect("parses");
        assert_eq!(view.user_id(), before.user_id());
        assert_eq!(view.fragment_properties(), before.fragment_properties());
        let headers = view.application_headers().expect("are there");
        assert_eq!(headers.get_int("n"), Some(7));
        assert_eq!(headers.len(), before.application_headers().expect("decodes").len() + 1);
        assert_eq!(headers.validate(), Ok(()));
        // Again: in the place of the old one, and shorter.
        let mut twice = Vec::new();
        let moved = annotate_header(&once, &mut twice, &[("n", Value::Int8(8))]).expect("set");
        assert_eq!(twice.len() + 7, once.len());
        assert_eq!(place(moved, key_at(&once)), key_at(&twice));
        let headers = MessageView::parse(&twice).expect("parses").application_headers();
        assert_eq!(headers.expect("are there").get_int("n"), Some(8));
    }
}

#[test]
fn a_full_header_has_no_room_for_application_headers() {
    let mut octets = Vec::new();
    for n in 0..MAX_HEADER_STRUCTS {
        Struct32 { code: 0x7f00 + n as u16, body: b"" }.encode(&mut octets).expect("encodes");
    }
    let set = annotate_header(&octets, &mut Vec::new(), &[("n", Value::Int64(7))]);
    assert_eq!(set, Err(DecodeError::TooManyStructs.into()));
}

#[test]
fn properties_are_found() {
    let octets = header();
    let view = MessageView::parse(&octets).expect("parses");
    assert_eq!(view.delivery_properties(), Ok(delivery()));
    assert_eq!(view.exchange(), Ok(Some("amq.topic")));
    assert_eq!(view.routing_key(), Ok(Some("a.b")));
    assert_eq!(view.is_persistent(), Ok(true));
    assert_eq!(view.priority(), Ok(Some(7)));
    assert_eq!(view.ttl(), Ok(Some(500)));
    assert_eq!(view.redelivered(), Ok(false));
    assert_eq!(view.content_length(), Ok(Some(12)));
    assert_eq!(view.user_id(), Ok(Some(&b"guest"[..])));
    assert_eq!(view.reply_to().expect("decodes").and_then(|to| to.routing_key), Some("answers"));
    let headers = view.application_headers().expect("decodes");
    assert_eq!((headers.get_str("colour"), headers.get_int("size")), (Some("red"), Some(3)));
    assert!(view.fragment_properties().expect("decodes").is_some_and(|fragment| fragment.last));

    let empty = MessageView::parse(&[]).expect("parses");
    assert_eq!(empty.routing_key(), Ok(None));
    assert_eq!(empty.is_persistent(), Ok(false));
    assert!(empty.application_headers().expect("decodes").is_empty());
}

#[test]
fn rewriting_changes_delivery_properties_alone() {
    let patch = HeaderPatch {
        exchange: Some("amq.direct"),
        redelivered: Some(true),
        ttl: Some(9),
        timestamp: None,
        expiration: Some(77),
    };
    let changed = DeliveryProperties {
        exchange: Some("amq.direct"),
        redelivered: true,
        ttl: Some(9),
        expiration: Some(77),
        ..delivery()
    };
    let mut expected = b"kept".to_vec();
    changed.encode(&mut expected).expect("encodes");
    expected.extend_from_slice(&others());
    let mut out = b"kept".to_vec();
    let header = header();
    let rewritten = rewrite_header(&header, &mut out, patch).expect("rewrites");
    assert_eq!(out, expected);
    assert_eq!(rewritten.delivery, changed);
    let key = delivery().routing_key.expect("has a routing key");
    assert!(out[b"kept".len() + rewritten.routing_key_at..].starts_with(key.as_bytes()));

    // Nothing to change: the same octets. No delivery properties: new ones in front.
    let mut same = Vec::new();
    rewrite_header(&header, &mut same, HeaderPatch::default()).expect("rewrites");
    assert_eq!(same, header);
    let mut added = Vec::new();
    let patch = HeaderPatch { exchange: Some("x"), ..Default::default() };
    rewrite_header(&others(), &mut added, patch).expect("rewrites");
    assert!(added.ends_with(&others()));
    assert_eq!(MessageView::parse(&added).and_then(|view| Ok(view.exchange()?)), Ok(Some("x")));
}

#[test]
fn patching_a_copy_is_rewriting() {
    for (priority, mode) in [(None, None), (Some(1), None), (None, Some(2)), (Some(9), Some(1))] {
        let mut octets = others();
        DeliveryProperties {
            priority,
            delivery_mode: mode.map(DeliveryMode),
            ttl: Some(1),
            routing_key: Some("k"),
            ..Default::default()
        }
        .encode(&mut octets)
        .expect("encodes");
        let offsets = HeaderOffsets::find(&octets).expect("sound").expect("has properties");
        for (redelivered, ttl) in [(true, 1 << 40), (false, 3)] {
            let mut copy = octets.clone();
            offsets.patch(&mut copy, redelivered, Some(ttl));
            let patch = HeaderPatch {
                redelivered: Some(redelivered),
                ttl: Some(ttl),
                ..Default::default()
            };
            let mut rewritten = Vec::new();
            let done = rewrite_header(&octets, &mut rewritten, patch).expect("rewrites");
            assert_eq!(copy, rewritten);
            assert_eq!(rewritten[done.routing_key_at..], *b"k");
        }
    }
    assert_eq!(HeaderOffsets::find(&others()), Ok(None));
    let mut plain = Vec::new();
    DeliveryProperties::default().encode(&mut plain).expect("encodes");
    let offsets = HeaderOffsets::find(&plain).expect("sound").expect("has properties");
    assert_eq!(offsets.ttl_at, None);
    offsets.patch(&mut plain, true, Some(5));
    let view = MessageView::parse(&plain).expect("parses");
    assert_eq!((view.redelivered(), view.ttl()), (Ok(true), Ok(None)));
    // A copy of something else is left alone rather than panicked on.
    offsets.patch(&mut [], true, Some(5));
}

#[test]
fn malformed_headers() {
    let octets = header();
    // Every cut that is not between two structs is noticed.
    let ends: Vec<usize> = {
        let mut ends = vec![0];
        let mut at = 0;
        while at < octets.len() {
            let size = u32::from_be_bytes(octets[at..at + 4].try_into().expect("four octets"));
            at += 4 + size as usize;
            ends.push(at);
        }
        ends
    };
    for cut in 0..octets.len() {
        let sound = MessageView::parse(&octets[..cut]).is_ok();
        assert_eq!(sound, ends.contains(&cut), "cut at {cut}");
    }
    let twice = [header(), header()].concat();
    assert_eq!(MessageView::parse(&twice).map(|_| ()), Err(HeaderError::Repeated(0x0401)));
    let mut many = Vec::new();
    for _ in 0..=MAX_HEADER_STRUCTS {
        Struct32 { code: 0x7f01, body: &[] }.encode(&mut many).expect("encodes");
    }
    assert_eq!(
        MessageView::parse(&many).map(|_| ()),
        Err(HeaderError::Outline(DecodeError::TooManyStructs))
    );
    // A struct too small for its code.
    assert!(MessageView::parse(&[0, 0, 0, 1, 4]).is_err());
    // A time to live that the flags announce and the size does not hold.
    let cut = [0, 0, 0, 6, 4, 1, 0x20, 0, 0, 0];
    assert!(HeaderOffsets::find(&cut).is_err());
    assert!(MessageView::parse(&cut).is_ok_and(|view| view.ttl().is_err()));
    let mut out = vec![1];
    assert!(rewrite_header(&cut, &mut out, HeaderPatch::default()).is_err());
    assert_eq!(out, [1]);
}

/// They are the last field, behind any of the others.
#[test]
fn application_headers_are_found_behind_whatever_stands_before_them() {
    let headers = Map::new().with("colour", "red").encoded().expect("encodes");
    for fields in 0..1u32 << 9 {
        let has = |field: u32| fields & 1 << field != 0;
        let properties = MessageProperties {
            content_length: has(0).then_some(12),
            message_id: has(1).then_some(Uuid([7; 16])),
            correlation_id: has(2).then_some(b"correlated"),
            reply_to: has(3).then_some(ReplyTo { exchange: None, routing_key: Some("answers") }),
            content_type: has(4).then_some("text/plain"),
            content_encoding: has(5).then_some("utf-8"),
            user_id: has(6).then_some(b"guest"),
            app_id: has(7).then_some(b"tests"),
            application_headers: has(8).then(|| headers.view()),
        };
        let mut header = Vec::new();
        properties.encode(&mut header).expect("encodes");
        let found = MessageView::parse(&header).expect("parses").application_headers();
        assert_eq!(found.expect("are there").get_str("colour"), has(8).then_some("red"));
    }
}

proptest! {
    #[test]
    fn random_headers_never_panic(
        mut octets in prop::collection::vec(any::<u8>(), 0..120),
        size in 0..110u32,
        code in 1..4u8,
        frame: bool,
    ) {
        if frame && octets.len() >= 6 {
            octets[..4].copy_from_slice(&size.to_be_bytes());
            octets[4..6].copy_from_slice(&[4, code]);
        }
        if let Ok(view) = MessageView::parse(&octets) {
            let _ = view.delivery_properties();
            let found = view.application_headers();
            let _ = found.map(|headers| headers.iter().count());
            if let Ok(properties) = view.message_properties() {
                let headers = properties.application_headers.unwrap_or_default();
                prop_assert_eq!(found.map(MapRef::data), Ok(headers.data()));
            }
            let _ = view.fragment_properties();
        }
        let patch = HeaderPatch { ttl: Some(1), ..Default::default() };
        let mut out = Vec::new();
        if let Ok(rewritten) = rewrite_header(&octets, &mut out, patch) {
            if let Some(key) = rewritten.delivery.routing_key {
                prop_assert!(out[rewritten.routing_key_at..].starts_with(key.as_bytes()));
            }
            let view = MessageView::parse(&out).expect("what was rewritten parses");
            prop_assert_eq!(view.ttl(), Ok(Some(1)));
        }
        if let Ok(Some(offsets)) = HeaderOffsets::find(&octets) {
            let len = octets.len();
            offsets.patch(&mut octets, true, Some(2));
            prop_assert_eq!(octets.len(), len);
        }
    }
}
