//! One connection of 1.0 of either role, fed by a peer that may say anything, in pieces of any size, with
//! a driver that decides by the input.

use std::collections::BTreeSet;
use std::time::Duration;

use fletch_amqp::v1_0::frame::{Frame, PROTOCOL_HEADER, SASL_HEADER};
use fletch_amqp::v1_0::state::{
    ClientConfig, ClientMechanism, Connection, Event, Identity, Limits, Outgoing, ServerConfig,
};
use fletch_amqp::v1_0::table::{Accepted, Attach, Error, Released};
use fletch_amqp::v1_0::{Role, SequenceNo, amqp_error};

use super::Script;

/// What our own frames may have if the peer says no less.
const MAX_FRAME: u32 = 4096;

fn identity() -> Identity {
    let idle_time_out = Duration::from_secs(30);
    Identity { max_frame_size: MAX_FRAME, idle_time_out, ..Identity::default() }
}

fn limits() -> Limits {
    let negotiation = Duration::from_secs(10);
    Limits { sessions: 6, links: 8, message: 64 << 10, window: 16, negotiation }
}

fn make(kind: u8, now: Duration) -> Connection {
    if kind & 2 == 0 {
        let config = ServerConfig {
            identity: identity(),
            mechanisms: vec!["ANONYMOUS".into(), "PLAIN".into()],
            sasl_optional: kind & 1 == 0,
            limits: limits(),
        };
        return Connection::server(config, now);
    }
    let mut mechanisms = Vec::new();
    if kind & 1 == 1 {
        mechanisms.push(ClientMechanism { name: "ANONYMOUS".into(), response: None });
    }
    let config =
        ClientConfig { identity: identity(), mechanisms, limits: limits(), hostname: None };
    Connection::client(config, now)
}

/// An event without what it borrows.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Nothing,
    Authenticate,
    Open,
    Begin(u16),
    Begun(u16),
    Attach(u16, u32, bool),
    Credit(u16, u32, u32, bool),
    Delivery(u16, u32, SequenceNo, bool),
    Detach(u16, u32, bool),
    End(u16),
    Close,
    Closed,
}

impl Deed {
    fn of(event: Event<'_>) -> Deed {
        match event {
            Event::Authenticate { .. } | Event::Response { .. } => Deed::Authenticate,
            Event::Open { .. } => Deed::Open,
            Event::Begin { channel, .. } => Deed::Begin(channel),
            Event::Begun { channel, .. } => Deed::Begun(channel),
            Event::Attach { channel, handle, attach } => {
                Deed::Attach(channel, handle, attach.role == Role::SENDER)
            }
            Event::Credit { channel, handle, credit, drain, .. } => {
                Deed::Credit(channel, handle, credit, drain)
            }
            Event::Delivery { channel, handle, id, settled, .. } => {
                Deed::Delivery(channel, handle, id, settled)
            }
            Event::Detach { channel, handle, closed, answer: false, .. } => {
                Deed::Detach(channel, handle, closed)
            }
            Event::End { channel, answer: false, .. } => Deed::End(channel),
            Event::Close { .. } => Deed::Close,
            Event::Closed { .. } => Deed::Closed,
            _ => Deed::Nothing,
        }
    }

    /// Says yes to everything.
    fn answer(self, amqp: &mut Connection) {
        match self {
            Deed::Nothing | Deed::Begun(_) | Deed::Closed => {}
            Deed::Authenticate => amqp.authenticated(None),
            Deed::Open => amqp.open_ok(),
            Deed::Begin(channel) => amqp.begin_ok(channel),
            Deed::Attach(channel, handle, sends) => {
                amqp.attach_ok(channel, handle, &Attach::default());
                if sends {
                    amqp.grant_window(channel, handle, 4);
                }
            }
            Deed::Credit(channel, handle, credit, drain) => {
                let tag = amqp.next_delivery_id(channel).0.to_be_bytes();
                let outgoing = Outgoing { tag: &tag, ..Outgoing::default() };
                for size in 0..credit.min(4) as usize {
                    let body = vec![0x5a; size * 700];
                    let sent = amqp.transfer(channel, handle, &outgoing, &[b"head", &body]);
                    assert!(sent.is_ok(), "{sent:?}");
                }
                if drain {
                    amqp.drained(channel, handle);
                    assert_eq!(amqp.credit(channel, handle), 0);
                }
            }
            Deed::Delivery(channel, handle, id, settled) => {
                if !settled {
                    amqp.accept(channel, id);
                }
                amqp.finished(channel, handle);
            }
            Deed::Detach(channel, handle, closed) => amqp.detach(channel, handle, closed, None),
            Deed::End(channel) => amqp.end(channel, None),
            Deed::Close => amqp.close(Duration::ZERO, None),
        }
    }
}

/// How the octets are cut into reads changes nothing about the events.
pub fn v1_0_chunks(data: &[u8]) {
    let (mut script, octets) = Script::split(data);
    let kind = script.u8();
    let whole = events(make(kind, Duration::ZERO), octets, |left| left);
    let pieces = events(make(kind, Duration::ZERO), octets, |left| match script.u8() {
        0 => left,
        n => left.min(usize::from(n)),
    });
    assert_eq!(whole, pieces);
}

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
            log.push(format!("{event:?}"));
            Deed::of(event).answer(&mut connection);
        }
        read = have - input.len();
        // What is said at the ends of turns depends on where they are, and is not looked at.
        connection.flush();
        connection.out().clear();
    }
    log
}

