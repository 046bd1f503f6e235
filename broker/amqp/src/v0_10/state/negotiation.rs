//! From the protocol headers to an open connection, and the way out: the controls of the connection
//! class.

use std::sync::Arc;
use std::time::Duration;

use super::fault::Failure;
use super::receive::Emit;
use super::{ClientConfig, Connection, Over, Phase, Role, ServerConfig};
use crate::types::Array;
use crate::v0_10::frame::{MIN_MAX_FRAME_SIZE, PROTOCOL_HEADER};
use crate::v0_10::table::connection;
use crate::v0_10::{CloseCode, Control};
use crate::wire::EncodeError;

// ---- commands ----

impl Connection {
    /// Server: the mechanism wants another round. The client's answer comes as `Response`.
    pub fn challenge(&mut self, challenge: &[u8]) {
        if self.leave(Phase::Authenticating, Phase::SecureOk) {
            self.control(0, &connection::Secure { challenge: Some(challenge) }.into());
        }
    }

    /// Server: the client is who it says. Goes on to tuning; `Open` comes next.
    pub fn authenticated(&mut self) {
        let Role::Server(config) = &self.role else { return };
        let tune = connection::Tune {
            channel_max: Some(config.channel_max),
            max_frame_size: Some(config.max_frame_size),
            heartbeat_min: Some(*config.heartbeat.start()),
            heartbeat_max: Some(*config.heartbeat.end()),
        };
        if self.leave(Phase::Authenticating, Phase::TuneOk) {
            self.control(0, &tune.into());
        }
    }

    /// Server: the client is not who it says. Ends the connection; say no more in `text` than a
    /// stranger may know.
    pub fn reject_authentication(&mut self, text: &str) {
        if self.phase == Phase::Authenticating {
            self.fail(CloseCode::CONNECTION_FORCED, text);
        }
    }

    /// Server: the virtual host is open. `known_hosts` are URLs of other brokers of the service.
    pub fn open_ok<S: Into<String>>(&mut self, known_hosts: impl IntoIterator<Item = S>) {
        if !self.leave(Phase::Opening, Phase::Opened) {
            return;
        }
        self.clock.clear_deadline();
        match Array::of_str16(known_hosts).encoded() {
            Ok(hosts) => {
                let known_hosts = Some(hosts.view());
                self.control(0, &connection::OpenOk { known_hosts }.into());
            }
            Err(error) => self.cannot_encode(error),
        }
    }

    /// Server: the client is to go to `host`. It closes the connection.
    pub fn redirect<S: Into<String>>(
        &mut self,
        host: &str,
        known_hosts: impl IntoIterator<Item = S>,
    ) {
        if self.phase != Phase::Opening {
            return;
        }
        match Array::of_str16(known_hosts).encoded() {
            Ok(hosts) => {
                let (host, known_hosts) = (Some(host), Some(hosts.view()));
                self.control(0, &connection::Redirect { host, known_hosts }.into());
                // Nothing but the client's `close` can follow, or the deadline.
                let (code, text) = (CloseCode::NORMAL, "redirected".to_owned());
                self.over = Some(Box::new(Over { code, text, by_peer: false, reported: false }));
                self.leave(Phase::Opening, Phase::Closing);
            }
            Err(error) => self.cannot_encode(error),
        }
    }

    /// Client: answers `Challenge`.
    pub fn respond(&mut self, response: &[u8]) {
        if self.phase == Phase::Negotiating {
            self.control(0, &connection::SecureOk { response: Some(response) }.into());
        }
    }

    /// Ends the connection in order: sends what is complete and `close`, and then `Closed` comes,
    /// at the latest when the time allowed for negotiation is over. The sessions are gone at once,
    /// without `Detached`.
    pub fn close(&mut self, now: Duration, code: CloseCode, text: &str) {
        match self.phase {
            Phase::Closing | Phase::Closed => return,
            Phase::Header => return self.fail(code, text),
            _ => {}
        }
        self.write_close(code, text);
        let text = text.to_owned();
        self.over = Some(Box::new(Over { code, text, by_peer: false, reported: false }));
        self.sessions.clear();
        self.endings.clear();
        self.clock.stop();
        self.clock.set_deadline(now + self.limits().negotiation);
        self.phase = Phase::Closing;
    }
}

/// Heartbeat intervals of silence after which a peer counts as gone.
const SILENT_INTERVALS: u32 = 2;

// ---- rules ----

