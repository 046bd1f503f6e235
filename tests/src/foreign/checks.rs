//! What our programs on foreign clients say: a line for each check, and which queues they need.
//!
//! A check's line is `NAME pass`, `NAME fail REASON` or `NAME skip REASON`; names hold no blanks. A
//! queue's is `NAME` or `NAME {ARGUMENTS}`, the arguments as JSON, `durable` and `alternate-exchange`
//! among them.

use anyhow::{Context, Result, bail};
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::table::queue;
use fletch_client::Session;
use serde_json::Value;

use super::output::Outcome;
use crate::scene;

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The check.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed or was skipped.
    pub reason: String,
}

/// Reads a check's line; anything else is `None`.
pub fn ended(line: &str) -> Option<Ended> {
    let (name, rest) = line.split_once(' ')?;
    let (word, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let outcome = match word {
        "pass" => Outcome::Pass,
        "fail" => Outcome::Fail,
        "skip" => Outcome::Skip,
        _ => return None,
    };
    Some(Ended { name: name.to_owned(), outcome, reason: reason.to_owned() })
}

/// A queue that checks need.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needed {
    name: String,
    durable: bool,
    alternate: Option<String>,
    arguments: Map,
}

/// Reads a queue's line.
pub fn needed(line: &str) -> Result<Needed> {
    let (name, options) = line.split_once(' ').unwrap_or((line, "{}"));
    let mut needed = Needed { name: name.to_owned(), ..Needed::default() };
    let options: serde_json::Map<String, Value> =
        serde_json::from_str(options).with_context(|| format!("reading `{line}`"))?;
    for (key, value) in options {
        match (key.as_str(), value) {
            ("durable", Value::Bool(durable)) => needed.durable = durable,
            ("alternate-exchange", Value::String(exchange)) => needed.alternate = Some(exchange),
            (_, value) => needed.arguments = needed.arguments.with(key, argument(&value)?),
        }
    }
    Ok(needed)
}

fn argument(value: &Value) -> Result<fletch_amqp::types::Value> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => number.as_i64().context("not a whole number")?.into(),
        Value::Bool(truth) => i64::from(*truth).into(),
        other => bail!("{other} is no argument of a queue"),
    })
}

impl Needed {
    /// Declares it, empty: one that a broker has from a run before is deleted first.
    pub fn declare(&self, session: &Session) -> Result<()> {
        if scene::query(session, &self.name)?.is_some() {
            scene::delete(session, &self.name)?;
        }
        let arguments = self.arguments.encoded()?;
        let declare = queue::Declare {
            queue: Some(&self.name),
            durable: self.durable,
            alternate_exchange: self.alternate.as_deref(),
            arguments: Some(arguments.view()),
            ..Default::default()
        };
        session.call(&declare.into()).with_context(|| format!("declaring {}", self.name))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_a_check_ended() {
        let of = |line| ended(line).map(|e| (e.name, e.outcome, e.reason));
        assert_eq!(of("order pass"), Some(("order".into(), Outcome::Pass, String::new())));
        let failed = ("order".into(), Outcome::Fail, "1 is not 2".into());
        assert_eq!(of("order fail 1 is not 2"), Some(failed));
        assert_eq!(of("3 passed, 0 failed"), None);
        assert_eq!(of("words"), None);
    }

    #[test]
    fn a_line_says_what_queue_is_needed() {
        let plain = Needed { name: "q".to_owned(), ..Needed::default() };
        assert_eq!(needed("q").unwrap(), plain);
        assert_eq!(needed("q {}").unwrap(), plain);
        let line =
            r#"q {"qpid.max_count": 3, "alternate-exchange": "amq.fanout", "durable": true}"#;
        let much = needed(line).unwrap();
        assert_eq!((much.durable, much.alternate.as_deref()), (true, Some("amq.fanout")));
        assert_eq!(much.arguments, Map::new().with("qpid.max_count", 3i64));
        assert!(needed("q {").is_err() && needed(r#"q {"a": []}"#).is_err());
    }
}
