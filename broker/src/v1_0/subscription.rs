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
    Stop,
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

/// See the module.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Of the link, while it is attached.
    pub(super) handle: Option<u32>,
    pub(super) mode: Mode,
    /// Deliveries want settling.
    pub(super) settles: bool,
    /// A queue of its own that the client may want deleted: that of a subscription that lasts.
    pub(super) lasting: Option<Node>,
    /// A node that goes with the link.
    pub(super) own: Option<Node>,
    /// What the client has not settled is to outlive the link, as its terminus does.
    pub(super) keeps: bool,
    /// What it has received in an earlier life of the link, and not said enough about; nothing is sent meanwhile.
    pub(super) resumed: Option<Box<Resumed>>,
    /// Deliveries that the engine may still make.
    pub(super) granted: u32,
    pub(super) asked: Option<Asked>,
    /// The client wants the credit used up.
    pub(super) drain: bool,
    pub(super) parked: VecDeque<Delivery>,
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
            lasting: None,
            own: None,
            keeps: false,
            resumed: None,
            granted: 0,
            asked: None,
            drain: false,
            parked: VecDeque::new(),
            owed_messages: 0,
            owed_bytes: 0,
            leaving: None,
        }
    }

    /// Whether what it is sent is the client's until it is settled.
    pub(super) fn holds(&self) -> bool {
        self.mode == Mode::Consume && self.settles
    }
}
