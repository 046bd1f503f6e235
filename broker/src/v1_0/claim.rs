//! The names of links, which one client has at a time: claimed when a link is attached, taken away when it is
//! attached elsewhere (part 2.6.1), and with them what was not settled under that name (part 2.6.13).

use super::answer::Answer;
use super::deliveries::Disposed;
use super::error::Refusal;
use super::session::{Session, Then, Wire};
use crate::front::Settings;
use crate::links::{Ended, Estate, Fate, Lasts, Tag, op};
use crate::shard::Ctx;
use fletch_amqp::v1_0::table::{Attach, DeliveryState, Rejected};
use fletch_amqp::v1_0::types::{MapRef, ValueRef, put_binary, put_map};
use fletch_amqp::v1_0::{Composite, Role, amqp_error, link_error};
use fletch_amqp::wire::{EncodeError, Reader};
use fletch_engine::{DeliveryRef, Error, Force, Outcome, Reply, Request, SessionId};
use foldhash::HashMap;
use std::sync::Arc;

/// Octets of a link's name, or a container's: such names are kept where all shards look for them.
pub(super) const NAME_MAX: usize = 1024;

/// What no name of a 0-10 session ends with, by whose name it is.
const OF_SENDER: char = '\u{101}';
const OF_RECEIVER: char = '\u{102}';
const OF_CONTAINER: char = '\u{103}';

/// The name of a link in the broker: of its user, its container, its direction and itself.
pub(super) fn link_name(user: &str, container: &str, role: Role, name: &str) -> Arc<str> {
    let kind = if role == Role::SENDER { OF_SENDER } else { OF_RECEIVER };
    let (user_len, container_len) = (user.len(), container.len());
    format!("{user_len}:{container_len}:{user}{container}{name}{kind}").into()
}

/// The name of a container in the broker.
pub(super) fn container_name(container: &str) -> Arc<str> {
    format!("{container}{OF_CONTAINER}").into()
}

/// An attach whose name is asked for.
#[derive(Debug)]
pub(super) struct Claiming {
    pub(super) id: Option<SessionId>,
    name: Arc<str>,
    handle: u32,
    /// The attach, encoded.
    attach: Vec<u8>,
}

/// What goes on from an earlier life of a link.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    /// The client sends: what the broker knows of deliveries, until they are resumed.
    pub(super) known: HashMap<Tag, Fate>,
    /// The client receives, and has not said everything: what it holds, until it has.
    pub(super) held: Vec<(u32, DeliveryRef)>,
    /// One end has not said everything: nothing new is sent before the link is attached again.
    pub(super) incomplete: bool,
}

impl Resumed {
    /// As a link has it: most often there is nothing.
    pub(super) fn boxed(self) -> Option<Box<Resumed>> {
        let something = self.incomplete || !self.known.is_empty() || !self.held.is_empty();
        something.then(|| Box::new(self))
    }

    pub(super) fn is_incomplete(resumed: &Option<Box<Resumed>>) -> bool {
        resumed.as_ref().is_some_and(|resumed| resumed.incomplete)
    }

    /// What the client holds, which is somebody else's to keep now.
    pub(super) fn take_held(resumed: &mut Option<Box<Resumed>>) -> Vec<(u32, DeliveryRef)> {
        resumed.as_mut().map(|resumed| std::mem::take(&mut resumed.held)).unwrap_or_default()
    }
}

/// An outcome as it is kept: a refusal.
pub(crate) fn rejected(reason: Error) -> Fate {
    Refusal::from(reason).fate()
}

/// What the engine's answer to a claim says was left.
pub(crate) fn left(reply: &Reply) -> (Estate, Lasts) {
    match reply {
        Reply::Left(octets) => Estate::read(octets),
        _ => Default::default(),
    }
}

impl Refusal {
    /// As the outcome of a delivery that is kept.
    pub(super) fn fate(&self) -> Fate {
        let mut octets = Vec::new();
        let state = DeliveryState::from(Rejected { error: Some(self.wire()) });
        match state.encode(&mut octets) {
            Ok(()) => Fate::Other(octets.into()),
            // A text of this size always has room.
            Err(_) => Fate::Accepted,
        }
    }

    fn stolen() -> Refusal {
        Refusal::new(link_error::STOLEN, "The link was attached elsewhere")
    }
}

