//! The end of links and of sessions: what they held goes back where it came from, or is kept for links that may come
//! back (part 2.6.4).

use super::claim::Resumed;
use super::error::Refusal;
use super::incoming::Incoming;
use super::nodes::Node;
use super::session::{Attached, Link, Session, Then, Wire};
use super::subscription::{Leaving, Stage, Subscription};
use crate::front::tx;
use crate::front::{Ending, Left};
use crate::links::{Ended, Estate, Lasts, Sent, Until};
use crate::shard::Ctx;
use fletch_engine::{DeliveryRef, OpId, Outcome, Request};

impl Session {
    // ---- links ---------------------------------------------------------------------------

    /// A link goes: the client detaches it and waits to hear of that, or it was detached for a fault.
    pub(super) fn detach(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        (handle, closed): (u32, bool),
        answer: bool,
    ) {
        let Some(Attached { id, lasts, link }) = self.links.remove(&handle) else {
            if answer {
                wire.amqp.detach(wire.channel, handle, closed, None);
            }
            return;
        };
        let answer = answer.then_some((handle, closed));
        match link {
            Link::Outgoing(tag) => {
                let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
                subscription.handle = None;
                let nodes = subscription.nodes.take().map(|nodes| *nodes).unwrap_or_default();
                let lasting = nodes.lasting.filter(|_| closed);
                let leaving = Leaving {
                    stage: Stage::Stopping,
                    answer,
                    delete: nodes.own.or(lasting),
                    link: (id, lasts),
                    keeps: subscription.keeps && subscription.holds() && !closed,
                    held: Resumed::take_held(&mut subscription.resumed),
                };
                subscription.leaving = Some(Box::new(leaving));
                return self.ask(ctx, Request::Stop { tag }, Then::Leave(tag));
            }
            Link::Incoming(mut incoming) => {
                if let Some(node) = incoming.own.take() {
                    return self.ask(ctx, node.deletion(), Then::Detach(id, answer));
                }
                let sent = self.take_sent(handle, &mut incoming);
                if closed {
                    self.departures.add(id, Estate::Nothing, lasts);
                } else {
                    self.departures.add_sent(id, sent, lasts);
                }
            }
            Link::Coordinator => {
                self.coordinator_gone(ctx);
                self.departures.add(id, Estate::Nothing, lasts);
            }
        }
        self.departures.leave(ctx, Ended::Link(self.id));
        if let Some((handle, closed)) = answer {
            wire.amqp.detach(wire.channel, handle, closed, None);
        }
    }

    /// What came on a link that goes and is not settled.
    fn take_sent(&mut self, handle: u32, incoming: &mut Incoming) -> Vec<Sent> {
        let known = incoming.resumed.take().into_iter().flat_map(|resumed| resumed.known);
        let mut sent = if incoming.second { self.ledger.take_of(handle) } else { Vec::new() };
        // No publish of this session's was theirs.
        sent.extend(known.map(|(tag, fate)| Sent { op: OpId::MAX, tag, fate: Some(fate) }));
        sent
    }

    /// Gives back what a client had in an earlier life of its link.
    pub(super) fn give_back(&mut self, ctx: &mut Ctx<'_>, held: Vec<(u32, DeliveryRef)>) {
        if !held.is_empty() {
            let deliveries = held.into_iter().map(|(_, held)| held).collect();
            let outcome = Outcome::Released { set_redelivered: true };
            self.ask(ctx, Request::Settle { outcome, deliveries }, Then::Nothing);
        }
    }

    /// A step of a subscription's end was answered.
    pub(super) fn leave(&mut self, ctx: &mut Ctx<'_>, wire: &mut Wire<'_>, tag: u32) {
        let Some(subscription) = self.subscriptions.get_mut(&tag) else { return };
        let holds = subscription.holds();
        let Some(leaving) = &mut subscription.leaving else { return };
        match leaving.stage {
            Stage::Stopping => {
                leaving.stage = Stage::Releasing;
                let parked = subscription.parked.take().into_iter().flat_map(|parked| *parked);
                let parked = parked.map(|parked| parked.delivery);
                let unsent: Vec<_> = if holds { parked.collect() } else { Vec::new() };
                let (link, lasts) = leaving.link;
                let outlives = lasts.outlives(Ended::Link(self.id)) || ctx.links.is_wanted(link);
                let held = if leaving.keeps && outlives {
                    leaving.held.extend(self.unsettled.take_with_ids(tag));
                    Vec::new()
                } else {
                    let earlier = leaving.held.drain(..).map(|(_, held)| held);
                    self.unsettled.take_of(tag).into_iter().chain(earlier).collect()
                };
                // The second answers for both: they go the same way.
                let outcome = Outcome::Released { set_redelivered: false };
                let request = Request::Settle { outcome, deliveries: unsent };
                self.ask(ctx, request, Then::Nothing);
                let outcome = Outcome::Released { set_redelivered: true };
                let request = Request::Settle { outcome, deliveries: held };
                self.ask(ctx, request, Then::Leave(tag));
            }
            Stage::Releasing => {
                leaving.stage = Stage::Cancelling;
                self.ask(ctx, Request::Cancel { tag }, Then::Leave(tag));
            }
            Stage::Cancelling | Stage::Deleting => {
                if let Some(node) = leaving.delete.take() {
                    leaving.stage = Stage::Deleting;
                    return self.ask(ctx, node.deletion(), Then::Leave(tag));
                }
                let (answer, (link, lasts)) = (leaving.answer, leaving.link);
                let held = std::mem::take(&mut leaving.held);
                self.subscriptions.remove(&tag);
                if let Some((handle, closed)) = answer {
                    wire.amqp.detach(wire.channel, handle, closed, None);
                }
                ctx.leave(link, Estate::Held(held), lasts, Ended::Link(self.id));
            }
        }
    }

