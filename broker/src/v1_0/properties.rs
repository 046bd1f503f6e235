//! Properties of nodes: what a client says of those that it wants made, or that it expects, and what the
//! answer says of them.

use super::error::Refusal;
use super::nodes::{Node, Wish};
use fletch_amqp::types::{Map, Value as OldValue};
use fletch_amqp::v1_0::table::{
    DeleteOnClose, DeleteOnNoLinks, DeleteOnNoLinksOrMessages, DeleteOnNoMessages,
};
use fletch_amqp::v1_0::types::{
    MapRef, Symbol, ValueRef, put_boolean, put_map, put_string, put_symbol,
};
use fletch_amqp::v1_0::{LifetimePolicy, amqp_error};
use fletch_amqp::wire::EncodeError;
use fletch_engine::topology::{ExchangeKind, Topology};
use fletch_engine::{DeclareExchange, DeclareQueue, Request};
use std::sync::Arc;

/// Properties of a node that a client wants made, or says of one that is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Properties {
    given: bool,
    /// Messages are copied to all who want them.
    copies: bool,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    alternate: Option<Arc<str>>,
    exchange_type: Option<Arc<str>>,
    lifetime: Option<&'static str>,
    arguments: Map,
}

impl Properties {
    pub(super) fn read(map: Option<MapRef<'_>>) -> Result<Properties, Refusal> {
        let mut properties = Properties::default();
        for (key, value) in map.into_iter().flat_map(|map| map.iter()).map_while(Result::ok) {
            let Some(key) = key.as_text() else { continue };
            properties.given = true;
            let flag = || value.as_bool().unwrap_or(value.as_text() == Some("true"));
            let text = || value.as_text().map(Arc::from);
            match key {
                "supported-dist-modes" => properties.copies = value.as_text() == Some("copy"),
                "durable" => properties.durable = flag(),
                "exclusive" => properties.exclusive = flag(),
                "auto-delete" => properties.auto_delete = flag(),
                "alternate-exchange" => properties.alternate = text(),
                "exchange-type" => properties.exchange_type = text(),
                "lifetime-policy" => {
                    properties.lifetime = lifetime(value);
                    properties.auto_delete |= properties.lifetime.is_some();
                }
                _ => {
                    properties.arguments.insert(key, argument(key, value)?);
                }
            }
        }
        Ok(properties)
    }

    /// Whether the node goes with the link it was made for.
    pub(super) fn goes_with_link(&self) -> bool {
        matches!(self.lifetime, None | Some(ON_CLOSE))
    }

    /// What makes the node. Exchanges are made for those who want a topic, or a type of exchange.
    pub(super) fn creation(
        self,
        name: &Arc<str>,
        wish: &Wish,
        dynamic: bool,
    ) -> Result<(Request, Node), Refusal> {
        let exchange = wish.topic || !wish.queue && (self.copies || self.exchange_type.is_some());
        if exchange {
            let kind = self.exchange_type.unwrap_or_else(|| Arc::from("topic"));
            let Some(known) = ExchangeKind::from_name(&kind) else {
                let text = format!("There is no type of exchange called {kind}");
                return Err(Refusal::new(amqp_error::NOT_IMPLEMENTED, text));
            };
            let declare = DeclareExchange {
                name: Arc::clone(name),
                kind,
                passive: false,
                durable: self.durable,
                auto_delete: self.auto_delete,
                alternate: self.alternate,
                arguments: self.arguments,
            };
            return Ok((
                Request::DeclareExchange(declare),
                Node::Exchange(Arc::clone(name), known),
            ));
        }
        let mut arguments = self.arguments;
        // What goes with its link is deleted by whoever ends that.
        if let Some(lifetime) = self.lifetime.filter(|lifetime| !dynamic || *lifetime != ON_CLOSE) {
            arguments.insert(LIFETIME, lifetime);
        }
        let declare = DeclareQueue {
            name: Arc::clone(name),
            passive: false,
            durable: self.durable,
            exclusive: self.exclusive,
            auto_delete: self.auto_delete && !(dynamic && matches!(self.lifetime, Some(ON_CLOSE))),
            near: dynamic,
            alternate: self.alternate,
            arguments,
        };
        Ok((Request::DeclareQueue(declare), Node::Queue(Arc::clone(name))))
    }

