//! Branches of distributed transactions: a client works in one, prepares it and goes its way; whoever comes
//! later decides, also after a crash.

use super::orders::Order;
use super::session::{Asked, Stage};
use super::transaction::Work;
use super::world::World;
use crate::message::MessageId;
use fletch_engine::{BranchId, DtxRequest, Error, QueueId, Reply, Request, SessionId, XaStatus};
use std::collections::BTreeSet;

/// A branch that is not completed, as far as clients know.
#[derive(Debug)]
pub(super) struct Branch {
    work: Work,
    /// Which transaction of the model's that is.
    number: usize,
    /// Somebody was told that it is prepared.
    prepared: bool,
    /// Somebody has decided: it holds, or does not.
    decided: Option<bool>,
    /// Queues that were being deleted when the broker died.
    going: BTreeSet<QueueId>,
}

/// What somebody has asked of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    End,
    Prepare,
    OnePhase,
    Commit,
    Rollback,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Start => "start branch",
            Verb::End => "end branch",
            Verb::Prepare => "prepare branch",
            Verb::OnePhase => "commit in one phase",
            Verb::Commit => "commit branch",
            Verb::Rollback => "roll back branch",
        }
    }
}

fn id_of(branch: u64) -> BranchId {
    BranchId::new(1, &branch.to_be_bytes(), b"branch")
}

fn number_of(branch: &BranchId) -> u64 {
    u64::from_be_bytes(branch.global().try_into().expect("eight bytes"))
}

