//! A WebSocket client by hand (RFC 6455), so that a test can send what no well-behaved client would; and a bridge
//! by which clients that know nothing of WebSocket come over it.
//!
//! Written from the RFC and not with `fletch-web`: a mistake there must not hide itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::random::Random;

/// First octets of frames that are whole messages.
pub mod first {
    /// Text.
    pub const TEXT: u8 = 0x81;
    /// Binary.
    pub const BINARY: u8 = 0x82;
    /// Close.
    pub const CLOSE: u8 = 0x88;
    /// Ping.
    pub const PING: u8 = 0x89;
    /// Pong.
    pub const PONG: u8 = 0x8a;
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The first octet.
    pub first: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A connection to the HTTP listener of which the test writes every octet.
#[derive(Debug)]
pub struct Web {
    stream: TcpStream,
    input: Vec<u8>,
}

/// The lines of a handshake, with others in place of those that begin alike; an empty one drops them.
pub fn handshake(changes: &[(&str, &str)]) -> String {
    let lines = [
        "GET /amqp HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: amqp",
        "Sec-WebSocket-Version: 13",
    ];
    let mut text = String::new();
    for line in lines {
        let change = changes.iter().find(|(start, _)| line.starts_with(start));
        let line = change.map_or(line, |(_, line)| line);
        if !line.is_empty() {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    text + "\r\n"
}

impl Web {
    /// A connection on which nothing was sent.
    pub fn connect(address: SocketAddr) -> Result<Web> {
        let stream = TcpStream::connect(address).context("connecting to the HTTP listener")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Web { stream, input: Vec::new() })
    }

    /// A connection that is a WebSocket.
    pub fn open(address: SocketAddr) -> Result<Web> {
        let mut web = Web::connect(address)?;
        web.write(handshake(&[]).as_bytes())?;
        let head = web.head()?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // The answer to the key of the RFC's example, section 1.3.
        ensure!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        ensure!(head.contains("Sec-WebSocket-Protocol: amqp\r\n"), "{head}");
        Ok(web)
    }

    /// Octets as they are.
    pub fn write(&mut self, octets: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(octets)?)
    }

    /// A frame with this first octet, masked.
    pub fn send(&mut self, first: u8, payload: &[u8]) -> Result<()> {
        self.write(&frame(first, payload, [0x5a, 1, 0x99, 0xff]))
    }

    /// Another hand that writes on the same connection, without a limit of time.
    pub fn writer(&self) -> Result<Web> {
        let stream = self.stream.try_clone()?;
        stream.set_write_timeout(None)?;
        Ok(Web { stream, input: Vec::new() })
    }

    /// Nothing more is sent.
    pub fn finish(&self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Reads once; false at the end.
    fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The head of a response.
    pub fn head(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(String::from_utf8(self.input.drain(..end + 4).collect())?);
            }
            ensure!(self.read()?, "closed within {:?}", String::from_utf8_lossy(&self.input));
        }
    }

    /// All that comes before the end.
    pub fn rest(&mut self) -> Result<String> {
        while self.read()? {}
        Ok(String::from_utf8(std::mem::take(&mut self.input))?)
    }

    /// The next frame; none at the end of the connection.
    pub fn read_frame(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some((frame, len)) = parse(&self.input)? {
                self.input.drain(..len);
                return Ok(Some(frame));
            }
            if !self.read()? {
                ensure!(self.input.is_empty(), "closed within a frame: {:?}", self.input);
                return Ok(None);
            }
        }
    }

    /// The next frame is this one.
    pub fn expect(&mut self, first: u8, payload: &[u8]) -> Result<()> {
        let frame = self.read_frame()?;
        let expected = Frame { first, payload: payload.to_vec() };
        ensure!(frame.as_ref() == Some(&expected), "{frame:?} is not {expected:?}");
        Ok(())
    }

    /// The octets that come in messages, so many of them at least.
    pub fn content(&mut self, at_least: usize) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        while content.len() < at_least {
            match self.read_frame()? {
                Some(Frame { first: first::BINARY, payload }) => content.extend(payload),
                other => bail!("{other:?} behind {} octets", content.len()),
            }
        }
        Ok(content)
    }

    /// Passes over messages to a close frame, and insists that the end is behind it: code and reason.
    pub fn closed(&mut self) -> Result<(u16, String)> {
        loop {
            match self.read_frame()? {
                Some(Frame { first: first::BINARY, .. }) => {}
                Some(Frame { first: first::CLOSE, payload }) => {
                    let (code, reason) = payload.split_at_checked(2).context("no code")?;
                    let reason = String::from_utf8(reason.to_vec())?;
                    let more = self.read_frame()?;
                    ensure!(more.is_none(), "{more:?} behind the close");
                    return Ok((u16::from_be_bytes([code[0], code[1]]), reason));
                }
                other => bail!("{other:?} rather than a close"),
            }
        }
    }
}

