//! What a subscription cannot take goes to others, wherever they are.

mod cluster;

use cluster::Cluster;
use fletch_engine::{Mode, Outcome};

#[test]
fn what_is_declined_goes_to_another_shards_subscription() {
    for shards in [1, 2] {
        let mut c = Cluster::new(shards);
        let (one, other) = (c.session(0), c.session(shards - 1));
        c.queue(one, "q", None);
        c.fill(one, "q", 2);
        let tag = c.subscribe(other, "q", Mode::Consume);
        c.grant(other, tag, 1);
        let held = c.take_deliveries();
        c.settle(other, Outcome::Declined { tag, set_redelivered: true }, &held);
        c.grant(other, tag, 9);
        assert_eq!(c.take_deliveries().len(), 1, "only the other message");
        let elsewhere = c.subscribe(one, "q", Mode::Consume);
        c.grant(one, elsewhere, 9);
        assert_eq!(c.take_deliveries(), held);
    }
}
