//! Logs made in memory, whole and harmed.

use proptest::prelude::*;

use super::*;
use crate::record::{FRAGMENT_HEAD, Op, Part, fragment_head, ops};
use crate::{ALIGN, BATCH_MAX, HEADER, Header, State, Superblock, encode};

const PAGE: u64 = ALIGN as u64;
const SALT: u64 = 0x5a17;

/// A writer of logs, and their files.
#[derive(Clone)]
struct Disk {
    superblock: Superblock,
    segments: Vec<(Lsn, Vec<u8>)>,
    /// Sizes of segments to be made, in pages.
    pages: usize,
    end: Lsn,
    crc: u32,
    /// All batches since the last start.
    batches: Vec<Written>,
}

/// A batch that was appended.
#[derive(Clone, Debug)]
struct Written {
    lsn: Lsn,
    /// Header and body, without padding.
    used: usize,
    bytes: Vec<u8>,
    /// What was there before.
    under: Vec<u8>,
}

/// A record, and where it was.
type Visited = (Span, Vec<u8>);

impl Written {
    fn end(&self) -> Lsn {
        self.lsn.after(self.bytes.len())
    }
}

impl Disk {
    fn new(pages: usize) -> Disk {
        let superblock = Superblock {
            shard: 1,
            shards: 2,
            sequence: 1,
            salt: SALT,
            incarnation: 1,
            oldest_lsn: Lsn(0),
            epoch: 0,
            state: State::Running,
        };
        let (segments, batches) = (Vec::new(), Vec::new());
        Disk { superblock, segments, pages, end: Lsn(0), crc: 0, batches }
    }

    /// The segment that the next batch goes to, made if need be: of zeros, or of what was in the
    /// first one, as a recycled file is.
    fn room(&mut self) -> usize {
        let files_end = self.segments.last().map_or(Lsn(0), |(base, b)| base.after(b.len()));
        if files_end == self.end {
            let recycled = self.segments.first().filter(|_| self.segments.len() % 2 == 1);
            let bytes = recycled.map_or_else(|| vec![0; self.pages * ALIGN], |(_, b)| b.clone());
            self.segments.push((files_end, bytes));
        }
        let end = self.end;
        let (base, bytes) = self.segments.iter().rfind(|(b, _)| *b <= end).expect("just made");
        bytes.len() - (self.end.0 - base.0) as usize
    }

    fn at(&mut self, lsn: Lsn) -> &mut [u8] {
        let (base, file) = self.segments.iter_mut().rfind(|(b, _)| *b <= lsn).expect("a segment");
        &mut file[(lsn.0 - base.0) as usize..]
    }

    fn put(&mut self, lsn: Lsn, bytes: &[u8]) {
        self.at(lsn)[..bytes.len()].copy_from_slice(bytes);
    }

    fn append(&mut self, synced_lsn: Lsn, body: &[u8]) -> Written {
        self.append_as(self.superblock.shard, synced_lsn, body)
    }

    fn append_as(&mut self, shard: u16, synced_lsn: Lsn, body: &[u8]) -> Written {
        self.room();
        let (lsn, mut bytes) = (self.end, Vec::new());
        let header =
            Header { salt: SALT, lsn, synced_lsn, epoch: 0, shard, records: 0, prev_crc: self.crc };
        self.crc = encode(&header, body, &mut bytes);
        let under = self.at(lsn)[..bytes.len()].to_vec();
        self.put(lsn, &bytes);
        self.end = lsn.after(bytes.len());
        let written = Written { lsn, used: HEADER + body.len(), bytes, under };
        self.batches.push(written.clone());
        written
    }

