//! Objects of management that say how nodes are made: policies make queues and topics on demand, by the
//! patterns of their names; a topic says what the queues of its subscriptions are like.

use super::change::ExchangeKind;
use super::checks::{check_length, given};
use super::names::FixedMap;
use super::{DEFAULT, Topology};
use crate::error::{Error, ErrorKind};
use crate::queue::QueueSettings;
use crate::request::{CreateObject, DeclareExchange, DeclareQueue};
use fletch_amqp::types::{Map, Value};
use regex::Regex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A subscription's queue, and other things, of which the object says how long they stay.
const LIFETIME: &str = "qpid.lifetime-policy";

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A name for an exchange, with what the queues of subscriptions to it are like. Its properties: `exchange`,
    /// `durable`, `alternate-exchange`, and arguments of those queues.
    Topic,
    /// Makes queues. Its name is a regular expression; its properties: `durable`, `auto-delete`,
    /// `alternate-exchange`, and arguments of the queues. What is neither durable nor says how long it stays
    /// goes when nobody needs it.
    QueuePolicy,
    /// Makes topics, each with an exchange of its name. Its name is a regular expression; its properties:
    /// `durable`, `auto-delete`, `alternate-exchange`, `exchange-type`, `qpid.lifetime-policy`,
    /// `qpid.msg_sequence`, `qpid.ive`, and arguments of the queues of subscriptions.
    TopicPolicy,
}

impl ObjectKind {
    /// All there are.
    pub const ALL: [ObjectKind; 3] =
        [ObjectKind::Topic, ObjectKind::QueuePolicy, ObjectKind::TopicPolicy];

