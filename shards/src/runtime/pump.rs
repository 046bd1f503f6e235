//! One shard's turn: everything that happens between two waits.
//!
//! The pump is a task that is ready only when something woke it. Work that exceeds a turn's share
//! is taken up after the ring was looked at again: the pump never keeps itself ready. The idle
//! strategy is the pump's too. While it spins it looks at the rings of the mesh and at what is watched, and while
//! something is watched it also sleeps there: the event loop takes some microseconds a time, and is left to rest unless
//! there is something for it.

use super::connection::Phase;
use super::core::{Core, Cx};
use super::disk::{Disks, Io, OpenFiles};
use super::watched::Watched;
use super::{Command, Shared};
use crate::mesh::Inlet;
use crate::service::{ConnectionId, Disconnect, Peer, Service};
use crate::stats::{add, raise};
use crossbeam_channel::Receiver;
use fletch_engine::Time;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering::*;
use std::time::Duration;

/// Commands of helper threads per turn.
const COMMANDS: usize = 64;
/// Frames per turn from each other shard.
const FRAMES: usize = 256;
/// Frames per turn from the shard itself.
const LOCAL_FRAMES: usize = 1024;
/// Bytes per send, and sends per connection and turn.
const SEND_SIZE: usize = 256 * 1024;
const SENDS: usize = 4;
/// How long the pump goes on, with frames that keep coming, before it looks for input, and before the event loop goes on
/// that has something to do: what a hop gains here a socket may lose.
const SLICE: Duration = Duration::from_micros(10);
/// How long the shard sleeps without the event loop, which then has a look at what else there may be.
const NAP: Duration = Duration::from_millis(100);
/// How long it spins without the event loop, while nothing is under way there.
const SPIN: Duration = Duration::from_millis(1);
/// Connections whose output is written before IO of the same turn is started: to start it, the
/// ring has to be looked at, which takes about as long. With 64 clients that each wait for a
/// durable write, starting the IO first makes a sixth more of them.
const OUTPUTS_FIRST: usize = 2;
/// Output buffers larger than this are freed when they are empty.
const OUTPUT_KEPT: usize = 64 * 1024;

/// One shard: the service and what the runtime keeps for it.
pub(super) struct Shard<S: Service> {
    pub(super) service: S,
    pub(super) core: Core<S::Frame>,
    inlets: Vec<Inlet<S::Frame>>,
    /// The inlet to begin with in the next turn.
    first_inlet: usize,
    inbox: Receiver<Command<S::Control>>,
    /// Unconsumed input, then what is read: one buffer for all connections.
    pub(super) scratch: Box<[u8]>,
    pub(super) read_size: usize,
    pub(super) unconsumed_limit: usize,
    pub(super) quick_ack: bool,
    pub(super) watched: Watched,
    shared: Shared,
    pub(super) disks: Disks,
    /// The outputs of the last turn are not written yet, because IO was to be started.
    late: bool,
    /// Tasks to be spawned after the turn: the event loop runs a new task at once, and it wants
    /// the shard for itself.
    pub(super) tasks: Vec<Task>,
    /// Until when the idle strategy spins.
    idle_at: Time,
    /// When it was last looked for input.
    pub(super) looked: Time,
    stopping: Option<Time>,
    finished: bool,
}

/// A task to be spawned.
pub(super) enum Task {
    /// Reads a connection.
    Reader(ConnectionId),
    /// Waits for room to write to a connection.
    Writer(ConnectionId),
    /// Does an IO of a log.
    Disk(Rc<OpenFiles>, Io),
}

/// What the pump does next.
pub(super) enum Next {
    /// Wait to be woken, at the latest at this time.
    Wait(Option<Time>),
    /// The same, by [`Shard::sleep`].
    Sleep(Option<Time>),
    /// Come back when the ring was looked at.
    Again,
    /// The shard has ended.
    End,
}

