//! The value of an application's property as text: what groups and last values go by.

use crate::look::{property, view_1_0};
use crate::message::{Format, Message};
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

/// The same of the group that a message is in: by the property, or else by the `group-id` of 1.0 (part 3.2.4).
pub(super) fn with_group<T>(message: &Message, header: &str, f: impl FnOnce(&[u8]) -> T) -> T {
    with_text(message, header, |text| {
        if !text.is_empty() || message.meta().format != Format::V1_0 {
            return f(text);
        }
        let properties = view_1_0(message).properties().ok();
        f(properties.and_then(|properties| properties.group_id).unwrap_or_default().as_bytes())
    })
}

fn text(value: &impl Display) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Says, text as value};
    use fletch_amqp::v1_0::table::Properties;

    fn group(property: Option<&str>, group_id: Option<&str>) -> String {
        let application = property.map(|group| (value("g"), value(group))).into_iter().collect();
        let properties = Properties { group_id, ..Properties::default() };
        let message = Says { application, properties, ..Says::default() }.message();
        with_group(&message, "g", |octets| String::from_utf8_lossy(octets).into_owned())
    }

    #[test]
    fn a_group_is_that_of_the_property_or_of_1_0_itself() {
        assert_eq!(group(Some("a"), Some("b")), "a");
        assert_eq!(group(None, Some("b")), "b");
        assert_eq!(group(Some("a"), None), "a");
        assert_eq!(group(None, None), "");
    }
}
