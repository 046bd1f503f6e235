//! What a shard does when it has nothing to do: sleep, spin for a while and sleep, or spin.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// The idle strategy of the shards: latency against processor time and power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleStrategy {
    /// Sleep in the kernel at once.
    #[default]
    Park,
    /// Poll for this long after the last work, then sleep.
    Spin(Duration),
    /// Never sleep: the core is the shard's.
    Busy,
}

impl IdleStrategy {
    /// How long to poll before sleeping.
    pub(crate) fn spin(self) -> Duration {
        match self {
            IdleStrategy::Park => Duration::ZERO,
            IdleStrategy::Spin(duration) => duration,
            IdleStrategy::Busy => Duration::MAX,
        }
    }
}

/// Not an idle strategy.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdleStrategyError {
    /// None of the known names.
    #[error("unknown idle strategy `{0}`: use `park`, `spin:DURATION` (as `spin:50us`) or `busy`")]
    Unknown(String),
    /// `spin:` with a bad duration.
    #[error("idle strategy `spin`: {0}")]
    Duration(#[from] DurationError),
}

impl FromStr for IdleStrategy {
    type Err = IdleStrategyError;

    fn from_str(text: &str) -> Result<IdleStrategy, IdleStrategyError> {
        match text.split_once(':') {
            None if text == "park" => Ok(IdleStrategy::Park),
            None if text == "busy" => Ok(IdleStrategy::Busy),
            Some(("spin", duration)) => Ok(IdleStrategy::Spin(parse_duration(duration)?)),
            _ => Err(IdleStrategyError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for IdleStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdleStrategy::Park => f.write_str("park"),
            IdleStrategy::Busy => f.write_str("busy"),
            IdleStrategy::Spin(duration) => {
                let nanos = duration.as_nanos();
                let (unit, name) = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")]
                    .into_iter()
                    .find(|(unit, _)| nanos >= *unit && nanos % unit == 0)
                    .unwrap_or((1, "ns"));
                write!(f, "spin:{}{name}", nanos / unit)
            }
        }
    }
}

/// Not a duration.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a duration: use a whole number and a unit of ns, us, ms, s or m (as `50us`)")]
pub struct DurationError(String);

/// Reads `50us`, `10ms`, `1s`, `2m`.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let bad = || DurationError(text.to_owned());
    let count: u64 = text[..digits].parse().map_err(|_| bad())?;
    let unit: u64 = match &text[digits..] {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        _ => return Err(bad()),
    };
    count.checked_mul(unit).map(Duration::from_nanos).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_read_and_written() {
        for text in ["park", "busy", "spin:50us", "spin:10ms", "spin:1s", "spin:1500ns"] {
            assert_eq!(text.parse::<IdleStrategy>().map(|s| s.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("spin:1000us".parse::<IdleStrategy>().unwrap().to_string(), "spin:1ms");
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for text in ["", "spin", "spin:", "spin:5", "spin:us", "spin:-1us", "park:1s", "yield"] {
            let error = text.parse::<IdleStrategy>().unwrap_err().to_string();
            assert!(error.contains("50us"), "{text}: {error}");
        }
        assert!(parse_duration("99999999999999999999s").is_err());
        assert!(parse_duration("18446744073709551615s").is_err());
    }
}
