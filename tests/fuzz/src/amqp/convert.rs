//! Messages of one protocol in terms of the other.

use fletch_amqp::convert::{Converted, Delivery, Node, to_0_10, to_1_0};
use fletch_amqp::v0_10::message::MessageView;
use fletch_amqp::v1_0::message::{MessageView as NewView, ingest};

/// What comes of a message is sound, not much larger, and when it comes back it is the same from then on.
pub fn convert(data: &[u8]) {
    let mut kept = Vec::new();
    if ingest(data, &mut kept).is_ok() {
        let old = aged(&kept);
        let new = renewed(&old.0, &old.1);
        stays(&new);
    }
    // Application headers that were let in have a sound outline.
    let (header, body) = data.split_at(data.len() / 2);
    let properties = MessageView::parse(header).and_then(|view| Ok(view.message_properties()?));
    let sound = properties.is_ok_and(|properties| {
        properties.application_headers.is_none_or(|headers| headers.validate_outline().is_ok())
    });
    if sound {
        stays(&renewed(header, body));
    } else {
        to_1_0(header, body, &mut Vec::new());
    }
}

/// Once a message has been through both protocols, it goes through them unchanged: but for an address that
/// answers go to, which loses a slash at its start each time.
fn stays(content: &[u8]) {
    let old = aged(content);
    let new = renewed(&old.0, &old.1);
    let again = aged(&new);
    let properties = NewView::parse(&new).and_then(|view| Ok(view.properties()?));
    let reply_to = properties.expect("our own").reply_to.and_then(|to| to.as_str());
    // One without a key behind its slash comes back without that.
    if !reply_to.is_some_and(|to| to.starts_with('/') || to.ends_with('/')) {
        assert_eq!(renewed(&again.0, &again.1), new);
    }
}

/// Header and body of 0-10.
fn aged(content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let delivery = Delivery { durable: true, priority: 5, ttl: Some(1) };
    let mut out = Vec::new();
    let Converted { header_len, routing_key: (at, len), .. } =
        to_0_10(content, delivery, |_| Node::Queue, &mut out);
    // Arrays of elements that take no octets have 256 together, and each becomes a list of two at most.
    assert!(out.len() <= 12 * content.len() + 256 * 20, "{} of {}", out.len(), content.len());
    let body = out.split_off(header_len as usize);
    let view = MessageView::parse(&out).expect("our own");
    let key = view.routing_key().expect("our own").unwrap_or_default();
    assert_eq!(&out[at as usize..(at + len) as usize], key.as_bytes());
    let properties = view.message_properties().expect("our own");
    assert_eq!(properties.application_headers.unwrap_or_default().validate(), Ok(()));
    (out, body)
}

/// Content of 1.0.
fn renewed(header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let converted = to_1_0(header, body, &mut out);
    let len = header.len() + body.len();
    assert!(out.len() <= 4 * len + 4096, "{} of {len}", out.len());
    let mut kept = Vec::new();
    let taken = ingest(&out, &mut kept).expect("our own");
    assert_eq!(kept, out);
    assert_eq!((taken.header_len, taken.subject), (converted.header_len, converted.routing_key));
    out
}
