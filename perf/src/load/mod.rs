//! The load generator: has messages pass through a broker by its clients' own connections, and says how long they took.
//!
//! Open loop: each message has a due time on a schedule that was fixed before (see `schedule`), and every latency counts
//! from it, so that whatever holds a publisher back counts too (no coordinated omission). Three latencies are told apart:
//! until the message was given to the socket, until the broker had confirmed it, until a consumer's code had it.

pub(crate) mod consumer;
pub(crate) mod ends;
pub(crate) mod flow;
pub(crate) mod publisher;
pub(crate) mod schedule;
pub(crate) mod shared;
pub(crate) mod track;
mod v0_10;
mod v1_0;
mod waiter;

use crate::process::{Process, Usage};
use crate::target::{Client, Target};
use anyhow::{Context, Result, anyhow, bail};
use consumer::Consumer;
use ends::{Destination, Source};
use flow::{EXCHANGE, Flow, Pace, Topology};
use publisher::Producer;
use rustix::thread::{CpuSet, sched_setaffinity};
use shared::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use track::Track;

/// Threads of producers, and of consumers: more of them share these.
const THREADS: usize = 8;
/// How long it may take until all that was sent is received.
const DRAIN: Duration = Duration::from_secs(30);

/// How long a flow lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    /// Before anything counts, in seconds.
    pub(crate) warm_up: f64,
    pub(crate) seconds: f64,
}

/// What passed through a broker while it was measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// Messages received in that time, by all consumers together.
    pub(crate) delivered: f64,
    /// From when a message was due to when it was given to the socket. Latencies are of paced flows only.
    pub(crate) send: Option<Track>,
    /// From when it was due to when the broker had confirmed it, if the flow asks for that.
    pub(crate) confirm: Option<Track>,
    /// From when it was due to when a consumer's code had it.
    pub(crate) transfer: Option<Track>,
    /// Messages that were due, and not sent when the time had long been over.
    pub(crate) unsent: u64,
    /// By how many the messages sent and not received were more at the end than at the begin.
    pub(crate) backlog: f64,
    /// Of the broker's process, if it is known.
    pub(crate) broker: Option<Usage>,
    /// Of this process.
    pub(crate) clients: Usage,
    /// Of the broker's memory at the end, in octets.
    pub(crate) resident: Option<u64>,
    /// The same when measuring began.
    pub(crate) resident_before: Option<u64>,
}

impl Outcome {
    /// Messages published in a second: of what was delivered, as what is sent may stand in a socket.
    pub(crate) fn published_per_second(&self, topology: Topology) -> f64 {
        self.delivered / topology.copies() as f64 / self.seconds
    }
}

/// A name that nothing else of this process has, nor of another on the same broker.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("fletch-perf.{}.{count}.{what}", std::process::id())
}

/// Has a flow pass through a broker.
pub(crate) fn run(target: &Target, flow: &Flow, time: Time) -> Result<Outcome> {
    run_apart(target, flow, time, 0)
}

/// The same where the flow may be too much for the broker: none if the broker does not get done with it.
pub(crate) fn try_run(target: &Target, flow: &Flow, time: Time) -> Result<Option<Outcome>> {
    Ok(set_up(target, flow, 0)?.whole(target, time)?.ok())
}

/// The same with so many idle connections opened between those of the producers and those of the consumers: where a
/// broker places connections one after the other, that chooses who is where.
pub(crate) fn run_apart(
    target: &Target,
    flow: &Flow,
    time: Time,
    between: usize,
) -> Result<Outcome> {
    set_up(target, flow, between)?.run(target, time)
}

/// The clients of a flow, connected, subscribed, and with nothing sent.
pub(crate) struct Ready {
    flow: Flow,
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    /// Held until the end.
    idle: Vec<Client>,
}

/// Connects them: producers, then so many idle ones, then consumers.
pub(crate) fn set_up(target: &Target, flow: &Flow, between: usize) -> Result<Ready> {
    // Producers connect first: with two shards and one of each, each has a shard.
    let clients = (0..flow.topology.producers()).map(|_| target.connect_by(flow.protocol));
    let clients = clients.collect::<Result<Vec<_>>>()?;
    let idle =
        (0..between).map(|_| target.connect_by(flow.protocol)).collect::<Result<Vec<_>>>()?;
    let mut consumers = Vec::new();
    for at in 0..flow.topology.consumers() {
        let queue = unique("queue");
        let source = match flow.topology {
            Topology::FanOut(_) => Source::Copy(&queue, EXCHANGE),
            Topology::Pairs(_) | Topology::FanIn(_) => Source::Own(&queue),
        };
        let receiving = ends::subscribe(target, flow, &queue, source)?;
        consumers.push(Consumer { receiving, at });
    }
    let mut producers = Vec::new();
    for (at, client) in clients.into_iter().enumerate() {
        let to = match flow.topology {
            Topology::FanOut(_) => Destination::Exchange(EXCHANGE),
            Topology::FanIn(_) => Destination::Queue(consumers[0].receiving.end.address()),
            Topology::Pairs(_) => Destination::Queue(consumers[at].receiving.end.address()),
        };
        let sending = ends::attach(client, flow, &unique("producer"), to)?;
        producers.push(Producer { sending, at });
    }
    Ok(Ready { flow: flow.clone(), producers, consumers, idle })
}

