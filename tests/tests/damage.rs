//! A disk that does not keep what it was given: flipped bits, short and missing files. The broker does not start on such
//! data and says which file it is and where; told to salvage, it starts and says what is lost. What is on other shards
//! is whole, and nothing that was damaged is ever delivered as if it were not.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use fletch_client::Session;
use fletch_tests::ledger::Tag;
use fletch_tests::random::Random;
use fletch_tests::scene::said;
use fletch_tests::store::*;

/// Two shards, each with a queue of its own.
const SHARDS: u16 = 2;
const QUEUES: [&str; 2] = ["q0", "q1"];

/// Messages in each queue, and octets of each: several segments, and many batches.
const COUNT: u64 = 120;
const SIZE: usize = 64 << 10;

const OPTIONS: [&str; 2] = ["--journal-segment-size", "1m"];
const SALVAGE: [&str; 3] = ["--journal-segment-size", "1m", "--journal-salvage"];

fn tag(queue: usize, number: u64) -> Tag {
    Tag { publisher: queue as u16, number }
}

/// Data of a broker that ended in this way.
fn prepare(ending: Ending) -> Result<Store> {
    let store = Store::new()?;
    let scene = store.scene_with(SHARDS, &OPTIONS)?;
    let session = scene.session("publisher")?;
    for (home, name) in QUEUES.into_iter().enumerate() {
        declare_durable(&session, name, home as u16)?;
    }
    // Each twentieth is waited for: batches of some size, and nothing in doubt.
    for number in 0..COUNT {
        for (queue, name) in QUEUES.into_iter().enumerate() {
            session.send("", &persistent(name, &tag(queue, number).body(SIZE)))?;
        }
        if number % 20 == 19 {
            session.sync()?;
        }
    }
    session.close()?;
    scene.end(ending)?;
    Ok(store)
}

/// Which messages a queue has; each of them whole.
fn numbers(session: &Session, queue: usize) -> Result<Vec<u64>> {
    browse(session, QUEUES[queue])?
        .iter()
        .map(|delivery| {
            let found = Tag::of(delivery.body())?;
            ensure!(found.publisher as usize == queue, "{found} in {}", QUEUES[queue]);
            Ok(found.number)
        })
        .collect()
}

fn all() -> Vec<u64> {
    (0..COUNT).collect()
}

/// Octets of a body that [`place_of`] has seen together: what is behind them may be in another batch, or file.
const SEEN: usize = 64;

/// The segment a message is in, and where its body begins there.
fn place_of(store: &Store, tag: Tag) -> Result<(PathBuf, u64)> {
    let body = tag.body(SIZE);
    for file in files_below(&store.journal())? {
        let octets = std::fs::read(&file)?;
        if let Some(at) = octets.windows(SEEN).position(|part| part == &body[..SEEN]) {
            return Ok((file, at as u64));
        }
    }
    bail!("{tag} is in no file of {}", store.journal().display())
}

fn flip(file: &Path, at: u64, bit: u8) -> Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(file)?;
    let mut octet = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut octet)?;
    octet[0] ^= 1 << bit;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.write_all(&octet)?)
}

fn overwrite(file: &Path, at: u64, octets: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(file)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.write_all(octets)?)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The number behind the word "offset" in a line that names the file.
fn offset_told(text: &str, file: &Path) -> Option<u64> {
    text.lines().filter(|line| line.contains(&name(file))).find_map(|line| {
        let (_, rest) = line.split_once("offset")?;
        let digits = rest.trim_start_matches([' ', '=', ':', '`']);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    })
}

/// The start is refused, with exit status 1 and a line that names the file.
fn refused(store: &Store, file: &Path) -> Result<String> {
    let before: Vec<_> = files_below(&store.journal())?;
    let (status, errors) = store.refused(SHARDS, &OPTIONS)?;
    ensure!(status.code() == Some(1), "{status}: {errors}");
    ensure!(errors.contains(&name(file)), "no {} in: {errors}", name(file));
    ensure!(!errors.contains("panicked"), "{errors}");
    let after = files_below(&store.journal())?;
    ensure!(before == after, "a refused start has changed {before:?} to {after:?}");
    Ok(errors)
}

