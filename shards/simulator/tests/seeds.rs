//! A quick run of the simulator, its own promises, and seeds that have found something.

use fletch_simulator::{Marks, Summary, run};

fn passes(seed: u64) -> Summary {
    run(seed, None, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn a_hundred_seeds_pass_and_reach_every_situation() {
    let mut marks = Marks::default();
    let (mut messages, mut deliveries) = (0, 0);
    for seed in 0..100 {
        let summary = passes(seed);
        marks.add(&summary.marks);
        messages += summary.messages;
        deliveries += summary.deliveries;
    }
    assert!(messages > 1000 && deliveries > 1000, "{messages} messages, {deliveries} deliveries");
    // Rests of this kind are too rare for so few seeds.
    let rare = ["a flush waits for room"];
    for (what, n) in marks.iter().filter(|(what, _)| !rare.contains(what)) {
        assert!(n > 0, "no seed has come to this: {what}");
    }
}

#[test]
fn a_seed_always_does_the_same() {
    let mut traces = Vec::new();
    for seed in 0..20 {
        let (first, second) = (passes(seed), passes(seed));
        assert_eq!(first, second, "seed {seed}");
        traces.push(first.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 20, "different seeds do different things");
}

#[test]
fn steps_can_be_given() {
    let short = run(1, Some(10), false).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(short.steps < passes(1).steps);
}
