//! Links of AMQP 1.0 by name: one client has each; what is not settled under it waits for the one who comes back. On
//! 1, 2 and 4 shards, with our own client.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fletch_client::amqp::v1_0::SenderSettleMode;
use fletch_client::amqp::v1_0::message::Body;
use fletch_client::v1_0::{
    Connection, Credit, Delivery, Failure, Outcome, Outgoing, Receiver, ReceiverOptions, Sender,
    SenderOptions, Session, Terminus, Unsettled,
};
use fletch_client::{ConnectOptions, Error};
use fletch_tests::scene::{PATIENCE, Scene};

/// Longer than it takes to find that nothing comes.
const MOMENT: Duration = Duration::from_millis(200);

fn connect(scene: &Scene, container: &str) -> Result<(Connection, Session)> {
    let container_id = Some(container.to_owned());
    let options = ConnectOptions { timeout: PATIENCE, container_id, ..ConnectOptions::default() };
    let connection = Connection::connect(scene.broker.address(), &options)?;
    let session = connection.session()?;
    Ok((connection, session))
}

fn queue(name: &str) -> Terminus {
    Terminus { capabilities: vec!["create-on-demand".into(), "queue".into()], ..Terminus::of(name) }
}

/// A link whose client settles last, and whose end here outlives it by so many seconds.
fn sender(name: &str, target: &str, timeout: u32, unsettled: Unsettled) -> SenderOptions {
    SenderOptions {
        name: Some(name.into()),
        target: Terminus { timeout, ..queue(target) },
        second: true,
        unsettled,
        ..SenderOptions::default()
    }
}

/// A link whose messages wait for it so many seconds.
fn receiver(name: &str, source: &str, timeout: u32, unsettled: Unsettled) -> ReceiverOptions {
    ReceiverOptions {
        name: Some(name.into()),
        source: Terminus { durable: true, timeout, ..queue(source) },
        settle_mode: SenderSettleMode::UNSETTLED,
        unsettled,
        ..ReceiverOptions::default()
    }
}

fn text(delivery: &Delivery) -> Result<String> {
    match delivery.view()?.body() {
        Body::Data(pieces) => Ok(String::from_utf8(pieces.joined().into_owned())?),
        other => bail!("not octets: {other:?}"),
    }
}

fn next(receiver: &Receiver) -> Result<Delivery> {
    receiver.next_delivery(PATIENCE)?.context("no message came")
}

/// All that a queue has, accepted.
fn drained(session: &Session, queue: &str) -> Result<Vec<String>> {
    let receiver = session.receiver(&ReceiverOptions::of(queue))?;
    let mut texts = Vec::new();
    while let Some(delivery) = receiver.next_delivery(MOMENT)? {
        texts.push(text(&delivery)?);
        receiver.accept(&delivery)?;
    }
    receiver.close()?;
    Ok(texts)
}

fn encoded(text: &str) -> Result<Vec<u8>> {
    let mut encoded = Vec::new();
    Outgoing::of_data(text.as_bytes()).encode(&mut encoded)?;
    Ok(encoded)
}

fn send_as(sender: &Sender, tag: &[u8], text: &str) -> Result<()> {
    sender.send_as(tag, &[&encoded(text)?])?;
    Ok(())
}

/// Why a link is over.
fn condition<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<String> {
    match result {
        Err(Error::V1_0(Failure::Link(condition) | Failure::Refused(condition))) => {
            Ok(condition.name)
        }
        other => bail!("{other:?}"),
    }
}

/// Waits until the broker has taken a link away.
fn taken_away(session: &Connection, receiver: &Receiver) -> Result<()> {
    let over = Instant::now() + PATIENCE;
    loop {
        session.poll(Duration::from_millis(10))?;
        match receiver.grant(1) {
            Ok(()) => ensure!(Instant::now() < over, "the link is still there"),
            over => {
                ensure!(condition(over)? == "amqp:link:stolen");
                return Ok(());
            }
        }
    }
}

