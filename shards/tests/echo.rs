//! The runtime with an echo service over real loopback sockets.

#![cfg(not(loom))]

mod support;

use fletch_shards::Config;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};
use support::*;

/// With each way of waiting: asleep, asleep after a while, and never.
fn each_idle(test: impl Fn(&str)) {
    ["park", "spin:200us", "busy"].into_iter().for_each(test);
}

fn waiting(shards: usize, idle: &str) -> Config {
    let mut config = config(shards);
    config.idle = idle.parse().unwrap();
    config
}

fn echoes(shards: usize, idle: &str) {
    let echo = start(waiting(shards, idle));
    let threads: Vec<_> = (0..8u8)
        .map(|n| {
            let mut stream = echo.connect();
            std::thread::spawn(move || {
                for round in 0..50usize {
                    let sent = vec![n.wrapping_add(round as u8); 1 + round * 997];
                    stream.write_all(&sent).unwrap();
                    let mut got = vec![0; sent.len()];
                    stream.read_exact(&mut got).unwrap();
                    assert_eq!(got, sent);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    echo.wait("all connections gone", |s| s.connections() == 0);
    let stats = echo.sum();
    assert_eq!((stats.connected, stats.disconnected), (8, 8));
    assert_eq!(stats.bytes_received, stats.bytes_sent);
    for shard in 0..shards {
        assert_eq!(echo.stats(shard).connected(), 8 / shards as u64, "spread evenly");
    }
    echo.stop();
}

/// While shards sleep for connections that are busy, they look around by themselves only every tenth of a second.
/// Nothing else may have to wait for that.
#[test]
fn a_shard_that_sleeps_for_a_busy_connection_misses_nothing() {
    const ROUNDS: usize = 40;
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"a").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    };
    each_idle(|idle| {
        let echo = start(waiting(2, idle));
        let busy = [echo.connect(), echo.connect()];
        let mut resting: Vec<_> = (0..ROUNDS).map(|_| echo.connect()).collect();
        resting.iter_mut().for_each(ask);
        let (stop, stopped) = channel::<()>();
        let busy = std::thread::spawn(move || {
            let mut busy = busy;
            while stopped.recv_timeout(Duration::from_millis(3)) == Err(RecvTimeoutError::Timeout) {
                busy.iter_mut().for_each(ask);
            }
        });
        // Until they are at rest.
        std::thread::sleep(Duration::from_millis(300));
        let (mut at_rest, mut timed, mut sent) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for stream in &mut resting {
            let began = Instant::now();
            ask(stream);
            at_rest += began.elapsed();
            let (done, result) = channel();
            echo.control(0, Control::Timer { after: Duration::from_millis(5), done });
            timed += result.recv_timeout(LONG).unwrap();
            let ((done, result), began) = (channel(), Instant::now());
            echo.control(0, Control::Circulate { rounds: 1, done });
            result.recv_timeout(LONG).unwrap();
            sent += began.elapsed();
        }
        let limit = Duration::from_millis(25) * ROUNDS as u32;
        assert!(at_rest < limit, "{idle}: what connections at rest sent waited {at_rest:?}");
        assert!(timed < limit, "{idle}: timers were {timed:?} late");
        assert!(sent < limit, "{idle}: frames took {sent:?}");
        drop(stop);
        busy.join().unwrap();
        echo.stop();
    });
}

/// A connection that is closed goes on to be read until its peer has closed it too, however much that sends.
#[test]
fn a_closed_connection_that_floods_starves_nobody() {
    each_idle(|idle| {
        let echo = start(waiting(1, idle));
        let mut closed = echo.connect();
        closed.write_all(b"Q").unwrap();
        closed.set_nonblocking(true).unwrap();
        let (stop, stopped) = channel::<()>();
        let flood = std::thread::spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                // Fails once the shard has given it up.
                let _ = closed.write(&[b'x'; 16 << 10]);
            }
        });
        let mut stream = echo.connect();
        for _ in 0..200 {
            stream.write_all(b"a").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
        }
        drop(stop);
        flood.join().unwrap();
        echo.stop();
    });
}

#[test]
fn one_shard_echoes() {
    each_idle(|idle| echoes(1, idle));
}

#[test]
fn two_shards_echo() {
    each_idle(|idle| echoes(2, idle));
}

#[test]
fn four_shards_echo() {
    each_idle(|idle| echoes(4, idle));
}

/// More of them than a shard that spins asks itself, some of them at rest for a while.
#[test]
fn connections_that_come_and_go_are_all_heard() {
    each_idle(|idle| {
        let echo = start(waiting(1, idle));
        let mut streams: Vec<_> = (0..20).map(|_| echo.connect()).collect();
        for round in 0..60u8 {
            let some = streams.len() - usize::from(round) % 20;
            for stream in &mut streams[..some] {
                stream.write_all(&[round % 50; 100]).unwrap();
            }
            for stream in &mut streams[..some] {
                let mut got = [0; 100];
                stream.read_exact(&mut got).unwrap();
                assert_eq!(got, [round % 50; 100]);
            }
            if round % 10 == 0 {
                std::thread::sleep(Duration::from_millis(30));
            }
        }
        streams.truncate(5);
        echo.wait("the others are gone", |s| s.connections() == 5);
        echo.stop();
    });
}

