//! `fletch demo`: starts a broker, moves messages through it and shows how fast.
//!
//! The broker is this program again, under the name `fletchd`, as a process of its own on a port of its own choosing; the
//! publisher and the consumer are threads here, on one connection each. Two runs: at a steady rate, which shows what
//! latency a message sees when nothing waits for anything, and as fast as it goes.

mod broker;
mod display;
mod load;

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::connect::seconds;
use broker::Broker;
use display::Display;
use load::{Load, Outcome};

/// Start a broker, move messages through it and show throughput and latency
#[derive(Debug, Clone, Args)]
#[command(about = "Start a broker, move messages through it and show throughput and latency",
    long_about = None)]
pub(super) struct Options {
    /// Seconds to run, half of them at the steady rate and half flat out
    #[arg(short, long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// Bytes of content, 16 or more
    #[arg(long, value_name = "BYTES", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(16..=1 << 20))]
    size: u32,
    /// Messages a second in the steady run
    #[arg(short, long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Shards of the broker [default: one per core]
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Print one JSON object at the end and nothing else
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Demonstrates.
    pub(super) fn run(&self) -> Result<()> {
        let mut broker = Broker::start(self.shards)?;
        let mut display = Display::new(self.json, io::stdout().is_terminal());
        display.started(&broker)?;
        let half = self.seconds / 2;
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (name, rate) in [("steady", Some(self.rate)), ("flat out", None)] {
            let load = Load { name, rate, size: self.size as usize, time: half };
            outcomes.push(load.run(broker.port(), |live| display.live(name, live))?);
            display.end_of_run();
        }
        broker.stop()?;
        display.summary(&outcomes, self.size)
    }
}
