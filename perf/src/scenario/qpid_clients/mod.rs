//! The load of Apache Qpid's own C++ clients, whose figures its users know: `qpid-perftest` and `qpid-latency-test` in AMQP
//! 0-10, `qpid-send` and `qpid-receive` in either protocol. They are not part of this: `--qpid-clients` says where they are.

mod program;

use super::{Case, Chart, Plan, Scenario, json};
use crate::load::ends::Kept;
use crate::load::flow::{Flow, Pace};
use crate::load::unique;
use crate::process::Process;
use crate::protocol::Protocol;
use crate::suite::bench::{Bench, Under};
use crate::suite::document::Better;
use crate::suite::measurement::Measurement;
use crate::target::Target;
use anyhow::{Context, Result};
use program::{Program, numbers};
use std::path::{Path, PathBuf};

/// See the module.
pub(super) struct QpidClients;

/// A way to run `qpid-perftest`.
struct Perftest {
    name: &'static str,
    /// Its options beside sizes and counts.
    options: &'static [&'static str],
    /// Octets of a body.
    size: usize,
    /// Messages of each publisher for each second that a flow is to last: about what the slower of two brokers does.
    pace: u64,
    publishers: u64,
    durable: bool,
}

impl Perftest {
    const fn new(
        name: &'static str,
        options: &'static [&'static str],
        size: usize,
        pace: u64,
    ) -> Perftest {
        Perftest { name, options, size, pace, publishers: 1, durable: false }
    }

    const fn by(self, publishers: u64) -> Perftest {
        Perftest { publishers, ..self }
    }

    const fn durable(self) -> Perftest {
        Perftest { durable: true, ..self }
    }
}

const NODELAY: &[&str] = &["--tcp-nodelay"];
const FANOUT: &[&str] = &["--tcp-nodelay", "--mode", "fanout", "--nsubs", "4"];
const TOPIC: &[&str] = &["--tcp-nodelay", "--mode", "topic", "--nsubs", "4"];
const PAIRS: &[&str] = &["--tcp-nodelay", "--qt", "4"];
const SYNC: &[&str] = &["--tcp-nodelay", "--sync-publish", "yes"];
const SYNC_64: &[&str] = &["--tcp-nodelay", "--sync-publish", "yes", "--npubs", "64"];
const TX: &[&str] = &["--tcp-nodelay", "--tx", "100"];

const PERFTESTS: [Perftest; 14] = [
    Perftest::new("1→1", &[], 64, 250_000),
    Perftest::new("1→1", &[], 1_024, 200_000),
    Perftest::new("1→1, nodelay", NODELAY, 64, 250_000),
    Perftest::new("fanout 1→4", FANOUT, 64, 110_000),
    Perftest::new("topic 1→4", TOPIC, 64, 110_000),
    Perftest::new("4 pairs", PAIRS, 64, 60_000).by(4),
    Perftest::new("synchronous", SYNC, 64, 11_000),
    Perftest::new("transactions of 100", TX, 64, 200_000),
    Perftest::new("durable 1→1, nodelay", NODELAY, 64, 100_000).durable(),
    Perftest::new("durable 1→1, nodelay", NODELAY, 1_024, 60_000).durable(),
    Perftest::new("durable, synchronous", SYNC, 64, 4_000).durable(),
    Perftest::new("durable, 64 synchronous", SYNC_64, 64, 1_000).by(64).durable(),
    Perftest::new("durable, transactions of 100", TX, 64, 60_000).durable(),
    Perftest::new("durable, transactions of 100", TX, 1_024, 40_000).durable(),
];

const WITHOUT_TLS: &str = "over TLS these programs want certificates in a database of their own";

/// Messages a second of `qpid-send` and `qpid-receive`, about, and octets of their bodies.
const SEND_RATE: u64 = 200_000;
const SEND_SIZE: usize = 100;

