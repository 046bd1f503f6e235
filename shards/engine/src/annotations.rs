//! What consumers have said of a message when they gave it back (AMQP 1.0, part 3.4.5): annotations that it is
//! delivered with from then on.
//!
//! They are kept beside the message, in memory, until it leaves its queue; what leaves for another queue takes
//! them along. A broker that starts anew has forgotten them, as it has how often a delivery failed.

use crate::look::Note;
use fletch_amqp::v1_0::types::{MapRef, Value};

/// Octets, about, that consumers may add to one message.
pub const ANNOTATIONS_MAX: usize = 8 * 1024;

/// They would be larger than [`ANNOTATIONS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message annotations of a modified delivery exceed {ANNOTATIONS_MAX} octets")]
pub struct AnnotationsTooLarge;

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: Box<str>,
    value: Value,
    size: usize,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    entries: Vec<Entry>,
}

impl Annotations {
    /// Those that a client has sent. Keys that are no symbols are reserved (part 3.2.10), and left out.
    ///
    /// # Errors
    /// If there are too many.
    pub fn of(map: MapRef<'_>) -> Result<Annotations, AnnotationsTooLarge> {
        let mut annotations = Annotations::default();
        for (key, value) in map.iter().map_while(Result::ok) {
            let (Some(key), Ok(owned)) = (key.as_text(), value.to_value()) else { continue };
            let size = key.len() + value.data().len() + size_of::<Entry>();
            if !annotations.put(Entry { key: key.into(), value: owned, size }) {
                return Err(AnnotationsTooLarge);
            }
        }
        Ok(annotations)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds newer ones, which take the places of those of their keys. What would make them too large stays
    /// out.
    pub(crate) fn merge(&mut self, newer: &Annotations) {
        for entry in &newer.entries {
            self.put(entry.clone());
        }
    }

    fn put(&mut self, entry: Entry) -> bool {
        let old = self.entries.iter().position(|old| old.key == entry.key);
        let others = self.entries.iter().filter(|old| old.key != entry.key);
        if others.map(|old| old.size).sum::<usize>() + entry.size > ANNOTATIONS_MAX {
            return false;
        }
        match old {
            Some(old) => self.entries[old] = entry,
            None => self.entries.push(entry),
        }
        true
    }

    pub(crate) fn notes(&self) -> impl Iterator<Item = (&str, Note<'_>)> {
        self.entries.iter().map(|entry| (&*entry.key, Note::Value(&entry.value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_amqp::v1_0::types::{Symbol, ValueRef, put_map, put_symbol};
    use fletch_amqp::wire::Reader;

    fn annotations(entries: &[(&str, Value)]) -> Result<Annotations, AnnotationsTooLarge> {
        let mut octets = Vec::new();
        let put = put_map(&mut octets, |out| {
            for (key, value) in entries {
                put_symbol(Symbol::new(key).expect("ascii"), out)?;
                value.encode(out)?;
            }
            Ok(2 * entries.len() as u32)
        });
        put.expect("encodes");
        let value = ValueRef::decode(&mut Reader::new(&octets)).expect("decodes");
        Annotations::of(value.as_map().expect("a map"))
    }

    fn keys(annotations: &Annotations) -> Vec<&str> {
        annotations.notes().map(|(key, _)| key).collect()
    }

    #[test]
    fn newer_ones_take_the_places_of_older_ones() {
        let mut old = annotations(&[("a", Value::Uint(1)), ("b", Value::Uint(2))]).expect("few");
        old.merge(&annotations(&[("a", Value::Uint(3)), ("c", Value::Uint(4))]).expect("few"));
        assert_eq!(keys(&old), ["a", "b", "c"]);
        assert_eq!(old.notes().next(), Some(("a", Note::Value(&Value::Uint(3)))));
    }

    #[test]
    fn they_cannot_grow_without_end() {
        let large = || Value::Binary(vec![0; ANNOTATIONS_MAX / 2]);
        assert_eq!(annotations(&[("a", large()), ("b", large())]), Err(AnnotationsTooLarge));
        let mut old = annotations(&[("a", large())]).expect("fits");
        old.merge(&annotations(&[("b", large())]).expect("fits alone"));
        assert_eq!(keys(&old), ["a"]);
        old.merge(&annotations(&[("a", large()), ("c", Value::Uint(1))]).expect("fits alone"));
        assert_eq!(keys(&old), ["a", "c"]);
    }
}
