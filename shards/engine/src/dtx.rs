//! Branches of distributed transactions, as shards tell each other of them and the orderer's shard keeps
//! them.
//!
//! A session *starts* a branch or joins it, and its shard gathers what it does there; when it *ends* its
//! association that goes to the orderer's shard, which coordinates all branches. Whoever wants to, from any
//! session, *prepares* the branch and then commits it or rolls it back. What is to be done is in
//! `engine/dtx.rs`.

use crate::ids::{SessionId, Time};
use crate::request::OpId;
use crate::topology::FixedMap;
use crate::transaction::{Coordinated, Transaction};
use smallvec::SmallVec;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a transaction manager calls a branch: the `xid` of AMQP 0-10 and of XA. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchId(Arc<Parts>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    format: u32,
    global: Box<[u8]>,
    branch: Box<[u8]>,
}

impl BranchId {
    /// Of its format, the transaction's id, and the branch's in it: at most 255 bytes each.
    pub fn new(format: u32, global: &[u8], branch: &[u8]) -> BranchId {
        BranchId(Arc::new(Parts { format, global: global.into(), branch: branch.into() }))
    }

    /// Which kind of transaction manager has made it.
    pub fn format(&self) -> u32 {
        self.0.format
    }

    /// The transaction.
    pub fn global(&self) -> &[u8] {
        &self.0.global
    }

    /// The branch of it.
    pub fn branch(&self) -> &[u8] {
        &self.0.branch
    }
}

/// For people: format, transaction and branch, what is not printable escaped.
impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (global, branch) = (self.global().escape_ascii(), self.branch().escape_ascii());
        write!(f, "{}:{global}:{branch}", self.format())
    }
}

impl fmt::Debug for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a session asks for of a branch.
#[derive(Clone, Debug)]
pub enum DtxRequest {
    /// The session works in it from now on: a new one, or with `join` one that there is. Answered with
    /// [`Xa`](crate::Reply::Xa).
    Start {
        /// Which.
        branch: BranchId,
        /// There is one.
        join: bool,
    },
    /// The session has done its work there; without any, the branch can only be rolled back. Answered with
    /// [`Xa`](crate::Reply::Xa).
    End {
        /// Which.
        branch: BranchId,
        /// What it has done.
        work: Option<Transaction>,
    },
    /// From now on only an outcome that somebody decides ends it. Answered with
    /// [`Xa`](crate::Reply::Xa).
    Prepare {
        /// Which.
        branch: BranchId,
    },
    /// It holds. Answered with [`Xa`](crate::Reply::Xa).
    Commit {
        /// Which.
        branch: BranchId,
        /// It was not prepared.
        one_phase: bool,
    },
    /// It does not hold. Answered with [`Xa`](crate::Reply::Xa).
    Rollback {
        /// Which.
        branch: BranchId,
    },
    /// Its transaction manager knows how somebody else has ended it. Answered with
    /// [`Done`](crate::Reply::Done).
    Forget {
        /// Which.
        branch: BranchId,
    },
    /// Somebody else than its transaction manager ends a prepared branch: a heuristic outcome, which is told
    /// to the transaction manager when it comes back, and kept until it says that it may be forgotten. For
    /// management. Answered with [`Done`](crate::Reply::Done).
    Complete {
        /// Which.
        branch: BranchId,
        /// It holds, or does not.
        commit: bool,
    },
    /// Which are prepared, or have a heuristic outcome? Answered with
    /// [`InDoubt`](crate::Reply::InDoubt).
    Recover,
    /// Answered with [`Timeout`](crate::Reply::Timeout).
    GetTimeout {
        /// Which.
        branch: BranchId,
    },
    /// How long it may take, from now on, before it is rolled back, if it is not prepared by then. Answered
    /// with [`Done`](crate::Reply::Done).
    SetTimeout {
        /// Which.
        branch: BranchId,
        /// 0: as long as those that set nothing.
        seconds: u32,
    },
}

/// What a branch has come to: `xa-status` of AMQP 0-10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XaStatus {
    /// As was asked.
    Ok,
    /// It was rolled back.
    RolledBack,
    /// It was rolled back because it took too long.
    TimedOut,
    /// Somebody else has committed it.
    HeuristicCommit,
    /// Somebody else has rolled it back.
    HeuristicRollback,
}

/// Limits of branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtxConfig {
    /// Of those that set none; zero is none (`--dtx-default-timeout`).
    pub timeout: Duration,
    /// The longest that may be set; zero is any (`--dtx-max-timeout`).
    pub timeout_max: Duration,
    /// Bytes that they may take, all together (`--max-dtx-size`).
    pub size: u64,
}

