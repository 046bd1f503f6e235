//! `fletch ping`: round trips of messages through the broker and back, as ping(8) shows those of packets.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use fletch_amqp::v0_10::AcceptMode;
use fletch_amqp::v0_10::table::queue;
use fletch_client::{Outgoing, Session, Subscription};

use super::connect::{ConnectArgs, seconds};
use super::stats::{Latencies, duration};
use super::unique::unique_name;

/// The octets of a message's number.
const SIZE_MIN: usize = 8;

/// Measure round trips through a temporary queue
#[derive(Debug, Clone, Args)]
#[command(about = "Measure round trips through a temporary queue", long_about = None)]
pub(super) struct Options {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Stop after N messages [default: until interrupted]
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Seconds between messages
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Send each message as soon as the one before is back, and print the summary only
    #[arg(short, long)]
    flood: bool,
    /// Bytes of content, 8 or more
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Seconds to wait for each message
    #[arg(short = 'W', long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// Make messages durable
    #[arg(short, long)]
    durable: bool,
    /// Print the summary only
    #[arg(short, long)]
    quiet: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Pings.
    pub(super) fn run(&self) -> Result<()> {
        if self.size < SIZE_MIN {
            bail!("--size {}: at least {SIZE_MIN}", self.size);
        }
        let (connection, session) = self.connect.session(|_| {})?;
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))
                .context("cannot handle signals")?;
        }
        let queue = format!("fletch-ping-{}", unique_name());
        prepare(&session, &queue)?;
        let mut out = io::stdout();
        let quiet = self.quiet || self.flood || self.json;
        if !self.json {
            let (broker, size) = (&self.connect.broker, self.size);
            writeln!(out, "PING {broker}: {size} bytes of content through a temporary queue")?;
        }
        let start = Instant::now();
        let (mut sent, mut rtt) = (0, Latencies::default());
        while self.count.is_none_or(|count| sent < count) && !interrupted.load(Ordering::Relaxed) {
            if sent > 0 && !self.flood && !self.rest(start, sent, &interrupted) {
                break;
            }
            let trip = self.round_trip(&session, &queue, sent);
            sent += 1;
            match trip? {
                Some(trip) => {
                    let nanoseconds = u64::try_from(trip.as_nanos()).unwrap_or(u64::MAX);
                    rtt.record(nanoseconds);
                    if !quiet {
                        let time = duration(nanoseconds);
                        writeln!(out, "{} bytes: seq={sent} time={time}", self.size)?;
                    }
                }
                None if quiet => {}
                None => writeln!(out, "no answer: seq={sent}")?,
            }
        }
        let elapsed = start.elapsed();
        session.close()?;
        connection.close()?;
        self.summary(&mut out, sent, &rtt, elapsed)?;
        if rtt.count() == 0 && sent > 0 {
            bail!("no message came back");
        }
        Ok(())
    }

    /// Waits for the next message's time; false if interrupted.
    fn rest(&self, start: Instant, sent: u64, interrupted: &AtomicBool) -> bool {
        let due = start + self.interval.mul_f64(sent as f64);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if interrupted.load(Ordering::Relaxed) {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            // The signal ends a sleep only by chance.
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Sends one message and waits for it. One that comes back too late is not taken for a later one.
    fn round_trip(&self, session: &Session, queue: &str, number: u64) -> Result<Option<Duration>> {
        let mut body = vec![0; self.size];
        body[..SIZE_MIN].copy_from_slice(&number.to_be_bytes());
        let mut message = Outgoing::to_queue(queue, &body);
        message.delivery.delivery_mode =
            self.durable.then_some(fletch_amqp::v0_10::DeliveryMode::PERSISTENT);
        let start = Instant::now();
        session.send("", &message)?;
        loop {
            let left = self.timeout.saturating_sub(start.elapsed());
            match session.next_delivery(left)? {
                None => return Ok(None),
                Some(back) if back.body() == body => return Ok(Some(start.elapsed())),
                Some(_) => {}
            }
        }
    }

    fn summary(
        &self,
        out: &mut impl Write,
        sent: u64,
        rtt: &Latencies,
        elapsed: Duration,
    ) -> Result<()> {
        let received = rtt.count();
        let lost = sent.saturating_sub(received);
        if self.json {
            let summary = serde_json::json!({
                "broker": self.connect.broker,
                "size": self.size,
                "sent": sent,
                "received": received,
                "lost": lost,
                "seconds": elapsed.as_secs_f64(),
                "rtt_us": (received > 0).then(|| rtt.to_json()),
            });
            return Ok(writeln!(out, "{summary}")?);
        }
        let percent = lost as f64 * 100.0 / sent.max(1) as f64;
        writeln!(out, "\n--- {} ping statistics ---", self.connect.broker)?;
        writeln!(
            out,
            "{sent} messages sent, {received} received, {percent:.0}% lost, time {} ms",
            elapsed.as_millis()
        )?;
        if received > 0 {
            let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
            writeln!(
                out,
                "rtt min/avg/p50/p99/p99.9/max = {:.3}/{:.3}/{:.3}/{:.3}/{:.3}/{:.3} ms",
                ms(rtt.min()),
                rtt.mean() / 1e6,
                ms(rtt.at(50.0)),
                ms(rtt.at(99.0)),
                ms(rtt.at(99.9)),
                ms(rtt.at(100.0)),
            )?;
        }
        Ok(())
    }
}

/// Declares the queue and subscribes to it.
fn prepare(session: &Session, queue: &str) -> Result<()> {
    let declare = queue::Declare {
        queue: Some(queue),
        exclusive: true,
        auto_delete: true,
        ..Default::default()
    };
    session.call(&declare.into())?;
    let destination = "ping";
    session.subscribe(&Subscription {
        queue,
        destination,
        accept_mode: AcceptMode::NONE,
        ..Default::default()
    })?;
    session.window(destination, 100)?;
    session.sync()?;
    Ok(())
}
