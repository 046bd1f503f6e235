//! One connection: its socket, the task that reads it, and the task that waits to write.
//!
//! Reading: a task per connection polls the socket with the shard's one scratch buffer, which
//! works because the event loop tries to receive first and only then waits; an idle connection
//! owns no buffer. What a service leaves unconsumed is kept apart and put back in front. From the
//! first input on the pump waits for the socket itself, as long as more comes; see `watched.rs`.
//!
//! Writing: the pump sends without waiting. Only a socket that is full gets a task, which waits
//! for room, sends once and leaves the rest to the pump.

use super::core::Cx;
use super::pump::Shard;
use super::shard::AbortOnPanic;
use crate::service::{ConnectionId, Disconnect, Service};
use crate::stats::add;
use fletch_engine::Time;
use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Open in both directions.
    Open,
    /// Ends for this reason when the output is written.
    Flushing(Disconnect),
    /// Ends for this reason now.
    Broken(Disconnect),
    /// The service has forgotten it; waiting for the peer to close its direction.
    Lingering,
    /// To be removed.
    Done,
}

impl Phase {
    pub(super) fn open(&self) -> bool {
        matches!(self, Phase::Open)
    }
}

/// One connection.
pub(super) struct Connection {
    pub(super) generation: u32,
    stream: TcpStream,
    pub(super) phase: Phase,
    /// The peer has closed its direction.
    pub(super) eof: bool,
    pub(super) paused: bool,
    /// In the list of readers that wait for the outboxes.
    pub(super) held: bool,
    /// What is unconsumed is to be offered again although nothing was added.
    pub(super) offer: bool,
    pub(super) dirty: bool,
    /// The socket took no more; the writer task waits for it.
    pub(super) blocked: bool,
    /// The pump waits for the socket itself, until then; see `watched.rs`.
    pub(super) watched: Option<Time>,
    /// Something was received that is to be acknowledged at once: by the output, if there is any.
    pub(super) unacknowledged: bool,
    pub(super) unconsumed: Vec<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Connection {
    pub(super) fn new(fd: OwnedFd, generation: u32) -> Connection {
        Connection {
            generation,
            // SAFETY: the descriptor is owned, and its ownership ends here.
            stream: unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) },
            phase: Phase::Open,
            eof: false,
            paused: false,
            held: false,
            offer: false,
            dirty: false,
            blocked: false,
            watched: None,
            unacknowledged: false,
            unconsumed: Vec::new(),
            reader: None,
            writer: None,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor and is borrowed as long as the result.
        unsafe { BorrowedFd::borrow_raw(self.stream.as_raw_fd()) }
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::net::send(self.fd(), bytes, flags)?)
    }

    /// Reads without waiting.
    pub(super) fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self.fd(), room, RecvFlags::DONTWAIT)?.0)
    }

    /// What was received is acknowledged at once. The kernel forgets that after a while.
    pub(super) fn acknowledge(&self) {
        // Without it the peer waits longer, and nothing is wrong.
        let _ = rustix::net::sockopt::set_tcp_quickack(self.fd(), true);
    }

    pub(super) fn shutdown_write(&self) {
        // Fails if the peer is gone; reading then says so.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Write);
    }

    /// True if a writer task exists already.
    pub(super) fn wake_writer(&self) -> bool {
        self.writer.as_ref().inspect(|writer| writer.wake_by_ref()).is_some()
    }

    pub(super) fn wake_reader(&self) {
        if let Some(reader) = &self.reader {
            reader.wake_by_ref();
        }
    }

    pub(super) fn wake_tasks(&self) {
        self.wake_reader();
        self.wake_writer();
    }
}

fn keep_waker(place: &mut Option<Waker>, cx: &Context<'_>) {
    if place.is_none() {
        *place = Some(cx.waker().clone());
    }
}

/// The task that reads a connection. Ends when the connection is gone.
pub(super) async fn read<S: Service>(shard: Rc<RefCell<Shard<S>>>, id: ConnectionId) {
    poll_fn(|cx| {
        let _guard = AbortOnPanic::new();
        shard.borrow_mut().poll_read(cx, id)
    })
    .await;
}

/// The task that waits for room in a connection's socket. Ends when the connection is gone.
pub(super) async fn write<S: Service>(shard: Rc<RefCell<Shard<S>>>, id: ConnectionId) {
    poll_fn(|cx| {
        let _guard = AbortOnPanic::new();
        shard.borrow_mut().poll_write(cx, id)
    })
    .await;
}

