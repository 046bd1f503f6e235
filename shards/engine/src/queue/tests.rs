use super::testing::{message, message_of_priority, message_until, message_with, subscription_id};
use super::*;
use crate::error::ErrorKind;
use crate::selector::Selector;
use fletch_amqp::types::Map;
use std::sync::Arc;

const NOW: Time = Time(1000);

/// What came out, in brief.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Tag, position.
    Got(u32, Position),
    /// The same, marked as redelivered.
    Again(u32, Position),
    /// Tag, operation.
    Done(u32, OpId),
}
use Seen::{Again, Done, Got};

struct Bench {
    queue: Queue,
    out: Vec<Output>,
}

impl Bench {
    fn new() -> Bench {
        Bench { queue: Queue::new(QueueId(1)), out: Vec::new() }
    }

    fn subscribe(
        &mut self,
        tag: u32,
        mode: Mode,
        settles: bool,
        exclusive: bool,
    ) -> Result<(), Error> {
        let s = Subscribe {
            tag,
            queue: Arc::from("q"),
            mode,
            settles,
            exclusive,
            selector: None,
            arguments: Default::default(),
        };
        self.queue.subscribe(subscription_id(tag), &s)
    }

    fn configure(&mut self, settings: &QueueSettings) {
        let defaults = (&QueueDefaults::UNLIMITED, false);
        self.queue.configure(NOW, settings, defaults, &mut self.out);
    }

    fn consumer(&mut self, tag: u32) {
        self.subscribe(tag, Mode::Consume, true, false).unwrap();
        self.queue.set_mode(subscription_id(tag), FlowMode::Credit);
    }

    fn browser(&mut self, tag: u32) {
        self.subscribe(tag, Mode::Browse, true, false).unwrap();
        self.queue.set_mode(subscription_id(tag), FlowMode::Credit);
    }

    fn grant(&mut self, tag: u32, messages: u32, bytes: u32) -> Vec<Seen> {
        let id = subscription_id(tag);
        self.queue.grant(NOW, id, CreditUnit::Messages, messages, &mut self.out);
        self.queue.grant(NOW, id, CreditUnit::Bytes, bytes, &mut self.out);
        self.seen()
    }

    fn enqueue(&mut self, count: usize, size: usize) -> Vec<Seen> {
        for _ in 0..count {
            self.queue.enqueue(NOW, message(size), &mut self.out);
        }
        self.seen()
    }

    fn release(&mut self, positions: &[Position], set_redelivered: bool) -> Vec<Seen> {
        self.queue.release(NOW, positions.iter().copied(), set_redelivered, &mut self.out);
        self.seen()
    }

    fn flush(&mut self, tag: u32, op: OpId) -> Vec<Seen> {
        self.queue.flush(NOW, subscription_id(tag), op, &mut self.out);
        self.seen()
    }

    fn room(&mut self, tag: u32, messages: u32, bytes: u64) -> Vec<Seen> {
        self.queue.room(NOW, subscription_id(tag), messages, bytes, &mut self.out);
        self.seen()
    }

    fn seen(&mut self) -> Vec<Seen> {
        self.out
            .drain(..)
            .map(|output| match output {
                Output::Deliver { to, delivery, redelivered, .. } => {
                    if redelivered {
                        Again(to.tag, delivery.position)
                    } else {
                        Got(to.tag, delivery.position)
                    }
                }
                Output::Flushed { to, op, .. } => Done(to.tag, op),
                other => panic!("nothing here is journalled or limited: {other:?}"),
            })
            .collect()
    }
}

/// The sizes of what a deleted queue held.
fn sizes(mut rest: Rest) -> Vec<usize> {
    let mut sizes = Vec::new();
    while let Next::Message { size, .. } = rest.next(true) {
        sizes.push(size);
    }
    sizes
}

