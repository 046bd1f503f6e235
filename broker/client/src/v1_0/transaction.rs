//! Transactions (part 4).

use fletch_amqp::v1_0::message::Section;
use fletch_amqp::v1_0::table::{Declare, Discharge};
use fletch_amqp::v1_0::types::put_described;
use fletch_amqp::v1_0::{Composite, Multiple, SequenceNo, txn_capability};

use super::connection::Session;
use super::failure::{Condition, Failure, Outcome};
use super::sender::{Sender, SenderOptions};
use crate::Error;

/// The link by which transactions are begun and ended.
#[derive(Debug, Clone)]
pub struct Coordinator {
    sender: Sender,
}

impl Coordinator {
    pub(super) fn attach(session: &Session) -> Result<Coordinator, Error> {
        let mut target = Vec::new();
        let wanted = [txn_capability::LOCAL_TRANSACTIONS];
        let coordinator =
            fletch_amqp::v1_0::table::Coordinator { capabilities: Multiple::from(&wanted[..]) };
        coordinator.encode(&mut target)?;
        let sender = Sender::attach_to(session, &SenderOptions::default(), &target)?;
        Ok(Coordinator { sender })
    }

    /// Begins a transaction.
    pub fn declare(&self) -> Result<Transaction, Error> {
        match self.order(&Declare { global_id: None })? {
            Some(Outcome::Declared(id)) => {
                Ok(Transaction { coordinator: self.clone(), id: id.into() })
            }
            outcome => Err(refused(outcome)),
        }
    }

    /// Sends an order, and waits for what becomes of it; none if it is accepted.
    fn order<'a>(&self, order: &impl Composite<'a>) -> Result<Option<Outcome>, Error> {
        let mut encoded = Vec::new();
        put_described(Section::Value.code(), &mut encoded);
        order.encode(&mut encoded)?;
        let id: SequenceNo = self.sender.send_encoded(&[&encoded])?;
        self.sender.settle()?;
        let failed = self.sender.take_failed().into_iter().find(|(failed, _)| *failed == id);
        Ok(failed.map(|(_, outcome)| outcome))
    }
}

/// A transaction. Dropped without an end, it fails when its coordinator's link or the connection ends.
#[derive(Debug, Clone)]
pub struct Transaction {
    coordinator: Coordinator,
    id: Box<[u8]>,
}

impl Transaction {
    /// Its name at the broker.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// Makes all that was done in it so, at once.
    pub fn commit(self) -> Result<(), Error> {
        self.discharge(false)
    }

    /// Makes it as if nothing had been done in it.
    pub fn rollback(self) -> Result<(), Error> {
        self.discharge(true)
    }

    fn discharge(&self, fail: bool) -> Result<(), Error> {
        match self.coordinator.order(&Discharge { txn_id: &self.id, fail: Some(fail) })? {
            None => Ok(()),
            outcome => Err(refused(outcome)),
        }
    }
}

fn refused(outcome: Option<Outcome>) -> Error {
    let condition = match outcome {
        Some(Outcome::Rejected(condition)) => condition,
        Some(outcome) => Condition::of_text(format!("the broker answered: {outcome}")),
        None => Condition::of_text("the broker answered: accepted"),
    };
    Failure::Transaction(condition).into()
}
