//! The daemon as scripts see it: ports, exit statuses, locks and signals.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A daemon's command line that touches nothing outside `home`.
fn fletchd(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fletchd"));
    command.env_clear().env("HOME", home).env("QPID_DATA_DIR", home.join("data"));
    command.args(["--auth", "no", "--interface", "127.0.0.1", "--shards", "1"]).args(args);
    command
}

fn output(home: &Path, args: &[&str]) -> Output {
    fletchd(home, args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Starts one in the foreground; returns it with its port once it serves.
fn start(home: &Path, args: &[&str]) -> (Child, String) {
    let mut command = fletchd(home, &["-p", "0"]);
    let mut child =
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut port).unwrap();
    if port.is_empty() {
        let mut errors = String::new();
        child.stderr.as_mut().unwrap().read_to_string(&mut errors).unwrap();
        panic!("fletchd does not start: {errors}");
    }
    (child, port.trim().to_owned())
}

#[test]
fn a_broker_in_the_foreground() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = tempfile::tempdir().unwrap();
        let (mut child, port) = start(home.path(), &[]);
        let check = output(home.path(), &["-c", "-p", &port]);
        assert_eq!((check.status.code(), text(&check.stdout)), (Some(0), child.id().to_string()));

        let second = output(home.path(), &["-p", "0"]);
        let data = home.path().join("data");
        let locked = format!(
            "fletchd: Data directory {} is locked by process {}",
            data.display(),
            child.id()
        );
        assert_eq!((second.status.code(), text(&second.stderr)), (Some(1), locked));

        let second = output(home.path(), &["-p", &port, "--no-data-dir"]);
        let in_use = format!("fletchd: Address already in use: 127.0.0.1:{port}");
        assert_eq!((second.status.code(), text(&second.stderr)), (Some(1), in_use));

        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let mut log = String::new();
        child.stderr.as_mut().unwrap().read_to_string(&mut log).unwrap();
        assert!(
            log.contains(&format!("[Network] notice Listening on TCP/TCP6 port {port}\n")),
            "{log}"
        );
        assert!(!log.contains(" error ") && !log.contains(" critical "), "{log}");
        assert_eq!(output(home.path(), &["-c", "-p", &port]).status.code(), Some(1));
    }
}

#[test]
fn a_broker_in_the_background() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    let log = log.to_str().unwrap();
    let started = output(home.path(), &["-d", "-p", "0", "--log-to-file", log]);
    assert_eq!(started.status.code(), Some(0), "{}", text(&started.stderr));
    let port = text(&started.stdout);
    let check = output(home.path(), &["-c", "-p", &port]);
    assert_eq!(check.status.code(), Some(0));
    let quit = output(home.path(), &["-q", "-p", &port]);
    assert_eq!(quit.status.code(), Some(0), "{}", text(&quit.stderr));
    assert_eq!(output(home.path(), &["-q", "-p", &port]).status.code(), Some(1));
    assert!(std::fs::read_to_string(log).unwrap().contains("shut-down"));

    let failed =
        output(home.path(), &["-d", "-p", "0", "--data-dir", "/proc/none", "--log-to-file", log]);
    assert_eq!((failed.status.code(), text(&failed.stdout)), (Some(1), String::new()));
    assert_eq!(text(&failed.stderr).lines().count(), 1, "{}", text(&failed.stderr));
}
