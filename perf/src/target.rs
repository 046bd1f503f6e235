//! A broker as clients reach it: by address, whoever started it.

use crate::process::{Process, Usage};
use crate::protocol::Protocol;
use crate::tls::TlsArguments;
use anyhow::{Context, Result, bail};
use fletch_client::amqp::v0_10::{CreditUnit, FlowMode};
use fletch_client::{ConnectOptions, Connection, Session, TlsOptions, v1_0};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// The port of AMQP, where a URL names none.
const PORT: u16 = 5672;
/// The same over TLS.
const TLS_PORT: u16 = 5671;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    host: String,
    port: u16,
    user: Option<(String, String)>,
    tls: Option<Tls>,
    process: Option<Process>,
}

/// How to speak TLS, and what that says about who we are.
#[derive(Clone, Debug)]
struct Tls {
    options: TlsOptions,
    /// Whether we have a certificate of our own.
    identified: bool,
}

impl Target {
    /// A broker on this machine, started here.
    pub(crate) fn local(port: u16, process: Process) -> Target {
        let host = "127.0.0.1".to_owned();
        Target { host, port, user: None, tls: None, process: Some(process) }
    }

    /// Of `amqp://[USER:PASSWORD@]HOST[:PORT]`, or `amqps://` for TLS; on this machine its process may be known.
    pub(crate) fn parse(url: &str, pid: Option<u32>, tls: &TlsArguments) -> Result<Target> {
        let (rest, sealed) = match (url.strip_prefix("amqp://"), url.strip_prefix("amqps://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => bail!("{url}: a broker's URL is amqp://HOST:PORT, or amqps://HOST:PORT"),
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user.split_once(':').unwrap_or((user, ""))), place),
            None => (None, rest),
        };
        let place = place.trim_end_matches('/');
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match place.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
            Some((host, port)) => (host, port.parse().with_context(|| format!("{url}: port"))?),
            None => (place, if sealed { TLS_PORT } else { PORT }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            bail!("{url}: no host");
        }
        let user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
        let tls = match sealed {
            true => Some(Tls {
                options: tls.options(&host).with_context(|| url.to_owned())?,
                identified: tls.identity().is_some(),
            }),
            false => None,
        };
        Ok(Target { host, port, user, tls, process: pid.map(Process) })
    }

    /// The same broker by another port.
    pub(crate) fn at_port(&self, port: u16) -> Target {
        Target { port, ..self.clone() }
    }

    /// Whether clients speak TLS with it.
    pub(crate) fn is_sealed(&self) -> bool {
        self.tls.is_some()
    }

    /// Without the user.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_sealed() { "amqps" } else { "amqp" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    /// Where it is.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What a connection to it asks for unless told otherwise.
    pub(crate) fn options(&self) -> ConnectOptions {
        let (user, password) = self.user.clone().unzip();
        // Whom its certificate names the broker may know by that: it says so by offering EXTERNAL.
        let by_certificate = user.is_none() && self.tls.as_ref().is_some_and(|tls| tls.identified);
        let mechanism = by_certificate.then(|| "EXTERNAL ANONYMOUS".to_owned());
        let tls = self.tls.as_ref().map(|tls| tls.options.clone());
        ConnectOptions { user, password, mechanism, tls, ..Default::default() }
    }

    // ---- clients ----

    /// A socket connected to it; from an address of this machine, if one is given: each has ports of its own.
    pub(crate) fn socket(&self, from: Option<Ipv4Addr>) -> Result<TcpStream> {
        let Some(from) = from else {
            let place = (self.host.as_str(), self.port);
            return TcpStream::connect(place).with_context(|| format!("{}:{}", place.0, place.1));
        };
        let places = (self.host.as_str(), self.port).to_socket_addrs()?;
        let place = places.into_iter().find(SocketAddr::is_ipv4).context("no IPv4 address")?;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&place.into()).with_context(|| place.to_string())?;
        Ok(socket.into())
    }

    /// Opens a connection to it.
    pub(crate) fn connect(&self) -> Result<Connection> {
        self.connect_with(&self.options())
    }

    /// Opens a connection with options of its own.
    pub(crate) fn connect_with(&self, options: &ConnectOptions) -> Result<Connection> {
        Ok(Connection::connect((self.host.as_str(), self.port), options)?)
    }

    /// Opens a connection of AMQP 1.0 to it.
    pub(crate) fn connect_1_0(&self) -> Result<v1_0::Connection> {
        Ok(v1_0::Connection::connect((self.host.as_str(), self.port), &self.options())?)
    }

    /// Opens a connection of a protocol to it.
    pub(crate) fn connect_by(&self, protocol: Protocol) -> Result<Client> {
        let socket = self.socket(None)?;
        let wire = socket.try_clone()?;
        Ok(Client { link: self.open(protocol, socket)?, socket: wire })
    }

    /// Opens a connection of a protocol over a socket.
    pub(crate) fn open(&self, protocol: Protocol, socket: TcpStream) -> Result<Link> {
        let options = self.options();
        Ok(match protocol {
            Protocol::V0_10 => Link::V0_10(Connection::over(socket, &options)?),
            Protocol::V1_0 => Link::V1_0(v1_0::Connection::over(socket, &options)?),
        })
    }

    // ---- its process ----

    fn process(&self) -> Result<Process> {
        self.process.context("the broker's process is not known: --pid PID")
    }

    /// What it has used up, if its process is known.
    pub(crate) fn usage(&self) -> Result<Option<Usage>> {
        self.process.map(Process::usage).transpose()
    }

    /// Processor time it has used.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.process()?.cpu()
    }

    /// Its resident memory in octets.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.process()?.resident()
    }

    /// The same, if its process is known.
    pub(crate) fn resident_if_known(&self) -> Result<Option<u64>> {
        self.process.map(Process::resident).transpose()
    }

    /// The most memory it ever had resident, in octets.
    pub(crate) fn peak_resident(&self) -> Result<u64> {
        self.process()?.peak_resident()
    }

    /// Octets it has had written to disk, whatever for.
    pub(crate) fn written(&self) -> Result<u64> {
        self.process()?.written()
    }

    /// Its resident memory once that has not changed for half a second, or after `most`.
    pub(crate) fn settled(&self, most: Duration) -> Result<u64> {
        let deadline = Instant::now() + most;
        let mut resident = self.resident()?;
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(500) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.resident()?;
            if now != resident {
                (resident, since) = (now, Instant::now());
            }
        }
        Ok(resident)
    }
}

