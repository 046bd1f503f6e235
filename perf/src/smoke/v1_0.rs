//! The ends of a flow in AMQP 1.0. Without acceptance all is settled when it is sent, on both sides of the broker.

use super::clients::{EXCHANGE, Flow, Incoming, Outgoing, WINDOW};
use crate::broker::Broker;
use anyhow::{Context, Result};
use fletch_client::amqp::v1_0::SenderSettleMode;
use fletch_client::amqp::v1_0::message::Body;
use fletch_client::amqp::v1_0::types::Value;
use fletch_client::v1_0::{
    Connection, Credit, Delivery, Receiver, ReceiverOptions, Sender, SenderOptions, Terminus,
};
use std::time::Duration;

/// See [`Incoming`].
pub(super) struct Consumer {
    connection: Connection,
    receiver: Receiver,
    accepts: bool,
    taken: Vec<Delivery>,
}

impl Consumer {
    /// Makes a queue of the connection's own and subscribes to it.
    pub(super) fn subscribe(broker: &Broker, at: usize, flow: &Flow) -> Result<Consumer> {
        let connection = broker.connect_1_0()?;
        let yes = |name: &str| (name.to_owned(), Value::Boolean(true));
        let source = match flow.fan_out {
            // The broker makes the queue of a subscription itself.
            2.. => Terminus { durable: flow.durable, ..Terminus::of(EXCHANGE) },
            _ => Terminus {
                capabilities: vec!["create-on-demand".into(), "queue".into()],
                properties: match flow.durable {
                    true => vec![yes("auto-delete"), yes("durable")],
                    false => vec![yes("auto-delete")],
                },
                ..Terminus::of(Flow::queue(at))
            },
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
}

impl Publisher {
    /// Ready to publish to the consumers' queues.
    pub(super) fn attach(connection: Connection, flow: &Flow) -> Result<Publisher> {
        let address = if flow.fan_out > 1 { EXCHANGE.to_owned() } else { Flow::queue(0) };
        let options = SenderOptions { settled: !flow.ack, ..SenderOptions::of(address) };
        let sender = connection.session()?.sender(&options)?;
        let (mut head, body) = (Vec::new(), vec![0; flow.size]);
        let mut message = fletch_client::v1_0::Outgoing::of_data(&body);
        message.header.durable = flow.durable;
        message.encode(&mut head)?;
        head.truncate(head.len() - body.len());
        Ok(Publisher { connection, sender, head })
    }
}

impl Outgoing for Publisher {
    fn send(&mut self, body: &[u8]) -> Result<()> {
        self.sender.send_encoded(&[&self.head, body])?;
        Ok(())
    }

    fn poll(&self, wait: Duration) -> Result<()> {
        Ok(self.connection.poll(wait)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sender.close()?;
        Ok(self.connection.close()?)
    }
}
