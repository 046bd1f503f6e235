//! Sessions here with publishes on their way to other shards, while there are exchanges with a home.
//!
//! A message for such an exchange is routed at its home, later than what its session asks for next would be
//! done here, and it may overtake what the session has sent straight to a queue's home. So that all is done
//! in the session's order, what goes another way waits until those are safe where they belong. What goes
//! the same way need not wait: the rings keep it in order.

use super::Engine;
use crate::frame::{Effects, Frame, QueueCommand};
use crate::ids::{SessionId, ShardId, SubscriptionId, Time};
use crate::message::Message;
use crate::pending::Origin;
use crate::request::{Event, OpId, Published, Request, Target};
use crate::topology::{Detour, FixedMap, Routes, Way, home_of_exchange};
use std::collections::VecDeque;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Away {
    /// Of those that have publishes under way.
    sessions: FixedMap<SessionId, Sent>,
    /// Those whose publishes are all safe.
    returned: VecDeque<SessionId>,
}

/// What a session has sent away.
#[derive(Debug)]
struct Sent {
    /// By way of this home, or straight to queues' homes.
    by: Option<ShardId>,
    under_way: usize,
    waiting: VecDeque<Waiting>,
}

/// What waits behind it.
#[derive(Debug)]
pub(super) enum Waiting {
    Publish(OpId, Kept, Message),
    Request(OpId, Box<Request>),
    Tell(SubscriptionId, QueueCommand),
}

/// A [`Target`] that is kept.
#[derive(Debug)]
pub(super) enum Kept {
    Exchange(Arc<str>),
    Queue(Arc<str>),
}

impl From<Target<'_>> for Kept {
    fn from(target: Target<'_>) -> Kept {
        match target {
            Target::Exchange(name) => Kept::Exchange(name.into()),
            Target::Queue(name) => Kept::Queue(name.into()),
        }
    }
}

impl Kept {
    fn target(&self) -> Target<'_> {
        match self {
            Kept::Exchange(name) => Target::Exchange(name),
            Kept::Queue(name) => Target::Queue(name),
        }
    }
}

impl Away {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// A session publishes by way of a home, or straight to queues' homes.
    pub(super) fn sent(&mut self, session: SessionId, by: Option<ShardId>) {
        let new = || Sent { by, under_way: 0, waiting: VecDeque::new() };
        let sent = self.sessions.entry(session).or_insert_with(new);
        debug_assert_eq!(sent.by, by, "one way at a time");
        sent.under_way += 1;
    }

    /// One of a session's publishes is safe, or refused.
    pub(super) fn arrived(&mut self, session: SessionId) {
        if let Some(sent) = self.sessions.get_mut(&session) {
            sent.under_way -= 1;
            if sent.under_way == 0 {
                self.returned.push_back(session);
            }
        }
    }

    /// Whether there is one whose waiting may go on.
    pub(super) fn has_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    /// A session whose waiting may go on, by [`Engine::resume`].
    pub(super) fn next_returned(&mut self) -> Option<SessionId> {
        self.returned.pop_front()
    }

    /// This comes behind what the session has sent away.
    pub(super) fn wait(&mut self, session: SessionId, waiting: Waiting) {
        if let Some(sent) = self.sessions.get_mut(&session) {
            sent.waiting.push_back(waiting);
        }
    }

    /// Keeps a command of a subscription back if others of its session wait: it comes behind those.
    pub(super) fn behind_others(
        &mut self,
        to: SubscriptionId,
        command: QueueCommand,
    ) -> Option<QueueCommand> {
        if self.sessions.is_empty() {
            return Some(command);
        }
        match self.sessions.get_mut(&to.session).filter(|sent| !sent.waiting.is_empty()) {
            Some(sent) => {
                sent.waiting.push_back(Waiting::Tell(to, command));
                None
            }
            None => Some(command),
        }
    }
}

impl Engine {
    /// Keeps a request back if its session has publishes under way by an exchange's home. What concerns
    /// deliveries alone need not wait for them.
    pub(super) fn behind_publishes(
        &mut self,
        session: SessionId,
        op: OpId,
        request: Request,
    ) -> Option<Request> {
        if self.away.is_empty() {
            return Some(request);
        }
        let settles = matches!(request, Request::Settle { .. } | Request::Acquire { .. });
        match self.away.sessions.get_mut(&session) {
            Some(sent) if sent.by.is_some() && !settles || !sent.waiting.is_empty() => {
                sent.waiting.push_back(Waiting::Request(op, Box::new(request)));
                None
            }
            _ => Some(request),
        }
    }

    /// Whether a message that goes this way has to wait for those its session has sent away.
    pub(super) fn is_behind_publishes(&self, session: SessionId, way: &Way) -> bool {
        if self.away.is_empty() {
            return false;
        }
        let Some(sent) = self.away.sessions.get(&session) else { return false };
        let by = match way {
            Way::Queues(_) => None,
            Way::Home(detour) => Some(home_of_exchange(self.shards, &detour.exchange)),
        };
        by != sent.by || !sent.waiting.is_empty()
    }

    /// Whose a publish to these queues is. One that goes to other shards is noted if there are exchanges
    /// with a home, for messages to those must not overtake it.
    pub(super) fn origin_of(&mut self, session: SessionId, op: OpId, routes: &Routes) -> Origin {
        if self.topology.has_homes() && routes.iter().any(|r| r.home != self.shard) {
            self.away.sent(session, None);
            return Origin::Away(session, op);
        }
        Origin::Session(session, op)
    }

    /// Publishes by way of the home of an exchange that keeps something of its messages.
    pub(super) fn publish_by_home(
        &mut self,
        (session, op): (SessionId, OpId),
        detour: Detour,
        message: &Message,
        fx: &mut Effects,
    ) {
        let home = home_of_exchange(self.shards, &detour.exchange);
        self.away.sent(session, Some(home));
        let slot = Some(self.publishes.insert(Origin::Away(session, op), 1, None));
        let (epoch, message) = (self.topology.epoch(), message.clone());
        let Detour { exchange, last } = detour;
        let (moves, hops) = (None, 0);
        let frame = Frame::Route { epoch, slot, moves, hops, last, exchange, message };
        self.send(home, frame, fx);
    }

    /// Does what has waited, in order, as far as it need not wait again.
    pub(super) fn resume(&mut self, now: Time, session: SessionId, fx: &mut Effects) {
        let Some(sent) = self.away.sessions.remove(&session) else { return };
        for waiting in sent.waiting {
            match waiting {
                Waiting::Publish(op, to, message) => {
                    match self.publish_now(now, (session, op), to.target(), &message, fx) {
                        Ok(Published::Pending) => {}
                        Ok(Published::Done) => fx.events.push(Event::Published { session, op }),
                        Err(reason) => fx.events.push(Event::Refused { session, op, reason }),
                    }
                }
                Waiting::Request(op, request) => {
                    if let Some(request) = self.behind_publishes(session, op, *request) {
                        self.handle(now, session, op, request, fx);
                    }
                }
                Waiting::Tell(to, command) => self.tell_now(now, to, command, fx),
            }
        }
    }
}
