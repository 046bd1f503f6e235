//! The one clock of the process. Every shard reads it once per turn.

use fletch_engine::Time;
use std::sync::OnceLock;
use std::time::Instant;

static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// Monotonic time since an origin that all threads of the process share.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// The process's clock. Its origin is a little before the first call, so that no time read
    /// from it is zero.
    pub fn new() -> Clock {
        let origin = *ORIGIN.get_or_init(|| {
            let now = Instant::now();
            now.checked_sub(std::time::Duration::from_secs(1)).unwrap_or(now)
        });
        Clock { origin }
    }

    /// Reads it.
    pub fn now(&self) -> Time {
        Time(self.origin.elapsed().as_nanos() as u64)
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}
