//! Reading a journal's segments, from the oldest on.
//!
//! What is read is looked at once, so neither the system's cache nor a map of the file would give anything
//! for what they cost: reads are direct, into two buffers, and a thread reads one while the other is looked at.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use fletch_journal::{ALIGN, BATCH_MAX, Lsn};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{SegmentFile, ShardFiles, StoreError, io_error};

/// Bytes that are read at once: several times as many as are looked at again with the next ones.
const PIECE: usize = 4 << 20;

/// Reads a shard's segments. See the module.
pub struct Loader<'a> {
    files: &'a ShardFiles,
    asks: SyncSender<(Piece, Buffer)>,
    answers: Receiver<(Buffer, io::Result<()>)>,
    /// What can be looked at stands here in the log.
    at: Lsn,
    buffer: Buffer,
    /// What is being read.
    ahead: Option<Piece>,
    /// Nothing is.
    spare: Option<Buffer>,
}

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    segment: usize,
    at: Lsn,
    len: usize,
}

/// Memory that direct reads can fill.
struct Buffer {
    bytes: Vec<u8>,
    /// Where a piece goes: before it there is room for a batch that began in the piece before.
    base: usize,
    /// What is in it.
    from: usize,
    to: usize,
}

impl Buffer {
    fn new() -> Buffer {
        let bytes = vec![0; BATCH_MAX + ALIGN + PIECE];
        let base = BATCH_MAX + bytes[BATCH_MAX..].as_ptr().align_offset(ALIGN);
        Buffer { bytes, base, from: base, to: base }
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[self.from..self.to]
    }
}

impl<'a> Loader<'a> {
    /// For a reader that begins with the oldest batch.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn new(files: &'a ShardFiles) -> Result<Loader<'a>, StoreError> {
        let (asks, inbox) = sync_channel::<(Piece, Buffer)>(1);
        let (outbox, answers) = sync_channel(1);
        let all: Vec<_> = files.segments.iter().map(|s| (s.base, s.path.clone())).collect();
        let read_all = move || {
            let mut open: Option<(usize, File)> = None;
            for (piece, mut buffer) in inbox {
                let (base, path) = &all[piece.segment];
                let read = (|| {
                    let file = match open.take().filter(|(of, _)| *of == piece.segment) {
                        Some((_, file)) => file,
                        None => open_direct(path)?,
                    };
                    let (_, file) = open.insert((piece.segment, file));
                    (buffer.from, buffer.to) = (buffer.base, buffer.base + piece.len);
                    file.read_exact_at(
                        &mut buffer.bytes[buffer.from..buffer.to],
                        piece.at.0 - base.0,
                    )
                })();
                if outbox.send((buffer, read)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("read-ahead".to_owned());
        // It ends when this is dropped.
        thread.spawn(read_all).map_err(io_error("read", &files.path))?;
        let mut loader = Loader {
            files,
            asks,
            answers,
            at: Lsn(0),
            buffer: Buffer::new(),
            ahead: None,
            spare: Some(Buffer::new()),
        };
        loader.ask(loader.piece(files.superblock.oldest_lsn));
        Ok(loader)
    }

    /// What stands at a place: at least [`BATCH_MAX`] bytes, or up to the end of the segment. None where no
    /// file is.
    ///
    /// # Errors
    /// If the disk cannot read it.
    pub fn look(&mut self, at: Lsn) -> Result<&[u8], StoreError> {
        let Some(here) = self.piece(at) else { return Ok(&[]) };
        let wanted = here.len.min(BATCH_MAX);
        let offset = self.offset(at).filter(|offset| offset + wanted <= self.buffer.filled().len());
        let offset = match offset {
            Some(offset) => offset,
            None => self.load(at).map(|()| 0)?,
        };
        Ok(&self.buffer.filled()[offset..])
    }

    /// Where in the buffer a place is, its end included.
    fn offset(&self, at: Lsn) -> Option<usize> {
        let offset = usize::try_from(at.0.checked_sub(self.at.0)?).ok()?;
        (offset <= self.buffer.filled().len()).then_some(offset)
    }

    /// Has the buffer begin here.
    fn load(&mut self, at: Lsn) -> Result<(), StoreError> {
        let kept = self.offset(at).unwrap_or(self.buffer.filled().len());
        let kept = self.buffer.from + kept..self.buffer.to;
        let next = at.after(kept.len());
        let piece = self.piece(next);
        if self.ahead != piece {
            self.wait()?;
            self.ask(piece);
        }
        self.wait()?;
        let Some(mut buffer) = self.spare.take() else { return Ok(()) };
        buffer.from -= kept.len();
        let (from, base) = (buffer.from, buffer.base);
        buffer.bytes[from..base].copy_from_slice(&self.buffer.bytes[kept]);
        self.spare = Some(std::mem::replace(&mut self.buffer, buffer));
        self.at = at;
        let end = piece.map_or(next, |piece| piece.at.after(piece.len));
        self.ask(self.piece(end));
        Ok(())
    }

    /// Begins to read.
    fn ask(&mut self, piece: Option<Piece>) {
        if let Some(piece) = piece
            && let Some(buffer) = self.spare.take()
            && self.asks.send((piece, buffer)).is_ok()
        {
            self.ahead = Some(piece);
        }
    }

    /// Waits for what is being read.
    fn wait(&mut self) -> Result<(), StoreError> {
        let Some(piece) = self.ahead.take() else { return Ok(()) };
        let (buffer, read) = self.answers.recv().expect("the thread lives as long as this");
        self.spare = Some(buffer);
        read.map_err(io_error("read", &self.files.segments[piece.segment].path))
    }

    /// What can be read from a place on: in whole pages, up to the end of the segment.
    fn piece(&self, at: Lsn) -> Option<Piece> {
        let segments = &self.files.segments;
        let segment = segments.partition_point(|s| s.base <= at).checked_sub(1)?;
        let SegmentFile { base, len, .. } = segments[segment];
        let pages = len / ALIGN as u64 * ALIGN as u64;
        let rest = pages.checked_sub(at.0 - base.0)?;
        let len = usize::try_from(rest).map_or(PIECE, |rest| rest.min(PIECE));
        (len > 0).then_some(Piece { segment, at, len })
    }
}

/// Where a file system has no direct reads, others do: whether there may be a journal is not asked here.
fn open_direct(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECT.bits() as i32;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => File::open(path),
        opened => opened,
    }
}

impl fmt::Debug for Loader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("at", &self.at).field("ahead", &self.ahead).finish()
    }
}
