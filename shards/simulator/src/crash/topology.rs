//! What the topology was, step by step, since the broker started, and how much of that is promised.
//!
//! Changes are made one after the other on the orderer's shard and journalled there in this order. So
//! what recovery finds must be what there was after some step: not before the last one that anybody was
//! told of, or could have seen on another shard.

use fletch_engine::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a request names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Queue(Arc<str>),
    Exchange(Arc<str>),
    Binding { queue: Arc<str>, exchange: Arc<str>, key: Arc<str> },
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

/// One thing that durable queues, exchanges and bindings are, as far as a restart must keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Thing {
    name: Name,
    what: String,
    /// Ids of the queue and the exchange that it needs, if they are durable.
    needs: Vec<u64>,
}

/// Something was there, from one step to another.
#[derive(Clone, Debug)]
struct Life {
    name: Name,
    /// What the journal knows it by, if it does.
    id: Option<u64>,
    from: usize,
    to: Option<usize>,
}

#[derive(Clone, Debug)]
struct Step {
    added: Vec<u64>,
    removed: Vec<u64>,
    /// Several changes made at once: a crash may come between them.
    several: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    epoch: u64,
    /// What there was at the start, and what there is.
    base: BTreeSet<u64>,
    now: BTreeMap<(Name, u64), usize>,
    things: BTreeMap<u64, Thing>,
    lives: Vec<Life>,
    steps: Vec<Step>,
    /// The epoch after each step.
    epochs: Vec<u64>,
    /// So many steps are promised.
    promised: usize,
    /// Promised within a step of several changes: that something is there for good, or is not.
    within: Vec<(usize, u64, bool)>,
}

/// Everything in a topology by name, with its id: 0 if the journal does not know it.
fn everything(topology: &Topology) -> BTreeMap<(Name, u64), Option<Thing>> {
    let mut all = BTreeMap::new();
    let mut exchanges = BTreeMap::new();
    for x in topology.exchanges() {
        let x = x.descriptor();
        if x.name.is_empty() || x.name.starts_with("amq.") {
            continue;
        }
        let name = Name::Exchange(Arc::clone(&x.name));
        exchanges.insert(Arc::clone(&x.name), x.id);
        let thing = (x.id != 0).then(|| Thing {
            name: name.clone(),
            what: format!("{:?} {} {:?}", x.kind, x.auto_delete, x.arguments),
            needs: Vec::new(),
        });
        all.insert((name, x.id), thing);
    }
    for q in topology.queues() {
        let name = Name::Queue(Arc::clone(&q.name));
        let thing = q.durable.then(|| Thing {
            name: name.clone(),
            what: format!("{} {:?}", q.auto_delete, q.arguments),
            needs: Vec::new(),
        });
        let id = q.id.0;
        all.insert((name, id), thing);
        for b in topology.bindings_of(q.id) {
            let name = Name::Binding {
                queue: Arc::clone(&q.name),
                exchange: Arc::clone(&b.exchange),
                key: Arc::clone(&b.key),
            };
            let exchange = exchanges.get(&b.exchange).copied();
            let thing = (b.id != 0).then(|| Thing {
                name: name.clone(),
                what: format!("{:?}", b.arguments),
                needs: std::iter::once(id).chain(exchange).collect(),
            });
            all.insert((name, b.id), thing);
        }
    }
    all
}

impl History {
    /// How many steps there were.
    pub(super) fn step(&self) -> usize {
        self.steps.len()
    }

    /// The orderer's shard may have made changes.
    pub(super) fn see(&mut self, topology: &Topology) {
        let changes = topology.epoch().0 - self.epoch;
        if changes == 0 {
            return;
        }
        self.epoch = topology.epoch().0;
        let all = everything(topology);
        let step = self.steps.len() + 1;
        let mut removed = Vec::new();
        let lives = &mut self.lives;
        self.now.retain(|key, life| {
            let stays = all.contains_key(key);
            if !stays {
                lives[*life].to = Some(step);
                removed.extend(lives[*life].id);
            }
            stays
        });
        let mut added = Vec::new();
        for (key, thing) in all {
            if self.now.contains_key(&key) {
                continue;
            }
            let id = thing.as_ref().map(|_| key.1);
            added.extend(id);
            if let Some(thing) = thing {
                self.things.insert(key.1, thing);
            }
            self.lives.push(Life { name: key.0.clone(), id, from: step, to: None });
            self.now.insert(key, self.lives.len() - 1);
        }
        self.steps.push(Step { added, removed, several: changes > 1 });
        self.epochs.push(self.epoch);
    }

    // ---- promises ------------------------------------------------------------------------

    /// Another shard than the orderer's has come to this epoch: it is durable.
    pub(super) fn seen_elsewhere(&mut self, epoch: u64) {
        self.promised = self.promised.max(self.epochs.partition_point(|e| *e <= epoch));
    }

