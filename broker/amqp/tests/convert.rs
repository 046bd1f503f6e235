//! Messages of one protocol in terms of the other.

use fletch_amqp::convert::{Converted, Delivery, Node, to_0_10, to_1_0};
use fletch_amqp::types::{Array, List, Uuid};
use fletch_amqp::v0_10;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties, ReplyTo};
use fletch_amqp::v0_10::{Compound, DeliveryMode};
use fletch_amqp::v1_0::Composite;
use fletch_amqp::v1_0::message::{Body, MessageView, Section, ingest};
use fletch_amqp::v1_0::table::Properties;
use fletch_amqp::v1_0::types::{Array as NewArray, Symbol, Value as New, ValueRef, put_described};
use fletch_amqp::{Map, Value};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const ID: Uuid = Uuid([0x12, 0x34, 0xab, 0xcd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xff]);
const ID_TEXT: &str = "1234abcd-0001-0203-0405-060708090aff";

/// A message of 0-10 with these properties and headers.
fn old(
    delivery: &DeliveryProperties<'_>,
    properties: MessageProperties<'_>,
    headers: Map,
) -> Vec<u8> {
    let mut out = Vec::new();
    delivery.encode(&mut out).expect("encodes");
    let headers = headers.encoded().expect("encodes");
    MessageProperties { application_headers: Some(headers.view()), ..properties }
        .encode(&mut out)
        .expect("encodes");
    out
}

/// What a message of 0-10 becomes; checks that it is what would be kept of it.
fn renewed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let Converted { header_len, routing_key, has_body } = to_1_0(header, body, &mut out);
    let out = out.split_off(6);
    let mut kept = Vec::new();
    let taken = ingest(&out, &mut kept).expect("sound");
    assert_eq!(kept, out);
    assert_eq!((taken.header_len, taken.subject), (header_len, routing_key));
    assert_eq!(taken.has_body, has_body);
    out
}

fn section(section: Section, value: &New) -> Vec<u8> {
    let mut out = Vec::new();
    put_described(section.code(), &mut out);
    value.encode(&mut out).expect("encodes");
    out
}

fn new(
    properties: &Properties<'_>,
    application: &[(New, New)],
    body: &[(Section, New)],
) -> Vec<u8> {
    let mut out = Vec::new();
    properties.encode(&mut out).expect("encodes");
    out.extend(section(Section::ApplicationProperties, &New::Map(application.to_vec())));
    body.iter().for_each(|(kind, value)| out.extend(section(*kind, value)));
    out
}

/// What a message of 1.0 becomes: header and body.
fn aged(content: &[u8], delivery: Delivery, node: Node) -> (Vec<u8>, Vec<u8>) {
    let mut out = b"before".to_vec();
    let Converted { header_len, routing_key: (at, len), .. } =
        to_0_10(content, delivery, |_| node, &mut out);
    let mut header = out.split_off(6);
    let body = header.split_off(header_len as usize);
    let view = v0_10::message::MessageView::parse(&header).expect("sound");
    let key = &header[at as usize..(at + len) as usize];
    assert_eq!(key, view.routing_key().expect("sound").unwrap_or_default().as_bytes());
    let properties = view.message_properties().expect("sound");
    assert_eq!(properties.content_length, Some(body.len() as u64));
    if let Some(headers) = properties.application_headers {
        headers.validate().expect("sound");
    }
    (header, body)
}

fn headers_of(header: &[u8]) -> Map {
    let view = v0_10::message::MessageView::parse(header).expect("sound");
    view.application_headers().expect("sound").to_map().expect("sound")
}

fn application_of(content: &[u8]) -> Vec<(New, New)> {
    let view = MessageView::parse(content).expect("sound");
    let entries = view.application_properties().iter();
    entries
        .map(|entry| {
            let (key, value) = entry.expect("sound");
            (key.to_value().expect("sound"), value.to_value().expect("sound"))
        })
        .collect()
}

fn text(text: &str) -> New {
    New::String(text.into())
}

