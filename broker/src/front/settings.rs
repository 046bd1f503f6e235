//! What all connections of a broker share.

use crate::config::Protocols;
use crate::v1_0;
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::{Limits, ServerConfig};
use fletch_amqp::v1_0::state::ServerConfig as ServerConfig1;
use fletch_engine::topology::Object;
use fletch_engine::{self as engine, DtxConfig, QueueDefaults};
use fletch_web::Origins;
use std::sync::Arc;
use std::time::Duration;

/// SASL mechanisms that are offered, in order of preference.
const MECHANISMS: [&str; 2] = ["ANONYMOUS", "PLAIN"];

/// See the module.
#[derive(Debug)]
pub(crate) struct Settings {
    /// How often queues nobody reads are swept for expired messages.
    pub(crate) purge_interval: Duration,
    /// Messages that this looks at in one go.
    pub(crate) purge_batch: usize,
    /// Messages are stamped with their time of arrival.
    pub(crate) timestamps: bool,
    /// How long a journal's write may wait for company.
    pub(crate) flush_timeout: Duration,
    /// Bytes of memory that messages may take, all shards together.
    pub(crate) queue_memory: u64,
    /// The group of messages without one (`--default-message-group`).
    pub(crate) default_group: Arc<str>,
    /// Bytes that the messages of a connection's transactions may take before they are committed.
    pub(crate) transaction_max: u64,
    /// Limits and thresholds of queues that set none.
    pub(crate) queues: QueueDefaults,
    /// Limits of branches of distributed transactions.
    pub(crate) dtx: DtxConfig,
    /// A random number that no peer knows.
    pub(crate) secret: u64,
    pub(crate) amqp: Arc<ServerConfig>,
    pub(crate) v1_0: Arc<ServerConfig1>,
    pub(crate) anonymous: Arc<str>,
    pub(crate) realm: Arc<str>,
    pub(crate) protocols: Protocols,
    /// The domain of addresses here.
    pub(crate) domain: Option<Arc<str>>,
    /// Policies that make queues and topics on demand, of the options `--queue-patterns` and
    /// `--topic-patterns`.
    pub(crate) policies: Arc<[Arc<Object>]>,
    /// Pages that may connect by WebSocket.
    pub(crate) origins: Origins,
    /// What clients are told when they open.
    pub(crate) known_hosts: Option<Arc<str>>,
}

impl Settings {
    /// Of the options `--realm`, `--max-negotiate-time`, `--queue-purge-interval`, `--max-purge-batch`,
    /// `--enable-timestamp`, `--journal-flush-timeout`, `--queue-memory`, `--max-transaction-size`,
    /// `--federation-tag` and `--known-hosts-url`.
    pub(crate) fn new(
        realm: &str,
        max_negotiate_time: Duration,
        (purge_interval, purge_batch): (Duration, usize),
        timestamps: bool,
        (flush_timeout, queue_memory, transaction_max): (Duration, u64, u64),
        federation_tag: &str,
        known_hosts: Option<String>,
    ) -> Settings {
        let properties = Map::new()
            .with("product", "fletch")
            .with("version", env!("CARGO_PKG_VERSION"))
            .with("platform", "Linux")
            .with("qpid.federation_tag", federation_tag);
        let amqp = ServerConfig {
            mechanisms: MECHANISMS.map(String::from).to_vec(),
            properties,
            limits: Limits { negotiation: max_negotiate_time, ..Limits::default() },
            ..ServerConfig::default()
        };
        Settings {
            purge_interval,
            purge_batch,
            timestamps,
            flush_timeout,
            queue_memory,
            default_group: engine::Config::DEFAULT_GROUP.into(),
            transaction_max,
            queues: QueueDefaults::UNLIMITED,
            dtx: DtxConfig::UNLIMITED,
            secret: 0,
            amqp: Arc::new(amqp),
            v1_0: Arc::new(v1_0::server_config(&MECHANISMS, max_negotiate_time, federation_tag)),
            anonymous: Arc::from(format!("anonymous@{realm}")),
            realm: Arc::from(realm),
            protocols: Protocols { v0_10: true, v1_0: true },
            domain: None,
            policies: Arc::default(),
            origins: Origins::default(),
            known_hosts: known_hosts.map(Arc::from),
        }
    }
}
