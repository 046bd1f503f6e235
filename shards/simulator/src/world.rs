//! The simulated broker: engines, channels, sessions, virtual time; and what every event does.
//!
//! All of it runs in one thread, and all choices come from the seed. Assertions here and in the
//! model are the checks; a failed one is a failed seed.

use crate::lifetimes;
use crate::message::message_id;
use crate::mix::Mix;
use crate::model::{MessageId, Model};
use crate::network::{Network, label};
use crate::rng::Rng;
use crate::session::{Asked, Session};
use crate::trace::{Marks, Trace};
use fletch_engine::{
    Config, DeliveryRef, Effects, Engine, Event, Force, Frame, Message, Mode, OpId, Outcome,
    Position, QueueId, Request, SessionId, ShardId, SubscriptionId, Time, What,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How far a private queue's life has come, for the sessions that look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Private {
    /// Declared everywhere, and nobody has asked to delete it.
    There,
    /// Being declared or deleted.
    Moving,
    Gone,
}

/// A delivery as its home sends it.
type Sent<'a> = (SubscriptionId, DeliveryRef, &'a Message, bool);

/// See the module.
pub(crate) struct World<'t> {
    pub(crate) rng: Rng,
    pub(crate) mix: Mix,
    pub(crate) now: Time,
    pub(crate) engines: Vec<Engine>,
    pub(crate) network: Network,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    next_session: u64,
    pub(crate) model: Model,
    pub(crate) privates: BTreeMap<Arc<str>, Private>,
    /// Who has which session name.
    pub(crate) names: BTreeMap<Arc<str>, SessionId>,
    /// Who consumes from a queue, as far as answers have told.
    pub(crate) consumers: BTreeMap<QueueId, BTreeSet<SubscriptionId>>,
    pub(crate) trace: &'t mut Trace,
    pub(crate) marks: Marks,
    fx: Effects,
    events: VecDeque<Event>,
    busy: bool,
    /// Live queues of each shard.
    live: Vec<BTreeSet<QueueId>>,
    homes: BTreeMap<QueueId, ShardId>,
    /// Sessions that were told that they have a queue for themselves.
    pub(crate) owners: BTreeMap<QueueId, SessionId>,
    /// While set, what consumers get is counted here.
    pub(crate) drained: Option<BTreeMap<QueueId, BTreeMap<MessageId, u64>>>,
}

