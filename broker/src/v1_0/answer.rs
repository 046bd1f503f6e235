//! The answer to an attach: the termini as the broker takes them, encoded when the attach came, for it may
//! have to wait for the engine.

use super::claim::Unsettled;
use super::filters::{Bound, Filters};
use super::nodes::Node;
use super::properties::{Actual, Properties};
use fletch_amqp::v1_0::table::{Attach, Coordinator, Source, Target};
use fletch_amqp::v1_0::types::{MapRef, Symbol, ValueRef, put_string};
use fletch_amqp::v1_0::{
    Composite, Multiple, ReceiverSettleMode, Role, SenderSettleMode, TargetKind,
    TerminusDurability, std_dist_mode, txn_capability,
};
use fletch_amqp::wire::{EncodeError, Reader};
use fletch_engine::topology::ExchangeKind;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Encoded; empty for none.
    source: Vec<u8>,
    target: Vec<u8>,
    unsettled: Unsettled,
    snd: SenderSettleMode,
    rcv: ReceiverSettleMode,
}

/// A terminus of ours: what answers, beside what the client said.
pub(super) struct Ours<'a> {
    pub(super) address: &'a str,
    pub(super) node: &'a Node,
    pub(super) properties: &'a Properties,
    pub(super) actual: &'a Actual,
}

impl Answer {
    /// What the client asked for, with its own terminus as it is.
    pub(super) fn to(attach: &Attach<'_>) -> Answer {
        let copy = |value: Option<ValueRef<'_>>| {
            let mut octets = Vec::new();
            let copied = value.map_or(Ok(()), |value| value.encode(&mut octets));
            // What came off the wire goes back on it.
            debug_assert!(copied.is_ok(), "{copied:?}");
            octets
        };
        Answer {
            source: copy(attach.source),
            target: copy(attach.target),
            unsettled: Unsettled::default(),
            snd: attach.snd_settle_mode,
            rcv: attach.rcv_settle_mode,
        }
    }

    /// The broker's own terminus is left out: the link is refused.
    pub(super) fn refused(attach: &Attach<'_>) -> Answer {
        let mut answer = Answer::to(attach);
        answer.refuse(attach.role == Role::RECEIVER);
        answer
    }

    /// The broker's own terminus is left out: the link is refused, in which the broker was to send, or not.
    pub(super) fn refuse(&mut self, sends: bool) {
        if sends {
            self.source.clear();
        } else {
            self.target.clear();
        }
    }

    /// The source is this node.
    pub(super) fn set_source(
        &mut self,
        asked: &Source<'_>,
        ours: &Ours<'_>,
        filters: (&Filters<'_>, Option<&Bound>),
        browse: bool,
    ) -> Result<(), EncodeError> {
        let (mut address, mut filter, mut properties) = (Vec::new(), Vec::new(), Vec::new());
        put_string(ours.address, &mut address)?;
        let kind = ours.node.exchange_kind().map(ExchangeKind::name);
        filters.0.put_applied(kind, filters.1, &mut filter)?;
        let said = ours.properties.put_answer(ours.actual, &mut properties)?;
        let capabilities = capabilities(&asked.capabilities, ours.node);
        let filter = map(&filter).filter(|map| !map.is_empty());
        let source = Source {
            address: value(&address),
            dynamic_node_properties: if said { map(&properties) } else { None },
            distribution_mode: Some(if browse { std_dist_mode::COPY } else { std_dist_mode::MOVE }),
            filter,
            capabilities: Multiple::from(&capabilities[..]),
            ..asked.clone()
        };
        self.source.clear();
        source.encode(&mut self.source)
    }

    /// The target is this node.
    pub(super) fn set_target(
        &mut self,
        asked: &Target<'_>,
        ours: &Ours<'_>,
    ) -> Result<(), EncodeError> {
        let (mut address, mut properties) = (Vec::new(), Vec::new());
        put_string(ours.address, &mut address)?;
        let said = ours.properties.put_answer(ours.actual, &mut properties)?;
        let capabilities = capabilities(&asked.capabilities, ours.node);
        let target = Target {
            address: value(&address),
            dynamic_node_properties: if said { map(&properties) } else { None },
            capabilities: Multiple::from(&capabilities[..]),
            // What is not settled is kept in memory.
            durable: match asked.durable {
                TerminusDurability::UNSETTLED_STATE => TerminusDurability::CONFIGURATION,
                durable => durable,
            },
            ..asked.clone()
        };
        self.target.clear();
        target.encode(&mut self.target)
    }

    /// The target is a coordinator of transactions.
    pub(super) fn set_coordinator(&mut self) -> Result<(), EncodeError> {
        let able = [txn_capability::LOCAL_TRANSACTIONS, txn_capability::MULTI_TXNS_PER_SSN];
        self.target.clear();
        Coordinator { capabilities: Multiple::from(&able[..]) }.encode(&mut self.target)
    }

    /// The sender settles in this way.
    pub(super) fn set_sender_mode(&mut self, mode: SenderSettleMode) {
        self.snd = mode;
    }

    /// What the broker knows of deliveries that the client has not settled.
    pub(super) fn set_unsettled(&mut self, unsettled: Unsettled) {
        self.unsettled = unsettled;
    }

    /// Octets of the termini.
    pub(super) fn len(&self) -> usize {
        self.source.len() + self.target.len()
    }

    /// As it goes on the wire; the state machine puts in the rest.
    pub(super) fn attach(&self) -> Attach<'_> {
        Attach {
            snd_settle_mode: self.snd,
            rcv_settle_mode: self.rcv,
            source: value(&self.source),
            target: value(&self.target),
            unsettled: map(&self.unsettled.map),
            incomplete_unsettled: self.unsettled.incomplete,
            ..Attach::default()
        }
    }
}

/// A value that was encoded here.
fn value(octets: &[u8]) -> Option<ValueRef<'_>> {
    ValueRef::decode(&mut Reader::new(octets)).ok()
}

fn map(octets: &[u8]) -> Option<MapRef<'_>> {
    value(octets)?.as_map()
}

/// Which of what a client asks for the node can do.
fn capabilities<'a>(asked: &Multiple<'a>, node: &Node) -> Vec<Symbol<'a>> {
    let kind = node.exchange_kind();
    let can = |name: &str| match (name, kind) {
        ("create-on-demand", _) => true,
        ("queue" | "temporary-queue", None) => true,
        ("topic" | "temporary-topic" | "shared" | "global", Some(_)) => true,
        ("legacy-amqp-direct-binding", Some(kind)) => kind == ExchangeKind::Direct,
        ("legacy-amqp-topic-binding", Some(kind)) => kind == ExchangeKind::Topic,
        _ => false,
    };
    asked.iter().filter(|name| can(name)).collect()
}

/// The target of an attach, whatever kind it is.
pub(super) fn target_of<'a>(attach: &Attach<'a>) -> Option<TargetKind<'a>> {
    attach.target.and_then(|value| TargetKind::from_view(value).ok())
}

/// The source of an attach.
pub(super) fn source_of<'a>(attach: &Attach<'a>) -> Option<Source<'a>> {
    attach.source.and_then(|value| Source::from_view(value).ok())
}
