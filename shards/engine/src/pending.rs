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
pub(crate) struct Publishes(Slab<Publish>);

/// One of them.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) origin: Origin,
    receipts_missing: u16,
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
    /// The last message of an exchange, for a binding that this change has made.
    Initial(Epoch),
    /// Another publish: one of its queues was deleted while it was under way, and this goes where the
    /// queue's messages went. It counts as a receipt of that one.
    Publish { to: ShardId, slot: u32 },
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

/// A publish to durable queues on several shards.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) xid: Xid,
    pub(crate) homes: SmallVec<[ShardId; 4]>,
}

impl Publishes {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A publish that `receipts` shards will acknowledge.
    pub(crate) fn insert(
        &mut self,
        origin: Origin,
        receipts: u16,
        prepared: Option<Box<Prepared>>,
    ) -> u32 {
        let publish = Publish { origin, receipts_missing: receipts, prepared, refused: None };
        let slot = self.0.insert(publish);
        u32::try_from(slot).expect("fewer than 2^32 publishes under way: memory ends before")
    }

    /// One shard has it. The publish, if that was the last.
    pub(crate) fn receipt(&mut self, slot: u32) -> Option<Publish> {
        let publish = self.0.get_mut(slot as usize)?;
        publish.receipts_missing -= 1;
        if publish.receipts_missing > 0 {
            return None;
        }
        let publish = self.0.remove(slot as usize);
        // A burst must not keep its table for good.
        if self.0.is_empty() && self.0.capacity() > 4096 {
            self.0.shrink_to_fit();
        }
        Some(publish)
    }

    /// One shard cannot have it; that counts as its receipt.
    pub(crate) fn refuse(&mut self, slot: u32, reason: Box<Error>) {
        if let Some(publish) = self.0.get_mut(slot as usize) {
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
