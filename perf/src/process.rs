//! What the kernel says about a process: processor time, context switches, memory, disk. All from `/proc`.

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// A process, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

/// What a process has used up so far; or between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system, all threads, in the clock's ticks of 10 ms.
    pub(crate) cpu: Duration,
    /// Context switches, voluntary and not, of the threads that are alive.
    pub(crate) switches: u64,
}

impl Sub for Usage {
    type Output = Usage;

    fn sub(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            // Threads that ended take their count with them.
            switches: self.switches.saturating_sub(before.switches),
        }
    }
}

impl Process {
    /// This one.
    pub(crate) fn this() -> Process {
        Process(std::process::id())
    }

    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        fs::read_to_string(&path).with_context(|| path.clone())
    }

    /// Processor time it has used, user and system, all threads, in the clock's ticks of 10 ms.
    pub(crate) fn cpu(self) -> Result<Duration> {
        self.ticks(11)
    }

    /// The same of those it had started, as far as they have ended and it knows.
    pub(crate) fn children_cpu(self) -> Result<Duration> {
        self.ticks(13)
    }

    /// User and system time, from that field of `stat` on.
    fn ticks(self, at: usize) -> Result<Duration> {
        let stat = self.read("stat")?;
        // The name, in parentheses, may contain anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_whitespace().skip(at).map(str::parse::<u64>);
        match (fields.next(), fields.next()) {
            (Some(Ok(user)), Some(Ok(system))) => {
                let per_second = rustix::param::clock_ticks_per_second();
                Ok(Duration::from_secs_f64((user + system) as f64 / per_second as f64))
            }
            _ => bail!("/proc/{}/stat: {stat}", self.0),
        }
    }

    /// Context switches of all its threads.
    fn switches(self) -> Result<u64> {
        let mut count = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            // A thread may end between the two.
            let Ok(status) = fs::read_to_string(task?.path().join("status")) else { continue };
            let of = |name| field(&status, name).unwrap_or(0);
            count += of("voluntary_ctxt_switches:") + of("nonvoluntary_ctxt_switches:");
        }
        Ok(count)
    }

    /// Both.
    pub(crate) fn usage(self) -> Result<Usage> {
        Ok(Usage { cpu: self.cpu()?, switches: self.switches()? })
    }

    /// Its resident memory in octets, exact: the figure in `status` lags by pages per thread.
    pub(crate) fn resident(self) -> Result<u64> {
        let kib = field(&self.read("smaps_rollup")?, "Rss:");
        kib.map(|kib| kib * 1024).ok_or_else(|| anyhow!("no Rss in smaps_rollup"))
    }

    /// The most memory it ever had resident, in octets.
    pub(crate) fn peak_resident(self) -> Result<u64> {
        let kib = field(&self.read("status")?, "VmHWM:");
        kib.map(|kib| kib * 1024).ok_or_else(|| anyhow!("no VmHWM in status"))
    }

    /// Octets it has had written to disk, whatever for.
    pub(crate) fn written(self) -> Result<u64> {
        field(&self.read("io")?, "write_bytes:").ok_or_else(|| anyhow!("no write_bytes in io"))
    }
}

/// Raises this process's limit of open files, and of those it starts, to what is needed.
pub(crate) fn allow_descriptors(needed: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        bail!("{needed} open files are needed, and the limit (ulimit -Hn) is lower");
    }
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(needed);
        setrlimit(Resource::Nofile, limit)?;
    }
    Ok(())
}

/// The number on the line that begins with this.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_at_the_start_of_its_line() {
        let status =
            "x_ctxt_switches: 9\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t5 kB\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(status, "Rss:"), None);
    }
}