impl Connection {
    /// Seconds of the interval agreed, 0 for none.
    fn start_heartbeats(&mut self, seconds: u16) {
        let interval = Duration::from_secs(seconds.into());
        self.clock.start(interval, interval * SILENT_INTERVALS);
    }

    /// Goes from one phase to the next; false if it is not in that phase, as when the connection
    /// ended meanwhile.
    fn leave(&mut self, from: Phase, to: Phase) -> bool {
        if self.phase != from {
            return false;
        }
        self.phase = to;
        true
    }

    fn cannot_encode(&mut self, error: EncodeError) {
        self.fail(
            CloseCode::CONNECTION_FORCED,
            format!("cannot encode our configuration: {error}"),
        );
    }

    /// The peer's protocol header has come.
    pub(super) fn greeted(&mut self) {
        match &self.role {
            Role::Client(_) => self.phase = Phase::Start,
            Role::Server(config) => {
                let config = Arc::clone(config);
                self.out.extend_from_slice(&PROTOCOL_HEADER);
                self.phase = Phase::StartOk;
                if let Err(error) = self.send_start(&config) {
                    self.cannot_encode(error);
                }
            }
        }
    }

    fn send_start(&mut self, config: &ServerConfig) -> Result<(), EncodeError> {
        let properties = config.properties.encoded()?;
        let mechanisms = Array::of_str16(config.mechanisms.iter().map(String::as_str)).encoded()?;
        let locales = Array::of_str16(config.locales.iter().map(String::as_str)).encoded()?;
        let start = connection::Start {
            server_properties: Some(properties.view()),
            mechanisms: Some(mechanisms.view()),
            locales: Some(locales.view()),
        };
        self.control(0, &start.into());
        Ok(())
    }

    pub(super) fn connection_control(
        &mut self,
        channel: u16,
        control: &Control<'_>,
    ) -> Result<Emit, Failure> {
        if channel != 0 {
            let text = format!("{} on channel {channel}, not 0", control.name());
            return Err(Failure::framing(text));
        }
        match control {
            Control::ConnectionHeartbeat(_) => return Ok(Emit::Nothing),
            Control::ConnectionClose(close) => {
                self.closed_by_peer(close);
                return Ok(Emit::Nothing);
            }
            Control::ConnectionCloseOk(_) if self.phase == Phase::Closing => {
                self.closed();
                return Ok(Emit::Nothing);
            }
            _ if self.phase == Phase::Closing => return Ok(Emit::Nothing),
            _ => {}
        }
        let accepted = match &self.role {
            Role::Server(config) => {
                let config = Arc::clone(config);
                self.control_of_client(&config, control)?
            }
            Role::Client(config) => {
                let config = Arc::clone(config);
                self.control_of_server(&config, control)?
            }
        };
        accepted.ok_or_else(|| {
            Failure::framing(format!("{} in state {:?}", control.name(), self.phase))
        })
    }

    /// What a client sends a server. `None` if it is not the time for it.
    fn control_of_client(
        &mut self,
        config: &ServerConfig,
        control: &Control<'_>,
    ) -> Result<Option<Emit>, Failure> {
        match (self.phase, control) {
            (Phase::StartOk, Control::ConnectionStartOk(body)) => {
                let mechanism = body.mechanism.unwrap_or_default();
                if !config.mechanisms.iter().any(|offered| offered == mechanism) {
                    return Err(Failure::Connection {
                        code: CloseCode::CONNECTION_FORCED,
                        text: "mechanism not offered".into(),
                    });
                }
                self.phase = Phase::Authenticating;
            }
            (Phase::SecureOk, Control::ConnectionSecureOk(_)) => self.phase = Phase::Authenticating,
            (Phase::TuneOk, Control::ConnectionTuneOk(body)) => {
                self.tuned(config, body)?;
                self.phase = Phase::Open;
                return Ok(Some(Emit::Nothing));
            }
            (Phase::Open, Control::ConnectionOpen(_)) => self.phase = Phase::Opening,
            _ => return Ok(None),
        }
        Ok(Some(Emit::Control))
    }

