//! A client and a server of AMQP 1.0 back to back: what each of them does, the other understands.

use fletch_amqp::v1_0::state::{
    ClientConfig, ClientMechanism, Connection, Event, Identity, Limits, Outgoing, SendError,
    ServerConfig,
};
use fletch_amqp::v1_0::table::{
    Accepted, Attach, DeliveryState, Error, Rejected, Released, Source, Target,
};
use fletch_amqp::v1_0::types::{MapRef, ValueRef, put_binary, put_map, put_null, put_string};
use fletch_amqp::v1_0::{Composite, Role, SequenceNo, amqp_error, link_error};
use fletch_amqp::wire::Reader;
use proptest::prelude::*;
use std::time::Duration;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A delivery as it came: link, number, settled, octets.
type Came = (u32, SequenceNo, bool, Vec<u8>);

/// One end with what it was told.
struct End {
    amqp: Connection,
    said: Vec<String>,
    came: Vec<Came>,
    input: Vec<u8>,
}

impl End {
    fn new(amqp: Connection) -> End {
        End { amqp, said: Vec::new(), came: Vec::new(), input: Vec::new() }
    }

    /// Handles all that has come, and answers it as a friendly peer does.
    fn turn(&mut self, now: Duration, answering: bool) {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some(event) = self.amqp.next(now, &mut rest) {
            let text = format!("{event:?}");
            enum Answer {
                Nothing,
                Authenticated,
                Opened,
                Begun(u16),
                Attached(u16, u32, Vec<u8>, Vec<u8>),
                Detached(u16, u32, bool),
                Ended(u16),
                Closed,
            }
            let copy = |value: Option<ValueRef<'_>>| {
                let mut octets = Vec::new();
                if let Some(value) = value {
                    value.encode(&mut octets).unwrap();
                }
                octets
            };
            let answer = match event {
                Event::Authenticate { .. } => Answer::Authenticated,
                Event::Open { .. } => Answer::Opened,
                Event::Begin { channel, .. } => Answer::Begun(channel),
                Event::Attach { channel, handle, attach } => {
                    Answer::Attached(channel, handle, copy(attach.source), copy(attach.target))
                }
                Event::Detach { channel, handle, closed, answer: false, .. } => {
                    Answer::Detached(channel, handle, closed)
                }
                Event::End { channel, answer: false, .. } => Answer::Ended(channel),
                Event::Close { .. } => Answer::Closed,
                Event::Delivery { channel, handle, id, settled, payload, transfer } => {
                    let resumed = if transfer.resume { " resumed" } else { "" };
                    self.said.push(format!("Delivery {id}{resumed}"));
                    self.came.push((handle, id, settled, payload.into_owned()));
                    self.amqp.finished(channel, handle);
                    continue;
                }
                _ => Answer::Nothing,
            };
            self.said.push(text);
            if !answering {
                continue;
            }
            match answer {
                Answer::Nothing => {}
                Answer::Authenticated => self.amqp.authenticated(None),
                Answer::Opened => self.amqp.open_ok(),
                Answer::Begun(channel) => self.amqp.begin_ok(channel),
                Answer::Attached(channel, handle, source, target) => {
                    let view =
                        |octets: &'static [u8]| ValueRef::decode(&mut Reader::new(octets)).ok();
                    let (source, target) = (source.leak(), target.leak());
                    let attach =
                        Attach { source: view(source), target: view(target), ..Attach::default() };
                    self.amqp.attach_ok(channel, handle, &attach);
                }
                Answer::Detached(channel, handle, closed) => {
                    self.amqp.detach(channel, handle, closed, None);
                }
                Answer::Ended(channel) => self.amqp.end(channel, None),
                Answer::Closed => self.amqp.close(now, None),
            }
        }
        self.input = rest.to_vec();
        self.amqp.flush();
    }

    /// Whether something of this name was said, once.
    fn heard(&self, what: &str) -> bool {
        self.said.iter().filter(|said| said.starts_with(what)).count() == 1
    }
}

struct Pair {
    client: End,
    server: End,
    now: Duration,
    answering: bool,
}

