//! Runs our programs on AMQP 1.0 clients nobody here wrote (`install` lists them) against fresh brokers.
//!
//! A unit is a client at a shard count. It has a broker of its own, whose queues are declared over
//! AMQP 0-10 as the program asks. A check that prints nothing for `Plan::patience` ends its program,
//! by pid, and the unit goes on behind it with a fresh broker. The verdict is against `Expected`.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_client::{ConnectOptions, Connection};

use super::Tally;
use super::checks::{self, Ended};
use super::expected::{Expectation, Expected};
use super::install::Client;
use super::output::Outcome;
use crate::broker::Broker;

/// What to run and how.
#[derive(Debug)]
pub struct Plan {
    /// Shard counts.
    pub shards: Vec<u16>,
    /// Units side by side.
    pub jobs: usize,
    /// Only checks whose name, `CLIENT.CHECK`, contains this.
    pub only: Option<String>,
    /// `host:port` of a broker that runs already, instead of fresh ones.
    pub broker: Option<String>,
    /// `host:port` of the HTTP listener of that broker.
    pub http: Option<String>,
    /// How long a program may print nothing: longer than it lets any of its checks take.
    pub patience: Duration,
    /// Where the output of programs and brokers is kept.
    pub logs: PathBuf,
}

/// The whole run's result.
#[derive(Debug, Default, Clone, Copy)]
pub struct Summary {
    /// Passed; and failed, surprising passes included.
    pub tally: Tally,
    /// Listed, and did fail.
    pub expected: usize,
    /// Listed as not to be run.
    pub not_run: usize,
    /// Cannot be made with that client.
    pub skipped: usize,
}

impl std::ops::AddAssign for Summary {
    fn add_assign(&mut self, other: Summary) {
        self.tally += other.tally;
        self.expected += other.expected;
        self.not_run += other.not_run;
        self.skipped += other.skipped;
    }
}

struct Unit<'a> {
    shards: u16,
    client: &'a Client,
    checks: Vec<String>,
}

/// Installs the clients, two at a time; those that cannot be had with the reason.
pub fn install(clients: Vec<&Client>) -> Vec<(&Client, Result<()>)> {
    let started = Instant::now();
    let done = Mutex::new(Vec::new());
    each(clients, 2, |client| {
        let began = Instant::now();
        let result = client.install();
        let word = if result.is_ok() { "installed" } else { "NOT INSTALLED" };
        let took = began.elapsed().as_secs_f64();
        println!(
            "[{:6.1}s] {:<8} {word}  {took:.1}s",
            started.elapsed().as_secs_f64(),
            client.name
        );
        lock(&done).push((client, result));
    });
    done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs the plan, printing each unit as it ends and what surprised in it.
pub fn run(clients: &[&Client], plan: &Plan, expected: &Expected) -> Result<Summary> {
    let mut units = Vec::new();
    let mut known = Vec::new();
    for client in clients {
        let checks = client.says("--list")?;
        ensure!(!checks.is_empty(), "{} has no checks", client.name);
        known.extend(checks.iter().map(|check| full_name(client, check)));
        for &shards in &plan.shards {
            let wanted = |check: &&String| {
                plan.only.as_ref().is_none_or(|only| full_name(client, check).contains(only))
            };
            let checks: Vec<String> = checks.iter().filter(wanted).cloned().collect();
            if !checks.is_empty() {
                units.push(Unit { shards, client, checks });
            }
        }
    }
    let of_these =
        |name: &&str| clients.iter().any(|client| name.starts_with(&full_name(client, "")));
    let strangers: Vec<&str> = expected.strangers(&known).into_iter().filter(of_these).collect();
    ensure!(strangers.is_empty(), "listed as failing, but no such checks: {strangers:?}");
    ensure!(!units.is_empty(), "no check matches");
    std::fs::create_dir_all(&plan.logs)?;

    let start = Instant::now();
    let summary = Mutex::new(Summary::default());
    each(units, plan.jobs, |unit| {
        let (result, text) = run_unit(plan, expected, &unit);
        // Under the lock, so that reports do not mix.
        let mut summary = lock(&summary);
        *summary += result;
        println!("[{:6.1}s] {text}", start.elapsed().as_secs_f64());
    });
    Ok(*lock(&summary))
}

fn full_name(client: &Client, check: &str) -> String {
    format!("{}.{check}", client.name)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Does that with each of the items, so many at a time.
fn each<T: Send>(items: Vec<T>, jobs: usize, work: impl Fn(T) + Sync) {
    let workers = jobs.clamp(1, items.len().max(1));
    let waiting = Mutex::new(VecDeque::from(items));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(item) = lock(&waiting).pop_front() else { break };
                    work(item);
                }
            });
        }
    });
}

