//! Lists of processors: which cores the shards are pinned to.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A list of processors as in `0,2-5`: in order, without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(Vec<usize>);

/// Not a usable list of processors.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CpuListError {
    /// Does not parse.
    #[error("`{0}` is not a list of processors: write it as `0,2-5`")]
    Syntax(String),
    /// Named twice.
    #[error("processor {0} is listed twice")]
    Repeated(usize),
    /// Outside the set the process may use.
    #[error("processor {cpu} is not among those this process may use ({allowed})")]
    NotAllowed {
        /// The one asked for.
        cpu: usize,
        /// Those there are.
        allowed: CpuList,
    },
}

/// The highest processor number that a list may name: the size of the kernel's default set.
const HIGHEST: usize = 1023;

impl CpuList {
    /// The processors this process may run on, by its affinity mask.
    pub fn allowed() -> CpuList {
        let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
        let mut cpus: Vec<usize> = (0..=HIGHEST).filter(|&cpu| set.is_set(cpu)).collect();
        if cpus.is_empty() {
            cpus.push(0);
        }
        CpuList(cpus)
    }

    /// The processors of so many shards, unless somebody says: the last of those this process may run on. The first ones
    /// are where a kernel does most of what it does for itself. All of them, if there are fewer.
    pub fn of_shards(shards: usize) -> CpuList {
        let CpuList(mut cpus) = CpuList::allowed();
        cpus.drain(..cpus.len().saturating_sub(shards));
        CpuList(cpus)
    }

    /// Refuses a list that names a processor the process may not use.
    pub fn check(&self) -> Result<(), CpuListError> {
        let allowed = CpuList::allowed();
        match self.0.iter().find(|cpu| !allowed.0.contains(cpu)) {
            Some(&cpu) => Err(CpuListError::NotAllowed { cpu, allowed }),
            None => Ok(()),
        }
    }

    /// The processors.
    pub fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

/// How many shards there are unless somebody says: one for each core that this process may use but one. That is left to
/// the kernel's own work for network and disk, and to what else runs there.
pub fn usual_shards() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1)
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<CpuList, CpuListError> {
        let syntax = || CpuListError::Syntax(text.to_owned());
        let number = |part: &str| match part.trim().parse::<usize>() {
            Ok(cpu) if cpu <= HIGHEST => Ok(cpu),
            _ => Err(syntax()),
        };
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(syntax());
            }
            for cpu in first..=last {
                if cpus.contains(&cpu) {
                    return Err(CpuListError::Repeated(cpu));
                }
                cpus.push(cpu);
            }
        }
        Ok(CpuList(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        let mut separator = "";
        while let Some(&first) = rest.first() {
            let run = rest.iter().enumerate().take_while(|&(i, &cpu)| cpu == first + i).count();
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", first + run - 1)?,
            }
            separator = ",";
            rest = &rest[run..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        let list: CpuList = "0,2-5, 9".parse().unwrap();
        assert_eq!(list.as_slice(), [0, 2, 3, 4, 5, 9]);
        assert_eq!(list.to_string(), "0,2-5,9");
        assert_eq!("3,1".parse::<CpuList>().unwrap().as_slice(), [3, 1]);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a", "1-", "-1", "5-2", "1,,2", "0-99999999"] {
            let error = text.parse::<CpuList>().unwrap_err();
            assert_eq!(error, CpuListError::Syntax(text.to_owned()));
        }
        assert_eq!("1,0-2".parse::<CpuList>(), Err(CpuListError::Repeated(1)));
    }

    #[test]
    fn shards_are_on_the_last_processors() {
        let CpuList(all) = CpuList::allowed();
        assert_eq!(CpuList::of_shards(1).0, all[all.len() - 1..]);
        assert_eq!(CpuList::of_shards(all.len()).0, all);
        assert_eq!(CpuList::of_shards(all.len() + 1).0, all);
        assert!((1..=all.len()).contains(&usual_shards()));
    }

    #[test]
    fn the_affinity_mask_decides() {
        let allowed = CpuList::allowed();
        assert_eq!(allowed.check(), Ok(()));
        let other = CpuList(vec![HIGHEST]);
        let error = other.check().unwrap_err();
        assert_eq!(error, CpuListError::NotAllowed { cpu: HIGHEST, allowed });
    }
}
