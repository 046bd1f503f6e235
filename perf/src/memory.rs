//! What things cost in resident memory of the broker: idle connections, sessions, consumers (of AMQP 1.0 beside
//! those of 0-10), empty queues, queued messages; and what of a backlog is left once it is drained. Each measurement has a
//! broker of its own. Memory of the kernel (sockets, rings that are not mapped) is not in it.

use crate::broker::{Broker, BrokerOptions};
use crate::process::allow_descriptors;
use crate::target::unlimited;
use anyhow::{Context, Result, bail};
use clap::Args;
use fletch_client::amqp::v0_10::AcceptMode;
use fletch_client::amqp::v0_10::table::queue;
use fletch_client::amqp::v1_0::types::Value;
use fletch_client::{Connection, Outgoing, Session, Subscription, v1_0};
use fletch_perf::report;
use serde::Serialize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Descriptors of this process beside the connections'.
const DESCRIPTORS: u64 = 64;
/// How long memory may take to settle.
const SETTLE: Duration = Duration::from_secs(10);
const QUEUE: &str = "fletch-perf.backlog";
const DESTINATION: &str = "in";
/// What may be spent on AMQP 1.0 for each octet spent on the same in 0-10.
const OLD_TO_NEW: f64 = 1.5;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    broker: BrokerOptions,
    /// Connections.
    #[arg(long, default_value_t = 1_000)]
    connections: u64,
    /// Consumers, all on one connection and one queue.
    #[arg(long, default_value_t = 10_000)]
    consumers: u64,
    /// Queues.
    #[arg(long, default_value_t = 10_000)]
    queues: u64,
    /// Queued messages.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Octets in the body of each.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Seconds that a drained broker has to give memory back.
    #[arg(long, default_value_t = 15)]
    drain_seconds: u64,
    /// Measure so often, and show the median of each figure.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Exit with status 1 if a figure misses its target.
    #[arg(long)]
    check: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One line of the report. Figures are octets for each of `count`.
#[derive(Clone, Debug, Serialize)]
struct Cost {
    what: &'static str,
    count: u64,
    each: f64,
    target: f64,
    /// To what the same costs in 0-10.
    ratio: Option<f64>,
    met: bool,
}

