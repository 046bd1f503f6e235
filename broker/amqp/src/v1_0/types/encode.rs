//! Appending values in their shortest form.
//!
//! What was appended before an error stays: callers that go on truncate.

use super::code::{self, DESCRIBED};
use super::{Symbol, Uuid};
use crate::wire::{EncodeError, length32, put_bytes8, put_bytes32};

/// Octets of size and count of a list, map or array with sizes of four octets.
const WIDE: usize = 8;
/// The same with sizes of one octet.
const NARROW: usize = 2;

/// Appends null.
#[inline]
pub fn put_null(out: &mut Vec<u8>) {
    out.push(code::NULL);
}

/// Appends a `boolean`.
#[inline]
pub fn put_boolean(value: bool, out: &mut Vec<u8>) {
    out.push(if value { code::TRUE } else { code::FALSE });
}

/// Appends a `ubyte`.
#[inline]
pub fn put_ubyte(value: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[code::UBYTE, value]);
}

/// Appends a `ushort`.
#[inline]
pub fn put_ushort(value: u16, out: &mut Vec<u8>) {
    put_fixed(code::USHORT, value.to_be_bytes(), out);
}

/// Appends a `uint`.
#[inline]
pub fn put_uint(value: u32, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(0) => out.push(code::UINT0),
        Ok(small) => out.extend_from_slice(&[code::SMALL_UINT, small]),
        Err(_) => put_fixed(code::UINT, value.to_be_bytes(), out),
    }
}

/// Appends a `ulong`.
#[inline]
pub fn put_ulong(value: u64, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(0) => out.push(code::ULONG0),
        Ok(small) => out.extend_from_slice(&[code::SMALL_ULONG, small]),
        Err(_) => put_fixed(code::ULONG, value.to_be_bytes(), out),
    }
}

/// Appends an `int`.
#[inline]
pub fn put_int(value: i32, out: &mut Vec<u8>) {
    match i8::try_from(value) {
        Ok(small) => put_fixed(code::SMALL_INT, small.to_be_bytes(), out),
        Err(_) => put_fixed(code::INT, value.to_be_bytes(), out),
    }
}

/// Appends a `long`.
#[inline]
pub fn put_long(value: i64, out: &mut Vec<u8>) {
    match i8::try_from(value) {
        Ok(small) => put_fixed(code::SMALL_LONG, small.to_be_bytes(), out),
        Err(_) => put_fixed(code::LONG, value.to_be_bytes(), out),
    }
}

/// Appends a `timestamp`: milliseconds since 1970.
#[inline]
pub fn put_timestamp(value: i64, out: &mut Vec<u8>) {
    put_fixed(code::TIMESTAMP, value.to_be_bytes(), out);
}

/// Appends a `uuid`.
#[inline]
pub fn put_uuid(value: Uuid, out: &mut Vec<u8>) {
    put_fixed(code::UUID, value.0, out);
}

/// Appends a `binary`.
#[inline]
pub fn put_binary(value: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_variable(code::BINARY8, value, out)
}

/// Appends a `string`.
#[inline]
pub fn put_string(value: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_variable(code::STRING8, value.as_bytes(), out)
}

/// Appends a `symbol`.
#[inline]
pub fn put_symbol(value: Symbol<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_variable(code::SYMBOL8, value.as_bytes(), out)
}

