//! The two ends of a flow, whatever the protocol: those are in `v0_10` and `v1_0`.

use super::flow::Flow;
use super::{v0_10, v1_0};
use crate::protocol::Protocol;
use crate::target::{Client, Link, Target};
use anyhow::Result;
use std::net::TcpStream;
use std::time::Duration;

/// Where a consumer's messages come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// A queue of its own that goes with it. With AMQP 1.0 the broker names it.
    Own(&'a str),
    /// Such a queue with a copy of what an exchange gets.
    Copy(&'a str, &'a str),
    /// A queue that is there.
    Queue(&'a str),
}

/// Where a publisher's messages go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Destination<'a> {
    Queue(&'a str),
    Exchange(&'a str),
}

/// A consumer's end of a connection.
pub(crate) trait Incoming: Send {
    /// What publishers call the queue.
    fn address(&self) -> &str;

    /// Calls `each` with the bodies that have been read already, accepts them if the flow has it so, and says how many.
    fn take(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize>;

    /// Writes what is to be written, and reads what is there or comes within `wait`.
    fn poll(&self, wait: Duration) -> Result<()>;

    /// Ends in order: the next flow through this broker uses the same names.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A publisher's end of a connection.
pub(crate) trait Outgoing: Send {
    /// Sends a message; the broker may hold it back.
    fn send(&mut self, body: &[u8]) -> Result<()>;

    /// Asks the broker to confirm what was sent so far, where it does not do so unasked.
    fn ask(&mut self) -> Result<()>;

    /// How many messages it has confirmed; of a flow that asks for it. It may confirm them in another order: then the
    /// count, and so the distribution, is right, but not for which.
    fn confirmed(&mut self) -> u64;

    /// Writes what was sent, and reads what is there or comes within `wait`.
    fn poll(&self, wait: Duration) -> Result<()>;

    /// Ends in order, once the broker has all.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A consumer's end, and its socket to wait on.
pub(crate) struct Receiving {
    pub(crate) end: Box<dyn Incoming>,
    pub(crate) socket: TcpStream,
}

/// A publisher's end, and its socket to wait on.
pub(crate) struct Sending {
    pub(crate) end: Box<dyn Outgoing>,
    pub(crate) socket: TcpStream,
}

/// Subscribes over a connection of its own. The name tells its session from others.
pub(crate) fn subscribe(
    target: &Target,
    flow: &Flow,
    name: &str,
    source: Source<'_>,
) -> Result<Receiving> {
    let Client { link, socket } = target.connect_by(flow.protocol)?;
    let end: Box<dyn Incoming> = match link {
        Link::V0_10(link) => Box::new(v0_10::Consumer::subscribe(link, flow, name, source)?),
        Link::V1_0(link) => Box::new(v1_0::Consumer::subscribe(link, flow, source)?),
    };
    Ok(Receiving { end, socket })
}

/// Ready to publish over a connection, once the consumers are there.
pub(crate) fn attach(
    client: Client,
    flow: &Flow,
    name: &str,
    to: Destination<'_>,
) -> Result<Sending> {
    let Client { link, socket } = client;
    let end: Box<dyn Outgoing> = match link {
        Link::V0_10(link) => Box::new(v0_10::Publisher::attach(link, flow, name, to)?),
        Link::V1_0(link) => Box::new(v1_0::Publisher::attach(link, flow, to)?),
    };
    Ok(Sending { end, socket })
}

/// A queue that does not go with its consumers, but with this.
pub(crate) enum Kept {
    V0_10(v0_10::Kept),
    V1_0(v1_0::Kept),
}

impl Kept {
    /// Makes it.
    pub(crate) fn make(target: &Target, flow: &Flow, name: &str) -> Result<Kept> {
        Ok(match flow.protocol {
            Protocol::V0_10 => Kept::V0_10(v0_10::Kept::make(target, flow.durable, name)?),
            Protocol::V1_0 => Kept::V1_0(v1_0::Kept::make(target, flow.durable)?),
        })
    }

    /// What clients call it.
    pub(crate) fn address(&self) -> &str {
        match self {
            Kept::V0_10(kept) => kept.address(),
            Kept::V1_0(kept) => kept.address(),
        }
    }

    /// Deletes it with all that is in it.
    pub(crate) fn delete(self) -> Result<()> {
        match self {
            Kept::V0_10(kept) => kept.delete(),
            Kept::V1_0(kept) => kept.delete(),
        }
    }
}
