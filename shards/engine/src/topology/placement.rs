//! Which shard becomes a queue's home, or an exchange's.

use super::change::QueueDescriptor;
use crate::error::Error;
use crate::ids::{SessionId, ShardId};
use crate::request::DeclareQueue;
use fletch_amqp::types::Map;

/// The argument by which a client chooses.
const SHARD: &str = "fletch.shard";

/// The home of a queue that `session` declares: its own shard if the queue will hardly be used from
/// elsewhere, else the one asked for, else one by the name.
///
/// # Errors
/// `InvalidArgument` if `fletch.shard` names no shard.
pub(super) fn home_for(
    shards: u16,
    session: SessionId,
    declare: &DeclareQueue,
) -> Result<ShardId, Error> {
    let asked = asked_for(shards, &declare.arguments)?;
    if declare.exclusive || declare.auto_delete {
        return Ok(session.shard());
    }
    Ok(asked.unwrap_or_else(|| match declare.near {
        true => session.shard(),
        false => by_name(shards, &declare.name),
    }))
}

/// The home of a queue that exists, in a broker of another number of shards than it was made in.
pub(crate) fn home_of(shards: u16, q: &QueueDescriptor) -> ShardId {
    match asked_for(shards, &q.arguments) {
        Ok(Some(shard)) => shard,
        // Its creator's shard, if there is such a one.
        _ if q.auto_delete && q.home.0 < shards => q.home,
        _ => by_name(shards, &q.name),
    }
}

/// The shard where an exchange keeps what it keeps of its messages.
pub(crate) fn home_of_exchange(shards: u16, name: &str) -> ShardId {
    by_name(shards, name)
}

fn by_name(shards: u16, name: &str) -> ShardId {
    ShardId((fnv1a(name.as_bytes()) % u64::from(shards)) as u16)
}

fn asked_for(shards: u16, arguments: &Map) -> Result<Option<ShardId>, Error> {
    if arguments.get(SHARD).is_none() {
        return Ok(None);
    }
    let shard = arguments.get_int(SHARD).and_then(|n| u16::try_from(n).ok());
    match shard.filter(|shard| *shard < shards) {
        Some(shard) => Ok(Some(ShardId(shard))),
        None => {
            let last = shards - 1;
            Err(Error::invalid(format!("{SHARD} must be a number from 0 to {last}")))
        }
    }
}

/// FNV-1a, 64 bits. Written out here because it must never change: with another hash, queues would
/// move at an upgrade.
fn fnv1a(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn who_chooses_the_home() {
        let session = SessionId::new(ShardId(2), 7);
        let plain = DeclareQueue { name: "foobar".into(), ..DeclareQueue::default() };
        assert_eq!(home_for(4, session, &plain), Ok(ShardId(0)));
        let exclusive = DeclareQueue { exclusive: true, ..plain.clone() };
        assert_eq!(home_for(4, session, &exclusive), Ok(ShardId(2)));
        let auto = DeclareQueue { auto_delete: true, ..plain.clone() };
        assert_eq!(home_for(4, session, &auto), Ok(ShardId(2)));
        let near = DeclareQueue { near: true, ..plain.clone() };
        assert_eq!(home_for(4, session, &near), Ok(ShardId(2)));
        let asking = |value: fletch_amqp::Value| DeclareQueue {
            arguments: Map::new().with(SHARD, value),
            ..plain.clone()
        };
        assert_eq!(home_for(4, session, &asking(fletch_amqp::Value::Int32(3))), Ok(ShardId(3)));
        let text = fletch_amqp::Value::Str16("1".into());
        assert_eq!(home_for(4, session, &asking(text)), Ok(ShardId(1)));
        let near = DeclareQueue { near: true, ..asking(fletch_amqp::Value::Int32(3)) };
        assert_eq!(home_for(4, session, &near), Ok(ShardId(3)));
        for wrong in [
            fletch_amqp::Value::Int32(4),
            fletch_amqp::Value::Int32(-1),
            fletch_amqp::Value::Str16("one".into()),
            fletch_amqp::Value::Void,
        ] {
            let error = home_for(4, session, &asking(wrong)).unwrap_err();
            assert_eq!(error.kind, crate::error::ErrorKind::InvalidArgument);
        }
    }
}