#[test]
fn properties_of_0_10_become_those_of_1_0() {
    let delivery = DeliveryProperties {
        exchange: Some("amq.topic"),
        routing_key: Some("eu.new"),
        expiration: Some(1_700_000_000),
        ..Default::default()
    };
    let properties = MessageProperties {
        message_id: Some(ID),
        correlation_id: Some(b"c-1"),
        reply_to: Some(ReplyTo { exchange: Some("amq.direct"), routing_key: Some("me") }),
        content_type: Some("text/plain"),
        content_encoding: Some("utf-8"),
        user_id: Some(b"guest"),
        app_id: Some(b"app"),
        ..Default::default()
    };
    let headers = Map::new().with("n", 5).with("x-qpid.trace", "a,b");
    let content = renewed(&old(&delivery, properties, headers), b"body");
    let view = MessageView::parse(&content).expect("sound");
    let seen = view.properties().expect("sound");
    let expected = Properties {
        message_id: Some(ValueRef::of_str(ID_TEXT)),
        user_id: Some(b"guest"),
        to: Some(ValueRef::of_str("amq.topic")),
        subject: Some("eu.new"),
        reply_to: Some(ValueRef::of_str("amq.direct/me")),
        correlation_id: Some(ValueRef::of_str("c-1")),
        content_type: Symbol::new("text/plain"),
        content_encoding: Symbol::new("utf-8"),
        absolute_expiry_time: Some(1_700_000_000_000),
        ..Default::default()
    };
    assert_eq!(seen, expected);
    let application = [(text("x-amqp-0-10.app-id"), text("app")), (text("n"), New::Int(5))];
    assert_eq!(application_of(&content), application);
    let trace = view.message_annotations().get("x-qpid.trace");
    assert_eq!(trace.and_then(|value| value.as_str()), Some("a,b"));
    let Body::Data(pieces) = view.body() else { panic!("octets") };
    assert_eq!(pieces.joined(), &b"body"[..]);
}

#[test]
fn a_message_sent_to_a_queue_has_its_subject_in_a_header() {
    for exchange in [None, Some("")] {
        let delivery =
            DeliveryProperties { exchange, routing_key: Some("queue"), ..Default::default() };
        let headers = Map::new().with("qpid.subject", "about");
        let content = renewed(&old(&delivery, Default::default(), headers), b"");
        let properties = MessageView::parse(&content).expect("sound").properties().expect("sound");
        assert_eq!(properties.subject, Some("about"));
        assert_eq!(properties.to, Some(ValueRef::of_str("about")));
        let content = renewed(&old(&delivery, Default::default(), Map::new()), b"");
        let properties = MessageView::parse(&content).expect("sound").properties();
        assert_eq!(properties, Ok(Properties::default()));
    }
}

#[test]
fn reply_to_of_each_shape() {
    let there = |exchange, routing_key| {
        let reply_to = Some(ReplyTo { exchange, routing_key });
        let properties = MessageProperties { reply_to, ..Default::default() };
        let header = old(&DeliveryProperties::default(), properties, Map::new());
        let content = renewed(&header, b"");
        let view = MessageView::parse(&content).expect("sound");
        view.properties().expect("sound").reply_to.and_then(ValueRef::as_str).map(str::to_owned)
    };
    assert_eq!(there(Some("e"), Some("k")).as_deref(), Some("e/k"));
    assert_eq!(there(Some("e"), Some("")).as_deref(), Some("e"));
    assert_eq!(there(Some(""), Some("q")).as_deref(), Some("q"));
    assert_eq!(there(None, Some("q")).as_deref(), Some("q"));
    assert_eq!(there(None, None), None);

    let back = |address: &str, node| {
        let to = ValueRef::of_str(address);
        let properties = Properties { reply_to: Some(to), ..Default::default() };
        let (header, _) = aged(&new(&properties, &[], &[]), Delivery::default(), node);
        let view = v0_10::message::MessageView::parse(&header).expect("sound");
        let to = view.reply_to().expect("sound")?;
        Some((to.exchange.unwrap_or_default().to_owned(), to.routing_key?.to_owned()))
    };
    let to = |exchange: &str, key: &str| Some((exchange.to_owned(), key.to_owned()));
    assert_eq!(back("e/k", Node::Unknown), to("e", "k"));
    assert_eq!(back("e/k/l", Node::Unknown), to("e", "k/l"));
    assert_eq!(back("/k", Node::Unknown), to("", "k"));
    assert_eq!(back("n", Node::Queue), to("", "n"));
    assert_eq!(back("n", Node::Exchange), to("n", ""));
    assert_eq!(back("n", Node::Unknown), None);
    assert_eq!(back("/", Node::Queue), None);
    assert_eq!(back(&"n".repeat(256), Node::Queue), None);
}

