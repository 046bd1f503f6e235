//! Borrowed views: a value, map, list or array as the octets it came in.
//!
//! A view knows where its octets are and nothing else; looking something up walks them. Getters
//! treat what is malformed as absent; [`MapRef::validate`] says what is wrong with it. If a key
//! occurs twice the first one counts, here and in the owned types.

use std::borrow::Cow;
use std::fmt;

use super::{Array, EncodedMap, List, Map, Uuid, Value, Width, code};
use crate::limits::{MAX_NESTING, MAX_ZERO_WIDTH_ELEMENTS};
use crate::wire::{DecodeError, EncodeError, Reader, put_bytes8, utf8};

/// One value: its type code, and its octets without their length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ValueRef<'a> {
    code: u8,
    data: &'a [u8],
}

impl<'a> ValueRef<'a> {
    /// Reads a value of a known type.
    #[inline]
    pub(crate) fn read(code: u8, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { code, data: Width::of(code)?.read(reader)? })
    }

    /// Octets that are known to have the width of the type.
    #[inline]
    pub(crate) fn from_parts(code: u8, data: &'a [u8]) -> Self {
        Self { code, data }
    }

    /// Reads a type code and a value of that type.
    #[inline]
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let code = reader.u8()?;
        Self::read(code, reader)
    }

    /// The type code.
    pub fn code(self) -> u8 {
        self.code
    }

    /// The octets of the value, without their length.
    pub fn data(self) -> &'a [u8] {
        self.data
    }

    /// Text: any of the string types whose octets are also UTF-8, and binary that is UTF-8, since
    /// clients send strings of unstated encoding so.
    pub fn as_str(self) -> Option<&'a str> {
        match self.code {
            code::STR8 | code::STR16 | code::VBIN8 | code::VBIN16 | code::VBIN32 => {
                utf8(self.data).ok()
            }
            // Latin agrees with UTF-8 on ASCII alone.
            code::STR8_LATIN | code::STR16_LATIN if self.data.is_ascii() => utf8(self.data).ok(),
            _ => None,
        }
    }

    /// Text of any string type, converted where its encoding is not UTF-8.
    pub fn to_text(self) -> Option<Cow<'a, str>> {
        match self.code {
            code::STR8_LATIN | code::STR16_LATIN => {
                Some(Cow::Owned(self.data.iter().map(|octet| char::from(*octet)).collect()))
            }
            code::STR8_UTF16 | code::STR16_UTF16 => {
                let units =
                    self.data.chunks_exact(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]));
                let text: Result<String, _> = char::decode_utf16(units).collect();
                text.ok().filter(|_| self.data.len().is_multiple_of(2)).map(Cow::Owned)
            }
            _ => self.as_str().map(Cow::Borrowed),
        }
    }

    /// Octets of any variable-width text or binary type.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        matches!(self.code >> 4, 0x8 | 0x9)
            .then_some(self.data)
            .or_else(|| (self.code == code::VBIN32).then_some(self.data))
    }

    /// An integer of any width that an `i64` can hold.
    pub fn as_i64(self) -> Option<i64> {
        let bits = self.bits()?;
        Some(match self.code {
            code::INT8 => i64::from(bits as u8 as i8),
            code::INT16 => i64::from(bits as u16 as i16),
            code::INT32 => i64::from(bits as u32 as i32),
            code::INT64 => bits as i64,
            code::UINT8 | code::UINT16 | code::UINT32 | code::UINT64 | code::DATETIME => {
                i64::try_from(bits).ok()?
            }
            _ => return None,
        })
    }

    /// An integer of any width that is not negative.
    pub fn as_u64(self) -> Option<u64> {
        match self.code {
            code::UINT64 | code::DATETIME => self.bits(),
            _ => u64::try_from(self.as_i64()?).ok(),
        }
    }

    /// A floating point number, or an integer as one.
    pub fn as_f64(self) -> Option<f64> {
        match self.code {
            code::FLOAT => Some(f64::from(f32::from_bits(self.bits()? as u32))),
            code::DOUBLE => Some(f64::from_bits(self.bits()?)),
            code::UINT64 => Some(self.bits()? as f64),
            _ => self.as_i64().map(|value| value as f64),
        }
    }

    /// A `boolean`, or an integer that is 0 or not.
    pub fn as_bool(self) -> Option<bool> {
        match self.code {
            code::BOOLEAN => Some(self.bits()? != 0),
            code::BIT => Some(true),
            _ => self.as_i64().map(|value| value != 0),
        }
    }

    /// A `uuid`.
    pub fn as_uuid(self) -> Option<Uuid> {
        match self.code {
            code::UUID => self.data.try_into().ok().map(Uuid),
            _ => None,
        }
    }

    /// A map.
    pub fn as_map(self) -> Option<MapRef<'a>> {
        match self.code {
            code::MAP => MapRef::new(self.data).ok(),
            _ => None,
        }
    }

    /// A list.
    pub fn as_list(self) -> Option<ListRef<'a>> {
        match self.code {
            code::LIST => ListRef::new(self.data).ok(),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(self) -> Option<ArrayRef<'a>> {
        match self.code {
            code::ARRAY => ArrayRef::new(self.data).ok(),
            _ => None,
        }
    }

    /// Whether this is the `void` value.
    pub fn is_void(self) -> bool {
        self.code == code::VOID
    }

    /// The value as owned data.
    pub fn to_value(self) -> Result<Value, DecodeError> {
        self.to_value_at(0)
    }

    pub(super) fn to_value_at(self, depth: usize) -> Result<Value, DecodeError> {
        Value::from_ref(self, depth)
    }

    /// Checks the value in depth.
    pub fn validate(self) -> Result<(), DecodeError> {
        self.validate_at(0, Text::Utf8)
    }

    /// Checks sizes, counts and nesting of the value in depth, but not that text is UTF-8.
    pub(crate) fn validate_outline(self) -> Result<(), DecodeError> {
        self.validate_at(0, Text::Any)
    }

    fn validate_at(self, depth: usize, text: Text) -> Result<(), DecodeError> {
        match self.code {
            code::STR8 | code::STR16 if text == Text::Utf8 => utf8(self.data).map(|_| ()),
            code::MAP => MapRef::new(self.data)?.validate_at(depth + 1, text),
            code::LIST => ListRef::new(self.data)?.validate_at(depth + 1, text),
            code::ARRAY => ArrayRef::new(self.data)?.validate_at(depth + 1, text),
            code::STRUCT32 if self.data.len() < 2 => {
                Err(DecodeError::Truncated { need: 2, have: self.data.len() })
            }
            _ => Ok(()),
        }
    }

    /// Up to eight octets as an unsigned number.
    fn bits(self) -> Option<u64> {
        if self.data.len() > 8 {
            return None;
        }
        Some(self.data.iter().fold(0, |bits, octet| bits << 8 | u64::from(*octet)))
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_value() {
            Ok(value) => value.fmt(f),
            Err(error) => write!(f, "<{:#04x}: {error}>", self.code),
        }
    }
}

