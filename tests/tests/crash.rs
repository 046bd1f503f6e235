//! SIGKILL at random moments, under load: publishers that wait for each confirm, for several, and for none at once; a
//! fan-out to queues on several shards; consumers that accept and consumers that only hold. After every kill the next
//! broker is held to the clients' books (`fletch_tests::ledger`), and the load goes on from there. `clients crash` does
//! the same with the reference's Python client.
//!
//! `FLETCH_KILLS` sets how many kills all tests here do together (100), `FLETCH_SEED` repeats a run that failed as far as
//! the clock allows, `FLETCH_KEEP=1` leaves the data directory of a failure behind.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fletch_amqp::v0_10::CloseCode;
use fletch_client::{Connection, Error, Session};
use fletch_tests::ledger::{Found, Ledger, Tag, judge};
use fletch_tests::random::Random;
use fletch_tests::scene::*;
use fletch_tests::store::*;

/// Small segments, so that they are filled, freed and used again all the time.
const OPTIONS: [&str; 2] = ["--journal-segment-size", "1m"];

/// Queues that are published to by name; the last one has a consumer only to empty it.
const SINGLE: usize = 4;

/// All queues; those behind the single ones get what goes to the exchange "all".
const QUEUES: usize = 7;

/// Publishers, the last of which publishes to the exchange.
const PUBLISHERS: usize = 4;

/// What a publisher sends in one life of the broker at most.
const PER_LIFE: usize = 400;

/// Consumers; each has every third queue.
const CONSUMERS: usize = 3;

/// Messages in all queues above which a life is one of taking them away.
const BACKLOG: usize = 1500;

fn queue(number: usize) -> String {
    format!("q{number}")
}

/// What the clients of one life share.
struct Life<'a> {
    scene: &'a Scene,
    ledger: &'a Mutex<Ledger>,
    over: AtomicBool,
    /// There is too much in the queues.
    emptying: bool,
}

impl Life<'_> {
    fn books(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}

/// The end of a client: that the broker went away under it is what is wanted.
fn ended(result: Result<()>) -> Result<()> {
    match result {
        Err(error) => match error.downcast_ref::<Error>() {
            Some(Error::Lost | Error::Io(_) | Error::Connect { .. }) => Ok(()),
            // What a broker says that stops in order.
            Some(Error::Closed { code: CloseCode::CONNECTION_FORCED, .. }) => Ok(()),
            _ => Err(error),
        },
        Ok(()) => Ok(()),
    }
}

/// How publishers wait for confirms.
#[derive(Clone, Copy)]
enum Confirm {
    /// After each message.
    Each,
    /// After some.
    Batch,
    /// As they come: the broker accepts each message by a command of its own.
    AsTheyCome,
}

/// A client that publishes.
struct Publisher<'a> {
    life: &'a Life<'a>,
    number: usize,
    confirm: Confirm,
    random: Random,
    /// The number of its next message, over all lives.
    next: &'a mut u64,
}

impl Publisher<'_> {
    fn run(mut self) -> Result<()> {
        let connection = self.life.scene.connect()?;
        let session = connection.session(&format!("publisher-{}", self.number), true)?;
        let limit = if self.life.emptying { PER_LIFE / 20 } else { PER_LIFE };
        let mut sent = 0;
        let mut unconfirmed = HashMap::new();
        while self.life.goes_on() && sent < limit {
            let batch = match self.confirm {
                Confirm::Each => 1,
                Confirm::Batch => self.random.within(1..60),
                Confirm::AsTheyCome => self.random.within(1..10),
            };
            let mut tags = Vec::new();
            for _ in 0..batch {
                let (id, tag) = self.send(&session)?;
                tags.push(tag);
                unconfirmed.insert(id, tag);
            }
            sent += batch;
            if matches!(self.confirm, Confirm::AsTheyCome) {
                self.hear(&connection, &session, &mut unconfirmed, Duration::from_micros(200))?;
                continue;
            }
            session.sync()?;
            tags.into_iter().for_each(|tag| self.life.books().confirmed(tag));
        }
        while self.life.goes_on() {
            self.hear(&connection, &session, &mut unconfirmed, Duration::from_millis(5))?;
        }
        Ok(())
    }

    fn send(&mut self, session: &Session) -> Result<(fletch_amqp::CommandId, Tag)> {
        let tag = Tag { publisher: u16::try_from(self.number)?, number: *self.next };
        *self.next += 1;
        let size = match self.random.within(0..100) {
            0..80 => self.random.within(40..400),
            80..98 => self.random.within(400..9000),
            _ => self.random.within(9000..200_000),
        };
        let to_all = self.number == PUBLISHERS - 1;
        let (exchange, key, queues) = if to_all {
            ("all", String::new(), (SINGLE..QUEUES).collect())
        } else {
            let at = self.random.within(0..SINGLE);
            ("", queue(at), vec![at])
        };
        let body = tag.body(size);
        let message = persistent(&key, &body);
        self.life.books().sending(tag, &queues);
        let id = match self.confirm {
            Confirm::AsTheyCome => session.send_to_be_accepted(exchange, &message)?,
            Confirm::Each | Confirm::Batch => session.send(exchange, &message)?,
        };
        Ok((id, tag))
    }

    /// Notes which messages the broker has accepted meanwhile.
    fn hear(
        &self,
        connection: &Connection,
        session: &Session,
        unconfirmed: &mut HashMap<fletch_amqp::CommandId, Tag>,
        wait: Duration,
    ) -> Result<()> {
        connection.poll(wait)?;
        ensure!(session.rejected().is_empty(), "the broker rejected a message");
        for id in session.accepted().ids(usize::MAX) {
            let tag = unconfirmed.remove(&id).context("accepted, but never sent")?;
            self.life.books().confirmed(tag);
        }
        Ok(())
    }
}