#[test]
fn failures_of_a_message_are_counted() {
    let mut b = Bench::new();
    b.consumer(1);
    b.queue.grant(NOW, subscription_id(1), CreditUnit::Bytes, u32::MAX, &mut b.out);
    b.enqueue(2, 10);
    let mut counts = Vec::new();
    for set_redelivered in [true, false, true, true] {
        b.queue.grant(NOW, subscription_id(1), CreditUnit::Messages, 1, &mut b.out);
        for output in b.out.drain(..) {
            let Output::Deliver { delivery, failures, .. } = output else { panic!("{output:?}") };
            counts.push((delivery.position, failures));
        }
        b.queue.release(NOW, [1], set_redelivered, &mut b.out);
    }
    assert_eq!(counts, [(1, 0), (1, 1), (1, 1), (1, 2)]);
    b.queue.grant(NOW, subscription_id(1), CreditUnit::Messages, 2, &mut b.out);
    let failures = |output: &Output| match output {
        Output::Deliver { failures, .. } => *failures,
        other => panic!("{other:?}"),
    };
    assert_eq!(b.out.iter().map(failures).collect::<Vec<_>>(), [3, 0]);
    b.out.clear();
}

#[test]
fn nothing_is_delivered_without_both_credits() {
    let mut b = Bench::new();
    b.consumer(1);
    assert_eq!(b.enqueue(2, 10), []);
    assert_eq!(b.grant(1, 1, 0), []);
    assert_eq!(b.grant(1, 0, 10), [Got(1, 1)]);
    assert_eq!(b.grant(1, 5, 5), []);
    assert_eq!(b.grant(1, 0, 5), [Got(1, 2)]);
    assert_eq!((b.queue.messages(), b.queue.available()), (2, 0));
}

#[test]
fn consumers_share_a_stream_in_turn() {
    let mut b = Bench::new();
    for tag in 1..=3 {
        b.consumer(tag);
        assert_eq!(b.grant(tag, 3, INFINITE), []);
    }
    let turns: Vec<Seen> = (1..=9).map(|p| Got((p as u32 - 1) % 3 + 1, p)).collect();
    assert_eq!(b.enqueue(11, 1), turns);
}

#[test]
fn released_messages_return_to_their_places() {
    let mut b = Bench::new();
    b.consumer(1);
    b.grant(1, 3, INFINITE);
    assert_eq!(b.enqueue(4, 1), [Got(1, 1), Got(1, 2), Got(1, 3)]);
    assert_eq!(b.release(&[3, 1], true), []);
    assert_eq!(b.release(&[2], false), []);
    assert_eq!(b.release(&[2, 4, 9], true), [], "nobody holds those");
    assert_eq!(b.queue.counters().released, 3);
    assert_eq!(b.grant(1, 9, 0), [Again(1, 1), Got(1, 2), Again(1, 3), Got(1, 4)]);
    assert_eq!(b.release(&[1], false), [Again(1, 1)], "the mark stays");
    assert_eq!(b.release(&[4, 3, 2], false), [Got(1, 2), Again(1, 3), Got(1, 4)]);
}

#[test]
fn accepted_and_rejected_messages_leave() {
    let mut b = Bench::new();
    b.consumer(1);
    b.grant(1, 2, INFINITE);
    b.enqueue(3, 10);
    b.queue.accept(1, &mut b.out);
    b.queue.accept(1, &mut b.out);
    b.queue.accept(3, &mut b.out);
    assert_eq!(b.queue.messages(), 2, "an available message cannot be accepted");
    assert_eq!(b.queue.reject(2, &mut b.out).map(|taken| taken.size), Some(10));
    assert!(b.queue.reject(2, &mut b.out).is_none());
    assert!(b.queue.reject(3, &mut b.out).is_none());
    let c = b.queue.counters();
    assert_eq!((c.enqueued, c.dequeued, c.delivered, c.rejected), (3, 2, 2, 1));
    assert_eq!((b.queue.messages(), b.queue.bytes()), (1, 10));
}

