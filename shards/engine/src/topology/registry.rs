//! The registry of names: each is held by one session, or link, in the broker.
//!
//! One that takes a held name by force waits until the holder has closed. So does one without
//! force until the holder's shard has said whether it is closing already: a client that was told of
//! the end of a session may use its name at once. One may wait; a later one by force takes its
//! place, so nothing here grows with the number of attempts.
//!
//! Kept are 128 bits of each name, by two keyed hashes that share nothing: names of links are long, and many. That two
//! names fall together is less likely than that the machine errs, and nobody can choose them so.

use super::names::FixedMap;
use crate::ids::SessionId;
use crate::request::{Force, OpId};
use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use std::collections::hash_map::Entry;
use std::hash::Hasher;

type Asker = (SessionId, OpId);
type Name = [u64; 2];

/// See the module.
#[derive(Debug)]
pub(super) struct Registry {
    keys: [SharedSeed; 2],
    names: FixedMap<Name, Holder>,
    /// The name a session holds or waits for.
    sessions: FixedMap<SessionId, Name>,
}

#[derive(Debug)]
struct Holder {
    session: SessionId,
    next: Option<Box<Next>>,
}

/// Who waits for a name.
#[derive(Debug)]
struct Next {
    asker: Asker,
    /// It takes the name by force.
    forced: bool,
}

/// What became of an attach.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attached {
    /// The session has the name.
    Granted,
    /// Somebody else has.
    Busy,
    /// This one of its own connection has, and keeps it.
    Held(SessionId),
    /// The session will have the name when its holder has closed.
    Waiting {
        /// The holder, if it has not been told yet, and whether it has to close.
        tell: Option<(SessionId, bool)>,
        /// Who waited before and now waits in vain.
        displaced: Option<Asker>,
    },
}

impl Registry {
    /// `secret`: a random number that no peer knows.
    pub(super) fn new(secret: u64) -> Registry {
        let keys = [0, 32].map(|turn| SharedSeed::from_u64(secret.rotate_left(turn)));
        Registry { keys, names: FixedMap::default(), sessions: FixedMap::default() }
    }

    fn name(&self, text: &str) -> Name {
        [0, 1].map(|n| {
            let mut hasher = FoldHasher::with_seed(n as u64, &self.keys[n]);
            hasher.write(text.as_bytes());
            hasher.finish()
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.sessions.is_empty()
    }

    /// `asker` wants `name`. A session asks for one name at a time.
    pub(super) fn attach(&mut self, asker: Asker, name: &str, force: Force) -> Attached {
        let name = self.name(name);
        let forced = force != Force::No;
        match self.names.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(Holder { session: asker.0, next: None });
                self.sessions.insert(asker.0, name);
                Attached::Granted
            }
            Entry::Occupied(entry)
                if force == Force::Others && entry.get().session.is_local_to(asker.0) =>
            {
                Attached::Held(entry.get().session)
            }
            Entry::Occupied(entry) if !forced && entry.get().next.is_some() => Attached::Busy,
            Entry::Occupied(mut entry) => {
                let holder = entry.get_mut();
                let displaced = holder.next.replace(Box::new(Next { asker, forced }));
                let told = displaced.as_ref().is_some_and(|displaced| displaced.forced);
                let tell = (!told).then_some((holder.session, forced));
                let displaced = displaced.map(|displaced| displaced.asker);
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
        let next = holder.next.take_if(|next| next.asker.0 == session)?;
        self.sessions.remove(&session);
        Some(next.asker)
    }

    /// A session that was asked is not closing. Who waited for that, without force.
    pub(super) fn keep(&mut self, session: SessionId) -> Option<Asker> {
        let holder = self.names.get_mut(self.sessions.get(&session)?)?;
        if holder.session != session {
            return None;
        }
        let next = holder.next.take_if(|next| !next.forced)?;
        self.sessions.remove(&next.asker.0);
        Some(next.asker)
    }

    /// A session has closed. Who has its name now, if somebody waited.
    pub(super) fn release(&mut self, session: SessionId) -> Option<Asker> {
        let name = self.sessions.remove(&session)?;
        let holder = self.names.get_mut(&name)?;
        match holder.next.take() {
            Some(next) => {
                holder.session = next.asker.0;
                Some(next.asker)
            }
            None => {
                self.names.remove(&name);
                None
            }
        }
    }
}
