//! What runs on a shard: the interface between this crate and the broker.

use crate::disk::DiskError;
use crate::runtime::Cx;
use fletch_engine::{ShardId, Time};
use fletch_journal::{Done, Request, Volume, Write};
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// A connection of one shard. Ids of connections that are gone are never valid again, though
/// their index is reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl ConnectionId {
    /// A small number, unique among the open connections of the shard: an index for tables.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection-{}.{}", self.index, self.generation)
    }
}

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Accepted by the listener with this index in the runtime's configuration.
    Accepted {
        /// The index.
        listener: usize,
    },
    /// Given to the shard by [`Handle::adopt`](crate::Handle::adopt) under this token.
    Adopted {
        /// The token.
        token: u64,
    },
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end.
    pub remote: SocketAddr,
    /// This end.
    pub local: SocketAddr,
    /// How it came here.
    pub origin: Origin,
}

/// Why a connection is gone.
#[derive(Debug)]
pub enum Disconnect {
    /// The peer closed its direction; what was to be written has been written.
    Eof,
    /// The socket failed.
    Failed(io::Error),
    /// [`Cx::close`]: what was to be written has been written.
    Closed,
    /// [`Cx::close`], but the peer did not take what was to be written in time.
    Unflushed,
    /// [`Cx::abort`].
    Aborted,
    /// The runtime stops.
    Stopping,
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disconnect::Eof => f.write_str("closed by the peer"),
            Disconnect::Failed(error) => write!(f, "failed: {error}"),
            Disconnect::Closed => f.write_str("closed"),
            Disconnect::Unflushed => f.write_str("closed before the peer took all output"),
            Disconnect::Aborted => f.write_str("aborted"),
            Disconnect::Stopping => f.write_str("closed because the broker stops"),
        }
    }
}

/// One shard's part of the broker. Made on its shard's thread, never leaves it.
///
/// Every method runs to completion within a turn and must not block. A method that is given a
/// connection may append to its output without [`Cx::dirty`]; output of others needs it.
pub trait Service: Sized + 'static {
    /// What shards send each other.
    type Frame: Send + 'static;
    /// What helper threads send a shard.
    type Control: Send + 'static;

    /// A connection was placed here.
    fn connected(&mut self, cx: &mut Cx<'_, Self::Frame>, conn: ConnectionId, peer: Peer);

    /// Bytes arrived. Returns how many were consumed; the rest is kept and offered again with
    /// more, or after [`Cx::resume_reads`]. A service that leaves [`Config::unconsumed_limit`]
    /// bytes gets no more before that. Empty only where [`Cx::offer_again`] asked for it.
    ///
    /// [`Config::unconsumed_limit`]: crate::Config::unconsumed_limit
    fn received(&mut self, cx: &mut Cx<'_, Self::Frame>, conn: ConnectionId, input: &[u8])
    -> usize;

    /// The bytes waiting to go out; the runtime removes what the socket took. Called only for
    /// connections between `connected` and `disconnected`.
    fn output(&mut self, conn: ConnectionId) -> &mut Vec<u8>;

    /// The socket took all of the output: there is room for more.
    fn written(&mut self, cx: &mut Cx<'_, Self::Frame>, conn: ConnectionId);

    /// The connection is gone; called exactly once for each `connected`.
    fn disconnected(
        &mut self,
        cx: &mut Cx<'_, Self::Frame>,
        conn: ConnectionId,
        reason: Disconnect,
    );

    /// A frame from a shard, this one included. Frames of one sender arrive in order.
    fn frame(&mut self, cx: &mut Cx<'_, Self::Frame>, from: ShardId, frame: Self::Frame);

    /// A message from a helper thread.
    fn control(&mut self, cx: &mut Cx<'_, Self::Frame>, control: Self::Control);

    /// When `tick` is next wanted.
    fn next_deadline(&self) -> Option<Time>;

    /// The deadline has passed.
    fn tick(&mut self, cx: &mut Cx<'_, Self::Frame>);

    /// The inputs of this turn are done; what is appended to outputs now is written in the same
    /// turn.
    fn turn_end(&mut self, cx: &mut Cx<'_, Self::Frame>);

    /// How large a buffer is wanted for a batch that may be written now, at most
    /// [`WRITE_MAX`](crate::WRITE_MAX) and a multiple of [`ALIGN`](fletch_journal::ALIGN), and to which
    /// log it goes. Asked after each turn, and again after each `fill`, until there is none; only for
    /// logs that there are, see [`Config::journal`](crate::Config::journal) and
    /// [`Config::paging`](crate::Config::paging), which holds for the other requests too.
    fn next_write(&mut self) -> Option<(Volume, usize)>;

    /// Encodes that batch to the front of the buffer, whose old contents mean nothing, and says
    /// where it goes.
    fn fill(&mut self, volume: Volume, buffer: &mut [u8]) -> Write;

    /// What else is wanted of the disk. Asked until there is nothing.
    fn next_request(&mut self) -> Option<(Volume, Request)>;

    /// The end of a write or request. They end in any order.
    fn disk_done(&mut self, cx: &mut Cx<'_, Self::Frame>, volume: Volume, done: Done);

    /// A write or request failed, and what is on the disk is not known any more: nothing durable
    /// can be promised from here on. No `disk_done` comes for it.
    fn disk_failed(&mut self, volume: Volume, error: DiskError);

    /// No new connections come; finish by `deadline`.
    fn stopping(&mut self, cx: &mut Cx<'_, Self::Frame>, deadline: Time);

    /// Whether everything is finished. Asked at the end of each turn after `stopping`. Once it
    /// was true on every shard, the shards end. When they end at the deadline, writes and reads
    /// that are under way are waited for still.
    fn stopped(&self) -> bool;
}
