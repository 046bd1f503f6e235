//! The AMQP 0-10 front end: from protocol events to engine requests and back.

mod connection;
mod dtx;
mod error;
mod later;
mod results;
mod session;
mod transfer;

pub(crate) use connection::Connection;
