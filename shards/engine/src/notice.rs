//! What management is to be told about queues: the engine says it, whoever drives it publishes it.

use crate::ids::Position;
use crate::message::Message;
use std::sync::Arc;

/// A message has come to a queue that generates events (`qpid.queue_event_generation`), or has left it.
#[derive(Clone, Debug)]
pub struct QueueEvent {
    /// The queue's name.
    pub queue: Arc<str>,
    /// Where the message is in the queue, or was.
    pub position: Position,
    /// The message, if it has come.
    pub enqueued: Option<Message>,
}

/// Something that has happened to a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The queue's name.
    pub queue: Arc<str>,
    /// What has happened.
    pub what: What,
    /// Messages in the queue then, acquired ones included.
    pub count: u64,
    /// Bytes of those.
    pub size: u64,
}

/// The kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The queue has grown to an alert threshold.
    ThresholdCrossedUpward,
    /// It has shrunk to the lower threshold.
    ThresholdCrossedDownward,
    /// It has grown to an alert threshold, or is still above it: for those who know only this event.
    ThresholdExceeded,
    /// Publishers are held from now on.
    FlowStopped,
    /// They go on.
    FlowResumed,
    /// The queue has no thresholds to which its settings of flow control could apply.
    FlowIgnored,
    /// It is deleted because it was too full.
    SelfDestructed,
}
