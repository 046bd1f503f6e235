//! Producer flow control: while a queue is fuller than it should be, publishes to it are not completed, so
//! that a client which waits for completions stops. The messages are in the queue all the same.
//!
//! It begins above the stop threshold of either unit and ends below the resume thresholds of both. A publish
//! that is held back is released when it ends, or when its message leaves the queue.

use super::limit::Level;
use super::settings::{Policy, QueueDefaults, QueueSettings};
use crate::ids::{Position, ShardId};
use std::collections::BTreeMap;

/// A publish under way: which one of which shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The shard of its session.
    pub shard: ShardId,
    /// That shard's number for it.
    pub slot: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flow {
    stop: Level,
    resume: Level,
    stopped: bool,
    /// How often it has begun.
    times: u64,
    held: BTreeMap<Position, Publisher>,
}

/// What comes of a message that came or left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Stopped,
    Resumed,
}

impl Flow {
    /// None if the queue never holds anybody.
    pub(super) fn of(settings: &QueueSettings, defaults: &QueueDefaults) -> Option<Flow> {
        if settings.policy == Policy::Ring {
            return None; // Limited by what it displaces.
        }
        let max = Level::most(settings, defaults);
        // Thresholds are of the reference: the upper one is rounded, the lower one cut.
        let part = |of: Option<u64>, percent: u8, half: u128| {
            let part = of.map(|max| (u128::from(max) * u128::from(percent) + half) / 100);
            part.and_then(|n| u64::try_from(n).ok())
        };
        let unit = |stop: Option<u64>, resume: Option<u64>, max: Option<u64>| {
            let stop = stop.or_else(|| part(max, defaults.flow_stop, 50)).filter(|n| *n > 0)?;
            let resume = resume.or_else(|| part(max, defaults.flow_resume, 0));
            // A default above the queue's own stop threshold is meant to be no more than that.
            Some((stop, resume.filter(|n| *n > 0).unwrap_or(stop).min(stop)))
        };
        let (stop, resume) = (settings.flow_stop, settings.flow_resume);
        let count = unit(stop.count, resume.count, max.count);
        let size = unit(stop.size, resume.size, max.size);
        (count.is_some() || size.is_some()).then(|| Flow {
            stop: Level { count: count.map(|c| c.0), size: size.map(|s| s.0) },
            resume: Level { count: count.map(|c| c.1), size: size.map(|s| s.1) },
            stopped: false,
            times: 0,
            held: BTreeMap::new(),
        })
    }

