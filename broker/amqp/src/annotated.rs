//! Where the octets of a header have gone when something was added to it, in either protocol.

/// What an annotation has done to a header: what stood at `from` or behind it has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotated {
    /// The end of what is another now, in the header as it was.
    pub from: usize,
    /// So many octets, back if it is negative.
    pub by: isize,
}
