use std::time::Duration;

use super::*;

fn invocation(args: &[&str], variables: &[(&str, &str)]) -> Invocation {
    Invocation {
        args: std::iter::once(&"fletchd").chain(args).map(|arg| (*arg).to_owned()).collect(),
        variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        default_files: Vec::new(),
        root: false,
    }
}

fn run(invocation: &Invocation) -> Config {
    match parse(invocation) {
        Ok(Request::Run(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn config(args: &[&str]) -> Config {
    let args: Vec<_> = ["--auth", "no"].iter().chain(args).copied().collect();
    run(&invocation(&args, &[("HOME", "/home/trader")]))
}

fn error(args: &[&str]) -> String {
    let args: Vec<_> = ["--auth", "no"].iter().chain(args).copied().collect();
    let error = parse(&invocation(&args, &[])).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn defaults_are_the_reference_brokers() {
    let config = config(&[]);
    assert_eq!(config.port, 5672);
    assert_eq!(config.data_dir, Some(PathBuf::from("/home/trader/.qpidd")));
    assert_eq!(config.daemon.pid_dir, PathBuf::from("/home/trader/.qpidd"));
    assert_eq!(config.connection_backlog, 10);
    assert!(config.tcp_nodelay && config.listen_tcp && !config.daemon.daemon);
    assert_eq!(config.max_connections, Some(500));
    assert_eq!(config.max_negotiate_time, Duration::from_secs(10));
    assert_eq!(config.realm, "QPID");
    assert_eq!(config.known_hosts_url, None);
    assert_eq!(config.queue_purge_interval, Duration::from_secs(600));
    assert_eq!((config.max_purge_batch, config.enable_timestamp), (Some(1000), false));
    let queues = QueueDefaults { limit: 104_857_600, flow_stop: 80, flow_resume: 70, alert: 80 };
    assert_eq!(config.queues, queues);
    assert_eq!(config.stop_timeout, Duration::from_secs(5));
    assert_eq!(config.daemon.wait, Duration::from_secs(600));
    assert_eq!(config.log.enable, [Rule::at_least(Level::Notice)]);
    assert!(config.log.stderr && !config.log.stdout && config.log.syslog.is_none());
    assert_eq!(config.notes, []);
    let mut root = invocation(&["--auth=no"], &[]);
    root.root = true;
    assert_eq!(run(&root).data_dir, Some(PathBuf::from("/var/lib/qpidd")));
}

#[test]
fn command_line_before_environment_before_file_before_default() {
    let conf = file("# ports\nport = 1111\nrealm=FILE # the realm\n\nmax-connections=7\n");
    let path = conf.path().to_str().unwrap();
    let environment = [
        ("QPID_PORT", "2222"),
        ("FLETCH_PORT", "3333"),
        ("QPID_REALM", "ENV"),
        ("QPID_AUTH", "no"),
    ];
    let all = run(&invocation(&["--config", path, "-p", "4444"], &environment));
    assert_eq!((all.port, all.realm.as_str(), all.max_connections), (4444, "ENV", Some(7)));
    let no_command_line = run(&invocation(&["--config", path], &environment));
    assert_eq!(no_command_line.port, 3333);
    let no_ours =
        run(&invocation(&["--config", path], &[("QPID_PORT", "2222"), ("QPID_AUTH", "0")]));
    assert_eq!(no_ours.port, 2222);
    let file_by_variable = run(&invocation(&["--auth=no"], &[("QPID_CONFIG", path)]));
    assert_eq!((file_by_variable.port, file_by_variable.realm.as_str()), (1111, "FILE"));
}

#[test]
fn the_first_default_file_that_exists_is_read() {
    let (first, second) = (file("port=1\nauth=no"), file("port=2\nauth=no"));
    let mut invocation = invocation(&[], &[]);
    invocation.default_files =
        vec!["/nonexistent/fletchd.conf".into(), first.path().into(), second.path().into()];
    assert_eq!(run(&invocation).port, 1);
    let message = error(&["--config", "/nonexistent/fletchd.conf"]);
    assert!(message.contains("/nonexistent/fletchd.conf"), "{message}");
}

#[test]
fn every_way_to_write_an_option() {
    assert_eq!(config(&["-p5673"]).port, 5673);
    assert_eq!(config(&["--port=5673"]).port, 5673);
    assert_eq!(config(&["--port", "1", "--port", "2"]).port, 2);
    assert!(!config(&["--tcp-nodelay", "no"]).tcp_nodelay);
    assert!(config(&["--tcp-nodelay"]).tcp_nodelay);
    assert_eq!(config(&["--no-data-dir", "-p", "0"]).data_dir, None);
    assert_eq!(config(&["--interface", "lo", "--interface=::1"]).interfaces, ["lo", "::1"]);
    assert!(config(&["--no-data-dir=no"]).data_dir.is_some());
    let flags = config(&["-dt"]);
    assert!(flags.daemon.daemon);
    assert_eq!(flags.log.enable, [Rule::at_least(Level::Trace)]);
    let by_file = file("no-data-dir=\nlog-enable=debug+:Store\nlog-enable=info+");
    let by_file = config(&["--config", by_file.path().to_str().unwrap()]);
    assert_eq!((by_file.data_dir, by_file.log.enable.len()), (None, 2));
}

#[test]
fn unknown_options_name_the_nearest() {
    assert_eq!(
        error(&["--prot", "5"]),
        "command line: unknown option --prot; the nearest known option is --port"
    );
    assert_eq!(
        error(&["--zzzzzzzzzzzzzzzzzzzz"]),
        "command line: unknown option --zzzzzzzzzzzzzzzzzzzz"
    );
    assert_eq!(error(&["stray"]), "command line: unexpected argument 'stray'");
    let conf = file("\nprot=5\n");
    let path = conf.path().to_str().unwrap();
    let expected = format!("{path}:2: unknown option prot; the nearest known option is --port");
    assert_eq!(error(&["--config", path]), expected);
    let conf = file("just words");
    let path = conf.path().to_str().unwrap();
    assert_eq!(error(&["--config", path]), format!("{path}:1: expected name=value"));
}

#[test]
fn the_environment_of_others_is_left_alone() {
    let variables = [
        ("QPID_SSL_CERT_FILENAME", "x"),
        ("FLETCH_SERVICE_HOST", "10.0.0.1"),
        ("FLETCH_PORT", "tcp://10.0.0.1:5672"),
        ("PORT", "9"),
    ];
    let config = run(&invocation(&["--auth", "no"], &variables));
    assert_eq!(config.port, 5672);
    let [note] = config.notes.as_slice() else { panic!("{:?}", config.notes) };
    assert_eq!(note.level, Level::Warning);
    assert!(note.text.ends_with("FLETCH_PORT, FLETCH_SERVICE_HOST"), "{}", note.text);
}

#[test]
fn bad_values_name_option_source_and_reason() {
    assert_eq!(
        error(&["-p", "65536"]),
        "command line: invalid value '65536' for --port: the largest allowed is 65535"
    );
    assert_eq!(
        error(&["--daemon=maybe"]),
        "command line: invalid value 'maybe' for --daemon: expected yes or no"
    );
    assert!(error(&["--port"]).contains("--port"));
    assert!(error(&["--ha-replicate", "some"]).contains("none, configuration, all"));
    assert!(error(&["--log-enable", "loud"]).contains("--log-enable"));
    assert!(error(&["--cpus", "5-2"]).contains("--cpus"));
    assert!(error(&["--idle-strategy", "nap"]).contains("--idle-strategy"));
    assert!(error(&["--placement", "random"]).contains("--placement"));
    assert!(error(&["--read-size", "1k"]).contains("expected 4096 to 1048576"));
    assert!(error(&["--protocols", "mqtt"]).contains("mqtt"));
    assert!(error(&["--listen-disable", "carrier-pigeon"]).contains("carrier-pigeon"));
    assert!(error(&["--shards", "0"]).contains("at least one"));
    let variable = parse(&invocation(&[], &[("QPID_PORT", "x")])).unwrap_err().to_string();
    assert!(
        variable.starts_with("environment variable QPID_PORT: invalid value 'x'"),
        "{variable}"
    );
}

#[test]
fn options_without_effect_are_noted_once() {
    let config = config(&["--ha-cluster", "yes", "--ha-cluster", "yes", "--load-module", "ha.so"]);
    let notes: Vec<_> = config.notes.iter().map(|note| (note.level, note.text.as_str())).collect();
    let ha =
        "--ha-cluster is accepted but HA is not available yet in this version: it has no effect";
    let module = "--load-module is accepted and not needed: every module is built in";
    assert_eq!(notes, [(Level::Warning, ha), (Level::Debug, module)]);
}

#[test]
fn http_addresses_and_origins() {
    let none = config(&[]);
    assert!(none.http.is_empty() && !none.http_origins.allows("https://a.example", "127.0.0.1"));
    let some = config(&["--http", ":0", "--http=[::1]:81", "--http-origin", "https://a.example"]);
    assert_eq!(some.http, [(String::new(), 0), ("::1".to_owned(), 81)]);
    assert!(some.http_origins.allows("https://a.example", "127.0.0.1"));
    assert!(error(&["--http", "8080"]).ends_with("expected HOST:PORT, [V6]:PORT or :PORT"));
    assert!(error(&["--http-origin", "a.example"]).contains("https://console.example:8443"));
}

#[test]
fn limits_of_queues() {
    let args = ["--default-queue-limit", "4k", "--default-flow-stop-threshold=50"];
    let thresholds =
        ["--default-flow-resume-threshold", "0", "--default-event-threshold-ratio", "100"];
    let queues = config(&[&args[..], &thresholds].concat()).queues;
    let expected = QueueDefaults { limit: 4096, flow_stop: 50, flow_resume: 0, alert: 100 };
    assert_eq!(queues, expected);
    assert_eq!(
        error(&args),
        "--default-flow-resume-threshold 70 must not be more than --default-flow-stop-threshold 50"
    );
    assert!(error(&["--default-event-threshold-ratio", "101"]).contains("allowed is 100"));
}

#[test]
fn what_would_be_unsafe_is_refused() {
    let refused = |args: &[&str]| parse(&invocation(args, &[])).unwrap_err().to_string();
    assert!(refused(&[]).contains("use --auth no"));
    assert!(refused(&["--auth", "no", "--require-encryption"]).contains("TLS is not available"));
    assert!(refused(&["--auth", "no", "--protocols", "amqp0-9-1"]).contains("no protocol"));
    assert!(refused(&["--auth", "no", "--queue-patterns", "(a"]).contains("--queue-patterns"));
    assert!(matches!(parse(&invocation(&["-c"], &[])), Ok(Request::Check(_))));
    assert!(matches!(parse(&invocation(&["-q", "-w", "3"], &[])), Ok(Request::Quit(_))));
}

#[test]
fn shards_follow_cpus_then_shards_then_worker_threads() {
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(config(&[]).shards, cores.saturating_sub(1).max(1));
    assert_eq!(config(&["--cpus", "1,0,3"]).shards, 3);
    assert_eq!(config(&["--shards", "9", "--worker-threads", "1"]).shards, 9);
    assert_eq!(config(&["--worker-threads", "1"]).shards, 1);
    let capped = config(&["--worker-threads", "1024"]);
    assert_eq!((capped.shards, capped.notes.len()), (cores, 1));
    assert!(error(&["--cpus", "0,1", "--shards", "3"]).contains("--shards says 3"));
}

#[test]
fn a_daemon_logs_to_syslog_unless_it_has_a_file() {
    let daemon = config(&["-d"]).log;
    assert!(!daemon.stderr && daemon.syslog.is_some_and(|syslog| syslog.name == "fletchd"));
    let with_file = config(&["-d", "--log-to-file", "/tmp/log"]).log;
    assert!(!with_file.stderr && with_file.syslog.is_none() && with_file.file.is_some());
    let older = config(&["--log-output", "stdout", "--log-output", "/tmp/log"]).log;
    assert!(older.stdout && older.file == Some(PathBuf::from("/tmp/log")));
}

#[test]
fn help_names_every_option_and_needs_no_valid_line() {
    for args in [&["--help"][..], &["--nonsense", "-h"], &["-h"]] {
        let Ok(Request::Print(help)) = parse(&invocation(args, &[])) else { panic!("{args:?}") };
        for option in table::all() {
            assert!(help.contains(&format!("--{}", option.name)), "{}", option.name);
        }
    }
    let Ok(Request::Print(version)) = parse(&invocation(&["-v"], &[])) else { panic!() };
    assert!(version.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_profile_sets_what_is_not_set_by_itself() {
    let plain = config(&[]);
    assert_eq!((plain.read_size, plain.tcp_quick_ack), (64 * 1024, false));
    assert!(plain.tcp_busy_poll.is_zero());
    let fast = config(&["--profile", "low-latency"]);
    assert_eq!((fast.idle, fast.read_size), (IdleStrategy::Busy, 64 * 1024));
    assert_eq!((fast.tcp_busy_poll, fast.tcp_quick_ack), (Duration::from_micros(50), true));
    let mixed = config(&["--profile", "low-latency", "--idle-strategy", "park"]);
    assert_eq!((mixed.idle, mixed.read_size), (IdleStrategy::Park, 64 * 1024));
    assert_eq!(config(&["--profile", "throughput"]).read_size, 256 * 1024);
    assert!(error(&["--profile", "fast"]).contains("low-latency, throughput, shared"));
}
