//! Connections that come and go by the thousand, in every unfriendly way, leave nothing behind:
//! descriptors return to what they were, resident memory to nearly that.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fletch_tests::broker::{Broker, Counters};
use fletch_tests::wire::{Frame, HEADER, Wire};
use rustix::net::sockopt::set_socket_linger;

/// What may remain: allocator slack, not per-connection memory (10,000 × 1 KiB would be more).
const SLACK: u64 = 6 << 20;

/// How long the broker may take to notice that the last ones are gone.
const SETTLE: Duration = Duration::from_secs(10);

/// The ways a client leaves.
fn visit(broker: &Broker, number: usize) -> Result<()> {
    let stream = broker.connect()?;
    match number % 8 {
        // says nothing
        0 => {}
        // leaves within the header
        1 => (&stream).write_all(&HEADER[..4])?,
        // leaves within the negotiation, with a reset
        2 => {
            let mut wire = Wire::new(stream);
            wire.start()?;
            set_socket_linger(wire.stream(), Some(Duration::ZERO))?;
        }
        // leaves an open connection
        3 => drop(Wire::open(stream, u16::MAX)?),
        // is killed with a session: the kernel resets its connection
        4 => {
            let mut wire = Wire::open(stream, u16::MAX)?;
            wire.attach(0, &format!("killed-{number}"))?;
            set_socket_linger(wire.stream(), Some(Duration::ZERO))?;
        }
        // closes its half and waits for the broker's
        5 => {
            let mut wire = Wire::open(stream, u16::MAX)?;
            wire.attach(0, &format!("half-{number}"))?;
            wire.half_close()?;
            wire.read_to_close()?;
        }
        // leaves in the middle of a frame
        6 => {
            let mut wire = Wire::open(stream, u16::MAX)?;
            let frame = Frame::command(0, 3, 1, false, &[0, 0]).encode();
            wire.write(&frame[..9])?;
        }
        // closes as it should
        _ => {
            let mut wire = Wire::open(stream, u16::MAX)?;
            wire.attach(0, &format!("polite-{number}"))?;
            wire.send(&Frame::control(0, 1, 0x0b, &[0x03, 0, 0, 200, 0]))?;
            wire.expect(0x01, 0x0c)?;
        }
    }
    Ok(())
}

fn visits(broker: &Broker, count: usize) -> Result<()> {
    const CLIENTS: usize = 4;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || -> Result<()> {
                    for number in (client..count).step_by(CLIENTS) {
                        visit(broker, number).with_context(|| format!("visit {number}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client panicked"))
    })
}

#[test]
fn ten_thousand_connections_leave_nothing() -> Result<()> {
    let broker = Broker::start(&["--shards", "2", "--max-connections", "0"])?;
    let at_start = broker.counters()?.descriptors;
    // Warm up: pools and tables grow once.
    visits(&broker, 1000)?;
    let before = broker.settle(SETTLE, |now| now.descriptors <= at_start)?;
    let began = Instant::now();
    visits(&broker, 10_000)?;
    let gone = |now: &Counters| {
        now.descriptors <= before.descriptors && now.resident <= before.resident + SLACK
    };
    let after = broker.settle(SETTLE, gone).with_context(|| format!("before: {before:?}"))?;
    println!("10,000 visits in {:?}: {before:?} -> {after:?}", began.elapsed());
    broker.stop()
}

#[test]
fn a_peer_that_stops_reading_is_let_go_when_it_leaves() -> Result<()> {
    let broker = Broker::start(&["--shards", "2"])?;
    let at_start = broker.counters()?.descriptors;
    let mut wires = Vec::new();
    for number in 0..4 {
        let mut wire = Wire::open(broker.connect()?, u16::MAX)?;
        wire.attach(0, &format!("deaf-{number}"))?;
        wire.stream().set_write_timeout(Some(Duration::from_millis(300)))?;
        // Each query of a queue is answered, at greater length than it has; nobody reads it.
        let query = Frame::command(0, 8, 4, false, &[1, 0, 1, b'q']).encode().repeat(1000);
        while wire.write(&query).is_ok() {
            if broker.counters()?.resident > 512 << 20 {
                anyhow::bail!("the broker buffers without limit: {:?}", broker.counters()?);
            }
        }
        wires.push(wire);
    }
    // The others are served meanwhile.
    let mut wire = Wire::open(broker.connect()?, u16::MAX)?;
    wire.attach(0, "listening")?;
    wire.sync(0)?;
    drop(wire);
    drop(wires);
    broker.settle(SETTLE, |now| now.descriptors <= at_start)?;
    broker.stop()
}
