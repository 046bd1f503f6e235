//! The durable store: locked, read with progress on the log, ready for the shards.

use std::time::Duration;

use fletch_engine::{BranchId, Restored};
use fletch_journal::LogConfig;
use fletch_shards::StartError;
use fletch_shards::store::{Progress, RecoverError, Start, Started, start};

use crate::config::{Config, StoreConfig};
use crate::data_dir::{DataDir, DataDirError};
use crate::notice;

/// Batches of a log that may be on their way to the disk at once.
const DEPTH: usize = 2;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Lock(#[from] DataDirError),
    #[error(transparent)]
    Shards(#[from] StartError),
    #[error("cannot use the store: {0}")]
    Recover(#[from] RecoverError),
}

/// A store's directory elsewhere than in the data directory has a lock of its own.
pub(super) type Lock = Option<DataDir>;

/// Opens the store.
pub(super) fn open(store: &StoreConfig, config: &Config) -> Result<(Lock, Started), StoreError> {
    let inside = config.data_dir.as_deref().is_some_and(|dir| store.dir.starts_with(dir));
    let lock = (!inside).then(|| DataDir::open(&store.dir)).transpose()?;
    let shards = u16::try_from(config.shards).map_err(|_| StartError::Shards(config.shards))?;
    let how = Start {
        dir: store.dir.clone(),
        shards,
        config: log_config(config),
        salvage: store.salvage,
        truncate: store.truncate,
        memory: config.queue_memory,
    };
    let started = start(&how, &tell)?;
    warn_of_branches(&started);
    Ok((lock, started))
}

/// Branches that their transaction managers have still to decide about hold on to messages.
fn warn_of_branches(started: &Started) {
    let in_doubt: Vec<String> =
        started.shards.iter().flat_map(Restored::in_doubt).map(BranchId::to_string).collect();
    if let Some(first) = in_doubt.first() {
        tracing::warn!(target: "store", "{} prepared branches of distributed transactions wait for \
            their outcome, the first is {first}", in_doubt.len());
    }
}

/// How the logs of the shards are set up.
pub(super) fn log_config(config: &Config) -> LogConfig {
    LogConfig { segment: config.segment, depth: DEPTH }
}

fn tell(progress: Progress) {
    const MIB: f64 = (1 << 20) as f64;
    let Progress { bytes, total, records, elapsed } = progress;
    if records == 0 && elapsed < Duration::from_secs(1) {
        return;
    }
    let percent = (bytes * 100).checked_div(total).unwrap_or(100);
    let seconds = elapsed.as_secs_f64().max(0.001);
    let (read, rate) = (bytes as f64 / MIB, bytes as f64 / MIB / seconds);
    let per_second = records as f64 / seconds;
    notice!(target: "store", "Recovery: {read:.1} MiB read ({percent} % of the files), {records} \
        records, in {seconds:.2} s ({rate:.0} MiB/s, {per_second:.0} records/s)");
}
