//! The machinery of the 0-10 table: the macro that turns rows into structs, and the few lines of
//! encoding that all of them share.
//!
//! A compound (control, command or struct) is: a size of so many octets, its code, its pack flags,
//! then those fields whose flag is set. Flags count from the lowest bit of the first octet; a
//! `bit` field is its flag and has no octets. Controls and commands have no size, and two octets
//! of flags.

use thiserror::Error;

use crate::wire::{DecodeError, EncodeError, Reader, put_sized};

/// Why a control, command or struct could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Not even a class and a code.
    #[error("no class and code: {0}")]
    NoCode(DecodeError),
    /// A class that is not in the table.
    #[error("unknown class {class:#04x}")]
    UnknownClass {
        /// The class code.
        class: u8,
    },
    /// A control or command that its class does not have.
    #[error("class {class:#04x} has no such entry as {code:#04x}")]
    UnknownCode {
        /// The class code.
        class: u8,
        /// The code of the control or command.
        code: u8,
    },
    /// Flags set that no field has.
    #[error("{entry}: unknown pack flags {flags:#06x}")]
    UnknownFlags {
        /// The control, command or struct.
        entry: &'static str,
        /// The flags that nobody knows.
        flags: u32,
    },
    /// A field is malformed.
    #[error("{entry}, field {field}: {source}")]
    Field {
        /// The control, command or struct.
        entry: &'static str,
        /// The field.
        field: &'static str,
        /// Its place among the fields, from 0.
        index: u8,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// Size, code, flags or the octets after the last field are wrong.
    #[error("{entry}: {source}")]
    Outline {
        /// The control, command or struct.
        entry: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl From<BodyError> for DecodeError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Field { source, .. }
            | BodyError::Outline { source, .. }
            | BodyError::NoCode(source) => source,
            BodyError::UnknownFlags { flags, .. } => Self::UnknownFlags(flags),
            BodyError::UnknownClass { class } => Self::UnknownType(class),
            BodyError::UnknownCode { code, .. } => Self::UnknownType(code),
        }
    }
}