/// A connection of either protocol.
pub(crate) enum Link {
    V0_10(Connection),
    V1_0(v1_0::Connection),
}

/// A connection, and its socket once more to wait on together with others.
pub(crate) struct Client {
    pub(crate) link: Link,
    pub(crate) socket: TcpStream,
}

/// Gives a subscription credit without limit.
pub(crate) fn unlimited(session: &Session, destination: &str) -> Result<()> {
    session.set_flow_mode(destination, FlowMode::CREDIT)?;
    session.flow(destination, CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
    session.flow(destination, CreditUnit::MESSAGE, CreditUnit::UNLIMITED)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, tls: &TlsArguments) -> Result<Target> {
        Target::parse(url, None, tls)
    }

    #[test]
    fn a_url_names_host_port_and_user() {
        let none = TlsArguments::default();
        let target = parse("amqp://guest:se:cret@broker.example:5673/", &none).unwrap();
        assert_eq!((target.host(), target.port()), ("broker.example", 5673));
        assert_eq!(target.user, Some(("guest".to_owned(), "se:cret".to_owned())));
        assert_eq!(target.url(), "amqp://broker.example:5673");
        let target = parse("amqp://[::1]", &none).unwrap();
        assert_eq!((target.host(), target.port(), &target.user), ("::1", PORT, &None));
        assert_eq!(parse("amqp://[::1]:7", &none).unwrap().port(), 7);
    }

    #[test]
    fn with_tls_somebody_has_to_be_trusted() {
        let none = TlsArguments::default();
        let said = format!("{:#}", parse("amqps://broker.example", &none).unwrap_err());
        assert!(said.contains("--tls-ca FILE") && said.contains("--tls-insecure"), "{said}");
        let anybody = TlsArguments { tls_insecure: true, ..none };
        let target = parse("amqps://broker.example", &anybody).unwrap();
        assert_eq!(target.url(), "amqps://broker.example:5671");
        assert!(target.is_sealed() && target.options().tls.is_some());
        assert!(parse("amqp://broker.example", &anybody).unwrap().options().tls.is_none());
    }

    #[test]
    fn what_is_no_url_of_a_broker_is_refused() {
        for url in ["127.0.0.1:5672", "http://localhost", "amqp://:5672", "amqp://host:port"] {
            assert!(parse(url, &TlsArguments::default()).is_err(), "{url}");
        }
    }
}
