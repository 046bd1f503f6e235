//! Whole logs: the input is a script that writes one, damages it, and has it read.

use fletch_journal::record::{Part, fragment_head, ops};
use fletch_journal::recovery::{Damage, Segment, Span, Walked, walk};
use fletch_journal::{ALIGN, Header, Lsn, State, Superblock, encode};

/// The longest log: each page is looked at several times.
const PAGES: usize = 64;
const PAGE: u64 = ALIGN as u64;
const SALT: u64 = 7;
const SHARD: u16 = 1;

/// See the module.
pub fn journal_walk(data: &[u8]) {
    let mut script = Script(data);
    let decode = script.octet() & 1 == 1;
    let mut disk = Disk::new();
    while !script.0.is_empty() && disk.pages() < PAGES {
        disk.step(&mut script);
    }
    let plain = disk.walk(false, decode);
    let salvaged = disk.walk(true, decode);
    match (plain, salvaged) {
        (Ok((records, walked)), salvaged) => {
            disk.check(&records, &walked);
            assert!(walked.lost.is_empty());
            assert_eq!(salvaged, Ok((records.clone(), walked.clone())), "nothing to salvage");
            disk.wipe(&walked);
            let (again, walked_again) = disk.walk(false, decode).expect("as before");
            assert_eq!(again, records);
            let walked = Walked { cut: None, ..walked };
            assert_eq!(walked_again, walked, "the same, and nothing left to wipe");
        }
        (Err(damage), Ok((records, walked))) => {
            disk.check(&records, &walked);
            assert!(!walked.lost.is_empty(), "{damage} is passed over in silence");
            assert!(!damage.is_newer());
            assert!(walked.lost.iter().all(|lost| lost.from <= lost.to));
        }
        (Err(_), Err(hopeless)) => {
            let files = matches!(hopeless, Damage::File { .. } | Damage::Overlap { .. });
            assert!(files || hopeless.is_newer(), "{hopeless} ends a salvage");
        }
    }
}

/// Octets that decide; zeros when there are no more.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn octet(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(self.octet()) << 8 | usize::from(self.octet())
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

type Records = Vec<(Span, Vec<u8>)>;

struct Disk {
    superblock: Superblock,
    segments: Vec<(u64, Vec<u8>)>,
    end: Lsn,
    crc: u32,
}

impl Disk {
    fn new() -> Disk {
        let superblock = Superblock {
            shard: SHARD,
            shards: 2,
            sequence: 1,
            salt: SALT,
            incarnation: 1,
            oldest_lsn: Lsn(0),
            epoch: 0,
            state: State::Running,
        };
        Disk { superblock, segments: Vec::new(), end: Lsn(0), crc: 0 }
    }

    fn pages(&self) -> usize {
        self.segments.iter().map(|(_, bytes)| bytes.len() / ALIGN + 1).sum()
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.octet() % 12 {
            0 => {
                let len = script.number() % 9000;
                let body = script.take(len);
                self.append(script, body);
            }
            step @ 1..=4 => {
                let part = [Part::Whole, Part::First, Part::Middle, Part::Last][step as usize - 1];
                let len = usize::from(script.octet());
                let content = script.take(len);
                let body = [&fragment_head(part, content.len())[..], content].concat();
                self.append(script, &body);
            }
            5 => {
                let pages = 1 + usize::from(script.octet() % 6);
                let recycled = script.octet() & 1 == 1;
                self.make(pages, recycled);
            }
            6 => {
                let (which, at, bits) = (script.octet(), script.number(), script.octet());
                if let Some(byte) = self.bytes(which).and_then(|b| b.get_mut(at)) {
                    *byte ^= bits;
                }
            }
            7 => {
                let (which, page) = (script.octet(), usize::from(script.octet()) * ALIGN);
                if let Some(page) = self.bytes(which).and_then(|b| b.get_mut(page..page + ALIGN)) {
                    page.fill(0);
                }
            }
            8 => {
                let at = usize::from(script.octet());
                if at < self.segments.len() {
                    self.segments.remove(at);
                }
            }
            9 => self.superblock.oldest_lsn = Lsn(u64::from(script.octet()) * PAGE),
            10 => {
                let end = Lsn(self.end.0 + u64::from(script.octet()) * 1024);
                self.superblock.state = State::Clean { end, crc: self.crc };
            }
            _ => {
                let (which, by) = (script.octet(), script.number());
                if script.octet() & 1 == 0 {
                    self.bytes(which).iter_mut().for_each(|b| b.truncate(by));
                } else if let Some((base, _)) = self.segments.get_mut(usize::from(which)) {
                    *base = base.wrapping_sub(by as u64 * 2048);
                }
            }
        }
    }

    fn bytes(&mut self, which: u8) -> Option<&mut Vec<u8>> {
        self.segments.get_mut(usize::from(which)).map(|(_, bytes)| bytes)
    }

