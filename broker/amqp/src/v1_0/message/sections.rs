//! Which sections there are, and what their order must be (part 3.2).

use thiserror::Error;

use crate::v1_0::codec::{CompositeError, Descriptor};
use crate::v1_0::types::code;
use crate::wire::{DecodeError, EncodeError, Reader};

/// Why a message could not be read or annotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MessageError {
    /// What stands where a section should begin does not begin one.
    #[error("message: {0}")]
    NoSection(#[from] CompositeError),
    /// A section stands behind one that it must not follow, or occurs twice.
    #[error("message: section {found} after {before}")]
    OutOfOrder {
        /// The section.
        found: Section,
        /// The one before it.
        before: Section,
    },
    /// The list of fields in a section is malformed.
    #[error("message: {0}")]
    Fields(CompositeError),
    /// What a section holds is malformed.
    #[error("message: {section}: {source}")]
    Content {
        /// The section.
        section: Section,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// More octets than the offsets of a message count.
    #[error("message of {0} octets is too long")]
    TooLong(usize),
    /// Annotations cannot be encoded.
    #[error("message: {0}")]
    Encode(#[from] EncodeError),
}

macro_rules! sections {
    ($($(#[$doc:meta])* $section:ident = $code:literal $name:literal $symbol:literal,)*) => {
        /// A section of a message, in the order of the specification.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Section {
            $($(#[$doc])* $section = $code,)*
        }

        impl Section {
            /// Its name, in the words of the specification.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$section => $name,)*
                }
            }

            fn of(descriptor: Descriptor<'_>) -> Option<Self> {
                match descriptor {
                    $(Descriptor::Code($code) => Some(Self::$section),)*
                    Descriptor::Code(_) => None,
                    Descriptor::Name(name) => match name.as_str() {
                        $($symbol => Some(Self::$section),)*
                        _ => None,
                    },
                }
            }
        }
    };
}

sections! {
    /// How the message is to be transferred.
    Header = 0x70 "header" "amqp:header:list",
    /// For the next hop alone.
    DeliveryAnnotations = 0x71 "delivery-annotations" "amqp:delivery-annotations:map",
    /// For all on the way.
    MessageAnnotations = 0x72 "message-annotations" "amqp:message-annotations:map",
    /// The standard properties.
    Properties = 0x73 "properties" "amqp:properties:list",
    /// The application's own.
    ApplicationProperties = 0x74 "application-properties" "amqp:application-properties:map",
    /// A piece of a body of octets.
    Data = 0x75 "data" "amqp:data:binary",
    /// A piece of a body of values.
    Sequence = 0x76 "amqp-sequence" "amqp:amqp-sequence:list",
    /// A body of one value.
    Value = 0x77 "amqp-value" "amqp:amqp-value:*",
    /// What can only be known when the body has been.
    Footer = 0x78 "footer" "amqp:footer:map",
}

impl Section {
    /// The numeric descriptor.
    pub const fn code(self) -> u64 {
        self as u64
    }

    /// Whether it is a body, or a piece of one.
    pub const fn is_body(self) -> bool {
        matches!(self, Self::Data | Self::Sequence | Self::Value)
    }

    /// Whether it may come right after `before`: a body is of one kind, and only a body of some kinds
    /// may have several sections.
    fn may_follow(self, before: Self) -> bool {
        match (self.is_body(), before.is_body()) {
            (true, true) => self == before && self != Self::Value,
            // Clients are about that put the footer before the body.
            (true, false) => true,
            _ => self > before,
        }
    }
}

impl std::fmt::Display for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The sections of a message in order.
#[derive(Debug, Clone)]
pub(super) struct Sections<'a> {
    /// Between sections at the next descriptor; after [`Self::next`] at the content of a section, and
    /// whoever asks for the next one has read that.
    pub(super) reader: Reader<'a>,
    len: usize,
    before: Option<Section>,
    /// The body is over.
    over: bool,
    /// The footer was there.
    footer: bool,
}

impl<'a> Sections<'a> {
    pub(super) fn new(encoded: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(encoded),
            len: encoded.len(),
            before: None,
            over: false,
            footer: false,
        }
    }

    /// How many octets have been read.
    pub(super) fn at(&self) -> usize {
        self.len - self.reader.remaining()
    }

    /// The next section, of which the descriptor is read.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Section>, MessageError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let descriptor = Descriptor::read(&mut self.reader)?;
        let Some(found) = Section::of(descriptor) else {
            return Err(CompositeError::UnknownDescriptor(descriptor.code()).into());
        };
        let again = self.over && found.is_body() || self.footer && found == Section::Footer;
        let wrong = |before: &Section| !found.may_follow(*before) || again;
        if let Some(before) = self.before.filter(wrong) {
            return Err(MessageError::OutOfOrder { found, before });
        }
        self.over |= !found.is_body() && self.before.is_some_and(Section::is_body);
        self.footer |= found == Section::Footer;
        self.before = Some(found);
        Ok(Some(found))
    }
}

/// Reads a `binary`.
pub(super) fn binary<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    match reader.u8()? {
        code::BINARY8 => reader.bytes8(),
        code::BINARY32 => reader.bytes32(),
        found => Err(DecodeError::WrongType { expected: "binary", found }),
    }
}
