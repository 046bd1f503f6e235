//! What each role is told before it starts: who it is, what it takes, and the bounds.

use std::time::Duration;

/// Bounds on what one peer can make a connection hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at a time: `channel-max` is one less.
    pub sessions: u16,
    /// Links of one session at a time: `handle-max` is one less.
    pub links: u32,
    /// Octets of the largest message, and of all that have come in part.
    pub message: usize,
    /// Transfers a session takes before the peer waits for more window.
    pub window: u32,
    /// From the first octet to an open connection, and from our `close` to the peer's answer.
    pub negotiation: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            sessions: 4096,
            links: 65_536,
            message: 256 << 20,
            window: 65_536,
            negotiation: Duration::from_secs(10),
        }
    }
}

/// What both roles say in `open`.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The name of this container; unique among those that talk to each other.
    pub container_id: String,
    /// The largest frame we take.
    pub max_frame_size: u32,
    /// Silence that we allow: the peer is told, and is gone after twice as long. Zero for any.
    pub idle_time_out: Duration,
    /// Properties of this container, encoded as a map; empty for none.
    pub properties: Vec<u8>,
    /// Extensions that we offer.
    pub offered_capabilities: Vec<String>,
    /// Extensions that we would use.
    pub desired_capabilities: Vec<String>,
}

impl Default for Identity {
    fn default() -> Self {
        Identity {
            container_id: "fletch".into(),
            max_frame_size: 64 << 10,
            idle_time_out: Duration::ZERO,
            properties: Vec::new(),
            offered_capabilities: Vec::new(),
            desired_capabilities: Vec::new(),
        }
    }
}

/// What a server offers. One value serves every connection of a listener.
#[derive(Debug, Clone, Default)]
pub struct ServerConfig {
    /// What it says of itself.
    pub identity: Identity,
    /// SASL mechanisms in order of preference.
    pub mechanisms: Vec<String>,
    /// A client may leave out SASL. It is nobody then.
    pub sasl_optional: bool,
    /// Bounds.
    pub limits: Limits,
}

/// A SASL mechanism that a client is ready to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMechanism {
    /// Its name, as the server offers it.
    pub name: String,
    /// The initial response. `None` leaves the field out, which is not the same as an empty response.
    pub response: Option<Vec<u8>>,
}

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub struct ClientConfig {
    /// What it says of itself.
    pub identity: Identity,
    /// The host it thinks that it talks to.
    pub hostname: Option<String>,
    /// Mechanisms in order of preference; the first that the server offers is used. With none, SASL is
    /// left out.
    pub mechanisms: Vec<ClientMechanism>,
    /// Bounds.
    pub limits: Limits,
}