    /// Writes records in batches with bodies of at most `cap` bytes, `depth` writes under way at
    /// once. Where each record is comes back.
    fn write(&mut self, records: &[Vec<u8>], cap: usize, depth: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        let mut body = Vec::new();
        for record in records {
            let (mut rest, mut begin) = (&record[..], None);
            loop {
                let room = self.room().min(HEADER + cap) - HEADER - body.len();
                if room <= FRAGMENT_HEAD {
                    self.flush(&mut body, depth);
                    continue;
                }
                let (content, after) = rest.split_at(rest.len().min(room - FRAGMENT_HEAD));
                let part = Part::of(begin.is_none(), after.is_empty());
                body.extend_from_slice(&fragment_head(part, content.len()));
                body.extend_from_slice(content);
                let begin = *begin.get_or_insert(self.end);
                rest = after;
                if rest.is_empty() {
                    spans.push(Span { begin, end: self.end });
                    break;
                }
            }
        }
        if !body.is_empty() {
            self.flush(&mut body, depth);
        }
        spans
    }

    fn flush(&mut self, body: &mut Vec<u8>, depth: usize) {
        let synced =
            self.batches.len().checked_sub(depth).map_or(Lsn(0), |n| self.batches[n].end());
        self.append(synced.max(self.superblock.oldest_lsn), body);
        body.clear();
    }

    fn segments(&self) -> Vec<Segment<'_>> {
        self.segments.iter().map(|(base, bytes)| Segment { base: *base, bytes }).collect()
    }

    fn walk(&self, salvage: bool) -> Result<(Vec<Visited>, Walked), Damage> {
        let mut visited = Vec::new();
        let walked = walk(
            &self.superblock,
            &self.segments(),
            &mut |span, record| {
                visited.push((span, record.to_vec()));
                Ok(())
            },
            salvage,
        )?;
        Ok((visited, walked))
    }

    fn records(&self) -> Vec<Vec<u8>> {
        let (visited, _) = self.walk(false).expect("no damage");
        visited.into_iter().map(|(_, record)| record).collect()
    }

    /// What a start does: walks, wipes, goes on there.
    fn restart(&mut self) -> (Vec<Vec<u8>>, Walked) {
        let (visited, walked) = self.walk(false).expect("a crash is no damage");
        if let Some(cut) = walked.cut {
            assert!(walked.end == cut.from && cut.from < cut.to);
            self.wipe(cut, |_| true);
        }
        (self.end, self.crc) = (walked.end, walked.end_crc);
        self.batches.clear();
        (visited.into_iter().map(|(_, record)| record).collect(), walked)
    }

    /// Wipes those pages that are chosen by their number.
    fn wipe(&mut self, cut: Cut, chosen: impl Fn(usize) -> bool) {
        assert!(cut.from.is_aligned() && cut.to.is_aligned());
        let pages = (cut.to.0 - cut.from.0) / PAGE;
        for page in (0..pages as usize).filter(|page| chosen(*page)) {
            self.put(cut.from.after(page * ALIGN), &[0; ALIGN]);
        }
    }

    fn close(&mut self) {
        self.superblock.state = State::Clean { end: self.end, crc: self.crc };
    }

    fn flip(&mut self, lsn: Lsn, bit: usize) {
        self.at(lsn)[bit / 8] ^= 1 << (bit % 8);
    }
}

fn whole(record: &[u8]) -> Vec<u8> {
    [&fragment_head(Part::Whole, record.len())[..], record].concat()
}

/// Batches of one record and one page, each written when all before were durable.
fn plain(pages: usize, batches: u8) -> Disk {
    let mut disk = Disk::new(pages);
    for n in 0..batches {
        let synced = disk.end;
        disk.append(synced, &whole(&[n]));
    }
    disk
}

fn damage(disk: &Disk) -> Damage {
    disk.walk(false).expect_err("damage")
}

// ---- ends ------------------------------------------------------------------------------------

#[test]
fn a_log_without_files_is_empty() {
    let disk = Disk::new(4);
    assert_eq!(disk.walk(false), Ok((vec![], Walked::default())));
    let mut freed = disk;
    freed.superblock.oldest_lsn = Lsn(4 * PAGE);
    let missing = Damage::Missing { lsn: Lsn(4 * PAGE) };
    assert_eq!(damage(&freed), missing);
    let (visited, walked) = freed.walk(true).expect("salvage goes on");
    assert!(visited.is_empty() && walked.lost.len() == 1 && walked.lost[0].damage == missing);
}

