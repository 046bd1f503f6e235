//! One connection of either role, fed by a peer that may say anything, in pieces of any size, with
//! a driver that decides by the input.

use std::collections::BTreeMap;
use std::time::Duration;

use fletch_amqp::types::ArrayRef;
use fletch_amqp::v0_10::frame::{FIRST_FRAME, Frame, LAST_FRAME, PROTOCOL_HEADER, SegmentKind};
use fletch_amqp::v0_10::message::MessageView;
use fletch_amqp::v0_10::table::{exchange, message, queue};
use fletch_amqp::v0_10::{
    AssemblyLimits, Blame, ClientConfig, ClientMechanism, CloseCode, Command, Connection, Control,
    DetachCode, ErrorCode, Event, Limits, ServerConfig,
};
use fletch_amqp::{CommandId, MapRef};

use super::Script;

fn limits() -> Limits {
    Limits {
        assembly: AssemblyLimits { command: 8 << 10, header: 8 << 10, body: 64 << 10 },
        sessions: 6,
        negotiation: Duration::from_secs(10),
    }
}

fn server(kind: u8, now: Duration) -> Connection {
    Connection::server(
        ServerConfig {
            mechanisms: vec!["ANONYMOUS".into(), "PLAIN".into()],
            max_frame_size: if kind & 1 == 0 { u16::MAX } else { 4096 },
            heartbeat: 0..=60,
            limits: limits(),
            ..ServerConfig::default()
        },
        now,
    )
}

fn client(kind: u8, now: Duration) -> Connection {
    let plain = ClientMechanism { name: "PLAIN".into(), response: Some(b"\0u\0p".to_vec()) };
    let anonymous = ClientMechanism { name: "ANONYMOUS".into(), response: None };
    Connection::client(
        ClientConfig {
            mechanisms: vec![plain, anonymous],
            max_frame_size: if kind & 1 == 0 { u16::MAX } else { 4096 },
            heartbeat: 10,
            limits: limits(),
            ..ClientConfig::default()
        },
        now,
    )
}

/// Octets into a server. An input is a script and the octets: see [`Script::split`].
pub fn connection_server(data: &[u8]) {
    let (mut script, octets) = Script::split(data);
    let connection = server(script.u8(), Duration::from_secs(1000));
    Probe::new(connection, script).run(octets);
}

/// The same for a client.
pub fn connection_client(data: &[u8]) {
    let (mut script, octets) = Script::split(data);
    let connection = client(script.u8(), Duration::from_secs(1000));
    Probe::new(connection, script).run(octets);
}

/// How the octets are cut into reads changes nothing about the events.
pub fn connection_chunks(data: &[u8]) {
    let (mut script, octets) = Script::split(data);
    let kind = script.u8();
    let make = if kind & 2 == 0 { server } else { client };
    let whole = events(make(kind, Duration::ZERO), octets, |left| left);
    let pieces = events(make(kind, Duration::ZERO), octets, |left| match script.u8() {
        0 => left,
        n => left.min(usize::from(n)),
    });
    assert_eq!(whole, pieces);
}

/// The events of a connection that is told yes to everything, as text.
fn events(
    mut connection: Connection,
    octets: &[u8],
    mut cut: impl FnMut(usize) -> usize,
) -> Vec<String> {
    let mut log = Vec::new();
    let (mut read, mut have) = (0, 0);
    while have < octets.len() {
        have += cut(octets.len() - have);
        let mut input = &octets[read..have];
        while let Some(event) = connection.next(Duration::ZERO, &mut input) {
            log.push(describe(&event));
            let deed = Deed::of(event);
            deed.plain_answer(&mut connection);
        }
        read = have - input.len();
        connection.flush();
        connection.out().clear();
    }
    log
}

fn describe(event: &Event<'_>) -> String {
    // Where a body lies is not part of what was said.
    if let Event::Transfer { channel, id, sync, transfer, header, body } = event {
        let body = body.as_slice();
        return format!("Transfer {channel} {id:?} {sync} {transfer:?} {header:?} {body:?}");
    }
    format!("{event:?}")
}

/// An event without what it borrows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Deed {
    Authenticate,
    Open,
    Attach(u16),
    Challenge,
    Opened,
    Command(u16, CommandId, [u8; 2]),
    Transfer(u16, CommandId),
    OfSession(u16),
    Detached(u16),
    Closed,
    Other,
}