#[test]
fn values_of_0_10_become_those_of_1_0() {
    let list = List(vec![Value::Uint8(1), Value::Str16("x".into())]);
    let nested = Map::new().with("list", list.clone()).with("empty", Map::new());
    let pairs = [
        (Value::Void, New::Null),
        (Value::Bit, New::Null),
        (Value::Boolean(true), New::Boolean(true)),
        (Value::Int8(-1), New::Byte(-1)),
        (Value::Int16(-300), New::Short(-300)),
        (Value::Int32(-5), New::Int(-5)),
        (Value::Int64(i64::MIN), New::Long(i64::MIN)),
        (Value::Uint8(200), New::Ubyte(200)),
        (Value::Uint16(60_000), New::Ushort(60_000)),
        (Value::Uint32(u32::MAX), New::Uint(u32::MAX)),
        (Value::Uint64(u64::MAX), New::Ulong(u64::MAX)),
        (Value::Float(1.5), New::Float(1.5)),
        (Value::Double(-2.5), New::Double(-2.5)),
        (Value::Char(b'c'), New::Char('c')),
        (Value::CharUtf32(0x20ac), New::Char('€')),
        (Value::CharUtf32(0xd800), New::Null),
        (Value::Datetime(7), New::Ulong(7)),
        (Value::Uuid(ID), New::Uuid(ID)),
        (Value::Bin8(0xff), New::Byte(-1)),
        (Value::Bin32([0, 0, 1, 0]), New::Int(256)),
        (Value::Bin128([7; 16]), New::Binary(vec![7; 16])),
        (Value::Dec32([0; 5]), New::Null),
        (Value::Str8("ü".into()), text("ü")),
        (Value::Str16("x".repeat(300)), text(&"x".repeat(300))),
        (Value::Str8Latin(vec![0xfc]), text("ü")),
        (Value::Str16Utf16(vec![0, 0xfc]), text("ü")),
        (Value::Str16Utf16(vec![0]), New::Binary(vec![0])),
        (Value::Vbin8(vec![1]), New::Binary(vec![1])),
        (Value::Vbin32(vec![b'x'; 300]), New::Binary(vec![b'x'; 300])),
        (Value::Struct32(vec![1, 2, 3]), New::Binary(vec![1, 2, 3])),
        (Value::List(list), New::List(vec![New::Ubyte(1), text("x")])),
        (Value::Array(Array::of_str16(["a", "b"])), New::List(vec![text("a"), text("b")])),
        (
            Value::Map(nested),
            New::Map(vec![
                (text("list"), New::List(vec![New::Ubyte(1), text("x")])),
                (text("empty"), New::Map(vec![])),
            ]),
        ),
    ];
    for (before, after) in pairs {
        let headers = Map::new().with("k", before.clone());
        let header = old(&DeliveryProperties::default(), Default::default(), headers);
        assert_eq!(application_of(&renewed(&header, b"")), [(text("k"), after)], "{before:?}");
    }
}

