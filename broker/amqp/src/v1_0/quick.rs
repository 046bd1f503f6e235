//! Transfers and dispositions as nearly all are, read and written by hand: there is one of either for each message.
//!
//! The table reads and writes every form there is. What is unusual is left to it: a list with a size of four
//! octets, a state other than `accepted`, an encoding that is longer than it has to be. What is read or written here
//! the table would read and write just so; `tests/v1_0_quick.rs` holds the two together.

use super::table::{Accepted, DeliveryState, Disposition, Transfer};
use super::types::code;
use super::{Role, SequenceNo};

/// A described list whose size has one octet: descriptor, size, count.
const OUTLINE: usize = 6;

/// `accepted`, as nearly all write it.
const ACCEPTED: [u8; 4] = [code::DESCRIBED, code::SMALL_ULONG, 0x24, code::LIST0];

/// Octets of the longest delivery tag that is written here.
const TAG_MAX: usize = 32;

/// Reads a transfer off the front of a frame's body, and the payload behind it.
#[inline]
pub fn read_transfer(body: &[u8]) -> Option<(Transfer<'_>, &[u8])> {
    let (mut fields, payload) = Fields::begin(body, 0x14)?;
    let transfer = Transfer {
        handle: fields.uint()??,
        delivery_id: fields.uint()?.map(SequenceNo),
        delivery_tag: fields.binary()?,
        message_format: fields.uint()?,
        settled: fields.flag()?,
        more: fields.flag()?.unwrap_or(false),
        rcv_settle_mode: fields.nothing()?,
        state: fields.nothing()?,
        resume: fields.flag()?.unwrap_or(false),
        aborted: fields.flag()?.unwrap_or(false),
        batchable: fields.flag()?.unwrap_or(false),
    };
    fields.end()?;
    Some((transfer, payload))
}

/// Reads a disposition that is all of a frame's body.
#[inline]
pub fn read_disposition(body: &[u8]) -> Option<Disposition<'_>> {
    let (mut fields, rest) = Fields::begin(body, 0x15)?;
    let disposition = Disposition {
        role: Role(fields.flag()??),
        first: SequenceNo(fields.uint()??),
        last: fields.uint()?.map(SequenceNo),
        settled: fields.flag()?.unwrap_or(false),
        state: fields.state()?,
        batchable: fields.flag()?.unwrap_or(false),
    };
    fields.end()?;
    rest.is_empty().then_some(disposition)
}

/// Appends a transfer; false, and nothing is appended, if it is an unusual one.
#[inline]
pub fn put_transfer(transfer: &Transfer<'_>, out: &mut Vec<u8>) -> bool {
    let &Transfer {
        handle,
        delivery_id: Some(SequenceNo(id)),
        delivery_tag: Some(tag),
        message_format: Some(format),
        settled: Some(settled),
        more: false,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    } = transfer
    else {
        return false;
    };
    if tag.len() > TAG_MAX {
        return false;
    }
    // Three numbers of five octets, the tag and its size, and a flag.
    let mut list = Octets::<{ OUTLINE + 15 + 2 + TAG_MAX + 1 }>::new();
    list.put(&[code::DESCRIBED, code::SMALL_ULONG, 0x14, code::LIST8, 0, 5]);
    list.put_uint(handle);
    list.put_uint(id);
    list.put(&[code::BINARY8, tag.len() as u8]);
    list.put(tag);
    list.put_uint(format);
    list.put(&[if settled { code::TRUE } else { code::FALSE }]);
    // The size counts the octet of the count.
    list.octets[OUTLINE - 2] = (list.len - OUTLINE + 1) as u8;
    out.extend_from_slice(&list.octets[..list.len]);
    true
}

/// Octets on the stack, so that the output grows once.
struct Octets<const N: usize> {
    octets: [u8; N],
    len: usize,
}

impl<const N: usize> Octets<N> {
    fn new() -> Self {
        Octets { octets: [0; N], len: 0 }
    }

    #[inline]
    fn put(&mut self, octets: &[u8]) {
        self.octets[self.len..self.len + octets.len()].copy_from_slice(octets);
        self.len += octets.len();
    }

    #[inline]
    fn put_uint(&mut self, value: u32) {
        match value {
            0 => self.put(&[code::UINT0]),
            1..=0xff => self.put(&[code::SMALL_UINT, value as u8]),
            _ => {
                let [a, b, c, d] = value.to_be_bytes();
                self.put(&[code::UINT, a, b, c, d]);
            }
        }
    }
}

/// The fields of a list in order. None of a field: leave it to the table.
struct Fields<'a> {
    rest: &'a [u8],
    left: u8,
}

impl<'a> Fields<'a> {
    /// Also answers what follows the list.
    #[inline]
    fn begin(body: &'a [u8], descriptor: u8) -> Option<(Fields<'a>, &'a [u8])> {
        let &[code::DESCRIBED, code::SMALL_ULONG, found, code::LIST8, size, left, ref rest @ ..] =
            body
        else {
            return None;
        };
        if found != descriptor {
            return None;
        }
        let (rest, after) = rest.split_at_checked(usize::from(size).checked_sub(1)?)?;
        Some((Fields { rest, left }, after))
    }

    /// Nothing is left, by count and by size.
    #[inline]
    fn end(self) -> Option<()> {
        (self.left == 0 && self.rest.is_empty()).then_some(())
    }

    /// The code of the next field; null once there is none.
    #[inline]
    fn step(&mut self) -> Option<u8> {
        if self.left == 0 {
            return Some(code::NULL);
        }
        let (code, rest) = self.rest.split_first()?;
        self.left -= 1;
        self.rest = rest;
        Some(*code)
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*octets)
    }

    #[inline]
    fn uint(&mut self) -> Option<Option<u32>> {
        match self.step()? {
            code::NULL => Some(None),
            code::UINT0 => Some(Some(0)),
            code::SMALL_UINT => self.take().map(|[value]| Some(value.into())),
            code::UINT => self.take().map(|octets| Some(u32::from_be_bytes(octets))),
            _ => None,
        }
    }

    #[inline]
    fn flag(&mut self) -> Option<Option<bool>> {
        match self.step()? {
            code::NULL => Some(None),
            code::TRUE => Some(Some(true)),
            code::FALSE => Some(Some(false)),
            _ => None,
        }
    }

    #[inline]
    fn binary(&mut self) -> Option<Option<&'a [u8]>> {
        match self.step()? {
            code::NULL => Some(None),
            code::BINARY8 => {
                let [len] = self.take()?;
                let (octets, rest) = self.rest.split_at_checked(len.into())?;
                self.rest = rest;
                Some(Some(octets))
            }
            _ => None,
        }
    }

    /// A field that is not there.
    #[inline]
    fn nothing<T>(&mut self) -> Option<Option<T>> {
        (self.step()? == code::NULL).then_some(None)
    }

    #[inline]
    fn state(&mut self) -> Option<Option<DeliveryState<'a>>> {
        if self.left > 0
            && let Some(rest) = self.rest.strip_prefix(&ACCEPTED)
        {
            self.left -= 1;
            self.rest = rest;
            return Some(Some(Accepted {}.into()));
        }
        self.nothing()
    }
}
