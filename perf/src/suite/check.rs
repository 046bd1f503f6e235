//! What got worse since a baseline, beyond noise: the rule is in `stats`.

use super::document::{Document, Figure};
use super::stats::{Verdict, verdict};
use super::{Choice, Measuring, is_telling};
use anyhow::{Context, Result, bail};
use clap::Args;
use fletch_perf::report;
use std::path::PathBuf;
use std::process::ExitCode;

/// By how much the machine's own figures may differ before it is said.
const OTHER_MACHINE: f64 = 0.2;

/// `fletch-perf check`.
#[derive(Args)]
pub(crate) struct CheckOptions {
    /// What an earlier `run --json` has written.
    baseline: PathBuf,
    /// What a later one has written, to be held against it. Without it the broker is measured now.
    #[arg(long, value_name = "FILE")]
    new: Option<PathBuf>,
    #[command(flatten)]
    broker: Choice,
    #[command(flatten)]
    measuring: Measuring,
}

/// A figure of both.
struct Change<'a> {
    of: String,
    old: &'a Figure,
    new: &'a Figure,
    verdict: Verdict,
}

/// Fails if something got worse, or is no longer there.
pub(super) fn run(options: &CheckOptions) -> Result<ExitCode> {
    let baseline = Document::read(&options.baseline)?;
    let now = match &options.new {
        Some(path) => Document::read(path)?,
        None => {
            let documents = options.measuring.measure(&[options.broker.under()?])?;
            documents.into_iter().next().context("one broker was measured")?
        }
    };
    if let Some(path) = options.measuring.json.as_ref().filter(|_| options.new.is_none()) {
        now.write(path)?;
    }
    let changes = changes(&baseline, &now);
    if changes.is_empty() {
        bail!("the two have no case in common: measure with the parameters of the baseline");
    }
    for line in machine(&baseline, &now) {
        println!("{line}");
    }
    print(&changes);
    let missing = missing(&baseline, &now, options);
    missing.iter().for_each(|case| println!("no longer measured: {case}"));
    let worse = changes.iter().any(|change| change.verdict == Verdict::Worse);
    Ok(if worse || !missing.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All figures with a direction of all cases that both have.
fn changes<'a>(baseline: &'a Document, now: &'a Document) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for entry in &now.results {
        let Some(before) = baseline.find(entry) else { continue };
        for new in entry.figures.iter().filter(|figure| is_telling(figure)) {
            if let Some(old) = before.figure(&new.name) {
                let of = format!("{}: {}, {}", entry.scenario, entry.protocol, entry.case);
                changes.push(Change { of, old, new, verdict: verdict(old, new) });
            }
        }
    }
    changes
}

/// Cases of the baseline that should have been measured, and were not.
fn missing(baseline: &Document, now: &Document, options: &CheckOptions) -> Vec<String> {
    let only = &options.measuring.only;
    let wanted = |scenario: &String| only.is_empty() || only.contains(scenario);
    let lost = baseline
        .results
        .iter()
        .filter(|entry| wanted(&entry.scenario) && now.find(entry).is_none());
    lost.map(|entry| format!("{}: {}, {}", entry.scenario, entry.protocol, entry.case)).collect()
}

/// What the machine itself does otherwise than then.
fn machine(baseline: &Document, now: &Document) -> Vec<String> {
    let mut lines = Vec::new();
    for new in &now.host.figures {
        let old = baseline.host.figures.iter().find(|old| old.name == new.name);
        if let Some(old) = old.filter(|old| (new.median / old.median - 1.0).abs() > OTHER_MACHINE) {
            let (unit, was) = (&new.unit, old.shown());
            lines.push(format!("the machine: {}: {} {unit}, it was {was}", new.name, new.shown()));
        }
    }
    lines
}

fn print(changes: &[Change<'_>]) {
    let told: Vec<&Change<'_>> =
        changes.iter().filter(|change| change.verdict != Verdict::Same).collect();
    if !told.is_empty() {
        let header = ["", "case", "figure", "was", "is", "unit", "ratio"];
        let mut table = report::table(&header, 3);
        for Change { of, old, new, verdict } in &told {
            let word = if *verdict == Verdict::Worse { "WORSE" } else { "better" };
            table.add_row([
                word.to_owned(),
                of.clone(),
                new.name.clone(),
                old.shown(),
                new.shown(),
                new.unit.clone(),
                format!("{:.2}", new.median / old.median),
            ]);
        }
        println!("{table}");
    }
    let count = |verdict| changes.iter().filter(|change| change.verdict == verdict).count();
    println!(
        "{} figures: {} worse, {} better, {} within noise",
        changes.len(),
        count(Verdict::Worse),
        count(Verdict::Better),
        count(Verdict::Same)
    );
}
