use super::*;
use crate::ids::QueueId;
use crate::message::Meta;
use crate::queue::testing::{message, message_with, subscription_id};
use crate::queue::{CreditUnit, INFINITE, QueueDefaults, QueueSettings};
use crate::request::{Mode, Subscribe};
use crate::schedule::scheduled;
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::MessageProperties;

const MS: u64 = 1_000_000;
const NOW: Time = at(1);

const fn at(milliseconds: u64) -> Time {
    Time(milliseconds * MS)
}

/// A message that is due then, with this key and priority.
fn later(due: u64, key: &str, priority: u8) -> Message {
    let headers = Map::new().with("x-opt-delivery-time", due as i64).with("key", key);
    let headers = headers.encoded().expect("a small map");
    let mut content = Vec::new();
    MessageProperties { application_headers: Some(headers.view()), ..Default::default() }
        .encode(&mut content)
        .expect("a small header");
    let header_len = content.len() as u32;
    let meta = Meta { header_len, priority, ..message(0).meta().clone() };
    scheduled(NOW, Message::new(meta, &content))
}

fn until(due: u64, expires: u64) -> Message {
    let message = later(due, "", 4);
    Message::new(Meta { expires: at(expires), ..message.meta().clone() }, message.content())
}

struct Bench {
    q: Queue,
    out: Vec<Output>,
}

impl Bench {
    fn new(arguments: &Map) -> Bench {
        let mut q = Queue::new(QueueId(1));
        let settings = QueueSettings::new("q", arguments).expect("they mean something");
        q.configure(NOW, &settings, (&QueueDefaults::UNLIMITED, false), &mut Vec::new());
        Bench { q, out: Vec::new() }
    }

    fn enqueue(&mut self, message: Message) {
        self.q.enqueue(NOW, message, &mut self.out);
    }

    fn subscribe(&mut self, tag: u32, mode: Mode) -> Vec<Position> {
        let subscribe = Subscribe {
            tag,
            queue: "q".into(),
            mode,
            settles: true,
            exclusive: false,
            selector: None,
            arguments: Map::new(),
        };
        self.q.subscribe(subscription_id(tag), &subscribe).expect("nobody minds");
        for unit in [CreditUnit::Bytes, CreditUnit::Messages] {
            self.q.grant(NOW, subscription_id(tag), unit, INFINITE, &mut self.out);
        }
        self.got(tag)
    }

    fn got(&mut self, tag: u32) -> Vec<Position> {
        let of =
            |output: &mut Output| matches!(output, Output::Deliver { to, .. } if to.tag == tag);
        let delivered = self.out.extract_if(.., of).filter_map(|output| match output {
            Output::Deliver { delivery, .. } => Some(delivery.position),
            _ => None,
        });
        delivered.collect()
    }

    fn come_due(&mut self, now: u64) -> Option<u64> {
        let next = self.q.come_due(at(now), &mut 9, &mut self.out);
        next.map(|due| due.0 / MS)
    }

    /// The times that were told.
    fn told(&mut self) -> Vec<u64> {
        let told = std::mem::take(&mut self.out).into_iter().filter_map(|output| match output {
            Output::Scheduled { due, .. } => Some(due.0 / MS),
            _ => None,
        });
        told.collect()
    }
}

#[test]
fn a_message_is_nobodys_before_its_time() {
    let mut b = Bench::new(&Map::new());
    for message in [later(30, "", 4), message(1), later(20, "", 4), later(1, "", 4)] {
        b.enqueue(message);
    }
    assert_eq!(b.told(), [30, 20]);
    assert_eq!((b.q.messages(), b.q.available(), b.q.scheduled()), (4, 2, 2));
    assert_eq!(b.subscribe(1, Mode::Browse), [2, 4]);
    assert_eq!(b.subscribe(2, Mode::Consume), [2, 4]);
    assert!(!b.q.acquire(subscription_id(1).session, 1));
    assert_eq!(b.come_due(19), Some(20));
    assert_eq!(b.got(2), []);
    assert_eq!(b.come_due(20), Some(30));
    assert_eq!((b.got(1), b.got(2)), (vec![3], vec![3]));
    assert_eq!(b.come_due(31), None);
    assert_eq!((b.got(1), b.got(2), b.q.scheduled()), (vec![1], vec![1], 0));
}

#[test]
fn they_are_there_slice_by_slice_at_their_places() {
    let mut b = Bench::new(&Map::new());
    (0..20).for_each(|n| b.enqueue(later(100 - n, "", 4)));
    for left in [11, 2, 0] {
        let next = b.come_due(200);
        assert_eq!((b.q.scheduled(), next.is_some()), (left, left > 0));
    }
    assert!(b.subscribe(1, Mode::Consume).into_iter().eq(1..=20));
}

