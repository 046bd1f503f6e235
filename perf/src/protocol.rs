//! The protocols that a client may speak.

use clap::ValueEnum;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// AMQP 0-10.
    V0_10,
    /// AMQP 1.0.
    V1_0,
}

impl Protocol {
    /// As the options have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::V0_10 => "amqp0-10",
            Protocol::V1_0 => "amqp1.0",
        }
    }
}

/// Those that are to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocols {
    /// AMQP 0-10.
    #[value(name = "amqp0-10")]
    V0_10,
    /// AMQP 1.0.
    #[value(name = "amqp1.0")]
    V1_0,
    /// Both by turns, and the ratio of 1.0 to 0-10.
    Both,
}

impl Protocols {
    /// In the order of measurement.
    pub(crate) fn all(self) -> &'static [Protocol] {
        match self {
            Protocols::V0_10 => &[Protocol::V0_10],
            Protocols::V1_0 => &[Protocol::V1_0],
            Protocols::Both => &[Protocol::V0_10, Protocol::V1_0],
        }
    }
}