/// A client that consumes from every third queue, from some of them as it happens.
fn consume_some(life: &Life<'_>, number: usize, random: &mut Random) -> Result<()> {
    let session = life.scene.session(&format!("consumer-{number}"))?;
    for at in (number..QUEUES).step_by(CONSUMERS) {
        let only_emptied = at == SINGLE - 1;
        if life.emptying || !only_emptied && !random.one_in(3) {
            life.books().consuming(at);
            let window = u32::try_from(random.within(1..100))?;
            session.consume(&queue(at), &at.to_string(), window)?;
        }
    }
    let accepts = life.emptying || !random.one_in(3);
    let most = random.within(1..40);
    while life.goes_on() {
        let Some(first) = session.next_delivery(Duration::from_millis(5))? else { continue };
        let more = std::iter::from_fn(|| session.take_delivery()).take(most - 1);
        let mut taken = Vec::new();
        for delivery in std::iter::once(first).chain(more) {
            let found =
                Found { tag: Tag::of(delivery.body())?, redelivered: delivery.redelivered()? };
            let at = delivery.destination.parse()?;
            life.books().received(at, found);
            taken.push((at, found.tag, delivery.id));
        }
        if !accepts {
            continue;
        }
        taken.iter().for_each(|(at, tag, _)| life.books().accepting(*at, *tag));
        accept(&session, &taken.iter().map(|(_, _, id)| *id).collect::<Vec<_>>())?;
        taken.iter().for_each(|(at, tag, _)| life.books().accepted(*at, *tag));
    }
    Ok(())
}

/// Everything that goes through all lives.
struct Lives {
    ledger: Mutex<Ledger>,
    random: Random,
    next: [u64; PUBLISHERS],
}

impl Lives {
    fn new(seed: u64) -> Lives {
        let (ledger, random) = (Mutex::new(Ledger::new(QUEUES)), Random::new(seed));
        Lives { ledger, random, next: [0; PUBLISHERS] }
    }

    fn declare(&self, scene: &Scene) -> Result<()> {
        let session = scene.session("setup")?;
        declare_durable_exchange(&session, "all", "fanout")?;
        for number in 0..QUEUES {
            declare_durable(&session, &queue(number), number as u16 % scene.shards)?;
            if number >= SINGLE {
                bind(&session, "all", &queue(number), "")?;
            }
        }
        Ok(())
    }

    /// Holds the queues against the books; returns how many messages there are.
    fn audit(&self, scene: &Scene) -> Result<usize> {
        // Whoever had these names is gone when they are had again.
        let names = (0..PUBLISHERS).map(|number| format!("publisher-{number}"));
        for name in names.chain((0..CONSUMERS).map(|number| format!("consumer-{number}"))) {
            scene.session(&name)?;
        }
        let session = scene.session("auditor")?;
        let queues = (0..QUEUES).map(|number| found_in(&session, &queue(number)));
        let queues = queues.collect::<Result<Vec<_>>>()?;
        judge(&self.ledger.lock().unwrap_or_else(PoisonError::into_inner).audit(&queues))?;
        Ok(queues.iter().map(Vec::len).sum())
    }

    /// Load for a moment, which `end` ends.
    fn load(&mut self, scene: &Scene, open: usize, end: impl FnOnce() -> Result<()>) -> Result<()> {
        let emptying = open > BACKLOG;
        let life = Life { scene, ledger: &self.ledger, over: AtomicBool::new(false), emptying };
        let confirms = [Confirm::Each, Confirm::Batch, Confirm::AsTheyCome];
        let moment = Duration::from_micros(self.random.within(if emptying {
            20_000..150_000
        } else {
            500..80_000
        }) as u64);
        std::thread::scope(|scope| {
            let life = &life;
            let mut clients = Vec::new();
            for (number, next) in self.next.iter_mut().enumerate() {
                let last = number == PUBLISHERS - 1;
                let confirm = if last { *self.random.pick(&confirms) } else { confirms[number] };
                let random = self.random.fork();
                let publisher = Publisher { life, number, confirm, random, next };
                clients.push(scope.spawn(move || ended(publisher.run())));
            }
            for number in 0..CONSUMERS {
                let mut random = self.random.fork();
                clients.push(scope.spawn(move || ended(consume_some(life, number, &mut random))));
            }
            std::thread::sleep(moment);
            let result = end();
            life.over.store(true, Ordering::Relaxed);
            let mut results = clients.into_iter().map(|client| client.join().expect("a client"));
            results.find(Result::is_err).unwrap_or(Ok(())).and(result)
        })
    }

