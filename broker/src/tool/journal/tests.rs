//! The tool on journals in temporary directories.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fletch_journal::record::{Part, fragment_head, put_publish};
use fletch_journal::{ALIGN, Header, Lsn, Op, Ref, State, Superblock, Xid, encode};
use fletch_shards::store::{Generation, create};
use tempfile::TempDir;

use super::find::find;
use super::*;

/// A data directory with two shards, of which the first holds a record of each kind, in batches of a page.
fn data_dir() -> (TempDir, Generation) {
    let dir = tempfile::tempdir().unwrap();
    let generation = create(&dir.path().join("journal"), &[5, 6], 8 * ALIGN as u64).unwrap();
    let xid = Xid { shard: 1, number: 9 };
    let mut records = vec![Vec::new()];
    let refs = [(Ref { queue: 1, position: 2 }, false), (Ref { queue: 3, position: 4 }, true)];
    put_publish(&mut records[0], &refs, 3);
    records[0].extend_from_slice(b"abc");
    for op in [
        Op::Dequeue { queue: 1, first: 2, last: 7 },
        Op::Define { id: 8, payload: b"queue" },
        Op::Undefine { id: 8 },
        Op::Prepare(xid),
        Op::Decide { xid, commit: true },
        Op::Decide { xid, commit: false },
        Op::Delivered { queue: 1, upto: 6 },
        Op::Remember { queue: 1, payload: b"ids" },
    ] {
        let mut record = Vec::new();
        op.put(&mut record);
        records.push(record);
    }
    // The last three share a batch, and the whole segment is full.
    let last = records.split_off(6).into_iter().map(|record| fragment(&record)).collect::<Vec<_>>();
    let mut bodies: Vec<Vec<u8>> = records.iter().map(|record| fragment(record)).collect();
    bodies.extend([last.concat(), Vec::new()]);
    let mut out = Vec::new();
    let mut prev_crc = 0;
    for (n, body) in bodies.iter().enumerate() {
        let lsn = Lsn((n * ALIGN) as u64);
        let header =
            Header { salt: 5, lsn, synced_lsn: lsn, epoch: 0, shard: 0, records: 1, prev_crc };
        prev_crc = encode(&header, body, &mut out);
    }
    write(&generation, 0, &out);
    std::fs::write(generation.shards[0].path.join("0000000000008000.seg"), [0; 2 * ALIGN]).unwrap();
    (dir, generation)
}

fn fragment(record: &[u8]) -> Vec<u8> {
    [&fragment_head(Part::Whole, record.len())[..], record].concat()
}