    /// A request that was made at a step to make this has been answered: it is there for good.
    pub(super) fn made(&mut self, name: &Name, asked_at: usize) {
        let meant = self.lives.iter().filter(|life| life.name.is_meant(name));
        // It was there already, or it was made since: which of them does not matter, the first came
        // no later than the request.
        let first =
            meant.filter(|life| life.to.is_none_or(|to| to > asked_at)).min_by_key(|l| l.from);
        let Some(life) = first else {
            // What several changes at once made and took away again is not seen, and not promised.
            let unseen = self.steps[asked_at..].iter().any(|step| step.several);
            assert!(unseen, "{name:?} was made and was never there");
            return;
        };
        if let Some(id) = life.id {
            self.promise(life.from, id, true);
        }
    }

    /// The same of a request to delete it.
    pub(super) fn deleted(&mut self, name: &Name, asked_at: usize) {
        let there = |life: &&Life| life.from <= asked_at && life.to.is_none_or(|to| to > asked_at);
        let mut meant = self.lives.iter().filter(|life| life.name.is_meant(name));
        let Some(life) = meant.find(there) else { return };
        let to = life.to.unwrap_or_else(|| panic!("{name:?} was deleted and is still there"));
        if let Some(id) = life.id {
            self.promise(to, id, false);
        }
    }

    fn promise(&mut self, step: usize, id: u64, there: bool) {
        // Of several changes in one step, the one asked for may be the first.
        let several = step > 0 && self.steps[step - 1].several;
        self.promised = self.promised.max(if several { step - 1 } else { step });
        if several {
            self.within.push((step, id, there));
        }
    }

    // ---- recovery ------------------------------------------------------------------------

    /// What recovery has found must be what there was after a step that is late enough. Begins anew
    /// from it. How many steps were lost.
    pub(super) fn recovered(&mut self, topology: &Topology) -> usize {
        let mut found = BTreeMap::new();
        for ((name, id), thing) in everything(topology) {
            let thing = thing.unwrap_or_else(|| panic!("{name:?} is not durable and came back"));
            found.insert(id, thing);
        }
        for (id, thing) in &found {
            let before = self.things.get(id);
            let before = before.unwrap_or_else(|| panic!("{thing:?} ({id}) was never there"));
            assert_eq!(thing, before, "{id} has come back as another");
            for needed in &thing.needs {
                assert!(*needed == 0 || found.contains_key(needed), "{thing:?} lacks {needed}");
            }
        }
        for q in topology.queues() {
            assert!(q.owner.is_none(), "{} belongs to a session of another life", q.name);
        }
        let ids: BTreeSet<u64> = found.keys().copied().collect();
        let mut at = self.base.clone();
        let mut lost = None;
        for n in 0..=self.steps.len() {
            let next = self.steps.get(n);
            let kept =
                |(step, id, there): &(usize, u64, bool)| *step <= n || ids.contains(id) == *there;
            if n >= self.promised
                && self.within.iter().all(kept)
                && self.holds(&at, &ids, next.filter(|step| step.several))
            {
                // The latest that matches: not more is known to be lost.
                lost = Some(self.steps.len() - n);
            }
            if let Some(step) = next {
                step.removed.iter().for_each(|id| {
                    at.remove(id);
                });
                at.extend(&step.added);
            }
        }
        let Some(lost) = lost else {
            let missing: Vec<_> = self.name_all(at.difference(&ids));
            let more: Vec<_> = self.name_all(ids.difference(&at));
            panic!(
                "no state of the topology since step {} of {} is what recovery found: against the \
                 last one it lacks {missing:?}, has besides {more:?}",
                self.promised,
                self.steps.len()
            );
        };
        self.begin(topology, ids);
        lost
    }

    fn name_all<'a>(&self, ids: impl Iterator<Item = &'a u64>) -> Vec<&Name> {
        ids.filter_map(|id| self.things.get(id)).map(|thing| &thing.name).collect()
    }

    /// Whether recovery found the state after a step, or one within the next one.
    fn holds(&self, state: &BTreeSet<u64>, found: &BTreeSet<u64>, next: Option<&Step>) -> bool {
        if state == found {
            return true;
        }
        let Some(Step { added, removed, .. }) = next else { return false };
        let missing: Vec<&u64> = state.difference(found).collect();
        if !missing.iter().all(|id| removed.contains(id))
            || !found.difference(state).all(|id| added.contains(id))
        {
            return false;
        }
        // A binding that went with its queue or exchange has not gone before it.
        let alone = |id: &&&u64| {
            let needs = self.things.get(**id).map_or(&[][..], |thing| &thing.needs[..]);
            needs.iter().any(|needed| removed.contains(needed))
                && needs.iter().all(|needed| found.contains(needed) || *needed == 0)
        };
        !missing.iter().any(|id| alone(&id))
    }

    /// Begins anew with what there is.
    pub(super) fn begin(&mut self, topology: &Topology, ids: BTreeSet<u64>) {
        *self = History {
            epoch: topology.epoch().0,
            things: self.things.iter().filter(|(id, _)| ids.contains(id)).map(clone).collect(),
            base: ids,
            ..History::default()
        };
        for ((name, id), _) in everything(topology) {
            self.lives.push(Life { name: name.clone(), id: Some(id), from: 0, to: None });
            self.now.insert((name, id), self.lives.len() - 1);
        }
    }
}

fn clone((id, thing): (&u64, &Thing)) -> (u64, Thing) {
    (*id, thing.clone())
}
