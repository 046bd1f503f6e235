//! The head of a request, and its answer: an upgrade to a WebSocket that carries AMQP (RFC 6455 section 4.2;
//! "AMQP WebSocket Binding 1.0", section 2.1), or why not (RFC 9110). A connection is for one request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use httparse::{EMPTY_HEADER, Header, Request, Status};
use std::fmt::Write;

use crate::Origins;

/// The longest head of a request: its first line and headers.
pub const HEAD_MAX: usize = 8 * 1024;

/// The most headers of a request.
pub const HEADERS_MAX: usize = 64;

/// The one subprotocol (binding, section 2.1).
const SUBPROTOCOL: &str = "amqp";

/// What a key is joined with (RFC 6455 section 1.3).
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a connection becomes no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no request.
    #[error("this port speaks HTTP/1.1 and AMQP over WebSocket, and this is neither ({0})")]
    Malformed(httparse::Error),
    /// RFC 9112 section 3.2.
    #[error("a request has one Host header")]
    Host,
    /// More than [`HEAD_MAX`].
    #[error("the head of a request has at most {HEAD_MAX} octets")]
    HeadTooLong,
    /// More than [`HEADERS_MAX`].
    #[error("a request has at most {HEADERS_MAX} headers")]
    TooManyHeaders,
    /// A version other than 1.0 and 1.1.
    #[error("HTTP/1.1 is spoken here")]
    Version,
    /// What is asked for is only read.
    #[error("only GET and HEAD are answered here")]
    Method,
    /// There is nothing.
    #[error("there is nothing here; AMQP over WebSocket (subprotocol amqp) is at every path")]
    NotFound,
    /// The path of AMQP, without an upgrade.
    #[error(
        "this is AMQP over WebSocket (subprotocol amqp): connect with a WebSocket client; a proxy in \
         between has to pass Upgrade and Connection on"
    )]
    NoUpgrade,
    /// RFC 6455 section 4.2.1: `Connection` names `Upgrade`.
    #[error("Upgrade: websocket wants Connection: Upgrade beside it")]
    Connection,
    /// What stood in it would be read as frames.
    #[error("a WebSocket handshake has no body")]
    Body,
    /// RFC 6455 section 4.4.
    #[error("version 13 of WebSocket is spoken here: Sec-WebSocket-Version: 13")]
    WebSocketVersion,
    /// RFC 6455 section 4.2.1: 16 octets in base64.
    #[error("Sec-WebSocket-Key is not 16 octets in base64")]
    Key,
    /// The client does not offer AMQP.
    #[error("the WebSocket subprotocol amqp is not offered: Sec-WebSocket-Protocol: amqp")]
    Subprotocol,
    /// The page is not one that may connect.
    #[error("pages of the origin {0} may not connect; --http-origin lists those that may")]
    Origin(String),
    /// No whole head came in time.
    #[error("no request came within --max-negotiate-time")]
    Timeout,
    /// The broker stops.
    #[error("the broker is shutting down")]
    Stopping,
}

impl Refusal {
    fn status(&self) -> &'static str {
        match self {
            Refusal::Malformed(_)
            | Refusal::Host
            | Refusal::Connection
            | Refusal::Body
            | Refusal::Key
            | Refusal::Subprotocol => "400 Bad Request",
            Refusal::Origin(_) => "403 Forbidden",
            Refusal::NotFound => "404 Not Found",
            Refusal::Method => "405 Method Not Allowed",
            Refusal::Timeout => "408 Request Timeout",
            Refusal::NoUpgrade | Refusal::WebSocketVersion => "426 Upgrade Required",
            Refusal::HeadTooLong | Refusal::TooManyHeaders => "431 Request Header Fields Too Large",
            Refusal::Stopping => "503 Service Unavailable",
            Refusal::Version => "505 HTTP Version Not Supported",
        }
    }

    /// Headers that the status asks for.
    fn headers(&self) -> &'static str {
        match self {
            Refusal::Method => "Allow: GET, HEAD\r\nConnection: close\r\n",
            Refusal::NoUpgrade | Refusal::WebSocketVersion => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n"
            }
            _ => "Connection: close\r\n",
        }
    }

    /// Appends the response; without the body for HEAD. The connection ends behind it.
    pub fn put(&self, body: bool, out: &mut Vec<u8>) {
        let text = self.to_string();
        let mut head = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            head,
            "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Length: {}\r\n{}\r\n",
            self.status(),
            text.len() + 1,
            self.headers(),
        );
        out.extend_from_slice(head.as_bytes());
        if body {
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
    }
}

