//! Queues with limits and flow control: what clients ask for, and what the models have to know of it.

use crate::rng::Rng;
use fletch_amqp::types::{Map, Value};

/// What happens to a message too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is none.
    Free,
    /// It is refused.
    Reject,
    /// The oldest goes.
    Ring,
    /// The queue goes.
    SelfDestruct,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) kind: Kind,
    pub(crate) count: u64,
    /// Publishers are held back.
    pub(crate) holds: bool,
}

impl Limit {
    /// What a queue's arguments say.
    pub(crate) fn of(arguments: &Map) -> Limit {
        let number = |name: &str| arguments.get(name).and_then(Value::as_i64).unwrap_or(0) as u64;
        let count = number("qpid.max_count");
        let kind = match arguments.get_str("qpid.policy_type") {
            _ if count == 0 => Kind::Free,
            Some("ring") => Kind::Ring,
            Some("self-destruct") => Kind::SelfDestruct,
            _ => Kind::Reject,
        };
        // Of a limit too: at four fifths of it.
        let holds = kind != Kind::Ring && (count > 0 || number("qpid.flow_stop_count") > 0);
        Limit { kind, count, holds }
    }

    /// Adds arguments of a queue with a limit, or flow control alone.
    pub(crate) fn draw(rng: &mut Rng, kinds: &[Kind], arguments: Map) -> Map {
        let most = *rng.pick(&[3, 20]);
        let count = rng.range(1, most) as i32;
        let with = arguments.with("qpid.max_count", count);
        match rng.pick(kinds) {
            Kind::Free => {
                let arguments = with.with("qpid.max_count", 0);
                let arguments = arguments.with("qpid.flow_stop_count", count);
                arguments.with("qpid.flow_resume_count", rng.range(0, count as usize) as i32)
            }
            Kind::Reject if rng.chance(50) => with.with("qpid.flow_stop_count", 0),
            Kind::Reject => with,
            Kind::Ring => with.with("qpid.policy_type", "ring"),
            Kind::SelfDestruct => with.with("qpid.policy_type", "self-destruct"),
        }
    }
}