impl DtxConfig {
    /// As long and as much as they like.
    pub const UNLIMITED: DtxConfig =
        DtxConfig { timeout: Duration::ZERO, timeout_max: Duration::ZERO, size: u64::MAX };
}

/// What a branch takes besides what is done in it.
pub(crate) const BRANCH: u64 = 1024;

/// All branches.
#[derive(Debug, Default)]
pub(crate) struct Branches {
    pub(crate) all: FixedMap<BranchId, Branch>,
    /// When something is to be done about them.
    deadlines: BTreeSet<(Time, BranchId)>,
    /// Bytes that they take.
    pub(crate) size: u64,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Branch {
    /// Sessions that work in it, here or suspended.
    pub(crate) sessions: SmallVec<[SessionId; 2]>,
    /// What others have done.
    pub(crate) work: Transaction,
    /// Bytes of that, with [`BRANCH`].
    size: u64,
    pub(crate) state: State,
    /// Seconds.
    pub(crate) timeout: u32,
    deadline: Time,
    /// Its definition in the journal, if it has one.
    pub(crate) definition: Option<u64>,
    /// Who waits for it to come to an end.
    pub(crate) asked: Option<Asked>,
}

/// A command that ends what was done in a branch.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) by: (SessionId, OpId),
    pub(crate) then: Then,
}

/// What follows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// It stays, to be rolled back.
    Fail,
    /// It is over.
    End(XaStatus),
    /// Its transaction manager is still to be told.
    Heuristic {
        /// It holds.
        commit: bool,
    },
}

/// How far it has come.
#[derive(Debug)]
pub(crate) enum State {
    /// Work is done in it, or has been.
    Open,
    /// It can only be rolled back.
    Failed,
    /// It was rolled back because it took too long: kept to be told.
    Expired,
    /// It waits for its outcome: what was coordinated, under which number.
    Prepared(u64, Box<Coordinated>),
    /// Somebody else than its transaction manager has ended it.
    Heuristic {
        /// It holds.
        commit: bool,
    },
}

impl Branch {
    pub(crate) fn new(state: State) -> Branch {
        Branch {
            sessions: SmallVec::new(),
            work: Transaction::default(),
            size: BRANCH,
            state,
            timeout: 0,
            deadline: Time::NEVER,
            definition: None,
            asked: None,
        }
    }

    /// Whether it waits for its transaction manager.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self.state, State::Prepared(..) | State::Heuristic { .. })
    }
}

impl Branches {
    pub(crate) fn insert(&mut self, id: BranchId, branch: Branch) {
        self.size += branch.size;
        self.all.insert(id, branch);
    }

    pub(crate) fn remove(&mut self, id: &BranchId) -> Option<Branch> {
        let branch = self.all.remove(id)?;
        self.size -= branch.size;
        self.deadlines.remove(&(branch.deadline, id.clone()));
        Some(branch)
    }

    /// A session has done something in it.
    pub(crate) fn add(&mut self, id: &BranchId, work: Transaction) {
        let Some(branch) = self.all.get_mut(id) else { return };
        let size = work.size();
        branch.work.extend(work);
        branch.size += size;
        self.size += size;
    }

    /// What was done in it, which is over or under way elsewhere.
    pub(crate) fn take_work(&mut self, id: &BranchId) -> Transaction {
        let Some(branch) = self.all.get_mut(id) else { return Transaction::default() };
        std::mem::take(&mut branch.work)
    }

    /// Nothing of what was done in it is kept any more.
    pub(crate) fn shrink(&mut self, id: &BranchId) {
        let Some(branch) = self.all.get_mut(id) else { return };
        self.size -= branch.size - BRANCH;
        branch.size = BRANCH;
    }

    /// Something is to be done about it at that time, if ever.
    pub(crate) fn set_deadline(&mut self, id: &BranchId, at: Time) {
        let Some(branch) = self.all.get_mut(id) else { return };
        self.deadlines.remove(&(branch.deadline, id.clone()));
        branch.deadline = at;
        if at != Time::NEVER {
            self.deadlines.insert((at, id.clone()));
        }
    }

    /// When the next one wants something.
    pub(crate) fn next(&self) -> Time {
        self.deadlines.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// One whose time has come: from now on it has no deadline.
    pub(crate) fn pop(&mut self, now: Time) -> Option<BranchId> {
        let (at, id) = self.deadlines.first()?;
        if *at > now {
            return None;
        }
        let id = id.clone();
        self.set_deadline(&id, Time::NEVER);
        Some(id)
    }
}
