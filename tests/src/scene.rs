//! A broker with clients all over its shards, for the tests of what the broker does with messages.
//!
//! Connections are placed round robin, so those opened one after the other are on different shards;
//! the argument `fletch.shard` says where a queue lives. Every wait has a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::table::{exchange, message, queue};
use fletch_amqp::v0_10::{AcceptMode, CreditUnit, DetachCode, ErrorCode, FlowMode};
use fletch_amqp::{CommandId, SequenceSet};
use fletch_client::{ConnectOptions, Connection, Delivery, Error, Outgoing, Session, Subscription};

use crate::broker::Broker;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing must come before a test believes that nothing will. Used only behind a command
/// whose completion says that what was to come has come.
pub const SILENCE: Duration = Duration::from_millis(20);

/// A broker and how many shards it has.
#[derive(Debug)]
pub struct Scene {
    /// The broker.
    pub broker: Broker,
    /// Its shards.
    pub shards: u16,
}

impl Scene {
    /// A broker with that many shards.
    pub fn new(shards: u16) -> Result<Scene> {
        Scene::new_with(shards, &[])
    }

    /// The same, with more options.
    pub fn new_with(shards: u16, options: &[&str]) -> Result<Scene> {
        let count = shards.to_string();
        let options = [&["--shards", &count], options].concat();
        Ok(Scene { broker: Broker::start(&options)?, shards })
    }

    /// Runs a test against brokers with 1, 2 and 4 shards, each of which has to stop in order.
    pub fn each(test: impl Fn(&Scene) -> Result<()>) -> Result<()> {
        Scene::each_with(&[1, 2, 4], &[], test)
    }

    /// The same with these numbers of shards, and with more options.
    pub fn each_with(
        shards: &[u16],
        options: &[&str],
        test: impl Fn(&Scene) -> Result<()>,
    ) -> Result<()> {
        for shards in shards {
            let scene = Scene::new_with(*shards, options)?;
            said(&scene, &test)?;
            scene.done()?;
        }
        Ok(())
    }

    /// The end of a scene: no panic, and an orderly stop.
    pub fn done(self) -> Result<()> {
        ensure!(!self.broker.log().contains("panicked"), "{}", self.broker.log());
        self.broker.stop()
    }

    /// A connection, on the next shard.
    pub fn connect(&self) -> Result<Connection> {
        self.connect_with(&ConnectOptions::default())
    }

    /// A connection with options of its own.
    pub fn connect_with(&self, options: &ConnectOptions) -> Result<Connection> {
        let options =
            ConnectOptions { timeout: PATIENCE, send_timeout: Some(PATIENCE), ..options.clone() };
        Ok(Connection::connect(self.broker.address(), &options)?)
    }

    /// A session on a connection of its own. Dropping it drops the connection without a word; that is
    /// why this takes the name by force, and so waits for the end of one that was dropped.
    pub fn session(&self, name: &str) -> Result<Session> {
        Ok(self.connect()?.session(name, true)?)
    }

    /// Every shard, as a home for queues.
    pub fn homes(&self) -> impl Iterator<Item = u16> {
        0..self.shards
    }
}

/// Runs a part of a test; its error is told with the broker's log.
pub fn said<T>(scene: &Scene, part: impl FnOnce(&Scene) -> Result<T>) -> Result<T> {
    part(scene).with_context(|| {
        format!("with {} shards; the broker's log:\n{}", scene.shards, scene.broker.log())
    })
}

/// Declares a queue that lives on `home`.
pub fn declare(session: &Session, name: &str, home: u16) -> Result<()> {
    declare_as(session, home, &queue::Declare { queue: Some(name), ..Default::default() })
}

/// The same, with more to say about the queue.
pub fn declare_as(session: &Session, home: u16, declare: &queue::Declare<'_>) -> Result<()> {
    let arguments = Map::new().with("fletch.shard", i64::from(home)).encoded()?;
    let arguments = Some(arguments.view());
    session.call(&queue::Declare { arguments, ..declare.clone() }.into())?;
    Ok(())
}

