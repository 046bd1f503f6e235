//! AMQP 0-10 with the Qpid errata: the table of commands, and the rules of its layers.
//!
//! The `table` macro states every control, command and struct of the specification but those of
//! the classes `file` and `stream`; `tests/spec.rs` proves it equal to the official XML.

mod assembly;
#[macro_use]
mod codec;
mod domains;
pub mod frame;
#[macro_use]
mod kinds;
pub mod message;
mod state;
pub mod table;

pub use assembly::{AssemblyLimits, Payload};
pub use codec::{BodyError, ClassRow, Compound, DomainRow, EntryRow, FieldRow, Struct32};
pub use domains::*;
pub use state::{
    AttachError, Blame, ClientConfig, ClientMechanism, Connection, Ending, Event, Limits,
    SendError, ServerConfig,
};
pub use table::{Command, Control};
