//! Reading the disks, and whether recovery may find what it finds.

use super::world::World;
use crate::disk::Lie;
use fletch_engine::ShardRestore;
use fletch_journal::record::ops;
use fletch_journal::recovery::{Damage, Segment, Walked, walk};
use fletch_journal::{Batch, Found, Lsn, Op, State, Superblock, Xid};
use std::collections::BTreeSet;

/// What recovery has read of a disk.
pub(super) struct Read {
    pub(super) superblock: Superblock,
    pub(super) slot: u8,
    pub(super) walked: Walked,
    pub(super) restore: ShardRestore,
    /// Transactions that were prepared here.
    prepared: BTreeSet<Xid>,
    /// Decisions found here, this shard's or noted.
    decided: BTreeSet<Xid>,
}

/// A fault that was put onto a disk, for recovery to find.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planted {
    pub(super) disk: usize,
    pub(super) lie: Lie,
}

impl World<'_> {
    /// Reads a disk: of what it holds, so much into memory.
    pub(super) fn read(&self, n: usize, memory: u64, salvage: bool) -> Result<Read, Damage> {
        let disk = &self.disks[n];
        let Found::Present { superblock, slot } = Superblock::read(Some(disk.superblock())) else {
            panic!("shard {n} has no superblock");
        };
        let oldest = superblock.oldest_lsn;
        let segments: Vec<Segment<'_>> =
            disk.segments().map(|(base, bytes)| Segment { base, bytes }).collect();
        let needed = segments.iter().filter(|s| s.base.after(s.bytes.len()) > oldest);
        let shard = superblock.shard;
        let mut restore =
            ShardRestore::new(shard, needed.map(|s| (s.base, s.bytes.len() as u64)), memory);
        let (mut prepared, mut decided) = (BTreeSet::new(), BTreeSet::new());
        let walked = walk(
            &superblock,
            &segments,
            &mut |span, record| {
                match ops(record).next() {
                    Some(Ok(Op::Prepare(xid))) => {
                        prepared.insert(xid);
                    }
                    Some(Ok(Op::Decide { xid, .. })) => {
                        decided.insert(xid);
                    }
                    _ => {}
                }
                restore.record(span.begin, record)
            },
            salvage,
        )?;
        Ok(Read { superblock, slot, walked, restore, prepared, decided })
    }

    /// How far transactions have come.
    pub(super) fn mark_transactions(&mut self, reads: &[Read]) {
        let open =
            |read: &Read| read.prepared.difference(&read.decided).copied().collect::<Vec<_>>();
        let open: Vec<Xid> = reads.iter().flat_map(open).collect();
        let decided = |xid: &Xid| {
            reads.get(usize::from(xid.shard)).is_some_and(|read| read.decided.contains(xid))
        };
        self.marks.hit("publish decided and not noted", open.iter().any(decided));
        self.marks.hit("publish prepared and not decided", !open.iter().all(decided));
    }

    /// Recovery says that a disk has lost something.
    pub(super) fn check_damage(&mut self, n: usize, damage: &Damage) {
        let Some(Planted { disk, .. }) = self.planted else {
            panic!("recovery of shard {n} fails: {damage}");
        };
        assert_eq!(disk, n, "the disk of shard {disk} has lied, and recovery says: {damage}");
        self.trace.add(n as u16, "damage", 0, 0);
        self.marks.hit("damage noticed", true);
    }

    /// Where recovery says that the log ends. True if something is lost, and nothing could tell.
    pub(super) fn check_end(&mut self, n: usize, read: &Read) -> bool {
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
}
