//! What the benchmarks share: the messages (`message`) and how figures are shown (`report`).
#![forbid(unsafe_code)]

pub mod message;
pub mod report;
