//! The client against a server that is a thread with the same state machine in its other role. It completes every command,
//! gives every message published to whoever subscribed, and fails what the tests want to see fail.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use fletch_amqp::v0_10::table::{exchange, message, queue};
use fletch_amqp::v0_10::{self as amqp, Blame, CloseCode, Command, ErrorCode, Event, ServerConfig};
use fletch_amqp::{CommandId, SequenceSet};
use fletch_client::{ConnectOptions, Connection, Error, Outgoing};

/// What the server does after the event.
enum Act {
    Authenticate,
    Open,
    Attach(u16),
    Complete(u16, CommandId),
    Result(u16, CommandId, String),
    Fail(u16, CommandId),
    Deliver(u16, CommandId, Vec<u8>, Vec<u8>),
    Accepted(u16, CommandId, SequenceSet),
    Close,
    Nothing,
}

fn act(event: Event<'_>) -> Act {
    match event {
        Event::Authenticate { .. } | Event::Response { .. } => Act::Authenticate,
        Event::Open { virtual_host: "nowhere", .. } => Act::Close,
        Event::Open { .. } => Act::Open,
        Event::Attach { channel, .. } => Act::Attach(channel),
        Event::Transfer { channel, id, header, body, .. } => {
            Act::Deliver(channel, id, header.unwrap_or_default().to_vec(), body.into_vec())
        }
        Event::Command { channel, id, command, .. } => match command {
            Command::QueueQuery(q) => Act::Result(channel, id, q.queue.unwrap_or_default().into()),
            Command::QueueDelete(_) => Act::Fail(channel, id),
            Command::MessageAccept(a) => {
                Act::Accepted(channel, id, a.transfers.unwrap_or_default())
            }
            _ => Act::Complete(channel, id),
        },
        _ => Act::Nothing,
    }
}

/// Serves one connection to its end, and returns the messages accepted.
fn serve(mut socket: TcpStream) -> std::io::Result<SequenceSet> {
    let mut amqp = amqp::Connection::server(ServerConfig::default(), Duration::ZERO);
    let (mut input, mut chunk, mut accepted) = (Vec::new(), [0; 4096], SequenceSet::new());
    while !amqp.is_closed() {
        let read = socket.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        input.extend_from_slice(&chunk[..read]);
        let mut rest = &input[..];
        while let Some(event) = amqp.next(Duration::ZERO, &mut rest) {
            match act(event) {
                Act::Authenticate => amqp.authenticated(),
                Act::Open => amqp.open_ok(["elsewhere"]),
                Act::Attach(channel) => amqp.attach_ok(channel),
                Act::Complete(channel, id) => amqp.complete(channel, id),
                Act::Result(channel, id, queue) => {
                    let result = queue::QueueQueryResult {
                        queue: Some(&queue),
                        message_count: Some(7),
                        ..Default::default()
                    };
                    amqp.result(channel, id, &result).map_err(std::io::Error::other)?;
                }
                Act::Fail(channel, id) => {
                    let blame = Blame { command_id: Some(id), class: 8, code: 2, field: 0 };
                    amqp.exception(channel, ErrorCode::NOT_FOUND, blame, "no such queue");
                }
                Act::Deliver(channel, id, header, body) => {
                    let transfer =
                        message::Transfer { destination: Some("in"), ..Default::default() };
                    let put = |out: &mut Vec<u8>| out.extend_from_slice(&header);
                    amqp.transfer(channel, &transfer, false, put, &body[..])
                        .map_err(std::io::Error::other)?;
                    amqp.complete(channel, id);
                }
                Act::Accepted(channel, id, set) => {
                    accepted.union(&set);
                    amqp.complete(channel, id);
                }
                Act::Close => {
                    amqp.close(Duration::ZERO, CloseCode::INVALID_PATH, "no such virtual host")
                }
                Act::Nothing => {}
            }
        }
        let rest = rest.len();
        input.drain(..input.len() - rest);
        amqp.flush();
        socket.write_all(amqp.out())?;
        amqp.out().clear();
    }
    Ok(accepted)
}

type Server = JoinHandle<std::io::Result<SequenceSet>>;

fn server() -> Result<(SocketAddr, Server), Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    Ok((address, std::thread::spawn(move || serve(listener.accept()?.0))))
}

fn options() -> ConnectOptions {
    ConnectOptions { timeout: Duration::from_secs(10), ..Default::default() }
}

fn finish(server: Server) -> SequenceSet {
    server.join().expect("the server does not panic").expect("the server's socket works")
}

