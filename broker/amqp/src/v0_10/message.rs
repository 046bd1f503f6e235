//! A lazy look at the header segment of a 0-10 message, and the few changes a broker makes to one.
//!
//! A header segment is a row of coded structs: delivery properties, fragment properties, message
//! properties, and whatever else a client sends. [`MessageView`] finds where they lie and decodes
//! one only when asked; nothing allocates. A message stays as it came in: [`rewrite_header`]
//! re-encodes the delivery properties and copies every other struct octet by octet,
//! [`HeaderOffsets`] lets a delivery set the flag and the time to live in its own copy, and
//! [`annotate_header`] adds application headers.

use thiserror::Error;

pub use crate::annotated::Annotated;
use crate::limits::MAX_HEADER_STRUCTS;
use crate::types::{MapRef, Uuid, Value};
use crate::v0_10::codec::{BodyError, Compound, Struct32};
use crate::v0_10::domains::DeliveryMode;
use crate::v0_10::table::message::ReplyTo;
use crate::v0_10::table::message::{DeliveryProperties, FragmentProperties, MessageProperties};
use crate::wire::{DecodeError, EncodeError, Reader};

/// Why a message header could not be read or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// It is not a row of structs.
    #[error("message header: {0}")]
    Outline(#[from] DecodeError),
    /// One struct of it is malformed.
    #[error("message header: {0}")]
    Struct(#[from] BodyError),
    /// A struct occurs twice, so that two readers could disagree on what the message says.
    #[error("message header: struct {0:#06x} occurs twice")]
    Repeated(u16),
    /// The new header cannot be encoded.
    #[error("message header: {0}")]
    Encode(#[from] EncodeError),
}

const DELIVERY: u16 = struct_code::<DeliveryProperties<'_>>();
const FRAGMENT: u16 = struct_code::<FragmentProperties>();
const MESSAGE: u16 = struct_code::<MessageProperties<'_>>();

const fn struct_code<'a, T: Compound<'a>>() -> u16 {
    match T::STRUCT_CODE {
        Some(code) => code,
        None => panic!("structs of a message header have codes"),
    }
}

/// The application headers in message properties, of which they are the last field.
fn application_headers(properties: &[u8]) -> Result<MapRef<'_>, DecodeError> {
    let mut reader = Reader::new(properties);
    let flags = u16::from_le_bytes(reader.array()?);
    let has = |field: u32| flags & 1 << field != 0;
    if !has(8) {
        return Ok(MapRef::default());
    }
    if has(0) {
        reader.take(8)?; // content-length
    }
    if has(1) {
        reader.take(16)?; // message-id
    }
    for _ in (2..4).filter(|field| has(*field)) {
        reader.bytes16()?; // correlation-id, reply-to
    }
    for _ in (4..6).filter(|field| has(*field)) {
        reader.bytes8()?; // content-type, content-encoding
    }
    for _ in (6..8).filter(|field| has(*field)) {
        reader.bytes16()?; // user-id, app-id
    }
    let headers = MapRef::new(reader.bytes32()?)?;
    reader.finish()?;
    Ok(headers)
}

/// The structs of a header segment in order, each with the offset of its size.
struct Structs<'a> {
    header: &'a [u8],
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Structs<'a> {
    fn new(header: &'a [u8]) -> Self {
        Self { header, reader: Reader::new(header), left: MAX_HEADER_STRUCTS }
    }

    fn next(&mut self) -> Result<Option<(usize, Struct32<'a>)>, DecodeError> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        self.left = self.left.checked_sub(1).ok_or(DecodeError::TooManyStructs)?;
        let at = self.header.len() - self.reader.remaining();
        Ok(Some((at, Struct32::decode(&mut self.reader)?)))
    }
}

/// A header segment, looked at in place.
///
/// A getter decodes the struct that holds its answer. To ask for several properties of one struct,
/// ask for the struct.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessageView<'a> {
    delivery: Option<&'a [u8]>,
    fragment: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
    /// There are as many structs as there may be.
    full: bool,
}

