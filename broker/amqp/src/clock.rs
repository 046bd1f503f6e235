//! Time as a connection sees it: signs of life out, silence in, and the deadline of a negotiation.
//!
//! Signs of life (heartbeats of 0-10, empty frames of 1.0) go out at every interval, busy or not: some
//! clients send none of their own accord but echo those of the server, so a consumer that only listens
//! would otherwise look dead to us.

use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send a sign of life.
    Heartbeat,
    /// The peer has been silent for too long.
    Silent,
    /// A negotiation or a close took too long.
    Deadline,
}

#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// When the last frame came.
    heard: Duration,
    /// Between our signs of life; zero for none.
    interval: Duration,
    next_heartbeat: Duration,
    /// Silence after which the peer counts as gone; zero for never.
    silence: Duration,
    deadline: Option<Duration>,
}

impl Clock {
    /// A frame came.
    #[inline]
    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Something must happen by then.
    pub(crate) fn set_deadline(&mut self, at: Duration) {
        self.deadline = Some(at);
    }

    pub(crate) fn clear_deadline(&mut self) {
        self.deadline = None;
    }

    /// Agreed: how often we show that we are alive, and how long the peer may be silent. Zero for neither.
    pub(crate) fn start(&mut self, interval: Duration, silence: Duration) {
        self.interval = interval;
        self.silence = silence;
        self.next_heartbeat = self.heard + interval;
    }

    pub(crate) fn stop(&mut self) {
        self.interval = Duration::ZERO;
        self.silence = Duration::ZERO;
    }

    /// The last moment known.
    pub(crate) fn now(&self) -> Duration {
        self.heard
    }

    pub(crate) fn next_timeout(&self) -> Option<Duration> {
        let heartbeat = (!self.interval.is_zero()).then_some(self.next_heartbeat);
        let silence = (!self.silence.is_zero()).then(|| self.heard + self.silence);
        [heartbeat, silence, self.deadline].into_iter().flatten().min()
    }

    /// What is due; called until nothing is.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Due> {
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            return Some(Due::Deadline);
        }
        let late = now.checked_sub(self.heard + self.silence);
        if let Some(late) = late.filter(|_| !self.silence.is_zero()) {
            if late < self.silence / 2 {
                self.stop();
                return Some(Due::Silent);
            }
            // So late, it was us who did not run. What the peer sent may still lie in the socket, so it
            // has more time.
            self.heard = now.saturating_sub(self.silence / 2);
        }
        if !self.interval.is_zero() && self.next_heartbeat <= now {
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
        clock.start(s(5), s(10));
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
        clock.start(s(5), s(10));
        clock.heard(s(9));
        assert_eq!(clock.due(s(12)), Some(Due::Heartbeat));
        assert_eq!(clock.due(s(16)), None);
        assert_eq!(clock.due(s(19)), Some(Due::Silent));
    }

    #[test]
    fn who_was_asleep_does_not_judge() {
        let mut clock = Clock::default();
        clock.start(s(5), s(10));
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

    #[test]
    fn either_without_the_other() {
        let mut clock = Clock::default();
        clock.start(s(5), Duration::ZERO);
        for at in [5, 100, 200] {
            assert_eq!((clock.due(s(at)), clock.due(s(at))), (Some(Due::Heartbeat), None));
        }
        let mut clock = Clock::default();
        clock.start(Duration::ZERO, s(10));
        assert_eq!((clock.next_timeout(), clock.due(s(9))), (Some(s(10)), None));
        assert_eq!(clock.due(s(10)), Some(Due::Silent));
    }
}
