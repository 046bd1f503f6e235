use super::super::{Environment, Field, Identifier, MessageEnvironment};
use super::{Selector, Value, check_matches, check_truth};
use crate::ids::Time;
use crate::message::{Flags, Format, Message, Meta};
use fletch_amqp::types::{Array, List, Uuid};
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties, ReplyTo};
use fletch_amqp::v0_10::{Compound, DeliveryMode};
use fletch_amqp::{Map, Value as Amqp};

const ID: Uuid = Uuid([0x12, 0x34, 0xab, 0xcd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xff]);

/// A message of these structs, each only if it is there.
fn message(
    delivery: Option<DeliveryProperties<'_>>,
    properties: Option<MessageProperties<'_>>,
) -> Message {
    let mut header = Vec::new();
    let durable =
        delivery.as_ref().is_some_and(|d| d.delivery_mode == Some(DeliveryMode::PERSISTENT));
    if let Some(delivery) = delivery {
        delivery.encode(&mut header).unwrap();
    }
    if let Some(properties) = properties {
        properties.encode(&mut header).unwrap();
    }
    raw(&header, durable, Time::NEVER)
}

fn raw(header: &[u8], durable: bool, expires: Time) -> Message {
    let meta = Meta {
        format: Format::V0_10,
        header_len: header.len() as u32,
        routing_key: (0, 0),
        expires,
        priority: 4,
        durable,
        flags: Flags::of_body(false),
        publisher: None,
    };
    Message::new(meta, header)
}

fn with_headers(headers: Map) -> Message {
    let headers = headers.encoded().unwrap();
    let properties =
        MessageProperties { application_headers: Some(headers.view()), ..Default::default() };
    message(None, Some(properties))
}

fn full() -> Message {
    let headers = Map::new().with("jms-type", "trade").with("qpid.subject", "not this");
    let headers = headers.encoded().unwrap();
    let delivery = DeliveryProperties {
        priority: Some(7),
        delivery_mode: Some(DeliveryMode::PERSISTENT),
        timestamp: Some(1_700_000_000),
        exchange: Some("amq.topic"),
        routing_key: Some("orders.new"),
        ..Default::default()
    };
    let properties = MessageProperties {
        message_id: Some(ID),
        correlation_id: Some(b"c-1"),
        reply_to: Some(ReplyTo { exchange: Some("amq.direct"), routing_key: Some("me") }),
        application_headers: Some(headers.view()),
        ..Default::default()
    };
    message(Some(delivery), Some(properties))
}

#[test]
fn each_name_stands_for_its_field() {
    let table = [
        ("JMSDeliveryMode", "delivery_mode", Field::DeliveryMode),
        ("JMSType", "subject", Field::Subject),
        ("JMSRedelivered", "redelivered", Field::Redelivered),
        ("JMSPriority", "priority", Field::Priority),
        ("JMSCorrelationID", "correlation_id", Field::CorrelationId),
        ("JMSMessageID", "message_id", Field::MessageId),
        ("JMSDestination", "to", Field::To),
        ("JMSReplyTo", "reply_to", Field::ReplyTo),
        ("JMSExpiration", "absolute_expiry_time", Field::Expiration),
        ("JMSTimestamp", "creation_time", Field::CreationTime),
    ];
    for (jms, amqp, field) in table {
        assert_eq!(Identifier::new(jms).field(), field, "{jms}");
        assert_eq!(Identifier::new(&format!("amqp.{amqp}")).field(), field, "{amqp}");
        assert_eq!(Identifier::new(amqp).field(), Field::Property);
        assert_eq!(Identifier::new(&jms.to_uppercase()).field(), Field::Reserved);
    }
    assert_eq!(Identifier::new("amqp.jms_type").field(), Field::JmsType);
    for name in ["JMS", "JMSNothing", "JMSTypes", "amqp.", "amqp.durable", "amqp.JMSType"] {
        assert_eq!(Identifier::new(name).field(), Field::Reserved, "{name}");
    }
    for name in ["JMSXGroupID", "JMS_vendor", "jmstype", "amqp", "AMQP.to", "qpid.subject", ""] {
        assert_eq!(Identifier::new(name).field(), Field::Property, "{name}");
    }
}

