//! The books of clients whose broker is killed under them: what they sent, what was confirmed to them, what they received
//! and accepted. After a restart an audit compares the books with what the queues hold.
//!
//! | the client knows | the queue after the restart |
//! |---|---|
//! | publish confirmed, accept not sent | has the message |
//! | publish confirmed, accept sent and not confirmed | has it or has it not |
//! | accept confirmed | has it not, ever again |
//! | publish sent and not confirmed | has it or has it not; of several queues all have it or none |
//!
//! A queue that has a message has it once, in the order its publishers sent it and former audits saw it; flagged as
//! redelivered if a client received it before, and not flagged if nobody ever could have. What an audit finds holds from
//! then on: what is there must stay, what is not must not come later.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use anyhow::{Context, Result, ensure};

/// Names a message: who sent it, and the how manieth it was. Numbers of a publisher only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The publisher.
    pub publisher: u16,
    /// Its number.
    pub number: u64,
}

impl Tag {
    /// Octets a body has at least.
    pub const SMALLEST: usize = 40;

    /// A body of `size` octets that says which message it is; every octet of it follows from that.
    pub fn body(self, size: usize) -> Vec<u8> {
        let mut body = format!("{} {} {size};", self.publisher, self.number).into_bytes();
        let from = body.len();
        body.resize(size.max(Self::SMALLEST), 0);
        let salt = self.number.wrapping_mul(31).wrapping_add(self.publisher.into());
        for (at, octet) in body.iter_mut().enumerate().skip(from) {
            *octet = (salt as usize).wrapping_add(at.wrapping_mul(7)).wrapping_add(at >> 8) as u8;
        }
        body
    }

    /// The tag of a body, every octet of which is as it was made.
    pub fn of(body: &[u8]) -> Result<Tag> {
        let end = body.iter().take(Self::SMALLEST).position(|octet| *octet == b';');
        let head = std::str::from_utf8(&body[..end.context("a body that nobody here made")?])?;
        let mut numbers = head.split(' ').map(str::parse::<u64>);
        let mut number = || numbers.next().context("a body that nobody here made");
        let (publisher, number, size) = (number()??, number()??, number()??);
        let tag = Tag { publisher: publisher.try_into()?, number };
        ensure!(tag.body(size.try_into()?) == body, "the body of {tag} has changed");
        Ok(tag)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {} of publisher {}", self.number, self.publisher)
    }
}

/// What must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// Confirmed, not accepted, and not there.
    Lost,
    /// Accepted for certain, or known not to be there, and there again.
    Returned,
    /// Never sent, or not to this queue.
    Stranger,
    /// There twice, or delivered twice to clients that kept it.
    Twice,
    /// Before one that was before it.
    Overtaken,
    /// On some of the queues it was sent to and not on others.
    Torn,
    /// Received before, and not flagged as redelivered.
    Unflagged,
    /// Flagged as redelivered, and no client can have received it.
    Flagged,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What.
    pub wrong: Wrong,
    /// In which queue.
    pub queue: usize,
    /// Which message.
    pub tag: Tag,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} in queue {}", self.wrong, self.tag, self.queue)
    }
}

/// Fails with all findings, the first of them in words.
pub fn judge(findings: &[Finding]) -> Result<()> {
    let shown: Vec<String> = findings.iter().take(20).map(|f| format!("  {f}")).collect();
    ensure!(findings.is_empty(), "{} things are wrong:\n{}", findings.len(), shown.join("\n"));
    Ok(())
}

/// A message as a queue has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub tag: Tag,
    /// Whether it is flagged as redelivered.
    pub redelivered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accept {
    No,
    Sent,
    /// Accepted for certain, or not there at an audit: not to be seen again.
    Gone,
}

/// A message on one of its queues.
#[derive(Debug)]
struct Place {
    queue: usize,
    accept: Accept,
    /// The life of the broker in which a client last received it.
    received: Option<u32>,
}

#[derive(Debug)]
struct Entry {
    confirmed: bool,
    /// The life of the broker in which it was sent.
    sent: u32,
    places: Vec<Place>,
}

impl Entry {
    fn place(&mut self, queue: usize) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.queue == queue)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The broker's lives so far; every audit begins one.
    life: u32,
    entries: BTreeMap<Tag, Entry>,
    /// By queue: what the last audit found, in that order.
    order: Vec<Vec<Tag>>,
    /// By queue: the last life in which it had a consumer.
    consumed: HashMap<usize, u32>,
    /// What was wrong between audits.
    findings: Vec<Finding>,
    confirmed: usize,
    accepted: usize,
}

