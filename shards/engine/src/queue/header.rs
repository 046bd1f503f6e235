//! The value of an application header as text: what groups and last values go by.

use crate::message::{Format, Message};
use fletch_amqp::v0_10::message::MessageView;
use smallvec::SmallVec;

/// Short ones take no allocation.
pub(super) type Text = SmallVec<[u8; 32]>;

/// The header's text, or its number or boolean as text; empty if there is none, or none like that.
pub(super) fn text_of(message: &Message, header: &str) -> Text {
    let mut text = Text::new();
    let view = match message.meta().format {
        Format::V0_10 => MessageView::parse(message.header()),
    };
    let properties = view.ok().and_then(|view| view.message_properties().ok());
    let headers = properties.and_then(|properties| properties.application_headers);
    let Some(value) = headers.and_then(|headers| headers.get(header)) else { return text };
    let mut put = |octets: &[u8]| text.extend_from_slice(octets);
    match (value.as_bytes(), value.as_i64(), value.as_uuid(), value.as_bool()) {
        (Some(octets), ..) => put(octets),
        (_, Some(n), ..) => put(n.to_string().as_bytes()),
        (_, _, Some(id), _) => put(id.to_string().as_bytes()),
        (_, _, _, Some(flag)) => put(flag.to_string().as_bytes()),
        _ => {}
    }
    text
}
