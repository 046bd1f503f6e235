//! Transient backlogs larger than the memory they may take: they go to paging files and come back whole, in order, and
//! only as long as the broker lives.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::CreditUnit;
use fletch_amqp::v0_10::table::queue;
use fletch_client::{Outgoing, Session};
use fletch_tests::disk::Disk;
use fletch_tests::numbered::{numbered, send_numbered};
use fletch_tests::scene::*;
use fletch_tests::store::*;
use tempfile::TempDir;

const SIZE: usize = 16 << 10;

/// 56 MiB of them: less than a client takes without looking.
const COUNT: u32 = 3584;

/// 160 MiB of them.
const BACKLOG: u32 = 40 * 256;

/// What a broker may take more than before while it holds those: its limit, what is kept at the front of a queue, what
/// is on its way from the socket and to the disk, and what an allocator likes to keep.
const BOUND: u64 = 64 << 20;

const SMALL: [&str; 6] =
    ["--queue-memory", "2m", "--journal-segment-size", "1m", "--default-queue-limit", "0"];

/// A message for a queue that no restart keeps.
fn transient<'a>(queue: &'a str, body: &'a [u8]) -> Outgoing<'a> {
    Outgoing::to_queue(queue, body)
}

/// The number of files of segments below a directory.
fn segments(dir: &Path) -> Result<usize> {
    if !dir.exists() {
        return Ok(0);
    }
    let files = files_below(dir)?;
    Ok(files.iter().filter(|file| file.extension().is_some_and(|end| end == "seg")).count())
}

/// Sends a backlog, and takes it again; the broker's memory stays within its bound.
fn there_and_back(scene: &Scene, session: &Session, queue: &str) -> Result<()> {
    let before = scene.broker.counters()?.resident;
    send_numbered(session, transient, queue, SIZE, 0..BACKLOG)?;
    let grown = scene.broker.counters()?.resident.saturating_sub(before);
    ensure!(grown < BOUND, "{grown} octets are in memory");
    // What is delivered and not accepted stays in memory.
    consume(session, queue, "in", 0)?;
    for from in (0..BACKLOG).step_by(256) {
        session.flow("in", CreditUnit::MESSAGE, 256)?;
        let came = take(session, 256)?;
        assert_eq!(numbered(&came, SIZE)?, (from..from + 256).collect::<Vec<_>>());
        accept(session, &came.iter().map(|d| d.id).collect::<Vec<_>>())?;
    }
    let grown = scene.broker.counters()?.resident.saturating_sub(before);
    ensure!(grown < BOUND, "{grown} octets are in memory after all was read back");
    nothing(session)
}

