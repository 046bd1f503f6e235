//! The simulated broker with its disks: engines, channels, sessions, time, and what every input does.

use super::branch::Branch;
use super::check::{AllFound, Found};
use super::mix::{Mix, Step};
use super::model::{Model, QueueFacts};
use super::orders::{Consumed, Order};
use super::recovery::Planted;
use super::session::Session;
use super::topology::History;
use crate::disk::Disk;
use crate::lifetimes;
use crate::limits::Limit;
use crate::message::message_id;
use crate::network::{Network, label};
use crate::rng::Rng;
use crate::trace::{Marks, Trace};
use fletch_engine::topology::{Change, QueueDescriptor};
use fletch_engine::{
    DeliveryRef, Effects, Engine, Event, Frame, Message, Position, QueueId, SessionId, ShardId,
    Stored, SubscriptionId, Time, What,
};
use fletch_journal::record::{Assembler, Part, fragments, ops};
use fletch_journal::{ALIGN, Batch, Op, Volume};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Exchanges for dead letters: to the first queue for them, to both, and one that no restart keeps.
pub(super) const ALTERNATES: [&str; 3] = ["alternate-0", "alternate-1", "alternate-2"];
/// The queues for dead letters. They are never deleted.
pub(super) const DEAD: [&str; 2] = ["dead-0", "dead-1"];

/// Steps that coming to rest may take: far more than any honest amount of work needs.
const REST_MAX: usize = 100_000;

/// See the module.
pub(super) struct World<'t> {
    pub(super) rng: Rng,
    pub(super) mix: Mix,
    pub(super) now: Time,
    pub(super) shards: u16,
    pub(super) engines: Vec<Engine>,
    pub(super) disks: Vec<Disk>,
    /// Of the paging files, if shards have them.
    pub(super) pages: Vec<Disk>,
    pub(super) network: Network,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) next_session: u64,
    pub(super) model: Model,
    /// Branches that are not completed.
    pub(super) branches: BTreeMap<u64, Branch>,
    pub(super) next_branch: u64,
    pub(super) history: History,
    /// Where queues live.
    pub(super) homes: BTreeMap<QueueId, ShardId>,
    /// The queues for dead letters.
    pub(super) dead: Vec<QueueId>,
    /// A disk has lied, and recovery has not looked yet.
    pub(super) planted: Option<Planted>,
    /// Recovery has looked, and something was lost.
    pub(super) damaged: bool,
    pub(super) trace: &'t mut Trace,
    pub(super) marks: Marks,
    fx: Effects,
    events: VecDeque<Event>,
    busy: bool,
}

