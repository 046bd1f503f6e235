//! Messages that go from queue to queue, each time in a transaction, while the broker is killed again and again: whenever
//! that is, each of them is in one queue. A test brings its kind of transaction.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fletch_client::{Error, Session};

use crate::ledger::Tag;
use crate::random::Random;
use crate::scene::{Scene, accept, said};
use crate::store::{Ending, Store, declare_durable, found_in, persistent};

const TOKENS: u64 = 60;
const QUEUES: usize = 5;
const MOVERS: usize = 2;

/// A kind of transaction.
pub trait Transactions: Sync {
    /// Makes a session one that has them.
    fn select(&self, session: &Session) -> Result<()>;

    /// Ends what a kill has left in doubt, before anybody looks for the messages.
    fn resolve(&self, _session: &Session) -> Result<()> {
        Ok(())
    }

    /// Does the work in a transaction and ends that in one way or another. `Break` if the session has what it took, and
    /// so has to end.
    fn run(
        &self,
        session: &Session,
        random: &mut Random,
        work: impl FnOnce(&mut Random) -> Result<()>,
    ) -> Result<ControlFlow<()>>;
}

/// Kills brokers with these numbers of shards in turn, half as often as `FLETCH_KILLS` says (40): tests of two choices of
/// shards do them all together.
pub fn kills(transactions: &impl Transactions, shards: &[u16]) -> Result<()> {
    let kills =
        std::env::var("FLETCH_KILLS").ok().map_or(Ok(40), |kills| kills.parse::<usize>())?;
    let seed = Random::seed();
    println!("again with FLETCH_SEED={seed}");
    let mut random = Random::new(seed);
    let store = Store::new()?;
    for kill in 0..=kills.div_ceil(2) {
        let scene =
            store.scene_with(shards[kill % shards.len()], &["--journal-segment-size", "1m"])?;
        said(&scene, |scene| {
            let session = scene.session("auditor")?;
            if kill == 0 {
                fill(scene, &session, &mut random)?;
            }
            transactions.resolve(&session)?;
            audit(&session)?;
            killed_at_work(scene, transactions, &mut random)
        })
        .with_context(|| format!("kill {kill}, FLETCH_SEED={seed}"))?;
        scene.end(Ending::Kill)?;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("q{number}")
}

fn fill(scene: &Scene, session: &Session, random: &mut Random) -> Result<()> {
    for number in 0..QUEUES {
        declare_durable(session, &name(number), number as u16 % scene.shards)?;
    }
    for number in 0..TOKENS {
        let body = Tag { publisher: 0, number }.body(random.within(40..5000));
        session.send("", &persistent(&name(number as usize % QUEUES), &body))?;
    }
    Ok(session.sync()?)
}

fn audit(session: &Session) -> Result<()> {
    let mut seen = BTreeMap::new();
    for number in 0..QUEUES {
        for found in found_in(session, &name(number))? {
            *seen.entry(found.tag.number).or_insert(0) += 1;
        }
    }
    let once = seen.len() as u64 == TOKENS && seen.values().all(|n| *n == 1);
    ensure!(once, "each message is in one queue: {seen:?}");
    Ok(())
}

/// Messages move for a moment, at the end of which the broker is killed.
fn killed_at_work(
    scene: &Scene,
    transactions: &impl Transactions,
    random: &mut Random,
) -> Result<()> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let movers: Vec<_> = (0..MOVERS)
            .map(|number| {
                let (over, mut random) = (&over, random.fork());
                scope.spawn(move || pass_on(scene, number, over, transactions, &mut random))
            })
            .collect();
        std::thread::sleep(Duration::from_micros(random.within(5_000..150_000) as u64));
        let killed = scene.broker.signal(Ending::Kill.signal());
        over.store(true, Ordering::Relaxed);
        for mover in movers {
            let lost = |e: &anyhow::Error| {
                let error = e.downcast_ref::<Error>();
                matches!(error, Some(Error::Lost | Error::Io(_) | Error::Connect { .. }))
            };
            let result = mover.join().expect("a client");
            ensure!(result.as_ref().err().is_none_or(lost), "{result:?}");
        }
        killed
    })
}

/// Takes some messages and passes them on, each time in one transaction.
fn pass_on(
    scene: &Scene,
    number: usize,
    over: &AtomicBool,
    transactions: &impl Transactions,
    random: &mut Random,
) -> Result<()> {
    let session = scene.session(&format!("mover-{number}"))?;
    transactions.select(&session)?;
    for at in (number..QUEUES).step_by(MOVERS) {
        session.consume(&name(at), &at.to_string(), 20)?;
    }
    while !over.load(Ordering::Relaxed) {
        let Some(first) = session.next_delivery(Duration::from_millis(5))? else { continue };
        let end = transactions.run(&session, random, |random| {
            let more = std::iter::from_fn(|| session.take_delivery()).take(random.within(0..6));
            let mut taken = Vec::new();
            for delivery in std::iter::once(first).chain(more) {
                let to = name(random.within(0..QUEUES));
                session.send("", &persistent(&to, delivery.body()))?;
                taken.push(delivery.id);
            }
            accept(&session, &taken)
        })?;
        if end.is_break() {
            return Ok(());
        }
    }
    Ok(())
}
