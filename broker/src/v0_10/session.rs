//! One 0-10 session as the broker sees it: lowers commands to engine requests, turns what the
//! engine answers into completions, results and exceptions, and keeps its subscriptions and
//! unsettled deliveries.
//!
//! A command that may change the topology, that may fail at a queue's home, or that decides whose
//! messages are, is a *barrier*: what follows it on the connection waits for its answer, because it
//! may rely on it. All else relies on the order of the rings between shards.

use super::dtx::{self, Dtx, Next};
use super::error::Refusal;
use super::later;
use crate::front::tx::{self, Commit};
use crate::front::{
    Ending, Left, ROOM_BYTES, ROOM_MESSAGES, Record, ScopedBinding, Tx, UnderWay, Unsettled,
};
use crate::shard::Ctx;
use fletch_amqp::serial::{CommandId, SequenceSet};
use fletch_amqp::types::{Map, MapRef};
use fletch_amqp::v0_10::table::{exchange, message, queue};
use fletch_amqp::v0_10::{
    AcceptMode, AcquireMode, Command, CreditUnit as WireUnit, ErrorCode, FlowMode as WireMode,
};
use fletch_engine::selector::Selector;
use fletch_engine::{
    Binding, BranchId, CreditUnit, DeclareExchange, DeclareQueue, DeliveryRef, Error, FlowMode,
    Message, Mode, OpId, Outcome, Published, Reply, Request, Selection, SessionId, Subscribe,
    SubscriptionId, Target,
};
use foldhash::{HashMap, HashSet};
use std::sync::Arc;

/// Commands of a session that may be under way before nothing more is read: a client gains nothing
/// by more, and each costs memory here and at a queue's home.
const PENDING_MAX: usize = 1024;

/// What a command came to, as far as is known at once.
pub(super) enum Progress {
    /// Done.
    Complete,
    /// Done, with a result.
    Answered(Reply),
    /// [`Session::on_reply`] will tell.
    Pending,
}

/// What has to be said to the client about a command of its.
pub(super) enum Answer {
    Reply(CommandId, Reply),
    Acquired(CommandId, SequenceSet),
    /// A transfer is part of the transaction; it is to be accepted if that is wanted.
    Transferred(CommandId, bool),
    Exception {
        id: CommandId,
        class: u8,
        command: u8,
        refusal: Refusal,
    },
}

/// A command whose answer is under way.
#[derive(Debug)]
struct Pending {
    class: u8,
    command: u8,
    barrier: bool,
    then: Then,
}

/// What its answer changes in the session.
#[derive(Debug)]
enum Then {
    Nothing,
    /// The subscription is over.
    Forget(u32),
    /// The binding lasts as long as the session.
    Scope(ScopedBinding),
    /// Those of these deliveries that were acquired are the session's now.
    Own(Vec<(CommandId, DeliveryRef)>),
    /// The transaction is committed that has accepted these.
    Settle(SequenceSet),
    /// A message belongs to the transaction; it wants to be accepted.
    Publish(bool),
    /// The session works in a branch, or not.
    Start,
}

/// A subscription.
#[derive(Debug)]
struct Subscription {
    destination: Box<str>,
    mode: Mode,
    settles: bool,
    windowing: bool,
    /// Written to the connection and not yet given back as room.
    owed_messages: u32,
    owed_bytes: u64,
    /// Cancelled by the client; the engine has not answered yet.
    cancelled: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    pub(super) attached: bool,
    pub(super) publishes: UnderWay,
    subscriptions: HashMap<u32, Subscription>,
    tags: HashMap<Box<str>, u32>,
    next_tag: u32,
    unsettled: Unsettled,
    /// Deliveries that came when nothing could be sent any more.
    unsent: Vec<(u32, DeliveryRef)>,
    pending: HashMap<OpId, Pending>,
    /// How many of those are barriers.
    barriers: usize,
    bindings: HashSet<ScopedBinding>,
    /// If the session is transactional.
    tx: Option<Box<Tx>>,
    /// If it is for distributed transactions.
    dtx: Option<Box<Dtx>>,
    /// A subscription owes room.
    owing: bool,
}

