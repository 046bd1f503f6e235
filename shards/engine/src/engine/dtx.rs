//! Branches of distributed transactions, on the orderer's shard, which coordinates them all.
//!
//! What was done in a branch waits here when those who did it have ended their associations: messages with
//! the queues they were routed to, and deliveries that are nobody's but the branch's from then on. To be
//! prepared it goes through the same steps as any transaction (see `engine/tx.rs`) and stops where that
//! would decide. A branch that is prepared has a definition in the journal, which is what keeps it from
//! being presumed to have failed after a crash; it is undefined when the branch has its outcome.

use super::Engine;
use crate::dtx::{Asked, BRANCH, Branch, BranchId, DtxRequest, State, Then, XaStatus};
use crate::error::{Error, ErrorKind};
use crate::frame::{Effects, Frame};
use crate::ids::{SessionId, Time};
use crate::request::{OpId, Reply};
use crate::store::{BranchDefinition, RestoredBranches, Waiter};
use crate::transaction::{Asker, Coordinated, Transaction};
use std::time::Duration;

/// So long is a branch known that took too long, to be told to whoever asks for it.
const EXPIRED_KEPT: Duration = Duration::from_secs(3600);

type Answer = Result<Reply, Error>;

fn status(status: XaStatus) -> Option<Answer> {
    Some(Ok(Reply::Xa(status)))
}

impl Engine {
    pub(super) fn on_dtx(
        &mut self,
        now: Time,
        by: (SessionId, OpId),
        request: DtxRequest,
        fx: &mut Effects,
    ) {
        let answer = match request {
            DtxRequest::Start { branch, join } => Some(self.start_branch(now, by.0, &branch, join)),
            DtxRequest::End { branch, work } => Some(self.end_branch(by.0, &branch, work, fx)),
            DtxRequest::Recover => {
                let in_doubt = self.branches.all.iter().filter(|(_, b)| b.is_in_doubt());
                let mut in_doubt: Vec<BranchId> = in_doubt.map(|(id, _)| id.clone()).collect();
                in_doubt.sort_unstable();
                Some(Ok(Reply::InDoubt(in_doubt)))
            }
            DtxRequest::GetTimeout { branch } => {
                let found = self.branches.all.get(&branch).ok_or_else(|| unknown(&branch));
                Some(found.map(|b| Reply::Timeout(b.timeout)))
            }
            DtxRequest::SetTimeout { branch, seconds } => {
                Some(self.set_timeout(now, &branch, seconds))
            }
            DtxRequest::Prepare { branch } => self.conclude(by, &branch, Aim::Prepare, fx),
            DtxRequest::Commit { branch, one_phase } => {
                self.conclude(by, &branch, Aim::Commit { one_phase }, fx)
            }
            DtxRequest::Rollback { branch } => self.conclude(by, &branch, Aim::Rollback, fx),
            DtxRequest::Complete { branch, commit } => {
                self.conclude(by, &branch, Aim::Heuristic { commit }, fx)
            }
            DtxRequest::Forget { branch } => self.forget_branch(by, &branch, fx),
        };
        if let Some(answer) = answer {
            self.answer(by.0, by.1, answer, fx);
        }
    }

    // ---- associations --------------------------------------------------------------------

    fn start_branch(&mut self, now: Time, by: SessionId, id: &BranchId, join: bool) -> Answer {
        if !join {
            return self.new_branch(now, by, id);
        }
        let branch = self.branches.all.get_mut(id).ok_or_else(|| unknown(id))?;
        match &branch.state {
            State::Expired => Ok(Reply::Xa(XaStatus::TimedOut)),
            State::Open | State::Failed if branch.asked.is_none() => {
                branch.sessions.push(by);
                Ok(Reply::Xa(XaStatus::Ok))
            }
            _ => {
                let text = format!("Branch with xid {id} has been completed!");
                Err(Error::new(ErrorKind::CommandInvalid, text))
            }
        }
    }

    fn new_branch(&mut self, now: Time, by: SessionId, id: &BranchId) -> Answer {
        if self.branches.all.contains_key(id) {
            return Err(Error::not_allowed(format!(
                "Xid {id} is already known (use 'join' to add work to an existing xid)"
            )));
        }
        self.check_size(BRANCH, id)?;
        let mut branch = Branch::new(State::Open);
        branch.sessions.push(by);
        self.branches.insert(id.clone(), branch);
        self.start_timer(now, id, self.dtx.timeout);
        Ok(Reply::Xa(XaStatus::Ok))
    }

