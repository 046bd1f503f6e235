//! From options to running shards: what each shard is made of, and stopping them all in time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use fletch_engine::topology::{Object, ObjectKind};
use fletch_engine::{Config as EngineConfig, PagingConfig, Restored, ShardId};
use fletch_shards::store::{Started, random_numbers};
use fletch_shards::{JournalConfig, Listener, Runtime, StartError};
use regex::Regex;

use super::paging::Paging;
use super::store::log_config;
use crate::config::Config;
use crate::front::Settings;
use crate::shard::Shard;

/// What the shards may take to end after their deadline before they are given up.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The serving broker.
pub(super) struct Serving {
    runtime: Runtime<Shard>,
}

/// Starts the shards and lets connections in. `store` is what they go on with, if they have one.
pub(super) fn serve(
    config: &Config,
    listeners: Vec<Listener>,
    store: Option<Started>,
    paging: Option<&Paging>,
) -> Result<Serving, StartError> {
    let settings = Settings::new(
        &config.realm,
        config.max_negotiate_time,
        (config.queue_purge_interval, config.max_purge_batch.unwrap_or(EngineConfig::SLICE)),
        config.enable_timestamp,
        (
            config.store.as_ref().map_or(Duration::ZERO, |store| store.flush_timeout),
            config.queue_memory,
            config.max_transaction_size,
        ),
        &config.federation_tag.clone().unwrap_or_else(random_tag),
        config.known_hosts_url.clone(),
    );
    let default_group = config.default_message_group.as_str().into();
    let settings = Arc::new(Settings {
        default_group,
        queues: config.queues,
        dtx: config.dtx,
        secret: random_secret()?,
        protocols: config.protocols,
        domain: config.domain.as_deref().map(Arc::from),
        policies: policies(config),
        origins: config.http_origins.clone(),
        ..settings
    });
    let shards = u16::try_from(config.shards).map_err(|_| StartError::Shards(config.shards))?;
    let (dirs, restored) = store.map(|store| (store.dirs, store.shards)).unzip();
    // Each shard takes its part on its own thread.
    let parts: Vec<Mutex<Option<Restored>>> =
        restored.into_iter().flatten().map(|part| Mutex::new(Some(part))).collect();
    let paging = paging.map(|paging| paging.dirs.clone());
    let pages = page_configs(config, paging.as_deref().unwrap_or_default())?;
    let make = move |shard: ShardId| {
        let part = parts.get(shard.index()).and_then(|part| part.lock().ok()?.take());
        let pages = pages.get(shard.index()).cloned();
        Shard::new(shard, shards, Arc::clone(&settings), part, pages)
    };
    let runtime = runtime_config(config, dirs, paging);
    Ok(Serving { runtime: Runtime::start(runtime, listeners, make)? })
}

/// Of the options `--queue-patterns` and `--topic-patterns`.
fn policies(config: &Config) -> Arc<[Arc<Object>]> {
    let policy = |kind| move |pattern: &Regex| Arc::new(Object::policy(kind, pattern.clone()));
    let queues = config.queue_patterns.iter().map(policy(ObjectKind::QueuePolicy));
    let topics = config.topic_patterns.iter().map(policy(ObjectKind::TopicPolicy));
    queues.chain(topics).collect()
}

fn random_secret() -> Result<u64, StartError> {
    let numbers = random_numbers(1);
    let system = |source| StartError::System { what: "random numbers", source };
    numbers.map(|all| all.first().copied().unwrap_or_default()).map_err(system)
}

fn page_configs(config: &Config, dirs: &[PathBuf]) -> Result<Vec<PagingConfig>, StartError> {
    let system = |source| StartError::System { what: "random numbers", source };
    let salts = random_numbers(dirs.len()).map_err(system)?;
    let of = |(dir, salt): (&PathBuf, u64)| PagingConfig {
        log: log_config(config),
        salt,
        path: dir.display().to_string().into(),
    };
    Ok(dirs.iter().zip(salts).map(of).collect())
}

fn runtime_config(
    config: &Config,
    dirs: Option<Vec<PathBuf>>,
    paging: Option<Vec<PathBuf>>,
) -> fletch_shards::Config {
    let durability = config.store.as_ref().map(|store| store.durability).unwrap_or_default();
    let usual = fletch_shards::Config::with_shards(config.shards);
    fletch_shards::Config {
        cpus: config.cpus.clone().unwrap_or(usual.cpus),
        idle: config.idle,
        placement: config.placement,
        max_connections: config
            .max_connections
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        nodelay: config.tcp_nodelay,
        busy_poll: config.tcp_busy_poll,
        quick_ack: config.tcp_quick_ack,
        read_size: config.read_size,
        journal: dirs.map(|dirs| JournalConfig { dirs, durability }),
        paging,
        stall_limit: config.watchdog_interval.unwrap_or(Duration::MAX),
        ..usual
    }
}

/// A name for this run of the broker that no other has, by which federation knows its own messages.
fn random_tag() -> String {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    match uuid.trim() {
        "" => format!("fletch-{}", std::process::id()),
        uuid => uuid.to_owned(),
    }
}

impl Serving {
    /// Stops gracefully within that time. Returns whether the shards ended; the process may end
    /// either way.
    pub(super) fn stop(self, within: Duration) -> bool {
        let (sender, ended) = bounded(1);
        let stop = move || {
            self.runtime.stop(within);
            let _ = sender.send(());
        };
        // A thread, because a stuck shard would keep whoever waits for it.
        thread::Builder::new().name("stop".to_owned()).spawn(stop).is_ok()
            && ended.recv_timeout(within.saturating_add(STOP_GRACE)).is_ok()
    }
}