/// Whether a check looks at text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Utf8,
    Any,
}

pub(super) fn check_depth(depth: usize) -> Result<(), DecodeError> {
    if depth > MAX_NESTING { Err(DecodeError::TooDeep) } else { Ok(()) }
}

/// Reads a 32-bit count of entries of at least `least` octets each, and checks that they can be
/// there. No octets at all mean no entries: clients send absent maps so.
fn read_count(reader: &mut Reader<'_>, least: usize) -> Result<u32, DecodeError> {
    if reader.is_empty() {
        return Ok(0);
    }
    let count = reader.u32()?;
    if count as u64 * least as u64 > reader.remaining() as u64 {
        return Err(DecodeError::CountTooLarge { count, bytes: reader.remaining() });
    }
    Ok(count)
}

/// A map as its octets: the count and the entries, without the size.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct MapRef<'a> {
    data: &'a [u8],
}

impl<'a> MapRef<'a> {
    /// A map over its octets (count and entries). Checks the count only.
    pub fn new(data: &'a [u8]) -> Result<Self, DecodeError> {
        // The least entry: an empty key (1) and a void (1).
        read_count(&mut Reader::new(data), 2)?;
        Ok(Self { data })
    }

    /// The count and the entries as octets, without the size.
    pub fn data(self) -> &'a [u8] {
        self.data
    }

    /// How many entries the map says it has.
    pub fn len(self) -> usize {
        read_count(&mut Reader::new(self.data), 2).unwrap_or(0) as usize
    }

    /// Whether the map has no entries.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The entries in order; ends after the first malformed one.
    pub fn iter(self) -> impl Iterator<Item = Result<(&'a str, ValueRef<'a>), DecodeError>> {
        self.raw_entries().map(|entry| {
            let (key, value) = entry?;
            Ok((utf8(key)?, value))
        })
    }

    fn raw_entries(self) -> RawEntries<'a> {
        let mut reader = Reader::new(self.data);
        let left = read_count(&mut reader, 2).unwrap_or(0);
        RawEntries { reader, left }
    }

    /// The value of the first entry with this key.
    pub fn get(self, key: &str) -> Option<ValueRef<'a>> {
        self.raw_entries()
            .map_while(Result::ok)
            .find_map(|(name, value)| (name == key.as_bytes()).then_some(value))
    }

    /// Text under this key: see [`ValueRef::as_str`].
    pub fn get_str(self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// An integer of any width, or text that is one.
    pub fn get_int(self, key: &str) -> Option<i64> {
        let value = self.get(key)?;
        value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    /// A boolean, an integer as one, or the text `true` or `false`.
    pub fn get_bool(self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        value.as_bool().or_else(|| bool_from_text(value.as_str()?))
    }

    /// Checks the whole map in depth: whatever passes can be turned into a [`Map`].
    pub fn validate(self) -> Result<(), DecodeError> {
        self.validate_at(1, Text::Utf8)
    }

    fn validate_at(self, depth: usize, text: Text) -> Result<(), DecodeError> {
        check_depth(depth)?;
        let mut entries = self.raw_entries();
        for entry in &mut entries {
            let (key, value) = entry?;
            if text == Text::Utf8 {
                utf8(key)?;
            }
            value.validate_at(depth, text)?;
        }
        entries.reader.finish()
    }

    /// Checks sizes, counts and nesting of the whole map in depth, but not that text is UTF-8:
    /// enough to pass the map on to somebody who will decode it.
    pub fn validate_outline(self) -> Result<(), DecodeError> {
        self.validate_at(1, Text::Any)
    }

    /// The map as owned data.
    pub fn to_map(self) -> Result<Map, DecodeError> {
        self.to_map_at(1)
    }

    pub(super) fn to_map_at(self, depth: usize) -> Result<Map, DecodeError> {
        check_depth(depth)?;
        let mut map = Map::new();
        let mut entries = self.raw_entries();
        for entry in &mut entries {
            let (key, value) = entry?;
            map.push(utf8(key)?.to_owned(), value.to_value_at(depth)?);
        }
        entries.reader.finish()?;
        Ok(map)
    }
}

impl MapRef<'_> {
    /// Appends the map (count and entries, without the size) as it is but for these entries, which take
    /// the place of those of their keys or come last. Entries are copied octet by octet up to the first
    /// malformed one.
    pub fn put_with(self, out: &mut Vec<u8>, entries: &[(&str, Value)]) -> Result<(), EncodeError> {
        let start = out.len();
        let replaced = |key: &[u8]| entries.iter().any(|(name, _)| name.as_bytes() == key);
        out.extend_from_slice(&[0; 4]);
        let mut count = entries.len() as u32;
        let mut raw = self.raw_entries();
        let mut at = self.data.len() - raw.reader.remaining();
        while let Some(Ok((key, _))) = raw.next() {
            let end = self.data.len() - raw.reader.remaining();
            if !replaced(key) {
                out.extend_from_slice(&self.data[at..end]);
                count += 1;
            }
            at = end;
        }
        for (key, value) in entries {
            put_bytes8(out, key.as_bytes())?;
            value.encode(out)?;
        }
        out[start..start + 4].copy_from_slice(&count.to_be_bytes());
        Ok(())
    }
}

