//! Octets: a bounded reader, and the errors of decoding and encoding.
//!
//! All integers are big-endian. A [`Reader`] never reads past its slice and never copies; a size
//! announced by the peer is compared with what is present before it is used.

use thiserror::Error;

/// What was wrong with encoded data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The data ends before the value does.
    #[error("truncated: {need} octets needed, {have} present")]
    Truncated {
        /// Octets the value takes.
        need: usize,
        /// Octets that were left.
        have: usize,
    },
    /// Octets are left after the value that should fill its space.
    #[error("{0} octets left over after the last value")]
    Trailing(usize),
    /// A type code outside the widths the specification assigns.
    #[error("unknown type code {0:#04x}")]
    UnknownType(u8),
    /// Nesting beyond [`crate::limits::MAX_NESTING`].
    #[error("maps, lists or arrays nested too deep")]
    TooDeep,
    /// A count that the bytes present cannot hold.
    #[error("count {count} is more than {bytes} octets can hold")]
    CountTooLarge {
        /// The count announced.
        count: u32,
        /// The octets present for it.
        bytes: usize,
    },
    /// Text that is not UTF-8.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// A sequence-set whose size is not a multiple of a range.
    #[error("sequence-set of {0} octets is not a whole number of ranges")]
    SequenceSetSize(u16),
    /// A range whose end is before its start.
    #[error("sequence-set range {low} to {high} is reversed")]
    ReversedRange {
        /// First id as sent.
        low: u32,
        /// Last id as sent.
        high: u32,
    },
    /// Ranges that lie further apart than serial numbers can be compared.
    #[error("sequence-set spans half of all serial numbers or more")]
    SequenceSetTooWide,
    /// Flag bits that no field of the struct has.
    #[error("unknown pack flags {0:#06x}")]
    UnknownFlags(u32),
    /// A coded struct of another kind than the place calls for.
    #[error("struct code {found:#06x} where {expected:#06x} belongs")]
    WrongStruct {
        /// Class in the high octet, struct in the low one.
        expected: u16,
        /// What was there.
        found: u16,
    },
    /// More structs in a message header than [`crate::limits::MAX_HEADER_STRUCTS`].
    #[error("too many structs in a message header")]
    TooManyStructs,
    /// A type code that is known but does not belong where it stands.
    #[error("type code {found:#04x} where {expected} belongs")]
    WrongType {
        /// The type that belongs there.
        expected: &'static str,
        /// The type code that was there.
        found: u8,
    },
    /// A `boolean` of one octet that is neither 0 nor 1.
    #[error("boolean of {0}, which is neither 0 nor 1")]
    NotABoolean(u8),
    /// A `char` that is no Unicode character.
    #[error("{0:#x} is not a Unicode character")]
    NotAChar(u32),
    /// A `symbol` that is not ASCII.
    #[error("symbol is not ASCII")]
    NotAscii,
    /// A map with a key that has no value.
    #[error("map of {0} items, which is no number of pairs")]
    OddMap(u32),
    /// A composite value within a field lacks a field that it must have.
    #[error("mandatory field {0} is missing")]
    MissingField(&'static str),
}

/// What could not be put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A value longer than its length prefix can say.
    #[error("{len} octets do not fit where at most {max} may stand")]
    TooLong {
        /// Length of the value.
        len: usize,
        /// The most its encoding allows.
        max: usize,
    },
    /// An array whose elements are not all of its type.
    #[error("array of type {expected:#04x} holds an element of type {found:#04x}")]
    MixedArray {
        /// The array's type code.
        expected: u8,
        /// The element's.
        found: u8,
    },
    /// Nesting beyond [`crate::limits::MAX_NESTING`], which no peer of ours would decode.
    #[error("maps, lists or arrays nested too deep")]
    TooDeep,
    /// An opaque value whose octets do not have the width of its type code.
    #[error("value of type {0:#04x} does not have the width of that type")]
    WrongWidth(u8),
    /// A symbol that is not ASCII.
    #[error("symbol is not ASCII")]
    NotAscii,
    /// A field that must be there holds nothing.
    #[error("mandatory field {0} is missing")]
    MissingField(&'static str),
}

/// Reads values off the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    defer_maps: bool,
}

impl<'a> Reader<'a> {
    /// A reader over all of `bytes` that checks maps and arrays in depth as it passes them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, defer_maps: false }
    }

    /// A reader that checks only the outline of maps and arrays: their users look at them lazily
    /// and meet what is malformed when they get there.
    pub fn deferring(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, defer_maps: true }
    }

    /// Whether maps and arrays are left unchecked in depth.
    pub(crate) fn defers_maps(&self) -> bool {
        self.defer_maps
    }

    /// A reader over `bytes` with this one's way of treating maps.
    pub(crate) fn nested(&self, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, defer_maps: self.defer_maps }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Octets left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Fails if anything is left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    /// The next `len` octets.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(DecodeError::Truncated { need: len, have: self.rest.len() }),
        }
    }

    /// The next `N` octets.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(*head)
            }
            None => Err(DecodeError::Truncated { need: N, have: self.rest.len() }),
        }
    }

    /// One octet.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// A `uint16`.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A `uint32`.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A `uint64`.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Octets after an 8-bit length.
    #[inline]
    pub fn bytes8(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// Octets after a 16-bit length.
    #[inline]
    pub fn bytes16(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Octets after a 32-bit length.
    #[inline]
    pub fn bytes32(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()?;
        self.take(len as usize)
    }
}

/// Checks text that came off the wire.
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::InvalidUtf8)
}

/// Appends octets behind an 8-bit length.
pub(crate) fn put_bytes8(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let max = usize::from(u8::MAX);
    let len =
        u8::try_from(bytes.len()).map_err(|_| EncodeError::TooLong { len: bytes.len(), max })?;
    out.push(len);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends octets behind a 16-bit length.
pub(crate) fn put_bytes16(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let max = usize::from(u16::MAX);
    let len =
        u16::try_from(bytes.len()).map_err(|_| EncodeError::TooLong { len: bytes.len(), max })?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends octets behind a 32-bit length.
pub(crate) fn put_bytes32(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), EncodeError> {
    let len = length32(bytes.len())?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// A length as the 32 bits that announce it.
pub fn length32(len: usize) -> Result<u32, EncodeError> {
    u32::try_from(len).map_err(|_| EncodeError::TooLong { len, max: u32::MAX as usize })
}

/// Appends what `body` writes behind a length of `width` octets (0 for none), filled in afterwards.
pub(crate) fn put_sized(
    out: &mut Vec<u8>,
    width: usize,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let at = out.len();
    out.resize(at + width, 0);
    let start = out.len();
    body(out)?;
    let len = out.len() - start;
    let max = match width {
        0 => return Ok(()),
        1 => usize::from(u8::MAX),
        2 => usize::from(u16::MAX),
        _ => u32::MAX as usize,
    };
    if len > max {
        return Err(EncodeError::TooLong { len, max });
    }
    let octets = (len as u32).to_be_bytes();
    out[at..start].copy_from_slice(&octets[octets.len() - width..]);
    Ok(())
}
