//! A thread that publishes for one producer or several, each with a connection of its own.

use super::ends::Sending;
use super::flow::{Clients, Flow, Pace, STAMP};
use super::schedule::{Nanos, SECOND, Schedule};
use super::shared::Shared;
use super::track::Track;
use super::waiter::Waiter;
use anyhow::Result;
use rustix::thread::set_current_timer_slack;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::time::Duration;

/// Messages sent between two looks at what others have done.
pub(crate) const BATCH: u64 = 64;
/// How long it may take to send what is due after the time is over.
const PATIENCE: Nanos = 10 * SECOND;
/// How long it may take to hear of the last confirmations.
const LAST_WORDS: Nanos = 10 * SECOND;
/// How long it sleeps while it may not send.
const NAP: Duration = Duration::from_micros(200);

/// A producer, by its place among all of the flow.
pub(crate) struct Producer {
    pub(crate) sending: Sending,
    pub(crate) at: usize,
}

/// What a publisher's thread has to tell in the end.
pub(crate) struct Published {
    /// From when a message was due to when it was given to the socket.
    pub(crate) send: Track,
    /// From when a message was due to when the broker had confirmed it.
    pub(crate) confirm: Track,
    /// Messages that were due and not sent before patience was over.
    pub(crate) unsent: u64,
    /// Messages that were sent and not confirmed before it was over.
    pub(crate) unconfirmed: u64,
}

/// Publishes until the time is over.
pub(crate) fn run(producers: Vec<Producer>, flow: &Flow, shared: &Shared) -> Result<Published> {
    let waiter = Waiter::on(producers.iter().map(|producer| &producer.sending.socket))?;
    let mut publisher = Publisher {
        lines: producers.into_iter().map(Line::new).collect(),
        waiter,
        flow,
        shared,
        body: vec![0x5a; flow.size],
        send: Track::new(shared.window),
        confirm: Track::new(shared.window),
        unsent: 0,
    };
    shared.sleep_until(shared.start);
    match flow.pace {
        Pace::InFlight(most) => publisher.unpaced(most)?,
        Pace::Rate(rate) => publisher.paced(rate)?,
    }
    publisher.finish()
}

/// A producer at work.
struct Line {
    producer: Producer,
    sent: u64,
    confirmed: u64,
    /// When those were due that were sent in this turn.
    turn: Vec<Nanos>,
    /// When those were due that are sent and not confirmed.
    waiting: VecDeque<Nanos>,
}

impl Line {
    fn new(producer: Producer) -> Line {
        let (turn, waiting) = (Vec::with_capacity(BATCH as usize), VecDeque::new());
        Line { producer, sent: 0, confirmed: 0, turn, waiting }
    }

    fn send(&mut self, body: &mut [u8], due: Nanos) -> Result<()> {
        body[..STAMP].copy_from_slice(&due.to_le_bytes());
        self.producer.sending.end.send(body)?;
        self.sent += 1;
        Ok(())
    }

    fn poll(&self, wait: Duration) -> Result<()> {
        self.producer.sending.end.poll(wait)
    }
}

struct Publisher<'a> {
    lines: Vec<Line>,
    waiter: Waiter,
    flow: &'a Flow,
    shared: &'a Shared,
    body: Vec<u8>,
    send: Track,
    confirm: Track,
    unsent: u64,
}

impl Publisher<'_> {
    /// As fast as what is under way allows.
    fn unpaced(&mut self, most: u64) -> Result<()> {
        while self.shared.now() < self.shared.window.until && self.shared.publishing() {
            let mut idle = true;
            for line in &mut self.lines {
                let at = line.producer.at;
                if self.shared.under_way(at) + BATCH > most {
                    line.poll(Duration::ZERO)?;
                    continue;
                }
                idle = false;
                for _ in 0..BATCH {
                    let now = self.shared.now();
                    line.send(&mut self.body, now)?;
                }
                self.shared.add_sent(at, BATCH);
            }
            if idle && self.flow.clients == Clients::Sleeping {
                self.wait(NAP)?;
            }
        }
        Ok(())
    }

    /// By the clock.
    fn paced(&mut self, rate: f64) -> Result<()> {
        // The kernel rounds sleeps up by 50 µs otherwise, and that would be latency here.
        set_current_timer_slack(NonZeroU64::new(1))?;
        let schedule = Schedule::new(self.shared.start, rate, self.flow.topology.producers());
        let until = self.shared.window.until;
        loop {
            let mut next = Nanos::MAX;
            for at in 0..self.lines.len() {
                next = next.min(self.send_what_is_due(at, &schedule)?);
            }
            if next >= until || !self.shared.publishing() {
                return Ok(());
            }
            let now = self.shared.now();
            if now > until + PATIENCE {
                for line in &self.lines {
                    let due = schedule.count_before(line.producer.at, until);
                    self.unsent += due.saturating_sub(line.sent);
                }
                return Ok(());
            }
            if next > now && self.flow.clients == Clients::Sleeping {
                self.wait(Duration::from_nanos(next - now))?;
            }
        }
    }

    /// One turn of a producer: sends, gives it to the socket, and notes when. Says when the next is due.
    fn send_what_is_due(&mut self, at: usize, schedule: &Schedule) -> Result<Nanos> {
        let line = &mut self.lines[at];
        let producer = line.producer.at;
        let now = self.shared.now();
        let mut due = schedule.due(producer, line.sent);
        while due <= now.min(self.shared.window.until - 1) && line.turn.len() < BATCH as usize {
            line.send(&mut self.body, due)?;
            line.turn.push(due);
            due = schedule.due(producer, line.sent);
        }
        if !line.turn.is_empty() {
            self.shared.add_sent(producer, line.turn.len() as u64);
            if self.flow.confirm {
                line.producer.sending.end.ask()?;
                line.waiting.extend(&line.turn);
            }
            line.poll(Duration::ZERO)?;
            let now = self.shared.now();
            for due in line.turn.drain(..) {
                self.send.record(due, now);
            }
        } else if !line.waiting.is_empty() {
            line.poll(Duration::ZERO)?;
        }
        self.note_confirmed(at);
        Ok(due)
    }

    fn note_confirmed(&mut self, at: usize) {
        let line = &mut self.lines[at];
        if line.waiting.is_empty() {
            return;
        }
        let (confirmed, now) = (line.producer.sending.end.confirmed(), self.shared.now());
        for _ in line.confirmed..confirmed {
            if let Some(due) = line.waiting.pop_front() {
                self.confirm.record(due, now);
            }
        }
        line.confirmed = confirmed;
    }

    /// Sleeps until something can be read, at most so long.
    fn wait(&mut self, most: Duration) -> Result<()> {
        if let [line] = &self.lines[..] {
            return line.poll(most);
        }
        for at in self.waiter.wait(most)? {
            self.lines[at].poll(Duration::ZERO)?;
        }
        Ok(())
    }

    /// Hears of the last confirmations, and closes.
    fn finish(mut self) -> Result<Published> {
        let deadline = self.shared.now() + LAST_WORDS;
        let unconfirmed = loop {
            let waiting: usize = self.lines.iter().map(|line| line.waiting.len()).sum();
            if waiting == 0 || self.shared.now() > deadline {
                break waiting as u64;
            }
            self.wait(NAP)?;
            for at in 0..self.lines.len() {
                self.note_confirmed(at);
            }
        };
        let (send, confirm, unsent) = (self.send, self.confirm, self.unsent);
        if unconfirmed == 0 {
            self.lines.into_iter().try_for_each(|line| line.producer.sending.end.close())?;
        }
        Ok(Published { send, confirm, unsent, unconfirmed })
    }
}
