//! A quick run of the simulator, its own promises, and seeds that have found something.

use fletch_simulator::{Marks, Mode, Summary, run};

fn passes(seed: u64) -> Summary {
    run(Mode::Live, seed, None, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn some_hundred_seeds_pass_and_reach_every_situation() {
    let mut marks = Marks::default();
    let (mut messages, mut deliveries) = (0, 0);
    // One in fifty comes to the rarest of them.
    for seed in 0..600 {
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
    let short = run(Mode::Live, 1, Some(10), false).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(short.steps < passes(1).steps);
}
/// Each failed once. Seeds change their meaning when the simulator does; then these are just seeds.
#[test]
fn seeds_that_have_found_something_pass() {
    let found = [
        (48, "what was under way to a deleted queue was lost, not sent to its alternate exchange"),
        (142, "the stop of a subscription whose cancel was under way was answered too early"),
        (206, "a queue became exclusive while another session subscribed"),
        (214, "a queue was kept for a session that had closed"),
        (7933, "a cancel was answered before the last delivery"),
        (9533, "a queue was made and deleted within one step"),
        (1001343, "a subscription waited for messages of a queue that was deleted"),
        (1004281, "a queue in use began to wait for its end when it was declared again"),
    ];
    for (seed, _) in found {
        passes(seed);
    }
}
