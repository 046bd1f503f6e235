//! The suite as its users run it, with the smallest profile: that all there is to measure is measured and told. No figure
//! is looked at but for being one.

mod agent;

use agent::Agent;
use fletch_tests::broker::{Broker, bin_dir};
use fletch_tests::tls::{Authority, Terminator};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const SCENARIOS: [&str; 11] = [
    "latency",
    "sustained",
    "throughput",
    "round-trip",
    "consumers",
    "catch-up",
    "connections",
    "backlog",
    "scaling",
    "isolation",
    "soak",
];

fn perf(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_fletch-perf");
    Command::new(program).args(arguments).output().expect("fletch-perf runs")
}

/// What it says, if it ends so.
fn told(arguments: &[&str], success: bool) -> String {
    let output = perf(arguments);
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.success(), success, "{arguments:?}:\n{text}");
    text
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The names of an entry's figures; each has its repetitions, and they are numbers.
fn figures(entry: &Value) -> Vec<&str> {
    let figures = entry["figures"].as_array().unwrap();
    for figure in figures {
        let values = figure["values"].as_array().unwrap();
        assert!(!values.is_empty() && values.iter().all(Value::is_number), "{figure}");
    }
    figures.iter().map(|figure| figure["name"].as_str().unwrap()).collect()
}

fn entries<'a>(document: &'a Value, scenario: &str, protocol: &str) -> Vec<&'a Value> {
    let all = document["results"].as_array().unwrap();
    all.iter().filter(|e| e["scenario"] == scenario && e["protocol"] == protocol).collect()
}

#[test]
fn a_run_measures_everything_in_both_protocols_and_can_be_checked_later() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let fletchd = bin_dir().unwrap().join("fletchd");
    let (results, page, hdr) = (path("results.json"), path("page.html"), path("hdr"));
    let text = told(
        &[
            "run",
            "--profile",
            "smallest",
            "--protocol",
            "both",
            "--revision",
            "r1234",
            "--dir",
            dir.path().to_str().unwrap(),
            "--broker",
            fletchd.to_str().unwrap(),
            "--json",
            &results,
            "--html",
            &page,
            "--hdr",
            &hdr,
        ],
        true,
    );
    let document = json(results.as_ref());
    assert_eq!(document["schema"], "fletch-perf/1");
    assert_eq!(document["program"]["revision"], "r1234");
    assert!(figures(&document["host"]).iter().any(|name| name.contains("fdatasync")));
    for without in document["without"].as_array().unwrap() {
        assert_eq!(without["failed"], false, "{without}");
    }
    for protocol in ["amqp0-10", "amqp1.0"] {
        for scenario in SCENARIOS {
            let found = entries(&document, scenario, protocol);
            assert!(!found.is_empty(), "{scenario} in {protocol}");
            assert!(text.contains(&format!("\n{scenario}: ")), "{scenario} on the terminal");
            found.into_iter().for_each(|entry| assert!(!figures(entry).is_empty(), "{entry}"));
        }
        for entry in entries(&document, "latency", protocol) {
            let names = figures(entry);
            let durable = entry["parameters"]["mode"] == "durable";
            assert_eq!(names.contains(&"confirm p50"), durable, "{names:?}");
            for name in ["transfer p50", "send delay p50", "broker CPU", "clients CPU"] {
                assert!(names.contains(&name), "{name} in {names:?}");
            }
            let rises = |curve: &Value| {
                let points: Vec<f64> = curve["points"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|point| point[1].as_f64().unwrap())
                    .collect();
                points.len() > 1 && points.is_sorted()
            };
            assert!(entry["curves"].as_array().unwrap().iter().all(rises), "{entry}");
            assert!(!entry["courses"].as_array().unwrap().is_empty());
        }
    }

    let html = std::fs::read_to_string(&page).unwrap();
    for outside in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "the page has {outside}");
    }
    let again = path("again.html");
    told(&["page", &results, &again], true);
    assert_eq!(std::fs::read_to_string(again).unwrap(), html);
    for extension in ["hlog", "hgrm"] {
        let files = std::fs::read_dir(&hdr).unwrap();
        let found = files.filter(|f| f.as_ref().unwrap().path().extension().unwrap() == extension);
        assert!(found.count() > 10, "{extension}");
    }

    assert!(told(&["check", &results, "--new", &results], true).contains(" 0 worse, 0 better"));
    let mut slower = document.clone();
    // The first case is one of latency.
    let figures = slower["results"][0]["figures"].as_array_mut().unwrap();
    let figure = figures.iter_mut().find(|figure| figure["name"] == "transfer p50").unwrap();
    let value = figure["values"][0].as_f64().unwrap() * 2.0;
    figure["values"] = vec![value].into();
    figure["median"] = value.into();
    let worse = path("worse.json");
    std::fs::write(&worse, slower.to_string()).unwrap();
    let said = told(&["check", &results, "--new", &worse], false);
    assert!(said.contains("WORSE") && said.contains(" 1 worse, 0 better"), "{said}");
    // What is no longer measured is no improvement.
    slower["results"].as_array_mut().unwrap().clear();
    std::fs::write(&worse, slower.to_string()).unwrap();
    assert!(told(&["check", &results, "--new", &worse], false).contains("no case in common"));
}

