//! Measures a broker from outside: a process this program starts, on loopback, with clients over
//! TCP. Runs on ordinary threads; knows the broker by its options, its port and `/proc` only.
#![forbid(unsafe_code)]

mod broker;
mod journal;
mod load;
mod memory;
mod process;
mod protocol;
mod smoke;
mod target;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "fletch-perf", about = "Measures a broker that it starts itself, on loopback")]
struct Cli {
    #[command(subcommand)]
    command: Measurement,
}

#[derive(Subcommand)]
enum Measurement {
    /// Throughput, latency and processor time of publishing to consuming.
    Smoke(smoke::Options),
    /// Resident memory of connections, sessions, queues and queued messages.
    Memory(memory::Options),
    /// Durable publishing against what the disk can do; recovery; cold backlogs.
    Journal(journal::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Measurement::Smoke(options) => smoke::run(&options),
        Measurement::Memory(options) => memory::run(&options),
        Measurement::Journal(options) => journal::run(&options),
    }
}
