//! A connection with a session, in either protocol, as the tools use it.

mod terminus;
mod v0_10;
mod v1_0;

use std::time::Duration;

use anyhow::Result;

use super::address::Address;
use super::connect::{ConnectArgs, Protocol};
use super::message::Message;

/// See the module.
pub(super) trait Wire {
    /// A link to send to an address.
    fn sender(&self, address: Address) -> Result<Box<dyn Outlet>>;

    /// A link to receive from an address, with room for `capacity` messages in advance.
    fn receiver(&self, address: Address, capacity: u32) -> Result<Box<dyn Inlet>>;

    /// Writes everything that is to be written.
    fn flush(&self) -> Result<()>;

    /// Waits until the broker has said what became of all that was sent.
    fn sync(&self) -> Result<()>;

    /// Ends session and connection in order.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A link to send on.
pub(super) trait Outlet {
    /// Sends a message; waits when too many are not confirmed.
    fn send(&self, message: &Message) -> Result<()>;

    /// How many messages the broker has not taken, of those of which it has said so.
    fn rejected(&self) -> u64;

    /// Ends it, and undoes what the address says to undo.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A link to receive on.
pub(super) trait Inlet {
    /// The next message that has been read already.
    fn take(&mut self) -> Result<Option<Message>>;

    /// The next message; waits at most `timeout`, or for ever. Says that there is none only when the broker has said so.
    fn fetch(&mut self, timeout: Option<Duration>) -> Result<Option<Message>>;

    /// Accepts all that was taken since, as far as it has to be.
    fn accept(&mut self) -> Result<()>;

    /// Ends it, gives back what came and was not taken, and undoes what the address says to undo.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Connects as the options say. `window`: messages that may be sent and not confirmed.
pub(super) fn connect(args: &ConnectArgs, window: Option<u32>) -> Result<Box<dyn Wire>> {
    Ok(match args.protocol()? {
        Protocol::V0_10 => Box::new(v0_10::Wire::connect(args, window)?),
        Protocol::V1_0 => Box::new(v1_0::Wire::connect(args, window)?),
    })
}
