//! A message's content as a document: read when the first query asks for it, then shared by all.

use super::{CONTENT_MAX, NODES_MAX, STEPS, STEPS_OF_ALL, STEPS_THEN};
use roxmltree::{Document, ParsingOptions};
use std::cell::{Cell, OnceCell};

/// See the module.
#[derive(Debug)]
pub struct Source<'a> {
    content: &'a [u8],
    document: OnceCell<Option<Document<'a>>>,
    /// Steps that queries of this message have taken.
    spent: Cell<u32>,
}

impl<'a> Source<'a> {
    /// Of this content.
    pub fn new(content: &'a [u8]) -> Source<'a> {
        Source { content, document: OnceCell::new(), spent: Cell::new(0) }
    }

    /// Steps that the next query may take.
    pub(super) fn purse(&self) -> u32 {
        if self.spent.get() < STEPS_OF_ALL { STEPS } else { STEPS_THEN }
    }

    /// A query has taken so many.
    pub(super) fn spend(&self, steps: u32) {
        self.spent.set(self.spent.get().saturating_add(steps));
    }

    /// The document; none if the content is not well-formed, is too large, or has a DTD.
    pub(super) fn document(&self) -> Option<&Document<'a>> {
        self.document.get_or_init(|| read(self.content)).as_ref()
    }
}

fn read(content: &[u8]) -> Option<Document<'_>> {
    if content.len() > CONTENT_MAX {
        return None;
    }
    let text = std::str::from_utf8(content).ok()?;
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).ok()
}
