//! Octets read and not yet understood.

use std::io::{self, Read};

/// Room for several of the largest frames, so that a read takes what many messages need.
const CAPACITY: usize = 256 << 10;

/// A buffer that fills at its end and is consumed at its front.
#[derive(Debug)]
pub(crate) struct Input {
    octets: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new() -> Input {
        // Zeroed pages cost memory only once they are read into.
        Input { octets: vec![0; CAPACITY].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    /// Leaves the last `rest` octets.
    pub(crate) fn keep(&mut self, rest: usize) {
        self.start = self.end - rest;
        if rest == 0 {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once. What is left over is at most one frame, so there is always room.
    pub(crate) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        if self.end > CAPACITY / 2 {
            self.octets.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let read = from.read(&mut self.octets[self.end..])?;
        self.end += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_moves_to_the_front_and_nothing_is_lost() {
        let source: Vec<u8> = (0..3 * CAPACITY).map(|i| (i % 251) as u8).collect();
        let mut from = &source[..];
        let (mut input, mut seen) = (Input::new(), Vec::new());
        while input.fill(&mut from).is_ok_and(|read| read > 0) {
            let rest = input.octets().len() % 60_000;
            let taken = input.octets().len() - rest;
            seen.extend_from_slice(&input.octets()[..taken]);
            input.keep(rest);
        }
        seen.extend_from_slice(input.octets());
        assert!(seen == source);
    }
}