impl Cost {
    fn new(what: &'static str, count: u64, grown: i128, target: f64) -> Cost {
        let each = grown as f64 / count as f64;
        Cost { what, count, each, target, ratio: None, met: each <= target }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    about: &'a str,
    runs: usize,
    results: Vec<Cost>,
}

/// Measures all.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if [
        options.connections,
        options.consumers,
        options.queues,
        options.messages,
        options.runs as u64,
    ]
    .contains(&0)
    {
        bail!("all counts are 1 at least");
    }
    allow_descriptors(options.connections + DESCRIPTORS)?;
    let about = options.broker.describe()?;
    let bar = report::progress(MEASURES.len() as u64 * options.runs as u64);
    let mut runs: Vec<Vec<Cost>> = Vec::new();
    for _ in 0..options.runs {
        let mut costs = Vec::new();
        for (name, measure) in MEASURES {
            bar.set_message(name);
            let broker = options.broker.start()?;
            costs.extend(measure(options, &broker)?);
            broker.stop()?;
            bar.inc(1);
        }
        runs.push(costs);
    }
    bar.finish_and_clear();
    let mut results: Vec<Cost> = (0..runs[0].len())
        .map(|at| {
            let each = report::median(runs.iter().map(|costs| costs[at].each).collect());
            let cost = runs[0][at].clone();
            Cost { each, met: each <= cost.target, ..cost }
        })
        .collect();
    compare(&mut results);
    let missed = results.iter().any(|cost| !cost.met);
    let report = Report { about: &about, runs: options.runs, results };
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print(&report),
    }
    Ok(if options.check && missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

type Measure = fn(&Options, &Broker) -> Result<Vec<Cost>>;

const MEASURES: [(&str, Measure); 6] = [
    ("connections", connections),
    ("connections of 1.0", connections_1_0),
    ("consumers", consumers),
    ("consumers of 1.0", consumers_1_0),
    ("queues", queues),
    ("messages", messages),
];

/// The costs in AMQP 1.0, and those in 0-10 that they are held against.
const PAIRS: [(&str, &str); 3] =
    [(CONNECTION_1_0, CONNECTION), (SESSION_1_0, SESSION), (CONSUMER_1_0, CONSUMER)];
const CONNECTION: &str = "idle connection";
const CONNECTION_1_0: &str = "idle connection, 1.0";
const SESSION: &str = "idle connection with a session";
const SESSION_1_0: &str = "idle connection with a session, 1.0";
const CONSUMER: &str = "subscription";
const CONSUMER_1_0: &str = "receiving link, 1.0";

/// Holds what 1.0 costs against what 0-10 costs.
fn compare(costs: &mut [Cost]) {
    for (new, old) in PAIRS {
        let old = costs.iter().find(|cost| cost.what == old).map(|cost| cost.each);
        if let (Some(old), Some(new)) = (old, costs.iter_mut().find(|cost| cost.what == new)) {
            new.target = old * OLD_TO_NEW;
            new.ratio = Some(new.each / old);
            new.met = new.each <= new.target;
        }
    }
}

/// What a fresh broker has resident once a client has come and gone: code that is paged in and
/// buffers that all share are not the cost of the things measured.
fn baseline(broker: &Broker) -> Result<i128> {
    for at in 0..8 {
        let connection = broker.connect()?;
        let session = connection.session(&format!("warm-up-{at}"), false)?;
        declare(&session, "warm-up")?;
        session.send("", &Outgoing::to_queue("warm-up", b"x"))?;
        consume(&connection, &session, "warm-up", 1)?;
        session.call(&queue::Delete { queue: Some("warm-up"), ..Default::default() }.into())?;
        session.close()?;
        connection.close()?;
    }
    resident(broker)
}

fn resident(broker: &Broker) -> Result<i128> {
    Ok(i128::from(broker.settled(SETTLE)?))
}

fn connections(options: &Options, broker: &Broker) -> Result<Vec<Cost>> {
    let base = baseline(broker)?;
    let count = options.connections;
    let open = (0..count).map(|_| broker.connect()).collect::<Result<Vec<Connection>>>()?;
    let idle = resident(broker)?;
    let mut sessions = Vec::new();
    for (at, connection) in open.iter().enumerate() {
        sessions.push(connection.session(&format!("idle-{at}"), false)?);
    }
    let attached = resident(broker)?;
    Ok(vec![
        Cost::new(CONNECTION, count, idle - base, 8.0 * 1024.0),
        Cost::new(SESSION, count, attached - base, 10.0 * 1024.0),
    ])
}

fn connections_1_0(options: &Options, broker: &Broker) -> Result<Vec<Cost>> {
    let base = baseline_1_0(broker)?;
    let count = options.connections;
    let open = (0..count).map(|_| broker.connect_1_0()).collect::<Result<Vec<_>>>()?;
    let idle = resident(broker)?;
    let sessions: Result<Vec<_>, _> = open.iter().map(|connection| connection.session()).collect();
    let _sessions = sessions?;
    let begun = resident(broker)?;
    // The targets follow from what 0-10 costs.
    Ok(vec![
        Cost::new(CONNECTION_1_0, count, idle - base, 0.0),
        Cost::new(SESSION_1_0, count, begun - base, 0.0),
    ])
}

fn consumers(options: &Options, broker: &Broker) -> Result<Vec<Cost>> {
    let connection = broker.connect()?;
    let session = connection.session("consumers", false)?;
    declare(&session, QUEUE)?;
    let base = baseline(broker)?;
    for at in 0..options.consumers {
        session.subscribe(&Subscription {
            queue: QUEUE,
            destination: &format!("c-{at:06}"),
            ..Default::default()
        })?;
    }
    session.sync()?;
    Ok(vec![Cost::new(CONSUMER, options.consumers, resident(broker)? - base, 1024.0)])
}

fn consumers_1_0(options: &Options, broker: &Broker) -> Result<Vec<Cost>> {
    let connection = broker.connect()?;
    declare(&connection.session("consumers", false)?, QUEUE)?;
    let connection = broker.connect_1_0()?;
    let session = connection.session()?;
    let base = baseline_1_0(broker)?;
    let mut receivers = Vec::new();
    for at in 0..options.consumers {
        receivers.push(session.receiver(&v1_0::ReceiverOptions {
            name: Some(format!("c-{at:06}")),
            credit: v1_0::Credit::Once(0),
            ..v1_0::ReceiverOptions::of(QUEUE)
        })?);
    }
    Ok(vec![Cost::new(CONSUMER_1_0, options.consumers, resident(broker)? - base, 0.0)])
}

/// [`baseline`], with clients of 1.0 as well.
fn baseline_1_0(broker: &Broker) -> Result<i128> {
    baseline(broker)?;
    for at in 0..8 {
        let connection = broker.connect_1_0()?;
        let session = connection.session()?;
        let target = v1_0::Terminus {
            capabilities: vec!["create-on-demand".into(), "queue".into()],
            properties: vec![("auto-delete".into(), Value::Boolean(true))],
            ..v1_0::Terminus::of(format!("warm-up-{at}"))
        };
        let sender = session.sender(&v1_0::SenderOptions { target, ..Default::default() })?;
        sender.send(&v1_0::Outgoing::of_data(b"x"))?;
        sender.settle()?;
        let receiver = session.receiver(&v1_0::ReceiverOptions::of(sender.address()))?;
        let delivery = receiver.next_delivery(SETTLE)?;
        receiver.accept(&delivery.context("the warm-up's message did not come")?)?;
        receiver.close()?;
        session.close()?;
        connection.close()?;
    }
    resident(broker)
}

fn queues(options: &Options, broker: &Broker) -> Result<Vec<Cost>> {
    let connection = broker.connect()?;
    let session = connection.session("queues", false)?;
    let base = baseline(broker)?;
    for at in 0..options.queues {
        let name = format!("q-{at:06}");
        session.command(&queue::Declare { queue: Some(&name), ..Default::default() }.into())?;
    }
    session.sync()?;
    let grown = resident(broker)? - base;
    Ok(vec![Cost::new("empty queue", options.queues, grown, 1.5 * 1024.0)])
}

fn messages(options: &Options, broker: &Broker) -> Result<Vec<Cost>> {
    let connection = broker.connect()?;
    let session = connection.session("messages", false)?;
    declare(&session, QUEUE)?;
    let base = baseline(broker)?;
    let body = vec![0x5a; options.size];
    for _ in 0..options.messages {
        session.send("", &Outgoing::to_queue(QUEUE, &body))?;
    }
    session.sync()?;
    let full = resident(broker)? - base;
    consume(&connection, &session, QUEUE, options.messages)?;
    let deadline = Instant::now() + Duration::from_secs(options.drain_seconds);
    let kept = full / 10;
    let mut left = resident(broker)? - base;
    while left > kept && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        left = i128::from(broker.resident()?) - base;
    }
    let count = options.messages;
    // A tenth of the backlog is the allocator's; more would be a leak.
    Ok(vec![
        Cost::new("queued message", count, full, 300.0),
        Cost::new("drained message", count, left, kept as f64 / count as f64),
    ])
}

