//! Links that receive.

use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use fletch_amqp::v1_0::table::Attach;
use fletch_amqp::v1_0::types::Value;
use fletch_amqp::v1_0::{Role, SenderSettleMode};

use super::books::Verdict;
use super::connection::Session;
use super::delivery::Delivery;
use super::failure::{Condition, Outcome};
use super::link::{Handle, Place};
use super::sessions::Sessions;
use super::terminus::{Offered, Terminus, map, view};
use super::transaction::Transaction;
use super::unsettled::Unsettled;
use crate::Error;
use crate::driver::Driver;

/// How a receiver lets messages come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credit {
    /// So many may be on their way or not taken; taking one lets another come.
    Window(u32),
    /// So many, once: see [`Receiver::grant`].
    Once(u32),
}

impl Default for Credit {
    fn default() -> Self {
        Credit::Window(1000)
    }
}

/// What to receive, and how.
#[derive(Debug, Clone, Default)]
pub struct ReceiverOptions {
    /// The name of the link; one that is free if none.
    pub name: Option<String>,
    /// Where messages come from.
    pub source: Terminus,
    /// Who settles: the broker when it sends, we, or as the broker likes.
    pub settle_mode: SenderSettleMode,
    /// How messages come.
    pub credit: Credit,
    /// Properties of the link.
    pub properties: Vec<(String, Value)>,
    /// What was received in an earlier life of the link and not settled there. What the broker still holds for it is
    /// settled so; the rest comes again.
    pub unsettled: Unsettled,
}

impl ReceiverOptions {
    /// From a node that is there.
    pub fn of(address: impl Into<String>) -> ReceiverOptions {
        ReceiverOptions { source: Terminus::of(address), ..ReceiverOptions::default() }
    }
}

/// A link to receive on. Clones share it.
#[derive(Debug, Clone)]
pub struct Receiver {
    handle: Handle,
}

