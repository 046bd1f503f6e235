//! One owned value of any type of the specification's table.

use std::fmt;

use super::view::check_depth;
use super::{Array, List, Map, ValueRef, Width, code};
use crate::wire::{
    DecodeError, EncodeError, Reader, put_bytes8, put_bytes16, put_bytes32, put_sized, utf8,
};

/// A universally unique id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{octet:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value with its type.
///
/// Text in Latin or UTF-16 is kept as the octets it came in; [`Value::view_text`] converts it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the specification's type table")]
pub enum Value {
    Void,
    Bit,
    Boolean(bool),
    Int8(i8),
    Int16(i16),
    Int32(i32),
    Int64(i64),
    Uint8(u8),
    Uint16(u16),
    Uint32(u32),
    Uint64(u64),
    Float(f32),
    Double(f64),
    /// One octet of text in an unstated 8-bit encoding.
    Char(u8),
    /// A code point, unchecked.
    CharUtf32(u32),
    /// Seconds since 1970.
    Datetime(u64),
    Uuid(Uuid),
    Bin8(u8),
    Bin16([u8; 2]),
    Bin32([u8; 4]),
    Bin40([u8; 5]),
    Bin64([u8; 8]),
    Bin72([u8; 9]),
    Bin128([u8; 16]),
    Bin256(Box<[u8; 32]>),
    Bin512(Box<[u8; 64]>),
    Bin1024(Box<[u8; 128]>),
    Dec32([u8; 5]),
    Dec64([u8; 9]),
    Str8(String),
    Str16(String),
    Str8Latin(Vec<u8>),
    Str16Latin(Vec<u8>),
    Str8Utf16(Vec<u8>),
    Str16Utf16(Vec<u8>),
    Vbin8(Vec<u8>),
    Vbin16(Vec<u8>),
    Vbin32(Vec<u8>),
    Map(Map),
    List(List),
    Array(Array),
    /// A coded struct: two octets of code and its fields, undecoded.
    Struct32(Vec<u8>),
    /// A type the table does not name, of known width.
    Opaque {
        /// Its type code.
        code: u8,
        /// Its octets, without their length.
        data: Vec<u8>,
    },
}

fn fixed<const N: usize>(data: &[u8]) -> Result<[u8; N], DecodeError> {
    data.try_into().map_err(|_| DecodeError::Truncated { need: N, have: data.len() })
}

