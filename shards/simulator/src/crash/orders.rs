//! Queues of all orders, and consumers who select: what clients ask for, and what must hold for each.
//!
//! Of a last value queue, the newest message of each key is there, or one that may have come after it; no
//! two that nobody has. A message group is with one consumer at a time. What is consumed comes in the
//! queue's order, and nobody who selects gets anything else, or less.

use super::check::{After, AllFound, Found};
use super::model::{Copies, Model, OFTEN, Queue, QueueFacts, Sent};
use super::world::World;
use crate::limits::Kind;
use crate::message::{Label, MessageId, message_id};
use crate::rng::Rng;
use fletch_amqp::types::{Map, Value};
use fletch_engine::queue::INFINITE;
use fletch_engine::selector::Selector;
use fletch_engine::{
    Engine, Mode, Outcome, Position, QueueId, SessionId, ShardId, SubscriptionId, Time,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The header that is key and group.
const KEY: &str = "k";

/// In which order a queue's messages are consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Fifo,
    LastValue,
    /// Of so many levels. Fair: lower ones have their turns.
    Priority {
        levels: u8,
        fair: bool,
    },
    Groups,
}

impl Order {
    /// What a queue's arguments say.
    pub(super) fn of(arguments: &Map) -> Order {
        let number = |name: &str| arguments.get(name).and_then(Value::as_i64).unwrap_or(0);
        let levels = number("qpid.priorities") as u8;
        if arguments.get("qpid.last_value_queue_key").is_some() {
            Order::LastValue
        } else if arguments.get("qpid.group_header_key").is_some() {
            Order::Groups
        } else if levels > 0 {
            Order::Priority { levels, fair: number("qpid.fairshare") > 0 }
        } else {
            Order::Fifo
        }
    }

    fn draw(rng: &mut Rng, arguments: Map) -> Map {
        match rng.below(3) {
            0 => arguments.with("qpid.last_value_queue_key", KEY),
            1 => arguments.with("qpid.group_header_key", KEY).with("qpid.shared_msg_group", 1),
            _ => {
                let arguments = arguments.with("qpid.priorities", *rng.pick(&[2, 5, 10]));
                match rng.chance(20) {
                    true => arguments.with("qpid.fairshare", 2),
                    false => arguments,
                }
            }
        }
    }

    /// The level of a message: with few of them those in the middle are told apart.
    fn level(self, label: Label) -> u8 {
        let Order::Priority { levels, .. } = self else { return 0 };
        let lowest = 5 - levels.div_ceil(2).min(5);
        label.priority.saturating_sub(lowest).min(levels - 1)
    }
}

/// A message that a queue sends to a consumer, who has to settle it or not.
pub(super) type Consumed = (QueueId, MessageId, SubscriptionId, bool);

/// What a consumer selects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    /// Only messages with this key.
    key: Option<u8>,
    /// Only those of a higher priority.
    above: u8,
}

impl Wants {
    fn draw(rng: &mut Rng) -> Wants {
        let key = rng.chance(70).then(|| rng.below(4) as u8);
        let above = if key.is_some() && rng.chance(50) { 0 } else { rng.range(1, 8) as u8 };
        Wants { key, above }
    }

    pub(super) fn selector(self) -> Arc<Selector> {
        let above = format!("JMSPriority > {}", i32::from(self.above) - 1);
        let text = match self.key {
            Some(key) => format!("{above} AND {KEY} = '{}'", Label::text(key)),
            None => above,
        };
        Arc::new(Selector::parse(&text).expect("it is written by the rules"))
    }

    pub(super) fn selects(self, label: Label) -> bool {
        label.priority >= self.above && self.key.is_none_or(|key| label.key == Some(key))
    }
}

