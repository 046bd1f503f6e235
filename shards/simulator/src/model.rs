//! The oracle: which messages each queue must have, who holds them, and what may be sent next.
//!
//! It learns of a change when a client asks for it, of a delivery when the home sends it, of a
//! queue's end when it is gone at its home. Where it cannot know which of two things came first it
//! keeps a lower and an upper bound; everything else is exact.

use crate::lifetimes::Lifetime;
use crate::limits::{Kind, Limit};
use fletch_engine::topology::QueueDescriptor;
use fletch_engine::{DeliveryRef, Position, QueueId, SessionId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A message's index.
pub(crate) use crate::message::MessageId;

/// Where a queue's dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Alternate {
    /// Nowhere, or to the queues of these names.
    Queues(Vec<Arc<str>>),
    /// To the first dead letter queue, and to the queue of this one's name if it is bound.
    Loop,
}

/// Names of the queues for dead letters. They are never deleted.
pub(crate) const DEAD: [&str; 2] = ["dead-0", "dead-1"];
/// Exchanges for dead letters: to the first of those queues, and to both.
pub(crate) const ALTERNATES: [&str; 2] = ["alternate-0", "alternate-1"];
/// The alternate exchange of [`LOOPED`], to which it may be bound itself.
pub(crate) const LOOP: &str = "loop";
/// The queue whose alternate leads back to it, in some seeds.
pub(crate) const LOOPED: &str = "looped";

#[derive(Debug)]
struct Message {
    publisher: SessionId,
    sequence: u64,
    due: Time,
    expires: Time,
    /// Where it went, if it may be refused and nobody has said.
    open: Vec<QueueId>,
}

/// Copies of one message in one queue: how many came, how many left by settling; at least, at most.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    came: (u64, u64),
    left: (u64, u64),
    /// Positions seen with this message.
    seen: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Free,
    Held(SessionId),
    /// Its holder has asked to release it.
    Releasing,
    /// Its holder has accepted or rejected it, or wanted no say.
    Gone,
}

#[derive(Debug)]
struct Entry {
    message: MessageId,
    hold: Hold,
    /// Released with the flag set.
    flagged: bool,
    /// Was acquired before.
    taken: bool,
}

#[derive(Debug)]
struct Queue {
    name: Arc<str>,
    alternate: Alternate,
    limit: Limit,
    deleted: bool,
    copies: BTreeMap<MessageId, Copies>,
    entries: BTreeMap<Position, Entry>,
    /// Messages only come by publishing, so a publisher's are in its order.
    ordered: bool,
    /// Per publisher: sequence numbers and positions.
    order: BTreeMap<SessionId, BTreeMap<u64, Position>>,
    /// The highest position a consumer got that was not taken before.
    front: Position,
    purged: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Model {
    messages: Vec<Message>,
    queues: BTreeMap<QueueId, Queue>,
    dead: Vec<(Arc<str>, QueueId)>,
    /// Copies that may have come to a queue of the looped name by its alternate exchange.
    looped: BTreeMap<MessageId, u64>,
    /// Of all queues, how they end.
    pub(crate) lifetimes: BTreeMap<QueueId, Lifetime>,
    /// Names of queues that somebody has asked to delete.
    pub(crate) delete_asked: BTreeSet<Arc<str>>,
    /// For the summary.
    pub(crate) deliveries: u64,
}

impl Model {
    // ---- queues --------------------------------------------------------------------------

    /// A queue exists, or will.
    pub(crate) fn know(&mut self, q: &QueueDescriptor) {
        if self.queues.contains_key(&q.id) {
            return;
        }
        let alternate = match q.alternate.as_deref() {
            None => Alternate::Queues(Vec::new()),
            Some(LOOP) => Alternate::Loop,
            Some(name) if name == ALTERNATES[0] => Alternate::Queues(vec![DEAD[0].into()]),
            Some(_) => Alternate::Queues(DEAD.iter().map(|name| Arc::from(*name)).collect()),
        };
        self.lifetimes.insert(q.id, Lifetime::of(q));
        let dead = DEAD.contains(&&*q.name);
        if dead {
            self.dead.push((Arc::clone(&q.name), q.id));
        }
        let queue = Queue {
            name: Arc::clone(&q.name),
            ordered: !dead && alternate != Alternate::Loop,
            alternate,
            limit: Limit::of(&q.arguments),
            deleted: false,
            copies: BTreeMap::new(),
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            front: 0,
            purged: 0,
        };
        self.queues.insert(q.id, queue);
    }

