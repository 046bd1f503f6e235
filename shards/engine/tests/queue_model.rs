//! Random operations on a queue, every output checked against a simple model.
//!
//! The model holds a list of messages with their states and each subscription's credit and room,
//! written down separately from the queue's. It checks that every delivery was due (order, credit,
//! room, flag, each browser once), and after every call that none is missing. It knows the kinds of
//! queues: plain ones, last value queues, priorities and message groups, each with and without selectors.

use fletch_amqp::types::Map;
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::MessageProperties;
use fletch_engine::QueueDefaults;
use fletch_engine::queue::{
    CreditUnit, FlowMode, INFINITE, Next, Output, Queue, QueueSettings, ROOM_BYTES, ROOM_MESSAGES,
};
use fletch_engine::selector::Selector;
use fletch_engine::{
    ErrorKind, Flags, Format, Message, Meta, Mode, Position, QueueId, SessionId, ShardId,
    Subscribe, SubscriptionId, Time,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// The kinds of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    LastValue,
    Priority,
    Groups,
}

/// What messages have: a header that is key and group and what selectors ask for, and a priority.
#[derive(Clone, Copy, Debug)]
struct Label {
    key: u8,
    priority: u8,
}

#[derive(Clone, Debug)]
enum Op {
    Enqueue {
        count: usize,
        size: usize,
        labels: Vec<Label>,
        ttl: Option<u64>,
    },
    Subscribe {
        tag: u32,
        mode: Mode,
        settles: bool,
        exclusive: bool,
        flow: FlowMode,
        /// Only messages with this key.
        selects: Option<u8>,
    },
    Cancel {
        tag: u32,
    },
    Grant {
        tag: u32,
        messages: u32,
        bytes: u32,
    },
    Mode {
        tag: u32,
        flow: FlowMode,
    },
    Moved {
        tag: u32,
        count: usize,
    },
    Room {
        tag: u32,
        count: usize,
    },
    Stop {
        tag: u32,
    },
    Flush {
        tag: u32,
    },
    Accept {
        picks: Vec<prop::sample::Index>,
    },
    Release {
        picks: Vec<prop::sample::Index>,
        set_redelivered: bool,
        /// This one cannot take them.
        declined_by: Option<u32>,
    },
    Reject {
        pick: prop::sample::Index,
    },
    Acquire {
        pick: prop::sample::Index,
    },
    /// A position nobody may settle, or that does not exist.
    Stray {
        position: Position,
    },
    Purge,
    Pass {
        time: u64,
    },
    Sweep {
        slice: usize,
    },
}

