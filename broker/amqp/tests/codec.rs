//! Values, controls, commands and structs: golden octets, round trips, and hostile input.
//!
//! The golden octets were written by the codec of the Python client for the reference broker.

use fletch_amqp::limits::MAX_NESTING;
use fletch_amqp::types::{Array, List, Uuid, code};
use fletch_amqp::v0_10::table::{connection, dtx, exchange, execution, message, queue, session};
use fletch_amqp::v0_10::{
    AcceptMode, AcquireMode, BodyError, Command, Compound, Control, DeliveryMode, ErrorCode,
    Struct32,
};
use fletch_amqp::wire::Reader;
use fletch_amqp::{CommandId, DecodeError, EncodeError, Map, MapRef, SequenceSet, Value, ValueRef};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn uuid() -> Uuid {
    Uuid(std::array::from_fn(|index| index as u8))
}

/// Flags and fields both ways against golden octets.
fn golden_body<'a, T: Compound<'a> + PartialEq + std::fmt::Debug>(value: &T, octets: &'a [u8]) {
    let mut out = Vec::new();
    value.encode_body(&mut out).expect("encodes");
    assert_eq!(out, octets, "{}", T::NAME);
    assert_eq!(value.body_len(), octets.len(), "{}", T::NAME);
    assert_eq!(&T::decode_whole(octets).expect("decodes"), value);
}

/// A struct with size and code both ways against golden octets.
fn golden_struct<'a, T: Compound<'a> + PartialEq + std::fmt::Debug>(value: &T, octets: &'a [u8]) {
    let mut out = Vec::new();
    value.encode(&mut out).expect("encodes");
    assert_eq!(out, octets, "{}", T::NAME);
    assert_eq!(value.encoded_len(), octets.len(), "{}", T::NAME);
    let mut reader = Reader::new(octets);
    assert_eq!(&T::decode(&mut reader).expect("decodes"), value);
    assert!(reader.is_empty());
}

#[test]
fn golden_map() {
    let octets = hex(concat!(
        "000000b90000000a06737472696e6795000e746869732069732061207465737403696e743100000000000000",
        "03046c6f6e67310000000100000000046e6f6e65f002706933400c0000000000000379657308010362696e90",
        "0002b452027473380000000000000007047575696448000102030405060708090a0b0c0d0e0f066e65737465",
        "64a80000003300000001046c697374a9000000250000000431000000000000000195000374776f3340080000",
        "0000000031fffffffffffffffc",
    ));
    let list = List(vec![1i64.into(), "two".into(), 3.0f64.into(), (-4i64).into()]);
    let map = Map::new()
        .with("string", "this is a test")
        .with("int", 3i64)
        .with("long", 1i64 << 32)
        .with("none", Value::Void)
        .with("pi", 3.5f64)
        .with("yes", true)
        .with("bin", &b"\xb4R"[..])
        .with("ts", Value::Datetime(7))
        .with("uuid", uuid())
        .with("nested", Map::new().with("list", list.clone()));
    let mut out = Vec::new();
    map.encode(&mut out).expect("encodes");
    assert_eq!(out, octets);
    assert_eq!(Map::decode(&mut Reader::new(&octets)), Ok(map.clone()));

    let view = MapRef::new(&octets[4..]).expect("a map");
    assert_eq!(view.validate(), Ok(()));
    assert_eq!(view.len(), 10);
    assert_eq!(view.get_str("string"), Some("this is a test"));
    assert_eq!(view.get_int("long"), Some(1 << 32));
    assert_eq!(view.get_bool("yes"), Some(true));
    assert_eq!(view.get("pi").and_then(ValueRef::as_f64), Some(3.5));
    assert_eq!(view.get("uuid").and_then(ValueRef::as_uuid), Some(uuid()));
    assert!(view.get("none").is_some_and(ValueRef::is_void));
    assert!(view.get("absent").is_none());
    assert_eq!(view.get_str("bin"), None);
    let nested = view.get("nested").and_then(ValueRef::as_map).expect("a map");
    let inner = nested.get("list").and_then(ValueRef::as_list).expect("a list");
    assert_eq!(inner.to_list(), Ok(list));
    assert_eq!(map.encoded().expect("encodes").view(), view);
}

