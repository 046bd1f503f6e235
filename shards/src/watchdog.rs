//! The thread that checks every shard's tick.
//!
//! The event loop can sleep while tasks are ready (its preemption timer ends before the first of
//! them has run). A shard whose counters have not moved since the last look is therefore
//! touched: a task of its executor is woken from outside, which works in every state of the
//! loop. If work that had waited runs before that task, it was a rescue, and is counted. A shard
//! that does not answer a touch for `stall_limit` is stuck, and is reported.

use crate::stats::{ShardStats, add};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the watchdog and one shard share.
#[derive(Debug)]
pub(crate) struct Touch {
    stats: Arc<ShardStats>,
    /// Touched, and not answered yet.
    pending: AtomicBool,
    /// The shard's activity when it was touched.
    seen: AtomicU64,
    /// Of the shard's touch task, from its first poll until the shard ends.
    waker: Mutex<Option<Waker>>,
}

impl Touch {
    pub(crate) fn new(stats: Arc<ShardStats>) -> Touch {
        Touch {
            stats,
            pending: AtomicBool::new(false),
            seen: AtomicU64::new(0),
            waker: Mutex::new(None),
        }
    }

    /// The shard's touch task: on each touch tells whether it was a rescue. `Ready` at the end.
    pub(crate) fn poll(&self, cx: &Context<'_>, ended: bool, on_touch: impl FnOnce()) -> Poll<()> {
        if self.pending.swap(false, Acquire) {
            if self.seen.load(Relaxed) != self.stats.activity.load(Relaxed) {
                add(&self.stats.rescues, 1);
            }
            on_touch();
        }
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if ended {
            *waker = None;
            return Poll::Ready(());
        }
        waker.get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }

    /// Wakes the touch task. From the shard's own thread or any other.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    fn touch(&self, activity: u64) {
        self.seen.store(activity, Relaxed);
        self.pending.store(true, Release);
        self.wake();
    }
}

/// What the watchdog remembers of one shard.
struct Watched {
    touch: Arc<Touch>,
    activity: u64,
    unanswered_since: Option<Instant>,
    /// Touches since the last answer.
    touches: u32,
    reported: bool,
}

/// Touches without an answer. Each may hold a clone of the waker, which the event loop counts in
/// 16 bits.
const MOST_TOUCHES: u32 = 10_000;

/// The running thread.
pub(crate) struct Watchdog {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    pub(crate) fn start(
        touches: Vec<Arc<Touch>>,
        interval: Duration,
        stall_limit: Duration,
    ) -> std::io::Result<Watchdog> {
        let (stop, stopped) = mpsc::channel();
        let mut shards: Vec<Watched> = touches
            .into_iter()
            .map(|touch| Watched {
                touch,
                activity: 0,
                unanswered_since: None,
                touches: 0,
                reported: false,
            })
            .collect();
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                for (shard, watched) in shards.iter_mut().enumerate() {
                    watched.look(shard, stall_limit);
                }
            }
        })?;
        Ok(Watchdog { stop, thread })
    }

    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

impl Watched {
    fn look(&mut self, shard: usize, stall_limit: Duration) {
        let activity = self.touch.stats.activity.load(Relaxed);
        let moved = activity != self.activity;
        self.activity = activity;
        if !self.touch.pending.load(Acquire) {
            if self.reported {
                tracing::warn!("shard {shard} moves again");
            }
            self.unanswered_since = None;
            self.reported = false;
            self.touches = 0;
            if !moved {
                self.touch.touch(activity);
            }
            return;
        }
        // The loop may have gone back to sleep before it came to the touch task.
        if self.touches < MOST_TOUCHES {
            self.touches += 1;
            self.touch.wake();
        }
        let since = *self.unanswered_since.get_or_insert_with(Instant::now);
        if moved {
            // It works, only not to the end of its queue yet.
            self.unanswered_since = Some(Instant::now());
        } else if since.elapsed() > stall_limit && !self.reported {
            self.reported = true;
            tracing::error!("shard {shard} has not moved for {:?}", since.elapsed());
        }
    }
}
