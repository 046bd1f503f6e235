//! Connections that were busy a moment ago: the pump waits for them itself, in an epoll set of their sockets and the event
//! loop's rings. To look at the rings takes the event loop four system calls and more; this is one.
//!
//! A connection is watched from when something came on it until nothing has for a while, or it may not be read. Its
//! reader then has no poll in the ring; it makes one when it is woken and finds nothing.

use super::pump::Shard;
use crate::service::{ConnectionId, Disconnect, Service};
use fletch_engine::Time;
use rustix::event::{Timespec, epoll};
use rustix::fd::{BorrowedFd, OwnedFd, RawFd};
use std::io;
use std::time::Duration;

/// How long a connection is watched after its last input.
const FOR: Duration = Duration::from_millis(100);
/// Sockets that are read between two turns, at most.
const MOST: usize = 64;
/// Stands for the rings in the place of a connection.
const RINGS: u64 = u64::MAX;

/// Who is watched.
pub(super) struct Watched {
    set: OwnedFd,
    /// Each that is watched, and perhaps some that are not any more.
    connections: Vec<ConnectionId>,
    /// When to look who is not to be watched any more.
    look: Time,
    events: Vec<epoll::Event>,
}

impl Watched {
    /// Beside these rings, which live as long.
    pub(super) fn new(rings: &[RawFd]) -> io::Result<Watched> {
        if rings.is_empty() {
            return Err(io::Error::other("/proc/self/fd does not show them"));
        }
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for ring in rings {
            // SAFETY: the event loop has the ring open, and goes on when this has returned.
            let ring = unsafe { BorrowedFd::borrow_raw(*ring) };
            epoll::add(&set, ring, epoll::EventData::new_u64(RINGS), epoll::EventFlags::IN)?;
        }
        let (connections, events) = (Vec::new(), Vec::with_capacity(MOST));
        Ok(Watched { set, connections, look: Time(0), events })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }
}

impl<S: Service> Shard<S> {
    /// Something came on a connection.
    pub(super) fn watch(&mut self, id: ConnectionId) {
        let now = self.core.now;
        let Some(connection) = self.core.get(id) else { return };
        if connection.watched.is_none() {
            let data = epoll::EventData::new_u64(data(id));
            let added = epoll::add(&self.watched.set, connection.fd(), data, epoll::EventFlags::IN);
            if let Err(error) = added {
                return self.core.fail(id, Disconnect::Failed(error.into()));
            }
            if self.watched.connections.is_empty() {
                self.watched.look = now.after(FOR);
            }
            self.watched.connections.push(id);
        }
        connection.watched = Some(now.after(FOR));
    }

    /// Waits so long at most until something comes, and reads it. True if that is input; what is in the rings is noted.
    pub(super) fn look(&mut self, wait: Duration) -> bool {
        let mut events = std::mem::take(&mut self.watched.events);
        events.clear();
        let timeout =
            Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let waited = epoll::wait(
            &self.watched.set,
            rustix::buffer::spare_capacity(&mut events),
            Some(&timeout),
        );
        // The kernel interrupts the wait to put something into a ring.
        self.core.unlooked.rings |= waited.is_err();
        let mut some = false;
        for event in &events {
            match event.data.u64() {
                RINGS => self.core.unlooked.rings = true,
                data => some |= self.read_one(connection(data)),
            }
        }
        self.watched.events = events;
        self.looked = self.core.clock.now();
        some
    }

    /// True if something came.
    fn read_one(&mut self, id: ConnectionId) -> bool {
        let congested = self.core.outlets.congested();
        let Some(connection) = self.core.get(id) else { return false };
        let kept = connection.unconsumed.len();
        let reads = match connection.phase.open() {
            true => {
                let full = kept >= self.unconsumed_limit;
                !connection.paused && !connection.offer && !congested && !full
            }
            false => !connection.eof,
        };
        if !reads {
            // What else is to be done is done by its reader.
            self.unwatch(id);
            return false;
        }
        let result = connection.receive(&mut self.scratch[kept..kept + self.read_size]);
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            result => {
                self.core.begin_turn();
                let now = self.core.now;
                if !self.came(id, result) {
                    self.unwatch(id);
                } else if let Some(connection) = self.core.get(id) {
                    connection.watched = Some(now.after(FOR));
                }
                true
            }
        }
    }

    /// Gives those back to the event loop on which nothing has come for a while.
    pub(super) fn unwatch_idle(&mut self) {
        let now = self.core.now;
        if now >= self.watched.look && !self.watched.is_empty() {
            self.watched.look = now.after(FOR);
            self.unwatch_if(|until| until <= now);
        }
    }

    /// Gives all of them back.
    pub(super) fn unwatch_all(&mut self) {
        self.unwatch_if(|_| true);
    }

    fn unwatch_if(&mut self, over: impl Fn(Time) -> bool) {
        let mut connections = std::mem::take(&mut self.watched.connections);
        connections.retain(|id| {
            let Some(connection) = self.core.get(*id) else { return false };
            let Some(until) = connection.watched else { return false };
            let ends = over(until);
            if ends {
                self.unwatch(*id);
            }
            !ends
        });
        self.watched.connections = connections;
    }

    fn unwatch(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.get(id) else { return };
        if connection.watched.take().is_some() {
            // It is in the set.
            let _ = epoll::delete(&self.watched.set, connection.fd());
            self.core.wake_readers([id]);
        }
    }
}

fn data(id: ConnectionId) -> u64 {
    u64::from(id.generation) << 32 | u64::from(id.index)
}

fn connection(data: u64) -> ConnectionId {
    ConnectionId { index: data as u32, generation: (data >> 32) as u32 }
}