#[test]
fn golden_lists_and_arrays() {
    let octets = hex("0000001c950000000400036f6e65000374776f000574687265650004666f7572");
    let array = Array::of_str16(["one", "two", "three", "four"]);
    assert_eq!(Array::decode(&mut Reader::new(&octets)), Ok(array.clone()));
    let mut out = Vec::new();
    array.encode(&mut out).expect("encodes");
    assert_eq!(out, octets);
    let encoded = array.encoded().expect("encodes");
    assert_eq!(encoded.view().strs().collect::<Vec<_>>(), ["one", "two", "three", "four"]);
    assert_eq!(encoded.view().element_code(), code::STR16);

    let octets = hex("0000001d3100000003000000000000000100000000000000020000000000000003");
    let array = Array::of(vec![1i64.into(), 2i64.into(), 3i64.into()]).expect("one type");
    assert_eq!(Array::decode(&mut Reader::new(&octets)), Ok(array));

    // Absent maps, lists and arrays come as a size of 0.
    let none = [0; 4];
    assert_eq!(Map::decode(&mut Reader::new(&none)), Ok(Map::new()));
    assert_eq!(List::decode(&mut Reader::new(&none)), Ok(List::default()));
    assert_eq!(Array::decode(&mut Reader::new(&none)), Ok(Array::default()));
    let empty = hex("00000005f000000000");
    assert_eq!(Array::decode(&mut Reader::new(&empty)), Ok(Array::default()));
    assert!(Array::of(vec![1i64.into(), "x".into()]).is_none());
}

#[test]
fn golden_methods() {
    let arguments = Map::new().with("qpid.max_count", 10i64).encoded().expect("encodes");
    golden_body(
        &queue::Declare {
            queue: Some("q"),
            alternate_exchange: Some("amq.dlq"),
            durable: true,
            auto_delete: true,
            arguments: Some(arguments.view()),
            ..Default::default()
        },
        &hex(concat!(
            "6b00017107616d712e646c710000001c000000010e717069642e6d61785f636f756e74",
            "31000000000000000a"
        )),
    );
    golden_body(
        &message::Transfer {
            destination: Some("amq.direct"),
            accept_mode: Some(AcceptMode::NONE),
            acquire_mode: Some(AcquireMode::PRE_ACQUIRED),
        },
        &hex("07000a616d712e6469726563740100"),
    );
    let properties = Map::new().with("product", "x").encoded().expect("encodes");
    let mechanisms = Array::of_str16(["PLAIN", "EXTERNAL"]).encoded().expect("encodes");
    let locales = Array::of_str16(["en_US"]).encoded().expect("encodes");
    golden_body(
        &connection::Start {
            server_properties: Some(properties.view()),
            mechanisms: Some(mechanisms.view()),
            locales: Some(locales.view()),
        },
        &hex(concat!(
            "070000000010000000010770726f64756374950001780000001695000000020005504c41494e00084558",
            "5445524e414c0000000c95000000010005656e5f5553"
        )),
    );
    let mut commands = SequenceSet::range(CommandId(1), CommandId(5));
    commands.add(CommandId(9));
    commands.add_range(CommandId(0xffff_fff0), CommandId(0xffff_fff5));
    golden_body(
        &session::Completed { commands: Some(commands), timely_reply: true },
        &hex("03000018fffffff0fffffff500000001000000050000000900000009"),
    );
    golden_body(
        &execution::Exception {
            error_code: Some(ErrorCode::NOT_FOUND),
            command_id: Some(CommandId(2)),
            class_code: Some(8),
            command_code: Some(1),
            description: Some("no"),
            ..Default::default()
        },
        &hex("2f00019400000002080100026e6f"),
    );
    golden_body(&session::Attach { name: Some(b"s"), force: true }, &hex("0300000173"));
    golden_body(
        &connection::Tune {
            channel_max: Some(32767),
            max_frame_size: Some(65535),
            heartbeat_min: Some(0),
            heartbeat_max: Some(120),
        },
        &hex("0f007fffffff00000078"),
    );
}

