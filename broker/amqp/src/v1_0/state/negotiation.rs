//! From the protocol headers to an open connection, and the way out (parts 2.4 and 5.3).

use std::time::Duration;

use super::fault::Fault;
use super::receive::Ready;
use super::{Connection, Phase, Role, truncated};
use crate::v1_0::frame::{PROTOCOL_HEADER, SASL_HEADER, write_sasl};
use crate::v1_0::table::{
    Close, Error, Open, SaslChallenge, SaslInit, SaslMechanisms, SaslOutcome, SaslResponse,
};
use crate::v1_0::types::{MapRef, Symbol, Value, ValueRef, put_map, put_symbol};
use crate::v1_0::{Multiple, SaslCode, SaslFrame, amqp_error, connection_error};
use crate::wire::{EncodeError, Reader, length32};

// ---- commands ----

impl Connection {
    /// Server: the mechanism wants another round. The client's answer comes as `Response`.
    pub fn challenge(&mut self, challenge: &[u8]) {
        if self.leave(Phase::Authenticating, Phase::Response) {
            self.sasl(&SaslChallenge { challenge }.into());
        }
    }

    /// Server: the client is who it says. `Open` comes next. `additional` is the last word of mechanisms
    /// that have one.
    pub fn authenticated(&mut self, additional: Option<&[u8]>) {
        if self.leave(Phase::Authenticating, Phase::Header) {
            self.authenticated = true;
            self.sasl(&SaslOutcome { code: SaslCode::OK, additional_data: additional }.into());
        }
    }

    /// Server: the client is not who it says. Ends the connection.
    pub fn reject_authentication(&mut self) {
        if self.phase == Phase::Authenticating {
            self.sasl(&SaslOutcome { code: SaslCode::AUTH, additional_data: None }.into());
            self.closed(Some("authentication failed".into()));
        }
    }

    /// Client: answers `Challenge`.
    pub fn respond(&mut self, response: &[u8]) {
        if self.phase == Phase::Outcome {
            self.sasl(&SaslResponse { response }.into());
        }
    }

    /// Server: answers `Open`.
    pub fn open_ok(&mut self) {
        if self.leave(Phase::Opening, Phase::Opened) {
            self.write_open();
            self.clock.clear_deadline();
        }
    }

    /// Server: answers `Open` and ends the connection for this. The answer says that it will, in a property
    /// that clients look for before they take the connection for open.
    pub fn refuse_open(&mut self, now: Duration, error: &Error<'_>) {
        if self.leave(Phase::Opening, Phase::Opened) {
            self.write_open_saying(&[(ESTABLISHMENT_FAILED, Value::Boolean(true))]);
            self.clock.clear_deadline();
            self.close(now, Some(error));
        }
    }

    /// Ends the connection: answers `Close`, or says it first; then `Closed` comes when the peer has
    /// answered, at the latest when the time allowed for negotiation is over. The sessions are gone at
    /// once, without further events.
    pub fn close(&mut self, now: Duration, error: Option<&Error<'_>>) {
        match self.phase {
            Phase::Closing | Phase::Closed => return,
            Phase::Opening => self.open_ok(),
            _ => {}
        }
        let text = error.map(|e| e.description.unwrap_or(&e.condition).to_owned());
        match self.phase {
            Phase::Leaving => {
                self.write_close(error);
                self.closed(text);
            }
            Phase::Opened => {
                self.write_close(error);
                self.sessions = Vec::new();
                self.flush_list = Vec::new();
                self.news.clear();
                self.clock.stop();
                self.clock.set_deadline(now + self.limits().negotiation);
                self.phase = Phase::Closing;
            }
            _ => {
                let condition = connection_error::CONNECTION_FORCED;
                self.fail(condition, text.unwrap_or_else(|| "closed".into()));
            }
        }
    }
}

// ---- rules ----

impl Connection {
    /// Goes from one phase to the next; false if it is not in that phase, as when the connection
    /// ended meanwhile.
    fn leave(&mut self, from: Phase, to: Phase) -> bool {
        if self.phase != from {
            return false;
        }
        self.phase = to;
        true
    }

    fn sasl(&mut self, frame: &SaslFrame<'_>) {
        if let Err(error) = write_sasl(&mut self.out, frame) {
            self.closed(Some(format!("cannot send {}: {error}", frame.name())));
        }
    }

