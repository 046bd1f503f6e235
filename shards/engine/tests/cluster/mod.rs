//! Engines of several shards in one thread, without a disk. Frames arrive at once, or one at a time in any order that
//! the rings allow; a test sets the clock.

#![allow(dead_code, unreachable_pub, reason = "a module of each test that needs some of it")]

pub mod clients;

use fletch_engine::{
    Config, DeliveryRef, Effects, Engine, Error, Event, Frame, Message, OpId, Reply, Request,
    SessionId, ShardId, SubscriptionId, Time,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// See the module.
pub struct Cluster {
    pub engines: Vec<Engine>,
    now: Time,
    /// Frames under way, in the order in which they were sent: from which shard, to which.
    mail: VecDeque<(ShardId, ShardId, Frame)>,
    /// Decides which of them is next; without it they arrive at once, in that order.
    random: Option<u64>,
    next: u64,
    replies: BTreeMap<(SessionId, OpId), Result<Reply, Error>>,
    published: BTreeMap<(SessionId, OpId), Result<(), Error>>,
    pub deliveries: Vec<(SubscriptionId, DeliveryRef, Message)>,
    ended: Vec<(SessionId, u32)>,
}

impl Cluster {
    /// Whatever is sent arrives at once, and long work is done in short slices.
    pub fn new(shards: u16) -> Cluster {
        let config = |n| Config {
            purge_interval: Duration::from_secs(10),
            slice: 4,
            ..Config::new(ShardId(n), shards)
        };
        Cluster::of((0..shards).map(|n| Engine::new(&config(n))).collect(), None)
    }

    /// A seed decides in which order frames of different shards arrive, and the test when.
    pub fn any_order(shards: u16, seed: u64) -> Cluster {
        let engine = |n| Engine::new(&Config::new(ShardId(n), shards));
        Cluster::of((0..shards).map(engine).collect(), Some(seed))
    }

    fn of(engines: Vec<Engine>, random: Option<u64>) -> Cluster {
        Cluster {
            engines,
            now: Time(1),
            mail: VecDeque::new(),
            random,
            next: 1,
            replies: BTreeMap::new(),
            published: BTreeMap::new(),
            deliveries: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn session(&mut self, shard: u16) -> SessionId {
        SessionId::new(ShardId(shard), self.next())
    }

    pub fn random(&mut self, below: u64) -> u64 {
        let random = self.random.as_mut().expect("frames arrive in any order");
        *random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*random >> 33) % below
    }

    // ---- what happens --------------------------------------------------------------------

    /// Runs an input, and where frames arrive at once everything that follows from it.
    pub fn input<T>(
        &mut self,
        shard: ShardId,
        f: impl FnOnce(&mut Engine, Time, &mut Effects) -> T,
    ) -> T {
        let result = self.run(shard, f);
        if self.random.is_none() {
            self.rest();
        }
        result
    }

    fn run<T>(
        &mut self,
        shard: ShardId,
        f: impl FnOnce(&mut Engine, Time, &mut Effects) -> T,
    ) -> T {
        let mut fx = Effects::default();
        let engine = &mut self.engines[shard.index()];
        let result = f(engine, self.now, &mut fx);
        // What arrives at once is one turn.
        if self.random.is_some() {
            engine.turn_end(self.now, &mut fx);
        }
        self.take(shard, fx);
        result
    }

    fn take(&mut self, shard: ShardId, fx: Effects) {
        self.mail.extend(fx.frames.into_iter().map(|(to, frame)| (shard, to, frame)));
        for event in fx.events {
            match event {
                Event::Reply { session, op, result } => {
                    assert!(self.replies.insert((session, op), result).is_none(), "answered twice");
                }
                Event::Published { session, op } => {
                    assert!(self.published.insert((session, op), Ok(())).is_none());
                }
                Event::Refused { session, op, reason } => {
                    assert!(self.published.insert((session, op), Err(reason)).is_none());
                }
                Event::Deliver { to, delivery, message, marks, .. } => {
                    let message = match &marks {
                        Some(marks) => clients::marked(&message, marks, delivery.position),
                        None => message,
                    };
                    self.deliveries.push((to, delivery, message));
                }
                Event::SubscriptionEnded { to, .. } => self.ended.push((to.session, to.tag)),
                Event::BranchExpired { .. } | Event::Evicted { .. } | Event::Withheld { .. } => {}
            }
        }
    }

    /// One frame arrives somewhere. False if none is under way.
    pub fn step(&mut self) -> bool {
        let at = if self.random.is_none() || self.mail.is_empty() { 0 } else { self.pick() };
        let Some((from, to, frame)) = self.mail.remove(at) else { return false };
        self.run(to, |engine, now, fx| engine.frame(now, from, frame, fx));
        true
    }

    /// The first frame from some shard to some other.
    fn pick(&mut self) -> usize {
        let pair = |(from, to, _): &(ShardId, ShardId, Frame)| (*from, *to);
        let mut pairs: Vec<_> = self.mail.iter().map(pair).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let picked = pairs[self.random(pairs.len() as u64) as usize];
        self.mail.iter().position(|mail| pair(mail) == picked).expect("it is one of them")
    }

    /// The end of a turn everywhere, with what is due. False if nothing was.
    fn tick(&mut self) -> bool {
        let mut worked = false;
        for n in 0..self.engines.len() {
            let (engine, mut fx) = (&mut self.engines[n], Effects::default());
            if engine.next_deadline() <= self.now {
                engine.tick(self.now, &mut fx);
                worked = true;
            }
            engine.turn_end(self.now, &mut fx);
            self.take(ShardId(n as u16), fx);
        }
        worked
    }

    /// All frames arrive, and all that is due is done.
    fn rest(&mut self) {
        for _ in 0..1000 {
            while self.step() {}
            if !self.tick() && self.mail.is_empty() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// The same, and nothing that was begun is left.
    pub fn finish(&mut self) {
        self.rest();
        assert!(self.engines.iter().all(|e| e.pending() == 0), "all that was begun ends");
    }

    pub fn exists(&self, name: &str) -> bool {
        let seen: Vec<bool> =
            self.engines.iter().map(|e| e.topology().queue(name).is_some()).collect();
        assert!(seen.iter().all(|s| *s == seen[0]), "shards disagree about {name}");
        seen[0]
    }

    /// Time passes, a tenth of a second at a time.
    pub fn pass(&mut self, time: Duration) {
        let tick = Duration::from_millis(100);
        for _ in 0..time.as_millis() / tick.as_millis() {
            self.now = self.now.after(tick);
            self.rest();
        }
    }

    // ---- requests ------------------------------------------------------------------------

    /// Starts a request.
    pub fn start(&mut self, session: SessionId, request: Request) -> OpId {
        let op = self.next();
        self.input(session.shard(), |e, now, fx| e.request(now, session, op, request, fx));
        op
    }

    pub fn answer(&mut self, session: SessionId, op: OpId) -> Option<Result<Reply, Error>> {
        self.replies.remove(&(session, op))
    }

    /// Frames arrive until a request is answered, and no longer.
    pub fn wait(&mut self, session: SessionId, op: OpId) -> Result<Reply, Error> {
        loop {
            if let Some(result) = self.answer(session, op) {
                return result;
            }
            assert!(self.step(), "the request is answered");
        }
    }

    pub fn ask(&mut self, session: SessionId, request: Request) -> Result<Reply, Error> {
        let op = self.start(session, request);
        self.wait(session, op)
    }

    pub fn ok(&mut self, session: SessionId, request: Request) -> Reply {
        self.ask(session, request).expect("granted")
    }
}