fn op(tags: u32) -> impl Strategy<Value = Op> {
    let tag = 0..tags;
    let mode = prop_oneof![3 => Just(Mode::Consume), 2 => Just(Mode::Browse)];
    let flow = prop_oneof![Just(FlowMode::Credit), Just(FlowMode::Window)];
    let count = prop_oneof![6 => 1..4usize, 1 => 1..400usize];
    let size = prop_oneof![6 => 0..200usize, 1 => Just(300_000usize)];
    let label = (0..5u8, 0..10u8).prop_map(|(key, priority)| Label { key, priority });
    let labels = prop::collection::vec(label, 1..6);
    let ttl = prop::option::weighted(0.2, 0..50u64);
    let enqueue = (count, size, labels, ttl).prop_map(|(count, size, labels, ttl)| {
        // Bursts are of small messages: the test is not about memory.
        let count = if size > 1000 { 1 } else { count };
        Op::Enqueue { count, size, labels, ttl }
    });
    let selects = prop::option::weighted(0.3, 0..6u8);
    let messages = prop_oneof![2 => 0..5u32, 1 => 200..400u32, 1 => Just(INFINITE)];
    let bytes = prop_oneof![1 => 0..300u32, 1 => 400_000..900_000u32, 2 => Just(INFINITE)];
    let picks = || prop::collection::vec(any::<prop::sample::Index>(), 1..60);
    prop_oneof![
        8 => enqueue,
        3 => (tag.clone(), mode, any::<bool>(), prop::bool::weighted(0.05), flow.clone(), selects)
            .prop_map(|(tag, mode, settles, exclusive, flow, selects)| Op::Subscribe {
                tag, mode, settles, exclusive, flow, selects
            }),
        1 => tag.clone().prop_map(|tag| Op::Cancel { tag }),
        6 => (tag.clone(), messages, bytes)
            .prop_map(|(tag, messages, bytes)| Op::Grant { tag, messages, bytes }),
        1 => (tag.clone(), flow).prop_map(|(tag, flow)| Op::Mode { tag, flow }),
        3 => (tag.clone(), 1..300usize).prop_map(|(tag, count)| Op::Moved { tag, count }),
        5 => (tag.clone(), 1..300usize).prop_map(|(tag, count)| Op::Room { tag, count }),
        1 => tag.clone().prop_map(|tag| Op::Stop { tag }),
        2 => tag.clone().prop_map(|tag| Op::Flush { tag }),
        3 => picks().prop_map(|picks| Op::Accept { picks }),
        3 => (picks(), any::<bool>(), prop::option::weighted(0.2, tag))
            .prop_map(|(picks, set_redelivered, declined_by)| Op::Release {
                picks, set_redelivered, declined_by
            }),
        1 => any::<prop::sample::Index>().prop_map(|pick| Op::Reject { pick }),
        2 => any::<prop::sample::Index>().prop_map(|pick| Op::Acquire { pick }),
        1 => (0..3000u64).prop_map(|position| Op::Stray { position }),
        1 => Just(Op::Purge),
        2 => (1..20u64).prop_map(|time| Op::Pass { time }),
        1 => (1..50usize).prop_map(|slice| Op::Sweep { slice }),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Available,
    Acquired,
    Gone,
}

struct Entry {
    state: State,
    redelivered: bool,
    expires: Time,
    size: usize,
    label: Label,
    /// Somebody had it once. A browser with a selector may have passed it or not.
    was_acquired: bool,
}

/// Credit in one unit; `None` is infinite.
#[derive(Clone, Copy, Default)]
struct Unit {
    granted: Option<u64>,
    used: u64,
}

impl Unit {
    fn zero() -> Unit {
        Unit { granted: Some(0), used: 0 }
    }

    fn grant(&mut self, value: u32) {
        let most = u64::from(INFINITE) - 1;
        self.granted = match self.granted {
            Some(g) if value != INFINITE => Some((g + u64::from(value)).min(most)),
            _ => None,
        };
    }

    fn has(&self, flow: FlowMode, n: u64) -> bool {
        let used = if flow == FlowMode::Window { self.used } else { 0 };
        self.granted.is_none_or(|g| g >= used + n)
    }

    fn take(&mut self, flow: FlowMode, n: u64) {
        match (&mut self.granted, flow) {
            (None, _) => {}
            (Some(g), FlowMode::Credit) => *g -= n,
            (Some(_), FlowMode::Window) => self.used += n,
        }
    }
}

struct Flushing {
    op: u64,
    until: Position,
    then: Vec<(u32, u32)>,
}

struct Sub {
    mode: Mode,
    settles: bool,
    flow: FlowMode,
    messages: Unit,
    bytes: Unit,
    room: (i64, i64),
    /// Sizes of what is under way to the connection.
    under_way: VecDeque<usize>,
    /// Sizes of what was delivered in window mode and is not completed.
    incomplete: VecDeque<usize>,
    flushes: VecDeque<Flushing>,
    /// Browsers: nothing before this is seen, again or ever, of each priority.
    cursors: [Position; 10],
    selects: Option<u8>,
    /// Not for it; None if it never declined anything.
    declined: Option<BTreeSet<Position>>,
}

impl Sub {
    /// Whether it goes through the queue on its own.
    fn is_own(&self) -> bool {
        self.mode == Mode::Browse || self.selects.is_some() || self.declined.is_some()
    }

    fn room_open(&self) -> bool {
        self.room.0 > 0 && self.room.1 > 0
    }

    fn allows(&self, size: usize) -> bool {
        self.messages.has(self.flow, 1) && self.bytes.has(self.flow, size.max(1) as u64)
    }

    fn clear(&mut self) {
        self.messages.granted = Some(0);
        self.bytes.granted = Some(0);
    }

    fn end_flush(&mut self) {
        let flush = self.flushes.pop_front().expect("no flush is under way");
        self.clear();
        for (messages, bytes) in flush.then {
            self.messages.grant(messages);
            self.bytes.grant(bytes);
        }
    }
}

/// Who had to be served in a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    /// Messages came.
    All,
    /// Credit or room came for this one (if it consumes, others have it no worse than before).
    One(u32),
    /// Nobody: a subscription stopped or ended.
    Ended,
}

