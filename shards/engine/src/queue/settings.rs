//! What the arguments of `queue.declare` ask for, read and checked once, when the queue is made.
//!
//! Names and rules are the reference's. A number may be an integer of any width or text that is one.

use super::flow::Flow;
use crate::error::Error;
use crate::selector::Selector;
use fletch_amqp::types::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// What happens to a message for which a queue has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It is refused.
    #[default]
    Reject,
    /// The oldest messages go.
    Ring,
    /// There is room: only so much stays in memory.
    FlowToDisk,
    /// The queue is deleted.
    SelfDestruct,
}

/// When a queue is deleted by itself. That is looked at when its last subscription ends, when the
/// session that had it for itself does, and when its last message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Not at all.
    Manual,
    /// Then, if nobody is subscribed and no session has it for itself.
    Unused,
    /// The same, if no message is left, acquired ones included.
    UnusedAndEmpty,
    /// Then, whoever uses it: in 0-10 nothing else closes it.
    OnClose,
}

/// Messages and bytes; none: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Messages.
    pub count: Option<u64>,
    /// Bytes of content, headers included.
    pub size: Option<u64>,
}

/// How many levels a priority queue has, and how many messages in a row each may take from the lower ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priorities {
    /// At least 1.
    pub levels: u8,
    /// Of each level, 0: without end. Empty if there is no fair share at all.
    pub fairshare: Vec<u32>,
}

/// What a queue has in memory if it is paged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Pages in memory.
    pub pages: u64,
    /// Bytes of a page, as a multiple of the machine's.
    pub factor: u64,
}

/// When management is told how full a queue is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    /// Told when the queue grows to this.
    pub up: Depth,
    /// Told when it shrinks to this again.
    pub down: Depth,
    /// Without `down`: not more often than this.
    pub repeat_gap: Option<Duration>,
}

/// Which of its messages' comings and goings a queue tells, one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Events {
    /// None.
    #[default]
    None,
    /// Those that come.
    Enqueues,
    /// Those that leave, too.
    All,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// `qpid.max_count`, `qpid.max_size`; 0 is no limit, whatever the broker's is.
    pub limit: Depth,
    /// `qpid.policy_type`.
    pub policy: Policy,
    /// `qpid.flow_stop_count`, `qpid.flow_stop_size`; 0 switches it off.
    pub flow_stop: Depth,
    /// `qpid.flow_resume_count`, `qpid.flow_resume_size`.
    pub flow_resume: Depth,
    /// `qpid.last_value_queue_key`, or what the older names of it mean.
    pub last_value_key: Option<String>,
    /// `qpid.priorities`, `qpid.fairshare`, `qpid.fairshare-N`.
    pub priorities: Option<Priorities>,
    /// `qpid.group_header_key`: the header whose value is a message's group.
    pub group_key: Option<String>,
    /// The group of messages without one (`--default-message-group`).
    pub default_group: Arc<str>,
    /// `fletch.max_deliveries`: a message that came back so often is rejected.
    pub max_deliveries: Option<u32>,
    /// `fletch.dedup_window`: so many message-ids are remembered, and messages with those not taken in.
    pub dedup_window: Option<u32>,
    /// `qpid.group_timestamp`: groups are reported with the time at which their oldest message arrived.
    pub group_timestamp: bool,
    /// `qpid.paging` and what goes with it.
    pub paging: Option<Paging>,
    /// `no-local`.
    pub no_local: bool,
    /// `qpid.browse-only`: subscribers get copies.
    pub browse_only: bool,
    /// `qpid.trace.id`: added to what leaves the queue.
    pub trace_id: Option<String>,
    /// `qpid.trace.exclude`: messages that bear one of these do not come in.
    pub trace_exclude: Vec<String>,
    /// `qpid.filter`: a selector for what may come in.
    pub filter: Option<String>,
    /// `qpid.auto_delete_timeout`.
    pub auto_delete_timeout: Duration,
    /// `qpid.lifetime-policy`.
    pub lifetime: Option<Lifetime>,
    /// `qpid.alert_…`.
    pub alerts: Alerts,
    /// `qpid.queue_event_generation`.
    pub events: Events,
    /// `qpid.queue_msg_sequence`: the header that numbers messages.
    pub sequence_key: Option<String>,
}

