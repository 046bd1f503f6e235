//! File operations on a real directory, with failures put in.

use super::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use tempfile::TempDir;

const LEN: u64 = 64 * 1024;
const MIB: u64 = 1 << 20;

/// The real file system, but the next calls of one operation fail.
#[derive(Clone, Default)]
struct Faulty {
    operation: &'static str,
    errors: Rc<RefCell<VecDeque<i32>>>,
    calls: Rc<RefCell<Vec<&'static str>>>,
}

impl Faulty {
    fn fail(&mut self, operation: &'static str, errors: &[i32]) {
        self.operation = operation;
        self.errors.replace(errors.to_vec().into());
    }

    fn call<T>(&self, name: &'static str, real: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.calls.borrow_mut().push(name);
        match self.errors.borrow_mut().pop_front_if(|_| self.operation == name) {
            Some(error) => Err(io::Error::from_raw_os_error(error)),
            None => real(),
        }
    }
}

impl FileSystem for Faulty {
    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        self.call("length", || System.length(path))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.call("list", || System.list(dir))
    }
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.call("make_dir", || System.make_dir(path))
    }
    fn make_file(&self, path: &Path, len: u64, ended: &AtomicBool) -> io::Result<()> {
        // What a disk that fills up leaves.
        std::fs::write(path, [1; 4096])?;
        self.call("make_file", || System.make_file(path, len, ended))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename", || System.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call("remove", || System.remove(path))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call("sync_dir", || System.sync_dir(dir))
    }
    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.call("overwrite", || System.overwrite(path, offset, bytes))
    }
}

fn files() -> (TempDir, Files<Faulty>) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path().to_owned(), Faulty::default(), Arc::default());
    (dir, files)
}

fn prepare(segment: u64, len: u64) -> FileOp {
    FileOp::Prepare { segment: Lsn(segment), len }
}

fn retire(segment: u64, len: u64) -> FileOp {
    FileOp::Retire { segment: Lsn(segment), len }
}

fn prepared(segment: u64) -> Done {
    Done::Prepared { segment: Lsn(segment) }
}

fn done(answer: Answer) -> Done {
    answer.expect("an answer").unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_segment_is_made_of_zeros() {
    let (dir, mut files) = files();
    // More than one piece, and not a whole number of them.
    let len = 2 * MIB + 4096;
    assert_eq!(done(files.handle(prepare(0x12_3000, len))), prepared(0x12_3000));
    let bytes = std::fs::read(dir.path().join("0000000000123000.seg")).unwrap();
    assert!(bytes.len() as u64 == len && bytes.iter().all(|&byte| byte == 0));
    assert_eq!(names(&dir.path().join("pool")), [""; 0]);
    let calls = files.system.calls.borrow().clone();
    assert_eq!(calls[calls.len() - 3..], ["rename", "sync_dir", "sync_dir"]);
}

#[test]
fn a_segment_that_is_there_is_left_alone() {
    let (dir, mut files) = files();
    let path = dir.path().join("0000000000000000.seg");
    std::fs::write(&path, vec![7; LEN as usize]).unwrap();
    assert_eq!(done(files.handle(prepare(0, LEN))), prepared(0));
    assert_eq!(std::fs::read(&path).unwrap(), vec![7; LEN as usize]);
}

#[test]
fn files_are_recycled_but_not_too_many() {
    let (dir, mut files) = files();
    for n in 0..4 {
        done(files.handle(prepare(n * LEN, LEN)));
    }
    std::fs::write(dir.path().join("0000000000010000.seg"), vec![9; LEN as usize]).unwrap();
    for n in 1..4 {
        let segment = Lsn(n * LEN);
        assert_eq!(done(files.handle(retire(n * LEN, LEN))), Done::Retired { segment });
    }
    let pool = dir.path().join("pool");
    assert_eq!(names(&pool), ["0000000000010000.free", "0000000000020000.free"]);
    assert_eq!(names(dir.path()), ["0000000000000000.seg", "pool"]);

    // The old contents may stay.
    files.system.calls.borrow_mut().clear();
    done(files.handle(prepare(0x70_0000, LEN)));
    done(files.handle(prepare(0x80_0000, LEN)));
    assert!(!files.system.calls.borrow().contains(&"make_file"));
    let read = |name| std::fs::read(dir.path().join(name)).unwrap();
    let both = [read("0000000000700000.seg"), read("0000000000800000.seg")];
    assert!(both.contains(&vec![9; LEN as usize]) && both.contains(&vec![0; LEN as usize]));
    assert_eq!(names(&pool), [""; 0]);
}

#[test]
fn files_of_another_length_are_not_kept() {
    let (dir, mut files) = files();
    done(files.handle(prepare(0, LEN)));
    done(files.handle(prepare(LEN, LEN)));
    done(files.handle(retire(0, LEN)));
    let pool = dir.path().join("pool");
    assert_eq!(names(&pool), ["0000000000000000.free"]);
    done(files.handle(prepare(2 * LEN, 2 * LEN)));
    assert_eq!(names(&pool), [""; 0]);
    done(files.handle(retire(LEN, LEN)));
    assert_eq!(names(&pool), [""; 0]);
    assert_eq!(names(dir.path()), ["0000000000020000.seg", "pool"]);
}

#[test]
fn each_slot_of_the_superblock_is_written_alone() {
    let (dir, mut files) = files();
    let path = dir.path().join("superblock");
    std::fs::write(&path, [0; 2 * SLOT]).unwrap();
    for (slot, byte) in [(1, 5), (0, 6)] {
        let op = FileOp::Superblock { slot, bytes: Box::new([byte; SLOT]) };
        assert_eq!(done(files.handle(op)), Done::Superblock);
    }
    let bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() == 2 * SLOT && bytes[..SLOT] == [6; SLOT] && bytes[SLOT..] == [5; SLOT]);
}

