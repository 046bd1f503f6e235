//! The table of the daemon's options: one line each with name, value, default, help and status.
//! Parsing, `--help`, the environment's names and the warnings all come from it; an option that is
//! not here does not exist.

use super::value::Unit;

/// What text an option takes; checked when the option is read, whichever source gave it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Present or not; an explicit `yes|no` is taken too.
    Flag,
    /// `yes|no`.
    Bool,
    /// Any text.
    Text,
    /// Any text, and every occurrence counts.
    List,
    /// A whole number up to the given one.
    Integer(u64),
    /// Bytes with `k/m/g`.
    Size,
    /// A duration; the unit is that of a plain number.
    Duration(Unit),
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// What this version does with an option.
#[derive(Debug, Clone, Copy)]
pub(super) enum Status {
    /// It works.
    Active,
    /// Accepted with one warning; the text says what is missing ("HA is", "TLS is").
    Later(&'static str),
    /// Accepted with one debug line: it has nothing to decide here, for the given reason.
    NotNeeded(&'static str),
}

/// One option.
#[derive(Debug)]
pub(super) struct OptionSpec {
    /// The long name, as on the command line and in a file.
    pub(super) name: &'static str,
    /// Another long name of the same option.
    pub(super) alias: Option<&'static str>,
    /// The one-letter name.
    pub(super) short: Option<char>,
    /// What it takes.
    pub(super) kind: Kind,
    /// The value's name in the help.
    pub(super) value: &'static str,
    /// The value when no source gives one; empty when there is none or it depends on the system.
    pub(super) default: &'static str,
    /// One sentence for the help.
    pub(super) help: &'static str,
    /// What this version does with it.
    pub(super) status: Status,
}

impl OptionSpec {
    const fn new(name: &'static str, kind: Kind, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            alias: None,
            short: None,
            kind,
            value,
            default: "",
            help,
            status: Status::Active,
        }
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn later(mut self, what: &'static str) -> Self {
        self.status = Status::Later(what);
        self
    }

    const fn not_needed(mut self, why: &'static str) -> Self {
        self.status = Status::NotNeeded(why);
        self
    }

    /// Whether every occurrence counts, not only the last.
    pub(super) fn repeats(&self) -> bool {
        matches!(self.kind, Kind::List)
    }
}

const fn flag(name: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, Kind::Flag, "", help)
}

const fn boolean(name: &'static str, default: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, Kind::Bool, "yes|no", help).default(default)
}

const fn text(name: &'static str, value: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, Kind::Text, value, help)
}

const fn list(name: &'static str, value: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, Kind::List, value, help)
}

const fn number(
    name: &'static str,
    max: u64,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec::new(name, Kind::Integer(max), "N", help).default(default)
}

const fn size(name: &'static str, default: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, Kind::Size, "BYTES", help).default(default)
}

const fn seconds(name: &'static str, default: &'static str, help: &'static str) -> OptionSpec {
    OptionSpec::new(name, Kind::Duration(Unit::Seconds), "DURATION", help).default(default)
}

const fn choice(
    name: &'static str,
    words: &'static [&'static str],
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec::new(name, Kind::Choice(words), value, help).default(default)
}

const U16: u64 = u16::MAX as u64;
const U32: u64 = u32::MAX as u64;
const U64: u64 = u64::MAX;

const BUILT_IN: &str = "every module is built in";
const ONE_JOURNAL: &str = "the journal has no fixed files or caches to size";
const TLS: &str = "TLS is";
const HA: &str = "HA is";
const QMF: &str = "management is";
const AUTH: &str = "authentication is";
const ACL: &str = "access control is";
const LINKS: &str = "federation is";

const COMMON: &[OptionSpec] = &[
    flag("help", "Print this help").short('h'),
    flag("version", "Print the version").short('v'),
    text(
        "config",
        "FILE",
        "Read options from FILE, lines of name=value (default: /etc/fletch/fletchd.conf, else \
         /etc/qpid/qpidd.conf)",
    ),
    text("client-config", "FILE", "Client library configuration of the reference broker")
        .not_needed("links take their options from the broker's own configuration"),
];

const MODULES: &[OptionSpec] = &[
    text("module-dir", "DIR", "Directory of loadable modules").not_needed(BUILT_IN),
    list("load-module", "FILE", "Module to load").not_needed(BUILT_IN),
    flag("no-module-dir", "Load no modules").not_needed(BUILT_IN),
];