impl Session {
    pub(super) fn new(id: SessionId) -> Session {
        Session {
            id,
            attached: false,
            publishes: UnderWay::default(),
            subscriptions: HashMap::default(),
            tags: HashMap::default(),
            next_tag: 0,
            unsettled: Unsettled::default(),
            unsent: Vec::new(),
            pending: HashMap::default(),
            barriers: 0,
            bindings: HashSet::default(),
            tx: None,
            dtx: None,
            owing: false,
        }
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// Whether what follows on the connection has to wait: for a barrier, or because so many
    /// commands are under way.
    pub(super) fn must_wait(&self) -> bool {
        self.barriers > 0 || self.pending.len() > PENDING_MAX
    }

    /// The transaction that what is published belongs to, if the session is transactional.
    pub(super) fn transaction(&mut self) -> Option<&mut Tx> {
        match &mut self.dtx {
            Some(dtx) => dtx.work(),
            None => self.tx.as_deref_mut(),
        }
    }

    /// Bytes that the messages of its transactions take.
    pub(super) fn transaction_bytes(&self) -> u64 {
        let (tx, dtx) = (&self.tx, &self.dtx);
        tx.as_ref().map_or(0, |tx| tx.bytes()) + dtx.as_ref().map_or(0, |dtx| dtx.bytes())
    }

    /// Ends the session; what it held goes back where it came from.
    pub(super) fn end(mut self, ctx: &mut Ctx<'_>) -> Box<Ending> {
        if !self.attached {
            return Box::new(Ending::of_attaching(self.id));
        }
        let left = |s: &Subscription| Left::new(s.mode, s.settles);
        let subscriptions = self.subscriptions.iter().map(|(tag, s)| (*tag, left(s))).collect();
        // What is under way counts as done: acquired messages and bindings come with the answers.
        let (mut acquires, mut commits) = (Vec::new(), Vec::new());
        for (op, pending) in self.pending {
            match pending.then {
                Then::Own(_) => acquires.push(op),
                // Whether these are still the session's comes with the answer too.
                Then::Settle(ids) => commits.push((op, tx::settle(&ids, &mut self.unsettled))),
                Then::Scope(binding) => {
                    self.bindings.insert(binding);
                }
                Then::Nothing | Then::Forget(_) | Then::Publish(_) | Then::Start => {}
            }
        }
        if let Some(dtx) = self.dtx {
            dtx.leave(ctx, self.id);
        }
        let held = self.unsettled.take_held();
        let (id, bindings) = (self.id, self.bindings);
        let under_way = (acquires, commits);
        let mut ending = Ending::start(ctx, id, subscriptions, held, under_way, bindings);
        self.unsent.into_iter().for_each(|(tag, delivery)| ending.deliver(tag, delivery));
        Box::new(ending)
    }

    // ---- commands ------------------------------------------------------------------------

    /// Handles a command other than a transfer.
    pub(super) fn command(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CommandId,
        command: Command<'_>,
    ) -> Result<Progress, Refusal> {
        let (class, code) = (command.class(), command.code());
        let ask = Ask { id, class, command: code, barrier: false, then: Then::Nothing };
        let barrier = Ask { barrier: true, ..ask };
        let ask = Ask { id, class, command: code, barrier: false, then: Then::Nothing };
        match command {
            Command::QueueDeclare(c) => {
                let request = declare_queue(&c)?;
                self.ask(ctx, barrier, request)
            }
            Command::QueueDelete(c) => {
                let (if_unused, if_empty) = (c.if_unused, c.if_empty);
                let name = queue_name(c.queue)?;
                self.ask(ctx, barrier, Request::DeleteQueue { name, if_unused, if_empty })
            }
            Command::QueuePurge(c) => {
                let name = queue_name(c.queue)?;
                self.ask(ctx, ask, Request::PurgeQueue { name, which: Selection::default() })
            }
            Command::QueueQuery(c) => {
                let name = name(c.queue);
                self.ask(ctx, ask, Request::QueryQueue { name })
            }
            Command::ExchangeDeclare(c) => {
                let request = declare_exchange(&c)?;
                self.ask(ctx, barrier, request)
            }
            Command::ExchangeDelete(c) => {
                let request =
                    Request::DeleteExchange { name: name(c.exchange), if_unused: c.if_unused };
                self.ask(ctx, barrier, request)
            }
            Command::ExchangeQuery(c) => {
                self.ask(ctx, ask, Request::QueryExchange { name: name(c.name) })
            }
            Command::ExchangeBind(c) => self.bind(ctx, barrier, &c),
            Command::ExchangeUnbind(c) => {
                let queue = queue_name(c.queue)?;
                let (exchange, key) = (name(c.exchange), name(c.binding_key));
                self.bindings.remove(&(queue.clone(), exchange.clone(), key.clone()));
                self.ask(ctx, barrier, Request::Unbind { queue, exchange, key })
            }
            Command::ExchangeBound(c) => {
                let request = Request::Bound {
                    exchange: name(c.exchange),
                    queue: c.queue.filter(|q| !q.is_empty()).map(Arc::from),
                    key: c.binding_key.filter(|k| !k.is_empty()).map(Arc::from),
                    arguments: arguments(c.arguments)?,
                };
                self.ask(ctx, ask, request)
            }
            Command::MessageSubscribe(c) => self.subscribe(ctx, barrier, &c),
            Command::MessageCancel(c) => {
                let destination = c.destination.unwrap_or_default();
                let tag = self.tags.remove(destination).ok_or_else(|| no_such(destination))?;
                if let Some(s) = self.subscriptions.get_mut(&tag) {
                    s.cancelled = true;
                }
                self.unsettled.end_window(tag);
                let ask = Ask { then: Then::Forget(tag), ..barrier };
                self.ask(ctx, ask, Request::Cancel { tag })
            }
            Command::MessageSetFlowMode(c) => {
                let tag = self.tag(c.destination)?;
                let mode = match c.flow_mode.unwrap_or_default() {
                    WireMode::CREDIT => FlowMode::Credit,
                    WireMode::WINDOW => FlowMode::Window,
                    other => return Err(invalid(format!("Invalid value for mode {}", other.0))),
                };
                if let Some(s) = self.subscriptions.get_mut(&tag) {
                    let windowing = mode == FlowMode::Window;
                    if std::mem::replace(&mut s.windowing, windowing) != windowing {
                        self.unsettled.end_window(tag);
                    }
                }
                ctx.engine.set_mode(ctx.now, self.subscription(tag), mode, ctx.fx);
                Ok(Progress::Complete)
            }
            Command::MessageFlow(c) => {
                let tag = self.tag(c.destination)?;
                let unit = match c.unit.unwrap_or_default() {
                    WireUnit::MESSAGE => CreditUnit::Messages,
                    WireUnit::BYTE => CreditUnit::Bytes,
                    other => return Err(invalid(format!("Invalid value for unit {}", other.0))),
                };
                let value = c.value.unwrap_or_default();
                ctx.engine.grant(ctx.now, self.subscription(tag), unit, value, ctx.fx)?;
                Ok(Progress::Complete)
            }
            Command::MessageFlush(c) => {
                let tag = self.tag(c.destination)?;
                self.ask(ctx, ask, Request::Flush { tag })
            }
            Command::MessageStop(c) => {
                let tag = self.tag(c.destination)?;
                self.ask(ctx, ask, Request::Stop { tag })
            }
            Command::MessageAccept(c) => {
                let ids = c.transfers.unwrap_or_default();
                let (tx, dtx) = (self.tx.as_deref_mut(), self.dtx.as_deref_mut());
                if let Some(tx) = dtx.and_then(Dtx::work).or(tx) {
                    tx.accept(&ids, &mut self.unsettled);
                    return Ok(Progress::Complete);
                }
                self.settle(ctx, ask, &ids, Outcome::Accepted)
            }
            Command::MessageRelease(c) => {
                let outcome = Outcome::Released { set_redelivered: c.set_redelivered };
                let ids = c.transfers.unwrap_or_default();
                self.settle(ctx, ask, &ids, outcome)
            }
            Command::MessageReject(c) => {
                let ids = c.transfers.unwrap_or_default();
                self.settle(ctx, ask, &ids, Outcome::Rejected)
            }
            Command::MessageAcquire(c) => {
                let mut wanted = Vec::new();
                let ids = c.transfers.unwrap_or_default();
                self.unsettled.visit(&ids, |r| {
                    if !r.acquired {
                        wanted.push((r.id, r.delivery));
                    }
                });
                let deliveries = wanted.iter().map(|(_, d)| *d).collect();
                let ask = Ask { then: Then::Own(wanted), ..barrier };
                self.ask(ctx, ask, Request::Acquire { deliveries })
            }
            // A second time begins anew, as with the reference.
            Command::TxSelect(_) => {
                if self.dtx.is_some() {
                    return Err(dtx::not_both());
                }
                self.tx.get_or_insert_default().rollback(&mut self.unsettled);
                Ok(Progress::Complete)
            }
            Command::TxRollback(_) => {
                let tx = self.tx.as_mut().ok_or_else(not_selected)?;
                tx.rollback(&mut self.unsettled);
                Ok(Progress::Complete)
            }
            Command::TxCommit(_) => {
                let tx = self.tx.as_mut().ok_or_else(not_selected)?;
                let Commit { transaction, settles } = tx.commit(&mut self.unsettled);
                if transaction.is_empty() {
                    tx::settle(&settles, &mut self.unsettled);
                    return Ok(Progress::Complete);
                }
                let ask = Ask { then: Then::Settle(settles), ..barrier };
                self.ask(ctx, ask, Request::Commit(Box::new(transaction)))
            }
            Command::DtxSelect(_) => {
                if self.tx.is_some() {
                    return Err(dtx::not_both());
                }
                self.dtx.get_or_insert_default();
                Ok(Progress::Complete)
            }
            Command::DtxStart(c) => {
                let dtx = self.dtx.as_mut().ok_or_else(dtx::not_selected)?;
                let next = dtx.start(&c)?;
                self.go_on(ctx, Ask { then: Then::Start, ..barrier }, next)
            }
            Command::DtxEnd(c) => {
                let dtx = self.dtx.get_or_insert_default();
                let next = dtx.end(ctx, self.id, &c, &mut self.unsettled)?;
                self.go_on(ctx, barrier, next)
            }
            Command::MessageResume(_) => {
                Err(Refusal::new(ErrorCode::NOT_IMPLEMENTED, "Resuming transfers is not supported"))
            }
            // Transfers are events of their own; execution commands the state machine handles.
            other => {
                if let Some(request) = dtx::request(&other)? {
                    return self.ask(ctx, barrier, Request::Dtx(Box::new(request)));
                }
                let text = format!("{} is not available in this version", other.name());
                Err(Refusal::new(ErrorCode::NOT_IMPLEMENTED, text))
            }
        }
    }

    /// Handles a transfer of a session that is transactional, which may take so many bytes: see [`Tx::publish`].
    pub(super) fn publish_in_transaction(
        &mut self,
        ctx: &mut Ctx<'_>,
        (id, explicit): (CommandId, bool),
        exchange: &str,
        message: Message,
        limit: (u64, u64),
    ) -> Result<Published, Refusal> {
        let Some(tx) = self.transaction() else { return Ok(Published::Done) };
        let Some(message) = tx.publish(ctx, Target::Exchange(exchange), message, limit)? else {
            return Ok(Published::Done);
        };
        let (then, exchange) = (Then::Publish(explicit), Arc::from(exchange));
        let ask = Ask { id, class: 4, command: 1, barrier: true, then };
        self.ask(ctx, ask, Request::Route { exchange, message })?;
        Ok(Published::Pending)
    }

    fn ask(&mut self, ctx: &mut Ctx<'_>, ask: Ask, request: Request) -> Result<Progress, Refusal> {
        let Ask { id, class, command, barrier, then } = ask;
        let op = OpId::from(id.0);
        self.barriers += usize::from(barrier);
        self.pending.insert(op, Pending { class, command, barrier, then });
        ctx.engine.request(ctx.now, self.id, op, request, ctx.fx);
        Ok(Progress::Pending)
    }

    fn go_on(&mut self, ctx: &mut Ctx<'_>, ask: Ask, next: Next) -> Result<Progress, Refusal> {
        match next {
            Next::Answer(status) => Ok(Progress::Answered(Reply::Xa(status))),
            Next::Ask(request) => self.ask(ctx, ask, Request::Dtx(Box::new(request))),
        }
    }

    /// A branch took too long.
    pub(super) fn branch_expired(&mut self, ctx: &mut Ctx<'_>, branch: &BranchId) {
        if let Some(dtx) = &mut self.dtx {
            dtx.expired(ctx, self.id, branch, &mut self.unsettled);
        }
    }

    fn bind(
        &mut self,
        ctx: &mut Ctx<'_>,
        mut ask: Ask,
        c: &exchange::Bind<'_>,
    ) -> Result<Progress, Refusal> {
        let queue = queue_name(c.queue)?;
        let (exchange, key) = (name(c.exchange), name(c.binding_key));
        let arguments = arguments(c.arguments)?;
        later::warn_of("binding to exchange", &exchange, &arguments);
        if arguments.get_str("x-scope") == Some("session") {
            ask.then = Then::Scope((queue.clone(), exchange.clone(), key.clone()));
        }
        self.ask(ctx, ask, Request::Bind(Binding { queue, exchange, key, arguments }))
    }

    fn subscribe(
        &mut self,
        ctx: &mut Ctx<'_>,
        ask: Ask,
        c: &message::Subscribe<'_>,
    ) -> Result<Progress, Refusal> {
        let destination = c.destination.unwrap_or_default();
        if self.tags.contains_key(destination) {
            return Err(Refusal::new(ErrorCode::NOT_ALLOWED, "Consumer tags must be unique"));
        }
        let queue = queue_name(c.queue)?;
        let mode = match c.acquire_mode.unwrap_or_default() {
            AcquireMode::PRE_ACQUIRED => Mode::Consume,
            AcquireMode::NOT_ACQUIRED => Mode::Browse,
            other => return Err(invalid(format!("Invalid value for acquire-mode {}", other.0))),
        };
        // Whoever would consume from a browse-only queue gets copies.
        let browse_only = ctx.engine.topology().queue(&queue).is_some_and(|q| q.is_browse_only());
        let mode = if browse_only { Mode::Browse } else { mode };
        let settles = c.accept_mode.unwrap_or_default() == AcceptMode::EXPLICIT;
        let (exclusive, arguments) = (c.exclusive, arguments(c.arguments)?);
        let selector = match arguments.get_str("x-apache-selector") {
            Some(text) if !text.trim().is_empty() => {
                Some(Arc::new(Selector::parse(text).map_err(|e| invalid(e.to_string()))?))
            }
            _ => None,
        };
        later::warn_of("subscription to", &queue, &arguments);
        let tag = self.next_tag;
        self.next_tag += 1;
        self.tags.insert(destination.into(), tag);
        let subscription = Subscription {
            destination: destination.into(),
            mode,
            settles,
            windowing: true,
            owed_messages: 0,
            owed_bytes: 0,
            cancelled: false,
        };
        self.subscriptions.insert(tag, subscription);
        let subscribe = Subscribe { tag, queue, mode, settles, exclusive, selector, arguments };
        let request = Request::Subscribe(subscribe);
        self.ask(ctx, ask, request)
    }

    fn settle(
        &mut self,
        ctx: &mut Ctx<'_>,
        ask: Ask,
        ids: &SequenceSet,
        outcome: Outcome,
    ) -> Result<Progress, Refusal> {
        let mut deliveries = Vec::new();
        self.unsettled.for_each_in(ids, |r| {
            if r.ended {
                return;
            }
            if r.acquired {
                deliveries.push(r.delivery);
                r.ended = true;
            } else if outcome == Outcome::Accepted {
                r.ended = true; // A browsed message: nothing to dequeue.
            }
        });
        if deliveries.is_empty() {
            return Ok(Progress::Complete);
        }
        self.ask(ctx, ask, Request::Settle { outcome, deliveries })
    }

    fn subscription(&self, tag: u32) -> SubscriptionId {
        SubscriptionId { session: self.id, tag }
    }

    fn tag(&self, destination: Option<&str>) -> Result<u32, Refusal> {
        let destination = destination.unwrap_or_default();
        self.tags.get(destination).copied().ok_or_else(|| {
            Refusal::new(ErrorCode::NOT_FOUND, format!("Unknown destination {destination}"))
        })
    }

    // ---- what the engine and the client tell ---------------------------------------------

    /// The client has completed transfers: windows move.
    pub(super) fn completed(&mut self, ctx: &mut Ctx<'_>, ids: &SequenceSet) {
        // By subscription; nearly always one.
        let mut moved: Vec<(u32, u32, u64)> = Vec::new();
        self.unsettled.for_each_in(ids, |r| {
            if std::mem::take(&mut r.windowing) {
                match moved.iter_mut().find(|(tag, ..)| *tag == r.tag) {
                    Some((_, messages, bytes)) => {
                        *messages += 1;
                        *bytes += u64::from(r.size);
                    }
                    None => moved.push((r.tag, 1, u64::from(r.size))),
                }
            }
        });
        for (tag, messages, bytes) in moved {
            ctx.engine.moved(ctx.now, self.subscription(tag), (messages, bytes), ctx.fx);
        }
    }

    /// The engine has answered a command.
    pub(super) fn on_reply(
        &mut self,
        ctx: &mut Ctx<'_>,
        op: OpId,
        result: Result<Reply, Error>,
    ) -> Option<Answer> {
        let pending = self.pending.remove(&op)?;
        self.barriers -= usize::from(pending.barrier);
        let id = CommandId(op as u32);
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => {
                let Pending { class, command, .. } = pending;
                return Some(Answer::Exception { id, class, command, refusal: error.into() });
            }
        };
        match pending.then {
            Then::Nothing => {}
            Then::Forget(tag) => {
                self.subscriptions.remove(&tag);
            }
            Then::Scope(binding) => {
                self.bindings.insert(binding);
            }
            Then::Own(wanted) => return Some(self.own(ctx, id, &wanted, &reply)),
            Then::Settle(ids) => {
                tx::settle(&ids, &mut self.unsettled);
            }
            Then::Publish(explicit) => {
                if let (Reply::Routed(routed), Some(tx)) = (reply, self.transaction()) {
                    tx.add(*routed);
                }
                return Some(Answer::Transferred(id, explicit));
            }
            Then::Start => {
                if let Some(dtx) = self.dtx.as_mut().filter(|_| !dtx::is_started(&reply)) {
                    dtx.not_started();
                }
            }
        }
        Some(Answer::Reply(id, reply))
    }

