//! What a transaction costs over four shards: journeys of frames and synced writes, one after the other.

use fletch_engine::{
    Config, CreditUnit, DeclareQueue, DeliveryRef, Effects, Engine, Event, Flags, Format, Frame,
    Journal, Message, Meta, Mode, Published, Reply, Request, SessionId, ShardId, ShardRestore,
    Subscribe, SubscriptionId, Time, Transaction, combine,
};
use fletch_journal::{Done, LogConfig, Lsn, Position, Request as Io, Seq, State, Superblock};

const NOW: Time = Time(1);
const SHARDS: u16 = 4;
const SESSION_SHARD: ShardId = ShardId(1);

/// Four shards, whose frames and disks move in rounds.
struct Broker {
    engines: Vec<Engine>,
    frames: Vec<(ShardId, ShardId, Frame)>,
    events: Vec<Event>,
    session: SessionId,
    next_op: u64,
    /// Rounds in which frames went from shard to shard.
    journeys: usize,
    /// Rounds in which disks wrote.
    writes: usize,
}

fn superblock(shard: u16) -> Superblock {
    Superblock {
        shard,
        shards: SHARDS,
        sequence: 1,
        salt: 7,
        incarnation: 1,
        oldest_lsn: Lsn(0),
        epoch: 0,
        state: State::Running,
    }
}

impl Broker {
    fn new(durable: bool) -> Broker {
        let configs = (0..SHARDS).map(|n| Config::new(ShardId(n), SHARDS));
        let engines = match durable {
            false => configs.map(|config| Engine::new(&config)).collect(),
            true => {
                let restores = (0..SHARDS).map(|n| ShardRestore::new(n, [], 0)).collect();
                let journal = |n| Journal {
                    config: LogConfig { segment: 1 << 20, depth: 1 },
                    position: Position {
                        superblock: superblock(n),
                        slot: 0,
                        segments: Vec::new(),
                        marks: Vec::new(),
                        end: Lsn(0),
                        end_crc: 0,
                        last: Seq::NONE,
                    },
                    path: "journal".into(),
                };
                let combined = combine(restores).expect("nothing is there");
                let restored = combined.go_on((0..SHARDS).map(journal).collect(), 1);
                configs.zip(restored).map(|(c, r)| Engine::restored(&c, r)).collect()
            }
        };
        Broker {
            engines,
            frames: Vec::new(),
            events: Vec::new(),
            session: SessionId::new(SESSION_SHARD, 1),
            next_op: 0,
            journeys: 0,
            writes: 0,
        }
    }

    fn input(&mut self, shard: ShardId, f: impl FnOnce(&mut Engine, &mut Effects)) {
        let mut fx = Effects::default();
        f(&mut self.engines[shard.index()], &mut fx);
        self.events.append(&mut fx.events);
        self.frames.extend(fx.frames.into_iter().map(|(to, frame)| (shard, to, frame)));
    }

    /// The end of a turn everywhere, then what is under way arrives.
    fn travel(&mut self) -> bool {
        for n in 0..SHARDS {
            self.input(ShardId(n), |engine, fx| engine.turn_end(NOW, fx));
        }
        let frames = std::mem::take(&mut self.frames);
        let any = !frames.is_empty();
        for (from, to, frame) in frames {
            self.input(to, |engine, fx| engine.frame(NOW, from, frame, fx));
        }
        self.journeys += usize::from(any);
        any
    }

    /// Every disk does what it is asked.
    fn sync(&mut self) -> bool {
        let (mut worked, mut written) = (false, false);
        for n in 0..SHARDS {
            let mut done = Vec::new();
            let engine = &mut self.engines[usize::from(n)];
            while let Some((volume, len)) = engine.next_write() {
                let write = engine.fill(volume, &mut vec![0; len]);
                done.push((volume, Done::Written { number: write.number }));
                written = true;
            }
            while let Some((volume, request)) = engine.next_request() {
                let end = match request {
                    Io::Prepare { segment, .. } => Done::Prepared { segment },
                    Io::Retire { segment, .. } => Done::Retired { segment },
                    Io::Superblock { .. } => Done::Superblock,
                    Io::Read { .. } => panic!("nothing is read"),
                };
                done.push((volume, end));
            }
            worked |= !done.is_empty();
            for (volume, done) in done {
                self.input(ShardId(n), |engine, fx| engine.disk_done(NOW, volume, done, fx));
            }
        }
        self.writes += usize::from(written);
        worked
    }

