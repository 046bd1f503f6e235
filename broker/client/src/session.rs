//! A session as its user holds it: commands, messages out, messages in.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use fletch_amqp::types::MapRef;
use fletch_amqp::v0_10::table::message;
use fletch_amqp::v0_10::{
    AcceptMode, AcquireMode, Command, Compound, CreditUnit, FlowMode, Struct32,
};
use fletch_amqp::{CommandId, SequenceSet};

use crate::driver::{Driver, lock};
use crate::sessions::Sessions;
use crate::{Delivery, Error, Outgoing};

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(code: u16, body: &[u8]) -> Reply {
        Reply { code, body: body.to_vec() }
    }

    /// The struct it is said to be.
    pub fn read<'a, T: Compound<'a>>(&'a self) -> Result<T, Error> {
        Ok(Struct32 { code: self.code, body: &self.body }.read()?)
    }
}

/// What to subscribe to, and how. The default is explicit acceptance of acquired messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subscription<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The name that deliveries carry.
    pub destination: &'a str,
    /// Whether messages have to be accepted.
    pub accept_mode: AcceptMode,
    /// Whether messages are taken or only looked at.
    pub acquire_mode: AcquireMode,
    /// No other subscription may exist.
    pub exclusive: bool,
    /// Arguments.
    pub arguments: Option<MapRef<'a>>,
}

/// One session. Clones share it.
#[derive(Debug, Clone)]
pub struct Session {
    driver: Arc<Mutex<Driver<Sessions>>>,
    /// Its channel, and the number that tells it from earlier sessions on that channel.
    place: (u16, u64),
}

impl Session {
    pub(crate) fn new(driver: Arc<Mutex<Driver<Sessions>>>, place: (u16, u64)) -> Session {
        Session { driver, place }
    }

