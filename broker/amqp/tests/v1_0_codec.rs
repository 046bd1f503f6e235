//! Composite types of AMQP 1.0: golden octets, null, missing and mandatory fields, round trips.

use fletch_amqp::v1_0::table::{
    Accepted, Attach, Begin, Close, Coordinator, Declared, Disposition, Error, Flow, Header,
    LifetimePolicy, Open, Properties, Rejected, SaslInit, SaslMechanisms, SaslOutcome, Source,
    Target, TargetKind, TransactionalState, Transfer,
};
use fletch_amqp::v1_0::types::{Symbol, Value, ValueRef};
use fletch_amqp::v1_0::{
    Composite, CompositeError, DeliveryState, Multiple, Outcome, Performative, Role, SaslCode,
    SaslFrame, SenderSettleMode, SequenceNo, TerminusDurability, amqp_error,
    terminus_expiry_policy,
};
use fletch_amqp::wire::Reader;
use fletch_amqp::{DecodeError, EncodeError};
use proptest::prelude::*;

fn encode<'a, T: Composite<'a>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out).expect("encodes");
    out
}

fn decode<'a, T: Composite<'a>>(octets: &'a [u8]) -> Result<T, CompositeError> {
    let mut reader = Reader::new(octets);
    let value = T::decode(&mut reader)?;
    assert!(reader.is_empty(), "the whole value was read");
    Ok(value)
}

#[track_caller]
fn golden<'a, T: Composite<'a> + PartialEq + std::fmt::Debug>(value: &T, octets: &'a [u8]) {
    assert_eq!(encode(value), octets, "{}", T::NAME);
    assert_eq!(decode::<T>(octets).as_ref(), Ok(value));
    let view = ValueRef::decode(&mut Reader::new(octets)).expect("a value");
    assert_eq!(view.validate(), Ok(()));
    assert_eq!(T::from_view(view).as_ref(), Ok(value));
    for end in 0..octets.len() {
        assert!(T::decode(&mut Reader::new(&octets[..end])).is_err(), "{} at {end}", T::NAME);
    }
}

fn symbol(text: &str) -> Symbol<'_> {
    Symbol::new(text).expect("ASCII")
}

#[test]
fn golden_performatives() {
    golden(
        &Open { container_id: "c", channel_max: 7, ..Open::default() },
        b"\x00\x53\x10\xc0\x09\x04\xa1\x01c\x40\x40\x60\x00\x07",
    );
    golden(
        &Begin {
            remote_channel: Some(1),
            next_outgoing_id: SequenceNo(0),
            incoming_window: 100,
            outgoing_window: 256,
            ..Begin::default()
        },
        b"\x00\x53\x11\xc0\x0c\x04\x60\x00\x01\x43\x52\x64\x70\x00\x00\x01\x00",
    );
    golden(
        &Flow { incoming_window: 1, outgoing_window: 2, drain: true, ..Flow::default() },
        b"\x00\x53\x13\xc0\x0c\x09\x40\x52\x01\x43\x52\x02\x40\x40\x40\x40\x41",
    );
    golden(
        &Transfer {
            handle: 3,
            delivery_id: Some(SequenceNo(4)),
            delivery_tag: Some(b"\x09"),
            message_format: Some(0),
            settled: Some(false),
            ..Transfer::default()
        },
        b"\x00\x53\x14\xc0\x0a\x05\x52\x03\x52\x04\xa0\x01\x09\x43\x42",
    );
    golden(
        &Disposition {
            role: Role::RECEIVER,
            first: SequenceNo(1),
            settled: true,
            state: Some(Accepted {}.into()),
            ..Disposition::default()
        },
        b"\x00\x53\x15\xc0\x0a\x05\x41\x52\x01\x40\x41\x00\x53\x24\x45",
    );
    golden(&Close::default(), b"\x00\x53\x18\x45");
    golden(
        &Close {
            error: Some(Error { condition: symbol("x:y"), description: Some("no"), info: None }),
        },
        b"\x00\x53\x18\xc0\x10\x01\x00\x53\x1d\xc0\x0a\x02\xa3\x03x:y\xa1\x02no",
    );
}