#[test]
fn values_of_1_0_become_those_of_0_10() {
    let described = New::Described(Box::new((New::Ulong(1), text("inner"))));
    let symbols = NewArray { descriptors: vec![], elements: vec![New::Symbol("s".into())] };
    let keys = vec![
        (New::Ulong(5), New::Null),
        (New::Symbol("s".into()), New::Null),
        (text(&"k".repeat(256)), New::Null),
        (New::List(vec![]), New::Null),
    ];
    let pairs = [
        (New::Null, Value::Void),
        (New::Boolean(false), Value::Boolean(false)),
        (New::Ubyte(1), Value::Uint8(1)),
        (New::Ushort(2), Value::Uint16(2)),
        (New::Uint(0), Value::Uint32(0)),
        (New::Uint(3), Value::Uint32(3)),
        (New::Uint(u32::MAX), Value::Uint32(u32::MAX)),
        (New::Ulong(0), Value::Uint64(0)),
        (New::Ulong(4), Value::Uint64(4)),
        (New::Ulong(u64::MAX), Value::Uint64(u64::MAX)),
        (New::Byte(-1), Value::Int8(-1)),
        (New::Short(-2), Value::Int16(-2)),
        (New::Int(-3), Value::Int32(-3)),
        (New::Int(i32::MIN), Value::Int32(i32::MIN)),
        (New::Long(-4), Value::Int64(-4)),
        (New::Long(i64::MIN), Value::Int64(i64::MIN)),
        (New::Float(1.5), Value::Float(1.5)),
        (New::Double(2.5), Value::Double(2.5)),
        (New::Decimal64([0; 8]), Value::Void),
        (New::Char('€'), Value::CharUtf32(0x20ac)),
        (New::Timestamp(-5), Value::Int64(-5)),
        (New::Uuid(ID), Value::Uuid(ID)),
        (New::Binary(vec![1]), Value::Vbin16(vec![1])),
        (New::Binary(vec![1; 70_000]), Value::Vbin32(vec![1; 70_000])),
        (text("ü"), Value::Str16("ü".into())),
        (text(&"x".repeat(70_000)), Value::Vbin32(vec![b'x'; 70_000])),
        (New::Symbol("s".into()), Value::Str16("s".into())),
        (described, Value::Str16("inner".into())),
        (New::Array(Box::new(symbols)), Value::List(List(vec![Value::Str16("s".into())]))),
        (New::List(vec![New::Null]), Value::List(List(vec![Value::Void]))),
        (New::Map(keys), Value::Map(Map::new().with("5", Value::Void).with("s", Value::Void))),
    ];
    for (before, after) in pairs {
        let content = new(&Properties::default(), &[(text("k"), before.clone())], &[]);
        let (header, _) = aged(&content, Delivery::default(), Node::Unknown);
        assert_eq!(headers_of(&header), Map::new().with("k", after), "{before:?}");
    }
}

#[test]
fn maps_and_lists_are_converted_in_bodies() {
    let properties = |content_type| MessageProperties { content_type, ..Default::default() };
    let body_of = |content_type, body: &[u8]| {
        let header =
            old(&DeliveryProperties::default(), properties(Some(content_type)), Map::new());
        let content = renewed(&header, body);
        let view = MessageView::parse(&content).expect("sound");
        let seen = view.properties().expect("sound").content_type.expect("kept");
        assert_eq!(seen, content_type);
        match view.body() {
            Body::Value(value) => value.to_value().expect("sound"),
            Body::Data(pieces) => New::Binary(pieces.joined().into_owned()),
            _ => panic!("no body"),
        }
    };
    let mut map = Vec::new();
    Map::new().with("k", List(vec![Value::Int32(1)])).encode(&mut map).expect("encodes");
    let mut list = Vec::new();
    List(vec![Value::from("x"), Value::Void]).encode(&mut list).expect("encodes");
    let expected = New::Map(vec![(text("k"), New::List(vec![New::Int(1)]))]);
    assert_eq!(body_of("amqp/map", &map), expected);
    assert_eq!(body_of("amqp/list", &list), New::List(vec![text("x"), New::Null]));
    // What is not what it says stays octets.
    for (kind, octets) in [("amqp/map", &list[..5]), ("amqp/list", &list[..7]), ("amqp/map", b"")] {
        assert_eq!(body_of(kind, octets), New::Binary(octets.to_vec()));
    }
    assert_eq!(body_of("text/plain", b"text"), New::Binary(b"text".to_vec()));
}