impl Ready {
    /// Has the flow pass through.
    pub(crate) fn run(self, target: &Target, time: Time) -> Result<Outcome> {
        self.whole(target, time)?.map_err(|unfinished| anyhow!(unfinished))
    }

    /// An outcome, or in words what the broker did not get done with.
    fn whole(self, target: &Target, time: Time) -> Result<Result<Outcome, String>> {
        let Ready { flow, producers, consumers, idle } = self;
        let span = |seconds| Duration::from_secs_f64(seconds);
        let shared = Arc::new(Shared::new(flow.topology, span(time.warm_up), span(time.seconds)));
        let consumers = spawn(consumers, &flow, &shared, consumer::run);
        let publishers = spawn(producers, &flow, &shared, publisher::run);
        let outcome = measure(target, &flow, &shared, publishers, consumers);
        drop(idle);
        outcome
    }
}

/// Shares clients out to threads.
fn spawn<C: Send + 'static, R: Send + 'static>(
    clients: Vec<C>,
    flow: &Flow,
    shared: &Arc<Shared>,
    run: fn(Vec<C>, &Flow, &Shared) -> Result<R>,
) -> Vec<JoinHandle<Result<R>>> {
    let mut shares: Vec<Vec<C>> = Vec::new();
    shares.resize_with(clients.len().min(THREADS), Vec::new);
    for (at, client) in clients.into_iter().enumerate() {
        shares[at % THREADS].push(client);
    }
    let thread = |share| {
        let (flow, shared) = (flow.clone(), Arc::clone(shared));
        std::thread::spawn(move || {
            flow.cpu.map_or(Ok(()), pin)?;
            run(share, &flow, &shared)
        })
    };
    shares.into_iter().map(thread).collect()
}

/// Keeps this thread on one processor.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut one = CpuSet::new();
    one.set(cpu);
    Ok(sched_setaffinity(None, &one)?)
}

fn measure(
    target: &Target,
    flow: &Flow,
    shared: &Shared,
    publishers: Vec<JoinHandle<Result<publisher::Published>>>,
    consumers: Vec<JoinHandle<Result<Track>>>,
) -> Result<Result<Outcome, String>> {
    shared.sleep_until(shared.window.from);
    let before = Sample::take(target, shared)?;
    shared.sleep_until(shared.window.until);
    let after = Sample::take(target, shared)?;
    let mut send = Track::new(shared.window);
    let (mut confirm, mut transfer) = (send.clone(), send.clone());
    let (mut unsent, mut unconfirmed) = (0, 0);
    for publisher in publishers {
        let published = joined(publisher)?;
        send.add(&published.send);
        confirm.add(&published.confirm);
        unsent += published.unsent;
        unconfirmed += published.unconfirmed;
    }
    let deadline = Instant::now() + DRAIN;
    while !shared.is_drained()
        && Instant::now() < deadline
        && !consumers.iter().any(JoinHandle::is_finished)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    shared.stop_consuming();
    for consumer in consumers {
        transfer.add(&joined(consumer)?);
    }
    let (received, expected) = (shared.received(), shared.sent() * flow.topology.copies());
    if received > expected {
        bail!("{received} messages were received, {expected} were sent");
    }
    if received < expected {
        let late = format!("of {expected} messages {received} were received within {DRAIN:?}");
        return Ok(Err(late));
    }
    if unconfirmed > 0 {
        return Ok(Err(format!("{unconfirmed} messages were received and never confirmed")));
    }
    let paced = matches!(flow.pace, Pace::Rate(_));
    Ok(Ok(Outcome {
        seconds: (after.at - before.at).as_secs_f64(),
        delivered: (after.received - before.received) as f64,
        send: paced.then_some(send),
        confirm: (paced && flow.confirm).then_some(confirm),
        transfer: paced.then_some(transfer),
        unsent,
        backlog: after.backlog(flow.topology) - before.backlog(flow.topology),
        broker: after.broker.zip(before.broker).map(|(after, before)| after - before),
        clients: after.clients - before.clients,
        resident: after.resident,
        resident_before: before.resident,
    }))
}

/// What a thread returned; its panic is ours.
pub(crate) fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

struct Sample {
    at: Instant,
    broker: Option<Usage>,
    clients: Usage,
    /// The broker's.
    resident: Option<u64>,
    sent: u64,
    received: u64,
}

impl Sample {
    fn take(target: &Target, shared: &Shared) -> Result<Sample> {
        Ok(Sample {
            at: Instant::now(),
            broker: target.usage().context("the broker is gone")?,
            clients: Process::this().usage()?,
            resident: target.resident_if_known()?,
            sent: shared.sent(),
            received: shared.received(),
        })
    }

    fn backlog(&self, topology: Topology) -> f64 {
        self.sent as f64 - self.received as f64 / topology.copies() as f64
    }
}
