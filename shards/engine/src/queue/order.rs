//! In which order a queue's messages are consumed, and what follows from it when they come and go.
//!
//! All orders but the plain one go by what is in a message: such a queue has all its messages in memory. After
//! a restart it serves nobody until their bodies are back and it is *sorted*.

use super::entries::{Body, Removed};
use super::groups::Groups;
use super::last_value::LastValues;
use super::priority::Levels;
use super::settings::QueueSettings;
use super::{Output, Queue};
use crate::ids::{Position, SubscriptionId};
use crate::message::Message;
use fletch_journal::Seq;

/// See the module.
#[derive(Debug)]
pub(super) enum Order {
    /// As they came.
    Fifo,
    /// Something else, when all bodies are back.
    Unsorted(Box<Order>),
    /// As they came; a message replaces the one before it with its key.
    LastValue(Box<LastValues>),
    /// The highest priority first.
    Priority(Box<Levels>),
    /// As they came, those of a group to one consumer at a time.
    Groups(Box<Groups>),
}

impl Order {
    pub(super) fn new(settings: &QueueSettings) -> Order {
        if let Some(key) = &settings.last_value_key {
            Order::LastValue(Box::new(LastValues::new(key)))
        } else if let Some(priorities) = &settings.priorities {
            Order::Priority(Box::new(Levels::new(priorities)))
        } else if let Some(key) = &settings.group_key {
            let (default, stamps) = (&settings.default_group, settings.group_timestamp);
            Order::Groups(Box::new(Groups::new(key, default, stamps)))
        } else {
            Order::Fifo
        }
    }

    /// Whether messages are consumed as they came, whatever is in them.
    pub(super) fn is_fifo(&self) -> bool {
        matches!(self, Order::Fifo)
    }

    /// What a last value queue goes by, or will when it is sorted.
    pub(super) fn last_values(&mut self) -> Option<&mut LastValues> {
        match self {
            Order::LastValue(values) => Some(values),
            Order::Unsorted(order) => order.last_values(),
            _ => None,
        }
    }

    /// Priority levels that a cursor has to know, if there are any.
    pub(super) fn levels(&self) -> usize {
        match self {
            Order::Priority(levels) => levels.count(),
            Order::Unsorted(order) => order.levels(),
            _ => 0,
        }
    }

    /// An available message is acquired by a consumer.
    #[inline]
    pub(super) fn acquired(&mut self, position: Position, message: &Message, by: SubscriptionId) {
        match self {
            Order::Fifo | Order::Unsorted(_) | Order::LastValue(_) => {}
            Order::Priority(levels) => levels.hide(position, message),
            Order::Groups(groups) => groups.acquired(position, by),
        }
    }

    /// A consumer got the message whose turn it was.
    #[inline]
    pub(super) fn had_turn(&mut self, message: &Message) {
        if let Order::Priority(levels) = self {
            levels.had_turn(message);
        }
    }

    /// An available message has left the queue.
    #[inline]
    pub(super) fn removed(&mut self, position: Position, removed: &Removed) {
        match (self, &removed.message) {
            (Order::Fifo | Order::Unsorted(_), _) | (_, None) => {}
            (Order::LastValue(values), _) => values.forget(position),
            (Order::Priority(levels), Some(message)) => levels.hide(position, message),
            (Order::Groups(groups), _) => groups.forget(position),
        }
    }

    /// An acquired message has left the queue.
    #[inline]
    pub(super) fn settled(&mut self, position: Position) {
        match self {
            Order::LastValue(values) => {
                values.forget(position);
                values.provisional.unkeep(position);
            }
            Order::Groups(groups) => groups.settled(position),
            _ => {}
        }
    }
}

impl Queue {
    /// Gives the queue, with what is in it, an order.
    pub(super) fn set_order(&mut self, order: Order) {
        self.order = match (order, self.entries.messages()) {
            (Order::Fifo, _) => Order::Fifo,
            (order, 0) => order,
            (order, _) => Order::Unsorted(Box::new(order)),
        };
    }

    /// Whether bodies are missed that tell the order of messages.
    pub(crate) fn is_unsorted(&self) -> bool {
        matches!(self.order, Order::Unsorted(_))
    }

    /// Puts the messages in order if all bodies are there.
    pub(crate) fn sort(&mut self, out: &mut Vec<Output>) {
        if !self.is_unsorted() {
            return;
        }
        if self.entries.away() > 0 {
            self.want(out);
            return;
        }
        let Order::Unsorted(mut order) = std::mem::replace(&mut self.order, Order::Fifo) else {
            return;
        };
        let mut outdated = Vec::new();
        for entry in self.entries.iter() {
            let Body::Here(message) = entry.body() else { continue };
            if self.is_scheduled(entry.position) {
                continue;
            }
            match &mut *order {
                Order::Fifo | Order::Unsorted(_) => {}
                Order::LastValue(values) => {
                    let older = values.push(entry.position, message);
                    outdated.extend(older.map(|older| (older, entry.position)));
                }
                Order::Priority(levels) => levels.show(entry.position, message),
                Order::Groups(groups) => groups.push(entry.position, message),
            }
            if !self.entries.is_available(entry.position) {
                order.acquired(entry.position, message, SubscriptionId::NOBODY);
            }
        }
        self.order = *order;
        for (older, newer) in outdated {
            match self.is_provisional(newer) {
                true => self.keep_behind(older, newer, out),
                false => self.give_way(older, out),
            }
        }
    }

