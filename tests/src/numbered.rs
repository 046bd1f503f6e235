//! Messages of some size that say which one they are, so that a backlog can be checked to the last octet.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use fletch_client::{Delivery, Outgoing, Session};

/// The numbers of messages of `size` octets each: the first four are its number, the others all the same.
pub fn numbered(found: &[Delivery], size: usize) -> Result<Vec<u32>> {
    found
        .iter()
        .map(|delivery| {
            let body = delivery.body();
            ensure!(body.len() == size, "a body of {} octets", body.len());
            let number = u32::from_le_bytes(*body.first_chunk().context("a short body")?);
            ensure!(body[4..] == vec![number as u8; size - 4], "{number} has changed");
            Ok(number)
        })
        .collect()
}

/// Sends such messages and waits until the broker has them. `to_queue` makes one of the queue's name and the body.
pub fn send_numbered(
    session: &Session,
    to_queue: for<'a> fn(&'a str, &'a [u8]) -> Outgoing<'a>,
    queue: &str,
    size: usize,
    numbers: Range<u32>,
) -> Result<()> {
    for number in numbers {
        let mut body = vec![number as u8; size];
        body[..4].copy_from_slice(&number.to_le_bytes());
        session.send("", &to_queue(queue, &body))?;
    }
    Ok(session.sync()?)
}