#[test]
fn files_before_the_oldest_position_are_leftovers() {
    let mut disk = plain(2, 5);
    disk.superblock.oldest_lsn = Lsn(2 * PAGE);
    assert_eq!(disk.records(), [[2], [3], [4]]);
    disk.segments.remove(0);
    assert_eq!(disk.records(), [[2], [3], [4]]);
    disk.segments.remove(0);
    assert_eq!(damage(&disk), Damage::Missing { lsn: Lsn(2 * PAGE) });
}

#[test]
fn a_log_may_begin_in_the_middle_of_a_record() {
    let mut disk = Disk::new(2);
    let long = vec![7; 3 * ALIGN];
    disk.write(&[vec![1], long, vec![2], vec![3]], 3000, 1);
    disk.superblock.oldest_lsn = Lsn(2 * PAGE);
    assert_eq!(disk.records(), [[2], [3]]);
    disk.superblock.oldest_lsn = Lsn(0);
    disk.segments[0].0 = Lsn(0);
    assert_eq!(disk.records().len(), 4);
}

#[test]
fn the_first_batch_ever_chains_to_none() {
    let mut disk = Disk::new(2);
    disk.crc = 9;
    disk.append(Lsn(0), &whole(&[1]));
    let place = Place { segment: Lsn(0), offset: 0 };
    assert_eq!(damage(&disk), Damage::Chain { place });
}

#[test]
fn a_record_that_a_crash_left_without_its_end_is_dropped_for_good() {
    let mut disk = Disk::new(8);
    disk.write(&[vec![1], vec![2; 3 * ALIGN]], 3000, 1);
    let last = disk.batches.last().expect("some").lsn;
    let page = [0; ALIGN];
    disk.put(last, &page);
    let (records, walked) = disk.restart();
    assert_eq!((records, walked.cut, walked.unfinished), (vec![vec![1]], None, Some(Lsn(0))));
    assert!(walked.batches[1..].iter().all(|batch| batch.first == 1));
    assert_eq!(walked.end, last);
    // An idle batch, then the next record.
    disk.append(last, &[]);
    disk.write(&[vec![3]], 3000, 1);
    assert_eq!(disk.records(), [[1], [3]]);
}

#[test]
fn a_torn_write_is_cut_and_what_followed_it_is_wiped() {
    let mut disk = Disk::new(8);
    disk.append(Lsn(0), &whole(&[1]));
    let synced = disk.end;
    let torn = disk.append(synced, &whole(&[2; 5000]));
    disk.append(synced, &whole(&[3]));
    disk.put(torn.lsn.after(ALIGN), &[0; ALIGN]);
    let (records, walked) = disk.restart();
    assert_eq!(records, [[1]]);
    let cut = Cut { from: torn.lsn, to: Lsn(4 * PAGE), batches: 1 };
    assert_eq!(walked.cut, Some(cut));
    // Exactly as long as what was torn: the batch after it must not come alive.
    disk.append(synced, &whole(&[4; 5000]));
    assert_eq!(disk.records(), [vec![1], vec![4; 5000]]);
}

#[test]
fn a_header_without_its_body_is_wiped_before_another_body_completes_it() {
    let mut disk = Disk::new(8);
    disk.append(Lsn(0), &whole(&[1]));
    let synced = disk.end;
    let lost = disk.append(synced, &whole(&[2]));
    let torn = disk.append(synced, &whole(&[3; 3000]));
    disk.put(lost.lsn, &[0; ALIGN]);
    disk.put(torn.lsn.after(512), &[0; ALIGN - 512]);
    let (records, walked) = disk.restart();
    assert_eq!(records, [[1]]);
    let cut = Cut { from: lost.lsn, to: torn.lsn.after(ALIGN), batches: 0 };
    assert_eq!(walked.cut, Some(cut));
    // The same once more, behind another: all but its header comes to the disk.
    disk.append(synced, &whole(&[4]));
    let again = disk.append(synced, &whole(&[3; 3000]));
    disk.put(again.lsn, &again.under[..512]);
    assert_eq!(disk.records(), [[1], [4]]);
}

