//! The subscriptions on a queue, and which of them may be served next.
//!
//! A subscription with credit and room is *ready*: in the ring of the consumers, served in turn,
//! or in the ring of those that go by their own cursors. A ready consumer whose byte credit is too small for the first
//! message is *blocked*, sorted by that credit, and gets its chance when no other consumer is
//! ready. All steps are O(1), those with blocked ones O(log n).

use super::credit::{Credit, Room};
use super::select::{Behind, Selection};
use crate::ids::{Position, SubscriptionId};
use crate::request::{Mode, OpId};
use crate::selector::Selector;
use foldhash::fast::FixedState;
use slab::Slab;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// Where a subscription is in the slab.
pub(super) type Key = u32;

const NONE: Key = Key::MAX;

/// With more subscriptions than this, look-up takes an index.
const SEARCHED: usize = 8;

/// A flush under way.
pub(super) struct Flush {
    pub(super) op: OpId,
    /// Later messages are not part of it.
    pub(super) until: Position,
    /// Granted since: messages and bytes, for after the flush.
    pub(super) then: (u32, u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Idle,
    Ready,
    /// With this much byte credit left.
    Blocked(u32),
}

pub(super) struct Subscription {
    pub(super) id: SubscriptionId,
    pub(super) mode: Mode,
    pub(super) settles: bool,
    pub(super) credit: Credit,
    pub(super) room: Room,
    /// Those that go by their own cursors: where to look next.
    pub(super) cursor: Cursor,
    /// Browsers without a selector: what came behind the cursor, the highest level first.
    pub(super) late: Behind,
    /// What it wants to see, if not everything.
    pub(super) selection: Option<Box<Selection>>,
    /// In the order asked for. While there is one, the room is used up, except within a call.
    pub(super) flushes: VecDeque<Flush>,
    place: Place,
    previous: Key,
    next: Key,
}

impl Subscription {
    /// In a queue of so many priority levels, 0 for one without.
    pub(super) fn new(
        id: SubscriptionId,
        (mode, settles): (Mode, bool),
        selector: Option<Arc<Selector>>,
        levels: usize,
    ) -> Subscription {
        Subscription {
            id,
            mode,
            settles,
            credit: Credit::default(),
            room: Room::new(),
            cursor: Cursor::new(levels),
            late: Behind::new(),
            selection: selector.map(|selector| Box::new(Selection::new(Some(selector)))),
            flushes: VecDeque::new(),
            place: Place::Idle,
            previous: NONE,
            next: NONE,
        }
    }

    /// Whether it has credit and room.
    pub(super) fn open(&self) -> bool {
        self.room.open() && self.credit.any()
    }

    /// What it looks at before it goes on at its cursor.
    pub(super) fn behind(&mut self) -> &mut Behind {
        match &mut self.selection {
            Some(selection) => &mut selection.behind,
            None => &mut self.late,
        }
    }

    fn first_behind(&self) -> Option<Position> {
        let behind = self.selection.as_ref().map_or(&self.late, |selection| &selection.behind);
        behind.first().map(|(_, position)| *position)
    }

    /// Whether it goes through the queue by its own cursor.
    pub(super) fn is_own(&self) -> bool {
        self.mode == Mode::Browse || self.selection.is_some()
    }

    /// Whether its next slice is due.
    pub(super) fn is_paused(&self) -> bool {
        self.selection.as_ref().is_some_and(|s| s.paused)
    }

    fn selects(&self) -> bool {
        self.mode == Mode::Consume && self.selection.is_some()
    }
}

/// How far one has come: in a priority queue, in each level.
#[derive(Debug)]
pub(super) struct Cursor {
    position: Position,
    levels: Box<[Position]>,
}

impl Cursor {
    fn new(levels: usize) -> Cursor {
        Cursor { position: 0, levels: vec![0; levels].into() }
    }

    /// Where to look next, in a queue without levels.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Where to look next.
    pub(super) fn in_level(&self, level: usize) -> Position {
        self.levels.get(level).copied().unwrap_or(self.position)
    }

    /// The message at a position was looked at.
    pub(super) fn pass(&mut self, position: Position, level: usize) {
        *self.levels.get_mut(level).unwrap_or(&mut self.position) = position + 1;
    }

