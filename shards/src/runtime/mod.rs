//! Starts, reaches and stops the shards.

mod connection;
mod core;
mod disk;
mod pump;
mod rest;
mod rings;
mod shard;
mod unlooked;
mod watched;

pub use self::core::Cx;

use self::disk::Store;
use crate::accept::{Accept, Acceptor};
use crate::clock::Clock;
use crate::config::Config;
use crate::disk::{DiskError, check_direct_io};
use crate::mesh::mesh;
use crate::placement::{Chooser, ConnectionPlacement, Listener};
use crate::service::{Origin, Peer, Service};
use crate::signal::Signal;
use crate::startup::{self, StartError};
use crate::stats::ShardStats;
use crate::watchdog::{Touch, Watchdog};
use crossbeam_channel::{Receiver, Sender, bounded};
use fletch_engine::{ShardId, Time};
use fletch_journal::{Done, Volume};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;

/// Commands that wait for one shard before helper threads that send more have to wait.
const COMMANDS: usize = 4096;

/// How long an event loop may take to run its first task. It can stall before the watchdog has
/// anything to wake it by; a start that fails is better than one that hangs.
const START_LIMIT: Duration = Duration::from_secs(10);

/// What helper threads send a shard.
pub(crate) enum Command<C> {
    /// Take over a connection.
    Adopt(OwnedFd, Peer),
    /// For the service.
    Control(C),
    /// From the helper thread of a log.
    Disk(Volume, Result<Done, DiskError>),
    /// Finish by this time.
    Stop(Time),
}

/// The shard has ended.
#[derive(Clone, Copy, Debug, Error)]
#[error("shard {0} has ended")]
pub struct ShardGone(pub ShardId);

/// How helper threads reach one shard.
pub(crate) struct ShardLink<C> {
    id: ShardId,
    commands: Sender<Command<C>>,
    signal: Arc<Signal>,
    pub(crate) stats: Arc<ShardStats>,
}

impl<C> Clone for ShardLink<C> {
    fn clone(&self) -> ShardLink<C> {
        ShardLink {
            id: self.id,
            commands: self.commands.clone(),
            signal: self.signal.clone(),
            stats: self.stats.clone(),
        }
    }
}

impl<C> ShardLink<C> {
    fn send(&self, command: Command<C>) -> Result<(), ShardGone> {
        self.commands.send(command).map_err(|_| ShardGone(self.id))?;
        self.signal.notify();
        Ok(())
    }

    pub(crate) fn adopt(&self, fd: OwnedFd, peer: Peer) -> Result<(), ShardGone> {
        self.stats.connections.fetch_add(1, Relaxed);
        let sent = self.send(Command::Adopt(fd, peer));
        if sent.is_err() {
            self.stats.connections.fetch_sub(1, Relaxed);
        }
        sent
    }
}

/// Reaches the shards from helper threads; cheap to clone. Not for use on a shard's own thread:
/// when a shard has fallen behind, sending waits for it.
pub struct Handle<C> {
    shards: Arc<[ShardLink<C>]>,
    refused: Arc<AtomicU64>,
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Handle<C> {
        Handle { shards: self.shards.clone(), refused: self.refused.clone() }
    }
}

impl<C> Handle<C> {
    /// The number of shards.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Sends a control message to a shard's service.
    pub fn control(&self, shard: ShardId, control: C) -> Result<(), ShardGone> {
        let link = self.shards.get(shard.index()).ok_or(ShardGone(shard))?;
        link.send(Command::Control(control))
    }

    /// Gives a connected socket to a shard, for instance an outgoing link dialed on a helper
    /// thread. It arrives as [`Origin::Adopted`] with this token.
    pub fn adopt(&self, shard: ShardId, stream: TcpStream, token: u64) -> io::Result<()> {
        let link = self.shards.get(shard.index()).ok_or(ShardGone(shard));
        let origin = Origin::Adopted { token };
        let peer = Peer { remote: stream.peer_addr()?, local: stream.local_addr()?, origin };
        link.and_then(|link| link.adopt(stream.into(), peer)).map_err(io::Error::other)
    }

    /// A shard's counters.
    pub fn stats(&self, shard: ShardId) -> Option<&Arc<ShardStats>> {
        self.shards.get(shard.index()).map(|link| &link.stats)
    }

