//! Messages between the wire and the engine.

use super::error::Refusal;
use crate::shard::Ctx;
use fletch_amqp::v0_10::message::{
    HeaderError, HeaderOffsets, HeaderPatch, MessageView, Rewritten, rewrite_header,
};
use fletch_amqp::v0_10::{DeliveryMode, ErrorCode, Payload};
use fletch_engine::queue::Marks;
use fletch_engine::{Flags, Format, Message, Meta, Position, SessionId, Time};
use std::time::Duration;

/// Makes the engine's message of a transfer to `exchange`: its header with the exchange's name put
/// in, as consumers expect it, then its body. `stamped`: with the time of arrival, too.
pub(super) fn ingest(
    ctx: &mut Ctx<'_>,
    (publisher, stamped): (SessionId, bool),
    exchange: &str,
    header: &[u8],
    body: &Payload<'_>,
) -> Result<Message, Refusal> {
    let content = &mut *ctx.scratch;
    content.clear();
    let timestamp = stamped.then(|| ctx.now.as_duration().as_secs());
    let patch = HeaderPatch { exchange: Some(exchange), timestamp, ..HeaderPatch::default() };
    let rewritten = rewrite_header(header, content, patch).map_err(malformed)?;
    check_passed_on(&rewritten.original).map_err(malformed)?;
    let has_body = !matches!(body, Payload::Absent);
    let meta = meta(ctx.now, publisher, content.len(), &rewritten, has_body);
    content.extend_from_slice(body.as_slice());
    let message = Message::new(meta, content);
    content.clear();
    if content.capacity() > SCRATCH_KEPT {
        *content = Vec::new();
    }
    Ok(fletch_engine::scheduled(ctx.now, message))
}

/// A large message must not leave its size behind in every shard.
const SCRATCH_KEPT: usize = 256 * 1024;

/// What is passed on undecoded must not break whoever decodes it.
fn check_passed_on(header: &MessageView<'_>) -> Result<(), HeaderError> {
    if let Some(headers) = header.message_properties()?.application_headers {
        headers.validate_outline().map_err(HeaderError::Outline)?;
    }
    Ok(())
}

fn meta(
    now: Time,
    publisher: SessionId,
    header_len: usize,
    rewritten: &Rewritten<'_>,
    has_body: bool,
) -> Meta {
    let delivery = &rewritten.delivery;
    Meta {
        format: Format::V0_10,
        header_len: u32::try_from(header_len).unwrap_or(u32::MAX),
        // A str8 is at most 255 bytes long.
        routing_key: delivery
            .routing_key
            .map_or((0, 0), |key| (rewritten.routing_key_at as u32, key.len() as u32)),
        expires: match delivery.ttl {
            Some(ttl) if ttl > 0 => now.after(Duration::from_millis(ttl)),
            _ => Time::NEVER,
        },
        priority: delivery.priority.unwrap_or(4),
        durable: delivery.delivery_mode == Some(DeliveryMode::PERSISTENT),
        flags: Flags::of_body(has_body),
        publisher: Some(publisher),
    }
}

fn malformed(error: HeaderError) -> Refusal {
    Refusal::new(ErrorCode::ILLEGAL_ARGUMENT, error.to_string())
}

/// The header to send with a delivery: as it is kept, or a copy in `scratch` that says what is
/// different this time.
pub(super) fn outgoing_header<'a>(
    now: Time,
    message: &'a Message,
    redelivered: bool,
    marks: Option<(&Marks, Position)>,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    let expires = message.meta().expires;
    if !redelivered && expires == Time::NEVER && marks.is_none() {
        return message.header();
    }
    scratch.clear();
    match marks {
        Some((marks, position)) => marks.put_header(message, position, scratch),
        None => scratch.extend_from_slice(message.header()),
    }
    // Every message kept has delivery properties: `ingest` puts the exchange into them.
    if let Ok(Some(offsets)) = HeaderOffsets::find(scratch) {
        let left = expires.since(now).as_millis();
        let ttl = (expires != Time::NEVER).then(|| u64::try_from(left).unwrap_or(u64::MAX).max(1));
        offsets.patch(scratch, redelivered, ttl);
    }
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_engine::{Config, Effects, Engine, ShardId};

    /// Message properties whose application headers are `octets`, of which they claim to be a map.
    fn header(octets: &[u8]) -> Vec<u8> {
        let mut properties = vec![4, 3, 0, 1]; // Code, and the flag of application headers.
        properties.extend_from_slice(&(octets.len() as u32).to_be_bytes());
        properties.extend_from_slice(octets);
        let mut header = (properties.len() as u32).to_be_bytes().to_vec();
        header.extend_from_slice(&properties);
        header
    }

    fn ingested(header: &[u8]) -> bool {
        let mut engine = Engine::new(&Config::new(ShardId(0), 1));
        let mut fx = Effects::default();
        let mut scratch = Vec::new();
        let now = Time(0);
        let mut links = crate::links::Links::default();
        let mut ctx =
            Ctx { now, engine: &mut engine, fx: &mut fx, scratch: &mut scratch, links: &mut links };
        let publisher = SessionId::new(ShardId(0), 1);
        ingest(&mut ctx, (publisher, false), "x", header, &Payload::Borrowed(b"body")).is_ok()
    }

    #[test]
    fn application_headers_that_cannot_be_decoded_are_refused() {
        // One entry: the key "k", a str8 (0x85) of one octet.
        let good = [0, 0, 0, 1, 1, b'k', 0x85, 1, b'v'];
        assert!(ingested(&header(&good)), "sound headers pass");
        let mut lying = good;
        lying[7] = 200; // The value claims more octets than there are.
        assert!(!ingested(&header(&lying)), "a value beyond the end is refused");
        assert!(!ingested(&header(&good[..6])), "an entry without its value is refused");
    }
}
