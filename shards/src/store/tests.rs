//! Stores in temporary directories.

use super::*;
use fletch_journal::recovery::{Cut, Walker};
use fletch_journal::{ALIGN, BATCH_MAX, Found, Header, SLOT, Superblock, encode};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use tempfile::TempDir;

const LEN: u64 = 16 * ALIGN as u64;

fn store() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn made(store: &Path) -> Generation {
    create(store, &[11, 22], LEN).unwrap()
}

fn error<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    result.unwrap_err().to_string()
}

/// Writes batches of one page at the start of shard 0's log.
fn write(generation: &Generation, batches: u64) {
    let shard = &generation.shards[0];
    let file = fs::OpenOptions::new().write(true).open(&shard.segments[0].path).unwrap();
    let mut out = Vec::new();
    let mut prev_crc = 0;
    for n in 0..batches {
        let lsn = Lsn(n * ALIGN as u64);
        let header = Header {
            salt: shard.superblock.salt,
            lsn,
            synced_lsn: Lsn(0),
            epoch: 0,
            shard: shard.superblock.shard,
            records: 1,
            prev_crc,
        };
        prev_crc = encode(&header, &[1, 0, 0, 0, 7], &mut out);
    }
    file.write_all_at(&out, 0).unwrap();
}

fn records(shard: &ShardFiles) -> u64 {
    let mut walker = Walker::new(&shard.superblock, shard.sizes(), false).unwrap();
    let mut loader = Loader::new(shard).unwrap();
    while let Some(at) = walker.wants() {
        walker.step(loader.look(at).unwrap(), &mut |_, _| Ok(())).unwrap();
    }
    walker.finish().records
}

#[test]
fn an_empty_directory_holds_nothing() {
    let dir = store();
    assert!(open(dir.path(), false).unwrap().is_none());
    assert!(open(&dir.path().join("missing"), false).unwrap().is_none());
    assert!(set_aside(dir.path()).unwrap().is_none());
    assert!(remove_unfinished(dir.path()).unwrap().is_empty());
}

#[test]
fn what_was_made_is_opened() {
    let dir = store();
    let store = dir.path().join("journal");
    made(&store);
    assert_eq!(fs::read_to_string(store.join("current")).unwrap(), "g1\n");
    let generation = open(&store, false).unwrap().unwrap();
    assert_eq!(generation.path, store.join("g1"));
    assert_eq!(generation.shards.len(), 2);
    for (n, shard) in generation.shards.iter().enumerate() {
        let superblock = shard.superblock;
        assert_eq!((superblock.shard, superblock.shards), (n as u16, 2));
        assert_eq!((superblock.salt, superblock.incarnation), ([11, 22][n], 0));
        assert_eq!((shard.slot, shard.segments.len()), (0, 1));
        assert_eq!(shard.segments[0].len, LEN);
        assert!(shard.path.join("pool").is_dir());
        assert_eq!(records(shard), 0);
        // Every block is there, so that writing needs no more room.
        assert!(fs::metadata(&shard.segments[0].path).unwrap().blocks() * 512 >= LEN);
    }
    let mode = fs::metadata(&store).unwrap().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
}

