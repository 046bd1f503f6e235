//! The broker under measurement: a child process with a port of the system's choice, ended with
//! whoever holds it, and what the kernel says about it.

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use fletch_client::amqp::v0_10::{CreditUnit, FlowMode};
use fletch_client::{ConnectOptions, Connection, Session};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a broker may take to name its port, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which broker, and how it runs.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct BrokerOptions {
    /// The broker's program; by default the fletchd beside this one.
    #[arg(long, value_name = "PATH")]
    broker: Option<PathBuf>,
    /// Shards of the broker.
    #[arg(long, default_value_t = 2)]
    shards: u16,
    /// Idle strategy of the shards: park, spin:DURATION or busy.
    #[arg(long, default_value = "park")]
    idle_strategy: String,
    /// The program is Apache Qpid's qpidd: give it none of Fletch's own options.
    #[arg(long)]
    reference: bool,
}

impl BrokerOptions {
    fn program(&self) -> Result<PathBuf> {
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

    /// What the figures hold for, in a line.
    pub(crate) fn describe(&self) -> Result<String> {
        let program = self.program()?;
        let cores = std::thread::available_parallelism()?;
        let load = fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default();
        let of = match self.reference {
            true => String::new(),
            false => format!(", {} shards, idle strategy {}", self.shards, self.idle_strategy),
        };
        let program = program.display();
        Ok(format!("{program}{of}; clients on the same {cores} cores; load {load} at the start"))
    }

    /// Starts a broker.
    pub(crate) fn start(&self) -> Result<Broker> {
        let program = self.program()?;
        let mut command = Command::new(&program);
        command.args(["--port", "0", "--no-data-dir", "--auth", "no"]);
        command.args(["--interface", "127.0.0.1", "--log-enable", "error+"]);
        command.args(["--max-connections", "65530"]);
        if self.reference {
            command.args(["--no-module-dir"]);
        } else {
            command.args(["--shards", &self.shards.to_string()]);
            command.args(["--idle-strategy", &self.idle_strategy]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().with_context(|| program.display().to_string())?;
        let mut broker = Broker { child, port: 0 };
        let out = broker.child.stdout.take().ok_or_else(|| anyhow!("no standard output"))?;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(out).read_line(&mut line);
            // Nobody waits for it any more when the broker took too long.
            let _ = sender.send(read.map(|_| line));
        });
        let line = receiver.recv_timeout(PATIENCE).context("the broker named no port")??;
        broker.port = line.trim().parse().with_context(|| format!("not a port: {line:?}"))?;
        Ok(broker)
    }
}

/// See the module.
pub(crate) struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    /// Opens a connection to it.
    pub(crate) fn connect(&self) -> Result<Connection> {
        Ok(Connection::connect(("127.0.0.1", self.port), &ConnectOptions::default())?)
    }

    /// Processor time it has used, user and system, all threads, in the clock's ticks of 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may contain anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        match (fields.next(), fields.next()) {
            (Some(Ok(user)), Some(Ok(system))) => {
                let per_second = rustix::param::clock_ticks_per_second();
                Ok(Duration::from_secs_f64((user + system) as f64 / per_second as f64))
            }
            _ => bail!("/proc/{}/stat: {stat}", self.child.id()),
        }
    }

    /// Its resident memory in octets, exact: the figure in `status` lags by pages per thread.
    pub(crate) fn resident(&self) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let kib = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| anyhow!("no Rss in smaps_rollup"))
    }

    /// Its resident memory once that has not changed for half a second, or after `most`.
    pub(crate) fn settled(&self, most: Duration) -> Result<u64> {
        let deadline = Instant::now() + most;
        let mut resident = self.resident()?;
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(500) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.resident()?;
            if now != resident {
                (resident, since) = (now, Instant::now());
            }
        }
        Ok(resident)
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

/// Gives a subscription credit without limit.
pub(crate) fn unlimited(session: &Session, destination: &str) -> Result<()> {
    session.set_flow_mode(destination, FlowMode::CREDIT)?;
    session.flow(destination, CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
    session.flow(destination, CreditUnit::MESSAGE, CreditUnit::UNLIMITED)?;
    Ok(())
}
