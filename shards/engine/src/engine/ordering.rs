//! The orderer's shard: carrying out what the orderer decides.

use super::Engine;
use crate::frame::{Effects, Frame};
use crate::request::Event;
use crate::topology::{Decision, Orderer, Topology};

impl Engine {
    /// Runs the orderer (frames to it are sent to shard 0 only) and carries out what it decides.
    pub(super) fn with_orderer(
        &mut self,
        fx: &mut Effects,
        f: impl FnOnce(&mut Orderer, &mut Topology, &mut Vec<Decision>),
    ) {
        let mut decisions = std::mem::take(&mut self.decisions);
        let no_room = self.no_room_for_small();
        let orderer = self.orderer.as_mut().expect("frames to the orderer go to its shard");
        orderer.set_no_room(no_room);
        f(orderer, &mut self.topology, &mut decisions);
        for decision in decisions.drain(..) {
            match decision {
                Decision::Answer { session, op, result } => {
                    match self.ends.remove(&(session, op)) {
                        // By way of the home, so that the answer comes after its deliveries.
                        Some(home) if home != self.shard => {
                            let result = Box::new(result);
                            fx.frames.push((home, Frame::Reply { session, op, result }));
                        }
                        _ => self.answer(session, op, result, fx),
                    }
                }
                Decision::Broadcast { epoch, change } => self.broadcast(epoch, &change, fx),
                Decision::AskHome { home, queue, conditions } => {
                    self.send_ordered(home, Frame::AskDelete { queue, conditions }, fx);
                }
                Decision::AskUnused { home, queue, session } => {
                    self.send_ordered(home, Frame::AskUnused { queue, session }, fx);
                }
                Decision::Touched { home, queue } => {
                    self.send_ordered(home, Frame::Touched { queue }, fx);
                }
                Decision::Evict { session, force } => {
                    if session.shard() == self.shard {
                        fx.events.push(Event::Evicted { session, force });
                    } else {
                        fx.frames.push((session.shard(), Frame::Evict { session, force }));
                    }
                }
            }
        }
        self.decisions = decisions;
    }
}
