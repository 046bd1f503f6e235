//! The sleep/wake protocol between a shard and whoever has something for it.
//!
//! One flag per sleeper. The sleeper announces that it is about to wait and then looks once more
//! at everything it waits for; a notifier publishes first and then claims the announcement. The
//! fences order the two pairs, so at least one side sees the other: either the sleeper finds the
//! work, or the notifier finds the announcement. Of several notifiers exactly one claims it.
//! Nobody writes to the flag while its owner is awake, so under load it costs a fence and a read
//! of a shared cache line.
//!
//! The only hand-written atomics of the crate; `RUSTFLAGS="--cfg loom" cargo test -p
//! fletch-shards --release --lib` runs the model check.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Says whether its owner waits to be told.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct SleepFlag {
    waiting: AtomicBool,
}

impl SleepFlag {
    /// Owner: about to wait. Everything waited for must be looked at once more after this.
    pub(crate) fn announce(&self) {
        // A swap, so that it comes after a claim that was late for an earlier announcement.
        self.waiting.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
    }

    /// Owner: not waiting after all, or awake again by other means.
    pub(crate) fn retract(&self) {
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// Notifier: called after publishing. True: the caller, and nobody else, has to signal.
    #[must_use]
    pub(crate) fn claim(&self) -> bool {
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::AcqRel)
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::SleepFlag;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// Stands for the eventfd: a signal that comes before the wait is kept.
    #[derive(Default)]
    struct Signal(Mutex<bool>, Condvar);

    impl Signal {
        fn ring(&self) {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }

        fn wait(&self) {
            let mut rung = self.0.lock().unwrap();
            while !*rung {
                rung = self.1.wait(rung).unwrap();
            }
            *rung = false;
        }
    }

    /// Loom reports a deadlock if the sleeper waits for a signal that nobody sends.
    fn no_lost_wake(model: loom::model::Builder, notifiers: u32, frames: u32) {
        model.check(move || {
            let flag = Arc::new(SleepFlag::default());
            let ring = Arc::new(AtomicU32::new(0));
            let signal = Arc::new(Signal::default());
            let threads: Vec<_> = (0..notifiers)
                .map(|_| {
                    let (flag, ring, signal) = (flag.clone(), ring.clone(), signal.clone());
                    thread::spawn(move || {
                        for _ in 0..frames {
                            ring.fetch_add(1, Ordering::Release);
                            if flag.claim() {
                                signal.ring();
                            }
                        }
                    })
                })
                .collect();
            let mut taken = 0;
            while taken < notifiers * frames {
                let seen = ring.load(Ordering::Acquire);
                if seen > taken {
                    taken = seen;
                    continue;
                }
                flag.announce();
                if ring.load(Ordering::Acquire) > taken {
                    flag.retract();
                    continue;
                }
                signal.wait();
                flag.retract();
            }
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }

    #[test]
    fn one_notifier_two_frames() {
        no_lost_wake(loom::model::Builder::new(), 1, 2);
    }

    #[test]
    fn two_notifiers() {
        let mut model = loom::model::Builder::new();
        // The whole space takes hours; lost wakes need few switches.
        model.preemption_bound = Some(3);
        no_lost_wake(model, 2, 1);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::SleepFlag;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn an_announcement_is_claimed_once() {
        let flag = SleepFlag::default();
        assert!(!flag.claim());
        flag.announce();
        assert!(flag.claim());
        assert!(!flag.claim());
        flag.announce();
        flag.retract();
        assert!(!flag.claim());
    }

    #[test]
    fn every_frame_is_seen_without_polling() {
        const FRAMES: u32 = if cfg!(miri) { 50 } else { 20_000 };
        let flag = Arc::new(SleepFlag::default());
        let ring = Arc::new(AtomicU32::new(0));
        let signals = Arc::new(AtomicUsize::new(0));
        let sleeper = thread::current();
        let notifier = {
            let (flag, ring, signals) = (flag.clone(), ring.clone(), signals.clone());
            thread::spawn(move || {
                for _ in 0..FRAMES {
                    ring.fetch_add(1, Ordering::Release);
                    if flag.claim() {
                        signals.fetch_add(1, Ordering::Release);
                        sleeper.unpark();
                    }
                }
            })
        };
        let mut answered = 0;
        while ring.load(Ordering::Acquire) < FRAMES {
            let before = ring.load(Ordering::Acquire);
            flag.announce();
            if ring.load(Ordering::Acquire) != before || before == FRAMES {
                flag.retract();
                continue;
            }
            // A lost wake hangs here for ever; an unpark that came early is counted as taken.
            while signals.load(Ordering::Acquire) == answered {
                thread::park();
            }
            answered = signals.load(Ordering::Acquire);
        }
        notifier.join().unwrap();
    }
}