    fn crash(&mut self, store: &Store, shards: &[u16], kills: usize) -> Result<()> {
        let mut killed = 0;
        let mut declared = false;
        while killed < kills {
            let count = shards[killed % shards.len()];
            if declared && self.random.one_in(6) {
                killed += 1;
                let after = Duration::from_micros(self.random.within(0..100_000) as u64);
                store
                    .killed_in_start(count, &OPTIONS, after)
                    .with_context(|| format!("kill {killed}, {after:?} into the start"))?;
                continue;
            }
            // Now and then in order, but under the same load.
            let ending = if self.random.one_in(8) { Ending::Stop } else { Ending::Kill };
            killed += usize::from(ending == Ending::Kill);
            let scene = store.scene_with(count, &OPTIONS)?;
            said(&scene, |scene| {
                if !declared {
                    self.declare(scene)?;
                    declared = true;
                }
                let open = self.audit(scene)?;
                self.load(scene, open, || scene.broker.signal(ending.signal()))
            })
            .with_context(|| format!("{killed} kills, in the life before a {ending:?}"))?;
            match ending {
                Ending::Stop => scene.broker.stopped()?,
                Ending::Kill => scene.end(ending)?,
            }
        }
        // And what an orderly stop leaves, without load.
        for _ in 0..2 {
            let scene = store.scene_with(shards[0], &OPTIONS)?;
            said(&scene, |scene| self.audit(scene)).context("after the last kill")?;
            scene.done()?;
        }
        Ok(())
    }
}

/// A quarter of all kills, with these numbers of shards in turn.
fn kills(name: &str, shards: &[u16]) -> Result<()> {
    let all = std::env::var("FLETCH_KILLS").ok().map_or(Ok(100), |kills| kills.parse::<usize>())?;
    let kills = all.div_ceil(4);
    let given = Random::seed();
    println!("{name}: {kills} kills; again with FLETCH_SEED={given}");
    let mut lives = Lives::new(given ^ seed_of(name));
    let store = Store::new()?;
    let result = lives.crash(&store, shards, kills);
    let (confirmed, accepted) =
        lives.ledger.lock().unwrap_or_else(PoisonError::into_inner).totals();
    println!("{name}: {confirmed} messages confirmed, {accepted} accepted");
    if let Err(error) = result {
        if std::env::var_os("FLETCH_KEEP").is_some() {
            println!("the data is in {}", store.keep().display());
        }
        return Err(error.context(format!("{name}, FLETCH_SEED={given}")));
    }
    // Otherwise nothing was tested.
    ensure!(
        confirmed > 5 * kills && accepted > kills,
        "{confirmed} confirmed, {accepted} accepted"
    );
    Ok(())
}

/// What a test's name adds to the seed, so that tests do not all do the same.
fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}

#[test]
fn one_shard_loses_nothing() -> Result<()> {
    kills("one shard", &[1])
}

#[test]
fn two_shards_lose_nothing() -> Result<()> {
    kills("two shards", &[2])
}

#[test]
fn four_shards_lose_nothing() -> Result<()> {
    kills("four shards", &[4])
}

#[test]
fn changing_numbers_of_shards_lose_nothing() -> Result<()> {
    kills("changing shards", &[1, 4, 2, 3])
}

/// The same load and the same books, with clients that vanish and a broker that does not.
#[test]
fn clients_that_vanish_lose_nothing() -> Result<()> {
    let seed = Random::seed();
    println!("FLETCH_SEED={seed}");
    for shards in [1, 4] {
        let scene = Scene::new(shards)?;
        let mut lives = Lives::new(seed);
        said(&scene, |scene| {
            lives.declare(scene)?;
            for round in 0..10 {
                let open = lives.audit(scene).with_context(|| format!("before round {round}"))?;
                lives.load(scene, open, || Ok(()))?;
            }
            lives.audit(scene)
        })
        .with_context(|| format!("FLETCH_SEED={seed}"))?;
        let (confirmed, accepted) =
            lives.ledger.into_inner().unwrap_or_else(PoisonError::into_inner).totals();
        ensure!(confirmed > 100 && accepted > 20, "{confirmed} confirmed, {accepted} accepted");
        scene.done()?;
    }
    Ok(())
}