    fn lock(&self) -> MutexGuard<'_, Driver<Sessions>> {
        lock(&self.driver)
    }

    /// The channel it is on.
    pub fn channel(&self) -> u16 {
        self.place.0
    }

    // ---- commands ----

    /// Sends a command and does not wait.
    pub fn command(&self, command: &Command<'_>) -> Result<CommandId, Error> {
        self.lock().command(self.place, command, false)
    }

    /// Sends a command, waits until it is complete, and returns its result if it has one.
    pub fn call(&self, command: &Command<'_>) -> Result<Option<Reply>, Error> {
        let mut driver = self.lock();
        driver.command(self.place, command, true)?;
        let (channel, token) = self.place;
        driver.wait_answer("a command to complete", |driver| {
            Ok(driver.live(channel, token)?.awaited.is_none())
        })?;
        Ok(driver.protocol.state(channel, token).and_then(|state| state.result.take()))
    }

    /// Waits until everything sent before is complete.
    pub fn sync(&self) -> Result<(), Error> {
        let sync = fletch_amqp::v0_10::table::execution::Sync {};
        self.call(&sync.into()).map(|_| ())
    }

    /// Asks the broker to say when everything sent before is complete, and does not wait for that: see
    /// [`Session::incomplete`].
    pub fn ask_sync(&self) -> Result<CommandId, Error> {
        self.lock().ask_sync(self.place)
    }

    /// Writes everything that is to be written, among it what was received and accepted.
    pub fn flush(&self) -> Result<(), Error> {
        self.lock().flush()
    }

    /// How many commands are sent and not known to be complete.
    pub fn incomplete(&self) -> u32 {
        let (channel, token) = self.place;
        self.lock().protocol.state(channel, token).map_or(0, |state| state.incomplete)
    }

    // ---- messages out ----

    /// Sends a message to an exchange ("" is the default one) and does not wait, unless so many are incomplete that the
    /// window is full. Its completion is the broker's word that it has the message.
    pub fn send(&self, exchange: &str, message: &Outgoing<'_>) -> Result<CommandId, Error> {
        let transfer = transfer_to(exchange, AcceptMode::NONE);
        let header = |out: &mut Vec<u8>| Ok(message.encode_header(out)?);
        self.lock().transfer(self.place, &transfer, header, message.body)
    }

    /// The same, and the broker is to say whether it accepts or rejects the message: see [`Session::rejected`].
    pub fn send_to_be_accepted(
        &self,
        exchange: &str,
        message: &Outgoing<'_>,
    ) -> Result<CommandId, Error> {
        let transfer = transfer_to(exchange, AcceptMode::EXPLICIT);
        let header = |out: &mut Vec<u8>| Ok(message.encode_header(out)?);
        self.lock().transfer(self.place, &transfer, header, message.body)
    }

    /// [`Session::send`] with a header that is encoded already.
    pub fn send_encoded(
        &self,
        exchange: &str,
        header: &[u8],
        body: &[u8],
    ) -> Result<CommandId, Error> {
        let transfer = transfer_to(exchange, AcceptMode::NONE);
        let header = |out: &mut Vec<u8>| {
            out.extend_from_slice(header);
            Ok(())
        };
        self.lock().transfer(self.place, &transfer, header, body)
    }

    /// Messages the broker accepted, and forgets them.
    pub fn accepted(&self) -> SequenceSet {
        let (channel, token) = self.place;
        let mut driver = self.lock();
        driver
            .protocol
            .state(channel, token)
            .map(|s| std::mem::take(&mut s.accepted))
            .unwrap_or_default()
    }

    /// Messages the broker rejected or released, and forgets them.
    pub fn rejected(&self) -> SequenceSet {
        let (channel, token) = self.place;
        let mut driver = self.lock();
        driver
            .protocol
            .state(channel, token)
            .map(|s| std::mem::take(&mut s.rejected))
            .unwrap_or_default()
    }

    // ---- messages in ----

    /// Subscribes, without credit.
    pub fn subscribe(&self, subscription: &Subscription<'_>) -> Result<CommandId, Error> {
        let subscribe = message::Subscribe {
            queue: Some(subscription.queue),
            destination: Some(subscription.destination),
            accept_mode: Some(subscription.accept_mode),
            acquire_mode: Some(subscription.acquire_mode),
            exclusive: subscription.exclusive,
            arguments: subscription.arguments,
            ..Default::default()
        };
        self.command(&subscribe.into())
    }

    /// Subscribes to a queue with a window of messages, and waits until the broker has it.
    pub fn consume(&self, queue: &str, destination: &str, window: u32) -> Result<(), Error> {
        self.subscribe(&Subscription { queue, destination, ..Default::default() })?;
        self.window(destination, window)?;
        self.sync()
    }

    /// Gives a subscription a window of messages that taking them refills, and no limit of octets.
    pub fn window(&self, destination: &str, messages: u32) -> Result<(), Error> {
        self.set_flow_mode(destination, FlowMode::WINDOW)?;
        self.flow(destination, CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
        self.flow(destination, CreditUnit::MESSAGE, messages).map(|_| ())
    }

    /// Chooses how credit comes back.
    pub fn set_flow_mode(&self, destination: &str, mode: FlowMode) -> Result<CommandId, Error> {
        let (destination, flow_mode) = (Some(destination), Some(mode));
        self.command(&message::SetFlowMode { destination, flow_mode }.into())
    }

    /// Adds credit.
    pub fn flow(
        &self,
        destination: &str,
        unit: CreditUnit,
        value: u32,
    ) -> Result<CommandId, Error> {
        let (destination, unit, value) = (Some(destination), Some(unit), Some(value));
        self.command(&message::Flow { destination, unit, value }.into())
    }

    /// Asks for all that credit allows and the queue has, and then takes the credit away. When it is complete, what came
    /// has come.
    pub fn flush_credit(&self, destination: &str) -> Result<(), Error> {
        self.call(&message::Flush { destination: Some(destination) }.into()).map(|_| ())
    }

    /// Takes all credit away and waits until nothing more is under way.
    pub fn stop(&self, destination: &str) -> Result<(), Error> {
        self.call(&message::Stop { destination: Some(destination) }.into()).map(|_| ())
    }

    /// Ends a subscription.
    pub fn cancel(&self, destination: &str) -> Result<(), Error> {
        self.call(&message::Cancel { destination: Some(destination) }.into()).map(|_| ())
    }

    /// The next message, of any subscription. Waits at most `timeout`. Taking it completes it, which refills a window;
    /// the broker is told before the next wait, or at the next [`Session::flush`].
    pub fn next_delivery(&self, timeout: Duration) -> Result<Option<Delivery>, Error> {
        // A timeout beyond the clock's reach is none.
        self.next_before(Instant::now().checked_add(timeout))
    }

    /// The next message, however long it takes.
    pub fn wait_delivery(&self) -> Result<Option<Delivery>, Error> {
        self.next_before(None)
    }

    fn next_before(&self, deadline: Option<Instant>) -> Result<Option<Delivery>, Error> {
        let mut driver = self.lock();
        if let Some(delivery) = self.take(&mut driver) {
            return Ok(Some(delivery));
        }
        let (channel, token) = self.place;
        let came = driver.wait_until(deadline, "a message", |driver| {
            // What came before the session ended is still there to take.
            if driver
                .protocol
                .state(channel, token)
                .is_some_and(|state| !state.deliveries.is_empty())
            {
                return Ok(true);
            }
            driver.live(channel, token).map(|_| false)
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

    /// The next message that has been read already. Never reads: see [`crate::Connection::poll`].
    pub fn take_delivery(&self) -> Option<Delivery> {
        self.take(&mut self.lock())
    }

    /// Moves all messages that have been read already to the end of `into`, and says how many.
    pub fn take_deliveries(&self, into: &mut Vec<Delivery>) -> usize {
        let (channel, token) = self.place;
        let mut driver = self.lock();
        let Some(state) = driver.protocol.state(channel, token) else { return 0 };
        let from = into.len();
        into.extend(state.deliveries.drain(..));
        for delivery in &into[from..] {
            driver.protocol.amqp.complete(channel, delivery.id);
        }
        into.len() - from
    }

    fn take(&self, driver: &mut Driver<Sessions>) -> Option<Delivery> {
        let (channel, token) = self.place;
        let delivery = driver.protocol.state(channel, token)?.deliveries.pop_front()?;
        driver.protocol.amqp.complete(channel, delivery.id);
        Some(delivery)
    }

    /// Accepts a message; told to the broker with others, before the next wait or at the next [`Session::flush`].
    pub fn accept(&self, id: CommandId) -> Result<(), Error> {
        self.lock().accept(self.place, id)
    }

    /// Accepts a set of messages with one command.
    pub fn accept_all(&self, ids: &SequenceSet) -> Result<(), Error> {
        for transfers in ids.chunks() {
            self.command(&message::Accept { transfers: Some(transfers) }.into())?;
        }
        Ok(())
    }

    /// Gives messages back to their queue.
    pub fn release(&self, ids: &SequenceSet, set_redelivered: bool) -> Result<(), Error> {
        for transfers in ids.chunks() {
            self.command(&message::Release { transfers: Some(transfers), set_redelivered }.into())?;
        }
        Ok(())
    }

    /// Rejects messages: they go to the alternate exchange of their queue, or nowhere.
    pub fn reject(&self, ids: &SequenceSet, text: &str) -> Result<(), Error> {
        for transfers in ids.chunks() {
            let transfers = Some(transfers);
            self.command(&message::Reject { transfers, code: None, text: Some(text) }.into())?;
        }
        Ok(())
    }

    // ---- the end ----

    /// Detaches in order: what was accepted is told first, and what was sent has arrived.
    pub fn close(&self) -> Result<(), Error> {
        self.sync()?;
        let (channel, token) = self.place;
        let mut driver = self.lock();
        driver.protocol.amqp.detach(channel);
        driver.wait_answer("the session to detach", |driver| {
            Ok(driver.protocol.state(channel, token).is_none_or(|state| state.ended.is_some()))
        })
    }
}

fn transfer_to(exchange: &str, accept_mode: AcceptMode) -> message::Transfer<'_> {
    let (destination, accept_mode) = (Some(exchange), Some(accept_mode));
    message::Transfer { destination, accept_mode, acquire_mode: Some(AcquireMode::PRE_ACQUIRED) }
}
