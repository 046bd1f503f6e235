//! Getting journals out of the way.

use std::fs::{remove_dir_all, rename};
use std::io;
use std::path::{Path, PathBuf};

use super::create::make_dir;
use super::layout::{Layout, names, number, shard_dirs};
use super::open::generation_named;
use super::{StoreError, generations, io_error, segments, sync_dir};

/// Puts a whole store aside, whatever state it is in: nothing is in force afterwards. Returns where
/// it is now; nothing if there was nothing.
///
/// # Errors
/// If the disk refuses. Called again, it puts the rest aside.
pub fn set_aside(store: &Path) -> Result<Option<PathBuf>, StoreError> {
    let layout = Layout(store);
    let mut moved: Vec<PathBuf> =
        generations(store)?.into_iter().map(|number| layout.generation(number)).collect();
    // Last, so that no crash leaves journals that nothing says to be in force.
    moved.extend(Some(layout.current()).filter(|current| current.exists()));
    if moved.is_empty() {
        return Ok(None);
    }
    move_aside(store, moved).map(Some)
}

/// Puts generations before the one in force aside: a crash has come between putting a new one in force
/// and what was to become of the old one. Returns where they are now.
///
/// # Errors
/// If the disk refuses.
pub fn set_superseded_aside(store: &Path) -> Result<Option<PathBuf>, StoreError> {
    let layout = Layout(store);
    let Ok(name) = std::fs::read_to_string(layout.current()) else { return Ok(None) };
    let Some(in_force) = generation_named(store, &name)? else { return Ok(None) };
    let old = generations(store)?.into_iter().filter(|number| *number < in_force);
    let old: Vec<PathBuf> = old.map(|number| layout.generation(number)).collect();
    if old.is_empty() { Ok(None) } else { move_aside(store, old).map(Some) }
}

/// Removes a generation that is not in force any more.
///
/// # Errors
/// If the disk refuses.
pub fn remove(store: &Path, generation: &Path) -> Result<(), StoreError> {
    remove_dir_all(generation).map_err(io_error("remove", generation))?;
    sync_dir(store)
}

fn move_aside(store: &Path, moved: Vec<PathBuf>) -> Result<PathBuf, StoreError> {
    let there = names(store)?;
    let last = there.iter().filter_map(|name| number(name, "aside-")).max().unwrap_or(0);
    let aside = Layout(store).aside(last + 1);
    make_dir(&aside)?;
    for path in moved {
        if let Some(name) = path.file_name() {
            rename(&path, aside.join(name)).map_err(io_error("move", &path))?;
        }
    }
    sync_dir(&aside)?;
    sync_dir(store)?;
    Ok(aside)
}

/// Removes generations that were being made when a crash came: those after the one in force, or,
/// if none is, all of them, which hold nothing then. Returns their paths.
///
/// # Errors
/// If something is stored but nothing says that it is in force, or the disk refuses.
pub fn remove_unfinished(store: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let layout = Layout(store);
    let path = layout.current();
    let in_force = match std::fs::read_to_string(&path) {
        Ok(name) => match generation_named(store, &name)? {
            Some(number) => Some(number),
            None => return Err(StoreError::Current { path, name }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    if in_force.is_none()
        && let Some(generation) = in_use(store)?
    {
        return Err(StoreError::NoCurrent { path, generation });
    }
    let mut removed = Vec::new();
    for number in generations(store)?.into_iter().filter(|number| Some(*number) > in_force) {
        let path = layout.generation(number);
        remove_dir_all(&path).map_err(io_error("remove", &path))?;
        removed.push(path);
    }
    if !removed.is_empty() {
        sync_dir(store)?;
    }
    Ok(removed)
}

/// A generation in which something was ever written.
pub(super) fn in_use(store: &Path) -> Result<Option<PathBuf>, StoreError> {
    for number in generations(store)? {
        let path = Layout(store).generation(number);
        for (_, shard) in shard_dirs(&path)? {
            for segment in segments(&shard)? {
                let mut blank = true;
                segment.pieces(|piece| {
                    blank = piece.iter().all(|b| *b == 0);
                    blank
                })?;
                if !blank {
                    return Ok(Some(path));
                }
            }
        }
    }
    Ok(None)
}