impl<S: Service> Shard<S> {
    pub(super) fn new(
        service: S,
        core: Core<S::Frame>,
        inlets: Vec<Inlet<S::Frame>>,
        inbox: Receiver<Command<S::Control>>,
        shared: Shared,
        disks: Disks,
        watched: Watched,
    ) -> Shard<S> {
        let (read_size, unconsumed_limit) =
            (shared.config.read_size, shared.config.unconsumed_limit);
        Shard {
            service,
            core,
            inlets,
            first_inlet: 0,
            inbox,
            scratch: vec![0; unconsumed_limit + 2 * read_size].into(),
            read_size,
            unconsumed_limit,
            quick_ack: shared.config.quick_ack,
            watched,
            shared,
            disks,
            late: false,
            tasks: Vec::new(),
            idle_at: Time(0),
            looked: Time(0),
            stopping: None,
            finished: false,
        }
    }

    /// One wake of the pump: turns until there is nothing to do, within bounds.
    pub(super) fn run(&mut self) -> Next {
        self.core.begin_turn();
        self.unwatch_idle();
        let began = self.core.now;
        loop {
            let more = self.turn();
            if self.ended() {
                return Next::End;
            }
            if more || !self.tasks.is_empty() || self.core.unlooked.rings {
                return Next::Again;
            }
            if std::mem::take(&mut self.core.worked) {
                self.idle_at = self.core.now.after(self.shared.config.idle.spin());
            }
            let until = began.after(if self.core.unlooked.is_empty() { SPIN } else { SLICE });
            if self.core.now >= until {
                return Next::Again;
            }
            if self.core.now >= self.looked.after(SLICE) {
                self.look(Duration::ZERO);
            } else if self.core.now < self.idle_at {
                self.poll(until.min(self.idle_at));
            } else if !self.arrivals() {
                let sleeps = !self.watched.is_empty() && !self.disks.polled();
                if !sleeps {
                    self.unwatch_all();
                } else if !self.core.unlooked.is_empty() {
                    return Next::Again;
                }
                self.core.announce_sleep();
                if !self.arrivals() {
                    let deadline = self.deadline();
                    return if sleeps { Next::Sleep(deadline) } else { Next::Wait(deadline) };
                }
            }
        }
    }

    /// Waits for arrivals and input by polling, so long at most.
    fn poll(&mut self, until: Time) {
        while !self.arrivals()
            && !self.look(Duration::ZERO)
            && !self.core.unlooked.rings
            && self.looked < until
        {}
    }

    /// Sleeps until something comes from anywhere, or for a while.
    pub(super) fn sleep(&mut self) {
        self.look(NAP);
    }

    /// Something came from another thread: a command, a frame, or room for one.
    fn arrivals(&self) -> bool {
        !self.inbox.is_empty()
            || self.inlets.iter().any(|inlet| !inlet.is_empty())
            || self.core.outlets.can_advance()
    }

    /// Called when something made the ring be looked at: the signal, or the pump itself.
    pub(super) fn signalled(&mut self) {
        self.core.begin_turn();
        self.core.wake_pump();
    }

    /// True if work is left that nothing else will wake the pump for.
    fn turn(&mut self) -> bool {
        self.core.begin_turn();
        let began = self.core.now;
        self.commands();
        self.frames();
        self.timers();
        let mut local_left = LOCAL_FRAMES;
        loop {
            self.local_frames(&mut local_left);
            self.service.turn_end(&mut Cx { core: &mut self.core });
            if self.core.local.is_empty() || local_left == 0 {
                break;
            }
        }
        self.ends();
        let mut started = !self.overdue() && self.start_io();
        // The disk gets to work before much output is written, but output waits only once.
        self.late = started && !self.late && self.core.dirty.len() > OUTPUTS_FIRST;
        if !self.late {
            self.outputs();
            self.ends();
            // What was written has made room for more, which may want the disk.
            started |= !self.overdue() && self.start_io();
        }
        if self.core.outlets.flush(&self.core.stats) {
            let held = std::mem::take(&mut self.core.held);
            // They may find the outlets full once more, and are held again then.
            for id in &held {
                if let Some(connection) = self.core.get(*id) {
                    connection.held = false;
                }
            }
            self.core.wake_readers(held);
        }
        self.check_finished();
        self.core.in_turn = false;
        self.count(began);
        let core = &self.core;
        // The event loop looks at the ring soon, and with that the IO starts.
        !(!started && core.local.is_empty() && core.dirty.is_empty() && core.ending.is_empty())
    }