fn run_unit(plan: &Plan, expected: &Expected, unit: &Unit<'_>) -> (Summary, String) {
    let began = Instant::now();
    let expectation = |check: &str| expected.of(&full_name(unit.client, check), unit.shards);
    let (not_run, mut todo): (Vec<String>, Vec<String>) =
        unit.checks.iter().cloned().partition(|c| expectation(c) == Expectation::NotRun);
    let mut seen: BTreeMap<String, Ended> = BTreeMap::new();
    let mut troubles = Vec::new();
    let mut round = 0;
    while !todo.is_empty() {
        match one_round(plan, unit, &todo, round) {
            Ok(Round { ended, trouble }) => {
                seen.extend(ended.into_iter().map(|e| (e.name.clone(), e)));
                troubles.extend(trouble);
            }
            Err(error) => troubles.push(format!("{error:#}")),
        }
        let before = todo.len();
        todo.retain(|check| !seen.contains_key(check));
        if todo.len() == before {
            troubles.push(format!("{before} checks did not run: {}", todo.join(", ")));
            break;
        }
        round += 1;
    }

    let mut summary = Summary { not_run: not_run.len(), ..Summary::default() };
    let mut lines = Vec::new();
    for (check, ended) in seen {
        let complaint = match (ended.outcome, expectation(&check)) {
            (Outcome::Pass, Expectation::Pass) => {
                summary.tally.passed += 1;
                continue;
            }
            (Outcome::Skip, _) => {
                summary.skipped += 1;
                continue;
            }
            (Outcome::Fail, Expectation::Fail) => {
                summary.expected += 1;
                continue;
            }
            (Outcome::Pass, _) => "passes, but is listed: take it from the list".to_owned(),
            (Outcome::Fail, _) => ended.reason,
        };
        summary.tally.failed += 1;
        let name = full_name(unit.client, &check);
        lines.push(format!("  FAILED {name} (shards {}): {complaint}", unit.shards));
    }
    summary.tally.failed += troubles.len();
    lines.extend(troubles.iter().map(|trouble| format!("  FAILED {trouble}")));
    let mut text = format!(
        "shards {}  {:<8} {:>3} passed, {} failed, {} as listed, {} not run, {} skipped  {:.1}s",
        unit.shards,
        unit.client.name,
        summary.tally.passed,
        summary.tally.failed,
        summary.expected,
        summary.not_run,
        summary.skipped,
        began.elapsed().as_secs_f64()
    );
    for line in lines {
        text.push('\n');
        text.push_str(&line);
    }
    (summary, text)
}

struct Round {
    ended: Vec<Ended>,
    trouble: Option<String>,
}

