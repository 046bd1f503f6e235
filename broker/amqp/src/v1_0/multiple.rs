//! Fields that the specification marks `multiple`.

use std::fmt;

use super::types::{ArrayRef, Symbol, ValueRef, put_null, put_symbol};
use crate::wire::{DecodeError, EncodeError, Reader};

/// The symbols of a field that is `multiple` (parts 1.3 and 1.4): null stands for none, a symbol for itself,
/// an array for its elements. Every such field of the specification holds symbols.
///
/// Encoded as null when empty, since peers refuse empty arrays, and as the symbol alone when there is
/// one. Two are equal if their symbols are, however those are encoded.
#[derive(Clone, Copy, Default)]
pub struct Multiple<'a>(Form<'a>);

#[derive(Clone, Copy, Default)]
enum Form<'a> {
    #[default]
    None,
    One(Symbol<'a>),
    /// Checked: every element is a symbol.
    Array(ArrayRef<'a>),
    Slice(&'a [Symbol<'a>]),
}

impl<'a> Multiple<'a> {
    /// Reads null, a symbol, or an array of symbols.
    pub(super) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let value = ValueRef::decode(reader)?;
        if value.is_null() {
            return Ok(Self::default());
        }
        let Some(code) = value.plain() else { return value.to_symbol().map(Self::from) };
        match ArrayRef::new(code, value.data()) {
            Ok(array) => {
                array.validate()?;
                array.symbols().try_for_each(|symbol| symbol.map(drop))?;
                Ok(Self(Form::Array(array)))
            }
            Err(DecodeError::WrongType { .. }) => value.to_symbol().map(Self::from),
            Err(error) => Err(error),
        }
    }

    /// The symbols in order.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'a>> + Clone + use<'a> {
        let (one, array, slice) = match self.0 {
            Form::None => (None, None, None),
            Form::One(symbol) => (Some(symbol), None, None),
            Form::Array(array) => (None, Some(array), None),
            Form::Slice(symbols) => (None, None, Some(symbols)),
        };
        let array = array.into_iter().flat_map(|array| array.symbols().map_while(Result::ok));
        one.into_iter().chain(array).chain(slice.into_iter().flatten().copied())
    }

    /// Whether the symbol is among them.
    pub fn contains(&self, symbol: &str) -> bool {
        self.iter().any(|other| other == symbol)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self.0 {
            Form::None => 0,
            Form::One(_) => 1,
            Form::Array(array) => array.len(),
            Form::Slice(symbols) => symbols.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends null, a symbol, or an array.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match (self.0, self.len(), self.iter().next()) {
            (Form::Array(array), 2.., _) => array.encode(out),
            (Form::Slice(symbols), 2.., _) => super::types::put_symbols(symbols, out),
            (_, _, Some(symbol)) => put_symbol(symbol, out),
            (_, _, None) => {
                put_null(out);
                Ok(())
            }
        }
    }
}

impl<'a> From<Symbol<'a>> for Multiple<'a> {
    fn from(symbol: Symbol<'a>) -> Self {
        Self(Form::One(symbol))
    }
}

impl<'a> From<&'a [Symbol<'a>]> for Multiple<'a> {
    fn from(symbols: &'a [Symbol<'a>]) -> Self {
        Self(Form::Slice(symbols))
    }
}

impl PartialEq for Multiple<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Multiple<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