    fn check_size(&self, more: u64, id: &BranchId) -> Result<(), Error> {
        let most = self.dtx.size;
        if self.branches.size.saturating_add(more) <= most {
            return Ok(());
        }
        let text = format!(
            "No room for what is done in branch {id}: branches that are not completed take at most \
             {most} bytes (max-dtx-size)"
        );
        Err(Error::new(ErrorKind::ResourceLimit, text))
    }

    fn end_branch(
        &mut self,
        by: SessionId,
        id: &BranchId,
        work: Option<Transaction>,
        fx: &mut Effects,
    ) -> Answer {
        let too_much = match &work {
            Some(work) => self.check_size(work.size(), id),
            None => Ok(()),
        };
        let branch = self.branches.all.get_mut(id);
        let there = branch.and_then(|b| Some((b.sessions.iter().position(|s| *s == by)?, b)));
        let Some((at, branch)) = there else {
            // It took too long, which the session had not heard.
            self.give_back(work, fx);
            return Ok(Reply::Xa(XaStatus::TimedOut));
        };
        branch.sessions.swap_remove(at);
        match work {
            Some(work) if too_much.is_ok() => {
                self.branches.add(id, work);
                Ok(Reply::Xa(XaStatus::Ok))
            }
            work => {
                branch.state = State::Failed;
                self.give_back(work, fx);
                too_much.map(|()| Reply::Xa(XaStatus::RolledBack))
            }
        }
    }

    /// What was accepted in a branch that does not hold goes back to its queues.
    fn give_back(&mut self, work: Option<Transaction>, fx: &mut Effects) {
        if let Some(work) = work.filter(|work| !work.accepts.is_empty()) {
            self.release(Asker::Nobody, &work.accepts, fx);
        }
    }

    // ---- time ----------------------------------------------------------------------------

