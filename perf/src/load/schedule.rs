//! When messages are due. The schedule is fixed before the first is sent and does not care how the broker fares: whatever
//! holds a publisher back makes its messages late, none is left out.

/// Nanoseconds since the epoch of a run.
pub(crate) type Nanos = u64;

pub(crate) const SECOND: Nanos = 1_000_000_000;

/// The due times of the messages of some of the producers that share a rate. Message `k` of all is due `k / rate` seconds
/// after the start and is sent by producer `k` modulo the producers, so theirs stand evenly between each other's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Schedule {
    start: Nanos,
    /// Messages per second of all producers together.
    rate: f64,
    producers: u64,
}

impl Schedule {
    /// For so many producers together.
    pub(crate) fn new(start: Nanos, rate: f64, producers: usize) -> Schedule {
        Schedule { start, rate, producers: producers as u64 }
    }

    /// When a producer's message is due, counted from 0.
    pub(crate) fn due(&self, producer: usize, message: u64) -> Nanos {
        let of_all = message * self.producers + producer as u64;
        self.start + (of_all as f64 * SECOND as f64 / self.rate) as Nanos
    }

    /// How many messages of a producer are due before a time.
    pub(crate) fn count_before(&self, producer: usize, time: Nanos) -> u64 {
        let of_all = time.saturating_sub(self.start) as f64 * self.rate / SECOND as f64;
        // What rounding may be wrong by is less than one message to either side.
        let mut count = (of_all as u64 / self.producers).saturating_sub(1);
        while self.due(producer, count) < time {
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_producer_are_evenly_apart_for_hours() {
        let schedule = Schedule::new(7, 250_000.0, 1);
        assert_eq!(schedule.due(0, 0), 7);
        assert_eq!(schedule.due(0, 1), 4_007);
        assert_eq!(schedule.due(0, 250_000 * 3_600 * 10), 7 + 36_000 * SECOND);
    }

    #[test]
    fn producers_stand_between_each_other() {
        let schedule = Schedule::new(0, 1_000.0, 4);
        let dues: Vec<Nanos> =
            (0..2).flat_map(|k| (0..4).map(move |p| schedule.due(p, k))).collect();
        let even: Vec<Nanos> = (0..8).map(|k| k * SECOND / 1_000).collect();
        assert_eq!(dues, even);
    }

    #[test]
    fn what_is_due_before_a_time_is_counted_exactly() {
        let schedule = Schedule::new(100, 3.0, 2);
        for producer in 0..2 {
            for time in [0, 100, 101, SECOND, SECOND + 100, 10 * SECOND + 100, 10 * SECOND + 101] {
                let count = schedule.count_before(producer, time);
                let dues = (0..100).map(|k| schedule.due(producer, k));
                assert_eq!(count, dues.filter(|due| *due < time).count() as u64, "{time}");
            }
        }
    }

    #[test]
    fn a_rate_that_does_not_divide_a_second_does_not_drift() {
        let schedule = Schedule::new(0, 3.0, 1);
        assert_eq!(schedule.due(0, 3_000_000), 1_000_000 * SECOND);
    }
}
