//! One session as this end of it knows it: windows, links, and what waits to be written.

use std::collections::{BTreeMap, VecDeque};

use super::link::{Life as LinkLife, Link};
use crate::serial::SequenceSet;
use crate::v1_0::frame::write_frame;
use crate::v1_0::table::{Accepted, DeliveryState, Disposition, Flow};
use crate::v1_0::{Performative, Role, SequenceNo};

/// Where a session is in its life.
///
/// ```text
/// peer begins: Offered ─► Mapped       we begin: Beginning ─► Mapped
/// both: Mapped ─► Ending, when we sent end ─► gone
///       Mapped ─► Leaving, when end came ─► gone, when we sent ours
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// The driver owes the answer to a begin.
    Offered,
    /// The peer does.
    Beginning,
    Mapped,
    /// End was sent; what comes meanwhile was sent before the peer knew.
    Ending,
    /// The driver owes the answer to an end.
    Leaving,
}

/// A frame that waits for the peer's window to open.
#[derive(Debug)]
pub(super) struct Stalled {
    pub(super) handle: u32,
    /// A transfer takes from the window; a flow only keeps its place behind those before it.
    pub(super) is_transfer: bool,
    pub(super) octets: Box<[u8]>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) life: Life,
    pub(super) remote_channel: Option<u16>,
    /// The id of the next transfer to come.
    pub(super) next_incoming_id: SequenceNo,
    /// Transfers that may come before we tell of more.
    pub(super) incoming_window: u32,
    /// What we tell.
    pub(super) window: u32,
    /// The id of the next transfer to be sent.
    pub(super) next_outgoing_id: SequenceNo,
    /// Transfers that may be sent.
    pub(super) remote_window: u32,
    /// The id of the next delivery to be sent.
    pub(super) next_delivery_id: SequenceNo,
    /// The id that the next delivery to come must have, once one has come.
    pub(super) next_received_id: Option<SequenceNo>,
    pub(super) links: BTreeMap<u32, Box<Link>>,
    /// Links that we attached and the peer has not answered.
    pub(super) unanswered: Vec<u32>,
    /// Our handles by the peer's, where they differ.
    pub(super) renamed: BTreeMap<u32, u32>,
    /// Where to look first for a free handle.
    pub(super) free_handle: u32,
    /// The highest handle that the peer takes.
    pub(super) handle_max: u32,
    pub(super) stalled: VecDeque<Stalled>,
    pub(super) stalled_bytes: usize,
    /// Deliveries received, accepted and settled since the last flush.
    pub(super) accepted: SequenceSet,
    /// The peer asked for a flow of the session.
    pub(super) owes_flow: bool,
    /// Links to look at, at the end of the turn.
    pub(super) listed_links: Vec<u32>,
    /// On the connection's list.
    pub(super) listed: bool,
}

impl Session {
    pub(super) fn new(life: Life, window: u32) -> Session {
        Session {
            life,
            remote_channel: None,
            next_incoming_id: SequenceNo(0),
            incoming_window: window,
            window,
            next_outgoing_id: SequenceNo(0),
            remote_window: 0,
            next_delivery_id: SequenceNo(0),
            next_received_id: None,
            links: BTreeMap::new(),
            unanswered: Vec::new(),
            renamed: BTreeMap::new(),
            free_handle: 0,
            handle_max: u32::MAX,
            stalled: VecDeque::new(),
            stalled_bytes: 0,
            accepted: SequenceSet::new(),
            owes_flow: false,
            listed_links: Vec::new(),
            listed: false,
        }
    }

    // ---- links ----

    /// Our handle of the peer's.
    #[inline]
    pub(super) fn local_handle(&self, remote: u32) -> Option<u32> {
        if let Some(local) = self.renamed.get(&remote) {
            return Some(*local);
        }
        let same = self.links.get(&remote)?;
        (same.remote_handle == Some(remote)).then_some(remote)
    }

    /// A handle for a link that the peer calls `remote`, or that it has no name for.
    pub(super) fn new_handle(&mut self, remote: Option<u32>) -> Option<u32> {
        if let Some(remote) =
            remote.filter(|h| *h <= self.handle_max && !self.links.contains_key(h))
        {
            return Some(remote);
        }
        let from = self.free_handle;
        let free = (from..=self.handle_max).find(|h| !self.links.contains_key(h))?;
        self.free_handle = free.saturating_add(1);
        Some(free)
    }

    /// The peer calls one of our links so.
    pub(super) fn name_remote(&mut self, local: u32, remote: u32) {
        if local != remote {
            self.renamed.insert(remote, local);
        }
        if let Some(link) = self.links.get_mut(&local) {
            link.remote_handle = Some(remote);
        }
    }

    /// The link is gone, or the peer's name for it.
    pub(super) fn forget_remote(&mut self, local: u32) {
        let remote = self.links.get_mut(&local).and_then(|link| link.remote_handle.take());
        if let Some(remote) = remote {
            self.renamed.remove(&remote);
        }
    }

