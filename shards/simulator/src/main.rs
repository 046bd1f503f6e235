//! Runs seeds of the simulator: many at once, or one with its trace.

use clap::Parser;
use fletch_simulator::{Failure, Marks, Mode, run};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A seed that takes longer than this does not end.
const SEED_MAX: Duration = Duration::from_secs(60);

/// Failures reported in full.
const REPORTED: usize = 3;

/// Simulate a whole broker from a seed, and check it against a model
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Simulate journals on faulty disks, and crashes
    #[arg(long)]
    crash: bool,
    /// How many seeds to run
    #[arg(long, value_name = "COUNT", default_value_t = 2000)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    start: u64,
    /// Run one in so many: what only some seeds do goes by their remainders
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Run this seed alone and print what happens
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "start", "every"])]
    seed: Option<u64>,
    /// Steps of work per seed, instead of what the seed draws
    #[arg(long, value_name = "COUNT")]
    steps: Option<u64>,
    /// Say which situations were reached, and how often
    #[arg(long)]
    marks: bool,
    /// Threads; 0: one for each core
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    threads: usize,
}

impl Options {
    fn mode(&self) -> Mode {
        if self.crash { Mode::Crash } else { Mode::Live }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let failed = match options.seed {
        Some(seed) => one(options.mode(), seed, options.steps),
        None => many(&options),
    };
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(mode: Mode, seed: u64, steps: Option<u64>) -> usize {
    match run(mode, seed, steps, true) {
        Ok(summary) => {
            println!("{summary:?}\n1 passed, 0 failed");
            0
        }
        Err(failure) => {
            println!("{}", Failure { last: Vec::new(), ..*failure });
            1
        }
    }
}

/// What a thread is at.
struct Worker {
    seed: AtomicU64,
    /// Milliseconds since the start of the program; zero: at rest.
    since: AtomicU64,
}

fn many(options: &Options) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if options.threads == 0 { cores } else { options.threads };
    let started = Instant::now();
    let millis = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    let end = options.start.saturating_add(options.seeds.saturating_mul(options.every));
    let next = AtomicU64::new(options.start);
    let passed = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let marks = Mutex::new(Marks::default());
    let failures: Mutex<Vec<Failure>> = Mutex::new(Vec::new());
    let workers: Vec<Worker> = (0..threads)
        .map(|_| Worker { seed: AtomicU64::new(0), since: AtomicU64::new(0) })
        .collect();
    // Hidden by indicatif itself if standard error is no terminal.
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left");
    let bar = ProgressBar::new(options.seeds).with_style(style.expect("a valid template"));

    std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .iter()
            .map(|worker| {
                let (next, passed, failures, bar) = (&next, &passed, &failures, &bar);
                let marks = &marks;
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(options.every, Relaxed);
                        if seed >= end {
                            break;
                        }
                        worker.seed.store(seed, Relaxed);
                        worker.since.store(millis(), Relaxed);
                        match run(options.mode(), seed, options.steps, false) {
                            Ok(summary) => {
                                passed.fetch_add(1, Relaxed);
                                let mut marks = marks.lock().expect("no thread panics with it");
                                marks.add(&summary.marks);
                            }
                            Err(failure) => {
                                let mut all = failures.lock().expect("no thread panics with it");
                                if all.len() < REPORTED {
                                    bar.suspend(|| println!("{failure}\n"));
                                }
                                all.push(*failure);
                            }
                        }
                        worker.since.store(0, Relaxed);
                        bar.inc(1);
                    }
                })
            })
            .collect();
        // A run that does not end cannot be ended: it is told, and the program with it.
        scope.spawn(|| {
            while !over.load(Relaxed) {
                std::thread::park_timeout(Duration::from_secs(1));
                for worker in &workers {
                    let since = worker.since.load(Relaxed);
                    if since > 0 && Duration::from_millis(millis() - since) > SEED_MAX {
                        let seed = worker.seed.load(Relaxed);
                        println!("seed {seed} does not end");
                        let crash = if options.crash { "--crash " } else { "" };
                        println!(
                            "reproduce: cargo run -p fletch-simulator -- {crash}--seed {seed}"
                        );
                        std::process::exit(1);
                    }
                }
            }
        });
        for thread in running {
            let _ = thread.join();
        }
        over.store(true, Relaxed);
    });
    bar.finish_and_clear();

    let failures = failures.into_inner().expect("no thread panicked with it");
    if failures.len() > REPORTED {
        let seeds: Vec<u64> = failures.iter().skip(REPORTED).map(|f| f.seed).collect();
        println!("also failed: {seeds:?}");
    }
    let (passed, failed) = (passed.into_inner(), failures.len());
    if options.marks {
        print!("{}", marks.into_inner().expect("no thread panicked with it"));
    }
    println!("{passed} seeds passed, {failed} failed");
    println!("{passed} passed, {failed} failed");
    failed
}