impl<'a> From<&'a EncodedMap> for MapRef<'a> {
    fn from(map: &'a EncodedMap) -> Self {
        map.view()
    }
}

impl<'a> MapRef<'a> {
    /// Octets this crate encoded itself.
    pub(super) fn trusted(data: &'a [u8]) -> Self {
        Self { data }
    }
}

impl fmt::Debug for MapRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map_while(Result::ok)).finish()
    }
}

struct RawEntries<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> RawEntries<'a> {
    #[inline]
    fn read(&mut self) -> Result<(&'a [u8], ValueRef<'a>), DecodeError> {
        let key = self.reader.bytes8()?;
        Ok((key, ValueRef::decode(&mut self.reader)?))
    }
}

impl<'a> Iterator for RawEntries<'a> {
    type Item = Result<(&'a [u8], ValueRef<'a>), DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = self.read();
        if entry.is_err() {
            self.left = 0;
        }
        Some(entry)
    }
}

/// Values one after the other: each with its type code, or all of one type.
struct Elements<'a> {
    reader: Reader<'a>,
    left: u32,
    code: Option<u8>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<ValueRef<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let value = match self.code {
            Some(code) => ValueRef::read(code, &mut self.reader),
            None => ValueRef::decode(&mut self.reader),
        };
        if value.is_err() {
            self.left = 0;
        }
        Some(value)
    }
}

impl Elements<'_> {
    fn validate(mut self, depth: usize, text: Text) -> Result<(), DecodeError> {
        check_depth(depth)?;
        for value in &mut self {
            value?.validate_at(depth, text)?;
        }
        self.reader.finish()
    }

    fn into_values(mut self, depth: usize) -> Result<Vec<Value>, DecodeError> {
        check_depth(depth)?;
        let mut values = Vec::new();
        for value in &mut self {
            values.push(value?.to_value_at(depth)?);
        }
        self.reader.finish()?;
        Ok(values)
    }
}

