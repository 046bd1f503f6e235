//! How the broker starts, stops and crashes: what is done to the disks, in the order of the real one.

use super::model::After;
use super::world::World;
use crate::disk::{Damages, Disk, Fate, Lie};
use fletch_engine::{
    Combined, Config, Engine, Journal, Message, Rehome, ShardId, ShardRestore, Time, combine,
};
use fletch_journal::recovery::{Damage, Segment, Walked, walk};
use fletch_journal::{
    Batch, Found, Log, LogConfig, Lsn, Position, Request, Seq, State, Superblock,
};
use std::time::Duration;

/// What recovery has read of a disk.
struct Read {
    superblock: Superblock,
    slot: u8,
    walked: Walked,
    restore: ShardRestore,
}

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
struct Crashed;

/// A fault that was put onto a disk, for recovery to find.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planted {
    disk: usize,
    lie: Lie,
}

impl World<'_> {
    /// Disks of a broker that never ran.
    pub(super) fn make_disks(&mut self) {
        self.disks = (0..self.shards).map(|n| self.fresh_disk(n, self.shards, 0)).collect();
    }

    fn config(&self) -> LogConfig {
        LogConfig { segment: self.mix.segment, depth: self.mix.depth }
    }

    fn fresh_disk(&mut self, shard: u16, shards: u16, incarnation: u64) -> Disk {
        let mut disk = Disk::new();
        let superblock = Superblock {
            shard,
            shards,
            sequence: 1,
            salt: self.rng.next(),
            incarnation,
            oldest_lsn: Lsn(0),
            epoch: 0,
            state: State::Running,
        };
        disk.request(Request::Superblock { slot: 0, bytes: Box::new(superblock.encode()) });
        disk.flush();
        disk
    }

    // ---- ends ----------------------------------------------------------------------------

    /// The process dies, or the machine.
    pub(super) fn crash(&mut self) {
        self.trace.add(0, "crash", 0, 0);
        for (shard, engine) in self.engines.iter().enumerate() {
            let log = engine.log().expect("every shard has a journal");
            let cleaning = self.disks[shard].has_work() && log.stats().relocated > 0;
            self.marks.hit("crash while the cleaner may be at work", cleaning);
        }
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
        self.model.check(&found, self.now, After::Crash, &mut self.marks);
        if self.mix.memory != u64::MAX {
            // All had to be there to be looked at.
            self.engines = self.restored_with(self.mix.memory);
            let away = self.engines.iter().flat_map(Engine::queues).any(|q| q.away() > 0);
            self.marks.hit("recovery leaves bodies on the disk", away);
        }
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

    fn read(&self, n: usize, memory: u64, salvage: bool) -> Result<Read, Damage> {
        let disk = &self.disks[n];
        let Found::Present { superblock, slot } = Superblock::read(Some(disk.superblock())) else {
            panic!("shard {n} has no superblock");
        };
        let oldest = superblock.oldest_lsn;
        let segments: Vec<Segment<'_>> =
            disk.segments().map(|(base, bytes)| Segment { base, bytes }).collect();
        let needed = segments.iter().filter(|s| s.base.after(s.bytes.len()) > oldest);
        let mut restore = ShardRestore::new(needed.map(|s| (s.base, s.bytes.len() as u64)), memory);
        let walked = walk(
            &superblock,
            &segments,
            &mut |span, record| restore.record(span.begin, record),
            salvage,
        )?;
        Ok(Read { superblock, slot, walked, restore })
    }

    /// Recovery says that a disk has lost something.
    fn check_damage(&mut self, n: usize, damage: &Damage) {
        let Some(Planted { disk, .. }) = self.planted else {
            panic!("recovery of shard {n} fails: {damage}");
        };
        assert_eq!(disk, n, "the disk of shard {disk} has lied, and recovery says: {damage}");
        self.trace.add(n as u16, "damage", 0, 0);
        self.marks.hit("damage noticed", true);
    }

    /// Where recovery says that the log ends. True if something is lost, and nothing could tell.
    fn check_end(&mut self, n: usize, read: &Read) -> bool {
        let (end, durable) = (read.walked.end, self.disks[n].durable_end());
        self.trace.add(n as u16, "recovers", end.0, read.walked.records);
        self.marks.hit("log wiped behind its end", read.walked.cut.is_some());
        self.marks.hit("record without its end", read.walked.unfinished.is_some());
        let whole = read.walked.cut.is_some_and(|cut| cut.batches > 0);
        self.marks.hit("whole batch wiped", whole);
        if let Some(planted) = self.planted.filter(|p| p.disk == n) {
            self.marks.hit("damage that does not matter", end >= durable);
            if end < durable {
                let vouched = self.vouched(n, &read.superblock, end);
                let running = read.superblock.state == State::Running;
                assert!(!vouched && running, "recovery does not see {planted:?}");
                self.marks.hit("damage that nothing vouched against", true);
                return true;
            }
            return false;
        }
        assert!(end >= durable, "shard {n} was durable to {durable:?}, and ends at {end:?}");
        false
    }

    /// Whether some batch stands at or behind `end` that was written when more than that was durable.
    fn vouched(&self, n: usize, superblock: &Superblock, end: Lsn) -> bool {
        let pages = |(base, bytes): (Lsn, &[u8])| {
            let bytes = bytes.to_vec();
            (0..bytes.len()).step_by(fletch_journal::ALIGN).any(move |at| {
                let lsn = base.after(at);
                let batch = Batch::decode(&bytes[at..]).ok().map(|batch| batch.header);
                lsn >= end
                    && batch.is_some_and(|header| {
                        header.lsn == lsn
                            && header.salt == superblock.salt
                            && header.synced_lsn > end
                    })
            })
        };
        self.disks[n].segments().any(pages)
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
    fn restored_with(&self, memory: u64) -> Vec<Engine> {
        let reads = (0..self.disks.len()).map(|n| self.read(n, memory, false));
        let reads = reads.collect::<Result<Vec<Read>, Damage>>();
        self.restored(reads.expect("it was read before"), memory)
    }

    fn restored(&self, reads: Vec<Read>, memory: u64) -> Vec<Engine> {
        let mut journals = Vec::new();
        let mut restores = Vec::new();
        let incarnation = reads.first().map_or(0, |read| read.superblock.incarnation);
        for (n, Read { superblock, slot, walked, restore }) in reads.into_iter().enumerate() {
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
                shard: ShardId(n as u16),
                shards: self.shards,
                purge_interval: self.mix.purge_interval,
                slice: self.mix.slice,
                flush_timeout: Duration::ZERO,
                memory,
            };
            Engine::restored(&config, restored)
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

    /// Writes everything into new journals for so many shards. The old ones are in force until all of
    /// that is done.
    fn rehome(&mut self, shards: u16, reads: Vec<Read>, incarnation: u64) -> Result<(), Crashed> {
        let restores = reads.into_iter().map(|read| read.restore).collect();
        let combined: Combined = combine(restores).expect("definitions can be read");
        let mut disks: Vec<Disk> =
            (0..shards).map(|n| self.fresh_disk(n, shards, incarnation)).collect();
        let mut logs: Vec<Log<Message>> = Vec::new();
        for disk in &disks {
            let Found::Present { superblock, slot } = Superblock::read(Some(disk.superblock()))
            else {
                panic!("a fresh disk has a superblock");
            };
            let position = Position {
                superblock,
                slot,
                segments: Vec::new(),
                marks: Vec::new(),
                end: Lsn(0),
                end_crc: 0,
                last: Seq::NONE,
            };
            logs.push(Log::new(self.config(), position));
        }
        let mut rehome = combined.rehome(logs);
        for n in 0..self.disks.len() {
            self.read_again(n, &mut rehome);
            for (disk, log) in disks.iter_mut().zip(&mut rehome.logs) {
                self.write_out(disk, log)?;
            }
        }
        for (disk, log) in disks.iter_mut().zip(&mut rehome.logs) {
            self.write_out(disk, log)?;
            log.close();
            self.write_out(disk, log)?;
            assert!(log.is_closed(), "a log that is closed and at rest is closed on disk");
        }
        // One rename, which is there or not.
        self.disks = disks;
        self.shards = shards;
        self.forget();
        Ok(())
    }

    /// Reads an old disk once more, and moves what is live.
    fn read_again(&self, n: usize, rehome: &mut Rehome<'_>) {
        let disk = &self.disks[n];
        let Found::Present { superblock, .. } = Superblock::read(Some(disk.superblock())) else {
            panic!("shard {n} has no superblock");
        };
        let segments: Vec<Segment<'_>> =
            disk.segments().map(|(base, bytes)| Segment { base, bytes }).collect();
        let mut number = 0;
        let visit = &mut |_, record: &[u8]| {
            number += 1;
            rehome.record(n, number, record)
        };
        walk(&superblock, &segments, visit, true).expect("it was read before");
    }

    fn write_out(&mut self, disk: &mut Disk, log: &mut Log<Message>) -> Result<(), Crashed> {
        loop {
            if self.rng.chance(self.mix.bad_start_percent / 20) {
                return Err(Crashed);
            }
            while let Some(len) = log.next_write() {
                let mut buffer = vec![0xaa; len];
                let write = log.fill(&mut buffer);
                buffer.truncate(write.len);
                disk.write(write, buffer);
            }
            while let Some(request) = log.next_request() {
                disk.request(request);
            }
            match disk.complete(&mut self.rng) {
                Some(done) => log.done(done),
                None if log.is_idle() => return Ok(()),
                None => {}
            }
        }
    }
}
