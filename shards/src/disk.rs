//! What a journal's disk is asked for: where it is, what counts as durable, and how it fails.

use crate::startup::StartError;
use rustix::fs::{Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The most bytes of one write.
pub const WRITE_MAX: usize = 1 << 20;

/// What direct IO is aligned to here: no disk asks for more.
pub(crate) const ALIGN: usize = fletch_journal::ALIGN;

/// The journals of the shards. The directories are there, each with its superblock.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The directory of each shard's journal.
    pub dirs: Vec<PathBuf>,
    /// When a write counts as durable. `The benchmark `sync` measures the choices on a disk.
    pub durability: Durability,
}

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has it for good, its cache flushed.
    #[default]
    Sync,
    /// When the disk has taken it: for disks whose cache survives the loss of power.
    Device,
}

/// The disk of a journal failed. No room is no failure; see [`Done::Full`](fletch_journal::Done).
#[derive(Debug, Error)]
#[error("cannot {operation} {}{}: {source}", .path.display(), At(*.offset))]
pub struct DiskError {
    /// The file or directory.
    pub path: PathBuf,
    /// What was to be done with it: a verb.
    pub operation: &'static str,
    /// Where in the file.
    pub offset: Option<u64>,
    /// Why not.
    pub source: io::Error,
}

struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at {offset}"),
            None => Ok(()),
        }
    }
}

/// Checks that the journal in this directory can be written past the page cache. It is looked at and not
/// written: a broker has to start on a full disk too.
pub fn check_direct_io(dir: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::DirectIo { path: dir.to_owned(), source };
    check_device(dir).map_err(failed)?;
    let path = dir.join("superblock");
    let journal = |action, source| StartError::Journal { action, path: path.clone(), source };
    let opened = File::options().read(true).write(true).open(&path);
    opened.map_err(|error| journal("write to", error))?;
    let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty());
    let file = File::from(file.map_err(|error| failed(error.into()))?);
    // Twice as much as is used: some of it is aligned.
    let mut bytes = [0; 2 * ALIGN];
    let start = bytes.as_ptr().align_offset(ALIGN);
    match file.read_exact_at(&mut bytes[start..start + ALIGN], 0) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(failed(error)),
        read => read.map_err(|error| journal("read", error)),
    }
}

/// The same for a directory without a file yet.
pub(crate) fn probe_direct_io(dir: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::DirectIo { path: dir.to_owned(), source };
    check_device(dir).map_err(failed)?;
    let path = dir.join("probe.tmp");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::DIRECT | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
    opened.map_err(|error| failed(error.into()))?;
    std::fs::remove_file(&path).map_err(failed)
}

/// The event loop asks the system about the disk of each file it opens, and panics when it does
/// not find all of this. It takes the disk with minor number 0 for that of a partition.
fn check_device(dir: &Path) -> io::Result<()> {
    const ASKED: [&str; 7] = [
        "rotational",
        "minimum_io_size",
        "optimal_io_size",
        "logical_block_size",
        "physical_block_size",
        "max_sectors_kb",
        "write_cache",
    ];
    let major = rustix::fs::major(std::fs::metadata(dir)?.st_dev());
    let device = PathBuf::from(format!("/sys/dev/block/{major}:0"));
    if !device.exists() {
        return Ok(());
    }
    for name in ASKED {
        let path = device.join("queue").join(name);
        std::fs::read(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let error = |offset| DiskError {
            path: "/data/0/superblock".into(),
            operation: "write",
            offset,
            source: io::Error::from_raw_os_error(libc::EIO),
        };
        let text = error(Some(4096)).to_string();
        assert_eq!(
            text,
            "cannot write /data/0/superblock at 4096: Input/output error (os error 5)"
        );
        let text = error(None).to_string();
        assert_eq!(text, "cannot write /data/0/superblock: Input/output error (os error 5)");
    }

    #[test]
    fn a_disk_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let superblock = dir.path().join("superblock");
        std::fs::write(&superblock, [0; 2 * ALIGN]).unwrap();
        check_direct_io(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        // Files of /proc cannot be opened so.
        std::fs::remove_file(&superblock).unwrap();
        std::os::unix::fs::symlink("/proc/self/maps", &superblock).unwrap();
        let error = check_direct_io(dir.path()).unwrap_err().to_string();
        let path = dir.path().to_str().unwrap();
        assert!(error.contains(path) && !error.contains('\n'), "{error}");
    }
}
