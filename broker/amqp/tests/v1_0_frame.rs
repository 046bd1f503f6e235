//! Frames of AMQP 1.0: golden octets, limits, and streams cut anywhere.

use fletch_amqp::v1_0::frame::{
    Frame, FrameError, FrameKind, HEADER_LEN, MIN_MAX_FRAME_SIZE, OpenFrame, PROTOCOL_HEADER,
    SASL_HEADER, write_empty, write_frame, write_sasl, write_transfer,
};
use fletch_amqp::v1_0::table::{Close, Open, SaslInit, Transfer};
use fletch_amqp::v1_0::types::Symbol;
use fletch_amqp::v1_0::{Composite, CompositeError, Performative, SaslFrame, SequenceNo};
use fletch_amqp::{DecodeError, EncodeError, Sniff, sniff};
use proptest::prelude::*;

fn transfer() -> Transfer<'static> {
    Transfer { handle: 1, delivery_id: Some(SequenceNo(2)), ..Transfer::default() }
}

fn stream() -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, 0, &Open { container_id: "c", ..Open::default() }.into(), 512)
        .expect("fits");
    write_empty(&mut out);
    write_transfer(&mut out, 7, &transfer(), b"payload", 512).expect("fits");
    write_frame(&mut out, 0, &Close::default().into(), 512).expect("fits");
    out
}

#[test]
fn golden() {
    let octets = stream();
    let expected: &[u8] = b"\0\0\0\x11\x02\0\0\0\x00\x53\x10\xc0\x04\x01\xa1\x01c\
        \0\0\0\x08\x02\0\0\0\
        \0\0\0\x19\x02\0\0\x07\x00\x53\x14\xc0\x05\x02\x52\x01\x52\x02payload\
        \0\0\0\x0c\x02\0\0\0\x00\x53\x18\x45";
    assert_eq!(octets, expected);

    let mut rest = &octets[..];
    let mut next = || {
        let frame = Frame::parse(rest, 512).expect("valid").expect("whole");
        rest = &rest[frame.len()..];
        frame
    };
    let open = Performative::from(Open { container_id: "c", ..Open::default() });
    assert_eq!(next().performative(), Ok((open, &b""[..])));
    let heartbeat = next();
    assert!(heartbeat.is_empty());
    assert_eq!(heartbeat.len(), HEADER_LEN);
    let frame = next();
    assert_eq!((frame.kind, frame.channel), (FrameKind::Amqp, 7));
    assert_eq!(frame.performative(), Ok((transfer().into(), &b"payload"[..])));
    assert_eq!(next().performative(), Ok((Close::default().into(), &b""[..])));
    assert!(rest.is_empty());
}

#[test]
fn sasl_frames() {
    let mechanism = Symbol::new("ANONYMOUS").expect("ASCII");
    let init = SaslFrame::from(SaslInit { mechanism, ..SaslInit::default() });
    let mut out = Vec::new();
    write_sasl(&mut out, &init).expect("fits");
    assert_eq!(out, b"\0\0\0\x19\x02\x01\0\0\x00\x53\x41\xc0\x0c\x01\xa3\x09ANONYMOUS");
    let frame = Frame::parse(&out, MIN_MAX_FRAME_SIZE).expect("valid").expect("whole");
    assert_eq!(frame.kind, FrameKind::Sasl);
    assert_eq!(frame.sasl(), Ok(init.clone()));
    assert_eq!(frame.performative(), Err(CompositeError::UnknownDescriptor(Some(0x41))));
    // Nothing may follow.
    out.push(0x40);
    out[3] += 1;
    let frame = Frame::parse(&out, MIN_MAX_FRAME_SIZE).expect("valid").expect("whole");
    let trailing = DecodeError::Trailing(1);
    assert_eq!(
        frame.sasl(),
        Err(CompositeError::Outline { composite: "sasl-init", source: trailing })
    );

    let long = [0; MIN_MAX_FRAME_SIZE as usize];
    let init = SaslInit { mechanism, initial_response: Some(&long), hostname: None };
    let before = out.clone();
    assert!(matches!(write_sasl(&mut out, &init.into()), Err(EncodeError::TooLong { .. })));
    assert_eq!(out, before, "nothing is left of a frame that failed");
}

#[test]
fn headers() {
    assert_eq!(sniff(&PROTOCOL_HEADER), Sniff::V1_0 { sasl: false, tls: false });
    assert_eq!(sniff(&SASL_HEADER), Sniff::V1_0 { sasl: true, tls: false });
}

/// The stream cut at every place: what was whole before the cut is read, what was not stays.
#[test]
fn every_cut() {
    let octets = stream();
    let ends = [17, 25, 50, 62];
    for cut in 0..=octets.len() {
        let mut rest = &octets[..cut];
        let mut seen = 0;
        while let Some(frame) = Frame::parse(rest, 512).expect("valid") {
            rest = &rest[frame.len()..];
            seen += 1;
        }
        assert_eq!(seen, ends.iter().filter(|end| **end <= cut).count(), "{cut}");
    }
}