impl Deed {
    /// Looks at all there is in an event, as a driver may.
    fn of(event: Event<'_>) -> Deed {
        match event {
            Event::Authenticate { client_properties, .. } => {
                walk(client_properties);
                Deed::Authenticate
            }
            Event::Response { .. } => Deed::Authenticate,
            Event::Open { capabilities, .. } => {
                walk_array(capabilities);
                Deed::Open
            }
            Event::Start { server_properties, mechanisms } => {
                walk(server_properties);
                walk_array(mechanisms);
                Deed::Other
            }
            Event::Challenge { .. } => Deed::Challenge,
            Event::Opened { known_hosts } => {
                walk_array(known_hosts);
                Deed::Opened
            }
            Event::Redirected { known_hosts, .. } => {
                walk_array(known_hosts);
                Deed::Other
            }
            Event::Attach { channel, .. } => Deed::Attach(channel),
            Event::Attached { channel } | Event::Timeout { channel, .. } => {
                Deed::OfSession(channel)
            }
            Event::Detached { channel, .. } => Deed::Detached(channel),
            Event::Command { channel, id, command, .. } => {
                Deed::Command(channel, id, [command.class(), command.code()])
            }
            Event::Transfer { channel, id, header, .. } => {
                if let Some(view) = header.and_then(|header| MessageView::parse(header).ok()) {
                    let _ = (view.routing_key(), view.application_headers());
                }
                Deed::Transfer(channel, id)
            }
            Event::Completed { channel, commands } => {
                assert!(!commands.is_empty());
                Deed::OfSession(channel)
            }
            Event::Result { channel, .. } | Event::Exception { channel, .. } => {
                Deed::OfSession(channel)
            }
            Event::Closed { .. } => Deed::Closed,
        }
    }

    fn plain_answer(self, connection: &mut Connection) {
        match self {
            Deed::Authenticate => connection.authenticated(),
            Deed::Open => connection.open_ok(["amqp:tcp:one:5672"]),
            Deed::Attach(channel) => connection.attach_ok(channel),
            Deed::Challenge => connection.respond(b"r"),
            Deed::Opened => {
                let _ = connection.attach(b"s", false);
            }
            Deed::Command(channel, id, _) | Deed::Transfer(channel, id) => {
                connection.complete(channel, id);
            }
            Deed::OfSession(_) | Deed::Detached(_) | Deed::Closed | Deed::Other => {}
        }
    }
}

fn walk(map: Option<MapRef<'_>>) {
    let Some(map) = map else { return };
    map.validate().expect("maps of controls are checked");
    assert_eq!(map.iter().filter_map(Result::ok).count(), map.len());
}

fn walk_array(array: Option<ArrayRef<'_>>) {
    let Some(array) = array else { return };
    array.validate().expect("arrays of controls are checked");
    assert_eq!(array.iter().filter_map(Result::ok).count(), array.len());
}

/// A connection, and what must hold of it.
struct Probe<'a> {
    connection: Connection,
    script: Script<'a>,
    now: Duration,
    /// Sessions attached, and the newest command of each.
    sessions: BTreeMap<u16, Option<CommandId>>,
    /// The driver owes an answer.
    owed: Option<Deed>,
    greeted: bool,
    closed: bool,
    events: usize,
    given: usize,
    /// How often the driver made the connection say something.
    deeds: usize,
    /// Octets of bodies and names that the driver sent.
    said: usize,
}

impl<'a> Probe<'a> {
    fn new(connection: Connection, script: Script<'a>) -> Self {
        Probe {
            connection,
            script,
            now: Duration::from_secs(1000),
            sessions: BTreeMap::new(),
            owed: None,
            greeted: false,
            closed: false,
            events: 0,
            given: 0,
            deeds: 0,
            said: 0,
        }
    }

    fn run(mut self, octets: &[u8]) {
        let (mut read, mut have) = (0, 0);
        while have < octets.len() {
            let left = octets.len() - have;
            let chunk = match self.script.u8() {
                0 => left,
                n @ 1..128 => usize::from(n),
                n => usize::from(n & 0x7f) << 6 | 1,
            };
            have += chunk.min(left);
            self.given = have;
            let memory = self.connection.memory();
            read += self.turn(&octets[read..have]);
            if let Some(owed) = self.owed.take() {
                // An answer that came late; what waited for it is read now.
                self.answer(owed, 0);
                read += self.turn(&octets[read..have]);
            }
            if self.owed.is_none() {
                assert!(have - read <= 0xffff, "more than a frame is left for want of octets");
            }
            self.end_turn(have, memory);
        }
        self.finish();
    }