    /// Whether somebody holds a message of the queue.
    pub(crate) fn is_holding(&self, queue: QueueId) -> bool {
        let held = |entry: &Entry| matches!(entry.hold, Hold::Held(_));
        self.queues.get(&queue).is_some_and(|q| q.entries.values().any(held))
    }

    /// Whether the queue is gone at its home.
    pub(crate) fn is_deleted(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|q| q.deleted)
    }

    /// The queue is gone at its home; what it had went to its alternate exchange.
    pub(crate) fn deleted(&mut self, queue: QueueId) {
        let q = self.queues.get_mut(&queue).expect("a deleted queue was known");
        assert!(!q.deleted, "{queue:?} deleted twice");
        q.deleted = true;
        let (alternate, mut all) = (q.alternate.clone(), std::mem::take(&mut q.copies));
        if q.limit.kind == Kind::Ring {
            return; // Each message may have gone to the alternate since it came.
        }
        if alternate == Alternate::Loop {
            // Others may be here too, come by the alternate exchange of an earlier such queue.
            for message in self.looped.keys() {
                all.entry(*message).or_default();
            }
        }
        for (message, copies) in all {
            let least = copies.came.0.saturating_sub(copies.left.1);
            let mut most = copies.came.1;
            if alternate == Alternate::Loop {
                most += self.looped(message);
            }
            most = most.saturating_sub(copies.left.0);
            if alternate == Alternate::Loop {
                // As many as there were may be in the next such queue.
                self.looped.entry(message).and_modify(|n| *n = most.max(*n)).or_insert(most);
            }
            self.reroute(&alternate, message, (least, most));
        }
    }

    fn looped(&self, message: MessageId) -> u64 {
        self.looped.get(&message).copied().unwrap_or_default()
    }

    /// Copies go to the alternate exchange, which may lead back.
    fn loops(&mut self, alternate: &Alternate, message: MessageId, n: u64) {
        if *alternate == Alternate::Loop {
            *self.looped.entry(message).or_default() += n;
        }
    }

    fn reroute(&mut self, alternate: &Alternate, message: MessageId, n: (u64, u64)) {
        let names: Vec<Arc<str>> = match alternate {
            Alternate::Queues(names) => names.clone(),
            Alternate::Loop => vec![DEAD[0].into()],
        };
        for name in names {
            let dead = self.dead.iter().find(|(dead, _)| *dead == name);
            let (_, queue) = *dead.expect("dead letter queues are always there");
            self.come(queue, message, n);
        }
    }

    fn come(&mut self, queue: QueueId, message: MessageId, n: (u64, u64)) {
        let q = self.queues.get_mut(&queue).expect("the queue is known");
        if q.deleted {
            let alternate = q.alternate.clone();
            self.loops(&alternate, message, n.1);
            self.reroute(&alternate, message, n);
        } else {
            let copies = q.copies.entry(message).or_default();
            copies.came.0 += n.0;
            copies.came.1 += n.1;
            if q.limit.kind == Kind::Ring {
                let alternate = q.alternate.clone();
                self.loops(&alternate, message, n.1);
                self.reroute(&alternate, message, (0, n.1));
            }
        }
    }

    /// Whether one of these queues may refuse a message.
    fn may_refuse(&self, queues: &[QueueId]) -> bool {
        queues.iter().any(|q| self.queues[q].limit.kind == Kind::Reject)
    }

    /// Whether a queue holds publishers back.
    pub(crate) fn may_hold(&self, queue: QueueId) -> bool {
        self.queues[&queue].limit.holds
    }

    /// A queue never has more than it may, at its home.
    pub(crate) fn check_depth(&self, queue: QueueId, count: u64) {
        let limit = self.queues[&queue].limit;
        let bounded = matches!(limit.kind, Kind::Reject | Kind::Ring);
        let within = !bounded || count <= limit.count;
        assert!(within, "{queue:?} has {count} messages: {limit:?}");
    }

    /// A publish was refused: at once, so that it is nowhere, or by another shard.
    pub(crate) fn refused(&mut self, message: MessageId, at_once: bool) {
        for queue in std::mem::take(&mut self.messages[message as usize].open) {
            let q = self.queues.get_mut(&queue).filter(|q| at_once && !q.deleted);
            if let Some(copies) = q.and_then(|q| q.copies.get_mut(&message)) {
                copies.came.1 -= 1;
            }
        }
    }

