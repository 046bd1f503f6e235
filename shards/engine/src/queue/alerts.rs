//! Thresholds that tell management when a queue fills and when it has emptied again.
//!
//! A threshold is crossed upward once, and again only after it was crossed downward: at the lower threshold,
//! or half of the upper one if there is none. Without lower thresholds the older event comes with it, which
//! is repeated while the queue stays that full, not more often than the gap.

use super::limit::Level;
use super::settings::{QueueDefaults, QueueSettings};
use crate::ids::Time;
use std::time::Duration;

/// The reference's gap between two events of the older kind.
const GAP: Duration = Duration::from_secs(60);

/// What management is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alert {
    Upward,
    Downward,
    Exceeded,
}

/// One unit.
#[derive(Debug)]
struct Threshold {
    up: u64,
    down: u64,
    /// It was crossed upward, and not downward since.
    crossed: bool,
}

impl Threshold {
    fn of(up: Option<u64>, down: Option<u64>) -> Option<Threshold> {
        let up = up.filter(|up| *up > 0)?;
        let down = down.filter(|down| *down > 0 && *down < up).unwrap_or(up / 2);
        Some(Threshold { up, down, crossed: false })
    }

    fn rises(&mut self, to: u64) -> bool {
        to >= self.up && !std::mem::replace(&mut self.crossed, true)
    }

    fn falls(&mut self, to: u64) -> bool {
        to <= self.down && std::mem::replace(&mut self.crossed, false)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    count: Option<Threshold>,
    size: Option<Threshold>,
    /// The gap, if the older event is wanted.
    gap: Option<Duration>,
    exceeded: Time,
}

impl Watch {
    /// None if there is nothing to tell.
    pub(super) fn of(settings: &QueueSettings, defaults: &QueueDefaults) -> Option<Watch> {
        let (up, down) = (settings.alerts.up, settings.alerts.down);
        // Of the queue's own limits only: that is the reference's way.
        let max = Level::own(settings);
        let part = |max: Option<u64>| {
            let part = max.map(|max| u128::from(max) * u128::from(defaults.alert) / 100);
            part.and_then(|n| u64::try_from(n).ok())
        };
        let count = Threshold::of(up.count.or_else(|| part(max.count)), down.count);
        let size = Threshold::of(up.size.or_else(|| part(max.size)), down.size);
        let older = [down.count, down.size].iter().all(|down| down.unwrap_or(0) == 0);
        let gap = older.then(|| settings.alerts.repeat_gap.unwrap_or(GAP));
        let any = count.is_some() || size.is_some();
        any.then_some(Watch { count, size, gap, exceeded: Time(0) })
    }

    /// Messages and bytes from which on there may be something to tell; less than that and nothing is to be
    /// told, whatever comes or leaves.
    pub(super) fn rises_at(&self) -> Option<(u64, u64)> {
        let up = |threshold: &Option<Threshold>| threshold.as_ref().map_or(u64::MAX, |t| t.up);
        let crossed = |threshold: &Option<Threshold>| threshold.as_ref().is_some_and(|t| t.crossed);
        let any = crossed(&self.count) || crossed(&self.size);
        (!any).then(|| (up(&self.count), up(&self.size)))
    }

    /// A message has come: so full is the queue now.
    pub(super) fn arrived(
        &mut self,
        now: Time,
        (count, size): (u64, u64),
        mut tell: impl FnMut(Alert),
    ) {
        let mut above = false;
        for (threshold, to) in [(&mut self.size, size), (&mut self.count, count)] {
            let Some(threshold) = threshold else { continue };
            if threshold.rises(to) {
                tell(Alert::Upward);
                if self.gap.is_some() {
                    tell(Alert::Exceeded);
                    self.exceeded = now;
                }
            }
            above |= to >= threshold.up;
        }
        let again = self.gap.filter(|gap| above && !gap.is_zero());
        if again.is_some_and(|gap| now > self.exceeded.after(gap)) {
            tell(Alert::Exceeded);
            self.exceeded = now;
        }
    }

