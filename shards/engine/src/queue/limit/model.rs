//! Random operations on a queue with limits, every refusal, displacement, hold and alert checked against a
//! model: a list of what is there, and the rules as the manual words them.

use super::*;
use crate::ids::ShardId;
use crate::queue::testing::{message, subscription_id};
use crate::queue::{CreditUnit, FlowMode, INFINITE, Subscribe};
use crate::request::Mode::Consume;
use fletch_amqp::types::{Map, Value};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

const NOW: Time = Time(0);

#[derive(Clone, Debug)]
enum Op {
    Publish { size: usize, moves: bool },
    Grant(u32),
    Accept(usize),
    Release(usize),
    Reject(usize),
    Purge,
    Delete,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..12usize, prop::bool::weighted(0.1)).prop_map(|(size, moves)| Op::Publish { size, moves }),
        3 => (1..4u32).prop_map(Op::Grant),
        3 => (0..9usize).prop_map(Op::Accept),
        2 => (0..9usize).prop_map(Op::Release),
        1 => (0..9usize).prop_map(Op::Reject),
        1 => Just(Op::Purge),
    ]
}

/// Numbers of the arguments; 0 is not given.
#[derive(Clone, Debug)]
struct Arguments {
    policy: &'static str,
    max: (u64, u64),
    stop: (u64, u64),
    resume: (u64, u64),
    up: u64,
    down: u64,
    reroutes: bool,
}

fn arguments() -> impl Strategy<Value = Arguments> {
    let policy = prop_oneof![3 => Just("reject"), 3 => Just("ring"), 1 => Just("self-destruct")];
    let pair = |most: u64| (0..most, 0..most * 4);
    let levels = (pair(12), pair(8), pair(8), 0..8u64, 0..8u64, any::<bool>());
    (policy, levels).prop_map(|(policy, (max, stop, resume, up, down, reroutes))| {
        // What would be refused is made something else.
        let fit = |stop: u64, max: u64| if max > 0 { stop.min(max) } else { stop };
        let stop = (fit(stop.0, max.0), fit(stop.1, max.1));
        let below = |resume: u64, stop: u64| if stop > 0 { resume.min(stop) } else { resume };
        let resume = (below(resume.0, stop.0), below(resume.1, stop.1));
        Arguments { policy, max, stop, resume, up, down, reroutes }
    })
}

impl Arguments {
    fn queue(&self, out: &mut Vec<Output>) -> Queue {
        let mut map = Map::new().with("qpid.policy_type", self.policy);
        let numbers = [
            ("qpid.max_count", self.max.0),
            ("qpid.max_size", self.max.1),
            ("qpid.flow_stop_count", self.stop.0),
            ("qpid.flow_stop_size", self.stop.1),
            ("qpid.flow_resume_count", self.resume.0),
            ("qpid.flow_resume_size", self.resume.1),
            ("qpid.alert_count_up", self.up),
            ("qpid.alert_count_down", self.down),
        ];
        for (name, n) in numbers {
            map.insert(name, Value::Uint64(n));
        }
        let settings = QueueSettings::new("q", &map).unwrap();
        let mut queue = Queue::new(QueueId(1));
        let defaults = QueueDefaults { alert: 0, ..QueueDefaults::UNLIMITED };
        queue.configure(NOW, &settings, (&defaults, self.reroutes), out);
        queue
    }
}

struct Model {
    a: Arguments,
    /// Position, size, whether somebody has it.
    there: Vec<(Position, u64, bool)>,
    next: Position,
    stopped: bool,
    held: BTreeSet<Position>,
    alerted: bool,
    overfull: bool,
    /// What must come out.
    displaced: Vec<Position>,
    resumed: Vec<u32>,
    told: Vec<What>,
}

impl Model {
    fn depth(&self) -> (u64, u64) {
        (self.there.len() as u64, self.there.iter().map(|m| m.1).sum())
    }

    fn exceeds(&self, (count, size): (u64, u64)) -> bool {
        let over = |n: u64, max: u64| max > 0 && n > max;
        over(count, self.a.max.0) || over(size, self.a.max.1)
    }

    fn fits(&self, size: u64) -> bool {
        let (count, bytes) = self.depth();
        !self.exceeds((count + 1, bytes + size))
    }

    /// Whether a publisher is refused.
    fn refuses(&self, size: u64) -> bool {
        match self.a.policy {
            "reject" => !self.fits(size),
            "ring" => self.a.max.1 > 0 && size > self.a.max.1,
            _ => false,
        }
    }

    fn come(&mut self, size: u64) {
        if self.a.policy == "ring" {
            while !self.there.is_empty() && !self.fits(size) {
                let position = self.there[0].0;
                self.displaced.push(position);
                self.leave(position);
            }
        }
        self.there.push((self.next, size, false));
        self.next += 1;
        let (count, bytes) = self.depth();
        self.overfull |= self.a.policy == "self-destruct" && self.exceeds((count, bytes));
        let above = |n: u64, stop: u64| stop > 0 && n > stop;
        let stop = above(count, self.a.stop.0) || above(bytes, self.a.stop.1);
        if self.a.policy != "ring" && stop && !self.stopped {
            self.stopped = true;
            self.told.push(What::FlowStopped);
        }
        if self.a.up > 0 && count >= self.a.up && !self.alerted {
            self.alerted = true;
            self.told.push(What::ThresholdCrossedUpward);
            if self.a.down == 0 {
                self.told.push(What::ThresholdExceeded);
            }
        }
    }

