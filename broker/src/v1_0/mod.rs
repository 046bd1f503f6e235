//! The AMQP 1.0 front end: from protocol events to engine requests and back.

mod answer;
mod attach;
mod claim;
mod connection;
mod deliveries;
mod error;
mod filters;
mod incoming;
mod leaving;
mod ledger;
mod nodes;
mod properties;
mod session;
mod settings;
mod subscription;
mod transactions;

pub(crate) use claim::{left, rejected};
pub(crate) use connection::Connection;
pub(crate) use settings::server_config;