struct Model {
    kind: Kind,
    queue: Queue,
    out: Vec<Output>,
    now: Time,
    /// By position - 1.
    entries: Vec<Entry>,
    available: BTreeSet<Position>,
    held: Vec<Position>,
    /// Who has a group, by key.
    owners: BTreeMap<u8, u32>,
    /// The newest message of a key that is there.
    newest: BTreeMap<u8, Position>,
    subs: BTreeMap<u32, Sub>,
    exclusive: bool,
    ops: u64,
}

/// Who acquires without a subscription.
const NOBODY: u32 = u32::MAX;

fn id(tag: u32) -> SubscriptionId {
    SubscriptionId { session: SessionId::new(ShardId(3), 1), tag }
}

/// The header segment of messages with a key.
fn header(key: u8) -> Vec<u8> {
    let headers = Map::new().with("key", i32::from(key)).encoded().unwrap();
    let mut header = Vec::new();
    MessageProperties { application_headers: Some(headers.view()), ..Default::default() }
        .encode(&mut header)
        .unwrap();
    header
}

/// Bytes of that.
fn header_len() -> usize {
    header(0).len()
}

fn message(size: usize, label: Label, position: Position, expires: Time) -> Message {
    let mut content = header(label.key);
    let meta = Meta {
        format: Format::V0_10,
        header_len: content.len() as u32,
        routing_key: (0, 0),
        expires,
        priority: label.priority,
        durable: false,
        flags: Flags::of_body(true),
        publisher: None,
    };
    let mark = position.to_le_bytes();
    content.extend(mark.into_iter().chain(std::iter::repeat(0)).take(size));
    Message::new(meta, &content)
}

impl Model {
    fn new(kind: Kind) -> Model {
        let arguments = match kind {
            Kind::Plain => Map::new(),
            Kind::LastValue => Map::new().with("qpid.last_value_queue_key", "key"),
            Kind::Priority => Map::new().with("qpid.priorities", 10),
            Kind::Groups => {
                Map::new().with("qpid.group_header_key", "key").with("qpid.shared_msg_group", 1)
            }
        };
        let mut queue = Queue::new(QueueId(9));
        let settings = QueueSettings::new("q", &arguments).unwrap();
        let defaults = (&QueueDefaults::UNLIMITED, false);
        queue.configure(Time(0), &settings, defaults, &mut Vec::new());
        Model {
            kind,
            queue,
            out: Vec::new(),
            now: Time(100),
            entries: Vec::new(),
            available: BTreeSet::new(),
            held: Vec::new(),
            owners: BTreeMap::new(),
            newest: BTreeMap::new(),
            subs: BTreeMap::new(),
            exclusive: false,
            ops: 0,
        }
    }

    fn entry(&self, position: Position) -> &Entry {
        &self.entries[position as usize - 1]
    }

    fn set(&mut self, position: Position, state: State) {
        self.entries[position as usize - 1].state = state;
        if state == State::Available {
            self.available.insert(position);
        } else {
            self.available.remove(&position);
        }
        self.held.retain(|p| *p != position);
        if state == State::Acquired {
            self.entries[position as usize - 1].was_acquired = true;
            self.held.push(position);
        }
        if state == State::Gone {
            self.newest.retain(|_, newest| *newest != position);
        }
    }

    /// What one could get next.
    fn next_for(&self, tag: u32, sub: &Sub) -> Option<Position> {
        let mine = |position: &Position| {
            let Entry { expires, label, was_acquired, .. } = *self.entry(*position);
            if was_acquired && sub.mode == Mode::Browse && sub.selects.is_some() {
                return false;
            }
            let declined = sub.declined.as_ref().is_some_and(|all| all.contains(position));
            let selected = sub.selects.is_none_or(|key| key == label.key) && !declined;
            let level = if self.kind == Kind::Priority { label.priority } else { 0 };
            let unseen = sub.mode == Mode::Consume || *position >= sub.cursors[usize::from(level)];
            let owner = self.owners.get(&label.key);
            let free = sub.mode == Mode::Browse || owner.is_none_or(|owner| *owner == tag);
            expires > self.now && selected && unseen && free
        };
        let mut all = self.available.iter().copied().filter(mine);
        match self.kind {
            Kind::Groups if !sub.is_own() => self.first_that_fits(tag, sub, all),
            Kind::Priority => {
                all.max_by_key(|p| (self.entry(*p).label.priority, std::cmp::Reverse(*p)))
            }
            _ => all.next(),
        }
    }

