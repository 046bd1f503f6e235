//! The ends of a flow in AMQP 0-10.

use super::ends::{Destination, Incoming, Outgoing, Source};
use super::flow::{Flow, WINDOW};
use crate::target::{Target, unlimited};
use anyhow::Result;
use fletch_client::amqp::v0_10::table::{exchange, queue};
use fletch_client::amqp::v0_10::{AcceptMode, DeliveryMode};
use fletch_client::{Connection, Delivery, Session, Subscription};
use std::collections::VecDeque;
use std::time::Duration;

const DESTINATION: &str = "in";

/// See [`Incoming`].
pub(super) struct Consumer {
    connection: Connection,
    session: Session,
    queue: String,
    accepts: bool,
    taken: Vec<Delivery>,
}

impl Consumer {
    pub(super) fn subscribe(
        connection: Connection,
        flow: &Flow,
        name: &str,
        source: Source<'_>,
    ) -> Result<Consumer> {
        let session = connection.session(name, false)?;
        let queue = match source {
            Source::Own(queue) | Source::Copy(queue, _) | Source::Queue(queue) => queue,
        };
        if !matches!(source, Source::Queue(_)) {
            let declare = queue::Declare {
                queue: Some(queue),
                durable: flow.durable,
                exclusive: true,
                auto_delete: true,
                ..Default::default()
            };
            session.command(&declare.into())?;
        }
        if let Source::Copy(_, exchange) = source {
            let (queue, exchange) = (Some(queue), Some(exchange));
            session.command(&exchange::Bind { queue, exchange, ..Default::default() }.into())?;
        }
        let accept_mode = if flow.ack { AcceptMode::EXPLICIT } else { AcceptMode::NONE };
        session.subscribe(&Subscription {
            queue,
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
        let queue = queue.to_owned();
        Ok(Consumer { connection, session, queue, accepts: flow.ack, taken: Vec::new() })
    }
}

impl Incoming for Consumer {
    fn address(&self) -> &str {
        &self.queue
    }

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
        self.session.close()?;
        Ok(self.connection.close()?)
    }
}

/// See [`Outgoing`].
pub(super) struct Publisher {
    connection: Connection,
    session: Session,
    exchange: String,
    header: Vec<u8>,
    /// Commands sent: messages, and those that ask for confirmations.
    commands: u64,
    /// The places among the commands of those that ask and are not complete.
    asked: VecDeque<u64>,
    /// Those that ask and are complete.
    answered: u64,
}

impl Publisher {
    pub(super) fn attach(
        connection: Connection,
        flow: &Flow,
        name: &str,
        to: Destination<'_>,
    ) -> Result<Publisher> {
        let session = connection.session(name, false)?;
        session.sync()?;
        let (exchange, key) = match to {
            Destination::Queue(queue) => (String::new(), queue),
            Destination::Exchange(exchange) => (exchange.to_owned(), ""),
        };
        let mut header = Vec::new();
        let mut message = fletch_client::Outgoing::with_key(key, b"");
        message.delivery.delivery_mode = flow.durable.then_some(DeliveryMode::PERSISTENT);
        message.encode_header(&mut header)?;
        let asked = VecDeque::new();
        Ok(Publisher { connection, session, exchange, header, commands: 0, asked, answered: 0 })
    }
}

impl Outgoing for Publisher {
    fn send(&mut self, body: &[u8]) -> Result<()> {
        self.session.send_encoded(&self.exchange, &self.header, body)?;
        self.commands += 1;
        Ok(())
    }

    fn ask(&mut self) -> Result<()> {
        self.session.ask_sync()?;
        self.asked.push_back(self.commands);
        self.commands += 1;
        Ok(())
    }

    fn confirmed(&mut self) -> u64 {
        let complete = self.commands - u64::from(self.session.incomplete());
        while self.asked.front().is_some_and(|at| *at < complete) {
            self.asked.pop_front();
            self.answered += 1;
        }
        complete - self.answered
    }

    fn poll(&self, wait: Duration) -> Result<()> {
        Ok(self.connection.poll(wait)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.session.sync()?;
        self.session.close()?;
        Ok(self.connection.close()?)
    }
}

/// A queue that is deleted by name.
pub(crate) struct Kept {
    session: Session,
    queue: String,
}

impl Kept {
    pub(super) fn make(target: &Target, durable: bool, name: &str) -> Result<Kept> {
        let session =
            target.connect()?.session(&format!("{name} of {}", std::process::id()), false)?;
        session
            .call(&queue::Declare { queue: Some(name), durable, ..Default::default() }.into())?;
        Ok(Kept { session, queue: name.to_owned() })
    }

    pub(super) fn address(&self) -> &str {
        &self.queue
    }

    pub(super) fn delete(self) -> Result<()> {
        let queue = Some(self.queue.as_str());
        self.session.call(&queue::Delete { queue, ..Default::default() }.into())?;
        Ok(self.session.close()?)
    }
}