    /// The client's choice: zero or absent is ours. More than offered, or frames too small for any
    /// peer, is an error.
    fn tuned(&mut self, config: &ServerConfig, body: &connection::TuneOk) -> Result<(), Failure> {
        let chosen = |chosen: Option<u16>, offered| chosen.filter(|n| *n != 0).unwrap_or(offered);
        let channel_max = chosen(body.channel_max, config.channel_max);
        let max_frame = chosen(body.max_frame_size, config.max_frame_size);
        let heartbeat = body.heartbeat.unwrap_or(0);
        if channel_max > config.channel_max
            || max_frame > config.max_frame_size
            || heartbeat > *config.heartbeat.end()
        {
            return Err(Failure::framing("tune-ok asks for more than was offered"));
        }
        if max_frame < MIN_MAX_FRAME_SIZE {
            return Err(Failure::framing(format!(
                "max-frame-size {max_frame} is less than {MIN_MAX_FRAME_SIZE}"
            )));
        }
        (self.channel_max, self.max_frame) = (channel_max, max_frame);
        self.start_heartbeats(heartbeat);
        Ok(())
    }

    /// What a server sends a client. `None` if it is not the time for it.
    fn control_of_server(
        &mut self,
        config: &ClientConfig,
        control: &Control<'_>,
    ) -> Result<Option<Emit>, Failure> {
        match (self.phase, control) {
            (Phase::Start, Control::ConnectionStart(body)) => self.start(config, body)?,
            (Phase::Negotiating, Control::ConnectionSecure(_)) => {}
            (Phase::Negotiating, Control::ConnectionTune(body)) => {
                self.tune(config, body)?;
                return Ok(Some(Emit::Nothing));
            }
            (Phase::OpenOk, Control::ConnectionOpenOk(_)) => {
                self.clock.clear_deadline();
                self.phase = Phase::Opened;
            }
            (Phase::OpenOk, Control::ConnectionRedirect(_)) => {
                let now = self.clock.now();
                self.close(now, CloseCode::NORMAL, "redirected");
            }
            _ => return Ok(None),
        }
        Ok(Some(Emit::Control))
    }

    fn start(
        &mut self,
        config: &ClientConfig,
        body: &connection::Start<'_>,
    ) -> Result<(), Failure> {
        let offered = |name: &str| {
            body.mechanisms.is_some_and(|mechanisms| mechanisms.strs().any(|m| m == name))
        };
        let Some(mechanism) = config.mechanisms.iter().find(|m| offered(&m.name)) else {
            return Err(Failure::Connection {
                code: CloseCode::CONNECTION_FORCED,
                text: "no mechanism in common".into(),
            });
        };
        let properties = match config.properties.encoded() {
            Ok(properties) => properties,
            Err(error) => {
                self.cannot_encode(error);
                return Ok(());
            }
        };
        let start_ok = connection::StartOk {
            client_properties: Some(properties.view()),
            mechanism: Some(&mechanism.name),
            response: mechanism.response.as_deref(),
            locale: Some(&config.locale),
        };
        self.phase = Phase::Negotiating;
        self.control(0, &start_ok.into());
        Ok(())
    }

    fn tune(&mut self, config: &ClientConfig, body: &connection::Tune) -> Result<(), Failure> {
        let least = |offered: Option<u16>, wanted: u16| match offered {
            None | Some(0) => wanted,
            Some(offered) => offered.min(wanted),
        };
        self.channel_max = least(body.channel_max, config.channel_max);
        self.max_frame = least(body.max_frame_size, config.max_frame_size);
        if self.max_frame < MIN_MAX_FRAME_SIZE {
            return Err(Failure::framing(format!(
                "max-frame-size {} is less than {MIN_MAX_FRAME_SIZE}",
                self.max_frame
            )));
        }
        let (min, max) = (body.heartbeat_min.unwrap_or(0), body.heartbeat_max.unwrap_or(0));
        let heartbeat = config.heartbeat.max(min).min(max);
        let tune_ok = connection::TuneOk {
            channel_max: Some(self.channel_max),
            max_frame_size: Some(self.max_frame),
            heartbeat: Some(heartbeat),
        };
        let virtual_host = Some(config.virtual_host.as_str());
        self.control(0, &tune_ok.into());
        self.phase = Phase::OpenOk;
        self.control(
            0,
            &connection::Open { virtual_host, capabilities: None, insist: false }.into(),
        );
        self.start_heartbeats(heartbeat);
        Ok(())
    }

    fn closed_by_peer(&mut self, close: &connection::Close<'_>) {
        self.control(0, &connection::CloseOk {}.into());
        // Two closes that cross: ours was first, as far as we are concerned.
        if self.over.is_none() {
            self.over = Some(Box::new(Over {
                code: close.reply_code.unwrap_or(CloseCode::NORMAL),
                text: close.reply_text.unwrap_or_default().to_owned(),
                by_peer: true,
                reported: false,
            }));
        }
        self.closed();
    }
}
