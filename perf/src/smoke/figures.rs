//! What the smoke benchmark measures, and how it is shown.

use crate::protocol::Protocol;
use fletch_perf::report;
use serde::Serialize;

/// One line of the report.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Case {
    pub(super) fan_out: usize,
    pub(super) size: usize,
    pub(super) ack: bool,
    /// Messages per second; none for as many as go.
    pub(super) rate: Option<u32>,
}

/// What was measured. Latencies are in microseconds, of latency measurements only.
/// In a ratio all figures are ratios.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) published_per_second: f64,
    pub(super) delivered_per_second: f64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
    pub(super) p999: Option<f64>,
    pub(super) max: Option<f64>,
    /// Of the broker, in microseconds, for a message and all its deliveries.
    pub(super) cpu_per_message: f64,
    /// Of the broker, in octets, at the end of the measurement.
    pub(super) resident: f64,
}

#[derive(Serialize)]
pub(super) struct Line {
    /// What the clients spoke; or `ratio`, of AMQP 1.0 to 0-10.
    pub(super) protocol: &'static str,
    #[serde(flatten)]
    pub(super) case: Case,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) about: &'a str,
    pub(super) seconds: f64,
    pub(super) runs: usize,
    pub(super) results: Vec<Line>,
}

impl Case {
    /// In words.
    pub(super) fn name(self, protocol: Protocol) -> String {
        let what = if self.rate.is_some() { "latency" } else { "throughput" };
        let ack = if self.ack { " ack" } else { "" };
        format!("{} 1→{} {} B {what}{ack}", protocol.name(), self.fan_out, self.size)
    }
}

/// What a line says that is no protocol's.
const RATIO: &str = "ratio";

/// The lines of a case: the median of each protocol's runs, and their ratio if there are two.
pub(super) fn lines(case: Case, protocols: &[Protocol], runs: &[Vec<Figures>]) -> Vec<Line> {
    let mut lines: Vec<Line> = protocols
        .iter()
        .zip(runs)
        .map(|(protocol, runs)| Line { protocol: protocol.name(), case, figures: middle(runs) })
        .collect();
    if let [old, new] = &lines[..] {
        let figures = ratio(&new.figures, &old.figures);
        lines.push(Line { protocol: RATIO, case, figures });
    }
    lines
}

fn ratio(new: &Figures, old: &Figures) -> Figures {
    let some = |new: Option<f64>, old: Option<f64>| Some(new? / old?);
    Figures {
        published_per_second: new.published_per_second / old.published_per_second,
        delivered_per_second: new.delivered_per_second / old.delivered_per_second,
        p50: some(new.p50, old.p50),
        p99: some(new.p99, old.p99),
        p999: some(new.p999, old.p999),
        max: some(new.max, old.max),
        cpu_per_message: new.cpu_per_message / old.cpu_per_message,
        resident: new.resident / old.resident,
    }
}

/// The median of each figure.
pub(super) fn middle(runs: &[Figures]) -> Figures {
    let of = |get: fn(&Figures) -> f64| report::median(runs.iter().map(get).collect());
    let some = |get: fn(&Figures) -> Option<f64>| {
        let figures: Vec<f64> = runs.iter().filter_map(get).collect();
        (!figures.is_empty()).then(|| report::median(figures))
    };
    Figures {
        published_per_second: of(|f| f.published_per_second),
        delivered_per_second: of(|f| f.delivered_per_second),
        p50: some(|f| f.p50),
        p99: some(|f| f.p99),
        p999: some(|f| f.p999),
        max: some(|f| f.max),
        cpu_per_message: of(|f| f.cpu_per_message),
        resident: of(|f| f.resident),
    }
}

/// Prints the report as a table.
pub(super) fn print(report: &Report<'_>) {
    println!("{}", report.about);
    println!(
        "one-way latency in µs from the time a message was due; broker CPU in µs for a message and \
         all its deliveries; median of {} run(s) of {} s",
        report.runs, report.seconds
    );
    let header = [
        "protocol",
        "flow",
        "body",
        "accept",
        "pace",
        "msgs/s in",
        "msgs/s out",
        "p50",
        "p99",
        "p99.9",
        "max",
        "CPU",
        "RSS MiB",
    ];
    let mut table = report::table(&header, 5);
    for Line { protocol, case, figures } in &report.results {
        let ratio = *protocol == RATIO;
        let show = |f: f64| if ratio { format!("{f:.2}") } else { report::thousands(f) };
        let figure = |f: Option<f64>| f.map_or_else(|| "-".into(), show);
        let resident = if ratio { 1.0 } else { f64::from(1 << 20) };
        table.add_row([
            (*protocol).to_owned(),
            format!("1→{}", case.fan_out),
            format!("{} B", case.size),
            if case.ack { "explicit" } else { "none" }.into(),
            case.rate.map_or("unpaced".into(), |rate| format!("{}/s", rate)),
            show(figures.published_per_second),
            show(figures.delivered_per_second),
            figure(figures.p50),
            figure(figures.p99),
            figure(figures.p999),
            figure(figures.max),
            format!("{:.2}", figures.cpu_per_message),
            format!("{:.2}", figures.resident / resident),
        ]);
    }
    println!("{table}");
}
