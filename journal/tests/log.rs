//! The log against a driver in memory: what is written, when it is durable, what is reclaimed.

use fletch_journal::record::{Assembler, fragments, ops};
use fletch_journal::{
    Batch, Done, Log, LogConfig, Lsn, Op, Payload, Position, Ref, Refs, Request, Seq, State,
    Superblock, Write, Xid,
};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
struct Body(Vec<u8>);

impl Payload for Body {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn put(&self, out: &mut [u8]) {
        out.copy_from_slice(&self.0);
    }
}

fn superblock() -> Superblock {
    Superblock {
        shard: 0,
        shards: 1,
        sequence: 1,
        salt: 7,
        incarnation: 1,
        oldest_lsn: Lsn(0),
        epoch: 0,
        state: State::Running,
    }
}

/// Does what it is asked at once, or later.
struct Disk {
    log: Log<Body>,
    files: BTreeMap<Lsn, Vec<u8>>,
    retired: Vec<Lsn>,
    full: bool,
}

impl Disk {
    fn new(depth: usize) -> Disk {
        let config = LogConfig { segment: LogConfig::SEGMENT_MIN, depth };
        let position = Position {
            superblock: superblock(),
            slot: 0,
            segments: Vec::new(),
            marks: Vec::new(),
            end: Lsn(0),
            end_crc: 0,
            last: Seq::NONE,
        };
        let log = Log::new(config, position);
        Disk { log, files: BTreeMap::new(), retired: Vec::new(), full: false }
    }

    fn write(&mut self) -> Option<Write> {
        let len = self.log.next_write()?;
        let mut buffer = vec![0xaa; len];
        let write = self.log.fill(&mut buffer);
        let file = self.files.get_mut(&write.segment).expect("a prepared segment");
        let at = write.offset as usize;
        file[at..at + write.len].copy_from_slice(&buffer[..write.len]);
        Some(write)
    }

    fn requests(&mut self) {
        while let Some(request) = self.log.next_request() {
            let done = match request {
                Request::Prepare { segment, .. } if self.full => Done::Full { segment },
                Request::Prepare { segment, len } => {
                    self.files.insert(segment, vec![0; len as usize]);
                    Done::Prepared { segment }
                }
                Request::Retire { segment, .. } => {
                    self.files.remove(&segment);
                    self.retired.push(segment);
                    Done::Retired { segment }
                }
                Request::Superblock { .. } => Done::Superblock,
                Request::Read { number, segment, offset, len } => {
                    let bytes =
                        self.files[&segment][offset as usize..offset as usize + len].to_vec();
                    Done::Read { number, bytes }
                }
            };
            self.log.done(done);
        }
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            self.requests();
            match self.write() {
                Some(write) => self.log.done(Done::Written { number: write.number }),
                None if self.log.is_idle() => return,
                None => {}
            }
        }
        panic!("the log does not come to rest: {:?}", self.log.stats());
    }

    /// Every operation in the files, in order.
    fn ops(&self, mut f: impl FnMut(Op<'_>)) {
        let mut assembler = Assembler::new();
        let mut started = false;
        for file in self.files.values() {
            let mut rest = &file[..];
            while let Ok(batch) = Batch::decode(rest) {
                for fragment in fragments(batch.body) {
                    let (part, content) = fragment.expect("whole");
                    use fletch_journal::record::Part::{First, Whole};
                    started |= matches!(part, Whole | First);
                    if !started {
                        continue;
                    }
                    if let Some(record) = assembler.join(part, content).expect("in order") {
                        ops(record).for_each(|op| f(op.expect("whole")));
                    }
                }
                rest = &rest[batch.len..];
            }
        }
    }
}

fn at(position: u64) -> Ref {
    Ref { queue: 1, position }
}

fn publish(disk: &mut Disk, position: u64, len: usize) -> Seq {
    let refs: Refs = [(at(position), false)].into_iter().collect();
    disk.log.publish(refs, Body(vec![position as u8; len]), None)
}

#[test]
fn a_lone_publish_is_one_batch_and_then_durable() {
    let mut disk = Disk::new(1);
    let seq = publish(&mut disk, 1, 100);
    assert_eq!(disk.write(), None, "there is no segment yet");
    disk.requests();
    let write = disk.write().expect("now there is");
    assert_eq!((write.segment, write.offset, write.len), (Lsn(0), 0, 4096));
    assert!(disk.log.durable() < seq);
    disk.log.done(Done::Written { number: write.number });
    assert_eq!(disk.log.durable(), seq);
}

