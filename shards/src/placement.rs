//! On which shard an accepted connection lives, and the sockets that connections arrive on.

use crate::startup::StartError;
use crate::stats::ShardStats;
use fletch_engine::ShardId;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// How the shard of a new connection is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionPlacement {
    /// One after the other.
    RoundRobin,
    /// The shard with the fewest connections.
    #[default]
    LeastConnections,
    /// Each address is listened on once per shard, on successive ports: the client chooses.
    PortPerShard,
}

/// Not a placement.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("unknown placement `{0}`: use `round-robin`, `least-connections` or `port-per-shard`")]
pub struct PlacementError(String);

impl FromStr for ConnectionPlacement {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<ConnectionPlacement, PlacementError> {
        match text {
            "round-robin" => Ok(ConnectionPlacement::RoundRobin),
            "least-connections" => Ok(ConnectionPlacement::LeastConnections),
            "port-per-shard" => Ok(ConnectionPlacement::PortPerShard),
            _ => Err(PlacementError(text.to_owned())),
        }
    }
}

impl fmt::Display for ConnectionPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectionPlacement::RoundRobin => "round-robin",
            ConnectionPlacement::LeastConnections => "least-connections",
            ConnectionPlacement::PortPerShard => "port-per-shard",
        })
    }
}

/// A bound socket that connections arrive on.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) index: usize,
    pub(crate) shard: Option<ShardId>,
    pub(crate) local: SocketAddr,
}

impl Listener {
    /// Binds one configured address. `index` comes back in [`Origin::Accepted`]; `shard` is set
    /// if all its connections belong to one shard.
    ///
    /// SO_REUSEPORT is not set: a second broker on the port must fail.
    ///
    /// [`Origin::Accepted`]: crate::Origin::Accepted
    pub fn bind(
        address: SocketAddr,
        index: usize,
        shard: Option<ShardId>,
        backlog: i32,
    ) -> Result<Listener, StartError> {
        let bound = || -> io::Result<Listener> {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(backlog)?;
            let socket = TcpListener::from(socket);
            let local = socket.local_addr()?;
            Ok(Listener { socket, index, shard, local })
        };
        bound().map_err(|source| StartError::Listen { address, source })
    }

    /// Takes over a socket that listens already, for instance an inherited one.
    pub fn adopt(
        socket: TcpListener,
        index: usize,
        shard: Option<ShardId>,
    ) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Listener { socket, index, shard, local })
    }

    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Binds all addresses of a configuration as the placement wants it: with
    /// [`ConnectionPlacement::PortPerShard`] one socket per shard, on successive ports.
    pub fn bind_all(
        addresses: &[SocketAddr],
        placement: ConnectionPlacement,
        shards: usize,
        backlog: i32,
    ) -> Result<Vec<Listener>, StartError> {
        let mut listeners = Vec::new();
        for (index, &address) in addresses.iter().enumerate() {
            if placement != ConnectionPlacement::PortPerShard {
                listeners.push(Listener::bind(address, index, None, backlog)?);
                continue;
            }
            for shard in 0..shards {
                let port = match address.port() {
                    0 => 0,
                    first => u16::try_from(usize::from(first) + shard)
                        .map_err(|_| StartError::Ports { address, shards })?,
                };
                let address = SocketAddr::new(address.ip(), port);
                let shard = Some(ShardId(shard as u16));
                listeners.push(Listener::bind(address, index, shard, backlog)?);
            }
        }
        Ok(listeners)
    }
}

/// Chooses shards; lives on the accept thread.
pub(crate) struct Chooser {
    placement: ConnectionPlacement,
    next: usize,
}

impl Chooser {
    pub(crate) fn new(placement: ConnectionPlacement) -> Chooser {
        Chooser { placement, next: 0 }
    }

    /// The shard for the next connection that no listener has decided. Of shards with equally
    /// few connections the one that was passed over longest is taken.
    pub(crate) fn choose(&mut self, stats: &[Arc<ShardStats>]) -> ShardId {
        let shards = stats.len();
        let start = self.next % shards;
        let shard = match self.placement {
            ConnectionPlacement::LeastConnections => (start..start + shards)
                .map(|shard| shard % shards)
                .min_by_key(|&shard| stats[shard].connections())
                .unwrap_or(start),
            ConnectionPlacement::RoundRobin | ConnectionPlacement::PortPerShard => start,
        };
        self.next = shard + 1;
        ShardId(shard as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn names_are_read_and_written() {
        for name in ["round-robin", "least-connections", "port-per-shard"] {
            assert_eq!(name.parse::<ConnectionPlacement>().unwrap().to_string(), name);
        }
        let error = "random".parse::<ConnectionPlacement>().unwrap_err();
        assert!(error.to_string().contains("least-connections"));
    }

    #[test]
    fn shards_are_chosen() {
        let stats: Vec<_> = (0..3).map(|_| Arc::new(ShardStats::default())).collect();
        let mut chooser = Chooser::new(ConnectionPlacement::RoundRobin);
        let chosen: Vec<_> = (0..5).map(|_| chooser.choose(&stats).0).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1]);

        stats[0].connections.store(2, Relaxed);
        stats[1].connections.store(1, Relaxed);
        let mut chooser = Chooser::new(ConnectionPlacement::LeastConnections);
        let chosen: Vec<_> = (0..6)
            .map(|_| {
                let shard = chooser.choose(&stats);
                stats[shard.index()].connections.fetch_add(1, Relaxed);
                shard.0
            })
            .collect();
        assert_eq!(chosen, [2, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_the_address() {
        let address = "127.0.0.1:0".parse().unwrap();
        let first = Listener::bind(address, 0, None, 16).unwrap();
        let error = Listener::bind(first.local, 0, None, 16).unwrap_err().to_string();
        assert!(error.contains(&first.local.to_string()), "{error}");
    }

    #[test]
    fn one_port_per_shard() {
        let placement = ConnectionPlacement::PortPerShard;
        let addresses = ["127.0.0.1:0".parse().unwrap()];
        let listeners = Listener::bind_all(&addresses, placement, 3, 16).unwrap();
        let shards: Vec<_> = listeners.iter().map(|l| (l.index, l.shard)).collect();
        let expected: Vec<_> = (0..3).map(|shard| (0, Some(ShardId(shard)))).collect();
        assert_eq!(shards, expected);

        let addresses = ["127.0.0.1:65535".parse().unwrap()];
        let error = Listener::bind_all(&addresses, placement, 2, 16).unwrap_err();
        assert!(matches!(error, StartError::Ports { shards: 2, .. } | StartError::Listen { .. }));
    }
}
