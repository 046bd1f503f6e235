//! The logs' part of a shard, the journal's and the paging file's: open files, and a task for each IO.
//!
//! A service says what it wants, see [`Service::next_write`]; the pump spawns a task for each of
//! those, and the task tells of its end as a reader tells of input. An IO's task is never dropped,
//! so that no buffer is while the kernel has it: the shard ends after its last IO. What is
//! not reading or writing goes to the helper thread of `files.rs`, whose answers are commands.

use super::core::Cx;
use super::pump::{Shard, Task};
use super::rest::Rest;
use super::shard::AbortOnPanic;
use super::{Command, ShardLink};
use crate::disk::{DiskError, Durability, JournalConfig, WRITE_MAX};
use crate::files::{FileOp, FileSystem, Files, System, Volatile, segment_name};
use crate::idle::IdleStrategy;
use crate::service::Service;
use crate::stats::{add, raise};
use crossbeam_channel::{Sender, unbounded};
use fletch_engine::Time;
use fletch_journal::{Done, Lsn, Request, Volume, Write};
use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use rustix::fs::OFlags;
use std::cell::RefCell;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::{fs, io};

/// A log of a shard as its thread gets it: where it is, and the way to the helper thread.
pub(super) struct Store {
    volume: Volume,
    dir: PathBuf,
    durability: Durability,
    ops: Sender<FileOp>,
    ended: Arc<AtomicBool>,
}

impl Store {
    /// Starts the helper thread of a journal. It ends after the store is dropped.
    pub(super) fn journal<C: Send + 'static>(
        config: &JournalConfig,
        link: ShardLink<C>,
    ) -> io::Result<(Store, JoinHandle<()>)> {
        let dir = config.dirs[link.id.index()].clone();
        Store::start(Volume::Journal, dir, config.durability, System, link)
    }

    /// The same of a paging file.
    pub(super) fn paging<C: Send + 'static>(
        dirs: &[PathBuf],
        link: ShardLink<C>,
    ) -> io::Result<(Store, JoinHandle<()>)> {
        let dir = dirs[link.id.index()].clone();
        Store::start(Volume::Paging, dir, Durability::Device, Volatile, link)
    }

    fn start<C: Send + 'static>(
        volume: Volume,
        dir: PathBuf,
        durability: Durability,
        system: impl FileSystem + Send + 'static,
        link: ShardLink<C>,
    ) -> io::Result<(Store, JoinHandle<()>)> {
        let (ops, inbox) = unbounded();
        let ended = Arc::new(AtomicBool::new(false));
        let files = Files::new(dir.clone(), system, ended.clone());
        let name = match volume {
            Volume::Journal => "journal",
            Volume::Paging => "paging",
        };
        let thread =
            std::thread::Builder::new().name(format!("{name}-{}", link.id)).spawn(move || {
                let _guard = AbortOnPanic::new();
                files.run(&inbox, |result| link.send(Command::Disk(volume, result)).is_ok());
            })?;
        Ok((Store { volume, dir, durability, ops, ended }, thread))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
    }
}

/// How the disk's cache is flushed behind a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flush {
    /// Not at all.
    Never,
    /// By the write itself, to a file opened with O_DSYNC: the least work, and on a disk whose cache has to be flushed
    /// apart a kernel thread does that on the shard's own processor. So it is for shards that rest, see [`Rest`].
    Within,
    /// By fdatasync, which io_uring hands to a worker thread that may run on any processor: two more wake-ups, and nobody
    /// waits for a shard that never sleeps, as that kernel thread would until the scheduler's next tick, up to 4 ms.
    After,
}

impl Flush {
    fn of(durability: Durability, rest: &mut Rest, now: Time) -> Flush {
        match durability {
            Durability::Device => Flush::Never,
            Durability::Sync if rest.rests(now) => Flush::Within,
            Durability::Sync => Flush::After,
        }
    }
}

/// One thing to do on the event loop.
pub(super) enum Io {
    /// Writes a batch, asked for at this time.
    Write(Write, DmaBuffer, Flush, Time),
    /// Reads `len` bytes.
    Read { number: u64, segment: Lsn, offset: u64, len: usize },
    /// Opens the file of a segment that is prepared, so that no write has to wait for it.
    Open(Lsn),
    /// Closes the file of a segment, then lets it be recycled.
    Close(Lsn, u64),
}

