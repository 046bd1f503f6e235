//! Journals on disk, before a shard drives them and without one: finding them, opening them, making
//! new ones, putting old ones aside. For a start, and for tools that only look.
//!
//! ```text
//! STORE/current             the name of the generation in force
//! STORE/g1/                 a generation, made for a fixed number of shards
//! STORE/g1/0/superblock     a shard's superblock, in two slots
//! STORE/g1/0/*.seg          its segments, each named by the position it begins at
//! STORE/g1/0/pool/          files that can become segments
//! STORE/aside-1/            what was put aside, in the same form
//! ```
//!
//! Whoever makes or changes anything here holds the lock of the data directory.

mod aside;
mod create;
mod layout;
mod load;
mod open;
mod recover;
mod rehome;
mod start;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use fletch_journal::Lsn;

pub use aside::{remove, remove_unfinished, set_aside, set_superseded_aside};
pub use create::{Made, create, make, switch_to};
pub use layout::{Layout, generations, shard_dirs};
pub use load::Loader;
pub use open::{Generation, SegmentFile, ShardFiles, open, read_superblock, segments};
pub use recover::{Progress, ShardDamage};
pub use start::{RecoverError, Start, Started, random_numbers, start};

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file `current` does not name a generation that is there.
    #[error("{} names no generation here: {name:?}", path.display())]
    Current {
        /// The file.
        path: PathBuf,
        /// What it holds.
        name: String,
    },
    /// There is no file `current`, although something is stored.
    #[error("{} is missing, although {} was in use", path.display(), generation.display())]
    NoCurrent {
        /// The file.
        path: PathBuf,
        /// What is stored.
        generation: PathBuf,
    },
    /// A shard has no superblock.
    #[error("{} is missing or empty", .0.display())]
    NoSuperblock(PathBuf),
    /// A superblock is damaged.
    #[error("{} is damaged: neither of its slots can be read, offset 0 and offset {}", .0.display(), fletch_journal::SLOT)]
    Unreadable(PathBuf),
    /// A later version wrote it.
    #[error(
        "{} was written by a newer version, in format {format}; this one reads up to {}",
        path.display(), fletch_journal::FORMAT
    )]
    Newer {
        /// The superblock.
        path: PathBuf,
        /// The version of its format.
        format: u16,
    },
    /// There are fewer or more shards than the journals were made for.
    #[error("{} was made for {made} shards and has {found}", path.display())]
    Shards {
        /// The generation.
        path: PathBuf,
        /// How many it should have.
        made: usize,
        /// How many it has.
        found: usize,
    },
    /// A superblock belongs elsewhere.
    #[error("{} is that of shard {shard} of {shards}", path.display())]
    Stranger {
        /// The superblock.
        path: PathBuf,
        /// Whose it says it is.
        shard: u16,
        /// Of how many.
        shards: u16,
    },
    /// A shard has no segment, though it was made with one and never without.
    #[error("{} holds no segment", .0.display())]
    NoSegment(PathBuf),
    /// A file has a segment's ending and not a segment's name.
    #[error("{} is no segment's name", .0.display())]
    Name(PathBuf),
    /// What is to be wiped is in none of the files.
    #[error("{} holds no segment for {:#x}", path.display(), lsn.0)]
    NoPlace {
        /// The shard's directory.
        path: PathBuf,
        /// The position.
        lsn: Lsn,
    },
}

/// Says what was done to which path when it failed.
fn io_error<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_path_buf(), source }
}

/// Makes the names in a directory durable.
fn sync_dir(path: &Path) -> Result<(), StoreError> {
    let sync = || std::fs::File::open(path)?.sync_all();
    sync().map_err(io_error("sync", path))
}