#[test]
fn a_transient_backlog_leaves_memory_and_comes_back_in_order() -> Result<()> {
    for shards in [1, 2] {
        let store = Store::new()?;
        let scene = store.scene_with(shards, &SMALL)?;
        said(&scene, |scene| {
            let session = scene.session("client")?;
            declare(&session, "q", shards - 1)?;
            there_and_back(scene, &session, "q")?;
            // Consumed, it takes no room any more.
            let deadline = Instant::now() + PATIENCE;
            while size_of(&store.path().join("paging"))? > 8 << 20 {
                ensure!(Instant::now() < deadline, "the paging file stays large");
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        })?;
        scene.done()?;
        assert_eq!(segments(&store.path().join("paging"))?, 0, "it is gone with its broker");
    }
    Ok(())
}

#[test]
fn paged_queues_have_limits_of_their_own() -> Result<()> {
    let paging = Map::new().with("qpid.paging", true);
    let larger = paging.clone().with("qpid.max_pages_loaded", 64).with("qpid.page_factor", "2");
    let policy = Map::new().with("qpid.policy_type", "flow_to_disk");
    let by_size = policy.clone().with("qpid.max_size", 1 << 20);
    let by_count = policy.with("qpid.max_count", 50);
    for arguments in [paging, larger, by_size, by_count] {
        let store = Store::new()?;
        let options = ["--journal-segment-size", "1m", "--default-queue-limit", "0"];
        let scene = store.scene_with(1, &options)?;
        said(&scene, |scene| {
            let session = scene.session("client")?;
            let encoded = arguments.encoded()?;
            let arguments = Some(encoded.view());
            let declare = queue::Declare { queue: Some("q"), arguments, ..Default::default() };
            session.call(&declare.into())?;
            there_and_back(scene, &session, "q")
        })
        .with_context(|| format!("{arguments:?}"))?;
        scene.done()?;
    }
    Ok(())
}

#[test]
fn what_is_paged_is_looked_at_released_and_rejected_like_the_rest() -> Result<()> {
    let store = Store::new()?;
    let scene = store.scene_with(2, &SMALL)?;
    said(&scene, |scene| {
        let session = scene.session("client")?;
        declare_exchange(&session, "dead", "fanout")?;
        declare(&session, "letters", 1)?;
        bind(&session, "dead", "letters", "")?;
        let alternate_exchange = Some("dead");
        let declare = queue::Declare { queue: Some("q"), alternate_exchange, ..Default::default() };
        declare_as(&session, 0, &declare)?;
        send_numbered(&session, transient, "q", SIZE, 0..COUNT)?;
        for _ in 0..2 {
            let found = numbered(&browse(&session, "q")?, SIZE)?;
            assert_eq!(found, (0..COUNT).collect::<Vec<_>>());
        }
        // From the middle of the backlog on everything moves on, half by reject and half by delete.
        consume(&session, "q", "in", COUNT / 2)?;
        let came = take(&session, COUNT as usize / 2)?;
        session.release(&ids(&came[..100]), true)?;
        session.reject(&ids(&came[100..]), "unwanted")?;
        delete(&session, "q")?;
        settle(&session, "letters", |found| found == Some((COUNT, 0)))?;
        let mut letters = numbered(&drain(&session, "letters")?, SIZE)?;
        letters.sort_unstable();
        assert_eq!(letters, (0..COUNT).collect::<Vec<_>>());
        Ok(())
    })?;
    scene.done()
}

#[test]
fn a_paging_directory_needs_no_data_directory_and_has_one_broker() -> Result<()> {
    let dir = TempDir::new()?;
    let path = dir.path().join("paging");
    let name = path.to_str().context("a path")?;
    let options = [&["--paging-dir", name], &SMALL[..]].concat();
    for life in 0..2 {
        let scene = Scene::new_with(2, &options)?;
        said(&scene, |scene| {
            assert_eq!(segments(&path)?, 0, "what a killed broker left is gone");
            let session = scene.session("client")?;
            declare(&session, "q", 1)?;
            send_numbered(&session, transient, "q", SIZE, 0..1000)?;
            settle(&session, "q", |found| found == Some((1000, 0)))?;
            ensure!(segments(&path)? > 2, "the backlog is not in {name}");
            let (status, errors) = fletch_tests::broker::run_to_end(
                &[&["--shards", "2", "--port", "0", "--auth", "no", "--no-data-dir"], &options[..]]
                    .concat(),
            )?;
            let pid = scene.broker.pid().to_string();
            ensure!(status.code() == Some(1), "ended with {status}: {errors}");
            ensure!(errors.contains(name) && errors.contains(&pid), "{errors}");
            Ok(())
        })
        .with_context(|| format!("life {life}"))?;
        scene.end(if life == 0 { Ending::Kill } else { Ending::Stop })?;
    }
    assert_eq!(segments(&path)?, 0);
    let file = tempfile::NamedTempFile::new()?;
    let name = file.path().to_str().context("a path")?;
    let options = ["--port", "0", "--auth", "no", "--no-data-dir", "--paging-dir", name];
    let (status, errors) = fletch_tests::broker::run_to_end(&options)?;
    ensure!(status.code() == Some(1) && errors.contains(name), "{status}: {errors}");
    Ok(())
}

#[test]
fn a_full_disk_keeps_messages_in_memory_and_loses_none() -> Result<()> {
    let Some(disk) = Disk::new(24)? else { return Ok(()) };
    let path = disk.path().join("paging");
    let name = path.to_str().context("a path")?;
    let options = [&["--paging-dir", name], &SMALL[..]].concat();
    let scene = Scene::new_with(1, &options)?;
    said(&scene, |scene| {
        let session = scene.session("client")?;
        declare(&session, "q", 0)?;
        send_numbered(&session, transient, "q", SIZE, 0..COUNT)?;
        let log = scene.broker.log();
        ensure!(log.contains("No space left for paging in"), "nothing is said: {log}");
        assert_eq!(numbered(&drain(&session, "q")?, SIZE)?, (0..COUNT).collect::<Vec<_>>());
        // With what was read back gone there is room again.
        send_numbered(&session, transient, "q", SIZE, 0..500)?;
        assert_eq!(numbered(&drain(&session, "q")?, SIZE)?, (0..500).collect::<Vec<_>>());
        Ok(())
    })?;
    scene.end(Ending::Stop)
}
