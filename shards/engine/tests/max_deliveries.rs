//! A message that comes back again and again goes to its queue's alternate exchange in the end.

mod cluster;

use cluster::Cluster;
use cluster::clients::queue;
use fletch_amqp::types::Map;
use fletch_engine::{DeclareQueue, ErrorKind, Mode, Outcome, Request};

fn worn_out_after(deliveries: u64) -> DeclareQueue {
    let arguments = Map::new().with("fletch.max_deliveries", deliveries);
    DeclareQueue { alternate: Some("dead".into()), arguments, ..queue("q") }
}

#[test]
fn what_came_back_too_often_is_rejected() {
    for shards in [1, 2] {
        let mut c = Cluster::new(shards);
        let (one, other) = (c.session(0), c.session(shards - 1));
        c.exchange(one, ("dead", "fanout"), None, Map::new());
        c.queue(one, "letters", None);
        c.bind(one, "letters", "dead", "", Map::new());
        c.ok(one, Request::DeclareQueue(worn_out_after(3)));
        c.fill(one, "q", 2);
        let tag = c.subscribe(other, "q", Mode::Consume);
        for attempt in 1..=3 {
            c.grant(other, tag, 2);
            let held = c.take_deliveries();
            assert_eq!(held.len(), 2, "attempt {attempt}");
            // Coming back unharmed counts for nothing.
            c.settle(other, Outcome::Released { set_redelivered: false }, &held);
            c.grant(other, tag, 2);
            let held = c.take_deliveries();
            c.settle(other, Outcome::Released { set_redelivered: true }, &held);
        }
        assert_eq!((c.messages(one, "q"), c.messages(one, "letters")), (Some(0), Some(2)));
    }
}

#[test]
fn no_delivery_at_all_is_no_limit() {
    let mut c = Cluster::new(1);
    let one = c.session(0);
    c.exchange(one, ("dead", "fanout"), None, Map::new());
    let error = c.ask(one, Request::DeclareQueue(worn_out_after(0))).expect_err("nothing would do");
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    assert!(error.text.contains("fletch.max_deliveries"), "{error}");
}
