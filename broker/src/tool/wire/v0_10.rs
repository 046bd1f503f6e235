//! AMQP 0-10.

use std::time::Duration;

use anyhow::{Result, bail};
use fletch_amqp::SequenceSet;
use fletch_client::{Connection, Delivery, Session};

use super::{Inlet, Outlet};
use crate::tool::address::{Address, Receiver, Sender};
use crate::tool::connect::ConnectArgs;
use crate::tool::message::Message;

pub(super) struct Wire {
    connection: Connection,
    session: Session,
}

impl Wire {
    pub(super) fn connect(args: &ConnectArgs, window: Option<u32>) -> Result<Wire> {
        let (connection, session) = args.session(|options| {
            options.send_window = window.unwrap_or(options.send_window);
        })?;
        Ok(Wire { connection, session })
    }
}

impl super::Wire for Wire {
    fn sender(&self, address: Address) -> Result<Box<dyn Outlet>> {
        check(&address)?;
        let sender = Sender::open(&self.session, address)?;
        Ok(Box::new(Out { session: self.session.clone(), sender }))
    }

    fn receiver(&self, address: Address, capacity: u32) -> Result<Box<dyn Inlet>> {
        check(&address)?;
        let receiver = Receiver::open(&self.session, address, "in", capacity)?;
        let (session, unaccepted) = (self.session.clone(), SequenceSet::new());
        Ok(Box::new(In { session, receiver, unaccepted }))
    }

    fn flush(&self) -> Result<()> {
        Ok(self.session.flush()?)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.session.sync()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.session.close()?;
        Ok(self.connection.close()?)
    }
}

/// Refuses what an address asks for that only AMQP 1.0 has.
fn check(address: &Address) -> Result<()> {
    let (node, link) = (&address.options.node, &address.options.link);
    for (name, given) in [
        ("node: {capabilities}", !node.capabilities.is_empty()),
        ("node: {properties}", !node.properties.is_empty()),
        ("link: {filter}", !link.filters.is_empty()),
    ] {
        if given {
            bail!("{name}: AMQP 0-10 has nothing like this option of an address");
        }
    }
    Ok(())
}

struct Out {
    session: Session,
    sender: Sender,
}

impl Outlet for Out {
    fn send(&self, message: &Message) -> Result<()> {
        message.encode(self.sender.subject(), |subject, message| {
            self.sender.send(subject, message).map(drop)
        })?;
        Ok(())
    }

    fn rejected(&self) -> u64 {
        self.session.rejected().id_count()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.sender.close()?)
    }
}

struct In {
    session: Session,
    receiver: Receiver,
    unaccepted: SequenceSet,
}

impl In {
    fn taken(&mut self, delivery: &Delivery) -> Result<Message> {
        if self.receiver.is_reliable() {
            self.unaccepted.add(delivery.id);
        }
        Ok(Message::decode(delivery.header(), delivery.body())?)
    }
}

impl Inlet for In {
    fn take(&mut self) -> Result<Option<Message>> {
        let delivery = self.session.take_delivery();
        delivery.map(|delivery| self.taken(&delivery)).transpose()
    }

    fn fetch(&mut self, timeout: Option<Duration>) -> Result<Option<Message>> {
        let delivery = self.receiver.fetch(timeout)?;
        delivery.map(|delivery| self.taken(&delivery)).transpose()
    }

    fn accept(&mut self) -> Result<()> {
        if !self.unaccepted.is_empty() {
            self.session.accept_all(&std::mem::take(&mut self.unaccepted))?;
            self.session.flush()?;
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.receiver.close()?)
    }
}
