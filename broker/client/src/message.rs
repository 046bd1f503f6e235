//! Messages on their way out and in.

use std::sync::Arc;

use fletch_amqp::v0_10::message::MessageView;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties};
use fletch_amqp::v0_10::{AcceptMode, AcquireMode, Compound, Payload};
use fletch_amqp::{CommandId, EncodeError};

use crate::Error;

/// A message to send. Nothing in it is owned.
#[derive(Debug, Clone, Default)]
pub struct Outgoing<'a> {
    /// What brokers look at.
    pub delivery: DeliveryProperties<'a>,
    /// What receivers look at.
    pub message: MessageProperties<'a>,
    /// The content.
    pub body: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// A message for the queue of that name, by way of the default exchange: the destination is "".
    pub fn to_queue(queue: &'a str, body: &'a [u8]) -> Self {
        Self::with_key(queue, body)
    }

    /// A message with a routing key.
    pub fn with_key(routing_key: &'a str, body: &'a [u8]) -> Self {
        let delivery = DeliveryProperties { routing_key: Some(routing_key), ..Default::default() };
        Outgoing { delivery, message: MessageProperties::default(), body }
    }

    /// Appends the header segment.
    pub fn encode_header(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if self.delivery.flags() != 0 {
            self.delivery.encode(out)?;
        }
        if self.message.flags() != 0 {
            self.message.encode(out)?;
        }
        Ok(())
    }
}

/// A message received.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The transfer's id, to settle it by.
    pub id: CommandId,
    /// The subscription it came for.
    pub destination: Arc<str>,
    /// It has to be accepted.
    pub accept_mode: AcceptMode,
    /// It is the receiver's, or only shown to it.
    pub acquire_mode: AcquireMode,
    /// The body, then the header: one allocation, and the body's own when it came in pieces.
    content: Vec<u8>,
    body_len: usize,
}

impl Delivery {
    pub(crate) fn new(
        id: CommandId,
        destination: Arc<str>,
        (accept_mode, acquire_mode): (AcceptMode, AcquireMode),
        header: &[u8],
        body: Payload<'_>,
    ) -> Delivery {
        let (body_len, content) = match body {
            Payload::Absent => (0, header.to_vec()),
            Payload::Borrowed(body) => {
                let mut content = Vec::with_capacity(body.len() + header.len());
                content.extend_from_slice(body);
                content.extend_from_slice(header);
                (body.len(), content)
            }
            Payload::Owned(mut body) => {
                let len = body.len();
                body.extend_from_slice(header);
                (len, body)
            }
        };
        Delivery { id, destination, accept_mode, acquire_mode, content, body_len }
    }

    /// The content.
    pub fn body(&self) -> &[u8] {
        &self.content[..self.body_len]
    }

    /// The content, without a copy.
    pub fn into_body(mut self) -> Vec<u8> {
        self.content.truncate(self.body_len);
        self.content
    }

    /// The header segment as it came.
    pub fn header(&self) -> &[u8] {
        &self.content[self.body_len..]
    }

    /// A look at the header.
    pub fn view(&self) -> Result<MessageView<'_>, Error> {
        Ok(MessageView::parse(self.header())?)
    }

    /// Whether the message may have been delivered before.
    pub fn redelivered(&self) -> Result<bool, Error> {
        Ok(self.view()?.redelivered()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_keeps_header_and_body_apart() -> Result<(), Error> {
        let mut header = Vec::new();
        let sent = Outgoing::to_queue("q", b"body");
        sent.encode_header(&mut header)?;
        for body in [Payload::Borrowed(b"body"), Payload::Owned(b"body".to_vec())] {
            let modes = (AcceptMode::EXPLICIT, AcquireMode::PRE_ACQUIRED);
            let delivery = Delivery::new(CommandId(7), "in".into(), modes, &header, body);
            assert_eq!(delivery.body(), b"body");
            assert_eq!(delivery.header(), header);
            assert_eq!(delivery.view()?.routing_key()?, Some("q"));
            assert!(!delivery.redelivered()?);
            assert_eq!(delivery.into_body(), b"body");
        }
        Ok(())
    }

    #[test]
    fn a_message_without_properties_has_no_header() -> Result<(), Error> {
        let mut header = Vec::new();
        Outgoing { body: b"x", ..Default::default() }.encode_header(&mut header)?;
        assert!(header.is_empty());
        Ok(())
    }
}
