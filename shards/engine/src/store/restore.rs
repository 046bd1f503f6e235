//! From journals to engines: what recovery makes of the records it finds.
//!
//! Each shard's journal is read alone, record by record ([`ShardRestore`]), on a thread of its own;
//! then [`combine`] settles what concerns several: transactions without an outcome, queues without a
//! definition, and where each queue lives now. A transaction without an outcome has not happened, unless the
//! orderer's shard has a branch defined that was prepared under its number: that waits on.

use super::codec::{self, BranchDefinition, CodecError};
use super::fit::fit;
use super::remembered::{self, RestoredIds, id_len};
use super::{Store, Stored, payload_len};
use crate::dtx::BranchId;
use crate::identity::{Identity, identity};
use crate::ids::{Position, QueueId, ShardId, Time};
use crate::message::Message;
use crate::queue::{Queue, QueueSettings};
use crate::topology::{Change, FixedMap, QueueDescriptor, home_of};
use crate::transaction::{Accepted, Kept};
use fletch_journal::record::{Refs as EncodedRefs, ops, publish_len};
use fletch_journal::{
    Log, LogConfig, Lsn, Op, Position as LogPosition, RecordError, Ref, Refs, Remembered, Seq,
    Volume, Xid,
};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A definition that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the definition {id:#x} is {error}")]
pub struct RestoreError {
    /// Its id.
    pub id: u64,
    /// What is wrong with it.
    pub error: CodecError,
}

/// Messages that left a queue: the queue, the first position and the last.
pub(crate) type Range = (u64, Position, Position);

/// A transaction that is to be noted.
#[derive(Debug)]
pub(crate) struct ToNote {
    pub(crate) xid: Xid,
    /// The dequeues that were prepared under it.
    pub(crate) dequeues: Dequeues,
    /// The ids that came by it, with their numbers.
    pub(crate) arrived: Vec<(QueueId, u64, Identity)>,
    /// What it has published of which the queue had had another.
    pub(crate) had: Vec<Range>,
}

/// A transaction that is carried out and not noted.
#[derive(Clone, Debug, Default)]
struct Open {
    dequeues: Dequeues,
    /// The ids of messages that came by it.
    came: BTreeMap<(QueueId, Position), Identity>,
}

impl Open {
    fn came(&mut self, at: impl Iterator<Item = Ref>, message: &Message) {
        let Some(id) = identity(message) else { return };
        self.came.extend(at.map(|r| ((QueueId(r.queue), r.position), id.clone())));
    }
}

/// Dequeues that were prepared under a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dequeues {
    pub(crate) ranges: Vec<Range>,
    /// Where the newest record stands that names them: it names all of them.
    at: Seq,
}

impl Dequeues {
    fn push(&mut self, at: Seq, range: Range) {
        // Written again by the cleaner: the newer record counts.
        if std::mem::replace(&mut self.at, at) != at {
            self.ranges.clear();
        }
        self.ranges.push(range);
    }

    /// Tells the log that their record counts.
    fn adopt(&self, xid: Xid, log: &mut Log<Stored>) {
        if !self.ranges.is_empty() {
            log.adopt_prepared(self.at, xid, self.ranges.iter().copied());
        }
    }
}

/// A publish that waits for a decision.
#[derive(Debug)]
struct Pending {
    seq: Seq,
    refs: Refs,
    message: Message,
}

/// What waits for one decision.
#[derive(Debug, Default)]
struct Undecided {
    publishes: Vec<Pending>,
    dequeues: Dequeues,
}

