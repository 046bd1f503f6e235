//! The data directory and the lock files that keep two brokers apart. A lock file holds the
//! process ID of its holder, so that the one who comes second can name the first. The lock itself
//! is the kernel's: it ends with the process, however that ends.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, fcntl_lock, flock};

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it; its ID when the file tells.
    #[error("locked by {}", who(*.0))]
    Held(Option<i32>),
    /// The file cannot be opened, locked or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn who(holder: Option<i32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// How often and how far apart a lock is tried again before it counts as held.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// A locked file that holds our process ID. Dropping it unlocks it.
#[derive(Debug)]
pub struct LockFile {
    file: File,
}

impl LockFile {
    /// Makes the file if need be, locks it and writes our process ID into it.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)?;
        // The record lock is what the reference broker takes, so the two exclude each other; the
        // other lock also excludes a second holder within one process.
        let lock = || {
            flock(&file, FlockOperation::NonBlockingLockExclusive)
                .and_then(|()| fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive))
        };
        // Whoever only looks for the holder has the lock for a moment.
        let mut locked = lock();
        for _ in 0..ATTEMPTS {
            if locked.is_ok() {
                break;
            }
            std::thread::sleep(PAUSE);
            locked = lock();
        }
        match locked {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::ACCESS) => {
                return Err(LockError::Held(read_pid(&mut file)));
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        match writeln!(file, "{}", std::process::id()) {
            // Only who comes second is told less; a full disk must not keep the first from starting.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            written => written?,
        }
        Ok(Self { file })
    }

    /// The process that holds the lock of an existing file; none when nobody does.
    pub fn holder(path: &Path) -> io::Result<Option<i32>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(read_pid(&mut file)),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // An empty file cannot name a process that is gone.
        let _ = self.file.set_len(0);
    }
}

/// The process ID in a lock file, when there is one. More than a number's length is not read.
fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another broker uses it.
    #[error("Data directory {path} is {error}", path = .0.display(), error = .1)]
    Locked(PathBuf, LockError),
    /// It cannot be made or written to.
    #[error("cannot use data directory {path}: {error}", path = .0.display(), error = .1)]
    Io(PathBuf, io::Error),
}

/// The broker's data directory, ours until dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: LockFile,
}

impl DataDir {
    /// Makes the directory if need be and locks it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        make_dir(path).map_err(|error| DataDirError::Io(path.to_path_buf(), error))?;
        match LockFile::acquire(&path.join("lock")) {
            Ok(lock) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(LockError::Io(error)) => Err(DataDirError::Io(path.to_path_buf(), error)),
            Err(held) => Err(DataDirError::Locked(path.to_path_buf(), held)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory and its parents, readable to all and writable to us.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_directory_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let held = DataDir::open(&path).unwrap();
        assert_eq!(held.path(), path);
        let pid = i32::try_from(std::process::id()).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        let wanted = format!("Data directory {} is locked by process {pid}", path.display());
        assert_eq!(error.to_string(), wanted);
        assert_eq!(LockFile::holder(&path.join("lock")).unwrap(), Some(pid));
        drop(held);
        assert_eq!(LockFile::holder(&path.join("lock")).unwrap(), None);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(file.path()).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot use data directory") && error.contains("exists"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_or_stale_lock_has_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(LockFile::holder(&path).unwrap(), None);
        std::fs::write(&path, "12345\n").unwrap();
        assert_eq!(LockFile::holder(&path).unwrap(), None);
    }
}