/// What all controls, commands and structs of the table have in common.
pub trait Compound<'a>: Sized {
    /// `class.name`, in the words of the specification.
    const NAME: &'static str;
    /// Octets of the size in front.
    const SIZE: usize;
    /// Octets of flags.
    const PACK: usize;
    /// The code that follows the size of some structs: the class in the high octet.
    const STRUCT_CODE: Option<u16>;
    /// The flags that fields have.
    const KNOWN_FLAGS: u32;

    /// Reads the fields that `flags` says are there.
    fn decode_fields(flags: u32, reader: &mut Reader<'a>) -> Result<Self, BodyError>;
    /// The flags of the fields that are there.
    fn flags(&self) -> u32;
    /// Appends the fields that are there.
    fn encode_fields(&self, out: &mut Vec<u8>) -> Result<(), EncodeError>;
    /// Octets that [`Self::encode_fields`] appends.
    fn fields_len(&self) -> usize;

    /// Reads flags and fields.
    #[inline]
    fn decode_body(reader: &mut Reader<'a>) -> Result<Self, BodyError> {
        let outline = |source| BodyError::Outline { entry: Self::NAME, source };
        let flags = match Self::PACK {
            0 => Self::KNOWN_FLAGS,
            1 => u32::from(reader.u8().map_err(outline)?),
            // The first octet holds the first eight fields, its lowest bit the first.
            _ => u32::from(u16::from_le_bytes(reader.array().map_err(outline)?)),
        };
        let unknown = flags & !Self::KNOWN_FLAGS;
        if unknown != 0 {
            return Err(BodyError::UnknownFlags { entry: Self::NAME, flags: unknown });
        }
        Self::decode_fields(flags, reader)
    }

    /// Reads flags and fields that fill `bytes`.
    #[inline]
    fn decode_whole(bytes: &'a [u8]) -> Result<Self, BodyError> {
        Self::decode_all_of(Reader::new(bytes))
    }

    /// Reads flags and fields that fill the reader.
    #[inline]
    fn decode_all_of(mut reader: Reader<'a>) -> Result<Self, BodyError> {
        let body = Self::decode_body(&mut reader)?;
        reader.finish().map_err(|source| BodyError::Outline { entry: Self::NAME, source })?;
        Ok(body)
    }

    /// Appends flags and fields.
    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.flags().to_le_bytes()[..Self::PACK]);
        self.encode_fields(out)
    }

    /// Octets of flags and fields.
    fn body_len(&self) -> usize {
        Self::PACK + self.fields_len()
    }

    /// Reads the whole compound with its size and code.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, BodyError> {
        let outline = |source| BodyError::Outline { entry: Self::NAME, source };
        if Self::SIZE == 0 {
            return Self::decode_body(reader);
        }
        let bytes = match Self::SIZE {
            1 => reader.bytes8(),
            2 => reader.bytes16(),
            _ => reader.bytes32(),
        };
        let mut inner = reader.nested(bytes.map_err(outline)?);
        if let Some(expected) = Self::STRUCT_CODE {
            let found = inner.u16().map_err(outline)?;
            if found != expected {
                return Err(outline(DecodeError::WrongStruct { expected, found }));
            }
        }
        Self::decode_all_of(inner)
    }

    /// Appends the whole compound with its size and code. What was appended before an error stays.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_sized(out, Self::SIZE, |out| {
            if let Some(code) = Self::STRUCT_CODE {
                out.extend_from_slice(&code.to_be_bytes());
            }
            self.encode_body(out)
        })
    }

    /// Octets that [`Self::encode`] appends.
    fn encoded_len(&self) -> usize {
        let code = if Self::STRUCT_CODE.is_some() { 2 } else { 0 };
        Self::SIZE + code + self.body_len()
    }

    /// The struct as a `struct32`, with its octets in `buffer` (which is emptied first).
    fn to_struct32<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<Struct32<'b>, EncodeError> {
        buffer.clear();
        self.encode_body(buffer)?;
        Ok(Struct32 { code: Self::STRUCT_CODE.unwrap_or_default(), body: buffer })
    }
}

/// A coded struct whose kind is only known from its code: the result of a command, or one struct
/// of a message header. On the wire: a 32-bit size, two octets of code, flags and fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Struct32<'a> {
    /// Class in the high octet, struct in the low one.
    pub code: u16,
    /// Flags and fields.
    pub body: &'a [u8],
}

impl<'a> Struct32<'a> {
    /// Reads the outline of one.
    #[inline]
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut inner = Reader::new(reader.bytes32()?);
        Ok(Self { code: inner.u16()?, body: inner.rest() })
    }

    /// Appends it with its size.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_sized(out, 4, |out| {
            out.extend_from_slice(&self.code.to_be_bytes());
            out.extend_from_slice(self.body);
            Ok(())
        })
    }

    /// Octets that [`Self::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        6 + self.body.len()
    }

    /// The struct it is said to be.
    pub fn read<T: Compound<'a>>(&self) -> Result<T, BodyError> {
        match T::STRUCT_CODE {
            Some(expected) if expected != self.code => Err(BodyError::Outline {
                entry: T::NAME,
                source: DecodeError::WrongStruct { expected, found: self.code },
            }),
            _ => T::decode_whole(self.body),
        }
    }
}

/// One class of the table.
#[derive(Debug, Clone, Copy)]
pub struct ClassRow {
    /// Its name.
    pub name: &'static str,
    /// Its code.
    pub code: u8,
    /// Its structs, those that results have included.
    pub structs: &'static [EntryRow],
    /// Its controls.
    pub controls: &'static [EntryRow],
    /// Its commands.
    pub commands: &'static [EntryRow],
}

