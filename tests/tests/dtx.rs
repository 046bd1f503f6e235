//! Distributed transactions of AMQP 0-10 beyond the reference's suite: prepared branches over restarts, on other shards
//! than before, and whenever the broker is killed; what ends with its session, what takes too long or too much.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::Value;
use fletch_amqp::v0_10::table::{dtx, tx};
use fletch_amqp::v0_10::{Command, ErrorCode, Struct32, XaStatus};
use fletch_amqp::wire::Reader;
use fletch_client::{Error, Session};
use fletch_tests::random::Random;
use fletch_tests::scene::*;
use fletch_tests::store::*;
use fletch_tests::tokens::{self, Transactions};

/// A branch, for tests the number of its transaction.
struct Branch([u8; 4]);

impl Branch {
    fn new(number: u32) -> Branch {
        Branch(number.to_be_bytes())
    }

    fn xid(&self) -> Option<dtx::Xid<'_>> {
        Some(dtx::Xid { format: Some(7), global_id: Some(&self.0), branch_id: Some(b"b") })
    }
}

fn status(session: &Session, command: &Command<'_>) -> Result<XaStatus, Error> {
    let reply = session.call(command)?;
    let reply = reply.expect("the command has a result");
    let result: dtx::XaResult = reply.read().expect("of this kind");
    Ok(result.status.unwrap_or_default())
}

fn select(session: &Session) -> Result<()> {
    session.call(&dtx::Select {}.into())?;
    Ok(())
}

fn start(session: &Session, branch: &Branch) -> Result<XaStatus, Error> {
    status(session, &dtx::Start { xid: branch.xid(), ..Default::default() }.into())
}

fn resume(session: &Session, branch: &Branch) -> Result<XaStatus, Error> {
    status(session, &dtx::Start { xid: branch.xid(), resume: true, ..Default::default() }.into())
}

fn join(session: &Session, branch: &Branch) -> Result<XaStatus, Error> {
    status(session, &dtx::Start { xid: branch.xid(), join: true, ..Default::default() }.into())
}

fn end(session: &Session, branch: &Branch) -> Result<XaStatus, Error> {
    status(session, &dtx::End { xid: branch.xid(), ..Default::default() }.into())
}

fn suspend(session: &Session, branch: &Branch) -> Result<XaStatus, Error> {
    status(session, &dtx::End { xid: branch.xid(), suspend: true, ..Default::default() }.into())
}

fn fail(session: &Session, branch: &Branch) -> Result<XaStatus, Error> {
    status(session, &dtx::End { xid: branch.xid(), fail: true, ..Default::default() }.into())
}

fn prepare(session: &Session, branch: &Branch) -> Result<XaStatus, Error> {
    status(session, &dtx::Prepare { xid: branch.xid() }.into())
}

fn commit(session: &Session, branch: &Branch, one_phase: bool) -> Result<XaStatus, Error> {
    status(session, &dtx::Commit { xid: branch.xid(), one_phase }.into())
}

fn rollback(session: &Session, branch: &Branch) -> Result<XaStatus, Error> {
    status(session, &dtx::Rollback { xid: branch.xid() }.into())
}

/// Numbers of the branches that are in doubt.
fn recover(session: &Session) -> Result<Vec<u32>> {
    let reply = session.call(&dtx::Recover {}.into())?.context("recover has a result")?;
    let result: dtx::RecoverResult<'_> = reply.read()?;
    let all = result.in_doubt.context("a list")?.to_array()?;
    let number = |value: &Value| {
        let Value::Struct32(octets) = value else { anyhow::bail!("{value:?} is no xid") };
        let mut sized = u32::try_from(octets.len())?.to_be_bytes().to_vec();
        sized.extend_from_slice(octets);
        let xid = Struct32::decode(&mut Reader::new(&sized))?;
        let xid: dtx::Xid<'_> = xid.read()?;
        ensure!(xid.format == Some(7) && xid.branch_id == Some(b"b"), "{xid:?}");
        Ok(u32::from_be_bytes(xid.global_id.unwrap_or_default().try_into()?))
    };
    all.values().iter().map(number).collect()
}

fn count(session: &Session, queue: &str) -> Result<u32> {
    Ok(query(session, queue)?.context("it is there")?.0)
}

