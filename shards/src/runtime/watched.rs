//! Connections whose sockets the pump asks itself while it spins, instead of the event loop: to look at the
//! ring takes some microseconds, to find a socket empty a fraction of one.
//!
//! A connection is watched from when something came on it until nothing has for a while, or the shard goes to
//! sleep. Its reader then has no poll in the ring; it makes one when it is woken and finds nothing.

use super::connection::Came;
use super::pump::Shard;
use crate::service::{ConnectionId, Service};
use fletch_engine::Time;
use std::io;
use std::time::Duration;

/// As many at most: each takes its time in every round.
const MOST: usize = 8;
/// How long after the last input.
const FOR: Duration = Duration::from_millis(10);

/// Who is watched, each until when.
pub(super) type Watched = Vec<(ConnectionId, Time)>;

impl<S: Service> Shard<S> {
    /// Something came on a connection.
    pub(super) fn watch(&mut self, id: ConnectionId) {
        if !self.watches {
            return;
        }
        let until = self.core.now.after(FOR);
        if let Some(place) = self.watched.iter_mut().find(|(watched, _)| *watched == id) {
            place.1 = until;
        } else if self.watched.len() < MOST
            && let Some(connection) = self.core.get(id)
        {
            connection.watched = true;
            self.watched.push((id, until));
        }
    }

    /// Reads all that are watched, each once. True if something came.
    pub(super) fn read_watched(&mut self) -> bool {
        let mut some = false;
        let mut watched = std::mem::take(&mut self.watched);
        for (id, until) in &mut watched {
            if self.read_one(*id) {
                *until = self.core.now.after(FOR);
                some = true;
            }
        }
        self.watched = watched;
        some
    }

    /// True if something came.
    fn read_one(&mut self, id: ConnectionId) -> bool {
        let congested = self.core.outlets.congested();
        let Some(connection) = self.core.get(id) else { return false };
        let kept = connection.unconsumed.len();
        // What else is to be done is done by its reader.
        let reads =
            connection.phase.open() && !connection.paused && !connection.offer && !congested;
        if !reads || kept >= self.unconsumed_limit {
            return false;
        }
        match connection.receive(&mut self.scratch[kept..kept + self.read_size]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            result => {
                self.core.begin_turn();
                matches!(self.came(id, result), Came::Some | Came::Full)
            }
        }
    }

    /// Gives those back to the event loop on which nothing has come for a while.
    pub(super) fn unwatch_idle(&mut self) {
        let now = self.core.now;
        self.unwatch(|until| until <= now);
    }

    /// Gives all of them back.
    pub(super) fn unwatch_all(&mut self) {
        self.unwatch(|_| true);
    }

    fn unwatch(&mut self, over: impl Fn(Time) -> bool) {
        let Shard { watched, core, .. } = self;
        watched.retain(|(id, until)| {
            let Some(connection) = core.get(*id) else { return false };
            if over(*until) || !connection.phase.open() {
                connection.watched = false;
                connection.wake_reader();
            }
            connection.watched
        });
    }
}
