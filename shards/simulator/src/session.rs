//! A simulated session as the 0-10 front end keeps it: subscriptions, unsettled deliveries, requests
//! under way, and how far its end has come. It only records; [`crate::world`] acts.

use crate::flow::Flow;
use crate::model::MessageId;
use crate::world::Private;
use fletch_engine::{DeliveryRef, Mode, OpId, Outcome, Position, QueueId, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The name is asked for. `doomed`: the connection was lost meanwhile.
    Attaching {
        doomed: bool,
    },
    Live,
    /// Ending: all subscriptions are stopped, and acquires under way are waited for.
    Stopping,
    Settling,
    Cancelling,
    Closing,
    Over,
}

/// A request that was not answered yet.
#[derive(Debug)]
pub(crate) enum Asked {
    Attach,
    /// A change of the topology that says nothing the simulator can check.
    Topology,
    /// A queue was declared exclusive, not passive.
    Exclusive(Arc<str>),
    /// The session's private queue: declared, bound, deleted.
    PrivateDeclare,
    PrivateBind {
        exchange: Arc<str>,
        key: Arc<str>,
    },
    PrivateDelete,
    /// Somebody's private queue is looked for, which was so far.
    Probe(Arc<str>, Private),
    Query,
    Purge(Option<QueueId>),
    Subscribe(u32),
    Cancel(u32),
    /// A stop or flush.
    Clear(u32),
    Acquire(Vec<DeliveryRef>),
    Settle(Outcome, Vec<DeliveryRef>),
    Close,
}

impl Asked {
    /// Whether the client's next command has to wait.
    fn is_barrier(&self) -> bool {
        matches!(
            self,
            Asked::Attach
                | Asked::Topology
                | Asked::Exclusive(_)
                | Asked::PrivateDeclare
                | Asked::PrivateBind { .. }
                | Asked::PrivateDelete
        )
    }
}

#[derive(Debug)]
pub(crate) struct Subscription {
    /// As the name was resolved when it was asked for.
    pub(crate) queue: Option<QueueId>,
    pub(crate) mode: Mode,
    pub(crate) settles: bool,
    pub(crate) windowing: bool,
    pub(crate) flow: Flow,
    /// Browsers: the last position received.
    pub(crate) cursor: Position,
    /// And those behind which others were received: of messages that were not due.
    pub(crate) late: BTreeSet<Position>,
    /// The home has agreed.
    pub(crate) started: bool,
    /// The client has cancelled it.
    pub(crate) cancelled: bool,
}

impl Subscription {
    /// Its deliveries are the session's to settle.
    pub(crate) fn holds(&self) -> bool {
        self.mode == Mode::Consume && self.settles
    }
}

/// A delivery the client has and may still say something about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) delivery: DeliveryRef,
    pub(crate) tag: u32,
    pub(crate) size: u64,
    pub(crate) acquired: bool,
    /// Asked for by an acquire.
    pub(crate) acquiring: bool,
    /// Nothing is left to settle.
    pub(crate) ended: bool,
    /// Completing it moves the window.
    pub(crate) windowing: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) name: Arc<str>,
    pub(crate) stage: Stage,
    pub(crate) subscriptions: BTreeMap<u32, Subscription>,
    pub(crate) next_tag: u32,
    pub(crate) next_op: OpId,
    pub(crate) next_message: u64,
    pub(crate) asked: BTreeMap<OpId, Asked>,
    /// Publishes that are not complete.
    pub(crate) publishing: BTreeMap<OpId, MessageId>,
    pub(crate) records: Vec<Record>,
    /// Ending: the answers this stage waits for.
    pub(crate) awaited: BTreeSet<OpId>,
    /// Ending: came too late to be sent to the client.
    pub(crate) unsent: Vec<DeliveryRef>,
    pub(crate) private: Option<Arc<str>>,
    pub(crate) privates: u32,
}

impl Session {
    pub(crate) fn new(id: SessionId, name: Arc<str>) -> Session {
        Session {
            id,
            name,
            stage: Stage::Attaching { doomed: false },
            subscriptions: BTreeMap::new(),
            next_tag: 0,
            next_op: 1,
            next_message: 0,
            asked: BTreeMap::new(),
            publishing: BTreeMap::new(),
            records: Vec::new(),
            awaited: BTreeSet::new(),
            unsent: Vec::new(),
            private: None,
            privates: 0,
        }
    }

    /// Whether its client may send a command now.
    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Live && !self.asked.values().any(Asked::is_barrier)
    }

    /// Subscriptions that the client has not cancelled.
    pub(crate) fn open_tags(&self) -> Vec<u32> {
        self.subscriptions.iter().filter(|(_, s)| !s.cancelled).map(|(tag, _)| *tag).collect()
    }

    /// Forgets deliveries that nothing will come for any more.
    pub(crate) fn prune(&mut self) {
        self.records.retain(|r| !r.ended || r.windowing || r.acquiring);
    }
}
