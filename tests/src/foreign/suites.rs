//! Runs `qpid_tests.broker_0_10` and `qpid.tests.messaging` with `qpid-python-test`.
//!
//! A unit is a module (of a large module: a class) at a shard count. Each unit has a broker of its
//! own; units run side by side, because their tests mostly wait. A test that prints no outcome for
//! `Plan::patience` ends its runner, by pid, and the unit goes on behind it with a fresh broker.
//! The verdict is against `Expected`: a surprise either way is a failure, so is a broker that dies.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Tally;
use super::expected::{Expectation, Expected};
use super::output::{Outcome, Output};
use crate::broker::Broker;

/// The packages whose tests run.
const PACKAGES: [&str; 2] = ["qpid_tests.broker_0_10.", "qpid.tests.messaging."];

/// Modules with more tests than this are cut into their classes.
const LARGE: usize = 60;

/// Lines of a failing test's traceback that are shown.
const SHOWN: usize = 16;

/// The installed client.
#[derive(Debug, Clone)]
pub struct Python {
    /// A Python 2.7.
    pub interpreter: PathBuf,
    /// The directory pip installed the packages to.
    pub packages: PathBuf,
}

/// What to run and how.
#[derive(Debug)]
pub struct Plan {
    /// Shard counts, one after the other in the report.
    pub shards: Vec<u16>,
    /// Units side by side.
    pub jobs: usize,
    /// Only tests whose name contains this.
    pub only: Option<String>,
    /// `host:port` of a broker that runs already, instead of fresh ones.
    pub broker: Option<String>,
    /// How long one test may take.
    pub patience: Duration,
    /// When the time for everything is up.
    pub limit: Duration,
    /// Where the output of runners and brokers is kept.
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
}

#[derive(Debug, Clone)]
struct Unit {
    shards: u16,
    /// Module, or module and class.
    name: String,
    module: String,
    tests: Vec<String>,
}

impl Python {
    /// Finds what `tests/run` installed.
    pub fn installed() -> Result<Python> {
        let packages = super::clients_dir().join("py2");
        let note = packages.join("interpreter");
        let interpreter = std::fs::read_to_string(&note).with_context(|| {
            format!(
                "{} is missing: the Python client is not installed; run ./tests/run",
                note.display()
            )
        })?;
        Ok(Python { interpreter: PathBuf::from(interpreter.trim()), packages })
    }

    /// The names of all tests of the two packages.
    pub fn list(&self) -> Result<Vec<String>> {
        let output = self
            .runner()
            .args(["-m", "qpid_tests.broker_0_10", "-l"])
            .output()
            .context("listing the tests")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "qpid-python-test -l failed:\n{errors}");
        let names = String::from_utf8(output.stdout)?;
        let of_a_package = |name: &&str| PACKAGES.iter().any(|package| name.starts_with(package));
        let names: Vec<String> = names.lines().filter(of_a_package).map(str::to_owned).collect();
        ensure!(!names.is_empty(), "qpid-python-test lists no tests");
        Ok(names)
    }

    /// A program of ours on the client.
    pub fn program(&self, script: &Path) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.args(["-B", "-u"]).arg(script).env("PYTHONPATH", &self.packages);
        command.stdin(Stdio::null());
        command
    }

    /// The runner, with few descriptors: some tests use up all there are.
    fn runner(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n 1024; exec \"$@\"", "sh"])
            .arg(&self.interpreter)
            .args(["-B", "-u"])
            .arg(self.packages.join("bin/qpid-python-test"))
            .env("PYTHONPATH", &self.packages)
            .env("COLUMNS", "200")
            .stdin(Stdio::null());
        command
    }
}

