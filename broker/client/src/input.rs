//! Octets read and not yet understood.

/// Room for several of the largest frames, so that a read takes what many messages need.
const CAPACITY: usize = 256 << 10;
/// Octets that a read has room for at least.
pub(crate) const ROOM: usize = CAPACITY / 2;

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

    /// Where to read to. What is left over is at most one frame, so there is always room.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.end > CAPACITY - ROOM {
            self.octets.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.octets[self.end..]
    }

    /// So many octets were read there.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_left_moves_to_the_front_and_nothing_is_lost() {
        let source: Vec<u8> = (0..3 * CAPACITY).map(|i| (i % 251) as u8).collect();
        let mut from = &source[..];
        let (mut input, mut seen) = (Input::new(), Vec::new());
        loop {
            assert!(input.room().len() >= ROOM);
            let read = from.read(input.room()).unwrap();
            if read == 0 {
                break;
            }
            input.filled(read);
            let rest = input.octets().len() % 60_000;
            let taken = input.octets().len() - rest;
            seen.extend_from_slice(&input.octets()[..taken]);
            input.keep(rest);
        }
        seen.extend_from_slice(input.octets());
        assert!(seen == source);
    }
}