#[test]
fn fields_of_a_message_that_has_them() {
    let message = full();
    check_matches(
        &MessageEnvironment::new(&message, true),
        &[
            ("JMSDeliveryMode = 'PERSISTENT'", true),
            ("JMSType = 'orders.new'", true),
            ("amqp.subject LIKE 'orders.%'", true),
            ("JMSRedelivered", true),
            ("JMSRedelivered = TRUE AND amqp.redelivered", true),
            ("JMSPriority = 7 AND JMSPriority > 6.5", true),
            ("JMSCorrelationID = 'c-1'", true),
            ("JMSMessageID = '1234abcd-0001-0203-0405-060708090aff'", true),
            ("JMSMessageID LIKE '1234abcd-%'", true),
            ("JMSDestination = 'amq.topic'", true),
            ("JMSReplyTo = 'amq.direct/me'", true),
            ("JMSExpiration = 0", true),
            ("JMSTimestamp = 1700000000000", true),
            ("amqp.jms_type = 'trade'", true),
            ("\"qpid.subject\" = 'not this' AND qpid.subject = 'not this'", true),
            ("amqp.durable IS NULL AND JMSNothing IS NULL", true),
        ],
    );
    check_matches(&MessageEnvironment::new(&message, false), &[("NOT JMSRedelivered", true)]);
}

#[test]
fn fields_of_a_message_that_has_none() {
    for message in [message(None, None), raw(b"\0\0\0\x02\xff", false, Time::NEVER)] {
        check_truth(
            &MessageEnvironment::new(&message, false),
            &[
                ("JMSDeliveryMode = 'NON_PERSISTENT'", Some(true)),
                ("JMSType = 'x'", None),
                ("JMSRedelivered", Some(false)),
                ("JMSPriority = 0", Some(true)),
                ("JMSCorrelationID = ''", None),
                ("JMSMessageID <> ''", None),
                ("JMSDestination <> ''", None),
                ("JMSReplyTo <> ''", None),
                ("JMSExpiration = 0 AND JMSTimestamp = 0", Some(true)),
                ("amqp.jms_type <> ''", None),
                ("x = 1", None),
            ],
        );
    }
}

#[test]
fn a_message_sent_to_a_queue_has_its_subject_in_a_header() {
    let sent = |exchange, subject: Option<Amqp>| {
        let headers =
            subject.map_or(Map::new(), |subject| Map::new().with("qpid.subject", subject));
        let headers = headers.encoded().unwrap();
        let delivery =
            DeliveryProperties { exchange, routing_key: Some("q"), ..Default::default() };
        let properties =
            MessageProperties { application_headers: Some(headers.view()), ..Default::default() };
        message(Some(delivery), Some(properties))
    };
    let table = [
        (Some("e"), Some("s".into()), "JMSType = 'q' AND JMSDestination = 'e'"),
        (Some(""), Some("s".into()), "JMSType = 's' AND JMSDestination = 'q'"),
        (None, Some("s".into()), "JMSType = 's' AND JMSDestination = 'q'"),
        (None, None, "JMSType IS NULL AND JMSDestination = 'q'"),
        (None, Some("".into()), "JMSType IS NULL"),
        (None, Some(Amqp::Int32(-12)), "JMSType = '-12' AND JMSType LIKE '-__'"),
        (None, Some(Amqp::Int32(i32::MIN)), "JMSType = '-2147483648'"),
        (None, Some(Amqp::Uuid(ID)), "JMSType = '1234abcd-0001-0203-0405-060708090aff'"),
        (None, Some(Amqp::Void), "JMSType IS NULL"),
    ];
    for (exchange, subject, selector) in table {
        let message = sent(exchange, subject);
        check_matches(&MessageEnvironment::new(&message, false), &[(selector, true)]);
    }
}

#[test]
fn an_address_for_replies_is_joined() {
    let long = "x".repeat(255);
    let both = format!("JMSReplyTo = '{long}/{long}'");
    let table = [
        (Some("e"), Some("k"), "JMSReplyTo = 'e/k'"),
        (Some("e"), None, "JMSReplyTo = 'e'"),
        (None, Some("k"), "JMSReplyTo = 'k'"),
        (Some(""), Some("k"), "JMSReplyTo = '/k'"),
        (Some(""), None, "JMSReplyTo IS NULL"),
        (None, None, "JMSReplyTo IS NULL"),
        (Some(&*long), Some(&*long), &*both),
    ];
    for (exchange, routing_key, selector) in table {
        let reply_to = Some(ReplyTo { exchange, routing_key });
        let properties = MessageProperties { reply_to, ..Default::default() };
        let message = message(None, Some(properties));
        check_matches(&MessageEnvironment::new(&message, false), &[(selector, true)]);
    }
}

#[test]
fn an_empty_correlation_id_is_one() {
    let properties = MessageProperties { correlation_id: Some(b""), ..Default::default() };
    let message = message(None, Some(properties));
    check_matches(&MessageEnvironment::new(&message, false), &[("JMSCorrelationID = ''", true)]);
}

