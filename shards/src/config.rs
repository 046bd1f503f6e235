//! Settings of the runtime.

use crate::cpus::CpuList;
use crate::disk::JournalConfig;
use crate::idle::IdleStrategy;
use crate::placement::ConnectionPlacement;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the runtime.
#[derive(Clone, Debug)]
pub struct Config {
    /// The processors of the shards: shard *i* is pinned to the *i*-th.
    pub cpus: CpuList,
    /// The number of shards. With more shards than processors none is pinned.
    pub shards: usize,
    /// Pin each shard to its processor.
    pub pin: bool,
    /// What a shard does when it has nothing to do.
    pub idle: IdleStrategy,
    /// Which shard a new connection goes to.
    pub placement: ConnectionPlacement,
    /// Open connections, all shards together; more are refused.
    pub max_connections: usize,
    /// Set TCP_NODELAY on accepted connections.
    pub nodelay: bool,
    /// How long the kernel polls the network device for what comes on an accepted connection (SO_BUSY_POLL).
    pub busy_poll: Duration,
    /// Acknowledge at once what is received (TCP_QUICKACK).
    pub quick_ack: bool,
    /// Frames per ring between two shards.
    pub ring_frames: usize,
    /// Frames that may wait for room in the rings of a shard before it stops reading sockets.
    pub outbox_mark: usize,
    /// Bytes read from one connection per turn.
    pub read_size: usize,
    /// Bytes a service may leave unconsumed before reading stops.
    pub unconsumed_limit: usize,
    /// How long a closed connection may take to accept its output and answer the close.
    pub linger: Duration,
    /// Where the shards' journals are. Without, no service is asked for writes.
    pub journal: Option<JournalConfig>,
    /// The directory of each shard's paging file, empty. Without, no service is asked for pages.
    pub paging: Option<Vec<PathBuf>>,
    /// How often the watchdog looks at the shards.
    pub watchdog_interval: Duration,
    /// After how long without an answer from a shard an error is logged.
    pub stall_limit: Duration,
    /// Turns longer than this are counted.
    pub long_turn: Duration,
    /// The event loop's preemption timer. Short values provoke the stalls that the watchdog
    /// mends; leave it alone outside tests.
    pub preempt_timer: Duration,
}

impl Config {
    /// The default settings for so many shards.
    pub fn with_shards(shards: usize) -> Config {
        Config {
            cpus: CpuList::of_shards(shards),
            shards,
            pin: true,
            idle: IdleStrategy::default(),
            placement: ConnectionPlacement::default(),
            max_connections: 50_000,
            nodelay: true,
            busy_poll: Duration::ZERO,
            quick_ack: false,
            ring_frames: 1024,
            outbox_mark: 4096,
            read_size: 64 * 1024,
            unconsumed_limit: 128 * 1024,
            linger: Duration::from_secs(2),
            journal: None,
            paging: None,
            watchdog_interval: Duration::from_millis(250),
            stall_limit: Duration::from_secs(5),
            long_turn: Duration::from_millis(10),
            preempt_timer: Duration::from_millis(100),
        }
    }
}
