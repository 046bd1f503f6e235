//! The sockets the broker listens on: which addresses the options mean, and binding all those of AMQP to
//! the same port. Runs once on the main thread before the shards start.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use fletch_engine::ShardId;
use fletch_shards::{ConnectionPlacement, Listener, StartError};

use crate::config::Config;
use crate::web::HTTP_LISTENER;

/// Why the broker cannot listen. Each names what was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// An address cannot be bound.
    #[error("{}: {address}", plain(error))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// An interface option means nothing here.
    #[error("--interface {0}: no such interface, address, network or host")]
    Interface(String),
    /// An HTTP option means nothing here.
    #[error("--http {0}: no such interface, address or host")]
    Http(String),
    /// The interfaces of this machine cannot be listed.
    #[error("cannot list the network interfaces: {0}")]
    Interfaces(io::Error),
    /// An inherited descriptor is not a listening TCP socket.
    #[error("--socket-fd {0}: not a listening TCP socket")]
    SocketFd(RawFd),
    /// The options leave nothing to listen on.
    #[error("nothing to listen on: --listen-disable tcp without --socket-fd or --http")]
    Nothing,
    /// The runtime cannot use the addresses.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The system's words without the number behind them.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// An address to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    address: SocketAddr,
    /// One of the two wildcards, which a machine without that protocol may lack.
    optional: bool,
}

/// How often another free port is tried when one is taken at some of the addresses.
const EPHEMERAL_ATTEMPTS: usize = 16;

/// The sockets, by what is spoken on them.
#[derive(Debug)]
pub(super) struct Sockets {
    /// AMQP.
    pub(super) amqp: Vec<Listener>,
    /// HTTP, which AMQP comes over in WebSocket messages.
    pub(super) http: Vec<Listener>,
}

/// Binds everything the options ask for.
pub(super) fn listen(config: &Config) -> Result<Sockets, ListenError> {
    let mut amqp = Vec::new();
    for fd in &config.socket_fds {
        amqp.push(adopt(*fd, amqp.len())?);
    }
    if config.listen_tcp {
        let shards = match config.placement {
            ConnectionPlacement::PortPerShard => config.shards,
            _ => 1,
        };
        let candidates = candidates(&config.interfaces, config.port)?;
        let first = amqp.len();
        let wanted =
            Wanted { candidates, port: config.port, shards, index: &|index| first + index };
        amqp.extend(wanted.bind(config.connection_backlog)?);
    }
    let mut http = Vec::new();
    for (host, port) in &config.http {
        let candidates = match host.as_str() {
            "" => candidates(&[], *port)?,
            host => match candidates(&[host.to_owned()], *port) {
                Err(ListenError::Interface(_)) => return Err(ListenError::Http(host.to_owned())),
                found => found?,
            },
        };
        let wanted = Wanted { candidates, port: *port, shards: 1, index: &|_| HTTP_LISTENER };
        http.extend(wanted.bind(config.connection_backlog)?);
    }
    if amqp.is_empty() && http.is_empty() {
        return Err(ListenError::Nothing);
    }
    Ok(Sockets { amqp, http })
}

/// Addresses that are to have one port, or as many as there are shards.
struct Wanted<'a> {
    candidates: Vec<Candidate>,
    /// The first port; 0 takes a free one.
    port: u16,
    shards: usize,
    /// The index of a candidate's listeners.
    index: &'a dyn Fn(usize) -> usize,
}

