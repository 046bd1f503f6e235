//! The socket and the protocol's state machine, joined. Blocking is poll(2) on a socket that does not block.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use fletch_amqp::CommandId;
use fletch_amqp::v0_10::{self as amqp, Blame, CloseCode, Command, ErrorCode, Event, SendError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::input::Input;
use crate::state::{Ended, State};
use crate::{ConnectOptions, Error, Reply};

/// Octets of output that are worth a write of their own.
const WRITE_AT: usize = 64 << 10;
/// Octets of output above which a sender waits for the socket.
const WRITE_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Driver {
    socket: TcpStream,
    pub(crate) amqp: amqp::Connection,
    /// What the protocol's clock counts from.
    epoch: Instant,
    input: Input,
    /// Octets of `amqp.out()` that are written.
    written: usize,
    /// By channel.
    sessions: Vec<Option<State>>,
    tokens: u64,
    opened: bool,
    closed: Option<(CloseCode, String)>,
    /// The socket is at its end, or broken.
    lost: bool,
    redirected: Option<String>,
    challenged: bool,
    pub(crate) timeout: Duration,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) send_window: u32,
    scratch: Vec<u8>,
    /// Channels of sessions with messages to accept.
    accepting: Vec<u16>,
}

/// What the peer's command wants done once its event no longer borrows the connection.
enum Answer {
    Nothing,
    Complete(u16, CommandId),
    Refuse(u16, CommandId, [u8; 2]),
}

impl Driver {
    pub(crate) fn new(socket: TcpStream, options: &ConnectOptions) -> Result<Driver, Error> {
        socket.set_nodelay(options.no_delay)?;
        socket.set_nonblocking(true)?;
        let epoch = Instant::now();
        Ok(Driver {
            socket,
            amqp: amqp::Connection::client(options.amqp(), Duration::ZERO),
            epoch,
            input: Input::new(),
            written: 0,
            sessions: Vec::new(),
            tokens: 0,
            opened: false,
            closed: None,
            lost: false,
            redirected: None,
            challenged: false,
            timeout: options.timeout,
            send_timeout: options.send_timeout,
            send_window: options.send_window.max(1),
            scratch: Vec::new(),
            accepting: Vec::new(),
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(crate) fn is_opened(&self) -> bool {
        self.opened
    }

    /// Fails once the connection is over.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(host) = &self.redirected {
            return Err(Error::Redirected { host: host.clone() });
        }
        if self.challenged {
            return Err(Error::Challenged);
        }
        if let Some((code, text)) = &self.closed {
            return Err(Error::Closed { code: *code, text: text.clone() });
        }
        if self.lost { Err(Error::Lost) } else { Ok(()) }
    }

    // ---- sessions ----

    pub(crate) fn attach(&mut self, name: &[u8], force: bool) -> Result<(u16, u64), Error> {
        self.check()?;
        let channel = self.amqp.attach(name, force)?;
        self.tokens += 1;
        let at = usize::from(channel);
        if self.sessions.len() <= at {
            self.sessions.resize_with(at + 1, || None);
        }
        self.sessions[at] = Some(State::new(self.tokens));
        Ok((channel, self.tokens))
    }

    /// The books of a session. Fails when the session or the connection is over.
    pub(crate) fn live(&mut self, channel: u16, token: u64) -> Result<&mut State, Error> {
        if let Some(Some(state)) = self.sessions.get(usize::from(channel))
            && state.token == token
        {
            state.check()?;
        }
        self.check()?;
        self.state(channel, token).ok_or_else(|| SendError::NotAttached.into())
    }

    /// The books of a session, even if it is over.
    pub(crate) fn state(&mut self, channel: u16, token: u64) -> Option<&mut State> {
        let state = self.sessions.get_mut(usize::from(channel))?.as_mut()?;
        (state.token == token).then_some(state)
    }

    // ---- sending ----

    pub(crate) fn command(
        &mut self,
        (channel, token): (u16, u64),
        command: &Command<'_>,
        awaited: bool,
    ) -> Result<CommandId, Error> {
        // What was accepted before is said before: whoever waits for this command waits for that too.
        if !self.accepting.is_empty() {
            self.report()?;
        }
        self.live(channel, token)?;
        let id = self.amqp.send(channel, command, awaited)?;
        if let Some(state) = self.state(channel, token) {
            state.incomplete = state.incomplete.saturating_add(1);
            if awaited {
                // Before anything is written: the answer may be read while that waits for the socket.
                (state.awaited, state.result) = (Some(id), None);
            }
        }
        self.write_if_large()?;
        Ok(id)
    }

    /// Sends a message whose header segment `header` appends to an empty buffer.
    pub(crate) fn transfer(
        &mut self,
        (channel, token): (u16, u64),
        transfer: &amqp::table::message::Transfer<'_>,
        header: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
        body: &[u8],
    ) -> Result<CommandId, Error> {
        self.scratch.clear();
        header(&mut self.scratch)?;
        let window = self.send_window;
        if self.live(channel, token)?.incomplete >= window {
            self.wait_for_room(channel, token)?;
        }
        let state = self.live(channel, token)?;
        // The broker tells of completions when asked; several times per window, so that it never runs dry.
        state.unasked += 1;
        let sync = state.unasked >= window.div_ceil(4);
        if sync {
            state.unasked = 0;
        }
        state.incomplete = state.incomplete.saturating_add(1);
        let scratch = &self.scratch;
        let put = |out: &mut Vec<u8>| out.extend_from_slice(scratch);
        let id = self.amqp.transfer(channel, transfer, sync, put, body)?;
        self.write_if_large()?;
        Ok(id)
    }

    fn wait_for_room(&mut self, channel: u16, token: u64) -> Result<(), Error> {
        let deadline = self.send_timeout.map(|timeout| Instant::now() + timeout);
        let low = self.send_window / 2;
        self.amqp.request_completions(channel)?;
        if let Some(state) = self.state(channel, token) {
            state.unasked = 0;
        }
        self.wait_until(deadline, "the broker to take messages", |driver| {
            Ok(driver.live(channel, token)?.incomplete <= low)
        })
    }

    fn pending(&mut self) -> usize {
        self.amqp.out().len() - self.written
    }

    fn write_if_large(&mut self) -> Result<(), Error> {
        if self.pending() < WRITE_AT {
            return Ok(());
        }
        self.write_some()?;
        if self.pending() < WRITE_MAX {
            return Ok(());
        }
        // The broker does not read, perhaps because we do not: read while waiting.
        let deadline = self.send_timeout.map(|timeout| Instant::now() + timeout);
        self.wait_until(deadline, "the broker to read", |driver| Ok(driver.pending() < WRITE_MAX))
    }

    /// Writes what the socket takes.
    fn write_some(&mut self) -> Result<(), Error> {
        while self.pending() > 0 && !self.lost {
            match self.socket.write(&self.amqp.out()[self.written..]) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the broker said before it closed the socket may still be there to read.
                Err(_) => {
                    self.drain_socket()?;
                    self.lost = true;
                }
            }
        }
        let (out, written) = (self.amqp.out(), self.written);
        if written == out.len() {
            out.clear();
            self.written = 0;
        } else if written > WRITE_MAX {
            out.drain(..written);
            self.written = 0;
        }
        Ok(())
    }

