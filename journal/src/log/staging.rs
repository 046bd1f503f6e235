//! Operations on their way into a batch.

use super::{Key, Log, Payload, REFS_MAX, Refs, Remembered, Root, Staged, Taken};
use crate::record::{Op, Ref, Xid, publish_len};
use crate::seq::Seq;
use std::sync::Arc;

impl<P: Payload> Log<P> {
    /// The number the next operation gets.
    pub fn next_seq(&self) -> Seq {
        Seq(self.first.0 + self.staged.len() as u64)
    }

    /// The number of the newest operation.
    pub fn last_seq(&self) -> Seq {
        Seq(self.next_seq().0 - 1)
    }

    fn stage(&mut self, op: Staged<P>) -> Seq {
        let seq = self.next_seq();
        self.staged_bytes += op.len() as u64;
        self.staged.push_back(op);
        seq
    }

    pub(super) fn staged_mut(&mut self, seq: Seq) -> Option<&mut Staged<P>> {
        let at = seq.0.checked_sub(self.first.0)?;
        self.staged.get_mut(usize::try_from(at).ok()?)
    }

    /// Whether a record has not been put into a batch yet.
    pub fn is_staged(&self, seq: Seq) -> bool {
        seq >= self.first
    }

    /// A message is in these queues: 1 to [`REFS_MAX`] places. With `xid` it holds only if that
    /// transaction is decided so.
    pub fn publish(&mut self, refs: Refs, payload: P, xid: Option<Xid>) -> Seq {
        debug_assert!(!refs.is_empty() && refs.len() <= REFS_MAX);
        self.stage(Staged::Publish { refs, payload, xid, again: false, with: None })
    }

    /// The same with what is to be remembered as soon as the message is there, in the same record. It is
    /// written also if the message leaves its queues before.
    pub fn publish_with(
        &mut self,
        refs: Refs,
        payload: P,
        xid: Option<Xid>,
        with: Remembered,
    ) -> Seq {
        debug_assert!(!refs.is_empty() && refs.len() <= REFS_MAX);
        let with = Some(Box::new(with));
        self.stage(Staged::Publish { refs, payload, xid, again: false, with })
    }

    /// The same for a message that is in the log already.
    pub(crate) fn publish_again(&mut self, refs: Refs, payload: P, xid: Option<Xid>) -> Seq {
        self.stage(Staged::Publish { refs, payload, xid, again: true, with: None })
    }

    /// A message left a queue. `seq` is where its record stands, `len` its payload's length. Returns
    /// what has to be durable for that to be so for good.
    pub fn dequeue(&mut self, at: Ref, seq: Seq, len: usize) -> Seq {
        let taken_back = self.take_back(at, seq);
        if taken_back == Some(Taken::Whole) {
            // What stays in its place says that it was there.
            return if self.staged_mut(seq).is_some_and(Staged::is_gone) {
                self.durable
            } else {
                seq
            };
        }
        let Ref { queue, position } = at;
        let number = match self.staged.back_mut() {
            Some(Staged::Dequeue { queue: q, last, .. })
                if *q == queue && *last + 1 == position =>
            {
                *last = position;
                self.last_seq()
            }
            _ => self.stage(Staged::Dequeue { queue, first: position, last: position }),
        };
        if taken_back.is_none() {
            self.segments.died(seq, publish_len(1, len) as u64, number);
        }
        number
    }

    /// The same in a log that nobody reads again: there is nothing to write about it.
    pub fn forget(&mut self, at: Ref, seq: Seq, len: usize) {
        if self.take_back(at, seq).is_none() {
            self.segments.died(seq, publish_len(1, len) as u64, Seq::NONE);
        }
    }

    /// Takes a place out of a publish that is not written yet.
    fn take_back(&mut self, at: Ref, seq: Seq) -> Option<Taken> {
        let op = self.staged_mut(seq)?;
        let before = op.len();
        let mut taken = Taken::Whole;
        if let Staged::Publish { refs, again, with, .. } = op
            && let Some(n) = refs.iter().position(|(r, _)| *r == at)
        {
            if *again {
                taken = Taken::Older;
            }
            refs.swap_remove(n);
            if refs.is_empty() {
                let with = with.take().filter(|with| with.needed() != (0, 0));
                *op = with.map_or(Staged::Gone, Staged::Remember);
            }
        }
        let after = op.len();
        let gone = op.is_gone();
        self.staged_bytes -= (before - after) as u64;
        self.stats.avoided += u64::from(gone && taken == Taken::Whole);
        Some(taken)
    }

    /// Deliveries from a queue up to a position may have happened. `seq` is where the message at that
    /// position stands: if it is not written yet it is written with that said.
    pub fn delivered(&mut self, at: Ref, seq: Seq) {
        match self.staged_mut(seq) {
            Some(Staged::Publish { refs, again: false, .. }) => {
                if let Some((_, delivered)) = refs.iter_mut().find(|(r, _)| *r == at) {
                    *delivered = true;
                }
            }
            // The older record is still there to be found.
            Some(Staged::Publish { again: true, .. }) | None => {
                let Ref { queue, position } = at;
                if let Some(Staged::Delivered { queue: q, upto }) = self.staged.back_mut()
                    && *q == queue
                {
                    *upto = (*upto).max(position);
                } else {
                    self.stage(Staged::Delivered { queue, upto: position });
                }
            }
            Some(_) => {}
        }
    }

    /// Whether this is the only record of a message, and not written yet.
    pub fn is_unwritten(&self, seq: Seq) -> bool {
        let at = seq.0.checked_sub(self.first.0).and_then(|at| usize::try_from(at).ok());
        let staged = at.and_then(|at| self.staged.get(at));
        matches!(staged, Some(Staged::Publish { again: false, .. }))
    }

