//! Topic routing: a trie over the words of binding patterns.
//!
//! A routing key is walked word by word with the set of nodes reached so far, so the cost is at
//! most words times nodes reached, whatever the patterns: trying alternatives one after the other
//! would let a few `#` in a pattern cost exponential time.

use super::direct::{mentions, remove_route};
use super::names::FixedMap;
use super::routes::{Route, Routes, Walk};
use crate::ids::QueueId;
use slab::Slab;
use smallvec::SmallVec;

const STAR: &[u8] = b"*";
const HASH: &[u8] = b"#";
const ROOT: u32 = 0;
/// No child. The root is nobody's child.
const NONE: u32 = ROOT;

/// The bindings of a topic exchange. All patterns are normalised.
#[derive(Debug)]
pub(super) struct Topic {
    nodes: Slab<Node>,
}

/// What the words from the root lead to.
#[derive(Debug, Default)]
struct Node {
    /// Queues bound with the pattern that ends here.
    queues: SmallVec<[Route; 1]>,
    words: FixedMap<Box<[u8]>, u32>,
    star: u32,
    hash: u32,
    /// Reached by `#`: any further word stays here.
    is_hash: bool,
}

impl Node {
    fn child(&self, word: &[u8]) -> u32 {
        match word {
            STAR => self.star,
            HASH => self.hash,
            _ => self.words.get(word).copied().unwrap_or(NONE),
        }
    }

    fn set_child(&mut self, word: &[u8], child: u32) {
        match word {
            STAR => self.star = child,
            HASH => self.hash = child,
            _ if child == NONE => {
                self.words.remove(word);
            }
            _ => {
                self.words.insert(word.into(), child);
            }
        }
    }

    fn is_unused(&self) -> bool {
        self.queues.is_empty() && self.words.is_empty() && self.star == NONE && self.hash == NONE
    }
}

impl Default for Topic {
    fn default() -> Topic {
        let mut nodes = Slab::new();
        nodes.insert(Node::default());
        Topic { nodes }
    }
}

pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    text.split(|octet| *octet == b'.')
}

impl Topic {
    /// The binding must not exist.
    pub(super) fn bind(&mut self, pattern: &str, route: Route) {
        let mut at = ROOT;
        for word in words(pattern.as_bytes()) {
            let mut child = self.node(at).child(word);
            if child == NONE {
                let node = Node { is_hash: word == HASH, ..Node::default() };
                child = u32::try_from(self.nodes.insert(node)).expect("fewer than 2^32 nodes");
                self.nodes[at as usize].set_child(word, child);
            }
            at = child;
        }
        self.nodes[at as usize].queues.push(route);
    }

    /// The binding must exist.
    pub(super) fn unbind(&mut self, pattern: &str, queue: QueueId) {
        let mut path: Vec<(u32, &[u8])> = Vec::new();
        let mut at = ROOT;
        for word in words(pattern.as_bytes()) {
            path.push((at, word));
            at = self.node(at).child(word);
            assert!(at != NONE, "unbound pattern is bound");
        }
        remove_route(&mut self.nodes[at as usize].queues, queue);
        while let Some((parent, word)) = path.pop() {
            if !self.node(at).is_unused() {
                break;
            }
            self.nodes.remove(at as usize);
            self.nodes[parent as usize].set_child(word, NONE);
            at = parent;
        }
        // Only then are there surely no nodes at the end that keep the space before them.
        if self.nodes.len() == 1 {
            self.nodes.shrink_to_fit();
        }
    }

    pub(super) fn route(&self, key: &[u8], out: &mut Routes) {
        let start = out.list.len();
        let walk = out.walk.get_or_insert_default();
        // Node numbers are below the slab's capacity.
        walk.begin(self.nodes.capacity());
        self.enter(ROOT, walk);
        for word in words(key) {
            std::mem::swap(&mut walk.now, &mut walk.next);
            walk.next.clear();
            if walk.now.is_empty() {
                return;
            }
            for i in 0..walk.now.len() {
                let at = walk.now[i];
                let node = self.node(at);
                if node.is_hash {
                    walk.next.push(at);
                }
                if let Some(child) = node.words.get(word) {
                    self.enter(*child, walk);
                }
                if node.star != NONE {
                    self.enter(node.star, walk);
                }
            }
        }
        let mut groups = 0;
        for at in &walk.next {
            let queues = &self.node(*at).queues;
            groups += usize::from(!queues.is_empty());
            out.list.extend_from_slice(queues);
        }
        // The queues of one node are distinct.
        if groups > 1 {
            out.dedup_from(start);
        }
    }

    /// The walk is at `node`, and so at its `#` child, which matches no words too. A `#` child is
    /// entered once, for it is never left.
    fn enter(&self, node: u32, walk: &mut Walk) {
        walk.next.push(node);
        let hash = self.node(node).hash;
        if hash != NONE && walk.first_visit(hash) {
            walk.next.push(hash);
        }
    }

    /// Whether `queue`, or any queue, is bound with this very pattern.
    pub(super) fn has(&self, pattern: &str, queue: Option<QueueId>) -> bool {
        let mut at = ROOT;
        for word in words(pattern.as_bytes()) {
            at = self.node(at).child(word);
            if at == NONE {
                return false;
            }
        }
        mentions(&self.node(at).queues, queue)
    }

    pub(super) fn routes(&self) -> impl Iterator<Item = Route> {
        self.nodes.iter().flat_map(|(_, node)| node.queues.iter().copied())
    }

    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.nodes.len()
    }
}

