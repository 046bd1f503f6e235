//! Whether one key matches one pattern of a topic, for those who have no exchange between them.

use super::topic::words;

const STAR: &[u8] = b"*";
const HASH: &[u8] = b"#";

/// A pattern of words, `*` for any one and `#` for any number of them.
#[derive(Debug)]
pub(crate) struct Subject {
    words: Box<[Box<[u8]>]>,
}

impl Subject {
    pub(crate) fn new(pattern: &str) -> Subject {
        Subject { words: words(pattern.as_bytes()).map(Box::from).collect() }
    }

    /// In at most as many steps as the product of their words, without allocating.
    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        let (mut at, mut rest) = (0, words(key));
        // Where to go on if what follows the last `#` does not fit: the `#` takes one word more.
        let mut back = None;
        loop {
            let wanted = self.words.get(at).map(|word| &**word);
            if wanted == Some(HASH) {
                at += 1;
                back = Some((at, rest.clone()));
                continue;
            }
            let mut after = rest.clone();
            match (wanted, after.next()) {
                (None, None) => return true,
                (Some(wanted), Some(word)) if wanted == STAR || wanted == word => {
                    at += 1;
                    rest = after;
                }
                _ => {
                    let Some((behind, from)) = &mut back else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (at, rest) = (*behind, from.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::topic::tests::{naive, split, text};
    use proptest::prelude::*;

    #[test]
    fn words_and_wildcards() {
        let matches = |pattern, key: &str| Subject::new(pattern).matches(key.as_bytes());
        assert!(matches("a.b", "a.b") && !matches("a.b", "a.b.c") && !matches("a.b", "a"));
        assert!(matches("a.*", "a.b") && !matches("a.*", "a") && matches("*", ""));
        assert!(matches("#", "") && matches("a.#", "a") && matches("a.#.c", "a.b.c.c"));
        assert!(!matches("a.#.c", "a.b.c.d"));
    }

    proptest! {
        #[test]
        fn as_the_naive_matcher_says(pattern in text(), key in text()) {
            let expect = naive(&split(&pattern), &split(&key));
            prop_assert_eq!(Subject::new(&pattern).matches(key.as_bytes()), expect);
        }
    }
}
