//! The clients of the smoke benchmark. Each has a thread and a connection of its own, and knows no protocol:
//! those are in `v0_10` and `v1_0`.

use super::{v0_10, v1_0};
use crate::broker::Broker;
use crate::protocol::Protocol;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::thread::set_current_timer_slack;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Octets at the start of a body: nanoseconds since the run's epoch at which it was due.
pub(super) const STAMP: usize = 8;
/// Messages sent between two looks at what others have done.
const BATCH: u64 = 64;
/// What copies to all, of more consumers than one.
pub(super) const EXCHANGE: &str = "amq.fanout";
/// The window of a consumer that accepts.
pub(super) const WINDOW: u32 = 5_000;

/// What passes through the broker.
#[derive(Clone)]
pub(crate) struct Flow {
    pub(crate) protocol: Protocol,
    pub(crate) fan_out: usize,
    pub(crate) size: usize,
    pub(crate) ack: bool,
    pub(crate) rate: Option<u32>,
    pub(crate) in_flight: u64,
    /// Persistent messages and durable queues.
    pub(crate) durable: bool,
}

impl Flow {
    pub(super) fn queue(at: usize) -> String {
        format!("fletch-perf.{at}")
    }
}

/// What the threads of a run tell each other.
pub(super) struct Shared {
    epoch: Instant,
    /// Messages due before this are not recorded, in nanoseconds since the epoch.
    record_from: AtomicU64,
    publishing: AtomicBool,
    consuming: AtomicBool,
    received: Vec<AtomicU64>,
}

impl Shared {
    pub(super) fn new(consumers: usize) -> Shared {
        Shared {
            epoch: Instant::now(),
            record_from: AtomicU64::new(u64::MAX),
            publishing: AtomicBool::new(true),
            consuming: AtomicBool::new(true),
            received: (0..consumers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    pub(super) fn start_recording(&self) {
        self.record_from.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn stop_publishing(&self) {
        self.publishing.store(false, Ordering::Relaxed);
    }

    pub(super) fn stop_consuming(&self) {
        self.consuming.store(false, Ordering::Relaxed);
    }

    /// By all consumers together.
    pub(super) fn received(&self) -> u64 {
        self.received.iter().map(|r| r.load(Ordering::Relaxed)).sum()
    }

    /// By the consumer that has received least.
    pub(super) fn least_received(&self) -> u64 {
        self.received.iter().map(|r| r.load(Ordering::Relaxed)).min().unwrap_or(0)
    }
}

/// Nanoseconds to a minute, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds are possible")
}

/// A consumer's end of a connection.
pub(super) trait Incoming: Send {
    /// Calls `each` with the bodies that have been read already, accepts them if the flow has it so, and says how many.
    fn take(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize>;

    /// Reads what is there or comes within `wait`.
    fn poll(&self, wait: Duration) -> Result<()>;

    /// Ends in order: the next flow through this broker uses the same names.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A publisher's end of a connection.
pub(super) trait Outgoing: Send {
    /// Sends a message; the broker may hold it back.
    fn send(&mut self, body: &[u8]) -> Result<()>;

    /// Writes what was sent, and reads what is there or comes within `wait`.
    fn poll(&self, wait: Duration) -> Result<()>;

    /// Ends in order, once the broker has all.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A consumer that is ready.
pub(super) struct Consumer {
    incoming: Box<dyn Incoming>,
    at: usize,
}

impl Consumer {
    /// Makes a queue of the connection's own and subscribes to it.
    pub(super) fn subscribe(broker: &Broker, at: usize, flow: &Flow) -> Result<Consumer> {
        let incoming: Box<dyn Incoming> = match flow.protocol {
            Protocol::V0_10 => Box::new(v0_10::Consumer::subscribe(broker, at, flow)?),
            Protocol::V1_0 => Box::new(v1_0::Consumer::subscribe(broker, at, flow)?),
        };
        Ok(Consumer { incoming, at })
    }

    /// Receives until told to stop.
    pub(super) fn run(mut self, shared: &Shared) -> Result<Histogram<u64>> {
        let mut latency = histogram();
        let received = &shared.received[self.at];
        while shared.consuming.load(Ordering::Relaxed) {
            let record_from = shared.record_from.load(Ordering::Relaxed);
            let taken = self.incoming.take(&mut |body| {
                let due = body.first_chunk::<STAMP>().context("a body without stamp")?;
                let due = u64::from_le_bytes(*due);
                if due >= record_from {
                    latency.saturating_record(shared.now().saturating_sub(due));
                }
                Ok(())
            })?;
            match taken {
                0 => self.incoming.poll(Duration::from_millis(20))?,
                more => _ = received.fetch_add(more as u64, Ordering::Relaxed),
            }
        }
        self.incoming.close()?;
        Ok(latency)
    }
}

/// The publisher's end of a connection, once the consumers are there.
pub(super) struct Publisher {
    outgoing: Box<dyn Outgoing>,
}

impl Publisher {
    /// Ready to publish to the consumers' queues.
    pub(super) fn attach(connection: crate::broker::Client, flow: &Flow) -> Result<Publisher> {
        use crate::broker::Client;
        let outgoing: Box<dyn Outgoing> = match connection {
            Client::V0_10(connection) => Box::new(v0_10::Publisher::attach(connection, flow)?),
            Client::V1_0(connection) => Box::new(v1_0::Publisher::attach(connection, flow)?),
        };
        Ok(Publisher { outgoing })
    }

    /// Publishes until told to stop, and says how many.
    pub(super) fn run(mut self, flow: &Flow, shared: &Shared) -> Result<u64> {
        let mut body = vec![0x5a; flow.size];
        let mut send = |outgoing: &mut Box<dyn Outgoing>, due: u64| -> Result<()> {
            body[..STAMP].copy_from_slice(&due.to_le_bytes());
            outgoing.send(&body)
        };
        let mut sent = 0;
        match flow.rate {
            None => {
                while shared.publishing.load(Ordering::Relaxed) {
                    if sent - shared.least_received() + BATCH > flow.in_flight {
                        self.outgoing.poll(Duration::from_micros(200))?;
                        continue;
                    }
                    for _ in 0..BATCH {
                        send(&mut self.outgoing, shared.now())?;
                    }
                    sent += BATCH;
                }
            }
            Some(rate) => {
                // The kernel rounds sleeps up by 50 µs otherwise, and that would be latency here.
                set_current_timer_slack(NonZeroU64::new(1))?;
                let start = shared.now();
                let due = |message: u64| start + message * 1_000_000_000 / u64::from(rate);
                while shared.publishing.load(Ordering::Relaxed) {
                    let now = shared.now();
                    while due(sent) <= now {
                        send(&mut self.outgoing, due(sent))?;
                        sent += 1;
                    }
                    self.outgoing.poll(Duration::ZERO)?;
                    let wait = due(sent).saturating_sub(shared.now());
                    if wait > 0 {
                        std::thread::sleep(Duration::from_nanos(wait));
                    }
                }
            }
        }
        self.outgoing.close()?;
        Ok(sent)
    }
}
