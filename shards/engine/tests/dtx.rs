//! Branches of distributed transactions on several shards: what somebody else decides, and what is forgotten.

mod cluster;

use cluster::Cluster;
use fletch_amqp::Map;
use fletch_engine::{
    BranchId, DtxRequest, Error, ErrorKind, Mode, Reply, Request, SessionId, Transaction, XaStatus,
};

fn id() -> BranchId {
    BranchId::new(1, b"transaction", b"branch")
}

fn ask(broker: &mut Cluster, session: SessionId, request: DtxRequest) -> Result<Reply, Error> {
    broker.ask(session, Request::Dtx(Box::new(request)))
}

fn status(broker: &mut Cluster, session: SessionId, request: DtxRequest) -> XaStatus {
    match ask(broker, session, request) {
        Ok(Reply::Xa(status)) => status,
        other => panic!("no status: {other:?}"),
    }
}

fn kind(broker: &mut Cluster, session: SessionId, request: DtxRequest) -> ErrorKind {
    ask(broker, session, request).expect_err("refused").kind
}

fn in_doubt(broker: &mut Cluster, session: SessionId) -> Vec<BranchId> {
    match ask(broker, session, DtxRequest::Recover) {
        Ok(Reply::InDoubt(all)) => all,
        other => panic!("no branches: {other:?}"),
    }
}

/// A broker with two messages in `from`, which a prepared branch has accepted.
fn prepared(shards: u16, seed: u64) -> (Cluster, SessionId, SessionId) {
    let mut broker = Cluster::any_order(shards, seed);
    let (worker, manager) = (broker.session(shards - 1), broker.session(0));
    broker.queue(worker, "from", None);
    for text in ["a", "b"] {
        broker.publish(worker, "", ("from", text), &Map::new());
    }
    broker.finish();
    let start = DtxRequest::Start { branch: id(), join: false };
    assert_eq!(status(&mut broker, worker, start), XaStatus::Ok);
    let taken = broker.read(worker, "from", Mode::Consume);
    let accepts = taken.iter().map(|got| got.delivery).collect();
    let work = Some(Transaction { publishes: Vec::new(), accepts });
    assert_eq!(status(&mut broker, worker, DtxRequest::End { branch: id(), work }), XaStatus::Ok);
    let prepare = DtxRequest::Prepare { branch: id() };
    assert_eq!(status(&mut broker, manager, prepare), XaStatus::Ok);
    assert_eq!(broker.texts(worker, "from"), [""; 0]);
    (broker, worker, manager)
}

#[test]
fn a_heuristic_outcome_is_told_until_it_may_be_forgotten() {
    for shards in [1, 2, 4] {
        for commit in [true, false] {
            let (mut broker, worker, manager) = prepared(shards, u64::from(shards));
            let complete = DtxRequest::Complete { branch: id(), commit };
            assert!(matches!(ask(&mut broker, worker, complete.clone()), Ok(Reply::Done)));
            let left: &[&str] = if commit { &[] } else { &["a", "b"] };
            assert_eq!(broker.texts(worker, "from"), left);
            assert_eq!(kind(&mut broker, worker, complete), ErrorKind::IllegalState);
            assert_eq!(in_doubt(&mut broker, manager), [id()]);
            let told = match commit {
                true => XaStatus::HeuristicCommit,
                false => XaStatus::HeuristicRollback,
            };
            let commit = DtxRequest::Commit { branch: id(), one_phase: false };
            assert_eq!(status(&mut broker, manager, commit), told);
            let rollback = DtxRequest::Rollback { branch: id() };
            assert_eq!(status(&mut broker, manager, rollback.clone()), told);
            assert_eq!(broker.texts(worker, "from"), left, "it stays so");
            let forget = DtxRequest::Forget { branch: id() };
            assert!(matches!(ask(&mut broker, manager, forget.clone()), Ok(Reply::Done)));
            assert_eq!(kind(&mut broker, manager, rollback), ErrorKind::NotFound);
            assert_eq!(kind(&mut broker, manager, forget), ErrorKind::NotFound);
            assert_eq!(in_doubt(&mut broker, manager), []);
        }
    }
}

#[test]
fn only_what_is_prepared_has_a_heuristic_outcome() {
    let mut broker = Cluster::any_order(2, 7);
    let session = broker.session(1);
    let complete = DtxRequest::Complete { branch: id(), commit: true };
    assert_eq!(kind(&mut broker, session, complete.clone()), ErrorKind::NotFound);
    let start = DtxRequest::Start { branch: id(), join: false };
    assert_eq!(status(&mut broker, session, start), XaStatus::Ok);
    assert_eq!(kind(&mut broker, session, complete.clone()), ErrorKind::IllegalState);
    let work = Some(Transaction::default());
    assert_eq!(status(&mut broker, session, DtxRequest::End { branch: id(), work }), XaStatus::Ok);
    assert_eq!(kind(&mut broker, session, complete), ErrorKind::IllegalState);
    let forget = DtxRequest::Forget { branch: id() };
    assert_eq!(kind(&mut broker, session, forget), ErrorKind::IllegalState);
    let rollback = DtxRequest::Rollback { branch: id() };
    assert_eq!(status(&mut broker, session, rollback), XaStatus::Ok);
}
