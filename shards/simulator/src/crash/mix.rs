//! What a crash seed is made of: its broker, its clients, its disk, and how often what goes wrong.

use crate::rng::Rng;
use std::time::Duration;

/// What a client may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Publish,
    /// Publishes and accepts at once.
    Commit,
    Subscribe,
    Grant,
    Accept,
    Release,
    Reject,
    Cancel,
    DeclareQueue,
    DeleteQueue,
    Purge,
    Reroute,
    DeclareExchange,
    DeleteExchange,
    Bind,
    Unbind,
    Close,
}

/// Every act with the weight it usually has.
const ACTS: [(Act, u32); 17] = [
    (Act::Publish, 40),
    (Act::Subscribe, 8),
    (Act::Grant, 10),
    (Act::Accept, 20),
    (Act::Release, 4),
    (Act::Reject, 5),
    (Act::Cancel, 2),
    (Act::DeclareQueue, 8),
    (Act::DeleteQueue, 3),
    (Act::Purge, 2),
    (Act::DeclareExchange, 3),
    (Act::DeleteExchange, 2),
    (Act::Bind, 6),
    (Act::Unbind, 3),
    (Act::Close, 2),
    (Act::Reroute, 2),
    // The last: of some seeds only, see `Mix::draw`.
    (Act::Commit, 0),
];

/// What the world does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Frames arrive.
    Deliver,
    Act,
    TurnEnd,
    /// A shard starts what its journal wants.
    Poll,
    /// Something that a disk does is done.
    Complete,
    PassTime,
    /// Channels change their pace.
    Shuffle,
}

const STEPS: [Step; 7] = [
    Step::Deliver,
    Step::Act,
    Step::TurnEnd,
    Step::Poll,
    Step::Complete,
    Step::PassTime,
    Step::Shuffle,
];

/// What makes the draw of a seed's transactions one of its own.
const TRANSACTIONS: u64 = 0x7472_616e_7361_6374;

/// Sizes of segments; the smallest has room for two batches.
const SEGMENTS: [u64; 4] = [8192, 8192, 16384, 65536];

/// The sizes to choose from. On a full disk the cleaner would find no end with the smallest, which it
/// half fills each time.
fn sizes(tight: bool) -> &'static [u64] {
    if tight { &SEGMENTS[2..] } else { &SEGMENTS }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Mix {
    pub(super) shards: u16,
    pub(super) steps: u64,
    pub(super) clients: usize,
    acts: Vec<u32>,
    steps_of: [u32; 7],
    // The broker.
    pub(super) segment: u64,
    pub(super) depth: usize,
    pub(super) slice: usize,
    /// Bytes of a shard's messages that stay in memory.
    pub(super) memory: u64,
    /// The others may go to a paging file, whose disk has so much room.
    pub(super) paging: Option<u64>,
    pub(super) purge_interval: Duration,
    /// How long writes wait for company.
    pub(super) flush_timeout: Duration,
    // Clients.
    pub(super) queues: usize,
    pub(super) exchanges: usize,
    pub(super) keys: usize,
    pub(super) burst: usize,
    pub(super) size: usize,
    pub(super) large_percent: u32,
    pub(super) ttl_percent: u32,
    pub(super) durable_percent: u32,
    pub(super) persistent_percent: u32,
    pub(super) no_accept_percent: u32,
    pub(super) browse_percent: u32,
    pub(super) exclusive_percent: u32,
    pub(super) auto_delete_percent: u32,
    pub(super) alternate_percent: u32,
    pub(super) fanout_percent: u32,
    /// Of the transactions, those that are branches of distributed ones.
    pub(super) branch_percent: u32,
    /// Of the publishes, those of a message that was published before.
    pub(super) repeat_percent: u32,
    /// Of the messages, those that are not due when they are published.
    pub(super) scheduled_percent: u32,
    /// Of the queues, those with limits or flow control.
    pub(super) limited_percent: u32,
    /// Of the queues, those with another order than that of arrival.
    pub(super) ordered_percent: u32,
    /// Nanoseconds that a step of time brings at most.
    pub(super) time: usize,
    pub(super) batch: usize,
    pub(super) lag_percent: u32,
    // What goes wrong.
    /// A crash comes once in so many steps.
    pub(super) crash_every: usize,
    /// A write fails once in so many that are done; zero: never.
    pub(super) error_every: usize,
    /// A clean stop comes once in so many steps; zero: never.
    pub(super) stop_every: usize,
    /// Of the starts, those which a crash ends early.
    pub(super) bad_start_percent: u32,
    /// Of the starts, those with another number of shards.
    pub(super) rehome_percent: u32,
    /// Disks run full now and then.
    pub(super) tight: bool,
    /// Disks lie: what was reported done is lost, bits flip.
    pub(super) lies: bool,
}

