//! Bounded memory for backlogs: bodies that can be read back leave memory when there are too many, and
//! return before somebody comes to them.
//!
//! What is in the journal can go as soon as its record is durable. What is not goes to the paging file
//! first: a second log, which is never synced and dies with the broker. Both are read in the same way: a
//! read brings a slice of the log, and all in it that the queue misses is taken; as messages stand there
//! in the order they came in, one slice brings many. While there is room, so is what other queues miss:
//! else each of many small queues that filled side by side would have the same slices read.

use super::Engine;
use super::slices::Job;
use crate::frame::Effects;
use crate::ids::{Position, QueueId, Time};
use crate::message::Message;
use crate::queue::Rest;
use crate::request::{DeliveryRef, Event};
use crate::store::{Load, Stored, Waiter, payload_len, volume_of};
use fletch_journal::record::{Assembler, Part, RecordError, fragments, ops};
use fletch_journal::{BATCH_MAX, Batch, Log, Lsn, Op, Ref, Refs, Request, Seq, Volume};
use std::time::Duration;

/// The numbers of these reads have this bit, those of the cleaner do not.
pub(super) const READS: u64 = 1 << 63;

/// Bodies that leave memory in one turn, about.
const SENT: usize = 4096;

/// Bytes on their way to the paging file, about.
const STAGED: u64 = 4 * BATCH_MAX as u64;

/// How long nothing goes to a paging file after its disk was full. Giving back what it took is enough for
/// there to be room again, and it would take the same once more, and so on for ever.
const AFTER_FULL: Duration = Duration::from_secs(1);

/// A batch that is looked for is in one of so many slices.
const SLICES: u32 = 3;

impl Engine {
    /// One of the shard's logs, if it has it.
    pub(super) fn log_mut(&mut self, volume: Volume) -> Option<&mut Log<Stored>> {
        match volume {
            Volume::Journal => self.store.as_mut().map(|store| &mut store.log),
            Volume::Paging => self.pager.pages.as_mut().map(|pages| &mut pages.log),
        }
    }

    fn durable(&mut self, volume: Volume) -> Seq {
        self.log_mut(volume).map_or(Seq::NONE, |log| log.durable())
    }

    /// The paging file, for tests.
    pub fn pages(&self) -> Option<&Log<Stored>> {
        self.pager.pages.as_ref().map(|pages| &pages.log)
    }

    /// Whether publishers wait for the paging file.
    pub fn is_holding_up(&self) -> bool {
        self.pager.pages.as_ref().is_some_and(|pages| !pages.waiting.is_empty())
    }

    /// A message left its queue that has a record in the paging file: it has none any more.
    pub(super) fn forget_page(&mut self, at: DeliveryRef, place: Seq, size: usize) {
        if let Some(log) = self.log_mut(Volume::Paging) {
            let at = Ref { queue: at.queue.0, position: at.position };
            log.forget(at, place, payload_len(Volume::Paging, size));
        }
    }

    /// The same if it has one: where its record stands in the journal.
    pub(super) fn journalled(&mut self, at: DeliveryRef, place: Seq, size: usize) -> Seq {
        match volume_of(place) {
            Volume::Journal => place,
            Volume::Paging => {
                self.forget_page(at, place, size);
                Seq::NONE
            }
        }
    }

    /// A queue wants bodies that are away.
    pub(super) fn want_bodies(&mut self, queue: QueueId) {
        self.pager.asked = true;
        if !self.pager.waiting.contains(&queue) {
            self.pager.waiting.push_back(queue);
        }
    }

    /// The emptying of a deleted queue comes to a body that is away.
    pub(super) fn read_for_job(&mut self, queue: QueueId, wanted: (Position, Seq)) {
        if self.read_bodies(queue, wanted) {
            self.pager.job = Some(queue);
        } else {
            // It is just being written to another place.
            self.pager.job_after = wanted.1;
        }
    }

    /// Whether the job at hand waits for a read, or for a write before it.
    pub(super) fn waits_for_job(&self) -> bool {
        let durable = match volume_of(self.pager.job_after) {
            Volume::Journal => self.store.as_ref().map(|store| store.log.durable()),
            Volume::Paging => self.pages().map(Log::durable),
        };
        self.pager.job.is_some() || durable.is_some_and(|durable| self.pager.job_after > durable)
    }

    /// The end of a turn: lets bodies go if there are too many, and asks for those that are wanted.
    pub(super) fn page(&mut self, now: Time) {
        if self.store.is_none() && self.pager.pages.is_none() {
            return;
        }
        self.shed(now);
        self.read_wanted();
    }

