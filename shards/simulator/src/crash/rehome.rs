//! New disks: those of a broker that never ran, and those that another number of shards goes on with.

use super::recovery::Read;
use super::start::Crashed;
use super::world::World;
use crate::disk::Disk;
use fletch_engine::{Combined, Rehome, Stored, combine};
use fletch_journal::recovery::{Segment, walk};
use fletch_journal::{Found, Log, LogConfig, Lsn, Position, Request, Seq, State, Superblock};

impl World<'_> {
    /// Disks of a broker that never ran.
    pub(super) fn make_disks(&mut self) {
        self.disks = (0..self.shards).map(|n| self.fresh_disk(n, self.shards, 0)).collect();
    }

    pub(super) fn config(&self) -> LogConfig {
        LogConfig { segment: self.mix.segment, depth: self.mix.depth }
    }

    fn fresh_disk(&mut self, shard: u16, shards: u16, incarnation: u64) -> Disk {
        let mut disk = Disk::new(self.config().first());
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

    /// Writes everything into new journals for so many shards. The old ones are in force until all of
    /// that is done.
    pub(super) fn rehome(
        &mut self,
        shards: u16,
        reads: Vec<Read>,
        incarnation: u64,
    ) -> Result<(), Crashed> {
        let restores = reads.into_iter().map(|read| read.restore).collect();
        let combined: Combined = combine(restores).expect("definitions can be read");
        let mut disks: Vec<Disk> =
            (0..shards).map(|n| self.fresh_disk(n, shards, incarnation)).collect();
        let mut logs: Vec<Log<Stored>> = Vec::new();
        for disk in &disks {
            let Found::Present { superblock, slot } = Superblock::read(Some(disk.superblock()))
            else {
                panic!("a fresh disk has a superblock");
            };
            let position = Position {
                superblock,
                slot,
                segments: disk
                    .segments()
                    .map(|(b, bytes)| (b, bytes.len() as u64, Seq(1)))
                    .collect(),
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

    fn write_out(&mut self, disk: &mut Disk, log: &mut Log<Stored>) -> Result<(), Crashed> {
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
