//! Two brokers in turns, A B A B …, and the ratio of each pair: what else the machine does meets both.

use super::bench::Under;
use super::document::{Better, Document, Figure, Parameters};
use super::stats::{Spread, ratios};
use super::{Measuring, is_telling, status};
use crate::broker::BrokerOptions;
use crate::target::Target;
use crate::tls::TlsArguments;
use anyhow::{Context, Result};
use clap::Args;
use fletch_perf::report;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// The name and version of the format.
const SCHEMA: &str = "fletch-perf-compare/1";
/// Repetitions, where none are asked for: a ratio needs its spread.
const REPETITIONS: usize = 3;

/// `fletch-perf compare`.
#[derive(Args)]
pub(crate) struct CompareOptions {
    /// A, a broker that runs already, amqp:// or amqps://.
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "a_broker",
        conflicts_with = "a_broker"
    )]
    a: Option<String>,
    /// A, a program to start.
    #[arg(long, value_name = "PATH")]
    a_broker: Option<PathBuf>,
    /// The process of A, if it runs already and on this machine.
    #[arg(long, value_name = "PID", requires = "a")]
    a_pid: Option<u32>,
    /// One more option for A; repeatable.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, requires = "a_broker")]
    a_with: Vec<String>,
    /// The same where it has a data directory only.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, requires = "a_broker")]
    a_with_store: Vec<String>,
    /// B, a broker that runs already, amqp:// or amqps://.
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "b_broker",
        conflicts_with = "b_broker"
    )]
    b: Option<String>,
    /// B, a program to start.
    #[arg(long, value_name = "PATH")]
    b_broker: Option<PathBuf>,
    /// The process of B, if it runs already and on this machine.
    #[arg(long, value_name = "PID", requires = "b")]
    b_pid: Option<u32>,
    /// One more option for B; repeatable.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, requires = "b_broker")]
    b_with: Vec<String>,
    /// The same where it has a data directory only.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, requires = "b_broker")]
    b_with_store: Vec<String>,
    /// Shards of what is started.
    #[arg(long, default_value_t = fletch_shards::usual_shards() as u16)]
    shards: u16,
    /// Idle strategy of what is started: park, spin:DURATION or busy.
    #[arg(long, default_value = "park")]
    idle_strategy: String,
    #[command(flatten)]
    tls: TlsArguments,
    #[command(flatten)]
    measuring: Measuring,
}

impl CompareOptions {
    fn under(
        &self,
        url: Option<&String>,
        pid: Option<u32>,
        program: Option<&PathBuf>,
        with: [&[String]; 2],
    ) -> Result<Under> {
        if let Some(url) = url {
            return Ok(Under::There(Target::parse(url, pid, &self.tls)?));
        }
        let program = program.context("a URL or a program")?;
        Ok(Under::Program(BrokerOptions::of(program, self.shards, &self.idle_strategy, with)))
    }
}

#[derive(Serialize)]
struct Comparison {
    schema: &'static str,
    results: Vec<Case>,
    /// All there is of either, as `run --json` writes it.
    a: Document,
    b: Document,
}

#[derive(Serialize)]
struct Case {
    scenario: String,
    case: String,
    protocol: String,
    parameters: Parameters,
    figures: Vec<Ratio>,
}

/// Of B to A.
#[derive(Serialize)]
struct Ratio {
    name: String,
    unit: String,
    better: Better,
    a: f64,
    b: f64,
    /// Of the pairs, in order.
    ratios: Vec<f64>,
    median: f64,
    min: f64,
    max: f64,
}