/// What came of it: nothing to tell when the helper thread has more to do.
type Outcome = Result<Option<Done>, DiskError>;

/// The logs of a running shard.
#[derive(Default)]
pub(super) struct Disks {
    journal: Option<Disk>,
    paging: Option<Disk>,
}

impl Disks {
    pub(super) fn new(stores: Vec<Store>, idle: IdleStrategy) -> Disks {
        let mut disks = Disks::default();
        for store in stores {
            let volume = store.volume;
            *disks.of(volume) = Some(Disk::new(store, idle));
        }
        disks
    }

    fn of(&mut self, volume: Volume) -> &mut Option<Disk> {
        match volume {
            Volume::Journal => &mut self.journal,
            Volume::Paging => &mut self.paging,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Disk> {
        self.journal.iter().chain(&self.paging)
    }

    /// Whether IO is under way of which nothing tells when it has ended: the event loop asks for it again and again.
    pub(super) fn polled(&self) -> bool {
        self.all().any(|disk| disk.polled && disk.under_way > 0)
    }

    /// Whether no IO is under way.
    pub(super) fn idle(&self) -> bool {
        self.all().all(|disk| disk.under_way == 0)
    }

    pub(super) fn files(&self) -> Vec<Rc<OpenFiles>> {
        self.all().map(Disk::files).collect()
    }
}

/// Whether the kernel can poll the disk of a directory, as the event loop then does: so unless it says that it cannot.
fn may_be_polled(dir: &Path) -> bool {
    let Ok(dir) = rustix::fs::stat(dir) else { return true };
    let (major, minor) = (rustix::fs::major(dir.st_dev), rustix::fs::minor(dir.st_dev));
    let device = format!("/sys/dev/block/{major}:{minor}");
    // A partition has what its disk has.
    let queues = ["queue", "../queue"].map(|queue| format!("{device}/{queue}/io_poll"));
    queues
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())
        .is_none_or(|poll| poll.trim() != "0")
}

/// One of them.
struct Disk {
    store: Store,
    files: Rc<OpenFiles>,
    /// IO of the event loop that was started and has not ended.
    under_way: usize,
    /// Whether it may be that the event loop polls this disk.
    polled: bool,
    /// Whether the shard rests, for writes that count when they are flushed.
    rest: Rest,
}

impl Disk {
    fn new(store: Store, idle: IdleStrategy) -> Disk {
        let (volume, dir, durability) = (store.volume, store.dir.clone(), store.durability);
        let polled = may_be_polled(&dir);
        let files = OpenFiles { volume, dir, durability, open: RefCell::new(Vec::new()) };
        Disk { store, files: Rc::new(files), under_way: 0, polled, rest: Rest::new(idle) }
    }

    fn files(&self) -> Rc<OpenFiles> {
        self.files.clone()
    }

    fn ask(&self, op: FileOp) {
        // The thread lives as long as this shard: its panic would end the process.
        let _ = self.store.ops.send(op);
    }
}

impl<S: Service> Shard<S> {
    /// Takes what the service wants of its disks, and makes tasks of it. True if there are some.
    pub(super) fn start_io(&mut self) -> bool {
        let Shard { service, core, disks, tasks, .. } = self;
        let before = tasks.len();
        let mut start = |disk: &mut Disk, io| {
            disk.under_way += 1;
            tasks.push(Task::Disk(disk.files(), io));
        };
        while let Some((volume, size)) = service.next_write() {
            let Some(disk) = disks.of(volume) else { break };
            debug_assert!(size <= WRITE_MAX, "a write of {size} bytes");
            let mut buffer = glommio::allocate_dma_buffer(size);
            let write = service.fill(volume, buffer.as_bytes_mut());
            buffer.trim_to_size(write.len);
            let now = core.clock.now();
            let flush = Flush::of(disk.store.durability, &mut disk.rest, now);
            start(disk, Io::Write(write, buffer, flush, now));
        }
        while let Some((volume, request)) = service.next_request() {
            let Some(disk) = disks.of(volume) else { break };
            match request {
                Request::Prepare { segment, len } => disk.ask(FileOp::Prepare { segment, len }),
                Request::Superblock { slot, bytes } => {
                    disk.ask(FileOp::Superblock { slot, bytes });
                }
                Request::Retire { segment, len } => start(disk, Io::Close(segment, len)),
                Request::Read { number, segment, offset, len } => {
                    start(disk, Io::Read { number, segment, offset, len });
                }
            }
        }
        tasks.len() > before
    }