#[test]
fn a_broker_that_runs_already_is_measured_by_its_url() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let results = dir.path().join("results.json");
    let broker = Broker::start(&[]).unwrap();
    let (url, pid) = (format!("amqp://{}", broker.address()), broker.pid().to_string());
    let usual = ["run", "--profile", "smallest", "--only", "throughput,scaling", "--url", &url];
    let write = ["--json", results.to_str().unwrap(), "--dir", dir.path().to_str().unwrap()];
    told(&[&usual[..], &write].concat(), true);
    let document = json(&results);
    assert_eq!(document["broker"]["url"], url);
    for entry in entries(&document, "throughput", "amqp0-10") {
        let names = figures(entry);
        assert!(names.contains(&"clients CPU") && !names.contains(&"broker CPU"), "{names:?}");
    }
    // Its shards are what they are.
    assert!(entries(&document, "scaling", "amqp0-10").is_empty());
    assert!(document["without"].as_array().unwrap().iter().all(|w| w["failed"] == false));
    told(&[&usual[..], &write, &["--pid", &pid]].concat(), true);
    for entry in entries(&json(&results), "throughput", "amqp0-10") {
        assert!(figures(entry).contains(&"broker memory"), "{entry}");
    }
    broker.stop().unwrap();
}

#[test]
fn a_broker_with_tls_is_measured_like_any_other() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let results = dir.path().join("results.json");
    let (broker, authority) = (Broker::start(&[]).unwrap(), Authority::new().unwrap());
    let terminator = Terminator::start(broker.address(), &authority).unwrap();
    let url = format!("amqps://{}", terminator.address());
    let usual = ["run", "--profile", "smallest", "--protocol", "both", "--url", &url];
    let only = ["--only", "latency,throughput", "--dir", dir.path().to_str().unwrap()];
    let ca = authority.pem();
    let trusting = ["--tls-ca", ca.to_str().unwrap(), "--json", results.to_str().unwrap()];
    let text = told(&[&usual[..], &only, &trusting].concat(), true);
    assert!(text.starts_with(&format!("the broker at {url}\n")), "{text}");
    let document = json(&results);
    assert_eq!(document["broker"]["url"], url);
    assert!(document["without"].as_array().unwrap().iter().all(|w| w["failed"] == false));
    for protocol in ["amqp0-10", "amqp1.0"] {
        for scenario in ["latency", "throughput"] {
            assert!(!entries(&document, scenario, protocol).is_empty(), "{scenario} in {protocol}");
        }
    }
    // That it was TLS, and that its clients left in order.
    assert!(terminator.closed_in_order() > 0);
    broker.stop().unwrap();
}

#[test]
fn two_brokers_are_compared_pair_by_pair() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let results = dir.path().join("results.json");
    let fletchd = bin_dir().unwrap().join("fletchd");
    let running = Broker::start(&[]).unwrap();
    let url = format!("amqp://{}", running.address());
    let text = told(
        &[
            "compare",
            "--profile",
            "smallest",
            "--only",
            "round-trip",
            "--repetitions",
            "2",
            "--a",
            &url,
            "--b-broker",
            fletchd.to_str().unwrap(),
            "--b-with=--tcp-nodelay=yes",
            "--dir",
            dir.path().to_str().unwrap(),
            "--json",
            results.to_str().unwrap(),
        ],
        true,
    );
    assert!(text.contains("B ÷ A"));
    let comparison = json(&results);
    let figure = &comparison["results"][0]["figures"][0];
    assert_eq!(figure["ratios"].as_array().unwrap().len(), 2);
    for side in ["a", "b"] {
        let runs = comparison[side]["results"][0]["figures"][0]["values"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
    }
    running.stop().unwrap();
}

/// A run of `management` by URL, and what it wrote.
fn managed(broker: &Broker, protocol: &str, success: bool) -> (String, Value) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let results = dir.path().join("results.json");
    let (url, pid) = (format!("amqp://{}", broker.address()), broker.pid().to_string());
    let usual = ["run", "--profile", "smallest", "--only", "management", "--protocol", protocol];
    let broker = ["--url", &url, "--pid", &pid];
    let write = ["--json", results.to_str().unwrap(), "--dir", dir.path().to_str().unwrap()];
    let text = told(&[&usual[..], &broker, &write].concat(), success);
    (text, json(&results))
}

