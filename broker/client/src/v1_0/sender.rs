//! Links that send.

use fletch_amqp::v1_0::state::{Outgoing as Transfer, SendError};
use fletch_amqp::v1_0::table::{Attach, TransactionalState};
use fletch_amqp::v1_0::types::Value;
use fletch_amqp::v1_0::{ReceiverSettleMode, Role, SenderSettleMode, SequenceNo};

use super::connection::Session;
use super::failure::{Condition, Failure, Outcome};
use super::link::{Handle, Place};
use super::message::Outgoing;
use super::sessions::Sessions;
use super::terminus::{Offered, Terminus, map, view};
use super::transaction::Transaction;
use super::unsettled::Unsettled;
use crate::Error;
use crate::driver::Driver;

/// Octets that may wait for the windows of sessions before a sender does.
const STALLED_MAX: usize = 1 << 20;

/// Where to send, and how.
#[derive(Debug, Clone, Default)]
pub struct SenderOptions {
    /// The name of the link; one that is free if none.
    pub name: Option<String>,
    /// Where messages go.
    pub target: Terminus,
    /// Messages are settled when they are sent: nothing is heard of them.
    pub settled: bool,
    /// The broker remembers what it has told until we have settled it: a link that is lost can be attached again with
    /// what is not settled, and nothing is sent twice. As long as the target lasts: see [`Terminus::timeout`].
    pub second: bool,
    /// What was sent in an earlier life of the link and is not settled: see [`Sender::resume`].
    pub unsettled: Unsettled,
    /// Properties of the link.
    pub properties: Vec<(String, Value)>,
}

impl SenderOptions {
    /// To a node that is there.
    pub fn of(address: impl Into<String>) -> SenderOptions {
        SenderOptions { target: Terminus::of(address), ..SenderOptions::default() }
    }
}

/// A link to send on. Clones share it.
#[derive(Debug, Clone)]
pub struct Sender {
    handle: Handle,
    settled: bool,
}

impl Sender {
    pub(super) fn attach(session: &Session, options: &SenderOptions) -> Result<Sender, Error> {
        let mut target = Vec::new();
        options.target.put_target(&mut target)?;
        Self::attach_to(session, options, &target)
    }

    /// To a target that is encoded.
    pub(super) fn attach_to(
        session: &Session,
        options: &SenderOptions,
        target: &[u8],
    ) -> Result<Sender, Error> {
        let (mut source, mut properties, mut unsettled) = (Vec::new(), Vec::new(), Vec::new());
        // Ours has no name, but it must be there.
        Terminus::default().put_source(&mut source)?;
        let settled = options.settled;
        let attach = Attach {
            role: Role::SENDER,
            snd_settle_mode: if settled {
                SenderSettleMode::SETTLED
            } else {
                SenderSettleMode::UNSETTLED
            },
            rcv_settle_mode: if options.second {
                ReceiverSettleMode::SECOND
            } else {
                ReceiverSettleMode::FIRST
            },
            unsettled: options.unsettled.map(&mut unsettled)?,
            incomplete_unsettled: options.unsettled.incomplete,
            source: view(&source),
            target: view(target),
            properties: map(&options.properties, &mut properties)?,
            ..Attach::default()
        };
        let handle = Handle::attach(session, options.name.as_deref(), &attach)?;
        Ok(Sender { handle, settled })
    }

    /// The name of the link.
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// What the broker calls the node.
    pub fn address(&self) -> &str {
        &self.handle.offered.address
    }

    /// The broker's end of the link.
    pub fn offered(&self) -> &Offered {
        &self.handle.offered
    }

    /// Sends a message; waits while the broker gives no credit.
    pub fn send(&self, message: &Outgoing<'_>) -> Result<SequenceNo, Error> {
        let mut encoded = Vec::new();
        message.encode(&mut encoded)?;
        self.transfer(None, &[&encoded])
    }

    /// Sends a message as part of a transaction.
    pub fn send_in(
        &self,
        transaction: &Transaction,
        message: &Outgoing<'_>,
    ) -> Result<SequenceNo, Error> {
        let mut encoded = Vec::new();
        message.encode(&mut encoded)?;
        self.transfer(Some(transaction.id()), &[&encoded])
    }

    /// Sends a message that is encoded already, in parts that follow each other.
    pub fn send_encoded(&self, parts: &[&[u8]]) -> Result<SequenceNo, Error> {
        self.transfer(None, parts)
    }

