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

/// The same, but for what the allowance lets pass. `depth`: how deep the value lies.
#[inline]
pub(in crate::v1_0) fn outline(
    reader: &mut Reader<'_>,
    depth: usize,
    allowance: &mut Allowance,
) -> Result<(), DecodeError> {
    // Nearly always it is text or a number, of which the width is all there is to check.
    match reader.rest().first().copied() {
        Some(code::BOOLEAN | code::CHAR | code::LIST0) => value(reader, depth, allowance),
        Some(scalar @ 0x40..0xc0) => {
            reader.u8()?;
            Width::of(scalar)?.read(reader).map(drop)
        }
        _ => value(reader, depth, allowance),
    }
}

/// What one value may still have, and what of it is let pass.
#[derive(Debug)]
pub(in crate::v1_0) struct Allowance {
    /// How many elements of no octets its arrays may still have together. An array by itself takes three
    /// octets: if each had a limit of its own, a few octets would make thousands of values.
    elements: u32,
    /// Text is not looked at.
    any_text: bool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { elements: MAX_ZERO_WIDTH_ELEMENTS, any_text: false }
    }
}

impl Allowance {
    /// Strings need not be UTF-8, nor symbols ASCII: the rest is enough to pass a value on to somebody
    /// who will decode it.
    pub(in crate::v1_0) fn of_outline() -> Self {
        Self { any_text: true, ..Self::default() }
    }

    /// Takes what an array of so many elements of this width uses up.
    pub(super) fn spend(&mut self, count: u32, width: Width) -> Result<(), DecodeError> {
        if width.least() == 0 {
            let left = self.elements.checked_sub(count);
            self.elements = left.ok_or(DecodeError::CountTooLarge { count, bytes: 0 })?;
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
        code::STRING8 | code::STRING32 | code::SYMBOL8 | code::SYMBOL32 if allowance.any_text => {
            Ok(())
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
