//! Queues with limits: who is refused, what becomes of what is displaced, and what management is told.

use super::Engine;
use crate::error::{Error, ErrorKind};
use crate::frame::{Effects, Frame};
use crate::ids::{Position, QueueId, ShardId, Time};
use crate::message::Message;
use crate::notice::{Notice, QueueEvent, What};
use crate::queue::{Full, Output, Queue, QueueSettings};
use crate::request::DeliveryRef;
use crate::topology::QueueDescriptor;
use fletch_journal::Seq;

/// So often may a message be displaced from one queue into another: the alternates of such queues may lead
/// back to them, and each message would go round for ever.
const HOPS: u8 = 4;

impl Engine {
    /// Makes a queue of this shard what its arguments ask for. What there is to tell about it is told with the
    /// next output of any queue.
    pub(super) fn configure(
        &mut self,
        now: Time,
        queue: &mut Queue,
        (q, settings): (&QueueDescriptor, &QueueSettings),
    ) {
        let of_broker = (&self.defaults, q.alternate.is_some());
        queue.configure(now, settings, of_broker, &mut self.outputs);
        if let Some(most) = settings.dedup_window {
            queue.set_window(most, self.secret);
        }
        if settings.ignores_flow(&self.defaults) {
            let what = What::FlowIgnored;
            self.outputs.push(Output::Notice { queue: q.id, what, count: 0, size: 0 });
        }
    }

    /// Refuses a message if one of these queues, which are homed here, has no room for it.
    pub(super) fn check_depths(
        &self,
        message: &Message,
        queues: impl Iterator<Item = QueueId>,
    ) -> Result<(), Error> {
        for id in queues {
            let Some(q) = self.queues.get(&id) else { continue };
            if let Err(full) = q.check_depth(message)
                && !q.is_duplicate(message)
            {
                return Err(self.too_full(id, full, message));
            }
        }
        Ok(())
    }

    /// Why a queue does not take a message.
    pub(super) fn too_full(&self, queue: QueueId, full: Full, message: &Message) -> Error {
        let name = self.topology.queue_by_id(queue).map_or("", |q| &q.name);
        Error::new(ErrorKind::ResourceLimit, full.text(name, message.size() as u64))
    }

    /// A message gave way to another: it goes to the alternate exchange.
    pub(super) fn displaced(
        &mut self,
        from: DeliveryRef,
        message: &Message,
        (place, size): (Seq, usize),
        hops: u8,
        fx: &mut Effects,
    ) {
        let place = self.journalled(from, place, size);
        if hops < HOPS {
            self.move_on(from, message, (place, size), (None, hops + 1), fx);
            return;
        }
        self.stats.discarded += 1;
        if place != Seq::NONE {
            self.journal_dequeue(from, place, size);
        }
    }

    /// A queue is too full and goes for that.
    pub(super) fn overfull(&mut self, queue: QueueId, fx: &mut Effects) {
        if let Some(q) = self.queues.get(&queue) {
            let (count, size) = q.depth();
            self.notice(queue, What::SelfDestructed, (count, size), fx);
        }
        self.send(ShardId::ORDERER, Frame::SelfDestruct { queue }, fx);
    }

    /// Management has to be told.
    pub(super) fn notice(
        &mut self,
        queue: QueueId,
        what: What,
        (count, size): (u64, u64),
        fx: &mut Effects,
    ) {
        if let Some(q) = self.topology.queue_by_id(queue) {
            fx.notices.push(Notice { queue: q.name.clone(), what, count, size });
        }
    }

    /// A message has come to a queue, or left it, that generates events.
    pub(super) fn queue_event(
        &mut self,
        queue: QueueId,
        position: Position,
        enqueued: Option<Message>,
        fx: &mut Effects,
    ) {
        if let Some(q) = self.topology.queue_by_id(queue) {
            fx.queue_events.push(QueueEvent { queue: q.name.clone(), position, enqueued });
        }
    }
}