    /// Asks for bodies that are wanted.
    pub(super) fn read_wanted(&mut self) {
        self.pager.asked = false;
        let mut later = Vec::new();
        while self.pager.may_read()
            && let Some(queue) = self.pager.waiting.pop_front()
        {
            if self.pager.is_loading(queue) {
                continue; // It says so again when that is there.
            }
            let (short, kept) = (self.is_short(), self.pager.kept);
            let q = self.queues.get_mut(&queue);
            if let Some(wanted) = q.and_then(|q| q.first_wanted(short, kept))
                && !self.read_bodies(queue, wanted)
            {
                later.push(queue);
            }
        }
        self.pager.waiting.extend(later);
    }

    fn count_resident(&mut self) -> u64 {
        self.pager.estimate = self.queues.values().map(|q| q.resident() + q.index()).sum();
        self.pager.estimate
    }

    /// Whether what is read now would have to leave again: then only that is read which stays, or which
    /// is waited for.
    fn is_short(&mut self) -> bool {
        let most = (self.pager.budget / 8 * 7).saturating_sub(self.pager.reading());
        self.pager.estimate > most && self.count_resident() > most
    }

    fn shed(&mut self, now: Time) {
        if !self.pager.over.is_empty() {
            let mut over = std::mem::take(&mut self.pager.over);
            over.retain(|queue| self.relieve(now, *queue));
            self.pager.over = over;
        }
        let budget = self.pager.budget;
        if !self.pager.shedding && self.pager.estimate > budget.max(self.pager.in_vain) {
            // Far enough below that this count is not needed for each message.
            self.pager.shedding = self.count_resident() > budget / 8 * 7;
        }
        if !self.pager.shedding {
            return;
        }
        let largest = self.queues.iter().max_by_key(|(_, q)| q.resident()).map(|(id, _)| *id);
        let more = largest.is_some_and(|queue| self.send_away(now, queue));
        let resident = self.count_resident();
        self.pager.shedding = more && resident > budget / 4 * 3;
        // Nor is this search, when nothing may leave or the paging file is full.
        self.pager.in_vain = if more { 0 } else { resident.saturating_add(budget / 8) };
    }

    /// Lets bodies of a paged queue go that has too many. Whether there is more to do.
    fn relieve(&mut self, now: Time, queue: QueueId) -> bool {
        let full = self.queues.get(&queue).is_some_and(|q| q.is_full());
        let more = full && self.send_away(now, queue);
        if !more && let Some(q) = self.queues.get_mut(&queue) {
            q.relieved();
        }
        more
    }

    /// Lets bodies of a queue go, and writes others to where they can be read back. False if nothing comes
    /// of it.
    fn send_away(&mut self, now: Time, queue: QueueId) -> bool {
        let journal = self.durable(Volume::Journal);
        let pages = self.durable(Volume::Paging);
        let Some(q) = self.queues.get_mut(&queue) else { return false };
        let is_safe = |place| match volume_of(place) {
            Volume::Journal => place <= journal,
            Volume::Paging => place <= pages,
        };
        let sent = q.send_away(is_safe, self.pager.kept, SENT);
        let Some(pages) = &mut self.pager.pages else { return sent > 0 };
        let room = STAGED.saturating_sub(pages.log.staged_bytes()) as usize;
        if pages.log.is_full() || now < pages.again {
            return sent > 0;
        }
        for (position, message) in q.without_record(self.pager.kept, room) {
            let mut refs = Refs::new();
            refs.push((Ref { queue: queue.0, position }, false));
            let place = pages.log.publish(refs, Stored::Paged(message), None);
            q.set_place(position, place);
        }
        sent > 0 || pages.log.last_seq() > pages.log.durable()
    }