    /// Sends a message that is encoded already, under a tag of one's own: at most 32 octets, which no other of the link
    /// has that is not settled. See [`SenderOptions::unsettled`].
    pub fn send_as(&self, tag: &[u8], parts: &[&[u8]]) -> Result<SequenceNo, Error> {
        self.transfer_as(Some(tag), &Transfer::default(), parts)
    }

    /// Goes on with a message of an earlier life of the link, which the broker knows: see [`Offered::unsettled`]. It
    /// tells the outcome again.
    pub fn resume(&self, tag: &[u8]) -> Result<SequenceNo, Error> {
        self.transfer_as(Some(tag), &Transfer { resume: true, ..Transfer::default() }, &[])
    }

    fn transfer(&self, txn_id: Option<&[u8]>, parts: &[&[u8]]) -> Result<SequenceNo, Error> {
        let state = txn_id.map(|txn_id| TransactionalState { txn_id, outcome: None }.into());
        self.transfer_as(None, &Transfer { state, ..Transfer::default() }, parts)
    }

    fn transfer_as(
        &self,
        tag: Option<&[u8]>,
        how: &Transfer<'_>,
        parts: &[&[u8]],
    ) -> Result<SequenceNo, Error> {
        let place @ Place { channel, handle, .. } = self.handle.place;
        let mut driver = self.handle.lock();
        driver.live_link(place)?;
        if !has_room(&driver, place) {
            driver.wait_sending("credit", |driver| {
                driver.live_link(place)?;
                Ok(has_room(driver, place))
            })?;
        }
        let settled = self.settled;
        let Sessions { amqp, .. } = &mut driver.protocol;
        let numbered = amqp.next_delivery_id(channel).0.to_be_bytes();
        let tag = tag.unwrap_or(&numbered);
        let outgoing = Transfer { tag, settled, ..how.clone() };
        let id = amqp.transfer(channel, handle, &outgoing, parts).map_err(unsent)?;
        let books = driver.live(channel, place.session)?;
        books.sent.add(id, (!settled).then_some(handle));
        if let Some(link) = books.link(handle).filter(|_| !settled) {
            link.unsettled += 1;
        }
        driver.write_if_large()?;
        Ok(id)
    }

    /// How many messages may be sent at once.
    pub fn credit(&self) -> u32 {
        let Place { channel, handle, .. } = self.handle.place;
        self.handle.lock().protocol.amqp.credit(channel, handle)
    }

    /// How many messages were sent whose outcome is not known.
    pub fn unsettled(&self) -> u32 {
        self.handle.lock().link(self.handle.place).map_or(0, |link| link.unsettled)
    }

    /// Messages that were sent whose outcome is not known, also when the connection is lost.
    pub fn pending(&self) -> Vec<SequenceNo> {
        let Place { channel, session, handle, .. } = self.handle.place;
        let mut driver = self.handle.lock();
        let books = driver.protocol.books(channel, session);
        books.map_or_else(Vec::new, |books| books.sent.of(handle).collect())
    }

    /// Waits until the outcome of every message is known.
    pub fn settle(&self) -> Result<(), Error> {
        let mut driver = self.handle.lock();
        driver.flush()?;
        driver.wait_answer("the outcome of messages", |driver| {
            Ok(driver.live_link(self.handle.place)?.unsettled == 0)
        })
    }

    /// Messages that were not accepted and what became of them, and forgets them.
    pub fn take_failed(&self) -> Vec<(SequenceNo, Outcome)> {
        let mut driver = self.handle.lock();
        let link = driver.link(self.handle.place);
        link.map(|link| std::mem::take(&mut link.failed)).unwrap_or_default()
    }

    /// Detaches for good, once the outcome of every message is known.
    pub fn close(&self) -> Result<(), Error> {
        self.settle()?;
        self.handle.detach(true)
    }

    /// Detaches, and leaves what is not settled at the broker for when the link comes back.
    pub fn suspend(&self) -> Result<(), Error> {
        self.handle.detach(false)
    }
}

fn has_room(driver: &Driver<Sessions>, Place { channel, handle, .. }: Place) -> bool {
    let amqp = &driver.protocol.amqp;
    amqp.credit(channel, handle) > 0 && amqp.stalled() < STALLED_MAX
}

fn unsent(error: SendError) -> Error {
    match error {
        SendError::Encode(error) => Error::Encode(error),
        error => Failure::Link(Condition::of_text(error.to_string())).into(),
    }
}