#[test]
fn a_half_closed_connection_gets_its_answer() {
    each_idle(|idle| {
        let echo = start(waiting(1, idle));
        let mut stream = echo.connect();
        let sent = vec![7; 3_000_000];
        let mut writer = stream.try_clone().unwrap();
        let copy = sent.clone();
        let thread = std::thread::spawn(move || {
            writer.write_all(&copy).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        thread.join().unwrap();
        assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
        echo.wait("gone", |s| s.connections() == 0);
        assert_eq!(echo.reasons(), ["closed by the peer"]);
        echo.stop();
    });
}

#[test]
fn a_peer_that_does_not_read_harms_nobody() {
    each_idle(|idle| {
        let echo = start(waiting(1, idle));
        let mut deaf = echo.connect();
        deaf.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let chunk = vec![1; 1 << 20];
        let mut pushed = 0;
        // The echo service pauses reading at its limit, so that pushing stops.
        while let Ok(count) = deaf.write(&chunk) {
            pushed += count;
            assert!(pushed < 256 << 20, "no back-pressure");
        }
        assert!(echo.most_output() <= OUTPUT_LIMIT + 64 * 1024, "{}", echo.most_output());

        let mut other = echo.connect();
        for _ in 0..100 {
            other.write_all(b"ping").unwrap();
            other.read_exact(&mut [0; 4]).unwrap();
        }
        // And when it reads at last, nothing is missing.
        deaf.shutdown(Shutdown::Write).unwrap();
        let mut got = 0;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match deaf.read(&mut buffer).unwrap() {
                0 => break,
                count => got += count,
            }
        }
        assert_eq!(got, pushed);
        echo.stop();
    });
}

#[test]
fn input_in_pieces_is_offered_again() {
    each_idle(|idle| {
        let mut config = waiting(1, idle);
        config.read_size = 4096;
        let echo = start(config);
        let mut stream = echo.connect();
        // `L` and a length: the service consumes nothing before all of it is there.
        let frame: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let mut sent = vec![b'L'];
        sent.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        sent.extend_from_slice(&frame);
        for piece in sent.chunks(7777) {
            stream.write_all(piece).unwrap();
        }
        let mut got = vec![0; frame.len()];
        stream.read_exact(&mut got).unwrap();
        assert!(got == frame);
        echo.stop();
    });
}

#[test]
fn a_service_that_keeps_input_is_asked_again_when_it_resumes() {
    each_idle(|idle| {
        let echo = start(waiting(1, idle));
        let mut stream = echo.connect();
        stream.write_all(b"Kept").unwrap();
        let mut got = [0; 4];
        stream.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"kept");
        echo.stop();
    });
}

#[test]
fn closing_flushes_and_aborting_does_not_wait() {
    each_idle(|idle| {
        let echo = start(waiting(1, idle));
        let mut stream = echo.connect();
        stream.write_all(b"some words and then Q").unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"some words and then Q");
        drop(stream);
        echo.wait("closed", |s| s.connections() == 0);

        let mut stream = echo.connect();
        stream.write_all(b"X").unwrap();
        let _ = stream.read(&mut [0; 1]);
        echo.wait("aborted", |s| s.connections() == 0);
        assert_eq!(echo.reasons(), ["closed", "aborted"]);
        echo.stop();
    });
}

#[test]
fn a_closing_peer_that_does_not_answer_is_given_up() {
    each_idle(|idle| {
        let mut config = waiting(1, idle);
        config.linger = Duration::from_millis(100);
        let echo = start(config);
        let mut stream = echo.connect();
        stream.write_all(b"Q").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        // This end stays open.
        echo.wait("given up", |s| s.connections() == 0);
        assert_eq!(echo.reasons(), ["closed"]);

        // And one that does not take its output.
        let mut deaf = echo.connect();
        deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        while deaf.write(&[0; 65536]).is_ok() {}
        echo.close_all();
        echo.wait("given up", |s| s.connections() == 0);
        assert_eq!(echo.reasons(), ["closed", "closed before the peer took all output"]);
        echo.stop();
    });
}

#[test]
fn too_many_connections_are_refused() {
    each_idle(|idle| {
        let mut config = waiting(2, idle);
        config.max_connections = 4;
        let echo = start(config);
        let mut streams: Vec<_> = (0..4).map(|_| echo.connect()).collect();
        for stream in &mut streams {
            stream.write_all(b"a").unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
        }
        let mut fifth = echo.connect();
        assert_eq!(fifth.read(&mut [0; 1]).unwrap_or(0), 0, "closed at once");
        assert_eq!(echo.handle.refused(), 1);
        drop(streams);
        echo.wait("all gone", |s| s.connections() == 0);
        let mut sixth = echo.connect();
        sixth.write_all(b"b").unwrap();
        sixth.read_exact(&mut [0; 1]).unwrap();
        echo.stop();
    });
}

/// A connection that is always readable must not keep the shard from looking at the others: at
/// the event loop's preemption timer of 100 ms this would take ten seconds.
#[test]
fn a_flooding_connection_starves_nobody() {
    each_idle(|idle| {
        let mut config = waiting(1, idle);
        config.read_size = 4096;
        let echo = start(config);
        let mut flood = echo.connect();
        let mut answers = flood.try_clone().unwrap();
        let writer = std::thread::spawn(move || while flood.write_all(&[1; 1 << 16]).is_ok() {});
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while answers.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        let mut other = echo.connect();
        let started = std::time::Instant::now();
        for _ in 0..100 {
            other.write_all(b"ping").unwrap();
            other.read_exact(&mut [0; 4]).unwrap();
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
        echo.stop();
        writer.join().unwrap();
        reader.join().unwrap();
    });
}
