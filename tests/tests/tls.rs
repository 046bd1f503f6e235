//! Our own clients over TLS: a server decrypts in front of the broker. What is refused, and how it is said.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fletch_client::amqp::v0_10::table::queue;
use fletch_client::amqp::v1_0::SenderSettleMode;
use fletch_client::amqp::v1_0::message::Body;
use fletch_client::{
    ConnectOptions, Connection, Error, Identity, Outgoing, TlsError, TlsOptions, Trust, v1_0,
};
use fletch_tests::broker::Broker;
use fletch_tests::tls::{Authority, Terminator, server};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

const PATIENCE: Duration = Duration::from_secs(20);
/// Octets of the large message: many records of TLS.
const LARGE: usize = 1 << 20;
/// Small messages, more than any buffer on the way holds.
const MANY: u32 = 20_000;

fn options(server_name: &str, trust: &Trust) -> Result<ConnectOptions> {
    let tls = Some(TlsOptions::new(server_name, trust, None)?);
    Ok(ConnectOptions { tls, timeout: PATIENCE, ..Default::default() })
}

fn trusting(authority: &Authority) -> Result<ConnectOptions> {
    options("localhost", &Trust::Issuers(authority.pem()))
}

/// A broker, and TLS of this version in front of it.
fn scene(version: &'static SupportedProtocolVersion) -> Result<(Broker, Authority, Terminator)> {
    let (broker, authority) = (Broker::start(&[])?, Authority::new()?);
    let issued = authority.issue(&["localhost", "127.0.0.1"])?;
    let config = server(&issued, &[version], None)?;
    let terminator = Terminator::start_with(broker.address(), config)?;
    Ok((broker, authority, terminator))
}

/// A small message: who it is, and a length that changes.
fn small(number: u32) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(4 + (number % 60) as usize, 7);
    body
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|at| (at % 251) as u8).collect()
}

/// Waits on the bare socket, and then gives the connection one turn, until all have come: whatever that turn leaves behind
/// without the socket knowing is never found.
fn wait_for_all(
    socket: &TcpStream,
    turn: impl Fn() -> Result<(), Error>,
    mut take: impl FnMut() -> Result<Vec<Vec<u8>>>,
) -> Result<()> {
    let mut expected = 0..MANY;
    let mut large_left = true;
    loop {
        for body in take()? {
            if std::mem::take(&mut large_left) {
                ensure!(body == large(), "the large one comes first, and whole");
            } else {
                ensure!(Some(body) == expected.next().map(small), "before {expected:?}");
            }
        }
        if expected.is_empty() {
            return Ok(());
        }
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&timeout))?;
        ensure!(ready == 1, "{expected:?} never came, or are held back");
        turn()?;
    }
}

fn messages_0_10(version: &'static SupportedProtocolVersion) -> Result<()> {
    let (_broker, authority, terminator) = scene(version)?;
    let options = trusting(&authority)?;
    let sending = Connection::connect(terminator.address(), &options)?;
    let session = sending.session("sender", false)?;
    session.call(&queue::Declare { queue: Some("q"), ..Default::default() }.into())?;

    let socket = TcpStream::connect(terminator.address())?;
    let receiving = Connection::over(socket.try_clone()?, &options)?;
    let receiver = receiving.session("receiver", false)?;
    // More than all: nothing has to be given back.
    receiver.consume("q", "in", 2 * MANY)?;

    session.send("", &Outgoing::to_queue("q", &large()))?;
    for number in 0..MANY {
        session.send("", &Outgoing::to_queue("q", &small(number)))?;
    }
    session.sync()?;
    let mut taken = Vec::new();
    wait_for_all(
        &socket,
        || receiving.poll(Duration::ZERO),
        || {
            receiver.take_deliveries(&mut taken);
            Ok(taken.drain(..).map(|delivery| delivery.body().to_vec()).collect())
        },
    )?;
    receiver.close()?;
    receiving.close()?;
    sending.close()?;
    ended_in_order(&terminator, 2)
}

