//! The socket, which does not block, with TLS on it where the options ask for that.
//!
//! A read takes all out of what it took from the socket: nothing that can be understood stays in here, so whoever waits on
//! the bare socket misses nothing.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustls::ClientConnection;

use crate::tls::{TlsError, TlsOptions};
use crate::{Error, input};

/// Octets of a socket read at once with TLS.
const SEALED: usize = 64 << 10;
/// What TLS may have kept from earlier reads: a record that is not all there.
const RECORD: usize = 20 << 10;

const _: () = assert!(SEALED + RECORD <= input::ROOM, "a read has room for all that it decrypts");

/// See the module.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

/// TLS, and the socket below.
#[derive(Debug)]
pub(crate) struct Tls {
    socket: TcpStream,
    session: ClientConnection,
    /// Where a read of the socket goes; of use during that read only.
    sealed: Box<[u8]>,
}

impl Wire {
    /// Over a connected socket that does not block. A handshake begins with the first read or write.
    pub(crate) fn new(socket: TcpStream, tls: Option<&TlsOptions>) -> Result<Wire, Error> {
        let Some(tls) = tls else { return Ok(Wire::Plain(socket)) };
        let session = tls.session()?;
        // Zeroed pages cost memory only once they are read into.
        let sealed = vec![0; SEALED].into_boxed_slice();
        Ok(Wire::Tls(Box::new(Tls { socket, session, sealed })))
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Wire::Plain(socket) => socket,
            Wire::Tls(tls) => &tls.socket,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            Wire::Tls(tls) => tls.session.is_handshaking(),
        }
    }

    /// Whether there is something to write beside what [`Wire::write`] is given.
    pub(crate) fn wants_write(&self) -> bool {
        match self {
            Wire::Plain(_) => false,
            Wire::Tls(tls) => tls.session.wants_write(),
        }
    }

    /// Writes what waits in here and says how much it took of `octets`, which may be empty. What it took may wait in here
    /// in turn.
    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.write(octets),
            Wire::Tls(tls) => tls.write(octets),
        }
    }

    /// Reads the socket once: none if nothing is there, 0 at the end. `into` has [`input::ROOM`] octets at least.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<Option<usize>, Error> {
        match self {
            Wire::Plain(socket) => read(socket, into),
            Wire::Tls(tls) => tls.read(into),
        }
    }

    /// Tells the peer that nothing more comes, as far as the socket takes that without waiting.
    pub(crate) fn close(&mut self) {
        if let Wire::Tls(tls) = self {
            tls.session.send_close_notify();
            // A peer that has gone already has nobody who misses it.
            let _ = tls.send();
        }
    }
}

impl Tls {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        // TLS takes no more while the socket is full: the driver counts what waits.
        self.send()?;
        let taken = self.session.writer().write(octets)?;
        match self.send() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes all that waits, or fails because the socket would block.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<Option<usize>, Error> {
        loop {
            // Nothing new: what ended TLS earlier ends it still.
            match self.session.process_new_packets() {
                Ok(state) if state.peer_has_closed() => return Ok(Some(0)),
                Ok(_) => {}
                Err(error) => {
                    return Err(TlsError::of(error, self.session.is_handshaking()).into());
                }
            }
            let count = match read(&mut self.socket, &mut self.sealed)? {
                Some(count) if count > 0 => count,
                nothing => return Ok(nothing),
            };
            let opened = self.open(count, into);
            // What the peer makes us say goes out at once: the handshake, new keys, why it is refused. What the socket
            // does not take, or that it is broken, is found by the next write.
            let _ = self.send();
            if opened > 0 {
                return Ok(Some(opened));
            }
        }
    }

    /// Decrypts what was read, and says how much came out of it.
    fn open(&mut self, count: usize, into: &mut [u8]) -> usize {
        let (mut sealed, mut opened) = (&self.sealed[..count], 0);
        while !sealed.is_empty() {
            // It takes a few KiB at a time.
            let taken = self.session.read_tls(&mut sealed);
            let goes_on = match self.session.process_new_packets() {
                Ok(state) => taken.is_ok() && !state.peer_has_closed(),
                Err(_) => false,
            };
            // An error is that nothing came out, or what `process_new_packets` said.
            opened += self.session.reader().read(&mut into[opened..]).unwrap_or(0);
            if !goes_on {
                // Whoever waits on the bare socket sees that this is the end.
                let _ = self.socket.shutdown(Shutdown::Read);
                break;
            }
        }
        opened
    }
}

fn read(socket: &mut TcpStream, into: &mut [u8]) -> Result<Option<usize>, Error> {
    loop {
        return match socket.read(into) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(Some(0)),
            Err(error) => Err(error.into()),
        };
    }
}
