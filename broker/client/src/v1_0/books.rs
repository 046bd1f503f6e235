//! What the client remembers of a session and its links.

use std::collections::VecDeque;

use fletch_amqp::SequenceSet;
use fletch_amqp::v1_0::table::{Accepted, Error as WireError, Modified, Rejected, Released};
use fletch_amqp::v1_0::table::{Outcome as WireOutcome, TransactionalState};
use fletch_amqp::v1_0::{DeliveryState, SequenceNo};

use super::delivery::Delivery;
use super::failure::{Condition, Failure, Outcome};
use super::sent::Sent;
use super::terminus::Offered;

/// What is to be said of deliveries that were received. To accept them outside of transactions, the state machine has
/// a way of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Settled(Outcome),
    /// Accepted if the transaction of that name succeeds.
    AcceptedIn(Vec<u8>),
}

impl Verdict {
    /// Calls `say` with the state as it goes on the wire.
    pub(super) fn state(&self, say: impl FnOnce(DeliveryState<'_>)) {
        match self {
            Verdict::AcceptedIn(txn_id) => {
                let outcome = Some(WireOutcome::Accepted(Accepted {}));
                say(TransactionalState { txn_id, outcome }.into());
            }
            Verdict::Settled(Outcome::Rejected(Condition { name, text })) => {
                let condition = super::terminus::symbol(name).ok().filter(|name| !name.is_empty());
                let error = condition.map(|condition| WireError {
                    condition,
                    description: Some(text.as_str()).filter(|text| !text.is_empty()),
                    info: None,
                });
                say(Rejected { error }.into());
            }
            Verdict::Settled(Outcome::Modified { failed, undeliverable_here }) => say(Modified {
                delivery_failed: Some(*failed),
                undeliverable_here: Some(*undeliverable_here),
                message_annotations: None,
            }
            .into()),
            Verdict::Settled(Outcome::Released) => say(Released {}.into()),
            Verdict::Settled(Outcome::Accepted | Outcome::Declared(_)) => say(Accepted {}.into()),
        }
    }
}

/// One session's books.
#[derive(Debug)]
pub(super) struct Books {
    /// Tells this session from others that had its channel before.
    pub(super) token: u64,
    pub(super) begun: bool,
    pub(super) ended: Option<Condition>,
    pub(super) sent: Sent,
    /// What is to be said at the end of this turn.
    pub(super) verdicts: Vec<(Verdict, SequenceSet)>,
    /// By handle.
    links: Vec<Option<Link>>,
}

impl Books {
    pub(super) fn new(token: u64) -> Books {
        Books {
            token,
            begun: false,
            ended: None,
            sent: Sent::default(),
            verdicts: Vec::new(),
            links: Vec::new(),
        }
    }

    pub(super) fn add_link(&mut self, handle: u32, token: u64) {
        let at = handle as usize;
        if self.links.len() <= at {
            self.links.resize_with(at + 1, || None);
        }
        self.links[at] = Some(Link::new(token));
    }

    pub(super) fn link(&mut self, handle: u32) -> Option<&mut Link> {
        self.links.get_mut(handle as usize)?.as_mut()
    }

    /// A link is over; the first reason counts.
    pub(super) fn end_link(&mut self, handle: u32, condition: Condition) {
        self.sent.forget(handle);
        if let Some(link) = self.link(handle) {
            link.ended.get_or_insert(condition);
            link.unsettled = 0;
        }
    }

    /// The peer tells the outcome of what was sent.
    pub(super) fn settled(&mut self, range: (SequenceNo, SequenceNo), outcome: &Outcome) {
        let Books { sent, links, .. } = self;
        sent.settle(range, |id, handle| {
            let Some(Some(link)) = links.get_mut(handle as usize) else { return };
            link.unsettled -= 1;
            if *outcome != Outcome::Accepted {
                link.failed.push((id, outcome.clone()));
            }
        });
    }

    /// Notes what is to be said of a delivery at the end of this turn.
    pub(super) fn note(&mut self, id: SequenceNo, verdict: Verdict) {
        match self.verdicts.last_mut() {
            Some((last, ids)) if *last == verdict => ids.add(id),
            _ => self.verdicts.push((verdict, SequenceSet::range(id, id))),
        }
    }
}

/// One link's.
#[derive(Debug)]
pub(super) struct Link {
    /// Tells this link from others that had its handle before.
    pub(super) token: u64,
    /// The peer has answered.
    pub(super) answered: bool,
    /// The peer's answer has no terminus: it refuses the link, and will say why.
    pub(super) refused: bool,
    /// The broker's end, as its answer has it.
    pub(super) offered: Offered,
    pub(super) ended: Option<Condition>,
    /// Sender: deliveries whose outcome is not known.
    pub(super) unsettled: u32,
    /// Sender: those that were not accepted.
    pub(super) failed: Vec<(SequenceNo, Outcome)>,
    /// Receiver: what has come.
    pub(super) deliveries: VecDeque<Delivery>,
    /// Receiver: the sender has used up the credit as it was asked to.
    pub(super) drained: bool,
}

impl Link {
    fn new(token: u64) -> Link {
        Link {
            token,
            answered: false,
            refused: false,
            offered: Offered::default(),
            ended: None,
            unsettled: 0,
            failed: Vec::new(),
            deliveries: VecDeque::new(),
            drained: false,
        }
    }

    /// Fails once the link is over.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match &self.ended {
            None => Ok(()),
            Some(condition) if self.refused => Err(Failure::Refused(condition.clone())),
            Some(condition) => Err(Failure::Link(condition.clone())),
        }
    }
}
