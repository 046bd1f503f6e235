//! Two connections back to back under a virtual clock, and frames written by hand.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::time::Duration;

use fletch_amqp::v0_10::frame::{
    FIRST_SEGMENT, LAST_SEGMENT, OpenSegment, PROTOCOL_HEADER, SegmentKind, write_segment,
};
use fletch_amqp::v0_10::{ClientConfig, Command, Connection, Control, Event, ServerConfig, table};
use fletch_amqp::{CommandId, SequenceSet};

pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Feeds `input` to a connection until it wants no more, and writes each event down. What it leaves
/// is returned.
pub fn feed<'a>(
    connection: &mut Connection,
    now: Duration,
    mut input: &'a [u8],
    mut seen: impl FnMut(&mut Connection, Seen),
) -> &'a [u8] {
    // Every call consumes input, or reports something that happens once.
    for _ in 0..input.len() + 64 {
        match connection.next(now, &mut input).map(Seen::from) {
            Some(event) => seen(connection, event),
            None => return input,
        }
    }
    panic!("no end of events");
}

/// An event, owned: its kind for the automatic answers, and all of it as text.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub kind: Kind,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Authenticate,
    Response,
    Open,
    Attach(u16),
    Command(u16, CommandId),
    Transfer { channel: u16, id: CommandId, header: Vec<u8>, body: Vec<u8>, borrowed: bool },
    Completed(u16, SequenceSet),
    Other,
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Seen {
        let mut text = format!("{event:?}");
        let kind = match event {
            Event::Authenticate { .. } => Kind::Authenticate,
            Event::Response { .. } => Kind::Response,
            Event::Open { .. } => Kind::Open,
            Event::Attach { channel, .. } => Kind::Attach(channel),
            Event::Command { channel, id, .. } => Kind::Command(channel, id),
            Event::Transfer { channel, id, sync, transfer, header, body } => {
                use fletch_amqp::v0_10::Payload;
                let borrowed = matches!(body, Payload::Borrowed(_));
                // Where the octets lie is not part of what was said.
                text = format!("Transfer {channel} {id:?} {sync} {transfer:?} {header:?}");
                text += &format!(" {:?}", body.as_slice());
                let header = header.unwrap_or_default().to_vec();
                Kind::Transfer { channel, id, header, body: body.into_vec(), borrowed }
            }
            Event::Completed { channel, commands } => Kind::Completed(channel, commands.clone()),
            _ => Kind::Other,
        };
        Seen { kind, text }
    }
}

/// A broker's answers, as far as the protocol needs them: everybody is let in, everything
/// completes.
pub fn answer(server: &mut Connection, seen: &Seen) {
    match seen.kind {
        Kind::Authenticate | Kind::Response => server.authenticated(),
        Kind::Open => server.open_ok(["amqp:tcp:one:5672"]),
        Kind::Attach(channel) => server.attach_ok(channel),
        Kind::Command(channel, id) | Kind::Transfer { channel, id, .. } => {
            server.complete(channel, id)
        }
        _ => {}
    }
}

/// A client and a server joined by two pipes.
pub struct Pair {
    pub now: Duration,
    pub client: Connection,
    pub server: Connection,
    pub client_seen: Vec<Seen>,
    pub server_seen: Vec<Seen>,
    /// All octets ever sent each way.
    pub to_server: Vec<u8>,
    pub to_client: Vec<u8>,
    server_read: usize,
    client_read: usize,
    /// Whether [`answer`] is applied to the server's events.
    pub answering: bool,
}

impl Pair {
    pub fn new(client: ClientConfig, server: ServerConfig) -> Pair {
        let now = seconds(1000);
        Pair {
            now,
            client: Connection::client(client, now),
            server: Connection::server(server, now),
            client_seen: Vec::new(),
            server_seen: Vec::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            server_read: 0,
            client_read: 0,
            answering: true,
        }
    }

    /// An open connection between defaults.
    pub fn open() -> Pair {
        let mut pair = Pair::new(ClientConfig::default(), ServerConfig::default());
        pair.drive();
        assert!(pair.client.is_open() && pair.server.is_open());
        pair
    }

    /// One with a session on the returned channel.
    pub fn session(name: &str) -> (Pair, u16) {
        let mut pair = Pair::open();
        let channel = pair.client.attach(name.as_bytes(), false).unwrap();
        pair.drive();
        pair.client_seen.clear();
        pair.server_seen.clear();
        (pair, channel)
    }

