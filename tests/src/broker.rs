//! A real `fletchd` on an ephemeral loopback port, for as long as the value lives.
//!
//! Owns the process, its temporary directory (home, log) and nothing else; a data directory that
//! outlives it is its caller's (`store`). Dropping it kills the process by its pid; `stop` asks
//! politely and insists on exit status 0, `kill` does not ask. The binary comes from
//! `FLETCH_BIN_DIR`, else it is built (a no-op when fresh) in the profile of the running test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

/// How long a broker may take to say its port, and to leave when asked.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the tests give every broker: loopback, no data, no password, no configuration but theirs.
const USUAL: [&str; 7] =
    ["--port", "0", "--interface", "127.0.0.1", "--no-data-dir", "--auth", "no"];

/// The same with a data directory.
const USUAL_ON: [&str; 7] =
    ["--port", "0", "--interface", "127.0.0.1", "--auth", "no", "--data-dir"];

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    process: Process,
    port: u16,
}

/// What the kernel says about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Resident memory in bytes.
    pub resident: u64,
    /// Open file descriptors.
    pub descriptors: usize,
}

impl Broker {
    /// Starts `fletchd` with the usual options and these.
    pub fn start(options: &[&str]) -> Result<Broker> {
        let all: Vec<&str> = USUAL.iter().chain(options).copied().collect();
        Self::start_with(&all)
    }

    /// Starts `fletchd` as its users do, with a data directory: one that goes with it.
    pub fn start_stored(options: &[&str]) -> Result<Broker> {
        // Below its home, where it starts.
        let stored = ["data", "--journal-segment-size", "1m"];
        let all: Vec<&str> = USUAL_ON.iter().chain(&stored).chain(options).copied().collect();
        Self::start_with(&all)
    }

    /// Starts `fletchd` on a data directory that outlives it, with the usual options and these.
    pub fn start_on(data: &Path, options: &[&str]) -> Result<Broker> {
        Self::start_with(&on(data, options)?)
    }

    /// Like [`Broker::start_on`]; a broker that ends by itself instead is no error here: how it ended, and what it said.
    pub fn try_start_on(
        data: &Path,
        options: &[&str],
    ) -> Result<Result<Broker, (ExitStatus, String)>> {
        let mut process = Process::spawn(&on(data, options)?)?;
        match process.port() {
            Ok(port) => Ok(Ok(Broker { process, port })),
            Err(_) => {
                let status = process.wait(PATIENCE)?;
                Ok(Err((status, process.log())))
            }
        }
    }

