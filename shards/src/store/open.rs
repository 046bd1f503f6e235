//! Opening what is there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fletch_journal::recovery::Cut;
use fletch_journal::{BATCH_MAX, Batch, Found, Lsn, SLOT, State, Superblock};

use super::layout::{Layout, names, segment, segment_base, shard_dirs, superblock};
use super::{StoreError, generations, io_error};

/// Bytes that are wiped at once.
const WIPE: usize = 1 << 20;

/// The journals in force.
#[derive(Debug)]
pub struct Generation {
    /// Its directory.
    pub path: PathBuf,
    /// Its shards, by their numbers.
    pub shards: Vec<ShardFiles>,
}

/// The files of one shard's journal.
#[derive(Debug)]
pub struct ShardFiles {
    /// Its directory.
    pub path: PathBuf,
    /// The newest superblock.
    pub superblock: Superblock,
    /// The slot in which it stands.
    pub slot: u8,
    /// The segments, sorted; those that a crash kept from being recycled included.
    pub segments: Vec<SegmentFile>,
    /// The superblock could not be read and is guessed.
    pub guessed: bool,
}

/// A segment's file.
#[derive(Debug)]
pub struct SegmentFile {
    /// The position it begins at.
    pub base: Lsn,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub len: u64,
}

impl SegmentFile {
    /// The position behind it.
    ///
    /// # Panics
    /// If there is none: recovery refuses such a name.
    pub fn end(&self) -> Lsn {
        Lsn(self.base.0.checked_add(self.len).expect("a log does not outgrow 2^64 bytes"))
    }

    /// Calls `look` with one piece after the other, until it is false.
    pub(super) fn pieces(&self, mut look: impl FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        let mut read = || -> io::Result<()> {
            let (file, mut piece, mut at) = (File::open(&self.path)?, vec![0; BATCH_MAX], 0);
            while at < self.len {
                let len = usize::try_from(self.len - at).map_or(BATCH_MAX, |l| l.min(BATCH_MAX));
                file.read_exact_at(&mut piece[..len], at)?;
                if !look(&piece[..len]) {
                    break;
                }
                at += len as u64;
            }
            Ok(())
        };
        read().map_err(io_error("read", &self.path))
    }
}

/// Opens the journals in force in a store's directory: none if nothing is stored there yet.
///
/// # Errors
/// If anything is missing or damaged, and if something is stored but nothing says that it is in
/// force. What the segments hold is for recovery to judge.
pub fn open(store: &Path, salvage: bool) -> Result<Option<Generation>, StoreError> {
    let layout = Layout(store);
    let path = layout.current();
    let name = match std::fs::read_to_string(&path) {
        Ok(name) => name,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match super::aside::in_use(store)? {
                Some(generation) => Err(StoreError::NoCurrent { path, generation }),
                None => Ok(None),
            };
        }
        Err(source) => return Err(io_error("read", &path)(source)),
    };
    match generation_named(store, &name)? {
        Some(number) => Generation::open(layout.generation(number), salvage).map(Some),
        None => Err(StoreError::Current { path, name }),
    }
}

/// The number of the generation that the contents of `current` name, if it is there.
pub(super) fn generation_named(store: &Path, text: &str) -> Result<Option<u64>, StoreError> {
    let name = text.strip_suffix('\n').unwrap_or(text);
    let number = super::layout::number(name, "g");
    let there = generations(store)?;
    Ok(number.filter(|number| there.contains(number)))
}

impl Generation {
    /// Opens all shards of a generation. With `salvage`, a superblock that cannot be read is guessed from
    /// the segments.
    pub(super) fn open(path: PathBuf, salvage: bool) -> Result<Generation, StoreError> {
        let dirs = shard_dirs(&path)?;
        let mut shards = Vec::with_capacity(dirs.len());
        for (number, dir) in &dirs {
            let opened = match ShardFiles::open(dir) {
                Err(StoreError::Unreadable(_) | StoreError::NoSuperblock(_)) if salvage => {
                    ShardFiles::guess(dir, *number as u16, dirs.len() as u16)?
                }
                opened => opened?,
            };
            shards.push(opened);
        }
        // All have the same; if none says which, one that none can have had: ids grow with it.
        let known = shards.iter().filter(|s| !s.guessed).map(|s| s.superblock.incarnation).max();
        for guessed in shards.iter_mut().filter(|s| s.guessed) {
            guessed.superblock.incarnation = known.unwrap_or(1 << 30);
        }
        let made = shards.first().map_or(1, |shard| usize::from(shard.superblock.shards));
        if shards.len() != made {
            return Err(StoreError::Shards { path, made, found: shards.len() });
        }
        for ((number, dir), files) in dirs.iter().zip(&shards) {
            let Superblock { shard, shards, .. } = files.superblock;
            if (usize::from(shard), usize::from(shards)) != (*number, made) {
                return Err(StoreError::Stranger { path: superblock(dir), shard, shards });
            }
        }
        Ok(Generation { path, shards })
    }
}