const BROKER: &[OptionSpec] = &[
    text(
        "data-dir",
        "DIR",
        "Directory of persistent data (default: /var/lib/qpidd for root, else $HOME/.qpidd)",
    ),
    flag("no-data-dir", "Use no data directory; nothing is stored"),
    text(
        "paging-dir",
        "DIR",
        "Directory of the paging files: transient messages that have left memory (default: paging in \
         the data directory)",
    ),
    number("port", U16, "5672", "Listen on this port; 0 takes a free one and prints it").short('p'),
    list(
        "interface",
        "NAME|ADDRESS|CIDR",
        "Listen on this interface, address or network only; repeatable",
    ),
    list(
        "http",
        "[HOST]:PORT",
        "Serve HTTP here: AMQP over WebSocket (subprotocol amqp), for browsers and proxies; port 0 takes \
         a free one and logs it; repeatable",
    ),
    list(
        "http-origin",
        "ORIGIN|*",
        "Let pages of this origin, such as https://console.example, connect by WebSocket; null for pages \
         without, * for all; repeatable (default: only those that name the broker's own address, by \
         number or as localhost, which no foreign page can)",
    ),
    list("listen-disable", "TRANSPORT", "Do not listen on this transport (tcp); repeatable"),
    list("protocols", "PROTOCOL", "Accept this protocol only (amqp0-10, amqp1.0); repeatable"),
    number(
        "worker-threads",
        1024,
        "",
        "Number of shards, at most one per available core; see --shards",
    ),
    number(
        "connection-backlog",
        65535,
        "10",
        "Connections the kernel may hold before they are accepted",
    ),
    boolean("tcp-nodelay", "yes", "Send small frames without delay"),
    number("max-connections", U32, "500", "Connections allowed at once; 0 is no limit"),
    number("connection-limit-per-user", U32, "0", "Connections allowed per user; 0 is no limit")
        .later(ACL),
    number(
        "connection-limit-per-ip",
        U32,
        "0",
        "Connections allowed per host address; 0 is no limit",
    )
    .later(ACL),
    number("max-queues-per-user", U32, "0", "Queues allowed per user; 0 is no limit").later(ACL),
    OptionSpec::new(
        "max-negotiate-time",
        Kind::Duration(Unit::Milliseconds),
        "MILLISECONDS",
        "Close a connection that has not opened by then",
    )
    .default("10000"),
    number("session-max-unacked", U32, "5000", "Unacknowledged deliveries per AMQP 1.0 session")
        .later("AMQP 1.0 is"),
    list("socket-fd", "FD", "Adopt this inherited listening socket; repeatable"),
    text("known-hosts-url", "URL|none", "Addresses told to clients as known hosts").default("none"),
    text("federation-tag", "NAME", "This broker's name in federation"),
];

const QUEUES: &[OptionSpec] = &[
    size(
        "default-queue-limit",
        "104857600",
        "Largest content of a queue that sets no limit of its own; 0 is no limit",
    ),
    OptionSpec::new(
        "queue-memory",
        Kind::Size,
        "BYTES",
        "Memory that messages may take before they leave it for the disk and are read back when they \
         are wanted (default: half of the machine's)",
    ),
    size(
        "max-transaction-size",
        "67108864",
        "Bytes that a connection may have published in transactions that are not committed, with 128 \
         more for each message",
    ),
    number(
        "default-flow-stop-threshold",
        100,
        "80",
        "Percent of a queue's limit above which producers are held; 0 is never",
    ),
    number(
        "default-flow-resume-threshold",
        100,
        "70",
        "Percent of a queue's limit below which producers go on; 0 is the stop threshold",
    ),
    number(
        "default-event-threshold-ratio",
        100,
        "80",
        "Percent of a queue's own limit at which an event is raised; 0 is never",
    ),
    text("default-message-group", "GROUP", "Group of messages without one in a grouped queue")
        .alias("default-msg-group")
        .default("qpid.no-group"),
    seconds("queue-purge-interval", "600", "Time between two searches for expired messages"),
    number("max-purge-batch", U32, "1000", "Messages looked at in one go in such a search"),
    boolean("enable-timestamp", "no", "Stamp each message with its time of arrival"),
    number("staging-threshold", U64, "", "Message size above which content was staged")
        .not_needed("messages are never staged"),
];

