//! A client of QMF version 2, the management protocol of brokers of AMQP 0-10. A request is a message with a map to an
//! exchange that the broker's own agent listens to; answers come back as the request's `reply_to` says. Objects are counted
//! and not looked into: what a query takes is the broker's work, not this client's.

use crate::load::unique;
use crate::target::unlimited;
use anyhow::{Context, Result, bail, ensure};
use fletch_client::amqp::types::{ListRef, Map};
use fletch_client::amqp::v0_10::AcceptMode;
use fletch_client::amqp::v0_10::table::message::{MessageProperties, ReplyTo};
use fletch_client::amqp::v0_10::table::{exchange, queue};
use fletch_client::amqp::wire::Reader;
use fletch_client::{Connection, Delivery, Outgoing, Session, Subscription};
use std::time::Duration;

/// Where requests go, and the key of the broker's agent.
const REQUESTS: &str = "qmf.default.direct";
const AGENT: &str = "broker";
/// Where answers come from.
const ANSWERS: &str = "amq.direct";
/// What the agent takes a message for a request of version 2 by.
const APPLICATION: &[u8] = b"qmf2";
/// Whose classes they are, and the object with the methods that create and delete.
const PACKAGE: &str = "org.apache.qpid.broker";
const BROKER: &str = "org.apache.qpid.broker:broker:amqp-broker";
const DESTINATION: &str = "answers";
/// How long the first answer may take: without one there is no management.
const FIRST: Duration = Duration::from_secs(2);
/// How long any other may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// See the module. One request at a time.
pub(crate) struct Client {
    session: Session,
    /// The queue that answers come to, whose name is its binding key too.
    queue: String,
    /// How many requests: the last one's correlation id.
    asked: u64,
}

impl Client {
    /// A client of a broker that answers; else why there is none.
    pub(crate) fn open(connection: &Connection) -> Result<Result<Client, String>> {
        let queue = unique("management");
        let session = connection.session(&queue, false)?;
        let reply = session.call(&exchange::Query { name: Some(REQUESTS) }.into())?;
        let reply = reply.context("no answer whether an exchange is there")?;
        if reply.read::<exchange::ExchangeQueryResult<'_>>()?.not_found {
            return Ok(Err(format!("the broker has no management: no exchange {REQUESTS}")));
        }
        let name = Some(queue.as_str());
        let declare = queue::Declare {
            queue: name,
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        session.command(&declare.into())?;
        let (exchange, binding_key) = (Some(ANSWERS), name);
        let bind = exchange::Bind { queue: name, exchange, binding_key, ..Default::default() };
        session.command(&bind.into())?;
        session.subscribe(&Subscription {
            queue: &queue,
            destination: DESTINATION,
            accept_mode: AcceptMode::NONE,
            ..Default::default()
        })?;
        unlimited(&session, DESTINATION)?;
        session.sync()?;
        let mut client = Client { session, queue, asked: 0 };
        client.ask("_query_request", &query("broker"))?;
        Ok(match client.counted(FIRST)? {
            Some(_) => Ok(client),
            None => Err(format!("the broker's management has not answered within {FIRST:?}")),
        })
    }

    /// Asks for all objects of a class, and says how many came.
    pub(crate) fn count(&mut self, class: &str) -> Result<usize> {
        self.ask("_query_request", &query(class))?;
        let count = self.counted(PATIENCE).and_then(|count| count.context("no answer"));
        count.with_context(|| format!("management: objects of class {class}"))
    }

    /// Has a queue made, as plain as can be.
    pub(crate) fn create_queue(&mut self, name: &str) -> Result<()> {
        let arguments = Map::new().with("properties", Map::new()).with("strict", true);
        self.call("create", of_queue(name, arguments))
    }

    /// Has it deleted.
    pub(crate) fn delete_queue(&mut self, name: &str) -> Result<()> {
        self.call("delete", of_queue(name, Map::new().with("options", Map::new())))
    }

    /// Calls a method of the broker.
    fn call(&mut self, method: &str, arguments: Map) -> Result<()> {
        self.ask("_method_request", &method_of_broker(method, arguments))?;
        let answer = self.answer("_method_response", PATIENCE);
        let answer = answer.and_then(|answer| answer.context("no answer"));
        answer.with_context(|| format!("management: {method}")).map(|_| ())
    }

    fn ask(&mut self, opcode: &str, content: &Map) -> Result<()> {
        self.asked += 1;
        let correlation = self.asked.to_string();
        let headers = Map::new().with("method", "request").with("qmf.opcode", opcode).encoded()?;
        let mut body = Vec::new();
        content.encode(&mut body)?;
        let (exchange, routing_key) = (Some(ANSWERS), Some(self.queue.as_str()));
        let mut message = Outgoing::with_key(AGENT, &body);
        message.message = MessageProperties {
            correlation_id: Some(correlation.as_bytes()),
            reply_to: Some(ReplyTo { exchange, routing_key }),
            content_type: Some("amqp/map"),
            app_id: Some(APPLICATION),
            application_headers: Some(headers.view()),
            ..Default::default()
        };
        self.session.send(REQUESTS, &message)?;
        Ok(())
    }

