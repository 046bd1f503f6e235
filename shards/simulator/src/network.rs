//! The channels between shards: each ordered pair has its own, first in first out, nothing is ever
//! lost. Which channel moves next is the seed's choice; some lag for a while.

use crate::rng::Rng;
use fletch_engine::{Frame, ShardId};
use std::collections::VecDeque;

struct Channel {
    from: ShardId,
    to: ShardId,
    frames: VecDeque<Frame>,
    /// How readily the scheduler takes it; zero: not at all until the weights are drawn anew.
    weight: u32,
}

/// See the module.
pub(crate) struct Network {
    shards: u16,
    channels: Vec<Channel>,
}

impl Network {
    pub(crate) fn new(shards: u16) -> Network {
        let pair = |n: u16| (ShardId(n / shards), ShardId(n % shards));
        let channels = (0..shards * shards)
            .map(pair)
            .map(|(from, to)| Channel { from, to, frames: VecDeque::new(), weight: 1 })
            .collect();
        Network { shards, channels }
    }

    pub(crate) fn send(&mut self, from: ShardId, to: ShardId, frame: Frame) {
        assert!(from != to, "shard {from} sends a frame to itself: {frame:?}");
        let at = from.index() * usize::from(self.shards) + to.index();
        self.channels[at].frames.push_back(frame);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.iter().all(|c| c.frames.is_empty())
    }

    /// Draws anew how readily each channel moves.
    pub(crate) fn shuffle(&mut self, rng: &mut Rng, lag_percent: u32) {
        for channel in &mut self.channels {
            channel.weight = if rng.chance(lag_percent) { 0 } else { rng.range(1, 20) as u32 };
        }
    }

    /// The channel that moves next; with `all`, lagging ones may too.
    pub(crate) fn choose(&self, rng: &mut Rng, all: bool) -> Option<(ShardId, ShardId)> {
        let weight = |c: &Channel| match c.frames.is_empty() {
            true => 0,
            false if all => c.weight.max(1),
            false => c.weight,
        };
        let weights: Vec<u32> = self.channels.iter().map(weight).collect();
        let at = rng.weighted(&weights)?;
        Some((self.channels[at].from, self.channels[at].to))
    }

    /// The oldest frame on a channel.
    pub(crate) fn take(&mut self, from: ShardId, to: ShardId) -> Option<Frame> {
        let at = from.index() * usize::from(self.shards) + to.index();
        self.channels[at].frames.pop_front()
    }
}

/// For the trace: what a frame is, and two numbers that say whose.
pub(crate) fn label(frame: &Frame) -> (&'static str, u64, u64) {
    use fletch_engine::{QueueCommand as Q, TxFrame as Tx};
    let number = fletch_engine::SessionId::raw;
    match frame {
        Frame::Publish { queues, .. } => ("publish", queues[0].0, queues.len() as u64),
        Frame::Route { slot, moves, .. } => {
            ("route", slot.map_or(0, u64::from), moves.map_or(0, |queue| queue.0))
        }
        Frame::Receipts(slots) => ("receipts", slots.len() as u64, 0),
        Frame::Refused { slot, .. } => ("refused", u64::from(*slot), 0),
        Frame::Decided { number, commit } => ("decided", *number, u64::from(*commit)),
        Frame::Noted(numbers) => ("noted", numbers.len() as u64, 0),
        Frame::Transact(tx) => match **tx {
            Tx::Prepare { number, alone, .. } => ("prepare", number, u64::from(alone)),
            Tx::Prepared { number, ref refused, .. } => {
                ("prepared", number, u64::from(refused.is_none()))
            }
            Tx::End { number, commit } => ("end", number, u64::from(commit)),
            Tx::Release { number, .. } => ("release", number, 0),
            Tx::Ended { number } => ("ended", number, 0),
            Tx::Route { asker: (session, op), .. } => ("ask route", number(session), op),
            Tx::Routed { asker: (session, op), .. } => ("routed", number(session), op),
        },
        Frame::Queue(q) => {
            let what = match q.command {
                Q::Subscribe { .. } => "subscribe",
                Q::Cancel { .. } => "cancel",
                Q::Flush { .. } => "flush",
                Q::Stop { .. } => "stop",
                Q::Take { .. } => "take",
                Q::Query { .. } => "query",
                Q::Acquire { .. } => "acquire",
                Q::Settle { .. } => "settle",
                Q::Annotate { .. } => "annotate",
                Q::Delete { .. } => "delete",
                Q::Grant { .. } => "grant",
                Q::Mode { .. } => "mode",
                Q::Moved { .. } => "moved",
                Q::Room { .. } => "room",
            };
            (what, number(q.session), q.queue.0)
        }
        Frame::Deliver { to, delivery, .. } => ("deliver", number(to.session), delivery.position),
        Frame::SubscriptionEnded { to, .. } => ("subscription ended", number(to.session), 0),
        Frame::Reply { session, op, .. } => ("reply", number(*session), *op),
        Frame::Part { session, op, .. } => ("part", number(*session), *op),
        Frame::Topology { session, op, .. } => ("topology", number(*session), *op),
        Frame::Attach { session, op, .. } => ("attach", number(*session), *op),
        Frame::Close { session, op } => ("close", number(*session), *op),
        Frame::Cede { session, op, .. } => ("cede", number(*session), *op),
        Frame::Evict { session, force } => ("evict", number(*session), u64::from(*force)),
        Frame::Keep { session } => ("keep", number(*session), 0),
        Frame::Apply { epoch, .. } => ("apply", epoch.0, 0),
        Frame::Applied { epoch } => ("applied", epoch.0, 0),
        Frame::AskDelete { queue, .. } => ("ask delete", queue.0, 0),
        Frame::AskUnused { queue, .. } => ("ask unused", queue.0, 0),
        Frame::Vote { queue, result } => ("vote", queue.0, u64::from(result.is_ok())),
        Frame::Touched { queue } => ("touched", queue.0, 0),
        Frame::Unused { queue, .. } => ("unused", queue.0, 0),
        Frame::Held { slot } => ("held", u64::from(*slot), 0),
        Frame::Resumed(slots) => ("resumed", slots.len() as u64, 0),
        Frame::Dtx { session, op, .. } => ("dtx", number(*session), *op),
        Frame::BranchExpired { session, .. } => ("branch expired", number(*session), 0),
        Frame::SelfDestruct { queue } => ("self-destruct", queue.0, 0),
    }
}