impl Pair {
    fn new(client: ClientConfig, server: ServerConfig) -> Pair {
        let now = seconds(1000);
        Pair {
            client: End::new(Connection::client(client, now)),
            server: End::new(Connection::server(server, now)),
            now,
            answering: true,
        }
    }

    /// Connected, with a session on channel 0.
    fn open(limits: Limits, max_frame_size: u32) -> Pair {
        let identity = Identity { max_frame_size, ..Identity::default() };
        let client =
            ClientConfig { identity: identity.clone(), limits: limits.clone(), ..client() };
        let mut pair = Pair::new(client, ServerConfig { identity, limits, ..server() });
        pair.drive();
        assert_eq!(pair.client.amqp.begin(), Some(0));
        pair.drive();
        pair
    }

    /// Carries octets both ways until neither end has more to say.
    fn drive(&mut self) {
        for _ in 0..100 {
            self.client.amqp.flush();
            let out = std::mem::take(self.client.amqp.out());
            self.server.input.extend_from_slice(&out);
            self.server.turn(self.now, self.answering);
            let back = std::mem::take(self.server.amqp.out());
            self.client.input.extend_from_slice(&back);
            self.client.turn(self.now, self.answering);
            if out.is_empty() && back.is_empty() {
                return;
            }
        }
        panic!("the ends talk for ever");
    }

    /// Carries octets until the server owes the answer to `open`.
    fn drive_until_open(&mut self) {
        for _ in 0..10 {
            self.server.input.append(self.client.amqp.out());
            self.server.turn(self.now, !self.server.heard("Authenticate"));
            self.client.input.append(self.server.amqp.out());
            self.client.turn(self.now, true);
        }
        self.answering = false;
    }

    /// Attaches a link on which the client sends (or receives).
    fn attach(&mut self, name: &str, role: Role) -> u32 {
        let mut address = Vec::new();
        put_string("node", &mut address).unwrap();
        let address = ValueRef::decode(&mut Reader::new(&address)).ok();
        let (mut source, mut target) = (Vec::new(), Vec::new());
        Source { address, ..Source::default() }.encode(&mut source).unwrap();
        Target { address, ..Target::default() }.encode(&mut target).unwrap();
        let attach = Attach {
            name,
            role,
            source: ValueRef::decode(&mut Reader::new(&source)).ok(),
            target: ValueRef::decode(&mut Reader::new(&target)).ok(),
            ..Attach::default()
        };
        let handle = self.client.amqp.attach(0, &attach).unwrap();
        self.drive();
        handle
    }
}

fn client() -> ClientConfig {
    ClientConfig {
        mechanisms: vec![ClientMechanism { name: "ANONYMOUS".into(), response: None }],
        ..ClientConfig::default()
    }
}

fn server() -> ServerConfig {
    ServerConfig { mechanisms: vec!["PLAIN".into(), "ANONYMOUS".into()], ..Default::default() }
}

fn send(end: &mut End, handle: u32, body: &[u8]) -> Result<SequenceNo, SendError> {
    let outgoing = Outgoing { tag: b"tag", ..Outgoing::default() };
    end.amqp.transfer(0, handle, &outgoing, &[b"", body])
}

fn bodies(end: &End) -> Vec<&[u8]> {
    end.came.iter().map(|(_, _, _, body)| &body[..]).collect()
}

// ---- negotiation ----

#[test]
fn negotiation_with_and_without_sasl() {
    let mut pair = Pair::new(client(), server());
    pair.drive();
    assert!(pair.server.heard("Authenticate { mechanism: \"ANONYMOUS\""), "{:?}", pair.server.said);
    assert!(pair.client.amqp.is_open() && pair.server.amqp.is_open());
    let mut pair = Pair::new(
        ClientConfig { mechanisms: Vec::new(), ..client() },
        ServerConfig { sasl_optional: true, ..server() },
    );
    pair.drive();
    assert!(pair.client.amqp.is_open() && pair.server.amqp.is_open());
}