/// Takes and accepts what is in a queue: how many messages.
fn accept_all(session: &Session, queue: &str) -> Result<usize> {
    let messages = count(session, queue)?;
    consume(session, queue, queue, messages)?;
    let taken = take(session, messages as usize)?;
    session.cancel(queue)?;
    accept(session, &taken.iter().map(|d| d.id).collect::<Vec<_>>())?;
    Ok(taken.len())
}

/// In a branch, takes what is in `from` and publishes as much to `to`.
fn swap(session: &Session, branch: &Branch, from: &str, to: &str) -> Result<()> {
    ensure!(start(session, branch)? == XaStatus::XA_OK);
    let taken = accept_all(session, from)?;
    publish_durable(session, to, to, 0..taken)?;
    ensure!(end(session, branch)? == XaStatus::XA_OK);
    Ok(())
}

/// Queues on the first shard and on the last.
fn declare_pairs(scene: &Scene, session: &Session, pairs: usize) -> Result<()> {
    for pair in 0..pairs {
        declare_durable(session, &format!("from{pair}"), 0)?;
        declare_durable(session, &format!("to{pair}"), scene.shards - 1)?;
        publish_durable(session, &format!("from{pair}"), "m", 0..3)?;
    }
    session.sync()?;
    Ok(())
}

/// Prepares a branch for each pair.
fn prepare_pairs(scene: &Scene, pairs: usize) -> Result<()> {
    let session = scene.session("dtx")?;
    declare_pairs(scene, &session, pairs)?;
    select(&session)?;
    for pair in 0..pairs {
        let branch = Branch::new(pair as u32);
        swap(&session, &branch, &format!("from{pair}"), &format!("to{pair}"))?;
        ensure!(prepare(&session, &branch)? == XaStatus::XA_OK);
    }
    nothing_is_seen(&session, pairs)
}

fn nothing_is_seen(session: &Session, pairs: usize) -> Result<()> {
    for pair in 0..pairs {
        let both = (count(session, &format!("from{pair}"))?, count(session, &format!("to{pair}"))?);
        ensure!(both == (0, 0), "pair {pair} has {both:?}");
    }
    Ok(())
}

/// Commits the first, rolls the second back, leaves others.
fn decide_pairs(scene: &Scene, pairs: usize) -> Result<()> {
    let session = scene.session("later")?;
    let all: Vec<u32> = (0..pairs as u32).collect();
    ensure!(recover(&session)? == all, "{:?} are in doubt", recover(&session)?);
    nothing_is_seen(&session, pairs)?;
    ensure!(commit(&session, &Branch::new(0), false)? == XaStatus::XA_OK);
    ensure!(rollback(&session, &Branch::new(1))? == XaStatus::XA_OK);
    ensure!((count(&session, "from0")?, count(&session, "to0")?) == (0, 3), "committed");
    ensure!((count(&session, "from1")?, count(&session, "to1")?) == (3, 0), "rolled back");
    ensure!(recover(&session)? == all[2..], "{:?} are in doubt", recover(&session)?);
    Ok(())
}

#[test]
fn prepared_branches_survive_a_restart() -> Result<()> {
    Store::restarts(
        |scene| prepare_pairs(scene, 3),
        |scene, ()| {
            let said = "3 prepared branches of distributed transactions wait for their outcome";
            ensure!(scene.broker.log().contains(said), "{}", scene.broker.log());
            decide_pairs(scene, 3)?;
            let session = scene.session("last")?;
            let back = drain(&session, "from1")?;
            ensure!(texts(&back) == expected("m", 0..3), "in order: {:?}", texts(&back));
            ensure!(redelivered(&back)?.iter().all(|r| *r), "they were delivered before");
            ensure!(texts(&drain(&session, "to0")?) == expected("to0", 0..3), "in order");
            let code = refusal(commit(&session, &Branch::new(0), false))?;
            ensure!(code == ErrorCode::NOT_FOUND, "it is forgotten: {code:?}");
            Ok(())
        },
    )
}

#[test]
fn what_was_decided_stays_so() -> Result<()> {
    Store::restarts(
        |scene| {
            prepare_pairs(scene, 3)?;
            decide_pairs(scene, 3)
        },
        |scene, ()| {
            let session = scene.session("later")?;
            ensure!(recover(&session)? == [2], "{:?} are in doubt", recover(&session)?);
            ensure!((count(&session, "from0")?, count(&session, "to0")?) == (0, 3), "committed");
            ensure!((count(&session, "from1")?, count(&session, "to1")?) == (3, 0), "rolled back");
            Ok(())
        },
    )
}

