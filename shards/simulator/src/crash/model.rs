//! Which messages must be where, may be, and must not be: what clients were told, against what the
//! queues hold after a crash or at rest.
//!
//! Of each message in each queue the model keeps how often it came and how often it left: at least (as
//! far as anybody was told) and at most (as far as anybody has asked). A check compares that with what
//! is found, and from then on what was found is what there is.

use crate::message::{Content, MessageId, is_whole, message_id};
use crate::trace::Marks;
use fletch_engine::{DeliveryRef, Message, Position, QueueId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// More often than anything happens.
const OFTEN: u32 = 1 << 20;

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

#[derive(Clone, Copy, Debug)]
struct Copies {
    /// At least, at most.
    came: (u32, u32),
    left: (u32, u32),
    /// Of those that left at most: how many for the alternate exchange.
    moved: u32,
    /// It was published to this queue, and has not come here from another one.
    direct: bool,
    /// Delivered since the start of the broker.
    delivered: bool,
    /// Delivered to somebody who had to settle it, ever: if it comes back, it is said so.
    seen: bool,
    /// A crash has brought it back so.
    returned: bool,
    position: Option<Position>,
    /// Deliveries of the queue when it came.
    deliveries_before: u64,
}

/// A purge under way.
#[derive(Debug, Default)]
pub(super) struct Purge {
    /// Which of its queue's.
    number: u32,
    /// What it will take if nobody else does.
    sure: Vec<MessageId>,
}

/// What is known of a queue.
#[derive(Clone, Debug)]
pub(super) struct QueueFacts {
    pub(super) name: Arc<str>,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    /// Where its alternate exchange leads.
    pub(super) alternates: Vec<QueueId>,
}

#[derive(Debug)]
struct Queue {
    facts: QueueFacts,
    copies: BTreeMap<MessageId, Copies>,
    purges: u32,
    /// Purges asked for since the last check.
    purged: u32,
    deliveries: u64,
}

#[derive(Debug)]
struct Sent {
    content: Content,
    to: Vec<QueueId>,
    refused: bool,
    /// Delivered from any queue, ever.
    delivered: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Model {
    messages: Vec<Sent>,
    queues: BTreeMap<QueueId, Queue>,
    /// Names of queues that somebody deletes, and how many do.
    deleting: BTreeMap<Arc<str>, u32>,
    /// Names of queues that somebody has subscribed to: those which are auto-delete may go. And how: to
    /// settle what comes, or not.
    used: BTreeSet<Arc<str>>,
    settled: BTreeSet<Arc<str>>,
    taken: BTreeSet<Arc<str>>,
    /// Published since the last check.
    open: BTreeSet<MessageId>,
    pub(super) deliveries: u64,
}

impl Model {
    pub(super) fn next_message(&self) -> MessageId {
        self.messages.len() as MessageId
    }

    /// A queue that a message may go to.
    pub(super) fn know(&mut self, queue: QueueId, facts: impl FnOnce() -> QueueFacts) {
        self.queues.entry(queue).or_insert_with(|| Queue {
            facts: facts(),
            copies: BTreeMap::new(),
            purges: 0,
            purged: 0,
            deliveries: 0,
        });
    }

    // ---- what clients do -----------------------------------------------------------------

    /// A message was published to these queues.
    pub(super) fn published(&mut self, content: Content, to: Vec<QueueId>) {
        let number = self.next_message();
        assert_eq!(number, content.number, "messages are numbered in order");
        for queue in &to {
            let q = self.queues.get_mut(queue).expect("it is known");
            let left = if q.purges > 0 { OFTEN } else { 0 };
            q.copies.insert(
                number,
                Copies {
                    came: (0, 1),
                    left: (0, left),
                    moved: 0,
                    direct: true,
                    delivered: false,
                    seen: false,
                    returned: false,
                    position: None,
                    deliveries_before: q.deliveries,
                },
            );
        }
        self.messages.push(Sent { content, to, refused: false, delivered: false });
        self.open.insert(number);
    }

    /// It is safe.
    pub(super) fn acknowledged(&mut self, number: MessageId) {
        for queue in &self.messages[number as usize].to {
            if let Some(c) = self.queues.get_mut(queue).and_then(|q| q.copies.get_mut(&number)) {
                c.came.0 = c.came.1;
            }
        }
    }

    /// It was refused: at once, or when some queues had it already.
    pub(super) fn refused(&mut self, number: MessageId, at_once: bool) {
        let sent = &mut self.messages[number as usize];
        sent.refused = true;
        if at_once {
            for queue in &sent.to {
                self.queues.get_mut(queue).and_then(|q| q.copies.remove(&number));
            }
        }
    }

    /// The copies of a message that has shown up in a queue. One that nobody published there has come
    /// by an alternate exchange: how often is counted when it matters.
    fn copies(&mut self, queue: QueueId, number: MessageId) -> Option<&mut Copies> {
        let q = self.queues.get_mut(&queue)?;
        let deliveries_before = q.deliveries;
        Some(q.copies.entry(number).or_insert(Copies {
            came: (0, 0),
            left: (0, if q.purges > 0 { OFTEN } else { 0 }),
            moved: 0,
            direct: false,
            delivered: false,
            seen: false,
            returned: false,
            position: None,
            deliveries_before,
        }))
    }

    /// The queue's home sends a message to a consumer; `taken`: and it has left the queue by that.
    pub(super) fn sent(
        &mut self,
        at: DeliveryRef,
        message: &Message,
        redelivered: bool,
        taken: bool,
    ) {
        let number = message_id(message);
        self.deliveries += 1;
        let sent = self.messages.get_mut(number as usize);
        sent.expect("what is delivered was published").delivered = true;
        let alone = self.arrivals(at.queue, number) == 0;
        let Some(c) = self.copies(at.queue, number) else { return };
        if c.direct && alone {
            let position = *c.position.get_or_insert(at.position);
            assert_eq!(position, at.position, "message {number} has moved in {:?}", at.queue);
            assert!(
                redelivered || !c.returned || c.left.1 > 0,
                "message {number} comes from {:?} as if for the first time",
                at.queue
            );
        }
        c.delivered = true;
        c.seen |= !taken;
        c.left.1 += u32::from(taken);
        if let Some(q) = self.queues.get_mut(&at.queue) {
            q.deliveries += 1;
        }
    }

    /// The broker dies.
    pub(super) fn dies(&mut self) {
        for c in self.queues.values_mut().flat_map(|q| q.copies.values_mut()) {
            c.delivered = false;
        }
    }

    /// A consumer asks for the end of a delivery.
    pub(super) fn takes(&mut self, queue: QueueId, number: MessageId, rejects: bool) {
        if let Some(c) = self.copies(queue, number) {
            c.left.1 += 1;
            c.moved += u32::from(rejects);
        }
    }

    /// An accept was answered. A queue that was deleted meanwhile may have sent it on.
    pub(super) fn has_taken(&mut self, queue: QueueId, number: MessageId) {
        if let Some(c) = self.queues.get_mut(&queue).and_then(|q| q.copies.get_mut(&number)) {
            c.left.0 += 1;
        }
    }

    /// A purge is asked for.
    pub(super) fn purges(&mut self, queue: QueueId) -> Purge {
        let Some(q) = self.queues.get_mut(&queue) else { return Purge::default() };
        q.purges += 1;
        q.purged += 1;
        let mut sure = Vec::new();
        for (number, c) in &mut q.copies {
            let expires = self.messages[*number as usize].content.expires != Time::NEVER;
            if c.came == (1, 1) && c.left.1 == 0 && c.direct && !c.delivered && !expires {
                sure.push(*number);
            }
            c.left.1 = OFTEN;
        }
        Purge { number: q.purged, sure }
    }

    /// It was answered; `there` is what the queue has now, `None` if it is gone.
    pub(super) fn has_purged(
        &mut self,
        queue: QueueId,
        purge: &Purge,
        there: Option<&BTreeSet<MessageId>>,
    ) {
        let Some(q) = self.queues.get_mut(&queue) else { return };
        q.purges = q.purges.saturating_sub(1);
        // What another purge took need not be gone for good.
        let Some(there) = there.filter(|_| q.purges == 0 && q.purged == purge.number) else {
            return;
        };
        for number in purge.sure.iter().filter(|number| !there.contains(number)) {
            if let Some(c) = q.copies.get_mut(number).filter(|c| !c.delivered) {
                c.left.0 = 1;
            }
        }
    }

    /// The delete of a queue is asked for, or over.
    pub(super) fn deletes(&mut self, name: &Arc<str>, asked: bool) {
        let n = self.deleting.entry(Arc::clone(name)).or_default();
        if asked {
            *n += 1;
        } else {
            *n = n.saturating_sub(1);
        }
    }

    /// Somebody has a queue for himself.
    pub(super) fn uses(&mut self, name: &Arc<str>) {
        self.used.insert(Arc::clone(name));
    }

    /// Somebody subscribes to it.
    pub(super) fn subscribes(&mut self, name: &Arc<str>, settles: bool) {
        self.uses(name);
        let how = if settles { &mut self.settled } else { &mut self.taken };
        how.insert(Arc::clone(name));
    }

    /// Whether a message may have left a queue for a consumer who does not settle, and not have been
    /// sent: it waits until the journal knows of one to somebody else that was first.
    fn may_be_held(&self, q: &Queue) -> bool {
        let name = &q.facts.name;
        self.taken.contains(name) && self.settled.contains(name)
    }

    fn may_go(&self, q: &Queue) -> bool {
        let QueueFacts { name, auto_delete, .. } = &q.facts;
        self.deleting.get(name).is_some_and(|n| *n > 0) || *auto_delete && self.used.contains(name)
    }

    // ---- comparing -----------------------------------------------------------------------

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
            self.check_redelivered(found, marks);
        }
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
        let name = &q.facts.name;
        let moving = c.moved > 0 || !there || self.may_go(q);
        assert!(moving, "message {number} is lost from {name} ({queue:?}): {c:?}");
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

    /// How often a message may have come to a queue from others.
    fn arrivals(&self, queue: QueueId, number: MessageId) -> u32 {
        let mut n = 0;
        for (from, q) in &self.queues {
            if *from != queue
                && q.facts.alternates.contains(&queue)
                && let Some(c) = q.copies.get(&number)
            {
                n += c.came.1 + self.arrivals(*from, number);
            }
        }
        n
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
                if c.came.1 != 1 || self.arrivals(*queue, number) > 0 {
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
                let may =
                    c.returned || used || sent.delivered || q.deliveries > c.deliveries_before;
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
                if self.arrivals(*queue, number) > 0 {
                    continue;
                }
                assert!(
                    c.position.is_none_or(|p| p == *position),
                    "message {number} in {queue:?} is at {position}, not at {:?}",
                    c.position
                );
                let publisher = self.messages[number as usize].content.publisher;
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
        self.open.clear();
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
            }
            q.purged = q.purges;
            q.copies.retain(|number, _| here.contains_key(number));
            for Found { position, message, redelivered } in all {
                let number = message_id(message);
                let n = here[&number];
                let deliveries_before = q.deliveries;
                let c = q.copies.entry(number).or_insert(Copies {
                    came: (0, 0),
                    left: (0, 0),
                    moved: 0,
                    direct: false,
                    delivered: true,
                    seen: false,
                    returned: false,
                    position: None,
                    deliveries_before,
                });
                c.came = (n, n);
                c.left = (0, 0);
                c.moved = 0;
                c.direct &= n == 1 && !moved.contains(&(*queue, number));
                c.position = c.direct.then_some(*position);
                c.returned |= *redelivered && after == After::Crash;
                c.seen |= c.returned;
            }
        }
    }
}
