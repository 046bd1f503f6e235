//! Scalars of 1.0 as those of 0-10 that mean the same.
//!
//! Both protocols write numbers big-endian and text as UTF-8, so that nearly always a type code and the
//! octets that are there make the other's value, and whoever looks at values of one protocol can look at
//! those of both.

use crate::types::{ValueRef, code as v0_10};
use crate::v1_0;
use crate::v1_0::types::code;

/// The scalar of 0-10 that means the same; none for decimals, and for what holds other values or is
/// described. Text may be longer than values of 0-10 can be on the wire.
#[inline]
pub fn scalar(value: v1_0::types::ValueRef<'_>) -> Option<ValueRef<'_>> {
    let data = value.data();
    let (code, data) = match value.plain()? {
        code::STRING8 | code::STRING32 | code::SYMBOL8 | code::SYMBOL32 => (v0_10::STR16, data),
        code::BINARY8 | code::BINARY32 => (v0_10::VBIN32, data),
        code::NULL => (v0_10::VOID, data),
        code::TRUE => (v0_10::BOOLEAN, &[1][..]),
        code::FALSE => (v0_10::BOOLEAN, &[0][..]),
        code::BOOLEAN => (v0_10::BOOLEAN, data),
        code::UBYTE | code::SMALL_UINT | code::SMALL_ULONG => (v0_10::UINT8, data),
        code::UINT0 | code::ULONG0 => (v0_10::UINT8, &[0][..]),
        code::USHORT => (v0_10::UINT16, data),
        code::UINT => (v0_10::UINT32, data),
        code::ULONG => (v0_10::UINT64, data),
        code::BYTE | code::SMALL_INT | code::SMALL_LONG => (v0_10::INT8, data),
        code::SHORT => (v0_10::INT16, data),
        code::INT => (v0_10::INT32, data),
        code::LONG | code::TIMESTAMP => (v0_10::INT64, data),
        code::FLOAT => (v0_10::FLOAT, data),
        code::DOUBLE => (v0_10::DOUBLE, data),
        code::CHAR => (v0_10::CHAR_UTF32, data),
        code::UUID => (v0_10::UUID, data),
        _ => return None,
    };
    Some(ValueRef::from_parts(code, data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Uuid, Value as Old};
    use crate::v1_0::types::Value;
    use crate::wire::Reader;

    fn seen(value: &Value) -> Option<Old> {
        let mut octets = Vec::new();
        value.encode(&mut octets).expect("encodes");
        let view = v1_0::types::ValueRef::decode(&mut Reader::new(&octets)).expect("our own");
        scalar(view).map(|value| value.to_value().expect("its octets fit its type"))
    }

    #[test]
    fn scalars_mean_the_same() {
        let same = [
            (Value::Null, Old::Void),
            (Value::Boolean(true), Old::Boolean(true)),
            (Value::Boolean(false), Old::Boolean(false)),
            (Value::Ubyte(7), Old::Uint8(7)),
            (Value::Ushort(700), Old::Uint16(700)),
            (Value::Uint(0), Old::Uint8(0)),
            (Value::Uint(7), Old::Uint8(7)),
            (Value::Uint(70_000), Old::Uint32(70_000)),
            (Value::Ulong(0), Old::Uint8(0)),
            (Value::Ulong(u64::MAX), Old::Uint64(u64::MAX)),
            (Value::Byte(-7), Old::Int8(-7)),
            (Value::Short(-700), Old::Int16(-700)),
            (Value::Int(-7), Old::Int8(-7)),
            (Value::Int(-70_000), Old::Int32(-70_000)),
            (Value::Long(i64::MIN), Old::Int64(i64::MIN)),
            (Value::Timestamp(-5), Old::Int64(-5)),
            (Value::Float(1.5), Old::Float(1.5)),
            (Value::Double(-2.5), Old::Double(-2.5)),
            (Value::Char('ü'), Old::CharUtf32(0xfc)),
            (Value::Uuid(Uuid([3; 16])), Old::Uuid(Uuid([3; 16]))),
            (Value::String("tüx".into()), Old::Str16("tüx".into())),
            (Value::Symbol("s".into()), Old::Str16("s".into())),
            (Value::Binary(vec![0, 255]), Old::Vbin32(vec![0, 255])),
        ];
        for (value, expected) in same {
            assert_eq!(seen(&value), Some(expected), "{value:?}");
        }
        let described = Value::Described(Box::new((Value::Ulong(1), Value::Uint(1))));
        for other in [Value::List(vec![]), Value::Map(vec![]), Value::Decimal32([0; 4]), described]
        {
            assert_eq!(seen(&other), None, "{other:?}");
        }
    }
}
