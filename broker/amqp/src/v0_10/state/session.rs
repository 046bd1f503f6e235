//! One session's books: which commands came, which are complete, who has been told what.
//!
//! ```text
//!              attach received          attach_ok
//!   (server)  ───────────────► Offered ───────────► Attached
//!              attach sent              attached       │ detach sent: by us, or behind an exception
//!   (client)  ───────────────► Attaching ─────────►    ▼
//!                                                   Detaching ──► gone, on detached or detach
//! ```
//!
//! Pure bookkeeping on command ids: it reads no frame and writes none. Everything is O(ranges),
//! never O(ids), and in the common case, in which commands complete in order, every set is one
//! range.

use crate::serial::{CommandId, SequenceSet};
use crate::v0_10::assembly::Assembly;

use super::fault::Fault;

/// How far back of the newest id a set may reach. Serial numbers compare within 2^31; a peer that
/// never says what it knows to be complete must not bring a long-lived session to that edge, so
/// older ids are forgotten.
const HORIZON: u32 = 1 << 30;

/// Commands of ours that a peer may leave scattered gaps among: half that many ranges of eight
/// octets.
const MAX_OUTSTANDING_RANGES: usize = 16 << 10;

/// After this many completions the peer is asked to say what it knows, so that the set sent each
/// time stays short.
const ASK_AFTER: u32 = 4096;

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// The peer wants to attach; the driver has not answered.
    Offered,
    /// We want to attach; the peer has not answered.
    Attaching,
    /// In use.
    Attached,
    /// We sent `detach`: only `detach` and `detached` are looked at.
    Detaching,
}

/// What a received command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receipt {
    New(CommandId),
    /// Sent again after a command-point in the past.
    Duplicate,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) name: Box<[u8]>,
    pub(super) life: Life,
    /// The attach has been answered: what comes on the channel is of this session.
    pub(super) answered: bool,
    /// The peer has set its command-point.
    pub(super) ready: bool,
    /// On the connection's list of sessions with something to write.
    pub(super) listed: bool,
    /// Its end has been reported.
    pub(super) ended: bool,
    /// `completed` must be written even if nothing is new.
    pub(super) report: bool,
    /// Something is newly complete.
    news: bool,
    /// Any command went either way.
    stateful: bool,

    /// The id of the next command to come.
    expected: CommandId,
    /// One past the highest id that came; more than `expected` during a replay.
    received: CommandId,
    /// Came, and not complete.
    incomplete: SequenceSet,
    /// `execution.sync` commands that wait for earlier commands.
    syncs: SequenceSet,
    /// Complete, and the peer has not said that it knows.
    unknown: SequenceSet,
    /// Completed since the peer was last asked for `known-completed`.
    since_asked: u32,
    /// Transfers to accept at the next flush.
    pub(super) accepted: SequenceSet,
    pub(super) assembly: Assembly,

    /// The id of the next command to go.
    next: CommandId,
    /// Sent, and the peer has not completed them.
    outstanding: SequenceSet,
}

impl Session {
    pub(super) fn new(name: &[u8], life: Life) -> Session {
        Session {
            name: name.into(),
            life,
            answered: false,
            ready: false,
            listed: false,
            ended: false,
            report: false,
            news: false,
            stateful: false,
            expected: CommandId::default(),
            received: CommandId::default(),
            incomplete: SequenceSet::new(),
            syncs: SequenceSet::new(),
            unknown: SequenceSet::new(),
            since_asked: 0,
            accepted: SequenceSet::new(),
            assembly: Assembly::default(),
            next: CommandId::default(),
            outstanding: SequenceSet::new(),
        }
    }

