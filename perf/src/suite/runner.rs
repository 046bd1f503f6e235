//! Measures cases with repetitions, several brokers and protocols in turns, and makes the documents of it.

use super::bench::Bench;
use super::document::{
    Course, Curve, Document, Entry, Figure, Host, Program, SCHEMA, Subject, Without, micros,
};
use super::histograms;
use super::measurement::Measurement;
use super::profile::Profile;
use crate::scenario::{Case, Plan, Scenario};
use anyhow::Result;
use fletch_perf::report;
use hdrhistogram::Histogram;
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A broker, and how it is spoken to: a bench for each protocol.
pub(crate) struct Contender {
    pub(crate) subject: Subject,
    pub(crate) benches: Vec<Bench>,
}

/// What is to be measured of all of them.
pub(crate) struct Order<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) scenarios: &'a [&'static dyn Scenario],
    pub(crate) revision: Option<String>,
    /// Where histograms are kept.
    pub(crate) hdr: Option<PathBuf>,
}

/// Measures all. The contenders must have benches for the same protocols.
pub(crate) fn measure(
    order: &Order<'_>,
    contenders: &[Contender],
    host: &Host,
) -> Result<Vec<Document>> {
    let (began, start) = (SystemTime::now(), Instant::now());
    let mut documents: Vec<Document> = contenders
        .iter()
        .map(|contender| Document {
            schema: SCHEMA.to_owned(),
            program: Program {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                revision: order.revision.clone(),
            },
            began_unix: began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            seconds: 0.0,
            profile: order.profile.name.clone(),
            broker: contender.subject.clone(),
            host: host.clone(),
            results: Vec::new(),
            without: Vec::new(),
        })
        .collect();
    // Contenders may differ in which cases apply to them, not in the cases.
    let cases: Vec<Vec<(&str, Case)>> =
        contenders.iter().map(|contender| cases(order, contender)).collect();
    let protocols = contenders.first().map_or(0, |contender| contender.benches.len());
    let count = cases.first().map_or(0, Vec::len);
    let repetitions = order.profile.repetitions;
    let bar = report::progress((count * protocols * contenders.len() * repetitions) as u64);
    for at in 0..count {
        let mut runs: Vec<Vec<Run>> =
            contenders.iter().map(|_| (0..protocols).map(|_| Run::default()).collect()).collect();
        for repetition in 1..=repetitions {
            for protocol in 0..protocols {
                for (which, contender) in contenders.iter().enumerate() {
                    let (scenario, case) = &cases[which][at];
                    let bench = &contender.benches[protocol];
                    bar.set_message(format!(
                        "{scenario}: {}, {}",
                        case.name,
                        bench.protocol.name()
                    ));
                    let place = format!(
                        "{}-{}-{}-{which}-{repetition}",
                        scenario,
                        case.name,
                        bench.protocol.name()
                    );
                    runs[which][protocol].once(case, bench, order, &place)?;
                    bar.inc(1);
                }
            }
        }
        for (which, runs) in runs.into_iter().enumerate() {
            let (scenario, case) = &cases[which][at];
            for (bench, run) in contenders[which].benches.iter().zip(runs) {
                run.into(scenario, case, bench, &mut documents[which]);
            }
        }
    }
    bar.finish_and_clear();
    for document in &mut documents {
        document.seconds = start.elapsed().as_secs_f64();
    }
    Ok(documents)
}

fn cases(order: &Order<'_>, contender: &Contender) -> Vec<(&'static str, Case)> {
    let Some(bench) = contender.benches.first() else { return Vec::new() };
    let plan = Plan { profile: order.profile, under: &bench.under };
    let of = |scenario: &&'static dyn Scenario| {
        let name = scenario.name();
        scenario.cases(&plan).into_iter().map(move |case| (name, case))
    };
    order.scenarios.iter().flat_map(of).collect()
}

/// The repetitions of a case, up to the first that failed.
#[derive(Default)]
struct Run {
    measurements: Vec<Measurement>,
    failed: Option<String>,
}

impl Run {
    fn once(&mut self, case: &Case, bench: &Bench, order: &Order<'_>, place: &str) -> Result<()> {
        if self.failed.is_some() || case.without.is_some() {
            return Ok(());
        }
        match (case.measure)(bench) {
            Ok(measurement) => {
                if let Some(dir) = &order.hdr {
                    histograms::write(dir, place, &measurement)?;
                }
                self.measurements.push(measurement);
            }
            Err(error) => self.failed = Some(format!("{error:#}")),
        }
        Ok(())
    }

    fn into(self, scenario: &str, case: &Case, bench: &Bench, document: &mut Document) {
        let (scenario, protocol) = (scenario.to_owned(), bench.protocol.name().to_owned());
        let why = case.without.clone().or(self.failed.clone());
        if let Some(why) = why {
            let failed = self.failed.is_some();
            let case = case.name.clone();
            document.without.push(Without { scenario, case, protocol, why, failed });
            return;
        }
        document.results.push(Entry {
            scenario,
            case: case.name.clone(),
            protocol,
            parameters: case.parameters.clone(),
            figures: figures(&self.measurements),
            curves: curves(&self.measurements),
            courses: courses(&self.measurements),
        });
    }
}

/// Each figure with its repetitions, in the order of the first that has it.
fn figures(measurements: &[Measurement]) -> Vec<Figure> {
    let mut figures: Vec<Figure> = Vec::new();
    for single in measurements.iter().flat_map(|measurement| &measurement.figures) {
        if figures.iter().any(|figure| figure.name == single.name) {
            continue;
        }
        let all = measurements.iter().flat_map(|measurement| &measurement.figures);
        let values = all.filter(|other| other.name == single.name).map(|other| other.value);
        figures.push(Figure::new(&single.name, single.unit, single.better, values.collect()));
    }
    figures
}

/// Latencies by percentile, of all repetitions together.
fn curves(measurements: &[Measurement]) -> Vec<Curve> {
    let mut all: Vec<(&str, Histogram<u64>)> = Vec::new();
    for measurement in measurements {
        let tracks = measurement.tracks.iter().map(|(name, track)| (name.as_str(), track.total()));
        let histograms =
            measurement.histograms.iter().map(|(name, all)| (name.as_str(), all.clone()));
        for (name, latency) in tracks.chain(histograms) {
            match all.iter_mut().find(|(other, _)| *other == name) {
                Some((_, sum)) => *sum += latency,
                None => all.push((name, latency)),
            }
        }
    }
    let some = all.iter().filter(|(_, latency)| !latency.is_empty());
    some.map(|(name, latency)| Curve::of(name, latency)).collect()
}

/// Latencies over time, of the last repetition.
fn courses(measurements: &[Measurement]) -> Vec<Course> {
    let Some(last) = measurements.last() else { return Vec::new() };
    let course = |(name, track): &(String, crate::load::track::Track)| Course {
        name: name.clone(),
        points: track
            .parts()
            .map(|(at, _, part)| {
                let quantile = |q| micros(part.value_at_quantile(q));
                [at, quantile(0.5), quantile(0.99), micros(part.max())]
            })
            .collect(),
    };
    last.tracks.iter().map(course).collect()
}