fn messages_1_0(version: &'static SupportedProtocolVersion) -> Result<()> {
    let (_broker, authority, terminator) = scene(version)?;
    let options = trusting(&authority)?;
    let sending = v1_0::Connection::connect(terminator.address(), &options)?;
    let capabilities = vec!["create-on-demand".into(), "queue".into()];
    let target = v1_0::Terminus { capabilities, ..v1_0::Terminus::of("q") };
    let sender =
        sending.session()?.sender(&v1_0::SenderOptions { target, ..Default::default() })?;

    let socket = TcpStream::connect(terminator.address())?;
    let receiving = v1_0::Connection::over(socket.try_clone()?, &options)?;
    let receiver = receiving.session()?.receiver(&v1_0::ReceiverOptions {
        settle_mode: SenderSettleMode::SETTLED,
        credit: v1_0::Credit::Once(2 * MANY),
        ..v1_0::ReceiverOptions::of("q")
    })?;
    receiving.flush()?;

    sender.send(&v1_0::Outgoing::of_data(&large()))?;
    for number in 0..MANY {
        sender.send(&v1_0::Outgoing::of_data(&small(number)))?;
    }
    sender.settle()?;
    let mut taken = Vec::new();
    let octets = |delivery: v1_0::Delivery| match delivery.view()?.body() {
        Body::Data(pieces) => Ok(pieces.joined().into_owned()),
        other => bail!("not octets: {other:?}"),
    };
    wait_for_all(
        &socket,
        || receiving.poll(Duration::ZERO),
        || {
            receiver.take_deliveries(&mut taken);
            taken.drain(..).map(octets).collect()
        },
    )?;
    receiver.close()?;
    receiving.close()?;
    sending.close()?;
    ended_in_order(&terminator, 2)
}

/// So many clients have said with TLS that they end.
fn ended_in_order(terminator: &Terminator, count: usize) -> Result<()> {
    eventually("an end in order", || terminator.closed_in_order() == count)
}

