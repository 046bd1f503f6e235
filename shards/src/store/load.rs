//! Segments are looked at through maps of their files. A map takes no more memory than is looked at, but
//! a page that the disk cannot read ends the process without a word. So pages are brought in before
//! anybody looks at them, which can fail in words, and let go when they were passed.

use std::io;

use fletch_journal::{Lsn, State};
use memmap2::Advice;
use rustix::io::Errno;

use super::{ShardFiles, StoreError, io_error};

/// Bytes that are brought in and let go at once. The longest batch is shorter.
const STEP: usize = 4 << 20;
/// Bytes that the disk is asked for ahead of that.
const AHEAD: usize = 16 << 20;

/// Goes before a reader of a shard's segments.
#[derive(Debug)]
pub struct Loader<'a> {
    files: &'a ShardFiles,
    /// Up to here pages are let go.
    passed: Lsn,
    /// Up to here they have been brought in.
    loaded: Lsn,
    /// The reader looks through all that follows when it comes to the log's end. That is beyond here: no
    /// more than two files are ready behind the one that is written to.
    tail: Lsn,
    end: Lsn,
}

impl<'a> Loader<'a> {
    /// For a reader that begins with the oldest batch.
    pub fn new(files: &'a ShardFiles) -> Loader<'a> {
        let oldest = files.superblock.oldest_lsn;
        let end = files.segments.last().map_or(oldest, |s| s.base.after(s.map.len()));
        let tail = match files.superblock.state {
            State::Running => files.segments.iter().rev().nth(2).map_or(oldest, |s| s.base),
            // The end is known.
            State::Clean { .. } => end,
        };
        files.read_ahead(oldest, oldest.after(AHEAD));
        Loader { files, passed: oldest, loaded: oldest, tail, end }
    }

    /// The reader is about to look here.
    ///
    /// # Errors
    /// If the disk cannot read it.
    pub fn advance(&mut self, at: Lsn) -> Result<(), StoreError> {
        if at.0.saturating_sub(self.passed.0) >= STEP as u64 {
            self.files.let_go(self.passed, at);
            self.files.read_ahead(self.passed.after(AHEAD), at.after(AHEAD));
            self.passed = at;
        }
        let near = at.after(2 * STEP);
        let wanted = if at >= self.tail { self.end } else { near.min(self.end) };
        while self.loaded < wanted {
            let to = self.loaded.after(STEP).min(self.end);
            self.load(self.loaded, to)?;
            if self.loaded >= near {
                // It stays in the system's memory for a while, which is enough.
                self.files.let_go(self.loaded, to);
            }
            self.loaded = to;
        }
        Ok(())
    }

    fn load(&self, from: Lsn, to: Lsn) -> Result<(), StoreError> {
        for (segment, at, len) in self.files.parts(from, to) {
            match segment.map.advise_range(Advice::PopulateRead, at, len) {
                // What looking at it would have ended in.
                Err(error) if is(&error, Errno::FAULT) => {
                    return Err(io_error("read", &segment.path)(Errno::IO.into()));
                }
                // Linux before 5.14 does not know it.
                Err(error) if is(&error, Errno::INVAL) => {}
                loaded => loaded.map_err(io_error("read", &segment.path))?,
            }
        }
        Ok(())
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