    /// One has left.
    pub(super) fn left(&mut self, (count, size): (u64, u64), mut tell: impl FnMut(Alert)) {
        for (threshold, to) in [(&mut self.size, size), (&mut self.count, count)] {
            if threshold.as_mut().is_some_and(|threshold| threshold.falls(to)) {
                tell(Alert::Downward);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Alert::{Downward, Exceeded, Upward};
    use fletch_amqp::types::{Map, Value};

    fn watch(alert: u8, arguments: &[(&str, u64)]) -> Option<Watch> {
        let mut map = Map::new();
        for (name, n) in arguments {
            map.insert(*name, Value::Uint64(*n));
        }
        let defaults = QueueDefaults { alert, limit: 1000, ..QueueDefaults::UNLIMITED };
        Watch::of(&QueueSettings::new("q", &map).unwrap(), &defaults)
    }

    /// What is told on the way to `top` and back, of which the queue has just as many messages as bytes.
    fn told(watch: &mut Watch, second: u64, top: u64) -> Vec<(u64, Alert)> {
        let now = Time(second * 1_000_000_000);
        let mut told = Vec::new();
        for n in 1..=top {
            watch.arrived(now, (n, n), |alert| told.push((n, alert)));
        }
        for n in (0..top).rev() {
            watch.left((n, n), |alert| told.push((n, alert)));
        }
        told
    }

    #[test]
    fn up_and_down_again() {
        let arguments = [("qpid.alert_count_up", 10), ("qpid.alert_count_down", 3)];
        let mut w = watch(80, &arguments).unwrap();
        for _ in 0..2 {
            assert_eq!(told(&mut w, 0, 20), [(10, Upward), (3, Downward)]);
        }
        assert_eq!(told(&mut w, 0, 9), []);
        let mut told = Vec::new();
        for n in [10, 9, 10, 4, 10, 3, 10] {
            w.arrived(Time(0), (n, 0), |alert| told.push((n, alert)));
            w.left((n, 0), |alert| told.push((n, alert)));
        }
        assert_eq!(told, [(10, Upward), (3, Downward), (10, Upward)]);
    }

    #[test]
    fn without_a_lower_threshold_the_older_event_comes_too() {
        let mut w = watch(80, &[("qpid.alert_size", 10)]).unwrap();
        assert_eq!(told(&mut w, 0, 12), [(10, Upward), (10, Exceeded), (5, Downward)]);
    }

    #[test]
    fn the_older_event_is_repeated_after_the_gap() {
        let mut w = watch(80, &[("qpid.alert_count", 10), ("qpid.alert_repeat_gap", 5)]).unwrap();
        let mut told = Vec::new();
        for second in 100..112 {
            w.arrived(Time(second * 1_000_000_000), (10, 0), |alert| told.push((second, alert)));
        }
        assert_eq!(told, [(100, Upward), (100, Exceeded), (106, Exceeded)]);
        w.arrived(Time(u64::MAX), (9, 0), |alert| panic!("{alert:?} below it"));
        let mut w = watch(80, &[("qpid.alert_count", 10), ("qpid.alert_repeat_gap", 0)]).unwrap();
        w.arrived(Time(0), (10, 0), |_| {});
        w.arrived(Time(u64::MAX), (10, 0), |alert| panic!("{alert:?} again"));
    }

    #[test]
    fn a_part_of_the_queues_own_limit_is_the_default() {
        assert!(watch(80, &[]).is_none(), "the broker's limit does not count");
        let mut w = watch(80, &[("qpid.max_count", 11)]).unwrap();
        assert_eq!(told(&mut w, 0, 11), [(8, Upward), (8, Exceeded), (4, Downward)]);
        assert!(watch(0, &[("qpid.max_count", 11)]).is_none());
        assert!(watch(80, &[("qpid.max_count", 11), ("qpid.alert_count", 0)]).is_none());
    }
}