/// What comes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The octets of the request's head; behind them are frames, if there is no refusal.
    pub len: usize,
    /// None if the connection is a WebSocket now.
    pub refusal: Option<Refusal>,
}

/// Answers the request that `input` begins with, into `out`; none if it is not all there.
///
/// A head that comes octet by octet is read anew each time. That is bounded by [`HEAD_MAX`], and takes less
/// time than receiving so many packets.
pub fn answer(input: &[u8], origins: &Origins, out: &mut Vec<u8>) -> Option<Answer> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let head = &input[..input.len().min(HEAD_MAX)];
    let (len, refusal) = match request.parse(head) {
        Ok(Status::Complete(len)) => (len, accept_or_refuse(&request, origins, out).err()),
        Ok(Status::Partial) if head.len() < HEAD_MAX => return None,
        Ok(Status::Partial) => (input.len(), Some(Refusal::HeadTooLong)),
        Err(httparse::Error::TooManyHeaders) => (input.len(), Some(Refusal::TooManyHeaders)),
        Err(httparse::Error::Version) => (input.len(), Some(Refusal::Version)),
        Err(error) => (input.len(), Some(Refusal::Malformed(error))),
    };
    if let Some(refusal) = &refusal {
        refusal.put(request.method != Some("HEAD"), out);
    }
    Some(Answer { len, refusal })
}

fn accept_or_refuse(
    request: &Request<'_, '_>,
    origins: &Origins,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let newest = request.version == Some(1);
    let host = match values(request, "host").collect::<Vec<_>>()[..] {
        [host] => host,
        [] if !newest => "",
        _ => return Err(Refusal::Host),
    };
    let upgrade = match request.method {
        // In HTTP/1.0 the header has no meaning (RFC 9110 section 7.8).
        Some("GET") => newest && lists(request, "upgrade", |token| is(token, "websocket")),
        Some("HEAD") => false,
        _ => return Err(Refusal::Method),
    };
    if !upgrade {
        let path = request.path.unwrap_or_default();
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        return Err(if matches!(path, "/" | "/amqp") {
            Refusal::NoUpgrade
        } else {
            Refusal::NotFound
        });
    }
    if !lists(request, "connection", |token| is(token, "upgrade")) {
        return Err(Refusal::Connection);
    }
    let length = values(request, "content-length").any(|length| length != "0");
    if length || values(request, "transfer-encoding").next().is_some() {
        return Err(Refusal::Body);
    }
    if one(request, "sec-websocket-version") != Some("13") {
        return Err(Refusal::WebSocketVersion);
    }
    let accepted = one(request, "sec-websocket-key").and_then(accept_of).ok_or(Refusal::Key)?;
    // A page has one origin; more than one is none that is known.
    for origin in values(request, "origin") {
        if !origins.allows(origin, host) || one(request, "origin").is_none() {
            return Err(Refusal::Origin(origin.to_owned()));
        }
    }
    if !lists(request, "sec-websocket-protocol", |token| token == SUBPROTOCOL) {
        return Err(Refusal::Subprotocol);
    }
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Protocol: amqp\r\nSec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accepted);
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

/// What proves that a key was read (RFC 6455 section 4.2.2); none if it is no key.
fn accept_of(key: &str) -> Option<[u8; 28]> {
    let mut octets = [0; 24];
    if key.len() != 24 || BASE64.decode_slice(key, &mut octets).ok()? != 16 {
        return None;
    }
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(KEY_SUFFIX);
    let mut accepted = [0; 28];
    BASE64.encode_slice(hash.digest().bytes(), &mut accepted).ok()?;
    Some(accepted)
}

/// The values of all headers of that name. One that is no text is another's than those looked at here: it
/// counts as empty.
fn values<'a>(request: &'a Request<'_, '_>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let headers: &'a [Header<'_>] = request.headers;
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| std::str::from_utf8(header.value).unwrap_or_default().trim())
}

/// The value of a header that must not come twice.
fn one<'a>(request: &'a Request<'_, '_>, name: &'a str) -> Option<&'a str> {
    let mut values = values(request, name);
    let one = values.next();
    one.filter(|_| values.next().is_none())
}

/// Whether a header that is a list, or several of its name, has such an element.
fn lists(request: &Request<'_, '_>, name: &str, wanted: impl Fn(&str) -> bool) -> bool {
    values(request, name).flat_map(|value| value.split(',')).any(|token| wanted(token.trim()))
}

/// Whether a token is this one, in any case.
fn is(token: &str, name: &str) -> bool {
    token.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests;