impl<'t> World<'t> {
    pub(crate) fn new(seed: u64, steps: Option<u64>, trace: &'t mut Trace) -> World<'t> {
        let mut rng = Rng::new(seed);
        let mix = Mix::draw(seed, &mut rng, steps);
        let purge_interval = Duration::from_nanos(rng.range(0, mix.time * 20) as u64);
        let engine = |shard| {
            // Small slices would route a deleted queue's messages later than the model does.
            let config = Config { purge_interval, ..Config::new(ShardId(shard), mix.shards) };
            Engine::new(&config)
        };
        World {
            now: Time(1),
            engines: (0..mix.shards).map(engine).collect(),
            network: Network::new(mix.shards),
            live: vec![BTreeSet::new(); usize::from(mix.shards)],
            sessions: BTreeMap::new(),
            next_session: 1,
            model: Model::default(),
            privates: BTreeMap::new(),
            names: BTreeMap::new(),
            consumers: BTreeMap::new(),
            homes: BTreeMap::new(),
            owners: BTreeMap::new(),
            fx: Effects::default(),
            marks: Marks::default(),
            events: VecDeque::new(),
            busy: false,
            drained: None,
            trace,
            rng,
            mix,
        }
    }

    // ---- engines -------------------------------------------------------------------------

    /// One input to one engine, and all that follows on its shard.
    pub(crate) fn input<T>(
        &mut self,
        shard: ShardId,
        f: impl FnOnce(&mut Engine, Time, &mut Effects) -> T,
    ) -> T {
        let result = f(&mut self.engines[shard.index()], self.now, &mut self.fx);
        self.see_home(shard);
        self.collect(shard);
        if !self.busy {
            self.busy = true;
            while let Some(event) = self.events.pop_front() {
                self.on_event(event);
            }
            self.busy = false;
        }
        result
    }

    /// Queues that have come or gone at their home, and deliveries it sends. What a queue sent
    /// before it went is seen before, what its messages did elsewhere after.
    fn see_home(&mut self, shard: ShardId) {
        let engine = &self.engines[shard.index()];
        let live = &mut self.live[shard.index()];
        let mut here: Vec<QueueId> = engine.queues().map(fletch_engine::queue::Queue::id).collect();
        here.sort_unstable();
        for q in engine.queues() {
            if live.contains(&q.id()) {
                self.model.check_depth(q.id(), q.depth().0);
            }
        }
        for queue in &here {
            if live.insert(*queue) {
                self.trace.add(shard.0, "queue", queue.0, 0);
                let descriptor = engine.topology().queue_by_id(*queue);
                self.model.know(descriptor.expect("a live queue is in its home's topology"));
                self.homes.insert(*queue, shard);
            }
        }
        let gone: Vec<QueueId> =
            live.iter().filter(|q| here.binary_search(q).is_err()).copied().collect();
        let fx = std::mem::take(&mut self.fx);
        if !gone.is_empty() {
            self.see_deliveries(shard, &fx, |queue| gone.contains(&queue));
            for queue in &gone {
                self.live[shard.index()].remove(queue);
                self.trace.add(shard.0, "queue gone", queue.0, 0);
                self.marks.hit("queue deleted", true);
                self.check_end(*queue);
                self.model.deleted(*queue);
            }
        }
        self.see_deliveries(shard, &fx, |queue| !gone.contains(&queue));
        self.fx = fx;
    }

    fn see_deliveries(&mut self, shard: ShardId, fx: &Effects, of: impl Fn(QueueId) -> bool) {
        // Per queue: to other shards, and to this one; each in the order they were sent in. How
        // the two interleave is not told: by position, and browsers before consumers.
        let mut sent: BTreeMap<QueueId, [VecDeque<Sent<'_>>; 2]> = BTreeMap::new();
        for (_, frame) in &fx.frames {
            if let Frame::Deliver { to, delivery, message, redelivered, .. } = frame
                && of(delivery.queue)
            {
                let all = sent.entry(delivery.queue).or_default();
                all[0].push_back((*to, *delivery, message, *redelivered));
            }
        }
        for event in &fx.events {
            if let Event::Deliver { to, delivery, message, redelivered, .. } = event
                && self.homes.get(&delivery.queue) == Some(&shard)
                && of(delivery.queue)
            {
                let all = sent.entry(delivery.queue).or_default();
                all[1].push_back((*to, *delivery, message, *redelivered));
            }
        }
        for mut all in sent.into_values() {
            let rank = |sent: Option<&Sent<'_>>| {
                let (to, delivery, ..) = sent?;
                let s = self.sessions.get(&to.session)?.subscriptions.get(&to.tag)?;
                Some((delivery.position, s.mode == Mode::Consume))
            };
            let mut merged = Vec::new();
            loop {
                let heads = [rank(all[0].front()), rank(all[1].front())];
                // One that comes when it is due comes behind others that were sent before.
                let browsed = |list: usize, head: (Position, bool)| {
                    head.1 && all[list].iter().any(|s| rank(Some(s)) == Some((head.0, false)))
                };
                let from = match heads {
                    [Some(other), Some(_)] if browsed(1, other) => 1,
                    [Some(_), Some(own)] if browsed(0, own) => 0,
                    [Some(other), Some(own)] => usize::from(own < other),
                    _ => usize::from(all[0].is_empty()),
                };
                let Some(next) = all[from].pop_front() else { break };
                merged.push(next);
            }
            for (to, delivery, message, redelivered) in merged {
                self.emitted(to, delivery, message, redelivered);
            }
        }
    }

    fn collect(&mut self, shard: ShardId) {
        for notice in self.fx.notices.drain(..) {
            self.marks.hit("queue destroyed itself", notice.what == What::SelfDestructed);
            self.marks.hit("publishers held", notice.what == What::FlowStopped);
            self.marks.hit("publishers go on", notice.what == What::FlowResumed);
        }
        for (to, frame) in self.fx.frames.drain(..) {
            self.network.send(shard, to, frame);
        }
        for event in self.fx.events.drain(..) {
            assert!(event.session().shard() == shard, "an event of another shard: {event:?}");
            self.events.push_back(event);
        }
    }

    /// The home sends a message to a subscription.
    fn emitted(
        &mut self,
        to: SubscriptionId,
        delivery: DeliveryRef,
        message: &Message,
        redelivered: bool,
    ) {
        let session = self.sessions.get_mut(&to.session).expect("deliveries go to sessions");
        let s = session.subscriptions.get_mut(&to.tag).expect("deliveries go to subscriptions");
        assert!(s.queue == Some(delivery.queue), "{to:?} is sent from another queue");
        s.flow.emitted(message.size() as u64);
        self.marks.hit("room full", s.flow.is_full());
        self.marks.hit("redelivered", redelivered);
        let how = (s.settles, s.mode == Mode::Browse);
        self.model.emitted(self.now, to.session, delivery, message_id(message), redelivered, how);
    }

    // ---- asking --------------------------------------------------------------------------

    pub(crate) fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions.get_mut(&id).expect("the session exists")
    }

    pub(crate) fn ask(&mut self, id: SessionId, asked: Asked, request: Request) -> OpId {
        let session = self.session(id);
        let op = session.next_op;
        session.next_op += 1;
        session.asked.insert(op, asked);
        self.trace.add(id.shard().0, name_of(&request), id.raw(), op);
        self.input(id.shard(), |engine, now, fx| engine.request(now, id, op, request, fx));
        op
    }

    /// A new session asks for its name.
    pub(crate) fn attach(&mut self, shard: ShardId, name: &str, force: bool) -> SessionId {
        let id = SessionId::new(shard, self.next_session);
        self.next_session += 1;
        let name: Arc<str> = name.into();
        self.sessions.insert(id, Session::new(id, Arc::clone(&name)));
        self.ask(
            id,
            Asked::Attach,
            Request::Attach { name, force: if force { Force::All } else { Force::No } },
        );
        id
    }

