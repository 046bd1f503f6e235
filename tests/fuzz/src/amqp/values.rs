//! Values, sets of ids, and the first octets of a stream.

use std::collections::BTreeSet;

use fletch_amqp::types::{Array, ArrayRef, List, ListRef};
use fletch_amqp::wire::Reader;
use fletch_amqp::{CommandId, Map, MapRef, SequenceSet, Sniff, Value, ValueRef};

use super::Script;

/// Owned and lazy values agree on what is valid and on every answer, and what was decoded can be
/// encoded and is the same when decoded again.
pub fn types(data: &[u8]) {
    let mut reader = Reader::new(data);
    let lazy = ValueRef::decode(&mut reader);
    let mut owning = Reader::new(data);
    let owned = Value::decode(&mut owning);
    match lazy {
        Err(error) => assert_eq!(owned, Err(error)),
        Ok(view) => {
            assert_eq!(reader.remaining(), owning.remaining());
            assert_eq!(view.validate().is_ok(), owned.is_ok());
            if let Ok(value) = &owned {
                same(view, value);
                stable(value);
            }
            let _ = (view.as_map(), view.as_list(), view.as_array(), view.to_text());
        }
    }
    contents(data);
}

/// The input as the content of a map, a list and an array.
fn contents(data: &[u8]) {
    if let Ok(view) = MapRef::new(data) {
        let _ = view.len() + view.iter().count();
        assert_eq!(view.validate().is_ok(), view.to_map().is_ok());
        if let Ok(map) = view.to_map() {
            same_map(view, &map);
            stable(&Value::Map(map));
        }
        let _ = (view.get_int("a"), view.get_bool("a"), view.get_str("a"));
    }
    if let Ok(view) = ListRef::new(data) {
        let _ = view.len() + view.iter().count();
        if let Ok(list) = view.to_list() {
            stable(&Value::List(list));
        }
    }
    if let Ok(view) = ArrayRef::new(data) {
        let _ = view.len() + view.iter().count() + view.strs().count();
        assert_eq!(view.validate().is_ok(), view.to_array().is_ok());
        if let Ok(array) = view.to_array() {
            stable(&Value::Array(array));
        }
    }
    let _ = (
        Map::decode(&mut Reader::new(data)),
        List::decode(&mut Reader::new(data)),
        Array::decode(&mut Reader::new(data)),
    );
}

/// A view and the value made of it give the same answers.
fn same(view: ValueRef<'_>, value: &Value) {
    assert_eq!(view.code(), value.code());
    assert_eq!(view.as_str(), value.as_str());
    assert_eq!(view.to_text(), value.view_text());
    assert_eq!(view.as_bytes(), value.as_bytes());
    assert_eq!(view.as_i64(), value.as_i64());
    assert_eq!(view.as_u64(), value.as_u64());
    assert_eq!(view.as_f64().map(f64::to_bits), value.as_f64().map(f64::to_bits));
    assert_eq!(view.as_bool(), value.as_bool());
    assert_eq!(view.as_uuid(), value.as_uuid());
    assert_eq!(view.is_void(), *value == Value::Void);
    match value {
        Value::Map(map) => same_map(view.as_map().expect("a map"), map),
        Value::List(list) => {
            let view = view.as_list().expect("a list");
            assert_eq!(view.len(), list.0.len());
            for (element, value) in view.iter().zip(&list.0) {
                same(element.expect("valid"), value);
            }
        }
        Value::Array(array) => {
            let view = view.as_array().expect("an array");
            assert_eq!(view.len(), array.values().len());
            for (element, value) in view.iter().zip(array.values()) {
                same(element.expect("valid"), value);
            }
        }
        _ => {}
    }
}

fn same_map(view: MapRef<'_>, map: &Map) {
    assert_eq!(view.len(), map.len());
    assert_eq!(view.is_empty(), map.is_empty());
    for (entry, (key, value)) in view.iter().zip(map.iter()) {
        let (name, element) = entry.expect("valid");
        assert_eq!(name, key);
        same(element, value);
    }
    // Looking up is a walk; more keys would only repeat it.
    for (key, _) in map.iter().take(8) {
        assert_eq!(view.get_int(key), map.get_int(key));
        assert_eq!(view.get_bool(key), map.get_bool(key));
        assert_eq!(view.get_str(key), map.get_str(key));
        same(view.get(key).expect("there"), map.get(key).expect("there"));
    }
}

