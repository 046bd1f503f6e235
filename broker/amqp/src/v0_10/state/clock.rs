//! Time as a connection sees it: heartbeats out, silence in, and the deadline of a negotiation.
//!
//! Heartbeats go out at every interval, busy or not: the C++ and Python clients send none of their
//! own accord but echo those of the server, so a consumer that only listens would otherwise look
//! dead to us.

use std::time::Duration;

/// Intervals of silence after which a peer counts as gone.
const SILENT_INTERVALS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a heartbeat.
    Heartbeat,
    /// The peer has been silent for too long.
    Silent,
    /// A negotiation or a close took too long.
    Deadline,
}

#[derive(Debug, Default)]
pub(super) struct Clock {
    /// When the last frame came.
    heard: Duration,
    /// Zero without heartbeats.
    interval: Duration,
    next_heartbeat: Duration,
    deadline: Option<Duration>,
}

impl Clock {
    /// A frame came.
    #[inline]
    pub(super) fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Something must happen by then.
    pub(super) fn set_deadline(&mut self, at: Duration) {
        self.deadline = Some(at);
    }

    pub(super) fn clear_deadline(&mut self) {
        self.deadline = None;
    }

    /// The interval is agreed: `seconds` of it, 0 for none.
    pub(super) fn start_heartbeats(&mut self, seconds: u16) {
        self.interval = Duration::from_secs(seconds.into());
        self.next_heartbeat = self.heard + self.interval;
    }

    pub(super) fn stop_heartbeats(&mut self) {
        self.interval = Duration::ZERO;
    }

    /// The last moment known.
    pub(super) fn now(&self) -> Duration {
        self.heard
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let heartbeat = (!self.interval.is_zero())
            .then(|| self.next_heartbeat.min(self.heard + self.interval * SILENT_INTERVALS));
        match (heartbeat, self.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What is due; called until nothing is.
    pub(super) fn due(&mut self, now: Duration) -> Option<Due> {
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            return Some(Due::Deadline);
        }
        if self.interval.is_zero() {
            return None;
        }
        if self.heard + self.interval * SILENT_INTERVALS <= now {
            if now < self.next_heartbeat + self.interval {
                self.interval = Duration::ZERO;
                return Some(Due::Silent);
            }
            // Our own heartbeat is a whole interval late: it was us who did not run. What the peer
            // sent may still lie in the socket, so it has another interval.
            self.heard = now.saturating_sub(self.interval);
        }
        if self.next_heartbeat <= now {
            // One heartbeat, however late the caller is.
            self.next_heartbeat = now + self.interval;
            return Some(Due::Heartbeat);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn heartbeats_then_silence() {
        let mut clock = Clock::default();
        assert_eq!(clock.next_timeout(), None);
        clock.heard(s(100));
        clock.start_heartbeats(5);
        assert_eq!(clock.next_timeout(), Some(s(105)));
        assert_eq!(clock.due(s(104)), None);
        assert_eq!(clock.due(s(105)), Some(Due::Heartbeat));
        assert_eq!(clock.due(s(105)), None);
        assert_eq!(clock.next_timeout(), Some(s(110)));
        assert_eq!(clock.due(s(110)), Some(Due::Silent));
        assert_eq!(clock.due(s(110)), None);
        assert_eq!(clock.next_timeout(), None);
    }

    #[test]
    fn a_frame_puts_silence_off() {
        let mut clock = Clock::default();
        clock.start_heartbeats(5);
        clock.heard(s(9));
        assert_eq!(clock.due(s(12)), Some(Due::Heartbeat));
        assert_eq!(clock.due(s(16)), None);
        assert_eq!(clock.due(s(19)), Some(Due::Silent));
    }

    #[test]
    fn who_was_asleep_does_not_judge() {
        let mut clock = Clock::default();
        clock.start_heartbeats(5);
        assert_eq!(clock.due(s(60)), Some(Due::Heartbeat));
        assert_eq!(clock.due(s(60)), None);
        assert_eq!(clock.next_timeout(), Some(s(65)));
        assert_eq!(clock.due(s(65)), Some(Due::Silent));
    }

    #[test]
    fn deadline() {
        let mut clock = Clock::default();
        clock.set_deadline(s(10));
        assert_eq!(clock.next_timeout(), Some(s(10)));
        assert_eq!(clock.due(s(9)), None);
        assert_eq!(clock.due(s(10)), Some(Due::Deadline));
        assert_eq!(clock.due(s(11)), None);
    }
}
