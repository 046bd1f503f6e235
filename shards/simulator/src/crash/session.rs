//! Sessions as a front end keeps them: what they have asked for, what they hold, how they end.

use super::branch::Verb;
use super::model::Purge;
use super::orders::Wants;
use super::topology::Name;
use super::world::World;
use crate::message::MessageId;
use fletch_engine::{
    DeliveryRef, Force, Mode, OpId, Outcome, QueueId, Request, SessionId, ShardId,
};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Attaching,
    Live,
    /// Ending: all subscriptions are stopped.
    Stopping,
    Releasing,
    Cancelling,
    Closing,
    /// What it asked for last is still to be answered.
    Over,
}

/// A request that was not answered yet.
#[derive(Debug)]
pub(super) enum Asked {
    Attach,
    /// To make or delete something, asked for after this step of the topology.
    Topology {
        name: Name,
        makes: bool,
        step: usize,
    },
    Purge(Option<(QueueId, Purge)>),
    /// Of a queue, if it has an alternate exchange.
    Reroute(Option<QueueId>),
    Subscribe(u32),
    Cancel(u32),
    Stop,
    Settle(Outcome, Vec<(QueueId, MessageId)>),
    /// Which transaction of the model's, and what it accepts.
    Commit(usize, Vec<Held>),
    /// Of which branch.
    Branch(u64, Verb),
    /// Which branches are in doubt.
    Recover,
    Close,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) mode: Mode,
    pub(super) settles: bool,
    pub(super) wants: Option<Wants>,
    pub(super) cancelled: bool,
}

impl Subscription {
    /// What it is sent is the session's to settle.
    pub(super) fn holds(&self) -> bool {
        self.mode == Mode::Consume && self.settles
    }

    /// What it is sent has left its queue by that.
    pub(super) fn takes(&self) -> bool {
        self.mode == Mode::Consume && !self.settles
    }
}

/// A delivery that the client has not settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) delivery: DeliveryRef,
    pub(super) number: MessageId,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) stage: Stage,
    pub(super) subscriptions: BTreeMap<u32, Subscription>,
    pub(super) next_tag: u32,
    pub(super) next_op: OpId,
    pub(super) asked: BTreeMap<OpId, Asked>,
    pub(super) publishing: BTreeMap<OpId, MessageId>,
    pub(super) held: Vec<Held>,
    /// Ending: answers that this stage waits for.
    awaited: usize,
}