    /// Ends a turn: says what was received, and writes all there is, waiting for the socket if it must.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.report()?;
        self.write_some()?;
        if self.pending() == 0 || self.lost {
            return self.check();
        }
        let deadline = Instant::now() + self.timeout;
        self.wait_until(Some(deadline), "the broker to read", |driver| Ok(driver.pending() == 0))
    }

    // ---- receiving ----

    /// One turn: writes, and reads what is there or comes within `wait`; `None` waits for ever.
    pub(crate) fn turn(&mut self, wait: Option<Duration>) -> Result<(), Error> {
        self.report()?;
        self.write_some()?;
        if !self.read_some()? && wait != Some(Duration::ZERO) && !self.lost {
            let now = self.epoch.elapsed();
            let due = self.amqp.next_timeout().map(|due| due.saturating_sub(now));
            let wait = match (wait, due) {
                (Some(wait), Some(due)) => Some(wait.min(due)),
                (wait, due) => wait.or(due),
            };
            self.sleep(wait)?;
            self.write_some()?;
            self.read_some()?;
        }
        self.process();
        // Only now: what was just read says that the peer is alive.
        if let Some(due) = self.amqp.next_timeout()
            && due <= self.epoch.elapsed()
        {
            self.amqp.timeout(self.epoch.elapsed());
            self.process();
            self.write_some()?;
        }
        if self.lost { self.check() } else { Ok(()) }
    }

    /// Puts into the output what the sessions have to say about what they received.
    fn report(&mut self) -> Result<(), Error> {
        while let Some(channel) = self.accepting.pop() {
            let Some(Some(state)) = self.sessions.get_mut(usize::from(channel)) else { continue };
            let accepting = std::mem::take(&mut state.accepting);
            for transfers in accepting.chunks() {
                let accept = amqp::table::message::Accept { transfers: Some(transfers) };
                match self.amqp.send(channel, &accept.into(), false) {
                    Ok(_) => state.incomplete = state.incomplete.saturating_add(1),
                    // The session ended meanwhile; whoever uses it next hears of it.
                    Err(SendError::NotAttached) => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.amqp.flush();
        Ok(())
    }

    /// Notes a message to accept at the end of this turn.
    pub(crate) fn accept(
        &mut self,
        (channel, token): (u16, u64),
        id: CommandId,
    ) -> Result<(), Error> {
        let state = self.live(channel, token)?;
        let first = state.accepting.is_empty();
        state.accepting.add(id);
        if first {
            self.accepting.push(channel);
        }
        Ok(())
    }

    /// Waits until the socket can be read, or written if there is anything to write.
    fn sleep(&mut self, wait: Option<Duration>) -> Result<(), Error> {
        let mut flags = PollFlags::IN;
        if self.pending() > 0 {
            flags |= PollFlags::OUT;
        }
        let timeout = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(&self.socket, flags)], timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Reads once; false if nothing was there.
    fn read_some(&mut self) -> Result<bool, Error> {
        loop {
            return match self.input.fill(&mut self.socket) {
                Ok(0) => {
                    self.lost = true;
                    Ok(false)
                }
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.lost = true;
                    Ok(false)
                }
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Reads to the end of a socket that can no longer be written.
    fn drain_socket(&mut self) -> Result<(), Error> {
        while self.read_some()? {
            self.process();
        }
        Ok(())
    }

    /// Turns until `done`.
    pub(crate) fn wait_until(
        &mut self,
        deadline: Option<Instant>,
        what: &'static str,
        mut done: impl FnMut(&mut Driver) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        loop {
            if done(self)? {
                return Ok(());
            }
            self.check()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(Error::Timeout(what));
            }
            self.turn(left)?;
        }
    }

    /// Understands what was read.
    fn process(&mut self) {
        let now = self.epoch.elapsed();
        let Driver { amqp, input, sessions, .. } = self;
        let mut rest = input.octets();
        let mut opened = false;
        while let Some(event) = amqp.next(now, &mut rest) {
            let answer = match event {
                Event::Opened { .. } => {
                    opened = true;
                    Answer::Nothing
                }
                Event::Challenge { .. } => {
                    self.challenged = true;
                    Answer::Nothing
                }
                Event::Redirected { host, .. } => {
                    self.redirected = Some(host.to_owned());
                    Answer::Nothing
                }
                Event::Closed { code, text, .. } => {
                    self.closed = Some((code, text.to_owned()));
                    Answer::Nothing
                }
                event => match channel_of(&event) {
                    Some(channel) => match sessions.get_mut(usize::from(channel)) {
                        Some(Some(state)) => session_event(state, event),
                        _ => Answer::Nothing,
                    },
                    None => Answer::Nothing,
                },
            };
            match answer {
                Answer::Nothing => {}
                Answer::Complete(channel, id) => amqp.complete(channel, id),
                Answer::Refuse(channel, id, [class, code]) => {
                    let blame = Blame { command_id: Some(id), class, code, field: 0 };
                    let text = "a client has no such command";
                    amqp.exception(channel, ErrorCode::NOT_IMPLEMENTED, blame, text);
                }
            }
        }
        let rest = rest.len();
        self.input.keep(rest);
        self.opened |= opened;
    }

    // ---- the end ----

    /// Closes in order; whether the broker answers within the timeout does not matter.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.check()?;
        self.report()?;
        self.amqp.close(self.epoch.elapsed(), CloseCode::NORMAL, "");
        let deadline = Instant::now() + self.timeout;
        let over = |driver: &mut Driver| Ok(driver.closed.is_some() || driver.lost);
        self.wait_until(Some(deadline), "the broker to close the connection", over)
    }
}

fn channel_of(event: &Event<'_>) -> Option<u16> {
    match event {
        Event::Attached { channel }
        | Event::Detached { channel, .. }
        | Event::Command { channel, .. }
        | Event::Transfer { channel, .. }
        | Event::Completed { channel, .. }
        | Event::Result { channel, .. }
        | Event::Exception { channel, .. }
        | Event::Timeout { channel, .. } => Some(*channel),
        _ => None,
    }
}

fn session_event(state: &mut State, event: Event<'_>) -> Answer {
    match event {
        Event::Transfer { id, transfer, header, body, .. } => {
            let modes = (
                transfer.accept_mode.unwrap_or_default(),
                transfer.acquire_mode.unwrap_or_default(),
            );
            let destination = transfer.destination.unwrap_or_default();
            state.deliver(id, destination, modes, header.unwrap_or_default(), body);
        }
        Event::Completed { commands, .. } => state.completed(commands),
        Event::Result { command_id, value, .. } if state.awaited == Some(command_id) => {
            state.result = value.map(|value| Reply::new(value.code, value.body));
        }
        Event::Attached { .. } => state.attached = true,
        Event::Detached { ending, .. } => state.end(ending),
        Event::Exception { exception, .. } => {
            let code = exception.error_code.unwrap_or_default();
            let text = exception.description.unwrap_or_default().to_owned();
            state.ended.get_or_insert(Ended::Exception { code, text });
        }
        Event::Command { channel, id, command, .. } => {
            return command_in(state, channel, id, &command);
        }
        _ => {}
    }
    Answer::Nothing
}

/// What a broker may command a client: to take note of what became of its messages.
fn command_in(state: &mut State, channel: u16, id: CommandId, command: &Command<'_>) -> Answer {
    match command {
        Command::MessageAccept(body) => {
            body.transfers.iter().for_each(|set| state.accepted.union(set));
        }
        Command::MessageReject(body) => {
            body.transfers.iter().for_each(|set| state.rejected.union(set));
        }
        Command::MessageRelease(body) => {
            body.transfers.iter().for_each(|set| state.rejected.union(set));
        }
        Command::MessageCancel(_) | Command::MessageStop(_) | Command::MessageFlow(_) => {}
        command => return Answer::Refuse(channel, id, [command.class(), command.code()]),
    }
    Answer::Complete(channel, id)
}
