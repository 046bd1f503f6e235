//! `qpid-send`: sends messages to an address.

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::BoolishValueParser;
use fletch_amqp::types::{Map, Value};

use super::address::{Address, Literal};
use super::connect::ConnectArgs;
use super::groups::GroupArgs;
use super::logs::LogArgs;
use super::message::{Content, Message, ReplyAddress, name_and_value};
use super::progress::Progress;
use super::refuse::NotYet;
use super::report::{Reporter, timestamp};
use super::unique::{parse_uuid, unique_name};
use super::wire::{self, Outlet, Wire};

/// Send messages to an address
#[derive(Debug, Clone, Args)]
#[command(about = "Send messages to an address", long_about = None)]
pub(super) struct Options {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Address to send to: name[/subject][;{options}]
    #[arg(short, long, value_name = "ADDRESS")]
    address: String,
    /// Stop after N messages have been sent, 0 means no limit
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    messages: u64,
    /// Use this UUID as the message id
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// Reply-to address
    #[arg(long, value_name = "REPLY-TO")]
    reply_to: Option<String>,
    /// Send N messages "eos" to mark the end of input
    #[arg(long, value_name = "N", default_value_t = 0)]
    send_eos: u32,
    /// Mark messages as durable
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    durable: bool,
    /// Time to live of messages, in milliseconds
    #[arg(long, value_name = "MSECS", default_value_t = 0)]
    ttl: u64,
    /// Priority of messages, 0 to 9; higher is more urgent
    #[arg(long, value_name = "PRIORITY", default_value_t = 0)]
    priority: u8,
    /// A message property; may be repeated
    #[arg(short = 'P', long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
    /// Correlation id of messages
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    correlation_id: String,
    /// User id of messages
    #[arg(long, value_name = "USERID", default_value = "", hide_default_value = true)]
    user_id: String,
    /// Set the user id to the user of the connection
    #[arg(long, value_name = "yes|no", default_value = "no", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    auto_user_id: bool,
    /// Subject of messages, instead of the address's
    #[arg(long, value_name = "SUBJECT", default_value = "", hide_default_value = true)]
    subject: String,
    /// Use CONTENT as the content
    #[arg(long, value_name = "CONTENT", default_value = "", hide_default_value = true)]
    content_string: String,
    /// Make a content of N bytes
    #[arg(long, value_name = "N", default_value_t = 0)]
    content_size: usize,
    /// An entry of map content; may be repeated
    #[arg(short = 'M', long = "content-map", value_name = "NAME=VALUE")]
    content_map: Vec<String>,
    /// Read contents from standard input, one line per message
    #[arg(long)]
    content_stdin: bool,
    /// Content type of messages [default: text/plain, or amqp/map with --content-map]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Messages sent that the broker need not have confirmed
    #[arg(long, value_name = "N", default_value_t = 1000)]
    capacity: u32,
    /// Report total throughput
    #[arg(long)]
    report_total: bool,
    /// Report throughput every N messages
    #[arg(long, value_name = "N", default_value_t = 0)]
    report_every: u64,
    /// Headers on reports
    #[arg(long, value_name = "yes|no", default_value = "yes", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    report_header: bool,
    /// Send N messages a second, 0 means as fast as possible
    #[arg(long, value_name = "N", default_value_t = 0)]
    send_rate: u32,
    /// Number messages in the property "sn", which finds lost and duplicate ones
    #[arg(long, value_name = "yes|no", default_value = "yes", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    sequence: bool,
    /// Put the time into the property "ts", which measures latency
    #[arg(long, value_name = "yes|no", default_value = "yes", num_args = 0..=1,
        default_missing_value = "yes", value_parser = BoolishValueParser::new(),
 hide_possible_values = true)]
    timestamp: bool,
    #[command(flatten)]
    groups: GroupArgs,
    /// Print one JSON object with the totals instead of reports
    #[arg(long, conflicts_with_all = ["report_total", "report_every"])]
    json: bool,
    #[command(flatten)]
    not_yet: NotYet,
    #[command(flatten)]
    log: LogArgs,
}

impl Options {
    /// Sends.
    pub(super) fn run(&self) -> Result<()> {
        self.not_yet.check()?;
        let address = Address::parse(&self.address, unique_name)?;
        let template = self.template()?;
        let _log = self.log.start()?;
        let wire = wire::connect(&self.connect, Some(self.capacity.max(1)))?;
        let sender = wire.sender(address)?;
        let mut reporter = Reporter::throughput(self.report_every, self.report_header);
        let sent = self.send_all(&*wire, &*sender, template, &mut reporter)?;
        wire.sync()?;
        let rejected = sender.rejected();
        sender.close()?;
        wire.close()?;
        if self.json {
            let overall = &reporter.overall;
            let line = serde_json::json!({
                "sent": sent,
                "rejected": rejected,
                "seconds": overall.elapsed().as_secs_f64(),
                "rate": overall.rate(),
            });
            writeln!(io::stdout(), "{line}")?;
        }
        if rejected > 0 {
            bail!("{rejected} of {sent} messages were rejected by the broker");
        }
        Ok(())
    }

