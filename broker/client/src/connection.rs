//! A connection as its user holds it.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::driver::{Driver, connect, lock};
use crate::sessions::Sessions;
use crate::{ConnectOptions, Error, Session};

/// One AMQP 0-10 connection. Clones share it; without [`Connection::close`] it ends when the last handle does, and the
/// broker sees a client that went away.
#[derive(Debug, Clone)]
pub struct Connection {
    driver: Arc<Mutex<Driver<Sessions>>>,
}

impl Connection {
    /// Connects and opens the virtual host. Of several addresses the first that answers is taken.
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

    /// Attaches a session. `force` takes the name from whoever has it.
    pub fn session(&self, name: &str, force: bool) -> Result<Session, Error> {
        let mut driver = lock(&self.driver);
        let (channel, token) = driver.attach(name.as_bytes(), force)?;
        driver.wait_answer("the session to attach", |driver| {
            Ok(driver.live(channel, token)?.attached)
        })?;
        drop(driver);
        Ok(Session::new(Arc::clone(&self.driver), (channel, token)))
    }

    /// Writes what is to be written and reads what is there or comes within `wait`; `ZERO` never sleeps. For drivers of
    /// their own loop: what came waits in the sessions.
    pub fn poll(&self, wait: Duration) -> Result<(), Error> {
        lock(&self.driver).turn(Some(wait))
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

    /// The largest frame agreed.
    pub fn max_frame_size(&self) -> u16 {
        lock(&self.driver).protocol.amqp.max_frame_size()
    }

    /// Ends the connection in order. Sessions on it end with it.
    pub fn close(self) -> Result<(), Error> {
        lock(&self.driver).close()
    }
}
