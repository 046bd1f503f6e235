//! Messages of AMQP 1.0: taking them in, looking at them, annotating them.

use fletch_amqp::limits::MAX_NESTING;
use fletch_amqp::types::Uuid;
use fletch_amqp::v1_0::message::{
    Annotated, Body, MessageError, MessageView, Section, annotate, ingest, put_header,
};
use fletch_amqp::v1_0::table::Properties;
use fletch_amqp::v1_0::types::{Symbol, Value, ValueRef, code, put_described};
use fletch_amqp::v1_0::{Composite, SequenceNo};
use fletch_amqp::wire::{DecodeError, Reader};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn symbol(text: &str) -> Value {
    Value::Symbol(text.into())
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

/// A section that holds a value.
fn section(section: Section, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_described(section.code(), &mut out);
    value.encode(&mut out).expect("encodes");
    out
}

fn properties(properties: &Properties<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    properties.encode(&mut out).expect("encodes");
    out
}

fn header(durable: bool, ttl: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, durable, 7, ttl, true, 2);
    out
}

fn view_of<'b>(value: &Value, buffer: &'b mut Vec<u8>) -> ValueRef<'b> {
    value.encode(buffer).expect("encodes");
    ValueRef::decode(&mut Reader::new(buffer)).expect("our own")
}

/// One of each section, in order; the body in two pieces.
fn whole() -> Vec<Vec<u8>> {
    let mut octets = [const { Vec::new() }; 3];
    let [id, to, reply] = &mut octets;
    let standard = Properties {
        message_id: Some(view_of(&Value::Ulong(7), id)),
        to: Some(view_of(&text("orders"), to)),
        subject: Some("eu.new"),
        reply_to: Some(view_of(&text("answers"), reply)),
        user_id: Some(b"guest"),
        absolute_expiry_time: Some(1_700_000_000_000),
        group_sequence: Some(SequenceNo(3)),
        ..Properties::default()
    };
    let map = |key, value| Value::Map(vec![(key, value)]);
    vec![
        header(true, Some(500)),
        section(Section::DeliveryAnnotations, &map(symbol("x-opt-hop"), Value::Int(1))),
        section(Section::MessageAnnotations, &map(symbol("x-opt-way"), text("here"))),
        properties(&standard),
        section(Section::ApplicationProperties, &map(text("colour"), text("red"))),
        section(Section::Data, &Value::Binary(b"one".to_vec())),
        section(Section::Data, &Value::Binary(vec![b'x'; 300])),
        section(Section::Footer, &map(symbol("crc"), Value::Uint(9))),
    ]
}

#[test]
fn what_is_for_longer_than_a_hop_is_kept_octet_by_octet() {
    let sections = whole();
    let encoded = sections.concat();
    let mut out = b"before".to_vec();
    let taken = ingest(&encoded, &mut out).expect("sound");
    let kept = sections[2..].concat();
    assert_eq!(out, [b"before", &kept[..]].concat());
    assert_eq!((taken.durable, taken.priority, taken.ttl), (true, 7, Some(500)));
    assert_eq!(taken.absolute_expiry_time, Some(1_700_000_000_000));
    assert_eq!((taken.to, taken.user_id), (Some("orders"), Some(&b"guest"[..])));
    assert_eq!(taken.header_len as usize, sections[2..5].concat().len());
    let (at, len) = taken.subject;
    assert_eq!(&kept[at as usize..(at + len) as usize], b"eu.new");
    assert!(taken.has_body);
}

#[test]
fn a_view_finds_each_section() {
    let encoded = whole().concat();
    let view = MessageView::parse(&encoded).expect("sound");
    let header = view.header().expect("sound");
    assert!(header.durable && header.first_acquirer);
    assert_eq!(header.delivery_count, 2);
    assert_eq!(view.delivery_annotations().get("x-opt-hop").and_then(|v| v.as_i64()), Some(1));
    assert_eq!(view.message_annotations().get("x-opt-way").and_then(|v| v.as_str()), Some("here"));
    let properties = view.properties().expect("sound");
    assert_eq!((properties.subject, properties.group_id), (Some("eu.new"), None));
    let colour = view.application_properties().get("colour");
    assert_eq!(colour.and_then(|v| v.as_str()), Some("red"));
    assert_eq!(view.footer().get("crc").and_then(|v| v.as_u64()), Some(9));
    let Body::Data(pieces) = view.body() else { panic!("octets") };
    assert_eq!(pieces.map(<[u8]>::len).collect::<Vec<_>>(), [3, 300]);
    // The head alone says the same.
    let mut kept = Vec::new();
    let taken = ingest(&encoded, &mut kept).expect("sound");
    let head = MessageView::parse(&kept[..taken.header_len as usize]).expect("sound");
    assert_eq!(head.properties(), Ok(properties));
    assert!(matches!(head.body(), Body::Absent));
}

