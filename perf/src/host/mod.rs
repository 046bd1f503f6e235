//! What this machine can do without any broker, in the same run: the figures the others are held against. How steady a
//! processor is (`hiccups`), loopback (`loopback`), the disk (`disk`).

pub(crate) mod disk;
mod hiccups;
pub(crate) mod loopback;

use crate::load::flow::Clients;
use crate::suite::document::{Better, Curve, Figure, Host, micros};
use anyhow::{Context, Result};
use disk::Disk;
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Octets of the file for syncs: enough that a sync never meets the one before.
const FILE: usize = 16 << 20;

/// The processors that this process may use.
pub(crate) fn processors() -> Result<Vec<usize>> {
    let may = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| may.is_set(*cpu)).collect())
}

/// Measures all, each for so long; the disk in a directory on the one that counts.
pub(crate) fn measure(time: Duration, dir: &Path) -> Result<Host> {
    let (mut figures, mut curves) = (Vec::new(), Vec::new());
    let mut add = |name: &str, unit: &str, value: f64| {
        figures.push(Figure::new(name, unit, Better::Lower, vec![value]));
    };
    let hiccups = hiccups::measure(time)?;
    let seconds = hiccups.time.as_secs_f64();
    add("idle loop, longest gap", "µs", micros(hiccups.gaps.max()));
    add("idle loop, gaps of a µs and more", "/s", hiccups.gaps.len() as f64 / seconds);
    add("idle loop, time in them", "%", hiccups.lost.as_secs_f64() / seconds * 100.0);
    let sleeping = loopback::round_trips(time, Clients::Sleeping)?;
    let busy = loopback::round_trips(time, Clients::Busy)?;
    let sync = Disk::prepare(dir, FILE)?.syncs(time, false)?;
    let quantiles = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];
    let named: [(&str, &Histogram<u64>); 3] = [
        ("loopback, 64 B there and back, sleeping", &sleeping),
        ("loopback, 64 B there and back, busy", &busy),
        ("disk, 4 KiB and fdatasync", &sync),
    ];
    for (what, latency) in named {
        for (quantile, name) in quantiles {
            add(&format!("{what}, {name}"), "µs", micros(latency.value_at_quantile(quantile)));
        }
    }
    curves.push(Curve::of("idle loop, gaps of a µs and more", &hiccups.gaps));
    curves.extend(named.map(|(what, latency)| Curve::of(what, latency)));
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().and_then(|load| load.parse().ok());
    Ok(Host {
        processor: processor()?,
        cores: std::thread::available_parallelism()?.get(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        memory_bytes: memory()?,
        load: load.context("/proc/loadavg")?,
        figures,
        curves,
    })
}

fn processor() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    Ok(name.map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':'])).to_owned())
}

fn memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("MemTotal in /proc/meminfo")? * 1024)
}