#[test]
fn who_must_authenticate_cannot_leave_that_out() {
    let mut pair = Pair::new(ClientConfig { mechanisms: Vec::new(), ..client() }, server());
    pair.drive();
    assert!(pair.server.amqp.is_closed() && pair.client.amqp.is_closed());
}

#[test]
fn a_mechanism_that_was_not_offered_is_refused() {
    let scram = ClientMechanism { name: "SCRAM".into(), response: None };
    let mut pair = Pair::new(ClientConfig { mechanisms: vec![scram], ..client() }, server());
    pair.drive();
    let said = format!("{:?}", pair.client.said);
    assert!(said.contains("no mechanism in common; offered: PLAIN ANONYMOUS"), "{said}");
}

#[test]
fn either_end_closes() {
    for server_closes in [false, true] {
        let mut pair = Pair::open(Limits::default(), 512);
        let end = if server_closes { &mut pair.server } else { &mut pair.client };
        let error = Error { condition: amqp_error::INTERNAL_ERROR, ..Error::default() };
        end.amqp.close(pair.now, Some(&error));
        pair.drive();
        assert!(pair.server.amqp.is_closed() && pair.client.amqp.is_closed());
        let end = if server_closes { &pair.client } else { &pair.server };
        assert!(end.heard("Close { error: Some"), "{:?}", end.said);
    }
}

#[test]
fn an_open_is_refused_in_the_words_that_clients_look_for() {
    let mut properties = Vec::new();
    put_map(&mut properties, |out| {
        put_string("product", out)?;
        put_string("x", out)?;
        Ok(2)
    })
    .unwrap();
    for properties in [Vec::new(), properties] {
        let product = !properties.is_empty();
        let identity = Identity { properties, ..Identity::default() };
        let mut pair = Pair::new(client(), ServerConfig { identity, ..server() });
        pair.drive_until_open();
        let error = Error { condition: amqp_error::INVALID_FIELD, ..Error::default() };
        pair.server.amqp.refuse_open(pair.now, &error);
        pair.answering = true;
        pair.drive();
        let said = format!("{:?}", pair.client.said);
        assert!(
            said.contains("amqp:connection-establishment-failed") && said.contains("invalid-field"),
            "{said}"
        );
        assert_eq!(said.contains("product"), product, "{said}");
        assert!(pair.server.amqp.is_closed() && pair.client.amqp.is_closed());
        assert!(pair.server.heard("Closed"), "{:?}", pair.server.said);
    }
}

#[test]
fn a_stream_may_come_octet_by_octet() {
    let mut whole = Pair::open(Limits::default(), 512);
    let sender = whole.attach("link", Role::SENDER);
    whole.server.amqp.grant(0, sender, 3, false);
    whole.drive();
    for n in 0..3 {
        send(&mut whole.client, sender, &vec![n; 1000 * usize::from(n)]).unwrap();
    }
    let stream = std::mem::take(whole.client.amqp.out());
    for octet in stream {
        whole.server.input.push(octet);
        whole.server.turn(whole.now, true);
    }
    assert_eq!(bodies(&whole.server), [&[][..], &[1; 1000], &[2; 2000]]);
}

#[test]
fn silence_ends_a_connection_and_signs_of_life_keep_it() {
    let identity = Identity { idle_time_out: seconds(10), ..Identity::default() };
    let mut pair = Pair::new(client(), ServerConfig { identity, ..server() });
    pair.drive();
    // The client shows that it is alive in half the time.
    for _ in 0..20 {
        pair.now += seconds(5);
        assert!(pair.client.amqp.next_timeout().unwrap() <= pair.now);
        pair.client.amqp.timeout(pair.now);
        assert_eq!(pair.client.amqp.out_len(), 8);
        pair.drive();
        pair.server.amqp.timeout(pair.now);
    }
    assert!(pair.server.amqp.is_open());
    pair.now += seconds(20);
    pair.server.amqp.timeout(pair.now);
    pair.server.turn(pair.now, true);
    assert!(pair.server.heard("Closed { text: Some(\"nothing came"), "{:?}", pair.server.said);
}