    /// Something durable exists from now on. Ids grow.
    pub fn define(&mut self, id: u64, payload: &[u8]) -> Seq {
        self.stage_root(Key::Id(id), &Op::Define { id, payload })
    }

    /// They exist no more: all of them at once, also after a crash.
    pub fn undefine(&mut self, ids: &[u64]) -> Seq {
        let mut bytes = Vec::new();
        ids.iter().for_each(|id| Op::Undefine { id: *id }.put(&mut bytes));
        let number = self.stage(Staged::Bytes { bytes: bytes.into(), root: false });
        ids.iter().for_each(|id| self.drop_root(Key::Id(*id), number));
        number
    }

    /// Whether there is a definition with this id.
    pub fn is_defined(&self, id: u64) -> bool {
        self.roots.contains_key(&Key::Id(id))
    }

    /// Decides a transaction that this shard coordinates: it holds. Kept until [`Log::resolved`].
    pub fn decide(&mut self, xid: Xid) -> Seq {
        self.stage_root(Key::Xid(xid), &Op::Decide { xid, commit: true })
    }

    /// Takes a decision back that is not in a batch yet. False if it is too late.
    pub fn undecide(&mut self, xid: Xid) -> bool {
        let Some(root) = self.roots.get(&Key::Xid(xid)) else { return false };
        let seq = root.seq;
        let Some(op) = self.staged_mut(seq) else { return false };
        let len = op.len() as u64;
        *op = Staged::Gone;
        self.staged_bytes -= len;
        self.roots.remove(&Key::Xid(xid));
        true
    }

    /// Messages leave queues if a transaction is decided so: positions from a first to a last one, of each
    /// queue. Kept until [`Log::unprepare`]. Nothing that is staged is taken back for it, for the
    /// transaction may fail.
    pub fn prepare_dequeues(
        &mut self,
        xid: Xid,
        ranges: impl Iterator<Item = (u64, u64, u64)>,
    ) -> Seq {
        self.restage_root(Key::Prepared(xid), prepared(xid, ranges).into())
    }

    /// The dequeues prepared under a transaction are void, or made; what is staged so far has to be durable
    /// before they are forgotten.
    pub fn unprepare(&mut self, xid: Xid) {
        let until = self.last_seq();
        self.drop_root(Key::Prepared(xid), until);
    }

    /// Says once more that messages left a queue whose records count no more.
    pub fn dequeue_again(&mut self, queue: u64, first: u64, last: u64) -> Seq {
        self.stage(Staged::Dequeue { queue, first, last })
    }

    /// Every participant has noted the decision.
    pub fn resolved(&mut self, xid: Xid) {
        let until = self.durable;
        self.drop_root(Key::Xid(xid), until);
    }

    /// A participant notes a decision. The shard that decided says it twice, which tells its note from the
    /// decision.
    pub fn note(&mut self, xid: Xid, commit: bool) -> Seq {
        let bytes = self.noted(xid, commit);
        self.stage(Staged::Bytes { bytes: bytes.into(), root: false })
    }

    /// The same with what is to be remembered from then on.
    pub fn note_with(&mut self, xid: Xid, with: Remembered) -> Seq {
        if with.is_empty() {
            return self.note(xid, true);
        }
        let bytes = self.noted(xid, true);
        self.stage(Staged::Remember(Box::new(with.behind(bytes))))
    }

    fn noted(&self, xid: Xid, commit: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..1 + usize::from(xid.shard == self.superblock.shard) {
            Op::Decide { xid, commit }.put(&mut bytes);
        }
        bytes
    }

    /// Something is to be remembered. What of it is live is told by [`Log::forget_remembered`].
    pub fn remember(&mut self, what: Remembered) -> Seq {
        self.stage(Staged::Remember(Box::new(what)))
    }

    /// One thing that the record at `seq` says is to be remembered no more: so many bytes. `until` has to be
    /// durable before that counts: a newer record of it.
    pub fn forget_remembered(&mut self, seq: Seq, bytes: u64, until: Seq) {
        match self.staged_mut(seq) {
            Some(Staged::Publish { with: Some(with), .. }) => with.forget(bytes),
            Some(Staged::Remember(remembered)) => remembered.forget(bytes),
            // Taken back with its publish.
            Some(_) => {}
            None => self.segments.release(seq, bytes, until),
        }
    }

    fn stage_root(&mut self, key: Key, op: &Op<'_>) -> Seq {
        let mut bytes = Vec::new();
        op.put(&mut bytes);
        self.restage_root(key, bytes.into())
    }

    pub(super) fn restage_root(&mut self, key: Key, bytes: Arc<[u8]>) -> Seq {
        let seq = self.stage(Staged::Bytes { bytes: Arc::clone(&bytes), root: true });
        self.roots.insert(key, Root { seq, bytes });
        seq
    }

    fn drop_root(&mut self, key: Key, until: Seq) {
        let Some(root) = self.roots.remove(&key) else { return };
        match self.staged_mut(root.seq) {
            // Written all the same, but it counts for nothing.
            Some(Staged::Bytes { root, .. }) => *root = false,
            Some(_) => {}
            None => self.segments.died(root.seq, root.bytes.len() as u64, until),
        }
    }
}

/// The record of prepared dequeues.
pub(super) fn prepared(xid: Xid, ranges: impl Iterator<Item = (u64, u64, u64)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Op::Prepare(xid).put(&mut bytes);
    ranges.for_each(|(queue, first, last)| Op::Dequeue { queue, first, last }.put(&mut bytes));
    bytes
}