    /// Messages that were browsed now belong to the session.
    fn own(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CommandId,
        wanted: &[(CommandId, DeliveryRef)],
        reply: &Reply,
    ) -> Answer {
        let mut acquired = SequenceSet::new();
        if let Reply::Acquired(deliveries) = reply {
            let got: foldhash::HashSet<(_, _)> =
                deliveries.iter().map(|d| (d.queue, d.position)).collect();
            for (transfer, d) in wanted {
                if got.contains(&(d.queue, d.position)) {
                    acquired.add(*transfer);
                }
            }
        }
        let mut dequeue = Vec::new();
        self.unsettled.for_each_in(&acquired, |r| {
            r.acquired = true;
            if r.ended {
                dequeue.push(r.delivery); // Accept mode none: acquiring it is taking it.
            }
        });
        if !dequeue.is_empty() {
            // Its answer is nobody's: operations of commands are below 2^32.
            let request = Request::Settle { outcome: Outcome::Accepted, deliveries: dequeue };
            ctx.engine.request(ctx.now, self.id, OpId::MAX, request, ctx.fx);
        }
        Answer::Acquired(id, acquired)
    }

    /// How the delivery that comes with `tag` is to be sent; `None` if its subscription is gone.
    pub(super) fn sending(&self, tag: u32) -> Option<Sending<'_>> {
        let s = self.subscriptions.get(&tag)?;
        Some(Sending {
            destination: &s.destination,
            accept: if s.settles { AcceptMode::EXPLICIT } else { AcceptMode::NONE },
            acquire: match s.mode {
                Mode::Consume => AcquireMode::PRE_ACQUIRED,
                Mode::Browse => AcquireMode::NOT_ACQUIRED,
            },
        })
    }

    /// The delivery was sent as transfer `id`.
    pub(super) fn sent(
        &mut self,
        id: CommandId,
        tag: u32,
        delivery: DeliveryRef,
        message: &Message,
    ) {
        let Some(s) = self.subscriptions.get_mut(&tag) else { return };
        let size = message.size();
        s.owed_messages += 1;
        s.owed_bytes += size as u64;
        self.owing |= s.owed_messages >= ROOM_MESSAGES || s.owed_bytes >= ROOM_BYTES;
        self.unsettled.push(Record {
            acquired: s.mode == Mode::Consume,
            ended: !s.settles,
            windowing: s.windowing && !s.cancelled,
            ..Record::new(id, delivery, tag, u32::try_from(size).unwrap_or(u32::MAX))
        });
    }

    /// The delivery could not be sent: the session is over but for its [`Session::end`].
    pub(super) fn unsent(&mut self, tag: u32, delivery: DeliveryRef) {
        self.unsent.push((tag, delivery));
    }

    /// The connection has taken what was sent: gives the room back.
    pub(super) fn give_room(&mut self, ctx: &mut Ctx<'_>) {
        if !std::mem::take(&mut self.owing) {
            return;
        }
        for (tag, s) in &mut self.subscriptions {
            if s.owed_messages >= ROOM_MESSAGES || s.owed_bytes >= ROOM_BYTES {
                let to = SubscriptionId { session: self.id, tag: *tag };
                let room =
                    (std::mem::take(&mut s.owed_messages), std::mem::take(&mut s.owed_bytes));
                ctx.engine.room(ctx.now, to, room, ctx.fx);
            }
        }
    }

    /// The attach is under way: a barrier like others.
    pub(super) fn expect_attach(&mut self, op: OpId) {
        let pending = Pending { class: 0, command: 0, barrier: true, then: Then::Nothing };
        self.barriers += 1;
        self.pending.insert(op, pending);
    }

    /// The attach was answered.
    pub(super) fn attach_answered(&mut self, op: OpId, granted: bool) {
        self.barriers -= usize::from(self.pending.remove(&op).is_some());
        self.attached = granted;
    }
}

