//! What a log takes on when its disk is full.
//!
//! A segment is asked for long before it is needed, so that when the disk has no room for it one is still
//! ready. That is the **reserve**: it is for what is small and makes room (dequeues, decisions, changes of
//! definitions, what the cleaner moves), and publishes are refused before they come to it.

use super::{Log, Payload, Refs, Staged};
use crate::seq::Seq;

impl<P: Payload> Log<P> {
    /// Whether a publish of so many bytes may be taken on: not when the disk is full, but for what the
    /// reserve leaves.
    pub fn admits(&self, len: usize) -> bool {
        !self.full || self.room() >= self.staged_bytes + len as u64 + self.config.segment
    }

    /// Whether a new definition or decision may be taken on: also when the disk is full, as long as the
    /// reserve is not nearly used up. What is left then is for what makes room.
    pub fn admits_small(&self) -> bool {
        !self.full || self.room() >= self.staged_bytes + self.config.segment / 4
    }

    /// Whether the disk has no room for the next segment.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The first of the staged publishes that would be written into the reserve, if the disk is full: it
    /// was taken on before that was known. It and those after it are to be taken back, see
    /// [`Log::retract`], or what is staged behind them might never be written.
    pub fn excess(&self) -> Option<Seq> {
        if !self.full || self.staged_bytes <= self.unreserved() {
            return None;
        }
        let mut left = self.unreserved();
        let mut seq = self.first;
        for op in &self.staged {
            let len = op.len() as u64;
            if len > left && matches!(op, Staged::Publish { .. }) {
                return Some(seq);
            }
            left = left.saturating_sub(len);
            seq = seq.next();
        }
        None
    }

    /// The places of a publish that could be taken back, see [`Log::retract`].
    pub fn retractable(&self, seq: Seq) -> Option<&Refs> {
        let at = usize::try_from(seq.0.checked_sub(self.first.0)?).ok()?;
        match self.staged.get(at)? {
            Staged::Publish { refs, again: false, .. } => Some(refs),
            _ => None,
        }
    }

    /// Takes a whole publish back that is not in a batch yet: the places it would have had. None if there
    /// is no such.
    pub fn retract(&mut self, seq: Seq) -> Option<Refs> {
        let refs = self.retractable(seq)?.clone();
        let op = self.staged_mut(seq)?;
        let len = op.len() as u64;
        *op = Staged::Gone;
        self.staged_bytes -= len;
        Some(refs)
    }

    /// Takes back the record that is in a batch in part, if there is one: its number, and the record as it is
    /// encoded. For a log that nobody reads again. It counts until [`Log::forget`].
    pub fn take_back_begun(&mut self) -> Option<(Seq, Vec<u8>)> {
        if self.spill.is_empty() {
            return None;
        }
        self.spilled = 0;
        Some((self.spilling, std::mem::take(&mut self.spill)))
    }

    /// Takes back every publish that is not in a batch yet: its places, and what it carries. For a log that
    /// nobody reads again: what was relocated has no record any more.
    pub fn take_back_all(&mut self) -> Vec<(Refs, P)> {
        let mut taken = Vec::new();
        for op in &mut self.staged {
            let len = op.len() as u64;
            match std::mem::replace(op, Staged::Gone) {
                Staged::Publish { refs, payload, .. } => {
                    self.staged_bytes -= len;
                    taken.push((refs, payload));
                }
                other => *op = other,
            }
        }
        taken
    }

    /// Bytes that may be written before another segment is needed, but for the rest of a record that is
    /// under way.
    pub(crate) fn room(&self) -> u64 {
        let ahead: u64 = self.ahead.iter().filter(|a| a.ready).map(|a| a.len).sum();
        (self.rest() + ahead).saturating_sub((self.spill.len() - self.spilled) as u64)
    }

    /// The same without the reserve.
    fn unreserved(&self) -> u64 {
        self.room().saturating_sub(self.config.segment)
    }
}
