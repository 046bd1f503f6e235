//! `fletch journal verify`: whether everything is there.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use fletch_journal::State;
use fletch_shards::store::StoreError;
use serde_json::{Value, json};

use super::find::Found;
use super::read::{Shard, read};
use crate::tool::stats::thousands;

/// How often damage in a running broker's journal is looked at, and how long in between: what was written meanwhile is
/// whole the next time.
const LOOKS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

pub(super) fn run(found: &Found, json: bool, out: &mut impl Write) -> Result<()> {
    let mut damaged = 0;
    for dir in &found.shards {
        let shard = examine(dir, found.holder.is_some());
        let problems: Vec<String> = match &shard {
            Ok(shard) => shard.damage.iter().map(|d| format!("{}/{d}", dir.display())).collect(),
            Err(error) => vec![error.to_string()],
        };
        damaged += usize::from(!problems.is_empty());
        if json {
            let mut line = shard.as_ref().map_or_else(|_| json!({}), object);
            line["path"] = json!(dir);
            line["damage"] = json!(problems);
            writeln!(out, "{line}")?;
        } else {
            let what = if problems.is_empty() { "sound" } else { "DAMAGED" };
            let found = shard.as_ref().map_or_else(|_| String::new(), summary);
            writeln!(out, "{}: {what}{found}", dir.display())?;
            problems.iter().try_for_each(|problem| writeln!(out, "  {problem}"))?;
        }
        out.flush()?;
    }
    if damaged > 0 {
        bail!("{damaged} of {} shards are damaged", found.shards.len());
    }
    Ok(())
}

/// Reads a shard's journal; again if it looks damaged while a broker writes to it.
fn examine(dir: &Path, in_use: bool) -> Result<Shard, StoreError> {
    let mut looks = 1;
    loop {
        let shard = read(dir, |_, _| ControlFlow::Continue(()));
        let sound = shard.as_ref().is_ok_and(|shard| shard.damage.is_empty());
        if sound || !in_use || looks == LOOKS {
            return shard;
        }
        looks += 1;
        std::thread::sleep(PAUSE);
    }
}

fn summary(shard: &Shard) -> String {
    let walked = &shard.walked;
    let closed = match shard.files.superblock.state {
        State::Running => "in use, or ended by a crash",
        State::Clean { .. } => "closed",
    };
    let mut text = format!(
        ", {closed}; {} batches, {} records, from {:#x} to {:#x}",
        thousands(walked.batches.len() as u64),
        thousands(walked.records),
        shard.files.superblock.oldest_lsn.0,
        walked.end.0
    );
    if let Some(cut) = walked.cut {
        let bytes = thousands(cut.to.0 - cut.from.0);
        text += &format!("; a start will wipe {bytes} bytes behind that");
    }
    if let Some(lsn) = walked.unfinished {
        text += &format!("; a record at {:#x} has no end and counts as not written", lsn.0);
    }
    text
}

fn object(shard: &Shard) -> Value {
    let walked = &shard.walked;
    json!({
        "shard": shard.files.superblock.shard,
        "closed": matches!(shard.files.superblock.state, State::Clean { .. }),
        "oldest": shard.files.superblock.oldest_lsn.0,
        "end": walked.end.0,
        "batches": walked.batches.len(),
        "records": walked.records,
        "cut": walked.cut.map(|cut| json!({ "from": cut.from.0, "to": cut.to.0 })),
        "unfinished": walked.unfinished.map(|lsn| lsn.0),
    })
}
