//! One 1.0 session as the broker sees it: its links, what the engine was asked for them, and what was
//! sent and is not settled.

use super::answer::Answer;
use super::attach::{Attaching, Becomes, Peer};
use super::claim::{Claiming, Resumed};
use super::deliveries::Disposed;
use super::error::Refusal;
use super::incoming::{Incoming, Sent as Delivery, WINDOW};
use super::ledger::Ledger;
use super::subscription::{Asked, Subscription};
use super::transactions::{Discharging, Transactions, TxnId};
use crate::front::{Settings, UnderWay, Unsettled};
use crate::links::{Departures, Ended, Estate, Lasts};
use crate::shard::Ctx;
use fletch_amqp::SequenceSet;
use fletch_amqp::v1_0::state::Connection as Amqp;
use fletch_amqp::v1_0::table::{Attach, DeliveryState};
use fletch_amqp::v1_0::{Role, SequenceNo};
use fletch_engine::{
    CreditUnit, DeliveryRef, Error, FlowMode, OpId, Outcome, Reply, Request, SessionId,
    SubscriptionId,
};
use foldhash::HashMap;
use smallvec::SmallVec;

/// Requests of a session that may be under way before nothing more is read: a client gains nothing by more, and
/// each costs memory here and at a queue's home.
const PENDING_MAX: usize = 1024;

/// A link that is attached.
#[derive(Debug)]
pub(super) struct Attached {
    /// The number that its name is held under.
    pub(super) id: SessionId,
    /// How long its terminus outlives it.
    pub(super) lasts: Lasts,
    pub(super) link: Link,
}

/// What a link does.
#[derive(Debug)]
pub(super) enum Link {
    Incoming(Box<Incoming>),
    /// By the number of its subscription.
    Outgoing(u32),
    Coordinator,
}

/// What an answer of the engine is for.
#[derive(Debug)]
pub(super) enum Then {
    /// The next step of the attach under way.
    Attach,
    /// Credit of a subscription.
    Credit(u32),
    /// The next step of a subscription's end.
    Leave(u32),
    /// The client waits to hear that these are settled.
    Settled(SequenceNo, SequenceNo, State),
    /// The node that went with a link on which the client sent is gone: its name is free, and its client may have
    /// to hear that it is detached.
    Detach(SessionId, Option<(u32, bool)>),
    /// A transaction is committed, or not.
    Discharge(Box<Discharging>),
    /// Where a message of a transaction goes.
    Route(TxnId, Delivery),
    Nothing,
}

/// An outcome to be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    Accepted,
    Rejected,
    Released,
}

impl State {
    pub(super) fn wire(self) -> DeliveryState<'static> {
        use fletch_amqp::v1_0::table::{Accepted, Rejected, Released};
        match self {
            State::Accepted => Accepted {}.into(),
            State::Rejected => Rejected { error: None }.into(),
            State::Released => Released {}.into(),
        }
    }
}

/// A session's end of the protocol.
pub(super) struct Wire<'a> {
    pub(super) amqp: &'a mut Amqp,
    pub(super) channel: u16,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) publishes: UnderWay,
    pub(super) links: HashMap<u32, Attached>,
    pub(super) ledger: Ledger,
    /// Links that are left, and wait for outcomes.
    pub(super) departures: Departures,
    pub(super) claiming: Option<Box<Claiming>>,
    pub(super) subscriptions: HashMap<u32, Subscription>,
    next_tag: u32,
    next_op: u32,
    pub(super) pending: HashMap<OpId, Then>,
    pub(super) unsettled: Unsettled,
    /// Deliveries that came when nothing could be sent any more.
    pub(super) unsent: Vec<(u32, DeliveryRef)>,
    /// Subscriptions that owe room.
    pub(super) owing: Vec<u32>,
    pub(super) attaching: Option<Box<Attaching>>,
    pub(super) transactions: Box<Transactions>,
}

