//! Throughput and latency lines in the reference's form, which scripts read: tabs between `tp(m/s)`, `l-min`, `l-max` and
//! `l-avg`, latencies in milliseconds.

use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970: what a message's `ts` header holds.
pub(super) fn timestamp() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Sums over some messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums {
    /// How many.
    pub(super) messages: u64,
    /// When the first came.
    start: Option<Instant>,
    /// Those with a time stamp.
    samples: u64,
    total_ms: f64,
    min_ms: f64,
    max_ms: f64,
}

impl Sums {
    fn add(&mut self, now: Instant, latency_ms: Option<f64>) {
        self.messages += 1;
        self.start.get_or_insert(now);
        // Clocks of two machines may say that a message came before it was sent.
        if let Some(latency) = latency_ms.filter(|latency| *latency > 0.0) {
            let first = self.samples == 0;
            self.samples += 1;
            self.total_ms += latency;
            self.min_ms = if first { latency } else { self.min_ms.min(latency) };
            self.max_ms = self.max_ms.max(latency);
        }
    }

    /// Time since the first message.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.map_or(Duration::ZERO, |start| start.elapsed())
    }

    /// Messages per second.
    pub(super) fn rate(&self) -> f64 {
        let seconds = self.elapsed().as_secs_f64();
        if seconds > 0.0 { self.messages as f64 / seconds } else { 0.0 }
    }

    /// Least, greatest and mean latency in milliseconds.
    pub(super) fn latency_ms(&self) -> Option<(f64, f64, f64)> {
        let mean = self.total_ms / self.samples as f64;
        (self.samples > 0).then_some((self.min_ms, self.max_ms, mean))
    }

    fn line(&self) -> String {
        let mut line = format!("{:.0}", self.rate());
        if let Some((min, max, mean)) = self.latency_ms() {
            line += &format!("\t{min:.2}\t{max:.2}\t{mean:.2}");
        }
        line
    }
}

/// Counts messages, and reports every so many.
#[derive(Debug)]
pub(super) struct Reporter {
    every: u64,
    header: Option<&'static str>,
    /// All messages.
    pub(super) overall: Sums,
    batch: Sums,
}

impl Reporter {
    /// For a sender.
    pub(super) fn throughput(every: u64, header: bool) -> Reporter {
        Self::new(every, header.then_some("tp(m/s)"))
    }

    /// For a receiver.
    pub(super) fn latency(every: u64, header: bool) -> Reporter {
        Self::new(every, header.then_some("tp(m/s)\tl-min\tl-max\tl-avg"))
    }

    fn new(every: u64, header: Option<&'static str>) -> Reporter {
        Reporter { every, header, overall: Sums::default(), batch: Sums::default() }
    }

    /// One more message, with the time stamp it carries.
    pub(super) fn message(&mut self, out: &mut impl Write, sent: Option<i64>) -> io::Result<()> {
        let now = Instant::now();
        let latency = sent.map(|sent| timestamp().saturating_sub(sent) as f64 / 1e6);
        self.overall.add(now, latency);
        if self.every == 0 {
            return Ok(());
        }
        self.batch.add(now, latency);
        if self.batch.messages < self.every {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.line(out, &batch.line())
    }

    /// The line over all messages.
    pub(super) fn total(&mut self, out: &mut impl Write) -> io::Result<()> {
        let line = self.overall.line();
        self.line(out, &line)
    }

    fn line(&mut self, out: &mut impl Write, line: &str) -> io::Result<()> {
        if let Some(header) = self.header.take() {
            writeln!(out, "{header}")?;
        }
        writeln!(out, "{line}")?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_every_so_many_under_one_header() {
        let mut reporter = Reporter::latency(2, true);
        let mut out = Vec::new();
        for _ in 0..5 {
            reporter.message(&mut out, Some(timestamp() - 2_000_000)).expect("writes");
        }
        reporter.total(&mut out).expect("writes");
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[0], "tp(m/s)\tl-min\tl-max\tl-avg");
        let fields: Vec<f64> = lines[3].split('\t').map(|f| f.parse().expect("a number")).collect();
        assert!(fields.len() == 4 && fields[1] >= 2.0 && fields[1] <= fields[3]);
        assert_eq!(reporter.overall.messages, 5);
    }

    #[test]
    fn without_time_stamps_there_is_throughput_only() {
        let mut reporter = Reporter::throughput(0, false);
        let mut out = Vec::new();
        reporter.message(&mut out, None).expect("writes");
        reporter.total(&mut out).expect("writes");
        assert!(!String::from_utf8_lossy(&out).contains('\t'));
    }
}
