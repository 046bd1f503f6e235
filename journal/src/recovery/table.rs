//! What to do at the first place without a batch that belongs there: the rules of recovery, as data.

/// What stands at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Zeros, or a batch of the file's former life. Nothing was written here.
    Blank,
    /// Anything else: a batch that was cut short or damaged, or the middle of a former life's.
    Other,
    /// A whole batch, of which one before says that it cannot be: it does not chain, or stands
    /// beyond the end of a log that was closed.
    Stray,
    /// A file is not there, here or further on, although a later one is. Files are made in order.
    Missing,
}

/// What batches stand at later places, whole or with a header at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// None.
    None,
    /// Some, all of them written before anything at the place was durable.
    Unvouching,
    /// One was written when what stood at the place was durable.
    Vouching,
}

/// What the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clean {
    /// The log was in use.
    Running,
    /// It was closed, and ends at the place.
    Here,
    /// It was closed, and ends elsewhere or with another batch.
    Elsewhere,
}

/// The facts that a decision rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) at: At,
    pub(super) later: Later,
    pub(super) clean: Clean,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The log ends here, and nothing need be done.
    End,
    /// The log ends here; what follows was never acknowledged and has to be wiped first.
    Cut,
    /// What was acknowledged is damaged or gone.
    Corrupt,
}

struct Row {
    at: &'static [At],
    later: &'static [Later],
    clean: &'static [Clean],
    decision: Decision,
}

impl Row {
    fn holds(&self, facts: Facts) -> bool {
        self.at.contains(&facts.at)
            && self.later.contains(&facts.later)
            && self.clean.contains(&facts.clean)
    }
}

const ANY_LATER: &[Later] = &[Later::None, Later::Unvouching, Later::Vouching];
const ANY_CLEAN: &[Clean] = &[Clean::Running, Clean::Here, Clean::Elsewhere];
const PLAIN: &[At] = &[At::Blank, At::Other];

/// Exactly one row holds for any facts.
#[rustfmt::skip]
const TABLE: [Row; 8] = [
    // No crash removes a file, or makes a batch that does not chain.
    Row { at: &[At::Missing, At::Stray], later: ANY_LATER, clean: ANY_CLEAN, decision: Decision::Corrupt },
    // A log that was closed ends where it said, and nothing follows. What stands there instead is a
    // recycled file's former life.
    Row { at: PLAIN, later: ANY_LATER, clean: &[Clean::Elsewhere], decision: Decision::Corrupt },
    Row { at: PLAIN, later: &[Later::None], clean: &[Clean::Here], decision: Decision::End },
    Row { at: PLAIN, later: &[Later::Unvouching, Later::Vouching], clean: &[Clean::Here], decision: Decision::Corrupt },
    // Nothing was written after the last batch.
    Row { at: &[At::Blank], later: &[Later::None], clean: &[Clean::Running], decision: Decision::End },
    // The last write was cut short.
    Row { at: &[At::Other], later: &[Later::None], clean: &[Clean::Running], decision: Decision::Cut },
    // Of several writes under way at once a later one got further. None was acknowledged.
    Row { at: PLAIN, later: &[Later::Unvouching], clean: &[Clean::Running], decision: Decision::Cut },
    // This one was durable once.
    Row { at: PLAIN, later: &[Later::Vouching], clean: &[Clean::Running], decision: Decision::Corrupt },
];

/// What to do, given these facts.
pub(super) fn decide(facts: Facts) -> Decision {
    let row = TABLE.iter().find(|row| row.holds(facts));
    // The test below shows that there is one; if not, nothing may be cut.
    row.map_or(Decision::Corrupt, |row| row.decision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_facts_match_exactly_one_row() {
        for at in [At::Blank, At::Other, At::Stray, At::Missing] {
            for later in ANY_LATER.iter().copied() {
                for clean in ANY_CLEAN.iter().copied() {
                    let facts = Facts { at, later, clean };
                    let rows = TABLE.iter().filter(|row| row.holds(facts)).count();
                    assert_eq!(rows, 1, "{facts:?}");
                    // What must hold of every row there may ever be.
                    let decision = decide(facts);
                    let vouched = later == Later::Vouching || clean == Clean::Elsewhere;
                    if vouched || matches!(at, At::Stray | At::Missing) {
                        assert_eq!(decision, Decision::Corrupt, "{facts:?}");
                    }
                    if clean == Clean::Here && later != Later::None {
                        assert_eq!(decision, Decision::Corrupt, "{facts:?}");
                    }
                    if decision == Decision::End {
                        assert_eq!(later, Later::None, "{facts:?}: left to come alive again");
                    }
                }
            }
        }
    }
}
