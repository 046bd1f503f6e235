//! A journal in each format there ever was, made once and never changed: what stood on a disk then
//! means the same today.
//!
//! `golden/vN/` is a shard's directory in format N; `operations.txt` beside it says what is in it.
//! After a change of the format `cargo test -p fletch-journal --test golden -- --ignored` writes the
//! files of the new one.

use fletch_journal::record::{FRAGMENT_HEAD, Part, fragment_head, ops, put_publish};
use fletch_journal::recovery::{Segment, Walked, file_name, walk};
use fletch_journal::{
    ALIGN, FORMAT, Found, HEADER, Header, Lsn, Op, Ref, SLOT, State, Superblock, Xid, encode,
};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const SALT: u64 = 0x0123_4567_89ab_cdef;
/// Lengths of the segments: the second is recycled, the third was made ahead.
const SEGMENTS: [usize; 3] = [4 * ALIGN, 3 * ALIGN, ALIGN];
/// Bytes of a batch.
const BATCH: usize = 6000;

fn golden(format: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{format}"))
}

/// Records with each kind of operation, one of them longer than a batch and one of many queues.
fn records() -> Vec<Vec<u8>> {
    let publish = |refs: &[Ref], delivered, payload: &[u8]| {
        let mut record = Vec::new();
        // Every second place at most, so that both are there.
        let refs: Vec<(Ref, bool)> =
            refs.iter().enumerate().map(|(n, r)| (*r, delivered && n % 2 == 0)).collect();
        put_publish(&mut record, &refs, payload.len());
        record.extend_from_slice(payload);
        record
    };
    let of = |all: &[Op<'_>]| {
        let mut record = Vec::new();
        all.iter().for_each(|op| op.put(&mut record));
        record
    };
    let place = |queue, position| Ref { queue, position };
    let xid = Xid { shard: 2, number: 77 };
    let long: Vec<u8> = (0..15_000u32).map(|n| (n * 7 % 251) as u8).collect();
    let many: Vec<Ref> = (1..=20).map(|queue| place(queue, 1 << (queue + 40))).collect();
    vec![
        of(&[Op::Define { id: 1, payload: b"a queue" }]),
        publish(&[place(1, 1)], false, b"the first message"),
        publish(&many, true, b""),
        publish(&[place(1, 2)], false, &long),
        [of(&[Op::Prepare(xid)]), publish(&[place(1, 3)], false, b"in a transaction")].concat(),
        of(&[Op::Decide { xid, commit: true }, Op::Dequeue { queue: 1, first: 1, last: 2 }]),
        of(&[Op::Decide { xid: Xid { shard: 0, number: u64::MAX }, commit: false }]),
        of(&[Op::Delivered { queue: 1, upto: 3 }, Op::Undefine { id: 1 }]),
    ]
}