#[test]
fn bodies_of_values_are_seen() {
    let list = |n| Value::List(vec![Value::Int(n), Value::Null]);
    let sequence = [section(Section::Sequence, &list(1)), section(Section::Sequence, &list(2))];
    let sequence = sequence.concat();
    let Body::Sequence(lists) = MessageView::parse(&sequence).expect("sound").body() else {
        panic!("lists")
    };
    assert_eq!(lists.map(|list| list.len()).collect::<Vec<_>>(), [2, 2]);
    let value = Value::Described(Box::new((symbol("d"), text("t"))));
    let encoded = section(Section::Value, &value);
    let view = MessageView::parse(&encoded).expect("sound");
    let Body::Value(found) = view.body() else { panic!("a value") };
    assert_eq!(found.to_value(), Ok(value));
    assert_eq!(view.body_sections(), encoded);
    for body in [sequence, encoded] {
        assert!(ingest(&body, &mut Vec::new()).expect("sound").has_body);
    }
}

/// Each sequence takes ten octets here, and would be kilobytes for those who are told each null.
#[test]
fn arrays_of_no_octets_are_bounded_over_a_message() {
    let sequence = [0, 0x53, 0x76, code::LIST8, 5, 1, code::ARRAY8, 2, 128, code::NULL];
    let two = sequence.repeat(2);
    assert!(ingest(&two, &mut Vec::new()).expect("as many as one value may have").has_body);
    let mut out = Vec::new();
    let error = ingest(&sequence.repeat(3), &mut out).expect_err("one more than that");
    let source = DecodeError::CountTooLarge { count: 128, bytes: 0 };
    assert_eq!(error, MessageError::Content { section: Section::Sequence, source });
    assert!(out.is_empty());
}

#[test]
fn a_message_may_have_next_to_nothing() {
    let mut out = Vec::new();
    let taken = ingest(&[], &mut out).expect("sound");
    assert!(out.is_empty() && !taken.has_body && !taken.durable);
    assert_eq!((taken.priority, taken.ttl, taken.header_len), (4, None, 0));
    // A footer is behind where the body would be.
    let footer = section(Section::Footer, &Value::Map(vec![]));
    let taken = ingest(&footer, &mut out).expect("sound");
    assert_eq!((taken.header_len, taken.has_body), (0, false));
    assert_eq!(out, footer);
    let header = header(false, None);
    assert_eq!(ingest(&header, &mut Vec::new()).expect("sound").header_len, 0);
}

#[test]
fn sections_named_by_symbols_are_the_same() {
    let mut encoded = vec![0, 0xa3, 16];
    encoded.extend_from_slice(b"amqp:data:binary");
    encoded.extend_from_slice(&[0xa0, 1, b'x']);
    let mut out = Vec::new();
    assert!(ingest(&encoded, &mut out).expect("sound").has_body);
    assert_eq!(out, encoded);
    let Body::Data(mut pieces) = MessageView::parse(&out).expect("sound").body() else {
        panic!("octets")
    };
    assert_eq!(pieces.next(), Some(&b"x"[..]));
}

#[test]
fn sections_come_in_order_and_once() {
    let sections = whole();
    let data = &sections[5];
    let value = section(Section::Value, &Value::Null);
    let list = section(Section::Sequence, &Value::List(vec![]));
    let order = |sections: &[&[u8]]| {
        let encoded = sections.concat();
        let seen = MessageView::parse(&encoded).map(drop);
        let taken = ingest(&encoded, &mut Vec::new()).map(drop);
        assert_eq!(seen, taken);
        matches!(taken, Err(MessageError::OutOfOrder { .. }))
    };
    for (index, one) in sections.iter().enumerate() {
        assert_eq!(order(&[one, one]), one[2] != 0x75, "{one:?} twice");
        for other in &sections[index + 1..] {
            // Clients are about that put the footer before the body, but not into it.
            let footer_first = (other[2], one[2]) == (0x78, 0x75);
            let allowed = footer_first || other[2] == one[2];
            assert!(order(&[other, one]) != allowed, "{other:?} before {one:?}");
            assert!(!footer_first || order(&[one, other, one]) && order(&[other, one, other]));
            assert!(!order(&[one, other]));
        }
    }
    assert!(order(&[&value, &value]) && !order(&[&list, &list]));
    assert!(order(&[data, &value]) && order(&[data, &list]) && order(&[&value, data]));
    let error = MessageError::OutOfOrder { found: Section::Header, before: Section::Footer };
    assert_eq!(error.to_string(), "message: section header after footer");
}