/// Overwrites a part of the first shard's first segment.
fn write(generation: &Generation, offset: u64, bytes: &[u8]) {
    let path = &generation.shards[0].segments[0].path;
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// What a tool prints, and its error.
fn run(
    tool: impl Fn(&Found, bool, &mut Vec<u8>) -> Result<()>,
    dir: &Path,
    json: bool,
) -> (String, Option<String>) {
    let mut out = Vec::new();
    let result = tool(&find(dir).unwrap(), json, &mut out);
    (String::from_utf8(out).unwrap(), result.err().map(|error| error.to_string()))
}

fn lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn any_directory_of_a_store_will_do() {
    let (dir, generation) = data_dir();
    let both: Vec<PathBuf> = generation.shards.iter().map(|shard| shard.path.clone()).collect();
    for path in ["", "journal", "journal/g1"] {
        assert_eq!(find(&dir.path().join(path)).unwrap().shards, both, "{path:?}");
    }
    assert_eq!(find(&both[1]).unwrap().shards, both[1..]);
    // Nothing says which generation is in force: all are looked at.
    std::fs::write(dir.path().join("journal/current"), "g9\n").unwrap();
    assert_eq!(find(dir.path()).unwrap().shards, both);
    let error = find(&dir.path().join("other")).unwrap_err().to_string();
    assert!(error.ends_with("other: no journal here"), "{error}");
}

#[test]
fn whoever_uses_it_is_named() {
    let (dir, generation) = data_dir();
    assert_eq!(find(dir.path()).unwrap().holder, None);
    let held = crate::data_dir::DataDir::open(dir.path()).unwrap();
    let pid = i32::try_from(std::process::id()).ok();
    for path in [dir.path(), &generation.path, &generation.shards[0].path] {
        assert_eq!(find(path).unwrap().holder, pid);
    }
    drop(held);
    assert_eq!(find(dir.path()).unwrap().holder, None);
}

#[test]
fn operations_are_printed_one_a_line() {
    let (dir, generation) = data_dir();
    let shard = &generation.shards[0].path;
    let (text, error) = run(cat::run, shard, false);
    let expected = "\
0000000000000000 publish queue=1 position=2 queue=3 position=4 delivered payload=3
0000000000001000 dequeue queue=1 first=2 last=7
0000000000002000 define id=8 payload=5
0000000000003000 undefine id=8
0000000000004000 prepare transaction=1.9
0000000000005000 commit transaction=1.9
0000000000006000 abort transaction=1.9
0000000000006000 delivered queue=1 upto=6
0000000000006000 remember queue=1 payload=3
";
    assert_eq!((text.as_str(), error), (expected, None));
    let (text, _) = run(cat::run, dir.path(), true);
    let objects = lines(&text);
    assert_eq!(objects.len(), 9);
    let publish = serde_json::json!({
        "kind": "publish", "payload": 3, "lsn": 0, "shard": shard,
        "places": [
            { "queue": 1, "position": 2, "delivered": false },
            { "queue": 3, "position": 4, "delivered": true },
        ],
    });
    assert_eq!(objects[0], publish);
    let kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    let all = [
        "publish",
        "dequeue",
        "define",
        "undefine",
        "prepare",
        "commit",
        "abort",
        "delivered",
        "remember",
    ];
    assert_eq!(kinds, all);
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_dir, generation) = data_dir();
    let found = find(&generation.shards[0].path).unwrap();
    let error = cat::run(&found, false, &mut Closed).unwrap_err();
    assert!(crate::tool::is_broken_pipe(&error), "{error}");
}

