//! What both kinds of link have in common.

use std::sync::{Arc, Mutex, MutexGuard};

use fletch_amqp::v1_0::table::Attach;

use super::books::{Books, Link};
use super::connection::Session;
use super::failure::{Condition, Failure};
use super::sessions::Sessions;
use super::terminus::Offered;
use crate::Error;
use crate::driver::{Driver, lock};

/// Where a link is: its session, its handle, and the numbers that tell them from those that were there before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) channel: u16,
    pub(super) session: u64,
    pub(super) handle: u32,
    pub(super) link: u64,
}

/// A link as its user holds it.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    driver: Arc<Mutex<Driver<Sessions>>>,
    pub(super) place: Place,
    pub(super) name: Arc<str>,
    pub(super) offered: Arc<Offered>,
}

impl Driver<Sessions> {
    /// The books of a link, even if it is over.
    pub(super) fn link(&mut self, place: Place) -> Option<&mut Link> {
        let books: &mut Books = self.protocol.books(place.channel, place.session)?;
        books.link(place.handle).filter(|link| link.token == place.link)
    }

    /// The books of a link. Fails when the link, the session or the connection is over.
    pub(super) fn live_link(&mut self, place: Place) -> Result<&mut Link, Error> {
        let books = self.live(place.channel, place.session)?;
        let link = books.link(place.handle).filter(|link| link.token == place.link);
        let over = || Failure::Link(Condition::of_text("it is over"));
        let link = link.ok_or_else(over)?;
        link.check()?;
        Ok(link)
    }
}

impl Handle {
    /// Attaches a link and waits for the broker's answer.
    pub(super) fn attach(
        session: &Session,
        name: Option<&str>,
        attach: &Attach<'_>,
    ) -> Result<Handle, Error> {
        let mut driver = session.lock();
        let (channel, token) = session.place;
        driver.live(channel, token)?;
        let Sessions { amqp, tokens, .. } = &mut driver.protocol;
        *tokens += 1;
        let link = *tokens;
        let name: Arc<str> = name.map_or_else(|| format!("link-{link}").into(), Arc::from);
        let attach = Attach { name: &name, ..attach.clone() };
        let handle = amqp.attach(channel, &attach).ok_or(Failure::Full("links"))?;
        driver.live(channel, token)?.add_link(handle, link);
        let place = Place { channel, session: token, handle, link };
        driver.wait_answer("a link to attach", |driver| {
            let link = driver.live_link(place)?;
            Ok(link.answered && !link.refused)
        })?;
        let offered = Arc::new(std::mem::take(&mut driver.live_link(place)?.offered));
        Ok(Handle { driver: Arc::clone(&session.driver), place, name, offered })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Driver<Sessions>> {
        lock(&self.driver)
    }

    /// Detaches, for good or for a while.
    pub(super) fn detach(&self, closed: bool) -> Result<(), Error> {
        let mut driver = self.lock();
        driver.live_link(self.place)?;
        let Place { channel, handle, .. } = self.place;
        // What was received is settled first.
        crate::driver::Protocol::report(&mut driver.protocol)?;
        driver.protocol.amqp.detach(channel, handle, closed, None);
        driver.wait_answer("a link to detach", |driver| {
            Ok(driver.link(self.place).is_none_or(|link| link.ended.is_some()))
        })?;
        match driver.link(self.place).and_then(|link| link.ended.clone()) {
            Some(condition) if condition != Condition::default() => {
                Err(Failure::Link(condition).into())
            }
            _ => Ok(()),
        }
    }
}
