//! Message groups: who may have which messages of a queue.
//!
//! A group is *free* until a consumer acquires one of its messages; then the others are for that consumer
//! alone until it holds none of the group any more. Free groups are sorted by their first available
//! message, and so are those of each owner: finding the next message for a consumer takes two look-ups,
//! however many groups there are.

use super::header::with_group;
use super::named::Named;
use super::owned::Owned;
use super::positions::Positions;
use super::tags::Tags;
use crate::ids::{Position, SubscriptionId};
use crate::message::Message;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A group that has left keeps room for so many messages.
const ROOM: usize = 16;

/// Where a group stands: by its first available message, with its owner's or the free ones; nowhere without
/// such a message.
type Listed = Option<(Position, Option<SubscriptionId>)>;

#[derive(Debug, Default)]
struct Group {
    /// In order.
    available: VecDeque<Position>,
    acquired: u32,
    /// Those, if times are reported.
    held: BTreeSet<Position>,
    owner: Option<SubscriptionId>,
}

/// The state of a group, for management.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// The value of the header.
    pub name: Arc<[u8]>,
    /// Messages in the queue, acquired ones included.
    pub messages: u64,
    /// Its first available message.
    pub first: Option<Position>,
    /// Who has it.
    pub owner: Option<SubscriptionId>,
    /// With `qpid.group_timestamp`: when its oldest message, available or not, came to the broker, in seconds
    /// since 1970, if that was stamped (`--enable-timestamp`).
    pub timestamp: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Groups {
    header: Box<str>,
    /// The group of messages without one.
    default: Arc<[u8]>,
    /// Their times are reported.
    stamps: bool,
    groups: Named<Group>,
    /// The group of each message in the queue.
    of: Tags,
    /// The first available message of each group that has one and is free.
    free: Positions,
    /// The same of those that are not.
    owned: Owned,
    /// Owners that may have more than when they were served last.
    gained: Vec<SubscriptionId>,
    /// Reused.
    spare: Vec<SubscriptionId>,
    /// Groups that have become free with more in them, since this was last asked.
    freed: Vec<u32>,
}

impl Groups {
    /// Groups by a header; messages without it are in the group `default`. `stamps`: their times are reported.
    pub(super) fn new(header: &str, default: &str, stamps: bool) -> Groups {
        Groups {
            header: header.into(),
            default: default.as_bytes().into(),
            stamps,
            groups: Named::new(),
            of: Tags::default(),
            free: Positions::default(),
            owned: Owned::default(),
            gained: Vec::new(),
            spare: Vec::new(),
            freed: Vec::new(),
        }
    }

    pub(super) fn header(&self) -> &str {
        &self.header
    }

    /// The state of each. `stamp` tells when the message at a position came.
    pub(super) fn report(
        &self,
        stamp: impl Fn(Position) -> Option<u64>,
    ) -> impl Iterator<Item = GroupReport> {
        let there = self.groups.iter().filter(|(_, group)| !group.is_empty());
        there.map(move |(name, group)| {
            let first = group.available.front().copied();
            let oldest = first.into_iter().chain(group.held.first().copied()).min();
            GroupReport {
                name: Arc::clone(name),
                messages: group.available.len() as u64 + u64::from(group.acquired),
                first,
                owner: group.owner,
                timestamp: oldest.filter(|_| self.stamps).and_then(&stamp),
            }
        })
    }

    // ---- what becomes of messages --------------------------------------------------------

    /// A message has come.
    pub(super) fn push(&mut self, position: Position, message: &Message) {
        let (groups, default) = (&mut self.groups, &*self.default);
        let id = with_group(message, &self.header, |text| {
            groups.number(if text.is_empty() { default } else { text })
        });
        self.of.insert(position, id);
        let group = &mut self.groups[id];
        // Nearly always the last.
        let at = match group.available.back() {
            Some(last) if *last > position => group.available.partition_point(|p| *p < position),
            _ => group.available.len(),
        };
        let before = group.listed();
        group.available.insert(at, position);
        let (owner, after) = (group.owner, group.listed());
        self.list(before, after);
        owner.into_iter().for_each(|owner| self.gain(owner));
    }

