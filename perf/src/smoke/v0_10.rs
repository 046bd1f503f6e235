//! The ends of a flow in AMQP 0-10.

use super::clients::{EXCHANGE, Flow, Incoming, Outgoing, WINDOW};
use crate::broker::{Broker, unlimited};
use anyhow::Result;
use fletch_client::amqp::v0_10::table::{exchange, queue};
use fletch_client::amqp::v0_10::{AcceptMode, DeliveryMode};
use fletch_client::{Connection, Delivery, Session, Subscription};
use std::time::Duration;

const DESTINATION: &str = "in";

/// See [`Incoming`].
pub(super) struct Consumer {
    connection: Connection,
    session: Session,
    accepts: bool,
    taken: Vec<Delivery>,
}

impl Consumer {
    /// Makes a queue of the connection's own and subscribes to it.
    pub(super) fn subscribe(broker: &Broker, at: usize, flow: &Flow) -> Result<Consumer> {
        let connection = broker.connect()?;
        let name = Flow::queue(at);
        let session = connection.session(&name, false)?;
        let declare = queue::Declare {
            queue: Some(&name),
            durable: flow.durable,
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        session.command(&declare.into())?;
        if flow.fan_out > 1 {
            let bind = exchange::Bind {
                queue: Some(&name),
                exchange: Some(EXCHANGE),
                ..Default::default()
            };
            session.command(&bind.into())?;
        }
        let accept_mode = if flow.ack { AcceptMode::EXPLICIT } else { AcceptMode::NONE };
        session.subscribe(&Subscription {
            queue: &name,
            destination: DESTINATION,
            accept_mode,
            ..Default::default()
        })?;
        if flow.ack {
            session.window(DESTINATION, WINDOW)?;
        } else {
            unlimited(&session, DESTINATION)?;
        }
        session.sync()?;
        Ok(Consumer { connection, session, accepts: flow.ack, taken: Vec::new() })
    }
}

impl Incoming for Consumer {
    fn take(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        let count = self.session.take_deliveries(&mut self.taken);
        for delivery in self.taken.drain(..) {
            each(delivery.body())?;
            if self.accepts {
                self.session.accept(delivery.id)?;
            }
        }
        Ok(count)
    }

    fn poll(&self, wait: Duration) -> Result<()> {
        Ok(self.connection.poll(wait)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.session.close()?)
    }
}

/// See [`Outgoing`].
pub(super) struct Publisher {
    connection: Connection,
    session: Session,
    exchange: &'static str,
    header: Vec<u8>,
}

impl Publisher {
    /// Ready to publish to the consumers' queues.
    pub(super) fn attach(connection: Connection, flow: &Flow) -> Result<Publisher> {
        let session = connection.session("publisher", false)?;
        let queue = Flow::queue(0);
        let (exchange, key) = if flow.fan_out > 1 { (EXCHANGE, "") } else { ("", queue.as_str()) };
        let mut header = Vec::new();
        let mut message = fletch_client::Outgoing::with_key(key, b"");
        message.delivery.delivery_mode = flow.durable.then_some(DeliveryMode::PERSISTENT);
        message.encode_header(&mut header)?;
        Ok(Publisher { connection, session, exchange, header })
    }
}

impl Outgoing for Publisher {
    fn send(&mut self, body: &[u8]) -> Result<()> {
        self.session.send_encoded(self.exchange, &self.header, body)?;
        Ok(())
    }

    fn poll(&self, wait: Duration) -> Result<()> {
        Ok(self.connection.poll(wait)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.session.sync()?;
        Ok(self.session.close()?)
    }
}