/// What one shard's journal holds. See the module.
#[derive(Debug)]
pub struct ShardRestore {
    shard: u16,
    last: Seq,
    /// Bases of the segments, with the first record that begins in each.
    segments: Vec<(Lsn, u64, Seq)>,
    /// How many of those have been reached.
    reached: usize,
    definitions: BTreeMap<u64, (Seq, Box<[u8]>)>,
    queues: FixedMap<QueueId, Box<Queue>>,
    /// What those remember that take no message twice.
    ids: FixedMap<QueueId, RestoredIds>,
    /// What has no decision.
    pending: BTreeMap<Xid, Undecided>,
    /// Transactions that this shard has decided and not noted itself, with the dequeues it has prepared.
    /// What is prepared may have been written again behind the decision.
    open: BTreeMap<Xid, Open>,
    /// The numbers of transactions that this shard has committed, and where each decision stands. Only the
    /// journals of all the homes know whether it is still needed. Another shard's decisions are carried out
    /// where they are noted: behind the note nothing is prepared under them.
    committed: BTreeMap<u64, Seq>,
    /// Records that several places refer to.
    shared: BTreeSet<Seq>,
    /// Batches, with the first record that begins in each; see [`LogPosition::marks`].
    marks: Vec<(Lsn, Seq)>,
    /// Bytes of messages that may be in memory.
    memory: u64,
    /// Bytes of those that are.
    taken: u64,
    records: u64,
}

impl ShardRestore {
    /// Nothing found so far, in the journal of a shard with these segments: first LSN and length of each.
    /// Messages beyond so many bytes of `memory` are not kept in it.
    pub fn new(
        shard: u16,
        segments: impl IntoIterator<Item = (Lsn, u64)>,
        memory: u64,
    ) -> ShardRestore {
        ShardRestore {
            shard,
            last: Seq::NONE,
            segments: segments.into_iter().map(|(base, len)| (base, len, Seq(1))).collect(),
            reached: 0,
            definitions: BTreeMap::new(),
            queues: FixedMap::default(),
            ids: FixedMap::default(),
            pending: BTreeMap::new(),
            open: BTreeMap::new(),
            committed: BTreeMap::new(),
            shared: BTreeSet::new(),
            marks: Vec::new(),
            memory,
            taken: 0,
            records: 0,
        }
    }

    /// Records read.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Messages that are there now.
    pub fn messages(&self) -> u64 {
        self.queues.values().map(|q| q.messages()).sum()
    }

    /// The next record of the log, which begins at `at`.
    ///
    /// # Errors
    /// [`RecordError`] if it was not written by this version or one before it.
    pub fn record(&mut self, at: Lsn, record: &[u8]) -> Result<(), RecordError> {
        let seq = Seq(self.last.0 + 1);
        // Those without a record of their own begin with the next one.
        while let Some((base, ..)) = self.segments.get(self.reached)
            && *base <= at
        {
            self.segments[self.reached].2 = seq;
            self.reached += 1;
        }
        if self.marks.last().is_none_or(|(last, _)| at.0 - last.0 >= MARK_EVERY) {
            self.marks.push((at, seq));
        }
        self.last = seq;
        self.records += 1;
        let (mut prepared, mut decision) = (None, None);
        for op in ops(record) {
            match op? {
                Op::Prepare(xid) => prepared = Some(xid),
                Op::Publish { refs, payload } => {
                    self.publish(seq, prepared, refs, payload)?;
                }
                Op::Dequeue { queue, first, last } => {
                    self.dequeue_if(seq, prepared, (queue, first, last));
                }
                Op::Delivered { queue, upto } => {
                    self.queue(QueueId(queue)).restore_delivered(upto);
                }
                Op::Remember { queue, payload } => {
                    self.remember(seq, QueueId(queue), payload)?;
                }
                Op::Define { id, payload } => {
                    self.definitions.insert(id, (seq, payload.into()));
                }
                Op::Undefine { id } => {
                    self.definitions.remove(&id);
                    self.queues.remove(&QueueId(id));
                    self.ids.remove(&QueueId(id));
                }
                // Twice in one record: the shard that decided has noted it.
                Op::Decide { xid, .. } if decision == Some(xid) => {
                    self.open.remove(&xid);
                }
                Op::Decide { xid, commit } => {
                    decision = Some(xid);
                    if commit && xid.shard == self.shard {
                        self.committed.insert(xid.number, seq);
                    }
                    let settled = self.settle(xid, commit);
                    if let Some(open) = settled.filter(|_| commit && xid.shard == self.shard) {
                        self.open.insert(xid, open);
                    }
                }
            }
        }
        Ok(())
    }

