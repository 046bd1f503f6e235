//! A message as the tools' users see it, and as it goes over the wire: the mapping is that of the reference's messaging
//! API, so that its clients and these tools understand each other.

use std::io::{self, Write};

use fletch_amqp::EncodeError;
use fletch_amqp::types::{List, Map, Uuid, Value};
use fletch_amqp::v0_10::DeliveryMode;
use fletch_amqp::v0_10::message::MessageView;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties, ReplyTo};
use fletch_amqp::wire::Reader;
use fletch_client::{Error, Outgoing};

use super::address::{Address, NodeKind};

/// The application header that holds the subject.
const SUBJECT: &str = "qpid.subject";
/// Application headers that stand for properties of the protocol.
const APP_ID: &str = "x-amqp-0-10.app-id";
const CONTENT_ENCODING: &str = "x-amqp-0-10.content-encoding";
const ROUTING_KEY: &str = "x-amqp-0-10.routing-key";
const TIMESTAMP: &str = "x-amqp-0-10.timestamp";

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Octets of whatever the content type says.
    Bytes(Vec<u8>),
    /// A map: `amqp/map`.
    Map(Map),
    /// A list: `amqp/list`.
    List(List),
}

/// Where answers go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ReplyAddress {
    /// The queue or exchange.
    pub(super) name: String,
    /// The routing key, at an exchange; empty for none.
    pub(super) subject: String,
    /// Which of both it is. AMQP 1.0 does not say.
    pub(super) kind: Option<NodeKind>,
}

impl ReplyAddress {
    /// An address as one to reply to.
    pub(super) fn of(address: &Address) -> ReplyAddress {
        ReplyAddress {
            name: address.name.clone(),
            subject: address.subject.clone().unwrap_or_default(),
            kind: address.options.node.kind,
        }
    }

    fn of_wire(to: ReplyTo<'_>) -> ReplyAddress {
        let (exchange, key) = (to.exchange.unwrap_or_default(), to.routing_key.unwrap_or_default());
        let (name, subject, kind) = match exchange {
            "" => (key, "", NodeKind::Queue),
            exchange => (exchange, key, NodeKind::Topic),
        };
        ReplyAddress { name: name.to_owned(), subject: subject.to_owned(), kind: Some(kind) }
    }

    /// As it is in AMQP 0-10, where a name without a type is a queue's.
    fn wire(&self) -> ReplyTo<'_> {
        let (exchange, key) = match self.kind {
            Some(NodeKind::Topic) => (self.name.as_str(), self.subject.as_str()),
            _ => ("", self.name.as_str()),
        };
        ReplyTo { exchange: non_empty(exchange), routing_key: non_empty(key) }
    }

    /// The text of an address that leads there.
    pub(super) fn address(&self) -> String {
        let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let place = match self.subject.as_str() {
            "" => quote(&self.name),
            subject => format!("{}/{}", quote(&self.name), quote(subject)),
        };
        match self.kind {
            None => place,
            Some(NodeKind::Queue) => format!("{place}; {{node: {{type: queue}}}}"),
            Some(NodeKind::Topic) => format!("{place}; {{node: {{type: topic}}}}"),
        }
    }

    /// As the reference shows it.
    pub(super) fn shown(&self) -> String {
        let place = match self.subject.as_str() {
            "" => self.name.clone(),
            subject => format!("{}/{subject}", self.name),
        };
        match self.kind {
            None => place,
            Some(NodeKind::Queue) => format!("{place}; {{node:{{type:queue}}}}"),
            Some(NodeKind::Topic) => format!("{place}; {{node:{{type:topic}}}}"),
        }
    }
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    /// What it is about.
    pub(super) subject: String,
    /// Its id.
    pub(super) message_id: Option<Uuid>,
    /// What it answers.
    pub(super) correlation_id: String,
    /// Where answers go.
    pub(super) reply_to: Option<ReplyAddress>,
    /// Who sends it.
    pub(super) user_id: String,
    /// What its content is; that of maps and lists follows from the content.
    pub(super) content_type: String,
    /// To be stored.
    pub(super) durable: bool,
    /// May have been delivered before.
    pub(super) redelivered: bool,
    /// Milliseconds to live, 0 for ever.
    pub(super) ttl: u64,
    /// More is more urgent.
    pub(super) priority: u8,
    /// The application's own headers.
    pub(super) properties: Map,
    /// What it says.
    pub(super) content: Content,
}

