//! The demonstration's broker: a child process, stopped in order, and never left behind.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long the broker may take to stop.
const STOP: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Broker {
    child: Child,
    port: u16,
}

impl Broker {
    /// Starts a broker on a free port of the loopback interface, without configuration or data directory.
    pub(super) fn start(shards: Option<u32>) -> Result<Broker> {
        // Not the path it had when it started: that may hold another program by now.
        let program = std::env::current_exe().context("cannot find my own program")?;
        let mut command = Command::new(program);
        command.arg0("fletchd").args(["--port", "0", "--interface", "127.0.0.1", "--auth", "no"]);
        command.args(["--no-data-dir", "--log-enable", "warning+"]);
        if let Some(shards) = shards {
            command.args(["--shards", &shards.to_string()]);
        }
        // A broker of the user's own may be configured; this one is not to be.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("QPID_")
                || name.to_string_lossy().starts_with("FLETCH_")
            {
                command.env_remove(name);
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the broker")?;
        let mut broker = Broker { child, port: 0 };
        broker.port = broker.read_port()?;
        Ok(broker)
    }

    fn read_port(&mut self) -> Result<u16> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            BufReader::new(stdout).read_line(&mut line).context("cannot read from the broker")?;
        }
        if let Ok(port) = line.trim().parse() {
            return Ok(port);
        }
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).context("cannot read from the broker")?;
        }
        bail!("the broker did not start: {}", said.trim());
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the broker to stop, and waits until it has.
    pub(super) fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            match self.child.try_wait().context("cannot wait for the broker")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the broker ended with {status}"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        bail!("the broker did not stop within {STOP:?}")
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended by itself, which is as well.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
