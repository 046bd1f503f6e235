//! Which shards a directory means.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use fletch_shards::store::{Layout, generations, shard_dirs};

use crate::data_dir::LockFile;

/// Directories from a shard's up to the data directory.
const LEVELS: usize = 4;

/// What a directory means.
#[derive(Debug)]
pub(super) struct Found {
    /// The shards' directories.
    pub(super) shards: Vec<PathBuf>,
    /// The process that has locked the data directory.
    pub(super) holder: Option<i32>,
}

/// Finds the shards of a data directory, a store, a generation or a shard.
pub(super) fn find(dir: &Path) -> Result<Found> {
    let shards = shards(dir)?;
    if shards.is_empty() {
        bail!("{}: no journal here", dir.display());
    }
    Ok(Found { shards, holder: holder(dir) })
}

fn shards(dir: &Path) -> Result<Vec<PathBuf>> {
    if dir.join("superblock").exists() {
        return Ok(vec![dir.to_path_buf()]);
    }
    let shards: Vec<PathBuf> = shard_dirs(dir)?.into_iter().map(|(_, path)| path).collect();
    if !shards.is_empty() {
        return Ok(shards);
    }
    let layout = Layout(dir);
    let all = generations(dir)?;
    if !all.is_empty() {
        let current = std::fs::read_to_string(layout.current()).unwrap_or_default();
        let in_force = all.iter().find(|number| current == format!("g{number}\n"));
        // Nothing says which one counts: look at each.
        let looked_at = in_force.map_or(&all[..], std::slice::from_ref);
        let mut shards = Vec::new();
        for number in looked_at {
            let dirs = shard_dirs(&layout.generation(*number))?;
            shards.extend(dirs.into_iter().map(|(_, path)| path));
        }
        return Ok(shards);
    }
    let below = dir.join("journal");
    if below.is_dir() { self::shards(&below) } else { Ok(Vec::new()) }
}

/// The process that uses the data directory around a directory.
fn holder(dir: &Path) -> Option<i32> {
    let dir = dir.canonicalize().ok()?;
    // Not every lock can be opened by everybody.
    let locks = dir.ancestors().take(LEVELS).map(|dir| dir.join("lock"));
    locks.filter_map(|lock| LockFile::holder(&lock).ok()).find_map(|holder| holder)
}