#[test]
fn golden_others() {
    golden(&Header::default(), b"\x00\x53\x70\x45");
    golden(&Header { durable: true, ..Header::default() }, b"\x00\x53\x70\xc0\x02\x01\x41");
    golden(
        &Properties {
            subject: Some("s"),
            group_sequence: Some(SequenceNo(1)),
            ..Properties::default()
        },
        b"\x00\x53\x73\xc0\x10\x0c\x40\x40\x40\xa1\x01s\x40\x40\x40\x40\x40\x40\x40\x52\x01",
    );
    golden(
        &TransactionalState { txn_id: b"t", outcome: Some(Outcome::Accepted(Accepted {})) },
        b"\x00\x53\x34\xc0\x08\x02\xa0\x01t\x00\x53\x24\x45",
    );
    golden(&Declared { txn_id: b"" }, b"\x00\x53\x33\xc0\x03\x01\xa0\x00");
    golden(
        &SaslOutcome { code: SaslCode::AUTH, additional_data: None },
        b"\x00\x53\x44\xc0\x03\x01\x50\x01",
    );
    golden(
        &SaslInit { mechanism: symbol("PLAIN"), initial_response: Some(b"\0a\0b"), hostname: None },
        b"\x00\x53\x41\xc0\x0e\x02\xa3\x05PLAIN\xa0\x04\0a\0b",
    );
}

#[test]
fn multiple_fields() {
    let symbols = [symbol("ANONYMOUS"), symbol("PLAIN")];
    let both = SaslMechanisms { sasl_server_mechanisms: Multiple::from(&symbols[..]) };
    golden(&both, b"\x00\x53\x40\xc0\x15\x01\xe0\x12\x02\xa3\x09ANONYMOUS\x05PLAIN");
    let one = SaslMechanisms { sasl_server_mechanisms: symbols[0].into() };
    golden(&one, b"\x00\x53\x40\xc0\x0c\x01\xa3\x09ANONYMOUS");
    let slice = SaslMechanisms { sasl_server_mechanisms: Multiple::from(&symbols[..1]) };
    assert_eq!(encode(&slice), encode(&one));
    assert!(both.sasl_server_mechanisms.contains("PLAIN"));
    assert_eq!(both.sasl_server_mechanisms.len(), 2);

    // One symbol in an array is the symbol; it is encoded alone.
    let octets = b"\x00\x53\x40\xc0\x0f\x01\xe0\x0c\x01\xa3\x09ANONYMOUS";
    let decoded: SaslMechanisms<'_> = decode(octets).expect("decodes");
    assert_eq!(decoded, one);
    assert_eq!(encode(&decoded), encode(&one));

    // Null, missing and an array of nothing are all nothing, which a mandatory field must not be.
    for octets in [
        &b"\x00\x53\x40\x45"[..],
        b"\x00\x53\x40\xc0\x02\x01\x40",
        b"\x00\x53\x40\xc0\x05\x01\xe0\x02\x00\xa3",
    ] {
        assert_eq!(
            decode::<SaslMechanisms<'_>>(octets),
            Err(CompositeError::MissingField {
                composite: "sasl-mechanisms",
                field: "sasl_server_mechanisms",
            })
        );
    }
    let mut out = Vec::new();
    assert_eq!(
        SaslMechanisms::default().encode(&mut out),
        Err(EncodeError::MissingField("sasl_server_mechanisms"))
    );
    golden(&Coordinator::default(), b"\x00\x53\x30\x45");
    let empty = Multiple::from(&[][..]);
    assert_eq!(encode(&Coordinator { capabilities: empty }), b"\x00\x53\x30\x45");

    // Arrays of anything else are not symbols.
    for octets in
        [&b"\x00\x53\x30\xc0\x05\x01\xe0\x03\x01\x50\x07"[..], b"\x00\x53\x30\xc0\x02\x01\x41"]
    {
        assert!(matches!(
            decode::<Coordinator<'_>>(octets),
            Err(CompositeError::Field { field: "capabilities", .. })
        ));
    }
}

