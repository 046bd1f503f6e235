//! What a shard's runtime keeps beside its service, and the part of it a service may use.
//!
//! Lives on the shard's thread, borrowed for the length of one callback or turn, never across an
//! `await`.

use super::connection::{Connection, Phase};
use super::unlooked::Unlooked;
use crate::clock::Clock;
use crate::mesh::Outlets;
use crate::service::{ConnectionId, Disconnect};
use crate::signal::Signal;
use crate::stats::{ShardStats, add};
use fletch_engine::{ShardId, Time};
use slab::Slab;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// The runtime's state of one shard.
pub(crate) struct Core<F> {
    pub(super) id: ShardId,
    pub(super) clock: Clock,
    pub(super) now: Time,
    /// A turn is going on: `now` is its time.
    pub(super) in_turn: bool,
    announced: bool,
    /// Something was done since the pump last looked.
    pub(super) worked: bool,
    pub(super) connections: Slab<Connection>,
    generation: u32,
    /// Connections whose output is to be written at the end of the turn.
    pub(super) dirty: Vec<ConnectionId>,
    /// Connections to be taken a step further towards their end.
    pub(super) ending: Vec<ConnectionId>,
    /// Readers that wait for the outboxes to empty.
    pub(super) held: Vec<ConnectionId>,
    /// When closing connections are given up, in order: all have the same linger.
    pub(super) expiries: VecDeque<(Time, ConnectionId)>,
    pub(super) linger: Duration,
    /// Frames the service sent to its own shard.
    pub(super) local: VecDeque<F>,
    pub(super) outlets: Outlets<F>,
    pub(super) signal: Arc<Signal>,
    pub(super) stats: Arc<ShardStats>,
    /// What the event loop has to look at before the pump may sleep in its place.
    pub(super) unlooked: Unlooked,
    /// The one waker of the pump. Wakers are counted in 16 bits, so nobody else keeps a clone.
    pub(super) pump: Option<Waker>,
}

impl<F> Core<F> {
    pub(super) fn new(
        id: ShardId,
        outlets: Outlets<F>,
        signal: Arc<Signal>,
        stats: Arc<ShardStats>,
        linger: Duration,
    ) -> Core<F> {
        let clock = Clock::new();
        Core {
            id,
            clock,
            now: clock.now(),
            in_turn: false,
            announced: false,
            // A shard that never sleeps does not begin with it.
            worked: true,
            connections: Slab::new(),
            generation: 0,
            dirty: Vec::new(),
            ending: Vec::new(),
            held: Vec::new(),
            expiries: VecDeque::new(),
            linger,
            local: VecDeque::new(),
            outlets,
            signal,
            stats,
            unlooked: Unlooked::new(),
            pump: None,
        }
    }

    /// Called by whatever runs first: reads the clock, and tells senders that nobody sleeps.
    pub(super) fn begin_turn(&mut self) {
        if !self.in_turn {
            self.in_turn = true;
            self.now = self.clock.now();
            if std::mem::take(&mut self.announced) {
                self.signal.sleep.retract();
            }
        }
        add(&self.stats.activity, 1);
    }

    /// From now on senders signal. Whatever they may have sent before has to be looked for again.
    pub(super) fn announce_sleep(&mut self) {
        self.announced = true;
        self.signal.sleep.announce();
    }

    pub(super) fn wake_pump(&self) {
        if let Some(pump) = &self.pump {
            pump.wake_by_ref();
        }
    }

    pub(super) fn insert(&mut self, fd: OwnedFd) -> ConnectionId {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.connections.insert(Connection::new(fd, generation));
        ConnectionId { index: index as u32, generation }
    }

