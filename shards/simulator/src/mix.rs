//! What a seed does how often: each draws its own mix, so that rare combinations happen somewhere.

use crate::rng::Rng;

/// What a client may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Publish,
    Subscribe,
    Grant,
    Complete,
    Room,
    Accept,
    Release,
    Reject,
    Acquire,
    Stop,
    Flush,
    Cancel,
    DeclareQueue,
    DeleteQueue,
    Purge,
    Redirect,
    QueryQueue,
    DeclareExchange,
    DeleteExchange,
    Bind,
    Unbind,
    Bound,
    /// The next step with a queue no other session declares, binds or deletes.
    Private,
    Close,
    /// The connection is lost.
    Lose,
}

/// Every act with the weight it usually has.
const ACTS: [(Act, u32); 25] = [
    (Act::Publish, 30),
    (Act::Subscribe, 8),
    (Act::Grant, 12),
    (Act::Complete, 10),
    (Act::Room, 5),
    (Act::Accept, 15),
    (Act::Release, 6),
    (Act::Reject, 3),
    (Act::Acquire, 4),
    (Act::Stop, 2),
    (Act::Flush, 3),
    (Act::Cancel, 2),
    (Act::DeclareQueue, 8),
    (Act::DeleteQueue, 2),
    (Act::Purge, 1),
    (Act::QueryQueue, 1),
    (Act::DeclareExchange, 2),
    (Act::DeleteExchange, 1),
    (Act::Bind, 6),
    (Act::Unbind, 2),
    (Act::Bound, 1),
    (Act::Private, 4),
    (Act::Close, 1),
    (Act::Lose, 1),
    (Act::Redirect, 2),
];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    pub(crate) shards: u16,
    /// Clients at a time.
    pub(crate) clients: usize,
    /// Steps before the end begins.
    pub(crate) steps: u64,
    weights: Vec<u32>,
    /// Names of queues and exchanges that everybody uses.
    pub(crate) queues: usize,
    pub(crate) exchanges: usize,
    pub(crate) keys: usize,
    /// Messages published at a time.
    pub(crate) burst: usize,
    /// Usual and rare body size in bytes.
    pub(crate) size: usize,
    pub(crate) large_percent: u32,
    pub(crate) ttl_percent: u32,
    /// Nanoseconds a time step brings at most.
    pub(crate) time: usize,
    pub(crate) infinite_percent: u32,
    pub(crate) grant: usize,
    pub(crate) byte_credit_percent: u32,
    pub(crate) browse_percent: u32,
    pub(crate) no_accept_percent: u32,
    pub(crate) exclusive_percent: u32,
    pub(crate) auto_delete_percent: u32,
    pub(crate) alternate_percent: u32,
    pub(crate) conditional_percent: u32,
    pub(crate) force_percent: u32,
    /// Of the messages, those that are not due when they are published.
    pub(crate) scheduled_percent: u32,
    /// Of the queues, those with limits or flow control.
    pub(crate) limited_percent: u32,
    /// An error ends the session, as in 0-10.
    pub(crate) strict: bool,
    /// Frames delivered in one step at most.
    pub(crate) batch: usize,
    pub(crate) lag_percent: u32,
    /// Weights of: a channel moves, a client acts, a turn ends, time passes, channels change pace.
    pub(crate) steps_of: [u32; 5],
}

impl Mix {
    pub(crate) fn draw(seed: u64, rng: &mut Rng, steps: Option<u64>) -> Mix {
        let mut mix = Mix::draw_usual(rng, steps);
        // Of its own, so that other seeds stay what they were.
        if seed % 6 == 1 {
            mix.scheduled_percent = *Rng::new(!seed).pick(&[10, 40, 90]);
            mix.time = 1_000_000;
        }
        mix
    }

    fn draw_usual(rng: &mut Rng, steps: Option<u64>) -> Mix {
        let weights = ACTS
            .iter()
            .map(|(_, usual)| match rng.below(5) {
                0 => 0,
                1 => usual * 4,
                n => usual * n as u32 / 2,
            })
            .collect();
        let mut often = |choices: &[u32]| *rng.pick(choices);
        Mix {
            infinite_percent: often(&[0, 10, 50, 100]),
            byte_credit_percent: often(&[0, 0, 30]),
            browse_percent: often(&[0, 20, 50]),
            no_accept_percent: often(&[0, 20, 60]),
            exclusive_percent: often(&[0, 10, 40]),
            auto_delete_percent: often(&[0, 20, 60]),
            alternate_percent: often(&[0, 50, 90]),
            conditional_percent: often(&[0, 30, 80]),
            force_percent: often(&[0, 50, 100]),
            scheduled_percent: 0,
            limited_percent: often(&[0, 0, 40, 90]),
            ttl_percent: often(&[0, 0, 20, 60]),
            large_percent: often(&[0, 0, 0, 5]),
            lag_percent: often(&[0, 20, 60]),
            steps_of: [
                often(&[10, 40, 100]),
                often(&[20, 40]),
                often(&[1, 10]),
                often(&[1, 5]),
                often(&[0, 1]),
            ],
            strict: often(&[0, 1]) == 1,
            shards: rng.range(1, 5) as u16,
            clients: rng.range(1, 8),
            steps: steps.unwrap_or_else(|| *rng.pick(&[300, 1000, 3000, 6000])),
            weights,
            queues: rng.range(1, 6),
            exchanges: rng.range(1, 4),
            keys: rng.range(1, 5),
            burst: *rng.pick(&[1, 3, 10, 60]),
            size: rng.range(0, 40),
            time: *rng.pick(&[10, 1000, 100_000]),
            grant: *rng.pick(&[1, 3, 20]),
            batch: *rng.pick(&[1, 2, 10, 100]),
        }
    }

    pub(crate) fn act(&self, rng: &mut Rng) -> Option<Act> {
        rng.weighted(&self.weights).map(|at| ACTS[at].0)
    }
}
