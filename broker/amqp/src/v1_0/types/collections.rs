//! Borrowed lists, maps and arrays.
//!
//! Each is its count and the octets of its items: whether they came with sizes of one octet or of
//! four is forgotten, and encoding chooses again.

use std::fmt;

use super::code::{self, Width};
use super::encode::{put_compound_octets, put_map, put_symbol};
use super::validate::Allowance;
use super::view::{ValueRef, read_constructor};
use super::{Array, Symbol, Value, validate};
use crate::limits::MAX_ZERO_WIDTH_ELEMENTS;
use crate::wire::{DecodeError, EncodeError, Reader};

/// Reads the count of a list, map or array, and checks what can be checked before its items are:
/// items of lists and maps take one octet at least, and maps have pairs.
pub(super) fn check_count(code: u8, reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let count = match code {
        code::LIST8 | code::MAP8 | code::ARRAY8 => u32::from(reader.u8()?),
        _ => reader.u32()?,
    };
    match code {
        code::ARRAY8 | code::ARRAY32 => return Ok(count),
        code::MAP8 | code::MAP32 if !count.is_multiple_of(2) => {
            return Err(DecodeError::OddMap(count));
        }
        _ => {}
    }
    if count as usize > reader.remaining() {
        return Err(DecodeError::CountTooLarge { count, bytes: reader.remaining() });
    }
    Ok(count)
}

/// Checks that so many elements of an array can lie in what is left.
pub(super) fn check_zero_width(
    count: u32,
    width: Width,
    reader: &Reader<'_>,
) -> Result<(), DecodeError> {
    let bytes = reader.remaining();
    let fits = match width.least() {
        0 => count <= MAX_ZERO_WIDTH_ELEMENTS,
        least => u64::from(count) * least as u64 <= bytes as u64,
    };
    if fits { Ok(()) } else { Err(DecodeError::CountTooLarge { count, bytes }) }
}

/// The values of a list or of a map in order; ends after the first malformed one.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    left: u32,
    reader: Reader<'a>,
}

impl<'a> Values<'a> {
    /// Fails if octets are left after the last value.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        self.reader.finish()
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Result<ValueRef<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let value = ValueRef::decode(&mut self.reader);
        if value.is_err() {
            self.left = 0;
        }
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

/// A list as its octets.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ListRef<'a> {
    count: u32,
    items: &'a [u8],
}

impl<'a> ListRef<'a> {
    /// A list from the octets of a value with this format code. Checks the count only.
    #[inline]
    pub(crate) fn new(code: u8, data: &'a [u8]) -> Result<Self, DecodeError> {
        match code {
            code::LIST0 => Ok(Self::default()),
            code::LIST8 | code::LIST32 => {
                let mut reader = Reader::new(data);
                let count = check_count(code, &mut reader)?;
                Ok(Self { count, items: reader.rest() })
            }
            found => Err(DecodeError::WrongType { expected: "list", found }),
        }
    }

    /// How many values the list says it has.
    pub fn len(self) -> usize {
        self.count as usize
    }

    /// Whether the list has no values.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The values as octets, one after the other.
    pub fn items(self) -> &'a [u8] {
        self.items
    }

    /// The values in order; ends after the first malformed one.
    pub fn iter(self) -> Values<'a> {
        Values { left: self.count, reader: Reader::new(self.items) }
    }

    /// Appends the list in its shortest form.
    pub fn encode(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.count == 0 {
            out.push(code::LIST0);
            return Ok(());
        }
        put_compound_octets(code::LIST8, self.count, &[self.items], out)
    }
}

impl fmt::Debug for ListRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map_while(Result::ok)).finish()
    }
}

/// A map as its octets. If a key occurs twice, which the specification forbids, the first one
/// counts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct MapRef<'a> {
    /// Keys and values counted alike; even.
    count: u32,
    items: &'a [u8],
}

impl<'a> MapRef<'a> {
    /// A map from the octets of a value with this format code. Checks the count only.
    #[inline]
    pub(crate) fn new(code: u8, data: &'a [u8]) -> Result<Self, DecodeError> {
        match code {
            code::MAP8 | code::MAP32 => {
                let mut reader = Reader::new(data);
                let count = check_count(code, &mut reader)?;
                Ok(Self { count, items: reader.rest() })
            }
            found => Err(DecodeError::WrongType { expected: "map", found }),
        }
    }

    /// How many entries the map says it has.
    pub fn len(self) -> usize {
        self.count as usize / 2
    }

