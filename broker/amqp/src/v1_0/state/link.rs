//! One link as this end of it knows it: credit, and the delivery that is being received.

use crate::v1_0::{Role, SequenceNo};

/// Where a link is in its life.
///
/// ```text
/// peer attaches: Offered ─► Attached      we attach: Attaching ─► Attached
/// both: Attached ─► Detaching, when we sent detach ─► gone
///       Attached ─► Leaving, when detach came ─► gone, when we sent ours
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// The driver owes the answer to an attach.
    Offered,
    /// The peer does.
    Attaching,
    Attached,
    /// Detach was sent; what comes meanwhile was sent before the peer knew.
    Detaching,
    /// The driver owes the answer to a detach.
    Leaving,
}

/// A delivery of which some has come.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) id: SequenceNo,
    /// The first transfer, encoded.
    pub(super) first: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) settled: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: Box<str>,
    /// Ours.
    pub(super) role: Role,
    pub(super) life: Life,
    pub(super) remote_handle: Option<u32>,
    pub(super) delivery_count: SequenceNo,
    /// Deliveries that may be sent.
    pub(super) credit: u32,
    /// Receiver: we have asked to use the credit up. Sender: the peer has.
    pub(super) drain: bool,
    /// Receiver: credit to keep up, with what is not finished; 0 for none.
    pub(super) window: u32,
    /// Receiver: deliveries that the driver has not finished.
    pub(super) busy: u32,
    /// A flow must be sent at the end of the turn.
    pub(super) owes_flow: bool,
    /// On the session's list of links to look at, at the end of the turn.
    pub(super) listed: bool,
    pub(super) partial: Option<Box<Partial>>,
}

impl Link {
    pub(super) fn new(name: &str, role: Role, life: Life) -> Link {
        Link {
            name: name.into(),
            role,
            life,
            remote_handle: None,
            delivery_count: SequenceNo(0),
            credit: 0,
            drain: false,
            window: 0,
            busy: 0,
            owes_flow: false,
            listed: false,
            partial: None,
        }
    }

    /// Receiver: whether so much of the window is free that the peer should hear of it.
    pub(super) fn wants_credit(&self) -> bool {
        self.window > 0 && self.credit.saturating_add(self.busy) <= self.window / 2
    }

    /// Receiver: states as much credit as the window has room for.
    pub(super) fn top_up(&mut self) {
        self.credit = self.window.saturating_sub(self.busy);
    }

    /// Receiver: the sender has come so far. Credit that it passed over is used up.
    pub(super) fn advance(&mut self, to: SequenceNo) {
        let passed = to.distance(self.delivery_count).max(0) as u32;
        self.delivery_count = to;
        self.credit = self.credit.saturating_sub(passed);
    }

    pub(super) fn memory(&self) -> usize {
        let partial =
            self.partial.as_ref().map_or(0, |p| p.first.capacity() + p.payload.capacity());
        size_of::<Link>() + self.name.len() + partial
    }
}
