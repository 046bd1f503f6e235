//! The engine's queues that are homed here: enqueueing, settling, subscriptions, deletion.

use super::Engine;
use super::slices::Job;
use crate::error::{Error, ErrorKind};
use crate::frame::{Effects, Frame, QueueCommand};
use crate::ids::{Position, QueueId, SessionId, ShardId, SubscriptionId, Time};
use crate::message::Message;
use crate::queue::{Output, Queue, QueueSettings, Taken};
use crate::request::{DeliveryRef, Event, OpId, Outcome, QueueReport, Reply};
use crate::store::Waiter;
use crate::topology::{Conditions, QueueDescriptor};
use fletch_journal::Seq;
use smallvec::SmallVec;
use std::sync::Arc;

impl Engine {
    /// Hands a queue's outputs to their sessions, and its dequeues to the journal.
    pub(super) fn deliver(&mut self, fx: &mut Effects) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match &output {
                Output::Dequeued { delivery, place, size } => {
                    self.journal_dequeue(*delivery, *place, *size);
                }
                Output::Deliver { delivery, place, .. } => {
                    let queue = delivery.queue;
                    let wait = *place != Seq::NONE && self.journal_delivery(*delivery, *place);
                    self.output(queue, wait, output, fx);
                }
                Output::Forgotten { place, len } => self.forget_id(*place, *len),
                Output::Displaced { delivery, message, place, size, hops } => {
                    self.displaced(*delivery, message, (*place, *size), *hops, fx);
                }
                Output::Resumed { to } => self.let_go(*to, fx),
                Output::Notice { queue, what, count, size } => {
                    self.notice(*queue, *what, (*count, *size), fx);
                }
                Output::Event { queue, position, enqueued } => {
                    self.queue_event(*queue, *position, enqueued.clone(), fx);
                }
                Output::Overfull { queue } => self.overfull(*queue, fx),
                Output::Wanted { queue } => self.want_bodies(*queue),
                Output::More { queue } => self.looks.push_back(*queue),
                Output::Scheduled { queue, due } => self.schedules.set(*queue, Some(*due)),
                Output::Emptied { queue } => self.lifetimes.emptied(*queue),
                Output::Flushed { queue, .. } => self.output(*queue, false, output, fx),
            }
        }
        self.outputs = outputs;
    }

    /// Sends an output to its session.
    #[inline]
    pub(super) fn emit(&mut self, output: Output, fx: &mut Effects) {
        match output {
            Output::Dequeued { .. }
            | Output::Forgotten { .. }
            | Output::Displaced { .. }
            | Output::Resumed { .. }
            | Output::Notice { .. }
            | Output::Event { .. }
            | Output::Overfull { .. }
            | Output::Wanted { .. }
            | Output::More { .. }
            | Output::Scheduled { .. }
            | Output::Emptied { .. } => {}
            Output::Deliver { to, delivery, message, redelivered, failures, marks, .. } => {
                let shard = to.session.shard();
                if shard == self.shard {
                    fx.events.push(Event::Deliver {
                        to,
                        delivery,
                        message,
                        redelivered,
                        failures,
                        marks,
                    });
                } else {
                    let frame =
                        Frame::Deliver { to, delivery, message, redelivered, failures, marks };
                    fx.frames.push((shard, frame));
                }
            }
            Output::Flushed { to, op, .. } => {
                let session = to.session;
                if session.shard() == self.shard {
                    fx.events.push(Event::Reply { session, op, result: Ok(Reply::Done) });
                } else {
                    let result = Box::new(Ok(Reply::Done));
                    fx.frames.push((session.shard(), Frame::Reply { session, op, result }));
                }
            }
        }
    }

    /// What its arguments ask for.
    pub(super) fn settings(&self, q: &QueueDescriptor) -> QueueSettings {
        let default_group = Arc::clone(&self.default_group);
        QueueSettings { default_group, ..QueueSettings::of(&q.name, &q.arguments) }
    }

    pub(super) fn new_queue(&self, q: &QueueDescriptor) -> Queue {
        let mut queue = Queue::new(q.id);
        if q.durable && self.store.is_some() {
            queue.set_durable();
        }
        queue
    }

    pub(super) fn on_queue_command(
        &mut self,
        now: Time,
        queue: QueueId,
        session: SessionId,
        command: QueueCommand,
        fx: &mut Effects,
    ) {
        let id = |tag| SubscriptionId { session, tag };
        let Some(q) = self.queues.get_mut(&queue) else {
            self.on_missing_queue(queue, session, command, fx);
            return;
        };
        let outputs = &mut self.outputs;
        match command {
            QueueCommand::Annotate { positions, annotations } => {
                positions.into_iter().for_each(|position| q.annotate(position, &annotations));
            }
            QueueCommand::Grant { tag, unit, value } => q.grant(now, id(tag), unit, value, outputs),
            QueueCommand::Mode { tag, mode } => q.set_mode(id(tag), mode),
            QueueCommand::Moved { tag, messages, bytes } => {
                q.moved(now, id(tag), messages, bytes, outputs);
            }
            QueueCommand::Room { tag, messages, bytes } => {
                q.room(now, id(tag), messages, bytes, outputs);
            }
            QueueCommand::Subscribe { op, subscribe } => {
                let result = q.subscribe(id(subscribe.tag), &subscribe).map(|()| Reply::Done);
                if result.is_ok() {
                    self.lifetimes.used(queue);
                }
                self.answer(session, op, result, fx);
            }
            QueueCommand::Cancel { op, tag } => {
                q.cancel(id(tag), outputs);
                self.deliver(fx);
                // If the queue goes with its last subscription, it is gone when this is answered.
                if !self.end_if_unused(now, queue, Some((session, op)), fx) {
                    self.answer_behind(queue, (session, op), Ok(Reply::Done), fx);
                }
            }
            QueueCommand::Flush { op, tag } => q.flush(now, id(tag), op, outputs),
            QueueCommand::Stop { op, tag } => {
                q.stop(id(tag), outputs);
                // Flushes that this ends are answered before it.
                self.deliver(fx);
                self.answer_behind(queue, (session, op), Ok(Reply::Done), fx);
            }
            QueueCommand::Take { op, take } => self.start_taking(queue, (session, op), *take, fx),
            QueueCommand::Query { op } => {
                let report = self.report(queue).map(Box::new);
                self.answer(session, op, Ok(Reply::Queue(report)), fx);
            }
            QueueCommand::Delete { op, request } => {
                self.send(ShardId::ORDERER, Frame::Topology { session, op, request }, fx);
            }
            QueueCommand::Acquire { op, positions } => {
                let mut acquired = Vec::new();
                let asker = (session, op);
                let all = positions.into_iter();
                self.on_deliveries(now, asker, queue, all, None, &mut acquired, fx);
                self.answer_part(session, op, acquired, fx);
            }
            QueueCommand::Settle { op, outcome, positions } => {
                let (asker, all) = ((session, op), positions.into_iter());
                let mut none = Vec::new();
                if self.on_deliveries(now, asker, queue, all, Some(outcome), &mut none, fx) {
                    return; // Answered when what was rejected is safe elsewhere.
                }
                self.part_when_durable(session, op, fx);
            }
        }
        self.deliver(fx);
    }

    /// The queue was deleted while the command was under way.
    pub(super) fn on_missing_queue(
        &mut self,
        queue: QueueId,
        session: SessionId,
        command: QueueCommand,
        fx: &mut Effects,
    ) {
        let gone = || Error::new(ErrorKind::NotFound, format!("Queue {} was deleted", queue.0));
        match command {
            // It waits for messages, and the queue did not know when it was deleted.
            QueueCommand::Grant { tag, .. } | QueueCommand::Moved { tag, .. } => {
                let reason = Error::new(ErrorKind::ResourceDeleted, "Queue has been deleted.");
                let to = SubscriptionId { session, tag };
                self.end_when_delivered(queue, to, true, reason, fx);
            }
            QueueCommand::Annotate { .. }
            | QueueCommand::Mode { .. }
            | QueueCommand::Room { .. } => {}
            QueueCommand::Subscribe { op, .. } | QueueCommand::Take { op, .. } => {
                self.answer(session, op, Err(gone()), fx);
            }
            QueueCommand::Cancel { op, .. }
            | QueueCommand::Flush { op, .. }
            | QueueCommand::Stop { op, .. } => {
                // Deliveries of before may be held back.
                self.answer_behind(queue, (session, op), Ok(Reply::Done), fx);
            }
            QueueCommand::Query { op } => self.answer(session, op, Ok(Reply::Queue(None)), fx),
            QueueCommand::Delete { op, request } => {
                self.send(ShardId::ORDERER, Frame::Topology { session, op, request }, fx);
            }
            QueueCommand::Settle { op, outcome: Outcome::Accepted, .. } => {
                self.accepted_of_deleted(queue, session, op, fx);
            }
            QueueCommand::Acquire { op, .. } | QueueCommand::Settle { op, .. } => {
                self.answer_part(session, op, Vec::new(), fx);
            }
        }
    }

    pub(super) fn answer_part(
        &mut self,
        session: SessionId,
        op: OpId,
        acquired: Vec<DeliveryRef>,
        fx: &mut Effects,
    ) {
        self.send(session.shard(), Frame::Part { session, op, acquired }, fx);
    }

    /// Answers a part of a settlement when what was dequeued for it is durable.
    pub(super) fn part_when_durable(&mut self, session: SessionId, op: OpId, fx: &mut Effects) {
        match (self.take_dequeued(), &mut self.store) {
            (Some(_), Some(store)) => store.wait_for_all(Waiter::Part { session, op }),
            _ => self.answer_part(session, op, Vec::new(), fx),
        }
    }

    /// Settles (or, with no outcome, acquires) at a queue homed here. True if a part of the answer
    /// follows by itself.
    #[expect(clippy::too_many_arguments, reason = "a command's fields")]
    pub(super) fn on_deliveries(
        &mut self,
        now: Time,
        asker: (SessionId, OpId),
        queue: QueueId,
        positions: impl Iterator<Item = Position>,
        outcome: Option<Outcome>,
        acquired: &mut Vec<DeliveryRef>,
        fx: &mut Effects,
    ) -> bool {
        let Some(q) = self.queues.get_mut(&queue) else { return false };
        match outcome {
            None => {
                acquired.extend(
                    positions
                        .filter(|p| q.acquire(asker.0, *p))
                        .map(|p| DeliveryRef { queue, position: p }),
                );
            }
            Some(Outcome::Accepted) => {
                let mut all = true;
                positions.for_each(|p| all &= q.accept(p, &mut self.outputs));
                q.serve_freed(now, &mut self.outputs);
                self.deliver(fx);
                if let Some(store) = self.store.as_mut().filter(|_| !all) {
                    // One that gave way to another is gone when that is durable.
                    store.dequeued = store.log.last_seq();
                }
            }
            Some(
                outcome @ (Outcome::Released { set_redelivered }
                | Outcome::Declined { set_redelivered, .. }),
            ) => {
                let mut worn = Vec::new();
                let released = positions.filter(|position| {
                    let is_worn = set_redelivered && q.is_worn(*position);
                    worn.extend(is_worn.then_some(*position));
                    !is_worn
                });
                let released: SmallVec<[Position; 4]> = released.collect();
                let outputs = &mut self.outputs;
                match outcome {
                    Outcome::Declined { tag, .. } => {
                        let by = SubscriptionId { session: asker.0, tag };
                        q.decline(now, by, &released, set_redelivered, outputs);
                    }
                    _ => q.release(now, released, set_redelivered, outputs),
                }
                self.deliver(fx);
                return !worn.is_empty() && self.reject(now, asker, queue, worn.into_iter(), fx);
            }
            Some(Outcome::Rejected) => return self.reject(now, asker, queue, positions, fx),
        }
        false
    }

    /// Takes acquired messages out of a queue homed here, for its alternate exchange. True if a part of the
    /// answer follows by itself.
    fn reject(
        &mut self,
        now: Time,
        asker: (SessionId, OpId),
        queue: QueueId,
        positions: impl Iterator<Item = Position>,
        fx: &mut Effects,
    ) -> bool {
        let Some(q) = self.queues.get_mut(&queue) else { return false };
        let mut rejected: Vec<(Position, Message, Seq, usize)> = positions
            .filter_map(|p| {
                let Taken { message, size, place } = q.reject(p, &mut self.outputs)?;
                Some((p, message, place, size))
            })
            .collect();
        q.serve_freed(now, &mut self.outputs);
        if q.ends_empty() {
            self.lifetimes.emptied(queue);
        }
        self.deliver(fx);
        for (position, _, place, size) in &mut rejected {
            let at = DeliveryRef { queue, position: *position };
            *place = self.journalled(at, *place, *size);
        }
        let moving = rejected.iter().filter(|(_, message, place, _)| {
            *place != Seq::NONE && !self.onward(queue, message).is_empty()
        });
        let moving = moving.count() as u32;
        let key = (moving > 0).then(|| self.rejections.insert(asker, moving));
        for (position, message, place, size) in rejected {
            let from = DeliveryRef { queue, position };
            self.move_on(from, &message, (place, size), (key, 0), fx);
        }
        key.is_some()
    }

    pub(super) fn report(&self, queue: QueueId) -> Option<QueueReport> {
        let d = self.topology.queue_by_id(queue)?;
        let q = self.queues.get(&queue)?;
        Some(QueueReport {
            name: Arc::clone(&d.name),
            alternate: d.alternate.clone(),
            durable: d.durable,
            exclusive: d.owner.is_some(),
            auto_delete: d.auto_delete,
            arguments: (*d.arguments).clone(),
            messages: q.available(),
            bytes: q.bytes(),
            subscriptions: q.subscriptions(),
        })
    }

    /// Deletes a queue homed here if the conditions hold: from now on it is gone for this shard.
    pub(super) fn delete_if(
        &mut self,
        queue: QueueId,
        conditions: Conditions,
        fx: &mut Effects,
    ) -> Result<(), Error> {
        let name = self.topology.queue_by_id(queue).map(|d| Arc::clone(&d.name));
        let name = name.as_deref().unwrap_or("?");
        let Some(q) = self.queues.get(&queue) else {
            return Err(Error::not_found(format!("No such queue: {name}")));
        };
        if conditions.if_empty && q.available() + q.scheduled() > 0 {
            let text = format!("Cannot delete queue {name}; queue not empty");
            return Err(Error::precondition(text));
        }
        if conditions.if_unused && !q.is_unused() {
            let text = format!("Cannot delete queue {name}; queue in use");
            return Err(Error::precondition(text));
        }
        if conditions.by_itself && (!q.is_done_with() || self.lifetimes.is_waiting(queue)) {
            return Err(Error::precondition(format!("Queue {name} is used again")));
        }
        let mut q = self.queues.remove(&queue).expect("it was looked at above");
        self.lifetimes.forget(queue);
        self.schedules.set(queue, None);
        if let Some(alternate) = self.topology.alternate_of(queue) {
            self.gone.add(queue, alternate);
        }
        let reason =
            Error::new(ErrorKind::ResourceDeleted, format!("Queue {name} has been deleted."));
        let (subscriptions, rest) = q.drain_for_delete(&mut self.outputs);
        self.deliver(fx);
        for (to, waiting) in subscriptions {
            self.end_when_delivered(queue, to, waiting, reason.clone(), fx);
        }
        self.moving.entry(queue).or_default().begin();
        self.start(Job::Empty { queue, rest: Box::new(rest) }, fx);
        Ok(())
    }

    /// Tells a subscriber that its queue is gone, behind the deliveries that are held back.
    fn end_when_delivered(
        &mut self,
        queue: QueueId,
        to: SubscriptionId,
        waiting: bool,
        reason: Error,
        fx: &mut Effects,
    ) {
        let reason = Box::new(reason);
        match &mut self.store {
            Some(store) if store.is_holding(queue) => {
                store.wait_for_all(Waiter::Ended { to, waiting, reason });
            }
            _ => self.end_subscription(to, waiting, reason, fx),
        }
    }

    /// Tells a subscriber, wherever it is, that its queue is gone.
    pub(super) fn end_subscription(
        &mut self,
        to: SubscriptionId,
        waiting: bool,
        reason: Box<Error>,
        fx: &mut Effects,
    ) {
        if to.session.shard() == self.shard {
            self.subscription_ended(to, waiting, reason, fx);
        } else {
            fx.frames.push((to.session.shard(), Frame::SubscriptionEnded { to, waiting, reason }));
        }
    }

    pub(super) fn subscription_ended(
        &mut self,
        to: SubscriptionId,
        waiting: bool,
        reason: Box<Error>,
        fx: &mut Effects,
    ) {
        let Some(route) = self.subscriptions.get_mut(&to) else { return };
        if route.cancelled {
            // It is over for the session.
            self.subscriptions.remove(&to);
        } else if waiting {
            // What was told first says more.
            let reason = route.ended.take().unwrap_or(reason);
            self.subscriptions.remove(&to);
            fx.events.push(Event::SubscriptionEnded { to, reason: *reason });
        } else {
            route.ended = Some(reason);
        }
    }
}