    fn make(&mut self, pages: usize, recycled: bool) {
        let base = self.segments.last().map_or(0, |(base, b)| base.wrapping_add(b.len() as u64));
        let mut bytes = vec![0; pages * ALIGN];
        if let Some((_, old)) = self.segments.first().filter(|_| recycled) {
            let len = old.len().min(bytes.len());
            bytes[..len].copy_from_slice(&old[..len]);
        }
        self.segments.push((base, bytes));
    }

    /// Writes a batch where there is room, in a new segment if need be, with what the script wants
    /// to be wrong with it.
    fn append(&mut self, script: &mut Script<'_>, body: &[u8]) {
        let wrong = script.octet();
        let synced = script.octet();
        let (lsn, mut out) = (self.end, Vec::new());
        let header = Header {
            salt: SALT + u64::from(wrong == 1),
            lsn,
            synced_lsn: Lsn(lsn.0 / PAGE * u64::from(synced) / 255 * PAGE),
            epoch: 0,
            shard: SHARD + u16::from(wrong == 2),
            records: 1,
            prev_crc: if wrong == 3 { !self.crc } else { self.crc },
        };
        let crc = encode(&header, body, &mut out);
        if wrong == 4 {
            out[4] = 2;
            let crc = crc32c::crc32c(&out[..60]);
            out[60..64].copy_from_slice(&crc.to_le_bytes());
        }
        let holds = |(base, bytes): &(u64, Vec<u8>)| {
            let at = lsn.0.checked_sub(*base)?;
            let at = usize::try_from(at).ok().filter(|at| *at < bytes.len())?;
            Some((at, bytes.len() - at))
        };
        let mut room = self.segments.iter().rev().find_map(holds);
        if room.is_none() {
            self.make(1 + out.len() / ALIGN, false);
            room = self.segments.iter().rev().find_map(holds);
        }
        let found = self.segments.iter().rposition(|segment| holds(segment).is_some());
        let (Some(segment), Some((at, room))) = (found, room) else { return };
        // A batch that does not fit is one that was cut short.
        let len = out.len().min(room);
        self.segments[segment].1[at..at + len].copy_from_slice(&out[..len]);
        (self.end, self.crc) = (lsn.after(len.next_multiple_of(ALIGN)), crc);
    }

    fn segments(&self) -> Vec<Segment<'_>> {
        let mut all: Vec<Segment<'_>> =
            self.segments.iter().map(|(base, bytes)| Segment { base: Lsn(*base), bytes }).collect();
        all.sort_by_key(|segment| segment.base);
        all
    }

    fn walk(&self, salvage: bool, decode: bool) -> Result<(Records, Walked), Damage> {
        let mut records = Vec::new();
        let mut visit = |span: Span, record: &[u8]| {
            records.push((span, record.to_vec()));
            if decode { ops(record).try_for_each(|op| op.map(|_| ())) } else { Ok(()) }
        };
        let walked = walk(&self.superblock, &self.segments(), &mut visit, salvage)?;
        Ok((records, walked))
    }

    /// What must hold of whatever was read.
    fn check(&self, records: &Records, walked: &Walked) {
        let bytes: usize = self.segments.iter().map(|(_, bytes)| bytes.len()).sum();
        let read: usize = records.iter().map(|(_, record)| record.len()).sum();
        assert!(read <= bytes && walked.batches.len() * ALIGN <= bytes, "more than there is");
        assert_eq!(walked.records, records.len() as u64);
        assert!(walked.end >= self.superblock.oldest_lsn && walked.end.is_aligned());
        assert!(walked.batches.is_sorted_by(|a, b| a.lsn < b.lsn && a.first <= b.first));
        assert!(walked.batches.iter().all(|b| b.lsn < walked.end && b.first <= walked.records));
        assert!(records.is_sorted_by(|(a, _), (b, _)| a.end <= b.begin));
        for (n, (span, _)) in records.iter().enumerate() {
            assert!(span.begin <= span.end);
            let at = walked.batches.partition_point(|batch| batch.first <= n as u64);
            assert_eq!(walked.batches[at - 1].lsn, span.begin);
        }
        if let Some(cut) = walked.cut {
            assert!(cut.from == walked.end && cut.from < cut.to && cut.to.is_aligned());
            assert!(cut.batches * PAGE <= cut.to.0 - cut.from.0);
        }
    }

    fn wipe(&mut self, walked: &Walked) {
        let Some(cut) = walked.cut else { return };
        for (base, bytes) in &mut self.segments {
            let at = |lsn: Lsn| (lsn.0.saturating_sub(*base) as usize).min(bytes.len());
            let (from, to) = (at(cut.from), at(cut.to));
            bytes[from..to].fill(0);
        }
    }
}