impl Mix {
    pub(super) fn draw(seed: u64, rng: &mut Rng, steps: Option<u64>) -> Mix {
        // Of its own, so that other seeds stay what they were.
        let paging = (seed % 5 == 2).then(|| *Rng::new(!seed).pick(&[u64::MAX, u64::MAX, 200_000]));
        let limited = (seed % 4 == 1).then(|| *Rng::new(!seed).pick(&[40, 90]));
        let ordered = matches!(seed % 11, 3 | 4).then(|| *Rng::new(!seed).pick(&[50, 90]));
        // What comes later than it was published has no place in their orders.
        let repeats = seed % 7 == 3 && ordered.is_none();
        let repeats = repeats.then(|| *Rng::new(!seed).pick(&[10, 30, 60]));
        // Nor has what comes in another order than it was published.
        let scheduled = seed % 9 == 5 && ordered.is_none();
        let scheduled = scheduled.then(|| *Rng::new(!seed).pick(&[10, 40, 90]));
        let mut acts: Vec<u32> = ACTS[..ACTS.len() - 1]
            .iter()
            .map(|(_, usual)| match rng.below(5) {
                0 => usual / 4,
                1 => usual * 3,
                n => usual * n as u32 / 2,
            })
            .collect();
        if seed % 2 == 1 {
            acts.push(*Rng::new(seed ^ TRANSACTIONS).pick(&[10, 60, 200]));
        }
        let mut often = |choices: &[u32]| *rng.pick(choices);
        let [large_percent, ttl_percent, no_accept_percent] =
            [often(&[0, 0, 3, 20]), often(&[0, 0, 0, 20]), often(&[0, 20, 60])];
        let [durable_percent, persistent_percent, exclusive_percent] =
            [often(&[50, 80, 100]), often(&[50, 90, 100]), often(&[0, 0, 10])];
        let [auto_delete_percent, alternate_percent, fanout_percent] =
            [often(&[0, 0, 30]), often(&[0, 50, 90]), often(&[20, 50, 90])];
        let browse_percent = often(&[0, 0, 20]);
        let [lag_percent, bad_start_percent, rehome_percent] =
            [often(&[0, 20, 60]), often(&[0, 20, 60]), often(&[0, 0, 10, 50])];
        let steps_of = [
            often(&[10, 30, 60]),
            often(&[10, 20]),
            often(&[5, 15]),
            often(&[5, 15]),
            often(&[2, 5, 15, 40]),
            often(&[1, 5]),
            often(&[0, 1]),
        ];
        let slice = often(&[1, 3, 1000]) as usize;
        let tight = rng.chance(20);
        let mut mix = Mix {
            shards: *rng.pick(&[1, 2, 2, 3, 4]),
            steps: steps.unwrap_or_else(|| *rng.pick(&[300, 600, 1200, 2500])),
            clients: rng.range(1, 4),
            acts,
            steps_of,
            segment: *rng.pick(sizes(tight)),
            depth: rng.range(1, 3),
            slice,
            memory: *rng.pick(&[u64::MAX, u64::MAX, 0, 3000]),
            paging,
            purge_interval: Duration::from_nanos(*rng.pick(&[0, 1000, 1_000_000])),
            flush_timeout: Duration::from_nanos(*rng.pick(&[0, 0, 0, 50, 100_000])),
            queues: rng.range(1, 5),
            exchanges: rng.range(1, 3),
            keys: rng.range(1, 3),
            burst: *rng.pick(&[1, 3, 10]),
            size: *rng.pick(&[0, 40, 400, 3000]),
            large_percent,
            ttl_percent,
            durable_percent,
            persistent_percent,
            no_accept_percent,
            browse_percent,
            exclusive_percent,
            auto_delete_percent,
            alternate_percent,
            fanout_percent,
            branch_percent: if seed % 6 == 5 { 60 } else { 0 },
            repeat_percent: repeats.unwrap_or(0),
            scheduled_percent: scheduled.unwrap_or(0),
            limited_percent: limited.unwrap_or(0),
            ordered_percent: ordered.unwrap_or(0),
            time: *rng.pick(&[100, 100_000, 30_000_000]),
            batch: *rng.pick(&[1, 3, 20]),
            lag_percent,
            crash_every: *rng.pick(&[40, 100, 200, 500]),
            error_every: *rng.pick(&[0, 0, 30, 100]),
            stop_every: *rng.pick(&[0, 0, 200, 600]),
            bad_start_percent,
            rehome_percent,
            tight,
            lies: rng.chance(12),
        };
        if mix.scheduled_percent > 0 {
            mix.time = 3_000_000;
        }
        if mix.repeat_percent > 0 {
            // What is deleted while it is published to sends each of two on, and a full disk refuses one of them.
            (mix.alternate_percent, mix.tight) = (0, false);
        }
        if mix.paging.is_some() {
            // Backlogs, now and then consumed whole.
            mix.memory = *rng.pick(&[0, 0, 3000, 20_000]);
            mix.burst = *rng.pick(&[30, 100]);
            mix.queues = *rng.pick(&[1, 2, 5]);
            mix.durable_percent = *rng.pick(&[0, 50, 100]);
            mix.persistent_percent = *rng.pick(&[0, 50, 100]);
            mix.crash_every *= *rng.pick(&[1, 10]);
            mix.steps = mix.steps.min(600);
            // So many messages would use up what a tiny log keeps for a full disk, and no move of them to other
            // shards would come to an end between crashes.
            (mix.tight, mix.bad_start_percent) = (false, 0);
        }
        mix
    }

    /// What may be another at each start.
    pub(super) fn set_up_again(&mut self, rng: &mut Rng) {
        if rng.chance(15) {
            self.segment = *rng.pick(sizes(self.tight));
            self.depth = rng.range(1, 3);
        }
    }

    pub(super) fn act(&self, rng: &mut Rng) -> Act {
        rng.weighted(&self.acts).map_or(Act::Publish, |at| ACTS[at].0)
    }

    pub(super) fn step(&self, rng: &mut Rng) -> Step {
        rng.weighted(&self.steps_of).map_or(Step::Deliver, |at| STEPS[at])
    }
}