impl Ledger {
    /// Books for so many queues.
    pub fn new(queues: usize) -> Ledger {
        Ledger { order: vec![Vec::new(); queues], ..Ledger::default() }
    }

    /// A message is about to be sent to these queues.
    pub fn sending(&mut self, tag: Tag, queues: &[usize]) {
        let place = |queue: &usize| Place { queue: *queue, accept: Accept::No, received: None };
        let places = queues.iter().map(place).collect();
        let entry = Entry { confirmed: false, sent: self.life, places };
        assert!(self.entries.insert(tag, entry).is_none(), "{tag} is sent twice");
    }

    /// The broker has confirmed a message.
    pub fn confirmed(&mut self, tag: Tag) {
        self.entries.get_mut(&tag).expect("it was sent").confirmed = true;
        self.confirmed += 1;
    }

    /// A consumer is about to subscribe to a queue.
    pub fn consuming(&mut self, queue: usize) {
        self.consumed.insert(queue, self.life);
    }

    /// A client has received a message and keeps it until it accepts it or the broker's life ends.
    pub fn received(&mut self, queue: usize, found: Found) {
        let (life, tag) = (self.life, found.tag);
        let wrong = match self.entries.get_mut(&tag).and_then(|entry| entry.place(queue)) {
            None => Some(Wrong::Stranger),
            Some(place) => match place.received.replace(life) {
                _ if place.accept == Accept::Gone => Some(Wrong::Returned),
                Some(before) if before == life => Some(Wrong::Twice),
                Some(_) if !found.redelivered => Some(Wrong::Unflagged),
                _ => None,
            },
        };
        self.findings.extend(wrong.map(|wrong| Finding { wrong, queue, tag }));
    }

    /// A client is about to accept a message.
    pub fn accepting(&mut self, queue: usize, tag: Tag) {
        self.settle(queue, tag, Accept::Sent);
    }

    /// The broker has confirmed an accept.
    pub fn accepted(&mut self, queue: usize, tag: Tag) {
        self.settle(queue, tag, Accept::Gone);
        self.accepted += 1;
    }

    fn settle(&mut self, queue: usize, tag: Tag, accept: Accept) {
        if let Some(place) = self.entries.get_mut(&tag).and_then(|entry| entry.place(queue)) {
            place.accept = accept;
        }
    }

    /// How many messages and how many accepts the broker has confirmed.
    pub fn totals(&self) -> (usize, usize) {
        (self.confirmed, self.accepted)
    }

    /// Compares with what each queue holds after a restart, in its order. Whatever is there is held against the next
    /// audit. Returns all that was wrong since the last one.
    pub fn audit(&mut self, queues: &[Vec<Found>]) -> Vec<Finding> {
        assert_eq!(queues.len(), self.order.len(), "an audit is of all queues");
        let mut findings = std::mem::take(&mut self.findings);
        for (queue, found) in queues.iter().enumerate() {
            self.audit_messages(queue, found, &mut findings);
            self.audit_order(queue, found, &mut findings);
        }
        self.audit_absent(queues, &mut findings);
        self.life += 1;
        findings
    }

    fn audit_messages(&mut self, queue: usize, found: &[Found], findings: &mut Vec<Finding>) {
        let consumed = self.consumed.get(&queue).copied();
        let mut seen = BTreeSet::new();
        for &Found { tag, redelivered } in found {
            let mut report = |wrong| findings.push(Finding { wrong, queue, tag });
            let sent = self.entries.get(&tag).map(|entry| entry.sent);
            let place = self.entries.get_mut(&tag).and_then(|entry| entry.place(queue));
            let (Some(place), Some(sent)) = (place, sent) else {
                report(Wrong::Stranger);
                continue;
            };
            if !seen.insert(tag) {
                report(Wrong::Twice);
            }
            if place.accept == Accept::Gone {
                report(Wrong::Returned);
            }
            if place.received.is_some() && !redelivered {
                report(Wrong::Unflagged);
            }
            if redelivered && consumed.is_none_or(|last| last < sent) {
                report(Wrong::Flagged);
            }
        }
    }