#[test]
fn what_meets_before_the_write_touches_no_disk() {
    let mut disk = Disk::new(1);
    for position in 1..=10 {
        let seq = publish(&mut disk, position, 100);
        disk.log.dequeue(at(position), seq, 100);
    }
    assert_eq!(disk.log.next_write(), None);
    assert_eq!(disk.log.durable(), disk.log.last_seq());
    assert_eq!(disk.log.stats().avoided, 10);
    assert_eq!(disk.log.staged_bytes(), 0);
}

#[test]
fn writes_that_overlap_are_durable_in_order() {
    let mut disk = Disk::new(2);
    let first = publish(&mut disk, 1, 100);
    disk.log.next_write();
    disk.requests();
    let one = disk.write().expect("a write");
    let second = publish(&mut disk, 2, 100);
    let two = disk.write().expect("another");
    publish(&mut disk, 3, 100);
    assert_eq!(disk.log.next_write(), None, "two are under way");
    disk.log.done(Done::Written { number: two.number });
    assert!(disk.log.durable() < first);
    disk.log.done(Done::Written { number: one.number });
    assert_eq!(disk.log.durable(), second);
}

#[test]
fn a_record_larger_than_a_segment_comes_back_whole() {
    let mut disk = Disk::new(2);
    publish(&mut disk, 1, 10);
    let seq = publish(&mut disk, 2, 5_000_000);
    let last = publish(&mut disk, 3, 10);
    disk.settle();
    assert!(disk.log.durable() >= last && last > seq);
    let mut sizes = Vec::new();
    disk.ops(|op| {
        if let Op::Publish { refs, payload, .. } = op {
            let position = refs.iter().next().expect("one").0.position;
            assert!(payload.iter().all(|b| *b == position as u8));
            sizes.push(payload.len());
        }
    });
    assert_eq!(sizes, [10, 5_000_000, 10]);
}

#[test]
fn dequeues_in_a_row_are_one_operation() {
    let mut disk = Disk::new(1);
    let seqs: Vec<Seq> = (1..=100).map(|p| publish(&mut disk, p, 10)).collect();
    disk.settle();
    for (n, seq) in seqs.into_iter().enumerate() {
        disk.log.dequeue(at(n as u64 + 1), seq, 10);
    }
    disk.settle();
    let mut ranges = Vec::new();
    disk.ops(|op| {
        if let Op::Dequeue { first, last, .. } = op {
            ranges.push((first, last));
        }
    });
    assert_eq!(ranges, [(1, 100)]);
    assert_eq!(disk.log.live_bytes(), 0);
}

#[test]
fn space_stays_within_twice_what_lives_whatever_one_old_message_does() {
    let mut disk = Disk::new(2);
    let mut places: BTreeMap<u64, Seq> = BTreeMap::new();
    disk.log.define(99, b"a queue");
    places.insert(1, publish(&mut disk, 1, 1000));
    disk.settle();
    for position in 2..60_000u64 {
        let seq = publish(&mut disk, position, 1000);
        places.insert(position, seq);
        if position % 16 == 0 {
            disk.requests();
            if let Some(write) = disk.write() {
                disk.log.done(Done::Written { number: write.number });
            }
            for p in position - 15..=position {
                if p > 1 {
                    let seq = places.remove(&p).expect("there");
                    disk.log.dequeue(at(p), seq, 1000);
                }
            }
            clean(&mut disk, &mut places);
            disk.log.clean();
        }
        let most = 2 * disk.log.live_bytes() + 3 * LogConfig::SEGMENT_MIN;
        assert!(disk.log.used() <= most, "{} bytes for {}", disk.log.used(), disk.log.live_bytes());
    }
    disk.settle();
    assert!(disk.log.stats().freed > 30 && disk.log.stats().relocated > 10);
    let (mut first, mut defined) = (0, 0);
    disk.ops(|op| match op {
        Op::Publish { refs, payload, .. } if refs.iter().any(|(r, _)| r == at(1)) => {
            assert_eq!(payload, [1; 1000]);
            first += 1;
        }
        Op::Define { id: 99, payload } => {
            assert_eq!(payload, b"a queue");
            defined += 1;
        }
        _ => {}
    });
    assert_eq!((first, defined), (1, 1));
}