#[test]
fn what_others_could_not_decode_is_refused() {
    let refused = |encoded: &[u8]| {
        let mut out = b"kept".to_vec();
        let refused = ingest(encoded, &mut out).is_err();
        assert!(!refused || out == b"kept");
        refused
    };
    let map = |entries: &[(Value, Value)]| Value::Map(entries.to_vec());
    let annotations = |key| section(Section::MessageAnnotations, &map(&[(key, Value::Null)]));
    let named = |key| section(Section::ApplicationProperties, &map(&[(key, Value::Null)]));
    assert!(!refused(&annotations(symbol("k"))) && !refused(&annotations(Value::Ulong(500))));
    // The reference broker writes these.
    assert!(!refused(&annotations(text("k"))));
    assert!(refused(&annotations(Value::Int(1))) && refused(&named(Value::Ulong(1))));
    assert!(!refused(&named(text("k"))) && refused(&named(symbol("k"))));
    // An odd count; a value that ends behind its map; a stray octet in one.
    assert!(refused(&[0, 0x53, 0x74, 0xc1, 4, 1, 0xa1, 1, b'k']));
    assert!(refused(&[0, 0x53, 0x74, 0xc1, 7, 2, 0xa1, 1, b'k', 0xa1, 9, b'v']));
    assert!(refused(&[0, 0x53, 0x74, 0xc1, 6, 2, 0xa1, 1, b'k', 0x40, 0x40]));
    // A list within that says it has more than there is, and one that is too deep.
    assert!(refused(&[0, 0x53, 0x74, 0xc1, 8, 2, 0xa1, 1, b'k', 0xc0, 2, 9, 0x40]));
    let mut deep = Value::Null;
    for _ in 0..MAX_NESTING - 2 {
        deep = Value::List(vec![deep]);
    }
    let fits = section(Section::ApplicationProperties, &map(&[(text("k"), deep.clone())]));
    assert!(!refused(&fits));
    assert_eq!(Value::decode(&mut Reader::new(&fits)).map(drop), Ok(()));
    let mut too_deep = vec![0, 0x53, 0x77, 0xc0];
    let mut value = Vec::new();
    Value::List(vec![deep]).encode(&mut value).expect("encodes");
    too_deep.extend_from_slice(&[value.len() as u8 + 1, 1]);
    too_deep.extend_from_slice(&value);
    assert!(refused(&too_deep));
    // A section that is none, one of another type, and what is no section.
    assert!(refused(&[0, 0x53, 0x79, 0xc1, 1, 0]) && refused(&[0, 0x53, 0x75, 0xc1, 1, 0]));
    assert!(refused(&[0, 0x53, 0x76, 0x40]) && refused(b"text") && refused(&[0]));
    // Properties: a subject that is no text, or no string; an id that is a list.
    assert!(refused(&[0, 0x53, 0x73, 0xc0, 7, 4, 0x40, 0x40, 0x40, 0xa1, 1, 0xff]));
    assert!(refused(&[0, 0x53, 0x73, 0xc0, 5, 4, 0x40, 0x40, 0x40, 0x43]));
    assert!(refused(&[0, 0x53, 0x73, 0xc0, 2, 1, 0x45]));
    // Numbers that the specification does not know for ids.
    assert!(!refused(&[0, 0x53, 0x73, 0xc0, 3, 1, 0x54, 1]));
    // Octets for text where nobody looks.
    assert!(!refused(&[0, 0x53, 0x74, 0xc1, 7, 2, 0xa1, 1, b'k', 0xa1, 1, 0xff]));
}

#[test]
fn annotations_are_added_and_replaced() {
    let entries = [("x-opt-way", text("there")), ("n", Value::Uint(7))];
    let sections = whole();
    for head in [sections[2..5].concat(), sections[3..].concat(), Vec::new()] {
        let mut out = b"kept".to_vec();
        let Annotated { from, by } = annotate(&head, &mut out, &entries).expect("sound");
        let out = &out[4..];
        let view = MessageView::parse(out).expect("sound");
        let annotations = view.message_annotations();
        assert_eq!(annotations.len(), 2);
        assert_eq!(annotations.get("x-opt-way").and_then(|v| v.as_str()), Some("there"));
        assert_eq!(annotations.get("n").and_then(|v| v.as_u64()), Some(7));
        assert!(annotations.iter().flatten().all(|(key, _)| key.as_symbol().is_some()));
        assert_eq!(out[from.strict_add_signed(by)..], head[from..]);
    }
    // Others stay as they came.
    let head = section(
        Section::MessageAnnotations,
        &Value::Map(vec![(Value::Ulong(5), Value::Null), (text("s"), text("t"))]),
    );
    let mut out = Vec::new();
    annotate(&head, &mut out, &entries[1..]).expect("sound");
    let map = MessageView::parse(&out).expect("sound").message_annotations();
    assert_eq!(map.len(), 3);
    assert_eq!(map.get("s").and_then(|v| v.as_str()), Some("t"));
    let mut none = Vec::new();
    assert!(annotate(&head, &mut none, &[("ü", Value::Null)]).is_err());
    assert!(annotate(b"odd", &mut none, &entries).is_err() && none.is_empty());
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<u64>().prop_map(Value::Ulong),
        any::<i32>().prop_map(Value::Int),
        any::<i64>().prop_map(Value::Timestamp),
        "[a-z]{0,300}".prop_map(Value::String),
        vec(any::<u8>(), 0..8).prop_map(Value::Binary),
        any::<[u8; 16]>().prop_map(|octets| Value::Uuid(Uuid(octets))),
    ]
}

