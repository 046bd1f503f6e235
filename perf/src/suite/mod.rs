//! The suite: which scenarios, with which parameters, against which brokers, and what becomes of the results.

pub(crate) mod bench;
mod check;
mod compare;
pub(crate) mod document;
mod histograms;
pub(crate) mod measurement;
mod page;
pub(crate) mod profile;
mod runner;
mod stats;
mod table;

use crate::broker::BrokerOptions;
use crate::host;
use crate::load::flow::{Clients, STAMP};
use crate::load::publisher::BATCH;
use crate::protocol::Protocols;
use crate::scenario::{self, Scenario};
use crate::target::Target;
use crate::tls::TlsArguments;
use anyhow::{Context, Result, bail};
use bench::{Bench, Under};
use clap::Args;
use document::{Document, Host, Subject};
use profile::Profile;
use runner::{Contender, Order};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) use check::CheckOptions;
pub(crate) use compare::CompareOptions;

/// What to measure, and how. A profile gives what is not given here.
#[derive(Args, Clone, Debug)]
pub(crate) struct Measuring {
    /// How much is measured.
    #[arg(long, value_enum, default_value = "quick")]
    profile: profile::Name,
    /// These scenarios only: see `fletch-perf list`.
    #[arg(long, value_delimiter = ',', value_name = "SCENARIO")]
    only: Vec<String>,
    /// What the clients speak.
    #[arg(long, value_enum, default_value = "amqp0-10")]
    protocol: Protocols,
    /// What clients do while there is nothing to do. Busy ones need a processor each.
    #[arg(long, value_enum, default_value = "sleeping")]
    clients: Clients,
    /// Octets in a body.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<usize>,
    /// Messages per second where that is fixed.
    #[arg(long, value_delimiter = ',')]
    rates: Vec<u32>,
    /// Throughput with so many pairs of a publisher and a consumer. Of the three topologies those that are given.
    #[arg(long, value_delimiter = ',')]
    pairs: Vec<usize>,
    /// Throughput from one publisher to so many consumers.
    #[arg(long, value_delimiter = ',')]
    fan_out: Vec<usize>,
    /// Throughput from so many publishers to one consumer.
    #[arg(long, value_delimiter = ',')]
    fan_in: Vec<usize>,
    /// Seconds that each flow is measured.
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds before that, which do not count.
    #[arg(long)]
    warm_up: Option<f64>,
    /// How often each case is measured.
    #[arg(long)]
    repetitions: Option<usize>,
    /// What p99.9 may be for a rate to count as sustained, in microseconds.
    #[arg(long, value_name = "MICROSECONDS")]
    limit: Option<f64>,
    /// Messages published and not yet received where there is no rate.
    #[arg(long)]
    in_flight: Option<u64>,
    /// Connections to open.
    #[arg(long)]
    connections: Option<usize>,
    /// Messages of the backlog.
    #[arg(long)]
    backlog: Option<u64>,
    /// Queues that management is asked for.
    #[arg(long)]
    managed_queues: Option<usize>,
    /// Seconds of the soak.
    #[arg(long)]
    soak: Option<f64>,
    /// Where qpid-perftest, qpid-latency-test, qpid-send and qpid-receive of Apache Qpid are: they are run as well.
    #[arg(long, value_name = "DIR")]
    qpid_clients: Option<PathBuf>,
    /// Data directories and the disk's own measurement go below this one; by default the system's for temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The revision of the source that is measured, for the report.
    #[arg(long, env = "FLETCH_PERF_REVISION")]
    revision: Option<String>,
    /// Write the results as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the histograms, as .hlog and .hgrm files.
    #[arg(long, value_name = "DIR")]
    hdr: Option<PathBuf>,
}

