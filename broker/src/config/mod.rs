//! The daemon's options: [`parse`] reads command line, environment and file, in that precedence,
//! into one [`Config`] with typed fields.
//!
//! Runs once on the main thread before anything starts; nothing here is read again later. A name
//! that is accepted without effect leaves a [`Note`] that the daemon logs: none is ignored in
//! silence.

mod profile;
mod sources;
mod table;
mod value;

use regex::Regex;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fletch_engine::{DtxConfig, QueueDefaults};
use fletch_journal::{ALIGN, LogConfig as JournalConfig};
use fletch_shards::{ConnectionPlacement, CpuList, Durability, IdleStrategy, usual_shards};
use fletch_web::{OriginError, Origins};
use sources::Values;
use table::{Kind, Status};
use value::Unit;

pub use sources::{ConfigError, Source};

use crate::logging::{Facility, Level, LogConfig, Rule, SyslogConfig};

/// The files read when `--config` names none: the first that exists.
pub const DEFAULT_FILES: &[&str] = &["/etc/fletch/fletchd.conf", "/etc/qpid/qpidd.conf"];

/// The protocols that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// AMQP 0-10.
    pub v0_10: bool,
    /// AMQP 1.0.
    pub v1_0: bool,
}

/// The daemon's typed options.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of persistent data; none with `--no-data-dir`.
    pub data_dir: Option<PathBuf>,
    /// How durable things are stored; none without a directory.
    pub store: Option<StoreConfig>,
    /// Bytes of memory that messages in queues may take before bodies that can be read back leave it.
    pub queue_memory: u64,
    /// Bytes that the messages of a connection's transactions may take before they are committed.
    pub max_transaction_size: u64,
    /// Limits of branches of distributed transactions.
    pub dtx: DtxConfig,
    /// Where bodies go that are not in a journal; none without a directory, and then they stay.
    pub paging_dir: Option<PathBuf>,
    /// Size of the segments of journals and paging files, in bytes.
    pub segment: u64,
    /// What may be spoken.
    pub protocols: Protocols,
    /// What is behind the `@` of addresses of nodes here.
    pub domain: Option<String>,
    /// Names that make a queue on demand.
    pub queue_patterns: Vec<Regex>,
    /// Names that make a topic on demand.
    pub topic_patterns: Vec<Regex>,
    /// TCP port; 0 takes a free one.
    pub port: u16,
    /// Interfaces, addresses and networks to listen on; empty is all.
    pub interfaces: Vec<String>,
    /// Whether to listen on TCP (`--listen-disable tcp` says no).
    pub listen_tcp: bool,
    /// Hosts and ports to serve HTTP on; an empty host is every address.
    pub http: Vec<(String, u16)>,
    /// Pages that may connect by WebSocket.
    pub http_origins: Origins,
    /// Inherited listening sockets to adopt.
    pub socket_fds: Vec<i32>,
    /// Length of the kernel's accept queue.
    pub connection_backlog: u16,
    /// TCP_NODELAY on connections.
    pub tcp_nodelay: bool,
    /// How long a read of a socket polls its device.
    pub tcp_busy_poll: Duration,
    /// Acknowledge at once what is received.
    pub tcp_quick_ack: bool,
    /// Bytes read from one connection before others have their turn.
    pub read_size: usize,
    /// Connections allowed at once; none is no limit.
    pub max_connections: Option<u32>,
    /// A connection that is not open by then is closed.
    pub max_negotiate_time: Duration,
    /// Realm of user names.
    pub realm: String,
    /// Addresses told to clients; none is an empty list.
    pub known_hosts_url: Option<String>,
    /// This broker's name in federation, when set.
    pub federation_tag: Option<String>,
    /// Time between two searches for expired messages; zero is never.
    pub queue_purge_interval: Duration,
    /// `--default-message-group`: the group of messages without one.
    pub default_message_group: String,
    /// Messages that such a search looks at before other work has its turn; none is the broker's choice.
    pub max_purge_batch: Option<usize>,
    /// Whether messages are stamped with their time of arrival.
    pub enable_timestamp: bool,
    /// Limits and thresholds of queues that set none.
    pub queues: QueueDefaults,
    /// CPUs to pin shards on, one each, in that order; none leaves the choice to the runtime.
    pub cpus: Option<CpuList>,
    /// Number of shards.
    pub shards: usize,
    /// What a shard does with nothing to do.
    pub idle: IdleStrategy,
    /// Which shard takes a new connection.
    pub placement: ConnectionPlacement,
    /// A shard without progress for this long is reported; none is never.
    pub watchdog_interval: Option<Duration>,
    /// Longest time a graceful stop may take.
    pub stop_timeout: Duration,
    /// What is logged, how and where to.
    pub log: LogConfig,
    /// Running in the background and talking to one that does.
    pub daemon: DaemonConfig,
    /// What the user should hear about the options, once logging works.
    pub notes: Vec<Note>,
}

