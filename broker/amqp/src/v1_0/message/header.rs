//! The header of a delivery.

use super::Section;
use crate::v1_0::types::{code, put_null, put_uint};

/// The priority of a message that says none.
const PRIORITY: u8 = 4;

/// Appends a header section (part 3.2.1) in its shortest form; nothing at all if everything is as it is
/// without one. `ttl`: milliseconds. `delivery_count`: how often delivering it failed before.
pub fn put_header(
    out: &mut Vec<u8>,
    durable: bool,
    priority: u8,
    ttl: Option<u32>,
    first_acquirer: bool,
    delivery_count: u32,
) {
    let fields = match () {
        () if delivery_count > 0 => 5,
        () if first_acquirer => 4,
        () if ttl.is_some() => 3,
        () if priority != PRIORITY => 2,
        () if durable => 1,
        () => return,
    };
    out.extend_from_slice(&[code::DESCRIBED, code::SMALL_ULONG, Section::Header.code() as u8]);
    let at = out.len();
    out.extend_from_slice(&[code::LIST8, 0, fields]);
    let flag = |set| if set { code::TRUE } else { code::NULL };
    out.push(flag(durable));
    if fields > 1 {
        match priority {
            PRIORITY => put_null(out),
            _ => out.extend_from_slice(&[code::UBYTE, priority]),
        }
    }
    if fields > 2 {
        match ttl {
            Some(ttl) => put_uint(ttl, out),
            None => put_null(out),
        }
    }
    if fields > 3 {
        out.push(flag(first_acquirer));
    }
    if fields > 4 {
        put_uint(delivery_count, out);
    }
    // Five fields have 14 octets at most. The size counts the octet of the count.
    out[at + 1] = (out.len() - at - 2) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1_0::Composite;
    use crate::v1_0::table::Header;
    use crate::wire::Reader;

    #[test]
    fn a_header_is_what_the_table_would_write_and_nothing_without_fields() {
        for durable in [false, true] {
            for priority in [0, 4, 200] {
                for ttl in [None, Some(0), Some(255), Some(u32::MAX)] {
                    for first_acquirer in [false, true] {
                        for delivery_count in [0, 1, u32::MAX] {
                            let header =
                                Header { durable, priority, ttl, first_acquirer, delivery_count };
                            let mut out = Vec::new();
                            put_header(
                                &mut out,
                                durable,
                                priority,
                                ttl,
                                first_acquirer,
                                delivery_count,
                            );
                            if header == Header::default() {
                                assert!(out.is_empty());
                                continue;
                            }
                            let mut expected = Vec::new();
                            header.encode(&mut expected).expect("short");
                            assert_eq!(out, expected, "{header:?}");
                            assert_eq!(Header::decode(&mut Reader::new(&out)), Ok(header));
                        }
                    }
                }
            }
        }
    }
}