#[test]
fn golden_structs() {
    golden_struct(
        &message::DeliveryProperties {
            discard_unroutable: true,
            immediate: false,
            redelivered: true,
            priority: Some(4),
            delivery_mode: Some(DeliveryMode::PERSISTENT),
            ttl: Some(60000),
            timestamp: Some(1),
            expiration: Some(2),
            exchange: Some("ex"),
            routing_key: Some("rk"),
            resume_id: Some("r"),
            resume_ttl: Some(9),
        },
        &hex(concat!(
            "0000002f0401fd0f0402000000000000ea600000000000000001000000000000000202657802726b0001",
            "720000000000000009"
        )),
    );
    let headers = Map::new().with("a", 1i64).encoded().expect("encodes");
    golden_struct(
        &message::MessageProperties {
            content_length: Some(5),
            message_id: Some(uuid()),
            correlation_id: Some(b"c"),
            reply_to: Some(message::ReplyTo { exchange: Some("e"), routing_key: Some("k") }),
            content_type: Some("text/plain"),
            content_encoding: Some("utf8"),
            user_id: Some(b"guest"),
            app_id: Some(b"app"),
            application_headers: Some(headers.view()),
        },
        &hex(concat!(
            "000000560403ff010000000000000005000102030405060708090a0b0c0d0e0f000163000603000165016b",
            "0a746578742f706c61696e04757466380005677565737400036170700000000f0000000101613100000000",
            "00000001"
        )),
    );
    golden_struct(
        &message::FragmentProperties { first: true, last: true, fragment_size: Some(3) },
        &hex("0000000c040207000000000000000003"),
    );
    let xid = dtx::Xid { format: Some(7), global_id: Some(b"g"), branch_id: Some(b"b") };
    golden_struct(&xid, &hex("0000000c060407000000000701670162"));
    golden_body(
        &dtx::Start { xid: Some(xid), join: true, resume: false },
        &hex("03000000000c060407000000000701670162"),
    );
    // Without flags every field is there, with or without a value.
    golden_struct(
        &session::CommandFragment {
            command_id: Some(CommandId(3)),
            byte_ranges: Some(b"12345678"),
        },
        &hex("0000000300083132333435363738"),
    );
    let mut out = Vec::new();
    session::CommandFragment::default().encode(&mut out).expect("encodes");
    assert_eq!(out, [0; 6]);
    golden_struct(&session::Header { sync: true }, &hex("0101"));
    golden_struct(
        &exchange::ExchangeBoundResult {
            queue_not_found: true,
            key_not_matched: true,
            ..Default::default()
        },
        &hex("0000000407020a00"),
    );
}

