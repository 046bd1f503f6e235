//! The rings between shards: one single-producer ring for each ordered pair, built before any
//! shard runs.
//!
//! Order holds per pair: once a frame waits in an outbox, later ones queue up behind it. A
//! receiver that makes room in a ring its sender found full wakes the sender; both directions use
//! the sleep flag, so nothing is signalled while both sides are busy. A shard always drains its
//! inlets, whatever its own outboxes look like: no cycle of waiting can form.

use crate::signal::Signal;
use crate::stats::{ShardStats, add};
use crate::wake::SleepFlag;
use fletch_engine::ShardId;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The sending end towards one shard.
struct Outlet<F> {
    ring: Producer<F>,
    /// Frames that found the ring full, oldest first.
    outbox: VecDeque<F>,
    /// Announced while the outbox waits for room.
    blocked: Arc<SleepFlag>,
    receiver: Arc<Signal>,
    /// Something was pushed that the receiver was not told about.
    untold: bool,
}

impl<F> Outlet<F> {
    /// Moves from the outbox to the ring what fits. True if anything moved.
    fn advance(&mut self) -> bool {
        let mut moved = false;
        while let Some(frame) = self.outbox.pop_front() {
            match self.ring.push(frame) {
                Ok(()) => moved = true,
                Err(PushError::Full(frame)) => {
                    self.outbox.push_front(frame);
                    break;
                }
            }
        }
        self.untold |= moved;
        moved
    }
}

/// The sending ends of one shard.
pub(crate) struct Outlets<F> {
    /// By shard; none for the shard itself.
    peers: Vec<Option<Outlet<F>>>,
    waiting: usize,
    mark: usize,
    congested: bool,
}

impl<F> Outlets<F> {
    /// Sends to another shard. The receiver is told at the next `flush`.
    pub(crate) fn send(&mut self, to: ShardId, frame: F, stats: &ShardStats) {
        let Some(Some(outlet)) = self.peers.get_mut(to.index()) else {
            debug_assert!(false, "frame for shard {to}, which does not exist");
            tracing::error!("frame for shard {to}, which does not exist, is dropped");
            return;
        };
        add(&stats.frames_sent, 1);
        let overflow = if outlet.outbox.is_empty() {
            match outlet.ring.push(frame) {
                Ok(()) => None,
                Err(PushError::Full(frame)) => Some(frame),
            }
        } else {
            Some(frame)
        };
        match overflow {
            None => outlet.untold = true,
            Some(frame) => {
                outlet.outbox.push_back(frame);
                self.waiting += 1;
                if self.waiting > self.mark && !self.congested {
                    self.congested = true;
                    add(&stats.congestions, 1);
                }
            }
        }
    }

    /// Moves waiting frames as far as there is room and wakes the receivers that sleep. True if
    /// the outboxes have just fallen under half their mark after having been over it.
    pub(crate) fn flush(&mut self, stats: &ShardStats) -> bool {
        if self.waiting > 0 {
            self.waiting = 0;
            for outlet in self.peers.iter_mut().flatten() {
                if outlet.outbox.is_empty() {
                    continue;
                }
                outlet.advance();
                if !outlet.outbox.is_empty() {
                    outlet.blocked.announce();
                    // Room made before the announcement is not told of: look again.
                    if outlet.advance() && outlet.outbox.is_empty() {
                        outlet.blocked.retract();
                    }
                }
                self.waiting += outlet.outbox.len();
            }
            stats.outbox_frames.store(self.waiting as u64, Relaxed);
        }
        for outlet in self.peers.iter_mut().flatten() {
            if outlet.untold {
                outlet.untold = false;
                if outlet.receiver.notify() {
                    add(&stats.signals, 1);
                }
            }
        }
        let relieved = self.congested && self.waiting <= self.mark / 2;
        self.congested &= !relieved;
        relieved
    }

    /// The outboxes are over their mark.
    pub(crate) fn congested(&self) -> bool {
        self.congested
    }

    /// Frames wait and there is room for one. To be looked at again before sleeping: the receiver
    /// that made the room may have seen this shard still awake.
    pub(crate) fn can_advance(&self) -> bool {
        self.waiting > 0
            && self.peers.iter().flatten().any(|o| !o.outbox.is_empty() && !o.ring.is_full())
    }

    /// The number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.peers.len()
    }
}

/// The receiving end from one shard.
pub(crate) struct Inlet<F> {
    pub(crate) from: ShardId,
    ring: Consumer<F>,
    /// Announced by the sender while its outbox waits for room here.
    blocked: Arc<SleepFlag>,
    sender: Arc<Signal>,
}

