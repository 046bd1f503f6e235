//! Purges, moves and reroutes: what is taken out of a queue, slice by slice, and who is told.
//!
//! A message that goes to another queue is safe there before its record here goes, as with those for an
//! alternate exchange (`moving.rs`): a crash may leave it in both, never in none. Whoever asked is answered
//! when all that moves has arrived, durable or not: so what he does next with the other queue finds it there.

use super::Engine;
use super::moving::Onward;
use super::slices::Job;
use crate::error::{Error, ErrorKind};
use crate::frame::{Destination, Effects, QueueCommand, Taking};
use crate::ids::{Position, QueueId, SessionId};
use crate::queue::marks::without_trace;
use crate::queue::taking::{Found, Taken};
use crate::request::{DeliveryRef, OpId, Reply, Request};
use crate::store::Waiter;
use crate::topology::{Route, Routes};
use fletch_journal::Seq;

/// A job under way.
#[derive(Debug)]
pub(super) struct Take {
    queue: QueueId,
    asker: (SessionId, OpId),
    what: Taking,
    /// What comes later is not meant.
    until: Position,
    /// Where it goes on.
    cursor: Position,
    /// So many so far.
    count: u64,
    /// What has to be durable for those that were dropped to be gone.
    safe: Seq,
    /// What waits for those that moved.
    key: Option<u32>,
}

impl Take {
    /// How many more may be taken.
    fn left(&self) -> u64 {
        match self.what.which.limit {
            0 => u64::MAX,
            limit => limit - self.count,
        }
    }
}

/// What a slice has come to.
pub(super) enum Slice {
    Done,
    /// There is more to do, or it waits for a body.
    Rest(Box<Take>),
}

impl Engine {
    /// A session here asks for it.
    pub(super) fn ask_to_take(
        &mut self,
        session: SessionId,
        op: OpId,
        request: Request,
        fx: &mut Effects,
    ) {
        match self.taking_of(request) {
            Ok((queue, take)) => {
                let home = self.topology.home_of(queue).unwrap_or(self.shard);
                let command = QueueCommand::Take { op, take: Box::new(take) };
                self.ask_home(session, queue, home, command, fx);
            }
            Err(error) => self.answer(session, op, Err(error), fx),
        }
    }

    fn taking_of(&self, request: Request) -> Result<(QueueId, Taking), Error> {
        let topology = &self.topology;
        Ok(match request {
            Request::MoveMessages { from, to, which } => {
                let target = topology.resolve_queue(&to)?;
                let to = Destination::Queue(target.id, target.home);
                (topology.resolve_queue(&from)?.id, Taking { which, to })
            }
            Request::RerouteMessages { name, exchange, which } => {
                let q = topology.resolve_queue(&name)?;
                let none = || Error::invalid("No alternate-exchange defined");
                let exchange = exchange.or_else(|| q.alternate.clone()).ok_or_else(none)?;
                if topology.exchange(&exchange).is_none() {
                    return Err(Error::not_found("Exchange not found"));
                }
                (q.id, Taking { which, to: Destination::Exchange(exchange) })
            }
            Request::PurgeQueue { name, which } => {
                (topology.resolve_queue(&name)?.id, Taking { which, to: Destination::Dropped })
            }
            other => {
                let text = format!("{other:?} takes nothing out of a queue");
                return Err(Error::new(ErrorKind::NotImplemented, text));
            }
        })
    }

    /// Begins at a queue homed here.
    pub(super) fn start_taking(
        &mut self,
        queue: QueueId,
        asker: (SessionId, OpId),
        what: Taking,
        fx: &mut Effects,
    ) {
        let until = self.queues.get(&queue).map_or(0, |q| q.newest());
        let moves = !matches!(what.to, Destination::Dropped);
        // One for the job itself, so that it does not end early.
        let key = moves.then(|| self.rejections.insert(asker, 1));
        let (cursor, count, safe) = (0, 0, Seq::NONE);
        let take = Take { queue, asker, what, until, cursor, count, safe, key };
        self.start(Job::Take(Box::new(take)), fx);
    }

