//! The engine: what clients give it to understand. Depends on nothing but `fletch-engine`.

mod selector;

pub use selector::selector;

/// A check of one input.
pub type Check = fn(&[u8]);

/// All of them by name.
pub const TARGETS: &[(&str, Check)] = &[("selector", selector)];
