//! The value of an application's property as text: what groups and last values go by.

use crate::look::property;
use crate::message::Message;
use std::fmt::Display;

/// Calls with the property's text, or its number or boolean as text; with nothing if there is none, or none like
/// that.
pub(super) fn with_text<T>(message: &Message, header: &str, f: impl FnOnce(&[u8]) -> T) -> T {
    let Some(value) = property(message, header) else { return f(b"") };
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
