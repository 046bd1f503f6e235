//! The model's comparison of what must be, may be and must not be with what is found: from then on,
//! what was found is what there is.

use super::model::{Copies, Model, Queue, Sent};
use crate::limits::Kind;
use crate::message::{MessageId, is_whole, message_id};
use crate::trace::Marks;
use fletch_engine::{Message, Position, QueueId, Time};
use std::collections::{BTreeMap, BTreeSet};

/// A message in a queue, as found there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) position: Position,
    pub(super) message: Message,
    pub(super) redelivered: bool,
}

/// All queues that are there.
pub(super) type AllFound = BTreeMap<QueueId, Vec<Found>>;

/// What was before a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Crash,
    Rest,
}

impl Model {
    /// Compares with what is there.
    pub(super) fn check(&mut self, found: &AllFound, now: Time, after: After, marks: &mut Marks) {
        let counts = self.count(found, after);
        let n = |queue: QueueId, number: MessageId| {
            counts.get(&queue).and_then(|c| c.get(&number)).copied().unwrap_or(0)
        };
        for (queue, q) in &self.queues {
            let there = found.contains_key(queue);
            for (number, c) in &q.copies {
                self.check_lost(*queue, q, there, (*number, c), now, after, &n, marks);
            }
        }
        for (queue, all) in &counts {
            for (number, n) in all {
                self.check_most(*queue, *number, *n);
            }
        }
        if after == After::Crash {
            self.check_whole(found, now, &n, marks);
            self.check_transactions(found, now, &n, marks);
            self.check_redelivered(found, marks);
            let due = |found: &Found| {
                self.messages[message_id(&found.message) as usize].content.due() > now
            };
            let any = found.values().flatten().any(due);
            marks.hit("messages after a crash that are not due", any);
        }
        self.check_last_values(found, now, after);
        self.check_order(found);
        self.accept(found, &counts, after);
    }

    /// Compares after faults that no journal can stand: nothing was made up.
    pub(super) fn check_content(&mut self, found: &AllFound) {
        self.count(found, After::Crash);
    }

    fn count(&self, found: &AllFound, after: After) -> BTreeMap<QueueId, BTreeMap<MessageId, u32>> {
        let mut counts = BTreeMap::new();
        for (queue, all) in found {
            let mut here: BTreeMap<MessageId, u32> = BTreeMap::new();
            for Found { message, .. } in all {
                let number = message_id(message);
                let sent = self.messages.get(number as usize);
                let content = sent.map(|sent| sent.content);
                let content = content.unwrap_or_else(|| panic!("{number} was never published"));
                assert!(is_whole(message, content.size), "message {number} is another one");
                assert!(message.meta().expires == content.expires, "{number} expires elsewhen");
                let priority = content.label.unwrap_or_default().priority;
                assert!(message.meta().priority == priority, "{number} has another priority");
                let durable = content.durable || after == After::Rest;
                assert!(durable, "message {number} is not durable and has come back");
                *here.entry(number).or_default() += 1;
            }
            counts.insert(*queue, here);
        }
        counts
    }

    #[expect(clippy::too_many_arguments, reason = "one check, called once")]
    fn check_lost(
        &self,
        queue: QueueId,
        q: &Queue,
        there: bool,
        (number, c): (MessageId, &Copies),
        now: Time,
        after: After,
        n: &impl Fn(QueueId, MessageId) -> u32,
        marks: &mut Marks,
    ) {
        let Sent { content, refused, .. } = &self.messages[number as usize];
        let kept = q.facts.durable && content.durable && !*refused || after == After::Rest;
        let least = c.came.0.saturating_sub(c.left.1 - c.moved);
        if !kept || n(queue, number) >= least || content.expires <= now || self.may_be_held(q) {
            return;
        }
        if self.may_be_replaced(q, number) {
            return; // That its key is there is another check.
        }
        let name = &q.facts.name;
        let moving = c.moved > 0 || !there || self.may_go(q);
        assert!(moving, "message {number} is lost from {name} ({queue:?}): {c:?}");
        if c.transacted {
            return; // Its queue may have been deleted before the commit.
        }
        for alternate in &q.facts.alternates {
            marks.hit("moved to an alternate exchange", true);
            let to = self.queues.get(alternate);
            let left = to.and_then(|q| q.copies.get(&number)).is_some_and(|c| c.left.1 > 0);
            let left = left || to.is_some_and(|q| q.purged > 0 || self.may_be_held(q));
            let there = n(*alternate, number) > 0 || left;
            assert!(
                there,
                "message {number} has left {name} ({queue:?}) and is not in {alternate:?}: {c:?}"
            );
        }
    }

    fn check_most(&self, queue: QueueId, number: MessageId, n: u32) {
        let c = self.queues.get(&queue).and_then(|q| q.copies.get(&number));
        let most = c.map_or(0, |c| c.came.1.saturating_sub(c.left.0));
        if n > most {
            let all = most + self.arrivals(queue, number);
            assert!(n <= all, "message {number} is {n} times in {queue:?}, {all} at most: {c:?}");
        }
    }

