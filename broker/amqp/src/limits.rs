//! Every bound the data layer of this crate puts on what a peer may send, with the reason.
//!
//! Counts on the wire are never trusted: a count is checked against the bytes that are present
//! before anything is done with it. The constants here bound what that check cannot.

/// How deep maps, lists and arrays may nest, and in 1.0 described values and their descriptors. Real messages nest two or three deep (QMF); the bound
/// keeps decoding off the end of a stack, since each level is one call.
pub const MAX_NESTING: usize = 32;

/// How many zero-width elements (`void`, `bit`) an array may announce: they take no octets, so the
/// bytes present do not bound them. The number is the reference broker's. In 1.0 (`null`, `true`,
/// `uint0` and the like) it is for all arrays of one value together, and of
/// one message that a link brings.
pub const MAX_ZERO_WIDTH_ELEMENTS: u32 = 256;

/// How many ranges one `sequence-set` can carry: its size is a `uint16` of octets, eight a range.
pub const MAX_SEQUENCE_RANGES: usize = (u16::MAX / 8) as usize;

/// How many structs a message header segment may hold. The specification knows three for
/// `message.transfer`; the rest is room for unknown ones, which are carried unread.
pub const MAX_HEADER_STRUCTS: usize = 16;
