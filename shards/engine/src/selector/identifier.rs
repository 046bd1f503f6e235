//! Names in selectors, and which part of a message each stands for. Resolved when the selector is
//! parsed, so that no name of the specification is compared while messages flow.

/// What an identifier stands for. The names with `amqp.` are the reference broker's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `JMSDeliveryMode`, `amqp.delivery_mode`: the text `PERSISTENT` or `NON_PERSISTENT`.
    DeliveryMode,
    /// `JMSType`, `amqp.subject`: what the message is about.
    Subject,
    /// `JMSRedelivered`, `amqp.redelivered`: a boolean.
    Redelivered,
    /// `JMSPriority`, `amqp.priority`: an integer.
    Priority,
    /// `JMSCorrelationID`, `amqp.correlation_id`: text.
    CorrelationId,
    /// `JMSMessageID`, `amqp.message_id`: text.
    MessageId,
    /// `JMSDestination`, `amqp.to`: text.
    To,
    /// `JMSReplyTo`, `amqp.reply_to`: text.
    ReplyTo,
    /// `JMSExpiration`, `amqp.absolute_expiry_time`: milliseconds since 1970, 0 for never.
    Expiration,
    /// `JMSTimestamp`, `amqp.creation_time`: milliseconds since 1970, 0 if it is not known.
    CreationTime,
    /// `amqp.jms_type`: text.
    JmsType,
    /// A property of the application or of a client library, with the identifier's name; also
    /// names that begin with `JMSX` or `JMS_` (JMS 2.0 §3.8.1.1).
    Property,
    /// A name that is kept for the specification or the broker and means nothing: always unknown.
    Reserved,
}

/// An identifier of a selector (JMS 2.0 §3.8.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifier {
    name: Box<str>,
    field: Field,
    repeated: bool,
}

impl Identifier {
    /// An identifier that occurs once so far.
    pub(super) fn new(name: &str) -> Identifier {
        Identifier { name: name.into(), field: Field::of(name), repeated: false }
    }

    /// Notes that it occurs more than once.
    pub(super) fn repeat(&mut self) {
        self.repeated = true;
    }

    /// The name as the selector has it, without quotes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it stands for.
    pub fn field(&self) -> Field {
        self.field
    }

    /// Whether it occurs more than once in its selector.
    pub(super) fn is_repeated(&self) -> bool {
        self.repeated
    }
}

impl Field {
    fn of(name: &str) -> Field {
        if let Some(name) = name.strip_prefix("amqp.") {
            return Field::of_amqp(name);
        }
        match name.strip_prefix("JMS") {
            Some(name) if name.starts_with(['X', '_']) => Field::Property,
            Some(name) => Field::of_jms(name),
            None => Field::Property,
        }
    }

    fn of_amqp(name: &str) -> Field {
        match name {
            "delivery_mode" => Field::DeliveryMode,
            "subject" => Field::Subject,
            "redelivered" => Field::Redelivered,
            "priority" => Field::Priority,
            "correlation_id" => Field::CorrelationId,
            "message_id" => Field::MessageId,
            "to" => Field::To,
            "reply_to" => Field::ReplyTo,
            "absolute_expiry_time" => Field::Expiration,
            "creation_time" => Field::CreationTime,
            "jms_type" => Field::JmsType,
            _ => Field::Reserved,
        }
    }

    fn of_jms(name: &str) -> Field {
        match name {
            "DeliveryMode" => Field::DeliveryMode,
            "Type" => Field::Subject,
            "Redelivered" => Field::Redelivered,
            "Priority" => Field::Priority,
            "CorrelationID" => Field::CorrelationId,
            "MessageID" => Field::MessageId,
            "Destination" => Field::To,
            "ReplyTo" => Field::ReplyTo,
            "Expiration" => Field::Expiration,
            "Timestamp" => Field::CreationTime,
            _ => Field::Reserved,
        }
    }
}
