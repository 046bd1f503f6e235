use super::super::MessageEnvironment;
use super::{check_matches, check_truth};
use crate::testing::{Says, symbol, text};
use fletch_amqp::types::Uuid;
use fletch_amqp::v1_0::table::Properties;
use fletch_amqp::v1_0::types::{Value, ValueRef};
use fletch_amqp::wire::Reader;

const ID: Uuid = Uuid([0x12, 0x34, 0xab, 0xcd, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa, 0xff]);

fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out).unwrap();
    out
}

fn view(octets: &[u8]) -> Option<ValueRef<'_>> {
    Some(ValueRef::decode(&mut Reader::new(octets)).unwrap())
}

#[test]
fn fields_of_a_message_that_has_them() {
    let octets = [Value::Uuid(ID), text("orders"), text("answers"), Value::Ulong(77)];
    let [id, to, reply_to, correlation] = octets.map(|value| encoded(&value));
    let properties = Properties {
        message_id: view(&id),
        to: view(&to),
        subject: Some("orders.new"),
        reply_to: view(&reply_to),
        correlation_id: view(&correlation),
        creation_time: Some(1_700_000_000_123),
        ..Properties::default()
    };
    let annotations = vec![(symbol("jms-type"), text("trade"))];
    let application = vec![
        (text("n"), Value::Uint(0)),
        (text("big"), Value::Ulong(u64::MAX)),
        (text("price"), Value::Double(1.5)),
        (text("urgent"), Value::Boolean(true)),
        (text("colour"), symbol("red")),
        (text("when"), Value::Timestamp(-5)),
        (text("raw"), Value::Binary(b"octets".to_vec())),
        (text("list"), Value::List(vec![])),
        (text("null"), Value::Null),
    ];
    let message = Says { annotations, properties, application, ..Says::default() }.message();
    check_matches(
        &MessageEnvironment::new(&message, true),
        &[
            ("JMSDeliveryMode = 'NON_PERSISTENT'", true),
            ("JMSType = 'orders.new' AND amqp.subject LIKE 'orders.%'", true),
            ("JMSRedelivered AND JMSPriority = 4", true),
            ("JMSCorrelationID = '77'", true),
            ("JMSMessageID = '1234abcd-0001-0203-0405-060708090aff'", true),
            ("JMSDestination = 'orders' AND amqp.to = 'orders'", true),
            ("JMSReplyTo = 'answers'", true),
            ("JMSExpiration = 0", true),
            ("JMSTimestamp = 1700000000123", true),
            ("amqp.jms_type = 'trade'", true),
            ("n = 0 AND big > 1.8E19 AND price = 1.5 AND urgent", true),
            ("colour = 'red' AND \"when\" = -5 AND raw = 'octets'", true),
            ("list IS NULL AND \"null\" IS NULL AND other IS NULL", true),
        ],
    );
}

#[test]
fn fields_of_a_message_that_has_none() {
    let numbers = encoded(&Value::Int(5));
    let odd = Properties { message_id: view(&numbers), to: view(&numbers), ..Default::default() };
    for properties in [Properties::default(), Properties { message_id: None, ..odd }] {
        let message = Says { properties, ..Says::default() }.message();
        check_truth(
            &MessageEnvironment::new(&message, false),
            &[
                ("JMSType = 'x'", None),
                ("JMSRedelivered", Some(false)),
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
