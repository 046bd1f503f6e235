//! How much is measured, and for how long.

use crate::load::Time;
use clap::ValueEnum;
use std::path::PathBuf;

/// The profiles by name. How long each takes on 2 processors, measured, is in `README.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Seconds, to see that all works: its figures say nothing.
    Smallest,
    /// About two minutes.
    Quick,
    /// A quarter of an hour.
    Standard,
    /// All that there is, some hours.
    Full,
}

/// The parameters of all scenarios.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) name: String,
    pub(crate) repetitions: usize,
    /// Before each flow, in seconds.
    pub(crate) warm_up: f64,
    /// Of each flow.
    pub(crate) seconds: f64,
    /// Of each of the host's own measurements.
    pub(crate) host_seconds: f64,
    /// Octets of bodies.
    pub(crate) sizes: Vec<usize>,
    /// Messages per second.
    pub(crate) rates: Vec<u32>,
    pub(crate) durable_rates: Vec<u32>,
    /// Messages published and not received, where there is no rate.
    pub(crate) in_flight: u64,
    pub(crate) fan_outs: Vec<usize>,
    pub(crate) fan_ins: Vec<usize>,
    pub(crate) pairs: Vec<usize>,
    /// Highest rate: sizes, what p99.9 may be in microseconds, and how many rates are tried.
    pub(crate) sustained_sizes: Vec<usize>,
    pub(crate) limit_us: f64,
    pub(crate) trials: u32,
    pub(crate) connections: usize,
    /// Seconds of opening and closing connections.
    pub(crate) churn: f64,
    /// Messages of a backlog.
    pub(crate) backlog: u64,
    /// Messages per second, and seconds that a group of consumers is away.
    pub(crate) absence: (u32, f64),
    pub(crate) shards: Vec<u16>,
    /// Queues that management is asked for.
    pub(crate) managed_queues: usize,
    /// Seconds.
    pub(crate) soak: f64,
    /// Where the programs of Apache Qpid are, if they are to be run.
    pub(crate) qpid_clients: Option<PathBuf>,
}

impl Name {
    /// As the options have it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Name::Smallest => "smallest",
            Name::Quick => "quick",
            Name::Standard => "standard",
            Name::Full => "full",
        }
    }

    /// Its table.
    pub(crate) fn profile(self) -> Profile {
        let name = self.text().to_owned();
        match self {
            Name::Smallest => Profile {
                name,
                repetitions: 1,
                warm_up: 0.0,
                seconds: 0.2,
                host_seconds: 0.05,
                sizes: vec![64],
                rates: vec![1_000],
                durable_rates: vec![500],
                in_flight: 1_000,
                fan_outs: vec![10],
                fan_ins: vec![10],
                pairs: vec![1, 2],
                sustained_sizes: vec![64],
                limit_us: 1e6,
                trials: 1,
                connections: 20,
                churn: 0.2,
                backlog: 1_000,
                absence: (1_000, 0.2),
                shards: vec![1, 2],
                managed_queues: 20,
                soak: 0.5,
                qpid_clients: None,
            },
            Name::Quick => Profile {
                name,
                repetitions: 1,
                warm_up: 0.3,
                seconds: 1.5,
                host_seconds: 0.7,
                sizes: vec![64, 1_024],
                rates: vec![1_000, 10_000, 50_000],
                durable_rates: vec![1_000, 10_000],
                in_flight: 10_000,
                fan_outs: vec![5, 50],
                fan_ins: vec![50],
                pairs: vec![1, 4],
                sustained_sizes: vec![64],
                limit_us: 10_000.0,
                trials: 5,
                connections: 1_000,
                churn: 1.5,
                backlog: 500_000,
                absence: (10_000, 2.0),
                shards: vec![1, 2],
                managed_queues: 200,
                soak: 5.0,
                qpid_clients: None,
            },
            Name::Standard => Profile {
                name,
                repetitions: 3,
                warm_up: 0.7,
                seconds: 4.0,
                host_seconds: 2.0,
                sizes: vec![64, 1_024],
                rates: vec![1_000, 10_000, 50_000, 100_000],
                durable_rates: vec![1_000, 10_000, 50_000],
                in_flight: 10_000,
                fan_outs: vec![5, 50],
                fan_ins: vec![50],
                pairs: vec![1, 4],
                sustained_sizes: vec![64],
                limit_us: 10_000.0,
                trials: 7,
                connections: 5_000,
                churn: 4.0,
                backlog: 2_000_000,
                absence: (20_000, 4.0),
                shards: vec![1, 2],
                managed_queues: 1_000,
                soak: 20.0,
                qpid_clients: None,
            },
            Name::Full => Profile {
                name,
                repetitions: 5,
                warm_up: 2.0,
                seconds: 10.0,
                host_seconds: 10.0,
                sizes: vec![64, 256, 1_024, 16_384],
                rates: vec![1_000, 10_000, 50_000, 100_000, 250_000],
                durable_rates: vec![1_000, 10_000, 50_000, 100_000, 250_000],
                in_flight: 10_000,
                fan_outs: vec![5, 15, 50, 1_000],
                fan_ins: vec![50],
                pairs: vec![1, 4],
                sustained_sizes: vec![64, 1_024],
                limit_us: 10_000.0,
                trials: 10,
                connections: 10_000,
                churn: 10.0,
                backlog: 10_000_000,
                absence: (50_000, 10.0),
                shards: vec![1, 2, 4, 8],
                managed_queues: 5_000,
                soak: 600.0,
                qpid_clients: None,
            },
        }
    }
}

impl Profile {
    /// Messages per second where one rate does: 10,000 or the next above, else the first.
    pub(crate) fn rate(&self) -> Option<u32> {
        let rate = self.rates.iter().copied().find(|rate| *rate >= 10_000);
        rate.or(self.rates.first().copied())
    }

    /// Octets of a body where one size does: the largest up to 1,024.
    pub(crate) fn size(&self) -> Option<usize> {
        self.sizes.iter().copied().filter(|size| *size <= 1_024).max()
    }

    /// How long a flow lasts.
    pub(crate) fn time(&self) -> Time {
        Time { warm_up: self.warm_up, seconds: self.seconds }
    }
}
