//! The wire types that fields of the 0-10 table have: each a marker named as the specification
//! names the type, that reads, writes and measures the Rust type standing for it.
//!
//! `wire_type!` names that Rust type where a struct is declared; [`Kind::Of`] is the same type and
//! the compiler holds the two together.

#![allow(non_camel_case_types, reason = "the names are those of the specification")]

use crate::serial::{CommandId, SequenceSet};
use crate::types::{ArrayRef, MapRef, Uuid};
use crate::v0_10::codec::{Compound, Struct32};
pub(crate) use crate::v0_10::domains::{
    accept_mode, acquire_mode, close_code, credit_unit, delivery_mode, detach_code, error_code,
    flow_mode, reject_code, xa_status,
};
use crate::v0_10::table::{dtx, message};
use crate::wire::{DecodeError, EncodeError, Reader, put_bytes8, put_bytes16, put_bytes32, utf8};

/// The Rust type of a wire type.
macro_rules! wire_type {
    (uint8) => { u8 };
    (uint16) => { u16 };
    (uint32) => { u32 };
    (uint64) => { u64 };
    (datetime) => { u64 };
    (sequence_no) => { $crate::serial::CommandId };
    (uuid) => { $crate::types::Uuid };
    (str8) => { &'a str };
    (str16) => { &'a str };
    (vbin8) => { &'a [u8] };
    (vbin16) => { &'a [u8] };
    (vbin32) => { &'a [u8] };
    (map) => { $crate::types::MapRef<'a> };
    (array) => { $crate::types::ArrayRef<'a> };
    (struct32) => { $crate::v0_10::codec::Struct32<'a> };
    (sequence_set) => { $crate::serial::SequenceSet };
    (byte_ranges) => { &'a [u8] };
    (close_code) => { $crate::v0_10::domains::CloseCode };
    (detach_code) => { $crate::v0_10::domains::DetachCode };
    (error_code) => { $crate::v0_10::domains::ErrorCode };
    (accept_mode) => { $crate::v0_10::domains::AcceptMode };
    (acquire_mode) => { $crate::v0_10::domains::AcquireMode };
    (reject_code) => { $crate::v0_10::domains::RejectCode };
    (delivery_mode) => { $crate::v0_10::domains::DeliveryMode };
    (flow_mode) => { $crate::v0_10::domains::FlowMode };
    (credit_unit) => { $crate::v0_10::domains::CreditUnit };
    (xa_status) => { $crate::v0_10::domains::XaStatus };
    (reply_to) => { $crate::v0_10::table::message::ReplyTo<'a> };
    (xid) => { $crate::v0_10::table::dtx::Xid<'a> };
}

/// A wire type of a field.
pub(crate) trait Kind {
    /// The Rust type that stands for it.
    type Of<'a>: Default;
    fn read<'a>(reader: &mut Reader<'a>) -> Result<Self::Of<'a>, DecodeError>;
    fn write(value: &Self::Of<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError>;
    fn len(value: &Self::Of<'_>) -> usize;
}

macro_rules! integers {
    ($($kind:ident: $of:ty = $read:ident, $width:literal;)*) => {$(
        pub(crate) enum $kind {}

        impl Kind for $kind {
            type Of<'a> = $of;

            #[inline]
            fn read<'a>(reader: &mut Reader<'a>) -> Result<$of, DecodeError> {
                reader.$read()
            }

            #[inline]
            fn write(value: &$of, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                out.extend_from_slice(&value.to_be_bytes());
                Ok(())
            }

            #[inline]
            fn len(_: &$of) -> usize {
                $width
            }
        }
    )*};
}

integers! {
    uint8: u8 = u8, 1;
    uint16: u16 = u16, 2;
    uint32: u32 = u32, 4;
    uint64: u64 = u64, 8;
    datetime: u64 = u64, 8;
}

macro_rules! octets {
    ($($kind:ident: $of:ty, |$bytes:ident| $convert:expr, $read:ident, $put:ident, $width:literal;)*) => {$(
        pub(crate) enum $kind {}

        impl Kind for $kind {
            type Of<'a> = &'a $of;

            #[inline]
            fn read<'a>(reader: &mut Reader<'a>) -> Result<&'a $of, DecodeError> {
                let $bytes = reader.$read()?;
                $convert
            }

            #[inline]
            fn write(value: &&$of, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                $put(out, AsRef::<[u8]>::as_ref(*value))
            }

            #[inline]
            fn len(value: &&$of) -> usize {
                $width + value.len()
            }
        }
    )*};
}

octets! {
    str8: str, |bytes| utf8(bytes), bytes8, put_bytes8, 1;
    str16: str, |bytes| utf8(bytes), bytes16, put_bytes16, 2;
    vbin8: [u8], |bytes| Ok(bytes), bytes8, put_bytes8, 1;
    vbin16: [u8], |bytes| Ok(bytes), bytes16, put_bytes16, 2;
    vbin32: [u8], |bytes| Ok(bytes), bytes32, put_bytes32, 4;
    byte_ranges: [u8], |bytes| Ok(bytes), bytes16, put_bytes16, 2;
}

pub(crate) enum sequence_no {}

impl Kind for sequence_no {
    type Of<'a> = CommandId;

    fn read<'a>(reader: &mut Reader<'a>) -> Result<CommandId, DecodeError> {
        reader.u32().map(CommandId)
    }

    fn write(value: &CommandId, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        uint32::write(&value.0, out)
    }

    fn len(_: &CommandId) -> usize {
        4
    }
}

pub(crate) enum uuid {}

impl Kind for uuid {
    type Of<'a> = Uuid;

    fn read<'a>(reader: &mut Reader<'a>) -> Result<Uuid, DecodeError> {
        reader.array().map(Uuid)
    }

    fn write(value: &Uuid, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&value.0);
        Ok(())
    }

    fn len(_: &Uuid) -> usize {
        16
    }
}

pub(crate) enum sequence_set {}

impl Kind for sequence_set {
    type Of<'a> = SequenceSet;

    fn read<'a>(reader: &mut Reader<'a>) -> Result<SequenceSet, DecodeError> {
        SequenceSet::decode(reader)
    }

    fn write(value: &SequenceSet, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        value.encode(out)
    }

    fn len(value: &SequenceSet) -> usize {
        value.encoded_len()
    }
}

macro_rules! views {
    ($($kind:ident: $of:ident;)*) => {$(
        pub(crate) enum $kind {}

        impl Kind for $kind {
            type Of<'a> = $of<'a>;

            fn read<'a>(reader: &mut Reader<'a>) -> Result<$of<'a>, DecodeError> {
                let view = $of::new(reader.bytes32()?)?;
                if !reader.defers_maps() {
                    view.validate()?;
                }
                Ok(view)
            }

            fn write(value: &$of<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                put_bytes32(out, value.data())
            }

            fn len(value: &$of<'_>) -> usize {
                4 + value.data().len()
            }
        }
    )*};
}

views! {
    map: MapRef;
    array: ArrayRef;
}

pub(crate) enum struct32 {}

impl Kind for struct32 {
    type Of<'a> = Struct32<'a>;

    fn read<'a>(reader: &mut Reader<'a>) -> Result<Struct32<'a>, DecodeError> {
        Struct32::decode(reader)
    }

    fn write(value: &Struct32<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        value.encode(out)
    }

    fn len(value: &Struct32<'_>) -> usize {
        value.encoded_len()
    }
}

macro_rules! structs {
    ($($kind:ident: $module:ident::$of:ident;)*) => {$(
        pub(crate) enum $kind {}

        impl Kind for $kind {
            type Of<'a> = $module::$of<'a>;

            fn read<'a>(reader: &mut Reader<'a>) -> Result<$module::$of<'a>, DecodeError> {
                Ok(Compound::decode(reader)?)
            }

            fn write(value: &$module::$of<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                value.encode(out)
            }

            fn len(value: &$module::$of<'_>) -> usize {
                value.encoded_len()
            }
        }
    )*};
}

structs! {
    reply_to: message::ReplyTo;
    xid: dtx::Xid;
}
