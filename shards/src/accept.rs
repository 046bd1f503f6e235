//! The accept thread: waits on all listening sockets and hands each connection to its shard.
//!
//! A plain blocking thread. Accepting is rare for a broker, and one thread sees all shards'
//! connection counts; the kernel's spreading over SO_REUSEPORT sockets would not.

use crate::placement::{Chooser, Listener};
use crate::runtime::ShardLink;
use crate::service::{Origin, Peer};
use crate::stats::ShardStats;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long accepting rests when descriptors or memory have run out.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// Connections taken from one socket before the others are looked at.
const BATCH: usize = 64;
/// At most one line of complaint in this time.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// The running thread.
pub(crate) struct Acceptor {
    stop: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

/// What the thread works on.
pub(crate) struct Accept<C> {
    pub(crate) listeners: Vec<Listener>,
    pub(crate) chooser: Chooser,
    pub(crate) shards: Vec<ShardLink<C>>,
    pub(crate) stats: Vec<Arc<ShardStats>>,
    pub(crate) max_connections: usize,
    pub(crate) nodelay: bool,
    pub(crate) busy_poll: Duration,
    pub(crate) refused: Arc<AtomicU64>,
}

impl Acceptor {
    pub(crate) fn start<C: Send + 'static>(mut accept: Accept<C>) -> io::Result<Acceptor> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("accept".into())
            .spawn(move || accept.run(&stopped))?;
        Ok(Acceptor { stop, thread })
    }

    /// Ends the thread and closes the listening sockets.
    pub(crate) fn stop(self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        let _ = self.thread.join();
    }
}

impl<C: Send + 'static> Accept<C> {
    fn run(&mut self, stop: &OwnedFd) {
        let mut complained: Option<Instant> = None;
        let mut complain = move |text: &dyn std::fmt::Display| {
            if complained.is_none_or(|at| at.elapsed() > COMPLAINT_INTERVAL) {
                complained = Some(Instant::now());
                tracing::warn!("{text}");
            }
        };
        let mut exhausted = false;
        loop {
            let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
            if !exhausted {
                fds.extend(self.listeners.iter().map(|l| PollFd::new(&l.socket, PollFlags::IN)));
            }
            let pause = Timespec::try_from(EXHAUSTED_PAUSE).ok().filter(|_| exhausted);
            match poll(&mut fds, pause.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => complain(&format_args!("waiting for connections: {error}")),
            }
            if fds[0].revents().contains(PollFlags::IN) {
                return;
            }
            let ready: Vec<usize> =
                (1..fds.len()).filter(|&i| !fds[i].revents().is_empty()).map(|i| i - 1).collect();
            drop(fds);
            exhausted = false;
            for listener in ready {
                if let Err(error) = self.accept(listener, &mut complain) {
                    complain(&format_args!("connections wait to be accepted: {error}"));
                    exhausted = true;
                }
            }
        }
    }

    /// Takes what waits on one socket. An error means that nothing can be accepted now.
    fn accept(
        &mut self,
        listener: usize,
        complain: &mut dyn FnMut(&dyn std::fmt::Display),
    ) -> io::Result<()> {
        for _ in 0..BATCH {
            let from = &self.listeners[listener];
            let (stream, remote) = match from.socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        return Err(error);
                    }
                    // The connection failed before it was taken; the next may be fine.
                    _ => continue,
                },
            };
            let open: usize = self.stats.iter().map(|shard| shard.connections()).sum();
            if open >= self.max_connections {
                self.refused.fetch_add(1, Relaxed);
                let limit = self.max_connections;
                complain(&format_args!("connection from {remote} refused: {limit} are open"));
                continue;
            }
            let Ok(local) = stream.local_addr() else { continue };
            if self.nodelay {
                // Without it the connection is slower, not wrong.
                let _ = stream.set_nodelay(true);
            }
            if !self.busy_poll.is_zero()
                && let Err(error) = set_busy_poll(&stream, self.busy_poll)
            {
                complain(&format_args!("--tcp-busy-poll has no effect: {error}"));
            }
            let shard = from.shard.unwrap_or_else(|| self.chooser.choose(&self.stats));
            let peer = Peer { remote, local, origin: Origin::Accepted { listener: from.index } };
            // A shard that is gone takes no connection; dropping it closes it.
            let _ = self.shards[shard.index()].adopt(stream.into(), peer);
        }
        Ok(())
    }
}

/// Has the kernel poll the network device so long when the socket is read.
fn set_busy_poll(stream: &TcpStream, time: Duration) -> io::Result<()> {
    let micros = libc::c_int::try_from(time.as_micros()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open as long as `stream` is borrowed, and the kernel reads as many octets
    // as it is told, which are those of a local.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BUSY_POLL,
            (&raw const micros).cast(),
            size_of_val(&micros) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
