//! How long a thread that wants nothing but a processor is kept from it: the part of any latency here that no broker and no
//! client is to blame for.

use super::processors;
use crate::load::track::histogram;
use crate::load::{joined, pin};
use anyhow::Result;
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// Gaps from here on count: a turn of the loop takes some tens of nanoseconds.
const GAP: Duration = Duration::from_micros(1);

/// What a loop that looks at the clock has missed.
pub(crate) struct Hiccups {
    /// The gaps between two looks, in nanoseconds.
    pub(crate) gaps: Histogram<u64>,
    /// All of them together.
    pub(crate) lost: Duration,
    pub(crate) time: Duration,
}

/// Looks at the clock for so long, on the last of the processors that this process may use.
pub(crate) fn measure(time: Duration) -> Result<Hiccups> {
    joined(std::thread::spawn(move || {
        processors()?.last().map_or(Ok(()), |last| pin(*last))?;
        let (mut gaps, mut lost) = (histogram(), Duration::ZERO);
        let start = Instant::now();
        let mut last = start;
        while last - start < time {
            let now = Instant::now();
            let gap = now - last;
            if gap >= GAP {
                gaps.saturating_record(gap.as_nanos() as u64);
                lost += gap;
            }
            last = now;
        }
        Ok(Hiccups { gaps, lost, time: last - start })
    }))
}