    /// Asks for a settlement of deliveries the session holds.
    pub(crate) fn settle(
        &mut self,
        id: SessionId,
        outcome: Outcome,
        deliveries: Vec<DeliveryRef>,
    ) -> OpId {
        let deliveries: Vec<DeliveryRef> = deliveries;
        let mut answered = Vec::new();
        for delivery in &deliveries {
            match outcome {
                Outcome::Accepted => {
                    if !self.model.is_deleted(delivery.queue) {
                        answered.push(*delivery);
                    }
                    self.model.accepts(id, *delivery);
                }
                Outcome::Released { set_redelivered }
                | Outcome::Declined { set_redelivered, .. } => {
                    self.model.releases(id, *delivery, set_redelivered);
                }
                Outcome::Rejected => self.model.rejects(id, *delivery),
            }
        }
        self.ask(id, Asked::Settle(outcome, answered), Request::Settle { outcome, deliveries })
    }

    // ---- steps ---------------------------------------------------------------------------

    /// Moves some frames of one channel. False if there is none that may move.
    pub(crate) fn deliver(&mut self, all: bool) -> bool {
        let Some((from, to)) = self.network.choose(&mut self.rng, all) else { return false };
        let n = self.rng.range(1, self.mix.batch);
        for _ in 0..n {
            let Some(frame) = self.network.take(from, to) else { break };
            if let Frame::Publish { epoch, .. } = &frame {
                let early = *epoch > self.engines[to.index()].topology().epoch();
                self.marks.hit("a publish waits for the topology", early);
            }
            let (what, a, b) = label(&frame);
            self.trace.add(to.0, what, a, b);
            self.input(to, |engine, now, fx| engine.frame(now, from, frame, fx));
        }
        true
    }

    pub(crate) fn turn_end(&mut self, shard: ShardId) {
        self.trace.add(shard.0, "turn end", 0, 0);
        self.input(shard, |engine, now, fx| engine.turn_end(now, fx));
    }

    /// Goes on with work that is done in slices. False if there is none.
    pub(crate) fn work_slices(&mut self) -> bool {
        let working = |e: &Engine| e.next_deadline() == Time(0);
        let shards: Vec<_> = (0..self.mix.shards).map(ShardId).collect();
        let mut any = false;
        for shard in
            shards.into_iter().filter(|s| working(&self.engines[s.index()])).collect::<Vec<_>>()
        {
            any = true;
            self.input(shard, |engine, now, fx| engine.tick(now, fx));
        }
        any
    }

    /// Time passes until every message is due.
    pub(crate) fn let_come_due(&mut self) {
        self.now = self.now.max(self.model.last_due());
        loop {
            let queues = self.engines.iter().flat_map(|engine| engine.queues());
            if queues.map(|q| q.scheduled()).sum::<u64>() == 0 {
                return;
            }
            for shard in (0..self.mix.shards).map(ShardId) {
                let deadline = self.engines[shard.index()].next_deadline();
                let waits = self.engines[shard.index()].queues().any(|q| q.scheduled() > 0);
                assert!(!waits || deadline <= self.now, "messages wait that are due");
                self.input(shard, |engine, now, fx| engine.tick(now, fx));
            }
        }
    }

    pub(crate) fn pass_time(&mut self) {
        let (usual, lasting) = (self.mix.time, self.mix.auto_delete_percent);
        self.now = Time(self.now.0 + lifetimes::time(&mut self.rng, usual, lasting));
        for shard in 0..self.mix.shards {
            if self.rng.chance(50) {
                self.trace.add(shard, "tick", self.now.0, 0);
                self.input(ShardId(shard), |engine, now, fx| engine.tick(now, fx));
            }
        }
    }
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Attach { .. } => "ask attach",
        Request::Close => "ask close",
        Request::Cede { .. } => "ask cede",
        Request::DeclareQueue(_) => "ask declare queue",
        Request::DeleteQueue { .. } => "ask delete queue",
        Request::PurgeQueue { .. } => "ask purge",
        Request::MoveMessages { .. } => "ask move",
        Request::Redirect { .. } => "ask redirect",
        Request::RerouteMessages { .. } => "ask reroute",
        Request::QueryQueue { .. } => "ask query",
        Request::CreateObject(_) => "ask create object",
        Request::DeleteObject { .. } => "ask delete object",
        Request::DeclareExchange(_) => "ask declare exchange",
        Request::DeleteExchange { .. } => "ask delete exchange",
        Request::QueryExchange { .. } => "ask query exchange",
        Request::Bind(_) => "ask bind",
        Request::Unbind { .. } => "ask unbind",
        Request::Bound { .. } => "ask bound",
        Request::Subscribe(_) => "ask subscribe",
        Request::Cancel { .. } => "ask cancel",
        Request::Flush { .. } => "ask flush",
        Request::Stop { .. } => "ask stop",
        Request::Acquire { .. } => "ask acquire",
        Request::Settle { .. } => "ask settle",
        Request::Commit(_) => "ask commit",
        Request::Route { .. } => "ask route",
        Request::Dtx(_) => "ask dtx",
    }
}
