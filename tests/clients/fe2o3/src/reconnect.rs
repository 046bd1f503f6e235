//! Connections that break: a small proxy in between is cut, and the check makes new ones.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail, ensure};
use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::types::primitives::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::scene::{
    Check, Client, Scene, check, equal, message, next, numbers, queue, value, within,
};

const COUNT: i64 = 3000;
const STEP: i64 = COUNT / 6;

pub fn checks() -> Vec<Check> {
    vec![
        check!("reconnect-sender", sender).within(60),
        check!("reconnect-receiver", receiver).within(60),
    ]
}

/// Forwards connections until they are cut.
pub struct Proxy {
    pub address: String,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: AbortHandle,
}

impl Proxy {
    pub async fn new(target: &str) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (target, open) = (target.to_owned(), Arc::clone(&connections));
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Ok(mut broker) = TcpStream::connect(&target).await else { continue };
                let forward = tokio::spawn(async move {
                    let _ = copy_bidirectional(&mut client, &mut broker).await;
                });
                open.lock().unwrap_or_else(PoisonError::into_inner).push(forward.abort_handle());
            }
        });
        Ok(Proxy { address, connections, accepting: accepting.abort_handle() })
    }

    pub fn cut(&self) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.drain(..).for_each(|connection| connection.abort());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// A proxy that is cut every so often.
struct Cutter {
    proxy: Proxy,
    done: i64,
    cuts: i64,
    connections: i64,
    next: i64,
}

impl Cutter {
    async fn new(scene: &Scene) -> Result<Cutter> {
        let proxy = Proxy::new(&scene.address).await?;
        Ok(Cutter { proxy, done: 0, cuts: 0, connections: 0, next: STEP })
    }

    async fn connect(&mut self) -> Result<Client> {
        self.connections += 1;
        Scene::connect_to(&self.proxy.address, "fe2o3-reconnect", 65536).await
    }

    fn counted(&mut self) {
        self.done += 1;
        // Not before there is a connection again: what is on its way counts also after a cut.
        if self.done >= self.next && self.connections == self.cuts + 1 {
            self.cuts += 1;
            self.next = self.done + STEP;
            self.proxy.cut();
        }
    }

    fn check(&self) -> Result<()> {
        let (cuts, connections) = (self.cuts, self.connections);
        ensure!(cuts > 1 && connections >= cuts, "{cuts} cuts, {connections} connections");
        Ok(())
    }
}

/// What was acknowledged is there, in order but for what was sent again.
async fn sender(scene: Scene) -> Result<()> {
    let mut cutter = Cutter::new(&scene).await?;
    let mut acknowledged = BTreeSet::new();
    while acknowledged.len() < COUNT as usize {
        let mut client = cutter.connect().await?;
        let _ = publish(&mut client, &mut cutter, &mut acknowledged).await;
    }
    cutter.check()?;
    let mut seen = BTreeSet::new();
    let mut found = scene.left("reconnect-sender").await?;
    found.retain(|value| seen.insert(value.clone()));
    equal(found, numbers(0..COUNT), "numbers, in order of what came first")
}

/// Until the connection breaks.
async fn publish(
    client: &mut Client,
    cutter: &mut Cutter,
    acknowledged: &mut BTreeSet<i64>,
) -> Result<()> {
    let mut sender = client.sender(&queue("reconnect-sender")).await?;
    let todo: Vec<i64> = (0..COUNT).filter(|number| !acknowledged.contains(number)).collect();
    for some in todo.chunks(50) {
        let mut outcomes = Vec::new();
        for number in some {
            let message = message(Value::Long(*number));
            outcomes.push((*number, within("sending", sender.send_batchable(message)).await?));
        }
        for (number, outcome) in outcomes {
            // The client tells the connection that it is lost, and not those who wait for outcomes.
            let outcome = tokio::select! {
                outcome = within("waiting for the outcome", outcome) => outcome?,
                end = client.connection.on_close() => bail!("the connection ended: {end:?}"),
            };
            ensure!(outcome.is_accepted(), "not accepted but {outcome:?}");
            acknowledged.insert(number);
            cutter.counted();
        }
    }
    Ok(())
}

/// Everything arrives; what was not acknowledged before a cut comes again.
async fn receiver(scene: Scene) -> Result<()> {
    scene.connect().await?.fill("reconnect-receiver", numbers(0..COUNT)).await?;
    let mut cutter = Cutter::new(&scene).await?;
    let mut seen = BTreeSet::new();
    while seen.len() < COUNT as usize {
        let mut client = cutter.connect().await?;
        let _ = consume(&mut client, &mut cutter, &mut seen).await;
    }
    cutter.check()?;
    equal(seen.into_iter().collect(), numbers(0..COUNT), "numbers")
}

/// Until the connection breaks, or everything was seen.
async fn consume(
    client: &mut Client,
    cutter: &mut Cutter,
    seen: &mut BTreeSet<Value>,
) -> Result<()> {
    let builder = Receiver::builder().name("receiver").source(queue("reconnect-receiver"));
    let attach = builder.credit_mode(CreditMode::Auto(50)).attach(&mut client.session);
    let mut receiver = within("attaching", attach).await?;
    while seen.len() < COUNT as usize {
        let came = next(&mut receiver).await?;
        receiver.accept(&came).await?;
        seen.insert(value(&came));
        cutter.counted();
    }
    Ok(())
}
