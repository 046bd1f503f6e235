use proptest::prelude::*;

use super::*;

/// The request of RFC 6455 section 1.3, for AMQP.
const HANDSHAKE: [&str; 7] = [
    "GET /chat HTTP/1.1",
    "Host: 127.0.0.1:8080",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol: amqp",
    "Sec-WebSocket-Version: 13",
];

/// The status line, all of the response, and what was refused.
fn response(request: &str) -> (String, String, Option<Refusal>) {
    let mut out = Vec::new();
    let answer = answer(request.as_bytes(), &Origins::default(), &mut out).expect("all is there");
    let out = String::from_utf8(out).unwrap();
    (out.lines().next().unwrap()[9..12].to_owned(), out, answer.refusal)
}

fn request(lines: &[&str]) -> String {
    lines.join("\r\n") + "\r\n\r\n"
}

/// The handshake with one line in place of that which begins alike.
fn changed(start: &str, line: &str) -> String {
    let change = |old: &&'static str| if old.starts_with(start) { line } else { old };
    let lines: Vec<&str> = HANDSHAKE.iter().map(change).filter(|line| !line.is_empty()).collect();
    request(&lines)
}

#[test]
fn a_handshake_is_accepted_with_the_proof() {
    let (status, text, refusal) = response(&request(&HANDSHAKE));
    assert_eq!((status.as_str(), refusal), ("101", None));
    assert!(text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
    assert!(text.contains("Sec-WebSocket-Protocol: amqp\r\n") && text.ends_with("\r\n\r\n"));
    for (start, line) in [
        ("Upgrade", "upgrade: h2c, WebSocket"),
        ("Connection", "connection: keep-alive,UPGRADE"),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqtt, amqp"),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: amqp"),
        ("Host", "Host: 127.0.0.1:8080\r\nContent-Length: 0"),
        ("GET", "GET /any/path?at=all HTTP/1.1"),
        ("Host", "Host: 127.0.0.1:8080\r\nOrigin: http://127.0.0.1:8080"),
    ] {
        assert_eq!(response(&changed(start, line)).0, "101", "{line}");
    }
}

#[test]
fn what_follows_a_handshake_is_left() {
    let head = request(&HANDSHAKE);
    let mut out = Vec::new();
    let with_frames = [head.as_bytes(), &[0x82, 0x80]].concat();
    let answer = answer(&with_frames, &Origins::default(), &mut out).unwrap();
    assert_eq!(answer, Answer { len: head.len(), refusal: None });
}

#[test]
fn what_is_no_handshake_is_refused_with_its_status() {
    for (start, line, expected) in [
        ("GET", "POST / HTTP/1.1", "405"),
        ("GET", "GET / HTTP/2.0", "505"),
        ("GET", "GET / HTTP/1.0", "426"),
        ("GET", "GET /", "400"),
        ("GET", "AMQP\0\u{1}\0\0", "400"),
        ("Host", "", "400"),
        ("Host", "Host: a\r\nHost: b", "400"),
        ("Upgrade", "", "404"),
        ("Upgrade", "Upgrade: h2c", "404"),
        ("Connection", "Connection: close", "400"),
        ("Sec-WebSocket-Key", "", "400"),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=", "400"),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEh", "400"),
        ("Sec-WebSocket-Key", "Sec-WebSocket-Key: ************************", "400"),
        ("Sec-WebSocket-Protocol", "", "400"),
        ("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol: AMQP, xamqp", "400"),
        ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8", "426"),
        ("Sec-WebSocket-Version", "", "426"),
        ("Host", "Host: 127.0.0.1:8080\r\nOrigin: https://evil.example", "403"),
        (
            "Host",
            "Host: 127.0.0.1:8080\r\nOrigin: http://127.0.0.1:8080\r\nOrigin: http://127.0.0.1:8080",
            "403",
        ),
        ("Host", "Host : 127.0.0.1", "400"),
        ("Host", "Host: 127.0.0.1\r\nContent-Length: 7", "400"),
        ("Host", "Host: 127.0.0.1\r\nTransfer-Encoding: chunked", "400"),
    ] {
        let (status, text, refusal) = response(&changed(start, line));
        assert_eq!(status, expected, "{line}: {text}");
        let reason = refusal.expect("a refusal").to_string();
        assert!(text.ends_with(&format!("\r\n\r\n{reason}\n")), "{text}");
        assert!(text.contains(&format!("Content-Length: {}\r\n", reason.len() + 1)), "{text}");
    }
    let (_, text, _) = response(&changed("GET", "DELETE / HTTP/1.1"));
    assert!(text.contains("\r\nAllow: GET, HEAD\r\n"), "{text}");
    let (_, text, _) = response("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 426 ") && text.contains("\r\nUpgrade: websocket\r\n"));
}

#[test]
fn head_has_no_body() {
    let (status, text, _) = response("HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, "404");
    assert!(text.contains("Content-Length: ") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn heads_have_limits() {
    let padding = format!("X-Padding: {}", "x".repeat(HEAD_MAX));
    assert_eq!(response(&changed("Host", &padding)).2, Some(Refusal::HeadTooLong));
    let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
    assert_eq!(response(&changed("Host", many.trim())).2, Some(Refusal::TooManyHeaders));
    // Not one octet before: what is not all there has no answer yet.
    let mut out = Vec::new();
    let almost = &changed("Host", &padding)[..HEAD_MAX - 1];
    assert_eq!(answer(almost.as_bytes(), &Origins::default(), &mut out), None);
    assert!(out.is_empty());
}

proptest! {
    /// Whatever comes there is one response or none, which does not grow with what came.
    #[test]
    fn any_octets_are_answered_once(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut out = Vec::new();
        match answer(&octets, &Origins::default(), &mut out) {
            None => prop_assert!(out.is_empty()),
            Some(answer) => {
                prop_assert!(answer.refusal.is_some() && answer.len <= octets.len());
                prop_assert!(out.starts_with(b"HTTP/1.1 ") && out.len() < 1000);
            }
        }
    }

    /// A handshake is answered when its last octet has come, not before.
    #[test]
    fn a_handshake_in_pieces_waits_for_its_end(cut in 0_usize..100) {
        let head = request(&HANDSHAKE);
        let mut out = Vec::new();
        let cut = head.len() * cut / 100;
        prop_assert_eq!(answer(&head.as_bytes()[..cut], &Origins::default(), &mut out), None);
        prop_assert!(out.is_empty());
    }
}
