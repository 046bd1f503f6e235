//! SIGKILL at random moments under the reference's Python client: slow, and nobody here wrote how it waits for confirms.
//!
//! `tests/clients/python/crash.py` says what it does line by line; after each kill its lines become the books
//! (`ledger`) that the next broker is held to. The tests in `tests/crash.rs` do the same, faster, with our own client.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;

use super::suites::Python;
use super::workspace;
use crate::ledger::{Found, Ledger, Tag, judge};
use crate::random::Random;
use crate::scene::{Scene, bind, said};
use crate::store::{Ending, Store, declare_durable, declare_durable_exchange, found_in};

/// The first is published to by name and the others by the exchange "all".
const QUEUES: [&str; 4] = ["q0", "q1", "q2", "q3"];

/// Publishers; each sends to the queue and to the exchange.
const PUBLISHERS: u16 = 2;

/// How long a client may take to notice that its broker is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client with its output; killed by pid on drop.
struct Client {
    child: Child,
    output: PathBuf,
}

impl Client {
    fn start(python: &Python, scene: &Scene, dir: &Path, words: &[String]) -> Result<Client> {
        let script = workspace().join("tests/clients/python/crash.py");
        let output = dir.join(format!("{}.out", words[..2].join("-")));
        let child = python
            .program(&script)
            .arg(scene.broker.address().to_string())
            .args(words)
            .stdout(File::create(&output)?)
            .stderr(File::create(output.with_extension("err"))?)
            .stdin(Stdio::null())
            .spawn()
            .context("starting the Python client")?;
        Ok(Client { child, output })
    }

    /// Its lines, once it has ended as it should.
    fn lines(mut self) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "the client does not notice that the broker is gone"
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let errors = std::fs::read_to_string(self.output.with_extension("err"))?;
        ensure!(status.success(), "the client ended with {status}:\n{errors}");
        let text = std::fs::read_to_string(&self.output)?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills so many brokers with so many shards; says what went through them.
pub fn run(python: &Python, shards: u16, kills: usize, seed: u64) -> Result<String> {
    let store = Store::new()?;
    let dir = tempfile::tempdir()?;
    let mut random = Random::new(seed ^ u64::from(shards));
    let mut ledger = Ledger::new(QUEUES.len());
    let mut next = [0; PUBLISHERS as usize];
    for kill in 0..kills {
        let scene = store.scene(shards)?;
        said(&scene, |scene| {
            if kill == 0 {
                declare(scene)?;
            }
            audit(scene, &mut ledger)?;
            let mut publishers = Vec::new();
            for (number, next) in next.iter().enumerate() {
                let words = ["publish".into(), number.to_string(), next.to_string()];
                let more = [(random.next() >> 1).to_string(), QUEUES[0].into(), "all".into()];
                let words = [&words[..], &more].concat();
                publishers.push(Client::start(python, scene, dir.path(), &words)?);
            }
            let mut consumers = Vec::new();
            // The last queue is never read.
            for (at, name) in QUEUES.into_iter().enumerate().take(QUEUES.len() - 1) {
                let seed = (random.next() >> 1).to_string();
                let words = ["consume".into(), seed, name.to_owned()];
                consumers.push((at, Client::start(python, scene, dir.path(), &words)?));
                ledger.consuming(at);
            }
            // The interpreter takes its time to start.
            std::thread::sleep(Duration::from_millis(random.within(300..1500) as u64));
            scene.broker.signal(Signal::KILL)?;
            for ((number, client), next) in publishers.into_iter().enumerate().zip(&mut next) {
                *next = published(&mut ledger, u16::try_from(number)?, *next, &client.lines()?)?;
            }
            for (at, client) in consumers {
                consumed(&mut ledger, at, &client.lines()?)?;
            }
            Ok(())
        })
        .with_context(|| format!("in the life that kill {kill} ended"))?;
        scene.end(Ending::Kill)?;
    }
    let scene = store.scene(shards)?;
    said(&scene, |scene| audit(scene, &mut ledger)).context("after the last kill")?;
    scene.done()?;
    let (confirmed, accepted) = ledger.totals();
    // Otherwise nothing was tested.
    ensure!(confirmed > kills && accepted > kills, "{confirmed} confirmed, {accepted} accepted");
    Ok(format!("{kills} kills, {confirmed} messages confirmed, {accepted} accepted"))
}

fn declare(scene: &Scene) -> Result<()> {
    let session = scene.session("setup")?;
    declare_durable_exchange(&session, "all", "fanout")?;
    for (at, name) in QUEUES.into_iter().enumerate() {
        declare_durable(&session, name, u16::try_from(at)? % scene.shards)?;
        if at > 0 {
            bind(&session, "all", name, "")?;
        }
    }
    Ok(())
}

fn audit(scene: &Scene, ledger: &mut Ledger) -> Result<()> {
    let session = scene.session("auditor")?;
    let queues = QUEUES.iter().map(|name| found_in(&session, name)).collect::<Result<Vec<_>>>()?;
    judge(&ledger.audit(&queues))
}

/// Enters a publisher's lines; returns the number of its next message.
fn published(ledger: &mut Ledger, publisher: u16, first: u64, lines: &[String]) -> Result<u64> {
    let (mut next, mut unconfirmed) = (first, first);
    for line in lines {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["sending", address, number] => {
                ensure!(number.parse::<u64>()? == next, "{line}, and {next} was the next");
                let queues: &[usize] = if address == "all" { &[1, 2, 3] } else { &[0] };
                ledger.sending(Tag { publisher, number: next }, queues);
                next += 1;
            }
            ["confirmed", number] => {
                let last = number.parse::<u64>()?;
                for number in unconfirmed..=last {
                    ledger.confirmed(Tag { publisher, number });
                }
                unconfirmed = last + 1;
            }
            _ => bail!("the publisher said: {line}"),
        }
    }
    Ok(next)
}

