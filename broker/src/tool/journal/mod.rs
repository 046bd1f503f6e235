//! `fletch journal`: looks into a broker's journals, without changing anything. Damage in one shard keeps nobody from
//! looking at the others.

mod cat;
mod find;
mod ls;
mod read;
#[cfg(test)]
mod tests;
mod verify;

use std::io;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use find::{Found, find};

/// Look into a broker's journals
#[derive(Debug, Clone, Args)]
#[command(about = "Look into a broker's journals", long_about = None)]
pub(super) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// List shards and their segments
    Ls(Target),
    /// Print what is stored, one operation a line
    Cat(Target),
    /// Read everything and say what is damaged
    Verify(Target),
}

#[derive(Debug, Clone, Args)]
struct Target {
    /// A data directory, its journal directory, a generation in that or a shard's directory
    dir: PathBuf,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Looks.
    pub(super) fn run(&self) -> Result<()> {
        let (What::Ls(target) | What::Cat(target) | What::Verify(target)) = &self.what;
        let found = find(&target.dir)?;
        warn(&found);
        let mut out = io::BufWriter::new(io::stdout());
        match &self.what {
            What::Ls(_) => ls::run(&found, target.json, &mut out),
            What::Cat(_) => cat::run(&found, target.json, &mut out),
            What::Verify(_) => verify::run(&found, target.json, &mut out),
        }
    }
}

fn warn(found: &Found) {
    if let Some(pid) = found.holder {
        eprintln!(
            "process {pid} uses this journal: what it writes meanwhile may be missed, or look damaged"
        );
    }
}
