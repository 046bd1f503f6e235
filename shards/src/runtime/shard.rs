//! A shard's thread: its executor, and the tasks around the pump.
//!
//! Both descriptors that wake a shard, the signal's eventfd and the timer, are read through the
//! main ring. The event loop's own timers and foreign wakes go through its latency ring, whose
//! completions preempt the loop and can make it sleep with tasks ready; only the watchdog uses
//! them.

use super::connection;
use super::core::Core;
use super::disk::{self, Disks, Store};
use super::pump::{Next, Shard, Task};
use super::rings;
use super::watched::Watched;
use super::{Command, Shared};
use crate::mesh::Port;
use crate::service::Service;
use crate::signal::Signal;
use crate::startup::StartError;
use crate::stats::ShardStats;
use crate::watchdog::Touch;
use crossbeam_channel::{Receiver, Sender};
use fletch_engine::{ShardId, Time};
use glommio::channels::shared_channel::{self, SharedReceiver};
use glommio::io::BufferedFile;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// What one shard is made of.
pub(super) struct Seat<S: Service> {
    pub(super) id: ShardId,
    pub(super) port: Port<S::Frame>,
    pub(super) inbox: Receiver<Command<S::Control>>,
    pub(super) signal: Arc<Signal>,
    pub(super) stats: Arc<ShardStats>,
    pub(super) touch: Arc<Touch>,
    pub(super) stores: Vec<Store>,
}

/// Submission entries of each ring.
pub(super) const RING_DEPTH: usize = 256;

/// The body of a shard's thread. Says over `made` whether the shard could be made, and over
/// `ready` that it runs.
pub(super) fn run<S: Service>(
    seat: Seat<S>,
    shared: Shared,
    make_service: &dyn Fn(ShardId) -> S,
    made: &Sender<Result<(), StartError>>,
    ready: Sender<ShardId>,
) {
    let _guard = AbortOnPanic::new();
    let id = seat.id;
    let failed = |reason| move |error: io::Error| failure(id, format!("{reason}: {error}"));
    let made_here = rings::of(|| executor(&shared, id)).map_err(failed("its rings"));
    let started = made_here.and_then(|(executor, rings)| {
        let executor = executor?;
        let watched = Watched::new(&rings).map_err(failed("its rings"))?;
        let signal = seat.signal.descriptor().map_err(failed("signal"))?;
        let timer = Timer::new().map_err(failed("timer"))?;
        Ok((executor, watched, signal, timer))
    });
    match started {
        Ok((executor, watched, signal, timer)) => {
            let service = make_service(id);
            // The receiver waits for all shards.
            let _ = made.send(Ok(()));
            executor.run(main(seat, shared, service, watched, signal, timer, ready));
        }
        Err(error) => {
            let _ = made.send(Err(error));
        }
    }
}

/// There is no half-alive broker: a panic on a shard ends the process, also where panics unwind.
/// Each entry into the service has one, so that nothing of the event loop unwinds first.
pub(super) struct AbortOnPanic(());

impl AbortOnPanic {
    pub(super) fn new() -> AbortOnPanic {
        AbortOnPanic(())
    }
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            eprintln!("{} panicked: the process ends", thread.name().unwrap_or("a shard"));
            std::process::abort();
        }
    }
}

fn failure(shard: ShardId, reason: impl Display) -> StartError {
    StartError::Shard { shard: shard.0, reason: reason.to_string() }
}

fn executor(shared: &Shared, id: ShardId) -> Result<LocalExecutor, StartError> {
    let config = &shared.config;
    let cpus = config.cpus.as_slice();
    let placement = match cpus.get(id.index()) {
        Some(&cpu) if shared.pinned => Placement::Fixed(cpu),
        _ => Placement::Unbound,
    };
    LocalExecutorBuilder::new(placement)
        .io_memory(shared.io_memory)
        .ring_depth(RING_DEPTH)
        .preempt_timer(config.preempt_timer)
        // The helper thread of the event loop must not share the shard's core.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(|error| failure(id, error))
}