    /// The message, without content and what differs from one to the next.
    fn template(&self) -> Result<Message> {
        let id = self.id.as_deref();
        let message_id =
            id.map(|id| parse_uuid(id).with_context(|| format!("--id {id}: not a UUID")));
        let reply_to = self.reply_to.as_deref().map(|text| Address::parse(text, unique_name));
        let user_id = match self.auto_user_id && self.user_id.is_empty() {
            true => self.connect.user()?.unwrap_or_else(|| "anonymous".into()),
            false => self.user_id.clone(),
        };
        if self.priority > 9 {
            bail!("--priority {}: not between 0 and 9", self.priority);
        }
        Ok(Message {
            subject: self.subject.clone(),
            message_id: message_id.transpose()?,
            correlation_id: self.correlation_id.clone(),
            reply_to: reply_to.transpose()?.as_ref().map(ReplyAddress::of),
            user_id,
            content_type: self.content_type.clone().unwrap_or_else(|| "text/plain".into()),
            durable: self.durable,
            ttl: self.ttl,
            priority: self.priority,
            properties: properties(&self.properties),
            ..Message::default()
        })
    }

    /// Sends all messages and says how many; the marks of the end are not among them.
    fn send_all(
        &self,
        wire: &dyn Wire,
        sender: &dyn Outlet,
        mut message: Message,
        reporter: &mut Reporter,
    ) -> Result<u64> {
        let mut stdin = self.content_stdin.then(|| io::stdin().lock());
        if stdin.is_none() {
            message.content = self.content();
        }
        // The reference reads all there is.
        let limit = if self.content_stdin { 0 } else { self.messages };
        let mut groups = self.groups.groups();
        let mut out = io::stdout();
        let mut progress = Progress::new(limit, "sending", self.report_every > 0);
        let mut pace = Pace::new(self.send_rate);
        let (mut sent, mut sequence) = (0u64, 0u32);
        while limit == 0 || sent < limit {
            if let Some(stdin) = &mut stdin {
                let mut line = Vec::new();
                if stdin.read_until(b'\n', &mut line)? == 0 {
                    break;
                }
                line.pop_if(|last| *last == b'\n');
                message.content = Content::Bytes(line);
            }
            sent += 1;
            sequence = sequence.wrapping_add(1);
            if self.sequence {
                message.properties.insert("sn", sequence);
            }
            if let Some(groups) = &mut groups {
                groups.mark(&mut message.properties);
            }
            let now = self.timestamp.then(timestamp);
            if let Some(now) = now {
                message.properties.insert("ts", now);
            }
            sender.send(&message)?;
            if self.capacity == 0 {
                wire.sync()?;
            }
            reporter.message(&mut out, None)?;
            progress.step();
            pace.wait(|| wire.flush())?;
        }
        progress.finish();
        if self.report_total || self.send_eos > 0 {
            wire.flush()?;
        }
        if self.report_total {
            reporter.total(&mut out)?;
        }
        message.content = Content::Bytes(b"eos".to_vec());
        message.content_type = self.content_type.clone().unwrap_or_default();
        for _ in 0..self.send_eos {
            sequence = sequence.wrapping_add(1);
            if self.sequence {
                message.properties.insert("sn", sequence);
            }
            sender.send(&message)?;
        }
        Ok(sent)
    }

    fn content(&self) -> Content {
        if !self.content_map.is_empty() {
            return Content::Map(entries(&self.content_map));
        }
        match self.content_size {
            0 => Content::Bytes(self.content_string.clone().into_bytes()),
            size => Content::Bytes(vec![b'X'; size]),
        }
    }
}

/// `NAME=VALUE` properties, whose values are what they look like.
pub(super) fn properties(texts: &[String]) -> Map {
    let entry = |text: &String| {
        let (name, value) = name_and_value(text);
        (name.to_owned(), value.map_or(Value::Void, |value| Literal::of_word(value).to_value()))
    };
    texts.iter().map(entry).collect()
}

/// `NAME=VALUE` entries of content, whose values are text.
pub(super) fn entries(texts: &[String]) -> Map {
    let entry = |text: &String| {
        let (name, value) = name_and_value(text);
        (name.to_owned(), value.map_or(Value::Void, Value::from))
    };
    texts.iter().map(entry).collect()
}

/// Keeps to a rate, counted from the first message so that no delay adds up.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Option<Duration>,
    start: Instant,
    count: u32,
}

impl Pace {
    /// So many a second; 0 for no limit.
    pub(super) fn new(rate: u32) -> Pace {
        let interval = Duration::from_secs(1).checked_div(rate);
        Pace { interval, start: Instant::now(), count: 0 }
    }

    /// After each message: waits until the next is due. `before` is called if there is a wait.
    pub(super) fn wait<E>(&mut self, before: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let Some(interval) = self.interval else { return Ok(()) };
        self.count += 1;
        let due = self.start + interval * self.count;
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            before()?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }
}