    pub(super) fn get(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.index()).filter(|c| c.generation == id.generation)
    }

    pub(super) fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get(id)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Starts the end of a connection that is still open. Its service hears of it from the pump.
    pub(super) fn end(&mut self, id: ConnectionId, reason: Disconnect, flush: bool) {
        let expiry = self.now.after(self.linger);
        if let Some(connection) = self.get(id)
            && connection.phase.open()
        {
            connection.phase = match flush {
                true => Phase::Flushing(reason),
                false => Phase::Broken(reason),
            };
            connection.wake_reader();
            self.unlooked.stir();
            self.ending.push(id);
            self.expiries.push_back((expiry, id));
        }
    }

    /// Breaks a connection whose socket failed, whatever phase it is in.
    pub(super) fn fail(&mut self, id: ConnectionId, reason: Disconnect) {
        if let Some(connection) = self.get(id) {
            connection.phase = match connection.phase {
                Phase::Lingering => Phase::Done,
                Phase::Done => return,
                _ => Phase::Broken(reason),
            };
            self.ending.push(id);
        }
    }

    /// Forgets a connection; closes its socket and ends its tasks.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        if self.get(id).is_some() {
            let connection = self.connections.remove(id.index());
            self.stats.connections.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            connection.wake_tasks();
            self.unlooked.stir();
        }
    }

    pub(super) fn wake_readers(&mut self, ids: impl IntoIterator<Item = ConnectionId>) {
        for id in ids {
            if let Some(connection) = self.get(id) {
                connection.wake_reader();
                self.unlooked.stir();
            }
        }
    }
}

/// What a service can do from within a callback.
pub struct Cx<'a, F> {
    pub(super) core: &'a mut Core<F>,
}

impl<F> Cx<'_, F> {
    /// The time of this turn.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// This shard.
    pub fn shard(&self) -> ShardId {
        self.core.id
    }

    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.core.outlets.shards()
    }

    /// Sends a frame to a shard. One to this shard itself is handled later in the same turn.
    /// Never fails and never blocks: what finds its ring full waits, in order; see
    /// [`Cx::congested`].
    pub fn send(&mut self, to: ShardId, frame: F) {
        if to == self.core.id {
            self.core.local.push_back(frame);
        } else {
            self.core.outlets.send(to, frame, &self.core.stats);
        }
    }

    /// More frames wait for other shards than the mark allows: no socket of this shard is read
    /// until they have gone. Whoever makes frames from other things than input should stop too.
    pub fn congested(&self) -> bool {
        self.core.outlets.congested()
    }

    /// This connection's output has grown: write it at the end of the turn.
    pub fn dirty(&mut self, conn: ConnectionId) {
        self.core.mark_dirty(conn);
    }

    /// Closes a connection once its output is written. No input comes any more; what the peer
    /// still sends is discarded. Ends anyway after [`Config::linger`](crate::Config::linger).
    pub fn close(&mut self, conn: ConnectionId) {
        self.core.end(conn, Disconnect::Closed, true);
    }

    /// Closes a connection at once, losing its output.
    pub fn abort(&mut self, conn: ConnectionId) {
        match self.core.get(conn).map(|connection| &connection.phase) {
            Some(Phase::Flushing(_)) => self.core.fail(conn, Disconnect::Aborted),
            _ => self.core.end(conn, Disconnect::Aborted, false),
        }
    }

    /// Offers no more input of this connection, so that its peer feels back-pressure.
    pub fn pause_reads(&mut self, conn: ConnectionId) {
        if let Some(connection) = self.core.get(conn) {
            connection.paused = true;
        }
    }

    /// While reads are paused: input is offered when they are resumed, also if there is none, for a
    /// service that keeps some of its own.
    pub fn offer_again(&mut self, conn: ConnectionId) {
        if let Some(connection) = self.core.get(conn) {
            connection.offer |= connection.paused;
        }
    }

    /// Offers input again, beginning with what was left unconsumed.
    pub fn resume_reads(&mut self, conn: ConnectionId) {
        if let Some(connection) = self.core.get(conn) {
            connection.paused = false;
            connection.offer |= !connection.unconsumed.is_empty();
            connection.wake_reader();
            self.core.unlooked.stir();
        }
    }
}
