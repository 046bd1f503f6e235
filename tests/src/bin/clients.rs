//! Runs the foreign clients that `tests/run` installed: `clients python`, `clients jms`,
//! `clients crash`; and those that it installs itself: `clients amqp1`.
//!
//! The last line is `N passed, N failed`; the exit status is 1 when anything failed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use fletch_tests::foreign::amqp1;
use fletch_tests::foreign::expected::Expected;
use fletch_tests::foreign::install::{CLIENTS, Client};
use fletch_tests::foreign::jms::Jms;
use fletch_tests::foreign::matrix;
use fletch_tests::foreign::suites::{self, Plan, Python};
use fletch_tests::foreign::{Tally, clients_dir, crash};
use fletch_tests::random::Random;

#[derive(Debug, Parser)]
#[command(about = "Runs clients nobody here wrote against fresh brokers")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The reference's Python suites
    Python(PythonOptions),
    /// Our Java program on the JMS client for AMQP 0-10
    Jms(Target),
    /// Messages from publishers of each protocol to consumers of each, against tests/crossing.md
    Matrix {
        /// Write the table anew
        #[arg(long)]
        write: bool,
    },
    /// SIGKILL under load of the reference's Python client
    Crash(CrashOptions),
    /// Our programs on AMQP 1.0 clients, which are installed first
    Amqp1(Amqp1Options),
}

#[derive(Debug, Args)]
struct Amqp1Options {
    #[command(flatten)]
    target: Target,
    /// Only these clients
    #[arg(long = "client", value_delimiter = ',', value_name = "NAME", value_parser = CLIENTS.map(|c| c.name))]
    clients: Vec<String>,
    /// Only checks whose full name, CLIENT.CHECK, contains TEXT
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// With --broker: its HTTP listener, for AMQP over WebSocket
    #[arg(long, value_name = "HOST:PORT", requires = "broker")]
    http: Option<String>,
    /// Clients side by side: they mostly wait
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Install and stop
    #[arg(long)]
    install: bool,
}

#[derive(Debug, Args)]
struct CrashOptions {
    /// Shard counts, the kills shared among them
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    shards: Vec<u16>,
    /// Kills altogether
    #[arg(long, default_value_t = 18)]
    kills: usize,
}

#[derive(Debug, Args)]
struct Target {
    /// Shard counts, each with brokers of its own
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    shards: Vec<u16>,
    /// Use the broker that runs at HOST:PORT
    #[arg(long, value_name = "HOST:PORT")]
    broker: Option<String>,
}

#[derive(Debug, Args)]
struct PythonOptions {
    #[command(flatten)]
    target: Target,
    /// Only tests whose full name contains TEXT
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Modules side by side
    #[arg(long, default_value_t = 6)]
    jobs: usize,
    /// Seconds one test may take
    #[arg(long, default_value_t = 40)]
    patience: u64,
    /// Seconds everything may take
    #[arg(long, default_value_t = 600)]
    limit: u64,
    /// List the tests and stop
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().what {
        What::Python(options) => python(options),
        What::Jms(target) => jms(&target),
        What::Crash(options) => crash(&options),
        What::Amqp1(options) => amqp1(options),
        What::Matrix { write } => matrix::run(write),
    };
    match result {
        Ok(tally) => {
            println!("{tally}");
            ExitCode::from(u8::from(tally.failed > 0))
        }
        Err(error) => {
            eprintln!("clients: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn python(options: PythonOptions) -> Result<Tally> {
    let python = Python::installed()?;
    if options.list {
        let tests = python.list()?;
        tests.iter().for_each(|test| println!("{test}"));
        return Ok(Tally::default());
    }
    let expected = expected("expected-failures.txt")?;
    let logs: PathBuf = clients_dir().join("logs");
    let plan = Plan {
        shards: if options.target.broker.is_some() { vec![1] } else { options.target.shards },
        jobs: if options.target.broker.is_some() { 1 } else { options.jobs },
        only: options.only,
        broker: options.target.broker,
        patience: Duration::from_secs(options.patience),
        limit: Duration::from_secs(options.limit),
        logs,
    };
    let summary = suites::run(&python, &plan, &expected)?;
    println!(
        "{} failed as listed in tests/suites/expected-failures.txt, {} listed were not run; \
         output in {}",
        summary.expected,
        summary.not_run,
        plan.logs.display()
    );
    Ok(summary.tally)
}

/// Reads a list of tests that cannot pass yet.
fn expected(list: &str) -> Result<Expected> {
    let list = format!(concat!(env!("CARGO_MANIFEST_DIR"), "/suites/{}"), list);
    let text = std::fs::read_to_string(&list).with_context(|| format!("reading {list}"))?;
    Expected::parse(&text).with_context(|| format!("reading {list}"))
}

fn amqp1(options: Amqp1Options) -> Result<Tally> {
    let expected = expected("expected-failures-amqp1.txt")?;
    let chosen = |client: &&Client| {
        options.clients.is_empty() || options.clients.iter().any(|name| name == client.name)
    };
    let require_all = std::env::var("FLETCH_REQUIRE_ALL").is_ok_and(|value| value == "1");
    let mut tally = Tally::default();
    let mut installed = Vec::new();
    for (client, result) in amqp1::install(CLIENTS.iter().filter(chosen).collect()) {
        match result {
            Ok(()) => installed.push(client),
            Err(error) => {
                // Loud always, fatal where everything is required.
                eprintln!("\n*** NOT TESTED: {} did not install: {error:#}", client.name);
                tally.failed += usize::from(require_all);
            }
        }
    }
    if options.install || installed.is_empty() {
        return Ok(tally);
    }
    let running = options.target.broker.is_some();
    let plan = amqp1::Plan {
        shards: if running { vec![1] } else { options.target.shards },
        jobs: if running { 1 } else { options.jobs },
        only: options.only,
        broker: options.target.broker,
        http: options.http,
        patience: Duration::from_secs(120),
        logs: clients_dir().join("logs"),
    };
    // The order of the list, not that in which they were installed.
    installed.sort_by_key(|client| CLIENTS.iter().position(|other| other.name == client.name));
    let summary = amqp1::run(&installed, &plan, &expected)?;
    println!(
        "{} failed as listed in tests/suites/expected-failures-amqp1.txt, {} listed were not run, \
         {} cannot be made with their client; output in {}",
        summary.expected,
        summary.not_run,
        summary.skipped,
        plan.logs.display()
    );
    tally += summary.tally;
    Ok(tally)
}

fn crash(options: &CrashOptions) -> Result<Tally> {
    let python = Python::installed()?;
    let seed = Random::seed();
    let kills = options.kills.div_ceil(options.shards.len().max(1));
    let mut tally = Tally::default();
    for &shards in &options.shards {
        match crash::run(&python, shards, kills, seed) {
            Ok(said) => {
                println!("shards {shards}: {said}");
                tally.passed += 1;
            }
            Err(error) => {
                println!("shards {shards}: FAILED, FLETCH_SEED={seed}: {error:#}");
                tally.failed += 1;
            }
        }
    }
    Ok(tally)
}

fn jms(target: &Target) -> Result<Tally> {
    let jms = Jms::installed()?;
    if let Some(address) = &target.broker {
        return jms.run_against(address);
    }
    let mut tally = Tally::default();
    for &shards in &target.shards {
        println!("shards {shards}");
        tally += jms.run(shards)?;
    }
    Ok(tally)
}
