//! The one place that changes the topology: validates requests in order, on shard 0.
//!
//! A change is applied to shard 0's replica the moment it is made, so the next request is checked
//! against it; then it is broadcast. Its requester is answered when every shard has applied it.
//! What only a queue's home can know (is it used, is it empty) is asked there; until the answer
//! is in, requests that name the queue wait, in order. Requests of one session about different
//! queues or exchanges are not ordered by this: who needs that waits for replies.

use super::Topology;
use super::change::{Change, QueueDescriptor};
use super::checks::cannot_be_exclusive;
use super::decision::{BY_ITSELF, Conditions, Decision, RELEASED, TopologyRequest};
use super::names::FixedMap;
use super::registry::{Attached, Registry};
use crate::error::{Error, ErrorKind};
use crate::ids::{Epoch, QueueId, SessionId, ShardId};
use crate::queue::QueueDefaults;
use crate::request::{Force, OpId, Reply};
use fletch_amqp::types::Map;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) type Asker = (SessionId, OpId);
pub(super) type Decisions = Vec<Decision>;

/// What a home is asked for.
#[derive(Debug)]
pub(super) enum Vote {
    /// A session deletes the queue.
    Delete(Asker),
    /// It was seen unused. Who caused it may want to know when this is over.
    AutoDelete(Option<Asker>),
    /// It was too full.
    SelfDestruct,
    /// A session wants it for itself.
    Own(Asker),
    /// The owner of an auto-delete queue closes.
    Release(SessionId),
    /// As `Own`, but the session has closed meanwhile.
    Forgotten,
}

/// Something that waits for the end of a vote.
#[derive(Debug)]
enum Work {
    Request(Asker, TopologyRequest),
    AutoDelete(Option<Asker>),
    SelfDestruct,
    Release(SessionId),
}

#[derive(Debug)]
struct Ballot {
    vote: Vote,
    waiting: VecDeque<Work>,
}

/// What follows when all shards have applied an epoch.
#[derive(Debug)]
enum Due {
    Answer(Asker),
    Closed(Asker),
}

/// A session that closes and has queues to give up.
#[derive(Debug)]
struct Closing {
    op: OpId,
    queues_left: usize,
}

/// How far a valid request has come.
pub(super) enum Progress {
    /// As far as the orderer is concerned it is done.
    Made,
    /// A home was asked.
    Asked,
}

/// See the module.
#[derive(Debug)]
pub struct Orderer {
    pub(super) shards: u16,
    next_id: u64,
    /// Per shard: the newest epoch it has applied.
    applied: Vec<Epoch>,
    due: VecDeque<(Epoch, Due)>,
    ballots: BTreeMap<QueueId, Ballot>,
    /// The queues exclusive to each session.
    pub(super) owned: FixedMap<SessionId, Vec<QueueId>>,
    closing: FixedMap<SessionId, Closing>,
    registry: Registry,
    /// Shared by all queues without arguments.
    no_arguments: Arc<Map>,
    /// Where no room is left to keep anything new that is durable.
    no_room: Option<Arc<str>>,
    /// What queues have that do not say.
    pub(super) defaults: QueueDefaults,
}

impl Orderer {
    /// Orders for this many shards, from epoch 0.
    /// `secret`: a random number that no peer knows.
    pub fn new(shards: u16, defaults: QueueDefaults, secret: u64) -> Orderer {
        assert!(shards > 0, "a broker has a shard");
        Orderer {
            shards,
            next_id: 1,
            applied: vec![Epoch(0); usize::from(shards)],
            due: VecDeque::new(),
            ballots: BTreeMap::new(),
            owned: FixedMap::default(),
            closing: FixedMap::default(),
            registry: Registry::new(secret),
            no_arguments: Arc::new(Map::new()),
            no_room: None,
            defaults,
        }
    }

    /// Goes on from what recovery found: all shards have applied `epoch`, ids before `next_id` are taken.
    pub(crate) fn restore(&mut self, epoch: Epoch, next_id: u64) {
        self.applied.fill(epoch);
        self.next_id = next_id;
    }