/// What queues have that do not say, by the broker's options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDefaults {
    /// Most bytes (`--default-queue-limit`); 0 is no limit.
    pub limit: u64,
    /// Percent of a limit above which producers are held (`--default-flow-stop-threshold`); 0: they are not.
    pub flow_stop: u8,
    /// Percent below which they go on (`--default-flow-resume-threshold`); 0: at the same.
    pub flow_resume: u8,
    /// Percent of a queue's own limit at which management is told (`--default-event-threshold-ratio`); 0: it
    /// is not.
    pub alert: u8,
}

impl QueueDefaults {
    /// The reference's, but for the limit, of which there is none.
    pub const UNLIMITED: QueueDefaults =
        QueueDefaults { limit: 0, flow_stop: 80, flow_resume: 70, alert: 80 };
}

/// Other names of the same.
const ALIASES: [(&str, &str); 5] = [
    ("x-qpid-priorities", "qpid.priorities"),
    ("x-qpid-fairshare", "qpid.fairshare"),
    ("x-qpid-minimum-alert-repeat-gap", "qpid.alert_repeat_gap"),
    ("x-qpid-maximum-message-count", "qpid.alert_count"),
    ("x-qpid-maximum-message-size", "qpid.alert_size"),
];

/// The key of last value queues that do not name one.
const LEGACY_KEY: &str = "qpid.LVQ_key";

/// More levels than messages have priorities make no difference.
const LEVELS_MAX: u64 = 10;

/// The longest window for duplicates: at about 50 bytes of memory for each message-id, 50 MB for one queue, and as much
/// of the journal.
const WINDOW_MAX: u32 = 1_000_000;

/// Settings that mean something together.
#[derive(Default)]
struct Draft {
    settings: QueueSettings,
    levels: u64,
    fairshare: Option<u32>,
    fairshares: Vec<(u64, u32)>,
    shared_groups: bool,
    paging: bool,
    pages: u64,
    factor: u64,
}

impl QueueSettings {
    /// Reads and checks the arguments of a queue.
    ///
    /// # Errors
    /// `InvalidArgument` names the argument that has no meaning, or those that contradict each other.
    pub fn new(queue: &str, arguments: &Map) -> Result<QueueSettings, Error> {
        let mut draft = Draft::default();
        for (name, value) in arguments.iter() {
            let name = full_name(name);
            draft.take(name, value)?;
        }
        draft.finish(queue)
    }

    /// Whether the queue is deleted by itself; `asked`: its declaration says so.
    pub fn auto_delete(&self, asked: bool) -> bool {
        match self.lifetime {
            Some(lifetime) => lifetime != Lifetime::Manual,
            None => asked || !self.auto_delete_timeout.is_zero(),
        }
    }

