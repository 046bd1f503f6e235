//! Taking messages out of the middle of a queue: purges, moves and reroutes, of some or all.
//!
//! Only what is available is taken; what somebody has acquired stays. Callers take a slice at a time and
//! keep the place where they go on.

use super::entries::{Body, Removed};
use super::marks::Marks;
use super::order::Order;
use super::{Output, Queue};
use crate::error::Error;
use crate::ids::Position;
use crate::look::property;
use crate::message::Message;
use fletch_amqp::types::{Map, Value};
use fletch_journal::Seq;
use std::sync::Arc;

/// Which messages are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// So many at most; 0: all.
    pub limit: u64,
    /// Only those that it matches.
    pub filter: Option<HeaderFilter>,
}

/// An application's property that has to be there, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderFilter {
    /// Its name.
    pub header: String,
    /// Its value.
    pub value: String,
}

impl HeaderFilter {
    /// The filter that management describes: `filter_type` is `header_match_str`, `filter_params` is a map
    /// of `header_key` and `header_value`. None if the map is empty.
    ///
    /// # Errors
    /// `InvalidArgument` if it describes another.
    pub fn from_map(map: &Map) -> Result<Option<HeaderFilter>, Error> {
        if map.is_empty() {
            return Ok(None);
        }
        let params = match map.get("filter_params") {
            Some(Value::Map(params)) if map.get_str("filter_type") == Some("header_match_str") => {
                params
            }
            _ => return Err(Error::invalid(format!("Unrecognized message filter: '{map:?}'"))),
        };
        match (params.get_str("header_key"), params.get_str("header_value")) {
            (Some(header), Some(value)) => {
                Ok(Some(HeaderFilter { header: header.to_owned(), value: value.to_owned() }))
            }
            _ => Err(Error::invalid(format!("Unrecognized message filter: '{map:?}'"))),
        }
    }

    /// Whether a message has it. Integers count as their digits; what is not there, as empty text.
    pub fn matches(&self, message: &Message) -> bool {
        let Some(value) = property(message, &self.header) else { return self.value.is_empty() };
        match (value.as_bytes(), value.as_i64()) {
            (Some(text), _) => text == self.value.as_bytes(),
            (None, Some(number)) => self.value == number.to_string(),
            (None, None) => self.value.is_empty(),
        }
    }
}

/// What is found when somebody looks for the next message to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// This one.
    Here(Position),
    /// The next one whose body is away: whether it is one to take, or what it says, only its body tells.
    Away(Position, Seq),
    /// There is none, or this is the end of the slice.
    Nothing,
}

/// A message that was taken out.
#[derive(Debug)]
pub struct Taken {
    /// As it leaves.
    pub message: Message,
    /// Its size as it was in the queue.
    pub size: usize,
    /// Where its record stands.
    pub place: Seq,
}

impl Taken {
    /// None if its body was away.
    pub(super) fn of(
        marks: Option<&Arc<Marks>>,
        position: Position,
        removed: Removed,
    ) -> Option<Taken> {
        let Removed { message, size, place, annotations, .. } = removed;
        let marks = Marks::with(marks, annotations);
        let message = message.map(|message| match marks {
            Some(marks) => marks.apply(&message, position),
            None => message,
        })?;
        Some(Taken { message, size, place })
    }
}

impl Queue {
    /// Drops available messages up to a position, and those that are not due, at most `limit` of them; acquired
    /// ones stay.
    /// How many, and whether there are more.
    pub fn purge(&mut self, until: Position, limit: usize, out: &mut Vec<Output>) -> (usize, bool) {
        let mut purged = 0;
        while let Some(position) = self.entries.first().map(|e| e.position) {
            if position > until || purged == limit {
                break;
            }
            if let Some(removed) = self.remove_available(position) {
                self.dequeued(position, &removed, out);
            }
            purged += 1;
        }
        while let Some(position) = self.next_scheduled(0).filter(|p| *p <= until && purged < limit)
        {
            if let Some(removed) = self.remove_unclaimed(position) {
                self.dequeued(position, &removed, out);
            }
            self.unschedule(position);
            purged += 1;
        }
        self.counters.purged += purged as u64;
        self.counters.dequeued += purged as u64;
        (purged, purged == limit)
    }

