//! A thin blocking AMQP client over `fletch-amqp`, for the tools, the tests and the benchmarks: of 0-10 here, of 1.0 in
//! [`v1_0`].
//!
//! A [`Connection`] owns one TCP socket, with TLS on it if [`ConnectOptions::tls`] says so, and no thread: octets move only while one of its methods, or one of its
//! sessions', is called. Commands and messages are encoded into one buffer that is written when it is large, on
//! [`Session::flush`], and before every wait; replies are read in large pieces. Handles may move between threads, but
//! a call that waits keeps the connection to itself, so use a connection per thread where speed matters.
//!
//! ```no_run
//! use fletch_amqp::v0_10::table::queue;
//! use fletch_client::{ConnectOptions, Connection, Outgoing};
//! # fn main() -> Result<(), fletch_client::Error> {
//! let connection = Connection::connect("127.0.0.1:5672", &ConnectOptions::default())?;
//! let session = connection.session("example", false)?;
//! session.call(&queue::Declare { queue: Some("q"), ..Default::default() }.into())?;
//! session.send("", &Outgoing::to_queue("q", b"hello"))?;
//! session.sync()?;
//! session.consume("q", "in", 100)?;
//! while let Some(delivery) = session.next_delivery(std::time::Duration::from_secs(1))? {
//!     session.accept(delivery.id)?;
//! }
//! session.close()?;
//! connection.close()
//! # }
//! ```
#![forbid(unsafe_code)]

mod connection;
mod driver;
mod error;
mod input;
mod message;
mod options;
mod session;
mod sessions;
mod state;
mod tls;
pub mod v1_0;
mod wire;

pub use connection::Connection;
pub use error::Error;
pub use message::{Delivery, Outgoing};
pub use options::ConnectOptions;
pub use session::{Reply, Session, Subscription};
pub use tls::{Identity, TlsError, TlsOptions, Trust};

pub use fletch_amqp as amqp;
