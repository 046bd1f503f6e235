//! Bounded memory for backlogs: bodies whose records are durable leave memory when there are too many,
//! and are read back from the journal before somebody comes to them.
//!
//! A read brings a slice of the log, and all in it that the queue misses is taken; as messages stand there
//! in the order they came in, one slice brings many.

use super::Engine;
use super::slices::Job;
use crate::frame::Effects;
use crate::ids::{Position, QueueId, Time};
use crate::message::Message;
use crate::queue::Queue;
use crate::store::{Load, decode};
use fletch_journal::record::{Assembler, Part, RecordError, fragments, ops};
use fletch_journal::{BATCH_MAX, Batch, Damaged, Lsn, Op, Request, Seq};

/// The numbers of these reads have this bit, those of the cleaner do not.
pub(super) const READS: u64 = 1 << 63;

/// Chunks of 64 messages that are looked at in one turn when bodies leave memory.
const CHUNKS: usize = 64;

/// A batch that is looked for is in one of so many slices.
const SLICES: u32 = 3;

impl Engine {
    /// A queue wants bodies that are away.
    pub(super) fn want_bodies(&mut self, queue: QueueId) {
        if let Some(store) = &mut self.store
            && !store.pager.waiting.contains(&queue)
        {
            store.pager.waiting.push_back(queue);
        }
    }

    /// The emptying of a deleted queue comes to a body that is away.
    pub(super) fn read_for_job(&mut self, queue: QueueId, wanted: (Position, Seq)) {
        let reads = self.read_bodies(queue, wanted);
        if let Some(store) = &mut self.store {
            if reads {
                store.pager.job = Some(queue);
            } else {
                // It is just being written to another place.
                store.pager.job_after = wanted.1;
            }
        }
    }

    /// Whether the job at hand waits for a read, or for a write before it.
    pub(super) fn waits_for_job(&self) -> bool {
        self.store.as_ref().is_some_and(|store| {
            store.pager.job.is_some() || store.pager.job_after > store.log.durable()
        })
    }

    /// The end of a turn: lets bodies go if there are too many, and asks for those that are wanted.
    pub(super) fn page(&mut self) {
        self.shed();
        let mut later = Vec::new();
        while let Some(store) = &mut self.store
            && store.pager.may_read()
            && let Some(queue) = store.pager.waiting.pop_front()
        {
            if store.pager.is_loading(queue) {
                continue; // It says so again when that is there.
            }
            let short = self.is_short();
            if let Some(wanted) = self.queues.get_mut(&queue).and_then(|q| q.first_wanted(short))
                && !self.read_bodies(queue, wanted)
            {
                later.push(queue);
            }
        }
        if let Some(store) = &mut self.store {
            store.pager.waiting.extend(later);
        }
    }

    /// Whether what is read now would have to leave again: then only that is read which stays, or which
    /// is waited for.
    fn is_short(&mut self) -> bool {
        let Some(store) = &mut self.store else { return false };
        let pager = &mut store.pager;
        let most = (pager.budget / 8 * 7).saturating_sub(pager.reading());
        if pager.estimate > most {
            pager.estimate = self.queues.values().map(Queue::resident).sum();
        }
        pager.estimate > most
    }

    fn shed(&mut self) {
        let Some(store) = &mut self.store else { return };
        let pager = &mut store.pager;
        if !pager.shedding && pager.estimate > pager.budget {
            pager.estimate = self.queues.values().map(Queue::resident).sum();
            // Far enough below that this count is not needed for each message.
            pager.shedding = pager.estimate > pager.budget / 8 * 7;
        }
        if !pager.shedding {
            return;
        }
        let durable = store.log.durable();
        let largest = self.queues.values_mut().max_by_key(|q| q.resident());
        let sent = largest.map_or(0, |q| q.send_away(durable, CHUNKS));
        pager.estimate = self.queues.values().map(Queue::resident).sum();
        pager.shedding = sent > 0 && pager.estimate > pager.budget / 4 * 3;
    }

    /// Reads the slice of the log in which a record stands. False if it is just being written there.
    fn read_bodies(&mut self, queue: QueueId, (position, place): (Position, Seq)) -> bool {
        let Some(store) = &mut self.store else { return false };
        if place > store.log.durable() {
            return false;
        }
        let Some(at) = store.log.batch_of(place) else { return false };
        let assembler = Assembler::new();
        self.read_slice(Load {
            queue,
            position,
            at,
            segment: at,
            assembler,
            slices: 0,
            begun: false,
        })
    }