#[test]
fn segments_are_listed() {
    let (dir, _) = data_dir();
    let (text, error) = run(ls::run, dir.path(), false);
    assert_eq!(error, None, "{text}");
    let row = |name: &str| {
        let line = text.lines().find(|line| line.contains(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let full = ["0000000000000000.seg", "32,768", "32,768", "8", "9", "0x0", "0x7000", "full"];
    assert_eq!(row("0000000000000000.seg"), full);
    assert_eq!(
        row("0000000000008000.seg"),
        ["0000000000008000.seg", "8,192", "0", "0", "0", "ahead"]
    );
    assert!(
        text.contains("shard 0 of 2, 0 start(s), in use, or ended by a crash; from 0x0 to 0x8000")
    );
    assert!(text.contains("shard 1 of 2"));

    let (text, _) = run(ls::run, dir.path(), true);
    let shards = lines(&text);
    assert_eq!(shards.len(), 2);
    assert_eq!(shards[0]["segments"][0]["state"], "full");
    assert_eq!(shards[0]["segments"][0]["records"], 9);
    assert_eq!(shards[0]["segments"][1]["state"], "ahead");
    assert_eq!(shards[1]["segments"][0]["state"], "open");
    assert!(!text.contains("salt"), "whoever knows it can forge a batch");
}

#[test]
fn sound_journals_are_said_to_be() {
    let (dir, generation) = data_dir();
    let (text, error) = run(verify::run, dir.path(), false);
    assert_eq!(error, None, "{text}");
    let first = "0: sound, in use, or ended by a crash; 8 batches, 9 records, from 0x0 to 0x8000";
    assert!(text.lines().next().unwrap().ends_with(first), "{text}");
    // What a crash leaves is no damage.
    let shard = &generation.shards[0];
    std::fs::write(shard.path.join("0000000000008000.seg"), [7; 2 * ALIGN]).unwrap();
    let (text, error) = run(verify::run, dir.path(), false);
    assert_eq!(error, None);
    assert!(text.contains("; a start will wipe 8,192 bytes behind that\n"), "{text}");
    let closed = Superblock {
        sequence: 2,
        state: State::Clean { end: Lsn(0), crc: 0 },
        ..generation.shards[1].superblock
    };
    let mut file = std::fs::read(generation.shards[1].path.join("superblock")).unwrap();
    file[4096..].copy_from_slice(&closed.encode());
    std::fs::write(generation.shards[1].path.join("superblock"), file).unwrap();
    let (text, _) = run(verify::run, dir.path(), true);
    let shards = lines(&text);
    assert_eq!((&shards[0]["closed"], &shards[0]["records"]), (&false.into(), &9.into()));
    assert_eq!(shards[0]["cut"], serde_json::json!({ "from": 0x8000, "to": 0xa000 }));
    assert_eq!((&shards[1]["closed"], &shards[1]["cut"]), (&true.into(), &serde_json::Value::Null));
}

#[test]
fn damage_is_named_and_ends_nothing() {
    let (dir, generation) = data_dir();
    let shard = generation.shards[0].path.display();
    write(&generation, 2 * 4096 + 70, &[0xff]);
    let (text, error) = run(verify::run, dir.path(), false);
    let damage = format!(
        "{shard}/0000000000000000.seg, offset 8192: no valid batch, but the one at 0x7000 was \
         written when all up to 0x7000 was durable"
    );
    assert_eq!(error.as_deref(), Some("1 of 2 shards are damaged"));
    assert!(
        text.contains(&damage) && text.contains("DAMAGED") && text.contains("1: sound"),
        "{text}"
    );
    let (text, error) = run(ls::run, dir.path(), false);
    assert!(error.is_some() && text.contains(&damage) && text.contains("damaged"), "{text}");
    let (text, error) = run(cat::run, &generation.shards[0].path, false);
    assert!(error.is_some());
    assert_eq!(text.lines().count(), 8);

    let superblock = generation.shards[0].path.join("superblock");
    std::fs::write(&superblock, [1; 8192]).unwrap();
    for json in [false, true] {
        for tool in [ls::run, verify::run, cat::run] {
            let (text, error) = run(tool, dir.path(), json);
            assert_eq!(error.as_deref(), Some("1 of 2 shards are damaged"), "{text}");
        }
    }
    let (text, _) = run(verify::run, dir.path(), false);
    assert!(text.contains(&format!("{} is damaged", superblock.display())), "{text}");
    assert!(text.contains("1: sound"), "{text}");
}

#[test]
fn files_that_overlap_are_damage_too() {
    let (dir, generation) = data_dir();
    let path = generation.shards[0].path.join("0000000000007000.seg");
    std::fs::write(path, [0; ALIGN]).unwrap();
    let (text, error) = run(verify::run, dir.path(), false);
    assert!(error.is_some() && text.contains("0000000000007000.seg begins before"), "{text}");
}

#[test]
fn what_a_newer_version_wrote_is_said_to_be() {
    let (_dir, generation) = data_dir();
    let mut out = Vec::new();
    let (lsn, prev_crc) = (Lsn(0), 0);
    let header = Header { salt: 5, lsn, synced_lsn: lsn, epoch: 0, shard: 0, records: 1, prev_crc };
    encode(&header, &fragment(&[77, 0, 0, 0, 0, 0, 0, 0]), &mut out);
    write(&generation, 0, &out);
    let (text, error) = run(verify::run, &generation.shards[0].path, false);
    assert!(error.is_some() && text.contains("written by a newer version"), "{text}");
}