#[test]
fn management_is_measured_through_an_agent_that_answers_in_parts() {
    let broker = Broker::start(&[]).unwrap();
    let agent = Agent::start(broker.address(), &[15, 10], "");
    let (_, document) = managed(&broker, "both", true);
    let seen = agent.stop();
    for protocol in ["amqp0-10", "amqp1.0"] {
        let [entry] = entries(&document, "management", protocol)[..] else { panic!("{document}") };
        let names = figures(entry);
        for name in [
            "managed ÷ alone, p99.9",
            "alone p50",
            "managed p50",
            "query max",
            "create and delete max",
            "alone broker CPU",
            "managed broker CPU",
            "never asked",
        ] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        let all = entry["figures"].as_array().unwrap();
        let objects = all.iter().find(|figure| figure["name"] == "objects in an answer");
        assert_eq!(objects.unwrap()["median"], 25.0);
    }
    let queries = seen.queries.iter().filter(|class| *class == "queue").count();
    assert!(queries > 0 && !seen.created.is_empty(), "{queries}, {:?}", seen.created);
    assert_eq!(seen.created, seen.deleted);
    assert!(seen.left.is_empty(), "{:?}", seen.left);
    broker.stop().unwrap();
}

#[test]
fn management_that_refuses_fails_the_case_with_its_words_and_leaves_no_queue_behind() {
    let broker = Broker::start(&[]).unwrap();
    let agent = Agent::start(broker.address(), &[25], "delete");
    let (text, document) = managed(&broker, "amqp0-10", false);
    assert!(text.contains("FAILED: management"), "{text}");
    assert_eq!(document["without"][0]["failed"], true);
    let why = document["without"][0]["why"].as_str().unwrap();
    assert_eq!(why, format!("management: delete: {} (7)", agent::REFUSAL));
    let seen = agent.stop();
    assert!(!seen.created.is_empty());
    assert!(seen.left.is_empty(), "{:?}", seen.left);
    broker.stop().unwrap();
}

#[test]
fn management_that_does_not_tell_all_queues_is_an_error() {
    let broker = Broker::start(&[]).unwrap();
    let agent = Agent::start(broker.address(), &[9, 9], "");
    let (text, _) = managed(&broker, "amqp0-10", false);
    assert!(text.contains("of 20 queues and more 18 were told"), "{text}");
    agent.stop();
    broker.stop().unwrap();
}

#[test]
fn a_broker_that_has_no_management_is_measured_without() {
    let without = |broker: &Broker, protocol, count, reason: &str| {
        let (_, document) = managed(broker, protocol, true);
        assert!(entries(&document, "management", protocol).is_empty(), "{document}");
        let all = document["without"].as_array().unwrap();
        assert_eq!(all.len(), count, "{document}");
        for without in all {
            assert_eq!(without["failed"], false, "{without}");
            assert!(without["why"].as_str().unwrap().contains(reason), "{without}");
        }
    };
    let broker = Broker::start(&[]).unwrap();
    without(&broker, "both", 2, "no exchange qmf.default.direct");
    // Now requests have somewhere to go, and nobody hears them.
    agent::with_exchange(broker.address());
    without(&broker, "amqp0-10", 1, "has not answered within 2s");
    broker.stop().unwrap();
    let broker = Broker::start(&["--protocols", "amqp1.0"]).unwrap();
    without(&broker, "amqp1.0", 1, "management is asked over AMQP 0-10: ");
    broker.stop().unwrap();
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is() {
    let refused = [
        (vec!["run", "--only", "speed"], "there is no such scenario, but latency, "),
        (vec!["run", "--sizes", "7"], "a body has 8 octets at least"),
        (vec!["run", "--rates", "0"], "--rates: 1 at least"),
        (vec!["run", "--seconds", "0"], "--seconds is more than 0"),
        (vec!["run", "--only", "qpid-clients"], "--qpid-clients DIR says where they are"),
        (vec!["run", "--url", "localhost:5672"], "amqp://HOST:PORT"),
        (vec!["run", "--url", "amqp://localhost", "--shards", "2"], "cannot be used with"),
        (vec!["run", "--url", "amqps://localhost"], "--tls-ca FILE with the issuer"),
        (vec!["run", "--url", "amqps://localhost", "--tls-ca", "/dev/null"], "/dev/null: no items"),
        (vec!["run", "--url", "amqp://localhost", "--tls-insecure"], "by amqps://HOST:PORT"),
        (vec!["run", "--tls-ca", "ca.pem"], "by amqps://HOST:PORT"),
        (vec!["run", "--url", "amqps://localhost", "--tls-cert", "our.pem"], "--tls-key"),
        (vec!["compare", "--a", "amqp://localhost"], "--b"),
        (
            vec!["compare", "--a", "amqp://a", "--b", "amqps://b"],
            "amqps://b\n\nCaused by:\n    whom to trust?",
        ),
        (vec!["page", "/dev/null", "/dev/null"], "/dev/null"),
    ];
    for (arguments, text) in refused {
        let said = told(&arguments, false);
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
}