#[test]
fn a_link_that_is_attached_elsewhere_is_taken_away_with_what_it_held() -> Result<()> {
    Scene::each(|scene| {
        let (_one, first) = connect(scene, "c")?;
        let out = first.sender(&SenderOptions { target: queue("q"), ..Default::default() })?;
        for n in 0..10 {
            out.send(&Outgoing::of_data(format!("m{n}").as_bytes()))?;
        }
        out.settle()?;
        let mut holder: Option<(Connection, Receiver)> = None;
        // Connections are all over the shards.
        for _ in 0..2 * scene.shards + 1 {
            let (connection, session) = connect(scene, "c")?;
            let options = ReceiverOptions { name: Some("r".into()), ..ReceiverOptions::of("q") };
            let receiver = session.receiver(&options)?;
            for n in 0..10 {
                let delivery = next(&receiver)?;
                ensure!(text(&delivery)? == format!("m{n}"));
                ensure!(delivery.redelivered()? == holder.is_some(), "{n}");
            }
            if let Some((connection, receiver)) = holder.take() {
                taken_away(&connection, &receiver)?;
                connection.close()?;
            }
            holder = Some((connection, receiver));
        }
        // Other names, other directions and other containers are other links.
        let (connection, held) = holder.context("somebody has it")?;
        let (_other, other) = connect(scene, "d")?;
        other.receiver(&ReceiverOptions { name: Some("r".into()), ..ReceiverOptions::of("q") })?;
        first.receiver(&ReceiverOptions { name: Some("s".into()), ..ReceiverOptions::of("q") })?;
        first.sender(&SenderOptions { name: Some("r".into()), ..SenderOptions::of("q") })?;
        connection.poll(MOMENT)?;
        held.grant(1)?;
        Ok(())
    })
}

#[test]
fn links_of_one_connection_may_have_one_name() -> Result<()> {
    Scene::each(|scene| {
        let (connection, session) = connect(scene, "c")?;
        let neighbour = connection.session()?;
        let own = || sender("out", "q", 0, Unsettled::default());
        // As the reference has it: clients that name links by their addresses attach several.
        let outs = [session.sender(&own())?, session.sender(&own())?, neighbour.sender(&own())?];
        for out in &outs {
            out.send(&Outgoing::of_data(b"one"))?;
            out.settle()?;
        }
        let options = ReceiverOptions { name: Some("in".into()), ..ReceiverOptions::of("q") };
        let receivers = [session.receiver(&options)?, session.receiver(&options)?];
        let mut texts = Vec::new();
        for receiver in &receivers {
            while let Some(delivery) = receiver.next_delivery(MOMENT)? {
                texts.push(text(&delivery)?);
                receiver.accept(&delivery)?;
            }
        }
        ensure!(texts == ["one"; 3], "{texts:?}");
        // The name is the first one's. When that is gone, another may have it.
        let [first, second] = receivers;
        first.close()?;
        let third = session.receiver(&options)?;
        outs[0].send(&Outgoing::of_data(b"two"))?;
        let (a, b) = (second.next_delivery(MOMENT)?, third.next_delivery(MOMENT)?);
        ensure!(a.is_some() != b.is_some(), "one of them has it");
        Ok(())
    })
}

#[test]
fn what_a_lost_link_was_told_is_told_again_and_published_once() -> Result<()> {
    Scene::each(|scene| {
        let (connection, session) = connect(scene, "c")?;
        let out = session.sender(&sender("out", "q", 60, Unsettled::default()))?;
        // What our client hears it settles: so it does not read.
        for tag in ["a", "b", "c"] {
            send_as(&out, tag.as_bytes(), tag)?;
        }
        connection.flush()?;
        let (_watch, watch) = connect(scene, "w")?;
        wait_for(&watch, "q", 3)?;
        ensure!(out.pending().len() == 3);
        // The broker sees a client that went away.
        drop((out, session, connection));

        let unsettled = Unsettled::of_tags(["a", "b", "d"].map(|tag| tag.as_bytes().to_vec()));
        let (connection, session) = connect(scene, "c")?;
        let out = session.sender(&sender("out", "q", 60, unsettled))?;
        let known = &out.offered().unsettled;
        let accepted = Some(&Some(Outcome::Accepted));
        ensure!(known.get(b"a") == accepted && known.get(b"b") == accepted, "{known:?}");
        ensure!(known.deliveries.len() == 2 && !known.incomplete, "{known:?}");
        out.resume(b"a")?;
        out.resume(b"b")?;
        send_as(&out, b"d", "d")?;
        out.settle()?;
        ensure!(out.take_failed().is_empty());
        // What the broker does not know is ignored (part 2.7.5), and has no outcome.
        out.resume(b"unheard")?;
        out.send(&Outgoing::of_data(b"e"))?;
        connection.flush()?;
        wait_for(&watch, "q", 5)?;
        connection.poll(MOMENT)?;
        ensure!(out.unsettled() == 1);
        ensure!(drained(&watch, "q")? == ["a", "b", "c", "d", "e"]);
        Ok(())
    })
}

