//! Fanout routing: every queue bound, one push each.

use super::names::FixedState;
use super::routes::{Route, Routes};
use crate::ids::{QueueId, ShardId};
use indexmap::IndexMap;

/// The bindings of a fanout exchange: dense to walk, and a queue is found by hash.
#[derive(Debug, Default)]
pub(super) struct Fanout {
    queues: IndexMap<QueueId, ShardId, FixedState>,
}

impl Fanout {
    /// The queue must not be bound.
    pub(super) fn bind(&mut self, route: Route) {
        let old = self.queues.insert(route.queue, route.home);
        assert!(old.is_none(), "fanout binding made twice");
    }

    /// The queue must be bound.
    pub(super) fn unbind(&mut self, queue: QueueId) {
        self.queues.swap_remove(&queue).expect("unbound queue is bound");
        if self.queues.len() * 4 < self.queues.capacity() {
            self.queues.shrink_to(self.queues.len() * 2);
        }
    }

    pub(super) fn route(&self, out: &mut Routes) {
        out.list.extend(self.routes());
    }

    pub(super) fn has(&self, queue: QueueId) -> bool {
        self.queues.contains_key(&queue)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.queues.iter().map(|(queue, home)| Route { home: *home, queue: *queue })
    }
}