    /// A message has left: if it was the last one that was missed to sort the others, they can be now.
    pub(super) fn sort_soon(&mut self, out: &mut Vec<Output>) {
        let can = self.is_unsorted() && self.entries.away() == 0;
        if can && !std::mem::replace(&mut self.looking, true) {
            out.push(Output::More { queue: self.id });
        }
    }

    /// A message is about to be appended.
    #[inline]
    pub(super) fn order_next(&mut self, message: &Message, place: Seq, out: &mut Vec<Output>) {
        let position = self.entries.end();
        match &mut self.order {
            Order::Fifo => {}
            Order::Unsorted(order) => {
                // What it takes the place of is not known yet.
                if let Some(values) = order.last_values().filter(|_| place != Seq::NONE) {
                    values.provisional.open(position);
                }
            }
            Order::Priority(levels) => levels.show(position, message),
            Order::Groups(groups) => groups.push(position, message),
            Order::LastValue(values) => {
                let older = values.push(position, message);
                if place != Seq::NONE {
                    values.provisional.open(position);
                }
                match older {
                    Some(older) if place == Seq::NONE => self.give_way(older, out),
                    Some(older) => self.keep_behind(older, position, out),
                    None => {}
                }
            }
        }
    }

    /// A message has come to the place that was kept for it, behind others perhaps.
    pub(super) fn order_filled(
        &mut self,
        position: Position,
        message: &Message,
        out: &mut Vec<Output>,
    ) {
        match &mut self.order {
            Order::Fifo | Order::Unsorted(_) => {}
            Order::Priority(levels) => levels.show(position, message),
            Order::Groups(groups) => groups.push(position, message),
            Order::LastValue(_) => {
                self.value_returned(position, message, out);
            }
        }
    }

    /// A message of a last value queue is available: it, or another, gives way. False if it did so for now.
    fn value_returned(
        &mut self,
        position: Position,
        message: &Message,
        out: &mut Vec<Output>,
    ) -> bool {
        let Order::LastValue(values) = &mut self.order else { return true };
        if let Some(newer) = values.provisional_before(position, message) {
            self.keep_behind(position, newer, out);
            return false;
        }
        let older = values.released(position, message);
        let is_open = values.provisional.is_open(position);
        match older {
            Some(older) if is_open && older != position => self.keep_behind(older, position, out),
            Some(older) => self.give_way(older, out),
            None => {}
        }
        true
    }

    /// A message gives way to a newer one with its key, unless somebody has it.
    fn give_way(&mut self, position: Position, out: &mut Vec<Output>) {
        // What a newer one has taken the place of is forgotten already.
        if let Some(removed) = self.entries.remove_available(position) {
            self.counters.dequeued += 1;
            self.counters.replaced += 1;
            self.dequeued(position, &removed, out);
            self.confirm(position, out);
        }
    }

    /// Removes an available message.
    #[inline]
    pub(super) fn remove_available(&mut self, position: Position) -> Option<Removed> {
        let removed = self.entries.remove_available(position);
        if let Some(removed) = &removed {
            self.order.removed(position, removed);
        }
        removed
    }

    /// Removes an acquired message.
    #[inline]
    pub(super) fn remove_acquired(&mut self, position: Position) -> Option<Removed> {
        let removed = self.entries.remove_acquired(position);
        if removed.is_some() {
            self.order.settled(position);
            self.unschedule(position);
        }
        removed
    }

    /// Makes an acquired message available again. False if it is not acquired.
    pub(super) fn release_one(
        &mut self,
        position: Position,
        set_redelivered: bool,
        out: &mut Vec<Output>,
    ) -> bool {
        if !self.entries.release(position, set_redelivered) {
            return false;
        }
        if self.order.is_fifo() && !self.subscriptions.has_selecting() {
            return true;
        }
        let Some(entry) = self.entries.get(position) else { return true };
        let Body::Here(message) = entry.body() else { return true };
        let message = message.clone();
        match &mut self.order {
            Order::Fifo | Order::Unsorted(_) => {}
            Order::Priority(levels) => levels.show(position, &message),
            Order::Groups(groups) => groups.released(position),
            Order::LastValue(_) => {
                if !self.value_returned(position, &message, out) {
                    return true;
                }
            }
        }
        self.look_again(position, &message);
        true
    }
}
