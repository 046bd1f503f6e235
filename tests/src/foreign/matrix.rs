//! What becomes of a message between a publisher and a consumer of each protocol, with the reference's two
//! Python clients: a table that is kept in the documentation, and must be what is seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use fletch_amqp::v0_10::table::queue;
use fletch_client::{ConnectOptions, Connection};
use serde_json::Value;

use super::Tally;
use super::suites::Python;
use crate::broker::Broker;

const QUEUE: &str = "crossing";

/// Where the table is kept.
fn kept() -> PathBuf {
    super::workspace().join("tests/crossing.md")
}

const HEAD: &str = "\
# What a message is on the other side

The reference's Python clients for AMQP 0-10 (qpid.messaging) and AMQP 1.0 (Proton) publish and consume the same
cases through a queue. A cell says what the consumer's client shows. Made by `clients matrix --write` from what was
seen; `./tests/run` fails if anything else is seen.

";

/// One end: which protocol it speaks, and the program that does.
#[derive(Clone, Copy)]
struct End {
    protocol: &'static str,
    program: fn(&Python) -> Command,
}

const ENDS: [End; 2] = [
    End {
        protocol: "0-10",
        program: |python| {
            let mut command = Command::new(&python.interpreter);
            command.env("PYTHONPATH", &python.packages).arg("-B").arg(source("old.py"));
            command
        },
    },
    End {
        protocol: "1.0",
        program: |_| {
            let packages = super::clients_dir().join("proton/packages");
            let mut command = Command::new("python3");
            command.env("PYTHONPATH", packages).arg("-B").arg(source("new.py"));
            command
        },
    },
];

fn source(name: &str) -> PathBuf {
    super::workspace().join("tests/clients/matrix").join(name)
}

/// What of a case is looked at.
fn fields(case: &str) -> &'static [&'static str] {
    match case {
        "properties" | "nested property" => &["properties"],
        "subject" => &["subject"],
        "reply-to" | "reply-to with subject" => &["reply-to"],
        "ids" => &["message-id", "correlation-id", "user-id"],
        "header" => &["durable", "priority", "ttl"],
        _ => &["body", "content-type"],
    }
}

/// Rows by case and field, each with a cell by pair of protocols.
type Table = BTreeMap<(String, String), BTreeMap<(usize, usize), String>>;

/// Runs every pair, and holds what is seen against the table that is kept, or writes it.
pub fn run(write: bool) -> Result<Tally> {
    let python = Python::installed()?;
    let mut table = Table::new();
    let mut order: Vec<String> = Vec::new();
    for (from, publisher) in ENDS.iter().enumerate() {
        for (to, consumer) in ENDS.iter().enumerate() {
            let seen = cross(&python, *publisher, *consumer)
                .with_context(|| format!("from {} to {}", publisher.protocol, consumer.protocol))?;
            println!("{} -> {}: {} cases", publisher.protocol, consumer.protocol, seen.len());
            for message in &seen {
                let case = message["case"].as_str().context("a message without its case")?;
                if !order.iter().any(|known| known == case) {
                    order.push(case.to_owned());
                }
                for field in fields(case) {
                    for (row, cell) in cells(field, &message[*field]) {
                        table.entry((case.to_owned(), row)).or_default().insert((from, to), cell);
                    }
                }
            }
        }
    }
    let text = render(&table, &order);
    if write {
        std::fs::write(kept(), &text)?;
        return Ok(Tally { passed: 1, failed: 0 });
    }
    let known = std::fs::read_to_string(kept()).unwrap_or_default();
    let different: Vec<&str> =
        text.lines().filter(|line| !known.lines().any(|k| k == *line)).collect();
    for line in &different {
        println!("  not as in {}: {line}", kept().display());
    }
    let failed = usize::from(known != text);
    Ok(Tally { passed: table.len() - different.len().min(table.len()), failed })
}

/// Publishes by one and consumes by the other, through a broker of their own.
fn cross(python: &Python, publisher: End, consumer: End) -> Result<Vec<Value>> {
    let broker = Broker::start(&["--shards", "2"])?;
    let address = broker.address().to_string();
    let connection = Connection::connect(&address, &ConnectOptions::default())?;
    let session = connection.session("crossing", false)?;
    session.call(&queue::Declare { queue: Some(QUEUE), ..Default::default() }.into())?;
    output((publisher.program)(python).args(["send", &address, QUEUE]))?;
    let query = session.call(&queue::Query { queue: Some(QUEUE) }.into())?;
    let query = query.context("queue.query has a result")?;
    let count = query.read::<queue::QueueQueryResult<'_>>()?.message_count.unwrap_or(0).to_string();
    let said = output((consumer.program)(python).args(["receive", &address, QUEUE, &count]))?;
    connection.close()?;
    broker.stop()?;
    said.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().context("starting the client")?;
    if !done.status.success() {
        bail!("{:?} failed: {}", command.get_program(), String::from_utf8_lossy(&done.stderr));
    }
    ensure!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)?)
}

/// The rows of a field; each property is one.
fn cells(field: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(members) => {
            let cell =
                |(name, value): (&String, &Value)| (format!("property {name}"), brief(value));
            members.iter().map(cell).collect()
        }
        value => vec![(field.to_owned(), brief(value))],
    }
}

/// A value as people read it.
fn brief(value: &Value) -> String {
    match value {
        Value::Array(typed) => match (&typed[0], &typed[1]) {
            (Value::String(kind), Value::Object(members)) => {
                let members: Vec<String> =
                    members.iter().map(|(key, value)| format!("{key}: {}", brief(value))).collect();
                format!("{kind} {{{}}}", members.join(", "))
            }
            (Value::String(kind), Value::Array(members)) => {
                let members: Vec<String> = members.iter().map(brief).collect();
                format!("{kind} [{}]", members.join(", "))
            }
            (Value::String(kind), Value::String(text)) => {
                format!("{kind} {text}").trim_end().to_owned()
            }
            _ => value.to_string(),
        },
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn render(table: &Table, order: &[String]) -> String {
    let pairs = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let mut text = HEAD.to_owned();
    let names: Vec<String> = pairs
        .iter()
        .map(|(from, to)| format!("{} → {}", ENDS[*from].protocol, ENDS[*to].protocol))
        .collect();
    let _ = writeln!(text, "| case | what | {} |", names.join(" | "));
    let _ = writeln!(text, "| --- | --- | --- | --- | --- | --- |");
    for case in order {
        for ((_, what), cells) in table.iter().filter(|((of, _), _)| of == case) {
            let cell = |pair| cells.get(pair).map_or("", String::as_str).replace('|', "\\|");
            let cells: Vec<String> = pairs.iter().map(cell).collect();
            let _ = writeln!(text, "| {case} | {what} | {} |", cells.join(" | "));
        }
    }
    text
}
