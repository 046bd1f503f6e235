//! The AMQP 0-10 front end: from protocol events to engine requests and back.

mod connection;
mod dtx;
mod ending;
mod error;
mod later;
mod results;
mod sasl;
mod session;
mod settings;
mod transfer;
mod tx;
mod under_way;
mod unsettled;

pub(crate) use connection::{Connection, Step};
pub(crate) use ending::Ending;
pub(crate) use settings::Settings;
