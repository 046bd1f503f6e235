//! A message looked at in place.

use std::borrow::Cow;

use super::sections::{MessageError, Section, Sections, binary};
use crate::v1_0::codec::{Composite, CompositeError};
use crate::v1_0::table::{Header, Properties};
use crate::v1_0::types::{ListRef, MapRef, ValueRef, code};
use crate::wire::{DecodeError, Reader};

/// A whole message, or the head of one. Only the outline of each section was looked at; what is
/// malformed in it counts as absent, or is an error where a getter says so. What [`super::ingest`] took
/// in has nothing malformed.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageView<'a> {
    header: &'a [u8],
    delivery_annotations: MapRef<'a>,
    message_annotations: MapRef<'a>,
    properties: &'a [u8],
    application_properties: MapRef<'a>,
    /// All sections of the body.
    body: &'a [u8],
    kind: Option<Section>,
    footer: MapRef<'a>,
}

/// The body of a message (part 3.2.6 to 3.2.8).
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// There is none.
    Absent,
    /// Octets, in pieces.
    Data(Binaries<'a>),
    /// Lists, each a piece of a sequence of values.
    Sequence(Lists<'a>),
    /// One value.
    Value(ValueRef<'a>),
}

impl<'a> MessageView<'a> {
    /// Finds the sections of a message.
    pub fn parse(encoded: &'a [u8]) -> Result<Self, MessageError> {
        let mut view = Self::default();
        let mut sections = Sections::new(encoded);
        let mut start = 0;
        while let Some(section) = sections.next()? {
            let from = sections.at();
            let content = |source| MessageError::Content { section, source };
            let value = ValueRef::decode(&mut sections.reader).map_err(content)?;
            let to = sections.at();
            let map = || MapRef::new(value.plain().unwrap_or(code::DESCRIBED), value.data());
            match section {
                Section::Header => view.header = &encoded[from..to],
                Section::DeliveryAnnotations => {
                    view.delivery_annotations = map().map_err(content)?
                }
                Section::MessageAnnotations => view.message_annotations = map().map_err(content)?,
                Section::Properties => view.properties = &encoded[from..to],
                Section::ApplicationProperties => {
                    view.application_properties = map().map_err(content)?;
                }
                Section::Data | Section::Sequence | Section::Value => {
                    // All of them lie one behind the other, and are of one kind.
                    let first = start - if view.kind.is_some() { view.body.len() } else { 0 };
                    view.body = &encoded[first..to];
                    view.kind = Some(section);
                }
                Section::Footer => view.footer = map().map_err(content)?,
            }
            start = to;
        }
        Ok(view)
    }

    /// The header (part 3.2.1); its defaults if there is none.
    pub fn header(&self) -> Result<Header, CompositeError> {
        fields(self.header)
    }

    /// The delivery annotations (part 3.2.2); empty if there are none.
    pub fn delivery_annotations(&self) -> MapRef<'a> {
        self.delivery_annotations
    }

    /// The message annotations (part 3.2.3); empty if there are none.
    pub fn message_annotations(&self) -> MapRef<'a> {
        self.message_annotations
    }

    /// The properties (part 3.2.4); empty ones if there are none.
    pub fn properties(&self) -> Result<Properties<'a>, CompositeError> {
        fields(self.properties)
    }

    /// The application properties (part 3.2.5); empty if there are none.
    pub fn application_properties(&self) -> MapRef<'a> {
        self.application_properties
    }

    /// The body (part 3.2.6 to 3.2.8).
    pub fn body(&self) -> Body<'a> {
        match self.kind {
            Some(Section::Data) => Body::Data(Binaries(Sections::new(self.body))),
            Some(Section::Sequence) => Body::Sequence(Lists(Sections::new(self.body))),
            Some(_) => {
                let mut sections = Sections::new(self.body);
                let found = sections.next();
                debug_assert!(found.is_ok(), "it was found before");
                ValueRef::decode(&mut sections.reader).map_or(Body::Absent, Body::Value)
            }
            None => Body::Absent,
        }
    }

    /// All sections of the body as octets, one after the other.
    pub fn body_sections(&self) -> &'a [u8] {
        self.body
    }

    /// The footer (part 3.2.9); empty if there is none.
    pub fn footer(&self) -> MapRef<'a> {
        self.footer
    }
}

/// What a list of fields says, if there is one.
fn fields<'a, T: Composite<'a> + Default>(list: &'a [u8]) -> Result<T, CompositeError> {
    if list.is_empty() {
        return Ok(T::default());
    }
    T::decode_list(&mut Reader::new(list))
}

macro_rules! pieces {
    ($(#[$doc:meta])* $name:ident of $item:ty, |$reader:ident| $read:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name<'a>(Sections<'a>);

        impl<'a> Iterator for $name<'a> {
            type Item = $item;

            fn next(&mut self) -> Option<$item> {
                let found = self.0.next().ok().flatten();
                let $reader = &mut self.0.reader;
                let read = |$reader: &mut Reader<'a>| -> Result<$item, DecodeError> { $read };
                let piece = found.and_then(|_| read($reader).ok());
                if piece.is_none() {
                    self.0 = Sections::new(&[]);
                }
                piece
            }
        }
    };
}

pieces! {
    /// The pieces of a body of octets; ends before what is malformed.
    Binaries of &'a [u8], |reader| binary(reader)
}

impl<'a> Binaries<'a> {
    /// All pieces in one. Allocates only if there are several.
    pub fn joined(mut self) -> Cow<'a, [u8]> {
        match (self.next(), self.next()) {
            (Some(first), Some(second)) => {
                let mut joined = [first, second].concat();
                self.for_each(|piece| joined.extend_from_slice(piece));
                joined.into()
            }
            (first, _) => first.unwrap_or_default().into(),
        }
    }
}

pieces! {
    /// The pieces of a body of values; ends before what is malformed.
    Lists of ListRef<'a>, |reader| ValueRef::decode(reader).and_then(|value| {
        ListRef::new(value.plain().unwrap_or(code::DESCRIBED), value.data())
    })
}
