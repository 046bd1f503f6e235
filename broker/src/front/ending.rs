//! The end of a session, whether its client detached it, failed, vanished or was evicted.
//!
//! Stop every subscription and wait until each home has answered, so that no delivery is under
//! way, and until what the session was acquiring is known; release what it holds; cancel; tell the
//! orderer. It outlives the connection.

use crate::links::{Departures, Ended, Fate};
use crate::shard::Ctx;
use fletch_engine::{DeliveryRef, Error, Mode, OpId, Outcome, Reply, Request, SessionId};
use foldhash::{HashMap, HashSet};
use std::sync::Arc;

/// Operations of an ending are numbered from here, beyond every command id.
const FIRST_OP: OpId = 1 << 32;

/// A subscription that must be stopped and cancelled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// It consumes and its deliveries want settling.
    holds: bool,
}

impl Left {
    pub(crate) fn new(mode: Mode, settles: bool) -> Left {
        Left { holds: mode == Mode::Consume && settles }
    }
}

/// Commits under way, each with the deliveries that it accepts.
pub(crate) type Commits = Vec<(OpId, Vec<DeliveryRef>)>;

/// A binding that lasts as long as its session: queue, exchange, key.
pub(crate) type ScopedBinding = (Arc<str>, Arc<str>, Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The name was asked for and not yet answered.
    Attaching,
    Stopping,
    Releasing,
    Cancelling,
    Closing,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ending {
    session: SessionId,
    stage: Stage,
    /// Answers this stage waits for: all that it asked, and the acquires.
    waiting: usize,
    next_op: OpId,
    subscriptions: HashMap<u32, Left>,
    /// Commands of the session that acquire browsed messages and are not answered.
    acquires: Vec<OpId>,
    /// Commits of the session that are not answered, each with the deliveries that it accepts.
    commits: Commits,
    /// Sent to the client, not settled.
    held: Vec<DeliveryRef>,
    /// Never sent to the client.
    unsent: Vec<DeliveryRef>,
    /// What deletes the nodes that go with the session.
    deletions: Vec<Request>,
    /// Its links, and what is over with it.
    departures: Departures,
    ended: Ended,
}

impl Ending {
    /// Starts the end of an attached session.
    pub(crate) fn start(
        ctx: &mut Ctx<'_>,
        session: SessionId,
        subscriptions: HashMap<u32, Left>,
        held: Vec<DeliveryRef>,
        (acquires, commits): (Vec<OpId>, Commits),
        bindings: HashSet<ScopedBinding>,
    ) -> Ending {
        let mut ending = Ending::new(session, Stage::Stopping, subscriptions, held);
        for (queue, exchange, key) in bindings {
            ending.ask(ctx, Request::Unbind { queue, exchange, key });
        }
        ending.acquires = acquires;
        ending.commits = commits;
        ending.waiting += ending.acquires.len() + ending.commits.len();
        let tags: Vec<u32> = ending.subscriptions.keys().copied().collect();
        for tag in tags {
            ending.ask(ctx, Request::Stop { tag });
        }
        ending.advance(ctx);
        ending
    }

    /// The end of a session whose attach has not been answered.
    pub(crate) fn of_attaching(session: SessionId) -> Ending {
        let mut ending = Ending::new(session, Stage::Attaching, HashMap::default(), Vec::new());
        ending.waiting = 1;
        ending
    }

    fn new(
        session: SessionId,
        stage: Stage,
        subscriptions: HashMap<u32, Left>,
        held: Vec<DeliveryRef>,
    ) -> Ending {
        Ending {
            session,
            stage,
            waiting: 0,
            next_op: FIRST_OP,
            subscriptions,
            acquires: Vec::new(),
            commits: Vec::new(),
            held,
            unsent: Vec::new(),
            deletions: Vec::new(),
            departures: Departures::default(),
            ended: Ended::Session,
        }
    }

    /// These requests delete nodes that go with the session, when nothing of it is there any more.
    pub(crate) fn delete(&mut self, deletions: Vec<Request>) {
        self.deletions = deletions;
    }

    /// Links that are left with the session, when nothing of it is there any more.
    pub(crate) fn leave(&mut self, departures: Departures, ended: Ended) {
        (self.departures, self.ended) = (departures, ended);
    }

    /// The outcome of a publish. True when the session has ended.
    pub(crate) fn outcome(
        &mut self,
        ctx: &mut Ctx<'_>,
        op: OpId,
        fate: impl FnOnce() -> Fate,
    ) -> bool {
        if !self.departures.is_waiting() || !self.departures.outcome(op, &fate()) {
            return false;
        }
        if self.stage == Stage::Closing {
            self.departures.leave(ctx, self.ended);
        }
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.stage == Stage::Closing && self.waiting == 0 && !self.departures.is_waiting()
    }

    /// A delivery that was under way when the session ended.
    pub(crate) fn deliver(&mut self, tag: u32, delivery: DeliveryRef) {
        if self.subscriptions.get(&tag).is_some_and(|s| s.holds) {
            self.unsent.push(delivery);
        }
    }

    /// An answer. True when the session has ended.
    pub(crate) fn reply(
        &mut self,
        ctx: &mut Ctx<'_>,
        op: OpId,
        result: Result<Reply, Error>,
    ) -> bool {
        if self.stage == Stage::Attaching {
            if result.is_err() {
                return true; // Refused: it holds nothing.
            }
        } else if let Some(at) = self.acquires.iter().position(|acquire| *acquire == op) {
            self.acquires.swap_remove(at);
            if let Ok(Reply::Acquired(deliveries)) = result {
                self.held.extend(deliveries);
            }
        } else if let Some(at) = self.commits.iter().position(|(commit, _)| *commit == op) {
            let (_, accepted) = self.commits.swap_remove(at);
            if result.is_err() {
                self.held.extend(accepted);
            }
        } else if !(FIRST_OP..self.next_op).contains(&op) {
            return false; // Of a command of the session.
        }
        self.waiting -= 1;
        self.advance(ctx)
    }

    fn ask(&mut self, ctx: &mut Ctx<'_>, request: Request) {
        let op = self.next_op;
        self.next_op += 1;
        self.waiting += 1;
        ctx.engine.request(ctx.now, self.session, op, request, ctx.fx);
    }

    /// Goes on to the next stage while nothing is waited for. True after the last.
    fn advance(&mut self, ctx: &mut Ctx<'_>) -> bool {
        while self.waiting == 0 {
            match self.stage {
                Stage::Attaching => {
                    self.stage = Stage::Stopping;
                }
                Stage::Stopping => {
                    self.stage = Stage::Releasing;
                    let held = std::mem::take(&mut self.held);
                    let unsent = std::mem::take(&mut self.unsent);
                    for (deliveries, set_redelivered) in [(held, true), (unsent, false)] {
                        let outcome = Outcome::Released { set_redelivered };
                        self.ask(ctx, Request::Settle { outcome, deliveries });
                    }
                }
                Stage::Releasing => {
                    self.stage = Stage::Cancelling;
                    let tags: Vec<u32> = self.subscriptions.keys().copied().collect();
                    for tag in tags {
                        self.ask(ctx, Request::Cancel { tag });
                    }
                }
                Stage::Cancelling => {
                    self.stage = Stage::Closing;
                    self.departures.leave(ctx, self.ended);
                    for deletion in std::mem::take(&mut self.deletions) {
                        self.ask(ctx, deletion);
                    }
                    self.ask(ctx, Request::Close);
                }
                Stage::Closing => return self.is_over(),
            }
        }
        false
    }
}