impl World<'_> {
    /// A client does in a branch what [`World::transact`] would commit.
    pub(super) fn work_in_branch(&mut self, id: SessionId) {
        let number = self.next_branch;
        self.next_branch += 1;
        self.ask_branch(
            id,
            number,
            Verb::Start,
            DtxRequest::Start { branch: id_of(number), join: false },
        );
        let (transaction, work, accepted) = self.draw_work(id);
        work.publishes.iter().for_each(|number| self.model.in_branch(*number));
        self.begin_branch(number, work);
        let branch = id_of(number);
        if self.rng.chance(10) {
            // The client fails it: what it has accepted is its own again.
            self.session(id).held.extend(accepted);
            self.ask_branch(id, number, Verb::End, DtxRequest::End { branch, work: None });
        } else {
            let work = Some(transaction);
            self.ask_branch(id, number, Verb::End, DtxRequest::End { branch, work });
        }
        let branch = id_of(number);
        match self.rng.below(10) {
            0 => self.ask_branch(id, number, Verb::Rollback, DtxRequest::Rollback { branch }),
            1..4 => {
                let request = DtxRequest::Commit { branch, one_phase: true };
                self.ask_branch(id, number, Verb::OnePhase, request);
            }
            _ => self.ask_branch(id, number, Verb::Prepare, DtxRequest::Prepare { branch }),
        }
    }

    fn begin_branch(&mut self, number: u64, work: Work) {
        let of = self.model.begin(work.clone());
        let (prepared, decided, going) = (false, None, BTreeSet::new());
        let branch = Branch { work, number: of, prepared, decided, going };
        self.branches.insert(number, branch);
    }

    fn ask_branch(&mut self, id: SessionId, number: u64, verb: Verb, request: DtxRequest) {
        self.trace.add(id.shard().0, verb.name(), number, 0);
        self.ask(id, Asked::Branch(number, verb), Request::Dtx(Box::new(request)));
    }

    /// Somebody decides about a branch that is prepared, if there is one.
    pub(super) fn decide_any(&mut self, id: SessionId) {
        let open =
            |(number, b): (&u64, &Branch)| (b.prepared && b.decided.is_none()).then_some(*number);
        let open: Vec<u64> = self.branches.iter().filter_map(open).collect();
        if !open.is_empty() {
            let number = *self.rng.pick(&open);
            self.decide(id, number);
        }
    }

    fn decide(&mut self, id: SessionId, number: u64) {
        let commit = self.rng.chance(60);
        if let Some(b) = self.branches.get_mut(&number) {
            b.decided = Some(commit);
        }
        let branch = id_of(number);
        match commit {
            true => {
                let request = DtxRequest::Commit { branch, one_phase: false };
                self.ask_branch(id, number, Verb::Commit, request);
            }
            false => {
                self.ask_branch(id, number, Verb::Rollback, DtxRequest::Rollback { branch });
            }
        }
    }

    pub(super) fn on_branch(
        &mut self,
        id: SessionId,
        (number, verb): (u64, Verb),
        result: Result<Reply, Error>,
    ) {
        let status = match result {
            Ok(Reply::Xa(status)) => {
                self.trace.add(id.shard().0, "branch answered", number, status as u64);
                status
            }
            Ok(other) => panic!("{verb:?} is answered by {other:?}"),
            Err(e) => {
                let full = matches!(verb, Verb::Commit | Verb::Rollback) && self.mix.tight;
                assert!(full, "{verb:?} of branch {number} fails: {e}");
                self.marks.hit("branch not decided for want of room", true);
                if let Some(b) = self.branches.get_mut(&number) {
                    b.decided = None;
                }
                return;
            }
        };
        match (verb, status) {
            (Verb::Start, XaStatus::Ok) | (Verb::End, XaStatus::Ok | XaStatus::RolledBack) => {}
            (Verb::Prepare, XaStatus::Ok) => {
                self.marks.hit("branch prepared", true);
                if let Some(b) = self.branches.get_mut(&number) {
                    b.prepared = true;
                }
            }
            (Verb::Prepare, XaStatus::RolledBack) => {
                self.marks.hit("branch not prepared", true);
                let branch = id_of(number);
                let stays = self.sessions.get(&id).is_some_and(|s| s.stage != Stage::Over);
                if stays {
                    self.ask_branch(id, number, Verb::Rollback, DtxRequest::Rollback { branch });
                } else {
                    self.end_branch(number, false);
                }
            }
            (Verb::Commit | Verb::OnePhase, XaStatus::Ok) => {
                self.marks.hit("prepared branch committed", verb == Verb::Commit);
                self.end_branch(number, true);
            }
            (Verb::OnePhase, XaStatus::RolledBack) => self.end_branch(number, false),
            (Verb::Rollback, XaStatus::Ok) => {
                let prepared = self.branches.get(&number).is_some_and(|b| b.prepared);
                self.marks.hit("prepared branch rolled back", prepared);
                self.end_branch(number, false);
            }
            _ => panic!("{verb:?} of branch {number} is answered by {status:?}"),
        }
    }

    fn end_branch(&mut self, number: u64, committed: bool) {
        let Some(b) = self.branches.remove(&number) else { return };
        match committed {
            true => self.model.committed(b.number),
            false => self.model.aborted(b.number),
        }
    }

    /// At rest, every branch that is prepared gets its outcome.
    pub(super) fn end_branches(&mut self) {
        let open = |b: &Branch| b.prepared && b.decided.is_none();
        if !self.branches.values().any(open) {
            return;
        }
        let shard = self.any_shard();
        let id = self.attach(shard);
        self.rest();
        let numbers = self.branches.iter().filter(|(_, b)| open(b)).map(|(number, _)| *number);
        for number in numbers.collect::<Vec<_>>() {
            self.decide(id, number);
        }
        self.rest();
        self.end(id);
        self.rest();
        assert!(self.branches.is_empty(), "branches stay: {:?}", self.branches);
    }

    /// The broker dies.
    pub(super) fn note_going(&mut self) {
        for b in self.branches.values_mut() {
            for number in &b.work.publishes {
                let to = &self.model.messages[*number as usize].to;
                let goes =
                    |id: &&QueueId| self.model.queues.get(id).is_none_or(|q| self.model.may_go(q));
                b.going.extend(to.iter().filter(goes));
            }
        }
    }

    /// What was accepted in branches that are not completed: it is nobody else's.
    pub(super) fn locked(&self) -> BTreeSet<(QueueId, MessageId)> {
        self.branches.values().flat_map(|b| b.work.accepts.iter().copied()).collect()
    }

    /// After a start: which branches are in doubt? Nothing of them is to be seen, and somebody decides about
    /// some of them at once.
    pub(super) fn recover_branches(&mut self) {
        if self.branches.is_empty() {
            return;
        }
        let shard = self.any_shard();
        let id = self.attach(shard);
        self.ask(id, Asked::Recover, Request::Dtx(Box::new(DtxRequest::Recover)));
        self.calm_down();
    }

    pub(super) fn on_recovered(&mut self, id: SessionId, result: Result<Reply, Error>) {
        let Ok(Reply::InDoubt(all)) = result else { panic!("no branches: {result:?}") };
        let found: BTreeSet<u64> = all.iter().map(number_of).collect();
        for number in &found {
            assert!(self.branches.contains_key(number), "branch {number} is over, and in doubt");
        }
        for (number, b) in std::mem::take(&mut self.branches) {
            let there = found.contains(&number);
            let must = b.prepared && b.decided.is_none();
            assert!(there || !must, "branch {number} was prepared, and is not in doubt");
            self.marks.hit("branch in doubt after a crash", there);
            if there {
                self.marks.hit("outcome of a branch undone by a crash", b.decided.is_some());
                self.model.in_doubt(&b.work, &b.going);
                self.begin_branch(number, b.work);
                if let Some(new) = self.branches.get_mut(&number) {
                    new.prepared = true;
                    new.going = b.going;
                }
            }
        }
        for _ in 0..self.rng.below(3) {
            self.decide_any(id);
        }
    }
}

impl super::model::Model {
    /// A message is published in a branch: when it takes its place is another's affair.
    fn in_branch(&mut self, number: MessageId) {
        self.messages[number as usize].branch = true;
    }

    /// What was done in a branch is open again after a crash.
    fn in_doubt(&mut self, work: &Work, going: &BTreeSet<QueueId>) {
        for number in &work.publishes {
            let durable = self.messages[*number as usize].content.durable;
            let to = self.messages[*number as usize].to.clone();
            for queue in to {
                let Some(q) = self.queues.get_mut(&queue).filter(|q| q.facts.durable && durable)
                else {
                    continue;
                };
                // Older values may show up again: see [`Queue::keep_found`].
                match q.copies.get_mut(number).filter(|_| q.facts.order == Order::LastValue) {
                    Some(c) => c.came = (0, 1),
                    None => {
                        let there = q.copies.contains_key(number);
                        assert!(
                            !there,
                            "message {number} is in {queue:?}, and its branch is in doubt"
                        );
                        self.expect(queue, *number);
                    }
                }
                if let Some(c) = self.queues.get_mut(&queue).and_then(|q| q.copies.get_mut(number))
                {
                    c.transacted = true;
                    c.discarded = going.contains(&queue);
                }
            }
        }
        for (queue, number) in &work.accepts {
            if self.queues.get(queue).is_some_and(|q| q.copies.contains_key(number)) {
                self.takes(*queue, *number, false);
            }
        }
    }
}