    /// What is before this was looked at.
    pub(super) fn go_to(&mut self, end: Position) {
        self.position = end;
        self.levels.fill(end);
    }
}

/// A circular list through the subscriptions' links.
struct Ring {
    head: Key,
    len: u32,
}

impl Ring {
    fn new() -> Ring {
        Ring { head: NONE, len: 0 }
    }

    fn push_back(&mut self, slab: &mut Slab<Subscription>, key: Key) {
        if self.head == NONE {
            self.head = key;
        }
        let head = self.head;
        let last = if head == key { key } else { slab[head as usize].previous };
        slab[key as usize].previous = last;
        slab[key as usize].next = head;
        slab[last as usize].next = key;
        slab[head as usize].previous = key;
        self.len += 1;
    }

    fn remove(&mut self, slab: &mut Slab<Subscription>, key: Key) {
        let Subscription { previous, next, .. } = slab[key as usize];
        slab[previous as usize].next = next;
        slab[next as usize].previous = previous;
        self.len -= 1;
        if self.len == 0 {
            self.head = NONE;
        } else if self.head == key {
            self.head = next;
        }
    }
}

pub(super) struct Subscriptions {
    slab: Slab<Subscription>,
    #[expect(clippy::box_collection, reason = "most queues have none: a pointer, not a table")]
    index: Option<Box<HashMap<SubscriptionId, Key, FixedState>>>,
    consumers: Ring,
    /// Those that go by their own cursor.
    own: Ring,
    blocked: BTreeSet<(u32, Key)>,
    /// Subscriptions that consume.
    consuming: u32,
    /// Those of them that do not take everything.
    selecting: u32,
}

impl Index<Key> for Subscriptions {
    type Output = Subscription;