    fn set_timeout(&mut self, now: Time, id: &BranchId, seconds: u32) -> Answer {
        let most = self.dtx.timeout_max;
        if !most.is_zero() && u64::from(seconds) > most.as_secs() {
            return Err(Error::invalid(format!(
                "xid {id} has timeout {seconds} bigger than maximum allowed {} (dtx-max-timeout)",
                most.as_secs()
            )));
        }
        if !self.branches.all.contains_key(id) {
            return Err(unknown(id));
        }
        let timeout = match seconds {
            0 => self.dtx.timeout,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        self.start_timer(now, id, timeout);
        Ok(Reply::Done)
    }

    fn start_timer(&mut self, now: Time, id: &BranchId, timeout: Duration) {
        let Some(branch) = self.branches.all.get_mut(id) else { return };
        branch.timeout = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        if matches!(branch.state, State::Open | State::Failed) {
            let at = if timeout.is_zero() { Time::NEVER } else { now.after(timeout) };
            self.branches.set_deadline(id, at);
        }
    }

    /// Rolls back what has taken too long, and forgets what did so long ago.
    pub(super) fn expire_branches(&mut self, now: Time, fx: &mut Effects) {
        while let Some(id) = self.branches.pop(now) {
            let Some(branch) = self.branches.all.get_mut(&id) else { continue };
            match branch.state {
                // It comes to an end anyway; if it does not, it is rolled back then.
                State::Open | State::Failed if branch.asked.is_some() => {
                    let timeout = Duration::from_secs(u64::from(branch.timeout));
                    self.branches.set_deadline(&id, now.after(timeout));
                }
                State::Open | State::Failed => {
                    branch.state = State::Expired;
                    for session in std::mem::take(&mut branch.sessions) {
                        let frame = Frame::BranchExpired { session, branch: id.clone() };
                        self.send(session.shard(), frame, fx);
                    }
                    let work = self.branches.take_work(&id);
                    self.branches.shrink(&id);
                    self.branches.set_deadline(&id, now.after(EXPIRED_KEPT));
                    self.give_back(Some(work), fx);
                }
                State::Expired => {
                    self.branches.remove(&id);
                }
                State::Prepared(..) | State::Heuristic { .. } => {}
            }
        }
    }

    // ---- outcomes ------------------------------------------------------------------------

    /// Brings a branch further. The answer, if it is known at once.
    fn conclude(
        &mut self,
        by: (SessionId, OpId),
        id: &BranchId,
        aim: Aim,
        fx: &mut Effects,
    ) -> Option<Answer> {
        let Some(branch) = self.branches.all.get_mut(id) else { return Some(Err(unknown(id))) };
        let illegal = |what: &str| {
            let text = format!("Branch with xid {id} {what}");
            Some(Err(Error::new(ErrorKind::IllegalState, text)))
        };
        match (&branch.state, aim) {
            (State::Expired, Aim::Heuristic { .. }) => return illegal("has timed out!"),
            (State::Expired, _) => {
                self.branches.remove(id);
                return status(XaStatus::TimedOut);
            }
            _ if branch.asked.is_some() => return illegal("is being completed!"),
            _ if !branch.sessions.is_empty() => return illegal("not completed!"),
            (State::Heuristic { .. }, Aim::Prepare | Aim::Heuristic { .. }) => {
                return illegal("has been completed heuristically!");
            }
            (State::Heuristic { commit: true }, _) => return status(XaStatus::HeuristicCommit),
            (State::Heuristic { .. }, _) => return status(XaStatus::HeuristicRollback),
            (State::Prepared(..), Aim::Prepare) => return status(XaStatus::Ok),
            (State::Prepared(..), Aim::Commit { one_phase: true }) => {
                return illegal("has been prepared, one-phase option not valid!");
            }
            (State::Prepared(..), Aim::Commit { .. }) => {
                return self.decide_branch(by, id, true, Then::End(XaStatus::Ok), fx);
            }
            (State::Prepared(..), Aim::Rollback) => {
                return self.decide_branch(by, id, false, Then::End(XaStatus::Ok), fx);
            }
            (State::Prepared(..), Aim::Heuristic { commit }) => {
                return self.decide_branch(by, id, commit, Then::Heuristic { commit }, fx);
            }
            (_, Aim::Heuristic { .. }) => return illegal("has not been prepared!"),
            (State::Open, Aim::Commit { one_phase: false }) => {
                return illegal("has not been prepared, one-phase option required!");
            }
            (State::Open | State::Failed, _) => {}
        }
        let holds = matches!(branch.state, State::Open) && aim != Aim::Rollback;
        let then = match aim {
            Aim::Prepare => Then::Fail,
            Aim::Commit { .. } if !holds => Then::End(XaStatus::RolledBack),
            _ => Then::End(XaStatus::Ok),
        };
        branch.asked = Some(Asked { by, then });
        let (id, work) = (id.clone(), self.branches.take_work(id));
        match (holds, aim) {
            (true, Aim::Prepare) => self.coordinate(Asker::Prepare(id), work, fx),
            (true, _) => self.coordinate(Asker::Complete(id), work, fx),
            (false, _) => self.release(Asker::Complete(id), &work.accepts, fx),
        }
        None
    }

    /// Everything that was done in a branch is prepared: from now on it waits for its outcome.
    pub(super) fn branch_prepared(&mut self, id: BranchId, number: u64, fx: &mut Effects) {
        if let Some(full) = self.no_room_to_decide() {
            if let Some(c) = self.transactions.coordinated.get_mut(&number) {
                c.refused = Some(full);
            }
            self.end_transaction(number, false, fx);
            return;
        }
        let definition =
            self.define_branch(&BranchDefinition { branch: id.clone(), number, heuristic: None });
        let coordinated = self.transactions.coordinated.remove(&number);
        let branch = self.branches.all.get_mut(&id);
        let (Some(branch), Some(coordinated)) = (branch, coordinated) else { return };
        branch.state = State::Prepared(number, Box::new(coordinated));
        branch.definition = definition;
        let asked = branch.asked.take();
        self.branches.set_deadline(&id, Time::NEVER);
        if let Some(Asked { by, .. }) = asked {
            self.answer_when_all(true, by, Ok(Reply::Xa(XaStatus::Ok)), fx);
        }
    }

    /// A prepared branch has its outcome.
    fn decide_branch(
        &mut self,
        by: (SessionId, OpId),
        id: &BranchId,
        commit: bool,
        then: Then,
        fx: &mut Effects,
    ) -> Option<Answer> {
        if let Some(full) = self.no_room_to_decide() {
            return Some(Err(full));
        }
        let branch = self.branches.all.get_mut(id)?;
        let State::Prepared(number, coordinated) =
            std::mem::replace(&mut branch.state, State::Open)
        else {
            debug_assert!(false, "only what is prepared is decided");
            return None;
        };
        branch.asked = Some(Asked { by, then });
        let durable = coordinated.durable > 0;
        self.transactions.coordinated.insert(number, *coordinated);
        let decided = commit && durable;
        if decided {
            self.decide_transaction(number);
        }
        // Behind the decision: a crash between them finds the branch decided.
        let branch = self.branches.all.get_mut(id)?;
        let old = branch.definition.take();
        if let Then::Heuristic { commit } = then {
            let heuristic = Some(commit);
            let definition = BranchDefinition { branch: id.clone(), number, heuristic };
            let definition = self.define_branch(&definition);
            self.branches.all.get_mut(id)?.definition = definition;
        }
        self.undefine_branch(old);
        if decided {
            return None;
        }
        // No home carries out what a crash could put in doubt again.
        match &mut self.store {
            Some(store) => store.wait_for_all(Waiter::Outcome { number, commit }),
            None => self.end_transaction(number, commit, fx),
        }
        None
    }

    /// What was done in a branch is carried out, or given up if it was refused somewhere.
    pub(super) fn branch_ended(
        &mut self,
        id: &BranchId,
        refused: Option<Error>,
        behind: bool,
        fx: &mut Effects,
    ) {
        let Some(branch) = self.branches.all.get_mut(id) else { return };
        let Some(Asked { by, then }) = branch.asked.take() else { return };
        let answer = match then {
            Then::Fail => {
                branch.state = State::Failed;
                self.branches.shrink(id);
                Reply::Xa(XaStatus::RolledBack)
            }
            Then::End(status) => {
                self.branches.remove(id);
                Reply::Xa(if refused.is_some() { XaStatus::RolledBack } else { status })
            }
            Then::Heuristic { commit } => {
                branch.state = State::Heuristic { commit };
                self.branches.shrink(id);
                Reply::Done
            }
        };
        let defined = self.branches_are_staged();
        self.answer_when_all(behind || defined, by, Ok(answer), fx);
    }

    fn forget_branch(
        &mut self,
        by: (SessionId, OpId),
        id: &BranchId,
        fx: &mut Effects,
    ) -> Option<Answer> {
        let Some(branch) = self.branches.all.get(id) else { return Some(Err(unknown(id))) };
        if !matches!(branch.state, State::Heuristic { .. }) {
            let text = format!("Branch with xid {id} not heuristically completed!");
            return Some(Err(Error::new(ErrorKind::IllegalState, text)));
        }
        let definition = self.branches.remove(id).and_then(|branch| branch.definition);
        self.undefine_branch(definition);
        self.answer_when_all(true, by, Ok(Reply::Done), fx);
        None
    }

    // ---- the journal ---------------------------------------------------------------------

    fn define_branch(&mut self, definition: &BranchDefinition) -> Option<u64> {
        let (orderer, store) = (self.orderer.as_mut()?, self.store.as_mut()?);
        let id = orderer.new_id();
        store.branches_staged = store.log.define(id, &definition.encode());
        Some(id)
    }

    fn undefine_branch(&mut self, definition: Option<u64>) {
        if let (Some(id), Some(store)) = (definition, &mut self.store) {
            store.branches_staged = store.log.undefine(&[id]);
        }
    }

    /// Whether a definition of a branch was made or undone that is not durable yet.
    fn branches_are_staged(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.branches_staged > store.log.durable())
    }

    /// Takes up what recovery found.
    pub(super) fn restore_branches(&mut self, restored: RestoredBranches) {
        let RestoredBranches { in_doubt, over } = restored;
        for (definition, BranchDefinition { branch, number, heuristic }, homes) in in_doubt {
            let state = match heuristic {
                Some(commit) => State::Heuristic { commit },
                None => {
                    let asker = Asker::Prepare(branch.clone());
                    let durable = homes.len() as u16;
                    let (missing, refused, behind_deletes) = (0, None, false);
                    let coordinated =
                        Coordinated { asker, homes, missing, durable, refused, behind_deletes };
                    State::Prepared(number, Box::new(coordinated))
                }
            };
            let mut restored = Branch::new(state);
            restored.definition = Some(definition);
            self.branches.insert(branch, restored);
        }
        if let Some(store) = self.store.as_mut().filter(|_| !over.is_empty()) {
            store.branches_staged = store.log.undefine(&over);
        }
    }
}

/// What is asked of a branch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    Prepare,
    Commit { one_phase: bool },
    Rollback,
    Heuristic { commit: bool },
}

fn unknown(id: &BranchId) -> Error {
    Error::not_found(format!("Unrecognised xid {id}"))
}
