//! A data directory that outlives the brokers on it, and what tests of durability say to them.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::table::{exchange, queue};
use fletch_amqp::v0_10::{AcceptMode, AcquireMode, CreditUnit, DeliveryMode};
use fletch_client::{Delivery, Outgoing, Session, Subscription};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::broker::{Broker, killed_in_start, run_to_end_on};
use crate::ledger::{Found, Tag};
use crate::scene::{Scene, consume_as, declare_as, said};

/// How a broker's life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// In order, by SIGTERM.
    Stop,
    /// In no order, by SIGKILL.
    Kill,
}

impl Ending {
    /// The signal that ends it.
    pub fn signal(self) -> Signal {
        match self {
            Ending::Stop => Signal::TERM,
            Ending::Kill => Signal::KILL,
        }
    }
}

/// A data directory; it goes when this is dropped, and no broker may be on it then.
#[derive(Debug)]
pub struct Store {
    dir: TempDir,
}

impl Store {
    /// An empty one.
    pub fn new() -> Result<Store> {
        Ok(Store { dir: TempDir::new()? })
    }

    /// An empty one on a disk of one's choice.
    pub fn new_in(dir: &Path) -> Result<Store> {
        Ok(Store { dir: TempDir::new_in(dir)? })
    }

    /// The directory, for `--data-dir`.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the broker keeps its journal.
    pub fn journal(&self) -> PathBuf {
        self.path().join("journal")
    }

    /// Leaves the directory behind, for who wants to know what is in it.
    pub fn keep(self) -> PathBuf {
        self.dir.keep()
    }

    /// The next broker on it.
    pub fn scene(&self, shards: u16) -> Result<Scene> {
        self.scene_with(shards, &[])
    }

    /// The next broker on it, with more options.
    pub fn scene_with(&self, shards: u16, options: &[&str]) -> Result<Scene> {
        let count = shards.to_string();
        let options = [&["--shards", &count], options].concat();
        Ok(Scene { broker: Broker::start_on(self.path(), &options)?, shards })
    }

    /// A broker that has to refuse to start: how it ended, and what it said.
    pub fn refused(&self, shards: u16, options: &[&str]) -> Result<(ExitStatus, String)> {
        let count = shards.to_string();
        run_to_end_on(self.path(), &[&["--shards", &count], options].concat())
    }

    /// The next broker on it, or how it refused to be.
    pub fn try_scene(
        &self,
        shards: u16,
        options: &[&str],
    ) -> Result<Result<Scene, (ExitStatus, String)>> {
        let count = shards.to_string();
        let options = [&["--shards", &count], options].concat();
        let started = Broker::try_start_on(self.path(), &options)?;
        Ok(started.map(|broker| Scene { broker, shards }))
    }

    /// A copy of it as it is, with no broker on either.
    pub fn copy(&self) -> Result<Store> {
        let copy = Store::new()?;
        for file in files_below(self.path())? {
            let to = copy.path().join(file.strip_prefix(self.path())?);
            std::fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
            std::fs::copy(&file, &to).with_context(|| file.display().to_string())?;
        }
        Ok(copy)
    }

    /// A broker that is killed so long after it was started.
    pub fn killed_in_start(&self, shards: u16, options: &[&str], after: Duration) -> Result<()> {
        let count = shards.to_string();
        killed_in_start(self.path(), &[&["--shards", &count], options].concat(), after)
    }

    /// Runs `before` on a broker, ends it in order or by SIGKILL, and runs `after` on the next one on the same data; for
    /// both ways to end, each on 1, 2 and 4 shards.
    pub fn restarts<T>(
        before: impl Fn(&Scene) -> Result<T>,
        after: impl Fn(&Scene, T) -> Result<()>,
    ) -> Result<()> {
        for shards in [1, 2, 4] {
            for ending in [Ending::Stop, Ending::Kill] {
                let store = Store::new()?;
                let scene = store.scene(shards)?;
                let made = said(&scene, &before).context("before the restart")?;
                scene.end(ending)?;
                let scene = store.scene(shards)?;
                said(&scene, |scene| after(scene, made))
                    .with_context(|| format!("after a restart by {ending:?}"))?;
                scene.done()?;
            }
        }
        Ok(())
    }
}

/// Octets of all files below a directory.
pub fn size_of(dir: &Path) -> Result<u64> {
    // A file may go while one looks.
    let sizes = files_below(dir)?.into_iter().filter_map(|file| file.metadata().ok());
    Ok(sizes.map(|meta| meta.len()).sum())
}

/// Every file below a directory, in the order of their names.
pub fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            let into = if entry.file_type()?.is_dir() { &mut dirs } else { &mut files };
            into.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