    /// Reads a protocol header off the front of the input, once it is there.
    pub(super) fn header(&mut self, input: &mut &[u8]) -> bool {
        let Some(header) = input.first_chunk::<8>() else {
            // What can be no header is not waited for.
            let seen = input.len().min(4);
            if input[..seen] != b"AMQP"[..seen] {
                self.wrong_header();
            }
            return false;
        };
        let (header, rest) = (*header, &input[8..]);
        match (header, &self.role, self.phase) {
            (SASL_HEADER, Role::Server(config), Phase::Header) if !self.authenticated => {
                *input = rest;
                let symbols: Vec<Symbol<'_>> =
                    config.mechanisms.iter().filter_map(|name| Symbol::new(name)).collect();
                let mechanisms =
                    SaslMechanisms { sasl_server_mechanisms: Multiple::from(&symbols[..]) };
                self.out.extend_from_slice(&SASL_HEADER);
                // A configuration of ours; nothing else can be wrong with it.
                let written = write_sasl(&mut self.out, &mechanisms.into());
                self.phase = Phase::Init;
                if let Err(error) = written {
                    self.closed(Some(format!("cannot send the mechanisms: {error}")));
                }
            }
            (PROTOCOL_HEADER, Role::Server(config), Phase::Header)
                if self.authenticated || config.sasl_optional =>
            {
                *input = rest;
                self.authenticated = true;
                self.out.extend_from_slice(&PROTOCOL_HEADER);
                self.phase = Phase::Open;
            }
            (SASL_HEADER, Role::Client(_), Phase::SaslHeader) => {
                *input = rest;
                self.phase = Phase::Mechanisms;
            }
            (PROTOCOL_HEADER, Role::Client(_), Phase::Header) => {
                *input = rest;
                self.phase = Phase::Open;
            }
            _ => {
                self.wrong_header();
                return false;
            }
        }
        true
    }

    /// A server says what it would take instead (part 2.2).
    fn wrong_header(&mut self) {
        if self.is_server() && !self.authenticated {
            self.out.extend_from_slice(&SASL_HEADER);
        } else if self.is_server() {
            self.out.extend_from_slice(&PROTOCOL_HEADER);
        }
        self.closed(Some("the peer's protocol header is none that can be answered".into()));
    }