impl World<'_> {
    /// Makes a queue one of another order, of some seeds.
    pub(super) fn draw_order(&mut self, arguments: Map) -> Map {
        let paged = arguments.get("qpid.paging").is_some();
        match !paged && self.mix.ordered_percent > 0 && self.rng.chance(self.mix.ordered_percent) {
            true => Order::draw(&mut self.rng, arguments),
            false => arguments,
        }
    }

    /// What a message has for orders to go by.
    pub(super) fn draw_label(&mut self) -> Option<Label> {
        (self.mix.ordered_percent > 0).then(|| Label {
            key: self.rng.chance(80).then(|| self.rng.below(4) as u8),
            priority: self.rng.below(10) as u8,
        })
    }

    /// What a consumer selects, if it does.
    pub(super) fn draw_wants(&mut self) -> Option<Wants> {
        (self.mix.ordered_percent > 0 && self.rng.chance(25)).then(|| Wants::draw(&mut self.rng))
    }

    /// What is in queues whose order has something to say about that.
    pub(super) fn check_orders(&mut self, found: &AllFound, after: After) {
        let held = self.sessions.values().flat_map(|s| &s.held).map(|held| held.delivery);
        let held: BTreeSet<(QueueId, Position)> = held.map(|d| (d.queue, d.position)).collect();
        let locked = self.locked();
        for (id, all) in found {
            let Some(q) = self.model.queues.get(id) else { continue };
            let at = |f: &Found| (*id, f.position);
            if q.facts.order == Order::LastValue {
                let mut keys = BTreeMap::new();
                for f in all.iter().filter(|f| !held.contains(&at(f))) {
                    let number = message_id(&f.message);
                    if locked.contains(&(*id, number)) {
                        continue;
                    }
                    let other = keys.insert(self.model.label(number).key, number);
                    assert!(other.is_none(), "{other:?} and {number} of {id:?} have one key");
                }
                self.marks
                    .hit("last values after a crash", after == After::Crash && keys.len() > 1);
                self.marks.hit("an older value that somebody has", keys.len() < all.len());
            }
            if q.facts.limit.kind != Kind::Ring {
                let there: BTreeSet<(QueueId, Position)> = all.iter().map(at).collect();
                let lost = held.iter().find(|at| at.0 == *id && !there.contains(at));
                assert!(lost.is_none(), "{lost:?} was taken from who has it");
            }
        }
    }

    /// A delivery is what its subscriber has asked for.
    pub(super) fn check_selected(&mut self, to: SubscriptionId, number: MessageId) {
        let wants = self.sessions[&to.session].subscriptions[&to.tag].wants;
        let Some(wants) = wants else { return };
        self.marks.hit("delivered to one who selects", true);
        let label = self.model.label(number);
        assert!(wants.selects(label), "{to:?} gets {number}, {label:?}, and wants {wants:?}");
    }

    /// Somebody takes all there is of queues that nobody has: first what is selected, then the rest.
    pub(super) fn check_consumed(&mut self) {
        if self.mix.ordered_percent == 0 {
            return;
        }
        let id = self.attach(ShardId::ORDERER);
        self.rest();
        let queues = self.engines[0].topology().queues();
        let queues: Vec<(QueueId, Arc<str>)> = queues
            .filter(|q| q.owner.is_none() && !q.auto_delete)
            .map(|q| (q.id, Arc::clone(&q.name)))
            .collect();
        for (queue, name) in queues {
            for wants in [Some(Wants::draw(&mut self.rng)), None] {
                self.consume_all(id, (queue, &name), wants);
            }
            let mut engines = self.engines.iter().flat_map(Engine::queues);
            // It may go when it is empty.
            let left = engines.find(|q| q.id() == queue).map_or(0, |q| q.available());
            assert_eq!(left, 0, "{name} keeps some");
        }
    }

    fn consume_all(
        &mut self,
        id: SessionId,
        (queue, name): (QueueId, &Arc<str>),
        wants: Option<Wants>,
    ) {
        let found = self.found();
        let Some(all) = found.get(&queue) else { return };
        let (order, mut numbers) = (self.model.queues[&queue].facts.order, Vec::new());
        numbers.extend(all.iter().map(|f| message_id(&f.message)));
        numbers.retain(|n| wants.is_none_or(|wants| wants.selects(self.model.label(*n))));
        let level = |n: &MessageId| order.level(self.model.label(*n));
        numbers.sort_by_key(|n| Reverse(level(n)));
        let tag = self.subscribe_to(id, Arc::clone(name), Mode::Consume, true, wants);
        self.grant(id, tag, INFINITE);
        self.rest();
        let held = std::mem::take(&mut self.session(id).held);
        let mut got: Vec<MessageId> = held.iter().map(|held| held.number).collect();
        if matches!(order, Order::Priority { fair: true, .. }) {
            got.sort_by_key(|n| Reverse(order.level(self.model.label(*n))));
        }
        // What has expired by now is missing.
        let mut rest = got.iter().peekable();
        for number in &numbers {
            let content = &self.model.messages[*number as usize].content;
            let here = rest.next_if_eq(&number).is_some();
            assert!(
                here || content.expires != Time::NEVER,
                "{name} ({order:?}) gives {got:?} to one who wants {wants:?} instead of {numbers:?}"
            );
        }
        assert!(rest.next().is_none(), "{name} ({order:?}) gives {got:?} instead of {numbers:?}");
        let some = !got.is_empty();
        self.marks.hit("last values consumed", some && order == Order::LastValue);
        self.marks.hit("groups consumed", some && order == Order::Groups);
        let levels: BTreeSet<u8> = got.iter().map(|n| order.level(self.model.label(*n))).collect();
        self.marks.hit("several priorities consumed", levels.len() > 1);
        self.settle(id, Outcome::Accepted, &held);
        self.cancel(id, tag);
        self.rest();
    }
}

impl Model {
    pub(super) fn label(&self, number: MessageId) -> Label {
        self.messages[number as usize].content.label.unwrap_or_default()
    }

    /// Whether a message may have given way to another with its key, or may do so.
    pub(super) fn may_be_replaced(&self, q: &Queue, number: MessageId) -> bool {
        let key = self.label(number).key;
        let other = |n: &MessageId| *n != number && self.label(*n).key == key;
        q.facts.order == Order::LastValue && q.copies.keys().any(other)
    }