impl Receiver {
    pub(super) fn attach(session: &Session, options: &ReceiverOptions) -> Result<Receiver, Error> {
        let (mut source, mut target, mut properties) = (Vec::new(), Vec::new(), Vec::new());
        let mut unsettled = Vec::new();
        options.source.put_source(&mut source)?;
        // Ours has no name, but it must be there.
        Terminus::default().put_target(&mut target)?;
        let attach = Attach {
            role: Role::RECEIVER,
            snd_settle_mode: options.settle_mode,
            source: view(&source),
            target: view(&target),
            unsettled: options.unsettled.map(&mut unsettled)?,
            incomplete_unsettled: options.unsettled.incomplete,
            properties: map(&options.properties, &mut properties)?,
            ..Attach::default()
        };
        let handle = Handle::attach(session, options.name.as_deref(), &attach)?;
        let receiver = Receiver { handle };
        match options.credit {
            Credit::Once(0) => {}
            Credit::Once(credit) => receiver.grant(credit)?,
            Credit::Window(window) => receiver.window(window)?,
        }
        Ok(receiver)
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

    // ---- credit ----

    /// So many messages may come from now on.
    pub fn grant(&self, credit: u32) -> Result<(), Error> {
        let Place { channel, handle, .. } = self.handle.place;
        self.live()?.protocol.amqp.grant(channel, handle, credit, false);
        Ok(())
    }

    /// So many messages may be on their way or not taken, from now on.
    pub fn window(&self, window: u32) -> Result<(), Error> {
        let Place { channel, handle, .. } = self.handle.place;
        self.live()?.protocol.amqp.grant_window(channel, handle, window);
        Ok(())
    }

    /// Begins what [`Receiver::drain`] does, and does not wait.
    pub fn begin_drain(&self, credit: u32) -> Result<(), Error> {
        let place @ Place { channel, handle, .. } = self.handle.place;
        let mut driver = self.live()?;
        driver.live_link(place)?.drained = false;
        driver.protocol.amqp.grant(channel, handle, credit, true);
        Ok(())
    }

    /// Lets so many messages come, as far as there are any now, and waits until they have. No credit is left then.
    pub fn drain(&self, credit: u32) -> Result<(), Error> {
        self.begin_drain(credit)?;
        let place = self.handle.place;
        self.live()?.wait_answer("a link to drain", |driver| Ok(driver.live_link(place)?.drained))
    }

    // ---- messages ----

    /// The next message. Waits at most `timeout`.
    pub fn next_delivery(&self, timeout: Duration) -> Result<Option<Delivery>, Error> {
        // A timeout beyond the clock's reach is none.
        self.next_before(Instant::now().checked_add(timeout))
    }

    /// The next message, however long it takes.
    pub fn wait_delivery(&self) -> Result<Option<Delivery>, Error> {
        self.next_before(None)
    }

    fn next_before(&self, deadline: Option<Instant>) -> Result<Option<Delivery>, Error> {
        let mut driver = self.handle.lock();
        if let Some(delivery) = self.take(&mut driver) {
            return Ok(Some(delivery));
        }
        let place = self.handle.place;
        let came = driver.wait_until(deadline, "a message", |driver| {
            // What came before the link was detached is still there to take.
            if driver.link(place).is_some_and(|link| !link.deliveries.is_empty()) {
                return Ok(true);
            }
            driver.live_link(place).map(|_| false)
        });
        match came {
            // Nothing was waiting, but what has come may not have been read yet.
            Err(Error::Timeout(_)) => {
                driver.turn(Some(Duration::ZERO))?;
                Ok(self.take(&mut driver))
            }
            came => came.map(|()| self.take(&mut driver)),
        }
    }

    /// The next message that has been read already. Never reads: see [`super::Connection::poll`].
    pub fn take_delivery(&self) -> Option<Delivery> {
        self.take(&mut self.handle.lock())
    }

    /// Moves all messages that have been read already to the end of `into`, and says how many.
    pub fn take_deliveries(&self, into: &mut Vec<Delivery>) -> usize {
        let place = self.handle.place;
        let mut driver = self.handle.lock();
        let Some(link) = driver.link(place) else { return 0 };
        let count = link.deliveries.len();
        into.extend(link.deliveries.drain(..));
        for _ in 0..count {
            driver.protocol.amqp.finished(place.channel, place.handle);
        }
        count
    }

    fn take(&self, driver: &mut Driver<Sessions>) -> Option<Delivery> {
        let place = self.handle.place;
        let delivery = driver.link(place)?.deliveries.pop_front()?;
        driver.protocol.amqp.finished(place.channel, place.handle);
        Some(delivery)
    }

    // ---- what becomes of them ----

    /// Accepts a message. Told to the broker with others, before the next wait or at the next
    /// [`super::Connection::flush`]; so are all that follow here. Of a message that is settled already nothing is told.
    pub fn accept(&self, delivery: &Delivery) -> Result<(), Error> {
        if !delivery.settled {
            let channel = self.handle.place.channel;
            self.live()?.protocol.amqp.accept(channel, delivery.id);
        }
        Ok(())
    }

    /// Accepts a message if a transaction succeeds.
    pub fn accept_in(&self, transaction: &Transaction, delivery: &Delivery) -> Result<(), Error> {
        self.note(delivery, Verdict::AcceptedIn(transaction.id().to_vec()))
    }

    /// Gives a message back as if it had not been sent.
    pub fn release(&self, delivery: &Delivery) -> Result<(), Error> {
        self.note(delivery, Verdict::Settled(Outcome::Released))
    }

    /// Says that a message is no good.
    pub fn reject(&self, delivery: &Delivery, why: Condition) -> Result<(), Error> {
        self.note(delivery, Verdict::Settled(Outcome::Rejected(why)))
    }

    /// Gives a message back; `failed` counts as an attempt to deliver it.
    pub fn modify(
        &self,
        delivery: &Delivery,
        failed: bool,
        undeliverable_here: bool,
    ) -> Result<(), Error> {
        let outcome = Outcome::Modified { failed, undeliverable_here };
        self.note(delivery, Verdict::Settled(outcome))
    }

    fn note(&self, delivery: &Delivery, verdict: Verdict) -> Result<(), Error> {
        if delivery.settled {
            return Ok(());
        }
        let Place { channel, session, .. } = self.handle.place;
        let mut driver = self.live()?;
        driver.live(channel, session)?.note(delivery.id, verdict);
        driver.protocol.tell(channel);
        Ok(())
    }

    // ---- the end ----

    /// Detaches for good.
    pub fn close(&self) -> Result<(), Error> {
        self.handle.detach(true)
    }

    /// Detaches, and leaves what the link has at the broker for when it comes back.
    pub fn suspend(&self) -> Result<(), Error> {
        self.handle.detach(false)
    }

    fn live(&self) -> Result<MutexGuard<'_, Driver<Sessions>>, Error> {
        let mut driver = self.handle.lock();
        driver.live_link(self.handle.place)?;
        Ok(driver)
    }
}