#[test]
fn segments_are_sorted_and_other_files_passed_over() {
    let dir = store();
    let generation = made(dir.path());
    let shard = &generation.shards[1].path;
    for name in ["0000000000100000.seg", "0000000000010000.seg", "new.tmp", "7.free"] {
        fs::write(shard.join(name), [0; ALIGN]).unwrap();
    }
    let bases: Vec<u64> = segments(shard).unwrap().iter().map(|s| s.base.0).collect();
    assert_eq!(bases, [0, 0x1_0000, 0x10_0000]);
    for name in
        ["0000000000001000 (copy).seg", "1000.seg", "00000000000ABC00.seg", "+000000000001000.seg"]
    {
        let path = shard.join(name);
        fs::write(&path, []).unwrap();
        assert_eq!(error(segments(shard)), format!("{} is no segment's name", path.display()));
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn segments_are_read_from_anywhere() {
    let dir = store();
    let shard = made(dir.path()).shards[0].path.clone();
    let byte = |n: usize| (n / 7 * 31 % 251) as u8;
    let len = 11 * (1 << 20) + ALIGN;
    let first: Vec<u8> = (0..len).map(byte).collect();
    let second: Vec<u8> = (len..len + 2 * ALIGN + 5).map(byte).collect();
    fs::write(shard.join("0000000000000000.seg"), &first).unwrap();
    fs::write(shard.join(format!("{len:016x}.seg")), &second).unwrap();
    let files = ShardFiles::open(&shard).unwrap();
    let mut loader = Loader::new(&files).unwrap();
    let all = [first, second].concat();
    let pages = len / ALIGN + 2;
    // In order, in large and small steps, and back.
    let in_order = (0..pages).step_by(100).chain(0..60).chain((0..=pages).rev().step_by(333));
    for at in in_order.map(|page| page * ALIGN) {
        let segment_end = if at < len { len } else { pages * ALIGN };
        let found = loader.look(Lsn(at as u64)).unwrap();
        assert_eq!(found, &all[at..at + found.len()], "{at}");
        assert!(
            found.len() >= (segment_end - at).min(BATCH_MAX) && at + found.len() <= segment_end
        );
    }
    assert!(loader.look(Lsn(len as u64 * 2)).unwrap().is_empty());
}

#[test]
fn a_cut_is_wiped_over_several_files() {
    let dir = store();
    let generation = made(dir.path());
    write(&generation, 16);
    let shard = generation.shards[0].path.clone();
    fs::write(shard.join("0000000000010000.seg"), vec![7; LEN as usize]).unwrap();
    fs::write(shard.join("0000000000020000.seg"), vec![7; LEN as usize]).unwrap();
    let files = ShardFiles::open(&shard).unwrap();
    files.wipe(&Cut { from: Lsn(ALIGN as u64), to: Lsn(LEN + 4096), batches: 0 }).unwrap();
    let all: Vec<u8> = files.segments.iter().flat_map(|s| fs::read(&s.path).unwrap()).collect();
    let wiped = ALIGN..LEN as usize + ALIGN;
    assert!(all[wiped.clone()].iter().all(|b| *b == 0));
    assert!(all[wiped.end..].iter().all(|b| *b == 7) && all[0] != 0);
    assert_eq!(records(&files), 1);

    let beyond = Cut { from: Lsn(2 * LEN), to: Lsn(4 * LEN), batches: 0 };
    let holds_no = format!("{} holds no segment for 0x30000", shard.display());
    assert_eq!(error(files.wipe(&beyond)), holds_no);
}

#[test]
fn superblocks_that_cannot_be_used_are_told_apart() {
    let dir = store();
    let generation = made(dir.path());
    let shard = generation.shards[1].path.clone();
    let path = shard.join("superblock");
    let good = fs::read(&path).unwrap();
    let shown = path.display();

    fs::remove_file(&path).unwrap();
    assert_eq!(error(open(dir.path(), false)), format!("{shown} is missing or empty"));
    assert_eq!(read_superblock(&shard).unwrap(), Found::Empty);

    let mut damaged = good.clone();
    damaged[100] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let text =
        format!("{shown} is damaged: neither of its slots can be read, offset 0 and offset 4096");
    assert_eq!(error(open(dir.path(), false)), text);

    let mut newer = good.clone();
    newer[4] = 2;
    let crc = crc_of(&newer[..SLOT - 4]);
    newer[SLOT - 4..SLOT].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &newer).unwrap();
    let text =
        format!("{shown} was written by a newer version, in format 2; this one reads up to 1");
    assert_eq!(error(open(dir.path(), false)), text);

    fs::copy(generation.shards[0].path.join("superblock"), &path).unwrap();
    assert_eq!(error(open(dir.path(), false)), format!("{shown} is that of shard 0 of 2"));

    fs::write(&path, &good).unwrap();
    fs::remove_file(&generation.shards[1].segments[0].path).unwrap();
    assert_eq!(error(open(dir.path(), false)), format!("{} holds no segment", shard.display()));

    fs::remove_dir_all(&shard).unwrap();
    let text = format!("{} was made for 2 shards and has 1", generation.path.display());
    assert_eq!(error(open(dir.path(), false)), text);
}

/// The checksum of the format, bit by bit: this crate has no use for a quick one.
fn crc_of(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

#[test]
fn a_store_that_does_not_say_what_is_in_force_is_refused() {
    let dir = store();
    let generation = made(dir.path());
    write(&generation, 1);
    let current = dir.path().join("current");
    for name in ["", "g2\n", "g1 ", "../g1", "g01\n"] {
        fs::write(&current, name).unwrap();
        let text = format!("{} names no generation here: {name:?}", current.display());
        assert_eq!(error(open(dir.path(), false)), text);
        assert_eq!(error(remove_unfinished(dir.path())), text);
    }
    fs::remove_file(&current).unwrap();
    let generation = generation.path.display();
    let text = format!("{} is missing, although {generation} was in use", current.display());
    assert_eq!(error(open(dir.path(), false)), text);
    assert_eq!(error(remove_unfinished(dir.path())), text);
    assert!(dir.path().join("g1").is_dir());
}

#[test]
fn what_was_never_in_force_is_removed() {
    let dir = store();
    // The first one, half made.
    let half = make(dir.path(), &[1], LEN).unwrap();
    fs::remove_file(half.path.join("0/superblock")).unwrap();
    assert!(open(dir.path(), false).unwrap().is_none());
    assert_eq!(remove_unfinished(dir.path()).unwrap(), [dir.path().join("g1")]);

    let first = made(dir.path());
    write(&first, 1);
    let second = make(dir.path(), &[1, 2, 3], LEN).unwrap();
    write(&second.open().unwrap(), 2);
    assert_eq!(open(dir.path(), false).unwrap().unwrap().path, first.path);
    assert_eq!(remove_unfinished(dir.path()).unwrap(), [second.path]);
    assert_eq!(records(&open(dir.path(), false).unwrap().unwrap().shards[0]), 1);

    let second = make(dir.path(), &[1, 2, 3], LEN).unwrap();
    switch_to(dir.path(), &second).unwrap();
    assert!(remove_unfinished(dir.path()).unwrap().is_empty());
    assert_eq!(open(dir.path(), false).unwrap().unwrap().shards.len(), 3);
    assert!(first.path.is_dir(), "what was in force once is kept");
}

#[test]
fn a_store_is_put_aside_whole() {
    let dir = store();
    for number in 1..4 {
        write(&made(dir.path()), number);
        let aside = set_aside(dir.path()).unwrap().unwrap();
        assert_eq!(aside, dir.path().join(format!("aside-{number}")));
        assert!(open(dir.path(), false).unwrap().is_none());
        // It is a store still.
        assert_eq!(records(&open(&aside, false).unwrap().unwrap().shards[0]), number);
    }
    assert!(set_aside(dir.path()).unwrap().is_none());
    // What a crash in between leaves is not taken for an empty store, and can be put aside.
    made(dir.path());
    fs::create_dir(dir.path().join("aside-4")).unwrap();
    fs::rename(dir.path().join("g1"), dir.path().join("aside-4/g1")).unwrap();
    assert!(error(open(dir.path(), false)).contains("names no generation here"));
    set_aside(dir.path()).unwrap().unwrap();
    assert!(open(dir.path(), false).unwrap().is_none());
}

#[test]
fn errors_of_the_system_name_the_path() {
    let dir = store();
    let file = dir.path().join("file");
    fs::write(&file, []).unwrap();
    let text = error(create(&file, &[1], LEN));
    assert!(text.starts_with(&format!("cannot make {}: ", file.display())), "{text}");
    let text = error(open(&file, false));
    assert!(text.starts_with(&format!("cannot read {}/current: ", file.display())), "{text}");
}

#[test]
fn the_other_slot_counts_when_it_is_newer() {
    let dir = store();
    let generation = made(dir.path());
    let shard = &generation.shards[0];
    let next = Superblock { sequence: 2, incarnation: 1, ..shard.superblock };
    let file = fs::OpenOptions::new().write(true).open(shard.path.join("superblock")).unwrap();
    file.write_all_at(&next.encode(), SLOT as u64).unwrap();
    let opened = ShardFiles::open(&shard.path).unwrap();
    assert_eq!((opened.superblock, opened.slot), (next, 1));
}