    /// Whether the map has no entries.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Keys and values as octets, one after the other.
    pub fn items(self) -> &'a [u8] {
        self.items
    }

    /// The entries in order; ends after the first malformed one.
    pub fn iter(
        self,
    ) -> impl Iterator<Item = Result<(ValueRef<'a>, ValueRef<'a>), DecodeError>> + Clone {
        let mut values = self.values();
        std::iter::from_fn(move || {
            let key = match values.next()? {
                Ok(key) => key,
                Err(error) => return Some(Err(error)),
            };
            // The count is even: only an error ends the values here, and it was returned before.
            Some(values.next()?.map(|value| (key, value)))
        })
    }

    /// Keys and values in turn.
    pub(super) fn values(self) -> Values<'a> {
        Values { left: self.count, reader: Reader::new(self.items) }
    }

    /// The value of the first entry whose key is this text, as a symbol or as a string.
    pub fn get(self, key: &str) -> Option<ValueRef<'a>> {
        self.iter()
            .map_while(Result::ok)
            .find_map(|(name, value)| name.is_text_of(key).then_some(value))
    }

    /// Appends the map as it is but for these entries, which take the place of those of their keys or come
    /// last, with symbols for keys. Other entries are copied octet by octet up to the first malformed one.
    pub fn put_with(self, out: &mut Vec<u8>, entries: &[(&str, Value)]) -> Result<(), EncodeError> {
        put_map(out, |out| {
            let mut count = 0;
            let mut values = self.values();
            let mut at = self.items;
            while let (Some(Ok(key)), Some(Ok(_))) = (values.next(), values.next()) {
                let entry = &at[..at.len() - values.reader.remaining()];
                at = values.reader.rest();
                if !entries.iter().any(|(name, _)| key.is_text_of(name)) {
                    out.extend_from_slice(entry);
                    count += 2;
                }
            }
            for (key, value) in entries {
                put_symbol(Symbol::new(key).ok_or(EncodeError::NotAscii)?, out)?;
                value.encode(out)?;
                count += 2;
            }
            Ok(count)
        })
    }

    /// Appends the map in its shortest form.
    pub fn encode(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_compound_octets(code::MAP8, self.count, &[self.items], out)
    }
}

impl fmt::Debug for MapRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map_while(Result::ok)).finish()
    }
}

/// An array as its octets: the one constructor of its elements, and their data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ArrayRef<'a> {
    count: u32,
    constructor: &'a [u8],
    items: &'a [u8],
}

impl<'a> ArrayRef<'a> {
    /// An array from the octets of a value with this format code. Checks count and constructor only.
    #[inline]
    pub(crate) fn new(code: u8, data: &'a [u8]) -> Result<Self, DecodeError> {
        if !matches!(code, code::ARRAY8 | code::ARRAY32) {
            return Err(DecodeError::WrongType { expected: "array", found: code });
        }
        let mut reader = Reader::new(data);
        let count = check_count(code, &mut reader)?;
        let constructor = read_constructor(&mut reader, 0)?;
        let width = Width::of(code_of(constructor))?;
        check_zero_width(count, width, &reader)?;
        Ok(Self { count, constructor, items: reader.rest() })
    }

    /// How many elements the array says it has.
    pub fn len(self) -> usize {
        self.count as usize
    }

    /// Whether the array has no elements.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The constructor of every element: descriptors, if it has any, and a format code.
    pub fn constructor(self) -> &'a [u8] {
        self.constructor
    }

    /// The elements in order, each with the descriptors of all; ends after the first malformed one.
    pub fn iter(self) -> Elements<'a> {
        Elements {
            left: self.count,
            constructor: self.constructor,
            reader: Reader::new(self.items),
        }
    }

    /// The elements, if they are symbols; checks each.
    pub fn symbols(self) -> impl Iterator<Item = Result<Symbol<'a>, DecodeError>> + Clone {
        self.iter().map(|element| element?.to_symbol())
    }

    /// Checks every element in depth.
    pub fn validate(self) -> Result<(), DecodeError> {
        let mut constructor = Reader::new(self.constructor);
        let mut allowance = Allowance::default();
        let (code, depth) = validate::constructor(&mut constructor, 1, &mut allowance)?;
        allowance.spend(self.count, Width::of(code)?)?;
        let mut elements = self.iter();
        for element in &mut elements {
            validate::data(code, element?.data(), depth, &mut allowance)?;
        }
        elements.finish()
    }

    /// Appends the array in its shortest form.
    pub fn encode(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_compound_octets(code::ARRAY8, self.count, &[self.constructor, self.items], out)
    }
}

impl Default for ArrayRef<'_> {
    fn default() -> Self {
        Self { count: 0, constructor: &[code::NULL], items: &[] }
    }
}

impl fmt::Debug for ArrayRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Array::from_ref(*self, 0, &mut Allowance::default()) {
            Ok(array) => array.fmt(f),
            Err(error) => write!(f, "<array: {error}>"),
        }
    }
}

/// The format code at the end of a constructor.
#[inline]
pub(super) fn code_of(constructor: &[u8]) -> u8 {
    constructor.last().copied().unwrap_or(code::NULL)
}

/// The elements of an array in order; ends after the first malformed one.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    left: u32,
    constructor: &'a [u8],
    reader: Reader<'a>,
}

impl Elements<'_> {
    /// Fails if octets are left after the last element.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        self.reader.finish()
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<ValueRef<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let data =
            Width::of(code_of(self.constructor)).and_then(|width| width.read(&mut self.reader));
        if data.is_err() {
            self.left = 0;
        }
        Some(data.map(|data| ValueRef::from_parts(self.constructor, data)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}
