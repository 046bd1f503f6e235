//! What management costs the traffic, and how long it waits while there is traffic: one flow by the clock, alone and beside
//! a client that asks for all queues, as `qpid-stat -q` does, and has a queue made and deleted, each ten times a second. Many
//! other queues are there all the time. The management client works by the clock too: what it asks has a due time, from
//! which its latency counts, and what cannot be asked in time is asked late.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::load::flow::{Flow, Pace};
use crate::load::schedule::{Nanos, SECOND, Schedule};
use crate::load::track::{Track, Window, histogram};
use crate::load::{self, Outcome, Time, unique};
use crate::protocol::Protocol;
use crate::qmf::Client;
use crate::suite::bench::Bench;
use crate::suite::document::{Better, micros};
use crate::suite::measurement::Measurement;
use crate::target::Target;
use anyhow::{Context, Result, ensure};
use fletch_client::Session;
use fletch_client::amqp::v0_10::table::queue;
use fletch_perf::report::thousands;
use hdrhistogram::Histogram;
use rustix::thread::set_current_timer_slack;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// How often alone and managed take turns. Each lasts as long as flows elsewhere do in all: what is asked ten times a
/// second is little.
const TURNS: u32 = 3;
/// From one thing that is asked to the next: queries, and queues made and deleted, in turns.
const STEP: Nanos = SECOND / 20;
/// How long what is due may be asked after the time is over.
const PATIENCE: Nanos = 10 * SECOND;

/// See the module.
pub(super) struct Management;

impl Scenario for Management {
    fn name(&self) -> &'static str {
        "management"
    }

    fn about(&self) -> &'static str {
        "latency beside a management client (QMF) that lists, makes and deletes queues, and how long that waits"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let (Some(rate), Some(size)) = (plan.profile.rate(), plan.profile.size()) else {
            return Vec::new();
        };
        let (queues, time) = (plan.profile.managed_queues, plan.profile.time());
        let name = format!(
            "{} queues, {}, {}/s",
            thousands(queues as f64),
            octets(size),
            thousands(f64::from(rate))
        );
        let parameters = [("queues", json!(queues)), ("size", json!(size)), ("rate", json!(rate))];
        vec![Case::new(name, parameters, move |bench| {
            measure(bench, &bench.flow(size, Pace::Rate(f64::from(rate))), queues, time)
        })]
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "managed ÷ alone, p99.9",
            "alone p50",
            "alone p99.9",
            "managed p50",
            "managed p99.9",
            "query p50",
            "query max",
            "query from asking, mean",
            "create and delete p50",
            "create and delete max",
            "objects in an answer",
            "asked late",
            "alone broker CPU",
            "managed broker CPU",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[
            Chart::Percentiles { tracks: &["alone", "managed"], series: "queues" },
            Chart::Percentiles { tracks: &["query", "create and delete"], series: "queues" },
        ]
    }
}

fn measure(bench: &Bench, flow: &Flow, queues: usize, time: Time) -> Result<Measurement> {
    let broker = bench.start(flow)?;
    let mut client = match connect(&broker, flow.protocol)? {
        Ok(client) => client,
        Err(why) => {
            broker.end()?;
            return Ok(Measurement::without(why));
        }
    };
    let others = others(&broker, queues)?;
    let (mut alone, mut managed) = (Half::new(), Half::new());
    let mut asked = Asked::new(time);
    for _ in 0..TURNS {
        alone.add(load::run(&broker, flow, time)?)?;
        let ready = load::set_up(&broker, flow, 0)?;
        let (manager, outcome) = std::thread::scope(|scope| {
            let manager = scope.spawn(|| asked.run(&mut client, queues));
            let outcome = ready.run(&broker, time);
            (manager.join(), outcome)
        });
        manager.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        managed.add(outcome?)?;
    }
    client.close()?;
    others.close()?;
    broker.end()?;
    let mut measurement = Measurement::default();
    let tail = |half: &Half| half.transfer.value_at_quantile(0.999) as f64;
    let ratio = tail(&managed) / tail(&alone);
    measurement.add("managed ÷ alone, p99.9", "", Better::Lower, ratio);
    alone.tell("alone", &mut measurement);
    managed.tell("managed", &mut measurement);
    asked.tell(&mut measurement);
    Ok(measurement)
}

/// A management client; else why there is none.
fn connect(broker: &Target, protocol: Protocol) -> Result<Result<Client, String>> {
    // A broker that is not there at all is an error.
    broker.connect_by(protocol)?;
    match broker.connect() {
        Ok(connection) => Client::open(&connection),
        Err(error) => Ok(Err(format!("management is asked over AMQP 0-10: {error:#}"))),
    }
}