/// Options of the journals.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Their directory.
    pub dir: PathBuf,
    /// Set what is stored aside.
    pub truncate: bool,
    /// Start with what can be read of a damaged journal.
    pub salvage: bool,
    /// When a write counts as durable.
    pub durability: Durability,
    /// How long a write may wait for company.
    pub flush_timeout: Duration,
}

/// Options of the background daemon.
#[derive(Debug, Clone)]
pub struct DaemonConfig {
    /// Run in the background.
    pub daemon: bool,
    /// Directory of the PID files.
    pub pid_dir: PathBuf,
    /// One more file to write the process ID to.
    pub pid_file: Option<PathBuf>,
    /// Longest wait for a daemon to start or stop.
    pub wait: Duration,
}

/// Something to log about the options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How loud.
    pub level: Level,
    /// What to say.
    pub text: String,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Print this text and leave.
    Print(String),
    /// Print the process ID of the running broker.
    Check(Box<Config>),
    /// Stop the running broker.
    Quit(Box<Config>),
    /// Kill the running broker.
    Kill(Box<Config>),
    /// Run a broker.
    Run(Box<Config>),
}

/// What the process was started with and where it stands; tests make their own.
#[derive(Debug)]
pub struct Invocation {
    /// The command line, the program's name first.
    pub args: Vec<String>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// The files to try when none is named.
    pub default_files: Vec<PathBuf>,
    /// Whether the user is root, who has another default data directory.
    pub root: bool,
}

impl Invocation {
    /// That of this process. Arguments and variables that are not UTF-8 are kept as far as they
    /// can be read, so that the error about them can name them.
    pub fn of_process() -> Self {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            args: std::env::args_os().map(text).collect(),
            variables: std::env::vars_os().map(|(k, v)| (text(k), text(v))).collect(),
            default_files: DEFAULT_FILES.iter().map(PathBuf::from).collect(),
            root: rustix::process::geteuid().is_root(),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

/// Reads all sources.
pub fn parse(invocation: &Invocation) -> Result<Request, ConfigError> {
    let command_line = match sources::command_line(&invocation.args) {
        Ok(values) => values,
        // Help is given even when the rest of the line is wrong.
        Err(_) if invocation.args.iter().any(|arg| arg == "--help" || arg == "-h") => {
            return Ok(Request::Print(sources::help()));
        }
        Err(error) => return Err(error),
    };
    if flag(&command_line, "help") {
        return Ok(Request::Print(sources::help()));
    }
    if flag(&command_line, "version") {
        return Ok(Request::Print(format!(
            "fletchd (Fletch) version {}\n",
            env!("CARGO_PKG_VERSION")
        )));
    }
    let (environment, unknown) = sources::environment(invocation.variables.iter().cloned())?;
    let mut notes = Vec::new();
    if !unknown.is_empty() {
        notes.push(Note {
            level: Level::Warning,
            text: format!("Environment names no option and is ignored: {}", unknown.join(", ")),
        });
    }
    let explicit = command_line.or(environment);
    let file = read_file(&explicit, &invocation.default_files)?;
    let values = explicit.or(file);
    let profile = text(&values, "profile").map(profile::values).transpose()?;
    let values = values.or(profile.unwrap_or_default());
    notes.extend(status_notes(&values));
    let config = Box::new(build(&values, invocation, notes)?);
    Ok(match ["kill", "quit", "check"].map(|name| flag(&values, name)) {
        [true, ..] => Request::Kill(config),
        [_, true, _] => Request::Quit(config),
        [_, _, true] => Request::Check(config),
        _ => Request::Run(config),
    })
}

/// The file's values: of the file that was named, else of the first default one that exists.
fn read_file(explicit: &Values, default_files: &[PathBuf]) -> Result<Values, ConfigError> {
    let named = explicit.get("config").and_then(|(texts, _)| texts.last()).map(PathBuf::from);
    let candidates = named.as_ref().map_or(default_files, std::slice::from_ref);
    for path in candidates {
        match std::fs::read_to_string(path) {
            Ok(text) => return sources::file(path, &text),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConfigError::File(path.clone(), error)),
        }
    }
    Ok(Values::default())
}

/// What to say about options that were given and do nothing.
fn status_notes(values: &Values) -> Vec<Note> {
    let given = table::all().filter(|option| values.get(option.name).is_some());
    given
        .filter_map(|option| match option.status {
            Status::Active => None,
            Status::Later(what) => Some(Note {
                level: Level::Warning,
                text: format!(
                    "--{} is accepted but {what} not available yet in this version: it has no \
                     effect",
                    option.name
                ),
            }),
            Status::NotNeeded(why) => Some(Note {
                level: Level::Debug,
                text: format!("--{} is accepted and not needed: {why}", option.name),
            }),
        })
        .collect()
}

/// The last text given for an option, else its default in the table, else nothing. Asking for a
/// name that is not in the table is a mistake in this file, which building any `Config` shows.
fn text<'a>(values: &'a Values, name: &str) -> Option<&'a str> {
    let option = table::find(name).unwrap_or_else(|| panic!("no option {name} in the table"));
    let given = values.get(name).and_then(|(texts, _)| texts.last()).map(String::as_str);
    given.or(Some(option.default)).filter(|text| given.is_some() || !text.is_empty())
}