#[test]
fn a_subscription_that_does_not_settle_dequeues() {
    let mut b = Bench::new();
    b.subscribe(1, Mode::Consume, false, false).unwrap();
    b.grant(1, INFINITE, INFINITE);
    assert_eq!(b.enqueue(2, 10), [Got(1, 1), Got(1, 2)]);
    assert_eq!((b.queue.messages(), b.queue.bytes()), (0, 0));
    assert_eq!(b.release(&[1], true), []);
}

#[test]
fn browsers_see_available_messages_once() {
    let mut b = Bench::new();
    b.consumer(1);
    b.grant(1, 1, INFINITE);
    b.enqueue(3, 10);
    b.browser(2);
    assert_eq!(b.grant(2, INFINITE, INFINITE), [Got(2, 2), Got(2, 3)]);
    assert_eq!(b.grant(1, 1, 0), [Got(1, 2)]);
    assert_eq!(b.release(&[1, 2], true), [], "passed is passed");
    b.browser(3);
    assert_eq!(b.grant(3, 1, INFINITE), [Again(3, 1)]);
    assert_eq!(b.enqueue(1, 10), [Got(2, 4)]);
    assert_eq!(b.grant(3, 9, 0), [Again(3, 2), Got(3, 3), Got(3, 4)]);
    assert_eq!((b.queue.messages(), b.queue.available()), (4, 4));
}

#[test]
fn browsers_see_what_a_waiting_consumer_takes() {
    let mut b = Bench::new();
    b.consumer(1);
    b.grant(1, INFINITE, INFINITE);
    b.browser(2);
    b.grant(2, INFINITE, INFINITE);
    assert_eq!(b.enqueue(1, 1), [Got(2, 1), Got(1, 1)]);
}

#[test]
fn a_browsed_message_is_acquired_by_one() {
    let mut b = Bench::new();
    b.browser(1);
    b.grant(1, INFINITE, INFINITE);
    b.enqueue(1, 1);
    assert!(b.queue.acquire(subscription_id(1).session, 1));
    assert!(!b.queue.acquire(subscription_id(1).session, 1));
    assert!(!b.queue.acquire(subscription_id(1).session, 2));
    b.queue.accept(1, &mut b.out);
    assert_eq!(b.queue.messages(), 0);
    assert!(!b.queue.acquire(subscription_id(1).session, 1));
}

#[test]
fn a_message_too_large_for_one_goes_to_another() {
    let mut b = Bench::new();
    b.consumer(1);
    b.consumer(2);
    b.grant(1, 10, 50);
    b.grant(2, 1, 200);
    assert_eq!(b.enqueue(1, 100), [Got(2, 1)]);
    assert_eq!(b.enqueue(1, 100), []);
    assert_eq!(b.enqueue(1, 10), [], "behind the large one");
    assert_eq!(b.grant(2, 1, 0), [Got(2, 2), Got(1, 3)], "the small one suits the other");
}

#[test]
fn a_window_moves_with_completion() {
    let mut b = Bench::new();
    b.subscribe(1, Mode::Consume, true, false).unwrap();
    b.grant(1, 2, INFINITE);
    assert_eq!(b.enqueue(4, 10), [Got(1, 1), Got(1, 2)]);
    b.queue.moved(NOW, subscription_id(1), 1, 10, &mut b.out);
    assert_eq!(b.seen(), [Got(1, 3)]);
    b.queue.stop(subscription_id(1), &mut b.out);
    b.queue.moved(NOW, subscription_id(1), 2, 20, &mut b.out);
    assert_eq!(b.seen(), []);
    assert_eq!(b.grant(1, 1, 0), []);
    assert_eq!(b.grant(1, 0, 10), [Got(1, 4)]);
}

