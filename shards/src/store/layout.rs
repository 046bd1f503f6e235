//! Names and places in a store.

use std::ffi::OsStr;
use std::fs::read_dir;
use std::io;
use std::path::{Path, PathBuf};

use fletch_journal::Lsn;
use fletch_journal::recovery::file_name;

use super::{StoreError, io_error};

/// A store's directory, and the places in it.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a>(pub &'a Path);

impl Layout<'_> {
    /// The file that names the generation in force.
    pub fn current(&self) -> PathBuf {
        self.0.join("current")
    }

    /// A generation's directory.
    pub fn generation(&self, number: u64) -> PathBuf {
        self.0.join(format!("g{number}"))
    }

    /// A directory for what is put aside.
    pub fn aside(&self, number: u64) -> PathBuf {
        self.0.join(format!("aside-{number}"))
    }
}

/// A shard's directory in its generation's.
pub(super) fn shard_dir(generation: &Path, shard: usize) -> PathBuf {
    generation.join(shard.to_string())
}

/// The superblock in a shard's directory.
pub(super) fn superblock(shard: &Path) -> PathBuf {
    shard.join("superblock")
}

/// A segment in a shard's directory.
pub(super) fn segment(shard: &Path, base: Lsn) -> PathBuf {
    shard.join(file_name(base))
}

/// The directory of files to be used again.
pub(super) fn pool(shard: &Path) -> PathBuf {
    shard.join("pool")
}

/// The position that a segment's name says.
pub(super) fn segment_base(name: &str) -> Option<Lsn> {
    let base = Lsn(u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok()?);
    (file_name(base) == name).then_some(base)
}

/// The number in names such as `g12`.
pub(super) fn number(name: &str, prefix: &str) -> Option<u64> {
    let number = name.strip_prefix(prefix)?.parse().ok()?;
    (format!("{prefix}{number}") == name).then_some(number)
}

/// The names in a directory, none if it is not there.
pub(super) fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error("read", dir)(error)),
    };
    let name = |entry: io::Result<std::fs::DirEntry>| Ok(entry?.file_name());
    let names: io::Result<Vec<_>> = entries.map(name).collect();
    let names = names.map_err(io_error("read", dir))?;
    // A name that is no text is none of ours.
    Ok(names.iter().filter_map(|name| OsStr::to_str(name)).map(str::to_owned).collect())
}

/// The numbers of the generations of a store, ascending.
pub fn generations(store: &Path) -> Result<Vec<u64>, StoreError> {
    let names = names(store)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number(name, "g")).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The shards' directories of a generation, by their numbers.
pub fn shard_dirs(generation: &Path) -> Result<Vec<(usize, PathBuf)>, StoreError> {
    let names = names(generation)?;
    let mut shards: Vec<usize> = names
        .iter()
        .filter_map(|name| number(name, ""))
        .filter_map(|number| usize::try_from(number).ok())
        .collect();
    shards.sort_unstable();
    Ok(shards.into_iter().map(|shard| (shard, shard_dir(generation, shard))).collect())
}
