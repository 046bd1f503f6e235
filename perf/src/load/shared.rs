//! What the threads of a run tell each other, and the clock that they share.

use super::flow::Topology;
use super::schedule::Nanos;
use super::track::Window;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long after its making a run starts: its threads are running by then.
const LEAD: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Shared {
    epoch: Instant,
    /// When the first message is due.
    pub(crate) start: Nanos,
    /// Messages due in here count.
    pub(crate) window: Window,
    publishing: AtomicBool,
    consuming: AtomicBool,
    /// By each producer.
    sent: Vec<AtomicU64>,
    /// Of those sent, how many each consumer must get is by the topology.
    received: Vec<AtomicU64>,
    topology: Topology,
}

impl Shared {
    /// For a run that begins now and counts after a while, for a while.
    pub(crate) fn new(topology: Topology, warm_up: Duration, time: Duration) -> Shared {
        let start = LEAD.as_nanos() as Nanos;
        let from = start + warm_up.as_nanos() as Nanos;
        let counters = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Shared {
            epoch: Instant::now(),
            start,
            window: Window { from, until: from + time.as_nanos() as Nanos },
            publishing: AtomicBool::new(true),
            consuming: AtomicBool::new(true),
            sent: counters(topology.producers()),
            received: counters(topology.consumers()),
            topology,
        }
    }

    /// Nanoseconds since the epoch.
    pub(crate) fn now(&self) -> Nanos {
        self.epoch.elapsed().as_nanos() as Nanos
    }

    /// Sleeps until then.
    pub(crate) fn sleep_until(&self, then: Nanos) {
        std::thread::sleep(Duration::from_nanos(then.saturating_sub(self.now())));
    }

    pub(crate) fn consuming(&self) -> bool {
        self.consuming.load(Ordering::Relaxed)
    }

    pub(crate) fn stop_consuming(&self) {
        self.consuming.store(false, Ordering::Relaxed);
    }

    /// After consumers have ended, others begin.
    pub(crate) fn consume_again(&self) {
        self.consuming.store(true, Ordering::Relaxed);
    }

    pub(crate) fn publishing(&self) -> bool {
        self.publishing.load(Ordering::Relaxed)
    }

    /// Before the time is over.
    pub(crate) fn stop_publishing(&self) {
        self.publishing.store(false, Ordering::Relaxed);
    }

    /// A producer has sent more.
    pub(crate) fn add_sent(&self, producer: usize, more: u64) {
        self.sent[producer].fetch_add(more, Ordering::Relaxed);
    }

    /// A consumer has received more.
    pub(crate) fn add_received(&self, consumer: usize, more: u64) {
        self.received[consumer].fetch_add(more, Ordering::Relaxed);
    }

    /// By all producers together.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.iter().map(|sent| sent.load(Ordering::Relaxed)).sum()
    }

    /// By all consumers together.
    pub(crate) fn received(&self) -> u64 {
        self.received.iter().map(|received| received.load(Ordering::Relaxed)).sum()
    }

    /// Of what this producer sent, or all who send to the same queue, how much is on its way to some consumer.
    pub(crate) fn under_way(&self, producer: usize) -> u64 {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (sent, received) = match self.topology {
            Topology::Pairs(_) => (load(&self.sent[producer]), load(&self.received[producer])),
            Topology::FanOut(_) => {
                (load(&self.sent[0]), self.received.iter().map(load).min().unwrap_or(0))
            }
            Topology::FanIn(_) => (self.sent(), load(&self.received[0])),
        };
        sent.saturating_sub(received)
    }

    /// Whether every consumer has all that was sent to it.
    pub(crate) fn is_drained(&self) -> bool {
        self.received() >= self.sent() * self.topology.copies()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(topology: Topology) -> Shared {
        Shared::new(topology, Duration::ZERO, Duration::from_secs(1))
    }

    #[test]
    fn under_way_is_what_the_slowest_of_the_copies_lacks() {
        let shared = shared(Topology::FanOut(2));
        shared.add_sent(0, 10);
        shared.add_received(0, 10);
        shared.add_received(1, 4);
        assert_eq!(shared.under_way(0), 6);
        assert!(!shared.is_drained());
        shared.add_received(1, 6);
        assert!(shared.is_drained());
    }

    #[test]
    fn producers_of_one_queue_share_what_is_under_way_and_pairs_do_not() {
        let fan_in = shared(Topology::FanIn(2));
        fan_in.add_sent(0, 3);
        fan_in.add_sent(1, 4);
        fan_in.add_received(0, 2);
        assert_eq!((fan_in.under_way(0), fan_in.under_way(1)), (5, 5));
        let pairs = shared(Topology::Pairs(2));
        pairs.add_sent(0, 3);
        pairs.add_sent(1, 4);
        pairs.add_received(1, 4);
        assert_eq!((pairs.under_way(0), pairs.under_way(1)), (3, 0));
    }
}
