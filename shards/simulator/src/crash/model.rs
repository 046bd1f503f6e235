//! Which messages must be where, may be, and must not be: what clients were told, against what the
//! queues hold after a crash or at rest.
//!
//! Of each message in each queue the model keeps how often it came and how often it left: at least (as
//! far as anybody was told) and at most (as far as anybody has asked). Here it learns; `check` compares.

use super::orders::Order;
use super::repeats::Repeats;
use super::transaction::Work;
use crate::limits::{Kind, Limit};
use crate::message::{Content, MessageId, message_id};
use fletch_engine::{DeliveryRef, Message, Mode, Position, QueueId, SubscriptionId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// More often than anything happens.
pub(super) const OFTEN: u32 = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub(super) struct Copies {
    /// At least, at most.
    pub(super) came: (u32, u32),
    pub(super) left: (u32, u32),
    /// Of those that left at most: how many for the alternate exchange.
    pub(super) moved: u32,
    /// It was published to this queue, and has not come here from another one.
    pub(super) direct: bool,
    /// It was published in a transaction.
    pub(super) transacted: bool,
    /// Its queue may have been gone when its branch was prepared, which a crash has undone.
    pub(super) discarded: bool,
    /// Delivered since the start of the broker.
    pub(super) delivered: bool,
    /// Delivered to somebody who had to settle it, ever: if it comes back, it is said so.
    pub(super) seen: bool,
    /// A crash has brought it back so.
    pub(super) returned: bool,
    pub(super) position: Option<Position>,
    /// Deliveries of the queue when it came.
    pub(super) deliveries_before: u64,
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
    pub(super) limit: Limit,
    pub(super) order: Order,
    /// No message comes to it twice.
    pub(super) takes_once: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) facts: QueueFacts,
    pub(super) copies: BTreeMap<MessageId, Copies>,
    pub(super) purges: u32,
    /// Reroutes to its alternate exchange that are under way.
    pub(super) reroutes: u32,
    /// Purges asked for since the last check.
    pub(super) purged: u32,
    pub(super) deliveries: u64,
    /// Of each group, messages that somebody has, and who.
    pub(super) groups: BTreeMap<Option<u8>, BTreeMap<MessageId, SubscriptionId>>,
}

impl Queue {
    /// How often a message may leave it though nobody has taken it.
    pub(super) fn may_leave(&self) -> u32 {
        let displaces = self.facts.limit.kind == Kind::Ring;
        if self.purges > 0 || displaces { OFTEN } else { self.reroutes }
    }

    /// What is known now of a message that nobody has published to it: should one show up, what is under way
    /// concerns it too.
    pub(super) fn no_copies(&self) -> Copies {
        Copies {
            came: (0, 0),
            left: (0, self.may_leave()),
            moved: self.reroutes,
            direct: false,
            transacted: false,
            discarded: false,
            delivered: false,
            seen: false,
            returned: false,
            position: None,
            deliveries_before: self.deliveries,
        }
    }
}