#[test]
fn prepared_branches_move_to_other_shards() -> Result<()> {
    for (before, after) in [(1, 4), (4, 2), (2, 1), (4, 3)] {
        let store = Store::new()?;
        let scene = store.scene(before)?;
        said(&scene, |scene| prepare_pairs(scene, 4))?;
        scene.end(Ending::Kill)?;
        let scene = store.scene(after)?;
        said(&scene, |scene| decide_pairs(scene, 4))?;
        scene.end(Ending::Kill)?;
        let scene = store.scene(before)?;
        said(&scene, |scene| {
            let session = scene.session("last")?;
            ensure!(recover(&session)? == [2, 3]);
            ensure!(commit(&session, &Branch::new(2), false)? == XaStatus::XA_OK);
            ensure!(rollback(&session, &Branch::new(3))? == XaStatus::XA_OK);
            ensure!((count(&session, "from2")?, count(&session, "to2")?) == (0, 3));
            ensure!((count(&session, "from3")?, count(&session, "to3")?) == (3, 0));
            ensure!((count(&session, "from0")?, count(&session, "to0")?) == (0, 3));
            ensure!((count(&session, "from1")?, count(&session, "to1")?) == (3, 0));
            Ok(())
        })?;
        scene.done()?;
    }
    Ok(())
}

#[test]
fn a_branch_outlives_the_sessions_that_work_in_it() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("dtx")?;
        declare_pairs(scene, &session, 1)?;
        select(&session)?;
        let branch = Branch::new(1);
        swap(&session, &branch, "from0", "to0")?;
        session.close()?;
        let other = scene.session("other")?;
        ensure!(count(&other, "from0")? == 0, "what is accepted is the branch's");
        ensure!(prepare(&other, &branch)? == XaStatus::XA_OK);
        ensure!(count(&other, "from0")? == 0 && count(&other, "to0")? == 0);
        ensure!(rollback(&other, &branch)? == XaStatus::XA_OK);
        ensure!(count(&other, "from0")? == 3 && count(&other, "to0")? == 0);
        Ok(())
    })
}

#[test]
fn what_ends_with_its_session_can_only_be_rolled_back() -> Result<()> {
    Scene::each(|scene| {
        let (active, suspended) = (Branch::new(1), Branch::new(2));
        let session = scene.session("dtx")?;
        declare_pairs(scene, &session, 2)?;
        select(&session)?;
        for (branch, queue) in [(&suspended, "from1"), (&active, "from0")] {
            start(&session, branch)?;
            accept_all(&session, queue)?;
            if queue == "from1" {
                ensure!(suspend(&session, branch)? == XaStatus::XA_OK);
            }
        }
        session.close()?;
        let other = scene.session("other")?;
        for (branch, queue) in [(&suspended, "from1"), (&active, "from0")] {
            settle(&other, queue, |now| now.is_some_and(|(messages, _)| messages == 3))?;
            ensure!(prepare(&other, branch)? == XaStatus::XA_RBROLLBACK);
            ensure!(rollback(&other, branch)? == XaStatus::XA_OK);
        }
        Ok(())
    })
}

#[test]
fn an_association_that_fails_gives_back_what_it_has_accepted() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("dtx")?;
        declare_pairs(scene, &session, 1)?;
        select(&session)?;
        let branch = Branch::new(1);
        start(&session, &branch)?;
        accept_all(&session, "from0")?;
        publish(&session, "to0", "x", 0..1)?;
        ensure!(fail(&session, &branch)? == XaStatus::XA_RBROLLBACK);
        ensure!(count(&session, "from0")? == 3 && count(&session, "to0")? == 0);
        ensure!(commit(&session, &branch, true)? == XaStatus::XA_RBROLLBACK);
        let code = refusal(rollback(&session, &branch))?;
        ensure!(code == ErrorCode::NOT_FOUND, "{code:?}");
        Ok(())
    })
}

