//! Messages on their way in.

use fletch_amqp::v1_0::SequenceNo;
use fletch_amqp::v1_0::message::MessageView;

use smallvec::SmallVec;

use crate::Error;

/// A message received.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its number in the session.
    pub id: SequenceNo,
    /// The broker has settled it: there is nothing to accept.
    pub settled: bool,
    tag: SmallVec<[u8; 32]>,
    payload: Vec<u8>,
}

impl Delivery {
    pub(super) fn new(id: SequenceNo, tag: &[u8], settled: bool, payload: Vec<u8>) -> Delivery {
        Delivery { id, settled, tag: SmallVec::from_slice(tag), payload }
    }

    /// Its name among those of the link that are not settled.
    pub fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// The encoded message.
    pub fn encoded(&self) -> &[u8] {
        &self.payload
    }

    /// A look at its sections.
    pub fn view(&self) -> Result<MessageView<'_>, Error> {
        Ok(MessageView::parse(&self.payload)?)
    }

    /// Whether the message may have been delivered before.
    pub fn redelivered(&self) -> Result<bool, Error> {
        Ok(self.view()?.header()?.delivery_count > 0)
    }
}