/// Calls `say` with an outcome that was kept.
pub(super) fn say(fate: &Fate, say: impl FnOnce(DeliveryState<'_>)) {
    use fletch_amqp::v1_0::table::Accepted;
    match fate {
        Fate::Accepted => say(Accepted {}.into()),
        Fate::Other(octets) => {
            if let Ok(state) = DeliveryState::decode(&mut Reader::new(octets)) {
                say(state);
            }
        }
    }
}

impl Session {
    /// The client wants a link, whose name is to be asked for.
    pub(super) fn begin_claim(&mut self, handle: u32, attach: &Attach<'_>, name: &Arc<str>) {
        let mut octets = Vec::new();
        let copied = attach.encode(&mut octets);
        // What came off the wire goes back on it.
        debug_assert!(copied.is_ok(), "{copied:?}");
        self.claiming =
            Some(Box::new(Claiming { id: None, name: Arc::clone(name), handle, attach: octets }));
    }

    /// The name has a number to be asked for under. A link of this connection that has it keeps it: as in the
    /// reference, a connection may have several links of one name, of which one has it in the broker.
    pub(super) fn claim(&mut self, ctx: &mut Ctx<'_>, id: SessionId, force: Force) {
        if let Some(claiming) = &mut self.claiming {
            claiming.id = Some(id);
            let request = Request::Attach { name: Arc::clone(&claiming.name), force };
            ctx.engine.request(ctx.now, id, op::CLAIM, request, ctx.fx);
        }
    }

    /// Whether a link is attached, and has its name under this number.
    pub(super) fn is_attached(&self, handle: u32, id: SessionId) -> bool {
        self.links.get(&handle).is_some_and(|attached| attached.id == id)
            || self.attaching.as_ref().is_some_and(|attaching| attaching.id == id)
    }

    /// The engine has answered a claim. Gives back what it gave if that is not this session's any more.
    pub(super) fn claimed(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        peer: (&Settings, &str),
        id: SessionId,
        result: Result<Reply, Error>,
    ) -> Option<Reply> {
        let Some(claiming) = self.claiming.take_if(|claiming| claiming.id == Some(id)) else {
            return result.ok();
        };
        let Claiming { handle, attach: octets, .. } = *claiming;
        let attach = Attach::decode(&mut Reader::new(&octets)).unwrap_or_default();
        let reply = match result {
            Ok(reply) => reply,
            Err(_) => {
                // Somebody else attaches it before it was here.
                self.refuse(wire, handle, &Answer::refused(&attach), &Refusal::stolen());
                return None;
            }
        };
        let nameless = matches!(reply, Reply::Held(_));
        let (estate, lasts) = left(&reply);
        let mut resumed = self.resume(ctx, &attach, estate);
        match self.plan(ctx, peer, (handle, &attach), id) {
            Ok(mut attaching) => {
                if nameless {
                    attaching.forget_at_end();
                }
                let others = attaching.answer.len() + attach.name.len() + OTHER_FIELDS;
                let room = (wire.amqp.max_frame_size() as usize).saturating_sub(others);
                let unsettled = Unsettled::of(&resumed.known, room);
                resumed.incomplete |= unsettled.incomplete;
                attaching.answer.set_unsettled(unsettled);
                attaching.resumed = resumed;
                self.attach(ctx, wire, attaching);
            }
            Err(refused) => {
                self.give_back(ctx, resumed.held);
                self.refuse(wire, handle, &refused.0, &refused.1);
                ctx.leave(id, Estate::Nothing, lasts, Ended::Link(self.id));
            }
        }
        None
    }

    /// What of an earlier life of the link goes on, now that the client has said what it knows.
    fn resume(&mut self, ctx: &mut Ctx<'_>, attach: &Attach<'_>, estate: Estate) -> Resumed {
        let theirs = Theirs::read(attach);
        let mut resumed = Resumed { incomplete: theirs.incomplete, ..Resumed::default() };
        match estate {
            Estate::Nothing => {}
            Estate::Outcomes(outcomes) => {
                // What the client does not know any more it has settled.
                let known = outcomes.into_iter().filter(|(tag, _)| theirs.may_have(tag));
                resumed.known = known.collect();
            }
            Estate::Held(held) => {
                let mut parts: Vec<(Outcome, Vec<DeliveryRef>)> = Vec::new();
                for (tag, delivery) in held {
                    let outcome = match theirs.states.get(&tag.to_be_bytes()[..]) {
                        // Nothing was said of it.
                        None if theirs.incomplete => {
                            resumed.held.push((tag, delivery));
                            continue;
                        }
                        None => Outcome::Released { set_redelivered: true },
                        Some(state) => settled_in(*state),
                    };
                    match parts.iter_mut().find(|(of, _)| *of == outcome) {
                        Some((_, deliveries)) => deliveries.push(delivery),
                        None => parts.push((outcome, vec![delivery])),
                    }
                }
                for (outcome, deliveries) in parts {
                    self.ask(ctx, Request::Settle { outcome, deliveries }, Then::Nothing);
                }
            }
        }
        resumed
    }

    /// A delivery is new on a link on which one end has not said all that it knows (part 2.7.3).
    pub(super) fn refuse_new(&mut self, ctx: &mut Ctx<'_>, wire: &mut Wire<'_>, handle: u32) {
        let text = "a new delivery on a link whose unsettled map is incomplete";
        self.fail_link(ctx, wire, handle, &Refusal::new(amqp_error::NOT_ALLOWED, text));
    }

    /// The name of a link was taken by somebody else.
    pub(super) fn stolen(
        &mut self,
        ctx: &mut Ctx<'_>,
        wire: &mut Wire<'_>,
        (handle, id): (u32, SessionId),
    ) {
        // One that is going already goes on with that.
        if self.links.get(&handle).is_some_and(|attached| attached.id == id) {
            let stolen = Refusal::stolen();
            tracing::info!(target: "protocol", "link detached: {}", stolen.text);
            wire.amqp.detach(wire.channel, handle, true, Some(&stolen.wire()));
            self.detach(ctx, wire, (handle, false), false);
        }
    }
}

/// The client's unsettled map.
struct Theirs<'a> {
    states: HashMap<&'a [u8], ValueRef<'a>>,
    incomplete: bool,
}