#[test]
fn commands_have_results_and_exceptions() -> Result<(), Error> {
    let (address, server) = server()?;
    let connection = Connection::connect(address, &options())?;
    let session = connection.session("one", false)?;
    let declare = queue::Declare { queue: Some("q"), ..Default::default() };
    assert_eq!(session.call(&declare.into())?, None);
    let reply = session.call(&queue::Query { queue: Some("q") }.into())?.expect("a result");
    let result: queue::QueueQueryResult<'_> = reply.read()?;
    assert_eq!((result.queue, result.message_count), (Some("q"), Some(7)));
    assert!(reply.read::<exchange::ExchangeBoundResult>().is_err());

    let delete = queue::Delete { queue: Some("q"), ..Default::default() };
    let error = session.call(&delete.into()).expect_err("the server fails it");
    assert_eq!(error.session_code(), Some(ErrorCode::NOT_FOUND));
    assert_eq!(error.to_string(), "not-found: no such queue");
    // The session is gone, its handle says why, and a new one on the same channel is another.
    assert_eq!(session.sync().expect_err("ended").session_code(), Some(ErrorCode::NOT_FOUND));
    let second = connection.session("two", false)?;
    second.sync()?;
    assert!(session.sync().is_err());
    second.close()?;
    connection.close()?;
    finish(server);
    Ok(())
}

#[test]
fn messages_of_any_size_come_back_in_order_through_a_small_window() -> Result<(), Error> {
    let (address, server) = server()?;
    let connection =
        Connection::connect(address, &ConnectOptions { send_window: 10, ..options() })?;
    let session = connection.session("s", false)?;
    let sizes = [0usize, 1, 100, 65_535, 300_000];
    let bodies: Vec<Vec<u8>> = (0..200u8).map(|i| vec![i; sizes[usize::from(i) % 5]]).collect();
    for body in &bodies {
        session.send("", &Outgoing::to_queue("q", body))?;
        assert!(session.incomplete() <= 10);
    }
    session.sync()?;
    assert_eq!(session.incomplete(), 0);
    for body in &bodies {
        let delivery = session.next_delivery(Duration::from_secs(10))?.expect("a message");
        assert_eq!(delivery.destination.as_ref(), "in");
        assert_eq!(delivery.view()?.routing_key()?, Some("q"));
        assert!(delivery.body() == body);
        session.accept(delivery.id)?;
    }
    assert!(session.next_delivery(Duration::ZERO)?.is_none());
    session.close()?;
    connection.close()?;
    assert_eq!(finish(server).id_count(), 200);
    Ok(())
}

#[test]
fn a_header_that_cannot_be_encoded_sends_nothing() -> Result<(), Error> {
    let (address, server) = server()?;
    let connection = Connection::connect(address, &options())?;
    let session = connection.session("s", false)?;
    let key = "k".repeat(256);
    let error = session.send("", &Outgoing::to_queue(&key, b"")).expect_err("too long for a str8");
    assert!(matches!(error, Error::Encode(_)), "{error}");
    session.send("", &Outgoing::to_queue("k", b"x"))?;
    session.sync()?;
    let mut taken = Vec::new();
    assert_eq!(session.take_deliveries(&mut taken), 1);
    connection.close()?;
    finish(server);
    Ok(())
}

#[test]
fn refusals_say_why() -> Result<(), Error> {
    let (address, server) = server()?;
    let refused = ConnectOptions { virtual_host: "nowhere".into(), ..options() };
    let error = Connection::connect(address, &refused).expect_err("refused");
    assert_eq!(error.to_string(), "connection closed: no such virtual host (invalid-path)");
    finish(server);

    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let error = Connection::connect(nobody, &options()).expect_err("nobody listens");
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    Ok(())
}

#[test]
fn a_broker_that_goes_away_is_noticed() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let gone = std::thread::spawn(move || listener.accept().map(drop));
    let error = Connection::connect(address, &options()).expect_err("closed at once");
    assert!(matches!(error, Error::Lost | Error::Io(_)), "{error}");
    gone.join().expect("the thread does not panic")?;
    Ok(())
}

#[test]
fn waiting_ends_in_time() -> Result<(), Error> {
    let (address, server) = server()?;
    let connection = Connection::connect(address, &options())?;
    let session = connection.session("s", false)?;
    let before = std::time::Instant::now();
    assert!(session.next_delivery(Duration::from_millis(30))?.is_none());
    assert!(before.elapsed() >= Duration::from_millis(30));
    connection.poll(Duration::ZERO)?;
    assert!(session.take_delivery().is_none());
    connection.close()?;
    finish(server);
    Ok(())
}
