//! Links that are suspended: their clients have gone, and may come back for what is not settled (parts 2.6.4
//! and 2.6.13).
//!
//! Every link of 1.0 has its name in the engine's registry, under a number of its own that looks like that of a
//! session. Whoever attaches it anew, on whichever shard, takes the name by force; who had it leaves the link, cedes
//! the name, and hands over what is not settled. One of these for each shard; it keeps what nobody has asked for yet.
//!
//! Messages that a client received stay acquired while they are kept. What is kept is in memory, and goes with the
//! broker.

mod departures;
mod estate;
mod lasts;

use fletch_engine::{
    DeliveryRef, Effects, Engine, OpId, Outcome, Request, SessionId, ShardId, Time,
};
use foldhash::{HashMap, HashSet};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) use departures::{Departures, Sent};
pub(crate) use estate::{Estate, Fate, Tag};
pub(crate) use lasts::{Ended, Lasts, Until};

/// Links that a shard keeps. A link has a few hundred octets, and its name in the registry.
const LINKS_MAX: usize = 10_000;
/// Deliveries of all those: some 32 octets each. A client that uses all of its credit has 5,000 on a link.
const DELIVERIES_MAX: usize = 500_000;

/// What a link asks of the engine.
pub(crate) mod op {
    use super::OpId;

    /// For its name.
    pub(crate) const CLAIM: OpId = 0;
    /// To give the name up: nothing follows that.
    pub(crate) const CEDE: OpId = 1;
    /// To settle what it has.
    pub(super) const SETTLE: OpId = 2;
}

#[derive(Debug)]
struct Kept {
    estate: Estate,
    lasts: Lasts,
    until: Until,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Links {
    kept: HashMap<SessionId, Kept>,
    until: BTreeSet<(Until, SessionId)>,
    /// Of all.
    deliveries: usize,
    /// Somebody waits for these names, whose links are not left yet.
    wanted: HashSet<SessionId>,
    /// Nothing is kept any more: the broker ends.
    closed: bool,
}

impl Links {
    /// Whether somebody waits for a link that is being left.
    pub(crate) fn is_wanted(&self, link: SessionId) -> bool {
        self.wanted.contains(&link)
    }

    /// When [`Links::expire`] has something to do.
    pub(crate) fn next(&self) -> Option<Time> {
        match self.until.first() {
            Some((Until::Time(at), _)) => Some(*at),
            _ => None,
        }
    }

    /// A link is left, with all that was to be settled on it: nothing follows. It is kept, unless somebody waits for
    /// it or its terminus is over with what has ended.
    pub(crate) fn leave(
        &mut self,
        (now, engine, fx): (Time, &mut Engine, &mut Effects),
        link: SessionId,
        (estate, lasts): (Estate, Lasts),
        ended: Ended,
    ) {
        if self.wanted.remove(&link) {
            return cede((now, engine, fx), link, Some((&estate, lasts)));
        }
        let until = lasts.until(now, link, ended).filter(|_| estate.len() > 0 && !self.closed);
        let Some(until) = until else {
            return forget((now, engine, fx), link, estate);
        };
        if self.kept.len() >= LINKS_MAX || self.deliveries + estate.len() > DELIVERIES_MAX {
            tracing::warn!(target: "protocol", "a link with {} deliveries that are not settled cannot be kept: \
                this shard keeps {} links of {LINKS_MAX}, {} deliveries of {DELIVERIES_MAX}",
                estate.len(), self.kept.len(), self.deliveries);
            return forget((now, engine, fx), link, estate);
        }
        self.deliveries += estate.len();
        self.until.insert((until, link));
        self.kept.insert(link, Kept { estate, lasts, until });
    }

    /// Somebody wants a link's name. True if it was kept, and is over now; if not, it has to be left.
    pub(crate) fn want(
        &mut self,
        (now, engine, fx): (Time, &mut Engine, &mut Effects),
        link: SessionId,
    ) -> bool {
        match self.remove(link) {
            Some(Kept { estate, lasts, .. }) => {
                cede((now, engine, fx), link, Some((&estate, lasts)));
                true
            }
            None => {
                self.wanted.insert(link);
                false
            }
        }
    }

    /// A link's name is free.
    pub(crate) fn ceded(&mut self, link: SessionId) {
        self.wanted.remove(&link);
    }

    /// What links were kept until is over: their time-outs begin.
    pub(crate) fn ended(
        &mut self,
        (now, engine, fx): (Time, &mut Engine, &mut Effects),
        over: Until,
    ) {
        let first = (over, SessionId::new(ShardId(0), 0));
        while let Some(&(until, link)) = self.until.range(first..).next()
            && until == over
        {
            let Some(mut kept) = self.remove(link) else { return };
            match kept.lasts.from(now) {
                None => forget((now, engine, fx), link, kept.estate),
                Some(until) => {
                    kept.until = until;
                    self.deliveries += kept.estate.len();
                    self.until.insert((until, link));
                    self.kept.insert(link, kept);
                }
            }
        }
    }

    /// Forgets what was kept long enough.
    pub(crate) fn expire(&mut self, (now, engine, fx): (Time, &mut Engine, &mut Effects)) {
        while let Some(&(Until::Time(at), link)) = self.until.first()
            && at <= now
        {
            let Some(kept) = self.remove(link) else { return };
            tracing::debug!(target: "protocol", "a link with {} deliveries that are not settled was \
                kept for its time-out of {} s", kept.estate.len(), kept.lasts.timeout);
            forget((now, engine, fx), link, kept.estate);
        }
    }

    /// Forgets all, and whatever comes.
    pub(crate) fn close(&mut self, (now, engine, fx): (Time, &mut Engine, &mut Effects)) {
        self.closed = true;
        while let Some(&(_, link)) = self.until.first()
            && let Some(kept) = self.remove(link)
        {
            forget((now, engine, fx), link, kept.estate);
        }
    }

