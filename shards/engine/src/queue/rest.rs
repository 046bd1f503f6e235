//! What is left of a queue that was deleted, until it has gone to its alternate exchange.

use super::entries::{Body, Entries};
use super::marks::Marks;
use super::taking::Taken;
use super::window::Window;
use crate::ids::{Position, QueueId};
use crate::message::Message;
use crate::request::DeliveryRef;
use fletch_journal::Seq;
use std::fmt;
use std::sync::Arc;

/// What a deleted queue held.
pub struct Rest {
    queue: QueueId,
    marks: Option<Arc<Marks>>,
    entries: Entries,
    window: Option<Box<Window>>,
}

/// The next message of it.
#[derive(Debug)]
pub enum Next {
    /// This one.
    Message {
        /// What it was delivered by.
        delivery: DeliveryRef,
        /// The message as it leaves; none if it is not wanted and was away.
        message: Option<Message>,
        /// Its size.
        size: usize,
        /// Where its record stands.
        place: Seq,
    },
    /// Its body is away: its position, and where its record stands. See [`Rest::bring_back`].
    Away(Position, Seq),
    /// There is none left.
    End,
}

impl Rest {
    pub(super) fn new(
        queue: QueueId,
        (marks, window): (Option<Arc<Marks>>, Option<Box<Window>>),
        entries: Entries,
    ) -> Rest {
        Rest { queue, marks, entries, window }
    }

    /// Forgets the next id that it remembered: where its record stands, if it has one, and its bytes.
    pub(crate) fn next_id(&mut self) -> Option<(Seq, u64)> {
        self.window.as_mut()?.take_one()
    }

    /// Where the record of a message stands, if it is there.
    pub(crate) fn place(&self, position: Position) -> Option<Seq> {
        self.entries.get(position).map(|e| e.place())
    }

    /// Takes the next message, with its body if `body` is wanted.
    pub fn next(&mut self, body: bool) -> Next {
        let Some(entry) = self.entries.first() else { return Next::End };
        let position = entry.position;
        if body && matches!(entry.body(), Body::Away { .. }) {
            return Next::Away(position, entry.place());
        }
        let delivery = DeliveryRef { queue: self.queue, position };
        match self.entries.remove_available(position) {
            Some(removed) => {
                let (size, place) = (removed.size, removed.place);
                let taken = Taken::of(self.marks.as_ref(), position, removed);
                let message = taken.map(|taken| taken.message);
                Next::Message { delivery, message, size, place }
            }
            None => Next::End,
        }
    }

    /// A body is back. False if nobody misses it.
    pub fn bring_back(&mut self, position: Position, message: Message) -> bool {
        self.entries.bring_back(position, message)
    }

    /// A body comes back, or stays, and has no record any more.
    pub(crate) fn keep(&mut self, position: Position, message: Message) {
        self.entries.keep(position, message);
    }

    /// Whether there is a message at a position whose body is away.
    pub fn is_away(&self, position: Position) -> bool {
        self.entries.is_away(position)
    }
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rest({:?}, {})", self.queue, self.entries.messages())
    }
}
