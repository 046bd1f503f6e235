//! The broker under measurement: a child process with a port of the system's choice, ended with
//! whoever holds it, and what the kernel says about it. With a data directory it leaves its log beside that.

use crate::protocol::Protocol;
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use fletch_client::amqp::v0_10::{CreditUnit, FlowMode};
use fletch_client::{ConnectOptions, Connection, Session, v1_0};
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

    /// How many shards it has.
    pub(crate) fn shards(&self) -> u16 {
        self.shards
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
        command.stderr(File::create(&log)?);
        Broker::spawn(command, Some(log))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(self.program()?);
        command.args(["--port", "0", "--auth", "no", "--interface", "127.0.0.1"]);
        // Of the broker's own limits none is measured.
        command.args(["--max-connections", "65530", "--default-queue-limit", "0"]);
        if self.reference {
            command.args(["--no-module-dir"]);
        } else {
            command.args(["--shards", &self.shards.to_string()]);
            command.args(["--idle-strategy", &self.idle_strategy]);
        }
        Ok(command)
    }
}

/// See the module.
pub(crate) struct Broker {
    child: Child,
    port: u16,
    log: Option<PathBuf>,
}

impl Broker {
    fn spawn(mut command: Command, log: Option<PathBuf>) -> Result<Broker> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().with_context(|| format!("{:?}", command.get_program()))?;
        let mut broker = Broker { child, port: 0, log };
        let out = broker.child.stdout.take().ok_or_else(|| anyhow!("no standard output"))?;
        let (sender, receiver) = crossbeam_channel::bounded(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(out).read_line(&mut line);
            // Nobody waits for it any more when the broker took too long.
            let _ = sender.send(read.map(|_| line));
        });
        let line = receiver.recv_timeout(START).context("the broker named no port")??;
        broker.port = line
            .trim()
            .parse()
            .with_context(|| format!("not a port: {line:?}\n{}", broker.log()))?;
        Ok(broker)
    }

    /// What it has logged, where it has a data directory.
    pub(crate) fn log(&self) -> String {
        let log = self.log.as_ref().and_then(|log| fs::read(log).ok()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Opens a connection to it.
    pub(crate) fn connect(&self) -> Result<Connection> {
        self.connect_with(&ConnectOptions::default())
    }

    /// Opens a connection with options of its own.
    pub(crate) fn connect_with(&self, options: &ConnectOptions) -> Result<Connection> {
        Ok(Connection::connect(("127.0.0.1", self.port), options)?)
    }

    /// Opens a connection of AMQP 1.0 to it.
    pub(crate) fn connect_1_0(&self) -> Result<v1_0::Connection> {
        let address = ("127.0.0.1", self.port);
        Ok(v1_0::Connection::connect(address, &ConnectOptions::default())?)
    }

    /// Opens a connection of a protocol to it.
    pub(crate) fn connect_by(&self, protocol: Protocol) -> Result<Client> {
        Ok(match protocol {
            Protocol::V0_10 => Client::V0_10(self.connect()?),
            Protocol::V1_0 => Client::V1_0(self.connect_1_0()?),
        })
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

    /// The most memory it ever had resident, in octets.
    pub(crate) fn peak_resident(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| anyhow!("no VmHWM in status"))
    }

    /// Octets it has had written to disk, whatever for.
    pub(crate) fn written(&self) -> Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.child.id()))?;
        let octets = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        octets.and_then(|octets| octets.parse().ok()).ok_or_else(|| anyhow!("no write_bytes in io"))
    }

    /// Ends it in no order, by SIGKILL.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
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

/// A connection of either protocol.
pub(crate) enum Client {
    V0_10(Connection),
    V1_0(v1_0::Connection),
}

/// Gives a subscription credit without limit.
pub(crate) fn unlimited(session: &Session, destination: &str) -> Result<()> {
    session.set_flow_mode(destination, FlowMode::CREDIT)?;
    session.flow(destination, CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
    session.flow(destination, CreditUnit::MESSAGE, CreditUnit::UNLIMITED)?;
    Ok(())
}
