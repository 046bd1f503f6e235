use proptest::prelude::*;

use super::*;

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=65535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key));
    out
}

/// What is read of these octets in pieces, and what came beside.
fn read(pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<String>), FrameError> {
    let (mut reader, mut plain, mut items) = (Reader::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut input = *piece;
        while let Some(item) = reader.next(&mut input, &mut plain)? {
            items.push(format!("{item:?}"));
        }
        assert!(input.is_empty());
    }
    Ok((plain, items))
}

fn error(octets: &[u8]) -> FrameError {
    let each: Vec<&[u8]> = octets.chunks(1).collect();
    let (whole, cut) = (read(&[octets]).unwrap_err(), read(&each).unwrap_err());
    assert_eq!(whole, cut);
    whole
}

const KEY: [u8; 4] = [1, 0x82, 3, 0xf4];

#[test]
fn rules_that_are_broken_have_their_codes() {
    let long = |len: u64| [&[0x82, 0x80 | 127][..], &len.to_be_bytes(), &KEY].concat();
    let cases: [(&[u8], FrameError, u16); 15] = [
        (&[0x82, 0x05], FrameError::Unmasked, 1002),
        (&[0xc2, 0x80], FrameError::ReservedBits, 1002),
        (&[0x92, 0x80], FrameError::ReservedBits, 1002),
        (&[0x83, 0x80], FrameError::Opcode(3), 1002),
        (&[0x8b, 0x80], FrameError::Opcode(11), 1002),
        (&[0x82, 0xfe, 0, 125, 0, 0, 0, 0], FrameError::LengthForm, 1002),
        (&long(65535), FrameError::LengthForm, 1002),
        (&long(FRAME_MAX + 1), FrameError::TooLong(FRAME_MAX + 1), 1009),
        (&long(u64::MAX), FrameError::TooLong(u64::MAX), 1009),
        (&[0x09, 0x80], FrameError::FragmentedControl, 1002),
        (&[0x89, 0xfe], FrameError::LongControl, 1002),
        (&[0x80, 0x80], FrameError::NotBegun, 1002),
        (&frame(0x81, b"hello", KEY), FrameError::Text, 1003),
        (&frame(0x88, &[3], KEY), FrameError::CloseLength, 1002),
        (&frame(0x88, &[3, 0xe8, 0xff], KEY), FrameError::CloseReason, 1007),
    ];
    for (octets, expected, code) in cases {
        assert_eq!(error(octets), expected, "{octets:?}");
        assert_eq!(expected.code().0, code, "{expected}");
    }
    let twice = [frame(0x02, b"a", KEY), frame(0x82, b"b", KEY)].concat();
    assert_eq!(error(&twice), FrameError::NotEnded);
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(error(&frame(0x88, &code.to_be_bytes(), KEY)), FrameError::CloseCode(code));
    }
}

#[test]
fn a_longest_frame_is_begun_and_costs_nothing() {
    let mut reader = Reader::default();
    let header = [&[0x82, 0x80 | 127][..], &FRAME_MAX.to_be_bytes(), &[0; 4]].concat();
    let mut plain = Vec::new();
    assert_eq!(reader.next(&mut &header[..], &mut plain), Ok(None));
    assert_eq!(plain.capacity(), 0);
    assert_eq!(reader.next(&mut &[5; 1000][..], &mut plain), Ok(None));
    assert_eq!(plain, [5; 1000]);
}

#[test]
fn control_frames_come_within_a_message() {
    let octets = [
        frame(0x02, b"one ", KEY),
        frame(0x89, b"are you there", KEY),
        frame(0x00, b"two ", KEY),
        frame(0x8a, b"", KEY),
        frame(0x80, b"three", KEY),
        frame(0x88, &[&1000_u16.to_be_bytes()[..], b"done"].concat(), KEY),
        frame(0x81, b"what follows does not count", KEY),
    ]
    .concat();
    let each: Vec<&[u8]> = octets.chunks(1).collect();
    for pieces in [&[&octets[..]][..], &each] {
        let (plain, items) = read(pieces).unwrap();
        assert_eq!(plain, b"one two three");
        let ping = format!("{:?}", Item::Ping(b"are you there"));
        let closing = Closing { code: Some(CloseCode::NORMAL), reason: "done" };
        assert_eq!(items, [ping, format!("{:?}", Item::Close(closing))]);
    }
}

#[test]
fn a_close_may_be_empty() {
    let (_, items) = read(&[&frame(0x88, b"", KEY)]).unwrap();
    assert_eq!(items, [format!("{:?}", Item::Close(Closing { code: None, reason: "" }))]);
}

proptest! {
    /// However a stream is put into messages, frames and reads, the stream comes out.
    #[test]
    fn a_stream_is_a_stream(
        frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<[u8; 4]>(), any::<bool>(), any::<bool>()), 1..20),
        cuts in prop::collection::vec(1_usize..200, 1..40),
    ) {
        let (mut octets, mut expected, mut pings) = (Vec::new(), Vec::new(), 0);
        let mut within = false;
        for (payload, key, fin, ping) in &frames {
            let opcode = if within { opcode::CONTINUATION } else { opcode::BINARY };
            octets.extend(frame(opcode | if *fin { FIN } else { 0 }, payload, *key));
            expected.extend_from_slice(payload);
            within = !fin;
            if *ping {
                octets.extend(frame(FIN | opcode::PING, &payload[..payload.len().min(CONTROL_MAX)], *key));
                pings += 1;
            }
        }
        let mut pieces = Vec::new();
        let mut rest = &octets[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        let (plain, items) = read(&pieces).unwrap();
        prop_assert_eq!(plain, expected);
        prop_assert_eq!(items.len(), pings);
    }

    /// Whatever comes, how it is cut changes nothing, and nothing comes out that did not come in.
    #[test]
    fn any_octets_read_alike_in_pieces(octets in prop::collection::vec(any::<u8>(), 0..400)) {
        let each: Vec<&[u8]> = octets.chunks(1).collect();
        let (whole, cut) = (read(&[&octets[..]]), read(&each));
        if let Ok((plain, _)) = &whole {
            prop_assert!(plain.len() <= octets.len());
        }
        prop_assert_eq!(whole, cut);
    }
}