    /// An available message was acquired.
    pub(super) fn acquired(&mut self, position: Position, by: SubscriptionId) {
        let stamps = self.stamps;
        self.edit(position, |group| {
            group.take(position);
            group.acquired += 1;
            if stamps {
                group.held.insert(position);
            }
            group.owner.get_or_insert(by);
        });
        // The others of its group are for it alone.
        self.gain(by);
    }

    /// An acquired message is available again.
    pub(super) fn released(&mut self, position: Position) {
        let owner = self.edit(position, |group| {
            let at = group.available.partition_point(|p| *p < position);
            group.available.insert(at, position);
            group.acquired = group.acquired.saturating_sub(1);
            group.held.remove(&position);
        });
        owner.into_iter().for_each(|owner| self.gain(owner));
    }

    /// An acquired message has left the queue.
    pub(super) fn settled(&mut self, position: Position) {
        self.leave(position, |group| {
            group.acquired = group.acquired.saturating_sub(1);
            group.held.remove(&position);
        });
    }

    /// An available message has left the queue.
    pub(super) fn forget(&mut self, position: Position) {
        self.leave(position, |group| group.take(position));
    }

    /// A message has left the queue, and its group.
    fn leave(&mut self, position: Position, f: impl FnOnce(&mut Group)) {
        let Some(id) = self.of.remove(position) else { return };
        self.edit_group(id, f);
        let group = &mut self.groups[id];
        if group.is_empty() {
            // A long one that has left must not keep its room.
            group.available.shrink_to(ROOM);
            self.groups.unused(id);
            if self.of.is_empty() {
                self.groups.all_unused();
            }
        }
    }

    /// Changes the group of a message and lists it anew. Its owner afterwards.
    fn edit(&mut self, position: Position, f: impl FnOnce(&mut Group)) -> Option<SubscriptionId> {
        let id = self.of.get(position)?;
        self.edit_group(id, f)
    }

    fn edit_group(&mut self, id: u32, f: impl FnOnce(&mut Group)) -> Option<SubscriptionId> {
        let group = &mut self.groups[id];
        let before = group.listed();
        f(group);
        let freed = match group.acquired {
            0 => group.owner.take(),
            _ => None,
        };
        let (owner, after) = (group.owner, group.listed());
        self.list(before, after);
        if let Some(owner) = freed {
            self.freed.extend(after.map(|_| id));
            // Of what it has, another message may be the first.
            self.gain(owner);
        }
        owner
    }

    /// Lists a group by its first available message, with its owner's or the free ones, if that is another than
    /// before.
    fn list(&mut self, before: Listed, after: Listed) {
        match (before, after) {
            _ if before == after => return,
            // Nearly always.
            (Some((first, Some(owner))), Some((next, Some(same)))) if owner == same => {
                return self.owned.replace(owner, first, next);
            }
            _ => {}
        }
        match before {
            None => {}
            Some((first, None)) => self.free.remove(first),
            Some((first, Some(owner))) => self.owned.remove(owner, first),
        }
        match after {
            None => {}
            Some((first, None)) => self.free.insert(first),
            Some((first, Some(owner))) => self.owned.insert(owner, first),
        }
    }

    // ---- who gets what -------------------------------------------------------------------

    /// The first message that nobody's group has.
    pub(super) fn first_free(&self) -> Option<Position> {
        self.free.first()
    }

    /// The first message of the groups that a consumer has.
    pub(super) fn first_of(&self, consumer: SubscriptionId) -> Option<Position> {
        self.owned.first(consumer)
    }

    /// The group of an available message, if another than this consumer has it.
    pub(super) fn of_another(&self, consumer: SubscriptionId, position: Position) -> Option<u32> {
        let id = self.of.get(position)?;
        self.groups[id].owner.filter(|owner| *owner != consumer).map(|_| id)
    }

    /// Whether a consumer may have a message that is available.
    pub(super) fn may_have(&self, consumer: SubscriptionId, position: Position) -> bool {
        self.of_another(consumer, position).is_none()
    }

    /// A consumer may get more now, of the groups it has: credit or room has come for it, or a message.
    pub(super) fn gain(&mut self, consumer: SubscriptionId) {
        // Nearly always the one that had more before.
        if self.gained.last() != Some(&consumer) && self.owned.first(consumer).is_some() {
            self.gained.push(consumer);
        }
    }