    /// Appends what the answer says of the node, as a map: of what the client has said, as the node has it. False
    /// if the client said nothing.
    pub(super) fn put_answer(
        &self,
        actual: &Actual,
        out: &mut Vec<u8>,
    ) -> Result<bool, EncodeError> {
        if !self.given {
            return Ok(false);
        }
        put_map(out, |out| {
            let mut count = 2;
            let mode = if actual.exchange.is_some() { "copy" } else { "move" };
            put_symbol(symbol("supported-dist-modes"), out)?;
            put_string(mode, out)?;
            let flags = [
                ("durable", self.durable && actual.durable),
                ("exclusive", self.exclusive && actual.exclusive),
                (
                    "auto-delete",
                    self.auto_delete && actual.auto_delete && actual.exchange.is_some(),
                ),
            ];
            for (key, _) in flags.iter().filter(|(_, said)| *said) {
                put_symbol(symbol(key), out)?;
                put_boolean(true, out);
                count += 2;
            }
            if let Some(policy) = actual.lifetime().filter(|_| self.auto_delete) {
                put_symbol(symbol("lifetime-policy"), out)?;
                policy.encode(out)?;
                count += 2;
            }
            let kind = actual.exchange.map(ExchangeKind::name);
            let kind = kind.filter(|_| self.exchange_type.is_some() || self.copies);
            let alternate = actual.alternate.as_deref().filter(|_| self.alternate.is_some());
            for (key, text) in [("exchange-type", kind), ("alternate-exchange", alternate)] {
                if let Some(text) = text {
                    put_symbol(symbol(key), out)?;
                    put_string(text, out)?;
                    count += 2;
                }
            }
            for (key, _) in self.arguments.iter() {
                let value = actual.arguments.get(key).and_then(as_text);
                if let (Some(key), Some(value)) = (Symbol::new(key), value) {
                    put_symbol(key, out)?;
                    put_string(&value, out)?;
                    count += 2;
                }
            }
            Ok(count)
        })?;
        Ok(true)
    }
}

/// What a node is, or will be when it is made.
#[derive(Clone, Debug, Default)]
pub(super) struct Actual {
    /// How it routes, if it is an exchange.
    exchange: Option<ExchangeKind>,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    /// It goes with the link.
    goes: bool,
    alternate: Option<Arc<str>>,
    arguments: Map,
}

impl Actual {
    /// Of a node, which `made` makes if it is not empty. `goes`: with its link.
    pub(super) fn of(topology: &Topology, node: &Node, made: &[Request], goes: bool) -> Actual {
        let exchange = node.exchange_kind();
        match made.first() {
            Some(Request::DeclareQueue(queue)) => Actual {
                durable: queue.durable,
                exclusive: queue.exclusive,
                auto_delete: queue.auto_delete || goes,
                alternate: queue.alternate.clone(),
                arguments: queue.arguments.clone(),
                exchange,
                goes,
            },
            Some(Request::DeclareExchange(made)) => Actual {
                durable: made.durable,
                auto_delete: made.auto_delete,
                alternate: made.alternate.clone(),
                arguments: made.arguments.clone(),
                exchange,
                ..Actual::default()
            },
            _ => Actual::existing(topology, node),
        }
    }

    fn existing(topology: &Topology, node: &Node) -> Actual {
        let exchange = node.exchange_kind();
        match node {
            Node::Queue(name) => topology.queue(name).map(|queue| Actual {
                durable: queue.durable,
                exclusive: queue.owner.is_some(),
                auto_delete: queue.auto_delete,
                alternate: queue.alternate.clone(),
                arguments: (*queue.arguments).clone(),
                ..Actual::default()
            }),
            Node::Exchange(name, _) | Node::Topic { exchange: name, .. } => {
                topology.exchange(name).map(|found| {
                    let found = found.descriptor();
                    Actual {
                        durable: found.durable,
                        auto_delete: found.auto_delete,
                        alternate: found.alternate.clone(),
                        arguments: (*found.arguments).clone(),
                        exchange,
                        ..Actual::default()
                    }
                })
            }
        }
        .unwrap_or_default()
    }

    /// How long it stays, if it is a queue that goes by itself.
    fn lifetime(&self) -> Option<LifetimePolicy<'static>> {
        if !self.auto_delete || self.exchange.is_some() {
            return None;
        }
        Some(match self.arguments.get_str(LIFETIME) {
            _ if self.goes => DeleteOnClose {}.into(),
            Some(ON_CLOSE) => DeleteOnClose {}.into(),
            Some(IF_EMPTY) => DeleteOnNoMessages {}.into(),
            Some(IF_UNUSED_AND_EMPTY) => DeleteOnNoLinksOrMessages {}.into(),
            _ => DeleteOnNoLinks {}.into(),
        })
    }
}

const LIFETIME: &str = "qpid.lifetime-policy";

/// Its value for nodes that go with the link they were made for.
const ON_CLOSE: &str = "delete-on-close";
const IF_UNUSED: &str = "delete-if-unused";
const IF_EMPTY: &str = "delete-if-empty";
const IF_UNUSED_AND_EMPTY: &str = "delete-if-unused-and-empty";

