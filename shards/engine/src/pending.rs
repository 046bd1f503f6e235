//! Work of this shard's sessions that waits for other shards.

use crate::ids::SessionId;
use crate::request::{DeliveryRef, OpId, Reply};
use crate::topology::FixedMap;
use slab::Slab;

/// Publishes under way to other shards, by slot.
#[derive(Debug, Default)]
pub(crate) struct Publishes(Slab<Publish>);

#[derive(Debug)]
struct Publish {
    session: SessionId,
    op: OpId,
    receipts_missing: u16,
}

impl Publishes {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A publish that `homes` other shards will acknowledge.
    pub(crate) fn insert(&mut self, session: SessionId, op: OpId, homes: u16) -> u32 {
        let slot = self.0.insert(Publish { session, op, receipts_missing: homes });
        u32::try_from(slot).expect("fewer than 2^32 publishes under way: memory ends before")
    }

    /// One shard has it. The publish, if that was the last.
    pub(crate) fn receipt(&mut self, slot: u32) -> Option<(SessionId, OpId)> {
        let publish = self.0.get_mut(slot as usize)?;
        publish.receipts_missing -= 1;
        if publish.receipts_missing > 0 {
            return None;
        }
        let Publish { session, op, .. } = self.0.remove(slot as usize);
        // A burst must not keep its table for good.
        if self.0.is_empty() && self.0.capacity() > 4096 {
            self.0.shrink_to_fit();
        }
        Some((session, op))
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