const MANAGEMENT: &[OptionSpec] = &[
    boolean("mgmt-enable", "yes", "Answer management requests").short('m').later(QMF),
    boolean("mgmt-publish", "yes", "Publish management data").later(QMF),
    seconds("mgmt-pub-interval", "10", "Time between two publications").later(QMF),
    boolean("mgmt-qmf2", "yes", "Publish over QMF v2").later(QMF),
    boolean("mgmt-qmf1", "no", "Publish over QMF v1").later(QMF),
];

const SECURITY: &[OptionSpec] = &[
    boolean("auth", "yes", "Authenticate clients; this version can only run with no"),
    text("realm", "REALM", "Realm of user names").default("QPID"),
    text("sasl-service-name", "NAME", "Service name for SASL").later(AUTH),
    text("sasl-config", "DIR", "Directory of the SASL configuration").later(AUTH),
    text("acl-file", "FILE", "Access rules; without them everything is allowed").later(ACL),
    boolean(
        "require-encryption",
        "no",
        "Refuse connections that are not encrypted; this version can only run with no",
    ),
    number("ssl-port", U16, "5671", "Port for TLS connections").later(TLS),
    text("ssl-cert-db", "DIR", "Certificate database").later(TLS),
    text("ssl-cert-name", "NAME", "Certificate to use").later(TLS),
    text("ssl-cert-password-file", "FILE", "File with the database's password").later(TLS),
    flag("ssl-require-client-authentication", "Refuse TLS clients without a certificate")
        .later(TLS),
    flag("ssl-sasl-no-dict", "Refuse dictionary-attackable SASL mechanisms over TLS").later(TLS),
    text("tls-cert", "FILE", "Certificate chain, PEM").later(TLS),
    text("tls-key", "FILE", "Private key, PEM").later(TLS),
    text("tls-ca", "FILE", "Authorities whose client certificates are accepted, PEM").later(TLS),
];

const TRANSACTIONS: &[OptionSpec] = &[
    seconds(
        "dtx-default-timeout",
        "60",
        "Time after which a branch of a distributed transaction that sets none is rolled back, if it is \
         not prepared; 0 is never",
    ),
    seconds(
        "dtx-max-timeout",
        "3600",
        "Longest timeout a branch of a distributed transaction may set; 0 is no limit",
    ),
    size(
        "max-dtx-size",
        "1073741824",
        "Bytes that may be published in branches of distributed transactions that are ended and not \
         completed, with 1024 more for each branch",
    ),
];

const FEDERATION: &[OptionSpec] = &[
    seconds("link-maintenance-interval", "2", "Time between two looks after links").later(LINKS),
    seconds("link-heartbeat-interval", "120", "Heartbeat of links").later(LINKS),
];

const HA_OPTIONS: &[OptionSpec] = &[
    boolean("ha-cluster", "no", "Join a primary-backup cluster").later(HA),
    boolean("ha-queue-replication", "no", "Allow replication of single queues without a cluster")
        .later(HA),
    text("ha-brokers-url", "URL", "Addresses of the cluster's brokers").later(HA),
    text("ha-public-url", "URL", "Addresses told to clients").later(HA),
    choice(
        "ha-replicate",
        &["none", "configuration", "all"],
        "LEVEL",
        "none",
        "What is replicated when a queue does not say: none, configuration, all",
    )
    .later(HA),
    text("ha-username", "USER", "User name between brokers").later(HA),
    text("ha-password", "PASS", "Password between brokers").later(HA),
    text("ha-mechanism", "MECH", "SASL mechanism between brokers").later(HA),
    seconds("ha-backup-timeout", "10", "Longest wait for an expected backup").later(HA),
    number("ha-flow-messages", U32, "1000", "Messages in flight to a backup; 0 is no limit")
        .later(HA),
    size("ha-flow-bytes", "0", "Bytes in flight to a backup; 0 is no limit").later(HA),
];

