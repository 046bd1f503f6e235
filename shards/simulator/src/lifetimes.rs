//! Queues that are deleted by themselves: which there are, and when none of them may go.

use crate::limits::{Kind, Limit};
use crate::model::Model;
use crate::rng::Rng;
use crate::session::Stage;
use crate::world::World;
use fletch_amqp::Value;
use fletch_amqp::types::Map;
use fletch_engine::topology::QueueDescriptor;
use fletch_engine::{QueueId, Time};
use std::sync::Arc;

/// Nanoseconds that a queue with a delay stays after it was used. Far more than a step of time brings, but
/// for those that are meant for this.
const DELAY: u64 = 1_000_000_000;

const TIMEOUT: &str = "qpid.auto_delete_timeout";
const POLICY: &str = "qpid.lifetime-policy";
const EMPTY: &str = "delete-if-unused-and-empty";

/// How a queue is to end: whether it is declared auto-delete, and what its arguments say. `closes`: it may go
/// while somebody uses it.
pub(crate) fn draw(rng: &mut Rng, percent: u32, closes: bool, arguments: Map) -> (bool, Map) {
    if !rng.chance(percent) {
        return (false, arguments);
    }
    let delay = Value::Int32(1);
    match rng.below(if closes { 8 } else { 7 }) {
        0..=2 => (true, arguments),
        3 => (false, arguments.with(TIMEOUT, delay)),
        4 => (false, arguments.with(TIMEOUT, delay).with(POLICY, EMPTY)),
        5 => (false, arguments.with(POLICY, EMPTY)),
        6 => (true, arguments.with(POLICY, *rng.pick(&["manual", "delete-if-unused"]))),
        _ => (false, arguments.with(POLICY, "delete-on-close")),
    }
}

/// So much time passes in a step: now and then what queues wait for.
pub(crate) fn time(rng: &mut Rng, usual: usize, percent: u32) -> u64 {
    if percent > 0 && rng.chance(2) { DELAY * 3 / 2 } else { rng.range(1, usual) as u64 }
}

/// What the model knows of a queue's end.
#[derive(Debug)]
pub(crate) struct Lifetime {
    name: Arc<str>,
    auto_delete: bool,
    /// It may have been too full, at any time.
    destroys_itself: bool,
    empty: bool,
    delayed: bool,
    /// When it was used for certain.
    used: Time,
}

impl Lifetime {
    pub(crate) fn of(q: &QueueDescriptor) -> Lifetime {
        Lifetime {
            name: Arc::clone(&q.name),
            auto_delete: q.auto_delete,
            destroys_itself: Limit::of(&q.arguments).kind == Kind::SelfDestruct,
            empty: q.arguments.get_str(POLICY) == Some(EMPTY),
            delayed: q.arguments.get(TIMEOUT).is_some(),
            used: Time(0),
        }
    }
}

impl Model {
    /// Somebody is subscribed to the queue.
    pub(crate) fn uses(&mut self, queue: QueueId, now: Time) {
        if let Some(lifetime) = self.lifetimes.get_mut(&queue) {
            lifetime.used = now;
        }
    }

    /// Whether a queue of this name was deleted that is when it is too full.
    pub(crate) fn has_destroyed_itself(&self, name: &str) -> bool {
        let mut gone = self.lifetimes.iter().filter(|(queue, _)| self.is_deleted(**queue));
        gone.any(|(_, lifetime)| lifetime.destroys_itself && &*lifetime.name == name)
    }

    /// Somebody asks to delete the queue of this name.
    pub(crate) fn deletes(&mut self, name: &Arc<str>) {
        self.delete_asked.insert(Arc::clone(name));
    }
}

impl World<'_> {
    /// A queue is gone at its home. If nobody has asked for that, it may be.
    pub(crate) fn check_end(&mut self, queue: QueueId) {
        let Some(lifetime) = self.model.lifetimes.get(&queue) else { return };
        if self.model.delete_asked.contains(&lifetime.name) || lifetime.destroys_itself {
            return;
        }
        let name = &lifetime.name;
        self.marks.hit("deleted by itself", true);
        self.marks.hit("deleted by itself after a delay", lifetime.delayed);
        self.marks.hit("deleted by itself when empty", lifetime.empty);
        assert!(lifetime.auto_delete, "{name} is gone by itself, and is none that may be");
        for session in self.sessions.values().filter(|s| s.stage == Stage::Live) {
            let mut all = session.subscriptions.iter();
            let user = all.find(|(_, s)| s.queue == Some(queue) && s.started && !s.cancelled);
            assert!(user.is_none(), "{name} is gone, and {:?} uses it: {user:?}", session.id);
        }
        if lifetime.delayed {
            let due = Time(lifetime.used.0 + DELAY);
            assert!(self.now >= due, "{name} is gone at {:?}, and was due at {due:?}", self.now);
        }
        assert!(!lifetime.empty || !self.model.is_holding(queue), "{name} is gone with messages");
    }
}
