//! What the checks share: their list, connections, links that are driven by hand.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::delivery::Delivery;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::messaging::{Body, Message, Outcome, Source, Target};
use fe2o3_amqp::types::primitives::Value;
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use tokio::time::timeout;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// How long nothing must come before a check believes that nothing will.
pub const SILENCE: Duration = Duration::from_millis(250);

type Run = fn(Scene) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A check, and the queues it needs with their arguments as JSON.
pub struct Check {
    pub name: &'static str,
    pub queues: Vec<(&'static str, &'static str)>,
    pub seconds: u64,
    pub run: Run,
}

impl Check {
    /// A check with a queue of its own name.
    pub fn new(name: &'static str, run: Run) -> Check {
        Check { name, queues: vec![(name, "{}")], seconds: 30, run }
    }

    /// The same with other queues.
    pub fn needing(self, queues: &[(&'static str, &'static str)]) -> Check {
        Check { queues: queues.to_vec(), ..self }
    }

    /// The same, which may take longer.
    pub fn within(self, seconds: u64) -> Check {
        Check { seconds, ..self }
    }
}

/// Names a check and its function.
macro_rules! check {
    ($name:literal, $run:path) => {
        $crate::scene::Check::new($name, |scene| Box::pin($run(scene)))
    };
}
pub(crate) use check;

pub fn queue(name: &str) -> String {
    format!("fe2o3-{name}")
}

/// What came.
pub type Came = Delivery<Body<Value>>;

/// What a check starts from.
pub struct Scene {
    pub address: String,
}

/// A connection with a session.
pub struct Client {
    pub session: SessionHandle<()>,
    pub connection: ConnectionHandle<()>,
}