#[test]
fn what_is_not_due_is_purged_and_moved_and_taken_back() {
    let mut b = Bench::new(&Map::new());
    for message in [later(20, "", 4), message(1), later(30, "a", 4), later(40, "a", 4)] {
        b.enqueue(message);
    }
    let mut cursor = 0;
    let found = b.q.find(&mut cursor, 9, None, &mut 1);
    assert_eq!(found, crate::queue::taking::Found::Here(1));
    assert!(b.q.take_out(1, true, &mut Vec::new()).is_some());
    assert_eq!(b.q.purge(3, 9, &mut Vec::new()), (2, false));
    assert_eq!((b.q.messages(), b.q.next_due()), (1, Some(at(40))));
    b.q.set_place(4, Seq(1));
    assert!(b.q.withdraw(NOW, 4, &mut Vec::new()).is_some());
    assert_eq!((b.q.messages(), b.q.next_due()), (0, None));
}

#[test]
fn one_that_expires_first_is_dropped_then() {
    let mut b = Bench::new(&Map::new());
    b.enqueue(until(20, 10));
    b.enqueue(until(20, 30));
    assert_eq!(b.q.next_due(), Some(at(10)));
    assert_eq!(b.come_due(10), Some(20));
    assert_eq!((b.q.messages(), b.q.counters().expired), (1, 1));
    assert_eq!(b.come_due(35), None);
    assert_eq!((b.q.messages(), b.q.counters().expired), (0, 2));
}

#[test]
fn orders_hold_when_they_are_due() {
    let mut b = Bench::new(&Map::new().with("qpid.priorities", 10));
    for message in [later(20, "", 9), later(1, "", 3), later(1, "", 5)] {
        b.enqueue(message);
    }
    b.come_due(20);
    assert_eq!(b.subscribe(1, Mode::Consume), [1, 3, 2]);

    let groups = Map::new().with("qpid.group_header_key", "key").with("qpid.shared_msg_group", 1);
    let mut b = Bench::new(&groups);
    b.enqueue(later(20, "a", 4));
    b.enqueue(message_with("key", "a"));
    assert_eq!(b.subscribe(1, Mode::Consume), [2]);
    assert_eq!(b.subscribe(2, Mode::Consume), []);
    b.come_due(20);
    assert_eq!((b.got(1), b.got(2)), (vec![1], vec![]), "the group is the first one's");
}

#[test]
fn a_value_replaces_when_it_is_due() {
    let values = Map::new().with("qpid.last_value_queue_key", "key");
    let mut b = Bench::new(&values);
    b.enqueue(message_with("key", "a"));
    b.enqueue(later(20, "a", 4));
    assert_eq!((b.q.messages(), b.q.available()), (2, 1));
    b.come_due(20);
    assert_eq!((b.q.messages(), b.q.available(), b.q.counters().replaced), (1, 1, 1));
    // One that has been overtaken by then is not the last one.
    let mut b = Bench::new(&values);
    b.enqueue(later(20, "a", 4));
    b.enqueue(message_with("key", "a"));
    b.come_due(20);
    assert_eq!(b.subscribe(1, Mode::Consume), [2]);
    assert_eq!(b.q.messages(), 1);
    // One that is not safe yet keeps the older one behind it.
    let mut b = Bench::new(&values);
    b.enqueue(message_with("key", "a"));
    b.q.enqueue_at(NOW, later(20, "a", 4), (Seq(1), 0), &mut b.out);
    assert!(b.q.is_provisional(2));
    b.come_due(20);
    assert_eq!((b.q.messages(), b.q.available()), (2, 1));
    b.q.withdraw(NOW, 2, &mut b.out);
    assert_eq!(b.subscribe(1, Mode::Consume), [1]);
}

#[test]
fn they_wait_on_after_a_restart() {
    let mut q = Queue::new(QueueId(1));
    for (position, due) in [(1, 20), (2, 30), (3, 40)] {
        q.restore(position, later(due, "", 4), Seq(1), false);
    }
    q.restore(4, message(1), Seq(2), false);
    q.unrestore(2, 2);
    q.restored();
    q.lock(3);
    assert_eq!((q.available(), q.messages(), q.next_due()), (1, 3, Some(at(20))));
    assert_eq!(q.come_due(at(99), &mut 9, &mut Vec::new()), None);
    assert_eq!(q.available(), 2, "what is locked is somebody's");
}
