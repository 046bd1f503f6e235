//! `spout`: sends a message, or the same one many times.

use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use super::address::Address;
use super::connect::{ConnectArgs, seconds};
use super::message::{Content, Message, ReplyAddress};
use super::progress::Progress;
use super::send::entries;
use super::unique::unique_name;
use super::wire;

/// Send messages to an address, each with its own "spout-id"
#[derive(Debug, Clone, Args)]
#[command(about = "Send messages to an address, each with its own \"spout-id\"", long_about = None)]
pub(super) struct Options {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Address to send to: name[/subject][;{options}]
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Stop after this many seconds, 0 means no limit
    #[arg(short, long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    timeout: Duration,
    /// Make messages durable
    #[arg(short, long)]
    durable: bool,
    /// Stop after this many messages, 0 means no limit
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    count: u64,
    /// Use this id instead of generating one
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// Reply-to address
    #[arg(long, value_name = "REPLY-TO")]
    reply_to: Option<String>,
    /// A message property; may be repeated
    #[arg(short = 'P', long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
    /// An entry of map content; may be repeated
    #[arg(short = 'M', long = "map", value_name = "NAME=VALUE", conflicts_with = "content")]
    entries: Vec<String>,
    /// Text content
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    content: String,
    /// Print each message sent
    #[arg(long)]
    print: bool,
    /// Print each message sent as a JSON object
    #[arg(long, conflicts_with = "print")]
    json: bool,
}

impl Options {
    /// Sends.
    pub(super) fn run(&self) -> Result<()> {
        let address = Address::parse(&self.address, unique_name)?;
        let mut message = self.message()?;
        let wire = wire::connect(&self.connect, None)?;
        let sender = wire.sender(address)?;
        let mut out = BufWriter::new(io::stdout());
        let mut progress = Progress::new(self.count, "sending", self.print || self.json);
        let start = Instant::now();
        let mut sent = 0u64;
        while (self.count == 0 || sent < self.count)
            && (self.timeout.is_zero() || start.elapsed() < self.timeout)
        {
            let id = self.id.clone().unwrap_or_else(unique_name);
            message.properties.insert("spout-id", format!("{id}:{sent}"));
            if self.json {
                writeln!(out, "{}", message.to_json())?;
            } else if self.print {
                message.print(&mut out)?;
            }
            sender.send(&message)?;
            sent += 1;
            progress.step();
        }
        progress.finish();
        out.flush()?;
        wire.sync()?;
        let rejected = sender.rejected();
        sender.close()?;
        wire.close()?;
        if rejected > 0 {
            bail!("{rejected} of {sent} messages were rejected by the broker");
        }
        Ok(())
    }

    fn message(&self) -> Result<Message> {
        let reply_to = self.reply_to.as_deref().map(|text| Address::parse(text, unique_name));
        let (content_type, content) = match (self.entries.is_empty(), self.content.is_empty()) {
            (false, _) => ("", Content::Map(entries(&self.entries))),
            (true, false) => ("text/plain", Content::Bytes(self.content.clone().into_bytes())),
            (true, true) => ("", Content::Bytes(Vec::new())),
        };
        Ok(Message {
            reply_to: reply_to.transpose()?.as_ref().map(ReplyAddress::of),
            content_type: content_type.to_owned(),
            durable: self.durable,
            // Values are text, as those of map content are.
            properties: entries(&self.properties),
            content,
            ..Message::default()
        })
    }
}
