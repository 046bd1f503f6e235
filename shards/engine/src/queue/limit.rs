//! How much a queue may hold, and what happens when it is full: refusal, displacement of what came first, or
//! the end of the queue.
//!
//! Acquired messages count. What moves here from another queue, comes back, or was recovered is never
//! refused, so a queue may hold more than its limit.

use super::alerts::{Alert, Watch};
use super::entries::{Body, Removed};
use super::flow::{Change, Flow, Publisher};
use super::marks::without_trace;
use super::order::Order;
use super::settings::{Events, Policy, QueueDefaults, QueueSettings};
use super::taking::Taken;
use super::{Output, Queue};
use crate::ids::{Position, QueueId, Time};
use crate::message::Message;
use crate::notice::What;
use crate::request::DeliveryRef;
use fletch_journal::Seq;
use std::collections::BTreeMap;
use std::fmt;

/// Messages and bytes; none: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) count: Option<u64>,
    pub(super) size: Option<u64>,
}

impl Level {
    /// The limit that the queue sets itself.
    pub(super) fn own(settings: &QueueSettings) -> Level {
        if settings.policy == Policy::FlowToDisk {
            return Level::default(); // Of what is in memory.
        }
        let some = |n: Option<u64>| n.filter(|n| *n > 0);
        Level { count: some(settings.limit.count), size: some(settings.limit.size) }
    }

    /// The limit it has: the broker's where it says nothing.
    pub(super) fn most(settings: &QueueSettings, defaults: &QueueDefaults) -> Level {
        let mut most = Level::own(settings);
        if settings.limit.size.is_none() && settings.policy != Policy::FlowToDisk {
            most.size = Some(defaults.limit).filter(|n| *n > 0);
        }
        most
    }

    /// Whether either is more than this.
    pub(super) fn is_exceeded_by(&self, count: u64, size: u64) -> bool {
        self.count.is_some_and(|most| count > most) || self.size.is_some_and(|most| size > most)
    }

    /// Whether both are less than this.
    pub(super) fn is_undercut_by(&self, count: u64, size: u64) -> bool {
        self.count.is_none_or(|most| count < most) && self.size.is_none_or(|most| size < most)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count.map(|n| format!("count: {n}"));
        let size = self.size.map(|n| format!("size: {n}"));
        let both: Vec<String> = count.into_iter().chain(size).collect();
        write!(f, "[{}]", both.join(", "))
    }
}

/// How full a queue may be before its bounds have anything to do: below both, messages come and go without a
/// look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quiet {
    count: u64,
    size: u64,
}

impl Quiet {
    /// Of a queue without bounds.
    pub(super) const ALWAYS: Quiet = Quiet { count: u64::MAX, size: u64::MAX };
    /// Of one that has to be watched whatever comes or leaves.
    const NEVER: Quiet = Quiet { count: 0, size: 0 };

    fn is_above(self, count: u64, size: u64) -> bool {
        count < self.count && size < self.size
    }

    /// Bounds have something to do as soon as one of these is more than that.
    fn up_to(self, level: Level) -> Quiet {
        let below = |n: Option<u64>| n.map_or(u64::MAX, |n| n.saturating_add(1));
        self.below(below(level.count), below(level.size))
    }

    fn below(self, count: u64, size: u64) -> Quiet {
        Quiet { count: self.count.min(count), size: self.size.min(size) }
    }
}

/// What bounds a queue. Boxed: see [`Queue`].
#[derive(Debug)]
pub(super) struct Bounds {
    max: Level,
    policy: Policy,
    /// The limit of bytes is the broker's.
    is_default: bool,
    /// What is displaced goes to an alternate exchange.
    reroutes: bool,
    /// The queue is to be deleted because it was too full: said once.
    ending: bool,
    flow: Option<Flow>,
    watch: Option<Box<Watch>>,
    pub(super) events: Events,
    /// Displaced, and not rerouted before their bodies are back in memory; with how often they have been.
    leaving: BTreeMap<Position, u8>,
    /// Bytes of those.
    leaving_size: u64,
    /// Messages and bytes for which room is kept: of transactions that are not decided.
    reserved: (u64, u64),
}