    /// A publish is complete, or safe and held back.
    pub(crate) fn published(&mut self, message: MessageId) {
        for queue in std::mem::take(&mut self.messages[message as usize].open) {
            let q = self.queues.get_mut(&queue).filter(|q| !q.deleted);
            if let Some(copies) = q.and_then(|q| q.copies.get_mut(&message)) {
                copies.came.0 = copies.came.1;
            }
        }
    }

    /// Messages were purged from the queue.
    pub(crate) fn purged(&mut self, queue: QueueId, n: u64) {
        if let Some(q) = self.queues.get_mut(&queue) {
            q.purged += n;
        }
    }

    // ---- messages ------------------------------------------------------------------------

    /// Whether a message was not due when it was published.
    pub(crate) fn has_waited(&self, message: MessageId) -> bool {
        self.messages[message as usize].due > Time(0)
    }

    /// When the last message is due.
    pub(crate) fn last_due(&self) -> Time {
        self.messages.iter().map(|message| message.due).max().unwrap_or_default()
    }

    /// The number of the next message.
    pub(crate) fn next_message(&self) -> MessageId {
        self.messages.len() as MessageId
    }

    /// A message is about to be published to these queues, all known.
    pub(crate) fn publish(
        &mut self,
        publisher: SessionId,
        sequence: u64,
        (due, expires): (Time, Time),
        queues: impl Iterator<Item = QueueId>,
    ) {
        let message = self.next_message();
        let all: Vec<QueueId> = queues.collect();
        let refusable = self.may_refuse(&all);
        let open = if refusable { all.clone() } else { Vec::new() };
        self.messages.push(Message { publisher, sequence, due, expires, open });
        for queue in all {
            self.come(queue, message, (u64::from(!refusable), 1));
        }
    }

    /// The home sends a message to a subscription. `settles`: as a consumer who will settle it;
    /// `browses`: as a copy.
    pub(crate) fn emitted(
        &mut self,
        now: Time,
        session: SessionId,
        delivery: DeliveryRef,
        message: MessageId,
        redelivered: bool,
        (settles, browses): (bool, bool),
    ) {
        self.deliveries += 1;
        let known = self.messages.get(message as usize).expect("a message that was published");
        assert!(known.expires > now, "message {message} was sent after it expired");
        assert!(known.due <= now, "message {message} was sent before it was due");
        let looped = self.looped(message);
        let q = self.queues.get_mut(&delivery.queue).expect("deliveries come from known queues");
        assert!(!q.deleted, "delivery {delivery:?} of a deleted queue");
        let copies = q.copies.entry(message).or_default();
        let entry = q.entries.entry(delivery.position).or_insert_with(|| {
            copies.seen += 1;
            Entry { message, hold: Hold::Free, flagged: false, taken: false }
        });
        let name = &q.name;
        assert!(entry.message == message, "two messages at {delivery:?}");
        let most = copies.came.1 + if q.alternate == Alternate::Loop { looped } else { 0 };
        assert!(copies.seen <= most, "message {message} came to {name} {} times", copies.seen);
        if q.ordered {
            let order = q.order.entry(known.publisher).or_default();
            order.insert(known.sequence, delivery.position);
            let before = order.range(..known.sequence).next_back();
            let after = order.range(known.sequence + 1..).next();
            let in_order = before.is_none_or(|(_, p)| *p < delivery.position)
                && after.is_none_or(|(_, p)| *p > delivery.position);
            assert!(in_order, "message {message} is out of its publisher's order in {name}");
        }
        match entry.hold {
            Hold::Free | Hold::Releasing => {}
            Hold::Held(by) => panic!("{delivery:?} is held by {by:?} and sent to {session:?}"),
            Hold::Gone => panic!("{delivery:?} was settled and is sent to {session:?}"),
        }
        if browses {
            return;
        }
        assert!(
            redelivered == entry.flagged,
            "{delivery:?}: redelivered is {redelivered}, not {}",
            entry.flagged
        );
        // What comes when it is due may come behind others.
        if !entry.taken && known.due == Time(0) {
            assert!(q.front < delivery.position, "{delivery:?} comes after {}", q.front);
            q.front = delivery.position;
        }
        entry.taken = true;
        if settles {
            entry.hold = Hold::Held(session);
        } else {
            entry.hold = Hold::Gone;
            copies.left.0 += 1;
            copies.left.1 += 1;
        }
    }

