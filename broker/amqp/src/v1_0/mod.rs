//! AMQP 1.0: its values, the table of its composite types, its frames and its messages.
//!
//! The `table` macro states every composite type of the specification; `tests/spec_v1_0.rs` proves it
//! equal to the official XML.

#[macro_use]
mod archetype;
#[macro_use]
mod codec;
mod fields;
pub mod frame;
#[macro_use]
mod kinds;
pub mod message;
mod multiple;
pub mod quick;
mod restricted;
pub mod state;
pub mod table;
pub mod types;

pub use archetype::ArchetypeRow;
pub use codec::{Composite, CompositeError, CompositeRow, Descriptor, FieldRow, RestrictedRow};
pub use kinds::{ALIASES, SequenceNo};
pub use multiple::Multiple;
pub use restricted::*;
pub use table::{
    DeliveryState, LifetimePolicy, Outcome, Performative, SaslFrame, SourceKind, TargetKind,
};
