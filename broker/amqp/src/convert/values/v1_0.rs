//! Values of 0-10 as those of 1.0.

use super::{check_depth, try_put};
use crate::limits::MAX_ZERO_WIDTH_ELEMENTS;
use crate::types::{ListRef, MapRef, ValueRef, Width, code as v0_10};
use crate::v1_0::types::{
    Value, code, put_binary, put_boolean, put_int, put_list, put_long, put_map, put_null,
    put_string, put_uint, put_ulong,
};
use crate::wire::EncodeError;

/// Appends values of 0-10 as those of 1.0.
#[derive(Debug)]
pub(in crate::convert) struct To1_0 {
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
    pub(in crate::convert) fn put(
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
    pub(in crate::convert) fn put_list(
        &mut self,
        list: ListRef<'_>,
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
    pub(in crate::convert) fn put_map(
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
    pub(in crate::convert) fn put_entries(
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
