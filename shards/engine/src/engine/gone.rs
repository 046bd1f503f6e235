//! Queues deleted here whose messages may still be under way from shards that do not know yet.
//!
//! Only those with an alternate exchange are remembered: without one, such a message is dropped.
//! What is under way arrives within turns, so the last thousand are more than enough.

use crate::ids::QueueId;
use crate::topology::FixedMap;
use std::collections::VecDeque;
use std::sync::Arc;

const KEPT: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Gone {
    alternates: FixedMap<QueueId, Arc<str>>,
    /// Oldest first.
    order: VecDeque<QueueId>,
}

impl Gone {
    pub(super) fn add(&mut self, queue: QueueId, alternate: Arc<str>) {
        self.alternates.insert(queue, alternate);
        self.order.push_back(queue);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.alternates.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, queue: QueueId) -> bool {
        self.alternates.contains_key(&queue)
    }

    /// The alternate exchange the queue had.
    pub(super) fn alternate_of(&self, queue: QueueId) -> Option<Arc<str>> {
        self.alternates.get(&queue).cloned()
    }
}