#[test]
fn bodies_of_1_0_have_types_of_0_10() {
    let properties = Properties::default();
    let aged = |properties: &Properties<'_>, body: &[(Section, New)]| {
        let (header, octets) =
            aged(&new(properties, &[], body), Delivery::default(), Node::Unknown);
        let view = v0_10::message::MessageView::parse(&header).expect("sound");
        (view.content_type().expect("sound").unwrap_or_default().to_owned(), octets)
    };
    let value = |value| aged(&properties, &[(Section::Value, value)]);
    let encoded = |list: Vec<Value>| {
        let mut out = Vec::new();
        List(list).encode(&mut out).expect("encodes");
        ("amqp/list".to_owned(), out)
    };
    let octets = |kind: &str, octets: &[u8]| (kind.to_owned(), octets.to_vec());
    assert_eq!(value(text("ü")), octets("text/plain", "ü".as_bytes()));
    assert_eq!(value(New::Symbol("s".into())), octets("text/plain", b"s"));
    assert_eq!(value(New::Binary(vec![1, 2])), octets("", &[1, 2]));
    assert_eq!(value(New::Null), octets("", b""));
    assert_eq!(value(New::Ulong(7)), encoded(vec![Value::Uint64(7)]));
    assert_eq!(value(New::Uuid(ID)), encoded(vec![Value::Uuid(ID)]));
    assert_eq!(
        value(New::List(vec![New::Int(1), New::Null])),
        encoded(vec![Value::Int32(1), Value::Void])
    );
    assert_eq!(
        value(New::array(vec![New::Int(1), New::Int(2)])),
        encoded(vec![Value::Int32(1), Value::Int32(2)])
    );
    let described = New::Described(Box::new((New::Ulong(1), text("inner"))));
    assert_eq!(value(described), octets("text/plain", b"inner"));
    let mut map = Vec::new();
    Map::new().with("k", 5).encode(&mut map).expect("encodes");
    assert_eq!(value(New::Map(vec![(text("k"), New::Int(5))])), octets("amqp/map", &map));
    let data = |octets: &[u8]| (Section::Data, New::Binary(octets.to_vec()));
    assert_eq!(aged(&properties, &[data(b"one"), data(b"two")]), octets("", b"onetwo"));
    let sequence = |n| (Section::Sequence, New::List(vec![New::Int(n)]));
    assert_eq!(
        aged(&properties, &[sequence(1), sequence(2)]),
        encoded(vec![Value::Int32(1), Value::Int32(2)])
    );
    // What the message says goes before.
    let typed = Properties { content_type: Symbol::new("text/xml"), ..properties.clone() };
    assert_eq!(aged(&typed, &[(Section::Value, text("<a/>"))]), octets("text/xml", b"<a/>"));
}

#[test]
fn ids_of_1_0() {
    let ids = |value: &New| {
        let mut octets = Vec::new();
        value.encode(&mut octets).expect("encodes");
        let id = ValueRef::decode(&mut fletch_amqp::wire::Reader::new(&octets)).ok();
        let properties = Properties { message_id: id, correlation_id: id, ..Properties::default() };
        let (header, _) = aged(&new(&properties, &[], &[]), Delivery::default(), Node::Unknown);
        let view = v0_10::message::MessageView::parse(&header).expect("sound");
        let correlation = view.correlation_id().expect("sound").unwrap_or_default().to_vec();
        (view.message_id().expect("sound"), correlation)
    };
    assert_eq!(ids(&New::Uuid(ID)), (Some(ID), ID_TEXT.into()));
    assert_eq!(ids(&text(ID_TEXT)), (Some(ID), ID_TEXT.into()));
    assert_eq!(ids(&text(&ID_TEXT.to_uppercase())).0, Some(ID));
    assert_eq!(ids(&New::Binary(ID.0.to_vec())), (Some(ID), ID.0.to_vec()));
    assert_eq!(ids(&New::Ulong(77)), (None, b"77".to_vec()));
    for odd in [
        "",
        "id-1",
        "1234abcd-0001-0203-0405-060708090afg",
        "é234abcd-0001-0203-0405-06070809aff",
        "1234abcd000010203-0405-060708090aff00",
    ] {
        assert_eq!(ids(&text(odd)), (None, odd.into()), "{odd}");
    }
    assert_eq!(ids(&text(&"x".repeat(70_000))), (None, vec![]));
}