/// Appends an array of symbols.
pub(crate) fn put_symbols(symbols: &[Symbol<'_>], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let small = symbols.iter().all(|symbol| u8::try_from(symbol.len()).is_ok());
    let code = if small { code::SYMBOL8 } else { code::SYMBOL32 };
    put_compound(code::ARRAY8, out, |out| {
        out.push(code);
        for symbol in symbols {
            if small {
                put_bytes8(out, symbol.as_bytes())?;
            } else {
                put_bytes32(out, symbol.as_bytes())?;
            }
        }
        length32(symbols.len())
    })?;
    Ok(())
}

/// Appends what makes the value that follows a described one, with a descriptor of this number.
#[inline]
pub fn put_described(descriptor: u64, out: &mut Vec<u8>) {
    out.push(DESCRIBED);
    put_ulong(descriptor, out);
}

/// Appends a list of the values that `items` appends. `items` answers how many those are.
pub fn put_list(
    out: &mut Vec<u8>,
    items: impl FnOnce(&mut Vec<u8>) -> Result<u32, EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    if put_compound(code::LIST8, out, items)? == 0 {
        out.truncate(start);
        out.push(code::LIST0);
    }
    Ok(())
}

/// Appends a map of the entries that `items` appends, each a key and a value. `items` answers how
/// many values those are: two an entry.
pub fn put_map(
    out: &mut Vec<u8>,
    items: impl FnOnce(&mut Vec<u8>) -> Result<u32, EncodeError>,
) -> Result<(), EncodeError> {
    put_compound(code::MAP8, out, items).map(drop)
}

/// Appends a code and octets.
#[inline]
pub(super) fn put_fixed<const N: usize>(code: u8, octets: [u8; N], out: &mut Vec<u8>) {
    out.push(code);
    out.extend_from_slice(&octets);
}

/// Appends octets with a size. `narrow`: the code of the type with a size of one octet.
#[inline]
fn put_variable(narrow: u8, octets: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match u8::try_from(octets.len()) {
        Ok(len) => out.extend_from_slice(&[narrow, len]),
        Err(_) => put_fixed(wide(narrow), length32(octets.len())?.to_be_bytes(), out),
    }
    out.extend_from_slice(octets);
    Ok(())
}

/// The code of the same type with a size of four octets.
#[inline]
pub(super) const fn wide(narrow: u8) -> u8 {
    narrow | 0x10
}

/// Appends a list, map or array around the items that `items` appends, and answers their count.
pub(super) fn put_compound(
    narrow: u8,
    out: &mut Vec<u8>,
    items: impl FnOnce(&mut Vec<u8>) -> Result<u32, EncodeError>,
) -> Result<u32, EncodeError> {
    let at = out.len();
    out.push(wide(narrow));
    let count = put_counted(out, items)?;
    if let Some(short) = narrowed(out, at + 1) {
        out[at] = narrow;
        out[at + 1..at + 1 + NARROW].copy_from_slice(&short);
        out.copy_within(at + 1 + WIDE.., at + 1 + NARROW);
        out.truncate(out.len() - (WIDE - NARROW));
    }
    Ok(count)
}

/// Appends size and count, four octets each, and the items.
pub(super) fn put_counted(
    out: &mut Vec<u8>,
    items: impl FnOnce(&mut Vec<u8>) -> Result<u32, EncodeError>,
) -> Result<u32, EncodeError> {
    let at = out.len();
    out.extend_from_slice(&[0; WIDE]);
    let count = items(out)?;
    let size = length32(out.len() - at - 4)?;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    out[at + 4..at + WIDE].copy_from_slice(&count.to_be_bytes());
    Ok(count)
}

/// Size and count at `at` as one octet each, if they fit. The size counts the octets of the count.
fn narrowed(out: &[u8], at: usize) -> Option<[u8; NARROW]> {
    let size = u32::from_be_bytes(*out.get(at..)?.first_chunk::<4>()?);
    let count = u32::from_be_bytes(*out.get(at + 4..)?.first_chunk::<4>()?);
    Some([u8::try_from(size.checked_sub(3)?).ok()?, u8::try_from(count).ok()?])
}

/// Makes the sizes of lists, maps or arrays that lie one behind the other from `start` to the end
/// one octet each, if all of them fit; answers whether.
pub(super) fn narrow_all(out: &mut Vec<u8>, start: usize) -> bool {
    let next = |out: &[u8], at: usize| {
        let size = u32::from_be_bytes(*out.get(at..)?.first_chunk::<4>()?);
        Some(at + 4 + size as usize)
    };
    let mut at = start;
    while at < out.len() {
        match (narrowed(out, at), next(out, at)) {
            (Some(_), Some(after)) => at = after,
            _ => return false,
        }
    }
    let (mut from, mut to) = (start, start);
    while let (Some(short), Some(after)) = (narrowed(out, from), next(out, from)) {
        out[to..to + NARROW].copy_from_slice(&short);
        out.copy_within(from + WIDE..after, to + NARROW);
        to += NARROW + after - from - WIDE;
        from = after;
    }
    out.truncate(to);
    true
}

/// Appends a list, map or array of which the items are octets already.
pub(super) fn put_compound_octets(
    narrow: u8,
    count: u32,
    items: &[&[u8]],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let len: usize = items.iter().map(|octets| octets.len()).sum();
    match (u8::try_from(len + 1), u8::try_from(count)) {
        (Ok(size), Ok(count)) => out.extend_from_slice(&[narrow, size, count]),
        _ => {
            put_fixed(wide(narrow), length32(len + 4)?.to_be_bytes(), out);
            out.extend_from_slice(&count.to_be_bytes());
        }
    }
    for octets in items {
        out.extend_from_slice(octets);
    }
    Ok(())
}