    /// The first of one's groups or of the free ones, if the other is too large the other.
    fn first_that_fits(
        &self,
        tag: u32,
        sub: &Sub,
        all: impl Iterator<Item = Position>,
    ) -> Option<Position> {
        let owns = |p: &Position| self.owners.get(&self.entry(*p).label.key) == Some(&tag);
        let (own, free): (Vec<_>, Vec<_>) = all.partition(owns);
        let both = [own.first(), free.first()].into_iter().flatten().copied();
        let fits = |p: &Position| sub.allows(self.entry(*p).size);
        both.clone().filter(fits).min().or_else(|| both.min())
    }

    fn next_of(&self, tag: u32) -> Option<Position> {
        self.next_for(tag, &self.subs[&tag])
    }

    /// Somebody has acquired a message.
    fn acquired(&mut self, position: Position, by: u32) {
        self.set(position, State::Acquired);
        if self.kind == Kind::Groups {
            self.owners.entry(self.entry(position).label.key).or_insert(by);
        }
    }

    /// Messages were settled: groups of which nobody holds any are free. Whether one is that has more.
    fn free_groups(&mut self) -> bool {
        let keys = |positions: &BTreeSet<Position>| -> BTreeSet<u8> {
            positions.iter().map(|p| self.entry(*p).label.key).collect()
        };
        let (held, there) = (keys(&self.held.iter().copied().collect()), keys(&self.available));
        let freed = self.owners.extract_if(.., |key, _| !held.contains(key));
        freed.filter(|(key, _)| there.contains(key)).count() > 0
    }

    /// In a last value queue a message has come, or is available again.
    fn has_come(&mut self, position: Position) {
        if self.kind != Kind::LastValue {
            return;
        }
        let key = self.entry(position).label.key;
        let newest = self.newest.get(&key).copied().unwrap_or(0);
        let older = newest.min(position);
        if self.available.contains(&older) && newest != position {
            self.set(older, State::Gone);
        }
        self.newest.insert(key, newest.max(position));
    }

    /// Checks what came out, one by one, and that nothing is missing.
    fn check_outputs(&mut self, served: Served) {
        let mut browsers_to_check = served == Served::All;
        let mut looking = false;
        loop {
            for output in std::mem::take(&mut self.out) {
                match output {
                    Output::Deliver { to, delivery, message, redelivered, .. } => {
                        assert_eq!(delivery.queue, QueueId(9));
                        // Browsers come first. They see what consumers then take.
                        if self.subs[&to.tag].mode == Mode::Consume {
                            if browsers_to_check && !looking {
                                self.check_browsers(false);
                            }
                            browsers_to_check = false;
                        }
                        self.check_delivery(to.tag, delivery.position, &message, redelivered);
                    }
                    Output::More { .. } => looking = true,
                    Output::Flushed { to, op, .. } => self.check_flushed(to.tag, op, served),
                    other => panic!("nothing here is journalled or limited: {other:?}"),
                }
            }
            if !std::mem::take(&mut looking) {
                break;
            }
            self.queue.look(self.now, &mut self.out);
        }
        match served {
            Served::All => {
                if browsers_to_check {
                    self.check_browsers(false);
                }
                self.check_browsers(true);
                self.check_consumers();
            }
            Served::One(tag) => match self.subs.get(&tag).map(|s| s.mode) {
                Some(Mode::Browse) => self.check_browser(tag),
                Some(Mode::Consume) => self.check_consumers(),
                None => {}
            },
            Served::Ended => {}
        }
        let waiting = |s: &Sub| s.flushes.is_empty() || !s.room_open();
        assert!(self.subs.values().all(waiting), "a flush waits without cause");
    }

    fn check_flushed(&mut self, tag: u32, op: u64, served: Served) {
        let sub = &self.subs[&tag];
        let flush = sub.flushes.front().expect("a flush ended that nobody asked for");
        assert_eq!(flush.op, op);
        if self.may_have_passed(sub) {
            // What comes next for it is not known.
        } else if served != Served::Ended
            && let Some(next) = self.next_of(tag)
        {
            let more = next <= flush.until && sub.allows(self.entry(next).size);
            assert!(!more, "the flush ended with {next} to be delivered");
        } else if served != Served::Ended {
            self.check_browser(tag);
        }
        self.subs.get_mut(&tag).unwrap().end_flush();
    }