    /// Moves octets until nothing moves; two peers that never stop talking fail the test.
    pub fn drive(&mut self) {
        for _ in 0..100 {
            if !self.turn() {
                return;
            }
        }
        panic!("the two peers never come to rest");
    }

    /// One turn of each driver; false if nothing happened.
    pub fn turn(&mut self) -> bool {
        let before = (self.to_server.len(), self.to_client.len());
        let events = self.client_seen.len() + self.server_seen.len();
        self.client.flush();
        self.to_server.append(self.client.out());
        let (now, answering) = (self.now, self.answering);
        let log = &mut self.server_seen;
        let input = &self.to_server[self.server_read..];
        let left = feed(&mut self.server, now, input, |server, seen| {
            if answering {
                answer(server, &seen);
            }
            log.push(seen);
        });
        self.server_read = self.to_server.len() - left.len();
        self.server.flush();
        self.to_client.append(self.server.out());
        let log = &mut self.client_seen;
        let input = &self.to_client[self.client_read..];
        let left = feed(&mut self.client, now, input, |_, seen| log.push(seen));
        self.client_read = self.to_client.len() - left.len();
        before != (self.to_server.len(), self.to_client.len())
            || events != self.client_seen.len() + self.server_seen.len()
    }

    pub fn client_said(&mut self) -> Vec<String> {
        self.client_seen.drain(..).map(|seen| seen.text).collect()
    }

    pub fn server_said(&mut self) -> Vec<String> {
        self.server_seen.drain(..).map(|seen| seen.text).collect()
    }
}

/// A server fed by hand, with its answers decoded.
pub struct Victim {
    pub server: Connection,
    pub now: Duration,
    pub seen: Vec<Seen>,
    pub answering: bool,
}

impl Victim {
    /// Fresh, with nothing said.
    pub fn fresh(config: ServerConfig) -> Victim {
        let server = Connection::server(config, seconds(0));
        Victim { server, now: seconds(0), seen: Vec::new(), answering: true }
    }

    /// Open.
    pub fn open(config: ServerConfig) -> Victim {
        let mut victim = Victim::fresh(config);
        victim.send(&handshake());
        assert!(victim.server.is_open());
        victim.replies();
        victim.seen.clear();
        victim
    }

    /// Open, with a session named `s` on channel 1 that has its command-point.
    pub fn attached() -> Victim {
        Victim::attached_with(ServerConfig::default())
    }

    pub fn attached_with(config: ServerConfig) -> Victim {
        let mut victim = Victim::open(config);
        victim.control(1, attach("s"));
        victim.control(1, command_point(0));
        victim.replies();
        victim.seen.clear();
        victim
    }

    /// Feeds octets; returns how many were left unread.
    pub fn send(&mut self, octets: &[u8]) -> usize {
        let (log, answering) = (&mut self.seen, self.answering);
        let left = feed(&mut self.server, self.now, octets, |server, seen| {
            if answering {
                answer(server, &seen);
            }
            log.push(seen);
        });
        self.server.flush();
        left.len()
    }

    pub fn control<'a>(&mut self, channel: u16, control: impl Into<Control<'a>>) {
        self.send(&control_frame(channel, control));
    }

    pub fn command<'a>(&mut self, channel: u16, command: impl Into<Command<'a>>) {
        self.send(&command_frame(channel, command));
    }

    /// What the server wrote, one line a control or command: `channel name`, with the fields that
    /// matter.
    pub fn replies(&mut self) -> Vec<String> {
        let out = std::mem::take(self.server.out());
        frames(&out)
            .iter()
            .map(|(channel, kind, payload)| describe(*channel, *kind, payload))
            .collect()
    }

    pub fn texts(&self) -> Vec<&str> {
        self.seen.iter().map(|seen| seen.text.as_str()).collect()
    }
}

/// The frames in `octets`, behind a protocol header if there is one.
pub fn frames(octets: &[u8]) -> Vec<(u16, SegmentKind, Vec<u8>)> {
    use fletch_amqp::v0_10::frame::Frame;
    let mut rest = octets.strip_prefix(&PROTOCOL_HEADER[..]).unwrap_or(octets);
    let mut frames = Vec::new();
    while let Some(frame) = Frame::parse(rest, u16::MAX).unwrap() {
        frames.push((frame.channel, frame.kind, frame.payload.to_vec()));
        rest = &rest[frame.len()..];
    }
    assert!(rest.is_empty(), "half a frame was written");
    frames
}

