//! Which plots a scenario's results make.

use super::plot::{Bars, Line, Plot};
use super::scale::Kind;
use crate::scenario::{Chart, Scenario};
use crate::suite::document::{Curve, Entry};
use serde_json::Value;

/// All plots of a scenario, in its order.
pub(super) fn of(scenario: &dyn Scenario, entries: &[&Entry]) -> Vec<String> {
    scenario.charts().iter().flat_map(|chart| one(chart, entries)).collect()
}

fn one(chart: &Chart, entries: &[&Entry]) -> Vec<String> {
    match chart {
        Chart::Percentiles { tracks, series } => percentiles(tracks, series, entries),
        Chart::Course(track) => course(track, entries),
        Chart::Against { parameter, figures } => against(parameter, figures, entries),
        Chart::Bars(figure) => bars(figure, entries),
    }
}

/// A parameter in words.
fn text(name: &str, value: &Value) -> String {
    let value = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_u64() => {
            fletch_perf::report::thousands(number.as_f64().unwrap_or_default())
        }
        other => other.to_string(),
    };
    match name {
        "size" => format!("{value} B"),
        "rate" => format!("{value}/s"),
        "shards" | "connections" => format!("{value} {name}"),
        name if name.ends_with("seconds") => format!("{value} s"),
        _ => value,
    }
}

/// All that tells a case from others but one parameter.
fn others(entry: &Entry, but: &str) -> String {
    let rest = entry.parameters.iter().filter(|(name, _)| *name != but);
    let rest: Vec<String> = rest.map(|(name, value)| text(name, value)).collect();
    [vec![entry.protocol.clone()], rest].concat().join(", ")
}

/// Groups of cases that differ in one parameter only, in the order of the first of each.
fn groups<'a>(entries: &[&'a Entry], parameter: &str) -> Vec<(String, Vec<&'a Entry>)> {
    let mut groups: Vec<(String, Vec<&Entry>)> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.parameters.contains_key(parameter)) {
        let key = others(entry, parameter);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(entry),
            None => groups.push((key, vec![entry])),
        }
    }
    groups
}

fn percentiles(tracks: &[&str], series: &str, entries: &[&Entry]) -> Vec<String> {
    let mut plots = Vec::new();
    for (name, group) in groups(entries, series) {
        let (mut lines, alone) = (Vec::new(), group.len() == 1);
        for entry in group {
            let label = entry.parameters.get(series).map_or_else(String::new, |v| text(series, v));
            for curve in entry.curves.iter().filter(|curve| tracks.contains(&curve.name.as_str())) {
                let Curve { name, points } = curve;
                let label = match (tracks.len() > 1, alone) {
                    (true, true) => name.clone(),
                    (true, false) => format!("{label}, {name}"),
                    (false, _) => label.clone(),
                };
                lines.push(Line { label, points: points.clone() });
            }
        }
        if !lines.is_empty() {
            let title = format!("{} by percentile: {name}", tracks.join(", "));
            plots.push(
                Plot {
                    title,
                    x: ("percentile".to_owned(), Kind::Percentile),
                    y: ("µs".to_owned(), Kind::Log),
                    lines,
                }
                .render(),
            );
        }
    }
    plots
}

fn course(track: &str, entries: &[&Entry]) -> Vec<String> {
    let mut plots = Vec::new();
    for entry in entries {
        let Some(course) = entry.courses.iter().find(|course| course.name == track) else {
            continue;
        };
        let line = |label: &str, at: usize| Line {
            label: label.to_owned(),
            points: course.points.iter().map(|point| [point[0], point[at]]).collect(),
        };
        let plot = Plot {
            title: format!("{track} over time: {}, {}", entry.protocol, entry.case),
            x: ("seconds".to_owned(), Kind::Linear),
            y: ("µs".to_owned(), Kind::Log),
            lines: vec![line("p50", 1), line("p99", 2), line("max", 3)],
        };
        plots.push(plot.render());
    }
    plots
}

fn against(parameter: &str, figures: &[&str], entries: &[&Entry]) -> Vec<String> {
    let mut plots = Vec::new();
    for (name, group) in groups(entries, parameter) {
        // The unit of all is that of the first.
        let mut unit = String::new();
        let mut lines = Vec::new();
        for figure in figures {
            let mut points = Vec::new();
            for entry in &group {
                let at = entry.parameters.get(parameter).and_then(Value::as_f64);
                if let (Some(at), Some(found)) = (at, entry.figure(figure)) {
                    points.push([at, found.median]);
                    if unit.is_empty() {
                        unit.clone_from(&found.unit);
                    }
                }
            }
            points.sort_by(|one, other| one[0].total_cmp(&other[0]));
            if !points.is_empty() {
                lines.push(Line { label: (*figure).to_owned(), points });
            }
        }
        // One point is no course.
        if lines.iter().any(|line| line.points.len() > 1) {
            let (title, x) = (format!("By {parameter}: {name}"), parameter.to_owned());
            plots.push(Plot { title, x: (x, Kind::Log), y: (unit, Kind::Log), lines }.render());
        }
    }
    plots
}

fn bars(figure: &str, entries: &[&Entry]) -> Vec<String> {
    let mut unit = String::new();
    let mut bars = Vec::new();
    for entry in entries {
        if let Some(found) = entry.figure(figure) {
            unit.clone_from(&found.unit);
            let label = format!("{}, {}", entry.protocol, entry.case);
            bars.push((label, [found.median, found.min, found.max]));
        }
    }
    match bars.is_empty() {
        true => Vec::new(),
        false => vec![Bars { title: figure.to_owned(), unit, bars }.render()],
    }
}
