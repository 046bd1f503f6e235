//! What the kinds of queues cost, without a broker around them: one queue each, no network, no disk.
//!
//! The same messages go through queues of all kinds, turn by turn: past a consumer that waits, and into a
//! backlog that is consumed afterwards. Then: what a key or a group takes of memory, by how many there are; and
//! how long a consumer looks for messages who selects none of them.

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use fletch_amqp::Map;
use fletch_engine::queue::{CreditUnit, INFINITE, Output, Queue, QueueDefaults, QueueSettings};
use fletch_engine::selector::Selector;
use fletch_engine::{
    Message, Mode, Position, QueueId, SessionId, ShardId, Subscribe, SubscriptionId, Time,
};
use fletch_perf::message;
use fletch_perf::report::median;
use serde::Serialize;
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Benchmark of kinds of queues: one queue each, no network, no disk")]
struct Options {
    /// Messages that go through each queue in one repetition.
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    /// Keys and groups among them.
    #[arg(long, default_value_t = 1000)]
    keys: usize,
    /// Of which the median is shown.
    #[arg(long, default_value_t = 11)]
    repetitions: usize,
    /// Messages that a selector is asked about; the most keys that memory is measured with.
    #[arg(long, default_value_t = 1_000_000)]
    many: usize,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const NOW: Time = Time(1);
const KINDS: [&str; 4] = ["fifo", "last value", "priority", "groups"];

fn consumer() -> SubscriptionId {
    SubscriptionId { session: SessionId::new(ShardId(0), 1), tag: 1 }
}

/// Octets that are allocated.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting. One thread: nothing is added to at the same time.
struct Counting;

// SAFETY: everything is the system allocator's; only numbers are kept besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.store(LIVE.load(Relaxed).wrapping_add(layout.size()), Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.store(LIVE.load(Relaxed).wrapping_sub(layout.size()), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.store(LIVE.load(Relaxed).wrapping_sub(layout.size()).wrapping_add(size), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What messages cost that go through a queue.
#[derive(Serialize)]
struct Passing {
    kind: &'static str,
    /// Nanoseconds for enqueue, delivery and accept with a consumer that waits.
    waiting_ns: f64,
    /// The same with all enqueued before the first is consumed.
    backlog_ns: f64,
}

/// What a message with a key of its own takes of memory besides itself.
#[derive(Serialize)]
struct Keyed {
    kind: &'static str,
    keys: usize,
    bytes: f64,
}

/// What it takes to look for a message that is not there.
#[derive(Serialize)]
struct Looking {
    kind: &'static str,
    messages: usize,
    slices: usize,
    total_ms: f64,
    longest_us: f64,
    /// Slices when it looks once more and nothing has come.
    slices_again: usize,
    again_us: f64,
}

#[derive(Serialize)]
struct Report {
    passing: Vec<Passing>,
    keyed: Vec<Keyed>,
    looking: Vec<Looking>,
}

fn queue(kind: &str) -> Queue {
    let none = Map::new();
    let arguments = match kind {
        "last value" => none.with("qpid.last_value_queue_key", "key"),
        "priority" => none.with("qpid.priorities", 10i64),
        "groups" => none.with("qpid.group_header_key", "key").with("qpid.shared_msg_group", 1i64),
        _ => none,
    };
    let mut queue = Queue::new(QueueId(1));
    let settings = QueueSettings::new("q", &arguments).expect("arguments of one kind");
    let defaults = (&QueueDefaults::UNLIMITED, false);
    queue.configure(NOW, &settings, defaults, &mut Vec::new());
    queue
}

fn subscribe(queue: &mut Queue, selector: Option<&str>, out: &mut Vec<Output>) {
    let selector = selector.map(|text| Arc::new(Selector::parse(text).expect("a selector")));
    let subscribe = Subscribe {
        tag: consumer().tag,
        queue: "q".into(),
        mode: Mode::Consume,
        settles: true,
        exclusive: false,
        selector,
        arguments: Map::new(),
    };
    queue.subscribe(consumer(), &subscribe).expect("nobody else");
    for unit in [CreditUnit::Bytes, CreditUnit::Messages] {
        queue.grant(NOW, consumer(), unit, INFINITE, out);
    }
}

fn message(n: usize, keys: usize) -> Message {
    let key = format!("key-{}", n % keys);
    let headers = Map::new().with("key", key.as_str());
    // Priorities of neighbours are not the same.
    message::message("", &headers, (n * 7 % 10) as u8, &[0; 100])
}

/// What came is accepted, and written out.
fn settle(queue: &mut Queue, out: &mut Vec<Output>, got: &mut VecDeque<(Position, u64)>) {
    loop {
        for output in out.drain(..) {
            if let Output::Deliver { delivery, message, .. } = output {
                got.push_back((delivery.position, message.size() as u64));
            }
        }
        let Some((position, size)) = got.pop_front() else { return };
        queue.accept(position, out);
        queue.serve_freed(NOW, out);
        queue.room(NOW, consumer(), 1, size, out);
    }
}

/// Messages between two looks at the clock.
const BATCH: usize = 64;

/// Nanoseconds a message; all leave the queue.
fn pass(kind: &str, messages: &[Message], waits: bool) -> f64 {
    let mut queue = queue(kind);
    let (mut out, mut got) = (Vec::new(), VecDeque::new());
    if waits {
        subscribe(&mut queue, None, &mut out);
    }
    let mut took = Duration::ZERO;
    for batch in messages.chunks(BATCH) {
        // As when they have just been read from a connection: their headers are in the processor's caches.
        batch.iter().flat_map(|message| message.header()).for_each(|octet| {
            black_box(octet);
        });
        let began = Instant::now();
        for message in batch {
            queue.enqueue(NOW, message.clone(), &mut out);
            settle(&mut queue, &mut out, &mut got);
        }
        took += began.elapsed();
    }
    if !waits {
        let began = Instant::now();
        subscribe(&mut queue, None, &mut out);
        settle(&mut queue, &mut out, &mut got);
        took += began.elapsed();
    }
    assert_eq!(queue.messages(), 0, "{kind}: all is consumed");
    took.as_nanos() as f64 / messages.len() as f64
}

fn passing(options: &Options) -> Vec<Passing> {
    let messages: Vec<Message> = (0..options.messages).map(|n| message(n, options.keys)).collect();
    let mut times = vec![(Vec::new(), Vec::new()); KINDS.len()];
    for _ in 0..options.repetitions {
        for (kind, (waiting, backlog)) in KINDS.iter().zip(&mut times) {
            waiting.push(pass(kind, &messages, true));
            backlog.push(pass(kind, &messages, false));
        }
    }
    let all = KINDS.into_iter().zip(times);
    all.map(|(kind, (waiting, backlog))| Passing {
        kind,
        waiting_ns: median(waiting),
        backlog_ns: median(backlog),
    })
    .collect()
}

fn keyed(options: &Options) -> Vec<Keyed> {
    let mut all = Vec::new();
    for kind in ["fifo", "last value", "groups"] {
        for keys in [options.many / 100, options.many / 10, options.many] {
            let messages: Vec<Message> = (0..keys).map(|n| message(n, keys)).collect();
            let mut queue = queue(kind);
            let (mut out, before) = (Vec::new(), LIVE.load(Relaxed));
            for message in messages {
                // The list's own is given back when all are out of it.
                queue.enqueue(NOW, message, &mut out);
            }
            let list = keys * size_of::<Message>();
            let grown = (LIVE.load(Relaxed) + list).saturating_sub(before);
            assert_eq!(queue.messages(), keys as u64);
            all.push(Keyed { kind, keys, bytes: grown as f64 / keys as f64 });
        }
    }
    all
}

fn looking(options: &Options) -> Vec<Looking> {
    let mut all = Vec::new();
    for kind in KINDS {
        let mut queue = queue(kind);
        let mut out = Vec::new();
        for n in 0..options.many {
            queue.enqueue(NOW, message(n, options.many), &mut out);
        }
        let (mut slices, mut longest, mut total) = (0, 0u128, 0u128);
        let mut slice = |f: &mut dyn FnMut(&mut Vec<Output>)| {
            let began = Instant::now();
            f(&mut out);
            let time = began.elapsed().as_nanos();
            (longest, total, slices) = (longest.max(time), total + time, slices + 1);
            assert!(!out.iter().any(|o| matches!(o, Output::Deliver { .. })), "it wants none");
            out.drain(..).any(|output| matches!(output, Output::More { .. }))
        };
        let mut more = slice(&mut |out| subscribe(&mut queue, Some("key = 'none'"), out));
        while more {
            more = slice(&mut |out| queue.look(NOW, out));
        }
        let (slices, longest, total) = (slices, longest, total);
        let (began, mut slices_again) = (Instant::now(), 1);
        let mut out = Vec::new();
        queue.grant(NOW, consumer(), CreditUnit::Messages, 1, &mut out);
        while out.drain(..).any(|output| matches!(output, Output::More { .. })) {
            slices_again += 1;
            queue.look(NOW, &mut out);
        }
        all.push(Looking {
            kind,
            messages: options.many,
            slices,
            total_ms: total as f64 / 1e6,
            longest_us: longest as f64 / 1e3,
            slices_again,
            again_us: began.elapsed().as_nanos() as f64 / 1e3,
        });
    }
    all
}

fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(columns);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let report =
        Report { passing: passing(&options), keyed: keyed(&options), looking: looking(&options) };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    let (waiting, backlog) = (report.passing[0].waiting_ns, report.passing[0].backlog_ns);
    let rows = report.passing.iter().map(|p| {
        vec![
            p.kind.into(),
            format!("{:.0}", p.waiting_ns),
            format!("{:.2}", p.waiting_ns / waiting),
            format!("{:.0}", p.backlog_ns),
            format!("{:.2}", p.backlog_ns / backlog),
        ]
    });
    println!("{}\n", table(&["queue", "waiting ns", "x fifo", "backlog ns", "x fifo"], rows));
    let rows = report.keyed.iter();
    let rows = rows.map(|k| vec![k.kind.into(), k.keys.to_string(), format!("{:.0}", k.bytes)]);
    println!("{}\n", table(&["queue", "keys", "bytes/key"], rows));
    let rows = report.looking.iter().map(|l| {
        vec![
            l.kind.into(),
            l.messages.to_string(),
            l.slices.to_string(),
            format!("{:.0}", l.total_ms),
            format!("{:.0}", l.longest_us),
            l.slices_again.to_string(),
            format!("{:.1}", l.again_us),
        ]
    });
    let columns =
        ["queue", "messages", "slices", "total ms", "longest us", "slices again", "again us"];
    println!("{}", table(&columns, rows));
    Ok(())
}