async fn main<S: Service>(
    seat: Seat<S>,
    shared: Shared,
    service: S,
    watched: Watched,
    signal: OwnedFd,
    timer: Timer,
    ready: Sender<ShardId>,
) {
    let Seat { id, port, inbox, stats, touch, stores, .. } = seat;
    let Port { outlets, inlets } = port;
    let core = Core::new(id, outlets, seat.signal.clone(), stats, shared.config.linger);
    let disks = Disks::new(stores, shared.config.idle);
    let files = disks.files();
    let shard = Shard::new(service, core, inlets, inbox, shared, disks, watched);
    let shard = Rc::new(RefCell::new(shard));
    let ended = Rc::new(Cell::new(false));
    let untouched = Rc::new(Cell::new(false));

    let signals = glommio::spawn_local(signals(shard.clone(), signal, ended.clone()));
    let (deadline, file) = timer.split();
    let timers = glommio::spawn_local(timers(shard.clone(), deadline.clone(), file, ended.clone()));
    let touches = glommio::spawn_local({
        let (shard, touch, ended) = (shard.clone(), touch.clone(), untouched.clone());
        poll_fn(move |cx| touch.poll(cx, ended.get(), || shard.borrow_mut().signalled()))
    });

    let (again, passes) = shared_channel::new_bounded::<()>(1);
    let passes = glommio::spawn_local(passes_of_the_ring(shard.clone(), passes));
    let again = again.connect().await;
    // New tasks are run at once: from here on the watchdog can wake this shard.
    let _ = ready.send(id);

    poll_fn(|cx| {
        loop {
            let _guard = AbortOnPanic::new();
            let mut state = shard.borrow_mut();
            if state.core.pump.is_none() {
                state.core.pump = Some(cx.waker().clone());
            }
            let next = state.run();
            let now = state.core.now;
            let mut tasks = std::mem::take(&mut state.tasks);
            drop(state);
            for task in tasks.drain(..) {
                match task {
                    Task::Reader(id) => glommio::spawn_local(connection::read(shard.clone(), id)),
                    Task::Writer(id) => glommio::spawn_local(connection::write(shard.clone(), id)),
                    Task::Disk(files, io) => glommio::spawn_local(disk::stirring(
                        shard.clone(),
                        disk::perform(shard.clone(), files, io),
                    )),
                }
                .detach();
                shard.borrow_mut().core.unlooked.stir();
            }
            match next {
                Next::Wait(at) => {
                    deadline.arm(at, now);
                    return Poll::Pending;
                }
                Next::Sleep(at) => {
                    deadline.arm(at, now);
                    shard.borrow_mut().sleep();
                    continue;
                }
                Next::Again => {}
                Next::End => return Poll::Ready(()),
            }
            // Full means that it is under way already.
            if again.try_send(()).is_ok() {
                shard.borrow_mut().core.unlooked.ask();
            }
            return Poll::Pending;
        }
    })
    .await;

    // The tasks end one by one, and none is dropped while the kernel holds a buffer of its.
    shard.borrow_mut().close_all();
    ended.set(true);
    seat.signal.ring();
    deadline.fire();
    drop(again);
    passes.await;
    signals.await;
    timers.await;
    // The connections' tasks have been woken and see that their connection is gone; those of IO
    // have told of its end. What is left is here and in the touch task.
    while Rc::strong_count(&shard) > 2 {
        glommio::executor().yield_task_queue_now().await;
    }
    for files in files {
        files.close_all().await;
    }
    // Last, because until here the watchdog may have to wake this shard.
    untouched.set(true);
    touch.wake();
    touches.await;
}

/// Ends when the sender does. The event loop looks at its shared channels once for each time it
/// looks at its rings, and nowhere else: a message to oneself comes back one such pass later,
/// without a system call.
async fn passes_of_the_ring<S: Service>(shard: Rc<RefCell<Shard<S>>>, passes: SharedReceiver<()>) {
    let passes = passes.connect().await;
    while passes.recv().await.is_some() {
        let mut shard = shard.borrow_mut();
        shard.core.unlooked.looked();
        shard.signalled();
    }
}

/// Reads the signal's eventfd for ever.
async fn signals<S: Service>(shard: Rc<RefCell<Shard<S>>>, fd: OwnedFd, ended: Rc<Cell<bool>>) {
    let file = adopt(fd);
    while !ended.get() {
        wait(&file).await;
        if !ended.get() {
            let mut shard = shard.borrow_mut();
            shard.core.unlooked.stir();
            shard.signalled();
        }
    }
    let _ = file.close().await;
}

/// Reads the timer for ever.
async fn timers<S: Service>(
    shard: Rc<RefCell<Shard<S>>>,
    deadline: Rc<Deadline>,
    fd: OwnedFd,
    ended: Rc<Cell<bool>>,
) {
    let file = adopt(fd);
    while !ended.get() {
        wait(&file).await;
        deadline.armed.set(None);
        let mut shard = shard.borrow_mut();
        shard.core.unlooked.stir();
        shard.core.wake_pump();
    }
    let _ = file.close().await;
}

fn adopt(fd: OwnedFd) -> BufferedFile {
    // SAFETY: the descriptor is owned, and its ownership ends here.
    unsafe { BufferedFile::from_raw_fd(fd.into_raw_fd()) }
}

/// Waits until the descriptor's counter is not zero, and clears it.
async fn wait(file: &BufferedFile) {
    if let Err(error) = file.read_at(0, 8).await {
        // It would fail again at once: nothing can wake this shard any more.
        panic!("reading a wake descriptor failed: {error}");
    }
}

/// The shard's one timer.
struct Timer {
    fd: OwnedFd,
    file: OwnedFd,
}

impl Timer {
    fn new() -> io::Result<Timer> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let file = fd.try_clone()?;
        Ok(Timer { fd, file })
    }

    fn split(self) -> (Rc<Deadline>, OwnedFd) {
        (Rc::new(Deadline { fd: self.fd, armed: Cell::new(None) }), self.file)
    }
}

/// Sets the timer. One that is set too early is left alone: it wakes the pump once for nothing,
/// which is cheaper than a system call for every deadline that moves.
struct Deadline {
    fd: OwnedFd,
    armed: Cell<Option<Time>>,
}

impl Deadline {
    fn arm(&self, at: Option<Time>, now: Time) {
        let Some(at) = at.filter(|&at| at != Time::NEVER) else { return };
        if self.armed.get().is_none_or(|armed| at < armed) {
            self.armed.set(Some(at));
            // Zero would switch the timer off.
            self.set(at.since(now).max(Duration::from_nanos(1)));
        }
    }

    fn fire(&self) {
        self.set(Duration::from_nanos(1));
    }

    fn set(&self, after: Duration) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        let it_value = Timespec { tv_sec: seconds, tv_nsec: after.subsec_nanos().into() };
        let value = Itimerspec { it_interval: zero, it_value };
        // Cannot fail: the descriptor is a timer and the value well formed.
        let _ = timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &value);
    }
}