/// Waits until a queue has so many messages, by looking at them.
fn wait_for(session: &Session, queue: &str, count: usize) -> Result<()> {
    let over = Instant::now() + PATIENCE;
    loop {
        let source = Terminus { browse: true, ..Terminus::of(queue) };
        let options =
            ReceiverOptions { source, credit: Credit::Once(0), ..ReceiverOptions::default() };
        let browser = session.receiver(&options)?;
        browser.drain(1000)?;
        let found = browser.take_deliveries(&mut Vec::new());
        browser.close()?;
        ensure!(found <= count, "{found} messages, which should be {count}");
        if found == count {
            return Ok(());
        }
        ensure!(Instant::now() < over, "{found} messages, which should be {count}");
    }
}

#[test]
fn a_refusal_is_told_again_too() -> Result<()> {
    let direct = |unsettled| SenderOptions {
        target: Terminus { timeout: 60, ..Terminus::of("amq.direct") },
        ..sender("out", "", 0, unsettled)
    };
    Scene::each(|scene| {
        let (connection, session) = connect(scene, "c")?;
        let out = session.sender(&direct(Unsettled::default()))?;
        // No message can be decoded from this.
        out.send_as(b"bad", &[b"nonsense"])?;
        connection.flush()?;
        std::thread::sleep(MOMENT);
        drop((out, session, connection));
        let (_connection, session) = connect(scene, "c")?;
        let unsettled = Unsettled::of_tags([b"bad".to_vec()]);
        let out = session.sender(&direct(unsettled))?;
        let Some(Some(Outcome::Rejected(why))) = out.offered().unsettled.get(b"bad") else {
            bail!("{:?}", out.offered());
        };
        ensure!(why.name == "amqp:decode-error", "{why}");
        let id = out.resume(b"bad")?;
        out.settle()?;
        match &out.take_failed()[..] {
            [(failed, Outcome::Rejected(_))] if *failed == id => Ok(()),
            other => bail!("{other:?}"),
        }
    })
}

#[test]
fn what_nobody_comes_back_for_is_forgotten_in_time() -> Result<()> {
    Scene::each(|scene| {
        let tag = || Unsettled::of_tags([b"a".to_vec()]);
        // What the broker does not know to be lost is handed over.
        for (timeout, wait, kept) in [(0, 1500, false), (60, 0, true), (1, 2500, false)] {
            let (connection, session) = connect(scene, "c")?;
            let out = session.sender(&sender("out", "q", timeout, Unsettled::default()))?;
            send_as(&out, b"a", "a")?;
            connection.flush()?;
            let (_watch, watch) = connect(scene, "w")?;
            wait_for(&watch, "q", 1)?;
            drop((out, session, connection));
            std::thread::sleep(Duration::from_millis(wait));
            let (connection, session) = connect(scene, "c")?;
            let out = session.sender(&sender("out", "q", 0, tag()))?;
            let known = out.offered().unsettled.get(b"a").is_some();
            ensure!(known == kept, "{timeout} s, {wait} ms: {known}");
            drained(&watch, "q")?;
            connection.close()?;
        }
        Ok(())
    })
}

