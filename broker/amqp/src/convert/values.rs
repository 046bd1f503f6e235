//! Values of any type, in the other protocol's encoding.
//!
//! Types that the other protocol lacks become what comes next to them: text of other encodings UTF-8,
//! times numbers, arrays lists, characters of 8 bits Unicode; decimals, which the protocols build
//! differently, and what nobody has named become null. Descriptors are lost.

use crate::limits::{MAX_NESTING, MAX_ZERO_WIDTH_ELEMENTS};
use crate::types::{self, MapRef, ValueRef, Width, code as v0_10};
use crate::v1_0;
use crate::v1_0::types::{
    Value, code, put_binary, put_boolean, put_int, put_list, put_long, put_map, put_null,
    put_string, put_uint, put_ulong,
};
use crate::wire::{EncodeError, put_bytes16, put_bytes32, put_sized};

use super::scalar;

fn check_depth(depth: usize) -> Result<(), EncodeError> {
    if depth > MAX_NESTING { Err(EncodeError::TooDeep) } else { Ok(()) }
}

/// Appends what `put` appends, or nothing if that fails; answers whether it was appended.
pub(super) fn try_put(
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> bool {
    let start = out.len();
    let done = put(out).is_ok();
    if !done {
        out.truncate(start);
    }
    done
}

/// Appends values of 0-10 as those of 1.0.
#[derive(Debug)]
pub(super) struct To1_0 {
    /// How many elements of no octets arrays of the message may still have together.
    elements: u32,
}

impl Default for To1_0 {
    fn default() -> Self {
        Self { elements: MAX_ZERO_WIDTH_ELEMENTS }
    }
}

impl To1_0 {
    /// Appends a value. `depth`: how deep it lies.
    pub(super) fn put(
        &mut self,
        value: ValueRef<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let same = |code: u8, out: &mut Vec<u8>| {
            out.push(code);
            out.extend_from_slice(value.data());
        };
        let signed = || {
            value.data().iter().fold(
                if value.data().first().is_some_and(|first| *first >= 0x80) { -1 } else { 0 },
                |bits, octet| bits << 8 | i64::from(*octet),
            )
        };
        match value.code() {
            v0_10::BOOLEAN => put_boolean(value.as_bool().unwrap_or_default(), out),
            v0_10::INT8 | v0_10::BIN8 => same(code::BYTE, out),
            v0_10::UINT8 => same(code::UBYTE, out),
            v0_10::INT16 | v0_10::BIN16 => same(code::SHORT, out),
            v0_10::UINT16 => same(code::USHORT, out),
            v0_10::INT32 | v0_10::BIN32 => put_int(signed() as i32, out),
            v0_10::UINT32 => put_uint(signed() as u32, out),
            v0_10::INT64 | v0_10::BIN64 => put_long(signed(), out),
            v0_10::UINT64 | v0_10::DATETIME => put_ulong(signed() as u64, out),
            v0_10::FLOAT => same(code::FLOAT, out),
            v0_10::DOUBLE => same(code::DOUBLE, out),
            v0_10::UUID => same(code::UUID, out),
            v0_10::CHAR => Value::Char(signed() as u8 as char).encode(out)?,
            v0_10::CHAR_UTF32 => match char::from_u32(signed() as u32) {
                Some(character) => Value::Char(character).encode(out)?,
                None => put_null(out),
            },
            v0_10::STR8
            | v0_10::STR16
            | v0_10::STR8_LATIN
            | v0_10::STR16_LATIN
            | v0_10::STR8_UTF16
            | v0_10::STR16_UTF16 => match value.to_text() {
                Some(text) => put_string(&text, out)?,
                None => put_binary(value.data(), out)?,
            },
            v0_10::BIN128 | v0_10::BIN256 | v0_10::BIN512 | v0_10::BIN1024 | v0_10::STRUCT32 => {
                put_binary(value.data(), out)?;
            }
            _ => match (value.as_bytes(), value.as_map()) {
                (Some(octets), _) => put_binary(octets, out)?,
                (None, Some(map)) => self.put_map(map, depth, out)?,
                (None, None) => self.put_list_or_null(value, depth, out)?,
            },
        }
        Ok(())
    }

    fn put_list_or_null(
        &mut self,
        value: ValueRef<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if let Some(list) = value.as_list() {
            return self.put_list(list, depth, out);
        }
        let Some(array) = value.as_array() else {
            put_null(out);
            return Ok(());
        };
        if Width::of(array.element_code()).is_ok_and(|width| width.least() == 0) {
            let len = array.len();
            let left = u32::try_from(len).ok().and_then(|len| self.elements.checked_sub(len));
            self.elements =
                left.ok_or(EncodeError::TooLong { len, max: self.elements as usize })?;
        }
        self.put_elements(array.iter().map_while(Result::ok), depth, out)
    }

    /// Appends a list.
    pub(super) fn put_list(
        &mut self,
        list: types::ListRef<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        self.put_elements(list.iter().map_while(Result::ok), depth, out)
    }

    /// Appends a list of values, with null for what cannot be encoded.
    fn put_elements<'v>(
        &mut self,
        values: impl Iterator<Item = ValueRef<'v>>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        check_depth(depth + 1)?;
        put_list(out, |out| {
            let mut count = 0;
            for value in values {
                if !try_put(out, |out| self.put(value, depth + 1, out)) {
                    put_null(out);
                }
                count += 1;
            }
            Ok(count)
        })
    }

    /// Appends a map, without the entries that cannot be encoded.
    pub(super) fn put_map(
        &mut self,
        map: MapRef<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        check_depth(depth + 1)?;
        put_map(out, |out| Ok(self.put_entries(map, depth, &[], out)))
    }

    /// Appends the entries of a map at this depth but those with one of these keys; answers how many keys
    /// and values that are.
    pub(super) fn put_entries(
        &mut self,
        map: MapRef<'_>,
        depth: usize,
        without: &[&str],
        out: &mut Vec<u8>,
    ) -> u32 {
        let mut count = 0;
        for (key, value) in map.iter().filter_map(Result::ok) {
            let put = |out: &mut Vec<u8>| {
                put_string(key, out)?;
                self.put(value, depth + 1, out)
            };
            if !without.contains(&key) && try_put(out, put) {
                count += 2;
            }
        }
        count
    }
}

