//! Queues that are deleted by themselves: when, and what keeps them.

mod cluster;

use cluster::Cluster;
use cluster::clients::queue;
use fletch_amqp::Value;
use fletch_amqp::types::Map;
use fletch_engine::{
    CreditUnit, DeclareQueue, ErrorKind, Mode, Outcome, Reply, Request, Selection, SessionId,
    SubscriptionId,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn with(name: &str, argument: &str, value: impl Into<Value>) -> DeclareQueue {
    DeclareQueue { arguments: Map::new().with(argument, value), ..queue(name) }
}

fn policy(name: &str, policy: &str) -> DeclareQueue {
    with(name, "qpid.lifetime-policy", policy)
}

fn delayed(name: &str) -> DeclareQueue {
    with(name, "qpid.auto_delete_timeout", Value::Int32(3))
}

/// A broker of each number of shards, and two sessions on the first and the last of them.
fn each(test: impl Fn(&mut Cluster, SessionId, SessionId)) {
    for shards in [1, 2, 4] {
        let mut cluster = Cluster::new(shards);
        let (one, other) = (cluster.session(0), cluster.session(shards - 1));
        test(&mut cluster, one, other);
    }
}

#[test]
fn a_delay_begins_when_nobody_uses_the_queue() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(delayed("q")));
        c.pass(10 * SECOND);
        assert!(c.exists("q"), "one that was never used stays");
        let tag = c.subscribe(other, "q", Mode::Consume);
        c.pass(10 * SECOND);
        c.ok(other, Request::Cancel { tag });
        c.pass(2 * SECOND);
        assert!(c.exists("q"));
        c.pass(2 * SECOND);
        assert!(!c.exists("q"));
    });
}

#[test]
fn use_ends_the_wait_and_a_declare_begins_it_anew() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(delayed("q")));
        let tag = c.subscribe(other, "q", Mode::Browse);
        c.ok(other, Request::Cancel { tag });
        c.pass(2 * SECOND);
        let tag = c.subscribe(one, "q", Mode::Browse);
        c.pass(5 * SECOND);
        assert!(c.exists("q"));
        c.ok(one, Request::Cancel { tag });
        c.pass(2 * SECOND);
        c.ok(other, Request::DeclareQueue(queue("q")));
        c.pass(2 * SECOND);
        assert!(c.exists("q"), "its declaration was use");
        c.pass(2 * SECOND);
        assert!(!c.exists("q"));
    });
}

#[test]
fn a_declare_of_a_queue_in_use_begins_no_wait() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(delayed("q")));
        let tag = c.subscribe(other, "q", Mode::Browse);
        c.ok(one, Request::DeclareQueue(queue("q")));
        c.pass(2 * SECOND);
        c.ok(other, Request::Cancel { tag });
        c.pass(2 * SECOND);
        assert!(c.exists("q"), "it has not been used for two seconds");
        c.pass(2 * SECOND);
        assert!(!c.exists("q"));
    });
}

#[test]
fn an_exclusive_queue_outlives_its_session_by_the_delay() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(DeclareQueue { exclusive: true, ..delayed("q") }));
        c.ok(one, Request::Close);
        c.pass(2 * SECOND);
        assert!(c.exists("q"));
        c.ok(other, Request::DeclareQueue(DeclareQueue { exclusive: true, ..queue("q") }));
        c.pass(5 * SECOND);
        assert!(c.exists("q"), "somebody has it");
        c.ok(other, Request::Close);
        c.pass(4 * SECOND);
        assert!(!c.exists("q"));
    });
}

#[test]
fn unused_and_empty_waits_for_the_last_message() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(policy("q", "delete-if-unused-and-empty")));
        c.fill(other, "q", 3);
        let tag = c.subscribe(other, "q", Mode::Consume);
        c.grant(other, tag, 2);
        let deliveries = c.take_deliveries();
        assert_eq!(deliveries.len(), 2);
        c.ok(other, Request::Cancel { tag });
        assert!(c.exists("q"));
        c.ok(other, Request::PurgeQueue { name: "q".into(), which: Selection::default() });
        assert!(c.exists("q"), "two are not settled");
        c.settle(other, Outcome::Accepted, &deliveries[..1]);
        assert!(c.exists("q"));
        c.settle(other, Outcome::Rejected, &deliveries[1..]);
        assert!(!c.exists("q"));
    });
}

