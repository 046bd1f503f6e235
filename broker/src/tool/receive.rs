//! `qpid-receive`: receives messages from an address.

use std::collections::HashMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use fletch_amqp::types::Value;

use super::address::{Address, NodeKind};
use super::connect::{ConnectArgs, seconds};
use super::logs::LogArgs;
use super::message::{Content, Message, ReplyAddress};
use super::progress::Progress;
use super::refuse::NotYet;
use super::report::Reporter;
use super::send::Pace;
use super::unique::unique_name;
use super::value::{ShownMap, type_name};
use super::wire::{self, Inlet, Outlet, Wire};

/// Receive messages from an address
#[derive(Debug, Clone, Args)]
#[command(about = "Receive messages from an address", long_about = None)]
pub(super) struct Options {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Address to receive from: name[/subject][;{options}]
    #[arg(short, long, value_name = "ADDRESS")]
    address: String,
    /// Seconds to wait for a message before exiting
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    timeout: Duration,
    /// Wait for ever, whatever the timeout
    #[arg(short, long)]
    forever: bool,
    /// Messages to receive, 0 means no limit
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    messages: u64,
    /// Leave out duplicates, by the property "sn"
    #[arg(long)]
    ignore_duplicates: bool,
    /// Fail at a gap in the property "sn"
    #[arg(long)]
    verify_sequence: bool,
    /// Fail at a duplicate that is not marked redelivered, with --ignore-duplicates
    #[arg(long, requires = "ignore_duplicates")]
    check_redelivered: bool,
    /// Messages to fetch in advance, 0 means none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    capacity: u32,
    /// Accept after every N messages, 0 means that none is accepted
    #[arg(long, value_name = "N", default_value_t = 100)]
    ack_frequency: u64,
    /// Print contents
    #[arg(long, value_name = "yes|no", default_value = "yes", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    print_content: bool,
    /// Print the type of contents
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    print_object_type: bool,
    /// Print headers
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    print_headers: bool,
    /// Report total throughput and latency
    #[arg(long)]
    report_total: bool,
    /// Report throughput and latency every N messages
    #[arg(long, value_name = "N", default_value_t = 0)]
    report_every: u64,
    /// Headers on reports
    #[arg(long, value_name = "yes|no", default_value = "yes", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    report_header: bool,
    /// Send a message to this address when ready to receive
    #[arg(long, value_name = "ADDRESS")]
    ready_address: Option<String>,
    /// Receive N messages a second, 0 means as fast as possible
    #[arg(long, value_name = "N", default_value_t = 0)]
    receive_rate: u32,
    /// Reply-to address of the replies that messages ask for
    #[arg(long, value_name = "REPLY-TO")]
    reply_to: Option<String>,
    /// Do not reply to messages that ask for it
    #[arg(long)]
    ignore_reply_to: bool,
    /// Print each message as a JSON object, and one with the totals
    #[arg(long, conflicts_with_all = ["report_total", "report_every"])]
    json: bool,
    #[command(flatten)]
    not_yet: NotYet,
    #[command(flatten)]
    log: LogArgs,
}

/// Finds gaps and duplicates by sequence numbers.
#[derive(Debug, Default)]
struct Sequence {
    last: u64,
}

impl Sequence {
    /// Whether the message is to be looked at.
    fn track(&mut self, options: &Options, message: &Message) -> Result<bool> {
        if !options.verify_sequence && !options.ignore_duplicates {
            return Ok(true);
        }
        let number = message.properties.get("sn").and_then(Value::as_u64).unwrap_or(0);
        if options.verify_sequence && number > self.last + 1 {
            bail!("gap in sequence numbers {}-{number}", self.last);
        }
        if number > self.last {
            self.last = number;
            return Ok(true);
        }
        if options.check_redelivered && !message.redelivered {
            bail!("duplicate sequence number received, message not marked as redelivered!");
        }
        Ok(!options.ignore_duplicates)
    }
}

impl Options {
    /// Receives.
    pub(super) fn run(&self) -> Result<()> {
        self.not_yet.check()?;
        let address = Address::parse(&self.address, unique_name)?;
        let ready = self.ready_address.as_deref().map(|text| Address::parse(text, unique_name));
        let ready = ready.transpose().context("in --ready-address")?;
        let reply_to = self.reply_to.as_deref().map(|text| Address::parse(text, unique_name));
        let reply_to =
            reply_to.transpose().context("in --reply-to")?.as_ref().map(ReplyAddress::of);
        let _log = self.log.start()?;
        let wire = wire::connect(&self.connect, None)?;
        let capacity = match u32::try_from(self.messages) {
            Ok(0) | Err(_) => self.capacity,
            Ok(messages) => self.capacity.min(messages),
        };
        let mut receiver = wire.receiver(address, capacity)?;
        if let Some(ready) = ready {
            wire.sender(ready)?.send(&Message::default())?;
            wire.flush()?;
        }
        let run = Run {
            options: self,
            wire: &*wire,
            receiver: &mut *receiver,
            replies: Replies { wire: &*wire, senders: HashMap::new(), reply_to },
            out: BufWriter::new(io::stdout()),
            reporter: Reporter::latency(self.report_every, self.report_header),
        };
        run.all()?;
        receiver.close()?;
        wire.close()?;
        Ok(())
    }
}

