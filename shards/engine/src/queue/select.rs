//! Subscribers who go through a queue by a cursor of their own: browsers, consumers with a selector, and those
//! that have declined a message.
//!
//! A message is looked at once by each of them: the cursor goes on whether it is selected or not. What is
//! released behind a consumer's cursor is kept in mind for it, if it is selected; and so is what it may not have
//! because another has the group, until that is free. Looking for the next selected message is done in slices, so
//! that a selector that matches nothing holds up nobody.

use super::dispatch::{Delivery, Front, size_of};
use super::entries::Body;
use super::order::Order;
use super::subscription::{Cursor, Key};
use super::{Output, Queue};
use crate::ids::{Position, Time};
use crate::message::Message;
use crate::request::Mode;
use crate::selector::{MessageEnvironment, Selector};
use fletch_journal::Seq;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Messages behind a cursor: the highest level first.
pub(super) type Behind = BTreeSet<(Reverse<usize>, Position)>;

/// What a subscriber wants to see.
#[derive(Debug)]
pub(super) struct Selection {
    /// None: everything but what it has declined.
    selector: Option<Arc<Selector>>,
    /// It has said that it cannot take these.
    pub(super) declined: BTreeSet<Position>,
    /// Selected, and released behind the cursor, or come there late.
    pub(super) behind: Behind,
    /// Selected, behind the cursor, and of a group that another has.
    blocked: BTreeSet<(u32, Position)>,
    /// There may be more behind the cursor: the next slice is due.
    pub(super) paused: bool,
}

impl Selection {
    pub(super) fn new(selector: Option<Arc<Selector>>) -> Selection {
        let (behind, blocked) = (BTreeSet::new(), BTreeSet::new());
        Selection { selector, declined: BTreeSet::new(), behind, blocked, paused: false }
    }

    /// Whether it wants the message at a position.
    pub(super) fn wants(&self, at: Position, message: &Message, redelivered: bool) -> bool {
        let selects = |s: &Arc<Selector>| s.matches(&MessageEnvironment::new(message, redelivered));
        !self.declined.contains(&at) && self.selector.as_ref().is_none_or(selects)
    }
}

/// Messages that are looked at in one slice: some tens of microseconds.
const LOOKS: usize = 500;

/// What is kept in mind is sorted out when it is more than twice what there is, and this.
const BEHIND_MIN: usize = 64;

fn most_kept(available: u64) -> usize {
    2 * available as usize + BEHIND_MIN
}

impl Queue {
    /// Serves one that goes by its own cursor.
    pub(super) fn serve_own(&mut self, now: Time, key: Key, out: &mut Vec<Output>) {
        if self.is_unsorted() {
            return; // Nor does its cursor move: it would pass what is not in order yet.
        }
        let mut looks = LOOKS;
        while self.subscriptions[key].open() {
            let (position, size) = match self.next_own(now, key, &mut looks, out) {
                Front::Message(position, size) => (position, size),
                Front::Away(_) | Front::Paused => return,
                Front::Nothing => {
                    // Acquired messages that a browser has passed stay unseen, even if they are released.
                    let end = self.entries.end();
                    self.subscriptions[key].cursor.go_to(end);
                    return;
                }
            };
            if self.flush_ends_before(key, position) {
                self.finish_flush(key, out);
                continue;
            }
            if !self.subscriptions[key].credit.allows(size) {
                return;
            }
            let delivery = match self.subscriptions[key].mode {
                Mode::Consume => self.take(key, position, out),
                // A copy: the message itself stays as it was.
                Mode::Browse => {
                    self.entries.get(position).and_then(|e| Delivery::of(&e)).map(|copy| Delivery {
                        failures: self.entries.failures(position, copy.redelivered),
                        annotations: self.entries.annotations(position),
                        place: Seq::NONE,
                        ..copy
                    })
                }
            };
            let Some(delivery) = delivery else { return };
            let level = self.level_of(&delivery.message);
            self.pass(key, position, level);
            self.deliver(key, position, size, delivery, out);
        }
    }

