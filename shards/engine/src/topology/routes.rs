//! Where a message goes: the reusable buffer that routing appends to.

use crate::ids::{QueueId, ShardId};
use std::sync::Arc;

/// One queue a message goes to. Ordered by home first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The shard that holds the queue.
    pub home: ShardId,
    /// The queue.
    pub queue: QueueId,
}

/// Where a message goes from here.
#[derive(Debug)]
pub(crate) enum Way {
    /// To the queues that were found, if there are any.
    Queues(bool),
    /// To the home of an exchange.
    Home(Detour),
}

/// An exchange that keeps something of its messages, so that its home has to route them.
#[derive(Debug)]
pub(crate) struct Detour {
    /// Its name.
    pub(crate) exchange: Arc<str>,
    /// It is an alternate: its own is not asked.
    pub(crate) last: bool,
}

/// The queues a message goes to, and the scratch space of the search for them. Keep one and reuse
/// it: after a few messages routing allocates nothing.
#[derive(Debug, Default)]
pub struct Routes {
    pub(super) list: Vec<Route>,
    /// Of who has been routed by a topic exchange. Boxed: routes are passed around for each message.
    pub(super) walk: Option<Box<Walk>>,
}

impl Routes {
    /// Forgets the routes, keeps the memory.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// How many queues.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The queues.
    pub fn iter(&self) -> std::slice::Iter<'_, Route> {
        self.list.iter()
    }

    /// One more.
    pub(crate) fn push(&mut self, route: Route) {
        self.list.push(route);
    }

    /// Drops routes.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Route) -> bool) {
        self.list.retain(keep);
    }

    /// Brings queues of one home together, for [`Routes::by_home`].
    pub fn sort_by_home(&mut self) {
        self.list.sort_unstable();
    }

    /// The queues of each home, after [`Routes::sort_by_home`].
    pub fn by_home(&self) -> impl Iterator<Item = (ShardId, &[Route])> {
        self.list.chunk_by(|a, b| a.home == b.home).map(|group| (group[0].home, group))
    }

    /// Drops the second and further mentions of a queue among the routes from `start` on.
    pub(super) fn dedup_from(&mut self, start: usize) {
        if self.list.len() - start < 2 {
            return;
        }
        self.list[start..].sort_unstable();
        let mut keep = start + 1;
        for at in start + 1..self.list.len() {
            if self.list[at] != self.list[keep - 1] {
                self.list[keep] = self.list[at];
                keep += 1;
            }
        }
        self.list.truncate(keep);
    }
}

/// Scratch of the walk through a topic exchange's trie.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Nodes that the words so far lead to.
    pub(super) now: Vec<u32>,
    /// Nodes that one more word leads to.
    pub(super) next: Vec<u32>,
    /// Per `#` node, the walk that reached it last.
    reached: Vec<u32>,
    walk: u32,
}

impl Walk {
    /// Begins a walk through a trie whose nodes are numbered below `nodes`.
    pub(super) fn begin(&mut self, nodes: usize) {
        self.now.clear();
        self.next.clear();
        if self.reached.len() < nodes {
            self.reached.resize(nodes, 0);
        }
        self.walk = self.walk.wrapping_add(1);
        if self.walk == 0 {
            self.reached.fill(0);
            self.walk = 1;
        }
    }

    /// Whether this walk has come to `node` for the first time.
    pub(super) fn first_visit(&mut self, node: u32) -> bool {
        let reached = &mut self.reached[node as usize];
        let first = *reached != self.walk;
        *reached = self.walk;
        first
    }
}
