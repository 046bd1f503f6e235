//! Decisions read from the input.

/// Octets that decide what a driver does. When they run out each answer is 0, which everywhere
/// means the plain thing to do.
#[derive(Debug, Clone)]
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// Splits an input into its script and the rest: the first octet is the script's length.
    pub fn split(data: &'a [u8]) -> (Self, &'a [u8]) {
        let Some((len, rest)) = data.split_first() else { return (Script(&[]), &[]) };
        let (script, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        (Script(script), rest)
    }

    /// Nothing is left.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One octet.
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Two octets.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    /// One of `n`.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { usize::from(self.u8()) % n }
    }
}