    fn queue(&mut self, id: QueueId) -> &mut Queue {
        self.queues.entry(id).or_insert_with(|| Box::new(Queue::new(id)))
    }

    fn publish(
        &mut self,
        seq: Seq,
        xid: Option<Xid>,
        refs: EncodedRefs<'_>,
        payload: &[u8],
    ) -> Result<(), RecordError> {
        match xid {
            Some(xid) if !self.has_committed(xid) => {
                let message = readable(Stored::read(Volume::Journal, payload))?;
                let pending = Pending { seq, refs: refs.iter().collect(), message };
                let all = &mut self.pending.entry(xid).or_default().publishes;
                // Written again by the cleaner: the newer record counts.
                for old in all.iter_mut() {
                    old.refs.retain(|(r, _)| !pending.refs.iter().any(|(other, _)| other == r));
                }
                all.push(pending);
                for (Ref { queue, position }, _) in refs.iter() {
                    self.queue(QueueId(queue)).restore_end(position);
                }
            }
            xid => {
                if let Some(xid) = xid {
                    let message = readable(Stored::read(Volume::Journal, payload))?;
                    let places = refs.iter().map(|(r, _)| r);
                    self.open.entry(xid).or_default().came(places, &message);
                }
                // One that waits says itself until when.
                if self.has_room() || codec::is_scheduled(payload) {
                    let message = readable(Stored::read(Volume::Journal, payload))?;
                    self.put(seq, refs.iter(), &message);
                } else {
                    self.put_away(seq, refs.iter(), readable(codec::outline(payload))?);
                }
            }
        }
        Ok(())
    }

    /// Whether it is a transaction of this shard's that it has committed. If it has rolled one back it has
    /// noted that at once.
    fn has_committed(&self, xid: Xid) -> bool {
        xid.shard == self.shard && self.committed.contains_key(&xid.number)
    }

    /// Whether one more message may be in memory.
    fn has_room(&self) -> bool {
        self.taken < self.memory
    }

    fn put(&mut self, seq: Seq, refs: impl Iterator<Item = (Ref, bool)>, message: &Message) {
        self.taken += message.size() as u64 + ENTRY;
        self.put_each(seq, refs, |queue, position, seen| {
            queue.restore(position, message.clone(), seq, seen);
        });
    }

    /// The same without its body: size and expiry are all that is known of the message.
    fn put_away(
        &mut self,
        seq: Seq,
        refs: impl Iterator<Item = (Ref, bool)>,
        outline: (usize, Time),
    ) {
        self.put_each(seq, refs, |queue, position, seen| {
            queue.restore_away(position, outline, seq, seen);
        });
    }

    fn put_each(
        &mut self,
        seq: Seq,
        refs: impl Iterator<Item = (Ref, bool)>,
        put: impl Fn(&mut Queue, Position, bool),
    ) {
        for (n, (Ref { queue, position }, seen)) in refs.enumerate() {
            if n == 1 {
                self.shared.insert(seq);
            }
            put(self.queue(QueueId(queue)), position, seen);
        }
    }

    /// Messages left a queue, if the transaction was committed that it was prepared under.
    fn dequeue_if(&mut self, seq: Seq, prepared: Option<Xid>, range: Range) {
        let (queue, first, last) = range;
        if let Some(xid) = prepared {
            if !self.has_committed(xid) {
                self.pending.entry(xid).or_default().dequeues.push(seq, range);
                return;
            }
            self.open.entry(xid).or_default().dequeues.push(seq, range);
        }
        self.dequeue(QueueId(queue), first, last);
    }

