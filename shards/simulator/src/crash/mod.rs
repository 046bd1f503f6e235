//! The crash mode: engines with their journals on faulty disks, which die at any moment and start again.
//!
//! A seed's broker works, crashes, recovers, works on; also it stops and starts, moves to another
//! number of shards, and runs out of space. After each start everything that a client was told is
//! compared with what is there: acknowledged messages, acknowledged dequeues, order, publishes to
//! several shards, the topology. At rest the logs are small and quiet, and nobody waits.

mod branch;
mod check;
mod client;
mod events;
mod mix;
mod model;
mod orders;
mod recovery;
mod rehome;
mod repeats;
mod session;
mod start;
mod topology;
mod transaction;
mod world;

use crate::run::Summary;
use crate::trace::Trace;
use check::After;
use fletch_engine::{Engine, Outcome, QueueId, SessionId, ShardId, Time};
use session::{Asked, Stage};
use std::collections::BTreeSet;
use world::World;

/// Runs a seed.
pub(crate) fn run(seed: u64, steps: Option<u64>, trace: &mut Trace) -> Summary {
    let mut world = World::new(seed, steps, trace);
    world.make_disks();
    if world.first_start() {
        world.work();
    }
    Summary {
        messages: u64::from(world.model.next_message()),
        deliveries: world.model.deliveries,
        steps: world.trace.step,
        trace: world.trace.hash(),
        marks: world.marks,
    }
}