    /// Consumers are sent messages, in one input, in whatever order: where they are of a group, nobody else has
    /// one of it.
    pub(super) fn send_of_groups(&mut self, mut all: Vec<Consumed>) {
        // Another may have its group after one that is gone by being sent, not before.
        all.sort_by_key(|(.., held)| *held);
        all.into_iter().for_each(|consumed| self.sends_of_group(consumed));
    }

    fn sends_of_group(&mut self, (queue, number, to, held): Consumed) {
        let key = self.label(number).key;
        let Some(q) = self.queues.get_mut(&queue).filter(|q| has_groups(&q.facts)) else { return };
        let holders = q.groups.entry(key).or_default();
        let other = holders.iter().find(|(_, holder)| **holder != to);
        assert!(other.is_none(), "{to:?} gets {number} of {queue:?}, and {other:?} has its group");
        if held {
            holders.insert(number, to);
        }
    }

    /// Whoever has a message asks for the end of that.
    pub(super) fn gives_up(&mut self, queue: QueueId, number: MessageId) {
        let key = self.label(number).key;
        if let Some(holders) = self.queues.get_mut(&queue).and_then(|q| q.groups.get_mut(&key)) {
            holders.remove(&number);
        }
    }

    /// Of each key the newest message is there, or one that may have come after it, or that is what has
    /// become of it: that it came, and left.
    pub(super) fn check_last_values(&self, found: &AllFound, now: Time, after: After) {
        for (id, q) in self.queues.iter().filter(|(_, q)| q.facts.order == Order::LastValue) {
            let Some(all) = found.get(id) else { continue };
            if self.may_go(q) || self.may_be_held(q) {
                continue;
            }
            let there: BTreeSet<MessageId> = all.iter().map(|f| message_id(&f.message)).collect();
            for (number, c) in &q.copies {
                if !self.must_be_there(q, (*number, c), now, after) || there.contains(number) {
                    continue;
                }
                let key = self.label(*number).key;
                let others = q.copies.iter().filter(|(n, _)| self.label(**n).key == key);
                let stands_for = |(n, c): (&MessageId, &Copies)| {
                    !self.came_before(*n, *number)
                        && (there.contains(n) || self.may_have_left(q, (*n, c), now, after))
                };
                let replaced = others.clone().any(stands_for);
                assert!(
                    replaced,
                    "message {number} is lost from {} ({id:?}), and nothing with its key is there: {:?}",
                    q.facts.name,
                    others.collect::<Vec<_>>()
                );
            }
        }
    }

    /// A message of a last value queue that only another with its key could have taken the place of.
    fn must_be_there(
        &self,
        q: &Queue,
        (number, c): (MessageId, &Copies),
        now: Time,
        after: After,
    ) -> bool {
        let sent = &self.messages[number as usize];
        let kept = q.facts.durable && sent.content.durable || after == After::Rest;
        kept && !sent.refused && c.came.0 > 0 && c.left.1 == 0 && sent.content.expires > now
    }

    /// A message that may have come, taken the place of others and left.
    fn may_have_left(
        &self,
        q: &Queue,
        (number, c): (MessageId, &Copies),
        now: Time,
        after: After,
    ) -> bool {
        let content = &self.messages[number as usize].content;
        let kept = q.facts.durable && content.durable || after == After::Rest;
        c.left.1 > 0 || !kept || content.expires <= now
    }

    /// A message that came to all its queues before another did.
    fn came_before(&self, number: MessageId, other: MessageId) -> bool {
        let (first, second) = (&self.messages[number as usize], &self.messages[other as usize]);
        let known = first.acknowledged.is_some_and(|next| next <= other);
        // When what was published in a branch takes its place is another's affair.
        let branch = first.branch || second.branch;
        number < other && !branch && (known || first.content.publisher == second.content.publisher)
    }
}

impl Queue {
    /// Only messages that were found are in the queue; or, in a last value queue after a crash, also older ones
    /// with the same keys: they give way when it has been read back, and may have gone elsewhere by then.
    pub(super) fn keep_found(
        &mut self,
        here: &BTreeMap<MessageId, u32>,
        messages: &[Sent],
        after: After,
    ) {
        let key = |n: &MessageId| messages[*n as usize].content.label.unwrap_or_default().key;
        let keys: BTreeSet<Option<u8>> = match after {
            After::Crash if self.facts.order == Order::LastValue => here.keys().map(key).collect(),
            _ => BTreeSet::new(),
        };
        self.copies.retain(|number, c| {
            let durable = messages[*number as usize].content.durable;
            let there = here.contains_key(number);
            if !there && durable && c.left.0 == 0 && keys.contains(&key(number)) {
                (c.came.0, c.left.1) = (0, OFTEN);
                return true;
            }
            there
        });
    }
}

/// Whether groups of a queue are known: from a ring, messages go that somebody has.
fn has_groups(facts: &QueueFacts) -> bool {
    facts.order == Order::Groups && facts.limit.kind != Kind::Ring
}
