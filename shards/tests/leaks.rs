//! What connections cost and leave behind. These tests look at the whole process, so they take
//! turns.

#![cfg(not(loom))]

mod support;

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};
use support::*;

static TURN: Mutex<()> = Mutex::new(());

#[test]
fn thousands_of_connections_come_and_go() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let echo = start(config(2));
    let descriptors = open_descriptors();
    for _ in 0..100 {
        let mut streams: Vec<_> = (0..30).map(|_| echo.connect()).collect();
        for (n, stream) in streams.iter_mut().enumerate() {
            // A third says nothing, a third does not read its answer, which resets.
            if n % 3 > 0 {
                stream.write_all(b"hello").unwrap();
            }
            if n % 3 > 1 {
                stream.read_exact(&mut [0; 5]).unwrap();
            }
        }
    }
    echo.wait("all gone", |s| s.connections() == 0 && s.connected() == s.disconnected());
    assert_eq!(echo.sum().connected, 3000);
    assert_eq!(echo.open_in_services(), 0);
    let left = open_descriptors();
    assert!(left <= descriptors + 2, "{descriptors} descriptors before, {left} after");
    echo.stop();
}

#[test]
fn idle_connections_need_little_memory() {
    const COUNT: usize = 1000;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let echo = start(config(1));
    let warm: Vec<_> = (0..50).map(|_| echo.connect()).collect();
    echo.wait("connected", |s| s.connections() == 50);
    let before = resident();
    let mut streams = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let mut stream = echo.connect();
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        streams.push(stream);
    }
    let each = resident().saturating_sub(before) / COUNT;
    println!("{each} bytes resident for each idle connection");
    assert!(each < 4096, "{each} bytes");
    drop((warm, streams));
    echo.stop();
}