    /// A helper thread has answered.
    pub(super) fn file_op_ended(&mut self, volume: Volume, result: Result<Done, DiskError>) {
        let Some(disk) = self.disks.of(volume) else { return };
        match result {
            Ok(Done::Prepared { segment }) => {
                disk.under_way += 1;
                self.tasks.push(Task::Disk(disk.files(), Io::Open(segment)));
            }
            Ok(done) => self.service.disk_done(&mut Cx { core: &mut self.core }, volume, done),
            Err(error) => self.service.disk_failed(volume, error),
        }
    }

    fn io_ended(&mut self, volume: Volume, outcome: Outcome) {
        self.core.begin_turn();
        self.core.wake_pump();
        self.core.worked = true;
        if let Some(disk) = self.disks.of(volume) {
            disk.under_way -= 1;
        }
        match outcome {
            Ok(Some(done)) => {
                self.service.disk_done(&mut Cx { core: &mut self.core }, volume, done)
            }
            Ok(None) => {}
            Err(error) => self.service.disk_failed(volume, error),
        }
    }

    fn written(&self, volume: Volume, len: usize, started: Time) {
        if volume == Volume::Paging {
            return;
        }
        let stats = &self.core.stats;
        add(&stats.journal_writes, 1);
        add(&stats.journal_bytes, len as u64);
        let took = self.core.clock.now().since(started);
        raise(&stats.longest_journal_write, took.as_nanos() as u64);
    }

    fn retire(&mut self, volume: Volume, segment: Lsn, len: u64) {
        if let Some(disk) = self.disks.of(volume) {
            disk.ask(FileOp::Retire { segment, len });
        }
    }
}

/// Says of a task whenever it runs that it may have something for the rings; not when it ends.
pub(super) async fn stirring<S: Service>(
    shard: Rc<RefCell<Shard<S>>>,
    task: impl Future<Output = ()>,
) {
    let mut task = pin!(task);
    poll_fn(|cx| {
        let polled = task.as_mut().poll(cx);
        if polled.is_pending() {
            shard.borrow_mut().core.unlooked.stir();
        }
        polled
    })
    .await;
}

/// The task of one IO.
pub(super) async fn perform<S: Service>(
    shard: Rc<RefCell<Shard<S>>>,
    files: Rc<OpenFiles>,
    io: Io,
) {
    let volume = files.volume;
    let outcome = match io {
        Io::Write(write, buffer, flush, started) => {
            let written = files.write(&write, buffer, flush).await;
            if written.is_ok() {
                shard.borrow().written(volume, write.len, started);
            }
            written.map(|()| Some(Done::Written { number: write.number }))
        }
        Io::Read { number, segment, offset, len } => {
            let bytes = files.read(segment, offset, len).await;
            bytes.map(|bytes| Some(Done::Read { number, bytes }))
        }
        Io::Open(segment) => {
            files.open_all(segment).await.map(|()| Some(Done::Prepared { segment }))
        }
        Io::Close(segment, len) => {
            let closed = files.close(segment).await;
            if closed.is_ok() {
                shard.borrow_mut().retire(volume, segment, len);
            }
            closed.map(|()| None)
        }
    };
    let _guard = AbortOnPanic::new();
    shard.borrow_mut().io_ended(volume, outcome);
}

/// The segments' files that are open: a few, found by their first LSN. Where writes may be durable in themselves each is
/// open twice.
pub(super) struct OpenFiles {
    volume: Volume,
    dir: PathBuf,
    durability: Durability,
    open: RefCell<Vec<OpenFile>>,
}

struct OpenFile {
    segment: Lsn,
    /// Whether with O_DSYNC.
    dsync: bool,
    file: Rc<DmaFile>,
}

impl OpenFiles {
    fn path(&self, segment: Lsn) -> PathBuf {
        self.dir.join(segment_name(segment))
    }