    /// No consumer waits for a message it could have.
    fn check_consumers(&self) {
        let expired = |p: &Position| self.entry(*p).expires <= self.now;
        if self.kind == Kind::Groups && self.available.iter().any(expired) {
            return; // What stood before its message is looked at with its next event.
        }
        for (tag, sub) in self.subs.iter().filter(|(_, s)| s.mode == Mode::Consume) {
            let Some(next) = self.next_of(*tag) else { continue };
            let size = self.entry(next).size;
            assert!(!sub.room_open() || !sub.allows(size), "{tag} was not given {next}");
        }
    }

    /// Those with a selector, or those without.
    fn check_browsers(&mut self, selecting: bool) {
        let browsers = self.subs.iter().filter(|(_, s)| s.mode == Mode::Browse);
        let some = browsers.filter(|(_, s)| s.selects.is_some() == selecting);
        let tags: Vec<u32> = some.map(|(tag, _)| *tag).collect();
        tags.into_iter().for_each(|tag| self.check_browser(tag));
    }

    /// Whether there is a message that it may have passed, a browser with a selector, or not. If not, it may
    /// be too large for it.
    fn may_have_passed(&self, sub: &Sub) -> bool {
        let released = |p: &Position| {
            let entry = self.entry(*p);
            entry.was_acquired && sub.selects == Some(entry.label.key)
        };
        sub.mode == Mode::Browse && self.available.iter().any(released)
    }

    /// The browser, just served, does not wait for a message it could have.
    fn check_browser(&mut self, tag: u32) {
        let sub = &self.subs[&tag];
        if !sub.room_open() || !sub.allows(1) || sub.mode != Mode::Browse {
            return;
        }
        if self.may_have_passed(sub) {
            return;
        }
        if let Some(next) = self.next_of(tag) {
            assert!(!sub.allows(self.entry(next).size), "{tag} was not shown {next}");
        } else if sub.selects.is_none() {
            let end = self.entries.len() as Position + 1;
            self.subs.get_mut(&tag).unwrap().cursors = [end; 10];
        }
    }

    fn check_delivery(&mut self, tag: u32, at: Position, message: &Message, redelivered: bool) {
        let entry = self.entry(at);
        let sub = &self.subs[&tag];
        assert!(entry.state == State::Available, "{at} was not available");
        assert!(entry.expires > self.now, "{at} had expired");
        assert_eq!(redelivered, entry.redelivered, "redelivered flag of {at}");
        assert_eq!(message.size(), entry.size);
        let marked = (entry.size - header_len()).min(8);
        assert_eq!(message.body()[..marked], at.to_le_bytes()[..marked], "not the message of {at}");
        assert!(sub.allows(entry.size), "{tag} had no credit for {at}");
        assert!(sub.room_open(), "{tag} had no room for {at}");
        assert!(sub.flushes.front().is_none_or(|f| at <= f.until), "{at} came after the flush");
        let again = entry.was_acquired && sub.mode == Mode::Browse;
        if !again || sub.selects != Some(entry.label.key) {
            assert_eq!(self.next_of(tag), Some(at), "not the next for {tag}");
        }

        let (size, label) = (entry.size, entry.label);
        let level = if self.kind == Kind::Priority { usize::from(label.priority) } else { 0 };
        let sub = self.subs.get_mut(&tag).unwrap();
        sub.messages.take(sub.flow, 1);
        sub.bytes.take(sub.flow, size as u64);
        sub.room.0 -= 1;
        sub.room.1 -= size as i64;
        sub.under_way.push_back(size);
        if sub.flow == FlowMode::Window {
            sub.incomplete.push_back(size);
        }
        match (sub.mode, sub.settles) {
            (Mode::Browse, _) => sub.cursors[level] = sub.cursors[level].max(at + 1),
            (Mode::Consume, true) => self.acquired(at, tag),
            (Mode::Consume, false) => self.set(at, State::Gone),
        }
    }

