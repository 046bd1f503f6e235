//! Headers routing: bindings ask for application headers, all of them or any.
//!
//! What a binding asks for is decoded once, when it is made; a message's headers are looked at
//! once per message, in place. See [`Wanted`] for which values are the same.

use super::change::Binding;
use super::routes::{Route, Routes};
use super::wanted::Wanted;
use crate::error::{Error, ErrorKind};
use crate::ids::QueueId;
use crate::look::{Present, properties};
use crate::message::Message;
use fletch_amqp::Map;
use std::sync::Arc;

/// The argument that says how to match.
const MATCH: &str = "x-match";
/// Arguments with this prefix direct the broker and match nothing.
const RESERVED: &str = "qpid.";

/// How many of a binding's headers a message must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    All,
    Any,
}

impl Mode {
    fn of(arguments: &Map) -> Option<Mode> {
        match arguments.get(MATCH)?.as_bytes()? {
            b"all" => Some(Mode::All),
            b"any" => Some(Mode::Any),
            _ => None,
        }
    }
}

/// Checks the arguments of a binding to a headers exchange.
pub(super) fn check_arguments(arguments: &Map) -> Result<(), Error> {
    match Mode::of(arguments) {
        Some(_) => Ok(()),
        None => Err(Error::new(
            ErrorKind::Internal,
            "Invalid or missing x-match value binding to headers exchange. \
             Must be a string [\"all\" or \"any\"]",
        )),
    }
}

/// Whether two bindings ask for the same.
pub(super) fn same_arguments(a: &Map, b: &Map) -> bool {
    a.len() == b.len() && a.iter().all(|(key, value)| b.get(key) == Some(value))
}

#[derive(Debug)]
struct Entry {
    route: Route,
    mode: Mode,
    wanted: Box<[(Box<str>, Wanted)]>,
    binding: Arc<Binding>,
}

impl Entry {
    fn matches(&self, present: &Present<'_>) -> bool {
        let mut wanted = self.wanted.iter();
        let mut has = |(name, wanted): &(Box<str>, Wanted)| {
            let header = present.iter().find(|(key, _)| *key == &**name);
            header.is_some_and(|(_, value)| wanted.matches(*value))
        };
        match self.mode {
            Mode::All => wanted.all(&mut has),
            Mode::Any => wanted.any(&mut has),
        }
    }
}

/// The bindings of a headers exchange.
#[derive(Debug, Default)]
pub(super) struct Headers {
    entries: Vec<Entry>,
}

impl Headers {
    /// The binding must not exist, and its arguments must have been checked.
    pub(super) fn bind(&mut self, binding: &Arc<Binding>, route: Route) {
        let mode = Mode::of(&binding.arguments).expect("binding has a valid x-match");
        let mut wanted: Vec<(Box<str>, Wanted)> = Vec::new();
        for (name, value) in binding.arguments.iter() {
            let repeated = wanted.iter().any(|(known, _)| &**known == name);
            if name != MATCH && !name.starts_with(RESERVED) && !repeated {
                wanted.push((name.into(), Wanted::of(value)));
            }
        }
        let binding = Arc::clone(binding);
        self.entries.push(Entry { route, mode, wanted: wanted.into(), binding });
    }

    /// The binding must exist.
    pub(super) fn unbind(&mut self, binding: &Arc<Binding>) {
        let at = self.entries.iter().position(|e| Arc::ptr_eq(&e.binding, binding));
        self.entries.swap_remove(at.expect("unbound binding is bound"));
    }

    pub(super) fn route(&self, message: &Message, out: &mut Routes) {
        if self.entries.is_empty() {
            return;
        }
        let present = properties(message);
        let start = out.list.len();
        let matching = self.entries.iter().filter(|e| e.matches(&present));
        out.list.extend(matching.map(|e| e.route));
        out.dedup_from(start);
    }

    /// Whether a binding exists that wants nothing but what `arguments` have, `queue`'s or
    /// anyone's.
    pub(super) fn has(&self, queue: Option<QueueId>, arguments: Option<&Map>) -> bool {
        self.entries.iter().any(|e| {
            queue.is_none_or(|queue| e.route.queue == queue)
                && arguments.is_none_or(|given| e.is_covered_by(given))
        })
    }

    /// Whether `queue` has a binding with this key.
    pub(super) fn has_key(&self, key: &str, queue: QueueId) -> bool {
        self.entries.iter().any(|e| e.route.queue == queue && *e.binding.key == *key)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.entries.iter().map(|e| e.route)
    }
}

impl Entry {
    fn is_covered_by(&self, given: &Map) -> bool {
        Mode::of(given) == Some(self.mode)
            && self.wanted.iter().all(|(name, wanted)| {
                given
                    .get(name)
                    .is_some_and(|value| *wanted == Wanted::Present || *wanted == Wanted::of(value))
            })
    }
}
