//! Latencies: percentiles in words, in JSON and as a picture.

use hdrhistogram::Histogram;

/// Latencies in nanoseconds, to three digits.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    histogram: Histogram<u64>,
}

/// Percentiles that are shown, with their names.
pub(super) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3)
            .expect("a minute of nanoseconds in three digits is within the library's bounds");
        Latencies { histogram }
    }
}

impl Latencies {
    /// One more; what is longer than a minute counts as a minute.
    pub(super) fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds);
    }

    /// Takes in those of another.
    pub(super) fn add(&mut self, other: &Latencies) {
        // Both have the same bounds, so that everything fits.
        let _ = self.histogram.add(&other.histogram);
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.histogram.reset();
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Nanoseconds at a percentile.
    pub(super) fn at(&self, percentile: f64) -> u64 {
        self.histogram.value_at_percentile(percentile)
    }

    /// The least.
    pub(super) fn min(&self) -> u64 {
        self.histogram.min()
    }

    /// The mean.
    pub(super) fn mean(&self) -> f64 {
        self.histogram.mean()
    }

    /// Microseconds, by names that need no explanation.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        serde_json::json!({
            "min": us(self.min()),
            "mean": self.mean() / 1e3,
            "p50": us(self.at(50.0)),
            "p90": us(self.at(90.0)),
            "p99": us(self.at(99.0)),
            "p99.9": us(self.at(99.9)),
            "max": us(self.at(100.0)),
        })
    }

    /// The distribution, a line per bucket; each bucket reaches to 1, 2, 5, 10, 20, 50... of a unit.
    pub(super) fn picture(&self, width: usize) -> Vec<String> {
        let mut buckets: Vec<(u64, u64)> = Vec::new();
        let (mut step, mut low) = ([1, 2, 5].into_iter().cycle(), 0u64);
        let mut scale = 1_000u64;
        while low < self.at(100.0) {
            let factor = step.next().unwrap_or(1);
            let high = factor * scale;
            if factor == 5 {
                scale *= 10;
            }
            buckets.push((high, self.histogram.count_between(low, high - 1)));
            low = high;
        }
        let first = buckets.iter().position(|(_, count)| *count > 0).unwrap_or(0);
        let buckets = &buckets[first..];
        let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        let total = self.count().max(1) as f64;
        let line = |(high, count): &(u64, u64)| {
            let share = *count as f64 / total * 100.0;
            // Anything at all is worth a mark.
            let bar = (*count as f64 / most as f64 * width as f64).ceil() as usize;
            format!("  < {:>8}  {share:>6.2} %  {}", duration(*high), "#".repeat(bar))
                .trim_end()
                .to_owned()
        };
        buckets.iter().map(line).collect()
    }
}

/// A duration in three digits and the unit that fits: `12.3 us`.
pub(super) fn duration(nanoseconds: u64) -> String {
    let value = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        0..1_000 => (value, "ns"),
        1_000..1_000_000 => (value / 1e3, "us"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let digits = if value >= 100.0 || unit == "ns" {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// A number with its thousands apart: `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_234), "1.23 us");
        assert_eq!(duration(12_345_678), "12.3 ms");
        assert_eq!(duration(2_000_000_000), "2.00 s");
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn the_picture_has_every_message_and_lines_up() {
        let mut latencies = Latencies::default();
        for _ in 0..90 {
            latencies.record(15_000);
        }
        for _ in 0..10 {
            latencies.record(130_000);
        }
        let picture = latencies.picture(20);
        let expected = [
            "  <  20.0 us   90.00 %  ####################",
            "  <  50.0 us    0.00 %",
            "  <   100 us    0.00 %",
            "  <   200 us   10.00 %  ###",
        ];
        assert_eq!(picture, expected);
        assert!(Latencies::default().picture(20).is_empty());
    }
}
