//! What one end of a link knows of deliveries that are not settled, told when it is attached (part 2.6.13).

use fletch_amqp::v1_0::DeliveryState;
use fletch_amqp::v1_0::types::{MapRef, put_binary, put_map, put_null};
use fletch_amqp::{EncodeError, wire::length32};

use super::books::Verdict;
use super::failure::Outcome;
use super::terminus::view;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unsettled {
    /// Deliveries by their tags, and what became of them if that is known.
    pub deliveries: Vec<(Vec<u8>, Option<Outcome>)>,
    /// There are more. No new ones are sent on such a link.
    pub incomplete: bool,
}

impl Unsettled {
    /// Those of which nothing is known but their tags.
    pub fn of_tags(tags: impl IntoIterator<Item = Vec<u8>>) -> Unsettled {
        let deliveries = tags.into_iter().map(|tag| (tag, None)).collect();
        Unsettled { deliveries, incomplete: false }
    }

    /// What became of a delivery; none if it is not known at all.
    pub fn get(&self, tag: &[u8]) -> Option<&Option<Outcome>> {
        self.deliveries.iter().find(|(known, _)| known == tag).map(|(_, outcome)| outcome)
    }

    pub(super) fn read(map: Option<MapRef<'_>>, incomplete: bool) -> Unsettled {
        let entries = map.into_iter().flat_map(MapRef::iter).map_while(Result::ok);
        let deliveries = entries.filter_map(|(tag, state)| {
            let state = DeliveryState::from_view(state).ok();
            let outcome = state.as_ref().and_then(|state| Outcome::of(Some(state), false));
            Some((tag.as_binary()?.to_vec(), outcome))
        });
        Unsettled { deliveries: deliveries.collect(), incomplete }
    }

    /// As a map in `buffer`; none if there is nothing in it.
    pub(super) fn map<'b>(
        &self,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Option<MapRef<'b>>, EncodeError> {
        if self.deliveries.is_empty() {
            return Ok(None);
        }
        put_map(buffer, |out| {
            for (tag, outcome) in &self.deliveries {
                put_binary(tag, out)?;
                let mut encoded = Ok(());
                match outcome {
                    None => put_null(out),
                    Some(outcome) => {
                        Verdict::Settled(outcome.clone()).state(|state| encoded = state.encode(out))
                    }
                }
                encoded?;
            }
            length32(self.deliveries.len() * 2)
        })?;
        Ok(view(buffer).and_then(|value| value.as_map()))
    }
}
