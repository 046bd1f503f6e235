//! Sans-IO AMQP: types, codec, connection and session state machines for both roles.
//!
//! Bytes go in by borrow, events come out; commands go in, bytes are appended to a buffer that the
//! caller owns. Nothing here opens a socket, reads a clock, starts a thread or draws a random
//! number: time and randomness arrive as arguments. Nothing here panics on what a peer sends, and
//! nothing allocates more than a small multiple of the bytes that are really present.
//!
//! Layers, from the bottom: [`wire`] (octets), [`types`] and [`serial`] (values), [`v0_10`]
//! (the 0-10 table of commands, frames, connection and session rules). [`v1_0`] has values of its own,
//! its table of composite types, its frames and its messages;
//! [`convert`] goes between the two.
#![forbid(unsafe_code)]

mod annotated;
mod clock;
pub mod convert;
pub mod limits;
pub mod serial;
mod sniff;
pub mod types;
pub mod v0_10;
pub mod v1_0;
pub mod wire;

pub use serial::{CommandId, SequenceSet};
pub use sniff::{Sniff, sniff};
pub use types::{Map, MapRef, Value, ValueRef};
pub use wire::{DecodeError, EncodeError};
