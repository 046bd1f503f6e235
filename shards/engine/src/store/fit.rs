//! Which of the definitions that recovery finds make a topology together.

use crate::ids::QueueId;
use crate::topology::{
    Binding, Change, ExchangeDescriptor, ExchangeKind, FixedMap, ObjectKind, QueueDescriptor,
    Topology,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a definition is known by to clients.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Queue(Arc<str>),
    Exchange(Arc<str>),
    Binding(u64, Arc<str>, Arc<str>),
    /// And whether it is a policy.
    Object(bool, Arc<str>),
}

impl Name {
    fn of(change: &Change) -> Option<Name> {
        match change {
            Change::QueueCreated(q) => Some(Name::Queue(Arc::clone(&q.name))),
            Change::ExchangeCreated(x) => Some(Name::Exchange(Arc::clone(&x.name))),
            Change::Bound(b) => {
                Some(Name::Binding(b.queue.0, Arc::clone(&b.exchange), Arc::clone(&b.key)))
            }
            Change::ObjectCreated(object) => {
                let is_policy = object.kind != ObjectKind::Topic;
                Some(Name::Object(is_policy, Arc::clone(&object.name)))
            }
            _ => None,
        }
    }
}

/// The definitions that fit together, in the order they were made in, so that what one needs comes
/// before it. But for an alternate exchange that was not durable (it is gone), all do, unless a damaged
/// log was salvaged: then a definition may be missing, or that it was undone. What needs something that
/// is missing is left out; of two with one name the newer is there.
pub(super) fn fit(found: Vec<(u64, Change)>) -> Vec<Change> {
    let names = found.iter().filter_map(|(id, change)| Some((Name::of(change)?, *id)));
    let newest: BTreeMap<Name, u64> = names.collect();
    let mut queues: FixedMap<QueueId, Arc<QueueDescriptor>> = FixedMap::default();
    let topology = Topology::new();
    let built_in = topology.exchanges().map(|x| x.descriptor());
    let mut exchanges: BTreeMap<Arc<str>, ExchangeKind> =
        built_in.map(|x| (Arc::clone(&x.name), x.kind)).collect();
    let alone = alone(&exchanges, &found);
    let is_replaced = |id: u64, b: &Binding| {
        let by = alone.get(&(Arc::clone(&b.exchange), Arc::clone(&b.key)));
        by.is_some_and(|by| id < *by)
    };
    let mut changes = Vec::new();
    for (id, change) in found {
        if Name::of(&change).and_then(|name| newest.get(&name).copied()) != Some(id) {
            continue;
        }
        let there = |name: &Arc<str>| exchanges.contains_key(name);
        changes.push(match change {
            Change::QueueCreated(q) => {
                let alternate = q.alternate.clone().filter(there);
                let q = Arc::new(QueueDescriptor { alternate, ..(*q).clone() });
                queues.insert(q.id, Arc::clone(&q));
                Change::QueueCreated(q)
            }
            Change::ExchangeCreated(x) => {
                let alternate = x.alternate.clone().filter(there);
                exchanges.insert(Arc::clone(&x.name), x.kind);
                Change::ExchangeCreated(Arc::new(ExchangeDescriptor { alternate, ..(*x).clone() }))
            }
            // Its place was taken, and the crash came before that was noted.
            Change::Bound(b) if is_replaced(id, &b) => {
                continue;
            }
            Change::Bound(b) => match queues.get(&b.queue).filter(|_| there(&b.exchange)) {
                Some(q) => Change::Bound(Arc::new(Binding { home: q.home, ..(*b).clone() })),
                None => continue,
            },
            Change::ObjectCreated(object)
                if object.kind == ObjectKind::Topic && !there(&object.exchange().into()) =>
            {
                continue;
            }
            change => change,
        });
    }
    changes
}

/// By exchange and key: the newest of the bindings that were made to be the only ones.
fn alone(
    built_in: &BTreeMap<Arc<str>, ExchangeKind>,
    found: &[(u64, Change)],
) -> BTreeMap<(Arc<str>, Arc<str>), u64> {
    let mut kinds = built_in.clone();
    let mut alone = BTreeMap::new();
    for (id, change) in found {
        match change {
            Change::ExchangeCreated(x) => {
                kinds.insert(Arc::clone(&x.name), x.kind);
            }
            Change::Bound(b) => {
                let kind = kinds.get(&b.exchange);
                if kind.is_some_and(|kind| kind.is_exclusive(&b.arguments)) {
                    alone.insert((Arc::clone(&b.exchange), Arc::clone(&b.key)), *id);
                }
            }
            _ => {}
        }
    }
    alone
}
