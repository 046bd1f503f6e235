//! AMQP 1.0 values (part 1 of the specification): borrowed views over encoded octets ([`ValueRef`],
//! [`ListRef`], [`MapRef`], [`ArrayRef`]), the owned [`Value`], and the encoders.
//!
//! The views decode nothing until asked and never allocate. What this crate builds is encoded in the
//! shortest form that the specification has; a [`ValueRef`] that is passed on stays as it came.
//!
//! ```text
//!  value       = constructor data
//!  constructor = code                              a primitive type
//!              | 0x00 descriptor constructor       a described type; the descriptor is a value
//!  data        = as many octets as the code says, or a size and as many octets as it says
//!  list, map   = size count value*
//!  array       = size count constructor data*      one constructor for all elements
//! ```

mod array;
pub mod code;
mod collections;
mod encode;
mod symbol;
mod validate;
mod value;
mod view;

pub use array::Array;
pub use code::Width;
pub use collections::{ArrayRef, Elements, ListRef, MapRef, Values};
pub(crate) use encode::put_symbols;
pub use encode::{
    put_binary, put_boolean, put_described, put_int, put_list, put_long, put_map, put_null,
    put_string, put_symbol, put_timestamp, put_ubyte, put_uint, put_ulong, put_ushort, put_uuid,
};
pub use symbol::Symbol;
pub use validate::validate;
pub(in crate::v1_0) use validate::{Allowance, outline};
pub use value::Value;
pub use view::ValueRef;

pub use crate::types::Uuid;