impl World<'_> {
    fn first_start(&mut self) -> bool {
        if !self.start() {
            return false;
        }
        self.set_up();
        self.check_rest();
        true
    }

    fn work(&mut self) {
        for _ in 0..self.mix.steps {
            self.trace.step += 1;
            if !self.go_on_or_fail() {
                return;
            }
        }
        self.let_come_due();
        self.end_all();
        self.check_idle();
        self.check_vouched();
        if self.rng.chance(50) {
            self.stop();
        } else {
            self.crash();
        }
        if self.start() {
            self.rest();
            self.check_rest();
            self.check_consumed();
            self.check_rest();
        }
    }

    /// A step, or something that goes wrong instead. False if the seed is over.
    fn go_on_or_fail(&mut self) -> bool {
        let once_in = |rng: &mut crate::rng::Rng, n: usize| n > 0 && rng.below(n) == 0;
        // More often when it matters.
        let writing = self.disks.iter().any(|disk| disk.is_writing());
        if once_in(&mut self.rng, self.mix.crash_every / if writing { 4 } else { 1 }) {
            self.crash();
            return self.start();
        }
        if once_in(&mut self.rng, self.mix.stop_every) {
            self.stop();
            return self.start();
        }
        if writing && once_in(&mut self.rng, self.mix.error_every * 10) {
            // The shard ends the process.
            self.marks.hit("write failed", true);
            self.crash();
            return self.start();
        }
        if self.mix.tight && self.rng.chance(3) {
            self.squeeze();
        }
        let full = |e: &Engine| e.log().is_some_and(|log| log.is_full());
        if self.mix.tight && self.rng.chance(2) && self.engines.iter().any(full) {
            self.consume();
        }
        if self.rng.below(300) == 0 {
            self.rest();
            self.check_rest();
        }
        self.step();
        let damaged = self.engines.iter().any(|engine| engine.damage().is_some());
        self.marks.hit("damage noticed while running", damaged);
        !damaged
    }

    /// The space of a disk shrinks to what is used and a little more, or there is room again.
    fn squeeze(&mut self) {
        let n = self.rng.below(self.disks.len());
        let room = self.disks[n].used() + self.mix.segment * self.rng.below(3) as u64;
        let limited = self.disks[n].is_limited();
        let full = self.engines[n].log().is_some_and(|log| log.is_full());
        self.marks.hit("room on a disk that was full", limited && full);
        self.disks[n].set_space(if limited { u64::MAX } else { room });
    }

    /// A full disk does not keep clients from taking messages, as long as the log has what it keeps for
    /// that: none if the disk became full before the log had a segment too many.
    fn consume(&mut self) {
        let has_reserve = |e: &Engine| e.log().is_some_and(|log| log.admits_small());
        let is_full = |e: &Engine| e.log().is_some_and(|log| log.is_full());
        let were_full: Vec<bool> = self.engines.iter().map(is_full).collect();
        let mut must = self.engines.iter().all(has_reserve);
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let held = std::mem::take(&mut self.session(id).held);
            if self.sessions[&id].stage == Stage::Live && !held.is_empty() {
                self.settle(id, Outcome::Accepted, &held);
                self.marks.hit("accepts on a full disk that have room", must);
            }
        }
        self.calm_down();
        // A log that learns only now that its disk is full may have filled its last segment before.
        must &=
            self.engines.iter().zip(were_full).all(|(e, was)| was || !is_full(e) || has_reserve(e));
        if !must {
            return;
        }
        // One of a queue that is deleted waits for room where its messages move to.
        let queues = self.engines.iter().flat_map(Engine::queues);
        let queues: BTreeSet<QueueId> = queues.map(fletch_engine::queue::Queue::id).collect();
        for (id, session) in &self.sessions {
            let accept = session.asked.values().find(|asked| match asked {
                Asked::Settle(Outcome::Accepted, all) => {
                    all.iter().all(|(queue, _)| queues.contains(queue))
                }
                _ => false,
            });
            assert!(accept.is_none(), "{id:?} waits on a full disk for {accept:?}");
        }
    }

    /// At rest everybody has an answer, and the queues hold what they must.
    fn check_rest(&mut self) {
        self.end_branches();
        let held: usize =
            self.engines.iter().flat_map(Engine::queues).map(|q| q.held_publishes()).sum();
        let publishing: usize = self.sessions.values().map(|s| s.publishing.len()).sum();
        assert!(publishing <= held, "{publishing} publishes wait, and queues hold {held}");
        for q in self.engines.iter().flat_map(Engine::queues) {
            self.marks.hit("displaced", q.counters().displaced > 0);
        }
        for (id, session) in &self.sessions {
            assert!(session.asked.is_empty(), "{id:?} waits for {:?}", session.asked);
        }
        let found = self.found();
        self.check_orders(&found, After::Rest);
        self.model.check(&found, self.now, After::Rest, &mut self.marks);
    }

    /// All sessions end.
    fn end_all(&mut self) {
        self.rest();
        if self.mix.paging.is_some() {
            self.drain();
        }
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            // One whose last publish goes on by the end of another is gone.
            if self.sessions.contains_key(&id) {
                self.end(id);
            }
        }
        self.rest();
        for (id, session) in &self.sessions {
            assert!(session.stage == Stage::Over, "{id:?} does not end: {session:?}");
        }
        self.check_rest();
    }

    /// A log that rests is soon proof against damage that looks like a crash.
    fn check_vouched(&mut self) {
        // What vouches takes room, for which a segment may have to be cleaned, and that be vouched for:
        // with segments of two batches for good. And as time passes, messages expire.
        let tiny = |e: &Engine| e.log().is_some_and(|log| log.segments().any(|s| s.len < 16384));
        if self.mix.segment < 16384 || self.engines.iter().any(tiny) {
            return;
        }
        for _ in 0..200 {
            self.now = Time(self.now.0 + 25_000_000);
            for shard in (0..self.shards).map(ShardId) {
                self.input(shard, |engine, now, fx| engine.tick(now, fx));
            }
            self.rest();
            if self.engines.iter().all(|e| e.log().is_none_or(|log| !log.is_unvouched())) {
                return;
            }
        }
        panic!("nothing vouches for a log");
    }

    fn check_idle(&self) {
        for engine in &self.engines {
            assert!(engine.is_idle(), "an engine has something left: {engine:?}");
        }
    }
}