#[test]
fn room_bounds_what_is_under_way() {
    let mut b = Bench::new();
    b.consumer(1);
    b.grant(1, INFINITE, INFINITE);
    let n = ROOM_MESSAGES as usize;
    assert_eq!(b.enqueue(n + 10, 1).len(), n);
    assert_eq!(b.room(1, 3, 3).len(), 3);
    assert_eq!(b.room(1, 7, 7).len(), 7);
    assert_eq!(b.room(1, ROOM_MESSAGES, u64::from(ROOM_MESSAGES)).len(), 0);
    let half = (ROOM_BYTES / 2 + 1) as usize;
    assert_eq!(b.enqueue(3, half).len(), 2, "below zero by no more than one message");
    assert_eq!(b.room(1, 2, 2).len(), 0);
    assert_eq!(b.room(1, 0, half as u64).len(), 1);
}

#[test]
fn others_go_on_when_one_has_no_room() {
    let mut b = Bench::new();
    b.consumer(1);
    b.consumer(2);
    b.grant(1, INFINITE, INFINITE);
    b.enqueue(ROOM_MESSAGES as usize, 1);
    b.grant(2, INFINITE, INFINITE);
    assert_eq!(b.enqueue(1, 1), [Got(2, u64::from(ROOM_MESSAGES) + 1)]);
}

#[test]
fn flush_delivers_then_takes_the_credit() {
    let mut b = Bench::new();
    b.consumer(1);
    assert_eq!(b.flush(1, 7), [Done(1, 7)]);
    b.enqueue(2, 1);
    b.grant(1, INFINITE, INFINITE);
    assert_eq!(b.flush(1, 8), [Done(1, 8)]);
    assert_eq!(b.enqueue(1, 1), []);
    assert_eq!(b.flush(99, 9), [Done(99, 9)], "answered even if there is no such subscription");
}

#[test]
fn a_flush_without_room_ends_when_room_returns() {
    let mut b = Bench::new();
    b.consumer(1);
    let n = u64::from(ROOM_MESSAGES);
    b.enqueue(n as usize + 2, 1);
    assert_eq!(b.grant(1, INFINITE, INFINITE).len(), n as usize);
    assert_eq!(b.flush(1, 1), []);
    assert_eq!(b.enqueue(1, 1), []);
    assert_eq!(b.grant(1, 1, 1), []);
    assert_eq!(b.flush(1, 2), []);
    assert_eq!(b.enqueue(1, 1), []);
    assert_eq!(b.room(1, 1, 1), [Got(1, n + 1)]);
    // The first flush ends with what was there when it was asked for, the grant of one message
    // that came between serves the second.
    assert_eq!(b.room(1, 2, 2), [Got(1, n + 2), Done(1, 1), Got(1, n + 3), Done(1, 2)]);
    assert_eq!(b.room(1, 5, 5), []);
    assert_eq!(b.grant(1, 1, 1), [Got(1, n + 4)]);
}

#[test]
fn stop_and_cancel_end_flushes() {
    let mut b = Bench::new();
    for tag in [1, 2, 3] {
        b.browser(tag);
        b.grant(tag, INFINITE, INFINITE);
    }
    b.enqueue(ROOM_MESSAGES as usize + 1, 1);
    for tag in [1, 2, 3] {
        assert_eq!(b.flush(tag, 1), []);
    }
    b.grant(1, 4, 4);
    b.queue.stop(subscription_id(1), &mut b.out);
    assert_eq!(b.seen(), [Done(1, 1)]);
    assert_eq!(b.room(1, 9, 9), []);
    assert!(b.queue.cancel(subscription_id(2), &mut b.out));
    assert_eq!(b.seen(), [Done(2, 1)]);
    let (ids, messages) = b.queue.drain_for_delete(&mut b.out);
    assert_eq!(sizes(messages).len(), ROOM_MESSAGES as usize + 1);
    assert!(ids.iter().map(|(id, _)| *id).eq([subscription_id(1), subscription_id(3)]));
    assert_eq!(b.seen(), [Done(3, 1)]);
}