impl Session {
    pub(super) fn new(id: SessionId) -> Session {
        Session {
            id,
            publishes: UnderWay::default(),
            links: HashMap::default(),
            ledger: Ledger::default(),
            departures: Departures::default(),
            claiming: None,
            subscriptions: HashMap::default(),
            next_tag: 0,
            next_op: 0,
            pending: HashMap::default(),
            unsettled: Unsettled::default(),
            unsent: Vec::new(),
            owing: Vec::new(),
            attaching: None,
            transactions: Box::default(),
        }
    }

    /// Whether the client's next frames have to wait for the engine.
    pub(super) fn must_wait(&self) -> bool {
        self.attaching.is_some()
            || self.claiming.is_some()
            || self.transactions.must_wait()
            || self.pending.len() > PENDING_MAX
    }

    pub(super) fn subscription_id(&self, tag: u32) -> SubscriptionId {
        SubscriptionId { session: self.id, tag }
    }

    pub(super) fn ask(&mut self, ctx: &mut Ctx<'_>, request: Request, then: Then) {
        // Below the operations of an ending, and none that is under way.
        while self.pending.contains_key(&OpId::from(self.next_op)) {
            self.next_op = self.next_op.wrapping_add(1);
        }
        let op = OpId::from(self.next_op);
        self.next_op = self.next_op.wrapping_add(1);
        self.pending.insert(op, then);
        ctx.engine.request(ctx.now, self.id, op, request, ctx.fx);
    }

    // ---- attaching -----------------------------------------------------------------------

    /// The client wants a link: what that takes, for [`Session::attach`].
    pub(super) fn plan(
        &self,
        ctx: &Ctx<'_>,
        (settings, container): (&Settings, &str),
        (handle, attach): (u32, &Attach<'_>),
        id: SessionId,
    ) -> Result<Attaching, Box<(Answer, Refusal)>> {
        let peer = Peer { settings, container, tag: self.next_tag, handle, id };
        let planned = Attaching::new(ctx, &peer, attach);
        planned.map_err(|refusal| Box::new((Answer::refused(attach), refusal)))
    }

    /// Begins to attach a link.
    pub(super) fn attach(&mut self, ctx: &mut Ctx<'_>, wire: &mut Wire<'_>, attaching: Attaching) {
        self.next_tag = self.next_tag.wrapping_add(1);
        self.attaching = Some(Box::new(attaching));
        self.go_on(ctx, wire);
    }

    /// Refuses a link.
    pub(super) fn refuse(
        &self,
        wire: &mut Wire<'_>,
        handle: u32,
        answer: &Answer,
        refusal: &Refusal,
    ) {
        tracing::info!(target: "protocol", "link refused: {}", refusal.text);
        wire.amqp.refuse_attach(wire.channel, handle, &answer.attach(), &refusal.wire());
    }

    /// Asks for the next thing that the attach under way needs, or answers it.
    fn go_on(&mut self, ctx: &mut Ctx<'_>, wire: &mut Wire<'_>) {
        let Some(attaching) = &mut self.attaching else { return };
        if let Some(step) = attaching.steps.pop_front() {
            // While the engine is asked the subscription is there, for the session may end meanwhile.
            if let Request::Subscribe(subscribe) = &step
                && let Becomes::Outgoing(subscription) = &mut attaching.becomes
            {
                let subscription = subscription.take().map(|s| (subscribe.tag, s));
                self.subscriptions.extend(subscription);
            }
            return self.ask(ctx, step, Then::Attach);
        }
        let Some(attaching) = self.attaching.take() else { return };
        let Attaching { handle, id, lasts, resumed, tag, answer, becomes, .. } = *attaching;
        wire.amqp.attach_ok(wire.channel, handle, &answer.attach());
        let link = match becomes {
            Becomes::Incoming(mut incoming) => {
                incoming.resumed = resumed.boxed();
                wire.amqp.grant_window(wire.channel, handle, WINDOW);
                Link::Incoming(incoming)
            }
            Becomes::Coordinator => {
                wire.amqp.grant_window(wire.channel, handle, WINDOW);
                Link::Coordinator
            }
            Becomes::Outgoing(_) => {
                let to = self.subscription_id(tag);
                if let Some(subscription) = self.subscriptions.get_mut(&tag) {
                    subscription.resumed = resumed.boxed();
                }
                ctx.engine.set_mode(ctx.now, to, FlowMode::Credit, ctx.fx);
                // A link counts messages only. If its queue has gone meanwhile, the engine says so.
                let _ = ctx.engine.grant(ctx.now, to, CreditUnit::Bytes, u32::MAX, ctx.fx);
                Link::Outgoing(tag)
            }
        };
        self.links.insert(handle, Attached { id, lasts, link });
    }

    /// A step of the attach under way was answered.
    fn attach_answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        result: Result<Reply, Error>,
    ) {
        match result {
            Ok(_) => self.go_on(ctx, wire),
            Err(error) => {
                let Some(attaching) = self.attaching.take() else { return };
                let Attaching {
                    handle, id, lasts, tag, mut answer, becomes, made, resumed, ..
                } = *attaching;
                self.subscriptions.remove(&tag);
                if let Some(node) = made {
                    self.ask(ctx, node.deletion(), Then::Nothing);
                }
                self.give_back(ctx, resumed.held);
                let refusal = Refusal::from(error);
                answer.refuse(matches!(becomes, Becomes::Outgoing(_)));
                self.refuse(wire, handle, &answer, &refusal);
                ctx.leave(id, Estate::Nothing, lasts, Ended::Link(self.id));
            }
        }
    }