fn unique(kind: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("{kind} {}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A step, in time.
pub async fn within<T, E: Into<anyhow::Error>>(
    what: &str,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    let done = timeout(PATIENCE, step).await;
    let done = done.map_err(|_| anyhow::anyhow!("{what}: not within {PATIENCE:?}"))?;
    done.map_err(Into::into).with_context(|| what.to_owned())
}

impl Scene {
    pub async fn connect(&self) -> Result<Client> {
        self.connect_as(&unique("fe2o3-container"), 65536).await
    }

    pub async fn connect_as(&self, container: &str, max_frame_size: u32) -> Result<Client> {
        Scene::connect_to(&self.address, container, max_frame_size).await
    }

    pub async fn connect_to(address: &str, container: &str, max_frame: u32) -> Result<Client> {
        let url = format!("amqp://{address}");
        let open = Connection::builder()
            .container_id(container)
            .max_frame_size(max_frame)
            .sasl_profile(SaslProfile::Anonymous)
            .open(url.as_str());
        let mut connection = within("opening", open).await?;
        let session = within("beginning", Session::begin(&mut connection)).await?;
        Ok(Client { session, connection })
    }

    /// All that a queue has, taken from it: what comes before nothing more does.
    pub async fn contents(&self, name: &str) -> Result<Vec<Message<Body<Value>>>> {
        let mut client = self.connect().await?;
        let mut receiver = client.receiver(&queue(name), 100_000).await?;
        let mut contents = Vec::new();
        while let Ok(came) = timeout(SILENCE, receiver.recv::<Body<Value>>()).await {
            let came = came?;
            receiver.accept(&came).await?;
            contents.push(came.into_message());
        }
        within("closing", receiver.close()).await?;
        client.close().await?;
        Ok(contents)
    }

    pub async fn left(&self, name: &str) -> Result<Vec<Value>> {
        Ok(self.contents(name).await?.into_iter().map(|message| value_of(message.body)).collect())
    }
}

impl Client {
    pub async fn sender(&mut self, address: &str) -> Result<Sender> {
        self.sender_to(Target::builder().address(address).build()).await
    }

    pub async fn sender_to(&mut self, target: Target) -> Result<Sender> {
        let builder = Sender::builder().name(unique("sender")).target(target);
        within("attaching a sender", builder.attach(&mut self.session)).await
    }

    pub async fn receiver(&mut self, address: &str, credit: u32) -> Result<Receiver> {
        self.receiver_from(Source::builder().address(address).build(), credit).await
    }

    pub async fn receiver_from(&mut self, source: Source, credit: u32) -> Result<Receiver> {
        let builder = Receiver::builder().name(unique("receiver")).source(source);
        let attach = builder.credit_mode(CreditMode::Manual).attach(&mut self.session);
        let mut receiver = within("attaching a receiver", attach).await?;
        if credit > 0 {
            receiver.set_credit(credit).await?;
        }
        Ok(receiver)
    }

    /// Sends these over a link of its own; all must be accepted.
    pub async fn fill(&mut self, name: &str, values: Vec<Value>) -> Result<()> {
        let mut sender = self.sender(&queue(name)).await?;
        send_all(&mut sender, values.into_iter().map(message).collect()).await?;
        within("closing", sender.close()).await
    }

    pub async fn close(&mut self) -> Result<()> {
        within("ending", self.session.end()).await?;
        within("closing", self.connection.close()).await
    }
}

pub type Sent = Message<Body<Value>>;

pub fn message(value: Value) -> Sent {
    let body = Body::Value(fe2o3_amqp::types::messaging::AmqpValue(value));
    Message::builder().body(body).build()
}

/// Sends without waiting for each outcome; all must be accepted.
pub async fn send_all(sender: &mut Sender, messages: Vec<Sent>) -> Result<()> {
    let mut outcomes = Vec::new();
    for message in messages {
        outcomes.push(within("sending", sender.send_batchable(message)).await?);
    }
    for outcome in outcomes {
        accepted(within("waiting for the outcome", outcome).await?)?;
    }
    Ok(())
}

/// Sends one and waits for its outcome.
pub async fn send(sender: &mut Sender, message: Sent) -> Result<Outcome> {
    within("sending", sender.send(message)).await
}

pub fn accepted(outcome: Outcome) -> Result<()> {
    ensure!(outcome.is_accepted(), "not accepted but {outcome:?}");
    Ok(())
}

pub async fn next(receiver: &mut Receiver) -> Result<Came> {
    within("receiving", receiver.recv::<Body<Value>>()).await
}

pub async fn take(receiver: &mut Receiver, count: usize) -> Result<Vec<Came>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(next(receiver).await?);
    }
    Ok(taken)
}

/// Nothing comes for a while.
pub async fn nothing(receiver: &mut Receiver) -> Result<()> {
    match timeout(SILENCE, receiver.recv::<Body<Value>>()).await {
        Err(_) => Ok(()),
        Ok(came) => bail!("{:?} came and should not have", came?.into_body()),
    }
}

pub fn value_of(body: Body<Value>) -> Value {
    match body {
        Body::Value(value) => value.0,
        other => Value::String(format!("no value but {other:?}")),
    }
}

/// The value of a body.
pub fn value(came: &Came) -> Value {
    value_of(came.body().clone())
}

pub fn values(came: &[Came]) -> Vec<Value> {
    came.iter().map(value).collect()
}

pub fn numbers(range: std::ops::Range<i64>) -> Vec<Value> {
    range.map(Value::Long).collect()
}

pub fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub fn count(message: &Message<Body<Value>>) -> u32 {
    message.header.as_ref().map_or(0, |header| header.delivery_count)
}

pub fn equal<T: PartialEq + Debug>(found: T, wanted: T, what: &str) -> Result<()> {
    ensure!(found == wanted, "{what}: {found:?} is not {wanted:?}");
    Ok(())
}

/// The error of what should have been refused.
pub fn refusal<T>(result: Result<T>) -> Result<String> {
    match result {
        Ok(_) => bail!("not refused"),
        Err(error) => Ok(format!("{error:#} {error:?}")),
    }
}