#[test]
fn golden_result() {
    let queried = queue::QueueQueryResult {
        queue: Some("q"),
        message_count: Some(3),
        subscriber_count: Some(0),
        ..Default::default()
    };
    let mut buffer = Vec::new();
    let value = queried.to_struct32(&mut buffer).expect("encodes");
    let octets = hex("0300000000040000000e0801c10001710000000300000000");
    golden_body(&execution::Result { command_id: Some(CommandId(4)), value: Some(value) }, &octets);
    assert_eq!(value.read::<queue::QueueQueryResult<'_>>(), Ok(queried));
    assert!(matches!(
        value.read::<exchange::ExchangeQueryResult<'_>>(),
        Err(BodyError::Outline { source: DecodeError::WrongStruct { found: 0x0801, .. }, .. })
    ));
}

#[test]
fn segments() {
    let command = Command::from(queue::Purge { queue: Some("q") });
    let mut out = Vec::new();
    command.encode_segment(true, &mut out).expect("encodes");
    assert_eq!(out, hex("0803010101000171"));
    assert_eq!(command.segment_len(), out.len());
    let (header, decoded) = Command::decode_segment(&out).expect("decodes");
    assert!(header.sync);
    assert_eq!(decoded, command);
    assert_eq!((decoded.name(), decoded.class(), decoded.code()), ("queue.purge", 8, 3));

    let control = Control::from(connection::Heartbeat {});
    out.clear();
    control.encode_segment(&mut out).expect("encodes");
    assert_eq!(out, hex("010a0000"));
    assert_eq!(control.segment_len(), out.len());
    assert_eq!(Control::decode_segment(&out), Ok(control));
}

#[test]
fn only_transfers_have_segments() {
    for class in fletch_amqp::v0_10::table::TABLE {
        for row in class.commands.iter().filter(|row| row.segments) {
            assert_eq!((class.name, row.name), ("message", "transfer"));
        }
    }
    assert!(Command::from(message::Transfer::default()).has_segments());
    assert!(!Command::from(message::Stop::default()).has_segments());
}

#[test]
fn wrong_bodies_are_told_apart() {
    let decode = Command::decode;
    assert_eq!(decode(9, 1, &[0, 0]), Err(BodyError::UnknownClass { class: 9 }));
    assert_eq!(decode(8, 9, &[0, 0]), Err(BodyError::UnknownCode { class: 8, code: 9 }));
    // Connection has controls alone.
    assert_eq!(decode(1, 1, &[0, 0]), Err(BodyError::UnknownCode { class: 1, code: 1 }));
    assert_eq!(
        decode(8, 3, &[0]),
        Err(BodyError::Outline {
            entry: "queue.purge",
            source: DecodeError::Truncated { need: 2, have: 1 }
        })
    );
    assert_eq!(
        decode(8, 3, &[3, 1, 0]),
        Err(BodyError::UnknownFlags { entry: "queue.purge", flags: 0x0102 })
    );
    assert_eq!(
        decode(8, 3, &[0, 0, 9]),
        Err(BodyError::Outline { entry: "queue.purge", source: DecodeError::Trailing(1) })
    );
    assert_eq!(
        decode(8, 3, &[1, 0, 2, 0xff, 0xfe]),
        Err(BodyError::Field {
            entry: "queue.purge",
            field: "queue",
            index: 0,
            source: DecodeError::InvalidUtf8
        })
    );
    assert_eq!(
        decode(4, 2, &[1, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 1]),
        Err(BodyError::Field {
            entry: "message.accept",
            field: "transfers",
            index: 0,
            source: DecodeError::ReversedRange { low: 9, high: 1 }
        })
    );
    assert!(matches!(Command::decode_segment(&[8]), Err(BodyError::NoCode(_))));
    assert!(matches!(
        Command::decode_segment(&[8, 3]),
        Err(BodyError::Outline { entry: "session.header", .. })
    ));
    assert!(matches!(Control::decode_segment(&[]), Err(BodyError::NoCode(_))));
}

#[test]
fn too_long_for_the_wire() {
    let long = "x".repeat(256);
    let mut out = vec![7];
    let command = Command::from(queue::Declare { queue: Some(&long), ..Default::default() });
    assert_eq!(
        command.encode_segment(false, &mut out),
        Err(EncodeError::TooLong { len: 256, max: 255 })
    );
    assert_eq!(out, [7], "nothing is left of a segment that failed");
    assert!(Map::new().with(long.clone(), 1i64).encoded().is_err());
    assert_eq!(Value::from("x".repeat(65536)).code(), code::VBIN32);

    let mut deep = Value::from(1i64);
    for _ in 0..=MAX_NESTING {
        deep = List(vec![deep]).into();
    }
    assert_eq!(deep.encode(&mut Vec::new()), Err(EncodeError::TooDeep));
}

#[test]
fn conversions() {
    let map = Map::new()
        .with("u8", 200u8)
        .with("i8", -3i8)
        .with("u64", u64::MAX)
        .with("text", " 42 ")
        .with("true", "TRUE")
        .with("zero", 0u16)
        .with("latin", Value::Str16Latin(vec![b'a', 0xe9]))
        .with("ascii", Value::Str8Latin(b"abc".to_vec()))
        .with("utf16", Value::Str16Utf16(vec![0, b'h', 0, b'i']))
        .with("float", 1.5f32);
    let encoded = map.encoded().expect("encodes");
    let view = encoded.view();
    for (int, key) in [
        (Some(200), "u8"),
        (Some(-3), "i8"),
        (None, "u64"),
        (Some(42), "text"),
        (None, "true"),
        (Some(0), "zero"),
        (None, "float"),
    ] {
        assert_eq!(map.get_int(key), int, "{key}");
        assert_eq!(view.get_int(key), int, "{key}");
    }
    for (truth, key) in [(Some(true), "u8"), (Some(true), "true"), (Some(false), "zero")] {
        assert_eq!(map.get_bool(key), truth, "{key}");
        assert_eq!(view.get_bool(key), truth, "{key}");
    }
    assert_eq!(map.get("u64").and_then(Value::as_u64), Some(u64::MAX));
    assert_eq!(map.get("float").and_then(Value::as_f64), Some(1.5));
    assert_eq!(map.get_str("latin"), None);
    assert_eq!(map.get_str("ascii"), Some("abc"));
    let text = |key: &str| view.get(key).and_then(ValueRef::to_text).map(String::from);
    assert_eq!(text("latin").as_deref(), Some("aé"));
    assert_eq!(text("utf16").as_deref(), Some("hi"));
    assert_eq!(map.get("latin").and_then(Value::view_text).as_deref(), Some("aé"));
}

// ---- hostile input ----

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[test]
fn counts_beyond_the_octets() {
    let counts = [u32::MAX, u32::MAX / 2 + 1, 0x4000_0000, 2];
    for count in counts {
        let four = count.to_be_bytes();
        assert!(matches!(MapRef::new(&four), Err(DecodeError::CountTooLarge { .. })), "{count}");
        let mut list = vec![code::LIST];
        put_u32(&mut list, 4);
        put_u32(&mut list, count);
        assert!(Value::decode(&mut Reader::new(&list)).is_err(), "{count}");
        for element in [code::BIN8, code::INT64, code::VBIN32, code::MAP, code::BIN1024] {
            let mut array = vec![code::ARRAY];
            put_u32(&mut array, 5);
            array.push(element);
            put_u32(&mut array, count);
            assert!(Value::decode(&mut Reader::new(&array)).is_err(), "{element:#x} {count}");
        }
    }
}

#[test]
fn zero_width_elements_are_bounded() {
    for (count, good) in [(256, true), (257, false), (u32::MAX, false)] {
        for element in [code::VOID, code::BIT] {
            let mut array = Vec::new();
            put_u32(&mut array, 5);
            array.push(element);
            put_u32(&mut array, count);
            assert_eq!(Array::decode(&mut Reader::new(&array)).is_ok(), good, "{count}");
        }
    }
    // A list of voids takes an octet each, so what is there bounds it.
    let mut list = Vec::new();
    put_u32(&mut list, 4 + 1000);
    put_u32(&mut list, 1000);
    list.extend(std::iter::repeat_n(code::VOID, 1000));
    assert_eq!(List::decode(&mut Reader::new(&list)).map(|list| list.0.len()), Ok(1000));
}

/// `depth` containers in each other, built from the inside.
fn nested(container: u8, depth: usize) -> Vec<u8> {
    let mut inner = vec![code::VOID];
    for _ in 0..depth {
        let mut content = Vec::new();
        match container {
            code::MAP => {
                put_u32(&mut content, 1);
                content.extend_from_slice(&[1, b'k']);
                content.extend_from_slice(&inner);
            }
            code::LIST => {
                put_u32(&mut content, 1);
                content.extend_from_slice(&inner);
            }
            _ => {
                content.push(inner[0]);
                put_u32(&mut content, 1);
                content.extend_from_slice(&inner[1..]);
            }
        }
        let mut outer = vec![container];
        put_u32(&mut outer, content.len() as u32);
        outer.extend_from_slice(&content);
        inner = outer;
    }
    inner
}

#[test]
fn nesting_is_bounded() {
    for container in [code::MAP, code::LIST, code::ARRAY] {
        for (depth, good) in [(MAX_NESTING, true), (MAX_NESTING + 1, false), (10_000, false)] {
            let octets = nested(container, depth);
            let value = ValueRef::decode(&mut Reader::new(&octets)).expect("an outline");
            let expected = if good { Ok(()) } else { Err(DecodeError::TooDeep) };
            assert_eq!(value.validate(), expected, "{container:#x} {depth}");
            assert_eq!(value.to_value().map(|_| ()), expected, "{container:#x} {depth}");
            if good {
                let mut out = Vec::new();
                value.to_value().expect("decodes").encode(&mut out).expect("encodes");
                assert_eq!(out, octets);
            }
        }
    }
}

#[test]
fn sizes_at_the_edges() {
    let sizes = [0x7fff_ffff, 0x8000_0000, 0xffff_fff0, u32::MAX - 1, u32::MAX];
    for size in sizes {
        for element in [code::VBIN32, code::MAP, code::LIST, code::ARRAY, code::STRUCT32, 0xa1] {
            let mut octets = vec![element];
            put_u32(&mut octets, size);
            octets.extend_from_slice(&[0; 16]);
            assert!(matches!(
                Value::decode(&mut Reader::new(&octets)),
                Err(DecodeError::Truncated { have: 16, .. })
            ));
        }
    }
    for element in [code::VBIN8, code::STR8, code::STR8_LATIN] {
        assert!(Value::decode(&mut Reader::new(&[element, 255, 0])).is_err());
    }
    for element in [code::VBIN16, code::STR16, code::STR16_UTF16] {
        assert!(Value::decode(&mut Reader::new(&[element, 255, 255, 0])).is_err());
    }
    for reserved in [0xb0, 0xbf, 0xe0, 0xef] {
        assert_eq!(
            Value::decode(&mut Reader::new(&[reserved, 0])),
            Err(DecodeError::UnknownType(reserved))
        );
    }
}

#[test]
fn malformed_arguments_fail_the_command() {
    // A map of one entry whose value is cut off, in the arguments of a declaration.
    let mut body = vec![0x41, 0, 1, b'q'];
    put_u32(&mut body, 4 + 2 + 3);
    put_u32(&mut body, 1);
    body.extend_from_slice(&[1, b'k', code::VBIN16, 0, 9]);
    assert!(matches!(
        Command::decode(8, 1, &body),
        Err(BodyError::Field { field: "arguments", index: 6, .. })
    ));
    // Octets after the last entry.
    let mut body = vec![0x41, 0, 1, b'q'];
    put_u32(&mut body, 5);
    put_u32(&mut body, 0);
    body.push(0);
    assert!(matches!(
        Command::decode(8, 1, &body),
        Err(BodyError::Field { source: DecodeError::Trailing(1), .. })
    ));
}

// ---- properties ----

fn octets() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Void),
        Just(Value::Bit),
        any::<bool>().prop_map(Value::Boolean),
        any::<i8>().prop_map(Value::Int8),
        any::<i16>().prop_map(Value::Int16),
        any::<i32>().prop_map(Value::Int32),
        any::<i64>().prop_map(Value::Int64),
        any::<u8>().prop_map(Value::Uint8),
        any::<u16>().prop_map(Value::Uint16),
        any::<u32>().prop_map(Value::Uint32),
        any::<u64>().prop_map(Value::Uint64),
        any::<i16>().prop_map(|value| Value::Float(f32::from(value) / 7.0)),
        any::<i32>().prop_map(|value| Value::Double(f64::from(value) / 7.0)),
        any::<u8>().prop_map(Value::Char),
        any::<u32>().prop_map(Value::CharUtf32),
        any::<u64>().prop_map(Value::Datetime),
        any::<[u8; 16]>().prop_map(|octets| Value::Uuid(Uuid(octets))),
    ];
    let binary = prop_oneof![
        any::<u8>().prop_map(Value::Bin8),
        any::<[u8; 2]>().prop_map(Value::Bin16),
        any::<[u8; 4]>().prop_map(Value::Bin32),
        any::<[u8; 5]>().prop_map(Value::Bin40),
        any::<[u8; 8]>().prop_map(Value::Bin64),
        any::<[u8; 9]>().prop_map(Value::Bin72),
        any::<[u8; 16]>().prop_map(Value::Bin128),
        any::<[u8; 32]>().prop_map(|octets| Value::Bin256(Box::new(octets))),
        any::<u8>().prop_map(|octet| Value::Bin512(Box::new([octet; 64]))),
        any::<u8>().prop_map(|octet| Value::Bin1024(Box::new([octet; 128]))),
        any::<[u8; 5]>().prop_map(Value::Dec32),
        any::<[u8; 9]>().prop_map(Value::Dec64),
        octets().prop_map(|data| Value::Opaque { code: 0xa1, data }),
        any::<[u8; 4]>().prop_map(|data| Value::Opaque { code: 0x2e, data: data.to_vec() }),
    ];
    let variable = prop_oneof![
        ".{0,20}".prop_map(Value::Str8),
        ".{0,20}".prop_map(Value::Str16),
        octets().prop_map(Value::Str8Latin),
        octets().prop_map(Value::Str16Latin),
        octets().prop_map(Value::Str8Utf16),
        octets().prop_map(Value::Str16Utf16),
        octets().prop_map(Value::Vbin8),
        octets().prop_map(Value::Vbin16),
        octets().prop_map(Value::Vbin32),
        octets().prop_map(|data| Value::Struct32([vec![8, 1], data].concat())),
    ];
    prop_oneof![scalar, binary, variable].prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec((".{0,8}", inner.clone()), 0..8)
                .prop_map(|entries| Value::Map(entries.into_iter().collect())),
            prop::collection::vec(inner.clone(), 0..8).prop_map(|values| List(values).into()),
            (inner, 0..4usize).prop_map(|(value, count)| {
                Array::of(vec![value; count]).expect("one type").into()
            }),
        ]
    })
}