/// Appends a value of 1.0 as one of 0-10. `depth`: how deep it lies.
pub(super) fn put_0_10(
    value: v1_0::types::ValueRef<'_>,
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
fn put_scalar(scalar: ValueRef<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
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

fn put_nested(
    value: v1_0::types::ValueRef<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
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
pub(super) fn put_counted(
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
pub(super) fn put_items_0_10(
    value: v1_0::types::ValueRef<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> u32 {
    let list = value.as_list().into_iter().flat_map(v1_0::types::ListRef::iter);
    let array = value.as_array().into_iter().flat_map(v1_0::types::ArrayRef::iter);
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
pub(super) fn put_entries_0_10(
    map: v1_0::types::MapRef<'_>,
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
fn put_key(key: v1_0::types::ValueRef<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if let Some(text) = key.as_text() {
        return crate::wire::put_bytes8(out, text.as_bytes());
    }
    let number = key.as_i64().map(|number| number.to_string());
    let number = number.or_else(|| key.as_u64().map(|number| number.to_string()));
    let text = number.or_else(|| key.as_uuid().map(|id| id.to_string()));
    let text = text.ok_or(EncodeError::WrongWidth(key.code()))?;
    crate::wire::put_bytes8(out, text.as_bytes())
}

/// The value without its descriptors.
pub(super) fn undescribed(value: v1_0::types::ValueRef<'_>) -> v1_0::types::ValueRef<'_> {
    let mut value = value;
    while let Some((_, inner)) = value.described() {
        value = inner;
    }
    value
}