impl<'a> Theirs<'a> {
    fn read(attach: &Attach<'a>) -> Theirs<'a> {
        let entries = attach.unsettled.into_iter().flat_map(MapRef::iter).map_while(Result::ok);
        let states = entries.filter_map(|(tag, state)| Some((tag.as_binary()?, state))).collect();
        Theirs { states, incomplete: attach.incomplete_unsettled }
    }

    fn may_have(&self, tag: &[u8]) -> bool {
        self.incomplete || self.states.contains_key(tag)
    }
}

/// What a client's state comes to of a message that it had: it has settled it if it says how, and else it is free.
fn settled_in(state: ValueRef<'_>) -> Outcome {
    let state = DeliveryState::from_view(state).ok();
    let disposed = state.as_ref().and_then(|state| Disposed::of(Some(state), false));
    disposed.map_or(Outcome::Released { set_redelivered: true }, Disposed::plain)
}

/// Octets that an attach has besides the unsettled map and the termini.
const OTHER_FIELDS: usize = 128;

/// The broker's unsettled map.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    /// Encoded; empty for none.
    pub(super) map: Vec<u8>,
    /// As much of it as the frame has room for.
    pub(super) incomplete: bool,
}

impl Unsettled {
    /// As many of these as there is room for.
    fn of(outcomes: &HashMap<Tag, Fate>, room: usize) -> Unsettled {
        if outcomes.is_empty() {
            return Unsettled::default();
        }
        let (mut map, mut incomplete) = (Vec::new(), false);
        let written = put_map(&mut map, |out| {
            let (start, mut count) = (out.len(), 0);
            for (tag, fate) in outcomes {
                let before = out.len();
                put_entry(tag, fate, out)?;
                if out.len() - start > room {
                    out.truncate(before);
                    incomplete = true;
                    break;
                }
                count += 2;
            }
            Ok(count)
        });
        if written.is_err() {
            map.clear();
            incomplete = true;
        }
        Unsettled { map, incomplete }
    }
}

fn put_entry(tag: &[u8], fate: &Fate, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_binary(tag, out)?;
    let mut encoded = Ok(());
    say(fate, |state| encoded = state.encode(out));
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_different_things_differ() {
        let (sender, receiver) = (Role::SENDER, Role::RECEIVER);
        let names = [
            link_name("u", "c", sender, "n"),
            link_name("u", "c", receiver, "n"),
            link_name("u", "cn", sender, ""),
            link_name("uc", "", sender, "n"),
            link_name("v", "c", sender, "n"),
            container_name("c"),
            container_name("n"),
            // What 0-10 makes of user and session.
            "u\u{100}n".into(),
        ];
        for (n, name) in names.iter().enumerate() {
            assert!(!names[..n].contains(name), "{name}");
        }
    }

    #[test]
    fn a_map_that_is_too_long_is_cut() {
        let outcomes: HashMap<Tag, Fate> =
            (0..10u8).map(|n| (Tag::from_slice(&[n; 20]), Fate::Accepted)).collect();
        let whole = Unsettled::of(&outcomes, 1000);
        assert!(!whole.incomplete);
        let cut = Unsettled::of(&outcomes, 100);
        assert!(cut.incomplete);
        let count = |unsettled: &Unsettled| {
            let value = ValueRef::decode(&mut Reader::new(&unsettled.map)).expect("a value");
            value.as_map().expect("a map").len()
        };
        assert_eq!((count(&whole), count(&cut)), (10, 3));
        assert!(Unsettled::of(&HashMap::default(), 1000).map.is_empty());
    }
}