    fn dequeue(&mut self, queue: QueueId, first: Position, last: Position) {
        for pending in self.pending.values_mut().flat_map(|all| &mut all.publishes) {
            let gone =
                |(r, _): &(Ref, bool)| r.queue == queue.0 && (first..=last).contains(&r.position);
            pending.refs.retain(|r| !gone(r));
        }
        let q = self.queue(queue);
        let before = q.resident();
        q.unrestore(first, last);
        let freed = before - q.resident();
        self.taken = self.taken.saturating_sub(freed);
    }

    /// A queue remembers ids.
    fn remember(&mut self, seq: Seq, queue: QueueId, payload: &[u8]) -> Result<(), RecordError> {
        let (most, all) = readable(remembered::decode(payload))?;
        let ids = self.ids.entry(queue).or_default();
        ids.set_most(most);
        for id in all {
            let (number, id) = readable(id)?;
            ids.add(number, id, seq);
        }
        Ok(())
    }

    /// Carries a decision out. What was prepared, if anything was.
    fn settle(&mut self, xid: Xid, commit: bool) -> Option<Open> {
        let Undecided { publishes, dequeues } = self.pending.remove(&xid)?;
        let mut open = Open { dequeues, came: BTreeMap::new() };
        if commit {
            for Pending { seq, refs, message } in publishes {
                open.came(refs.iter().map(|(r, _)| *r), &message);
                if self.has_room() || message.meta().flags.is_scheduled() {
                    self.put(seq, refs.into_iter(), &message);
                } else {
                    let outline = (message.size(), message.meta().expires);
                    self.put_away(seq, refs.into_iter(), outline);
                }
            }
            for (queue, first, last) in &open.dequeues.ranges {
                self.dequeue(QueueId(*queue), *first, *last);
            }
        }
        Some(open)
    }

    /// Messages of a transaction have come, and whoever carries it out has not noted that: those that their queues
    /// have had do not stay. `windows`: how many ids each queue remembers that does.
    fn carry_out(&mut self, (xid, open): (Xid, Open), windows: &FixedMap<QueueId, u32>) -> ToNote {
        let Open { dequeues, came } = open;
        let (mut arrived, mut had) = (Vec::new(), Vec::new());
        for ((queue, position), id) in came {
            let Some(most) = windows.get(&queue) else { continue };
            let Some(q) = self.queues.get_mut(&queue).filter(|q| q.place(position).is_some())
            else {
                continue;
            };
            let ids = self.ids.entry(queue).or_default();
            if ids.contains(&id) {
                q.unrestore(position, position);
                had.push((queue.0, position, position));
                continue;
            }
            let number = ids.next_number();
            ids.set_most(*most);
            ids.add(number, &id, Seq::NONE);
            arrived.push((queue, number, id));
        }
        ToNote { xid, dequeues, arrived, had }
    }
}

/// What a message in memory costs besides its content, about.
const ENTRY: u64 = 80;
/// Ids in one record, when all are written again: some KiB.
const IDS_AT_ONCE: usize = 256;
/// Bytes of log between two marks.
const MARK_EVERY: u64 = 64 << 10;

fn readable<T>(decoded: Result<T, CodecError>) -> Result<T, RecordError> {
    decoded.map_err(|error| match error {
        CodecError::Kind(kind) => RecordError::Kind(kind),
        CodecError::Short | CodecError::Content => RecordError::Content,
    })
}

/// One shard of a broker that goes on.
#[derive(Debug)]
pub struct Restored {
    pub(crate) store: Store,
    pub(crate) queues: FixedMap<QueueId, Box<Queue>>,
    pub(crate) ids: FixedMap<QueueId, RestoredIds>,
    pub(crate) changes: Arc<[Change]>,
    pub(crate) next_id: u64,
    /// Transactions that were decided and are to be noted here.
    pub(crate) to_note: Vec<ToNote>,
    /// What is prepared here of branches that wait for their outcome.
    pub(crate) in_doubt: BTreeMap<Xid, RestoredShare>,
    /// The orderer's shard: all of those branches.
    pub(crate) branches: RestoredBranches,
}

