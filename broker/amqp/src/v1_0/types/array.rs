//! Owned arrays.

use super::code::{self, DESCRIBED, Width};
use super::encode::narrow_all;
use super::validate::{Allowance, check_depth};
use super::value::check_encode_depth;
use super::{ArrayRef, Value, ValueRef};
use crate::limits::MAX_ZERO_WIDTH_ELEMENTS;
use crate::wire::{DecodeError, EncodeError, Reader};

/// An array: values of one type.
///
/// The descriptors that all elements share are kept once, as on the wire: an array of many elements
/// with a long descriptor would otherwise take far more memory than the octets it came in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Array {
    /// The descriptors of every element, the outermost first.
    pub descriptors: Vec<Value>,
    /// What they describe, all of one type and not described. If there are none the type is lost.
    pub elements: Vec<Value>,
}

impl Array {
    /// The array that `view` shows. `depth`: how deep its elements lie.
    pub(super) fn from_ref(
        view: ArrayRef<'_>,
        mut depth: usize,
        allowance: &mut Allowance,
    ) -> Result<Self, DecodeError> {
        let mut array = Self::default();
        let mut constructor = Reader::new(view.constructor());
        let code = loop {
            let code = constructor.u8()?;
            if code != DESCRIBED {
                break code;
            }
            depth += 1;
            check_depth(depth)?;
            let descriptor = ValueRef::decode(&mut constructor)?;
            array.descriptors.push(Value::from_ref(descriptor, depth, allowance)?);
        };
        allowance.spend(view.len() as u32, Width::of(code)?)?;
        let mut elements = view.iter();
        for element in &mut elements {
            array.elements.push(Value::from_data(code, element?.data(), depth, allowance)?);
        }
        elements.finish()?;
        Ok(array)
    }

    /// Appends the constructor of the elements and their data. `depth`: how deep they lie.
    pub(super) fn put(&self, mut depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        for descriptor in &self.descriptors {
            depth += 1;
            check_encode_depth(depth)?;
            out.push(DESCRIBED);
            descriptor.encode_at(depth, out)?;
        }
        let Some(first) = self.elements.first() else {
            out.push(code::NULL);
            return Ok(());
        };
        // A described element would need a constructor of its own.
        let misfit = |other: &&Value| {
            matches!(other, Value::Described(_)) || other.narrow() != first.narrow()
        };
        if let Some(found) = self.elements.iter().find(misfit) {
            return Err(EncodeError::MixedArray { expected: first.wide(), found: found.wide() });
        }
        let (len, max) = (self.elements.len(), MAX_ZERO_WIDTH_ELEMENTS as usize);
        if matches!(first, Value::Null) && len > max {
            return Err(EncodeError::TooLong { len, max });
        }
        let narrow = self.elements.iter().all(Value::fits_narrow);
        let code = if narrow { first.narrow() } else { first.wide() };
        let at = out.len();
        out.push(code);
        let start = out.len();
        self.elements.iter().try_for_each(|element| element.put_data(code, depth, out))?;
        let compound = matches!(first, Value::List(_) | Value::Map(_) | Value::Array(_));
        if compound && narrow_all(out, start) {
            out[at] = first.narrow();
        }
        Ok(())
    }
}