impl Default for Message {
    fn default() -> Self {
        Message {
            subject: String::new(),
            message_id: None,
            correlation_id: String::new(),
            reply_to: None,
            user_id: String::new(),
            content_type: String::new(),
            durable: false,
            redelivered: false,
            ttl: 0,
            priority: 0,
            properties: Map::new(),
            content: Content::Bytes(Vec::new()),
        }
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl Message {
    /// Hands the message to `send` as it is in AMQP 0-10, with its subject: `subject` if it has none of its own.
    pub(super) fn encode<T>(
        &self,
        subject: Option<&str>,
        send: impl FnOnce(&str, Outgoing<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let subject = non_empty(&self.subject).or(subject).unwrap_or_default();
        let mut encoded = Vec::new();
        let (content_type, body) = match &self.content {
            Content::Bytes(bytes) => (non_empty(&self.content_type), bytes.as_slice()),
            Content::Map(map) => {
                map.encode(&mut encoded)?;
                (Some("amqp/map"), encoded.as_slice())
            }
            Content::List(list) => {
                list.encode(&mut encoded)?;
                (Some("amqp/list"), encoded.as_slice())
            }
        };
        let headers = self.headers(subject)?;
        let delivery = DeliveryProperties {
            redelivered: self.redelivered,
            priority: (self.priority != 0).then_some(self.priority),
            delivery_mode: self.durable.then_some(DeliveryMode::PERSISTENT),
            ttl: (self.ttl != 0).then_some(self.ttl),
            ..Default::default()
        };
        let reply_to = self.reply_to.as_ref().map(ReplyAddress::wire);
        let bytes = |text| non_empty(text).map(str::as_bytes);
        let message = MessageProperties {
            content_length: Some(body.len() as u64),
            message_id: self.message_id,
            correlation_id: bytes(&self.correlation_id),
            reply_to,
            content_type,
            content_encoding: self.properties.get_str(CONTENT_ENCODING),
            user_id: bytes(&self.user_id),
            app_id: self.properties.get_str(APP_ID).map(str::as_bytes),
            application_headers: headers.as_ref().map(|map| map.view()),
        };
        send(subject, Outgoing { delivery, message, body })
    }

    fn headers(
        &self,
        subject: &str,
    ) -> Result<Option<fletch_amqp::types::EncodedMap>, EncodeError> {
        if subject.is_empty() {
            return (!self.properties.is_empty()).then(|| self.properties.encoded()).transpose();
        }
        let mut headers = self.properties.clone();
        headers.insert(SUBJECT, subject);
        headers.encoded().map(Some)
    }

    /// Understands a message received. Content that is not what its type says stays octets.
    pub(super) fn decode(header: &[u8], body: &[u8]) -> Result<Message, Error> {
        let view = MessageView::parse(header)?;
        let (about, properties) = (view.delivery_properties()?, view.message_properties()?);
        let mut headers = properties
            .application_headers
            .and_then(|headers| headers.to_map().ok())
            .unwrap_or_default();
        let subject = headers.get(SUBJECT).map(|value| super::value::Shown(value).to_string());
        let text = |bytes: Option<&[u8]>| {
            bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        if properties.app_id.is_some() {
            headers.insert(APP_ID, text(properties.app_id));
        }
        if let Some(encoding) = properties.content_encoding {
            headers.insert(CONTENT_ENCODING, encoding);
        }
        if let Some(key) = about.routing_key {
            headers.insert(ROUTING_KEY, key);
        }
        if let Some(timestamp) = about.timestamp {
            headers.insert(TIMESTAMP, timestamp);
        }
        let content_type = properties.content_type.unwrap_or_default();
        Ok(Message {
            subject: subject.unwrap_or_default(),
            message_id: properties.message_id,
            correlation_id: text(properties.correlation_id),
            reply_to: properties.reply_to.map(ReplyAddress::of_wire),
            user_id: text(properties.user_id),
            content_type: content_type.to_owned(),
            durable: about.delivery_mode == Some(DeliveryMode::PERSISTENT),
            redelivered: about.redelivered,
            ttl: about.ttl.unwrap_or(0),
            priority: about.priority.unwrap_or(0),
            properties: headers,
            content: content(content_type, body),
        })
    }

    /// Leaves out what 0-10 alone says of a message's way: its routing, and what kind of node answers go to.
    pub(super) fn forget_route(&mut self) {
        self.properties.remove(ROUTING_KEY);
        self.properties.remove(TIMESTAMP);
        self.reply_to.iter_mut().for_each(|to| to.kind = None);
    }

    /// For AMQP 1.0: an address to reply to keeps its subject whatever kind it is of.
    pub(super) fn keep_reply_subject(&mut self) {
        let subject = self.reply_to.iter_mut().filter(|to| !to.subject.is_empty());
        subject.for_each(|to| to.kind = Some(NodeKind::Topic));
    }

    /// The content as the reference shows it: octets as they are.
    pub(super) fn shown_content(&self) -> Vec<u8> {
        match &self.content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Map(map) => super::value::ShownMap(map).to_string().into_bytes(),
            Content::List(list) => {
                super::value::Shown(&Value::List(list.clone())).to_string().into_bytes()
            }
        }
    }

    /// Prints the message on one line, as the reference's `drain` does.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "Message(properties={}", super::value::ShownMap(&self.properties))?;
        if !self.subject.is_empty() {
            write!(out, ", subject='{}'", self.subject)?;
        }
        out.write_all(b", content='")?;
        out.write_all(&self.shown_content())?;
        out.write_all(b"')\n")
    }

    /// The message as one JSON object.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let content = match &self.content {
            Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
            Content::Map(map) => super::value::map_to_json(map),
            Content::List(list) => super::value::to_json(&Value::List(list.clone())),
        };
        serde_json::json!({
            "subject": non_empty(&self.subject),
            "message_id": self.message_id.map(|id| id.to_string()),
            "correlation_id": non_empty(&self.correlation_id),
            "reply_to": self.reply_to.as_ref().map(ReplyAddress::address),
            "user_id": non_empty(&self.user_id),
            "content_type": non_empty(&self.content_type),
            "durable": self.durable,
            "redelivered": self.redelivered,
            "ttl": self.ttl,
            "priority": self.priority,
            "properties": super::value::map_to_json(&self.properties),
            "content": content,
        })
    }
}

