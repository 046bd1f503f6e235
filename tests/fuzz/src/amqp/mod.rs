//! The checks of `fletch-amqp`: values, frames and tables, and the state machines.

mod convert;
mod machine;
mod machine_v1_0;
mod pair;
mod script;
mod v1_0;
mod values;
mod wire;

pub use convert::convert;
pub use machine::{connection_chunks, connection_client, connection_server};
pub use machine_v1_0::{v1_0_chunks, v1_0_connection};
pub use pair::pair;
pub use script::Script;
pub use v1_0::{v1_0_frames, v1_0_message, v1_0_types};
pub use values::{sequence_set, sniff, types};
pub use wire::{controls_commands, frame_header, message_header};

/// A check of one input.
pub type Check = fn(&[u8]);

/// All of them by name.
pub const TARGETS: &[(&str, Check)] = &[
    ("types", types),
    ("sequence_set", sequence_set),
    ("frame_header", frame_header),
    ("controls_commands", controls_commands),
    ("message_header", message_header),
    ("connection_server", connection_server),
    ("connection_client", connection_client),
    ("connection_chunks", connection_chunks),
    ("pair", pair),
    ("sniff", sniff),
    ("v1_0_types", v1_0_types),
    ("v1_0_frames", v1_0_frames),
    ("v1_0_message", v1_0_message),
    ("v1_0_connection", v1_0_connection),
    ("v1_0_chunks", v1_0_chunks),
    ("convert", convert),
];