    /// Detaches a link for what is no fault of the client's.
    pub(super) fn fail_link(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        handle: u32,
        refusal: &Refusal,
    ) {
        tracing::info!(target: "protocol", "link detached: {}", refusal.text);
        wire.amqp.detach(wire.channel, handle, true, Some(&refusal.wire()));
        self.detach(ctx, wire, (handle, true), false);
    }

    // ---- the session ---------------------------------------------------------------------

    /// Ends the session; what it held goes back where it came from or is kept for its links, and what was made for
    /// those goes.
    pub(super) fn end(mut self, ctx: &mut Ctx<'_>, ended: Ended) -> Box<Ending> {
        ctx.ended(Until::Session(self.id));
        let left = |s: &Subscription| Left::new(s.mode, s.settles);
        let subscriptions = self.subscriptions.iter().map(|(tag, s)| (*tag, left(s))).collect();
        // Whether what a commit under way accepts is the session's still comes with its answer.
        let mut commits = Vec::new();
        for (op, then) in std::mem::take(&mut self.pending) {
            match then {
                Then::Discharge(discharging) => {
                    commits.push((op, tx::settle(discharging.settles(), &mut self.unsettled)));
                }
                Then::Detach(link, _) => {
                    self.departures.add(link, Estate::Nothing, Lasts::default());
                }
                _ => {}
            }
        }
        let mut nodes: Vec<Node> = Vec::new();
        let mut returned = Vec::new();
        for (handle, attached) in std::mem::take(&mut self.links) {
            nodes.extend(self.end_link(ctx, (handle, attached), ended));
        }
        for (tag, mut subscription) in std::mem::take(&mut self.subscriptions) {
            nodes.extend(subscription.nodes.take().and_then(|nodes| nodes.own));
            let earlier = Resumed::take_held(&mut subscription.resumed);
            returned.extend(earlier.into_iter().map(|(_, held)| held));
            let parked = subscription.parked.take().into_iter().flat_map(|parked| *parked);
            let parked = parked.map(|parked| (tag, parked.delivery));
            self.unsent.extend(parked);
            let Some(leaving) = subscription.leaving else { continue };
            let Leaving { delete, link: (link, lasts), keeps, mut held, .. } = *leaving;
            nodes.extend(delete);
            if keeps && (lasts.outlives(ended) || ctx.links.is_wanted(link)) {
                held.extend(self.unsettled.take_with_ids(tag));
            } else {
                returned.extend(held.drain(..).map(|(_, held)| held));
            }
            self.departures.add(link, Estate::Held(held), lasts);
        }
        if let Some(attaching) = self.attaching {
            nodes.extend(attaching.made);
            returned.extend(attaching.resumed.held.into_iter().map(|(_, held)| held));
            self.departures.add(attaching.id, Estate::Nothing, attaching.lasts);
        }
        // The answer to a claim finds that nobody wants it.
        returned.extend(self.unsettled.take_held());
        let under_way = (Vec::new(), commits);
        let bindings = Default::default();
        let mut ending = Ending::start(ctx, self.id, subscriptions, returned, under_way, bindings);
        ending.delete(nodes.iter().map(Node::deletion).collect());
        ending.leave(self.departures, ended);
        self.unsent.into_iter().for_each(|(tag, delivery)| ending.deliver(tag, delivery));
        Box::new(ending)
    }

    /// A link goes with its session. A node that goes with it.
    fn end_link(
        &mut self,
        ctx: &Ctx<'_>,
        (handle, attached): (u32, Attached),
        ended: Ended,
    ) -> Option<Node> {
        let Attached { id, lasts, link } = attached;
        let outlives = lasts.outlives(ended) || ctx.links.is_wanted(id);
        match link {
            Link::Incoming(mut incoming) if incoming.own.is_none() && outlives => {
                let sent = self.take_sent(handle, &mut incoming);
                self.departures.add_sent(id, sent, lasts);
                None
            }
            Link::Incoming(incoming) => {
                self.departures.add(id, Estate::Nothing, lasts);
                incoming.own
            }
            Link::Outgoing(tag) => {
                let keeping = |s: &&mut Subscription| s.keeps && s.holds() && outlives;
                let estate = self.subscriptions.get_mut(&tag).filter(keeping).map(|subscription| {
                    let mut held = Resumed::take_held(&mut subscription.resumed);
                    held.extend(self.unsettled.take_with_ids(tag));
                    Estate::Held(held)
                });
                self.departures.add(id, estate.unwrap_or_default(), lasts);
                None
            }
            Link::Coordinator => {
                self.departures.add(id, Estate::Nothing, lasts);
                None
            }
        }
    }
}
