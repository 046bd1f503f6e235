//! Results as tables: columns are figures, with the unit in the header.

use super::document::{Document, Entry, Host};
use crate::scenario::{self, Scenario};
use fletch_perf::report;

/// Header and rows of a scenario's main figures, of which only those appear that some case has. The first two columns are
/// words.
pub(crate) fn headline(
    scenario: &dyn Scenario,
    entries: &[&Entry],
) -> (Vec<String>, Vec<Vec<String>>) {
    let columns: Vec<(&str, String)> = scenario
        .headline()
        .iter()
        .filter_map(|name| {
            let figure = entries.iter().find_map(|entry| entry.figure(name))?;
            Some((*name, format!("{name}\n{}", figure.unit)))
        })
        .collect();
    let names = columns.iter().map(|(_, header)| header.clone());
    let header = ["protocol".to_owned(), "case".to_owned()].into_iter().chain(names).collect();
    let row = |entry: &&Entry| {
        let figures = columns.iter().map(|(name, _)| {
            entry.figure(name).map_or_else(|| "-".to_owned(), |figure| figure.shown())
        });
        [entry.protocol.clone(), entry.case.clone()].into_iter().chain(figures).collect()
    };
    (header, entries.iter().map(row).collect())
}

/// All of a run on the terminal.
pub(crate) fn print(document: &Document) {
    println!("{}", document.broker.name);
    host(&document.host);
    for scenario in scenario::ALL {
        let entries: Vec<&Entry> =
            document.results.iter().filter(|entry| entry.scenario == scenario.name()).collect();
        if entries.is_empty() {
            continue;
        }
        println!("\n{}: {}", scenario.name(), scenario.about());
        let (header, rows) = headline(scenario, &entries);
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut table = report::table(&header, 2);
        rows.into_iter().for_each(|row| _ = table.add_row(row));
        println!("{table}");
    }
    for without in &document.without {
        let word = if without.failed { "FAILED" } else { "left out" };
        println!("{word}: {}, {}: {}", without.scenario, without.case, without.why);
    }
}

fn host(host: &Host) {
    println!(
        "{}, {} processors, load {:.2} at the start; without a broker it can do:",
        host.processor, host.cores, host.load
    );
    let mut table = report::table(&["host", "figure", "unit"], 1);
    for figure in &host.figures {
        table.add_row([figure.name.clone(), figure.shown(), figure.unit.clone()]);
    }
    println!("{table}");
}
