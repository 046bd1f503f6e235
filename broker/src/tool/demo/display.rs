//! What the demonstration shows: a line that lives on a terminal, a line a second elsewhere, and a table at the end.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Attribute, Cell, CellAlignment, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::broker::Broker;
use super::load::{Live, Outcome};
use crate::tool::stats::{Latencies, PERCENTILES, duration, thousands};

/// Width of the bars of the picture.
const BARS: usize = 40;

/// See the module.
#[derive(Debug)]
pub(super) struct Display {
    json: bool,
    terminal: bool,
    bar: Option<ProgressBar>,
    /// What came since the last line where no terminal is.
    since: Instant,
    messages: f64,
    latencies: Latencies,
    at: Duration,
}

impl Display {
    pub(super) fn new(json: bool, terminal: bool) -> Display {
        Display {
            json,
            terminal: terminal && !json,
            bar: None,
            since: Instant::now(),
            messages: 0.0,
            latencies: Latencies::default(),
            at: Duration::ZERO,
        }
    }

    /// The broker is there.
    pub(super) fn started(&self, broker: &Broker) -> Result<()> {
        if !self.json {
            let (port, pid) = (broker.port(), broker.pid());
            writeln!(io::stdout(), "broker on 127.0.0.1:{port} (pid {pid})")?;
        }
        Ok(())
    }

    /// News of the run.
    pub(super) fn live(&mut self, name: &str, live: &Live) -> Result<()> {
        if self.json {
            return Ok(());
        }
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new_spinner();
                bar.set_draw_target(ProgressDrawTarget::stdout());
                // Cut off where the terminal ends, rather than wrapped.
                if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                    bar.set_style(style);
                }
                bar
            });
            bar.set_message(line(name, live.elapsed, live.rate, &live.latencies));
            bar.tick();
            return Ok(());
        }
        self.messages += live.rate * (live.elapsed.saturating_sub(self.at)).as_secs_f64();
        self.at = live.elapsed;
        self.latencies.add(&live.latencies);
        if self.since.elapsed() >= Duration::from_secs(1) {
            let rate = self.messages / self.since.elapsed().as_secs_f64();
            writeln!(io::stdout(), "{}", line(name, live.elapsed, rate, &self.latencies))?;
            self.restart();
        }
        Ok(())
    }

    /// The run is over: what follows is counted anew.
    pub(super) fn end_of_run(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.at = Duration::ZERO;
        self.restart();
    }

    fn restart(&mut self) {
        self.since = Instant::now();
        self.messages = 0.0;
        self.latencies.clear();
    }

    /// The results.
    pub(super) fn summary(&self, outcomes: &[Outcome], size: u32) -> Result<()> {
        let mut out = io::stdout();
        if self.json {
            let runs: Vec<_> = outcomes.iter().map(to_json).collect();
            let size = serde_json::json!({ "size": size, "runs": runs });
            return Ok(writeln!(out, "{size}")?);
        }
        writeln!(out, "{}", self.table(outcomes))?;
        let [steady, ..] = outcomes else { return Ok(()) };
        writeln!(out, "\none-way latency, {} run, {size} bytes:", steady.name)?;
        for line in steady.latencies.picture(BARS) {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "\nthe broker has stopped")?;
        Ok(())
    }

    fn table(&self, outcomes: &[Outcome]) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        if !self.terminal {
            table.force_no_tty();
        }
        let names = ["run", "messages", "msg/s"].into_iter();
        let names = names.chain(PERCENTILES.iter().map(|(name, _)| *name));
        table.set_header(names.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        for outcome in outcomes {
            let mut row = vec![
                outcome.name.to_owned(),
                thousands(outcome.messages),
                thousands(outcome.rate() as u64),
            ];
            row.extend(PERCENTILES.iter().map(|(_, p)| duration(outcome.latencies.at(*p))));
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

fn line(name: &str, elapsed: Duration, rate: f64, latencies: &Latencies) -> String {
    let percentile = |p| duration(latencies.at(p));
    format!(
        "{name:<8} {:>5.1} s {:>11} msg/s  p50 {:>8}  p99 {:>8}  max {:>8}",
        elapsed.as_secs_f64(),
        thousands(rate as u64),
        percentile(50.0),
        percentile(99.0),
        percentile(100.0),
    )
}

fn to_json(outcome: &Outcome) -> serde_json::Value {
    serde_json::json!({
        "name": outcome.name,
        "messages": outcome.messages,
        "seconds": outcome.elapsed.as_secs_f64(),
        "rate": outcome.rate(),
        "latency_us": outcome.latencies.to_json(),
    })
}