    fn leave(&mut self, position: Position) {
        self.there.retain(|m| m.0 != position);
        let (count, bytes) = self.depth();
        let below = |n: u64, stop: u64, resume: u64| {
            stop == 0 || n < if resume == 0 { stop } else { resume }
        };
        let resume = below(count, self.a.stop.0, self.a.resume.0)
            && below(bytes, self.a.stop.1, self.a.resume.1);
        if self.stopped && resume {
            self.stopped = false;
            self.told.push(What::FlowResumed);
            self.resumed.extend(std::mem::take(&mut self.held).iter().map(|p| *p as u32));
        } else if self.held.remove(&position) {
            self.resumed.push(position as u32);
        }
        let down =
            if self.a.down == 0 || self.a.down >= self.a.up { self.a.up / 2 } else { self.a.down };
        if self.alerted && count <= down {
            self.alerted = false;
            self.told.push(What::ThresholdCrossedDownward);
        }
    }

    /// The n-th message that somebody has.
    fn acquired(&self, n: usize) -> Option<Position> {
        self.there.iter().filter(|m| m.2).nth(n).map(|m| m.0)
    }
}

fn run(a: Arguments, ops: Vec<Op>) {
    let mut out = Vec::new();
    let mut queue = a.queue(&mut out);
    let mut model = Model {
        a,
        there: Vec::new(),
        next: 1,
        stopped: false,
        held: BTreeSet::new(),
        alerted: false,
        overfull: false,
        displaced: Vec::new(),
        resumed: Vec::new(),
        told: Vec::new(),
    };
    let id = subscription_id(1);
    let (queue_name, arguments) = (Arc::from("q"), Map::new());
    let (tag, mode, settles, exclusive) = (1, Consume, true, false);
    let selector = None;
    let s = Subscribe { tag, queue: queue_name, mode, settles, exclusive, selector, arguments };
    queue.subscribe(id, &s).unwrap();
    queue.set_mode(id, FlowMode::Credit);
    queue.grant(NOW, id, CreditUnit::Bytes, INFINITE, &mut out);
    let mut overfull = 0;
    for op in ops.into_iter().chain([Op::Delete]) {
        let shown = format!("{op:?}");
        let mut published = None;
        match op {
            Op::Publish { size, moves } => {
                let message = message(size);
                let refused = !moves && queue.check_depth(&message).is_err();
                assert_eq!(refused, !moves && model.refuses(size as u64), "{shown}");
                if !refused {
                    model.come(size as u64);
                    let at = queue.enqueue_at(NOW, message, (Seq::NONE, 0), &mut out);
                    assert_eq!(at, Some(model.next - 1), "{shown}");
                    published = at.filter(|_| !moves);
                }
            }
            Op::Grant(n) => queue.grant(NOW, id, CreditUnit::Messages, n, &mut out),
            Op::Accept(n) => {
                if let Some(position) = model.acquired(n) {
                    model.leave(position);
                    queue.accept(position, &mut out);
                }
            }
            Op::Release(n) => {
                if let Some(position) = model.acquired(n) {
                    model.there.iter_mut().filter(|m| m.0 == position).for_each(|m| m.2 = false);
                    queue.release(NOW, [position], true, &mut out);
                }
            }
            Op::Reject(n) => {
                if let Some(position) = model.acquired(n) {
                    model.leave(position);
                    assert!(queue.reject(position, &mut out).is_some(), "{shown}");
                }
            }
            Op::Purge => {
                let free: Vec<Position> =
                    model.there.iter().filter(|m| !m.2).map(|m| m.0).collect();
                free.into_iter().for_each(|position| model.leave(position));
                queue.purge(queue.newest(), 1000, &mut out);
            }
            Op::Delete => {
                model.resumed.extend(std::mem::take(&mut model.held).iter().map(|p| *p as u32));
                model.there.clear();
                model.stopped = false;
                queue.drain_for_delete(&mut out);
            }
        }
        let (mut displaced, mut resumed, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for output in out.drain(..) {
            match output {
                Output::Deliver { delivery, .. } => {
                    let at = model.there.iter_mut().find(|m| m.0 == delivery.position);
                    at.expect("delivered is what is there").2 = true;
                }
                Output::Displaced { delivery, .. } => displaced.push(delivery.position),
                Output::Resumed { to } => resumed.push(to.slot),
                Output::Notice { what, .. } => told.push(what),
                Output::Overfull { .. } => overfull += 1,
                other => panic!("{other:?}"),
            }
        }
        if !model.a.reroutes {
            model.displaced.clear();
        }
        assert_eq!(displaced, std::mem::take(&mut model.displaced), "{shown}");
        assert_eq!(resumed, std::mem::take(&mut model.resumed), "{shown}");
        assert_eq!(told, std::mem::take(&mut model.told), "{shown}");
        assert_eq!(overfull, u32::from(model.overfull), "{shown}");
        assert_eq!(queue.depth(), model.depth(), "{shown}");
        assert_eq!(queue.is_flow_stopped(), model.stopped, "{shown}");
        if let Some(position) = published {
            let publisher = Publisher { shard: ShardId(0), slot: position as u32 };
            let held = queue.hold(position, publisher);
            assert_eq!(held, model.stopped, "{shown}");
            if held {
                model.held.insert(position);
            }
        }
        assert_eq!(queue.held_publishes(), model.held.len(), "{shown}");
        let free = model.there.iter().filter(|m| !m.2).count() as u64;
        assert_eq!(queue.available(), free, "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn limits_follow_the_model(a in arguments(), ops in prop::collection::vec(op(), 1..80)) {
        run(a, ops);
    }
}
