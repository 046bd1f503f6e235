//! The positions that messages have, and what stays in memory of them.

use super::*;
use crate::queue::testing::{message, message_until};

fn first(e: &mut Entries) -> Option<Position> {
    e.first().map(|e| e.position)
}

fn filled(n: u64) -> Entries {
    let mut e = Entries::new();
    for _ in 0..n {
        e.push(message(10), Seq::NONE);
    }
    e
}

#[test]
fn the_earliest_available_is_first_wherever_it_comes_back() {
    let mut e = filled(1000);
    for p in 1..=1000 {
        assert_eq!(first(&mut e), Some(p));
        assert!(e.acquire(p).is_some());
        assert!(e.acquire(p).is_none());
    }
    assert_eq!(first(&mut e), None);
    for p in [900, 5, 300, 301] {
        assert!(e.release(p, p == 300));
        assert!(!e.release(p, true), "it is available already");
    }
    assert_eq!(e.next(6).map(|e| (e.position, e.redelivered())), Some((300, true)));
    assert_eq!(e.next(301).map(|e| (e.position, e.redelivered())), Some((301, false)));
    assert_eq!(e.next(901).map(|e| e.position), None);
    for (p, redelivered) in [(5, false), (300, true), (301, false), (900, false)] {
        assert_eq!(first(&mut e), Some(p));
        assert_eq!(e.remove_available(p).map(|r| r.redelivered), Some(redelivered));
    }
    assert_eq!(first(&mut e), None);
    assert!(e.behind.is_empty());
    assert_eq!(e.push(message(1), Seq::NONE), 1001);
    assert_eq!(first(&mut e), Some(1001));
    assert_eq!((e.messages(), e.available()), (997, 1));
}

#[test]
fn an_old_message_pins_one_chunk() {
    let mut e = filled(1);
    assert!(e.acquire(1).is_some());
    for _ in 0..10_000 {
        let p = e.push(message(10), Seq::NONE);
        assert!(e.remove_available(p).is_some());
    }
    assert_eq!(e.chunks.len(), 2);
    assert_eq!((e.messages(), e.bytes()), (1, 10));
    assert!(e.remove_acquired(1).is_some());
    assert_eq!((e.chunks.len(), e.bytes()), (1, 0));
    e.shrink();
    assert!(e.chunks.is_empty());
    assert_eq!(e.push(message(1), Seq::NONE), 10_002);
    assert_eq!(first(&mut e), Some(10_002));
}

#[test]
fn only_acquired_messages_are_removed_as_such() {
    let mut e = filled(2);
    assert!(e.remove_acquired(1).is_none());
    assert!(e.acquire(1).is_some());
    assert!(e.remove_available(1).is_none());
    assert!(e.remove_acquired(1).is_some());
    assert!(e.remove_acquired(1).is_none());
    assert!(!e.release(1, true));
    for odd in [0, 3, 64, u64::MAX] {
        assert!(e.acquire(odd).is_none());
        assert!(e.remove_acquired(odd).is_none());
        assert!(!e.release(odd, true));
        assert!(odd == 0 || e.next(odd).is_none());
    }
}

#[test]
fn messages_with_a_ttl_are_counted() {
    let mut e = Entries::new();
    e.push(message(1), Seq::NONE);
    e.push(message_until(1, Time(5)), Seq::NONE);
    assert_eq!(e.expiring(), 1);
    assert!(e.remove_available(2).is_some());
    assert_eq!(e.expiring(), 0);
}

#[test]
fn all_are_taken_in_order() {
    let mut e = Entries::new();
    for size in 0..200 {
        e.push(message(size), Seq::NONE);
    }
    assert!(e.acquire(7).is_some());
    assert!(e.remove_available(8).is_some());
    let mut all = e.take_all();
    all.free_all();
    let mut sizes = Vec::new();
    while let Some(position) = first(&mut all) {
        sizes.extend(all.remove_available(position).map(|r| r.size));
    }
    let expected: Vec<usize> = (0..200).filter(|s| *s != 7).collect();
    assert_eq!(sizes, expected);
    assert_eq!((e.messages(), e.bytes(), first(&mut e)), (0, 0, None));
    assert_eq!(e.push(message(1), Seq::NONE), 201);
}

#[test]
fn bodies_go_away_and_come_back() {
    let mut e = Entries::new();
    for n in 1..=1000u64 {
        e.push(message(10), Seq(n));
    }
    assert!(e.acquire(300).is_some());
    let safe = |place: Seq| place <= Seq(500);
    assert_eq!(e.send_away(safe, 2, 10_000), 500 - 127 - 1, "but the front and the acquired");
    assert_eq!(e.send_away(safe, 2, 10_000), 0);
    assert_eq!((e.away(), e.messages(), e.bytes()), (372, 1000, 10_000));
    assert_eq!((e.resident(), e.index()), (628 * (10 + OVERHEAD), 16 * CHUNK));
    assert_eq!(e.chunks.values().filter(|c| c.packed.is_some()).count(), 4);
    e.set_place(260, Seq(2000));
    assert_eq!(
        (e.get(260).map(|e| e.place()), e.get(261).map(|e| e.place())),
        (Some(Seq(2000)), Some(Seq(261)))
    );
    assert_eq!(e.first_away(1, 1000), Some(128));
    assert_eq!(e.first_away(1, 60), None);
    assert!(e.acquire(200).is_none(), "its body is not there");
    let removed = e.remove_available(200).expect("it can be dropped all the same");
    assert_eq!((removed.size, removed.place), (10, Seq(200)));
    assert!(removed.message.is_none());
    assert!(!e.bring_back(200, message(10)) && !e.bring_back(127, message(10)));
    for position in 128..=499 {
        assert_eq!(e.bring_back(position, message(10)), position != 200 && position != 300);
    }
    assert_eq!((e.away(), e.resident()), (1, 998 * (10 + OVERHEAD)));
    assert!(e.bring_back(500, message(10)));
    assert!(e.acquire(201).is_some());
}

#[test]
fn only_the_last_chunk_stays_among_those_with_messages_in_memory() {
    let mut e = Entries::new();
    for round in 0..200 {
        let position = match round % 3 {
            // Its place is kept for it, and it comes when others have.
            0 => e.reserve(),
            _ => e.push(message(1), Seq::NONE),
        };
        if round % 3 == 0 {
            e.push(message(1), Seq::NONE);
            e.fill(position, message(1), Seq::NONE);
            assert!(e.remove_available(position + 1).is_some());
        }
        assert!(e.remove_available(position).is_some());
        let last = chunk_of(e.end());
        assert!(e.resident_chunks.iter().all(|n| *n == last), "{:?}", e.resident_chunks);
        assert!(e.chunks.keys().all(|n| *n == last), "what is empty is gone");
    }
    e.shrink();
    assert!(e.chunks.is_empty() && e.resident_chunks.is_empty());
}
