//! A quick run of the crash mode, its own promises, and seeds that have found something.

use fletch_simulator::{Marks, Mode, Summary, run};

fn passes(seed: u64) -> Summary {
    run(Mode::Crash, seed, None, false).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn some_hundred_seeds_pass_and_reach_every_situation() {
    let mut marks = Marks::default();
    let mut messages = 0;
    for seed in 0..600 {
        let summary = passes(seed);
        marks.add(&summary.marks);
        messages += summary.messages;
    }
    assert!(messages > 10_000, "{messages} messages");
    // Damage is found by recovery first, as a rule; what is paged out leaves in the order it came.
    let rare = ["damage noticed while running", "page written again by the cleaner"];
    for (what, n) in marks.iter().filter(|(what, _)| !rare.contains(what)) {
        assert!(n > 0, "no seed has come to this: {what}");
    }
}

#[test]
fn a_seed_always_does_the_same() {
    let mut traces = Vec::new();
    for seed in 0..30 {
        let (first, second) = (passes(seed), passes(seed));
        assert_eq!(first, second, "seed {seed}");
        traces.push(first.trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 30, "different seeds do different things");
}

/// What they found once, as long as seeds draw the same.
#[test]
fn seeds_that_found_something_pass() {
    // A browser's delivery, held back behind consumers', made the journal seem to know of one more.
    for seed in [206_937, 213_516, 230_239] {
        passes(seed);
    }
    // A full paging file kept messages for ever whose records the cleaner was moving.
    for seed in [51_177, 63_897, 66_552, 561_757] {
        passes(seed);
    }
    // What was taken back from a full paging file counted as written if its queue was deleted meanwhile.
    for seed in [53_682, 55_612, 56_362, 578_347] {
        passes(seed);
    }
    // A paging file on a full disk took the same messages again and again, as soon as it had given them back.
    passes(9_862);
    // A queue's bindings were undone one by one before it, and a crash came in between.
    passes(1_070_907);
    // The cleaner spent what a full disk had left on a part of a segment, and accepts waited for room.
    passes(1_116_874);
    // Nothing was wrong: a binding came and went, or went and came, in one input; a log learnt that its disk is
    // full when its only segment was; a purge found messages gone whose deliveries were held back.
    for seed in [786_885, 1_075_447, 1_642_300, 737_294, 1_229_150, 1_365_514, 1_397_650] {
        passes(seed);
    }
    // Nor here: a crash brought a queue back whose delete had made it forget what it had had.
    passes(28_948);
    // Nor here: a purge came before what had been confirmed, as its queue did not know of the decision yet.
    passes(198_978);
    passes(246_893);
    // Nor here: a purge found messages gone that a reroute before it had taken, which a crash brought back; a
    // transaction accepted a message whose publish another shard had refused, which no crash brings back.
    for seed in [17_024, 1_001] {
        passes(seed);
    }
    // In a last value queue, a message that was taken back, or that a crash undid, had taken the place of one that
    // was safe: because its publish was not decided, was not written yet, came before the queue was sorted, or
    // was to come later in a transaction's place.
    for seed in [124, 234, 1_543, 1_939, 31_331] {
        passes(seed);
    }
    // A subscriber with its own cursor missed bodies far ahead of it, which nobody read back.
    for seed in [696, 4_370] {
        passes(seed);
    }
    // A queue was never sorted whose last messages on the disk were purged before they were read back.
    passes(1_180);
    // One that selects passed what was not in order yet, and got what a transaction put there.
    for seed in [3_061_699, 3_082_567] {
        passes(seed);
    }
    // What was left of a torn batch was completed by the next one at its place, but for its header.
    passes(50_503_783);
    // What moved to a durable queue from one that is not took what a full disk had left for accepts.
    passes(50_870_143);
    // With segments of two batches cleaning made no room, and never ended.
    passes(51_268_117);
    // Branches: rolled back at homes when a crash brought them back; answered before they were undefined; records
    // of queues that were gone counted once too often.
    for seed in [53, 14_255, 11_219, 22_481] {
        passes(seed);
    }
    // Nothing was wrong: older values went to the alternate exchange before the queue was sorted after a crash; of
    // deliveries in one input, which came first cannot be told.
    for seed in [278, 183_219] {
        passes(seed);
    }
}