#[test]
fn a_header_vouches_for_what_was_durable_before_it() {
    let mut disk = Disk::new(8);
    disk.append(Lsn(0), &whole(&[1]));
    let lost = disk.append(disk.end, &whole(&[2]));
    let torn = disk.append(disk.end, &whole(&[3; 3000]));
    disk.put(lost.lsn, &[0; ALIGN]);
    disk.put(torn.lsn.after(512), &[0; ALIGN - 512]);
    let damage = disk.walk(false).expect_err("what was acknowledged is gone");
    assert!(matches!(damage, Damage::Batch { by, .. } if by == torn.lsn), "{damage}");
}

#[test]
fn a_recycled_file_ends_where_its_former_life_shows() {
    let mut disk = plain(2, 3);
    // The second file is the first, recycled: at its second page stands the first's.
    assert_eq!(disk.segments[1].1[ALIGN..], disk.segments[0].1[ALIGN..]);
    let (records, walked) = disk.restart();
    assert_eq!((records.len(), walked.cut), (3, None));
}

#[test]
fn bytes_that_come_piece_by_piece_are_read_as_all_at_once() {
    // Segments of three pieces; batches of which some lie across their edges.
    let mut disk = Disk::new(3 * BATCH_MAX / ALIGN);
    let records: Vec<Vec<u8>> = (0..40).map(|n| vec![n; 1 + usize::from(n) * 9000]).collect();
    disk.write(&records, 300_000, 1);
    let whole = disk.clone();
    for harm in 0..4 {
        let mut disk = whole.clone();
        let at = disk.batches[disk.batches.len() / 4].lsn;
        match harm {
            1 => disk.put(at, &[0; ALIGN]),
            2 => disk.flip(at.after(5000), 3),
            // A write that a crash tore, and what came before it did not.
            3 => disk.segments.last_mut().expect("some").1[2 * BATCH_MAX..].fill(0),
            _ => {}
        }
        for salvage in [false, true] {
            let sizes = disk.segments.iter().map(|(base, bytes)| (*base, bytes.len() as u64));
            let mut walker = Walker::new(&disk.superblock, sizes, salvage).expect("one log");
            let mut visited = Vec::new();
            let mut visit = |span: Span, record: &[u8]| {
                visited.push((span, record.to_vec()));
                Ok(())
            };
            let mut stepped = Ok(());
            while stepped.is_ok()
                && let Some(at) = walker.wants()
            {
                let file = disk.segments.iter().rfind(|(base, _)| *base <= at).expect("a segment");
                let rest = &file.1[((at.0 - file.0.0) as usize).min(file.1.len())..];
                stepped = walker.step(&rest[..rest.len().min(BATCH_MAX)], &mut visit);
            }
            let found = stepped.map(|()| walker.finish());
            assert_eq!(found.map(|walked| (visited, walked)), disk.walk(salvage), "{harm}");
        }
    }
}

// ---- damage ----------------------------------------------------------------------------------

#[test]
fn a_batch_that_a_later_one_vouches_for_is_missed() {
    let mut disk = plain(2, 4);
    disk.put(Lsn(2 * PAGE), &[0; ALIGN]);
    let place = Place { segment: Lsn(2 * PAGE), offset: 0 };
    let damage = damage(&disk);
    assert_eq!(damage, Damage::Batch { place, by: Lsn(3 * PAGE), synced: Lsn(3 * PAGE) });
    assert_eq!(
        damage.to_string(),
        "0000000000002000.seg, offset 0: no valid batch, but the one at 0x3000 was written when \
         all up to 0x3000 was durable"
    );
    let (visited, walked) = disk.walk(true).expect("salvage goes on");
    assert_eq!(visited.len(), 3);
    assert_eq!(walked.lost, [Lost { from: Lsn(2 * PAGE), to: Lsn(3 * PAGE), damage }]);
    assert_eq!((walked.end, walked.cut), (Lsn(4 * PAGE), None));
}