#[test]
fn a_link_can_be_left_and_taken_up_again_in_its_session() -> Result<()> {
    Scene::each(|scene| {
        let (connection, session) = connect(scene, "c")?;
        let out = session.sender(&sender("out", "q", 0, Unsettled::default()))?;
        for text in ["one", "two", "three"] {
            out.send(&Outgoing::of_data(text.as_bytes()))?;
        }
        out.settle()?;
        out.suspend()?;
        let out = session.sender(&sender("out", "q", 0, Unsettled::default()))?;
        ensure!(out.offered().unsettled == Unsettled::default(), "all was settled");
        let incoming = session.receiver(&receiver("in", "q", 0, Unsettled::default()))?;
        let held = [next(&incoming)?, next(&incoming)?, next(&incoming)?];
        incoming.suspend()?;
        ensure!(drained(&session, "q")? == [""; 0], "they wait for their link");
        let told = vec![
            (held[0].tag().to_vec(), Some(Outcome::Accepted)),
            (
                held[1].tag().to_vec(),
                Some(Outcome::Modified { failed: false, undeliverable_here: false }),
            ),
        ];
        let told = Unsettled { deliveries: told, incomplete: false };
        let incoming = session.receiver(&receiver("in", "q", 0, told))?;
        let again = [next(&incoming)?, next(&incoming)?];
        let texts = [text(&again[0])?, text(&again[1])?];
        ensure!(texts == ["two", "three"], "{texts:?}");
        ensure!(!again[0].redelivered()? && again[1].redelivered()?);
        for delivery in &again {
            incoming.accept(delivery)?;
        }
        incoming.close()?;
        // The end of the session is that of what it keeps.
        let out = session.sender(&sender("out", "q", 0, Unsettled::default()))?;
        out.send(&Outgoing::of_data(b"four"))?;
        out.settle()?;
        let incoming = session.receiver(&receiver("in", "q", 0, Unsettled::default()))?;
        next(&incoming)?;
        incoming.suspend()?;
        session.close()?;
        let session = connection.session()?;
        ensure!(drained(&session, "q")? == ["four"]);
        Ok(())
    })
}

#[test]
fn messages_wait_for_a_receiver_that_was_lost_and_comes_back() -> Result<()> {
    Scene::each(|scene| {
        let (_watch, watch) = connect(scene, "w")?;
        let out = watch.sender(&SenderOptions { target: queue("q"), ..Default::default() })?;
        for text in ["accepted", "rejected", "released", "unknown"] {
            out.send(&Outgoing::of_data(text.as_bytes()))?;
        }
        out.settle()?;
        let (connection, session) = connect(scene, "c")?;
        let incoming = session.receiver(&receiver("in", "q", 60, Unsettled::default()))?;
        let held: Vec<Delivery> = (0..4).map(|_| next(&incoming)).collect::<Result<_>>()?;
        drop((incoming, session, connection));
        std::thread::sleep(MOMENT);
        ensure!(drained(&watch, "q")? == [""; 0], "they wait for their link");
        let outcomes =
            [Outcome::Accepted, Outcome::Rejected(Default::default()), Outcome::Released];
        let told = held.iter().map(|delivery| delivery.tag().to_vec());
        let told =
            Unsettled { deliveries: told.zip(outcomes.map(Some)).collect(), incomplete: false };
        let (connection, session) = connect(scene, "c")?;
        let incoming = session.receiver(&receiver("in", "q", 60, told))?;
        let mut again = BTreeMap::new();
        for _ in 0..2 {
            let delivery = next(&incoming)?;
            again.insert(text(&delivery)?, delivery.redelivered()?);
        }
        let expected = [("released".to_owned(), false), ("unknown".to_owned(), true)];
        ensure!(again == BTreeMap::from(expected), "{again:?}");
        ensure!(incoming.next_delivery(MOMENT)?.is_none());
        // A client that says nothing has nothing: all comes again.
        drop((incoming, session, connection));
        let (_connection, session) = connect(scene, "c")?;
        let incoming = session.receiver(&receiver("in", "q", 60, Unsettled::default()))?;
        for _ in 0..2 {
            incoming.accept(&next(&incoming)?)?;
        }
        incoming.close()?;
        ensure!(drained(&watch, "q")? == [""; 0]);
        Ok(())
    })
}

