//! What the client remembers of a session: what is under way, what came, and how it ended.

use std::collections::VecDeque;
use std::sync::Arc;

use fletch_amqp::v0_10::{AcceptMode, AcquireMode, DetachCode, Ending, ErrorCode, Payload};
use fletch_amqp::{CommandId, SequenceSet};

use crate::{Delivery, Error, Reply};

/// How a session ended.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    Exception { code: ErrorCode, text: String },
    Detached { code: DetachCode },
}

impl Ended {
    fn error(&self) -> Error {
        match self.clone() {
            Ended::Exception { code, text } => Error::Session { code, text },
            Ended::Detached { code } => Error::Detached { code },
        }
    }
}

/// One session's books.
#[derive(Debug)]
pub(crate) struct State {
    /// Tells this session from others that had its channel before.
    pub(crate) token: u64,
    pub(crate) attached: bool,
    pub(crate) ended: Option<Ended>,
    /// Commands sent and not complete.
    pub(crate) incomplete: u32,
    /// Messages sent since the broker was last asked to say what is complete.
    pub(crate) unasked: u32,
    /// The command somebody waits for.
    pub(crate) awaited: Option<CommandId>,
    /// The result of the command somebody waits for.
    pub(crate) result: Option<Reply>,
    /// Messages of the broker's to accept at the end of this turn.
    pub(crate) accepting: SequenceSet,
    pub(crate) deliveries: VecDeque<Delivery>,
    /// Messages of ours that the broker accepted, rejected and released, as far as it was asked to say.
    pub(crate) accepted: SequenceSet,
    pub(crate) rejected: SequenceSet,
    destinations: Vec<Arc<str>>,
}

impl State {
    pub(crate) fn new(token: u64) -> State {
        State {
            token,
            attached: false,
            ended: None,
            incomplete: 0,
            unasked: 0,
            awaited: None,
            result: None,
            accepting: SequenceSet::new(),
            deliveries: VecDeque::new(),
            accepted: SequenceSet::new(),
            rejected: SequenceSet::new(),
            destinations: Vec::new(),
        }
    }

    /// Fails once the session is over.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.ended.as_ref().map_or(Ok(()), |ended| Err(ended.error()))
    }

    /// The first reason counts: an exception, and not the detach that follows it.
    pub(crate) fn end(&mut self, ending: Ending) {
        let ended = match ending {
            Ending::Normal => Ended::Detached { code: DetachCode::NORMAL },
            Ending::Refused(code) | Ending::Forced(code) => Ended::Detached { code },
            Ending::Exception { code, text } => Ended::Exception { code, text },
        };
        self.ended.get_or_insert(ended);
    }

    pub(crate) fn completed(&mut self, commands: &SequenceSet) {
        let count = u32::try_from(commands.id_count()).unwrap_or(u32::MAX);
        self.incomplete = self.incomplete.saturating_sub(count);
        if self.awaited.is_some_and(|id| commands.contains(id)) {
            self.awaited = None;
        }
    }

    pub(crate) fn deliver(
        &mut self,
        id: CommandId,
        destination: &str,
        modes: (AcceptMode, AcquireMode),
        header: &[u8],
        body: Payload<'_>,
    ) {
        let destination = match self.destinations.iter().find(|known| known.as_ref() == destination)
        {
            Some(known) => Arc::clone(known),
            None => {
                let new: Arc<str> = Arc::from(destination);
                self.destinations.push(Arc::clone(&new));
                new
            }
        };
        self.deliveries.push_back(Delivery::new(id, destination, modes, header, body));
    }
}
