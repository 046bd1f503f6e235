//! Messages that are not to be delivered before a time.
//!
//! A message says so itself: by `x-opt-delivery-time`, in milliseconds since 1970, or `x-opt-delivery-delay`, in
//! milliseconds from when it comes in. They are message annotations of 1.0 and application headers of 0-10. A delay is
//! made a time when the message comes in, so that a restart does not begin it anew.

use crate::ids::Time;
use crate::look::{Note, annotation, noted};
use crate::message::{Message, Meta};
use fletch_amqp::ValueRef;
use std::time::Duration;

const TIME: &str = "x-opt-delivery-time";
const DELAY: &str = "x-opt-delivery-delay";
/// What both begin with.
const PREFIX: &[u8] = b"x-opt-delivery-";

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// A message as it has just come in: marked as one that waits, if it says so.
pub fn scheduled(now: Time, message: Message) -> Message {
    // Most say nothing of the kind, and are not looked into.
    if !mentions(message.header()) {
        return message;
    }
    let message = match (said(&message, TIME), said(&message, DELAY)) {
        (None, Some(delay)) if delay > 0 => {
            let at = now.after(Duration::from_millis(delay.unsigned_abs()));
            // Not before its time: rounded up.
            let at = at.0.div_ceil(NANOSECONDS_PER_MILLISECOND);
            noted(&message, &[(TIME, Note::Int(i64::try_from(at).unwrap_or(i64::MAX)))])
        }
        _ => message,
    };
    if due(&message).is_none_or(|due| due <= now) {
        return message;
    }
    let flags = message.meta().flags.scheduled();
    Message::new(Meta { flags, ..message.meta().clone() }, message.content())
}

/// When a message may be delivered, if it says so.
pub(crate) fn due(message: &Message) -> Option<Time> {
    let at = u64::try_from(said(message, TIME)?).unwrap_or(0);
    Some(Time(at.saturating_mul(NANOSECONDS_PER_MILLISECOND)))
}

fn said(message: &Message, name: &str) -> Option<i64> {
    annotation(message, name).and_then(ValueRef::as_i64)
}

fn mentions(header: &[u8]) -> bool {
    let [first, ..] = PREFIX else { return false };
    let mut starts = header.iter().enumerate().filter(|(_, octet)| *octet == first);
    starts.any(|(at, _)| header[at..].starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Says, symbol, text};
    use fletch_amqp::v1_0::table::Properties;
    use fletch_amqp::v1_0::types::Value;

    const NOW: Time = Time(1_000_500_000);

    fn with(annotations: &[(&str, Value)]) -> Message {
        let annotations = annotations.iter().map(|(k, v)| (symbol(k), v.clone())).collect();
        let properties = Properties { subject: Some("key"), ..Properties::default() };
        scheduled(NOW, Says { annotations, properties, ..Says::default() }.message())
    }

    fn waits_until(annotations: &[(&str, Value)]) -> Option<u64> {
        let message = with(annotations);
        assert_eq!(message.routing_key(), b"key");
        let flagged = message.meta().flags.is_scheduled();
        let due = due(&message).map(|due| due.0 / NANOSECONDS_PER_MILLISECOND);
        assert!(!flagged || due.is_some());
        due.filter(|_| flagged)
    }

    #[test]
    fn a_message_says_when_it_is_due() {
        for at in [Value::Ulong(5_000), Value::Long(5_000), Value::Timestamp(5_000)] {
            assert_eq!(waits_until(&[(TIME, at)]), Some(5_000));
        }
        for delay in [Value::Ubyte(99), Value::Int(99), Value::Ulong(99)] {
            assert_eq!(waits_until(&[(DELAY, delay)]), Some(1_100));
        }
        let both = [(TIME, Value::Long(5_000)), (DELAY, Value::Long(1))];
        assert_eq!(waits_until(&both), Some(5_000), "the time says more");
    }

    #[test]
    fn one_that_is_due_does_not_wait() {
        for nothing in [
            vec![],
            vec![(TIME, Value::Long(900))],
            vec![(TIME, Value::Long(i64::MIN))],
            vec![(TIME, text("later"))],
            vec![(DELAY, Value::Long(0))],
            vec![(DELAY, Value::Long(-5))],
            vec![(DELAY, Value::Null)],
            vec![("x-opt-delivery-", Value::Long(i64::MAX))],
        ] {
            assert_eq!(waits_until(&nothing), None, "{nothing:?}");
        }
        assert!(waits_until(&[(TIME, Value::Long(i64::MAX))]).is_some());
        assert!(waits_until(&[(DELAY, Value::Long(i64::MAX))]).is_some());
    }
}