/// Why a queue does not take a message; see [`Queue::check_depth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// It would be too full.
    Depth { count: u64, size: u64, max: (Option<u64>, Option<u64>), is_default: bool },
    /// The message alone is larger than the whole queue may be.
    Message { max: u64, is_default: bool },
}

impl Full {
    /// What the publisher is told: the reference's text, and which setting it is.
    pub(crate) fn text(&self, queue: &str, increment: u64) -> String {
        let size_setting = |is_default: bool| match is_default {
            true => "--default-queue-limit",
            false => "qpid.max_size",
        };
        match *self {
            Full::Depth { count, size, max, is_default } => {
                let max = Level { count: max.0, size: max.1 };
                let current = Level { count: Some(count), size: max.size.map(|_| size) };
                let reached = match max.count {
                    Some(most) if count >= most => format!("qpid.max_count is {most}"),
                    _ => format!("{} is {}", size_setting(is_default), max.size.unwrap_or(0)),
                };
                format!(
                    "Maximum depth exceeded on {queue}: current={current}, max={max}, \
                     increment=[count: 1, size: {increment}]; {reached}"
                )
            }
            Full::Message { max, is_default } => {
                format!(
                    "Message larger than configured maximum depth on {queue}: size={increment}, \
                     max-size={max}; {} is {max}",
                    size_setting(is_default)
                )
            }
        }
    }
}

impl Bounds {
    /// None if the queue may hold whatever comes, and nobody is told.
    pub(super) fn of(
        settings: &QueueSettings,
        defaults: &QueueDefaults,
        reroutes: bool,
    ) -> Option<Box<Bounds>> {
        let max = Level::most(settings, defaults);
        let flow = Flow::of(settings, defaults);
        let watch = Watch::of(settings, defaults).map(Box::new);
        let events = settings.events;
        let tells = watch.is_some() || events != Events::None;
        if max == Level::default() && flow.is_none() && !tells {
            return None;
        }
        Some(Box::new(Bounds {
            max,
            policy: settings.policy,
            is_default: settings.limit.size.is_none(),
            reroutes,
            ending: false,
            flow,
            watch,
            events,
            leaving: BTreeMap::new(),
            leaving_size: 0,
            reserved: (0, 0),
        }))
    }

    /// See [`Quiet`].
    fn quiet(&self) -> Quiet {
        if self.events != Events::None {
            return Quiet::NEVER;
        }
        let mut quiet = Quiet::ALWAYS;
        if let Some(watch) = &self.watch {
            let Some((count, size)) = watch.rises_at() else { return Quiet::NEVER };
            quiet = quiet.below(count, size);
        }
        if let Some(flow) = &self.flow {
            let Some(stop) = flow.stops_above() else { return Quiet::NEVER };
            quiet = quiet.up_to(stop);
        }
        // Room that is kept for others counts as used.
        let Quiet { count, size } = Quiet::ALWAYS.up_to(self.max);
        let (reserved_count, reserved_size) = self.reserved;
        quiet.below(count.saturating_sub(reserved_count), size.saturating_sub(reserved_size))
    }

    fn arrived(&mut self, now: Time, depth: (u64, u64), queue: QueueId, out: &mut Vec<Output>) {
        let (count, size) = depth;
        if self.policy == Policy::SelfDestruct
            && !self.ending
            && self.max.is_exceeded_by(count, size)
        {
            self.ending = true;
            out.push(Output::Overfull { queue });
        }
        if let Some(change) = self.flow.as_mut().and_then(|flow| flow.arrived(count, size)) {
            out.push(Output::Notice { queue, what: flow_notice(change), count, size });
        }
        if let Some(watch) = &mut self.watch {
            let tell = |alert| {
                out.push(Output::Notice { queue, what: alert_notice(alert), count, size });
            };
            watch.arrived(now, depth, tell);
        }
    }

