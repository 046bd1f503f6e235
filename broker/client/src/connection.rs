//! A connection as its user holds it.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::driver::Driver;
use crate::{ConnectOptions, Error, Session};

/// One AMQP 0-10 connection. Clones share it; without [`Connection::close`] it ends when the last handle does, and the
/// broker sees a client that went away.
#[derive(Debug, Clone)]
pub struct Connection {
    driver: Arc<Mutex<Driver>>,
}

/// Nothing is left half done by a panic of the caller's.
pub(crate) fn lock(driver: &Mutex<Driver>) -> MutexGuard<'_, Driver> {
    driver.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    /// Connects and opens the virtual host. Of several addresses the first that answers is taken.
    pub fn connect(
        address: impl ToSocketAddrs,
        options: &ConnectOptions,
    ) -> Result<Connection, Error> {
        let mut tried = Err(io::Error::from(io::ErrorKind::AddrNotAvailable).into());
        for address in address.to_socket_addrs()? {
            tried = TcpStream::connect_timeout(&address, options.timeout)
                .map_err(|cause| Error::Connect { address: address.to_string(), cause });
            if tried.is_ok() {
                break;
            }
        }
        Self::over(tried?, options)
    }

    /// Opens a connection over a socket that is connected already.
    pub fn over(socket: TcpStream, options: &ConnectOptions) -> Result<Connection, Error> {
        let mut driver = Driver::new(socket, options)?;
        let deadline = Instant::now() + options.timeout;
        driver.wait_until(Some(deadline), "the connection to open", |driver| {
            Ok(driver.is_opened())
        })?;
        Ok(Connection { driver: Arc::new(Mutex::new(driver)) })
    }

    /// Attaches a session. `force` takes the name from whoever has it.
    pub fn session(&self, name: &str, force: bool) -> Result<Session, Error> {
        let mut driver = lock(&self.driver);
        let (channel, token) = driver.attach(name.as_bytes(), force)?;
        let deadline = Instant::now() + driver.timeout;
        driver.wait_until(Some(deadline), "the session to attach", |driver| {
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

    /// The socket, to wait on together with others; [`Connection::poll`] then moves the octets.
    pub fn fd(&self) -> RawFd {
        lock(&self.driver).fd().as_raw_fd()
    }

    /// Our end of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        lock(&self.driver).local_addr()
    }

    /// The largest frame agreed.
    pub fn max_frame_size(&self) -> u16 {
        lock(&self.driver).amqp.max_frame_size()
    }

    /// Ends the connection in order. Sessions on it end with it.
    pub fn close(self) -> Result<(), Error> {
        lock(&self.driver).close()
    }
}
