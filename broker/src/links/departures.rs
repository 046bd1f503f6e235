//! Links that are being left with their session, or before it: what is not settled on them goes to
//! [`super::Links`] when it is known.

use super::estate::{Estate, Fate, Tag};
use super::lasts::{Ended, Lasts};
use crate::shard::Ctx;
use fletch_engine::{OpId, SessionId};

/// A delivery that a client sent and has not settled.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The publish.
    pub(crate) op: OpId,
    pub(crate) tag: Tag,
    /// None before it is known.
    pub(crate) fate: Option<Fate>,
}

/// A link that the client has left while the outcome of some of what it sent is not known.
#[derive(Debug)]
struct Waiting {
    link: SessionId,
    lasts: Lasts,
    sent: Vec<Sent>,
    unknown: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    ready: Vec<(SessionId, Estate, Lasts)>,
    waiting: Vec<Waiting>,
}

impl Departures {
    /// A link that leaves this.
    pub(crate) fn add(&mut self, link: SessionId, estate: Estate, lasts: Lasts) {
        self.ready.push((link, estate, lasts));
    }

    /// A link on which the client sent these.
    pub(crate) fn add_sent(&mut self, link: SessionId, sent: Vec<Sent>, lasts: Lasts) {
        let unknown = sent.iter().filter(|sent| sent.fate.is_none()).count();
        let waiting = Waiting { link, lasts, sent, unknown };
        match unknown {
            0 => self.ready.push(waiting.estate()),
            _ => self.waiting.push(waiting),
        }
    }

    /// The outcome of a publish. False if it is none of a link here.
    pub(crate) fn outcome(&mut self, op: OpId, fate: &Fate) -> bool {
        let found = self.waiting.iter_mut().enumerate().find_map(|(at, waiting)| {
            let sent = waiting.sent.iter_mut().find(|sent| sent.op == op)?;
            if sent.fate.is_none() {
                sent.fate = Some(fate.clone());
                waiting.unknown -= 1;
            }
            Some((at, waiting.unknown))
        });
        if let Some((at, 0)) = found {
            let waiting = self.waiting.swap_remove(at);
            self.ready.push(waiting.estate());
        }
        found.is_some()
    }

    /// Links whose clients' deliveries are known leave. `ended` is what is over with them.
    pub(crate) fn leave(&mut self, ctx: &mut Ctx<'_>, ended: Ended) {
        for (link, estate, lasts) in self.ready.drain(..) {
            ctx.leave(link, estate, lasts, ended);
        }
    }

    /// Whether outcomes are waited for.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Waiting {
    fn estate(self) -> (SessionId, Estate, Lasts) {
        let known = self.sent.into_iter().filter_map(|sent| Some((sent.tag, sent.fate?)));
        (self.link, Estate::Outcomes(known.collect()), self.lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_engine::ShardId;

    #[test]
    fn a_link_waits_until_the_last_outcome_is_known() {
        let link = SessionId::new(ShardId(0), 1);
        let sent = |op, fate| Sent { op, tag: Tag::from_slice(&[op as u8]), fate };
        let mut departures = Departures::default();
        let all = vec![sent(1, None), sent(2, Some(Fate::Accepted)), sent(3, None)];
        departures.add_sent(link, all, Lasts::default());
        assert!(departures.is_waiting() && departures.ready.is_empty());
        assert!(!departures.outcome(4, &Fate::Accepted), "of another link");
        assert!(departures.outcome(3, &Fate::Accepted));
        // Held back by a queue that is full, and then complete: told twice.
        assert!(departures.outcome(3, &Fate::Accepted));
        assert!(departures.is_waiting());
        assert!(departures.outcome(1, &Fate::Other([9].into())));
        let known = [(1, Fate::Other([9].into())), (2, Fate::Accepted), (3, Fate::Accepted)];
        let known = known.map(|(op, fate)| (Tag::from_slice(&[op]), fate)).to_vec();
        assert!(!departures.is_waiting());
        assert_eq!(departures.ready, [(link, Estate::Outcomes(known), Lasts::default())]);
    }
}
