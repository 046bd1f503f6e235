//! What a queue does not take, though it is routed there.

use super::marks::came_by;
use super::settings::QueueSettings;
use super::window::Window;
use crate::ids::SessionId;
use crate::message::Message;
use crate::selector::{MessageEnvironment, Selector};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// `no-local`: nothing that is published on the connection of the session that has the queue for
    /// itself, or consumes from it alone.
    no_local: bool,
    /// `qpid.trace.exclude`: nothing that came by one of these.
    excluded: Vec<String>,
    /// `qpid.filter`: nothing that this does not select.
    filter: Option<Selector>,
    /// `fletch.dedup_window`: nothing that has these ids.
    pub(super) window: Option<Window>,
}

impl Intake {
    /// That of most queues is none: they take everything.
    pub(super) fn of(settings: &QueueSettings) -> Option<Box<Intake>> {
        let intake = Intake {
            no_local: settings.no_local,
            excluded: settings.trace_exclude.clone(),
            // Checked when it was declared.
            filter: settings.filter.as_deref().and_then(|text| Selector::parse(text).ok()),
            window: None,
        };
        let some = intake.no_local || !intake.excluded.is_empty() || intake.filter.is_some();
        some.then(|| Box::new(intake))
    }

    /// Whether the message comes in; `users`: the sessions that have the queue for themselves.
    pub(super) fn takes(&self, message: &Message, users: [Option<SessionId>; 2]) -> bool {
        let local = |to: SessionId| message.meta().publisher.is_some_and(|p| p.is_local_to(to));
        if self.no_local && users.into_iter().flatten().any(local) {
            return false;
        }
        if !self.excluded.is_empty() && came_by(message, &self.excluded) {
            return false;
        }
        let selects = |filter: &Selector| filter.matches(&MessageEnvironment::new(message, false));
        self.filter.as_ref().is_none_or(selects)
    }
}