/// One control, command or struct of the table.
#[derive(Debug, Clone, Copy)]
pub struct EntryRow {
    /// Its name.
    pub name: &'static str,
    /// Its code; some structs have none.
    pub code: Option<u8>,
    /// Octets of the size in front.
    pub size: usize,
    /// Octets of flags.
    pub pack: usize,
    /// Its fields in order.
    pub fields: &'static [FieldRow],
    /// The name of the struct that its result is.
    pub result: Option<&'static str>,
    /// Whether header and body segments may follow.
    pub segments: bool,
}

/// One field of the table. Names have underscores for the specification's hyphens.
#[derive(Debug, Clone, Copy)]
pub struct FieldRow {
    /// Its name.
    pub name: &'static str,
    /// Its wire type, or its domain if that is enumerated.
    pub kind: &'static str,
}

/// One enumerated domain.
#[derive(Debug, Clone, Copy)]
pub struct DomainRow {
    /// Its name.
    pub name: &'static str,
    /// The wire type of its values.
    pub base: &'static str,
    /// Its named values.
    pub choices: &'static [(&'static str, u32)],
}

/// The Rust type of a field: a flag, or a value that may be absent.
macro_rules! field_type {
    (bit) => { bool };
    ($kind:tt) => { ::core::option::Option<wire_type!($kind)> };
}

macro_rules! field_read {
    (bit, $present:ident, $at:expr, $reader:ident, $entry:expr, $field:ident) => {
        $present
    };
    ($kind:tt, $present:ident, $at:expr, $reader:ident, $entry:expr, $field:ident) => {
        if $present {
            let value = <$crate::v0_10::kinds::$kind as $crate::v0_10::kinds::Kind>::read($reader);
            ::core::option::Option::Some(value.map_err(|source| {
                $crate::v0_10::codec::BodyError::Field {
                    entry: $entry,
                    field: stringify!($field),
                    index: $at,
                    source,
                }
            })?)
        } else {
            ::core::option::Option::None
        }
    };
}

macro_rules! field_flag {
    (bit, $value:expr) => {
        $value
    };
    ($kind:tt, $value:expr) => {
        $value.is_some()
    };
}

macro_rules! field_write {
    (bit, $pack:expr, $value:expr, $out:ident) => {};
    ($kind:tt, $pack:expr, $value:expr, $out:ident) => {
        match &$value {
            ::core::option::Option::Some(value) => {
                <$crate::v0_10::kinds::$kind as $crate::v0_10::kinds::Kind>::write(value, $out)?;
            }
            // Without flags a field cannot be absent.
            ::core::option::Option::None if $pack == 0 => {
                let value = ::core::default::Default::default();
                <$crate::v0_10::kinds::$kind as $crate::v0_10::kinds::Kind>::write(&value, $out)?;
            }
            ::core::option::Option::None => {}
        }
    };
}

macro_rules! field_len {
    (bit, $pack:expr, $value:expr) => {
        0
    };
    ($kind:tt, $pack:expr, $value:expr) => {
        match &$value {
            ::core::option::Option::Some(value) => {
                <$crate::v0_10::kinds::$kind as $crate::v0_10::kinds::Kind>::len(value)
            }
            ::core::option::Option::None if $pack == 0 => {
                let value = ::core::default::Default::default();
                <$crate::v0_10::kinds::$kind as $crate::v0_10::kinds::Kind>::len(&value)
            }
            ::core::option::Option::None => 0,
        }
    };
}