    /// What management calls it.
    pub fn name(self) -> &'static str {
        match self {
            ObjectKind::Topic => "topic",
            ObjectKind::QueuePolicy => "QueuePolicy",
            ObjectKind::TopicPolicy => "TopicPolicy",
        }
    }

    /// The one that management calls so.
    pub fn from_name(name: &str) -> Option<ObjectKind> {
        ObjectKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn is_policy(self) -> bool {
        self != ObjectKind::Topic
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An object, as every shard knows it.
#[derive(Clone, Debug)]
pub struct Object {
    /// What the journal knows it by; 0 if it is not durable.
    pub id: u64,
    /// What it is.
    pub kind: ObjectKind,
    /// 1 to 255 bytes; a policy's pattern.
    pub name: Arc<str>,
    /// As given.
    pub properties: Arc<Map>,
    /// Of a policy.
    pub(super) pattern: Option<Regex>,
}

impl Object {
    /// One with these properties.
    ///
    /// # Errors
    /// `InvalidArgument` if a policy's name is no regular expression.
    pub fn new(
        id: u64,
        kind: ObjectKind,
        name: Arc<str>,
        properties: Arc<Map>,
    ) -> Result<Object, Error> {
        let pattern = match kind.is_policy() {
            true => Some(Regex::new(&name).map_err(|error| {
                Error::invalid(format!("{kind} {name}: not a regular expression: {error}"))
            })?),
            false => None,
        };
        Ok(Object { id, kind, name, properties, pattern })
    }

    /// A policy without properties, which lasts as long as the broker runs.
    pub fn policy(kind: ObjectKind, pattern: Regex) -> Object {
        let (name, properties) = (Arc::from(pattern.as_str()), Arc::default());
        Object { id: 0, kind, name, properties, pattern: Some(pattern) }
    }

    fn text(&self, key: &str) -> Option<&str> {
        given(self.properties.get_str(key))
    }

    fn alternate(&self) -> Option<Arc<str>> {
        self.text("alternate-exchange").map(Arc::from)
    }

    /// The exchange of a topic.
    pub fn exchange(&self) -> &str {
        self.text("exchange").unwrap_or_default()
    }

    /// A queue for a subscription to the topic.
    pub fn subscription_queue(&self, name: Arc<str>) -> DeclareQueue {
        let arguments = without(&self.properties, &["durable", "exchange", "alternate-exchange"]);
        let alternate = self.alternate();
        DeclareQueue { name, alternate, arguments, ..DeclareQueue::default() }
    }

    fn queue(&self, name: Arc<str>) -> Result<DeclareQueue, Error> {
        let said = |key| self.properties.get(key).is_some();
        let durable = flag(&self.properties, "durable")?.unwrap_or(false);
        let auto_delete = flag(&self.properties, "auto-delete")?;
        let mut arguments =
            without(&self.properties, &["durable", "auto-delete", "alternate-exchange"]);
        if !durable && auto_delete.is_none() && !said(LIFETIME) {
            arguments.insert(LIFETIME, "delete-if-unused-and-empty");
        }
        let settings = QueueSettings::new(&name, &arguments)?;
        let auto_delete = settings.auto_delete(auto_delete.unwrap_or(false));
        let alternate = self.alternate();
        Ok(DeclareQueue { name, durable, auto_delete, alternate, arguments, ..Default::default() })
    }

    fn topic(&self, name: Arc<str>) -> Result<(DeclareExchange, CreateObject), Error> {
        let properties = &*self.properties;
        let durable = flag(properties, "durable")?.unwrap_or(false);
        let auto_delete = match properties.get_str(LIFETIME) {
            None => flag(properties, "auto-delete")?.unwrap_or(!durable),
            Some("manual") => false,
            Some("delete-if-unused" | "delete-if-unused-and-empty") => true,
            Some(other) => {
                let text = format!("{}: no {LIFETIME} of a topic: {other}", self.name);
                return Err(Error::invalid(text));
            }
        };
        let kind = self.text("exchange-type").unwrap_or(ExchangeKind::Topic.name());
        let mut arguments = Map::new();
        for key in ["qpid.msg_sequence", "qpid.ive"] {
            if let Some(value) = properties.get(key) {
                arguments.insert(key, value.clone());
            }
        }
        let exchange = DeclareExchange {
            name: Arc::clone(&name),
            kind: kind.into(),
            passive: false,
            durable,
            auto_delete,
            alternate: self.alternate(),
            arguments,
        };
        let own = ["durable", "auto-delete", "exchange-type", LIFETIME];
        let own = [&own[..], &["qpid.msg_sequence", "qpid.ive", "alternate-exchange"]].concat();
        let properties = without(properties, &own).with("exchange", &*name);
        let properties = if durable { properties.with("durable", true) } else { properties };
        let kind = ObjectKind::Topic;
        Ok((exchange, CreateObject { kind, name, properties, if_absent: true }))
    }

    /// What a policy makes for a name.
    pub fn make(&self, name: &Arc<str>) -> Option<Made> {
        let name = Arc::clone(name);
        // They have been checked.
        match self.kind {
            ObjectKind::Topic => None,
            ObjectKind::QueuePolicy => self.queue(name).map(Made::Queue).ok(),
            ObjectKind::TopicPolicy => {
                self.topic(name).map(|(exchange, topic)| Made::Topic(exchange, topic)).ok()
            }
        }
    }
}

/// What makes a node on demand.
#[derive(Clone, Debug)]
pub enum Made {
    /// A queue.
    Queue(DeclareQueue),
    /// An exchange, and then a topic of its name.
    Topic(DeclareExchange, CreateObject),
}

fn flag(properties: &Map, key: &str) -> Result<Option<bool>, Error> {
    match properties.get(key) {
        None | Some(Value::Void) => Ok(None),
        Some(value) => match (value.as_bool(), value.as_str()) {
            (Some(flag), _) => Ok(Some(flag)),
            (None, Some("true" | "True" | "1")) => Ok(Some(true)),
            (None, Some("false" | "False" | "0")) => Ok(Some(false)),
            _ => Err(Error::invalid(format!("{key} is neither true nor false"))),
        },
    }
}

fn without(map: &Map, keys: &[&str]) -> Map {
    let mut rest = Map::new();
    for (key, value) in map.iter().filter(|(key, _)| !keys.contains(&&**key)) {
        rest.insert(key, value.clone());
    }
    rest
}

/// Those that there are.
#[derive(Debug, Default)]
pub(super) struct Objects {
    topics: FixedMap<Arc<str>, Arc<Object>>,
    /// In the order of their patterns.
    policies: BTreeMap<Arc<str>, Arc<Object>>,
}

impl Objects {
    fn get(&self, kind: ObjectKind, name: &str) -> Option<&Arc<Object>> {
        match kind {
            ObjectKind::Topic => self.topics.get(name),
            _ => self.policies.get(name),
        }
    }

    /// In the place of a policy that is there without being durable, if need be: of an option, when a durable
    /// one comes back.
    pub(super) fn create(&mut self, object: &Arc<Object>) {
        let (name, object) = (Arc::clone(&object.name), Arc::clone(object));
        match object.kind {
            ObjectKind::Topic => self.topics.insert(name, object),
            _ => self.policies.insert(name, object),
        };
    }

    pub(super) fn delete(&mut self, kind: ObjectKind, name: &str) {
        let gone = match kind {
            ObjectKind::Topic => self.topics.remove(name),
            _ => self.policies.remove(name),
        };
        assert!(gone.is_some(), "deleted {kind} {name} exists");
    }
}

impl Topology {
    /// The topic called `name`.
    pub fn topic(&self, name: &str) -> Option<&Arc<Object>> {
        match self.objects.topics.is_empty() {
            true => None,
            false => self.objects.topics.get(name),
        }
    }

    /// All objects, in no order.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.topics.values().chain(self.objects.policies.values())
    }

    /// The topics of an exchange.
    pub(super) fn topics_of(&self, exchange: &str) -> Vec<Arc<Object>> {
        let topics = self.objects.topics.values();
        topics.filter(|topic| topic.exchange() == exchange).cloned().collect()
    }

    /// The policy for a name: of those whose patterns match, as in the reference, the one with the longest
    /// pattern, for that says most.
    pub fn policy(&self, name: &str) -> Option<&Arc<Object>> {
        let matches = |policy: &&Arc<Object>| {
            policy.pattern.as_ref().is_some_and(|pattern| pattern.is_match(name))
        };
        // The last of those that are as long is the greatest, and the first in order is wanted.
        let matching = self.objects.policies.values().rev().filter(matches);
        matching.max_by_key(|policy| policy.name.len())
    }

    /// Checks what a client wants made; `None` if it is there and that is enough.
    pub(super) fn check_object(&self, create: &CreateObject) -> Result<Option<Object>, Error> {
        let CreateObject { kind, name, properties, if_absent } = create;
        if name.is_empty() {
            return Err(Error::illegal(format!("No name of a {kind} specified.")));
        }
        check_length("name of an object", name)?;
        if let Some(there) = self.objects.get(*kind, name) {
            if *if_absent {
                return Ok(None);
            }
            let text = match there.kind == *kind {
                true => format!("An object of type {kind} with key {name} already exists"),
                false => format!(
                    "Cannot create object of type {kind} with key {name} as an object of type {} \
                     already exists with the same key",
                    there.kind
                ),
            };
            return Err(Error::new(ErrorKind::NotAllowed, text));
        }
        let object = Object::new(0, *kind, Arc::clone(name), Arc::new(properties.clone()))?;
        if let Some(alternate) = object.alternate() {
            self.resolve_exchange(&alternate)?;
        }
        match kind {
            ObjectKind::Topic => {
                let exchange = object.exchange();
                if exchange == DEFAULT {
                    return Err(Error::invalid(format!(
                        "topic {name}: Exchange must be specified."
                    )));
                }
                let exchange = self.resolve_exchange(exchange)?;
                let durable = flag(properties, "durable")?.unwrap_or(false);
                if durable && !exchange.descriptor().durable {
                    let text =
                        format!("topic {name}: Durable topic must be backed by durable exchange");
                    return Err(Error::precondition(text));
                }
                QueueSettings::new(name, &object.subscription_queue(Arc::clone(name)).arguments)?;
            }
            ObjectKind::QueuePolicy => {
                object.queue(Arc::clone(name))?;
            }
            ObjectKind::TopicPolicy => {
                let (exchange, topic) = object.topic(Arc::clone(name))?;
                if ExchangeKind::from_name(&exchange.kind).is_none() {
                    let text = format!("Exchange type not implemented: {}", exchange.kind);
                    return Err(Error::not_found(text));
                }
                let arguments = without(&topic.properties, &["durable", "exchange"]);
                QueueSettings::new(name, &arguments)?;
            }
        }
        Ok(Some(object))
    }

    /// The object that somebody wants deleted.
    pub(super) fn object(&self, kind: ObjectKind, name: &str) -> Result<&Arc<Object>, Error> {
        let found = self.objects.get(kind, name);
        let found = found.ok_or_else(|| Error::not_found(format!("No {kind} called {name}")))?;
        if found.kind != kind {
            let text = format!("Object with key {name} is of type {} not {kind}", found.kind);
            return Err(Error::new(ErrorKind::NotAllowed, text));
        }
        Ok(found)
    }
}

impl Object {
    /// Whether it survives a restart.
    pub(super) fn wants_durable(&self) -> bool {
        flag(&self.properties, "durable").ok().flatten().unwrap_or(false)
    }
}