impl World<'_> {
    pub(super) fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions.get_mut(&id).expect("the session exists")
    }

    pub(super) fn attach(&mut self, shard: ShardId) -> SessionId {
        let id = SessionId::new(shard, self.next_session);
        self.next_session += 1;
        let session = Session {
            stage: Stage::Attaching,
            subscriptions: BTreeMap::new(),
            next_tag: 0,
            next_op: 1,
            asked: BTreeMap::new(),
            publishing: BTreeMap::new(),
            held: Vec::new(),
            awaited: 0,
        };
        self.sessions.insert(id, session);
        let name = format!("client-{}", id.raw()).into();
        self.ask(id, Asked::Attach, Request::Attach { name, force: Force::No });
        id
    }

    pub(super) fn ask(&mut self, id: SessionId, asked: Asked, request: Request) {
        let session = self.session(id);
        let op = session.next_op;
        session.next_op += 1;
        session.asked.insert(op, asked);
        self.trace.add(id.shard().0, request_name(&request), id.raw(), op);
        self.input(id.shard(), |engine, now, fx| engine.request(now, id, op, request, fx));
    }

    /// Asks for something to be made or deleted.
    pub(super) fn order(&mut self, id: SessionId, name: Name, makes: bool, request: Request) {
        if let Name::Queue(queue) = &name
            && !makes
        {
            self.model.deletes(queue, true);
        }
        let step = self.history.step();
        self.ask(id, Asked::Topology { name, makes, step }, request);
    }

    pub(super) fn settle(&mut self, id: SessionId, outcome: Outcome, held: &[Held]) {
        held.iter().for_each(|h| self.model.gives_up(h.delivery.queue, h.number));
        if !matches!(outcome, Outcome::Released { .. }) {
            let rejects = outcome == Outcome::Rejected;
            for h in held {
                self.model.takes(h.delivery.queue, h.number, rejects);
            }
        }
        let deliveries = held.iter().map(|h| h.delivery).collect();
        let what = held.iter().map(|h| (h.delivery.queue, h.number)).collect();
        self.ask(id, Asked::Settle(outcome, what), Request::Settle { outcome, deliveries });
    }

    pub(super) fn cancel(&mut self, id: SessionId, tag: u32) {
        if let Some(s) = self.session(id).subscriptions.get_mut(&tag) {
            s.cancelled = true;
        }
        self.ask(id, Asked::Cancel(tag), Request::Cancel { tag });
    }

    // ---- the end -------------------------------------------------------------------------

    /// The session ends, as the front end does it: stop, release, cancel, close, each when the one
    /// before is answered.
    pub(super) fn end(&mut self, id: SessionId) {
        let session = self.session(id);
        if session.stage != Stage::Live {
            return;
        }
        session.stage = Stage::Stopping;
        let commits = session.asked.values().filter(|asked| matches!(asked, Asked::Commit(..)));
        session.awaited = session.subscriptions.len() + commits.count() + 1;
        let tags: Vec<u32> = session.subscriptions.keys().copied().collect();
        for tag in tags {
            self.ask(id, Asked::Stop, Request::Stop { tag });
        }
        self.ended_one(id);
    }

    /// An answer has come that the end of the session may wait for.
    pub(super) fn ended_one(&mut self, id: SessionId) {
        let session = self.session(id);
        session.awaited -= 1;
        if session.awaited > 0 {
            return;
        }
        match session.stage {
            Stage::Stopping => {
                session.stage = Stage::Releasing;
                session.awaited = 1;
                let held = std::mem::take(&mut session.held);
                self.settle(id, Outcome::Released { set_redelivered: true }, &held);
            }
            Stage::Releasing => {
                session.stage = Stage::Cancelling;
                let open = session.subscriptions.iter().filter(|(_, s)| !s.cancelled);
                let tags: Vec<u32> = open.map(|(tag, _)| *tag).collect();
                // Those under way are waited for too.
                session.awaited = session.subscriptions.len() + 1;
                tags.into_iter().for_each(|tag| self.cancel(id, tag));
                self.ended_one(id);
            }
            Stage::Cancelling => {
                session.stage = Stage::Closing;
                session.awaited = 1;
                self.ask(id, Asked::Close, Request::Close);
            }
            Stage::Closing => session.stage = Stage::Over,
            Stage::Attaching | Stage::Live | Stage::Over => {}
        }
    }
}

fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Attach { .. } => "ask attach",
        Request::Close => "ask close",
        Request::Cede { .. } => "ask cede",
        Request::DeclareQueue(_) => "ask declare queue",
        Request::DeleteQueue { .. } => "ask delete queue",
        Request::PurgeQueue { .. } => "ask purge",
        Request::MoveMessages { .. } => "ask move",
        Request::Redirect { .. } => "ask redirect",
        Request::RerouteMessages { .. } => "ask reroute",
        Request::CreateObject(_) => "ask create object",
        Request::DeleteObject { .. } => "ask delete object",
        Request::DeclareExchange(_) => "ask declare exchange",
        Request::DeleteExchange { .. } => "ask delete exchange",
        Request::Bind(_) => "ask bind",
        Request::Unbind { .. } => "ask unbind",
        Request::Subscribe(_) => "ask subscribe",
        Request::Cancel { .. } => "ask cancel",
        Request::Stop { .. } => "ask stop",
        Request::Settle { outcome: Outcome::Accepted, .. } => "ask accept",
        Request::Settle { outcome: Outcome::Rejected, .. } => "ask reject",
        Request::Settle { .. } => "ask release",
        Request::Commit(_) => "ask commit",
        Request::Route { .. } => "ask route",
        Request::Dtx(_) => "ask dtx",
        _ => "ask",
    }
}
