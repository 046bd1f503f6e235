//! The types that fields of the 1.0 table have: each a marker named as the specification names the
//! type, that reads and writes the Rust type standing for it.
//!
//! `wire_type!` names that Rust type where a struct is declared; [`Kind::Of`] is the same type and
//! the compiler holds the two together.

#![allow(non_camel_case_types, reason = "the names are those of the specification")]

use super::codec::Composite;
use super::restricted::{ReceiverSettleMode, Role, SaslCode, SenderSettleMode, TerminusDurability};
use super::table::{DeliveryState, Error, Outcome};
use super::types::{
    MapRef, Symbol, ValueRef, code, put_binary, put_boolean, put_string, put_symbol, put_timestamp,
    put_ubyte, put_uint, put_ulong, put_ushort,
};
use crate::wire::{DecodeError, EncodeError, Reader, utf8};

/// A `sequence-no`: a serial number (RFC 1982), as the command ids of 0-10 are.
pub use crate::serial::CommandId as SequenceNo;

/// The Rust type of a field's type, or of the archetype that a `*` requires.
macro_rules! wire_type {
    (any delivery_state) => { $crate::v1_0::table::DeliveryState<'a> };
    (any outcome) => { $crate::v1_0::table::Outcome<'a> };
    (any txn_id) => { &'a [u8] };
    (any $requires:ident) => { $crate::v1_0::types::ValueRef<'a> };
    (symbol $($requires:ident)?) => { $crate::v1_0::types::Symbol<'a> };
    (boolean) => { bool };
    (ubyte) => { u8 };
    (ushort) => { u16 };
    (uint) => { u32 };
    (ulong) => { u64 };
    (timestamp) => { i64 };
    (binary) => { &'a [u8] };
    (string) => { &'a str };
    (map) => { $crate::v1_0::types::MapRef<'a> };
    (fields) => { $crate::v1_0::types::MapRef<'a> };
    (filter_set) => { $crate::v1_0::types::MapRef<'a> };
    (node_properties) => { $crate::v1_0::types::MapRef<'a> };
    (handle) => { u32 };
    (seconds) => { u32 };
    (milliseconds) => { u32 };
    (message_format) => { u32 };
    (delivery_tag) => { &'a [u8] };
    (sequence_no) => { $crate::v1_0::SequenceNo };
    (delivery_number) => { $crate::v1_0::SequenceNo };
    (transfer_number) => { $crate::v1_0::SequenceNo };
    (role) => { $crate::v1_0::Role };
    (sender_settle_mode) => { $crate::v1_0::SenderSettleMode };
    (receiver_settle_mode) => { $crate::v1_0::ReceiverSettleMode };
    (terminus_durability) => { $crate::v1_0::TerminusDurability };
    (terminus_expiry_policy) => { $crate::v1_0::types::Symbol<'a> };
    (sasl_code) => { $crate::v1_0::SaslCode };
    (error) => { $crate::v1_0::table::Error<'a> };
}

/// The marker of a field's type, or of the archetype that a `*` requires. A transaction id can be
/// nothing but binary; addresses and message ids are left as values.
macro_rules! kind {
    (any delivery_state) => {
        $crate::v1_0::kinds::delivery_state
    };
    (any outcome) => {
        $crate::v1_0::kinds::outcome
    };
    (any txn_id) => {
        $crate::v1_0::kinds::binary
    };
    ($kind:ident $($requires:ident)?) => {
        $crate::v1_0::kinds::$kind
    };
}

/// The type of a field.
pub(crate) trait Kind {
    /// The Rust type that stands for it.
    type Of<'a>: Default;
    /// Reads a value that is not null.
    fn read<'a>(reader: &mut Reader<'a>) -> Result<Self::Of<'a>, DecodeError>;
    fn write(value: &Self::Of<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError>;
    /// Whether the value would be written as null.
    fn is_null(_: &Self::Of<'_>) -> bool {
        false
    }
}

macro_rules! kinds {
    ($(
        $kind:ident: $of:ty {
            $($($code:pat_param)|+ => |$reader:pat_param| $read:expr,)+
        } |$value:ident, $out:ident| $write:expr;
    )*) => {$(
        pub(crate) enum $kind {}

        impl Kind for $kind {
            type Of<'a> = $of;

            #[inline]
            fn read<'a>(reader: &mut Reader<'a>) -> Result<Self::Of<'a>, DecodeError> {
                match reader.u8()? {
                    $($($code)|+ => {
                        let $reader = reader;
                        $read
                    })+
                    found => Err(DecodeError::WrongType { expected: stringify!($kind), found }),
                }
            }

            #[inline]
            fn write($value: &Self::Of<'_>, $out: &mut Vec<u8>) -> Result<(), EncodeError> {
                $write
            }
        }
    )*};
}

kinds! {
    boolean: bool {
        code::TRUE => |_| Ok(true),
        code::FALSE => |_| Ok(false),
        code::BOOLEAN => |reader| match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::NotABoolean(other)),
        },
    } |value, out| { put_boolean(*value, out); Ok(()) };
    ubyte: u8 {
        code::UBYTE => |reader| reader.u8(),
    } |value, out| { put_ubyte(*value, out); Ok(()) };
    ushort: u16 {
        code::USHORT => |reader| reader.u16(),
    } |value, out| { put_ushort(*value, out); Ok(()) };
    uint: u32 {
        code::SMALL_UINT => |reader| reader.u8().map(u32::from),
        code::UINT0 => |_| Ok(0),
        code::UINT => |reader| reader.u32(),
    } |value, out| { put_uint(*value, out); Ok(()) };
    ulong: u64 {
        code::SMALL_ULONG => |reader| reader.u8().map(u64::from),
        code::ULONG0 => |_| Ok(0),
        code::ULONG => |reader| reader.u64(),
    } |value, out| { put_ulong(*value, out); Ok(()) };
    timestamp: i64 {
        code::TIMESTAMP => |reader| reader.array().map(i64::from_be_bytes),
    } |value, out| { put_timestamp(*value, out); Ok(()) };
    binary: &'a [u8] {
        code::BINARY8 => |reader| reader.bytes8(),
        code::BINARY32 => |reader| reader.bytes32(),
    } |value, out| put_binary(value, out);
    string: &'a str {
        code::STRING8 => |reader| utf8(reader.bytes8()?),
        code::STRING32 => |reader| utf8(reader.bytes32()?),
    } |value, out| put_string(value, out);
    symbol: Symbol<'a> {
        code::SYMBOL8 => |reader| Symbol::from_octets(reader.bytes8()?),
        code::SYMBOL32 => |reader| Symbol::from_octets(reader.bytes32()?),
    } |value, out| put_symbol(*value, out);
}

/// A value of any type: `*`.
pub(crate) enum any {}

impl Kind for any {
    type Of<'a> = ValueRef<'a>;

    fn read<'a>(reader: &mut Reader<'a>) -> Result<ValueRef<'a>, DecodeError> {
        checked(reader)
    }

    fn write(value: &ValueRef<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        value.encode(out)
    }

    fn is_null(value: &ValueRef<'_>) -> bool {
        value.is_null()
    }
}

/// Reads a value, and checks it in depth unless the reader leaves that to those who look at it.
pub(super) fn checked<'a>(reader: &mut Reader<'a>) -> Result<ValueRef<'a>, DecodeError> {
    let value = ValueRef::decode(reader)?;
    if !reader.defers_maps() {
        value.validate()?;
    }
    Ok(value)
}

pub(crate) enum map {}

impl Kind for map {
    type Of<'a> = MapRef<'a>;

    fn read<'a>(reader: &mut Reader<'a>) -> Result<MapRef<'a>, DecodeError> {
        let value = checked(reader)?;
        MapRef::new(value.plain().unwrap_or(code::DESCRIBED), value.data())
    }

    fn write(value: &MapRef<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        value.encode(out)
    }
}

macro_rules! wrappers {
    ($($kind:ident: $of:ident of $base:ident;)*) => {$(
        pub(crate) enum $kind {}

        impl Kind for $kind {
            type Of<'a> = $of;

            #[inline]
            fn read<'a>(reader: &mut Reader<'a>) -> Result<$of, DecodeError> {
                $base::read(reader).map($of)
            }

            #[inline]
            fn write(value: &$of, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                $base::write(&value.0, out)
            }
        }
    )*};
}