#[test]
fn a_missing_file_is_missed_wherever_it_is() {
    for gone in [1, 2, 3] {
        let mut disk = plain(2, 5);
        disk.segments.push((Lsn(6 * PAGE), vec![0; 2 * ALIGN]));
        disk.segments.push((Lsn(8 * PAGE), vec![0; 2 * ALIGN]));
        let (base, _) = disk.segments.remove(gone);
        assert_eq!(damage(&disk), Damage::Missing { lsn: base }, "{gone}");
        let (visited, walked) = disk.walk(true).expect("salvage goes on");
        assert_eq!(visited.len(), if gone == 1 { 3 } else { 5 - usize::from(gone == 2) });
        assert!(!walked.lost.is_empty());
    }
}

#[test]
fn files_that_cannot_be_a_log_are_refused() {
    let mut disk = plain(2, 4);
    disk.segments[1].0 = Lsn(PAGE);
    assert_eq!(damage(&disk), Damage::Overlap { segment: Lsn(PAGE) });
    for (base, len) in [(2 * PAGE + 1, 2 * ALIGN), (2 * PAGE, ALIGN + 1), (2 * PAGE, 0)] {
        let mut disk = plain(2, 2);
        disk.segments.push((Lsn(base), vec![0; len]));
        assert_eq!(damage(&disk), Damage::File { segment: Lsn(base), len: len as u64 });
    }
    let mut disk = plain(2, 2);
    disk.segments.push((Lsn(u64::MAX - PAGE + 1), vec![0; 2 * ALIGN]));
    assert!(matches!(damage(&disk), Damage::File { .. }));
    disk.superblock.oldest_lsn = Lsn(u64::MAX - PAGE + 1);
    disk.segments.clear();
    assert!(matches!(damage(&disk), Damage::Missing { .. }));
}

#[test]
fn salvage_takes_the_whole_pages_of_a_shortened_file() {
    let mut disk = plain(4, 6);
    disk.segments[0].1.truncate(2 * ALIGN + 100);
    assert!(matches!(damage(&disk), Damage::File { .. }));
    let (visited, walked) = disk.walk(true).expect("salvage goes on");
    assert_eq!(visited.iter().map(|(_, r)| r[0]).collect::<Vec<_>>(), [0, 1, 4, 5]);
    assert!(matches!(walked.lost[0].damage, Damage::File { .. }));
    assert_eq!((walked.lost[1].from, walked.lost[1].to), (Lsn(2 * PAGE), Lsn(4 * PAGE)));
    // Also where nothing stood.
    let mut disk = plain(4, 6);
    disk.segments[1].1.truncate(3 * ALIGN + 100);
    let (visited, walked) = disk.walk(true).expect("salvage goes on");
    assert_eq!((visited.len(), walked.lost.len()), (6, 1));
}

#[test]
fn a_closed_log_ends_where_it_said() {
    let mut closed = plain(4, 6);
    closed.close();
    let (records, walked) = closed.restart();
    assert_eq!((records.len(), walked.cut, walked.end_crc), (6, None, closed.crc));

    let mut torn = closed.clone();
    torn.put(Lsn(5 * PAGE), &[0; ALIGN]);
    let place = Place { segment: Lsn(4 * PAGE), offset: PAGE };
    assert_eq!(damage(&torn), Damage::End { place, said: Lsn(6 * PAGE) });
    let (visited, walked) = torn.walk(true).expect("salvage goes on");
    assert_eq!((visited.len(), walked.lost[0].to), (5, Lsn(6 * PAGE)));

    let mut longer = closed.clone();
    longer.append(Lsn(0), &whole(&[9]));
    let place = Place { segment: Lsn(4 * PAGE), offset: 2 * PAGE };
    assert_eq!(damage(&longer), Damage::Beyond { place, said: Lsn(6 * PAGE) });
    let (visited, walked) = longer.walk(true).expect("salvage goes on");
    assert_eq!((visited.len(), walked.lost.len(), walked.cut), (7, 1, None));

    let mut detached = longer.clone();
    detached.append(Lsn(0), &whole(&[10]));
    detached.put(Lsn(6 * PAGE), &[0; ALIGN]);
    let place = Place { segment: Lsn(4 * PAGE), offset: 3 * PAGE };
    assert_eq!(damage(&detached), Damage::Beyond { place, said: Lsn(6 * PAGE) });
    let (visited, walked) = detached.walk(true).expect("salvage goes on");
    assert_eq!((visited.len(), walked.lost.len()), (7, 1));

    let mut other = closed.clone();
    other.superblock.state = State::Clean { end: other.end, crc: !other.crc };
    assert!(matches!(damage(&other), Damage::End { .. }));

    let mut inside = closed;
    inside.superblock.state = State::Clean { end: Lsn(PAGE + 1), crc: 0 };
    assert!(matches!(damage(&inside), Damage::Beyond { .. }));
    assert_eq!(inside.walk(true).expect("salvage goes on").0.len(), 6);
}