    /// The next message for one that goes by its own cursor; no more are looked at than `looks`.
    pub(super) fn next_own(
        &mut self,
        now: Time,
        key: Key,
        looks: &mut usize,
        out: &mut Vec<Output>,
    ) -> Front {
        loop {
            let Some(position) = self.next_for(key) else { return Front::Nothing };
            let Some(entry) = self.entries.get(position) else { return Front::Nothing };
            let message = match entry.body() {
                Body::Here(message) if message.meta().expires > now => message,
                Body::Here(_) => {
                    self.drop_expired(position, out);
                    continue;
                }
                Body::Away { .. } => {
                    self.want(out);
                    return Front::Away(position);
                }
            };
            let subscription = &self.subscriptions[key];
            let Some(selection) = &subscription.selection else {
                return Front::Message(position, size_of(message));
            };
            let selected = selection.wants(position, message, entry.redelivered());
            let group = match &self.order {
                Order::Groups(groups) if subscription.mode == Mode::Consume => {
                    groups.of_another(subscription.id, position)
                }
                _ => None,
            };
            if selected && group.is_none() {
                return Front::Message(position, size_of(message));
            }
            if *looks == 0 {
                self.pause(key, out);
                return Front::Paused;
            }
            *looks -= 1;
            let level = self.level_of(message);
            self.pass(key, position, level);
            if let Some(group) = group.filter(|_| selected) {
                self.block(key, group, position);
            }
        }
    }

    /// One may not have a message that it has passed, as long as another has the group.
    fn block(&mut self, key: Key, group: u32, position: Position) {
        let (entries, most) = (&self.entries, most_kept(self.entries.available()));
        if let Some(selection) = &mut self.subscriptions[key].selection {
            selection.blocked.insert((group, position));
            if selection.blocked.len() > most {
                selection.blocked.retain(|(_, position)| entries.is_available(*position));
            }
        }
    }

    /// The message that one comes to next.
    fn next_for(&mut self, key: Key) -> Option<Position> {
        let mut behind = None;
        let kept = self.subscriptions[key].behind();
        while let Some((Reverse(level), position)) = kept.first().copied() {
            if self.entries.is_available(position) {
                behind = Some((level, position));
                break;
            }
            kept.pop_first();
        }
        let ahead = self.next_at(&self.subscriptions[key].cursor);
        match (behind, ahead) {
            (Some((level, position)), Some((_, higher))) if level >= higher => Some(position),
            (_, Some((position, _))) => Some(position),
            (behind, None) => behind.map(|(_, position)| position),
        }
    }

    /// The next available message behind a cursor, and its level.
    fn next_at(&self, cursor: &Cursor) -> Option<(Position, usize)> {
        match &self.order {
            Order::Unsorted(_) => None,
            Order::Priority(levels) => levels.next(cursor),
            _ => self.entries.next(cursor.position()).map(|e| (e.position, 0)),
        }
    }

    pub(super) fn level_of(&self, message: &Message) -> usize {
        match &self.order {
            Order::Priority(levels) => levels.of(message),
            _ => 0,
        }
    }

    /// One has looked at a message of this level.
    fn pass(&mut self, key: Key, position: Position, level: usize) {
        let subscription = &mut self.subscriptions[key];
        if subscription.behind().remove(&(Reverse(level), position)) {
            return;
        }
        subscription.cursor.pass(position, level);
    }

    /// A message is available again: consumers with a selector that have passed it come back to it.
    pub(super) fn look_again(&mut self, position: Position, message: &Message) {
        if !self.subscriptions.has_selecting() {
            return;
        }
        let level = self.level_of(message);
        let (entries, most) = (&self.entries, most_kept(self.entries.available()));
        for (cursor, selection) in self.subscriptions.selecting() {
            if cursor.in_level(level) > position && selection.wants(position, message, true) {
                selection.behind.insert((Reverse(level), position));
                if selection.behind.len() > most {
                    selection.behind.retain(|(_, position)| entries.is_available(*position));
                }
            }
        }
    }

    /// A group has become free: what was passed because another had it may be had now.
    pub(super) fn unblock(&mut self, group: u32) {
        for (_, selection) in self.subscriptions.selecting() {
            let mut freed = selection.blocked.split_off(&(group, 0));
            selection.blocked.append(&mut freed.split_off(&(group + 1, 0)));
            selection.behind.extend(freed.into_iter().map(|(_, position)| (Reverse(0), position)));
        }
    }

    fn pause(&mut self, key: Key, out: &mut Vec<Output>) {
        if let Some(selection) = &mut self.subscriptions[key].selection {
            selection.paused = true;
        }
        if !std::mem::replace(&mut self.looking, true) {
            out.push(Output::More { queue: self.id });
        }
    }

    /// The next slice for those who look for messages, after [`Output::More`]; or a queue can be sorted.
    pub fn look(&mut self, now: Time, out: &mut Vec<Output>) {
        self.looking = false;
        if self.is_unsorted() {
            self.serve_returned(now, out);
        }
        for key in self.subscriptions.paused() {
            if let Some(selection) = &mut self.subscriptions[key].selection {
                selection.paused = false;
            }
            self.serve(now, key, out);
        }
    }
}
