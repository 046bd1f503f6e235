//! One run: a publisher and a consumer on one queue, and what the messages tell.
//!
//! A message carries the time it was due, not the time it was sent: when the broker holds the publisher back, the wait
//! counts as latency, as it would for whoever had the news to tell.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use fletch_amqp::v0_10::AcceptMode;
use fletch_amqp::v0_10::table::queue;
use fletch_client::{ConnectOptions, Connection, Outgoing, Subscription};

use crate::tool::stats::Latencies;
use crate::tool::unique::unique_name;

/// Messages that may be under way when there is no rate to keep: enough to keep everybody busy.
const UNDER_WAY: u64 = 4_000;
/// Credit of the consumer.
const WINDOW: u32 = 10_000;
/// Latencies before this are those of a cold start, and not counted.
const WARM_UP: Duration = Duration::from_millis(100);
/// How often the display is told.
const TELL: Duration = Duration::from_millis(250);

/// What to run.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) name: &'static str,
    /// Messages a second; `None` for as many as it takes.
    pub(super) rate: Option<u32>,
    pub(super) size: usize,
    pub(super) time: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) name: &'static str,
    pub(super) messages: u64,
    pub(super) elapsed: Duration,
    pub(super) latencies: Latencies,
}

impl Outcome {
    pub(super) fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// What the display hears while it runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) elapsed: Duration,
    pub(super) rate: f64,
    pub(super) latencies: Latencies,
}

/// What publisher, consumer and display share.
#[derive(Debug, Default)]
struct Shared {
    /// What the publisher has sent, final once it is done.
    sent: AtomicU64,
    received: AtomicU64,
    /// The publisher has sent its last, or failed.
    done: AtomicBool,
    /// Latencies since the display was last told.
    recent: Mutex<Latencies>,
}

impl Load {
    /// Runs, telling `tell` four times a second.
    pub(super) fn run(
        &self,
        port: u16,
        mut tell: impl FnMut(&Live) -> Result<()>,
    ) -> Result<Outcome> {
        let queue = format!("demo-{}", unique_name());
        let connect = || Connection::connect(("127.0.0.1", port), &ConnectOptions::default());
        let (publisher, consumer) = (connect()?, connect()?);
        let shared = Shared::default();
        // Exclusive to the consumer's session, and gone with it.
        let inbound = consumer.session("consumer", false)?;
        let declare = queue::Declare {
            queue: Some(&queue),
            auto_delete: true,
            exclusive: true,
            ..Default::default()
        };
        inbound.call(&declare.into())?;
        let (subscribed, accept_mode) = ("in", AcceptMode::NONE);
        inbound.subscribe(&Subscription {
            queue: &queue,
            destination: subscribed,
            accept_mode,
            ..Default::default()
        })?;
        inbound.window(subscribed, WINDOW)?;
        inbound.sync()?;

        let start = Instant::now();
        let (latencies, elapsed) = std::thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                let sent = self.publish(&publisher, &queue, start, &shared);
                shared.done.store(true, Ordering::Release);
                sent
            });
            let consuming = scope.spawn(|| self.consume(&inbound, start, &shared));
            let mut told = Ok(());
            let (mut before, mut at) = (0, Instant::now());
            while !consuming.is_finished() {
                std::thread::sleep(TELL.min(self.time / 2));
                let received = shared.received.load(Ordering::Relaxed);
                let mut recent = lock(&shared.recent);
                let live = Live {
                    elapsed: start.elapsed(),
                    rate: (received - before) as f64 / at.elapsed().as_secs_f64().max(1e-9),
                    latencies: recent.clone(),
                };
                recent.clear();
                drop(recent);
                (before, at) = (received, Instant::now());
                if told.is_ok() {
                    told = tell(&live);
                }
            }
            let panicked = |_| anyhow!("a thread of the demonstration panicked");
            publishing.join().map_err(panicked)??;
            let consumed = consuming.join().map_err(panicked)??;
            told.map(|()| consumed)
        })?;
        inbound.close()?;
        consumer.close()?;
        publisher.close()?;
        let messages = shared.received.load(Ordering::Relaxed);
        Ok(Outcome { name: self.name, messages, elapsed, latencies })
    }

    fn publish(
        &self,
        connection: &Connection,
        queue: &str,
        start: Instant,
        shared: &Shared,
    ) -> Result<()> {
        // The kernel may let a sleep take 50 us longer than it was to, which is much next to what is measured here.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        let session = connection.session("publisher", false)?;
        let mut header = Vec::new();
        Outgoing::to_queue(queue, &[]).encode_header(&mut header)?;
        let mut body = vec![0; self.size];
        let interval = self.rate.map(|rate| Duration::from_secs(1) / rate);
        let mut sent = 0u64;
        loop {
            let now = start.elapsed();
            if now >= self.time {
                break;
            }
            let due = match interval {
                // In 64 bits of nanoseconds: years.
                Some(interval) => Duration::from_nanos(interval.as_nanos() as u64 * sent),
                None => now,
            };
            if due > now || sent - shared.received.load(Ordering::Relaxed) >= self.under_way() {
                session.flush()?;
                connection.poll(Duration::ZERO)?;
                // Until the next message is due, or somebody has taken some of those under way.
                let due = if due > now { due } else { now + Duration::from_micros(20) };
                std::thread::sleep(due.saturating_sub(start.elapsed()));
                continue;
            }
            body[..8].copy_from_slice(&(due.as_nanos() as u64).to_be_bytes());
            session.send_encoded("", &header, &body)?;
            sent += 1;
            shared.sent.store(sent, Ordering::Release);
        }
        session.sync()?;
        session.close()?;
        Ok(())
    }

    fn under_way(&self) -> u64 {
        if self.rate.is_some() { u64::MAX } else { UNDER_WAY }
    }

    fn consume(
        &self,
        session: &fletch_client::Session,
        start: Instant,
        shared: &Shared,
    ) -> Result<(Latencies, Duration)> {
        let mut all = Latencies::default();
        let mut batch = Vec::new();
        let (mut received, mut last) = (0, Duration::ZERO);
        loop {
            // Wait for one, take what came with it.
            if let Some(first) = session.next_delivery(Duration::from_millis(100))? {
                batch.push(first);
                session.take_deliveries(&mut batch);
                last = start.elapsed();
                let now = last.as_nanos() as u64;
                let mut recent = lock(&shared.recent);
                for delivery in batch.drain(..) {
                    let due =
                        delivery.body().first_chunk().map_or(0, |due| u64::from_be_bytes(*due));
                    let latency = now.saturating_sub(due);
                    recent.record(latency);
                    if u128::from(due) >= WARM_UP.as_nanos() {
                        all.record(latency);
                    }
                    received += 1;
                }
                drop(recent);
                shared.received.store(received, Ordering::Relaxed);
            }
            if shared.done.load(Ordering::Acquire)
                && received == shared.sent.load(Ordering::Acquire)
            {
                break;
            }
        }
        Ok((all, last))
    }
}

fn lock(latencies: &Mutex<Latencies>) -> std::sync::MutexGuard<'_, Latencies> {
    latencies.lock().unwrap_or_else(PoisonError::into_inner)
}