#[test]
fn a_closed_log_without_a_batch_is_empty() {
    let mut disk = Disk::new(2);
    disk.room();
    disk.close();
    assert_eq!(disk.restart().0.len(), 0);
    // After all before was freed, nobody but the superblock knows the last batch.
    let mut disk = plain(2, 2);
    disk.room();
    disk.close();
    disk.superblock.oldest_lsn = disk.end;
    disk.segments[1].1.fill(0);
    let crc = disk.crc;
    let (records, walked) = disk.restart();
    assert_eq!((records.len(), walked.end_crc), (0, crc));
}

#[test]
fn what_a_newer_version_wrote_is_left_alone() {
    let format_2 = |disk: &mut Disk, lsn: Lsn| {
        let head = &mut disk.at(lsn)[..HEADER];
        head[4] = 2;
        let crc = crc32c::crc32c(&head[..60]);
        head[60..].copy_from_slice(&crc.to_le_bytes());
    };
    for at in [3, 5] {
        let mut disk = plain(8, 6);
        format_2(&mut disk, Lsn(at * PAGE));
        if at == 5 {
            disk.put(Lsn(4 * PAGE), &[0; ALIGN]);
        }
        let place = Place { segment: Lsn(0), offset: at * PAGE };
        let damage = damage(&disk);
        assert_eq!(damage, Damage::Newer { place, format: 2 });
        assert!(damage.to_string().contains("newer version"));
        assert_eq!(disk.walk(true), Err(damage));
    }
    // One that belongs elsewhere is no more than a recycled file's former life.
    let mut disk = plain(2, 3);
    format_2(&mut disk, Lsn(3 * PAGE));
    assert_eq!(disk.records().len(), 3);
}

#[test]
fn another_shards_batch_does_not_belong() {
    let mut disk = plain(4, 2);
    let synced = disk.end;
    disk.append_as(0, synced, &whole(&[2]));
    let (records, walked) = disk.restart();
    assert_eq!(records.len(), 2);
    assert_eq!(walked.cut, Some(Cut { from: Lsn(2 * PAGE), to: Lsn(3 * PAGE), batches: 0 }));
}

#[test]
fn a_record_that_makes_no_sense_is_damage() {
    let decode = |_: Span, record: &[u8]| ops(record).try_for_each(|op| op.map(|_| ()));
    let mut good = Vec::new();
    Op::Undefine { id: 1 }.put(&mut good);
    let mut disk = Disk::new(4);
    disk.append(Lsn(0), &[whole(&good), whole(&[1, 0]), whole(&good)].concat());
    let place = Place { segment: Lsn(0), offset: 0 };
    let short = Damage::Record { place, error: RecordError::Short };
    let segments = disk.segments();
    let found = walk(&disk.superblock, &segments, &mut { decode }, false);
    assert_eq!(found, Err(short.clone()));
    let salvaged = walk(&disk.superblock, &segments, &mut { decode }, true).expect("goes on");
    assert_eq!((salvaged.records, salvaged.lost.len()), (3, 1));
    assert_eq!(salvaged.lost[0].damage, short);

    let mut disk = Disk::new(4);
    disk.append(Lsn(0), &whole(&[99, 0, 0, 0, 0, 0, 0, 0]));
    let segments = disk.segments();
    for salvage in [false, true] {
        let newer = walk(&disk.superblock, &segments, &mut { decode }, salvage).expect_err("newer");
        assert!(newer.is_newer() && newer.to_string().contains("newer version"), "{newer}");
    }
}

