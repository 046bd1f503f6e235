//! One shard's engine: the replica of the topology, the queues homed here, and the requests of
//! the sessions connected here.
//!
//! Lives on its shard's pump, which is its only caller; never blocks, reads no clock, keeps no
//! reference to anything shared. A request for another shard's queue becomes a [`Frame`]; one for
//! a queue homed here takes the same path through [`Engine::on_frame`], by way of `local`, except
//! for the hot ones (publish, settle, window updates), which go straight to the queue.

mod annotating;
mod away;
mod dtx;
mod duplicates;
mod durable;
mod exchanges;
mod gone;
mod home;
mod initial;
mod lifetimes;
mod limits;
mod moving;
mod ordering;
mod paging;
mod publish;
mod scheduled;
mod slices;
mod space;
mod taking;
mod tx;

use crate::dtx::{Branches, DtxConfig};
use crate::error::Error;
use crate::frame::{Effects, Frame, QueueCommand, QueueFrame};
use crate::ids::{Epoch, Position, QueueId, SessionId, ShardId, SubscriptionId, Time};
use crate::pending::{Parts, Publishes, Rejections};
use crate::queue::{CreditUnit, FlowMode, Output, Queue, QueueDefaults};
use crate::request::{DeliveryRef, Event, OpId, Outcome, Reply, Request, Subscribe};
use crate::store::{Pager, Pages, PagingConfig, Restored, Store, Waiter};
use crate::sweep::Sweep;
use crate::topology::{
    Change, Decision, FixedMap, Object, Orderer, Routes, Topology, TopologyRequest,
};
use crate::transaction::Transactions;
use away::Away;
use exchanges::Exchanges;
use fletch_journal::{Damaged, Volume};
use gone::Gone;
use lifetimes::Lifetimes;
use moving::Moving;
use scheduled::Schedules;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which shard this is.
    pub shard: ShardId,
    /// How many there are.
    pub shards: u16,
    /// How often expired messages are swept from queues nobody reads (`--queue-purge-interval`).
    pub purge_interval: Duration,
    /// Messages that such a sweep looks at in one turn (`--max-purge-batch`): at least one.
    pub purge_batch: usize,
    /// Messages of a backlog that are handled in one turn when a queue is purged or deleted; see
    /// [`Config::SLICE`].
    pub slice: usize,
    /// How long the journal's writes may wait for company (`--journal-flush-timeout`).
    pub flush_timeout: Duration,
    /// Bytes of memory that this shard's messages may take before bodies that can be read back leave it
    /// (this shard's part of `--queue-memory`).
    pub memory: u64,
    /// Messages at the front of each queue that stay in memory all the same, in chunks of 64: at least one;
    /// see [`Config::KEPT`].
    pub kept: usize,
    /// The group of messages without one (`--default-message-group`).
    pub default_group: Arc<str>,
    /// The paging file of this shard, if there is to be one (`--paging-dir`).
    pub paging: Option<PagingConfig>,
    /// What queues have that do not say.
    pub queues: QueueDefaults,
    /// Limits of branches of distributed transactions.
    pub dtx: DtxConfig,
    /// Policies that are there from the start; the same on all shards.
    pub policies: Arc<[Arc<Object>]>,
    /// A random number that no peer knows: what keys the hashes of what peers choose.
    pub secret: u64,
}

impl Config {
    /// One that sweeps nothing, waits for nothing, and limits no memory and no queue by itself.
    pub fn new(shard: ShardId, shards: u16) -> Config {
        Config {
            shard,
            shards,
            purge_interval: Duration::ZERO,
            purge_batch: Config::SLICE,
            slice: Config::SLICE,
            flush_timeout: Duration::ZERO,
            memory: u64::MAX,
            kept: Config::KEPT,
            default_group: Config::DEFAULT_GROUP.into(),
            paging: None,
            queues: QueueDefaults::UNLIMITED,
            dtx: DtxConfig::UNLIMITED,
            policies: Arc::default(),
            secret: 0,
        }
    }

    /// A slice of some tens to hundreds of microseconds.
    pub const SLICE: usize = 1000;
    /// As many as a consumer takes while a read is under way.
    pub const KEPT: usize = 4;
    /// The reference's.
    pub const DEFAULT_GROUP: &str = "qpid.no-group";
}