    fn rest(&mut self) {
        for _ in 0..1000 {
            if !self.travel() && !self.sync() && !self.travel() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Asks, and lets frames travel and disks write until it is answered.
    fn ask(&mut self, request: Request) -> Reply {
        self.next_op += 1;
        let (op, session) = (self.next_op, self.session);
        (self.journeys, self.writes) = (0, 0);
        self.input(SESSION_SHARD, |engine, fx| engine.request(NOW, session, op, request, fx));
        for _ in 0..1000 {
            let answer = self.events.iter().position(
                |event| matches!(event, Event::Reply { op: answered, .. } if *answered == op),
            );
            if let Some(at) = answer {
                let Event::Reply { result, .. } = self.events.remove(at) else { continue };
                return result.expect("granted");
            }
            if !self.travel() {
                self.sync();
            }
        }
        panic!("never answered");
    }

    fn declare_each(&mut self, durable: bool) {
        for n in 0..SHARDS {
            let shard = fletch_amqp::Value::Int32(i32::from(n));
            self.ask(Request::DeclareQueue(DeclareQueue {
                name: format!("q{n}").into(),
                durable,
                arguments: fletch_amqp::types::Map::new().with("fletch.shard", shard),
                ..DeclareQueue::default()
            }));
        }
    }

    /// One message to each queue.
    fn publishes(&mut self, durable: bool) -> Transaction {
        let mut transaction = Transaction::default();
        for n in 0..SHARDS {
            let message = message(&format!("q{n}"), durable);
            let routes = self.engines[SESSION_SHARD.index()].route("", &message);
            let routes = routes.expect("the default exchange").expect("which has no home");
            transaction.publishes.push((message, routes));
        }
        transaction
    }

    /// Consumes what is in all queues.
    fn consume(&mut self) -> Vec<DeliveryRef> {
        for n in 0..SHARDS {
            self.ask(Request::Subscribe(Subscribe {
                tag: u32::from(n),
                queue: format!("q{n}").into(),
                mode: Mode::Consume,
                settles: true,
                exclusive: false,
                selector: None,
                arguments: fletch_amqp::types::Map::new(),
            }));
            let to = SubscriptionId { session: self.session, tag: u32::from(n) };
            for unit in [CreditUnit::Bytes, CreditUnit::Messages] {
                self.input(SESSION_SHARD, |engine, fx| {
                    engine.grant(NOW, to, unit, 1000, fx).expect("it is there");
                });
            }
        }
        self.rest();
        let deliveries = self.events.drain(..).filter_map(|event| match event {
            Event::Deliver { delivery, .. } => Some(delivery),
            _ => None,
        });
        deliveries.collect()
    }

    fn available(&self) -> u64 {
        self.engines.iter().flat_map(Engine::queues).map(|q| q.available()).sum()
    }
}

fn message(key: &str, durable: bool) -> Message {
    let meta = Meta {
        format: Format::V0_10,
        header_len: key.len() as u32,
        routing_key: (0, key.len() as u32),
        expires: Time::NEVER,
        priority: 4,
        durable,
        flags: Flags::of_body(false),
        publisher: None,
    };
    Message::new(meta, key.as_bytes())
}

/// What a commit of publishes costs, and then one of accepts and publishes.
fn costs(durable: bool) -> [(usize, usize); 2] {
    let mut broker = Broker::new(durable);
    broker.declare_each(durable);
    // The first write of a log waits for its first segment.
    let first = broker.publishes(durable);
    broker.ask(Request::Commit(Box::new(first)));
    broker.rest();
    let transaction = broker.publishes(durable);
    assert_eq!(broker.available(), 4, "nothing is there before the commit");
    broker.ask(Request::Commit(Box::new(transaction)));
    assert_eq!(broker.available(), 8, "all is there when it is answered");
    let published = (broker.journeys, broker.writes);
    let accepts = broker.consume();
    assert_eq!(accepts.len(), 8);
    let mut transaction = broker.publishes(durable);
    transaction.accepts = accepts;
    broker.ask(Request::Commit(Box::new(transaction)));
    let moved = (broker.journeys, broker.writes);
    broker.rest();
    let messages: u64 = broker.engines.iter().flat_map(Engine::queues).map(|q| q.messages()).sum();
    assert_eq!(messages, 4, "what was accepted is gone, what was published has been delivered");
    [published, moved]
}

#[test]
fn a_transient_transaction_over_four_shards_takes_two_round_trips() {
    assert_eq!(costs(false), [(4, 0), (4, 0)]);
}

#[test]
fn a_durable_one_takes_two_round_trips_and_two_writes_one_after_the_other() {
    assert_eq!(costs(true), [(4, 2), (4, 2)]);
}

#[test]
fn one_shard_alone_decides_with_one_write() {
    let mut broker = Broker::new(true);
    broker.declare_each(true);
    let mut transaction = broker.publishes(true);
    transaction.publishes.drain(1..);
    broker.ask(Request::Commit(Box::new(transaction)));
    assert_eq!((broker.journeys, broker.writes), (2, 1));
    assert_eq!(broker.available(), 1);
}

#[test]
fn a_message_to_one_other_shard_is_written_by_that_shard_alone() {
    let mut broker = Broker::new(true);
    broker.declare_each(true);
    broker.rest();
    let written = |broker: &Broker| -> Vec<u64> {
        broker.engines.iter().map(|engine| engine.log().expect("durable").last_seq().0).collect()
    };
    let before = written(&broker);
    let (op, session) = (broker.next_op + 1, broker.session);
    (broker.journeys, broker.writes) = (0, 0);
    broker.input(SESSION_SHARD, |engine, fx| {
        let published = engine.publish(NOW, (session, op), "", &message("q2", true), fx);
        assert!(matches!(published, Ok(Published::Pending)));
    });
    broker.rest();
    let confirmed =
        |e: &Event| matches!(e, Event::Published { op: confirmed, .. } if *confirmed == op);
    assert!(broker.events.iter().any(confirmed));
    assert_eq!((broker.journeys, broker.writes), (2, 1));
    let records: Vec<u64> =
        written(&broker).iter().zip(before).map(|(now, then)| now - then).collect();
    assert_eq!(records, [0, 0, 1, 0]);
}