/// Runs the plan, printing each unit as it ends and what surprised in it.
pub fn run(python: &Python, plan: &Plan, expected: &Expected) -> Result<Summary> {
    let all = python.list()?;
    let strangers = expected.strangers(&all);
    ensure!(strangers.is_empty(), "listed as failing, but no such tests: {strangers:?}");
    let mut units = units(&all, plan);
    ensure!(!units.is_empty(), "no test matches");
    std::fs::create_dir_all(&plan.logs)?;

    // The longest first; they decide when the last one ends.
    units.sort_by_key(|unit| std::cmp::Reverse(unit.tests.len()));
    let workers = plan.jobs.clamp(1, units.len());
    let waiting = Mutex::new(VecDeque::from(units));
    let summary = Mutex::new(Summary::default());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(unit) = lock(&waiting).pop_front() else { break };
                    let report = run_unit(python, plan, expected, &unit, start);
                    // Under the lock, so that reports do not mix.
                    let mut summary = lock(&summary);
                    summary.tally += report.summary.tally;
                    summary.expected += report.summary.expected;
                    summary.not_run += report.summary.not_run;
                    println!("[{:6.1}s] {}", start.elapsed().as_secs_f64(), report.text);
                }
            });
        }
    });
    Ok(*lock(&summary))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn units(all: &[String], plan: &Plan) -> Vec<Unit> {
    let mut per_module: BTreeMap<&str, usize> = BTreeMap::new();
    for test in all {
        *per_module.entry(module_and_class(test).0).or_default() += 1;
    }
    let mut units: BTreeMap<(u16, &str), Unit> = BTreeMap::new();
    for &shards in &plan.shards {
        for test in all {
            if plan.only.as_ref().is_some_and(|only| !test.contains(only.as_str())) {
                continue;
            }
            let (module, class) = module_and_class(test);
            let name = if per_module[module] > LARGE { class } else { module };
            let unit = units.entry((shards, name)).or_insert_with(|| Unit {
                shards,
                name: name.to_owned(),
                module: module.to_owned(),
                tests: Vec::new(),
            });
            unit.tests.push(test.clone());
        }
    }
    units.into_values().collect()
}

/// `a.b.Class.test` gives `a.b` and `a.b.Class`; a function's module stands for both.
fn module_and_class(test: &str) -> (&str, &str) {
    let class = test.rsplit_once('.').map_or(test, |(class, _)| class);
    match class.rsplit_once('.') {
        Some((module, last)) if last.starts_with(char::is_uppercase) => (module, class),
        _ => (class, class),
    }
}

struct Report {
    summary: Summary,
    text: String,
}

/// More tries for a test in which the client failed in itself: it closes sockets under its own
/// selector, and then fails all tests after that one; or the test raced it.
const RETRIES: usize = 3;

/// What happened to one test.
enum Seen {
    Ended(Outcome, Vec<String>),
    TookTooLong,
    /// The client failed in itself: the test gets another try.
    ClientDied,
    Lost(String),
}

