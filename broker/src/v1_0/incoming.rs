//! A link on which the client sends: what it sends becomes messages of the engine.

use super::claim::{self, Resumed};
use super::error::Refusal;
use super::ledger::UNSETTLED_MAX;
use super::nodes::{self, Node, Wish};
use super::session::{Link, Session, Wire};
use super::transactions::TxnId;
use crate::front::Total;
use crate::links::{Ended, Fate, Tag};
use crate::shard::Ctx;
use fletch_amqp::v1_0::message::{Ingested, ingest};
use fletch_amqp::v1_0::table::{Accepted, Rejected, TransactionalState};
use fletch_amqp::v1_0::{Role, SequenceNo, amqp_error};
use fletch_engine::{Flags, Format, Message, Meta, OpId, Published, SessionId, Time};
use std::time::Duration;

/// Deliveries that may be on their way to the broker, or not complete, on one link: as many as a 0-10 client has. With
/// fewer a fast sender stops and goes, and each stop is two threads that sleep and wake. How many octets wait is
/// bounded elsewhere.
pub(super) const WINDOW: u32 = 5000;

/// A large message must not leave its size behind in every shard.
const SCRATCH_KEPT: usize = 256 * 1024;

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Incoming {
    /// Where messages go; without one each says it itself.
    pub(super) node: Option<Node>,
    /// The client wants to settle after the broker has told the outcome.
    pub(super) second: bool,
    /// A node that goes with the link.
    pub(super) own: Option<Node>,
    /// What goes on from an earlier life of it, most often nothing.
    pub(super) resumed: Option<Box<Resumed>>,
}

/// Makes the engine's message of one that came.
fn message<'p>(
    ctx: &mut Ctx<'_>,
    publisher: SessionId,
    payload: &'p [u8],
) -> Result<(Message, Ingested<'p>), Refusal> {
    let content = &mut *ctx.scratch;
    content.clear();
    let ingested =
        ingest(payload, content).map_err(|error| Refusal::malformed(error.to_string()))?;
    let meta = Meta {
        format: Format::V1_0,
        header_len: ingested.header_len,
        routing_key: ingested.subject,
        expires: expires(ctx.now, &ingested),
        // The engine knows ten levels.
        priority: ingested.priority.min(9),
        durable: ingested.durable,
        flags: Flags::of_body(ingested.has_body),
        publisher: Some(publisher),
    };
    let message = Message::new(meta, content);
    content.clear();
    if content.capacity() > SCRATCH_KEPT {
        *content = Vec::new();
    }
    let message = fletch_engine::scheduled(ctx.now, message);
    Ok((message, ingested))
}

/// By its time to live or at a time, whichever is sooner.
fn expires(now: Time, message: &Ingested<'_>) -> Time {
    let lived = message.ttl.map(|ttl| now.after(Duration::from_millis(ttl.into())));
    let at = message
        .absolute_expiry_time
        .map(|at| Time(u64::try_from(at).unwrap_or(0).saturating_mul(NANOSECONDS_PER_MILLISECOND)));
    lived.into_iter().chain(at).min().unwrap_or(Time::NEVER)
}

/// A delivery that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// The link.
    pub(super) handle: u32,
    pub(super) id: SequenceNo,
    /// The client has settled it.
    pub(super) settled: bool,
    /// It belongs to a transaction.
    pub(super) txn: Option<TxnId>,
}

impl Session {
    /// The client has sent a delivery on a link. [`Session::published`] follows when that is done, at once or
    /// later, or [`Session::reject`]. `transactions`: how much more the connection may have in those, and its
    /// limit.
    pub(super) fn publish(
        &mut self,
        ctx: &mut Ctx<'_>,
        total: &mut Total,
        (sent, tag): (Sent, Option<&[u8]>),
        transactions: (u64, u64),
        payload: &[u8],
    ) -> Result<Published, Refusal> {
        // One whose link is gone was on its way when that went.
        let Some(Link::Incoming(link)) = self.links.get(&sent.handle).map(|link| &link.link) else {
            return Ok(Published::Done);
        };
        if link.second && !sent.settled && sent.txn.is_none() {
            if self.ledger.len() >= UNSETTLED_MAX {
                let text = format!(
                    "{UNSETTLED_MAX} deliveries of this session are not settled by its client"
                );
                return Err(Refusal::new(amqp_error::RESOURCE_LIMIT_EXCEEDED, text));
            }
            self.ledger.push(sent, Tag::from_slice(tag.unwrap_or_default()), None);
        }
        let (message, ingested) = message(ctx, self.id, payload)?;
        let relayed = match &link.node {
            Some(_) => None,
            None => {
                let to = nodes::path(ingested.to.unwrap_or_default());
                let found = nodes::find(ctx.engine.topology(), to, &Wish::default());
                Some(found.ok_or_else(|| nodes::not_found(to))?)
            }
        };
        let Some(node) = link.node.as_ref().or(relayed.as_ref()) else {
            return Ok(Published::Done);
        };
        if let Some(txn) = sent.txn {
            let node = node.clone();
            return self.publish_in(ctx, (txn, sent), node.target(), message, transactions);
        }
        let op = (self.id, publish_op(sent));
        let published = ctx.engine.publish(ctx.now, op, node.target(), &message, ctx.fx)?;
        if published == Published::Pending {
            self.publishes.begin(sent.id, message.size(), total);
        }
        Ok(published)
    }