    /// A message is on all its durable queues or on none.
    fn check_whole(
        &self,
        found: &AllFound,
        now: Time,
        n: &impl Fn(QueueId, MessageId) -> u32,
        marks: &mut Marks,
    ) {
        for number in &self.open {
            let Sent { content, to, refused, .. } = &self.messages[*number as usize];
            if !content.durable || content.expires <= now {
                continue;
            }
            let (mut present, mut missing) = (None, None);
            for queue in to {
                let Some(q) = self.queues.get(queue).filter(|q| q.facts.durable) else { continue };
                if n(*queue, *number) > 0 {
                    let whole = q.copies.get(number).is_some_and(|c| c.direct);
                    let whole = whole && self.arrivals(*queue, *number) == 0;
                    assert!(
                        !refused || !whole,
                        "message {number} was refused and is in {queue:?} all the same"
                    );
                    present = present.or(whole.then_some(*queue));
                    continue;
                }
                let left = q.copies.get(number).is_none_or(|c| c.left.1 > 0);
                let left = left || self.may_be_replaced(q, *number);
                if !left && !self.may_go(q) && !self.may_be_held(q) && found.contains_key(queue) {
                    missing = Some(*queue);
                }
            }
            marks.hit("a publish to several queues was undone", to.len() > 1 && present.is_none());
            assert!(
                present.is_none() || missing.is_none(),
                "message {number} is in {present:?}, but not in {missing:?}"
            );
        }
    }

    fn check_redelivered(&self, found: &AllFound, marks: &mut Marks) {
        for (queue, all) in found {
            let Some(q) = self.queues.get(queue) else { continue };
            for Found { position, message, redelivered } in all {
                let number = message_id(message);
                let Some(c) = q.copies.get(&number).filter(|c| c.direct) else { continue };
                let repeated = self.messages[number as usize].repeated;
                if c.came.1 != 1 || repeated || self.arrivals(*queue, number) > 0 {
                    continue;
                }
                let due = c.seen;
                marks.hit("redelivered after a crash", due);
                assert!(
                    *redelivered || !due,
                    "message {number} in {queue:?} at {position} was delivered, which is forgotten"
                );
                let sent = &self.messages[number as usize];
                // The journal knows before it is sent: to anybody who subscribed.
                let used = self.used.contains(&q.facts.name);
                // What comes to a kept place may come behind one that was.
                let may = c.returned
                    || used
                    || sent.delivered
                    || sent.branch
                    || q.deliveries > c.deliveries_before;
                assert!(
                    may || !redelivered,
                    "message {number} in {queue:?} at {position} was never delivered"
                );
            }
        }
    }

    /// Messages of one publisher are in the order in which they were published.
    fn check_order(&self, found: &AllFound) {
        for (queue, all) in found {
            let Some(q) = self.queues.get(queue) else { continue };
            let mut last = BTreeMap::new();
            for Found { position, message, .. } in all {
                let number = message_id(message);
                let Some(c) = q.copies.get(&number).filter(|c| c.direct && c.came.1 == 1) else {
                    continue;
                };
                // Which of its publishes brought it nobody knows.
                let repeated = self.messages[number as usize].repeated;
                if repeated || self.arrivals(*queue, number) > 0 {
                    continue;
                }
                assert!(
                    c.position.is_none_or(|p| p == *position),
                    "message {number} in {queue:?} is at {position}, not at {:?}",
                    c.position
                );
                let Sent { content, branch, .. } = &self.messages[number as usize];
                if *branch {
                    continue;
                }
                let publisher = content.publisher;
                let before = last.insert(publisher, number);
                assert!(
                    before.is_none_or(|before| before < number),
                    "message {number} of {publisher:?} comes after {before:?} in {queue:?}"
                );
            }
        }
    }

    /// From now on, what was found is what there is.
    fn accept(
        &mut self,
        found: &AllFound,
        counts: &BTreeMap<QueueId, BTreeMap<MessageId, u32>>,
        after: After,
    ) {
        self.learn_repeats(found, after);
        self.open.clear();
        self.transactions.clear();
        let mut moved = BTreeSet::new();
        for (queue, all) in found {
            let numbers = all.iter().map(|found| message_id(&found.message));
            moved.extend(
                numbers.filter(|n| self.arrivals(*queue, *n) > 0).map(|number| (*queue, number)),
            );
        }
        if after == After::Crash {
            self.deleting.clear();
            self.used.clear();
            self.settled.clear();
            self.taken.clear();
        }
        self.queues.retain(|queue, _| found.contains_key(queue));
        for (queue, all) in found {
            let Some(q) = self.queues.get_mut(queue) else { continue };
            let here = &counts[queue];
            if after == After::Crash {
                q.purges = 0;
                q.reroutes = 0;
            }
            q.purged = q.purges;
            q.keep_found(here, &self.messages, after);
            let displaces = q.facts.limit.kind == Kind::Ring;
            let left = if displaces { q.may_leave() } else { 0 };
            for Found { position, message, redelivered } in all {
                let number = message_id(message);
                let n = here[&number];
                let new = Copies { delivered: true, ..q.no_copies() };
                let c = q.copies.entry(number).or_insert(new);
                c.came = (n, n);
                c.left = (0, left);
                c.moved = 0;
                c.direct &= n == 1 && !moved.contains(&(*queue, number));
                c.position = c.direct.then_some(*position);
                c.returned |= *redelivered && after == After::Crash;
                c.seen |= c.returned;
            }
        }
    }
}