/// Salvages data of which the shard of `hurt` is damaged, and goes on from there: the other queue is whole, in the
/// damaged one is what can be had, in its order. Returns which messages those are and what the broker said.
fn salvaged(store: &Store, hurt: usize) -> Result<(Vec<u64>, String)> {
    let mut left = Vec::new();
    let mut log = String::new();
    // The second start needs no salvage, and the third finds what was added.
    for (life, options) in [&SALVAGE[..], &OPTIONS, &OPTIONS].into_iter().enumerate() {
        let scene = store.scene_with(SHARDS, options)?;
        said(&scene, |scene| {
            let session = scene.session("reader")?;
            let mut expected = all();
            expected.extend((0..life as u64).map(|more| COUNT + more));
            assert_eq!(numbers(&session, 1 - hurt)?, expected);
            let found = numbers(&session, hurt)?;
            match life {
                0 => {
                    ensure!(found.is_sorted() && found.last() < Some(&COUNT), "{found:?}");
                    left = found;
                }
                _ => {
                    left.push(COUNT + life as u64 - 1);
                    assert_eq!(found, left, "what was salvaged has changed");
                }
            }
            for (queue, name) in QUEUES.into_iter().enumerate() {
                let body = tag(queue, COUNT + life as u64).body(SIZE);
                session.send("", &persistent(name, &body))?;
            }
            Ok(session.sync()?)
        })
        .with_context(|| format!("life {life} after the damage"))?;
        if life == 0 {
            log = scene.broker.log();
        }
        scene.end(if life == 1 { Ending::Kill } else { Ending::Stop })?;
    }
    left.retain(|number| *number < COUNT);
    Ok((left, log))
}

fn lost_is_told(log: &str, file: &Path) -> Result<()> {
    let lower = log.to_lowercase();
    ensure!(lower.contains("salvage") || lower.contains("lost"), "nothing is said: {log}");
    ensure!(log.contains(&name(file)), "no {} in: {log}", name(file));
    Ok(())
}

#[test]
fn a_flipped_bit_stops_the_start_and_can_be_salvaged() -> Result<()> {
    for ending in [Ending::Stop, Ending::Kill] {
        let sound = prepare(ending)?;
        for hurt in 0..QUEUES.len() {
            let store = sound.copy()?;
            let damaged = tag(hurt, COUNT / 2);
            let (file, body) = place_of(&store, damaged)?;
            let at = body + SEEN as u64 / 2;
            flip(&file, at, 3)?;
            let octets = std::fs::read(&file)?;
            for _ in 0..2 {
                let errors = refused(&store, &file)?;
                let told = offset_told(&errors, &file).context("no offset").context(errors)?;
                // A batch begins there, which is at most a MiB long.
                ensure!((at.saturating_sub(1 << 20)..=at).contains(&told), "{told}, and not {at}");
            }
            ensure!(std::fs::read(&file)? == octets, "a refused start has written");
            let (left, log) = salvaged(&store, hurt)?;
            lost_is_told(&log, &file)?;
            offset_told(&log, &file).context("no offset").context(log)?;
            ensure!(!left.contains(&damaged.number), "{damaged} was damaged");
            // The batch it was in and what was cut by that is lost, and no more.
            ensure!(left.len() >= COUNT as usize - 45, "of {COUNT} are left {left:?}");
        }
    }
    Ok(())
}