/// A list as its octets: the count and the values, without the size.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ListRef<'a> {
    data: &'a [u8],
}

impl<'a> ListRef<'a> {
    /// A list over its octets (count and values). Checks the count only.
    pub fn new(data: &'a [u8]) -> Result<Self, DecodeError> {
        read_count(&mut Reader::new(data), 1)?;
        Ok(Self { data })
    }

    /// How many values the list says it has.
    pub fn len(self) -> usize {
        self.elements().left as usize
    }

    /// Whether the list has no values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn elements(self) -> Elements<'a> {
        let mut reader = Reader::new(self.data);
        let left = read_count(&mut reader, 1).unwrap_or(0);
        Elements { reader, left, code: None }
    }

    /// The values in order; ends after the first malformed one.
    pub fn iter(self) -> impl Iterator<Item = Result<ValueRef<'a>, DecodeError>> {
        self.elements()
    }

    fn validate_at(self, depth: usize, text: Text) -> Result<(), DecodeError> {
        self.elements().validate(depth, text)
    }

    pub(super) fn to_list_at(self, depth: usize) -> Result<List, DecodeError> {
        self.elements().into_values(depth).map(List)
    }

    /// The list as owned data.
    pub fn to_list(self) -> Result<List, DecodeError> {
        self.to_list_at(1)
    }
}

impl fmt::Debug for ListRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map_while(Result::ok)).finish()
    }
}

/// An array as its octets: the type code, the count and the values, without the size.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ArrayRef<'a> {
    data: &'a [u8],
}

impl<'a> ArrayRef<'a> {
    /// An array over its octets (type code, count and values). Checks type and count only.
    pub fn new(data: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read_outline(data)?;
        Ok(Self { data })
    }

    fn read_outline(data: &'a [u8]) -> Result<Elements<'a>, DecodeError> {
        let mut reader = Reader::new(data);
        if reader.is_empty() {
            return Ok(Elements { reader, left: 0, code: Some(code::VOID) });
        }
        let code = reader.u8()?;
        let least = Width::of(code)?.least();
        if reader.is_empty() {
            return Err(DecodeError::Truncated { need: 4, have: 0 });
        }
        let left = read_count(&mut reader, least)?;
        if least == 0 && left > MAX_ZERO_WIDTH_ELEMENTS {
            return Err(DecodeError::CountTooLarge { count: left, bytes: 0 });
        }
        Ok(Elements { reader, left, code: Some(code) })
    }

    /// The type code, the count and the values as octets, without the size.
    pub fn data(self) -> &'a [u8] {
        self.data
    }

    fn elements(self) -> Elements<'a> {
        // What `new` let pass reads again; the default view is empty and reads too.
        Self::read_outline(self.data).unwrap_or(Elements {
            reader: Reader::new(&[]),
            left: 0,
            code: None,
        })
    }

    /// The type code of the elements.
    pub fn element_code(self) -> u8 {
        self.elements().code.unwrap_or(code::VOID)
    }

    /// How many values the array says it has.
    pub fn len(self) -> usize {
        self.elements().left as usize
    }

    /// Whether the array has no values.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The values in order; ends after the first malformed one.
    pub fn iter(self) -> impl Iterator<Item = Result<ValueRef<'a>, DecodeError>> {
        self.elements()
    }

    /// Those elements that are text, as in the arrays of mechanisms and locales.
    pub fn strs(self) -> impl Iterator<Item = &'a str> {
        self.elements().filter_map(|value| value.ok()?.as_str())
    }

    /// Checks the whole array in depth.
    pub fn validate(self) -> Result<(), DecodeError> {
        self.validate_at(1, Text::Utf8)
    }

    fn validate_at(self, depth: usize, text: Text) -> Result<(), DecodeError> {
        self.elements().validate(depth, text)
    }

    pub(super) fn to_array_at(self, depth: usize) -> Result<Array, DecodeError> {
        let elements = self.elements();
        let code = elements.code.unwrap_or(code::VOID);
        Ok(Array::from_parts(code, elements.into_values(depth)?))
    }

    /// The array as owned data.
    pub fn to_array(self) -> Result<Array, DecodeError> {
        self.to_array_at(1)
    }

    /// Octets this crate encoded itself.
    pub(super) fn trusted(data: &'a [u8]) -> Self {
        Self { data }
    }
}

impl fmt::Debug for ArrayRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map_while(Result::ok)).finish()
    }
}

/// The texts that stand for booleans in queue and exchange arguments.
pub(super) fn bool_from_text(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}