    fn remove(&mut self, link: SessionId) -> Option<Kept> {
        let kept = self.kept.remove(&link)?;
        self.until.remove(&(kept.until, link));
        self.deliveries -= kept.estate.len();
        Some(kept)
    }
}

/// Gives a link's name up.
fn cede(
    (now, engine, fx): (Time, &mut Engine, &mut Effects),
    link: SessionId,
    leaves: Option<(&Estate, Lasts)>,
) {
    let leaves = leaves.filter(|(estate, _)| estate.len() > 0);
    let leaves = leaves.map(|(estate, lasts)| Arc::from(estate.write(lasts)));
    engine.request(now, link, op::CEDE, Request::Cede { leaves }, fx);
}

/// Gives a link's name up, and back what its client has received.
fn forget((now, engine, fx): (Time, &mut Engine, &mut Effects), link: SessionId, estate: Estate) {
    if let Estate::Held(held) = estate {
        let deliveries: Vec<DeliveryRef> = held.into_iter().map(|(_, held)| held).collect();
        let outcome = Outcome::Released { set_redelivered: true };
        engine.request(now, link, op::SETTLE, Request::Settle { outcome, deliveries }, fx);
    }
    cede((now, engine, fx), link, None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_engine::{Config, Event, QueueId};

    struct Scene {
        links: Links,
        engine: Engine,
        fx: Effects,
    }

    impl Scene {
        fn new() -> Scene {
            let engine = Engine::new(&Config::new(ShardId(0), 1));
            Scene { links: Links::default(), engine, fx: Effects::default() }
        }

        /// Links that gave their names up.
        fn ceded(&mut self) -> Vec<SessionId> {
            let events = self.fx.events.drain(..);
            let ceded = events.filter_map(|event| match event {
                Event::Reply { session, op: op::CEDE, .. } => Some(session),
                _ => None,
            });
            ceded.collect()
        }

        fn leave(&mut self, link: SessionId, deliveries: usize, timeout: u32) {
            let delivery = DeliveryRef { queue: QueueId(1), position: 1 };
            let held = (0..deliveries).map(|tag| (tag as u32, delivery)).collect();
            let lasts = Lasts { timeout, ..Lasts::default() };
            let estate = (Estate::Held(held), lasts);
            let with = (Time(1), &mut self.engine, &mut self.fx);
            self.links.leave(with, link, estate, Ended::Session);
        }
    }

    fn link(n: u64) -> SessionId {
        SessionId::new(ShardId(0), n)
    }

    #[test]
    fn a_shard_keeps_so_many_links_and_deliveries() {
        let mut scene = Scene::new();
        for n in 0..LINKS_MAX as u64 {
            scene.leave(link(n), 1, 5);
        }
        assert_eq!((scene.ceded(), scene.links.kept.len()), (vec![], LINKS_MAX));
        let beyond = link(LINKS_MAX as u64);
        scene.leave(beyond, 1, 5);
        assert_eq!(scene.ceded(), [beyond]);
        // Their time is up, and there is room again.
        let due = scene.links.next().expect("a time");
        assert_eq!(due, Time(1).after(std::time::Duration::from_secs(5)));
        scene.links.expire((due, &mut scene.engine, &mut scene.fx));
        assert_eq!((scene.ceded().len(), scene.links.deliveries), (LINKS_MAX, 0));
        for n in 0..3 {
            scene.leave(link(n), DELIVERIES_MAX / 2, 5);
        }
        assert_eq!((scene.ceded(), scene.links.deliveries), (vec![link(2)], DELIVERIES_MAX));
        assert!(scene.links.want((Time(1), &mut scene.engine, &mut scene.fx), link(0)));
        assert_eq!((scene.ceded(), scene.links.deliveries), (vec![link(0)], DELIVERIES_MAX / 2));
        scene.links.close((Time(1), &mut scene.engine, &mut scene.fx));
        scene.leave(link(3), 1, 5);
        assert_eq!(scene.ceded(), [link(1), link(3)]);
        assert!(scene.links.kept.is_empty() && scene.links.until.is_empty());
    }

    #[test]
    fn what_is_wanted_meanwhile_is_handed_over_at_once() {
        let mut scene = Scene::new();
        assert!(!scene.links.want((Time(1), &mut scene.engine, &mut scene.fx), link(1)));
        assert!(scene.links.is_wanted(link(1)));
        // Its terminus would not last.
        scene.leave(link(1), 1, 0);
        assert_eq!(scene.ceded(), [link(1)]);
        assert!(!scene.links.is_wanted(link(1)));
    }

    #[test]
    fn the_end_of_a_session_begins_the_time_outs_of_its_links_alone() {
        let mut scene = Scene::new();
        let (one, other) = (link(1), link(2));
        for (n, session, timeout) in [(3, one, 0), (4, one, 7), (5, other, 0)] {
            let outcomes = Estate::Outcomes(vec![(Tag::new(), Fate::Accepted)]);
            let lasts = Lasts { timeout, ..Lasts::default() };
            let with = (Time(1), &mut scene.engine, &mut scene.fx);
            scene.links.leave(with, link(n), (outcomes, lasts), Ended::Link(session));
        }
        assert_eq!((scene.ceded(), scene.links.next()), (vec![], None));
        let over = Until::Session(one);
        scene.links.ended((Time(2), &mut scene.engine, &mut scene.fx), over);
        assert_eq!(scene.ceded(), [link(3)]);
        let due = Time(2).after(std::time::Duration::from_secs(7));
        assert_eq!((scene.links.next(), scene.links.kept.len()), (Some(due), 2));
    }
}