    /// Nothing goes to a paging file whose disk is full: what was on its way there stays in memory, or comes
    /// back. So nothing has to be written for a segment to be given up.
    pub(super) fn take_back_pages(&mut self, now: Time, fx: &mut Effects) {
        let Some(pages) = self.pager.pages.as_mut().filter(|pages| pages.log.is_full()) else {
            return;
        };
        pages.again = now.after(AFTER_FULL);
        let mut kept: Vec<(Refs, Message)> = Vec::new();
        for (refs, stored) in pages.log.take_back_all() {
            let (Stored::Paged(message) | Stored::Durable(message)) = stored;
            kept.push((refs, message));
        }
        let (seq, begun) = pages.log.take_back_begun().unwrap_or_default();
        for op in ops(&begun).map_while(Result::ok) {
            let Op::Publish { refs, payload } = op else { continue };
            for (r, delivered) in refs.iter() {
                // It may have left its queue since it was begun.
                let stands = |rest: &Rest| rest.place(r.position) == Some(seq);
                let there = match self.queues.get(&QueueId(r.queue)) {
                    Some(q) => q.place(r.position).is_some_and(|(place, ..)| place == seq),
                    None => self.jobs.iter().any(|job| match job {
                        Job::Empty { queue, rest } => queue.0 == r.queue && stands(rest),
                        Job::Take(_) => false,
                    }),
                };
                if there && let Ok(message) = Stored::read(Volume::Paging, payload) {
                    pages.log.forget(r, seq, payload.len());
                    kept.push((std::iter::once((r, delivered)).collect(), message));
                }
            }
        }
        let mut served: Vec<QueueId> = Vec::new();
        for (refs, message) in kept {
            for (r, _) in refs {
                let queue = QueueId(r.queue);
                self.pager.grown(1, message.size());
                match self.queues.get_mut(&queue) {
                    Some(q) => {
                        q.keep(r.position, message.clone());
                        if served.last() != Some(&queue) {
                            served.push(queue);
                        }
                    }
                    None => self.jobs.iter_mut().for_each(|job| match job {
                        Job::Empty { queue: q, rest } if *q == queue => {
                            rest.keep(r.position, message.clone());
                        }
                        _ => {}
                    }),
                }
            }
        }
        for queue in served {
            if let Some(q) = self.queues.get_mut(&queue) {
                q.serve_returned(now, &mut self.outputs);
                self.deliver(fx);
            }
        }
    }

    /// Lets publishers go on for which the paging file has caught up; all of them if there is nothing more to
    /// write, or it is full.
    pub(super) fn release_publishers(&mut self, fx: &mut Effects) {
        while let Some(pages) = &mut self.pager.pages {
            // What was taken back needs no write.
            pages.log.skip_gone();
            let durable = pages.log.durable();
            let all = pages.log.is_full() || pages.log.last_seq() <= durable;
            let released = pages.waiting.pop_front_if(|(seq, _)| all || *seq <= durable);
            match released.map(|(_, waiter)| waiter) {
                Some(Waiter::Published { session, op }) => {
                    fx.events.push(Event::Published { session, op });
                }
                Some(Waiter::Receipt { to, slot, .. }) => self.receipt_for(to, slot, fx),
                Some(Waiter::Tell { to, frame }) => self.send(to, *frame, fx),
                Some(_) => debug_assert!(false, "only publishes wait"),
                None => {
                    if pages.waiting.is_empty() {
                        self.pager.confirmed = Seq::NONE;
                    }
                    return;
                }
            }
        }
    }

    /// Reads the slice of the log in which a record stands. False if it is just being written there.
    fn read_bodies(&mut self, queue: QueueId, (position, place): (Position, Seq)) -> bool {
        let volume = volume_of(place);
        let Some(log) = self.log_mut(volume).filter(|log| place <= log.durable()) else {
            return false;
        };
        let Some(at) = log.batch_of(place) else { return false };
        let assembler = Assembler::new();
        self.read_slice(Load {
            queue,
            volume,
            position,
            at,
            segment: at,
            assembler,
            slices: 0,
            begun: false,
        })
    }

    fn read_slice(&mut self, mut load: Load) -> bool {
        let number = READS | self.pager.next;
        let Some(log) = self.log_mut(load.volume) else { return false };
        let Some((segment, offset, len)) = log.slice_at(load.at, BATCH_MAX) else {
            return false;
        };
        load.segment = segment;
        load.slices += 1;
        log.pin(segment);
        log.ask(Request::Read { number, segment, offset, len });
        self.pager.next += 1;
        self.pager.loads.insert(number, load);
        true
    }

