//! Values of AMQP 1.0: golden octets, round trips, and hostile input.

use fletch_amqp::limits::{MAX_NESTING, MAX_ZERO_WIDTH_ELEMENTS};
use fletch_amqp::types::Uuid;
use fletch_amqp::v1_0::types::{Array, Symbol, Value, ValueRef, code, validate};
use fletch_amqp::wire::Reader;
use fletch_amqp::{DecodeError, EncodeError};
use proptest::prelude::*;

fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out).expect("encodes");
    out
}

fn decode(octets: &[u8]) -> Result<Value, DecodeError> {
    let mut reader = Reader::new(octets);
    let value = Value::decode(&mut reader)?;
    reader.finish().map(|()| value)
}

fn check(octets: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(octets);
    validate(&mut reader)?;
    reader.finish()
}

fn symbol(text: &str) -> Value {
    Value::Symbol(text.to_owned())
}

fn described(descriptor: Value, value: Value) -> Value {
    Value::Described(Box::new((descriptor, value)))
}

/// The shortest form of each value, in both directions.
#[test]
fn golden() {
    let cases: Vec<(Value, &[u8])> = vec![
        (Value::Null, b"\x40"),
        (Value::Boolean(true), b"\x41"),
        (Value::Boolean(false), b"\x42"),
        (Value::Ubyte(200), b"\x50\xc8"),
        (Value::Ushort(1), b"\x60\x00\x01"),
        (Value::Uint(0), b"\x43"),
        (Value::Uint(255), b"\x52\xff"),
        (Value::Uint(256), b"\x70\x00\x00\x01\x00"),
        (Value::Ulong(0), b"\x44"),
        (Value::Ulong(255), b"\x53\xff"),
        (Value::Ulong(256), b"\x80\x00\x00\x00\x00\x00\x00\x01\x00"),
        (Value::Byte(-1), b"\x51\xff"),
        (Value::Short(-2), b"\x61\xff\xfe"),
        (Value::Int(-128), b"\x54\x80"),
        (Value::Int(128), b"\x71\x00\x00\x00\x80"),
        (Value::Long(127), b"\x55\x7f"),
        (Value::Long(-129), b"\x81\xff\xff\xff\xff\xff\xff\xff\x7f"),
        (Value::Float(1.0), b"\x72\x3f\x80\x00\x00"),
        (Value::Double(1.0), b"\x82\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        (Value::Decimal32([1, 2, 3, 4]), b"\x74\x01\x02\x03\x04"),
        (Value::Decimal64([7; 8]), b"\x84\x07\x07\x07\x07\x07\x07\x07\x07"),
        (Value::Char('\u{1f600}'), b"\x73\x00\x01\xf6\x00"),
        (Value::Timestamp(-1), b"\x83\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Value::Binary(vec![0, 255]), b"\xa0\x02\x00\xff"),
        (Value::String("é".into()), b"\xa1\x02\xc3\xa9"),
        (symbol("PLAIN"), b"\xa3\x05PLAIN"),
        (Value::List(vec![]), b"\x45"),
        (Value::List(vec![Value::Null, Value::Uint(1)]), b"\xc0\x04\x02\x40\x52\x01"),
        (Value::Map(vec![]), b"\xc1\x01\x00"),
        (Value::Map(vec![(symbol("k"), Value::Boolean(true))]), b"\xc1\x05\x02\xa3\x01k\x41"),
        (Value::array(vec![]), b"\xe0\x02\x00\x40"),
        (Value::array(vec![symbol("a"), symbol("bc")]), b"\xe0\x07\x02\xa3\x01a\x02bc"),
        (
            Value::array(vec![Value::Boolean(true), Value::Boolean(false)]),
            b"\xe0\x04\x02\x56\x01\0",
        ),
        (Value::array(vec![Value::Uint(0), Value::Uint(1)]), b"\xe0\x04\x02\x52\x00\x01"),
        (
            Value::array(vec![Value::Uint(0), Value::Uint(256)]),
            b"\xe0\x0a\x02\x70\x00\x00\x00\x00\x00\x00\x01\x00",
        ),
        (
            Value::array(vec![Value::List(vec![]), Value::List(vec![Value::Null])]),
            b"\xe0\x07\x02\xc0\x01\x00\x02\x01\x40",
        ),
        (
            Value::array(vec![Value::array(vec![Value::Ubyte(7)]), Value::array(vec![])]),
            b"\xe0\x09\x02\xe0\x03\x01\x50\x07\x02\x00\x40",
        ),
        (described(Value::Ulong(0x24), Value::List(vec![])), b"\x00\x53\x24\x45"),
        (described(symbol("x"), Value::Null), b"\x00\xa3\x01x\x40"),
        (
            Value::Array(Box::new(Array {
                descriptors: vec![Value::Ulong(1)],
                elements: vec![Value::Ubyte(1), Value::Ubyte(2)],
            })),
            b"\xe0\x07\x02\x00\x53\x01\x50\x01\x02",
        ),
    ];
    for (value, octets) in cases {
        assert_eq!(encode(&value), octets, "{value:?}");
        assert_eq!(decode(octets).as_ref(), Ok(&value));
        assert_eq!(check(octets), Ok(()));
        for end in 0..octets.len() {
            assert!(check(&octets[..end]).is_err(), "{value:?} cut at {end}");
            assert!(decode(&octets[..end]).is_err(), "{value:?} cut at {end}");
        }
    }
    let long = Value::String("x".repeat(256));
    assert_eq!(encode(&long)[..5], *b"\xb1\x00\x00\x01\x00");
    let wide = Value::List(vec![long.clone()]);
    assert_eq!(encode(&wide)[..9], *b"\xd0\x00\x00\x01\x09\x00\x00\x00\x01");
    let many = Value::List(vec![Value::Null; 256]);
    assert_eq!(encode(&many)[..9], *b"\xd0\x00\x00\x01\x04\x00\x00\x01\x00");
    let both = Value::array(vec![wide, Value::List(vec![])]);
    assert_eq!(decode(&encode(&both)), Ok(both));
}

/// The forms that this crate never writes are read.
#[test]
fn longer_forms() {
    let cases: Vec<(&[u8], Value)> = vec![
        (b"\x56\x01", Value::Boolean(true)),
        (b"\x56\x00", Value::Boolean(false)),
        (b"\x70\x00\x00\x00\x00", Value::Uint(0)),
        (b"\x52\x00", Value::Uint(0)),
        (b"\x80\0\0\0\0\0\0\0\x05", Value::Ulong(5)),
        (b"\x71\xff\xff\xff\xff", Value::Int(-1)),
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff", Value::Long(-1)),
        (b"\xb0\0\0\0\x01x", Value::Binary(b"x".to_vec())),
        (b"\xb3\0\0\0\x01x", symbol("x")),
        (b"\xc0\x01\x00", Value::List(vec![])),
        (b"\xd0\0\0\0\x04\0\0\0\x00", Value::List(vec![])),
        (b"\xd1\0\0\0\x06\0\0\0\x02\x43\x44", Value::Map(vec![(Value::Uint(0), Value::Ulong(0))])),
        (b"\xf0\0\0\0\x05\0\0\0\x02\x41", Value::array(vec![Value::Boolean(true); 2])),
        (b"\xe0\x02\x02\x45", Value::array(vec![Value::List(vec![]); 2])),
    ];
    for (octets, value) in cases {
        assert_eq!(check(octets), Ok(()), "{value:?}");
        assert_eq!(decode(octets), Ok(value));
    }
}

#[test]
fn views() {
    let octets = encode(&Value::Map(vec![
        (symbol("n"), Value::Int(-5)),
        (Value::String("s".into()), Value::String("text".into())),
        (symbol("list"), Value::List(vec![Value::Ubyte(1), Value::Null])),
        (symbol("when"), Value::Timestamp(12)),
        (symbol("id"), Value::Uuid(Uuid([9; 16]))),
        (symbol("at"), described(symbol("d"), Value::Uint(3))),
        (symbol("names"), Value::array(vec![symbol("a"), symbol("b")])),
    ]));
    let view = ValueRef::decode(&mut Reader::new(&octets)).expect("decodes");
    assert_eq!(view.validate(), Ok(()));
    let map = view.as_map().expect("a map");
    assert_eq!((map.len(), map.iter().count()), (7, 7));
    assert_eq!(map.get("n").and_then(ValueRef::as_i64), Some(-5));
    assert_eq!(map.get("n").and_then(ValueRef::as_u64), None);
    assert_eq!(map.get("s").and_then(ValueRef::as_str), Some("text"));
    assert_eq!(map.get("when").and_then(ValueRef::as_timestamp), Some(12));
    assert_eq!(map.get("id").and_then(ValueRef::as_uuid), Some(Uuid([9; 16])));
    assert!(map.get("absent").is_none());
    let list = map.get("list").and_then(ValueRef::as_list).expect("a list");
    let values: Vec<_> = list.iter().map(|value| value.expect("whole")).collect();
    assert_eq!(values[0].as_u64(), Some(1));
    assert!(values[1].is_null());
    let at = map.get("at").expect("there");
    assert_eq!(at.as_u64(), None, "a described value is not the value it describes");
    let (descriptor, inner) = at.described().expect("described");
    assert_eq!(descriptor.as_symbol(), Symbol::new("d"));
    assert_eq!(inner.as_u64(), Some(3));
    let names = map.get("names").and_then(ValueRef::as_array).expect("an array");
    let names: Result<Vec<_>, _> = names.symbols().collect();
    assert_eq!(names.expect("symbols"), ["a", "b"]);
}

#[test]
fn refusals() {
    let cases: Vec<(&[u8], DecodeError)> = vec![
        (b"\x3f", DecodeError::UnknownType(0x3f)),
        (b"\x57\x00", DecodeError::UnknownType(0x57)),
        (b"\x56\x02", DecodeError::NotABoolean(2)),
        (b"\x73\x00\x00\xd8\x00", DecodeError::NotAChar(0xd800)),
        (b"\xa1\x01\xff", DecodeError::InvalidUtf8),
        (b"\xa3\x02\xc3\xa9", DecodeError::NotAscii),
        (b"\xc1\x02\x01\x40", DecodeError::OddMap(1)),
        (b"\xc0\x01\x02", DecodeError::CountTooLarge { count: 2, bytes: 0 }),
        (b"\xc0\x03\x01\x40\x40", DecodeError::Trailing(1)),
        (b"\xe0\x03\x00\x40\x40", DecodeError::Trailing(1)),
        (b"\xe0\x03\x02\x50\x01", DecodeError::CountTooLarge { count: 2, bytes: 1 }),
        (
            b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",
            DecodeError::CountTooLarge { count: u32::MAX, bytes: 0 },
        ),
        (b"\xb0\xff\xff\xff\xff", DecodeError::Truncated { need: u32::MAX as usize, have: 0 }),
    ];
    for (octets, error) in cases {
        assert_eq!(check(octets), Err(error), "{octets:02x?}");
        assert_eq!(decode(octets), Err(error), "{octets:02x?}");
    }
    let mixed = Value::array(vec![Value::Null, Value::Ubyte(1)]);
    let mut out = Vec::new();
    assert!(matches!(mixed.encode(&mut out), Err(EncodeError::MixedArray { .. })));
    let own = Value::array(vec![described(Value::Ulong(1), Value::Null)]);
    assert!(matches!(own.encode(&mut out), Err(EncodeError::MixedArray { .. })));
    let nulls = Value::array(vec![Value::Null; MAX_ZERO_WIDTH_ELEMENTS as usize + 1]);
    assert!(matches!(nulls.encode(&mut out), Err(EncodeError::TooLong { .. })));
    assert_eq!(symbol("é").encode(&mut out), Err(EncodeError::NotAscii));
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize, wrap: &dyn Fn(Value) -> Value| {
        (0..levels).fold(Value::Null, |value, _| wrap(value))
    };
    let wraps: [&dyn Fn(Value) -> Value; 5] = [
        &|value| Value::List(vec![value]),
        &|value| Value::Map(vec![(Value::Null, value)]),
        &|value| Value::array(vec![value]),
        &|value| described(Value::Ulong(1), value),
        &|value| described(value, Value::Null),
    ];
    for wrap in wraps {
        let deepest = nested(MAX_NESTING, wrap);
        let octets = encode(&deepest);
        assert_eq!(check(&octets), Ok(()));
        assert_eq!(decode(&octets), Ok(deepest));
        let mut out = Vec::new();
        assert_eq!(nested(MAX_NESTING + 1, wrap).encode(&mut out), Err(EncodeError::TooDeep));
    }
    // An empty list is a level too, though its shortest encoding has nothing in it.
    let within = |levels: usize| {
        (0..levels).fold(Value::List(Vec::new()), |value, _| Value::List(vec![value]))
    };
    assert_eq!(decode(&encode(&within(MAX_NESTING - 1))), Ok(within(MAX_NESTING - 1)));
    assert_eq!(within(MAX_NESTING).encode(&mut Vec::new()), Err(EncodeError::TooDeep));
    let octets = (0..MAX_NESTING).fold(vec![code::LIST0], |inner, _| {
        let size = (inner.len() as u32 + 4).to_be_bytes();
        [&[code::LIST32][..], &size, &1u32.to_be_bytes(), &inner].concat()
    });
    assert_eq!(
        (check(&octets), decode(&octets).err()),
        (Err(DecodeError::TooDeep), Some(DecodeError::TooDeep))
    );
    // Octets that would nest without end.
    for octets in [vec![0; 100_000], b"\xd0\x00\x01\x00\x00\x00\x00\x00\x01".repeat(10_000)] {
        assert!(check(&octets).is_err());
        assert!(decode(&octets).is_err());
    }
    assert_eq!(check(&[0; 100_000]), Err(DecodeError::TooDeep));
}

/// Elements of no octets are bounded over all arrays of a value, not for each: an array of them takes
/// three octets.
#[test]
fn zero_width_elements_share_a_bound() {
    let arrays = |count: usize| {
        let inner = [2, 0x80, code::TRUE].repeat(count);
        [&[code::ARRAY8, inner.len() as u8 + 2, count as u8, code::ARRAY8][..], &inner].concat()
    };
    assert_eq!(MAX_ZERO_WIDTH_ELEMENTS, 2 * 0x80);
    assert_eq!(check(&arrays(2)), Ok(()));
    assert!(decode(&arrays(2)).is_ok());
    let error = DecodeError::CountTooLarge { count: 0x80, bytes: 0 };
    assert_eq!(check(&arrays(3)), Err(error));
    assert_eq!(decode(&arrays(3)), Err(error));
    let octets = arrays(3);
    let view = ValueRef::decode(&mut Reader::new(&octets)).expect("whole");
    assert_eq!(view.validate(), Err(error));
    assert_eq!(view.as_array().expect("an array").validate(), Err(error));
}

/// Descriptors that elements share are not multiplied: each array here is the descriptor of 30
/// elements of no octets, which themselves are the descriptor of the next.
#[test]
fn shared_descriptors_stay_one() {
    let mut octets = vec![code::NULL];
    for _ in 0..8 {
        let mut next = vec![code::ARRAY8, octets.len() as u8 + 3, 30, code::DESCRIBED];
        next.extend_from_slice(&octets);
        next.push(code::TRUE);
        octets = next;
    }
    assert_eq!(check(&octets), Ok(()));
    let value = decode(&octets).expect("valid");
    let view = ValueRef::decode(&mut Reader::new(&octets)).expect("valid");
    assert_eq!(view.to_value(), Ok(value));
    assert!(format!("{:?}", view.as_array()).len() < 100_000);
    assert_eq!(view.as_array().expect("an array").iter().count(), 30);
}

#[test]
fn widths_follow_the_codes() {
    for found in 0..=u8::MAX {
        let known = code::ALL.iter().any(|(_, _, code)| *code == found);
        assert_eq!(code::Width::of(found).is_ok(), known, "{found:#04x}");
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        prop_oneof![Just(0), 0..300u32, any::<u32>()].prop_map(Value::Uint),
        prop_oneof![Just(0), 0..300u64, any::<u64>()].prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        prop_oneof![-200..200i32, any::<i32>()].prop_map(Value::Int),
        prop_oneof![-200..200i64, any::<i64>()].prop_map(Value::Long),
        proptest::num::f32::NORMAL.prop_map(Value::Float),
        proptest::num::f64::NORMAL.prop_map(Value::Double),
        any::<[u8; 4]>().prop_map(Value::Decimal32),
        any::<[u8; 8]>().prop_map(Value::Decimal64),
        any::<[u8; 16]>().prop_map(Value::Decimal128),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(|octets| Value::Uuid(Uuid(octets))),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Binary),
        ".{0,90}".prop_map(Value::String),
        "[ -~]{0,300}".prop_map(Value::Symbol),
    ]
}

/// Elements of one type: one value with changes that keep its type.
fn alike(value: Value) -> Value {
    match value {
        Value::Uint(_) => Value::Uint(0),
        Value::Ulong(_) => Value::Ulong(u64::MAX),
        Value::Int(_) => Value::Int(-1),
        Value::String(_) => Value::String(String::new()),
        Value::List(_) => Value::List(vec![]),
        Value::Map(_) => Value::Map(vec![]),
        Value::Array(_) => Value::array(vec![Value::Uint(1)]),
        other => other,
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::vec((inner.clone(), inner.clone()), 0..4).prop_map(Value::Map),
            (inner.clone(), 0..5usize, any::<bool>()).prop_map(|(mut value, count, other)| {
                let mut descriptors = vec![];
                while let Value::Described(pair) = value {
                    descriptors.push(pair.0);
                    value = pair.1;
                }
                let mut elements = vec![value.clone(); count];
                if other && count > 0 {
                    elements.push(alike(value));
                }
                Value::Array(Box::new(Array { descriptors, elements }))
            }),
            (
                prop_oneof![
                    any::<u64>().prop_map(Value::Ulong),
                    "[a-z:]{1,9}".prop_map(Value::Symbol)
                ],
                inner
            )
                .prop_map(|(descriptor, value)| described(descriptor, value)),
        ]
    })
}

