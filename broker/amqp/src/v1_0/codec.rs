//! The machinery of the 1.0 table: the macros that turn rows into structs, and the few lines of
//! encoding that all of them share.
//!
//! A composite value is a described list: 0x00, its descriptor, and a list of its fields in order.
//! Fields at the end may be missing, and null stands for a field that is not there (part 1.4).

use thiserror::Error;

use super::fields::{FieldWriter, Fields};
use super::types::{ListRef, Symbol, ValueRef, code, put_described, put_list};
use crate::wire::{DecodeError, EncodeError, Reader};

/// Why a composite value could not be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CompositeError {
    /// Not even a descriptor.
    #[error("no descriptor: {0}")]
    NoDescriptor(DecodeError),
    /// A descriptor that does not belong here. The number is missing if it is a symbol.
    #[error("unknown descriptor {0:#x?}")]
    UnknownDescriptor(Option<u64>),
    /// A field that must be there is not.
    #[error("{composite}: mandatory field {field} is missing")]
    MissingField {
        /// The composite type.
        composite: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A field is malformed.
    #[error("{composite}, field {field}: {source}")]
    Field {
        /// The composite type.
        composite: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The list, or what stands in it after the last field, is malformed.
    #[error("{composite}: {source}")]
    Outline {
        /// The composite type.
        composite: &'static str,
        /// What is wrong with it.
        source: DecodeError,
    },
}

impl From<CompositeError> for DecodeError {
    fn from(error: CompositeError) -> Self {
        match error {
            CompositeError::NoDescriptor(source)
            | CompositeError::Field { source, .. }
            | CompositeError::Outline { source, .. } => source,
            CompositeError::UnknownDescriptor(_) => {
                Self::WrongType { expected: "a known descriptor", found: code::DESCRIBED }
            }
            CompositeError::MissingField { field, .. } => Self::MissingField(field),
        }
    }
}

/// What says which composite type a list is: a number, or the symbol that stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor<'a> {
    /// The domain in the high 32 bits (0 for the specification's own), the type in the low ones.
    Code(u64),
    /// The name.
    Name(Symbol<'a>),
}

impl<'a> Descriptor<'a> {
    /// Reads the 0x00 that begins a described value, and the descriptor.
    #[inline]
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, CompositeError> {
        if let [code::DESCRIBED, code::SMALL_ULONG, code, ..] = *reader.rest() {
            reader.take(3).map_err(CompositeError::NoDescriptor)?;
            return Ok(Self::Code(code.into()));
        }
        Self::read_any(reader)
    }

    fn read_any(reader: &mut Reader<'a>) -> Result<Self, CompositeError> {
        let found = reader.u8().map_err(CompositeError::NoDescriptor)?;
        if found != code::DESCRIBED {
            let error = DecodeError::WrongType { expected: "a described value", found };
            return Err(CompositeError::NoDescriptor(error));
        }
        let value = ValueRef::decode(reader).map_err(CompositeError::NoDescriptor)?;
        Self::of(value)
    }

    /// What a value that stands as a descriptor says. All but numbers and symbols are reserved
    /// (part 1.5).
    fn of(value: ValueRef<'a>) -> Result<Self, CompositeError> {
        match value.plain() {
            Some(code::ULONG | code::SMALL_ULONG | code::ULONG0) => value.as_u64().map(Self::Code),
            _ => value.as_symbol().map(Self::Name),
        }
        .ok_or(CompositeError::UnknownDescriptor(None))
    }

    /// The descriptor of a value that a field of type `*` holds.
    pub(super) fn of_view(view: ValueRef<'a>) -> Result<Self, CompositeError> {
        match view.described() {
            Some((descriptor, _)) => Self::of(descriptor),
            None => Err(CompositeError::NoDescriptor(DecodeError::WrongType {
                expected: "a described value",
                found: view.code(),
            })),
        }
    }

    /// The number, if there is one.
    pub fn code(self) -> Option<u64> {
        match self {
            Self::Code(code) => Some(code),
            Self::Name(_) => None,
        }
    }

    /// Whether it stands for this composite type.
    #[inline]
    pub fn is<'c, T: Composite<'c>>(self) -> bool {
        match self {
            Self::Code(code) => code == T::CODE,
            Self::Name(name) => name == *T::DESCRIPTOR,
        }
    }
}

/// What all composite types of the table have in common.
pub trait Composite<'a>: Sized {
    /// The name, in the words of the specification.
    const NAME: &'static str;
    /// The symbolic descriptor.
    const DESCRIPTOR: &'static str;
    /// The numeric descriptor.
    const CODE: u64;

    /// Reads the fields in order.
    #[doc(hidden)]
    fn decode_fields(fields: &mut Fields<'a>) -> Result<Self, CompositeError>;
    /// Appends the fields in order.
    #[doc(hidden)]
    fn encode_fields(&self, fields: &mut FieldWriter<'_>) -> Result<(), EncodeError>;

    /// Reads a value of this type.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, CompositeError> {
        let descriptor = Descriptor::read(reader)?;
        if !descriptor.is::<Self>() {
            return Err(CompositeError::UnknownDescriptor(descriptor.code()));
        }
        Self::decode_list(reader)
    }

    /// Reads the list of fields that follows the descriptor. What a later version of the specification
    /// might have appended is checked and passed over.
    #[inline]
    fn decode_list(reader: &mut Reader<'a>) -> Result<Self, CompositeError> {
        let outline = |source| CompositeError::Outline { composite: Self::NAME, source };
        let mut fields = Fields::new(reader).map_err(outline)?;
        let composite = Self::decode_fields(&mut fields)?;
        fields.finish().map_err(outline)?;
        Ok(composite)
    }

    /// Appends the value. What was appended before an error stays.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_described(Self::CODE, out);
        put_list(out, |out| {
            let mut fields = FieldWriter::new(out);
            self.encode_fields(&mut fields)?;
            Ok(fields.finish())
        })
    }

    /// The value as a field of type `*` holds it, with its octets in `buffer` (which is emptied
    /// first).
    fn to_view<'b>(&self, buffer: &'b mut Vec<u8>) -> Result<ValueRef<'b>, EncodeError> {
        buffer.clear();
        self.encode(buffer)?;
        // What was just encoded is a value.
        Ok(ValueRef::decode(&mut Reader::new(buffer)).unwrap_or_default())
    }

    /// Reads what a field of type `*` holds.
    fn from_view(view: ValueRef<'a>) -> Result<Self, CompositeError> {
        let descriptor = Descriptor::of_view(view)?;
        if !descriptor.is::<Self>() {
            return Err(CompositeError::UnknownDescriptor(descriptor.code()));
        }
        Self::decode_view(view)
    }

    /// Reads the list of fields that a described value holds, whatever its descriptor.
    #[doc(hidden)]
    fn decode_view(view: ValueRef<'a>) -> Result<Self, CompositeError> {
        let outline = |source| CompositeError::Outline { composite: Self::NAME, source };
        let inner = view.described().and_then(|(_, inner)| inner.plain());
        let code = inner.unwrap_or(code::DESCRIBED);
        let list = ListRef::new(code, view.data()).map_err(outline)?;
        let mut fields = Fields::of(list, &Reader::new(&[]));
        let composite = Self::decode_fields(&mut fields)?;
        fields.finish().map_err(outline)?;
        Ok(composite)
    }
}