impl Wanted<'_> {
    /// Binds all, a free port again where it is taken at some of the addresses.
    fn bind(&self, backlog: u16) -> Result<Vec<Listener>, ListenError> {
        let mut attempt = 1;
        loop {
            match self.bind_all(backlog.into()) {
                Err(ListenError::Bind { error, .. })
                    if self.port == 0
                        && error.kind() == io::ErrorKind::AddrInUse
                        && attempt < EPHEMERAL_ATTEMPTS =>
                {
                    attempt += 1;
                }
                bound => return bound,
            }
        }
    }

    /// Binds all candidates, the later ones to the port the first one got.
    fn bind_all(&self, backlog: i32) -> Result<Vec<Listener>, ListenError> {
        let shards = self.shards;
        let mut listeners = Vec::new();
        let mut missing = None;
        // The port of each shard's listeners; one for all shards unless each has its own.
        let mut ports = vec![None; shards];
        for (index, candidate) in self.candidates.iter().enumerate() {
            for (shard, port) in ports.iter_mut().enumerate() {
                let address = match (*port, self.port) {
                    (Some(port), _) => port,
                    (None, 0) => 0,
                    (None, first) => u16::try_from(usize::from(first) + shard)
                        .map_err(|_| StartError::Ports { address: candidate.address, shards })?,
                };
                let address = with_port(candidate.address, address);
                let only = (shards > 1).then(|| ShardId(u16::try_from(shard).unwrap_or(u16::MAX)));
                match Listener::bind(address, (self.index)(index), only, backlog) {
                    Ok(listener) => {
                        port.get_or_insert(listener.local_addr().port());
                        listeners.push(listener);
                    }
                    Err(StartError::Listen { address, source: error }) => {
                        if !(candidate.optional && is_unavailable(&error)) {
                            return Err(ListenError::Bind { address, error });
                        }
                        tracing::debug!(target: "Network", "Not listening on {address}: {error}");
                        missing = Some(ListenError::Bind { address, error });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        match missing {
            Some(error) if listeners.is_empty() => Err(error),
            _ => Ok(listeners),
        }
    }
}

/// Whether the machine lacks the protocol, rather than the address being taken or forbidden.
fn is_unavailable(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let known = [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT];
    error.raw_os_error().is_some_and(|code| known.iter().any(|e| e.raw_os_error() == code))
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// The addresses such options as `--interface` mean, each once; both wildcards without any.
fn candidates(interfaces: &[String], port: u16) -> Result<Vec<Candidate>, ListenError> {
    if interfaces.is_empty() {
        let wildcards = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        return Ok(wildcards
            .map(|ip| Candidate { address: SocketAddr::new(ip, port), optional: true })
            .to_vec());
    }
    let local = if_addrs::get_if_addrs().map_err(ListenError::Interfaces)?;
    let local: Vec<Local> = local.iter().map(Local::of).collect();
    let mut found: Vec<Candidate> = Vec::new();
    for text in interfaces {
        let addresses = addresses_of(text, &local);
        if addresses.is_empty() {
            return Err(ListenError::Interface(text.clone()));
        }
        for address in addresses {
            let address = with_port(address, port);
            if found.iter().all(|known| known.address != address) {
                found.push(Candidate { address, optional: false });
            }
        }
    }
    Ok(found)
}

/// An address of this machine and the interface it belongs to.
#[derive(Debug)]
struct Local {
    interface: String,
    address: SocketAddr,
}

impl Local {
    fn of(interface: &if_addrs::Interface) -> Self {
        let address = match interface.ip() {
            // A link-local address means nothing without its interface.
            IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                SocketAddrV6::new(ip, 0, 0, interface.index.unwrap_or_default()).into()
            }
            ip => SocketAddr::new(ip, 0),
        };
        Self { interface: interface.name.clone(), address }
    }
}

/// What one `--interface` text means: an interface's addresses, an address, those of ours in a
/// network, or those of a host name. Empty when it means nothing.
fn addresses_of(text: &str, local: &[Local]) -> Vec<SocketAddr> {
    let of_interface: Vec<_> =
        local.iter().filter(|l| l.interface == text).map(|l| l.address).collect();
    if !of_interface.is_empty() {
        return of_interface;
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        // One of ours is taken with its interface, which link-local addresses need.
        let ours = local.iter().find(|l| l.address.ip() == ip).map(|l| l.address);
        return vec![ours.unwrap_or(SocketAddr::new(ip, 0))];
    }
    if let Some((network, length)) = parse_cidr(text) {
        let inside = |l: &&Local| in_network(l.address.ip(), network, length);
        return local.iter().filter(inside).map(|l| l.address).collect();
    }
    (text, 0).to_socket_addrs().map(Iterator::collect).unwrap_or_default()
}

fn parse_cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (network, length) = text.split_once('/')?;
    let network = network.parse::<IpAddr>().ok()?;
    let length = length.parse::<u32>().ok()?;
    let longest = if network.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((network, length))
}

fn in_network(ip: IpAddr, network: IpAddr, length: u32) -> bool {
    match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => {
            (ip.to_bits() ^ network.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
        }
        (IpAddr::V6(ip), IpAddr::V6(network)) => {
            (ip.to_bits() ^ network.to_bits()).checked_shr(128 - length).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// Takes over a listening socket that the process was started with.
fn adopt(fd: RawFd, index: usize) -> Result<Listener, ListenError> {
    let refused = |_| ListenError::SocketFd(fd);
    // Looked at by its name in /proc first: to own a descriptor that is not open would be
    // unsound, and one that is open but not a socket is not ours to close.
    let name = std::fs::read_link(format!("/proc/self/fd/{fd}")).map_err(refused)?;
    if fd <= 2 || !name.to_string_lossy().starts_with("socket:") {
        return Err(ListenError::SocketFd(fd));
    }
    // SAFETY: the descriptor is open, as was just seen; no other thread opens or closes any yet.
    // The user gave it to the broker by number, so nothing else in the process owns it.
    let socket = socket2::Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
    if !socket.is_listener().map_err(refused)? {
        return Err(ListenError::SocketFd(fd));
    }
    Listener::adopt(TcpListener::from(socket), index, None).map_err(refused)
}

#[cfg(test)]
mod tests;