#[test]
fn a_peer_that_never_speaks_is_left() {
    let mut end = Connection::server(server(), seconds(1));
    assert_eq!(end.next_timeout(), Some(seconds(11)));
    end.timeout(seconds(11));
    assert!(end.is_closed());
}

// ---- links ----

#[test]
fn links_attach_and_detach_from_both_ends() {
    let mut pair = Pair::open(Limits::default(), 512);
    for role in [Role::SENDER, Role::RECEIVER] {
        let handle = pair.attach("link", role);
        assert!(pair.client.said.last().unwrap().starts_with("Attached"), "{:?}", pair.client.said);
        pair.client.amqp.detach(0, handle, true, None);
        pair.drive();
        assert!(pair.server.said.iter().any(|said| said.starts_with("Detach")));
        // The handle is free again.
        assert_eq!(pair.attach("again", role), handle);
        pair.server.amqp.detach(0, handle, true, None);
        pair.drive();
        assert_eq!(pair.attach("and again", role), handle);
        pair.client.amqp.detach(0, handle, false, None);
        pair.drive();
    }
    pair.client.amqp.end(0, None);
    pair.drive();
    assert_eq!((pair.client.amqp.session_count(), pair.server.amqp.session_count()), (0, 0));
}

/// An unsettled map of one delivery.
fn unsettled(tag: &[u8], state: Option<DeliveryState<'_>>) -> Vec<u8> {
    let mut map = Vec::new();
    put_map(&mut map, |out| {
        put_binary(tag, out)?;
        match state {
            Some(state) => state.encode(out)?,
            None => put_null(out),
        }
        Ok(2)
    })
    .unwrap();
    map
}

fn map(octets: &[u8]) -> Option<MapRef<'_>> {
    ValueRef::decode(&mut Reader::new(octets)).unwrap().as_map()
}

#[test]
fn what_is_not_settled_is_told_by_both_ends_and_resumed() {
    for role in [Role::SENDER, Role::RECEIVER] {
        let mut pair = Pair::open(Limits::default(), 512);
        pair.answering = false;
        let ours = unsettled(b"tag", None);
        let attach = Attach { name: "link", role, unsettled: map(&ours), ..Attach::default() };
        let handle = pair.client.amqp.attach(0, &attach).unwrap();
        pair.drive();
        let heard = pair.server.said.last().unwrap();
        assert!(
            heard.contains("unsettled: Some({") && heard.contains("incomplete_unsettled: false"),
            "{heard}"
        );
        let theirs = unsettled(b"tag", Some(Accepted {}.into()));
        let answer =
            Attach { unsettled: map(&theirs), incomplete_unsettled: true, ..Attach::default() };
        pair.server.amqp.attach_ok(0, handle, &answer);
        pair.drive();
        let heard = pair.client.said.last().unwrap();
        assert!(
            heard.starts_with("Attached") && heard.contains("incomplete_unsettled: true"),
            "{heard}"
        );
        let (sends, receives) = match role {
            Role::SENDER => (&mut pair.client, &mut pair.server),
            _ => (&mut pair.server, &mut pair.client),
        };
        receives.amqp.grant(0, handle, 2, false);
        receives.amqp.flush();
        sends.input.append(receives.amqp.out());
        sends.turn(pair.now, true);
        // It has to have credit, and a number, like any other.
        let resumed = Outgoing { tag: b"tag", resume: true, ..Outgoing::default() };
        let id = sends.amqp.transfer(0, handle, &resumed, &[]).unwrap();
        send(sends, handle, &[7; 2000]).unwrap();
        let large = Outgoing { tag: b"large", resume: true, ..Outgoing::default() };
        assert_eq!(sends.amqp.transfer(0, handle, &large, &[&[8; 2000]]), Err(SendError::NoCredit));
        pair.drive();
        let receives = if role == Role::SENDER { &pair.server } else { &pair.client };
        assert_eq!(id, SequenceNo(0));
        assert!(receives.heard("Delivery 0 resumed") && receives.heard("Delivery 1"));
        assert!(!receives.heard("Delivery 1 resumed"));
    }
}

