//! Values of any type, in the other protocol's encoding.
//!
//! Types that the other protocol lacks become what comes next to them: text of other encodings UTF-8,
//! times numbers, arrays lists, characters of 8 bits Unicode; decimals, which the protocols build
//! differently, and what nobody has named become null. Descriptors are lost.

mod v0_10;
mod v1_0;

pub(super) use v0_10::{put_0_10, put_counted, put_entries_0_10, put_items_0_10, undescribed};
pub(super) use v1_0::To1_0;

use crate::limits::MAX_NESTING;
use crate::wire::EncodeError;

fn check_depth(depth: usize) -> Result<(), EncodeError> {
    if depth > MAX_NESTING { Err(EncodeError::TooDeep) } else { Ok(()) }
}

/// Appends what `put` appends, or nothing if that fails; answers whether it was appended.
pub(super) fn try_put(
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> bool {
    let start = out.len();
    let done = put(out).is_ok();
    if !done {
        out.truncate(start);
    }
    done
}
