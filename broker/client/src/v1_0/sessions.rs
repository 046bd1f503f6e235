//! What a 1.0 connection is beside its socket: the state machine, and the books of its sessions.

use std::time::Duration;

use fletch_amqp::v1_0::state::{Connection as Amqp, Event};
use fletch_amqp::v1_0::table::{Attach, Error as WireError, Source, Target};
use fletch_amqp::v1_0::{Composite, Role, SequenceNo, amqp_error};

use super::books::{Books, Link};
use super::delivery::Delivery;
use super::failure::{Condition, Failure, Outcome};
use super::terminus::Offered;
use super::unsettled::Unsettled;
use crate::driver::{Driver, Protocol};
use crate::{ConnectOptions, Error};

/// See the module.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(super) amqp: Amqp,
    /// By channel.
    sessions: Vec<Option<Books>>,
    pub(super) tokens: u64,
    pub(super) closed: Option<Condition>,
    challenged: bool,
    /// Channels of sessions with something to say about what they received.
    telling: Vec<u16>,
}

/// What an event wants done once it no longer borrows the connection.
enum Answer {
    Nothing,
    Close,
    End(u16),
    /// The peer began this session, or attached this link: a client has no use for those.
    RefuseSession(u16),
    RefuseLink(u16, u32),
    Detach(u16, u32, bool),
    Drained(u16, u32),
    /// The peer told an outcome and waits for us to settle.
    Settle(u16, SequenceNo, SequenceNo),
}

impl Sessions {
    pub(super) fn new(options: &ConnectOptions) -> Sessions {
        Sessions {
            amqp: Amqp::client(super::open::config(options), Duration::ZERO),
            sessions: Vec::new(),
            tokens: 0,
            closed: None,
            challenged: false,
            telling: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, channel: u16) -> u64 {
        self.tokens += 1;
        let at = usize::from(channel);
        if self.sessions.len() <= at {
            self.sessions.resize_with(at + 1, || None);
        }
        self.sessions[at] = Some(Books::new(self.tokens));
        self.tokens
    }

    /// The books of a session, even if it is over.
    pub(super) fn books(&mut self, channel: u16, token: u64) -> Option<&mut Books> {
        books_of(&mut self.sessions, channel).filter(|books| books.token == token)
    }

    /// Whoever changes what a session has to say calls this.
    pub(super) fn tell(&mut self, channel: u16) {
        if self.telling.last() != Some(&channel) {
            self.telling.push(channel);
        }
    }

    fn event(&mut self, now: Duration, input: &mut &[u8]) -> Option<Answer> {
        let event = self.amqp.next(now, input)?;
        let sessions = &mut self.sessions;
        match event {
            Event::Delivery { channel, handle, id, transfer, settled, payload } => {
                if let Some(link) = link_of(sessions, channel, handle) {
                    let tag = transfer.delivery_tag.unwrap_or_default();
                    let delivery = Delivery::new(id, tag, settled, payload.into_owned());
                    link.deliveries.push_back(delivery);
                }
            }
            Event::Disposition {
                channel,
                role: Role::RECEIVER,
                first,
                last,
                settled,
                state,
                ..
            } => {
                if let Some(outcome) = Outcome::of(state.as_ref(), settled)
                    && let Some(books) = books_of(sessions, channel)
                {
                    books.settled((first, last), &outcome);
                    if !settled {
                        return Some(Answer::Settle(channel, first, last));
                    }
                }
            }
            // What we received, we settle ourselves.
            Event::Disposition { .. } => {}
            Event::Credit { channel, handle, drain: true, .. } => {
                return Some(Answer::Drained(channel, handle));
            }
            Event::Credit { .. } | Event::Open { .. } => {}
            Event::Drained { channel, handle } => {
                if let Some(link) = link_of(sessions, channel, handle) {
                    link.drained = true;
                }
            }
            Event::Begun { channel, .. } => {
                if let Some(books) = books_of(sessions, channel) {
                    books.begun = true;
                }
            }
            Event::Attached { channel, handle, attach } => {
                if let Some(link) = link_of(sessions, channel, handle) {
                    attached(link, &attach);
                }
            }
            Event::Detach { channel, handle, closed, error, answer } => {
                if let Some(books) = books_of(sessions, channel) {
                    books.end_link(handle, Condition::of(error.as_ref()));
                }
                if !answer {
                    return Some(Answer::Detach(channel, handle, closed));
                }
            }
            Event::LinkFailed { channel, handle, text } => {
                if let Some(books) = books_of(sessions, channel) {
                    books.end_link(handle, Condition::of_text(text));
                }
            }
            Event::End { channel, error, answer } => {
                if let Some(books) = books_of(sessions, channel) {
                    books.ended.get_or_insert(Condition::of(error.as_ref()));
                }
                if !answer {
                    return Some(Answer::End(channel));
                }
            }
            Event::SessionFailed { channel, text } => {
                if let Some(books) = books_of(sessions, channel) {
                    books.ended.get_or_insert(Condition::of_text(text));
                }
            }
            Event::Close { error } => {
                self.closed.get_or_insert(Condition::of(error.as_ref()));
                return Some(Answer::Close);
            }
            Event::Closed { text } => {
                self.closed.get_or_insert(Condition::of_text(text.unwrap_or_default()));
            }
            Event::Challenge { .. } => self.challenged = true,
            Event::Begin { channel, .. } => return Some(Answer::RefuseSession(channel)),
            Event::Attach { channel, handle, .. } => {
                return Some(Answer::RefuseLink(channel, handle));
            }
            // A client is asked for none of these.
            Event::Authenticate { .. } | Event::Response { .. } => {}
        }
        Some(Answer::Nothing)
    }

    fn answer(&mut self, now: Duration, answer: &Answer) {
        let refusal = WireError {
            condition: amqp_error::NOT_ALLOWED,
            description: Some("a client takes none"),
            info: None,
        };
        let amqp = &mut self.amqp;
        match *answer {
            Answer::Nothing => {}
            Answer::Close => amqp.close(now, None),
            Answer::End(channel) => amqp.end(channel, None),
            Answer::RefuseSession(channel) => amqp.end(channel, Some(&refusal)),
            Answer::RefuseLink(channel, handle) => {
                amqp.refuse_attach(channel, handle, &Attach::default(), &refusal);
            }
            Answer::Detach(channel, handle, closed) => amqp.detach(channel, handle, closed, None),
            Answer::Drained(channel, handle) => amqp.drained(channel, handle),
            Answer::Settle(channel, first, last) => {
                amqp.dispose(channel, Role::SENDER, (first, last), true, None);
            }
        }
    }
}

fn books_of(sessions: &mut [Option<Books>], channel: u16) -> Option<&mut Books> {
    sessions.get_mut(usize::from(channel))?.as_mut()
}

fn link_of(sessions: &mut [Option<Books>], channel: u16, handle: u32) -> Option<&mut Link> {
    books_of(sessions, channel)?.link(handle)
}

/// The peer's answer to our attach.
fn attached(link: &mut Link, attach: &Attach<'_>) {
    // Its role is the peer's.
    let offered = match attach.role {
        Role::SENDER => attach.source.map(|source| {
            Source::from_view(source).map(|source| Offered::of_source(&source)).unwrap_or_default()
        }),
        // A coordinator has no name.
        _ => attach.target.map(|target| {
            Target::from_view(target).map(|target| Offered::of_target(&target)).unwrap_or_default()
        }),
    };
    link.answered = true;
    link.refused = offered.is_none();
    link.offered = offered.unwrap_or_default();
    link.offered.unsettled = Unsettled::read(attach.unsettled, attach.incomplete_unsettled);
}

impl Protocol for Sessions {
    fn out(&mut self) -> &mut Vec<u8> {
        self.amqp.out()
    }

