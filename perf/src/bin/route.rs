//! What routing costs, without a broker around it: one engine, one exchange, many bindings.
//!
//! For each type of exchange, 10,000 queues are bound, and messages are routed that go to one of them, to
//! a hundred, and to all. `route` is finding the queues; `publish` is that and putting the message into
//! each. Each figure is the median of the repetitions.

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use fletch_amqp::Map;
use fletch_engine::topology::Routes;
use fletch_engine::{
    Binding, Config, DeclareExchange, DeclareQueue, Effects, Engine, Event, Request, SessionId,
    ShardId, Time,
};
use fletch_perf::message::{PRIORITY, message};
use fletch_perf::report::median;
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Benchmark of routing: one engine, no network, no disk")]
struct Options {
    /// Queues bound.
    #[arg(long, default_value_t = 10_000)]
    bindings: usize,
    /// Messages routed for each figure, at most; as many are published that 100,000 copies are made.
    #[arg(long, default_value_t = 20_000)]
    messages: usize,
    /// Of which the median is shown.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
}

const NOW: Time = Time(1);

struct Broker {
    engine: Engine,
    session: SessionId,
    fx: Effects,
    op: u64,
}

impl Broker {
    fn new() -> Broker {
        let (shard, fx) = (ShardId(0), Effects::default());
        let engine = Engine::new(&Config::new(shard, 1));
        Broker { engine, session: SessionId::new(shard, 1), fx, op: 0 }
    }

    fn ask(&mut self, request: Request) {
        self.op += 1;
        self.engine.request(NOW, self.session, self.op, request, &mut self.fx);
        for event in self.fx.events.drain(..) {
            if let Event::Reply { result, .. } = event {
                result.expect("granted");
            }
        }
    }
}

/// How the `n`-th queue is bound, so that a message reaches one queue, a hundred, or all.
fn binding(kind: &str, n: usize, hit: usize, count: usize) -> (String, Map) {
    // The queues that a message for `hit` of them reaches have the last numbers.
    let is_hit = n + hit >= count;
    let none = Map::new();
    match (kind, is_hit) {
        ("topic", true) => (format!("#.b.{}", if n.is_multiple_of(2) { "*" } else { "c" }), none),
        ("topic", false) => (format!("a.x{n}.#"), none),
        ("headers", _) => {
            let value = if is_hit { 0 } else { n as i64 + 1 };
            (n.to_string(), none.with("x-match", "all").with("k", value).with("l", "text"))
        }
        ("xml", true) => ("k".into(), none.with("xquery", "/order/n > 10")),
        ("xml", false) => ("k".into(), none.with("xquery", "/order/n > 1000")),
        (_, true) => ("k".into(), none),
        (_, false) => (format!("k{n}"), none),
    }
}

fn main() {
    let options = Options::parse();
    let count = options.bindings;
    let mut table = Table::new();
    let columns = ["exchange", "reaches", "route ns", "route ns/queue", "publish ns/queue"];
    table.load_style(presets::ASCII_MARKDOWN).set_header(columns);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for kind in ["direct", "topic", "fanout", "headers", "xml"] {
        for hit in [1, 100, count] {
            if kind == "fanout" && hit < count {
                continue;
            }
            let mut broker = Broker::new();
            let declare =
                DeclareExchange { name: "x".into(), kind: kind.into(), ..Default::default() };
            broker.ask(Request::DeclareExchange(declare));
            for n in 0..count {
                let name = format!("q{n}");
                let queue = DeclareQueue { name: name.as_str().into(), ..Default::default() };
                broker.ask(Request::DeclareQueue(queue));
                let (key, arguments) = binding(kind, n, hit, count);
                broker.ask(Request::Bind(Binding {
                    queue: name.as_str().into(),
                    exchange: "x".into(),
                    key: key.as_str().into(),
                    arguments,
                }));
            }
            let key = if kind == "topic" { "a.b.c" } else { "k" };
            let headers = Map::new().with("l", "text").with("k", 0i64);
            let body = b"<order><n>11</n><text>some more words</text></order>";
            let message = message(key, &headers, PRIORITY, body);
            let mut routes = Routes::default();
            let scans = if matches!(kind, "headers" | "xml") { count } else { hit };
            let times = (options.messages.min(5_000_000 / scans)).max(1);
            let route = median(
                (0..options.repetitions)
                    .map(|_| {
                        let began = Instant::now();
                        for _ in 0..times {
                            routes.clear();
                            broker.engine.topology().route("x", &message, &mut routes).expect("is");
                        }
                        began.elapsed().as_nanos() as f64 / times as f64
                    })
                    .collect(),
            );
            assert_eq!(routes.len(), hit, "{kind}");
            let times = (100_000 / hit.max(scans / 10)).clamp(1, options.messages);
            let publish = median(
                (0..options.repetitions)
                    .map(|_| {
                        let began = Instant::now();
                        for _ in 0..times {
                            broker.op += 1;
                            let from = (broker.session, broker.op);
                            let fx = &mut broker.fx;
                            broker.engine.publish(NOW, from, "x", &message, fx).expect("is");
                        }
                        began.elapsed().as_nanos() as f64 / (times * hit) as f64
                    })
                    .collect(),
            );
            table.add_row([
                kind.to_string(),
                hit.to_string(),
                format!("{route:.0}"),
                format!("{:.1}", route / hit as f64),
                format!("{publish:.0}"),
            ]);
        }
    }
    println!("{table}");
}