impl<'a> MessageView<'a> {
    /// Finds the structs of a header segment; an empty one has none.
    pub fn parse(header: &'a [u8]) -> Result<Self, HeaderError> {
        let mut view = Self::default();
        let mut structs = Structs::new(header);
        while let Some((_, found)) = structs.next()? {
            let place = match found.code {
                DELIVERY => &mut view.delivery,
                FRAGMENT => &mut view.fragment,
                MESSAGE => &mut view.message,
                _ => continue,
            };
            if place.replace(found.body).is_some() {
                return Err(HeaderError::Repeated(found.code));
            }
        }
        view.full = structs.left == 0;
        Ok(view)
    }

    /// The delivery properties; empty ones if the header has none.
    pub fn delivery_properties(&self) -> Result<DeliveryProperties<'a>, BodyError> {
        self.delivery.map_or(Ok(DeliveryProperties::default()), Compound::decode_whole)
    }

    /// The message properties; empty ones if the header has none. Of the application headers only
    /// the outline is checked.
    pub fn message_properties(&self) -> Result<MessageProperties<'a>, BodyError> {
        self.message.map_or(Ok(MessageProperties::default()), |body| {
            Compound::decode_all_of(Reader::deferring(body))
        })
    }

    /// The fragment properties, if the header has them.
    pub fn fragment_properties(&self) -> Result<Option<FragmentProperties>, BodyError> {
        self.fragment.map(Compound::decode_whole).transpose()
    }

    /// Whether an unroutable message may be dropped in silence.
    pub fn discard_unroutable(&self) -> Result<bool, BodyError> {
        Ok(self.delivery_properties()?.discard_unroutable)
    }

    /// Whether the message must be consumed at once or not at all.
    pub fn immediate(&self) -> Result<bool, BodyError> {
        Ok(self.delivery_properties()?.immediate)
    }

    /// Whether the message may have been delivered before.
    pub fn redelivered(&self) -> Result<bool, BodyError> {
        Ok(self.delivery_properties()?.redelivered)
    }

    /// The priority, 0 to 9.
    pub fn priority(&self) -> Result<Option<u8>, BodyError> {
        Ok(self.delivery_properties()?.priority)
    }

    /// Whether the message is durable.
    pub fn is_persistent(&self) -> Result<bool, BodyError> {
        Ok(self.delivery_properties()?.delivery_mode == Some(DeliveryMode::PERSISTENT))
    }

    /// Milliseconds to live.
    pub fn ttl(&self) -> Result<Option<u64>, BodyError> {
        Ok(self.delivery_properties()?.ttl)
    }

    /// When the message was handed over, in seconds since 1970.
    pub fn timestamp(&self) -> Result<Option<u64>, BodyError> {
        Ok(self.delivery_properties()?.timestamp)
    }

    /// When the message expires, in seconds since 1970.
    pub fn expiration(&self) -> Result<Option<u64>, BodyError> {
        Ok(self.delivery_properties()?.expiration)
    }

    /// The exchange the message was published to.
    pub fn exchange(&self) -> Result<Option<&'a str>, BodyError> {
        Ok(self.delivery_properties()?.exchange)
    }

    /// The routing key.
    pub fn routing_key(&self) -> Result<Option<&'a str>, BodyError> {
        Ok(self.delivery_properties()?.routing_key)
    }

    /// The length of the content as its publisher states it.
    pub fn content_length(&self) -> Result<Option<u64>, BodyError> {
        Ok(self.message_properties()?.content_length)
    }

    /// The id the publisher gave the message.
    pub fn message_id(&self) -> Result<Option<Uuid>, BodyError> {
        Ok(self.message_properties()?.message_id)
    }

    /// What the message answers.
    pub fn correlation_id(&self) -> Result<Option<&'a [u8]>, BodyError> {
        Ok(self.message_properties()?.correlation_id)
    }

    /// Where answers go.
    pub fn reply_to(&self) -> Result<Option<ReplyTo<'a>>, BodyError> {
        Ok(self.message_properties()?.reply_to)
    }

    /// The MIME type of the content.
    pub fn content_type(&self) -> Result<Option<&'a str>, BodyError> {
        Ok(self.message_properties()?.content_type)
    }

    /// The MIME encoding of the content.
    pub fn content_encoding(&self) -> Result<Option<&'a str>, BodyError> {
        Ok(self.message_properties()?.content_encoding)
    }

    /// The user the publisher claims to be.
    pub fn user_id(&self) -> Result<Option<&'a [u8]>, BodyError> {
        Ok(self.message_properties()?.user_id)
    }

    /// The application that published the message.
    pub fn app_id(&self) -> Result<Option<&'a [u8]>, BodyError> {
        Ok(self.message_properties()?.app_id)
    }

    /// The application's own properties; none if there is no such map. The properties before them are passed
    /// over: who routes or groups messages by one of these has no use for the others.
    pub fn application_headers(&self) -> Result<MapRef<'a>, BodyError> {
        let entry = <MessageProperties<'_> as Compound>::NAME;
        let headers = self.message.map(application_headers).transpose();
        let headers = headers.map_err(|source| BodyError::Outline { entry, source })?;
        Ok(headers.unwrap_or_default())
    }
}

