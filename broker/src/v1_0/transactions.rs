//! The coordinator of transactions (part 4): what a session's client declares, does and discharges.
//!
//! Nothing of a transaction is done before it is discharged; then it is done whole, or not at all. What the
//! client has accepted in one that is rolled back is its own still, unless it has settled that: then it is free
//! again.

use super::deliveries::Disposed;
use super::error::Refusal;
use super::incoming::Sent;
use super::session::{Attached, Link, Session, Then, Wire};
use crate::front::Tx;
use crate::front::tx::{self, Commit};
use crate::shard::Ctx;
use fletch_amqp::SequenceSet;
use fletch_amqp::v1_0::message::{Body, MessageView};
use fletch_amqp::v1_0::table::{Accepted, Declare, Declared, DeliveryState, Discharge, Rejected};
use fletch_amqp::v1_0::{Composite, Outcome as Outcome1, Role, SequenceNo, transaction_error};
use fletch_engine::{Error, Message, Outcome, Published, Reply, Request, Target};
use foldhash::HashMap;

/// Transactions of a session that may be open at a time.
const OPEN_MAX: usize = 1024;

/// A transaction's name, which is four octets.
pub(super) type TxnId = u32;

/// What a client sends to the coordinator.
#[derive(Debug)]
pub(super) enum Order {
    Declare,
    Discharge { txn: TxnId, fail: bool },
}

/// The name that a client uses, if it can be one of ours.
pub(super) fn txn_id(octets: &[u8]) -> Option<TxnId> {
    octets.try_into().ok().map(TxnId::from_be_bytes)
}

fn unknown() -> Refusal {
    Refusal::new(transaction_error::UNKNOWN_ID, "there is no such transaction in this session")
}

impl Order {
    pub(super) fn read(payload: &[u8]) -> Result<Order, Refusal> {
        let malformed = |text: String| Refusal::malformed(text);
        let view = MessageView::parse(payload).map_err(|error| malformed(error.to_string()))?;
        let Body::Value(value) = view.body() else {
            return Err(malformed("what is sent to a coordinator is a value".into()));
        };
        if let Ok(declare) = Declare::from_view(value) {
            return match declare.global_id {
                None => Ok(Order::Declare),
                Some(_) => Err(Refusal::not_implemented(
                    "transactions that others know are not available: no global-id can be given",
                )),
            };
        }
        let discharge =
            Discharge::from_view(value).map_err(|error| malformed(error.to_string()))?;
        let txn = txn_id(discharge.txn_id).ok_or_else(unknown)?;
        Ok(Order::Discharge { txn, fail: discharge.fail.unwrap_or(false) })
    }
}

/// One open transaction.
#[derive(Debug, Default)]
struct Open {
    tx: Tx,
    /// Accepted and settled by the client.
    settled: Vec<SequenceNo>,
    /// What was refused in it: it cannot be committed.
    broken: Option<Refusal>,
}

/// The transactions of a session.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: HashMap<TxnId, Open>,
    next: TxnId,
    /// Messages whose exchange's home says where they go: what follows waits for that.
    routing: usize,
}

/// A commit under way.
#[derive(Debug)]
pub(super) struct Discharging {
    /// The delivery that asked for it.
    sent: Sent,
    /// What it settles, and what of that the client has settled.
    settles: SequenceSet,
    settled: Vec<SequenceNo>,
}

impl Discharging {
    /// The deliveries that it accepts, for the end of the session.
    pub(super) fn settles(&self) -> &SequenceSet {
        &self.settles
    }
}

impl Transactions {
    pub(super) fn must_wait(&self) -> bool {
        self.routing > 0
    }

    pub(super) fn bytes(&self) -> u64 {
        self.open.values().map(|open| open.tx.bytes()).sum()
    }
}

impl Session {
    /// The client has sent something to the coordinator.
    pub(super) fn order(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        sent: Sent,
        order: Result<Order, Refusal>,
    ) {
        let done = match order {
            Err(refusal) => Err(refusal),
            Ok(Order::Declare) => self.declare(wire, sent),
            Ok(Order::Discharge { txn, fail }) => self.discharge(ctx, wire, sent, txn, fail),
        };
        if let Err(refusal) = done {
            self.told_order(wire, sent, Some(&refusal));
        }
    }