impl Restored {
    /// The branches that wait for their outcome: of the orderer's shard, all of them.
    pub fn in_doubt(&self) -> impl Iterator<Item = &BranchId> {
        let undecided = self.branches.in_doubt.iter().filter(|b| undecided(b).is_some());
        undecided.map(|(_, definition, _)| &definition.branch)
    }
}

/// What is prepared on a shard of a branch that waits for its outcome.
#[derive(Debug, Default)]
pub(crate) struct RestoredShare {
    pub(crate) publishes: Vec<Kept>,
    pub(crate) accepts: Vec<Accepted>,
}

/// Branches, by their definitions.
#[derive(Debug, Default)]
pub(crate) struct RestoredBranches {
    /// That wait for their transaction managers, and the shards that have prepared something of them.
    pub(crate) in_doubt: Vec<(u64, BranchDefinition, SmallVec<[ShardId; 4]>)>,
    /// Definitions of such that do not.
    pub(crate) over: Vec<u64>,
}

/// What is known of a shard's journal besides its records.
#[derive(Clone, Debug)]
pub struct Journal {
    /// How the log is set up.
    pub config: LogConfig,
    /// Where it goes on; the numbers of records are filled in from what was read.
    pub position: LogPosition,
    /// Where it is, for people.
    pub path: Arc<str>,
}

/// All shards' journals together: what there is, whoever is to have it.
#[derive(Debug)]
pub struct Combined {
    shards: Vec<ShardRestore>,
    changes: Vec<Change>,
    /// Per shard: transactions to be noted.
    to_note: Vec<Vec<ToNote>>,
    /// Per shard: its decisions that have to be noted, and by how many.
    decisions: Vec<BTreeMap<Xid, u16>>,
    branches: RestoredBranches,
}

/// Joins what the shards' journals hold.
///
/// # Errors
/// [`RestoreError`] if a definition cannot be read.
pub fn combine(mut shards: Vec<ShardRestore>) -> Result<Combined, RestoreError> {
    let has_committed = |xid: &Xid| {
        let coordinator = shards.get(usize::from(xid.shard));
        coordinator.is_some_and(|shard| shard.committed.contains_key(&xid.number))
    };
    let pending = shards.iter().flat_map(|shard| shard.pending.keys().copied());
    let committed: BTreeSet<Xid> = pending.filter(has_committed).collect();
    let branches = branches(&shards)?;
    let in_doubt: BTreeSet<Xid> = branches.in_doubt.iter().filter_map(undecided).collect();
    let mut decisions = vec![BTreeMap::new(); shards.len()];
    let mut opens = Vec::new();
    for shard in &mut shards {
        let mut notes = Vec::new();
        // Without a decision, a transaction has not happened.
        for xid in shard.pending.keys().copied().collect::<Vec<_>>() {
            if in_doubt.contains(&xid) {
                continue;
            }
            let commit = committed.contains(&xid);
            let open = shard.settle(xid, commit).unwrap_or_default();
            if commit {
                *decisions[usize::from(xid.shard)].entry(xid).or_insert(0u16) += 1;
                notes.push((xid, open));
            }
        }
        for (xid, open) in std::mem::take(&mut shard.open) {
            // What was written again behind the decision is gone too.
            for (queue, first, last) in &open.dequeues.ranges {
                shard.dequeue(QueueId(*queue), *first, *last);
            }
            *decisions[usize::from(xid.shard)].entry(xid).or_insert(0u16) += 1;
            notes.push((xid, open));
        }
        opens.push(notes);
    }
    let mut found = Vec::new();
    for (id, (_, bytes)) in shards.first().iter().flat_map(|s| &s.definitions) {
        if BranchDefinition::read(bytes).is_ok_and(|branch| branch.is_some()) {
            continue;
        }
        let change = codec::change(*id, bytes);
        found.push((*id, change.map_err(|error| RestoreError { id: *id, error })?));
    }
    let changes = fit(found);
    let ids = changes.iter().filter_map(|change| match change {
        Change::QueueCreated(q) => Some(q.id),
        _ => None,
    });
    let queues: BTreeSet<QueueId> = ids.collect();
    let windows = windows(&changes);
    let mut to_note = Vec::new();
    for (shard, opens) in shards.iter_mut().zip(opens) {
        shard.queues.retain(|id, _| queues.contains(id));
        shard.ids.retain(|id, _| windows.contains_key(id));
        let notes = opens.into_iter().map(|open| shard.carry_out(open, &windows));
        to_note.push(notes.collect());
        shard.queues.values_mut().for_each(|q| q.restored());
        for Undecided { publishes, dequeues } in shard.pending.values_mut() {
            for p in publishes.iter_mut() {
                p.refs.retain(|(r, _)| queues.contains(&QueueId(r.queue)));
            }
            publishes.retain(|p| !p.refs.is_empty());
            dequeues.ranges.retain(|(queue, ..)| queues.contains(&QueueId(*queue)));
        }
    }
    Ok(Combined { shards, changes, to_note, decisions, branches })
}