impl Scenario for QpidClients {
    fn name(&self) -> &'static str {
        "qpid-clients"
    }

    fn about(&self) -> &'static str {
        "Apache Qpid's own clients, where --qpid-clients says they are"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let Some(dir) = &plan.profile.qpid_clients else { return Vec::new() };
        let seconds = plan.profile.seconds;
        let perftests = PERFTESTS.iter().map(|test| perftest(dir, test, seconds));
        let rates = plan.profile.rates.iter().filter(|rate| **rate <= 50_000);
        let latencies = rates.map(|rate| latency(dir, *rate, seconds));
        let apply = |case: Case| match plan.protocol {
            Protocol::V0_10 => case,
            Protocol::V1_0 => case.without("this program speaks AMQP 0-10 only"),
        };
        let messages = (SEND_RATE as f64 * seconds) as u64;
        let all = perftests.chain(latencies).map(apply).chain([send_receive(dir, messages)]);
        match plan.under {
            Under::There(target) if target.is_sealed() => {
                all.map(|case| case.without(WITHOUT_TLS)).collect()
            }
            _ => all.collect(),
        }
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "transfers",
            "published",
            "broker CPU",
            "clients CPU",
            "average",
            "sent alone",
            "received alone",
            "sent and received at once",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[Chart::Bars("transfers"), Chart::Bars("broker CPU")]
    }
}

/// How the programs are told where the broker is, and who asks.
fn place(target: &Target) -> Vec<String> {
    let mut options = vec!["--broker".to_owned(), target.host().to_owned()];
    options.extend(["--port".to_owned(), target.port().to_string()]);
    let user = target.options();
    let pairs = [("--username", user.user), ("--password", user.password)];
    for (name, value) in pairs {
        options.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    }
    options
}

fn perftest(dir: &Path, test: &'static Perftest, seconds: f64) -> Case {
    let &Perftest { name, options, size, pace, publishers, durable } = test;
    let dir = dir.to_owned();
    let count = ((pace as f64 * seconds) as u64).max(100) / 100 * 100;
    let mut arguments = vec!["--summary".to_owned()];
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    arguments.extend(["--size".to_owned(), size.to_string()]);
    arguments.extend(["--count".to_owned(), count.to_string()]);
    if durable {
        arguments.extend(["--durable".to_owned(), "yes".to_owned()]);
    }
    let command = format!("qpid-perftest {}", arguments.join(" "));
    let parameters = [("options", json!(command)), ("size", json!(size))];
    let title = format!("perftest, {name}, {}", super::octets(size));
    Case::new(title, parameters, move |bench| {
        let broker = bench.broker(durable)?;
        let mut arguments = [place(&broker), arguments.clone()].concat();
        arguments.extend(["--base-name".to_owned(), unique("perftest")]);
        let before = (broker.usage()?, Process::this().children_cpu()?);
        let said = Program::start(&dir, "qpid-perftest", &arguments)?.finish()?;
        let after = (broker.usage()?, Process::this().children_cpu()?);
        broker.end()?;
        let [published, _, transfers, _] = numbers::<4>(&said, '\t')?;
        let mut measurement = Measurement::default();
        measurement.add("transfers", "/s", Better::Higher, transfers);
        measurement.add("published", "/s", Better::Higher, published * publishers as f64);
        let millions = (count * publishers) as f64 / 1e6;
        let mut cpu = |who, better, spent: std::time::Duration| {
            measurement.add(who, "s/million", better, spent.as_secs_f64() / millions);
        };
        if let Some((after, before)) = after.0.zip(before.0) {
            cpu("broker CPU", Better::Lower, (after - before).cpu);
        }
        cpu("clients CPU", Better::Neither, after.1.saturating_sub(before.1));
        Ok(measurement)
    })
}