    /// Starts `fletchd` with these options only (`--config` apart); one of them must be `--port 0`.
    pub fn start_with(options: &[&str]) -> Result<Broker> {
        let mut process = Process::spawn(options)?;
        let port = process.port()?;
        Ok(Broker { process, port })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The address of its HTTP listener, which `--http 127.0.0.1:0` gives it: from its log.
    pub fn http_address(&self) -> Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            // A line that is not all there may lack digits.
            let mut lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            if let Some(line) = lines.find(|line| line.contains("Listening on HTTP port ")) {
                let port = line.rsplit(' ').next().unwrap_or_default();
                return Ok(SocketAddr::from(([127, 0, 0, 1], port.parse()?)));
            }
            ensure!(Instant::now() < deadline, "no HTTP port in the log:\n{log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A connection with a read timeout, so that no test waits for ever.
    pub fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.address()).context("connecting to the broker")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The broker's process id.
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Memory and descriptors now.
    pub fn counters(&self) -> Result<Counters> {
        counters(self.pid())
    }

    /// Waits until `holds` of its counters, and returns them; the last ones are in the error.
    pub fn settle(&self, limit: Duration, holds: impl Fn(&Counters) -> bool) -> Result<Counters> {
        let deadline = Instant::now() + limit;
        loop {
            let now = self.counters()?;
            if holds(&now) {
                return Ok(now);
            }
            ensure!(Instant::now() < deadline, "after {limit:?} still {now:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.child.try_wait(), Ok(None))
    }

    /// SIGTERM, then insists on exit status 0 within the patience of the tests.
    pub fn stop(self) -> Result<()> {
        self.stop_by(Signal::TERM)
    }

    /// Like `stop`, with a signal of one's choice.
    pub fn stop_by(self, signal: Signal) -> Result<()> {
        self.process.signal(signal)?;
        self.stopped()
    }

    /// Waits for the end of a broker that was asked to stop (a second signal would hurry it), and insists on exit
    /// status 0.
    pub fn stopped(mut self) -> Result<()> {
        let status = self.process.wait(PATIENCE)?;
        ensure!(status.success(), "the broker ended with {status}:\n{}", self.log());
        Ok(())
    }

    /// Waits until it ends by itself: how it did, and what it had logged.
    pub fn ended(mut self, within: Duration) -> Result<(ExitStatus, String)> {
        let status = self.process.wait(within)?;
        Ok((status, self.log()))
    }

    /// A signal while others still use it; [`Broker::stopped`] or [`Broker::kill`] then says how that ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// SIGKILL, and insists that nothing else ended it before. Returns what it had logged.
    pub fn kill(mut self) -> Result<String> {
        self.process.kill()?;
        Ok(self.log())
    }
}

/// Starts `fletchd` like [`Broker::start_on`] and kills it so long after, wherever it is by then: before it is
/// ready, most likely. Insists that nothing else ended it before.
pub fn killed_in_start(data: &Path, options: &[&str], after: Duration) -> Result<()> {
    let mut process = Process::spawn(&on(data, options)?)?;
    std::thread::sleep(after);
    process.kill()
}

/// Runs `fletchd` like [`Broker::start_on`] until it ends by itself: see [`run_to_end`].
pub fn run_to_end_on(data: &Path, options: &[&str]) -> Result<(ExitStatus, String)> {
    run_to_end(&on(data, options)?)
}

fn on<'a>(data: &'a Path, options: &[&'a str]) -> Result<Vec<&'a str>> {
    let data = data.to_str().context("a temporary path is text")?;
    Ok(USUAL_ON.iter().chain(&[data]).chain(options).copied().collect())
}

/// Runs `fletchd` with these options until it ends by itself, as a failed start does.
/// Returns the exit status and what it wrote to standard error.
pub fn run_to_end(options: &[&str]) -> Result<(ExitStatus, String)> {
    let mut process = Process::spawn(options)?;
    let status = process.wait(PATIENCE)?;
    Ok((status, process.log()))
}

/// The directory that holds `fletchd` and `fletch`.
pub fn bin_dir() -> Result<&'static Path> {
    static DIR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match DIR.get_or_init(|| find_bin_dir().map_err(|error| format!("{error:#}"))) {
        Ok(dir) => Ok(dir),
        Err(error) => bail!("no fletchd to test: {error}"),
    }
}

fn find_bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("FLETCH_BIN_DIR") {
        let dir = PathBuf::from(dir);
        ensure!(dir.join("fletchd").is_file(), "FLETCH_BIN_DIR={} has none", dir.display());
        return Ok(dir);
    }
    let exe = std::env::current_exe()?;
    let dir = exe
        .ancestors()
        .skip(1)
        .find(|dir| dir.file_name().is_some_and(|name| name != "deps"))
        .context("the test runs from no directory")?;
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "-p", "fletch", "--bins"]);
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    if dir.ends_with("release") {
        build.arg("--release");
    }
    ensure!(build.status()?.success(), "cargo build -p fletch failed");
    ensure!(dir.join("fletchd").is_file(), "{} has none after the build", dir.display());
    Ok(dir.to_path_buf())
}

fn counters(pid: u32) -> Result<Counters> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok())
        .context("no VmRSS: the process is gone")?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Counters { resident: kib * 1024, descriptors })
}

/// The child process with its directory; kills by pid on drop.
#[derive(Debug)]
struct Process {
    child: Child,
    home: TempDir,
}

impl Process {
    fn spawn(options: &[&str]) -> Result<Process> {
        let home = TempDir::new()?;
        let config = home.path().join("fletchd.conf");
        File::create(&config)?;
        let mut command = Command::new(bin_dir()?.join("fletchd"));
        // Options may come from the environment; a test's broker takes none from there.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("FLETCH_") || text.starts_with("QPID_") {
                command.env_remove(&name);
            }
        }
        let child = command
            .env("HOME", home.path())
            .current_dir(home.path())
            .arg("--config")
            .arg(&config)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(home.path().join("log"))?)
            .spawn()
            .context("starting fletchd")?;
        Ok(Process { child, home })
    }

    /// The first line of standard output, which is the port and nothing else.
    fn port(&mut self) -> Result<u16> {
        let output = self.child.stdout.take().context("standard output was taken before")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = String::new();
            let _ = output.read_line(&mut line);
            let _ = sender.send(line);
            // Keep the pipe open and empty: a closed one would be a broken pipe in the broker.
            let _ = std::io::copy(&mut output, &mut std::io::sink());
        });
        let line = receiver
            .recv_timeout(PATIENCE)
            .with_context(|| format!("fletchd said no port; its log:\n{}", self.log()))?;
        line.trim_end()
            .parse()
            .with_context(|| format!("`{}` is no port; the log:\n{}", line.trim_end(), self.log()))
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.home.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn pid(&self) -> Result<Pid> {
        Pid::from_raw(self.child.id().try_into()?).context("a process id is positive")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).context("signalling fletchd")
    }

    fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let status = self.wait(PATIENCE)?;
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(killed, "it had ended with {status} before; its log:\n{}", self.log());
        Ok(())
    }

    fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let descriptor = pidfd_open(self.pid()?, PidfdFlags::empty())?;
        let mut ready = [PollFd::new(&descriptor, PollFlags::IN)];
        let timeout = Timespec { tv_sec: limit.as_secs().try_into()?, tv_nsec: 0 };
        ensure!(
            poll(&mut ready, Some(&timeout))? > 0,
            "fletchd still runs after {limit:?}; its log:\n{}",
            self.log()
        );
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