/// Octets into a server or a client whose driver may do anything at any time. An input is a script and the
/// octets: see [`Script::split`].
pub fn v1_0_connection(data: &[u8]) {
    let (mut script, octets) = Script::split(data);
    let kind = script.u8();
    let now = Duration::from_secs(1000);
    Probe {
        connection: make(kind, now),
        script,
        now,
        written: 0,
        sessions: BTreeSet::new(),
        links: BTreeSet::new(),
        closed: 0,
        headers: usize::from(kind & 2 != 0 && kind & 1 == 1),
        sent: Vec::new(),
    }
    .run(octets);
}

struct Probe<'a> {
    connection: Connection,
    script: Script<'a>,
    now: Duration,
    written: usize,
    sessions: BTreeSet<u16>,
    links: BTreeSet<(u16, u32)>,
    closed: usize,
    headers: usize,
    /// All that was written.
    sent: Vec<u8>,
}

impl Probe<'_> {
    fn run(mut self, octets: &[u8]) {
        let (mut read, mut have) = (0, 0);
        for _ in 0..octets.len() + 64 {
            have = match self.script.u8() {
                0 => octets.len(),
                n => (have + usize::from(n)).min(octets.len()),
            };
            let mut input = &octets[read..have];
            let mut owing = None;
            while let Some(deed) = self.connection.next(self.now, &mut input).map(Deed::of) {
                owing = self.on(deed);
            }
            read = have - input.len();
            self.turn();
            // An answer that came late is an answer still.
            if let Some(owing) = owing {
                owing.answer(&mut self.connection);
            }
            if read == octets.len() && self.script.is_over() {
                break;
            }
        }
        self.check_sent();
    }

    /// Answers, now or later, or does something else.
    fn on(&mut self, deed: Deed) -> Option<Deed> {
        assert_eq!(self.closed, 0, "something came after the end: {deed:?}");
        match deed {
            Deed::Begin(channel) | Deed::Begun(channel) => {
                self.sessions.insert(channel);
            }
            Deed::Attach(channel, handle, _) => {
                self.links.insert((channel, handle));
            }
            Deed::Closed => {
                self.closed += 1;
                assert!(self.connection.is_closed());
            }
            _ => {}
        }
        match self.script.below(8) {
            0..5 => deed.answer(&mut self.connection),
            5 => return Some(deed),
            _ => self.whim(),
        }
        None
    }

    /// Something nobody asked for.
    fn whim(&mut self) {
        let amqp = &mut self.connection;
        let channel = u16::from(self.script.u8() % 8);
        let handle = u32::from(self.script.u8() % 8);
        let id = SequenceNo(self.script.u8().into());
        let error = Error { condition: amqp_error::INTERNAL_ERROR, ..Error::default() };
        match self.script.below(14) {
            0 => {
                amqp.begin();
            }
            1 => {
                let attach = Attach { name: "ours", role: Role::RECEIVER, ..Attach::default() };
                if let Some(handle) = amqp.attach(channel, &attach) {
                    self.links.insert((channel, handle));
                }
            }
            2 => amqp.end(channel, Some(&error)),
            3 => amqp.detach(channel, handle, true, Some(&error)),
            4 => amqp.grant(channel, handle, id.0, id.0 & 1 == 1),
            5 => amqp.grant_window(channel, handle, id.0),
            6 => amqp.accept(channel, id),
            7 => amqp.dispose(
                channel,
                Role::RECEIVER,
                (id, id.add(3)),
                false,
                Some(Released {}.into()),
            ),
            8 => amqp.dispose(channel, Role::SENDER, (id, id), true, Some(Accepted {}.into())),
            9 => amqp.drained(channel, handle),
            10 => {
                let outgoing = Outgoing { tag: b"whim", settled: true, ..Outgoing::default() };
                let _ = amqp.transfer(channel, handle, &outgoing, &[&[0x5a; 9000]]);
            }
            11 => amqp.close(self.now, Some(&error)),
            12 => {
                self.now += Duration::from_secs(u64::from(id.0));
                if amqp.next_timeout().is_some_and(|due| due <= self.now) {
                    amqp.timeout(self.now);
                }
            }
            _ => amqp.fail_session(channel, &error),
        }
    }

    fn turn(&mut self) {
        self.connection.flush();
        let out = self.connection.out();
        self.written += out.len();
        self.sent.append(out);
        let memory = self.connection.memory();
        assert!(memory < 2 << 20, "{memory} octets for so little");
        if self.script.u8() & 1 == 1 {
            self.connection.shrink();
        }
    }

    /// All that was sent is frames that a peer can read.
    fn check_sent(&self) {
        let mut rest = &self.sent[..];
        let mut headers = 0;
        while !rest.is_empty() {
            if rest.starts_with(b"AMQP") {
                assert!(rest.starts_with(&PROTOCOL_HEADER) || rest.starts_with(&SASL_HEADER));
                rest = &rest[8..];
                headers += 1;
                continue;
            }
            let frame = Frame::parse(rest, 1 << 20).expect("ours").expect("whole");
            match frame.kind {
                fletch_amqp::v1_0::frame::FrameKind::Sasl => {
                    frame.sasl().expect("ours");
                }
                fletch_amqp::v1_0::frame::FrameKind::Amqp if frame.is_empty() => {}
                fletch_amqp::v1_0::frame::FrameKind::Amqp => {
                    frame.performative().expect("ours");
                }
            }
            rest = &rest[frame.len()..];
        }
        assert!(headers <= 2 + self.headers, "{headers} headers");
    }
}
