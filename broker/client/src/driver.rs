//! The socket and a protocol's state machine, joined. Blocking is poll(2) on a socket that does not block.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::input::Input;
use crate::tls::TlsError;
use crate::wire::Wire;
use crate::{ConnectOptions, Error};

/// Octets of output that are worth a write of their own.
const WRITE_AT: usize = 64 << 10;
/// Octets of output above which a sender waits for the socket.
const WRITE_MAX: usize = 1 << 20;

/// A state machine without input and output, and what a client remembers beside it. Times are counted from when the
/// driver was made.
pub(crate) trait Protocol {
    /// Octets to write.
    fn out(&mut self) -> &mut Vec<u8>;

    /// Understands what was read, and says how many octets it leaves for want of more.
    fn process(&mut self, now: Duration, octets: &[u8]) -> usize;

    /// Puts into the output what is owed at the end of a turn.
    fn report(&mut self) -> Result<(), Error>;

    /// When to call `timeout`.
    fn next_timeout(&self) -> Option<Duration>;

    /// Tells the time.
    fn timeout(&mut self, now: Duration);

    /// Whether sessions can begin.
    fn is_open(&self) -> bool;

    /// Fails once the connection is over for a reason that the peer gave.
    fn check(&self) -> Result<(), Error>;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Driver<P> {
    wire: Wire,
    pub(crate) protocol: P,
    /// What the protocol's clock counts from.
    epoch: Instant,
    input: Input,
    /// Octets of the output that are written.
    written: usize,
    /// The socket is at its end, or broken.
    lost: bool,
    pub(crate) timeout: Duration,
    pub(crate) send_timeout: Option<Duration>,
}

/// Nothing is left half done by a panic of the caller's.
pub(crate) fn lock<P>(driver: &Mutex<Driver<P>>) -> MutexGuard<'_, Driver<P>> {
    driver.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connects a socket. Of several addresses the first that answers is taken.
pub(crate) fn connect(address: impl ToSocketAddrs, timeout: Duration) -> Result<TcpStream, Error> {
    let mut tried = Err(io::Error::from(ErrorKind::AddrNotAvailable).into());
    for address in address.to_socket_addrs()? {
        tried = TcpStream::connect_timeout(&address, timeout)
            .map_err(|cause| Error::Connect { address: address.to_string(), cause });
        if tried.is_ok() {
            break;
        }
    }
    tried
}

impl<P: Protocol> Driver<P> {
    /// Waits until the connection is open.
    pub(crate) fn open(
        socket: TcpStream,
        protocol: P,
        options: &ConnectOptions,
    ) -> Result<Driver<P>, Error> {
        socket.set_nodelay(options.no_delay)?;
        socket.set_nonblocking(true)?;
        let mut driver = Driver {
            wire: Wire::new(socket, options.tls.as_ref())?,
            protocol,
            epoch: Instant::now(),
            input: Input::new(),
            written: 0,
            lost: false,
            timeout: options.timeout,
            send_timeout: options.send_timeout,
        };
        driver.shake_hands()?;
        driver
            .wait_answer("the connection to open", |driver| Ok(driver.protocol.is_open()))
            .map(|()| driver)
    }

    /// That of TLS, if there is any.
    fn shake_hands(&mut self) -> Result<(), Error> {
        self.wait_answer("the TLS handshake", |driver| Ok(!driver.wire.is_handshaking())).map_err(
            |error| match error {
                Error::Lost => TlsError::HungUp.into(),
                error => error,
            },
        )
    }

    /// Whatever had to be said is said: with TLS, that nothing more comes.
    pub(crate) fn hang_up(&mut self) {
        self.wire.close();
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wire.socket().as_fd()
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.wire.socket().local_addr()
    }

    /// The time as the protocol counts it.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Nothing more can be read or written.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Fails once the connection is over.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.protocol.check()?;
        if self.lost { Err(Error::Lost) } else { Ok(()) }
    }

    // ---- writing ----

    fn pending(&mut self) -> usize {
        self.protocol.out().len() - self.written
    }

    /// Whether anything waits for the socket: output, or what TLS has to say.
    fn is_writing(&mut self) -> bool {
        self.pending() > 0 || self.wire.wants_write()
    }

