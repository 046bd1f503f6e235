//! Signals as a channel. TERM and INT ask for a graceful stop, the second one ends the process at
//! once; HUP opens the log anew. PIPE needs nothing: Rust's start-up code ignores it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// The exit status when a second signal ends the process.
const STATUS_CUT_SHORT: i32 = 1;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Stop, named by the signal.
    Stop(&'static str),
    /// Open the log file anew.
    Reopen,
}

/// Starts to listen for signals on a thread of their own.
pub fn listen() -> io::Result<Receiver<Asked>> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag down and raises it, the second finds it
        // raised and ends the process from within the handler, even when every thread is stuck.
        flag::register_conditional_shutdown(signal, STATUS_CUT_SHORT, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    // Unbounded is safe: at most two stops get here, and a HUP only costs a raised flag.
    let (sender, receiver) = unbounded();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            let asked = match signal {
                SIGTERM => Asked::Stop("SIGTERM"),
                SIGINT => Asked::Stop("SIGINT"),
                _ => Asked::Reopen,
            };
            if sender.send(asked).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}