#[test]
fn any_flipped_bit_is_found_or_does_not_matter() -> Result<()> {
    const FLIPS: usize = 24;
    let seed = Random::seed();
    println!("FLETCH_SEED={seed}");
    let mut random = Random::new(seed);
    let sound = prepare(Ending::Stop)?;
    let files = files_below(&sound.journal())?;
    let mut found = 0;
    for round in 0..FLIPS {
        let store = sound.copy()?;
        // Every third in what is small: the superblocks, and which generation it is.
        let of = |small: bool| {
            let sized = files.iter().filter_map(|file| Some((file, file.metadata().ok()?.len())));
            sized.filter(|(_, len)| *len > 0 && (*len < 100_000) == small).collect::<Vec<_>>()
        };
        let candidates = of(round % 3 == 0);
        ensure!(!candidates.is_empty(), "no files in {}", sound.journal().display());
        let (file, len) = *random.pick(&candidates);
        let at = random.within(0..usize::try_from(len)?) as u64;
        let bit = random.within(0..8) as u8;
        let file = store.path().join(file.strip_prefix(sound.path())?);
        flip(&file, at, bit)?;
        let told = format!("round {round}: bit {bit} of octet {at} in {}", file.display());
        match store.try_scene(SHARDS, &OPTIONS)? {
            Err((status, errors)) => {
                found += 1;
                ensure!(status.code() == Some(1), "{told}: {status}: {errors}");
                // A bit of the name of a generation is told as the directory that is missing.
                let named = errors.contains(&name(&file)) || name(&file) == "current";
                ensure!(named && errors.contains("journal"), "{told} is not named: {errors}");
            }
            Ok(scene) => {
                said(&scene, |scene| {
                    let session = scene.session("reader")?;
                    (0..2).try_for_each(|queue| {
                        assert_eq!(numbers(&session, queue)?, all());
                        Ok(())
                    })
                })
                .context(told)?;
                scene.done()?;
            }
        }
    }
    println!("{found} of {FLIPS} stopped the start");
    ensure!(found > 0, "no flip was found");
    Ok(())
}

#[test]
fn a_segment_that_is_short_or_missing_stops_the_start() -> Result<()> {
    for ending in [Ending::Stop, Ending::Kill] {
        let sound = prepare(ending)?;
        // The shard without the definitions of queues: with those, its queue would be lost too.
        let hurt = 1;
        for number in [0, COUNT / 2] {
            for missing in [false, true] {
                let store = sound.copy()?;
                let (file, at) = place_of(&store, tag(hurt, number))?;
                let told = format!("message {number}, the file missing: {missing}, {ending:?}");
                match missing {
                    true => std::fs::remove_file(&file)?,
                    false => {
                        let file = OpenOptions::new().write(true).open(&file)?;
                        file.set_len(at / 4096 * 4096)?;
                    }
                }
                // That something is missing can be said of the file before, or of the next.
                let any = Path::new(".seg");
                refused(&store, any).context(told.clone())?;
                let (left, log) = salvaged(&store, hurt).context(told.clone())?;
                ensure!(!left.contains(&number), "{told}: it is not missed");
                lost_is_told(&log, any).context(told)?;
            }
        }
    }
    Ok(())
}

#[test]
fn sound_data_is_not_changed_by_salvage() -> Result<()> {
    for ending in [Ending::Stop, Ending::Kill] {
        let store = prepare(ending)?;
        for options in [&SALVAGE[..], &SALVAGE, &OPTIONS] {
            let scene = store.scene_with(SHARDS, options)?;
            said(&scene, |scene| {
                let session = scene.session("reader")?;
                assert_eq!(numbers(&session, 0)?, all());
                assert_eq!(numbers(&session, 1)?, all());
                Ok(())
            })?;
            scene.end(ending)?;
        }
    }
    Ok(())
}

/// The superblock beside a segment.
fn superblock_of(segment: &Path) -> Result<PathBuf> {
    let file = segment.parent().context("a segment is in a directory")?.join("superblock");
    ensure!(file.is_file(), "{} is missing", file.display());
    Ok(file)
}

