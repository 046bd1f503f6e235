//! Between AMQP 0-10 and AMQP 1.0: values and messages of one in terms of the other.
//!
//! Messages are converted as the reference broker does (its `docs/amqp-1.0.txt`):
//!
//! | 0-10 | 1.0 |
//! |---|---|
//! | message-id, a UUID | message-id, its text; in turn a UUID or the text of one, no other |
//! | correlation-id | correlation-id, as text if it is UTF-8; in turn UUIDs and numbers are text |
//! | user-id, content-type, content-encoding, priority, delivery-mode | user-id, content-type, content-encoding, priority, durable |
//! | reply-to, exchange and routing key | reply-to, `exchange/key` or what there is of it |
//! | exchange | to; in turn nothing |
//! | routing key if there is an exchange, else header `qpid.subject` | subject; in turn both, the routing key cut to 255 octets |
//! | expiration, seconds | absolute-expiry-time, milliseconds |
//! | application headers, nested ones too | application-properties |
//! | content of type `amqp/map`, `amqp/list` | amqp-value with a map or list |
//! | content of type `text/plain` | amqp-value with a string; in turn data, as any other content |
//! | content of type `amqp/list` | amqp-sequence, and amqp-value with anything else |
//! | app-id | application property `x-amqp-0-10.app-id` |
//! | headers `x-qpid.trace`, `qpid.msg_sequence` | message annotations of the same names; others are lost |
//!
//! Nothing fails: what the other protocol has no room for is left out, and content that is not what its
//! type says stays octets.

mod scalar;
mod to_0_10;
mod to_1_0;
mod values;

pub use scalar::scalar;
pub use to_0_10::{Delivery, Node, to_0_10, uuid_of_id};
pub use to_1_0::to_1_0;

/// What a broker notes on messages: headers of 0-10, annotations of 1.0.
const NOTES: [&str; 2] = ["x-qpid.trace", "qpid.msg_sequence"];
/// The application header of 0-10 with the subject of a message that was sent to a queue by its name.
const SUBJECT: &str = "qpid.subject";
/// The application property of 1.0 with an app-id.
const APP_ID: &str = "x-amqp-0-10.app-id";
/// Content that is a map of 0-10 with its size.
const MAP: &str = "amqp/map";
/// Content that is a list of 0-10 with its size.
const LIST: &str = "amqp/list";
/// Content that is text.
const TEXT: &str = "text/plain";

/// What is known of a message that was converted. Offsets and lengths are octets from the start of what
/// was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    /// Octets before the body.
    pub header_len: u32,
    /// Offset and length of the routing key, or of the subject.
    pub routing_key: (u32, u32),
    /// Whether there is a body, though it may be empty.
    pub has_body: bool,
}
