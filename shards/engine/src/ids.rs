//! The small names everything else is built from: shards, time, sessions, queues, subscriptions.
//!
//! All are plain integers in newtypes: copyable, `Send`, ordered, meaningful on every shard.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// A shard: one core, one thread, one engine. Numbered from 0; shard 0 orders the topology.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that orders topology changes.
    pub const ORDERER: ShardId = ShardId(0);

    /// As an index into per-shard tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Monotonic time: nanoseconds since an origin that is the same for all shards of a process, and for
/// all runs of a broker that goes on from its journals: the UNIX epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// No deadline: later than every time.
    pub const NEVER: Time = Time(u64::MAX);

    /// The time `d` later; saturates at [`Time::NEVER`].
    pub fn after(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// As a duration since the origin, the form the protocol crates take.
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

/// A session (or any other party that asks the engine for things): its shard in the top 10 bits,
/// its connection in the next 30, its number there in the low 24. So every shard can address it,
/// and knows whether two sessions share a connection. Not reused while anything can refer to it.
///
/// One more than these bits is kept, so that an id that may be missing takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(NonZeroU64);

const SESSION_BITS: u32 = 24;
const CONNECTION_BITS: u32 = 30;

impl SessionId {
    /// Shards that ids have room for.
    pub const SHARDS_MAX: u16 = 1 << (u64::BITS - SESSION_BITS - CONNECTION_BITS);

    /// The first session of the `n`-th connection of `shard`; `n` is taken modulo 2^30.
    pub fn new(shard: ShardId, n: u64) -> SessionId {
        let shard = u64::from(shard.0 % SessionId::SHARDS_MAX);
        let connection = n & ((1 << CONNECTION_BITS) - 1);
        SessionId::from_bits((shard << CONNECTION_BITS | connection) << SESSION_BITS)
    }

    /// All of it, for storing.
    pub(crate) fn bits(self) -> u64 {
        self.raw()
    }

    /// What [`SessionId::bits`] gave. The last two numbers are one: no session has either.
    pub(crate) const fn from_bits(bits: u64) -> SessionId {
        SessionId(NonZeroU64::MIN.saturating_add(bits))
    }

    /// The `n`-th session, modulo 2^24, of the same connection.
    pub fn of_same_connection(self, n: u32) -> SessionId {
        let mask = (1 << SESSION_BITS) - 1;
        SessionId::from_bits(self.raw() & !mask | u64::from(n) & mask)
    }

    /// The shard its connection lives on.
    pub fn shard(self) -> ShardId {
        ShardId((self.raw() >> (SESSION_BITS + CONNECTION_BITS)) as u16)
    }

    /// All of it as a number.
    pub fn raw(self) -> u64 {
        self.0.get() - 1
    }

    /// Whether both are sessions of one connection.
    pub fn is_local_to(self, other: SessionId) -> bool {
        self.raw() >> SESSION_BITS == other.raw() >> SESSION_BITS
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.raw() >> SESSION_BITS & ((1 << CONNECTION_BITS) - 1);
        let session = self.raw() & ((1 << SESSION_BITS) - 1);
        write!(f, "session-{}.{connection}.{session}", self.shard())
    }
}

/// A queue. Handed out by the orderer in order of creation, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u64);

/// A message's place in its queue: increases by one per enqueue, starting at 1, never reused.
pub type Position = u64;

/// A subscription, named by its session: `tag` is chosen by the session's front end and unique
/// within the session for as long as the engine knows the subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId {
    /// The subscribing session.
    pub session: SessionId,
    /// The session's own number for it.
    pub tag: u32,
}

impl SubscriptionId {
    /// Whoever has what is accepted in a branch that recovery found prepared.
    pub(crate) const NOBODY: SubscriptionId =
        SubscriptionId { session: SessionId::from_bits(u64::MAX), tag: u32::MAX };
}

/// A version of the topology: one more for every change the orderer makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after it.
    pub(crate) fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}
