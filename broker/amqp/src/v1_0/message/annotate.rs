//! Adding message annotations.

use super::sections::{MessageError, Section, Sections};
use crate::annotated::Annotated;
use crate::v1_0::types::{MapRef, Value, ValueRef, code, put_described};

/// Appends `head` to `out` with these entries put into its message annotations, in the place of those of
/// their keys, or at the end. Sections behind them are copied octet by octet, and so are other entries.
/// `head`: a message that begins with its message annotations, if it has any, as far as one likes.
/// Appends nothing if there is an error.
pub fn annotate(
    head: &[u8],
    out: &mut Vec<u8>,
    entries: &[(&str, Value)],
) -> Result<Annotated, MessageError> {
    let start = out.len();
    let put = |out: &mut Vec<u8>| {
        let (old, from) = annotations(head)?;
        put_described(Section::MessageAnnotations.code(), out);
        old.put_with(out, entries)?;
        let by = (out.len() - start) as isize - from as isize;
        out.extend_from_slice(&head[from..]);
        Ok(Annotated { from, by })
    };
    out.reserve(head.len() + 64);
    put(out).inspect_err(|_| out.truncate(start))
}

/// The message annotations that a message begins with, and where they end.
fn annotations(head: &[u8]) -> Result<(MapRef<'_>, usize), MessageError> {
    let mut sections = Sections::new(head);
    let Some(section @ Section::MessageAnnotations) = sections.next()? else {
        return Ok((MapRef::default(), 0));
    };
    let content = |source| MessageError::Content { section, source };
    let value = ValueRef::decode(&mut sections.reader).map_err(content)?;
    let map = MapRef::new(value.plain().unwrap_or(code::DESCRIBED), value.data());
    Ok((map.map_err(content)?, sections.at()))
}