#[derive(Debug)]
pub(super) struct Sent {
    pub(super) content: Content,
    pub(super) to: Vec<QueueId>,
    pub(super) refused: bool,
    /// The number of the message that was next when it was acknowledged.
    pub(super) acknowledged: Option<MessageId>,
    /// Delivered from any queue, ever.
    pub(super) delivered: bool,
    /// Published in a branch.
    pub(super) branch: bool,
    /// Exchange and key that it was published with.
    pub(super) target: Option<(Arc<str>, Arc<str>)>,
    /// Published more than once.
    pub(super) repeated: bool,
    /// Publishes of it that nobody has heard of.
    pub(super) pending: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) messages: Vec<Sent>,
    pub(super) queues: BTreeMap<QueueId, Queue>,
    /// Names of queues that somebody deletes, and how many do.
    pub(super) deleting: BTreeMap<Arc<str>, u32>,
    /// Names of queues that somebody has subscribed to: those which are auto-delete may go. And how: to
    /// settle what comes, or not.
    pub(super) used: BTreeSet<Arc<str>>,
    pub(super) settled: BTreeSet<Arc<str>>,
    pub(super) taken: BTreeSet<Arc<str>>,
    /// Published since the last check.
    pub(super) open: BTreeSet<MessageId>,
    /// Committed since the last check.
    pub(super) transactions: Vec<Work>,
    pub(super) repeats: Repeats,
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
            reroutes: 0,
            purged: 0,
            deliveries: 0,
            groups: BTreeMap::new(),
        });
    }

    // ---- what clients do -----------------------------------------------------------------

    /// A message was published to these queues.
    pub(super) fn published(&mut self, content: Content, to: Vec<QueueId>) {
        let number = self.next_message();
        assert_eq!(number, content.number, "messages are numbered in order");
        to.iter().for_each(|queue| self.expect(*queue, number));
        self.messages.push(Sent {
            content,
            to,
            refused: false,
            acknowledged: None,
            delivered: false,
            branch: false,
            target: None,
            repeated: false,
            pending: 1,
        });
        self.open.insert(number);
    }

    /// A message may come to a queue that is known.
    pub(super) fn expect(&mut self, queue: QueueId, number: MessageId) {
        let q = self.queues.get_mut(&queue).expect("it is known");
        let copies = Copies { came: (0, 1), direct: true, ..q.no_copies() };
        q.copies.insert(number, copies);
    }

    /// It is safe.
    pub(super) fn acknowledged(&mut self, number: MessageId) {
        let next = self.next_message();
        let sent = &mut self.messages[number as usize];
        sent.acknowledged.get_or_insert(next);
        sent.pending = sent.pending.saturating_sub(1);
        sent.refused = false;
        sent.to.clone().into_iter().for_each(|queue| self.has_had(queue, number));
        for queue in &self.messages[number as usize].to {
            if let Some(c) = self.queues.get_mut(queue).and_then(|q| q.copies.get_mut(&number))
                && !c.discarded
            {
                c.came.0 = c.came.1;
            }
        }
    }

    /// It was refused: at once, or when some queues had it already.
    pub(super) fn refused(&mut self, number: MessageId, at_once: bool) {
        if !self.is_refused(number) {
            return;
        }
        let sent = &mut self.messages[number as usize];
        sent.refused = true;
        if at_once {
            for queue in &sent.to {
                self.queues.get_mut(queue).and_then(|q| q.copies.remove(&number));
            }
        }
    }

    /// The copies of a message in a queue, if it is known there.
    pub(super) fn copies_of(&mut self, queue: QueueId, number: MessageId) -> Option<&mut Copies> {
        self.queues.get_mut(&queue)?.copies.get_mut(&number)
    }

    /// The copies of a message that has shown up in a queue. One that nobody published there has come
    /// by an alternate exchange: how often is counted when it matters.
    fn copies(&mut self, queue: QueueId, number: MessageId) -> Option<&mut Copies> {
        let q = self.queues.get_mut(&queue)?;
        let none = q.no_copies();
        Some(q.copies.entry(number).or_insert(none))
    }

    /// The queue's home sends a message to somebody, who has to settle it, or takes it by that, or sees
    /// it only.
    pub(super) fn sent(
        &mut self,
        at: DeliveryRef,
        message: &Message,
        redelivered: bool,
        (held, taken): (bool, bool),
    ) {
        let number = message_id(message);
        self.deliveries += 1;
        let sent = self.messages.get_mut(number as usize);
        let sent = sent.expect("what is delivered was published");
        sent.delivered = true;
        let alone = !sent.repeated && self.arrivals(at.queue, number) == 0;
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
        c.seen |= held;
        c.left.1 += u32::from(taken);
        if let Some(q) = self.queues.get_mut(&at.queue) {
            q.deliveries += 1;
        }
    }

    /// The broker dies.
    pub(super) fn dies(&mut self) {
        for q in self.queues.values_mut() {
            q.copies.values_mut().for_each(|c| c.delivered = false);
            q.groups.clear();
        }
    }

    /// A consumer asks for the end of a delivery.
    pub(super) fn takes(&mut self, queue: QueueId, number: MessageId, rejects: bool) {
        self.gives_up(queue, number);
        if let Some(c) = self.copies(queue, number) {
            c.left.1 += 1;
            c.moved += u32::from(rejects);
        }
    }

    /// An accept was answered. A queue that was deleted meanwhile may have sent it on.
    pub(super) fn has_taken(&mut self, queue: QueueId, number: MessageId) {
        self.has_had(queue, number);
        let q = self.queues.get_mut(&queue);
        // What a ring has displaced meanwhile leaves its journal when it is safe where it went.
        let moves = |q: &Queue| q.facts.limit.kind == Kind::Ring && !q.facts.alternates.is_empty();
        if let Some(c) = q.filter(|q| !moves(q)).and_then(|q| q.copies.get_mut(&number)) {
            c.left.0 += 1;
        }
    }

    /// A purge is asked for.
    pub(super) fn purges(&mut self, queue: QueueId) -> Purge {
        let Some(q) = self.queues.get_mut(&queue) else { return Purge::default() };
        q.purges += 1;
        q.purged += 1;
        let mut sure = Vec::new();
        let by_arrival = q.facts.order != Order::LastValue;
        for (number, c) in &mut q.copies {
            let Sent { content, to, .. } = &self.messages[*number as usize];
            let expires = content.expires != Time::NEVER;
            // If there is another queue on another shard, such a queue has it only when it learns of the
            // decision, and it is confirmed before.
            let later = q.facts.takes_once && content.durable && to.len() > 1;
            if c.came == (1, 1)
                && !later
                && c.left.1 == 0
                && c.direct
                && !c.delivered
                && !expires
                && by_arrival
            {
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
        // What another purge took need not be gone for good, nor what was rejected or rerouted before it
        // came: that stays a message of this queue for the journal until it is safe where it went.
        let Some(there) = there.filter(|_| q.purges == 0 && q.purged == purge.number) else {
            return;
        };
        for number in purge.sure.iter().filter(|number| !there.contains(number)) {
            if let Some(c) = q.copies.get_mut(number).filter(|c| !c.delivered && c.moved == 0) {
                c.left.0 = 1;
            }
        }
    }

    /// A reroute of some of a queue's messages to its alternate exchange is asked for.
    pub(super) fn reroutes(&mut self, queue: QueueId) {
        let Some(q) = self.queues.get_mut(&queue) else { return };
        q.reroutes += 1;
        for c in q.copies.values_mut() {
            c.left.1 += 1;
            c.moved += 1;
        }
    }

    /// It was answered.
    pub(super) fn has_rerouted(&mut self, queue: QueueId) {
        if let Some(q) = self.queues.get_mut(&queue) {
            q.reroutes = q.reroutes.saturating_sub(1);
        }
    }

    /// The delete of a queue is asked for, or over.
    pub(super) fn deletes(&mut self, name: &Arc<str>, asked: bool) {
        let n = self.deleting.entry(Arc::clone(name)).or_default();
        if asked {
            *n += 1;
            self.may_forget(name);
        } else {
            *n = n.saturating_sub(1);
        }
    }

    /// Somebody has a queue for himself.
    pub(super) fn uses(&mut self, name: &Arc<str>) {
        self.used.insert(Arc::clone(name));
    }

    /// Somebody subscribes to it.
    pub(super) fn subscribes(&mut self, name: &Arc<str>, mode: Mode, settles: bool) {
        self.uses(name);
        if mode == Mode::Consume {
            let how = if settles { &mut self.settled } else { &mut self.taken };
            how.insert(Arc::clone(name));
        }
    }

    /// Whether a message may have left a queue for a consumer who does not settle, and not have been
    /// sent: it waits until the journal knows of one to somebody else that was first.
    pub(super) fn may_be_held(&self, q: &Queue) -> bool {
        let name = &q.facts.name;
        self.taken.contains(name) && self.settled.contains(name)
    }

    pub(super) fn may_go(&self, q: &Queue) -> bool {
        let QueueFacts { name, auto_delete, .. } = &q.facts;
        // One that is deleted by itself may be as soon as it is empty.
        self.deleting.get(name).is_some_and(|n| *n > 0) || *auto_delete
    }

    /// How often a message may have come to a queue from others.
    pub(super) fn arrivals(&self, queue: QueueId, number: MessageId) -> u32 {
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
}
