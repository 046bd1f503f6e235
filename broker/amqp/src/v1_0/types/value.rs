//! One owned value of any type.

use super::code::{self, DESCRIBED};
use super::encode::{self, put_compound, put_counted, wide};
use super::validate::{Allowance, check_depth};
use super::{Array, ArrayRef, ListRef, MapRef, Symbol, Uuid, ValueRef};
use crate::limits::MAX_NESTING;
use crate::wire::{DecodeError, EncodeError, Reader, put_bytes8, put_bytes32};

/// A value with its type.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the names are those of the specification's types")]
pub enum Value {
    #[default]
    Null,
    Boolean(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Byte(i8),
    Short(i16),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal32([u8; 4]),
    Decimal64([u8; 8]),
    Decimal128([u8; 16]),
    Char(char),
    /// Milliseconds since 1970.
    Timestamp(i64),
    Uuid(Uuid),
    Binary(Vec<u8>),
    String(String),
    /// ASCII.
    Symbol(String),
    List(Vec<Value>),
    /// Keys and values in order.
    Map(Vec<(Value, Value)>),
    Array(Box<Array>),
    /// A descriptor, and the value it describes.
    Described(Box<(Value, Value)>),
}

pub(super) fn check_encode_depth(depth: usize) -> Result<(), EncodeError> {
    if depth > MAX_NESTING { Err(EncodeError::TooDeep) } else { Ok(()) }
}

fn count(len: usize) -> Result<u32, EncodeError> {
    crate::wire::length32(len)
}

impl Value {
    /// An array of these elements, which must be of one type and not described.
    pub fn array(elements: Vec<Value>) -> Self {
        Self::Array(Box::new(Array { descriptors: Vec::new(), elements }))
    }

    /// Reads a value.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        ValueRef::decode(reader)?.to_value()
    }

