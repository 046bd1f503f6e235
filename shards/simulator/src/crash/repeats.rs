//! Clients that publish messages again, as one does who has not heard whether the first got through: to queues that take
//! no message twice.
//!
//! Such a queue has a message once, from when anybody heard that it is safe or that somebody has taken it for good, over
//! crashes too; before, the next publish brings it if a crash has lost it.

use super::check::{After, AllFound};
use super::model::{Model, Queue};
use super::world::World;
use crate::message::{MessageId, message_id};
use fletch_amqp::types::Map;
use fletch_engine::topology::Routes;
use fletch_engine::{Message, QueueId, SessionId, Time};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A message is published again within so many.
const RECENT: usize = 30;
/// What a queue remembers: more than a seed publishes.
const WINDOW: i32 = 100_000;

/// What is known of messages that may be published again.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// These queues have had these messages: they take them no more.
    had: BTreeSet<(QueueId, MessageId)>,
    /// A crash has lost these, and nobody had them.
    lost: BTreeSet<(QueueId, MessageId)>,
}

impl World<'_> {
    /// Queues of such seeds take no message twice, most of them.
    pub(super) fn draw_window(&mut self, arguments: Map) -> Map {
        match self.mix.repeat_percent > 0 && self.rng.chance(80) {
            true => arguments.with("fletch.dedup_window", WINDOW),
            false => arguments,
        }
    }

    /// A message that was published before is published again, if all its queues are such that take none twice: its
    /// number, where it goes, and itself.
    pub(super) fn repeat(&mut self, id: SessionId) -> Option<(MessageId, Arc<str>, Message)> {
        if self.mix.repeat_percent == 0 || !self.rng.chance(self.mix.repeat_percent) {
            return None;
        }
        let next = self.model.next_message() as usize;
        let number = next.checked_sub(1 + self.rng.below(RECENT))?;
        let sent = &self.model.messages[number];
        let (content, (exchange, key)) = (sent.content, sent.target.clone()?);
        if !content.durable || content.expires != Time::NEVER || sent.branch {
            return None;
        }
        let (shard, message) = (id.shard(), content.arrives(self.now, &key));
        let mut routes = Routes::default();
        let topology = self.engines[shard.index()].topology();
        topology.route(&*exchange, &message, &mut routes).ok()?;
        let to: BTreeSet<QueueId> = routes.iter().map(|r| r.queue).collect();
        let same = to.iter().eq(sent.to.iter().collect::<BTreeSet<_>>());
        let takes_once = |queue: &QueueId| {
            self.model.queues.get(queue).is_some_and(|q| q.facts.takes_once && q.facts.durable)
        };
        if to.is_empty() || !same || !to.iter().all(takes_once) {
            return None;
        }
        let number = content.number;
        self.marks.hit("a message is published again", true);
        self.marks.hit("to several queues", to.len() > 1);
        self.model.republished(number);
        Some((number, exchange, message))
    }
}

impl Model {
    fn republished(&mut self, number: MessageId) {
        let sent = &mut self.messages[number as usize];
        (sent.repeated, sent.refused) = (true, false);
        sent.pending += 1;
        for queue in sent.to.clone() {
            let at = (queue, number);
            let q = self.queues.get(&queue);
            let is_known = q.is_some_and(|q| q.copies.get(&number).is_some_and(|c| c.came.1 > 0));
            if self.repeats.had.contains(&at) || is_known {
                continue;
            }
            let lost = self.repeats.lost.remove(&at);
            self.expect(queue, number);
            if !lost && let Some(c) = self.copies_of(queue, number) {
                // Somebody may have taken it before anybody heard of it.
                c.left.1 += 1;
            }
        }
        self.open.insert(number);
    }

    /// A queue has had a message: somebody heard so.
    pub(super) fn has_had(&mut self, queue: QueueId, number: MessageId) {
        // One that is being deleted takes nothing in, and a crash may bring it back.
        let takes_once = |q: &Queue| q.facts.takes_once && q.facts.durable && !self.may_go(q);
        if self.messages[number as usize].content.durable
            && self.queues.get(&queue).is_some_and(takes_once)
        {
            self.repeats.had.insert((queue, number));
        }
    }

    /// The delete of a queue is asked for. A crash may bring the queue back without what it remembered, as it may
    /// without its messages.
    pub(super) fn may_forget(&mut self, name: &str) {
        let queues = &self.queues;
        let named = |queue: &QueueId| queues.get(queue).is_some_and(|q| &*q.facts.name == name);
        self.repeats.had.retain(|(queue, _)| !named(queue));
    }

    /// Whether it is settled that a publish did not get through, and no other is under way.
    pub(super) fn is_refused(&mut self, number: MessageId) -> bool {
        let sent = &mut self.messages[number as usize];
        sent.pending = sent.pending.saturating_sub(1);
        let (pending, repeated) = (sent.pending, sent.repeated);
        let there = |q: &Queue| q.copies.get(&number).is_some_and(|c| c.came.0 > 0);
        let came = sent.to.iter().any(|queue| self.queues.get(queue).is_some_and(there));
        !repeated || pending == 0 && !came && sent.acknowledged.is_none()
    }

    /// What is there has been had, and what a crash has lost has not.
    pub(super) fn learn_repeats(&mut self, found: &AllFound, after: After) {
        for (queue, all) in found {
            let numbers: BTreeSet<MessageId> = all.iter().map(|f| message_id(&f.message)).collect();
            let Some(q) = self.queues.get(queue).filter(|q| q.facts.takes_once) else { continue };
            if after == After::Crash && !self.may_be_held(q) && !self.may_go(q) {
                let lost = q.copies.iter().filter(|(number, c)| {
                    c.came.1 > 0 && c.left.1 == 0 && !numbers.contains(number)
                });
                let lost = lost.map(|(number, _)| (*queue, *number));
                self.repeats.lost.extend(lost.filter(|at| !self.repeats.had.contains(at)));
            }
            let direct = |number: &MessageId| q.copies.get(number).is_some_and(|c| c.direct);
            let numbers: Vec<MessageId> = numbers.into_iter().filter(direct).collect();
            numbers.into_iter().for_each(|number| self.has_had(*queue, number));
        }
        if after == After::Crash {
            self.messages.iter_mut().for_each(|sent| sent.pending = 0);
        }
    }
}
