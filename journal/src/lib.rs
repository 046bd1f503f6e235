//! The append-only journal of a shard: its format, without disk, clock or thread.
//!
//! So far this crate holds what everything else of it will stand on: positions ([`Lsn`]) and the
//! **batch**, the only unit ever written. Writing, recovery and reclaim come with the journal.
#![forbid(unsafe_code)]

mod batch;
mod lsn;

pub use batch::{BODY_MAX, Batch, BatchError, Header, encode};
pub use lsn::{ALIGN, Lsn};