#[test]
fn expiry_is_in_milliseconds() {
    let message = raw(&[], false, Time(1_700_000_000_123_456_789));
    let selector = ("JMSExpiration = 1700000000123", true);
    check_matches(&MessageEnvironment::new(&message, false), &[selector]);
}

#[test]
fn headers_become_values_by_their_types() {
    let table = [
        (Amqp::Boolean(true), Value::Bool(true)),
        (Amqp::Boolean(false), Value::Bool(false)),
        (Amqp::Int8(-5), Value::Exact(-5)),
        (Amqp::Int16(-5), Value::Exact(-5)),
        (Amqp::Int32(-5), Value::Exact(-5)),
        (Amqp::Int64(i64::MIN), Value::Exact(i64::MIN)),
        (Amqp::Uint8(255), Value::Exact(255)),
        (Amqp::Uint16(65535), Value::Exact(65535)),
        (Amqp::Uint32(u32::MAX), Value::Exact(u32::MAX.into())),
        (Amqp::Uint64(5), Value::Exact(5)),
        (Amqp::Uint64(1 << 63), Value::Approx(9_223_372_036_854_775_808.0)),
        (Amqp::Datetime(5), Value::Exact(5)),
        (Amqp::Datetime(1 << 63), Value::Approx(9_223_372_036_854_775_808.0)),
        (Amqp::Bin8(0xff), Value::Exact(-1)),
        (Amqp::Bin16([0xff, 0xfe]), Value::Exact(-2)),
        (Amqp::Bin32([0, 0, 1, 0]), Value::Exact(256)),
        (Amqp::Bin64([0x80, 0, 0, 0, 0, 0, 0, 0]), Value::Exact(i64::MIN)),
        (Amqp::Float(0.5), Value::Approx(0.5)),
        (Amqp::Double(-1e300), Value::Approx(-1e300)),
        (Amqp::Str8("x".into()), Value::Text(b"x")),
        (Amqp::Str16("".into()), Value::Text(b"")),
        (Amqp::Str8Latin(vec![0xe9]), Value::Text(b"\xe9")),
        (Amqp::Str16Utf16(vec![0, b'x']), Value::Text(b"\0x")),
        (Amqp::Vbin8(b"x".to_vec()), Value::Text(b"x")),
        (Amqp::Vbin16(b"x".to_vec()), Value::Text(b"x")),
        (Amqp::Vbin32(b"x".to_vec()), Value::Text(b"x")),
        (Amqp::Struct32(vec![1, 2]), Value::Text(&[1, 2])),
        (Amqp::Void, Value::Unknown),
        (Amqp::Bit, Value::Unknown),
        (Amqp::Char(b'x'), Value::Unknown),
        (Amqp::CharUtf32(1), Value::Unknown),
        (Amqp::Uuid(ID), Value::Unknown),
        (Amqp::Bin40([0; 5]), Value::Unknown),
        (Amqp::Bin128([0; 16]), Value::Unknown),
        (Amqp::Dec32([0; 5]), Value::Unknown),
        (Amqp::Map(Map::new()), Value::Unknown),
        (Amqp::List(List(vec![])), Value::Unknown),
        (Amqp::Array(Array::of_str16(["a"])), Value::Unknown),
    ];
    for (amqp, expected) in table {
        let message = with_headers(Map::new().with("other", 1i32).with("x", amqp.clone()));
        let environment = MessageEnvironment::new(&message, false);
        assert_eq!(environment.get(&Identifier::new("x")), expected, "{amqp:?}");
    }
}

#[test]
fn names_of_headers_are_compared_whole() {
    let headers = Map::new()
        .with("größe", 1i32)
        .with("a b", 2i32)
        .with("JMSXGroupID", "g")
        .with("JMS_x", true)
        .with("JMSType", "never looked at")
        .with("amqp.to", "neither");
    let message = with_headers(headers);
    check_matches(
        &MessageEnvironment::new(&message, false),
        &[
            ("größe = 1 AND \"a b\" = 2", true),
            ("JMSXGroupID = 'g' AND JMS_x", true),
            ("JMSType IS NULL AND amqp.to IS NULL AND GRÖSSE IS NULL", true),
        ],
    );
}

#[test]
fn one_environment_serves_many_selectors() {
    let message = with_headers(Map::new().with("a", 1i32).with("b", 2i32));
    let environment = MessageEnvironment::new(&message, false);
    for (selector, expected) in [("a = 1 AND a < 2", true), ("b = 1 OR b > 2", false)] {
        assert_eq!(Selector::parse(selector).unwrap().matches(&environment), expected);
    }
}