impl Measuring {
    fn profile(&self) -> Result<Profile> {
        let mut profile = self.profile.profile();
        if !self.sizes.is_empty() {
            profile.sizes.clone_from(&self.sizes);
            profile.sustained_sizes.clone_from(&self.sizes);
        }
        if !self.rates.is_empty() {
            profile.rates.clone_from(&self.rates);
            profile.durable_rates.clone_from(&self.rates);
        }
        let topologies = [&self.pairs, &self.fan_out, &self.fan_in];
        if topologies.iter().any(|counts| !counts.is_empty()) {
            profile.pairs.clone_from(&self.pairs);
            profile.fan_outs.clone_from(&self.fan_out);
            profile.fan_ins.clone_from(&self.fan_in);
        }
        if topologies.iter().any(|counts| counts.contains(&0)) {
            bail!("--pairs, --fan-out and --fan-in are 1 at least");
        }
        profile.seconds = self.seconds.unwrap_or(profile.seconds);
        profile.warm_up = self.warm_up.unwrap_or(profile.warm_up);
        profile.repetitions = self.repetitions.unwrap_or(profile.repetitions);
        profile.in_flight = self.in_flight.unwrap_or(profile.in_flight);
        profile.limit_us = self.limit.unwrap_or(profile.limit_us);
        profile.connections = self.connections.unwrap_or(profile.connections);
        profile.backlog = self.backlog.unwrap_or(profile.backlog);
        profile.managed_queues = self.managed_queues.unwrap_or(profile.managed_queues);
        profile.soak = self.soak.unwrap_or(profile.soak);
        profile.qpid_clients.clone_from(&self.qpid_clients);
        if profile.sizes.iter().any(|size| *size < STAMP) {
            bail!("--sizes: a body has {STAMP} octets at least");
        }
        if profile.rates.contains(&0) {
            bail!("--rates: 1 at least");
        }
        // Publishers send in batches of this, and one must fit.
        if profile.in_flight < BATCH {
            bail!("--in-flight is {BATCH} at least");
        }
        if profile.repetitions == 0 || profile.connections == 0 || profile.backlog == 0 {
            bail!("--repetitions, --connections and --backlog are 1 at least");
        }
        for (name, seconds) in [
            ("--seconds", profile.seconds),
            ("--soak", profile.soak),
            ("--limit", profile.limit_us),
        ] {
            if !seconds.is_finite() || seconds <= 0.0 {
                bail!("{name} is more than 0");
            }
        }
        if !profile.warm_up.is_finite() || profile.warm_up < 0.0 {
            bail!("--warm-up is 0 at least");
        }
        Ok(profile)
    }

    fn scenarios(&self) -> Result<Vec<&'static dyn Scenario>> {
        for name in &self.only {
            if !scenario::ALL.iter().any(|scenario| scenario.name() == name) {
                let all: Vec<&str> = scenario::ALL.iter().map(|scenario| scenario.name()).collect();
                bail!("--only {name}: there is no such scenario, but {}", all.join(", "));
            }
        }
        if self.only.iter().any(|name| name == "qpid-clients") && self.qpid_clients.is_none() {
            bail!("--only qpid-clients: --qpid-clients DIR says where they are");
        }
        let wanted = |scenario: &&dyn Scenario| {
            self.only.is_empty() || self.only.iter().any(|name| name == scenario.name())
        };
        Ok(scenario::ALL.into_iter().filter(wanted).collect())
    }

    fn contender(&self, under: Under, dir: &Path) -> Result<Contender> {
        let protocols = self.protocol.all();
        let (name, url, program, shards, idle_strategy) = match &under {
            Under::There(target) => {
                let url = target.url();
                (format!("the broker at {url}"), Some(url), None, None, None)
            }
            Under::Program(options) => {
                let program = Some(options.program()?.display().to_string());
                let own = !options.is_reference();
                let shards = own.then(|| options.shards());
                let idle = own.then(|| options.idle_strategy().to_owned());
                (options.describe()?, None, program, shards, idle)
            }
        };
        let subject = Subject {
            name,
            url,
            program,
            shards,
            idle_strategy,
            clients: self.clients.name().to_owned(),
            protocols: protocols.iter().map(|protocol| protocol.name().to_owned()).collect(),
        };
        let bench = |protocol: &_| Bench {
            under: under.clone(),
            protocol: *protocol,
            clients: self.clients,
            dir: dir.to_owned(),
        };
        Ok(Contender { subject, benches: protocols.iter().map(bench).collect() })
    }

    /// The directory for what is on disk for a while, and what the machine can do alone.
    fn prepare(&self, profile: &Profile) -> Result<(TempDir, Host)> {
        let dir = bench::temporary_in(self.dir.as_deref())?;
        let host = host::measure(Duration::from_secs_f64(profile.host_seconds), dir.path())?;
        Ok((dir, host))
    }

    fn measure(&self, unders: &[Under]) -> Result<Vec<Document>> {
        let (profile, scenarios) = (self.profile()?, self.scenarios()?);
        let (dir, host) = self.prepare(&profile)?;
        let contenders = unders.iter().map(|under| self.contender(under.clone(), dir.path()));
        let contenders = contenders.collect::<Result<Vec<_>>>()?;
        let order = Order {
            profile: &profile,
            scenarios: &scenarios,
            // Else that with which this program was built.
            revision: self
                .revision
                .clone()
                .or(option_env!("FLETCH_PERF_REVISION").map(str::to_owned)),
            hdr: self.hdr.clone(),
        };
        runner::measure(&order, &contenders, &host)
    }
}

