//! The Fletch message broker: the daemon fletchd and the tool fletch.

pub mod config;
pub mod daemon;
pub mod data_dir;
mod front;
mod links;
pub mod logging;
mod shard;
pub mod signals;
mod timers;
pub mod tool;
mod transport;
mod v0_10;
mod v1_0;
mod web;
