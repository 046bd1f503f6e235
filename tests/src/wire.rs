//! AMQP 0-10 frames by hand, so that a test can send what no well-behaved client would.
//!
//! Written from the specification and not from `fletch-amqp`: a mistake in the codec must not
//! hide itself. Blocking, over one `TcpStream`; reads end at the stream's timeout.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::{Context, Result, bail, ensure};

/// The protocol header of AMQP 0-10.
pub const HEADER: [u8; 8] = *b"AMQP\x01\x01\x00\x0a";

/// Flags of a frame that is a whole assembly: first and last segment, first and last frame.
pub const WHOLE: u8 = 0x0f;

/// Segment types.
pub mod segment {
    /// A control.
    pub const CONTROL: u8 = 0;
    /// A command.
    pub const COMMAND: u8 = 1;
    /// Header segment: the message's properties.
    pub const HEADER: u8 = 2;
    /// Body segment.
    pub const BODY: u8 = 3;
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// B, E, b, e.
    pub flags: u8,
    /// Segment type.
    pub segment: u8,
    /// 0 for controls, 1 for commands.
    pub track: u8,
    /// Channel.
    pub channel: u16,
    /// What follows the 12 octets of the frame header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A control, whole in one frame.
    pub fn control(channel: u16, class: u8, code: u8, arguments: &[u8]) -> Frame {
        let payload = [&[class, code][..], arguments].concat();
        Frame { flags: WHOLE, segment: segment::CONTROL, track: 0, channel, payload }
    }

    /// A command without content, whole in one frame; `sync` sets the bit of its session header.
    pub fn command(channel: u16, class: u8, code: u8, sync: bool, arguments: &[u8]) -> Frame {
        let payload = [&[class, code, 1, u8::from(sync)][..], arguments].concat();
        Frame { flags: WHOLE, segment: segment::COMMAND, track: 1, channel, payload }
    }

    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let size = u16::try_from(self.payload.len() + 12).expect("a test's frame fits its size");
        let mut bytes = vec![self.flags, self.segment];
        bytes.extend(size.to_be_bytes());
        bytes.extend([0, self.track]);
        bytes.extend(self.channel.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.payload);
        bytes
    }

    /// Class and code, when it is a control or command.
    pub fn code(&self) -> Option<(u8, u8)> {
        match self.payload[..] {
            [class, code, ..] if self.segment <= segment::COMMAND => Some((class, code)),
            _ => None,
        }
    }
}

/// How the broker ended a connection or session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// connection.close with this code and text.
    Close(u16, String),
    /// session.detached with this code.
    Detached(u8),
    /// execution.exception with this error code.
    Exception(u16),
    /// The socket was closed without a word.
    Silent,
}

/// A connection of which the test writes every byte.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    /// The largest frame the broker offered in connection.tune.
    pub max_frame: u16,
}

impl Wire {
    /// Wraps a connection nothing was sent on.
    pub fn new(stream: TcpStream) -> Wire {
        Wire { stream, max_frame: u16::MAX }
    }

    /// Opens the connection with ANONYMOUS, agreeing to a largest frame of `max_frame`.
    pub fn open(stream: TcpStream, max_frame: u16) -> Result<Wire> {
        let mut wire = Wire::new(stream);
        wire.start()?;
        let tune = wire.expect(0x01, 0x05)?;
        // flags (2), channel-max (2), max-frame-size (2)
        let offered = tune.payload.get(6..8).context("connection.tune is short")?;
        wire.max_frame = u16::from_be_bytes([offered[0], offered[1]]).min(max_frame);
        let [high, low] = wire.max_frame.to_be_bytes();
        // tune-ok: channel-max 255, max-frame-size, no heartbeat
        wire.send(&Frame::control(0, 1, 6, &[0x03, 0, 0, 255, high, low]))?;
        wire.send(&Frame::control(0, 1, 7, &[0x01, 0, 0]))?;
        wire.expect(0x01, 0x08)?;
        Ok(wire)
    }

    /// Header and start-ok; connection.tune is the next frame to read.
    pub fn start(&mut self) -> Result<()> {
        self.write(&HEADER)?;
        ensure!(self.read_header()? == HEADER, "the broker answered with another protocol");
        self.expect(0x01, 0x01)?;
        let mut arguments = vec![0x0a, 0];
        for text in ["ANONYMOUS", "en_US"] {
            arguments.push(u8::try_from(text.len())?);
            arguments.extend(text.as_bytes());
        }
        self.send(&Frame::control(0, 1, 2, &arguments))
    }

