//! Segments are read through maps of their files, and a page that the disk cannot read is the end of the
//! process without a word. So pages are brought in before anybody looks at them, which can fail in words.

use std::io;

use fletch_journal::Lsn;
use memmap2::Advice;
use rustix::io::Errno;

use super::{SegmentFile, ShardFiles, StoreError, io_error};

/// Segments that are brought in beyond the one that is read. A log ends before the last two of its files,
/// and who comes to its end looks through those for what was torn off.
const AHEAD: usize = 2;

/// Brings in a shard's segments as they are read.
#[derive(Debug)]
pub struct Loader<'a> {
    segments: &'a [SegmentFile],
    loaded: usize,
}

impl<'a> Loader<'a> {
    /// For a reader that begins here.
    pub fn new(files: &'a ShardFiles, from: Lsn) -> Loader<'a> {
        let before = files.segments.partition_point(|s| s.base.after(s.map.len()) <= from);
        Loader { segments: &files.segments[before..], loaded: 0 }
    }

    /// The reader is about to look here.
    ///
    /// # Errors
    /// If the disk cannot read what is there.
    pub fn advance(&mut self, at: Lsn) -> Result<(), StoreError> {
        let come_to = |loaded: usize| match loaded.checked_sub(AHEAD) {
            None => true,
            Some(near) => self.segments[near].base <= at,
        };
        while self.loaded < self.segments.len() && come_to(self.loaded) {
            let segment = &self.segments[self.loaded];
            if let Some(next) = self.segments.get(self.loaded + 1) {
                // No more than advice: the disk goes on while this one is looked at.
                let _ = next.map.advise(Advice::WillNeed);
            }
            load(segment).map_err(io_error("read", &segment.path))?;
            self.loaded += 1;
        }
        Ok(())
    }
}

fn load(segment: &SegmentFile) -> io::Result<()> {
    match segment.map.advise(Advice::PopulateRead) {
        // What looking at it would have ended in.
        Err(error) if error.raw_os_error() == Some(Errno::FAULT.raw_os_error()) => {
            Err(Errno::IO.into())
        }
        // Linux before 5.14 does not know it.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        loaded => loaded,
    }
}