    /// Connections refused because [`Config::max_connections`] were open.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

/// The running shards. Start it once per process: the event loop's crate leaks a descriptor for
/// each executor that ends.
pub struct Runtime<S: Service> {
    handle: Handle<S::Control>,
    local_addrs: Vec<SocketAddr>,
    acceptor: Option<Acceptor>,
    watchdog: Watchdog,
    threads: Vec<JoinHandle<()>>,
    /// Of the journals. Each ends after its shard.
    helpers: Vec<JoinHandle<()>>,
}

/// What all shards of a runtime share, besides their links.
#[derive(Clone)]
pub(crate) struct Shared {
    config: Arc<Config>,
    io_memory: usize,
    /// How many shards have finished; all end together, so that none sends to one that is gone.
    finished: Arc<AtomicUsize>,
    signals: Arc<[Arc<Signal>]>,
    pinned: bool,
}

impl<S: Service> Runtime<S> {
    /// Starts the shards and then accepts connections. `make_service` is called once on each
    /// shard's thread. After an error the process should end: shards that did start are left.
    pub fn start(
        config: Config,
        listeners: Vec<Listener>,
        make_service: impl Fn(ShardId) -> S + Send + Sync + 'static,
    ) -> Result<Runtime<S>, StartError> {
        config.cpus.check()?;
        let io_memory = startup::prepare(config.shards)?;
        if let Some(journal) = &config.journal {
            let (dirs, shards) = (journal.dirs.len(), config.shards);
            if dirs != shards {
                return Err(StartError::Journals { dirs, shards });
            }
            journal.dirs.iter().try_for_each(|dir| check_direct_io(dir))?;
        }
        if let Some(dirs) = &config.paging {
            let (dirs, shards) = (dirs.len(), config.shards);
            if dirs != shards {
                return Err(StartError::Journals { dirs, shards });
            }
        }
        let system = |what| move |source| StartError::System { what, source };
        let signals: Vec<Arc<Signal>> = (0..config.shards)
            .map(|_| Signal::new().map(Arc::new))
            .collect::<io::Result<_>>()
            .map_err(system("the wake signals"))?;
        let pinned = config.pin && config.shards <= config.cpus.as_slice().len();
        if config.pin && !pinned {
            let (shards, cpus) = (config.shards, &config.cpus);
            tracing::warn!("{shards} shards on processors {cpus}: the shards are not pinned");
        }
        let shared = Shared {
            io_memory,
            finished: Arc::new(AtomicUsize::new(0)),
            signals: signals.clone().into(),
            pinned,
            config: Arc::new(config),
        };
        let config = shared.config.clone();
        let (made, services) = bounded(config.shards);
        let (ready, started) = bounded(config.shards);
        let make_service = Arc::new(make_service);
        let mut links = Vec::new();
        let mut touches = Vec::new();
        let mut threads = Vec::new();
        let mut helpers = Vec::new();
        let ports = mesh(&signals, config.ring_frames, config.outbox_mark);
        for (index, (port, signal)) in ports.into_iter().zip(signals).enumerate() {
            let id = ShardId(index as u16);
            let (commands, inbox): (_, Receiver<Command<S::Control>>) = bounded(COMMANDS);
            let stats = Arc::new(ShardStats::default());
            let touch = Arc::new(Touch::new(stats.clone()));
            touches.push(touch.clone());
            let link = ShardLink { id, commands, signal: signal.clone(), stats: stats.clone() };
            let journal =
                config.journal.as_ref().map(|journal| Store::journal(journal, link.clone()));
            let paging = config.paging.as_ref().map(|dirs| Store::paging(dirs, link.clone()));
            let mut stores = Vec::new();
            for started in journal.into_iter().chain(paging) {
                let (store, helper) = started.map_err(system("a log's thread"))?;
                stores.push(store);
                helpers.push(helper);
            }
            links.push(link);
            let seat = shard::Seat { id, port, inbox, signal, stats, touch, stores };
            let (shared, make) = (shared.clone(), make_service.clone());
            let (made, ready) = (made.clone(), ready.clone());
            let thread = std::thread::Builder::new()
                .name(format!("shard-{id}"))
                .spawn(move || shard::run(seat, shared, &*make, &made, ready))
                .map_err(system("a shard's thread"))?;
            threads.push(thread);
        }
        for _ in 0..config.shards {
            // A shard that panics ends the process, so that each sends something.
            services.recv().unwrap_or(Ok(()))?;
        }
        let mut missing: Vec<u16> = (0..config.shards as u16).collect();
        while !missing.is_empty() {
            match started.recv_timeout(START_LIMIT) {
                Ok(ShardId(id)) => missing.retain(|&other| other != id),
                Err(_) => {
                    let reason = format!("its event loop did not run within {START_LIMIT:?}");
                    return Err(StartError::Shard { shard: missing[0], reason });
                }
            }
        }
        let refused = Arc::new(AtomicU64::new(0));
        let handle = Handle { shards: links.into(), refused: refused.clone() };
        let watchdog = Watchdog::start(touches, config.watchdog_interval, config.stall_limit)
            .map_err(system("the watchdog"))?;
        let local_addrs = listeners.iter().map(|listener| listener.local).collect();
        let mut runtime =
            Runtime { handle, local_addrs, acceptor: None, watchdog, threads, helpers };
        if !listeners.is_empty() {
            let placement = match config.placement {
                // Connections of listeners without a shard of their own.
                ConnectionPlacement::PortPerShard => ConnectionPlacement::LeastConnections,
                placement => placement,
            };
            let shards = runtime.handle.shards.to_vec();
            let accept = Accept {
                listeners,
                chooser: Chooser::new(placement),
                stats: shards.iter().map(|shard| shard.stats.clone()).collect(),
                shards,
                max_connections: config.max_connections,
                nodelay: config.nodelay,
                busy_poll: config.busy_poll,
                refused,
            };
            match Acceptor::start(accept) {
                Ok(acceptor) => runtime.acceptor = Some(acceptor),
                Err(source) => {
                    return Err(StartError::System { what: "the accept thread", source });
                }
            }
        }
        Ok(runtime)
    }

    /// How helper threads reach the shards.
    pub fn handle(&self) -> Handle<S::Control> {
        self.handle.clone()
    }

    /// The addresses that are listened on, in the order of the listeners.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Whether all shards are running. A shard that panics takes the process with it, so this
    /// turns false only after [`Runtime::stop`] or when the shards could not start.
    pub fn running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Stops: no more connections are accepted, each service is told, and when all have finished
    /// or the time is over the connections are closed and the shards end. Waits for that.
    pub fn stop(mut self, within: Duration) {
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.stop();
        }
        let deadline = Clock::new().now().after(within);
        for link in self.handle.shards.iter() {
            // One that could not start is gone already.
            let _ = link.send(Command::Stop(deadline));
        }
        for thread in self.threads.into_iter().chain(self.helpers) {
            let _ = thread.join();
        }
        self.watchdog.stop();
    }
}
