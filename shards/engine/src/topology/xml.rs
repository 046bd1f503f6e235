//! XML routing: by key, and of those bindings the ones whose query matches the message.

use super::change::Binding;
use super::direct::mentions;
use super::names::{FixedMap, Name};
use super::routes::{Route, Routes};
use crate::error::{Error, ErrorKind};
use crate::ids::QueueId;
use crate::look::{content, properties};
use crate::message::Message;
use crate::xquery::{Query, Source};
use fletch_amqp::types::Map;
use std::sync::Arc;

/// The argument with a binding's query. Without it every message with the key matches.
const QUERY: &str = "xquery";

/// Which messages a binding wants.
#[derive(Debug)]
enum Wants {
    All,
    Matching(Box<Query>),
    /// A newer version may have stored a query that this one cannot read.
    None,
}

impl Wants {
    fn of(arguments: &Map) -> Result<Wants, Error> {
        let Some(value) = arguments.get(QUERY) else { return Ok(Wants::All) };
        let refused = |text: &str, why: &str| {
            Error::new(ErrorKind::Internal, format!("Could not parse xquery:{text}: {why}"))
        };
        let Some(text) = value.view_text() else { return Err(refused("", "text expected")) };
        match Query::parse(&text) {
            Ok(query) => Ok(Wants::Matching(Box::new(query))),
            Err(error) => Err(refused(&text, &error.to_string())),
        }
    }
}

/// Checks the arguments of a binding to an XML exchange.
pub(super) fn check_arguments(arguments: &Map) -> Result<(), Error> {
    Wants::of(arguments).map(|_| ())
}

/// The bindings of an XML exchange.
#[derive(Debug, Default)]
pub(super) struct Xml {
    keys: FixedMap<Name, Bound>,
}

/// The bindings of one key.
#[derive(Debug, Default)]
struct Bound {
    routes: Vec<Route>,
    /// Of each.
    wants: Vec<Wants>,
}

impl Xml {
    /// The binding must not exist.
    pub(super) fn bind(&mut self, binding: &Arc<Binding>, route: Route) {
        let bound = self.keys.entry(Name(Arc::clone(&binding.key))).or_default();
        bound.routes.push(route);
        bound.wants.push(Wants::of(&binding.arguments).unwrap_or(Wants::None));
    }

    /// The binding must exist.
    pub(super) fn unbind(&mut self, key: &str, queue: QueueId) {
        let bound = self.keys.get_mut(key.as_bytes()).expect("unbound key is bound");
        let at = bound.routes.iter().position(|r| r.queue == queue);
        let at = at.expect("unbound queue is bound");
        bound.routes.swap_remove(at);
        bound.wants.swap_remove(at);
        if bound.routes.is_empty() {
            self.keys.remove(key.as_bytes());
        }
    }

    pub(super) fn route(&self, message: &Message, out: &mut Routes) {
        let Some(bound) = self.keys.get(message.routing_key()) else { return };
        let content = content(message);
        let source = Source::new(&content);
        let headers = properties(message);
        for (route, wants) in bound.routes.iter().zip(&bound.wants) {
            let matches = match wants {
                Wants::All => true,
                Wants::Matching(query) => query.matches(&source, &headers),
                Wants::None => false,
            };
            if matches {
                out.list.push(*route);
            }
        }
    }

    /// Whether `queue`, or any queue, is bound with this key.
    pub(super) fn has(&self, key: &str, queue: Option<QueueId>) -> bool {
        self.keys.get(key.as_bytes()).is_some_and(|bound| mentions(&bound.routes, queue))
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.keys.values().flat_map(|bound| bound.routes.iter().copied())
    }
}