    /// Keeps the output from growing without end.
    pub(crate) fn write_if_large(&mut self) -> Result<(), Error> {
        if self.pending() < WRITE_AT {
            return Ok(());
        }
        self.write_some()?;
        if self.pending() < WRITE_MAX {
            return Ok(());
        }
        // The broker does not read, perhaps because we do not: read while waiting.
        self.wait_sending("the broker to read", |driver| Ok(driver.pending() < WRITE_MAX))
    }

    /// Writes what the socket takes.
    fn write_some(&mut self) -> Result<(), Error> {
        while self.is_writing() && !self.lost {
            match self.wire.write(&self.protocol.out()[self.written..]) {
                Ok(0) if self.pending() > 0 => {
                    return Err(io::Error::from(ErrorKind::WriteZero).into());
                }
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the broker said before it closed the socket may still be there to read.
                Err(_) => {
                    self.drain_socket()?;
                    self.lost = true;
                }
            }
        }
        let (out, written) = (self.protocol.out(), self.written);
        if written == out.len() {
            out.clear();
            self.written = 0;
        } else if written > WRITE_MAX {
            out.drain(..written);
            self.written = 0;
        }
        Ok(())
    }

    /// Ends a turn: says what was received, and writes all there is, waiting for the socket if it must.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.protocol.report()?;
        self.write_some()?;
        if !self.is_writing() || self.lost {
            return self.check();
        }
        self.wait_answer("the broker to read", |driver| Ok(!driver.is_writing()))
    }

    // ---- reading ----

    /// One turn: writes, and reads what is there or comes within `wait`; `None` waits for ever.
    pub(crate) fn turn(&mut self, wait: Option<Duration>) -> Result<(), Error> {
        self.protocol.report()?;
        self.write_some()?;
        if !self.read_some()? && wait != Some(Duration::ZERO) && !self.lost {
            let now = self.now();
            let due = self.protocol.next_timeout().map(|due| due.saturating_sub(now));
            let wait = match (wait, due) {
                (Some(wait), Some(due)) => Some(wait.min(due)),
                (wait, due) => wait.or(due),
            };
            self.sleep(wait)?;
            self.write_some()?;
            self.read_some()?;
        }
        self.process();
        // Only now: what was just read says that the peer is alive.
        if let Some(due) = self.protocol.next_timeout()
            && due <= self.now()
        {
            let now = self.now();
            self.protocol.timeout(now);
            self.process();
            self.write_some()?;
        }
        if self.lost { self.check() } else { Ok(()) }
    }

    /// Waits until the socket can be read, or written if there is anything to write.
    fn sleep(&mut self, wait: Option<Duration>) -> Result<(), Error> {
        let mut flags = PollFlags::IN;
        if self.is_writing() {
            flags |= PollFlags::OUT;
        }
        let timeout = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(self.wire.socket(), flags)], timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Reads once; false if nothing was there.
    fn read_some(&mut self) -> Result<bool, Error> {
        let read = self.wire.read(self.input.room());
        self.lost |= matches!(read, Ok(Some(0)) | Err(_));
        let read = read?.unwrap_or(0);
        self.input.filled(read);
        Ok(read > 0)
    }

    /// Reads to the end of a socket that can no longer be written.
    fn drain_socket(&mut self) -> Result<(), Error> {
        while self.read_some()? {
            self.process();
        }
        Ok(())
    }

    fn process(&mut self) {
        let now = self.now();
        let rest = self.protocol.process(now, self.input.octets());
        self.input.keep(rest);
    }

    // ---- waiting ----

    /// Turns until `done`.
    pub(crate) fn wait_until(
        &mut self,
        deadline: Option<Instant>,
        what: &'static str,
        mut done: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        loop {
            if done(self)? {
                return Ok(());
            }
            self.check()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(Error::Timeout(what));
            }
            self.turn(left)?;
        }
    }

    /// The same within the time that an answer may take.
    pub(crate) fn wait_answer(
        &mut self,
        what: &'static str,
        done: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.wait_until(Instant::now().checked_add(self.timeout), what, done)
    }

    /// The same within the time that a sender may be held back.
    pub(crate) fn wait_sending(
        &mut self,
        what: &'static str,
        done: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let deadline = self.send_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.wait_until(deadline, what, done)
    }
}