#[test]
fn two_sessions_work_in_one_branch_and_one_in_two() -> Result<()> {
    Scene::each(|scene| {
        let (one, two) = (scene.session("one")?, scene.session("two")?);
        declare_pairs(scene, &one, 1)?;
        let (a, b) = (Branch::new(1), Branch::new(2));
        select(&one)?;
        select(&two)?;
        start(&one, &a)?;
        publish(&one, "to0", "a", 0..1)?;
        suspend(&one, &a)?;
        publish(&one, "to0", "now", 0..1)?;
        start(&one, &b)?;
        publish(&one, "to0", "b", 0..1)?;
        end(&one, &b)?;
        ensure!(join(&two, &a)? == XaStatus::XA_OK);
        publish(&two, "to0", "a", 1..2)?;
        end(&two, &a)?;
        ensure!(resume(&one, &a)? == XaStatus::XA_OK);
        publish(&one, "to0", "a", 2..3)?;
        let code = refusal(commit(&scene.session("early")?, &a, true))?;
        ensure!(code == ErrorCode::ILLEGAL_STATE, "one still works in it: {code:?}");
        end(&one, &a)?;
        ensure!(commit(&one, &a, true)? == XaStatus::XA_OK);
        let rest = texts(&drain(&two, "to0")?);
        ensure!(rest == ["now0", "a1", "a0", "a2"], "by the ends of associations: {rest:?}");
        ensure!(rollback(&two, &b)? == XaStatus::XA_OK);
        ensure!(drain(&two, "to0")?.is_empty());
        Ok(())
    })
}

#[test]
fn errors_are_the_specifications() -> Result<()> {
    let scene = Scene::new(2)?;
    let branch = Branch::new(1);
    let selected = |name: &str| -> Result<Session> {
        let session = scene.session(name)?;
        select(&session)?;
        Ok(session)
    };
    let session = selected("twice")?;
    start(&session, &branch)?;
    let code = refusal(start(&session, &Branch::new(2)))?;
    ensure!(code == ErrorCode::ILLEGAL_STATE, "one at a time: {code:?}");
    let session = selected("local")?;
    let code = refusal(session.call(&tx::Select {}.into()))?;
    ensure!(code == ErrorCode::ILLEGAL_STATE, "one kind of transactions: {code:?}");
    let session = scene.session("no xid")?;
    let code = refusal(session.call(&dtx::Prepare { xid: None }.into()))?;
    ensure!(code == ErrorCode::ILLEGAL_ARGUMENT, "{code:?}");
    let session = scene.session("forget")?;
    let code = refusal(session.call(&dtx::Forget { xid: branch.xid() }.into()))?;
    ensure!(code == ErrorCode::ILLEGAL_STATE, "nobody else has ended it: {code:?}");
    let session = selected("join")?;
    let late = Branch::new(3);
    start(&session, &late)?;
    end(&session, &late)?;
    ensure!(prepare(&session, &late)? == XaStatus::XA_OK);
    ensure!(prepare(&session, &late)? == XaStatus::XA_OK, "it is");
    let code = refusal(join(&session, &late))?;
    ensure!(code == ErrorCode::COMMAND_INVALID, "it is completed: {code:?}");
    let session = selected("other")?;
    start(&session, &Branch::new(4))?;
    let code = refusal(end(&session, &branch))?;
    ensure!(code == ErrorCode::COMMAND_INVALID, "not the one it works in: {code:?}");
    scene.done()
}

#[test]
fn a_prepared_branch_keeps_the_room_of_its_messages() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("dtx")?;
        let arguments = fletch_amqp::types::Map::new().with("qpid.max_count", 3).encoded()?;
        let declare = fletch_amqp::v0_10::table::queue::Declare {
            queue: Some("full"),
            arguments: Some(arguments.view()),
            ..Default::default()
        };
        session.call(&declare.into())?;
        select(&session)?;
        let (one, two) = (Branch::new(1), Branch::new(2));
        for branch in [&one, &two] {
            start(&session, branch)?;
            publish(&session, "full", "m", 0..2)?;
            end(&session, branch)?;
        }
        ensure!(prepare(&session, &one)? == XaStatus::XA_OK);
        ensure!(prepare(&session, &two)? == XaStatus::XA_RBROLLBACK, "no room for both");
        ensure!(rollback(&session, &two)? == XaStatus::XA_OK);
        ensure!(commit(&session, &one, false)? == XaStatus::XA_OK);
        ensure!(count(&session, "full")? == 2);
        Ok(())
    })
}