fn flag(values: &Values, name: &str) -> bool {
    text(values, name).is_some_and(|text| value::boolean(text).unwrap_or(false))
}

fn list<'a>(values: &'a Values, name: &str) -> &'a [String] {
    values.get(name).map_or(&[], |(texts, _)| texts)
}

/// An option whose text needs more than its kind's check.
fn parsed<T>(
    values: &Values,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let Some(text) = text(values, name) else { return Ok(None) };
    parse(text).map(Some).map_err(|reason| invalid(values, name, text, reason))
}

/// For types that read themselves.
fn from_str<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn invalid(values: &Values, name: &'static str, text: &str, reason: String) -> ConfigError {
    let origin = values.get(name).map_or(Source::CommandLine, |(_, origin)| origin.clone());
    ConfigError::Invalid { origin, name, text: text.to_owned(), reason }
}

/// An integer whose range the table has checked; `T` is as wide as the table's limit.
fn integer<T: TryFrom<u64>>(values: &Values, name: &'static str) -> Result<Option<T>, ConfigError> {
    parsed(values, name, |text| {
        T::try_from(value::integer(text, u64::MAX)?).map_err(|_| "it is too large".to_owned())
    })
}

/// A frame of any client, and a multiple of a page; and not so large that one connection keeps a shard to itself.
const READ_SIZES: std::ops::RangeInclusive<u64> = 4096..=1024 * 1024;

fn read_size(values: &Values) -> Result<usize, ConfigError> {
    let size = parsed(values, "read-size", |text| match value::size(text)? {
        size if READ_SIZES.contains(&size) => Ok(size as usize),
        _ => Err(format!("expected {} to {}", READ_SIZES.start(), READ_SIZES.end())),
    })?;
    Ok(size.unwrap_or_default())
}

fn duration(values: &Values, name: &'static str) -> Result<Duration, ConfigError> {
    let unit = match table::find(name).map(|option| option.kind) {
        Some(Kind::Duration(unit)) => unit,
        _ => Unit::Seconds,
    };
    Ok(parsed(values, name, |text| value::duration(text, unit))?.unwrap_or_default())
}

/// A path, absolute because a daemon changes its directory.
fn path(values: &Values, name: &str) -> Option<PathBuf> {
    let path = Path::new(text(values, name).filter(|text| !text.is_empty())?);
    Some(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()))
}

