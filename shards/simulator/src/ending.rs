//! The end of a session, as the 0-10 front end does it, whether its client closed it, failed, is gone
//! or was evicted: stop all subscriptions, wait, release what it holds, cancel, wait, close.

use crate::session::{Asked, Record, Stage};
use crate::world::{Private, World};
use fletch_engine::{DeliveryRef, OpId, Outcome, Request, SessionId, SubscriptionId};

impl World<'_> {
    /// The session ends, whether its client wants it or is gone.
    pub(crate) fn end(&mut self, id: SessionId) {
        let session = self.session(id);
        match session.stage {
            Stage::Attaching { .. } => {
                session.stage = Stage::Attaching { doomed: true };
                self.marks.hit("lost while attaching", true);
                return;
            }
            Stage::Live => session.stage = Stage::Stopping,
            _ => return,
        }
        self.owners.retain(|_, owner| *owner != id);
        let session = self.session(id);
        let acquires = session.asked.iter().filter(|(_, a)| matches!(a, Asked::Acquire(_)));
        session.awaited = acquires.map(|(op, _)| *op).collect();
        let tags: Vec<u32> = session.subscriptions.keys().copied().collect();
        if let Some(private) = session.private.take() {
            // Left to itself: nothing can be said of it until its last request is answered.
            self.privates.insert(private, Private::Moving);
        }
        // Answers may come while the others are asked for: nothing may be thought complete yet.
        let hold = OpId::MAX;
        self.session(id).awaited.insert(hold);
        for tag in tags {
            self.clear(id, tag, Request::Stop { tag });
        }
        self.answered(id, hold);
    }

    /// Asks for a stop or flush.
    pub(crate) fn clear(&mut self, id: SessionId, tag: u32, request: Request) {
        let session = self.session(id);
        if let Some(s) = session.subscriptions.get_mut(&tag) {
            s.flow.clears();
        }
        let op = session.next_op;
        if session.stage != Stage::Live {
            session.awaited.insert(op);
        }
        self.ask(id, Asked::Clear(tag), request);
    }

    pub(crate) fn cancel(&mut self, id: SessionId, tag: u32) {
        let now = self.now;
        let session = self.sessions.get_mut(&id).expect("the session exists");
        if let Some(s) = session.subscriptions.get_mut(&tag) {
            if let Some(queue) = s.queue.filter(|_| s.started && !s.cancelled) {
                self.model.uses(queue, now);
            }
            s.cancelled = true;
            if let Some(consumers) = s.queue.and_then(|q| self.consumers.get_mut(&q)) {
                consumers.remove(&SubscriptionId { session: id, tag });
            }
        }
        let session = self.session(id);
        for record in session.records.iter_mut().filter(|r| r.tag == tag) {
            record.windowing = false;
        }
        session.prune();
        let op = session.next_op;
        if session.stage != Stage::Live {
            session.awaited.insert(op);
        }
        self.ask(id, Asked::Cancel(tag), Request::Cancel { tag });
    }

    /// An answer that the end of the session waits for may have come.
    pub(crate) fn answered(&mut self, id: SessionId, op: OpId) {
        let session = self.session(id);
        session.awaited.remove(&op);
        if !session.awaited.is_empty() {
            return;
        }
        let hold = OpId::MAX;
        match session.stage {
            Stage::Attaching { .. } | Stage::Live | Stage::Over => {}
            Stage::Stopping => {
                session.stage = Stage::Settling;
                session.awaited.insert(hold);
                let held = |r: &Record| r.acquired && !r.ended;
                let held: Vec<DeliveryRef> =
                    session.records.iter().copied().filter(held).map(|r| r.delivery).collect();
                session.records.clear();
                let unsent = std::mem::take(&mut session.unsent);
                for (deliveries, set_redelivered) in [(held, true), (unsent, false)] {
                    let op = self.session(id).next_op;
                    self.session(id).awaited.insert(op);
                    self.settle(id, Outcome::Released { set_redelivered }, deliveries);
                }
                self.answered(id, hold);
            }
            Stage::Settling => {
                session.stage = Stage::Cancelling;
                session.awaited.insert(hold);
                let tags: Vec<u32> = session.subscriptions.keys().copied().collect();
                for tag in tags {
                    self.cancel(id, tag);
                }
                self.answered(id, hold);
            }
            Stage::Cancelling => {
                session.stage = Stage::Closing;
                let op = session.next_op;
                session.awaited.insert(op);
                self.ask(id, Asked::Close, Request::Close);
            }
            Stage::Closing => session.stage = Stage::Over,
        }
    }
}
