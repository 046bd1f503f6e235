//! The engine: what clients give it to understand. Depends on nothing but `fletch-engine` and
//! `fletch-amqp`.

mod selector;
mod xquery;

pub use selector::selector;
pub use xquery::xquery;

/// A check of one input.
pub type Check = fn(&[u8]);

/// All of them by name.
pub const TARGETS: &[(&str, Check)] = &[("selector", selector), ("xquery", xquery)];