wrappers! {
    role: Role of boolean;
    sender_settle_mode: SenderSettleMode of ubyte;
    receiver_settle_mode: ReceiverSettleMode of ubyte;
    terminus_durability: TerminusDurability of uint;
    sasl_code: SaslCode of ubyte;
    sequence_no: SequenceNo of uint;
}

macro_rules! composites {
    ($($kind:ident: $of:ident $(or $other:ident)?;)*) => {$(
        pub(crate) enum $kind {}

        impl Kind for $kind {
            type Of<'a> = $of<'a>;

            fn read<'a>(reader: &mut Reader<'a>) -> Result<$of<'a>, DecodeError> {
                Ok($of::decode(reader)?)
            }

            fn write(value: &$of<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                value.encode(out)
            }

            $(fn is_null(value: &$of<'_>) -> bool {
                matches!(value, $of::$other(value) if value.is_null())
            })?
        }
    )*};
}

composites! {
    error: Error;
    delivery_state: DeliveryState or Other;
    outcome: Outcome or Other;
}

macro_rules! aliases {
    ($($kind:ident = $source:ident $name:literal $source_name:literal,)*) => {
        $(
            #[allow(dead_code, reason = "some are types of `multiple` fields alone")]
            pub(crate) type $kind = $source;
        )*

        /// The restricted types that name no values, and their sources, for the test against the
        /// specification.
        pub const ALIASES: &[(&str, &str)] = &[$(($name, $source_name)),*];
    };
}

aliases! {
    handle = uint "handle" "uint",
    seconds = uint "seconds" "uint",
    milliseconds = uint "milliseconds" "uint",
    delivery_tag = binary "delivery-tag" "binary",
    delivery_number = sequence_no "delivery-number" "sequence-no",
    transfer_number = sequence_no "transfer-number" "sequence-no",
    message_format = uint "message-format" "uint",
    ietf_language_tag = symbol "ietf-language-tag" "symbol",
    fields = map "fields" "map",
    filter_set = map "filter-set" "map",
    node_properties = fields "node-properties" "fields",
}

/// Its values have names: see [`super::terminus_expiry_policy`].
pub(crate) type terminus_expiry_policy = symbol;
