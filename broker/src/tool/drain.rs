//! `drain`: prints and accepts what an address has.

use std::io::{self, BufWriter, Write};
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::address::Address;
use super::connect::{ConnectArgs, seconds};
use super::unique::unique_name;
use super::wire;

/// Messages fetched in advance.
const CAPACITY: u32 = 500;

/// Drain messages from an address
#[derive(Debug, Clone, Args)]
#[command(about = "Drain messages from an address", long_about = None)]
pub(super) struct Options {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Address to drain: name[/subject][;{options}]
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Seconds to wait for a message before exiting
    #[arg(short, long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    timeout: Duration,
    /// Wait for ever, whatever the timeout
    #[arg(short, long)]
    forever: bool,
    /// Messages to read before exiting, 0 means all
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    count: u32,
    /// Print each message as a JSON object
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Drains.
    pub(super) fn run(&self) -> Result<()> {
        let address = Address::parse(&self.address, unique_name)?;
        let wire = wire::connect(&self.connect, None)?;
        let capacity = if self.count == 0 { CAPACITY } else { CAPACITY.min(self.count) };
        let mut receiver = wire.receiver(address, capacity)?;
        let mut out = BufWriter::new(io::stdout());
        let mut count = 0;
        while self.count == 0 || count < self.count {
            let message = match receiver.take()? {
                Some(message) => message,
                None => {
                    // What was printed is accepted before waiting.
                    out.flush()?;
                    receiver.accept()?;
                    let timeout = (!self.forever).then_some(self.timeout);
                    let Some(message) = receiver.fetch(timeout)? else { break };
                    message
                }
            };
            if self.json {
                writeln!(out, "{}", message.to_json())?;
            } else {
                message.print(&mut out)?;
            }
            count += 1;
        }
        out.flush()?;
        receiver.accept()?;
        wire.sync()?;
        receiver.close()?;
        wire.close()?;
        Ok(())
    }
}
