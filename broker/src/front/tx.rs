//! A session's transaction, as far as it has come: what it has published, and what it has accepted.
//!
//! Nothing of it is done before the commit. Messages are routed when they come, so that what is wrong with
//! them is said then; where an exchange's home has to do that, what follows on the connection waits for it.
//! Accepted deliveries stay unsettled: a rollback, or the end of the session, forgets that they were accepted.

use super::Unsettled;
use crate::shard::Ctx;
use fletch_amqp::serial::{CommandId, SequenceSet};
use fletch_engine::{DeliveryRef, Error, ErrorKind, Message, Routed, Target, Transaction};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tx {
    publishes: Transaction,
    /// Bytes of those.
    bytes: u64,
    /// Transfers whose records say that they are accepted.
    accepts: Vec<CommandId>,
}

/// What is to be committed, and which transfers are settled by it.
pub(crate) struct Commit {
    pub(crate) transaction: Transaction,
    pub(crate) settles: SequenceSet,
}

impl Tx {
    /// Bytes that its messages take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A message was published, and this transaction may take so many bytes, as the connection's limit is
    /// `limit`. It comes back if the home of its exchange has to say where it goes, for [`Tx::add`].
    pub(crate) fn publish(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: Target<'_>,
        message: Message,
        (most, limit): (u64, u64),
    ) -> Result<Option<Message>, Error> {
        let routes = ctx.engine.route(to, &message)?;
        self.bytes += Transaction::MESSAGE + message.size() as u64;
        let asked = match routes {
            None => Some(message),
            Some(routes) => {
                self.add((message, routes));
                None
            }
        };
        if self.bytes > most {
            let text = format!(
                "What a connection publishes in transactions takes more than {limit} bytes before it is \
                 committed (max-transaction-size)"
            );
            return Err(Error::new(ErrorKind::ResourceLimit, text));
        }
        Ok(asked)
    }

    /// It is known where a message goes.
    pub(crate) fn add(&mut self, routed: Routed) {
        let (_, routes) = &routed;
        self.bytes += Transaction::ROUTE * routes.len() as u64;
        if !routes.is_empty() {
            self.publishes.publishes.push(routed);
        }
    }

    /// Deliveries are accepted.
    pub(crate) fn accept(&mut self, ids: &SequenceSet, unsettled: &mut Unsettled) {
        unsettled.for_each_in(ids, |r| {
            if !r.ended && !std::mem::replace(&mut r.accepted, true) {
                self.accepts.push(r.id);
            }
        });
    }

    /// Forgets everything.
    pub(crate) fn rollback(&mut self, unsettled: &mut Unsettled) {
        let accepted = self.take_accepted(unsettled);
        unsettled.for_each_in(&accepted, |r| r.accepted = false);
        *self = Tx::default();
    }

    /// Begins anew, with what was to be committed.
    pub(crate) fn commit(&mut self, unsettled: &mut Unsettled) -> Commit {
        let settles = self.take_accepted(unsettled);
        let mut transaction = std::mem::take(self).publishes;
        unsettled.visit(&settles, |r| {
            if r.accepted && r.acquired && !r.ended {
                transaction.accepts.push(r.delivery);
            }
        });
        Commit { transaction, settles }
    }

    fn take_accepted(&mut self, unsettled: &Unsettled) -> SequenceSet {
        let mut ids = std::mem::take(&mut self.accepts);
        // In order, whatever order they were accepted in: each is added at the end.
        let oldest = unsettled.oldest().unwrap_or(CommandId(0));
        ids.sort_unstable_by_key(|id| id.0.wrapping_sub(oldest.0));
        let mut set = SequenceSet::new();
        ids.into_iter().for_each(|id| set.add(id));
        set
    }
}

/// A commit has succeeded, or there was nothing to be done: what it settles.
pub(crate) fn settle(settles: &SequenceSet, unsettled: &mut Unsettled) -> Vec<DeliveryRef> {
    let mut settled = Vec::new();
    unsettled.for_each_in(settles, |r| {
        if std::mem::take(&mut r.accepted) && !std::mem::replace(&mut r.ended, true) && r.acquired {
            settled.push(r.delivery);
        }
    });
    settled
}