    /// A browsed message is now the session's; false if its queue is gone.
    pub(crate) fn acquired(&mut self, session: SessionId, delivery: DeliveryRef) -> bool {
        let q = self.queues.get_mut(&delivery.queue).expect("acquired from a known queue");
        if q.deleted {
            return false;
        }
        let entry = q.entries.get_mut(&delivery.position).expect("acquired what was delivered");
        let free = matches!(entry.hold, Hold::Free | Hold::Releasing);
        assert!(free, "{session:?} acquired {delivery:?}, which is {:?}", entry.hold);
        entry.hold = Hold::Held(session);
        entry.taken = true;
        true
    }

    /// The holder of a delivery settles it: what it is. `None` if its queue is gone.
    fn settles(
        &mut self,
        session: SessionId,
        delivery: DeliveryRef,
    ) -> Option<(&mut Entry, &mut Copies)> {
        let q = self.queues.get_mut(&delivery.queue).expect("settled at a known queue");
        if q.deleted {
            return None;
        }
        let entry = q.entries.get_mut(&delivery.position).expect("settled what was delivered");
        assert!(entry.hold == Hold::Held(session), "{session:?} settles what it does not hold");
        let copies = q.copies.entry(entry.message).or_default();
        Some((entry, copies))
    }

    /// Asked to accept.
    pub(crate) fn accepts(&mut self, session: SessionId, delivery: DeliveryRef) {
        if let Some((entry, copies)) = self.settles(session, delivery) {
            entry.hold = Hold::Gone;
            copies.left.1 += 1;
        }
    }

    /// The accept was answered.
    pub(crate) fn accepted(&mut self, delivery: DeliveryRef) {
        let q = self.queues.get_mut(&delivery.queue).expect("settled at a known queue");
        if q.deleted {
            return;
        }
        let Some(entry) = q.entries.get(&delivery.position) else { return };
        q.copies.entry(entry.message).or_default().left.0 += 1;
    }

    /// Asked to release.
    pub(crate) fn releases(&mut self, session: SessionId, delivery: DeliveryRef, flag: bool) {
        if let Some((entry, _)) = self.settles(session, delivery) {
            entry.hold = Hold::Releasing;
            entry.flagged |= flag;
        }
    }

    /// Asked to reject: whether the queue is deleted before or after, the message goes to its
    /// alternate exchange once.
    pub(crate) fn rejects(&mut self, session: SessionId, delivery: DeliveryRef) {
        let Some((entry, copies)) = self.settles(session, delivery) else { return };
        entry.hold = Hold::Gone;
        copies.left.0 += 1;
        copies.left.1 += 1;
        let message = entry.message;
        let q = &self.queues[&delivery.queue];
        let alternate = q.alternate.clone();
        // A ring may have sent it there before.
        let most = u64::from(q.limit.kind != Kind::Ring);
        self.loops(&alternate, message, most);
        self.reroute(&alternate, message, (1, most));
    }

    // ---- the end -------------------------------------------------------------------------

    /// All sessions have ended and all channels are empty: this is what a queue has.
    /// `displaced`: so many gave way to others.
    pub(crate) fn check_left(
        &self,
        now: Time,
        (queue, displaced): (QueueId, u64),
        found: &BTreeMap<MessageId, u64>,
    ) {
        let q = &self.queues[&queue];
        let from_deleted = self.queues.values().filter(|other| {
            other.deleted
                && match &other.alternate {
                    Alternate::Queues(names) => names.contains(&q.name),
                    Alternate::Loop => *q.name == *DEAD[0],
                }
        });
        let mut allowed =
            displaced + q.purged + from_deleted.map(|other| other.purged).sum::<u64>();
        for (message, copies) in &q.copies {
            let n = found.get(message).copied().unwrap_or_default();
            let expired = self.messages[*message as usize].expires <= now;
            let least = copies.came.0.saturating_sub(copies.left.1);
            if n < least && !expired {
                let missing = least - n;
                assert!(
                    missing <= allowed,
                    "message {message} is lost from {} ({queue:?}): {n} there, {copies:?}",
                    q.name
                );
                allowed -= missing;
            }
        }
        for (message, n) in found {
            let copies = q.copies.get(message).copied().unwrap_or_default();
            let looped = if q.alternate == Alternate::Loop { self.looped(*message) } else { 0 };
            let most = (copies.came.1 + looped).saturating_sub(copies.left.0);
            assert!(
                *n <= most,
                "message {message} is {n} times in {} ({queue:?}): {copies:?}",
                q.name
            );
        }
    }
}
