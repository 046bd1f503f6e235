//! One shard's state machine: queues, exchanges, topology; pure.
//!
//! [`Engine`] is the whole of it: inputs are requests of local sessions and [`Frame`]s of other
//! shards, with the time; what follows is put into [`Effects`]. See `ARCHITECTURE.md`.
#![forbid(unsafe_code)]

mod annotations;
mod dtx;
mod engine;
mod error;
mod frame;
mod identity;
mod ids;
mod look;
mod message;
mod notice;
mod pending;
pub mod queue;
mod request;
mod schedule;
pub mod selector;
mod store;
mod sweep;
#[cfg(test)]
mod testing;
pub mod topology;
mod transaction;
pub mod xquery;

pub use annotations::{ANNOTATIONS_MAX, Annotations, AnnotationsTooLarge};
pub use dtx::{BranchId, DtxConfig, DtxRequest, XaStatus};
pub use engine::{Config, Engine, Stats};
pub use error::{Error, ErrorKind};
pub use frame::{Destination, Effects, Frame, QueueCommand, QueueFrame, Taking};
pub use ids::{Epoch, Position, QueueId, SessionId, ShardId, SubscriptionId, Time};
pub use message::{Flags, Format, Message, Meta};
pub use notice::{Notice, QueueEvent, What};
pub use queue::{
    CreditUnit, FlowMode, HeaderFilter, QueueDefaults, ROOM_BYTES, ROOM_MESSAGES, Selection,
};
pub use request::*;
pub use schedule::scheduled;
pub use store::{
    CodecError, Combined, Journal, PagingConfig, Rehome, RestoreError, Restored, ShardRestore,
    Stored, combine,
};
pub use transaction::{Accepted, Routed, Share, Transaction, TxFrame};
