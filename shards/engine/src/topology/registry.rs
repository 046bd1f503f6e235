//! The registry of names: each is held by one session in the broker, or by what has a number like a session's and nothing
//! else, such as a link of 1.0.
//!
//! A session that takes a held name by force waits until the holder has closed. So does one without
//! force until the holder's shard has said whether it is closing already: a client that was told of
//! the end of a session may use its name at once. One may wait; a later one by force takes its
//! place, so nothing here grows with the number of attempts.

use super::names::FixedMap;
use crate::ids::SessionId;
use crate::request::OpId;
use std::collections::hash_map::Entry;
use std::sync::Arc;

type Asker = (SessionId, OpId);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Registry {
    names: FixedMap<Arc<str>, Holder>,
    /// The name a session holds or waits for.
    sessions: FixedMap<SessionId, Arc<str>>,
}

#[derive(Debug)]
struct Holder {
    session: SessionId,
    next: Option<Asker>,
    /// `next` takes the name by force.
    forced: bool,
}

/// What became of an attach.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attached {
    /// The session has the name.
    Granted,
    /// Somebody else has.
    Busy,
    /// The session will have the name when its holder has closed.
    Waiting {
        /// The holder, if it has not been told yet, and whether it has to close.
        tell: Option<(SessionId, bool)>,
        /// Who waited before and now waits in vain.
        displaced: Option<Asker>,
    },
}

impl Registry {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.sessions.is_empty()
    }

    /// `asker` wants `name`. A session asks for one name once.
    pub(super) fn attach(&mut self, asker: Asker, name: Arc<str>, force: bool) -> Attached {
        match self.names.entry(Arc::clone(&name)) {
            Entry::Vacant(entry) => {
                entry.insert(Holder { session: asker.0, next: None, forced: false });
                self.sessions.insert(asker.0, name);
                Attached::Granted
            }
            Entry::Occupied(entry) if !force && entry.get().next.is_some() => Attached::Busy,
            Entry::Occupied(mut entry) => {
                let holder = entry.get_mut();
                let displaced = holder.next.replace(asker);
                let told = displaced.is_some() && holder.forced;
                holder.forced = force;
                let tell = (!told).then_some((holder.session, force));
                if let Some((session, _)) = displaced {
                    self.sessions.remove(&session);
                }
                self.sessions.insert(asker.0, name);
                Attached::Waiting { tell, displaced }
            }
        }
    }

    /// A session that is about to close waits no longer for a name: its attach, if it did.
    pub(super) fn give_up(&mut self, session: SessionId) -> Option<Asker> {
        let holder = self.names.get_mut(self.sessions.get(&session)?)?;
        let asker = holder.next.take_if(|(next, _)| *next == session)?;
        self.sessions.remove(&session);
        Some(asker)
    }

    /// A session that was asked is not closing. Who waited for that, without force.
    pub(super) fn keep(&mut self, session: SessionId) -> Option<Asker> {
        let holder = self.names.get_mut(self.sessions.get(&session)?)?;
        if holder.session != session || holder.forced {
            return None;
        }
        let asker = holder.next.take()?;
        self.sessions.remove(&asker.0);
        Some(asker)
    }

    /// A session has closed. Who has its name now, if somebody waited.
    pub(super) fn release(&mut self, session: SessionId) -> Option<Asker> {
        let name = self.sessions.remove(&session)?;
        let holder = self.names.get_mut(&name)?;
        match holder.next.take() {
            Some(next) => {
                (holder.session, holder.forced) = (next.0, false);
                Some(next)
            }
            None => {
                self.names.remove(&name);
                None
            }
        }
    }
}