/// Declares an exchange.
pub fn declare_exchange(session: &Session, name: &str, kind: &str) -> Result<()> {
    let (exchange, r#type) = (Some(name), Some(kind));
    session.call(&exchange::Declare { exchange, r#type, ..Default::default() }.into())?;
    Ok(())
}

/// Binds a queue to an exchange.
pub fn bind(session: &Session, exchange: &str, queue: &str, key: &str) -> Result<()> {
    let (queue, exchange, binding_key) = (Some(queue), Some(exchange), Some(key));
    let bind = exchange::Bind { queue, exchange, binding_key, ..Default::default() };
    session.call(&bind.into())?;
    Ok(())
}

/// Deletes a queue.
pub fn delete(session: &Session, name: &str) -> Result<()> {
    session.call(&queue::Delete { queue: Some(name), ..Default::default() }.into())?;
    Ok(())
}

/// What there is of a queue: messages that can be had and subscriptions; `None` if it is not there.
pub fn query(session: &Session, name: &str) -> Result<Option<(u32, u32)>> {
    let reply = session.call(&queue::Query { queue: Some(name) }.into())?;
    let reply = reply.context("a query has a result")?;
    let found: queue::QueueQueryResult<'_> = reply.read()?;
    Ok(found.queue.filter(|found| !found.is_empty()).map(|_| {
        (found.message_count.unwrap_or_default(), found.subscriber_count.unwrap_or_default())
    }))
}

/// Asks again until the queue is as it should be.
pub fn settle(
    session: &Session,
    name: &str,
    holds: impl Fn(Option<(u32, u32)>) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = query(session, name)?;
        if holds(now) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "queue {name} is still {now:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends messages whose bodies are `prefix` and a number, and waits until the broker has them.
pub fn publish(
    session: &Session,
    queue: &str,
    prefix: &str,
    numbers: std::ops::Range<usize>,
) -> Result<()> {
    for number in numbers {
        session.send("", &Outgoing::to_queue(queue, format!("{prefix}{number}").as_bytes()))?;
    }
    Ok(session.sync()?)
}

/// Subscribes with unlimited octets and as many messages, in credit mode.
pub fn consume(session: &Session, queue: &str, destination: &str, messages: u32) -> Result<()> {
    consume_as(session, &Subscription { queue, destination, ..Default::default() }, messages)
}

/// The same, with more to say about the subscription.
pub fn consume_as(session: &Session, subscription: &Subscription<'_>, messages: u32) -> Result<()> {
    let destination = subscription.destination;
    session.subscribe(subscription)?;
    session.set_flow_mode(destination, FlowMode::CREDIT)?;
    session.flow(destination, CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
    session.flow(destination, CreditUnit::MESSAGE, messages)?;
    // Credit is not answered; the answer to a query says that the queue's shard has it.
    query(session, subscription.queue).map(drop)
}

/// The next message, which has to come.
pub fn next(session: &Session) -> Result<Delivery> {
    session.next_delivery(PATIENCE)?.context("a message that should have come did not")
}

/// The next messages, which have to come.
pub fn take(session: &Session, count: usize) -> Result<Vec<Delivery>> {
    (0..count)
        .map(|number| next(session).with_context(|| format!("message {number} of {count}")))
        .collect()
}

/// Nothing more comes, as the command that was just completed promised.
pub fn nothing(session: &Session) -> Result<()> {
    match session.next_delivery(SILENCE)? {
        None => Ok(()),
        Some(delivery) => bail!("{:?} came and should not have", text(&delivery)),
    }
}

/// All that a queue has, taken from it and accepted.
pub fn drain(session: &Session, queue: &str) -> Result<Vec<Delivery>> {
    let (destination, accept_mode) = ("drain", AcceptMode::NONE);
    let subscription = Subscription { queue, destination, accept_mode, ..Default::default() };
    consume_as(session, &subscription, CreditUnit::UNLIMITED)?;
    session.flush_credit(destination)?;
    session.cancel(destination)?;
    Ok(std::iter::from_fn(|| session.take_delivery()).collect())
}

/// The body as text.
pub fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(delivery.body()).into_owned()
}

/// The bodies as text.
pub fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(text).collect()
}

/// `prefix` and each of the numbers.
pub fn expected(prefix: &str, numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("{prefix}{number}")).collect()
}

/// Which of the messages may have been delivered before.
pub fn redelivered(deliveries: &[Delivery]) -> Result<Vec<bool>> {
    deliveries.iter().map(|delivery| Ok(delivery.redelivered()?)).collect()
}

/// The set of these messages.
pub fn ids<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> SequenceSet {
    let mut set = SequenceSet::new();
    deliveries.into_iter().for_each(|delivery| set.add(delivery.id));
    set
}

/// Accepts a message, and is sure the broker knows.
pub fn accept(session: &Session, transfers: &[CommandId]) -> Result<()> {
    let mut set = SequenceSet::new();
    transfers.iter().for_each(|id| set.add(*id));
    session.call(&message::Accept { transfers: Some(set) }.into())?;
    Ok(())
}

/// The code a call failed its session with.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<ErrorCode> {
    match result {
        Err(Error::Session { code, .. }) => Ok(code),
        other => bail!("not an exception but {other:?}"),
    }
}

/// The code a session was detached with, or refused.
pub fn detached<T: std::fmt::Debug>(result: Result<T, Error>) -> Result<DetachCode> {
    match result {
        Err(Error::Detached { code }) => Ok(code),
        other => bail!("not a detach but {other:?}"),
    }
}

/// The code of an error of one of the calls here.
pub fn code_of<T: std::fmt::Debug>(result: Result<T>) -> Result<ErrorCode> {
    match result {
        Err(error) => match error.downcast::<Error>() {
            Ok(error) => refusal(Err::<(), _>(error)),
            Err(error) => Err(error),
        },
        Ok(value) => bail!("not an exception but {value:?}"),
    }
}
