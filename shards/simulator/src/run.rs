//! One seed from beginning to end: set up, work, come to rest, end all sessions, look what is left.

use crate::model::{ALTERNATES, DEAD, LOOP};
use crate::session::{Asked, Stage};
use crate::trace::{Marks, Trace};
use crate::world::World;
use fletch_amqp::types::Map;
use fletch_engine::queue::INFINITE;
use fletch_engine::{
    Binding, CreditUnit, DeclareExchange, DeclareQueue, FlowMode, Mode, QueueId, Request,
    SessionId, ShardId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Steps that coming to rest may take: far more than any honest amount of work needs.
const REST_MAX: usize = 2_000_000;

/// What a seed's run amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Hash of everything that happened: the same for the same seed.
    pub trace: u64,
    /// Messages published.
    pub messages: u64,
    /// Deliveries made.
    pub deliveries: u64,
    /// Steps taken.
    pub steps: u64,
    /// Situations reached.
    pub marks: Marks,
}

pub(crate) fn run(seed: u64, steps: Option<u64>, trace: &mut Trace) -> Summary {
    let mut world = World::new(seed, steps, trace);
    world.set_up();
    world.work();
    world.rest();
    world.let_come_due();
    world.rest();
    world.check_served();
    world.end_all();
    world.drain();
    Summary {
        messages: u64::from(world.model.next_message()),
        deliveries: world.model.deliveries,
        steps: world.trace.step,
        trace: world.trace.hash(),
        marks: world.marks,
    }
}

