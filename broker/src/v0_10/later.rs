//! Arguments of queues, exchanges and bindings that clients of the reference use and that have no
//! effect in this version: kept, reported by queries, and never ignored in silence.

use fletch_amqp::types::Map;

/// Arguments with these beginnings are the reference's own.
const PREFIXES: [&str; 3] = ["qpid.", "x-qpid-", "x-apache-"];

/// Those that do something.
const WORK: &[&str] = &[
    "x-apache-selector",
    "qpid.last_value_queue_key",
    "qpid.last_value_queue",
    "qpid.last_value_queue_no_browse",
    "qpid.priorities",
    "x-qpid-priorities",
    "qpid.group_header_key",
    "qpid.shared_msg_group",
    "qpid.auto_delete_timeout",
    "qpid.browse-only",
    "qpid.filter",
    "qpid.lifetime-policy",
    "qpid.max_pages_loaded", // refused without qpid.paging
    "qpid.msg_sequence",
    "qpid.ive",
    "qpid.exclusive-binding",
    "qpid.page_factor",
    "qpid.paging",
    "qpid.group_timestamp",
    "qpid.queue_event_generation",
    "qpid.queue_msg_sequence",
    "qpid.trace.exclude",
    "qpid.trace.id",
    "qpid.policy_type",
    "qpid.max_count",
    "qpid.max_size",
    "qpid.flow_stop_count",
    "qpid.flow_stop_size",
    "qpid.flow_resume_count",
    "qpid.flow_resume_size",
    "qpid.alert_count",
    "qpid.alert_count_up",
    "qpid.alert_count_down",
    "qpid.alert_size",
    "qpid.alert_size_up",
    "qpid.alert_size_down",
    "qpid.alert_repeat_gap",
    "x-qpid-minimum-alert-repeat-gap",
    "x-qpid-maximum-message-count",
    "x-qpid-maximum-message-size",
];

/// Warns of each argument that is kept and does nothing.
pub(super) fn warn_of(what: &str, name: &str, arguments: &Map) {
    let works = |argument: &str| {
        WORK.contains(&argument)
            || argument.starts_with("qpid.fairshare")
            || argument.starts_with("x-qpid-fairshare")
    };
    for (argument, _) in arguments.iter() {
        let known = PREFIXES.iter().any(|prefix| argument.starts_with(prefix));
        if known && !works(argument) {
            tracing::warn!(target: "model",
                "{what} {name}: argument {argument} is accepted but not available yet in this version");
        }
    }
}