    fn check_counts(&self) {
        let present = self.available.len() + self.held.len();
        let expired = self.available.iter().filter(|p| self.entry(**p).expires <= self.now);
        let least = present - expired.count();
        let messages = self.queue.messages() as usize;
        assert!((least..=present).contains(&messages), "{messages} not in {least}..={present}");
        let counters = self.queue.counters();
        assert_eq!(counters.enqueued, self.entries.len() as u64);
        assert_eq!(counters.enqueued - counters.dequeued, messages as u64);
        assert_eq!(messages as u64 - self.queue.available(), self.held.len() as u64);
        if least == present {
            let sizes = |p: &Position| self.entry(*p).size as u64;
            let bytes: u64 = self.available.iter().chain(&self.held).map(sizes).sum();
            assert_eq!(self.queue.bytes(), bytes);
        }
        let consumers = self.subs.values().filter(|s| s.mode == Mode::Consume).count();
        assert_eq!(self.queue.subscriptions() as usize, self.subs.len());
        assert_eq!(self.queue.consumers() as usize, consumers);
        assert_eq!(self.queue.is_unused(), self.subs.is_empty());
    }

    fn drop_expired(&mut self) {
        let expired: Vec<Position> =
            self.available.iter().copied().filter(|p| self.entry(*p).expires <= self.now).collect();
        expired.into_iter().for_each(|p| self.set(p, State::Gone));
    }

    fn sweep(&mut self, slice: usize) {
        loop {
            let mut budget = slice;
            if !self.queue.expire(self.now, &mut budget, &mut self.out) {
                break;
            }
            assert_eq!(budget, 0);
        }
        // A sweep that began earlier may have passed some by; a whole one does not.
        let mut budget = usize::MAX;
        assert!(!self.queue.expire(self.now, &mut budget, &mut self.out));
        self.drop_expired();
        let present = self.available.len() + self.held.len();
        assert_eq!(self.queue.messages() as usize, present);
    }

    fn pick(&self, picks: &[prop::sample::Index]) -> Vec<Position> {
        if self.held.is_empty() {
            return Vec::new();
        }
        picks.iter().map(|pick| *pick.get(&self.held)).collect()
    }