    fn declare(&mut self, wire: &mut Wire<'_>, sent: Sent) -> Result<(), Refusal> {
        let transactions = &mut *self.transactions;
        if transactions.open.len() >= OPEN_MAX {
            let text = format!("{OPEN_MAX} transactions of this session are open already");
            let condition = fletch_amqp::v1_0::amqp_error::RESOURCE_LIMIT_EXCEEDED;
            return Err(Refusal::new(condition, text));
        }
        while transactions.open.contains_key(&transactions.next) {
            transactions.next = transactions.next.wrapping_add(1);
        }
        let txn = transactions.next;
        transactions.next = txn.wrapping_add(1);
        transactions.open.insert(txn, Open::default());
        let txn_id = &txn.to_be_bytes();
        let state = Declared { txn_id }.into();
        wire.amqp.dispose(wire.channel, Role::RECEIVER, (sent.id, sent.id), true, Some(state));
        wire.amqp.finished(wire.channel, sent.handle);
        Ok(())
    }

    fn discharge(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        sent: Sent,
        txn: TxnId,
        fail: bool,
    ) -> Result<(), Refusal> {
        let mut open = self.transactions.open.remove(&txn).ok_or_else(unknown)?;
        if fail || open.broken.is_some() {
            self.roll_back(ctx, &mut open);
            match open.broken.filter(|_| !fail) {
                Some(broken) => {
                    let condition = transaction_error::TRANSACTION_ROLLBACK;
                    return Err(Refusal::new(condition, broken.text));
                }
                None => self.told_order(wire, sent, None),
            }
            return Ok(());
        }
        let Commit { transaction, settles } = open.tx.commit(&mut self.unsettled);
        let discharging = Discharging { sent, settles, settled: open.settled };
        if transaction.is_empty() {
            self.committed(wire, discharging);
            return Ok(());
        }
        let then = Then::Discharge(Box::new(discharging));
        self.ask(ctx, Request::Commit(Box::new(transaction)), then);
        Ok(())
    }

    fn roll_back(&mut self, ctx: &mut Ctx<'_>, open: &mut Open) {
        open.tx.rollback(&mut self.unsettled);
        let settled = std::mem::take(&mut open.settled);
        self.free(ctx, &settled);
    }

    /// What the client has settled is not its own any more.
    fn free(&mut self, ctx: &mut Ctx<'_>, settled: &[SequenceNo]) {
        let mut deliveries = Vec::new();
        for id in settled {
            self.unsettled.for_each_in(&SequenceSet::range(*id, *id), |record| {
                if !std::mem::replace(&mut record.ended, true) && record.acquired {
                    deliveries.push(record.delivery);
                }
            });
        }
        if !deliveries.is_empty() {
            let outcome = Outcome::Released { set_redelivered: true };
            self.ask(ctx, Request::Settle { outcome, deliveries }, Then::Nothing);
        }
    }

    /// A commit was answered.
    pub(super) fn discharged(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        discharging: Discharging,
        result: Result<Reply, Error>,
    ) {
        match result {
            Ok(_) => self.committed(wire, discharging),
            Err(error) => {
                let Discharging { sent, settles, settled } = discharging;
                self.unsettled.for_each_in(&settles, |record| record.accepted = false);
                self.free(ctx, &settled);
                let condition = transaction_error::TRANSACTION_ROLLBACK;
                self.told_order(wire, sent, Some(&Refusal::new(condition, error.text)));
            }
        }
    }

    fn committed(&mut self, wire: &mut Wire<'_>, discharging: Discharging) {
        let Discharging { sent, settles, settled } = discharging;
        tx::settle(&settles, &mut self.unsettled);
        // What the client has not settled it does now.
        let mut waiting = settles;
        for id in settled {
            waiting.remove(id);
        }
        for range in waiting.ranges() {
            let state = Some(Accepted {}.into());
            wire.amqp.dispose(wire.channel, Role::SENDER, (range.low, range.high), true, state);
        }
        self.told_order(wire, sent, None);
    }

