//! The clients of the smoke benchmark. Each has a thread and a connection of its own.

use crate::broker::unlimited;
use anyhow::{Context, Result};
use fletch_client::amqp::v0_10::table::{exchange, queue};
use fletch_client::amqp::v0_10::{AcceptMode, DeliveryMode};
use fletch_client::{Connection, Outgoing, Session, Subscription};
use hdrhistogram::Histogram;
use rustix::thread::set_current_timer_slack;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Octets at the start of a body: nanoseconds since the run's epoch at which it was due.
pub(super) const STAMP: usize = 8;
/// The window of a subscription that accepts.
const WINDOW: u32 = 5_000;
/// Messages sent between two looks at what others have done.
const BATCH: u64 = 64;
const EXCHANGE: &str = "amq.fanout";
const DESTINATION: &str = "in";

/// What passes through the broker.
#[derive(Clone)]
pub(crate) struct Flow {
    pub(crate) fan_out: usize,
    pub(crate) size: usize,
    pub(crate) ack: bool,
    pub(crate) rate: Option<u32>,
    pub(crate) in_flight: u64,
    /// Persistent messages and durable queues.
    pub(crate) durable: bool,
}

impl Flow {
    fn queue(at: usize) -> String {
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

/// A consumer that is ready.
pub(super) struct Consumer {
    connection: Connection,
    session: Session,
    at: usize,
    ack: bool,
}

impl Consumer {
    /// Makes a queue of the connection's own and subscribes to it.
    pub(super) fn subscribe(connection: Connection, at: usize, flow: &Flow) -> Result<Consumer> {
        let name = Flow::queue(at);
        let session = connection.session(&name, false)?;
        let declare = queue::Declare {
            queue: Some(&name),
            durable: flow.durable,
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        session.command(&declare.into())?;
        if flow.fan_out > 1 {
            let bind = exchange::Bind {
                queue: Some(&name),
                exchange: Some(EXCHANGE),
                ..Default::default()
            };
            session.command(&bind.into())?;
        }
        let accept_mode = if flow.ack { AcceptMode::EXPLICIT } else { AcceptMode::NONE };
        session.subscribe(&Subscription {
            queue: &name,
            destination: DESTINATION,
            accept_mode,
            ..Default::default()
        })?;
        if flow.ack {
            session.window(DESTINATION, WINDOW)?;
        } else {
            unlimited(&session, DESTINATION)?;
        }
        session.sync()?;
        Ok(Consumer { connection, session, at, ack: flow.ack })
    }

    /// Receives until told to stop.
    pub(super) fn run(self, shared: &Shared) -> Result<Histogram<u64>> {
        let mut latency = histogram();
        let mut deliveries = Vec::new();
        let received = &shared.received[self.at];
        while shared.consuming.load(Ordering::Relaxed) {
            if self.session.take_deliveries(&mut deliveries) == 0 {
                self.connection.poll(Duration::from_millis(20))?;
                continue;
            }
            received.fetch_add(deliveries.len() as u64, Ordering::Relaxed);
            let record_from = shared.record_from.load(Ordering::Relaxed);
            for delivery in deliveries.drain(..) {
                let due = delivery.body().first_chunk::<STAMP>().context("a body without stamp")?;
                let due = u64::from_le_bytes(*due);
                if due >= record_from {
                    latency.saturating_record(shared.now().saturating_sub(due));
                }
                if self.ack {
                    self.session.accept(delivery.id)?;
                }
            }
        }
        // In order: the next flow through this broker uses the same names.
        self.session.close()?;
        Ok(latency)
    }
}

/// Publishes until told to stop, and says how many.
pub(super) fn publish(connection: &Connection, flow: &Flow, shared: &Shared) -> Result<u64> {
    let session = connection.session("publisher", false)?;
    let queue = Flow::queue(0);
    let (exchange, key) = if flow.fan_out > 1 { (EXCHANGE, "") } else { ("", queue.as_str()) };
    let mut header = Vec::new();
    let mut message = Outgoing::with_key(key, b"");
    message.delivery.delivery_mode = flow.durable.then_some(DeliveryMode::PERSISTENT);
    message.encode_header(&mut header)?;
    let mut body = vec![0x5a; flow.size];
    let mut send = |due: u64| -> Result<()> {
        body[..STAMP].copy_from_slice(&due.to_le_bytes());
        session.send_encoded(exchange, &header, &body)?;
        Ok(())
    };
    let mut sent = 0;
    match flow.rate {
        None => {
            while shared.publishing.load(Ordering::Relaxed) {
                if sent - shared.least_received() + BATCH > flow.in_flight {
                    connection.poll(Duration::from_micros(200))?;
                    continue;
                }
                for _ in 0..BATCH {
                    send(shared.now())?;
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
                    send(due(sent))?;
                    sent += 1;
                }
                connection.poll(Duration::ZERO)?;
                let wait = due(sent).saturating_sub(shared.now());
                if wait > 0 {
                    std::thread::sleep(Duration::from_nanos(wait));
                }
            }
        }
    }
    session.sync()?;
    session.close()?;
    Ok(sent)
}