/// What an engine has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages published by sessions here.
    pub published: u64,
    /// Of those, the ones no queue took.
    pub unroutable: u64,
    /// Messages rerouted to an alternate exchange from queues here.
    pub rerouted: u64,
    /// Messages whose queue was deleted while they were under way, without an alternate.
    pub discarded: u64,
}

/// A subscription of a session here, and where its queue lives.
#[derive(Debug)]
struct Route {
    queue: QueueId,
    home: ShardId,
    /// The session has asked to cancel it: until that is answered, it can still be stopped.
    cancelled: bool,
    /// Its queue was deleted when it did not wait for messages: the session is told when it does.
    ended: Option<Box<Error>>,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    shard: ShardId,
    shards: u16,
    topology: Topology,
    /// Shard 0 only.
    orderer: Option<Orderer>,
    /// Boxed: a table has room that is not used, and is copied when it grows.
    queues: FixedMap<QueueId, Box<Queue>>,
    subscriptions: FixedMap<SubscriptionId, Route>,
    /// Cancels under way, and the tag of each.
    cancels: FixedMap<(SessionId, OpId), u32>,
    /// Shard 0 only: cancels that end an auto-delete queue, and its home.
    ends: FixedMap<(SessionId, OpId), ShardId>,
    gone: Gone,
    lifetimes: Lifetimes,
    schedules: Schedules,
    publishes: Publishes,
    parts: Parts,
    /// Frames to this shard itself, run before the input that made them returns.
    local: VecDeque<Frame>,
    /// Per peer: frames that name a newer topology than this replica's, and all that follow them.
    deferred: Vec<VecDeque<Frame>>,
    /// Messages that move here from other queues and wait for room on the disk.
    parked: VecDeque<(ShardId, Frame)>,
    /// Per peer: slots to acknowledge at the end of the turn.
    receipts: Vec<Vec<u32>>,
    /// Per peer: slots that queues here hold back no more.
    resumed: Vec<Vec<u32>>,
    /// What queues have that do not say.
    defaults: QueueDefaults,
    sweep: Sweep,
    jobs: VecDeque<slices::Job>,
    /// Queues whose subscribers look for messages they select.
    looks: VecDeque<QueueId>,
    slice: usize,
    default_group: Arc<str>,
    /// See [`Config::secret`].
    secret: u64,
    stats: Stats,
    /// With a data directory.
    store: Option<Store>,
    pager: Pager,
    damage: Option<(Volume, Damaged)>,
    /// Queues here, or deleted here, with messages on their way to their alternate exchanges.
    moving: FixedMap<QueueId, Moving>,
    rejections: Rejections,
    /// Changes of the topology that this shard has made, if somebody wants to see each: a test.
    changes: Option<Vec<Arc<Change>>>,
    exchanges: Exchanges,
    away: Away,
    transactions: Transactions,
    /// Shard 0 only.
    branches: Branches,
    dtx: DtxConfig,
    // Reused between calls.
    routes: Routes,
    outputs: Vec<Output>,
    decisions: Vec<Decision>,
}

