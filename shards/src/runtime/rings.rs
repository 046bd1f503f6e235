//! The descriptors of an event loop's rings, so that something else can wait for what comes in them: the event loop has no
//! way to ask it for them.

use rustix::fd::RawFd;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::{fs, io};

/// Held while an event loop is made: what is new then is its own.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes an event loop, and says which rings it has.
pub(super) fn of<T>(make: impl FnOnce() -> T) -> io::Result<(T, Vec<RawFd>)> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = open()?;
    let made = make();
    Ok((made, open()?.difference(&before).copied().collect()))
}

/// All that this process has open.
fn open() -> io::Result<BTreeSet<RawFd>> {
    let mut rings = BTreeSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // Another thread may have closed it meanwhile.
        if fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == "anon_inode:[io_uring]") {
            rings.extend(entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
        }
    }
    Ok(rings)
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use glommio::LocalExecutorBuilder;

    #[test]
    fn an_event_loop_has_rings_of_its_own() {
        let make = || LocalExecutorBuilder::default().ring_depth(8).make();
        let (first, rings) = of(make).unwrap();
        let first = first.expect("an event loop");
        assert!(!rings.is_empty());
        let (second, others) = of(make).unwrap();
        assert_eq!(rings.len(), others.len());
        assert!(rings.iter().all(|ring| !others.contains(ring)));
        let (nothing, none) = of(|| ()).unwrap();
        assert_eq!((nothing, none), ((), Vec::new()));
        drop((first, second));
    }
}
