//! Archetypes: the places that a value of one of several composite types may stand in (part 1.3).

/// An archetype: the composite types that provide it.
#[derive(Debug, Clone, Copy)]
pub struct ArchetypeRow {
    /// Its name.
    pub name: &'static str,
    /// The types' names.
    pub types: &'static [&'static str],
}

/// The enums of those composite types that may stand in one place. `open` ones carry a value that is
/// none of them as it came; for the others that is an error.
macro_rules! archetypes {
    (@other open $(#[$doc:meta])* $enum:ident { $($variant:ident($of:ty),)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the specification documents its types")]
        pub enum $enum<'a> {
            $($variant($of),)*
            /// A value that the specification does not know.
            Other($crate::v1_0::types::ValueRef<'a>),
        }

        impl ::core::default::Default for $enum<'_> {
            fn default() -> Self {
                Self::Other($crate::v1_0::types::ValueRef::NULL)
            }
        }
    };
    (@other closed $(#[$doc:meta])* $enum:ident { $($variant:ident($of:ty),)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the specification documents its types")]
        pub enum $enum<'a> {
            $($variant($of),)*
        }
    };
    (@unknown open $start:ident $reader:ident $descriptor:ident) => {{
        *$reader = $start;
        $crate::v1_0::kinds::checked($reader)
            .map(Self::Other)
            .map_err(CompositeError::NoDescriptor)
    }};
    (@unknown closed $start:ident $reader:ident $descriptor:ident) => {
        Err(CompositeError::UnknownDescriptor($descriptor?.code()))
    };
    (@stray open $view:ident $descriptor:ident) => {
        Ok(Self::Other($view))
    };
    (@stray closed $view:ident $descriptor:ident) => {
        Err(CompositeError::UnknownDescriptor($descriptor?.code()))
    };
    (@name open $self:ident $($variant:ident)*) => {
        match $self {
            $(Self::$variant(_) => <$variant as Composite>::NAME,)*
            Self::Other(_) => "unknown",
        }
    };
    (@name closed $self:ident $($variant:ident)*) => {
        match $self {
            $(Self::$variant(_) => <$variant as Composite>::NAME,)*
        }
    };
    (@encode open $self:ident $out:ident $($variant:ident)*) => {
        match $self {
            $(Self::$variant(value) => value.encode($out),)*
            Self::Other(value) => value.encode($out),
        }
    };
    (@encode closed $self:ident $out:ident $($variant:ident)*) => {
        match $self {
            $(Self::$variant(value) => value.encode($out),)*
        }
    };
    ($(
        $(#[$doc:meta])*
        $openness:ident $enum:ident $name:literal { $($variant:ident $(<$lt:lifetime>)?,)* }
    )*) => {
        $(
            archetypes! {
                @other $openness $(#[$doc])* $enum { $($variant($variant $(<$lt>)?),)* }
            }

            impl<'a> $enum<'a> {
                /// Reads a value, which may be any of the types.
                #[allow(unused_variables, reason = "closed archetypes do not start again")]
                pub fn decode(reader: &mut Reader<'a>) -> Result<Self, CompositeError> {
                    let start = reader.clone();
                    let descriptor = Descriptor::read(reader);
                    if let Ok(found) = descriptor {
                        $(if found.is::<$variant>() {
                            return $variant::decode_list(reader).map(Self::$variant);
                        })*
                    }
                    archetypes!(@unknown $openness start reader descriptor)
                }

                /// Reads what a field of type `*` holds.
                pub fn from_view(view: ValueRef<'a>) -> Result<Self, CompositeError> {
                    let descriptor = Descriptor::of_view(view);
                    if let Ok(found) = descriptor {
                        $(if found.is::<$variant>() {
                            return $variant::decode_view(view).map(Self::$variant);
                        })*
                    }
                    archetypes!(@stray $openness view descriptor)
                }

                /// The name of the type, in the words of the specification.
                pub fn name(&self) -> &'static str {
                    archetypes!(@name $openness self $($variant)*)
                }

                /// Appends the value. What was appended before an error stays.
                pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                    archetypes!(@encode $openness self out $($variant)*)
                }
            }

            $(
                impl<'a> From<$variant $(<$lt>)?> for $enum<'a> {
                    fn from(value: $variant $(<$lt>)?) -> Self {
                        Self::$variant(value)
                    }
                }
            )*
        )*

        /// The archetypes as data, for the test against the specification.
        pub const ARCHETYPES: &[ArchetypeRow] = &[$(ArchetypeRow {
            name: $name,
            types: &[$(<$variant as Composite>::NAME),*],
        },)*];
    };
}