    /// Checks what has to fit to the broker's own limit, where the queue sets none.
    ///
    /// # Errors
    /// `InvalidArgument` if flow control were to begin above it.
    pub fn check_against(&self, defaults: &QueueDefaults, queue: &str) -> Result<(), Error> {
        let limited = matches!(self.policy, Policy::Reject | Policy::SelfDestruct);
        let max = Some(defaults.limit).filter(|max| *max > 0);
        let max = max.filter(|_| limited && self.limit.size.is_none());
        match (self.flow_stop.size, max) {
            (Some(stop), Some(max)) if stop > max => Err(Error::invalid(format!(
                "Queue \"{queue}\": qpid.flow_stop_size={stop} must be less than \
                 --default-queue-limit={max}"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether what the queue says about flow control has no effect: it has no threshold above which
    /// publishers are held.
    pub(crate) fn ignores_flow(&self, defaults: &QueueDefaults) -> bool {
        let asks = |depth: Depth| depth.count.or(depth.size).is_some();
        let resumes = asks(self.flow_resume) && !asks(self.flow_stop);
        let is_ring =
            self.policy == Policy::Ring && (asks(self.flow_stop) || asks(self.flow_resume));
        is_ring || resumes && Flow::of(self, defaults).is_none()
    }

    /// Those of a queue that is there: what would be refused today counts for nothing.
    pub fn of(queue: &str, arguments: &Map) -> QueueSettings {
        QueueSettings::new(queue, arguments).unwrap_or_default()
    }
}

fn full_name(name: &str) -> &str {
    if let Some((_, full)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return full;
    }
    name
}

/// The level of `qpid.fairshare-N`, or its other name.
fn fairshare_level(name: &str) -> Option<&str> {
    name.strip_prefix("qpid.fairshare-").or_else(|| name.strip_prefix("x-qpid-fairshare-"))
}

fn unsigned(name: &str, value: &Value) -> Result<u64, Error> {
    let integer = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => match value {
            Value::Uint64(n) => Some(*n),
            _ => value.as_i64().and_then(|n| u64::try_from(n).ok()),
        },
    };
    integer.ok_or_else(|| {
        Error::invalid(format!("{name} must be a whole number that is not negative, not {value:?}"))
    })
}

fn small(name: &str, value: &Value) -> Result<u32, Error> {
    let n = unsigned(name, value)?;
    let too_large = |_| Error::invalid(format!("{name} must be less than 2^32, not {n}"));
    u32::try_from(n).map_err(too_large)
}

fn seconds(name: &str, value: &Value) -> Result<Duration, Error> {
    small(name, value).map(|n| Duration::from_secs(u64::from(n)))
}

fn boolean(name: &str, value: &Value) -> Result<bool, Error> {
    let mut one = Map::new();
    one.insert(name, value.clone());
    let wrong = || Error::invalid(format!("{name} must be true or false, not {value:?}"));
    one.get_bool(name).ok_or_else(wrong)
}

fn events(name: &str, value: &Value) -> Result<Events, Error> {
    match unsigned(name, value)? {
        0 => Ok(Events::None),
        1 => Ok(Events::Enqueues),
        2 => Ok(Events::All),
        n => Err(Error::invalid(format!(
            "{name} must be 1, for enqueues, or 2, for dequeues too, not {n}"
        ))),
    }
}

/// None if it is empty.
fn text(name: &str, value: &Value) -> Result<Option<String>, Error> {
    let wrong = || Error::invalid(format!("{name} must be text, not {value:?}"));
    let text = value.as_str().ok_or_else(wrong)?;
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

impl Draft {
    fn take(&mut self, name: &str, value: &Value) -> Result<(), Error> {
        let s = &mut self.settings;
        match name {
            "qpid.max_count" => s.limit.count = Some(unsigned(name, value)?),
            "qpid.max_size" => s.limit.size = Some(unsigned(name, value)?),
            "qpid.policy_type" => s.policy = policy(name, value)?,
            "qpid.flow_stop_count" => s.flow_stop.count = Some(unsigned(name, value)?),
            "qpid.flow_stop_size" => s.flow_stop.size = Some(unsigned(name, value)?),
            "qpid.flow_resume_count" => s.flow_resume.count = Some(unsigned(name, value)?),
            "qpid.flow_resume_size" => s.flow_resume.size = Some(unsigned(name, value)?),
            "qpid.last_value_queue_key" => s.last_value_key = text(name, value)?,
            // Their values say nothing.
            "qpid.last_value_queue" | "qpid.last_value_queue_no_browse" => {
                s.last_value_key.get_or_insert_with(|| LEGACY_KEY.to_owned());
            }
            "qpid.priorities" => self.levels = unsigned(name, value)?,
            "qpid.fairshare" => self.fairshare = Some(small(name, value)?),
            "qpid.group_header_key" => s.group_key = text(name, value)?,
            "qpid.shared_msg_group" => self.shared_groups = boolean(name, value)?,
            "qpid.group_timestamp" => s.group_timestamp = boolean(name, value)?,
            "fletch.max_deliveries" => {
                let most = unsigned(name, value)?;
                if most == 0 {
                    return Err(Error::invalid("fletch.max_deliveries must be at least 1"));
                }
                s.max_deliveries = Some(u32::try_from(most).unwrap_or(u32::MAX));
            }
            "fletch.dedup_window" => {
                let most = unsigned(name, value)?;
                if !(1..=u64::from(WINDOW_MAX)).contains(&most) {
                    return Err(Error::invalid(format!(
                        "{name} must be from 1 to {WINDOW_MAX} message-ids, not {most}"
                    )));
                }
                s.dedup_window = Some(most as u32);
            }
            "qpid.paging" => self.paging = boolean(name, value)?,
            "qpid.max_pages_loaded" => self.pages = unsigned(name, value)?,
            "qpid.page_factor" => self.factor = unsigned(name, value)?,
            "no-local" => s.no_local = boolean(name, value)?,
            "qpid.browse-only" => s.browse_only = boolean(name, value)?,
            "qpid.trace.id" => s.trace_id = text(name, value)?,
            "qpid.trace.exclude" => {
                let excluded = text(name, value)?.unwrap_or_default();
                let all = excluded.split(',').map(str::trim).filter(|tag| !tag.is_empty());
                s.trace_exclude = all.map(str::to_owned).collect();
            }
            "qpid.filter" => s.filter = text(name, value)?,
            "qpid.auto_delete_timeout" => s.auto_delete_timeout = seconds(name, value)?,
            "qpid.lifetime-policy" => s.lifetime = Some(lifetime(name, value)?),
            "qpid.alert_repeat_gap" => s.alerts.repeat_gap = Some(seconds(name, value)?),
            "qpid.alert_count" | "qpid.alert_count_up" => {
                s.alerts.up.count = Some(unsigned(name, value)?);
            }
            "qpid.alert_size" | "qpid.alert_size_up" => {
                s.alerts.up.size = Some(unsigned(name, value)?);
            }
            "qpid.alert_count_down" => s.alerts.down.count = Some(unsigned(name, value)?),
            "qpid.alert_size_down" => s.alerts.down.size = Some(unsigned(name, value)?),
            "qpid.queue_event_generation" => s.events = events(name, value)?,
            "qpid.queue_msg_sequence" => s.sequence_key = text(name, value)?,
            _ => {
                if let Some(level) = fairshare_level(name) {
                    let wrong = |_| Error::invalid(format!("{name} names no priority level"));
                    self.fairshares.push((level.parse().map_err(wrong)?, small(name, value)?));
                }
            }
        }
        Ok(())
    }

    fn finish(self, queue: &str) -> Result<QueueSettings, Error> {
        self.check_kind()?;
        self.check_flow(queue)?;
        self.check_paging()?;
        if let Some(text) = &self.settings.filter {
            Selector::parse(text).map_err(|e| Error::invalid(format!("qpid.filter: {e}")))?;
        }
        let mut settings = self.settings;
        if self.levels > 0 {
            let fairshare = match (self.fairshare, self.fairshares.is_empty()) {
                (None, true) => Vec::new(),
                (all, _) => {
                    let of = |level| {
                        let own = self.fairshares.iter().rfind(|(l, _)| *l == level);
                        own.map_or(all.unwrap_or(0), |(_, n)| *n)
                    };
                    (0..self.levels.min(LEVELS_MAX)).map(of).collect()
                }
            };
            let levels = self.levels.min(LEVELS_MAX) as u8;
            settings.priorities = Some(Priorities { levels, fairshare });
        }
        if self.paging {
            let or = |n: u64, default| if n == 0 { default } else { n };
            settings.paging =
                Some(Paging { pages: or(self.pages, PAGES_LOADED), factor: or(self.factor, 1) });
        }
        Ok(settings)
    }

    /// A queue is of one kind.
    fn check_kind(&self) -> Result<(), Error> {
        let both = |a, b| Error::invalid(format!("Cannot specify {a} and {b} for the same queue"));
        let needs = |a, b| Error::invalid(format!("Can only specify {a} if {b} is set"));
        let (lvq, group) =
            (self.settings.last_value_key.is_some(), self.settings.group_key.is_some());
        if lvq && self.levels > 0 {
            return Err(both(LVQ, PRIORITIES));
        }
        let fair = self.fairshare.is_some_and(|n| n > 0) || !self.fairshares.is_empty();
        if fair && self.levels == 0 {
            return Err(Error::invalid(
                "Cannot specify fairshare settings when queue is not enabled for priorities",
            ));
        }
        if self.fairshares.iter().any(|(level, _)| *level >= self.levels) {
            return Err(Error::invalid(format!(
                "Cannot have fairshare set for priority levels greater than {}",
                self.levels
            )));
        }
        if group && lvq {
            return Err(both(LVQ, GROUPS));
        }
        if group && self.levels > 0 {
            return Err(both(PRIORITIES, GROUPS));
        }
        if self.shared_groups && !group {
            return Err(needs(SHARED, GROUPS));
        }
        if self.settings.group_timestamp && !group {
            return Err(needs("qpid.group_timestamp", GROUPS));
        }
        if group && !self.shared_groups {
            return Err(Error::invalid(format!(
                "Only shared groups are supported at present; {SHARED} is required if {GROUPS} is set"
            )));
        }
        Ok(())
    }

    fn check_paging(&self) -> Result<(), Error> {
        let s = &self.settings;
        if self.paging {
            let kinds = [
                (s.last_value_key.is_some(), LVQ),
                (self.levels > 0, PRIORITIES),
                (s.group_key.is_some(), GROUPS),
            ];
            if let Some((_, kind)) = kinds.iter().find(|(is, _)| *is) {
                return Err(Error::invalid(format!(
                    "Cannot specify {kind} and {PAGING} for the same queue"
                )));
            }
            return Ok(());
        }
        for (n, name) in [(self.pages, "qpid.max_pages_loaded"), (self.factor, "qpid.page_factor")]
        {
            if n > 0 {
                return Err(Error::invalid(format!("Can only specify {name} if {PAGING} is set")));
            }
        }
        Ok(())
    }

    /// Flow control begins below the limit and ends below that.
    fn check_flow(&self, queue: &str) -> Result<(), Error> {
        let s = &self.settings;
        if s.policy == Policy::Ring {
            return Ok(()); // It has none.
        }
        let units = [
            ("count", s.flow_stop.count, s.flow_resume.count, s.limit.count),
            ("size", s.flow_stop.size, s.flow_resume.size, s.limit.size),
        ];
        for (unit, stop, resume, max) in units {
            let Some(stop) = stop.filter(|n| *n > 0) else { continue };
            if let Some(resume) = resume.filter(|n| *n > stop) {
                return Err(Error::invalid(format!(
                    "Queue \"{queue}\": qpid.flow_resume_{unit}={resume} must be less or equal to \
                     qpid.flow_stop_{unit}={stop}"
                )));
            }
            if let Some(max) = max.filter(|max| *max > 0 && *max < stop) {
                return Err(Error::invalid(format!(
                    "Queue \"{queue}\": qpid.flow_stop_{unit}={stop} must be less than \
                     qpid.max_{unit}={max}"
                )));
            }
        }
        Ok(())
    }
}

const LVQ: &str = "qpid.last_value_queue_key";
const PRIORITIES: &str = "qpid.priorities";
const GROUPS: &str = "qpid.group_header_key";
const SHARED: &str = "qpid.shared_msg_group";
const PAGING: &str = "qpid.paging";

/// Pages that a paged queue has in memory if it does not say.
const PAGES_LOADED: u64 = 4;

fn policy(name: &str, value: &Value) -> Result<Policy, Error> {
    match value.as_str() {
        Some("reject") => Ok(Policy::Reject),
        Some("ring" | "ring_strict" | "ring-strict") => Ok(Policy::Ring),
        Some("flow_to_disk" | "flow-to-disk") => Ok(Policy::FlowToDisk),
        Some("self-destruct" | "self_destruct") => Ok(Policy::SelfDestruct),
        _ => Err(Error::invalid(format!(
            "{name} must be reject, ring, flow_to_disk or self-destruct, not {value:?}"
        ))),
    }
}

fn lifetime(name: &str, value: &Value) -> Result<Lifetime, Error> {
    match value.as_str() {
        Some("manual") => Ok(Lifetime::Manual),
        Some("delete-if-unused") => Ok(Lifetime::Unused),
        Some("delete-if-unused-and-empty") => Ok(Lifetime::UnusedAndEmpty),
        Some("delete-on-close") => Ok(Lifetime::OnClose),
        _ => Err(Error::invalid(format!(
            "{name} must be manual, delete-if-unused, delete-if-unused-and-empty or delete-on-close, \
             not {value:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn settings(arguments: &[(&str, Value)]) -> Result<QueueSettings, Error> {
        let mut map = Map::new();
        for (name, value) in arguments {
            map.insert(*name, value.clone());
        }
        QueueSettings::new("q", &map)
    }

    fn refusal(arguments: &[(&str, Value)]) -> String {
        let error = settings(arguments).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        error.text
    }

    fn int(n: i32) -> Value {
        Value::Int32(n)
    }

    fn str(text: &str) -> Value {
        Value::Str16(text.into())
    }

    #[test]
    fn numbers_may_be_text() {
        let s = settings(&[
            ("qpid.max_count", str("3")),
            ("qpid.max_size", Value::Uint64(u64::MAX)),
            ("qpid.flow_stop_count", Value::Int8(2)),
        ]);
        let s = s.unwrap();
        assert_eq!(s.limit, Depth { count: Some(3), size: Some(u64::MAX) });
        assert_eq!(s.flow_stop.count, Some(2));
        let unlimited = Depth { count: None, size: Some(0) };
        assert_eq!(settings(&[("qpid.max_size", str("0"))]).unwrap().limit, unlimited);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for value in [int(-1), str("foo"), str("-1"), str("1.5"), Value::Double(3.25), Value::Void]
        {
            for name in ["qpid.max_count", "qpid.flow_resume_size", "qpid.priorities"] {
                assert!(refusal(&[(name, value.clone())]).starts_with(name));
            }
        }
        refusal(&[("qpid.policy_type", str("sometimes"))]);
        refusal(&[("qpid.lifetime-policy", str("for ever"))]);
        refusal(&[("qpid.browse-only", str("perhaps"))]);
        assert_eq!(
            refusal(&[("qpid.filter", str("a LIKE 5"))]),
            "qpid.filter: selector: expected a string after LIKE at column 8, found `5`"
        );
    }

    #[test]
    fn a_queue_is_of_one_kind() {
        let group = [("qpid.group_header_key", str("g")), ("qpid.shared_msg_group", int(1))];
        let (lvq, levels) = (("qpid.last_value_queue_key", str("k")), ("qpid.priorities", int(10)));
        let paging = ("qpid.paging", Value::Boolean(true));
        assert_eq!(
            refusal(&[lvq.clone(), levels.clone()]),
            "Cannot specify qpid.last_value_queue_key and qpid.priorities for the same queue"
        );
        for other in [&lvq, &levels, &paging] {
            let [a, b] = group.clone();
            refusal(&[a, b, other.clone()]);
        }
        refusal(&[lvq, paging.clone()]);
        refusal(&[levels, paging]);
        refusal(&[group[0].clone()]);
        refusal(&[group[1].clone()]);
        refusal(&[("qpid.group_timestamp", int(1))]);
        refusal(&[("qpid.queue_event_generation", int(3))]);
        refusal(&[("qpid.page_factor", int(2))]);
        refusal(&[("qpid.max_pages_loaded", int(2))]);
    }

    #[test]
    fn fair_shares_are_of_levels_that_exist() {
        let s = settings(&[
            ("x-qpid-priorities", int(3)),
            ("x-qpid-fairshare", int(5)),
            ("qpid.fairshare-2", str("1")),
        ]);
        let priorities = s.unwrap().priorities.unwrap();
        assert_eq!((priorities.levels, priorities.fairshare), (3, vec![5, 5, 1]));
        let s = settings(&[("qpid.priorities", int(2)), ("x-qpid-fairshare-0", int(9))]);
        assert_eq!(s.unwrap().priorities.unwrap().fairshare, [9, 0]);
        let s = settings(&[("qpid.priorities", int(1000))]).unwrap();
        assert_eq!(s.priorities, Some(Priorities { levels: 10, fairshare: Vec::new() }));
        refusal(&[("qpid.fairshare", int(5))]);
        refusal(&[("qpid.priorities", int(3)), ("qpid.fairshare-3", int(5))]);
        refusal(&[("qpid.priorities", int(3)), ("qpid.fairshare-x", int(5))]);
    }

    #[test]
    fn flow_control_ends_below_where_it_begins() {
        let flow = |stop, resume, max| {
            settings(&[
                ("qpid.flow_stop_count", int(stop)),
                ("qpid.flow_resume_count", int(resume)),
                ("qpid.max_count", int(max)),
            ])
        };
        assert!(flow(10, 5, 10).is_ok());
        assert!(flow(10, 10, 0).is_ok());
        assert!(flow(0, 5, 3).is_ok(), "off");
        assert_eq!(
            flow(10, 11, 0).unwrap_err().text,
            "Queue \"q\": qpid.flow_resume_count=11 must be less or equal to \
             qpid.flow_stop_count=10"
        );
        assert_eq!(
            flow(10, 5, 9).unwrap_err().text,
            "Queue \"q\": qpid.flow_stop_count=10 must be less than qpid.max_count=9"
        );
        let ring = ("qpid.policy_type", str("ring_strict"));
        let s = settings(&[("qpid.flow_stop_count", int(10)), ("qpid.max_count", int(5)), ring]);
        assert_eq!(s.unwrap().policy, Policy::Ring);
    }

    #[test]
    fn a_lifetime_policy_says_more_than_the_flag() {
        let lifetime = |policy, timeout| {
            settings(&[
                ("qpid.auto_delete_timeout", int(timeout)),
                ("qpid.lifetime-policy", str(policy)),
            ])
        };
        assert!(!lifetime("manual", 3).unwrap().auto_delete(true));
        for policy in ["delete-if-unused", "delete-if-unused-and-empty", "delete-on-close"] {
            assert!(lifetime(policy, 0).unwrap().auto_delete(false));
        }
        let plain = |timeout| settings(&[("qpid.auto_delete_timeout", int(timeout))]).unwrap();
        assert!(plain(1).auto_delete(false) && plain(0).auto_delete(true));
        assert!(!plain(0).auto_delete(false));
    }

    #[test]
    fn older_names_make_a_last_value_queue_too() {
        for name in ["qpid.last_value_queue", "qpid.last_value_queue_no_browse"] {
            let s = settings(&[(name, int(1))]).unwrap();
            assert_eq!(s.last_value_key.as_deref(), Some("qpid.LVQ_key"));
            let s = settings(&[("qpid.last_value_queue_key", str("k")), (name, int(1))]).unwrap();
            assert_eq!(s.last_value_key.as_deref(), Some("k"));
        }
    }
}