fn nested() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::List),
            vec(("[a-z]{1,4}".prop_map(Value::String), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

fn map(key: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Vec<(Value, Value)>>> {
    option::of(vec((key, nested()), 0..4))
}

fn body() -> impl Strategy<Value = Vec<(Section, Value)>> {
    let binary = vec(any::<u8>(), 0..400).prop_map(Value::Binary);
    let list = vec(nested(), 0..4).prop_map(Value::List);
    prop_oneof![
        Just(vec![]),
        vec((Just(Section::Data), binary), 1..3),
        vec((Just(Section::Sequence), list), 1..3),
        vec((Just(Section::Value), nested()), 1..=1),
    ]
}

proptest! {
    #[test]
    fn what_is_taken_in_is_what_was_sent(
        (durable, priority, ttl) in (any::<bool>(), any::<u8>(), option::of(any::<u32>())),
        (annotations, named) in (
            map("[a-z]{1,4}".prop_map(Value::Symbol)),
            map("[a-zA-Z]{0,4}".prop_map(Value::String)),
        ),
        (subject, expiry, id) in (
            option::of("[a-zä.]{0,300}"),
            option::of(any::<i64>()),
            option::of(scalar()),
        ),
        body in body(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut octets = Vec::new();
        let standard = Properties {
            message_id: id.as_ref().map(|id| view_of(id, &mut octets)).filter(|id| !id.is_null()),
            subject: subject.as_deref(),
            absolute_expiry_time: expiry,
            ..Properties::default()
        };
        let mut encoded = Vec::new();
        put_header(&mut encoded, durable, priority, ttl, false, 0);
        let hop = encoded.len();
        if let Some(entries) = annotations.clone() {
            encoded.extend(section(Section::MessageAnnotations, &Value::Map(entries)));
        }
        encoded.extend(properties(&standard));
        if let Some(entries) = named.clone() {
            encoded.extend(section(Section::ApplicationProperties, &Value::Map(entries)));
        }
        let head = encoded.len() - hop;
        for (kind, value) in &body {
            encoded.extend(section(*kind, value));
        }
        let mut kept = Vec::new();
        let taken = ingest(&encoded, &mut kept).expect("sound");
        prop_assert_eq!(&kept[..], &encoded[hop..]);
        prop_assert_eq!((taken.durable, taken.priority, taken.ttl), (durable, priority, ttl));
        prop_assert_eq!(taken.absolute_expiry_time, expiry);
        prop_assert_eq!(taken.header_len as usize, head);
        prop_assert_eq!(taken.has_body, !body.is_empty());
        let (at, len) = taken.subject;
        let found = &kept[at as usize..(at + len) as usize];
        prop_assert_eq!(found, subject.as_deref().unwrap_or_default().as_bytes());
        let view = MessageView::parse(&kept).expect("sound");
        prop_assert_eq!(view.properties(), Ok(standard));
        let entries = |map: Option<Vec<_>>| Value::Map(map.unwrap_or_default());
        for (seen, sent) in [
            (view.message_annotations(), annotations.clone()),
            (view.application_properties(), named),
        ] {
            let seen = seen.iter().map(|entry| {
                let (key, value) = entry.expect("sound");
                (key.to_value().expect("sound"), value.to_value().expect("sound"))
            });
            prop_assert_eq!(Value::Map(seen.collect()), entries(sent));
        }
        // A message that is cut off is sound only between sections.
        let short = &encoded[..cut.index(encoded.len())];
        if ingest(short, &mut Vec::new()).is_ok() {
            prop_assert!(MessageView::parse(short).is_ok());
        }
        let key = Symbol::new("n").expect("ASCII");
        let mut marked = Vec::new();
        let Annotated { from, by } =
            annotate(&kept, &mut marked, &[("n", Value::Uint(1))]).expect("sound");
        prop_assert_eq!(&marked[from.strict_add_signed(by)..], &kept[from..]);
        let view = MessageView::parse(&marked).expect("sound");
        prop_assert_eq!(view.message_annotations().get(&key).and_then(|v| v.as_u64()), Some(1));
        let mut again = Vec::new();
        prop_assert!(ingest(&marked, &mut again).is_ok());
        prop_assert_eq!(again, marked);
    }
}