#[test]
fn a_client_may_say_what_it_knows_in_parts() -> Result<()> {
    Scene::each(|scene| {
        let (_watch, watch) = connect(scene, "w")?;
        let out = watch.sender(&SenderOptions { target: queue("q"), ..Default::default() })?;
        for text in ["a", "b", "c", "d"] {
            out.send(&Outgoing::of_data(text.as_bytes()))?;
        }
        out.settle()?;
        let (connection, session) = connect(scene, "c")?;
        let once = |options| ReceiverOptions { credit: Credit::Once(3), ..options };
        let incoming = session.receiver(&once(receiver("in", "q", 60, Unsettled::default())))?;
        let held: Vec<Delivery> = (0..3).map(|_| next(&incoming)).collect::<Result<_>>()?;
        drop((incoming, session, connection));
        let (_connection, session) = connect(scene, "c")?;
        for delivery in &held[..2] {
            let deliveries = vec![(delivery.tag().to_vec(), Some(Outcome::Accepted))];
            let told = Unsettled { deliveries, incomplete: true };
            let incoming = session.receiver(&receiver("in", "q", 60, told))?;
            ensure!(incoming.next_delivery(MOMENT)?.is_none(), "nothing new comes meanwhile");
            incoming.suspend()?;
        }
        let incoming = session.receiver(&receiver("in", "q", 60, Unsettled::default()))?;
        let came = [text(&next(&incoming)?)?, text(&next(&incoming)?)?];
        ensure!(came == ["c", "d"], "{came:?}");
        // A sender that has not said everything sends nothing new.
        let unsettled = Unsettled { deliveries: Vec::new(), incomplete: true };
        let out = session.sender(&sender("out", "q", 60, unsettled))?;
        out.send(&Outgoing::of_data(b"new"))?;
        ensure!(condition(out.settle())? == "amqp:not-allowed");
        Ok(())
    })
}

#[test]
fn names_have_a_limit() -> Result<()> {
    let scene = Scene::new(1)?;
    let (_connection, session) = connect(&scene, "c")?;
    session.sender(&sender(&"x".repeat(1024), "q", 0, Unsettled::default()))?;
    let refused = session.sender(&sender(&"x".repeat(1025), "q", 0, Unsettled::default()));
    ensure!(condition(refused)? == "amqp:invalid-field");
    match connect(&scene, &"x".repeat(1025)).map_err(|error| error.downcast::<Error>()) {
        Err(Ok(Error::V1_0(Failure::Connection(condition)))) => {
            ensure!(condition.name == "amqp:invalid-field", "{condition}");
        }
        other => bail!("{other:?}"),
    }
    scene.done()
}

#[test]
fn ten_thousand_links_come_and_go_on_one_session() -> Result<()> {
    Scene::each_with(&[1, 2], &[], |scene| {
        let (connection, session) = connect(scene, "c")?;
        session.sender(&sender("first", "q", 0, Unsettled::default()))?.close()?;
        let mut links = Vec::new();
        for n in 0..10_000 {
            let name = Some(format!("l{n}"));
            links.push(session.sender(&SenderOptions { name, ..SenderOptions::of("q") })?);
        }
        links[9_999].send(&Outgoing::of_data(b"x"))?;
        links[9_999].settle()?;
        for link in &links[..5_000] {
            link.close()?;
        }
        // The session's end is that of the rest, and their names are free.
        session.close()?;
        let session = connection.session()?;
        let name = Some("l9999".to_owned());
        session.sender(&SenderOptions { name, ..SenderOptions::of("q") })?.close()?;
        ensure!(drained(&session, "q")? == ["x"]);
        Ok(())
    })
}

/// What a client does that must neither lose nor repeat a message, whatever becomes of its connections.
struct Careful {
    /// By number, which is the tag: not known to be settled.
    unsettled: BTreeMap<u32, String>,
    sent: u32,
    /// What the broker knew of those, and what it did not.
    known: u32,
    unknown: u32,
}