    /// Owners that may have more now than when this was last asked; see [`Groups::give_back`].
    pub(super) fn take_gained(&mut self) -> Vec<SubscriptionId> {
        std::mem::swap(&mut self.gained, &mut self.spare);
        std::mem::take(&mut self.spare)
    }

    /// Takes that list back, for others.
    pub(super) fn give_back(&mut self, mut list: Vec<SubscriptionId>) {
        list.clear();
        self.spare = list;
    }

    /// The groups that have become free with more in them, since this was last asked; see
    /// [`Groups::give_back_freed`].
    pub(super) fn take_freed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.freed)
    }

    /// Takes that list back, for others.
    pub(super) fn give_back_freed(&mut self, mut list: Vec<u32>) {
        list.clear();
        self.freed = list;
    }
}

impl Group {
    fn is_empty(&self) -> bool {
        self.acquired == 0 && self.available.is_empty()
    }

    fn listed(&self) -> Listed {
        self.available.front().map(|first| (*first, self.owner))
    }

    fn take(&mut self, position: Position) {
        if self.available.front() == Some(&position) {
            self.available.pop_front();
        } else if let Ok(at) = self.available.binary_search(&position) {
            self.available.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::{message, message_with, subscription_id};

    fn front(groups: &Groups, consumer: SubscriptionId) -> Option<Position> {
        groups.first_of(consumer).into_iter().chain(groups.first_free()).min()
    }

    fn groups(names: &[&str]) -> Groups {
        let mut groups = Groups::new("g", "none", false);
        for (n, name) in names.iter().enumerate() {
            groups.push(n as Position + 1, &message_with("g", *name));
        }
        groups
    }

    #[test]
    fn a_group_is_its_consumers_until_all_is_settled() {
        let (a, b) = (subscription_id(1), subscription_id(2));
        let mut groups = groups(&["A", "B", "A", "C"]);
        groups.acquired(1, a);
        assert_eq!((front(&groups, a), front(&groups, b)), (Some(2), Some(2)));
        groups.acquired(2, b);
        assert_eq!((front(&groups, a), front(&groups, b)), (Some(3), Some(4)));
        assert!(groups.may_have(a, 3) && !groups.may_have(b, 3) && groups.may_have(b, 4));
        groups.acquired(3, a);
        groups.settled(1);
        assert_eq!(groups.take_freed(), []);
        groups.push(5, &message_with("g", "A"));
        assert_eq!(front(&groups, b), Some(4));
        groups.acquired(4, b);
        assert_eq!(front(&groups, b), None);
        groups.released(3);
        assert_eq!(groups.take_freed(), [0]);
        assert_eq!((front(&groups, b), groups.first_free()), (Some(3), Some(3)));
        groups.forget(3);
        assert_eq!(front(&groups, b), Some(5));
        for position in [2, 4] {
            groups.settled(position);
        }
        groups.forget(5);
        assert!(groups.of.is_empty() && groups.free.is_empty() && groups.owned.is_empty());
    }

    #[test]
    fn those_without_a_group_are_in_the_default() {
        let mut groups = Groups::new("g", "none", false);
        groups.push(1, &message(1));
        groups.push(2, &message_with("other", 1));
        groups.push(3, &message_with("g", 7));
        let mut found: Vec<_> = groups.report(|_| None).map(|g| (g.name, g.messages)).collect();
        found.sort();
        assert_eq!(found, [(b"7"[..].into(), 1), (b"none"[..].into(), 2)]);
    }

    #[test]
    fn the_oldest_message_tells_the_time_of_its_group() {
        let by = subscription_id(1);
        let times = |groups: &Groups| -> Vec<Option<u64>> {
            groups.report(|position| Some(position * 10)).map(|g| g.timestamp).collect()
        };
        let mut groups = groups(&["A", "A", "A"]);
        assert_eq!(times(&groups), [None], "nobody has asked for it");
        groups.stamps = true;
        groups.forget(1);
        assert_eq!(times(&groups), [Some(20)]);
        groups.acquired(2, by);
        assert_eq!(times(&groups), [Some(20)], "it is in the queue still");
        groups.acquired(3, by);
        groups.settled(2);
        assert_eq!(times(&groups), [Some(30)]);
        groups.released(3);
        assert_eq!(times(&groups), [Some(30)]);
    }
}