/// Makes queues that are only there. They go with their session, whatever happens.
fn others(broker: &Target, queues: usize) -> Result<Session> {
    let session = broker.connect()?.session(&unique("others"), false)?;
    for _ in 0..queues {
        let name = unique("other");
        let declare = queue::Declare {
            queue: Some(&name),
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        session.command(&declare.into())?;
    }
    session.sync()?;
    Ok(session)
}

/// The traffic of all turns of one kind.
struct Half {
    transfer: Histogram<u64>,
    messages: f64,
    unsent: u64,
    /// Processor time of the broker, if its process is known.
    cpu: Option<Duration>,
}

impl Half {
    fn new() -> Half {
        Half { transfer: histogram(), messages: 0.0, unsent: 0, cpu: Some(Duration::ZERO) }
    }

    fn add(&mut self, outcome: Outcome) -> Result<()> {
        self.transfer += outcome.transfer.context("no latency")?.total();
        self.messages += outcome.delivered;
        self.unsent += outcome.unsent;
        self.cpu = self.cpu.zip(outcome.broker).map(|(sum, more)| sum + more.cpu);
        Ok(())
    }

    fn tell(self, name: &str, measurement: &mut Measurement) {
        measurement.add_percentiles(name, &self.transfer);
        let unsent = self.unsent as f64;
        measurement.add(&format!("{name} never sent"), "messages", Better::Lower, unsent);
        if let Some(cpu) = self.cpu {
            let each = cpu.as_secs_f64() / (self.messages / 1e6);
            measurement.add(&format!("{name} broker CPU"), "s/million", Better::Lower, each);
        }
        measurement.histograms.push((name.to_owned(), self.transfer));
    }
}

/// What the management client has asked in all turns. Latencies are from when it was due to when all of the answer was there.
struct Asked {
    window: Window,
    query: Track,
    create_and_delete: Track,
    answers: u64,
    /// In all answers together.
    objects: u64,
    /// Of all queries together, from when they were asked: where more is due than can be answered, latencies tell how long
    /// that went on, and this what one takes.
    taken: Nanos,
    /// What was due when the answer before it had not come yet.
    late: u64,
    /// What was due, and not asked when the time had long been over.
    never: u64,
}

impl Asked {
    fn new(time: Time) -> Asked {
        let nanos = |seconds: f64| (seconds * SECOND as f64) as Nanos;
        let window =
            Window { from: nanos(time.warm_up), until: nanos(time.warm_up + time.seconds) };
        let (query, create_and_delete) = (Track::new(window), Track::new(window));
        Asked {
            window,
            query,
            create_and_delete,
            answers: 0,
            objects: 0,
            taken: 0,
            late: 0,
            never: 0,
        }
    }

    /// One turn of it: asks until the time is over.
    fn run(&mut self, client: &mut Client, queues: usize) -> Result<()> {
        // The kernel rounds sleeps up by 50 µs otherwise, and that would be latency here.
        set_current_timer_slack(NonZeroU64::new(1))?;
        let schedule = Schedule::new(STEP, SECOND as f64 / STEP as f64, 1);
        let epoch = Instant::now();
        let now = || epoch.elapsed().as_nanos() as Nanos;
        let count = schedule.count_before(0, self.window.until);
        for at in 0..count {
            let (due, time) = (schedule.due(0, at), now());
            if time > self.window.until + PATIENCE {
                self.never += count - at;
                break;
            }
            self.late += u64::from(time > due && due >= self.window.from);
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(time)));
            if at % 2 == 0 {
                let began = now();
                let objects = client.count("queue")?;
                let ended = now();
                self.query.record(due, ended);
                self.taken += ended - began;
                ensure!(objects >= queues, "of {queues} queues and more {objects} were told");
                self.answers += 1;
                self.objects += objects as u64;
            } else {
                come_and_go(client)?;
                self.create_and_delete.record(due, now());
            }
        }
        Ok(())
    }

    fn tell(self, measurement: &mut Measurement) {
        for (name, track) in
            [("query", &self.query), ("create and delete", &self.create_and_delete)]
        {
            let latency = track.total();
            measurement.add_percentiles(name, &latency);
            measurement.histograms.push((name.to_owned(), latency));
        }
        let taken = micros(self.taken) / self.answers as f64;
        measurement.add("query from asking, mean", "µs", Better::Lower, taken);
        let objects = self.objects as f64 / self.answers as f64;
        measurement.add("objects in an answer", "", Better::Neither, objects);
        measurement.add("asked late", "", Better::Lower, self.late as f64);
        measurement.add("never asked", "", Better::Lower, self.never as f64);
    }
}

/// Has a queue made and deleted.
fn come_and_go(client: &mut Client) -> Result<()> {
    let name = unique("managed");
    let done = client.create_queue(&name).and_then(|()| client.delete_queue(&name));
    // In a broker that stays, none is left behind.
    done.inspect_err(|_| client.remove(&name))
}
