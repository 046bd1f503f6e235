//! AMQP 1.0: values, composite types, frames and messages.

use fletch_amqp::v1_0::frame::{Frame, HEADER_LEN};
use fletch_amqp::v1_0::message::{Annotated, Body, MessageView, annotate, ingest};
use fletch_amqp::v1_0::table::{
    Coordinator, Declare, Declared, DeleteOnClose, Discharge, Error, Header, LifetimePolicy,
    Properties, Source, SourceKind, Target, TargetKind,
};
use fletch_amqp::v1_0::types::{Value, ValueRef, validate};
use fletch_amqp::v1_0::{Composite, DeliveryState, Outcome, Performative, SaslFrame};
use fletch_amqp::wire::Reader;

/// Owned values, views and the validator agree on what is valid; what is valid can be walked to its
/// end; and what was decoded can be encoded and is the same when decoded again.
pub fn v1_0_types(data: &[u8]) {
    let mut checking = Reader::new(data);
    let checked = validate(&mut checking);
    let mut owning = Reader::new(data);
    let owned = Value::decode(&mut owning);
    assert_eq!(checked.is_ok(), owned.is_ok(), "{checked:?}");
    let mut looking = Reader::new(data);
    let Ok(view) = ValueRef::decode(&mut looking) else {
        assert!(checked.is_err());
        return;
    };
    assert_eq!(view.validate().is_ok(), checked.is_ok());
    let taken = &data[..data.len() - looking.remaining()];
    let mut copy = Vec::new();
    view.encode(&mut copy).expect("a view is its octets");
    assert_eq!(copy, taken);
    let _ = (view.as_bool(), view.as_i64(), view.as_u64(), view.as_f64(), view.as_uuid());
    let _ = (view.as_char(), view.as_timestamp(), view.as_text(), view.as_binary());
    let Ok(value) = owned else { return };
    assert_eq!(checking.remaining(), looking.remaining());
    assert_eq!(owning.remaining(), looking.remaining());
    walk(view, &value);
    let mut shortest = Vec::new();
    value.encode(&mut shortest).expect("what was decoded can be encoded");
    // Octets, not values: not every float is equal to itself.
    let again = Value::decode(&mut Reader::new(&shortest)).expect("our own value");
    let mut out = Vec::new();
    again.encode(&mut out).expect("our own value");
    assert_eq!(out, shortest);
    assert_eq!(validate(&mut Reader::new(&shortest)), Ok(()));
}

/// A valid view and the value made of it hold the same.
fn walk(view: ValueRef<'_>, value: &Value) {
    match value {
        Value::Described(parts) => {
            let (descriptor, inner) = view.described().expect("described");
            walk(descriptor, &parts.0);
            walk(inner, &parts.1);
        }
        Value::List(values) => {
            let list = view.as_list().expect("a list");
            assert_eq!(list.len(), values.len());
            assert_eq!(list.iter().count(), values.len());
            let items = list.iter().map(|item| item.expect("valid"));
            items.zip(values).for_each(|(view, value)| walk(view, value));
        }
        Value::Array(owned) => {
            let array = view.as_array().expect("an array");
            assert_eq!(array.validate(), Ok(()));
            assert_eq!(array.len(), owned.elements.len());
            assert_eq!(array.iter().count(), owned.elements.len());
            for (index, (element, value)) in array.iter().zip(&owned.elements).enumerate() {
                let mut element = element.expect("valid");
                for shared in &owned.descriptors {
                    let (descriptor, inner) = element.described().expect("described");
                    // All elements have the same: once will do.
                    if index == 0 {
                        walk(descriptor, shared);
                    }
                    element = inner;
                }
                walk(element, value);
            }
        }
        Value::Map(entries) => {
            let map = view.as_map().expect("a map");
            assert_eq!(map.len(), entries.len());
            assert_eq!(map.iter().count(), entries.len());
            for (entry, (key, value)) in map.iter().zip(entries) {
                let (left, right) = entry.expect("valid");
                walk(left, key);
                walk(right, value);
            }
            let _ = map.get("k");
        }
        Value::Null => assert!(view.is_null()),
        Value::Boolean(value) => assert_eq!(view.as_bool(), Some(*value)),
        Value::Ulong(value) => assert_eq!(view.as_u64(), Some(*value)),
        Value::Uint(value) => assert_eq!(view.as_u64(), Some((*value).into())),
        Value::Long(value) => assert_eq!(view.as_i64(), Some(*value)),
        Value::Int(value) => assert_eq!(view.as_i64(), Some((*value).into())),
        Value::Char(value) => assert_eq!(view.as_char(), Some(*value)),
        Value::Timestamp(value) => assert_eq!(view.as_timestamp(), Some(*value)),
        Value::Uuid(value) => assert_eq!(view.as_uuid(), Some(*value)),
        Value::Binary(value) => assert_eq!(view.as_binary(), Some(&value[..])),
        Value::String(value) => assert_eq!(view.as_str(), Some(&value[..])),
        Value::Symbol(value) => {
            assert_eq!(view.as_symbol().map(|symbol| symbol.as_str()), Some(&value[..]));
        }
        _ => assert!(!view.is_described() && !view.is_null()),
    }
}

