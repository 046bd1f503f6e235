//! Checks of `fletch-web`: what comes to the HTTP listener.

use fletch_web::{FrameError, HEAD_MAX, Item, Origins, Reader, answer};

/// A check of one input.
pub type Check = fn(&[u8]);

/// All of them by name.
pub const TARGETS: &[(&str, Check)] = &[("web_request", request), ("web_frames", frames)];

/// The head of a request: there is one answer or none, whose size and place have bounds; what is not all
/// there is answered no other way when more comes.
pub fn request(data: &[u8]) {
    let origins = Origins::default();
    let mut out = Vec::new();
    let answered = answer(data, &origins, &mut out);
    match &answered {
        None => assert!(out.is_empty() && data.len() < HEAD_MAX),
        Some(answer) => {
            assert!(answer.len <= data.len() && out.starts_with(b"HTTP/1.1 "));
            assert!(out.len() < HEAD_MAX + 1000);
            assert_eq!(answer.refusal.is_none(), out.starts_with(b"HTTP/1.1 101 "));
        }
    }
    // A handshake was none before its last octet came.
    if let Some(whole) = answered.filter(|answer| answer.refusal.is_none()) {
        let mut early = Vec::new();
        assert_eq!(answer(&data[..whole.len - 1], &origins, &mut early), None);
        assert!(early.is_empty());
    }
}

/// Frames of a client: how they are cut changes nothing; what comes out came in; control frames are small.
pub fn frames(data: &[u8]) {
    let whole = read(&mut std::iter::once(data));
    assert_eq!(whole, read(&mut data.chunks(1)));
    assert_eq!(whole, read(&mut data.chunks(7)));
}

/// The stream, pings and closes, and how it ended.
type Said = (Vec<u8>, Vec<(bool, Vec<u8>)>, Option<FrameError>);

fn read(pieces: &mut dyn Iterator<Item = &[u8]>) -> Said {
    let (mut reader, mut plain, mut items) = (Reader::default(), Vec::new(), Vec::new());
    let mut taken = 0;
    for piece in pieces {
        let mut input = piece;
        taken += piece.len();
        loop {
            match reader.next(&mut input, &mut plain) {
                Ok(None) => break,
                Ok(Some(Item::Ping(payload))) => items.push((true, payload.to_vec())),
                Ok(Some(Item::Close(close))) => {
                    items.push((false, format!("{close:?}").into_bytes()));
                }
                Err(error) => {
                    assert!((1002..=1009).contains(&error.code().0));
                    return (plain, items, Some(error));
                }
            }
        }
        assert!(input.is_empty() && plain.len() <= taken);
    }
    let closes = items.iter().filter(|(ping, _)| !ping).count();
    assert!(closes <= 1 && items.iter().all(|(ping, said)| !ping || said.len() <= 125));
    (plain, items, None)
}