impl Engine {
    /// An engine with the built-in exchanges and nothing else.
    pub fn new(config: &Config) -> Engine {
        assert!(config.shard.0 < config.shards, "shard out of range");
        let peers = usize::from(config.shards);
        let pages = config.paging.as_ref().map(|paging| Pages::new(config.shard.0, paging));
        Engine {
            shard: config.shard,
            shards: config.shards,
            topology: Topology::with_policies(&config.policies),
            orderer: (config.shard == ShardId::ORDERER)
                .then(|| Orderer::new(config.shards, config.queues, config.secret)),
            queues: FixedMap::default(),
            subscriptions: FixedMap::default(),
            cancels: FixedMap::default(),
            ends: FixedMap::default(),
            gone: Gone::default(),
            lifetimes: Lifetimes::default(),
            schedules: Schedules::default(),
            publishes: Publishes::default(),
            parts: Parts::default(),
            local: VecDeque::new(),
            deferred: (0..peers).map(|_| VecDeque::new()).collect(),
            parked: VecDeque::new(),
            receipts: vec![Vec::new(); peers],
            resumed: vec![Vec::new(); peers],
            defaults: config.queues,
            sweep: Sweep::new(config.purge_interval, config.purge_batch),
            jobs: VecDeque::new(),
            looks: VecDeque::new(),
            slice: config.slice.max(1),
            default_group: Arc::clone(&config.default_group),
            secret: config.secret,
            stats: Stats::default(),
            store: None,
            pager: Pager::new(config.memory, config.kept, pages),
            damage: None,
            moving: FixedMap::default(),
            rejections: Rejections::default(),
            changes: None,
            exchanges: Exchanges::default(),
            away: Away::default(),
            transactions: Transactions::default(),
            branches: Branches::default(),
            dtx: config.dtx,
            routes: Routes::default(),
            outputs: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// An engine that goes on with what recovery found, and journals what is durable.
    pub fn restored(config: &Config, restored: Restored) -> Engine {
        let mut engine = Engine::new(config);
        engine.restore(restored, config);
        engine
    }

    // ---- getters -------------------------------------------------------------------------

    /// This shard's replica of the topology.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The queues homed here.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values().map(|q| &**q)
    }

    /// Publishes of sessions here, closed ones too, that are complete but for queues that hold them back.
    pub fn withheld(&self) -> usize {
        self.publishes.withheld()
    }

    /// Requests, subscriptions and other publishes of sessions here that are not over: zero when every
    /// session has closed.
    pub fn pending(&self) -> usize {
        let under_way = self.publishes.unsafe_yet() + self.parts.len() + self.commits();
        under_way + self.subscriptions.len()
    }

    /// Whether nothing at all is under way here, and for the orderer's shard in the whole broker: no
    /// frame waits, nothing is owed to a peer, no session holds a name or a queue.
    pub fn is_idle(&self) -> bool {
        self.pending() == 0
            && self.cancels.is_empty()
            && self.ends.is_empty()
            && self.local.is_empty()
            && self.jobs.is_empty()
            && self.looks.is_empty()
            && self.deferred.iter().all(VecDeque::is_empty)
            && self.parked.is_empty()
            && self.receipts.iter().chain(&self.resumed).all(Vec::is_empty)
            && self.moving.is_empty()
            && self.rejections.is_empty()
            && self.exchanges.is_idle()
            && self.away.is_empty()
            && self.transactions.is_idle()
            && self.store.as_ref().is_none_or(Store::is_idle)
            && self.pager.pages.as_ref().is_none_or(|pages| pages.waiting.is_empty())
            && self.orderer.as_ref().is_none_or(Orderer::is_idle)
    }

    /// When [`Engine::tick`] wants to be called next.
    pub fn next_deadline(&self) -> Time {
        let works = !self.looks.is_empty() || !self.jobs.is_empty() && !self.waits_for_job();
        let next = self.sweep.next().min(self.journal_deadline()).min(self.lifetimes.next());
        let next = next.min(self.branches.next()).min(self.schedules.next());
        if works { Time(0) } else { next }
    }

    // ---- inputs --------------------------------------------------------------------------

    /// Something that needs an answer.
    pub fn request(
        &mut self,
        now: Time,
        session: SessionId,
        op: OpId,
        request: Request,
        fx: &mut Effects,
    ) {
        if let Some(request) = self.behind_publishes(session, op, request) {
            self.handle(now, session, op, request, fx);
        }
        self.run_local(now, fx);
    }

    fn handle(
        &mut self,
        now: Time,
        session: SessionId,
        op: OpId,
        request: Request,
        fx: &mut Effects,
    ) {
        match request {
            Request::Attach { name, force } => {
                self.send(ShardId::ORDERER, Frame::Attach { session, op, name, force }, fx);
            }
            Request::Close => self.send(ShardId::ORDERER, Frame::Close { session, op }, fx),
            Request::Cede { leaves } => {
                self.send(ShardId::ORDERER, Frame::Cede { session, op, leaves }, fx);
            }
            Request::DeclareQueue(d) if d.passive => {
                let result = self.topology.check_queue(session, &d).map(|()| Reply::Done);
                self.answer(session, op, result, fx);
            }
            Request::DeclareExchange(d) if d.passive => {
                let result = self.topology.check_exchange(&d).map(|()| Reply::Done);
                self.answer(session, op, result, fx);
            }
            Request::DeclareQueue(d) => {
                self.order(session, op, TopologyRequest::DeclareQueue(d), fx);
            }
            Request::DeclareExchange(d) => {
                self.order(session, op, TopologyRequest::DeclareExchange(d), fx);
            }
            Request::DeleteQueue { name, if_unused, if_empty } => {
                let home = self.topology.queue(&name).map(|q| (q.id, q.home));
                let request = TopologyRequest::DeleteQueue { name, if_unused, if_empty };
                match home {
                    // What the session has published and subscribed comes first.
                    Some((queue, home)) if home != self.shard => {
                        let request = Box::new(request);
                        let command = QueueCommand::Delete { op, request };
                        self.ask_home(session, queue, home, command, fx);
                    }
                    _ => self.order(session, op, request, fx),
                }
            }
            Request::DeleteExchange { name, if_unused } => {
                self.order(session, op, TopologyRequest::DeleteExchange { name, if_unused }, fx);
            }
            Request::Redirect { source, target } => {
                self.order(session, op, TopologyRequest::Redirect { source, target }, fx);
            }
            Request::CreateObject(create) => {
                self.order(session, op, TopologyRequest::CreateObject(create), fx);
            }
            Request::DeleteObject { kind, name } => {
                self.order(session, op, TopologyRequest::DeleteObject { kind, name }, fx);
            }
            Request::Bind(b) => self.order(session, op, TopologyRequest::Bind(b), fx),
            Request::Unbind { queue, exchange, key } => {
                self.order(session, op, TopologyRequest::Unbind { queue, exchange, key }, fx);
            }
            Request::QueryExchange { name } => {
                let report = self.topology.query_exchange(&name).map(Box::new);
                self.answer(session, op, Ok(Reply::Exchange(report)), fx);
            }
            Request::Bound { exchange, queue, key, arguments } => {
                let bound =
                    self.topology.bound(&exchange, queue.as_deref(), key.as_deref(), &arguments);
                self.answer(session, op, Ok(Reply::Bound(bound)), fx);
            }
            Request::QueryQueue { name } => match self.topology.queue(&name) {
                None => self.answer(session, op, Ok(Reply::Queue(None)), fx),
                Some(q) => {
                    let (queue, home) = (q.id, q.home);
                    self.ask_home(session, queue, home, QueueCommand::Query { op }, fx);
                }
            },
            Request::PurgeQueue { .. }
            | Request::MoveMessages { .. }
            | Request::RerouteMessages { .. } => self.ask_to_take(session, op, request, fx),
            Request::Subscribe(s) => self.subscribe(session, op, s, fx),
            Request::Cancel { tag } => {
                if let Some(route) = self.subscriptions.get_mut(&SubscriptionId { session, tag }) {
                    route.cancelled = true;
                    self.cancels.insert((session, op), tag);
                }
                self.ask_subscription(session, op, tag, QueueCommand::Cancel { op, tag }, fx);
            }
            Request::Flush { tag } => {
                self.ask_subscription(session, op, tag, QueueCommand::Flush { op, tag }, fx);
            }
            Request::Stop { tag } => {
                self.ask_subscription(session, op, tag, QueueCommand::Stop { op, tag }, fx);
            }
            Request::Acquire { deliveries } => {
                self.ask_deliveries(now, session, op, &deliveries, None, fx);
            }
            Request::Settle { outcome, deliveries } => {
                self.ask_deliveries(now, session, op, &deliveries, Some(outcome), fx);
            }
            Request::Commit(transaction) => self.commit(session, op, *transaction, fx),
            Request::Route { exchange, message } => {
                self.ask_way((session, op), &exchange, message, fx);
            }
            Request::Dtx(request) => {
                self.send(ShardId::ORDERER, Frame::Dtx { session, op, request }, fx);
            }
        }
    }

    /// The client grants credit on a subscription. Unknown tags are ignored: the queue may have
    /// been deleted, which the session is told by [`Event::SubscriptionEnded`].
    ///
    /// # Errors
    /// `ResourceDeleted` if the queue was deleted when nothing was asked of it: the subscription is gone too.
    pub fn grant(
        &mut self,
        now: Time,
        to: SubscriptionId,
        unit: CreditUnit,
        value: u32,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let ended = self.subscriptions.get_mut(&to).and_then(|route| route.ended.take());
        if let Some(reason) = ended {
            self.subscriptions.remove(&to);
            return Err(*reason);
        }
        self.tell(now, to, QueueCommand::Grant { tag: to.tag, unit, value }, fx);
        Ok(())
    }

    /// The client changes a subscription's flow mode.
    pub fn set_mode(&mut self, now: Time, to: SubscriptionId, mode: FlowMode, fx: &mut Effects) {
        self.tell(now, to, QueueCommand::Mode { tag: to.tag, mode }, fx);
    }

    /// Deliveries of a subscription are complete: its window moves (window mode only).
    pub fn moved(
        &mut self,
        now: Time,
        to: SubscriptionId,
        (messages, bytes): (u32, u64),
        fx: &mut Effects,
    ) {
        self.tell(now, to, QueueCommand::Moved { tag: to.tag, messages, bytes }, fx);
    }

    /// The connection has written deliveries of this subscription out: more may be sent.
    pub fn room(
        &mut self,
        now: Time,
        to: SubscriptionId,
        (messages, bytes): (u32, u64),
        fx: &mut Effects,
    ) {
        self.tell(now, to, QueueCommand::Room { tag: to.tag, messages, bytes }, fx);
    }

    /// The answer to [`Event::Evicted`] without force, of a session that is not closing.
    pub fn keep_name(&mut self, now: Time, session: SessionId, fx: &mut Effects) {
        self.send(ShardId::ORDERER, Frame::Keep { session }, fx);
        self.run_local(now, fx);
    }

    /// A frame of another shard has arrived.
    pub fn frame(&mut self, now: Time, from: ShardId, frame: Frame, fx: &mut Effects) {
        let waiting = &mut self.deferred[from.index()];
        // A change never waits: what waits does so for it. The orderer's shard may name a queue that
        // nobody else knows yet, because the change is not durable.
        let waits = !matches!(frame, Frame::Apply { .. }) && !waiting.is_empty();
        if waits || frame.epoch().is_some_and(|e| e > self.topology.epoch()) {
            waiting.push_back(frame);
            return;
        }
        self.on_frame(now, from, frame, fx);
        self.run_local(now, fx);
    }

    /// Time has come: sweeps a slice of the queues for expired messages.
    pub fn tick(&mut self, now: Time, fx: &mut Effects) {
        self.work(fx);
        self.look(now, fx);
        self.run_local(now, fx);
        self.sweep.run(now, &mut self.queues, &mut self.outputs);
        self.deliver(fx);
        self.messages_come_due(now, fx);
        self.end_lifetimes(now, fx);
        self.expire_branches(now, fx);
        self.run_local(now, fx);
        self.journal_tick(now);
    }

    /// The end of a turn of the pump: sends what was gathered for other shards.
    pub fn turn_end(&mut self, now: Time, fx: &mut Effects) {
        self.journal_turn_end(now, fx);
        self.run_local(now, fx);
        type Slots = fn(Vec<u32>) -> Frame;
        let (receipts, resumed) = (&mut self.receipts, &mut self.resumed);
        for (all, frame) in [(receipts, Frame::Receipts as Slots), (resumed, Frame::Resumed)] {
            for (peer, slots) in all.iter_mut().enumerate().filter(|(_, slots)| !slots.is_empty()) {
                fx.frames.push((ShardId(peer as u16), frame(std::mem::take(slots))));
            }
        }
    }

    // ---- sending -------------------------------------------------------------------------

    fn send(&mut self, to: ShardId, frame: Frame, fx: &mut Effects) {
        if to == self.shard {
            self.local.push_back(frame);
        } else {
            fx.frames.push((to, frame));
        }
    }

    fn order(&mut self, session: SessionId, op: OpId, request: TopologyRequest, fx: &mut Effects) {
        let request = Box::new(request);
        self.send(ShardId::ORDERER, Frame::Topology { session, op, request }, fx);
    }

    fn answer(
        &mut self,
        session: SessionId,
        op: OpId,
        result: Result<Reply, Error>,
        fx: &mut Effects,
    ) {
        if session.shard() == self.shard {
            if !self.cancels.is_empty()
                && let Some(tag) = self.cancels.remove(&(session, op))
            {
                self.subscriptions.remove(&SubscriptionId { session, tag });
            }
            fx.events.push(Event::Reply { session, op, result });
        } else {
            let result = Box::new(result);
            fx.frames.push((session.shard(), Frame::Reply { session, op, result }));
        }
    }

    fn ask_home(
        &mut self,
        session: SessionId,
        queue: QueueId,
        home: ShardId,
        command: QueueCommand,
        fx: &mut Effects,
    ) {
        let epoch = self.topology.epoch();
        self.send(home, Frame::Queue(Box::new(QueueFrame { epoch, queue, session, command })), fx);
    }

    fn subscribe(&mut self, session: SessionId, op: OpId, s: Subscribe, fx: &mut Effects) {
        match self.topology.check_subscribe(session, &s) {
            Err(e) => self.answer(session, op, Err(e), fx),
            Ok(q) => {
                let (queue, home) = (q.id, q.home);
                let route = Route { queue, home, cancelled: false, ended: None };
                self.subscriptions.insert(SubscriptionId { session, tag: s.tag }, route);
                let command = QueueCommand::Subscribe { op, subscribe: Box::new(s) };
                self.ask_home(session, queue, home, command, fx);
            }
        }
    }

    fn ask_subscription(
        &mut self,
        session: SessionId,
        op: OpId,
        tag: u32,
        command: QueueCommand,
        fx: &mut Effects,
    ) {
        match self.subscriptions.get(&SubscriptionId { session, tag }) {
            // Gone with its queue: nothing will be delivered, which is all that is asked.
            None => self.answer(session, op, Ok(Reply::Done), fx),
            Some(Route { queue, home, .. }) => self.ask_home(session, *queue, *home, command, fx),
        }
    }

    /// Splits `deliveries` into one command per queue; the parts' answers are gathered.
    fn ask_deliveries(
        &mut self,
        now: Time,
        session: SessionId,
        op: OpId,
        deliveries: &[DeliveryRef],
        outcome: Option<Outcome>,
        fx: &mut Effects,
    ) {
        let mut parts = 0;
        let mut acquired = Vec::new();
        let accepts = outcome == Some(Outcome::Accepted);
        let mut deleted: SmallVec<[QueueId; 1]> = SmallVec::new();
        // Runs of one queue, which is nearly always one run. Two runs of the same queue are two
        // parts, in order: correct, if not minimal.
        for run in deliveries.chunk_by(|a, b| a.queue == b.queue) {
            let queue = run[0].queue;
            let Some(home) = self.topology.home_of(queue) else {
                // Deleted: there is nothing left to settle or acquire. The orderer's shard knows it
                // before it is durable.
                deleted.extend(Some(queue).filter(|_| accepts && self.orderer.is_some()));
                continue;
            };
            if home == self.shard && accepts && !self.queues.contains_key(&queue) {
                deleted.push(queue);
            } else if home == self.shard {
                let positions = run.iter().map(|d| d.position);
                let asker = (session, op);
                let later =
                    self.on_deliveries(now, asker, queue, positions, outcome, &mut acquired, fx);
                parts += u32::from(later);
            } else {
                let positions: Vec<Position> = run.iter().map(|d| d.position).collect();
                let command = match outcome {
                    None => QueueCommand::Acquire { op, positions },
                    Some(outcome) => QueueCommand::Settle { op, outcome, positions },
                };
                parts += 1;
                self.ask_home(session, queue, home, command, fx);
            }
        }
        let unsafe_yet = self.take_dequeued();
        if parts == 0 && unsafe_yet.is_none() && deleted.is_empty() {
            let reply = if outcome.is_none() { Reply::Acquired(acquired) } else { Reply::Done };
            self.answer(session, op, Ok(reply), fx);
            return;
        }
        let parts = parts + u32::from(unsafe_yet.is_some()) + deleted.len() as u32;
        self.parts.insert(session, op, parts, outcome.is_none(), acquired);
        if let (Some(_), Some(store)) = (unsafe_yet, &mut self.store) {
            store.wait_for_all(Waiter::Part { session, op });
        }
        for queue in deleted {
            self.accepted_of_deleted(queue, session, op, fx);
        }
    }

    /// A window or credit update: straight to the queue if it is here.
    fn tell(&mut self, now: Time, to: SubscriptionId, command: QueueCommand, fx: &mut Effects) {
        if let Some(command) = self.away.behind_others(to, command) {
            self.tell_now(now, to, command, fx);
            self.run_local(now, fx);
        }
    }

    fn tell_now(&mut self, now: Time, to: SubscriptionId, command: QueueCommand, fx: &mut Effects) {
        let Some(route) = self.subscriptions.get(&to) else { return };
        let (queue, home) = (route.queue, route.home);
        if home == self.shard {
            self.on_queue_command(now, queue, to.session, command, fx);
        } else {
            self.ask_home(to.session, queue, home, command, fx);
        }
    }

    /// What follows here from what was done, if anything does.
    #[inline]
    fn run_local(&mut self, now: Time, fx: &mut Effects) {
        let follows =
            !self.local.is_empty() || self.away.has_returned() || self.lifetimes.has_emptied();
        if follows {
            self.run_all_local(now, fx);
        }
    }

    #[inline(never)]
    fn run_all_local(&mut self, now: Time, fx: &mut Effects) {
        loop {
            if let Some(frame) = self.local.pop_front() {
                self.on_frame(now, self.shard, frame, fx);
            } else if let Some(session) = self.away.next_returned() {
                self.resume(now, session, fx);
            } else if let Some(queue) = self.lifetimes.next_emptied() {
                self.end_if_done_with(now, queue, None, fx);
            } else {
                return;
            }
        }
    }

    // ---- frames --------------------------------------------------------------------------

    fn on_frame(&mut self, now: Time, from: ShardId, frame: Frame, fx: &mut Effects) {
        match frame {
            publish @ Frame::Publish { .. } => self.on_publish(now, from, publish, fx),
            Frame::Route { slot, moves, hops, last, exchange, message, .. } => {
                self.on_route(now, (from, slot), (moves, hops), (exchange, last), &message, fx);
            }
            Frame::Receipts(slots) => slots.into_iter().for_each(|slot| self.on_receipt(slot, fx)),
            Frame::Refused { slot, reason } => {
                self.publishes.refuse(slot, reason);
                self.on_receipt(slot, fx);
            }
            Frame::Held { slot } => self.publishes.hold(slot),
            Frame::Resumed(slots) => slots.into_iter().for_each(|slot| self.on_resumed(slot, fx)),
            Frame::Decided { number, commit } => self.on_decided(now, from, number, commit, fx),
            Frame::Noted(numbers) => self.on_noted(numbers),
            Frame::Transact(frame) => self.on_transact(now, from, *frame, fx),
            Frame::Queue(q) => {
                let QueueFrame { queue, session, command, .. } = *q;
                self.on_queue_command(now, queue, session, command, fx);
            }
            Frame::Deliver { to, delivery, message, redelivered, failures, marks } => {
                fx.events.push(Event::Deliver {
                    to,
                    delivery,
                    message,
                    redelivered,
                    failures,
                    marks,
                });
            }
            Frame::SubscriptionEnded { to, waiting, reason } => {
                self.subscription_ended(to, waiting, reason, fx);
            }
            Frame::Reply { session, op, result } => {
                // Of a session here, or passed on: see `Frame::Unused`. Behind what is held back here, for
                // the queue may be gone by now.
                match &mut self.store {
                    Some(store) if from == ShardId::ORDERER && store.is_holding_any() => {
                        store.wait_for_all(Waiter::Answer { session, op, result });
                    }
                    _ => self.answer(session, op, *result, fx),
                }
            }
            Frame::Part { session, op, acquired } => {
                debug_assert_eq!(session.shard(), self.shard);
                if let Some(reply) = self.parts.part(session, op, acquired) {
                    fx.events.push(Event::Reply { session, op, result: Ok(reply) });
                }
            }
            Frame::Topology { session, op, request } => self.with_orderer(fx, |o, t, out| {
                o.submit(t, session, op, *request, out);
            }),
            Frame::Attach { session, op, name, force } => self.with_orderer(fx, |o, _, out| {
                o.attach(session, op, &name, force, out);
            }),
            Frame::Close { session, op } => self.with_orderer(fx, |o, t, out| {
                o.close_session(t, session, op, out);
            }),
            Frame::Cede { session, op, leaves } => self.with_orderer(fx, |o, _, out| {
                o.cede(session, op, leaves, out);
            }),
            Frame::Vote { queue, result } => self.with_orderer(fx, |o, t, out| {
                o.voted(t, queue, result.map_err(|e| *e), out);
            }),
            Frame::Unused { queue, asker } => {
                self.ends.extend(asker.map(|asker| (asker, from)));
                self.with_orderer(fx, |o, t, out| o.auto_delete(t, queue, asker, out));
            }
            Frame::SelfDestruct { queue } => self.with_orderer(fx, |o, t, out| {
                o.self_destruct(t, queue, out);
            }),
            Frame::Applied { epoch } => {
                // This shard's own is complete when its initial values are where they belong.
                let shown = match from == self.shard {
                    true => self.exchanges.applied(epoch),
                    false => Some(epoch),
                };
                if let Some(epoch) = shown {
                    self.with_orderer(fx, |o, _, out| o.applied(from, epoch, out));
                }
            }
            Frame::Apply { epoch, change } => self.on_apply(now, epoch, &change, fx),
            Frame::Evict { session, force } => fx.events.push(Event::Evicted { session, force }),
            Frame::Keep { session } => self.with_orderer(fx, |o, _, out| o.keep(session, out)),
            Frame::AskUnused { queue, session } => {
                let unused = self.queues.get_mut(&queue).filter(|q| q.is_unused());
                let result = match unused {
                    Some(q) => {
                        q.reserve(session);
                        self.lifetimes.used(queue);
                        Ok(())
                    }
                    None => Err(Box::new(Error::locked("The queue is in use"))),
                };
                self.send(ShardId::ORDERER, Frame::Vote { queue, result }, fx);
            }
            Frame::Dtx { session, op, request } => {
                self.on_dtx(now, (session, op), *request, fx);
            }
            Frame::BranchExpired { session, branch } => {
                fx.events.push(Event::BranchExpired { session, branch });
            }
            Frame::Touched { queue } => self.touch(now, queue),
            Frame::AskDelete { queue, conditions } => {
                if let Err(e) = self.delete_if(queue, conditions, fx) {
                    let vote = Frame::Vote { queue, result: Err(Box::new(e)) };
                    self.send(ShardId::ORDERER, vote, fx);
                }
            }
        }
    }

    fn on_apply(&mut self, now: Time, epoch: Epoch, change: &Change, fx: &mut Effects) {
        // The orderer's own replica is ahead: it applied the change when it made it.
        if self.orderer.is_none() {
            self.topology.apply(epoch, change);
        }
        match change {
            Change::QueueCreated(q) if q.home == self.shard => {
                let mut queue = self.new_queue(q);
                let settings = self.settings(q);
                self.configure(now, &mut queue, (q, &settings));
                self.begin_lifetime(q, &settings, &mut queue);
                queue.set_owner(q.owner);
                self.queues.insert(q.id, Box::new(queue));
                self.deliver(fx);
            }
            Change::QueueOwner { queue, owner } => {
                if let Some(q) = self.queues.get_mut(queue) {
                    q.set_owner(*owner);
                }
                match owner {
                    Some(_) => self.lifetimes.used(*queue),
                    None => {
                        self.end_if_unused(now, *queue, None, fx);
                    }
                }
            }
            Change::ExchangeDeleted { name, .. } => self.exchanges.forget(name),
            Change::Bound(b) | Change::Rebound { binding: b, .. } => {
                self.send_initial(now, epoch, b, fx);
            }
            _ => {}
        }
        // The orderer's own shard counts when the change is durable.
        if self.orderer.is_none()
            && let Some(epoch) = self.exchanges.applied(epoch)
        {
            self.send(ShardId::ORDERER, Frame::Applied { epoch }, fx);
        }
        self.run_deferred(now, fx);
    }

    /// Frames that waited for this replica to catch up.
    fn run_deferred(&mut self, now: Time, fx: &mut Effects) {
        for peer in 0..self.deferred.len() {
            while let Some(frame) = self.deferred[peer].front() {
                if frame.epoch().is_some_and(|e| e > self.topology.epoch()) {
                    break;
                }
                if let Some(frame) = self.deferred[peer].pop_front() {
                    self.on_frame(now, ShardId(peer as u16), frame, fx);
                }
            }
        }
    }
}