#[test]
fn exclusive_means_alone() {
    let mut b = Bench::new();
    b.subscribe(1, Mode::Browse, true, true).unwrap();
    b.subscribe(2, Mode::Consume, true, true).unwrap();
    let error = b.subscribe(3, Mode::Consume, true, false).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ResourceLocked);
    assert_eq!(error.text, "Queue q has an exclusive consumer. No more consumers allowed.");
    b.subscribe(3, Mode::Browse, true, false).unwrap();
    assert!(b.queue.cancel(subscription_id(2), &mut b.out));
    assert!(!b.queue.cancel(subscription_id(2), &mut b.out));
    b.subscribe(4, Mode::Consume, true, false).unwrap();
    let error = b.subscribe(5, Mode::Consume, true, true).unwrap_err();
    assert_eq!(error.text, "Queue q already has consumers. Exclusive access denied.");
    assert_eq!(b.subscribe(4, Mode::Browse, true, false).unwrap_err().kind, ErrorKind::NotAllowed);
    assert_eq!((b.queue.subscriptions(), b.queue.consumers()), (3, 1));
}

#[test]
fn expired_messages_are_never_delivered() {
    let mut b = Bench::new();
    for expires in [NOW, Time(NOW.0 + 1), Time(NOW.0 - 1), Time::NEVER] {
        b.queue.enqueue(NOW, message_until(10, expires), &mut b.out);
    }
    b.browser(1);
    assert_eq!(b.grant(1, INFINITE, INFINITE), [Got(1, 2), Got(1, 4)]);
    assert_eq!((b.queue.counters().expired, b.queue.messages()), (2, 2));
    b.consumer(2);
    let later = Time(NOW.0 + 1);
    b.queue.grant(later, subscription_id(2), CreditUnit::Bytes, INFINITE, &mut b.out);
    b.queue.grant(later, subscription_id(2), CreditUnit::Messages, 9, &mut b.out);
    assert_eq!(b.seen(), [Got(2, 4)]);
    assert_eq!(b.queue.counters().expired, 3);
}

#[test]
fn the_sweep_goes_in_slices() {
    let mut b = Bench::new();
    b.consumer(1);
    b.grant(1, 1, INFINITE);
    for p in 1..=300u64 {
        let expires = if p.is_multiple_of(2) { Time::NEVER } else { Time(NOW.0 + 1) };
        b.queue.enqueue(NOW, message_until(10, expires), &mut b.out);
    }
    let later = Time(NOW.0 + 1);
    let mut slices = 0;
    loop {
        let mut budget = 100;
        slices += 1;
        let more = b.queue.expire(later, &mut budget, &mut b.out);
        assert_eq!(budget == 0, more);
        if !more {
            break;
        }
    }
    assert_eq!(slices, 3);
    assert_eq!((b.queue.counters().expired, b.queue.messages()), (149, 151));
    b.queue.accept(1, &mut b.out);
    assert!(!b.queue.needs_sweep(), "nothing is left that could expire");
    assert_eq!(b.queue.purge(Position::MAX, usize::MAX, &mut b.out).0, 150);
    assert!(b.queue.needs_sweep(), "the last chunk can be given back");
    assert!(!b.queue.expire(later, &mut 0, &mut b.out));
    assert!(!b.queue.needs_sweep());
}

#[test]
fn purge_leaves_acquired_messages() {
    let mut b = Bench::new();
    b.consumer(1);
    b.grant(1, 2, INFINITE);
    b.enqueue(100, 1);
    b.release(&[1], false);
    assert_eq!(b.queue.purge(Position::MAX, usize::MAX, &mut b.out).0, 99);
    assert_eq!((b.queue.messages(), b.queue.available()), (1, 0));
    assert_eq!(b.queue.counters().purged, 99);
    assert_eq!(b.release(&[2], true), []);
    assert_eq!(b.grant(1, 1, 0), [Again(1, 2)]);
}

#[test]
fn deletion_hands_everything_over_in_order() {
    let mut b = Bench::new();
    b.consumer(1);
    b.grant(1, 2, INFINITE);
    for size in 1..=4 {
        b.enqueue(1, size);
    }
    b.queue.accept(1, &mut b.out);
    let (ids, messages) = b.queue.drain_for_delete(&mut b.out);
    assert_eq!(sizes(messages), [2, 3, 4]);
    assert!(ids.iter().map(|(id, _)| *id).eq([subscription_id(1)]));
    assert!(b.queue.is_unused() && b.queue.was_used());
    assert_eq!((b.queue.messages(), b.queue.counters().dequeued), (0, 4));
    assert_eq!(b.release(&[2], true), []);
}