    /// One turn: `next` until `None`. Returns how much was consumed.
    fn turn(&mut self, all: &[u8]) -> usize {
        let mut input = all;
        loop {
            let before = input;
            let deed = self.connection.next(self.now, &mut input).map(Deed::of);
            assert!(input.len() <= before.len());
            assert!(input.is_empty() || before.ends_with(input), "the input is not skipped in");
            let Some(deed) = deed else { return all.len() - input.len() };
            self.events += 1;
            assert!(self.events <= self.given + self.deeds + 64, "no end of events");
            self.see(deed);
            let how = self.script.u8();
            if how & 0x0f == 0x0f
                && matches!(deed, Deed::Authenticate | Deed::Open | Deed::Attach(_))
            {
                self.owed = Some(deed);
            } else {
                self.answer(deed, how);
            }
        }
    }

    /// What an event may be at this point.
    fn see(&mut self, deed: Deed) {
        assert!(!self.closed, "{deed:?} after Closed");
        match deed {
            Deed::Command(channel, id, _) | Deed::Transfer(channel, id) => {
                let newest = self.sessions.get_mut(&channel).expect("a command without a session");
                assert!(newest.is_none_or(|last| last.is_before(id)), "an id twice");
                *newest = Some(id);
            }
            Deed::OfSession(channel) => {
                assert!(self.sessions.contains_key(&channel), "news of a session that is not");
            }
            Deed::Attach(channel) => assert!(!self.sessions.contains_key(&channel)),
            Deed::Detached(channel) => {
                self.sessions.remove(&channel).expect("the end of a session that is not");
            }
            Deed::Closed => {
                assert!(self.connection.is_closed());
                self.closed = true;
            }
            _ => {}
        }
    }

    fn answer(&mut self, deed: Deed, how: u8) {
        self.deeds += 1;
        let connection = &mut self.connection;
        match (deed, how % 8) {
            (Deed::Authenticate, 5) => connection.challenge(b"more"),
            (Deed::Authenticate, 6) => connection.reject_authentication("no"),
            (Deed::Open, 5) => connection.redirect("elsewhere", ["there"]),
            (Deed::Open, 6) => connection.close(self.now, CloseCode::INVALID_PATH, "no"),
            (Deed::Attach(channel), 5) => {
                connection.refuse_attach(channel, DetachCode::SESSION_BUSY)
            }
            (Deed::Attach(channel), 6) => connection.force_detach(channel, DetachCode::NORMAL),
            (Deed::Attach(channel), _) => {
                connection.attach_ok(channel);
                if connection.session_name(channel).is_some() {
                    self.sessions.insert(channel, None);
                }
            }
            (Deed::Opened, _) => self.attach(),
            (Deed::Command(channel, ..) | Deed::Transfer(channel, _), 1) => {
                self.speak(channel, how >> 3);
            }
            (Deed::Command(channel, id, _), 2) => {
                let value = message::Acquired { transfers: None };
                let _ = connection.result(channel, id, &value);
            }
            (Deed::Transfer(channel, id), 2) => {
                connection.accept(channel, id);
                connection.complete(channel, id);
            }
            (Deed::Command(..) | Deed::Transfer(..), 3) => {}
            (Deed::Command(channel, _, [class, code]), 4) => {
                let blame = Blame { command_id: None, class, code, field: 1 };
                connection.exception(channel, ErrorCode::NOT_FOUND, blame, "not there");
            }
            (Deed::Command(channel, ..) | Deed::Transfer(channel, _), 5) => {
                connection.force_detach(channel, DetachCode::SESSION_BUSY);
            }
            (Deed::Command(channel, ..) | Deed::Transfer(channel, _), 6) => {
                connection.detach(channel);
            }
            (Deed::Command(channel, id, _) | Deed::Transfer(channel, id), 7) => {
                // Of one that came before, or never.
                connection.complete(channel, id.sub(u32::from(how >> 3)));
            }
            (deed, _) => deed.plain_answer(connection),
        }
    }

    fn attach(&mut self) {
        let name = [b'a' + (self.deeds % 4) as u8];
        if let Ok(channel) = self.connection.attach(&name, false) {
            self.sessions.insert(channel, None);
        }
    }

