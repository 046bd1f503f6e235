//! Links: attach, detach, and the flows that give credit (part 2.6).

use super::fault::Fault;
use super::link::{Life, Link};
use super::receive::Ready;
use super::session::Life as SessionLife;
use super::{Connection, News};
use crate::v1_0::table::{Attach, Detach, Error, Flow};
use crate::v1_0::{Role, SequenceNo, amqp_error, session_error};

// ---- commands ----

impl Connection {
    /// Attaches a link; `Attached` comes when the peer has answered. Handle and initial delivery count of
    /// `attach` are put in here. `None` if there is no such session, or no handle is left.
    pub fn attach(&mut self, channel: u16, attach: &Attach<'_>) -> Option<u32> {
        let session = self.session(channel)?;
        if !matches!(session.life, SessionLife::Mapped | SessionLife::Beginning) {
            return None;
        }
        let handle = session.new_handle(None)?;
        let link = Link::new(attach.name, attach.role, Life::Attaching);
        session.links.insert(handle, Box::new(link));
        session.unanswered.push(handle);
        self.write_attach(channel, handle, attach);
        Some(handle)
    }

    /// Answers `Attach`. Handle, name, role and initial delivery count of `answer` are put in here.
    pub fn attach_ok(&mut self, channel: u16, handle: u32, answer: &Attach<'_>) {
        let Some(link) = self.session(channel).and_then(|s| s.links.get_mut(&handle)) else {
            return;
        };
        if link.life != Life::Offered {
            return;
        }
        link.life = Life::Attached;
        let (name, role) = (std::mem::take(&mut link.name), link.role);
        self.awaited = None;
        self.write_attach(channel, handle, &Attach { name: &name, role, ..answer.clone() });
        if let Some(link) = self.session(channel).and_then(|s| s.links.get_mut(&handle)) {
            link.name = name;
        }
    }

    /// Answers `Attach`: without a terminus, and with a detach that says why (part 2.6.3). `answer` has
    /// the peer's terminus, if it is to be seen.
    pub fn refuse_attach(
        &mut self,
        channel: u16,
        handle: u32,
        answer: &Attach<'_>,
        error: &Error<'_>,
    ) {
        self.attach_ok(channel, handle, answer);
        self.detach(channel, handle, true, Some(error));
    }

    /// Detaches a link, or answers `Detach`. The handle is free when the peer has answered, which
    /// `Detach` tells.
    pub fn detach(&mut self, channel: u16, handle: u32, closed: bool, error: Option<&Error<'_>>) {
        let Some(link) = self.session(channel).and_then(|s| s.links.get_mut(&handle)) else {
            return;
        };
        match link.life {
            Life::Detaching => return,
            Life::Offered => {
                let answer = Attach::default();
                self.attach_ok(channel, handle, &answer);
            }
            Life::Attaching | Life::Attached | Life::Leaving => {}
        }
        self.drop_partial(channel, handle);
        let Some(session) = self.session(channel) else { return };
        session.drop_stalled(handle);
        let Some(link) = session.links.get_mut(&handle) else { return };
        if link.life == Life::Leaving {
            session.remove_link(handle);
        } else {
            link.life = Life::Detaching;
        }
        self.write(channel, &Detach { handle, closed, error: error.cloned() }.into());
    }

    /// Receiver: states the credit of a link: so many deliveries may come from now on. With `drain` the
    /// sender is to use it up at once, or to say that it has nothing: `Drained` comes then.
    pub fn grant(&mut self, channel: u16, handle: u32, credit: u32, drain: bool) {
        let Some(session) = self.session(channel) else { return };
        let Some(link) = session.links.get_mut(&handle) else { return };
        link.credit = credit;
        link.drain = drain;
        link.window = 0;
        link.owes_flow = true;
        session.list_link(handle);
        self.list(channel);
    }

    /// Receiver: keeps so much credit up that `window` deliveries can be on their way or not `finished`.
    pub fn grant_window(&mut self, channel: u16, handle: u32, window: u32) {
        let Some(session) = self.session(channel) else { return };
        let Some(link) = session.links.get_mut(&handle) else { return };
        link.window = window;
        link.drain = false;
        link.top_up();
        link.owes_flow = true;
        session.list_link(handle);
        self.list(channel);
    }

    /// Receiver: nothing is left to be done for a delivery, which gives room to another.
    #[inline]
    pub fn finished(&mut self, channel: u16, handle: u32) {
        let Some(session) = self.session(channel) else { return };
        let Some(link) = session.links.get_mut(&handle) else { return };
        link.busy = link.busy.saturating_sub(1);
        if link.wants_credit() && !link.listed {
            session.list_link(handle);
            self.list(channel);
        }
    }
}

// ---- rules ----

impl Connection {
    fn write_attach(&mut self, channel: u16, handle: u32, attach: &Attach<'_>) {
        let initial = (attach.role == Role::SENDER).then_some(SequenceNo(0));
        let max = self.limits().message as u64;
        let attach = Attach {
            handle,
            initial_delivery_count: initial,
            max_message_size: if attach.role == Role::RECEIVER { Some(max) } else { None },
            ..attach.clone()
        };
        self.write(channel, &attach.into());
    }

    /// Forgets what has come of a delivery.
    pub(super) fn drop_partial(&mut self, channel: u16, handle: u32) {
        let link = self.session(channel).and_then(|s| s.links.get_mut(&handle));
        if let Some(partial) = link.and_then(|link| link.partial.take()) {
            self.partial_bytes -= partial.payload.len();
        }
    }