/// One broker and one run of the program over these checks; ends early when one hangs.
fn one_round(plan: &Plan, unit: &Unit<'_>, todo: &[String], round: usize) -> Result<Round> {
    let name = format!("{}-shards{}-{round}", unit.client.name, unit.shards);
    let shards = unit.shards.to_string();
    let broker = match &plan.broker {
        Some(_) => None,
        None => Some(Broker::start_stored(&["--shards", &shards, "--http", "127.0.0.1:0"])?),
    };
    let http = match &broker {
        Some(broker) => Some(broker.http_address()?.to_string()),
        None => plan.http.clone(),
    };
    let address = match (&plan.broker, &broker) {
        (Some(address), _) => address.to_socket_addrs()?.next().context("no such host")?,
        (None, Some(broker)) => broker.address(),
        (None, None) => unreachable!("one of the two is there"),
    };
    declare(unit.client, address)?;
    let mut child = unit
        .client
        .program()
        .arg(address.to_string())
        .args(todo)
        .envs(http.map(|address| ("AMQP_WEB", address)))
        .stdout(Stdio::piped())
        .stderr(File::create(plan.logs.join(format!("{name}.err")))?)
        .spawn()
        .with_context(|| format!("starting the program on {}", unit.client.name))?;
    let out = File::create(plan.logs.join(format!("{name}.out")))?;
    let followed = follow(&mut child, plan.patience, out);
    let _ = child.kill();
    let _ = child.wait();
    let (mut ended, hung) = followed?;

    // Checks run in order: one that is missing kept the rest from running.
    let lost = todo.iter().find(|check| !ended.iter().any(|e| e.name == **check));
    if let Some(check) = lost {
        let reason = if hung {
            format!("nothing was said for {:?}", plan.patience)
        } else {
            format!("the program ended here; see {name}.err")
        };
        ended.push(Ended { name: check.clone(), outcome: Outcome::Fail, reason });
    }
    let mut trouble = None;
    if let Some(mut broker) = broker {
        let log = broker.log();
        std::fs::write(plan.logs.join(format!("{name}.log")), &log)?;
        if !broker.is_running() || log.contains("panicked at") {
            trouble = Some(format!("the broker died; see {name}.log"));
        } else if let Err(error) = broker.stop() {
            trouble = Some(format!("the broker did not stop well; see {name}.log: {error:#}"));
        }
    }
    Ok(Round { ended, trouble })
}

/// Declares what the program needs.
fn declare(client: &Client, address: SocketAddr) -> Result<()> {
    let connection = Connection::connect(address, &ConnectOptions::default())?;
    let session = connection.session("queues", true)?;
    for line in client.says("--queues")? {
        checks::needed(&line)?.declare(&session)?;
    }
    Ok(())
}

/// Reads the program's lines, and keeps them, until it ends or says nothing for `patience`; true
/// when that happened.
fn follow(child: &mut Child, patience: Duration, mut out: File) -> Result<(Vec<Ended>, bool)> {
    let stdout = child.stdout.take().context("the program's output is piped")?;
    let (sender, lines) = mpsc::channel();
    // Ends with the pipe, which a grandchild might hold: nobody waits for it.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut ended = Vec::new();
    loop {
        match lines.recv_timeout(patience) {
            Ok(line) => {
                writeln!(out, "{line}")?;
                ended.extend(checks::ended(&line));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok((ended, false)),
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok((ended, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn a_program_that_says_nothing_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let out = File::create(dir.path().join("out")).unwrap();
        let mut child = shell("echo 'one pass'; echo words; exec sleep 60");
        let began = Instant::now();
        let (ended, hung) = follow(&mut child, Duration::from_millis(300), out).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(hung && began.elapsed() < Duration::from_secs(20));
        assert_eq!(ended, [checks::ended("one pass").unwrap()]);
        let kept = std::fs::read_to_string(dir.path().join("out")).unwrap();
        assert_eq!(kept, "one pass\nwords\n");
    }

    #[test]
    fn a_program_that_ends_is_read_to_its_end() {
        let out = tempfile::tempfile().unwrap();
        let mut child = shell("echo 'one pass'; echo 'two fail why'; echo '1 passed, 1 failed'");
        let (ended, hung) = follow(&mut child, Duration::from_secs(20), out).unwrap();
        child.wait().unwrap();
        assert!(!hung);
        assert_eq!(ended.len(), 2);
    }
}
