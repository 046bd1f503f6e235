//! A client and a server of ours back to back, with random commands, delays and ends of sessions.
//! Nothing may fail that was not made to fail, and everything sent arrives once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fletch_amqp::v0_10::table::{exchange, message, queue};
use fletch_amqp::v0_10::{
    AcceptMode, Blame, ClientConfig, CloseCode, Connection, DetachCode, ErrorCode, Event, Payload,
    SendError, ServerConfig,
};
use fletch_amqp::{CommandId, SequenceSet};

use super::Script;

/// Steps of one input.
const MAX_STEPS: usize = 400;

/// The script of what both drivers do, one step after the other.
pub fn pair(data: &[u8]) {
    let mut script = Script(data);
    let mut pair = Pair::open(script.u8());
    for _ in 0..MAX_STEPS {
        if script.is_over() {
            break;
        }
        pair.step(&mut script);
    }
    pair.settle();
}

/// One session as one end sees it.
#[derive(Debug, Default)]
struct Session {
    serial: u32,
    /// Ids of our commands that the other end has completed.
    completed: SequenceSet,
    /// Transfers sent and received.
    sent: u32,
    received: u32,
    /// Commands of the other end that we have not completed; those that are transfers.
    pending: Vec<(CommandId, bool)>,
}

struct End {
    connection: Connection,
    sessions: BTreeMap<u16, Session>,
    /// What the other end wrote and we have not been given.
    inbox: Vec<u8>,
    closed: bool,
}

struct Pair {
    client: End,
    server: End,
    now: Duration,
    serial: u32,
    /// Sessions that were made to end.
    doomed: BTreeSet<u32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Client,
    Server,
}