#[test]
fn a_full_disk_is_said_once_and_tried_again() {
    for error in [libc::ENOSPC, libc::EDQUOT] {
        let (dir, mut files) = files();
        files.system.fail("make_file", &[error; 3]);
        assert_eq!(done(files.handle(prepare(0, LEN))), Done::Full { segment: Lsn(0) });
        assert_eq!(names(&dir.path().join("pool")), [""; 0], "the part that was written is gone");
        // Not tried: it might succeed, and leave a hole before it.
        let tries = files.system.calls.borrow().len();
        assert_eq!(done(files.handle(prepare(LEN, LEN))), Done::Full { segment: Lsn(LEN) });
        assert_eq!(files.system.calls.borrow().len(), tries);
        assert!(files.retry().is_none());
        assert!(files.retry().is_none());
        assert_eq!(done(files.retry()), prepared(0));
        assert_eq!(done(files.retry()), prepared(LEN));
        assert!(files.retry().is_none());
    }
}

#[test]
fn a_full_disk_takes_back_a_file_for_which_the_pool_has_no_room() {
    let (dir, mut files) = files();
    done(files.handle(prepare(0, LEN)));
    files.system.fail("rename", &[libc::ENOSPC]);
    assert_eq!(done(files.handle(retire(0, LEN))), Done::Retired { segment: Lsn(0) });
    assert_eq!(names(dir.path()), ["pool"]);
    assert_eq!(names(&dir.path().join("pool")), [""; 0]);
}

#[test]
fn a_full_disk_may_break_while_it_is_waited_for() {
    let (_dir, mut files) = files();
    files.system.fail("make_file", &[libc::ENOSPC, libc::EIO]);
    done(files.handle(prepare(0, LEN)));
    let error = files.retry().unwrap().unwrap_err();
    assert_eq!((error.operation, error.source.raw_os_error()), ("create", Some(libc::EIO)));
    assert!(files.retry().is_none());
}

#[test]
fn failures_are_named() {
    let cases = [
        ("make_file", "cannot create", "pool/new.tmp"),
        ("make_dir", "cannot create", "pool"),
        ("rename", "cannot rename", "pool/new.tmp"),
        ("list", "cannot list", "pool"),
        ("length", "cannot look at", "0000000000001000.seg"),
        ("sync_dir", "cannot sync", ""),
    ];
    for (operation, text, file) in cases {
        let (dir, mut files) = files();
        files.system.fail(operation, &[libc::EIO]);
        let error = files.handle(prepare(4096, LEN)).unwrap().unwrap_err().to_string();
        let path = match file {
            "" => dir.path().to_owned(),
            file => dir.path().join(file),
        };
        assert_eq!(error, format!("{text} {}: Input/output error (os error 5)", path.display()));
    }
    let (dir, mut files) = files();
    let error = files.handle(retire(0, LEN)).unwrap().unwrap_err();
    assert_eq!(error.path, dir.path().join("0000000000000000.seg"));
    let op = FileOp::Superblock { slot: 1, bytes: Box::new([0; SLOT]) };
    let error = files.handle(op).unwrap().unwrap_err();
    assert_eq!((error.operation, error.offset), ("write", Some(4096)));
}

#[test]
fn a_shard_that_ends_needs_no_more_segments() {
    let (dir, mut files) = files();
    files.ended.store(true, Relaxed);
    assert!(files.handle(prepare(0, LEN)).is_none());
    assert_eq!(names(&dir.path().join("pool")), [""; 0]);
}

/// The whole thread: while one segment waits for room, other operations go on, and what is recycled
/// makes room at once.
#[test]
fn others_go_on_while_one_waits() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("superblock"), [0; 2 * SLOT]).unwrap();
    std::fs::write(dir.path().join("0000000000000000.seg"), vec![1; LEN as usize]).unwrap();
    let (ops, inbox) = crossbeam_channel::unbounded();
    let (answers, answered) = crossbeam_channel::unbounded();
    let path = dir.path().to_owned();
    let thread = std::thread::spawn(move || {
        let mut system = Faulty::default();
        system.fail("make_file", &[libc::ENOSPC; 1000]);
        let files = Files::new(path, system, Arc::default());
        files.run(&inbox, |result| answers.send(result).is_ok());
    });
    let next = || answered.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    ops.send(prepare(LEN, LEN)).unwrap();
    assert_eq!(next(), Done::Full { segment: Lsn(LEN) });
    ops.send(FileOp::Superblock { slot: 0, bytes: Box::new([3; SLOT]) }).unwrap();
    assert_eq!(next(), Done::Superblock);
    ops.send(retire(0, LEN)).unwrap();
    assert_eq!(next(), Done::Retired { segment: Lsn(0) });
    assert_eq!(next(), prepared(LEN));
    drop(ops);
    thread.join().unwrap();
    assert!(answered.recv().is_err());
}