fn content(content_type: &str, body: &[u8]) -> Content {
    let mut reader = Reader::new(body);
    let decoded = match content_type {
        "amqp/map" => Map::decode(&mut reader).ok().map(Content::Map),
        "amqp/list" => List::decode(&mut reader).ok().map(Content::List),
        _ => None,
    };
    decoded.unwrap_or_else(|| Content::Bytes(body.to_vec()))
}

/// `NAME=VALUE` in two; a name alone has no value.
pub(super) fn name_and_value(text: &str) -> (&str, Option<&str>) {
    match text.split_once('=') {
        Some((name, value)) => (name, non_empty(value)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_follows_its_type() {
        let map = Map::new().with("k", "v");
        let mut octets = Vec::new();
        map.encode(&mut octets).expect("encodes");
        assert_eq!(content("amqp/map", &octets), Content::Map(map));
        assert_eq!(content("text/plain", b"x"), Content::Bytes(b"x".to_vec()));
        assert_eq!(content("amqp/map", b"not one"), Content::Bytes(b"not one".to_vec()));
    }

    #[test]
    fn a_reply_address_reads_back() {
        for (name, subject, kind) in [
            ("e'x", "k;", Some(NodeKind::Topic)),
            ("a queue", "", Some(NodeKind::Queue)),
            ("either", "s", None),
        ] {
            let to = ReplyAddress { name: name.into(), subject: subject.into(), kind };
            let address = Address::parse(&to.address(), String::new).expect("valid");
            assert_eq!(ReplyAddress::of(&address), to);
        }
    }

    #[test]
    fn names_may_have_no_value() {
        assert_eq!(name_and_value("a=b=c"), ("a", Some("b=c")));
        assert_eq!(name_and_value("a="), ("a", None));
        assert_eq!(name_and_value("a"), ("a", None));
    }
}