    fn apply(&mut self, op: Op) {
        self.ops += 1;
        let now = self.now;
        match op {
            Op::Enqueue { count, size, labels, ttl } => {
                // What is expired and not dropped yet may be the newest of its key or not.
                let ttl = ttl.filter(|_| self.kind != Kind::LastValue);
                for label in labels.into_iter().cycle().take(count) {
                    let expires = ttl.map_or(Time::NEVER, |ttl| Time(now.0 + ttl));
                    let (state, redelivered) = (State::Available, false);
                    let whole = size + header_len();
                    let was_acquired = false;
                    self.entries.push(Entry {
                        state,
                        redelivered,
                        expires,
                        size: whole,
                        label,
                        was_acquired,
                    });
                    let position = self.entries.len() as Position;
                    self.available.insert(position);
                    self.has_come(position);
                    let message = message(size, label, position, expires);
                    self.queue.enqueue(now, message, &mut self.out);
                    self.check_outputs(Served::All);
                }
            }
            Op::Subscribe { tag, mode, settles, exclusive, flow, selects } => {
                self.subscribe(tag, (mode, settles, exclusive), flow, selects);
            }
            Op::Cancel { tag } => {
                let existed = self.queue.cancel(id(tag), &mut self.out);
                assert_eq!(existed, self.subs.contains_key(&tag));
                self.check_outputs(Served::Ended);
                if let Some(sub) = self.subs.remove(&tag) {
                    assert!(sub.flushes.is_empty(), "a flush was not answered");
                    self.exclusive &= sub.mode == Mode::Browse;
                }
            }
            Op::Grant { tag, messages, bytes } => {
                for (unit, value) in [(CreditUnit::Messages, messages), (CreditUnit::Bytes, bytes)]
                {
                    if let Some(sub) = self.subs.get_mut(&tag) {
                        let (m, b) = match unit {
                            CreditUnit::Messages => (value, 0),
                            CreditUnit::Bytes => (0, value),
                        };
                        if let Some(flush) = sub.flushes.back_mut() {
                            flush.then.push((m, b));
                        } else {
                            sub.messages.grant(m);
                            sub.bytes.grant(b);
                        }
                    }
                    self.queue.grant(now, id(tag), unit, value, &mut self.out);
                    self.check_outputs(Served::One(tag));
                }
            }
            Op::Mode { tag, flow } => {
                if let Some(sub) = self.subs.get_mut(&tag).filter(|sub| sub.flow != flow) {
                    sub.flow = flow;
                    sub.clear();
                    sub.messages.used = 0;
                    sub.bytes.used = 0;
                    sub.incomplete.clear();
                }
                self.queue.set_mode(id(tag), flow);
            }
            Op::Moved { tag, count } => {
                let Some(sub) = self.subs.get_mut(&tag) else { return };
                let count = count.min(sub.incomplete.len());
                let bytes = sub.incomplete.drain(..count).map(|s| s as u64).sum();
                if sub.flow == FlowMode::Window {
                    sub.messages.used = sub.messages.used.saturating_sub(count as u64);
                    sub.bytes.used = sub.bytes.used.saturating_sub(bytes);
                }
                self.queue.moved(now, id(tag), count as u32, bytes, &mut self.out);
                self.check_outputs(Served::One(tag));
            }
            Op::Room { tag, count } => {
                let Some(sub) = self.subs.get_mut(&tag) else { return };
                let count = count.min(sub.under_way.len());
                let bytes: u64 = sub.under_way.drain(..count).map(|s| s as u64).sum();
                sub.room.0 += count as i64;
                sub.room.1 += bytes as i64;
                self.queue.room(now, id(tag), count as u32, bytes, &mut self.out);
                self.check_outputs(Served::One(tag));
            }
            Op::Stop { tag } => {
                self.queue.stop(id(tag), &mut self.out);
                self.check_outputs(Served::Ended);
                if let Some(sub) = self.subs.get_mut(&tag) {
                    assert!(sub.flushes.is_empty(), "a flush was not answered");
                    sub.clear();
                }
            }
            Op::Flush { tag } => {
                let op = self.ops;
                if let Some(sub) = self.subs.get_mut(&tag) {
                    let until = self.entries.len() as Position;
                    sub.flushes.push_back(Flushing { op, until, then: Vec::new() });
                    self.queue.flush(now, id(tag), op, &mut self.out);
                    self.check_outputs(Served::One(tag));
                }
            }
            Op::Accept { picks } => {
                for position in self.pick(&picks) {
                    self.queue.accept(position, &mut self.out);
                    self.set(position, State::Gone);
                }
                self.serve_freed();
            }
            Op::Release { picks, set_redelivered, declined_by } => {
                let positions = self.pick(&picks);
                let by = declined_by.and_then(|tag| self.subs.get_mut(&tag));
                if let Some(sub) = by.filter(|sub| sub.mode == Mode::Consume) {
                    sub.declined.get_or_insert_default().extend(&positions);
                }
                for position in &positions {
                    self.entries[*position as usize - 1].redelivered |= set_redelivered;
                    if self.held.contains(position) {
                        self.set(*position, State::Available);
                        self.has_come(*position);
                    }
                }
                self.free_groups();
                let (q, out) = (&mut self.queue, &mut self.out);
                match declined_by {
                    Some(tag) => q.decline(now, id(tag), &positions, set_redelivered, out),
                    None => q.release(now, positions, set_redelivered, out),
                }
                self.check_outputs(Served::All);
            }
            Op::Reject { pick } => {
                for position in self.pick(&[pick]) {
                    let size = self.queue.reject(position, &mut self.out).map(|taken| taken.size);
                    assert_eq!(size, Some(self.entry(position).size));
                    self.set(position, State::Gone);
                }
                self.serve_freed();
            }
            Op::Acquire { pick } => {
                if self.entries.is_empty() {
                    return;
                }
                let position = pick.index(self.entries.len()) as Position + 1;
                let entry = self.entry(position);
                let (available, expired) = (entry.state == State::Available, entry.expires <= now);
                let owner = self.owners.get(&entry.label.key);
                let may = available && owner.is_none_or(|owner| *owner == NOBODY);
                let acquired = self.queue.acquire(id(0).session, position);
                assert!(acquired == may || expired && may, "acquire of {position}");
                match (acquired, may) {
                    (true, _) => self.acquired(position, NOBODY),
                    (false, true) => self.set(position, State::Gone),
                    (false, false) => {}
                }
            }
            Op::Stray { position } => {
                if !self.held.contains(&position) {
                    self.queue.accept(position, &mut self.out);
                    assert!(self.queue.reject(position, &mut self.out).is_none());
                    self.queue.release(now, [position], true, &mut self.out);
                    self.check_outputs(Served::All);
                }
            }
            Op::Purge => {
                let most = self.available.len() as u64;
                let before = self.queue.available();
                let purged = self.queue.purge(Position::MAX, usize::MAX, &mut self.out).0 as u64;
                assert!(purged == before && purged <= most);
                for position in self.available.clone() {
                    self.set(position, State::Gone);
                }
            }
            Op::Pass { time } => self.now = Time(now.0 + time),
            Op::Sweep { slice } => self.sweep(slice),
        }
        self.check_counts();
    }