fn declare(session: &Session, name: &str) -> Result<()> {
    session.call(&queue::Declare { queue: Some(name), ..Default::default() }.into())?;
    Ok(())
}

/// Takes so many messages off a queue.
fn consume(connection: &Connection, session: &Session, queue: &str, count: u64) -> Result<()> {
    session.subscribe(&Subscription {
        queue,
        destination: DESTINATION,
        accept_mode: AcceptMode::NONE,
        ..Default::default()
    })?;
    unlimited(session, DESTINATION)?;
    let mut taken = 0;
    let mut deliveries = Vec::new();
    let mut heard = Instant::now();
    while taken < count {
        match session.take_deliveries(&mut deliveries) {
            0 if heard.elapsed() > Duration::from_secs(30) => {
                bail!("{taken} of {count} messages came from {queue}");
            }
            0 => connection.poll(Duration::from_millis(100))?,
            more => {
                taken += more as u64;
                deliveries.clear();
                heard = Instant::now();
            }
        }
    }
    session.cancel(DESTINATION)?;
    Ok(())
}

fn print(report: &Report<'_>) {
    println!("{}", report.about);
    println!("resident octets of the broker for each; median of {} run(s)", report.runs);
    let mut table = report::table(&["what", "count", "each", "target", "ratio", ""], 1);
    for cost in &report.results {
        table.add_row([
            cost.what.to_owned(),
            report::thousands(cost.count as f64),
            report::thousands(cost.each),
            report::thousands(cost.target),
            cost.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            if cost.met { "met" } else { "MISSED" }.to_owned(),
        ]);
    }
    println!("{table}");
}