#[test]
fn fragments_that_do_not_follow_each_other_are_damage() {
    let first = |n| [&fragment_head(Part::First, 1)[..], &[n]].concat();
    let last = |n| [&fragment_head(Part::Last, 1)[..], &[n]].concat();
    for body in [
        [whole(&[1]), last(2), whole(&[3])].concat(),
        [whole(&[1]), first(2), whole(&[9]), last(9), whole(&[3])].concat(),
        [whole(&[1]), whole(&[3]), vec![1, 2]].concat(),
    ] {
        let mut disk = Disk::new(4);
        disk.append(Lsn(0), &body);
        assert!(matches!(damage(&disk), Damage::Record { .. }));
        let (visited, walked) = disk.walk(true).expect("salvage goes on");
        assert_eq!(visited.into_iter().map(|(_, r)| r).collect::<Vec<_>>(), [[1], [3]]);
        assert_eq!(walked.lost.len(), 1);
    }
}

// ---- properties ------------------------------------------------------------------------------

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let len = prop_oneof![4 => 0usize..200, 2 => 200usize..6_000, 1 => 6_000usize..30_000];
    let record = (any::<u8>(), len).prop_map(|(fill, len)| {
        (0..len).map(|n| fill.wrapping_add((n % 251) as u8)).collect::<Vec<u8>>()
    });
    prop::collection::vec(record, 1..25)
}

/// Bytes in a batch's body, pages in a segment, writes under way at once.
fn shape() -> impl Strategy<Value = (usize, usize, usize)> {
    (5usize..12_000, 1usize..9, 1usize..5)
}

/// What happens to the sectors of a write that was under way.
fn fates() -> impl Strategy<Value = Vec<Vec<bool>>> {
    let fate = prop_oneof![
        Just(vec![true]),
        Just(vec![false]),
        prop::collection::vec(any::<bool>(), 1..20),
    ];
    prop::collection::vec(fate, 4)
}

/// Undoes what a crash undid of the last writes under way. How many batches had been acknowledged
/// comes back.
fn crash(disk: &mut Disk, depth: usize, fates: &[Vec<bool>]) -> usize {
    let acknowledged = disk.batches.len().saturating_sub(depth);
    for (batch, fate) in disk.batches.clone()[acknowledged..].iter().zip(fates) {
        for (n, sector) in batch.under.chunks(512).enumerate() {
            if !fate[n % fate.len()] {
                disk.put(batch.lsn.after(n * 512), sector);
            }
        }
    }
    acknowledged
}

