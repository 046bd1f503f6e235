//! Runs clients nobody here wrote against fresh brokers and judges the outcome.
//!
//! `suites` drives the reference's Python suites test by test, `expected` is the checked-in list of
//! tests that cannot pass yet, `output` reads the runner's output, `jms` drives our Java program,
//! `crash` kills brokers under the Python client. `amqp1` installs AMQP 1.0 clients and runs our
//! programs on them; `install` is the list of these, `checks` reads what they say.
//! `tests/run` installs the other clients; what is missing here is an error that says so.

pub mod amqp1;
pub mod checks;
pub mod crash;
pub mod expected;
pub mod install;
pub mod jms;
pub mod matrix;
pub mod output;
pub mod suites;

use std::path::{Path, PathBuf};

/// Where `tests/run` installs foreign clients.
pub fn clients_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target).join("clients"),
        None => workspace().join("target/clients"),
    }
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}

/// Tests that passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Did what is expected of them.
    pub passed: usize,
    /// Did not.
    pub failed: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}