    /// Says whether there is room for what is durable and new, and if not where.
    pub(crate) fn set_no_room(&mut self, path: Option<Arc<str>>) {
        self.no_room = path;
    }

    /// Refuses what is durable and new if there is no room for it.
    pub(super) fn check_room(&self, durable: bool, what: &str, name: &str) -> Result<(), Error> {
        match &self.no_room {
            Some(path) if durable => Err(Error::new(
                ErrorKind::ResourceLimit,
                format!("Cannot store {what} {name}: no space left in {path}"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether nothing is under way and no session holds anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.due.is_empty()
            && self.ballots.is_empty()
            && self.owned.values().all(Vec::is_empty)
            && self.closing.is_empty()
            && self.registry.is_empty()
    }

    // ---- inputs --------------------------------------------------------------------------

    /// A session asks for something.
    pub fn submit(
        &mut self,
        topology: &mut Topology,
        session: SessionId,
        op: OpId,
        request: TopologyRequest,
        out: &mut Decisions,
    ) {
        self.run_request(topology, (session, op), request, out);
        self.release_due(out);
    }

    /// The home of an auto-delete queue saw it unused. `asker` is answered when it is deleted
    /// everywhere, or will not be.
    pub fn auto_delete(
        &mut self,
        topology: &mut Topology,
        queue: QueueId,
        asker: Option<(SessionId, OpId)>,
        out: &mut Decisions,
    ) {
        self.auto_delete_now(topology, queue, asker, out);
        self.release_due(out);
    }

    /// The home of a queue wants it deleted because it was too full.
    pub fn self_destruct(&mut self, topology: &mut Topology, queue: QueueId, out: &mut Decisions) {
        self.self_destruct_now(topology, queue, out);
        self.release_due(out);
    }

    /// The home of `queue` answers [`Decision::AskHome`] or [`Decision::AskUnused`].
    ///
    /// # Panics
    /// If it was not asked.
    pub fn voted(
        &mut self,
        topology: &mut Topology,
        queue: QueueId,
        result: Result<(), Error>,
        out: &mut Decisions,
    ) {
        let Ballot { vote, waiting } = self.ballots.remove(&queue).expect("the home was asked");
        self.close_ballot(topology, queue, vote, result, out);
        for work in waiting {
            match work {
                // By name again: the queue may be another one by now.
                Work::Request(asker, request) => self.run_request(topology, asker, request, out),
                Work::AutoDelete(asker) => self.auto_delete_now(topology, queue, asker, out),
                Work::SelfDestruct => self.self_destruct_now(topology, queue, out),
                Work::Release(session) => self.release_queue(topology, queue, session, out),
            }
        }
        self.release_due(out);
    }

    /// `shard` has applied `epoch` and all before it.
    pub fn applied(&mut self, shard: ShardId, epoch: Epoch, out: &mut Decisions) {
        let applied = &mut self.applied[shard.index()];
        assert!(*applied < epoch, "shard {shard} applied {epoch:?} after {applied:?}");
        *applied = epoch;
        self.release_due(out);
    }

    /// A session wants a name that is unique in the broker. By force, a holder is evicted;
    /// without, it is asked whether it is closing, and if not the name is `ResourceLocked`. The
    /// name is given when its holder has closed.
    pub fn attach(
        &mut self,
        session: SessionId,
        op: OpId,
        name: &str,
        force: Force,
        out: &mut Decisions,
    ) {
        let busy = Error::locked(format!("Session {name} is busy"));
        match self.registry.attach((session, op), name, force) {
            Attached::Granted => out.push(answer((session, op), Ok(Reply::Done))),
            Attached::Busy => out.push(answer((session, op), Err(busy))),
            Attached::Held(by) => out.push(answer((session, op), Ok(Reply::Held(by)))),
            Attached::Waiting { tell, displaced } => {
                out.extend(displaced.map(|asker| answer(asker, Err(busy))));
                out.extend(tell.map(|(session, force)| Decision::Evict { session, force }));
            }
        }
    }

    /// A session that was asked whether it is closing is not.
    pub fn keep(&mut self, session: SessionId, out: &mut Decisions) {
        let refused = Error::locked("The session is busy");
        out.extend(self.registry.keep(session).map(|asker| answer(asker, Err(refused))));
    }

    /// A party that has a name and nothing else is over, and leaves this to who waits for the name.
    pub fn cede(
        &mut self,
        session: SessionId,
        op: OpId,
        leaves: Option<Arc<[u8]>>,
        out: &mut Decisions,
    ) {
        out.extend(self.registry.give_up(session).map(|asker| answer(asker, Err(was_closed()))));
        out.push(answer((session, op), Ok(Reply::Done)));
        let heir = self.registry.release(session);
        let left = leaves.map_or(Reply::Done, Reply::Left);
        out.extend(heir.map(|asker| answer(asker, Ok(left))));
    }

    /// A session ends: what it still waits for is refused, its exclusive queues are released (and
    /// deleted if they are auto-delete and nobody browses them), its name is free. Answered when
    /// all that has happened on all shards.
    pub fn close_session(
        &mut self,
        topology: &mut Topology,
        session: SessionId,
        op: OpId,
        out: &mut Decisions,
    ) {
        self.forget_requests(session, out);
        let queues = self.owned.remove(&session).unwrap_or_default();
        // One more than there are, so that the loop does not end it early.
        self.closing.insert(session, Closing { op, queues_left: queues.len() + 1 });
        for queue in queues {
            self.release_queue(topology, queue, session, out);
        }
        self.released_one(topology, session);
        self.release_due(out);
    }

    // ---- work and waiting ----------------------------------------------------------------

    fn run_request(
        &mut self,
        topology: &mut Topology,
        asker: Asker,
        request: TopologyRequest,
        out: &mut Decisions,
    ) {
        let queue = request.queue().and_then(|name| topology.queue(name)).map(|q| q.id);
        if let Some(ballot) = queue.and_then(|queue| self.ballots.get_mut(&queue)) {
            ballot.waiting.push_back(Work::Request(asker, request));
            return;
        }
        match self.decide(topology, asker, request, out) {
            Ok(Progress::Made) => self.answer_when_applied(topology, asker),
            Ok(Progress::Asked) => {}
            Err(error) => out.push(answer(asker, Err(error))),
        }
    }

    fn auto_delete_now(
        &mut self,
        topology: &mut Topology,
        queue: QueueId,
        asker: Option<Asker>,
        out: &mut Decisions,
    ) {
        if let Some(ballot) = self.ballots.get_mut(&queue) {
            ballot.waiting.push_back(Work::AutoDelete(asker));
            return;
        }
        match topology.queue_by_id(queue) {
            Some(q) if q.auto_delete && (q.owner.is_none() || q.ends_on_close()) => {
                self.ask_delete(&Arc::clone(q), Vote::AutoDelete(asker), BY_ITSELF, out);
            }
            _ => {
                if let Some(asker) = asker {
                    self.answer_when_applied(topology, asker);
                }
            }
        }
    }

    fn self_destruct_now(&mut self, topology: &Topology, queue: QueueId, out: &mut Decisions) {
        if let Some(ballot) = self.ballots.get_mut(&queue) {
            ballot.waiting.push_back(Work::SelfDestruct);
        } else if let Some(q) = topology.queue_by_id(queue) {
            self.ask_delete(q, Vote::SelfDestruct, Conditions::default(), out);
        }
    }

    /// A closing session gives up a queue.
    fn release_queue(
        &mut self,
        topology: &mut Topology,
        queue: QueueId,
        session: SessionId,
        out: &mut Decisions,
    ) {
        if let Some(ballot) = self.ballots.get_mut(&queue) {
            ballot.waiting.push_back(Work::Release(session));
            return;
        }
        let owned = topology.queue_by_id(queue).filter(|q| q.owner == Some(session));
        match owned {
            // With a delay, its home counts from when it hears that nobody has the queue any more.
            Some(q) if q.auto_delete && q.delay().is_zero() => {
                self.ask_delete(&Arc::clone(q), Vote::Release(session), RELEASED, out);
            }
            Some(_) => {
                self.commit(topology, Change::QueueOwner { queue, owner: None }, out);
                self.released_one(topology, session);
            }
            // Deleted while this waited.
            None => self.released_one(topology, session),
        }
    }

    pub(super) fn ask_delete(
        &mut self,
        q: &QueueDescriptor,
        vote: Vote,
        conditions: Conditions,
        out: &mut Decisions,
    ) {
        out.push(Decision::AskHome { home: q.home, queue: q.id, conditions });
        self.open_ballot(q.id, vote);
    }

    pub(super) fn open_ballot(&mut self, queue: QueueId, vote: Vote) {
        let old = self.ballots.insert(queue, Ballot { vote, waiting: VecDeque::new() });
        assert!(old.is_none(), "one vote about a queue at a time");
    }

    fn close_ballot(
        &mut self,
        topology: &mut Topology,
        queue: QueueId,
        vote: Vote,
        result: Result<(), Error>,
        out: &mut Decisions,
    ) {
        match (vote, result) {
            (Vote::Delete(asker), Ok(())) => {
                self.delete_queue(topology, queue, out);
                self.answer_when_applied(topology, asker);
            }
            (Vote::Own(asker), Ok(())) => {
                let owner = Some(asker.0);
                self.commit(topology, Change::QueueOwner { queue, owner }, out);
                self.owned.entry(asker.0).or_default().push(queue);
                self.answer_when_applied(topology, asker);
            }
            (Vote::Delete(asker), Err(error)) => out.push(answer(asker, Err(error))),
            (Vote::Own(asker), Err(error)) => {
                let error = topology.queue_by_id(queue).map_or(error, |q| cannot_be_exclusive(q));
                out.push(answer(asker, Err(error)));
            }
            (Vote::AutoDelete(asker), result) => {
                if result.is_ok() {
                    self.delete_queue(topology, queue, out);
                }
                if let Some(asker) = asker {
                    self.answer_when_applied(topology, asker);
                }
            }
            (Vote::SelfDestruct, Ok(())) => self.delete_queue(topology, queue, out),
            (Vote::SelfDestruct, Err(_)) => {}
            (Vote::Release(session), result) => {
                match result {
                    Ok(()) => self.delete_queue(topology, queue, out),
                    Err(_) => {
                        self.commit(topology, Change::QueueOwner { queue, owner: None }, out);
                    }
                }
                self.released_one(topology, session);
            }
            // The home keeps the queue for the session that wanted it.
            (Vote::Forgotten, Ok(())) => {
                self.commit(topology, Change::QueueOwner { queue, owner: None }, out);
            }
            (Vote::Forgotten, Err(_)) => {}
        }
    }

    fn released_one(&mut self, topology: &Topology, session: SessionId) {
        let closing = self.closing.get_mut(&session).expect("the session is closing");
        closing.queues_left -= 1;
        if closing.queues_left == 0 {
            let op = closing.op;
            self.closing.remove(&session);
            self.due.push_back((topology.epoch(), Due::Closed((session, op))));
        }
    }

    /// Refuses what a closing session waits for, so that nothing becomes its own after the end.
    fn forget_requests(&mut self, session: SessionId, out: &mut Decisions) {
        let closed = || Err(was_closed());
        out.extend(self.registry.give_up(session).map(|asker| answer(asker, closed())));
        for ballot in self.ballots.values_mut() {
            if let Vote::Own(asker) = ballot.vote
                && asker.0 == session
            {
                ballot.vote = Vote::Forgotten;
                out.push(answer(asker, closed()));
            }
            ballot.waiting.retain(|work| match work {
                Work::Request(asker, _) if asker.0 == session => {
                    out.push(answer(*asker, closed()));
                    false
                }
                _ => true,
            });
        }
    }

    // ---- answering -----------------------------------------------------------------------

    /// Even a request that changed nothing waits for the changes it has seen.
    fn answer_when_applied(&mut self, topology: &Topology, asker: Asker) {
        self.due.push_back((topology.epoch(), Due::Answer(asker)));
    }

    fn release_due(&mut self, out: &mut Decisions) {
        let everywhere = self.applied.iter().copied().min().expect("a broker has a shard");
        while let Some((_, due)) = self.due.pop_front_if(|(epoch, _)| *epoch <= everywhere) {
            match due {
                Due::Answer(asker) => out.push(answer(asker, Ok(Reply::Done))),
                Due::Closed(asker) => {
                    out.push(answer(asker, Ok(Reply::Done)));
                    let next = self.registry.release(asker.0);
                    out.extend(next.map(|asker| answer(asker, Ok(Reply::Done))));
                }
            }
        }
    }

    // ---- changes -------------------------------------------------------------------------

    pub(super) fn commit(&mut self, topology: &mut Topology, change: Change, out: &mut Decisions) {
        let epoch = Epoch(topology.epoch().0 + 1);
        topology.apply(epoch, &change);
        out.push(Decision::Broadcast { epoch, change: Arc::new(change) });
    }

    fn delete_queue(&mut self, topology: &mut Topology, queue: QueueId, out: &mut Decisions) {
        let owner = topology.queue_by_id(queue).and_then(|q| q.owner);
        if let Some(queues) = owner.and_then(|owner| self.owned.get_mut(&owner)) {
            queues.retain(|q| *q != queue);
        }
        let mut exchanges: Vec<Arc<str>> = Vec::new();
        for binding in topology.bindings_of(queue) {
            if !exchanges.contains(&binding.exchange) {
                exchanges.push(Arc::clone(&binding.exchange));
            }
        }
        if let Some((source, target)) = topology.redirect_with(queue) {
            self.commit(topology, Change::RedirectEnded { source, target }, out);
        }
        self.commit(topology, Change::QueueDeleted { queue }, out);
        for exchange in exchanges {
            self.delete_if_unbound(topology, exchange, out);
        }
    }

    /// Deletes an auto-delete exchange that has lost its last binding.
    pub(super) fn delete_if_unbound(
        &mut self,
        topology: &mut Topology,
        name: Arc<str>,
        out: &mut Decisions,
    ) {
        let unused = topology.exchange(&name).filter(|x| {
            x.descriptor().auto_delete && x.bindings() == 0 && !x.in_use_as_alternate()
        });
        if let Some(x) = unused {
            let id = x.descriptor().id;
            self.exchange_goes(topology, id, name, out);
        }
    }

    /// An exchange and its topics go.
    pub(super) fn exchange_goes(
        &mut self,
        topology: &mut Topology,
        id: u64,
        name: Arc<str>,
        out: &mut Decisions,
    ) {
        for topic in topology.topics_of(&name) {
            let (id, kind, name) = (topic.id, topic.kind, Arc::clone(&topic.name));
            self.commit(topology, Change::ObjectDeleted { id, kind, name }, out);
        }
        self.commit(topology, Change::ExchangeDeleted { id, name }, out);
    }

    /// The next id of a queue, exchange, binding or branch.
    pub(crate) fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    pub(super) fn arguments(&self, arguments: Map) -> Arc<Map> {
        if arguments.is_empty() { Arc::clone(&self.no_arguments) } else { Arc::new(arguments) }
    }
}

fn was_closed() -> Error {
    Error::not_allowed("The session was closed")
}

fn answer((session, op): Asker, result: Result<Reply, Error>) -> Decision {
    Decision::Answer { session, op, result }
}