fn latency(dir: &Path, rate: u32, seconds: f64) -> Case {
    let dir = dir.to_owned();
    let options = format!(
        "--tcp-nodelay --size 64 --rate {rate} --csv --time-limit {}",
        seconds.ceil() as u64
    );
    let parameters = [
        ("options", json!(format!("qpid-latency-test {options}"))),
        ("size", json!(64)),
        ("rate", json!(rate)),
    ];
    let title = format!("latency-test, 64 B, {}/s", super::thousands(f64::from(rate)));
    Case::new(title, parameters, move |bench| {
        let broker = bench.broker(false)?;
        let mut arguments = place(&broker);
        arguments.extend(options.split(' ').map(str::to_owned));
        arguments.extend(["--queue-base-name".to_owned(), unique("latency")]);
        let said = Program::start(&dir, "qpid-latency-test", &arguments)?.finish()?;
        broker.end()?;
        let [_, _, _, average] = numbers::<4>(&said, ',')?;
        let mut measurement = Measurement::default();
        measurement.add("average", "µs", Better::Lower, average * 1_000.0);
        Ok(measurement)
    })
}

/// First all messages are sent to a queue, then they are received, then both at once.
fn send_receive(dir: &Path, messages: u64) -> Case {
    let dir = dir.to_owned();
    let parameters = [("size", json!(SEND_SIZE)), ("messages", json!(messages))];
    let title = format!("send and receive, {}", super::octets(SEND_SIZE));
    Case::new(title, parameters, move |bench| {
        let broker = bench.broker(false)?;
        let queue = unique("queue");
        // By 0-10, where whoever makes a queue names it.
        let flow = Flow::plain(Protocol::V0_10, SEND_SIZE, Pace::InFlight(messages));
        let kept = Kept::make(&broker, &flow, &queue)?;
        let run = Run { dir: dir.clone(), broker: &broker, bench, queue: &queue, messages };
        let sent = run.start("qpid-send")?.finish()?;
        let received = run.start("qpid-receive")?.finish()?;
        let receiver = run.start("qpid-receive")?;
        run.start("qpid-send")?.finish()?;
        let both = receiver.finish()?;
        kept.delete()?;
        broker.end()?;
        let mut measurement = Measurement::default();
        let [sent] = numbers(&sent, '\t')?;
        measurement.add("sent alone", "/s", Better::Higher, sent);
        // The others are latencies, of a queue of all messages.
        for (name, said) in [("received alone", received), ("sent and received at once", both)] {
            let [rate, _, _, _] = numbers(&said, '\t')?;
            measurement.add(name, "/s", Better::Higher, rate);
        }
        Ok(measurement)
    })
}

/// What both of the programs are told.
struct Run<'a> {
    dir: PathBuf,
    broker: &'a Target,
    bench: &'a Bench,
    queue: &'a str,
    messages: u64,
}

impl Run<'_> {
    fn start(&self, name: &str) -> Result<Program> {
        let user = self.broker.options();
        let mut connection = vec![format!("protocol:{}", self.bench.protocol.name())];
        connection.push("tcp-nodelay:true".to_owned());
        connection.extend(user.user.map(|user| format!("username:'{user}'")));
        connection.extend(user.password.map(|password| format!("password:'{password}'")));
        let (place, count) = (self.broker, self.messages.to_string());
        let place = format!("{}:{}", place.host(), place.port());
        let connection = format!("{{{}}}", connection.join(", "));
        let mut arguments: Vec<String> = ["--broker", &place, "--address", self.queue]
            .into_iter()
            .chain(["--connection-options", &connection, "--messages", &count])
            .chain(["--report-total", "--report-header", "no"])
            .map(str::to_owned)
            .collect();
        match name {
            "qpid-send" => {
                arguments.extend(["--content-size".to_owned(), SEND_SIZE.to_string()]);
            }
            _ => {
                let options = ["--timeout", "30", "--print-content", "no"];
                arguments.extend(options.map(str::to_owned));
            }
        }
        Program::start(&self.dir, name, &arguments).context(self.queue.to_owned())
    }
}