impl Pair {
    fn open(kind: u8) -> Pair {
        let now = Duration::from_secs(5);
        let max_frame_size = if kind & 1 == 0 { u16::MAX } else { 4096 };
        let heartbeat = if kind & 2 == 0 { 0 } else { 7 };
        let client = ClientConfig { heartbeat, max_frame_size, ..ClientConfig::default() };
        let end = |connection| End {
            connection,
            sessions: BTreeMap::new(),
            inbox: Vec::new(),
            closed: false,
        };
        let mut pair = Pair {
            client: end(Connection::client(client, now)),
            server: end(Connection::server(ServerConfig::default(), now)),
            now,
            serial: 0,
            doomed: BTreeSet::new(),
        };
        pair.drive();
        assert!(pair.client.connection.is_open() && pair.server.connection.is_open());
        pair
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let what = script.u8();
        let side = if what & 0x80 == 0 { Side::Client } else { Side::Server };
        match what & 0x1f {
            0 | 1 => self.attach(),
            2..6 => self.command(side, script),
            6..10 => self.transfer(side, script),
            10..13 => self.complete(side, script),
            13..17 => {
                let most = usize::from(script.u8()) << ((what >> 5 & 3) * 2);
                self.deliver(side, most);
            }
            17..20 => self.deliver(side, usize::MAX),
            20 => self.drive(),
            21 | 22 => self.detach(side, script),
            23 => self.exception(side, script),
            24 => self.pass_time(),
            25 => self.end(side).connection.shrink(),
            26 => self.end(side).connection.flush(),
            _ => {
                if let Some(channel) = self.channel(side, script) {
                    let asked = self.end(side).connection.request_completions(channel);
                    self.allowed(side, channel, asked);
                }
            }
        }
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// One of the sessions of one end.
    fn channel(&mut self, side: Side, script: &mut Script<'_>) -> Option<u16> {
        let at = script.u8();
        let sessions = &self.end(side).sessions;
        sessions.keys().nth(usize::from(at) % sessions.len().max(1)).copied()
    }

    /// A session takes commands unless it was made to end.
    fn allowed<T>(&mut self, side: Side, channel: u16, outcome: Result<T, SendError>) -> bool {
        let serial = self.end(side).sessions[&channel].serial;
        match outcome {
            Ok(_) => true,
            Err(SendError::NotAttached) if self.doomed.contains(&serial) => false,
            Err(error) => panic!("session {serial}: {error}"),
        }
    }

    fn attach(&mut self) {
        if self.client.sessions.len() >= 5 {
            return;
        }
        self.serial += 1;
        let name = self.serial.to_be_bytes();
        let channel = self.client.connection.attach(&name, false).expect("there is room");
        let session = Session { serial: self.serial, ..Session::default() };
        let old = self.client.sessions.insert(channel, session);
        assert!(old.is_none(), "a channel with a session was given away");
    }

    fn command(&mut self, side: Side, script: &mut Script<'_>) {
        let Some(channel) = self.channel(side, script) else { return };
        let connection = &mut self.end(side).connection;
        let how = script.u8();
        let sync = how & 4 != 0;
        let sent = match how % 4 {
            0 => connection.execution_sync(channel),
            1 => {
                let query = exchange::Query { name: Some("e") };
                connection.send(channel, &query.into(), sync)
            }
            2 => {
                let declare = queue::Declare { queue: Some("q"), ..Default::default() };
                connection.send(channel, &declare.into(), sync)
            }
            _ => {
                // More than one frame, at the smaller size.
                let name = "n".repeat(255);
                let mut arguments = fletch_amqp::Map::new();
                for n in 0..u32::from(how) {
                    arguments.insert(n.to_string(), "v".repeat(64));
                }
                let arguments = arguments.encoded().expect("it is short");
                let declare = queue::Declare {
                    queue: Some(&name),
                    arguments: Some(arguments.view()),
                    ..Default::default()
                };
                connection.send(channel, &declare.into(), sync)
            }
        };
        self.allowed(side, channel, sent);
    }

    /// The body says whose and which it is: serial, number, and then a filling.
    fn transfer(&mut self, side: Side, script: &mut Script<'_>) {
        let Some(channel) = self.channel(side, script) else { return };
        let len = usize::from(script.u16() & 0x7fff) >> (script.u8() & 0x0f);
        let end = self.end(side);
        let session = &end.sessions[&channel];
        let mut body = session.serial.to_be_bytes().to_vec();
        body.extend_from_slice(&session.sent.to_be_bytes());
        body.resize(8 + len, session.sent as u8);
        let transfer = message::Transfer {
            destination: Some("d"),
            accept_mode: Some(AcceptMode::EXPLICIT),
            acquire_mode: None,
        };
        let header = |out: &mut Vec<u8>| out.extend_from_slice(&[0, 0, 0, 4, 4, 1, 0, 0]);
        let sent = if len.is_multiple_of(2) {
            end.connection.transfer(channel, &transfer, false, header, &body[..])
        } else {
            end.connection.transfer(channel, &transfer, true, |_| {}, &body[..])
        };
        if self.allowed(side, channel, sent) {
            self.end(side).sessions.get_mut(&channel).expect("it is there").sent += 1;
        }
    }

    fn complete(&mut self, side: Side, script: &mut Script<'_>) {
        let Some(channel) = self.channel(side, script) else { return };
        let how = script.u8();
        let End { connection, sessions, .. } = self.end(side);
        let pending = &mut sessions.get_mut(&channel).expect("it is there").pending;
        if pending.is_empty() {
            return;
        }
        let (id, is_transfer) = pending.remove(usize::from(how >> 2) % pending.len());
        match (how & 3, is_transfer) {
            (0, false) => {
                let value = message::Acquired { transfers: Some([id].into_iter().collect()) };
                let sent = connection.result(channel, id, &value);
                self.allowed(side, channel, sent);
            }
            (0 | 1, true) => {
                connection.accept(channel, id);
                connection.complete(channel, id);
            }
            _ => connection.complete(channel, id),
        }
    }

    fn detach(&mut self, side: Side, script: &mut Script<'_>) {
        let Some(channel) = self.channel(side, script) else { return };
        let force = script.u8() & 3 == 0;
        let end = self.end(side);
        let serial = end.sessions[&channel].serial;
        match side {
            Side::Server if force => end.connection.force_detach(channel, DetachCode::SESSION_BUSY),
            _ => end.connection.detach(channel),
        }
        self.doomed.insert(serial);
    }

    fn exception(&mut self, side: Side, script: &mut Script<'_>) {
        let Some(channel) = self.channel(side, script) else { return };
        let end = self.end(side);
        let serial = end.sessions[&channel].serial;
        let blame = Blame { command_id: Some(CommandId(0)), class: 8, code: 1, field: 0 };
        end.connection.exception(channel, ErrorCode::NOT_FOUND, blame, "as told");
        self.doomed.insert(serial);
    }

    /// To the next moment either end waits for. Everything sent has arrived by then.
    fn pass_time(&mut self) {
        self.drive();
        let timeouts = [&self.client, &self.server].map(|end| end.connection.next_timeout());
        let Some(at) = timeouts.into_iter().flatten().min() else { return };
        assert!(at > self.now, "a timeout that is always due");
        self.now = at;
        self.client.connection.timeout(at);
        self.server.connection.timeout(at);
        self.drive();
    }

    /// What one end wrote goes on its way.
    fn send_off(&mut self) {
        self.server.inbox.append(self.client.connection.out());
        self.client.inbox.append(self.server.connection.out());
    }

    /// Gives one end at most so many octets, and lets it answer.
    fn deliver(&mut self, side: Side, most: usize) {
        self.send_off();
        let now = self.now;
        let (end, doomed) = match side {
            Side::Client => (&mut self.client, &self.doomed),
            Side::Server => (&mut self.server, &self.doomed),
        };
        let inbox = std::mem::take(&mut end.inbox);
        let given = &inbox[..most.min(inbox.len())];
        let mut input = given;
        loop {
            let event = end.connection.next(now, &mut input);
            let Some(event) = event else { break };
            let Some(answer) = answer(event, &mut end.sessions, doomed) else {
                end.closed = true;
                continue;
            };
            match answer {
                Answer::None => {}
                Answer::Authenticated => end.connection.authenticated(),
                Answer::Open => end.connection.open_ok(["h"]),
                Answer::Attach(channel) => end.connection.attach_ok(channel),
            }
        }
        end.inbox = inbox[given.len() - input.len()..].to_vec();
        end.connection.flush();
        self.send_off();
    }

    /// Until nothing moves.
    fn drive(&mut self) {
        for _ in 0..100 {
            // Also without octets: what a driver does to its own end is an event there.
            self.deliver(Side::Server, usize::MAX);
            self.deliver(Side::Client, usize::MAX);
            if self.client.inbox.is_empty() && self.server.inbox.is_empty() {
                return;
            }
        }
        panic!("the two ends never come to rest");
    }

    /// All is completed and told; then the connection closes in order.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.drive();
            for end in [&mut self.client, &mut self.server] {
                for (channel, session) in &mut end.sessions {
                    for (id, _) in session.pending.drain(..) {
                        end.connection.complete(*channel, id);
                    }
                }
            }
        }
        self.drive();
        let doomed = &self.doomed;
        for (end, other) in [(&self.client, &self.server), (&self.server, &self.client)] {
            for (channel, session) in &end.sessions {
                assert!(!doomed.contains(&session.serial), "{} did not end", session.serial);
                let peer = other.sessions.get(channel).expect("both ends have it");
                assert_eq!(peer.serial, session.serial);
                assert_eq!(peer.received, session.sent, "transfers were lost");
                let next = end.connection.next_command_id(*channel).expect("it is there");
                assert_eq!(session.completed.id_count(), u64::from(next.0), "not all complete");
            }
            assert_eq!(end.connection.session_count(), end.sessions.len());
        }
        self.client.connection.close(self.now, CloseCode::NORMAL, "done");
        self.drive();
        // The last words need no answer to be read.
        self.deliver(Side::Client, usize::MAX);
        self.deliver(Side::Server, usize::MAX);
        assert!(self.client.closed && self.server.closed);
    }
}