struct Run<'a> {
    options: &'a Options,
    wire: &'a dyn Wire,
    receiver: &'a mut dyn Inlet,
    replies: Replies<'a>,
    out: BufWriter<io::Stdout>,
    reporter: Reporter,
}

impl Run<'_> {
    fn all(mut self) -> Result<()> {
        let outcome = self.receive();
        // What was printed was received, whatever came after.
        self.out.flush()?;
        let count = outcome?;
        if self.options.json {
            let overall = &self.reporter.overall;
            let latency = overall.latency_ms();
            let totals = serde_json::json!({ "totals": {
                "received": count,
                "seconds": overall.elapsed().as_secs_f64(),
                "rate": overall.rate(),
                "latency_ms": latency.map(|(min, max, mean)| {
                    serde_json::json!({ "min": min, "max": max, "mean": mean })
                }),
            }});
            writeln!(self.out, "{totals}")?;
        }
        if self.options.report_total {
            self.reporter.total(&mut self.out)?;
        }
        self.out.flush()?;
        if self.options.ack_frequency > 0 {
            self.receiver.accept()?;
        }
        self.wire.sync()?;
        Ok(())
    }

    fn receive(&mut self) -> Result<u64> {
        let options = self.options;
        let printing = options.print_content || options.print_headers || options.report_every > 0;
        let quiet = printing && io::stdout().is_terminal();
        let mut progress = Progress::new(options.messages, "receiving", quiet);
        let mut pace = Pace::new(options.receive_rate);
        let mut sequence = Sequence::default();
        let mut count = 0;
        loop {
            let Some(message) = self.fetch()? else { break };
            let sent = message.properties.get_int("ts");
            self.reporter.message(&mut self.out, sent)?;
            if sequence.track(options, &message)? {
                if message.content == Content::Bytes(b"eos".to_vec()) {
                    break;
                }
                count += 1;
                self.print(&message)?;
                progress.step();
                if options.messages > 0 && count >= options.messages {
                    break;
                }
            }
            if options.ack_frequency > 0 && count % options.ack_frequency == 0 {
                self.receiver.accept()?;
            }
            if !options.ignore_reply_to {
                self.replies.reply(message)?;
            }
            pace.wait(|| self.wire.flush())?;
        }
        progress.finish();
        Ok(count)
    }

    /// The next message. What was printed is shown before waiting for it.
    fn fetch(&mut self) -> Result<Option<Message>> {
        if let Some(message) = self.receiver.take()? {
            return Ok(Some(message));
        }
        self.out.flush()?;
        let timeout = (!self.options.forever).then_some(self.options.timeout);
        self.receiver.fetch(timeout)
    }

    fn print(&mut self, message: &Message) -> Result<()> {
        let out = &mut self.out;
        if self.options.json {
            return Ok(writeln!(out, "{}", message.to_json())?);
        }
        if self.options.print_headers {
            print_headers(out, message)?;
        }
        if self.options.print_content {
            if self.options.print_object_type {
                let kind = match &message.content {
                    Content::Map(map) => type_name(&Value::Map(map.clone())),
                    Content::List(list) => type_name(&Value::List(list.clone())),
                    Content::Bytes(_) => "string",
                };
                writeln!(out, "[Object: {kind}]")?;
            }
            out.write_all(&message.shown_content())?;
            writeln!(out)?;
        }
        Ok(())
    }
}

fn print_headers(out: &mut impl Write, message: &Message) -> io::Result<()> {
    let mut line = |name: &str, value: &str| match value {
        "" => Ok(()),
        value => writeln!(out, "{name}: {value}"),
    };
    let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
    let flag = |flag: bool| if flag { "true" } else { "" };
    line("Subject", &message.subject)?;
    line("ReplyTo", &message.reply_to.as_ref().map(ReplyAddress::shown).unwrap_or_default())?;
    line("MessageId", &message.message_id.map(|id| id.to_string()).unwrap_or_default())?;
    line("CorrelationId", &message.correlation_id)?;
    line("UserId", &message.user_id)?;
    line("TTL", &number(message.ttl))?;
    line("Priority", &number(message.priority.into()))?;
    line("Durable", flag(message.durable))?;
    line("Redelivered", flag(message.redelivered))?;
    line("Properties", &ShownMap(&message.properties).to_string())?;
    line("ContentType", &message.content_type)?;
    writeln!(out)
}

/// Sends messages back to where they say that replies go.
struct Replies<'a> {
    wire: &'a dyn Wire,
    senders: HashMap<String, Box<dyn Outlet>>,
    reply_to: Option<ReplyAddress>,
}

impl Replies<'_> {
    fn reply(&mut self, mut message: Message) -> Result<()> {
        let Some(to) = message.reply_to.take() else { return Ok(()) };
        let text = to.address();
        let sender = match self.senders.entry(text) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let address = Address::parse(new.key(), unique_name)?;
                new.insert(self.wire.sender(address)?)
            }
        };
        if !message.subject.is_empty() {
            message.subject =
                if to.kind == Some(NodeKind::Queue) { String::new() } else { to.subject };
        }
        for derived in ["qpid.subject", "x-amqp-0-10.routing-key", "x-amqp-0-10.timestamp"] {
            message.properties.remove(derived);
        }
        message.redelivered = false;
        message.reply_to = self.reply_to.clone();
        sender.send(&message)?;
        self.wire.flush()
    }
}