impl<S: Service> Shard<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, id: ConnectionId) -> Poll<()> {
        self.core.begin_turn();
        self.core.unlooked.stir();
        self.core.wake_pump();
        let Some(connection) = self.core.get(id) else { return Poll::Ready(()) };
        keep_waker(&mut connection.reader, cx);
        loop {
            let congested = self.core.outlets.congested();
            let Some(connection) = self.core.get(id) else { return Poll::Ready(()) };
            let kept = connection.unconsumed.len();
            let open = connection.phase.open();
            if open {
                if congested {
                    if !std::mem::replace(&mut connection.held, true) {
                        self.core.held.push(id);
                    }
                    return Poll::Pending;
                }
                connection.held = false;
                if connection.paused {
                    return Poll::Pending;
                }
                if connection.offer {
                    connection.offer = false;
                    self.scratch[..kept].copy_from_slice(&connection.unconsumed);
                    self.offer(id, kept);
                    continue;
                }
                if kept >= self.unconsumed_limit {
                    return Poll::Pending;
                }
            } else if connection.eof {
                return Poll::Pending;
            }
            let room = &mut self.scratch[kept..kept + self.read_size];
            // What is watched is read when something comes.
            if connection.watched.is_some() {
                return Poll::Pending;
            }
            let result = Pin::new(&mut connection.stream).poll_read(cx, room);
            let Poll::Ready(result) = result else { return Poll::Pending };
            if !self.came(id, result) {
                return Poll::Pending;
            }
            self.watch(id);
        }
    }

    /// Something was read into the scratch buffer, behind what is unconsumed; or nothing will be any more: then false.
    pub(super) fn came(&mut self, id: ConnectionId, result: io::Result<usize>) -> bool {
        let Some(connection) = self.core.get(id) else { return false };
        match result {
            Ok(0) => {
                connection.eof = true;
                match connection.phase {
                    Phase::Open => self.core.end(id, Disconnect::Eof, true),
                    Phase::Lingering => self.core.fail(id, Disconnect::Eof),
                    _ => {}
                }
                false
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
            Err(error) => {
                self.core.fail(id, Disconnect::Failed(error));
                false
            }
            Ok(count) => {
                connection.unacknowledged |= self.quick_ack;
                if connection.phase.open() {
                    let kept = connection.unconsumed.len();
                    self.scratch[..kept].copy_from_slice(&connection.unconsumed);
                    self.offer(id, kept + count);
                }
                self.core.worked = true;
                add(&self.core.stats.bytes_received, count as u64);
                true
            }
        }
    }

    /// Offers the first `length` bytes of the scratch buffer and keeps what is not consumed.
    fn offer(&mut self, id: ConnectionId, length: usize) {
        let Shard { service, core, scratch, .. } = self;
        let input = &scratch[..length];
        let consumed = service.received(&mut Cx { core }, id, input).min(length);
        if let Some(connection) = core.get(id) {
            let kept = &mut connection.unconsumed;
            kept.clear();
            if consumed < length {
                kept.extend_from_slice(&input[consumed..]);
            } else if kept.capacity() > 0 {
                *kept = Vec::new();
            }
        }
        core.mark_dirty(id);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, id: ConnectionId) -> Poll<()> {
        self.core.begin_turn();
        self.core.unlooked.stir();
        self.core.wake_pump();
        let Some(connection) = self.core.get(id) else { return Poll::Ready(()) };
        keep_waker(&mut connection.writer, cx);
        if !connection.blocked || !matches!(connection.phase, Phase::Open | Phase::Flushing(_)) {
            return Poll::Pending;
        }
        let output = self.service.output(id);
        if output.is_empty() {
            connection.blocked = false;
            self.core.mark_dirty(id);
            return Poll::Pending;
        }
        match Pin::new(&mut connection.stream).poll_write(cx, output) {
            Poll::Pending => {}
            Poll::Ready(Ok(count)) => {
                output.drain(..count);
                let drained = output.is_empty();
                connection.blocked = false;
                add(&self.core.stats.bytes_sent, count as u64);
                self.core.mark_dirty(id);
                if drained {
                    self.service.written(&mut Cx { core: &mut self.core }, id);
                }
            }
            Poll::Ready(Err(error)) => self.core.fail(id, Disconnect::Failed(error)),
        }
        Poll::Pending
    }
}
