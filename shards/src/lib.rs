//! The per-core runtime: executors, pump, mesh, idle strategies, timers and sockets.
//!
//! A **shard** is one thread, pinned to one core, with one io_uring event loop and everything
//! that lives there: the connections placed on it and one [`Service`], the broker's part of the
//! shard. Shards share nothing. They exchange the service's frames over single-producer rings
//! ([`Cx::send`]), and helper threads reach them through a channel ([`Handle::control`]).
//!
//! This crate knows bytes and frames, not queues. All callbacks of a service run on its shard's
//! thread, one at a time, never inside an `await`. One round of them is a *turn*: input of
//! sockets, ends of disk IO, control messages, frames, timers, then `turn_end`, then IO is
//! started, output is written and frames are pushed, then the shard sleeps as its
//! [`IdleStrategy`] says.
//!
//! `runtime/` is the only place that names the event loop's crate.

#[cfg(not(loom))]
mod accept;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod cpus;
#[cfg(not(loom))]
mod disk;
#[cfg(not(loom))]
mod files;
#[cfg(not(loom))]
mod idle;
#[cfg(not(loom))]
mod mesh;
#[cfg(not(loom))]
mod paging;
#[cfg(not(loom))]
mod placement;
#[cfg(not(loom))]
mod runtime;
#[cfg(not(loom))]
mod service;
#[cfg(not(loom))]
mod signal;
#[cfg(not(loom))]
mod startup;
#[cfg(not(loom))]
mod stats;
#[cfg(not(loom))]
pub mod store;
mod wake;
#[cfg(not(loom))]
mod watchdog;

#[cfg(not(loom))]
pub use self::{
    clock::Clock,
    config::Config,
    cpus::{CpuList, CpuListError, usual_shards},
    disk::{DiskError, Durability, JournalConfig, WRITE_MAX, check_direct_io},
    idle::{DurationError, IdleStrategy, IdleStrategyError, parse_duration},
    paging::{clear_paging, prepare_paging},
    placement::{ConnectionPlacement, Listener, PlacementError},
    runtime::{Cx, Handle, Runtime, ShardGone},
    service::{ConnectionId, Disconnect, Origin, Peer, Service},
    startup::StartError,
    stats::ShardStats,
};