    pub(super) fn remove_link(&mut self, local: u32) -> Option<Box<Link>> {
        self.forget_remote(local);
        self.drop_stalled(local);
        self.free_handle = self.free_handle.min(local);
        self.links.remove(&local)
    }

    /// Nothing more may be sent on a link.
    pub(super) fn drop_stalled(&mut self, handle: u32) {
        self.stalled.retain(|frame| frame.handle != handle);
        self.stalled_bytes = self.stalled.iter().map(|frame| frame.octets.len()).sum();
    }

    /// Whether it has to be looked at, at the end of the turn, from now on.
    pub(super) fn list_link(&mut self, handle: u32) {
        if let Some(link) = self.links.get_mut(&handle)
            && !std::mem::replace(&mut link.listed, true)
        {
            self.listed_links.push(handle);
        }
    }

    // ---- flow ----

    /// What a flow of the session says.
    pub(super) fn flow(&mut self) -> Flow<'static> {
        self.incoming_window = self.window;
        Flow {
            // Unknown before the peer's begin.
            next_incoming_id: self.remote_channel.map(|_| self.next_incoming_id),
            incoming_window: self.incoming_window,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: u32::MAX >> 1,
            ..Flow::default()
        }
    }

    /// What a flow of a link says.
    pub(super) fn link_flow(&mut self, handle: u32) -> Option<Flow<'static>> {
        let flow = self.flow();
        let link = self.links.get_mut(&handle)?;
        if link.life != LinkLife::Attached {
            return None;
        }
        link.owes_flow = false;
        Some(Flow {
            handle: Some(handle),
            delivery_count: Some(link.delivery_count),
            link_credit: Some(link.credit),
            drain: link.drain,
            ..flow
        })
    }

    /// The peer's end of the windows.
    pub(super) fn heard_flow(&mut self, flow: &Flow<'_>) {
        // Before it has our begin, the peer counts from our first id, which is 0.
        let next = flow.next_incoming_id.unwrap_or(SequenceNo(0));
        let end = next.add(flow.incoming_window);
        let left = end.distance(self.next_outgoing_id);
        // A window so large that it wraps is as good as any.
        let on_its_way = self.next_outgoing_id.distance(next).max(0) as u32;
        self.remote_window = match flow.incoming_window > u32::MAX >> 1 {
            true => flow.incoming_window.saturating_sub(on_its_way),
            false => left.max(0) as u32,
        };
    }

    // ---- output ----

    /// Writes what the window lets through.
    pub(super) fn release_stalled(&mut self, out: &mut Vec<u8>) {
        while let Some(frame) = self.stalled.front() {
            if frame.is_transfer {
                if self.remote_window == 0 {
                    return;
                }
                self.remote_window -= 1;
                self.next_outgoing_id = self.next_outgoing_id.next();
            }
            out.extend_from_slice(&frame.octets);
            self.stalled_bytes -= frame.octets.len();
            self.stalled.pop_front();
        }
        if self.stalled.capacity() > 64 {
            self.stalled = VecDeque::new();
        }
    }

    /// The end of a turn: dispositions, and flows that are owed.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>, channel: u16, max: u32) {
        self.listed = false;
        for range in self.accepted.ranges() {
            let disposition = Disposition {
                role: Role::RECEIVER,
                first: range.low,
                last: (range.high != range.low).then_some(range.high),
                settled: true,
                state: Some(DeliveryState::Accepted(Accepted {})),
                batchable: false,
            };
            write_all(out, channel, &disposition.into(), max);
        }
        self.accepted = SequenceSet::new();
        let mut listed = std::mem::take(&mut self.listed_links);
        for handle in listed.drain(..) {
            let Some(link) = self.links.get_mut(&handle) else { continue };
            link.listed = false;
            if link.wants_credit() {
                link.top_up();
                link.owes_flow = true;
            }
            if link.owes_flow
                && let Some(flow) = self.link_flow(handle)
            {
                self.owes_flow = false;
                write_all(out, channel, &flow.into(), max);
            }
        }
        self.listed_links = listed;
        if self.owes_flow || self.incoming_window <= self.window / 2 {
            self.owes_flow = false;
            let flow = self.flow();
            write_all(out, channel, &flow.into(), max);
        }
    }

    pub(super) fn memory(&self) -> usize {
        let links: usize = self.links.values().map(|link| link.memory()).sum();
        size_of::<Session>() + links + self.stalled_bytes
    }
}

/// Writes a performative of ours that is small enough for every peer.
fn write_all(out: &mut Vec<u8>, channel: u16, performative: &Performative<'_>, max: u32) {
    let written = write_frame(out, channel, performative, max);
    debug_assert!(written.is_ok(), "{written:?}");
}
