//! What the unit tests of this module build on.

use crate::ids::{SessionId, ShardId, SubscriptionId, Time};
use crate::message::{Format, Message, Meta};

pub(super) fn message(size: usize) -> Message {
    message_until(size, Time::NEVER)
}

pub(super) fn message_until(size: usize, expires: Time) -> Message {
    let meta = Meta {
        format: Format::V0_10,
        header_len: 0,
        routing_key: (0, 0),
        expires,
        priority: 4,
        durable: false,
        has_body: true,
        publisher: None,
    };
    Message::new(meta, &vec![0; size])
}

pub(super) fn subscription_id(tag: u32) -> SubscriptionId {
    SubscriptionId { session: SessionId::new(ShardId(1), 7), tag }
}