impl<'t> World<'t> {
    pub(super) fn new(seed: u64, steps: Option<u64>, trace: &'t mut Trace) -> World<'t> {
        let mut rng = Rng::new(seed);
        let mix = Mix::draw(seed, &mut rng, steps);
        let shards = mix.shards;
        World {
            now: Time(1),
            shards,
            engines: Vec::new(),
            disks: Vec::new(),
            pages: Vec::new(),
            network: Network::new(shards),
            sessions: BTreeMap::new(),
            next_session: 1,
            model: Model::default(),
            branches: BTreeMap::new(),
            next_branch: 1,
            history: History::default(),
            homes: BTreeMap::new(),
            dead: Vec::new(),
            planted: None,
            damaged: false,
            trace,
            marks: Marks::default(),
            fx: Effects::default(),
            events: VecDeque::new(),
            busy: false,
            rng,
            mix,
        }
    }

    // ---- engines -------------------------------------------------------------------------

    /// One input to one engine, and all that follows on its shard.
    pub(super) fn input<T>(
        &mut self,
        shard: ShardId,
        f: impl FnOnce(&mut Engine, Time, &mut Effects) -> T,
    ) -> T {
        let result = f(&mut self.engines[shard.index()], self.now, &mut self.fx);
        self.see_topology(shard);
        self.see_deliveries(shard);
        for (to, frame) in self.fx.frames.drain(..) {
            self.network.send(shard, to, frame);
        }
        self.events.extend(self.fx.events.drain(..));
        for notice in self.fx.notices.drain(..) {
            self.marks.hit("publishers held", notice.what == What::FlowStopped);
            self.marks.hit("publishers go on", notice.what == What::FlowResumed);
        }
        if !self.busy {
            self.busy = true;
            while let Some(event) = self.events.pop_front() {
                self.on_event(event);
            }
            self.busy = false;
        }
        result
    }

    fn see_topology(&mut self, shard: ShardId) {
        let engine = &mut self.engines[shard.index()];
        if shard != ShardId::ORDERER {
            self.history.seen_elsewhere(engine.topology().epoch().0);
            return;
        }
        for change in engine.take_changes() {
            if let Change::QueueCreated(q) = &*change {
                self.homes.insert(q.id, q.home);
            }
            self.history.see(&change);
        }
    }

    /// Deliveries that the shard's queues send.
    fn see_deliveries(&mut self, shard: ShardId) {
        let fx = std::mem::take(&mut self.fx);
        let mut consumed = Vec::new();
        for (_, frame) in &fx.frames {
            if let Frame::Deliver { to, delivery, message, redelivered, .. } = frame {
                consumed.extend(self.sent(shard, *to, *delivery, message, *redelivered));
            }
        }
        for event in &fx.events {
            if let Event::Deliver { to, delivery, message, redelivered, .. } = event
                && self.homes.get(&delivery.queue) == Some(&shard)
            {
                consumed.extend(self.sent(shard, *to, *delivery, message, *redelivered));
            }
        }
        self.model.send_of_groups(consumed);
        self.fx = fx;
    }

    fn sent(
        &mut self,
        shard: ShardId,
        to: SubscriptionId,
        delivery: DeliveryRef,
        message: &Message,
        redelivered: bool,
    ) -> Option<Consumed> {
        let number = message_id(message);
        let s = self.sessions[&to.session].subscriptions.get(&to.tag);
        let s = s.unwrap_or_else(|| panic!("{to:?} gets {delivery:?} after its end"));
        let how = (s.holds(), s.takes());
        self.trace.add(shard.0, "sends", u64::from(number), delivery.position);
        self.know(shard, delivery.queue);
        self.model.sent(delivery, message, redelivered, how);
        let due = self.model.messages[number as usize].content.due();
        assert!(
            due <= self.now,
            "message {number} is due at {due:?}, and was sent at {:?}",
            self.now
        );
        self.marks.hit("delivered when it was due", due > Time(0));
        self.check_selected(to, number);
        (how.0 || how.1).then_some((delivery.queue, number, to, how.0))
    }

    /// What the model has to know of a queue.
    pub(super) fn know(&mut self, shard: ShardId, queue: QueueId) {
        let dead = &self.dead;
        if let Some(q) = self.engines[shard.index()].topology().queue_by_id(queue) {
            self.model.know(queue, || facts(q, dead));
        }
    }

    // ---- steps ---------------------------------------------------------------------------

    pub(super) fn any_shard(&mut self) -> ShardId {
        ShardId(self.rng.below(usize::from(self.shards)) as u16)
    }

    /// One step of work.
    pub(super) fn step(&mut self) {
        match self.mix.step(&mut self.rng) {
            Step::Deliver => {
                self.deliver(false);
            }
            Step::Act => self.act(),
            Step::TurnEnd => {
                let shard = self.any_shard();
                self.turn_end(shard);
            }
            Step::Poll => {
                let shard = self.any_shard();
                self.poll(shard);
            }
            Step::Complete => {
                self.complete();
            }
            Step::PassTime => self.pass_time(),
            Step::Shuffle => self.network.shuffle(&mut self.rng, self.mix.lag_percent),
        }
    }

    /// Moves some frames of one channel. False if there is none that may move.
    pub(super) fn deliver(&mut self, all: bool) -> bool {
        let Some((from, to)) = self.network.choose(&mut self.rng, all) else { return false };
        for _ in 0..self.rng.range(1, self.mix.batch) {
            let Some(frame) = self.network.take(from, to) else { break };
            let (what, a, b) = label(&frame);
            self.trace.add(to.0, what, a, b);
            self.input(to, |engine, now, fx| engine.frame(now, from, frame, fx));
        }
        true
    }

    pub(super) fn turn_end(&mut self, shard: ShardId) {
        self.input(shard, |engine, now, fx| engine.turn_end(now, fx));
        if self.rng.chance(50) {
            self.poll(shard);
        }
    }

    /// Starts what a shard's logs want to be done.
    pub(super) fn poll(&mut self, shard: ShardId) {
        let n = shard.index();
        let engine = &mut self.engines[n];
        while let Some((volume, len)) = engine.next_write() {
            let mut buffer = vec![0xaa; len];
            let write = engine.fill(volume, &mut buffer);
            buffer.truncate(write.len);
            let disk = match volume {
                Volume::Journal => &mut self.disks[n],
                Volume::Paging => &mut self.pages[n],
            };
            let header = Batch::decode(&buffer).expect("a batch is whole").header;
            let (says, durable) = (header.synced_lsn, disk.durable_end());
            assert_eq!(says, durable, "shard {shard}: a batch vouches for what is durable");
            self.trace.add(shard.0, "writes", write.segment.0 + write.offset, write.len as u64);
            disk.write(write, buffer);
        }
        // Behind the writes, which may want another segment.
        while let Some((volume, request)) = engine.next_request() {
            let (what, a, b) = label_request(&request);
            self.trace.add(shard.0, what, a, b);
            match volume {
                Volume::Journal => self.disks[n].request(request),
                Volume::Paging => self.pages[n].request(request),
            }
        }
        let log = engine.log().expect("every shard has a journal");
        self.marks.hit("disk full", log.is_full());
        let stats = log.stats();
        self.marks.hit("segment freed", stats.freed > 0);
        self.marks.hit("record written again by the cleaner", stats.relocated > 0);
        self.marks.hit("message that touched no disk", stats.avoided > 0);
        self.marks.hit("segment made of a recycled file", self.disks[n].recycled > 0);
        if let Some(pages) = engine.pages() {
            let stats = pages.stats();
            self.marks.hit("bodies written to the paging file", stats.records > 0);
            self.marks.hit("segment of the paging file freed", stats.freed > 0);
            self.marks.hit("page written again by the cleaner", stats.relocated > 0);
            self.marks.hit("paging file full", pages.is_full());
        }
    }

    /// Ends something that a disk does. False if there is nothing.
    pub(super) fn complete(&mut self) -> bool {
        let of = |volume| move |(n, disk): (usize, &Disk)| disk.has_work().then_some((volume, n));
        let journals = self.disks.iter().enumerate().filter_map(of(Volume::Journal));
        let pages = self.pages.iter().enumerate().filter_map(of(Volume::Paging));
        let working: Vec<(Volume, usize)> = journals.chain(pages).collect();
        if working.is_empty() {
            return false;
        }
        let (volume, n) = *self.rng.pick(&working);
        let disk = match volume {
            Volume::Journal => &mut self.disks[n],
            Volume::Paging => &mut self.pages[n],
        };
        let Some(done) = disk.complete(&mut self.rng) else { return false };
        let shard = ShardId(n as u16);
        self.trace.add(shard.0, done_name(&done), 0, 0);
        let reads = volume == Volume::Paging && matches!(done, fletch_journal::Done::Read { .. });
        self.marks.hit("read of the paging file", reads);
        let held_up = self.engines[n].is_holding_up();
        self.input(shard, |engine, now, fx| engine.disk_done(now, volume, done, fx));
        self.marks.hit(
            "publishers held up by the paging file go on",
            held_up && !self.engines[n].is_holding_up(),
        );
        let damage = self.engines[n].damage();
        let lied = self.mix.lies && damage.is_some_and(|(volume, _)| volume == Volume::Journal);
        assert!(damage.is_none() || lied, "a log reads back {damage:?}");
        true
    }

    pub(super) fn pass_time(&mut self) {
        let (usual, lasting) = (self.mix.time, self.mix.auto_delete_percent);
        self.now = Time(self.now.0 + lifetimes::time(&mut self.rng, usual, lasting));
        for shard in (0..self.shards).map(ShardId) {
            if self.rng.chance(50) {
                self.trace.add(shard.0, "tick", self.now.0, 0);
                self.input(shard, |engine, now, fx| engine.tick(now, fx));
            }
        }
    }

    /// Goes on with work that is done in slices. False if there is none.
    fn work_slices(&mut self) -> bool {
        let mut any = false;
        for shard in (0..self.shards).map(ShardId) {
            if self.engines[shard.index()].next_deadline() == Time(0) {
                any = true;
                self.input(shard, |engine, now, fx| engine.tick(now, fx));
            }
        }
        any
    }

    // ---- rest ----------------------------------------------------------------------------

    /// Lets everything under way arrive and every disk do all its work.
    pub(super) fn rest(&mut self) {
        for disk in &mut self.disks {
            disk.set_space(u64::MAX);
        }
        self.calm_down();
        self.check_logs();
    }

    /// The same with the room that disks have.
    pub(super) fn calm_down(&mut self) {
        let mut waited = false;
        for _ in 0..REST_MAX {
            self.trace.step += 1;
            if self.deliver(true) {
                continue;
            }
            for shard in (0..self.shards).map(ShardId) {
                self.turn_end(shard);
                self.poll(shard);
            }
            let working = self.work_slices();
            if self.complete() || working || !self.network.is_empty() {
                waited = false;
            } else if waited || !self.wait_for_company() {
                return;
            } else {
                waited = true;
            }
        }
        panic!("the broker does not come to rest");
    }

    /// Lets time pass if that is all that writes wait for.
    fn wait_for_company(&mut self) -> bool {
        let waits = |e: &Engine| e.log().is_some_and(|log| log.staged_bytes() > 0);
        if self.mix.flush_timeout.is_zero() || !self.engines.iter().any(waits) {
            return false;
        }
        self.now = self.now.after(self.mix.flush_timeout);
        true
    }

    /// Time passes until every message is due.
    pub(super) fn let_come_due(&mut self) {
        let due = self.model.messages.iter().map(|sent| sent.content.due()).max();
        self.now = self.now.max(due.unwrap_or_default());
        for _ in 0..REST_MAX {
            let waiting: u64 =
                self.engines.iter().flat_map(Engine::queues).map(|q| q.scheduled()).sum();
            if waiting == 0 {
                return;
            }
            for shard in (0..self.shards).map(ShardId) {
                self.input(shard, |engine, now, fx| engine.tick(now, fx));
            }
        }
        panic!("messages wait that are due");
    }

    fn check_logs(&self) {
        for (n, engine) in self.engines.iter().enumerate() {
            let log = engine.log().expect("every shard has a journal");
            assert!(log.is_idle(), "the log of shard {n} does not come to rest");
            // Segments that are there may be larger than new ones.
            let segment = log.segments().map(|s| s.len).max().unwrap_or(0).max(self.mix.segment);
            // And each may end with a page of padding.
            let padding = |segments: usize| (segments * ALIGN) as u64;
            let most = 2 * log.live_bytes() + 3 * segment + padding(log.segments().count());
            let (used, live) = (log.used(), log.live_bytes());
            assert!(used <= most, "the log of shard {n} takes {used} bytes for {live} live ones");
            let Some(pages) = engine.pages().filter(|pages| !pages.is_full()) else { continue };
            let paged: usize = engine.queues().map(|q| q.paged()).sum();
            let live: u64 = pages.segments().map(|s| s.live).sum();
            assert_eq!(paged as u64, live, "shard {n}: live records of the paging file");
            assert!(pages.is_idle(), "the paging file of shard {n} does not come to rest");
            let padding = padding(pages.segments().count());
            let most = 2 * pages.live_bytes() + 3 * self.mix.segment + padding;
            let (used, live) = (pages.used(), pages.live_bytes());
            assert!(used <= most, "shard {n} pages {live} bytes in {used}");
        }
    }

    /// What is in all queues.
    pub(super) fn found(&mut self) -> AllFound {
        let mut all = AllFound::new();
        for engine in &self.engines {
            for q in engine.queues() {
                let descriptor = engine.topology().queue_by_id(q.id());
                let descriptor = descriptor.expect("its home knows a queue");
                self.model.know(q.id(), || facts(descriptor, &self.dead));
            }
        }
        for (n, engine) in self.engines.iter().enumerate() {
            let any_away = engine.queues().any(|q| q.away() > 0);
            let disks = if any_away { self.read_back(n) } else { BTreeMap::new() };
            self.marks.hit("rest with bodies on the disk", any_away);
            for q in engine.queues() {
                let entries = q.all_messages().map(|(position, message, redelivered)| Found {
                    position,
                    message: message
                        .or_else(|| disks.get(&(q.id(), position)))
                        .unwrap_or_else(|| panic!("{position} of {:?} is nowhere", q.id()))
                        .clone(),
                    redelivered,
                });
                all.insert(q.id(), entries.collect());
            }
        }
        all
    }

    /// Every message that a record of a shard is about, wherever it is.
    fn read_back(&self, n: usize) -> BTreeMap<(QueueId, Position), Message> {
        let mut all = BTreeMap::new();
        let journal = (Volume::Journal, &self.disks[n]);
        let pages = self.pages.get(n).map(|disk| (Volume::Paging, disk));
        for (volume, disk) in std::iter::once(journal).chain(pages) {
            let mut assembler = Assembler::new();
            for (base, bytes) in disk.segments() {
                let mut offset = 0;
                while let Ok(batch) = Batch::decode(&bytes[offset..])
                    && batch.header.lsn == base.after(offset)
                {
                    offset += batch.len;
                    for (part, content) in fragments(batch.body).map_while(Result::ok) {
                        let begins = matches!(part, Part::Whole | Part::First);
                        if begins && assembler.is_open() {
                            assembler.reset();
                        } else if !begins && !assembler.is_open() {
                            continue;
                        }
                        let Ok(Some(record)) = assembler.join(part, content) else { continue };
                        for op in ops(record).map_while(Result::ok) {
                            if let Op::Publish { refs, payload } = op {
                                let message = Stored::read(volume, payload).expect("a message");
                                for (r, _) in refs.iter() {
                                    all.insert((QueueId(r.queue), r.position), message.clone());
                                }
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// Forgets what a crash ends.
    pub(super) fn forget(&mut self) {
        self.network = Network::new(self.shards);
        self.sessions.clear();
        self.events.clear();
        self.fx = Effects::default();
        self.engines.clear();
        self.pages.clear();
    }
}

/// What the model has to know of a queue.
fn facts(q: &QueueDescriptor, dead: &[QueueId]) -> QueueFacts {
    let to = match q.alternate.as_deref() {
        Some(name) if name == ALTERNATES[0] => 1,
        Some(name) if name == ALTERNATES[1] => 2,
        _ => 0,
    };
    QueueFacts {
        name: Arc::clone(&q.name),
        durable: q.durable,
        auto_delete: q.auto_delete,
        alternates: dead.iter().copied().take(to).collect(),
        limit: Limit::of(&q.arguments),
        order: Order::of(&q.arguments),
        takes_once: q.arguments.get("fletch.dedup_window").is_some(),
    }
}

/// For the trace: what is asked of a disk, where and of how many bytes.
fn label_request(request: &fletch_journal::Request) -> (&'static str, u64, u64) {
    use fletch_journal::Request as R;
    match request {
        R::Prepare { segment, len } => ("asks for a segment", segment.0, *len),
        R::Retire { segment, len } => ("gives up a segment", segment.0, *len),
        R::Superblock { slot, .. } => ("writes its superblock", u64::from(*slot), 0),
        R::Read { segment, offset, len, .. } => {
            ("reads a segment", segment.0 + offset, *len as u64)
        }
    }
}

fn done_name(done: &fletch_journal::Done) -> &'static str {
    use fletch_journal::Done as D;
    match done {
        D::Written { .. } => "written",
        D::Prepared { .. } => "segment there",
        D::Full { .. } => "no room for a segment",
        D::Retired { .. } => "segment recycled",
        D::Superblock => "superblock written",
        D::Read { .. } => "segment read",
    }
}