fn build(
    values: &Values,
    invocation: &Invocation,
    mut notes: Vec<Note>,
) -> Result<Config, ConfigError> {
    let home = invocation.variable("HOME").filter(|home| !home.is_empty());
    let home = home.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from).join(".qpidd");
    let default_data = if invocation.root { PathBuf::from("/var/lib/qpidd") } else { home.clone() };
    refuse_unsafe(values)?;
    let protocols = protocols(values, &mut notes)?;
    let mut listen_tcp = true;
    for transport in list(values, "listen-disable") {
        match transport.as_str() {
            "tcp" => listen_tcp = false,
            // Not listened on in this version, so disabling it is already true.
            "ssl" | "rdma" => {}
            _ => {
                let reason = "expected tcp, ssl or rdma".to_owned();
                return Err(invalid(values, "listen-disable", transport, reason));
            }
        }
    }
    let mut socket_fds = Vec::new();
    for text in list(values, "socket-fd") {
        match text.parse::<i32>() {
            Ok(fd) if fd >= 0 => socket_fds.push(fd),
            _ => {
                let reason = "expected a descriptor number".to_owned();
                return Err(invalid(values, "socket-fd", text, reason));
            }
        }
    }
    let cpus = parsed(values, "cpus", from_str::<CpuList>)?;
    let shards = shard_count(values, cpus.as_ref(), &mut notes)?;
    let watchdog = duration(values, "watchdog-interval")?;
    let known_hosts = text(values, "known-hosts-url").filter(|url| !matches!(*url, "none" | ""));
    let data_dir =
        (!flag(values, "no-data-dir")).then(|| path(values, "data-dir").unwrap_or(default_data));
    Ok(Config {
        store: build_store(values, data_dir.as_deref())?,
        paging_dir: path(values, "paging-dir")
            .or_else(|| data_dir.as_ref().map(|dir| dir.join("paging"))),
        segment: segment(values)?,
        data_dir,
        queue_memory: parsed(values, "queue-memory", value::size)?.unwrap_or_else(half_of_memory),
        dtx: DtxConfig {
            timeout: duration(values, "dtx-default-timeout")?,
            timeout_max: duration(values, "dtx-max-timeout")?,
            size: parsed(values, "max-dtx-size", value::size)?.unwrap_or_default(),
        },
        max_transaction_size: parsed(values, "max-transaction-size", value::size)?
            .unwrap_or_default(),
        port: integer(values, "port")?.unwrap_or_default(),
        interfaces: list(values, "interface").to_vec(),
        listen_tcp,
        http: addresses(values, "http")?,
        http_origins: origins(values)?,
        socket_fds,
        connection_backlog: integer(values, "connection-backlog")?.unwrap_or_default(),
        tcp_nodelay: flag(values, "tcp-nodelay"),
        tcp_busy_poll: duration(values, "tcp-busy-poll")?,
        tcp_quick_ack: flag(values, "tcp-quick-ack"),
        read_size: read_size(values)?,
        max_connections: integer(values, "max-connections")?.filter(|limit| *limit > 0),
        max_negotiate_time: duration(values, "max-negotiate-time")?,
        protocols,
        domain: text(values, "domain").filter(|domain| !domain.is_empty()).map(str::to_owned),
        queue_patterns: patterns(values, "queue-patterns")?,
        topic_patterns: patterns(values, "topic-patterns")?,
        realm: text(values, "realm").unwrap_or_default().to_owned(),
        known_hosts_url: known_hosts.map(str::to_owned),
        federation_tag: text(values, "federation-tag").map(str::to_owned),
        queue_purge_interval: duration(values, "queue-purge-interval")?,
        default_message_group: text(values, "default-message-group").unwrap_or_default().to_owned(),
        max_purge_batch: integer(values, "max-purge-batch")?.filter(|batch| *batch > 0),
        enable_timestamp: flag(values, "enable-timestamp"),
        queues: queue_defaults(values)?,
        cpus,
        shards,
        idle: parsed(values, "idle-strategy", from_str)?.unwrap_or_default(),
        placement: parsed(values, "placement", from_str)?.unwrap_or_default(),
        watchdog_interval: (!watchdog.is_zero()).then_some(watchdog),
        stop_timeout: duration(values, "stop-timeout")?,
        log: build_log(values, &mut notes)?,
        daemon: DaemonConfig {
            daemon: flag(values, "daemon"),
            pid_dir: path(values, "pid-dir").unwrap_or(home),
            pid_file: path(values, "pidfile"),
            wait: duration(values, "wait")?,
        },
        notes,
    })
}

