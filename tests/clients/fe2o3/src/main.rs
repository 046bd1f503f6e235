//! Checks of a broker with fe2o3-amqp, an AMQP 1.0 client for Rust.
//!
//! ```text
//! fe2o3-check --list                  the names of the checks
//! fe2o3-check --queues                the queues they need, one a line: NAME {ARGUMENTS}
//! fe2o3-check HOST:PORT [NAME...]     runs all, or those named, or whose names contain NAME
//! ```
//!
//! A line for each check, `NAME pass|fail|skip REASON`, then `N passed, N failed`; exit status 1 when
//! anything failed.

mod flow;
mod links;
mod nodes;
mod outcomes;
mod reconnect;
mod scene;
mod transactions;
mod transfers;
mod values;

use std::process::ExitCode;
use std::time::Duration;

use scene::{Check, Scene, queue};

fn checks() -> Vec<Check> {
    let mut checks = transfers::checks();
    checks.extend(outcomes::checks());
    checks.extend(flow::checks());
    checks.extend(values::checks());
    checks.extend(nodes::checks());
    checks.extend(transactions::checks());
    checks.extend(reconnect::checks());
    checks.extend(links::checks());
    checks
}

async fn outcome(check: &Check, address: &str) -> String {
    let scene = Scene { address: address.to_owned() };
    // In a task of its own: a panic of the client is a failure of this check only.
    let work = tokio::spawn((check.run)(scene));
    match tokio::time::timeout(Duration::from_secs(check.seconds), work).await {
        Err(_) => "fail took too long".to_owned(),
        Ok(Err(panic)) => format!("fail {panic}"),
        Ok(Ok(Err(error))) => {
            let text = format!("{error:#}");
            let text: Vec<&str> = text.split_whitespace().collect();
            format!("fail {}", text.join(" ").chars().take(300).collect::<String>())
        }
        Ok(Ok(Ok(()))) => "pass".to_owned(),
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let checks = checks();
    match arguments.first().map(String::as_str) {
        Some("--list") => checks.iter().for_each(|check| println!("{}", check.name)),
        Some("--queues") => {
            for (name, arguments) in checks.iter().flat_map(|check| &check.queues) {
                println!("{} {arguments}", queue(name));
            }
        }
        Some(address) => {
            let (mut passed, mut failed) = (0, 0);
            for check in checks.iter().filter(|check| wanted(check, &checks, &arguments[1..])) {
                let outcome = outcome(check, address).await;
                if outcome == "pass" {
                    passed += 1;
                } else {
                    failed += 1;
                }
                println!("{} {outcome}", check.name);
            }
            println!("{passed} passed, {failed} failed");
            return ExitCode::from(u8::from(failed > 0));
        }
        None => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn wanted(check: &Check, all: &[Check], names: &[String]) -> bool {
    let exact = |name: &str| all.iter().any(|other| other.name == name);
    names.is_empty()
        || names
            .iter()
            .any(|name| check.name == name || !exact(name) && check.name.contains(name.as_str()))
}