    /// Commands may be sent on it.
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        matches!(self.life, Life::Attached | Life::Attaching)
    }

    /// `detach` is being sent: nothing of what was going on matters any more.
    pub(super) fn stop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let stopped = Session::new(&[], Life::Detaching);
        *self = Session { name, listed: self.listed, answered: self.answered, ..stopped };
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        let sets =
            [&self.incomplete, &self.syncs, &self.unknown, &self.accepted, &self.outstanding];
        let ranges: usize = sets.map(|set| set.ranges().len()).iter().sum();
        size_of::<Session>() + self.name.len() + self.assembly.capacity() + 8 * ranges
    }

    // ---- what the peer sends ----

    /// `session.command-point`: the id of the next command.
    pub(super) fn command_point(&mut self, id: CommandId, offset: u64) -> Result<(), Fault> {
        if offset != 0 {
            return Err(Fault::not_implemented("command-point inside a command"));
        }
        if self.stateful && id.is_after(self.received) {
            return Err(Fault::invalid_argument(format!(
                "command-point {id} is beyond the next command {}",
                self.received
            )));
        }
        if !self.assembly.is_idle() {
            return Err(Fault::illegal_state("command-point in the middle of a command"));
        }
        self.expected = id;
        if !self.stateful || id.is_after(self.received) {
            self.received = id;
        }
        self.ready = true;
        Ok(())
    }

    /// A whole command has come.
    #[inline]
    pub(super) fn receive(&mut self) -> Receipt {
        let id = self.expected;
        self.stateful = true;
        self.expected = id.next();
        if !self.expected.is_after(self.received) {
            return Receipt::Duplicate;
        }
        self.received = self.expected;
        Receipt::New(id)
    }

    /// The id of the command that is coming or comes next.
    pub(super) fn current(&self) -> CommandId {
        self.expected
    }

    /// A new command is for the driver to complete.
    #[inline]
    pub(super) fn pend(&mut self, id: CommandId) {
        self.incomplete.add(id);
    }

    /// A new command is `execution.sync`: it completes when all before it have.
    pub(super) fn pend_sync(&mut self, id: CommandId) {
        self.syncs.add(id);
        self.release_syncs();
    }

    /// `session.gap`: the peer will not send these commands.
    pub(super) fn gap(&mut self, commands: &SequenceSet) -> Result<(), Fault> {
        for range in commands.ranges() {
            if range.low.is_after(self.expected) {
                return Err(Fault::invalid_argument(format!(
                    "gap from {} is beyond the next command {}",
                    range.low, self.expected
                )));
            }
            if range.high.is_before(self.expected) {
                continue;
            }
            self.assembly.reset();
            self.stateful = true;
            self.done(self.expected, range.high);
            self.expected = range.high.next();
            if self.expected.is_after(self.received) {
                self.received = self.expected;
            }
        }
        Ok(())
    }

    /// `session.known-completed`: what the peer knows need not be told again.
    pub(super) fn known_completed(&mut self, commands: &SequenceSet) -> Result<(), Fault> {
        if commands.last().is_some_and(|last| last.is_after(self.received)) {
            return Err(Fault::invalid_argument("known-completed names commands that never came"));
        }
        take_common(&mut self.unknown, commands, None);
        Ok(())
    }

    /// `session.completed`: puts into `newly` what was outstanding until now.
    pub(super) fn peer_completed(
        &mut self,
        commands: &SequenceSet,
        newly: &mut SequenceSet,
    ) -> Result<(), Fault> {
        newly.clear();
        self.check_sent(commands, "completed")?;
        take_common(&mut self.outstanding, commands, Some(newly));
        if self.outstanding.ranges().len() > MAX_OUTSTANDING_RANGES {
            return Err(Fault::resource_limit("too many gaps among the commands completed"));
        }
        Ok(())
    }

    /// A set of ids of ours in a control named `what`.
    pub(super) fn check_sent(&self, commands: &SequenceSet, what: &str) -> Result<(), Fault> {
        match commands.last() {
            Some(last) if !last.is_before(self.next) => Err(Fault::invalid_argument(format!(
                "{what} names command {last}, and {} is the next",
                self.next
            ))),
            _ => Ok(()),
        }
    }

    /// The same for a control that may also name the next command, which has not been sent.
    pub(super) fn check_sent_or_next(
        &self,
        commands: &SequenceSet,
        what: &str,
    ) -> Result<(), Fault> {
        if commands.last() == Some(self.next) { Ok(()) } else { self.check_sent(commands, what) }
    }

    // ---- what the driver does ----

    /// A received command is complete. Out of order is fine; twice, or never received, is nothing.
    #[inline]
    pub(super) fn complete(&mut self, id: CommandId) {
        if !self.incomplete.contains(id) {
            return;
        }
        self.incomplete.remove(id);
        self.done(id, id);
        if !self.syncs.is_empty() {
            self.release_syncs();
        }
    }

    /// Records commands as complete that never were in `incomplete`.
    pub(super) fn done(&mut self, low: CommandId, high: CommandId) {
        self.unknown.add_range(low, high);
        self.since_asked = self.since_asked.saturating_add(high.distance(low).unsigned_abs() + 1);
        self.news = true;
        forget_before_horizon(&mut self.unknown);
    }

    fn release_syncs(&mut self) {
        let Some(first) = self.syncs.first() else { return };
        let end = match self.incomplete.first() {
            None => self.received,
            Some(low) => low,
        };
        let ready = SequenceSet::range(first, end.sub(1));
        let mut released = SequenceSet::new();
        take_common(&mut self.syncs, &ready, Some(&mut released));
        for range in released.ranges() {
            self.done(range.low, range.high);
        }
    }

    /// A command of ours is about to go: its id.
    #[inline]
    pub(super) fn sending(&mut self) -> CommandId {
        let id = self.next;
        self.stateful = true;
        self.next = id.next();
        self.outstanding.add(id);
        if id.0 & 0xf_ffff == 0 {
            forget_before_horizon(&mut self.outstanding);
        }
        id
    }

    /// The id of our next command.
    pub(super) fn next_id(&self) -> CommandId {
        self.next
    }

    /// For `session.expected`: the next command, if any came before.
    pub(super) fn expected_set(&self) -> SequenceSet {
        if self.stateful {
            SequenceSet::range(self.expected, self.expected)
        } else {
            SequenceSet::new()
        }
    }

    /// For `session.confirmed`: all that came since the oldest id the peer may not know of.
    pub(super) fn confirmed_set(&self) -> SequenceSet {
        match self.unknown.first() {
            Some(first) => SequenceSet::range(first, self.received.sub(1)),
            None => SequenceSet::new(),
        }
    }

    /// Whether the flush must write anything.
    #[inline]
    pub(super) fn has_report(&self) -> bool {
        self.news || self.report || !self.accepted.is_empty()
    }

    /// Takes note that `completed` is being written. Returns the set, and whether to ask for a
    /// timely reply; `None` when nothing is new and nobody asked.
    pub(super) fn take_report(&mut self) -> Option<(&SequenceSet, bool)> {
        if !self.news && !self.report {
            return None;
        }
        let timely = self.since_asked >= ASK_AFTER || self.unknown.ranges().len() > 64;
        if timely {
            self.since_asked = 0;
        }
        (self.news, self.report) = (false, false);
        Some((&self.unknown, timely))
    }

    #[cfg(test)]
    pub(super) fn start_at(&mut self, received: CommandId, sent: CommandId) {
        (self.expected, self.received, self.next) = (received, received, sent);
        self.ready = true;
    }
}

