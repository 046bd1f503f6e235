//! The format codes of the primitive types, and the widths they stand for (part 1.6).

use crate::wire::{DecodeError, Reader};

/// The octet that begins the constructor of a described value.
pub const DESCRIBED: u8 = 0x00;

macro_rules! codes {
    ($($name:ident = $code:literal $type:literal $encoding:literal,)*) => {
        $(
            #[doc = concat!("The format code of `", $type, "`, encoding `", $encoding, "`.")]
            pub const $name: u8 = $code;
        )*

        /// All of them, with the type and the name of the encoding (empty if it has none), for the
        /// test against the specification.
        pub const ALL: &[(&str, &str, u8)] = &[$(($type, $encoding, $code)),*];

        /// The name of the type with this format code.
        pub const fn type_name(code: u8) -> Option<&'static str> {
            match code {
                $($code => Some($type),)*
                _ => None,
            }
        }
    };
}

codes! {
    NULL = 0x40 "null" "",
    BOOLEAN = 0x56 "boolean" "",
    TRUE = 0x41 "boolean" "true",
    FALSE = 0x42 "boolean" "false",
    UBYTE = 0x50 "ubyte" "",
    USHORT = 0x60 "ushort" "",
    UINT = 0x70 "uint" "",
    SMALL_UINT = 0x52 "uint" "smalluint",
    UINT0 = 0x43 "uint" "uint0",
    ULONG = 0x80 "ulong" "",
    SMALL_ULONG = 0x53 "ulong" "smallulong",
    ULONG0 = 0x44 "ulong" "ulong0",
    BYTE = 0x51 "byte" "",
    SHORT = 0x61 "short" "",
    INT = 0x71 "int" "",
    SMALL_INT = 0x54 "int" "smallint",
    LONG = 0x81 "long" "",
    SMALL_LONG = 0x55 "long" "smalllong",
    FLOAT = 0x72 "float" "ieee-754",
    DOUBLE = 0x82 "double" "ieee-754",
    DECIMAL32 = 0x74 "decimal32" "ieee-754",
    DECIMAL64 = 0x84 "decimal64" "ieee-754",
    DECIMAL128 = 0x94 "decimal128" "ieee-754",
    CHAR = 0x73 "char" "utf32",
    TIMESTAMP = 0x83 "timestamp" "ms64",
    UUID = 0x98 "uuid" "",
    BINARY8 = 0xa0 "binary" "vbin8",
    BINARY32 = 0xb0 "binary" "vbin32",
    STRING8 = 0xa1 "string" "str8-utf8",
    STRING32 = 0xb1 "string" "str32-utf8",
    SYMBOL8 = 0xa3 "symbol" "sym8",
    SYMBOL32 = 0xb3 "symbol" "sym32",
    LIST0 = 0x45 "list" "list0",
    LIST8 = 0xc0 "list" "list8",
    LIST32 = 0xd0 "list" "list32",
    MAP8 = 0xc1 "map" "map8",
    MAP32 = 0xd1 "map" "map32",
    ARRAY8 = 0xe0 "array" "array8",
    ARRAY32 = 0xf0 "array" "array32",
}

/// How the octets of a value lie on the wire. The high half of a format code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// So many octets.
    Fixed(usize),
    /// A size of so many octets, then as many octets as it says.
    Variable(usize),
}

impl Width {
    /// The width of values with this format code. Unlike 0-10, 1.0 has no values of unknown type: a
    /// code that the specification does not assign is an error.
    #[inline]
    pub fn of(code: u8) -> Result<Self, DecodeError> {
        if type_name(code).is_none() {
            return Err(DecodeError::UnknownType(code));
        }
        Ok(match code >> 4 {
            0x4 => Self::Fixed(0),
            0x5 => Self::Fixed(1),
            0x6 => Self::Fixed(2),
            0x7 => Self::Fixed(4),
            0x8 => Self::Fixed(8),
            0x9 => Self::Fixed(16),
            0xa | 0xc | 0xe => Self::Variable(1),
            _ => Self::Variable(4),
        })
    }

    /// The least octets such a value takes.
    pub const fn least(self) -> usize {
        match self {
            Self::Fixed(width) | Self::Variable(width) => width,
        }
    }

    /// Reads the octets of one value, without its size.
    #[inline]
    pub(crate) fn read<'a>(self, reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
        match self {
            Self::Fixed(width) => reader.take(width),
            Self::Variable(1) => reader.bytes8(),
            Self::Variable(_) => reader.bytes32(),
        }
    }
}
