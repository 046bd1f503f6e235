//! Random requests, votes and lag: replicas end equal, and every request is answered once.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const QUEUES: [&str; 4] = ["a", "b", "c", "d"];
const EXCHANGES: [(&str, &str); 4] =
    [("x", "direct"), ("y", "topic"), ("z", "fanout"), ("amq.match", "headers")];

#[derive(Clone, Debug)]
enum Step {
    Submit(u64, TopologyRequest),
    Close(u64),
    Attach(u64, bool),
    Unused(usize),
    Vote(bool),
    Apply(u16),
}

fn request() -> impl Strategy<Value = TopologyRequest> {
    let name = prop::sample::select(&QUEUES[..]);
    let x = prop::sample::select(&EXCHANGES[..]);
    let key = prop::sample::select(vec!["", "k", "a.*", "#", "#.*"]);
    (0..8, name, x, key, any::<bool>(), any::<bool>()).prop_map(
        |(what, name, (x, kind), key, one, two)| match what {
            0 | 1 => TopologyRequest::DeclareQueue(DeclareQueue {
                exclusive: one,
                auto_delete: two,
                alternate: (key == "k").then(|| "z".into()),
                ..declare(name)
            }),
            2 => TopologyRequest::DeleteQueue { name: name.into(), if_unused: one, if_empty: two },
            3 => TopologyRequest::DeclareExchange(DeclareExchange {
                auto_delete: one,
                alternate: (two && x != "z").then(|| "z".into()),
                ..declare_exchange(x, kind)
            }),
            4 => TopologyRequest::DeleteExchange { name: x.into(), if_unused: one },
            5 | 6 => {
                let mode = if one { "all" } else { "any" };
                let arguments = Map::new().with("x-match", mode).with("h", key);
                bind_with(
                    name,
                    x,
                    key,
                    match two {
                        true => arguments.with("qpid.exclusive-binding", true),
                        false => arguments,
                    },
                )
            }
            _ => unbind(name, x, key),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..4, request()).prop_map(|(s, r)| Step::Submit(s, r)),
        1 => (0u64..4).prop_map(Step::Close),
        1 => (0u64..4, any::<bool>()).prop_map(|(s, force)| Step::Attach(s, force)),
        1 => (0..QUEUES.len()).prop_map(Step::Unused),
        3 => any::<bool>().prop_map(Step::Vote),
        6 => (0u16..3).prop_map(Step::Apply),
    ]
}

/// All a replica knows, in a comparable form.
fn describe(t: &Topology) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for q in t.queues() {
        let mut bindings: Vec<String> =
            t.bindings_of(q.id).iter().map(|b| format!("{}/{}", b.exchange, b.key)).collect();
        bindings.sort();
        let by_name = t.queue(&q.name).expect("known by name");
        assert!(Arc::ptr_eq(by_name, q));
        let text = format!("{:?} {:?} {:?} {bindings:?}", q.id, q.home, q.owner);
        all.insert(format!("queue {}", q.name), text);
    }
    for x in t.exchanges() {
        let mut routes: Vec<Route> = x.routes().collect();
        routes.sort_unstable();
        assert_eq!(routes.len(), x.bindings());
        for route in &routes {
            let name = &*x.descriptor().name;
            assert!(t.bindings_of(route.queue).iter().any(|b| *b.exchange == *name));
        }
        let text = format!("{} {routes:?} {}", x.descriptor().kind, x.in_use_as_alternate());
        all.insert(format!("exchange {}", x.descriptor().name), text);
    }
    all
}

proptest! {
    #[test]
    fn replicas_end_equal(steps in prop::collection::vec(step(), 1..120)) {
        let mut b = Broker::new(3);
        // A session that closes is followed by another with the same number.
        let mut generation = [0u64; 4];
        let id = |n: u64, generation: &[u64; 4]| {
            session((n % 3) as u16, n + 4 * generation[n as usize])
        };
        for step in steps {
            match step {
                Step::Submit(n, request) => {
                    b.submit(id(n, &generation), request);
                }
                Step::Close(n) => {
                    b.close(id(n, &generation));
                    generation[n as usize] += 1;
                }
                Step::Attach(n, force) => {
                    // A session attaches once.
                    b.close(id(n, &generation));
                    generation[n as usize] += 1;
                    b.attach(id(n, &generation), "name", force);
                }
                Step::Unused(n) => {
                    if let Some(q) = b.replicas[0].queue(QUEUES[n]) {
                        let q = q.id;
                        b.unused(q, None);
                    }
                }
                Step::Vote(agreed) => {
                    if !b.asked.is_empty() {
                        b.vote(if agreed { Ok(()) } else { Err(Error::precondition("no")) });
                    }
                }
                Step::Apply(shard) => {
                    b.apply(shard);
                }
            }
        }
        for n in 0..4 {
            b.close(id(n, &generation));
        }
        while !b.asked.is_empty() {
            b.vote(Ok(()));
        }
        b.catch_up();

        let first = describe(&b.replicas[0]);
        for replica in &b.replicas[1..] {
            prop_assert_eq!(&describe(replica), &first);
        }
        prop_assert!(b.replicas[0].queues().all(|q| q.owner.is_none()));
        let mut answered: Vec<OpId> = b.answers.iter().map(|(_, op, _)| *op).collect();
        answered.sort_unstable();
        prop_assert_eq!(answered, (1..=b.next_op).collect::<Vec<_>>());
        prop_assert!(b.orderer.is_idle());
    }
}