    fn left(
        &mut self,
        position: Position,
        depth: (u64, u64),
        queue: QueueId,
        out: &mut Vec<Output>,
    ) {
        let (count, size) = depth;
        if let Some(flow) = &mut self.flow {
            let change = flow.left(position, depth, |to| out.push(Output::Resumed { to }));
            if let Some(change) = change {
                out.push(Output::Notice { queue, what: flow_notice(change), count, size });
            }
        }
        if let Some(watch) = &mut self.watch {
            let tell = |alert| {
                out.push(Output::Notice { queue, what: alert_notice(alert), count, size });
            };
            watch.left(depth, tell);
        }
    }
}

fn flow_notice(change: Change) -> What {
    match change {
        Change::Stopped => What::FlowStopped,
        Change::Resumed => What::FlowResumed,
    }
}

fn alert_notice(alert: Alert) -> What {
    match alert {
        Alert::Upward => What::ThresholdCrossedUpward,
        Alert::Downward => What::ThresholdCrossedDownward,
        Alert::Exceeded => What::ThresholdExceeded,
    }
}

impl Queue {
    /// Messages in it and their bytes, acquired ones included: what limits are about.
    pub fn depth(&self) -> (u64, u64) {
        let (count, size) = (self.entries.messages(), self.entries.bytes());
        let (count, size) = match &self.order {
            Order::LastValue(values) => {
                let (kept, bytes) = values.provisional.kept();
                (count - kept, size - bytes)
            }
            _ => (count, size),
        };
        match &self.bounds {
            None => (count, size),
            Some(bounds) => (count - bounds.leaving.len() as u64, size - bounds.leaving_size),
        }
    }

    /// To be called when anything has changed that it is made of.
    pub(super) fn update_quiet(&mut self) {
        self.quiet = self.bounds.as_ref().map_or(Quiet::ALWAYS, |bounds| bounds.quiet());
    }

    /// Whether bounds have nothing to do, also when this message has come.
    #[inline]
    fn is_quiet_with(&self, message: &Message) -> bool {
        let size = self.entries.bytes().saturating_add(message.size() as u64);
        self.quiet.is_above(self.entries.messages() + 1, size)
    }

    /// Whether they have nothing to do with what there is. What is leaving counts: it may be one look too many.
    #[inline]
    fn is_quiet(&self) -> bool {
        debug_assert_eq!(
            self.quiet,
            self.bounds.as_ref().map_or(Quiet::ALWAYS, |bounds| bounds.quiet()),
            "it is brought up to date whenever what it is made of changes"
        );
        self.quiet.is_above(self.entries.messages(), self.entries.bytes())
    }

    /// Refuses a message for which there is no room, if that is the queue's policy.
    #[inline]
    pub(crate) fn check_depth(&self, message: &Message) -> Result<(), Full> {
        if self.is_quiet_with(message) { Ok(()) } else { self.check_bounds(message) }
    }

    #[cold]
    fn check_bounds(&self, message: &Message) -> Result<(), Full> {
        let Some(bounds) = &self.bounds else { return Ok(()) };
        let is_default = bounds.is_default;
        let full = match bounds.policy {
            Policy::Reject => {
                let (count, size) = self.depth();
                let (count, size) = (count + bounds.reserved.0, size + bounds.reserved.1);
                let after = size.saturating_add(message.size() as u64);
                if !bounds.max.is_exceeded_by(count + 1, after) {
                    return Ok(());
                }
                let max = (bounds.max.count, bounds.max.size);
                Full::Depth { count, size, max, is_default }
            }
            Policy::Ring => match bounds.max.size {
                Some(max) if message.size() as u64 > max => Full::Message { max, is_default },
                _ => return Ok(()),
            },
            Policy::FlowToDisk | Policy::SelfDestruct => return Ok(()),
        };
        // What would not come in is not refused.
        if self.takes(message) { Err(full) } else { Ok(()) }
    }

    /// The same with one that comes later, if ever: from now on its room is not another's.
    pub(crate) fn keep_room(&mut self, message: &Message) -> Result<(), Full> {
        self.check_depth(message)?;
        if self.takes(message) {
            self.reserve_room(message);
        }
        Ok(())
    }