/// What the engine does with a slice of the segment being cleaned.
fn clean(disk: &mut Disk, places: &mut BTreeMap<u64, Seq>) {
    let Some(cleaned) = disk.log.cleaned().expect("undamaged") else { return };
    for record in &cleaned.records {
        for op in ops(record) {
            let Op::Publish { refs, payload, .. } = op.expect("whole") else { continue };
            let (r, delivered) = refs.iter().next().expect("one");
            let Some(seq) = places.get(&r.position).copied() else { continue };
            if disk.log.stands_in(seq, cleaned.segment) {
                let refs = [(r, delivered)].into_iter().collect();
                let new = disk.log.relocate(refs, seq, Body(payload.to_vec()), None);
                places.insert(r.position, new);
            }
        }
    }
}

#[test]
fn a_full_disk_is_noticed_before_the_reserve_is_gone_and_so_is_its_end() {
    let mut disk = Disk::new(1);
    publish(&mut disk, 1, 100);
    disk.settle();
    disk.full = true;
    let mut position = 2;
    while disk.log.admits(10_000) {
        publish(&mut disk, position, 10_000);
        position += 1;
        disk.requests();
        if let Some(write) = disk.write() {
            disk.log.done(Done::Written { number: write.number });
        }
        assert!(position < 10_000, "it never fills");
    }
    assert!(disk.log.is_full());
    let seq = publish(&mut disk, position, 100);
    disk.log.dequeue(at(position), seq, 100);
    disk.full = false;
    let missing = disk.files.keys().last().map(|l| Lsn(l.0 + LogConfig::SEGMENT_MIN));
    let segment = missing.expect("there are files");
    disk.files.insert(segment, vec![0; LogConfig::SEGMENT_MIN as usize]);
    disk.log.done(Done::Prepared { segment });
    assert!(disk.log.admits(10_000));
}

#[test]
fn what_was_taken_on_before_the_disk_was_full_is_not_written_into_the_reserve() {
    let mut disk = Disk::new(1);
    publish(&mut disk, 1, 100);
    disk.settle();
    disk.full = true;
    // More than is ready, before anybody asks the disk for more.
    let seqs: Vec<Seq> = (2..50).map(|n| publish(&mut disk, n, 100_000)).collect();
    assert_eq!(disk.log.excess(), None, "nobody knows yet");
    while !disk.log.is_full() {
        let write = disk.write().expect("there is much to write");
        disk.log.done(Done::Written { number: write.number });
        disk.requests();
    }
    let from = disk.log.excess().expect("there is too much");
    let kept = seqs.iter().filter(|seq| **seq < from).count();
    // Two of the three segments that are ready.
    assert!((20..22).contains(&kept), "{kept} of {} fit", seqs.len());
    for seq in seqs.iter().filter(|seq| **seq >= from) {
        assert_eq!(disk.log.retract(*seq).map(|refs| refs.len()), Some(1));
        assert_eq!(disk.log.retract(*seq), None, "once");
    }
    assert_eq!(disk.log.excess(), None);
    assert_eq!(disk.log.retract(seqs[0]), None, "that one is written");
    // And the reserve is there for what is small.
    disk.log.dequeue(at(2), seqs[0], 100_000);
    disk.settle();
    assert_eq!(disk.log.durable(), disk.log.last_seq());
    assert!(!disk.log.admits(100_000));
}

#[test]
fn the_last_segment_that_is_ready_is_not_begun_before_it_is_known_whether_there_is_another() {
    for full in [false, true] {
        let mut disk = Disk::new(1);
        publish(&mut disk, 1, 100);
        disk.settle();
        disk.full = full;
        // A writer that is faster than the disk makes segments.
        let last = (2..50).map(|n| publish(&mut disk, n, 100_000)).last();
        while let Some(write) = disk.write() {
            disk.log.done(Done::Written { number: write.number });
        }
        assert_eq!(disk.log.used(), 2 * LogConfig::SEGMENT_MIN, "two of the three");
        disk.requests();
        if full {
            let from = disk.log.excess().expect("what is left is too much");
            (from.0..=last.map_or(0, |seq| seq.0)).for_each(|n| {
                disk.log.retract(Seq(n)).expect("nothing of it is written");
            });
            assert!(!disk.log.admits(1000), "the reserve is left");
        }
        disk.settle();
        assert_eq!(Some(disk.log.durable()), last);
    }
}