/// Looks at every value within a valid one; answers how many there are.
fn walk(view: ValueRef<'_>) -> usize {
    if let Some((descriptor, inner)) = view.described() {
        return walk(descriptor) + walk(inner);
    }
    assert!(!view.is_described());
    let list = view.as_list().map(|list| list.iter().collect::<Vec<_>>());
    let map = view.as_map().map(|map| {
        map.iter()
            .flat_map(|entry| {
                let (key, value) = entry.expect("valid");
                [Ok(key), Ok(value)]
            })
            .collect()
    });
    let array = view.as_array().map(|array| array.iter().collect());
    match list.or(map).or(array) {
        Some(values) => {
            1 + values.into_iter().map(|value| walk(value.expect("valid"))).sum::<usize>()
        }
        None => 1,
    }
}

proptest! {
    #[test]
    fn round_trip(value in any_value()) {
        let octets = encode(&value);
        prop_assert_eq!(check(&octets), Ok(()));
        prop_assert_eq!(decode(&octets), Ok(value));
        let view = ValueRef::decode(&mut Reader::new(&octets)).expect("decodes");
        let mut copy = Vec::new();
        view.encode(&mut copy).expect("encodes");
        prop_assert_eq!(&copy, &octets);
        // What a collection's view appends is the shortest form, as the owned value's is.
        copy.clear();
        let collection = match (view.as_list(), view.as_map(), view.as_array()) {
            (Some(list), ..) => list.encode(&mut copy),
            (_, Some(map), _) => map.encode(&mut copy),
            (_, _, Some(array)) => { array.validate().expect("valid"); array.encode(&mut copy) }
            _ => return Ok(()),
        };
        collection.expect("encodes");
        prop_assert_eq!(&copy, &octets);
        walk(view);
    }

    /// Octets of any kind: no panic, and both ways of looking agree on what is valid.
    #[test]
    fn any_octets(octets in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        proptest::collection::vec(prop_oneof![
            Just(0u8), Just(1), Just(2), Just(3), Just(8), Just(0x40), Just(0x53), Just(0xa3), Just(0xc0),
            Just(0xc1), Just(0xe0), Just(0x45), Just(0x52), any::<u8>(),
        ], 0..40),
    ]) {
        let checked = check(&octets);
        prop_assert_eq!(checked.is_ok(), decode(&octets).is_ok(), "{:?}", checked);
        if let Ok(view) = ValueRef::decode(&mut Reader::new(&octets)) {
            let _ = format!("{view:?} {:?} {:?} {:?}", view.as_list(), view.as_map(), view.as_array());
            if view.validate().is_ok() {
                walk(view);
            }
        }
    }

    #[test]
    fn broken_values(value in any_value(), at in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let mut octets = encode(&value);
        let at = at.index(octets.len());
        octets[at] = octet;
        prop_assert_eq!(check(&octets).is_ok(), decode(&octets).is_ok());
        if check(&octets).is_ok() {
            walk(ValueRef::decode(&mut Reader::new(&octets)).expect("valid"));
        }
    }
}