proptest! {
    #[test]
    fn a_whole_log_is_read_as_it_was_written(
        records in records(), (cap, pages, depth) in shape(), close in any::<bool>(),
    ) {
        let mut disk = Disk::new(pages);
        let spans = disk.write(&records, cap, depth);
        if close {
            disk.close();
        }
        let (visited, walked) = disk.walk(false).expect("no damage");
        let written: Vec<Visited> = spans.iter().copied().zip(records).collect();
        prop_assert_eq!(&visited, &written);
        prop_assert_eq!((walked.end, walked.end_crc), (disk.end, disk.crc));
        prop_assert_eq!((walked.unfinished, walked.lost.len()), (None, 0));
        // At the end may stand the middle of a recycled file's former life.
        prop_assert!(walked.cut.is_none_or(|cut| (cut.from, cut.batches) == (disk.end, 0) && !close));
        let starts: Vec<Lsn> = walked.batches.iter().map(|batch| batch.lsn).collect();
        let wrote: Vec<Lsn> = disk.batches.iter().map(|batch| batch.lsn).collect();
        prop_assert_eq!(starts, wrote);
        for batch in &walked.batches {
            let before = spans.iter().filter(|span| span.begin < batch.lsn).count() as u64;
            prop_assert_eq!(batch.first, before);
        }
    }

    #[test]
    fn crashes_lose_nothing_that_was_acknowledged(
        lives in prop::collection::vec((records(), fates()), 1..4),
        (cap, pages, depth) in shape(),
    ) {
        let mut disk = Disk::new(pages);
        let mut kept: Vec<Vec<u8>> = Vec::new();
        for (records, fates) in lives {
            let spans = disk.write(&records, cap, depth);
            let acknowledged = crash(&mut disk, depth, &fates);
            let durable = disk.batches.get(acknowledged).map_or(disk.end, |batch| batch.lsn);
            let must = spans.iter().filter(|span| span.end < durable).count();
            let expected = [kept, records].concat();
            let least = expected.len() - spans.len() + must;
            // A start that does not get to the end of its wiping, then one that does.
            if let (_, Walked { cut: Some(cut), .. }) = disk.walk(false).expect("no damage") {
                disk.wipe(cut, |page| fates[1][page % fates[1].len()]);
            }
            let (found, walked) = disk.restart();
            prop_assert!(found.len() >= least, "{} of {least}", found.len());
            prop_assert!(expected.starts_with(&found));
            prop_assert!(walked.end >= durable);
            // Nothing is left to be cut by the next start.
            let (again, second) = disk.walk(false).expect("no damage");
            prop_assert_eq!(again.len(), found.len());
            prop_assert_eq!(second.cut, None);
            kept = found;
        }
    }

    #[test]
    fn a_flipped_bit_is_never_passed_over_in_silence(
        records in records(), (cap, pages, depth) in shape(), which in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(), close in any::<bool>(),
    ) {
        let mut disk = Disk::new(pages);
        let spans = disk.write(&records, cap, depth);
        if close {
            disk.close();
        }
        let batch = disk.batches[which.index(disk.batches.len())].clone();
        let vouched = close || disk.batches.len() > depth
            && batch.end() <= disk.batches[disk.batches.len() - 1 - depth].end();
        disk.flip(batch.lsn, bit.index(batch.used * 8));
        match disk.walk(false) {
            Err(damage) => {
                let place = match damage {
                    Damage::Batch { place, .. } | Damage::End { place, .. } => place.lsn(),
                    Damage::Newer { place, .. } => place.lsn(),
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
                prop_assert_eq!(place, batch.lsn);
            }
            Ok((visited, walked)) => {
                prop_assert!(!vouched);
                prop_assert_eq!(walked.cut.map(|cut| cut.from), Some(batch.lsn));
                let least = spans.iter().filter(|span| span.end < batch.lsn).count();
                prop_assert_eq!(visited.len(), least);
            }
        }
        if vouched {
            let (visited, walked) = disk.walk(true).expect("salvage goes on");
            let untouched = |span: &Span| span.end < batch.lsn || span.begin > batch.lsn;
            let all = spans.iter().copied().zip(records);
            let expected: Vec<_> = all.filter(|(span, _)| untouched(span)).collect();
            prop_assert_eq!(visited, expected);
            prop_assert_eq!(walked.lost.len(), 1);
            prop_assert_eq!(walked.lost[0].from, batch.lsn);
            prop_assert!(walked.lost[0].to == batch.end());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        noise in prop::collection::vec((0usize..40_000, any::<u8>()), 0..20),
        records in records(), (cap, pages, depth) in shape(), oldest in 0u64..10,
    ) {
        let mut disk = Disk::new(pages);
        disk.write(&records, cap, depth);
        for (at, byte) in noise {
            let count = disk.segments.len();
            let file = &mut disk.segments[at % count].1;
            let at = at / count % file.len();
            file[at] = byte;
        }
        disk.superblock.oldest_lsn = Lsn(oldest * PAGE);
        let _ = disk.walk(false);
        let _ = disk.walk(true);
    }
}
