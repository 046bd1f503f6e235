//! `fletch journal ls`: shards and their segments.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Result, bail};
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use fletch_journal::recovery::file_name;
use fletch_journal::{Lsn, State};
use serde_json::{Value, json};

use super::find::Found;
use super::read::{Shard, read};
use crate::tool::stats::thousands;

pub(super) fn run(found: &Found, json: bool, out: &mut impl Write) -> Result<()> {
    let mut damaged = 0;
    for (n, dir) in found.shards.iter().enumerate() {
        let shard = read(dir, |_, _| ControlFlow::Continue(()));
        damaged += usize::from(shard.as_ref().map_or(true, |shard| !shard.damage.is_empty()));
        let shard = shard.map_err(|error| error.to_string());
        if json {
            let line = match &shard {
                Ok(shard) => object(dir, shard),
                Err(error) => json!({ "path": dir, "damage": [error] }),
            };
            writeln!(out, "{line}")?;
            continue;
        }
        if n > 0 {
            writeln!(out)?;
        }
        match &shard {
            Ok(shard) => print(out, dir, shard)?,
            Err(error) => writeln!(out, "{}\n{error}", dir.display())?,
        }
    }
    out.flush()?;
    if damaged > 0 {
        bail!("{damaged} of {} shards are damaged", found.shards.len());
    }
    Ok(())
}

/// What a segment is to its log.
fn state(shard: &Shard, at: usize) -> &'static str {
    let segment = &shard.files.segments[at];
    let (base, end) = (segment.base, segment.base.0.saturating_add(segment.len));
    let log_end = shard.walked.end;
    let here = |lsn: Lsn| base <= lsn && lsn.0 < end;
    if end <= shard.files.superblock.oldest_lsn.0 {
        // A crash came before it was recycled.
        "free"
    } else if shard.walked.lost.iter().any(|lost| here(lost.from)) {
        "damaged"
    } else if here(log_end) && (shard.contents[at].batches > 0 || at == 0) {
        "open"
    } else if base >= log_end {
        "ahead"
    } else {
        "full"
    }
}

fn print(out: &mut impl Write, dir: &Path, shard: &Shard) -> Result<()> {
    let superblock = &shard.files.superblock;
    writeln!(out, "{}", dir.display())?;
    let state_of_log = match superblock.state {
        State::Running => "in use, or ended by a crash".to_owned(),
        State::Clean { end, .. } => format!("closed at {:#x}", end.0),
    };
    writeln!(
        out,
        "shard {} of {}, {} start(s), {state_of_log}; from {:#x} to {:#x}, slot {}, change {}",
        superblock.shard,
        superblock.shards,
        superblock.incarnation,
        superblock.oldest_lsn.0,
        shard.walked.end.0,
        shard.files.slot,
        superblock.sequence,
    )?;
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["segment", "bytes", "used", "batches", "records", "first", "last", "state"]);
    for (at, (segment, contents)) in shard.files.segments.iter().zip(&shard.contents).enumerate() {
        let lsn = |lsn: Option<Lsn>| lsn.map_or_else(String::new, |lsn| format!("{:#x}", lsn.0));
        table.add_row([
            file_name(segment.base),
            thousands(segment.len),
            thousands(contents.used),
            thousands(contents.batches),
            thousands(contents.records),
            lsn(contents.first),
            lsn(contents.last),
            state(shard, at).to_owned(),
        ]);
    }
    for column in 1..=6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    writeln!(out, "{table}")?;
    for damage in &shard.damage {
        writeln!(out, "{}/{damage}", dir.display())?;
    }
    Ok(())
}

fn object(dir: &Path, shard: &Shard) -> Value {
    let superblock = &shard.files.superblock;
    let closed_at = match superblock.state {
        State::Running => None,
        State::Clean { end, .. } => Some(end.0),
    };
    let segments = shard.files.segments.iter().zip(&shard.contents).enumerate();
    let segments = segments.map(|(at, (segment, contents))| {
        json!({
            "file": file_name(segment.base),
            "base": segment.base.0,
            "bytes": segment.len,
            "used": contents.used,
            "batches": contents.batches,
            "records": contents.records,
            "first": contents.first.map(|lsn| lsn.0),
            "last": contents.last.map(|lsn| lsn.0),
            "state": state(shard, at),
        })
    });
    json!({
        "path": dir,
        "shard": superblock.shard,
        "shards": superblock.shards,
        "starts": superblock.incarnation,
        "closed_at": closed_at,
        "oldest": superblock.oldest_lsn.0,
        "end": shard.walked.end.0,
        "slot": shard.files.slot,
        "sequence": superblock.sequence,
        "segments": segments.collect::<Vec<Value>>(),
        "damage": shard.damage.iter().map(ToString::to_string).collect::<Vec<String>>(),
    })
}