#[test]
fn a_link_is_left_and_attached_again_under_its_name() {
    for (role, by_server) in [(Role::SENDER, false), (Role::RECEIVER, false), (Role::SENDER, true)]
    {
        let mut pair = Pair::open(Limits::default(), 512);
        let other = pair.attach("other", role);
        for _ in 0..3 {
            let handle = pair.attach("link", role);
            assert_ne!(handle, other);
            let leaver = if by_server { &mut pair.server } else { &mut pair.client };
            leaver.amqp.detach(0, handle, false, None);
            pair.drive();
            let left = if by_server { &pair.client } else { &pair.server };
            assert!(left.said.last().unwrap().contains("closed: false"), "{:?}", left.said);
        }
    }
}

#[test]
fn a_link_may_be_attached_anew_before_it_is_detached() {
    let mut pair = Pair::open(Limits::default(), 512);
    let first = pair.attach("link", Role::SENDER);
    pair.server.amqp.grant(0, first, 10, false);
    pair.drive();
    pair.answering = false;
    let attach = Attach { name: "link", role: Role::SENDER, ..Attach::default() };
    let second = pair.client.amqp.attach(0, &attach).unwrap();
    // What was on its way on the first when it was taken away is nobody's.
    send(&mut pair.client, first, b"late").unwrap();
    pair.drive();
    let stolen = Error { condition: link_error::STOLEN, ..Error::default() };
    pair.server.amqp.detach(0, first, true, Some(&stolen));
    pair.server.amqp.attach_ok(0, second, &Attach::default());
    pair.server.amqp.grant(0, second, 10, false);
    pair.answering = true;
    pair.drive();
    assert!(pair.client.heard("Detach { channel: 0, handle: 0, closed: true, error: Some"));
    assert_eq!(send(&mut pair.client, first, b"too late"), Err(SendError::Detached));
    send(&mut pair.client, second, b"in time").unwrap();
    pair.drive();
    assert_eq!(bodies(&pair.server), [b"in time"]);
}

#[test]
fn a_thousand_attaches_under_way_are_answered_each() {
    let mut pair = Pair::open(Limits::default(), 512);
    for n in 0..1000 {
        let name = format!("link {}", n % 500);
        let role = if n < 500 { Role::SENDER } else { Role::RECEIVER };
        let attach = Attach { name: &name, role, ..Attach::default() };
        assert_eq!(pair.client.amqp.attach(0, &attach), Some(n));
    }
    pair.drive();
    let attached = pair.client.said.iter().filter(|said| said.starts_with("Attached"));
    let handles: Vec<String> =
        attached.map(|said| said.split(',').nth(1).unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..1000).map(|n| format!(" handle: {n}")).collect();
    assert_eq!(handles, expected);
}

#[test]
fn a_refused_link_is_attached_without_terminus_and_detached() {
    let mut pair = Pair::open(Limits::default(), 512);
    pair.answering = false;
    let attach = Attach { name: "link", role: Role::SENDER, ..Attach::default() };
    let handle = pair.client.amqp.attach(0, &attach).unwrap();
    pair.drive();
    let error =
        Error { condition: amqp_error::NOT_FOUND, description: Some("no node"), info: None };
    pair.server.amqp.refuse_attach(0, handle, &Attach::default(), &error);
    pair.answering = true;
    pair.drive();
    let said = format!("{:?}", pair.client.said);
    assert!(said.contains("target: None") && said.contains("no node"), "{said}");
}

#[test]
fn no_more_is_sent_than_there_is_credit_for() {
    let mut pair = Pair::open(Limits::default(), 512);
    let link = pair.attach("link", Role::SENDER);
    assert_eq!(send(&mut pair.client, link, b"x"), Err(SendError::NoCredit));
    pair.server.amqp.grant(0, link, 2, false);
    pair.drive();
    assert!(
        pair.client.heard("Credit { channel: 0, handle: 0, credit: 2"),
        "{:?}",
        pair.client.said
    );
    for body in [b"1", b"2"] {
        send(&mut pair.client, link, body).unwrap();
    }
    assert_eq!(send(&mut pair.client, link, b"3"), Err(SendError::NoCredit));
    pair.drive();
    assert_eq!(bodies(&pair.server), [b"1", b"2"]);
    // What is stated later replaces what was stated before.
    pair.server.amqp.grant(0, link, 5, false);
    pair.server.amqp.grant(0, link, 1, false);
    pair.drive();
    assert_eq!(pair.client.amqp.credit(0, link), 1);
}