/// One struct of the table and its codec.
macro_rules! compound {
    (
        $(#[$doc:meta])*
        $class:ident $type:ident $(<$lt:lifetime>)? $name:literal
        $(code $code:literal of $ccode:literal)? size $size:literal pack $pack:literal
        { $($field:ident: $kind:tt,)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct $type $(<$lt>)? {
            $(
                #[doc = concat!("`", stringify!($field), "`: `", stringify!($kind), "`.")]
                pub $field: field_type!($kind),
            )*
        }

        impl<'a> $crate::v0_10::codec::Compound<'a> for $type $(<$lt>)? {
            const NAME: &'static str = concat!(stringify!($class), ".", $name);
            const SIZE: usize = $size;
            const PACK: usize = $pack;
            const STRUCT_CODE: ::core::option::Option<u16> = {
                let code: &[u16] = &[$(($ccode << 8) | $code)?];
                if code.is_empty() { None } else { Some(code[0]) }
            };
            const KNOWN_FLAGS: u32 = {
                let names: &[&str] = &[$(stringify!($field)),*];
                (1 << names.len()) - 1
            };

            #[inline]
            #[allow(unused_mut, unused_variables, unused_assignments, reason = "rows may be empty")]
            fn decode_fields(
                flags: u32,
                reader: &mut $crate::wire::Reader<'a>,
            ) -> ::core::result::Result<Self, $crate::v0_10::codec::BodyError> {
                let mut at = 0u8;
                Ok(Self {
                    $($field: {
                        let present = flags >> at & 1 != 0;
                        at += 1;
                        field_read!($kind, present, at - 1, reader, Self::NAME, $field)
                    },)*
                })
            }

            #[inline]
            #[allow(unused_mut, unused_assignments, reason = "rows may be empty")]
            fn flags(&self) -> u32 {
                let mut flags = 0;
                let mut at = 0;
                $(
                    flags |= u32::from(field_flag!($kind, self.$field)) << at;
                    at += 1;
                )*
                let _ = at;
                flags
            }

            #[allow(unused_variables, reason = "rows may be empty or hold flags alone")]
            fn encode_fields(
                &self,
                out: &mut Vec<u8>,
            ) -> ::core::result::Result<(), $crate::wire::EncodeError> {
                $(field_write!($kind, $pack, self.$field, out);)*
                Ok(())
            }

            fn fields_len(&self) -> usize {
                0 $(+ field_len!($kind, $pack, self.$field))*
            }
        }
    };
}

/// Header and body segments after a command, in a row.
macro_rules! has_segments {
    () => {
        false
    };
    (segments) => {
        true
    };
}

/// The enum of all controls or of all commands.
macro_rules! bodies {
    (
        $(#[$doc:meta])*
        $enum:ident: $([$variant:ident $class:ident $ccode:literal $type:ident $(<$lt:lifetime>)? $code:literal])*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the specification documents its entries")]
        pub enum $enum<'a> {
            $($variant($class::$type $(<$lt>)?),)*
        }

        impl<'a> $enum<'a> {
            /// Decodes flags and fields, which fill `body`.
            pub fn decode(
                class: u8,
                code: u8,
                body: &'a [u8],
            ) -> Result<Self, $crate::v0_10::codec::BodyError> {
                match (class, code) {
                    $(($ccode, $code) => Compound::decode_whole(body).map(Self::$variant),)*
                    _ if TABLE.iter().any(|row| row.code == class) => {
                        Err($crate::v0_10::codec::BodyError::UnknownCode { class, code })
                    }
                    _ => Err($crate::v0_10::codec::BodyError::UnknownClass { class }),
                }
            }

            /// `class.name`, in the words of the specification.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$class::$type as Compound>::NAME,)*
                }
            }

            /// The code of the class.
            pub fn class(&self) -> u8 {
                match self {
                    $(Self::$variant(_) => $ccode,)*
                }
            }

            /// The code within the class.
            pub fn code(&self) -> u8 {
                match self {
                    $(Self::$variant(_) => $code,)*
                }
            }

            /// Appends flags and fields.
            fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), $crate::wire::EncodeError> {
                match self {
                    $(Self::$variant(body) => body.encode_body(out),)*
                }
            }

            /// Octets of flags and fields.
            fn body_len(&self) -> usize {
                match self {
                    $(Self::$variant(body) => body.body_len(),)*
                }
            }
        }

        $(
            impl<'a> From<$class::$type $(<$lt>)?> for $enum<'a> {
                fn from(body: $class::$type $(<$lt>)?) -> Self {
                    Self::$variant(body)
                }
            }
        )*
    };
}

