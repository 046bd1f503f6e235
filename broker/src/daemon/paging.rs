//! The paging files: made empty for the shards, gone when the broker has ended.

use std::path::PathBuf;

use fletch_shards::{StartError, clear_paging, prepare_paging};

use super::store::StoreError;
use crate::config::Config;
use crate::data_dir::DataDir;

/// The directory of the paging files, ours until dropped.
pub(super) struct Paging {
    root: PathBuf,
    /// Elsewhere than in the data directory it has a lock of its own.
    _lock: Option<DataDir>,
    /// Of each shard.
    pub(super) dirs: Vec<PathBuf>,
}

/// Makes it ready, empty, if there is to be one.
pub(super) fn open(config: &Config) -> Result<Option<Paging>, StoreError> {
    let Some(root) = config.paging_dir.clone() else {
        tracing::info!("No paging directory - transient messages stay in memory");
        return Ok(None);
    };
    let inside = config.data_dir.as_deref().is_some_and(|dir| root.starts_with(dir));
    let lock = (!inside).then(|| DataDir::open(&root)).transpose()?;
    let shards = u16::try_from(config.shards).map_err(|_| StartError::Shards(config.shards))?;
    let dirs = prepare_paging(&root, shards)?;
    Ok(Some(Paging { root, _lock: lock, dirs }))
}

impl Drop for Paging {
    fn drop(&mut self) {
        // What stays the next start removes.
        if let Err(error) = clear_paging(&self.root) {
            tracing::warn!("{error}");
        }
    }
}