fn queue_of(arguments: Map) -> Bench {
    let mut b = Bench::new();
    b.configure(&QueueSettings::new("q", &arguments).unwrap());
    b
}

impl Bench {
    /// A consumer that selects, with all credit there is.
    fn select(&mut self, tag: u32, selector: &str) {
        let selector = Some(Arc::new(Selector::parse(selector).unwrap()));
        let (mode, settles, exclusive) = (Mode::Consume, true, false);
        let (queue, arguments) = ("q".into(), Default::default());
        let s = Subscribe { tag, queue, mode, settles, exclusive, selector, arguments };
        let id = subscription_id(tag);
        self.queue.subscribe(id, &s).unwrap();
        self.queue.grant(NOW, id, CreditUnit::Messages, INFINITE, &mut self.out);
        self.queue.grant(NOW, id, CreditUnit::Bytes, INFINITE, &mut self.out);
    }

    /// Looks on until all has been looked at: how many slices that took.
    fn look(&mut self) -> usize {
        let mut slices = 1;
        while matches!(self.out[..], [Output::More { .. }]) {
            self.out.clear();
            self.queue.look(NOW, &mut self.out);
            slices += 1;
        }
        slices
    }
}

#[test]
fn a_selector_that_matches_nothing_looks_at_each_message_once_and_in_slices() {
    let mut b = Bench::new();
    for _ in 0..10_000 {
        b.queue.enqueue(NOW, message_with("key", 1), &mut b.out);
    }
    b.select(1, "key = 2");
    let slices = b.look();
    assert!(b.out.is_empty());
    assert!((20..=22).contains(&slices), "{slices} slices");
    // It goes on where it was.
    b.queue.enqueue(NOW, message_with("key", 1), &mut b.out);
    b.queue.enqueue(NOW, message_with("key", 2), &mut b.out);
    assert_eq!(b.seen(), [Got(1, 10_002)]);
    // What comes back is looked at again, alone.
    assert_eq!(b.release(&[10_002], true), [Again(1, 10_002)]);
}

#[test]
fn a_group_that_becomes_free_is_looked_at_again_alone() {
    let arguments =
        Map::new().with("qpid.group_header_key", "key").with("qpid.shared_msg_group", 1);
    let mut b = queue_of(arguments);
    // Two of each of 1,000 groups, and a thousand of another that nobody selects.
    for n in (0..2000).map(|n| n % 1000).chain([5000; 1000]) {
        b.queue.enqueue(NOW, message_with("key", n), &mut b.out);
    }
    // It gets the first of three groups, which then are its own.
    b.consumer(2);
    assert_eq!(b.grant(2, 3, INFINITE), [Got(2, 1), Got(2, 2), Got(2, 3)]);
    b.select(1, "key = 1 OR key = 2");
    assert!(b.look() > 5);
    assert_eq!(b.seen(), [], "the others of both groups are for another");
    // When a group is free it gets what it selects of that, and looks at nothing else.
    b.queue.accept(2, &mut b.out);
    b.queue.serve_freed(NOW, &mut b.out);
    assert_eq!(b.seen(), [Got(1, 1002)]);
    b.queue.accept(1, &mut b.out);
    b.queue.serve_freed(NOW, &mut b.out);
    assert_eq!(b.seen(), []);
}