impl ShardFiles {
    /// Opens the journal in a shard's directory.
    ///
    /// # Errors
    /// If its superblock cannot be read, or a file cannot be opened.
    pub fn open(shard: &Path) -> Result<ShardFiles, StoreError> {
        let (superblock, slot) = match read_superblock(shard)? {
            Found::Present { superblock, slot } => (superblock, slot),
            Found::Empty => return Err(StoreError::NoSuperblock(superblock(shard))),
            Found::Unreadable => return Err(StoreError::Unreadable(superblock(shard))),
            Found::Newer { format } => {
                return Err(StoreError::Newer { path: superblock(shard), format });
            }
        };
        let segments = segments(shard)?;
        if segments.is_empty() {
            return Err(StoreError::NoSegment(shard.to_path_buf()));
        }
        Ok(ShardFiles { path: shard.to_path_buf(), superblock, slot, segments, guessed: false })
    }

    /// Opens a journal without a superblock that can be read, as far as its first batch tells what that
    /// said. It must not be appended to.
    fn guess(shard: &Path, number: u16, shards: u16) -> Result<ShardFiles, StoreError> {
        let path = superblock(shard);
        let segments = segments(shard)?;
        let oldest_lsn = segments.first().map_or(Lsn(0), |s| s.base);
        let belongs = |s: &SegmentFile, start: &[u8]| {
            let header = Batch::decode(start).ok()?.header;
            (header.lsn == s.base && header.shard == number).then_some(header)
        };
        let mut first = None;
        for segment in &segments {
            segment.pieces(|piece| {
                first = belongs(segment, piece);
                false
            })?;
            if first.is_some() {
                break;
            }
        }
        tracing::error!(target: "store", "{} cannot be read at offset 0 and offset {SLOT}: salvage takes the log \
            to begin at {:#x}", path.display(), oldest_lsn.0);
        let superblock = Superblock {
            shard: number,
            shards,
            sequence: 0,
            salt: first.map_or(0, |header| header.salt),
            incarnation: 0,
            oldest_lsn,
            epoch: first.map_or(0, |header| header.epoch),
            state: State::Running,
        };
        Ok(ShardFiles { path: shard.to_path_buf(), superblock, slot: 0, segments, guessed: true })
    }

    /// The segments' sizes, for a walk.
    pub fn sizes(&self) -> impl Iterator<Item = (Lsn, u64)> + '_ {
        self.segments.iter().map(|s| (s.base, s.len))
    }

    /// Wipes what a walk has cut, durably.
    ///
    /// # Errors
    /// If a file cannot be written. Nothing may be appended then; the next start cuts again.
    pub fn wipe(&self, cut: &Cut) -> Result<(), StoreError> {
        let zeros = vec![0; WIPE];
        let mut at = cut.from;
        for file in &self.segments {
            let end = file.end().min(cut.to);
            if end <= at {
                continue;
            }
            if at < file.base {
                break;
            }
            let wipe = || -> io::Result<()> {
                let opened = OpenOptions::new().write(true).open(&file.path)?;
                let mut at = at;
                while at < end {
                    let len = usize::try_from(end.0 - at.0).map_or(WIPE, |left| left.min(WIPE));
                    opened.write_all_at(&zeros[..len], at.0 - file.base.0)?;
                    at = at.after(len);
                }
                opened.sync_data()
            };
            wipe().map_err(io_error("wipe", &file.path))?;
            at = end;
        }
        if at < cut.to {
            return Err(StoreError::NoPlace { path: self.path.clone(), lsn: at });
        }
        Ok(())
    }
}

/// Reads the superblock in a shard's directory.
pub fn read_superblock(shard: &Path) -> Result<Found, StoreError> {
    let path = superblock(shard);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Superblock::read(Some(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Superblock::read(None)),
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

/// Finds the segments in a shard's directory, sorted. Files that are none are passed over.
pub fn segments(shard: &Path) -> Result<Vec<SegmentFile>, StoreError> {
    let mut bases = Vec::new();
    for name in names(shard)? {
        match segment_base(&name) {
            Some(base) => bases.push(base),
            None if name.ends_with(".seg") => return Err(StoreError::Name(shard.join(name))),
            None => {}
        }
    }
    bases.sort_unstable();
    bases.into_iter().map(|base| found(base, segment(shard, base))).collect()
}

fn found(base: Lsn, path: PathBuf) -> Result<SegmentFile, StoreError> {
    let len = std::fs::metadata(&path).map_err(io_error("open", &path))?.len();
    Ok(SegmentFile { base, path, len })
}
