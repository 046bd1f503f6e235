//! What the loopback interface can do alone.

use crate::load::flow::Clients;
use crate::load::joined;
use crate::load::track::histogram;
use anyhow::Result;
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// 64 octets there and back, between two threads that do nothing else and sleep or ask again while they wait.
pub(crate) fn round_trips(time: Duration, ends: Clients) -> Result<Histogram<u64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(ends == Clients::Busy)?;
        let mut octets = [0; 64];
        while read(&mut socket, &mut octets).is_ok() {
            socket.write_all(&octets)?;
        }
        Ok(())
    });
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(ends == Clients::Busy)?;
    let (mut octets, mut latency) = ([0; 64], histogram());
    let start = Instant::now();
    while start.elapsed() < time {
        let began = Instant::now();
        socket.write_all(&octets)?;
        read(&mut socket, &mut octets)?;
        latency.saturating_record(began.elapsed().as_nanos() as u64);
    }
    drop(socket);
    echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(latency)
}

/// Fills the buffer; asks again and again on a socket that does not block.
fn read(socket: &mut TcpStream, octets: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < octets.len() {
        match socket.read(&mut octets[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Octets of a request, about those of a small durable message and a sync; and of its answer.
const REQUEST: usize = 400;
const ANSWER: usize = 64;

/// Round trips per second of clients that wait for each answer, with a thread each, and two threads that answer.
pub(crate) fn many_round_trips(time: Duration, clients: usize) -> Result<f64> {
    let mut servers = Vec::new();
    let mut addresses = Vec::new();
    for half in [clients / 2, clients - clients / 2] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        addresses.push(listener.local_addr()?);
        servers.push(std::thread::spawn(move || answer(&listener, half)));
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for at in 0..clients {
        let mut socket = TcpStream::connect(addresses[usize::from(at >= clients / 2)])?;
        socket.set_nodelay(true)?;
        let over = Arc::clone(&over);
        threads.push(std::thread::spawn(move || -> Result<u64> {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                socket.write_all(&[0; REQUEST])?;
                socket.read_exact(&mut [0; ANSWER])?;
                count += 1;
            }
            Ok(count)
        }));
    }
    let start = Instant::now();
    std::thread::sleep(time);
    over.store(true, Ordering::Relaxed);
    let mut count = 0;
    for thread in threads {
        count += joined(thread)?;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    for server in servers {
        joined(server)?;
    }
    Ok(rate)
}

/// Answers so many clients until all are gone.
fn answer(listener: &TcpListener, clients: usize) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::new();
    for at in 0..clients {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        epoll::add(&epoll, &socket, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        sockets.push(Some((socket, 0)));
    }
    let mut events = Vec::with_capacity(clients);
    while sockets.iter().any(Option::is_some) {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let place = &mut sockets[event.data.u64() as usize];
            let Some((socket, read)) = place else { continue };
            match socket.read(&mut [0; REQUEST])? {
                0 => *place = None,
                len => {
                    *read += len;
                    if *read >= REQUEST {
                        *read -= REQUEST;
                        socket.write_all(&[0; ANSWER])?;
                    }
                }
            }
        }
    }
    Ok(())
}
