//! Transactions: what a client commits at once, and whether it is whole after a crash.

use super::check::AllFound;
use super::model::{Model, Sent};
use super::session::{Asked, Held, Stage};
use super::world::World;
use crate::limits::Kind;
use crate::message::MessageId;
use crate::trace::Marks;
use fletch_engine::{Error, ErrorKind, QueueId, Request, SessionId, Time, Transaction};

/// What a transaction does.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    pub(super) publishes: Vec<MessageId>,
    pub(super) accepts: Vec<(QueueId, MessageId)>,
}

impl World<'_> {
    /// A client commits some messages, and takes some of what it holds.
    pub(super) fn transact(&mut self, id: SessionId) {
        if self.mix.branch_percent > 0 && self.rng.chance(self.mix.branch_percent) {
            self.work_in_branch(id);
            self.decide_any(id);
            return;
        }
        let (transaction, work, accepted) = self.draw_work(id);
        let number = self.model.begin(work);
        let asked = Asked::Commit(number, accepted);
        self.ask(id, asked, Request::Commit(Box::new(transaction)));
    }

    /// What is done in a transaction.
    pub(super) fn draw_work(&mut self, id: SessionId) -> (Transaction, Work, Vec<Held>) {
        let (mut transaction, mut work) = (Transaction::default(), Work::default());
        for _ in 0..self.rng.below(self.mix.burst.clamp(3, 20) + 1) {
            // What is in a branch is published once: nobody could tell which of them is in doubt.
            if self.mix.branch_percent == 0
                && let Some((number, exchange, message)) = self.repeat(id)
            {
                let routes = self.engines[id.shard().index()].route(&*exchange, &message);
                let routes = routes.expect("it was there just now").expect("it has no home");
                work.publishes.push(number);
                transaction.publishes.push((message, routes));
                continue;
            }
            let (exchange, key) = self.any_target();
            let Some((content, message)) = self.make_message(id, &exchange, &key) else { continue };
            let shard = id.shard();
            let routes = self.engines[shard.index()].route(&*exchange, &message);
            let routes = routes.expect("the exchange was there just now");
            let routes = routes.expect("no exchange here has a home");
            let to: Vec<QueueId> = routes.iter().map(|r| r.queue).collect();
            to.iter().for_each(|queue| self.know(shard, *queue));
            work.publishes.push(content.number);
            self.model.published(content, to);
            self.model.messages[content.number as usize].target = Some((exchange, key));
            self.model.transacts(content.number);
            transaction.publishes.push((message, routes));
        }
        let percent = *self.rng.pick(&[0, 60, 100, 100]);
        let held = std::mem::take(&mut self.session(id).held);
        let (accepted, kept): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|_| self.rng.chance(percent));
        self.session(id).held = kept;
        for h in &accepted {
            self.model.takes(h.delivery.queue, h.number, false);
        }
        work.accepts = accepted.iter().map(|h| (h.delivery.queue, h.number)).collect();
        transaction.accepts = accepted.iter().map(|h| h.delivery).collect();
        self.mark_transaction(id, &transaction);
        (transaction, work, accepted)
    }

    fn mark_transaction(&mut self, id: SessionId, transaction: &Transaction) {
        let topology = self.engines[id.shard().index()].topology();
        let routes = transaction.publishes.iter().flat_map(|(_, routes)| routes.iter());
        let homes = routes.map(|r| Some(r.home));
        let accepts = transaction.accepts.iter().map(|d| topology.home_of(d.queue));
        let mut homes: Vec<_> = homes.chain(accepts).flatten().collect();
        homes.sort_unstable();
        homes.dedup();
        let both = !transaction.publishes.is_empty() && !transaction.accepts.is_empty();
        let elsewhere = homes.len() == 1 && homes[0] != id.shard();
        self.marks.hit("transaction over several shards", homes.len() > 1);
        self.marks.hit("work taken and passed on over several shards", homes.len() > 1 && both);
        self.marks.hit("transaction on another shard", elsewhere && both);
        self.marks.hit("transaction over three shards or more", homes.len() > 2);
    }

    pub(super) fn on_committed(
        &mut self,
        id: SessionId,
        number: usize,
        accepted: Vec<Held>,
        error: Option<Error>,
    ) {
        if let Some(e) = error {
            assert!(e.kind == ErrorKind::Internal, "a commit fails: {e}");
            let may = self.mix.tight || self.mix.limited_percent > 0;
            assert!(may, "a commit is refused: {e}");
            self.marks.hit("commit refused", true);
            self.model.aborted(number);
            self.session(id).held.extend(accepted);
        } else {
            self.model.committed(number);
        }
        if self.session(id).stage == Stage::Stopping {
            self.ended_one(id);
        }
    }
}

