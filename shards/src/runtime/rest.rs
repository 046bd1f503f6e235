//! Whether a shard's processor has time for what else the kernel does there.

use crate::idle::IdleStrategy;
use fletch_engine::Time;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// How long what was seen is taken to hold.
const HOLDS: Duration = Duration::from_millis(1);
/// A thread that rests sleeps for more than this part of the time,
const SLEPT: u32 = 8;
/// and waits for its processor for less than this part.
const WAITED: u32 = 4;

/// What the kernel has counted for a thread.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// Time on a processor.
    ran: Duration,
    /// Time that it was ready to run and another thread did.
    waited: Duration,
}

/// Looks at how a shard's thread spends its time: whether it sleeps some of it, on a processor that nobody else wants.
pub(super) struct Rest {
    /// `/proc/thread-self/schedstat`: none where the kernel has none, or where the shard polls before it sleeps. Such a
    /// one is taken to have no rest: that is for processors that are the shard's own.
    counts: Option<File>,
    seen: Option<(Time, Counted)>,
    rests: bool,
}

impl Rest {
    /// Of the thread that this is made on.
    pub(super) fn new(idle: IdleStrategy) -> Rest {
        let parks = idle.spin().is_zero();
        let counts = parks.then(|| File::open("/proc/thread-self/schedstat").ok()).flatten();
        Rest { counts, seen: None, rests: false }
    }

    /// How it was lately. Reads what the kernel has counted once a millisecond at most.
    pub(super) fn rests(&mut self, now: Time) -> bool {
        if self.counts.is_some() && self.seen.is_none_or(|(then, _)| now.since(then) >= HOLDS) {
            self.rests = self.counted().is_some_and(|counted| self.since(now, counted));
        }
        self.rests
    }

    fn counted(&self) -> Option<Counted> {
        let mut text = [0; 96];
        let len = self.counts.as_ref()?.read_at(&mut text, 0).ok()?;
        let waited = waited(str::from_utf8(&text[..len]).ok()?)?;
        // What the file says of this lags by up to a tick while the thread runs.
        let ran = clock_gettime(ClockId::ThreadCPUTime);
        let ran = Duration::new(ran.tv_sec as u64, ran.tv_nsec as u32);
        Some(Counted { ran, waited })
    }

    fn since(&mut self, now: Time, counted: Counted) -> bool {
        let Some((then, had)) = self.seen.replace((now, counted)) else { return true };
        let passed = now.since(then);
        let ran = counted.ran.saturating_sub(had.ran);
        let waited = counted.waited.saturating_sub(had.waited);
        let slept = passed.saturating_sub(ran + waited);
        slept * SLEPT > passed && waited * WAITED < passed
    }
}

/// Of nanoseconds on a processor, nanoseconds of waiting for one, and how often it got one.
fn waited(text: &str) -> Option<Duration> {
    let nanos = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_rests_if_it_sleeps_and_nobody_else_wants_its_processor() {
        let ms = Duration::from_millis;
        let mut rest = Rest::new(IdleStrategy::Busy);
        let mut at = |now, ran, waited| {
            let counted = Counted { ran: ms(ran), waited: ms(waited) };
            rest.since(Time(0).after(ms(now)), counted)
        };
        assert!(at(100, 10, 0), "nothing is known yet");
        assert!(!at(110, 20, 0), "it has run all the time");
        assert!(at(118, 26, 0));
        assert!(!at(126, 28, 2), "others run there");
        assert!(at(134, 32, 3));
        assert!(!at(142, 35, 6));
        assert!(at(1_142, 36, 7));
    }

    #[test]
    fn the_kernel_counts_for_a_thread_that_parks() {
        let rest = Rest::new(IdleStrategy::Park);
        if rest.counts.is_some() {
            assert!(rest.counted().unwrap().ran > Duration::ZERO);
        }
        assert_eq!(waited("12 7 3\n"), Some(Duration::from_nanos(7)));
        assert!(waited("12 x 3").is_none());
    }
}