fn lifetime(value: ValueRef<'_>) -> Option<&'static str> {
    match LifetimePolicy::from_view(value) {
        Ok(LifetimePolicy::DeleteOnClose(_)) => Some(ON_CLOSE),
        Ok(LifetimePolicy::DeleteOnNoLinks(_)) => Some(IF_UNUSED),
        Ok(LifetimePolicy::DeleteOnNoMessages(_)) => Some(IF_EMPTY),
        Ok(LifetimePolicy::DeleteOnNoLinksOrMessages(_)) => Some(IF_UNUSED_AND_EMPTY),
        _ => None,
    }
}

/// As the reference writes it, and its clients compare it.
fn as_text(value: &OldValue) -> Option<String> {
    if let OldValue::Boolean(flag) = value {
        return Some(if *flag { "True" } else { "False" }.into());
    }
    (value.as_str().map(str::to_owned))
        .or_else(|| value.as_i64().map(|number| number.to_string()))
        .or_else(|| value.as_u64().map(|number| number.to_string()))
        .or_else(|| value.as_f64().map(|number| number.to_string()))
}

fn symbol(text: &'static str) -> Symbol<'static> {
    Symbol::new(text).unwrap_or_default()
}

/// An argument of a queue or exchange.
fn argument(key: &str, value: ValueRef<'_>) -> Result<OldValue, Refusal> {
    let number =
        || value.as_i64().map(OldValue::Int64).or_else(|| value.as_u64().map(OldValue::Uint64));
    let found = (value.as_text().map(OldValue::from))
        .or_else(|| value.as_bool().map(OldValue::Boolean))
        .or_else(number)
        .or_else(|| value.as_f64().map(OldValue::Double))
        .or_else(|| value.is_null().then_some(OldValue::Void));
    found.ok_or_else(|| Refusal::invalid(format!("{key} has a value that is no scalar")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_amqp::v1_0::types::{Value, put_described, put_list};
    use fletch_amqp::wire::Reader;

    fn map(entries: &[(&'static str, Value)]) -> Vec<u8> {
        let mut octets = Vec::new();
        let put = put_map(&mut octets, |out| {
            for (key, value) in entries {
                put_symbol(symbol(key), out)?;
                value.encode(out)?;
            }
            Ok(2 * entries.len() as u32)
        });
        put.expect("encodes");
        octets
    }

    fn decoded(octets: &[u8]) -> MapRef<'_> {
        let value = ValueRef::decode(&mut Reader::new(octets)).expect("decodes");
        value.as_map().expect("a map")
    }

    /// What the answer says, as text, to who says `said` of a queue that is as `actual`.
    fn answer(said: &[(&'static str, Value)], actual: &Actual) -> Vec<(String, String)> {
        let octets = map(said);
        let properties = Properties::read(Some(decoded(&octets))).expect("fine");
        let mut out = Vec::new();
        assert!(properties.put_answer(actual, &mut out).expect("encodes"));
        let entries = decoded(&out).iter().map(|entry| entry.expect("decodes"));
        let shown = |value: ValueRef<'_>| match value.as_text() {
            Some(text) => text.to_owned(),
            None => format!("{:?}", value.to_value().expect("decodes")),
        };
        entries.map(|(key, value)| (shown(key), shown(value))).collect()
    }

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn the_answer_says_what_there_is_of_what_was_asked() {
        let there = Actual {
            durable: true,
            arguments: Map::new().with("qpid.max_count", 5).with("qpid.last_value_queue", true),
            ..Actual::default()
        };
        let said = [
            ("durable", Value::Boolean(true)),
            ("exclusive", Value::Boolean(true)),
            ("auto-delete", Value::Boolean(true)),
            ("alternate-exchange", text("dead")),
            ("qpid.max_count", Value::Uint(7)),
            ("qpid.last_value_queue", Value::Boolean(true)),
            ("qpid.max_size", Value::Uint(7)),
        ];
        let expected = [
            ("supported-dist-modes", "move"),
            ("durable", "Boolean(true)"),
            ("qpid.last_value_queue", "True"),
            ("qpid.max_count", "5"),
        ];
        let mut told = answer(&said, &there);
        told[2..].sort();
        let told: Vec<_> = told.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(told, expected);
        assert_eq!(answer(&said[1..2], &there).len(), 1, "what was not asked is not said");
    }

    #[test]
    fn the_answer_says_how_long_a_queue_stays() {
        let lifetime = |policy: Option<&str>, goes| {
            let arguments = policy.map(|policy| Map::new().with(LIFETIME, policy));
            let arguments = arguments.unwrap_or_default();
            let there = Actual { auto_delete: true, goes, arguments, ..Actual::default() };
            let mut octets = Vec::new();
            put_map(&mut octets, |out| {
                put_symbol(symbol("lifetime-policy"), out)?;
                put_described(0x2b, out);
                put_list(out, |_| Ok(0))?;
                Ok(2)
            })
            .expect("encodes");
            let properties = Properties::read(Some(decoded(&octets))).expect("fine");
            let mut out = Vec::new();
            properties.put_answer(&there, &mut out).expect("encodes");
            let policy = decoded(&out).get("lifetime-policy").expect("it is said");
            policy.described().expect("described").0.as_u64().expect("by number")
        };
        assert_eq!(lifetime(None, true), 0x2b);
        assert_eq!(lifetime(Some(ON_CLOSE), false), 0x2b);
        assert_eq!((lifetime(None, false), lifetime(Some(IF_UNUSED), false)), (0x2c, 0x2c));
        assert_eq!(lifetime(Some(IF_EMPTY), false), 0x2d);
        assert_eq!(lifetime(Some(IF_UNUSED_AND_EMPTY), false), 0x2e);
    }
}