fn eventually(what: &str, holds: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        ensure!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn messages_of_0_10_come_over_tls_whole_and_at_once() -> Result<()> {
    [&TLS12, &TLS13].into_iter().try_for_each(messages_0_10)
}

#[test]
fn messages_of_1_0_come_over_tls_whole_and_at_once() -> Result<()> {
    [&TLS12, &TLS13].into_iter().try_for_each(messages_1_0)
}

/// What connecting fails with, in either protocol.
fn refused(address: SocketAddr, options: &ConnectOptions) -> Result<[Error; 2]> {
    let (old, new) = (
        Connection::connect(address, options).err(),
        v1_0::Connection::connect(address, options).err(),
    );
    Ok([old.context("0-10 connects")?, new.context("1.0 connects")?])
}

#[test]
fn a_certificate_that_is_not_good_enough_is_refused_with_the_reason() -> Result<()> {
    let (_broker, authority, terminator) = scene(&TLS13)?;
    let other = Authority::new()?;
    for error in refused(terminator.address(), &trusting(&other)?)? {
        let Error::Tls(cause) = &error else { bail!("{error}") };
        ensure!(matches!(**cause, TlsError::Certificate(_)), "{error}");
        ensure!(error.to_string().contains("unknown issuer"), "{error}");
    }
    // The broker hears it, too.
    let heard = || terminator.failures().iter().filter(|text| text.contains("UnknownCA")).count();
    eventually("both of them say why", || heard() == 2)?;
    let right = Trust::Issuers(authority.pem());
    for error in refused(terminator.address(), &options("elsewhere.example", &right)?)? {
        let text = error.to_string();
        ensure!(text.contains(r#"not valid for name "elsewhere.example""#), "{text}");
    }
    // By its other name, and with neither name nor issuer looked at.
    for good in [options("127.0.0.1", &right)?, options("elsewhere.example", &Trust::Anybody)?] {
        Connection::connect(terminator.address(), &good)?.close()?;
        v1_0::Connection::connect(terminator.address(), &good)?.close()?;
    }
    Ok(())
}

#[test]
fn what_does_not_speak_tls_is_told_apart_in_time() -> Result<()> {
    let broker = Broker::start(&[])?;
    let authority = Authority::new()?;
    for error in refused(broker.address(), &trusting(&authority)?)? {
        let Error::Tls(cause) = &error else { bail!("{error}") };
        let plain = matches!(**cause, TlsError::NotTls | TlsError::HungUp);
        ensure!(plain && error.to_string().contains("port for"), "{error}");
    }
    // The kernel connects, and nobody ever says a word.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let timeout = Duration::from_millis(300);
    let hurried = ConnectOptions { timeout, ..trusting(&authority)? };
    let before = Instant::now();
    for error in refused(silent.local_addr()?, &hurried)? {
        ensure!(error.to_string() == "timed out waiting for the TLS handshake", "{error}");
    }
    ensure!(before.elapsed() >= 2 * timeout && before.elapsed() < PATIENCE);
    Ok(())
}

#[test]
fn a_socket_that_closes_without_a_word_of_tls_is_lost() -> Result<()> {
    let (_broker, authority, terminator) = scene(&TLS13)?;
    let options = trusting(&authority)?;
    let old = Connection::connect(terminator.address(), &options)?;
    let session = old.session("s", false)?;
    let new = v1_0::Connection::connect(terminator.address(), &options)?;
    terminator.cut();
    let error = session.next_delivery(PATIENCE).err().context("0-10 goes on")?;
    ensure!(matches!(error, Error::Lost), "{error}");
    let error = new.session().err().context("1.0 goes on")?;
    ensure!(matches!(error, Error::Lost), "{error}");
    ensure!(terminator.closed_in_order() == 0);
    Ok(())
}

#[test]
fn a_broker_that_wants_a_certificate_is_shown_ours() -> Result<()> {
    let (broker, authority) = (Broker::start(&[])?, Authority::new()?);
    let issued = authority.issue(&["localhost"])?;
    let config = server(&issued, &[&TLS13], Some(&authority))?;
    let terminator = Terminator::start_with(broker.address(), config)?;
    let client = authority.issue(&["client"])?;
    let identity = Identity { certificates: client.certificate, key: client.key };
    let trust = Trust::Issuers(authority.pem());
    let tls = Some(TlsOptions::new("localhost", &trust, Some(&identity))?);
    let known = ConnectOptions { tls, ..trusting(&authority)? };
    Connection::connect(terminator.address(), &known)?.close()?;
    v1_0::Connection::connect(terminator.address(), &known)?.close()?;
    for error in refused(terminator.address(), &trusting(&authority)?)? {
        ensure!(error.to_string().contains("CertificateRequired"), "{error}");
    }
    // A key of another certificate is found out before anything is connected.
    let wrong = Identity { key: issued.key, ..identity };
    let error = TlsOptions::new("localhost", &trust, Some(&wrong)).err().context("it fits")?;
    ensure!(matches!(error, TlsError::Unusable { .. }), "{error}");
    Ok(())
}

#[test]
fn files_and_names_that_are_no_use_are_refused_by_name() -> Result<()> {
    let authority = Authority::new()?;
    let key = authority.issue(&["localhost"])?.key;
    let missing = authority.pem().with_file_name("missing.pem");
    for (path, text) in [(missing, "No such file"), (key, "no items found")] {
        let error = TlsOptions::new("localhost", &Trust::Issuers(path.clone()), None).err();
        let said = error.context("accepted")?.to_string();
        ensure!(said.starts_with(&path.display().to_string()) && said.contains(text), "{said}");
    }
    let error = TlsOptions::new("not a name", &Trust::Anybody, None).err().context("accepted")?;
    ensure!(matches!(error, TlsError::ServerName(_)), "{error}");
    Ok(())
}
