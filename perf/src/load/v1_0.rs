//! The ends of a flow in AMQP 1.0. What needs no confirmation is settled when it is sent, on both sides of the broker.
//! Queues are dynamic nodes, which any broker has: it names them, and they go with the link that asked for them.

use super::ends::{Destination, Incoming, Outgoing, Source};
use super::flow::{Flow, WINDOW};
use crate::target::Target;
use anyhow::{Context, Result};
use fletch_client::amqp::v1_0::SenderSettleMode;
use fletch_client::amqp::v1_0::message::Body;
use fletch_client::amqp::v1_0::types::Value;
use fletch_client::v1_0::{
    Connection, Credit, Delivery, Receiver, ReceiverOptions, Sender, SenderOptions, Terminus,
};
use std::time::Duration;

/// A node that the broker makes and names, and that goes with the link.
fn dynamic(durable: bool) -> Terminus {
    let properties = match durable {
        true => vec![("durable".to_owned(), Value::Boolean(true))],
        false => Vec::new(),
    };
    Terminus { dynamic: true, properties, ..Terminus::default() }
}

/// See [`Incoming`].
pub(super) struct Consumer {
    connection: Connection,
    receiver: Receiver,
    accepts: bool,
    taken: Vec<Delivery>,
}

impl Consumer {
    pub(super) fn subscribe(
        connection: Connection,
        flow: &Flow,
        source: Source<'_>,
    ) -> Result<Consumer> {
        let source = match source {
            Source::Own(_) => dynamic(flow.durable),
            // The broker makes the queue of a subscription itself.
            Source::Copy(_, address) => Terminus { durable: flow.durable, ..Terminus::of(address) },
            Source::Queue(address) => Terminus::of(address),
        };
        let options = ReceiverOptions {
            source,
            settle_mode: match flow.ack {
                true => SenderSettleMode::UNSETTLED,
                false => SenderSettleMode::SETTLED,
            },
            credit: match flow.ack {
                true => Credit::Window(WINDOW),
                false => Credit::Once(u32::MAX),
            },
            ..Default::default()
        };
        let receiver = connection.session()?.receiver(&options)?;
        connection.flush()?;
        Ok(Consumer { connection, receiver, accepts: flow.ack, taken: Vec::new() })
    }
}

impl Incoming for Consumer {
    fn address(&self) -> &str {
        self.receiver.address()
    }

    fn take(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        let count = self.receiver.take_deliveries(&mut self.taken);
        for delivery in self.taken.drain(..) {
            let Body::Data(mut pieces) = delivery.view()?.body() else {
                anyhow::bail!("a body that is no octets");
            };
            each(pieces.next().context("an empty body")?)?;
            if self.accepts {
                self.receiver.accept(&delivery)?;
            }
        }
        Ok(count)
    }

    fn poll(&self, wait: Duration) -> Result<()> {
        Ok(self.connection.poll(wait)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.receiver.close()?;
        Ok(self.connection.close()?)
    }
}

/// See [`Outgoing`].
pub(super) struct Publisher {
    connection: Connection,
    sender: Sender,
    /// What comes before the octets of the body.
    head: Vec<u8>,
    sent: u64,
}

impl Publisher {
    pub(super) fn attach(
        connection: Connection,
        flow: &Flow,
        to: Destination<'_>,
    ) -> Result<Publisher> {
        let (Destination::Queue(address) | Destination::Exchange(address)) = to;
        let settled = !flow.ack && !flow.confirm;
        let options = SenderOptions { settled, ..SenderOptions::of(address) };
        let sender = connection.session()?.sender(&options)?;
        let (mut head, body) = (Vec::new(), vec![0; flow.size]);
        let mut message = fletch_client::v1_0::Outgoing::of_data(&body);
        message.header.durable = flow.durable;
        message.encode(&mut head)?;
        head.truncate(head.len() - body.len());
        Ok(Publisher { connection, sender, head, sent: 0 })
    }
}

impl Outgoing for Publisher {
    fn send(&mut self, body: &[u8]) -> Result<()> {
        self.sender.send_encoded(&[&self.head, body])?;
        self.sent += 1;
        Ok(())
    }

    fn ask(&mut self) -> Result<()> {
        // Each delivery that is not settled when it is sent gets an outcome.
        Ok(())
    }

    fn confirmed(&mut self) -> u64 {
        self.sent - u64::from(self.sender.unsettled())
    }

    fn poll(&self, wait: Duration) -> Result<()> {
        Ok(self.connection.poll(wait)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sender.settle()?;
        if let Some((_, outcome)) = self.sender.take_failed().first() {
            anyhow::bail!("a message was not accepted but {outcome}");
        }
        self.sender.close()?;
        Ok(self.connection.close()?)
    }
}

/// A queue that goes with the link that is held here.
pub(crate) struct Kept {
    sender: Sender,
    connection: Connection,
}

impl Kept {
    pub(super) fn make(target: &Target, durable: bool) -> Result<Kept> {
        let connection = target.connect_1_0()?;
        let options = SenderOptions { target: dynamic(durable), ..SenderOptions::default() };
        let sender = connection.session()?.sender(&options)?;
        Ok(Kept { sender, connection })
    }

    pub(super) fn address(&self) -> &str {
        self.sender.address()
    }

    pub(super) fn delete(self) -> Result<()> {
        self.sender.close()?;
        Ok(self.connection.close()?)
    }
}
