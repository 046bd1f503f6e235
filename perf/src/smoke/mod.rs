//! The smoke benchmark: one publisher, one or four queues with a consumer each, transient. Each
//! measurement has a broker of its own, so its processor time and memory are of nothing else.
//!
//! Throughput: unpaced, with so many messages under way as `--in-flight` allows. Latency: paced;
//! the body carries the time at which the message was *due*, so that whatever holds the publisher
//! back counts as latency too.

mod figures;

use crate::broker::BrokerOptions;
use crate::load::flow::{Flow, Pace, STAMP, Topology};
use crate::load::{self, Time};
use crate::protocol::{Protocol, Protocols};
use anyhow::{Context, Result, bail};
use clap::Args;
use figures::{Case, Figures, Report, print};
use fletch_perf::report;
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    broker: BrokerOptions,
    /// What the clients speak.
    #[arg(long, value_enum, default_value = "amqp0-10")]
    protocol: Protocols,
    /// Sizes of the body, in octets; 8 at least.
    #[arg(long, value_delimiter = ',', default_value = "100,1024")]
    sizes: Vec<usize>,
    /// Queues and consumers a message goes to; 1 by the default exchange, more by a fanout.
    #[arg(long, value_delimiter = ',', default_value = "1,4")]
    fan_out: Vec<usize>,
    /// Seconds that each measurement lasts, after --warm-up.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before each measurement.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Messages per second of the latency measurements.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// Messages published and not received by all, in the throughput measurements.
    #[arg(long, default_value_t = 10_000)]
    in_flight: u64,
    /// Measure with this acceptance only.
    #[arg(long, conflicts_with = "no_ack")]
    ack: bool,
    /// Measure without acceptance only.
    #[arg(long)]
    no_ack: bool,
    /// Throughput only.
    #[arg(long)]
    no_latency: bool,
    /// Latency only.
    #[arg(long, conflicts_with = "no_latency")]
    no_throughput: bool,
    /// Measure so often, and show the median of each figure.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Measures all cases.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.sizes.iter().any(|size| *size < STAMP) {
        bail!("a body has {} octets at least", STAMP);
    }
    if options.fan_out.contains(&0) || options.runs == 0 || options.rate == 0 {
        bail!("--fan-out, --runs and --rate are 1 at least");
    }
    let cases = cases(options);
    let about = options.broker.describe()?;
    let protocols = options.protocol.all();
    let bar = report::progress((cases.len() * options.runs * protocols.len()) as u64);
    let mut results = Vec::new();
    for case in cases {
        let mut runs = vec![Vec::new(); protocols.len()];
        for _ in 0..options.runs {
            // By turns, so that what else this machine does meets both.
            for (runs, protocol) in runs.iter_mut().zip(protocols) {
                bar.set_message(case.name(*protocol));
                runs.push(measure(options, case, *protocol)?);
                bar.inc(1);
            }
        }
        results.extend(figures::lines(case, protocols, &runs));
    }
    bar.finish_and_clear();
    let report = Report { about: &about, seconds: options.seconds, runs: options.runs, results };
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print(&report),
    }
    Ok(ExitCode::SUCCESS)
}

fn cases(options: &Options) -> Vec<Case> {
    let mut cases = Vec::new();
    for &fan_out in &options.fan_out {
        for &size in &options.sizes {
            if !options.no_throughput {
                let acks = [!options.ack, !options.no_ack];
                let acks = [false, true].into_iter().zip(acks).filter(|(_, wanted)| *wanted);
                cases.extend(acks.map(|(ack, _)| Case { fan_out, size, ack, rate: None }));
            }
            if !options.no_latency {
                cases.push(Case { fan_out, size, ack: options.ack, rate: Some(options.rate) });
            }
        }
    }
    cases
}

fn measure(options: &Options, case: Case, protocol: Protocol) -> Result<Figures> {
    let broker = options.broker.start()?;
    let topology = match case.fan_out {
        1 => Topology::Pairs(1),
        more => Topology::FanOut(more),
    };
    let pace = match case.rate {
        Some(rate) => Pace::Rate(f64::from(rate)),
        None => Pace::InFlight(options.in_flight),
    };
    let flow = Flow { topology, ack: case.ack, ..Flow::plain(protocol, case.size, pace) };
    let time = Time { warm_up: options.warm_up, seconds: options.seconds };
    let passed = load::run(&broker, &flow, time)?;
    broker.stop()?;
    let messages = passed.delivered / case.fan_out as f64;
    let latency = passed.transfer.map(|transfer| transfer.total());
    let quantile = |q: f64| latency.as_ref().map(|all| all.value_at_quantile(q) as f64 / 1e3);
    let used = passed.broker.context("the broker's process is not known")?;
    Ok(Figures {
        published_per_second: messages / passed.seconds,
        delivered_per_second: passed.delivered / passed.seconds,
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: quantile(1.0),
        cpu_per_message: used.cpu.as_secs_f64() * 1e6 / messages,
        resident: passed.resident.unwrap_or_default() as f64,
    })
}
