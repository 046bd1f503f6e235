//! Waits on several sockets at once.

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use std::net::TcpStream;
use std::time::Duration;

/// See the module.
pub(crate) struct Waiter {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Waiter {
    /// On these; they are known by their places.
    pub(crate) fn on<'a>(sockets: impl IntoIterator<Item = &'a TcpStream>) -> Result<Waiter> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut count = 0;
        for socket in sockets {
            let data = epoll::EventData::new_u64(count);
            epoll::add(&epoll, socket, data, epoll::EventFlags::IN)?;
            count += 1;
        }
        Ok(Waiter { epoll, events: Vec::with_capacity(count.max(1) as usize) })
    }

    /// The places of those that can be read now, or within so long.
    pub(crate) fn wait(&mut self, most: Duration) -> Result<impl Iterator<Item = usize>> {
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().map(|event| event.data.u64() as usize))
    }
}
