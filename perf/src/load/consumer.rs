//! A thread that receives for one consumer or several, each with a connection of its own.

use super::ends::Receiving;
use super::flow::{Clients, Flow, Pace, STAMP};
use super::shared::Shared;
use super::track::Track;
use super::waiter::Waiter;
use anyhow::{Context, Result};
use std::time::Duration;

/// How long a consumer sleeps at most before it looks whether all is over.
const LOOK: Duration = Duration::from_millis(20);

/// A consumer, by its place among all of the flow.
pub(crate) struct Consumer {
    pub(crate) receiving: Receiving,
    pub(crate) at: usize,
}

/// Receives until told to stop. Says how long messages took from when they were due, if they were sent by the clock:
/// else that would be what is under way.
pub(crate) fn run(mut consumers: Vec<Consumer>, flow: &Flow, shared: &Shared) -> Result<Track> {
    let mut latency = Track::new(shared.window);
    let paced = matches!(flow.pace, Pace::Rate(_));
    let wait = if flow.clients == Clients::Busy { Duration::ZERO } else { LOOK };
    let mut take = |consumer: &mut Consumer| -> Result<usize> {
        let taken = consumer.receiving.end.take(&mut |body| {
            let due = body.first_chunk::<STAMP>().context("a body without stamp")?;
            if paced {
                latency.record(u64::from_le_bytes(*due), shared.now());
            }
            Ok(())
        })?;
        if taken > 0 {
            shared.add_received(consumer.at, taken as u64);
        }
        Ok(taken)
    };
    if let [consumer] = &mut consumers[..] {
        while shared.consuming() {
            if take(consumer)? == 0 {
                consumer.receiving.end.poll(wait)?;
            }
        }
    } else {
        let mut waiter = Waiter::on(consumers.iter().map(|consumer| &consumer.receiving.socket))?;
        // What came while they subscribed has been read already.
        for consumer in &mut consumers {
            take(consumer)?;
        }
        while shared.consuming() {
            for at in waiter.wait(wait)? {
                let consumer = &mut consumers[at];
                // The last turn, which brings nothing, tells the broker what was accepted.
                loop {
                    consumer.receiving.end.poll(Duration::ZERO)?;
                    if take(consumer)? == 0 {
                        break;
                    }
                }
            }
        }
    }
    for consumer in consumers {
        consumer.receiving.end.close()?;
    }
    Ok(latency)
}
