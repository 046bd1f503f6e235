//! The smoke benchmark: one publisher, one or four queues with a consumer each, transient. Each
//! measurement has a broker of its own, so its processor time and memory are of nothing else.
//!
//! Throughput: unpaced, with so many messages under way as `--in-flight` allows. Latency: paced;
//! the body carries the time at which the message was *due*, so that whatever holds the publisher
//! back counts as latency too.

pub(crate) mod clients;
mod figures;
mod v0_10;
mod v1_0;

use crate::broker::{Broker, BrokerOptions};
use crate::protocol::{Protocol, Protocols};
use anyhow::{Result, bail};
use clap::Args;
use clients::{Flow, Shared};
use figures::{Case, Figures, Report, print};
use fletch_perf::report;
use hdrhistogram::Histogram;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    if options.sizes.iter().any(|size| *size < clients::STAMP) {
        bail!("a body has {} octets at least", clients::STAMP);
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
    let flow = Flow {
        protocol,
        fan_out: case.fan_out,
        size: case.size,
        ack: case.ack,
        rate: case.rate,
        in_flight: options.in_flight,
        durable: false,
    };
    let passed = pass(&broker, &flow, options.warm_up, options.seconds)?;
    broker.stop()?;
    let messages = passed.delivered / case.fan_out as f64;
    let quantile = |q: f64| case.rate.map(|_| passed.latency.value_at_quantile(q) as f64 / 1e3);
    Ok(Figures {
        published_per_second: messages / passed.seconds,
        delivered_per_second: passed.delivered / passed.seconds,
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
        max: quantile(1.0),
        cpu_per_message: passed.cpu.as_secs_f64() * 1e6 / messages,
        resident: passed.resident as f64,
    })
}

/// What passed through a broker while it was measured.
pub(crate) struct Passed {
    pub(crate) seconds: f64,
    pub(crate) delivered: f64,
    /// Of messages that were due in that time, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    pub(crate) cpu: Duration,
    /// At the end.
    pub(crate) resident: u64,
}

/// Has a flow pass through a broker for so many seconds, and warm up before.
pub(crate) fn pass(broker: &Broker, flow: &Flow, warm_up: f64, seconds: f64) -> Result<Passed> {
    let shared = Arc::new(Shared::new(flow.fan_out));
    // The publisher connects first: with two shards and one consumer each has a shard.
    let connection = broker.connect_by(flow.protocol)?;
    let mut consumers = Vec::new();
    for at in 0..flow.fan_out {
        let consumer = clients::Consumer::subscribe(broker, at, flow)?;
        let shared = Arc::clone(&shared);
        consumers.push(std::thread::spawn(move || consumer.run(&shared)));
    }
    let publisher = {
        let shared = Arc::clone(&shared);
        let flow = flow.clone();
        let publisher = clients::Publisher::attach(connection, &flow)?;
        std::thread::spawn(move || publisher.run(&flow, &shared))
    };
    std::thread::sleep(Duration::from_secs_f64(warm_up));
    shared.start_recording();
    let before = Sample::take(broker, &shared)?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let after = Sample::take(broker, &shared)?;
    let resident = broker.resident()?;
    shared.stop_publishing();
    let published = joined(publisher)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while shared.least_received() < published {
        if Instant::now() > deadline || consumers.iter().any(|c| c.is_finished()) {
            bail!("{published} published, {} received", shared.least_received());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    shared.stop_consuming();
    if shared.received() != published * flow.fan_out as u64 {
        bail!("{published} published to {} queues, {} received", flow.fan_out, shared.received());
    }
    let mut latency = clients::histogram();
    for consumer in consumers {
        latency.add(joined(consumer)?)?;
    }
    Ok(Passed {
        seconds: (after.at - before.at).as_secs_f64(),
        delivered: (after.received - before.received) as f64,
        latency,
        cpu: after.cpu - before.cpu,
        resident,
    })
}

/// What a thread returned; its panic is ours.
pub(crate) fn joined<T>(thread: std::thread::JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

struct Sample {
    at: Instant,
    cpu: Duration,
    received: u64,
}

impl Sample {
    fn take(broker: &Broker, shared: &Shared) -> Result<Sample> {
        Ok(Sample { at: Instant::now(), cpu: broker.cpu()?, received: shared.received() })
    }
}