/// How a delivery is to be sent.
pub(super) struct Sending<'a> {
    pub(super) destination: &'a str,
    pub(super) accept: AcceptMode,
    pub(super) acquire: AcquireMode,
}

/// A command about to become a request.
struct Ask {
    id: CommandId,
    class: u8,
    command: u8,
    barrier: bool,
    then: Then,
}

fn invalid(text: String) -> Refusal {
    Refusal::new(ErrorCode::INVALID_ARGUMENT, text)
}

fn no_such(destination: &str) -> Refusal {
    Refusal::new(ErrorCode::NOT_FOUND, format!("No such subscription: {destination}"))
}

fn name(name: Option<&str>) -> Arc<str> {
    Arc::from(name.unwrap_or_default())
}

fn queue_name(queue: Option<&str>) -> Result<Arc<str>, Refusal> {
    match queue {
        Some(name) if !name.is_empty() => Ok(Arc::from(name)),
        _ => Err(Refusal::new(ErrorCode::ILLEGAL_ARGUMENT, "No queue name specified.")),
    }
}

fn alternate(exchange: Option<&str>) -> Option<Arc<str>> {
    exchange.filter(|name| !name.is_empty()).map(Arc::from)
}

fn arguments(map: Option<MapRef<'_>>) -> Result<Map, Refusal> {
    let Some(map) = map else { return Ok(Map::new()) };
    map.to_map().map_err(|e| invalid(format!("Arguments cannot be decoded: {e}")))
}