    fn read_slice(&mut self, mut load: Load) -> bool {
        let Some(store) = &mut self.store else { return false };
        let Some((segment, offset, len)) = store.log.slice_at(load.at, BATCH_MAX) else {
            return false;
        };
        load.segment = segment;
        load.slices += 1;
        store.log.pin(segment);
        let number = READS | store.pager.next;
        store.pager.next += 1;
        store.pager.loads.insert(number, load);
        store.log.ask(Request::Read { number, segment, offset, len });
        true
    }

    /// A slice is there.
    pub(super) fn bodies_read(&mut self, now: Time, number: u64, bytes: &[u8], fx: &mut Effects) {
        let Some(store) = &mut self.store else { return };
        let Some(mut load) = store.pager.loads.remove(&number) else { return };
        store.log.unpin(load.segment);
        let queue = load.queue;
        let read = match take_apart(bytes, &mut load) {
            Ok(read) => read,
            Err(at) => {
                let offset = at.0 - load.segment.0;
                store.damage = Some(Damaged { segment: load.segment, offset });
                return;
            }
        };
        let mut grown = 0;
        for (position, message) in read.messages {
            let size = message.size();
            let back = match self.queues.get_mut(&queue) {
                Some(q) => q.bring_back(position, message),
                None => self.jobs.iter_mut().any(|job| match job {
                    Job::Empty { queue: q, rest } if *q == queue => {
                        rest.bring_back(position, message.clone())
                    }
                    _ => false,
                }),
            };
            grown += if back { size } else { 0 };
        }
        store.pager.grown(1, grown);
        let jobs = || self.jobs.iter().any(|job| job.misses(queue, load.position));
        let missed = match self.queues.get(&queue) {
            Some(q) => q.is_away(load.position),
            None => jobs(),
        };
        if missed && (read.open || load.slices < SLICES) {
            // The one that is wanted goes on in the next slice, or begins there: see `Log::batch_of`.
            if self.read_slice(load) {
                return;
            }
        }
        if let Some(store) = &mut self.store
            && store.pager.job == Some(queue)
        {
            store.pager.job = None;
        }
        if let Some(q) = self.queues.get_mut(&queue) {
            q.serve_returned(now, &mut self.outputs);
            self.deliver(fx);
            self.want_bodies(queue);
        }
        self.page();
    }
}

/// What a slice holds for a queue.
struct Slice {
    messages: Vec<(u64, Message)>,
    /// A record goes on behind it.
    open: bool,
}

/// The messages of a queue in a slice; `load` goes on behind it. Where it is not what was written, if it
/// is not.
fn take_apart(bytes: &[u8], load: &mut Load) -> Result<Slice, Lsn> {
    let mut messages = Vec::new();
    let (mut rest, start) = (bytes, load.at);
    while !rest.is_empty() {
        let batch = match Batch::decode(rest) {
            Ok(batch) if batch.header.lsn == load.at => batch,
            // A whole one fits into every slice; this one goes on behind it, or is not written yet.
            _ if load.at > start => break,
            _ => return Err(load.at),
        };
        read_batch(batch.body, load, &mut messages).map_err(|_| load.at)?;
        load.at = load.at.after(batch.len);
        rest = &rest[batch.len..];
    }
    Ok(Slice { messages, open: load.assembler.is_open() })
}

fn read_batch(
    body: &[u8],
    load: &mut Load,
    messages: &mut Vec<(u64, Message)>,
) -> Result<(), RecordError> {
    for fragment in fragments(body) {
        let (part, content) = fragment?;
        let begins = matches!(part, Part::Whole | Part::First);
        load.begun |= begins;
        if !load.begun {
            continue;
        }
        if begins && load.assembler.is_open() {
            load.assembler.reset();
        }
        let queue = load.queue.0;
        let Some(record) = load.assembler.join(part, content)? else { continue };
        for op in ops(record) {
            if let Op::Publish { refs, payload } = op? {
                for (r, _) in refs.iter().filter(|(r, _)| r.queue == queue) {
                    let message = decode(payload).map_err(|_| RecordError::Content)?;
                    messages.push((r.position, message));
                }
            }
        }
    }
    Ok(())
}