impl Scene {
    /// Ends the broker; none has panicked before that.
    pub fn end(self, ending: Ending) -> Result<()> {
        match ending {
            Ending::Stop => self.done(),
            Ending::Kill => {
                let log = self.broker.kill()?;
                ensure!(!log.contains("panicked"), "{log}");
                Ok(())
            }
        }
    }
}

/// Declares a durable queue that lives on `home`.
pub fn declare_durable(session: &Session, name: &str, home: u16) -> Result<()> {
    let (queue, durable) = (Some(name), true);
    declare_as(session, home, &queue::Declare { queue, durable, ..Default::default() })
}

/// Declares a durable exchange.
pub fn declare_durable_exchange(session: &Session, name: &str, kind: &str) -> Result<()> {
    let (exchange, r#type, durable) = (Some(name), Some(kind), true);
    session.call(&exchange::Declare { exchange, r#type, durable, ..Default::default() }.into())?;
    Ok(())
}

/// A persistent message.
pub fn persistent<'a>(key: &'a str, body: &'a [u8]) -> Outgoing<'a> {
    let mut message = Outgoing::with_key(key, body);
    message.delivery.delivery_mode = Some(DeliveryMode::PERSISTENT);
    message
}

/// Sends persistent messages whose bodies are `prefix` and a number, and waits until they are on stable storage.
pub fn publish_durable(
    session: &Session,
    queue: &str,
    prefix: &str,
    numbers: std::ops::Range<usize>,
) -> Result<()> {
    for number in numbers {
        session.send("", &persistent(queue, format!("{prefix}{number}").as_bytes()))?;
    }
    Ok(session.sync()?)
}

/// All that a queue has, left where it is.
pub fn browse(session: &Session, queue: &str) -> Result<Vec<Delivery>> {
    let subscription = Subscription {
        queue,
        destination: "browse",
        accept_mode: AcceptMode::NONE,
        acquire_mode: AcquireMode::NOT_ACQUIRED,
        ..Default::default()
    };
    consume_as(session, &subscription, CreditUnit::UNLIMITED)?;
    session.flush_credit("browse")?;
    session.cancel("browse")?;
    Ok(std::iter::from_fn(|| session.take_delivery()).collect())
}

/// The same, as an audit wants it; every body is as it was made.
pub fn found_in(session: &Session, queue: &str) -> Result<Vec<Found>> {
    let found = browse(session, queue).with_context(|| format!("looking at {queue}"))?;
    let found = found.iter().map(|delivery| {
        let tag = Tag::of(delivery.body()).with_context(|| format!("in {queue}"))?;
        Ok(Found { tag, redelivered: delivery.redelivered()? })
    });
    found.collect()
}

/// What a queue says of itself.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the query's result")]
pub struct QueueSays {
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub alternate_exchange: Option<String>,
    pub arguments: Map,
    pub messages: u32,
}

/// Asks a queue for all it says of itself; `None` if it is not there.
pub fn queue_says(session: &Session, name: &str) -> Result<Option<QueueSays>> {
    let reply = session.call(&queue::Query { queue: Some(name) }.into())?;
    let reply = reply.context("a query has a result")?;
    let found: queue::QueueQueryResult<'_> = reply.read()?;
    if found.queue.is_none_or(str::is_empty) {
        return Ok(None);
    }
    Ok(Some(QueueSays {
        durable: found.durable,
        exclusive: found.exclusive,
        auto_delete: found.auto_delete,
        alternate_exchange: found.alternate_exchange.map(str::to_owned),
        arguments: found.arguments.map(|map| map.to_map()).transpose()?.unwrap_or_default(),
        messages: found.message_count.unwrap_or_default(),
    }))
}

/// What an exchange says of itself: type, durability, arguments; `None` if it is not there.
pub fn exchange_says(session: &Session, name: &str) -> Result<Option<(String, bool, Map)>> {
    let reply = session.call(&exchange::Query { name: Some(name) }.into())?;
    let reply = reply.context("a query has a result")?;
    let found: exchange::ExchangeQueryResult<'_> = reply.read()?;
    if found.not_found {
        return Ok(None);
    }
    let arguments = found.arguments.map(|map| map.to_map()).transpose()?.unwrap_or_default();
    Ok(Some((found.r#type.unwrap_or_default().to_owned(), found.durable, arguments)))
}

/// Whether a queue is bound to an exchange with this key.
pub fn is_bound(session: &Session, exchange: &str, queue: &str, key: &str) -> Result<bool> {
    let (exchange, queue, binding_key) = (Some(exchange), Some(queue), Some(key));
    let bound = exchange::Bound { exchange, queue, binding_key, ..Default::default() };
    let reply = session.call(&bound.into())?.context("bound has a result")?;
    let found: exchange::ExchangeBoundResult = reply.read()?;
    Ok(found == exchange::ExchangeBoundResult::default())
}
