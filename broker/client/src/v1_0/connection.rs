//! Connections and sessions as their user holds them.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::failure::Failure;
use super::receiver::{Receiver, ReceiverOptions};
use super::sender::{Sender, SenderOptions};
use super::sessions::Sessions;
use super::transaction::Coordinator;
use crate::driver::{Driver, connect, lock};
use crate::{ConnectOptions, Error};

/// One AMQP 1.0 connection. Clones share it; without [`Connection::close`] it ends when the last handle does, and the
/// broker sees a client that went away.
#[derive(Debug, Clone)]
pub struct Connection {
    driver: Arc<Mutex<Driver<Sessions>>>,
}

impl Connection {
    /// Connects and opens. Of several addresses the first that answers is taken.
    pub fn connect(
        address: impl ToSocketAddrs,
        options: &ConnectOptions,
    ) -> Result<Connection, Error> {
        Self::over(connect(address, options.timeout)?, options)
    }

    /// Opens a connection over a socket that is connected already.
    pub fn over(socket: TcpStream, options: &ConnectOptions) -> Result<Connection, Error> {
        let driver = Driver::open(socket, Sessions::new(options), options)?;
        Ok(Connection { driver: Arc::new(Mutex::new(driver)) })
    }

    /// Begins a session.
    pub fn session(&self) -> Result<Session, Error> {
        let mut driver = lock(&self.driver);
        driver.check()?;
        let channel = driver.protocol.amqp.begin().ok_or(Failure::Full("sessions"))?;
        let token = driver.protocol.add(channel);
        driver
            .wait_answer("the session to begin", |driver| Ok(driver.live(channel, token)?.begun))?;
        Ok(Session { driver: Arc::clone(&self.driver), place: (channel, token) })
    }

    /// Writes what is to be written and reads what is there or comes within `wait`; `ZERO` never sleeps. For drivers of
    /// their own loop: what came waits in the links.
    pub fn poll(&self, wait: Duration) -> Result<(), Error> {
        lock(&self.driver).turn(Some(wait))
    }

    /// Writes everything that is to be written, among it what was received and settled.
    pub fn flush(&self) -> Result<(), Error> {
        lock(&self.driver).flush()
    }

    /// The socket, to wait on together with others until it can be read; [`Connection::poll`] then moves the octets. One
    /// such call, also with `ZERO`, takes all in that it took from the socket, decrypted if there is TLS: what it leaves
    /// can still be read from the socket, so nothing is missed by waiting on that alone.
    pub fn fd(&self) -> RawFd {
        lock(&self.driver).fd().as_raw_fd()
    }

    /// Our end of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        lock(&self.driver).local_addr()
    }

    /// Ends the connection in order. Sessions on it end with it.
    pub fn close(self) -> Result<(), Error> {
        let mut driver = lock(&self.driver);
        driver.check()?;
        crate::driver::Protocol::report(&mut driver.protocol)?;
        let now = driver.now();
        driver.protocol.amqp.close(now, None);
        driver.wait_answer("the broker to close the connection", |driver| {
            Ok(driver.protocol.closed.is_some() || driver.is_lost())
        })?;
        driver.hang_up();
        Ok(())
    }
}

/// One session. Clones share it.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) driver: Arc<Mutex<Driver<Sessions>>>,
    /// Its channel, and the number that tells it from earlier sessions on that channel.
    pub(super) place: (u16, u64),
}

impl Session {
    pub(super) fn lock(&self) -> MutexGuard<'_, Driver<Sessions>> {
        lock(&self.driver)
    }

    /// Attaches a link to send on.
    pub fn sender(&self, options: &SenderOptions) -> Result<Sender, Error> {
        Sender::attach(self, options)
    }

    /// Attaches a link to receive on.
    pub fn receiver(&self, options: &ReceiverOptions) -> Result<Receiver, Error> {
        Receiver::attach(self, options)
    }

    /// Attaches the link that transactions are begun and ended by.
    pub fn coordinator(&self) -> Result<Coordinator, Error> {
        Coordinator::attach(self)
    }

    /// Ends the session in order: what was settled is told first.
    pub fn close(&self) -> Result<(), Error> {
        let (channel, token) = self.place;
        let mut driver = self.lock();
        driver.live(channel, token)?;
        crate::driver::Protocol::report(&mut driver.protocol)?;
        driver.protocol.amqp.end(channel, None);
        driver.wait_answer("the session to end", |driver| {
            let books = driver.protocol.books(channel, token);
            Ok(books.is_none_or(|books| books.ended.is_some()))
        })
    }
}
