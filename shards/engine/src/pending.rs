//! Work of this shard's sessions that waits for other shards or for the disk.

use crate::error::Error;
use crate::ids::{Epoch, SessionId, ShardId};
use crate::request::{DeliveryRef, OpId, Reply};
use crate::topology::FixedMap;
use fletch_journal::{Seq, Xid};
use slab::Slab;
use smallvec::SmallVec;

/// Publishes under way, by slot: to other shards, or to be durable here.
#[derive(Debug, Default)]
pub(crate) struct Publishes {
    all: Slab<Publish>,
    /// Those that wait for nothing but queues that hold them back.
    withheld: usize,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) origin: Origin,
    receipts_missing: u16,
    /// Queues that hold it back; it is not complete before they do not.
    holds: u16,
    /// The transaction it is prepared under, and where.
    pub(crate) prepared: Option<Box<Prepared>>,
    /// A home refused it.
    pub(crate) refused: Option<Box<Error>>,
}

/// Where a publish comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// A session here.
    Session(SessionId, OpId),
    /// A queue that was here or is: the journalled message leaves it for good when it is safe
    /// elsewhere.
    Queue { from: DeliveryRef, place: Seq, size: usize, reject: Option<u32> },
    /// A session here that is noted to have publishes under way; see `engine/away.rs`.
    Away(SessionId, OpId),
    /// A publish of another shard to an exchange whose home this is.
    Routed { to: ShardId, slot: u32 },
    /// A message that an exchange has kept, for a binding that this change has made.
    Initial(Epoch),
    /// Another publish: one of its queues was deleted while it was under way, and this goes where the
    /// queue's messages went. It counts as a receipt of that one.
    Publish { to: ShardId, slot: u32 },
    /// A session that has been told it is refused, while queues that took it hold it back.
    Nobody,
}

/// Rejections and moves at homes here that wait until what was rejected or moved is safe where it went.
#[derive(Debug, Default)]
pub(crate) struct Rejections(Slab<Rejection>);

#[derive(Debug)]
struct Rejection {
    asker: (SessionId, OpId),
    missing: u32,
    /// The answer to a move; a rejection is a part of a settlement.
    reply: Option<Reply>,
}

impl Rejections {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more rejection of so many messages that have to be safe elsewhere.
    pub(crate) fn insert(&mut self, asker: (SessionId, OpId), missing: u32) -> u32 {
        self.0.insert(Rejection { asker, missing, reply: None }) as u32
    }

    /// One more message.
    pub(crate) fn add(&mut self, key: u32) {
        if let Some(rejection) = self.0.get_mut(key as usize) {
            rejection.missing += 1;
        }
    }

    /// What a move is answered with.
    pub(crate) fn set_reply(&mut self, key: u32, reply: Reply) {
        if let Some(rejection) = self.0.get_mut(key as usize) {
            rejection.reply = Some(reply);
        }
    }

    /// One of them is. Who asked and the answer to a move, if that was the last.
    pub(crate) fn moved(&mut self, key: u32) -> Option<((SessionId, OpId), Option<Reply>)> {
        let rejection = self.0.get_mut(key as usize)?;
        rejection.missing -= 1;
        let over = rejection.missing == 0;
        over.then(|| self.0.remove(key as usize)).map(|r| (r.asker, r.reply))
    }
}

/// A publish to several shards that is prepared on these.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) xid: Xid,
    pub(crate) homes: SmallVec<[ShardId; 4]>,
}

impl Publish {
    /// Whether a queue holds it back.
    pub(crate) fn is_held(&self) -> bool {
        self.holds > 0
    }

    /// One more receipt has to come: that of the decision.
    pub(crate) fn await_decision(&mut self) -> Option<Prepared> {
        let prepared = self.prepared.take()?;
        self.receipts_missing = 1;
        Some(*prepared)
    }
}

impl Publishes {
    /// Those that are not safe yet.
    pub(crate) fn unsafe_yet(&self) -> usize {
        self.all.len() - self.withheld
    }

    /// Those that wait for nothing but queues that hold them back.
    pub(crate) fn withheld(&self) -> usize {
        self.withheld
    }

    /// A publish that `receipts` shards will acknowledge.
    pub(crate) fn insert(
        &mut self,
        origin: Origin,
        receipts: u16,
        prepared: Option<Box<Prepared>>,
    ) -> u32 {
        let publish =
            Publish { origin, receipts_missing: receipts, holds: 0, prepared, refused: None };
        let slot = self.all.insert(publish);
        u32::try_from(slot).expect("fewer than 2^32 publishes under way: memory ends before")
    }

    /// One shard has it. The publish, if that was the last.
    pub(crate) fn receipt(&mut self, slot: u32) -> Option<&mut Publish> {
        let publish = self.all.get_mut(slot as usize)?;
        publish.receipts_missing -= 1;
        (publish.receipts_missing == 0).then_some(publish)
    }

    /// A queue that has it holds it back.
    pub(crate) fn hold(&mut self, slot: u32) {
        if let Some(publish) = self.all.get_mut(slot as usize) {
            publish.holds += 1;
        }
    }

    /// One that did does so no more. The publish, if it is complete by that.
    pub(crate) fn resume(&mut self, slot: u32) -> Option<Origin> {
        let publish = self.all.get_mut(slot as usize)?;
        publish.holds -= 1;
        let complete = publish.holds == 0 && publish.receipts_missing == 0;
        let origin = publish.origin;
        if !complete {
            return None;
        }
        self.withheld -= 1;
        self.end(slot);
        Some(origin)
    }

    /// All receipts are in, and it is held back.
    pub(crate) fn withhold(&mut self) {
        self.withheld += 1;
    }

    /// It is over.
    pub(crate) fn end(&mut self, slot: u32) {
        self.all.try_remove(slot as usize);
        // A burst must not keep its table for good.
        if self.all.is_empty() && self.all.capacity() > 4096 {
            self.all.shrink_to_fit();
        }
    }

    /// One shard cannot have it; that counts as its receipt.
    pub(crate) fn refuse(&mut self, slot: u32, reason: Box<Error>) {
        if let Some(publish) = self.all.get_mut(slot as usize) {
            publish.refused = Some(reason);
        }
    }
}

/// Settles and acquires whose deliveries lie on other shards.
#[derive(Debug, Default)]
pub(crate) struct Parts(FixedMap<(SessionId, OpId), Gather>);

#[derive(Debug)]
struct Gather {
    missing: u32,
    acquire: bool,
    acquired: Vec<DeliveryRef>,
}

impl Parts {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A request that `missing` commands to other shards will answer.
    pub(crate) fn insert(
        &mut self,
        session: SessionId,
        op: OpId,
        missing: u32,
        acquire: bool,
        acquired: Vec<DeliveryRef>,
    ) {
        self.0.insert((session, op), Gather { missing, acquire, acquired });
    }

    /// One answer. The whole reply, if it was the last.
    pub(crate) fn part(
        &mut self,
        session: SessionId,
        op: OpId,
        acquired: Vec<DeliveryRef>,
    ) -> Option<Reply> {
        let gather = self.0.get_mut(&(session, op))?;
        gather.acquired.extend(acquired);
        gather.missing -= 1;
        if gather.missing > 0 {
            return None;
        }
        let gather = self.0.remove(&(session, op))?;
        Some(if gather.acquire { Reply::Acquired(gather.acquired) } else { Reply::Done })
    }
}