    // ---- what the engine tells -----------------------------------------------------------

    pub(super) fn on_reply(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        op: OpId,
        result: Result<Reply, Error>,
    ) {
        match self.pending.remove(&op) {
            Some(Then::Attach) => self.attach_answered(ctx, wire, result),
            Some(Then::Credit(tag)) => self.credit_answered(ctx, wire, tag),
            Some(Then::Leave(tag)) => self.leave(ctx, wire, tag),
            Some(Then::Settled(first, last, state)) => {
                let state = Some(state.wire());
                wire.amqp.dispose(wire.channel, Role::SENDER, (first, last), true, state);
            }
            Some(Then::Detach(link, answer)) => {
                ctx.leave(link, Estate::Nothing, Lasts::default(), Ended::Link(self.id));
                if let Some((handle, closed)) = answer {
                    wire.amqp.detach(wire.channel, handle, closed, None);
                }
            }
            Some(Then::Discharge(discharging)) => {
                self.discharged(ctx, wire, *discharging, result);
            }
            Some(Then::Route(txn, sent)) => self.routed(ctx, wire, (txn, sent), result),
            Some(Then::Nothing) | None => {}
        }
    }

    /// The subscription's queue is gone.
    pub(super) fn subscription_ended(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        tag: u32,
        reason: Error,
    ) {
        if let Some(handle) = self.subscriptions.get(&tag).and_then(|s| s.handle) {
            self.fail_link(ctx, wire, handle, &reason.into());
        }
    }

    // ---- credit --------------------------------------------------------------------------

    /// The client states the credit of a link.
    pub(super) fn credit(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        handle: u32,
        drain: bool,
    ) {
        let Some(Link::Outgoing(tag)) = self.links.get(&handle).map(|link| &link.link) else {
            return;
        };
        let tag = *tag;
        if let Some(subscription) = self.subscriptions.get_mut(&tag) {
            subscription.drain = drain;
            if subscription.asked == Some(Asked::Flush) {
                // The answer to that says nothing of what the client wants now.
                subscription.asked = Some(Asked::Stop);
            }
        }
        self.send_parked(ctx, wire, tag);
        self.align_credit(ctx, wire, tag);
    }