    pub(super) fn on_attach<'i>(
        &mut self,
        channel: u16,
        attach: Attach<'i>,
    ) -> Result<Option<Ready<'i>>, Fault> {
        let most = self.limits().links;
        let Some(session) = self.session(channel) else { return Ok(None) };
        let remote = attach.handle;
        if session.local_handle(remote).is_some() {
            let text = format!("handle {remote} is attached already");
            return Err(Fault::session(session_error::HANDLE_IN_USE, text));
        }
        if remote >= most {
            let text = format!("handle {remote} exceeds {}", most - 1);
            return Err(Fault::connection(crate::v1_0::connection_error::FRAMING_ERROR, text));
        }
        let ours = if attach.role == Role::SENDER { Role::RECEIVER } else { Role::SENDER };
        let count = match (attach.role, attach.initial_delivery_count) {
            (Role::SENDER, None) => {
                let text = "attach of a sender without initial-delivery-count";
                return Err(Fault::session(amqp_error::INVALID_FIELD, text));
            }
            (Role::SENDER, Some(count)) => Some(count),
            _ => None,
        };
        let links = &mut session.links;
        let answered = session.unanswered.iter().position(|handle| {
            links.get(handle).is_some_and(|l| l.role == ours && *l.name == *attach.name)
        });
        let answered = answered.map(|at| session.unanswered.remove(at));
        if let Some(handle) = answered
            && let Some(link) = links.get_mut(&handle)
        {
            if let Some(count) = count {
                link.delivery_count = count;
            }
            let detaching = link.life == Life::Detaching;
            if !detaching {
                link.life = Life::Attached;
            }
            let owes_flow = link.owes_flow;
            session.name_remote(handle, remote);
            if detaching {
                return Ok(None);
            }
            if owes_flow {
                session.list_link(handle);
                self.list(channel);
            }
            return Ok(Some(Ready::Attached { channel, handle, attach }));
        }
        if session.links.len() >= most as usize {
            let text = format!("there are {most} links already");
            return Err(Fault::session(amqp_error::RESOURCE_LIMIT_EXCEEDED, text));
        }
        let Some(handle) = session.new_handle(Some(remote)) else {
            let text = "no handle is left for the answer to attach";
            return Err(Fault::session(amqp_error::RESOURCE_LIMIT_EXCEEDED, text));
        };
        let mut link = Link::new(attach.name, ours, Life::Offered);
        link.delivery_count = count.unwrap_or_default();
        session.links.insert(handle, Box::new(link));
        session.name_remote(handle, remote);
        self.awaited = Some((channel, Some(handle)));
        Ok(Some(Ready::Attach { channel, handle, attach }))
    }

    pub(super) fn on_detach<'i>(
        &mut self,
        channel: u16,
        detach: Detach<'i>,
    ) -> Result<Option<Ready<'i>>, Fault> {
        let handle = self.link_of(channel, detach.handle)?;
        self.drop_partial(channel, handle);
        let Some(session) = self.session(channel) else { return Ok(None) };
        let Some(link) = session.links.get_mut(&handle) else { return Ok(None) };
        let answer = link.life == Life::Detaching;
        if answer {
            session.remove_link(handle);
        } else {
            link.life = Life::Leaving;
            link.credit = 0;
            session.drop_stalled(handle);
            session.forget_remote(handle);
        }
        let Detach { closed, error, .. } = detach;
        Ok(Some(Ready::Detach { channel, handle, closed, error, answer }))
    }

    /// Our handle of the peer's.
    #[inline]
    pub(super) fn link_of(&mut self, channel: u16, remote: u32) -> Result<u32, Fault> {
        let local = self.session(channel).and_then(|session| session.local_handle(remote));
        local.ok_or_else(|| {
            let text = format!("no link is attached as handle {remote}");
            Fault::session(session_error::UNATTACHED_HANDLE, text)
        })
    }

    pub(super) fn on_flow<'i>(
        &mut self,
        channel: u16,
        flow: Flow<'i>,
    ) -> Result<Option<Ready<'i>>, Fault> {
        let Ok(at) = self.find(channel) else { return Ok(None) };
        let session = &mut self.sessions[at].1;
        session.heard_flow(&flow);
        session.release_stalled(&mut self.out);
        let Some(remote) = flow.handle else {
            session.owes_flow |= flow.echo;
            if flow.echo {
                self.list(channel);
            }
            return Ok(None);
        };
        let handle = self.link_of(channel, remote)?;
        let session = &mut self.sessions[at].1;
        let Some(link) = session.links.get_mut(&handle) else { return Ok(None) };
        if link.life != Life::Attached {
            return Ok(None);
        }
        let mut ready = None;
        if link.role == Role::SENDER {
            // What the receiver had not heard of when it said this counts against it.
            let count = flow.delivery_count.unwrap_or(SequenceNo(0));
            let ahead = link.delivery_count.distance(count).max(0) as u32;
            if let Some(credit) = flow.link_credit {
                link.credit = credit.saturating_sub(ahead);
                link.drain = flow.drain;
                let (credit, drain) = (link.credit, flow.drain);
                ready = Some(Ready::Credit {
                    channel,
                    handle,
                    credit,
                    drain,
                    properties: flow.properties,
                });
            }
        } else {
            if let Some(count) = flow.delivery_count {
                link.advance(count);
            }
            if link.drain && link.credit == 0 {
                link.drain = false;
                self.news.push_back(News::Drained { channel, handle });
            }
        }
        if flow.echo {
            link.owes_flow = true;
            session.list_link(handle);
            self.list(channel);
        }
        Ok(ready)
    }
}
