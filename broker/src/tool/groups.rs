//! Messages in groups: `qpid-send --group-key` marks each message with the group it belongs to.

use clap::Args;
use fletch_amqp::types::Map;

use super::unique::random_u64;

/// The options.
#[derive(Debug, Clone, Args)]
pub(super) struct GroupArgs {
    /// Generate groups of messages, with the group in the property KEY
    #[arg(long, value_name = "KEY")]
    group_key: Option<String>,
    /// Generate group identifiers with this prefix
    #[arg(long, value_name = "STRING", default_value = "GROUP-")]
    group_prefix: String,
    /// Messages per group
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    group_size: u32,
    /// Make groups of 1 to --group-size messages, at random
    #[arg(long)]
    group_randomize_size: bool,
    /// Interleave messages of N groups
    #[arg(long, value_name = "N", default_value_t = 1)]
    group_interleave: u32,
}

impl GroupArgs {
    /// The generator of groups, if they were asked for.
    pub(super) fn groups(&self) -> Option<Groups> {
        let key = self.group_key.clone()?;
        let mut groups = Groups {
            key,
            prefix: self.group_prefix.clone(),
            size: self.group_size,
            random: self.group_randomize_size,
            made: 0,
            open: Vec::new(),
            current: 0,
        };
        for _ in 0..self.group_interleave.max(1) {
            let group = groups.next_group();
            groups.open.push(group);
        }
        Some(groups)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Groups {
    key: String,
    prefix: String,
    size: u32,
    random: bool,
    made: u64,
    /// Groups under way: their ids and how many messages they still get.
    open: Vec<(String, u32)>,
    current: usize,
}

impl Groups {
    fn next_group(&mut self) -> (String, u32) {
        let id = format!("{}{}", self.prefix, self.made);
        self.made += 1;
        let size = match self.random {
            true => 1 + (random_u64() % u64::from(self.size)) as u32,
            false => self.size,
        };
        (id, size)
    }

    /// Puts the next message into the next group.
    pub(super) fn mark(&mut self, properties: &mut Map) {
        if self.current >= self.open.len() {
            self.current = 0;
        }
        let (id, left) = &mut self.open[self.current];
        properties.insert(self.key.as_str(), id.as_str());
        *left -= 1;
        if *left > 0 {
            self.current += 1;
            return;
        }
        // A group that is complete makes room for a new one behind the others.
        self.open.remove(self.current);
        let group = self.next_group();
        self.open.push(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(size: u32, interleave: u32, count: usize) -> Vec<String> {
        let args = GroupArgs {
            group_key: Some("g".into()),
            group_prefix: "G".into(),
            group_size: size,
            group_randomize_size: false,
            group_interleave: interleave,
        };
        let mut groups = args.groups().expect("asked for");
        let mut properties = Map::new();
        let mut next = || {
            groups.mark(&mut properties);
            properties.get_str("g").unwrap_or_default().to_owned()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn groups_follow_each_other_or_interleave() {
        assert_eq!(ids(2, 1, 5), ["G0", "G0", "G1", "G1", "G2"]);
        assert_eq!(ids(2, 2, 6), ["G0", "G1", "G0", "G1", "G2", "G3"]);
        assert_eq!(ids(1, 1, 3), ["G0", "G1", "G2"]);
    }
}
