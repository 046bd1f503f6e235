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
use std::path::{Path, PathBuf};
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
    // Protocol by protocol, and of each all contenders.
    let protocols = contenders.iter().map(|contender| contender.benches.len()).min().unwrap_or(0);
    let mut lanes: Vec<Lane<'_>> = (0..protocols)
        .flat_map(|at| contenders.iter().map(move |contender| &contender.benches[at]).enumerate())
        .map(|(document, bench)| Lane { document, bench, cases: cases(order, bench).into_iter() })
        .collect();
    let count: usize = lanes.iter().map(|lane| lane.cases.len()).sum();
    let bar = report::progress((count * order.profile.repetitions) as u64);
    loop {
        // The same case of each lane: they may differ in whether it applies to them, not in which there are.
        let mut round: Vec<Turn<'_>> = lanes.iter_mut().filter_map(Lane::next).collect();
        if round.is_empty() {
            break;
        }
        for repetition in 1..=order.profile.repetitions {
            for turn in &mut round {
                bar.set_message(turn.name());
                turn.once(order.hdr.as_deref(), repetition)?;
                bar.inc(1);
            }
        }
        for turn in round {
            turn.finish(&mut documents);
        }
    }
    bar.finish_and_clear();
    for document in &mut documents {
        document.seconds = start.elapsed().as_secs_f64();
    }
    Ok(documents)
}

fn cases(order: &Order<'_>, bench: &Bench) -> Vec<(&'static str, Case)> {
    let plan = Plan { profile: order.profile, under: &bench.under, protocol: bench.protocol };
    let of = |scenario: &&'static dyn Scenario| {
        let name = scenario.name();
        scenario.cases(&plan).into_iter().map(move |case| (name, case))
    };
    order.scenarios.iter().flat_map(of).collect()
}

/// A broker by one protocol, and the cases to come. Its results go to the document of that place.
struct Lane<'a> {
    document: usize,
    bench: &'a Bench,
    cases: std::vec::IntoIter<(&'static str, Case)>,
}

impl<'a> Lane<'a> {
    fn next(&mut self) -> Option<Turn<'a>> {
        let (scenario, case) = self.cases.next()?;
        let Lane { document, bench, .. } = *self;
        Some(Turn { document, bench, scenario, case, measurements: Vec::new(), failed: None })
    }
}

/// A case of a lane, with its repetitions up to the first that failed.
struct Turn<'a> {
    document: usize,
    bench: &'a Bench,
    scenario: &'static str,
    case: Case,
    measurements: Vec<Measurement>,
    failed: Option<String>,
}

impl Turn<'_> {
    fn name(&self) -> String {
        format!("{}: {}, {}", self.scenario, self.case.name, self.bench.protocol.name())
    }

    fn once(&mut self, hdr: Option<&Path>, repetition: usize) -> Result<()> {
        if self.failed.is_some() || self.case.without.is_some() {
            return Ok(());
        }
        match (self.case.measure)(self.bench) {
            Ok(Measurement { without: Some(why), .. }) => self.case.without = Some(why),
            Ok(measurement) => {
                if let Some(dir) = hdr {
                    // Of several brokers each has a place.
                    let name = format!("{} {} {repetition}", self.name(), self.document + 1);
                    histograms::write(dir, &name, &measurement)?;
                }
                self.measurements.push(measurement);
            }
            Err(error) => self.failed = Some(format!("{error:#}")),
        }
        Ok(())
    }

    fn finish(self, documents: &mut [Document]) {
        let document = &mut documents[self.document];
        let (scenario, case) = (self.scenario.to_owned(), self.case.name);
        let protocol = self.bench.protocol.name().to_owned();
        let failed = self.failed.is_some();
        if let Some(why) = self.case.without.or(self.failed) {
            document.without.push(Without { scenario, case, protocol, why, failed });
            return;
        }
        document.results.push(Entry {
            scenario,
            case,
            protocol,
            parameters: self.case.parameters,
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