#[test]
fn a_full_disk_keeps_its_room_for_dequeues_if_cleaning_would_not_come_to_its_end() {
    // What came and went fills so many batches: with room behind them for what lives, and without.
    for (batches, cleans) in [(13, true), (16, false)] {
        let mut disk = Disk::new(1);
        let mut places: BTreeMap<u64, Seq> =
            (1..=8).map(|p| (p, publish(&mut disk, p, 100_000))).collect();
        disk.settle();
        disk.full = true;
        for position in 100..100 + batches {
            let seq = publish(&mut disk, position, 100_000);
            disk.settle();
            disk.log.dequeue(at(position), seq, 100_000);
        }
        assert!(disk.log.is_full());
        for _ in 0..10 {
            disk.log.clean();
            disk.requests();
            clean(&mut disk, &mut places);
            while let Some(write) = disk.write() {
                disk.log.done(Done::Written { number: write.number });
            }
        }
        let expected = if cleans { (8, Some(&Lsn(0))) } else { (0, None) };
        assert_eq!((disk.log.stats().relocated, disk.retired.first()), expected, "{batches}");
        disk.log.dequeue(at(1), places[&1], 100_000);
        disk.settle();
        assert_eq!(disk.log.durable(), disk.log.last_seq());
    }
}

#[test]
fn what_goes_together_goes_in_one_record() {
    let mut disk = Disk::new(1);
    (1..=3).for_each(|id| {
        disk.log.define(id, b"a thing");
    });
    disk.settle();
    let before = disk.log.stats().records;
    disk.log.undefine(&[3, 1]);
    disk.settle();
    assert_eq!(disk.log.stats().records, before + 1);
    let mut gone = Vec::new();
    disk.ops(|op| {
        if let Op::Undefine { id } = op {
            gone.push(id);
        }
    });
    assert_eq!(gone, [3, 1]);
    let defined = [1, 2, 3].map(|id| disk.log.is_defined(id));
    assert_eq!(defined, [false, true, false]);
}

#[test]
fn an_idle_log_is_vouched_for_once() {
    let mut disk = Disk::new(1);
    publish(&mut disk, 1, 100);
    disk.settle();
    assert!(disk.log.is_unvouched());
    disk.log.vouch();
    let write = disk.write().expect("an empty batch");
    disk.log.done(Done::Written { number: write.number });
    let batch = Batch::decode(&disk.files[&Lsn(0)][4096..]).expect("a batch");
    assert_eq!((batch.header.records, batch.header.synced_lsn), (0, Lsn(4096)));
    assert!(!disk.log.is_unvouched(), "the empty one needs none");
}

#[test]
fn a_prepared_publish_says_so() {
    let mut disk = Disk::new(1);
    let xid = Xid { shard: 3, number: 5 };
    let refs: Refs = [(at(1), true), (at(2), false)].into_iter().collect();
    disk.log.publish(refs, Body(vec![1]), Some(xid));
    disk.settle();
    let mut kinds = 0;
    disk.ops(|op| {
        kinds += 1;
        match op {
            Op::Prepare(x) => assert_eq!(x, xid),
            Op::Publish { refs, .. } => {
                assert!(refs.iter().eq([(at(1), true), (at(2), false)]));
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(kinds, 2);
}

#[test]
fn prepared_dequeues_live_until_they_are_said_as_such() {
    let mut disk = Disk::new(1);
    let xid = Xid { shard: 3, number: 5 };
    let seq = publish(&mut disk, 1, 100);
    disk.log.prepare_dequeues(xid, [(at(1).queue, 1, 1)].into_iter());
    disk.settle();
    let live = disk.log.live_bytes();
    let mut kinds = Vec::new();
    disk.ops(|op| kinds.push(matches!(op, Op::Prepare(_) | Op::Dequeue { .. })));
    assert_eq!(kinds, [false, true, true], "the publish was not taken back");
    disk.log.dequeue(at(1), seq, 100);
    disk.log.note(xid, true);
    disk.log.unprepare(xid);
    assert!(disk.log.live_bytes() < live);
    disk.settle();
    assert_eq!(disk.log.live_bytes(), 0);
}

#[test]
fn a_decision_is_taken_back_until_it_is_written() {
    let mut disk = Disk::new(1);
    let xid = Xid { shard: 0, number: 5 };
    disk.log.decide(xid);
    assert!(disk.log.undecide(xid));
    assert!(!disk.log.undecide(xid));
    disk.settle();
    disk.ops(|op| panic!("{op:?} was taken back"));
    disk.log.decide(xid);
    disk.settle();
    assert!(!disk.log.undecide(xid), "that one holds");
    disk.log.note(xid, true);
    disk.log.resolved(xid);
    disk.settle();
    let mut decisions = 0;
    disk.ops(|op| decisions += usize::from(op == Op::Decide { xid, commit: true }));
    assert_eq!(decisions, 3, "its own note says it twice");
    assert_eq!(disk.log.live_bytes(), 0);
}