fn set() -> impl Strategy<Value = SequenceSet> {
    (any::<u32>(), prop::collection::vec((0..10_000u32, 0..100u32), 0..12)).prop_map(
        |(base, ranges)| {
            let mut set = SequenceSet::new();
            for (offset, len) in ranges {
                let low = CommandId(base).add(offset);
                set.add_range(low, low.add(len));
            }
            set
        },
    )
}

/// A command out and in again, through its whole segment.
fn round_trip(command: &Command<'_>, sync: bool) {
    let mut out = Vec::new();
    command.encode_segment(sync, &mut out).expect("encodes");
    assert_eq!(out.len(), command.segment_len());
    let (header, decoded) = Command::decode_segment(&out).expect("decodes");
    assert_eq!(header.sync, sync);
    assert_eq!(&decoded, command);
}

proptest! {
    #[test]
    fn values_round_trip(value in value()) {
        let mut out = Vec::new();
        value.encode(&mut out).expect("encodes");
        let mut reader = Reader::new(&out);
        prop_assert_eq!(Value::decode(&mut reader), Ok(value));
        prop_assert!(reader.is_empty());
        prop_assert_eq!(ValueRef::decode(&mut Reader::new(&out)).and_then(ValueRef::validate), Ok(()));
    }

    /// What decodes at all encodes to the very octets it came from.
    #[test]
    fn octets_round_trip(octets in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut reader = Reader::new(&octets);
        if let Ok(value) = Value::decode(&mut reader) {
            let mut out = Vec::new();
            value.encode(&mut out).expect("encodes");
            // Absent containers come out as empty ones, and any octet but 0 is true.
            let plain = !out.contains(&code::MAP)
                && !out.contains(&code::LIST)
                && !out.contains(&code::ARRAY)
                && !out.contains(&code::BOOLEAN);
            if plain {
                prop_assert_eq!(&out[..], &octets[..octets.len() - reader.remaining()]);
            }
        }
    }

    #[test]
    fn hot_commands_round_trip(
        destination in prop::option::of("[a-z.]{0,40}"),
        modes in prop::option::of((any::<u8>(), any::<u8>())),
        transfers in prop::option::of(set()),
        code in prop::option::of(any::<u16>()),
        sync: bool,
    ) {
        round_trip(&message::Transfer {
            destination: destination.as_deref(),
            accept_mode: modes.map(|(mode, _)| AcceptMode(mode)),
            acquire_mode: modes.map(|(_, mode)| AcquireMode(mode)),
        }.into(), sync);
        round_trip(&message::Accept { transfers: transfers.clone() }.into(), sync);
        round_trip(&message::Reject {
            transfers: transfers.clone(),
            code: code.map(fletch_amqp::v0_10::RejectCode),
            text: destination.as_deref(),
        }.into(), sync);
        let completed = Control::from(session::Completed { commands: transfers, timely_reply: sync });
        let mut out = Vec::new();
        completed.encode_segment(&mut out).expect("encodes");
        prop_assert_eq!(out.len(), completed.segment_len());
        prop_assert_eq!(Control::decode_segment(&out), Ok(completed));
    }

    #[test]
    fn declarations_round_trip(
        name in prop::option::of(".{0,30}"),
        flags in any::<[bool; 4]>(),
        entries in prop::collection::vec((".{0,8}", value()), 0..6),
        sync: bool,
    ) {
        let arguments = entries.into_iter().collect::<Map>().encoded().expect("encodes");
        let [passive, durable, exclusive, auto_delete] = flags;
        round_trip(&queue::Declare {
            queue: name.as_deref(),
            alternate_exchange: None,
            passive,
            durable,
            exclusive,
            auto_delete,
            arguments: Some(arguments.view()),
        }.into(), sync);
    }

    /// No octets make any decoder panic.
    #[test]
    fn random_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Command::decode_segment(&octets);
        let _ = Control::decode_segment(&octets);
        let _ = Value::decode(&mut Reader::new(&octets));
        let _ = SequenceSet::decode(&mut Reader::new(&octets));
        let _ = Struct32::decode(&mut Reader::new(&octets));
        if let Ok(map) = MapRef::new(&octets) {
            let _ = (map.get("k"), map.validate(), map.iter().count(), format!("{map:?}"));
        }
    }

    /// Every class and code, with flags that mostly exist, over random fields.
    #[test]
    fn every_entry_takes_random_fields(
        flags in 0..4096u16,
        octets in prop::collection::vec(prop_oneof![3 => 0..4u8, 1 => any::<u8>()], 0..80),
    ) {
        for class in 1..=8u8 {
            for code in 1..=13u8 {
                let body = [&flags.to_le_bytes()[..], &octets].concat();
                if let Ok(command) = Command::decode(class, code, &body) {
                    let mut out = Vec::new();
                    command.encode_segment(false, &mut out).expect("what decodes encodes");
                    prop_assert_eq!(out.len(), command.segment_len());
                    let (_, again) = Command::decode_segment(&out).expect("decodes again");
                    prop_assert_eq!(again, command);
                }
                if let Ok(control) = Control::decode(class, code, &body) {
                    let mut out = Vec::new();
                    control.encode_segment(&mut out).expect("what decodes encodes");
                    prop_assert_eq!(out.len(), control.segment_len());
                    prop_assert_eq!(Control::decode_segment(&out), Ok(control));
                }
            }
        }
    }
}

#[test]
fn text_that_is_not_utf8_fails_only_where_it_is_looked_at() {
    // Keys and text of application headers may be in any encoding: what is sound is still found.
    let mut content = Vec::new();
    put_u32(&mut content, 2);
    content.extend_from_slice(&[1, 0xff, code::STR16, 0, 1, 0xfe]);
    content.extend_from_slice(&[1, b'k', code::STR16, 0, 1, b'v']);
    let map = MapRef::new(&content).expect("a map");
    assert_eq!(map.get_str("k"), Some("v"));
    assert_eq!(map.validate(), Err(DecodeError::InvalidUtf8));
}
