//! AMQP 1.0. Messages are what they are in 0-10, converted as the broker converts them: what these tools show of a
//! message does not depend on how it came.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::Result;
use fletch_amqp::convert::{Delivery as Header, Node, to_0_10, to_1_0};
use fletch_amqp::v1_0::SenderSettleMode;
use fletch_amqp::v1_0::message::put_header;
use fletch_client::v1_0::{
    Connection, Credit, Delivery, Outcome, Receiver, ReceiverOptions, Sender, SenderOptions,
    Session,
};

use super::terminus::{self, For};
use super::{Inlet, Outlet};
use crate::tool::address::Address;
use crate::tool::connect::ConnectArgs;
use crate::tool::message::Message;
use crate::tool::unique::unique_name;

/// The priority of a message that says none; in 0-10 that is 0 here.
const PRIORITY: u8 = 4;

pub(super) struct Wire {
    connection: Connection,
    session: Session,
    /// Of outlets, to wait for.
    senders: RefCell<Vec<Sender>>,
    window: u32,
}

impl Wire {
    pub(super) fn connect(args: &ConnectArgs, window: Option<u32>) -> Result<Wire> {
        let connection = args.connect_1_0()?;
        let session = connection.session()?;
        let window = window.unwrap_or(u32::MAX);
        Ok(Wire { connection, session, senders: RefCell::default(), window })
    }
}

impl super::Wire for Wire {
    fn sender(&self, address: Address) -> Result<Box<dyn Outlet>> {
        let target = terminus::of(&address, For::Sender)?;
        let link = &address.options.link;
        let options = SenderOptions {
            name: Some(link_name(&address)),
            target,
            settled: link.reliability.is_some_and(|reliability| reliability.is_unreliable()),
            ..SenderOptions::default()
        };
        let sender = self.session.sender(&options)?;
        terminus::assert(&address, For::Sender, &options.target, sender.offered())?;
        self.senders.borrow_mut().push(sender.clone());
        let (subject, window) = (address.subject, self.window);
        Ok(Box::new(Out { sender, subject, window, rejected: Cell::new(0) }))
    }

    fn receiver(&self, address: Address, capacity: u32) -> Result<Box<dyn Inlet>> {
        let source = terminus::of(&address, For::Receiver)?;
        let settle_mode = match address.options.link.reliability {
            Some(reliability) if reliability.is_unreliable() => SenderSettleMode::SETTLED,
            Some(_) => SenderSettleMode::UNSETTLED,
            // What is only looked at need not be accepted.
            None if source.browse => SenderSettleMode::SETTLED,
            None => SenderSettleMode::MIXED,
        };
        let options = ReceiverOptions {
            name: Some(link_name(&address)),
            source,
            settle_mode,
            credit: if capacity > 0 { Credit::Window(capacity) } else { Credit::Once(0) },
            ..ReceiverOptions::default()
        };
        let receiver = self.session.receiver(&options)?;
        terminus::assert(&address, For::Receiver, &options.source, receiver.offered())?;
        let connection = self.connection.clone();
        let lasting = address.options.link.durable;
        Ok(Box::new(In { connection, receiver, capacity, lasting, unaccepted: Vec::new() }))
    }

    fn flush(&self) -> Result<()> {
        Ok(self.connection.flush()?)
    }

    fn sync(&self) -> Result<()> {
        for sender in self.senders.borrow().iter() {
            sender.settle()?;
        }
        self.flush()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.session.close()?;
        Ok(self.connection.close()?)
    }
}

/// A link that comes back has the name that the address gives it; others need one that nobody has.
fn link_name(address: &Address) -> String {
    let given = address.options.link.name.clone();
    given.unwrap_or_else(|| format!("{}_{}", address.name, unique_name()))
}

struct Out {
    sender: Sender,
    subject: Option<String>,
    /// Messages that may be sent and not settled.
    window: u32,
    rejected: Cell<u64>,
}