    fn index(&self, key: Key) -> &Subscription {
        &self.slab[key as usize]
    }
}

impl IndexMut<Key> for Subscriptions {
    fn index_mut(&mut self, key: Key) -> &mut Subscription {
        &mut self.slab[key as usize]
    }
}

impl Subscriptions {
    pub(super) fn new() -> Subscriptions {
        Subscriptions {
            slab: Slab::new(),
            index: None,
            consumers: Ring::new(),
            own: Ring::new(),
            blocked: BTreeSet::new(),
            consuming: 0,
            selecting: 0,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.slab.len() as u32
    }

    pub(super) fn consuming(&self) -> u32 {
        self.consuming
    }

    /// Whether anybody takes everything.
    pub(super) fn any_plain(&self) -> bool {
        self.consuming > self.selecting
    }

    /// Whether any consumer does not.
    pub(super) fn has_selecting(&self) -> bool {
        self.selecting > 0
    }

    /// Consumers that do not take everything: how far each has come, and what it wants.
    pub(super) fn selecting(&mut self) -> impl Iterator<Item = (&mut Cursor, &mut Selection)> {
        self.slab.iter_mut().filter(|(_, s)| s.selects()).filter_map(|(_, s)| {
            let selection = s.selection.as_deref_mut()?;
            Some((&mut s.cursor, selection))
        })
    }

    /// Those whose next slice is due.
    pub(super) fn paused(&self) -> Vec<Key> {
        self.slab.iter().filter(|(_, s)| s.is_paused()).map(|(key, _)| key as Key).collect()
    }

    /// Where each of those has come to that go by their own cursors and could have more.
    pub(super) fn cursors(&self) -> impl Iterator<Item = Position> {
        let own = self.slab.iter().filter(|(_, s)| s.is_own() && s.open());
        own.map(|(_, s)| s.first_behind().unwrap_or(s.cursor.position()))
    }

    /// All that go by their own cursors, if there are any.
    pub(super) fn each_own(&mut self) -> impl Iterator<Item = &mut Subscription> {
        let any = self.slab.len() as u32 > self.consuming - self.selecting;
        let own = self.slab.iter_mut().filter(|(_, s)| s.is_own()).map(|(_, s)| s);
        own.take(if any { usize::MAX } else { 0 })
    }

    /// Those with a flush under way.
    pub(super) fn flushing(&self) -> Vec<Key> {
        let flushing = self.slab.iter().filter(|(_, s)| !s.flushes.is_empty());
        flushing.map(|(key, _)| key as Key).collect()
    }

    pub(super) fn find(&self, id: SubscriptionId) -> Option<Key> {
        match &self.index {
            Some(index) => index.get(&id).copied(),
            None => self.slab.iter().find(|(_, s)| s.id == id).map(|(key, _)| key as Key),
        }
    }

    pub(super) fn insert(&mut self, subscription: Subscription) {
        let id = subscription.id;
        self.consuming += u32::from(subscription.mode == Mode::Consume);
        self.selecting += u32::from(subscription.selects());
        let key = self.slab.insert(subscription) as Key;
        if let Some(index) = &mut self.index {
            index.insert(id, key);
        } else if self.slab.len() > SEARCHED {
            let all = self.slab.iter().map(|(key, s)| (s.id, key as Key));
            self.index = Some(Box::new(all.collect()));
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Subscription {
        self.leave(key);
        let subscription = self.slab.remove(key as usize);
        self.consuming -= u32::from(subscription.mode == Mode::Consume);
        self.selecting -= u32::from(subscription.selects());
        if let Some(index) = &mut self.index {
            index.remove(&subscription.id);
        }
        if self.slab.is_empty() {
            // A crowd that has left must not keep its tables.
            self.slab = Slab::new();
            self.index = None;
        }
        subscription
    }

    /// All of them. None is left.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Subscription> + use<> {
        std::mem::replace(self, Subscriptions::new()).slab.into_iter().map(|(_, s)| s)
    }

    /// A consumer goes through the queue by its own cursor from now on.
    pub(super) fn go_alone(&mut self, key: Key) {
        if self[key].is_own() {
            return;
        }
        self.leave(key);
        self[key].selection = Some(Box::new(Selection::new(None)));
        self.selecting += 1;
        self.refresh(key);
    }

    /// Puts a subscription where it belongs after its credit or room has changed.
    pub(super) fn refresh(&mut self, key: Key) {
        let subscription = &self[key];
        let open = subscription.open();
        if open && subscription.place == Place::Ready {
            return;
        }
        self.leave(key);
        if open {
            let subscription = &mut self.slab[key as usize];
            subscription.place = Place::Ready;
            let ring = match subscription.is_own() {
                true => &mut self.own,
                false => &mut self.consumers,
            };
            ring.push_back(&mut self.slab, key);
        }
    }

    fn leave(&mut self, key: Key) {
        let subscription = &mut self.slab[key as usize];
        match std::mem::replace(&mut subscription.place, Place::Idle) {
            Place::Idle => {}
            Place::Blocked(bytes) => {
                self.blocked.remove(&(bytes, key));
            }
            Place::Ready => match subscription.is_own() {
                true => self.own.remove(&mut self.slab, key),
                false => self.consumers.remove(&mut self.slab, key),
            },
        }
    }

    /// Whether any consumer has credit and room for a message, if it is small.
    #[inline]
    pub(super) fn any_consumer(&self) -> bool {
        self.consumers.len > 0 || !self.blocked.is_empty()
    }

    /// The consumer whose turn it is to take a message of `size` bytes.
    #[inline]
    pub(super) fn next_consumer(&mut self, size: u32) -> Option<Key> {
        while self.consumers.len > 0 {
            let key = self.consumers.head;
            if self[key].credit.allows(size) {
                return Some(key);
            }
            self.leave(key);
            let bytes = self[key].credit.bytes_left();
            self[key].place = Place::Blocked(bytes);
            self.blocked.insert((bytes, key));
        }
        let (_, key) = *self.blocked.range((size, 0)..).next()?;
        self.refresh(key);
        Some(key)
    }

    /// The first that is ready of those that go by their own cursors, and how many there are.
    pub(super) fn own(&self) -> (Key, u32) {
        (self.own.head, self.own.len)
    }

    /// The one after it in its ring.
    pub(super) fn after(&self, key: Key) -> Key {
        self[key].next
    }

    /// A ready subscription gets a message of `size` bytes; the next consumer has its turn.
    pub(super) fn take(&mut self, key: Key, size: u32) {
        let subscription = &mut self.slab[key as usize];
        subscription.credit.take(size);
        subscription.room.take(size);
        if !subscription.open() {
            self.leave(key);
        } else if subscription.place != Place::Ready {
            // Its byte credit is another now.
            self.leave(key);
            self.refresh(key);
        } else if key == self.consumers.head {
            self.consumers.head = subscription.next;
        } else if key == self.own.head {
            self.own.head = subscription.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::credit::{CreditUnit, INFINITE};
    use crate::queue::testing::subscription_id;

    fn with_credit(subs: &mut Subscriptions, tag: u32, messages: u32, bytes: u32) -> Key {
        let id = subscription_id(tag);
        subs.insert(Subscription::new(id, (Mode::Consume, true), None, 0));
        let key = subs.find(id).unwrap();
        subs[key].credit.grant(CreditUnit::Messages, messages);
        subs[key].credit.grant(CreditUnit::Bytes, bytes);
        subs.refresh(key);
        key
    }

    fn turns(subs: &mut Subscriptions, n: usize) -> Vec<u32> {
        (0..n)
            .map_while(|_| {
                let key = subs.next_consumer(10)?;
                subs.take(key, 10);
                Some(subs[key].id.tag)
            })
            .collect()
    }

    #[test]
    fn consumers_take_turns() {
        let mut subs = Subscriptions::new();
        for (tag, credit) in [(1, 3), (2, 1), (3, 2)] {
            with_credit(&mut subs, tag, credit, INFINITE);
        }
        assert_eq!(turns(&mut subs, 10), [1, 2, 3, 1, 3, 1]);
        assert!(!subs.any_consumer());
        let key = subs.find(subscription_id(2)).unwrap();
        subs[key].credit.grant(CreditUnit::Messages, 1);
        subs.refresh(key);
        assert_eq!(turns(&mut subs, 10), [2]);
    }

    #[test]
    fn one_that_leaves_is_passed_over() {
        let mut subs = Subscriptions::new();
        let keys: Vec<Key> =
            (1..=4).map(|tag| with_credit(&mut subs, tag, INFINITE, INFINITE)).collect();
        assert_eq!(turns(&mut subs, 1), [1]);
        subs.remove(keys[1]);
        subs.remove(keys[3]);
        assert_eq!(turns(&mut subs, 3), [3, 1, 3]);
        subs.remove(keys[0]);
        assert_eq!(turns(&mut subs, 2), [3, 3]);
        subs.remove(keys[2]);
        assert!(turns(&mut subs, 1).is_empty());
        assert_eq!(subs.len(), 0);
    }

    #[test]
    fn too_little_byte_credit_blocks_only_its_own() {
        let mut subs = Subscriptions::new();
        with_credit(&mut subs, 1, 9, 5);
        with_credit(&mut subs, 2, 2, 100);
        with_credit(&mut subs, 3, 9, 9);
        assert_eq!(turns(&mut subs, 9), [2, 2]);
        assert!(subs.any_consumer());
        assert_eq!(subs.next_consumer(10), None);
        let key = subs.next_consumer(8).unwrap();
        assert_eq!(subs[key].id.tag, 3);
        subs.take(key, 8);
        let key = subs.next_consumer(5).unwrap();
        assert_eq!(subs[key].id.tag, 1);
        subs.remove(key);
        assert_eq!(subs.next_consumer(2), None);
        assert_eq!(subs.blocked.len(), 1);
    }

    #[test]
    fn many_are_found_by_an_index() {
        let mut subs = Subscriptions::new();
        for tag in 0..1000 {
            with_credit(&mut subs, tag, 1, 1);
        }
        assert!(subs.index.is_some());
        for tag in 0..1000 {
            let key = subs.find(subscription_id(tag)).unwrap();
            assert_eq!(subs.remove(key).id.tag, tag);
            assert!(subs.find(subscription_id(tag)).is_none());
        }
        assert!(subs.index.is_none());
        assert_eq!((subs.len(), subs.consuming()), (0, 0));
        assert!(!subs.any_consumer());
    }
}
