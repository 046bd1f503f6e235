//! A link on which the client receives: a subscription of the engine, and how its credit follows that of
//! the link.
//!
//! A link's credit is stated anew by every flow; the engine's is granted in pieces. So what the engine has
//! been granted is kept here, and brought into line: more is granted, less is stopped first. A delivery
//! that comes when the link has no credit any more, because the client took it back, is parked.

use super::claim::Resumed;
use super::nodes::Node;
use crate::links::Lasts;
use fletch_engine::queue::Marks;
use fletch_engine::{DeliveryRef, Message, Mode, SessionId};
use std::collections::VecDeque;
use std::sync::Arc;

/// A delivery as it came from the engine.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) delivery: DeliveryRef,
    pub(super) message: Message,
    /// How often it came back.
    pub(super) failures: u32,
    pub(super) marks: Option<Arc<Marks>>,
}

/// What the engine has been asked about the credit and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// After the answer there is none.
    Stop,
    /// After the answer there is none, and the link has been drained.
    Flush,
}

/// How far the end of a subscription has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Stopping,
    Releasing,
    Cancelling,
    Deleting,
}

/// The end of a subscription.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) stage: Stage,
    /// The client is told when it is over that the link is detached: its handle, and `closed`.
    pub(super) answer: Option<(u32, bool)>,
    /// What goes with it.
    pub(super) delete: Option<Node>,
    /// The number that its link's name is held under, and how long its terminus outlives it.
    pub(super) link: (SessionId, Lasts),
    /// What its client has not settled may be kept.
    pub(super) keeps: bool,
    /// What is.
    pub(super) held: Vec<(u32, DeliveryRef)>,
}

/// Nodes that go with a subscription.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    /// A queue of its own that the client may want deleted: that of a subscription that lasts.
    pub(super) lasting: Option<Node>,
    /// A node that goes with the link.
    pub(super) own: Option<Node>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Of the link, while it is attached.
    pub(super) handle: Option<u32>,
    pub(super) mode: Mode,
    /// Deliveries want settling.
    pub(super) settles: bool,
    /// What goes with it, of the few that have something.
    pub(super) nodes: Option<Box<Nodes>>,
    /// What the client has not settled is to outlive the link, as its terminus does.
    pub(super) keeps: bool,
    /// What it has received in an earlier life of the link, and not said enough about; nothing is sent meanwhile.
    pub(super) resumed: Option<Box<Resumed>>,
    /// Deliveries that the engine may still make.
    pub(super) granted: u32,
    pub(super) asked: Option<Asked>,
    /// The client wants the credit used up.
    pub(super) drain: bool,
    /// Empty for most.
    #[expect(
        clippy::box_collection,
        reason = "there are many subscriptions, and few park anything"
    )]
    pub(super) parked: Option<Box<VecDeque<Delivery>>>,
    /// Written to the connection and not yet given back as room.
    pub(super) owed_messages: u32,
    pub(super) owed_bytes: u64,
    pub(super) leaving: Option<Box<Leaving>>,
}

impl Subscription {
    pub(super) fn new(handle: u32, mode: Mode, settles: bool) -> Subscription {
        Subscription {
            handle: Some(handle),
            mode,
            settles,
            nodes: None,
            keeps: false,
            resumed: None,
            granted: 0,
            asked: None,
            drain: false,
            parked: None,
            owed_messages: 0,
            owed_bytes: 0,
            leaving: None,
        }
    }

    /// Has these nodes go with it.
    pub(super) fn set_nodes(&mut self, nodes: Nodes) {
        let any = nodes.lasting.is_some() || nodes.own.is_some();
        self.nodes = any.then(|| Box::new(nodes));
    }

    /// Keeps a delivery until there is credit for it: behind the others, or before them.
    pub(super) fn park(&mut self, delivery: Delivery, first: bool) {
        let parked = self.parked.get_or_insert_default();
        if first {
            parked.push_front(delivery);
        } else {
            parked.push_back(delivery);
        }
    }

    /// The next delivery that waits.
    pub(super) fn unpark(&mut self) -> Option<Delivery> {
        let parked = self.parked.as_mut()?;
        let next = parked.pop_front();
        if parked.is_empty() {
            self.parked = None;
        }
        next
    }

    /// Whether what it is sent is the client's until it is settled.
    pub(super) fn holds(&self) -> bool {
        self.mode == Mode::Consume && self.settles
    }
}
