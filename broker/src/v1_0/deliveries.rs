//! Messages on their way to the client, and what it says of them.

use super::error::Refusal;
use super::session::{Session, State, Wire};
use super::subscription::{Delivery, Subscription};
use crate::front::{ROOM_BYTES, ROOM_MESSAGES, Record};
use crate::shard::Ctx;
use fletch_amqp::convert::Node;
use fletch_amqp::v1_0::message::put_header;
use fletch_amqp::v1_0::state::{Outgoing, SendError};
use fletch_amqp::v1_0::table::{DeliveryState, Modified};
use fletch_amqp::v1_0::{SequenceNo, amqp_error};
use fletch_engine::{Annotations, AnnotationsTooLarge, Format, Outcome, Time};
use std::sync::Arc;

impl Session {
    /// The engine delivers.
    pub(super) fn deliver(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        tag: u32,
        delivery: Delivery,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
        subscription.granted = subscription.granted.saturating_sub(1);
        // Those that wait come first; and a link that goes sends nothing more.
        if subscription.handle.is_none() || subscription.parked.is_some() {
            subscription.park(delivery, false);
            return;
        }
        if let Some(back) = self.send(ctx, wire, tag, delivery)
            && let Some(subscription) = self.subscriptions.get_mut(&tag)
        {
            subscription.park(back, false);
        }
    }

    /// Sends what waits for credit.
    pub(super) fn send_parked(&mut self, ctx: &mut Ctx<'_>, wire: &mut Wire<'_>, tag: u32) {
        while let Some(parked) = self.subscriptions.get_mut(&tag).and_then(Subscription::unpark) {
            if let Some(back) = self.send(ctx, wire, tag, parked) {
                if let Some(subscription) = self.subscriptions.get_mut(&tag) {
                    subscription.park(back, true);
                }
                return;
            }
        }
    }

    /// Sends a delivery; gives it back if the link has no credit.
    fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        tag: u32,
        delivery: Delivery,
    ) -> Option<Delivery> {
        let subscription = self.subscriptions.get_mut(&tag)?;
        let handle = subscription.handle?;
        // Only 0-10 has to know what a node is.
        let message = delivery.message.in_format(Format::V1_0, |_| Node::Unknown);
        let meta = message.meta();
        ctx.scratch.clear();
        let count = delivery.failures;
        let ttl = (meta.expires != Time::NEVER).then(|| {
            let left = meta.expires.since(ctx.now).as_millis();
            u32::try_from(left).unwrap_or(u32::MAX).max(1)
        });
        put_header(ctx.scratch, meta.durable, meta.priority, ttl, count == 0, count);
        let head = match &delivery.marks {
            None => message.header(),
            Some(marks) => {
                marks.put_header(&message, delivery.delivery.position, ctx.scratch);
                &[]
            }
        };
        let delivery_tag = wire.amqp.next_delivery_id(wire.channel).0.to_be_bytes();
        let outgoing =
            Outgoing { tag: &delivery_tag, settled: !subscription.settles, ..Outgoing::default() };
        let parts = [&ctx.scratch[..], head, message.body()];
        match wire.amqp.transfer(wire.channel, handle, &outgoing, &parts) {
            Ok(id) => {
                let size = delivery.message.size();
                subscription.owed_messages += 1;
                subscription.owed_bytes += size as u64;
                if subscription.owed_messages == ROOM_MESSAGES
                    || subscription.owed_bytes >= ROOM_BYTES
                {
                    self.owing.push(tag);
                }
                if subscription.holds() {
                    let size = u32::try_from(size).unwrap_or(u32::MAX);
                    let record = Record::new(id, delivery.delivery, tag, size);
                    self.unsettled.push(Record { acquired: true, ..record });
                }
                None
            }
            Err(SendError::NoCredit) => Some(delivery),
            Err(error) => {
                if matches!(error, SendError::Encode(_)) {
                    tracing::warn!(target: "protocol", "a message cannot be sent: {error}");
                }
                self.unsent.push((tag, delivery.delivery));
                None
            }
        }
    }

    /// The client tells the state of deliveries that it received.
    pub(super) fn disposed(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        range: (SequenceNo, SequenceNo),
        settled: bool,
        disposed: Disposed,
    ) {
        if let Err(error) = &disposed.annotations {
            let condition = amqp_error::RESOURCE_LIMIT_EXCEEDED;
            return self.fail(wire, &Refusal::new(condition, error.to_string()));
        }
        self.settle(ctx, wire, range, &disposed, !settled);
    }

    /// Ends the session for what the client has done.
    pub(super) fn fail(&mut self, wire: &mut Wire<'_>, refusal: &Refusal) {
        wire.amqp.fail_session(wire.channel, &refusal.wire());
    }
}

/// What a client makes of deliveries.
#[derive(Clone, Debug)]
pub(super) struct Disposed {
    outcome: Outcome,
    /// The links they came by are not to get them again.
    not_here: bool,
    /// What it says of the messages besides.
    pub(super) annotations: Result<Option<Arc<Annotations>>, AnnotationsTooLarge>,
    /// What it hears again if it waits for that.
    pub(super) told: State,
}

impl Disposed {
    /// What a state comes to; none if it is not the last word.
    pub(super) fn of(state: Option<&DeliveryState<'_>>, settled: bool) -> Option<Disposed> {
        let (mut not_here, mut annotations) = (false, Ok(None));
        let (outcome, told) = match state {
            Some(DeliveryState::Accepted(_)) => (Outcome::Accepted, State::Accepted),
            // As the reference has it: to settle and say nothing is to accept.
            None if settled => (Outcome::Accepted, State::Accepted),
            Some(DeliveryState::Rejected(_)) => (Outcome::Rejected, State::Rejected),
            Some(DeliveryState::Released(_)) => {
                (Outcome::Released { set_redelivered: false }, State::Released)
            }
            Some(DeliveryState::Modified(Modified {
                delivery_failed,
                undeliverable_here,
                message_annotations,
            })) => {
                let said = message_annotations.map(Annotations::of).transpose();
                annotations = said.map(|said| said.map(Arc::new));
                not_here = undeliverable_here.unwrap_or(false);
                let set_redelivered = delivery_failed.unwrap_or(false);
                (Outcome::Released { set_redelivered }, State::Released)
            }
            // What is settled in no state that ends it is free again.
            Some(_) if settled => (Outcome::Released { set_redelivered: true }, State::Released),
            _ => return None,
        };
        Some(Disposed { outcome, not_here, annotations, told })
    }

    /// What becomes of a delivery whose subscription is over.
    pub(super) fn plain(self) -> Outcome {
        self.outcome
    }

    /// What becomes of a delivery of this subscription.
    pub(super) fn outcome(&self, tag: u32) -> Outcome {
        match self.outcome {
            Outcome::Released { set_redelivered } if self.not_here => {
                Outcome::Declined { tag, set_redelivered }
            }
            outcome => outcome,
        }
    }
}