#[test]
fn one_half_of_a_superblock_is_enough_and_none_stops_the_start() -> Result<()> {
    const SLOT: usize = 4096;
    for ending in [Ending::Stop, Ending::Kill] {
        let sound = prepare(ending)?;
        // Another life: each slot has been written by then.
        sound.scene_with(SHARDS, &OPTIONS)?.end(ending)?;
        let hurt = 1;
        for slot in 0..2 {
            let store = sound.copy()?;
            let file = superblock_of(&place_of(&store, tag(hurt, 0))?.0)?;
            overwrite(&file, (slot * SLOT) as u64, &[0x5a; SLOT])?;
            let scene = store.scene_with(SHARDS, &OPTIONS)?;
            said(&scene, |scene| {
                let session = scene.session("reader")?;
                assert_eq!(numbers(&session, 0)?, all());
                assert_eq!(numbers(&session, 1)?, all());
                Ok(())
            })
            .with_context(|| format!("without slot {slot}, after {ending:?}"))?;
            scene.done()?;
        }
        let store = sound.copy()?;
        let file = superblock_of(&place_of(&store, tag(hurt, 0))?.0)?;
        overwrite(&file, 0, &[0x5a; 2 * SLOT])?;
        let errors = refused(&store, &file)?;
        ensure!(errors.contains("offset"), "no offset in: {errors}");
        let (_, log) = salvaged(&store, hurt)?;
        lost_is_told(&log, &file)?;
    }
    Ok(())
}

#[test]
fn a_store_without_its_small_files_is_not_taken_for_an_empty_one() -> Result<()> {
    let sound = prepare(Ending::Stop)?;
    let superblock = superblock_of(&place_of(&sound, tag(1, 0))?.0)?;
    let current = sound.journal().join("current");
    for file in [superblock, current] {
        for gone in [true, false] {
            let store = sound.copy()?;
            let file = store.path().join(file.strip_prefix(sound.path())?);
            match gone {
                true => std::fs::remove_file(&file)?,
                false => std::fs::write(&file, b"")?,
            }
            let told = format!("{} gone: {gone}", file.display());
            match store.try_scene(SHARDS, &OPTIONS)? {
                Err((status, errors)) => {
                    ensure!(status.code() == Some(1), "{told}: {status}: {errors}");
                    ensure!(errors.contains("journal"), "{told}: nothing is named: {errors}");
                }
                Ok(scene) => {
                    let session = scene.session("reader")?;
                    for queue in 0..2 {
                        let found = said(&scene, |_| numbers(&session, queue));
                        assert_eq!(found.context(told.clone())?, all(), "{told}");
                    }
                    scene.done()?;
                }
            }
        }
    }
    Ok(())
}

/// What nothing behind it vouches for may be taken for a write that was cut short.
#[test]
fn damage_at_the_very_end_is_cut_or_refused() -> Result<()> {
    let sound = prepare(Ending::Kill)?;
    for queue in 0..QUEUES.len() {
        let store = sound.copy()?;
        let (file, at) = place_of(&store, tag(queue, COUNT - 1))?;
        flip(&file, at + SEEN as u64 / 2, 0)?;
        match store.try_scene(SHARDS, &OPTIONS)? {
            Err((status, errors)) => {
                ensure!(status.code() == Some(1), "{status}: {errors}");
                ensure!(offset_told(&errors, &file).is_some(), "where is not said: {errors}");
            }
            Ok(scene) => {
                said(&scene, |scene| {
                    let session = scene.session("reader")?;
                    assert_eq!(numbers(&session, 1 - queue)?, all());
                    let left = numbers(&session, queue)?;
                    // The last sync was of twenty; each batch before it has one behind it.
                    ensure!(left.len() >= COUNT as usize - 20, "{left:?}");
                    ensure!(left[..] == all()[..left.len()], "{left:?}");
                    ensure!(left.len() < COUNT as usize, "the damaged message is there");
                    Ok(())
                })?;
                scene.done()?;
            }
        }
    }
    Ok(())
}