fn run_unit(
    python: &Python,
    plan: &Plan,
    expected: &Expected,
    unit: &Unit,
    start: Instant,
) -> Report {
    let began = Instant::now();
    let (not_run, mut todo): (Vec<String>, Vec<String>) = unit
        .tests
        .iter()
        .cloned()
        .partition(|test| expected.of(test, unit.shards) == Expectation::NotRun);
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut retried: Vec<String> = Vec::new();
    let mut troubles: Vec<String> = Vec::new();
    let mut round = 0;
    while !todo.is_empty() {
        if start.elapsed() > plan.limit {
            troubles.push(format!("the time is up; {} tests did not run", todo.len()));
            break;
        }
        let before = todo.len();
        match one_round(python, plan, unit, &todo, round) {
            Ok(result) => {
                troubles.extend(result.troubles);
                seen.extend(result.seen);
            }
            Err(error) => troubles.push(format!("{error:#}")),
        }
        let mut again = Vec::new();
        seen.retain(|test, what| {
            let tries = retried.iter().filter(|t| *t == test).count();
            let retry = matches!(what, Seen::ClientDied) && tries < RETRIES;
            if retry {
                again.push(test.clone());
            }
            !retry
        });
        todo.retain(|test| !seen.contains_key(test));
        if !again.is_empty() {
            retried.append(&mut again);
        } else if todo.len() == before {
            troubles.push(format!("{} tests did not run: {}", todo.len(), todo.join(", ")));
            break;
        }
        round += 1;
    }

    let mut summary = Summary { not_run: not_run.len(), ..Summary::default() };
    // A test that neither ran nor is listed as not to be run has failed.
    summary.tally.failed += todo.len();
    let mut lines = Vec::new();
    for (test, seen) in seen {
        let listed = expected.of(&test, unit.shards) == Expectation::Fail;
        let complaint = match (seen, listed) {
            (Seen::Ended(Outcome::Pass, _), false) => {
                summary.tally.passed += 1;
                continue;
            }
            (Seen::Ended(Outcome::Fail, _), true) => {
                summary.expected += 1;
                continue;
            }
            (Seen::Ended(Outcome::Pass, _), true) => {
                vec!["passes, but is listed: take it from expected-failures.txt".to_owned()]
            }
            (Seen::Ended(_, reason), _) => reason,
            (Seen::ClientDied, _) => {
                vec![format!("the client failed in itself in each of {} tries", RETRIES + 1)]
            }
            (Seen::TookTooLong, _) => vec![format!("no outcome within {:?}", plan.patience)],
            (Seen::Lost(why), _) => vec![why],
        };
        summary.tally.failed += 1;
        lines.push(format!("  FAILED {test} (shards {})", unit.shards));
        let from = complaint.len().saturating_sub(SHOWN);
        lines.extend(complaint[from..].iter().map(|line| format!("      {line}")));
    }
    if todo.is_empty() {
        summary.tally.failed += troubles.len();
    }
    lines.extend(troubles.iter().map(|trouble| format!("  FAILED {trouble}")));
    let mut text = format!(
        "shards {}  {:<46} {:>3} passed, {} failed, {} as listed, {} not run  {:.1}s",
        unit.shards,
        unit.name,
        summary.tally.passed,
        summary.tally.failed,
        summary.expected,
        summary.not_run,
        began.elapsed().as_secs_f64()
    );
    for line in lines {
        text.push('\n');
        text.push_str(&line);
    }
    Report { summary, text }
}

struct Round {
    seen: Vec<(String, Seen)>,
    troubles: Vec<String>,
}

/// One broker and one run of the runner over these tests; ends early when a test hangs.
fn one_round(
    python: &Python,
    plan: &Plan,
    unit: &Unit,
    tests: &[String],
    round: usize,
) -> Result<Round> {
    let name = format!("{}-shards{}-{round}", unit.name, unit.shards);
    let mut broker = match &plan.broker {
        Some(_) => None,
        // The client has one thread for the sockets of all its connections. Looking for a host that is not there, which
        // one test does, can hold it up for a minute, and the next test's connection does not open meanwhile.
        None => Some(Broker::start_stored(&[
            "--shards",
            &unit.shards.to_string(),
            "--max-negotiate-time",
            "120000",
        ])?),
    };
    let address = match (&plan.broker, &broker) {
        (Some(address), _) => address.clone(),
        (None, Some(broker)) => broker.address().to_string(),
        (None, None) => unreachable!("one of the two is there"),
    };
    let log = plan.logs.join(format!("{name}.out"));
    let mut child = Runner(
        python
            .runner()
            .args(["-m", &unit.module, "-b", &address])
            .args(tests)
            .stdout(Stdio::piped())
            .stderr(File::create(plan.logs.join(format!("{name}.err")))?)
            .spawn()
            .context("starting qpid-python-test")?,
    );
    let (output, hung) = child.follow(plan.patience, &log)?;
    drop(child);

    let mut round = Round { seen: Vec::new(), troubles: Vec::new() };
    // The client connected and then said nothing: its selector is stuck in what a test left behind.
    let mut client_silent = false;
    if let Some(mut broker) = broker.take() {
        std::fs::write(plan.logs.join(format!("{name}.log")), broker.log())?;
        client_silent = broker.log().contains("negotiation took too long");
        let alive = broker.is_running();
        let panicked = broker.log().contains("panicked at");
        let stopped = broker.stop();
        if !alive || panicked {
            round.troubles.push(format!("the broker died; see {name}.log"));
        } else if let Err(error) = stopped {
            round.troubles.push(format!("the broker did not stop well; see {name}.log: {error:#}"));
        }
    }
    let Output { finished, running, client_died, stray } = output;
    round.seen.extend(finished.into_iter().map(|t| {
        let seen = match t.outcome {
            Outcome::Fail if t.client_failed() => Seen::ClientDied,
            outcome => Seen::Ended(outcome, t.reason),
        };
        (t.name, seen)
    }));
    if let Some(test) = running {
        let what = if client_died || hung && client_silent {
            Seen::ClientDied
        } else if hung {
            Seen::TookTooLong
        } else {
            Seen::Lost(format!("the runner ended in this test; see {}", log.display()))
        };
        round.seen.push((test, what));
    } else if round.seen.is_empty() {
        let from = stray.len().saturating_sub(SHOWN);
        round.troubles.push(format!("no test ran:\n      {}", stray[from..].join("\n      ")));
    }
    Ok(round)
}

