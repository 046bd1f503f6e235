//! What is to pass through a broker, and how its clients behave.

use crate::protocol::Protocol;
use clap::ValueEnum;
use serde::Serialize;

/// What copies to all, of more consumers than one.
pub(crate) const EXCHANGE: &str = "amq.fanout";
/// The window of a consumer that accepts.
pub(crate) const WINDOW: u32 = 5_000;
/// Octets at the start of a body: nanoseconds since the run's epoch at which it was due.
pub(crate) const STAMP: usize = 8;

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// So many queues, each with a producer and a consumer.
    Pairs(usize),
    /// One producer to an exchange that copies to so many queues with a consumer each.
    FanOut(usize),
    /// So many producers to one queue with one consumer.
    FanIn(usize),
}

impl Topology {
    pub(crate) fn producers(self) -> usize {
        match self {
            Topology::Pairs(count) | Topology::FanIn(count) => count,
            Topology::FanOut(_) => 1,
        }
    }

    /// As many as queues.
    pub(crate) fn consumers(self) -> usize {
        match self {
            Topology::Pairs(count) | Topology::FanOut(count) => count,
            Topology::FanIn(_) => 1,
        }
    }

    /// Deliveries of each message.
    pub(crate) fn copies(self) -> u64 {
        match self {
            Topology::FanOut(count) => count as u64,
            Topology::Pairs(_) | Topology::FanIn(_) => 1,
        }
    }

    /// In words.
    pub(crate) fn name(self) -> String {
        match self {
            Topology::Pairs(1) => "1→1".to_owned(),
            Topology::Pairs(count) => format!("{count}×1→1"),
            Topology::FanOut(count) => format!("1→{count}"),
            Topology::FanIn(count) => format!("{count}→1"),
        }
    }
}

/// How fast messages come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many a second, of all producers together, by the clock.
    Rate(f64),
    /// As fast as it goes with at most so many published and not yet received.
    InFlight(u64),
}

/// What clients do while there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Clients {
    /// They sleep in the kernel.
    #[default]
    Sleeping,
    /// They ask again, and have a processor to themselves.
    Busy,
}

impl Clients {
    /// As the options have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Clients::Sleeping => "sleeping",
            Clients::Busy => "busy",
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) protocol: Protocol,
    pub(crate) topology: Topology,
    /// Octets of a body.
    pub(crate) size: usize,
    pub(crate) pace: Pace,
    /// The consumers accept each message. Else they have it settled, and credit without limit.
    pub(crate) ack: bool,
    /// Persistent messages and durable queues.
    pub(crate) durable: bool,
    /// The publisher asks the broker to confirm each message, and what that takes is recorded.
    pub(crate) confirm: bool,
    pub(crate) clients: Clients,
    /// The processor that they are kept on.
    pub(crate) cpu: Option<usize>,
}

impl Flow {
    /// Transient messages in one queue, of which nobody hears anything again.
    pub(crate) fn plain(protocol: Protocol, size: usize, pace: Pace) -> Flow {
        Flow {
            protocol,
            topology: Topology::Pairs(1),
            size,
            pace,
            ack: false,
            durable: false,
            confirm: false,
            clients: Clients::Sleeping,
            cpu: None,
        }
    }

    /// The same, all the way safe: durable, confirmed to the publisher, accepted by the consumer.
    pub(crate) fn safe(self) -> Flow {
        Flow { ack: true, durable: true, confirm: true, ..self }
    }
}
