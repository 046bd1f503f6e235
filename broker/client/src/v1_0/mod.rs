//! The same for AMQP 1.0: connections, sessions, links that send and links that receive, and transactions.
//!
//! Nothing here has a thread either. A [`Sender`] waits where the broker gives no credit; a [`Receiver`] settles what it
//! took in ranges, before the next wait or at [`Connection::flush`].
//!
//! ```no_run
//! use fletch_client::ConnectOptions;
//! use fletch_client::v1_0::{Connection, Outgoing, ReceiverOptions, SenderOptions, Terminus};
//! # fn main() -> Result<(), fletch_client::Error> {
//! let connection = Connection::connect("127.0.0.1:5672", &ConnectOptions::default())?;
//! let session = connection.session()?;
//! let queue = Terminus { capabilities: vec!["create-on-demand".into()], ..Terminus::of("q") };
//! let sender = session.sender(&SenderOptions { target: queue, ..Default::default() })?;
//! sender.send(&Outgoing::of_data(b"hello"))?;
//! sender.settle()?;
//! let receiver = session.receiver(&ReceiverOptions::of("q"))?;
//! while let Some(delivery) = receiver.next_delivery(std::time::Duration::from_secs(1))? {
//!     receiver.accept(&delivery)?;
//! }
//! connection.close()
//! # }
//! ```

mod books;
mod connection;
mod delivery;
mod failure;
mod link;
mod message;
mod open;
mod receiver;
mod sender;
mod sent;
mod sessions;
mod terminus;
mod transaction;
mod unsettled;

pub use connection::{Connection, Session};
pub use delivery::Delivery;
pub use failure::{Condition, Failure, Outcome};
pub use message::{Content, Outgoing};
pub use receiver::{Credit, Receiver, ReceiverOptions};
pub use sender::{Sender, SenderOptions};
pub use terminus::{Offered, Terminus};
pub use transaction::{Coordinator, Transaction};
pub use unsettled::Unsettled;