/// How many ids each queue remembers that takes no message twice.
fn windows(changes: &[Change]) -> FixedMap<QueueId, u32> {
    let most = |change: &Change| match change {
        Change::QueueCreated(q) => {
            Some((q.id, QueueSettings::of(&q.name, &q.arguments).dedup_window?))
        }
        _ => None,
    };
    changes.iter().filter_map(most).collect()
}

/// Takes the branches out of the definitions.
fn branches(shards: &[ShardRestore]) -> Result<RestoredBranches, RestoreError> {
    let mut newest: BTreeMap<BranchId, (u64, BranchDefinition)> = BTreeMap::new();
    let mut over = Vec::new();
    let Some(orderer) = shards.first() else { return Ok(RestoredBranches::default()) };
    for (id, (_, bytes)) in &orderer.definitions {
        let read = BranchDefinition::read(bytes);
        if let Some(d) = read.map_err(|error| RestoreError { id: *id, error })? {
            let older = newest.insert(d.branch.clone(), (*id, d));
            over.extend(older.map(|(id, _)| id));
        }
    }
    let is_over = |d: &BranchDefinition| {
        // The crash came before it was undefined.
        d.heuristic.is_none() && orderer.committed.contains_key(&d.number)
    };
    over.extend(newest.values().filter(|(_, d)| is_over(d)).map(|(id, _)| *id));
    newest.retain(|_, (_, d)| !is_over(d));
    let in_doubt = newest.into_values().map(|(id, definition)| {
        let xid = Xid { shard: 0, number: definition.number };
        let homes = shards.iter().enumerate().filter(|(_, shard)| shard.pending.contains_key(&xid));
        let homes = homes.map(|(n, _)| ShardId(n as u16)).collect();
        (id, definition, homes)
    });
    Ok(RestoredBranches { in_doubt: in_doubt.collect(), over })
}

/// Under which a branch was prepared that has no outcome.
fn undecided((_, definition, _): &(u64, BranchDefinition, SmallVec<[ShardId; 4]>)) -> Option<Xid> {
    definition.heuristic.is_none().then_some(Xid { shard: 0, number: definition.number })
}

impl Combined {
    /// Durable queues.
    pub fn queues(&self) -> usize {
        self.changes.iter().filter(|c| matches!(c, Change::QueueCreated(_))).count()
    }

    /// Messages in them.
    pub fn messages(&self) -> u64 {
        self.shards.iter().map(ShardRestore::messages).sum()
    }

