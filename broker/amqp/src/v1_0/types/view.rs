//! One borrowed value: its constructor and its data, as the octets they came in.

use std::fmt;

use super::code::{self, Width};
use super::collections::code_of;
use super::validate::{self, Allowance, check_depth};
use super::{ArrayRef, ListRef, MapRef, Symbol, Uuid, Value};
use crate::wire::{DecodeError, EncodeError, Reader, put_bytes8, put_bytes32, utf8};

/// Reads a constructor past its descriptors, which are not looked into. Each descriptor is one
/// level of nesting.
#[inline]
pub(super) fn read_constructor<'a>(
    reader: &mut Reader<'a>,
    depth: usize,
) -> Result<&'a [u8], DecodeError> {
    let start = reader.rest();
    if reader.u8()? == code::DESCRIBED {
        skip_descriptors(reader, depth)?;
    }
    Ok(&start[..start.len() - reader.remaining()])
}

/// The rest of a constructor after its first 0x00.
fn skip_descriptors(reader: &mut Reader<'_>, mut depth: usize) -> Result<(), DecodeError> {
    loop {
        depth += 1;
        check_depth(depth)?;
        // The descriptor, a value.
        let constructor = read_constructor(reader, depth)?;
        Width::of(code_of(constructor))?.read(reader)?;
        if reader.u8()? != code::DESCRIBED {
            return Ok(());
        }
    }
}

/// One value. Getters answer `None` for another type, for a described value, and for what is
/// malformed; [`ValueRef::validate`] says what is wrong with it.
///
/// Two views are equal if their octets are: the same number in another encoding is another view.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ValueRef<'a> {
    /// Never empty; ends with the format code.
    constructor: &'a [u8],
    /// Without the size.
    data: &'a [u8],
}

impl<'a> ValueRef<'a> {
    /// The null value.
    pub const NULL: ValueRef<'static> = ValueRef { constructor: &[code::NULL], data: &[] };

    /// A `string` of this text.
    pub fn of_str(text: &'a str) -> Self {
        let short = u8::try_from(text.len()).is_ok();
        let constructor = if short { &[code::STRING8] } else { &[code::STRING32] };
        Self { constructor, data: text.as_bytes() }
    }

    /// A `binary` of these octets.
    pub fn of_binary(octets: &'a [u8]) -> Self {
        let short = u8::try_from(octets.len()).is_ok();
        let constructor = if short { &[code::BINARY8] } else { &[code::BINARY32] };
        Self { constructor, data: octets }
    }