/// The pattern with every run of wildcards as its `*`s and then at most one `#`: patterns that
/// match alike in this respect are the same binding, and no `#` follows another in the trie.
pub(super) fn normalise(pattern: &str) -> String {
    let mut normal: Vec<&str> = Vec::new();
    let mut hash = false;
    for word in pattern.split('.') {
        match word {
            "#" => hash = true,
            "*" => normal.push(word),
            _ => {
                if std::mem::take(&mut hash) {
                    normal.push("#");
                }
                normal.push(word);
            }
        }
    }
    if hash {
        normal.push("#");
    }
    normal.join(".")
}

/// Whether a pattern has no wildcards, and so matches the key that it is alone.
pub(super) fn is_plain(pattern: &str) -> bool {
    words(pattern.as_bytes()).all(|word| word != STAR && word != HASH)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::ShardId;
    use proptest::prelude::*;

    fn route(n: u64) -> Route {
        Route { home: ShardId((n % 3) as u16), queue: QueueId(n) }
    }

    fn matched(topic: &Topic, key: &str) -> Vec<u64> {
        let mut out = Routes::default();
        topic.route(key.as_bytes(), &mut out);
        let mut found: Vec<u64> = out.iter().map(|r| r.queue.0).collect();
        found.sort_unstable();
        found
    }

    /// The specification's words, without cleverness.
    pub(in crate::topology) fn naive(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.first(), key.first()) {
            (None, None) => true,
            (Some(&"#"), _) => {
                naive(&pattern[1..], key) || (!key.is_empty() && naive(pattern, &key[1..]))
            }
            (Some(&"*"), Some(_)) => naive(&pattern[1..], &key[1..]),
            (Some(p), Some(k)) if p == k => naive(&pattern[1..], &key[1..]),
            _ => false,
        }
    }

    pub(in crate::topology) fn split(text: &str) -> Vec<&str> {
        text.split('.').collect()
    }

    #[test]
    fn wildcards() {
        for (pattern, key, expect) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#", "", true),
            ("*", "", true),
            ("#.b", "b", true),
            ("#.b", "a.c.b", true),
            ("#.b", "a.b.c", false),
            ("a.#.b.*", "a.x.x.b.x", true),
            ("a.#.b.*", "a.b", false),
            ("a.#.b.*", "x.a.b.x", false),
            ("a..b", "a..b", true),
            ("a.*.b", "a..b", true),
            ("", "", true),
            ("", "a", false),
        ] {
            let mut topic = Topic::default();
            topic.bind(&normalise(pattern), route(1));
            assert_eq!(!matched(&topic, key).is_empty(), expect, "{pattern} against {key}");
        }
    }

    #[test]
    fn normal_form() {
        for (pattern, normal) in [
            ("a.b", "a.b"),
            ("#.*", "*.#"),
            ("#.#", "#"),
            ("*.#.*.#.a.#.#", "*.*.#.a.#"),
            ("", ""),
            ("a..#.*", "a..*.#"),
            ("a#.*b", "a#.*b"),
        ] {
            assert_eq!(normalise(pattern), normal);
        }
    }

    #[test]
    fn many_hashes_cost_no_exponential_time() {
        let mut topic = Topic::default();
        let pattern = format!("{}b", "#.a.".repeat(60));
        topic.bind(&pattern, route(1));
        assert!(matched(&topic, &vec!["a"; 127].join(".")).is_empty());
        assert_eq!(matched(&topic, &format!("{}b", "a.".repeat(120))), [1]);
    }

    #[test]
    fn unbinding_leaves_nothing() {
        let mut topic = Topic::default();
        topic.bind("a.*.#", route(1));
        topic.bind("a.*", route(2));
        topic.bind("a.*", route(1));
        topic.unbind("a.*", QueueId(2));
        assert_eq!(matched(&topic, "a.b"), [1]);
        topic.unbind("a.*.#", QueueId(1));
        assert_eq!(matched(&topic, "a.b"), [1]);
        topic.unbind("a.*", QueueId(1));
        assert_eq!(topic.len(), 1);
    }

    pub(in crate::topology) fn text() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec!["a", "b", "", "*", "#", "#"]);
        prop::collection::vec(word, 1..7).prop_map(|words| words.join("."))
    }

    proptest! {
        #[test]
        fn trie_equals_naive_matcher(
            patterns in prop::collection::vec((text(), 0u64..5), 1..12),
            keys in prop::collection::vec(text(), 1..12),
            drop_first in 0usize..12,
        ) {
            let mut topic = Topic::default();
            let mut bound: Vec<(String, u64)> = Vec::new();
            for (pattern, queue) in patterns {
                if !topic.has(&normalise(&pattern), Some(QueueId(queue))) {
                    topic.bind(&normalise(&pattern), route(queue));
                    bound.push((pattern, queue));
                }
            }
            for (pattern, queue) in bound.drain(..drop_first.min(bound.len())) {
                topic.unbind(&normalise(&pattern), QueueId(queue));
            }
            for key in &keys {
                let mut expect: Vec<u64> = bound
                    .iter()
                    .filter(|(pattern, _)| naive(&split(pattern), &split(key)))
                    .map(|(_, queue)| *queue)
                    .collect();
                expect.sort_unstable();
                expect.dedup();
                prop_assert_eq!(matched(&topic, key), expect, "key {}", key);
                for (pattern, _) in &bound {
                    let of_plain = is_plain(pattern) && naive(&split(pattern), &split(key));
                    prop_assert!(!of_plain || pattern == key, "{pattern} matches {key}");
                }
            }
        }
    }
}
