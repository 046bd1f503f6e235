//! The list of foreign tests that cannot pass yet, `tests/suites/expected-failures.txt`.
//!
//! A line is `NAME [CONDITION]  # reason`: NAME as the runner prints it, with `!` before it when
//! the test is not even run (it would hang, or needs what is not there yet), the condition
//! `[shards=1]` or `[shards>1]` where only some shard counts are meant. A reason is required.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

/// What the list says of a test at a shard count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Not listed: must pass.
    Pass,
    /// Listed: must not pass.
    Fail,
    /// Listed with `!`: not run.
    NotRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shards {
    Any,
    One,
    Many,
}

/// The list.
#[derive(Debug, Default)]
pub struct Expected {
    lines: HashMap<String, Vec<(Shards, Expectation)>>,
}

impl Expected {
    /// Reads the list; the first line that is not as the module says is the error.
    pub fn parse(text: &str) -> Result<Expected> {
        let mut lines: HashMap<String, Vec<(Shards, Expectation)>> = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, entry) =
                parse_line(line).with_context(|| format!("line {}: {line}", number + 1))?;
            let entries = lines.entry(name).or_default();
            let clash =
                |other: Shards| other == entry.0 || other == Shards::Any || entry.0 == Shards::Any;
            ensure!(!entries.iter().any(|e| clash(e.0)), "line {}: listed twice", number + 1);
            entries.push(entry);
        }
        Ok(Expected { lines })
    }

    /// What is expected of this test with so many shards.
    pub fn of(&self, test: &str, shards: u16) -> Expectation {
        let applies = |on: Shards| match on {
            Shards::Any => true,
            Shards::One => shards == 1,
            Shards::Many => shards > 1,
        };
        let entries = self.lines.get(test).map(Vec::as_slice).unwrap_or_default();
        entries.iter().find(|(on, _)| applies(*on)).map_or(Expectation::Pass, |(_, what)| *what)
    }

    /// The listed names that none of these tests has.
    pub fn strangers(&self, tests: &[String]) -> Vec<&str> {
        let known: std::collections::HashSet<&str> = tests.iter().map(String::as_str).collect();
        let mut names: Vec<&str> =
            self.lines.keys().map(String::as_str).filter(|name| !known.contains(name)).collect();
        names.sort_unstable();
        names
    }
}

fn parse_line(line: &str) -> Result<(String, (Shards, Expectation))> {
    let (rest, reason) = line.split_once('#').context("no reason")?;
    ensure!(!reason.trim().is_empty(), "no reason");
    let (rest, what) = match rest.trim().strip_prefix('!') {
        Some(rest) => (rest, Expectation::NotRun),
        None => (rest.trim(), Expectation::Fail),
    };
    let mut words = rest.split_whitespace();
    let name = words.next().context("no name")?;
    let on = match words.next() {
        None => Shards::Any,
        Some("[shards=1]") => Shards::One,
        Some("[shards>1]") => Shards::Many,
        Some(other) => bail!("unknown condition {other}"),
    };
    ensure!(words.next().is_none(), "more than a name and a condition");
    Ok((name.to_owned(), (on, what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_binds_where_its_condition_holds() {
        let list = "# heading\n\na.B.c  # later\n!a.B.d # hangs\na.B.e [shards>1]  # order\n";
        let list = Expected::parse(list).unwrap();
        assert_eq!(list.of("a.B.c", 1), Expectation::Fail);
        assert_eq!(list.of("a.B.d", 4), Expectation::NotRun);
        assert_eq!(list.of("a.B.e", 1), Expectation::Pass);
        assert_eq!(list.of("a.B.e", 2), Expectation::Fail);
        assert_eq!(list.of("a.B.f", 2), Expectation::Pass);
    }

    #[test]
    fn a_line_without_reason_or_given_twice_is_refused() {
        for bad in [
            "a.B.c",
            "a.B.c #",
            "a.B.c [shards<3] # x",
            "a.B.c # x\na.B.c # y",
            "a.B.c # x\n!a.B.c [shards>1] # y",
        ] {
            assert!(Expected::parse(bad).is_err(), "{bad}");
        }
        assert!(Expected::parse("a.B.c [shards=1] # x\na.B.c [shards>1] # y").is_ok());
    }

    #[test]
    fn listed_tests_that_do_not_exist_are_named() {
        let list = Expected::parse("a.B.c # x\na.B.gone # x").unwrap();
        assert_eq!(list.strangers(&["a.B.c".to_owned()]), ["a.B.gone"]);
    }
}