    /// Reads the outline of a value: constructor and width.
    #[inline]
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let constructor = read_constructor(reader, 0)?;
        let data = Width::of(code_of(constructor))?.read(reader)?;
        Ok(Self { constructor, data })
    }

    /// Data that has the width of the constructor's code.
    #[inline]
    pub(super) fn from_parts(constructor: &'a [u8], data: &'a [u8]) -> Self {
        Self { constructor, data }
    }

    /// The format code, of a described value that of the value within.
    #[inline]
    pub fn code(self) -> u8 {
        code_of(self.constructor)
    }

    /// The octets of the value, without constructor and size.
    pub fn data(self) -> &'a [u8] {
        self.data
    }

    /// Whether the value has a descriptor.
    #[inline]
    pub fn is_described(self) -> bool {
        self.constructor.len() > 1
    }

    /// The descriptor of a described value, and the value that it describes.
    pub fn described(self) -> Option<(ValueRef<'a>, ValueRef<'a>)> {
        let (&code::DESCRIBED, rest) = self.constructor.split_first()? else { return None };
        let mut reader = Reader::new(rest);
        let descriptor = ValueRef::decode(&mut reader).ok()?;
        (!reader.is_empty())
            .then(|| (descriptor, ValueRef { constructor: reader.rest(), data: self.data }))
    }

    /// The format code of a value without descriptor.
    #[inline]
    pub(crate) fn plain(self) -> Option<u8> {
        match self.constructor {
            [code] => Some(*code),
            _ => None,
        }
    }

    /// Whether this is a value that holds no others: neither a list, map or array, nor described.
    #[inline]
    pub fn is_scalar(self) -> bool {
        self.plain().is_some_and(|code| code < code::LIST8 && code != code::LIST0)
    }

    /// Whether this is null.
    #[inline]
    pub fn is_null(self) -> bool {
        self.plain() == Some(code::NULL)
    }

    /// A `boolean`.
    pub fn as_bool(self) -> Option<bool> {
        match (self.plain()?, self.data) {
            (code::TRUE, _) | (code::BOOLEAN, [1]) => Some(true),
            (code::FALSE, _) | (code::BOOLEAN, [0]) => Some(false),
            _ => None,
        }
    }

    /// An integer of any width that a `u64` can hold.
    pub fn as_u64(self) -> Option<u64> {
        match self.plain()? {
            code::UBYTE
            | code::USHORT
            | code::UINT
            | code::SMALL_UINT
            | code::UINT0
            | code::ULONG
            | code::SMALL_ULONG
            | code::ULONG0 => self.bits(),
            _ => u64::try_from(self.as_i64()?).ok(),
        }
    }

    /// An integer of any width that an `i64` can hold.
    pub fn as_i64(self) -> Option<i64> {
        let bits = self.bits()?;
        Some(match self.plain()? {
            code::BYTE | code::SMALL_INT | code::SMALL_LONG => i64::from(bits as u8 as i8),
            code::SHORT => i64::from(bits as u16 as i16),
            code::INT => i64::from(bits as u32 as i32),
            code::LONG => bits as i64,
            code::UBYTE
            | code::USHORT
            | code::UINT
            | code::SMALL_UINT
            | code::UINT0
            | code::ULONG
            | code::SMALL_ULONG
            | code::ULONG0 => i64::try_from(bits).ok()?,
            _ => return None,
        })
    }

    /// A `float` or `double`.
    pub fn as_f64(self) -> Option<f64> {
        match self.plain()? {
            code::FLOAT => Some(f64::from(f32::from_bits(self.bits()? as u32))),
            code::DOUBLE => Some(f64::from_bits(self.bits()?)),
            _ => None,
        }
    }

    /// A `char`.
    pub fn as_char(self) -> Option<char> {
        match self.plain()? {
            code::CHAR => char::from_u32(self.bits()? as u32),
            _ => None,
        }
    }

    /// A `timestamp`: milliseconds since 1970, negative before.
    pub fn as_timestamp(self) -> Option<i64> {
        match self.plain()? {
            code::TIMESTAMP => Some(self.bits()? as i64),
            _ => None,
        }
    }

    /// A `uuid`.
    pub fn as_uuid(self) -> Option<Uuid> {
        match self.plain()? {
            code::UUID => self.data.try_into().ok().map(Uuid),
            _ => None,
        }
    }

    /// A `binary`.
    pub fn as_binary(self) -> Option<&'a [u8]> {
        matches!(self.plain()?, code::BINARY8 | code::BINARY32).then_some(self.data)
    }

    /// A `string`.
    pub fn as_str(self) -> Option<&'a str> {
        match self.plain()? {
            code::STRING8 | code::STRING32 => utf8(self.data).ok(),
            _ => None,
        }
    }

    /// A `symbol`.
    pub fn as_symbol(self) -> Option<Symbol<'a>> {
        self.to_symbol().ok()
    }

    /// A `symbol`, or what is there instead.
    pub(crate) fn to_symbol(self) -> Result<Symbol<'a>, DecodeError> {
        match self.plain() {
            Some(code::SYMBOL8 | code::SYMBOL32) => Symbol::from_octets(self.data),
            found => Err(DecodeError::WrongType {
                expected: "symbol",
                found: found.unwrap_or(code::DESCRIBED),
            }),
        }
    }

    /// A `string` or a `symbol`.
    pub fn as_text(self) -> Option<&'a str> {
        self.as_str().or_else(|| self.as_symbol().map(Symbol::as_str))
    }

    /// Whether it is this text, as a string or as a symbol.
    #[inline]
    pub(crate) fn is_text_of(self, text: &str) -> bool {
        // Octets first: of the keys of a map most are others.
        self.data == text.as_bytes()
            && matches!(
                self.plain(),
                Some(code::STRING8 | code::STRING32 | code::SYMBOL8 | code::SYMBOL32)
            )
    }

    /// A list.
    pub fn as_list(self) -> Option<ListRef<'a>> {
        ListRef::new(self.plain()?, self.data).ok()
    }

    /// A map.
    pub fn as_map(self) -> Option<MapRef<'a>> {
        MapRef::new(self.plain()?, self.data).ok()
    }

    /// An array.
    pub fn as_array(self) -> Option<ArrayRef<'a>> {
        ArrayRef::new(self.plain()?, self.data).ok()
    }

    /// The value as owned data.
    pub fn to_value(self) -> Result<Value, DecodeError> {
        Value::from_ref(self, 0, &mut Allowance::default())
    }

    /// Checks the value in depth: whatever passes can be walked and turned into a [`Value`].
    pub fn validate(self) -> Result<(), DecodeError> {
        let mut constructor = Reader::new(self.constructor);
        let mut allowance = Allowance::default();
        let (code, depth) = validate::constructor(&mut constructor, 0, &mut allowance)?;
        validate::data(code, self.data, depth, &mut allowance)
    }

    /// Appends the value as it came.
    pub fn encode(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(self.constructor);
        match Width::of(self.code()) {
            Ok(Width::Variable(1)) => put_bytes8(out, self.data),
            Ok(Width::Variable(_)) => put_bytes32(out, self.data),
            _ => {
                out.extend_from_slice(self.data);
                Ok(())
            }
        }
    }

    /// Up to eight octets as an unsigned number; the encodings of no octets that are numbers are 0.
    #[inline]
    fn bits(self) -> Option<u64> {
        if self.data.len() > 8 {
            return None;
        }
        Some(self.data.iter().fold(0, |bits, octet| bits << 8 | u64::from(*octet)))
    }
}

impl Default for ValueRef<'_> {
    fn default() -> Self {
        Self::NULL
    }
}

impl fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_value() {
            Ok(value) => value.fmt(f),
            Err(error) => write!(f, "<{:#04x}: {error}>", self.code()),
        }
    }
}
