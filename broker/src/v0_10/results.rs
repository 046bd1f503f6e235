//! What the engine replies, as completions and result structs of 0-10 commands.

use fletch_amqp::serial::{CommandId, SequenceSet};
use fletch_amqp::types::{Array, EncodedMap, Map, Value};
use fletch_amqp::v0_10::table::{dtx, exchange, message, queue};
use fletch_amqp::v0_10::{Compound, Connection, SendError, XaStatus as WireStatus};
use fletch_amqp::wire::EncodeError;
use fletch_engine::{BranchId, Reply, XaStatus};

/// Completes a command, with its result if it has one.
pub(super) fn answer(
    amqp: &mut Connection,
    channel: u16,
    id: CommandId,
    reply: &Reply,
) -> Result<(), SendError> {
    match reply {
        Reply::Done
        | Reply::Left(_)
        | Reply::Held(_)
        | Reply::Purged(_)
        | Reply::Moved(_)
        | Reply::Acquired(_)
        | Reply::Routed(_) => {
            amqp.complete(channel, id);
            Ok(())
        }
        Reply::Xa(status) => {
            amqp.result(channel, id, &dtx::XaResult { status: Some(xa_status(*status)) })
        }
        Reply::Timeout(seconds) => {
            amqp.result(channel, id, &dtx::GetTimeoutResult { timeout: Some(*seconds) })
        }
        Reply::InDoubt(branches) => {
            let all = branches.iter().map(xid).collect::<Result<Vec<Value>, _>>()?;
            let all = Array::of(all).unwrap_or_default().encoded()?;
            amqp.result(channel, id, &dtx::RecoverResult { in_doubt: Some(all.view()) })
        }
        Reply::Queue(None) => amqp.result(channel, id, &queue::QueueQueryResult::default()),
        Reply::Queue(Some(q)) => {
            let arguments = encoded(&q.arguments);
            let result = queue::QueueQueryResult {
                queue: Some(&q.name),
                alternate_exchange: q.alternate.as_deref(),
                durable: q.durable,
                exclusive: q.exclusive,
                auto_delete: q.auto_delete,
                arguments: arguments.as_ref().map(EncodedMap::view),
                message_count: Some(u32::try_from(q.messages).unwrap_or(u32::MAX)),
                subscriber_count: Some(q.subscriptions),
            };
            amqp.result(channel, id, &result)
        }
        Reply::Exchange(None) => {
            let result = exchange::ExchangeQueryResult { not_found: true, ..Default::default() };
            amqp.result(channel, id, &result)
        }
        Reply::Exchange(Some(e)) => {
            let arguments = encoded(&e.arguments);
            let result = exchange::ExchangeQueryResult {
                r#type: Some(&e.kind),
                durable: e.durable,
                not_found: false,
                arguments: arguments.as_ref().map(EncodedMap::view),
            };
            amqp.result(channel, id, &result)
        }
        Reply::Bound(b) => {
            let result = exchange::ExchangeBoundResult {
                exchange_not_found: b.exchange_not_found,
                queue_not_found: b.queue_not_found,
                queue_not_matched: b.queue_not_matched,
                key_not_matched: b.key_not_matched,
                args_not_matched: b.args_not_matched,
            };
            amqp.result(channel, id, &result)
        }
    }
}

fn xa_status(status: XaStatus) -> WireStatus {
    match status {
        XaStatus::Ok => WireStatus::XA_OK,
        XaStatus::RolledBack => WireStatus::XA_RBROLLBACK,
        XaStatus::TimedOut => WireStatus::XA_RBTIMEOUT,
        XaStatus::HeuristicCommit => WireStatus::XA_HEURCOM,
        XaStatus::HeuristicRollback => WireStatus::XA_HEURRB,
    }
}

fn xid(branch: &BranchId) -> Result<Value, EncodeError> {
    let xid = dtx::Xid {
        format: Some(branch.format()),
        global_id: Some(branch.global()),
        branch_id: Some(branch.branch()),
    };
    let mut body = Vec::new();
    let xid = xid.to_struct32(&mut body)?;
    Ok(Value::Struct32([&xid.code.to_be_bytes(), xid.body].concat()))
}

/// The result of `message.acquire`.
pub(super) fn acquired(
    amqp: &mut Connection,
    channel: u16,
    id: CommandId,
    transfers: SequenceSet,
) -> Result<(), SendError> {
    amqp.result(channel, id, &message::Acquired { transfers: Some(transfers) })
}

/// What was decoded from the wire encodes again.
fn encoded(map: &Map) -> Option<EncodedMap> {
    map.encoded().ok()
}
