//! What each role is told before it starts: what to offer, what to ask for, and the bounds.

use std::time::Duration;

use crate::types::Map;
use crate::v0_10::assembly::AssemblyLimits;
use crate::v0_10::frame::MAX_FRAME_SIZE;

/// Bounds on what one peer can make a connection hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Sizes of the segments of one command.
    pub assembly: AssemblyLimits,
    /// Sessions attached at a time. One more attach is answered with `detached` (transport-busy).
    pub sessions: usize,
    /// From the first octet to an open connection, and from our `close` to the peer's answer.
    pub negotiation: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            assembly: AssemblyLimits::default(),
            sessions: 4096,
            negotiation: Duration::from_secs(10),
        }
    }
}

/// What a server offers. One value serves every connection of a listener.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// SASL mechanisms in order of preference. A client that picks another is turned away by the
    /// state machine.
    pub mechanisms: Vec<String>,
    /// Locales; clients of our field send `en_US` or nothing.
    pub locales: Vec<String>,
    /// Properties of this server for `connection.start`.
    pub properties: Map,
    /// The highest channel number to offer.
    pub channel_max: u16,
    /// The largest frame to offer, and the largest to read before that is agreed.
    pub max_frame_size: u16,
    /// Seconds; the shortest and the longest heartbeat interval to offer.
    pub heartbeat: std::ops::RangeInclusive<u16>,
    /// Bounds.
    pub limits: Limits,
}

impl Default for ServerConfig {
    /// The reference broker's numbers.
    fn default() -> Self {
        ServerConfig {
            mechanisms: vec!["ANONYMOUS".into()],
            locales: vec!["en_US".into()],
            properties: Map::default(),
            channel_max: 0x7fff,
            max_frame_size: MAX_FRAME_SIZE,
            heartbeat: 0..=120,
            limits: Limits::default(),
        }
    }
}

/// A SASL mechanism that a client is ready to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMechanism {
    /// Its name, as the server offers it.
    pub name: String,
    /// The initial response. `None` leaves the field out, which is not the same as an empty
    /// response.
    pub response: Option<Vec<u8>>,
}

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Mechanisms in order of preference; the first that the server offers is used.
    pub mechanisms: Vec<ClientMechanism>,
    /// The locale.
    pub locale: String,
    /// The virtual host to open.
    pub virtual_host: String,
    /// Properties of this client for `connection.start-ok`.
    pub properties: Map,
    /// The highest channel number wanted.
    pub channel_max: u16,
    /// The largest frame wanted.
    pub max_frame_size: u16,
    /// Seconds between heartbeats wanted, 0 for none; clipped to what the server offers.
    pub heartbeat: u16,
    /// Bounds.
    pub limits: Limits,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            mechanisms: vec![ClientMechanism { name: "ANONYMOUS".into(), response: None }],
            locale: "en_US".into(),
            virtual_host: String::new(),
            properties: Map::default(),
            channel_max: 0x7fff,
            max_frame_size: MAX_FRAME_SIZE,
            heartbeat: 0,
            limits: Limits::default(),
        }
    }
}