/// The running `qpid-python-test`; killed by pid on drop.
struct Runner(Child);

impl Runner {
    /// Reads the output until it ends or no test ends within `patience`; true when it hung.
    fn follow(&mut self, patience: Duration, log: &Path) -> Result<(Output, bool)> {
        let stdout = self.0.stdout.take().context("the runner's output was taken before")?;
        let mut log = File::create(log)?;
        let (sender, receiver) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut bytes = Vec::new();
            while matches!(stdout.read_until(b'\n', &mut bytes), Ok(size) if size > 0) {
                let _ = std::io::Write::write_all(&mut log, &bytes);
                if sender.send(String::from_utf8_lossy(&bytes).into_owned()).is_err() {
                    break;
                }
                bytes.clear();
            }
        });
        let mut output = Output::default();
        let mut hung = false;
        let mut deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(line) => {
                    let before = output.finished.len();
                    take(&mut output, &line);
                    if output.finished.len() > before {
                        deadline = Instant::now() + patience;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    hung = true;
                    break;
                }
            }
        }
        if hung {
            self.0.kill()?;
            // A forked child of a test may hold the pipe open: wait for the rest, not for ever.
            while let Ok(line) = receiver.recv_timeout(Duration::from_secs(1)) {
                take(&mut output, &line);
            }
        }
        drop(receiver);
        if reader.is_finished() {
            let _ = reader.join();
        }
        Ok((output, hung))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn take(output: &mut Output, line: &str) {
    match line.strip_suffix('\n') {
        Some(line) => output.line(line),
        None => output.rest(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(shards: &[u16], only: Option<&str>) -> Plan {
        Plan {
            shards: shards.to_vec(),
            jobs: 1,
            only: only.map(str::to_owned),
            broker: None,
            patience: Duration::from_secs(1),
            limit: Duration::from_secs(1),
            logs: PathBuf::new(),
        }
    }

    #[test]
    fn large_modules_are_cut_into_classes() {
        let mut all: Vec<String> = (0..40)
            .flat_map(|n| [format!("qpid.tests.m.big.A.t{n}"), format!("qpid.tests.m.big.B.t{n}")])
            .collect();
        all.push("qpid.tests.m.small.C.t".to_owned());
        all.push("qpid.tests.m.small.D.t".to_owned());
        let names: Vec<_> =
            units(&all, &plan(&[1, 2], None)).into_iter().map(|u| (u.shards, u.name)).collect();
        let of = |shards| {
            ["big.A", "big.B", "small"].map(|name| (shards, format!("qpid.tests.m.{name}")))
        };
        assert_eq!(names, [of(1), of(2)].concat());
        let few = units(&all, &plan(&[1], Some("D.t")));
        assert_eq!(few.len(), 1);
        assert_eq!(few[0].tests, ["qpid.tests.m.small.D.t"]);
    }

    #[test]
    fn a_runner_that_hangs_is_ended_and_its_test_named() {
        let script = "echo 'qpid_tests.a.B.one .... pass'; printf 'qpid_tests.a.B.two ...'; \
                      exec sleep 60";
        let child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn();
        let dir = tempfile::tempdir().unwrap();
        let mut runner = Runner(child.unwrap());
        let began = Instant::now();
        let (output, hung) =
            runner.follow(Duration::from_millis(300), &dir.path().join("out")).unwrap();
        assert!(hung && began.elapsed() < Duration::from_secs(20));
        assert_eq!(output.finished.len(), 1);
        assert_eq!(output.running.as_deref(), Some("qpid_tests.a.B.two"));
    }
}
