//! Owned maps, lists and arrays.

use super::view::bool_from_text;
use super::{ArrayRef, MapRef, Value, code};
use crate::limits::MAX_NESTING;
use crate::wire::{DecodeError, EncodeError, Reader, length32, put_bytes8, put_sized};

fn check_depth(depth: usize) -> Result<(), EncodeError> {
    if depth > MAX_NESTING { Err(EncodeError::TooDeep) } else { Ok(()) }
}

fn put_count(out: &mut Vec<u8>, count: usize) -> Result<(), EncodeError> {
    out.extend_from_slice(&length32(count)?.to_be_bytes());
    Ok(())
}

/// A map with its entries in the order they were put in.
///
/// Looking up is a walk: maps of arguments and headers are short. A decoded map that repeats a key
/// keeps all its entries, and the first counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    entries: Vec<(String, Value)>,
}

impl Map {
    /// A map without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Puts a value under a key, in the place of what was there, which is returned.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.entries.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                self.push(key, value);
                None
            }
        }
    }

    /// [`Self::insert`] in a chain.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.insert(key, value);
        self
    }

    /// Takes out the value under a key.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.remove(at).1)
    }

    /// Adds an entry without looking whether its key is there.
    pub(super) fn push(&mut self, key: String, value: Value) {
        self.entries.push((key, value));
    }

    /// Text under this key: see [`super::ValueRef::as_str`].
    pub fn get_str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// An integer of any width, or text that is one.
    pub fn get_int(&self, key: &str) -> Option<i64> {
        let value = self.get(key)?;
        value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    /// A boolean, an integer as one, or the text `true` or `false`.
    pub fn get_bool(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        value.as_bool().or_else(|| bool_from_text(value.as_str()?))
    }

    /// Reads a `map`: its size, count and entries.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        MapRef::new(reader.bytes32()?)?.to_map()
    }

    /// Appends the map with its size.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_sized(out, 4, |out| self.encode_content_at(out, 1))
    }

    /// The map as octets, for the fields of commands: see [`EncodedMap::view`].
    pub fn encoded(&self) -> Result<EncodedMap, EncodeError> {
        let mut octets = Vec::new();
        self.encode_content_at(&mut octets, 1)?;
        length32(octets.len())?;
        Ok(EncodedMap(octets))
    }

    pub(super) fn encode_content_at(
        &self,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), EncodeError> {
        check_depth(depth)?;
        put_count(out, self.entries.len())?;
        for (key, value) in &self.entries {
            put_bytes8(out, key.as_bytes())?;
            value.encode_at(out, depth)?;
        }
        Ok(())
    }
}

impl<K: Into<String>, V: Into<Value>> Extend<(K, V)> for Map {
    fn extend<T: IntoIterator<Item = (K, V)>>(&mut self, entries: T) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

/// A map in its encoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedMap(Vec<u8>);

impl EncodedMap {
    /// The view that command fields take.
    pub fn view(&self) -> MapRef<'_> {
        MapRef::trusted(&self.0)
    }
}

/// Values of any types.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct List(
    /// The values in order.
    pub Vec<Value>,
);

impl List {
    /// Reads a `list`: its size, count and values.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        super::ListRef::new(reader.bytes32()?)?.to_list()
    }

    /// Appends the list with its size.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_sized(out, 4, |out| self.encode_content_at(out, 1))
    }

    pub(super) fn encode_content_at(
        &self,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), EncodeError> {
        check_depth(depth)?;
        put_count(out, self.0.len())?;
        self.0.iter().try_for_each(|value| value.encode_at(out, depth))
    }
}

impl<V: Into<Value>> FromIterator<V> for List {
    fn from_iter<T: IntoIterator<Item = V>>(values: T) -> Self {
        Self(values.into_iter().map(Into::into).collect())
    }
}

/// Values of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    code: u8,
    values: Vec<Value>,
}

impl Default for Array {
    fn default() -> Self {
        Self { code: code::VOID, values: Vec::new() }
    }
}

impl Array {
    pub(super) fn from_parts(code: u8, values: Vec<Value>) -> Self {
        Self { code, values }
    }

    /// An array of `str16`, as mechanisms and locales are.
    pub fn of_str16<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        let values = texts.into_iter().map(|text| Value::Str16(text.into())).collect();
        Self { code: code::STR16, values }
    }

    /// An array of values of one type; `None` if their types differ.
    pub fn of(values: Vec<Value>) -> Option<Self> {
        let code = values.first().map_or(code::VOID, Value::code);
        values.iter().all(|value| value.code() == code).then_some(Self { code, values })
    }

    /// The type code of the elements.
    pub fn element_code(&self) -> u8 {
        self.code
    }

    /// The values in order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The array's values.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// Reads an `array`: its size, type code, count and values.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        ArrayRef::new(reader.bytes32()?)?.to_array()
    }

    /// Appends the array with its size.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_sized(out, 4, |out| self.encode_content_at(out, 1))
    }

    /// The array as octets, for the fields of commands: see [`EncodedArray::view`].
    pub fn encoded(&self) -> Result<EncodedArray, EncodeError> {
        let mut octets = Vec::new();
        self.encode_content_at(&mut octets, 1)?;
        length32(octets.len())?;
        Ok(EncodedArray(octets))
    }

    pub(super) fn encode_content_at(
        &self,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), EncodeError> {
        check_depth(depth)?;
        out.push(self.code);
        put_count(out, self.values.len())?;
        for value in &self.values {
            let found = value.code();
            if found != self.code {
                return Err(EncodeError::MixedArray { expected: self.code, found });
            }
            value.encode_data(out, depth)?;
        }
        Ok(())
    }
}

/// An array in its encoded form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedArray(Vec<u8>);

impl EncodedArray {
    /// The view that command fields take.
    pub fn view(&self) -> ArrayRef<'_> {
        ArrayRef::trusted(&self.0)
    }
}
