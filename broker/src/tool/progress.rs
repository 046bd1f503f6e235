//! Progress of long runs, on a terminal only, and only after a second.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Runs shorter than this show nothing.
const QUIET: Duration = Duration::from_secs(1);

/// See the module. Draws on standard error.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
    shown: bool,
    count: u64,
    steps: u64,
}

impl Progress {
    /// For `total` messages, or 0 if nobody knows. `quiet` when the same terminal shows the messages themselves.
    pub(super) fn new(total: u64, what: &'static str, quiet: bool) -> Progress {
        let template = match total {
            0 => "{spinner} {msg} {human_pos}  {per_sec}  {elapsed}",
            _ => "{msg} [{bar:30}] {human_pos}/{human_len}  {per_sec}  eta {eta}",
        };
        Self::of(total, template, what, quiet)
    }

    /// For so many bytes.
    pub(super) fn bytes(total: u64, what: &'static str) -> Progress {
        let template = "{msg} [{bar:30}] {bytes}/{total_bytes}  {bytes_per_sec}  eta {eta}";
        Self::of(total, template, what, false)
    }

    fn of(total: u64, template: &str, what: &'static str, quiet: bool) -> Progress {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = match total {
                0 => ProgressBar::no_length(),
                total => ProgressBar::new(total),
            };
            bar.set_draw_target(ProgressDrawTarget::hidden());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_message(what)
        });
        Progress { bar, started: Instant::now(), shown: false, count: 0, steps: 0 }
    }

    /// One more.
    pub(super) fn step(&mut self) {
        self.advance(1);
    }

    /// So many more.
    pub(super) fn advance(&mut self, by: u64) {
        let Some(bar) = &self.bar else { return };
        self.count += by;
        self.steps += 1;
        // Slow runs look at the clock each time, fast ones seldom.
        if !self.shown && (self.steps < 64 || self.steps.is_multiple_of(64)) {
            if self.started.elapsed() < QUIET {
                return;
            }
            self.shown = true;
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        }
        if self.shown {
            bar.set_position(self.count);
        }
    }

    /// Takes it off the screen.
    pub(super) fn finish(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}
