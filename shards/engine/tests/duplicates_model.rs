//! A queue that takes no message twice against a list of the last ids, whatever kind of queue it is and in whichever
//! protocol a message comes.

use fletch_amqp::types::{Map, Uuid};
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::MessageProperties;
use fletch_amqp::v1_0::Composite;
use fletch_amqp::v1_0::message::ingest;
use fletch_amqp::v1_0::table::Properties;
use fletch_amqp::v1_0::types::ValueRef;
use fletch_engine::queue::{Queue, QueueDefaults, QueueSettings};
use fletch_engine::{Flags, Format, Message, Meta, QueueId, SessionId, ShardId, Time};
use proptest::prelude::*;
use std::collections::VecDeque;

const NOW: Time = Time(1);

/// How an id is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// A UUID of 0-10.
    Old,
    /// Of 1.0: its text.
    Text,
    /// Its octets.
    Octets,
}

#[derive(Clone, Debug)]
enum Act {
    Publish(Option<(u8, Form)>),
    /// Of the messages that are there, this one goes.
    Take(usize),
    Purge(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let form = prop_oneof![Just(Form::Old), Just(Form::Text), Just(Form::Octets)];
    let id = prop_oneof![1 => Just(None), 9 => (0u8..12, form).prop_map(Some)];
    let act = prop_oneof![
        6 => id.prop_map(Act::Publish),
        2 => any::<usize>().prop_map(Act::Take),
        1 => (0usize..4).prop_map(Act::Purge),
    ];
    prop::collection::vec(act, 1..120)
}

fn queue(kind: u8, window: u32, secret: u64) -> Queue {
    let arguments = match kind {
        0 => Map::new(),
        1 => Map::new().with("qpid.priorities", 10),
        2 => Map::new().with("qpid.policy_type", "ring").with("qpid.max_count", 3),
        _ => Map::new().with("qpid.last_value_queue_key", "key"),
    };
    let settings = QueueSettings::new("q", &arguments).expect("they make sense");
    let mut queue = Queue::new(QueueId(7));
    queue.configure(NOW, &settings, (&QueueDefaults::UNLIMITED, false), &mut Vec::new());
    queue.set_window(window, secret);
    queue
}

fn message(id: Option<(u8, Form)>) -> Message {
    let mut content = Vec::new();
    let uuid = id.map(|(n, _)| Uuid([n; 16]));
    let (format, header_len) = match id {
        None | Some((_, Form::Old)) => {
            let properties = MessageProperties { message_id: uuid, ..Default::default() };
            properties.encode(&mut content).expect("encodes");
            (Format::V0_10, content.len() as u32)
        }
        Some((n, form)) => {
            let (octets, text) = ([n; 16], Uuid([n; 16]).to_string());
            let message_id = Some(match form {
                Form::Octets => ValueRef::of_binary(&octets),
                _ => ValueRef::of_str(&text),
            });
            let mut encoded = Vec::new();
            let properties = Properties { message_id, ..Properties::default() };
            properties.encode(&mut encoded).expect("encodes");
            let taken = ingest(&encoded, &mut content).expect("sound");
            (Format::V1_0, taken.header_len)
        }
    };
    let meta = Meta {
        format,
        header_len,
        routing_key: (0, 0),
        expires: Time::NEVER,
        priority: id.map_or(4, |(n, _)| n % 10),
        durable: false,
        flags: Flags::of_body(false),
        publisher: None,
    };
    Message::new(meta, &content)
}

proptest! {
    #[test]
    fn it_remembers_the_last_ids(kind in 0u8..4, window in 1u32..8, secret: u64, acts in acts()) {
        let (mut queue, mut out) = (queue(kind, window, secret), Vec::new());
        let mut last: VecDeque<u8> = VecDeque::new();
        let (mut came, mut duplicates) = (0, 0);
        for act in acts {
            match act {
                Act::Publish(id) => {
                    let is_duplicate = id.is_some_and(|(id, _)| last.contains(&id));
                    queue.enqueue(NOW, message(id), &mut out);
                    duplicates += u64::from(is_duplicate);
                    came += u64::from(!is_duplicate);
                    if let Some((id, _)) = id.filter(|_| !is_duplicate) {
                        last.push_back(id);
                        while last.len() > window as usize {
                            last.pop_front();
                        }
                    }
                }
                Act::Take(n) => {
                    let there: Vec<_> = queue.all_messages().map(|(position, ..)| position).collect();
                    if let Some(position) = there.get(n % there.len().max(1)) {
                        let session = SessionId::new(ShardId(0), 1);
                        prop_assert!(queue.acquire(session, *position));
                        prop_assert!(queue.accept(*position, &mut out));
                    }
                }
                Act::Purge(n) => {
                    queue.purge(u64::MAX, n, &mut out);
                }
            }
            let counters = queue.counters();
            // A ring of priorities may be too full for one that is worth least; these have none.
            prop_assert_eq!((counters.enqueued, counters.duplicates), (came, duplicates));
        }
    }
}
