//! One log line from one event: prefix, time, category, level, thread, place, message and fields.
//! Runs on the thread that logs, so it only formats; writing is another thread's.

use std::fmt::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::Event;
use tracing::field::{Field, Visit};

use super::LogConfig;
use super::selector::{self, Level};

/// The zone of this machine. Its name is of no interest, and to look for it walks all of the database at each start.
fn local_zone() -> TimeZone {
    let named = std::env::var_os("TZ").is_some();
    let rules = std::fs::read("/etc/localtime").ok().filter(|_| !named);
    let zone = rules.and_then(|rules| TimeZone::tzif("local", &rules).ok());
    zone.unwrap_or_else(TimeZone::system)
}

/// How lines look, and the time zone, read once: looking it up reads a file.
#[derive(Debug)]
pub(super) struct LineFormat {
    config: LogConfig,
    zone: TimeZone,
}

impl LineFormat {
    pub(super) fn new(config: LogConfig) -> Self {
        Self { config, zone: local_zone() }
    }

    /// Appends the line for an event, with its line feed.
    pub(super) fn write(&self, event: &Event<'_>, now: Timestamp, line: &mut String) {
        let metadata = event.metadata();
        // Writing into a String cannot fail.
        let _ = self.write_head(Level::of(metadata), metadata, now, line);
        event.record(&mut Fields { line });
        line.push('\n');
    }

    /// The time as syslog lines have it.
    pub(super) fn stamp(&self, now: Timestamp) -> String {
        now.to_zoned(self.zone.clone()).strftime("%b %e %H:%M:%S").to_string()
    }

    fn write_head(
        &self,
        level: Level,
        metadata: &tracing::Metadata<'_>,
        now: Timestamp,
        line: &mut String,
    ) -> fmt::Result {
        let config = &self.config;
        if !config.prefix.is_empty() {
            write!(line, "{}: ", config.prefix)?;
        }
        if config.time {
            if config.hires {
                write!(line, "{}.{:09}s ", now.as_second(), now.subsec_nanosecond())?;
            } else {
                let t = self.zone.to_datetime(now);
                write!(line, "{:04}-{:02}-{:02} ", t.year(), t.month(), t.day())?;
                write!(line, "{:02}:{:02}:{:02} ", t.hour(), t.minute(), t.second())?;
            }
        }
        if config.category {
            write!(line, "[{}] ", selector::category(metadata.target()))?;
        }
        if config.level {
            write!(line, "{} ", level.name())?;
        }
        if config.thread {
            let thread = std::thread::current();
            match thread.name() {
                Some(name) => write!(line, "[{name}] ")?,
                None => write!(line, "[{:?}] ", thread.id())?,
            }
        }
        if config.source {
            let (file, number) = (metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
            write!(line, "{file}:{number}:")?;
        }
        if config.function {
            write!(line, "{}:", metadata.module_path().unwrap_or_else(|| metadata.target()))?;
        }
        if config.source || config.function {
            line.push(' ');
        }
        Ok(())
    }
}

/// Appends the message and then `name=value` for every other field.
struct Fields<'a> {
    line: &'a mut String,
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        if matches!(name, "notice" | "critical") || name.starts_with("log.") {
            return;
        }
        if name != "message" {
            let _ = write!(self.line, " {name}=");
        }
        let _ = write!(Escaped(self.line), "{value:?}");
    }
}

/// Writes control characters as `\xNN`, so that what a peer sent cannot forge a line or drive a
/// terminal.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c.is_control() && c != '\t' {
                write!(self.0, "\\x{:02X}", u32::from(c))?;
            } else {
                self.0.push(c);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let mut line = String::new();
        write!(Escaped(&mut line), "a\nb\x1b[31mc\td é").unwrap();
        assert_eq!(line, "a\\x0Ab\\x1B[31mc\td é");
    }
}
