//! How values become places on an axis, and where its ticks stand.

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Linear,
    /// By powers of ten. Values are more than 0.
    Log,
    /// Percentiles by their distance to 100: from 90 to 99 is as far as from 99 to 99.9.
    Percentile,
}

/// An axis from one value to another. Places are from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    kind: Kind,
    from: f64,
    to: f64,
}

/// Ticks that a linear axis has about.
const TICKS: f64 = 5.0;
/// Percentiles that have ticks.
const PERCENTILES: [f64; 7] = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
/// Nines beyond this are not told apart.
const NINES: f64 = 7.0;

impl Scale {
    /// Over all of these values; rounded outwards, and from 0 if it is linear.
    pub(crate) fn over(kind: Kind, values: impl Iterator<Item = f64>) -> Scale {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            (least, most) = (1.0, 1.0);
        }
        let (from, to) = match kind {
            Kind::Linear => {
                let (least, most) = (least.min(0.0), most.max(0.0));
                let step = step(if most > least { most - least } else { 1.0 });
                ((least / step).floor() * step, (most / step).ceil().max(1.0) * step)
            }
            Kind::Log => {
                let from = 10f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
                let to = 10f64.powf(most.max(f64::MIN_POSITIVE).log10().ceil());
                (from, if to > from { to } else { from * 10.0 })
            }
            Kind::Percentile => (0.0, most.max(90.0)),
        };
        Scale { kind, from, to }
    }

    /// Where a value is.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let spread = |value: f64| match self.kind {
            Kind::Linear => value,
            Kind::Log => value.max(self.from).log10(),
            Kind::Percentile => nines(value),
        };
        ((spread(value) - spread(self.from)) / (spread(self.to) - spread(self.from)))
            .clamp(0.0, 1.0)
    }

    /// Values that have ticks.
    pub(crate) fn ticks(&self) -> Vec<f64> {
        match self.kind {
            Kind::Linear => {
                let step = step(self.to - self.from);
                let count = ((self.to - self.from) / step).round() as i64;
                (0..=count).map(|tick| self.from + tick as f64 * step).collect()
            }
            Kind::Log => {
                let decades = self.from.log10().round() as i32..=self.to.log10().round() as i32;
                decades.map(|decade| 10f64.powi(decade)).collect()
            }
            Kind::Percentile => {
                PERCENTILES.into_iter().filter(|tick| nines(*tick) <= nines(self.to)).collect()
            }
        }
    }

    /// What a tick says.
    pub(crate) fn label(&self, tick: f64) -> String {
        match self.kind {
            Kind::Percentile => format!("{tick}%"),
            Kind::Linear | Kind::Log => short(tick),
        }
    }
}

/// How many nines a percentile has: 1 of 90, 2 of 99.
fn nines(percentile: f64) -> f64 {
    let rest = (1.0 - percentile / 100.0).max(10f64.powf(-NINES));
    -rest.log10()
}

/// A step of 1, 2 or 5 times a power of ten that divides a length into a few parts.
fn step(length: f64) -> f64 {
    let rough = length / TICKS;
    let decade = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| decade * factor >= rough * 0.999);
    decade * factor.unwrap_or(10.0)
}

/// A number in few characters.
pub(crate) fn short(number: f64) -> String {
    let (number, unit) = match number.abs() {
        size if size >= 1e6 => (number / 1e6, "M"),
        size if size >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    // Floating point leaves crumbs: three decimals are more than any tick needs.
    let text = format!("{number:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_at_a_round_number() {
        let scale = Scale::over(Kind::Linear, [3.0, 87.0].into_iter());
        assert_eq!(scale.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(scale.place(50.0), 0.5);
    }

    #[test]
    fn powers_of_ten_are_evenly_apart() {
        let scale = Scale::over(Kind::Log, [15.0, 900.0].into_iter());
        assert_eq!(scale.ticks(), [10.0, 100.0, 1_000.0]);
        assert!((scale.place(100.0) - 0.5).abs() < 1e-9);
        assert_eq!((scale.place(1.0), scale.place(5_000.0)), (0.0, 1.0));
    }

    #[test]
    fn each_nine_of_a_percentile_is_as_far_as_the_one_before() {
        let scale = Scale::over(Kind::Percentile, [50.0, 99.99].into_iter());
        assert_eq!(scale.ticks(), [50.0, 90.0, 99.0, 99.9, 99.99]);
        for (percentile, place) in [(0.0, 0.0), (90.0, 0.25), (99.0, 0.5), (99.9, 0.75)] {
            assert!((scale.place(percentile) - place).abs() < 1e-6, "{percentile}");
        }
        // That of the maximum has no end.
        assert_eq!(Scale::over(Kind::Percentile, [100.0].into_iter()).place(100.0), 1.0);
    }

    #[test]
    fn an_axis_without_values_or_with_one_has_a_length() {
        for kind in [Kind::Linear, Kind::Log, Kind::Percentile] {
            for values in [&[][..], &[10.0], &[0.0]] {
                let scale = Scale::over(kind, values.iter().copied());
                assert!(scale.to > scale.from, "{kind:?} of {values:?}");
                assert!(scale.place(10.0).is_finite() && scale.ticks().len() >= 2);
            }
        }
    }

    #[test]
    fn negative_values_are_on_a_linear_axis_too() {
        let scale = Scale::over(Kind::Linear, [-3.0, 4.0].into_iter());
        assert_eq!((scale.from, scale.to), (-4.0, 4.0));
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.5, 10.0, 1_000.0, 2_500_000.0, 0.30000000000000004].map(short);
        assert_eq!(texts, ["0.5", "10", "1k", "2.5M", "0.3"]);
    }
}
