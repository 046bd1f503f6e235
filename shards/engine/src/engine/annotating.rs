//! Consumers that say more of a message when they give it back.

use super::Engine;
use crate::annotations::Annotations;
use crate::frame::{Effects, QueueCommand};
use crate::ids::SessionId;
use crate::request::DeliveryRef;
use std::sync::Arc;

impl Engine {
    /// Deliveries that the session has, and is about to release, are to be delivered with these annotations
    /// from then on.
    pub fn annotate(
        &mut self,
        session: SessionId,
        deliveries: &[DeliveryRef],
        annotations: &Arc<Annotations>,
        fx: &mut Effects,
    ) {
        for run in deliveries.chunk_by(|a, b| a.queue == b.queue) {
            let queue = run[0].queue;
            let Some(home) = self.topology.home_of(queue) else { continue };
            let positions = run.iter().map(|delivery| delivery.position);
            if home != self.shard {
                let annotations = Arc::clone(annotations);
                let positions = positions.collect();
                let command = QueueCommand::Annotate { positions, annotations };
                self.ask_home(session, queue, home, command, fx);
            } else if let Some(q) = self.queues.get_mut(&queue) {
                positions.for_each(|position| q.annotate(position, annotations));
            }
        }
    }
}