enum Answer {
    None,
    Authenticated,
    Open,
    Attach(u16),
}

/// Checks an event and says what to answer; `None` for the end.
fn answer(
    event: Event<'_>,
    sessions: &mut BTreeMap<u16, Session>,
    doomed: &BTreeSet<u32>,
) -> Option<Answer> {
    fn of(sessions: &mut BTreeMap<u16, Session>, channel: u16) -> &mut Session {
        sessions.get_mut(&channel).expect("news of a session that is not")
    }
    match event {
        Event::Authenticate { .. } => return Some(Answer::Authenticated),
        Event::Open { .. } => return Some(Answer::Open),
        Event::Attach { channel, name, .. } => {
            let serial = name.iter().fold(0, |n, octet| n << 8 | u32::from(*octet));
            let old = sessions.insert(channel, Session { serial, ..Session::default() });
            assert!(old.is_none(), "attached twice");
            return Some(Answer::Attach(channel));
        }
        Event::Detached { channel, ending } => {
            let session = sessions.remove(&channel).expect("the end of a session that is not");
            let serial = session.serial;
            assert!(doomed.contains(&serial), "session {serial} ended by itself: {ending:?}");
        }
        Event::Command { channel, id, .. } => of(sessions, channel).pending.push((id, false)),
        Event::Transfer { channel, id, body, .. } => {
            let session = of(sessions, channel);
            check_body(&body, session);
            session.received += 1;
            session.pending.push((id, true));
        }
        Event::Completed { channel, commands } => {
            let completed = &mut of(sessions, channel).completed;
            let before = completed.id_count();
            completed.union(commands);
            assert_eq!(completed.id_count(), before + commands.id_count(), "completed twice");
        }
        Event::Result { channel, value, .. } => {
            of(sessions, channel);
            let value = value.expect("a result has a value");
            drop(value.read::<message::Acquired>().expect("it is the struct that was sent"));
        }
        Event::Exception { channel, .. } => {
            let serial = of(sessions, channel).serial;
            assert!(doomed.contains(&serial), "session {serial} failed by itself");
        }
        Event::Closed { code, text, .. } => {
            assert_eq!((code, text), (CloseCode::NORMAL, "done"));
            return None;
        }
        Event::Response { .. } | Event::Challenge { .. } | Event::Redirected { .. } => {
            panic!("nobody did this: {event:?}")
        }
        Event::Start { .. }
        | Event::Opened { .. }
        | Event::Attached { .. }
        | Event::Timeout { .. } => {}
    }
    Some(Answer::None)
}

fn check_body(body: &Payload<'_>, session: &Session) {
    let octets = body.as_slice();
    let (head, filling) = octets.split_at(8);
    assert_eq!(head[..4], session.serial.to_be_bytes(), "a message of another session");
    assert_eq!(head[4..], session.received.to_be_bytes(), "out of order");
    assert!(filling.iter().all(|octet| *octet == session.received as u8), "damaged");
}
