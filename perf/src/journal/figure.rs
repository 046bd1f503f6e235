//! One figure of the report, and what it should be.

use fletch_perf::report;
use serde::Serialize;

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Target::AtMost(most) => value <= most,
            Target::AtLeast(least) => value >= least,
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) part: &'static str,
    pub(super) what: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<Target>,
    /// Why a figure that misses its target is as good as it can be here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) excuse: Option<&'static str>,
}

impl Figure {
    /// A figure without a target.
    pub(super) fn new(
        part: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Figure {
        Figure { part, what: what.into(), value, unit, target: None, excuse: None }
    }

    pub(super) fn at_most(self, most: f64) -> Figure {
        Figure { target: Some(Target::AtMost(most)), ..self }
    }

    pub(super) fn at_least(self, least: f64) -> Figure {
        Figure { target: Some(Target::AtLeast(least)), ..self }
    }

    pub(super) fn unless(self, excuse: Option<&'static str>) -> Figure {
        Figure { excuse, ..self }
    }

    /// It has a target and misses it without an excuse.
    pub(super) fn missed(&self) -> bool {
        self.excuse.is_none() && self.target.is_some_and(|target| !target.met(self.value))
    }

    /// The cells of its row.
    pub(super) fn row(&self) -> [String; 6] {
        let (target, verdict) = match self.target {
            None => (String::new(), String::new()),
            Some(target) => {
                let text = match target {
                    Target::AtMost(most) => format!("≤ {}", number(most)),
                    Target::AtLeast(least) => format!("≥ {}", number(least)),
                };
                let verdict = match (target.met(self.value), self.excuse) {
                    (true, _) => "ok".to_owned(),
                    (false, Some(excuse)) => format!("ok: {excuse}"),
                    (false, None) => "MISSED".to_owned(),
                };
                (text, verdict)
            }
        };
        let (part, what) = (self.part.to_owned(), self.what.clone());
        [part, what, number(self.value), self.unit.to_owned(), target, verdict]
    }

    /// The median of the same figure of several runs, excused if most of them are.
    pub(super) fn middle(of: &[Figure]) -> Figure {
        let value = report::median(of.iter().map(|figure| figure.value).collect());
        let excused = of.iter().filter(|figure| figure.excuse.is_some()).count();
        let excuse = of.iter().find_map(|figure| figure.excuse).filter(|_| 2 * excused > of.len());
        Figure { value, excuse, ..of[0].clone() }
    }
}

/// With as many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 => format!("{value:.2}"),
        middle if middle < 1000.0 => format!("{value:.1}"),
        _ => report::thousands(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_missed_or_excused() {
        let figure = |value| Figure::new("part", "what", value, "x").at_most(1.3);
        assert_eq!(figure(1.25).row()[2..], ["1.25", "x", "≤ 1.30", "ok"]);
        assert_eq!(figure(1.5).row()[5], "MISSED");
        assert!(figure(1.5).missed() && !figure(1.3).missed());
        let excused = figure(1.5).unless(Some("CPU-bound"));
        assert_eq!((excused.row()[5].as_str(), excused.missed()), ("ok: CPU-bound", false));
        assert!(!Figure::new("part", "what", 1.0, "x").missed());
        assert!(Figure::new("part", "what", 1.0, "x").at_least(20.0).missed());
        let middle = Figure::middle(&[figure(3.0), excused, figure(1.0)]);
        assert_eq!((middle.value, middle.excuse), (1.5, None));
    }
}