/// The whole table: see `table.rs`.
macro_rules! table {
    ($(
        class $class:ident $ccode:literal {
            $(
                struct $sname:literal $(code $scode:literal)? size $ssize:literal pack $spack:literal
                = $stype:ident $(<$slt:lifetime>)? { $($sfield:ident: $skind:tt,)* }
            )*
            $(
                control $kname:literal $kcode:literal
                = $kvariant:ident $ktype:ident $(<$klt:lifetime>)? { $($kfield:ident: $kkind:tt,)* }
            )*
            $(
                command $mname:literal $mcode:literal $(-> $mresult:ident)?
                = $mvariant:ident $mtype:ident $(<$mlt:lifetime>)? { $($mfield:ident: $mkind:tt,)* }
                $(+ $msegments:ident)?
            )*
        }
    )*) => {
        $(
            #[doc = concat!("Class `", stringify!($class), "`.")]
            pub mod $class {
                #[allow(unused_imports, reason = "which wire types a class uses is its own matter")]
                use super::Compound;

                $(compound! {
                    #[doc = concat!("Struct `", stringify!($class), ".", $sname, "`.")]
                    $class $stype $(<$slt>)? $sname $(code $scode of $ccode)?
                    size $ssize pack $spack { $($sfield: $skind,)* }
                })*
                $(compound! {
                    #[doc = concat!("Control `", stringify!($class), ".", $kname, "`.")]
                    $class $ktype $(<$klt>)? $kname size 0 pack 2 { $($kfield: $kkind,)* }
                })*
                $(compound! {
                    #[doc = concat!("Command `", stringify!($class), ".", $mname, "`.")]
                    $class $mtype $(<$mlt>)? $mname size 0 pack 2 { $($mfield: $mkind,)* }
                })*
            }
        )*

        bodies! {
            /// Any control: what one segment of the control track holds.
            Control: $($([$kvariant $class $ccode $ktype $(<$klt>)? $kcode])*)*
        }

        bodies! {
            /// Any command: what the first segment of an assembly on the command track holds.
            Command: $($([$mvariant $class $ccode $mtype $(<$mlt>)? $mcode])*)*
        }

        /// The table as data, for the test against the specification.
        pub const TABLE: &[ClassRow] = &[$(
            ClassRow {
                name: stringify!($class),
                code: $ccode,
                structs: &[$(EntryRow {
                    name: $sname,
                    code: {
                        let code: &[u8] = &[$($scode)?];
                        if code.is_empty() { None } else { Some(code[0]) }
                    },
                    size: $ssize,
                    pack: $spack,
                    fields: &[$(
                        FieldRow { name: stringify!($sfield), kind: stringify!($skind) },
                    )*],
                    result: None,
                    segments: false,
                },)*],
                controls: &[$(EntryRow {
                    name: $kname,
                    code: Some($kcode),
                    size: 0,
                    pack: 2,
                    fields: &[$(
                        FieldRow { name: stringify!($kfield), kind: stringify!($kkind) },
                    )*],
                    result: None,
                    segments: false,
                },)*],
                commands: &[$(EntryRow {
                    name: $mname,
                    code: Some($mcode),
                    size: 0,
                    pack: 2,
                    fields: &[$(
                        FieldRow { name: stringify!($mfield), kind: stringify!($mkind) },
                    )*],
                    result: {
                        let name: &[&str] = &[$(<$class::$mresult as Compound>::NAME)?];
                        if name.is_empty() { None } else { Some(name[0]) }
                    },
                    segments: has_segments!($($msegments)?),
                },)*],
            },
        )*];
    };
}