/// The files of a journal in the format of today.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut log = Vec::new();
    let mut crc = 0;
    let mut append = |log: &mut Vec<u8>, records, body: &[u8]| {
        let lsn = Lsn(log.len() as u64);
        let synced_lsn = Lsn(lsn.0.saturating_sub(ALIGN as u64));
        let header =
            Header { salt: SALT, lsn, synced_lsn, epoch: 3, shard: 1, records, prev_crc: crc };
        crc = encode(&header, body, log);
        crc
    };
    let ends = SEGMENTS.iter().scan(0, |end, len| {
        *end += len;
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    let (mut body, mut count) = (Vec::new(), 0);
    for record in records() {
        let (mut rest, mut first) = (&record[..], true);
        while first || !rest.is_empty() {
            let left = ends.iter().find(|end| **end > log.len()).expect("room") - log.len();
            let room = (left.min(BATCH) - HEADER - body.len()).saturating_sub(FRAGMENT_HEAD);
            if room > 0 {
                let (content, after) = rest.split_at(rest.len().min(room));
                let part = Part::of(first, after.is_empty());
                body.extend_from_slice(&fragment_head(part, content.len()));
                body.extend_from_slice(content);
                (rest, first, count) = (after, false, count + 1);
            }
            if !rest.is_empty() || room == 0 {
                append(&mut log, count, &body);
                (body, count) = (Vec::new(), 0);
            }
        }
    }
    append(&mut log, count, &body);
    // When it has nothing to do, a log vouches for what it wrote last.
    let crc = append(&mut log, 0, &[]);
    let end = Lsn(log.len() as u64);
    assert_eq!(log.len(), ends[1] - ALIGN, "the last page is of the former life");

    let running = Superblock {
        shard: 1,
        shards: 4,
        sequence: 6,
        salt: SALT,
        incarnation: 5,
        oldest_lsn: Lsn(0),
        epoch: 3,
        state: State::Running,
    };
    let closed = Superblock { sequence: 7, state: State::Clean { end, crc }, ..running };
    let mut files = vec![("superblock".to_owned(), [running.encode(), closed.encode()].concat())];
    let mut base = 0;
    for len in SEGMENTS {
        let mut bytes =
            log.get(base..).map_or_else(Vec::new, |rest| rest[..rest.len().min(len)].to_vec());
        let former = bytes.len()..len;
        bytes.resize(len, 0);
        if base == SEGMENTS[0] {
            bytes[former.clone()].copy_from_slice(&log[former]);
        }
        files.push((file_name(Lsn(base as u64)), bytes));
        base += len;
    }
    let described = describe(&read(&files));
    files.push(("operations.txt".to_owned(), described.into_bytes()));
    files
}

/// What a reader of today makes of a shard's directory.
struct Read {
    superblock: Superblock,
    walked: Walked,
    operations: Vec<String>,
}

fn read(files: &[(String, Vec<u8>)]) -> Read {
    let superblock =
        files.iter().find(|(name, _)| name == "superblock").map(|(_, bytes)| &bytes[..]);
    assert_eq!(superblock.map(<[u8]>::len), Some(2 * SLOT));
    let Found::Present { superblock, .. } = Superblock::read(superblock) else {
        panic!("no superblock: {:?}", Superblock::read(superblock));
    };
    let mut segments: Vec<Segment<'_>> = files
        .iter()
        .filter_map(|(name, bytes)| {
            let base = u64::from_str_radix(name.strip_suffix(".seg")?, 16).expect("a position");
            Some(Segment { base: Lsn(base), bytes })
        })
        .collect();
    segments.sort_by_key(|segment| segment.base);
    let mut operations = Vec::new();
    let walked = walk(
        &superblock,
        &segments,
        &mut |span, record| {
            for op in ops(record) {
                operations.push(format!(
                    "{:#x} to {:#x}: {}",
                    span.begin.0,
                    span.end.0,
                    text(&op?)
                ));
            }
            Ok(())
        },
        false,
    );
    Read { superblock, walked: walked.expect("no damage"), operations }
}

/// In words, and not as today's types print themselves.
fn text(op: &Op<'_>) -> String {
    let sum = |payload: &[u8]| {
        format!("{} bytes with crc {:#010x}", payload.len(), crc32c::crc32c(payload))
    };
    match op {
        Op::Publish { refs, payload } => {
            let place = |(r, delivered): (Ref, bool)| {
                format!("{}:{}{}", r.queue, r.position, if delivered { " delivered" } else { "" })
            };
            let refs: Vec<String> = refs.iter().map(place).collect();
            format!("publish to {}, {}", refs.join(", "), sum(payload))
        }
        Op::Dequeue { queue, first, last } => format!("dequeue from {queue}, {first} to {last}"),
        Op::Define { id, payload } => format!("define {id}, {}", sum(payload)),
        Op::Undefine { id } => format!("undefine {id}"),
        Op::Prepare(xid) => format!("prepare {} of shard {}", xid.number, xid.shard),
        Op::Decide { xid, commit } => {
            format!("decide {} of shard {}, commit {commit}", xid.number, xid.shard)
        }
        Op::Delivered { queue, upto } => format!("delivered from {queue}, up to {upto}"),
        Op::Remember { queue, payload } => format!("remember of {queue}, {}", sum(payload)),
    }
}

fn describe(read: &Read) -> String {
    let Read { superblock: s, walked, operations } = read;
    let mut text = String::new();
    let closed = match s.state {
        State::Running => "running".to_owned(),
        State::Clean { end, crc } => format!("closed at {:#x} after {crc:#010x}", end.0),
    };
    writeln!(
        text,
        "shard {} of {}, salt {:#x}, start {}, change {}, from {:#x}, epoch {}, {closed}",
        s.shard, s.shards, s.salt, s.incarnation, s.sequence, s.oldest_lsn.0, s.epoch
    )
    .expect("a string");
    let batches: Vec<String> = walked.batches.iter().map(|b| format!("{:#x}", b.lsn.0)).collect();
    writeln!(
        text,
        "batches at {}; end {:#x} after {:#010x}",
        batches.join(" "),
        walked.end.0,
        walked.end_crc
    )
    .expect("a string");
    text + &operations.join("\n") + "\n"
}

#[test]
fn every_format_is_read_as_it_always_was() {
    for format in 1..=FORMAT {
        let dir = golden(format);
        let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let files: Vec<(String, Vec<u8>)> = entries
            .map(|entry| {
                let path = entry.expect("a file").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                (name, std::fs::read(&path).expect("a readable file"))
            })
            .collect();
        let expected = files.iter().find(|(name, _)| name == "operations.txt");
        let expected = String::from_utf8_lossy(&expected.expect("what is in it").1);
        assert_eq!(describe(&read(&files)), expected, "format {format}");
    }
}

#[test]
fn what_is_written_today_is_in_the_format_it_says() {
    for (name, bytes) in files() {
        let path = golden(FORMAT).join(name);
        let golden = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // Too long to be printed.
        assert!(bytes == golden, "{}: another format, under the same number", path.display());
    }
}

#[test]
fn the_example_is_what_the_file_begins_with() {
    let page = include_str!("../FORMAT.md");
    let (_, example) = page.split_once("## An example").expect("an example");
    let lines = example.lines().skip_while(|line| !line.starts_with("```")).skip(1);
    let octet = |word: &str| u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2);
    let octets: Vec<u8> = lines
        .take_while(|line| !line.starts_with("```"))
        .flat_map(|line| line.split(' ').map_while(octet))
        .collect();
    assert!(octets.len() > HEADER);
    let file = std::fs::read(golden(1).join(file_name(Lsn(0)))).expect("the first segment");
    assert_eq!(octets, file[..octets.len()]);
}

#[test]
#[ignore = "writes the files of a new format"]
fn write() {
    let (dir, files) = (golden(FORMAT), files());
    assert!(!dir.exists(), "{} is there: a format that was released never changes", dir.display());
    std::fs::create_dir(&dir).expect("the directory of golden files");
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).expect("a file");
    }
}