    fn count(&mut self, began: Time) {
        let stats = &self.core.stats;
        add(&stats.turns, 1);
        let took = self.core.clock.now().since(began);
        raise(&stats.longest_turn, took.as_nanos() as u64);
        if took > self.shared.config.long_turn {
            add(&stats.long_turns, 1);
        }
    }

    fn commands(&mut self) {
        for _ in 0..COMMANDS {
            let Ok(command) = self.inbox.try_recv() else { return };
            self.core.worked = true;
            match command {
                Command::Adopt(fd, peer) => self.adopt(fd, peer),
                Command::Control(control) => {
                    self.service.control(&mut Cx { core: &mut self.core }, control);
                }
                Command::Disk(volume, result) => self.file_op_ended(volume, result),
                Command::Stop(deadline) => {
                    if self.stopping.is_none() {
                        self.stopping = Some(deadline);
                        self.service.stopping(&mut Cx { core: &mut self.core }, deadline);
                    }
                }
            }
        }
    }

    fn adopt(&mut self, fd: OwnedFd, peer: Peer) {
        let id = self.core.insert(fd);
        add(&self.core.stats.connected, 1);
        self.service.connected(&mut Cx { core: &mut self.core }, id, peer);
        self.core.mark_dirty(id);
        self.tasks.push(Task::Reader(id));
    }

    fn frames(&mut self) {
        let Shard { service, core, inlets, first_inlet, .. } = self;
        let count = inlets.len();
        let mut received = 0;
        for index in *first_inlet..*first_inlet + count {
            let inlet = &mut inlets[index % count];
            let from = inlet.from;
            received += inlet.drain(FRAMES, |frame| service.frame(&mut Cx { core }, from, frame));
        }
        if count > 0 {
            *first_inlet = (*first_inlet + 1) % count;
        }
        core.worked |= received > 0;
        add(&core.stats.frames_received, received as u64);
    }

    fn local_frames(&mut self, left: &mut usize) {
        let id = self.core.id;
        while *left > 0
            && let Some(frame) = self.core.local.pop_front()
        {
            *left -= 1;
            self.service.frame(&mut Cx { core: &mut self.core }, id, frame);
        }
    }

