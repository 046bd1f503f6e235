//! What is not settled on a link when it is left (part 2.6.13), for whoever attaches it next, maybe on another
//! shard: so it can be written as octets, which the engine hands on without looking at them.

use super::lasts::{Lasts, Policy};
use fletch_engine::{DeliveryRef, QueueId};
use smallvec::SmallVec;

/// A delivery's name on its link: at most 32 octets.
pub(crate) type Tag = SmallVec<[u8; 16]>;

/// What became of a delivery that a client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Accepted,
    /// Its state, encoded.
    Other(Box<[u8]>),
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Estate {
    #[default]
    Nothing,
    /// The client sent these, was told this, and has not settled it.
    Outcomes(Vec<(Tag, Fate)>),
    /// The client received these, under these tags, and has not settled them.
    Held(Vec<(u32, DeliveryRef)>),
}

impl Estate {
    /// Deliveries in it.
    pub(crate) fn len(&self) -> usize {
        match self {
            Estate::Nothing => 0,
            Estate::Outcomes(outcomes) => outcomes.len(),
            Estate::Held(held) => held.len(),
        }
    }

    /// As octets, with how long it would be kept.
    pub(super) fn write(&self, lasts: Lasts) -> Vec<u8> {
        let mut out = vec![lasts.policy as u8];
        out.extend_from_slice(&lasts.timeout.to_be_bytes());
        match self {
            Estate::Nothing => {}
            Estate::Outcomes(outcomes) => {
                out.push(OUTCOMES);
                for (tag, fate) in outcomes {
                    // Tags are short, and states fit a frame.
                    out.push(tag.len() as u8);
                    out.extend_from_slice(tag);
                    let state: &[u8] = match fate {
                        Fate::Accepted => &[],
                        Fate::Other(state) => state,
                    };
                    out.extend_from_slice(&(state.len() as u32).to_be_bytes());
                    out.extend_from_slice(state);
                }
            }
            Estate::Held(held) => {
                out.push(HELD);
                for (tag, DeliveryRef { queue, position }) in held {
                    out.extend_from_slice(&tag.to_be_bytes());
                    out.extend_from_slice(&queue.0.to_be_bytes());
                    out.extend_from_slice(&position.to_be_bytes());
                }
            }
        }
        out
    }

    /// What [`Estate::write`] wrote.
    pub(crate) fn read(mut octets: &[u8]) -> (Estate, Lasts) {
        let policy = Policy::ALL[usize::from(take::<1>(&mut octets).expect(WHOLE)[0])];
        let timeout = u32::from_be_bytes(take(&mut octets).expect(WHOLE));
        let lasts = Lasts { policy, timeout };
        let estate = match take::<1>(&mut octets) {
            None => Estate::Nothing,
            Some([OUTCOMES]) => {
                let mut outcomes = Vec::new();
                while let Some([len]) = take(&mut octets) {
                    let tag = split(&mut octets, len.into());
                    let len = u32::from_be_bytes(take(&mut octets).expect(WHOLE));
                    let fate = match split(&mut octets, len as usize) {
                        [] => Fate::Accepted,
                        state => Fate::Other(state.into()),
                    };
                    outcomes.push((tag.into(), fate));
                }
                Estate::Outcomes(outcomes)
            }
            Some(_) => {
                let mut held = Vec::with_capacity(octets.len() / 20);
                while let Some(tag) = take(&mut octets) {
                    let queue = QueueId(u64::from_be_bytes(take(&mut octets).expect(WHOLE)));
                    let position = u64::from_be_bytes(take(&mut octets).expect(WHOLE));
                    held.push((u32::from_be_bytes(tag), DeliveryRef { queue, position }));
                }
                Estate::Held(held)
            }
        };
        (estate, lasts)
    }
}

/// Nobody but a shard writes one.
const WHOLE: &str = "what a link leaves is whole";

const OUTCOMES: u8 = 1;
const HELD: u8 = 2;

fn take<const N: usize>(octets: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = octets.split_first_chunk()?;
    *octets = rest;
    Some(*first)
}

fn split<'a>(octets: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (first, rest) = octets.split_at(len);
    *octets = rest;
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let delivery = |n| DeliveryRef { queue: QueueId(n << 40), position: n };
        let estates = [
            Estate::Nothing,
            Estate::Outcomes(vec![
                (Tag::new(), Fate::Accepted),
                (Tag::from_slice(&[7; 32]), Fate::Other([1, 2, 3].into())),
                (Tag::from_slice(b"tag"), Fate::Accepted),
            ]),
            Estate::Held(vec![(0, delivery(1)), (u32::MAX, delivery(2))]),
        ];
        for (estate, policy) in estates.into_iter().zip(Policy::ALL) {
            let lasts = Lasts { policy, timeout: 77 };
            assert_eq!(Estate::read(&estate.write(lasts)), (estate, lasts));
        }
    }
}
