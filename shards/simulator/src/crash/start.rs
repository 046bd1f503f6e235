//! How the broker starts, stops and crashes: what is done to the disks, in the order of the real one.

use super::check::After;
use super::recovery::{Planted, Read};
use super::world::World;
use crate::disk::{Damages, Disk, Fate};
use fletch_engine::{Config, Engine, Journal, PagingConfig, ShardId, Time, combine};
use fletch_journal::recovery::Damage;
use fletch_journal::{Position, Request, Seq, State};

/// What an attempt to start came to.
enum Start {
    /// All is well.
    Running,
    /// A crash came first.
    Crashed,
    /// It goes on with what a lying disk has left.
    Damaged,
}

/// A crash during a start.
pub(super) struct Crashed;

/// Starts in a row that crashes may end.
const STARTS_MAX: usize = 1000;

impl World<'_> {
    // ---- ends ----------------------------------------------------------------------------

    /// The process dies, or the machine.
    pub(super) fn crash(&mut self) {
        self.trace.add(0, "crash", 0, 0);
        for (shard, engine) in self.engines.iter().enumerate() {
            let log = engine.log().expect("every shard has a journal");
            let cleaning = self.disks[shard].has_work() && log.stats().relocated > 0;
            self.marks.hit("crash while the cleaner may be at work", cleaning);
        }
        self.note_going();
        self.model.dies();
        let publishing = self.sessions.values().any(|s| !s.publishing.is_empty());
        self.marks.hit("crash with publishes under way", publishing);
        self.fail_disks();
        self.forget();
        self.plant();
    }

    /// Whatever the disks were writing is there or not.
    fn fail_disks(&mut self) {
        for n in 0..self.disks.len() {
            let Damages { writes, superblock } = self.disks[n].crash(&mut self.rng);
            let later = |fate: Fate| {
                let first = writes.iter().position(|f| *f != Fate::Kept);
                first.is_some_and(|first| writes[first..].contains(&fate))
            };
            self.marks.hit("write torn", writes.contains(&Fate::Torn));
            self.marks.hit("write there that nobody heard of", writes.first() == Some(&Fate::Kept));
            self.marks.hit("later write there, earlier one not", later(Fate::Kept));
            self.marks.hit("superblock torn", superblock == Some(Fate::Torn));
        }
    }

    /// A disk that lies does so.
    fn plant(&mut self) {
        if !self.mix.lies || self.planted.is_some() || !self.rng.chance(50) {
            return;
        }
        let disk = self.rng.below(self.disks.len());
        let lie = match self.rng.chance(50) {
            true => self.disks[disk].flip(&mut self.rng),
            false => self.disks[disk].take_back(&mut self.rng),
        };
        self.planted = lie.map(|lie| Planted { disk, lie });
        if let Some(Planted { lie, .. }) = self.planted {
            self.trace.add(disk as u16, "the disk lies", lie.at.0, u64::from(lie.lost));
        }
    }

    /// A clean stop, which a crash may cut short.
    pub(super) fn stop(&mut self) {
        self.trace.add(0, "stop", 0, 0);
        self.end_all();
        loop {
            if self.rng.chance(self.mix.bad_start_percent / 20) {
                self.marks.hit("crash while stopping", true);
                self.crash();
                return;
            }
            let mut closed = true;
            for shard in (0..self.shards).map(ShardId) {
                self.turn_end(shard);
                self.engines[shard.index()].close_journal();
                self.poll(shard);
                closed &= self.engines[shard.index()].is_journal_closed();
            }
            if closed {
                break;
            }
            self.complete();
            if self.rng.chance(20) {
                self.pass_time();
            }
        }
        self.marks.hit("clean stop", true);
        self.crash();
    }

    // ---- starts --------------------------------------------------------------------------

    /// Starts, as often as it takes. False if the seed is over: a disk has lied and lost something.
    pub(super) fn start(&mut self) -> bool {
        self.mix.set_up_again(&mut self.rng);
        let mut crashed = 0;
        loop {
            let shards = match self.rng.chance(self.mix.rehome_percent) {
                true => self.rng.range(1, 4) as u16,
                false => self.shards,
            };
            match self.try_start(shards) {
                Start::Running => break,
                Start::Crashed => {
                    self.trace.add(0, "crash at the start", 0, 0);
                    self.marks.hit("crash while starting", true);
                    crashed += 1;
                    if crashed == STARTS_MAX {
                        // One that has much to write would never come to its end.
                        self.mix.bad_start_percent = 0;
                    }
                    self.fail_disks();
                }
                Start::Damaged => {
                    let found = self.found();
                    self.model.check_content(&found);
                    return false;
                }
            }
        }
        let found = self.found();
        let lost = self.history.recovered(self.engines[0].topology());
        self.marks.hit("a change of the topology was undone", lost > 0);
        for engine in &self.engines[1..] {
            let (first, other) = (self.engines[0].topology(), engine.topology());
            assert_eq!(first.epoch(), other.epoch(), "replicas differ after a start");
        }
        self.check_orders(&found, After::Crash);
        self.model.check(&found, self.now, After::Crash, &mut self.marks);
        if self.mix.memory != u64::MAX {
            // All had to be there to be looked at.
            self.engines = self.restored_with(self.mix.memory);
            let away = self.engines.iter().flat_map(Engine::queues).any(|q| q.away() > 0);
            self.marks.hit("recovery leaves bodies on the disk", away);
        }
        self.recover_branches();
        true
    }

    /// Whether a crash comes now.
    fn crashes(&mut self) -> bool {
        let percent = self.mix.bad_start_percent;
        self.rng.chance(percent / 4)
    }

    fn try_start(&mut self, shards: u16) -> Start {
        let mut reads = Vec::new();
        let mut damaged = self.damaged;
        for n in 0..self.disks.len() {
            match self.read(n, u64::MAX, false) {
                Ok(read) => {
                    damaged |= self.check_end(n, &read);
                    reads.push(read);
                }
                Err(damage) => {
                    self.check_damage(n, &damage);
                    damaged = true;
                    let read = self.read(n, u64::MAX, true);
                    reads.push(read.unwrap_or_else(|e| panic!("salvage ends with {e}")));
                }
            }
        }
        self.mark_transactions(&reads);
        let harmed = damaged && !self.damaged;
        if harmed || usize::from(shards) != reads.len() {
            let moved = reads.iter().map(|read| read.superblock.incarnation).max();
            if self.rehome(shards, reads, moved.unwrap_or(0)).is_err() {
                self.marks.hit("crash while re-homing", true);
                return Start::Crashed;
            }
            self.marks.hit("re-homed", !damaged);
            self.damaged = damaged;
            self.planted = self.planted.filter(|_| !damaged);
            return self.try_start(shards);
        }
        match self.go_on(reads) {
            Ok(()) if damaged => Start::Damaged,
            Ok(()) => Start::Running,
            Err(Crashed) => Start::Crashed,
        }
    }

    /// Makes the disks ready, and lets the engines go on.
    fn go_on(&mut self, mut reads: Vec<Read>) -> Result<(), Crashed> {
        let incarnation = reads.iter().map(|read| read.superblock.incarnation).max();
        for (n, read) in reads.iter_mut().enumerate() {
            if let Some(cut) = read.walked.cut {
                self.disks[n].wipe(cut.from, cut.to);
                self.finish(n)?;
            }
            read.superblock.sequence += 1;
            read.superblock.incarnation = incarnation.unwrap_or(0) + 1;
            read.superblock.state = State::Running;
            read.slot = 1 - read.slot;
            let bytes = Box::new(read.superblock.encode());
            self.disks[n].request(Request::Superblock { slot: read.slot, bytes });
            self.finish(n)?;
            self.disks[n].recycle_before(read.superblock.oldest_lsn);
            self.disks[n].goes_on(read.walked.end);
        }
        self.planted = None;
        self.engines = self.restored(reads, u64::MAX);
        let topology = self.engines[0].topology();
        self.homes = topology.queues().map(|q| (q.id, q.home)).collect();
        self.now = Time(self.now.0 + 1);
        Ok(())
    }

    /// The same engines, of which so much is in memory.
    fn restored_with(&mut self, memory: u64) -> Vec<Engine> {
        let reads = (0..self.disks.len()).map(|n| self.read(n, memory, false));
        let reads = reads.collect::<Result<Vec<Read>, Damage>>();
        self.restored(reads.expect("it was read before"), memory)
    }

    fn restored(&mut self, reads: Vec<Read>, memory: u64) -> Vec<Engine> {
        let space = self.mix.paging;
        self.pages = (0..space.map_or(0, |_| self.shards)).map(|_| Disk::empty()).collect();
        self.pages.iter_mut().for_each(|disk| disk.set_space(space.unwrap_or(u64::MAX)));
        let mut journals = Vec::new();
        let mut restores = Vec::new();
        let incarnation = reads.first().map_or(0, |read| read.superblock.incarnation);
        for (n, Read { superblock, slot, walked, restore, .. }) in reads.into_iter().enumerate() {
            let segments = self.disks[n].segments();
            let position = Position {
                superblock,
                slot,
                segments: segments.map(|(b, bytes)| (b, bytes.len() as u64, Seq::NONE)).collect(),
                marks: Vec::new(),
                end: walked.end,
                end_crc: walked.end_crc,
                last: Seq::NONE,
            };
            journals.push(Journal { config: self.config(), position, path: "journal".into() });
            restores.push(restore);
        }
        let combined = combine(restores).expect("definitions can be read");
        let restored = combined.go_on(journals, incarnation).into_iter();
        let engine = |(n, restored)| {
            let config = Config {
                default_group: Config::DEFAULT_GROUP.into(),
                shard: ShardId(n as u16),
                shards: self.shards,
                purge_interval: self.mix.purge_interval,
                purge_batch: self.mix.slice,
                slice: self.mix.slice,
                flush_timeout: self.mix.flush_timeout,
                memory,
                kept: if space.is_some() { 1 } else { Config::KEPT },
                paging: space.map(|_| PagingConfig {
                    log: self.config(),
                    salt: incarnation,
                    path: "paging".into(),
                }),
                queues: fletch_engine::QueueDefaults::UNLIMITED,
                dtx: fletch_engine::DtxConfig::UNLIMITED,
                policies: std::sync::Arc::default(),
                secret: incarnation,
            };
            let mut engine = Engine::restored(&config, restored);
            engine.keep_changes();
            engine
        };
        restored.enumerate().map(engine).collect()
    }

    /// Waits for what a disk was told to write; or a crash comes first.
    fn finish(&mut self, n: usize) -> Result<(), Crashed> {
        if self.crashes() {
            return Err(Crashed);
        }
        self.disks[n].flush();
        if self.crashes() { Err(Crashed) } else { Ok(()) }
    }
}