#[test]
fn what_0_10_says_of_a_message_is_said() {
    let long = "ä".repeat(200);
    let properties = Properties {
        subject: Some(&long),
        user_id: Some(b"guest"),
        content_encoding: Symbol::new("gzip"),
        absolute_expiry_time: Some(1_700_000_000_999),
        ..Properties::default()
    };
    let application = [
        (text("x-amqp-0-10.app-id"), text("app")),
        (text("qpid.subject"), text("other")),
        (text("x-qpid.trace"), text("forged")),
        (text("k"), New::Int(1)),
    ];
    let note = |name: &str| (New::Symbol(name.into()), text("a"));
    let notes = [note("x-qpid.trace"), note("x-opt-other")];
    let mut content = section(Section::MessageAnnotations, &New::Map(notes.to_vec()));
    content.extend(new(&properties, &application, &[]));
    let delivery = Delivery { durable: true, priority: 200, ttl: Some(5) };
    let (header, _) = aged(&content, delivery, Node::Unknown);
    let view = v0_10::message::MessageView::parse(&header).expect("sound");
    let seen = view.delivery_properties().expect("sound");
    let expected = DeliveryProperties {
        priority: Some(9),
        delivery_mode: Some(DeliveryMode::PERSISTENT),
        ttl: Some(5),
        expiration: Some(1_700_000_000),
        routing_key: Some(&long[..254]),
        ..DeliveryProperties::default()
    };
    assert_eq!(seen, expected);
    let seen = view.message_properties().expect("sound");
    assert_eq!((seen.user_id, seen.app_id), (Some(&b"guest"[..]), Some(&b"app"[..])));
    assert_eq!(seen.content_encoding, Some("gzip"));
    let headers = Map::new().with("qpid.subject", &*long).with("x-qpid.trace", "a").with("k", 1);
    assert_eq!(headers_of(&header), headers);
}

#[test]
fn nesting_and_empty_elements_are_bounded() {
    let mut deep = Value::Void;
    for _ in 0..31 {
        deep = Value::List(List(vec![deep]));
    }
    let headers = Map::new().with("deep", deep).with("k", 1);
    let header = old(&DeliveryProperties::default(), Default::default(), headers);
    let application = application_of(&renewed(&header, b""));
    assert_eq!(application.last(), Some(&(text("k"), New::Int(1))));
    let mut list = Vec::new();
    let voids = Array::of(vec![Value::Void; 200]).expect("of one type");
    List(vec![Value::Array(voids); 50]).encode(&mut list).expect("encodes");
    let properties = MessageProperties { content_type: Some("amqp/list"), ..Default::default() };
    let header = old(&DeliveryProperties::default(), properties, Map::new());
    assert!(renewed(&header, &list).len() < 2 * list.len());
    let mut deep = New::Null;
    for _ in 0..14 {
        deep = New::Map(vec![(text("k"), New::List(vec![deep]))]);
    }
    let (header, _) = aged(
        &new(&Properties::default(), &[(text("k"), deep)], &[]),
        Delivery::default(),
        Node::Queue,
    );
    assert_eq!(headers_of(&header).len(), 1);
}

/// Values that are the same when they come back.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Void),
        any::<bool>().prop_map(Value::Boolean),
        any::<i8>().prop_map(Value::Int8),
        any::<i16>().prop_map(Value::Int16),
        any::<i32>().prop_map(Value::Int32),
        any::<i64>().prop_map(Value::Int64),
        any::<u8>().prop_map(Value::Uint8),
        any::<u16>().prop_map(Value::Uint16),
        any::<u32>().prop_map(Value::Uint32),
        any::<u64>().prop_map(Value::Uint64),
        (-1e9f32..1e9).prop_map(Value::Float),
        (-1e9..1e9).prop_map(Value::Double),
        any::<char>().prop_map(|character| Value::CharUtf32(character.into())),
        any::<[u8; 16]>().prop_map(|octets| Value::Uuid(Uuid(octets))),
        "[a-zä]{0,300}".prop_map(Value::Str16),
        vec(any::<u8>(), 0..300).prop_map(Value::Vbin16),
    ];
    scalar.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| Value::List(List(values))),
            entries(inner).prop_map(Value::Map),
        ]
    })
}

