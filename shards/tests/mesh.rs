//! Frames between shards, timers, control messages, stopping and the watchdog, on real executors.

#![cfg(not(loom))]

mod support;

use std::sync::mpsc::channel;
use std::time::Duration;
use support::*;

#[test]
fn frames_go_round_all_shards() {
    for shards in [1, 2, 4] {
        let echo = start(config(shards));
        let (done, result) = channel();
        echo.control(0, Control::Circulate { rounds: 2000, done });
        let hops = result.recv_timeout(LONG).expect("the frame comes back");
        assert_eq!(hops, 2000 * shards as u64);
        echo.stop();
    }
}

#[test]
fn a_flood_keeps_its_order_through_full_rings() {
    let mut config = config(2);
    config.ring_frames = 8;
    config.outbox_mark = 64;
    let echo = start(config);
    let (done, result) = channel();
    echo.control(0, Control::Flood { to: 1, count: 100_000, done });
    let seen = result.recv_timeout(LONG).expect("the flood ends");
    assert_eq!(seen, 100_000, "all came, in order");
    let stats = echo.stats(0);
    assert!(stats.congestions() > 0);
    echo.wait("the outbox is empty", |s| s.outbox_frames() == 0);
    // Sockets are read again.
    use std::io::{Read, Write};
    let mut stream = echo.connect();
    stream.write_all(b"still here").unwrap();
    stream.read_exact(&mut [0; 10]).unwrap();
    echo.stop();
}

#[test]
fn sockets_are_not_read_while_frames_cannot_leave() {
    use std::io::{Read, Write};
    let mut config = config(2);
    config.ring_frames = 8;
    config.outbox_mark = 16;
    let echo = start(config);
    let mut streams = [echo.connect(), echo.connect()];
    for stream in &mut streams {
        stream.write_all(b"a").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    // Shard 1 is kept busy while shard 0 floods it.
    let (release, held) = channel();
    echo.control(1, Control::Block { until: held });
    let (done, result) = channel();
    echo.control(0, Control::Flood { to: 1, count: 1000, done });
    echo.wait_until("congestion", || echo.stats(0).congestions() > 0);
    let answered = streams.iter_mut().position(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        stream.write_all(b"b").unwrap();
        stream.read_exact(&mut [0; 1]).is_ok()
    });
    assert_eq!(answered, None, "neither shard reads");
    release.send(()).unwrap();
    assert_eq!(result.recv_timeout(LONG).unwrap(), 1000);
    for stream in &mut streams {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    echo.stop();
}

#[test]
fn a_reader_that_finds_the_outboxes_full_once_more_is_not_forgotten() {
    use std::io::{Read, Write};
    let mut config = config(2);
    config.ring_frames = 8;
    config.outbox_mark = 16;
    let echo = start(config);
    let mut streams: Vec<_> = (0..16).map(|_| echo.connect()).collect();
    for stream in &mut streams {
        stream.write_all(b"a").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    }
    for _ in 0..20 {
        let (release, held) = channel();
        echo.control(1, Control::Block { until: held });
        let (done, result) = channel();
        echo.control(0, Control::Flood { to: 1, count: 1000, done });
        echo.wait_until("congestion", || echo.stats(0).outbox_frames() > 500);
        // The first one that is read then fills the outboxes again, before the others have their turn.
        streams.iter_mut().for_each(|stream| stream.write_all(b"F").unwrap());
        std::thread::sleep(Duration::from_millis(5));
        release.send(()).unwrap();
        for stream in &mut streams {
            stream.read_exact(&mut [0; 1]).expect("its turn comes");
        }
        result.recv_timeout(LONG).unwrap();
    }
    echo.stop();
}

#[test]
fn timers_fire_in_time() {
    let echo = start(config(1));
    for millis in [1, 20, 3, 50] {
        let (done, result) = channel();
        let after = Duration::from_millis(millis);
        echo.control(0, Control::Timer { after, done });
        let late = result.recv_timeout(LONG).expect("the timer fires");
        assert!(late < Duration::from_millis(200), "{late:?} late");
    }
    echo.stop();
}

#[test]
fn stopping_waits_for_the_services() {
    let echo = start(config(2));
    let stream = echo.connect();
    echo.wait_until("connected", || echo.open_in_services() == 1);
    let (release, held) = channel();
    echo.control(1, Control::FinishWhen(held));
    let reasons = echo.reasons.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        release.send(()).unwrap();
    });
    let started = std::time::Instant::now();
    echo.stop();
    let took = started.elapsed();
    thread.join().unwrap();
    assert!(took >= Duration::from_millis(100) && took < STOP_TIME, "{took:?}");
    let reasons = reasons.lock().unwrap().clone();
    assert_eq!(reasons, ["closed because the broker stops"]);
    drop(stream);
}

#[test]
fn stopping_has_a_deadline() {
    let echo = start(config(2));
    let (_never, held) = channel();
    echo.control(0, Control::FinishWhen(held));
    let started = std::time::Instant::now();
    echo.runtime.stop(Duration::from_millis(200));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
}

/// With a short preemption timer the event loop sleeps with tasks ready after some thousand
/// round trips; without the watchdog this test hangs.
#[test]
fn the_watchdog_wakes_a_stalled_shard() {
    let mut config = config(2);
    config.preempt_timer = Duration::from_micros(20);
    config.watchdog_interval = Duration::from_millis(5);
    // A stall can also come before there is anything to touch; then the start fails, in time.
    let echo = (0..5).find_map(|_| try_start(config.clone()).ok()).expect("a start");
    let started = std::time::Instant::now();
    while echo.sum().rescues == 0 {
        let (done, result) = channel();
        echo.control(0, Control::Circulate { rounds: 1000, done });
        assert_eq!(result.recv_timeout(LONG).expect("rescued"), 2000);
        assert!(started.elapsed() < LONG, "no stall was provoked");
    }
    println!("{} rescues in {:?}", echo.sum().rescues, started.elapsed());
    echo.stop();
}

#[test]
fn an_idle_process_is_quiet() {
    let echo = start(config(2));
    std::thread::sleep(Duration::from_millis(300));
    let turns = echo.sum().turns;
    std::thread::sleep(Duration::from_millis(1000));
    let more = echo.sum().turns - turns;
    // The watchdog looks four times a second, and touches every second time.
    assert!(more <= 2 * 6, "{more} turns in an idle second");
    assert_eq!(echo.sum().rescues, 0);
    echo.stop();
}

/// Runs in a process of its own, started by the test below.
#[test]
#[ignore = "ends the process"]
fn a_shard_panics() {
    let echo = start(config(2));
    echo.control(1, Control::Panic);
    std::thread::sleep(LONG);
}

#[test]
fn a_panic_on_a_shard_ends_the_process_and_names_it() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_shard_panics", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(output.status.signal(), Some(6), "aborted");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("as told") && text.contains("shard-1"), "{text}");
}
