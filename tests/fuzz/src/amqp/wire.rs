//! Frames, the table of controls and commands, and message headers.

use fletch_amqp::v0_10::frame::{
    FIRST_FRAME, FIRST_SEGMENT, Frame, LAST_FRAME, LAST_SEGMENT, MIN_MAX_FRAME_SIZE, SegmentKind,
    write_segment,
};
use fletch_amqp::v0_10::message::{HeaderOffsets, HeaderPatch, MessageView, rewrite_header};
use fletch_amqp::v0_10::table::{dtx, exchange, message, queue, session};
use fletch_amqp::v0_10::{Command, Compound, Control, Struct32};
use fletch_amqp::wire::Reader;

use super::Script;

/// No prefix of a frame is another frame, and what the writer cuts the parser puts together.
pub fn frame_header(data: &[u8]) {
    let (mut script, rest) = Script::split(data);
    let max = script.u16().max(MIN_MAX_FRAME_SIZE);
    let parsed = Frame::parse(rest, max);
    if let Ok(Some(frame)) = parsed {
        assert!(frame.len() <= rest.len() && frame.len() <= usize::from(max));
        assert_eq!(frame.flags & 0xf0, 0);
    }
    for end in 0..rest.len().min(64) {
        match Frame::parse(&rest[..end], max) {
            Ok(None) => {}
            early => assert_eq!(early, parsed),
        }
    }

    let kind = [SegmentKind::Control, SegmentKind::Command, SegmentKind::Header, SegmentKind::Body]
        [script.below(4)];
    let segment = [0, FIRST_SEGMENT, LAST_SEGMENT, FIRST_SEGMENT | LAST_SEGMENT][script.below(4)];
    let channel = script.u16();
    let mut out = Vec::new();
    write_segment(&mut out, kind, channel, segment, max, rest);
    let (mut left, mut payload, mut frames) = (&out[..], Vec::new(), 0);
    while let Some(frame) = Frame::parse(left, max).expect("our own frame") {
        assert_eq!((frame.kind, frame.channel), (kind, channel));
        assert_eq!(frame.flags & (FIRST_SEGMENT | LAST_SEGMENT), segment);
        assert_eq!(frame.has(FIRST_FRAME), frames == 0);
        left = &left[frame.len()..];
        assert_eq!(frame.has(LAST_FRAME), left.is_empty());
        payload.extend_from_slice(frame.payload);
        frames += 1;
    }
    assert!(left.is_empty() && frames > 0);
    assert_eq!(payload, rest);
}

/// Each of the types as a struct with size and code: a macro, since what is decoded and its copy
/// borrow for different times.
macro_rules! compounds {
    ($octets:expr, $($type:ty),* $(,)?) => {$(
        if let Ok(value) = <$type>::decode(&mut Reader::new($octets)) {
            let mut out = Vec::new();
            value.encode(&mut out).expect("what was decoded can be encoded");
            assert_eq!(out.len(), value.encoded_len());
            let again = <$type>::decode(&mut Reader::new(&out)).expect("our own struct");
            assert_eq!(again, value);
        }
    )*};
}

/// What decodes also encodes, to as many octets as was said, and decodes to the same.
pub fn controls_commands(data: &[u8]) {
    if let Ok(control) = Control::decode_segment(data) {
        let mut out = Vec::new();
        control.encode_segment(&mut out).expect("what was decoded can be encoded");
        assert_eq!(out.len(), control.segment_len());
        assert_eq!(Control::decode_segment(&out).as_ref(), Ok(&control));
        assert!(!control.name().is_empty());
        let _ = format!("{control:?}");
    }
    if let Ok((header, command)) = Command::decode_segment(data) {
        let mut out = Vec::new();
        command.encode_segment(header.sync, &mut out).expect("what was decoded can be encoded");
        assert_eq!(out.len(), command.segment_len());
        let (again_header, again) = Command::decode_segment(&out).expect("our own command");
        assert_eq!((again_header.sync, again), (header.sync, command.clone()));
        let _ = format!("{command:?}");
        if let Command::ExecutionResult(result) = command {
            result.value.iter().for_each(results);
        }
    }
    if let Ok(value) = Struct32::decode(&mut Reader::new(data)) {
        results(&value);
    }
    compounds!(data, message::ReplyTo, dtx::Xid, session::CommandFragment);
}

fn results(value: &Struct32<'_>) {
    let mut octets = Vec::new();
    value.encode(&mut octets).expect("what was decoded can be encoded");
    assert_eq!(octets.len(), value.encoded_len());
    compounds!(
        &octets,
        message::Acquired,
        message::MessageResumeResult,
        message::DeliveryProperties,
        message::FragmentProperties,
        message::MessageProperties,
        dtx::XaResult,
        dtx::GetTimeoutResult,
        dtx::RecoverResult,
        exchange::ExchangeQueryResult,
        exchange::ExchangeBoundResult,
        queue::QueueQueryResult,
    );
}

