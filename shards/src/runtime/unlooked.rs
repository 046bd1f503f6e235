//! What the event loop has not looked at yet.
//!
//! It takes what tasks want of the kernel, and runs what the kernel or anybody else has woken, only when it looks at its
//! rings. Where the pump sleeps instead of it, all that has to be done before.

use super::shard::RING_DEPTH;

/// Tasks of which one look takes all that they have for the kernel: each has a few entries at most.
const TASKS: usize = RING_DEPTH / 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Unlooked {
    /// Tasks that were woken or have run since, each as often as that.
    tasks: usize,
    /// As many of them as there were when a look was asked for, if one was.
    asked: Option<usize>,
    /// Something came in the rings.
    pub(super) rings: bool,
}

impl Unlooked {
    /// At the start, when all tasks run.
    pub(super) fn new() -> Unlooked {
        Unlooked { tasks: 1, asked: None, rings: false }
    }

    /// A task was woken, or ran.
    pub(super) fn stir(&mut self) {
        self.tasks += 1;
    }

    /// A look was asked for that is still to come.
    pub(super) fn ask(&mut self) {
        self.asked = Some(self.tasks);
        self.rings = false;
    }

    /// The look that was asked for is over.
    pub(super) fn looked(&mut self) {
        self.tasks -= self.asked.take().unwrap_or(0).min(TASKS);
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stirs_after_a_look_was_asked_for_needs_another() {
        let mut unlooked = Unlooked::new();
        assert!(!unlooked.is_empty());
        unlooked.ask();
        unlooked.stir();
        unlooked.looked();
        assert!(!unlooked.is_empty());
        unlooked.ask();
        unlooked.looked();
        assert!(unlooked.is_empty());
        // One that the event loop had for itself.
        unlooked.looked();
        assert!(unlooked.is_empty());
    }

    #[test]
    fn a_look_takes_what_there_is_room_for() {
        let mut unlooked = Unlooked::new();
        (1..TASKS + 2).for_each(|_| unlooked.stir());
        unlooked.ask();
        unlooked.looked();
        assert!(!unlooked.is_empty());
        unlooked.ask();
        unlooked.looked();
        assert!(unlooked.is_empty());
    }
}
