//! Pairs of queues of which each gets what is meant for the other.
//!
//! Management redirects a queue, the *source*, to a *target*, say to look into it undisturbed. As in the
//! reference, what is meant for the target goes to the source meanwhile. Ending a redirect moves nothing:
//! who ends it moves what the target has back to the source, if that is wanted.

use super::routes::Route;
use super::{FixedMap, Topology};
use crate::error::Error;
use crate::ids::QueueId;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Redirects(FixedMap<QueueId, Redirect>);

#[derive(Clone, Copy, Debug)]
struct Redirect {
    to: Route,
    is_source: bool,
}

impl Redirects {
    /// Puts in the place of each route the one it is redirected to.
    pub(super) fn apply(&self, routes: &mut [Route]) {
        if self.0.is_empty() {
            return;
        }
        for route in routes {
            if let Some(redirect) = self.0.get(&route.queue) {
                *route = redirect.to;
            }
        }
    }

    pub(super) fn end(&mut self, source: QueueId, target: QueueId) {
        self.0.remove(&source);
        self.0.remove(&target);
    }
}

impl Topology {
    pub(super) fn redirect(&mut self, source: QueueId, target: QueueId) {
        for (from, to, is_source) in [(source, target, true), (target, source, false)] {
            let home = self.home_of(to).expect("redirected queues exist");
            let to = Route { home, queue: to };
            self.redirects.0.insert(from, Redirect { to, is_source });
        }
    }

    /// The other queue of a redirect, and whether this one is its source.
    pub fn redirect_of(&self, queue: QueueId) -> Option<(QueueId, bool)> {
        self.redirects.0.get(&queue).map(|redirect| (redirect.to.queue, redirect.is_source))
    }

    /// Where a message for this queue goes.
    pub(crate) fn redirected(&self, mut route: Route) -> Route {
        self.redirects.apply(std::slice::from_mut(&mut route));
        route
    }

    /// Source and target of the redirect that a queue is part of.
    pub(super) fn redirect_with(&self, queue: QueueId) -> Option<(QueueId, QueueId)> {
        let (other, is_source) = self.redirect_of(queue)?;
        Some(if is_source { (queue, other) } else { (other, queue) })
    }

    /// Two queues, the first of which may be redirected to the second.
    pub(super) fn redirectable(
        &self,
        source: &str,
        target: &str,
    ) -> Result<(QueueId, QueueId), Error> {
        let failed = |role, name| {
            Error::not_found(format!("Queue redirect failed: {role} queue not found: {name}"))
        };
        let s = self.queue(source).ok_or_else(|| failed("source", source))?;
        let t = self.queue(target).ok_or_else(|| failed("target", target))?;
        if s.id == t.id {
            let text = format!("Queue redirect source queue: {target} cannot be its own target");
            return Err(Error::not_allowed(text));
        }
        for (q, role) in [(s, "source"), (t, "target")] {
            if q.auto_delete {
                return Err(Error::not_allowed(format!(
                    "Queue redirect {role} queue: {} is autodelete and can not be part of redirect",
                    q.name
                )));
            }
        }
        for (q, role) in [(s, "source"), (t, "target")] {
            if self.redirect_of(q.id).is_some() {
                return Err(Error::not_allowed(format!(
                    "Queue redirect {role} queue: {} is already redirected",
                    q.name
                )));
            }
        }
        Ok((s.id, t.id))
    }

    /// Source and target of the redirect that is to end.
    pub(super) fn redirect_from(&self, source: &str) -> Result<(QueueId, QueueId), Error> {
        let failed =
            || Error::not_found(format!("Queue redirect failed: source queue not found: {source}"));
        let q = self.queue(source).ok_or_else(failed)?;
        let refused =
            |is| Error::not_allowed(format!("Queue redirect source queue: {source} {is}"));
        match self.redirect_of(q.id) {
            None => Err(refused("is not in redirected")),
            Some((_, false)) => Err(refused("is not a redirect source")),
            Some((target, true)) => Ok((q.id, target)),
        }
    }
}
