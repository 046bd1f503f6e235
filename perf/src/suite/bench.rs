//! What scenarios measure with: how to get at a broker, what clients speak and how they wait.

use crate::broker::{Broker, BrokerOptions};
use crate::load::flow::{Clients, Flow, Pace};
use crate::protocol::Protocol;
use crate::target::Target;
use anyhow::{Result, bail};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The broker under measurement.
#[derive(Clone, Debug)]
pub(crate) enum Under {
    /// A program, started anew for each measurement.
    Program(BrokerOptions),
    /// One that runs already.
    There(Target),
}

impl Under {
    /// Why the number of its shards cannot be chosen, if that is so.
    pub(crate) fn without_shards(&self) -> Option<&'static str> {
        match self {
            Under::There(_) => Some("the shards of a broker that runs already cannot be chosen"),
            Under::Program(options) if options.is_reference() => Some("qpidd has no shards"),
            Under::Program(_) => None,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    pub(crate) under: Under,
    pub(crate) protocol: Protocol,
    pub(crate) clients: Clients,
    /// Where data directories are made.
    pub(crate) dir: PathBuf,
}

/// A broker for the time of one measurement.
pub(crate) struct Held {
    target: Target,
    /// If it was started here, with its data directory if it has one.
    started: Option<(Broker, Option<TempDir>)>,
}

impl Deref for Held {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl Held {
    fn of(broker: Broker, data: Option<TempDir>) -> Held {
        Held { target: (*broker).clone(), started: Some((broker, data)) }
    }

    /// Ends what was started.
    pub(crate) fn end(self) -> Result<()> {
        self.started.map_or(Ok(()), |(broker, _data)| broker.stop())
    }
}

impl Bench {
    /// A broker for a flow: with a store if the flow is durable.
    pub(crate) fn start(&self, flow: &Flow) -> Result<Held> {
        self.broker(flow.durable)
    }

    /// A broker, with a store if it needs one.
    pub(crate) fn broker(&self, durable: bool) -> Result<Held> {
        match &self.under {
            Under::There(target) => Ok(Held { target: target.clone(), started: None }),
            Under::Program(options) if durable => {
                let data = TempDir::new_in(&self.dir)?;
                let broker = options.start_on(&data.path().join("data"), &[])?;
                Ok(Held::of(broker, Some(data)))
            }
            Under::Program(options) => Ok(Held::of(options.start()?, None)),
        }
    }

    /// One with so many shards, which take connections one after the other; on these processors, if any are given.
    pub(crate) fn start_sharded(&self, shards: u16, cpus: &[usize]) -> Result<Held> {
        match &self.under {
            Under::Program(options) => Ok(Held::of(options.sharded(shards, cpus).start()?, None)),
            Under::There(_) => bail!("the shards of a broker that runs already cannot be chosen"),
        }
    }

    /// Transient messages through one queue, by the clients of this bench.
    pub(crate) fn flow(&self, size: usize, pace: Pace) -> Flow {
        Flow { clients: self.clients, ..Flow::plain(self.protocol, size, pace) }
    }
}

/// Where to put what measurements leave on disk for a while.
pub(crate) fn temporary_in(dir: Option<&Path>) -> Result<TempDir> {
    Ok(match dir {
        Some(dir) => TempDir::new_in(dir)?,
        None => TempDir::new()?,
    })
}
