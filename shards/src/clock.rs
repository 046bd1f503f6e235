//! The one clock of the process. Every shard reads it once per turn.

use fletch_engine::Time;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

static ORIGIN: OnceLock<(Instant, u64)> = OnceLock::new();

/// Monotonic time that all threads of the process share, counted from the UNIX epoch as the system had
/// it when the process began: so a time that one run has noted, such as when a message expires, means
/// the same to the next.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// What the time was then, in nanoseconds.
    at: u64,
}

impl Clock {
    /// The process's clock.
    pub fn new() -> Clock {
        let (origin, at) = *ORIGIN.get_or_init(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            // A clock set to before 1970 is as good as one set to it; no time is zero.
            let at = since.map_or(1, |since| u64::try_from(since.as_nanos()).unwrap_or(1));
            (Instant::now(), at.max(1))
        });
        Clock { origin, at }
    }

    /// Reads it.
    pub fn now(&self) -> Time {
        Time(self.at.saturating_add(self.origin.elapsed().as_nanos() as u64))
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}