#[test]
fn unused_and_empty_goes_when_the_last_message_expires_or_is_purged() {
    each(|c, one, other| {
        for how in ["expires", "is purged"] {
            c.ok(one, Request::DeclareQueue(policy(how, "delete-if-unused-and-empty")));
            c.send_for(other, how, SECOND);
            if how == "expires" {
                c.pass(20 * SECOND);
            } else {
                let reply = c.ok(
                    other,
                    Request::PurgeQueue { name: how.into(), which: Selection::default() },
                );
                assert!(matches!(reply, Reply::Purged(1)));
            }
            assert!(!c.exists(how), "it {how}");
        }
    });
}

#[test]
fn unused_and_empty_stays_while_somebody_is_subscribed() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(policy("q", "delete-if-unused-and-empty")));
        let tag = c.subscribe(other, "q", Mode::Consume);
        c.grant(other, tag, 5);
        c.fill(one, "q", 1);
        let deliveries = c.take_deliveries();
        c.settle(other, Outcome::Accepted, &deliveries);
        assert!(c.exists("q"));
        c.ok(other, Request::Cancel { tag });
        assert!(!c.exists("q"));
    });
}

#[test]
fn unused_goes_with_its_messages() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(policy("q", "delete-if-unused")));
        c.fill(one, "q", 5);
        let tag = c.subscribe(other, "q", Mode::Browse);
        assert!(c.exists("q"));
        c.ok(other, Request::Cancel { tag });
        assert!(!c.exists("q"));
        c.ok(one, Request::DeclareQueue(policy("r", "manual")));
        c.ok(
            one,
            Request::DeclareQueue(DeclareQueue { auto_delete: true, ..policy("s", "manual") }),
        );
        for name in ["r", "s"] {
            let tag = c.subscribe(other, name, Mode::Browse);
            c.ok(other, Request::Cancel { tag });
            assert!(c.exists(name));
        }
    });
}

#[test]
fn on_close_goes_with_whatever_ends_first() {
    each(|c, one, other| {
        let exclusive = |name| DeclareQueue { exclusive: true, ..policy(name, "delete-on-close") };
        c.ok(one, Request::DeclareQueue(exclusive("consumed")));
        let tag = c.subscribe(one, "consumed", Mode::Consume);
        c.ok(one, Request::Cancel { tag });
        assert!(!c.exists("consumed"), "its last subscription ended");
        c.ok(one, Request::DeclareQueue(exclusive("left")));
        c.ok(one, Request::Close);
        assert!(!c.exists("left"), "its owner ended");
        c.ok(other, Request::DeclareQueue(policy("drained", "delete-on-close")));
        let tag = c.subscribe(other, "drained", Mode::Consume);
        c.grant(other, tag, 2);
        c.fill(other, "drained", 1);
        let deliveries = c.take_deliveries();
        c.settle(other, Outcome::Accepted, &deliveries);
        assert!(!c.exists("drained"), "its last message left");
        assert_eq!(c.take_ended(), [(other, tag)]);
    });
}

#[test]
fn who_waits_for_no_message_is_told_when_it_does() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(queue("q")));
        let (granting, moving) =
            (c.subscribe(other, "q", Mode::Consume), c.subscribe(other, "q", Mode::Consume));
        c.grant(other, moving, 1);
        c.fill(one, "q", 1);
        let delete = Request::DeleteQueue { name: "q".into(), if_unused: false, if_empty: false };
        c.ok(one, delete);
        assert_eq!(c.take_ended(), []);
        let of = |tag| SubscriptionId { session: other, tag };
        c.input(other.shard(), |e, now, fx| e.moved(now, of(moving), (1, 1), fx));
        assert_eq!(c.take_ended(), [(other, moving)]);
        let granted = c.input(other.shard(), |e, now, fx| {
            e.grant(now, of(granting), CreditUnit::Messages, 1, fx)
        });
        let kind = granted.map_err(|error| error.kind);
        assert_eq!(kind, Err(ErrorKind::ResourceDeleted));
        assert_eq!(c.take_ended(), [], "it was told already");
    });
}

#[test]
fn a_delay_holds_for_every_policy() {
    each(|c, one, other| {
        let both = Map::new()
            .with("qpid.auto_delete_timeout", Value::Int32(3))
            .with("qpid.lifetime-policy", "delete-if-unused-and-empty");
        c.ok(one, Request::DeclareQueue(DeclareQueue { arguments: both, ..queue("q") }));
        let tag = c.subscribe(other, "q", Mode::Browse);
        c.ok(other, Request::Cancel { tag });
        c.fill(one, "q", 1);
        c.pass(5 * SECOND);
        assert!(c.exists("q"), "it is not empty");
        c.ok(other, Request::PurgeQueue { name: "q".into(), which: Selection::default() });
        c.pass(2 * SECOND);
        assert!(c.exists("q"));
        c.pass(2 * SECOND);
        assert!(!c.exists("q"));
    });
}