impl Careful {
    /// Sends on one connection until it is cut.
    fn life(&mut self, scene: &Scene, batch: u32, most: u32) -> Result<()> {
        let (connection, session) = connect(scene, "careful")?;
        let tags = self.unsettled.keys().map(|number| number.to_be_bytes().to_vec());
        let out = session.sender(&sender("out", "q", 60, Unsettled::of_tags(tags)))?;
        let mut tags = BTreeMap::new();
        for (number, text) in &self.unsettled {
            let tag = number.to_be_bytes();
            let id = match out.offered().unsettled.get(&tag) {
                Some(_) => {
                    self.known += 1;
                    out.resume(&tag)?
                }
                None => {
                    self.unknown += 1;
                    out.send_as(&tag, &[&encoded(text)?])?
                }
            };
            tags.insert(id.0, *number);
        }
        for _ in 0..batch.min(most - self.sent) {
            let (number, text) = (self.sent, format!("m{}", self.sent));
            let id = out.send_as(&number.to_be_bytes(), &[&encoded(&text)?])?;
            tags.insert(id.0, number);
            self.unsettled.insert(number, text);
            self.sent += 1;
        }
        // Some outcomes are read, and are settled; of others the client never hears.
        connection.poll(Duration::from_millis(u64::from(batch % 3)))?;
        if self.sent == most && batch.is_multiple_of(2) {
            out.settle()?;
        }
        let pending: Vec<u32> = out.pending().iter().map(|id| tags[&id.0]).collect();
        self.unsettled.retain(|number, _| pending.contains(number));
        Ok(())
    }
}

#[test]
fn nothing_is_lost_or_sent_twice_by_a_client_whose_connections_are_cut() -> Result<()> {
    const MOST: u32 = 3000;
    Scene::each(|scene| {
        let mut careful = Careful { unsettled: BTreeMap::new(), sent: 0, known: 0, unknown: 0 };
        let mut batch = 7;
        while careful.sent < MOST || !careful.unsettled.is_empty() {
            careful.life(scene, batch, MOST)?;
            batch = (batch * 31 + 17) % 307;
        }
        ensure!(careful.known > 0, "nothing was ever resumed");
        let (_connection, session) = connect(scene, "w")?;
        let mut found = drained(&session, "q")?;
        found.sort_unstable();
        let count = found.len();
        found.dedup();
        ensure!(count == found.len(), "{} were sent twice", count - found.len());
        ensure!(count == MOST as usize, "{count} of {MOST}");
        Ok(())
    })
}

#[test]
fn who_hears_that_a_connection_is_closed_finds_nothing_of_it() -> Result<()> {
    Scene::each(|scene| {
        let watchers: Vec<_> =
            (0..scene.shards).map(|_| connect(scene, "w")).collect::<Result<_>>()?;
        for round in 0..40 {
            let (connection, session) = connect(scene, "c")?;
            let target = Terminus { dynamic: true, ..Terminus::default() };
            let out = session.sender(&SenderOptions { target, ..SenderOptions::default() })?;
            let address = out.address().to_owned();
            connection.close()?;
            for (_, watcher) in &watchers {
                let found = watcher.sender(&SenderOptions::of(&*address));
                ensure!(condition(found)? == "amqp:not-found", "round {round}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_link_that_is_refused_gives_back_what_its_client_had() -> Result<()> {
    Scene::each(|scene| {
        let (_connection, session) = connect(scene, "c")?;
        let out = session.sender(&SenderOptions { target: queue("q"), ..Default::default() })?;
        out.send(&Outgoing::of_data(b"one"))?;
        out.settle()?;
        for incomplete in [false, true] {
            let (_connection, session) = connect(scene, "d")?;
            let incoming = session.receiver(&receiver("in", "q", 60, Unsettled::default()))?;
            ensure!(next(&incoming)?.redelivered()? == incomplete);
            incoming.suspend()?;
            let mut options = receiver("in", "nowhere", 60, Unsettled::default());
            (options.source, options.unsettled.incomplete) = (Terminus::of("nowhere"), incomplete);
            ensure!(condition(session.receiver(&options))? == "amqp:not-found");
        }
        ensure!(drained(&session, "q")? == ["one"]);
        Ok(())
    })
}
