//! What the topology was, change by change, since the broker started, and how much of that is promised.
//!
//! Changes are made one after the other on the orderer's shard and journalled there in this order, each
//! whole or not at all. So what recovery finds must be what there was after some change: not before the
//! last one that anybody was told of, or could have seen on another shard.

use fletch_engine::QueueId;
use fletch_engine::topology::{Binding, Change, Exchange, ObjectKind, Topology};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a request names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Queue(Arc<str>),
    Exchange(Arc<str>),
    Binding { queue: Arc<str>, exchange: Arc<str>, key: Arc<str> },
    Object(ObjectKind, Arc<str>),
}

impl Name {
    /// Whether a request that names `asked` may mean this. A fanout's bindings have no key.
    fn is_meant(&self, asked: &Name) -> bool {
        match (self, asked) {
            (
                Name::Binding { queue, exchange, key },
                Name::Binding { queue: q, exchange: x, key: k },
            ) => (queue, exchange) == (q, x) && (key.is_empty() || key == k),
            _ => self == asked,
        }
    }
}

/// What a durable queue, exchange, binding or object is, as far as a restart must keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing {
    name: Name,
    what: String,
    /// Ids of the queue and the exchange that it needs, but for those which are always there.
    needs: Vec<u64>,
}

/// Something was there, from after one step until another.
#[derive(Clone, Debug)]
struct Life {
    name: Name,
    /// What the journal knows it by, if it does.
    id: Option<u64>,
    from: usize,
    to: Option<usize>,
}

/// What a change did to durable things.
#[derive(Debug, Default)]
struct Step {
    added: Option<u64>,
    removed: Vec<u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The topology's epoch at the start.
    epoch: u64,
    /// What there was then, of durable things.
    base: BTreeSet<u64>,
    /// What there is: which life it is.
    now: BTreeMap<Name, usize>,
    /// Queues that there are.
    queues: BTreeMap<QueueId, Arc<str>>,
    /// All durable things that there ever were.
    things: BTreeMap<u64, Thing>,
    lives: Vec<Life>,
    /// One for each change.
    steps: Vec<Step>,
    /// So many are promised.
    promised: usize,
}

impl History {
    /// One that begins with a topology.
    fn of(topology: &Topology) -> History {
        let mut history = History::default();
        for x in topology.exchanges().map(Exchange::descriptor) {
            if !x.name.is_empty() && !x.name.starts_with("amq.") {
                history.see(&Change::ExchangeCreated(Arc::clone(x)));
            }
        }
        for object in topology.objects() {
            history.see(&Change::ObjectCreated(Arc::clone(object)));
        }
        for q in topology.queues() {
            history.see(&Change::QueueCreated(Arc::clone(q)));
            for b in topology.bindings_of(q.id) {
                history.see(&Change::Bound(Arc::clone(b)));
            }
        }
        history.steps.clear();
        history.lives.iter_mut().for_each(|life| life.from = 0);
        history.base = history.things.keys().copied().collect();
        history.epoch = topology.epoch().0;
        history
    }

    // ---- what happens --------------------------------------------------------------------

    /// How many steps there were.
    pub(super) fn step(&self) -> usize {
        self.steps.len()
    }

    /// The next change.
    pub(super) fn see(&mut self, change: &Change) {
        self.steps.push(Step::default());
        match change {
            Change::QueueCreated(q) => {
                self.queues.insert(q.id, Arc::clone(&q.name));
                let what = format!("{} {:?}", q.auto_delete, q.arguments);
                let id = q.durable.then_some(q.id.0);
                self.comes(Name::Queue(Arc::clone(&q.name)), id, what, Vec::new());
            }
            Change::QueueOwner { .. }
            | Change::Redirected { .. }
            | Change::RedirectEnded { .. } => {}
            Change::QueueDeleted { queue } => {
                let queue = self.queues.remove(queue).expect("it was there");
                self.goes(|name| match name {
                    Name::Queue(q) | Name::Binding { queue: q, .. } => *q == queue,
                    Name::Exchange(_) | Name::Object(..) => false,
                });
            }
            Change::ExchangeCreated(x) => {
                let what = format!("{:?} {} {:?}", x.kind, x.auto_delete, x.arguments);
                let id = (x.id != 0).then_some(x.id);
                self.comes(Name::Exchange(Arc::clone(&x.name)), id, what, Vec::new());
            }
            Change::ExchangeDeleted { name: exchange, .. } => self.goes(|name| match name {
                Name::Exchange(x) | Name::Binding { exchange: x, .. } => x == exchange,
                Name::Queue(_) | Name::Object(..) => false,
            }),
            Change::ObjectCreated(object) => {
                let exchange = self.now.get(&Name::Exchange(object.exchange().into()));
                let needs = exchange.and_then(|life| self.lives[*life].id).into_iter().collect();
                let id = (object.id != 0).then_some(object.id);
                let name = Name::Object(object.kind, Arc::clone(&object.name));
                self.comes(name, id, format!("{:?}", object.properties), needs);
            }
            Change::ObjectDeleted { kind, name, .. } => {
                let gone = Name::Object(*kind, Arc::clone(name));
                self.goes(|name| *name == gone);
            }
            Change::Bound(b) | Change::Rebound { binding: b, .. } => {
                if let Change::Rebound { instead_of, .. } = change {
                    let gone: Vec<Name> = instead_of.iter().map(|b| self.name_of(b)).collect();
                    self.goes(|name| gone.contains(name));
                }
                let exchange = self.now.get(&Name::Exchange(Arc::clone(&b.exchange)));
                let exchange = exchange.and_then(|life| self.lives[*life].id);
                let needs = std::iter::once(b.queue.0).chain(exchange).collect();
                let id = (b.id != 0).then_some(b.id);
                self.comes(self.name_of(b), id, format!("{:?}", b.arguments), needs);
            }
            Change::Unbound(b) => {
                let gone = self.name_of(b);
                self.goes(|name| *name == gone);
            }
        }
    }