    fn timers(&mut self) {
        if self.service.next_deadline().is_some_and(|deadline| deadline <= self.core.now) {
            self.core.worked = true;
            self.service.tick(&mut Cx { core: &mut self.core });
        }
        while let Some(&(at, id)) = self.core.expiries.front()
            && at <= self.core.now
        {
            self.core.expiries.pop_front();
            self.core.fail(id, Disconnect::Unflushed);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let expiry = self.core.expiries.front().map(|&(at, _)| at);
        let service = self.service.next_deadline();
        // Once it has passed only IO is waited for.
        let stopping = self.stopping.filter(|_| !self.overdue());
        [expiry, service, stopping].into_iter().flatten().min()
    }

    /// Writes the outputs of this turn.
    fn outputs(&mut self) {
        let mut dirty = std::mem::take(&mut self.core.dirty);
        for id in dirty.drain(..) {
            if let Some(connection) = self.core.get(id) {
                connection.dirty = false;
                self.output(id);
            }
        }
        if self.core.dirty.is_empty() {
            self.core.dirty = dirty;
        }
    }

    fn output(&mut self, id: ConnectionId) {
        for _ in 0..SENDS {
            let Some(connection) = self.core.get(id) else { return };
            let unacknowledged = std::mem::take(&mut connection.unacknowledged);
            if connection.blocked || !matches!(connection.phase, Phase::Open | Phase::Flushing(_)) {
                return;
            }
            let output = self.service.output(id);
            if output.is_empty() {
                if unacknowledged {
                    connection.acknowledge();
                }
                if matches!(connection.phase, Phase::Flushing(_)) {
                    self.core.ending.push(id);
                }
                return;
            }
            match connection.send(&output[..output.len().min(SEND_SIZE)]) {
                Ok(count) => {
                    add(&self.core.stats.bytes_sent, count as u64);
                    if count < output.len() {
                        output.drain(..count);
                        continue;
                    }
                    output.clear();
                    if output.capacity() > OUTPUT_KEPT {
                        *output = Vec::new();
                    }
                    self.service.written(&mut Cx { core: &mut self.core }, id);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.blocked = true;
                    let woken = connection.wake_writer();
                    self.core.unlooked.stir();
                    if !woken {
                        self.tasks.push(Task::Writer(id));
                    }
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.core.fail(id, Disconnect::Failed(error));
                    return;
                }
            }
        }
        self.core.mark_dirty(id);
    }

    /// Takes the connections that end a step further.
    fn ends(&mut self) {
        let mut ending = std::mem::take(&mut self.core.ending);
        for id in ending.drain(..) {
            let Some(connection) = self.core.get(id) else { continue };
            let blocked = connection.blocked;
            match std::mem::replace(&mut connection.phase, Phase::Done) {
                Phase::Flushing(reason) => {
                    if blocked || !self.service.output(id).is_empty() {
                        connection.phase = Phase::Flushing(reason);
                        if !blocked {
                            self.core.mark_dirty(id);
                        }
                        continue;
                    }
                    connection.shutdown_write();
                    if connection.eof {
                        self.disconnect(id, reason);
                        self.core.remove(id);
                    } else {
                        connection.phase = Phase::Lingering;
                        self.disconnect(id, reason);
                    }
                }
                Phase::Broken(reason) => {
                    self.disconnect(id, reason);
                    self.core.remove(id);
                }
                Phase::Done => self.core.remove(id),
                phase @ (Phase::Open | Phase::Lingering) => connection.phase = phase,
            }
        }
        if self.core.ending.is_empty() {
            self.core.ending = ending;
        }
    }

    fn disconnect(&mut self, id: ConnectionId, reason: Disconnect) {
        add(&self.core.stats.disconnected, 1);
        self.service.disconnected(&mut Cx { core: &mut self.core }, id, reason);
    }

    /// Notes that this shard's service has finished, once.
    fn check_finished(&mut self) {
        if self.stopping.is_some() && !self.finished && (self.service.stopped() || self.overdue()) {
            self.finished = true;
            self.shared.finished.fetch_add(1, AcqRel);
            for signal in self.shared.signals.iter() {
                signal.ring();
            }
        }
    }

    /// Whether there is no time left.
    fn overdue(&self) -> bool {
        self.stopping.is_some_and(|deadline| self.core.now >= deadline)
    }

    /// Whether the shard ends now: all shards have finished, or there is no time left, and no IO
    /// is under way.
    fn ended(&self) -> bool {
        let all = self.shared.signals.len();
        self.finished
            && (self.overdue() || self.shared.finished.load(Acquire) == all)
            && self.disks.idle()
    }

    /// The last thing a shard does: writes what the sockets take and closes them.
    pub(super) fn close_all(&mut self) {
        let open: Vec<ConnectionId> = self
            .core
            .connections
            .iter()
            .map(|(index, c)| ConnectionId { index: index as u32, generation: c.generation })
            .collect();
        for id in open {
            let Some(connection) = self.core.get(id) else { continue };
            match std::mem::replace(&mut connection.phase, Phase::Done) {
                Phase::Open => {
                    // The socket takes it or not; there is no time to wait for it.
                    let _ = connection.send(self.service.output(id));
                    connection.shutdown_write();
                    self.disconnect(id, Disconnect::Stopping);
                }
                Phase::Flushing(reason) => {
                    let _ = connection.send(self.service.output(id));
                    connection.shutdown_write();
                    self.disconnect(id, reason);
                }
                Phase::Broken(reason) => self.disconnect(id, reason),
                Phase::Lingering | Phase::Done => {}
            }
            self.core.remove(id);
        }
        while let Ok(command) = self.inbox.try_recv() {
            if let Command::Adopt(..) = command {
                self.core.stats.connections.fetch_sub(1, Relaxed);
            }
        }
        self.core.pump = None;
    }
}
