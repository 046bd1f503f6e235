//! A connection that came to the HTTP listener: a request, then AMQP in WebSocket messages. The layer between
//! the socket and the front end, driven by the shard as the front end is; `fletch-web` has the rules.
//!
//! Input is unmasked into the shard's buffer and handed to the front end at once. What that leaves is kept here,
//! for the runtime has the masked octets: a part of a frame of AMQP, and while the front end is stalled at most
//! what was read before reading stopped.
//!
//! Output stays the front end's, which counts it, until all that was wrapped before is in the socket. So this
//! layer holds at most [`WRAPPED_MAX`] octets of it, the answer to the last ping, and a close.

use crate::front::Front;
use crate::shard::Ctx;
use fletch_engine::Time;
use fletch_web::{
    CloseCode, Closing, Item, Origins, Reader, Refusal, put_binary, put_close, put_pong,
};
use std::borrow::Cow;
use std::net::SocketAddr;

/// The index of all listeners whose connections begin with HTTP.
pub(crate) const HTTP_LISTENER: usize = usize::MAX;

/// The most octets of AMQP that are wrapped at once: as many as the runtime sends at once.
const WRAPPED_MAX: usize = 256 * 1024;

/// The most in one message: stacks of clients and gateways in between have limits, of which 32 KiB is the least
/// that is common. Nor are there more than a frame of AMQP may have that the client takes: Qpid JMS takes no
/// longer messages either.
const MESSAGE_MAX: usize = 32 * 1024;

/// Buffers larger than this are freed when they are empty.
const BUFFER_KEPT: usize = 16 * 1024;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A request is to come.
    Request,
    /// A WebSocket.
    Open,
    /// The last octet for the client is in the output.
    Over,
}

/// What is to be said with a close frame; without a code when the client gave none.
#[derive(Debug)]
struct Close {
    code: Option<CloseCode>,
    reason: Cow<'static, str>,
}

/// See the module.
pub(crate) struct Web {
    front: Front,
    remote: SocketAddr,
    stage: Stage,
    reader: Reader,
    /// Whole frames, or a response.
    out: Vec<u8>,
    /// Content that the front end has not taken.
    kept: Vec<u8>,
    /// What the last ping held that is not answered: a later one's answer is enough (RFC 6455 section 5.5.3).
    ping: Option<Box<[u8]>>,
    /// To be said when the front end has nothing more to say.
    close: Option<Close>,
}

impl Web {
    pub(crate) fn new(front: Front, remote: SocketAddr) -> Web {
        Web {
            front,
            remote,
            stage: Stage::Request,
            reader: Reader::default(),
            out: Vec::new(),
            kept: Vec::new(),
            ping: None,
            close: None,
        }
    }

    pub(crate) fn front(&mut self) -> &mut Front {
        &mut self.front
    }

    /// Appends to `plain` what was kept and what `input` holds for the front end. Returns how much of the
    /// input was consumed, and whether the connection is over: nothing that follows counts.
    pub(crate) fn receive(
        &mut self,
        origins: &Origins,
        mut input: &[u8],
        plain: &mut Vec<u8>,
    ) -> (usize, bool) {
        plain.append(&mut std::mem::take(&mut self.kept));
        let length = input.len();
        if self.stage == Stage::Request {
            let Some(answer) = fletch_web::answer(input, origins, &mut self.out) else {
                return (0, false);
            };
            if let Some(refusal) = answer.refusal {
                tracing::info!(target: "protocol", remote = %self.remote, "HTTP: {refusal}");
                self.stage = Stage::Over;
                return (length, true);
            }
            tracing::debug!(target: "protocol", remote = %self.remote, "a WebSocket");
            self.stage = Stage::Open;
            input = &input[answer.len..];
        }
        while self.stage == Stage::Open && self.close.is_none() {
            match self.reader.next(&mut input, plain) {
                Ok(None) => break,
                Ok(Some(Item::Ping(payload))) => self.ping = Some(payload.into()),
                Ok(Some(Item::Close(Closing { code, reason }))) => {
                    tracing::debug!(target: "protocol", remote = %self.remote, reason,
                        "the client closed the WebSocket");
                    self.close = Some(Close { code, reason: Cow::Borrowed("") });
                }
                Err(error) => {
                    tracing::info!(target: "protocol", remote = %self.remote, "WebSocket: {error}");
                    let reason = error.to_string().into();
                    self.close = Some(Close { code: Some(error.code()), reason });
                }
            }
        }
        (length, self.stage == Stage::Over || self.close.is_some())
    }

    /// The front end has left that much. True if there is any.
    pub(crate) fn keep(&mut self, rest: &[u8]) -> bool {
        self.kept.extend_from_slice(rest);
        !rest.is_empty()
    }

    /// What goes to the socket. What the front end says is wrapped when all before it has gone.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        if self.out.is_empty() && self.stage == Stage::Open {
            if let Some(payload) = self.ping.take() {
                put_pong(&payload, &mut self.out);
            }
            let message = self.front.max_frame().min(MESSAGE_MAX);
            let waiting = self.front.output();
            let length = waiting.len().min(WRAPPED_MAX);
            for content in waiting[..length].chunks(message) {
                put_binary(content, &mut self.out);
            }
            waiting.drain(..length);
            if !waiting.is_empty() {
                return &mut self.out;
            }
            if let Some(Close { code, reason }) = self.close.take() {
                put_close(code, &reason, &mut self.out);
                self.stage = Stage::Over;
            }
        }
        &mut self.out
    }

    pub(crate) fn written(&mut self, ctx: &mut Ctx<'_>) {
        self.front.written(ctx);
        if self.out.is_empty() && self.out.capacity() > BUFFER_KEPT {
            self.out = Vec::new();
        }
    }

    pub(crate) fn timeout(&mut self, now: Time) {
        self.front.timeout(now);
        if self.front.is_given_up() {
            let reason = "no header of AMQP came within --max-negotiate-time";
            self.end(&Refusal::Timeout, CloseCode::POLICY, reason);
        }
    }

    pub(crate) fn close_forced(&mut self, now: Time, text: &'static str) {
        self.front.close_forced(now, text);
        self.end(&Refusal::Stopping, CloseCode::GOING_AWAY, text);
    }

    pub(crate) fn say_goodbye(&mut self) -> bool {
        let over = self.front.say_goodbye();
        if over && self.close.is_none() {
            self.close = Some(Close { code: Some(CloseCode::NORMAL), reason: Cow::Borrowed("") });
        }
        over
    }

    /// Ends the connection as its stage wants it.
    fn end(&mut self, refusal: &Refusal, code: CloseCode, reason: &'static str) {
        match self.stage {
            Stage::Request => {
                refusal.put(true, &mut self.out);
                self.stage = Stage::Over;
            }
            Stage::Open => {
                let close = Close { code: Some(code), reason: reason.into() };
                self.close.get_or_insert(close);
            }
            Stage::Over => {}
        }
    }
}