    /// Answers what was sent to the coordinator.
    fn told_order(&mut self, wire: &mut Wire<'_>, sent: Sent, refusal: Option<&Refusal>) {
        let state: DeliveryState<'_> = match refusal {
            None => Accepted {}.into(),
            Some(refusal) => {
                tracing::info!(target: "protocol", "transaction refused: {}", refusal.text);
                Rejected { error: Some(refusal.wire()) }.into()
            }
        };
        wire.amqp.dispose(wire.channel, Role::RECEIVER, (sent.id, sent.id), true, Some(state));
        wire.amqp.finished(wire.channel, sent.handle);
    }

    /// The client publishes in a transaction, to which this connection may add so many bytes, as its limit is
    /// `limit`. What is refused breaks the transaction.
    pub(super) fn publish_in(
        &mut self,
        ctx: &mut Ctx<'_>,
        (txn, sent): (TxnId, Sent),
        to: Target<'_>,
        message: Message,
        (most, limit): (u64, u64),
    ) -> Result<Published, Refusal> {
        let open = self.transactions.open.get_mut(&txn).ok_or_else(unknown)?;
        let most = most + open.tx.bytes();
        match open.tx.publish(ctx, to, message, (most, limit)) {
            Ok(None) => Ok(Published::Done),
            Ok(Some(message)) => {
                let Target::Exchange(exchange) = to else { return Ok(Published::Done) };
                let exchange = exchange.into();
                self.transactions.routing += 1;
                self.ask(ctx, Request::Route { exchange, message }, Then::Route(txn, sent));
                Ok(Published::Pending)
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                open.broken = Some(refusal.clone());
                Err(refusal)
            }
        }
    }

    /// A message's exchange has said where it goes.
    pub(super) fn routed(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        (txn, sent): (TxnId, Sent),
        result: Result<Reply, Error>,
    ) {
        self.transactions.routing -= 1;
        let open = self.transactions.open.get_mut(&txn);
        match (open, result) {
            (Some(open), Ok(Reply::Routed(routed))) => open.tx.add(*routed),
            (Some(open), Err(error)) => open.broken = Some(error.into()),
            _ => {}
        }
        self.published(ctx, wire, sent);
    }

    /// The client accepts deliveries in a transaction.
    pub(super) fn accept_in(
        &mut self,
        txn: TxnId,
        (first, last): (SequenceNo, SequenceNo),
        settled: bool,
    ) -> Result<(), Refusal> {
        let open = self.transactions.open.get_mut(&txn).ok_or_else(unknown)?;
        let range = SequenceSet::range(first, last);
        if settled {
            let ids = &mut open.settled;
            self.unsettled.visit(&range, |record| {
                if !record.ended {
                    ids.push(record.id);
                }
            });
        }
        open.tx.accept(&range, &mut self.unsettled);
        Ok(())
    }

    /// Whether the client may send to a coordinator on this link.
    pub(super) fn is_coordinator(&self, handle: u32) -> bool {
        matches!(self.links.get(&handle), Some(Attached { link: Link::Coordinator, .. }))
    }

    /// The coordinator's link is gone: what is open is rolled back (part 4.2).
    pub(super) fn coordinator_gone(&mut self, ctx: &mut Ctx<'_>) {
        if self.links.values().any(|attached| matches!(attached.link, Link::Coordinator)) {
            return;
        }
        for (_, mut open) in std::mem::take(&mut self.transactions.open) {
            self.roll_back(ctx, &mut open);
        }
    }
}

/// What a client makes of deliveries: it accepts them in a transaction, or disposes of them at once. What is no
/// accept is not part of a transaction, as in the reference.
pub(super) fn disposed(
    state: Option<&DeliveryState<'_>>,
    settled: bool,
) -> (Option<Result<TxnId, Refusal>>, Option<Disposed>) {
    let Some(DeliveryState::TransactionalState(in_one)) = state else {
        return (None, Disposed::of(state, settled));
    };
    let outcome = match &in_one.outcome {
        None | Some(Outcome1::Accepted(_)) => return (of(state), None),
        Some(Outcome1::Rejected(rejected)) => rejected.clone().into(),
        Some(Outcome1::Released(released)) => released.clone().into(),
        Some(Outcome1::Modified(modified)) => modified.clone().into(),
        Some(_) => return (None, None),
    };
    (None, Disposed::of(Some(&outcome), settled))
}

/// The transaction that a state names.
pub(super) fn of(state: Option<&DeliveryState<'_>>) -> Option<Result<TxnId, Refusal>> {
    match state {
        Some(DeliveryState::TransactionalState(state)) => {
            Some(txn_id(state.txn_id).ok_or_else(unknown))
        }
        _ => None,
    }
}
