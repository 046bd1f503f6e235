//! How long a terminus outlives its link: expiry policy and time-out (part 3.5.4).

use fletch_amqp::v1_0::terminus_expiry_policy;
use fletch_amqp::v1_0::types::Symbol;
use fletch_engine::{SessionId, Time};
use std::time::Duration;

/// When the time-out begins to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Policy {
    LinkDetach,
    #[default]
    SessionEnd,
    ConnectionClose,
    Never,
}

impl Policy {
    pub(super) const ALL: [Policy; 4] =
        [Policy::LinkDetach, Policy::SessionEnd, Policy::ConnectionClose, Policy::Never];
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lasts {
    pub(super) policy: Policy,
    /// Seconds.
    pub(super) timeout: u32,
}

/// What is over, with the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The link alone; its session goes on.
    Link(SessionId),
    Session,
    Connection,
}

/// How long a link is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Until {
    Time(Time),
    /// The end of this session begins its time-out.
    Session(SessionId),
    /// The end of the connection does, which is named by its session 0.
    Connection(SessionId),
    Attached,
}

impl Lasts {
    /// What a terminus says of itself. A policy that is none of the specification's is the default one.
    pub(crate) fn of(policy: Symbol<'_>, timeout: u32) -> Lasts {
        let policy = match policy {
            terminus_expiry_policy::LINK_DETACH => Policy::LinkDetach,
            terminus_expiry_policy::CONNECTION_CLOSE => Policy::ConnectionClose,
            terminus_expiry_policy::NEVER => Policy::Never,
            _ => Policy::SessionEnd,
        };
        Lasts { policy, timeout }
    }

    /// How long `link` is kept from now on; none if its terminus is over.
    pub(super) fn until(self, now: Time, link: SessionId, ended: Ended) -> Option<Until> {
        match (self.policy, ended) {
            (Policy::Never, _) => Some(Until::Attached),
            (Policy::SessionEnd, Ended::Link(session)) => Some(Until::Session(session)),
            (Policy::ConnectionClose, Ended::Link(_) | Ended::Session) => {
                Some(Until::Connection(link.of_same_connection(0)))
            }
            _ => self.from(now),
        }
    }

    /// The time-out begins.
    pub(super) fn from(self, now: Time) -> Option<Until> {
        let timeout = Duration::from_secs(self.timeout.into());
        (!timeout.is_zero()).then(|| Until::Time(now.after(timeout)))
    }

    /// Whether anything is kept of a link when this is over.
    pub(crate) fn outlives(self, ended: Ended) -> bool {
        let timed = self.timeout > 0;
        timed
            || match (self.policy, ended) {
                (Policy::Never, _) => true,
                (Policy::SessionEnd, ended) => matches!(ended, Ended::Link(_)),
                (Policy::ConnectionClose, ended) => ended != Ended::Connection,
                (Policy::LinkDetach, _) => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_engine::ShardId;

    #[test]
    fn a_terminus_outlives_what_its_policy_says_by_its_timeout() {
        let session = SessionId::new(ShardId(1), 7).of_same_connection(3);
        let link = session.of_same_connection(4);
        let connection = Until::Connection(session.of_same_connection(0));
        let (now, later) = (Time(5), Until::Time(Time(5).after(Duration::from_secs(2))));
        let ends = [Ended::Link(session), Ended::Session, Ended::Connection];
        for (policy, timeout, expected) in [
            (Policy::LinkDetach, 0, [None; 3]),
            (Policy::LinkDetach, 2, [Some(later); 3]),
            (Policy::SessionEnd, 0, [Some(Until::Session(session)), None, None]),
            (Policy::SessionEnd, 2, [Some(Until::Session(session)), Some(later), Some(later)]),
            (Policy::ConnectionClose, 0, [Some(connection), Some(connection), None]),
            (Policy::ConnectionClose, 2, [Some(connection), Some(connection), Some(later)]),
            (Policy::Never, 0, [Some(Until::Attached); 3]),
        ] {
            let lasts = Lasts { policy, timeout };
            for (ended, expected) in ends.into_iter().zip(expected) {
                assert_eq!(lasts.until(now, link, ended), expected, "{lasts:?} {ended:?}");
                assert_eq!(lasts.outlives(ended), expected.is_some(), "{lasts:?} {ended:?}");
            }
        }
    }
}