pub fn describe(channel: u16, kind: SegmentKind, payload: &[u8]) -> String {
    match kind {
        SegmentKind::Control => match Control::decode_segment(payload).unwrap() {
            Control::ConnectionClose(close) => format!(
                "{channel} connection.close {} {}",
                close.reply_code.unwrap().0,
                close.reply_text.unwrap()
            ),
            Control::SessionDetached(body) => {
                format!("{channel} session.detached {}", body.code.unwrap().0)
            }
            Control::SessionCompleted(body) => format!(
                "{channel} session.completed {}{}",
                body.commands.unwrap(),
                if body.timely_reply { " timely" } else { "" }
            ),
            Control::SessionKnownCompleted(body) => {
                format!("{channel} session.known-completed {}", body.commands.unwrap())
            }
            Control::SessionExpected(body) => {
                format!("{channel} session.expected {}", body.commands.unwrap())
            }
            Control::SessionConfirmed(body) => {
                format!("{channel} session.confirmed {}", body.commands.unwrap())
            }
            Control::SessionTimeout(body) => {
                format!("{channel} session.timeout {}", body.timeout.unwrap())
            }
            control => format!("{channel} {}", control.name()),
        },
        SegmentKind::Command => match Command::decode_segment(payload).unwrap().1 {
            Command::ExecutionException(body) => format!(
                "{channel} execution.exception {} {} {}.{}",
                body.error_code.unwrap().0,
                body.command_id.unwrap(),
                body.class_code.unwrap(),
                body.command_code.unwrap()
            ),
            Command::MessageAccept(body) => {
                format!("{channel} message.accept {}", body.transfers.unwrap())
            }
            command => format!("{channel} {}", command.name()),
        },
        kind => format!("{channel} {kind:?} {}", payload.len()),
    }
}

pub fn control_frame<'a>(channel: u16, control: impl Into<Control<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    let segment = OpenSegment::begin(&mut out, SegmentKind::Control, channel);
    control.into().encode_segment(&mut out).unwrap();
    segment.finish(&mut out, FIRST_SEGMENT | LAST_SEGMENT, u16::MAX);
    out
}

pub fn command_frame<'a>(channel: u16, command: impl Into<Command<'a>>) -> Vec<u8> {
    command_segment(channel, command, FIRST_SEGMENT | LAST_SEGMENT)
}

pub fn command_segment<'a>(channel: u16, command: impl Into<Command<'a>>, flags: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let segment = OpenSegment::begin(&mut out, SegmentKind::Command, channel);
    command.into().encode_segment(false, &mut out).unwrap();
    segment.finish(&mut out, flags, u16::MAX);
    out
}

/// A frame with any octets in it.
pub fn raw(kind: u8, flags: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_segment(&mut out, SegmentKind::Body, channel, 0, u16::MAX, payload);
    out[0] = flags;
    out[1] = kind;
    out
}

pub fn attach(name: &str) -> table::session::Attach<'_> {
    table::session::Attach { name: Some(name.as_bytes()), force: false }
}

pub fn command_point(id: u32) -> table::session::CommandPoint {
    table::session::CommandPoint { command_id: Some(CommandId(id)), command_offset: Some(0) }
}

pub fn set(ranges: &[(u32, u32)]) -> Option<SequenceSet> {
    let mut set = SequenceSet::new();
    for (low, high) in ranges {
        set.add_range(CommandId(*low), CommandId(*high));
    }
    Some(set)
}

pub fn transfer(destination: &str) -> table::message::Transfer<'_> {
    table::message::Transfer {
        destination: Some(destination),
        accept_mode: Some(fletch_amqp::v0_10::AcceptMode::EXPLICIT),
        acquire_mode: Some(fletch_amqp::v0_10::AcquireMode::PRE_ACQUIRED),
    }
}

/// What a client says to open a connection when the server says yes to all of it.
pub fn handshake() -> Vec<u8> {
    use table::connection;
    let mut out = PROTOCOL_HEADER.to_vec();
    let start_ok = connection::StartOk {
        client_properties: None,
        mechanism: Some("ANONYMOUS"),
        response: None,
        locale: Some("en_US"),
    };
    out.extend(control_frame(0, start_ok));
    // As the Python client does it: nothing chosen but the heartbeat.
    let tune_ok =
        connection::TuneOk { channel_max: None, max_frame_size: None, heartbeat: Some(10) };
    out.extend(control_frame(0, tune_ok));
    out.extend(control_frame(
        0,
        connection::Open { virtual_host: None, capabilities: None, insist: false },
    ));
    out
}
