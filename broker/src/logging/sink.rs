//! Where log lines go: a file that can be opened anew, and syslog. These writers belong to the
//! log's own threads and may block there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::selector::Level;

/// A log file. After the flag is raised the next line opens the path anew, so that a rotated file
/// can be let go.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    reopen: Arc<AtomicBool>,
}

impl LogFile {
    pub(super) fn open(path: &Path, reopen: Arc<AtomicBool>) -> io::Result<Self> {
        Ok(Self { path: path.to_path_buf(), file: append(path)?, reopen })
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.reopen.swap(false, Ordering::Relaxed) {
            // When the path cannot be opened the old file is better than none.
            if let Ok(file) = append(&self.path) {
                self.file = file;
            }
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The system's log socket.
const SYSLOG_PATH: &str = "/dev/log";

/// The facilities by number, as every syslog has them; 12 to 15 have no portable name.
const FACILITIES: [(&str, u8); 20] = [
    ("KERN", 0),
    ("USER", 1),
    ("MAIL", 2),
    ("DAEMON", 3),
    ("AUTH", 4),
    ("SYSLOG", 5),
    ("LPR", 6),
    ("NEWS", 7),
    ("UUCP", 8),
    ("CRON", 9),
    ("AUTHPRIV", 10),
    ("FTP", 11),
    ("LOCAL0", 16),
    ("LOCAL1", 17),
    ("LOCAL2", 18),
    ("LOCAL3", 19),
    ("LOCAL4", 20),
    ("LOCAL5", 21),
    ("LOCAL6", 22),
    ("LOCAL7", 23),
];

/// A syslog facility.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facility(u8);

impl Default for Facility {
    fn default() -> Self {
        Self(3)
    }
}

impl Facility {
    /// Reads a name with or without `LOG_`, any case.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("LOG_").unwrap_or(&name);
        FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| Self(*number))
    }

    /// The number that begins a syslog line of that level.
    pub(super) fn priority(self, level: Level) -> u8 {
        let severity = match level {
            Level::Critical => 2,
            Level::Error => 3,
            Level::Warning => 4,
            Level::Notice => 5,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        self.0 * 8 + severity
    }
}

/// A connection to syslog: each write is one line, sent as one datagram. It is made again when
/// syslog restarts, or starts later than the broker; until then lines are lost.
#[derive(Debug)]
pub(super) struct Syslog {
    socket: UnixDatagram,
}

impl Syslog {
    /// Opens the socket. Whether syslog is there is the second result.
    pub(super) fn open() -> io::Result<(Self, io::Result<()>)> {
        let socket = UnixDatagram::unbound()?;
        let connected = socket.connect(SYSLOG_PATH);
        Ok((Self { socket }, connected))
    }
}

impl Write for Syslog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.socket.send(bytes).is_err() {
            self.socket.connect(SYSLOG_PATH)?;
            self.socket.send(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facilities_and_priorities() {
        assert_eq!(Facility::parse("LOG_DAEMON"), Some(Facility::default()));
        assert_eq!(Facility::parse("local7"), Some(Facility(23)));
        assert_eq!(Facility::parse("LOG_NOWHERE"), None);
        assert_eq!(Facility::default().priority(Level::Notice), 29);
    }

    #[test]
    fn a_rotated_file_is_let_go_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let reopen = Arc::new(AtomicBool::new(false));
        let mut log = LogFile::open(&path, Arc::clone(&reopen)).unwrap();
        log.write_all(b"one\n").unwrap();
        std::fs::rename(&path, &old).unwrap();
        log.write_all(b"two\n").unwrap();
        reopen.store(true, Ordering::Relaxed);
        log.write_all(b"three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    }
}