fn forget_before_horizon(set: &mut SequenceSet) {
    if let (Some(first), Some(last)) = (set.first(), set.last())
        && last.0.wrapping_sub(first.0) > HORIZON
    {
        set.remove_range(first, last.sub(HORIZON));
    }
}

/// Removes from `set` what is also in `other`, and adds it to `common`. One pass over both, so that
/// a set with thousands of ranges does not cost their product.
fn take_common(set: &mut SequenceSet, other: &SequenceSet, mut common: Option<&mut SequenceSet>) {
    if let (&[mine], &[theirs]) = (set.ranges(), other.ranges()) {
        // In order, as nearly always: the front of one range.
        let low = if theirs.low.is_after(mine.low) { theirs.low } else { mine.low };
        let high = if theirs.high.is_before(mine.high) { theirs.high } else { mine.high };
        if low.is_at_most(high) {
            set.remove_range(low, high);
            if let Some(common) = common {
                common.add_range(low, high);
            }
        }
        return;
    }
    let mut kept = SequenceSet::new();
    let mut others = other.ranges().iter().peekable();
    for range in set.ranges() {
        let mut from = Some(range.low);
        while let (Some(low), Some(cut)) = (from, others.peek()) {
            if cut.high.is_before(low) {
                others.next();
                continue;
            }
            if cut.low.is_after(range.high) {
                break;
            }
            if cut.low.is_after(low) {
                kept.add_range(low, cut.low.sub(1));
            }
            let start = if cut.low.is_after(low) { cut.low } else { low };
            let end = if cut.high.is_before(range.high) { cut.high } else { range.high };
            if let Some(common) = common.as_deref_mut() {
                common.add_range(start, end);
            }
            from = (end != range.high).then(|| end.next());
        }
        if let Some(low) = from {
            kept.add_range(low, range.high);
        }
    }
    *set = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(ids: impl IntoIterator<Item = u32>) -> SequenceSet {
        ids.into_iter().map(CommandId).collect()
    }

    fn attached() -> Session {
        let mut session = Session::new(b"s", Life::Attached);
        session.command_point(CommandId(0), 0).unwrap();
        session
    }

    #[test]
    fn ids_wrap_on_both_sides() {
        let mut session = attached();
        let edge = CommandId(u32::MAX - 1);
        session.start_at(edge, edge);
        for n in 0..4 {
            assert_eq!(session.receive(), Receipt::New(edge.add(n)));
            session.pend(edge.add(n));
            assert_eq!(session.sending(), edge.add(n));
        }
        for n in [3, 0, 1, 2] {
            session.complete(edge.add(n));
        }
        let (completed, _) = session.take_report().unwrap();
        assert_eq!(*completed, SequenceSet::range(edge, CommandId(1)));
        assert!(session.take_report().is_none());
        let mut newly = SequenceSet::new();
        session.peer_completed(&SequenceSet::range(edge, CommandId(0)), &mut newly).unwrap();
        assert_eq!(newly, SequenceSet::range(edge, CommandId(0)));
        // Cumulative, as peers send it: only what is new counts.
        session.peer_completed(&SequenceSet::range(edge, CommandId(1)), &mut newly).unwrap();
        assert_eq!(newly, SequenceSet::range(CommandId(1), CommandId(1)));
        assert!(session.peer_completed(&set([2]), &mut newly).is_err());
        // A replay across the edge.
        session.command_point(edge.next(), 0).unwrap();
        assert_eq!(session.receive(), Receipt::Duplicate);
        assert_eq!(session.receive(), Receipt::Duplicate);
        assert_eq!(session.receive(), Receipt::Duplicate);
        assert_eq!(session.receive(), Receipt::New(CommandId(2)));
    }

    #[test]
    fn a_first_command_point_may_be_anywhere() {
        for id in [0, 1, 5, 0x7fff_ffff, 0x8000_0000, 0x9000_0000, u32::MAX] {
            let mut session = Session::new(b"s", Life::Attached);
            session.command_point(CommandId(id), 0).unwrap();
            assert_eq!(session.receive(), Receipt::New(CommandId(id)), "{id:#x}");
        }
    }

    #[test]
    fn a_peer_that_never_says_what_it_knows() {
        let mut session = attached();
        // Four times round, with an id of each step looked at.
        for step in 0..64u32 {
            let from = CommandId(step.wrapping_mul(1 << 28));
            session.gap(&SequenceSet::range(from, from.add((1 << 28) - 1))).unwrap();
            let (completed, timely) = session.take_report().unwrap();
            assert!(timely);
            assert_eq!(completed.ranges().len(), 1);
            assert_eq!(completed.last(), Some(from.add((1 << 28) - 1)));
            assert!(completed.id_count() <= u64::from(HORIZON));
        }
    }

    #[test]
    fn syncs_complete_behind_what_they_wait_for() {
        let mut session = attached();
        for id in 0..3 {
            session.receive();
            session.pend(CommandId(id));
            session.receive();
            session.pend_sync(CommandId(id + 3));
        }
        assert!(session.take_report().is_none());
        session.complete(CommandId(1));
        assert_eq!(*session.take_report().unwrap().0, set([1]));
        session.complete(CommandId(0));
        assert_eq!(*session.take_report().unwrap().0, set([0, 1]));
        session.complete(CommandId(2));
        assert_eq!(*session.take_report().unwrap().0, set(0..6));
    }

    #[test]
    fn only_what_is_unknown_is_repeated() {
        let mut session = attached();
        for id in 0..6 {
            session.receive();
            session.pend(CommandId(id));
        }
        session.complete(CommandId(0));
        session.complete(CommandId(1));
        session.complete(CommandId(4));
        assert_eq!(*session.take_report().unwrap().0, set([0, 1, 4]));
        session.known_completed(&set([0, 1])).unwrap();
        session.complete(CommandId(2));
        assert_eq!(*session.take_report().unwrap().0, set([2, 4]));
        assert!(session.known_completed(&set([7])).is_err());
    }

    #[test]
    fn common_of_many_ranges_is_one_pass() {
        // The product of the two would be thousands of millions of steps.
        let mut mine = set((0..200_000).step_by(2));
        let theirs = set((0..200_000).step_by(4));
        let mut common = SequenceSet::new();
        take_common(&mut mine, &theirs, Some(&mut common));
        assert_eq!(common, theirs);
        assert_eq!(mine, set((2..200_000).step_by(4)));
    }

    proptest! {
        #[test]
        fn common_is_set_arithmetic(
            mine in prop::collection::btree_set(0u32..60, 0..40),
            theirs in prop::collection::btree_set(0u32..60, 0..40),
            base in any::<u32>(),
        ) {
            let at = |ids: &mut dyn Iterator<Item = u32>| -> SequenceSet {
                ids.map(|id| CommandId(base.wrapping_add(id))).collect()
            };
            let mut left = at(&mut mine.iter().copied());
            let mut common = SequenceSet::new();
            take_common(&mut left, &at(&mut theirs.iter().copied()), Some(&mut common));
            prop_assert_eq!(left, at(&mut mine.difference(&theirs).copied()));
            prop_assert_eq!(common, at(&mut mine.intersection(&theirs).copied()));
        }
    }
}
