//! The log: tracing events, chosen by rules, formatted as the reference broker's lines and handed
//! to writer threads over bounded queues.
//!
//! A thread that logs formats its line and never waits: when a queue is full the line is dropped
//! and counted, and [`Log::report_drops`] says so in the log. [`notice!`](crate::notice) and
//! [`critical!`](crate::critical) are the two levels that tracing does not have.

mod line;
mod selector;
mod sink;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use selector::{Level, Rule, RuleError};
pub use sink::Facility;

use line::LineFormat;
use selector::Selector;
use sink::{LogFile, Syslog};

#[doc(hidden)]
pub use tracing as __tracing;

/// Logs at level notice: normal, and worth a line in every log.
#[macro_export]
macro_rules! notice {
    (target: $target:expr, $($arg:tt)+) => {
        $crate::logging::__tracing::info!(
            target: $target, notice = $crate::logging::__tracing::field::Empty, $($arg)+)
    };
    ($($arg:tt)+) => {
        $crate::logging::__tracing::info!(
            notice = $crate::logging::__tracing::field::Empty, $($arg)+)
    };
}

/// Logs at level critical: the broker cannot go on as it is.
#[macro_export]
macro_rules! critical {
    (target: $target:expr, $($arg:tt)+) => {
        $crate::logging::__tracing::error!(
            target: $target, critical = $crate::logging::__tracing::field::Empty, $($arg)+)
    };
    ($($arg:tt)+) => {
        $crate::logging::__tracing::error!(
            critical = $crate::logging::__tracing::field::Empty, $($arg)+)
    };
}

/// Lines that may wait for a writer; some seconds of a busy log.
const QUEUED_LINES_MAX: usize = 16 * 1024;

/// A thread's line buffer is given back when one line made it larger than this.
const LINE_BUFFER_MAX: usize = 16 * 1024;

/// What is logged, how and where to.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Rules that let lines through.
    pub enable: Vec<Rule>,
    /// Rules that hold lines back.
    pub disable: Vec<Rule>,
    /// Begin lines with the time.
    pub time: bool,
    /// Include the level.
    pub level: bool,
    /// Include file and line of the source.
    pub source: bool,
    /// Include the thread's name.
    pub thread: bool,
    /// Include the module path.
    pub function: bool,
    /// Times as seconds with nanoseconds.
    pub hires: bool,
    /// Include the category.
    pub category: bool,
    /// Begin lines with this text.
    pub prefix: String,
    /// Log to standard error.
    pub stderr: bool,
    /// Log to standard output.
    pub stdout: bool,
    /// Log to this file.
    pub file: Option<PathBuf>,
    /// Log to syslog.
    pub syslog: Option<SyslogConfig>,
}

/// How lines are marked in syslog.
#[derive(Debug, Clone)]
pub struct SyslogConfig {
    /// The program's name there.
    pub name: String,
    /// The facility.
    pub facility: Facility,
}

/// Why the log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log file cannot be opened.
    #[error("cannot open log file {path}: {error}", path = .0.display(), error = .1)]
    File(PathBuf, io::Error),
    /// There is no socket to talk to syslog.
    #[error("cannot open a socket to syslog: {0}")]
    Syslog(io::Error),
}

/// The running log. Dropping it writes out what is queued, so it lives until the process ends.
#[derive(Debug)]
pub struct Log {
    guards: Vec<WorkerGuard>,
    counters: Vec<ErrorCounter>,
    reported: usize,
    reopen: Arc<AtomicBool>,
    syslog_missing: Option<io::Error>,
}

impl Log {
    /// Starts the log for the whole process. A second start in one process keeps the first log.
    pub fn start(config: &LogConfig) -> Result<Self, LogError> {
        let mut log = Self {
            guards: Vec::new(),
            counters: Vec::new(),
            reported: 0,
            reopen: Arc::default(),
            syslog_missing: None,
        };
        let mut streams = Vec::new();
        if config.stderr {
            streams.push(log.writer(io::stderr()));
        }
        if config.stdout {
            streams.push(log.writer(io::stdout()));
        }
        if let Some(path) = &config.file {
            let file = LogFile::open(path, Arc::clone(&log.reopen))
                .map_err(|error| LogError::File(path.clone(), error))?;
            streams.push(log.writer(file));
        }
        let syslog = match &config.syslog {
            Some(syslog) => {
                let (output, connected) = Syslog::open().map_err(LogError::Syslog)?;
                log.syslog_missing = connected.err();
                Some((syslog.clone(), log.writer(output)))
            }
            None => None,
        };
        let lines = Lines {
            selector: Selector::new(config.enable.clone(), config.disable.clone()),
            format: LineFormat::new(config.clone()),
            streams,
            syslog,
        };
        let _ = tracing_subscriber::registry().with(lines).try_init();
        Ok(log)
    }

    fn writer(&mut self, output: impl io::Write + Send + 'static) -> NonBlocking {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUED_LINES_MAX)
            .lossy(true)
            .thread_name("log")
            .finish(output);
        self.counters.push(writer.error_counter());
        self.guards.push(guard);
        writer
    }

    /// Lines dropped since the start because a writer could not keep up.
    pub fn dropped(&self) -> usize {
        self.counters.iter().map(ErrorCounter::dropped_lines).sum()
    }

    /// Logs how many lines were dropped since the last report, if any. To be called now and then.
    pub fn report_drops(&mut self) {
        let dropped = self.dropped();
        if dropped > self.reported {
            tracing::warn!(
                "{} log lines were dropped: the log's writer is too slow",
                dropped - self.reported
            );
            self.reported = dropped;
        }
    }

    /// Why syslog, which the log should go to, cannot be reached; tried again with every line.
    pub fn syslog_missing(&self) -> Option<&io::Error> {
        self.syslog_missing.as_ref()
    }

    /// Opens the log file anew at its next line.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }
}

/// The layer that turns events into lines.
struct Lines {
    selector: Selector,
    format: LineFormat,
    streams: Vec<NonBlocking>,
    syslog: Option<(SyslogConfig, NonBlocking)>,
}

thread_local! {
    /// The line being written, kept so that a line costs no allocation of its own. Borrowed only
    /// while one line is formatted; formatting a field could log again, and that line is let go.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S: Subscriber> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_event() && self.selector.selects(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    /// Only asked for records of the `log` crate, whose statements are not registered.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.selector.selects(metadata)
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.selector.most_verbose())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with(|line| {
            let Ok(mut line) = line.try_borrow_mut() else { return };
            line.clear();
            let now = Timestamp::now();
            self.format.write(event, now, &mut line);
            for stream in &self.streams {
                // Never fails: a full queue counts the line as dropped.
                let _ = stream.clone().write_all(line.as_bytes());
            }
            if let Some((config, writer)) = &self.syslog {
                let datagram = syslog_datagram(
                    config,
                    Level::of(event.metadata()),
                    &self.format.stamp(now),
                    &line,
                );
                let _ = writer.clone().write_all(datagram.as_bytes());
            }
            if line.capacity() > LINE_BUFFER_MAX {
                *line = String::new();
            }
        });
    }
}

/// A line as syslog's socket takes it: `<priority>Mmm dd hh:mm:ss name[pid]: line`.
fn syslog_datagram(config: &SyslogConfig, level: Level, stamp: &str, line: &str) -> String {
    let mut text = String::with_capacity(line.len() + 64);
    let _ = write!(
        text,
        "<{}>{} {}[{}]: {}",
        config.facility.priority(level),
        stamp,
        config.name,
        std::process::id(),
        line.trim_end()
    );
    text
}
