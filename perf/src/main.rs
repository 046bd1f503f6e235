//! Measures a broker from outside: a process this program starts, or one that is there, with clients over TCP. Runs on
//! ordinary threads; knows the broker by its options, its port and `/proc` only.
#![forbid(unsafe_code)]

mod broker;
mod host;
mod journal;
mod load;
mod memory;
mod process;
mod protocol;
mod qmf;
mod scenario;
mod suite;
mod target;
mod tls;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "fletch-perf", about = "Measures brokers from outside")]
struct Cli {
    #[command(subcommand)]
    command: Measurement,
}

#[derive(Subcommand)]
enum Measurement {
    /// The suite: latency, throughput and the rest, as a table, JSON and a page of plots.
    Run(Box<suite::RunOptions>),
    /// Two brokers in turns, and their ratios.
    Compare(Box<suite::CompareOptions>),
    /// What got worse since an earlier run.
    Check(Box<suite::CheckOptions>),
    /// The page of a run that was written as JSON.
    Page(suite::PageOptions),
    /// The scenarios of the suite.
    List,
    /// Resident memory of connections, sessions, queues and queued messages.
    Memory(memory::Options),
    /// Durable publishing against what the disk can do; recovery; cold backlogs.
    Journal(journal::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Measurement::Run(options) => suite::run(&options),
        Measurement::Compare(options) => suite::compare(&options),
        Measurement::Check(options) => suite::check(&options),
        Measurement::Page(options) => suite::page(&options),
        Measurement::List => Ok(suite::list()),
        Measurement::Memory(options) => memory::run(&options),
        Measurement::Journal(options) => journal::run(&options),
    }
}