    /// Attaches a session to the channel and starts its command numbers at 0.
    pub fn attach(&mut self, channel: u16, name: &str) -> Result<()> {
        let mut arguments = vec![0x01, 0];
        arguments.extend(u16::try_from(name.len())?.to_be_bytes());
        arguments.extend(name.as_bytes());
        self.send(&Frame::control(channel, 2, 1, &arguments))?;
        self.expect(0x02, 0x02)?;
        self.send(&Frame::control(channel, 2, 7, &[0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
    }

    /// execution.sync and the wait for session.completed that answers it: the session is alive.
    pub fn sync(&mut self, channel: u16) -> Result<()> {
        self.send(&Frame::command(channel, 3, 1, true, &[0, 0]))?;
        self.expect(0x02, 0x0a).map(drop)
    }

    /// Writes a frame.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        self.write(&frame.encode())
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("writing to the broker")
    }

    /// Closes the sending half only.
    pub fn half_close(&self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("half-closing")
    }

    /// The stream itself.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads a protocol header.
    pub fn read_header(&mut self) -> Result<[u8; 8]> {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).context("reading a protocol header")?;
        Ok(header)
    }

    /// Reads the next frame; `None` when the broker closed the socket.
    pub fn read(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 12];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if is_close(error.kind()) => return Ok(None),
            Err(error) => return Err(error).context("waiting for a frame"),
        }
        let size = usize::from(u16::from_be_bytes([head[2], head[3]]));
        ensure!(size >= 12, "the broker sent a frame of size {size}");
        let mut payload = vec![0; size - 12];
        self.stream.read_exact(&mut payload).context("reading a frame's payload")?;
        let channel = u16::from_be_bytes([head[6], head[7]]);
        Ok(Some(Frame {
            flags: head[0],
            segment: head[1],
            track: head[5] & 0x0f,
            channel,
            payload,
        }))
    }

    /// Reads until this control or command comes. An end before it is an error.
    pub fn expect(&mut self, class: u8, code: u8) -> Result<Frame> {
        loop {
            let Some(frame) = self.read()? else {
                bail!("the broker closed the socket before {class:#x}.{code:#x}");
            };
            if frame.code() == Some((class, code)) {
                return Ok(frame);
            }
            if let Some(end) = end_of(&frame)? {
                bail!("{end:?} came before {class:#x}.{code:#x}");
            }
        }
    }

    /// Reads until the broker ends the connection or a session.
    pub fn read_end(&mut self) -> Result<End> {
        loop {
            let Some(frame) = self.read()? else { return Ok(End::Silent) };
            if let Some(end) = end_of(&frame)? {
                return Ok(end);
            }
        }
    }

    /// Reads until the socket is closed by the broker, whatever comes before.
    pub fn read_to_close(&mut self) -> Result<()> {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_close(error.kind()) => return Ok(()),
                Err(error) => return Err(error).context("waiting for the broker to close"),
            }
        }
    }
}

fn is_close(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}

fn end_of(frame: &Frame) -> Result<Option<End>> {
    let bytes = &frame.payload;
    let end = match frame.code() {
        Some((0x01, 0x0b)) => {
            let code = bytes.get(4..6).context("connection.close has no code")?;
            let text = match bytes.get(6) {
                Some(&size) => bytes.get(7..7 + usize::from(size)).context("short text")?,
                None => &[],
            };
            let text = String::from_utf8_lossy(text).into_owned();
            End::Close(u16::from_be_bytes([code[0], code[1]]), text)
        }
        Some((0x02, 0x04)) => {
            // flags (2), then the name, which some brokers leave out, then the code
            let named = bytes.get(2).is_some_and(|flags| flags & 1 != 0);
            let name = match bytes.get(4..6) {
                Some(size) if named => 2 + usize::from(u16::from_be_bytes([size[0], size[1]])),
                _ => 0,
            };
            End::Detached(*bytes.get(4 + name).context("session.detached has no code")?)
        }
        Some((0x03, 0x03)) => {
            // session header (2), flags (2), error-code
            let code = bytes.get(6..8).context("execution.exception has no code")?;
            End::Exception(u16::from_be_bytes([code[0], code[1]]))
        }
        _ => return Ok(None),
    };
    Ok(Some(end))
}