    /// Lets a broker of as many shards go on. `incarnation`: how often it has been started, which
    /// keeps the ids of this run apart from those of all others.
    ///
    /// # Panics
    /// If there is not one journal for each shard.
    pub fn go_on(self, journals: Vec<Journal>, incarnation: u64) -> Vec<Restored> {
        assert_eq!(journals.len(), self.shards.len(), "a journal for each shard");
        let count = self.shards.len() as u16;
        let next_id = incarnation << 32 | 1;
        let changes: Arc<[Change]> = self.changes.into();
        let mut branches = Some(self.branches);
        let parts = self.shards.into_iter().zip(journals).zip(self.to_note).zip(self.decisions);
        let restored = parts.enumerate().map(|(n, (((shard, journal), to_note), decisions))| {
            let Journal { config, mut position, path } = journal;
            for (segment, (base, _, first)) in position.segments.iter_mut().zip(&shard.segments) {
                debug_assert_eq!(segment.0, *base);
                segment.2 =
                    if shard.reached_before(*base) { *first } else { Seq(shard.last.0 + 1) };
            }
            position.last = shard.last;
            position.marks = shard.marks;
            let mut log: Log<Stored> = Log::new(config, position);
            let mut tally: BTreeMap<Seq, (usize, u64)> = BTreeMap::new();
            for queue in shard.queues.values() {
                for (_, size, _, seq) in queue.places() {
                    let len = publish_len(1, payload_len(Volume::Journal, size)) as u64;
                    if shard.shared.contains(&seq) {
                        tally.entry(seq).or_insert((0, len)).0 += 1;
                    } else {
                        log.adopt(seq, 1, len);
                    }
                }
            }
            tally.into_iter().for_each(|(seq, (refs, len))| log.adopt(seq, refs, len));
            for ids in shard.ids.values() {
                for (_, id, seq) in ids.iter().filter(|(.., seq)| *seq != Seq::NONE) {
                    log.adopt_remembered(seq, 1, id_len(id) as u64);
                }
            }
            for (id, (seq, payload)) in &shard.definitions {
                log.adopt_definition(*seq, *id, payload);
            }
            let in_doubt = shard
                .pending
                .into_iter()
                .map(|(xid, undecided)| (xid, undecided.take_up(xid, &mut log)));
            let in_doubt = in_doubt.collect();
            // Until the notes are durable, nothing else says so.
            for note in &to_note {
                note.dequeues.adopt(note.xid, &mut log);
            }
            for xid in decisions.keys() {
                if let Some(seq) = shard.committed.get(&xid.number) {
                    log.adopt_decision(*seq, *xid);
                }
            }
            let mut store = Store::new(log, path, count, next_id);
            store.decisions = decisions.iter().map(|(xid, n)| (xid.number, *n)).collect();
            if n == usize::from(ShardId::ORDERER.0) {
                changes.iter().for_each(|change| store.adopt(change));
            }
            let changes = Arc::clone(&changes);
            let is_orderer = n == usize::from(ShardId::ORDERER.0);
            let branches = branches.take_if(|_| is_orderer).unwrap_or_default();
            let (queues, ids) = (shard.queues, shard.ids);
            Restored { store, queues, ids, changes, next_id, to_note, in_doubt, branches }
        });
        restored.collect()
    }

    /// Begins to write everything into new journals, for another number of shards. `logs` are as many
    /// fresh logs.
    pub fn rehome(&self, logs: Vec<Log<Stored>>) -> Rehome<'_> {
        let shards = logs.len() as u16;
        let mut rehome = Rehome { combined: self, logs, homes: FixedMap::default() };
        for change in &self.changes {
            let moved = match change {
                Change::QueueCreated(q) => {
                    let home = home_of(shards, q);
                    rehome.homes.insert(q.id, home);
                    Change::QueueCreated(Arc::new(QueueDescriptor { home, ..(**q).clone() }))
                }
                other => other.clone(),
            };
            if let Some((id, bytes)) = codec::definition(&moved) {
                rehome.logs[0].define(id, &bytes);
            }
        }
        for (id, definition, _) in &self.branches.in_doubt {
            rehome.logs[0].define(*id, &definition.encode());
        }
        rehome.prepare_again();
        rehome.remember_again();
        rehome
    }
}