    /// The depth up to which neither what comes nor what leaves matters.
    pub(super) fn stops_above(&self) -> Option<Level> {
        (!self.stopped).then_some(self.stop)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// How often it has begun.
    pub(super) fn times(&self) -> u64 {
        self.times
    }

    /// Publishes that are held back.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// A message has come: so full is the queue now.
    pub(super) fn arrived(&mut self, count: u64, size: u64) -> Option<Change> {
        if self.stopped || !self.stop.is_exceeded_by(count, size) {
            return None;
        }
        self.stopped = true;
        self.times += 1;
        Some(Change::Stopped)
    }

    /// The message at a position has left: so full is the queue now, and these go on.
    pub(super) fn left(
        &mut self,
        position: Position,
        (count, size): (u64, u64),
        mut release: impl FnMut(Publisher),
    ) -> Option<Change> {
        if !self.stopped {
            return None;
        }
        if !self.resume.is_undercut_by(count, size) {
            self.held.remove(&position).map(release);
            return None;
        }
        self.stopped = false;
        std::mem::take(&mut self.held).into_values().for_each(&mut release);
        Some(Change::Resumed)
    }

    /// Holds a publish back for the sake of its message at a position.
    pub(super) fn hold(&mut self, position: Position, publisher: Publisher) {
        debug_assert!(self.stopped, "held without a reason");
        self.held.insert(position, publisher);
    }

    /// Lets everybody go on: the queue is deleted.
    pub(super) fn end(&mut self) -> impl Iterator<Item = Publisher> + use<> {
        self.stopped = false;
        std::mem::take(&mut self.held).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_amqp::types::{Map, Value};

    const DEFAULTS: QueueDefaults =
        QueueDefaults { limit: 104_857_600, ..QueueDefaults::UNLIMITED };

    fn flow_with(defaults: &QueueDefaults, arguments: &[(&str, u64)]) -> Option<Flow> {
        let mut map = Map::new();
        for (name, n) in arguments {
            map.insert(*name, Value::Uint64(*n));
        }
        Flow::of(&QueueSettings::new("q", &map).unwrap(), defaults)
    }

    fn flow(arguments: &[(&str, u64)]) -> Option<Flow> {
        flow_with(&QueueDefaults::UNLIMITED, arguments)
    }

    /// The counts, or sizes, at which it begins and ends, on the way to `top` and back.
    fn turns(flow: &mut Flow, top: u64, of: impl Fn(u64) -> (u64, u64)) -> Vec<(u64, Change)> {
        let up = (1..=top).map(|n| (n, true));
        let all = up.chain((0..top).rev().map(|n| (n, false)));
        all.filter_map(|(n, up)| {
            let (count, size) = of(n);
            let change = match up {
                true => flow.arrived(count, size),
                false => flow.left(n + 1, (count, size), |_| {}),
            };
            change.map(|change| (n, change))
        })
        .collect()
    }

    #[test]
    fn begins_above_and_ends_below() {
        // The manual's first example: on with the 901st message, off when fewer than 500 are left.
        let arguments = [("qpid.flow_stop_count", 900), ("qpid.flow_resume_count", 500)];
        let mut f = flow(&[&[("qpid.max_count", 1000)], &arguments[..]].concat()).unwrap();
        let expected = [(901, Change::Stopped), (499, Change::Resumed)];
        assert_eq!(turns(&mut f, 1000, |n| (n, n)), expected);
        assert_eq!(turns(&mut f, 1000, |n| (n, n)), expected);
        assert_eq!(f.times(), 2);
    }

    #[test]
    fn either_unit_begins_it_and_both_end_it() {
        // The manual's second example: 4,000 messages or 8 KB; 3,000 and 6 KB.
        let arguments = [
            ("qpid.max_count", 5000),
            ("qpid.max_size", 10_000),
            ("qpid.flow_stop_count", 4000),
            ("qpid.flow_resume_count", 3000),
            ("qpid.flow_stop_size", 8000),
            ("qpid.flow_resume_size", 6000),
        ];
        let mut f = flow(&arguments).unwrap();
        assert_eq!(f.arrived(4000, 8000), None);
        assert_eq!(f.arrived(4001, 100), Some(Change::Stopped));
        assert_eq!(f.left(1, (2999, 6000), |_| {}), None, "too many bytes");
        assert_eq!(f.left(2, (3000, 5999), |_| {}), None, "too many messages");
        assert_eq!(f.left(3, (2999, 5999), |_| {}), Some(Change::Resumed));
        assert_eq!(f.arrived(1, 8001), Some(Change::Stopped), "bytes alone");
    }

    #[test]
    fn thresholds_follow_from_limits() {
        let mut f = flow_with(&DEFAULTS, &[]).unwrap();
        assert_eq!((f.stop.count, f.stop.size), (None, Some(83_886_080)));
        assert_eq!((f.resume.count, f.resume.size), (None, Some(73_400_320)));
        f = flow(&[("qpid.max_count", 2)]).unwrap();
        assert_eq!((f.stop.count, f.resume.count), (Some(2), Some(1)), "1.6 and 1.4");
        f = flow(&[("qpid.max_count", 1)]).unwrap();
        assert_eq!((f.stop.count, f.resume.count), (Some(1), Some(1)), "a resume of 0 is the same");
        f = flow(&[("qpid.max_count", 1000), ("qpid.flow_stop_count", 500)]).unwrap();
        assert_eq!((f.stop.count, f.resume.count), (Some(500), Some(500)));
        f = flow_with(&DEFAULTS, &[("qpid.flow_resume_size", 10)]).unwrap();
        assert_eq!((f.stop.size, f.resume.size), (Some(83_886_080), Some(10)));
        let only_own = QueueDefaults { flow_stop: 0, flow_resume: 0, ..DEFAULTS };
        assert!(flow_with(&only_own, &[("qpid.max_count", 10)]).is_none());
        assert!(flow_with(&only_own, &[("qpid.flow_stop_count", 10)]).is_some());
        let off = [("qpid.flow_stop_count", 0), ("qpid.flow_stop_size", 0)];
        assert!(flow_with(&DEFAULTS, &off).is_none());
        assert!(flow(&[]).is_none());
        assert!(flow_with(&DEFAULTS, &[("qpid.max_size", 0)]).is_none(), "no limit, no part of it");
    }

    #[test]
    fn a_message_that_leaves_takes_its_publish_along() {
        let mut f = flow(&[("qpid.flow_stop_count", 2), ("qpid.flow_resume_count", 1)]).unwrap();
        assert_eq!(f.arrived(3, 3), Some(Change::Stopped));
        let publisher = |slot| Publisher { shard: ShardId(0), slot };
        for position in 3..6 {
            f.hold(position, publisher(position as u32));
        }
        let mut gone = Vec::new();
        assert_eq!(f.left(4, (4, 4), |p| gone.push(p.slot)), None);
        assert_eq!(f.left(1, (3, 3), |p| gone.push(p.slot)), None);
        assert_eq!((&gone[..], f.held()), (&[4][..], 2));
        assert_eq!(f.left(2, (0, 0), |p| gone.push(p.slot)), Some(Change::Resumed));
        assert_eq!((&gone[..], f.held()), (&[4, 3, 5][..], 0));
    }
}