    fn name_of(&self, b: &Binding) -> Name {
        Name::Binding {
            queue: Arc::clone(&self.queues[&b.queue]),
            exchange: Arc::clone(&b.exchange),
            key: Arc::clone(&b.key),
        }
    }

    /// Something is there from now on. `id`: what the journal knows it by, if it does.
    fn comes(&mut self, name: Name, id: Option<u64>, what: String, needs: Vec<u64>) {
        let from = self.steps.len();
        if let Some(id) = id {
            self.things.insert(id, Thing { name: name.clone(), what, needs });
            self.steps[from - 1].added = Some(id);
        }
        self.lives.push(Life { name: name.clone(), id, from, to: None });
        let old = self.now.insert(name, self.lives.len() - 1);
        assert!(old.is_none(), "{:?} is made and was there already", self.lives.last());
    }

    fn goes(&mut self, gone: impl Fn(&Name) -> bool) {
        let to = self.steps.len();
        for (_, life) in self.now.extract_if(.., |name, _| gone(name)) {
            self.lives[life].to = Some(to);
            self.steps[to - 1].removed.extend(self.lives[life].id);
        }
    }

    // ---- promises ------------------------------------------------------------------------

    /// Another shard than the orderer's has come to this epoch: it is durable.
    pub(super) fn seen_elsewhere(&mut self, epoch: u64) {
        self.promised = self.promised.max((epoch - self.epoch) as usize);
    }

    /// A request that was made after a step to make this has been answered: it is there for good.
    pub(super) fn made(&mut self, name: &Name, asked_at: usize) {
        let meant = self.lives.iter().filter(|life| life.name.is_meant(name));
        // It was there already, or it was made since: which of them does not matter, the first came
        // no later than the request.
        let first =
            meant.filter(|life| life.to.is_none_or(|to| to > asked_at)).min_by_key(|l| l.from);
        let life = first.unwrap_or_else(|| panic!("{name:?} was made and was never there"));
        if life.id.is_some() {
            self.promised = self.promised.max(life.from);
        }
    }

    /// The same of a request to delete it.
    pub(super) fn deleted(&mut self, name: &Name, asked_at: usize) {
        let there = |life: &&Life| life.from <= asked_at && life.to.is_none_or(|to| to > asked_at);
        let mut meant = self.lives.iter().filter(|life| life.name.is_meant(name));
        let Some(life) = meant.find(there) else { return };
        let to = life.to.unwrap_or_else(|| panic!("{name:?} was deleted and is still there"));
        if life.id.is_some() {
            self.promised = self.promised.max(to);
        }
    }

    // ---- recovery ------------------------------------------------------------------------

    /// What recovery has found must be what there was after a step that is late enough. Begins anew
    /// from it. How many steps were lost.
    pub(super) fn recovered(&mut self, topology: &Topology) -> usize {
        let found = History::of(topology);
        for Life { name, id, .. } in &found.lives {
            assert!(id.is_some(), "{name:?} is not durable and came back");
        }
        for (id, thing) in &found.things {
            let before = self.things.get(id);
            let before = before.unwrap_or_else(|| panic!("{thing:?} ({id}) was never there"));
            assert_eq!(thing, before, "{id} has come back as another");
        }
        for q in topology.queues() {
            assert!(q.owner.is_none(), "{} belongs to a session of another life", q.name);
        }
        let mut at = self.base.clone();
        let mut last = None;
        for n in 0..=self.steps.len() {
            if let Some(Step { added, removed }) = n.checked_sub(1).map(|n| &self.steps[n]) {
                at.retain(|id| !removed.contains(id));
                at.extend(added);
            }
            if n >= self.promised && at == found.base {
                // The latest that matches: not more is known to be lost.
                last = Some(n);
            }
        }
        let Some(last) = last else {
            panic!(
                "no state of the topology since step {} of {} is what recovery found: against the \
                 last one it lacks {:?}, has besides {:?}",
                self.promised,
                self.steps.len(),
                self.name_all(at.difference(&found.base)),
                self.name_all(found.base.difference(&at)),
            );
        };
        let lost = self.steps.len() - last;
        *self = found;
        lost
    }

    fn name_all<'a>(&self, ids: impl Iterator<Item = &'a u64>) -> Vec<&Name> {
        ids.filter_map(|id| self.things.get(id)).map(|thing| &thing.name).collect()
    }
}