impl<F> Inlet<F> {
    pub(crate) fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Takes up to `limit` frames out of the ring at once. Returns how many there were.
    pub(crate) fn drain(&mut self, limit: usize, mut each: impl FnMut(F)) -> usize {
        let count = self.ring.slots().min(limit);
        if count == 0 {
            return 0;
        }
        let Ok(chunk) = self.ring.read_chunk(count) else { return 0 };
        for frame in chunk {
            each(frame);
        }
        if self.blocked.claim() {
            self.sender.notify();
        }
        count
    }
}

/// All ends of one shard.
pub(crate) struct Port<F> {
    pub(crate) outlets: Outlets<F>,
    pub(crate) inlets: Vec<Inlet<F>>,
}

/// Builds the ports of all shards: `capacity` frames per ring, `mark` waiting frames per shard.
pub(crate) fn mesh<F>(signals: &[Arc<Signal>], capacity: usize, mark: usize) -> Vec<Port<F>> {
    let shards = signals.len();
    let mut ports: Vec<Port<F>> = (0..shards)
        .map(|_| Port {
            outlets: Outlets {
                peers: (0..shards).map(|_| None).collect(),
                waiting: 0,
                mark,
                congested: false,
            },
            inlets: Vec::with_capacity(shards.saturating_sub(1)),
        })
        .collect();
    for from in 0..shards {
        for to in (0..shards).filter(|&to| to != from) {
            let (producer, consumer) = RingBuffer::new(capacity);
            let blocked = Arc::new(SleepFlag::default());
            ports[from].outlets.peers[to] = Some(Outlet {
                ring: producer,
                outbox: VecDeque::new(),
                blocked: blocked.clone(),
                receiver: signals[to].clone(),
                untold: false,
            });
            ports[to].inlets.push(Inlet {
                from: ShardId(from as u16),
                ring: consumer,
                blocked,
                sender: signals[from].clone(),
            });
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(capacity: usize, mark: usize) -> (Port<u32>, Port<u32>, Vec<Arc<Signal>>) {
        let signals: Vec<_> = (0..2).map(|_| Arc::new(Signal::new().unwrap())).collect();
        let mut ports = mesh(&signals, capacity, mark).into_iter();
        (ports.next().unwrap(), ports.next().unwrap(), signals)
    }

    #[test]
    fn a_full_ring_keeps_order_and_says_so() {
        let (mut a, mut b, _signals) = pair(4, 8);
        let stats = ShardStats::default();
        for n in 0..12 {
            a.outlets.send(ShardId(1), n, &stats);
        }
        assert!(!a.outlets.congested(), "eight wait: at the mark, not over it");
        a.outlets.send(ShardId(1), 12, &stats);
        assert!(a.outlets.congested());
        assert!(!a.outlets.flush(&stats), "nothing has moved yet");
        assert_eq!(stats.outbox_frames(), 9);

        let mut seen = Vec::new();
        assert_eq!(b.inlets[0].drain(3, |n| seen.push(n)), 3);
        assert!(!a.outlets.flush(&stats), "six wait: still over half the mark");
        assert!(a.outlets.congested());
        assert_eq!(b.inlets[0].drain(100, |n| seen.push(n)), 4);
        assert!(a.outlets.flush(&stats), "two wait: relieved, once");
        assert!(!a.outlets.congested());
        assert!(!a.outlets.flush(&stats));
        a.outlets.send(ShardId(1), 13, &stats);
        while a.outlets.waiting > 0 || !b.inlets[0].is_empty() {
            b.inlets[0].drain(2, |n| seen.push(n));
            a.outlets.flush(&stats);
        }
        assert_eq!(seen, (0..14).collect::<Vec<_>>());
        assert_eq!((stats.congestions(), stats.frames_sent()), (1, 14));
    }

    #[test]
    fn room_in_a_full_ring_wakes_a_sleeping_sender() {
        let (mut a, mut b, signals) = pair(2, 100);
        let stats = ShardStats::default();
        for n in 0..5 {
            a.outlets.send(ShardId(1), n, &stats);
        }
        a.outlets.flush(&stats);
        signals[0].sleep.announce();
        b.inlets[0].drain(1, drop);
        assert!(!signals[0].sleep.claim(), "the receiver has claimed it and signalled");
        a.outlets.flush(&stats);
        signals[0].sleep.announce();
        b.inlets[0].drain(2, drop);
        assert!(!signals[0].sleep.claim());
    }

    #[test]
    fn only_a_sleeping_receiver_is_signalled() {
        let (mut a, _b, signals) = pair(64, 100);
        let stats = ShardStats::default();
        a.outlets.send(ShardId(1), 1, &stats);
        a.outlets.flush(&stats);
        assert_eq!(stats.signals(), 0);
        signals[1].sleep.announce();
        a.outlets.send(ShardId(1), 2, &stats);
        a.outlets.send(ShardId(1), 3, &stats);
        a.outlets.flush(&stats);
        a.outlets.send(ShardId(1), 4, &stats);
        a.outlets.flush(&stats);
        assert_eq!(stats.signals(), 1);
    }
}
