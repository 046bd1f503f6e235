//! Checking values in depth, in one pass: every octet is looked at once.
//!
//! Whatever passes can be walked with the views to its last octet without meeting an error.

use super::Symbol;
use super::code::{self, Width};
use super::collections::{check_count, check_zero_width};
use crate::limits::{MAX_NESTING, MAX_ZERO_WIDTH_ELEMENTS};
use crate::wire::{DecodeError, Reader, utf8};

/// Checks the value at the reader and goes past it.
pub fn validate(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    value(reader, 0, &mut Allowance::default())
}

/// How many elements of no octets the arrays of one value may still have together. An array by itself
/// takes three octets: if each had a limit of its own, a few octets would make thousands of values.
#[derive(Debug)]
pub(super) struct Allowance(u32);

impl Default for Allowance {
    fn default() -> Self {
        Self(MAX_ZERO_WIDTH_ELEMENTS)
    }
}

impl Allowance {
    /// Takes what an array of so many elements of this width uses up.
    pub(super) fn spend(&mut self, count: u32, width: Width) -> Result<(), DecodeError> {
        if width.least() == 0 {
            let left = self.0.checked_sub(count);
            self.0 = left.ok_or(DecodeError::CountTooLarge { count, bytes: 0 })?;
        }
        Ok(())
    }
}

pub(super) fn check_depth(depth: usize) -> Result<(), DecodeError> {
    if depth > MAX_NESTING { Err(DecodeError::TooDeep) } else { Ok(()) }
}

fn value(
    reader: &mut Reader<'_>,
    depth: usize,
    allowance: &mut Allowance,
) -> Result<(), DecodeError> {
    let (code, depth) = constructor(reader, depth, allowance)?;
    let octets = Width::of(code)?.read(reader)?;
    data(code, octets, depth, allowance)
}

/// Checks the constructor at the reader: the format code at its end, and the depth at which the data
/// lies, since each descriptor is one level.
pub(super) fn constructor(
    reader: &mut Reader<'_>,
    mut depth: usize,
    allowance: &mut Allowance,
) -> Result<(u8, usize), DecodeError> {
    loop {
        let code = reader.u8()?;
        if code != code::DESCRIBED {
            return Ok((code, depth));
        }
        depth += 1;
        check_depth(depth)?;
        value(reader, depth, allowance)?;
    }
}

/// Checks the octets of one value, without their size.
pub(super) fn data(
    code: u8,
    octets: &[u8],
    depth: usize,
    allowance: &mut Allowance,
) -> Result<(), DecodeError> {
    match code {
        code::BOOLEAN => match octets {
            [0 | 1] => Ok(()),
            _ => Err(DecodeError::NotABoolean(octets.first().copied().unwrap_or_default())),
        },
        code::CHAR => {
            let number = octets.iter().fold(0, |bits, octet| bits << 8 | u32::from(*octet));
            char::from_u32(number).map(drop).ok_or(DecodeError::NotAChar(number))
        }
        code::STRING8 | code::STRING32 => utf8(octets).map(drop),
        code::SYMBOL8 | code::SYMBOL32 => Symbol::from_octets(octets).map(drop),
        code::LIST0 => check_depth(depth + 1),
        code::LIST8 | code::LIST32 | code::MAP8 | code::MAP32 => {
            check_depth(depth + 1)?;
            let mut reader = Reader::new(octets);
            let count = check_count(code, &mut reader)?;
            for _ in 0..count {
                value(&mut reader, depth + 1, allowance)?;
            }
            reader.finish()
        }
        code::ARRAY8 | code::ARRAY32 => {
            check_depth(depth + 1)?;
            let mut reader = Reader::new(octets);
            let count = check_count(code, &mut reader)?;
            let (code, depth) = constructor(&mut reader, depth + 1, allowance)?;
            let width = Width::of(code)?;
            check_zero_width(count, width, &reader)?;
            allowance.spend(count, width)?;
            for _ in 0..count {
                let octets = width.read(&mut reader)?;
                data(code, octets, depth, allowance)?;
            }
            reader.finish()
        }
        _ => Ok(()),
    }
}