fn queue_defaults(values: &Values) -> Result<QueueDefaults, ConfigError> {
    let percent = |name| integer(values, name).map(Option::unwrap_or_default);
    let defaults = QueueDefaults {
        limit: parsed(values, "default-queue-limit", value::size)?.unwrap_or_default(),
        flow_stop: percent("default-flow-stop-threshold")?,
        flow_resume: percent("default-flow-resume-threshold")?,
        alert: percent("default-event-threshold-ratio")?,
    };
    let QueueDefaults { flow_stop, flow_resume, .. } = defaults;
    if flow_resume > flow_stop {
        return Err(ConfigError::Refused(format!(
            "--default-flow-resume-threshold {flow_resume} must not be more than \
             --default-flow-stop-threshold {flow_stop}"
        )));
    }
    Ok(defaults)
}

fn build_store(
    values: &Values,
    data_dir: Option<&Path>,
) -> Result<Option<StoreConfig>, ConfigError> {
    let dir = path(values, "store-dir").or_else(|| data_dir.map(|dir| dir.join("journal")));
    let Some(dir) = dir else { return Ok(None) };
    Ok(Some(StoreConfig {
        dir,
        truncate: flag(values, "truncate"),
        salvage: flag(values, "journal-salvage"),
        durability: match text(values, "durability") {
            Some("device") => Durability::Device,
            _ => Durability::default(),
        },
        flush_timeout: duration(values, "journal-flush-timeout")?,
    }))
}

fn segment(values: &Values) -> Result<u64, ConfigError> {
    let segment = parsed(values, "journal-segment-size", |text| {
        let size = value::size(text)?;
        if size < JournalConfig::SEGMENT_MIN {
            return Err("a segment has at least 1 MiB".to_owned());
        }
        if size > SEGMENT_MAX {
            return Err("a segment has at most 1 GiB".to_owned());
        }
        Ok(size.next_multiple_of(ALIGN as u64))
    })?;
    Ok(segment.unwrap_or(JournalConfig::SEGMENT_MIN))
}

/// Half of what the machine has.
fn half_of_memory() -> u64 {
    let total = rustix::system::sysinfo().totalram as u64;
    (total / 2).max(64 << 20)
}

/// A larger segment gains nothing and takes long to make.
const SEGMENT_MAX: u64 = 1 << 30;

/// Options whose silent loss would open the broker to those it was told to keep out. Serving
/// anyway with a warning in a log is not enough for these.
fn refuse_unsafe(values: &Values) -> Result<(), ConfigError> {
    // Asking about or stopping a broker runs none.
    if ["check", "quit", "kill"].iter().any(|name| flag(values, name)) {
        return Ok(());
    }
    if flag(values, "auth") {
        return Err(ConfigError::Refused(
            "--auth yes (the default): authentication is not available yet in this version; use \
             --auth no to accept every client unchecked"
                .to_owned(),
        ));
    }
    if flag(values, "require-encryption") {
        return Err(ConfigError::Refused(
            "--require-encryption yes: TLS is not available yet in this version".to_owned(),
        ));
    }
    Ok(())
}

/// `--protocols`: all that this version speaks, or those named.
fn protocols(values: &Values, notes: &mut Vec<Note>) -> Result<Protocols, ConfigError> {
    let named = list(values, "protocols");
    let all = named.is_empty();
    let mut spoken = Protocols { v0_10: all, v1_0: all };
    for protocol in named {
        match protocol.to_ascii_lowercase().as_str() {
            "amqp0-10" => spoken.v0_10 = true,
            "amqp1.0" => spoken.v1_0 = true,
            "amqp0-9-1" => notes.push(Note {
                level: Level::Warning,
                text: format!(
                    "--protocols {protocol} is accepted but not available yet in this version"
                ),
            }),
            _ => {
                let reason = "expected amqp0-10 or amqp1.0".to_owned();
                return Err(invalid(values, "protocols", protocol, reason));
            }
        }
    }
    if spoken.v0_10 || spoken.v1_0 {
        Ok(spoken)
    } else {
        Err(ConfigError::Refused(
            "--protocols leaves no protocol this version speaks; add amqp0-10 or amqp1.0"
                .to_owned(),
        ))
    }
}

fn addresses(values: &Values, name: &'static str) -> Result<Vec<(String, u16)>, ConfigError> {
    let read =
        |text: &String| value::address(text).map_err(|reason| invalid(values, name, text, reason));
    list(values, name).iter().map(read).collect()
}

fn origins(values: &Values) -> Result<Origins, ConfigError> {
    let mut origins = Origins::default();
    for text in list(values, "http-origin") {
        let refused = |error: OriginError| invalid(values, "http-origin", text, error.to_string());
        origins.allow(text).map_err(refused)?;
    }
    Ok(origins)
}

