//! What a 0-10 connection is beside its socket: the state machine, and the books of its sessions.

use std::time::Duration;

use fletch_amqp::CommandId;
use fletch_amqp::v0_10::{self as amqp, Blame, CloseCode, Command, ErrorCode, Event, SendError};

use crate::driver::{Driver, Protocol};
use crate::state::{Ended, State};
use crate::{ConnectOptions, Error, Reply};

/// See the module.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) amqp: amqp::Connection,
    /// By channel.
    sessions: Vec<Option<State>>,
    tokens: u64,
    opened: bool,
    pub(crate) closed: Option<(CloseCode, String)>,
    redirected: Option<String>,
    challenged: bool,
    send_window: u32,
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

impl Sessions {
    pub(crate) fn new(options: &ConnectOptions) -> Sessions {
        Sessions {
            amqp: amqp::Connection::client(options.amqp(), Duration::ZERO),
            sessions: Vec::new(),
            tokens: 0,
            opened: false,
            closed: None,
            redirected: None,
            challenged: false,
            send_window: options.send_window.max(1),
            scratch: Vec::new(),
            accepting: Vec::new(),
        }
    }

    /// The books of a session, even if it is over.
    pub(crate) fn state(&mut self, channel: u16, token: u64) -> Option<&mut State> {
        let state = self.sessions.get_mut(usize::from(channel))?.as_mut()?;
        (state.token == token).then_some(state)
    }
}

impl Protocol for Sessions {
    fn out(&mut self) -> &mut Vec<u8> {
        self.amqp.out()
    }

    fn process(&mut self, now: Duration, octets: &[u8]) -> usize {
        let Sessions { amqp, sessions, .. } = self;
        let mut rest = octets;
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
        self.opened |= opened;
        rest.len()
    }

    /// What the sessions have to say about what they received.
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

    fn next_timeout(&self) -> Option<Duration> {
        self.amqp.next_timeout()
    }

    fn timeout(&mut self, now: Duration) {
        self.amqp.timeout(now);
    }

    fn is_open(&self) -> bool {
        self.opened
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(host) = &self.redirected {
            return Err(Error::Redirected { host: host.clone() });
        }
        if self.challenged {
            return Err(Error::Challenged);
        }
        if let Some((code, text)) = &self.closed {
            return Err(Error::Closed { code: *code, text: text.clone() });
        }
        Ok(())
    }
}

impl Driver<Sessions> {
    pub(crate) fn attach(&mut self, name: &[u8], force: bool) -> Result<(u16, u64), Error> {
        self.check()?;
        let Sessions { amqp, sessions, tokens, .. } = &mut self.protocol;
        let channel = amqp.attach(name, force)?;
        *tokens += 1;
        let at = usize::from(channel);
        if sessions.len() <= at {
            sessions.resize_with(at + 1, || None);
        }
        sessions[at] = Some(State::new(*tokens));
        Ok((channel, *tokens))
    }

    /// The books of a session. Fails when the session or the connection is over.
    pub(crate) fn live(&mut self, channel: u16, token: u64) -> Result<&mut State, Error> {
        if let Some(state) = self.protocol.state(channel, token) {
            state.check()?;
        }
        self.check()?;
        self.protocol.state(channel, token).ok_or_else(|| SendError::NotAttached.into())
    }

    pub(crate) fn command(
        &mut self,
        (channel, token): (u16, u64),
        command: &Command<'_>,
        awaited: bool,
    ) -> Result<CommandId, Error> {
        // What was accepted before is said before: whoever waits for this command waits for that too.
        if !self.protocol.accepting.is_empty() {
            self.protocol.report()?;
        }
        self.live(channel, token)?;
        let id = self.protocol.amqp.send(channel, command, awaited)?;
        if let Some(state) = self.protocol.state(channel, token) {
            state.incomplete = state.incomplete.saturating_add(1);
            if awaited {
                // Before anything is written: the answer may be read while that waits for the socket.
                (state.awaited, state.result) = (Some(id), None);
            }
        }
        self.write_if_large()?;
        Ok(id)
    }

    /// Sends `execution.sync`, whose completion the broker tells at once, and does not wait for it.
    pub(crate) fn ask_sync(&mut self, (channel, token): (u16, u64)) -> Result<CommandId, Error> {
        let state = self.live(channel, token)?;
        state.incomplete = state.incomplete.saturating_add(1);
        // With this, all that was sent before is asked for.
        state.unasked = 0;
        let id = self.protocol.amqp.execution_sync(channel)?;
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
        self.protocol.scratch.clear();
        header(&mut self.protocol.scratch)?;
        let window = self.protocol.send_window;
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
        let Sessions { amqp, scratch, .. } = &mut self.protocol;
        let put = |out: &mut Vec<u8>| out.extend_from_slice(scratch);
        let id = amqp.transfer(channel, transfer, sync, put, body)?;
        self.write_if_large()?;
        Ok(id)
    }

    fn wait_for_room(&mut self, channel: u16, token: u64) -> Result<(), Error> {
        let low = self.protocol.send_window / 2;
        self.protocol.amqp.request_completions(channel)?;
        if let Some(state) = self.protocol.state(channel, token) {
            state.unasked = 0;
        }
        self.wait_sending("the broker to take messages", |driver| {
            Ok(driver.live(channel, token)?.incomplete <= low)
        })
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
            self.protocol.accepting.push(channel);
        }
        Ok(())
    }

    /// Closes in order; whether the broker answers within the timeout does not matter.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.check()?;
        self.protocol.report()?;
        let now = self.now();
        self.protocol.amqp.close(now, CloseCode::NORMAL, "");
        self.wait_answer("the broker to close the connection", |driver| {
            Ok(driver.protocol.closed.is_some() || driver.is_lost())
        })?;
        self.hang_up();
        Ok(())
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
