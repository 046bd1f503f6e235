//! How a thread wakes a shard: the sleep flag and the eventfd behind it.
//!
//! One per shard, shared by all who have something for it. The shard keeps a read of the eventfd
//! outstanding in its ring.

use crate::wake::SleepFlag;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::OwnedFd;

/// Wakes one shard.
#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) sleep: SleepFlag,
    eventfd: OwnedFd,
}

impl Signal {
    /// Not nonblocking: the ring must wait for the counter, not fail. Writes never block, since
    /// the counter cannot come near its limit.
    pub(crate) fn new() -> io::Result<Signal> {
        Ok(Signal { sleep: SleepFlag::default(), eventfd: eventfd(0, EventfdFlags::CLOEXEC)? })
    }

    /// Called after something was published for the shard. True if it slept and was signalled.
    pub(crate) fn notify(&self) -> bool {
        let asleep = self.sleep.claim();
        if asleep {
            self.ring();
        }
        asleep
    }

    /// Signals without asking whether the shard sleeps.
    pub(crate) fn ring(&self) {
        // Cannot fail: the descriptor is ours and the counter far from full.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    /// Another descriptor of the same eventfd, for the shard's ring to read.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.eventfd.try_clone()
    }
}
