//! `fletchd`: from the options to a serving broker and back to nothing.
//!
//! Owns the process: its log, locks, listening sockets, signals and exit status. Lives on the main
//! thread, which waits for signals while the shards serve. Whatever keeps the broker from starting
//! is one line on standard error and exit status 1.

mod background;
mod listen;
mod paging;
mod serve;
mod store;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use fletch_shards::{Listener, StartError};
use rustix::process::Signal;

use crate::config::{self, Config, ConfigError, Invocation, Request};
use crate::data_dir::{DataDir, DataDirError};
use crate::logging::{Level, Log, LogError};
use crate::signals::{self, Asked};
use crate::{critical, notice};

use background::{BackgroundError, PidFile};
use listen::{ListenError, Sockets};
use store::StoreError;

/// How often the main thread looks after the log while it waits for signals.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// Why the daemon does not run. Each is one line.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Background(#[from] BackgroundError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

/// The whole of `fletchd`.
pub fn main() -> ExitCode {
    let Err(error) = request() else { return ExitCode::SUCCESS };
    // The child has already said why.
    if !matches!(error, RunError::Background(BackgroundError::Failed)) {
        eprintln!("fletchd: {error}");
    }
    ExitCode::FAILURE
}

fn request() -> Result<(), RunError> {
    match config::parse(&Invocation::of_process())? {
        Request::Print(text) => print(&text),
        Request::Check(config) => print(&format!("{}\n", background::running(&config)?)),
        Request::Quit(config) => Ok(background::end(&config, Signal::TERM)?),
        Request::Kill(config) => Ok(background::end(&config, Signal::KILL)?),
        Request::Run(config) if config.daemon.daemon && !background::is_child() => {
            let port = background::launch(&config)?;
            print(&format!("{port}\n"))
        }
        Request::Run(config) => {
            if config.daemon.daemon {
                background::detach(&config)?;
            }
            let mut log = Log::start(&config.log)?;
            let run = run(&config, &mut log);
            if let Err(error) = &run {
                // For those who read the log and not the terminal; never twice on the terminal.
                if !config.log.stderr {
                    critical!("Cannot start: {error}");
                }
            }
            run
        }
    }
}

fn print(text: &str) -> Result<(), RunError> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(RunError::Output)
}

/// Runs the broker until a signal ends it.
fn run(config: &Config, log: &mut Log) -> Result<(), RunError> {
    let _data_dir = config.data_dir.as_deref().map(DataDir::open).transpose()?;
    let Sockets { amqp, http } = listen::listen(config)?;
    let addresses = |of: &[Listener]| of.iter().map(Listener::local_addr).collect::<Vec<_>>();
    let (addresses, http_addresses) = (addresses(&amqp), addresses(&http));
    let port = addresses.first().map_or(config.port, SocketAddr::port);
    let _pid_files = pid_files(config, port)?;
    let signals = signals::listen().map_err(RunError::Signals)?;

    notice!("Fletch {} (pid={}) start-up", env!("CARGO_PKG_VERSION"), std::process::id());
    log_notes(config, addresses.iter().chain(&http_addresses));
    let store = config.store.as_ref().map(|store| store::open(store, config)).transpose()?;
    let (_store_lock, store) = store.unzip();
    let paging = paging::open(config)?;
    let listeners = amqp.into_iter().chain(http).collect();
    let serving = serve::serve(config, listeners, store, paging.as_ref())?;
    for address in &addresses {
        tracing::debug!(target: "Network", "Listening on {address}");
        notice!(target: "Network", "Listening on TCP/TCP6 port {}", address.port());
    }
    for address in &http_addresses {
        tracing::debug!(target: "Network", "Listening for HTTP on {address}");
        notice!(target: "Network", "Listening on HTTP port {}", address.port());
    }
    if let (Some(error), false) = (log.syslog_missing(), config.log.stderr) {
        eprintln!(
            "fletchd: warning: cannot reach syslog: {error}; use --log-to-file to keep the log"
        );
    }
    if background::is_child() {
        background::report(port).map_err(RunError::Output)?;
    } else if config.port == 0 && !addresses.is_empty() {
        print(&format!("{port}\n"))?;
    }
    let signal = wait_for_stop(&signals, log);
    notice!("Stopping on {signal}, within {:?}", config.stop_timeout);
    if !serving.stop(config.stop_timeout) {
        tracing::warn!("The shards did not stop within {:?} and are cut off", config.stop_timeout);
    }
    log.report_drops();
    notice!("Fletch (pid={}) shut-down", std::process::id());
    Ok(())
}

/// The files by which `-c` and `-q` find this broker. A broker in the foreground can do without, so
/// there only a file that was asked for must work.
fn pid_files(config: &Config, port: u16) -> Result<Vec<PidFile>, BackgroundError> {
    let mut files = Vec::new();
    match PidFile::of_port(config, port) {
        Ok(file) => files.push(file),
        Err(error) if config.daemon.daemon => return Err(error),
        Err(error) => tracing::debug!("Running without a PID file: {error}"),
    }
    if let Some(path) = &config.daemon.pid_file {
        files.push(PidFile::at(path.clone())?);
    }
    Ok(files)
}

/// Says what the options leave to say.
fn log_notes<'a>(config: &Config, mut addresses: impl Iterator<Item = &'a SocketAddr>) {
    for note in &config.notes {
        match note.level {
            Level::Warning => tracing::warn!("{}", note.text),
            Level::Info => tracing::info!("{}", note.text),
            _ => tracing::debug!("{}", note.text),
        }
    }
    if config.data_dir.is_none() {
        tracing::info!("No data directory - nothing is stored");
    }
    if addresses.any(|address| !address.ip().to_canonical().is_loopback()) {
        tracing::warn!(
            target: "Security",
            "AUTHENTICATION IS OFF (--auth no) and the broker listens beyond this host: \
             everybody who can reach it can read, write and delete everything"
        );
    }
}

/// Waits for the signal that ends the broker, looking after the log meanwhile.
fn wait_for_stop(signals: &Receiver<Asked>, log: &mut Log) -> &'static str {
    loop {
        match signals.recv_timeout(HOUSEKEEPING_INTERVAL) {
            Ok(Asked::Stop(signal)) => return signal,
            Ok(Asked::Reopen) => {
                log.reopen();
                notice!("Log opened anew on SIGHUP");
            }
            Err(RecvTimeoutError::Timeout) => log.report_drops(),
            Err(RecvTimeoutError::Disconnected) => return "the end of the signal thread",
        }
    }
}