impl World<'_> {
    /// What is always there: where dead letters go.
    fn set_up(&mut self) {
        let id = self.attach(ShardId(0), "set-up", false);
        self.rest();
        let alternates = [(ALTERNATES[0], "fanout"), (ALTERNATES[1], "topic"), (LOOP, "fanout")];
        for (name, kind) in alternates {
            let (name, kind) = (name.into(), kind.into());
            let declare = DeclareExchange { name, kind, ..DeclareExchange::default() };
            self.ask(id, Asked::Topology, Request::DeclareExchange(declare));
        }
        // What is rejected from the second goes to the first.
        for (name, alternate) in [(DEAD[0], None), (DEAD[1], Some(ALTERNATES[0].into()))] {
            let declare = DeclareQueue { name: name.into(), alternate, ..DeclareQueue::default() };
            self.ask(id, Asked::Topology, Request::DeclareQueue(declare));
        }
        let bindings = [
            (DEAD[0], ALTERNATES[0]),
            (DEAD[0], ALTERNATES[1]),
            (DEAD[1], ALTERNATES[1]),
            (DEAD[0], LOOP),
        ];
        for (queue, exchange) in bindings {
            let (queue, exchange) = (queue.into(), exchange.into());
            let binding = Binding { queue, exchange, key: "#".into(), arguments: Map::new() };
            self.ask(id, Asked::Topology, Request::Bind(binding));
        }
        self.rest();
        self.end(id);
        self.rest();
    }

    fn work(&mut self) {
        let lag = self.mix.lag_percent;
        self.network.shuffle(&mut self.rng, lag);
        for _ in 0..self.mix.steps {
            self.trace.step += 1;
            match self.rng.weighted(&self.mix.steps_of) {
                Some(0) => {
                    self.deliver(false);
                }
                Some(1) => self.act(),
                Some(2) => {
                    let shard = self.rng.below(usize::from(self.mix.shards)) as u16;
                    self.turn_end(ShardId(shard));
                }
                Some(3) => self.pass_time(),
                _ => self.network.shuffle(&mut self.rng, lag),
            }
        }
    }

    /// Lets everything under way arrive.
    pub(crate) fn rest(&mut self) {
        for _ in 0..REST_MAX {
            self.trace.step += 1;
            if self.deliver(true) {
                continue;
            }
            for shard in 0..self.mix.shards {
                self.turn_end(ShardId(shard));
            }
            if !self.work_slices() && self.network.is_empty() {
                return;
            }
        }
        panic!("the broker does not come to rest");
    }

    /// At rest, nobody who may have a message waits for one that is there.
    fn check_served(&mut self) {
        let open = self.sessions.values().filter(|s| s.stage == Stage::Live);
        let flushing = open.flat_map(|s| s.asked.values()).any(|a| matches!(a, Asked::Clear(_)));
        self.marks.hit("a flush waits for room", flushing);
        let queues = self.engines.iter().flat_map(|engine| engine.queues());
        let held: usize = queues.map(|q| q.held_publishes()).sum();
        let publishing: usize = self.sessions.values().map(|s| s.publishing.len()).sum();
        assert!(publishing <= held, "{publishing} publishes wait, and queues hold {held}");
        for session in self.sessions.values() {
            for (op, asked) in &session.asked {
                // A flush waits for room.
                let may_wait = matches!(asked, Asked::Clear(_));
                assert!(may_wait, "{:?}: {op} has no answer: {asked:?}", session.id);
            }
            for (tag, s) in &session.subscriptions {
                let Some(queue) = s.queue else { continue };
                let open = s.started && !s.cancelled && s.mode == Mode::Consume && s.flow.is_open();
                if !open || session.stage != Stage::Live {
                    continue;
                }
                let mut all = self.engines.iter().flat_map(|engine| engine.queues());
                let deleted = self.model.is_deleted(queue);
                assert!(!deleted, "{:?} {tag} waits, and {queue:?} is deleted", session.id);
                let there = all.find(|q| q.id() == queue).map_or(0, |q| q.available());
                assert!(there == 0, "{:?} {tag} waits, and {there} are in {queue:?}", session.id);
            }
        }
    }

    /// All sessions end; nothing may be left of them.
    fn end_all(&mut self) {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            self.end(id);
            if self.rng.chance(50) {
                self.deliver(true);
            }
        }
        self.rest();
        self.check_idle();
    }

    fn check_idle(&self) {
        for session in self.sessions.values() {
            assert!(session.stage == Stage::Over, "{:?} does not end: {session:?}", session.id);
            assert!(session.asked.is_empty(), "{:?}: {:?}", session.id, session.asked);
        }
        let first = &self.engines[0];
        let mut at_home = BTreeSet::new();
        for engine in &self.engines {
            assert!(engine.is_idle(), "an engine has something left: {engine:?}");
            assert_eq!(engine.topology().epoch(), first.topology().epoch(), "replicas differ");
            let known = |e: &fletch_engine::Engine| -> BTreeSet<QueueId> {
                e.topology().queues().map(|q| q.id).collect()
            };
            assert_eq!(known(engine), known(first), "replicas differ");
            at_home.extend(engine.queues().map(|q| q.id()));
        }
        let known: BTreeSet<QueueId> = first.topology().queues().map(|q| q.id).collect();
        assert_eq!(at_home, known, "the queues at home are not those of the topology");
        for q in first.topology().queues() {
            assert!(q.owner.is_none(), "{} still belongs to {:?}", q.name, q.owner);
        }
    }

    /// Messages that gave way to others in a queue.
    fn displaced(&self, queue: QueueId) -> u64 {
        let mut all = self.engines.iter().flat_map(|engine| engine.queues());
        all.find(|q| q.id() == queue).map_or(0, |q| q.counters().displaced)
    }

    /// Takes all messages from all queues, and compares.
    fn drain(&mut self) {
        for engine in &self.engines {
            let stats = engine.stats();
            self.marks.hit("rerouted", stats.rerouted > 0);
            self.marks.hit("discarded", stats.discarded > 0);
            for queue in engine.queues() {
                let counters = queue.counters();
                self.marks.hit("expired", counters.expired > 0);
                self.marks.hit("purged", counters.purged > 0);
                self.marks.hit("rejected", counters.rejected > 0);
            }
        }
        let mut queues: Vec<(QueueId, Arc<str>)> =
            self.engines[0].topology().queues().map(|q| (q.id, Arc::clone(&q.name))).collect();
        queues.sort_unstable();
        for engine in &self.engines {
            for q in engine.queues() {
                let (all, free) = (q.messages(), q.available());
                assert!(all == free, "{:?}: {all} messages, {free} free", q.id());
            }
        }
        self.drained = Some(BTreeMap::new());
        let shard = ShardId(self.rng.below(usize::from(self.mix.shards)) as u16);
        let id = self.attach(shard, "drain", false);
        self.rest();
        for (queue, name) in queues {
            let tag = self.start(id, name, (Mode::Consume, true, false), FlowMode::Credit);
            self.grant(id, tag, CreditUnit::Bytes, INFINITE);
            self.grant(id, tag, CreditUnit::Messages, INFINITE);
            loop {
                self.rest();
                let subscription = self.session(id).subscriptions.get(&tag);
                let subscription = subscription.filter(|s| s.started);
                let subscription = subscription.expect("everybody may consume in the end");
                if subscription.flow.owed == (0, 0) {
                    break;
                }
                self.give_room(id);
            }
            let displaced = self.displaced(queue);
            self.marks.hit("displaced", displaced > 0);
            let found = self.drained.as_mut().and_then(|d| d.remove(&queue)).unwrap_or_default();
            self.model.check_left(self.now, (queue, displaced), &found);
            // Accepted, so that the auto-delete queues among them have nothing to reroute.
            let records = std::mem::take(&mut self.session(id).records);
            let deliveries: Vec<_> =
                records.iter().filter(|r| !r.ended).map(|r| r.delivery).collect();
            if !deliveries.is_empty() {
                self.settle(id, fletch_engine::Outcome::Accepted, deliveries);
            }
            self.cancel(id, tag);
            self.rest();
        }
        self.end(id);
        self.rest();
        self.check_idle();
        for engine in &self.engines {
            assert_eq!(engine.withheld(), 0, "a publish has never become complete");
        }
    }
}