#[test]
fn an_unsorted_queue_serves_nobody() {
    let mut b = Bench::new();
    let at = |n: u64| Seq(n);
    b.queue.restore(1, message_of_priority(1), at(1), false);
    b.queue.restore_away(2, (10, Time::NEVER), at(2), false);
    b.queue.restored();
    b.configure(&QueueSettings::new("q", &Map::new().with("qpid.priorities", 10)).unwrap());
    b.queue.sort(&mut b.out);
    assert!(matches!(b.out[..], [Output::Wanted { .. }]));
    b.out.clear();
    b.consumer(1);
    assert_eq!(b.grant(1, INFINITE, INFINITE), []);
    assert_eq!(b.queue.first_wanted(false, 4), Some((2, at(2))));
    assert!(b.queue.bring_back(2, message_of_priority(9)));
    b.queue.serve_returned(NOW, &mut b.out);
    assert_eq!(b.seen(), [Got(1, 2), Got(1, 1)]);
}

#[test]
fn a_restored_last_value_queue_keeps_the_newest() {
    let mut b = Bench::new();
    for (position, key) in [(1, "a"), (2, "b"), (3, "a")] {
        b.queue.restore(position, message_with("key", key), Seq(position), false);
    }
    b.queue.restored();
    let arguments = Map::new().with("qpid.last_value_queue_key", "key");
    b.configure(&QueueSettings::new("q", &arguments).unwrap());
    b.queue.sort(&mut b.out);
    assert!(matches!(b.out[..], [Output::Dequeued { .. }]), "{:?}", b.out);
    assert_eq!(b.queue.messages(), 2);
}

#[test]
fn fair_shares_count_what_is_delivered() {
    let mut b = queue_of(Map::new().with("qpid.priorities", 10).with("qpid.fairshare", 2));
    for priority in [9, 9, 9, 9, 5, 5, 5, 1] {
        b.queue.enqueue(NOW, message_of_priority(priority), &mut b.out);
    }
    b.consumer(1);
    let positions: Vec<_> = b.grant(1, INFINITE, INFINITE);
    let expected = [1, 2, 5, 6, 8, 3, 4, 7].map(|p| Got(1, p));
    assert_eq!(positions, expected);
}

#[test]
fn subscribers_with_cursors_want_bodies_however_far_ahead() {
    for selects in [false, true] {
        let mut b = Bench::new();
        for position in [5000, 5001] {
            b.queue.restore_away(position, (10, Time::NEVER), Seq(position), false);
        }
        b.queue.restored();
        let selector = selects.then(|| Arc::new(Selector::parse("a = 1").unwrap()));
        let s = Subscribe {
            tag: 1,
            queue: Arc::from("q"),
            mode: if selects { Mode::Consume } else { Mode::Browse },
            settles: true,
            exclusive: false,
            selector,
            arguments: Map::new(),
        };
        b.queue.subscribe(subscription_id(1), &s).unwrap();
        let id = subscription_id(1);
        b.queue.grant(NOW, id, CreditUnit::Messages, 10, &mut b.out);
        b.queue.grant(NOW, id, CreditUnit::Bytes, INFINITE, &mut b.out);
        assert!(matches!(b.out[..], [Output::Wanted { .. }]), "{:?}", b.out);
        for short in [true, false] {
            assert_eq!(b.queue.first_wanted(short, 1), Some((5000, Seq(5000))), "{short}");
        }
    }
}

#[test]
fn a_queue_is_sorted_when_the_last_body_that_was_missed_is_purged() {
    let mut b = Bench::new();
    b.queue.restore_away(1, (10, Time::NEVER), Seq(1), false);
    b.queue.restore(2, message_of_priority(3), Seq(2), false);
    b.queue.restored();
    let priorities = Some(settings::Priorities { levels: 10, fairshare: Vec::new() });
    b.configure(&QueueSettings { priorities, ..QueueSettings::default() });
    b.consumer(1);
    assert_eq!(b.grant(1, 10, INFINITE), []);
    assert!(b.queue.is_unsorted());
    b.queue.purge(1, 10, &mut b.out);
    assert!(b.out.iter().any(|output| matches!(output, Output::More { .. })));
    b.out.clear();
    b.queue.look(NOW, &mut b.out);
    assert_eq!(b.seen(), [Got(1, 2)]);
}
