//! Numbers that look random and come again with the same seed.

/// SplitMix64: any seed is good, and the whole state is one number.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The seed in `FLETCH_SEED`, else one of the clock's. Print it: a failure is only as good as its seed.
    pub fn seed() -> u64 {
        let given = std::env::var("FLETCH_SEED").ok().and_then(|seed| seed.parse().ok());
        given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            Random(now.map_or(0, |now| now.as_nanos() as u64)).next()
        })
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of this range, which must not be empty.
    pub fn within(&mut self, range: std::ops::Range<usize>) -> usize {
        let size = range.end - range.start;
        range.start + usize::try_from(self.next() % size as u64).unwrap_or(0)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.within(0..times) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.within(0..from.len())]
    }

    /// Another generator, independent of what is drawn from this one later.
    pub fn fork(&mut self) -> Random {
        Random(self.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_all_of_a_range() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..200).map(|_| random.within(3..10)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!((3..10).all(|number| draw(7).contains(&number)));
        assert!(draw(7).iter().all(|number| (3..10).contains(number)));
    }
}