/// Every getter of a header agrees with its struct; rewriting changes what it was told to and
/// nothing else; patching a copy does too.
pub fn message_header(data: &[u8]) {
    let Some((mask, header)) = data.split_first() else { return };
    getters(header);
    offsets(header, *mask);
    let pick = |bit: u8| mask & 1 << bit != 0;
    let patch = HeaderPatch {
        exchange: pick(0).then_some("amq.topic"),
        redelivered: pick(1).then_some(pick(2)),
        ttl: pick(3).then_some(u64::MAX - 5),
        timestamp: pick(4).then_some(7),
        expiration: pick(5).then_some(u64::MAX),
    };
    let mut out = b"before".to_vec();
    let Ok(rewritten) = rewrite_header(header, &mut out, patch) else {
        assert_eq!(out, b"before", "an error appends nothing");
        return;
    };
    let out = out.strip_prefix(b"before").expect("what was there stays");
    let (old, new) = (MessageView::parse(header), MessageView::parse(out));
    let (old, new) = (old.expect("it was rewritten"), new.expect("our own header"));
    let mut expected = old.delivery_properties().expect("it was rewritten");
    expected.exchange = patch.exchange.or(expected.exchange);
    expected.redelivered = patch.redelivered.unwrap_or(expected.redelivered);
    expected.ttl = patch.ttl.or(expected.ttl);
    expected.timestamp = patch.timestamp.or(expected.timestamp);
    expected.expiration = patch.expiration.or(expected.expiration);
    if let Some(key) = expected.routing_key {
        assert!(out[rewritten.routing_key_at..].starts_with(key.as_bytes()));
    }
    assert_eq!(rewritten.delivery, expected);
    assert_eq!(new.delivery_properties(), Ok(expected));
    assert_eq!(new.message_properties(), old.message_properties());
    assert_eq!(new.fragment_properties(), old.fragment_properties());
    let mut twice = Vec::new();
    rewrite_header(out, &mut twice, patch).expect("a rewritten header is one");
    assert_eq!(twice, out);
}

fn getters(header: &[u8]) {
    let Ok(view) = MessageView::parse(header) else { return };
    let delivery = view.delivery_properties();
    assert_eq!(view.ttl(), delivery.clone().map(|d| d.ttl));
    assert_eq!(view.priority(), delivery.clone().map(|d| d.priority));
    assert_eq!(view.redelivered(), delivery.clone().map(|d| d.redelivered));
    assert_eq!(view.immediate(), delivery.clone().map(|d| d.immediate));
    assert_eq!(view.discard_unroutable(), delivery.clone().map(|d| d.discard_unroutable));
    assert_eq!(view.exchange(), delivery.clone().map(|d| d.exchange));
    assert_eq!(view.routing_key(), delivery.clone().map(|d| d.routing_key));
    assert_eq!(view.timestamp(), delivery.clone().map(|d| d.timestamp));
    assert_eq!(view.expiration(), delivery.clone().map(|d| d.expiration));
    assert_eq!(view.is_persistent().is_ok(), delivery.is_ok());
    let message = view.message_properties();
    assert_eq!(view.content_length(), message.clone().map(|m| m.content_length));
    assert_eq!(view.message_id(), message.clone().map(|m| m.message_id));
    assert_eq!(view.correlation_id(), message.clone().map(|m| m.correlation_id));
    assert_eq!(view.reply_to(), message.clone().map(|m| m.reply_to));
    assert_eq!(view.content_type(), message.clone().map(|m| m.content_type));
    assert_eq!(view.content_encoding(), message.clone().map(|m| m.content_encoding));
    assert_eq!(view.user_id(), message.clone().map(|m| m.user_id));
    assert_eq!(view.app_id(), message.clone().map(|m| m.app_id));
    let headers = view.application_headers();
    // What stands before them is passed over, malformed or not.
    assert!(headers.is_ok() || message.is_err());
    if let (Ok(headers), Ok(message)) = (&headers, &message) {
        let all = message.application_headers.unwrap_or_default();
        assert_eq!(headers.data(), all.data());
    }
    if let Ok(map) = headers {
        // They may be malformed in depth: that is for their readers to meet.
        let _ = (map.iter().count(), map.get("x"), map.validate(), map.get_int("x"));
    }
    let _ = view.fragment_properties();
}

fn offsets(header: &[u8], mask: u8) {
    let Ok(Some(offsets)) = HeaderOffsets::find(header) else { return };
    let Ok(before) = MessageView::parse(header).and_then(|view| Ok(view.delivery_properties()?))
    else {
        return;
    };
    let (redelivered, ttl) = (mask & 1 != 0, (mask & 2 != 0).then_some(0x0102_0304_0506_0708));
    let mut copy = header.to_vec();
    offsets.patch(&mut copy, redelivered, ttl);
    let after = MessageView::parse(&copy).expect("the outline stays");
    let after = after.delivery_properties().expect("its fields stay");
    assert_eq!(after.redelivered, redelivered);
    assert_eq!(after.ttl, before.ttl.map(|was| ttl.unwrap_or(was)));
    let mut rest = after.clone();
    (rest.redelivered, rest.ttl) = (before.redelivered, before.ttl);
    assert_eq!(rest, before);
}
