//! What a message costs the engine from its publish to its acceptance, without a broker around it: one
//! publisher, one queue, one consumer, no sockets and no disk.
//!
//! With two shards the publisher is on one, queue and consumer on the other. Times are noisy where others use
//! the processors too; instructions are not:
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='path::pass' target/release/path --messages 20000 --repetitions 1
//! ```

use clap::Parser;
use fletch_amqp::Map;
use fletch_engine::queue::{INFINITE, QueueDefaults};
use fletch_engine::{
    Config, CreditUnit, DeclareQueue, DeliveryRef, Effects, Engine, Event, Message, Mode, Outcome,
    Request, SessionId, ShardId, Subscribe, SubscriptionId, Time,
};
use fletch_perf::message::{PRIORITY, message};
use fletch_perf::report::median;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Benchmark of the engine: a message from publish to acceptance")]
struct Options {
    /// Shards, 1 or 2.
    #[arg(long, default_value_t = 2)]
    shards: u16,
    /// Messages.
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// So many are published, delivered and accepted in one turn.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// What the queue may hold in bytes; 0 is no limit.
    #[arg(long, default_value_t = 100 << 20)]
    limit: u64,
    /// The consumer accepts nothing.
    #[arg(long)]
    no_ack: bool,
    /// Of which the median is shown.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
}

const NOW: Time = Time(1);

struct Broker {
    engines: Vec<Engine>,
    fx: Vec<Effects>,
    op: u64,
    publisher: SessionId,
    consumer: SubscriptionId,
    accepts: bool,
    delivered: Vec<DeliveryRef>,
    bytes: u64,
}

impl Broker {
    fn new(options: &Options) -> Broker {
        let shards = options.shards;
        let config = |shard| Config {
            queues: QueueDefaults { limit: options.limit, ..QueueDefaults::UNLIMITED },
            ..Config::new(ShardId(shard), shards)
        };
        let engines = (0..shards).map(|shard| Engine::new(&config(shard))).collect();
        let fx = (0..shards).map(|_| Effects::default()).collect();
        let publisher = SessionId::new(ShardId(0), 1);
        let consumer = SubscriptionId { session: SessionId::new(ShardId(shards - 1), 2), tag: 0 };
        let accepts = !options.no_ack;
        let (op, delivered, bytes) = (0, Vec::new(), 0);
        let mut broker = Broker { engines, fx, op, publisher, consumer, accepts, delivered, bytes };
        broker.ask(Request::DeclareQueue(DeclareQueue {
            name: "q".into(),
            exclusive: true,
            ..Default::default()
        }));
        broker.ask(Request::Subscribe(Subscribe {
            tag: consumer.tag,
            queue: "q".into(),
            mode: Mode::Consume,
            settles: accepts,
            exclusive: false,
            selector: None,
            arguments: Map::new(),
        }));
        let home = consumer.session.shard().index();
        for unit in [CreditUnit::Messages, CreditUnit::Bytes] {
            let fx = &mut broker.fx[home];
            broker.engines[home].grant(NOW, consumer, unit, INFINITE, fx).expect("it is there");
        }
        broker.settle();
        broker
    }

    fn ask(&mut self, request: Request) {
        self.op += 1;
        let (session, at) = (self.consumer.session, self.consumer.session.shard().index());
        self.engines[at].request(NOW, session, self.op, request, &mut self.fx[at]);
        self.settle();
    }

    /// Hands on what the engines have for each other and for the sessions until there is nothing more.
    fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            for from in 0..self.engines.len() {
                self.engines[from].turn_end(NOW, &mut self.fx[from]);
                for event in self.fx[from].events.drain(..) {
                    match event {
                        Event::Deliver { delivery, message, .. } => {
                            self.delivered.push(delivery);
                            self.bytes += message.size() as u64;
                        }
                        Event::Reply { result, .. } => drop(result.expect("granted")),
                        _ => {}
                    }
                }
                let mut frames = std::mem::take(&mut self.fx[from].frames);
                for (to, frame) in frames.drain(..) {
                    busy = true;
                    let (to, from) = (to.index(), ShardId(from as u16));
                    self.engines[to].frame(NOW, from, frame, &mut self.fx[to]);
                }
                self.fx[from].frames = frames;
                busy |= self.fx.iter().any(|fx| !fx.events.is_empty());
            }
        }
    }

    /// Publishes so many messages, and has them delivered and accepted.
    fn turn(&mut self, message: &Message, count: usize) {
        for _ in 0..count {
            self.op += 1;
            let (op, fx) = ((self.publisher, self.op), &mut self.fx[0]);
            self.engines[0].publish(NOW, op, "", message, fx).expect("there is room");
        }
        self.settle();
        let (deliveries, bytes) =
            (std::mem::take(&mut self.delivered), std::mem::take(&mut self.bytes));
        assert_eq!(deliveries.len(), count);
        let at = self.consumer.session.shard().index();
        let room = (count as u32, bytes);
        self.engines[at].room(NOW, self.consumer, room, &mut self.fx[at]);
        if self.accepts {
            self.ask(Request::Settle { outcome: Outcome::Accepted, deliveries });
        }
    }
}

/// All messages; never inlined, so that callgrind can tell it.
#[inline(never)]
fn pass(broker: &mut Broker, message: &Message, options: &Options) {
    let mut left = options.messages;
    while left > 0 {
        let count = left.min(options.batch);
        broker.turn(message, count);
        left -= count;
    }
}

fn main() {
    let options = Options::parse();
    assert!((1..=2).contains(&options.shards), "--shards is 1 or 2");
    assert!((1..=256).contains(&options.batch), "--batch is what there is room for: 1 to 256");
    let mut broker = Broker::new(&options);
    let message = message("q", &Map::new(), PRIORITY, &[b'x'; 100]);
    let times: Vec<f64> = (0..options.repetitions.max(1))
        .map(|_| {
            let began = Instant::now();
            pass(&mut broker, &message, &options);
            began.elapsed().as_nanos() as f64 / options.messages as f64
        })
        .collect();
    println!("{:.1} ns a message", median(times));
}
