//! A queue takes up what recovery found, before anything else happens to it.

use super::Queue;
use crate::ids::{Position, Time};
use crate::message::Message;
use fletch_journal::Seq;

impl Queue {
    /// Puts back a message that recovery found; a newer record of one that is there takes its place.
    pub(crate) fn restore(&mut self, at: Position, message: Message, place: Seq, seen: bool) {
        if !self.restore_place(at, place, seen) {
            self.restore_scheduled(at, &message);
            self.entries.put(at, message, place, seen);
        }
    }

    /// The same with one of a size and time to live whose body stays away.
    pub(crate) fn restore_away(
        &mut self,
        at: Position,
        what: (usize, Time),
        place: Seq,
        seen: bool,
    ) {
        if !self.restore_place(at, place, seen) {
            self.entries.put_away(at, what, place, seen);
        }
    }

    /// If the message is there, the newer record takes the place of the one found before.
    fn restore_place(&mut self, at: Position, place: Seq, seen: bool) -> bool {
        let there = self.entries.get(at).is_some();
        if there {
            self.entries.set_place(at, place);
            if seen {
                self.entries.set_redelivered(at);
            }
        }
        there
    }

    /// Takes away what recovery found and later found to be gone.
    pub(crate) fn unrestore(&mut self, first: Position, last: Position) {
        for position in first..=last.min(self.newest()) {
            self.entries.remove_available(position);
        }
        self.restore_end(last);
    }

    /// Deliveries up to this position may have happened before the restart.
    pub(crate) fn restore_delivered(&mut self, upto: Position) {
        let durable = self.durable.get_or_insert_default();
        durable.told = durable.told.max(upto);
        durable.known = durable.told;
        self.restore_end(upto);
    }

    /// The position was given out, even if nothing that was there is left: the next message is another
    /// one, which nobody has seen.
    pub(crate) fn restore_end(&mut self, position: Position) {
        self.entries.skip_to(position.saturating_add(1));
    }

    /// The message is accepted in a branch that waits for its outcome: nobody else gets it.
    pub(crate) fn lock(&mut self, at: Position) {
        self.unschedule(at);
        self.entries.hide(at);
    }

    /// Recovery has found all there is.
    pub(crate) fn restored(&mut self) {
        self.set_durable();
        if let Some(durable) = &self.durable {
            self.entries.mark_delivered(durable.told);
        }
        self.hide_scheduled();
        self.entries.pack();
        self.entries.shrink();
    }
}