fn declare_queue(c: &queue::Declare<'_>) -> Result<Request, Refusal> {
    let arguments = arguments(c.arguments)?;
    let name = queue_name(c.queue)?;
    later::warn_of("queue", &name, &arguments);
    Ok(Request::DeclareQueue(DeclareQueue {
        name,
        passive: c.passive,
        durable: c.durable,
        exclusive: c.exclusive,
        auto_delete: c.auto_delete,
        near: false,
        alternate: alternate(c.alternate_exchange),
        arguments,
    }))
}

fn declare_exchange(c: &exchange::Declare<'_>) -> Result<Request, Refusal> {
    let arguments = arguments(c.arguments)?;
    let name = name(c.exchange);
    later::warn_of("exchange", &name, &arguments);
    Ok(Request::DeclareExchange(DeclareExchange {
        name,
        kind: Arc::from(c.r#type.unwrap_or_default()),
        passive: c.passive,
        durable: c.durable,
        auto_delete: c.auto_delete,
        alternate: alternate(c.alternate_exchange),
        arguments,
    }))
}

/// The session has no transaction.
fn not_selected() -> Refusal {
    let text = "command-invalid: Session has not been selected for use with transactions";
    Refusal::new(ErrorCode::COMMAND_INVALID, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_engine::topology::TopologyRequest;
    use fletch_engine::{Config, Effects, Engine, Frame, ShardId, Time};

    #[test]
    fn a_binding_under_way_is_undone_with_its_session() {
        // Shard 1 of 2, so that the orderer's answers stay out.
        let shard = ShardId(1);
        let mut engine = Engine::new(&Config::new(shard, 2));
        let mut fx = Effects::default();
        let mut scratch = Vec::new();
        let mut links = crate::links::Links::default();
        let mut ctx = Ctx {
            now: Time(1),
            engine: &mut engine,
            fx: &mut fx,
            scratch: &mut scratch,
            links: &mut links,
        };
        let mut session = Session::new(SessionId::new(shard, 1));
        session.attached = true;
        let scope = Map::new().with("x-scope", "session").encoded().expect("encodes");
        let bind = exchange::Bind {
            queue: Some("q"),
            exchange: Some("amq.fanout"),
            binding_key: Some("k"),
            arguments: Some(scope.view()),
        };
        assert!(session.command(&mut ctx, CommandId(0), bind.into()).is_ok());
        let _ending = session.end(&mut ctx);
        let asked: Vec<&TopologyRequest> = fx
            .frames
            .iter()
            .filter_map(|(_, frame)| match frame {
                Frame::Topology { request, .. } => Some(&**request),
                _ => None,
            })
            .collect();
        let [TopologyRequest::Bind(_), TopologyRequest::Unbind { queue, .. }] = asked[..] else {
            panic!("{asked:?}");
        };
        assert_eq!(&**queue, "q");
    }
}
