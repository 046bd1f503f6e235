//! What a broker's management looks like to `fletch-perf`: an agent of QMF version 2 that answers through fletchd, and makes
//! and deletes queues there. It has as many objects of each class as it was told.

use fletch_client::amqp::types::{List, Map, Value};
use fletch_client::amqp::v0_10::table::message::{MessageProperties, ReplyTo};
use fletch_client::amqp::v0_10::table::{exchange, queue};
use fletch_client::amqp::wire::Reader;
use fletch_client::{ConnectOptions, Connection, Delivery, Outgoing, Session};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where requests go.
const REQUESTS: &str = "qmf.default.direct";
/// What it says of a method that it refuses.
pub(crate) const REFUSAL: &str = "not today";

/// An agent at work.
pub(crate) struct Agent {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What it was asked.
#[derive(Default)]
pub(crate) struct Seen {
    /// Classes, by query.
    pub(crate) queries: Vec<String>,
    /// The names of queues, by method.
    pub(crate) created: Vec<String>,
    pub(crate) deleted: Vec<String>,
    /// Of the queues that it made those that are there in the end.
    pub(crate) left: Vec<String>,
}

/// A session with the exchange that agents listen to.
pub(crate) fn with_exchange(broker: SocketAddr) -> Session {
    let connection = Connection::connect(broker, &ConnectOptions::default()).unwrap();
    let session = connection.session("agent", false).unwrap();
    let (exchange, r#type) = (Some(REQUESTS), Some("direct"));
    session.call(&exchange::Declare { exchange, r#type, ..Default::default() }.into()).unwrap();
    session
}

impl Agent {
    /// One with so many objects, told in as many messages as there are numbers, that refuses one method.
    pub(crate) fn start(
        broker: SocketAddr,
        objects: &'static [usize],
        refused: &'static str,
    ) -> Agent {
        let session = with_exchange(broker);
        let name = Some("agent");
        let declare = queue::Declare {
            queue: name,
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        session.command(&declare.into()).unwrap();
        let (exchange, binding_key) = (Some(REQUESTS), Some("broker"));
        let bind = exchange::Bind { queue: name, exchange, binding_key, ..Default::default() };
        session.command(&bind.into()).unwrap();
        session.consume("agent", "in", 10).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !until.load(Ordering::Relaxed) {
                let request = session.next_delivery(Duration::from_millis(20)).unwrap();
                if let Some(request) = request {
                    session.accept(request.id).unwrap();
                    answer(&session, &request, &mut seen, objects, refused);
                }
            }
            let names = seen.created.iter().filter(|name| exists(&session, name));
            seen.left = names.cloned().collect();
            seen
        });
        Agent { over, thread }
    }

    /// What it has seen, once there is nothing more to come.
    pub(crate) fn stop(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn exists(session: &Session, name: &str) -> bool {
    let reply = session.call(&queue::Query { queue: Some(name) }.into()).unwrap().unwrap();
    reply.read::<queue::QueueQueryResult<'_>>().unwrap().queue.is_some()
}

fn answer(
    session: &Session,
    request: &Delivery,
    seen: &mut Seen,
    objects: &[usize],
    refused: &str,
) {
    let asked = request.view().unwrap().message_properties().unwrap();
    assert_eq!((asked.app_id, asked.content_type), (Some(&b"qmf2"[..]), Some("amqp/map")));
    let content = Map::decode(&mut Reader::new(request.body())).unwrap();
    let send = |opcode: &str, partial: bool, encode: &dyn Fn(&mut Vec<u8>)| {
        reply(session, &asked, opcode, partial, encode);
    };
    let part = |name: &str| content.get(name).unwrap().as_map().unwrap();
    match asked.application_headers.unwrap().get_str("qmf.opcode").unwrap() {
        "_query_request" => {
            assert_eq!(content.get_str("_what"), Some("OBJECT"));
            let class = part("_schema_id");
            assert_eq!(class.get_str("_package_name"), Some("org.apache.qpid.broker"));
            seen.queries.push(class.get_str("_class_name").unwrap().to_owned());
            for (at, count) in objects.iter().enumerate() {
                let object = Value::Map(Map::new().with("_values", Map::new()));
                let list = List(vec![object; *count]);
                let partial = at + 1 < objects.len();
                send("_query_response", partial, &|out| list.encode(out).unwrap());
            }
        }
        "_method_request" => {
            let object = part("_object_id").get_str("_object_name");
            assert_eq!(object, Some("org.apache.qpid.broker:broker:amqp-broker"));
            let arguments = part("_arguments");
            assert_eq!(arguments.get_str("type"), Some("queue"));
            let method = content.get_str("_method_name").unwrap();
            if method == refused {
                let values = Map::new().with("error_text", REFUSAL).with("error_code", 7_u32);
                let map = Map::new().with("_values", values);
                return send("_exception", false, &|out| map.encode(out).unwrap());
            }
            let name = arguments.get_str("name").unwrap();
            let queue = Some(name);
            let command = match method {
                "create" => {
                    seen.created.push(name.to_owned());
                    queue::Declare { queue, ..Default::default() }.into()
                }
                "delete" => {
                    seen.deleted.push(name.to_owned());
                    queue::Delete { queue, ..Default::default() }.into()
                }
                other => panic!("the method {other}"),
            };
            session.call(&command).unwrap();
            let map = Map::new().with("_arguments", Map::new());
            send("_method_response", false, &|out| map.encode(out).unwrap());
        }
        other => panic!("the opcode {other}"),
    }
}

/// Sends one message to whoever asked.
fn reply(
    session: &Session,
    asked: &MessageProperties<'_>,
    opcode: &str,
    partial: bool,
    encode: &dyn Fn(&mut Vec<u8>),
) {
    let ReplyTo { exchange, routing_key } = asked.reply_to.as_ref().unwrap();
    let mut headers = Map::new().with("method", "response").with("qmf.opcode", opcode);
    if partial {
        headers.insert("partial", "");
    }
    let headers = headers.encoded().unwrap();
    let mut body = Vec::new();
    encode(&mut body);
    let mut message = Outgoing::with_key(routing_key.unwrap(), &body);
    message.message = MessageProperties {
        correlation_id: asked.correlation_id,
        app_id: Some(b"qmf2"),
        application_headers: Some(headers.view()),
        ..Default::default()
    };
    session.send(exchange.unwrap(), &message).unwrap();
}
