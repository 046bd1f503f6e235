//! What is checked and raised before the first shard starts: io_uring, locked memory, descriptors.

use crate::cpus::CpuListError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;
use thiserror::Error;

/// Why the runtime did not start: one line that says what is wrong and how to mend it.
#[derive(Debug, Error)]
pub enum StartError {
    /// The kernel has no io_uring.
    #[error("this kernel has no io_uring: Linux 5.8 or later with CONFIG_IO_URING is needed")]
    NoIoUring,
    /// io_uring is forbidden.
    #[error(
        "io_uring is not permitted here: set sysctl kernel.io_uring_disabled=0, and in a container allow \
         io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile"
    )]
    IoUringForbidden,
    /// io_uring does not work for another reason.
    #[error("io_uring cannot be set up: {0}")]
    IoUring(io::Error),
    /// RLIMIT_MEMLOCK is too small.
    #[error(
        "the limit of locked memory is {limit} KiB, {needed} KiB are needed: raise it (`ulimit -l`, \
         LimitMEMLOCK= in the systemd unit, --ulimit memlock= for a container)"
    )]
    LockedMemory {
        /// What it is.
        limit: u64,
        /// What it has to be.
        needed: u64,
    },
    /// The list of processors cannot be used.
    #[error(transparent)]
    Cpus(#[from] CpuListError),
    /// The number of shards is out of range.
    #[error("{0} shards: there must be between 1 and 1024")]
    Shards(usize),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A port per shard was asked for, and the port numbers end before the shards do.
    #[error("{address} leaves no room for one port for each of {shards} shards")]
    Ports {
        /// The first address.
        address: SocketAddr,
        /// The number of shards.
        shards: usize,
    },
    /// The journal's directory does not take direct IO.
    #[error(
        "files in {} cannot be written past the page cache (O_DIRECT): {source}; the journal has to \
         be on a file system that can, such as ext4 or XFS on a local disk", .path.display()
    )]
    DirectIo {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A journal cannot be used.
    #[error("cannot {action} {}: {source}", .path.display())]
    Journal {
        /// What was to be done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not one directory of a log for each shard.
    #[error("{dirs} directories of logs for {shards} shards")]
    Journals {
        /// The number of directories.
        dirs: usize,
        /// The number of shards.
        shards: usize,
    },
    /// A shard's event loop cannot be made.
    #[error("cannot start shard {shard}: {reason}")]
    Shard {
        /// The shard.
        shard: u16,
        /// Why.
        reason: String,
    },
    /// A thread or descriptor of the runtime cannot be made.
    #[error("cannot start {what}: {source}")]
    System {
        /// The thing.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Locked memory below which the event loop refuses to start.
const MEMLOCK_NEEDED: u64 = 512 * 1024;
/// Rings that each shard registers its buffers with; the kernel counts them once for each.
const RINGS: u64 = 3;
const IO_MEMORY: std::ops::RangeInclusive<u64> = 64 * 1024..=1024 * 1024;

/// Raises what may be raised, checks what must be there. Returns the bytes of IO memory that
/// each shard may register.
pub(crate) fn prepare(shards: usize) -> Result<usize, StartError> {
    if !(1..=1024).contains(&shards) {
        return Err(StartError::Shards(shards));
    }
    raise(Resource::Nofile);
    let locked = raise(Resource::Memlock);
    if locked < MEMLOCK_NEEDED {
        let (limit, needed) = (locked / 1024, MEMLOCK_NEEDED / 1024);
        return Err(StartError::LockedMemory { limit, needed });
    }
    probe()?;
    // Half of what is allowed: other users of locked memory exist.
    let share = locked / 2 / RINGS / shards as u64;
    Ok(share.clamp(*IO_MEMORY.start(), *IO_MEMORY.end()) as usize & !4095)
}

/// Raises a limit to its hard limit. Returns what it is then.
fn raise(resource: Resource) -> u64 {
    let limit = getrlimit(resource);
    if limit.current != limit.maximum {
        // Failing leaves the limit as it is; what follows then says what is missing.
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(resource).current.unwrap_or(u64::MAX)
}

/// Sets up a small ring and throws it away.
fn probe() -> Result<(), StartError> {
    // struct io_uring_params is 120 bytes of integers; all zero asks for defaults.
    let mut params = [0u64; 15];
    // SAFETY: the call writes at most 120 bytes to `params`, which outlives it.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) };
    if fd >= 0 {
        // SAFETY: a descriptor that was just made and that nobody else knows.
        drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::ENOSYS) => StartError::NoIoUring,
        Some(libc::EPERM | libc::EACCES) => StartError::IoUringForbidden,
        _ => StartError::IoUring(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_memory_is_shared_out() {
        let one = prepare(1).unwrap();
        let many = prepare(64).unwrap();
        assert!(many <= one && many >= 64 * 1024 && many.is_multiple_of(4096), "{many} {one}");
        assert!(matches!(prepare(0), Err(StartError::Shards(0))));
    }

    #[test]
    fn errors_are_one_line_and_say_what_to_do() {
        let errors = [
            StartError::NoIoUring,
            StartError::IoUringForbidden,
            StartError::LockedMemory { limit: 64, needed: 512 },
        ];
        for error in errors {
            let text = error.to_string();
            assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        }
    }
}