    /// A slice is there.
    pub(super) fn bodies_read(&mut self, now: Time, number: u64, bytes: &[u8], fx: &mut Effects) {
        let Some(mut load) = self.pager.loads.remove(&number) else { return };
        if let Some(log) = self.log_mut(load.volume) {
            log.unpin(load.segment);
        }
        let queue = load.queue;
        let short = self.is_short();
        let missed = |id: QueueId, position| match self.queues.get(&id) {
            Some(q) => (id == queue || !short && !q.is_full()) && q.is_away(position),
            None => id == queue && self.jobs.iter().any(|job| job.misses(id, position)),
        };
        let read = match take_apart(bytes, &mut load, &missed) {
            Ok(read) => read,
            Err(at) => {
                let (segment, offset) = (load.segment, at.0 - load.segment.0);
                self.damaged(load.volume, fletch_journal::Damaged { segment, offset });
                return;
            }
        };
        let mut others = Vec::new();
        for (id, position, message) in read.messages {
            let size = message.size();
            let back = match self.queues.get_mut(&id) {
                Some(q) => q.bring_back(position, message),
                None => self.jobs.iter_mut().any(|job| match job {
                    Job::Empty { queue: q, rest } if *q == id => {
                        rest.bring_back(position, message.clone())
                    }
                    _ => false,
                }),
            };
            if back {
                self.pager.grown(1, size);
            }
            if id != queue && others.last() != Some(&id) {
                others.push(id);
            }
        }
        others.sort_unstable();
        others.dedup();
        for other in others {
            self.returned(now, other, fx);
        }
        let missed = match self.queues.get(&queue) {
            Some(q) => q.is_away(load.position),
            None => self.jobs.iter().any(|job| job.misses(queue, load.position)),
        };
        if missed && (read.open || load.slices < SLICES) {
            // The one that is wanted goes on in the next slice, or begins there: see `Log::batch_of`.
            if self.read_slice(load) {
                return;
            }
        }
        if self.pager.job == Some(queue) {
            self.pager.job = None;
            // At once: what came back to a queue that is there may leave again.
            self.work(fx);
        }
        self.returned(now, queue, fx);
        self.page(now);
    }

    /// Bodies of a queue came back.
    fn returned(&mut self, now: Time, queue: QueueId, fx: &mut Effects) {
        if let Some(q) = self.queues.get_mut(&queue) {
            if q.is_over() {
                self.pager.over.push(queue);
            }
            q.serve_returned(now, &mut self.outputs);
            self.deliver(fx);
            self.want_bodies(queue);
        }
    }

    // ---- reclaim -------------------------------------------------------------------------

    /// Goes on with reclaiming a log.
    pub(super) fn clean(&mut self, volume: Volume) {
        let Some(log) = self.log_mut(volume) else { return };
        match log.cleaned() {
            Ok(None) => {}
            Ok(Some(cleaned)) => self.relocate(volume, &cleaned),
            Err(damaged) => self.damaged(volume, damaged),
        }
        if let Some(log) = self.log_mut(volume) {
            log.clean();
        }
    }
}

/// What a slice holds that is missed.
struct Slice {
    messages: Vec<(QueueId, Position, Message)>,
    /// A record goes on behind it.
    open: bool,
}

/// Whether a queue misses the body at a position.
type Missed<'a> = &'a dyn Fn(QueueId, Position) -> bool;

/// The messages in a slice that are missed; `load` goes on behind it. Where it is not what was written, if it
/// is not.
fn take_apart(bytes: &[u8], load: &mut Load, missed: Missed<'_>) -> Result<Slice, Lsn> {
    let mut messages = Vec::new();
    let (mut rest, start) = (bytes, load.at);
    while !rest.is_empty() {
        let batch = match Batch::decode(rest) {
            Ok(batch) if batch.header.lsn == load.at => batch,
            // A whole one fits into every slice; this one goes on behind it, or is not written yet.
            _ if load.at > start => break,
            _ => return Err(load.at),
        };
        read_batch(batch.body, load, missed, &mut messages).map_err(|_| load.at)?;
        load.at = load.at.after(batch.len);
        rest = &rest[batch.len..];
    }
    Ok(Slice { messages, open: load.assembler.is_open() })
}

fn read_batch(
    body: &[u8],
    load: &mut Load,
    missed: Missed<'_>,
    messages: &mut Vec<(QueueId, Position, Message)>,
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
        let Some(record) = load.assembler.join(part, content)? else { continue };
        for op in ops(record) {
            let Op::Publish { refs, payload } = op? else { continue };
            let places = refs.iter().map(|(r, _)| (QueueId(r.queue), r.position));
            // Read once it is known to be missed.
            let mut message = None;
            for (queue, position) in places.filter(|(queue, position)| missed(*queue, *position)) {
                let message = match &mut message {
                    Some(message) => message,
                    none => none.insert(
                        Stored::read(load.volume, payload).map_err(|_| RecordError::Content)?,
                    ),
                };
                messages.push((queue, position, message.clone()));
            }
        }
    }
    Ok(())
}
