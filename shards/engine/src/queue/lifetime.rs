//! When a queue that is deleted by itself may be, as far as it knows.

use super::Queue;
use super::settings::Lifetime;

impl Queue {
    /// It is deleted by itself.
    pub fn set_lifetime(&mut self, lifetime: Lifetime) {
        self.lifetime = Some(lifetime);
    }

    /// Whether it may be deleted by itself now, if no session has it for itself.
    pub fn is_done_with(&self) -> bool {
        match self.lifetime {
            None | Some(Lifetime::Manual) => false,
            Some(Lifetime::Unused) => self.is_unused(),
            Some(Lifetime::UnusedAndEmpty) => self.is_unused() && self.entries.messages() == 0,
            Some(Lifetime::OnClose) => true,
        }
    }

    /// Whether it may be that because its last message has left.
    pub(crate) fn ends_empty(&self) -> bool {
        self.lifetime.is_some() && self.entries.messages() == 0 && self.is_done_with()
    }
}
