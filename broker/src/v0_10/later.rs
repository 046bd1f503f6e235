//! Arguments of queues, exchanges and bindings that clients of the reference use and that have no
//! effect in this version: kept, reported by queries, and never ignored in silence.

use fletch_amqp::types::Map;

/// Arguments with these beginnings are the reference's own.
const PREFIXES: [&str; 2] = ["qpid.", "x-qpid-"];

/// Warns of each argument that is kept and does nothing.
pub(super) fn warn_of(what: &str, name: &str, arguments: &Map) {
    for (argument, _) in arguments.iter() {
        if PREFIXES.iter().any(|prefix| argument.starts_with(prefix)) {
            tracing::warn!(target: "model",
                "{what} {name}: argument {argument} is accepted but not available yet in this version");
        }
    }
}