impl Undecided {
    /// What the shard's engine is to know of it. The log is told what lives in it.
    fn take_up(self, xid: Xid, log: &mut Log<Stored>) -> RestoredShare {
        let mut share = RestoredShare::default();
        for Pending { seq, refs, message } in self.publishes {
            let len = publish_len(1, payload_len(Volume::Journal, message.size())) as u64;
            log.adopt(seq, refs.len(), len);
            let at = refs.iter().map(|(r, _)| (QueueId(r.queue), r.position)).collect();
            share.publishes.push(Kept { message, at, place: seq });
        }
        self.dequeues.adopt(xid, log);
        for (queue, first, last) in self.dequeues.ranges {
            share.accepts.push((QueueId(queue), (first..=last).collect()));
        }
        share
    }
}

/// Everything on its way into new journals: the records of the old ones are read once more, in the same
/// order, and what is live goes over.
#[derive(Debug)]
pub struct Rehome<'a> {
    combined: &'a Combined,
    /// The new journals; the caller writes out what is staged in them.
    pub logs: Vec<Log<Stored>>,
    homes: FixedMap<QueueId, ShardId>,
}

impl Rehome<'_> {
    /// What is prepared of branches that wait for their outcome.
    fn prepare_again(&mut self) {
        let combined = self.combined;
        let mut dequeues: BTreeMap<(usize, Xid), Vec<Range>> = BTreeMap::new();
        for (xid, undecided) in combined.shards.iter().flat_map(|shard| &shard.pending) {
            for Pending { refs, message, .. } in &undecided.publishes {
                for at in refs {
                    let home = self.home(at.0.queue);
                    let stored = Stored::Durable(message.clone());
                    self.logs[home].publish(std::iter::once(*at).collect(), stored, Some(*xid));
                }
            }
            for range in &undecided.dequeues.ranges {
                dequeues.entry((self.home(range.0), *xid)).or_default().push(*range);
            }
        }
        // One record of each, which names them all.
        for ((home, xid), mut ranges) in dequeues {
            ranges.sort_unstable();
            self.logs[home].prepare_dequeues(xid, ranges.into_iter());
        }
    }

    /// The ids that queues remember, some in each record.
    fn remember_again(&mut self) {
        let combined = self.combined;
        for (queue, ids) in combined.shards.iter().flat_map(|shard| &shard.ids) {
            let home = self.home(queue.0);
            let all: Vec<_> = ids.iter().map(|(number, id, _)| (number, id)).collect();
            for some in all.chunks(IDS_AT_ONCE) {
                let payload = remembered::encode(
                    ids.most(),
                    some.iter().map(|(number, id)| (*number, &id[..])),
                );
                let bytes = some.iter().map(|(_, id)| id_len(id) as u64).sum();
                let mut again = Remembered::default();
                again.add(queue.0, &payload, (some.len() as u64, bytes));
                self.logs[home].remember(again);
            }
        }
    }

    fn home(&self, queue: u64) -> usize {
        self.homes.get(&QueueId(queue)).map_or(0, |home| home.index())
    }

    /// The `number`-th record of an old shard's journal, counted from 1.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be read.
    pub fn record(&mut self, shard: usize, number: u64, record: &[u8]) -> Result<(), RecordError> {
        let queues = &self.combined.shards[shard].queues;
        for op in ops(record) {
            let Op::Publish { refs, payload } = op? else { continue };
            // Made once it is known to be live.
            let mut message = None;
            for (r, seen) in refs.iter() {
                let live = queues.get(&QueueId(r.queue)).and_then(|q| q.place(r.position));
                let Some((place, redelivered, _)) = live else { continue };
                if place != Seq(number) {
                    continue;
                }
                let message = match &mut message {
                    Some(message) => message,
                    none => none.insert(readable(Stored::read(Volume::Journal, payload))?),
                };
                let home = self.home(r.queue);
                let at = (r, seen || redelivered);
                self.logs[home].publish(
                    std::iter::once(at).collect(),
                    Stored::Durable(message.clone()),
                    None,
                );
            }
        }
        Ok(())
    }
}

impl ShardRestore {
    /// Whether a record was found that begins in the segment or behind it.
    fn reached_before(&self, base: Lsn) -> bool {
        self.segments[..self.reached].iter().any(|(other, ..)| *other == base)
    }
}

#[cfg(test)]
mod tests;