/// Changes to delivery properties. What is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderPatch<'a> {
    /// The exchange the message was published to.
    pub exchange: Option<&'a str>,
    /// Whether it may have been delivered before.
    pub redelivered: Option<bool>,
    /// Milliseconds to live.
    pub ttl: Option<u64>,
    /// When it was handed over, in seconds since 1970.
    pub timestamp: Option<u64>,
    /// When it expires, in seconds since 1970.
    pub expiration: Option<u64>,
}

/// What [`rewrite_header`] has written.
#[derive(Debug, Clone)]
pub struct Rewritten<'a> {
    /// The delivery properties as they are now.
    pub delivery: DeliveryProperties<'a>,
    /// Where the octets of the routing key stand, from the start of what was appended. Means
    /// nothing without a routing key.
    pub routing_key_at: usize,
    /// The header as it came: all but the delivery properties is unchanged.
    pub original: MessageView<'a>,
}

/// Appends `header` to `out` with its delivery properties changed. If it has none they are put in
/// front; all other structs are copied octet by octet. Appends nothing if there is an error.
///
/// Every publish comes through here: the header is read once, and what was read is returned.
pub fn rewrite_header<'a>(
    header: &'a [u8],
    out: &mut Vec<u8>,
    patch: HeaderPatch<'a>,
) -> Result<Rewritten<'a>, HeaderError> {
    let start = out.len();
    rewrite(header, out, patch).inspect_err(|_| out.truncate(start))
}

fn rewrite<'a>(
    header: &'a [u8],
    out: &mut Vec<u8>,
    patch: HeaderPatch<'a>,
) -> Result<Rewritten<'a>, HeaderError> {
    let view = MessageView::parse(header)?;
    if view.delivery.is_none() && view.full {
        // With one struct more nobody could read it.
        return Err(DecodeError::TooManyStructs.into());
    }
    let mut delivery = view.delivery_properties()?;
    delivery.exchange = patch.exchange.or(delivery.exchange);
    delivery.redelivered = patch.redelivered.unwrap_or(delivery.redelivered);
    delivery.ttl = patch.ttl.or(delivery.ttl);
    delivery.timestamp = patch.timestamp.or(delivery.timestamp);
    delivery.expiration = patch.expiration.or(delivery.expiration);

    // A struct's body follows its size, four octets, and its code, two.
    let (from, to) = view.delivery.map_or((0, 0), |body| {
        let at = body.as_ptr() as usize - header.as_ptr() as usize;
        (at - 6, at + body.len())
    });
    out.reserve(header.len() + 64);
    out.extend_from_slice(&header[..from]);
    delivery.encode(out)?;
    out.extend_from_slice(&header[to..]);
    // As long as all that stands before the key's own octets: an empty key, and nothing after it.
    let before_key =
        DeliveryProperties { routing_key: Some(""), resume_id: None, resume_ttl: None, ..delivery };
    let routing_key_at = from + before_key.encoded_len();
    Ok(Rewritten { delivery, routing_key_at, original: view })
}