    /// A delivery is where it belongs, and safe; or part of its transaction.
    pub(super) fn published(&mut self, ctx: &mut Ctx<'_>, wire: &mut Wire<'_>, sent: Sent) {
        let ids = (sent.id, sent.id);
        match sent.txn {
            _ if sent.settled => {}
            Some(txn) => {
                let second = self.is_second(sent.handle);
                let txn_id = &txn.to_be_bytes();
                let outcome = Some(Accepted {}.into());
                let state = TransactionalState { txn_id, outcome }.into();
                wire.amqp.dispose(wire.channel, Role::RECEIVER, ids, !second, Some(state));
            }
            None if self.ledger.outcome(publish_op(sent), Fate::Accepted) => {
                // What follows is the client's: see `settled`.
                let state = Some(Accepted {}.into());
                return wire.amqp.dispose(wire.channel, Role::RECEIVER, ids, false, state);
            }
            None if self.departed(ctx, sent, &Fate::Accepted) => return,
            None => wire.amqp.accept(wire.channel, sent.id),
        }
        wire.amqp.finished(wire.channel, sent.handle);
    }

    /// A delivery is refused. The client of one that it has settled can only be told by losing the link; or by
    /// its transaction, which is broken.
    pub(super) fn reject(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        sent: Sent,
        refusal: &Refusal,
    ) {
        tracing::info!(target: "protocol", channel = wire.channel, "message refused: {}", refusal.text);
        if sent.settled && sent.txn.is_none() {
            return self.fail_link(ctx, wire, sent.handle, refusal);
        }
        if !sent.settled {
            let fate = refusal.fate();
            if self.departed(ctx, sent, &fate) {
                return;
            }
            let kept = self.ledger.outcome(publish_op(sent), fate);
            let state = Rejected { error: Some(refusal.wire()) };
            let (ids, settled) = ((sent.id, sent.id), !self.is_second(sent.handle));
            if kept {
                let state = Some(state.into());
                return wire.amqp.dispose(wire.channel, Role::RECEIVER, ids, false, state);
            }
            wire.amqp.dispose(wire.channel, Role::RECEIVER, ids, settled, Some(state.into()));
        }
        wire.amqp.finished(wire.channel, sent.handle);
    }

    /// A delivery is safe, but a full queue holds its publisher back.
    pub(super) fn withheld(&mut self, ctx: &mut Ctx<'_>, sent: Sent) {
        if !self.ledger.outcome(publish_op(sent), Fate::Accepted) {
            self.departed(ctx, sent, &Fate::Accepted);
        }
    }

    /// The outcome of a delivery whose link is being left. False if it is none of those.
    fn departed(&mut self, ctx: &mut Ctx<'_>, sent: Sent, fate: &Fate) -> bool {
        let known = self.departures.is_waiting() && self.departures.outcome(publish_op(sent), fate);
        if known {
            self.departures.leave(ctx, Ended::Link(self.id));
        }
        known
    }

    /// The client settles what it sent: it knows the outcome.
    pub(super) fn settled(&mut self, wire: &mut Wire<'_>, range: (SequenceNo, SequenceNo)) {
        let Wire { amqp, channel } = wire;
        self.ledger.settle(range, |handle| amqp.finished(*channel, handle));
    }

    /// Whether a delivery on a link may not be a new one.
    pub(super) fn resumes_only(&self, handle: u32) -> bool {
        let link = self.links.get(&handle).map(|link| &link.link);
        matches!(link, Some(Link::Incoming(link)) if Resumed::is_incomplete(&link.resumed))
    }

    /// The client goes on with a delivery of an earlier life of its link. What the broker does not know is ignored
    /// (part 2.7.5); of the rest it knows the outcome.
    pub(super) fn resume_delivery(&mut self, wire: &mut Wire<'_>, sent: Sent, tag: &[u8]) {
        let link = self.links.get_mut(&sent.handle).map(|link| &mut link.link);
        let Some(Link::Incoming(link)) = link else {
            return wire.amqp.finished(wire.channel, sent.handle);
        };
        let known = link.resumed.as_mut().and_then(|resumed| resumed.known.remove(tag));
        let Some(fate) = known.filter(|_| !sent.settled) else {
            return wire.amqp.finished(wire.channel, sent.handle);
        };
        let (second, ids) = (link.second, (sent.id, sent.id));
        claim::say(&fate, |state| {
            wire.amqp.dispose(wire.channel, Role::RECEIVER, ids, !second, Some(state));
        });
        match second {
            true => self.ledger.push(sent, Tag::from_slice(tag), Some(fate)),
            false => wire.amqp.finished(wire.channel, sent.handle),
        }
    }

    /// Whether the client wants to settle what it sends on a link after the broker has told the outcome.
    fn is_second(&self, handle: u32) -> bool {
        let link = self.links.get(&handle).map(|link| &link.link);
        matches!(link, Some(Link::Incoming(link)) if link.second)
    }
}

const SETTLED: u32 = 62;

/// A publish as an operation: link and delivery, and whether the client has settled it.
pub(super) fn publish_op(sent: Sent) -> OpId {
    let handle = OpId::from(sent.handle) << 32 & !(3 << SETTLED);
    OpId::from(sent.id.0) | handle | OpId::from(sent.settled) << SETTLED
}

/// What [`publish_op`] put together.
pub(super) fn publish_of(op: OpId) -> Sent {
    let handle = (op >> 32 & !(3 << (SETTLED - 32))) as u32;
    Sent { handle, id: SequenceNo(op as u32), settled: op >> SETTLED & 1 == 1, txn: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_is_known_by_its_operation() {
        for handle in [0, 1, 65_535] {
            for id in [0, 7, u32::MAX] {
                for settled in [false, true] {
                    let sent = Sent { handle, id: SequenceNo(id), settled, txn: None };
                    assert_eq!(publish_of(publish_op(sent)), sent);
                }
            }
        }
    }
}