    /// Looks for the next message that is available or not due yet from `cursor` to `until` that the filter matches, at no more than
    /// `budget` of them. The cursor moves on behind it, or to one that is away.
    pub(crate) fn find(
        &self,
        cursor: &mut Position,
        until: Position,
        filter: Option<&HeaderFilter>,
        budget: &mut usize,
    ) -> Found {
        while *budget > 0 {
            if let (None, Some(position)) = (filter, self.first_by_priority(until)) {
                *budget -= 1;
                return Found::Here(position);
            }
            let available = self.entries.next(*cursor).map(|e| e.position);
            let next = available.into_iter().chain(self.next_scheduled(*cursor)).min();
            let next = next.filter(|position| *position <= until);
            let Some(entry) = next.and_then(|position| self.entries.get(position)) else {
                *cursor = until + 1;
                break;
            };
            *cursor = entry.position;
            *budget -= 1;
            match entry.body() {
                Body::Away { .. } => return Found::Away(entry.position, entry.place()),
                Body::Here(message) => {
                    *cursor += 1;
                    if filter.is_none_or(|f| f.matches(message)) {
                        return Found::Here(entry.position);
                    }
                }
            }
        }
        Found::Nothing
    }

    /// Of a priority queue, what is consumed next; the highest are taken first.
    fn first_by_priority(&self, until: Position) -> Option<Position> {
        match &self.order {
            Order::Priority(levels) => levels.front().filter(|position| *position <= until),
            _ => None,
        }
    }

    /// Whether the first messages to take are those that came first.
    pub(crate) fn is_by_arrival(&self) -> bool {
        !matches!(self.order, Order::Priority(_))
    }

    /// Drops a message that was found.
    pub(crate) fn purge_at(&mut self, position: Position, out: &mut Vec<Output>) {
        if let Some(removed) = self.remove_unclaimed(position) {
            self.counters.purged += 1;
            self.counters.dequeued += 1;
            self.dequeued(position, &removed, out);
        }
    }

    /// Takes out a message that was found, to go to another queue. The caller sees to its record. With its
    /// marks.
    pub(crate) fn take_out(
        &mut self,
        position: Position,
        reroutes: bool,
        out: &mut Vec<Output>,
    ) -> Option<Taken> {
        let removed = self.remove_unclaimed(position)?;
        self.left(position, out);
        self.counters.dequeued += 1;
        self.counters.rerouted += u64::from(reroutes);
        Taken::of(self.marks.as_ref(), position, removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::QueueId;
    use crate::ids::Time;
    use crate::queue::testing::message_with;

    fn filter(value: &str) -> HeaderFilter {
        HeaderFilter { header: "h".into(), value: value.into() }
    }

    #[test]
    fn a_filter_matches_text_and_integers() {
        let text = message_with("h", "5");
        let number = message_with("h", 5);
        let none = message_with("x", "5");
        assert!(filter("5").matches(&text) && filter("5").matches(&number));
        assert!(!filter("5").matches(&none) && !filter("6").matches(&text));
        assert!(filter("").matches(&none) && !filter("").matches(&text));
    }

    #[test]
    fn a_filter_matches_properties_of_1_0() {
        use crate::testing::message_with;
        use fletch_amqp::v1_0::types::Value;
        assert!(filter("5").matches(&message_with("h", Value::Symbol("5".into()))));
        assert!(filter("5").matches(&message_with("h", Value::Ulong(5))));
        assert!(filter("").matches(&message_with("x", Value::Ulong(5))));
    }

    #[test]
    fn a_filter_is_described_by_a_map() {
        let params = Map::new().with("header_key", "h").with("header_value", "v");
        let map = |kind: &str, params: Map| {
            Map::new().with("filter_type", kind).with("filter_params", Value::Map(params))
        };
        assert_eq!(HeaderFilter::from_map(&Map::new()), Ok(None));
        assert_eq!(
            HeaderFilter::from_map(&map("header_match_str", params.clone())),
            Ok(Some(filter("v")))
        );
        for odd in [
            map("other", params),
            map("header_match_str", Map::new().with("header_key", "h")),
            Map::new().with("filter_type", "header_match_str"),
        ] {
            let error = HeaderFilter::from_map(&odd).expect_err("refused");
            assert!(error.text.starts_with("Unrecognized message filter: "), "{error}");
        }
    }

    #[test]
    fn what_matches_is_found_slice_by_slice() {
        let mut queue = Queue::new(QueueId(1));
        for n in 0..10 {
            queue.enqueue(Time(1), message_with("h", n % 3), &mut Vec::new());
        }
        let wanted = filter("2");
        let (mut cursor, mut found) = (0, Vec::new());
        for _ in 0..6 {
            let mut budget = 2;
            while let Found::Here(position) = queue.find(&mut cursor, 9, Some(&wanted), &mut budget)
            {
                found.push(position);
                assert_eq!(
                    queue.take_out(position, true, &mut Vec::new()).map(|t| t.place),
                    Some(Seq::NONE)
                );
            }
        }
        assert_eq!(found, [3, 6, 9]);
        assert_eq!(cursor, 10);
        assert_eq!((queue.messages(), queue.counters().rerouted), (7, 3));
    }
}