impl Model {
    /// A transaction is to be committed.
    pub(super) fn begin(&mut self, work: Work) -> usize {
        self.transactions.push(work);
        self.transactions.len() - 1
    }

    /// It was.
    pub(super) fn committed(&mut self, number: usize) {
        let Work { publishes, accepts } = self.transactions[number].clone();
        publishes.into_iter().for_each(|number| self.acknowledged(number));
        accepts.into_iter().for_each(|(queue, number)| self.has_taken(queue, number));
    }

    /// It was refused, and nothing of it has happened.
    pub(super) fn aborted(&mut self, number: usize) {
        let Work { publishes, accepts } = std::mem::take(&mut self.transactions[number]);
        publishes.into_iter().for_each(|number| self.refused(number, true));
        for (queue, number) in accepts {
            if let Some(c) = self.queues.get_mut(&queue).and_then(|q| q.copies.get_mut(&number)) {
                c.left.1 = c.left.1.saturating_sub(1);
            }
        }
    }

    /// The message goes to no alternate exchange if its queue is deleted before the commit.
    fn transacts(&mut self, number: MessageId) {
        for queue in &self.messages[number as usize].to {
            if let Some(c) = self.queues.get_mut(queue).and_then(|q| q.copies.get_mut(&number)) {
                c.transacted = true;
            }
        }
    }

    /// After a crash, all of a transaction has happened or nothing.
    pub(super) fn check_transactions(
        &self,
        found: &AllFound,
        now: Time,
        n: &impl Fn(QueueId, MessageId) -> u32,
        marks: &mut Marks,
    ) {
        for work in &self.transactions {
            let (mut done, mut undone) = (None, None);
            let publishes = work.publishes.iter().flat_map(|number| {
                self.messages[*number as usize].to.iter().map(move |queue| (*queue, *number))
            });
            for (queue, number) in publishes {
                match self.has_come(found, now, n, (queue, number)) {
                    Some(true) => done = Some((queue, number)),
                    Some(false) => undone = Some((queue, number)),
                    None => {}
                }
            }
            for at in &work.accepts {
                match self.has_gone(found, now, n, *at) {
                    Some(true) => done = Some(*at),
                    Some(false) => undone = Some(*at),
                    None => {}
                }
            }
            let open = done.is_some() || undone.is_some();
            marks.hit("transaction done after a crash", open && undone.is_none());
            marks.hit("transaction undone by a crash", open && done.is_none());
            assert!(
                done.is_none() || undone.is_none(),
                "half of a transaction has happened: {done:?} but not {undone:?} of {work:?}"
            );
        }
    }

    /// Whether a message that a transaction has published to a queue has come there, if that can be told.
    fn has_come(
        &self,
        found: &AllFound,
        now: Time,
        n: &impl Fn(QueueId, MessageId) -> u32,
        (queue, number): (QueueId, MessageId),
    ) -> Option<bool> {
        let content = &self.messages[number as usize].content;
        if self.messages[number as usize].repeated {
            return None; // Another publish may have brought it.
        }
        let q = self.queues.get(&queue).filter(|q| q.facts.durable && content.durable)?;
        let c = q.copies.get(&number)?;
        if n(queue, number) > 0 {
            return (c.direct && self.arrivals(queue, number) == 0).then_some(true);
        }
        let may_have_left = c.discarded
            || c.left.1 > 0
            || content.expires <= now
            || self.may_go(q)
            || self.may_be_held(q);
        let may_have_left = may_have_left || self.may_be_replaced(q, number);
        (!may_have_left && found.contains_key(&queue)).then_some(false)
    }

    /// Whether a message that a transaction has accepted is gone from its queue, if that can be told.
    fn has_gone(
        &self,
        found: &AllFound,
        now: Time,
        n: &impl Fn(QueueId, MessageId) -> u32,
        (queue, number): (QueueId, MessageId),
    ) -> Option<bool> {
        let Sent { content, refused, .. } = &self.messages[number as usize];
        let q = self.queues.get(&queue).filter(|q| q.facts.durable && content.durable)?;
        let c = q.copies.get(&number).filter(|c| c.direct && c.came.1 == 1)?;
        // What a ring has displaced is not the transaction's to take, and what was refused when somebody had it
        // is in no journal.
        let displaces = q.facts.limit.kind == Kind::Ring;
        let lost = displaces || self.messages[number as usize].refused;
        if lost || self.arrivals(queue, number) > 0 || content.expires <= now {
            return None;
        }
        if n(queue, number) > 0 {
            return Some(false);
        }
        // One that another shard refused when somebody here had it already is his, but not the journal's.
        let kept = c.came.0 == 1 && !refused && !self.may_be_replaced(q, number);
        let by_this = kept && c.left.1 == 1 && !self.may_go(q) && !self.may_be_held(q);
        (by_this && found.contains_key(&queue)).then_some(true)
    }
}
