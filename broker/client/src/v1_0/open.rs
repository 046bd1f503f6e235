//! How a client introduces itself.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fletch_amqp::v1_0::state::{ClientConfig, ClientMechanism, Identity, Limits};
use fletch_amqp::v1_0::types::Value;

use super::terminus::map;
use crate::ConnectOptions;

/// Connections of this process so far: each is a container of its own.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The protocol's part of the options.
pub(super) fn config(options: &ConnectOptions) -> ClientConfig {
    let mechanisms = options.mechanisms().into_iter();
    let container_id = options.container_id.clone().unwrap_or_else(|| {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Two machines may have processes of one number, and whoever has a container's name has its links.
        let random = RandomState::new().build_hasher().finish();
        let (name, process) = (crate::options::process_name(), std::process::id());
        format!("{name}-{process}-{random:016x}-{count}")
    });
    let host = options.virtual_host.as_str();
    ClientConfig {
        identity: Identity {
            container_id,
            max_frame_size: options.max_frame_size.into(),
            idle_time_out: Duration::from_secs(options.heartbeat.into()),
            properties: properties(options),
            ..Identity::default()
        },
        hostname: (!host.is_empty()).then(|| host.to_owned()),
        mechanisms: mechanisms
            .map(|mechanism| ClientMechanism { name: mechanism.name, response: mechanism.response })
            .collect(),
        limits: Limits { sessions: options.channel_max.saturating_add(1), ..Limits::default() },
    }
}

/// Those that management shows of a client, encoded. What has no like in 1.0 is left out.
fn properties(options: &ConnectOptions) -> Vec<u8> {
    use fletch_amqp::types::Value as Old;
    let all = options.client_properties();
    let known = all.iter().filter_map(|(name, value)| {
        let value = match value {
            Old::Str16(text) => Value::String(text.clone()),
            Old::Int64(number) => Value::Long(*number),
            _ => return None,
        };
        Some((name.to_owned(), value))
    });
    let mut encoded = Vec::new();
    // Names that are no symbols leave all out.
    if map(&known.collect::<Vec<_>>(), &mut encoded).is_err() {
        encoded.clear();
    }
    encoded
}
