//! The broker under measurement: a child process with a port of the system's choice, ended with
//! whoever holds it. With a data directory it leaves its log beside that.

use crate::process::Process;
use crate::target::Target;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a broker may take to stop.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it may take to name its port: it may have much to recover.
const START: Duration = Duration::from_secs(120);

/// Which broker, and how it runs.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct BrokerOptions {
    /// The broker's program; by default the fletchd beside this one.
    #[arg(long, value_name = "PATH")]
    broker: Option<PathBuf>,
    /// Shards of the broker.
    #[arg(long, default_value_t = fletch_shards::usual_shards() as u16)]
    shards: u16,
    /// Idle strategy of the shards: park, spin:DURATION or busy.
    #[arg(long, default_value = "park")]
    idle_strategy: String,
    /// The program is Apache Qpid's qpidd: give it none of Fletch's own options. So it is with any of that name.
    #[arg(long)]
    reference: bool,
    /// One more option for each broker, such as --with=--durability=device; repeatable.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    with: Vec<String>,
    /// The same for those with a data directory only, such as --with-store=--load-module=PATH/linearstore.so.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    with_store: Vec<String>,
}

impl BrokerOptions {
    /// Which program that is.
    pub(crate) fn program(&self) -> Result<PathBuf> {
        if let Some(program) = &self.broker {
            return Ok(program.clone());
        }
        let beside = std::env::current_exe()?.with_file_name("fletchd");
        if !beside.exists() {
            bail!(
                "{} is missing: cargo build --release -p fletch, or --broker PATH",
                beside.display()
            );
        }
        Ok(beside)
    }

    /// A program with these options.
    pub(crate) fn of(
        program: &Path,
        shards: u16,
        idle_strategy: &str,
        [with, with_store]: [&[String]; 2],
    ) -> BrokerOptions {
        BrokerOptions {
            broker: Some(program.to_owned()),
            shards,
            idle_strategy: idle_strategy.to_owned(),
            reference: false,
            with: with.to_owned(),
            with_store: with_store.to_owned(),
        }
    }

    /// The same with so many shards, which take new connections one after the other; pinned on these processors, if any
    /// are given.
    pub(crate) fn sharded(&self, shards: u16, cpus: &[usize]) -> BrokerOptions {
        let mut options = BrokerOptions { shards, ..self.clone() };
        options.with.extend(["--placement".to_owned(), "round-robin".to_owned()]);
        if !cpus.is_empty() {
            let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
            options.with.extend(["--cpus".to_owned(), cpus.join(",")]);
        }
        options
    }

    /// Whether it is qpidd.
    pub(crate) fn is_reference(&self) -> bool {
        let named = |program: &PathBuf| program.file_name().is_some_and(|name| name == "qpidd");
        self.reference || self.broker.as_ref().is_some_and(named)
    }

    /// What the figures hold for, in a line.
    pub(crate) fn describe(&self) -> Result<String> {
        let program = self.program()?;
        let cores = std::thread::available_parallelism()?;
        let load = fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default();
        let of = match self.is_reference() {
            true => String::new(),
            false => format!(", {} shards, idle strategy {}", self.shards, self.idle_strategy),
        };
        let program = program.display();
        Ok(format!("{program}{of}; clients on the same {cores} cores; load {load} at the start"))
    }

    /// How many shards it has.
    pub(crate) fn shards(&self) -> u16 {
        self.shards
    }

    /// How its shards idle.
    pub(crate) fn idle_strategy(&self) -> &str {
        &self.idle_strategy
    }

    /// Starts a broker without a data directory.
    pub(crate) fn start(&self) -> Result<Broker> {
        let mut command = self.command()?;
        command.args(["--no-data-dir", "--log-enable", "error+"]);
        Broker::spawn(command, None)
    }

    /// Starts a broker on a data directory that outlives it, with more options.
    pub(crate) fn start_on(&self, data: &Path, more: &[String]) -> Result<Broker> {
        let log = data.with_extension("log");
        let mut command = self.command()?;
        command.arg("--data-dir").arg(data).args(["--log-enable", "notice+"]).args(more);
        command.args(&self.with_store);
        command.stderr(File::create(&log)?);
        Broker::spawn(command, Some(log))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        command.args(["--port", "0", "--auth", "no", "--interface", "127.0.0.1"]);
        // Of the broker's own limits none is measured.
        command.args(["--max-connections", "65530", "--default-queue-limit", "0"]);
        if self.is_reference() {
            command.args(["--no-module-dir"]);
        } else {
            command.args(["--shards", &self.shards.to_string()]);
            command.args(["--idle-strategy", &self.idle_strategy]);
        }
        command.args(&self.with);
        Ok(command)
    }
}

/// See the module.
pub(crate) struct Broker {
    child: Child,
    target: Target,
    log: Option<PathBuf>,
}

impl std::ops::Deref for Broker {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

impl Broker {
    fn spawn(mut command: Command, log: Option<PathBuf>) -> Result<Broker> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().with_context(|| format!("{:?}", command.get_program()))?;
        let target = Target::local(0, Process(child.id()));
        let mut broker = Broker { child, target, log };
        let out = broker.child.stdout.take().ok_or_else(|| anyhow!("no standard output"))?;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(out).read_line(&mut line);
            // Nobody waits for it any more when the broker took too long.
            let _ = sender.send(read.map(|_| line));
        });
        let line = receiver.recv_timeout(START).context("the broker named no port")??;
        let port = line.trim().parse();
        let port = port.with_context(|| format!("not a port: {line:?}\n{}", broker.log()))?;
        broker.target = broker.target.at_port(port);
        Ok(broker)
    }

    /// What it has logged, where it has a data directory.
    pub(crate) fn log(&self) -> String {
        let log = self.log.as_ref().and_then(|log| fs::read(log).ok()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Ends it in no order, by SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the broker ended with {status}"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        bail!("the broker did not stop within {PATIENCE:?}")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Already gone after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