fn entries(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map> {
    vec(("[a-z]{1,5}", value), 0..4).prop_map(|entries| {
        entries.into_iter().fold(Map::new(), |map, (key, value)| map.with(key, value))
    })
}

proptest! {
    #[test]
    fn what_is_converted_comes_back(
        (headers, map) in (entries(value()), entries(value())),
        (id, correlation) in (option::of(any::<[u8; 16]>()), option::of(vec(any::<u8>(), 0..20))),
        (exchange, key) in ("[a-z]{0,3}", "[a-zä]{0,255}"),
        (kind, body) in (0..3u8, vec(any::<u8>(), 0..300)),
        user in option::of(vec(any::<u8>(), 0..9)),
        encoding in option::of("[a-z]{1,5}"),
    ) {
        prop_assume!(key.len() <= 255);
        let mut octets = Vec::new();
        match kind {
            0 => map.encode(&mut octets).expect("encodes"),
            1 => List(vec![Value::Map(map)]).encode(&mut octets).expect("encodes"),
            _ => octets = body,
        }
        let delivery = DeliveryProperties {
            exchange: Some("x"),
            routing_key: Some(&key),
            expiration: Some(7),
            ..Default::default()
        };
        let content_type = [Some("amqp/map"), Some("amqp/list"), None][usize::from(kind)];
        let reply_to = Some(ReplyTo { exchange: Some(&exchange), routing_key: Some("k") });
        let before = MessageProperties {
            message_id: id.map(Uuid),
            correlation_id: correlation.as_deref(),
            reply_to: reply_to.clone(),
            content_type,
            content_encoding: encoding.as_deref(),
            user_id: user.as_deref(),
            ..Default::default()
        };
        let header = old(&delivery, before.clone(), headers.clone());
        let content = renewed(&header, &octets);
        let (header, again) = aged(&content, Delivery::default(), Node::Queue);
        prop_assert_eq!(again, &octets[..]);
        let view = v0_10::message::MessageView::parse(&header).expect("sound");
        let after = view.message_properties().expect("sound");
        let content_length = Some(octets.len() as u64);
        let application_headers = after.application_headers;
        let before = MessageProperties { content_length, application_headers, ..before };
        prop_assert_eq!(after, before);
        prop_assert_eq!(view.expiration(), Ok(Some(7)));
        let mut expected = Map::new();
        if !key.is_empty() {
            prop_assert_eq!(view.routing_key(), Ok(Some(&key[..])));
            expected.insert("qpid.subject", key);
        }
        for (key, value) in headers.iter() {
            expected.insert(key, value.clone());
        }
        prop_assert_eq!(headers_of(&header), expected);
        // And once more: what came from 0-10 stays what it is.
        let delivery = DeliveryProperties { exchange: Some("x"), ..view.delivery_properties().expect("sound") };
        let mut third = Vec::new();
        delivery.encode(&mut third).expect("encodes");
        view.message_properties().expect("sound").encode(&mut third).expect("encodes");
        let third = renewed(&third, &octets);
        let (one, two) = (MessageView::parse(&content).expect("sound"), MessageView::parse(&third).expect("sound"));
        prop_assert_eq!(one.properties(), two.properties());
        prop_assert_eq!(one.body_sections(), two.body_sections());
    }

    #[test]
    fn anything_can_be_converted(header in vec(any::<u8>(), 0..200), body in vec(any::<u8>(), 0..100)) {
        let mut out = Vec::new();
        to_1_0(&header, &body, &mut out);
        to_0_10(&header, Delivery::default(), |_| Node::Queue, &mut out);
        to_0_10(&body, Delivery::default(), |_| Node::Exchange, &mut out);
    }
}
