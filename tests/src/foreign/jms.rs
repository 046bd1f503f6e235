//! Runs our Java program on the reference's JMS client for AMQP 0-10, against fresh brokers.
//!
//! `tests/run` compiles `tests/clients/jms` and fetches the client's jars through Maven.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Tally;
use crate::broker::Broker;

/// The compiled program and its jars.
#[derive(Debug)]
pub struct Jms {
    dir: PathBuf,
}

impl Jms {
    /// Finds what `tests/run` installed.
    pub fn installed() -> Result<Jms> {
        let dir = super::clients_dir().join("jms");
        ensure!(
            dir.join("classes/JmsCheck.class").is_file() && dir.join("lib").is_dir(),
            "{} has no JMS client: it is not installed; run ./tests/run",
            dir.display()
        );
        Ok(Jms { dir })
    }

    /// Runs the program against a broker with so many shards; prints its lines.
    pub fn run(&self, shards: u16) -> Result<Tally> {
        let broker = Broker::start_stored(&["--shards", &shards.to_string()])?;
        let tally = self.run_against(&broker.address().to_string())?;
        broker.stop()?;
        Ok(tally)
    }

    /// Runs the program against the broker at `host:port`.
    pub fn run_against(&self, address: &str) -> Result<Tally> {
        let class_path = format!("{0}/classes:{0}/lib/*", self.dir.display());
        let output = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-Dqpid.amqp.version=0-10", "-cp", &class_path])
            .args(["JmsCheck", address])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("running java")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (checks, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
        println!("{checks}");
        parse(last).with_context(|| format!("`{last}` does not end the program's report"))
    }
}

/// Reads `N passed, N failed`.
fn parse(line: &str) -> Option<Tally> {
    let (passed, rest) = line.split_once(" passed, ")?;
    let failed = rest.strip_suffix(" failed")?;
    Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_tally() {
        assert_eq!(parse("12 passed, 3 failed"), Some(Tally { passed: 12, failed: 3 }));
        assert_eq!(parse("Exception in thread main"), None);
    }
}
