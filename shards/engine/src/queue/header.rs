//! The value of an application header as text: what groups and last values go by.

use crate::message::{Format, Message};
use fletch_amqp::v0_10::message::MessageView;
use std::fmt::Display;

/// Calls with the header's text, or its number or boolean as text; with nothing if there is none, or none like
/// that.
pub(super) fn with_text<T>(message: &Message, header: &str, f: impl FnOnce(&[u8]) -> T) -> T {
    let view = match message.meta().format {
        Format::V0_10 => MessageView::parse(message.header()),
    };
    let headers = view.ok().and_then(|view| view.application_headers().ok());
    let Some(value) = headers.and_then(|headers| headers.get(header)) else { return f(b"") };
    // Nearly always it is text.
    if let Some(octets) = value.as_bytes() {
        return f(octets);
    }
    let number = value.as_i64().as_ref().map(text);
    let id = || value.as_uuid().as_ref().map(text);
    let flag = || value.as_bool().as_ref().map(text);
    f(number.or_else(id).or_else(flag).unwrap_or_default().as_bytes())
}

fn text(value: &impl Display) -> String {
    value.to_string()
}