    fn failed<E: Into<Failure>>(
        &self,
        operation: &'static str,
        segment: Lsn,
        offset: Option<u64>,
    ) -> impl FnOnce(E) -> DiskError {
        let path = self.path(segment);
        move |error| DiskError { path, operation, offset, source: error.into().0 }
    }

    fn find(&self, segment: Lsn, dsync: bool) -> Option<Rc<DmaFile>> {
        let open = self.open.borrow();
        let found = open.iter().find(|open| open.segment == segment && open.dsync == dsync)?;
        Some(found.file.clone())
    }

    /// Opens the file of a segment in each way that it may be written.
    async fn open_all(&self, segment: Lsn) -> Result<(), DiskError> {
        self.file(segment, false).await?;
        if self.durability == Durability::Sync {
            self.file(segment, true).await?;
        }
        Ok(())
    }

    /// The file of a segment; opens it if it is not open.
    async fn file(&self, segment: Lsn, dsync: bool) -> Result<Rc<DmaFile>, DiskError> {
        if let Some(file) = self.find(segment, dsync) {
            return Ok(file);
        }
        let flags = if dsync { OFlags::DSYNC } else { OFlags::empty() };
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits() as i32)
            .dma_open(self.path(segment))
            .await
            .map_err(self.failed("open", segment, None))?;
        if let Some(file) = self.find(segment, dsync) {
            // Another task was quicker.
            opened.close().await.map_err(self.failed("close", segment, None))?;
            return Ok(file);
        }
        let file = Rc::new(opened);
        self.open.borrow_mut().push(OpenFile { segment, dsync, file: file.clone() });
        Ok(file)
    }

    async fn write(&self, write: &Write, buffer: DmaBuffer, flush: Flush) -> Result<(), DiskError> {
        let Write { segment, offset, len, .. } = *write;
        let file = self.file(segment, flush == Flush::Within).await?;
        let written = file.write_at(buffer, offset).await.map_err(self.failed(
            "write",
            segment,
            Some(offset),
        ))?;
        if written < len {
            return Err(self.failed("write", segment, Some(offset))(Failure(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("{written} of {len} bytes written"),
            ))));
        }
        if flush == Flush::After {
            file.fdatasync().await.map_err(self.failed("sync", segment, None))?;
        }
        Ok(())
    }

    /// Reads so much, in pieces that are no larger than writes.
    async fn read(&self, segment: Lsn, offset: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let file = self.file(segment, false).await?;
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = offset + bytes.len() as u64;
            let piece = (len - bytes.len()).min(WRITE_MAX);
            let read = file.read_at_aligned(at, piece).await.map_err(self.failed(
                "read",
                segment,
                Some(at),
            ))?;
            bytes.extend_from_slice(&read);
            if read.len() < piece {
                return Err(self.failed("read", segment, Some(at))(Failure(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("{} of {piece} bytes are there", read.len()),
                ))));
            }
        }
        Ok(bytes)
    }

    /// Closes the file of a segment that nothing is written to or read from any more.
    async fn close(&self, segment: Lsn) -> Result<(), DiskError> {
        loop {
            let file = {
                let mut open = self.open.borrow_mut();
                let index = open.iter().position(|open| open.segment == segment);
                index.map(|index| open.swap_remove(index).file)
            };
            let Some(file) = file else { return Ok(()) };
            file.close_rc().await.map_err(self.failed("close", segment, None))?;
        }
    }

    /// The last thing: closes all files.
    pub(super) async fn close_all(&self) {
        let open = self.open.take();
        for OpenFile { segment, file, .. } in open {
            if let Err(error) = file.close_rc().await {
                // All that was reported as durable is.
                let error = self.failed("close", segment, None)(error);
                tracing::warn!("{error}");
            }
        }
    }
}

/// An error of the event loop without what it says of the file.
struct Failure(io::Error);

impl From<GlommioError<()>> for Failure {
    fn from(error: GlommioError<()>) -> Failure {
        Failure(match error {
            GlommioError::EnhancedIoError { source, .. } => source,
            other => other.into(),
        })
    }
}
