//! What the end-to-end tests share: the running broker (`broker`), AMQP 0-10 frames written by hand
//! (`wire`), WebSocket frames (`web`), a broker with clients all over its shards (`scene`), TLS in front of it (`tls`), data directories that outlive brokers (`store`), the
//! books of clients whose broker is killed (`ledger`), messages that move in transactions meanwhile (`tokens`) and the
//! runners of the clients nobody here wrote (`foreign`).
//!
//! Nothing here knows the broker's insides: the tests see a process, a port, a log and what `/proc`
//! says. README.md tells how to run them and how to run more.

pub mod broker;
pub mod disk;
pub mod foreign;
pub mod ledger;
pub mod numbered;
pub mod random;
pub mod scene;
pub mod store;
pub mod tls;
pub mod tokens;
pub mod web;
pub mod wire;