    fn speak(&mut self, channel: u16, what: u8) {
        let connection = &mut self.connection;
        let sent = match what % 8 {
            0 | 1 => {
                let body = vec![7u8; usize::from(what) << 8];
                self.said += 3 * body.len();
                let transfer = message::Transfer { destination: Some("d"), ..Default::default() };
                connection.transfer(channel, &transfer, false, |_| {}, &body[..])
            }
            2 => {
                let transfer = message::Transfer::default();
                connection.transfer(channel, &transfer, true, |out| out.push(0), None)
            }
            3 => connection.execution_sync(channel),
            4 => connection.request_completions(channel).map(|()| CommandId(0)),
            5 => {
                let query = exchange::Query { name: Some("e") };
                connection.send(channel, &query.into(), true)
            }
            6 => connection.request_timeout(channel, 9).map(|()| CommandId(0)),
            _ => {
                let declare = queue::Declare { queue: Some("q"), ..Default::default() };
                connection.send(channel, &declare.into(), false)
            }
        };
        if sent.is_ok() {
            assert!(self.sessions.contains_key(&channel), "sent on a session that is not");
        }
    }

    fn end_turn(&mut self, given: usize, memory_before: usize) {
        let how = self.script.u8();
        if how & 1 == 1 {
            let channel = u16::from(how >> 1 & 3);
            self.deeds += 1;
            match how >> 3 & 7 {
                0 | 1 => self.speak(channel, how >> 5),
                2 => self.attach(),
                3 => self.connection.detach(channel),
                4 => self.connection.force_detach(channel, DetachCode::UNKNOWN_IDS),
                5 => self.connection.close(self.now, CloseCode::NORMAL, "enough"),
                6 => self.connection.complete(channel, CommandId(u32::from(how))),
                _ => self.time(Duration::from_secs(u64::from(how) / 8)),
            }
        }
        if how & 6 != 6 {
            self.connection.flush();
        }
        // Frame headers, names and texts of answers are at most some tens of octets for each that
        // came; sets are sent again, and are part of the memory held.
        let out = std::mem::take(self.connection.out());
        let most = (16 << 10) + 64 * given + 4 * memory_before + 2048 * self.deeds + self.said;
        assert!(out.len() <= most, "{} octets of output for {given} of input", out.len());
        self.check_out(&out);
        let memory = self.connection.memory();
        let most = (64 << 10) + 16 * given + 512 * self.deeds;
        assert!(memory <= most, "{memory} octets held for {given} that came");
        if how & 0xc0 == 0xc0 {
            self.connection.shrink();
        }
    }

    fn time(&mut self, step: Duration) {
        self.now += step;
        self.connection.timeout(self.now);
        let next = self.connection.next_timeout();
        assert!(next.is_none_or(|at| at > self.now), "a timeout that is always due");
    }

    /// All that is written can be read.
    fn check_out(&mut self, out: &[u8]) {
        let mut rest = out;
        if !self.greeted && !out.is_empty() {
            rest = out.strip_prefix(&PROTOCOL_HEADER[..]).expect("the protocol header is first");
            self.greeted = true;
        }
        while let Some(frame) = Frame::parse(rest, u16::MAX).expect("our own frame") {
            rest = &rest[frame.len()..];
            if !frame.has(FIRST_FRAME | LAST_FRAME) {
                continue;
            }
            match frame.kind {
                SegmentKind::Control => drop(Control::decode_segment(frame.payload).expect("ours")),
                SegmentKind::Command => drop(Command::decode_segment(frame.payload).expect("ours")),
                SegmentKind::Header | SegmentKind::Body => {}
            }
        }
        assert!(rest.is_empty(), "half a frame was written");
    }

    /// An end is reached, at the latest by the deadline of the close, and nothing comes after it.
    fn finish(mut self) {
        self.connection.close(self.now, CloseCode::NORMAL, "the end");
        self.turn(&[]);
        // A client that is redirected still gets heartbeats.
        for _ in 0..64 {
            if self.closed {
                break;
            }
            let at = self.connection.next_timeout().expect("a close has a deadline");
            self.time(at - self.now);
            self.turn(&[]);
        }
        assert!(self.closed, "never closed");
        let out = std::mem::take(self.connection.out());
        self.check_out(&out);
        assert_eq!(self.connection.session_count(), 0);
        assert_eq!(self.connection.next_timeout(), None);
        for channel in 0..3 {
            self.speak(channel, 1);
            self.speak(channel, 4);
            self.connection.detach(channel);
            self.connection.complete(channel, CommandId(0));
        }
        self.attach();
        self.connection.flush();
        self.connection.timeout(self.now + Duration::from_secs(1000));
        self.turn(b"AMQP\x01\x01\x00\x0a more");
        assert!(self.connection.out().is_empty(), "words after the end");
    }
}
