//! Direct routing: one hash lookup from the routing key to the queues bound with it.

use super::names::{FixedMap, Name};
use super::routes::{Route, Routes};
use crate::ids::QueueId;
use smallvec::SmallVec;
use std::sync::Arc;

/// The bindings of a direct exchange.
#[derive(Debug, Default)]
pub(super) struct Direct {
    keys: FixedMap<Name, SmallVec<[Route; 1]>>,
}

impl Direct {
    /// The binding must not exist.
    pub(super) fn bind(&mut self, key: &Arc<str>, route: Route) {
        self.keys.entry(Name(Arc::clone(key))).or_default().push(route);
    }

    /// The binding must exist.
    pub(super) fn unbind(&mut self, key: &str, queue: QueueId) {
        let queues = self.keys.get_mut(key.as_bytes()).expect("unbound key is bound");
        remove_route(queues, queue);
        if queues.is_empty() {
            self.keys.remove(key.as_bytes());
        }
    }

    pub(super) fn route(&self, key: &[u8], out: &mut Routes) {
        if let Some(queues) = self.keys.get(key) {
            out.list.extend_from_slice(queues);
        }
    }

    /// The queues bound with this key.
    pub(super) fn queues(&self, key: &str) -> &[Route] {
        self.keys.get(key.as_bytes()).map_or(&[], SmallVec::as_slice)
    }

    /// Whether `queue`, or any queue, is bound with this key.
    pub(super) fn has(&self, key: &str, queue: Option<QueueId>) -> bool {
        self.keys.get(key.as_bytes()).is_some_and(|queues| mentions(queues, queue))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.keys.values().flatten().copied()
    }
}

/// Removes a route that must be there.
pub(super) fn remove_route(queues: &mut SmallVec<[Route; 1]>, queue: QueueId) {
    let at = queues.iter().position(|r| r.queue == queue).expect("unbound queue is bound");
    queues.swap_remove(at);
    // A key that many queues once shared must not keep their memory.
    if queues.spilled() && queues.len() * 4 < queues.capacity() {
        queues.shrink_to_fit();
    }
}

pub(super) fn mentions(queues: &[Route], queue: Option<QueueId>) -> bool {
    match queue {
        None => !queues.is_empty(),
        Some(queue) => queues.iter().any(|r| r.queue == queue),
    }
}