    fn process(&mut self, now: Duration, octets: &[u8]) -> usize {
        let mut rest = octets;
        while let Some(answer) = self.event(now, &mut rest) {
            self.answer(now, &answer);
        }
        rest.len()
    }

    fn report(&mut self) -> Result<(), Error> {
        while let Some(channel) = self.telling.pop() {
            let Some(Some(books)) = self.sessions.get_mut(usize::from(channel)) else { continue };
            let amqp = &mut self.amqp;
            for (verdict, ids) in books.verdicts.drain(..) {
                for range in ids.ranges() {
                    let range = (range.low, range.high);
                    verdict.state(|state| {
                        amqp.dispose(channel, Role::RECEIVER, range, true, Some(state));
                    });
                }
            }
        }
        self.amqp.flush();
        Ok(())
    }

    fn next_timeout(&self) -> Option<Duration> {
        self.amqp.next_timeout()
    }

    fn timeout(&mut self, now: Duration) {
        self.amqp.timeout(now);
    }

    fn is_open(&self) -> bool {
        self.amqp.is_open()
    }

    fn check(&self) -> Result<(), Error> {
        if self.challenged {
            return Err(Error::Challenged);
        }
        match &self.closed {
            Some(condition) => Err(Failure::Connection(condition.clone()).into()),
            None => Ok(()),
        }
    }
}

impl Driver<Sessions> {
    /// The books of a session. Fails when the session or the connection is over.
    pub(super) fn live(&mut self, channel: u16, token: u64) -> Result<&mut Books, Error> {
        self.check()?;
        match self.protocol.books(channel, token) {
            Some(Books { ended: Some(condition), .. }) => {
                Err(Failure::Session(condition.clone()).into())
            }
            Some(_) => self.protocol.books(channel, token).ok_or(Error::Lost),
            None => Err(Failure::Session(Condition::of_text("it is over")).into()),
        }
    }
}
