//! TLS in front of a broker: certificates made for a test, and a server that decrypts for whoever comes and passes on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};
use tempfile::TempDir;

/// Octets read at once, and kept at most for a broker that does not read.
const CHUNK: usize = 64 << 10;

/// Who issues certificates, and where they are.
pub struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// One that nobody knows.
    pub fn new() -> Result<Authority> {
        // Each has a name of its own: one of the same name would be known, and have the wrong key.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let dir = TempDir::new()?;
        std::fs::write(dir.path().join("ca.pem"), issuer.pem())?;
        Ok(Authority { dir, issuer })
    }

    /// The file of its own certificate.
    pub fn pem(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Issues a certificate that names these hosts and addresses.
    pub fn issue(&self, names: &[&str]) -> Result<Issued> {
        let params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        let key = KeyPair::generate()?;
        let path = |end: &str| self.dir.path().join(format!("{}.{end}", names.join("+")));
        let issued = Issued { certificate: path("crt.pem"), key: path("key.pem") };
        std::fs::write(&issued.certificate, params.signed_by(&key, &self.issuer)?.pem())?;
        std::fs::write(&issued.key, key.serialize_pem())?;
        Ok(issued)
    }
}

/// How a server speaks TLS: with which versions, and with the clients of which authority only, if any is given.
pub fn server(
    issued: &Issued,
    versions: &[&'static SupportedProtocolVersion],
    clients: Option<&Authority>,
) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?;
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(authority.pem())?)?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let certificates = vec![CertificateDer::from_pem_file(&issued.certificate)?];
    Ok(builder.with_single_cert(certificates, PrivateKeyDer::from_pem_file(&issued.key)?)?)
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    /// Connections whose client said with TLS that it ended.
    closed_in_order: AtomicUsize,
    /// How connections failed here.
    failures: Mutex<Vec<String>>,
    clients: Mutex<Vec<TcpStream>>,
}

/// A TLS server in front of a broker. Ends with the value.
#[derive(Debug)]
pub struct Terminator {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Terminator {
    /// Of a broker that speaks in the clear, with a certificate that names `localhost` and `127.0.0.1`.
    pub fn start(broker: SocketAddr, authority: &Authority) -> Result<Terminator> {
        let issued = authority.issue(&["localhost", "127.0.0.1"])?;
        Self::start_with(broker, server(&issued, rustls::ALL_VERSIONS, None)?)
    }

    /// The same with everything else chosen.
    pub fn start_with(broker: SocketAddr, config: ServerConfig) -> Result<Terminator> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (of_all, config) = (Arc::clone(&shared), Arc::new(config));
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if of_all.over.load(Ordering::Relaxed) {
                    return;
                }
                let (shared, config) = (Arc::clone(&of_all), Arc::clone(&config));
                std::thread::spawn(move || {
                    if let Err(error) = relay(client, broker, config, &shared) {
                        locked(&shared.failures).push(error.to_string());
                    }
                });
            }
        });
        Ok(Terminator { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections their clients have ended as TLS wants it.
    pub fn closed_in_order(&self) -> usize {
        self.shared.closed_in_order.load(Ordering::Relaxed)
    }

    /// How connections have failed on this side, among it what clients said with TLS that they did not like.
    pub fn failures(&self) -> Vec<String> {
        locked(&self.shared.failures).clone()
    }

    /// Closes the sockets of all clients without a word of TLS.
    pub fn cut(&self) {
        for client in locked(&self.shared.clients).drain(..) {
            // One that is closed already cannot be closed again.
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Terminator {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes whoever accepts; nobody accepts where that fails.
        let _ = TcpStream::connect(self.address);
    }
}

/// Passes on what comes, in both directions, until the client ends, or breaks off.
fn relay(
    mut client: TcpStream,
    broker: SocketAddr,
    config: Arc<ServerConfig>,
    shared: &Shared,
) -> Result<()> {
    let mut broker = TcpStream::connect(broker)?;
    for socket in [&client, &broker] {
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
    }
    locked(&shared.clients).push(client.try_clone()?);
    let mut tls = ServerConnection::new(config)?;
    let (mut up, mut chunk) = (Vec::new(), vec![0; CHUNK]);
    // Whether the broker has; then the client has the last word.
    let mut ended = false;
    loop {
        let of_client = (up.len() < CHUNK, tls.wants_write());
        wait(&client, of_client, &broker, (!ended && !tls.wants_write(), !up.is_empty()))?;
        if up.len() < CHUNK
            && let Some(count) = there(client.read(&mut chunk))?
        {
            ensure!(count > 0, "the client is gone");
            let mut sealed = &chunk[..count];
            while !sealed.is_empty() {
                tls.read_tls(&mut sealed)?;
                let state = tls.process_new_packets();
                if state.is_err() {
                    // Says why.
                    while tls.wants_write() && there(tls.write_tls(&mut client))?.is_some() {}
                }
                let state = state?;
                let from = up.len();
                up.resize(from + state.plaintext_bytes_to_read(), 0);
                tls.reader().read_exact(&mut up[from..])?;
                if state.peer_has_closed() {
                    shared.closed_in_order.fetch_add(1, Ordering::Relaxed);
                    broker.set_nonblocking(false)?;
                    return broker.write_all(&up).context("the last words of the client");
                }
            }
        }
        while !up.is_empty()
            && let Some(count) = there(broker.write(&up))?
        {
            up.drain(..count);
        }
        if !ended
            && !tls.wants_write()
            && let Some(count) = there(broker.read(&mut chunk[..CHUNK / 2]))?
        {
            ended = count == 0;
            if ended {
                tls.send_close_notify();
            }
            tls.writer().write_all(&chunk[..count])?;
        }
        while tls.wants_write() && there(tls.write_tls(&mut client))?.is_some() {}
    }
}

/// Nothing is left half done by a panic.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sleeps until one of the sockets can be read or written, as it is wanted for.
fn wait(
    client: &TcpStream,
    of_client: (bool, bool),
    broker: &TcpStream,
    of_broker: (bool, bool),
) -> Result<()> {
    let flags = |(reads, writes)| {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, reads);
        flags.set(PollFlags::OUT, writes);
        flags
    };
    let client = PollFd::new(client, flags(of_client));
    let broker = PollFd::new(broker, flags(of_broker));
    poll(&mut [client, broker], None)?;
    Ok(())
}

/// What could be moved, if anything could without waiting.
fn there(moved: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match moved {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
