//! The fields of a composite value in order: reading them, and writing them.

use super::codec::CompositeError;
use super::kinds::Kind;
use super::multiple::Multiple;
use super::types::{ListRef, Width, code, validate};
use crate::wire::{DecodeError, EncodeError, Reader};

/// The fields of a composite value, read in order.
#[doc(hidden)]
#[derive(Debug)]
pub struct Fields<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Fields<'a> {
    #[inline]
    pub(super) fn new(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let code = reader.u8()?;
        let list = match code {
            code::LIST0 | code::LIST8 | code::LIST32 => {
                ListRef::new(code, Width::of(code)?.read(reader)?)?
            }
            found => return Err(DecodeError::WrongType { expected: "list", found }),
        };
        Ok(Self::of(list, reader))
    }

    /// The fields in `list`, with the way of `reader` to treat maps.
    #[inline]
    pub(super) fn of(list: ListRef<'a>, reader: &Reader<'a>) -> Self {
        Self { left: list.len(), reader: reader.nested(list.items()) }
    }

    /// The next field, unless it is null or missing.
    #[inline]
    pub(super) fn next<K: Kind>(
        &mut self,
        composite: &'static str,
        field: &'static str,
    ) -> Result<Option<K::Of<'a>>, CompositeError> {
        if !self.step() {
            return Ok(None);
        }
        let value = K::read(&mut self.reader);
        value.map(Some).map_err(|source| CompositeError::Field { composite, field, source })
    }

    /// The next field, which is `multiple`.
    pub(super) fn multiple(
        &mut self,
        composite: &'static str,
        field: &'static str,
    ) -> Result<Multiple<'a>, CompositeError> {
        if !self.step() {
            return Ok(Multiple::default());
        }
        Multiple::decode(&mut self.reader).map_err(|source| CompositeError::Field {
            composite,
            field,
            source,
        })
    }

    /// Goes to the next field; answers whether there is something to read.
    #[inline]
    fn step(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        if self.reader.rest().first() != Some(&code::NULL) {
            return true;
        }
        // There is an octet to go past.
        let _ = self.reader.u8();
        false
    }

    #[inline]
    pub(super) fn finish(mut self) -> Result<(), DecodeError> {
        for _ in 0..self.left {
            validate(&mut self.reader)?;
        }
        self.reader.finish()
    }
}

/// Appends the fields of a composite value in order, and forgets the nulls at their end.
#[doc(hidden)]
#[derive(Debug)]
pub struct FieldWriter<'o> {
    out: &'o mut Vec<u8>,
    count: u32,
    /// Where the last field ends that is not null.
    end: usize,
    /// How many fields there are up to there.
    kept: u32,
}

impl<'o> FieldWriter<'o> {
    #[inline]
    pub(super) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { end: out.len(), out, count: 0, kept: 0 }
    }

    /// Takes back the nulls at the end; answers how many fields there are without them.
    #[inline]
    pub(super) fn finish(self) -> u32 {
        self.out.truncate(self.end);
        self.kept
    }

    #[inline]
    pub(super) fn null(&mut self) {
        self.count += 1;
        self.out.push(code::NULL);
    }

    #[inline]
    pub(super) fn put<K: Kind>(&mut self, value: &K::Of<'_>) -> Result<(), EncodeError> {
        if K::is_null(value) {
            self.null();
            return Ok(());
        }
        K::write(value, self.out)?;
        self.keep();
        Ok(())
    }

    /// A field that must be there.
    #[inline]
    pub(super) fn put_mandatory<K: Kind>(
        &mut self,
        value: &K::Of<'_>,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if K::is_null(value) {
            return Err(EncodeError::MissingField(field));
        }
        self.put::<K>(value)
    }

    pub(super) fn put_multiple(&mut self, value: &Multiple<'_>) -> Result<(), EncodeError> {
        if value.is_empty() {
            self.null();
            return Ok(());
        }
        value.encode(self.out)?;
        self.keep();
        Ok(())
    }

    #[inline]
    fn keep(&mut self) {
        self.count += 1;
        self.kept = self.count;
        self.end = self.out.len();
    }
}