#[test]
fn what_takes_too_long_is_rolled_back_unless_it_is_prepared() -> Result<()> {
    let store = Store::new()?;
    let scene = store.scene_with(2, &["--dtx-default-timeout", "1"])?;
    let session = scene.session("dtx")?;
    declare_pairs(&scene, &session, 2)?;
    select(&session)?;
    let (late, prepared) = (Branch::new(1), Branch::new(2));
    swap(&session, &prepared, "from1", "to1")?;
    ensure!(prepare(&session, &prepared)? == XaStatus::XA_OK);
    start(&session, &late)?;
    accept_all(&session, "from0")?;
    let begun = Instant::now();
    settle(&session, "from0", |now| now.is_some_and(|(messages, _)| messages == 3))?;
    ensure!(begun.elapsed() > Duration::from_millis(500), "not at once");
    ensure!(end(&session, &late)? == XaStatus::XA_RBTIMEOUT);
    ensure!(prepare(&session, &late)? == XaStatus::XA_RBTIMEOUT);
    ensure!(commit(&session, &prepared, false)? == XaStatus::XA_OK);
    ensure!(count(&session, "to1")? == 3);
    scene.done()
}

#[test]
fn branches_have_a_limit() -> Result<()> {
    let store = Store::new()?;
    let scene = store.scene_with(2, &["--max-dtx-size", "100k"])?;
    let session = scene.session("dtx")?;
    declare_pairs(&scene, &session, 1)?;
    select(&session)?;
    let (small, large) = (Branch::new(1), Branch::new(2));
    swap(&session, &small, "from0", "to0")?;
    start(&session, &large)?;
    session.send("", &persistent("to0", &[0; 100_000]))?;
    let error = end(&session, &large).expect_err("too large");
    ensure!(error.to_string().contains("max-dtx-size"), "{error}");
    let other = scene.session("other")?;
    ensure!(prepare(&other, &large)? == XaStatus::XA_RBROLLBACK);
    ensure!(rollback(&other, &large)? == XaStatus::XA_OK);
    ensure!(commit(&other, &small, true)? == XaStatus::XA_OK);
    ensure!(count(&other, "to0")? == 3);
    select(&other)?;
    let mut started = 0;
    let code = loop {
        let branch = Branch::new(100 + started);
        match start(&other, &branch).and_then(|_| end(&other, &branch)) {
            Ok(_) => started += 1,
            error => break refusal(error)?,
        }
    };
    ensure!(code == ErrorCode::RESOURCE_LIMIT_EXCEEDED, "{code:?}");
    ensure!(started == 100, "{started} branches of 1024 bytes fit");
    scene.done()
}

/// What a transaction manager has decided, which outlives the broker.
#[derive(Default)]
struct Manager {
    next: AtomicU32,
    commits: Mutex<BTreeMap<u32, bool>>,
    /// So many branches were in doubt after kills.
    in_doubt: AtomicU32,
}

impl Manager {
    fn decide(&self, branch: u32, commit: bool) {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).insert(branch, commit);
    }
}

impl Transactions for Manager {
    fn select(&self, session: &Session) -> Result<()> {
        select(session)
    }

    /// Ends what is in doubt as it was decided: what was not is rolled back.
    fn resolve(&self, session: &Session) -> Result<()> {
        for number in recover(session)? {
            let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
            let status = match commits.get(&number) {
                Some(true) => commit(session, &Branch::new(number), false)?,
                _ => rollback(session, &Branch::new(number))?,
            };
            ensure!(status == XaStatus::XA_OK, "{status:?}");
            self.in_doubt.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// In a branch that is prepared first.
    fn run(
        &self,
        session: &Session,
        random: &mut Random,
        work: impl FnOnce(&mut Random) -> Result<()>,
    ) -> Result<ControlFlow<()>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let branch = Branch::new(id);
        ensure!(start(session, &branch)? == XaStatus::XA_OK);
        work(random)?;
        ensure!(end(session, &branch)? == XaStatus::XA_OK);
        ensure!(prepare(session, &branch)? == XaStatus::XA_OK);
        let commits = !random.one_in(6);
        self.decide(id, commits);
        let status = match commits {
            true => commit(session, &branch, false)?,
            false => rollback(session, &branch)?,
        };
        ensure!(status == XaStatus::XA_OK, "{status:?}");
        Ok(ControlFlow::Continue(()))
    }
}

fn kills(shards: &[u16]) -> Result<()> {
    let manager = Manager::default();
    tokens::kills(&manager, shards)?;
    println!("{} branches were in doubt", manager.in_doubt.into_inner());
    Ok(())
}

#[test]
fn what_the_transaction_manager_decided_holds_whenever_the_broker_is_killed() -> Result<()> {
    kills(&[1])
}

#[test]
fn what_the_transaction_manager_decided_holds_over_four_shards_too() -> Result<()> {
    kills(&[4, 4, 2, 4])
}
