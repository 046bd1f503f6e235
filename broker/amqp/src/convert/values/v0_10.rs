//! Values of 1.0 as those of 0-10.

use super::super::scalar;
use super::{check_depth, try_put};
use crate::types::{self, code as v0_10};
use crate::v1_0::types::{ArrayRef, ListRef, MapRef, ValueRef, code};
use crate::wire::{EncodeError, put_bytes8, put_bytes16, put_bytes32, put_sized};

/// Appends a value of 1.0 as one of 0-10. `depth`: how deep it lies.
pub(in crate::convert) fn put_0_10(
    value: ValueRef<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let value = undescribed(value);
    let number = |wide: u8, out: &mut Vec<u8>| {
        out.push(wide);
        match (value.as_i64(), value.as_u64()) {
            (Some(number), _) => number.to_be_bytes(),
            (None, number) => number.unwrap_or_default().to_be_bytes(),
        }
    };
    match value.code() {
        // Whatever encoding was the shortest, the type stays what it is.
        code::UINT | code::SMALL_UINT | code::UINT0 => {
            let octets = number(v0_10::UINT32, out);
            out.extend_from_slice(&octets[4..]);
        }
        code::INT | code::SMALL_INT => {
            let octets = number(v0_10::INT32, out);
            out.extend_from_slice(&octets[4..]);
        }
        code::ULONG | code::SMALL_ULONG | code::ULONG0 => {
            let octets = number(v0_10::UINT64, out);
            out.extend_from_slice(&octets);
        }
        code::LONG | code::SMALL_LONG => {
            let octets = number(v0_10::INT64, out);
            out.extend_from_slice(&octets);
        }
        _ => match scalar(value) {
            Some(scalar) => put_scalar(scalar, out)?,
            None => put_nested(value, depth, out)?,
        },
    }
    Ok(())
}

/// Appends a scalar of 0-10; text and octets with the size that has room for them. Text that is no UTF-8 is
/// octets.
fn put_scalar(scalar: types::ValueRef<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let data = scalar.data();
    let short = u16::try_from(data.len()).is_ok();
    match (scalar.code(), short) {
        (v0_10::STR16, true) if std::str::from_utf8(data).is_ok() => {
            out.push(v0_10::STR16);
            put_bytes16(out, data)
        }
        (v0_10::STR16 | v0_10::VBIN32, true) => {
            out.push(v0_10::VBIN16);
            put_bytes16(out, data)
        }
        (v0_10::STR16 | v0_10::VBIN32, false) => {
            out.push(v0_10::VBIN32);
            put_bytes32(out, data)
        }
        (code, _) => {
            out.push(code);
            out.extend_from_slice(data);
            Ok(())
        }
    }
}

fn put_nested(value: ValueRef<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if let Some(map) = value.as_map() {
        check_depth(depth + 1)?;
        out.push(v0_10::MAP);
        return put_sized(out, 4, |out| {
            put_counted(out, |out| put_entries_0_10(map, depth, &[], out))
        });
    }
    if value.as_list().is_none() && value.as_array().is_none() {
        out.push(v0_10::VOID);
        return Ok(());
    }
    check_depth(depth + 1)?;
    out.push(v0_10::LIST);
    put_sized(out, 4, |out| put_counted(out, |out| put_items_0_10(value, depth, out)))
}

/// Appends a count of four octets, then what is counted.
pub(in crate::convert) fn put_counted(
    out: &mut Vec<u8>,
    items: impl FnOnce(&mut Vec<u8>) -> u32,
) -> Result<(), EncodeError> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let count = items(out);
    out[at..at + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

/// Appends the items of a list or an array at this depth, and nothing of another value, with void for what
/// cannot be encoded; answers how many.
pub(in crate::convert) fn put_items_0_10(
    value: ValueRef<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> u32 {
    let list = value.as_list().into_iter().flat_map(ListRef::iter);
    let array = value.as_array().into_iter().flat_map(ArrayRef::iter);
    let mut count = 0;
    for item in list.chain(array).map_while(Result::ok) {
        if !try_put(out, |out| put_0_10(item, depth + 1, out)) {
            out.push(v0_10::VOID);
        }
        count += 1;
    }
    count
}

/// Appends the entries of a map at this depth but those with one of these keys, and those that cannot be
/// encoded; answers how many.
pub(in crate::convert) fn put_entries_0_10(
    map: MapRef<'_>,
    depth: usize,
    without: &[&str],
    out: &mut Vec<u8>,
) -> u32 {
    let mut count = 0;
    for (key, value) in map.iter().map_while(Result::ok) {
        let put = |out: &mut Vec<u8>| {
            put_key(key, out)?;
            put_0_10(value, depth + 1, out)
        };
        let wanted = key.as_text().is_none_or(|key| !without.contains(&key));
        count += u32::from(wanted && try_put(out, put));
    }
    count
}

/// Appends a key: its text, or that of a number or a UUID.
fn put_key(key: ValueRef<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if let Some(text) = key.as_text() {
        return put_bytes8(out, text.as_bytes());
    }
    let number = key.as_i64().map(|number| number.to_string());
    let number = number.or_else(|| key.as_u64().map(|number| number.to_string()));
    let text = number.or_else(|| key.as_uuid().map(|id| id.to_string()));
    let text = text.ok_or(EncodeError::WrongWidth(key.code()))?;
    put_bytes8(out, text.as_bytes())
}

/// The value without its descriptors.
pub(in crate::convert) fn undescribed(value: ValueRef<'_>) -> ValueRef<'_> {
    let mut value = value;
    while let Some((_, inner)) = value.described() {
        value = inner;
    }
    value
}