const STORE_OPTIONS: &[OptionSpec] = &[
    text("store-dir", "DIR", "Directory of the journals (default: journal/ in the data directory)"),
    boolean(
        "truncate",
        "no",
        "Set what is stored aside, in a numbered directory, and start with nothing",
    ),
    boolean(
        "journal-salvage",
        "no",
        "Start with what can be read of a damaged journal, and say what was lost",
    ),
    choice(
        "durability",
        &["sync", "device"],
        "sync|device",
        "sync",
        "When a message is stored: when the disk has flushed it (sync), or when it has taken it \
         (device), which only a disk with a protected cache keeps over a loss of power",
    ),
    size("journal-segment-size", "33554432", "Size of a journal's files; at least 1m"),
    seconds(
        "journal-flush-timeout",
        "0",
        "Longest time a write waits for company; without, it waits for the write before it only",
    ),
    text("storage-provider", "NAME", "Store of the reference broker")
        .not_needed("there is one store"),
    number("num-jfiles", U64, "", "Journal files of the reference's store").not_needed(ONE_JOURNAL),
    number("jfile-size-pgs", U64, "", "Journal file size of the reference's store")
        .not_needed(ONE_JOURNAL),
    number("wcache-page-size", U64, "", "Write cache page of the reference's store")
        .not_needed(ONE_JOURNAL),
    number("wcache-num-pages", U64, "", "Write cache pages of the reference's store")
        .not_needed(ONE_JOURNAL),
    number("tpl-num-jfiles", U64, "", "Prepared-list files of the reference's store")
        .not_needed(ONE_JOURNAL),
    number("tpl-jfile-size-pgs", U64, "", "Prepared-list file size of the reference's store")
        .not_needed(ONE_JOURNAL),
    number("tpl-wcache-page-size", U64, "", "Prepared-list cache page of the reference's store")
        .not_needed(ONE_JOURNAL),
    number("tpl-wcache-num-pages", U64, "", "Prepared-list cache pages of the reference's store")
        .not_needed(ONE_JOURNAL),
    number("efp-partition", U64, "", "Empty-file pool of the reference's store")
        .not_needed(ONE_JOURNAL),
    number("efp-file-size", U64, "", "Empty-file size of the reference's store")
        .not_needed(ONE_JOURNAL),
    boolean("overwrite-before-return", "no", "Overwrite files of the reference's store")
        .not_needed(ONE_JOURNAL),
    boolean("store-async", "yes", "Asynchronous writes of the reference's store")
        .not_needed("writes are always asynchronous"),
    boolean("store-force", "no", "Discard a store of another mode")
        .not_needed("the journal has one mode"),
];

const LOGGING: &[OptionSpec] = &[
    flag("trace", "Log everything").short('t'),
    list(
        "log-enable",
        "RULE",
        "Log what RULE says: LEVEL[+|-][:PATTERN], LEVEL one of trace debug info notice warning \
         error critical, PATTERN a category or part of a module path; repeatable",
    )
    .default("notice+"),
    list("log-disable", "RULE", "Do not log what RULE says; repeatable"),
    boolean("log-time", "yes", "Begin lines with the time"),
    boolean("log-level", "yes", "Include the level"),
    boolean("log-source", "no", "Include file:line"),
    boolean("log-thread", "no", "Include the thread"),
    boolean("log-function", "no", "Include the module path"),
    boolean("log-hires-timestamp", "no", "Times as seconds with nanoseconds"),
    boolean("log-category", "yes", "Include the category"),
    text("log-prefix", "TEXT", "Begin lines with TEXT"),
    boolean("log-to-stderr", "yes", "Log to standard error"),
    boolean("log-to-stdout", "no", "Log to standard output"),
    text("log-to-file", "FILE", "Log to FILE; it is opened anew on SIGHUP"),
    boolean("log-to-syslog", "no", "Log to syslog"),
    text("syslog-name", "NAME", "Name in syslog lines").default("fletchd"),
    text("syslog-facility", "LOG_XXX", "Facility of syslog lines").default("LOG_DAEMON"),
    list(
        "log-output",
        "stderr|stdout|syslog|FILE",
        "Older form of the --log-to options; repeatable",
    ),
];

const DAEMON: &[OptionSpec] = &[
    flag("daemon", "Run in the background; print the port and return when it serves").short('d'),
    choice("transport", &["tcp"], "TRANSPORT", "tcp", "The transport whose port is printed")
        .short('T'),
    text("pid-dir", "DIR", "Directory of the PID file of each port (default: $HOME/.qpidd)"),
    text("pidfile", "FILE", "Write the process ID to FILE too"),
    list("close-fd", "FD", "Descriptor the daemon should close")
        .later("closing inherited descriptors is"),
    seconds("wait", "600", "Longest wait for the daemon to start or stop").short('w'),
    flag("check", "Print the process ID of the broker on --port; exit 1 when none runs").short('c'),
    flag("quit", "Stop the broker on --port and wait until it is gone").short('q'),
    flag("kill", "Kill the broker on --port").short('k'),
    seconds(
        "watchdog-interval",
        "5",
        "A shard that makes no progress for this long is reported; 0 is never",
    ),
    seconds("stop-timeout", "5", "Longest time a graceful stop may take"),
];