impl Outlet for Out {
    fn send(&self, message: &Message) -> Result<()> {
        if self.sender.unsettled() >= self.window {
            self.sender.settle()?;
        }
        let mut encoded = Vec::new();
        let priority = if message.priority == 0 { PRIORITY } else { message.priority };
        let ttl = (message.ttl != 0).then(|| u32::try_from(message.ttl).unwrap_or(u32::MAX));
        let failed = u32::from(message.redelivered);
        put_header(&mut encoded, message.durable, priority, ttl, false, failed);
        let mut message = message.clone();
        message.keep_reply_subject();
        message.encode(self.subject.as_deref(), |_, message| {
            let mut header = Vec::new();
            message.encode_header(&mut header)?;
            to_1_0(&header, message.body, &mut encoded);
            Ok(())
        })?;
        self.sender.send_encoded(&[&encoded])?;
        Ok(())
    }

    fn rejected(&self) -> u64 {
        let failed = self.sender.take_failed();
        let rejected = failed.iter().filter(|(_, outcome)| *outcome != Outcome::Accepted).count();
        self.rejected.set(self.rejected.get() + rejected as u64);
        self.rejected.get()
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.sender.close()?)
    }
}

struct In {
    connection: Connection,
    receiver: Receiver,
    capacity: u32,
    /// What the link has at the broker waits for the next of its name.
    lasting: bool,
    unaccepted: Vec<Delivery>,
}

impl In {
    fn taken(&mut self, delivery: Delivery) -> Result<Message> {
        let message = received(&delivery)?;
        if !delivery.settled {
            self.unaccepted.push(delivery);
        }
        Ok(message)
    }

    fn next(&self, timeout: Option<Duration>) -> Result<Option<Delivery>> {
        if self.capacity == 0 {
            self.receiver.grant(1)?;
        }
        let Some(timeout) = timeout else { return Ok(self.receiver.wait_delivery()?) };
        if let Some(delivery) = self.receiver.next_delivery(timeout)? {
            return Ok(Some(delivery));
        }
        // Perhaps one is on its way. This uses up the credit, which must be given anew.
        self.receiver.drain(self.capacity.max(1))?;
        if self.capacity > 0 {
            self.receiver.window(self.capacity)?;
        }
        Ok(self.receiver.take_delivery())
    }
}

impl Inlet for In {
    fn take(&mut self) -> Result<Option<Message>> {
        let delivery = self.receiver.take_delivery();
        delivery.map(|delivery| self.taken(delivery)).transpose()
    }

    fn fetch(&mut self, timeout: Option<Duration>) -> Result<Option<Message>> {
        let delivery = self.next(timeout)?;
        delivery.map(|delivery| self.taken(delivery)).transpose()
    }

    fn accept(&mut self) -> Result<()> {
        if self.unaccepted.is_empty() {
            return Ok(());
        }
        for delivery in self.unaccepted.drain(..) {
            self.receiver.accept(&delivery)?;
        }
        Ok(self.connection.flush()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        while let Some(delivery) = self.receiver.take_delivery() {
            self.receiver.release(&delivery)?;
        }
        match self.lasting {
            true => Ok(self.receiver.suspend()?),
            false => Ok(self.receiver.close()?),
        }
    }
}

fn received(delivery: &Delivery) -> Result<Message> {
    let about = delivery.view()?.header()?;
    let priority = if about.priority == PRIORITY { 0 } else { about.priority };
    let header = Header { durable: about.durable, priority, ttl: about.ttl.map(u64::from) };
    let mut encoded = Vec::new();
    // A name to reply to is a queue's unless it has a subject.
    let converted = to_0_10(delivery.encoded(), header, |_| Node::Queue, &mut encoded);
    let (header, body) = encoded.split_at(converted.header_len as usize);
    let mut message = Message::decode(header, body)?;
    message.redelivered = about.delivery_count > 0;
    message.forget_route();
    Ok(message)
}