    /// A frame of SASL.
    pub(super) fn on_sasl<'i>(&mut self, frame: SaslFrame<'i>) -> Result<Option<Ready<'i>>, Fault> {
        match (frame, self.phase) {
            (SaslFrame::SaslInit(init), Phase::Init) => {
                let mechanism = init.mechanism.as_str();
                if let Role::Server(config) = &self.role
                    && !config.mechanisms.iter().any(|offered| offered == mechanism)
                {
                    let code = SaslCode::AUTH;
                    self.sasl(&SaslOutcome { code, additional_data: None }.into());
                    self.closed(Some(format!("mechanism {mechanism:?} was not offered")));
                    return Ok(None);
                }
                self.phase = Phase::Authenticating;
                Ok(Some(Ready::Authenticate { mechanism, response: init.initial_response }))
            }
            (SaslFrame::SaslResponse(response), Phase::Response) => {
                self.phase = Phase::Authenticating;
                Ok(Some(Ready::Response(response.response)))
            }
            (SaslFrame::SaslMechanisms(offered), Phase::Mechanisms) => {
                let Role::Client(config) = &self.role else { return Ok(None) };
                let wanted = config
                    .mechanisms
                    .iter()
                    .find(|m| offered.sasl_server_mechanisms.contains(&m.name))
                    .and_then(|m| Some((Symbol::new(&m.name)?, m)));
                let Some((mechanism, chosen)) = wanted else {
                    let offered: Vec<_> =
                        offered.sasl_server_mechanisms.iter().map(|s| s.to_string()).collect();
                    let text = format!("no mechanism in common; offered: {}", offered.join(" "));
                    self.closed(Some(text));
                    return Ok(None);
                };
                let init = SaslInit {
                    mechanism,
                    initial_response: chosen.response.as_deref(),
                    hostname: config.hostname.as_deref(),
                };
                let written = write_sasl(&mut self.out, &init.into());
                self.phase = Phase::Outcome;
                if let Err(error) = written {
                    self.closed(Some(format!("cannot send sasl-init: {error}")));
                }
                Ok(None)
            }
            (SaslFrame::SaslChallenge(challenge), Phase::Outcome) => {
                Ok(Some(Ready::Challenge(challenge.challenge)))
            }
            (SaslFrame::SaslOutcome(outcome), Phase::Outcome) => {
                if outcome.code != SaslCode::OK {
                    self.closed(Some(format!("authentication failed: {}", outcome.code)));
                    return Ok(None);
                }
                self.authenticated = true;
                self.phase = Phase::Header;
                self.out.extend_from_slice(&PROTOCOL_HEADER);
                self.write_open();
                Ok(None)
            }
            (frame, _) => Err(Fault::unexpected(frame.name(), "now")),
        }
    }

    pub(super) fn on_open<'i>(&mut self, open: Open<'i>) -> Result<Option<Ready<'i>>, Fault> {
        if self.phase != Phase::Open {
            return Err(Fault::unexpected("open", "again"));
        }
        let max = open.max_frame_size;
        if max < crate::v1_0::frame::MIN_MAX_FRAME_SIZE {
            let text = format!("max-frame-size {max} is less than 512");
            return Err(Fault::connection(amqp_error::INVALID_FIELD, text));
        }
        self.max_frame = max;
        self.channel_max = open.channel_max.min(self.limits().sessions.saturating_sub(1));
        // A peer that wants a sign of life every T milliseconds gets two.
        let interval = Duration::from_millis(open.idle_time_out.unwrap_or(0).into()) / 2;
        let silence = self.identity().idle_time_out * 2;
        self.clock.start(interval, silence);
        if self.is_server() {
            self.phase = Phase::Opening;
        } else {
            self.phase = Phase::Opened;
            self.clock.clear_deadline();
        }
        Ok(Some(Ready::Open(open)))
    }

    pub(super) fn on_close<'i>(&mut self, close: Close<'i>) -> Option<Ready<'i>> {
        match self.phase {
            Phase::Closing => {
                self.closed(None);
                None
            }
            Phase::Open => {
                // Answered as it was said: before `open`.
                self.write_open();
                self.phase = Phase::Leaving;
                Some(Ready::Close(close.error))
            }
            _ => {
                self.phase = Phase::Leaving;
                Some(Ready::Close(close.error))
            }
        }
    }

    /// Writes our `open`. That of a client comes before the peer's limits are known, and what is too
    /// large for the smallest frame is refused by nobody.
    pub(super) fn write_open(&mut self) {
        self.write_open_saying(&[]);
    }

    /// Writes `open` with these properties besides those that there are.
    fn write_open_saying(&mut self, more: &[(&str, Value)]) {
        fn symbols(names: &[String]) -> Vec<Symbol<'_>> {
            names.iter().filter_map(|name| Symbol::new(name)).collect()
        }
        let identity = match &self.role {
            Role::Server(config) => &config.identity,
            Role::Client(config) => &config.identity,
        };
        let offered = symbols(&identity.offered_capabilities);
        let desired = symbols(&identity.desired_capabilities);
        let hostname = match &self.role {
            Role::Client(config) => config.hostname.as_deref(),
            Role::Server(_) => None,
        };
        let mut properties = Vec::new();
        // Without room for all of them in a map there are none.
        let said = match encoded_map(&identity.properties) {
            Some(map) if more.is_empty() => Some(map),
            Some(map) => {
                map.put_with(&mut properties, more).ok().and_then(|()| encoded_map(&properties))
            }
            None if more.is_empty() => None,
            None => {
                put_properties(more, &mut properties).ok().and_then(|()| encoded_map(&properties))
            }
        };
        let milliseconds = u32::try_from(identity.idle_time_out.as_millis()).unwrap_or(u32::MAX);
        let open = Open {
            container_id: &identity.container_id,
            hostname,
            max_frame_size: identity.max_frame_size,
            channel_max: self.limits().sessions.saturating_sub(1),
            idle_time_out: (milliseconds > 0).then_some(milliseconds),
            offered_capabilities: Multiple::from(&offered[..]),
            desired_capabilities: Multiple::from(&desired[..]),
            properties: said,
            ..Open::default()
        };
        let max = self.max_frame.max(identity.max_frame_size);
        let written = crate::v1_0::frame::write_frame(&mut self.out, 0, &open.into(), max);
        if let Err(error) = written {
            self.closed(Some(truncated(&format!("cannot send open: {error}")).to_owned()));
        }
    }
}

/// The property of an `open` behind which a `close` follows.
const ESTABLISHMENT_FAILED: &str = "amqp:connection-establishment-failed";

fn put_properties(entries: &[(&str, Value)], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_map(out, |out| {
        for (key, value) in entries {
            put_symbol(Symbol::new(key).ok_or(EncodeError::NotAscii)?, out)?;
            value.encode(out)?;
        }
        length32(entries.len() * 2)
    })
}

/// A map that was encoded beforehand; none if it is empty or no map.
fn encoded_map(octets: &[u8]) -> Option<MapRef<'_>> {
    let value = ValueRef::decode(&mut Reader::new(octets)).ok()?;
    value.as_map()
}
