//! The broker in the background: starting it (`-d`), asking for it (`-c`), ending it (`-q`, `-k`).
//!
//! `-d` does not fork: it starts the program again with a mark in the environment and waits for the
//! port on the child's standard output, so nothing is shared with a process that has threads. A
//! running broker is known by the lock on its PID file, which ends with it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::config::Config;
use crate::data_dir::{LockError, LockFile, make_dir};

/// Marks the child that `-d` starts. Not `FLETCH_...`, which would name an option.
const CHILD_MARK: &str = "FLETCHD_BACKGROUND_CHILD";

/// Why a background broker cannot be started, found or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackgroundError {
    /// The child cannot be started or read.
    #[error("cannot start the daemon: {0}")]
    Spawn(io::Error),
    /// The child ended; it has said why.
    #[error("the daemon did not start")]
    Failed,
    /// The child did not serve in time.
    #[error("the daemon did not serve within {0:?} and was stopped; allow more with --wait")]
    Slow(Duration),
    /// A PID file cannot be used.
    #[error("cannot use PID file {path}: {error}", path = .0.display(), error = .1)]
    PidFile(PathBuf, io::Error),
    /// A PID file is another broker's.
    #[error("PID file {path} is {error}", path = .0.display(), error = .1)]
    Locked(PathBuf, LockError),
    /// No broker has the PID file.
    #[error("no broker is running: nobody holds {}", .0.display())]
    NotRunning(PathBuf),
    /// The broker cannot be signalled.
    #[error("cannot signal process {0}: {1}")]
    Signal(i32, io::Error),
    /// The broker did not end in time.
    #[error("process {0} did not stop within {1:?}")]
    Stuck(i32, Duration),
}

/// Whether this process is the child that `-d` started.
pub(super) fn is_child() -> bool {
    std::env::var_os(CHILD_MARK).is_some()
}

/// Starts this program again as the daemon and waits until it serves. Returns its port.
pub(super) fn launch(config: &Config) -> Result<u16, BackgroundError> {
    let program = std::env::current_exe().map_err(BackgroundError::Spawn)?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(CHILD_MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(BackgroundError::Spawn)?;
    let port = wait_for_port(&mut child, config.daemon.wait);
    if port.is_err() {
        // Either it is gone already or it must not come to serve after we said it did not.
        let _ = child.kill();
        let _ = child.wait();
    }
    port
}

fn wait_for_port(child: &mut Child, limit: Duration) -> Result<u16, BackgroundError> {
    let Some(output) = child.stdout.take() else { return Err(BackgroundError::Failed) };
    let (sender, receiver) = bounded(1);
    // A thread, because reading a pipe has no time limit. It ends with the child's output.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        let _ = sender.send(read.ok().and_then(|_| line.trim().parse().ok()));
    });
    match receiver.recv_timeout(limit) {
        Ok(Some(port)) => Ok(port),
        Ok(None) | Err(RecvTimeoutError::Disconnected) => Err(BackgroundError::Failed),
        Err(RecvTimeoutError::Timeout) => Err(BackgroundError::Slow(limit)),
    }
}

/// In the child: leaves the terminal's session and the directory it was started in.
pub(super) fn detach(config: &Config) -> Result<(), BackgroundError> {
    let directory = &config.daemon.pid_dir;
    let unusable = |error| BackgroundError::PidFile(directory.clone(), error);
    make_dir(directory).map_err(unusable)?;
    rustix::process::setsid().map_err(|error| BackgroundError::Spawn(error.into()))?;
    rustix::process::umask(Mode::WGRP | Mode::RWXO);
    std::env::set_current_dir(directory).map_err(unusable)
}

/// In the child: tells the parent the port and lets go of its output and errors.
pub(super) fn report(port: u16) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{port}")?;
    stdout.flush()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// The PID file of a running broker. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    _lock: LockFile,
}

impl PidFile {
    /// The file of the broker on that port.
    pub(super) fn of_port(config: &Config, port: u16) -> Result<Self, BackgroundError> {
        let directory = &config.daemon.pid_dir;
        make_dir(directory).map_err(|error| BackgroundError::PidFile(directory.clone(), error))?;
        Self::at(path_of_port(config, port))
    }

    /// A file of any name.
    pub(super) fn at(path: PathBuf) -> Result<Self, BackgroundError> {
        match LockFile::acquire(&path) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(LockError::Io(error)) => Err(BackgroundError::PidFile(path, error)),
            Err(held) => Err(BackgroundError::Locked(path, held)),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn path_of_port(config: &Config, port: u16) -> PathBuf {
    config.daemon.pid_dir.join(format!("fletchd.{port}.pid"))
}

/// The process that runs as the options describe: of the `--pidfile`, else of the port.
pub(super) fn running(config: &Config) -> Result<i32, BackgroundError> {
    let path = match &config.daemon.pid_file {
        Some(path) => path.clone(),
        None => path_of_port(config, config.port),
    };
    holder(&path)?.ok_or(BackgroundError::NotRunning(path))
}

fn holder(path: &Path) -> Result<Option<i32>, BackgroundError> {
    LockFile::holder(path).map_err(|error| BackgroundError::PidFile(path.to_path_buf(), error))
}

/// Signals the running broker and waits until it is gone.
pub(super) fn end(config: &Config, signal: Signal) -> Result<(), BackgroundError> {
    let pid = running(config)?;
    let failed = |error: rustix::io::Errno| BackgroundError::Signal(pid, error.into());
    let process = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH).map_err(failed)?;
    let process = pidfd_open(process, PidfdFlags::empty()).map_err(failed)?;
    // Asked again now that the process is held by a descriptor: the number may have been reused
    // between the two.
    if running(config)? != pid {
        return Err(failed(rustix::io::Errno::SRCH));
    }
    pidfd_send_signal(&process, signal).map_err(failed)?;
    let limit = config.daemon.wait;
    let timeout = Timespec::try_from(limit).map_err(|_| failed(rustix::io::Errno::INVAL))?;
    let mut ended = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    match poll(&mut ended, Some(&timeout)).map_err(failed)? {
        0 => Err(BackgroundError::Stuck(pid, limit)),
        _ => Ok(()),
    }
}