impl Value {
    /// Reads a type code and a value.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        ValueRef::decode(reader)?.to_value()
    }

    pub(super) fn from_ref(value: ValueRef<'_>, depth: usize) -> Result<Self, DecodeError> {
        let data = value.data();
        check_depth(depth)?;
        Ok(match value.code() {
            code::VOID => Self::Void,
            code::BIT => Self::Bit,
            code::BOOLEAN => Self::Boolean(fixed::<1>(data)?[0] != 0),
            code::INT8 => Self::Int8(i8::from_be_bytes(fixed(data)?)),
            code::INT16 => Self::Int16(i16::from_be_bytes(fixed(data)?)),
            code::INT32 => Self::Int32(i32::from_be_bytes(fixed(data)?)),
            code::INT64 => Self::Int64(i64::from_be_bytes(fixed(data)?)),
            code::UINT8 => Self::Uint8(u8::from_be_bytes(fixed(data)?)),
            code::UINT16 => Self::Uint16(u16::from_be_bytes(fixed(data)?)),
            code::UINT32 => Self::Uint32(u32::from_be_bytes(fixed(data)?)),
            code::UINT64 => Self::Uint64(u64::from_be_bytes(fixed(data)?)),
            code::FLOAT => Self::Float(f32::from_be_bytes(fixed(data)?)),
            code::DOUBLE => Self::Double(f64::from_be_bytes(fixed(data)?)),
            code::CHAR => Self::Char(fixed::<1>(data)?[0]),
            code::CHAR_UTF32 => Self::CharUtf32(u32::from_be_bytes(fixed(data)?)),
            code::DATETIME => Self::Datetime(u64::from_be_bytes(fixed(data)?)),
            code::UUID => Self::Uuid(Uuid(fixed(data)?)),
            code::BIN8 => Self::Bin8(fixed::<1>(data)?[0]),
            code::BIN16 => Self::Bin16(fixed(data)?),
            code::BIN32 => Self::Bin32(fixed(data)?),
            code::BIN40 => Self::Bin40(fixed(data)?),
            code::BIN64 => Self::Bin64(fixed(data)?),
            code::BIN72 => Self::Bin72(fixed(data)?),
            code::BIN128 => Self::Bin128(fixed(data)?),
            code::BIN256 => Self::Bin256(Box::new(fixed(data)?)),
            code::BIN512 => Self::Bin512(Box::new(fixed(data)?)),
            code::BIN1024 => Self::Bin1024(Box::new(fixed(data)?)),
            code::DEC32 => Self::Dec32(fixed(data)?),
            code::DEC64 => Self::Dec64(fixed(data)?),
            code::STR8 => Self::Str8(utf8(data)?.to_owned()),
            code::STR16 => Self::Str16(utf8(data)?.to_owned()),
            code::STR8_LATIN => Self::Str8Latin(data.to_vec()),
            code::STR16_LATIN => Self::Str16Latin(data.to_vec()),
            code::STR8_UTF16 => Self::Str8Utf16(data.to_vec()),
            code::STR16_UTF16 => Self::Str16Utf16(data.to_vec()),
            code::VBIN8 => Self::Vbin8(data.to_vec()),
            code::VBIN16 => Self::Vbin16(data.to_vec()),
            code::VBIN32 => Self::Vbin32(data.to_vec()),
            code::MAP => Self::Map(super::MapRef::new(data)?.to_map_at(depth + 1)?),
            code::LIST => Self::List(super::ListRef::new(data)?.to_list_at(depth + 1)?),
            code::ARRAY => Self::Array(super::ArrayRef::new(data)?.to_array_at(depth + 1)?),
            code::STRUCT32 if data.len() < 2 => {
                return Err(DecodeError::Truncated { need: 2, have: data.len() });
            }
            code::STRUCT32 => Self::Struct32(data.to_vec()),
            code => Self::Opaque { code, data: data.to_vec() },
        })
    }

    /// The type code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Void => code::VOID,
            Self::Bit => code::BIT,
            Self::Boolean(_) => code::BOOLEAN,
            Self::Int8(_) => code::INT8,
            Self::Int16(_) => code::INT16,
            Self::Int32(_) => code::INT32,
            Self::Int64(_) => code::INT64,
            Self::Uint8(_) => code::UINT8,
            Self::Uint16(_) => code::UINT16,
            Self::Uint32(_) => code::UINT32,
            Self::Uint64(_) => code::UINT64,
            Self::Float(_) => code::FLOAT,
            Self::Double(_) => code::DOUBLE,
            Self::Char(_) => code::CHAR,
            Self::CharUtf32(_) => code::CHAR_UTF32,
            Self::Datetime(_) => code::DATETIME,
            Self::Uuid(_) => code::UUID,
            Self::Bin8(_) => code::BIN8,
            Self::Bin16(_) => code::BIN16,
            Self::Bin32(_) => code::BIN32,
            Self::Bin40(_) => code::BIN40,
            Self::Bin64(_) => code::BIN64,
            Self::Bin72(_) => code::BIN72,
            Self::Bin128(_) => code::BIN128,
            Self::Bin256(_) => code::BIN256,
            Self::Bin512(_) => code::BIN512,
            Self::Bin1024(_) => code::BIN1024,
            Self::Dec32(_) => code::DEC32,
            Self::Dec64(_) => code::DEC64,
            Self::Str8(_) => code::STR8,
            Self::Str16(_) => code::STR16,
            Self::Str8Latin(_) => code::STR8_LATIN,
            Self::Str16Latin(_) => code::STR16_LATIN,
            Self::Str8Utf16(_) => code::STR8_UTF16,
            Self::Str16Utf16(_) => code::STR16_UTF16,
            Self::Vbin8(_) => code::VBIN8,
            Self::Vbin16(_) => code::VBIN16,
            Self::Vbin32(_) => code::VBIN32,
            Self::Map(_) => code::MAP,
            Self::List(_) => code::LIST,
            Self::Array(_) => code::ARRAY,
            Self::Struct32(_) => code::STRUCT32,
            Self::Opaque { code, .. } => *code,
        }
    }

    /// Appends the type code and the value.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode_at(out, 0)
    }

    pub(super) fn encode_at(&self, out: &mut Vec<u8>, depth: usize) -> Result<(), EncodeError> {
        out.push(self.code());
        self.encode_data(out, depth)
    }

    /// Appends the value without its type code, as an array holds it.
    pub(super) fn encode_data(&self, out: &mut Vec<u8>, depth: usize) -> Result<(), EncodeError> {
        match self {
            Self::Void | Self::Bit => {}
            Self::Boolean(value) => out.push(u8::from(*value)),
            Self::Int8(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int16(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int32(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int64(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Uint8(value) | Self::Char(value) | Self::Bin8(value) => out.push(*value),
            Self::Uint16(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Uint32(value) | Self::CharUtf32(value) => {
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Uint64(value) | Self::Datetime(value) => {
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Float(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Double(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Uuid(value) => out.extend_from_slice(&value.0),
            Self::Bin16(data) => out.extend_from_slice(data),
            Self::Bin32(data) => out.extend_from_slice(data),
            Self::Bin40(data) | Self::Dec32(data) => out.extend_from_slice(data),
            Self::Bin64(data) => out.extend_from_slice(data),
            Self::Bin72(data) | Self::Dec64(data) => out.extend_from_slice(data),
            Self::Bin128(data) => out.extend_from_slice(data),
            Self::Bin256(data) => out.extend_from_slice(&data[..]),
            Self::Bin512(data) => out.extend_from_slice(&data[..]),
            Self::Bin1024(data) => out.extend_from_slice(&data[..]),
            Self::Str8(text) => put_bytes8(out, text.as_bytes())?,
            Self::Str16(text) => put_bytes16(out, text.as_bytes())?,
            Self::Str8Latin(data) | Self::Str8Utf16(data) | Self::Vbin8(data) => {
                put_bytes8(out, data)?;
            }
            Self::Str16Latin(data) | Self::Str16Utf16(data) | Self::Vbin16(data) => {
                put_bytes16(out, data)?;
            }
            Self::Vbin32(data) | Self::Struct32(data) => put_bytes32(out, data)?,
            Self::Map(map) => put_sized(out, 4, |out| map.encode_content_at(out, depth + 1))?,
            Self::List(list) => put_sized(out, 4, |out| list.encode_content_at(out, depth + 1))?,
            Self::Array(array) => {
                put_sized(out, 4, |out| array.encode_content_at(out, depth + 1))?;
            }
            Self::Opaque { code, data } => match Width::of(*code) {
                Ok(Width::Fixed(width)) if width == data.len() => out.extend_from_slice(data),
                Ok(Width::Variable(1)) => put_bytes8(out, data)?,
                Ok(Width::Variable(2)) => put_bytes16(out, data)?,
                Ok(Width::Variable(_)) => put_bytes32(out, data)?,
                Ok(Width::Fixed(_)) | Err(_) => return Err(EncodeError::WrongWidth(*code)),
            },
        }
        Ok(())
    }

    /// Runs `look` on a borrowed view of a scalar, text or binary value. Scalars are laid out in a
    /// few octets on the stack, so that owned and borrowed values answer alike.
    fn with_view<T>(&self, look: impl FnOnce(ValueRef<'_>) -> Option<T>) -> Option<T> {
        let mut octets = [0u8; 16];
        let mut lay = |bytes: &[u8]| {
            octets[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        };
        let len = match self {
            Self::Boolean(value) => lay(&[u8::from(*value)]),
            Self::Int8(value) => lay(&value.to_be_bytes()),
            Self::Int16(value) => lay(&value.to_be_bytes()),
            Self::Int32(value) => lay(&value.to_be_bytes()),
            Self::Int64(value) => lay(&value.to_be_bytes()),
            Self::Uint8(value) => lay(&[*value]),
            Self::Uint16(value) => lay(&value.to_be_bytes()),
            Self::Uint32(value) => lay(&value.to_be_bytes()),
            Self::Uint64(value) | Self::Datetime(value) => lay(&value.to_be_bytes()),
            Self::Float(value) => lay(&value.to_be_bytes()),
            Self::Double(value) => lay(&value.to_be_bytes()),
            Self::Bit => 0,
            _ => return None,
        };
        look(ValueRef::from_parts(self.code(), &octets[..len]))
    }

    fn text_data(&self) -> Option<&[u8]> {
        Some(match self {
            Self::Str8(text) | Self::Str16(text) => text.as_bytes(),
            Self::Str8Latin(data)
            | Self::Str16Latin(data)
            | Self::Str8Utf16(data)
            | Self::Str16Utf16(data)
            | Self::Vbin8(data)
            | Self::Vbin16(data)
            | Self::Vbin32(data) => data,
            // Nobody has named the type, but its width says that it is octets.
            Self::Opaque { code, data } if matches!(code >> 4, 0x8 | 0x9) => data,
            _ => return None,
        })
    }

    /// Text: see [`ValueRef::as_str`].
    pub fn as_str(&self) -> Option<&str> {
        ValueRef::from_parts(self.code(), self.text_data()?).as_str()
    }

    /// Text of any string type, converted where its encoding is not UTF-8.
    pub fn view_text(&self) -> Option<std::borrow::Cow<'_, str>> {
        ValueRef::from_parts(self.code(), self.text_data()?).to_text()
    }

    /// Octets of any text or binary type of variable width.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.text_data()
    }

    /// An integer of any width that an `i64` can hold.
    pub fn as_i64(&self) -> Option<i64> {
        self.with_view(|value| value.as_i64())
    }

    /// An integer of any width that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        self.with_view(|value| value.as_u64())
    }

    /// A floating point number, or an integer as one.
    pub fn as_f64(&self) -> Option<f64> {
        self.with_view(|value| value.as_f64())
    }

    /// A `boolean`, or an integer that is 0 or not.
    pub fn as_bool(&self) -> Option<bool> {
        self.with_view(|value| value.as_bool())
    }

    /// A `uuid`.
    pub fn as_uuid(&self) -> Option<Uuid> {
        if let Self::Uuid(uuid) = self { Some(*uuid) } else { None }
    }

    /// A map.
    pub fn as_map(&self) -> Option<&Map> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }

    /// A list.
    pub fn as_list(&self) -> Option<&List> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }
}

impl From<&str> for Value {
    /// A `str16`, or binary if the text is too long for one.
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<String> for Value {
    /// A `str16`, or binary if the text is too long for one.
    fn from(text: String) -> Self {
        if text.len() <= usize::from(u16::MAX) {
            Self::Str16(text)
        } else {
            Self::Vbin32(text.into_bytes())
        }
    }
}

impl From<&[u8]> for Value {
    /// A `vbin16` or, if that is too small, a `vbin32`.
    fn from(data: &[u8]) -> Self {
        if data.len() <= usize::from(u16::MAX) {
            Self::Vbin16(data.to_vec())
        } else {
            Self::Vbin32(data.to_vec())
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

value_from! {
    bool => Boolean,
    i8 => Int8,
    i16 => Int16,
    i32 => Int32,
    i64 => Int64,
    u8 => Uint8,
    u16 => Uint16,
    u32 => Uint32,
    u64 => Uint64,
    f32 => Float,
    f64 => Double,
    Uuid => Uuid,
    Map => Map,
    List => List,
    Array => Array,
}