    /// Appends the value in its shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.encode_at(0, out)
    }

    /// The value that `view` shows. `depth`: how deep it lies.
    pub(super) fn from_ref(
        view: ValueRef<'_>,
        depth: usize,
        allowance: &mut Allowance,
    ) -> Result<Self, DecodeError> {
        check_depth(depth)?;
        if let Some((descriptor, value)) = view.described() {
            let descriptor = Self::from_ref(descriptor, depth + 1, allowance)?;
            let value = Self::from_ref(value, depth + 1, allowance)?;
            return Ok(Self::Described(Box::new((descriptor, value))));
        }
        Self::from_data(view.code(), view.data(), depth, allowance)
    }

    /// The value with this format code and these octets. `depth`: how deep it lies.
    pub(super) fn from_data(
        code: u8,
        data: &[u8],
        depth: usize,
        allowance: &mut Allowance,
    ) -> Result<Self, DecodeError> {
        Ok(match code {
            code::NULL => Self::Null,
            code::TRUE => Self::Boolean(true),
            code::FALSE => Self::Boolean(false),
            // A level like any other list: in an array it is encoded as one.
            code::LIST0 => {
                check_depth(depth + 1)?;
                Self::List(Vec::new())
            }
            code::LIST8 | code::LIST32 => {
                check_depth(depth + 1)?;
                let mut values = ListRef::new(code, data)?.iter();
                let mut list = Vec::new();
                for value in &mut values {
                    list.push(Self::from_ref(value?, depth + 1, allowance)?);
                }
                values.finish()?;
                Self::List(list)
            }
            code::MAP8 | code::MAP32 => {
                check_depth(depth + 1)?;
                let mut values = MapRef::new(code, data)?.values();
                let mut map = Vec::new();
                while let Some(key) = values.next() {
                    let key = Self::from_ref(key?, depth + 1, allowance)?;
                    // The count is even.
                    let value = values.next().unwrap_or(Ok(ValueRef::NULL))?;
                    map.push((key, Self::from_ref(value, depth + 1, allowance)?));
                }
                values.finish()?;
                Self::Map(map)
            }
            code::ARRAY8 | code::ARRAY32 => {
                check_depth(depth + 1)?;
                Self::Array(Box::new(Array::from_ref(
                    ArrayRef::new(code, data)?,
                    depth + 1,
                    allowance,
                )?))
            }
            _ => Self::scalar(code, data)?,
        })
    }

    /// A value that holds no others.
    fn scalar(code: u8, data: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        Ok(match code {
            code::BOOLEAN => match reader.u8()? {
                0 => Self::Boolean(false),
                1 => Self::Boolean(true),
                other => return Err(DecodeError::NotABoolean(other)),
            },
            code::UBYTE => Self::Ubyte(reader.u8()?),
            code::USHORT => Self::Ushort(reader.u16()?),
            code::UINT => Self::Uint(reader.u32()?),
            code::SMALL_UINT => Self::Uint(reader.u8()?.into()),
            code::UINT0 => Self::Uint(0),
            code::ULONG => Self::Ulong(reader.u64()?),
            code::SMALL_ULONG => Self::Ulong(reader.u8()?.into()),
            code::ULONG0 => Self::Ulong(0),
            code::BYTE => Self::Byte(reader.array().map(i8::from_be_bytes)?),
            code::SHORT => Self::Short(reader.array().map(i16::from_be_bytes)?),
            code::INT => Self::Int(reader.array().map(i32::from_be_bytes)?),
            code::SMALL_INT => Self::Int(reader.array().map(i8::from_be_bytes)?.into()),
            code::LONG => Self::Long(reader.array().map(i64::from_be_bytes)?),
            code::SMALL_LONG => Self::Long(reader.array().map(i8::from_be_bytes)?.into()),
            code::FLOAT => Self::Float(reader.array().map(f32::from_be_bytes)?),
            code::DOUBLE => Self::Double(reader.array().map(f64::from_be_bytes)?),
            code::DECIMAL32 => Self::Decimal32(reader.array()?),
            code::DECIMAL64 => Self::Decimal64(reader.array()?),
            code::DECIMAL128 => Self::Decimal128(reader.array()?),
            code::CHAR => {
                let number = reader.u32()?;
                Self::Char(char::from_u32(number).ok_or(DecodeError::NotAChar(number))?)
            }
            code::TIMESTAMP => Self::Timestamp(reader.array().map(i64::from_be_bytes)?),
            code::UUID => Self::Uuid(Uuid(reader.array()?)),
            code::BINARY8 | code::BINARY32 => Self::Binary(data.to_vec()),
            code::STRING8 | code::STRING32 => Self::String(crate::wire::utf8(data)?.to_owned()),
            code::SYMBOL8 | code::SYMBOL32 => {
                Self::Symbol(Symbol::from_octets(data)?.as_str().to_owned())
            }
            other => return Err(DecodeError::UnknownType(other)),
        })
    }

    pub(super) fn encode_at(&self, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Null => encode::put_null(out),
            Self::Boolean(value) => encode::put_boolean(*value, out),
            Self::Uint(value) => encode::put_uint(*value, out),
            Self::Ulong(value) => encode::put_ulong(*value, out),
            Self::List(items) if items.is_empty() => {
                check_encode_depth(depth + 1)?;
                out.push(code::LIST0);
            }
            Self::List(_) => {
                put_compound(code::LIST8, out, |out| self.put_items(depth, out))?;
            }
            Self::Map(_) => {
                put_compound(code::MAP8, out, |out| self.put_items(depth, out))?;
            }
            Self::Array(_) => {
                put_compound(code::ARRAY8, out, |out| self.put_items(depth, out))?;
            }
            Self::Described(described) => {
                check_encode_depth(depth + 1)?;
                out.push(DESCRIBED);
                described.0.encode_at(depth + 1, out)?;
                described.1.encode_at(depth + 1, out)?;
            }
            _ => {
                let code = if self.fits_narrow() { self.narrow() } else { self.wide() };
                out.push(code);
                self.put_data(code, depth, out)?;
            }
        }
        Ok(())
    }

    /// The code of the type's largest encoding.
    pub(super) fn wide(&self) -> u8 {
        match self {
            Self::Uint(_) => code::UINT,
            Self::Ulong(_) => code::ULONG,
            Self::Int(_) => code::INT,
            Self::Long(_) => code::LONG,
            Self::Binary(_)
            | Self::String(_)
            | Self::Symbol(_)
            | Self::List(_)
            | Self::Map(_)
            | Self::Array(_) => wide(self.narrow()),
            _ => self.narrow(),
        }
    }

    /// The code of the type's smallest encoding that every element of an array can have: one of no
    /// octets would hold a single value.
    pub(super) fn narrow(&self) -> u8 {
        match self {
            Self::Null => code::NULL,
            Self::Boolean(_) => code::BOOLEAN,
            Self::Ubyte(_) => code::UBYTE,
            Self::Ushort(_) => code::USHORT,
            Self::Uint(_) => code::SMALL_UINT,
            Self::Ulong(_) => code::SMALL_ULONG,
            Self::Byte(_) => code::BYTE,
            Self::Short(_) => code::SHORT,
            Self::Int(_) => code::SMALL_INT,
            Self::Long(_) => code::SMALL_LONG,
            Self::Float(_) => code::FLOAT,
            Self::Double(_) => code::DOUBLE,
            Self::Decimal32(_) => code::DECIMAL32,
            Self::Decimal64(_) => code::DECIMAL64,
            Self::Decimal128(_) => code::DECIMAL128,
            Self::Char(_) => code::CHAR,
            Self::Timestamp(_) => code::TIMESTAMP,
            Self::Uuid(_) => code::UUID,
            Self::Binary(_) => code::BINARY8,
            Self::String(_) => code::STRING8,
            Self::Symbol(_) => code::SYMBOL8,
            Self::List(_) => code::LIST8,
            Self::Map(_) => code::MAP8,
            Self::Array(_) => code::ARRAY8,
            Self::Described(_) => DESCRIBED,
        }
    }

    /// Whether the smallest encoding can say this value. Lists, maps and arrays are only known to fit
    /// when they are encoded.
    pub(super) fn fits_narrow(&self) -> bool {
        match self {
            Self::Uint(value) => u8::try_from(*value).is_ok(),
            Self::Ulong(value) => u8::try_from(*value).is_ok(),
            Self::Int(value) => i8::try_from(*value).is_ok(),
            Self::Long(value) => i8::try_from(*value).is_ok(),
            Self::Binary(octets) => octets.len() <= usize::from(u8::MAX),
            Self::String(text) | Self::Symbol(text) => text.len() <= usize::from(u8::MAX),
            Self::List(_) | Self::Map(_) | Self::Array(_) => false,
            _ => true,
        }
    }

    /// Appends the data of this value in the encoding `code`, which can say it. Lists, maps and
    /// arrays are appended wide.
    pub(super) fn put_data(
        &self,
        code: u8,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let small = code >> 4 == 0x5;
        match self {
            Self::Null | Self::Described(_) => {}
            Self::Boolean(value) => out.push(u8::from(*value)),
            Self::Ubyte(value) => out.push(*value),
            Self::Ushort(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Uint(value) if small => out.push(*value as u8),
            Self::Uint(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Ulong(value) if small => out.push(*value as u8),
            Self::Ulong(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Byte(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Short(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int(value) if small => out.push(*value as u8),
            Self::Int(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Long(value) if small => out.push(*value as u8),
            Self::Long(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Float(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Double(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Decimal32(octets) => out.extend_from_slice(octets),
            Self::Decimal64(octets) => out.extend_from_slice(octets),
            Self::Decimal128(octets) => out.extend_from_slice(octets),
            Self::Char(value) => out.extend_from_slice(&u32::from(*value).to_be_bytes()),
            Self::Timestamp(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Uuid(value) => out.extend_from_slice(&value.0),
            Self::Binary(octets) => put_sized_as(code, octets, out)?,
            Self::String(text) => put_sized_as(code, text.as_bytes(), out)?,
            Self::Symbol(text) if !text.is_ascii() => return Err(EncodeError::NotAscii),
            Self::Symbol(text) => put_sized_as(code, text.as_bytes(), out)?,
            Self::List(_) | Self::Map(_) | Self::Array(_) => {
                put_counted(out, |out| self.put_items(depth, out))?;
            }
        }
        Ok(())
    }

    /// Appends what a list, map or array at this depth holds, and answers the count.
    fn put_items(&self, depth: usize, out: &mut Vec<u8>) -> Result<u32, EncodeError> {
        let depth = depth + 1;
        check_encode_depth(depth)?;
        match self {
            Self::List(items) => {
                items.iter().try_for_each(|item| item.encode_at(depth, out))?;
                count(items.len())
            }
            Self::Map(entries) => {
                for (key, value) in entries {
                    key.encode_at(depth, out)?;
                    value.encode_at(depth, out)?;
                }
                count(entries.len().saturating_mul(2))
            }
            Self::Array(array) => {
                array.put(depth, out)?;
                count(array.elements.len())
            }
            _ => Ok(0),
        }
    }
}

fn put_sized_as(code: u8, octets: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if code == wide(code) { put_bytes32(out, octets) } else { put_bytes8(out, octets) }
}