    /// Behind the one before it: by its publisher's numbers, and by where the last audit saw both.
    fn audit_order(&mut self, queue: usize, found: &[Found], findings: &mut Vec<Finding>) {
        let known: HashMap<Tag, usize> =
            self.order[queue].iter().enumerate().map(|(at, tag)| (*tag, at)).collect();
        let mut last_of = HashMap::new();
        let mut last_at = 0;
        for &Found { tag, .. } in found {
            let last = last_of.insert(tag.publisher, tag.number);
            // What no audit has seen came later than all that one has.
            let at = known.get(&tag).copied().unwrap_or(usize::MAX);
            if last.is_some_and(|last| last > tag.number) || at < last_at {
                findings.push(Finding { wrong: Wrong::Overtaken, queue, tag });
            }
            last_at = last_at.max(at);
        }
        self.order[queue] = found.iter().map(|found| found.tag).collect();
    }

    fn audit_absent(&mut self, queues: &[Vec<Found>], findings: &mut Vec<Finding>) {
        let present: Vec<BTreeSet<Tag>> =
            queues.iter().map(|found| found.iter().map(|found| found.tag).collect()).collect();
        for (&tag, entry) in &mut self.entries {
            let somewhere = entry.places.iter().any(|place| present[place.queue].contains(&tag));
            for place in &mut entry.places {
                let queue = place.queue;
                if present[queue].contains(&tag) {
                    place.accept = Accept::No;
                    continue;
                }
                // Who accepted a message that was not confirmed yet has taken it out of the publish.
                if place.accept == Accept::No && entry.confirmed {
                    findings.push(Finding { wrong: Wrong::Lost, queue, tag });
                } else if place.accept == Accept::No && somewhere {
                    findings.push(Finding { wrong: Wrong::Torn, queue, tag });
                }
                place.accept = Accept::Gone;
            }
            entry.confirmed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(number: u64) -> Tag {
        Tag { publisher: 1, number }
    }

    fn found(number: u64) -> Found {
        Found { tag: tag(number), redelivered: false }
    }

    fn again(number: u64) -> Found {
        Found { tag: tag(number), redelivered: true }
    }

    fn wrongs(findings: &[Finding]) -> Vec<(Wrong, usize, u64)> {
        findings.iter().map(|f| (f.wrong, f.queue, f.tag.number)).collect()
    }

    /// Two queues; 0 to 3 sent to the first, 4 and 5 to both; all but 3 and 5 confirmed.
    fn busy() -> Ledger {
        let mut ledger = Ledger::new(2);
        assert_eq!(ledger.audit(&[vec![], vec![]]), []);
        (0..4).for_each(|number| ledger.sending(tag(number), &[0]));
        (4..6).for_each(|number| ledger.sending(tag(number), &[0, 1]));
        [0, 1, 2, 4].into_iter().for_each(|number| ledger.confirmed(tag(number)));
        ledger.consuming(0);
        (0..3).for_each(|number| ledger.received(0, found(number)));
        ledger.accepting(0, tag(0));
        ledger.accepted(0, tag(0));
        ledger.accepting(0, tag(1));
        ledger
    }

    #[test]
    fn what_a_sound_broker_may_hold_is_right() {
        let (two, four) = (again(2), found(4));
        for first in [vec![two, four], vec![again(1), two, found(3), four]] {
            assert_eq!(busy().audit(&[first, vec![four]]), []);
        }
        let all = vec![two, four, found(5)];
        assert_eq!(busy().audit(&[all, vec![four, found(5)]]), []);
    }

    #[test]
    fn what_a_broker_lost_is_found() {
        let mut ledger = busy();
        let wrong = ledger.audit(&[vec![again(1)], vec![found(4)]]);
        assert_eq!(wrongs(&wrong), [(Wrong::Lost, 0, 2), (Wrong::Lost, 0, 4)]);
        // Told once; what is gone must not come later.
        assert_eq!(ledger.audit(&[vec![again(1)], vec![found(4)]]), []);
        let wrong = ledger.audit(&[vec![again(1), again(2)], vec![found(4)]]);
        assert_eq!(wrongs(&wrong)[0], (Wrong::Returned, 0, 2));
    }

    #[test]
    fn what_is_there_and_must_not_be_is_found() {
        let good = vec![found(4)];
        let wrong = busy().audit(&[vec![again(0), again(2), found(4)], good.clone()]);
        assert_eq!(wrongs(&wrong), [(Wrong::Returned, 0, 0)]);
        let wrong = busy().audit(&[vec![again(2), found(4), found(9)], good.clone()]);
        assert_eq!(wrongs(&wrong), [(Wrong::Stranger, 0, 9)]);
        let wrong = busy().audit(&[vec![again(2), found(4)], vec![found(3), found(4)]]);
        assert_eq!(wrongs(&wrong), [(Wrong::Stranger, 1, 3)]);
        let wrong = busy().audit(&[vec![again(2), again(2), found(4)], good]);
        assert_eq!(wrongs(&wrong), [(Wrong::Twice, 0, 2)]);
    }

    #[test]
    fn order_is_that_of_the_publisher_and_of_the_audit_before() {
        let wrong = busy().audit(&[vec![found(4), again(2)], vec![found(4)]]);
        assert_eq!(wrongs(&wrong), [(Wrong::Overtaken, 0, 2)]);
        let mut ledger = busy();
        let other = Tag { publisher: 2, number: 0 };
        ledger.sending(other, &[0]);
        let theirs = Found { tag: other, redelivered: false };
        assert_eq!(ledger.audit(&[vec![again(2), theirs, found(4)], vec![found(4)]]), []);
        let wrong = ledger.audit(&[vec![again(2), found(4), theirs], vec![found(4)]]);
        assert_eq!(wrong, [Finding { wrong: Wrong::Overtaken, queue: 0, tag: other }]);
        let later = Tag { publisher: 3, number: 0 };
        ledger.sending(later, &[0]);
        let late = Found { tag: later, redelivered: false };
        let wrong = ledger.audit(&[vec![again(2), late, found(4), theirs], vec![found(4)]]);
        let overtaken = |tag| Finding { wrong: Wrong::Overtaken, queue: 0, tag };
        assert_eq!(wrong, [overtaken(tag(4)), overtaken(other)]);
    }

    #[test]
    fn a_publish_to_several_queues_is_whole() {
        let wrong = busy().audit(&[vec![again(2), found(4), found(5)], vec![found(4)]]);
        assert_eq!(wrongs(&wrong), [(Wrong::Torn, 1, 5)]);
        // Who has taken it from one of them before the crash has taken nothing from the other.
        let mut ledger = busy();
        ledger.received(0, found(5));
        ledger.accepting(0, tag(5));
        ledger.accepted(0, tag(5));
        assert_eq!(ledger.audit(&[vec![again(2), found(4)], vec![found(4), found(5)]]), []);
    }

    #[test]
    fn flags_say_what_may_have_been_delivered() {
        let wrong = busy().audit(&[vec![found(2), found(4)], vec![again(4)]]);
        assert_eq!(wrongs(&wrong), [(Wrong::Unflagged, 0, 2), (Wrong::Flagged, 1, 4)]);
        // The first queue has a consumer: what the broker sent it may not have arrived.
        assert_eq!(busy().audit(&[vec![again(2), again(4)], vec![found(4)]]), []);
    }

    #[test]
    fn deliveries_are_held_against_the_books_at_once() {
        let mut ledger = busy();
        ledger.received(0, again(2));
        ledger.received(0, again(0));
        ledger.received(1, found(3));
        let wrong = ledger.audit(&[vec![again(2), found(4)], vec![found(4)]]);
        let expected = [(Wrong::Twice, 0, 2), (Wrong::Returned, 0, 0), (Wrong::Stranger, 1, 3)];
        assert_eq!(wrongs(&wrong), expected);
        ledger.received(0, again(2));
        assert_eq!(ledger.audit(&[vec![again(2), found(4)], vec![found(4)]]), []);
        ledger.received(0, found(2));
        let wrong = ledger.audit(&[vec![again(2), found(4)], vec![found(4)]]);
        assert_eq!(wrongs(&wrong), [(Wrong::Unflagged, 0, 2)]);
    }

    #[test]
    fn a_body_says_which_message_it_is_and_that_it_is_whole() {
        for size in [0, Tag::SMALLEST, 100, 5000] {
            let tag = Tag { publisher: u16::MAX, number: 1 << 40 };
            let mut body = tag.body(size);
            assert_eq!(body.len(), size.max(Tag::SMALLEST));
            assert_eq!(Tag::of(&body).unwrap(), tag);
            *body.last_mut().unwrap() ^= 1;
            assert!(Tag::of(&body).is_err());
        }
        assert!(Tag::of(b"").is_err());
        assert!(Tag::of(b"1 2;").is_err());
    }
}