/// What decodes encodes, and to what decodes to the same.
macro_rules! stable {
    ($data:expr, $($type:ident),* $(,)?) => {$({
        let mut reader = Reader::new($data);
        if let Ok(value) = $type::decode(&mut reader) {
            let mut out = Vec::new();
            value.encode(&mut out).expect("what was decoded can be encoded");
            let mut again = Reader::new(&out);
            let second = $type::decode(&mut again).expect("our own value");
            assert!(again.is_empty());
            assert_eq!(second, value);
            let mut twice = Vec::new();
            second.encode(&mut twice).expect("our own value");
            assert_eq!(twice, out);
            assert!(out.len() <= $data.len() - reader.remaining());
            let view = ValueRef::decode(&mut Reader::new(&out)).expect("our own value");
            assert_eq!($type::from_view(view).as_ref(), Ok(&value));
            let _ = format!("{value:?}");
        }
        let _ = $type::decode(&mut Reader::deferring($data));
    })*};
}

/// The first octet says how large a frame may be; the others are frames, or one composite value.
pub fn v1_0_frames(data: &[u8]) {
    let Some((max, data)) = data.split_first() else { return };
    let max = (u32::from(*max) + 1) * 512;
    let mut rest = data;
    while let Ok(Some(frame)) = Frame::parse(rest, max) {
        assert!(frame.len() >= HEADER_LEN + frame.body.len());
        assert!(frame.len() <= rest.len() && frame.len() <= max as usize);
        for end in [0, HEADER_LEN - 1, HEADER_LEN, frame.len() - 1] {
            if end < frame.len() {
                assert_eq!(Frame::parse(&rest[..end], max), Ok(None));
            }
        }
        let decoded = frame.performative();
        stable!(frame.body, Performative, SaslFrame);
        if let Ok((performative, payload)) = decoded {
            assert!(frame.body.ends_with(payload));
            if let Performative::Attach(attach) = &performative {
                let _ = attach.source.map(SourceKind::from_view);
                let _ = attach.target.map(TargetKind::from_view);
            }
        }
        let _ = frame.sasl();
        rest = &rest[frame.len()..];
    }
    stable!(data, DeliveryState, Outcome, LifetimePolicy, SourceKind, TargetKind);
    stable!(data, Error, Header, Properties, Source, Target, Coordinator, Declare);
    stable!(data, Discharge, Declared, DeleteOnClose);
}

/// A message. What was taken in is the end of what came, can be walked and decoded, and taken in again; its
/// head alone says the same; and an annotation changes nothing else.
pub fn v1_0_message(data: &[u8]) {
    let view = MessageView::parse(data);
    if let Ok(view) = &view {
        let _ = (view.header(), view.properties(), view.body_sections());
        match view.body() {
            Body::Data(pieces) => drop(pieces.count()),
            Body::Sequence(lists) => drop(lists.count()),
            Body::Absent | Body::Value(_) => {}
        }
    }
    let mut kept = vec![7];
    let Ok(taken) = ingest(data, &mut kept) else {
        assert_eq!(kept, [7]);
        let _ = annotate(data, &mut kept, &[("n", Value::Uint(1))]);
        return;
    };
    let kept = &kept[1..];
    assert!(data.ends_with(kept));
    let whole = view.expect("what was taken in has sections");
    let header = whole.header().expect("checked");
    assert_eq!(
        (header.durable, header.priority, header.ttl),
        (taken.durable, taken.priority, taken.ttl)
    );
    let view = MessageView::parse(kept).expect("checked");
    let (head, rest) = kept.split_at(taken.header_len as usize);
    let head_view = MessageView::parse(head).expect("checked");
    // Behind the head are the body and the footer, in whichever order.
    let body = view.body_sections();
    assert!(rest.starts_with(body) || rest.ends_with(body));
    assert_eq!(matches!(view.body(), Body::Absent), !taken.has_body);
    let properties = view.properties().expect("checked");
    assert_eq!(head_view.properties().as_ref(), Ok(&properties));
    assert_eq!(whole.properties().as_ref(), Ok(&properties));
    let (at, len) = (taken.subject.0 as usize, taken.subject.1 as usize);
    assert_eq!(&head[at..at + len], properties.subject.unwrap_or_default().as_bytes());
    for map in [view.message_annotations(), view.application_properties(), view.footer()] {
        assert_eq!(map.iter().flatten().count(), map.len());
    }
    assert_eq!(head_view.message_annotations(), view.message_annotations());
    assert_eq!(head_view.application_properties(), view.application_properties());
    match view.body() {
        Body::Absent => {}
        Body::Data(pieces) => assert!(pieces.count() > 0),
        Body::Sequence(lists) => {
            lists.for_each(|list| assert_eq!(list.iter().flatten().count(), list.len()))
        }
        Body::Value(value) => drop(value.to_value()),
    }
    let mut again = Vec::new();
    let second = ingest(kept, &mut again).expect("taken in before");
    assert_eq!(again, kept);
    assert_eq!((second.header_len, second.subject), (taken.header_len, taken.subject));
    let mut marked = Vec::new();
    let Annotated { from, by } =
        annotate(head, &mut marked, &[("n", Value::Uint(1))]).expect("taken in before");
    assert_eq!(marked[from.strict_add_signed(by)..], head[from..]);
    let annotations = MessageView::parse(&marked).expect("our own").message_annotations();
    assert_eq!(annotations.get("n").and_then(|value| value.as_u64()), Some(1));
    let mut again = Vec::new();
    ingest(&marked, &mut again).expect("it was sound before");
    assert_eq!(again, marked);
}
