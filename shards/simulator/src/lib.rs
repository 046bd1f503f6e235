//! Seeded simulator: drives the engines of a whole broker in one thread, against a simple model.
//!
//! A seed decides everything: how many shards, what clients do, which frame arrives when, how time
//! passes. Frames between two shards keep their order; those of different pairs overtake each
//! other at will. Checked are loss, duplicates, order, credit and room, that answers come once and
//! topology is visible everywhere when they do, that sessions leave nothing, that all comes to
//! rest. In crash mode ([`Mode::Crash`]) the engines have journals on faulty disks, and what a crash
//! must leave is checked. It does not simulate what is outside of the engine: sockets, the wire.

mod crash;
mod disk;
mod ending;
mod events;
mod flow;
mod lifetimes;
mod limits;
mod message;
mod mix;
mod model;
mod network;
mod rng;
mod run;
mod session;
mod trace;
mod workload;
mod world;

pub use run::Summary;
pub use trace::Marks;

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A broker without a disk, which lives until its seed ends.
    Live,
    /// A broker with journals, which crashes again and again.
    Crash,
}

/// A seed whose run went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was simulated.
    pub mode: Mode,
    /// The seed.
    pub seed: u64,
    /// The step it failed at.
    pub step: u64,
    /// What was wrong, and where in the source that is said.
    pub what: String,
    /// The last events before.
    pub last: Vec<String>,
    /// The length of the run, if it was not the seed's own.
    pub steps: Option<u64>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} failed at step {}: {}", self.seed, self.step, self.what)?;
        let crash = if self.mode == Mode::Crash { "--crash " } else { "" };
        write!(f, "reproduce: cargo run -p fletch-simulator -- {crash}--seed {}", self.seed)?;
        self.steps.map_or(Ok(()), |steps| write!(f, " --steps {steps}"))
    }
}

thread_local! {
    /// What a panic of this thread said; `None` if panics are none of the simulator's business.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics within a run are kept for its report instead of printed.
fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let caught = PANIC.with_borrow_mut(|panic| match panic {
                Some(text) => {
                    *text = info.to_string();
                    true
                }
                None => false,
            });
            if !caught {
                before(info);
            }
        }));
    });
}

/// Runs one seed. `steps` replaces the number of steps the seed draws; `verbose` prints the trace.
///
/// # Errors
/// What went wrong, be it a check of the simulator or a panic in the engine.
pub fn run(
    mode: Mode,
    seed: u64,
    steps: Option<u64>,
    verbose: bool,
) -> Result<Summary, Box<Failure>> {
    catch_panics();
    let mut trace = trace::Trace::new(verbose);
    PANIC.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(|| match mode {
        Mode::Live => run::run(seed, steps, &mut trace),
        Mode::Crash => crash::run(seed, steps, &mut trace),
    }));
    let text = PANIC.take().unwrap_or_default();
    result.map_err(|_| {
        let last = trace.last().map(ToString::to_string).collect();
        Box::new(Failure { mode, seed, step: trace.step, what: text, last, steps })
    })
}