#[test]
fn bad_headers_are_refused_before_their_body() {
    let parse = |header: [u8; 8]| Frame::parse(&header, 512).map(|frame| frame.is_some());
    assert_eq!(parse([0, 0, 0, 7, 2, 0, 0, 0]), Err(FrameError::TooSmall(7)));
    assert_eq!(parse([0, 0, 0, 0, 2, 0, 0, 0]), Err(FrameError::TooSmall(0)));
    assert_eq!(parse([0, 0, 2, 1, 2, 0, 0, 0]), Err(FrameError::TooLarge { size: 513, max: 512 }));
    assert_eq!(
        parse([255, 255, 255, 255, 2, 0, 0, 0]),
        Err(FrameError::TooLarge { size: u32::MAX, max: 512 })
    );
    assert_eq!(parse([0, 0, 0, 8, 0, 0, 0, 0]), Err(FrameError::DataOffset(0)));
    assert_eq!(parse([0, 0, 0, 8, 1, 0, 0, 0]), Err(FrameError::DataOffset(1)));
    assert_eq!(parse([0, 0, 0, 11, 3, 0, 0, 0]), Err(FrameError::DataOffset(3)));
    assert_eq!(parse([0, 0, 0, 8, 2, 2, 0, 0]), Err(FrameError::FrameType(2)));
    // The limit itself is allowed; the frame is waited for.
    assert_eq!(parse([0, 0, 2, 0, 2, 0, 0, 0]), Ok(false));
    assert_eq!(Frame::parse(&[255, 255, 255, 255, 255, 1, 0, 0], u32::MAX), Ok(None));
}

#[test]
fn extended_headers_are_passed_over() {
    let octets = b"\0\0\0\x10\x03\0\x01\x02\xde\xad\xbe\xef\x00\x53\x18\x45rest";
    let frame = Frame::parse(octets, 512).expect("valid").expect("whole");
    assert_eq!((frame.len(), frame.channel, frame.body), (16, 0x102, &b"\x00\x53\x18\x45"[..]));
    // No body behind it is a heartbeat.
    let frame = Frame::parse(b"\0\0\0\x0c\x03\0\0\0\0\0\0\0", 512).expect("valid");
    assert!(frame.expect("whole").is_empty());
}

#[test]
fn only_transfers_have_payload() {
    let octets = b"\0\0\0\x0e\x02\0\0\0\x00\x53\x18\x45\x40\x40";
    let frame = Frame::parse(octets, 512).expect("valid").expect("whole");
    let source = DecodeError::Trailing(2);
    assert_eq!(frame.performative(), Err(CompositeError::Outline { composite: "close", source }));
}

/// Payload from elsewhere counts, and what does not fit leaves nothing behind.
#[test]
fn open_frames() {
    let mut out = b"before".to_vec();
    let frame = OpenFrame::begin(&mut out, FrameKind::Amqp, 1);
    transfer().encode(&mut out).expect("encodes");
    let room = frame.room(&out, 100);
    assert_eq!(room, 100 - HEADER_LEN - 10);
    frame.finish(&mut out, room, 100).expect("fits");
    let mut whole = out[6..].to_vec();
    assert_eq!(Frame::parse(&whole, 100), Ok(None));
    whole.resize(100, b'x');
    let frame = Frame::parse(&whole, 100).expect("valid").expect("whole");
    assert_eq!(frame.performative(), Ok((transfer().into(), &b"x".repeat(room)[..])));

    out.truncate(6);
    let frame = OpenFrame::begin(&mut out, FrameKind::Amqp, 1);
    transfer().encode(&mut out).expect("encodes");
    assert_eq!(
        frame.finish(&mut out, room + 1, 100),
        Err(EncodeError::TooLong { len: 101, max: 100 })
    );
    let result = write_transfer(&mut out, 1, &transfer(), &vec![0; room + 1], 100);
    assert_eq!(result, Err(EncodeError::TooLong { len: 101, max: 100 }));
    assert_eq!(out, b"before");
    let frame = OpenFrame::begin(&mut out, FrameKind::Amqp, 1);
    assert_eq!(frame.room(&out, 0), 0);
    frame.abandon(&mut out);
    assert_eq!(out, b"before");
}

proptest! {
    #[test]
    fn round_trip(channel in any::<u16>(), payload in proptest::collection::vec(any::<u8>(), 0..700)) {
        let mut out = Vec::new();
        let fits = payload.len() + HEADER_LEN + 10 <= 512;
        let result = write_transfer(&mut out, channel, &transfer(), &payload, 512);
        prop_assert_eq!(result.is_ok(), fits);
        if fits {
            let frame = Frame::parse(&out, 512).expect("valid").expect("whole");
            prop_assert_eq!((frame.len(), frame.channel), (out.len(), channel));
            prop_assert_eq!(frame.performative(), Ok((transfer().into(), &payload[..])));
        } else {
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    fn any_octets(octets in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..32, any::<u8>()], 0..64)) {
        if let Ok(Some(frame)) = Frame::parse(&octets, 512) {
            prop_assert!(frame.len() <= octets.len() && frame.len() >= HEADER_LEN + frame.body.len());
            let _ = (frame.performative(), frame.sasl());
        }
    }
}