/// Other encodings of the same values.
#[test]
fn other_forms() {
    let accepted = DeliveryState::from(Accepted {});
    let forms: [&[u8]; 5] = [
        b"\x00\x53\x24\x45",
        b"\x00\x53\x24\xc0\x01\x00",
        b"\x00\x53\x24\xd0\0\0\0\x04\0\0\0\0",
        b"\x00\x80\0\0\0\0\0\0\0\x24\x45",
        b"\x00\xa3\x12amqp:accepted:list\x45",
    ];
    for octets in forms {
        assert_eq!(DeliveryState::decode(&mut Reader::new(octets)).as_ref(), Ok(&accepted));
    }
    // Null in place of a default, and a default that is said.
    let octets = b"\x00\x53\x70\xc0\x06\x05\x40\x40\x40\x40\x40";
    assert_eq!(decode::<Header>(octets), Ok(Header::default()));
    let octets = b"\x00\x53\x70\xc0\x04\x02\x42\x50\x04";
    assert_eq!(decode::<Header>(octets), Ok(Header::default()));
    assert_eq!(Header::default().priority, 4);
    assert_eq!(Open::default().max_frame_size, u32::MAX);
    assert_eq!(Attach::default().snd_settle_mode, SenderSettleMode::MIXED);
    assert_eq!(Source::default().expiry_policy, terminus_expiry_policy::SESSION_END);
    // Fields that nobody knows are checked and passed over.
    let octets = b"\x00\x53\x33\xc0\x05\x03\xa0\x00\x40\x43";
    assert_eq!(decode::<Declared<'_>>(octets), Ok(Declared { txn_id: b"" }));
    let octets = b"\x00\x53\x33\xc0\x05\x03\xa0\x00\x40\x3f";
    assert!(decode::<Declared<'_>>(octets).is_err());
    // A delivery state of somebody's own.
    let octets = b"\x00\xa3\x03a:b\xc0\x02\x01\x43";
    let state = DeliveryState::decode(&mut Reader::new(octets)).expect("decodes");
    assert!(matches!(state, DeliveryState::Other(_)));
    let mut out = Vec::new();
    state.encode(&mut out).expect("encodes");
    assert_eq!(out, octets);
}

#[test]
fn termini() {
    let outcomes = [symbol("amqp:accepted:list"), symbol("amqp:rejected:list")];
    let policy = LifetimePolicy::DeleteOnClose(fletch_amqp::v1_0::table::DeleteOnClose {});
    assert_eq!(policy.name(), "delete-on-close");
    let mut address = Vec::new();
    Value::String("queue".into()).encode(&mut address).expect("encodes");
    let source = Source {
        address: Some(ValueRef::decode(&mut Reader::new(&address)).expect("a value")),
        durable: TerminusDurability::UNSETTLED_STATE,
        expiry_policy: terminus_expiry_policy::NEVER,
        default_outcome: Some(Rejected::default().into()),
        outcomes: Multiple::from(&outcomes[..]),
        ..Source::default()
    };
    let (mut source_octets, mut target_octets) = (Vec::new(), Vec::new());
    let coordinator = Coordinator { capabilities: symbol("amqp:local-transactions").into() };
    let attach = Attach {
        name: "link",
        role: Role::SENDER,
        source: Some(source.to_view(&mut source_octets).expect("encodes")),
        target: Some(coordinator.to_view(&mut target_octets).expect("encodes")),
        ..Attach::default()
    };
    let octets = encode(&attach);
    let decoded: Attach<'_> = decode(&octets).expect("decodes");
    assert_eq!(decoded, attach);
    assert_eq!(Source::from_view(decoded.source.expect("there")), Ok(source));
    let target = decoded.target.expect("there");
    assert_eq!(TargetKind::from_view(target), Ok(TargetKind::Coordinator(coordinator)));
    assert_eq!(Target::from_view(target), Err(CompositeError::UnknownDescriptor(Some(0x30))));
}

#[test]
fn refusals() {
    let frame = |octets: &'static [u8]| Performative::decode(&mut Reader::new(octets)).unwrap_err();
    assert_eq!(frame(b"\x00\x53\x24\x45"), CompositeError::UnknownDescriptor(Some(0x24)));
    assert_eq!(frame(b"\x00\xa3\x01x\x45"), CompositeError::UnknownDescriptor(None));
    assert_eq!(frame(b"\x00\xa1\x0famqp:close:list\x45"), CompositeError::UnknownDescriptor(None));
    assert!(matches!(frame(b"\x45"), CompositeError::NoDescriptor(DecodeError::WrongType { .. })));
    assert!(matches!(frame(b""), CompositeError::NoDescriptor(DecodeError::Truncated { .. })));
    let missing = |composite, field| CompositeError::MissingField { composite, field };
    assert_eq!(frame(b"\x00\x53\x10\x45"), missing("open", "container_id"));
    assert_eq!(frame(b"\x00\x53\x10\xc0\x02\x01\x40"), missing("open", "container_id"));
    assert_eq!(frame(b"\x00\x53\x12\xc0\x04\x01\xa1\x01x"), missing("attach", "handle"));
    let wrong = DecodeError::WrongType { expected: "string", found: 0x43 };
    assert_eq!(
        frame(b"\x00\x53\x10\xc0\x02\x01\x43"),
        CompositeError::Field { composite: "open", field: "container_id", source: wrong }
    );
    let wrong = DecodeError::WrongType { expected: "list", found: 0xc1 };
    assert_eq!(
        frame(b"\x00\x53\x18\xc1\x01\x00"),
        CompositeError::Outline { composite: "close", source: wrong }
    );
    assert_eq!(
        frame(b"\x00\x53\x18\xc0\x03\x01\x40\x40"),
        CompositeError::Outline { composite: "close", source: DecodeError::Trailing(1) }
    );
    // Errors within an error.
    assert_eq!(
        frame(b"\x00\x53\x18\xc0\x05\x01\x00\x53\x1d\x45"),
        CompositeError::Field {
            composite: "close",
            field: "error",
            source: DecodeError::MissingField("condition"),
        }
    );
    let sasl = SaslFrame::decode(&mut Reader::new(b"\x00\x53\x10\x45"));
    assert_eq!(sasl, Err(CompositeError::UnknownDescriptor(Some(0x10))));
    assert_eq!(amqp_error::NOT_FOUND, "amqp:not-found");
}

/// Values for the fields of a few types with all kinds of fields, octets of what is borrowed
/// included.
#[derive(Debug, Clone)]
struct Parts {
    text: String,
    names: Vec<String>,
    octets: Vec<u8>,
    numbers: [Option<u32>; 6],
    flags: [bool; 4],
    map: Vec<(String, u64)>,
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        ".{0,40}",
        proptest::collection::vec("[a-z:]{0,300}", 0..4),
        proptest::collection::vec(any::<u8>(), 0..300),
        any::<[Option<u32>; 6]>(),
        any::<[bool; 4]>(),
        proptest::collection::vec(("[a-z]{0,9}", any::<u64>()), 0..40),
    )
        .prop_map(|(text, names, octets, numbers, flags, map)| Parts {
            text,
            names,
            octets,
            numbers,
            flags,
            map,
        })
}

proptest! {
    #[test]
    fn round_trip(parts in parts()) {
        let names: Vec<_> = parts.names.iter().map(|name| symbol(name)).collect();
        let map = Value::Map(
            parts.map.iter().map(|(key, value)| (Value::Symbol(key.clone()), Value::Ulong(*value))).collect(),
        );
        let mut map_octets = Vec::new();
        map.encode(&mut map_octets).expect("encodes");
        let map = ValueRef::decode(&mut Reader::new(&map_octets)).expect("a value").as_map();
        let error = Error { condition: symbol("c"), description: Some(&parts.text), info: map };
        let number = |at: usize| parts.numbers[at];
        let attach = Attach {
            name: &parts.text,
            handle: number(0).unwrap_or(0),
            role: Role(parts.flags[0]),
            unsettled: map,
            incomplete_unsettled: parts.flags[1],
            initial_delivery_count: number(1).map(SequenceNo),
            max_message_size: number(2).map(u64::from),
            offered_capabilities: Multiple::from(&names[..]),
            properties: map,
            ..Attach::default()
        };
        let transfer = Transfer {
            handle: number(0).unwrap_or(0),
            delivery_id: number(1).map(SequenceNo),
            delivery_tag: Some(&parts.octets),
            message_format: number(2),
            settled: parts.flags[0].then_some(parts.flags[1]),
            more: parts.flags[2],
            state: parts.flags[3].then(|| Rejected { error: Some(error.clone()) }.into()),
            ..Transfer::default()
        };
        let open = Open {
            container_id: &parts.text,
            max_frame_size: number(3).unwrap_or(u32::MAX),
            idle_time_out: number(4),
            desired_capabilities: Multiple::from(&names[..names.len().min(1)]),
            properties: map,
            ..Open::default()
        };
        for performative in [
            Performative::from(attach),
            transfer.into(),
            open.into(),
            Close { error: Some(error) }.into(),
        ] {
            let mut out = Vec::new();
            performative.encode(&mut out).expect("encodes");
            let len = out.len();
            out.extend_from_slice(b"payload");
            let mut reader = Reader::new(&out);
            let decoded = Performative::decode(&mut reader);
            prop_assert_eq!(decoded.as_ref(), Ok(&performative));
            prop_assert_eq!(reader.rest(), b"payload");
            let mut again = Vec::new();
            Performative::decode(&mut Reader::new(&out)).expect("decodes").encode(&mut again).expect("encodes");
            prop_assert_eq!(&again[..], &out[..len]);
        }
    }

    /// Octets of any kind: no panic, and what decodes says the same when it is encoded again.
    #[test]
    fn any_octets(code in 0x10u8..0x80, octets in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..48),
        proptest::collection::vec(prop_oneof![
            Just(0x40u8), Just(0x41), Just(0x43), Just(0x45), Just(0x52), Just(0x53), Just(0x24), Just(0),
            Just(0xa0), Just(0xa1), Just(0xa3), Just(0xc1), Just(1), any::<u8>(),
        ], 0..48),
    ]) {
        let mut value = vec![0, 0x53, code, 0xc0, octets.len() as u8 + 1, octets.len().min(9) as u8];
        value.extend_from_slice(&octets);
        let mut out = Vec::new();
        if let Ok(first) = Performative::decode(&mut Reader::new(&value)) {
            first.encode(&mut out).expect("encodes");
            prop_assert_eq!(Performative::decode(&mut Reader::new(&out)), Ok(first));
        }
        out.clear();
        if let Ok(first) = DeliveryState::decode(&mut Reader::new(&value)) {
            first.encode(&mut out).expect("encodes");
            prop_assert_eq!(DeliveryState::decode(&mut Reader::new(&out)), Ok(first));
        }
        out.clear();
        if let Ok(first) = Source::decode(&mut Reader::new(&value)) {
            first.encode(&mut out).expect("encodes");
            prop_assert_eq!(Source::decode(&mut Reader::new(&out)), Ok(first));
        }
        // Looked at lazily: what is deferred may be malformed, but is not looked at.
        let _ = Properties::decode(&mut Reader::deferring(&value));
    }
}