/// What was decoded can be encoded, and encoding is stable. Compared as octets, as NaN is not
/// equal to itself.
fn stable(value: &Value) {
    let mut first = Vec::new();
    value.encode(&mut first).expect("what was decoded can be encoded");
    let mut reader = Reader::new(&first);
    let again = Value::decode(&mut reader).expect("what was encoded can be decoded");
    assert!(reader.is_empty());
    let mut second = Vec::new();
    again.encode(&mut second).expect("and again");
    assert_eq!(first, second);
}

/// Decoding gives sorted ranges that neither overlap nor touch, and survives encoding; operations
/// agree with a plain set of numbers.
pub fn sequence_set(data: &[u8]) {
    decoded_set(data);
    let mut script = Script(data);
    let base = CommandId(u32::from(script.u16()) << 16 | u32::from(script.u16()));
    let (mut set, mut model) = (SequenceSet::new(), BTreeSet::new());
    let (mut other, mut other_model) = (SequenceSet::new(), BTreeSet::new());
    for _ in 0..64 {
        if script.is_over() {
            break;
        }
        let (what, low, len) = (script.u8(), u32::from(script.u8()), u32::from(script.u8() % 32));
        let (from, to) = (base.add(low), base.add(low + len));
        match what % 8 {
            0 | 1 => {
                set.add_range(from, to);
                model.extend(low..=low + len);
            }
            2 | 3 => {
                set.remove_range(from, to);
                model.retain(|n| !(low..=low + len).contains(n));
            }
            4 => {
                other.add_range(from, to);
                other_model.extend(low..=low + len);
            }
            5 => {
                set.union(&other);
                model.extend(&other_model);
            }
            6 => {
                set.subtract(&other);
                model.retain(|n| !other_model.contains(n));
            }
            _ => {
                set.add_range(to.next(), from);
                set.remove_range(to.next(), from);
            }
        }
        check_set(&set);
        assert_eq!(set.id_count(), model.len() as u64);
        assert!(set.ids(usize::MAX).eq(model.iter().map(|n| base.add(*n))));
        assert_eq!(set.contains(from), model.contains(&low));
        assert_eq!(set.contains(to), model.contains(&(low + len)));
    }
}

fn decoded_set(data: &[u8]) {
    let mut reader = Reader::new(data);
    let Ok(set) = SequenceSet::decode(&mut reader) else { return };
    check_set(&set);
    assert!(set.id_count() <= 1 << 31, "ids of one set can be compared");
    let mut out = Vec::new();
    set.encode(&mut out).expect("no more ranges than came");
    assert_eq!(out.len(), set.encoded_len());
    assert!(out.len() <= data.len() - reader.remaining());
    assert_eq!(SequenceSet::decode(&mut Reader::new(&out)).as_ref(), Ok(&set));
    // Each range as it came is in the set.
    for range in data[2..].chunks_exact(8).take(usize::from(data[1]) / 8) {
        let id = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|n| range[at + n]));
        assert!(set.contains(CommandId(id(0))) && set.contains(CommandId(id(4))));
    }
    let mut joined = SequenceSet::new();
    set.chunks().for_each(|part| joined.union(&part));
    assert_eq!(joined, set);
    let _ = set.ids(1000).count();
}

fn check_set(set: &SequenceSet) {
    for range in set.ranges() {
        assert!(range.low.is_at_most(range.high));
    }
    for pair in set.ranges().windows(2) {
        assert!(pair[0].high.next().is_before(pair[1].low), "{set}");
    }
    assert_eq!(set.first().is_none(), set.is_empty());
}

/// A stream is known for what it is from eight octets on, and more octets change nothing.
pub fn sniff(data: &[u8]) {
    let all = fletch_amqp::sniff(data);
    assert!(data.len() < 8 || all != Sniff::NeedMore);
    for end in 0..data.len().min(9) {
        let early = fletch_amqp::sniff(&data[..end]);
        assert!(early == Sniff::NeedMore || early == all, "{early:?} then {all:?}");
    }
    if all == Sniff::V0_10 {
        assert!(data.starts_with(&fletch_amqp::v0_10::frame::PROTOCOL_HEADER));
    }
}
