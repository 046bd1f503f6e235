//! What the engines tell sessions, and what the model learns by it.

use super::session::{Asked, Held, Session, Stage};
use super::topology::Name;
use super::world::World;
use crate::message::message_id;
use fletch_engine::{Error, ErrorKind, Event, Outcome, QueueId, Reply, SessionId, SubscriptionId};
use std::collections::BTreeSet;

impl World<'_> {
    pub(super) fn on_event(&mut self, event: Event) {
        let id = event.session();
        assert!(self.sessions.contains_key(&id), "an event for no session: {event:?}");
        match event {
            Event::Deliver { to, delivery, message, .. } => {
                let number = message_id(&message);
                let session = self.session(id);
                let open = matches!(session.stage, Stage::Live | Stage::Stopping);
                assert!(open, "{to:?} gets {delivery:?} after its stop");
                if session.subscriptions[&to.tag].holds() {
                    session.held.push(Held { delivery, number });
                }
                self.give_room(to, message.size() as u64);
            }
            Event::Published { op, .. } => {
                self.trace.add(id.shard().0, "published", id.raw(), op);
                let number = self.session(id).publishing.remove(&op);
                self.model.acknowledged(number.expect("a publish completes once"));
            }
            Event::Withheld { op, .. } => {
                self.trace.add(id.shard().0, "withheld", id.raw(), op);
                assert!(self.session(id).publishing.contains_key(&op), "it is complete");
            }
            Event::Refused { op, reason, .. } => {
                self.trace.add(id.shard().0, "refused", id.raw(), op);
                assert!(reason.kind == ErrorKind::ResourceLimit, "a publish is refused: {reason}");
                self.marks.hit("publish refused by another shard", true);
                let number = self.session(id).publishing.remove(&op);
                self.model.refused(number.expect("a publish is refused once"), false);
            }
            Event::Reply { op, result, .. } => {
                let ok = u64::from(result.is_ok());
                self.trace.add(id.shard().0, "answer", id.raw(), op << 1 | ok);
                let asked = self.session(id).asked.remove(&op);
                let asked = asked.unwrap_or_else(|| panic!("{id:?}: request {op} answered twice"));
                self.on_reply(id, asked, result);
            }
            Event::SubscriptionEnded { to, .. } => {
                self.trace.add(id.shard().0, "subscription ended", id.raw(), u64::from(to.tag));
                let session = self.session(id);
                session.subscriptions.remove(&to.tag);
            }
            Event::BranchExpired { branch, .. } => panic!("{branch} has no timeout"),
            Event::Evicted { .. } => panic!("{id:?} is evicted, and its name is its own"),
        }
        let over =
            |s: &Session| s.stage == Stage::Over && s.asked.is_empty() && s.publishing.is_empty();
        if self.sessions.get(&id).is_some_and(over) {
            self.sessions.remove(&id);
        }
    }

    /// The connection has written a delivery out.
    fn give_room(&mut self, to: SubscriptionId, size: u64) {
        self.input(to.session.shard(), |engine, now, fx| engine.room(now, to, (1, size), fx));
    }

    fn on_reply(&mut self, id: SessionId, asked: Asked, result: Result<Reply, Error>) {
        let failed = result.is_err();
        match asked {
            Asked::Attach => {
                assert!(!failed, "{id:?} cannot have its name");
                self.session(id).stage = Stage::Live;
            }
            Asked::Topology { name, makes, step } => {
                if let (Name::Queue(queue), false) = (&name, makes) {
                    self.model.deletes(queue, false);
                }
                match (failed, makes) {
                    (true, _) => self.marks.hit("change of the topology refused", true),
                    (false, true) => self.history.made(&name, step),
                    (false, false) => self.history.deleted(&name, step),
                }
            }
            Asked::Purge(None) => {}
            Asked::Reroute(queue) => {
                let some = matches!(result, Ok(Reply::Moved(n)) if n > 0);
                self.marks.hit("rerouted", some);
                if let Some(queue) = queue {
                    self.model.has_rerouted(queue);
                }
            }
            Asked::Purge(Some((queue, purge))) => {
                let there = self.numbers_in(queue);
                let there = if failed { None } else { there };
                self.model.has_purged(queue, &purge, there.as_ref());
            }
            Asked::Subscribe(tag) => {
                let session = self.session(id);
                let open = session.subscriptions.get(&tag).is_some_and(|s| !s.cancelled);
                if failed && open && session.stage == Stage::Live {
                    // The engine knows it until it is cancelled.
                    self.cancel(id, tag);
                }
            }
            Asked::Cancel(tag) => {
                assert!(!failed, "a cancel fails");
                let session = self.session(id);
                session.subscriptions.remove(&tag);
                if session.stage == Stage::Cancelling {
                    self.ended_one(id);
                }
            }
            Asked::Stop => {
                assert!(!failed, "a stop fails");
                self.ended_one(id);
            }
            Asked::Settle(outcome, what) => {
                assert!(!failed, "a settlement fails");
                if outcome == Outcome::Accepted {
                    let full = self.engines.iter().any(|e| e.log().is_some_and(|l| l.is_full()));
                    self.marks.hit("accept answered while a disk is full", full);
                    for (queue, number) in what {
                        self.model.has_taken(queue, number);
                    }
                } else if self.session(id).stage == Stage::Releasing {
                    self.on_released(id, outcome);
                }
            }
            Asked::Commit(number, accepted) => {
                self.on_committed(id, number, accepted, result.err());
            }
            Asked::Branch(number, verb) => self.on_branch(id, (number, verb), result),
            Asked::Recover => self.on_recovered(id, result),
            Asked::Close => {
                assert!(!failed, "a close fails");
                self.ended_one(id);
            }
        }
    }

    fn on_released(&mut self, id: SessionId, outcome: Outcome) {
        // A release or reject of before may be answered as late as this.
        let session = self.session(id);
        let released = |asked: &Asked| matches!(asked, Asked::Settle(o, _) if *o == outcome);
        if outcome == (Outcome::Released { set_redelivered: true })
            && !session.asked.values().any(released)
        {
            self.ended_one(id);
        }
    }

    /// The messages that are in a queue now, or have left it for somebody whom they are held back from.
    fn numbers_in(&self, queue: QueueId) -> Option<BTreeSet<u32>> {
        self.engines.iter().find_map(|engine| {
            let q = engine.queues().find(|q| q.id() == queue)?;
            let held = engine.held_back().filter(|(at, _)| at.queue == queue);
            let held = held.map(|(_, message)| message);
            let all = q.all_messages().filter_map(|(_, message, _)| message);
            // Which are away cannot be told.
            (q.away() == 0).then(|| all.chain(held).map(message_id).collect())
        })
    }
}