#[test]
fn a_window_of_credit_is_kept_up() {
    let mut pair = Pair::open(Limits::default(), 512);
    let link = pair.attach("link", Role::SENDER);
    pair.server.amqp.grant_window(0, link, 10);
    pair.drive();
    for n in 0..100u8 {
        send(&mut pair.client, link, &[n]).unwrap();
        pair.drive();
        assert!(pair.client.amqp.credit(0, link) >= 5);
    }
    assert_eq!(pair.server.came.len(), 100);
}

#[test]
fn drain_uses_the_credit_up() {
    let mut pair = Pair::open(Limits::default(), 512);
    let link = pair.attach("link", Role::RECEIVER);
    for round in 0..3 {
        pair.client.amqp.grant(0, link, 10, true);
        pair.drive();
        for n in 0..round {
            send(&mut pair.server, link, &[n]).unwrap();
        }
        pair.server.amqp.drained(0, link);
        pair.drive();
        assert_eq!(pair.client.amqp.credit(0, link), 0);
        assert_eq!(pair.server.amqp.credit(0, link), 0);
        let drained = pair.client.said.iter().filter(|said| said.starts_with("Drained")).count();
        assert_eq!(drained, usize::from(round) + 1);
        assert_eq!(pair.client.came.len(), usize::from(round * (round.max(1) - 1) / 2 + round));
    }
}

#[test]
fn states_of_deliveries_go_both_ways() {
    let mut pair = Pair::open(Limits::default(), 512);
    let link = pair.attach("link", Role::SENDER);
    pair.server.amqp.grant(0, link, 10, false);
    pair.drive();
    for n in 0..6 {
        send(&mut pair.client, link, &[n]).unwrap();
    }
    pair.drive();
    for id in [0, 1, 2, 5] {
        pair.server.amqp.accept(0, SequenceNo(id));
    }
    let rejected: DeliveryState<'_> = Rejected { error: None }.into();
    let id = SequenceNo(3);
    pair.server.amqp.dispose(0, Role::RECEIVER, (id, id), false, Some(rejected));
    pair.drive();
    let said: Vec<_> =
        pair.client.said.iter().filter(|said| said.starts_with("Disposition")).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].contains(
            "first: CommandId(3), last: CommandId(3), settled: false, state: Some(Rejected"
        )
    );
    assert!(
        said[1].contains(
            "first: CommandId(0), last: CommandId(2), settled: true, state: Some(Accepted"
        )
    );
    assert!(said[2].contains("first: CommandId(5), last: CommandId(5)"));
    // The sender settles what the receiver left to it.
    let released: DeliveryState<'_> = Released {}.into();
    pair.client.amqp.dispose(0, Role::SENDER, (id, id), true, Some(released));
    pair.drive();
    assert!(pair.server.heard("Disposition { channel: 0, role: sender, first: CommandId(3)"));
}

#[test]
fn a_disposition_of_what_was_never_sent_is_cut() {
    let mut pair = Pair::open(Limits::default(), 512);
    let link = pair.attach("link", Role::SENDER);
    pair.server.amqp.grant(0, link, 10, false);
    pair.drive();
    send(&mut pair.client, link, b"x").unwrap();
    pair.drive();
    let all = (SequenceNo(0), SequenceNo(0x7fff_0000));
    pair.server.amqp.dispose(0, Role::RECEIVER, all, true, Some(Accepted {}.into()));
    pair.drive();
    assert!(pair.client.heard(
        "Disposition { channel: 0, role: receiver, first: CommandId(0), last: CommandId(0)"
    ));
}

