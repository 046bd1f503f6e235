//! AMQP 0-10 values: owned ([`Value`], [`Map`], [`List`], [`Array`]) and borrowed views over
//! encoded octets ([`ValueRef`], [`MapRef`], [`ListRef`], [`ArrayRef`]).
//!
//! The views decode nothing until asked and never allocate. The owned types encode back to the
//! octets they were decoded from. A type code this crate has no name for is carried as opaque
//! octets as long as its width is known, as the specification asks.

mod collections;
mod value;
mod view;

pub use collections::{Array, EncodedArray, EncodedMap, List, Map};
pub use value::{Uuid, Value};
pub use view::{ArrayRef, ListRef, MapRef, ValueRef};

use crate::wire::{DecodeError, Reader};

/// The type codes of the specification's type table.
pub mod code {
    macro_rules! codes {
        ($($name:ident = $code:literal,)*) => {
            $(
                #[doc = concat!("The type code of `", stringify!($name), "`.")]
                pub const $name: u8 = $code;
            )*

            /// All of them with their names, for the test against the specification.
            pub const ALL: &[(&str, u8)] = &[$((stringify!($name), $code)),*];
        };
    }

    codes! {
        BIN8 = 0x00,
        INT8 = 0x01,
        UINT8 = 0x02,
        CHAR = 0x04,
        BOOLEAN = 0x08,
        BIN16 = 0x10,
        INT16 = 0x11,
        UINT16 = 0x12,
        BIN32 = 0x20,
        INT32 = 0x21,
        UINT32 = 0x22,
        FLOAT = 0x23,
        CHAR_UTF32 = 0x27,
        BIN64 = 0x30,
        INT64 = 0x31,
        UINT64 = 0x32,
        DOUBLE = 0x33,
        DATETIME = 0x38,
        BIN128 = 0x40,
        UUID = 0x48,
        BIN256 = 0x50,
        BIN512 = 0x60,
        BIN1024 = 0x70,
        VBIN8 = 0x80,
        STR8_LATIN = 0x84,
        STR8 = 0x85,
        STR8_UTF16 = 0x86,
        VBIN16 = 0x90,
        STR16_LATIN = 0x94,
        STR16 = 0x95,
        STR16_UTF16 = 0x96,
        VBIN32 = 0xa0,
        MAP = 0xa8,
        LIST = 0xa9,
        ARRAY = 0xaa,
        STRUCT32 = 0xab,
        BIN40 = 0xc0,
        DEC32 = 0xc8,
        BIN72 = 0xd0,
        DEC64 = 0xd8,
        VOID = 0xf0,
        BIT = 0xf1,
    }
}

/// How a value of some type lies on the wire. The high half of a type code says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// So many octets.
    Fixed(usize),
    /// A length of so many octets, then as many octets as it says.
    Variable(usize),
}

impl Width {
    /// The width of values with this type code.
    pub fn of(code: u8) -> Result<Self, DecodeError> {
        Ok(match code >> 4 {
            power @ 0x0..=0x7 => Self::Fixed(1 << power),
            0x8 => Self::Variable(1),
            0x9 => Self::Variable(2),
            0xa => Self::Variable(4),
            0xc => Self::Fixed(5),
            0xd => Self::Fixed(9),
            0xf => Self::Fixed(0),
            _ => return Err(DecodeError::UnknownType(code)),
        })
    }

    /// The least octets such a value takes.
    pub const fn least(self) -> usize {
        match self {
            Self::Fixed(width) | Self::Variable(width) => width,
        }
    }

    /// Reads the octets of one value, without its length.
    #[inline]
    pub(crate) fn read<'a>(self, reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
        match self {
            Self::Fixed(width) => reader.take(width),
            Self::Variable(1) => reader.bytes8(),
            Self::Variable(2) => reader.bytes16(),
            Self::Variable(_) => reader.bytes32(),
        }
    }
}