/// One composite type of the table.
#[derive(Debug, Clone, Copy)]
pub struct CompositeRow {
    /// Its name.
    pub name: &'static str,
    /// Its symbolic descriptor.
    pub descriptor: &'static str,
    /// Its numeric descriptor.
    pub code: u64,
    /// Its fields in order.
    pub fields: &'static [FieldRow],
}

/// One field of the table. Names have underscores for the specification's hyphens.
#[derive(Debug, Clone, Copy)]
pub struct FieldRow {
    /// Its name.
    pub name: &'static str,
    /// Its type; `any` for `*`.
    pub kind: &'static str,
    /// The archetype that its value must provide; empty for none.
    pub requires: &'static str,
    /// `mandatory`, `multiple`, both or neither.
    pub attributes: &'static [&'static str],
    /// What null stands for: a literal, or the constant of a restricted type; empty for none.
    pub default: &'static str,
}

/// One restricted type that names its values.
#[derive(Debug, Clone, Copy)]
pub struct RestrictedRow {
    /// Its name.
    pub name: &'static str,
    /// The type of its values.
    pub source: &'static str,
    /// Names and values.
    pub choices: &'static [(&'static str, &'static str)],
}

/// The Rust type of a field.
macro_rules! field_type {
    ([$($kind:ident)+] [$(mandatory)? multiple] []) => { $crate::v1_0::Multiple<'a> };
    ([$($kind:ident)+] [mandatory] []) => { wire_type!($($kind)+) };
    ([$($kind:ident)+] [] []) => { ::core::option::Option<wire_type!($($kind)+)> };
    ([$($kind:ident)+] [] [$default:expr]) => { wire_type!($($kind)+) };
}

/// What a field holds when nothing is said about it.
macro_rules! field_default {
    ([]) => {
        ::core::default::Default::default()
    };
    ([$default:expr]) => {
        $default
    };
}

macro_rules! field_read {
    ($fields:ident $field:ident [$($kind:ident)+] [multiple] []) => {
        $fields.multiple(Self::NAME, stringify!($field))?
    };
    ($fields:ident $field:ident [$($kind:ident)+] [mandatory multiple] []) => {{
        let value = $fields.multiple(Self::NAME, stringify!($field))?;
        if value.is_empty() {
            return Err($crate::v1_0::CompositeError::MissingField {
                composite: Self::NAME,
                field: stringify!($field),
            });
        }
        value
    }};
    ($fields:ident $field:ident [$($kind:ident)+] [mandatory] []) => {
        match $fields.next::<kind!($($kind)+)>(Self::NAME, stringify!($field))? {
            Some(value) => value,
            None => {
                return Err($crate::v1_0::CompositeError::MissingField {
                    composite: Self::NAME,
                    field: stringify!($field),
                });
            }
        }
    };
    ($fields:ident $field:ident [$($kind:ident)+] [] []) => {
        $fields.next::<kind!($($kind)+)>(Self::NAME, stringify!($field))?
    };
    ($fields:ident $field:ident [$($kind:ident)+] [] [$default:expr]) => {
        match $fields.next::<kind!($($kind)+)>(Self::NAME, stringify!($field))? {
            Some(value) => value,
            None => $default,
        }
    };
}

macro_rules! field_write {
    ($fields:ident $field:ident $value:expr, [$($kind:ident)+] [multiple] []) => {
        $fields.put_multiple(&$value)?
    };
    ($fields:ident $field:ident $value:expr, [$($kind:ident)+] [mandatory multiple] []) => {
        if $value.is_empty() {
            return Err($crate::wire::EncodeError::MissingField(stringify!($field)));
        } else {
            $fields.put_multiple(&$value)?
        }
    };
    ($fields:ident $field:ident $value:expr, [$($kind:ident)+] [mandatory] []) => {
        $fields.put_mandatory::<kind!($($kind)+)>(&$value, stringify!($field))?
    };
    ($fields:ident $field:ident $value:expr, [$($kind:ident)+] [] []) => {
        match &$value {
            Some(value) => $fields.put::<kind!($($kind)+)>(value)?,
            None => $fields.null(),
        }
    };
    ($fields:ident $field:ident $value:expr, [$($kind:ident)+] [] [$default:expr]) => {
        if $value == $default {
            $fields.null()
        } else {
            $fields.put::<kind!($($kind)+)>(&$value)?
        }
    };
}

/// One composite type of the table and its codec.
macro_rules! composite {
    (
        $type:ident $(<$lt:lifetime>)? $name:literal $descriptor:literal $code:literal {
            $($field:ident: [$($kind:ident)+] [$($attribute:ident)*] [$($default:expr)?],)*
        }
    ) => {
        #[doc = concat!("`", $name, "`, described as `", $descriptor, "`.")]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $type $(<$lt>)? {
            $(
                #[doc = concat!(
                    "`", stringify!($($kind)+), "`"
                    $(, ", ", stringify!($attribute))* $(, ", else `", stringify!($default), "`")?, "."
                )]
                pub $field: field_type!([$($kind)+] [$($attribute)*] [$($default)?]),
            )*
        }

        #[allow(clippy::derivable_impls, reason = "rows may have no defaults")]
        impl $(<$lt>)? ::core::default::Default for $type $(<$lt>)? {
            fn default() -> Self {
                Self { $($field: field_default!([$($default)?]),)* }
            }
        }

        impl<'a> $crate::v1_0::codec::Composite<'a> for $type $(<$lt>)? {
            const NAME: &'static str = $name;
            const DESCRIPTOR: &'static str = $descriptor;
            const CODE: u64 = $code;

            #[inline]
            #[allow(unused_variables, reason = "rows may be empty")]
            fn decode_fields(
                fields: &mut $crate::v1_0::fields::Fields<'a>,
            ) -> ::core::result::Result<Self, $crate::v1_0::CompositeError> {
                Ok(Self {
                    $($field: field_read!(
                        fields $field [$($kind)+] [$($attribute)*] [$($default)?]
                    ),)*
                })
            }

            #[inline]
            #[allow(unused_variables, reason = "rows may be empty")]
            fn encode_fields(
                &self,
                fields: &mut $crate::v1_0::fields::FieldWriter<'_>,
            ) -> ::core::result::Result<(), $crate::wire::EncodeError> {
                $(field_write!(
                    fields $field self.$field, [$($kind)+] [$($attribute)*] [$($default)?]
                );)*
                Ok(())
            }
        }
    };
}

/// The whole table: see `table.rs`.
macro_rules! table {
    ($(
        composite $name:literal $descriptor:literal $code:literal = $type:ident $(<$lt:lifetime>)? {
            $(
                $field:ident: $kind:ident $(($requires:ident))? $($attribute:ident)*
                $(= $default:expr)?,
            )*
        }
    )*) => {
        $(composite! {
            $type $(<$lt>)? $name $descriptor $code {
                $($field: [$kind $($requires)?] [$($attribute)*] [$($default)?],)*
            }
        })*

        /// The table as data, for the test against the specification.
        pub const TABLE: &[CompositeRow] = &[$(CompositeRow {
            name: $name,
            descriptor: $descriptor,
            code: $code,
            fields: &[$(FieldRow {
                name: stringify!($field),
                kind: stringify!($kind),
                requires: concat!($(stringify!($requires))?),
                attributes: &[$(stringify!($attribute)),*],
                default: concat!($(stringify!($default))?),
            },)*],
        },)*];
    };
}
