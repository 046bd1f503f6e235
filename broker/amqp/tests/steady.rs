//! A connection that has warmed up moves messages without allocating, whichever way they go.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fletch_amqp::v0_10::{Connection, Event};
use support::{Pair, transfer};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; counting touches a thread's own cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One turn: a batch of messages goes from `from` to `to`, which accepts and completes them.
fn turn(from: &mut Connection, to: &mut Connection, pipe: &mut Vec<u8>, pair_now: u64) -> usize {
    let now = support::seconds(pair_now);
    for _ in 0..20 {
        from.transfer(
            1,
            &transfer("queue"),
            false,
            |out| out.extend_from_slice(&[3; 40]),
            &[5; 200][..],
        )
        .unwrap();
    }
    std::mem::swap(pipe, from.out());
    from.out().clear();
    let mut input = &pipe[..];
    let mut messages = 0;
    while let Some(event) = to.next(now, &mut input) {
        let Event::Transfer { channel, id, body, .. } = event else { continue };
        assert_eq!(body.as_slice().len(), 200);
        messages += 1;
        to.accept(channel, id);
        to.complete(channel, id);
    }
    assert!(input.is_empty());
    to.flush();
    std::mem::swap(pipe, to.out());
    to.out().clear();
    let mut input = &pipe[..];
    while let Some(event) = from.next(now, &mut input) {
        if let Event::Command { channel, id, .. } = event {
            from.complete(channel, id);
        }
    }
    from.flush();
    messages
}

#[test]
fn messages_flow_without_allocation() {
    let (mut pair, channel) = Pair::session("s");
    assert_eq!(channel, 1);
    let mut pipe = Vec::new();
    for upstream in [true, false] {
        let (from, to) = match upstream {
            true => (&mut pair.client, &mut pair.server),
            false => (&mut pair.server, &mut pair.client),
        };
        for _ in 0..10 {
            turn(from, to, &mut pipe, 1000);
        }
        let before = ALLOCATIONS.with(Cell::get);
        let mut messages = 0;
        for _ in 0..1000 {
            messages += turn(from, to, &mut pipe, 1000);
        }
        assert_eq!(messages, 20_000);
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "upstream: {upstream}");
    }
}