    /// The next message of the answer to the last request, if it comes in time.
    fn answer(&self, opcode: &str, within: Duration) -> Result<Option<Delivery>> {
        let Some(delivery) = self.session.next_delivery(within)? else { return Ok(None) };
        let properties = delivery.view()?.message_properties()?;
        let correlation = properties.correlation_id.unwrap_or_default();
        ensure!(correlation == self.asked.to_string().as_bytes(), "an answer to something else");
        let headers = properties.application_headers.unwrap_or_default();
        match headers.get_str("qmf.opcode") {
            Some(answer) if answer == opcode => Ok(Some(delivery)),
            Some("_exception") => bail!("{}", exception(delivery.body())?),
            other => bail!("{opcode} was expected, not {other:?}"),
        }
    }

    /// How many objects the answer to a query has, which comes in parts; none if one does not come in time.
    fn counted(&self, within: Duration) -> Result<Option<usize>> {
        let mut count = 0;
        loop {
            let Some(answer) = self.answer("_query_response", within)? else { return Ok(None) };
            count += objects(answer.body())?;
            let properties = answer.view()?.message_properties()?;
            let headers = properties.application_headers.unwrap_or_default();
            if headers.get("partial").is_none() {
                return Ok(Some(count));
            }
        }
    }

    /// Deletes a queue by the protocol's own command, if it is there. The client is not used after that.
    pub(crate) fn remove(&self, name: &str) {
        let delete = queue::Delete { queue: Some(name), ..Default::default() };
        // That it is not there is no error.
        let _ = self.session.call(&delete.into());
    }

    /// Ends in order.
    pub(crate) fn close(self) -> Result<()> {
        Ok(self.session.close()?)
    }
}

/// For all objects of a class of the broker's.
fn query(class: &str) -> Map {
    let class = Map::new().with("_package_name", PACKAGE).with("_class_name", class);
    Map::new().with("_what", "OBJECT").with("_schema_id", class)
}

fn method_of_broker(method: &str, arguments: Map) -> Map {
    Map::new()
        .with("_object_id", Map::new().with("_object_name", BROKER))
        .with("_method_name", method)
        .with("_arguments", arguments)
}

fn of_queue(name: &str, arguments: Map) -> Map {
    arguments.with("type", "queue").with("name", name)
}

/// How many objects, each a map, a list has.
fn objects(body: &[u8]) -> Result<usize> {
    let list = ListRef::new(Reader::new(body).bytes32()?)?;
    for object in list.iter() {
        ensure!(object?.as_map().is_some(), "an object that is no map");
    }
    Ok(list.len())
}

/// What an exception says.
fn exception(body: &[u8]) -> Result<String> {
    let map = Map::decode(&mut Reader::new(body)).context("an exception")?;
    let values = map.get("_values").and_then(|values| values.as_map());
    let text = values.and_then(|values| values.get_str("error_text")).unwrap_or("no text");
    let code = values.and_then(|values| values.get_int("error_code"));
    Ok(code.map_or_else(|| text.to_owned(), |code| format!("{text} ({code})")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_client::amqp::types::{List, Value};

    fn encoded(map: &Map) -> Vec<u8> {
        let mut octets = Vec::new();
        map.encode(&mut octets).unwrap();
        octets
    }

    #[test]
    fn a_query_names_class_and_package() {
        let mut octets = b"\0\0\0\x62\0\0\0\x02".to_vec();
        octets.extend(b"\x05_what\x95\0\x06OBJECT\x0a_schema_id\xa8\0\0\0\x3f\0\0\0\x02");
        octets.extend(b"\x0d_package_name\x95\0\x16org.apache.qpid.broker");
        octets.extend(b"\x0b_class_name\x95\0\x05queue");
        assert_eq!(encoded(&query("queue")), octets);
    }

    #[test]
    fn a_method_is_the_brokers_and_has_its_arguments() {
        let arguments = of_queue("q", Map::new().with("options", Map::new()));
        let request = method_of_broker("delete", arguments);
        let read = Map::decode(&mut Reader::new(&encoded(&request))).unwrap();
        let object = read.get("_object_id").unwrap().as_map().unwrap();
        assert_eq!(object.get_str("_object_name"), Some(BROKER));
        assert_eq!(read.get_str("_method_name"), Some("delete"));
        let arguments = read.get("_arguments").unwrap().as_map().unwrap();
        let named: Vec<&str> = arguments.iter().map(|(name, _)| name).collect();
        assert_eq!(named, ["options", "type", "name"]);
        assert_eq!(arguments.get_str("name"), Some("q"));
        assert_eq!(arguments.get("options"), Some(&Value::Map(Map::new())));
    }

    #[test]
    fn objects_are_counted_and_what_is_none_is_refused() {
        let list = |values: Vec<Value>| {
            let mut octets = Vec::new();
            List(values).encode(&mut octets).unwrap();
            octets
        };
        let object = || Value::Map(Map::new().with("_values", Map::new()));
        assert_eq!(objects(&list(vec![])).unwrap(), 0);
        let mut two = list(vec![object(), object()]);
        assert_eq!(objects(&two).unwrap(), 2);
        two.pop();
        assert!(objects(&two).is_err());
        assert!(objects(&list(vec![object(), Value::Void])).is_err());
        assert!(objects(b"").is_err());
    }

    #[test]
    fn an_exception_is_told_by_its_text() {
        let values = Map::new().with("error_text", "no such queue").with("error_code", 7_u32);
        let text = exception(&encoded(&Map::new().with("_values", values))).unwrap();
        assert_eq!(text, "no such queue (7)");
        assert_eq!(exception(&encoded(&Map::new())).unwrap(), "no text");
        assert!(exception(b"\0\0").is_err());
    }
}
