//! Making journals.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fletch_journal::{Lsn, SLOT, State, Superblock};

use super::layout::{Layout, pool, segment, shard_dir, superblock};
use super::{Generation, StoreError, generations, io_error, sync_dir};

/// Bytes that are written at once.
const PIECE: usize = 1 << 20;
/// What messages hold is nobody else's business, and who knows a journal's salt could forge it.
const DIR_MODE: u32 = 0o750;
const FILE_MODE: u32 = 0o640;

/// A generation that is made and not in force.
#[derive(Debug)]
pub struct Made {
    number: u64,
    /// Its directory.
    pub path: PathBuf,
}

impl Made {
    /// Opens its journals.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn open(&self) -> Result<Generation, StoreError> {
        Generation::open(self.path.clone(), false)
    }
}

/// Makes empty journals and puts them in force. See [`make`].
pub fn create(store: &Path, salts: &[u64], segment: u64) -> Result<Generation, StoreError> {
    let made = make(store, salts, segment)?;
    let generation = made.open()?;
    switch_to(store, &made)?;
    Ok(generation)
}

/// Makes a generation of empty journals, durably: one for each of `salts`, which must be random,
/// with a first segment of so many bytes, a multiple of 4096. It is not in force until
/// [`switch_to`].
///
/// # Errors
/// If the disk refuses. What is left over is for [`remove_unfinished`](super::remove_unfinished).
pub fn make(store: &Path, salts: &[u64], segment_len: u64) -> Result<Made, StoreError> {
    let layout = Layout(store);
    make_dir(store)?;
    let number = generations(store)?.last().map_or(1, |last| last + 1);
    let path = layout.generation(number);
    make_dir(&path)?;
    let shards = salts.len() as u16;
    for (n, salt) in salts.iter().enumerate() {
        let dir = shard_dir(&path, n);
        make_dir(&dir)?;
        make_dir(&pool(&dir))?;
        make_file(&segment(&dir, Lsn(0)), segment_len, &[])?;
        let first = Superblock {
            shard: n as u16,
            shards,
            sequence: 1,
            salt: *salt,
            incarnation: 0,
            oldest_lsn: Lsn(0),
            epoch: 0,
            state: State::Running,
        };
        make_file(&superblock(&dir), 2 * SLOT as u64, &first.encode())?;
        sync_dir(&dir)?;
    }
    sync_dir(&path)?;
    sync_dir(store)?;
    Ok(Made { number, path })
}

/// Puts a generation in force, durably. Until this has returned, the one before may be.
///
/// # Errors
/// If the disk refuses.
pub fn switch_to(store: &Path, made: &Made) -> Result<(), StoreError> {
    let current = Layout(store).current();
    let next = current.with_extension("tmp");
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&next)?;
        writeln!(file, "g{}", made.number)?;
        file.sync_all()
    };
    written().map_err(io_error("write", &next))?;
    std::fs::rename(&next, &current).map_err(io_error("write", &current))?;
    sync_dir(store)
}

pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    let made = DirBuilder::new().mode(DIR_MODE).create(path);
    match made {
        // The store's own may be there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.map_err(io_error("make", path)),
    }
}

/// Makes a store's directory, if it is not there.
pub(super) fn make_store(store: &Path) -> Result<(), StoreError> {
    make_dir(store)
}

/// Makes a file that begins with these bytes and is zero up to its length, durably.
pub(super) fn make_file(path: &Path, len: u64, head: &[u8]) -> Result<(), StoreError> {
    let write = || -> io::Result<()> {
        let mut file: File =
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        file.write_all(head)?;
        let zeros = vec![0; PIECE];
        let mut left = len.saturating_sub(head.len() as u64);
        while left > 0 {
            let piece = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            file.write_all(&zeros[..piece])?;
            left -= piece as u64;
        }
        file.sync_all()
    };
    write().map_err(io_error("make", path))
}