/// Enters a consumer's lines.
fn consumed(ledger: &mut Ledger, queue: usize, lines: &[String]) -> Result<()> {
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let tag = |from: usize| -> Result<Tag> {
            let word = |at: usize| words.get(at).context("a short line");
            Ok(Tag { publisher: word(from)?.parse()?, number: word(from + 1)?.parse()? })
        };
        match words[0] {
            "received" => {
                let redelivered = words.get(1) == Some(&"1");
                ledger.received(queue, Found { tag: tag(2)?, redelivered });
            }
            "accepting" => ledger.accepting(queue, tag(1)?),
            "accepted" => ledger.accepted(queue, tag(1)?),
            _ => bail!("the consumer said: {line}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Wrong;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_the_clients_said_becomes_the_books() {
        let mut ledger = Ledger::new(QUEUES.len());
        let said =
            "sending q0 5\nconfirmed 5\nsending all 6\nsending q0 7\nconfirmed 7\nsending q0 8";
        assert_eq!(published(&mut ledger, 1, 5, &lines(said)).unwrap(), 9);
        let said = "received 0 1 5 40\naccepting 1 5 40\naccepted 1 5 40\nreceived 0 1 7 40";
        ledger.consuming(0);
        consumed(&mut ledger, 0, &lines(said)).unwrap();
        assert_eq!(ledger.totals(), (3, 1));
        let found = |number, redelivered| Found { tag: Tag { publisher: 1, number }, redelivered };
        let all = vec![found(6, false)];
        let right = [vec![found(7, true)], all.clone(), all.clone(), all.clone()];
        assert_eq!(ledger.audit(&right), []);
        let wrong = [vec![found(5, true), found(7, true)], all.clone(), vec![], all];
        let wrongs: Vec<Wrong> = ledger.audit(&wrong).iter().map(|finding| finding.wrong).collect();
        assert_eq!(wrongs, [Wrong::Returned, Wrong::Overtaken, Wrong::Lost]);
        assert!(published(&mut ledger, 1, 9, &lines("sending q0 11")).is_err());
        assert!(consumed(&mut ledger, 0, &lines("changed 1 7 40")).is_err());
    }
}
