//! What a session does in branches of distributed transactions: the one it works in now, and those that it
//! has suspended.
//!
//! Work is gathered as in a local transaction, and handed over to the branch when the association ends. From
//! then on accepted deliveries are the branch's: neither the client nor the end of the session gives them
//! back. An association that is not ended fails with its session.

use super::error::Refusal;
use crate::front::Tx;
use crate::front::Unsettled;
use crate::front::tx::{self, Commit};
use crate::shard::Ctx;
use fletch_amqp::v0_10::table::dtx;
use fletch_amqp::v0_10::{Command, ErrorCode};
use fletch_engine::{
    BranchId, DtxRequest, OpId, Outcome, Reply, Request, SessionId, Transaction, XaStatus,
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Dtx {
    active: Option<Association>,
    suspended: Vec<Association>,
}

#[derive(Debug)]
struct Association {
    branch: BranchId,
    work: Tx,
    /// The branch took too long: what was done in it is void.
    expired: bool,
}

/// What a command comes to.
pub(super) enum Next {
    /// It is done, with this.
    Answer(XaStatus),
    /// The branch is asked.
    Ask(DtxRequest),
}

impl Dtx {
    /// The work that what is published and accepted belongs to.
    pub(super) fn work(&mut self) -> Option<&mut Tx> {
        self.active.as_mut().map(|a| &mut a.work)
    }

    /// Bytes that the messages of all its work take.
    pub(super) fn bytes(&self) -> u64 {
        self.active.iter().chain(&self.suspended).map(|a| a.work.bytes()).sum()
    }

    /// `dtx.start`. If the branch is asked and does not answer that all is well, [`Dtx::not_started`]
    /// follows.
    pub(super) fn start(&mut self, c: &dtx::Start<'_>) -> Result<Next, Refusal> {
        if c.join && c.resume {
            return Err(invalid("Join and resume cannot both be set."));
        }
        let branch = branch_of(c.xid.as_ref())?;
        if let Some(a) = &self.active {
            let text = format!("Session is already associated with xid {}", a.branch);
            return Err(illegal(&text));
        }
        if !c.resume {
            let (work, expired) = (Tx::default(), false);
            self.active = Some(Association { branch: branch.clone(), work, expired });
            return Ok(Next::Ask(DtxRequest::Start { branch, join: c.join }));
        }
        match self.take_suspended(&branch) {
            None => Err(invalid(&format!("xid {branch} not attached"))),
            Some(Association { expired: true, .. }) => Ok(Next::Answer(XaStatus::TimedOut)),
            association => {
                self.active = association;
                Ok(Next::Answer(XaStatus::Ok))
            }
        }
    }

    pub(super) fn not_started(&mut self) {
        self.active = None;
    }

    fn take_suspended(&mut self, branch: &BranchId) -> Option<Association> {
        let at = self.suspended.iter().position(|a| a.branch == *branch)?;
        Some(self.suspended.remove(at))
    }

    /// `dtx.end`.
    pub(super) fn end(
        &mut self,
        ctx: &mut Ctx<'_>,
        session: SessionId,
        c: &dtx::End<'_>,
        unsettled: &mut Unsettled,
    ) -> Result<Next, Refusal> {
        let branch = branch_of(c.xid.as_ref())?;
        let association = self.active.take_if(|a| a.branch == branch);
        if c.suspend && !c.fail {
            return match association {
                None => Err(self.not_associated(&branch)),
                Some(Association { expired: true, .. }) => Ok(Next::Answer(XaStatus::TimedOut)),
                Some(association) => {
                    self.suspended.push(association);
                    Ok(Next::Answer(XaStatus::Ok))
                }
            };
        }
        let association = association.or_else(|| self.take_suspended(&branch));
        let Some(Association { mut work, expired, .. }) = association else {
            return Err(self.not_associated(&branch));
        };
        if expired {
            return Ok(Next::Answer(XaStatus::TimedOut));
        }
        if c.fail {
            give_back(ctx, session, &mut work, unsettled);
            if c.suspend {
                // Failed all the same, as with the reference.
                fail(ctx, session, branch);
                return Err(invalid("End and suspend cannot both be set."));
            }
            return Ok(Next::Ask(DtxRequest::End { branch, work: None }));
        }
        let work = Some(take(&mut work, unsettled));
        Ok(Next::Ask(DtxRequest::End { branch, work }))
    }

    fn not_associated(&self, branch: &BranchId) -> Refusal {
        match &self.active {
            Some(a) => {
                let started = &a.branch;
                let text = format!("xid specified on start was {started}, but {branch} on end");
                invalid(&text)
            }
            None => illegal(&format!("xid {branch} not associated with this session")),
        }
    }

    /// A branch took too long: what was accepted in it goes back now.
    pub(super) fn expired(
        &mut self,
        ctx: &mut Ctx<'_>,
        session: SessionId,
        branch: &BranchId,
        unsettled: &mut Unsettled,
    ) {
        let all = self.active.iter_mut().chain(&mut self.suspended);
        for a in all.filter(|a| a.branch == *branch) {
            a.expired = true;
            give_back(ctx, session, &mut a.work, unsettled);
        }
    }

    /// The session ends; what it holds is given back otherwise.
    pub(super) fn leave(self, ctx: &mut Ctx<'_>, session: SessionId) {
        for a in self.active.into_iter().chain(self.suspended).filter(|a| !a.expired) {
            fail(ctx, session, a.branch);
        }
    }
}

/// What was done, which settles what was accepted: it is the session's no more.
fn take(work: &mut Tx, unsettled: &mut Unsettled) -> Transaction {
    let Commit { transaction, settles } = work.commit(unsettled);
    tx::settle(&settles, unsettled);
    transaction
}

/// What was accepted goes back to its queues.
fn give_back(ctx: &mut Ctx<'_>, session: SessionId, work: &mut Tx, unsettled: &mut Unsettled) {
    let deliveries = take(work, unsettled).accepts;
    if !deliveries.is_empty() {
        let outcome = Outcome::Released { set_redelivered: true };
        let request = Request::Settle { outcome, deliveries };
        ctx.engine.request(ctx.now, session, NOBODYS, request, ctx.fx);
    }
}

/// The branch can only be rolled back.
fn fail(ctx: &mut Ctx<'_>, session: SessionId, branch: BranchId) {
    let request = Request::Dtx(Box::new(DtxRequest::End { branch, work: None }));
    ctx.engine.request(ctx.now, session, NOBODYS, request, ctx.fx);
}

/// What no command waits for: operations of commands are below 2^32.
const NOBODYS: OpId = OpId::MAX;

/// What a command asks of a branch that needs no association with it.
pub(super) fn request(command: &Command<'_>) -> Result<Option<DtxRequest>, Refusal> {
    Ok(Some(match command {
        Command::DtxPrepare(c) => DtxRequest::Prepare { branch: branch_of(c.xid.as_ref())? },
        Command::DtxCommit(c) => {
            DtxRequest::Commit { branch: branch_of(c.xid.as_ref())?, one_phase: c.one_phase }
        }
        Command::DtxRollback(c) => DtxRequest::Rollback { branch: branch_of(c.xid.as_ref())? },
        Command::DtxForget(c) => DtxRequest::Forget { branch: branch_of(c.xid.as_ref())? },
        Command::DtxRecover(_) => DtxRequest::Recover,
        Command::DtxGetTimeout(c) => DtxRequest::GetTimeout { branch: branch_of(c.xid.as_ref())? },
        Command::DtxSetTimeout(c) => {
            let seconds = c.timeout.unwrap_or_default();
            DtxRequest::SetTimeout { branch: branch_of(c.xid.as_ref())?, seconds }
        }
        _ => return Ok(None),
    }))
}

/// Whether a branch was started.
pub(super) fn is_started(reply: &Reply) -> bool {
    matches!(reply, Reply::Xa(XaStatus::Ok))
}

fn branch_of(xid: Option<&dtx::Xid<'_>>) -> Result<BranchId, Refusal> {
    let xid = xid.ok_or_else(|| {
        Refusal::new(ErrorCode::ILLEGAL_ARGUMENT, "illegal-argument: No xid specified.")
    })?;
    let (global, branch) = (xid.global_id.unwrap_or_default(), xid.branch_id.unwrap_or_default());
    Ok(BranchId::new(xid.format.unwrap_or_default(), global, branch))
}

/// The session was not selected for it.
pub(super) fn not_selected() -> Refusal {
    invalid("Session has not been selected for use with dtx")
}

/// A session is for local transactions or for distributed ones.
pub(super) fn not_both() -> Refusal {
    illegal("Session has been selected for use with the other kind of transactions")
}

fn invalid(text: &str) -> Refusal {
    Refusal::new(ErrorCode::COMMAND_INVALID, format!("command-invalid: {text}"))
}

fn illegal(text: &str) -> Refusal {
    Refusal::new(ErrorCode::ILLEGAL_STATE, format!("illegal-state: {text}"))
}