/// One broker: a program to start, or one that is there.
#[derive(Args, Clone, Debug)]
pub(crate) struct Choice {
    #[command(flatten)]
    program: BrokerOptions,
    /// A broker that runs already, amqp://[USER:PASSWORD@]HOST[:PORT], or amqps:// for TLS.
    #[arg(long, conflicts_with_all = ["broker", "shards", "idle_strategy", "reference", "with", "with_store"])]
    url: Option<String>,
    /// The process of that broker, if it is on this machine: for its processor time and memory.
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    #[command(flatten)]
    tls: TlsArguments,
}

impl Choice {
    fn under(&self) -> Result<Under> {
        self.tls.check(&self.url)?;
        Ok(match &self.url {
            Some(url) => Under::There(Target::parse(url, self.pid, &self.tls)?),
            None => Under::Program(self.program.clone()),
        })
    }
}

/// `fletch-perf run`.
#[derive(Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    broker: Choice,
    #[command(flatten)]
    measuring: Measuring,
    /// Write the report, one page with all plots.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Measures one broker.
pub(crate) fn run(options: &RunOptions) -> Result<ExitCode> {
    let document = options.measuring.measure(&[options.broker.under()?])?;
    let document = document.first().context("one broker was measured")?;
    table::print(document);
    if let Some(path) = &options.measuring.json {
        document.write(path)?;
    }
    if let Some(path) = &options.html {
        write_page(document, path)?;
    }
    Ok(status(document))
}

/// `fletch-perf page`.
#[derive(Args)]
pub(crate) struct PageOptions {
    /// What `run --json` has written.
    results: PathBuf,
    /// The page to write.
    html: PathBuf,
}

/// Makes the page of results that are there.
pub(crate) fn page(options: &PageOptions) -> Result<ExitCode> {
    write_page(&Document::read(&options.results)?, &options.html)?;
    Ok(ExitCode::SUCCESS)
}

/// Names the scenarios.
pub(crate) fn list() -> ExitCode {
    for scenario in scenario::ALL {
        println!("{:12} {}", scenario.name(), scenario.about());
    }
    ExitCode::SUCCESS
}

/// Holds two brokers against each other.
pub(crate) fn compare(options: &CompareOptions) -> Result<ExitCode> {
    compare::run(options)
}

/// Holds a run against an earlier one.
pub(crate) fn check(options: &CheckOptions) -> Result<ExitCode> {
    check::run(options)
}

fn write_page(document: &Document, path: &Path) -> Result<()> {
    std::fs::write(path, page::render(document)).with_context(|| path.display().to_string())
}

/// Whether all that applies could be measured.
fn status(document: &Document) -> ExitCode {
    match document.without.iter().any(|without| without.failed) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// Whether it is worth telling: something that has a direction.
fn is_telling(figure: &document::Figure) -> bool {
    figure.better != document::Better::Neither
}
