use std::net::TcpStream;

use super::*;
use crate::config::{Invocation, Request, parse};

fn config(args: &[&str]) -> Config {
    let args = ["fletchd", "--auth", "no"].iter().chain(args).map(|arg| (*arg).to_owned());
    let invocation = Invocation {
        args: args.collect(),
        variables: Vec::new(),
        default_files: Vec::new(),
        root: false,
    };
    match parse(&invocation) {
        Ok(Request::Run(config)) => *config,
        other => panic!("{other:?}"),
    }
}

fn local(interface: &str, ip: &str) -> Local {
    Local { interface: interface.to_owned(), address: SocketAddr::new(ip.parse().unwrap(), 0) }
}

#[test]
fn every_form_of_interface() {
    let ours = [local("lo", "127.0.0.1"), local("lo", "::1"), local("eth0", "192.0.2.2")];
    let ips = |text| -> Vec<String> {
        addresses_of(text, &ours).iter().map(|a| a.ip().to_string()).collect()
    };
    assert_eq!(ips("lo"), ["127.0.0.1", "::1"]);
    assert_eq!(ips("192.0.2.2"), ["192.0.2.2"]);
    assert_eq!(ips("[::1]"), ["::1"]);
    assert_eq!(ips("192.0.2.0/24"), ["192.0.2.2"]);
    assert_eq!(ips("::/0"), ["::1"]);
    assert_eq!(ips("0.0.0.0/0"), ["127.0.0.1", "192.0.2.2"]);
    assert_eq!(ips("10.0.0.0/8"), Vec::<String>::new());
    assert_eq!(parse_cidr("10.0.0.0/33"), None);
}

#[test]
fn all_addresses_share_the_ephemeral_port() {
    let listeners = listen(&config(&["-p", "0"])).unwrap().amqp;
    let port = listeners[0].local_addr().port();
    assert_ne!(port, 0);
    for listener in &listeners {
        assert_eq!(listener.local_addr().port(), port);
    }
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn a_port_in_use_is_named() {
    let taken = listen(&config(&["-p", "0", "--interface", "127.0.0.1"])).unwrap().amqp;
    let address = taken[0].local_addr();
    let port = address.port().to_string();
    let error = listen(&config(&["-p", &port, "--interface", "127.0.0.1"])).unwrap_err();
    assert_eq!(error.to_string(), format!("Address already in use: {address}"));
}

#[test]
fn a_port_for_each_shard() {
    let args =
        ["-p", "0", "--interface", "127.0.0.1", "--shards", "3", "--placement", "port-per-shard"];
    let listeners = listen(&config(&args)).unwrap().amqp;
    let ports: std::collections::HashSet<_> =
        listeners.iter().map(|listener| listener.local_addr().port()).collect();
    assert_eq!((listeners.len(), ports.len()), (3, 3));
}

#[test]
fn http_has_ports_of_its_own() {
    let args = ["-p", "0", "--shards", "3", "--placement", "port-per-shard"];
    let http = ["--http", "127.0.0.1:0", "--http", ":0", "--interface", "127.0.0.1"];
    let sockets = listen(&config(&[&args[..], &http].concat())).unwrap();
    assert_eq!(sockets.amqp.len(), 3);
    let ports: Vec<u16> = sockets.http.iter().map(|l| l.local_addr().port()).collect();
    assert!(ports.len() >= 2 && ports[0] != ports[1], "{ports:?}");
    assert!(ports[1..].iter().all(|port| *port == ports[1]), "{ports:?}");
    TcpStream::connect(("127.0.0.1", ports[1])).unwrap();

    let alone = listen(&config(&["--listen-disable", "tcp", "--http", "127.0.0.1:0"])).unwrap();
    assert_eq!((alone.amqp.len(), alone.http.len()), (0, 1));
    let error = listen(&config(&["-p", "0", "--http", "no-such-host.invalid:1"])).unwrap_err();
    assert!(error.to_string().starts_with("--http no-such-host.invalid: "), "{error}");
}

#[test]
fn what_cannot_be_listened_on_is_refused() {
    let error = listen(&config(&["--interface", "no-such-interface.invalid"])).unwrap_err();
    assert!(error.to_string().contains("no-such-interface.invalid"), "{error}");
    let error = listen(&config(&["--listen-disable", "tcp"])).unwrap_err();
    assert!(matches!(error, ListenError::Nothing));
    let file = tempfile::tempfile().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    for fd in [fd, 1_000_000] {
        assert!(matches!(adopt(fd, 0), Err(ListenError::SocketFd(refused)) if refused == fd));
    }
}

#[test]
fn an_inherited_socket_is_adopted() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let fd = std::os::fd::IntoRawFd::into_raw_fd(socket);
    let args = ["--listen-disable", "tcp", "--socket-fd", &fd.to_string()];
    let listeners = listen(&config(&args)).unwrap().amqp;
    assert_eq!(listeners[0].local_addr(), address);
}