/// A frame as clients send it.
pub fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len @ 126..65536 => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(octet, key)| octet ^ key));
    out
}

/// A frame as servers send it, and its length; none if it is not all there.
fn parse(input: &[u8]) -> Result<Option<(Frame, usize)>> {
    let [first, second, ..] = *input else { return Ok(None) };
    ensure!(second & 0x80 == 0, "a server masks nothing");
    let (len, head): (_, usize) = match second {
        126 => (input.get(2..4).map(|l| u64::from(u16::from_be_bytes([l[0], l[1]]))), 4),
        127 => (input.get(2..10).map(|l| u64::from_be_bytes(l.try_into().expect("eight"))), 10),
        len => (Some(len.into()), 2),
    };
    let Some(end) = len.and_then(|len| head.checked_add(usize::try_from(len).ok()?)) else {
        return Ok(None);
    };
    let payload = input.get(head..end).map(<[u8]>::to_vec);
    Ok(payload.map(|payload| (Frame { first, payload }, end)))
}

/// Listens for clients that speak AMQP alone, and carries each over a WebSocket to `address`: in messages of any
/// size, in any number of frames, with pings in between, as the seed has it. Ends with the test.
pub fn bridge(address: SocketAddr, seed: u64) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let local = listener.local_addr()?;
    thread::spawn(move || {
        for (number, client) in (0..).zip(listener.incoming()) {
            let Ok(client) = client else { break };
            if let Err(error) = carry(client, address, Random::new(seed + number)) {
                eprintln!("bridge: {error:#}");
            }
        }
    });
    Ok(local)
}

fn carry(mut client: TcpStream, address: SocketAddr, mut random: Random) -> Result<()> {
    let mut web = Web::open(address)?;
    let mut to_broker = web.stream.try_clone()?;
    let mut from_client = client.try_clone()?;
    client.set_nodelay(true)?;
    web.stream.set_read_timeout(None)?;
    thread::spawn(move || -> Result<()> {
        let mut buffer = [0; 65536];
        let mut within = false;
        loop {
            let count = from_client.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let (mut out, mut rest) = (Vec::new(), &buffer[..count]);
            while !rest.is_empty() {
                let most = *random.pick(&[3, 100, 200, 70_000]);
                let (some, more) = rest.split_at(rest.len().min(random.within(1..most)));
                rest = more;
                // The next frame may be of the same message, also if it comes much later.
                let end = random.one_in(2);
                let first = (if within { 0 } else { 2 }) | (if end { 0x80 } else { 0 });
                within = !end;
                out.extend(frame(first, some, (random.next() as u32).to_be_bytes()));
                if random.one_in(8) {
                    out.extend(frame(first::PING, b"there?", (random.next() as u32).to_be_bytes()));
                }
            }
            to_broker.write_all(&out)?;
        }
        to_broker.write_all(&frame(first::CLOSE, &1000_u16.to_be_bytes(), [1, 2, 3, 4]))?;
        Ok(())
    });
    thread::spawn(move || -> Result<()> {
        loop {
            match web.read_frame()? {
                Some(Frame { first: first::BINARY, payload }) => client.write_all(&payload)?,
                Some(Frame { first: first::PONG, payload }) if payload == b"there?" => {}
                Some(Frame { first: first::CLOSE, .. }) | None => break,
                Some(other) => bail!("{other:?} from the broker"),
            }
        }
        // Its client learns of it as of any end of a connection.
        Ok(client.shutdown(Shutdown::Write)?)
    });
    Ok(())
}