    /// Brings the engine's credit into line with the link's.
    fn align_credit(&mut self, ctx: &mut Ctx<'_>, wire: &mut Wire<'_>, tag: u32) {
        let to = self.subscription_id(tag);
        let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
        let Some(handle) = subscription.handle else { return };
        if subscription.asked.is_some() || Resumed::is_incomplete(&subscription.resumed) {
            return; // The answer comes back here. And nothing new goes on a link that has not said all.
        }
        let credit = wire.amqp.credit(wire.channel, handle);
        if credit < subscription.granted {
            subscription.asked = Some(Asked::Stop);
            return self.ask(ctx, Request::Stop { tag }, Then::Credit(tag));
        }
        if credit > subscription.granted {
            let more = credit - subscription.granted;
            // All ones is credit without end to the engine.
            let more = more.min(u32::MAX - 1);
            subscription.granted = credit;
            if let Err(error) = ctx.engine.grant(ctx.now, to, CreditUnit::Messages, more, ctx.fx) {
                return self.fail_link(ctx, wire, handle, &error.into());
            }
        }
        let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
        if subscription.drain {
            subscription.asked = Some(Asked::Flush);
            self.ask(ctx, Request::Flush { tag }, Then::Credit(tag));
        }
    }

    fn credit_answered(&mut self, ctx: &mut Ctx<'_>, wire: &mut Wire<'_>, tag: u32) {
        let to = self.subscription_id(tag);
        let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
        let flushed = subscription.asked.take() == Some(Asked::Flush);
        subscription.granted = 0;
        // Both units of credit are gone; a link counts one.
        let _ = ctx.engine.grant(ctx.now, to, CreditUnit::Bytes, u32::MAX, ctx.fx);
        if flushed
            && subscription.drain
            && let Some(handle) = subscription.handle
        {
            subscription.drain = false;
            wire.amqp.drained(wire.channel, handle);
        }
        self.align_credit(ctx, wire, tag);
    }

    /// The connection has taken what was sent: gives the room back.
    pub(super) fn give_room(&mut self, ctx: &mut Ctx<'_>) {
        for tag in std::mem::take(&mut self.owing) {
            let to = self.subscription_id(tag);
            let Some(subscription) = self.subscriptions.get_mut(&tag) else { continue };
            let messages = std::mem::take(&mut subscription.owed_messages);
            let bytes = std::mem::take(&mut subscription.owed_bytes);
            ctx.engine.room(ctx.now, to, (messages, bytes), ctx.fx);
        }
    }

    /// Settles deliveries, and tells the client so if it waits for that.
    pub(super) fn settle(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        (first, last): (SequenceNo, SequenceNo),
        disposed: &Disposed,
        tell: bool,
    ) {
        // Nearly always one outcome for all.
        let mut parts: SmallVec<[(Outcome, Vec<DeliveryRef>); 1]> = SmallVec::new();
        self.unsettled.for_each_in(&SequenceSet::range(first, last), |record| {
            if !std::mem::replace(&mut record.ended, true) && record.acquired {
                let outcome = disposed.outcome(record.tag);
                match parts.iter_mut().find(|(of, _)| *of == outcome) {
                    Some((_, deliveries)) => deliveries.push(record.delivery),
                    None => parts.push((outcome, vec![record.delivery])),
                }
            }
        });
        let count = parts.len();
        if count == 0 && tell {
            let state = Some(disposed.told.wire());
            return wire.amqp.dispose(wire.channel, Role::SENDER, (first, last), true, state);
        }
        if let Ok(Some(annotations)) = &disposed.annotations {
            for (_, deliveries) in &parts {
                ctx.engine.annotate(self.id, deliveries, annotations, ctx.fx);
            }
        }
        for (n, (outcome, deliveries)) in parts.into_iter().enumerate() {
            // The last one answers for all.
            let then = match tell && n + 1 == count {
                true => Then::Settled(first, last, disposed.told),
                false => Then::Nothing,
            };
            self.ask(ctx, Request::Settle { outcome, deliveries }, then);
        }
    }
}