/// Appends `header` to `out` with these entries put into its application headers. If it has no message
/// properties they are put at its end; all other structs are copied octet by octet. Appends nothing if
/// there is an error.
pub fn annotate_header(
    header: &[u8],
    out: &mut Vec<u8>,
    entries: &[(&str, Value)],
) -> Result<Annotated, HeaderError> {
    let start = out.len();
    annotate(header, out, entries).inspect_err(|_| out.truncate(start))
}

fn annotate(
    header: &[u8],
    out: &mut Vec<u8>,
    entries: &[(&str, Value)],
) -> Result<Annotated, HeaderError> {
    let view = MessageView::parse(header)?;
    if view.message.is_none() && view.full {
        return Err(DecodeError::TooManyStructs.into());
    }
    let properties = view.message_properties()?;
    let mut headers = Vec::new();
    properties.application_headers.unwrap_or_default().put_with(&mut headers, entries)?;
    let headers = Some(MapRef::new(&headers)?);
    let properties = MessageProperties { application_headers: headers, ..properties };
    let (from, to) = view.message.map_or((header.len(), header.len()), |body| {
        let at = body.as_ptr() as usize - header.as_ptr() as usize;
        (at - 6, at + body.len())
    });
    out.reserve(header.len() + 64);
    out.extend_from_slice(&header[..from]);
    let start = out.len();
    properties.encode(out)?;
    let by = (out.len() - start) as isize - (to - from) as isize;
    out.extend_from_slice(&header[to..]);
    Ok(Annotated { from: to, by })
}

/// Where the delivery properties of a header keep what changes from one delivery to the next, so
/// that a delivery copies the header and sets octets in the copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderOffsets {
    /// The octet of flags that holds [`Self::REDELIVERED`].
    pub flags_at: usize,
    /// The eight octets of the time to live, if the header has one.
    pub ttl_at: Option<usize>,
}

impl HeaderOffsets {
    /// The flag of `redelivered` in the octet at `flags_at`.
    pub const REDELIVERED: u8 = 1 << 2;
    const PRIORITY: u8 = 1 << 3;
    const DELIVERY_MODE: u8 = 1 << 4;
    const TTL: u8 = 1 << 5;

    /// The offsets within `header`; none if it has no delivery properties.
    pub fn find(header: &[u8]) -> Result<Option<Self>, HeaderError> {
        let mut structs = Structs::new(header);
        while let Some((at, found)) = structs.next()? {
            if found.code != DELIVERY {
                continue;
            }
            let flags = Reader::new(found.body).u8()?;
            let has = |flag: u8| usize::from(flags & flag != 0);
            // Size (4), code (2), flags (2), priority (1), delivery mode (1), ttl (8).
            let flags_at = at + 6;
            let ttl_at = flags_at + 2 + has(Self::PRIORITY) + has(Self::DELIVERY_MODE);
            let room = ttl_at + 8 <= at + found.encoded_len();
            return match has(Self::TTL) {
                0 => Ok(Some(Self { flags_at, ttl_at: None })),
                _ if room => Ok(Some(Self { flags_at, ttl_at: Some(ttl_at) })),
                _ => Err(DecodeError::Truncated { need: 8, have: 0 }.into()),
            };
        }
        Ok(None)
    }

    /// Sets flag and time to live in a copy of the header that the offsets were found in. A header
    /// without a time to live gets none.
    pub fn patch(self, copy: &mut [u8], redelivered: bool, ttl: Option<u64>) {
        if let Some(flags) = copy.get_mut(self.flags_at) {
            *flags = *flags & !Self::REDELIVERED | u8::from(redelivered) << 2;
        }
        if let (Some(at), Some(ttl)) = (self.ttl_at, ttl)
            && let Some(octets) = copy.get_mut(at..at + 8)
        {
            octets.copy_from_slice(&ttl.to_be_bytes());
        }
    }
}