    /// The same whether there is any or not.
    pub(crate) fn reserve_room(&mut self, message: &Message) {
        if let Some(bounds) = &mut self.bounds {
            bounds.reserved.0 += 1;
            bounds.reserved.1 += message.size() as u64;
            self.update_quiet();
        }
    }

    /// It has come, or will not.
    pub(crate) fn give_up_room(&mut self, message: &Message) {
        if let Some(bounds) = &mut self.bounds {
            bounds.reserved.0 = bounds.reserved.0.saturating_sub(1);
            bounds.reserved.1 = bounds.reserved.1.saturating_sub(message.size() as u64);
            self.update_quiet();
        }
    }

    /// Makes room for a message on a queue that displaces others. `hops`: how often the message has been
    /// displaced itself. False if there is no room, and the message does not come in.
    #[inline]
    pub(super) fn make_room(&mut self, message: &Message, hops: u8, out: &mut Vec<Output>) -> bool {
        self.is_quiet_with(message) || self.displace_for(message, hops, out)
    }

    #[cold]
    fn displace_for(&mut self, message: &Message, hops: u8, out: &mut Vec<Output>) -> bool {
        while let Some(bounds) = &self.bounds
            && bounds.policy == Policy::Ring
        {
            let (count, size) = self.depth();
            let after = size.saturating_add(message.size() as u64);
            // One that moves here may be larger than the whole queue: alone it may be there.
            if count == 0 || !bounds.max.is_exceeded_by(count + 1, after) {
                return true;
            }
            let Some(victim) = self.victim(message) else { return false };
            self.displace(victim, hops, out);
        }
        true
    }

    /// The message that gives way to the one that comes in: the oldest, whoever has it. With priorities the
    /// oldest of the lowest, but none that is worth more than the one that comes; what somebody has goes only
    /// if there is nothing else.
    fn victim(&self, incoming: &Message) -> Option<Position> {
        if let Order::Priority(levels) = &self.order {
            let position = levels.lowest().or_else(|| self.entries.oldest(0))?;
            let body = self.entries.get(position).map(|entry| entry.body());
            let Some(Body::Here(message)) = body else { return None };
            let yields = message.meta().priority <= incoming.meta().priority;
            return yields.then_some(position);
        }
        let left = self.bounds.as_ref().and_then(|bounds| bounds.leaving.last_key_value());
        self.entries.oldest(left.map_or(0, |(last, _)| last + 1))
    }

    /// A message leaves the queue for another.
    fn displace(&mut self, position: Position, hops: u8, out: &mut Vec<Output>) {
        let reroutes = self.bounds.as_ref().is_some_and(|bounds| bounds.reroutes);
        self.counters.displaced += 1;
        if reroutes && self.entries.is_away(position) {
            let size = self.entries.get(position).map_or(0, |entry| entry.size() as u64);
            self.entries.hide(position);
            if let Some(bounds) = &mut self.bounds {
                bounds.leaving.insert(position, hops);
                bounds.leaving_size += size;
            }
            self.left(position, out);
            self.want(out);
            return;
        }
        let removed = self.remove_available(position).or_else(|| self.remove_acquired(position));
        let Some(removed) = removed else { return };
        self.counters.dequeued += 1;
        self.give_up(position, removed, hops, reroutes, out);
        self.left(position, out);
    }

    fn give_up(
        &mut self,
        position: Position,
        removed: Removed,
        hops: u8,
        reroutes: bool,
        out: &mut Vec<Output>,
    ) {
        let delivery = DeliveryRef { queue: self.id, position };
        let (size, place) = (removed.size, removed.place);
        let taken = Some(removed).filter(|_| reroutes);
        match taken.and_then(|removed| Taken::of(self.marks.as_ref(), position, removed)) {
            Some(Taken { message, .. }) => {
                let message = without_trace(message);
                out.push(Output::Displaced { delivery, message, place, size, hops });
            }
            None if place != Seq::NONE => out.push(Output::Dequeued { delivery, place, size }),
            None => {}
        }
    }