    /// Does what fits into `left`.
    pub(super) fn take_slice(
        &mut self,
        mut take: Box<Take>,
        left: &mut usize,
        fx: &mut Effects,
    ) -> Slice {
        let by_arrival = self.queues.get(&take.queue).is_none_or(|q| q.is_by_arrival());
        let more = match (&take.what.to, &take.what.which.filter) {
            (Destination::Dropped, None) if take.what.which.limit == 0 || by_arrival => {
                self.purge_slice(&mut take, left)
            }
            _ => self.search_slice(&mut take, left, fx),
        };
        self.deliver(fx);
        // Now: whoever asks next would take it for his own.
        take.safe = take.safe.max(self.take_dequeued().unwrap_or_default());
        if more {
            return Slice::Rest(take);
        }
        let (session, op) = take.asker;
        match take.key {
            None => self.answer_when_durable(session, op, Reply::Purged(take.count), take.safe, fx),
            Some(key) => {
                self.rejections.set_reply(key, Reply::Moved(take.count));
                self.arrived(key, fx);
            }
        }
        Slice::Done
    }

    /// Drops from the front; bodies are not needed for that. Whether there is more to do.
    fn purge_slice(&mut self, take: &mut Take, left: &mut usize) -> bool {
        let Some(q) = self.queues.get_mut(&take.queue) else { return false };
        let most = usize::try_from(take.left()).unwrap_or(usize::MAX).min(*left);
        let (count, more) = q.purge(take.until, most, &mut self.outputs);
        take.count += count as u64;
        *left -= count;
        more && take.left() > 0
    }

    /// Looks for what is meant. Whether there is more to do.
    fn search_slice(&mut self, take: &mut Take, left: &mut usize, fx: &mut Effects) -> bool {
        while take.left() > 0 {
            let Some(q) = self.queues.get_mut(&take.queue) else { return false };
            let filter = take.what.which.filter.as_ref();
            match q.find(&mut take.cursor, take.until, filter, left) {
                Found::Here(position) => {
                    take.count += 1;
                    let from = DeliveryRef { queue: take.queue, position };
                    if let Destination::Dropped = take.what.to {
                        q.purge_at(position, &mut self.outputs);
                        continue;
                    }
                    let reroutes = matches!(take.what.to, Destination::Exchange(_));
                    let taken = q.take_out(position, reroutes, &mut self.outputs);
                    if q.ends_empty() {
                        self.lifetimes.emptied(take.queue);
                    }
                    if let (Some(taken), Some(key)) = (taken, take.key) {
                        self.move_elsewhere(from, taken, &take.what.to, key, fx);
                    }
                }
                Found::Away(position, place) => {
                    self.read_for_job(take.queue, (position, place));
                    return true;
                }
                Found::Nothing => return take.cursor <= take.until,
            }
        }
        false
    }

    fn move_elsewhere(
        &mut self,
        from: DeliveryRef,
        taken: Taken,
        to: &Destination,
        key: u32,
        fx: &mut Effects,
    ) {
        let Taken { mut message, size, place } = taken;
        let place = self.journalled(from, place, size);
        let onward = match to {
            Destination::Dropped => Onward::Queues(Routes::default()),
            Destination::Queue(queue, home) => {
                let mut routes = Routes::default();
                let route = Route { home: *home, queue: *queue };
                routes.push(self.topology.redirected(route));
                Onward::Queues(routes)
            }
            Destination::Exchange(exchange) => {
                message = without_trace(message);
                self.onward_by(exchange, &message)
            }
        };
        if onward.is_empty() {
            self.stats.discarded += 1;
            if place != Seq::NONE {
                self.journal_dequeue(from, place, size);
            }
            return;
        }
        if let Destination::Exchange(_) = to {
            self.stats.rerouted += 1;
        }
        self.rejections.add(key);
        self.move_to(from, &message, (place, size), &onward, (Some(key), 0), fx);
    }

    /// One more of what a rejection or a move waits for has come to pass.
    pub(super) fn arrived(&mut self, key: u32, fx: &mut Effects) {
        match self.rejections.moved(key) {
            None => {}
            Some(((session, op), None)) => self.part_when_durable(session, op, fx),
            Some(((session, op), Some(reply))) => match &mut self.store {
                Some(store) if store.log.last_seq() > store.log.durable() => {
                    store.wait_for_all(Waiter::Answer { session, op, result: Box::new(Ok(reply)) });
                }
                _ => self.answer(session, op, Ok(reply), fx),
            },
        }
    }
}
