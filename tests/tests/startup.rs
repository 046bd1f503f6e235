//! How `fletchd` starts, fails to start and stops, as scripts see it.

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use fletch_tests::broker::{Broker, bin_dir, run_to_end};
use fletch_tests::wire::Wire;
use rustix::process::Signal;

#[test]
fn it_says_its_port_serves_and_stops_with_status_0() -> Result<()> {
    for shards in ["1", "2", "4"] {
        for signal in [Signal::TERM, Signal::INT] {
            let broker = Broker::start(&["--shards", shards])?;
            let mut wire = Wire::open(broker.connect()?, u16::MAX)?;
            wire.attach(0, "one")?;
            wire.sync(0)?;
            let listening = format!("port {}", broker.address().port());
            let said = |line: &str| {
                line.contains("Listening on TCP") && line.trim_end().ends_with(&listening)
            };
            // What it logs is read by a thread of its own.
            let deadline = Instant::now() + Duration::from_secs(5);
            while !broker.log().lines().any(said) {
                assert!(Instant::now() < deadline, "{}", broker.log());
                std::thread::sleep(Duration::from_millis(2));
            }
            // With a client still there: it must not hold up the stop.
            broker.stop_by(signal)?;
            wire.read_to_close()?;
        }
    }
    Ok(())
}

#[test]
fn a_healthy_run_logs_no_error() -> Result<()> {
    let broker = Broker::start(&["--shards", "2"])?;
    let mut wire = Wire::open(broker.connect()?, u16::MAX)?;
    wire.attach(0, "one")?;
    wire.sync(0)?;
    drop(wire);
    broker.settle(std::time::Duration::from_secs(5), |_| true)?;
    let log = broker.log().to_lowercase();
    broker.stop()?;
    for level in [" error", " critical", "panicked"] {
        assert!(!log.contains(level), "{log}");
    }
    Ok(())
}

/// One line on standard error, exit status 1, all these words in the line.
fn fails_with(options: &[&str], words: &[&str]) -> Result<()> {
    let (status, errors) = run_to_end(options)?;
    assert_eq!(status.code(), Some(1), "{options:?}: {errors}");
    assert_eq!(errors.trim_end().lines().count(), 1, "{options:?}: {errors}");
    for word in words {
        assert!(errors.contains(word), "{options:?}: no `{word}` in: {errors}");
    }
    Ok(())
}

#[test]
fn a_port_in_use_is_named() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    fails_with(
        &["--port", &port, "--interface", "127.0.0.1", "--no-data-dir", "--auth", "no"],
        &[&port],
    )
}

#[test]
fn an_unknown_option_names_the_nearest_one() -> Result<()> {
    fails_with(&["--max-conections", "7"], &["max-conections", "max-connections"])?;
    fails_with(&["--worker-thread", "2"], &["worker-threads"])
}

#[test]
fn an_unknown_line_of_the_file_names_the_nearest_option() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("broker.conf");
    std::fs::write(&file, "# a comment\nmax-negotiate-tim=500\n")?;
    let output = Command::new(bin_dir()?.join("fletchd"))
        .arg("--config")
        .arg(&file)
        .args(["--port", "0", "--no-data-dir"])
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("max-negotiate-time"), "{errors}");
    Ok(())
}

#[test]
fn a_bad_value_names_the_option() -> Result<()> {
    fails_with(&["--port", "many", "--no-data-dir", "--auth", "no"], &["port", "many"])?;
    fails_with(&["--shards", "0", "--port", "0", "--no-data-dir", "--auth", "no"], &["shards"])
}

#[test]
fn a_data_directory_in_use_names_the_holder() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().to_str().expect("a temporary path is text");
    let options = ["--port", "0", "--interface", "127.0.0.1", "--auth", "no", "--data-dir", data];
    let broker = Broker::start_with(&options)?;
    fails_with(&options, &[data, &broker.pid().to_string()])?;
    broker.stop()?;
    // The lock goes with its holder, also when it had no time to say goodbye.
    drop(Broker::start_with(&options)?);
    Broker::start_with(&options)?.stop()
}

#[test]
fn version_and_help_are_printed() -> Result<()> {
    for (option, word) in [("--version", "0."), ("--help", "--max-negotiate-time")] {
        let output = Command::new(bin_dir()?.join("fletchd")).arg(option).output()?;
        assert!(output.status.success(), "{option}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(word), "{option}: {text}");
    }
    Ok(())
}
