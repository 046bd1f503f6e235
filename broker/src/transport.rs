//! What carries a connection's AMQP: its socket alone, or WebSocket messages on it. The front end is the same.

use crate::front::Front;
use crate::shard::Ctx;
use crate::web::Web;
use fletch_engine::Time;

/// See the module.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and the shard boxes it"
)]
pub(crate) enum Transport {
    Tcp(Front),
    /// Boxed, so that a connection without it is no larger for it.
    Web(Box<Web>),
}

// A browser's connection may cost more; all others must not.
const _: () = assert!(size_of::<Transport>() == size_of::<Front>());

impl Transport {
    pub(crate) fn front(&mut self) -> &mut Front {
        match self {
            Transport::Tcp(front) => front,
            Transport::Web(web) => web.front(),
        }
    }

    pub(crate) fn web(&mut self) -> Option<&mut Web> {
        match self {
            Transport::Tcp(_) => None,
            Transport::Web(web) => Some(web),
        }
    }

    /// What goes to the socket.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Transport::Tcp(front) => front.output(),
            Transport::Web(web) => web.output(),
        }
    }

    /// The socket took all output.
    pub(crate) fn written(&mut self, ctx: &mut Ctx<'_>) {
        match self {
            Transport::Tcp(front) => front.written(ctx),
            Transport::Web(web) => web.written(ctx),
        }
    }

    pub(crate) fn next_timeout(&mut self) -> Option<Time> {
        self.front().next_timeout()
    }

    pub(crate) fn timeout(&mut self, now: Time) {
        match self {
            Transport::Tcp(front) => front.timeout(now),
            Transport::Web(web) => web.timeout(now),
        }
    }

    /// Tells the client that the broker ends the connection.
    pub(crate) fn close_forced(&mut self, now: Time, text: &'static str) {
        match self {
            Transport::Tcp(front) => front.close_forced(now, text),
            Transport::Web(web) => web.close_forced(now, text),
        }
    }

    /// Whether the connection is over and all its sessions have left; says the last word then.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        match self {
            Transport::Tcp(front) => front.say_goodbye(),
            Transport::Web(web) => web.say_goodbye(),
        }
    }
}