#[test]
fn what_the_window_stops_follows_in_order() {
    let limits = Limits { window: 4, ..Limits::default() };
    let mut pair = Pair::open(limits, 512);
    let link = pair.attach("link", Role::SENDER);
    pair.server.amqp.grant(0, link, 100, false);
    pair.drive();
    for n in 0..50u8 {
        send(&mut pair.client, link, &vec![n; 20 * usize::from(n)]).unwrap();
    }
    assert!(pair.client.amqp.stalled() > 0);
    pair.drive();
    assert_eq!(pair.client.amqp.stalled(), 0);
    let came: Vec<_> = bodies(&pair.server).into_iter().map(<[u8]>::len).collect();
    assert_eq!(came, (0..50).map(|n| 20 * n).collect::<Vec<_>>());
}

// ---- wrong ----

#[test]
fn a_delivery_beyond_the_credit_fails_its_link_alone() {
    let mut pair = Pair::open(Limits::default(), 512);
    let (link, other) = (pair.attach("link", Role::SENDER), pair.attach("other", Role::SENDER));
    for link in [link, other] {
        pair.server.amqp.grant(0, link, 2, false);
    }
    pair.drive();
    // The server takes its credit back while two are on their way.
    for body in [b"1", b"2"] {
        send(&mut pair.client, link, body).unwrap();
    }
    pair.server.amqp.grant(0, link, 1, false);
    pair.drive();
    let said = format!("{:?}", pair.server.said);
    assert!(said.contains("LinkFailed") && said.contains("link-credit"), "{said}");
    send(&mut pair.client, other, b"3").unwrap();
    pair.drive();
    assert_eq!(bodies(&pair.server), [b"1", b"3"]);
}

#[test]
fn a_message_that_is_too_large_fails_its_link() {
    let limits = Limits { message: 1000, ..Limits::default() };
    let mut pair = Pair::open(limits, 512);
    let link = pair.attach("link", Role::SENDER);
    pair.server.amqp.grant(0, link, 10, false);
    pair.drive();
    send(&mut pair.client, link, &[0; 1000]).unwrap();
    send(&mut pair.client, link, &[0; 1001]).unwrap();
    pair.drive();
    assert_eq!(pair.server.came.len(), 1);
    assert!(format!("{:?}", pair.client.said).contains("message-size-exceeded"));
}

#[test]
fn sessions_and_links_have_limits() {
    let limits = Limits { sessions: 2, links: 2, ..Limits::default() };
    let mut pair = Pair::open(limits, 512);
    assert_eq!(pair.client.amqp.begin(), Some(1));
    assert_eq!(pair.client.amqp.begin(), None);
    pair.attach("1", Role::SENDER);
    pair.attach("2", Role::SENDER);
    let attach = Attach { name: "3", role: Role::SENDER, ..Attach::default() };
    assert_eq!(pair.client.amqp.attach(0, &attach), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_delivery_comes_once_and_whole(
        sizes in prop::collection::vec(0usize..3000, 1..60),
        window in 1u32..8,
        credit in 1u32..8,
        max_frame in 512u32..2000,
        links in 1usize..4,
    ) {
        let limits = Limits { window, ..Limits::default() };
        let mut pair = Pair::open(limits, max_frame);
        let links: Vec<u32> =
            (0..links).map(|n| pair.attach(&n.to_string(), Role::SENDER)).collect();
        for link in &links {
            pair.server.amqp.grant_window(0, *link, credit);
        }
        pair.drive();
        let mut sent = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            let link = links[n % links.len()];
            let body = vec![n as u8; *size];
            while send(&mut pair.client, link, &body) == Err(SendError::NoCredit) {
                pair.drive();
            }
            sent.push((link, body));
        }
        pair.drive();
        let came: Vec<_> =
            pair.server.came.iter().map(|(link, _, _, body)| (*link, body.clone())).collect();
        prop_assert_eq!(came, sent);
        prop_assert!(pair.server.amqp.is_open() && pair.client.amqp.is_open());
    }
}
