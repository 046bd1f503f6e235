//! The sessions of a connection by channel.

use super::session::Session;

/// Sorted by channel. A connection has few sessions and mostly talks about one of them, so the last
/// one found is looked at first; each is boxed, which keeps an idle connection small.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    entries: Vec<(u16, Box<Session>)>,
    last: usize,
}

impl Sessions {
    #[inline]
    pub(super) fn get(&mut self, channel: u16) -> Option<&mut Session> {
        if self.entries.get(self.last).is_none_or(|(c, _)| *c != channel) {
            self.last = self.entries.binary_search_by_key(&channel, |(c, _)| *c).ok()?;
        }
        Some(&mut *self.entries[self.last].1)
    }

    pub(super) fn peek(&self, channel: u16) -> Option<&Session> {
        let at = self.entries.binary_search_by_key(&channel, |(c, _)| *c).ok()?;
        Some(&self.entries[at].1)
    }

    pub(super) fn insert(&mut self, channel: u16, session: Session) {
        match self.entries.binary_search_by_key(&channel, |(c, _)| *c) {
            Ok(at) => *self.entries[at].1 = session,
            Err(at) => {
                if self.entries.is_empty() {
                    // One session is the rule; `Vec` would make room for four.
                    self.entries.reserve_exact(1);
                }
                self.entries.insert(at, (channel, Box::new(session)));
            }
        }
    }

    pub(super) fn remove(&mut self, channel: u16) -> Option<Box<Session>> {
        let at = self.entries.binary_search_by_key(&channel, |(c, _)| *c).ok()?;
        Some(self.entries.remove(at).1)
    }

    pub(super) fn clear(&mut self) {
        self.entries = Vec::new();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The lowest channel from 1 to `max` that is free. Channel 0 carries the connection's own
    /// controls; a session may use it, but no client of our field does.
    pub(super) fn free_channel(&self, max: u16) -> Option<u16> {
        let mut free = 1;
        for (channel, _) in &self.entries {
            if *channel == free {
                free = free.checked_add(1)?;
            } else if *channel > free {
                break;
            }
        }
        (free <= max).then_some(free)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Session)> {
        self.entries.iter().map(|(channel, session)| (*channel, &**session))
    }
}