    /// Reroutes what was displaced and has its body again.
    pub(super) fn reroute_returned(&mut self, out: &mut Vec<Output>) {
        let Some(bounds) = self.bounds.as_mut().filter(|b| !b.leaving.is_empty()) else { return };
        let entries = &mut self.entries;
        let mut back = Vec::new();
        bounds.leaving.retain(|position, hops| {
            let away = entries.is_away(*position);
            if !away && let Some(removed) = entries.remove_acquired(*position) {
                bounds.leaving_size -= removed.size as u64;
                back.push((*position, removed, *hops));
            }
            away
        });
        self.counters.dequeued += back.len() as u64;
        for (position, removed, hops) in back {
            self.give_up(position, removed, hops, true, out);
        }
        if self.ends_empty() {
            out.push(Output::Emptied { queue: self.id });
        }
    }

    /// The first message that was displaced and waits for its body.
    pub(super) fn first_leaving(&self) -> Option<Position> {
        let mut leaving = self.bounds.as_ref()?.leaving.keys().copied();
        leaving.find(|position| self.entries.is_away(*position))
    }

    /// A message has come to a position.
    #[inline]
    pub(super) fn arrived(&mut self, now: Time, position: Position, out: &mut Vec<Output>) {
        if !self.is_quiet() {
            self.tell_enqueue(position, out);
            self.fill_up(now, out);
        }
    }

    /// So full is the queue now.
    pub(super) fn fill_up(&mut self, now: Time, out: &mut Vec<Output>) {
        self.tell_bounds(out, |bounds, depth, id, out| bounds.arrived(now, depth, id, out));
    }

    /// The message at a position has left, for whatever reason.
    #[inline]
    pub(super) fn left(&mut self, position: Position, out: &mut Vec<Output>) {
        if self.is_unsorted() {
            self.sort_soon(out);
        }
        if !self.is_quiet() {
            self.tell_dequeue(position, out);
            self.tell_bounds(out, |bounds, depth, id, out| bounds.left(position, depth, id, out));
        }
    }

    #[cold]
    fn tell_bounds(
        &mut self,
        out: &mut Vec<Output>,
        tell: impl FnOnce(&mut Bounds, (u64, u64), QueueId, &mut Vec<Output>),
    ) {
        let (id, depth) = (self.id, self.depth());
        if let Some(bounds) = &mut self.bounds {
            tell(bounds, depth, id, out);
            self.update_quiet();
        }
    }

    /// Nothing is left that anybody could wait for: the queue is deleted.
    pub(super) fn release_publishers(&mut self, out: &mut Vec<Output>) {
        let Some(bounds) = &mut self.bounds else { return };
        bounds.leaving.clear();
        bounds.leaving_size = 0;
        if let Some(flow) = &mut bounds.flow {
            out.extend(flow.end().map(|to| Output::Resumed { to }));
        }
        self.update_quiet();
    }

    /// Whether publishers are held back.
    pub fn is_flow_stopped(&self) -> bool {
        let flow = self.bounds.as_ref().and_then(|bounds| bounds.flow.as_ref());
        flow.is_some_and(Flow::is_stopped)
    }

    /// How often that has begun.
    pub fn flow_stops(&self) -> u64 {
        let flow = self.bounds.as_ref().and_then(|bounds| bounds.flow.as_ref());
        flow.map_or(0, Flow::times)
    }

    /// Publishes that are held back.
    pub fn held_publishes(&self) -> usize {
        let flow = self.bounds.as_ref().and_then(|bounds| bounds.flow.as_ref());
        flow.map_or(0, Flow::held)
    }

    /// Holds back the publish whose message is at a position, if it is there still and publishers are held.
    pub(crate) fn hold(&mut self, position: Position, publisher: Publisher) -> bool {
        let flow = self.bounds.as_mut().and_then(|bounds| bounds.flow.as_mut());
        let Some(flow) = flow.filter(|flow| flow.is_stopped()) else { return false };
        let there = self.entries.get(position).is_some();
        if there {
            flow.hold(position, publisher);
        }
        there
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