    /// Messages were settled, which others may have waited for.
    fn serve_freed(&mut self) {
        let freed = self.free_groups();
        self.queue.serve_freed(self.now, &mut self.out);
        self.check_outputs(if freed { Served::All } else { Served::Ended });
    }

    fn subscribe(
        &mut self,
        tag: u32,
        (mode, settles, exclusive): (Mode, bool, bool),
        flow: FlowMode,
        selects: Option<u8>,
    ) {
        let queue = Arc::from("q");
        let arguments = Default::default();
        let selector = selects.map(|key| Selector::parse(&format!("key = {key}")).unwrap());
        let selector = selector.map(Arc::new);
        let s = Subscribe { tag, queue, mode, settles, exclusive, selector, arguments };
        let result = self.queue.subscribe(id(tag), &s).map_err(|e| e.kind);
        let consumers = self.subs.values().any(|s| s.mode == Mode::Consume);
        let consumes = mode == Mode::Consume;
        if self.subs.contains_key(&tag) {
            assert_eq!(result, Err(ErrorKind::NotAllowed));
        } else if consumes && (self.exclusive || exclusive && consumers) {
            assert_eq!(result, Err(ErrorKind::ResourceLocked));
        } else {
            assert_eq!(result, Ok(()));
            self.queue.set_mode(id(tag), flow);
            self.exclusive |= consumes && exclusive;
            let sub = Sub {
                mode,
                settles,
                flow,
                messages: Unit::zero(),
                bytes: Unit::zero(),
                room: (i64::from(ROOM_MESSAGES), ROOM_BYTES as i64),
                under_way: VecDeque::new(),
                incomplete: VecDeque::new(),
                flushes: VecDeque::new(),
                cursors: [0; 10],
                selects,
                declined: None,
            };
            self.subs.insert(tag, sub);
        }
    }

    /// What is left is all that should be, in order.
    fn finish(mut self) {
        self.sweep(7);
        let (ids, messages) = self.queue.drain_for_delete(&mut self.out);
        let mut expected: Vec<Position> =
            self.available.iter().chain(&self.held).copied().collect();
        expected.sort_unstable();
        let mut rest = messages;
        let mut messages: Vec<Message> = Vec::new();
        while let Next::Message { message, .. } = rest.next(true) {
            messages.extend(message);
        }
        assert_eq!(messages.len(), expected.len());
        for (message, position) in messages.iter().zip(expected) {
            assert_eq!(message.size(), self.entry(position).size);
            let marked = (message.size() - header_len()).min(8);
            assert_eq!(message.body()[..marked], position.to_le_bytes()[..marked]);
        }
        let mut ids: Vec<u32> = ids.iter().map(|(id, _)| id.tag).collect();
        ids.sort_unstable();
        assert!(ids.iter().eq(self.subs.keys()));
        self.check_outputs(Served::Ended);
        assert!(self.subs.values().all(|s| s.flushes.is_empty()), "a flush was not answered");
    }
}

fn run(kind: Kind, ops: Vec<Op>) {
    let mut model = Model::new(kind);
    for op in ops {
        model.apply(op);
    }
    model.finish();
}

/// Of about 75 operations, one of which may enqueue hundreds of messages.
const CASES: u32 = 2000;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() })]

    #[test]
    fn few_subscriptions(ops in prop::collection::vec(op(3), 1..150)) {
        run(Kind::Plain, ops);
    }

    #[test]
    fn many_subscriptions(ops in prop::collection::vec(op(20), 1..200)) {
        run(Kind::Plain, ops);
    }

    #[test]
    fn last_value_queues(ops in prop::collection::vec(op(5), 1..150)) {
        run(Kind::LastValue, ops);
    }

    #[test]
    fn priority_queues(ops in prop::collection::vec(op(5), 1..150)) {
        run(Kind::Priority, ops);
    }

    #[test]
    fn message_groups(ops in prop::collection::vec(op(5), 1..150)) {
        run(Kind::Groups, ops);
    }
}