const AMQP: &[OptionSpec] = &[
    text("domain", "NAME", "Domain of this broker: what is behind the @ of its nodes' addresses"),
    list(
        "queue-patterns",
        "PATTERN",
        "Names that make a queue on demand, a regular expression; repeatable",
    ),
    list(
        "topic-patterns",
        "PATTERN",
        "Names that make a topic on demand, a regular expression; repeatable",
    ),
];

const SHARDS: &[OptionSpec] = &[
    choice(
        "profile",
        &["low-latency", "throughput", "shared"],
        "NAME",
        "",
        "Sets idle strategy, placement, socket options and read size together, for cores of the \
         broker's own, for most messages per second, or for cores that others need too; what is set \
         by itself goes before",
    ),
    seconds(
        "tcp-busy-poll",
        "0",
        "Let the kernel poll the network device so long for what comes on a connection, such as 50us \
         (SO_BUSY_POLL; needs CAP_NET_ADMIN); 0 is not at all",
    ),
    boolean("tcp-quick-ack", "no", "Acknowledge what is received at once (TCP_QUICKACK)"),
    size(
        "read-size",
        "64k",
        "Bytes read from one connection before others have their turn, 4k to 1m",
    ),
    text("cpus", "LIST", "One shard pinned on each of these CPUs, such as 0,2-5"),
    number(
        "shards",
        1024,
        "",
        "Number of shards (default: one for each available core but one, which is left to the kernel \
         and to other programs)",
    ),
    text("idle-strategy", "park|spin:DURATION|busy", "What a shard does with nothing to do")
        .default("park"),
    text(
        "placement",
        "POLICY",
        "Which shard takes a new connection: round-robin, least-connections, port-per-shard (one \
         port each)",
    )
    .default("least-connections"),
];

/// Every option by group, in the order of the help.
pub(super) static GROUPS: &[(&str, &[OptionSpec])] = &[
    ("Common options", COMMON),
    ("Broker options", BROKER),
    ("Shard options", SHARDS),
    ("Queue options", QUEUES),
    ("Security options", SECURITY),
    ("Logging options", LOGGING),
    ("Daemon options", DAEMON),
    ("Management options", MANAGEMENT),
    ("AMQP 1.0 options", AMQP),
    ("Transaction options", TRANSACTIONS),
    ("Federation options", FEDERATION),
    ("HA options", HA_OPTIONS),
    ("Store options", STORE_OPTIONS),
    ("Module options", MODULES),
];

/// Every option.
pub(super) fn all() -> impl Iterator<Item = &'static OptionSpec> {
    GROUPS.iter().flat_map(|(_, options)| options.iter())
}

/// The option of that long name or alias.
pub(super) fn find(name: &str) -> Option<&'static OptionSpec> {
    all().find(|option| option.name == name || option.alias == Some(name))
}

/// The known long name that looks most like `name`; none when nothing does.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    all()
        .flat_map(|option| std::iter::once(option.name).chain(option.alias))
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(likeness, _)| *likeness >= 0.4)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_letters_are_unique_and_well_formed() {
        let mut names = HashSet::new();
        let mut letters = HashSet::new();
        for option in all() {
            for name in std::iter::once(option.name).chain(option.alias) {
                assert!(names.insert(name), "{name} twice");
                assert!(
                    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                );
            }
            assert!(option.short.is_none_or(|short| letters.insert(short)), "{}", option.name);
            assert_eq!(
                option.value.is_empty(),
                matches!(option.kind, Kind::Flag),
                "{}",
                option.name
            );
        }
    }

    #[test]
    fn the_nearest_name() {
        assert_eq!(nearest("prot"), Some("port"));
        assert_eq!(nearest("data-dri"), Some("data-dir"));
        assert_eq!(nearest("worker-thread"), Some("worker-threads"));
        assert_eq!(nearest("log-enabel"), Some("log-enable"));
        assert_eq!(nearest("zzzzzzzzzzzzzzzz"), None);
    }
}
