//! `fletch journal cat`: what is stored, one operation a line.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::{Result, bail};
use fletch_journal::{Lsn, Op, Xid};
use serde_json::{Value, json};

use super::find::Found;
use super::read::read;

pub(super) fn run(found: &Found, json: bool, out: &mut impl Write) -> Result<()> {
    let mut damaged = 0;
    for dir in &found.shards {
        if found.shards.len() > 1 && !json {
            writeln!(out, "# {}", dir.display())?;
        }
        let mut printed = Ok(());
        let shard = read(dir, |lsn, op| {
            printed = print(out, json.then_some(dir), lsn, &op);
            if printed.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        printed?;
        out.flush()?;
        let problems = match shard {
            Ok(shard) => shard.damage.iter().map(|d| format!("{}/{d}", dir.display())).collect(),
            Err(error) => vec![error.to_string()],
        };
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        damaged += usize::from(!problems.is_empty());
    }
    if damaged > 0 {
        bail!("{damaged} of {} shards are damaged", found.shards.len());
    }
    Ok(())
}

fn print(
    out: &mut impl Write,
    json_for: Option<&std::path::PathBuf>,
    lsn: Lsn,
    op: &Op<'_>,
) -> io::Result<()> {
    match json_for {
        None => writeln!(out, "{:016x} {}", lsn.0, text(op)),
        Some(dir) => {
            let mut line = object(op);
            line["shard"] = json!(dir);
            line["lsn"] = json!(lsn.0);
            writeln!(out, "{line}")
        }
    }
}

fn text(op: &Op<'_>) -> String {
    let xid = |xid: &Xid| format!("transaction={}.{}", xid.shard, xid.number);
    match op {
        Op::Publish { refs, payload } => {
            let mut line = "publish".to_owned();
            for (r, delivered) in refs.iter() {
                let seen = if delivered { " delivered" } else { "" };
                // Writing to a string cannot fail.
                let _ = write!(line, " queue={} position={}{seen}", r.queue, r.position);
            }
            line + &format!(" payload={}", payload.len())
        }
        Op::Dequeue { queue, first, last } => {
            format!("dequeue queue={queue} first={first} last={last}")
        }
        Op::Define { id, payload } => format!("define id={id} payload={}", payload.len()),
        Op::Undefine { id } => format!("undefine id={id}"),
        Op::Prepare(x) => format!("prepare {}", xid(x)),
        Op::Decide { xid: x, commit: true } => format!("commit {}", xid(x)),
        Op::Decide { xid: x, commit: false } => format!("abort {}", xid(x)),
        Op::Delivered { queue, upto } => format!("delivered queue={queue} upto={upto}"),
        Op::Remember { queue, payload } => {
            format!("remember queue={queue} payload={}", payload.len())
        }
    }
}

fn object(op: &Op<'_>) -> Value {
    let xid = |xid: &Xid| json!({ "shard": xid.shard, "number": xid.number });
    match op {
        Op::Publish { refs, payload } => {
            let places = refs.iter().map(|(r, delivered)| {
                json!({ "queue": r.queue, "position": r.position, "delivered": delivered })
            });
            json!({
                "kind": "publish",
                "places": places.collect::<Vec<Value>>(),
                "payload": payload.len(),
            })
        }
        Op::Dequeue { queue, first, last } => {
            json!({ "kind": "dequeue", "queue": queue, "first": first, "last": last })
        }
        Op::Define { id, payload } => {
            json!({ "kind": "define", "id": id, "payload": payload.len() })
        }
        Op::Undefine { id } => json!({ "kind": "undefine", "id": id }),
        Op::Prepare(x) => json!({ "kind": "prepare", "transaction": xid(x) }),
        Op::Decide { xid: x, commit: true } => json!({ "kind": "commit", "transaction": xid(x) }),
        Op::Decide { xid: x, commit: false } => json!({ "kind": "abort", "transaction": xid(x) }),
        Op::Delivered { queue, upto } => {
            json!({ "kind": "delivered", "queue": queue, "upto": upto })
        }
        Op::Remember { queue, payload } => {
            json!({ "kind": "remember", "queue": queue, "payload": payload.len() })
        }
    }
}
