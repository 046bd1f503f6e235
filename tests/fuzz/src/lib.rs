//! What the fuzz targets check. Each check takes the octets of one input and panics if something
//! is wrong; `src/bin` has one libFuzzer target for each, of the same name.
//!
//! `amqp` depends on nothing but `fletch-amqp`: `broker/amqp/tests/corpus.rs` runs it without
//! libFuzzer over the corpus that is checked in. `engine` needs `fletch-engine` besides, and `journal`
//! `fletch-journal` alone, `web` `fletch-web`; the tests `corpus` of those crates do the same.

pub mod amqp;
pub mod engine;
pub mod journal;
pub mod web;
