//! A run as one HTML page that needs nothing else: no network, no scripts, no files beside it. Made of the document alone,
//! so that it can be made again later.

mod charts;
mod html;
mod plot;
pub(crate) mod scale;

use super::document::{Document, Entry, Figure, Without};
use super::table;
use crate::scenario;
use html::{escape, table as html_table};
use plot::{Line, Plot};
use scale::Kind;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// The page.
pub(crate) fn render(document: &Document) -> String {
    let mut body = head(document);
    body.push_str(&host(document));
    for scenario in scenario::ALL {
        let entries: Vec<&Entry> =
            document.results.iter().filter(|entry| entry.scenario == scenario.name()).collect();
        if entries.is_empty() {
            continue;
        }
        let (name, about) = (scenario.name(), escape(scenario.about()));
        _ = writeln!(body, "<h2 id=\"{name}\">{name}</h2>\n<p>{about}</p>");
        let (header, rows) = table::headline(scenario, &entries);
        body.push_str(&html_table(&header, 2, &rows));
        body.push_str(&grid(charts::of(scenario, &entries)));
        body.push_str(&all_figures(&entries));
    }
    body.push_str(&without(&document.without));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body><main>\n{body}</main></body>\n</html>\n",
        escape(&format!("fletch-perf: {}", document.broker.name))
    )
}

fn head(document: &Document) -> String {
    let Document { broker, host, program, .. } = document;
    let mut facts = vec![
        ("Broker", broker.name.clone()),
        (
            "Clients",
            format!("{}, on this machine, {}", broker.protocols.join(" and "), broker.clients),
        ),
        (
            "Machine",
            format!("{}, {} processors, Linux {}", host.processor, host.cores, host.kernel),
        ),
        ("Load at the start", format!("{:.2}", host.load)),
        ("Profile", format!("{}, in {:.0} s", document.profile, document.seconds)),
        ("Begun", begun(document.began_unix)),
        ("fletch-perf", program.version.clone()),
    ];
    if let Some(revision) = &program.revision {
        facts.push(("Revision", revision.clone()));
    }
    let mut out = "<h1>What the broker does to messages</h1>\n<dl>\n".to_owned();
    for (name, fact) in facts {
        _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&fact));
    }
    out.push_str("</dl>\n<nav>");
    let measured = |name: &str| document.results.iter().any(|entry| entry.scenario == name);
    let names = scenario::ALL.iter().map(|scenario| scenario.name());
    for name in std::iter::once("host").chain(names.filter(|name| measured(name))) {
        _ = write!(out, "<a href=\"#{name}\">{name}</a>");
    }
    out.push_str("</nav>\n");
    out
}

fn begun(unix: u64) -> String {
    let second = i64::try_from(unix).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn host(document: &Document) -> String {
    let host = &document.host;
    let rows: Vec<Vec<String>> = host
        .figures
        .iter()
        .map(|figure| vec![figure.name.clone(), figure.shown(), figure.unit.clone()])
        .collect();
    let lines = host
        .curves
        .iter()
        .map(|curve| Line { label: curve.name.clone(), points: curve.points.clone() });
    let plot = Plot {
        title: "The machine alone".to_owned(),
        x: ("percentile".to_owned(), Kind::Percentile),
        y: ("µs".to_owned(), Kind::Log),
        lines: lines.collect(),
    };
    let table = html_table(&["what".into(), "figure".into(), "unit".into()], 1, &rows);
    format!(
        "<h2 id=\"host\">host</h2>\n<p>What this machine can do without a broker, measured in the same run. No latency \
         below can be better than these, and none is worth more than they are steady.</p>\n\
         <div class=\"plots\">{}{table}</div>\n",
        plot.render()
    )
}

fn grid(figures: Vec<String>) -> String {
    match figures.is_empty() {
        true => String::new(),
        false => format!("<div class=\"plots\">\n{}</div>\n", figures.concat()),
    }
}

/// Every figure with its spread, for those who look.
fn all_figures(entries: &[&Entry]) -> String {
    let header = ["protocol", "case", "figure", "median", "min", "max", "unit"].map(str::to_owned);
    let mut rows = Vec::new();
    for entry in entries {
        for figure in &entry.figures {
            let Figure { name, unit, min, max, .. } = figure;
            let shown = super::document::shown;
            rows.push(vec![
                entry.protocol.clone(),
                entry.case.clone(),
                name.clone(),
                figure.shown(),
                shown(*min),
                shown(*max),
                unit.clone(),
            ]);
        }
    }
    let count = entries.iter().flat_map(|entry| &entry.figures).map(|figure| figure.values.len());
    let count = count.max().unwrap_or(0);
    format!(
        "<details><summary>All figures, of {count} repetition(s)</summary>\n{}</details>\n",
        html_table(&header, 3, &rows)
    )
}

fn without(all: &[Without]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|without| {
            let kind = if without.failed { "failed" } else { "left out" };
            let of = [&without.scenario, &without.case, &without.protocol, &without.why];
            [vec![kind.to_owned()], of.map(Clone::clone).to_vec()].concat()
        })
        .collect();
    let header = ["", "scenario", "case", "protocol", "why"].map(str::to_owned);
    format!("<h2 id=\"without\">not measured</h2>\n{}", html_table(&header, 5, &rows))
}
