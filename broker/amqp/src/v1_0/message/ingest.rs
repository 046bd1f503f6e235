//! Taking in a message: all of it is checked once, and what is for longer than one hop is kept.

use super::sections::{MessageError, Section, Sections, binary};
use crate::v1_0::Composite;
use crate::v1_0::table::{Header, Properties};
use crate::v1_0::types::{Allowance, MapRef, ValueRef, code, outline};
use crate::wire::{DecodeError, Reader};

/// Levels of nesting down to the value that a section describes: what is deeper than all of a message
/// may be for somebody who decodes whole sections is refused.
const DEPTH: usize = 1;

/// What a broker must know of a message that it takes in. Offsets and lengths are octets from the start
/// of what [`ingest`] has appended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingested<'a> {
    /// Whether the message must survive a restart.
    pub durable: bool,
    /// The priority, of which the specification does not bound the top; 4 if the message says none.
    pub priority: u8,
    /// Milliseconds to live.
    pub ttl: Option<u32>,
    /// When the message expires, in milliseconds since 1970.
    pub absolute_expiry_time: Option<i64>,
    /// Octets up to the first section of the body, or to where it would stand.
    pub header_len: u32,
    /// Offset and length of the subject; empty without one.
    pub subject: (u32, u32),
    /// Whether there is a body, though that may be empty.
    pub has_body: bool,
    /// The node that the message is meant for.
    pub to: Option<&'a str>,
    /// The user that the message says has made it.
    pub user_id: Option<&'a [u8]>,
}

/// Appends `encoded` to `out` without its header and its delivery annotations, octet by octet. Appends
/// nothing if there is an error.
///
/// Everything in the message is checked as far as it takes for others to decode it: sections and their
/// order, sizes, counts, nesting, keys, and the types of standard properties, but not whether text in
/// what stays undecoded is UTF-8.
pub fn ingest<'a>(encoded: &'a [u8], out: &mut Vec<u8>) -> Result<Ingested<'a>, MessageError> {
    if u32::try_from(encoded.len()).is_err() {
        return Err(MessageError::TooLong(encoded.len()));
    }
    let (mut header, mut properties) = (Header::default(), None);
    // Where the part that is kept begins, and where its head ends.
    let (mut kept, mut head) = (0, None);
    let mut has_body = false;
    // One for all sections: a sequence takes few octets, and there may be any number of them.
    let mut allowance = Allowance::of_outline();
    let mut sections = Sections::new(encoded);
    let mut start = 0;
    while let Some(section) = sections.next()? {
        let reader = &mut sections.reader;
        let content = |source| MessageError::Content { section, source };
        match section {
            Section::Header => {
                header = Header::decode_list(reader).map_err(MessageError::Fields)?;
                kept = sections.at();
            }
            Section::DeliveryAnnotations => {
                check_map(reader, Keys::Annotations, &mut allowance).map_err(content)?;
                kept = sections.at();
            }
            Section::MessageAnnotations => {
                check_map(reader, Keys::Annotations, &mut allowance).map_err(content)?
            }
            Section::Properties => properties = Some(check_properties(reader)?),
            Section::ApplicationProperties => {
                check_map(reader, Keys::Strings, &mut allowance).map_err(content)?
            }
            Section::Data | Section::Sequence | Section::Value => {
                check_body(section, reader, &mut allowance).map_err(content)?;
                has_body = true;
                head.get_or_insert(start);
            }
            Section::Footer => {
                check_map(reader, Keys::Annotations, &mut allowance).map_err(content)?;
                head.get_or_insert(start);
            }
        }
        start = sections.at();
    }
    out.extend_from_slice(&encoded[kept..]);
    let properties = properties.unwrap_or_default();
    let subject = properties.subject.filter(|subject| !subject.is_empty());
    Ok(Ingested {
        durable: header.durable,
        priority: header.priority,
        ttl: header.ttl,
        absolute_expiry_time: properties.absolute_expiry_time,
        header_len: (head.unwrap_or(start) - kept) as u32,
        subject: subject.map_or((0, 0), |subject| {
            let at = subject.as_ptr() as usize - encoded.as_ptr() as usize - kept;
            (at as u32, subject.len() as u32)
        }),
        has_body,
        to: properties.to.and_then(ValueRef::as_str),
        user_id: properties.user_id,
    })
}

/// The types of a map's keys.
#[derive(Clone, Copy)]
enum Keys {
    Strings,
    /// Symbols or, reserved by the specification, numbers. The reference broker writes strings when it
    /// adds an annotation.
    Annotations,
}

fn check_map(
    reader: &mut Reader<'_>,
    keys: Keys,
    allowance: &mut Allowance,
) -> Result<(), DecodeError> {
    let code = reader.u8()?;
    let data = match code {
        code::MAP8 => reader.bytes8()?,
        code::MAP32 => reader.bytes32()?,
        found => return Err(DecodeError::WrongType { expected: "map", found }),
    };
    let map = MapRef::new(code, data)?;
    let mut items = Reader::new(map.items());
    for _ in 0..map.len() {
        match (items.u8()?, keys) {
            (code::STRING8, _) | (code::SYMBOL8, Keys::Annotations) => items.bytes8()?,
            (code::STRING32, _) | (code::SYMBOL32, Keys::Annotations) => items.bytes32()?,
            (code::ULONG0, Keys::Annotations) => &[],
            (code::SMALL_ULONG, Keys::Annotations) => items.take(1)?,
            (code::ULONG, Keys::Annotations) => items.take(8)?,
            (found, Keys::Strings) => {
                return Err(DecodeError::WrongType { expected: "string", found });
            }
            (found, Keys::Annotations) => {
                return Err(DecodeError::WrongType { expected: "symbol", found });
            }
        };
        outline(&mut items, DEPTH + 1, allowance)?;
    }
    items.finish()
}

/// The fields of the properties. Addresses and message ids may be of any scalar type: some clients take
/// numbers for ids that the specification does not know.
fn check_properties<'a>(reader: &mut Reader<'a>) -> Result<Properties<'a>, MessageError> {
    let properties = Properties::decode_list(reader).map_err(MessageError::Fields)?;
    let values =
        [properties.message_id, properties.to, properties.reply_to, properties.correlation_id];
    for value in values.into_iter().flatten() {
        if !value.is_scalar() {
            let source = DecodeError::WrongType { expected: "a scalar", found: value.code() };
            return Err(MessageError::Content { section: Section::Properties, source });
        }
    }
    Ok(properties)
}

fn check_body(
    section: Section,
    reader: &mut Reader<'_>,
    allowance: &mut Allowance,
) -> Result<(), DecodeError> {
    if section == Section::Data {
        return binary(reader).map(drop);
    }
    if let (Section::Sequence, Some(&found)) = (section, reader.rest().first())
        && !matches!(found, code::LIST0 | code::LIST8 | code::LIST32)
    {
        return Err(DecodeError::WrongType { expected: "list", found });
    }
    outline(reader, DEPTH, allowance)
}