/// Measures both, and shows the ratios.
pub(super) fn run(options: &CompareOptions) -> Result<ExitCode> {
    options.tls.check(options.a.iter().chain(&options.b))?;
    let a = options.under(
        options.a.as_ref(),
        options.a_pid,
        options.a_broker.as_ref(),
        [&options.a_with, &options.a_with_store],
    )?;
    let b = options.under(
        options.b.as_ref(),
        options.b_pid,
        options.b_broker.as_ref(),
        [&options.b_with, &options.b_with_store],
    )?;
    let mut measuring = options.measuring.clone();
    let usual = measuring.profile()?.repetitions;
    measuring.repetitions = Some(measuring.repetitions.unwrap_or(usual.max(REPETITIONS)));
    let documents = measuring.measure(&[a, b])?;
    let [a, b]: [Document; 2] = documents.try_into().ok().context("two brokers were measured")?;
    let results = cases(&a, &b);
    print(&a, &b, &results);
    let failed = [&a, &b].map(|document| status(document) != ExitCode::SUCCESS);
    if let Some(path) = &options.measuring.json {
        let text = serde_json::to_string_pretty(&Comparison { schema: SCHEMA, results, a, b })?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(if failed.contains(&true) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What both were measured by.
fn cases(a: &Document, b: &Document) -> Vec<Case> {
    let mut cases = Vec::new();
    for entry in &a.results {
        let Some(other) = b.find(entry) else { continue };
        let pairs = entry.figures.iter().filter(|figure| is_telling(figure));
        let figures = pairs.filter_map(|figure| ratio(figure, other.figure(&figure.name)?));
        cases.push(Case {
            scenario: entry.scenario.clone(),
            case: entry.case.clone(),
            protocol: entry.protocol.clone(),
            parameters: entry.parameters.clone(),
            figures: figures.collect(),
        });
    }
    cases
}

/// None where A has only zeros, or one of them lacks repetitions.
fn ratio(a: &Figure, b: &Figure) -> Option<Ratio> {
    let ratios = ratios(&a.values, &b.values);
    if ratios.is_empty() || a.values.len() != b.values.len() {
        return None;
    }
    let Spread { median, min, max } = Spread::of(&ratios);
    Some(Ratio {
        name: a.name.clone(),
        unit: a.unit.clone(),
        better: a.better,
        a: a.median,
        b: b.median,
        ratios,
        median,
        min,
        max,
    })
}

fn print(a: &Document, b: &Document, cases: &[Case]) {
    println!("A: {}\nB: {}", a.broker.name, b.broker.name);
    println!("ratios B ÷ A of measurements in turns; below, + where B is better and - where A is");
    let header = ["scenario", "case", "figure", "A", "B", "unit", "B ÷ A", "min … max", ""];
    let mut table = report::table(&header, 3);
    for case in cases {
        for figure in &case.figures {
            let shown = super::document::shown;
            table.add_row([
                case.scenario.clone(),
                format!("{}, {}", case.protocol, case.case),
                figure.name.clone(),
                shown(figure.a),
                shown(figure.b),
                figure.unit.clone(),
                format!("{:.2}", figure.median),
                format!("{:.2} … {:.2}", figure.min, figure.max),
                sign(figure).to_owned(),
            ]);
        }
    }
    println!("{table}");
    for (name, document) in [("A", a), ("B", b)] {
        for without in &document.without {
            println!("not of {name}: {}, {}: {}", without.scenario, without.case, without.why);
        }
    }
}

/// Who is better in every pair; nobody if they differ.
fn sign(ratio: &Ratio) -> &'static str {
    let greater = ratio.min > 1.0;
    let smaller = ratio.max < 1.0;
    match ratio.better {
        Better::Higher if greater => "+",
        Better::Higher if smaller => "-",
        Better::Lower if smaller => "+",
        Better::Lower if greater => "-",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(better: Better, a: &[f64], b: &[f64]) -> Option<Ratio> {
        ratio(
            &Figure::new("x", "µs", better, a.to_vec()),
            &Figure::new("x", "µs", better, b.to_vec()),
        )
    }

    #[test]
    fn a_side_is_better_if_it_is_in_every_pair() {
        let sure = of(Better::Lower, &[10.0, 20.0, 40.0], &[5.0, 18.0, 36.0]).unwrap();
        assert_eq!((sure.median, sure.min, sure.max, sign(&sure)), (0.9, 0.5, 0.9, "+"));
        let unsure = of(Better::Lower, &[10.0, 20.0], &[5.0, 21.0]).unwrap();
        assert_eq!(sign(&unsure), "");
        assert_eq!(sign(&of(Better::Higher, &[10.0], &[5.0]).unwrap()), "-");
    }

    #[test]
    fn nothing_is_said_of_pairs_that_are_none() {
        assert!(of(Better::Lower, &[0.0], &[5.0]).is_none());
        assert!(of(Better::Lower, &[1.0, 2.0], &[5.0]).is_none());
    }
}
