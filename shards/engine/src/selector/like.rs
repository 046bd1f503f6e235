//! LIKE: `_` is any one character, `%` any number of them, and an escape character takes the
//! special meaning off the character behind it (JMS 2.0 §3.8.1.1, SQL-92 §8.5).
//!
//! A pattern is an automaton whose state is a row of bits: bit *n* is set if the text so far can be
//! what the first *n* characters of the pattern stand for. A step shifts the row and keeps the
//! bits that the text's next character allows, and those that a `%` stands behind. So matching
//! takes the text's length times the pattern's over 64, whatever the pattern is.

use super::error::MAX_PATTERN;

const BITS: usize = u64::BITS as usize;
/// Words of the longest row: one bit more than a pattern has characters.
const WORDS: usize = (MAX_PATTERN + 1).div_ceil(BITS);
/// What an octet that is no part of a character counts as: one character that is none.
const NO_CHARACTER: u32 = u32::MAX;

/// A pattern, ready to be matched.
#[derive(Debug, PartialEq)]
pub(super) struct Pattern {
    /// Words of a row.
    words: usize,
    /// The bit that says that the whole pattern was seen.
    last: usize,
    /// Bits that stay whatever comes: a `%` stands there.
    stays: Box<[u64]>,
    /// Bits that any character reaches: a `_` stands before them.
    any: Box<[u64]>,
    /// The characters of the pattern, sorted, each once.
    characters: Box<[u32]>,
    /// For each of them the bits it reaches, a row after the other.
    reached: Box<[u64]>,
}

impl Pattern {
    /// Makes the automaton; `None` if the pattern is too long. An escape character at the very end
    /// means nothing.
    pub(super) fn new(text: &str, escape: Option<char>) -> Option<Pattern> {
        // `None` is any character.
        let mut elements: Vec<Option<char>> = Vec::new();
        let mut stays_at = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                _ if Some(character) == escape => elements.extend(characters.next().map(Some)),
                '%' => stays_at.push(elements.len()),
                '_' => elements.push(None),
                _ => elements.push(Some(character)),
            }
        }
        (elements.len() <= MAX_PATTERN).then(|| Pattern::build(&elements, &stays_at))
    }

    fn build(elements: &[Option<char>], stays_at: &[usize]) -> Pattern {
        let words = elements.len() / BITS + 1;
        let mut any = vec![0; words];
        let mut stays = vec![0; words];
        stays_at.iter().for_each(|at| set(&mut stays, *at));
        let mut characters: Vec<u32> = elements.iter().flatten().map(|c| u32::from(*c)).collect();
        characters.sort_unstable();
        characters.dedup();
        for (n, element) in elements.iter().enumerate() {
            if element.is_none() {
                set(&mut any, n + 1);
            }
        }
        let mut reached = any.repeat(characters.len());
        for (n, character) in elements.iter().enumerate() {
            let found = character.and_then(|c| characters.binary_search(&u32::from(c)).ok());
            if let Some(found) = found {
                set(&mut reached[found * words..], n + 1);
            }
        }
        Pattern {
            words,
            last: elements.len(),
            stays: stays.into(),
            any: any.into(),
            characters: characters.into(),
            reached: reached.into(),
        }
    }

    /// Whether the pattern stands for the whole text.
    pub(super) fn matches(&self, mut text: &[u8]) -> bool {
        let mut row = [0; WORDS];
        let row = &mut row[..self.words];
        set(row, 0);
        let any_rest = is_set(&self.stays, self.last);
        while !text.is_empty() {
            if any_rest && is_set(row, self.last) {
                return true;
            }
            let (character, len) = first(text);
            text = &text[len..];
            let reached = match self.characters.binary_search(&character) {
                Ok(n) => &self.reached[n * self.words..][..self.words],
                Err(_) => &self.any,
            };
            let (mut carried, mut alive) = (0, 0);
            for ((word, reached), stays) in row.iter_mut().zip(reached).zip(&self.stays) {
                let next = (*word << 1 | carried) & reached | *word & stays;
                carried = *word >> (BITS - 1);
                alive |= next;
                *word = next;
            }
            if alive == 0 {
                return false;
            }
        }
        is_set(row, self.last)
    }
}

fn set(row: &mut [u64], bit: usize) {
    row[bit / BITS] |= 1 << (bit % BITS);
}

fn is_set(row: &[u64], bit: usize) -> bool {
    row[bit / BITS] >> (bit % BITS) & 1 != 0
}

/// The first character of a text that is not empty, and how many octets it takes.
fn first(text: &[u8]) -> (u32, usize) {
    let len = match text[0] {
        octet @ ..0x80 => return (u32::from(octet), 1),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return (NO_CHARACTER, 1),
    };
    let character = text.get(..len).and_then(|octets| std::str::from_utf8(octets).ok());
    match character.and_then(|text| text.chars().next()) {
        Some(character) => (u32::from(character), len),
        None => (NO_CHARACTER, 1),
    }
}
