//! What the broker says of itself to every client that speaks 1.0.

use super::connection::SOLE_CONNECTION;
use fletch_amqp::v1_0::state::{Identity, Limits, ServerConfig};
use fletch_amqp::v1_0::types::{Symbol, put_map, put_string, put_symbol};
use std::time::Duration;

/// Silence that the broker allows: a client that shows no sign of life for twice as long is gone.
const IDLE_TIME_OUT: Duration = Duration::from_secs(60);

/// The server's end, for all connections.
pub(crate) fn server_config(mechanisms: &[&str], negotiation: Duration, tag: &str) -> ServerConfig {
    let mut properties = Vec::new();
    let said = [
        ("product", "fletch"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("platform", "Linux"),
        ("qpid.federation_tag", tag),
    ];
    let written = put_map(&mut properties, |out| {
        for (key, value) in said {
            put_symbol(Symbol::new(key).unwrap_or_default(), out)?;
            put_string(value, out)?;
        }
        Ok(2 * said.len() as u32)
    });
    // A tag too long for a map is left out with the rest.
    if written.is_err() {
        properties.clear();
    }
    ServerConfig {
        identity: Identity {
            container_id: tag.to_owned(),
            idle_time_out: IDLE_TIME_OUT,
            properties,
            offered_capabilities: [
                "ANONYMOUS-RELAY",
                "SHARED-SUBS",
                "DELAYED_DELIVERY",
                SOLE_CONNECTION,
            ]
            .map(String::from)
            .to_vec(),
            ..Identity::default()
        },
        mechanisms: mechanisms.iter().map(|name| (*name).to_owned()).collect(),
        sasl_optional: true,
        limits: Limits { negotiation, ..Limits::default() },
    }
}