/// A regular expression for each pattern of an option.
fn patterns(values: &Values, name: &'static str) -> Result<Vec<Regex>, ConfigError> {
    let compile = |pattern: &String| {
        Regex::new(pattern).map_err(|error| invalid(values, name, pattern, error.to_string()))
    };
    list(values, name).iter().map(compile).collect()
}

/// `--cpus` decides, else `--shards`, else `--worker-threads` capped at the cores (the reference
/// wants a thread more than cores; a shard more than cores only costs), else [`usual_shards`].
fn shard_count(
    values: &Values,
    cpus: Option<&CpuList>,
    notes: &mut Vec<Note>,
) -> Result<usize, ConfigError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let zero = |name| invalid(values, name, "0", "there must be at least one".to_owned());
    let asked = integer::<usize>(values, "shards")?;
    if asked == Some(0) {
        return Err(zero("shards"));
    }
    match (cpus, asked, integer::<usize>(values, "worker-threads")?) {
        (Some(cpus), Some(shards), _) if cpus.as_slice().len() != shards => {
            Err(ConfigError::Refused(format!(
                "--cpus names {} CPUs but --shards says {shards}",
                cpus.as_slice().len()
            )))
        }
        (Some(cpus), ..) => Ok(cpus.as_slice().len()),
        (None, Some(shards), _) => Ok(shards),
        (None, None, Some(0)) => Err(zero("worker-threads")),
        (None, None, Some(threads)) if threads > cores => {
            let text =
                format!("--worker-threads {threads}: {cores} shards run, one per available core");
            notes.push(Note { level: Level::Info, text });
            Ok(cores)
        }
        (None, None, Some(threads)) => Ok(threads),
        (None, None, None) => Ok(usual_shards()),
    }
}

fn build_log(values: &Values, notes: &mut Vec<Note>) -> Result<LogConfig, ConfigError> {
    let rules = |name| {
        let parse = |text: &String| {
            Rule::parse(text).map_err(|error| invalid(values, name, text, error.to_string()))
        };
        list(values, name).iter().map(parse).collect::<Result<Vec<_>, _>>()
    };
    let mut enable = rules("log-enable")?;
    if flag(values, "trace") {
        enable.push(Rule::at_least(Level::Trace));
    } else if enable.is_empty() {
        enable.push(Rule::at_least(Level::Notice));
    }
    let disable = rules("log-disable")?;
    for rule in enable.iter().chain(&disable).filter(|rule| rule.names_reference_function()) {
        let text = format!(
            "Log rule {rule} names a function of the reference broker: patterns here are \
             categories or parts of module paths such as fletch::v0_10"
        );
        notes.push(Note { level: Level::Warning, text });
    }
    let mut log = LogConfig {
        enable,
        disable,
        time: flag(values, "log-time"),
        level: flag(values, "log-level"),
        source: flag(values, "log-source"),
        thread: flag(values, "log-thread"),
        function: flag(values, "log-function"),
        hires: flag(values, "log-hires-timestamp"),
        category: flag(values, "log-category"),
        prefix: text(values, "log-prefix").unwrap_or_default().to_owned(),
        stderr: flag(values, "log-to-stderr"),
        stdout: flag(values, "log-to-stdout"),
        file: path(values, "log-to-file"),
        syslog: None,
    };
    let mut syslog = flag(values, "log-to-syslog");
    for output in list(values, "log-output") {
        match output.as_str() {
            "stderr" => log.stderr = true,
            "stdout" => log.stdout = true,
            "syslog" => syslog = true,
            file => {
                log.file = Some(std::path::absolute(file).unwrap_or_else(|_| PathBuf::from(file)))
            }
        }
    }
    // A daemon has no terminal: where that is all there is, it logs to syslog instead.
    if flag(values, "daemon") {
        syslog |= log.file.is_none() && (log.stderr || log.stdout);
        (log.stderr, log.stdout) = (false, false);
    }
    if syslog {
        let facility = parsed(values, "syslog-facility", |text| {
            Facility::parse(text).ok_or_else(|| "expected a facility such as LOG_DAEMON".to_owned())
        })?;
        log.syslog = Some(SyslogConfig {
            name: text(values, "syslog-name").unwrap_or_default().to_owned(),
            facility: facility.unwrap_or_default(),
        });
    }
    Ok(log)
}

#[cfg(test)]
mod tests;
