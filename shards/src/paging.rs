//! The directory of the paging files: one below it for each shard, empty when the broker starts and when it
//! has ended.

use crate::disk::probe_direct_io;
use crate::startup::StartError;
use std::io;
use std::path::{Path, PathBuf};

/// Makes the directory of each shard, empty. `dir` is this broker's alone.
///
/// # Errors
/// It cannot be made or emptied, or its disk cannot be written to past the page cache.
pub fn prepare_paging(dir: &Path, shards: u16) -> Result<Vec<PathBuf>, StartError> {
    clear_paging(dir)?;
    let dirs: Vec<PathBuf> = (0..shards).map(|n| dir.join(n.to_string())).collect();
    for dir in &dirs {
        std::fs::create_dir_all(dir).map_err(failed("create", dir))?;
        probe_direct_io(dir)?;
    }
    Ok(dirs)
}

/// Removes what a broker has paged out, also one that was killed, of however many shards.
///
/// # Errors
/// Something cannot be listed or removed.
pub fn clear_paging(dir: &Path) -> Result<(), StartError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("list", dir))?,
    };
    for entry in entries {
        let path = entry.map_err(failed("list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // Nothing of anybody else's, whatever is named as a paging directory.
        if name.parse::<u16>().is_ok_and(|n| n.to_string() == name) && path.is_dir() {
            clear_shard(&path)?;
        }
    }
    Ok(())
}

fn clear_shard(dir: &Path) -> Result<(), StartError> {
    let ours =
        |path: &Path| path.extension().is_some_and(|e| e == "seg" || e == "free" || e == "tmp");
    for dir in [&dir.join("pool"), dir] {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed("list", dir))?,
        };
        for entry in entries {
            let path = entry.map_err(failed("list", dir))?.path();
            if ours(&path) {
                std::fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        // With something else in it, it stays.
        let _ = std::fs::remove_dir(dir);
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Journal { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_left_goes_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("paging");
        clear_paging(&dir).unwrap();
        let dirs = prepare_paging(&dir, 2).unwrap();
        assert_eq!(dirs, [dir.join("0"), dir.join("1")]);
        std::fs::create_dir(dirs[1].join("pool")).unwrap();
        for file in ["lock", "0/0000000000000000.seg", "1/pool/0.free", "0/notes.txt"] {
            std::fs::write(dir.join(file), b"x").unwrap();
        }
        assert_eq!(prepare_paging(&dir, 1).unwrap(), [dir.join("0")]);
        let mut left: Vec<_> = ["lock", "0/notes.txt", "0/0000000000000000.seg", "1"]
            .into_iter()
            .filter(|name| dir.join(name).exists())
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["0/notes.txt", "lock"]);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = prepare_paging(file.path(), 1).unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()) && !error.contains('\n'), "{error}");
    }
}
